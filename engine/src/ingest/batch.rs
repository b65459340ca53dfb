//! What a caller appends at once: entity events and metric points, one frame, all or nothing.

use super::look_up::LookUp;
use crate::entity::EntityKey;
use crate::event::Event;
use crate::event::batch::{Merged, MetricContext, Origin, StoreNote};
use crate::id::{KeyId, Lsn, RunId};
use crate::point::Point;

/// How long an append waits. Both outlive the process at once (kill -9, OOM).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Returns when the bytes are the kernel's. A power cut may take what was appended after the last completed sync
    /// began: at most about 100 ms, and at most 64 MiB.
    Buffered,
    /// Returns when the batch, and everything before it, is on the disk.
    #[default]
    Sync,
}

/// What an append answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The batch's position. If there was nothing in it but late points that are there already (see [`LookUp`]), nothing
    /// was appended, and this is a position at which all of them are there.
    pub lsn: Lsn,
    /// The idempotency key was seen before: nothing was appended, `lsn` is the first one's.
    pub repeated: bool,
}

/// One point of a batch.
#[derive(Debug, Clone)]
pub(crate) struct BatchMetric {
    pub(crate) run: RunId,
    pub(crate) key: MetricKey,
    pub(crate) point: Point,
    pub(crate) context: Option<MetricContext>,
}

/// A metric's key, as a name or as its number in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MetricKey {
    Name(Box<str>),
    Id(KeyId),
}

/// A batch under construction. One batch is one frame, the atom: readers and crashes see all of it or nothing.
///
/// ```
/// use runlode_engine::{Batch, RunId, TimestampMs};
/// use runlode_engine::event::ParamsLogged;
/// use runlode_engine::point::Point;
///
/// let run = RunId([1; 16]);
/// let batch = Batch::new()
///     .event(ParamsLogged { run, params: vec![("lr".into(), "0.1".into())] })
///     .metric(run, "loss", Point { step: 0, time: TimestampMs(1_700_000_000_000), value: 0.7 }, None)
///     .actor("ann");
/// assert_eq!(batch.events_count() + batch.points_count(), 2);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub(crate) events: Vec<Event>,
    pub(crate) metrics: Vec<BatchMetric>,
    pub(crate) origin: Origin,
    pub(crate) hash_given: bool,
    /// It was acknowledged elsewhere: what is deleted takes it all the same.
    pub(crate) acknowledged: bool,
    look_up: Option<LookUp>,
    pub(crate) expect_head: Option<Lsn>,
    pub(crate) expect: Vec<(EntityKey, Lsn)>,
}

impl Batch {
    /// An empty batch. Appending it empty is an error.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event.
    #[must_use]
    pub fn event(mut self, event: impl Into<Event>) -> Self {
        self.push_event(event);
        self
    }

    /// Adds an event.
    pub fn push_event(&mut self, event: impl Into<Event>) {
        self.events.push(event.into());
    }

    /// Adds a metric point; its run may be created in this very batch.
    #[must_use]
    pub fn metric(mut self, run: RunId, key: &str, point: Point, context: Option<MetricContext>) -> Self {
        self.push_metric(run, key, point, context);
        self
    }

    /// Adds a metric point.
    pub fn push_metric(&mut self, run: RunId, key: &str, point: Point, context: Option<MetricContext>) {
        self.metrics.push(BatchMetric { run, key: MetricKey::Name(key.into()), point, context });
    }

    /// Adds a metric point by the number of its key in this store.
    pub fn push_point(&mut self, run: RunId, key: KeyId, point: Point) {
        self.metrics.push(BatchMetric { run, key: MetricKey::Id(key), point, context: None });
    }

    /// Adds a metric point by the number of its key in this store, with its context.
    pub fn push_point_of(&mut self, run: RunId, key: KeyId, point: Point, context: Option<MetricContext>) {
        self.metrics.push(BatchMetric { run, key: MetricKey::Id(key), point, context });
    }

    /// The batch holds these frames of another writer's log: it is appended only if `first` is the number behind the
    /// last one of that writer that is in the log, and else answers [`crate::Error::Conflict`]. It may be empty: then it
    /// says only that there is nothing more up to `last`. As with [`Batch::acknowledged`], deleted runs take its points.
    #[must_use]
    pub fn merged(mut self, merged: Merged) -> Self {
        self.origin.merged = Some(merged);
        self.acknowledged()
    }

    /// The batch is of another store, or says what is seen of it. It is appended only if it begins behind what is seen
    /// of that store, and else answers [`crate::Error::Conflict`]. It may be empty. As with [`Batch::acknowledged`], deletions do not stand in its way.
    #[must_use]
    pub fn of_store(mut self, note: StoreNote) -> Self {
        self.origin.store = Some(note);
        self.acknowledged()
    }

    /// What is in it was acknowledged elsewhere: it is kept with its runs, models and experiments even if those were
    /// deleted since.
    #[must_use]
    pub fn acknowledged(mut self) -> Self {
        self.acknowledged = true;
        self
    }

    /// Which points are looked up before they are stored, so that a point that is sent again is not stored again: those
    /// that come more than a second after their own time, if nothing else is said; of [`Batch::merged`], and of another store's batches, none.
    #[must_use]
    pub fn look_up(mut self, look_up: LookUp) -> Self {
        self.look_up = Some(look_up);
        self
    }

    pub(crate) fn looks_up(&self) -> LookUp {
        let applied_once = self.origin.merged.is_some() || self.origin.store.is_some();
        self.look_up.unwrap_or(if applied_once { LookUp::Nothing } else { LookUp::Late })
    }

    /// Who does this; part of the history of what it touches.
    #[must_use]
    pub fn actor(mut self, actor: &str) -> Self {
        self.origin.actor = actor.into();
        self
    }

    /// A key of at most 64 bytes under which a retry is recognised for 7 days. The batch's content is hashed: the same
    /// key with another content is an error. Where a retry may differ (fresh ids), see [`Batch::idempotency`].
    #[must_use]
    pub fn idempotency_key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.origin.key = key.as_ref().to_vec();
        self.hash_given = false;
        self
    }

    /// As [`Batch::idempotency_key`], with the caller's hash of the request as it was given.
    #[must_use]
    pub fn idempotency(mut self, key: impl AsRef<[u8]>, request_hash: u64) -> Self {
        self.origin.key = key.as_ref().to_vec();
        self.origin.request_hash = request_hash;
        self.hash_given = true;
        self
    }

    /// Append only if the log's last position is this one.
    #[must_use]
    pub fn expect_head(mut self, lsn: Lsn) -> Self {
        self.expect_head = Some(lsn);
        self
    }

    /// Append only if the entity's last change is at this position ([`Lsn::ZERO`]: it does not exist).
    #[must_use]
    pub fn expect(mut self, entity: EntityKey, lsn: Lsn) -> Self {
        self.expect.push((entity, lsn));
        self
    }

    /// Whether it says nothing but its points.
    pub(crate) fn is_nothing_without_points(&self) -> bool {
        let unconditional = self.expect_head.is_none() && self.expect.is_empty();
        self.events.is_empty() && self.origin.merged.is_none() && self.origin.key.is_empty() && unconditional
    }

    /// Number of events.
    pub fn events_count(&self) -> usize {
        self.events.len()
    }

    /// Number of metric points.
    pub fn points_count(&self) -> usize {
        self.metrics.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.metrics.is_empty()
    }
}
