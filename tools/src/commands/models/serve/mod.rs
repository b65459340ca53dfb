//! `runlode models serve URI`

mod environment;
mod load;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use runlode_serving::{Server, ServerOptions};
use serde_json::json;

use crate::Answer;
use crate::error::{Error, Result};
use crate::output::{Output, note};

/// Most rows predicted together where `--batch` does not say.
const BATCH_ROWS: &str = "1000";

/// Arguments of `models serve`, named as in `mlflow models serve` if it has the option.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Serve {
    /// The model: a folder
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
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

impl Serve {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let address = self.address()?;
        let uri = self.uri.as_ref().or(self.model_uri.as_ref()).cloned().unwrap_or_default();
        let timeout = Duration::from_secs(self.timeout);
        let wanted = load::Wanted {
            environment: self.environment.clone(),
            processes_count: self.workers.into(),
            ready_wait: timeout,
        };
        let model = load::load(&PathBuf::from(&uri), &uri, &wanted)?;
        let mut options = ServerOptions::default();
        options.address = address;
        options.timeout = timeout;
        options.waiting_max = self.waiting;
        options.batch_rows_max = self.batch.map(|rows| rows as usize);
        options.body_bytes_max = usize::from(self.body_mib) << 20;
        options.bodies_bytes_max = 4 * options.body_bytes_max;
        let threads = self.threads.map_or(options.threads_count, usize::from);
        options.threads_count = threads * usize::from(self.workers);
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
            server.run(stop).await;
            Ok::<_, Error>(())
        })?;
        // A client that keeps its connection open does not keep the process alive.
        runtime.shutdown_timeout(Duration::from_secs(1));
        Ok(Answer::Yes)
    }

    fn address(&self) -> Result<SocketAddr> {
        let cannot =
            |why: String| Error::usage(format!("--host {}: {why}; give an address of this machine", self.host));
        let mut found = (self.host.trim_matches(['[', ']']), self.port)
            .to_socket_addrs()
            .map_err(|error| cannot(error.to_string()))?;
        found.next().ok_or_else(|| cannot("it has no address".to_owned()))
    }
}
