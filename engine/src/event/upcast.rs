//! Old versions of events, converted to today's structs.
//!
//! To change a kind of event: give its struct in `event/mod.rs` the new shape, and its row in `CHANGED` the next
//! version. Move the old struct here as `NameV1`, with `From<NameV1>` for the next newer shape, so that each step is
//! written once and steps chain. Add a row to `OLD` that says how its archive is read. Rows are never removed, since
//! a log is read forever. A kind that is no longer written keeps its tag (table of retired tags in `event/mod.rs`) and
//! its rows here.
//!
//! The log is never rewritten for it: events are converted on each read.

use super::Event;
use crate::error::Result;

/// Reads the archive of one old version.
type Read = fn(&[u8]) -> Result<Event>;

/// One version that is read and no longer written.
struct Old {
    tag: u16,
    version: u16,
    read: Read,
}

/// Every old version. None yet: all kinds are in their first version.
#[cfg(not(test))]
const OLD: &[Old] = &[];
#[cfg(test)]
const OLD: &[Old] = tests::OLD;

/// Kinds that are not in their first version any more: (tag, version). None yet.
const CHANGED: &[(u16, u16)] = &[];

/// The version of a kind that this build writes.
pub fn current_version(tag: u16) -> u16 {
    CHANGED.iter().find(|(changed, _)| *changed == tag).map_or(1, |(_, version)| *version)
}

/// Reads an old version; `None` if this build knows no such tag or version.
pub(super) fn read_old(tag: u16, version: u16, archive: &[u8]) -> Option<Result<Event>> {
    OLD.iter().find(|old| old.tag == tag && old.version == version).map(|old| (old.read)(archive))
}

#[cfg(test)]
mod tests {
    use rkyv::{Archive, Deserialize, Serialize, rancor};

    use super::*;
    use crate::event::payload::{self, Decoded, read_archive};
    use crate::event::{ArtifactLogged, KINDS};
    use crate::id::RunId;

    /// A kind that has had three shapes: without a length, with one in KiB, and today's `ArtifactLogged`.
    const TAG: u16 = 65_000;

    #[derive(Archive, Serialize, Deserialize)]
    struct StoredV1 {
        run: RunId,
        path: String,
    }

    #[derive(Archive, Serialize, Deserialize)]
    struct StoredV2 {
        run: RunId,
        path: String,
        size_kib: Option<u32>,
    }

    impl From<StoredV1> for StoredV2 {
        fn from(old: StoredV1) -> Self {
            Self { run: old.run, path: old.path, size_kib: None }
        }
    }

    impl From<StoredV2> for ArtifactLogged {
        fn from(old: StoredV2) -> Self {
            Self { run: old.run, path: old.path, size_bytes: old.size_kib.map(|kib| u64::from(kib) * 1024) }
        }
    }

    pub(super) const OLD: &[Old] = &[
        Old {
            tag: TAG,
            version: 1,
            read: |bytes| {
                read_archive!(StoredV1, ArchivedStoredV1, TAG, 1, bytes)
                    .map(|old| ArtifactLogged::from(StoredV2::from(old)).into())
            },
        },
        Old {
            tag: TAG,
            version: 2,
            read: |bytes| {
                read_archive!(StoredV2, ArchivedStoredV2, TAG, 2, bytes).map(|old| ArtifactLogged::from(old).into())
            },
        },
    ];

    fn framed(version: u16, archive: &[u8]) -> Vec<u8> {
        [&TAG.to_le_bytes(), &version.to_le_bytes(), archive].concat()
    }

    #[test]
    fn old_versions_become_todays_event() {
        let run = RunId([7; 16]);
        let path = "a/long/enough/path/to/be/out/of/line".to_owned();
        let first = rkyv::to_bytes::<rancor::Error>(&StoredV1 { run, path: path.clone() }).unwrap();
        let expected = ArtifactLogged { run, path: path.clone(), size_bytes: None };
        assert_eq!(payload::decode(&framed(1, &first)).unwrap(), Decoded::Known(expected.into()));
        let second = rkyv::to_bytes::<rancor::Error>(&StoredV2 { run, path: path.clone(), size_kib: Some(2) }).unwrap();
        let expected = ArtifactLogged { run, path, size_bytes: Some(2048) };
        assert_eq!(payload::decode(&framed(2, &second)).unwrap(), Decoded::Known(expected.into()));
        // A cut archive is an error in an old version as well, and a version from the future is unknown.
        assert!(payload::decode(&framed(2, &second[..5])).is_err());
        assert!(matches!(
            payload::decode(&framed(3, &second)).unwrap(),
            Decoded::Unknown { tag: TAG, version: 3, bytes } if bytes[..] == second[..]
        ));
    }

    #[test]
    fn tags_are_unique_and_old_versions_are_below_the_current_one() {
        let mut tags: Vec<u16> = KINDS.iter().map(|(tag, _)| *tag).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), KINDS.len());
        for old in OLD {
            assert!(old.tag == TAG || old.version < current_version(old.tag));
            assert_eq!(OLD.iter().filter(|o| (o.tag, o.version) == (old.tag, old.version)).count(), 1);
        }
    }
}
