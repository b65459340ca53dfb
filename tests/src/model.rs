//! A naive store in memory: the expected answers. Written from the documentation, not from the engine: maps, vectors,
//! and a sort for every question. It gets each write with the position that the store gave it; the past is a second
//! model with fewer writes.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use runlode_engine::entity::*;
use runlode_engine::event::{Event, KeyValue, RunStatus};
use runlode_engine::point::Point;
use runlode_engine::search::{
    Aggregate, Comparison, Filter, Key, NumberKey, NumberTest, SearchQuery, Term, TextKey, TextTest,
};
use runlode_engine::{Error, ExperimentId, Lsn, MetricContext, ModelId, RegisteredModelId, RunId, TimestampMs};

use crate::work::{Logged, Write};

/// Kinds of refusal.
pub type Class = &'static str;

/// The kind of an error.
pub fn class(error: &Error) -> Class {
    match error {
        Error::Invalid { .. } => "invalid",
        Error::NotFound { .. } => "not found",
        Error::AlreadyExists { .. } => "already exists",
        Error::Deleted { .. } => "deleted",
        Error::ParamChanged { .. } => "param changed",
        Error::Purged { .. } => "purged",
        Error::Conflict { .. } => "conflict",
        Error::KeyReused { .. } => "key reused",
        Error::Io { .. } => "io",
        Error::StorageFull { .. } => "full",
        Error::Corrupt(_) => "corrupt",
        Error::MissingFile { .. } => "missing file",
        Error::UnsupportedFormat { .. } => "format",
        Error::Locked { .. } => "locked",
        Error::Poisoned { .. } => "poisoned",
        Error::OutcomeUnknown { .. } => "unknown",
        Error::Closed => "closed",
        Error::ReadOnly => "read only",
        _ => "other",
    }
}

/// One point as it was logged.
#[derive(Debug, Clone)]
pub struct ModelPoint {
    /// Position of its batch.
    pub lsn: Lsn,
    /// The point.
    pub point: Point,
    /// Its context.
    pub context: Option<MetricContext>,
}

/// One event as it was logged.
#[derive(Debug, Clone)]
pub struct ModelEvent {
    /// Position of its batch.
    pub lsn: Lsn,
    /// Place in the batch.
    pub index: u16,
    /// The clock when it was appended.
    pub time: TimestampMs,
    /// The actor.
    pub actor: Option<String>,
    /// The event.
    pub event: Event,
}

/// The expected outcome of a write.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It gets a new position.
    Accepted,
    /// Its key was used for the same content: the first position.
    Repeated(Lsn),
    /// An error of this kind.
    Refused(Class),
}

/// The model.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Experiments.
    pub experiments: BTreeMap<ExperimentId, ExperimentState>,
    /// Runs.
    pub runs: BTreeMap<RunId, RunState>,
    /// Logged models.
    pub logged_models: BTreeMap<ModelId, LoggedModelState>,
    /// Registered models.
    pub registered: BTreeMap<RegisteredModelId, RegisteredModelState>,
    /// Their versions.
    pub versions: BTreeMap<(RegisteredModelId, u32), ModelVersionState>,
    /// Data sets.
    pub datasets: BTreeMap<(ExperimentId, String, String), DatasetState>,
    /// Points in the order of logging; for a rewound run, those that it shows.
    pub points: BTreeMap<(RunId, String), Vec<ModelPoint>>,
    /// The points of dead branches when they were left, by run and number.
    pub dead: BTreeMap<(RunId, u32), BTreeMap<String, Vec<ModelPoint>>>,
    /// Events in the order of logging.
    pub events: Vec<ModelEvent>,
    /// Idempotency keys.
    pub keys: BTreeMap<Vec<u8>, (Lsn, String)>,
    /// Position of the last write.
    pub last: Lsn,
}

fn put(list: &mut Vec<KeyValue>, pairs: &[KeyValue], last_wins: bool) {
    let mut map: BTreeMap<String, String> = list.drain(..).collect();
    for (key, value) in pairs {
        if last_wins || !map.contains_key(key) {
            map.insert(key.clone(), value.clone());
        }
    }
    list.extend(map);
}

fn remove(list: &mut Vec<KeyValue>, key: &str) {
    list.retain(|(have, _)| have != key);
}

fn get<'a>(list: &'a [KeyValue], key: &str) -> Option<&'a str> {
    list.iter().find(|(have, _)| have == key).map(|(_, value)| value.as_str())
}

const RUN_NAME: &str = "mlflow.runName";

fn put_run_tags(run: &mut RunState, tags: &[KeyValue]) {
    let tags: Vec<KeyValue> =
        tags.iter().filter(|(key, value)| key != RUN_NAME || !value.is_empty()).cloned().collect();
    if let Some((_, name)) = tags.iter().rev().find(|(key, _)| key == RUN_NAME) {
        run.name = name.clone();
    }
    put(&mut run.tags, &tags, true);
}

fn name_run(run: &mut RunState, name: &str) {
    if !name.is_empty() {
        run.name = name.into();
        put(&mut run.tags, &[(RUN_NAME.into(), name.into())], true);
    }
}

