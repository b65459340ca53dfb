//! `runlode models serve URI`

mod attend;
pub(crate) mod environment;
pub(crate) mod load;
mod onnx;
pub(crate) mod place;
mod record;
pub(crate) mod resolve;

use std::sync::mpsc;
use std::time::Duration;

use clap::{ArgAction, Args};
use runlode::RunId;
use runlode_serving::{Server, ServerOptions};
use serde_json::json;

use attend::Attendant;
use place::Place;
use record::Recorder;

use crate::Answer;
use crate::commands::models::source::needs_store;
use crate::error::{Error, Result};
use crate::find::address;
use crate::output::{Output, note};

/// Most rows predicted together where `--batch` does not say.
const BATCH_ROWS: &str = "1000";

/// Arguments of `models serve`, named as in `mlflow models serve` if it has the option.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Serve {
    /// The model: a folder, models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-... or runs:/RUN/PATH
    #[arg(value_name = "URI", required_unless_present = "model_uri")]
    uri: Option<String>,
    /// The same, as MLflow has it
    #[arg(long, short, value_name = "URI", conflicts_with = "uri")]
    model_uri: Option<String>,
    /// Port to listen on; 0 takes a free one
    #[arg(long, short, default_value_t = 5000)]
    port: u16,
    /// Address to listen on
    #[arg(long, short = 'h', default_value = "127.0.0.1")]
    host: String,
    /// Longest time for an answer
    #[arg(long, short, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Processes of the model
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    #[command(flatten)]
    environment: environment::Environment,
    /// Predict requests that wait together, at most so many rows at a time
    #[arg(long, value_name = "ROWS", num_args = 0..=1, default_missing_value = BATCH_ROWS, require_equals = true,
        value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Requests that a process of the model has at a time [default: the machine's cores and 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Requests that may wait for the model; more are refused with 429
    #[arg(long, value_name = "N", default_value_t = 1000)]
    waiting: usize,
    /// Largest request
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    body_mib: u16,
    /// Store, or the URL of a server, where the model is looked up and serving is recorded [default:
    /// MLFLOW_TRACKING_URI]
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    /// Serve the model that the URI leads to from time to time: an alias moves, and no request fails
    #[arg(long)]
    follow: bool,
    /// Log latencies and statistics of the inputs into a run
    #[arg(long, value_name = "RUN")]
    log_to: Option<String>,
    /// How often --log-to logs
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    log_every: u64,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

impl Serve {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let address = address(&self.host, self.port)?;
        let uri = self.uri.as_ref().or(self.model_uri.as_ref()).cloned().unwrap_or_default();
        let timeout = Duration::from_secs(self.timeout);
        let wanted = load::Wanted {
            environment: self.environment.clone(),
            processes_count: self.workers.into(),
            one_at_a_time: false,
            ready_wait: timeout,
            onnx_threads: None,
        };
        let place = self.place(&uri)?;
        let found = resolve::find(place.as_ref(), &uri)?;
        if self.follow && found.identity.is_none() {
            return Err(Error::usage(format!("--follow: {uri} never leads to another model; use models:/NAME@ALIAS")));
        }
        let run = self.log_to.as_ref().map(|run| run.parse::<RunId>()).transpose();
        let run = run.map_err(|error| Error::usage(format!("--log-to: {error}")))?;
        let step = match (&place, run) {
            (Some(place), Some(run)) => place.last_step(run, record::REQUESTS)?.map_or(0, |last| last + 1),
            (None, Some(_)) => return Err(Error::usage("--log-to needs a store; name it with --store")),
            _ => 0,
        };
        let model = load::load(&found.folder, &uri, &wanted)?;
        let mut options = ServerOptions::default();
        options.address = address;
        options.timeout = timeout;
        options.waiting_max = self.waiting;
        options.batch_rows_max = self.batch.map(|rows| rows as usize);
        options.body_bytes_max = usize::from(self.body_mib) << 20;
        options.bodies_bytes_max = 4 * options.body_bytes_max;
        let threads = self.threads.map_or(options.threads_count, usize::from);
        options.threads_count = threads * usize::from(self.workers);
        options.samples_inputs = run.is_some();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::io("cannot start the server's threads", source))?;
        runtime.block_on(async {
            let server = Server::bind(model, options).await.map_err(|error| Error::usage(error.to_string()))?;
            let stop = crate::commands::serve::stop_signal()?;
            if !server.address().ip().is_loopback() {
                note(format!("everybody who reaches {} can ask this model", server.address()));
            }
            if output.is_json() {
                output.document_line(&json!({ "address": server.address().to_string(), "model": uri }))?;
                output.flush()?;
            } else {
                output.line_now(format!("Serving {uri} on http://{}/invocations", server.address()))?;
            }
            let recorder = place.map(|place| Recorder {
                place,
                uri: uri.clone(),
                address: server.address(),
                run,
                serving: None,
                step,
            });
            let attendant = Attendant {
                handle: server.handle(),
                recorder,
                uri,
                identity: found.identity,
                wanted,
                following: self.follow.then(attend::Following::default),
                window_every: run.map(|_| Duration::from_secs(self.log_every)),
            };
            let (running, ended) = mpsc::channel();
            let attending =
                std::thread::Builder::new().name("runlode-attend".into()).spawn(move || attendant.run(&ended));
            let attending = attending.map_err(|source| Error::io("cannot start a thread", source))?;
            server.run(stop).await;
            drop(running);
            // It has a few calls to make, each with a time limit of its own.
            attending.join().map_err(|_| Error::usage("recording the end of serving failed"))
        })?;
        // A client that keeps its connection open does not keep the process alive.
        runtime.shutdown_timeout(Duration::from_secs(1));
        Ok(Answer::Yes)
    }

    /// Where the model is looked up and serving is recorded; none if nothing asks for it.
    fn place(&self, uri: &str) -> Result<Option<Place>> {
        if let Some(store) = &self.store {
            return Place::open(store).map(Some);
        }
        if !needs_store(uri) && self.log_to.is_none() {
            return Ok(None);
        }
        match std::env::var("MLFLOW_TRACKING_URI") {
            Ok(store) if !store.is_empty() => Place::open(&store).map(Some),
            _ => Ok(None),
        }
    }
}
