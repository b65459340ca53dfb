//! A store as the engine has it, in whatever process holds it: states, events and batches, for tools that bring in what
//! others made.
//!
//! ```text
//!   RawStore   this process holds the store -> LocalStore          another one does -> typed calls
//!   RawView    a snapshot                                          what is there at each question
//! ```
//! The calls carry keys, states, events and batches as the engine's bytes: both processes need one version of them, and
//! say so if they have not.

use std::sync::Arc;

use super::{Asks, Shared};
use crate::engine::EventRecord;
use crate::engine::entity::{EntityState, LoggedModelState, NameState};
use crate::engine::event::payload::{self, Decoded};
use crate::{
    Batch, Durability, EntityKey, Error, ExperimentId, ExperimentState, HistoryQuery, Lifecycle, LocalStore, Lsn,
    ModelId, ModelVersionState, Point, RegisteredModelId, RegisteredModelState, Result, RunId, RunState, Snapshot,
    TimestampMs,
};

/// Most points of one answer.
const PART_POINTS: u64 = 1 << 16;

/// A store for tools that work with states and batches.
///
/// ```
/// use runlode::{Batch, EntityKey, ExperimentId, RawStore, Store};
/// use runlode::engine::event::ExperimentTagsSet;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = RawStore::from(Store::open(&path)?);
/// let tags = vec![("team".to_owned(), "vision".to_owned())];
/// store.append(Batch::new().event(ExperimentTagsSet { experiment: ExperimentId(0), tags }))?;
/// let view = store.view()?;
/// assert_eq!(view.experiment(ExperimentId(0))?.expect("every store has it").tags.len(), 1);
/// assert_eq!(view.events(&EntityKey::Experiment(ExperimentId(0)))?.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RawStore(Held);

#[derive(Debug, Clone)]
enum Held {
    Here(LocalStore),
    Somewhere(Shared),
}

impl From<LocalStore> for RawStore {
    fn from(store: LocalStore) -> Self {
        Self(Held::Here(store))
    }
}

impl RawStore {
    /// A store that another process may hold.
    pub(crate) fn somewhere(shared: Shared) -> Self {
        Self(Held::Somewhere(shared))
    }

    /// What is in the store. In the process that holds it this stays as it is now.
    ///
    /// # Errors
    /// Those of a snapshot.
    pub fn view(&self) -> Result<RawView> {
        match &self.0 {
            Held::Here(store) => Ok(RawView(Seen::Here(store.snapshot()?))),
            Held::Somewhere(shared) => match shared.local() {
                Ok(store) => Ok(RawView(Seen::Here(store.snapshot()?))),
                Err(Error::Locked { .. }) => Ok(RawView(Seen::Somewhere(shared.clone()))),
                Err(error) => Err(error),
            },
        }
    }

    /// Appends a batch, acknowledged [`Durability::Buffered`]: its position, and whether its idempotency key was used
    /// before. If another process holds the store, give a key: the batch is sent again when no answer came.
    ///
    /// # Errors
    /// Those of an append.
    pub fn append(&self, batch: Batch) -> Result<(Lsn, bool)> {
        let shared = match &self.0 {
            Held::Here(store) => return of_receipt(store, batch),
            Held::Somewhere(shared) => shared,
        };
        match shared.local() {
            Ok(store) => of_receipt(&store, batch),
            Err(Error::Locked { .. }) => match shared.raw_append(&batch.to_bytes()?)? {
                (lsn, Some(repeated)) => Ok((Lsn(lsn), repeated)),
                (lsn, None) => Err(Error::KeyReused { key: batch.key_text(), lsn }),
            },
            Err(error) => Err(error),
        }
    }

    /// Creates the experiment 0 if it is missing; whether it was.
    ///
    /// # Errors
    /// Those of an append.
    pub fn ensure_default_experiment(&self) -> Result<bool> {
        match &self.0 {
            Held::Here(store) => store.ensure_default_experiment(),
            Held::Somewhere(shared) => shared.raw_ensure_default_experiment(),
        }
    }

    /// Waits until everything that this process appended itself would survive a power cut. What it appended through
    /// another process does so within about 100 ms.
    ///
    /// # Errors
    /// A write or sync failed.
    pub fn flush(&self) -> Result<()> {
        match &self.0 {
            Held::Here(store) => store.flush().map(drop),
            Held::Somewhere(shared) => shared.flush(),
        }
    }

    /// The store's folder.
    pub fn path(&self) -> &std::path::Path {
        match &self.0 {
            Held::Here(store) => store.path(),
            Held::Somewhere(shared) => shared.path(),
        }
    }
}

fn of_receipt(store: &LocalStore, batch: Batch) -> Result<(Lsn, bool)> {
    store.append(batch, Durability::Buffered).map(|receipt| (receipt.lsn, receipt.repeated))
}

/// What is in a store: see [`RawStore::view`].
#[derive(Debug)]
pub struct RawView(Seen);

