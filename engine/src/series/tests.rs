//! Files as a whole: round trips, sizes, damage, and the bytes that pin the format.

use proptest::prelude::*;

use super::*;
use crate::error::Error;
use crate::id::{ContextId, KeyId, Lsn, RunId, SeriesId, StoreId};
use crate::point::{Columns, Point};
use crate::storage::memory::Memory;
use crate::storage::sim::{Call, Failure, Fault, PowerCut, SimDisk};
use crate::storage::{OpenMode, Storage, read_exact_at, write_all_at};
use crate::time::TimestampMs;

const STORE: StoreId = StoreId(*b"a store of tests");
const PATH: &str = "series/1-7.ser";

fn series(run: u8, key: u32) -> SeriesId {
    SeriesId { run: RunId([run; 16]), key: KeyId(key) }
}

/// How many cases a property is tried on: so many, or as many times more as RUNLODE_CASES says.
pub(crate) fn cases(count: u32) -> u32 {
    let times = std::env::var("RUNLODE_CASES").ok().and_then(|times| times.parse().ok());
    count.saturating_mul(times.unwrap_or(1))
}

/// A seeded source of numbers (an LCG's high bits).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = self.0 ^ self.0 >> 29;
        x.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ x >> 32
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn disk() -> Memory {
    let disk = Memory::new();
    disk.create_dir("series").unwrap();
    disk
}

fn write(disk: &dyn Storage, all: &[(SeriesId, Columns)]) -> SeriesFileInfo {
    let mut writer = SeriesFileWriter::create(disk, PATH, STORE, 7, (Lsn(10), Lsn(20))).unwrap();
    for (id, columns) in all {
        writer.push(*id, columns, &mut ValueHint::default()).unwrap();
    }
    writer.finish().unwrap()
}

/// Every point of every series, in the order of the directory.
fn read(disk: &dyn Storage) -> Result<Vec<(SeriesId, Columns)>, Error> {
    let file = SeriesFile::open(disk, PATH, STORE)?;
    let mut out: Vec<(SeriesId, Columns)> = Vec::new();
    for item in file.directory() {
        let (id, entry) = item?;
        if out.last().is_none_or(|(last, _)| *last != id) {
            out.push((id, Columns::default()));
        }
        let rollups = file.rollups(&entry)?;
        assert_eq!(rollups.iter().map(|r| u64::from(r.count)).sum::<u64>(), entry.count());
        let columns = &mut out.last_mut().unwrap().1;
        file.read_chunk(&entry, ColumnSet::ALL, columns)?;
    }
    file.verify()?;
    Ok(out)
}

type Row = (i64, i64, u64, u64, u32);

fn rows(columns: &Columns) -> Vec<Row> {
    let row = |i| {
        let point = columns.point(i);
        (point.step, point.time.0, point.value.to_bits(), columns.lsns[i], columns.context(i).0)
    };
    (0..columns.len()).map(row).collect()
}

/// As the file must give them back.
fn expected(columns: &Columns) -> Vec<Row> {
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by(|a, b| {
        columns.point(*a).latest_order(&columns.point(*b)).then(columns.lsns[*a].cmp(&columns.lsns[*b]))
    });
    rows(&columns.gather(&order))
}

