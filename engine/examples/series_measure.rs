//! Measures series files on this machine: bytes a point, sealing, reading, charts. `cargo run --release --example
//! series_measure` takes about half a minute; `full` as an argument adds the series of 100 million points.

use std::sync::Arc;
use std::time::Instant;

use runlode_engine::point::Columns;
use runlode_engine::query::points::{ALL_STEPS, HistoryQuery, SeriesSource, downsample, history};
use runlode_engine::series::{ChunkList, ChunkRef, ColumnSet, SeriesCache, SeriesFile, SeriesFileWriter, ValueHint};
use runlode_engine::storage::Storage;
use runlode_engine::storage::disk::Disk;
use runlode_engine::{KeyId, Lsn, Result, RunId, SeriesId, StoreId};

const STORE: StoreId = StoreId([7; 16]);

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().max(1e-300).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

fn columns(count: usize, seed: u64, mut value: impl FnMut(usize, &mut Random) -> f64) -> Columns {
    let mut random = Random(seed | 1);
    let mut time = 1_700_000_000_000i64;
    let mut out = Columns::default();
    for i in 0..count {
        time += 80 + (random.next() % 83) as i64;
        out.steps.push(i as i64);
        out.times.push(time);
        out.lsns.push(1 + i as u64 / 100);
    }
    let mut random = Random(seed ^ 0x5eed);
    out.values = (0..count).map(|i| value(i, &mut random)).collect();
    out
}

fn loss(i: usize, random: &mut Random) -> f64 {
    let base = 0.5 + 4.0 * (-(i as f64) / 2e5).exp();
    f64::from((base * (1.0 + 0.1 * random.normal())) as f32)
}

/// Seconds that this thread has run, which other processes do not disturb as they do the clock on the wall.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

fn id(key: u32) -> SeriesId {
    SeriesId { run: RunId([1; 16]), key: KeyId(key) }
}

fn seal(disk: &Disk, name: &str, number: u64, all: &[Columns]) -> Result<Arc<SeriesFile>> {
    let path = format!("series/1-{number}.ser");
    let (start, cpu_start) = (Instant::now(), cpu_seconds());
    let mut writer = SeriesFileWriter::create(disk, &path, STORE, number, (Lsn(0), Lsn(1)))?;
    for (key, columns) in all.iter().enumerate() {
        writer.push(id(key as u32), columns, &mut ValueHint::default())?;
    }
    let info = writer.finish()?;
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu_start);
    let points = info.points as f64;
    println!(
        "{name:<34} {:6.3} B/point   sealed {:6.1} M points/s of CPU, {:6.1} by the wall, synced",
        info.len_bytes as f64 / points,
        points / cpu / 1e6,
        points / wall / 1e6
    );
    SeriesFile::open(disk, &path, STORE)
}

fn refs(file: &Arc<SeriesFile>, series: SeriesId) -> Result<Vec<ChunkRef>> {
    let mut out = Vec::new();
    for item in file.directory() {
        let (found, entry) = item?;
        if found == series {
            out.push(ChunkRef::new(Arc::clone(file), entry));
        }
    }
    Ok(out)
}

fn percentiles(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] * 1e6;
    format!("least {:8.1} us   p50 {:8.1} us   p99 {:8.1} us", at(0.0), at(0.5), at(0.99))
}

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("series-measure-{}", std::process::id()));
    let disk = Disk::new(&folder);
    disk.create_dir("series").expect("a temporary folder");
    let result = measure(&disk);
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
    result
}

