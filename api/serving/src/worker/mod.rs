//! The python_function engine: models of every flavor in processes of their own environment.
//!
//! ```text
//! wire         a request as bytes, an answer from bytes
//! process      one process: start, connections, end
//! supervisor   so many processes, each started again when it ends
//! python/      the program: loads the model, makes pandas' and numpy's objects, writes answers
//! ```
//!
//! The program imports nothing but Python's library, numpy and pandas; what a model's loader imports is the model's
//! affair. Requests run side by side in threads of one process on one model object, as in MLflow's server, so a model's
//! state persists between requests.

mod process;
mod supervisor;
mod wire;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use runlode_models::{Input, Value};
use serde_json::json;

pub use process::LoadError;

use crate::engine::{Engine, Output, PredictError, Together, Untyped};
use process::Launch;
use supervisor::Supervisor;
use wire::{Kind, Part, Request, Wanted};

/// How a model's processes are started.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PythonOptions {
    /// The model's folder; an absolute path.
    pub folder: PathBuf,
    /// The model's flavor `python_function`: `loader_module`, `data`, `code`, `predict_fn` as the MLmodel file has them,
    /// and `config_text`, its configuration as JSON.
    pub flavor: serde_json::Value,
    /// `saved_input_example_info`, where the example's form is the form of the model's input.
    pub example: Option<serde_json::Value>,
    /// The interpreter of the model's environment.
    pub python: PathBuf,
    /// Variables besides those of this process.
    pub variables: Vec<(OsString, OsString)>,
    /// Processes at a time.
    pub processes_count: usize,
    /// Whether a process predicts on one request at a time, whatever comes in; the next one is received meanwhile.
    pub one_at_a_time: bool,
    /// How long a request waits for a process while none is ready.
    pub ready_wait: Duration,
}

impl PythonOptions {
    /// One process of a model, with the interpreter that is given.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, flavor: serde_json::Value, python: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            flavor,
            example: None,
            python: python.into(),
            variables: Vec::new(),
            processes_count: 1,
            one_at_a_time: false,
            ready_wait: Duration::from_secs(30),
        }
    }
}

/// A model in processes of Python.
///
/// Dropping it ends the processes.
#[derive(Debug)]
pub struct PythonEngine {
    supervisor: Supervisor,
}

impl PythonEngine {
    /// Starts the processes, and waits until all have loaded the model.
    ///
    /// # Errors
    /// [`LoadError`]: the interpreter cannot be started, or the model cannot be loaded.
    pub fn start(options: PythonOptions) -> Result<Self, LoadError> {
        let model = json!({
            "folder": options.folder,
            "flavor": options.flavor,
            "example": options.example,
            "one_at_a_time": options.one_at_a_time,
        });
        let launch = Launch { python: options.python, variables: options.variables, model };
        let supervisor = Supervisor::start(launch, options.processes_count, options.ready_wait)?;
        Ok(Self { supervisor })
    }

    /// Process ids of the processes that are ready.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.supervisor.pids()
    }

    fn one(&self, request: &Request) -> Result<Output, PredictError> {
        let mut parts = self.supervisor.call(request)?.into_iter();
        match (parts.next(), parts.next()) {
            (Some(part), None) => output(part),
            _ => Err(unexpected()),
        }
    }
}

impl Engine for PythonEngine {
    fn predict(&self, input: Input, params: Option<&[(String, Value)]>) -> Result<Output, PredictError> {
        self.one(&wire::request(&input, Wanted::Answer, params)?)
    }

    fn predict_rows(&self, input: Input, params: Option<&[(String, Value)]>) -> Result<Output, PredictError> {
        self.one(&wire::request(&input, Wanted::Rows, params)?)
    }

    fn predict_together(
        &self,
        input: Input,
        rows_each: &[usize],
        params: Option<&[(String, Value)]>,
    ) -> Result<Together, PredictError> {
        let parts = self.supervisor.call(&wire::request(&input, Wanted::Each(rows_each), params)?)?;
        if parts.len() == rows_each.len()
            && parts.iter().all(|part| matches!(part.kind, Kind::Answer | Kind::Unencodable))
        {
            return Ok(Together::Parts(parts.into_iter().map(output).collect()));
        }
        match parts.into_iter().next() {
            Some(Part { kind: Kind::Unsplit, .. }) => Ok(Together::Unsplit),
            Some(part @ Part { kind: Kind::Columns, .. }) => output(part).map(Together::Whole),
            Some(part) => output(part).and_then(|_| Err(unexpected())),
            None => Err(unexpected()),
        }
    }

    fn restarts_count(&self) -> usize {
        self.supervisor.restarts()
    }

    fn reads_untyped(&self) -> bool {
        true
    }

    fn predict_untyped(&self, request: &Untyped, params: Option<&[(String, Value)]>) -> Result<Output, PredictError> {
        self.one(&wire::untyped(request, params)?)
    }
}

fn unexpected() -> PredictError {
    PredictError::Unencodable { reason: "the model's process gave another number of answers than asked for".to_owned() }
}

fn output(part: Part) -> Result<Output, PredictError> {
    let text = || String::from_utf8_lossy(&part.bytes).into_owned();
    match part.kind {
        Kind::Answer => Ok(Output::Encoded(Bytes::from_owner(part.bytes))),
        Kind::Columns => wire::data(&part.bytes).map(Output::Data).map_err(|why| {
            let reason = format!("the model's process described its answer wrongly: {why}");
            PredictError::Unencodable { reason }
        }),
        Kind::Error => Err(PredictError::Answered { status: part.status, body: Bytes::from_owner(part.bytes) }),
        Kind::Lost => Err(PredictError::Lost { reason: text() }),
        Kind::Unencodable => Err(PredictError::Unencodable { reason: text() }),
        Kind::Refused => Err(PredictError::Refused(text())),
        Kind::Unsplit => Err(unexpected()),
    }
}
