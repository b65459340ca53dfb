//! One file through a model: read, cast, predict, write, at the same time and in order.
//!
//! ```text
//! reader thread -> chunks -> workers: cast, predict -> answers -> this thread: puts them in order, writes
//!        ^------------------------- permits ------------------------------|
//! ```
//!
//! - At most `in_flight_max` chunks are between the reader and the writer, so memory does not depend on the file.
//! - Answers are written in the order of the rows, whichever worker is first.
//! - The first error ends everything: nobody reads on, and the unfinished file is removed.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::ArrayRef;
use runlode_models::Value;
use runlode_models::signature::Signature;

use crate::batch::answer::{Answered, columns};
use crate::batch::chunk::{Chunk, Given};
use crate::batch::error::{BadRow, BatchError};
use crate::batch::plan::{Made, Plan};
use crate::batch::read::reader::{Reader, Rows};
use crate::batch::write::Writer;
use crate::engine::{Engine, PredictError};

/// What to do with a row that cannot be scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// End with an error that names it.
    #[default]
    Fail,
    /// Leave it out, and report it.
    Skip,
}

/// How files are scored.
#[derive(Debug)]
pub struct Scoring<'a> {
    /// The model.
    pub engine: &'a dyn Engine,
    /// What it takes; none takes all columns as they are.
    pub signature: Option<&'a Signature>,
    /// Parameters of the model, checked by its signature.
    pub params: Option<&'a [(String, Value)]>,
    /// Rows that are predicted at once.
    pub batch_rows: usize,
    /// Predictions at the same time.
    pub workers: usize,
    /// What to do with rows that cannot be scored.
    pub on_error: OnError,
    /// Columns of the input that are written beside the answers.
    pub carried: &'a [String],
}

/// What was done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// Rows with an answer.
    pub rows: u64,
    /// Rows left out.
    pub skipped: u64,
}

/// Who is told of progress and of rows that are left out.
pub trait Watch: Send {
    /// So many rows of the file are done, of so many if that is known.
    fn progress(&mut self, rows: u64, total: Option<u64>);

    /// A row is left out.
    ///
    /// # Errors
    /// It cannot be reported; scoring ends.
    fn skipped(&mut self, path: &str, bad: &BadRow) -> Result<(), BatchError>;
}

/// A chunk on its way to a worker.
struct Job {
    order: u64,
    rows: Rows,
}

/// What became of it.
struct Scored {
    order: u64,
    outcome: Result<Part, BatchError>,
}

/// Answers to the rows of a chunk.
struct Part {
    columns: Vec<Answered>,
    rows_count: usize,
    bad: Vec<BadRow>,
}

/// Scores one file.
///
/// # Errors
/// The first thing that went wrong. The writer is not finished then.
pub(crate) fn score(
    scoring: &Scoring<'_>,
    path: &str,
    mut reader: Box<dyn Reader>,
    first: Option<Rows>,
    plan: &Plan,
    mut writer: Writer,
    watch: &mut dyn Watch,
) -> Result<Done, BatchError> {
    let total = reader.rows_total();
    let workers = scoring.workers.max(1);
    let in_flight_max = workers * 2 + 1;
    let (permit, permits) = sync_channel::<()>(in_flight_max);
    let (to_worker, jobs) = sync_channel::<Job>(in_flight_max);
    let (to_writer, scored) = sync_channel::<Scored>(in_flight_max + 1);
    let jobs = Mutex::new(jobs);
    std::thread::scope(|scope| {
        let from_reader = to_writer.clone();
        scope.spawn(move || read(&mut *reader, first, &permit, &to_worker, &from_reader));
        for _ in 0..workers {
            let to_writer = to_writer.clone();
            let jobs = &jobs;
            scope.spawn(move || {
                while let Some(job) = next(jobs) {
                    let outcome = part(scoring, path, plan, job.rows);
                    if to_writer.send(Scored { order: job.order, outcome }).is_err() {
                        break;
                    }
                }
            });
        }
        drop(to_writer);
        // Both ends are dropped with this call, so all threads see that it is over.
        write(path, total, scored, permits, &mut writer, watch)
    })
    .and_then(|done| writer.finish().map(|()| done))
}

