//! The fuzz targets: one function each, which takes bytes and panics if something is wrong. The same functions run as
//! plain tests over a small corpus (`tests/tests/fuzz.rs`); `fuzz/` only passes bytes to them.
//!
//! Where a crc protects a parser, the harness computes it; otherwise only the crc would be tested.

use std::sync::{Arc, OnceLock};

use runlode_engine::checksum::Crc32;
use runlode_engine::event::batch::{MetricContext, Origin, definitions, sections};
use runlode_engine::event::payload::{Decoded, decode, encode};
use runlode_engine::event::section::{RowSection, SeriesSection};
use runlode_engine::log::format_file::FormatFile;
use runlode_engine::log::frame::HeadCrc;
use runlode_engine::log::{Access, FRAME_HEADER_BYTES, FrameBuf, FrameHeader, Log, LogOptions, OpenedLog};
use runlode_engine::point::{Columns, Point};
use runlode_engine::search::{Filter, PageToken, SearchQuery, Term, TextKey, TextTest, filter as keys};
use runlode_engine::series::{ChunkEntry, ColumnSet, SeriesFile, SeriesFileWriter, ValueHint};
use runlode_engine::storage::memory::Memory;
use runlode_engine::storage::{OpenMode, Storage, write_all_at};
use runlode_engine::{ContextId, ExperimentId, KeyId, Lsn, RunId, SeriesId, StoreId, TimestampMs, event::Event};

use crate::model::{Model, Verdict, class};
use crate::work::Generator;
use crate::{difference, facts, manual_clock, sim_options};

/// Puts the bytes as a payload into a frame with correct checksums, in the log of a store that is then opened; and
/// takes them as a header.
pub fn frame(bytes: &[u8]) {
    let crc = HeadCrc::new(StoreId([1; 16]));
    if let Some(header) = bytes.first_chunk::<FRAME_HEADER_BYTES>()
        && let Some(decoded) = FrameHeader::decode(header, &crc)
    {
        assert_eq!(decoded.encode(&crc), *header);
    }
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let clock = manual_clock();
    sim_options(storage.clone(), clock.clone(), 1).open().unwrap().close().unwrap();
    let store = FormatFile::read(&*storage).unwrap().unwrap().store;
    let options = LogOptions { segment_bytes_first: 8 << 10, segment_bytes_max: 32 << 10, ..LogOptions::new(store) };
    let OpenedLog { log, tail, .. } = Log::open(storage.clone(), options, Lsn::ZERO, Access::ReadWrite).unwrap();
    let mut tail = tail.unwrap();
    let mut frame = FrameBuf::new();
    frame.payload_mut().extend_from_slice(bytes);
    frame.seal().unwrap();
    tail.begin(TimestampMs(5)).unwrap();
    tail.place(&mut frame, TimestampMs(5)).unwrap();
    log.sync().unwrap();
    drop((tail, log));
    match sim_options(storage, clock, 1).open() {
        Ok(store) => drop(facts::of_snapshot(&store.snapshot().unwrap())),
        Err(error) => assert_eq!(class(&error), "corrupt", "{error}"),
    }
}

