//! The tables of `index.redb`. All of them can be made again from the log and the footers of series files.
//!
//! Numbers are big endian in keys, so that byte order is number order, and little endian in rows. `Index::write` writes
//! every table; the columns "from" and "read by" say which part of the engine fills and uses it.
//!
//! | table | key | row | from | read by |
//! |---|---|---|---|---|
//! | `meta` | `store`, `positions` | see [`SCHEMA`], [`keys`](super::keys) | checkpoint, seal, compaction | open |
//! | `entities` | kind u8, id (see `keys::entity`) | rkyv archive of the kind's state | checkpoint | snapshot, search |
//! | `runs` | experiment u64, start time u64, run 16 (see `keys::run_of`) | - | entities | lists of runs, search |
//! | `logged_models` | experiment u64, created u64, model 16 | - | entities | lists of models |
//! | `stats` | run 16, first key u32 | statistics of 16 neighbours, `stats_page` | checkpoint | latest values, search |
//! | `chunks` | first series 20, file u64, first chunk u32 | opaque: some of a file's directory | seal, compaction | histories |
//! | `files` | file u64 | opaque: what is known of a series file | seal, compaction | open, compaction |
//! | `events` | key as in `entities`, first Lsn u64 | varints: Lsn delta, index in the batch; ... | checkpoint | history, as_of |
//! | `dictionary` | kind u8, id u32 | bytes of the name or context | checkpoint | open |
//! | `idempotency` | the caller's key | request hash u64, Lsn u64, time i64 | checkpoint | append |
//! | `idempotency_age` | Lsn u64 | the caller's key | checkpoint | expiry |
//! | `writers` | writer id; for stores a kind u8 and the id (`hot::writers`) | last number u64, Lsn of its batch u64 | checkpoint | merge, sync |
//! | `unknown` | tag u16 | count u64 | checkpoint | verify, open |
//!
//! The versions of a model need no table of their own: their keys in `entities` lie together, by number. Experiments and
//! registered models need none either, since each kind is a range of `entities`.
//!
//! A row of `stats` is a page: the series of one run whose keys are 16k to 16k + 15. A row of `chunks` holds entries that
//! are neighbours in a series file and belong to series of one such page; its key names the first series. So all rows
//! with chunks of a series lie between the first key of its page and its own key.
//!
//! The keys of `runs` hold experiment and start time, those of `logged_models` experiment and creation: a list of the
//! newest runs is read from its end, and new rows are appended. Purged runs are not listed.

use redb::TableDefinition;

/// Version of these tables. An index of another version is rebuilt, never migrated.
pub const SCHEMA: u32 = 7;

/// Bytes of a row or key of any length.
pub(super) type Any = &'static [u8];

pub(super) const META: TableDefinition<&str, Any> = TableDefinition::new("meta");
pub(super) const ENTITIES: TableDefinition<Any, Any> = TableDefinition::new("entities");
pub(super) const RUNS: TableDefinition<&[u8; 32], ()> = TableDefinition::new("runs");
pub(super) const LOGGED_MODELS: TableDefinition<&[u8; 32], ()> = TableDefinition::new("logged_models");
pub(super) const STATS: TableDefinition<&[u8; 20], Any> = TableDefinition::new("stats");
pub(super) const CHUNKS: TableDefinition<&[u8; 32], Any> = TableDefinition::new("chunks");
pub(super) const FILES: TableDefinition<u64, Any> = TableDefinition::new("files");
pub(super) const EVENTS: TableDefinition<Any, Any> = TableDefinition::new("events");
pub(super) const DICTIONARY: TableDefinition<&[u8; 5], Any> = TableDefinition::new("dictionary");
pub(super) const IDEMPOTENCY: TableDefinition<Any, &[u8; 24]> = TableDefinition::new("idempotency");
pub(super) const IDEMPOTENCY_AGE: TableDefinition<u64, Any> = TableDefinition::new("idempotency_age");
pub(super) const WRITERS: TableDefinition<Any, Any> = TableDefinition::new("writers");
pub(super) const UNKNOWN: TableDefinition<u16, u64> = TableDefinition::new("unknown");

/// Row of `meta`: schema u32, store id 16.
pub(super) const META_STORE: &str = "store";
/// Row of `meta`: applied u64, sealed u64, generation u64.
pub(super) const META_POSITIONS: &str = "positions";
