//! A simulated disk: a seed decides what survives a crash, and tests decide what fails.
//!
//! The fault model. Only what POSIX promises is durable: bytes after a sync of their file, names after a sync of their
//! folder. Unsynced operations have no order.
//! - **Process crash** ([`SimDisk::crash_at`], [`SimDisk::after_process_crash`]): from some operation on every call
//!   fails. A write or a store into a map may have happened up to any byte. The next process sees everything that
//!   happened before, and pending operations are still pending.
//! - **Power cut** ([`SimDisk::after_power_cut`]): the image is everything durable and a choice of the pending
//!   operations, by [`Keep`]. Each change of a name happened or not; a rename happened as a whole or not.
//! - **Failed calls** ([`SimDisk::inject`]): by kind, path and count. A sync may lose its data for good while later
//!   ones succeed. **Full disk** ([`SimDisk::set_space`]): by pages of 4,096 bytes, freed by cutting and removing. A
//!   store into a hole of a mapped file is then a panic, as it is SIGBUS on a real disk.
//! - **Short reads and writes, interrupted calls** ([`SimDisk::set_rough`]).
//! - **Rot** at rest: [`SimDisk::flip_bit`], [`SimDisk::zero_sector`], [`SimDisk::stale_sector`],
//!   [`SimDisk::copy_sector`].
//! - **Lies** ([`SimDisk::set_lie`]): syncs succeed and do nothing. A checker that still passes checks nothing.
//!
//! Operations are the calls that may change what a crash leaves ([`Call::OPERATIONS`]), counted from 1. A [`Recording`]
//! of a run gives the disk as it was when each of them crashed, without running the workload again.
//!
//! Determinism: the same seed and the same calls give the same bytes and the same [`SimDisk::trace`].

mod content;
mod fault;
mod handle;
mod rng;
mod state;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

pub use fault::{Call, Failure, Fault};
pub use rng::{SimRng, mix};
pub use state::Keep;

use crate::storage::path_names;
use content::PAGE_BYTES;
use state::{Change, Effect, Node, Place, ROOT, State};

/// Bytes of a sector, the unit of rot.
pub const SECTOR_BYTES: u64 = 512;

/// A simulated disk. Cloning gives another handle to the same one.
#[derive(Debug, Clone)]
pub struct SimDisk {
    core: Arc<Mutex<Core>>,
}

#[derive(Debug)]
struct Core {
    state: State,
    rng: SimRng,
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    faults: Vec<Fault>,
    nature: Nature,
    lie: bool,
    trace: u64,
    /// Numbers of the files that are locked.
    locked: BTreeSet<usize>,
    recording: Option<Recording>,
}

/// Properties of a disk, through all its crashes.
#[derive(Debug, Clone, Copy)]
struct Nature {
    rough_per_mille: u64,
    space_bytes: Option<u64>,
    maps: bool,
    /// Changes with each power cut.
    mount: u64,
}

/// The error of every call after a crash.
#[derive(Debug, thiserror::Error)]
#[error("the simulated machine has crashed")]
pub struct SimulatedCrash;

/// Whether an error is the simulated crash itself, not a fault.
pub fn is_simulated_crash(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|source| source.is::<SimulatedCrash>())
}

fn crash_error() -> io::Error {
    io::Error::other(SimulatedCrash)
}

/// What a power cut keeps of the pending operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerCut {
    /// The kind of choice.
    pub keep: Keep,
    /// Makes the choices within the kind.
    pub seed: u64,
}

impl PowerCut {
    /// A kind chosen by the seed.
    pub fn seeded(seed: u64) -> Self {
        Self { keep: Keep::ALL[(mix(seed ^ 0x5eed) % Keep::ALL.len() as u64) as usize], seed }
    }

    /// One cut of each kind.
    pub fn one_of_each(seed: u64) -> [Self; Keep::ALL.len()] {
        Keep::ALL.map(|keep| Self { keep, seed })
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        let nature = Nature { rough_per_mille: 0, space_bytes: None, maps: true, mount: 1 };
        Self::with_state(State::default(), seed, nature)
    }