fn next(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn read(
    reader: &mut dyn Reader,
    mut first: Option<Rows>,
    permit: &SyncSender<()>,
    to_worker: &SyncSender<Job>,
    to_writer: &SyncSender<Scored>,
) {
    for order in 0.. {
        // A place in the channel of permits is a chunk in flight; the writer gives it back.
        if permit.send(()).is_err() {
            return;
        }
        let rows = match first.take() {
            Some(rows) => Ok(Some(rows)),
            None => reader.next(),
        };
        let is_over = match rows {
            Ok(Some(rows)) => to_worker.send(Job { order, rows }).is_err(),
            Ok(None) => true,
            Err(error) => {
                // The writer may have gone.
                let _ = to_writer.send(Scored { order, outcome: Err(error) });
                true
            }
        };
        if is_over {
            return;
        }
    }
}

fn write(
    path: &str,
    total: Option<u64>,
    scored: Receiver<Scored>,
    permits: Receiver<()>,
    writer: &mut Writer,
    watch: &mut dyn Watch,
) -> Result<Done, BatchError> {
    let mut done = Done::default();
    let mut waiting = BTreeMap::new();
    let mut order = 0;
    for Scored { order: of, outcome } in scored {
        waiting.insert(of, outcome);
        while let Some(outcome) = waiting.remove(&order) {
            let part = outcome?;
            for bad in &part.bad {
                watch.skipped(path, bad)?;
            }
            if part.rows_count > 0 {
                writer.write(part.columns)?;
            }
            done.rows += part.rows_count as u64;
            done.skipped += part.bad.len() as u64;
            watch.progress(done.rows + done.skipped, total);
            order += 1;
            // Ends only with the reader, which takes no more permits then.
            let _ = permits.recv();
        }
    }
    Ok(done)
}

/// The answers to the rows of a chunk.
fn part(scoring: &Scoring<'_>, path: &str, plan: &Plan, rows: Rows) -> Result<Part, BatchError> {
    let Rows { mut chunk, mut bad } = rows;
    let fail = |bad: BadRow| BatchError::Row { path: path.to_owned(), bad };
    let refused = |why: String| BatchError::Columns { path: path.to_owned(), why };
    let input = loop {
        match plan.make(&chunk).map_err(refused)? {
            Made::Input(input) => break Some(input),
            Made::Bad(cells) => {
                let mut keep = vec![true; chunk.rows_count];
                for cell in cells {
                    // One reason for a row is enough.
                    if std::mem::replace(&mut keep[cell.row], false) {
                        let (row, line) = chunk.numbers.get(cell.row);
                        let one = BadRow { row, line, column: Some(cell.column), why: cell.why };
                        bad.push(one);
                    }
                }
                chunk = chunk.kept(&keep);
                // The rest would only find more of them.
                if scoring.on_error == OnError::Fail {
                    break None;
                }
            }
        }
    };
    bad.sort_by_key(|bad| bad.row);
    if let (OnError::Fail, Some(first)) = (scoring.on_error, bad.first()) {
        return Err(fail(first.clone()));
    }
    let mut part = Part { columns: Vec::new(), rows_count: 0, bad };
    if let Some(input) = input.filter(|_| chunk.rows_count > 0) {
        predict(scoring, path, plan, &chunk, input, &mut part)?;
    }
    part.bad.sort_by_key(|bad| bad.row);
    Ok(part)
}

/// Predicts on rows. If the model fails on them and rows may be skipped, on each half, until single rows are to blame.
fn predict(
    scoring: &Scoring<'_>,
    path: &str,
    plan: &Plan,
    chunk: &Chunk,
    input: runlode_models::Input,
    part: &mut Part,
) -> Result<(), BatchError> {
    let number = |row: usize| chunk.numbers.get(row);
    let input = match (scoring.signature, plan.has_nested()) {
        (Some(signature), true) => enforced(input, signature),
        _ => Ok(input),
    };
    let answer = input.and_then(|input| scoring.engine.predict_rows(input, scoring.params));
    let source = match answer {
        Ok(output) => {
            let of_model = |why: String| BatchError::Answer { path: path.to_owned(), why };
            let mut made = columns(output, chunk.rows_count).map_err(of_model)?;
            let mut all: Vec<Answered> = Vec::with_capacity(made.len() + plan.carried.len());
            for (name, at) in scoring.carried.iter().zip(&plan.carried) {
                all.extend(chunk.columns.get(*at).map(|given| carry(name, given)));
            }
            all.append(&mut made);
            return join(part, all, chunk.rows_count).map_err(of_model);
        }
        Err(error) => error,
    };
    // A model whose process has ended was perhaps ended by these rows: they are not tried again.
    let may_retry =
        matches!(source, PredictError::Raised { .. } | PredictError::Refused(_) | PredictError::Answered { .. });
    if scoring.on_error == OnError::Fail || !may_retry {
        let (first, last) = (number(0).0, number(chunk.rows_count - 1).0);
        return Err(BatchError::Predict { path: path.to_owned(), first, last, source });
    }
    if chunk.rows_count == 1 {
        let (row, line) = number(0);
        part.bad.push(BadRow { row, line, column: None, why: source.to_string() });
        return Ok(());
    }
    let half = chunk.rows_count / 2;
    for (start, length) in [(0, half), (half, chunk.rows_count - half)] {
        let chunk = chunk.part(start, length);
        let made = plan.make(&chunk).map_err(|why| BatchError::Columns { path: path.to_owned(), why })?;
        if let Made::Input(input) = made {
            predict(scoring, path, plan, &chunk, input, part)?;
        }
    }
    Ok(())
}

fn enforced(input: runlode_models::Input, signature: &Signature) -> Result<runlode_models::Input, PredictError> {
    runlode_models::enforce::enforce(input, signature).map_err(|error| PredictError::Refused(error.to_string()))
}

fn carry(name: &str, given: &Given) -> Answered {
    match given {
        Given::Array(cells) => Answered { name: name.to_owned(), cells: Arc::clone(cells), is_json: false },
        Given::Values(values) => crate::batch::answer::of_values(name.to_owned(), values),
    }
}

/// Adds answers behind those that the part has.
fn join(part: &mut Part, columns: Vec<Answered>, rows_count: usize) -> Result<(), String> {
    if part.rows_count == 0 {
        part.columns = columns;
    } else {
        if part.columns.len() != columns.len() {
            return Err("the model answers some rows with other columns than others".into());
        }
        for (all, more) in part.columns.iter_mut().zip(columns) {
            let both: [&dyn arrow_array::Array; 2] = [&all.cells, &more.cells];
            let joined: ArrayRef = arrow_select::concat::concat(&both).map_err(|error| error.to_string())?;
            all.cells = joined;
        }
    }
    part.rows_count += rows_count;
    Ok(())
}
