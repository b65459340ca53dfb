//! The index against a model of maps, and its ways to open.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index as Pick;

use super::super::change::{ChunkRows, DictionaryEntry, IdempotencyEntry};
use super::*;
use crate::entity::apply::tests::{created_experiment, created_run};
use crate::entity::{EntityKey, EntityState, Lifecycle, Nothing, Working, apply};
use crate::event::payload::tests::event;
use crate::id::{ExperimentId, KeyId, ModelId, RegisteredModelId, RunId, SeriesId};
use crate::point::{Point, Stats};
use crate::storage::memory::Memory;
use crate::storage::{OpenMode, read_exact_at};
use crate::time::TimestampMs;

const STORE: StoreId = StoreId([3; 16]);
const CACHE: u64 = 4 << 20;

fn storage() -> Arc<dyn Storage> {
    Arc::new(Memory::new())
}

fn open(storage: &Arc<dyn Storage>) -> Index {
    match Index::open(storage, STORE, CACHE).unwrap() {
        Opened::Ready(index) => index,
        Opened::Rebuild { why } => panic!("{why}"),
    }
}

fn must_rebuild(storage: &Arc<dyn Storage>, store: StoreId) -> String {
    match Index::open(storage, store, CACHE).unwrap() {
        Opened::Ready(_) => panic!("opened"),
        Opened::Rebuild { why } => why,
    }
}

fn series(run: u8, key: u32) -> SeriesId {
    SeriesId { run: RunId([run; 16]), key: KeyId(key) }
}

/// Statistics to be compared: NaN is not equal to itself.
fn bits(stats: &Stats) -> ([u64; 4], [i64; 6], bool, bool) {
    let values = [stats.min, stats.max, stats.first_value, stats.last_value].map(f64::to_bits);
    let first = (stats.first_step, stats.first_time_ms);
    let numbers = [stats.count_raw as i64, first.0, first.1, stats.last_step, stats.last_time_ms, stats.time_max_ms];
    (values, numbers, stats.maybe_repeats, stats.unordered)
}

/// What the index should say.
#[derive(Default)]
struct Model {
    entities: BTreeMap<EntityKey, Arc<EntityState>>,
    stats: BTreeMap<SeriesId, Stats>,
    chunks: BTreeMap<(SeriesId, u64, u32), Vec<u8>>,
    files: BTreeMap<u64, Vec<u8>>,
    events: BTreeMap<EntityKey, Vec<(Lsn, u16)>>,
    dictionary: BTreeMap<(u8, u32), Vec<u8>>,
    idempotency: BTreeMap<Vec<u8>, IdempotencyEntry>,
    unknown: BTreeMap<u16, u64>,
}

impl Model {
    fn absorb(&mut self, change: &IndexChange) {
        for run in &change.purged {
            self.stats.retain(|series, _| series.run != *run);
            self.chunks.retain(|(series, ..), _| series.run != *run);
            self.events.remove(&EntityKey::Run(*run));
        }
        self.entities.extend(change.entities.iter().cloned());
        self.stats.extend(change.stats.iter().filter(|(series, _)| !change.purged.contains(&series.run)).copied());
        for (key, list) in &change.events {
            self.events.entry(key.clone()).or_default().extend(list);
        }
        for (series, file, chunk) in &change.chunks_removed {
            self.chunks.remove(&(*series, *file, *chunk));
        }
        for (series, file, chunk, row) in &change.chunks_added {
            self.chunks.insert((*series, *file, *chunk), row.clone());
        }
        for file in &change.files_removed {
            self.files.remove(file);
        }
        self.files.extend(change.files_added.iter().cloned());
        self.dictionary.extend(change.dictionary.iter().map(|entry| ((entry.kind, entry.id), entry.bytes.clone())));
        for entry in &change.idempotency {
            self.idempotency.insert(entry.key.clone(), entry.clone());
        }
        if let Some(before) = change.idempotency_expired_before {
            self.idempotency.retain(|_, entry| entry.time >= before);
        }
        for (tag, more) in &change.unknown_events {
            *self.unknown.entry(*tag).or_default() += more;
        }
    }

