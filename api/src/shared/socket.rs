//! The socket of a store: `STORE/sock`, however long the path of the store is.
//!
//! - A new holder binds a name of its own, sets its mode, and renames it over `sock`: this replaces the leftover of a
//!   dead holder in one step.
//! - The mode is the folder's, without execution: a user who may write to the folder may be a client. The peer's user
//!   must be ours, the folder's owner or root, unless the folder is for a group. If root holds a user's store, the
//!   socket belongs to that user.
//! - A path that is too long for a socket's address is reached through the folder's descriptor.
//! - Descriptors are guarded: a forked child has none of them.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::engine::fork::Guarded;
use crate::engine::storage::owner::Belonging;

const NAME: &str = "sock";
/// Longest path in a socket's address, on Linux.
const PATH_BYTES_MAX: usize = 107;
/// Requested size of the socket's buffers.
const BUFFER_BYTES: usize = 4 << 20;
/// Maximum number of connections waiting to be accepted.
const BACKLOG: i32 = 1024;

/// A connection between two processes of a store.
pub(super) type Connection = Guarded<UnixStream>;

/// The address of a file in a folder; the second value must live while the address is used.
fn address(folder: &Path, name: &str) -> io::Result<(SocketAddrUnix, Option<File>)> {
    let path = folder.join(name);
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return Ok((SocketAddrUnix::new(path)?, None));
    }
    let folder = File::open(folder)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()));
    Ok((SocketAddrUnix::new(path)?, Some(folder)))
}

fn socket() -> io::Result<Guarded<OwnedFd>> {
    Guarded::open(|| Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?))
}

/// Asks for large buffers; the system gives what it allows.
fn enlarge(socket: &OwnedFd) {
    // Small buffers are slower, but work.
    let _ = sockopt::set_socket_send_buffer_size(socket, BUFFER_BYTES);
}

/// Connects to the holder of a store. Waits at most `timeout` for a place in its queue; reads and writes on the
/// connection have the same limit.
pub(super) fn connect(folder: &Path, timeout: Duration) -> io::Result<Connection> {
    let (address, _folder) = address(folder, NAME)?;
    let socket = socket()?;
    // Wait for a full queue as long as for a write.
    sockopt::set_socket_timeout(&*socket, sockopt::Timeout::Send, Some(timeout))?;
    sockopt::set_socket_timeout(&*socket, sockopt::Timeout::Recv, Some(timeout))?;
    enlarge(&socket);
    rustix::net::connect(&*socket, &address)?;
    Ok(socket.map(UnixStream::from))
}

/// A socket that clients connect to.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Guarded<OwnedFd>,
    folder: PathBuf,
    /// Whether the folder's mode admits users other than the owner.
    for_group: bool,
    /// User id of the folder's owner.
    owner: u32,
    inode: u64,
}

impl Listener {
    /// Binds `sock` for a store whose lock this process holds.
    pub(super) fn bind(folder: &Path) -> io::Result<Self> {
        let own = format!("{NAME}.{}", std::process::id());
        let (address, _folder) = address(folder, &own)?;
        let socket = socket()?;
        let path = folder.join(&own);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let at = File::open(folder)?;
        let belonging = Belonging::of(&at)?;
        rustix::net::bind(&*socket, &address)?;
        let settled = belonging.settle_socket(&at, &own).inspect_err(|_| {
            // The next holder with this pid replaces a leftover.
            let _ = fs::remove_file(&path);
        });
        let for_group = settled?;
        rustix::net::listen(&*socket, BACKLOG)?;
        let inode = fs::symlink_metadata(&path)?.ino();
        fs::rename(&path, folder.join(NAME))?;
        // A client that leaves before it is accepted must not block this thread.
        rustix::io::ioctl_fionbio(&*socket, true)?;
        Ok(Self { socket, folder: folder.to_path_buf(), for_group, owner: belonging.uid(), inode })
    }

    /// The next connection. `None`: the listener was closed.
    pub(super) fn accept(&self) -> io::Result<Option<Connection>> {
        loop {
            let mut polled = [PollFd::new(&*self.socket, PollFlags::IN)];
            match poll(&mut polled, None) {
                // Closed: accepting would only say that no client is waiting.
                Ok(_) if polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) => {
                    return Ok(None);
                }
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let accepted = Guarded::open(|| Ok(rustix::net::accept_with(&*self.socket, SocketFlags::CLOEXEC)?));
            let connection = match accepted {
                Ok(connection) => connection,
                Err(error) => match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                    Some(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => {
                        continue;
                    }
                    _ => return Err(error),
                },
            };
            if self.is_welcome(&connection)? {
                enlarge(&connection);
                return Ok(Some(connection.map(UnixStream::from)));
            }
        }
    }

    fn is_welcome(&self, connection: &OwnedFd) -> io::Result<bool> {
        let peer = sockopt::socket_peercred(connection)?.uid;
        let is_owner = peer.as_raw() == self.owner || peer == rustix::process::geteuid();
        Ok(self.for_group || peer.is_root() || is_owner)
    }

    /// Removes the name and ends [`Listener::accept`]. Call it while the lock is still held.
    pub(super) fn close(&self) {
        let path = self.folder.join(NAME);
        // Do not remove another process's socket, if the lock failed to exclude it. The next holder replaces a
        // leftover.
        if fs::symlink_metadata(&path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&path);
        }
        let _ = rustix::net::shutdown(&*self.socket, Shutdown::Both);
    }
}
