//! Opens a store: lock, FORMAT, index, log, files, replay; in this order.
//!
//! The index is opened before the log, because its position vouches for frames (it was written only after they were
//! durable). The log recovers by its own rules. Then the replay brings hot state to the log's end. If a crash left much
//! to write again, the replay runs at the same time: it needs memory, while recovery needs the disk. An index that is
//! missing, damaged or of another store is rebuilt from log and series files.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::background::Background;
use crate::compaction::install::{adopt, check_truth};
use crate::core::{Core, PastMemory, SeriesFiles, Upkeep, index_cache_bytes, series_path};
use crate::error::{EntityKind, Error, Result};
use crate::event::LossAccepted;
use crate::event::batch::Definition;
use crate::id::{ContextId, KeyId, Lsn, StoreId};
use crate::inbox::{INBOX_DIR, InboxProblem, InboxProblemKind, MergeReport, StoreInboxes};
use crate::index::{Index, Opened};
use crate::ingest::batch::{Batch, Durability};
use crate::ingest::pipeline::{Parts, Pipeline};
use crate::log::format_file::FormatFile;
use crate::log::{Access, Log, LogOptions, Manifest, OpenReport, OpenedLog, UnsettledLog};
use crate::missing::{Missing, MissingKind};
use crate::options::Options;
use crate::pins::Pins;
use crate::query::late::StorePast;
use crate::replay::Replayer;
use crate::search::saved;
use crate::series::Directories;
use crate::series::SeriesCache;
use crate::storage::Storage;
use crate::storage::disk::Disk;
use crate::storage::lock::{LOCK_PATH, holder_name};
use crate::store::{OpenNotes, Store};

/// Divisor of the memory budget: the share of decoded rollups.
const ROLLUP_CACHE_PART: u64 = 8;

const SERIES_DIR: &str = "series";

pub(crate) fn storage_of(options: &Options) -> Result<Arc<dyn Storage>> {
    if let Some(storage) = &options.storage {
        return Ok(storage.clone());
    }
    if options.read_only {
        return Ok(Arc::new(Disk::read_only(&options.path)));
    }
    if options.create {
        std::fs::create_dir_all(&options.path).map_err(|error| Error::io("create", &options.path, error))?;
    }
    Ok(Arc::new(Disk::new(&options.path)))
}

/// 16 bytes, random or from the seed.
pub(crate) fn new_store_id(seed: Option<u64>) -> Result<StoreId> {
    let mut id = [0; 16];
    match seed {
        Some(seed) => {
            id[..8].copy_from_slice(&seed.to_le_bytes());
            id[8..].copy_from_slice(&seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        }
        None => getrandom::fill(&mut id).map_err(|error| Error::Internal(format!("no randomness: {error}")))?,
    }
    Ok(StoreId(id))
}

fn holder_text() -> String {
    // For messages only.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("pid {} on {}", std::process::id(), if host.trim().is_empty() { "this host" } else { host.trim() })
}

impl Store {
    /// Options for opening a store.
    #[must_use]
    pub fn options(path: impl AsRef<Path>) -> Options {
        Options::new(path.as_ref())
    }

    /// Opens a store with the default settings; creates it if it does not exist.
    ///
    /// # Errors
    /// See [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::options(path).open()
    }

    /// The id of the store on a storage, from its FORMAT file; `None` if there is no store.
    ///
    /// # Errors
    /// `Corrupt`, `UnsupportedFormat`, `Io`.
    pub fn id_on(storage: &dyn Storage) -> Result<Option<StoreId>> {
        Ok(FormatFile::read(storage)?.map(|format| format.store))
    }
}

impl Options {
    /// Opens the store.
    ///
    /// # Errors
    /// `Locked` if another process holds it, `NotFound` if it does not exist and must not be created, `Corrupt`,
    /// `MissingFile`, `UnsupportedFormat` if its files are not what was written. [`Options::repair`] repairs what can
    /// be repaired.
    pub fn open(self) -> Result<Store> {
        if self.read_only || !self.accept_loss {
            return open(self);
        }
        let again = self.clone().accept_loss(false);
        let store = open(self)?;
        let Some(lost) = store.open_notes().log.lost else { return Ok(store) };
        // MANIFEST now records the loss. An index that is ahead of it would be refused by every open.
        let (end, storage) = (store.core().pipeline.log.published(), store.core().storage.clone());
        let ahead = store.positions().applied.max(store.positions().sealed) > end;
        let mut notes = store.open_notes().clone();
        let store = if ahead {
            drop(store);
            put_index_aside(&*storage)?;
            let store = open(again.storage(storage))?;
            notes.rebuilt.clone_from(&store.open_notes().rebuilt);
            store.with_notes(notes)
        } else {
            store
        };
        log_losses(&store, &[lost])?;
        Ok(store)
    }
}