/// Writes points made of the bytes to a series file, reads them back, and damages the file with the bytes; and takes
/// them as sections of points and as a directory entry.
pub fn chunk(bytes: &[u8]) {
    for flags in [0, 1, 2, 7, 255] {
        let mut columns = Columns::default();
        if let Some(section) = SeriesSection::read(flags, bytes)
            && section.count < 1 << 20
        {
            section.extend(Lsn(1), &mut columns);
            assert_eq!(columns.len(), section.count);
        }
        if let Some(row) = RowSection::read(flags, bytes) {
            let mut count = 0usize;
            row.for_each(|_, _| count += 1);
        }
    }
    if let Some(entry) = ChunkEntry::decode(bytes) {
        let mut again = Vec::new();
        entry.encode(&mut again);
        assert!(ChunkEntry::decode(&again).is_some());
    }
    let mut columns = Columns::default();
    for (index, part) in bytes.chunks_exact(9).enumerate() {
        let number = |at: usize| i64::from_le_bytes(part[at..at + 8].try_into().unwrap());
        let step = if part[0] % 3 == 0 { number(0) } else { index as i64 };
        let time = TimestampMs((number(1) & i64::MAX) >> (part[8] % 64));
        let value = f64::from_bits(number(0) as u64);
        columns.push(Point { step, time, value }, Lsn(index as u64 + 1), ContextId(u32::from(part[8] / 200)));
    }
    if columns.is_empty() {
        return;
    }
    let storage = Memory::new();
    storage.create_dir("series").unwrap();
    let store = StoreId([1; 16]);
    let path = "series/00000001.ser";
    let series = SeriesId { run: RunId([2; 16]), key: KeyId(1) };
    let mut writer = SeriesFileWriter::create(&storage, path, store, 1, (Lsn::ZERO, Lsn(1 << 40))).unwrap();
    writer.push(series, &columns, &mut ValueHint::default()).unwrap();
    let info = writer.finish().unwrap();
    let file = SeriesFile::open(&storage, path, store).unwrap();
    let mut found: Vec<(i64, i64, u64, u64, u32)> = Vec::new();
    for (_, entry) in info.entries() {
        let mut read = Columns::default();
        file.read_chunk(&entry, ColumnSet::ALL, &mut read).unwrap();
        let row = |i: usize| (read.steps[i], read.times[i], read.values[i].to_bits(), read.lsns[i], read.context(i).0);
        found.extend((0..read.len()).map(row));
    }
    let row = |i: usize| {
        (columns.steps[i], columns.times[i], columns.values[i].to_bits(), columns.lsns[i], columns.context(i).0)
    };
    let mut expected: Vec<_> = (0..columns.len()).map(row).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    // Damage: either an error, or the byte is never read.
    let whole = storage.open(path, OpenMode::ReadWrite).unwrap();
    let at = u64::from(bytes[0]) * 31 % whole.len().unwrap();
    write_all_at(&*whole, &bytes[..bytes.len().min(3)], at).unwrap();
    if let Ok(file) = SeriesFile::open(&storage, path, store) {
        for (_, entry) in info.entries() {
            let mut read = Columns::default();
            if file.read_chunk(&entry, ColumnSet::ALL, &mut read).is_ok() {
                let row = |i: usize| (read.steps[i], read.times[i], read.values[i].to_bits(), read.lsns[i]);
                for i in 0..read.len() {
                    let point = row(i);
                    assert!(expected.iter().any(|e| (e.0, e.1, e.2, e.3) == point), "{point:?} was never written");
                }
            }
        }
    }
}

/// Takes the bytes as an event, and as sections of a payload.
pub fn payload(bytes: &[u8]) {
    let check = |bytes: &[u8]| {
        if let Ok(Decoded::Known(event)) = decode(bytes) {
            let mut again = Vec::new();
            encode(&event, &mut again).unwrap();
            match decode(&again).unwrap() {
                Decoded::Known(same) => assert_eq!(format!("{same:?}"), format!("{event:?}")),
                other => panic!("{event:?} became {other:?}"),
            }
        }
    };
    check(bytes);
    for section in sections(bytes) {
        let Ok(section) = section else { break };
        check(section.body);
        drop((
            Origin::read(section.flags, section.body),
            definitions(section.body),
            MetricContext::decode(section.body),
        ));
    }
    // An archive under each tag, with the right version.
    for (tag, _) in runlode_engine::event::KINDS {
        let mut tagged = tag.to_le_bytes().to_vec();
        tagged.extend_from_slice(&1u16.to_le_bytes());
        tagged.extend_from_slice(bytes.get(4..).unwrap_or_default());
        check(&tagged);
    }
}

/// Makes a filter of the bytes, and takes them as a page token, as they are and with a correct checksum.
pub fn filter(bytes: &[u8]) {
    let mut rest = bytes;
    let made = filter_of(&mut rest, 0);
    let text = made.to_string();
    assert!(!text.is_empty() || matches!(made, Filter::And(_) | Filter::Or(_)));
    let mut query = SearchQuery::new(ExperimentId(0));
    query.filter = Some(made);
    drop(query.check());
    let mut right = bytes.to_vec();
    right.extend_from_slice(&Crc32::of(bytes).0.to_le_bytes());
    for candidate in [bytes, &right] {
        if let Ok(token) = PageToken::decode(candidate) {
            assert_eq!(PageToken::decode(&token.encode()).unwrap().encode(), token.encode());
            let printed: PageToken = token.to_string().parse().unwrap();
            assert_eq!(printed.encode(), token.encode());
            query.after = Some(token);
            drop(query.check());
        }
    }
    drop(String::from_utf8_lossy(bytes).parse::<PageToken>());
}

