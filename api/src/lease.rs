//! Leases: which process logs to a run, and so whether a run with status RUNNING is really still running.
//!
//! A process that creates or continues a run records itself once ([`RunLeased`]): host, id, start and boot. Nothing is
//! renewed and nothing runs in the background: a reader on the same host looks the process up. The system reuses
//! process ids; together with the start of the process and the boot of the machine an id names one process for ever.
//!
//! | status | process of the last lease | the run is |
//! |---|---|---|
//! | not RUNNING | | [`Liveness::Finished`] (SCHEDULED: unknown) |
//! | RUNNING | there | [`Liveness::Alive`] |
//! | RUNNING | on this host, and gone, or of an earlier boot | [`Liveness::Lost`] |
//! | RUNNING | of another host, or not to be seen from here | unknown; [`Liveness::Silent`] when nothing was logged for long |
//! | RUNNING | none was taken (clients of a server) | [`Liveness::Unknown`] |
//!
//! MLflow knows none of this: its answers keep the status RUNNING, and get no tags.

use std::io;

use rustix::io::Errno;

use crate::engine::entity::Lease;
use crate::engine::event::RunLeased;
use crate::{RunId, RunState, RunStatus, Snapshot};

/// After this long without a point a run of another host counts as silent.
pub const SILENT_AFTER_MS: i64 = 10 * 60 * 1_000;

/// A process, identified among all others.
///
/// ```
/// let this = runlode::Process::current().expect("on Linux");
/// assert_eq!(this.pid, std::process::id());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Name of the machine.
    pub host: String,
    /// Process id on that machine.
    pub pid: u32,
    /// Start of the process, in clock ticks since the machine booted.
    pub start: u64,
    /// Id of the machine's boot, followed by `:` and the name space of the process id (containers have their own).
    pub boot_id: String,
}

/// Whether a run is still logged to.
///
/// ```
/// use runlode::{Liveness, RunStatus};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
/// assert!(matches!(run.liveness()?, Liveness::Alive { pid, .. } if pid == std::process::id()));
/// run.end(RunStatus::Failed)?;
/// assert_eq!(run.liveness()?, Liveness::Finished);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Liveness {
    /// The run has ended, and its status says so.
    Finished,
    /// The process that logs to it is running.
    Alive {
        /// Host of the process.
        host: String,
        /// Process id on that host.
        pid: u32,
    },
    /// The process that logged to it is gone, and the run was not ended.
    Lost {
        /// Time of the last point, or of the lease if there is none, Unix ms.
        since_ms: i64,
    },
    /// The process cannot be seen from here, and nothing was logged for long.
    Silent {
        /// Time of the last point, or of the lease if there is none, Unix ms.
        since_ms: i64,
    },
    /// Unknown.
    Unknown,
}

impl Liveness {
    /// Whether no process logs to it any more although its status says so.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// assert!(!run.liveness()?.is_lost(), "this process logs to it");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

/// State and start of a process, from the line of `/proc/PID/stat`. The name is in parentheses and may hold any
/// character, so parsing begins after the last one.
fn read_stat(line: &str) -> Option<(char, u64)> {
    let mut fields = line.get(line.rfind(')')? + 1..)?.split_ascii_whitespace();
    // Fields 3 and 22, counted from 1: proc_pid_stat(5).
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Start of a process of this host; `None` if it is gone, or a zombie.
///
/// # Errors
/// `/proc` cannot be read (for example, no descriptor is left), or has unexpected content.
pub(crate) fn start_of(pid: u32) -> io::Result<Option<u64>> {
    let line = match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(line) => line,
        // The second error: the process ended during the read.
        Err(error) if error.kind() == io::ErrorKind::NotFound || Errno::from_io_error(&error) == Some(Errno::SRCH) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let (state, start) = read_stat(&String::from_utf8_lossy(&line)).ok_or(io::ErrorKind::InvalidData)?;
    Ok((!matches!(state, 'Z' | 'X' | 'x')).then_some(start))
}

fn host_and_boot() -> Option<(String, String)> {
    let read = |path: &str| Some(std::fs::read_to_string(path).ok()?.trim().to_owned()).filter(|text| !text.is_empty());
    let boot = read("/proc/sys/kernel/random/boot_id")?;
    let space = std::fs::read_link("/proc/self/ns/pid").ok()?;
    let space: String = space.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    Some((read("/proc/sys/kernel/hostname")?, format!("{boot}:{space}")))
}

impl Process {
    /// This process; `None` if the system has no `/proc`.
    ///
    /// ```
    /// use runlode::Process;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// let lease = store.snapshot()?.run(run.id())?.expect("made above").lease.clone().expect("it runs");
    /// assert_eq!(Process::current().map(|this| this.pid), Some(lease.pid));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn current() -> Option<Self> {
        let pid = std::process::id();
        let (host, boot_id) = host_and_boot()?;
        Some(Self { host, pid, start: start_of(pid).ok()??, boot_id })
    }

    pub(crate) fn is_of(&self, lease: &Lease) -> bool {
        (&*self.host, self.pid, self.start, &*self.boot_id)
            == (&*lease.host, lease.pid, lease.process_start, &*lease.boot_id)
    }

    /// The event that this process records when it begins to log to a run.
    pub(crate) fn lease(self, run: RunId, at_ms: i64) -> RunLeased {
        let Self { host, pid, start, boot_id } = self;
        RunLeased { run, host, pid, process_start: start, boot_id, at_ms }
    }
}

/// The host and time from which runs are checked.
///
/// ```
/// use runlode::mlflow::{Liveness, Watch, last_point_ms};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
/// # let experiment = store.get_or_create_experiment("digits")?;
/// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
/// let snapshot = store.snapshot()?;
/// let state = snapshot.run(run.id())?.expect("made above");
/// let watch = Watch::here(store.now().0).silent_after_ms(60_000);
/// let found = watch.look(&state, || last_point_ms(&snapshot, run.id()))?;
/// assert!(matches!(found, Liveness::Alive { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Watch {
    here: Option<(String, String)>,
    now_ms: i64,
    silent_after_ms: i64,
}

