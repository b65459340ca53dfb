//! The floor of many `Sync` writers: frames queue; one of the waiting threads writes all of them and syncs once.
//!
//! No timer. The leader hands the lead to the first in the queue before it wakes those it served.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::Thread;

use parking_lot::Mutex;

use super::{Preparation, SEGMENT_BYTES, prepare};

const WAITING: u8 = 0;
const LEAD: u8 = 1;
const DONE: u8 = 2;
const FAILED: u8 = 3;
/// Bytes of one pwrite, at most.
const WRITE_BYTES_MAX: usize = 256 << 10;

#[derive(Debug)]
struct Waiter {
    state: AtomicU8,
    frame: Mutex<Vec<u8>>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Arc<Waiter>>,
    led: bool,
}

#[derive(Debug)]
struct Tail {
    file: Arc<File>,
    offset: u64,
    /// Prepared ahead, the next one last.
    ready: Vec<File>,
    buffer: Vec<u8>,
    dir: PathBuf,
    number: u64,
}

/// Frames without meaning, synced in groups.
#[derive(Debug)]
pub struct BareGroupCommit {
    queue: Mutex<Queue>,
    tail: Mutex<Tail>,
}

impl BareGroupCommit {
    /// Makes as many segments as `bytes` need, before anything is timed.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(dir: &Path, bytes: u64, preparation: Preparation) -> io::Result<Self> {
        let count = bytes.div_ceil(SEGMENT_BYTES).max(1);
        let mut ready = (0..count)
            .rev()
            .map(|number| prepare(&dir.join(format!("{number:08}.seg")), SEGMENT_BYTES, preparation))
            .collect::<io::Result<Vec<_>>>()?;
        let file = Arc::new(ready.pop().ok_or_else(|| io::Error::other("no segment"))?);
        let tail = Tail { file, offset: 0, ready, buffer: Vec::new(), dir: dir.into(), number: count };
        Ok(Self { queue: Mutex::default(), tail: Mutex::new(tail) })
    }

    /// Returns when the frame is on the disk. The frame's bytes are copied, as a caller keeps its own.
    ///
    /// # Errors
    /// Those of the file system; of a follower only that its group failed.
    pub fn append(&self, frame: &[u8]) -> io::Result<()> {
        let waiter = Arc::new(Waiter {
            state: AtomicU8::new(WAITING),
            frame: Mutex::new(frame.to_vec()),
            thread: std::thread::current(),
        });
        let lead = {
            let mut queue = self.queue.lock();
            queue.waiting.push_back(waiter.clone());
            !std::mem::replace(&mut queue.led, true)
        };
        if !lead {
            loop {
                match waiter.state.load(Ordering::Acquire) {
                    WAITING => std::thread::park(),
                    LEAD => break,
                    DONE => return Ok(()),
                    _ => return Err(io::Error::other("the group's write failed")),
                }
            }
        }
        self.lead(&waiter)
    }

    fn lead(&self, own: &Arc<Waiter>) -> io::Result<()> {
        let group = std::mem::take(&mut self.queue.lock().waiting);
        let result = self.write(&group);
        {
            let mut queue = self.queue.lock();
            match queue.waiting.front() {
                Some(next) => wake(next, LEAD),
                None => queue.led = false,
            }
        }
        for waiter in &group {
            if !Arc::ptr_eq(waiter, own) {
                wake(waiter, if result.is_ok() { DONE } else { FAILED });
            }
        }
        result
    }

    fn write(&self, group: &VecDeque<Arc<Waiter>>) -> io::Result<()> {
        let file = {
            let mut tail = self.tail.lock();
            for waiter in group {
                let frame = std::mem::take(&mut *waiter.frame.lock());
                if tail.offset + (tail.buffer.len() + frame.len()) as u64 > SEGMENT_BYTES {
                    tail.roll()?;
                }
                tail.buffer.extend_from_slice(&frame);
                if tail.buffer.len() >= WRITE_BYTES_MAX {
                    tail.flush()?;
                }
            }
            tail.flush()?;
            tail.file.clone()
        };
        file.sync_data()
    }
}

impl Tail {
    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn roll(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync_data()?;
        let next = match self.ready.pop() {
            Some(next) => next,
            None => {
                self.number += 1;
                prepare(&self.dir.join(format!("{:08}.seg", self.number)), SEGMENT_BYTES, Preparation::Allocate)?
            }
        };
        self.file = Arc::new(next);
        self.offset = 0;
        Ok(())
    }
}

fn wake(waiter: &Waiter, state: u8) {
    // The waiter may be gone as soon as it sees its state: the handle is taken before.
    let thread = waiter.thread.clone();
    waiter.state.store(state, Ordering::Release);
    thread.unpark();
}