    fn with_state(state: State, seed: u64, nature: Nature) -> Self {
        let core = Core {
            state,
            rng: SimRng::new(seed),
            operations: 0,
            crash_at: None,
            crashed: false,
            faults: Vec::new(),
            nature,
            lie: false,
            trace: 0,
            locked: BTreeSet::new(),
            recording: None,
        };
        Self { core: Arc::new(Mutex::new(core)) }
    }

    /// The disk as the next process finds it. This one does not change, so the call can also fork a running disk; it is
    /// cheap.
    pub fn after_process_crash(&self) -> Self {
        let core = self.core.lock();
        Self::with_state(core.state.clone(), core.rng.clone().next(), core.nature)
    }

    /// The disk after a power cut now. This one does not change.
    pub fn after_power_cut(&self, cut: PowerCut) -> Self {
        let mut rng = SimRng::new(mix(cut.seed));
        let core = self.core.lock();
        let state = core.state.after_power_cut(cut.keep, &mut rng);
        let nature = Nature { mount: core.nature.mount + 1, ..core.nature };
        Self::with_state(state, rng.next(), nature)
    }

    /// Makes operation number `number` (from 1) and every later call fail.
    pub fn crash_at(&self, number: u64) {
        self.core.lock().crash_at = Some(number);
    }

    /// Every call fails from now on.
    pub fn crash_now(&self) {
        self.core.lock().crashed = true;
    }

    /// Whether the crash has happened.
    pub fn crashed(&self) -> bool {
        self.core.lock().crashed
    }

    /// Operations so far since the last crash.
    pub fn operations(&self) -> u64 {
        self.core.lock().operations
    }

    /// A hash of all calls since the last crash.
    pub fn trace(&self) -> u64 {
        self.core.lock().trace
    }

    /// Orders a fault. Several may wait; a call gets the first one that matches.
    pub fn inject(&self, fault: Fault) {
        self.core.lock().faults.push(fault);
    }

    /// Takes all faults back.
    pub fn clear_faults(&self) {
        self.core.lock().faults.clear();
    }

