//! The store at one position: now, or any earlier one. Both are read through one set of calls.
//!
//! Now is read from the index. The past is folded from each entity's own events, which costs a read of them. The lists
//! are those of now without what was created later, so what was purged since is in neither.

use std::sync::Arc;

use runlode::engine::{ContextId, HistoryPage};
use runlode::mlflow::Places;
use runlode::{
    AsOf, DatasetState, EntityKey, EventRecord, ExperimentId, ExperimentState, HistoryQuery, Lifecycle, LocalStore,
    LoggedModelState, Lsn, MetricContext, ModelId, ModelVersionState, PastView, RegisteredModelId,
    RegisteredModelState, RunId, RunState, Snapshot, Stats,
};

use crate::error::{Error, Result};

/// Where locations that are kept relative to the store begin.
const ARTIFACTS: &str = "artifacts/";

/// The store at a position.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) snapshot: Snapshot,
    pub(crate) position: Lsn,
    is_now: bool,
    pub(crate) places: Places,
}

impl Moment {
    /// The store at a moment; now if none is given.
    pub(crate) fn of(store: &LocalStore, at: Option<AsOf>) -> Result<Self> {
        let snapshot = store.snapshot()?;
        let position = match at {
            Some(at) => snapshot.as_of(at)?.position(),
            None => snapshot.position(),
        };
        // What an export lacks could not be noticed later.
        store.engine().check_complete(position)?;
        let folder = std::path::absolute(store.path()).map_err(|error| Error::io("find", store.path(), error))?;
        let artifacts = folder.join(ARTIFACTS.trim_end_matches('/'));
        let places = Places::new(artifacts.to_string_lossy(), folder);
        Ok(Self { is_now: position >= snapshot.position(), snapshot, position, places })
    }

    fn past(&self) -> Result<PastView<'_>> {
        Ok(self.snapshot.as_of(AsOf::Position(self.position))?)
    }

    /// Experiments by id, deleted ones included.
    pub(crate) fn experiments(&self) -> Result<Vec<(ExperimentId, Arc<ExperimentState>)>> {
        let mut experiments = self.snapshot.experiments()?;
        experiments.retain(|(_, state)| state.created <= self.position);
        if self.is_now {
            return Ok(experiments);
        }
        let past = self.past()?;
        let then = |(id, _)| Ok(past.experiment(id)?.map(|state| (id, Arc::new(state))));
        experiments.into_iter().filter_map(|experiment| then(experiment).transpose()).collect()
    }

    /// Ids of an experiment's runs, deleted ones included.
    pub(crate) fn runs_of(&self, experiment: ExperimentId) -> Result<Vec<RunId>> {
        let mut runs = self.snapshot.runs_of(experiment)?;
        if !self.is_now {
            let mut failed = None;
            runs.retain(|id| match self.snapshot.run(*id) {
                Ok(state) => state.is_some_and(|state| state.created <= self.position),
                Err(error) => {
                    failed.get_or_insert(error);
                    false
                }
            });
            failed.map_or(Ok(()), Err)?;
        }
        Ok(runs)
    }

    /// A run, with the lifecycle that counts: its own, or its experiment's. `None` if it does not exist, or is purged.
    pub(crate) fn run(&self, id: RunId) -> Result<Option<(Arc<RunState>, Lifecycle)>> {
        let Some(state) = self.snapshot.run(id)? else { return Ok(None) };
        if state.lifecycle == Lifecycle::Purged || state.created > self.position {
            return Ok(None);
        }
        if self.is_now {
            let lifecycle = self.snapshot.lifecycle(&state)?;
            return Ok(Some((state, lifecycle)));
        }
        Ok(self.past()?.run(id)?.map(|(state, lifecycle)| (Arc::new(state), lifecycle)))
    }

    /// Ids of an experiment's logged models, deleted ones included.
    pub(crate) fn logged_models_of(&self, experiment: ExperimentId) -> Result<Vec<ModelId>> {
        let models = self.snapshot.logged_models_of(experiment)?.into_iter();
        Ok(models.filter(|(_, state)| state.created <= self.position).map(|(id, _)| id).collect())
    }

    /// A logged model.
    pub(crate) fn logged_model(&self, id: ModelId) -> Result<Option<Arc<LoggedModelState>>> {
        if self.is_now {
            return Ok(self.snapshot.logged_model(id)?);
        }
        Ok(self.past()?.logged_model(id)?.map(Arc::new))
    }

    /// All registered models, also those that are deleted, by name.
    pub(crate) fn registered_models(&self) -> Result<Vec<(RegisteredModelId, Arc<RegisteredModelState>)>> {
        let mut models = self.snapshot.registered_models_ever()?;
        models.retain(|(_, state)| state.created <= self.position);
        if !self.is_now {
            let past = self.past()?;
            let then = |id| Ok(past.registered_model(id)?.map(|state| (id, Arc::new(state))));
            let list: Result<Vec<_>> = models.into_iter().filter_map(|(id, _)| then(id).transpose()).collect();
            models = list?;
        }
        models.sort_by(|a, b| (&a.1.name, a.0).cmp(&(&b.1.name, b.0)));
        Ok(models)
    }

    /// A version, also a deleted one.
    pub(crate) fn version(&self, model: RegisteredModelId, number: u32) -> Result<Option<Arc<ModelVersionState>>> {
        if self.is_now {
            return Ok(self.snapshot.model_version(model, number)?);
        }
        Ok(self.past()?.model_version(model, number)?.map(Arc::new))
    }

    /// A data set: the first one logged under its name and digest, which never changes.
    pub(crate) fn dataset(&self, of: ExperimentId, name: &str, digest: &str) -> Result<Option<Arc<DatasetState>>> {
        Ok(self.snapshot.dataset(of, name, digest)?)
    }

    /// An entity's events, oldest first.
    pub(crate) fn events(&self, entity: &EntityKey) -> Result<Vec<EventRecord>> {
        let mut events = self.snapshot.events(entity)?;
        events.retain(|event| event.lsn <= self.position);
        Ok(events)
    }

    /// A run's metrics with their statistics, by key.
    pub(crate) fn metrics(&self, run: RunId) -> Result<Vec<(Arc<str>, Stats)>> {
        if self.is_now {
            return Ok(self.snapshot.latest(run)?);
        }
        Ok(self.past()?.latest(run)?)
    }

    /// A page of a metric.
    pub(crate) fn history(&self, run: RunId, key: &str, query: &HistoryQuery, page: &mut HistoryPage) -> Result<()> {
        if self.is_now {
            return Ok(self.snapshot.history_into(run, key, query, page)?);
        }
        *page = self.past()?.history(run, key, query)?;
        Ok(())
    }

    /// Model and data set of a point.
    pub(crate) fn context(&self, id: ContextId) -> Option<Arc<MetricContext>> {
        self.snapshot.metric_context(id)
    }

    /// A location as others have to read it: one that the store keeps relative to its folder becomes absolute.
    pub(crate) fn place(&self, location: &str) -> String {
        match location.strip_prefix(ARTIFACTS) {
            Some(rest) => format!("{}/{rest}", self.places.root()),
            None => location.to_owned(),
        }
    }
}
