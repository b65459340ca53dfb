//! Repairs a store that an open refuses: `runlode verify --repair`.
//!
//! | found | rebuilt from |
//! |---|---|
//! | FORMAT missing, damaged, or of another store than all segments (and than MANIFEST) | the segments' headers |
//! | MANIFEST missing or damaged | the segments' headers and footers; the list of series files that hold released points from the index, else from their own footers |
//! | a row of the index, a derived series file, `search.snap` | the log, and the series files that hold released points |
//! | missing or damaged segments of an inbox | nothing. If the loss is accepted: the rest is merged |
//! | acknowledged frames missing at the end | nothing. If the loss is accepted: cut the end, note the gap in MANIFEST, rebuild the index, log `LossAccepted` |
//!
//! Then the store is opened, which recovers the log and rebuilds an unusable index, and verified completely. If
//! something derived is wrong (a row of the index, a series file whose raw frames are kept), the index and the derived
//! series files are rebuilt. Damage that cannot be repaired stays as it is, and is reported.
//!
//! Each file is replaced as a whole (`*.tmp` > fsync > rename > fsync of the folder), FORMAT before MANIFEST, and
//! nothing else is written before. So an interrupted repair can be run again.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::series_path;
use crate::error::{EntityKind, Error, Result};
use crate::event::batch::{SectionKind, sections};
use crate::event::payload::{Decoded, decode};
use crate::event::{Event, LossAccepted};
use crate::id::{Lsn, SeriesId, StoreId};
use crate::index::Index;
use crate::log::format_file::{FORMAT_PATH, FormatFile};
use crate::log::manifest::MANIFEST_PATH;
use crate::log::repair::{NamedStore, Survey, keep_bad, named_store};
use crate::log::{LogOptions, Manifest, TruthFile};
use crate::open::{lock, log_losses, storage_of};
use crate::options::Options;
use crate::point::Columns;
use crate::series::{ChunkEntry, ColumnSet, SeriesFile};
use crate::storage::{OpenMode, Storage};
use crate::store::Store;
use crate::verify::{VerifyOptions, VerifyReport};

/// A file that was rebuilt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebuilt {
    /// The file.
    pub file: String,
    /// What was wrong with it.
    pub why: String,
    /// What it was rebuilt from.
    pub from: String,
    /// Name of the kept damaged file.
    pub kept: Option<String>,
}

/// What a repair did, and what it could not do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// Files that were rebuilt.
    pub rebuilt: Vec<Rebuilt>,
    /// Acknowledged positions that are missing, and accepted as lost: first and last of each range.
    pub lost: Vec<(Lsn, Lsn)>,
    /// Batches in inboxes of other processes that are missing or damaged, and accepted as lost. At least so many: of a
    /// missing end nobody knows how much it held.
    pub inbox_batches_lost: u64,
    /// What is still damaged.
    pub verified: VerifyReport,
}

impl Options {
    /// Repairs the store: rebuilds what can be rebuilt, and reports the rest. If nothing needs a repair, it writes only
    /// what an open would write. [`Options::accept_loss`] decides what to do if the acknowledged end is missing.
    ///
    /// # Errors
    /// `Locked` if another process holds the store, `NotFound` if there is none; `Corrupt`, `MissingFile` if a damaged
    /// file cannot be rebuilt; `UnsupportedFormat`; `Io`, `StorageFull`. It can be run again after any of them.
    pub fn repair(self) -> Result<RepairReport> {
        let options = Options { create: false, read_only: false, ..self }.background(false);
        let accept_loss = options.accept_loss;
        let storage = storage_of(&options)?;
        let mut report = RepairReport::default();
        {
            check_is_store(&*storage)?;
            let _lock = lock(&*storage)?;
            let store = repair_format(&*storage, &options, &mut report)?;
            repair_manifest(&storage, store, &options, &mut report)?;
        }
        let store = options.storage(storage).open()?;
        let notes = store.open_notes();
        if let Some(why) = &notes.rebuilt {
            report.rebuilt.push(Rebuilt {
                file: "index.redb".into(),
                why: why.clone(),
                from: "the log and the series files".into(),
                kept: Some("index.bad".into()),
            });
        }
        if accept_loss {
            report.inbox_batches_lost = store.merge_inboxes()?.frames_lost;
            // What was merged is removed once it is durable.
            store.flush()?;
            report.inbox_batches_lost += store.merge_inboxes()?.frames_lost;
        }
        log_missing_losses(&store)?;
        let losses = store.core().pipeline.log.losses();
        report.lost.extend(notes.log.lost.filter(|lost| !report.lost.contains(lost)));
        report.lost.retain(|lost| losses.contains(lost));
        report.verified = store.verify(&VerifyOptions::default())?;
        if let Some(why) = report.verified.findings.iter().find(|finding| finding.derived).map(ToString::to_string) {
            // Nothing can get lost: if the log cannot be read, the old files stay.
            let made = store.core().remake_derived();
            match made {
                Ok(()) => report.rebuilt.push(Rebuilt {
                    file: "index.redb, and what else is derived".into(),
                    why,
                    from: "the log and the series files that are the truth".into(),
                    kept: Some("index.bad".into()),
                }),
                Err(Error::Corrupt(_) | Error::MissingFile { .. }) => {}
                Err(error) => return Err(error),
            }
            report.verified = store.verify(&VerifyOptions::default())?;
        }
        store.close()?;
        Ok(report)
    }
}

