//! The child of a launch: started, watched, and ended with all that it started.
//!
//! Its output goes to this process's own, at once, and a bounded part of it is kept. SIGINT, SIGTERM and SIGHUP to this
//! process go to the child and its descendants; what has not ended after [`GRACE`] is killed.
//!
//! At a terminal the child stays in this process's group, so that Ctrl-C, Ctrl-Z and what is typed reach it as they
//! would without a launcher. Elsewhere it leads a group of its own.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Time for a group to end after a signal.
pub const GRACE: Duration = Duration::from_secs(10);
/// How long output is waited for that other processes of the group may still write after the child's end.
const OUTPUT_WAIT: Duration = Duration::from_millis(500);
/// Kept from the start of the output.
const HEAD_BYTES: usize = 1 << 20;
/// Kept from its end.
const TAIL_BYTES: usize = 1 << 20;

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Exit code, if it was not ended by a signal.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The signal that this process was given meanwhile.
    pub interrupted_by: Option<i32>,
    /// From start to end.
    pub duration_ms: u64,
    /// The largest resident memory of one of its processes. `None` if an earlier child of this process, such as pip, was
    /// larger: the system keeps one maximum for all of them.
    pub peak_memory_bytes: Option<u64>,
    /// What it wrote, head and tail.
    pub output: Vec<u8>,
}

impl Ended {
    /// Whether the child exited with 0, and nobody stopped it.
    pub fn is_success(&self) -> bool {
        self.code == Some(0) && self.interrupted_by.is_none()
    }
}

/// Signals that stop a launch. They are caught from its making on, so that none is lost before the child runs.
#[derive(Debug)]
pub struct Stop {
    signals: Signals,
    seen: Option<i32>,
}

impl Stop {
    /// Begins to catch the signals.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn catch() -> io::Result<Self> {
        Ok(Self { signals: Signals::new([SIGINT, SIGTERM, SIGHUP])?, seen: None })
    }

    /// Catches none: a signal ends this process as usual.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn never() -> io::Result<Self> {
        Ok(Self { signals: Signals::new([0; 0])?, seen: None })
    }

    /// The first one that came since.
    pub fn came(&mut self) -> Option<i32> {
        if self.seen.is_none() {
            self.seen = self.signals.pending().next();
        }
        self.seen
    }
}

/// Runs a command by `bash -c` in a folder, and waits for its end.
///
/// # Errors
/// If bash cannot be started.
pub fn run(line: &str, folder: &Path, variables: &[(String, String)], stop: Stop) -> io::Result<Ended> {
    let mut command = Command::new("bash");
    command.arg("-c").arg(line).current_dir(folder).envs(variables.iter().map(|(name, value)| (name, value)));
    run_program(&mut command, stop)
}

/// Runs a program, and waits for its end.
///
/// # Errors
/// If it cannot be started.
pub fn run_program(command: &mut Command, mut stop: Stop) -> io::Result<Ended> {
    let started = Instant::now();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let peak_before = peak_memory_bytes();
    let (mut child, family) = start(command)?;
    let kept = Arc::new(Mutex::new(Kept::default()));
    let (done, finished) = mpsc::channel();
    let mut open = 0;
    if let Some(pipe) = child.stdout.take() {
        copy_beside(pipe, io::stdout(), &kept, &done)?;
        open += 1;
    }
    if let Some(pipe) = child.stderr.take() {
        copy_beside(pipe, io::stderr(), &kept, &done)?;
        open += 1;
    }
    let handle = stop.signals.handle();
    let has_ended = Arc::new(AtomicBool::new(false));
    let caught = Arc::new(AtomicI32::new(0));
    let watcher = {
        let (has_ended, caught) = (has_ended.clone(), caught.clone());
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in stop.signals.forever() {
                caught.store(signal, Ordering::SeqCst);
                forward(family, signal, &has_ended);
            }
        })?
    };
    let status = child.wait()?;
    has_ended.store(true, Ordering::SeqCst);
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let deadline = Instant::now() + OUTPUT_WAIT;
    for _ in 0..open {
        if finished.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
            break;
        }
    }
    handle.close();
    // A panic there loses a forwarded signal at most, and the child has ended.
    let _panicked = watcher.join();
    let interrupted_by = Some(caught.load(Ordering::SeqCst)).filter(|signal| *signal != 0);
    if interrupted_by.is_some() {
        family.end(Signal::KILL);
    }
    let output = kept.lock().unwrap_or_else(PoisonError::into_inner).bytes();
    use std::os::unix::process::ExitStatusExt;
    Ok(Ended {
        code: status.code(),
        signal: status.signal(),
        interrupted_by,
        duration_ms,
        peak_memory_bytes: peak_memory_bytes().filter(|peak| Some(*peak) > peak_before),
        output,
    })
}

