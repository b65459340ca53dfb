//! Where the versions of a registered model come from, as a graph; now, or at a moment of the past.
//!
//! ```text
//!   data sets, models that were read -> runs -> logged models -> versions -> aliases
//! ```
//!
//! Nodes have an id of their own in the answer, which edges name. What is not known any more (a deleted run) is a node with
//! its id only.

use std::collections::BTreeSet;

use runlode::mlflow::entity::{ModelVersion, Run};
use runlode::mlflow::{ApiResult, ErrorCode};
use runlode::{AsOf, Lsn};
use serde_json::{Value, json};

use super::at::{as_of, or_newest};
use super::limit::positive;
use crate::answer::Answer;
use crate::door::Door;
use crate::request::Request;

/// Most versions of an answer, the newest; and versions without `limit`.
const VERSIONS_MAX: i64 = 200;
const VERSIONS: i64 = 60;
const CONTEXT: &str = "mlflow.data.context";
const COMMIT: &str = "mlflow.source.git.commit";

#[derive(Default)]
struct Graph {
    ids: BTreeSet<String>,
    nodes: Vec<Value>,
    edges: BTreeSet<(String, String)>,
}

impl Graph {
    /// Adds a node unless it is there; `make` says what it shows.
    fn node(&mut self, id: &str, make: impl FnOnce() -> Value) {
        if self.ids.insert(id.to_owned()) {
            let mut node = make();
            if let Value::Object(fields) = &mut node {
                fields.insert("id".to_owned(), id.into());
            }
            self.nodes.push(node);
        }
    }

    fn edge(&mut self, from: &str, to: &str) {
        self.edges.insert((from.to_owned(), to.to_owned()));
    }

    /// A run with what it read; what it made is known by the versions.
    fn run(&mut self, id: &str, run: Option<&Run>) {
        let node = format!("run:{id}");
        if self.ids.contains(&node) {
            return;
        }
        let tag = |key: &str| run.and_then(|run| run.tags.iter().find(|(name, _)| name == key)).map(|(_, value)| value);
        let (commit, info) = (tag(COMMIT), run.map(|run| &run.info));
        self.node(&node, || {
            json!({
                "kind": "run", "run_id": id, "name": info.map(|info| &info.run_name), "commit": commit,
                "deleted": info.is_none_or(|info| info.deleted),
            })
        });
        let Some(run) = run else { return };
        for input in &run.dataset_inputs {
            let data = format!("data:{}:{}", input.dataset.name, input.dataset.digest);
            let context = input.tags.iter().find(|(key, _)| key == CONTEXT).map(|(_, value)| value);
            self.node(&data, || {
                json!({ "kind": "data", "name": input.dataset.name, "digest": input.dataset.digest, "context": context })
            });
            self.edge(&data, &node);
        }
        for model in &run.model_inputs {
            let read = format!("read:{model}");
            self.node(&read, || json!({ "kind": "read", "model_id": model }));
            self.edge(&read, &node);
        }
    }

    /// A version, with the logged model that it was made of and its name.
    fn version(&mut self, version: &ModelVersion, model_name: Option<&str>) {
        let node = format!("version:{}", version.version);
        let stage: &str = version.current_stage.into();
        self.node(&node, || json!({ "kind": "version", "version": version.version, "stage": stage }));
        let run = version.run_id.as_deref().filter(|run| !run.is_empty()).map(|run| format!("run:{run}"));
        match (&version.model_id, &run) {
            (Some(model), run) => {
                let made = format!("model:{model}");
                self.node(&made, || json!({ "kind": "model", "model_id": model, "name": model_name }));
                if let Some(run) = run {
                    self.edge(run, &made);
                }
                self.edge(&made, &node);
            }
            (None, Some(run)) => self.edge(run, &node),
            (None, None) => {}
        }
        for alias in &version.aliases {
            let named = format!("alias:{alias}");
            self.node(&named, || json!({ "kind": "alias", "name": alias }));
            self.edge(&node, &named);
        }
    }
}

/// A run at a moment; `None` if it is not known.
fn run_at(door: &Door, id: &str, at: Option<AsOf>) -> ApiResult<Option<Run>> {
    let found = match at {
        None => door.mlflow.run(id).map(Some),
        Some(at) => door.mlflow.run_as_of(id, at).map(|past| past.run),
    };
    match found {
        Err(error) if error.code == ErrorCode::ResourceDoesNotExist => Ok(None),
        other => other,
    }
}

/// The name of a logged model at a moment; `None` if it is not known.
fn model_name_at(door: &Door, id: &str, at: Option<AsOf>) -> ApiResult<Option<String>> {
    let found = match at {
        None => door.mlflow.logged_model(id, true).map(|model| Some(model.name)),
        Some(at) => {
            let past = door.mlflow.logged_model_as_of(id, at);
            past.map(|past| past.models.into_iter().next().map(|model| model.name))
        }
    };
    match found {
        Err(error) if error.code == ErrorCode::ResourceDoesNotExist => Ok(None),
        other => other,
    }
}

pub(super) fn of_model(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let name = fields.required("name")?;
    let limit = positive(&fields, "limit", VERSIONS, VERSIONS_MAX)? as usize;
    let asked = as_of(&fields)?;
    let found = door.mlflow.registry_as_of(Some(name), or_newest(asked))?;
    // Runs are read at the position of the registry, so that both are of one moment.
    let at = asked.map(|_| AsOf::Position(Lsn(found.position)));
    let mut graph = Graph::default();
    let mut versions: Vec<&ModelVersion> = found.versions.iter().collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version.version));
    for version in versions.iter().take(limit) {
        if let Some(run) = version.run_id.as_deref().filter(|run| !run.is_empty())
            && !graph.ids.contains(&format!("run:{run}"))
        {
            graph.run(run, run_at(door, run, at)?.as_ref());
        }
        let model = match &version.model_id {
            Some(model) => model_name_at(door, model, at)?,
            None => None,
        };
        graph.version(version, model.as_deref());
    }
    door.answer(&json!({
        "position": found.position,
        "versions": found.versions.len(),
        "nodes": graph.nodes,
        "edges": graph.edges,
    }))
}