fn measure(disk: &Disk) -> Result<()> {
    let million = 1_000_000;
    let one = columns(million, 1, loss);
    let file = seal(disk, "loss f32, one key", 1, std::slice::from_ref(&one))?;
    let ten: Vec<Columns> = (0..10)
        .map(|key| {
            let mut random = Random(key * 77 + 3);
            Columns { values: (0..million).map(|i| loss(i, &mut random)).collect(), ..one.clone() }
        })
        .collect();
    seal(disk, "loss f32, ten keys together", 2, &ten)?;
    drop(ten);
    let accuracy = |i: usize, random: &mut Random| {
        let value = 0.9 - 0.6 * (-(i as f64) / 2e5).exp() + 0.02 * random.normal();
        (value * 1000.0).round() / 1000.0
    };
    let decimals = columns(million, 3, accuracy);
    let plain = pco::standalone::simple_compress(&decimals.values, &pco::ChunkConfig::default()).expect("pco");
    seal(disk, "accuracy, 3 decimals", 3, std::slice::from_ref(&decimals))?;
    println!("{:<34} {:6.3} B/point", "  its values by pco alone, one chunk", plain.len() as f64 / million as f64);
    let ten: Vec<Columns> = (0..10)
        .map(|key| {
            let mut random = Random(key * 77 + 3);
            Columns { values: (0..million).map(|i| accuracy(i, &mut random)).collect(), ..decimals.clone() }
        })
        .collect();
    seal(disk, "accuracy, ten keys together", 13, &ten)?;
    drop(ten);
    seal(disk, "constant", 4, &[columns(million, 4, |_, _| 0.001)])?;
    let cosine = |i: usize, _: &mut Random| 1e-3 * 0.5 * (1.0 + (std::f64::consts::PI * i as f64 / 1e6).cos());
    seal(disk, "cosine schedule f64", 5, &[columns(million, 5, cosine)])?;
    seal(disk, "cosine schedule f32", 6, &[columns(million, 6, |i, r| f64::from(cosine(i, r) as f32))])?;
    seal(disk, "f64 noise", 7, &[columns(million, 7, |_, random| random.normal())])?;

    // Many short series.
    for (number, points) in [(8, 1), (9, 2), (10, 20), (11, 300), (12, 1500)] {
        let series = if points < 100 { 200_000 } else { 3_000_000 / points };
        let short = columns(points, 8, loss);
        let start = cpu_seconds();
        let path = format!("series/1-{number}.ser");
        let mut writer = SeriesFileWriter::create(disk, &path, STORE, number, (Lsn(0), Lsn(1)))?;
        for run in 0..series as u128 {
            let series = SeriesId { run: RunId((run * 0x9e37_79b9).to_be_bytes()), key: KeyId(1) };
            writer.push(series, &short, &mut ValueHint::default())?;
        }
        let info = writer.finish()?;
        let seconds = cpu_seconds() - start;
        println!(
            "{series} series of {points:<5} {:10.1} B/series {:6.2} M series/s {:6.1} M points/s",
            info.len_bytes as f64 / series as f64,
            series as f64 / seconds / 1e6,
            info.points as f64 / seconds / 1e6
        );
    }

    let chunks = Arc::new(ChunkList::new(refs(&file, id(0))?));
    let source = SeriesSource { chunks, hot: Columns::default(), up_to: Lsn::MAX };
    for (name, want) in [
        ("history step, value", ColumnSet::STEPS.with(ColumnSet::VALUES)),
        ("history step, time, value", ColumnSet::POINTS),
        ("history all columns", ColumnSet::ALL),
    ] {
        // The scheduler counts by ticks: many reads, one difference.
        let (start, cpu_start) = (Instant::now(), cpu_seconds());
        for _ in 0..40 {
            let page = history(&source, &HistoryQuery { columns: want, ..HistoryQuery::default() })?;
            assert_eq!(page.columns.values.len(), million);
        }
        let points = 40.0 * million as f64 / 1e6;
        let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu_start);
        println!("{name:<34} {:6.1} M points/s of CPU, {:6.1} by the wall", points / cpu, points / wall);
    }
    let mut times = Vec::new();
    for i in 0..200 {
        let start = Instant::now();
        let from = (i * 4_999) as i64;
        let query = HistoryQuery { steps: (from, from + 999), ..HistoryQuery::default() };
        assert_eq!(history(&source, &query)?.columns.len(), 1000);
        times.push(start.elapsed().as_secs_f64());
    }
    println!("{:<34} {}", "history of 1000 points", percentiles(times));
    let cache = SeriesCache::new(64 << 20);
    charts("1 M to 320 buckets", &source, 320, &cache, 300, None)?;
    charts("1 M to 1000 buckets (decodes)", &source, 1000, &cache, 60, None)?;
    if std::env::args().any(|arg| arg == "full") {
        let mut all = Vec::new();
        for part in 0..100u64 {
            let mut columns = columns(million, 20 + part, loss);
            columns.steps.iter_mut().for_each(|step| *step += part as i64 * million as i64);
            columns.times.iter_mut().for_each(|time| *time += part as i64 * 200_000_000);
            let path = format!("series/1-{}.ser", 100 + part);
            let mut writer = SeriesFileWriter::create(disk, &path, STORE, 100 + part, (Lsn(0), Lsn(1)))?;
            writer.push(id(0), &columns, &mut ValueHint::default())?;
            writer.finish()?;
            all.extend(refs(&SeriesFile::open(disk, &path, STORE)?, id(0))?);
        }
        let source = SeriesSource { chunks: Arc::new(ChunkList::new(all)), hot: Columns::default(), up_to: Lsn::MAX };
        let cache = SeriesCache::new(64 << 20);
        charts("100 M to 1000 buckets, first", &source, 1000, &cache, 1, None)?;
        charts("100 M to 1000 buckets", &source, 1000, &cache, 100, None)?;
        for window in [200_000i64, 900_000, 1_100_000, 2_000_000, 5_000_000, 20_000_000, 70_000_000] {
            charts(&format!("window of {window} to 1000"), &source, 1000, &cache, 100, Some(window))?;
        }
    }
    Ok(())
}

fn charts(
    name: &str,
    source: &SeriesSource,
    buckets: usize,
    cache: &SeriesCache,
    repeats: usize,
    window: Option<i64>,
) -> Result<()> {
    let mut times = Vec::new();
    let mut random = Random(99);
    for round in 0..repeats + usize::from(repeats > 1) {
        let steps = window.map_or(ALL_STEPS, |window| {
            let from = (random.unit() * (100_000_000 - window) as f64) as i64;
            (from, from + window - 1)
        });
        let start = Instant::now();
        let answer = downsample(source, steps, buckets, cache)?;
        if round > 0 || repeats == 1 {
            times.push(start.elapsed().as_secs_f64());
        }
        assert!(!answer.buckets.is_empty());
    }
    println!("{name:<34} {}", percentiles(times));
    Ok(())
}
