//! Requests that wait for the model, and the threads that take them to it.
//!
//! ```text
//! connection --(bounded)--> waiting ... --> thread --> engine
//!            <----------------------------------- answer
//! ```
//!
//! - At most so many wait: one more is refused at once, with the advice to come again, instead of a queue that grows.
//! - A request whose client has gone, or whose time is over, is dropped without a prediction.
//! - With batches a thread takes all waiting requests of one form together. If that fails, or the answer cannot be cut,
//!   each is predicted alone, so that one bad request spoils no other.
//! - An engine that panics costs the requests that it had.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use runlode_models::{Input, Value};
use tokio::sync::oneshot;

use super::metrics::Metrics;
use crate::engine::{Engine, Output, PredictError, Together, Untyped};
use crate::gather;

/// What a request asks the model.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Typed(Input),
    Untyped(Untyped),
}

/// A request on its way to the model.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) work: Work,
    pub(super) params: Option<Vec<(String, Value)>>,
    /// After this nobody waits for the answer.
    pub(super) until: Instant,
    pub(super) reply: oneshot::Sender<Result<Output, PredictError>>,
}

/// Waiting requests and the threads that serve them.
#[derive(Debug)]
pub(super) struct Queue {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    more: Condvar,
    waiting_max: usize,
    /// Most rows predicted together; none: each request alone.
    batch_rows_max: Option<usize>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    is_closed: bool,
}

impl Queue {
    pub(super) fn start(
        threads_count: usize,
        waiting_max: usize,
        batch_rows_max: Option<usize>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let shared =
            Arc::new(Shared { state: Mutex::default(), more: Condvar::new(), waiting_max, batch_rows_max, metrics });
        let start = |number| {
            let shared = shared.clone();
            Builder::new().name(format!("predict-{number}")).spawn(move || shared.work())
        };
        let threads = (0..threads_count.max(1)).map(start).collect::<Result<_, _>>()?;
        Ok(Self { shared, threads })
    }

    /// Puts a request behind those that wait; false, and its reply dropped, if there are too many.
    #[must_use]
    pub(super) fn push(&self, job: Job) -> bool {
        let mut state = self.shared.state.lock();
        if state.waiting.len() >= self.shared.waiting_max || state.is_closed {
            return false;
        }
        state.waiting.push_back(job);
        self.shared.metrics.waiting(state.waiting.len());
        drop(state);
        self.shared.more.notify_one();
        true
    }
}

impl Drop for Queue {
    /// Lets the threads finish what waits. It does not wait for them: a model may take as long as it likes.
    fn drop(&mut self) {
        self.shared.state.lock().is_closed = true;
        self.shared.more.notify_all();
        self.threads.drain(..).filter(JoinHandle::is_finished).for_each(|thread| drop(thread.join()));
    }
}

impl Shared {
    fn work(&self) {
        while let Some(jobs) = self.next() {
            self.metrics.predicting(jobs.len());
            let count = jobs.len();
            // The replies of a panicking engine are dropped, which their requests see.
            let _panicked = catch_unwind(AssertUnwindSafe(|| self.predict(jobs)));
            self.metrics.predicted(count);
        }
    }

    /// The next request, with batches all that can be predicted together with it.
    fn next(&self) -> Option<Vec<Job>> {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            while let Some(job) = state.waiting.pop_front() {
                if job.reply.is_closed() || job.until <= now {
                    continue;
                }
                let jobs = match self.batch_rows_max {
                    Some(rows_max) => gathered(job, &mut state.waiting, rows_max),
                    None => vec![job],
                };
                self.metrics.waiting(state.waiting.len());
                return Some(jobs);
            }
            if state.is_closed {
                return None;
            }
            self.more.wait(&mut state);
        }
    }

    fn predict(&self, jobs: Vec<Job>) {
        let rows_each: Option<Vec<usize>> = jobs.iter().map(|job| rows(&job.work)).collect();
        if let (Some(rows_each), true) = (rows_each, jobs.len() > 1) {
            self.metrics.batch(jobs.len());
            if let Some(answers) = together(&jobs, &rows_each) {
                for (job, answer) in jobs.into_iter().zip(answers) {
                    // The client may have gone.
                    let _ = job.reply.send(answer);
                }
                return;
            }
        }
        for job in jobs {
            let _ = job.reply.send(alone(&*job.engine, job.work, job.params.as_deref()));
        }
    }
}