/// Points of one of several characters; `seed` decides everything.
pub(crate) fn made_points(seed: u64, count: usize) -> Columns {
    let mut random = Random(seed);
    let mut columns = Columns::default();
    let (step_kind, time_kind, value_kind, context_kind) =
        (random.below(6), random.below(4), random.below(8), random.below(4));
    let special = [
        0x7ff8_0000_0000_0000u64,
        0xfff8_0000_0000_0001,
        0x7ff0_0000_0000_0001,
        0x7ff0_0000_2000_0000,
        1,
        1 << 63,
        f64::INFINITY.to_bits(),
        f64::NEG_INFINITY.to_bits(),
        f64::MAX.to_bits(),
        1.5f64.to_bits(),
        0x7fff_ffff_e000_0000,
    ];
    let mut lsn = 11;
    for i in 0..count as i64 {
        let step = match step_kind {
            0 | 1 => i * 10,
            2 => i64::MIN + i,
            3 => random.next() as i64,
            4 => random.below(8) as i64 - 4,
            _ => [i64::MIN, i64::MAX, 0, i][random.below(4) as usize],
        };
        let time = match time_kind {
            0 | 1 => 1_700_000_000_000 + i * 100 + random.below(60) as i64,
            2 => random.below(4) as i64,
            _ => (random.next() >> 1) as i64,
        };
        let value = match value_kind {
            0 => f64::from(random.below(1 << 20) as f32 / 1024.0),
            1 => random.below(1000) as f64 / 1000.0,
            2 => 0.1,
            3 => f64::from_bits(random.next()),
            4 => f64::from_bits(special[random.below(special.len() as u64) as usize]),
            5 => (i as f64 / 500.0).cos(),
            6 => f64::from(f32::from_bits(random.next() as u32 & !0x4000_0000)),
            _ => [f64::NAN, 0.0, -0.0, 2.5][random.below(4) as usize],
        };
        let context = match context_kind {
            0 => random.below(3) as u32,
            1 => u32::from(i as usize == count / 2),
            _ => 0,
        };
        columns.push(Point { step, time: TimestampMs(time), value }, Lsn(lsn), ContextId(context));
        lsn += u64::from(random.below(5) == 0);
    }
    columns
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(48)))]

    #[test]
    fn whatever_is_pushed_comes_back_bit_for_bit(seed: u64, counts in prop::collection::vec(1usize..600, 1..5)) {
        let all: Vec<_> = counts.iter().enumerate()
            .map(|(i, count)| (series(i as u8 / 2, i as u32), made_points(seed.wrapping_add(i as u64), *count)))
            .collect();
        let disk = disk();
        let info = write(&disk, &all);
        prop_assert_eq!(info.points, counts.iter().sum::<usize>() as u64);
        let back = read(&disk).unwrap();
        prop_assert_eq!(back.len(), all.len());
        for ((id, columns), (back_id, back_columns)) in all.iter().zip(&back) {
            prop_assert_eq!(id, back_id);
            prop_assert_eq!(expected(columns), expected(back_columns));
        }
        let file = SeriesFile::open(&disk, PATH, STORE).unwrap();
        let listed: Vec<_> = file.directory().map(Result::unwrap).collect();
        prop_assert_eq!(listed.len(), info.entries().count());
        for ((id, entry), (listed_id, listed_entry)) in info.entries().zip(&listed) {
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            let mut listed_bytes = Vec::new();
            listed_entry.encode(&mut listed_bytes);
            prop_assert_eq!((id, &bytes), (*listed_id, &listed_bytes));
            let mut again = Vec::new();
            ChunkEntry::decode(&bytes).unwrap().encode(&mut again);
            prop_assert_eq!(bytes, again);
        }
    }

    #[test]
    fn arbitrary_entries_never_panic(bytes: Vec<u8>) {
        if let Some(entry) = ChunkEntry::decode(&bytes) {
            let disk = disk();
            write(&disk, &[(series(0, 0), made_points(1, 300))]);
            let file = SeriesFile::open(&disk, PATH, STORE).unwrap();
            let _ = file.read_chunk(&entry, ColumnSet::ALL, &mut Columns::default());
            let _ = file.rollups(&entry);
        }
    }
}

#[test]
fn long_series_are_cut_and_keep_every_column() {
    for seed in 0..6 {
        let columns = made_points(seed, 3 * CHUNK_POINTS + 77);
        let disk = disk();
        let info = write(&disk, &[(series(1, 1), columns.clone())]);
        assert_eq!(info.entries().count(), 3);
        assert_eq!(expected(&read(&disk).unwrap()[0].1), expected(&columns), "seed {seed}");
        let file = SeriesFile::open(&disk, PATH, STORE).unwrap();
        let mut values = Columns::default();
        for item in file.directory() {
            file.read_chunk(&item.unwrap().1, ColumnSet::VALUES, &mut values).unwrap();
        }
        assert!(values.steps.is_empty() && values.times.is_empty() && values.lsns.is_empty());
        assert_eq!(values.values.len(), columns.len());
    }
}

#[test]
fn keys_logged_together_store_their_times_once() {
    let mut random = Random(3);
    let times: Vec<i64> = (0..20_000).map(|i| 1_700_000_000_000 + i * 100 + random.below(90) as i64).collect();
    let lsns: Vec<u64> = (0..20_000).map(|i| 11 + i / 100 + i % 7 / 6).collect();
    let column = |key: u64| {
        let mut random = Random(key);
        Columns {
            steps: (0..20_000).collect(),
            times: times.clone(),
            values: (0..20_000).map(|_| f64::from(random.next() as u32 as f32)).collect(),
            lsns: lsns.clone(),
            contexts: Vec::new(),
        }
    };
    let (one, ten) = (disk(), disk());
    let all: Vec<_> = (0..10).map(|key| (series(1, key), column(u64::from(key)))).collect();
    let one_info = write(&one, &all[..1]);
    let ten_info = write(&ten, &all);
    assert_eq!(rows(&read(&ten).unwrap()[9].1), rows(&all[9].1));
    // The first pays 0.8 B a point for the times and some for positions; the others pay nothing.
    let others = (ten_info.len_bytes - one_info.len_bytes) / 9;
    assert!(one_info.len_bytes - others > 15_000, "{} {others}", one_info.len_bytes);
}

