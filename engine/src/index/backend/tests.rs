//! Whatever happens to the file under redb: the same answers, an error, never a wrong answer and never a panic.
//!
//! `RUNLODE_SIM_SCALE` multiplies the number of simulated histories and damages (default 1, a few seconds).
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

use super::*;
use crate::storage::disk::Disk;
use crate::storage::memory::Memory;
use crate::storage::sim::{Call, Failure, Fault, Keep, PowerCut, SimDisk, SimRng};

const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");
const NAMES: TableDefinition<&str, u64> = TableDefinition::new("names");
const PATH: &str = "index.redb";
/// Small, so that reads reach the file.
const CACHE_BYTES: usize = 64 * 1024;

fn scale() -> u64 {
    std::env::var("RUNLODE_SIM_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

/// What the two tables hold.
type Content = (BTreeMap<u64, Vec<u8>>, BTreeMap<String, u64>);

fn database(backend: PageBackend) -> Result<Database> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder.create_with_backend(backend).map_err(|error| engine_error("open", PATH, None, error))
}

/// As the index module creates it: under another name first.
fn create(storage: &dyn Storage) -> Result<Database> {
    let io = |error| Error::io("create", PATH, error);
    drop(database(PageBackend::create(storage, "index.redb.tmp")?)?);
    storage.rename("index.redb.tmp", PATH).map_err(io)?;
    storage.sync_dir("").map_err(io)?;
    open(storage)
}

fn open(storage: &dyn Storage) -> Result<Database> {
    database(PageBackend::open(storage, PATH)?)
}

fn read(database: &Database) -> Result<Content, redb::Error> {
    let transaction = database.begin_read()?;
    let mut content = Content::default();
    match transaction.open_table(ROWS) {
        Ok(rows) => {
            for row in rows.iter()? {
                let (key, value) = row?;
                content.0.insert(key.value(), value.value().to_vec());
            }
        }
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(content),
        Err(error) => return Err(error.into()),
    }
    for row in transaction.open_table(NAMES)?.iter()? {
        let (key, value) = row?;
        content.1.insert(key.value().to_owned(), value.value());
    }
    Ok(content)
}

/// One commit of random changes; `content` becomes what the tables hold afterwards, whether it succeeds or not.
fn commit(database: &Database, rng: &mut SimRng, content: &mut Content) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    let changes = 1 + rng.below(12);
    let large = rng.below(8) == 0;
    let mut plan = Vec::new();
    for _ in 0..changes {
        let key = rng.below(200);
        let bytes = if large { rng.below(20_000) } else { rng.below(300) };
        plan.push((key, (rng.below(4) > 0).then(|| vec![rng.next() as u8; bytes as usize])));
    }
    for (key, value) in &plan {
        let name = format!("name-{key:05}");
        match value {
            Some(value) => {
                content.0.insert(*key, value.clone());
                content.1.insert(name, value.len() as u64);
            }
            None => {
                content.0.remove(key);
                content.1.remove(&name);
            }
        }
    }
    {
        let mut rows = transaction.open_table(ROWS)?;
        let mut names = transaction.open_table(NAMES)?;
        for (key, value) in &plan {
            let name = format!("name-{key:05}");
            match value {
                Some(value) => {
                    rows.insert(key, value.as_slice())?;
                    names.insert(name.as_str(), value.len() as u64)?;
                }
                None => {
                    rows.remove(key)?;
                    names.remove(name.as_str())?;
                }
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

/// A database with a few dozen commits.
fn filled(storage: &dyn Storage, commits: u64) -> Content {
    let database = create(storage).unwrap();
    let mut content = Content::default();
    let mut rng = SimRng::new(7);
    for _ in 0..commits {
        commit(&database, &mut rng, &mut content).unwrap();
    }
    assert_eq!(read(&database).unwrap(), content);
    content
}

#[test]
fn blocks_have_the_documented_layout() {
    let memory = Memory::new();
    let backend = PageBackend::create(&memory, "a").unwrap();
    backend.set_len(4 * 4_096).unwrap();
    assert_eq!(backend.len().unwrap(), 4 * 4_096);
    backend.write(10, b"header").unwrap();
    let pages: Vec<u8> = [[1; 4_096], [2; 4_096]].concat();
    backend.write(4_096, &pages).unwrap();
    let file = memory.open("a", OpenMode::Read).unwrap();
    assert_eq!(file.len().unwrap(), 4 * 4_104);
    let mut bytes = vec![0; 4 * 4_104];
    read_exact_at(&*file, &mut bytes, 0).unwrap();
    assert_eq!(&bytes[10..16], b"header");
    assert_eq!(bytes[16..4_104], [0; 4_088]);
    assert_eq!(bytes[4_104..8_200], [1; 4_096]);
    let mut covered = 1u64.to_le_bytes().to_vec();
    covered.extend([1; 4_096]);
    assert_eq!(bytes[8_200..8_204], Crc32::of(&covered).0.to_le_bytes());
    assert_eq!(&bytes[8_204..8_208], b"pg01");
    assert_eq!(bytes[8_208..12_304], [2; 4_096]);
    let mut out = vec![0; 2 * 4_096];
    backend.read(4_096, &mut out).unwrap();
    assert_eq!(out, pages);
    let error = backend.read(3 * 4_096, &mut out[..4_096]).unwrap_err();
    assert_eq!(damage_in(&error).unwrap().offset_bytes, 3 * 4_104, "never written");
    assert!(backend.read(5 * 4_096, &mut out[..4_096]).is_err());
    assert!(backend.read(4_096, &mut out[..100]).is_err());
    assert!(backend.write(4_097, &pages).is_err());
    assert_eq!(backend.damage().get().unwrap().offset_bytes, 3 * 4_104);
}

#[test]
fn a_page_in_the_wrong_place_and_a_wrong_read_are_distinguished() {
    let disk = SimDisk::new(1);
    let backend = PageBackend::create(&disk, "a").unwrap();
    backend.set_len(4 * 4_096).unwrap();
    backend.write(4_096, &[5; 3 * 4_096]).unwrap();
    // One wrong read is read again.
    disk.inject(Fault::new(&[Call::Read], Failure::WrongBit));
    let mut out = [0; 4_096];
    backend.read(4_096, &mut out).unwrap();
    assert_eq!(out, [5; 4_096]);
    assert!(backend.damage().get().is_none());
    // Equal pages at other places have other checks.
    let block = disk.file_bytes("a").unwrap()[4_104..8_208].to_vec();
    disk.overwrite_at_rest("a", 8_208, &block).unwrap();
    assert!(damage_in(&backend.read(8_192, &mut out).unwrap_err()).is_some());
    assert_eq!(backend.damage().get().unwrap().structure, "index page");
}

#[test]
fn an_empty_database_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path());
    drop(create(&disk).unwrap());
    let empty = std::fs::metadata(folder.path().join(PATH)).unwrap().len();
    let database = open(&disk).unwrap();
    let mut rng = SimRng::new(1);
    for _ in 0..10 {
        commit(&database, &mut rng, &mut Content::default()).unwrap();
    }
    drop(database);
    let used = std::fs::metadata(folder.path().join(PATH)).unwrap().len();
    println!("an empty database has {empty} bytes, after ten commits {used}");
    assert!(empty <= 1 << 20 && used <= 2 << 20, "{empty} bytes empty, {used} after ten commits");
}

/// Opens and reads a damaged file. Fine: an error, or the same content.
fn check_damaged(disk: &SimDisk, content: &Content, what: &str) -> bool {
    let outcome = catch_unwind(AssertUnwindSafe(|| -> Result<Content> {
        let database = open(disk)?;
        read(&database).map_err(|error| engine_error("read", PATH, None, error))
    }));
    match outcome {
        Ok(Ok(found)) => {
            assert!(found == *content, "wrong answers without an error: {what}");
            false
        }
        Ok(Err(_)) => true,
        Err(_) => panic!("a panic: {what}"),
    }
}

/// At scale 1 a sample of all bytes; at 500 each byte of the file.
#[test]
fn a_flipped_bit_is_an_error_or_harmless() {
    let disk = SimDisk::new(1);
    let content = filled(&disk, 8);
    let bytes = disk.file_bytes(PATH).unwrap().len() as u64;
    let mut rng = SimRng::new(5);
    let step = (bytes / (300 * scale())).max(1);
    let all = (0..bytes).step_by(step as usize).map(|offset| (offset, rng.below(8) as u8));
    // The header has no check of ours: there each byte always, and each bit at a larger scale.
    let bits = if scale() > 1 { 8 } else { 1 };
    let header = (0..320).flat_map(|offset| (0..bits).map(move |bit| (offset, (offset + bit) as u8 % 8)));
    let (mut count, mut refused) = (0, 0);
    for (offset, bit) in header.chain(all) {
        let damaged = disk.after_process_crash();
        damaged.flip_bit(PATH, offset, bit).unwrap();
        refused += u64::from(check_damaged(&damaged, &content, &format!("bit {bit} of byte {offset} flipped")));
        count += 1;
    }
    println!("{refused} of {count} flips were refused, the others harmless; every {step} bytes of {bytes}");
    assert!(refused > count / 20);
}

#[test]
fn other_damage_is_an_error_or_harmless() {
    let disk = SimDisk::new(1);
    let content = filled(&disk, 15);
    let bytes = disk.file_bytes(PATH).unwrap().len() as u64;
    let mut rng = SimRng::new(99);
    let mut refused = 0;
    let count = 300 * scale();
    for _ in 0..count {
        let damaged = disk.after_process_crash();
        let offset = rng.below(bytes);
        let what = match rng.below(5) {
            0 => {
                damaged.zero_sector(PATH, offset).unwrap();
                format!("sector of byte {offset} zeroed")
            }
            1 => {
                let from = rng.below(bytes);
                damaged.copy_sector(PATH, from, offset).unwrap();
                format!("sector of byte {from} copied over that of {offset}")
            }
            2 => {
                damaged.open(PATH, OpenMode::ReadWrite).unwrap().set_len(offset).unwrap();
                format!("cut to {offset} bytes")
            }
            3 => {
                let blocks = rng.below(bytes / BLOCK_BYTES as u64 + 20);
                damaged.open(PATH, OpenMode::ReadWrite).unwrap().set_len(blocks * BLOCK_BYTES as u64).unwrap();
                format!("cut or grown to {blocks} blocks")
            }
            _ => {
                damaged.stale_sector(PATH, offset).unwrap();
                format!("sector of byte {offset} as before the last sync")
            }
        };
        refused += u64::from(check_damaged(&damaged, &content, &what));
    }
    println!("{refused} of {count} damages were refused, the others harmless");
    assert!(refused > count / 20);
}

/// What one run did: the content after each commit, and the operation at which it was acknowledged.
struct History {
    contents: Vec<Content>,
    acknowledged_at: Vec<u64>,
}

/// Commits, with a reopen now and then.
fn run(disk: &SimDisk, seed: u64, commits: u64, history: &mut History) -> Result<()> {
    let mut rng = SimRng::new(seed);
    let mut database = open(disk)?;
    let mut content = history.contents.last().cloned().unwrap_or_default();
    for _ in 0..commits {
        let result = commit(&database, &mut rng, &mut content);
        history.contents.push(content.clone());
        result.map_err(|error| engine_error("commit", PATH, None, error))?;
        history.acknowledged_at.push(disk.operations());
        if rng.below(10) == 0 {
            drop(database);
            database = open(disk)?;
        }
    }
    Ok(())
}

/// The number of the commit that a disk shows; a failure unless it is among `wanted`, and a commit works on top of it.
fn survivor(disk: &SimDisk, history: &History, wanted: std::ops::RangeInclusive<usize>) -> Result<usize, String> {
    let mut database = open(disk).map_err(|error| format!("does not open: {error}"))?;
    let found = read(&database).map_err(|error| format!("does not read: {error}"))?;
    let number = wanted.clone().rev().find(|number| history.contents[*number] == found);
    let number = number.ok_or_else(|| format!("not one of the commits {wanted:?}"))?;
    let mut content = found;
    for seed in 0..2 {
        commit(&database, &mut SimRng::new(seed), &mut content).map_err(|error| format!("no commit: {error}"))?;
        drop(database);
        database = open(disk).map_err(|error| format!("does not open again: {error}"))?;
        if read(&database).map_err(|error| format!("does not read again: {error}"))? != content {
            return Err("not what was committed".to_owned());
        }
    }
    Ok(number)
}

fn check_survivor(disk: &SimDisk, history: &History, wanted: std::ops::RangeInclusive<usize>, what: &str) -> usize {
    survivor(disk, history, wanted).unwrap_or_else(|why| panic!("{what}: {why}"))
}

/// A database as the first life starts it.
fn start() -> (SimDisk, History) {
    let disk = SimDisk::new(1);
    drop(create(&disk).unwrap());
    (disk.after_process_crash(), History { contents: vec![Content::default()], acknowledged_at: vec![0] })
}

#[test]
fn no_commit_is_lost_by_crashes() {
    let mut count = 0;
    for seed in 0..2 * scale() {
        let (disk, mut history) = start();
        disk.record();
        run(&disk, seed, 12, &mut history).unwrap();
        for (number, crashed) in disk.recording().unwrap().crashes(seed) {
            let acknowledged = history.acknowledged_at.iter().filter(|at| **at < number).count() - 1;
            // The commit that was under way may be there.
            let wanted = acknowledged..=(acknowledged + 1).min(history.contents.len() - 1);
            let what = format!("seed {seed}, crash at operation {number}");
            check_survivor(&crashed.after_process_crash(), &history, wanted.clone(), &what);
            for cut in [PowerCut::seeded(seed * 1_000_000 + number), PowerCut { keep: Keep::Mixed, seed: number }] {
                let image = crashed.after_power_cut(cut);
                if number % 10 == 0 {
                    // Once more, in the recovery.
                    let again = image.after_process_crash();
                    again.crash_at(1 + number / 10 % 8);
                    let outcome = open(&again).map(drop);
                    assert!(outcome.is_ok() || again.crashed());
                    let image = again.after_power_cut(cut);
                    check_survivor(&image, &history, wanted.clone(), &format!("{what}, {cut:?}, and again"));
                }
                check_survivor(&image, &history, wanted.clone(), &format!("{what}, {cut:?}"));
                count += 1;
            }
        }
    }
    println!("{count} power cuts");
}

#[test]
fn lost_syncs_are_found_by_the_same_checks() {
    let (disk, mut history) = start();
    disk.set_lie(true);
    run(&disk, 1, 12, &mut history).unwrap();
    let lost = (0..20).filter(|seed| {
        let image = disk.after_power_cut(PowerCut { keep: Keep::Mixed, seed: *seed });
        survivor(&image, &history, 12..=12).is_err()
    });
    assert!(lost.count() > 10, "a disk that syncs nothing passes: the check checks nothing");
}

#[test]
fn redb_syncs_its_header_before_it_writes_a_page() {
    let disk = SimDisk::new(1);
    filled(&disk, 10);
    let running = disk.after_process_crash();
    let database = open(&running).unwrap();
    let mut content = read(&database).unwrap();
    commit(&database, &mut SimRng::new(1), &mut content).unwrap();
    for disk in [disk.after_process_crash(), running.after_process_crash()] {
        let before = disk.file_bytes(PATH).unwrap();
        disk.inject(Fault::new(&[Call::Sync], Failure::Io));
        assert!(open(&disk).is_err());
        let after = disk.file_bytes(PATH).unwrap();
        assert_eq!(before.len(), after.len());
        assert!(before[PAGE_BYTES..] == after[PAGE_BYTES..], "a page was written before the first sync");
    }
}

/// Lives with a failing call in each, then a power cut.
fn check_fault(seed: u64, fault: Fault, what: &str) {
    let (mut disk, mut history) = start();
    let mut durable = 0;
    for life in 0..3 {
        if life < 2 {
            disk.inject(fault.clone());
        }
        let before = history.contents.len();
        let result = run(&disk, seed + life, 8, &mut history);
        if life == 2 {
            result.unwrap_or_else(|error| panic!("{what}: life without faults: {error}"));
        }
        let acknowledged = history.acknowledged_at.len() - 1;
        durable = durable.max(acknowledged);
        let last = history.contents.len() - 1;
        disk = match seed % 2 {
            0 => disk.after_process_crash(),
            _ => disk.after_power_cut(PowerCut::seeded(seed + life)),
        };
        let what = format!("{what}, life {life} from commit {before}");
        let found = check_survivor(&disk.after_process_crash(), &history, durable..=last, &what);
        // The next life goes on from what is there.
        history.contents.truncate(found + 1);
        history.acknowledged_at = vec![0; found + 1];
        durable = found;
    }
    for cut in 0..3 {
        let image = disk.after_power_cut(PowerCut { keep: [Keep::Nothing, Keep::Mixed, Keep::Sectors512][cut], seed });
        check_survivor(&image, &history, durable..=durable, what);
    }
}

#[test]
fn no_commit_is_lost_by_failed_calls() {
    let steps = 20 * scale();
    for step in 0..steps {
        // Spread over the some 300 operations of a life.
        let skip = step * 300 / steps;
        for (name, fault) in [
            ("write error", Fault::new(&[Call::Write, Call::SetLen], Failure::Io).skip(skip)),
            ("full disk", Fault::new(&[Call::Write, Call::SetLen], Failure::Full).skip(skip).for_ever()),
            ("sync error", Fault::new(&[Call::Sync], Failure::Io).skip(skip % 30)),
            ("lost sync", Fault::new(&[Call::Sync], Failure::LostSync { drop_pages: false }).skip(skip % 30)),
            ("forgotten sync", Fault::new(&[Call::Sync], Failure::LostSync { drop_pages: true }).skip(skip % 30)),
        ] {
            check_fault(step, fault, &format!("{name} after {skip} operations, seed {step}"));
        }
    }
}

#[test]
fn reading_a_crashed_database_writes_nothing() {
    let disk = SimDisk::new(1);
    let mut content = filled(&disk, 10);
    let database = open(&disk).unwrap();
    commit(&database, &mut SimRng::new(1), &mut content).unwrap();
    let crashed = disk.after_process_crash();
    drop(database);
    for disk in [crashed, disk.after_process_crash()] {
        let before = disk.file_bytes(PATH).unwrap();
        let database = database_of(PageBackend::open_read_only(&disk, PATH).unwrap());
        assert!(read(&database).unwrap() == content);
        drop(database);
        assert_eq!(disk.operations(), 0);
        assert!(disk.file_bytes(PATH).unwrap() == before);
    }
}

#[test]
fn errors_keep_what_they_are() {
    let disk = SimDisk::new(1);
    filled(&disk, 10);
    let missing = PageBackend::open(&disk, "none").unwrap_err();
    assert!(matches!(missing, Error::Io { .. }), "{missing}");
    let database = open(&disk).unwrap();
    disk.inject(Fault::new(&[Call::Write], Failure::Full).for_ever());
    let error = commit(&database, &mut SimRng::new(1), &mut Content::default()).unwrap_err();
    assert!(engine_error("commit", PATH, None, error).is_full());
    drop(database);
    disk.clear_faults();
    // What redb refuses afterwards is refused for the same reason.
    for (failure, full) in [(Failure::Full, true), (Failure::Io, false)] {
        let backend = PageBackend::open(&disk, PATH).unwrap();
        let met = backend.damage();
        let database = database_of(backend);
        disk.inject(Fault::new(&[Call::Write], failure).for_ever());
        commit(&database, &mut SimRng::new(1), &mut Content::default()).unwrap_err();
        let error = read(&database).unwrap_err();
        assert!(matches!(error, redb::Error::PreviousIo), "{error}");
        let error = engine_error("read", PATH, Some(&met), error);
        assert_eq!(error.is_full(), full, "{error}");
        drop(database);
        disk.clear_faults();
    }
    let backend = PageBackend::open(&disk, PATH).unwrap();
    let damage = backend.damage();
    let database = database_of(backend);
    for page in 1..disk.file_bytes(PATH).unwrap().len() / BLOCK_BYTES {
        disk.flip_bit(PATH, (page * BLOCK_BYTES) as u64 + 50, 1).unwrap();
    }
    let error = engine_error("read", PATH, None, read(&database).unwrap_err());
    assert!(matches!(&error, Error::Corrupt(corruption) if corruption.structure == "index page"), "{error}");
    assert!(damage.get().is_some());
}

fn database_of(backend: PageBackend) -> Database {
    let mut builder = Builder::new();
    builder.set_cache_size(0);
    builder.create_with_backend(backend).unwrap()
}

/// Writes rows 0 to 4,000 with this number in each, and commits.
fn fill_rows(database: &Database, number: u8) {
    let transaction = database.begin_write().unwrap();
    {
        let mut rows = transaction.open_table(ROWS).unwrap();
        for row in 0..4_000u64 {
            rows.insert(row, [number; 200].as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
}

/// Reads all rows in an order that no cache foresees, until one is refused.
fn read_rows(database: &Database) -> Result<Vec<u8>> {
    let failed = |error: redb::Error| engine_error("read", PATH, None, error);
    let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
    let rows = transaction.open_table(ROWS).map_err(|error| failed(error.into()))?;
    let mut found = Vec::new();
    for row in (0..4_000u64).map(|at| at * 1_237 % 4_000) {
        let value = rows.get(row).map_err(|error| failed(error.into()))?.expect("every row is there");
        found.extend(value.value().first());
    }
    Ok(found)
}

#[test]
fn a_reader_has_the_answers_of_its_own_commit_or_is_told_that_the_file_changed() {
    let memory = Memory::new();
    let writer = create(&memory).unwrap();
    fill_rows(&writer, 1);
    let backend = PageBackend::open_read_only(&memory, PATH).unwrap();
    let met = backend.damage();
    let reader = database(backend).unwrap();
    // Nobody wrote: the reader sees its commit, again and again, though its cache is small.
    for _ in 0..2 {
        assert_eq!(read_rows(&reader).unwrap(), vec![1; 4_000]);
    }
    // Two commits, so that pages of the reader's commit are written anew.
    fill_rows(&writer, 2);
    fill_rows(&writer, 3);
    assert!(matches!(read_rows(&reader), Err(Error::IndexChanged)), "the reader mixes commits");
    // redb refuses everything from then on, and the reason is still known.
    assert!(matches!(engine_error("read", PATH, Some(&met), redb::Error::PreviousIo), Error::IndexChanged));
    let again = database(PageBackend::open_read_only(&memory, PATH).unwrap()).unwrap();
    assert_eq!(read_rows(&again).unwrap(), vec![3; 4_000]);
}
