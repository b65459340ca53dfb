//! MLflow's file store (`./mlruns`), of 1.x to 3.x.
//!
//! ```text
//!  ROOT/EXPERIMENT/meta.yaml  tags/KEY  datasets/MD5/meta.yaml          ROOT/.trash/EXPERIMENT   deleted ones
//!  ROOT/EXPERIMENT/RUN/meta.yaml  metrics/KEY  params/KEY  tags/KEY  inputs/ID/meta.yaml  outputs/MODEL/meta.yaml
//!  ROOT/EXPERIMENT/models/MODEL/meta.yaml  metrics/KEY  params/KEY  tags/KEY
//!  ROOT/models/NAME/meta.yaml  tags/KEY  aliases/ALIAS  version-N/meta.yaml  version-N/tags/KEY
//! ```
//!
//! - Folders decide, not what `meta.yaml` says about ids: an unquoted id is a YAML number, perhaps an octal one.
//! - A key with a slash lies in folders of its own. No link is followed.
//! - A crash leaves files that MLflow cannot read. What is whole is imported; the rest is counted and named.
//! - Metric files are read only for points ([`points`]), and stay where they are.

mod folder;
mod points;
mod registry;
mod run;

use std::collections::HashMap;
use std::path::Path;

use rusqlite::types::Null;

use self::folder::{Dir, field, number, optional};
use self::points::FilePoints;
use super::Progress;
use super::beneath::Kind;
use super::report::Report;
use super::source::{Nature, Source};
use super::stage::Stage;
use crate::error::{Error, Result};

const NATURE: Nature = Nature { kind: "MLflow's file store", keeps_all_points: true };
/// Folders of an experiment that are no runs.
const NO_RUNS: &[&str] = &["tags", "datasets", "traces", "models"];
const TRASH: &str = ".trash";
const MODELS: &str = "models";

/// Whether a folder looks like a file store.
pub(super) fn is_here(root: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(root) else { return false };
    let mut names = entries.flatten().map(|entry| entry.path());
    names.any(|path| path.join("meta.yaml").is_file())
}