fn value_cmp(a: f64, b: f64) -> Ordering {
    let (x, y) = (if a.is_nan() { 0.0 } else { a }, if b.is_nan() { 0.0 } else { b });
    let rank = |v: f64| if v.is_nan() { 2 } else { u8::from(!(v == 0.0 && v.is_sign_negative())) };
    x.partial_cmp(&y).unwrap().then(rank(a).cmp(&rank(b)))
}

/// The order in which users read points.
pub fn history_cmp(a: &Point, b: &Point) -> Ordering {
    (a.time.0, a.step).cmp(&(b.time.0, b.step)).then(value_cmp(a.value, b.value))
}

/// The order whose last point is the latest.
pub fn latest_cmp(a: &Point, b: &Point) -> Ordering {
    (a.step, a.time.0).cmp(&(b.step, b.time.0)).then(value_cmp(a.value, b.value))
}

/// Statistics of a series, without the engine's two hints, which are not part of answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Totals {
    /// Points.
    pub count: u64,
    /// Least value, NaN skipped.
    pub min: f64,
    /// Greatest value, NaN skipped.
    pub max: f64,
    /// First in latest order.
    pub first: Point2,
    /// Last in latest order.
    pub last: Point2,
    /// Greatest time.
    pub time_max: i64,
}

/// A point by its bits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point2(pub i64, pub i64, pub u64);

impl From<Point> for Point2 {
    fn from(point: Point) -> Self {
        Self(point.step, point.time.0, point.value.to_bits())
    }
}

impl Model {
    /// A run's lifecycle: its own or its experiment's, whichever came last.
    pub fn lifecycle(&self, run: &RunState) -> Lifecycle {
        let experiment = &self.experiments[&run.experiment];
        if run.lifecycle == Lifecycle::Purged || run.lifecycle_lsn > experiment.lifecycle_lsn {
            run.lifecycle
        } else {
            experiment.lifecycle
        }
    }

    fn active_experiment(&self, id: ExperimentId) -> Result<(), Class> {
        match self.experiments.get(&id) {
            None => Err("not found"),
            Some(state) if state.lifecycle == Lifecycle::Active => Ok(()),
            Some(_) => Err("deleted"),
        }
    }

    fn active_run(&self, id: RunId) -> Result<&RunState, Class> {
        let run = self.runs.get(&id).ok_or("not found")?;
        match self.lifecycle(run) {
            Lifecycle::Active => Ok(run),
            Lifecycle::Deleted => Err("deleted"),
            Lifecycle::Purged => Err("purged"),
        }
    }

    fn live_model(&self, id: RegisteredModelId) -> Result<&RegisteredModelState, Class> {
        self.registered.get(&id).filter(|model| !model.deleted).ok_or("not found")
    }

    fn live_version(&self, id: RegisteredModelId, version: u32) -> Result<(), Class> {
        self.live_model(id)?;
        self.versions.get(&(id, version)).filter(|state| !state.deleted).map(drop).ok_or("not found")
    }

    fn experiment_name_free(&self, name: &str, taker: ExperimentId) -> Result<(), Class> {
        let taken = self.experiments.iter().any(|(id, state)| *id != taker && state.name == name);
        if taken { Err("already exists") } else { Ok(()) }
    }

    fn model_name_free(&self, name: &str, taker: RegisteredModelId) -> Result<(), Class> {
        let taken = self.registered.iter().any(|(id, state)| *id != taker && !state.deleted && state.name == name);
        if taken { Err("already exists") } else { Ok(()) }
    }

