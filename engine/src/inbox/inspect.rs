//! Reads inboxes and changes nothing, for verification.

use std::io;

use super::reader::{Look, Reader, Stop, Window};
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

/// Reads one inbox to its end; counts whole frames that are not in the store's log.
pub(super) fn inspect(
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
