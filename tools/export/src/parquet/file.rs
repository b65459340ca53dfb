//! Files of the tables: written under an unfinished name, on the disk before they get their final one.
//!
//! A large file is brought to the disk piece by piece while it is written, by a thread of its own: its end then waits for
//! the last piece only.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};

use crate::error::{Error, Result};
use crate::folder::{Folder, UNFINISHED, create};

/// Level of zstd for the small tables: texts.
const TABLE_LEVEL: i32 = 3;
/// Rows of a row group of a small table.
const GROUP_ROWS: usize = 1 << 16;
/// What a row group of a small table may take in memory.
const GROUP_BYTES: usize = 32 << 20;

/// What a large file is written by between two syncs.
const PIECE_BYTES: u64 = 16 << 20;

/// How the files are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    /// Threads that encode points.
    pub(crate) threads: usize,
    /// About how many points a file has at most.
    pub(crate) part_points: u64,
}

/// Who wrote a file.
pub(super) fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder().set_created_by(format!("runlode {}", env!("CARGO_PKG_VERSION")))
}

pub(super) fn zstd(level: i32) -> Result<Compression, ParquetError> {
    Ok(Compression::ZSTD(ZstdLevel::try_new(level)?))
}

/// The name of a part of a table, from 1.
pub(super) fn part_name(table: &str, number: usize) -> String {
    format!("{table}/part-{number:05}.parquet")
}

/// Syncs pieces of a file while others are written.
#[derive(Debug)]
struct Pieces {
    ask: SyncSender<()>,
    syncing: JoinHandle<io::Result<()>>,
    /// Length of the file when a sync was last asked for.
    asked_at_bytes: u64,
}

impl Pieces {
    fn begin(file: File) -> Self {
        let (ask, asked) = sync_channel(1);
        let syncing = std::thread::spawn(move || asked.iter().try_for_each(|()| file.sync_data()));
        Self { ask, syncing, asked_at_bytes: 0 }
    }

    /// The file has this length now.
    fn grown_to(&mut self, bytes: u64) {
        // If one sync runs and another one waits, a third would add nothing. `finish` reports a sync that failed.
        if bytes - self.asked_at_bytes >= PIECE_BYTES && self.ask.try_send(()).is_ok() {
            self.asked_at_bytes = bytes;
        }
    }

    /// Waits for what was asked for.
    fn finish(self) -> io::Result<()> {
        drop(self.ask);
        self.syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// A file on its way to its final name.
#[derive(Debug)]
pub(super) struct Unfinished {
    name: String,
    path: PathBuf,
    unfinished: PathBuf,
    file: File,
    pieces: Option<Pieces>,
}

impl Unfinished {
    pub(super) fn create(folder: &Folder, table: &str, name: String) -> Result<Self> {
        folder.make(table)?;
        let path = folder.path(&name);
        let unfinished = path.with_extension(UNFINISHED);
        let file = create(&unfinished).map_err(|error| Error::io("make", &unfinished, error))?;
        Ok(Self { name, path, unfinished, file, pieces: None })
    }

    /// The file has this length now, and may become large.
    pub(super) fn grown_to(&mut self, bytes: u64) -> Result<()> {
        if self.pieces.is_none() && bytes >= PIECE_BYTES {
            self.pieces = Some(Pieces::begin(self.file()?));
        }
        if let Some(pieces) = &mut self.pieces {
            pieces.grown_to(bytes);
        }
        Ok(())
    }

    /// A second handle, for a writer.
    pub(super) fn file(&self) -> Result<File> {
        self.file.try_clone().map_err(|error| Error::io("open", &self.unfinished, error))
    }

    pub(super) fn failed(&self, source: ParquetError) -> Error {
        failed(&self.path, source)
    }

    /// Gives the file its name, and notes it in the manifest, which is not saved yet. Returns its length.
    pub(super) fn finish(mut self, folder: &mut Folder) -> Result<u64> {
        // The kernel tells a failed write once, to whichever sync comes first.
        let pieces = self.pieces.take().map_or(Ok(()), Pieces::finish);
        pieces.and_then(|()| self.file.sync_all()).map_err(|error| Error::io("sync", &self.unfinished, error))?;
        let bytes = self.file.metadata().map_err(|error| Error::io("read", &self.unfinished, error))?.len();
        fs::rename(&self.unfinished, &self.path).map_err(|error| Error::io("name", &self.path, error))?;
        folder.manifest.files.push(self.name);
        folder.manifest.report.files += 1;
        folder.manifest.report.bytes += bytes;
        Ok(bytes)
    }
}

pub(super) fn failed(path: &Path, source: ParquetError) -> Error {
    Error::Parquet { path: path.to_path_buf(), source }
}

/// A small table that is being written.
pub(super) struct Table {
    target: Unfinished,
    writer: ArrowWriter<File>,
}

impl Table {
    /// Begins a table. `empty` is a batch without rows, which says what columns there are.
    pub(super) fn create(folder: &Folder, name: &str, empty: &RecordBatch) -> Result<Self> {
        let target = Unfinished::create(folder, name, part_name(name, 1))?;
        let open = |file| {
            let properties = properties()
                .set_compression(zstd(TABLE_LEVEL)?)
                .set_max_row_group_row_count(Some(GROUP_ROWS))
                .set_max_row_group_bytes(Some(GROUP_BYTES))
                .build();
            ArrowWriter::try_new(file, empty.schema(), Some(properties))
        };
        let writer = open(target.file()?).map_err(|error| target.failed(error))?;
        Ok(Self { target, writer })
    }

    pub(super) fn failed(&self, error: ParquetError) -> Error {
        self.target.failed(error)
    }

    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.writer.write(rows).map_err(|error| self.target.failed(error))
    }

    pub(super) fn finish(self, folder: &mut Folder) -> Result<()> {
        let Self { target, writer } = self;
        writer.close().map_err(|error| target.failed(error))?;
        target.finish(folder).map(drop)
    }
}