/// Takes the bytes as the text of a filter and of an order, for every kind of entity; and as pieces of such texts,
/// joined.
pub fn filter_text(bytes: &[u8]) {
    let pieces = bytes.iter().map(|byte| FILTER_PIECES[usize::from(*byte) % FILTER_PIECES.len()]);
    for text in [String::from_utf8_lossy(bytes).into_owned(), pieces.collect()] {
        runlode::mlflow::probe_filter(&text);
        let errors = [runlode::filter::parse(&text).err(), runlode::filter::parse_order(&text).err()];
        for error in errors.into_iter().flatten() {
            assert!(text.is_char_boundary(error.at()), "{error}");
        }
    }
}

/// Pieces of project files: indentation, keys, values that YAML reads in its own way, placeholders, quotes.
const PROJECT_PIECES: [&str; 48] = [
    "\n",
    "\n  ",
    "\n    ",
    "\n      ",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "'",
    "\"",
    "|\n",
    ">\n",
    "#",
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "entry_points",
    "main",
    "parameters",
    "command",
    "type",
    "default",
    "path",
    "uri",
    "name",
    "docker_env",
    "image",
    "volumes",
    "environment",
    "conda_env",
    "python_env",
    "{x}",
    "{{",
    "}}",
    "{x.y}",
    "x",
    "1e-5",
    "010",
    "yes",
    "~",
    "2024-01-02",
    "12:30",
    "\t",
    "\u{e9}",
];

/// Takes the bytes as a project file, and as pieces of one, joined. An error names a line of the file; each entry point
/// gives a command or an error.
pub fn project(bytes: &[u8]) {
    let pieces: String = bytes.iter().map(|byte| PROJECT_PIECES[usize::from(*byte) % PROJECT_PIECES.len()]).collect();
    let folder = tempfile::tempdir().unwrap();
    for text in [bytes, pieces.as_bytes()] {
        std::fs::write(folder.path().join("MLproject"), text).unwrap();
        let lines = text.split(|byte| *byte == b'\n').count() + 1;
        let project = match runlode_projects::Project::load(folder.path()) {
            Ok(project) => project,
            Err(runlode_projects::ProjectError::File { line, key, .. }) => {
                assert!((1..=lines).contains(&line) && !key.is_empty(), "line {line} of {lines}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        for entry in &project.entry_points {
            let given: Vec<_> =
                entry.parameters.iter().map(|parameter| (parameter.name.clone(), "$(x) '".to_owned())).collect();
            let fetch = |uri: &str, _: usize| Err(uri.to_owned());
            let _made_or_refused = runlode_projects::command::command(&project, entry, &given, &fetch);
        }
    }
}

/// Takes the bytes as the body and as the query of every REST endpoint; and as pieces of JSON, joined. One store serves
/// all inputs of a process, so harm done by one request shows in a later one.
pub fn request_body(bytes: &[u8]) {
    static DOOR: OnceLock<(tempfile::TempDir, runlode_rest::Door)> = OnceLock::new();
    let (_, door) = DOOR.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = runlode::LocalStore::open(dir.path().join("store")).expect("a new store");
        (dir, runlode_rest::Door::new(store, runlode_rest::ServeOptions::default()))
    });
    runlode_rest::probe_body(door, bytes);
    let pieces = bytes.iter().map(|byte| BODY_PIECES[usize::from(*byte) % BODY_PIECES.len()]);
    runlode_rest::probe_body(door, format!("{{{}}}", pieces.collect::<String>()).as_bytes());
}

const BODY_PIECES: &[&str] = &[
    "\"name\":",
    "\"experiment_id\":",
    "\"run_id\":",
    "\"key\":",
    "\"value\":",
    "\"timestamp\":",
    "\"step\":",
    "\"metrics\":[{",
    "\"params\":[{",
    "\"tags\":[{",
    "\"query\":",
    "\"max_results\":",
    "\"page_token\":",
    "\"model_json\":",
    "}]",
    "[",
    "]",
    "{",
    "}",
    ",",
    ",",
    "\"0\"",
    "\"x\"",
    "\"{\\\"a\\\": 1}\"",
    "1",
    "-1",
    "1e308",
    "9223372036854775807",
    "NaN",
    "null",
    "true",
    "\"{ mlflowGetRun(input: {runId: \\\"x\\\"}) { run { info { runId } } } }\"",
];

