//! Prepares a batch, outside any lock: validates it against the newest state and encodes it.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::base::Reads;
use super::batch::{Batch, BatchMetric, MetricKey};
use super::encode::{Encoder, KEYS_PER_BATCH_MAX, KeyedPoint, Late, Planned, check_time};
use super::gate::{branch_to_log, check_gate, check_gate_merged, gate_of};
use super::late::{Given, Looked};
use super::pipeline::Pipeline;
use super::prepared::{OwnedDefinition, Prepared, Refused, RunPoints};
use super::validate::{check_metric_key, validate};
use crate::branch::kept_key;
use crate::checksum::fnv;
use crate::entity::{EntityKey, EntityState, ExperimentState, RunState, Working, apply};
use crate::error::{EntityKind, Error, Result};
use crate::event::batch::{NoteKind, SectionKind, put_definition, put_section};
use crate::event::{Event, payload};
use crate::hot::points::{Gate, RunHot};
use crate::id::{ContextId, KeyId, Peer, RunId};

/// Idempotency keys are at most this long.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 64;

impl Pipeline {
    /// Validates and encodes a batch. `look_up`: set if late points must be looked up; the number of tries so far.
    pub(super) fn prepare(&self, batch: &Batch, look_up: Option<u32>) -> Result<Box<Prepared>, Refused> {
        if batch.is_empty() && batch.origin.merged.is_none() && batch.origin.store.is_none() {
            return Err(Error::invalid("batch", "it is empty; append at least one event or point").into());
        }
        if batch.events.iter().any(|event| event.begun_branch().is_some()) {
            // Their statistics must be those of the store: see `crate::rewind` and `crate::fork_run`.
            let why = "a run is rewound by `Store::rewind` and forked by `Store::fork_as`, not by an event";
            return Err(Error::invalid("batch", why).into());
        }
        self.prepare_any(batch, look_up)
    }

    pub(super) fn prepare_any(&self, batch: &Batch, look_up: Option<u32>) -> Result<Box<Prepared>, Refused> {
        let read_at = self.published();
        let mut prepared = Box::new(Prepared { read_at, ..Prepared::default() });
        let mut body = Vec::new();
        for event in &batch.events {
            put_event(&mut body, event)?;
        }
        let mut origin = batch.origin.clone();
        if !origin.key.is_empty() {
            if origin.key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
                let why = format!("{} bytes; at most {IDEMPOTENCY_KEY_BYTES_MAX} are kept", origin.key.len());
                return Err(Error::invalid("idempotency key", why).into());
            }
            if !batch.hash_given {
                origin.request_hash = fnv(body.iter().copied()) ^ hash_metrics(&batch.metrics);
            }
            if let Some(lsn) = self.find_key(&origin.key, origin.request_hash)? {
                return Err(Refused::Repeated(lsn));
            }
            prepared.key = Some((origin.key.clone(), origin.request_hash));
        }

        prepared.acknowledged = batch.acknowledged;
        if let Some(merged) = origin.merged {
            let last = self.load_writer(Peer::Writer(merged.writer))?;
            if last.checked_add(1) != Some(merged.first) {
                let what = format!("the log of writer {}", merged.writer);
                let expected = merged.first.wrapping_sub(1);
                return Err(Error::Conflict { what, expected, actual: last }.into());
            }
            prepared.merged = Some(merged);
        }
        if let Some(note) = &origin.store {
            if !note.is_plausible() {
                let what = format!("position of store {}", note.store);
                return Err(Error::invalid(what, format!("{} is none that a store has", note.last)).into());
            }
            let seen = self.load_writer(Peer::Store(note.store))?;
            if note.first <= seen && note.kind != NoteKind::Again {
                let what = format!("what is seen of store {}", note.store);
                return Err(Error::Conflict { what, expected: note.first.wrapping_sub(1), actual: seen }.into());
            }
            prepared.store = Some(note.clone());
        }

