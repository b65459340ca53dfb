//! The floor of one `Sync` writer: pwrite of 4 KiB and fdatasync, on a file whose blocks hold zeros already.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Preparation, prepare};
use crate::timing::Samples;

const WRITE_BYTES: usize = 4 << 10;

/// The file and where its next write goes.
#[derive(Debug)]
pub struct SyncLoop {
    file: File,
    bytes: u64,
    offset: u64,
}

impl SyncLoop {
    /// Makes the file, zero-filled and synced. Writes begin anew when its end is reached.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(path: &Path, bytes: u64) -> io::Result<Self> {
        Ok(Self { file: prepare(path, bytes, Preparation::ZeroFill)?, bytes, offset: 0 })
    }

    /// Writes and syncs `count` times, one sample each.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn run(&mut self, count: usize, samples: &mut Samples) -> io::Result<()> {
        let block = [0x5a; WRITE_BYTES];
        for _ in 0..count {
            if self.offset + WRITE_BYTES as u64 > self.bytes {
                self.offset = 0;
            }
            samples.time(|| {
                self.file.write_all_at(&block, self.offset)?;
                self.file.sync_data()
            })?;
            self.offset += WRITE_BYTES as u64;
        }
        Ok(())
    }
}