    /// Limits the bytes of all files, in whole pages of 4,096; `None`: no limit.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.core.lock().nature.space_bytes = bytes;
    }

    /// Bytes that files take.
    pub fn used_bytes(&self) -> u64 {
        self.core.lock().state.pages_used() * PAGE_BYTES as u64
    }

    /// Makes this many of 1,000 reads and writes short, and interrupts as many.
    pub fn set_rough(&self, per_mille: u64) {
        self.core.lock().nature.rough_per_mille = per_mille;
    }

    /// Whether syncs only pretend.
    pub fn set_lie(&self, lie: bool) {
        self.core.lock().lie = lie;
    }

    /// Whether files can be mapped. Default: yes.
    pub fn set_maps(&self, maps: bool) {
        self.core.lock().nature.maps = maps;
    }

    /// Mounts it again, as after a power cut that took nothing.
    pub fn mount_again(&self) {
        self.core.lock().nature.mount += 1;
    }

    /// All bytes of a file as reads show them.
    pub fn file_bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        let core = self.core.lock();
        Ok(core.state.files[core.file(path)?].visible.to_vec())
    }

    /// Flips one bit (0 to 7) of a byte at rest: both for readers now and in the durable image.
    pub fn flip_bit(&self, path: &str, offset: u64, bit: u8) -> io::Result<()> {
        self.rot(path, offset, 1, |bytes, _| bytes[0] ^= 1 << (bit & 7))
    }

    /// Zeros the sector that holds `offset`, at rest.
    pub fn zero_sector(&self, path: &str, offset: u64) -> io::Result<()> {
        self.rot(path, offset / SECTOR_BYTES * SECTOR_BYTES, SECTOR_BYTES as usize, |bytes, _| bytes.fill(0))
    }

    /// Restores the sector that holds `offset` to before the last sync that changed its file: a lost write.
    pub fn stale_sector(&self, path: &str, offset: u64) -> io::Result<()> {
        let start = offset / SECTOR_BYTES * SECTOR_BYTES;
        self.rot(path, start, SECTOR_BYTES as usize, |bytes, inode| {
            bytes.fill(0);
            inode.stale.read(start, bytes);
        })
    }

    /// Copies the sector that holds `from` over the one that holds `to`: a misplaced write.
    pub fn copy_sector(&self, path: &str, from: u64, to: u64) -> io::Result<()> {
        self.rot(path, to / SECTOR_BYTES * SECTOR_BYTES, SECTOR_BYTES as usize, |bytes, inode| {
            inode.visible.read(from / SECTOR_BYTES * SECTOR_BYTES, bytes);
        })
    }

    /// Overwrites bytes at rest: any other damage.
    pub fn overwrite_at_rest(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.rot(path, offset, bytes.len(), |target, _| target.copy_from_slice(&bytes[..target.len()]))
    }

    /// Changes bytes within the file, at rest.
    fn rot(&self, path: &str, offset: u64, count: usize, change: impl Fn(&mut [u8], &state::Inode)) -> io::Result<()> {
        let mut core = self.core.lock();
        let file = core.file(path)?;
        let inode = core.state.files[file].clone();
        let mut changed = (*inode).clone();
        for content in [&mut changed.visible, &mut changed.durable] {
            let mut bytes = vec![0; count];
            let there = content.read(offset, &mut bytes);
            change(&mut bytes[..there], &inode);
            content.write(offset, &bytes[..there]);
        }
        core.state.files[file] = Arc::new(changed);
        Ok(())
    }

    /// Starts to record; forgets what was recorded before.
    pub fn record(&self) {
        let mut core = self.core.lock();
        let nature = core.nature;
        core.recording =
            Some(Recording { first: core.operations + 1, base: core.state.clone(), effects: Vec::new(), nature });
    }

    /// What was recorded since [`SimDisk::record`]; recording ends.
    pub fn recording(&self) -> Option<Recording> {
        self.core.lock().recording.take()
    }
}

/// The operations of a run, from which the disk at each of them can be made.
#[derive(Debug, Clone)]
pub struct Recording {
    first: u64,
    base: State,
    effects: Vec<Effect>,
    nature: Nature,
}

impl Recording {
    /// The number of the last operation.
    pub fn last(&self) -> u64 {
        self.first + self.effects.len() as u64 - 1
    }

    /// The disk as it was when each operation crashed (a write: up to a byte chosen by the seed), with the operation's
    /// number; at last the disk after all of them. Get the next process's view from each.
    pub fn crashes(&self, seed: u64) -> impl Iterator<Item = (u64, SimDisk)> + '_ {
        let mut state = self.base.clone();
        (self.first..=self.last() + 1).map(move |number| {
            let index = (number - self.first) as usize;
            if let Some(before) = index.checked_sub(1) {
                state.apply(&self.effects[before]);
            }
            let mut rng = SimRng::new(mix(seed ^ mix(number)));
            let mut crashed = state.clone();
            if let Some(effect) = self.effects.get(index) {
                crashed.apply(&cut(effect, &mut rng));
            }
            let disk = SimDisk::with_state(crashed, rng.next(), self.nature);
            disk.crash_now();
            (number, disk)
        })
    }
}

/// The effect of an operation in which the process died.
fn cut(effect: &Effect, rng: &mut SimRng) -> Effect {
    match effect {
        Effect::Bytes { file, change: Change::Write { offset, data } } => {
            let count = rng.below(data.len() as u64 + 1) as usize;
            let data = data[..count].into();
            Effect::Bytes { file: *file, change: Change::Write { offset: *offset, data } }
        }
        _ => Effect::Nothing,
    }
}

