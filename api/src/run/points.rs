//! Batches of a run: points, params and tags, all or nothing; and which points are one point of several logged models.
//!
//! A point may be measured on a logged model, on a data set, or both: its context. MLflow's clients log a point that
//! several models share once for each of them, and repeat calls. So of points with equal key, step, time and value:
//!
//! | they differ in | they are |
//! |---|---|
//! | model or data set | one point, shared by these models |
//! | nothing, and are as old as a repeated call may be | one point, sent twice |
//! | nothing, and are new | two points |
//! | nothing, or one has no model, and the later one came in a batch that links points with models | one point |
//!
//! The last line is for `log_model`: it sends the points that a run has at a step once more, with the model.

use runlode_engine::entity::SharedPoint;
use runlode_engine::event::{KeyValue, LoggedModelMetricsLogged, LoggedModelPointShared, ParamsLogged};
use runlode_engine::{
    Batch, ColumnSet, ContextId, Durability, EntityKind, Error, HistoryQuery, KeyedPoint, Lsn, MetricContext, ModelId,
    Result, RunHandle, RunId, Snapshot, TimestampMs,
};
use rustc_hash::FxHashMap;

use super::push_tags;
use crate::{Lifecycle, LocalStore, Point};

/// A point of a batch.
#[derive(Debug, Clone)]
pub(crate) struct RunPoint<'a> {
    pub(crate) key: &'a str,
    pub(crate) point: Point,
    /// What it was measured on.
    pub(crate) context: Option<MetricContext>,
}

/// A param that has another value already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParamChange {
    pub(crate) key: String,
    pub(crate) old: String,
    pub(crate) new: String,
}

/// What a point with a context is, if the run has an equal one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Equal {
    /// Another point, unless it is late.
    Another,
    /// That point: the batch links points with models.
    Linked,
}

impl Equal {
    fn is_same(self, context: &MetricContext, point: Point, now: TimestampMs) -> bool {
        is_late(now, point.time) || self == Self::Linked && context.model_id.is_some()
    }
}

/// Why a batch is refused.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It would change these params.
    ParamsChanged(Vec<ParamChange>),
    /// There is no logged model with this id, given for a point of the metric `key`.
    NoModel { model: String, key: String },
    /// The store's own reason.
    Store(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Refused {
    /// As an error of the store.
    pub(crate) fn into_error(self, run: RunId) -> Error {
        match self {
            Self::ParamsChanged(mut changes) if !changes.is_empty() => {
                let ParamChange { key, old, new } = changes.swap_remove(0);
                Error::ParamChanged { run: run.to_string(), key, old, new }
            }
            Self::ParamsChanged(_) => Error::NotFound { entity: EntityKind::Run, id: run.to_string() },
            Self::NoModel { model, .. } => Error::NotFound { entity: EntityKind::LoggedModel, id: model },
            Self::Store(error) => error,
        }
    }
}

/// A point this much later than its own time may have been sent before; the same value as in the engine.
const LATE_AFTER_MS: i64 = 1_000;

fn is_late(now: TimestampMs, time: TimestampMs) -> bool {
    now.0.saturating_sub(time.0) > LATE_AFTER_MS
}

fn same_part(a: &MetricContext, b: &MetricContext) -> bool {
    (&a.model_id, &a.dataset_name, &a.dataset_digest) == (&b.model_id, &b.dataset_name, &b.dataset_digest)
}

/// The points of a batch with those merged that are one point.
fn merged<'a>(given: &[RunPoint<'a>], equal: Equal, now: TimestampMs) -> Vec<RunPoint<'a>> {
    let mut places: FxHashMap<(&str, i64, i64, u64), usize> = FxHashMap::default();
    let mut points: Vec<RunPoint<'a>> = Vec::with_capacity(given.len());
    for one in given {
        if let Some(part) = &one.context {
            let same = (one.key, one.point.step, one.point.time.0, one.point.value.to_bits());
            let place = *places.entry(same).or_insert(points.len());
            if let Some(RunPoint { context: Some(known), .. }) = points.get_mut(place) {
                if known.parts().all(|known| !same_part(known, part)) {
                    known.also.push(part.clone());
                    continue;
                }
                if equal.is_same(part, one.point, now) {
                    continue;
                }
            }
        }
        points.push(one.clone());
    }
    points
}

impl LocalStore {
    /// Logs points without context by the run's handle: the fast way.
    pub(crate) fn log_plain_points<'a>(
        &self,
        handle: &RunHandle,
        points: impl IntoIterator<Item = (&'a str, Point)>,
        durability: Durability,
    ) -> Result<Lsn> {
        // New keys are dropped again if the points are refused.
        let mut keys = self.engine().reserve_keys()?;
        let mut keyed = Vec::new();
        for (key, point) in points {
            keyed.push(KeyedPoint { key: keys.metric_key(key)?, point });
        }
        handle.log_points(&keyed, durability)
    }