const FILTER_PIECES: &[&str] = &[
    "metrics.",
    "params.",
    "tags.",
    "attributes.",
    "dataset.",
    "name",
    "run_id",
    "`a b`",
    "\"k\"",
    "'v'",
    "'",
    "\\",
    " ",
    " AND ",
    " OR ",
    "NOT ",
    " IS ",
    "NULL",
    " IN ",
    "(",
    ")",
    ",",
    ";",
    ".",
    "=",
    "!=",
    "<",
    " LIKE ",
    " ILIKE ",
    "1",
    "-.5e-3",
    "é",
    "start_time",
    "version_number",
    ".max",
    " DESC",
];

fn filter_of(bytes: &mut &[u8], depth: usize) -> Filter {
    let Some((first, rest)) = bytes.split_first() else { return Filter::And(vec![]) };
    *bytes = rest;
    let name = format!("k{}'`\"", first % 5);
    match first % 8 {
        0 | 1 if depth < 80 => {
            let inner = (0..first % 4).map(|_| filter_of(bytes, depth + 1)).collect();
            if first % 8 == 0 { Filter::And(inner) } else { Filter::Or(inner) }
        }
        2 if depth < 80 => Filter::Not(Box::new(filter_of(bytes, depth + 1))),
        3 => keys::metric(name).max().gt(f64::from(*first) - 100.0),
        4 => keys::param(name).like("%_\\"),
        5 => Filter::Term(Term::Text { key: TextKey::Status, test: TextTest::In(vec![name]) }),
        6 => keys::tag_number(name).is_null(),
        _ => keys::param(name).eq("x"),
    }
}

/// The bytes choose operations on a store, which is compared with the model at the end.
pub fn store(bytes: &[u8]) {
    let seed = bytes.iter().take(8).fold(0u64, |seed, byte| seed << 8 | u64::from(*byte));
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let clock = manual_clock();
    let open = || sim_options(storage.clone(), clock.clone(), 1).open().unwrap();
    let mut store = open();
    let mut work = Generator::new(seed);
    let mut model = Model::default();
    for byte in bytes.iter().skip(8).take(200) {
        clock.advance_ms(1);
        match byte {
            0..=9 => drop(store.checkpoint().unwrap()),
            10..=19 => drop(store.seal().unwrap()),
            20..=29 => drop(store.compact(&runlode_engine::CompactOptions::default()).unwrap()),
            30..=39 => {
                drop(store);
                store = open();
            }
            40..=44 => {
                drop(store);
                storage.remove("index.redb").unwrap();
                store = open();
            }
            _ => {
                let head = store.positions().published;
                let write = work.write(&model, head);
                let verdict = model.verdict(&write, head);
                let stored = model.stored(&write, runlode_engine::Clock::now(&*clock));
                match (verdict, write.send(&store)) {
                    (Verdict::Accepted, Ok(receipt)) if write.stores_nothing(&stored) => assert!(receipt.lsn <= head),
                    (Verdict::Accepted, Ok(receipt)) => {
                        model.accept(&write, receipt.lsn, runlode_engine::Clock::now(&*clock));
                    }
                    (Verdict::Repeated(lsn), Ok(receipt)) if lsn == receipt.lsn => {}
                    (Verdict::Refused(expected), Err(error)) if class(&error) == expected => {}
                    (verdict, answer) => panic!("{verdict:?} expected, {answer:?} found"),
                }
            }
        }
    }
    let found = facts::of_snapshot(&store.snapshot().unwrap()).unwrap();
    if let Some(difference) = difference(&facts::of_model(&model), &found) {
        panic!("{difference}");
    }
}

/// Valid inputs to start from: one event of each kind that the generator makes, and sections of points.
pub fn events() -> Vec<Event> {
    let mut work = Generator::new(7);
    let mut model = Model::default();
    let mut all = Vec::new();
    for lsn in 1..400 {
        let write = work.write(&model, Lsn::ZERO);
        if model.verdict(&write, Lsn::ZERO) == Verdict::Accepted {
            model.accept(&write, Lsn(lsn), TimestampMs(lsn as i64));
            all.extend(write.events);
        }
    }
    all
}