#[test]
fn tiny_series_are_small() {
    let one: Vec<_> = (0..10_000u32)
        .map(|i| {
            let mut columns = Columns::default();
            columns.push(
                Point { step: 7, time: TimestampMs(1_700_000_000_000 + i64::from(i)), value: 0.1 },
                Lsn(11),
                ContextId(0),
            );
            (SeriesId { run: RunId(u128::from(i).to_be_bytes()), key: KeyId(3) }, columns)
        })
        .collect();
    let disk_one = disk();
    let info = write(&disk_one, &one);
    assert!(info.len_bytes < 10_000 * 44, "{} B a series of one point", info.len_bytes / 10_000);
    let two: Vec<_> = one
        .into_iter()
        .map(|(id, mut columns)| {
            columns.push(Point { step: 8, time: TimestampMs(1_700_000_100_000), value: 0.25 }, Lsn(12), ContextId(0));
            (id, columns)
        })
        .collect();
    let disk_two = disk();
    let info = write(&disk_two, &two);
    assert!(info.len_bytes < 10_000 * 145, "{} B a series of two points", info.len_bytes / 10_000);
    assert_eq!(rows(&read(&disk_two).unwrap()[9].1), rows(&two[9].1));
    let mut bytes = Vec::new();
    for (_, entry) in info.entries().take(10) {
        bytes.clear();
        entry.encode(&mut bytes);
        assert!(bytes.len() <= 80, "{} B", bytes.len());
    }
}

#[test]
fn every_flipped_bit_is_found_or_harmless() {
    let all = [
        (series(1, 1), made_points(40, 1)),
        (series(1, 2), made_points(41, 2)),
        (series(1, 5), made_points(42, 300)),
        (series(2, 5), made_points(43, 270)),
        (series(3, 1), together(1, 5)),
        (series(3, 2), together(2, 5)),
        (series(3, 3), together(3, 5)),
    ];
    let disk = disk();
    write(&disk, &all);
    let intact: Vec<_> = read(&disk).unwrap().iter().map(|(id, columns)| (*id, rows(columns))).collect();
    let file = disk.open(PATH, OpenMode::ReadWrite).unwrap();
    let len = file.len().unwrap();
    for at in 0..len {
        let mut byte = [0];
        read_exact_at(&*file, &mut byte, at).unwrap();
        for flip in [1 << (at % 8), 0xff] {
            write_all_at(&*file, &[byte[0] ^ flip], at).unwrap();
            match read(&disk) {
                Ok(back) => {
                    let back: Vec<_> = back.iter().map(|(id, columns)| (*id, rows(columns))).collect();
                    assert_eq!(back, intact, "byte {at}: a wrong answer");
                }
                Err(Error::Corrupt(_) | Error::UnsupportedFormat { .. }) => {}
                Err(error) => panic!("byte {at}: {error}"),
            }
        }
        write_all_at(&*file, &byte, at).unwrap();
    }
    for cut in 0..len {
        let copy = self::disk();
        let mut bytes = vec![0; cut as usize];
        read_exact_at(&*file, &mut bytes, 0).unwrap();
        write_all_at(&*copy.open(PATH, OpenMode::CreateNew).unwrap(), &bytes, 0).unwrap();
        assert!(matches!(read(&copy), Err(Error::Corrupt(_))), "cut to {cut}");
    }
    assert!(matches!(SeriesFile::open(&disk, PATH, StoreId([9; 16])), Err(Error::Corrupt(_))));
    assert!(matches!(SeriesFile::open(&disk, "series/2-8.ser", STORE), Err(Error::MissingFile { .. })));
}

