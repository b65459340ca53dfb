//! One store of a random history: the real store, and what the model expects it to hold.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::model::{Act, HOUR, Of, State, What};
use crate::engine::entity::{EntityKey, EntityState};
use crate::engine::event::*;
use crate::engine::storage::{OpenMode, Storage, memory::Memory, read_exact_at, write_all_at};
use crate::engine::{ManualClock, StoreId};
use crate::sync::chunk::Version;
use crate::sync::{Report, Source, Target};
use crate::{
    Batch, Durability, Error, ExperimentId, HistoryQuery, Lifecycle, LocalStore, Lsn, ModelVersionState, RunStatus,
    Stage, TimestampMs, VersionStatus,
};

/// What a sync has sent.
pub(super) struct Sent {
    pub(super) report: Report,
    /// What the source had seen of others.
    pub(super) seen: Vec<Version>,
    /// How many entries of the source's log were processed, and up to which position.
    pub(super) end: usize,
    pub(super) through: Lsn,
    pub(super) source_end: Lsn,
    /// Nothing of the source was missing, up to its very end.
    pub(super) is_whole: bool,
}

pub(super) struct Side {
    pub(super) storage: Memory,
    pub(super) clock: Arc<ManualClock>,
    pub(super) store: LocalStore,
    pub(super) state: State,
    pub(super) seed: u64,
}

/// Small segments, so that one can be missing.
pub(super) const SEGMENT_BYTES: u64 = 256;

pub(super) fn options(storage: Memory, clock: &Arc<ManualClock>) -> crate::LocalOptions {
    let options = LocalStore::options("simulated").background(false).clock(clock.clone()).default_experiment(false);
    options.storage(Arc::new(storage)).segment_bytes(SEGMENT_BYTES, SEGMENT_BYTES)
}

pub(super) fn open(storage: &Memory, clock: &Arc<ManualClock>, seed: u64) -> LocalStore {
    options(storage.clone(), clock).seed(seed).open().unwrap()
}

impl Side {
    pub(super) fn new(seed: u64, hours: i64) -> Self {
        let storage = Memory::new();
        let clock = Arc::new(ManualClock::at(TimestampMs(1_000 * HOUR + hours * HOUR)));
        let store = open(&storage, &clock, seed);
        Self { storage, clock, store, state: State::default(), seed }
    }

    pub(super) fn id(&self) -> StoreId {
        self.store.engine().id()
    }

    pub(super) fn experiment(&self, name: &str) -> ExperimentId {
        self.store.snapshot().unwrap().experiment_by_name(name).unwrap().unwrap().0
    }

    /// Appends acts as one batch of the store's own.
    pub(super) fn own(&mut self, acts: Vec<Act>) {
        let now = self.store.now().0;
        let mut batch = Batch::new();
        for act in &acts {
            batch = self.with(batch, act, now);
        }
        let receipt = self.store.append(batch, Durability::Buffered).unwrap();
        self.state.own(self.id(), receipt.lsn.0, now, vec![acts]);
    }