        // Validate each event on the state that the events before it leave.
        let reads = Reads::new(&self.newest);
        let mut working = Working::new(&reads);
        for event in &batch.events {
            if let Err(refused) = validate(event, batch.acknowledged, &mut working) {
                // A decision made on an older state may be refused on the newer one; the caller must decide again.
                self.check_expected(&batch.expect)?;
                return Err(refused.into());
            }
            apply(event, read_at.next(), &mut working)?;
        }
        let mut runs: Vec<Arc<RunHot>> = Vec::new();
        let mut run_of: FxHashMap<RunId, usize> = FxHashMap::default();
        for metric in &batch.metrics {
            if let Entry::Vacant(slot) = run_of.entry(metric.run) {
                slot.insert(runs.len());
                runs.push(self.run_for(metric.run, &mut working)?);
            }
        }
        drop(working);

        let sections = self.encode_metrics(batch, &runs, &run_of, look_up, &mut prepared)?;
        if prepared.points.is_empty() && !batch.metrics.is_empty() && batch.is_nothing_without_points() {
            // All points are there already; but a run that accepts no points must refuse these too.
            for run in &runs {
                let branch = branch_to_log(run);
                if batch.acknowledged { check_gate_merged(run, branch)? } else { check_gate(run, branch)? }
            }
            return Err(Refused::There(self.published()));
        }
        self.define_kept(batch, &mut prepared)?;
        let bytes = prepared.frame.payload_mut();
        origin.put(bytes);
        if !prepared.definitions.is_empty() {
            put_section(bytes, SectionKind::Dictionary, |out| {
                prepared.definitions.iter().for_each(|definition| put_definition(out, &definition.get()));
                0
            });
        }
        bytes.extend_from_slice(&body);
        let shift = bytes.len() as u64;
        bytes.extend_from_slice(&sections);
        for planned in prepared.points.iter_mut().flat_map(|points| &mut points.planned.series) {
            planned.offset += shift;
        }
        prepared.frame.seal()?;
        prepared.seen = reads.into_seen();
        prepared.events.clone_from(&batch.events);
        prepared.expect_head = batch.expect_head;
        prepared.expect.clone_from(&batch.expect);
        prepared.unless = batch.unless;
        Ok(prepared)
    }

    /// Defines the keys of the series that a new branch continues, and always one key that marks a store with branches.
    fn define_kept(&self, batch: &Batch, prepared: &mut Prepared) -> Result<()> {
        for event in &batch.events {
            let Some((_, branch, of_series)) = event.begun_branch() else { continue };
            let mut keys = Vec::with_capacity(2 * of_series.len() + 1);
            for kept in of_series {
                keys.push(self.metric_key(&kept.key)?);
                keys.push(self.dictionary.key(&kept_key(&kept.key, branch)));
            }
            keys.push(self.dictionary.key(&kept_key("", branch)));
            keys.sort_unstable();
            let definitions = &mut prepared.definitions;
            self.dictionary.unpublished(keys.into_iter(), std::iter::empty(), |definition| {
                definitions.push(OwnedDefinition::of(&definition));
            });
        }
        Ok(())
    }

    /// Encodes the points of a batch, run by run and context by context.
    fn encode_metrics(
        &self,
        batch: &Batch,
        runs: &[Arc<RunHot>],
        run_of: &FxHashMap<RunId, usize>,
        look_up: Option<u32>,
        prepared: &mut Prepared,
    ) -> Result<Vec<u8>, Refused> {
        let mut sections = Vec::new();
        if batch.metrics.is_empty() {
            return Ok(sections);
        }
        // (run, context) in the order of their first point, each with its points in the order of logging.
        let mut groups: Vec<(usize, ContextId, Vec<KeyedPoint>)> = Vec::new();
        let mut group_of: FxHashMap<(usize, ContextId), usize> = FxHashMap::default();
        let mut keys: Vec<KeyId> = Vec::new();
        let mut contexts: Vec<ContextId> = Vec::new();
        // Metrics with a key for the branch: they are defined together with it.
        let mut metrics: Vec<KeyId> = Vec::new();
        let branches: Vec<u32> = runs.iter().map(|run| branch_to_log(run)).collect();
        let mut reserved = self.dictionary.reserve();
        for (index, metric) in batch.metrics.iter().enumerate() {
            check_time(index, metric.point.time)?;
            let key = match &metric.key {
                MetricKey::Name(name) => {
                    check_metric_key(name)?;
                    reserved.key(name)
                }
                MetricKey::Id(id) => *id,
            };
            let context = metric.context.as_ref().map_or(ContextId(0), |context| reserved.context(context));
            let Some(&run) = run_of.get(&metric.run) else {
                return Err(Error::Internal(format!("run {} was not looked up before its points", metric.run)).into());
            };
            let key = if branches[run] == 0 {
                key
            } else {
                metrics.push(key);
                self.own_key(key, branches[run])?
            };
            let group = *group_of.entry((run, context)).or_insert_with(|| {
                groups.push((run, context, Vec::new()));
                contexts.push(context);
                groups.len() - 1
            });
            groups[group].2.push(KeyedPoint { key, point: metric.point });
            keys.push(key);
        }
        keys.sort_unstable();
        keys.dedup();
        if keys.len() > KEYS_PER_BATCH_MAX {
            let why = format!("{} metric keys; at most {KEYS_PER_BATCH_MAX} fit one batch: split it", keys.len());
            return Err(Error::invalid("batch", why).into());
        }
        let late_before = batch.looks_up().late_before(self.clock.now());
        if let Some(tries) = look_up {
            let mut looked = Looked::new(self.published(), tries);
            for (run, context, points) in &mut groups {
                let (run, branch) = (&runs[*run], branches[*run]);
                let given = Given { run, branch, context: *context, points };
                let there = self.look_up(&given, |_, point| point.point.time < late_before, &mut looked)?;
                leave_out(points, &there);
            }
            groups.retain(|(.., points)| !points.is_empty());
            prepared.looked = Some(looked);
        }
        keys.append(&mut metrics);
        keys.sort_unstable();
        keys.dedup();
        contexts.sort_unstable();
        contexts.dedup();
        let definitions = &mut prepared.definitions;
        let known = self.dictionary.unpublished(keys.into_iter(), contexts.into_iter(), |definition| {
            definitions.push(OwnedDefinition::of(&definition));
        });
        if !known {
            return Err(Error::invalid("metric key", "its number is not one of this store").into());
        }
        let mut encoder = Encoder::default();
        for (run, context, points) in groups {
            let mut planned = Planned { context, ..Planned::default() };
            let (run, branch) = (runs[run].clone(), branches[run]);
            encoder.encode_at(run.id, &points, late_before, &mut sections, &mut planned)?;
            if look_up.is_none() && planned.series.iter().any(|series| series.late == Late::Mixed) {
                return Err(Refused::LookUp);
            }
            prepared.points.push(RunPoints { run, branch, planned });
        }
        prepared.reserved = Some(reserved);
        Ok(sections)
    }

    /// The key under which a branch has its points of a metric.
    pub(crate) fn own_key(&self, metric: KeyId, branch: u32) -> Result<KeyId> {
        let unknown = || Error::invalid("metric key", "its number is not one of this store");
        self.dictionary.own_key(metric, branch).ok_or_else(unknown)
    }

    /// The number of a metric key, after checking its name.
    pub(crate) fn metric_key(&self, name: &str) -> Result<KeyId> {
        if let Some(id) = self.dictionary.find_key(name) {
            return Ok(id);
        }
        check_metric_key(name)?;
        Ok(self.dictionary.key(name))
    }

    /// A run to log points to, as it will be after the batch's own events.
    fn run_for(&self, id: RunId, working: &mut Working<'_>) -> Result<Arc<RunHot>> {
        let experiment = working.run(id)?.map(|run| run.experiment);
        let Some(experiment) = experiment else {
            return Err(Error::NotFound { entity: EntityKind::Run, id: id.to_string() });
        };
        let exists = self.newest.get(&EntityKey::Run(id))?.is_some();
        if exists {
            return self.load_run(id);
        }
        // This batch creates the run: its gate opens when the batch is published.
        Ok(self.runs.get_or_insert(id, experiment, Gate::Absent, true))
    }

    /// An existing run, with its current gate.
    pub(crate) fn load_run(&self, id: RunId) -> Result<Arc<RunHot>> {
        if let Some(run) = self.runs.get(id) {
            return Ok(run);
        }
        // Under the sequencer nothing changes: the gate is right when the run appears, and is updated from then on.
        let _guard = self.lock();
        let Some((run, experiment)) = self.run_and_experiment(id)? else {
            return Err(Error::NotFound { entity: EntityKind::Run, id: id.to_string() });
        };
        // A run that left memory is in the index that readers have by then. So one that is younger than the index has
        // never had points elsewhere, and its new series need not be looked up there.
        let index = self.newest.index();
        let complete = run.created > index.applied().max(index.sealed()) && run.rewinds.is_empty();
        let hot = self.runs.get_or_insert(id, run.experiment, gate_of(&run, &experiment), complete);
        hot.refresh_branch(run.branch());
        Ok(hot)
    }

    fn run_and_experiment(&self, id: RunId) -> Result<Option<(RunState, ExperimentState)>> {
        let Some(run) = self.newest.get(&EntityKey::Run(id))? else { return Ok(None) };
        let EntityState::Run(run) = &*run else { return Ok(None) };
        let experiment = self.newest.get(&EntityKey::Experiment(run.experiment))?;
        match experiment.as_deref() {
            Some(EntityState::Experiment(experiment)) => Ok(Some((run.clone(), experiment.clone()))),
            _ => Err(Error::Internal(format!("run {id} has no experiment {}", run.experiment))),
        }
    }

    /// Opens or closes the gate of a run by the newest state, after a replay.
    pub(crate) fn refresh_gate(&self, run: &RunHot) -> Result<()> {
        let gate = match self.run_and_experiment(run.id)? {
            Some((state, experiment)) => {
                run.refresh_branch(state.branch());
                gate_of(&state, &experiment)
            }
            None => Gate::Absent,
        };
        run.set_gate(gate);
        Ok(())
    }
}

