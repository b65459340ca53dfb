//! Records a launch in an MLflow server, over REST.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use runlode_client::escaped;
use runlode_projects::container::Mounts;
use runlode_projects::launcher::{Dataset, Facts, Reach, Record};
use runlode_projects::local;
use serde_json::{Value, json};

use super::Recording;
use super::http::Http;
use super::recorder::write;
use crate::error::{Error, Result};
use crate::output::note;

/// Params of one call, as servers take them.
const PARAMS_MAX: usize = 100;
/// Where servers keep artifacts that come through them.
const PROXY: &str = "/api/2.0/mlflow-artifacts/artifacts";

/// Records a launch in a server.
pub(super) struct Remote {
    http: Http,
    experiment: String,
    run: Option<Run>,
    name: Option<String>,
}

struct Run {
    id: String,
    artifacts: String,
}

impl Run {
    fn of(answer: &Value) -> Result<Self> {
        let text = |key: &str| answer["run"]["info"][key].as_str().map(str::to_owned);
        match (text("run_id"), text("artifact_uri")) {
            (Some(id), artifacts) => Ok(Self { id, artifacts: artifacts.unwrap_or_default() }),
            _ => Err(Error::Source("the server's answer names no run".to_owned())),
        }
    }
}

impl Remote {
    pub(super) fn new(uri: &str, asked: &Recording) -> Result<Self> {
        let http = Http::new(uri)?;
        let mut run = None;
        if let Some(id) = &asked.run_id {
            run = Some(http.get(&format!("runs/get?run_id={}", escaped(id)))?);
        }
        let experiment = match (&run, asked.experiment()) {
            (Some(run), _) => run["run"]["info"]["experiment_id"].as_str().unwrap_or_default().to_owned(),
            (None, Ok(name)) => experiment_of(&http, &name)?,
            (None, Err(id)) => {
                http.get(&format!("experiments/get?experiment_id={}", escaped(&id)))?;
                id
            }
        };
        let run = run.as_ref().map(Run::of).transpose()?;
        Ok(Self { http, experiment, run, name: asked.run_name.clone() })
    }

    /// Id of the run, once it was begun.
    pub(super) fn run_id(&self) -> Option<String> {
        self.run.as_ref().map(|run| run.id.clone())
    }

    fn run(&self) -> Result<&Run> {
        self.run.as_ref().ok_or_else(|| Error::usage("no run was begun"))
    }

    fn update(&self, status: &str, end_time: Option<u64>) -> Result<()> {
        let mut body = json!({ "run_id": self.run()?.id, "status": status });
        if let Some(end_time) = end_time {
            body["end_time"] = json!(end_time);
        }
        self.http.post("runs/update", &body).map(drop)
    }
}

/// The experiment of this name; made if there is none.
fn experiment_of(http: &Http, name: &str) -> Result<String> {
    let found = http.get(&format!("experiments/get-by-name?experiment_name={}", escaped(name)));
    let id = |answer: &Value| answer.as_str().map(str::to_owned);
    match found {
        Ok(answer) => id(&answer["experiment"]["experiment_id"]),
        Err(Error::Source(text)) if text.contains("answered 404") => {
            id(&http.post("experiments/create", &json!({ "name": name }))?["experiment_id"])
        }
        Err(error) => return Err(error),
    }
    .ok_or_else(|| Error::Source("the server's answer names no experiment".to_owned()))
}

/// Reads a run of a server and the files that its launch kept.
pub(super) struct Reader {
    http: Http,
}

impl Reader {
    pub(super) fn new(uri: &str) -> Result<Self> {
        Ok(Self { http: Http::new(uri)? })
    }

    fn run(&self, id: &str) -> Result<Value> {
        self.http.get(&format!("runs/get?run_id={}", escaped(id)))
    }

    /// Where a run's artifacts are.
    pub(super) fn artifacts(&self, run: &str) -> Result<String> {
        Ok(Run::of(&self.run(run)?)?.artifacts)
    }

