//! Keys as bytes whose order is the order of lists.
//!
//! ```text
//! entity           1 experiment u64 | 2 experiment name | 3 run 16 | 4 logged model 16 | 5 registered model u64
//!                  6 model name | 7 registered model u64, version u32 | 8 experiment u64, name length u32, name, digest
//! run of an experiment             experiment u64, start time u64 (i64, sign bit flipped), complement of id 16
//! logged model of an experiment    experiment u64, position of creation u64, id 16
//! series           run 16, key u32            chunks     first series 20, file u64, first chunk u32
//! event list       entity, first Lsn u64      dictionary kind u8, id u32
//! ```
//! All big endian. Every decoder answers `None` to bytes that no encoder here makes.

use super::stats_page::KEYS_OF_PAGE;
use crate::entity::EntityKey;
use crate::id::{ExperimentId, KeyId, Lsn, ModelId, RegisteredModelId, RunId, SeriesId};
use crate::varint::Bytes;

pub(super) const EXPERIMENT: u8 = 1;
pub(super) const RUN: u8 = 3;
pub(super) const REGISTERED_MODEL: u8 = 5;
pub(super) const MODEL_VERSION: u8 = 7;

fn be_u64(bytes: &mut Bytes<'_>) -> Option<u64> {
    bytes.array().map(u64::from_be_bytes)
}

fn be_u32(bytes: &mut Bytes<'_>) -> Option<u32> {
    bytes.array().map(u32::from_be_bytes)
}

/// Appends an entity's key.
pub fn put_entity(key: &EntityKey, out: &mut Vec<u8>) {
    match key {
        EntityKey::Experiment(id) => {
            out.push(EXPERIMENT);
            out.extend_from_slice(&id.0.to_be_bytes());
        }
        EntityKey::ExperimentName(name) => {
            out.push(2);
            out.extend_from_slice(name.as_bytes());
        }
        EntityKey::Run(id) => {
            out.push(RUN);
            out.extend_from_slice(&id.0);
        }
        EntityKey::LoggedModel(id) => {
            out.push(4);
            out.extend_from_slice(&id.0);
        }
        EntityKey::RegisteredModel(id) => {
            out.push(REGISTERED_MODEL);
            out.extend_from_slice(&id.0.to_be_bytes());
        }
        EntityKey::ModelName(name) => {
            out.push(6);
            out.extend_from_slice(name.as_bytes());
        }
        EntityKey::ModelVersion(id, version) => {
            out.push(MODEL_VERSION);
            out.extend_from_slice(&id.0.to_be_bytes());
            out.extend_from_slice(&version.to_be_bytes());
        }
        EntityKey::Dataset(experiment, name, digest) => {
            out.push(8);
            out.extend_from_slice(&experiment.0.to_be_bytes());
            // A frame is at most 64 MiB, so a name's length fits.
            out.extend_from_slice(&(name.len() as u32).to_be_bytes());
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(digest.as_bytes());
        }
    }
}

/// An entity's key.
pub fn entity(key: &EntityKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    put_entity(key, &mut out);
    out
}

/// The entity of a key.
pub fn read_entity(bytes: &[u8]) -> Option<EntityKey> {
    let mut bytes = Bytes::new(bytes);
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(Into::into);
    let key = match bytes.u8()? {
        EXPERIMENT => EntityKey::Experiment(ExperimentId(be_u64(&mut bytes)?)),
        2 => return text(bytes.rest()).map(EntityKey::ExperimentName),
        RUN => EntityKey::Run(RunId(bytes.array()?)),
        4 => EntityKey::LoggedModel(ModelId(bytes.array()?)),
        REGISTERED_MODEL => EntityKey::RegisteredModel(RegisteredModelId(be_u64(&mut bytes)?)),
        6 => return text(bytes.rest()).map(EntityKey::ModelName),
        MODEL_VERSION => EntityKey::ModelVersion(RegisteredModelId(be_u64(&mut bytes)?), be_u32(&mut bytes)?),
        8 => {
            let experiment = ExperimentId(be_u64(&mut bytes)?);
            let length = usize::try_from(be_u32(&mut bytes)?).ok()?;
            let name = text(bytes.take(length)?)?;
            return Some(EntityKey::Dataset(experiment, name, text(bytes.rest())?));
        }
        _ => return None,
    };
    bytes.is_empty().then_some(key)
}

