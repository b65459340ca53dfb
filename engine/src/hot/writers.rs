//! Which frames of other logs this log already contains: the last number of each writer, above the index.
//!
//! Writer ids of processes and ids of stores are separate spaces ([`Peer`]), so a message in a store's name cannot
//! affect a process's log.
//!
//! Each writer keeps its last numbers in the order of positions. A reader takes the newest number, or asks the index if
//! there is none; the index is refreshed before anything is pruned. The number at each position is kept until then,
//! because a checkpoint writes the numbers as of its own position: a later number would put the index ahead of the log,
//! and with an earlier one a merge could be applied twice.

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use crate::event::Event;
use crate::event::batch::{NoteKind, StoreNote};
use crate::id::{Lsn, Peer};

/// The last merged number of every other log that changed above the index.
#[derive(Debug, Default)]
pub struct HotWriters {
    table: RwLock<FxHashMap<Peer, Vec<(Lsn, u64)>>>,
}

impl HotWriters {
    /// The last number of a writer that is in this log. `None`: not known here, ask the index.
    pub fn last(&self, writer: Peer) -> Option<u64> {
        self.table.read().get(&writer)?.last().map(|(_, number)| *number)
    }

    /// Loads the number that the index has for a writer, unless one is already here.
    pub fn load(&self, writer: Peer, lsn: Lsn, number: u64) {
        self.table.write().entry(writer).or_insert_with(|| vec![(lsn, number)]);
    }

    /// Records that a batch with a writer's frames up to `number` was placed. Only under the sequencer, in order.
    pub fn publish(&self, writer: Peer, lsn: Lsn, number: u64) {
        let mut table = self.table.write();
        let versions = table.entry(writer).or_default();
        // A number never decreases, whatever a log says.
        let number = versions.last().map_or(number, |(_, before)| number.max(*before));
        debug_assert!(versions.last().is_none_or(|(before, _)| *before <= lsn), "numbers at {lsn} come late");
        versions.push((lsn, number));
    }

    /// Records that a batch of another store was placed. Only under the sequencer, in order.
    pub fn publish_note(&self, note: &StoreNote, lsn: Lsn) {
        if note.kind != NoteKind::Again {
            self.publish(Peer::Store(note.store), lsn, note.last);
        }
    }

    /// Records what an event of the store itself says about other logs. Only under the sequencer, in order.
    pub fn note(&self, event: &Event, lsn: Lsn) {
        match event {
            Event::StoreCopied(copied) => {
                self.publish(Peer::Store(copied.store), lsn, copied.to);
                if copied.from <= copied.to {
                    self.publish(Peer::Copied(copied.store), lsn, copied.to);
                }
            }
            Event::SourceForgotten(forgotten) => {
                self.publish(Peer::Forgotten(forgotten.store), lsn, forgotten.seen);
                self.table.write().entry(Peer::Store(forgotten.store)).or_default().push((lsn, 0));
            }
            _ => {}
        }
    }

    /// The newest number of each log that is known here.
    pub fn newest(&self) -> Vec<(Peer, u64)> {
        let table = self.table.read();
        table.iter().filter_map(|(peer, versions)| versions.last().map(|(_, number)| (*peer, *number))).collect()
    }

    /// For each writer whose number changed above `after`, the number at `up_to`.
    pub fn unapplied(&self, after: Lsn, up_to: Lsn) -> Vec<(Peer, Lsn, u64)> {
        let table = self.table.read();
        let mut out: Vec<_> = table
            .iter()
            .filter_map(|(writer, versions)| {
                let (lsn, number) = versions.iter().rev().find(|(lsn, _)| *lsn <= up_to)?;
                (*lsn > after).then_some((*writer, *lsn, *number))
            })
            .collect();
        drop(table);
        out.sort_unstable();
        out
    }

    /// Drops numbers at most `up_to`, which the index has.
    pub fn prune(&self, up_to: Lsn) {
        self.table.write().retain(|_, versions| {
            versions.retain(|(lsn, _)| *lsn > up_to);
            !versions.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{StoreId, WriterId};

    #[test]
    fn a_checkpoint_gets_what_was_true_at_its_position() {
        let (hot, a, b) = (HotWriters::default(), Peer::Writer(WriterId([1; 16])), Peer::Writer(WriterId([2; 16])));
        hot.load(a, Lsn(2), 5);
        hot.load(a, Lsn(1), 4);
        assert_eq!((hot.last(a), hot.last(b)), (Some(5), None));
        hot.publish(a, Lsn(11), 8);
        hot.publish(b, Lsn(12), 1);
        hot.publish(a, Lsn(13), 9);
        assert_eq!(hot.unapplied(Lsn(10), Lsn(12)), [(a, Lsn(11), 8), (b, Lsn(12), 1)]);
        assert_eq!(hot.unapplied(Lsn(2), Lsn(10)), []);
        hot.prune(Lsn(12));
        assert_eq!((hot.last(a), hot.last(b)), (Some(9), None));
        hot.prune(Lsn(13));
        assert_eq!(hot.last(a), None);
    }

    #[test]
    fn what_is_forgotten_begins_at_nothing_and_rises_again() {
        use crate::event::{SourceForgotten, StoreCopied};
        let (hot, store) = (HotWriters::default(), StoreId([1; 16]));
        hot.note(&StoreCopied { store, from: 1, to: 9 }.into(), Lsn(9));
        hot.publish(Peer::Store(store), Lsn(10), 1 << 40);
        assert_eq!((hot.last(Peer::Store(store)), hot.last(Peer::Copied(store))), (Some(1 << 40), Some(9)));
        assert_eq!(hot.last(Peer::Writer(WriterId(store.0))), None, "another space of ids");
        hot.note(&SourceForgotten { store, seen: 1 << 40 }.into(), Lsn(11));
        assert_eq!((hot.last(Peer::Store(store)), hot.last(Peer::Forgotten(store))), (Some(0), Some(1 << 40)));
        hot.publish(Peer::Store(store), Lsn(12), 3);
        assert_eq!(hot.last(Peer::Store(store)), Some(3));
        for peer in [Peer::Store(store), Peer::Copied(store), Peer::Forgotten(store), Peer::Writer(WriterId([7; 16]))] {
            assert_eq!(Peer::of_key(&peer.key()), Some(peer));
        }
        assert_eq!((Peer::of_key(b""), Peer::of_key(&[0; 17])), (None, None));
    }
}
