//! Calls without the GIL, and daemon threads at the end of the interpreter.
//!
//! Before 3.14, CPython ends a thread that asks for the GIL once the interpreter is being finalized: it unwinds the
//! thread's stack, and an unwound frame of Rust aborts the process. A script whose daemon thread logs or follows a store
//! would then exit with 134 although nothing failed. So such threads must not ask any more:
//!
//! ```text
//!   detached:  call, RETURNING += 1, is LEAVING set? --no--> take the GIL, RETURNING -= 1
//!                                          |
//!                                         yes: wait here; the process ends meanwhile
//!   at exit:   set LEAVING, wait without the GIL until RETURNING is 0, finalize
//! ```
//!
//! A thread that runs code of Python below a call of ours (constructors of MLflow's entities) asks for the GIL there, where
//! nothing of ours can stop it. So while there are other threads, the exit gives them [`GRACE`] to come to their next call.
//!
//! Either a thread sees LEAVING, or the exit sees it in RETURNING and lets it have the GIL first. The thread that exits
//! goes on: handlers that run after this one may use stores. One of them may also wait for a daemon thread: so nobody
//! waits here longer than [`WAIT_MAX`], and then nobody waits any more.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// Threads that are about to take the GIL again.
static RETURNING: AtomicUsize = AtomicUsize::new(0);
/// Whether the interpreter is ending.
static LEAVING: AtomicBool = AtomicBool::new(false);
/// The thread that ends it.
static LEAVER: OnceLock<ThreadId> = OnceLock::new();

/// How long a thread waits for the end of the process.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How long the exit waits for threads that take the GIL.
const RETURN_MAX: Duration = Duration::from_secs(2);
/// How long the exit waits for threads below calls that run code of Python.
const GRACE: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(1);

/// Calls without the GIL.
pub(crate) fn detached<T: Send>(py: Python<'_>, call: impl FnOnce() -> T + Send) -> T {
    let answer = py.detach(|| {
        let answer = call();
        RETURNING.fetch_add(1, SeqCst);
        if LEAVING.load(SeqCst) && LEAVER.get() != Some(&thread::current().id()) {
            wait_for_the_end();
        }
        answer
    });
    RETURNING.fetch_sub(1, SeqCst);
    answer
}

#[cold]
fn wait_for_the_end() {
    RETURNING.fetch_sub(1, SeqCst);
    let began = Instant::now();
    while LEAVING.load(SeqCst) {
        if began.elapsed() > WAIT_MAX {
            // The process does not end: somebody waits for this thread.
            LEAVING.store(false, SeqCst);
        }
        thread::sleep(PAUSE);
    }
    RETURNING.fetch_add(1, SeqCst);
}

/// Runs at the exit of the interpreter, when only daemon threads are left.
#[pyfunction]
fn leave(py: Python<'_>) -> PyResult<()> {
    let _ = LEAVER.set(thread::current().id());
    LEAVING.store(true, SeqCst);
    let threads: usize = py.import("threading")?.call_method0("active_count")?.extract()?;
    let least = if threads > 1 { GRACE } else { Duration::ZERO };
    py.detach(|| {
        let began = Instant::now();
        while began.elapsed() < least || RETURNING.load(SeqCst) > 0 && began.elapsed() < RETURN_MAX {
            thread::sleep(PAUSE);
        }
    });
    Ok(())
}

/// Runs in forked children, which have no other thread.
#[pyfunction]
fn forked() {
    RETURNING.store(0, SeqCst);
}

/// Has the interpreter call what is above.
///
/// # Errors
/// Those of Python.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    py.import("atexit")?.call_method1("register", (wrap_pyfunction!(leave, module)?,))?;
    let after_fork = pyo3::types::PyDict::new(py);
    after_fork.set_item("after_in_child", wrap_pyfunction!(forked, module)?)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&after_fork))?;
    Ok(())
}
