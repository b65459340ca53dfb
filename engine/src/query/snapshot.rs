//! A consistent view of the store at one position, which others may write to meanwhile.
//!
//! A snapshot is a redb read transaction (entities as applied, points as sealed) and the hot state above it, bounded by
//! the position. It never blocks writers and never sees half a batch. Holding one keeps the hot state above its index
//! in memory: cheap for seconds. When memory runs short the store drops that state, and the snapshot answers
//! `SnapshotTooOld`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::branch_series::BranchSeries;
use super::history::{EventRecord, read_events};
use super::points::{
    ALL_STEPS, Downsampled, HistoryPage, HistoryQuery, downsample, downsample_unsealed, history_into, thinned,
    thinned_unsealed, whole_answer,
};
use crate::branch::is_plain;
use crate::core::{Core, chunks_of};
use crate::entity::*;
use crate::error::{Error, Result};
use crate::event::batch::MetricContext;
use crate::hot::points::StatsAt;
use crate::id::{ContextId, ExperimentId, KeyId, Lsn, ModelId, RegisteredModelId, RunId, SeriesId};
use crate::index::IndexRead;
use crate::pins::Pin;
use crate::point::{Point, Stats};
use crate::series::{ChunkList, ChunkRef};

/// Everything in the store as it was at one position.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let store = runlode_engine::Store::open(dir.path().join("store"))?;
/// let snapshot = store.snapshot()?;
/// assert_eq!(snapshot.experiments()?.len(), 0);
/// # Ok::<(), runlode_engine::Error>(())
/// ```
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) core: Arc<Core>,
    pub(crate) index: Arc<IndexRead>,
    pub(crate) position: Lsn,
    pin: Pin,
}