#[test]
fn an_unfinished_file_has_no_name_and_is_written_over() {
    let disk = disk();
    let mut writer = SeriesFileWriter::create(&disk, PATH, STORE, 7, (Lsn(0), Lsn(1))).unwrap();
    writer.push(series(1, 1), &made_points(1, 500), &mut ValueHint::default()).unwrap();
    drop(writer);
    assert!(matches!(SeriesFile::open(&disk, PATH, STORE), Err(Error::MissingFile { .. })));
    let info = write(&disk, &[(series(1, 1), made_points(2, 50))]);
    assert_eq!(info.len_bytes, disk.open(PATH, OpenMode::Read).unwrap().len().unwrap());
    assert_eq!(disk.list("series").unwrap().len(), 1);
    let aborted = SeriesFileWriter::create(&disk, "series/1-8.ser", STORE, 8, (Lsn(0), Lsn(1))).unwrap();
    aborted.abort().unwrap();
    assert_eq!(disk.list("series").unwrap().len(), 1);
    let mut writer = SeriesFileWriter::create(&disk, "series/1-9.ser", STORE, 9, (Lsn(0), Lsn(1))).unwrap();
    writer.push(series(2, 1), &made_points(1, 5), &mut ValueHint::default()).unwrap();
    assert!(matches!(
        writer.push(series(1, 9), &made_points(1, 5), &mut ValueHint::default()),
        Err(Error::Internal(_))
    ));
}

#[test]
fn an_empty_file_is_fine() {
    let disk = disk();
    write(&disk, &[]);
    assert!(read(&disk).unwrap().is_empty());
    let footer = *SeriesFile::open(&disk, PATH, STORE).unwrap().footer();
    assert_eq!((footer.covered, footer.points, footer.chunks), ((Lsn(10), Lsn(20)), 0, 0));
}

#[test]
fn the_cache_stays_within_its_bytes() {
    let disk = disk();
    let all: Vec<_> = (0..40).map(|key| (series(1, key), made_points(u64::from(key) * 16, 2000))).collect();
    write(&disk, &all);
    let file = SeriesFile::open(&disk, PATH, STORE).unwrap();
    let cache = SeriesCache::new(4096);
    let held = 300..=4096;
    let entries: Vec<_> = file.directory().map(|item| item.unwrap().1).collect();
    let ahead = |index: usize| entries[index + 1..].iter().map(|entry| (7, entry));
    for _ in 0..3 {
        for (index, entry) in entries.iter().enumerate() {
            let rollups = cache.rollups(&file, &entries[0], std::iter::empty()).unwrap();
            assert_eq!(rollups.len(), 8);
            let bits =
                |rollups: &RollupBlock| rollups.iter().map(|r| (r.step_first, r.sum.to_bits())).collect::<Vec<_>>();
            let (cached, stored) = (cache.rollups(&file, entry, ahead(index)).unwrap(), file.rollups(entry).unwrap());
            assert_eq!(bits(&cached), bits(&stored), "{index}");
            assert!(held.contains(&cache.len_bytes()));
        }
    }
}