/// Removes the points at these places, which ascend.
pub(crate) fn leave_out(points: &mut Vec<KeyedPoint>, places: &[usize]) {
    let (mut places, mut at) = (places.iter().peekable(), 0);
    if places.peek().is_some() {
        points.retain(|_| {
            at += 1;
            places.next_if(|place| **place + 1 == at).is_none()
        });
    }
}

fn put_event(out: &mut Vec<u8>, event: &Event) -> Result<()> {
    let mut encoded = Ok(());
    put_section(out, SectionKind::Event, |out| {
        encoded = payload::encode(event, out);
        0
    });
    encoded
}

fn hash_metrics(metrics: &[BatchMetric]) -> u64 {
    let mut bytes = Vec::with_capacity(metrics.len() * 64);
    for metric in metrics {
        bytes.extend_from_slice(&metric.run.0);
        match &metric.key {
            MetricKey::Name(name) => bytes.extend_from_slice(name.as_bytes()),
            MetricKey::Id(id) => bytes.extend_from_slice(&id.0.to_le_bytes()),
        }
        bytes.push(0);
        bytes.extend_from_slice(&metric.point.step.to_le_bytes());
        bytes.extend_from_slice(&metric.point.time.0.to_le_bytes());
        bytes.extend_from_slice(&metric.point.value.to_bits().to_le_bytes());
        if let Some(context) = &metric.context {
            bytes.extend_from_slice(&context.encode());
        }
    }
    fnv(bytes.iter().copied()).rotate_left(1)
}