/// Logs which losses were accepted.
pub(crate) fn log_losses(store: &Store, losses: &[(Lsn, Lsn)]) -> Result<()> {
    for (from, to) in losses {
        let event = LossAccepted { from: from.0, to: to.0 };
        store.append(Batch::new().event(event), Durability::Sync)?;
    }
    Ok(())
}

/// Renames an unusable index to `index.bad`.
fn put_index_aside(storage: &dyn Storage) -> Result<()> {
    match storage.rename("index.redb", "index.bad") {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("rename", storage.display_path("index.redb"), error));
        }
        _ => {}
    }
    // It was made from the lost index.
    saved::forget(storage)
}

/// Takes the store's lock.
pub(crate) fn lock(storage: &dyn Storage) -> Result<Box<dyn Send + Sync>> {
    let taken = storage.lock(LOCK_PATH, &holder_text());
    taken
        .map_err(|error| Error::io("lock", storage.display_path(""), error))?
        .ok_or_else(|| Error::Locked { path: storage.display_path(""), holder: holder_name(storage, LOCK_PATH) })
}

/// How often a reader looks again for files that a compaction may just have replaced.
const READ_ONLY_TRIES: usize = 5;
/// How often a reader tries to use an index that another process writes.
const FROM_INDEX_TRIES: usize = 3;

fn open(mut options: Options) -> Result<Store> {
    if std::mem::take(&mut options.from_index) && options.read_only {
        let mut why = String::new();
        let mut end = None;
        for _ in 0..FROM_INDEX_TRIES {
            match open_once(options.clone().from_index(true)) {
                Ok(store) if may_be_merged(&store, &mut end) => why = Error::IndexChanged.to_string(),
                Ok(store) if store.core().missing().is_empty() => return Ok(store),
                Err(error @ Error::IndexChanged) => why = error.to_string(),
                // The index says more than is there.
                Ok(_) => why = "files are missing".to_owned(),
                Err(Error::Unsupported { why: unusable }) => why = unusable,
                Err(error) => why = error.to_string(),
            }
            if why != Error::IndexChanged.to_string() {
                break;
            }
        }
        if options.index_needed {
            return Err(Error::Unsupported { why });
        }
        let store = open_whole(&options)?;
        let notes = OpenNotes { rebuilt: Some(why), ..store.open_notes().clone() };
        return Ok(store.with_notes(notes));
    }
    open_whole(&options)
}

/// Whether a holder may have merged and removed what an open for reading misses in inboxes, after the log was read. `end`:
/// where the log ended at the last try; if it still does, nothing was merged.
fn may_be_merged(store: &Store, end: &mut Option<Lsn>) -> bool {
    let ended_at = store.core().pipeline.log.published();
    let misses_inbox = store.open_notes().missing.iter().any(|missing| missing.kind == MissingKind::Inbox);
    misses_inbox && end.replace(ended_at) != Some(ended_at)
}

/// Opens a store without the index of another process.
fn open_whole(options: &Options) -> Result<Store> {
    let mut store = open_once(options.clone())?;
    let mut end = None;
    for _ in 1..READ_ONLY_TRIES {
        let core = store.core();
        if !options.read_only || store.open_notes().missing.is_empty() {
            break;
        }
        let now = Manifest::load(&*core.storage, core.store_id)?;
        if !may_be_merged(&store, &mut end)
            && now.is_none_or(|manifest| manifest.generation == core.pipeline.log.generation())
        {
            break;
        }
        store = open_once(options.clone())?;
    }
    Ok(store)
}