/// A folder without any file of a store is not one.
fn check_is_store(storage: &dyn Storage) -> Result<()> {
    let entries = storage.list("").map_err(|error| Error::io("list", storage.display_path(""), error))?;
    let ours = |name: &str| matches!(name, FORMAT_PATH | MANIFEST_PATH | "log");
    if entries.iter().any(|entry| ours(&entry.name)) {
        return Ok(());
    }
    Err(Error::NotFound { entity: EntityKind::Store, id: storage.display_path("").display().to_string() })
}

/// Rebuilds FORMAT if needed. Returns the store's id.
fn repair_format(storage: &dyn Storage, options: &Options, report: &mut RepairReport) -> Result<StoreId> {
    let found = FormatFile::read(storage);
    let (named, why) = match found {
        Ok(Some(format)) => {
            let id = format.store;
            let named = named_store(storage)?.filter(|named| named.id != id);
            let Some(named) = named.filter(|_| !matches!(Manifest::load(storage, id), Ok(Some(_)))) else {
                return Ok(id);
            };
            (Some(named), format!("it names store {id}"))
        }
        Ok(None) => (named_store(storage)?, "it is missing".to_owned()),
        Err(Error::Corrupt(damage)) => (named_store(storage)?, format!("it is damaged ({})", damage.found)),
        Err(error) => return Err(error),
    };
    let Some(NamedStore { id, segments_count, first_time }) = named else {
        let path = storage.display_path(FORMAT_PATH);
        let expected = "the store's format file, or a segment whose header names the store";
        return Err(Error::corrupt(path, 0, "FORMAT", expected, format!("neither: {why}")));
    };
    let kept = keep_bad(storage, FORMAT_PATH)?;
    FormatFile::new(id, first_time.unwrap_or_else(|| options.clock.now())).write(storage)?;
    let from = format!("the headers of {segments_count} log segments");
    report.rebuilt.push(Rebuilt { file: FORMAT_PATH.into(), why, from, kept });
    Ok(id)
}

/// Rebuilds MANIFEST if needed.
fn repair_manifest(
    storage: &Arc<dyn Storage>,
    store: StoreId,
    options: &Options,
    report: &mut RepairReport,
) -> Result<()> {
    let why = match Manifest::load(&**storage, store) {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => "it is missing".to_owned(),
        Err(Error::Corrupt(damage)) => format!("it is damaged ({})", damage.found),
        Err(error) => return Err(error),
    };
    let log_options = LogOptions { mmap: false, ..LogOptions::new(store) };
    // Without a frame it is an interrupted creation: the open completes it, or refuses it if there was more.
    let Some(survey) = Survey::take(storage.clone(), log_options, options.accept_loss)? else { return Ok(()) };
    let index = Index::look(&**storage, store);
    let (vouched, generation) = match &index {
        Some(index) => (index.applied().max(index.sealed()), index.generation()),
        None => (Lsn::ZERO, 0),
    };
    let mut from = "the headers and footers of the log's segments".to_owned();
    let truth = if survey.released > Lsn::ZERO {
        let (numbers, source) = match &index {
            Some(index) => (index.files()?.into_iter().map(|(number, _)| number).collect(), "the index"),
            None => (series_numbers(&**storage)?, "their own footers"),
        };
        from = format!("{from}; the series files that are the truth from {source}");
        truth_of(&**storage, store, &numbers, survey.released, index.is_none())?
    } else {
        Vec::new()
    };
    // An index of this generation knows the files; an older one, or none, learns of them.
    let rebuilt = survey.finish(truth, vouched, generation)?;
    from = format!("{from} ({} of {} with a footer)", rebuilt.sealed_count, rebuilt.segments_count);
    report.lost.extend(rebuilt.lost);
    report.rebuilt.push(Rebuilt { file: MANIFEST_PATH.into(), why, from, kept: rebuilt.kept });
    Ok(())
}

/// Numbers of the series files that are there.
fn series_numbers(storage: &dyn Storage) -> Result<Vec<u64>> {
    let entries = match storage.list("series") {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(|error| Error::io("list", storage.display_path("series"), error))?,
    };
    let number = |name: &str| name.strip_suffix(".ser").and_then(|number| number.parse::<u64>().ok());
    Ok(entries.iter().filter_map(|entry| number(&entry.name)).collect())
}

