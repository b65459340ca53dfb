//! What a comparison found.

use std::collections::BTreeMap;

use serde::Serialize;

use super::view::Kind;

/// Differences of each kind that are told in full.
const DIFFERENCES_MAX: usize = 10;
/// Characters of a value that are told.
const VALUE_CHARS_MAX: usize = 200;

/// How many of a kind are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// The same on both sides.
    pub equal: u64,
    /// On both sides, but not the same.
    pub different: u64,
    /// Only in the first.
    pub only_a: u64,
    /// Only in the second.
    pub only_b: u64,
    /// Different because one side's format cannot hold what the other has.
    pub cannot_be_equal: u64,
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Of what.
    pub what: String,
    /// The first side's value; `None`: it has none.
    pub a: Option<String>,
    /// The second side's.
    pub b: Option<String>,
    /// Whether one side's format cannot hold the other's value.
    pub cannot_be_equal: bool,
}

/// What a comparison found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Comparison {
    /// Names of both sides.
    pub sides: [String; 2],
    /// Whether all is equal but what cannot be.
    pub equal: bool,
    /// By kind; kinds that neither side has are not in it.
    pub counts: BTreeMap<Kind, Counts>,
    /// The first differences of each kind, at most 10.
    pub differences: BTreeMap<Kind, Vec<Difference>>,
}

/// Counts while comparing.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) counts: BTreeMap<Kind, Counts>,
    differences: BTreeMap<Kind, Vec<Difference>>,
}

impl Tally {
    fn count(&mut self, kind: Kind) -> &mut Counts {
        self.counts.entry(kind).or_default()
    }

    fn tell(&mut self, kind: Kind, what: &str, a: Option<&str>, b: Option<&str>, cannot_be_equal: bool) {
        let told = self.differences.entry(kind).or_default();
        if told.len() < DIFFERENCES_MAX {
            let short = |text: &str| text.chars().take(VALUE_CHARS_MAX).collect();
            told.push(Difference { what: what.to_owned(), a: a.map(short), b: b.map(short), cannot_be_equal });
        }
    }

    pub(super) fn equal(&mut self, kind: Kind, count: u64) {
        self.count(kind).equal += count;
    }

    pub(super) fn different(&mut self, kind: Kind, count: u64, what: &str, a: &str, b: &str) {
        self.count(kind).different += count;
        self.tell(kind, what, Some(a), Some(b), false);
    }

    pub(super) fn impossible(&mut self, kind: Kind, count: u64, what: &str, a: &str, b: &str) {
        self.count(kind).cannot_be_equal += count;
        self.tell(kind, what, Some(a), Some(b), true);
    }

    pub(super) fn only_a(&mut self, kind: Kind, count: u64, what: &str, value: &str) {
        self.count(kind).only_a += count;
        self.tell(kind, what, Some(value), None, false);
    }

    pub(super) fn only_b(&mut self, kind: Kind, count: u64, what: &str, value: &str) {
        self.count(kind).only_b += count;
        self.tell(kind, what, None, Some(value), false);
    }

    pub(super) fn finish(self, sides: [String; 2]) -> Comparison {
        let equal = self.counts.values().all(|counts| counts.different + counts.only_a + counts.only_b == 0);
        let differences = self.differences.into_iter().filter(|(_, told)| !told.is_empty()).collect();
        Comparison { sides, equal, counts: self.counts, differences }
    }
}