fn alone(engine: &dyn Engine, work: Work, params: Option<&[(String, Value)]>) -> Result<Output, PredictError> {
    match work {
        Work::Typed(input) => engine.predict(input, params),
        Work::Untyped(request) => engine.predict_untyped(&request, params),
    }
}

/// Takes the requests out of the queue that can be predicted together with this one.
fn gathered(first: Job, waiting: &mut VecDeque<Job>, rows_max: usize) -> Vec<Job> {
    let Some(mut rows_count) = rows(&first.work) else { return vec![first] };
    let mut jobs = vec![first];
    let mut place = 0;
    while place < waiting.len() {
        let fits = match rows(&waiting[place].work) {
            Some(more) if rows_count + more <= rows_max && is_alike(&jobs[0], &waiting[place]) => more,
            _ => {
                place += 1;
                continue;
            }
        };
        rows_count += fits;
        jobs.extend(waiting.remove(place));
    }
    jobs
}

/// The rows of a request that can be put together with others.
fn rows(work: &Work) -> Option<usize> {
    match work {
        Work::Typed(input) => gather::rows(input).filter(|rows| *rows > 0),
        Work::Untyped(_) => None,
    }
}

fn is_alike(one: &Job, other: &Job) -> bool {
    let (Work::Typed(first), Work::Typed(second)) = (&one.work, &other.work) else { return false };
    Arc::ptr_eq(&one.engine, &other.engine) && one.params == other.params && gather::is_alike(first, second)
}