    pub(super) fn with(&self, mut batch: Batch, act: &Act, at_ms: i64) -> Batch {
        let event: Event = match act.clone() {
            Act::NewExperiment(name) => {
                let experiment = crate::ExperimentSpec::next_id(&self.store.snapshot().unwrap()).unwrap();
                ExperimentCreated {
                    experiment,
                    name,
                    artifact_location: None,
                    creation_time_ms: at_ms,
                    last_update_time_ms: at_ms,
                    tags: Vec::new(),
                }
                .into()
            }
            Act::NewRun(run, name, _) => RunCreated {
                run,
                experiment: self.experiment(self.state.experiments.first().unwrap()),
                name,
                user_id: String::new(),
                status: RunStatus::Running,
                start_time_ms: at_ms,
                artifact_location: None,
                tags: Vec::new(),
            }
            .into(),
            Act::NewModel(model, name) => RegisteredModelCreated {
                model,
                name,
                description: None,
                creation_time_ms: at_ms,
                last_updated_time_ms: at_ms,
                tags: Vec::new(),
            }
            .into(),
            Act::NewVersion(model, version, source) => ModelVersionCreated {
                model,
                version,
                source,
                storage_location: None,
                run_id: None,
                run_link: None,
                model_id: None,
                user_id: None,
                description: None,
                stage: Stage::None,
                status: VersionStatus::Ready,
                status_message: None,
                creation_time_ms: at_ms,
                last_updated_time_ms: at_ms,
                tags: Vec::new(),
            }
            .into(),
            Act::Set(Of::Experiment(name), What::Tag(key), value) => {
                let experiment = self.experiment(&name);
                match value {
                    Some(value) => ExperimentTagsSet { experiment, tags: vec![(key, value)] }.into(),
                    None => ExperimentTagDeleted { experiment, key }.into(),
                }
            }
            Act::Set(Of::Run(run), What::Tag(key), value) => match value {
                Some(value) => RunTagsSet { run, tags: vec![(key, value)] }.into(),
                None => RunTagDeleted { run, key }.into(),
            },
            Act::Set(Of::Run(run), What::Name, name) => {
                RunUpdated { run, status: None, end_time_ms: None, name }.into()
            }
            Act::Set(Of::Run(run), What::Status, status) => {
                let status =
                    Some(if status.as_deref() == Some("FAILED") { RunStatus::Failed } else { RunStatus::Finished });
                RunUpdated { run, status, end_time_ms: None, name: None }.into()
            }
            Act::Set(Of::Run(run), What::Lifecycle, value) => match value.as_deref() {
                Some("deleted") => RunDeleted { run, at_ms }.into(),
                _ => RunRestored { run }.into(),
            },
            Act::Set(Of::Model(model), What::Description, description) => {
                RegisteredModelUpdated { model, description, at_ms }.into()
            }
            Act::Set(Of::Model(model), What::Tag(key), value) => match value {
                Some(value) => RegisteredModelTagsSet { model, tags: vec![(key, value)] }.into(),
                None => RegisteredModelTagDeleted { model, key }.into(),
            },
            Act::Set(Of::Model(model), What::VersionTag(version, key), value) => match value {
                Some(value) => ModelVersionTagsSet { model, version, tags: vec![(key, value)] }.into(),
                None => ModelVersionTagDeleted { model, version, key }.into(),
            },
            Act::Set(Of::Model(model), What::VersionDeletion(version), _) => {
                ModelVersionDeleted { model, version, at_ms }.into()
            }
            Act::Set(Of::Model(model), What::Deletion, _) => RegisteredModelDeleted { model }.into(),
            Act::Set(of, what, _) => unreachable!("{of:?} {what:?}"),
            Act::Alias(model, alias, version) => match version {
                Some((version, _)) => AliasSet { model, alias, version }.into(),
                None => AliasDeleted { model, alias }.into(),
            },
            Act::Stage(model, changed) => {
                for (version, _, stage) in changed {
                    batch.push_event(ModelVersionStageChanged { model, version, stage, at_ms });
                }
                return batch;
            }
            Act::Points(run, points) => {
                for point in points {
                    batch.push_metric(run, "loss", point, None);
                }
                return batch;
            }
            Act::Param(run, key, value) => ParamsLogged { run, params: vec![(key, value)] }.into(),
        };
        batch.event(event)
    }

    /// Sends what can be sent while files are missing: as a reader that opens this store for reading only, knows
    /// nothing about its holder, and learns what is missing; `closed`: this store will not be opened for writing again.
    /// `None`: the source was refused.
    pub(super) fn send_what_is_there(&self, to: &Self, closed: bool) -> Option<Sent> {
        let is_damage = |error: &Error| matches!(error, Error::MissingFile { .. } | Error::Corrupt(_));
        let reader = match options(self.storage.read_only(), &self.clock).read_only(true).create(false).open() {
            Ok(reader) => reader,
            Err(error) => {
                assert!(is_damage(&error), "the open: {error}");
                return None;
            }
        };
        let source_id = self.id();
        let applied = || Target::new(&to.store, source_id).unwrap().applied().unwrap();
        let before = applied();
        let complete = reader.engine().complete_up_to();
        let is_whole = reader.missing().is_empty();
        if !is_whole {
            // A copy would be indistinguishable from a complete store.
            let copy: Arc<dyn Storage> = Arc::new(Memory::new());
            let options = crate::engine::Store::options("copy").background(false).clock(self.clock.clone());
            let error = reader.engine().replay_to(&copy, StoreId([3; 16]), options, None).unwrap_err();
            assert!(is_damage(&error), "the copy: {error}");
        }
        let mut source = match Source::new(&reader, before, to.id()) {
            Ok(source) => source,
            Err(error) => {
                assert!(!is_whole && is_damage(&error), "the source: {error}");
                return None;
            }
        };
        if closed {
            source = source.to_published();
        }
        let source_end = source.end();
        // A reader takes the end of a log that is in use for not yet safe.
        let is_whole = is_whole && self.store.positions().published <= source_end;
        let (mut report, mut seen, mut last) = (Report::default(), Vec::new(), None);
        while let Some(chunk) = source.next_chunk().unwrap() {
            report.add(Target::new(&to.store, source_id).unwrap().apply(&chunk).unwrap());
            last = chunk.batches.last().cloned().or(last);
            seen = chunk.seen;
        }
        let through = applied();
        assert!(through <= before.max(complete), "noted up to {through}, but there is no more than up to {complete}");
        let known = to.state.through.get(&source_id).copied().unwrap_or(0);
        let end = if is_whole { self.state.log.len() } else { self.state.through(last.as_ref(), known) };
        Some(Sent { report, seen, end, through, source_end, is_whole })
    }

