//! The floor of `Buffered`: frames copied one behind the other into prepared, mapped segments.
//!
//! As the log does it: the next segment is prepared in the background when the open one is half full; a background
//! fdatasync starts after 100 ms or 8 MiB, older segments first; an append waits while 64 MiB are not synced.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::map::Mapped;
use super::{Preparation, SEGMENT_BYTES, prepare};

const SYNC_AT_BYTES: u64 = 8 << 20;
const SYNC_AFTER: Duration = Duration::from_millis(100);
const WAIT_AT_BYTES: u64 = 64 << 20;

#[derive(Debug)]
struct Segment {
    file: File,
    map: Mapped,
}

#[derive(Debug, Default)]
struct State {
    written: u64,
    synced: u64,
    /// Segments that hold bytes which are not synced, oldest first; the last one is open.
    unsynced: Vec<Arc<Segment>>,
    next: Option<Arc<Segment>>,
    next_wanted: bool,
    closed: bool,
    failed: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// A background thread has something to do.
    work: Condvar,
    /// A background thread has done something.
    done: Condvar,
}

/// A log of frames without meaning.
#[derive(Debug)]
pub struct BareSegments {
    shared: Arc<Shared>,
    open: Arc<Segment>,
    offset: u64,
    asked: bool,
    unsynced_bytes: u64,
    threads: Vec<JoinHandle<()>>,
}

fn new_segment(dir: &Path, number: u64, preparation: Preparation) -> io::Result<Arc<Segment>> {
    let file = prepare(&dir.join(format!("{number:08}.seg")), SEGMENT_BYTES, preparation)?;
    let map = Mapped::new(&file)?;
    Ok(Arc::new(Segment { file, map }))
}

impl BareSegments {
    /// Makes the first segment in an empty folder and starts the background.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(dir: &Path, first: Preparation, later: Preparation) -> io::Result<Self> {
        let open = new_segment(dir, 0, first)?;
        let shared = Arc::new(Shared::default());
        shared.state.lock().unsynced.push(open.clone());
        let (for_sync, for_preparer) = (shared.clone(), shared.clone());
        let dir: PathBuf = dir.into();
        let threads = vec![
            std::thread::spawn(move || for_sync.sync_all_along()),
            std::thread::spawn(move || for_preparer.prepare_all_along(&dir, later)),
        ];
        Ok(Self { shared, open, offset: 0, asked: false, unsynced_bytes: 0, threads })
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// Those of the background, as text.
    #[inline]
    pub fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        let bytes = frame.len() as u64;
        if self.offset + bytes > SEGMENT_BYTES {
            self.roll()?;
        }
        self.open.map.store_at(self.offset as usize, frame);
        self.offset += bytes;
        self.unsynced_bytes += bytes;
        // The shared state is touched once in 256 KiB: the floor should cost nothing but the copy.
        if self.unsynced_bytes >= 256 << 10 {
            self.account()?;
        }
        Ok(())
    }

    #[cold]
    fn account(&mut self) -> io::Result<()> {
        let shared = &*self.shared;
        let mut state = shared.state.lock();
        state.written += std::mem::take(&mut self.unsynced_bytes);
        if !self.asked && self.offset > SEGMENT_BYTES / 2 {
            self.asked = true;
            state.next_wanted = true;
            shared.work.notify_all();
        }
        if state.written - state.synced >= SYNC_AT_BYTES {
            shared.work.notify_all();
        }
        while state.written - state.synced >= WAIT_AT_BYTES && state.failed.is_none() {
            shared.done.wait(&mut state);
        }
        state.failed.clone().map_or(Ok(()), |why| Err(io::Error::other(why)))
    }

    #[cold]
    fn roll(&mut self) -> io::Result<()> {
        self.account()?;
        let shared = &*self.shared;
        let mut state = shared.state.lock();
        loop {
            if let Some(why) = &state.failed {
                return Err(io::Error::other(why.clone()));
            }
            match state.next.take() {
                Some(next) => {
                    state.unsynced.push(next.clone());
                    self.open = next;
                    self.offset = 0;
                    self.asked = false;
                    return Ok(());
                }
                None => {
                    state.next_wanted = true;
                    shared.work.notify_all();
                    shared.done.wait(&mut state);
                }
            }
        }
    }

    /// Waits until all is synced and stops.
    ///
    /// # Errors
    /// Those of the background, as text.
    pub fn close(mut self) -> io::Result<()> {
        self.account()?;
        self.shared.state.lock().closed = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| io::Error::other("a background thread of the floor panicked"))?;
        }
        let failed = self.shared.state.lock().failed.clone();
        failed.map_or(Ok(()), |why| Err(io::Error::other(why)))
    }
}

impl Shared {
    fn fail(&self, error: &io::Error) {
        let mut state = self.state.lock();
        state.failed = Some(error.to_string());
        state.closed = true;
        self.work.notify_all();
        self.done.notify_all();
    }

    fn sync_all_along(&self) {
        loop {
            let (files, up_to, closed) = {
                let mut state = self.state.lock();
                if state.written - state.synced < SYNC_AT_BYTES && !state.closed {
                    self.work.wait_for(&mut state, SYNC_AFTER);
                }
                (state.unsynced.clone(), state.written, state.closed)
            };
            if up_to > self.state.lock().synced {
                if let Some(error) = files.iter().find_map(|segment| segment.file.sync_data().err()) {
                    return self.fail(&error);
                }
                let mut state = self.state.lock();
                state.synced = up_to;
                // All but the open one are done with.
                state.unsynced.drain(..files.len() - 1);
                self.done.notify_all();
            }
            if closed {
                return;
            }
        }
    }

    fn prepare_all_along(&self, dir: &Path, preparation: Preparation) {
        for number in 1.. {
            {
                let mut state = self.state.lock();
                while !(state.next_wanted && state.next.is_none()) {
                    if state.closed {
                        return;
                    }
                    self.work.wait(&mut state);
                }
            }
            match new_segment(dir, number, preparation) {
                Ok(segment) => {
                    let mut state = self.state.lock();
                    state.next = Some(segment);
                    state.next_wanted = false;
                    self.done.notify_all();
                }
                Err(error) => return self.fail(&error),
            }
        }
    }
}
