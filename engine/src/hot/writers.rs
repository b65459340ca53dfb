//! How far the logs of other writers are in this one: the last number of each, above the index.
//!
//! Per writer its last numbers in the order of positions. A reader takes the newest one, or asks the index if there is
//! none; the index is refreshed before anything is pruned. Each position's own number is kept until then, because a
//! checkpoint writes what was true at its position: with a later number the index would know more than the log that it
//! stands for, with an earlier one a merge could come twice.

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use crate::id::{Lsn, WriterId};

/// Writers above the index.
#[derive(Debug, Default)]
pub struct HotWriters {
    table: RwLock<FxHashMap<WriterId, Vec<(Lsn, u64)>>>,
}

impl HotWriters {
    /// The last number of a writer that is in the log; `None`: ask the index.
    pub fn last(&self, writer: WriterId) -> Option<u64> {
        self.table.read().get(&writer)?.last().map(|(_, number)| *number)
    }

    /// Takes over what the index says of a writer, if nothing is here.
    pub fn load(&self, writer: WriterId, lsn: Lsn, number: u64) {
        self.table.write().entry(writer).or_insert_with(|| vec![(lsn, number)]);
    }

    /// A batch with a writer's numbers up to this one has its place; only under the sequencer, in order.
    pub fn publish(&self, writer: WriterId, lsn: Lsn, number: u64) {
        let mut table = self.table.write();
        let versions = table.entry(writer).or_default();
        // Never back, whatever a log says.
        let number = versions.last().map_or(number, |(_, before)| number.max(*before));
        versions.push((lsn, number));
    }

    /// What stands at `up_to` and changed above `after`, by writer.
    pub fn unapplied(&self, after: Lsn, up_to: Lsn) -> Vec<(WriterId, Lsn, u64)> {
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

    /// Drops what the index has, at most `up_to`.
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

    #[test]
    fn a_checkpoint_gets_what_was_true_at_its_position() {
        let (hot, a, b) = (HotWriters::default(), WriterId([1; 16]), WriterId([2; 16]));
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
}