    fn check(&self, read: &IndexRead) {
        let mut all = BTreeMap::new();
        read.for_each(|key, state| {
            all.insert(key, state);
            Ok(())
        })
        .unwrap();
        assert_eq!(all, self.entities);
        for (key, state) in &self.entities {
            assert_eq!(read.entity(key).unwrap().as_ref(), Some(state));
        }
        assert_eq!(read.entity(&EntityKey::Run(RunId([99; 16]))).unwrap(), None);
        self.check_lists(read);

        let mut stats = BTreeMap::new();
        read.for_each_stats(|series, row| {
            stats.insert(series, row);
            Ok(())
        })
        .unwrap();
        // By bytes: NaN is not equal to itself.
        let bytes = |map: &BTreeMap<SeriesId, Stats>| -> Vec<_> {
            map.iter().map(|(series, stats)| (*series, bits(stats))).collect()
        };
        assert_eq!(bytes(&stats), bytes(&self.stats));
        for run in 0..6 {
            let of_run: BTreeMap<_, _> =
                read.stats_of(RunId([run; 16])).unwrap().into_iter().map(|(key, s)| (series(run, key.0), s)).collect();
            let expected = self.stats.iter().filter(|(s, _)| s.run.0 == [run; 16]).map(|(s, row)| (*s, *row));
            assert_eq!(bytes(&of_run), bytes(&expected.collect()));
            for key in 0..4 {
                let id = series(run, key);
                let found = read.stats(id).unwrap().map(|stats| bits(&stats));
                assert_eq!(found, self.stats.get(&id).map(bits));
                let mut chunks = Vec::new();
                read.for_each_chunk_of(id, |first, file, chunk, row| {
                    chunks.push(((first, file, chunk), row.to_vec()));
                    Ok(())
                })
                .unwrap();
                // All of these are on the first page.
                let expected: Vec<_> = self
                    .chunks
                    .iter()
                    .filter(|((s, ..), _)| s.run == id.run && s.key <= id.key)
                    .map(|(k, v)| (*k, v.clone()))
                    .collect();
                assert_eq!(chunks, expected);
            }
        }
        for file in 0..4 {
            let expected = self.chunks.keys().filter(|(_, at, _)| *at == file).map(|(s, _, chunk)| (*s, *chunk));
            let mut chunks = Vec::new();
            read.for_each_chunk_row(|first, at, chunk, _| {
                if at == file {
                    chunks.push((first, chunk));
                }
                Ok(())
            })
            .unwrap();
            assert_eq!(chunks, expected.collect::<Vec<_>>());
        }
        assert_eq!(read.files().unwrap(), self.files.clone().into_iter().collect::<Vec<_>>());
        let dictionary: Vec<_> = self
            .dictionary
            .iter()
            .map(|((kind, id), b)| DictionaryEntry { kind: *kind, id: *id, bytes: b.clone() })
            .collect();
        assert_eq!(read.dictionary().unwrap(), dictionary);
        for entry in self.idempotency.values() {
            assert_eq!(read.idempotency(&entry.key).unwrap().as_ref(), Some(entry));
        }
        assert_eq!(read.unknown_events().unwrap(), self.unknown.clone().into_iter().collect::<Vec<_>>());
        for (key, list) in &self.events {
            assert_eq!(&read.events(key, Lsn::ZERO..=Lsn::MAX).unwrap(), list);
            for (from, to) in [(0, 5), (3, 9), (7, 7), (12, 40), (20, 10)] {
                let range = Lsn(from)..=Lsn(to);
                let expected: Vec<_> = list.iter().filter(|(lsn, _)| range.contains(lsn)).copied().collect();
                assert_eq!(read.events(key, range).unwrap(), expected, "{key:?} {from}..={to}");
            }
        }
    }