fn start(command: &mut Command) -> io::Result<(Child, Family)> {
    use std::os::unix::process::CommandExt;
    let at_terminal = rustix::termios::isatty(rustix::stdio::stdin());
    if !at_terminal {
        command.process_group(0);
    }
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("a child without a number"))?;
    Ok((child, if at_terminal { Family::Tree(pid) } else { Family::Group(pid) }))
}

/// The processes of a launch.
#[derive(Debug, Clone, Copy)]
enum Family {
    /// The group that the child leads.
    Group(Pid),
    /// The child and its descendants.
    Tree(Pid),
}

impl Family {
    /// Sends a signal to all that are left.
    fn end(self, signal: Signal) {
        // A process that has ended meanwhile needs no signal.
        match self {
            Self::Group(group) => {
                let _gone = kill_process_group(group, signal);
            }
            Self::Tree(child) => {
                for pid in tree(child) {
                    let _gone = kill_process(pid, signal);
                }
            }
        }
    }
}

/// A process and its descendants, from `/proc`.
fn tree(root: Pid) -> Vec<Pid> {
    let parent_of = |name: &str| -> Option<(i32, i32)> {
        let pid = name.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name of the program stands in parentheses and may hold spaces.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    };
    let names = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: Vec<_> = names.filter_map(|entry| parent_of(entry.file_name().to_str()?)).collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        let children = all.iter().filter(|(_, of)| *of == parent.as_raw_nonzero().get());
        found.extend(children.filter_map(|(pid, _)| Pid::from_raw(*pid)));
    }
    found
}

/// Passes a signal on, and kills what does not end.
fn forward(family: Family, signal: i32, has_ended: &AtomicBool) {
    family.end(if signal == SIGINT { Signal::INT } else { Signal::TERM });
    let deadline = Instant::now() + GRACE;
    while !has_ended.load(Ordering::SeqCst) {
        if Instant::now() >= deadline {
            return family.end(Signal::KILL);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The largest resident memory of all children that have ended.
fn peak_memory_bytes() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let kib = getrusage(UsageWho::RUSAGE_CHILDREN).ok()?.max_rss();
    Some(u64::try_from(kib).ok()? * 1024)
}

/// Copies in a thread of its own, and says when the pipe is closed.
fn copy_beside(
    from: impl Read + Send + 'static,
    to: impl Write + Send + 'static,
    kept: &Arc<Mutex<Kept>>,
    done: &mpsc::Sender<()>,
) -> io::Result<()> {
    let (kept, done) = (kept.clone(), done.clone());
    thread::Builder::new().name("output".to_owned()).spawn(move || {
        copy(from, to, &kept);
        // The receiver has gone if this came late.
        let _late = done.send(());
    })?;
    Ok(())
}

fn copy(mut from: impl Read, mut to: impl Write, kept: &Mutex<Kept>) {
    let mut buffer = vec![0; 64 << 10];
    let mut is_shown = true;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                // If nobody reads our output any more, the child goes on.
                is_shown = is_shown && to.write_all(&buffer[..length]).and_then(|()| to.flush()).is_ok();
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..length]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// The first and the last bytes of an output.
#[derive(Default)]
struct Kept {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    left_out_bytes: u64,
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
        self.left_out_bytes += surplus as u64;
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = self.head.clone();
        if self.left_out_bytes > 0 {
            out.extend_from_slice(format!("\n... {} bytes left out ...\n", self.left_out_bytes).as_bytes());
        }
        out.extend(&self.tail);
        out
    }
}