    /// Whether an event may happen now.
    fn check(&self, event: &Event) -> Result<(), Class> {
        use Event as E;
        match event {
            E::ExperimentCreated(e) => {
                if self.experiments.contains_key(&e.experiment) {
                    return Err("already exists");
                }
                self.experiment_name_free(&e.name, e.experiment)
            }
            E::ExperimentRenamed(e) => {
                self.active_experiment(e.experiment)?;
                self.experiment_name_free(&e.name, e.experiment)
            }
            E::ExperimentTagsSet(e) => self.active_experiment(e.experiment),
            E::ExperimentTagDeleted(e) => {
                self.active_experiment(e.experiment)?;
                get(&self.experiments[&e.experiment].tags, &e.key).map(drop).ok_or("not found")
            }
            E::ExperimentDeleted(e) => match self.experiments.get(&e.experiment) {
                Some(state) if state.lifecycle == Lifecycle::Active => Ok(()),
                _ => Err("not found"),
            },
            E::ExperimentRestored(e) => match self.experiments.get(&e.experiment) {
                Some(state) if state.lifecycle == Lifecycle::Deleted => Ok(()),
                _ => Err("not found"),
            },
            E::RunCreated(e) => match self.runs.get(&e.run) {
                None => self.active_experiment(e.experiment),
                Some(run) if run.lifecycle == Lifecycle::Purged => Err("purged"),
                Some(_) => Err("already exists"),
            },
            E::RunDeleted(e) => self.there(e.run).map(drop),
            E::RunRestored(e) => self.there(e.run).map(drop),
            E::RunPurged(e) => match self.runs.get(&e.run).map(|run| self.lifecycle(run)) {
                None => Err("not found"),
                Some(Lifecycle::Active) => Err("invalid"),
                Some(_) => Ok(()),
            },
            E::ParamsLogged(e) => {
                let run = self.active_run(e.run)?;
                let mut seen: BTreeMap<&str, &str> = run.params.iter().map(|(k, v)| (&**k, &**v)).collect();
                for (key, value) in &e.params {
                    if *seen.entry(key).or_insert(value) != value {
                        return Err("param changed");
                    }
                }
                Ok(())
            }
            E::RunTagDeleted(e) => get(&self.active_run(e.run)?.tags, &e.key).map(drop).ok_or("not found"),
            E::RunUpdated(e) => self.active_run(e.run).map(drop),
            E::RunTagsSet(e) => self.active_run(e.run).map(drop),
            E::RunInputsLogged(e) => self.active_run(e.run).map(drop),
            E::RunOutputsLogged(e) => self.active_run(e.run).map(drop),
            E::ArtifactLogged(e) => self.active_run(e.run).map(drop),
            E::ProjectLaunched(e) => self.active_run(e.run).map(drop),
            E::RunLeased(e) => self.active_run(e.run).map(drop),
            E::LoggedModelCreated(e) => {
                if self.logged_models.contains_key(&e.model) {
                    return Err("already exists");
                }
                self.active_experiment(e.experiment)
            }
            E::LoggedModelFinalized(e) => self.logged(e.model).map(drop),
            E::LoggedModelTagsSet(e) => self.logged(e.model).map(drop),
            E::LoggedModelTagDeleted(e) => get(&self.logged(e.model)?.tags, &e.key).map(drop).ok_or("not found"),
            E::LoggedModelParamsLogged(e) => {
                let mut all = self.logged(e.model)?.params.clone();
                for (key, value) in &e.params {
                    if get(&all, key).is_some() {
                        return Err("already exists");
                    }
                    all.push((key.clone(), value.clone()));
                }
                Ok(())
            }
            E::LoggedModelDeleted(e) => self.logged(e.model).map(drop),
            E::LoggedModelMetricsLogged(e) => {
                self.logged(e.model)?;
                self.runs.get(&e.run).map(drop).ok_or("not found")
            }
            E::LoggedModelPointShared(e) => {
                self.logged(e.model)?;
                self.runs.get(&e.run).map(drop).ok_or("not found")
            }
            E::RegisteredModelCreated(e) => {
                if self.registered.contains_key(&e.model) {
                    return Err("already exists");
                }
                self.model_name_free(&e.name, e.model)
            }
            E::RegisteredModelRenamed(e) => {
                self.live_model(e.model)?;
                self.model_name_free(&e.name, e.model)
            }
            E::RegisteredModelUpdated(e) => self.live_model(e.model).map(drop),
            E::RegisteredModelTagsSet(e) => self.live_model(e.model).map(drop),
            E::RegisteredModelTagDeleted(e) => self.live_model(e.model).map(drop),
            E::RegisteredModelDeleted(e) => self.live_model(e.model).map(drop),
            E::AliasSet(e) => self.live_version(e.model, e.version),
            E::AliasDeleted(e) => self.live_model(e.model).map(drop),
            E::ModelVersionCreated(e) => {
                let model = self.live_model(e.model)?;
                match e.version {
                    0 => Err("invalid"),
                    version if version <= model.version_last => Err("already exists"),
                    _ => Ok(()),
                }
            }
            E::ModelVersionUpdated(e) => self.live_version(e.model, e.version),
            E::ModelVersionStageChanged(e) => self.live_version(e.model, e.version),
            E::ModelVersionTagsSet(e) => self.live_version(e.model, e.version),
            E::ModelVersionTagDeleted(e) => self.live_version(e.model, e.version),
            E::ModelVersionDeleted(e) => self.live_version(e.model, e.version),
            other => panic!("the generator makes no {}", other.name()),
        }
    }

    fn there(&self, id: RunId) -> Result<&RunState, Class> {
        let run = self.runs.get(&id).ok_or("not found")?;
        if run.lifecycle == Lifecycle::Purged { Err("purged") } else { Ok(run) }
    }

    fn logged(&self, id: ModelId) -> Result<&LoggedModelState, Class> {
        self.logged_models.get(&id).ok_or("not found")
    }

    fn run_mut(&mut self, id: RunId, lsn: Lsn) -> &mut RunState {
        let run = self.runs.get_mut(&id).unwrap();
        run.last = lsn;
        run
    }

    fn version_mut(&mut self, id: RegisteredModelId, version: u32, lsn: Lsn) -> &mut ModelVersionState {
        self.registered.get_mut(&id).unwrap().last = lsn;
        let state = self.versions.get_mut(&(id, version)).unwrap();
        state.last = lsn;
        state
    }

    fn model_mut(&mut self, id: RegisteredModelId, lsn: Lsn) -> &mut RegisteredModelState {
        let model = self.registered.get_mut(&id).unwrap();
        model.last = lsn;
        model
    }

