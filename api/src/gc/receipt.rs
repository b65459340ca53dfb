//! What a receipt says of a thing that goes: bytes, points, and hashes by which a backup's copy can be recognised.
//!
//! The hash of a run's content is SHA-256 over, in this order: each of its events, oldest first, as its length (u64) and its
//! bytes in the log; then each of its metrics by key, as the key's length (u64) and bytes, and its points in history order:
//! all steps (i64), all times (i64, Unix ms), all values (the bits of f64), page by page of 65,536 points. All numbers
//! little endian.

use sha2::{Digest, Sha256};

use super::folders;
use super::{GcItem, GcKind};
use crate::engine::event::Removed;
use crate::engine::event::payload::{self, Decoded};
use crate::{EntityKey, Error, HistoryQuery, Result, RunId, Snapshot};

/// Points that are hashed at a time.
const PAGE_POINTS: usize = 65_536;

/// The receipt of one thing.
pub(super) fn of(item: &GcItem, snapshot: &Snapshot) -> Result<Removed> {
    let (points_count, content_sha256) = match (item.kind, item.id.parse::<RunId>()) {
        (GcKind::Run, Ok(run)) => content(snapshot, run)?,
        _ => (0, [0; 32]),
    };
    let (artifact_bytes, artifacts_sha256) = match &item.folder {
        Some(folder) => (folders::disk_bytes(folder.as_ref())?, folders::hash(folder.as_ref())?),
        None => (0, [0; 32]),
    };
    let (kind, id) = (item.kind.as_str().to_owned(), item.id.clone());
    Ok(Removed { kind, id, artifact_bytes, artifacts_sha256, points_count, content_sha256 })
}

/// Number of a run's points, and the hash of its content.
fn content(snapshot: &Snapshot, run: RunId) -> Result<(u64, [u8; 32])> {
    let mut hash = Sha256::new();
    let mut bytes = Vec::new();
    for record in snapshot.events(&EntityKey::Run(run))? {
        bytes.clear();
        match &record.event {
            Decoded::Known(event) => payload::encode(event, &mut bytes)?,
            Decoded::Unknown { tag, version, bytes: rest } => {
                bytes.extend_from_slice(&tag.to_le_bytes());
                bytes.extend_from_slice(&version.to_le_bytes());
                bytes.extend_from_slice(rest);
            }
        }
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
    }
    let mut points_count = 0;
    for (key, _) in snapshot.latest(run)? {
        hash.update((key.len() as u64).to_le_bytes());
        hash.update(key.as_bytes());
        let mut after = None;
        loop {
            let query = HistoryQuery { limit: PAGE_POINTS, after, ..HistoryQuery::default() };
            let page = snapshot.history(run, &key, &query)?;
            let columns = &page.columns;
            bytes.clear();
            bytes.extend(columns.steps.iter().flat_map(|step| step.to_le_bytes()));
            bytes.extend(columns.times.iter().flat_map(|time| time.to_le_bytes()));
            bytes.extend(columns.values.iter().flat_map(|value| value.to_bits().to_le_bytes()));
            hash.update(&bytes);
            points_count += columns.len() as u64;
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    Ok((points_count, hash.finalize().into()))
}

/// The error of a thing whose id cannot be read.
pub(super) fn no_id(item: &GcItem) -> Error {
    Error::Internal(format!("`{}` of a plan is no id of a {}", item.id, item.kind.as_str()))
}
