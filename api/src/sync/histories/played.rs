//! A source that grows, and its import, as the tool imports an MLflow database.
//!
//! It uses what that import uses: `RawStore` and `RawView`, batches of the actor `import` with idempotency keys made of
//! the source's content, points left out that the store has, and three values that decide about a field (the
//! source's, the store's, and the one that an import last gave). Both must change together.

use std::collections::BTreeMap;

use super::model::{Act, HOUR, Of, What};
use crate::engine::checksum::fnv;
use crate::engine::entity::EntityKey;
use crate::engine::event::payload::Decoded;
use crate::engine::event::*;
use crate::engine::storage::sim::SimRng;
use crate::experiment::IMPORT_ACTOR;
use crate::{
    Batch, Lifecycle, LocalStore, Lsn, MetricContext, Point, RawStore, RawView, RunId, RunStatus, TimestampMs,
};

/// Few, so that a run has several batches of them.
const POINTS_PER_BATCH: usize = 4;

/// A source of imports.
#[derive(Debug, Default)]
pub(super) struct Database {
    pub(super) runs: Vec<SourceRun>,
}

/// A run as the source has it.
#[derive(Debug, Clone)]
pub(super) struct SourceRun {
    pub(super) id: RunId,
    name: String,
    status: RunStatus,
    tag: Option<String>,
    param: Option<String>,
    pub(super) points: Vec<Point>,
    /// How many of the points are linked with a model: the source says so of points that it had before, too.
    linked: usize,
}

/// A batch that an import appended: its events, each with its acts.
#[derive(Debug)]
pub(super) struct Imported {
    pub(super) lsn: Lsn,
    pub(super) time_ms: i64,
    pub(super) events: Vec<Vec<Act>>,
}

impl Database {
    /// Something new happens in the source.
    pub(super) fn grow(&mut self, number: u64, rng: &mut SimRng) -> String {
        let what = rng.below(8);
        if self.runs.is_empty() || what == 0 {
            let mut id = [0xd0; 16];
            id[..8].copy_from_slice(&number.to_le_bytes());
            let id = RunId(id);
            let param = (rng.below(2) == 0).then(|| format!("dp{number}"));
            let tag = (rng.below(2) == 0).then(|| format!("dt{number}"));
            let name = format!("d{number}");
            self.runs.push(SourceRun {
                id,
                name,
                status: RunStatus::Running,
                tag,
                param,
                points: Vec::new(),
                linked: 0,
            });
            return format!("run {id}");
        }
        let at = rng.below(self.runs.len() as u64) as usize;
        let run = &mut self.runs[at];
        match what {
            1 => run.name = format!("d{number}"),
            2 => run.tag = (rng.below(3) > 0).then(|| format!("dt{number}")),
            3 => run.status = if rng.below(2) == 0 { RunStatus::Finished } else { RunStatus::Failed },
            7 => run.linked = run.points.len(),
            4 if run.param.is_none() => run.param = Some(format!("dp{number}")),
            _ => {
                // Before the times of all stores, and in no order.
                let back = rng.below(60) as i64;
                let point = |step: u64| Point {
                    step: number as i64 + step as i64 - back,
                    time: TimestampMs(900 * HOUR + number as i64 - back + step as i64),
                    value: number as f64 + step as f64 / 8.0,
                };
                run.points.extend((0..1 + rng.below(5)).map(point));
            }
        }
        format!("{at} by {what}")
    }

    /// Brings what a store lacks; `cut`: it ends before the batch of this number. Returns the batches.
    pub(super) fn import(&self, store: &LocalStore, cut: Option<usize>) -> Vec<Imported> {
        let mut import = Import { store: store.clone(), raw: store.clone().into(), left: cut, done: Vec::new() };
        if import.all(&self.runs).is_none() {
            assert!(cut.is_some());
        }
        import.done
    }
}

/// An import that runs. What returns `None` ends it.
struct Import {
    store: LocalStore,
    raw: RawStore,
    left: Option<usize>,
    done: Vec<Imported>,
}