macro_rules! typed {
    ($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $variant:ident($state:ty), $key:expr) => {
        $(#[$doc])*
        pub fn $name(&self, $($arg: $type),*) -> Result<Option<Arc<$state>>> {
            match self.entity(&$key)?.as_deref() {
                Some(EntityState::$variant(state)) => Ok(Some(Arc::new(state.clone()))),
                _ => Ok(None),
            }
        }
    };
}

impl Snapshot {
    pub(crate) fn take(core: &Arc<Core>) -> Result<Self> {
        let ((index, position), pin) = core.pins.pin(core.pipeline.clock.monotonic_ms(), || {
            // The newest committed index; everything above it stays hot until this pin is dropped.
            let index = core.pipeline.newest.index();
            let (applied, sealed) = (index.applied(), index.sealed());
            let position = core.pipeline.published();
            Ok(((index, position), applied, sealed, position))
        })?;
        Ok(Self { core: core.clone(), index, position, pin })
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.pin.expired() { Err(Error::SnapshotTooOld) } else { Ok(()) }
    }

    /// The position that this snapshot shows.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// The last position that is durable. A power cut now could undo what this snapshot shows above it.
    pub fn durable_up_to(&self) -> Lsn {
        self.core.pipeline.log.durable().min(self.position)
    }

    // ---- entities ------------------------------------------------------------------------------------------------

    /// The state of any entity; `None` if it does not exist.
    pub fn entity(&self, key: &EntityKey) -> Result<Option<Arc<EntityState>>> {
        let hot = self.core.pipeline.newest.hot.at(key, self.position);
        let state = match hot {
            Some(state) => Some(state),
            None => self.index.entity(key)?,
        };
        self.check()?;
        Ok(state)
    }

    typed!(
        /// An experiment, deleted ones included.
        experiment(id: ExperimentId) -> Experiment(ExperimentState), EntityKey::Experiment(id)
    );
    typed!(
        /// A run, deleted ones included; a purged one is a stub.
        run(id: RunId) -> Run(RunState), EntityKey::Run(id)
    );
    typed!(
        /// A logged model, deleted ones included.
        logged_model(id: ModelId) -> LoggedModel(LoggedModelState), EntityKey::LoggedModel(id)
    );
    typed!(
        /// A registered model by its number, deleted ones included.
        registered_model_by_id(id: RegisteredModelId) -> RegisteredModel(RegisteredModelState),
        EntityKey::RegisteredModel(id)
    );
    typed!(
        /// A model version, deleted ones included.
        model_version(model: RegisteredModelId, version: u32) -> ModelVersion(ModelVersionState),
        EntityKey::ModelVersion(model, version)
    );
    typed!(
        /// A data set of an experiment.
        dataset(experiment: ExperimentId, name: &str, digest: &str) -> Dataset(DatasetState),
        EntityKey::Dataset(experiment, name.into(), digest.into())
    );

    /// The experiment with this name, deleted ones included.
    pub fn experiment_by_name(&self, name: &str) -> Result<Option<(ExperimentId, Arc<ExperimentState>)>> {
        match self.entity(&EntityKey::ExperimentName(name.into()))?.as_deref() {
            Some(EntityState::ExperimentName(NameState { owner: Some(id), .. })) => {
                let id = ExperimentId(*id);
                Ok(self.experiment(id)?.map(|state| (id, state)))
            }
            _ => Ok(None),
        }
    }

    /// The registered model with this name.
    pub fn registered_model(&self, name: &str) -> Result<Option<(RegisteredModelId, Arc<RegisteredModelState>)>> {
        match self.entity(&EntityKey::ModelName(name.into()))?.as_deref() {
            Some(EntityState::ModelName(NameState { owner: Some(id), .. })) => {
                let id = RegisteredModelId(*id);
                Ok(self.registered_model_by_id(id)?.map(|state| (id, state)))
            }
            _ => Ok(None),
        }
    }

    /// All experiments by id, deleted ones included, purged ones not.
    pub fn experiments(&self) -> Result<Vec<(ExperimentId, Arc<ExperimentState>)>> {
        let mut experiments = self.experiments_ever()?;
        experiments.retain(|(_, state)| !state.is_purged());
        Ok(experiments)
    }

    /// All experiments by id, deleted and purged ones included.
    pub fn experiments_ever(&self) -> Result<Vec<(ExperimentId, Arc<ExperimentState>)>> {
        let mut ids: BTreeSet<_> = self.index.experiments()?.into_iter().map(|(id, _)| id).collect();
        ids.extend(self.core.pipeline.newest.hot.experiments());
        ids.into_iter().filter_map(|id| Some(self.experiment(id).transpose()?.map(|state| (id, state)))).collect()
    }

    /// All runs of an experiment by id, deleted ones included, purged ones not.
    pub fn runs_of(&self, experiment: ExperimentId) -> Result<Vec<RunId>> {
        let mut ids: BTreeSet<_> = self.index.runs_of(experiment)?.into_iter().collect();
        let hot = self.core.pipeline.newest.hot.runs_of(experiment);
        for id in hot {
            // It changed above the index: it may be younger than this snapshot, or purged.
            match self.run(id)? {
                Some(run) if run.lifecycle != Lifecycle::Purged => ids.insert(id),
                _ => ids.remove(&id),
            };
        }
        Ok(ids.into_iter().collect())
    }

    /// All logged models of an experiment by id, deleted ones included.
    pub fn logged_models_of(&self, experiment: ExperimentId) -> Result<Vec<(ModelId, Arc<LoggedModelState>)>> {
        let mut ids: BTreeSet<_> = self.index.logged_models_of(experiment)?.into_iter().collect();
        ids.extend(self.core.pipeline.newest.hot.logged_models_of(experiment));
        ids.into_iter().filter_map(|id| Some(self.logged_model(id).transpose()?.map(|state| (id, state)))).collect()
    }

    /// All registered models that exist, by name.
    pub fn registered_models(&self) -> Result<Vec<(RegisteredModelId, Arc<RegisteredModelState>)>> {
        let mut models = self.registered_models_ever()?;
        models.retain(|(_, state)| !state.deleted);
        models.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        Ok(models)
    }

    /// All registered models by number, deleted ones included.
    pub fn registered_models_ever(&self) -> Result<Vec<(RegisteredModelId, Arc<RegisteredModelState>)>> {
        self.all_registered_models()?
            .into_iter()
            .filter_map(|id| Some(self.registered_model_by_id(id).transpose()?.map(|state| (id, state))))
            .collect()
    }

    /// The numbers of all registered models that ever existed.
    pub(super) fn all_registered_models(&self) -> Result<BTreeSet<RegisteredModelId>> {
        let mut ids: BTreeSet<_> = self.index.registered_models()?.into_iter().map(|(id, _)| id).collect();
        ids.extend(self.core.pipeline.newest.hot.registered_models());
        Ok(ids)
    }

    /// The effective lifecycle of a run: its own, or its experiment's, whichever changed last.
    pub fn lifecycle(&self, run: &RunState) -> Result<Lifecycle> {
        match self.experiment(run.experiment)? {
            Some(experiment) => Ok(run.lifecycle_in(&experiment)),
            None => Err(Error::Internal(format!("a run has no experiment {}", run.experiment))),
        }
    }

    /// The history of an entity: its events up to this position, oldest first.
    ///
    /// # Errors
    /// `Corrupt` if a frame with one of the events is damaged.
    pub fn events(&self, entity: &EntityKey) -> Result<Vec<EventRecord>> {
        self.events_up_to(entity, self.position)
    }

    /// As [`Snapshot::events`], up to a position at most this snapshot's; later events are not read.
    pub(super) fn events_up_to(&self, entity: &EntityKey, up_to: Lsn) -> Result<Vec<EventRecord>> {
        self.events_among(entity, up_to, |_| true)
    }

    /// As [`Snapshot::events_up_to`], of the wanted positions only; others are not read.
    pub(super) fn events_among(
        &self,
        entity: &EntityKey,
        up_to: Lsn,
        wanted: impl Fn(Lsn) -> bool,
    ) -> Result<Vec<EventRecord>> {
        let mut places = self.places_up_to(entity, up_to)?;
        places.retain(|(lsn, _)| wanted(*lsn));
        read_events(&self.core.pipeline.log, &places)
    }

    /// Where the events of an entity up to a position lie: batch, and number in it, ascending.
    pub(super) fn places_up_to(&self, entity: &EntityKey, up_to: Lsn) -> Result<Vec<(Lsn, u16)>> {
        let mut places = self.index.events(entity, Lsn::ZERO..=up_to)?;
        let applied = self.index.applied();
        let hot = self.core.pipeline.newest.hot.events(entity, up_to);
        places.extend(hot.into_iter().filter(|(lsn, _)| *lsn > applied));
        self.check()?;
        if let EntityKey::Run(run) = entity
            && let Some(purged) = self.core.pipeline.purged_at(*run).filter(|lsn| *lsn <= self.position)
        {
            places.retain(|(lsn, _)| *lsn >= purged);
        }
        Ok(places)
    }

    // ---- series --------------------------------------------------------------------------------------------------

    /// The number of a metric key; `None` if no point was ever logged under it.
    pub(super) fn metric(&self, key: &str) -> Option<KeyId> {
        if is_plain(key) { self.core.pipeline.dictionary.find_key(key) } else { None }
    }

    /// A metric in the live branch of a run.
    fn series(&self, run: RunId, key: &str) -> Result<Option<BranchSeries>> {
        self.metric(key).map(|metric| self.live_series(run, metric, self.position)).transpose()
    }

    /// The name of a metric key; `None` if the number is unknown.
    pub fn key_name(&self, id: KeyId) -> Option<Arc<str>> {
        self.core.pipeline.dictionary.key_name(id)
    }

    /// The model and data set of a point's context; `None` for 0 and for unknown numbers.
    pub fn metric_context(&self, id: ContextId) -> Option<Arc<MetricContext>> {
        self.core.pipeline.dictionary.context_of(id)
    }

    /// Stats of every metric of a run, by key.
    pub fn latest(&self, run: RunId) -> Result<Vec<(Arc<str>, Stats)>> {
        let mut named = self.core.pipeline.dictionary.key_names(self.stats_of(run)?.into_iter());
        named.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(named)
    }

    /// Keys of every metric of a run, in no order that means anything: cheaper than [`Snapshot::latest`] for counting.
    ///
    /// # Errors
    /// `Corrupt`, `Io` if the index cannot be read.
    pub fn metric_keys(&self, run: RunId) -> Result<Vec<Arc<str>>> {
        let named = self.core.pipeline.dictionary.key_names(self.stats_of(run)?.into_iter().map(|(key, _)| (key, ())));
        Ok(named.into_iter().map(|(name, ())| name).collect())
    }

    /// Stats of every metric of a run, by the key's number.
    pub(crate) fn stats_of(&self, run: RunId) -> Result<Vec<(KeyId, Stats)>> {
        let stats = self.physical_stats_of(run)?;
        let dictionary = &self.core.pipeline.dictionary;
        if !dictionary.has_branches() {
            return Ok(stats);
        }
        Ok(dictionary.stats_of_branch(self.rewinds(run, self.position)?.len() as u32, stats))
    }

    /// Stats of every series of a run, in all branches, by the key's number.
    pub(super) fn physical_stats_of(&self, run: RunId) -> Result<Vec<(KeyId, Stats)>> {
        if self.core.pipeline.is_purged(run, self.position) {
            return Ok(Vec::new());
        }
        let mut complete = false;
        let mut hot: Vec<(KeyId, StatsAt)> = Vec::new();
        if let Some(run) = self.core.pipeline.runs.get(run) {
            (complete, hot) = run.stats_at(self.position)?;
        }
        hot.sort_unstable_by_key(|(key, _)| *key);
        // A run that was created here and never evicted has all its series here. The index can only know more about
        // points that were sealed since: hot state then refers to the index for readers below the newer points.
        let known = |(_, at): &(KeyId, StatsAt)| matches!(at, StatsAt::Known(_));
        let indexed = if complete && hot.iter().all(known) { Vec::new() } else { self.index.stats_of(run)? };
        self.check()?;
        let mut out = Vec::with_capacity(hot.len().max(indexed.len()));
        let mut indexed = indexed.into_iter().peekable();
        for (key, at) in hot {
            while let Some(row) = indexed.next_if(|(other, _)| *other < key) {
                out.push(row);
            }
            let row = indexed.next_if(|(other, _)| *other == key);
            match at {
                StatsAt::Known(stats) => out.push((key, stats)),
                StatsAt::Index => out.extend(row),
            }
        }
        out.extend(indexed);
        Ok(out)
    }

    /// Stats of one metric; `None` if it has no points.
    pub fn stats(&self, run: RunId, key: &str) -> Result<Option<Stats>> {
        let Some(series) = self.series(run, key)? else { return Ok(None) };
        self.stats_of_series(&series)
    }

    /// Stats of one series, without the branches that a metric may be put together from.
    pub(crate) fn physical_stats(&self, series: SeriesId) -> Result<Option<Stats>> {
        if self.core.pipeline.is_purged(series.run, self.position) {
            return Ok(None);
        }
        let hot = self.core.pipeline.runs.get(series.run);
        let at = hot.map_or(Ok(StatsAt::Index), |run| run.series_stats_at(series.key, self.position))?;
        let stats = match at {
            StatsAt::Known(stats) => Some(stats),
            StatsAt::Index => self.index.stats(series)?,
        };
        self.check()?;
        Ok(stats)
    }

    /// Number of points of a metric.
    pub fn count_exact(&self, run: RunId, key: &str) -> Result<u64> {
        match self.series(run, key)? {
            Some(series) => self.count_of_series(&series),
            None => Ok(0),
        }
    }

    pub(super) fn chunks(&self, series: SeriesId) -> Result<Arc<ChunkList>> {
        let stamp = (self.index.sealed(), self.index.generation());
        if let Some(list) = self.core.directories.get(series, stamp) {
            return Ok(list);
        }
        let chunks = chunks_of(&self.index, series)?;
        let mut refs = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            refs.push(ChunkRef::new(self.core.files.get(chunk.file, &self.index)?, chunk.entry));
        }
        let list = Arc::new(ChunkList::new(refs));
        self.core.directories.put(series, stamp, list.clone());
        Ok(list)
    }

    /// A page of a metric's points, in history order (time, step, value).
    ///
    /// # Errors
    /// `Corrupt` if a chunk or frame that is needed is damaged.
    pub fn history(&self, run: RunId, key: &str, query: &HistoryQuery) -> Result<HistoryPage> {
        let mut page = HistoryPage::default();
        self.history_into(run, key, query, &mut page)?;
        Ok(page)
    }

    /// As [`Snapshot::history`], into a page whose memory is reused: for reading page after page.
    pub fn history_into(&self, run: RunId, key: &str, query: &HistoryQuery, page: &mut HistoryPage) -> Result<()> {
        match self.series(run, key)? {
            Some(series) => {
                let mut room = std::mem::take(&mut page.columns);
                room.clear();
                let mut source = self.source_of_page(&series, query, room)?;
                match whole_answer(&mut source, query) {
                    Some(answer) => {
                        *page = answer;
                        Ok(())
                    }
                    None => {
                        // The points that are not sealed took the page's memory: if they are few, give it back.
                        if source.hot.len() <= source.hot.steps.capacity() / 4 {
                            let few = source.hot.clone();
                            page.columns = std::mem::replace(&mut source.hot, few);
                        }
                        history_into(&source, query, page)
                    }
                }
            }
            None => {
                *page = HistoryPage::default();
                Ok(())
            }
        }
    }

    /// The same page of one metric for many runs.
    pub fn histories(&self, runs: &[RunId], key: &str, query: &HistoryQuery) -> Result<Vec<(RunId, HistoryPage)>> {
        runs.iter().map(|&run| Ok((run, self.history(run, key, query)?))).collect()
    }

    /// At most `most` points of a metric that stand for all of them, in latest order (step, time, value): the first, the
    /// last, and the least and greatest of equally long parts between. All points if there are no more than `most`.
    /// `steps` includes both ends; `None` is all steps.
    pub fn thinned(&self, run: RunId, key: &str, steps: Option<(i64, i64)>, most: usize) -> Result<Vec<Point>> {
        let Some(series) = self.series(run, key)? else { return Ok(Vec::new()) };
        let (steps, cache) = (steps.unwrap_or(ALL_STEPS), &self.core.cache);
        if let Some((source, unsealed)) = self.rolled_source(&series, steps)?
            && let Some(points) = thinned_unsealed(&source, &unsealed, steps, most, cache)?
        {
            self.check()?;
            return Ok(points);
        }
        thinned(&self.source_of(&series, self.position)?, steps, most, cache)
    }

    /// A metric in at most `buckets` buckets of equal step width, with the true min and max: every point of the range
    /// counts in exactly one bucket. `steps` includes both ends; `None` is all steps.
    pub fn downsample(&self, run: RunId, key: &str, steps: Option<(i64, i64)>, buckets: usize) -> Result<Downsampled> {
        match self.series(run, key)? {
            Some(series) => {
                let (steps, cache) = (steps.unwrap_or(ALL_STEPS), &self.core.cache);
                if let Some((source, unsealed)) = self.rolled_source(&series, steps)?
                    && let Some(answer) = downsample_unsealed(&source, &unsealed, steps, buckets, cache)?
                {
                    self.check()?;
                    return Ok(answer);
                }
                downsample(&self.source_of(&series, self.position)?, steps, buckets, cache)
            }
            None => Ok(Downsampled::default()),
        }
    }
}