impl Core {
    /// The folder and last name of a path, whether it exists or not.
    fn place(&self, path: &str) -> io::Result<Place> {
        let names = path_names(path)?;
        let Some((last, parents)) = names.split_last() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file needs a name"));
        };
        let mut dir = ROOT;
        for name in parents {
            dir = match self.state.dirs[dir].visible.get(*name) {
                Some(Node::Dir(dir)) => *dir,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok((dir, Arc::from(*last)))
    }

    fn node(&self, place: &Place) -> Option<Node> {
        self.state.dirs[place.0].visible.get(&place.1).copied()
    }

    fn file(&self, path: &str) -> io::Result<usize> {
        match self.node(&self.place(path)?) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn dir(&self, path: &str) -> io::Result<usize> {
        if path_names(path)?.is_empty() {
            return Ok(ROOT);
        }
        match self.node(&self.place(path)?) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn trace(&mut self, call: Call, path: &str, numbers: [u64; 2]) {
        let mut hash = mix(self.trace ^ call as u64);
        hash = mix(hash ^ u64::from(crc32fast::hash(path.as_bytes())));
        for number in numbers {
            hash = mix(hash ^ number);
        }
        self.trace = hash;
    }

    /// Counts a call and lets it crash or fail. `Ok(Some)`: it fails, but has an effect.
    fn begin(&mut self, call: Call, path: &str, numbers: [u64; 2]) -> io::Result<Option<Failure>> {
        if self.crashed {
            return Err(crash_error());
        }
        self.trace(call, path, numbers);
        if call.is_operation() {
            self.operations += 1;
            if self.crash_at.is_some_and(|number| self.operations >= number) {
                self.crashed = true;
                return Err(crash_error());
            }
        }
        if call == Call::Store {
            return Ok(None);
        }
        let failure = self.faults.iter_mut().find_map(|fault| fault.strike(call, path));
        match failure {
            Some(Failure::LostSync { .. } | Failure::WrongBit) => Ok(failure),
            Some(failure) => {
                self.note(call, &Effect::Nothing);
                Err(failure.error())
            }
            None => Ok(None),
        }
    }

    /// Records an operation's effect.
    fn note(&mut self, call: Call, effect: &Effect) {
        if call.is_operation()
            && let Some(recording) = &mut self.recording
        {
            recording.effects.push(effect.clone());
        }
    }

    fn finish(&mut self, call: Call, effect: &Effect) {
        self.state.apply(effect);
        self.note(call, effect);
    }

    /// Ends an operation that the disk refuses.
    fn refuse<T>(&mut self, call: Call, error: io::Error) -> io::Result<T> {
        self.note(call, &Effect::Nothing);
        Err(error)
    }

    fn free_pages(&self) -> u64 {
        match self.nature.space_bytes {
            Some(bytes) => (bytes / PAGE_BYTES as u64).saturating_sub(self.state.pages_used()),
            None => u64::MAX,
        }
    }

    /// A short count, and sometimes an interruption, if switched on.
    fn roughen(&mut self, count: usize) -> io::Result<usize> {
        if self.nature.rough_per_mille > 0 && count > 1 {
            if self.rng.per_mille(self.nature.rough_per_mille) {
                return Err(Failure::Interrupted.error());
            }
            if self.rng.per_mille(self.nature.rough_per_mille) {
                return Ok(1 + self.rng.below(count as u64 - 1) as usize);
            }
        }
        Ok(count)
    }

    fn change(&mut self, call: Call, file: usize, path: &str, change: Change) -> io::Result<()> {
        let numbers = match &change {
            Change::Write { offset, data } => [*offset, u64::from(crc32fast::hash(data)) << 32 | data.len() as u64],
            Change::SetLen(len) | Change::Allocate(len) => [*len, 0],
        };
        let effect = Effect::Bytes { file, change };
        match self.begin(call, path, numbers) {
            Ok(_) => {
                self.finish(call, &effect);
                Ok(())
            }
            Err(error) => {
                // This very call crashed, if it was counted last.
                if is_simulated_crash(&error) && self.crash_at == Some(self.operations) {
                    let torn = cut(&effect, &mut self.rng);
                    self.state.apply(&torn);
                    self.crash_at = None;
                }
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests;
