//! Bare reads: the same chunks decoded, the same answer copied, columns of the same size scanned, as many bytes read,
//! checked and written again; no index, no snapshot, nothing that could change meanwhile.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runlode_engine::checksum::Crc32;
use runlode_engine::point::Columns;
use runlode_engine::series::{ChunkEntry, ColumnSet, SeriesFile};
use runlode_engine::storage::disk::Disk;
use runlode_engine::{SeriesId, Store};

use crate::Result;
use crate::rng::Rng;
use crate::timing::{Samples, repeat};

/// The sealed chunks of one series.
#[derive(Debug)]
pub struct Chunks {
    chunks: Vec<(Arc<SeriesFile>, ChunkEntry)>,
}

impl Chunks {
    /// Finds them in all series files.
    ///
    /// # Errors
    /// Those of the store.
    pub fn of(path: &Path, store: &Store, series: SeriesId) -> Result<Self> {
        let disk = Disk::new(path);
        let mut chunks = Vec::new();
        for entry in std::fs::read_dir(path.join("series"))? {
            let name = format!("series/{}", entry?.file_name().to_string_lossy());
            let file = SeriesFile::open(&disk, &name, store.id())?;
            let entries = file.directory().collect::<Result<Vec<_>, _>>()?;
            let wanted = entries.into_iter().filter(|(id, _)| *id == series);
            chunks.extend(wanted.map(|(_, entry)| (file.clone(), entry)));
        }
        chunks.sort_by_key(|(_, entry)| entry.step_first);
        Ok(Self { chunks })
    }

    /// Decodes all of them into memory that is there. Give the memory of the answer that this is the floor of: how fast
    /// 24 MB are written depends on which pages they lie in.
    ///
    /// # Errors
    /// Those of the series files; also if these are not `points` points.
    pub fn decode(&self, columns: ColumnSet, points: usize, out: &mut Columns) -> Result {
        out.clear();
        for (file, entry) in &self.chunks {
            file.read_chunk(entry, columns, out)?;
        }
        if out.values.len() == points { Ok(()) } else { Err("not all points in the series files".into()) }
    }
}

/// Times the least scan that answers a search: over `rows` rows it compares a column of numbers with a bound that a tenth
/// of them passes and a column of codes with a code that a tenth of them has, then takes the 100 greatest matches.
pub fn scan(rows: usize) -> Samples {
    let mut rng = Rng::new(17);
    let numbers: Vec<f64> = (0..rows).map(|_| rng.unit()).collect();
    let codes: Vec<u8> = (0..rows).map(|_| rng.below(10) as u8).collect();
    let mut found: Vec<(f64, u32)> = Vec::with_capacity(rows);
    let scanned = repeat(50, Duration::from_secs(1), || -> Result<Vec<(f64, u32)>, std::convert::Infallible> {
        found.clear();
        // Without a branch a row, which the processor could not predict.
        for (block, (numbers, codes)) in numbers.chunks(64).zip(codes.chunks(64)).enumerate() {
            let both = numbers.iter().zip(codes).map(|(number, code)| (*number > 0.9) & (*code == 3));
            let mut hits = both.enumerate().fold(0u64, |hits, (bit, hit)| hits | u64::from(hit) << bit);
            while hits != 0 {
                let bit = hits.trailing_zeros() as usize;
                found.extend(numbers.get(bit).map(|number| (*number, (block * 64 + bit) as u32)));
                hits &= hits - 1;
            }
        }
        let last = found.len().min(100);
        if last > 0 && last < found.len() {
            found.select_nth_unstable_by(last - 1, |a, b| b.0.total_cmp(&a.0));
        }
        let mut page = found.get(..last).unwrap_or_default().to_vec();
        page.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        Ok(page)
    });
    match scanned {
        Ok(samples) => samples,
        Err(never) => match never {},
    }
}

/// Samples of copying a list, each thing in it included.
pub fn copy<T: Clone>(list: &[T]) -> Samples {
    let copied = repeat(1_000, Duration::from_secs(1), || -> Result<Vec<T>, std::convert::Infallible> {
        Ok(std::hint::black_box(list).to_vec())
    });
    match copied {
        Ok(samples) => samples,
        Err(never) => match never {},
    }
}

/// Times the least that an open after a crash does: the bytes of a file are read, each piece of `frame_bytes` of them is
/// checked, and all are written again in place and synced, since nothing proves that they are on the disk.
///
/// # Errors
/// Those of the file system.
pub fn check_and_write(dir: &Path, bytes: usize, frame_bytes: usize) -> Result<Samples> {
    const PIECE_BYTES: usize = 1 << 20;
    let path = dir.join("floor-frames");
    let mut rng = Rng::new(19);
    let words: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
    std::fs::write(&path, words)?;
    File::open(&path)?.sync_all()?;
    // Kept, so that no sample pays for fresh memory.
    let mut read = Vec::with_capacity(bytes + 8);
    let samples = repeat(5, Duration::from_millis(500), || -> Result<u32> {
        read.clear();
        let mut file = File::options().read(true).write(true).open(&path)?;
        file.read_to_end(&mut read)?;
        let checksum = read.chunks(frame_bytes).fold(0, |all, frame| all ^ Crc32::of(frame).0);
        let mut offset = 0;
        for piece in read.chunks(PIECE_BYTES) {
            file.write_all_at(piece, offset)?;
            offset += piece.len() as u64;
        }
        file.sync_data()?;
        Ok(checksum)
    })?;
    std::fs::remove_file(path)?;
    Ok(samples)
}