    /// Id of a run's experiment.
    pub(super) fn experiment(&self, run: &str) -> Result<String> {
        Ok(self.run(run)?["run"]["info"]["experiment_id"].as_str().unwrap_or("0").to_owned())
    }

    /// A file of a run's artifacts; `None` if there is none.
    pub(super) fn file(&self, artifacts: &str, path: &str) -> Result<Option<Vec<u8>>> {
        match Place::of(artifacts) {
            Place::Folder(folder) => super::artifacts::read(&folder.join(path)),
            Place::Proxy(below) => self.http.file(&format!("{PROXY}{below}/{}", encoded(path))),
            Place::Url(url) => self.http.file(&format!("{url}/{}", encoded(path))),
            Place::Elsewhere => Err(Error::Source(format!("artifacts at {artifacts} are not read here"))),
        }
    }

    /// Copies artifacts of a run into a folder; a file becomes a file.
    pub(super) fn download(&self, run: &str, path: &str, into: &Path) -> Result<()> {
        let artifacts = self.artifacts(run)?;
        if let Place::Folder(folder) = Place::of(&artifacts) {
            return super::artifacts::copy(&folder.join(path), into);
        }
        let call = |path: &str| format!("artifacts/list?run_id={}&path={}", escaped(run), escaped(path));
        let mut open = vec![path.to_owned()];
        let mut count = 0;
        while let Some(at) = open.pop() {
            let listed = self.http.get(&call(&at))?;
            for file in listed["files"].as_array().into_iter().flatten() {
                let Some(name) = file["path"].as_str() else { continue };
                if file["is_dir"] == true {
                    open.push(name.to_owned());
                    continue;
                }
                let below = Path::new(name).strip_prefix(path).map_err(|_| strange(name))?;
                super::artifacts::check_inside(below)?;
                let bytes = self.file(&artifacts, name)?.ok_or_else(|| strange(name))?;
                let target = into.join(below);
                let folder = target.parent().unwrap_or(into).to_owned();
                let file_name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
                write(&folder, &file_name, &bytes)?;
                count += 1;
            }
        }
        if count > 0 {
            return Ok(());
        }
        // A file lists nothing below itself.
        let bytes = self.file(&artifacts, path)?;
        let bytes = bytes.ok_or_else(|| Error::Source(format!("the run has no artifact {path:?}")))?;
        std::fs::write(into, bytes).map_err(|source| Error::io(format!("cannot write {}", into.display()), source))
    }
}

fn strange(name: &str) -> Error {
    Error::Source(format!("the server lists {name:?}, and does not give it"))
}

fn encoded(path: &str) -> String {
    path.split('/').map(escaped).collect::<Vec<_>>().join("/")
}

/// How artifacts of a server are reached.
enum Place {
    /// As files of this machine.
    Folder(std::path::PathBuf),
    /// Through the server, below this path.
    Proxy(String),
    /// Through a server, at this URL.
    Url(String),
    Elsewhere,
}

