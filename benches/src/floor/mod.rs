//! Bare loops. Of reads: see [`read`]. Of appends: what remains when all that makes a store useful is taken away. No grouping, no checksums,
//! no index, nothing readable; only bytes that reach a file the way the log's do.

pub mod frames;
pub mod group_commit;
pub mod map;
pub mod read;
pub mod segments;
pub mod sync_loop;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of a segment in the long run, as the log has them.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// How a segment's blocks are made before they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preparation {
    /// Blocks are allocated and not written.
    Allocate,
    /// Zeros are written and synced.
    ZeroFill,
}

/// Makes a file of `bytes` whose blocks exist.
///
/// # Errors
/// Those of the file system.
pub fn prepare(path: &Path, bytes: u64, preparation: Preparation) -> io::Result<File> {
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    match preparation {
        Preparation::Allocate => rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?,
        Preparation::ZeroFill => {
            let zeros = vec![0u8; 1 << 20];
            let mut at = 0;
            while at < bytes {
                let part = (bytes - at).min(zeros.len() as u64);
                file.write_all_at(&zeros[..part as usize], at)?;
                at += part;
            }
        }
    }
    file.sync_all()?;
    Ok(file)
}