    fn apply_event(&mut self, event: &Event, lsn: Lsn) {
        use Event as E;
        match event {
            E::ExperimentCreated(e) => {
                let mut tags = Vec::new();
                put(&mut tags, &e.tags, true);
                let state = ExperimentState {
                    name: e.name.clone(),
                    artifact_location: e.artifact_location.clone(),
                    lifecycle: Lifecycle::Active,
                    lifecycle_lsn: lsn,
                    creation_time_ms: e.creation_time_ms,
                    last_update_time_ms: e.last_update_time_ms,
                    tags,
                    created: lsn,
                    last: lsn,
                };
                self.experiments.insert(e.experiment, state);
            }
            E::ExperimentRenamed(e) => {
                let state = self.experiments.get_mut(&e.experiment).unwrap();
                state.name = e.name.clone();
                state.last_update_time_ms = e.at_ms;
                state.last = lsn;
            }
            E::ExperimentTagsSet(e) => {
                let state = self.experiments.get_mut(&e.experiment).unwrap();
                put(&mut state.tags, &e.tags, true);
                state.last = lsn;
            }
            E::ExperimentTagDeleted(e) => {
                let state = self.experiments.get_mut(&e.experiment).unwrap();
                remove(&mut state.tags, &e.key);
                state.last = lsn;
            }
            E::ExperimentDeleted(e) => self.turn(e.experiment, Lifecycle::Deleted, e.at_ms, lsn),
            E::ExperimentRestored(e) => self.turn(e.experiment, Lifecycle::Active, e.at_ms, lsn),
            E::RunCreated(e) => {
                let mut run = empty_run(e.experiment, lsn);
                run.name = e.name.clone();
                run.user_id = e.user_id.clone();
                run.status = e.status;
                run.start_time_ms = e.start_time_ms;
                run.artifact_location = e.artifact_location.clone();
                put_run_tags(&mut run, &e.tags);
                if get(&run.tags, RUN_NAME).is_none() {
                    name_run(&mut run, &e.name);
                }
                self.runs.insert(e.run, run);
            }
            E::RunUpdated(e) => {
                let run = self.run_mut(e.run, lsn);
                run.status = e.status.unwrap_or(run.status);
                run.end_time_ms = e.end_time_ms.or(run.end_time_ms);
                name_run(run, e.name.as_deref().unwrap_or(""));
            }
            E::RunDeleted(e) => {
                let run = self.run_mut(e.run, lsn);
                (run.lifecycle, run.lifecycle_lsn, run.deleted_time_ms) = (Lifecycle::Deleted, lsn, Some(e.at_ms));
            }
            E::RunRestored(e) => {
                let run = self.run_mut(e.run, lsn);
                (run.lifecycle, run.lifecycle_lsn, run.deleted_time_ms) = (Lifecycle::Active, lsn, None);
            }
            E::RunPurged(e) => {
                let run = self.runs.get_mut(&e.run).unwrap();
                if run.lifecycle != Lifecycle::Purged {
                    let mut stub = empty_run(run.experiment, lsn);
                    (stub.lifecycle, stub.created, stub.status) = (Lifecycle::Purged, run.created, RunStatus::Killed);
                    *run = stub;
                }
            }
            E::ParamsLogged(e) => put(&mut self.run_mut(e.run, lsn).params, &e.params, false),
            E::RunTagsSet(e) => put_run_tags(self.run_mut(e.run, lsn), &e.tags),
            E::RunTagDeleted(e) => remove(&mut self.run_mut(e.run, lsn).tags, &e.key),
            E::RunInputsLogged(e) => {
                let run = self.run_mut(e.run, lsn);
                for input in &e.datasets {
                    if !run.datasets.iter().any(|d| d.name == input.name && d.digest == input.digest) {
                        run.datasets.push(DatasetRef::from(input));
                    }
                }
                for model in &e.models {
                    if !run.model_inputs.contains(model) {
                        run.model_inputs.push(model.clone());
                    }
                }
                let experiment = run.experiment;
                for input in &e.datasets {
                    let key = (experiment, input.name.clone(), input.digest.clone());
                    self.datasets.entry(key).or_insert_with(|| DatasetState {
                        source_type: input.source_type.clone(),
                        source: input.source.clone(),
                        schema: input.schema.clone(),
                        profile: input.profile.clone(),
                        last: lsn,
                    });
                }
            }
            E::RunOutputsLogged(e) => self.run_mut(e.run, lsn).model_outputs.extend(e.models.iter().cloned()),
            E::ArtifactLogged(e) => {
                let run = self.run_mut(e.run, lsn);
                run.artifacts.retain(|(path, _)| *path != e.path);
                run.artifacts.push((e.path.clone(), e.size_bytes));
                run.artifacts.sort();
            }
            E::ProjectLaunched(e) => self.run_mut(e.run, lsn).launches += 1,
            E::RunRewound(e) => {
                let rewind = Rewind { from: e.from, to_step: e.to_step, lsn, at_ms: e.at_ms };
                self.run_mut(e.run, lsn).rewinds.push(rewind);
                let shown = self.points.iter().filter(|((run, _), _)| *run == e.run);
                let shown = shown.map(|((_, key), points)| (key.clone(), points.clone())).collect();
                self.dead.insert((e.run, e.from), shown);
                self.points.retain(|(run, _), points| {
                    if *run == e.run {
                        points.retain(|logged| logged.point.step <= e.to_step);
                    }
                    !points.is_empty()
                });
            }
            E::RunLeased(e) => {
                let (host, boot_id) = (e.host.clone(), e.boot_id.clone());
                let lease = Lease { host, pid: e.pid, process_start: e.process_start, boot_id, at_ms: e.at_ms };
                self.run_mut(e.run, lsn).lease = Some(lease);
            }
            E::LoggedModelCreated(e) => {
                let (mut params, mut tags) = (Vec::new(), Vec::new());
                put(&mut params, &e.params, false);
                put(&mut tags, &e.tags, true);
                let state = LoggedModelState {
                    experiment: e.experiment,
                    name: e.name.clone(),
                    model_type: e.model_type.clone(),
                    source_run: e.source_run.clone(),
                    artifact_location: e.artifact_location.clone(),
                    status: e.status,
                    status_message: e.status_message.clone(),
                    lifecycle: Lifecycle::Active,
                    creation_time_ms: e.creation_time_ms,
                    last_updated_time_ms: e.last_updated_time_ms,
                    params,
                    tags,
                    metric_series: Vec::new(),
                    shared_points: Vec::new(),
                    created: lsn,
                    last: lsn,
                };
                self.logged_models.insert(e.model, state);
            }
            E::LoggedModelFinalized(e) => {
                let model = self.logged_models.get_mut(&e.model).unwrap();
                (model.status, model.last_updated_time_ms, model.last) = (e.status, e.at_ms, lsn);
            }
            E::LoggedModelTagsSet(e) => {
                let model = self.logged_models.get_mut(&e.model).unwrap();
                put(&mut model.tags, &e.tags, true);
                model.last = lsn;
            }
            E::LoggedModelTagDeleted(e) => {
                let model = self.logged_models.get_mut(&e.model).unwrap();
                remove(&mut model.tags, &e.key);
                model.last = lsn;
            }
            E::LoggedModelParamsLogged(e) => {
                let model = self.logged_models.get_mut(&e.model).unwrap();
                put(&mut model.params, &e.params, false);
                model.last = lsn;
            }
            E::LoggedModelDeleted(e) => {
                let model = self.logged_models.get_mut(&e.model).unwrap();
                (model.lifecycle, model.last_updated_time_ms, model.last) = (Lifecycle::Deleted, e.at_ms, lsn);
            }
            E::LoggedModelMetricsLogged(e) => {
                let model = self.logged_models.get_mut(&e.model).unwrap();
                model.metric_series.extend(e.keys.iter().map(|key| (e.run, key.clone())));
                model.metric_series.sort();
                model.metric_series.dedup();
                model.last = lsn;
            }
            E::LoggedModelPointShared(e) => {
                let model = self.logged_models.get_mut(&e.model).unwrap();
                model.shared_points.push(SharedPoint {
                    run: e.run,
                    key: e.key.clone(),
                    step: e.step,
                    time_ms: e.time_ms,
                    value_bits: e.value_bits,
                    dataset_name: e.dataset_name.clone(),
                    dataset_digest: e.dataset_digest.clone(),
                });
                model.shared_points.sort();
                model.shared_points.dedup();
                model.last = lsn;
            }
            E::RegisteredModelCreated(e) => {
                let mut tags = Vec::new();
                put(&mut tags, &e.tags, true);
                let state = RegisteredModelState {
                    name: e.name.clone(),
                    description: e.description.clone(),
                    creation_time_ms: e.creation_time_ms,
                    last_updated_time_ms: e.last_updated_time_ms,
                    tags,
                    aliases: Vec::new(),
                    version_last: 0,
                    versions: Vec::new(),
                    deleted: false,
                    created: lsn,
                    last: lsn,
                };
                self.registered.insert(e.model, state);
            }
            E::RegisteredModelUpdated(e) => {
                let model = self.model_mut(e.model, lsn);
                (model.description, model.last_updated_time_ms) = (e.description.clone(), e.at_ms);
            }
            E::RegisteredModelRenamed(e) => {
                let model = self.model_mut(e.model, lsn);
                (model.name, model.last_updated_time_ms) = (e.name.clone(), e.at_ms);
                for version in model.versions.clone() {
                    self.version_mut(e.model, version, lsn).last_updated_time_ms = e.at_ms;
                }
            }
            E::RegisteredModelTagsSet(e) => put(&mut self.model_mut(e.model, lsn).tags, &e.tags, true),
            E::RegisteredModelTagDeleted(e) => remove(&mut self.model_mut(e.model, lsn).tags, &e.key),
            E::RegisteredModelDeleted(e) => {
                let model = self.model_mut(e.model, lsn);
                model.deleted = true;
                model.aliases.clear();
                for version in std::mem::take(&mut model.versions) {
                    self.version_mut(e.model, version, lsn).deleted = true;
                }
            }
            E::AliasSet(e) => {
                let model = self.model_mut(e.model, lsn);
                model.aliases.retain(|(alias, _)| *alias != e.alias);
                model.aliases.push((e.alias.clone(), e.version));
                model.aliases.sort();
            }
            E::AliasDeleted(e) => self.model_mut(e.model, lsn).aliases.retain(|(alias, _)| *alias != e.alias),
            E::ModelVersionCreated(e) => {
                let model = self.model_mut(e.model, lsn);
                model.versions.push(e.version);
                model.version_last = e.version;
                model.last_updated_time_ms = e.creation_time_ms;
                let mut tags = Vec::new();
                put(&mut tags, &e.tags, true);
                let state = ModelVersionState {
                    source: e.source.clone(),
                    storage_location: e.storage_location.clone(),
                    run_id: e.run_id.clone(),
                    run_link: e.run_link.clone(),
                    model_id: e.model_id.clone(),
                    user_id: e.user_id.clone(),
                    description: e.description.clone(),
                    stage: e.stage,
                    status: e.status,
                    status_message: e.status_message.clone(),
                    creation_time_ms: e.creation_time_ms,
                    last_updated_time_ms: e.last_updated_time_ms,
                    tags,
                    deleted: false,
                    created: lsn,
                    last: lsn,
                };
                self.versions.insert((e.model, e.version), state);
            }
            E::ModelVersionUpdated(e) => {
                let version = self.version_mut(e.model, e.version, lsn);
                (version.description, version.last_updated_time_ms) = (e.description.clone(), e.at_ms);
            }
            E::ModelVersionStageChanged(e) => {
                let version = self.version_mut(e.model, e.version, lsn);
                (version.stage, version.last_updated_time_ms) = (e.stage, e.at_ms);
                self.model_mut(e.model, lsn).last_updated_time_ms = e.at_ms;
            }
            E::ModelVersionTagsSet(e) => put(&mut self.version_mut(e.model, e.version, lsn).tags, &e.tags, true),
            E::ModelVersionTagDeleted(e) => remove(&mut self.version_mut(e.model, e.version, lsn).tags, &e.key),
            E::ModelVersionDeleted(e) => {
                let version = self.version_mut(e.model, e.version, lsn);
                (version.deleted, version.last_updated_time_ms) = (true, e.at_ms);
                let model = self.model_mut(e.model, lsn);
                model.last_updated_time_ms = e.at_ms;
                model.versions.retain(|version| *version != e.version);
                model.aliases.retain(|(_, version)| *version != e.version);
            }
            other => panic!("the generator makes no {}", other.name()),
        }
    }

