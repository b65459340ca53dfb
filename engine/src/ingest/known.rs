//! What the log has already: batches by idempotency key, and the batches of other logs.

use std::collections::BTreeMap;

use super::sequencer::Sequencer;
use crate::error::{Error, Result};
use crate::hot::entities::KeyUse;
use crate::id::{Lsn, Peer, WriterId};

impl Sequencer {
    /// Where an idempotency key is in the log; an error if it was used for something else.
    pub(crate) fn find_key(&self, key: &[u8], request_hash: u64) -> Result<Option<Lsn>> {
        let used = match self.newest.hot.key_use(key) {
            Some(used) => Some(used),
            None => self.newest.index().idempotency(key)?.map(|used| KeyUse {
                request_hash: used.request,
                lsn: used.lsn,
                time_ms: used.time.0,
            }),
        };
        match used {
            Some(used) if used.request_hash == request_hash => Ok(Some(used.lsn)),
            Some(used) => Err(Error::KeyReused { key: String::from_utf8_lossy(key).into_owned(), lsn: used.lsn.0 }),
            None => Ok(None),
        }
    }

    /// The last number of a writer's log that is in this one; 0 for none.
    pub(crate) fn applied_number(&self, writer: WriterId) -> Result<u64> {
        self.number_of(Peer::Writer(writer))
    }

    /// The last number of another log; 0 for none.
    pub(crate) fn number_of(&self, peer: Peer) -> Result<u64> {
        match self.writers.last(peer) {
            Some(number) => Ok(number),
            None => Ok(self.newest.index().writer(&peer.key())?.map_or(0, |(number, _)| number)),
        }
    }

    /// The last number of every other log, in the order of their ids.
    pub(crate) fn numbers(&self) -> Result<BTreeMap<Peer, u64>> {
        // The index first: what goes from hot state meanwhile is in a newer one, and was here before.
        let hot = self.writers.newest();
        let mut all = BTreeMap::new();
        for (peer, number) in self.newest.index().numbers()? {
            all.insert(peer, number);
        }
        all.extend(hot);
        Ok(all)
    }

    /// As [`Sequencer::number_of`], and keeps it in memory, where the sequencer looks.
    pub(crate) fn load_writer(&self, writer: Peer) -> Result<u64> {
        if let Some(number) = self.writers.last(writer) {
            return Ok(number);
        }
        let (number, lsn) = self.newest.index().writer(&writer.key())?.unwrap_or_default();
        self.writers.load(writer, lsn, number);
        Ok(self.writers.last(writer).unwrap_or(number))
    }
}
