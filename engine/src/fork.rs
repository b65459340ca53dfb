//! What a fork does to the handles of this process: a number tells a child from its parent, and a table lists the
//! descriptors that a child must not keep.
//!
//! A forked child shares the open files of its parent. A lock (`flock`) belongs to the open file, so it stays held
//! while any child has the descriptor open, even after the parent's death. A connection ends for the other side only
//! when the last copy of it is closed. So every such descriptor is a [`Guarded`] one, and the child closes all of them
//! before its `fork` returns. It only closes them: unlocking or shutting down would affect the parent too.
//!
//! ```text
//!   fork:   prepare   takes the gate: no descriptor is between its opening and its place in the table
//!           child     generation + 1, closes what is in the table, opens the gate
//!           parent    opens the gate
//! ```
//!
//! Nothing here allocates or takes a library's lock in the child. Children made by `posix_spawn` and `vfork` run
//! another program at once; their copies are closed by `O_CLOEXEC`, which all descriptors have.
#![expect(
    unsafe_code,
    reason = "pthread_atfork, signal(2) and close(2) of a child's copies are C calls; the proofs stand beside them"
)]

use std::io;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// Most guarded descriptors of a process: locks, listeners, and a connection of each client.
const PLACES: usize = 8_192;
const FREE: i32 = -1;

static GENERATION: AtomicU64 = AtomicU64::new(0);
static TABLE: [AtomicI32; PLACES] = [const { AtomicI32::new(FREE) }; PLACES];
/// True while a thread opens or closes a guarded descriptor, or forks.
static GATE: AtomicBool = AtomicBool::new(false);
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Number of forks between this process and the first one. A handle with another number belongs to a parent. One
/// relaxed load.
#[inline]
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Holds off forks; do nothing slow under it.
struct Gate;

impl Gate {
    fn take() -> Self {
        take_gate();
        Self
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        GATE.store(false, Ordering::Release);
    }
}

fn take_gate() {
    while GATE.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
        std::thread::yield_now();
    }
}

extern "C" fn prepare() {
    take_gate();
}

extern "C" fn in_parent() {
    GATE.store(false, Ordering::Release);
}

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for place in &TABLE {
        let descriptor = place.swap(FREE, Ordering::Relaxed);
        if descriptor != FREE {
            // SAFETY: close(2) touches no memory and may be called in a forked child (it is async-signal-safe). The
            // number is an open descriptor of a `Guarded` value of the parent: it was put into the table, and would
            // have been taken out before its close, under the gate, which the fork held. So it is open here too, and
            // nobody else in this child uses it: the `Guarded` value closes nothing in another generation, and its
            // other uses are refused by handles that compare generations.
            unsafe { libc::close(descriptor) };
        }
    }
    GATE.store(false, Ordering::Release);
}

/// Ignores SIGXFSZ, the signal for a write beyond the limit on the size of files (`ulimit -f`), which would end the
/// process. Such a write then fails as on a full disk. For programs only, since they decide about their signals;
/// libraries need not call this, because the engine itself never writes beyond the limit.
pub fn ignore_size_limit_signal() {
    // SAFETY: SIG_IGN is a disposition, not a handler: no code runs on the signal. A failure leaves the default.
    let _before = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

fn install() -> io::Result<()> {
    if INSTALLED.load(Ordering::Acquire) {
        return Ok(());
    }
    // SAFETY: the three are functions with C's calling convention that live as long as the code of this library, take
    // nothing, and do not unwind (loads, stores, sched_yield and close(2) only).
    let code = unsafe { libc::pthread_atfork(Some(prepare), Some(in_parent), Some(in_child)) };
    if code != 0 {
        return Err(io::Error::from_raw_os_error(code));
    }
    INSTALLED.store(true, Ordering::Release);
    Ok(())
}

/// A descriptor that forked children close. Dropping it closes it. In a child it is closed already and its number may
/// belong to another file, so dropping it there does nothing.
#[derive(Debug)]
pub struct Guarded<T: AsRawFd> {
    value: ManuallyDrop<T>,
    place: usize,
    generation: u64,
}

impl<T: AsRawFd> Guarded<T> {
    /// Opens a descriptor. `open` must not wait for another thread or process, because forks wait meanwhile.
    ///
    /// # Errors
    /// Those of `open`; `EMFILE`-like if the process has too many guarded descriptors.
    pub fn open(open: impl FnOnce() -> io::Result<T>) -> io::Result<Self> {
        let _gate = Gate::take();
        install()?;
        let place = TABLE.iter().position(|place| place.load(Ordering::Relaxed) == FREE);
        let place = place.ok_or_else(|| io::Error::other("too many locks and connections are open"))?;
        let value = open()?;
        TABLE[place].store(value.as_raw_fd(), Ordering::Relaxed);
        Ok(Self { value: ManuallyDrop::new(value), place, generation: generation() })
    }

    /// The same descriptor as another type. `wrap` must keep it open, with the same number.
    pub fn map<U: AsRawFd>(self, wrap: impl FnOnce(T) -> U) -> Guarded<U> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped or used again, so the value has one owner: the one that is made here.
        let value = unsafe { ManuallyDrop::take(&mut this.value) };
        Guarded { value: ManuallyDrop::new(wrap(value)), place: this.place, generation: this.generation }
    }

    /// Whether this process opened it.
    pub fn is_own(&self) -> bool {
        self.generation == generation()
    }
}

impl<T: AsRawFd> Deref for Guarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: AsRawFd> Drop for Guarded<T> {
    fn drop(&mut self) {
        if !self.is_own() {
            return;
        }
        let _gate = Gate::take();
        TABLE[self.place].store(FREE, Ordering::Relaxed);
        // SAFETY: the value is dropped here only, and nobody can use it afterwards: this is its owner's drop.
        unsafe { ManuallyDrop::drop(&mut self.value) };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_another_number_and_none_of_the_descriptors() {
        let guarded = Guarded::open(tempfile::tempfile).unwrap();
        let plain = tempfile::tempfile().unwrap();
        let (fd, plain_fd, before) = (guarded.as_raw_fd(), plain.as_raw_fd(), generation());
        // SAFETY: the child makes system calls only and leaves by _exit: it takes no lock and allocates nothing.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let closed = {
                // SAFETY: asks about numbers; touches no memory.
                unsafe { libc::fcntl(fd, libc::F_GETFD) == -1 && libc::fcntl(plain_fd, libc::F_GETFD) != -1 }
            };
            let good = closed && generation() == before + 1 && !guarded.is_own();
            drop(guarded);
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(i32::from(!good)) };
        }
        assert!(child > 0);
        let mut status = 0;
        // SAFETY: `status` is valid for the one int that is written.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "the child found it otherwise");
        assert!(generation() == before && guarded.is_own() && guarded.metadata().is_ok());
    }

    #[test]
    fn places_are_used_again() {
        for _ in 0..PLACES + 10 {
            drop(Guarded::open(|| std::fs::File::open("/dev/null")).unwrap());
        }
        assert!(Guarded::open(|| std::fs::File::open("/no/such/file")).is_err());
    }
}