    fn turn(&mut self, id: ExperimentId, lifecycle: Lifecycle, at_ms: i64, lsn: Lsn) {
        let state = self.experiments.get_mut(&id).unwrap();
        (state.lifecycle, state.lifecycle_lsn) = (lifecycle, lsn);
        (state.last_update_time_ms, state.last) = (at_ms, lsn);
    }

    /// The expected outcome of a write. `head`: the store's last position, which marks move too.
    pub fn verdict(&self, write: &Write, head: Lsn) -> Verdict {
        if write.events.is_empty() && write.points.is_empty() {
            return Verdict::Refused("invalid");
        }
        if let Some(key) = &write.key
            && let Some((lsn, content)) = self.keys.get(key)
        {
            let same = *content == write.content();
            return if same { Verdict::Repeated(*lsn) } else { Verdict::Refused("key reused") };
        }
        match self.refusal(write, head) {
            Some(class) => Verdict::Refused(class),
            None => Verdict::Accepted,
        }
    }

    fn refusal(&self, write: &Write, head: Lsn) -> Option<Class> {
        let mut after = None;
        if !write.events.is_empty() {
            let mut working =
                Self { points: BTreeMap::new(), events: Vec::new(), keys: BTreeMap::new(), ..self.clone() };
            for event in &write.events {
                if let Err(class) = working.check(event) {
                    // A write that was decided on an older state must be decided again, whatever else is wrong with it.
                    return Some(if self.expects_an_older_state(write) { "conflict" } else { class });
                }
                working.apply_event(event, self.last.next());
            }
            after = Some(working);
        }
        let after = after.as_ref().unwrap_or(self);
        if write.points.iter().any(|logged| !after.runs.contains_key(&logged.run)) {
            return Some("not found");
        }
        if write.points.iter().any(|logged| logged.point.time.0 < 0 || logged.key.is_empty()) {
            return Some("invalid");
        }
        if write.expect_head.is_some_and(|expected| expected != head) {
            return Some("conflict");
        }
        if self.expects_an_older_state(write) {
            return Some("conflict");
        }
        write.points.iter().find_map(|logged| after.active_run(logged.run).err())
    }

