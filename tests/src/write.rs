//! One write: what is offered to a store, and by which call.

use runlode_engine::entity::EntityKey;
use runlode_engine::event::Event;
use runlode_engine::point::Point;
use runlode_engine::{Batch, Durability, KeyedPoint, Lsn, MetricContext, Receipt, Result, RunId, Store};

/// One point to log.
#[derive(Debug, Clone)]
pub struct Logged {
    /// The run.
    pub run: RunId,
    /// The metric's key.
    pub key: String,
    /// The point.
    pub point: Point,
    /// Its context.
    pub context: Option<MetricContext>,
}

/// The engine's call for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `Store::append`.
    Batch,
    /// `RunHandle::log_row`.
    Row,
    /// `RunHandle::log_points`.
    Points,
}

/// One batch.
#[derive(Debug, Clone)]
pub struct Write {
    /// Events, in order.
    pub events: Vec<Event>,
    /// Points, in order.
    pub points: Vec<Logged>,
    /// Who.
    pub actor: Option<String>,
    /// Idempotency key.
    pub key: Option<Vec<u8>>,
    /// Expected position of the log.
    pub expect_head: Option<Lsn>,
    /// Expected position of a run.
    pub expect: Option<(RunId, Lsn)>,
    /// The call.
    pub route: Route,
    /// How long it waits.
    pub durability: Durability,
}

impl Write {
    /// A batch of events.
    pub fn of(events: Vec<Event>, durability: Durability) -> Self {
        let (points, actor, key, expect_head, expect) = (Vec::new(), None, None, None, None);
        Self { events, points, actor, key, expect_head, expect, route: Route::Batch, durability }
    }

    /// What an idempotency key is bound to.
    pub fn content(&self) -> String {
        let points: Vec<_> = self
            .points
            .iter()
            .map(|l| (l.run, &l.key, l.point.step, l.point.time, l.point.value.to_bits(), &l.context))
            .collect();
        format!("{:?} {points:?}", self.events)
    }

    /// Whether there is nothing to append, if this is stored of it.
    pub fn stores_nothing(&self, stored: &Self) -> bool {
        let unconditional = self.expect_head.is_none() && self.expect.is_none();
        stored.points.is_empty() && self.events.is_empty() && self.key.is_none() && unconditional
    }

    /// As the engine takes it.
    pub fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        self.events.iter().for_each(|event| batch.push_event(event.clone()));
        self.points.iter().for_each(|l| batch.push_metric(l.run, &l.key, l.point, l.context.clone()));
        if let Some(actor) = &self.actor {
            batch = batch.actor(actor);
        }
        if let Some(key) = &self.key {
            batch = batch.idempotency_key(key);
        }
        if let Some(lsn) = self.expect_head {
            batch = batch.expect_head(lsn);
        }
        if let Some((run, lsn)) = &self.expect {
            batch = batch.expect(EntityKey::Run(*run), *lsn);
        }
        batch
    }

    /// Sends it to a store.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn send(&self, store: &Store) -> Result<Receipt> {
        if self.route == Route::Batch {
            return store.append(self.batch(), self.durability);
        }
        let keyed = |logged: &Logged| -> Result<KeyedPoint> {
            Ok(KeyedPoint { key: store.metric_key(&logged.key)?, point: logged.point })
        };
        let first = &self.points[0];
        let handle = store.run(first.run)?;
        let points: Vec<KeyedPoint> = self.points.iter().map(keyed).collect::<Result<_>>()?;
        let lsn = match self.route {
            Route::Row if points.len() == 1 => handle.log_point(points[0].key, points[0].point, self.durability)?,
            Route::Row => {
                let row: Vec<_> = points.iter().map(|keyed| (keyed.key, keyed.point.value)).collect();
                handle.log_row(first.point.step, first.point.time, &row, self.durability)?
            }
            _ => handle.log_points(&points, self.durability)?,
        };
        Ok(Receipt { lsn, repeated: false })
    }
}
