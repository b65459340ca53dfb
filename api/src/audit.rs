//! Shows that the registry and the deletions of a store were not changed behind its back: one hash over all such events.
//!
//! ```text
//! h0 = SHA-256("runlode audit 1\n", store id)
//! hn = SHA-256(hn-1, position u64, index u16, time i64, actor slice, event slice)      slice = length u32, bytes
//! ```
//!
//! in the order of the log, little endian, over these events: deletion, restoring and purging of experiments, runs and
//! logged models; everything about registered models and their versions; and what the store itself says (accepted losses,
//! receipts of collected garbage). A [`Head`] names the hash, how many events are in it, and up to which position. Whoever
//! keeps heads outside of the store can say later whether one of those events was changed, removed, inserted or reordered
//! since. Compaction keeps these events byte by byte.
//!
//! It proves nothing about points, params, tags of runs, or files; nothing about what happened before the head was taken;
//! and not who wrote an event: actors are as clients named them. Whoever can write the store can rewrite all of it, and
//! then only heads that are kept elsewhere tell.
//!
//! Nothing is computed when events are written: a head reads the log once.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::engine::LoggedEvent;
use crate::{Error, LocalStore, Lsn, Result, Snapshot};

/// What a head begins with as text.
const NAME: &str = "runlode-audit-1";

/// A hash over the audited events of a store up to a position. As text: `runlode-audit-1:STORE:POSITION:EVENTS:HASH`.
///
/// ```
/// use runlode::audit::Head;
///
/// # let dir = tempfile::tempdir()?;
/// let store = runlode::LocalStore::open(dir.path().join("exp"))?;
/// store.create_registered_model("fraud")?;
/// let head = store.audit_head()?;
/// assert_eq!(head.events, 1);
/// assert_eq!(head.to_string().parse::<Head>()?, head);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The store.
    pub store: [u8; 16],
    /// Events up to this position are in it.
    pub position: u64,
    /// How many.
    pub events: u64,
    /// The hash.
    pub hash: [u8; 32],
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME}:{}:{}:{}:{}", hex(&self.store), self.position, self.events, hex(&self.hash))
    }
}

impl FromStr for Head {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.trim().split(':').collect();
        let read = || match parts.as_slice() {
            [name, store, position, events, hash] if *name == NAME => Some(Self {
                store: bytes_of(store)?,
                position: position.parse().ok()?,
                events: events.parse().ok()?,
                hash: bytes_of(hash)?,
            }),
            _ => None,
        };
        let why = format!("it is none that `runlode audit head` prints ({NAME}:STORE:POSITION:EVENTS:HASH)");
        read().ok_or_else(|| Error::invalid("head of an audit", why))
    }
}

/// Bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// What a store says to a head that was taken earlier.
///
/// ```
/// use runlode::audit::Verdict;
///
/// # let dir = tempfile::tempdir()?;
/// let store = runlode::LocalStore::open(dir.path().join("exp"))?;
/// store.create_registered_model("fraud")?;
/// let head = store.audit_head()?;
/// store.delete_registered_model("fraud")?;
/// assert_eq!(store.audit_verify(&head)?, Verdict::Unchanged { events_since: 1 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The events of the head are in the store as they were.
    Unchanged {
        /// Audited events after the head.
        events_since: u64,
    },
    /// The store ends before the head's position: it is an older copy, or its end was cut off.
    Behind {
        /// Where it ends.
        position: u64,
    },
    /// The head is of another store.
    OtherStore {
        /// The id of this one.
        store: [u8; 16],
    },
    /// The events up to the head's position are others.
    Changed {
        /// How many there are now.
        events: u64,
        /// Their hash.
        hash: [u8; 32],
    },
}

/// An audited event, with the hash of all up to it.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let store = runlode::LocalStore::open(dir.path().join("exp"))?;
/// store.create_registered_model("fraud")?;
/// let mut names = Vec::new();
/// store.audit_each(|entry| names.push((entry.position, entry.event.clone())))?;
/// assert_eq!(names, [(2, "RegisteredModelCreated".to_owned())]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Position of its batch.
    pub position: u64,
    /// Its index in the batch.
    pub index: u16,
    /// When it was appended, Unix ms.
    pub time_ms: i64,
    /// The author that the batch names; may be empty.
    pub actor: String,
    /// Its kind; a number if this version does not know it.
    pub event: String,
    /// The hash of this event and all before it.
    pub hash: [u8; 32],
}

