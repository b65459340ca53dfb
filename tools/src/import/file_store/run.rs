//! A run's folder.

use std::collections::HashMap;

use runlode_yaml::{Node, Value};
use rusqlite::types::Null;

use super::super::report::Report;
use super::super::stage::Stage;
use super::folder::{Dir, field, number, optional};
use super::put_input;
use crate::error::Result;

/// What a run belongs to.
pub(super) struct Of<'e> {
    pub(super) experiment: i64,
    /// Whether the experiment is deleted.
    pub(super) deleted: bool,
    /// Name and digest of its data sets, by their folders.
    pub(super) datasets: &'e HashMap<String, (String, String)>,
}

/// Puts a run into the tables. `false`: the folder is none.
pub(super) fn stage(dir: &Dir, run: &str, of: &Of<'_>, stage: &Stage, found: &mut Report) -> Result<bool> {
    let Some(meta) = dir.meta("meta.yaml", found)? else {
        found.skip("runs without a readable meta.yaml", 1);
        return Ok(false);
    };
    // MLflow ignores such a run as well.
    if let Some(other) = number(&meta, "experiment_id").filter(|other| *other != of.experiment)
        && !is_octal(&meta, of.experiment)
    {
        found.problem(format!("{} is left out: it names experiment {other} as its own", dir.path().display()));
        found.skip("runs that name another experiment as their own", 1);
        return Ok(false);
    }
    let status = match number(&meta, "status") {
        Some(2) => "SCHEDULED",
        Some(3) => "FINISHED",
        Some(4) => "FAILED",
        Some(5) => "KILLED",
        Some(1) | None => "RUNNING",
        Some(other) => {
            found.note(format!("run {run} has status {other}, which is none; imported as RUNNING"));
            "RUNNING"
        }
    };
    // MLflow's SQL stores mark the runs of a deleted experiment as well.
    let deleted = of.deleted || optional(&meta, "lifecycle_stage").as_deref() == Some("deleted");
    let tags = dir.values("tags", found)?;
    let name = optional(&meta, "run_name").filter(|name| !name.is_empty());
    let user = tags.iter().find(|(key, _)| key == "mlflow.user").map(|(_, user)| user.clone());
    stage.put(
        "runs",
        &[
            &run,
            &name.unwrap_or_else(|| field(&meta, "name")),
            &optional(&meta, "user_id").or(user),
            &status,
            &number(&meta, "start_time"),
            &number(&meta, "end_time"),
            &if deleted { "deleted" } else { "active" },
            &field(&meta, "artifact_uri"),
            &of.experiment,
            &number(&meta, "deleted_time"),
        ],
    )?;
    for (key, value) in tags {
        stage.put("tags", &[&run, &key, &value])?;
    }
    for (key, value) in dir.values("params", found)? {
        stage.put("params", &[&run, &key, &value])?;
    }
    for (folder, meta) in dir.metas("inputs", found)? {
        input(run, &folder, &meta, of, stage, found)?;
    }
    for (folder, meta) in dir.metas("outputs", found)? {
        let model = optional(&meta, "source_id").unwrap_or(folder);
        let step = number(&meta, "step").unwrap_or(0);
        let id = format!("{run}/out/{model}");
        stage.put("inputs", &[&id, &"RUN_OUTPUT", &run, &"MODEL_OUTPUT", &model, &step])?;
    }
    Ok(true)
}

/// An unquoted id such as `010` is octal for YAML, so the number is not what the writer meant.
fn is_octal(meta: &Node, experiment: i64) -> bool {
    let number = number(meta, "experiment_id").unwrap_or(0);
    i64::from_str_radix(&experiment.to_string(), 8) == Ok(number)
}

fn input(run: &str, folder: &str, meta: &Node, of: &Of<'_>, stage: &Stage, found: &mut Report) -> Result<()> {
    let id = format!("{run}/in/{folder}");
    let source = field(meta, "source_id");
    match field(meta, "source_type").as_str() {
        "DATASET" if of.datasets.contains_key(&source) => {
            put_input(stage, &id, &format!("{}/{source}", of.experiment), run)?;
        }
        "DATASET" => {
            found.problem(format!("run {run} has data set {source} as its input, which its experiment lacks"));
            found.skip("inputs whose data set is missing", 1);
            return Ok(());
        }
        // The run is the source here, as in MLflow's SQL stores.
        "MODEL" => stage.put("inputs", &[&id, &"RUN_INPUT", &run, &"MODEL_INPUT", &source, &Null])?,
        other => {
            found.problem(format!("run {run} has an input of unknown kind `{other}`"));
            found.skip("inputs of unknown kinds", 1);
            return Ok(());
        }
    }
    if let Some(Value::Map(tags)) = meta.get("tags").map(|tags| &tags.value) {
        for (key, value) in tags {
            stage.put("input_tags", &[&id, &key.value.to_string(), &value.value.to_string()])?;
        }
    }
    Ok(())
}