    /// The store's answers for everything that the model knows, as lines.
    pub(super) fn says(&self) -> Vec<String> {
        let snapshot = self.store.snapshot().unwrap();
        let mut lines = Vec::new();
        let tag =
            |tags: &[KeyValue], key: &str| tags.iter().find(|(have, _)| have == key).map(|(_, value)| value.clone());
        for name in &self.state.experiments {
            let (_, state) = snapshot.experiment_by_name(name).unwrap().unwrap();
            lines.push(format!("{name} t: {:?}", tag(&state.tags, "t")));
        }
        for run in self.state.runs.keys() {
            let state = snapshot.run(*run).unwrap().unwrap();
            lines.push(format!(
                "{run} {} {:?} {:?} {:?} {:?}",
                state.name,
                state.status,
                state.lifecycle == Lifecycle::Deleted,
                (tag(&state.tags, "t"), tag(&state.tags, "u")),
                tag(&state.params, "p")
            ));
            let mut points = Vec::new();
            let mut after = None;
            loop {
                let query = HistoryQuery { after, ..HistoryQuery::default() };
                let page = snapshot.history(*run, "loss", &query).unwrap();
                points.extend(page.columns.values.iter().map(|value| value.to_bits()));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            points.sort_unstable();
            let count = snapshot.stats(*run, "loss").unwrap().map_or(0, |stats| stats.count_raw);
            lines.push(format!("{run} {count} points {points:x?}"));
        }
        for model in self.state.models.keys() {
            let key = EntityKey::RegisteredModel(*model);
            let entity = snapshot.entity(&key).unwrap().unwrap();
            let EntityState::RegisteredModel(state) = &*entity else { unreachable!() };
            if state.deleted {
                lines.push(format!("{model:?} deleted"));
                continue;
            }
            let (t, aliases) = (tag(&state.tags, "t"), &state.aliases);
            lines.push(format!("{model:?} {:?} {t:?} {aliases:?}", state.description));
            for version in &state.versions {
                let state: ModelVersionState = (*snapshot.model_version(*model, *version).unwrap().unwrap()).clone();
                lines.push(format!(
                    "{model:?} {version} {} {:?} {:?}",
                    state.source,
                    state.stage,
                    tag(&state.tags, "t")
                ));
            }
        }
        lines
    }

    /// The model's answers, as lines.
    pub(super) fn should_say(&self) -> Vec<String> {
        let state = &self.state;
        let tag = |of: &Of, key: &str| state.value(of, &What::Tag(key.into()));
        let mut lines = Vec::new();
        for name in &state.experiments {
            lines.push(format!("{name} t: {:?}", tag(&Of::Experiment(name.clone()), "t")));
        }
        for run in state.runs.keys() {
            let of = Of::Run(*run);
            let status = match state.value(&of, &What::Status).as_deref() {
                Some("FAILED") => RunStatus::Failed,
                Some("FINISHED") => RunStatus::Finished,
                _ => RunStatus::Running,
            };
            let deleted = state.value(&of, &What::Lifecycle).as_deref() == Some("deleted");
            let (name, tags) = (state.value(&of, &What::Name).unwrap(), (tag(&of, "t"), tag(&of, "u")));
            lines.push(format!(
                "{run} {name} {status:?} {deleted:?} {tags:?} {:?}",
                state.params.get(&(*run, "p".into()))
            ));
            let points: Vec<u64> = state.points.get(run).into_iter().flatten().copied().collect();
            lines.push(format!("{run} {} points {points:x?}", points.len()));
        }
        for (model, deleted) in &state.models {
            if *deleted {
                lines.push(format!("{model:?} deleted"));
                continue;
            }
            let of = Of::Model(*model);
            let aliases: Vec<(String, u32)> = ["a", "b"]
                .into_iter()
                .filter_map(|alias| {
                    Some((alias.into(), state.value(&of, &What::Alias(alias.into()))?.parse().unwrap()))
                })
                .collect();
            lines.push(format!("{model:?} {:?} {:?} {aliases:?}", state.value(&of, &What::Description), tag(&of, "t")));
            for ((other, version), (text, stage, deleted, _)) in &state.versions {
                if other == model && !deleted {
                    let tag = state.value(&of, &What::VersionTag(*version, "t".into()));
                    lines.push(format!("{model:?} {version} {text} {stage:?} {tag:?}"));
                }
            }
        }
        lines
    }
}

/// The name of a file that is missing for a while.
pub(super) fn aside(path: &str) -> String {
    format!("gone-{}", path.replace('/', "-"))
}

pub(super) fn show_files(storage: &Memory, gone: &BTreeSet<String>) {
    for path in gone {
        storage.rename(&aside(path), path).unwrap();
    }
}

/// The same files in a storage of their own.
pub(super) fn copy_of(storage: &Memory) -> Memory {
    let to = Memory::new();
    let mut dirs = vec![String::new()];
    while let Some(dir) = dirs.pop() {
        for entry in storage.list(&dir).unwrap() {
            let path = if dir.is_empty() { entry.name.clone() } else { format!("{dir}/{}", entry.name) };
            if entry.is_dir {
                to.create_dir(&path).unwrap();
                dirs.push(path);
                continue;
            }
            let from = storage.open(&path, OpenMode::Read).unwrap();
            let mut bytes = vec![0; usize::try_from(from.len().unwrap()).unwrap()];
            read_exact_at(&*from, &mut bytes, 0).unwrap();
            write_all_at(&*to.open(&path, OpenMode::CreateNew).unwrap(), &bytes, 0).unwrap();
        }
    }
    to
}