    fn check_lists(&self, read: &IndexRead) {
        let mut runs: BTreeMap<ExperimentId, Vec<(i64, std::cmp::Reverse<RunId>)>> = BTreeMap::new();
        let mut models: BTreeMap<ExperimentId, Vec<(Lsn, ModelId)>> = BTreeMap::new();
        let (mut experiments, mut registered) = (Vec::new(), Vec::new());
        let mut versions: BTreeMap<RegisteredModelId, Vec<(u32, Arc<EntityState>)>> = BTreeMap::new();
        for (key, state) in &self.entities {
            match (key, &**state) {
                (EntityKey::Run(id), EntityState::Run(run)) if run.lifecycle != Lifecycle::Purged => {
                    runs.entry(run.experiment).or_default().push((run.start_time_ms, std::cmp::Reverse(*id)));
                }
                (EntityKey::LoggedModel(id), EntityState::LoggedModel(model)) => {
                    models.entry(model.experiment).or_default().push((model.created, *id));
                }
                (EntityKey::Experiment(id), _) => experiments.push((*id, state.clone())),
                (EntityKey::RegisteredModel(id), _) => registered.push((*id, state.clone())),
                (EntityKey::ModelVersion(id, n), _) => versions.entry(*id).or_default().push((*n, state.clone())),
                _ => {}
            }
        }
        for experiment in (0..3).map(ExperimentId) {
            let mut expected = runs.remove(&experiment).unwrap_or_default();
            expected.sort();
            let expected: Vec<_> = expected.into_iter().map(|(_, id)| id.0).collect();
            assert_eq!(read.runs_of(experiment).unwrap(), expected);
            let mut expected = models.remove(&experiment).unwrap_or_default();
            expected.sort();
            let expected: Vec<_> = expected.into_iter().map(|(_, id)| id).collect();
            assert_eq!(read.logged_models_of(experiment).unwrap(), expected);
        }
        assert_eq!(read.experiments().unwrap(), experiments);
        assert_eq!(read.registered_models().unwrap(), registered);
        for model in (0..4).map(RegisteredModelId) {
            assert_eq!(read.versions(model).unwrap(), versions.remove(&model).unwrap_or_default());
        }
    }
}

#[derive(Debug, Clone)]
struct Extra {
    stats: Vec<(u8, u32, f64)>,
    chunks: Vec<(u8, u32, u64, u32)>,
    removed: Vec<Pick>,
    files: Vec<(u64, bool)>,
    keys: Vec<(u8, i64)>,
    expire: Option<i64>,
    dictionary: Vec<(u8, u32)>,
    unknown: Vec<u16>,
}

fn extra() -> impl Strategy<Value = Extra> {
    (
        vec((0u8..6, 0u32..4, prop_oneof![Just(f64::NAN), Just(-0.0), any::<f64>()]), 0..12),
        vec((0u8..6, 0u32..4, 0u64..4, 0u32..3), 0..8),
        vec(any::<Pick>(), 0..3),
        vec((0u64..4, any::<bool>()), 0..3),
        vec((0u8..20, 0i64..100), 0..4),
        proptest::option::of(0i64..100),
        vec((1u8..3, 0u32..50), 0..5),
        vec(900u16..903, 0..3),
    )
        .prop_map(|(stats, chunks, removed, files, keys, expire, dictionary, unknown)| Extra {
            stats,
            chunks,
            removed,
            files,
            keys,
            expire,
            dictionary,
            unknown,
        })
}