/// The files that hold points whose frames are released: those that cover positions up to `released`. They become the
/// truth for everything that they cover, so files that cover part of that belong to them too. What is after that can be
/// sealed again.
fn truth_of(
    storage: &dyn Storage,
    store: StoreId,
    numbers: &[u64],
    released: Lsn,
    unlisted: bool,
) -> Result<Vec<TruthFile>> {
    let mut files = Vec::new();
    for number in numbers {
        let path = series_path(*number);
        let len = storage.open(&path, OpenMode::Read).and_then(|file| file.len());
        let file = SeriesFile::open(storage, &path, store)?;
        files.push((file, len.map_err(|error| Error::io("read the length", storage.display_path(&path), error))?));
    }
    let mut bound = released;
    loop {
        let covering = files.iter().map(|(file, _)| file.footer().covered).filter(|(from, _)| *from < bound);
        let reach = covering.map(|(_, to)| to).max().unwrap_or_default().max(bound);
        if reach == bound {
            break;
        }
        bound = reach;
    }
    files.retain(|(file, _)| file.footer().covered.0 < bound);
    if unlisted {
        refuse_twins(&files)?;
    }
    Ok(files
        .iter()
        .map(|(file, len_bytes)| TruthFile {
            name: file.path().to_owned(),
            len_bytes: *len_bytes,
            footer_crc: file.footer().crc,
            first: file.footer().covered.0.next(),
            last: file.footer().covered.1,
        })
        .collect())
}

/// Refuses files that hold the same points. They are leftovers of a compaction, and only MANIFEST or the index could
/// say which ones count.
pub(crate) fn refuse_twins(files: &[(Arc<SeriesFile>, u64)]) -> Result<()> {
    let mut chunks: BTreeMap<SeriesId, Vec<(usize, ChunkEntry)>> = BTreeMap::new();
    for (at, (file, _)) in files.iter().enumerate() {
        for item in file.directory() {
            let (series, entry) = item?;
            chunks.entry(series).or_default().push((at, entry));
        }
    }
    for entries in
        chunks.values().filter(|entries| entries.iter().any(|(at, _)| Some(*at) != entries.first().map(|e| e.0)))
    {
        let mut points = Vec::new();
        for (at, entry) in entries {
            let Some((file, _)) = files.get(*at) else { continue };
            let mut columns = Columns::default();
            match file.read_chunk(entry, ColumnSet::ALL, &mut columns) {
                Ok(()) => {}
                // No other file can have its points if none has points of these positions.
                Err(Error::Corrupt(_)) if !entries.iter().any(|(other, of)| other != at && overlap(entry, of)) => {
                    continue;
                }
                Err(error) => return Err(error),
            }
            let rest = columns.steps.iter().zip(&columns.times).zip(&columns.values);
            points.extend(
                columns
                    .lsns
                    .iter()
                    .zip(rest)
                    .map(|(lsn, ((step, time), value))| ((*lsn, *step, *time, value.to_bits()), *at)),
            );
        }
        points.sort_unstable();
        for pair in points.windows(2) {
            if let [(left, one), (right, other)] = pair
                && left == right
                && one != other
                && let (Some((one, _)), Some((other, _))) = (files.get(*one), files.get(*other))
            {
                let expected = format!("points that {} does not have", one.path());
                return Err(Error::corrupt(other.path(), 0, "series file", expected, "the same points"));
            }
        }
    }
    Ok(())
}

fn overlap(a: &ChunkEntry, b: &ChunkEntry) -> bool {
    a.lsn_min <= b.lsn_max && b.lsn_min <= a.lsn_max
}

/// Logs losses that MANIFEST notes but the log lacks, because a repair was interrupted between the two.
fn log_missing_losses(store: &Store) -> Result<()> {
    let log = &store.core().pipeline.log;
    let mut losses = log.losses();
    if losses.is_empty() {
        return Ok(());
    }
    let mut frames = log.read_from(log.first(), Lsn::MAX)?;
    loop {
        match frames.next_frame() {
            Ok(Some(frame)) => {
                // Verification reports what does not decode, and damage.
                for section in sections(frame.payload).flatten() {
                    if section.kind == SectionKind::Event as u8
                        && let Ok(Decoded::Known(Event::LossAccepted(LossAccepted { from, to }))) = decode(section.body)
                    {
                        losses.retain(|loss| *loss != (Lsn(from), Lsn(to)));
                    }
                }
            }
            Ok(None) => break,
            // Verification reports the damage.
            Err(_) => frames.skip_damage(),
        }
    }
    log_losses(store, &losses)
}

#[cfg(test)]
mod tests;
