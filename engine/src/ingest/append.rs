//! Appends a batch: prepares and commits it again until it gets a position or is refused for good.

use super::batch::{Batch, Durability, Receipt};
use super::pipeline::Pipeline;
use super::prepared::{Prepared, Refused};
use crate::error::Result;
use crate::id::Lsn;

impl Pipeline {
    /// Appends a batch of events and points.
    pub(crate) fn append(&self, batch: &Batch, durability: Durability) -> Result<Receipt> {
        self.append_as(durability, |look_up| self.prepare(batch, look_up))
    }

    /// Checks whether a batch could be appended now, without appending it.
    pub(crate) fn would_take(&self, batch: &Batch) -> Result<()> {
        match self.prepare(batch, None) {
            Err(Refused::Failed(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Appends the rewind of a run whose appends are held.
    pub(crate) fn append_rewind(&self, batch: &Batch, durability: Durability) -> Result<Receipt> {
        self.append_as(durability, |look_up| self.prepare_any(batch, look_up))
    }

    fn append_as(
        &self,
        durability: Durability,
        prepare: impl Fn(Option<u32>) -> Result<Box<Prepared>, Refused>,
    ) -> Result<Receipt> {
        // `None`: late points are not looked up yet. Otherwise the number of tries so far.
        let mut look_up = None;
        loop {
            match prepare(look_up).and_then(|prepared| self.commit(prepared, durability)) {
                Ok(lsn) => return Ok(Receipt { lsn, repeated: false }),
                Err(Refused::Stale) => look_up = look_up.map(|tries: u32| tries.saturating_add(1)),
                Err(Refused::LookUp) => look_up = Some(0),
                Err(Refused::Bases(run, keys)) => self.read_bases_to_append(&run, &keys)?,
                Err(Refused::Repeated(lsn)) => return self.repeated(lsn, durability),
                Err(Refused::There(lsn)) => {
                    return Ok(Receipt { repeated: false, ..self.repeated(lsn, durability)? });
                }
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
    }

    /// The receipt of a retry, which is as durable as asked for.
    fn repeated(&self, lsn: Lsn, durability: Durability) -> Result<Receipt> {
        if durability == Durability::Sync && self.log.durable() < lsn {
            self.sync()?;
        }
        Ok(Receipt { lsn, repeated: true })
    }
}
