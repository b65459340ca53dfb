//! Rows as bytes.
//!
//! - An entity: the rkyv archive of its state; the key says which. Checked on read like everything from disk.
//! - Statistics: see `stats_page`.
//! - A list of events: varints, by two: Lsn minus the one before (minus the key's, for the first), index in the batch.
//! - Positions: applied, sealed, generation, u64 each. Idempotency: request hash u64, Lsn u64, time i64.
//! - A merged writer: last number u64, Lsn u64.
//!
//! Pages are checked below (`index::backend`), so rows carry no crc; decoders still trust no length.

use std::sync::Arc;

use rkyv::rancor;

use crate::entity::{ArchivedRunState, EntityKey, EntityState};
use crate::error::{Error, Result};
use crate::id::Lsn;
use crate::varint::{Bytes, put_u64};

/// Path of the index in the store's folder.
pub(super) const PATH: &str = "index.redb";

/// The error for a row that no encoder here writes.
pub(super) fn malformed(table: &'static str, why: impl ToString) -> Error {
    Error::corrupt(PATH, 0, table, "a row as it is written", why)
}

/// Appends an entity's row.
pub fn put_entity(state: &EntityState, out: &mut Vec<u8>) -> Result<()> {
    use rkyv::api::high::to_bytes_in;
    type Failure = rancor::Error;
    match state {
        EntityState::Experiment(state) => to_bytes_in::<_, Failure>(state, out).map(drop),
        EntityState::ExperimentName(state) => to_bytes_in::<_, Failure>(state, out).map(drop),
        EntityState::Run(state) => to_bytes_in::<_, Failure>(state, out).map(drop),
        EntityState::LoggedModel(state) => to_bytes_in::<_, Failure>(state, out).map(drop),
        EntityState::RegisteredModel(state) => to_bytes_in::<_, Failure>(state, out).map(drop),
        EntityState::ModelName(state) => to_bytes_in::<_, Failure>(state, out).map(drop),
        EntityState::ModelVersion(state) => to_bytes_in::<_, Failure>(state, out).map(drop),
        EntityState::Dataset(state) => to_bytes_in::<_, Failure>(state, out).map(drop),
    }
    .map_err(|error| Error::Internal(format!("an entity's state does not fit a row: {error}")))
}

/// Reads an entity's row.
pub fn read_entity(key: &EntityKey, row: &[u8]) -> Result<Arc<EntityState>> {
    macro_rules! read {
        ($variant:ident) => {
            rkyv::from_bytes::<_, rancor::Error>(row).map(EntityState::$variant)
        };
    }
    match key {
        EntityKey::Experiment(_) => read!(Experiment),
        EntityKey::ExperimentName(_) => read!(ExperimentName),
        EntityKey::Run(_) => read!(Run),
        EntityKey::LoggedModel(_) => read!(LoggedModel),
        EntityKey::RegisteredModel(_) => read!(RegisteredModel),
        EntityKey::ModelName(_) => read!(ModelName),
        EntityKey::ModelVersion(..) => read!(ModelVersion),
        EntityKey::Dataset(..) => read!(Dataset),
    }
    .map(Arc::new)
    .map_err(|error| malformed("entities", error))
}

/// A checked run row, read in place: for callers that read many rows and keep none.
pub fn access_run(row: &[u8]) -> Result<&ArchivedRunState> {
    rkyv::access::<ArchivedRunState, rancor::Error>(row).map_err(|error| malformed("entities", error))
}

/// Appends a list of events, sorted by (position, index).
pub fn put_event_list(list: &[(Lsn, u16)], out: &mut Vec<u8>) {
    let mut before = list.first().map_or(0, |(lsn, _)| lsn.0);
    for (lsn, index) in list {
        put_u64(out, lsn.0.wrapping_sub(before));
        put_u64(out, u64::from(*index));
        before = lsn.0;
    }
}

/// Reads a list of events whose first position is `first`.
pub fn read_event_list(first: Lsn, row: &[u8]) -> Option<Vec<(Lsn, u16)>> {
    let mut bytes = Bytes::new(row);
    let mut list = Vec::with_capacity(row.len() / 2);
    let mut lsn = first.0;
    while !bytes.is_empty() {
        lsn = lsn.checked_add(bytes.varint()?)?;
        list.push((Lsn(lsn), u16::try_from(bytes.varint()?).ok()?));
    }
    Some(list)
}

/// Row of a writer: its last number in the log, and the position of the batch that holds it. More fields may follow.
pub(crate) fn writer(number: u64, lsn: Lsn) -> Vec<u8> {
    [number.to_le_bytes(), lsn.0.to_le_bytes()].concat()
}

/// The inverse of [`writer`].
pub(super) fn read_writer(row: &[u8]) -> Option<(u64, Lsn)> {
    let mut bytes = Bytes::new(row);
    Some((bytes.u64()?, Lsn(bytes.u64()?)))
}

/// Three numbers: positions, or an idempotency row.
pub fn three(numbers: [u64; 3]) -> [u8; 24] {
    let mut out = [0; 24];
    for (bytes, number) in out.chunks_exact_mut(8).zip(numbers) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    out
}

/// Reads three numbers.
pub fn read_three(row: &[u8]) -> Option<[u64; 3]> {
    let mut bytes = Bytes::new(row);
    let numbers = [bytes.u64()?, bytes.u64()?, bytes.u64()?];
    bytes.is_empty().then_some(numbers)
}