    fn expects_an_older_state(&self, write: &Write) -> bool {
        let last = |run| self.runs.get(run).map_or(Lsn::ZERO, |state| state.last);
        write.expect.as_ref().is_some_and(|(run, expected)| last(run) != *expected)
    }

    /// The part of a write that is stored at a time: a point that arrives more than a second after its own time may
    /// exist already, and is then left out. Points are checked one after another.
    pub fn stored(&self, write: &Write, now: TimestampMs) -> Write {
        let same = |a: &Point, b: &Point| (a.step, a.time, a.value.to_bits()) == (b.step, b.time, b.value.to_bits());
        let mut stored = Write { points: Vec::new(), ..write.clone() };
        for logged in &write.points {
            let known = self.points.get(&(logged.run, logged.key.clone())).map_or(&[][..], Vec::as_slice);
            // A point without a context matches one with a context.
            let is_known = |k: &ModelPoint| k.context == logged.context || logged.context.is_none();
            let before = known.iter().any(|k| is_known(k) && same(&k.point, &logged.point));
            let of_write = |other: &Logged| {
                (other.run, &other.key, &other.context) == (logged.run, &logged.key, &logged.context)
                    && same(&other.point, &logged.point)
            };
            let is_late = now.0 - logged.point.time.0 > 1_000;
            if !is_late || !(before || stored.points.iter().any(of_write)) {
                stored.points.push(logged.clone());
            }
        }
        stored
    }