impl Import {
    fn all(&mut self, runs: &[SourceRun]) -> Option<()> {
        if self.raw.view().unwrap().experiments().unwrap().is_empty() {
            let now = self.store.now().0;
            let event = ExperimentCreated {
                experiment: crate::ExperimentSpec::next_id(&self.store.snapshot().unwrap()).unwrap(),
                name: "e0".into(),
                artifact_location: None,
                creation_time_ms: now,
                last_update_time_ms: now,
                tags: Vec::new(),
            };
            self.put("experiment", Batch::new().event(event), vec![vec![Act::NewExperiment("e0".into())]])?;
        }
        // The source's runs come in the order of their ids, and all points after all runs.
        let mut runs: Vec<&SourceRun> = runs.iter().collect();
        runs.sort_by_key(|run| run.id);
        for run in &runs {
            self.run(run)?;
        }
        for run in runs {
            self.points(run)?;
        }
        Some(())
    }

    fn put(&mut self, key: &str, batch: Batch, events: Vec<Vec<Act>>) -> Option<()> {
        if self.left == Some(0) {
            return None;
        }
        let time_ms = self.store.now().0;
        let key = fnv(key.bytes()).to_le_bytes();
        match self.raw.append(batch.actor(IMPORT_ACTOR).idempotency_key(key)) {
            Ok((lsn, false)) => {
                self.left = self.left.map(|left| left - 1);
                self.done.push(Imported { lsn, time_ms, events });
            }
            Ok((_, true)) | Err(crate::Error::KeyReused { .. }) => {}
            Err(error) => panic!("an import: {error}"),
        }
        Some(())
    }

    fn run(&mut self, run: &SourceRun) -> Option<()> {
        let id = run.id;
        let view = self.raw.view().unwrap();
        let state = view.run(id).unwrap();
        let mut key = format!("run {id} {} {:?} {:?} {:?}", run.name, run.status, run.tag, run.param);
        let tags: Vec<KeyValue> = run.tag.iter().map(|tag| ("t".to_owned(), tag.clone())).collect();
        let mut batch = Batch::new();
        let mut events = Vec::new();
        let set = |what: What, value: Option<String>| Act::Set(Of::Run(id), what, value);
        let tag = || What::Tag("t".into());
        let Some(state) = state else {
            let experiment = view.experiments().unwrap().into_iter().min_by(|a, b| a.1.name.cmp(&b.1.name)).unwrap().0;
            let mut acts = vec![Act::NewRun(id, run.name.clone(), word(run.status))];
            acts.extend(run.tag.clone().map(|value| set(tag(), Some(value))));
            events.push(acts);
            batch.push_event(RunCreated {
                run: id,
                experiment,
                name: run.name.clone(),
                user_id: "ann".into(),
                status: run.status,
                start_time_ms: 7,
                artifact_location: None,
                tags,
            });
            if let Some(param) = &run.param {
                events.push(vec![Act::Param(id, "p".into(), param.clone())]);
                batch.push_event(ParamsLogged { run: id, params: vec![("p".into(), param.clone())] });
            }
            return self.put(&key, batch, events);
        };
        if view.lifecycle(&state).unwrap() == Lifecycle::Deleted {
            return Some(());
        }
        let base = base_of(&view, id);
        let takes = |field: &str, source: Option<&str>, store: Option<&str>| {
            source != store
                && match base.get(field).map(Option::as_deref) {
                    Some(base) => base == store,
                    None => store.is_none(),
                }
        };
        let name = takes("name", Some(&run.name), Some(&state.name)).then(|| run.name.clone());
        let status = takes("status", Some(&word(run.status)), Some(&word(state.status))).then_some(run.status);
        if name.is_some() || status.is_some() {
            let acts = name.iter().map(|name| set(What::Name, Some(name.clone())));
            events.push(acts.chain(status.map(|status| set(What::Status, Some(word(status))))).collect());
            batch.push_event(RunUpdated { run: id, status, end_time_ms: None, name });
        }
        if let (Some(param), None) = (&run.param, find(&state.params, "p")) {
            events.push(vec![Act::Param(id, "p".into(), param.clone())]);
            batch.push_event(ParamsLogged { run: id, params: vec![("p".into(), param.clone())] });
        }
        if takes("tag t", run.tag.as_deref(), find(&state.tags, "t")) {
            events.push(vec![set(tag(), run.tag.clone())]);
            match run.tag {
                Some(_) => batch.push_event(RunTagsSet { run: id, tags }),
                None => batch.push_event(RunTagDeleted { run: id, key: "t".into() }),
            }
        }
        // A change that is made again after it was undone is another batch.
        key.push_str(&format!(" after {}", state.last.0));
        if events.is_empty() { Some(()) } else { self.put(&key, batch, events) }
    }