    /// Logs points, params and tags of a run: all of them or nothing. `durability` is that of points; with anything else
    /// in it the batch is synced. `None`: there was nothing to log, or it was logged before.
    pub(crate) fn log_run_batch(
        &self,
        run: RunId,
        points: &[RunPoint<'_>],
        equal: Equal,
        params: Vec<KeyValue>,
        tags: Vec<KeyValue>,
        durability: Durability,
    ) -> std::result::Result<Option<Lsn>, Refused> {
        let snapshot = self.snapshot_of_entities()?;
        let absent = || Error::NotFound { entity: EntityKind::Run, id: run.to_string() };
        let state = snapshot.run(run)?.filter(|state| state.lifecycle != Lifecycle::Purged).ok_or_else(absent)?;
        if snapshot.lifecycle(&state)? != Lifecycle::Active {
            return Err(Error::Deleted { entity: EntityKind::Run, id: run.to_string() }.into());
        }
        let changed = params.iter().filter_map(|(key, new)| {
            let (_, old) = state.params.iter().find(|(known, old)| known == key && old != new)?;
            Some(ParamChange { key: key.clone(), old: old.clone(), new: new.clone() })
        });
        let changed: Vec<ParamChange> = changed.collect();
        if !changed.is_empty() {
            return Err(Refused::ParamsChanged(changed));
        }
        let mut batch = Batch::new();
        if !params.is_empty() {
            batch.push_event(ParamsLogged { run, params });
        }
        push_tags(&mut batch, run, tags);
        link_models(&snapshot, &mut batch, run, points)?;
        // Existing points are read only if some may be shared.
        let known = match points.iter().any(|point| point.context.is_some()) {
            true => Some(self.snapshot_of_run(run)?),
            false => None,
        };
        let now = self.now();
        for RunPoint { key, point, context } in merged(points, equal, now) {
            if let (Some(context), Some(known)) = (&context, &known)
                && shares(known, run, (key, point), context, equal.is_same(context, point, now), &mut batch)?
            {
                continue;
            }
            batch.push_metric(run, key, point, context);
        }
        if batch.events_count() + batch.points_count() == 0 {
            return Ok(None);
        }
        let durability = if batch.events_count() == 0 { durability } else { Durability::Sync };
        Ok(Some(self.append(batch, durability)?.lsn))
    }
}

/// Whether the run has the point already, and only a model is new to it. Adds an event for each such model. Unless an
/// equal point `is_same`, one without a model is a point of its own.
fn shares(
    snapshot: &Snapshot,
    run: RunId,
    (key, point): (&str, Point),
    context: &MetricContext,
    is_same: bool,
    batch: &mut Batch,
) -> Result<bool> {
    let last = match snapshot.stats(run, key) {
        Ok(stats) => stats.map(|stats| (stats.last_step, stats.last_time_ms)),
        Err(Error::NotFound { .. }) => None,
        Err(error) => return Err(error),
    };
    // A point after the last one is new.
    if last.is_none_or(|last| (point.step, point.time.0) > last) {
        return Ok(false);
    }
    let query = HistoryQuery {
        steps: (point.step, point.step),
        times_ms: (point.time.0, point.time.0),
        columns: ColumnSet::POINTS.with(ColumnSet::CONTEXTS),
        ..HistoryQuery::default()
    };
    let columns = match snapshot.history(run, key, &query) {
        Ok(page) => page.columns,
        Err(Error::NotFound { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let equal: Vec<u32> = (0..columns.len())
        .filter(|&at| columns.point(at).value.to_bits() == point.value.to_bits())
        .map(|at| columns.context(at).0)
        .filter(|context| is_same || *context != 0)
        .collect();
    if equal.is_empty() {
        return Ok(false);
    }
    let mut shared = Vec::new();
    for part in context.parts() {
        let Some(Ok(model)) = part.model_id.as_deref().map(str::parse::<ModelId>) else { return Ok(false) };
        let with = SharedPoint {
            run,
            key: key.to_owned(),
            step: point.step,
            time_ms: point.time.0,
            value_bits: point.value.to_bits(),
            dataset_name: part.dataset_name.clone(),
            dataset_digest: part.dataset_digest.clone(),
        };
        let names = |of: &&u32| {
            let known = snapshot.metric_context(ContextId(**of));
            known.is_some_and(|known| known.parts().any(|known| same_part(known, part)))
        };
        let state = snapshot.logged_model(model)?;
        let is_shared = state.is_some_and(|state| state.shared_points.binary_search(&with).is_ok());
        match equal.iter().filter(names).count() + usize::from(is_shared) {
            0 => shared.push((model, with)),
            // The same point, sent again.
            _ if is_same => {}
            // Another, equal point.
            _ => return Ok(false),
        }
    }
    for (model, point) in shared {
        let SharedPoint { run, key, step, time_ms, value_bits, dataset_name, dataset_digest } = point;
        let shared =
            LoggedModelPointShared { model, run, key, step, time_ms, value_bits, dataset_name, dataset_digest };
        batch.push_event(shared);
    }
    Ok(true)
}

/// Records on each logged model the series that get their first points of it in this batch.
fn link_models(
    snapshot: &Snapshot,
    batch: &mut Batch,
    run: RunId,
    points: &[RunPoint<'_>],
) -> std::result::Result<(), Refused> {
    let mut linked: Vec<(ModelId, Vec<String>)> = Vec::new();
    let models = points.iter().filter_map(|point| Some((point.key, point.context.as_ref()?.model_id.as_deref()?)));
    for (key, text) in models {
        let unknown = || Refused::NoModel { model: text.to_owned(), key: key.to_owned() };
        let model: ModelId = text.parse().map_err(|_| unknown())?;
        let slot = match linked.iter().position(|(known, _)| *known == model) {
            Some(slot) => slot,
            None => {
                snapshot.logged_model(model)?.ok_or_else(unknown)?;
                linked.push((model, Vec::new()));
                linked.len() - 1
            }
        };
        let keys = &mut linked[slot].1;
        if !keys.iter().any(|known| known == key) {
            keys.push(key.to_owned());
        }
    }
    for (model, mut keys) in linked {
        if let Some(state) = snapshot.logged_model(model)? {
            keys.retain(|key| state.metric_series.binary_search(&(run, key.clone())).is_err());
        }
        if !keys.is_empty() {
            batch.push_event(LoggedModelMetricsLogged { model, run, keys });
        }
    }
    Ok(())
}