#[derive(Debug)]
enum Seen {
    Here(Snapshot),
    Somewhere(Shared),
}

/// One event of an entity's history.
#[derive(Debug, Clone, PartialEq)]
pub struct RawEvent {
    /// Position of its batch.
    pub lsn: Lsn,
    /// The author, if the batch named one.
    pub actor: Option<String>,
    /// The event.
    pub event: Decoded,
}

impl From<EventRecord> for RawEvent {
    fn from(record: EventRecord) -> Self {
        Self { lsn: record.lsn, actor: record.actor, event: record.event }
    }
}

macro_rules! typed {
    ($(#[doc = $doc:literal] $name:ident($($arg:ident: $type:ty),*) -> $variant:ident($state:ty), $key:expr;)*) => {
        $(
            #[doc = $doc]
            ///
            /// # Errors
            /// Those of [`RawView::entity`].
            pub fn $name(&self, $($arg: $type),*) -> Result<Option<Arc<$state>>> {
                Ok(match self.entity(&$key)?.as_deref() {
                    Some(EntityState::$variant(state)) => Some(Arc::new(state.clone())),
                    _ => None,
                })
            }
        )*
    };
}

impl RawView {
    /// The state of an entity; `None` if it never existed.
    ///
    /// # Errors
    /// It cannot be read, or the process that holds the store does not answer.
    pub fn entity(&self, key: &EntityKey) -> Result<Option<Arc<EntityState>>> {
        match &self.0 {
            Seen::Here(snapshot) => snapshot.entity(key),
            Seen::Somewhere(shared) => {
                let state = shared.raw_state(&key.to_bytes())?;
                state.map(|bytes| EntityState::from_bytes(key, &bytes)).transpose()
            }
        }
    }

    typed! {
        #[doc = "An experiment, deleted ones included."]
        experiment(id: ExperimentId) -> Experiment(ExperimentState), EntityKey::Experiment(id);
        #[doc = "A run, deleted ones included; a purged one is a stub."]
        run(id: RunId) -> Run(RunState), EntityKey::Run(id);
        #[doc = "A logged model, deleted ones included."]
        logged_model(id: ModelId) -> LoggedModel(LoggedModelState), EntityKey::LoggedModel(id);
        #[doc = "A registered model by its number, deleted ones included."]
        registered_model_by_id(id: RegisteredModelId) -> RegisteredModel(RegisteredModelState), EntityKey::RegisteredModel(id);
        #[doc = "A model version, deleted ones included."]
        model_version(model: RegisteredModelId, version: u32) -> ModelVersion(ModelVersionState), EntityKey::ModelVersion(model, version);
    }

    /// The owner of a name.
    fn owner(&self, key: &EntityKey) -> Result<Option<u64>> {
        Ok(match self.entity(key)?.as_deref() {
            Some(
                EntityState::ExperimentName(NameState { owner, .. }) | EntityState::ModelName(NameState { owner, .. }),
            ) => *owner,
            _ => None,
        })
    }

    /// The experiment of a name, deleted ones included.
    ///
    /// # Errors
    /// Those of [`RawView::entity`].
    pub fn experiment_by_name(&self, name: &str) -> Result<Option<(ExperimentId, Arc<ExperimentState>)>> {
        let Some(id) = self.owner(&EntityKey::ExperimentName(name.into()))?.map(ExperimentId) else { return Ok(None) };
        Ok(self.experiment(id)?.map(|state| (id, state)))
    }

    /// The registered model of a name.
    ///
    /// # Errors
    /// Those of [`RawView::entity`].
    pub fn registered_model(&self, name: &str) -> Result<Option<(RegisteredModelId, Arc<RegisteredModelState>)>> {
        let Some(id) = self.owner(&EntityKey::ModelName(name.into()))?.map(RegisteredModelId) else { return Ok(None) };
        Ok(self.registered_model_by_id(id)?.map(|state| (id, state)))
    }

    /// All experiments by id, deleted and purged ones included.
    ///
    /// # Errors
    /// Those of [`RawView::entity`].
    pub fn experiments(&self) -> Result<Vec<(ExperimentId, Arc<ExperimentState>)>> {
        match &self.0 {
            Seen::Here(snapshot) => snapshot.experiments_ever(),
            Seen::Somewhere(shared) => {
                let ids = shared.raw_experiments()?.into_iter();
                ids.filter_map(|id| Some(self.experiment(id).transpose()?.map(|state| (id, state)))).collect()
            }
        }
    }

    /// All registered models that exist, by name.
    ///
    /// # Errors
    /// Those of [`RawView::entity`].
    pub fn registered_models(&self) -> Result<Vec<(RegisteredModelId, Arc<RegisteredModelState>)>> {
        match &self.0 {
            Seen::Here(snapshot) => snapshot.registered_models(),
            Seen::Somewhere(shared) => {
                let ids = shared.raw_registered_models()?.into_iter().map(RegisteredModelId);
                ids.filter_map(|id| Some(self.registered_model_by_id(id).transpose()?.map(|state| (id, state))))
                    .collect()
            }
        }
    }

    /// All runs of an experiment by id, deleted ones included, purged ones not.
    ///
    /// ```
    /// use runlode::{RawStore, RunSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = Store::open(&path)?;
    /// let run = store.experiment("digits")?.create_run(RunSpec::named("trial-17"))?;
    /// let view = RawStore::from(store).view()?;
    /// let experiment = view.run(run.id())?.expect("it was made").experiment;
    /// assert_eq!(view.runs_of(experiment)?, [run.id()]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`RawView::entity`].
    pub fn runs_of(&self, experiment: ExperimentId) -> Result<Vec<RunId>> {
        match &self.0 {
            Seen::Here(snapshot) => snapshot.runs_of(experiment),
            Seen::Somewhere(shared) => shared.raw_runs(experiment),
        }
    }

    /// The effective lifecycle of a run: its own, or its experiment's, whichever changed last.
    ///
    /// ```
    /// use runlode::{RawStore, RunSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = Store::open(&path)?;
    /// let run = store.experiment("digits")?.create_run(RunSpec::named("trial-17"))?;
    /// let view = RawStore::from(store).view()?;
    /// let state = view.run(run.id())?.expect("it was made");
    /// assert_eq!(view.lifecycle(&state)?, runlode::Lifecycle::Active);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`RawView::entity`].
    pub fn lifecycle(&self, run: &RunState) -> Result<Lifecycle> {
        match self.experiment(run.experiment)? {
            Some(experiment) => Ok(run.lifecycle_in(&experiment)),
            None => Err(Error::Internal(format!("a run has no experiment {}", run.experiment))),
        }
    }

    /// The events of an entity, oldest first.
    ///
    /// # Errors
    /// A frame with one of them is damaged, or as for [`RawView::entity`].
    pub fn events(&self, key: &EntityKey) -> Result<Vec<RawEvent>> {
        match &self.0 {
            Seen::Here(snapshot) => Ok(snapshot.events(key)?.into_iter().map(RawEvent::from).collect()),
            Seen::Somewhere(shared) => {
                let events = shared.raw_events(&key.to_bytes())?.into_iter();
                let event = |(lsn, actor, bytes): (u64, _, Vec<u8>)| {
                    Ok(RawEvent { lsn: Lsn(lsn), actor, event: payload::decode(&bytes)? })
                };
                events.map(event).collect()
            }
        }
    }

    /// Whether a run has any metric points.
    ///
    /// ```
    /// use runlode::{RawStore, RunSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = Store::open(&path)?;
    /// let run = store.experiment("digits")?.create_run(RunSpec::named("trial-17"))?;
    /// assert!(!RawStore::from(store).view()?.has_points(run.id())?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`RawView::entity`].
    pub fn has_points(&self, run: RunId) -> Result<bool> {
        match &self.0 {
            Seen::Here(snapshot) => Ok(!snapshot.latest(run)?.is_empty()),
            Seen::Somewhere(shared) => shared.raw_has_points(run),
        }
    }

    /// The points of a metric with these steps, both ends included, in history order (time, step, value); perhaps only
    /// those within these times, Unix ms.
    ///
    /// ```
    /// use runlode::{RawStore, RunSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = Store::open(&path)?;
    /// let run = store.experiment("digits")?.create_run(RunSpec::named("trial-17"))?;
    /// run.log_metrics(3, &[("loss", 0.5)])?;
    /// let points = RawStore::from(store).view()?.points(run.id(), "loss", (0, 9), (i64::MIN, i64::MAX))?;
    /// assert_eq!((points[0].step, points[0].value), (3, 0.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`RawView::entity`].
    pub fn points(&self, run: RunId, key: &str, steps: (i64, i64), times_ms: (i64, i64)) -> Result<Vec<Point>> {
        let mut out = Vec::new();
        match &self.0 {
            Seen::Here(snapshot) => {
                let query = HistoryQuery { steps, times_ms, ..HistoryQuery::default() };
                let columns = snapshot.history(run, key, &query)?.columns;
                out.extend((0..columns.len()).map(|at| columns.point(at)));
            }
            Seen::Somewhere(shared) => {
                let mut after = Vec::new();
                loop {
                    let part = shared.history(run, key, steps.0, steps.1, &after, PART_POINTS)?;
                    let columns = part.points.steps.iter().zip(&part.points.timestamps).zip(&part.points.values);
                    let point = |((step, time), value): ((&i64, &i64), &f64)| Point {
                        step: *step,
                        time: TimestampMs(*time),
                        value: *value,
                    };
                    out.extend(columns.map(point));
                    if part.next.is_empty() {
                        break;
                    }
                    after = part.next;
                }
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