impl Extra {
    /// The change around some applied events; `lsn` is the last one's position.
    fn change(self, model: &Model, lsn: u64) -> IndexChange {
        let mut clock = model.idempotency.values().map(|entry| entry.time.0).max().unwrap_or(0);
        let present: Vec<_> = model.chunks.keys().copied().collect();
        let mut files = self.files;
        files.sort_unstable();
        files.dedup_by_key(|(file, _)| *file);
        IndexChange {
            applied: Lsn(lsn),
            sealed: Lsn(lsn / 2),
            generation: lsn * 3,
            stats: self
                .stats
                .into_iter()
                .map(|(run, key, value)| {
                    let mut stats = Stats::of(Point { step: i64::from(key) - 1, time: TimestampMs(7), value });
                    stats.push(Point { step: 0, time: TimestampMs(6), value: 1.5 });
                    (series(run, key), stats)
                })
                .collect(),
            chunks_added: self
                .chunks
                .into_iter()
                .map(|(run, key, file, chunk)| (series(run, key), file, chunk, vec![run, chunk as u8, lsn as u8]))
                .collect(),
            chunks_removed: match present.len() {
                0 => vec![],
                _ => self.removed.into_iter().map(|pick| *pick.get(&present)).collect(),
            },
            files_added: files.iter().filter(|(_, add)| *add).map(|(file, _)| (*file, vec![lsn as u8; 9])).collect(),
            files_removed: files.iter().filter(|(_, add)| !*add).map(|(file, _)| *file).collect(),
            // In the order of positions times grow, as they do but for jumps; each position has one key.
            idempotency: self
                .keys
                .into_iter()
                .enumerate()
                .map(|(at, (key, later))| {
                    clock += later;
                    let key = vec![key; 3];
                    let lsn = Lsn(lsn * 100 + at as u64);
                    IdempotencyEntry { key, request: lsn.0 ^ 0xff, lsn, time: TimestampMs(clock) }
                })
                .collect(),
            idempotency_expired_before: self.expire.map(|back| TimestampMs(clock - back)),
            dictionary: self
                .dictionary
                .into_iter()
                .map(|(kind, id)| DictionaryEntry { kind, id, bytes: format!("{kind}/{id}").into_bytes() })
                .collect(),
            unknown_events: self.unknown.into_iter().map(|tag| (tag, 2)).collect(),
            ..IndexChange::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Random changes, as checkpoints and seals make them, against maps; an old read keeps its view; a reopened
    /// index says the same.
    #[test]
    fn the_index_equals_a_model_of_maps(
        writes in vec((vec(event(), 0..30), extra()), 1..8),
        old_at in any::<Pick>(),
        reopen in any::<bool>(),
    ) {
        let storage = storage();
        let mut index = Index::create(&storage, STORE, CACHE).unwrap();
        let mut model = Model::default();
        let mut working = Working::new(&Nothing);
        let mut lsn = 0;
        let old_at = old_at.index(writes.len());
        let mut old = None;
        for (at, (events, extra)) in writes.into_iter().enumerate() {
            let mut change = extra.change(&model, lsn + events.len() as u64);
            let mut touched: BTreeMap<EntityKey, Vec<(Lsn, u16)>> = BTreeMap::new();
            for event in &events {
                lsn += 1;
                let applied = apply(event, Lsn(lsn), &mut working).unwrap();
                for key in applied.touched.iter().filter(|_| !applied.ignored) {
                    let list = touched.entry(key.clone()).or_default();
                    if list.last() != Some(&(Lsn(lsn), 2)) {
                        list.push((Lsn(lsn), 2));
                    }
                }
                if let (crate::event::Event::RunPurged(e), false) = (event, applied.ignored) {
                    change.purged.push(e.run);
                }
            }
            let before = model.entities.clone();
            change.entities = working.changed().into_iter().filter(|(k, s)| before.get(k) != Some(s)).collect();
            change.entities.reverse();
            change.events = touched.into_iter().collect();
            index.write(&change).unwrap();
            model.absorb(&change);
            let read = index.read().unwrap();
            prop_assert_eq!((read.applied(), read.sealed(), read.generation()), (Lsn(lsn), Lsn(lsn / 2), lsn * 3));
            model.check(&read);
            if at == old_at {
                old = Some((read, Model { entities: model.entities.clone(), ..Model::default() }));
            }
        }
        if let Some((read, then)) = old {
            for (key, state) in &then.entities {
                prop_assert_eq!(read.entity(key).unwrap(), Some(state.clone()));
            }
        }
        if reopen {
            drop(index);
            index = open(&storage);
            model.check(&index.read().unwrap());
        }
    }

    #[test]
    fn arbitrary_rows_never_panic(row in vec(any::<u8>(), 0..120), first: u64) {
        let keys = [
            EntityKey::Experiment(ExperimentId(1)),
            EntityKey::ExperimentName("n".into()),
            EntityKey::Run(RunId([1; 16])),
            EntityKey::LoggedModel(ModelId([1; 16])),
            EntityKey::RegisteredModel(RegisteredModelId(1)),
            EntityKey::ModelVersion(RegisteredModelId(1), 1),
            EntityKey::Dataset(ExperimentId(1), "n".into(), "d".into()),
        ];
        for key in keys {
            let _ = rows::read_entity(&key, &row);
        }
        let _ = rows::read_event_list(Lsn(first), &row);
        let _ = rows::read_three(&row);
    }

    #[test]
    fn event_lists_come_back(mut list in vec((any::<u64>(), any::<u16>()), 1..20)) {
        list.sort_unstable();
        let list: Vec<_> = list.into_iter().map(|(lsn, index)| (Lsn(lsn), index)).collect();
        let mut row = Vec::new();
        rows::put_event_list(&list, &mut row);
        prop_assert_eq!(rows::read_event_list(list[0].0, &row), Some(list));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Rows of whole runs, new and known, in front of, between and behind what is there: all ways of putting rows.
    #[test]
    fn rows_land_where_they_belong(writes in vec(vec((0u8..9, 0u32..60, 0u32..40), 1..8), 1..6)) {
        let index = Index::memory(STORE, CACHE).unwrap();
        let mut expected = BTreeMap::new();
        for (step, ranges) in writes.into_iter().enumerate() {
            let stats = Stats::of(Point { step: step as i64, ..Point::default() });
            let change = IndexChange {
                stats: ranges
                    .into_iter()
                    .flat_map(|(run, from, count)| (from..from + count).map(move |key| (series(run, key * 2), stats)))
                    .collect(),
                ..IndexChange::default()
            };
            index.write(&change).unwrap();
            expected.extend(change.stats);
            let mut found = BTreeMap::new();
            let read = index.read().unwrap();
            read.for_each_stats(|series, stats| {
                found.insert(series, stats);
                Ok(())
            }).unwrap();
            prop_assert_eq!(&found, &expected);
        }
    }
}

#[test]
fn an_index_that_cannot_be_used_is_to_be_rebuilt() {
    let storage = storage();
    assert!(must_rebuild(&storage, STORE).contains("missing"));
    drop(Index::create(&storage, STORE, CACHE).unwrap());
    drop(open(&storage));
    assert!(must_rebuild(&storage, StoreId([4; 16])).contains("another store"));
    // Created again over whatever is there, and over what a crash left of an earlier creation.
    drop(storage.open("index.redb.tmp", OpenMode::CreateNew).unwrap());
    drop(Index::create(&storage, StoreId([4; 16]), CACHE).unwrap());
    assert!(must_rebuild(&storage, STORE).contains("another store"));
    assert_eq!(storage.list("").unwrap().len(), 1);
}

#[test]
fn cut_and_foreign_files_are_to_be_rebuilt() {
    let storage = storage();
    drop(Index::create(&storage, STORE, CACHE).unwrap());
    let file = storage.open(PATH, OpenMode::ReadWrite).unwrap();
    let length = file.len().unwrap();
    for cut in [length - 1, length / 2, 8_208, 4_096, 100, 0] {
        file.set_len(cut).unwrap();
        must_rebuild(&storage, STORE);
    }
    file.set_len(length).unwrap();
    must_rebuild(&storage, STORE);
}

/// Rows that come one by one are as good as lists of them, between and over what is there; those of purged runs go.
#[test]
fn streamed_rows_are_as_good_as_lists() {
    let storages = [storage(), storage()];
    let [listed, streamed] = storages.each_ref().map(|storage| Index::create(storage, STORE, CACHE).unwrap());
    for round in 0..4u32 {
        let every = |n: u32| move |id: &SeriesId| (u32::from(id.run.0[0]) + id.key.0).is_multiple_of(n);
        let ids = (0..9u8).flat_map(|run| (0..40).map(move |key| series(run, key))).filter(every(4 - round));
        let stat = |id: &SeriesId| Stats::of(Point { step: i64::from(id.key.0 + round), ..Point::default() });
        let entry = |id: &SeriesId| format!("{round}/{}", id.key.0).into_bytes();
        let small = IndexChange {
            applied: Lsn(u64::from(round) + 1),
            purged: if round == 2 { vec![RunId([4; 16])] } else { Vec::new() },
            ..IndexChange::default()
        };
        let whole = IndexChange {
            stats: ids.clone().map(|id| (id, stat(&id))).collect(),
            chunks_added: ids.clone().zip(0..).map(|(id, n)| (id, u64::from(round), n, entry(&id))).collect(),
            ..small.clone()
        };
        listed.write(&whole).unwrap();
        let mut chunks = ids.clone().zip(0..);
        let chunk_rows: ChunkRows<'_> = Box::new(move |row| {
            let (id, n) = chunks.next()?;
            row.extend_from_slice(&entry(&id));
            Some((id, u64::from(round), n))
        });
        let stats = Box::new(ids.map(|id| Ok((id, stat(&id)))));
        streamed.write_rows(&small, Rows { stats: Some(stats), chunks: vec![chunk_rows] }).unwrap();
    }
    let [listed, streamed] = [listed, streamed].map(|index| {
        let read = index.read().unwrap();
        let mut chunks = Vec::new();
        read.for_each_chunk_row(|series, file, chunk, entry| {
            chunks.push((series, file, chunk, entry.to_vec()));
            Ok(())
        })
        .unwrap();
        let stats: Vec<_> = (0..9).map(|run| read.stats_of(RunId([run; 16])).unwrap()).collect();
        (read.applied(), stats, chunks)
    });
    assert_eq!(listed, streamed);
    assert!(listed.1.iter().all(|stats| stats.len() == 40));
}

#[test]
fn rows_out_of_order_are_refused_and_nothing_is_written() {
    let index = Index::create(&storage(), STORE, CACHE).unwrap();
    for keys in [[1, 3, 2], [1, 2, 2]] {
        let stats = Box::new(keys.into_iter().map(|key| Ok((series(1, key), Stats::of(Point::default())))));
        let change = IndexChange { applied: Lsn(5), ..IndexChange::default() };
        let error = index.write_rows(&change, Rows { stats: Some(stats), ..Rows::default() }).unwrap_err();
        assert!(matches!(error, Error::Internal(_)), "{error}");
        let read = index.read().unwrap();
        assert_eq!((read.applied(), read.stats_of(RunId([1; 16])).unwrap()), (Lsn(0), Vec::new()));
    }
}

/// One byte changed anywhere: the same answers, or a rebuild, or a typed error on read; never another answer.
#[test]
fn no_changed_byte_becomes_another_answer() {
    let storage = storage();
    let index = Index::create(&storage, STORE, CACHE).unwrap();
    let change = IndexChange {
        applied: Lsn(9),
        stats: (0..300).map(|key| (series(1, key), Stats::of(Point::default()))).collect(),
        ..IndexChange::default()
    };
    index.write(&change).unwrap();
    let expected: Vec<_> = index.read().unwrap().stats_of(RunId([1; 16])).unwrap();
    drop(index);
    let file = storage.open(PATH, OpenMode::ReadWrite).unwrap();
    let mut image = vec![0; file.len().unwrap() as usize];
    read_exact_at(&*file, &mut image, 0).unwrap();
    let rounds: usize = std::env::var("RUNLODE_INDEX_FLIPS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let step = (image.len() / rounds).max(1);
    let mut rebuilt = 0;
    for at in (0..image.len()).step_by(step).filter(|at| image.get(*at) != Some(&0)) {
        let copy: Arc<dyn Storage> = Arc::new(Memory::new());
        let file = copy.open(PATH, OpenMode::CreateNew).unwrap();
        crate::storage::write_all_at(&*file, &image, 0).unwrap();
        crate::storage::write_all_at(&*file, &[image[at] ^ 0x10], at as u64).unwrap();
        let opened = Index::open(&copy, STORE, CACHE).unwrap();
        let Opened::Ready(index) = opened else {
            rebuilt += 1;
            continue;
        };
        match index.read().and_then(|read| read.stats_of(RunId([1; 16]))) {
            Ok(stats) => assert_eq!(stats, expected, "byte {at}"),
            Err(Error::Corrupt(_)) => {
                assert!(index.damage().is_some());
                rebuilt += 1;
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert!(rebuilt > 0);
}

#[test]
fn idempotency_keys_used_again_stay() {
    let index = Index::memory(STORE, CACHE).unwrap();
    let entry = |lsn, time| IdempotencyEntry { key: b"k".to_vec(), request: 1, lsn: Lsn(lsn), time: TimestampMs(time) };
    index.write(&IndexChange { idempotency: vec![entry(1, 10), entry(2, 50)], ..IndexChange::default() }).unwrap();
    let expire =
        |before| IndexChange { idempotency_expired_before: Some(TimestampMs(before)), ..IndexChange::default() };
    index.write(&expire(20)).unwrap();
    assert_eq!(index.read().unwrap().idempotency(b"k").unwrap(), Some(entry(2, 50)));
    index.write(&expire(51)).unwrap();
    assert_eq!(index.read().unwrap().idempotency(b"k").unwrap(), None);
}

#[test]
fn reads_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<IndexRead>();
    shared::<Index>();
}

/// `cargo test --release -p runlode-engine --lib -- --ignored --nocapture index::store::tests::measure`
#[test]
#[ignore = "a measurement"]
fn measure() {
    use std::time::Instant;
    let folder = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(crate::storage::disk::Disk::new(folder.path()));
    let index = Index::create(&storage, STORE, 256 << 20).unwrap();
    let id = |n: u64| {
        let mut run = [0; 16];
        run[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        RunId(run)
    };
    let stats = |runs: std::ops::Range<u64>| -> Vec<(SeriesId, Stats)> {
        runs.flat_map(|run| {
            (0..100).map(move |key| (SeriesId { run: id(run), key: KeyId(key) }, Stats::of(Point::default())))
        })
        .collect()
    };
    let timed = |what: &str, count: u64, change: IndexChange| {
        let start = Instant::now();
        index.write(&change).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        println!("{what}: {count} rows, {:.1} ms, {:.2} M rows/s", seconds * 1e3, count as f64 / seconds / 1e6);
    };
    timed("stats, bulk into an empty table", 1_000_000, IndexChange { stats: stats(0..10_000), ..Default::default() });
    timed("stats again, all updated", 1_000_000, IndexChange { stats: stats(0..10_000), ..Default::default() });
    timed(
        "stats of 10k new runs between",
        1_000_000,
        IndexChange { stats: stats(10_000..20_000), ..Default::default() },
    );
    timed("stats of 100 runs", 10_000, IndexChange { stats: stats(500..600), ..Default::default() });
    let run_state = |n: u64| {
        let mut working = Working::new(&Nothing);
        let tags: Vec<_> = (0..8).map(|t| (format!("tag{t}"), "some value of a tag".to_owned())).collect();
        let events: [crate::event::Event; 3] = [
            created_experiment(ExperimentId(1), "e"),
            created_run(id(n), "run"),
            crate::event::ParamsLogged { run: id(n), params: tags }.into(),
        ];
        for event in &events {
            apply(event, Lsn(n + 1), &mut working).unwrap();
        }
        working.changed().into_iter().find(|(key, _)| matches!(key, EntityKey::Run(_))).unwrap()
    };
    let runs: Vec<_> = (0..100_000).map(run_state).collect();
    timed("runs of 8 params", 100_000, IndexChange { entities: runs.clone(), ..Default::default() });
    let events = runs.iter().map(|(key, state)| (key.clone(), vec![(state.last(), 0), (state.last(), 1)])).collect();
    timed("event lists", 100_000, IndexChange { events, ..Default::default() });
    let start = Instant::now();
    for _ in 0..1000 {
        index.read().unwrap();
    }
    println!("read(): {:.1} us", start.elapsed().as_secs_f64() * 1e3);
    let read = index.read().unwrap();
    let start = Instant::now();
    for n in 0..100_000 {
        assert!(read.entity(&EntityKey::Run(id(n * 7919 % 100_000))).unwrap().is_some());
    }
    println!("entity(): {:.2} us", start.elapsed().as_secs_f64() * 10.0);
    let start = Instant::now();
    for n in 0..100_000 {
        assert!(read.stats(SeriesId { run: id(n * 7919 % 20_000), key: KeyId(n as u32 % 100) }).unwrap().is_some());
    }
    println!("stats(): {:.2} us", start.elapsed().as_secs_f64() * 10.0);
    let start = Instant::now();
    let mut count = 0;
    read.for_each_run(|_, _| {
        count += 1;
        Ok(())
    })
    .unwrap();
    println!("for_each_run: {count} runs, {:.2} us a run", start.elapsed().as_secs_f64() * 1e6 / count as f64);
    let start = Instant::now();
    let mut count = 0;
    read.for_each_stats(|_, _| {
        count += 1;
        Ok(())
    })
    .unwrap();
    println!("for_each_stats: {count} rows, {:.3} us a row", start.elapsed().as_secs_f64() * 1e6 / count as f64);
    println!("file: {} MB", storage.open(PATH, OpenMode::Read).unwrap().len().unwrap() >> 20);
}