    fn points(&mut self, run: &SourceRun) -> Option<()> {
        let id = run.id;
        let has_points = self.raw.view().unwrap().has_points(id).unwrap();
        let linked = |at: usize| at < run.linked;
        let all: Vec<(Point, bool)> = run.points.iter().enumerate().map(|(at, point)| (*point, linked(at))).collect();
        for (number, points) in all.chunks(POINTS_PER_BATCH).enumerate() {
            let mut key = format!("points {id} {number} {points:?}");
            let mut lacking = points.to_vec();
            if has_points {
                leave_out_known(&self.raw.view().unwrap(), id, &mut lacking);
            }
            if lacking.is_empty() {
                continue;
            }
            if lacking.len() < points.len() {
                key.push_str(&format!(" rest {}", lacking.len()));
            }
            // The source acknowledged them: a run that was deleted here since gets them too.
            let mut batch = Batch::new().acknowledged();
            let model = || MetricContext { model_id: Some("m-1".into()), ..MetricContext::default() };
            for (point, is_linked) in &lacking {
                batch.push_metric(id, "loss", *point, is_linked.then(model));
            }
            let points = lacking.into_iter().map(|(point, _)| point).collect();
            self.put(&key, batch, vec![vec![Act::Points(id, points)]])?;
        }
        Some(())
    }
}

/// The values that imports gave to the fields of a run.
fn base_of(view: &RawView, run: RunId) -> BTreeMap<String, Option<String>> {
    let mut base = BTreeMap::new();
    let all = view.events(&EntityKey::Run(run)).unwrap();
    for event in all.iter().filter(|event| event.actor.as_deref() == Some(IMPORT_ACTOR)) {
        let Decoded::Known(event) = &event.event else { continue };
        let (name, status, tags) = match event {
            Event::RunCreated(e) => (Some(&e.name), Some(e.status), &e.tags[..]),
            Event::RunUpdated(e) => (e.name.as_ref(), e.status, &[][..]),
            Event::RunTagsSet(e) => (None, None, &e.tags[..]),
            Event::RunTagDeleted(e) => {
                base.insert(format!("tag {}", e.key), None);
                continue;
            }
            _ => continue,
        };
        base.extend(name.map(|name| ("name".to_owned(), Some(name.clone()))));
        base.extend(status.map(|status| ("status".to_owned(), Some(word(status)))));
        base.extend(tags.iter().map(|(key, value)| (format!("tag {key}"), Some(value.clone()))));
    }
    base
}

/// Leaves out the points that the store has, within the steps and times of these.
fn leave_out_known(view: &RawView, run: RunId, points: &mut Vec<(Point, bool)>) {
    let range = |of: fn(&Point) -> i64| {
        let all = points.iter().map(|(point, _)| of(point));
        (all.clone().min().unwrap(), all.max().unwrap())
    };
    let known = view.points(run, "loss", range(|point| point.step), range(|point| point.time.0)).unwrap();
    points.retain(|(point, _)| known.binary_search_by(|other| other.history_order(point)).is_err());
}

fn word(status: RunStatus) -> String {
    let word: &'static str = status.into();
    word.to_owned()
}

fn find<'a>(pairs: &'a [KeyValue], key: &str) -> Option<&'a str> {
    pairs.iter().find(|(have, _)| have == key).map(|(_, value)| value.as_str())
}