fn open_once(options: Options) -> Result<Store> {
    let storage = storage_of(&options)?;
    // No lock file is made where there is no store. Where there is one, another process may just be making the store.
    if !options.create
        && !storage.list("").is_ok_and(|entries| entries.iter().any(|entry| entry.name == LOCK_PATH))
        && FormatFile::read(&*storage)?.is_none()
    {
        create(&*storage, &options)?;
    }
    let lock = if options.read_only { None } else { Some(lock(&*storage)?) };
    let store_id = match FormatFile::read(&*storage)? {
        Some(format) => format.store,
        None => create(&*storage, &options)?,
    };
    let index_cache = index_cache_bytes(options.memory_bytes);
    let (index, mut rebuild) = open_index(&options, &storage, store_id, index_cache)?;
    let read = index.read()?;
    let (applied, sealed) = (read.applied(), read.sealed());
    // A read-only open has an index of its own, but the store's index knows how far the log was durable.
    let vouched =
        if options.read_only && !options.from_index { Index::vouches_for(&*storage, store_id) } else { Lsn::ZERO };

    let of_lock = |error| Error::io("read", storage.display_path(LOCK_PATH), error);
    let copied = storage.is_copied(LOCK_PATH).map_err(of_lock)?;
    let log_options = LogOptions {
        segment_bytes_first: options.segment_bytes.0,
        segment_bytes_max: options.segment_bytes.1,
        mmap: options.mmap,
        copied,
        ..LogOptions::new(store_id)
    };
    let access = match (options.read_only, options.accept_loss) {
        (true, _) => Access::ReadOnly,
        (false, true) => Access::AcceptLoss,
        (false, false) => Access::ReadWrite,
    };
    let unsettled = Log::open_unsettled(storage.clone(), log_options, applied.max(sealed).max(vouched), access)?;
    let (log, end) = (unsettled.log().clone(), unsettled.end());

    let pipeline = Arc::new(Pipeline::new(Parts {
        log,
        clock: options.clock.clone(),
        index: read,
        published: end.min(sealed),
        background: options.background && !options.read_only,
        memory_bytes: options.memory_bytes,
    }));
    let generation = index.read()?.generation();
    let core = Arc::new(Core {
        storage: storage.clone(),
        store_id,
        pipeline,
        index,
        pins: Arc::new(Pins::default()),
        files: SeriesFiles::new(storage.clone(), store_id),
        cache: SeriesCache::new((options.memory_bytes / ROLLUP_CACHE_PART) as usize),
        directories: Directories::new(options.memory_bytes),
        projections: Default::default(),
        times: Default::default(),
        past: PastMemory::new(options.memory_bytes),
        upkeep: Mutex::new(Upkeep { generation, ..Upkeep::default() }),
        keeping: Default::default(),
        applied: applied.0.into(),
        sealed: sealed.0.into(),
        memory_bytes: options.memory_bytes,
        search_snap_runs_min: options.search_snap_runs_min,
        read_only: options.read_only,
        from_index: options.from_index,
        missing: Default::default(),
    });
    // Set only here.
    let _ = core.pipeline.past.set(Box::new(StorePast::new(&core)));
    let mut replayer = Replayer::new(&core);
    // If the index must be changed first, the log must be settled by then.
    let adopts = rebuild.is_some() || core.pipeline.log.generation() > generation;
    let report;
    let settled;
    if !adopts && unsettled.takes_long() {
        load_dictionary(&core)?;
        report = settle_beside(&core, unsettled, || replayer.begin(end))?;
        settled = settle_files(&core, false)?;
    } else {
        let OpenedLog { tail, report: of_log, .. } = unsettled.settle()?;
        core.pipeline.put_tail(tail);
        report = of_log;
        settled = settle_files(&core, rebuild.is_some())?;
        load_dictionary(&core)?;
    }
    let mut missing = settled.missing;
    if options.read_only {
        missing.splice(0..0, report.missing.iter().cloned());
        if let Some((first, last)) = report.lost {
            let path = storage.display_path("log");
            let why = "its end was acknowledged, and is gone";
            missing.push(Missing::new(path, MissingKind::End, why, first, Some(last)));
        }
        // Set once, before the store is handed out.
        let _ = core.missing.set(missing.clone());
    }
    let replay = replayer.run(end, !options.read_only)?;
    if options.from_index {
        check_files(&core)?;
    }
    if !options.read_only && rebuild.is_none() {
        rebuild = remake_bad_files(&core)?;
    }
    let inboxes = Arc::new(StoreInboxes::new(options.mmap, options.accept_loss && !options.read_only));
    let shown: MergeReport = if options.read_only { inboxes.show(&core)? } else { Default::default() };
    core.projections.begin(core.pipeline.published());
    core.projections.set_bytes_max(core.memory_bytes / 2);
    let unread = |problem: &&InboxProblem| match problem.kind {
        InboxProblemKind::Damage | InboxProblemKind::Gap | InboxProblemKind::Unreadable => true,
        // A name that is not a process's holds nothing of the store.
        InboxProblemKind::Foreign => problem.writer.is_some(),
        InboxProblemKind::UnknownRun | InboxProblemKind::NotRemoved => false,
    };
    for problem in shown.problems.iter().filter(unread) {
        let path = problem.writer.map_or_else(|| INBOX_DIR.to_owned(), |writer| format!("{INBOX_DIR}/{writer}"));
        let path = storage.display_path(&path);
        missing.push(Missing::new(path, MissingKind::Inbox, &*problem.what, Lsn::ZERO, None));
    }
    let notes =
        OpenNotes { inboxes: shown, log: report, replay, rebuilt: rebuild, removed_files: settled.removed, missing };
    if !options.read_only {
        // Its end is now settled, so it is a store like any other.
        storage.mark(LOCK_PATH).map_err(|error| Error::io("mark", storage.display_path(LOCK_PATH), error))?;
    }
    let background = (options.background && !options.read_only).then(|| Background::start(&core, &inboxes));
    Ok(Store::new(core, inboxes, lock, background, notes))
}

