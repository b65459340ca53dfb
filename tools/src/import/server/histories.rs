//! Histories of metrics, fetched by some workers and put into the stage by one.
//!
//! ```text
//!  jobs (runs) --> workers: a request at a time each --pages--> this thread --> stage; a run that is done is a part of it
//! ```
//!
//! Pages wait in a short queue, so memory is bounded by a few pages however long a history is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use super::super::stage::Stage;
use super::client::Client;
use super::entities::{History, Metric, Run};
use super::{next, put_run};
use crate::error::{Error, Result};

/// Points asked for at once.
const PAGE_POINTS: &str = "25000";

/// A run whose points are wanted.
pub(super) struct Job {
    pub(super) run: Run,
    pub(super) stamp: String,
    pub(super) experiment: i64,
}

enum Message {
    Begin(usize),
    Page(usize, String, Vec<Metric>),
    Done(usize),
    Failed(Error),
}

/// Fetches the histories of some runs. `progress` is called with the count of points.
pub(super) fn fetch(
    client: &Client,
    stage: &Stage,
    workers: usize,
    jobs: Vec<Job>,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let at = AtomicUsize::new(0);
    let (sender, receiver) = sync_channel(workers);
    let (jobs, mut points) = (&jobs, 0_u64);
    thread::scope(|scope| {
        for _ in 0..workers.min(jobs.len()) {
            let (sender, at) = (sender.clone(), &at);
            scope.spawn(move || work(client, jobs, at, &sender));
        }
        drop(sender);
        // A run becomes a part of the stage with its last page; rows of a run that is no part yet are replaced.
        let mut result = Ok(());
        stage.transaction()?;
        for message in receiver {
            let done = match message {
                Message::Begin(job) => jobs.get(job).map_or(Ok(()), |job| put_run(stage, &job.run, job.experiment)),
                Message::Page(job, key, metrics) => {
                    points += metrics.len() as u64;
                    progress(points);
                    let run = jobs.get(job).map_or("", |job| job.run.info.run_id.as_str());
                    metrics.iter().try_for_each(|metric| {
                        let (time, step) = (metric.timestamp.0.unwrap_or(0), metric.step.0.unwrap_or(0));
                        stage.put_point(run, &key, metric.value.0, time, step)
                    })
                }
                Message::Done(job) => jobs.get(job).map_or(Ok(()), |job| {
                    stage.put_part(&job.run.info.run_id, &job.stamp)?;
                    stage.commit()?;
                    stage.transaction()
                }),
                Message::Failed(error) => Err(error),
            };
            // After an error the receiver is dropped, and the workers end.
            if let Err(error) = done {
                result = Err(error);
                break;
            }
        }
        result?;
        stage.commit()
    })
}

/// Takes runs until there are none, or nobody listens.
fn work(client: &Client, jobs: &[Job], at: &AtomicUsize, sender: &SyncSender<Message>) {
    loop {
        let number = at.fetch_add(1, Ordering::Relaxed);
        let Some(job) = jobs.get(number) else { return };
        if sender.send(Message::Begin(number)).is_err() {
            return;
        }
        let message = match job.run.data.metrics.iter().try_for_each(|metric| {
            history(client, &job.run.info.run_id, &metric.key, |page| {
                let page = Message::Page(number, metric.key.clone(), page);
                sender.send(page).map_err(|_| Error::Source("the import was stopped".to_owned()))
            })
        }) {
            Ok(()) => Message::Done(number),
            Err(error) => Message::Failed(error),
        };
        if sender.send(message).is_err() {
            return;
        }
    }
}

/// A history, page by page. Servers that know no pages give all of it.
fn history(client: &Client, run: &str, key: &str, mut each: impl FnMut(Vec<Metric>) -> Result<()>) -> Result<()> {
    let mut token = String::new();
    loop {
        let mut query = vec![("run_id", run), ("metric_key", key), ("max_results", PAGE_POINTS)];
        if !token.is_empty() {
            query.push(("page_token", &token));
        }
        let page: History = client.get("metrics/get-history", &query)?;
        each(page.metrics)?;
        let Some(next) = next(&token, page.next_page_token, "metrics/get-history")? else { return Ok(()) };
        token = next;
    }
}