/// Key in the list of an experiment's runs. Read backwards, the list is in the order of searches: newest first, runs that
/// started together by ascending id. The least start time is the same as the one after it, as it is for searches.
pub fn run_of(experiment: ExperimentId, start_time_ms: i64, run: RunId) -> [u8; 32] {
    let mut out = [0; 32];
    out[..8].copy_from_slice(&experiment.0.to_be_bytes());
    let start = start_time_ms.max(i64::MIN + 1);
    out[8..16].copy_from_slice(&((start as u64) ^ SIGN).to_be_bytes());
    for (out, byte) in out[16..].iter_mut().zip(run.0) {
        *out = !byte;
    }
    out
}

/// Start time and run of a [`run_of`] key.
pub fn read_run_of(key: &[u8; 32]) -> (i64, RunId) {
    let [_, start, a, b] = split_32(key);
    let mut run = [0; 16];
    for (out, byte) in run.iter_mut().zip(a.into_iter().chain(b)) {
        *out = !byte;
    }
    ((u64::from_be_bytes(start) ^ SIGN) as i64, RunId(run))
}

/// Flipped, numbers with a sign are in the order of their bytes.
const SIGN: u64 = 1 << 63;

/// Key in the list of an experiment's logged models.
pub fn member(experiment: ExperimentId, created: Lsn, id: [u8; 16]) -> [u8; 32] {
    let mut out = [0; 32];
    out[..8].copy_from_slice(&experiment.0.to_be_bytes());
    out[8..16].copy_from_slice(&created.0.to_be_bytes());
    out[16..].copy_from_slice(&id);
    out
}

/// The id in a [`member`] key.
pub fn read_member(key: &[u8; 32]) -> [u8; 16] {
    let [_, _, a, b] = split_32(key);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&a);
    id[8..].copy_from_slice(&b);
    id
}

fn split_32(key: &[u8; 32]) -> [[u8; 8]; 4] {
    let mut parts = [[0; 8]; 4];
    for (part, bytes) in parts.iter_mut().zip(key.chunks_exact(8)) {
        part.copy_from_slice(bytes);
    }
    parts
}

/// Key of a series.
pub fn series(id: SeriesId) -> [u8; 20] {
    let mut out = [0; 20];
    out[..16].copy_from_slice(&id.run.0);
    out[16..].copy_from_slice(&id.key.0.to_be_bytes());
    out
}

/// The page of statistics that a series is on, by its first key.
pub fn page_of(id: SeriesId) -> SeriesId {
    SeriesId { run: id.run, key: KeyId(id.key.0 - id.key.0 % KEYS_OF_PAGE) }
}

/// The series of a key.
pub fn read_series(key: &[u8; 20]) -> SeriesId {
    let (mut run, mut id) = ([0; 16], [0; 4]);
    run.copy_from_slice(&key[..16]);
    id.copy_from_slice(&key[16..]);
    SeriesId { run: RunId(run), key: KeyId(u32::from_be_bytes(id)) }
}

/// Key of a chunk.
pub fn chunk(id: SeriesId, file: u64, chunk: u32) -> [u8; 32] {
    let mut out = [0; 32];
    out[..20].copy_from_slice(&series(id));
    out[20..28].copy_from_slice(&file.to_be_bytes());
    out[28..].copy_from_slice(&chunk.to_be_bytes());
    out
}