/// Whether events of a kind are audited, by their tag.
fn is_audited(tag: u16) -> bool {
    // Deletions, restorings and purges; the registry; the store itself. A copy of a store says 71 of itself.
    matches!(tag, 5..=7 | 12..=14 | 35 | 40..=59 | 70 | 72..=79)
}

/// The hash so far.
struct Chain {
    hash: [u8; 32],
    events: u64,
}

impl Chain {
    fn of(store: &[u8; 16]) -> Self {
        let hash = Sha256::new().chain_update(b"runlode audit 1\n").chain_update(store).finalize();
        Self { hash: hash.into(), events: 0 }
    }

    fn add(&mut self, event: &LoggedEvent<'_>) {
        let mut hash = Sha256::new();
        hash.update(self.hash);
        hash.update(event.lsn.0.to_le_bytes());
        hash.update(event.index.to_le_bytes());
        hash.update(event.time.0.to_le_bytes());
        for slice in [event.actor.as_bytes(), event.bytes] {
            hash.update((slice.len() as u32).to_le_bytes());
            hash.update(slice);
        }
        self.hash = hash.finalize().into();
        self.events += 1;
    }
}

impl LocalStore {
    fn store_bytes(&self) -> [u8; 16] {
        self.engine().id().0
    }

    fn each_audited(&self, snapshot: &Snapshot, mut each: impl FnMut(&LoggedEvent<'_>)) -> Result<()> {
        snapshot.for_each_logged(is_audited, |event| {
            each(event);
            Ok(())
        })
    }

    /// The hash over all audited events up to now.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::MissingFile`] if the log is damaged.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// let before = store.audit_head()?;
    /// store.create_registered_model("fraud")?;
    /// assert_ne!(store.audit_head()?.hash, before.hash);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn audit_head(&self) -> Result<Head> {
        let snapshot = self.snapshot()?;
        let mut chain = Chain::of(&self.store_bytes());
        self.each_audited(&snapshot, |event| chain.add(event))?;
        let (store, position) = (self.store_bytes(), snapshot.position().0);
        Ok(Head { store, position, events: chain.events, hash: chain.hash })
    }

    /// Compares the events of a head with those in the log now.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::MissingFile`] if the log is damaged.
    ///
    /// ```
    /// use runlode::audit::Verdict;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// store.create_registered_model("fraud")?;
    /// let mut head = store.audit_head()?;
    /// assert_eq!(store.audit_verify(&head)?, Verdict::Unchanged { events_since: 0 });
    /// head.events += 1;
    /// assert!(matches!(store.audit_verify(&head)?, Verdict::Changed { events: 1, .. }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn audit_verify(&self, head: &Head) -> Result<Verdict> {
        let store = self.store_bytes();
        if head.store != store {
            return Ok(Verdict::OtherStore { store });
        }
        let snapshot = self.snapshot()?;
        if snapshot.position() < Lsn(head.position) {
            return Ok(Verdict::Behind { position: snapshot.position().0 });
        }
        let mut chain = Chain::of(&store);
        let mut events_since = 0;
        self.each_audited(&snapshot, |event| match event.lsn.0 <= head.position {
            true => chain.add(event),
            false => events_since += 1,
        })?;
        if (chain.events, chain.hash) == (head.events, head.hash) {
            return Ok(Verdict::Unchanged { events_since });
        }
        Ok(Verdict::Changed { events: chain.events, hash: chain.hash })
    }

    /// Calls `each` with every audited event, oldest first. Two lists of one store show where they begin to differ.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::MissingFile`] if the log is damaged.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// store.create_registered_model("fraud")?;
    /// store.delete_registered_model("fraud")?;
    /// let mut last = None;
    /// store.audit_each(|entry| last = Some(entry.clone()))?;
    /// let last = last.ok_or("no event")?;
    /// assert_eq!((last.event.as_str(), last.hash), ("RegisteredModelDeleted", store.audit_head()?.hash));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn audit_each(&self, mut each: impl FnMut(&Entry)) -> Result<()> {
        let mut chain = Chain::of(&self.store_bytes());
        self.each_audited(&self.snapshot()?, |event| {
            chain.add(event);
            let named = crate::engine::event::KINDS.iter().find(|(tag, _)| *tag == event.tag);
            each(&Entry {
                position: event.lsn.0,
                index: event.index,
                time_ms: event.time.0,
                actor: event.actor.to_owned(),
                event: named.map_or_else(|| event.tag.to_string(), |(_, name)| (*name).to_owned()),
                hash: chain.hash,
            });
        })
    }
}