impl Place {
    fn of(artifacts: &str) -> Self {
        let artifacts = artifacts.trim_end_matches('/');
        if let Some(rest) = artifacts.strip_prefix("mlflow-artifacts:") {
            // Another host's: `mlflow-artifacts://host:port/path`.
            return match rest.strip_prefix("//") {
                Some(rest) => match rest.split_once('/') {
                    Some(("", path)) => Self::Proxy(format!("/{path}")),
                    Some((host, path)) => Self::Url(format!("http://{host}{PROXY}/{path}")),
                    None => Self::Elsewhere,
                },
                None => Self::Proxy(rest.to_owned()),
            };
        }
        if artifacts.starts_with("http://") || artifacts.starts_with("https://") {
            return Self::Url(artifacts.to_owned());
        }
        let folder = local::folder(artifacts).filter(|folder| folder.is_absolute());
        folder.map_or(Self::Elsewhere, Self::Folder)
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Record for Remote {
    type Error = Error;

    fn address(&self) -> Option<String> {
        Some(self.http.base().to_owned())
    }

    fn begin(&mut self, facts: &Facts, _reach: Reach) -> Result<()> {
        if self.run.is_some() {
            return self.update("RUNNING", None);
        }
        let tags: Vec<_> = facts.tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        let user = facts.tags.iter().find(|(key, _)| key == "mlflow.user").map(|(_, user)| user.as_str());
        let mut body = json!({
            "experiment_id": self.experiment,
            "user_id": user.unwrap_or_default(),
            "start_time": now_ms(),
            "tags": tags,
        });
        if let Some(name) = &self.name {
            body["run_name"] = json!(name);
        }
        let run = Run::of(&self.http.post("runs/create", &body)?)?;
        let id = run.id.clone();
        self.run = Some(run);
        for params in facts.params.chunks(PARAMS_MAX) {
            let params: Vec<_> = params.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
            if let Err(error) = self.http.post("runs/log-batch", &json!({ "run_id": id, "params": params })) {
                self.update("FAILED", Some(now_ms()))?;
                return Err(error);
            }
        }
        Ok(())
    }

    fn tag(&mut self, key: &str, value: &str) -> Result<()> {
        self.http.post("runs/set-tag", &json!({ "run_id": self.run()?.id, "key": key, "value": value })).map(drop)
    }

    fn keep(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let artifacts = self.run()?.artifacts.clone();
        let below = format!("{}/{name}", super::LAUNCH_DIR);
        match Place::of(&artifacts) {
            Place::Folder(folder) => write(&folder.join(super::LAUNCH_DIR), name, bytes),
            Place::Proxy(path) => self.http.put(&format!("{PROXY}{path}/{below}"), bytes),
            Place::Url(url) => self.http.put(&format!("{url}/{below}"), bytes),
            Place::Elsewhere => {
                note(format!("{name} is not kept: artifacts of the run are at {artifacts}"));
                Ok(())
            }
        }
    }

    fn variables(&mut self, _environment: Option<&Path>) -> Result<Vec<(String, String)>> {
        let (run, experiment) = self.ids()?;
        Ok(super::variables(run, self.http.base().to_owned(), experiment))
    }

    fn ids(&self) -> Result<(String, String)> {
        Ok((self.run()?.id.clone(), self.experiment.clone()))
    }

    fn container(&mut self, _in_host_network: bool) -> Result<Mounts> {
        let (run, experiment) = self.ids()?;
        let uri = self.http.base().to_owned();
        let mut mounts = Mounts { volumes: Vec::new(), variables: super::variables(run, uri, experiment) };
        mounts.add_artifacts(&self.run()?.artifacts);
        Ok(mounts)
    }

    fn datasets(&self) -> Result<Vec<Dataset>> {
        let answer = self.http.get(&format!("runs/get?run_id={}", escaped(&self.run()?.id)))?;
        let inputs = answer["run"]["inputs"]["dataset_inputs"].as_array().into_iter().flatten();
        let dataset = |input: &Value| {
            let text = |key: &str| input["dataset"][key].as_str().unwrap_or_default().to_owned();
            Dataset { name: text("name"), digest: text("digest"), source: text("source") }
        };
        Ok(inputs.map(dataset).collect())
    }

    fn end(&mut self, is_success: bool) -> Result<()> {
        let status = if is_success { "FINISHED" } else { "FAILED" };
        let answer = self.http.get(&format!("runs/get?run_id={}", escaped(&self.run()?.id)))?;
        // The command may have ended the run itself. How its process ended counts more, as with `mlflow run`.
        let info = &answer["run"]["info"];
        let has_ended = info["end_time"].as_u64().is_some_and(|time| time > 0);
        match info["status"].as_str() {
            Some(known) if known == status && has_ended => Ok(()),
            Some("FINISHED" | "FAILED" | "KILLED") if has_ended => self.update(status, None),
            _ => self.update(status, Some(now_ms())),
        }
    }
}