    /// Adds an accepted write.
    pub fn accept(&mut self, write: &Write, lsn: Lsn, time: TimestampMs) {
        let stored = self.stored(write, time);
        assert!(lsn > self.last, "position {lsn} was given out after {}", self.last);
        for (index, event) in write.events.iter().enumerate() {
            self.apply_event(event, lsn);
            let (actor, event) = (write.actor.clone(), event.clone());
            self.events.push(ModelEvent { lsn, index: index as u16, time, actor, event });
        }
        for Logged { run, key, point, context } in &stored.points {
            let logged = ModelPoint { lsn, point: *point, context: context.clone() };
            self.points.entry((*run, key.clone())).or_default().push(logged);
        }
        if let Some(key) = &write.key {
            self.keys.insert(key.clone(), (lsn, write.content()));
        }
        self.last = lsn;
    }

    // ---- answers -------------------------------------------------------------------------------------------------

    /// A series in history order.
    pub fn history(&self, run: RunId, key: &str) -> Vec<ModelPoint> {
        Self::in_order(self.points.get(&(run, key.to_owned())).map_or(&[], Vec::as_slice))
    }

    /// Points in history order.
    pub fn in_order(points: &[ModelPoint]) -> Vec<ModelPoint> {
        let mut points = points.to_vec();
        points.sort_by(|a, b| history_cmp(&a.point, &b.point));
        points
    }

    /// Whether a run can be rewound.
    pub fn may_rewind(&self, run: RunId) -> Result<(), Class> {
        self.active_run(run).map(drop)
    }

    /// Points of a run that a rewind hides.
    pub fn hidden_by(&self, run: RunId, to_step: i64) -> u64 {
        let keys = self.metric_keys(run);
        keys.iter().flat_map(|key| self.history(run, key)).filter(|logged| logged.point.step > to_step).count() as u64
    }

    /// Statistics of a series.
    pub fn totals(&self, run: RunId, key: &str) -> Option<Totals> {
        let points = self.points.get(&(run, key.to_owned()))?;
        let mut sorted: Vec<Point> = points.iter().map(|logged| logged.point).collect();
        sorted.sort_by(latest_cmp);
        let first_of = |of: &Point| sorted.iter().find(|point| latest_cmp(point, of).is_eq()).copied();
        let values = || sorted.iter().map(|point| point.value).filter(|value| !value.is_nan());
        Some(Totals {
            count: sorted.len() as u64,
            min: values().reduce(|a, b| if b < a { b } else { a }).unwrap_or(f64::NAN),
            max: values().reduce(|a, b| if b > a { b } else { a }).unwrap_or(f64::NAN),
            first: sorted.first().copied()?.into(),
            last: first_of(sorted.last()?)?.into(),
            time_max: sorted.iter().map(|point| point.time.0).max()?,
        })
    }

    /// Keys of a run's metrics.
    pub fn metric_keys(&self, run: RunId) -> Vec<String> {
        self.points.keys().filter(|(of, _)| *of == run).map(|(_, key)| key.clone()).collect()
    }

    /// Events of an entity.
    pub fn events_of(&self, entity: &EntityKey) -> Vec<&ModelEvent> {
        self.events.iter().filter(|logged| is_about(&logged.event, entity)).collect()
    }

    /// All runs that match a query, in order, without paging.
    pub fn search(&self, query: &SearchQuery) -> Vec<RunId> {
        let mut found: Vec<(&RunId, &RunState)> = self
            .runs
            .iter()
            .filter(|(_, run)| query.experiments.contains(&run.experiment) && query.view.shows(self.lifecycle(run)))
            .filter(|(id, run)| query.filter.as_ref().is_none_or(|filter| self.matches(filter, **id, run)))
            .collect();
        found.sort_by(|a, b| {
            for order in &query.order {
                let compared = match &order.key {
                    Key::Text(key) => {
                        let (a, b) = (self.text(key, *a.0, a.1), self.text(key, *b.0, b.1));
                        directed(order.ascending, a, b, |_| false, |a, b| a.cmp(b))
                    }
                    Key::Number(key) => {
                        let (a, b) = (self.number(key, *a.0, a.1), self.number(key, *b.0, b.1));
                        directed(order.ascending, a, b, |v| v.is_nan(), |a, b| a.partial_cmp(b).unwrap())
                    }
                };
                if compared.is_ne() {
                    return compared;
                }
            }
            b.1.start_time_ms.cmp(&a.1.start_time_ms).then(a.0.cmp(b.0))
        });
        found.into_iter().map(|(id, _)| *id).collect()
    }

    fn matches(&self, filter: &Filter, id: RunId, run: &RunState) -> bool {
        match filter {
            Filter::And(all) => all.iter().all(|filter| self.matches(filter, id, run)),
            Filter::Or(any) => any.iter().any(|filter| self.matches(filter, id, run)),
            Filter::Not(inner) => !self.matches(inner, id, run),
            Filter::Term(Term::Text { key, test }) => match (self.text(key, id, run), test) {
                (text, TextTest::IsNull) => text.is_none(),
                (None, _) => false,
                (Some(_), TextTest::IsNotNull) => true,
                (Some(text), TextTest::Eq(wanted)) => text == *wanted,
                (Some(text), TextTest::Ne(wanted)) => text != *wanted,
                (_, other) => panic!("the generator makes no {other:?}"),
            },
            Filter::Term(Term::Number { key, test }) => match (self.number(key, id, run), test) {
                (number, NumberTest::IsNull) => number.is_none(),
                (None, _) => false,
                (Some(_), NumberTest::IsNotNull) => true,
                (Some(number), NumberTest::Compare(comparison, value)) => match comparison {
                    Comparison::Eq => number == *value,
                    Comparison::Ne => number != *value,
                    Comparison::Lt => number < *value,
                    Comparison::Le => number <= *value,
                    Comparison::Gt => number > *value,
                    Comparison::Ge => number >= *value,
                },
            },
        }
    }

