//! Reads inboxes and changes nothing, for verification.

use std::io;

use super::note::{self, NOTES_DIR};
use super::reader::{Look, Reader, Stop, Window};
use super::report::InboxProblemKind;
use super::segment::{INBOX_DIR, dir_of, list_segments};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::id::WriterId;
use crate::log::FrameKind;
use crate::storage::Storage;

/// The result of inspecting all inboxes.
#[derive(Debug, Default)]
pub(crate) struct Inspection {
    /// Inboxes.
    pub(crate) count: u64,
    /// Whole frames that are not in the store's log.
    pub(crate) frames_unmerged: u64,
    /// Problems, and the folders that have them.
    pub(crate) problems: Vec<(String, String)>,
}

/// Reads all inboxes and changes nothing. `known`: the writers whose inboxes had a problem when they were read before.
pub(super) fn inspect_all(core: &Core, use_map: bool, known: &[Option<WriterId>]) -> Result<Inspection> {
    let storage = &*core.storage;
    let now_ms = core.pipeline.clock.monotonic_ms();
    let mut found = Inspection::default();
    let entries = match storage.list(INBOX_DIR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        entries => entries.map_err(|error| Error::io("list", storage.display_path(INBOX_DIR), error))?,
    };
    let mut window = Window::default();
    for writer in entries.iter().filter(|entry| entry.is_dir).filter_map(|entry| entry.name.parse().ok()) {
        let dir = dir_of(writer);
        let io = |error| Error::io("read", storage.display_path(&dir), error);
        // A holder may remove it just now.
        let ordinals = match list_segments(storage, writer) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            ordinals => ordinals.map_err(io)?,
        };
        let Some(&first) = ordinals.first() else { continue };
        found.count += 1;
        let applied = core.pipeline.applied_number(writer)?;
        let mut reader = Reader::new(core.store_id, writer, first, applied, use_map);
        reader.is_guest = core.read_only;
        let inspected = inspect(storage, &mut reader, &mut window, now_ms, &mut found.frames_unmerged);
        // A holder may have merged and removed segments since a store was opened for reading.
        let may_be_merged = core.read_only && !known.contains(&Some(writer));
        let problem = match (inspected.map_err(io), reader.stop, reader.absent) {
            // Only this inbox is affected: the others are still read.
            (Err(error), ..) => Some(error.to_string()),
            (Ok(()), Stop::Left(InboxProblemKind::Gap, _), _) if may_be_merged => None,
            (Ok(()), Stop::Left(_, what), _) => Some(what),
            (Ok(()), _, absent) => absent.filter(|_| !reader.is_overtaken),
        };
        found.problems.extend(problem.map(|what| (dir, what)));
    }
    match note::list(storage) {
        Ok(writers) => {
            for writer in writers {
                let misses = note::misses_all(storage, writer);
                if misses.map_err(|error| Error::io("read", storage.display_path(&dir_of(writer)), error))? {
                    found.problems.push((dir_of(writer), note::missed(storage, writer).what));
                }
            }
        }
        Err(error) => {
            let what = Error::io("list", storage.display_path(NOTES_DIR), error).to_string();
            found.problems.push((NOTES_DIR.to_owned(), what));
        }
    }
    Ok(found)
}

/// Reads one inbox to its end; counts whole frames that are not in the store's log.
fn inspect(
    storage: &dyn Storage,
    reader: &mut Reader,
    window: &mut Window,
    now_ms: u64,
    frames_unmerged: &mut u64,
) -> io::Result<()> {
    let applied = reader.applied;
    while reader.stop == Stop::No {
        window.clear();
        let mut is_bad = false;
        if reader.open(storage)? {
            let bound = reader.bound()?;
            loop {
                let header = match reader.look(window, bound)? {
                    Look::Frame(header, _) => header,
                    Look::Nothing => break,
                    Look::Bad => {
                        is_bad = true;
                        break;
                    }
                };
                if let Some((kind, what)) = reader.refuses(header.lsn.0) {
                    reader.leave(kind, what);
                    break;
                }
                reader.advance(&header);
                if header.kind != FrameKind::Batch {
                    reader.finish_segment();
                    if header.kind == FrameKind::Close {
                        return Ok(());
                    }
                    break;
                }
                *frames_unmerged += u64::from(header.lsn.0 > applied);
            }
            if reader.stop == Stop::No && !reader.is_open() {
                continue;
            }
        }
        if reader.stop != Stop::No || !reader.judge(storage, window, now_ms, is_bad)? {
            return Ok(());
        }
    }
    Ok(())
}