impl Watch {
    /// A check from this host, at a time (Unix ms).
    ///
    /// ```
    /// use runlode::mlflow::Watch;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// let state = store.snapshot()?.run(run.id())?.expect("made above");
    /// let found = Watch::here(store.now().0).look(&state, || Ok::<_, runlode::Error>(None))?;
    /// assert!(!found.is_lost());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn here(now_ms: i64) -> Self {
        Self { here: host_and_boot(), now_ms, silent_after_ms: SILENT_AFTER_MS }
    }

    /// After how long without a point a run counts as silent if its process cannot be seen, ms.
    ///
    /// ```
    /// let watch = runlode::mlflow::Watch::here(1_700_000_000_000).silent_after_ms(60_000);
    /// # let _ = watch;
    /// ```
    #[must_use]
    pub fn silent_after_ms(mut self, ms: i64) -> Self {
        self.silent_after_ms = ms;
        self
    }

    /// Whether the process of a lease exists; `None`: it cannot be seen from here.
    fn sees(&self, lease: &Lease) -> Option<bool> {
        let (host, boot) = self.here.as_ref()?;
        if *host != lease.host {
            return None;
        }
        let part = |text: &str| text.split_once(':').map(|(boot, space)| (boot.to_owned(), space.to_owned()));
        match (part(boot), part(&lease.boot_id)) {
            // The machine was rebooted since.
            (Some((ours, _)), Some((theirs, _))) if ours != theirs => Some(false),
            (Some((_, ours)), Some((_, theirs))) if ours == theirs => {
                // An error means unknown, not gone.
                start_of(lease.pid).ok().map(|start| start == Some(lease.process_start))
            }
            _ => None,
        }
    }

    /// Whether a run is still logged to. `last_point_ms` returns the time of its last point, if it has one; it is
    /// called only if needed.
    ///
    /// # Errors
    /// Those of `last_point_ms`.
    ///
    /// ```
    /// use runlode::mlflow::{Watch, last_point_ms};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// let snapshot = store.snapshot()?;
    /// let state = snapshot.run(run.id())?.expect("made above");
    /// let found = Watch::here(store.now().0).look(&state, || last_point_ms(&snapshot, run.id()))?;
    /// assert!(!found.is_lost());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn look<E>(
        &self,
        run: &RunState,
        last_point_ms: impl FnOnce() -> Result<Option<i64>, E>,
    ) -> Result<Liveness, E> {
        let lease = match run.status {
            RunStatus::Finished | RunStatus::Failed | RunStatus::Killed => return Ok(Liveness::Finished),
            RunStatus::Scheduled => return Ok(Liveness::Unknown),
            RunStatus::Running => run.lease.as_ref(),
        };
        let Some(lease) = lease else { return Ok(Liveness::Unknown) };
        Ok(match self.sees(lease) {
            Some(true) => Liveness::Alive { host: lease.host.clone(), pid: lease.pid },
            Some(false) => Liveness::Lost { since_ms: last_point_ms()?.unwrap_or(lease.at_ms) },
            None => {
                let since_ms = last_point_ms()?.unwrap_or(lease.at_ms).max(lease.at_ms);
                match self.now_ms.saturating_sub(since_ms) > self.silent_after_ms {
                    true => Liveness::Silent { since_ms },
                    false => Liveness::Unknown,
                }
            }
        })
    }
}

/// Time of the last point of a run, Unix ms.
///
/// # Errors
/// As [`Snapshot::latest`].
///
/// ```
/// use runlode::mlflow::last_point_ms;
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
/// # let experiment = store.get_or_create_experiment("digits")?;
/// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
/// assert_eq!(last_point_ms(&store.snapshot()?, run.id())?, None);
/// run.log_metrics(0, &[("loss", 2.3)])?;
/// assert!(last_point_ms(&store.snapshot()?, run.id())?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn last_point_ms(snapshot: &Snapshot, run: RunId) -> crate::Result<Option<i64>> {
    Ok(snapshot.latest(run)?.iter().map(|(_, stats)| stats.time_max_ms).max())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_after_any_name() {
        let line = "77 (a ) R (b) S 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 12 13";
        assert_eq!(read_stat(line), Some(('S', 987_654)));
        for cut in 0..line.len() {
            let _ = read_stat(&line[..cut]);
        }
        assert_eq!(read_stat("77 (x"), None);
    }
}