    fn text(&self, key: &TextKey, id: RunId, run: &RunState) -> Option<String> {
        match key {
            TextKey::RunId => Some(id.to_string()),
            TextKey::Name => Some(run.name.clone()),
            TextKey::UserId => Some(run.user_id.clone()),
            TextKey::Status => Some(<&str>::from(run.status).to_owned()),
            TextKey::Param(key) => get(&run.params, key).map(str::to_owned),
            TextKey::Tag(key) => get(&run.tags, key).map(str::to_owned),
            other => panic!("the generator makes no {other:?}"),
        }
    }

    fn number(&self, key: &NumberKey, id: RunId, run: &RunState) -> Option<f64> {
        match key {
            NumberKey::StartTime => Some(run.start_time_ms as f64),
            NumberKey::EndTime => run.end_time_ms.map(|time| time as f64),
            NumberKey::Param(key) => get(&run.params, key).and_then(|text| text.parse().ok()),
            NumberKey::Tag(key) => get(&run.tags, key).and_then(|text| text.parse().ok()),
            NumberKey::Metric { name, aggregate } => {
                let totals = self.totals(id, name)?;
                Some(match aggregate {
                    Aggregate::Latest => f64::from_bits(totals.last.2),
                    Aggregate::First => f64::from_bits(totals.first.2),
                    Aggregate::Min => totals.min,
                    Aggregate::Max => totals.max,
                    Aggregate::Count => totals.count as f64,
                })
            }
        }
    }
}

fn directed<T>(
    ascending: bool,
    a: Option<T>,
    b: Option<T>,
    is_nan: impl Fn(&T) -> bool,
    cmp: impl Fn(&T, &T) -> Ordering,
) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => match (is_nan(&a), is_nan(&b)) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if ascending => cmp(&a, &b),
            (false, false) => cmp(&b, &a),
        },
    }
}

fn empty_run(experiment: ExperimentId, lsn: Lsn) -> RunState {
    RunState {
        experiment,
        name: String::new(),
        user_id: String::new(),
        status: RunStatus::Running,
        start_time_ms: 0,
        end_time_ms: None,
        artifact_location: None,
        lifecycle: Lifecycle::Active,
        lifecycle_lsn: lsn,
        deleted_time_ms: None,
        params: Vec::new(),
        tags: Vec::new(),
        datasets: Vec::new(),
        model_inputs: Vec::new(),
        model_outputs: Vec::new(),
        artifacts: Vec::new(),
        launches: 0,
        rewinds: Vec::new(),
        lease: None,
        created: lsn,
        last: lsn,
    }
}

/// Whether an event belongs to the history of an entity: the one that its first field names; a version's event belongs
/// to its model's too.
fn is_about(event: &Event, entity: &EntityKey) -> bool {
    use Event as E;
    macro_rules! among {
        ($id:expr, $field:ident: $($kind:ident),*) => { match event { $(E::$kind(e) => e.$field == *$id,)* _ => false } };
    }
    match entity {
        EntityKey::Experiment(id) => among!(id, experiment: ExperimentCreated, ExperimentRenamed, ExperimentTagsSet,
            ExperimentTagDeleted, ExperimentDeleted, ExperimentRestored),
        EntityKey::Run(id) => among!(id, run: RunCreated, RunUpdated, RunDeleted, RunRestored, RunPurged, ParamsLogged,
            RunTagsSet, RunTagDeleted, RunInputsLogged, RunOutputsLogged, ArtifactLogged, ProjectLaunched,
            RunRewound, RunLeased),
        EntityKey::LoggedModel(id) => among!(id, model: LoggedModelCreated, LoggedModelFinalized, LoggedModelTagsSet,
            LoggedModelTagDeleted, LoggedModelParamsLogged, LoggedModelDeleted, LoggedModelMetricsLogged,
            LoggedModelPointShared),
        EntityKey::RegisteredModel(id) => among!(id, model: RegisteredModelCreated, RegisteredModelUpdated,
            RegisteredModelRenamed, RegisteredModelTagsSet, RegisteredModelTagDeleted, RegisteredModelDeleted, AliasSet,
            AliasDeleted, ModelVersionCreated, ModelVersionUpdated, ModelVersionStageChanged, ModelVersionTagsSet,
            ModelVersionTagDeleted, ModelVersionDeleted),
        EntityKey::ModelVersion(id, number) => {
            among!(number, version: ModelVersionCreated, ModelVersionUpdated, ModelVersionStageChanged,
                ModelVersionTagsSet, ModelVersionTagDeleted, ModelVersionDeleted)
                && is_about(event, &EntityKey::RegisteredModel(*id))
        }
        _ => false,
    }
}