/// Brings all but the points into tables.
pub(super) fn stage(root: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Source> {
    let top = Dir::open(root)?;
    let stage = Stage::temporary(&root.display().to_string())?;
    let mut found = Report::default();
    let mut runs: HashMap<String, String> = HashMap::new();
    stage.transaction()?;
    let mut experiments: Vec<(String, bool)> = Vec::new();
    for (name, kind) in top.entries(&mut found)? {
        match (name.as_str(), kind) {
            (MODELS, Kind::Folder) => registry::stage(&top.folder(MODELS)?, &stage, &mut found)?,
            (TRASH, Kind::Folder) => {
                let trash = top.folder(TRASH)?.entries(&mut found)?;
                let deleted = trash.into_iter().filter(|(_, kind)| *kind == Kind::Folder);
                experiments.extend(deleted.map(|(name, _)| (format!("{TRASH}/{name}"), true)));
            }
            (_, Kind::Folder) => experiments.push((name, false)),
            _ => {}
        }
    }
    if experiments.is_empty() {
        return Err(Error::usage(format!("{} is no file store of MLflow: it has no experiments", root.display())));
    }
    for (path, deleted) in experiments {
        experiment(&top, &path, deleted, &stage, &mut runs, &mut found, progress)?;
    }
    stage.commit()?;
    let files = FilePoints::new(root.to_owned(), runs);
    let mut source = stage.finish(&root.display().to_string(), NATURE, Some(Box::new(files)))?;
    source.found = found;
    Ok(source)
}

fn experiment(
    top: &Dir,
    path: &str,
    deleted: bool,
    stage: &Stage,
    runs: &mut HashMap<String, String>,
    found: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let dir = top.folder(path)?;
    let name = path.rsplit('/').next().unwrap_or(path);
    let entries = dir.entries(found)?;
    let Ok(id) = name.parse::<i64>() else {
        if entries.iter().any(|(entry, _)| entry == "meta.yaml") {
            found.problem(format!("experiment {path} is left out: its id is no number"));
            found.skip("experiments whose id is no number", 1);
        }
        return Ok(());
    };
    let Some(meta) = dir.meta("meta.yaml", found)? else {
        found.skip("experiments without a readable meta.yaml", 1);
        return Ok(());
    };
    let created_ms = number(&meta, "creation_time");
    let is_deleted = deleted || optional(&meta, "lifecycle_stage").as_deref() == Some("deleted");
    stage.put(
        "experiments",
        &[
            &id,
            &field(&meta, "name"),
            &field(&meta, "artifact_location"),
            &if is_deleted { "deleted" } else { "active" },
            &created_ms,
            &number(&meta, "last_update_time").or(created_ms),
        ],
    )?;
    for (key, value) in dir.values("tags", found)? {
        stage.put("experiment_tags", &[&id, &key, &value])?;
    }
    let mut datasets = HashMap::new();
    for (folder, meta) in dir.metas("datasets", found)? {
        let known = (field(&meta, "name"), field(&meta, "digest"));
        stage.put(
            "datasets",
            &[
                &format!("{id}/{folder}"),
                &id,
                &known.0,
                &known.1,
                &field(&meta, "source_type"),
                &field(&meta, "source"),
                &optional(&meta, "schema"),
                &optional(&meta, "profile"),
            ],
        )?;
        datasets.insert(folder, known);
    }
    let of = run::Of { experiment: id, deleted: is_deleted, datasets: &datasets };
    let total = entries.len() as u64;
    for (done, (entry, kind)) in entries.into_iter().enumerate() {
        progress(Progress { phase: "folders of runs", done: done as u64, total });
        if kind != Kind::Folder || NO_RUNS.contains(&entry.as_str()) {
            continue;
        }
        let place = format!("{path}/{entry}");
        if let Some(other) = runs.get(&entry) {
            found.problem(format!("run {entry} lies in {place} and in {other}; the first is left out"));
            found.skip("runs that lie in two experiments", 1);
            continue;
        }
        if run::stage(&dir.folder(&entry)?, &entry, &of, stage, found)? {
            runs.insert(entry, place);
        }
    }
    if dir.has_folder("models") {
        logged_models(&dir.folder("models")?, id, stage, found)?;
    }
    if dir.has_folder("traces") {
        let traces = dir.folder("traces")?.entries(found)?.len() as u64;
        found.leave_out("traces", traces);
    }
    Ok(())
}

fn logged_models(models: &Dir, experiment: i64, stage: &Stage, found: &mut Report) -> Result<()> {
    for (model, kind) in models.entries(found)? {
        if kind != Kind::Folder {
            continue;
        }
        let dir = models.folder(&model)?;
        let Some(meta) = dir.meta("meta.yaml", found)? else {
            found.skip("logged models without a readable meta.yaml", 1);
            continue;
        };
        stage.put(
            "logged_models",
            &[
                &model,
                &experiment,
                &field(&meta, "name"),
                &field(&meta, "artifact_location"),
                &number(&meta, "creation_timestamp"),
                &number(&meta, "last_updated_timestamp"),
                &number(&meta, "status"),
                &optional(&meta, "lifecycle_stage").unwrap_or_else(|| "active".to_owned()),
                &optional(&meta, "model_type"),
                &optional(&meta, "source_run_id"),
                &optional(&meta, "status_message"),
            ],
        )?;
        for (key, value) in dir.values("params", found)? {
            stage.put("logged_model_params", &[&model, &key, &value])?;
        }
        for (key, value) in dir.values("tags", found)? {
            stage.put("logged_model_tags", &[&model, &key, &value])?;
        }
        points::of_model(&dir, &model, found, &mut |point, run| {
            let value = if point.point.value.is_nan() { 0.0 } else { point.point.value };
            let (name, digest) = point.dataset.unzip();
            stage.put(
                "logged_model_metrics",
                &[&model, &point.key, &point.point.time.0, &point.point.step, &value, &run, &name, &digest],
            )
        })?;
    }
    Ok(())
}

/// Puts an input of a run.
fn put_input(stage: &Stage, input: &str, source: &str, run: &str) -> Result<()> {
    stage.put("inputs", &[&input, &"DATASET", &source, &"RUN", &run, &Null])
}