/// Series, file and chunk of a key.
pub fn read_chunk(key: &[u8; 32]) -> (SeriesId, u64, u32) {
    let (mut id, mut file, mut chunk) = ([0; 20], [0; 8], [0; 4]);
    id.copy_from_slice(&key[..20]);
    file.copy_from_slice(&key[20..28]);
    chunk.copy_from_slice(&key[28..]);
    (read_series(&id), u64::from_be_bytes(file), u32::from_be_bytes(chunk))
}

/// Key of a definition in the dictionary.
pub fn dictionary(kind: u8, id: u32) -> [u8; 5] {
    let [a, b, c, d] = id.to_be_bytes();
    [kind, a, b, c, d]
}

/// Kind and id of a dictionary key.
pub fn read_dictionary(key: &[u8; 5]) -> (u8, u32) {
    let [kind, id @ ..] = *key;
    (kind, u32::from_be_bytes(id))
}

/// Key of a list of events: an entity's key, then the first position in the list.
pub fn event_list(entity: &[u8], first: Lsn) -> Vec<u8> {
    [entity, &first.0.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn any_entity() -> impl Strategy<Value = EntityKey> {
        let name = || "[a-z\u{e9}]{0,6}".prop_map(|name| name.as_str().into());
        prop_oneof![
            any::<u64>().prop_map(|id| EntityKey::Experiment(ExperimentId(id))),
            name().prop_map(EntityKey::ExperimentName),
            any::<[u8; 16]>().prop_map(|id| EntityKey::Run(RunId(id))),
            any::<[u8; 16]>().prop_map(|id| EntityKey::LoggedModel(ModelId(id))),
            any::<u64>().prop_map(|id| EntityKey::RegisteredModel(RegisteredModelId(id))),
            name().prop_map(EntityKey::ModelName),
            (any::<u64>(), any::<u32>()).prop_map(|(id, n)| EntityKey::ModelVersion(RegisteredModelId(id), n)),
            (any::<u64>(), name(), name()).prop_map(|(id, a, b)| EntityKey::Dataset(ExperimentId(id), a, b)),
        ]
    }

    proptest! {
        #[test]
        fn keys_come_back_and_sort_like_what_they_name(a in any_entity(), b in any_entity()) {
            prop_assert_eq!(read_entity(&entity(&a)), Some(a.clone()));
            if !matches!((&a, &b), (EntityKey::Dataset(..), EntityKey::Dataset(..))) {
                prop_assert_eq!(entity(&a).cmp(&entity(&b)), a.cmp(&b));
            }
            prop_assert_eq!(entity(&a) == entity(&b), a == b);
        }

        #[test]
        fn lists_of_runs_are_in_the_order_of_searches(a: (u64, i64, [u8; 2]), b: (u64, i64, [u8; 2])) {
            let key = |(experiment, time, id): (u64, i64, [u8; 2])| {
                run_of(ExperimentId(experiment), time, RunId(std::array::from_fn(|at| id[at % 2])))
            };
            let order = a.0.cmp(&b.0).then(a.1.max(-i64::MAX).cmp(&b.1.max(-i64::MAX))).then(b.2.cmp(&a.2));
            prop_assert_eq!(key(a).cmp(&key(b)), order);
        }

        #[test]
        fn arbitrary_keys_never_panic(bytes: Vec<u8>) {
            if let Some(key) = read_entity(&bytes) {
                prop_assert_eq!(entity(&key), bytes);
            }
        }

        #[test]
        fn fixed_keys_come_back(run: [u8; 16], key: u32, file: u64, number: u32, kind: u8, time: i64) {
            let id = SeriesId { run: RunId(run), key: KeyId(key) };
            prop_assert_eq!(read_series(&series(id)), id);
            prop_assert_eq!(read_chunk(&chunk(id, file, number)), (id, file, number));
            prop_assert_eq!(read_member(&member(ExperimentId(file), Lsn(7), run)), run);
            prop_assert_eq!(read_run_of(&run_of(ExperimentId(file), time, RunId(run))), (time.max(-i64::MAX), RunId(run)));
            prop_assert_eq!(read_dictionary(&dictionary(kind, key)), (kind, key));
        }
    }
}
