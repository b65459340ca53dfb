//! Which file a file is: tells it from its copies, and from itself after a power cut.
//!
//! ```text
//!              inode, creation time        mount
//! a copy       other ones
//! a move       the same                    the same
//! a power cut  the same                    another one
//! ```
//!
//! While the mount is the same, the kernel has everything that was written to it, whether it was synced or not.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::retry_on_intr;

use crate::checksum::fnv;

/// `STATX_MNT_ID_UNIQUE` (Linux 6.8): unlike the older number of a mount it is never used again while the machine runs.
const UNIQUE_MOUNT: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// Which file a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    /// Its inode.
    pub inode: u64,
    /// When it was made, Unix ns; 0: the file system does not tell. Inodes are used again.
    pub made_ns: u64,
    /// A number of the mount that it is on, in this run of the machine; 0: unknown.
    pub mount: u64,
}

impl FileIdentity {
    /// That of a name in an open folder; a link is not followed.
    pub(crate) fn of(folder: impl AsFd, name: &str) -> io::Result<Self> {
        let wanted = StatxFlags::INO | StatxFlags::BTIME | StatxFlags::MNT_ID | UNIQUE_MOUNT;
        let about = retry_on_intr(|| statx(&folder, name, AtFlags::SYMLINK_NOFOLLOW, wanted))?;
        let told = |flag: StatxFlags| about.stx_mask & flag.bits() != 0;
        let made = about.stx_btime;
        let made_ns = u64::try_from(made.tv_sec).unwrap_or(0).wrapping_mul(1_000_000_000) + u64::from(made.tv_nsec);
        // An older kernel may give a number again, to a later mount of another device.
        let device = u64::from(about.stx_dev_major) << 32 | u64::from(about.stx_dev_minor);
        let parts = if told(UNIQUE_MOUNT) {
            Some([1, about.stx_mnt_id, 0])
        } else if told(StatxFlags::MNT_ID) {
            Some([2, about.stx_mnt_id, device])
        } else {
            None
        };
        let boot = fs::read("/proc/sys/kernel/random/boot_id").ok();
        let mount = parts.zip(boot).map_or(0, |(parts, boot)| {
            let bytes = parts.into_iter().flat_map(u64::to_le_bytes);
            fnv(bytes.chain(boot)).max(1)
        });
        Ok(Self { inode: about.stx_ino, made_ns: if told(StatxFlags::BTIME) { made_ns } else { 0 }, mount })
    }
}
