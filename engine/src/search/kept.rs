//! The keys of params or tags that have columns.

use std::collections::BTreeSet;

/// The keys that have columns, of params or of tags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Kept {
    /// All that any run has.
    #[default]
    All,
    /// All but these.
    But(BTreeSet<Box<str>>),
    /// These.
    Only(BTreeSet<Box<str>>),
}

impl Kept {
    pub(crate) fn has(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::But(keys) => !keys.contains(key),
            Self::Only(keys) => keys.contains(key),
        }
    }

    pub(super) fn leave_out(&mut self, key: Box<str>) {
        match self {
            Self::All => *self = Self::But([key].into()),
            Self::But(keys) => drop(keys.insert(key)),
            Self::Only(keys) => drop(keys.remove(&*key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_until_they_are_left_out() {
        let mut kept = Kept::default();
        assert!(kept.has("a") && kept.has("b"));
        kept.leave_out("a".into());
        kept.leave_out("a".into());
        assert!(!kept.has("a") && kept.has("b"));
        let mut kept = Kept::Only(["a".into(), "b".into()].into());
        kept.leave_out("b".into());
        assert!(kept.has("a") && !kept.has("b") && !kept.has("c"));
    }
}
