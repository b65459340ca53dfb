//! A batch: entity events and metric points that a caller appends at once, in one frame, all or nothing.

use super::look_up::LookUp;
use crate::entity::EntityKey;
use crate::event::Event;
use crate::event::batch::{Merged, MetricContext, Origin, StoreNote};
use crate::id::{KeyId, Lsn, RunId};
use crate::point::Point;

/// When an append returns. With either level the batch survives a killed process (kill -9, OOM) from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Returns when the kernel has the bytes. A power cut may lose the batches appended since the last completed sync
    /// began: at most about 100 ms, and at most 64 MiB.
    Buffered,
    /// Returns when the batch, and everything before it, is on disk.
    #[default]
    Sync,
}

/// The answer to an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The batch's position. If the batch had only late points that are there already (see [`LookUp`]), nothing was
    /// appended, and this is a position at which all of them are visible.
    pub lsn: Lsn,
    /// The idempotency key was used before: nothing was appended, and `lsn` is the position of the first batch.
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

/// A metric key, given as a name or as its number in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MetricKey {
    Name(Box<str>),
    Id(KeyId),
}

/// A batch under construction. One batch is one frame: readers, and an open after a crash, see all of it or nothing.
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
    /// The content was acknowledged elsewhere: it is stored even if its runs, models or experiments are deleted by now.
    pub(crate) acknowledged: bool,
    look_up: Option<LookUp>,
    pub(crate) expect_head: Option<Lsn>,
    pub(crate) expect: Vec<(EntityKey, Lsn)>,
    pub(crate) unless: Option<Unless>,
}

/// A batch is not appended if something happened since a position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unless {
    pub(crate) since: Lsn,
    pub(crate) happened: fn(&Event) -> bool,
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

    /// The batch holds frames of another writer's log. It is appended only if `first` is the number after the last
    /// frame of that writer in the log; otherwise the answer is [`crate::Error::Conflict`]. It may be empty: then it
    /// only says that there is nothing more up to `last`. As with [`Batch::acknowledged`], deleted runs accept its
    /// points.
    #[must_use]
    pub fn merged(mut self, merged: Merged) -> Self {
        self.origin.merged = Some(merged);
        self.acknowledged()
    }

    /// The batch comes from another store, or says how far that store was read. It is appended only if it begins where
    /// the last one ended; otherwise the answer is [`crate::Error::Conflict`]. It may be empty. As with
    /// [`Batch::acknowledged`], deleted runs, models and experiments accept it.
    #[must_use]
    pub fn of_store(mut self, note: StoreNote) -> Self {
        self.origin.store = Some(note);
        self.acknowledged()
    }

    /// The content was acknowledged elsewhere: it is stored even if its runs, models or experiments were deleted since.
    #[must_use]
    pub fn acknowledged(mut self) -> Self {
        self.acknowledged = true;
        self
    }

    /// Which points are looked up before they are stored, so that a point sent again is not stored again. By default
    /// the points that come more than a second after their own time, and none of [`Batch::merged`] and another store's
    /// batches.
    #[must_use]
    pub fn look_up(mut self, look_up: LookUp) -> Self {
        self.look_up = Some(look_up);
        self
    }

    pub(super) fn has_look_up(&self) -> bool {
        self.look_up.is_some()
    }

    pub(crate) fn looks_up(&self) -> LookUp {
        let applied_once = self.origin.merged.is_some() || self.origin.store.is_some();
        self.look_up.unwrap_or(if applied_once { LookUp::Nothing } else { LookUp::Late })
    }

    /// The author of the batch; recorded in the history of everything it changes.
    #[must_use]
    pub fn actor(mut self, actor: &str) -> Self {
        self.origin.actor = actor.into();
        self
    }

    /// The events, in the order of adding.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The author, unless the batch names one. A batch of points alone gets none: points are in no entity's history.
    #[must_use]
    pub fn actor_or(mut self, actor: &str) -> Self {
        if self.origin.actor.is_empty() && !self.events.is_empty() {
            self.origin.actor = actor.into();
        }
        self
    }

    /// A key of at most 64 bytes by which a retry is recognised for 7 days. The batch's content is hashed: the same key
    /// with other content is an error. If a retry may differ (fresh ids), use [`Batch::idempotency`].
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

    /// Appends only if the log's last position is this one.
    #[must_use]
    pub fn expect_head(mut self, lsn: Lsn) -> Self {
        self.expect_head = Some(lsn);
        self
    }

    /// Appends only if the entity's last change is at this position ([`Lsn::ZERO`]: the entity does not exist).
    #[must_use]
    pub fn expect(mut self, entity: EntityKey, lsn: Lsn) -> Self {
        self.expect.push((entity, lsn));
        self
    }

    /// Appends only if none of the events after a position is one of these: for decisions that depend on more than the
    /// entities that they change. The events are read again while nothing else is appended, so `since` should be recent.
    ///
    /// ```
    /// use runlode_engine::event::{Event, RunPurged};
    /// use runlode_engine::{Batch, Lsn, RunId};
    ///
    /// let is_registered = |event: &Event| matches!(event, Event::ModelVersionCreated(_));
    /// let batch = Batch::new().event(RunPurged { run: RunId([1; 16]) }).expect_no(Lsn(7), is_registered);
    /// assert_eq!(batch.events_count(), 1);
    /// ```
    #[must_use]
    pub fn expect_no(mut self, since: Lsn, happened: fn(&Event) -> bool) -> Self {
        self.unless = Some(Unless { since, happened });
        self
    }

    /// Whether any condition must hold for it to be appended.
    pub(crate) fn has_expectation(&self) -> bool {
        self.expect_head.is_some() || !self.expect.is_empty() || self.unless.is_some()
    }

    /// Whether the batch is empty if its points are left out.
    pub(crate) fn is_nothing_without_points(&self) -> bool {
        let unconditional = !self.has_expectation();
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

    /// Whether the batch has neither events nor points.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.metrics.is_empty()
    }
}
