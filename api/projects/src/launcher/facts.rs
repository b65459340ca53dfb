//! The facts of a launch, known before it starts.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use runlode_client::local;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Backend, Dataset, Request};
use crate::command::Command;
use crate::git::{Checkout, Diff};
use crate::launch::Ended;
use crate::source::Source;

/// Files larger than this together are recorded by size and time only.
const DIGESTED_BYTES_MAX: u64 = 1 << 30;

/// The facts of a launch.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Tags of the run, as MLflow sets them.
    pub tags: Vec<(String, String)>,
    /// Parameters of the run, quoted for a shell as MLflow records them.
    pub params: Vec<(String, String)>,
    /// All of it as JSON, with the raw values, the command and the host.
    pub json: String,
    /// What differs from the commit, and what git does not know.
    pub diff: Option<Diff>,
}

impl Facts {
    pub(super) fn new(request: &Request, source: &Source, kind: &str, command: &Command, diff: Option<Diff>) -> Self {
        let mut tags: Vec<(String, String)> = Vec::new();
        let mut tag = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                tags.push((key.to_owned(), value));
            }
        };
        let checkout = source.checkout.as_ref();
        tag("mlflow.user", Some(request.user.clone()));
        tag("mlflow.source.name", Some(source.name.clone()));
        tag("mlflow.source.type", Some("PROJECT".to_owned()));
        tag("mlflow.project.entryPoint", Some(request.entry_point.clone()));
        tag("mlflow.source.git.commit", checkout.map(Checkout::recorded_commit));
        tag("mlflow.parentRunId", request.parent.clone());
        tag("mlflow.source.git.repoURL", checkout.and_then(|checkout| checkout.url.clone()));
        tag("mlflow.source.git.branch", source.branch.clone());
        let json = json!({
            "uri": crate::git::without_login(&request.recorded_uri()),
            "place": source.local.as_ref().map(|place| place.display().to_string()),
            "repository": checkout.and_then(|checkout| checkout.url.clone()),
            "subfolder": source.subfolder(),
            "archive": source.archive().map(|path| input(path, &mut DIGESTED_BYTES_MAX.clone())),
            "version": request.version,
            "entry_point": request.entry_point,
            "command": command.line,
            "parameters": as_map(&command.raw),
            "inputs": inputs(command),
            "environment": kind,
            "backend": request.backend.name(),
            "backend_config": match &request.backend {
                Backend::Local => Value::Null,
                Backend::Kubernetes(config) => config.to_json(),
            },
            "container_options": request.container_options,
            "builds_image": request.builds_image,
            "commit": checkout.map(|checkout| checkout.commit.clone()),
            "is_dirty": checkout.is_some_and(|checkout| checkout.is_dirty),
            "left_out": diff.as_ref().map(|diff| diff.left_out.clone()),
            "untracked": diff.as_ref().map(|diff| diff.untracked.clone()),
            "host": rustix::system::uname().nodename().to_string_lossy(),
            "user": request.user,
            "parent": request.parent,
            "attempt": request.again.as_ref().map_or(1, |again| again.attempt),
            "rerun_of": request.again.as_ref().map(|again| again.of.clone()),
            "started_ms": now_ms(),
        });
        Self { tags, params: command.recorded.clone(), json: format!("{json:#}\n"), diff }
    }
}

fn as_map(pairs: &[(String, String)]) -> Value {
    Value::Object(pairs.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect())
}

/// The local files that parameters of type `path` name: a launch that repeats this one compares them.
fn inputs(command: &Command) -> Value {
    let mut left_bytes = DIGESTED_BYTES_MAX;
    let of = |(name, path): &(String, std::path::PathBuf)| (name.clone(), input(path, &mut left_bytes));
    Value::Object(command.files.iter().map(of).collect())
}

/// What a file is known by. A folder has no digest, nor has a file that cannot be read or would take long to read: a
/// launch does not fail for that, and a rerun says that it cannot compare.
pub(crate) fn input(path: &Path, left_bytes: &mut u64) -> Value {
    let Ok(facts) = std::fs::metadata(path) else { return json!({ "path": path.display().to_string() }) };
    let mut digest = None;
    if facts.is_file() && facts.len() <= *left_bytes {
        *left_bytes -= facts.len();
        digest = digest_of(path).ok();
    }
    let is_file = facts.is_file();
    json!({ "path": path.display().to_string(), "bytes": is_file.then_some(facts.len()), "sha256": digest })
}

fn digest_of(path: &Path) -> io::Result<String> {
    let mut sum = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            length => sum.update(&buffer[..length]),
        }
    }
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// How a launch ended, as JSON.
pub(super) fn end_json(request: &Request, ended: &Ended, datasets: &[Dataset]) -> String {
    let mut left_bytes = DIGESTED_BYTES_MAX;
    let dataset = |dataset: &Dataset| {
        let file = local_file(&dataset.source).map(|path| input(&path, &mut left_bytes));
        json!({ "name": dataset.name, "digest": dataset.digest, "file": file })
    };
    let datasets: Vec<_> = datasets.iter().map(dataset).collect();
    let json = json!({
        "datasets": datasets,
        "entry_point": request.entry_point,
        "exit_code": ended.code,
        "signal": ended.signal,
        "interrupted_by": ended.interrupted_by,
        "duration_ms": ended.duration_ms,
        "peak_memory_bytes": ended.peak_memory_bytes,
        "ended_ms": now_ms(),
    });
    format!("{json:#}\n")
}

/// The file of this machine that a data set's source names.
fn local_file(source: &str) -> Option<std::path::PathBuf> {
    let source: Value = serde_json::from_str(source).ok()?;
    let uri = ["uri", "path"].iter().find_map(|key| source[*key].as_str())?;
    let path = Path::new(local::path(uri)?);
    path.is_absolute().then(|| path.to_owned())
}