/// Settles the log on a thread of its own, which mostly waits for the disk. Meanwhile the caller does `work`, which
/// writes nothing.
fn settle_beside(core: &Core, unsettled: UnsettledLog, work: impl FnOnce() -> Result<()>) -> Result<OpenReport> {
    let unsettled = Mutex::new(Some(unsettled));
    let settle = || {
        let taken = unsettled.lock().take();
        taken.map(UnsettledLog::settle)
    };
    let (settled, worked) = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("runlode-settle".into()).spawn_scoped(scope, settle);
        let worked = work();
        let settled = match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            // No thread could be started.
            Err(_) => settle(),
        };
        (settled, worked)
    });
    let OpenedLog { tail, report, .. } =
        settled.unwrap_or_else(|| Err(Error::Internal("the log was settled twice".into())))?;
    worked?;
    core.pipeline.put_tail(tail);
    Ok(report)
}

/// Creates the files of a new store; each is durable before the next.
fn create(storage: &dyn Storage, options: &Options) -> Result<StoreId> {
    let io = |op, path: &str, error| Error::io(op, storage.display_path(path), error);
    let absent = || Error::NotFound { entity: EntityKind::Store, id: storage.display_path("").display().to_string() };
    let entries = storage.list("").map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => absent(),
        _ => io("list", "", error),
    })?;
    // Only leftovers of an interrupted creation may exist, and stores that were logged offline before. Anything else
    // means that the folder is not a store, or a damaged one.
    let early = |name: &str| matches!(name, LOCK_PATH | "FORMAT.tmp" | INBOX_DIR | "artifacts");
    let foreign = entries.iter().find(|entry| !early(&entry.name));
    if let Some(entry) = foreign {
        return Err(Error::corrupt(
            storage.display_path("FORMAT"),
            0,
            "FORMAT",
            "the store's format file",
            format!("no such file beside `{}`: not a store, or a damaged one", entry.name),
        ));
    }
    if options.read_only || !options.create {
        return Err(absent());
    }
    let format = FormatFile::new(new_store_id(options.seed)?, options.clock.now());
    format.write(storage)?;
    Ok(format.store)
}

/// The index, and why it must be filled again, if so.
fn open_index(
    options: &Options,
    storage: &Arc<dyn Storage>,
    store_id: StoreId,
    cache_bytes: u64,
) -> Result<(Index, Option<String>)> {
    if options.read_only && options.from_index {
        return match Index::open_read_only(&**storage, store_id, cache_bytes)? {
            Opened::Ready(index) => Ok((index, None)),
            Opened::Rebuild { why } => Err(Error::Unsupported { why }),
        };
    }
    if options.read_only {
        // Another process may be writing it: replay into an index of our own.
        return Ok((Index::memory(store_id, cache_bytes)?, Some("read-only open".into())));
    }
    match Index::open(storage, store_id, cache_bytes)? {
        Opened::Ready(index) => Ok((index, None)),
        Opened::Rebuild { why } => {
            put_index_aside(&**storage)?;
            Ok((Index::create(storage, store_id, cache_bytes)?, Some(why)))
        }
    }
}

