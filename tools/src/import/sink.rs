//! Appends batches with keys, and handles refusals.
//!
//! A refusal (a key that is too long, a run that was deleted meanwhile) must not affect the rest of its batch: the
//! batch is tried again in smaller parts, and only the part that is refused by itself is reported. Any other error (a
//! full disk, a poisoned store) ends the import.

use std::sync::Arc;

use runlode::engine::event::{ParamsLogged, RunTagsSet};
use runlode::{Batch, Event, Lsn, MetricContext, Point, RawStore, RunId};

use super::key::Key;
use super::report::Report;
use crate::error::{Error, Result};

/// The outcome of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// It is in the store now.
    New,
    /// It was there.
    Known,
    /// None of it was accepted.
    Refused,
}

/// Appends batches.
pub(super) struct Sink<'s> {
    store: &'s RawStore,
    pub(super) batches_new: u64,
    pub(super) batches_known: u64,
    stop_after: Option<u64>,
}

/// The actor of imports, in the histories of imported entities.
pub(super) const ACTOR: &str = runlode::IMPORT_ACTOR;

/// A point, and the index of its key in the list that comes with it.
pub(super) type IndexedPoint = (u32, Point, Option<Arc<MetricContext>>);

impl<'s> Sink<'s> {
    pub(super) fn new(store: &'s RawStore, stop_after: Option<u64>) -> Self {
        Self { store, batches_new: 0, batches_known: 0, stop_after }
    }

    pub(super) fn store(&self) -> &'s RawStore {
        self.store
    }

    fn append(&mut self, batch: Batch, key: &Key) -> Result<Put, runlode::Error> {
        match self.store.append(batch.actor(ACTOR).idempotency_key(key.bytes())) {
            Ok((_, true)) => {
                self.batches_known += 1;
                Ok(Put::Known)
            }
            Ok(_) => {
                self.batches_new += 1;
                Ok(Put::New)
            }
            // Imported before, and edited in the store since: the edit stays.
            Err(runlode::Error::KeyReused { .. }) => {
                self.batches_known += 1;
                Ok(Put::Known)
            }
            Err(error) => Err(error),
        }
    }

    fn check_stop(&self) -> Result<()> {
        match self.stop_after {
            Some(limit) if self.batches_new >= limit => {
                Err(Error::Source(format!("stopped after {limit} batches, as asked")))
            }
            _ => Ok(()),
        }
    }

    /// Appends the differences between the source and an entity of the store whose last change is at `last`. The
    /// position is part of the key: a change that is made again after it was undone is another batch.
    pub(super) fn put_changes(&mut self, key: &Key, last: Lsn, events: Vec<Event>, report: &mut Report) -> Result<Put> {
        if events.is_empty() {
            return Ok(Put::Known);
        }
        self.put_events(&key.clone().number(last.0.cast_signed()), events, report)
    }

    /// Appends events as one batch; if that is refused, event by event, and the lists in them pair by pair.
    pub(super) fn put_events(&mut self, key: &Key, events: Vec<Event>, report: &mut Report) -> Result<Put> {
        self.check_stop()?;
        let batch = events.iter().cloned().fold(Batch::new(), Batch::event);
        let refusal = match self.append(batch, key) {
            Ok(put) => return Ok(put),
            Err(error) => refused(error)?,
        };
        let parts: Vec<Event> = events.into_iter().flat_map(split).collect();
        if parts.len() == 1 {
            report.problem(format!("the store refused {}: {refusal}", parts.first().map_or("", Event::name)));
            report.skip("refused by the store", 1);
            return Ok(Put::Refused);
        }
        let mut best = Put::Refused;
        for (number, event) in parts.into_iter().enumerate() {
            let name = event.name();
            match self.append(Batch::new().event(event), &key.clone().number(number as i64)) {
                Ok(Put::New) => best = Put::New,
                Ok(Put::Known) if best == Put::Refused => best = Put::Known,
                Ok(_) => {}
                Err(error) => {
                    let refusal = refused(error)?;
                    report.problem(format!("the store refused {name}: {refusal}"));
                    report.skip("refused by the store", 1);
                }
            }
        }
        Ok(best)
    }

    /// Appends points of one run as one batch; if that is refused, in halves. Returns how many points are in the store
    /// now.
    pub(super) fn put_points(
        &mut self,
        key: &Key,
        run: RunId,
        keys: &[String],
        points: &[IndexedPoint],
        report: &mut Report,
    ) -> Result<u64> {
        self.check_stop()?;
        // The source acknowledged them: a run that was deleted here since gets them too, and stays deleted.
        let mut batch = Batch::new().acknowledged();
        for (index, point, context) in points {
            let name = keys.get(*index as usize).map_or("", String::as_str);
            batch.push_metric(run, name, *point, context.as_deref().cloned());
        }
        let refusal = match self.append(batch, key) {
            Ok(_) => return Ok(points.len() as u64),
            Err(error) => refused(error)?,
        };
        // If a run accepts no points, it does not accept halves either.
        let hopeless = !matches!(refusal, runlode::Error::Invalid { .. });
        if points.len() > 1 && !hopeless {
            let (left, right) = points.split_at(points.len() / 2);
            let kept = self.put_points(&key.clone().number(0), run, keys, left, report)?;
            return Ok(kept + self.put_points(&key.clone().number(1), run, keys, right, report)?);
        }
        report.problem(format!("the store refused {} points of run {run}: {refusal}", points.len()));
        report.skip("points refused by the store", points.len() as u64);
        Ok(0)
    }
}

/// The refusal, if the error is one; any other error ends the import.
fn refused(error: runlode::Error) -> Result<runlode::Error> {
    use runlode::Error as E;
    match error {
        E::Invalid { .. }
        | E::NotFound { .. }
        | E::AlreadyExists { .. }
        | E::Deleted { .. }
        | E::Purged { .. }
        | E::ParamChanged { .. } => Ok(error),
        other => Err(other.into()),
    }
}

/// An event as several that say the same, each as small as it can be.
fn split(event: Event) -> Vec<Event> {
    match event {
        Event::RunCreated(mut created) => {
            let (run, tags) = (created.run, std::mem::take(&mut created.tags));
            let tags = tags.into_iter().map(|tag| RunTagsSet { run, tags: vec![tag] }.into());
            std::iter::once(Event::RunCreated(created)).chain(tags).collect()
        }
        Event::ParamsLogged(ParamsLogged { run, params }) => {
            params.into_iter().map(|param| ParamsLogged { run, params: vec![param] }.into()).collect()
        }
        Event::RunTagsSet(RunTagsSet { run, tags }) => {
            tags.into_iter().map(|tag| RunTagsSet { run, tags: vec![tag] }.into()).collect()
        }
        other => vec![other],
    }
}
