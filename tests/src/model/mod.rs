//! A naive store in memory: the expected answers.
//!
//! Written from the documentation, not from the engine: maps, vectors, and a sort for every question. It gets each
//! write with the position that the store gave it; the past is a second model with fewer writes.

mod apply;
mod check;
mod search;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use runlode_engine::entity::*;
use runlode_engine::event::{Event, KeyValue, RunStatus};
use runlode_engine::point::Point;
use runlode_engine::search::{
    Aggregate, Comparison, Filter, Key, NumberKey, NumberTest, SearchQuery, Term, TextKey, TextTest,
};
use runlode_engine::{Error, ExperimentId, Lsn, MetricContext, ModelId, RegisteredModelId, RunId, TimestampMs};

use crate::write::{Logged, Write};

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

fn get<'a>(list: &'a [KeyValue], key: &str) -> Option<&'a str> {
    list.iter().find(|(have, _)| have == key).map(|(_, value)| value.as_str())
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

    fn there(&self, id: RunId) -> Result<&RunState, Class> {
        let run = self.runs.get(&id).ok_or("not found")?;
        if run.lifecycle == Lifecycle::Purged { Err("purged") } else { Ok(run) }
    }

    fn logged(&self, id: ModelId) -> Result<&LoggedModelState, Class> {
        self.logged_models.get(&id).ok_or("not found")
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
            RunRewound, RunForked, RunLeased),
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
