//! Batches that the log already has: by idempotency key, and those of other logs.

use std::collections::BTreeMap;

use super::sequencer::Sequencer;
use crate::error::{Error, Result};
use crate::hot::entities::KeyUse;
use crate::id::{Lsn, Peer, WriterId};

impl Sequencer {
    /// Position of the batch that used an idempotency key. An error if the key was used for another request.
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

    /// The number of the last frame of a writer's log in this log; 0 if there is none.
    pub(crate) fn applied_number(&self, writer: WriterId) -> Result<u64> {
        self.number_of(Peer::Writer(writer))
    }

    /// The number of the last frame of another log in this log; 0 if there is none.
    pub(crate) fn number_of(&self, peer: Peer) -> Result<u64> {
        match self.writers.last(peer) {
            Some(number) => Ok(number),
            None => Ok(self.newest.index().writer(&peer.key())?.map_or(0, |(number, _)| number)),
        }
    }

    /// The last number of every other log, ordered by its id.
    pub(crate) fn numbers(&self) -> Result<BTreeMap<Peer, u64>> {
        // Read hot state before the index: a number pruned from hot state later is in the index read next.
        let hot = self.writers.newest();
        let mut all = BTreeMap::new();
        for (peer, number) in self.newest.index().numbers()? {
            all.insert(peer, number);
        }
        all.extend(hot);
        Ok(all)
    }

    /// As [`Sequencer::number_of`]; also keeps the number in memory, where the sequencer looks.
    pub(crate) fn load_writer(&self, writer: Peer) -> Result<u64> {
        if let Some(number) = self.writers.last(writer) {
            return Ok(number);
        }
        let (number, lsn) = self.newest.index().writer(&writer.key())?.unwrap_or_default();
        self.writers.load(writer, lsn, number);
        Ok(self.writers.last(writer).unwrap_or(number))
    }
}