/// The state of the series files.
struct SettledFiles {
    removed: Vec<String>,
    missing: Vec<Missing>,
}

/// Makes series files and the index's directory agree: removes leftovers, adds the files that MANIFEST lists.
fn settle_files(core: &Core, rebuild: bool) -> Result<SettledFiles> {
    let storage = &*core.storage;
    let io = |op, path: &str, error| Error::io(op, storage.display_path(path), error);
    // A folder is not ours, whatever its name: leave it alone.
    let names = match storage.list(SERIES_DIR) {
        Ok(entries) => entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(io("list", SERIES_DIR, error)),
    };
    if !core.read_only {
        storage.create_dir(SERIES_DIR).map_err(|error| io("create", SERIES_DIR, error))?;
        storage.sync_dir("").map_err(|error| io("fsync", "", error))?;
    }
    let truth = core.pipeline.log.truth_files();
    let truth_names: Vec<String> = truth.iter().map(|file| file.name.clone()).collect();
    let mut missing = Vec::new();
    if rebuild || core.pipeline.log.generation() > core.index.read()?.generation() {
        missing = adopt(core)?;
    } else {
        check_truth(core)?;
    }
    let known: Vec<u64> = core.index.read()?.files()?.into_iter().map(|(number, _)| number).collect();
    let mut removed = Vec::new();
    let mut highest = known.iter().copied().max().unwrap_or(0);
    for name in names {
        let number = name.split('.').next().and_then(|number| number.parse::<u64>().ok());
        let Some(number) = number else { continue };
        highest = highest.max(number);
        let path = format!("{SERIES_DIR}/{name}");
        let is_truth = truth_names.contains(&path);
        let leftover = name.ends_with(".tmp") || (!known.contains(&number) && !is_truth);
        if leftover && !core.read_only {
            storage.remove(&path).map_err(|error| io("remove", &path, error))?;
            removed.push(path);
        }
    }
    core.upkeep.lock().next_file = highest + 1;
    if !core.read_only {
        removed.extend(saved::settle(storage, core.store_id, core.applied())?);
    }
    Ok(SettledFiles { removed, missing })
}

/// Checks for an open from the index that every file which the index knows is there and the very one.
fn check_files(core: &Core) -> Result<()> {
    let read = core.index.read()?;
    read.files()?.into_iter().try_for_each(|(number, _)| core.files.open_known(number, &read).map(drop))
}

/// Rebuilds derived series files that are missing or unknown to the index. Returns why, if there were any.
fn remake_bad_files(core: &Core) -> Result<Option<String>> {
    let read = core.index.read()?;
    let truth = core.pipeline.log.truth_files();
    let mut why = None;
    for (number, _) in read.files()? {
        if truth.iter().any(|file| file.name == series_path(number)) {
            continue;
        }
        match core.files.open_known(number, &read) {
            Ok(_) => {}
            Err(error @ Error::UnsupportedFormat { .. }) => return Err(error),
            Err(error) => drop(why.get_or_insert(error.to_string())),
        }
    }
    if why.is_none() || !core.files.alarmed() {
        return Ok(None);
    }
    match core.heal_index(&mut core.upkeep.lock()) {
        Ok(()) => Ok(why),
        // The store is served all the same. Reads that need the file are refused until there is room, or as long as the
        // log cannot be read.
        Err(_) => Ok(None),
    }
}

fn load_dictionary(core: &Core) -> Result<()> {
    let entries = core.index.read()?.dictionary()?;
    let mut definitions = Vec::with_capacity(entries.len());
    for entry in &entries {
        definitions.push(match entry.kind {
            0 => Definition::Key(
                KeyId(entry.id),
                std::str::from_utf8(&entry.bytes).map_err(|_| {
                    Error::corrupt("index.redb", 0, "dictionary row", "UTF-8", format!("key {}", entry.id))
                })?,
            ),
            _ => Definition::Context(ContextId(entry.id), &entry.bytes),
        });
    }
    core.pipeline.dictionary.load(&definitions)
}