/// The answers of requests predicted together; none if each must be predicted alone.
fn together(jobs: &[Job], rows_each: &[usize]) -> Option<Vec<Result<Output, PredictError>>> {
    let inputs: Option<Vec<&Input>> = jobs
        .iter()
        .map(|job| match &job.work {
            Work::Typed(input) => Some(input),
            Work::Untyped(_) => None,
        })
        .collect();
    let input = gather::concat(&inputs?)?;
    match jobs[0].engine.predict_together(input, rows_each, jobs[0].params.as_deref()) {
        Ok(Together::Parts(parts)) => Some(parts),
        Ok(Together::Whole(Output::Data(data))) => {
            let parts = gather::split(&data, rows_each)?;
            Some(parts.into_iter().map(|part| Ok(Output::Data(part))).collect())
        }
        // A request that had effects before its model died is not repeated.
        Err(error @ PredictError::Lost { .. }) => Some(jobs.iter().map(|_| Err(error.clone())).collect()),
        Ok(Together::Whole(Output::Encoded(_)) | Together::Unsplit) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use runlode_models::{Cells, Column, Frame};

    use super::*;

    /// Answers each row with itself; a 13 fails the call, a 99 panics.
    #[derive(Debug, Default)]
    struct Rows {
        calls: AtomicUsize,
        gate: Mutex<Option<mpsc::Receiver<()>>>,
    }

    impl Engine for Rows {
        fn predict(&self, input: Input, _: Option<&[(String, Value)]>) -> Result<Output, PredictError> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            if let Some(gate) = self.gate.lock().take() {
                let _ = gate.recv();
            }
            let Input::Frame(frame) = &input else { panic!("no frame") };
            let has = |number| frame.columns[0].cells.values().contains(&Value::Int(number));
            assert!(!has(99), "99");
            if has(13) { Err(PredictError::Refused("13".to_owned())) } else { Ok(Output::Data(input)) }
        }
    }

    fn frame(numbers: &[i64]) -> Input {
        let cells = Cells::Objects(numbers.iter().map(|number| Value::Int(*number)).collect());
        Input::Frame(Frame::new(vec![Column::new("a", cells)]))
    }

    type Answered = oneshot::Receiver<Result<Output, PredictError>>;

    fn push(queue: &Queue, engine: &Arc<Rows>, numbers: &[i64]) -> Option<Answered> {
        let (reply, answered) = oneshot::channel();
        let until = Instant::now() + Duration::from_secs(600);
        let job = Job { engine: engine.clone(), work: Work::Typed(frame(numbers)), params: None, until, reply };
        queue.push(job).then_some(answered)
    }

    /// An engine that waits in its first call, and what lets it go on.
    fn gated() -> (Arc<Rows>, mpsc::Sender<()>) {
        let (open, gate) = mpsc::channel();
        (Arc::new(Rows { calls: AtomicUsize::new(0), gate: Mutex::new(Some(gate)) }), open)
    }

    fn wait_for_call(engine: &Rows) {
        while engine.calls.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn requests_that_wait_are_one_call_and_get_their_own_rows() {
        let (engine, open) = gated();
        let queue = Queue::start(1, 100, Some(50), Arc::default()).unwrap();
        let first = push(&queue, &engine, &[0]).unwrap();
        wait_for_call(&engine);
        let waiting: Vec<Answered> = (1..=9).map(|number| push(&queue, &engine, &[number, -number]).unwrap()).collect();
        drop(open);
        assert!(first.blocking_recv().unwrap().is_ok());
        for (number, answered) in (1..=9).zip(waiting) {
            assert_eq!(answered.blocking_recv().unwrap().unwrap(), Output::Data(frame(&[number, -number])));
        }
        assert_eq!(engine.calls.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn one_bad_request_spoils_no_other() {
        let (engine, open) = gated();
        let queue = Queue::start(1, 100, Some(50), Arc::default()).unwrap();
        let _first = push(&queue, &engine, &[0]).unwrap();
        wait_for_call(&engine);
        let good = push(&queue, &engine, &[1]).unwrap();
        let bad = push(&queue, &engine, &[13]).unwrap();
        drop(open);
        assert_eq!(good.blocking_recv().unwrap().unwrap(), Output::Data(frame(&[1])));
        assert_eq!(bad.blocking_recv().unwrap().unwrap_err().to_string(), "13");
    }

    #[test]
    fn a_batch_has_no_more_rows_than_it_may() {
        let (engine, open) = gated();
        let queue = Queue::start(1, 100, Some(4), Arc::default()).unwrap();
        let _first = push(&queue, &engine, &[0]).unwrap();
        wait_for_call(&engine);
        let waiting: Vec<Answered> = (0..4).map(|_| push(&queue, &engine, &[1, 2]).unwrap()).collect();
        drop(open);
        waiting.into_iter().for_each(|answered| assert!(answered.blocking_recv().unwrap().is_ok()));
        assert_eq!(engine.calls.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn what_waits_is_bounded_and_who_has_gone_is_not_predicted_for() {
        let (engine, open) = gated();
        let queue = Queue::start(1, 2, None, Arc::default()).unwrap();
        let first = push(&queue, &engine, &[0]).unwrap();
        wait_for_call(&engine);
        drop(push(&queue, &engine, &[1]).unwrap());
        let last = push(&queue, &engine, &[2]).unwrap();
        assert!(push(&queue, &engine, &[3]).is_none());
        drop(open);
        assert!(first.blocking_recv().unwrap().is_ok() && last.blocking_recv().unwrap().is_ok());
        assert_eq!(engine.calls.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_panic_costs_its_request() {
        let engine = Arc::new(Rows::default());
        let queue = Queue::start(1, 10, None, Arc::default()).unwrap();
        assert!(push(&queue, &engine, &[99]).unwrap().blocking_recv().is_err());
        assert!(push(&queue, &engine, &[1]).unwrap().blocking_recv().unwrap().is_ok());
    }
}