/// A file of two series, byte by byte: if this fails, the format changed, and so must its version.
#[test]
fn golden_bytes() {
    let mut one = Columns::default();
    one.push(Point { step: -1, time: TimestampMs(1000), value: 0.5 }, Lsn(11), ContextId(2));
    let mut three = Columns::default();
    for (step, time, value) in [(1, 1000, 1.0), (2, 1010, f64::NAN), (4, 1005, 2.0)] {
        three.push(Point { step, time: TimestampMs(time), value }, Lsn(12), ContextId(0));
    }
    let disk = disk();
    write(&disk, &[(series(0xaa, 1), one), (series(0xaa, 2), three)]);
    let file = disk.open(PATH, OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    read_exact_at(&*file, &mut bytes, 0).unwrap();
    let hex: Vec<String> = bytes
        .chunks(16)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
        .collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/series/golden-v2.hex");
    if std::env::var_os("RUNLODE_WRITE_GOLDEN").is_some() {
        std::fs::write(path, hex.join("\n") + "\n").unwrap();
    }
    assert_eq!(hex.join("\n"), std::fs::read_to_string(path).unwrap().trim_end());
    let of_version_1 = golden_disk(&from_hex(include_str!("golden-v1.hex")));
    let both = [&of_version_1, &disk].map(|disk| read(disk).unwrap());
    let [before, now] =
        both.each_ref().map(|all| all.iter().map(|(id, points)| (*id, rows(points))).collect::<Vec<_>>());
    assert_eq!(before, now);
}

fn from_hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// A disk with a file that was written long ago.
fn golden_disk(bytes: &[u8]) -> Memory {
    let disk = disk();
    write_all_at(&*disk.open(PATH, OpenMode::CreateNew).unwrap(), bytes, 0).unwrap();
    disk
}

/// What every version of Runlode must read for ever: `golden-v1.ser`, written by version 1 with pco 1.1, and
/// `golden-v2.ser`, which has a group, a chunk without a summary and values in FIXED beside.
#[test]
fn the_golden_files_are_read() {
    let mut random = Random(2024);
    let jitter: Vec<i64> = (0..700).map(|i| 1_700_000_000_000 + i * 100 + random.below(90) as i64).collect();
    let column = |values: Vec<f64>| Columns {
        steps: (0..700).map(|i| i * 5).collect(),
        times: jitter.clone(),
        values,
        lsns: (0..700).map(|i| 1 + i / 50).collect(),
        contexts: Vec::new(),
    };
    let mut noise = |bits: u32| -> Vec<u64> { (0..700).map(|_| random.next() >> (64 - bits)).collect() };
    let all = [
        (series(1, 1), column(noise(23).iter().map(|n| f64::from(*n as f32 / 1024.0)).collect())),
        (series(1, 2), column(noise(9).iter().map(|n| *n as f64 / 1000.0).collect())),
        (series(1, 3), column((0..700).map(|i| f64::from(i) * f64::from(i) * 0.1).collect())),
        (series(1, 4), column(noise(64).iter().map(|n| f64::from_bits(*n)).collect())),
        (series(1, 5), column(vec![0.1; 700])),
        (series(2, 1), made_points(77, 700)),
        (series(2, 2), made_points(78, 5)),
        (series(2, 3), made_points(79, 1)),
    ];
    let check = |path: &str, all: &[(SeriesId, Columns)], version: u32| {
        let disk = golden_disk(&std::fs::read(path).unwrap());
        assert_eq!(SeriesFile::open(&disk, PATH, STORE).unwrap().footer().version, version);
        let back = read(&disk).unwrap();
        assert_eq!(back.len(), all.len());
        for ((id, columns), (back_id, back_columns)) in all.iter().zip(&back) {
            assert_eq!((*id, expected(columns)), (*back_id, expected(back_columns)));
        }
    };
    check(concat!(env!("CARGO_MANIFEST_DIR"), "/src/series/golden-v1.ser"), &all, 1);

    let short = (1..=3).map(|key| (series(3, key), together(u64::from(key), 20)));
    let all: Vec<_> = all.iter().cloned().chain(short).chain([(series(4, 1), together(9, 64))]).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/series/golden-v2.ser");
    if std::env::var_os("RUNLODE_WRITE_GOLDEN").is_some() {
        let disk = disk();
        let info = write(&disk, &all);
        let mut bytes = vec![0; info.len_bytes as usize];
        read_exact_at(&*disk.open(PATH, OpenMode::Read).unwrap(), &mut bytes, 0).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    check(path, &all, 2);
}

/// Points of a key that was logged together with others: steps, times and positions are the same for every seed, values
/// are random.
fn together(seed: u64, count: usize) -> Columns {
    let mut random = Random(seed);
    let mut points = Columns::default();
    for step in 0..count as i64 {
        let time = TimestampMs(1_700_000_000_000 + step * 100 + step * step % 83);
        let value = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
        points.push(Point { step, time, value }, Lsn(11 + step as u64), ContextId(0));
    }
    points
}

/// Short series that were logged together: what they share is stored once, whatever other series lie between.
#[test]
fn short_series_that_were_logged_together_share_all_but_their_values() {
    let mut all: Vec<_> = (0..1000).map(|key| (series(1, key), together(u64::from(key), 20))).collect();
    let disk_all = disk();
    let info = write(&disk_all, &all);
    assert!(info.len_bytes < 1000 * 142, "{} B a series", info.len_bytes / 1000);
    let bytes_of = |entry: &ChunkEntry| {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        bytes
    };
    let file = SeriesFile::open(&disk_all, PATH, STORE).unwrap();
    let entries: Vec<_> = file.directory().map(|item| item.unwrap().1).collect();
    assert!(entries.iter().all(|entry| entry.slot.is_some() && entry.summary.is_none()));
    for (entry, (_, points)) in entries.iter().zip(&all) {
        assert_eq!(file.summary(entry).unwrap(), Summary::of(&points.values));
        assert_eq!(bytes_of(&ChunkEntry::decode(&bytes_of(entry)).unwrap()), bytes_of(entry));
    }
    // Others between them: of other steps, longer, of one point, with a context, and of several chunks.
    for (at, points) in [
        (3, made_points(1, 20)),
        (40, together(7, 100)),
        (41, together(8, 1)),
        (42, together(9, 2)),
        (900, together(5, 64)),
    ] {
        all[at].1 = points;
    }
    all[50].1.contexts = vec![3; 20];
    let late = together(4, 19);
    all[60].1.append(&late);
    let disk = disk();
    write(&disk, &all);
    let back = read(&disk).unwrap();
    assert_eq!(back.len(), all.len());
    for ((id, points), (back_id, back_points)) in all.iter().zip(&back) {
        assert_eq!((*id, expected(points)), (*back_id, expected(back_points)));
    }
}

/// A group is kept by a thread that reads its chunks; another file, or another group, is never taken for it.
#[test]
fn a_group_that_is_kept_is_that_of_the_file() {
    let write_one = |seed: u64| {
        let disk = disk();
        let all: Vec<_> = (0..120).map(|key| (series(1, key), together(seed + u64::from(key), 20))).collect();
        write(&disk, &all);
        (SeriesFile::open(&disk, PATH, STORE).unwrap(), all)
    };
    let files = [write_one(1), write_one(1000)];
    for at in (0..120).step_by(7).chain((0..120).rev()) {
        for (file, all) in &files {
            let entry = file.directory().nth(at).unwrap().unwrap().1;
            let mut points = Columns::default();
            file.read_chunk(&entry, ColumnSet::ALL, &mut points).unwrap();
            assert_eq!(rows(&points), rows(&all[at].1));
        }
    }
}

/// At each operation of writing a file the machine dies: afterwards the name stands for the whole file or for nothing,
/// and if `finish` said yes, it is there.
#[test]
fn a_name_is_a_whole_file_whatever_crashes() {
    let all: Vec<_> = (0..3).map(|key| (series(1, key), made_points(u64::from(key) + 9, 400))).collect();
    let intact: Vec<_> = all.iter().map(|(id, columns)| (*id, expected(columns))).collect();
    let attempt = |disk: &SimDisk| -> Result<(), Error> {
        let mut writer = SeriesFileWriter::create(disk, PATH, STORE, 7, (Lsn(10), Lsn(20)))?;
        for (id, columns) in &all {
            writer.push(*id, columns, &mut ValueHint::default())?;
        }
        writer.finish().map(drop)
    };
    let mut whole = 0;
    for crash_at in 1.. {
        let disk = SimDisk::new(crash_at);
        disk.create_dir("series").unwrap();
        disk.sync_dir("").unwrap();
        disk.crash_at(disk.operations() + crash_at);
        let done = attempt(&disk).is_ok();
        let mut lives = vec![disk.after_process_crash()];
        lives.extend(PowerCut::one_of_each(crash_at).map(|cut| disk.after_power_cut(cut)));
        for life in lives {
            match read(&life) {
                Ok(back) => {
                    whole += 1;
                    assert_eq!(back.iter().map(|(id, columns)| (*id, expected(columns))).collect::<Vec<_>>(), intact);
                }
                Err(Error::MissingFile { .. }) => assert!(!done, "operation {crash_at}: lost what was finished"),
                Err(error) => panic!("operation {crash_at}: {error}"),
            }
            attempt(&life).unwrap();
            read(&life).unwrap();
        }
        if !disk.crashed() {
            assert!(crash_at > 5 && whole > 0);
            return;
        }
    }
}

#[test]
fn a_failed_write_or_sync_is_an_error_and_no_file() {
    let calls: [&'static [Call]; 5] =
        [&[Call::Create], &[Call::Write], &[Call::Sync], &[Call::Rename], &[Call::SyncDir]];
    for call in calls {
        let disk = SimDisk::new(1);
        disk.create_dir("series").unwrap();
        disk.inject(Fault::new(call, Failure::Io));
        let attempt = || {
            let mut writer = SeriesFileWriter::create(&disk, PATH, STORE, 7, (Lsn(10), Lsn(20)))?;
            writer.push(series(1, 1), &made_points(1, 300), &mut ValueHint::default())?;
            writer.finish().map(drop)
        };
        assert!(matches!(attempt(), Err(Error::Io { .. })), "{call:?}");
        disk.clear_faults();
        disk.set_space(Some(0));
        assert!(matches!(attempt(), Err(Error::StorageFull { .. })), "{call:?}");
    }
}
