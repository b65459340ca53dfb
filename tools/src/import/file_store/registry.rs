//! Registered models of a file store.

use super::super::beneath::Kind;
use super::super::report::Report;
use super::super::stage::Stage;
use super::folder::{Dir, field, number, optional};
use crate::error::Result;

/// Puts the registered models of a folder into the tables.
pub(super) fn stage(models: &Dir, stage: &Stage, found: &mut Report) -> Result<()> {
    for (name, kind) in models.entries(found)? {
        if kind != Kind::Folder {
            continue;
        }
        let dir = models.folder(&name)?;
        let Some(meta) = dir.meta("meta.yaml", found)? else {
            found.skip("registered models without a readable meta.yaml", 1);
            continue;
        };
        stage.put(
            "registered_models",
            &[
                &name,
                &number(&meta, "creation_timestamp"),
                &number(&meta, "last_updated_timestamp"),
                &optional(&meta, "description"),
            ],
        )?;
        for (key, value) in dir.values("tags", found)? {
            stage.put("registered_model_tags", &[&name, &key, &value])?;
        }
        for (alias, version) in dir.values("aliases", found)? {
            match version.trim().parse::<i64>() {
                Ok(version) => stage.put("registered_model_aliases", &[&name, &alias, &version])?,
                Err(_) => {
                    found.problem(format!("alias {alias} of model {name} names version `{version}`, which is none"));
                    found.skip("aliases without a version", 1);
                }
            }
        }
        for (entry, kind) in dir.entries(found)? {
            let version = entry.strip_prefix("version-").and_then(|version| version.parse::<i64>().ok());
            if let (Some(version), Kind::Folder) = (version, kind) {
                put_version(&dir.folder(&entry)?, &name, version, stage, found)?;
            }
        }
    }
    Ok(())
}

fn put_version(dir: &Dir, model: &str, version: i64, stage: &Stage, found: &mut Report) -> Result<()> {
    let Some(meta) = dir.meta("meta.yaml", found)? else {
        found.skip("model versions without a readable meta.yaml", 1);
        return Ok(());
    };
    // Null where MLflow writes an empty text for none.
    let given = |name: &str| optional(&meta, name).filter(|text| !text.is_empty());
    let source = match given("model_id") {
        // The only link to a logged model that SQL stores have.
        Some(model) if field(&meta, "source").is_empty() => format!("models:/{model}"),
        _ => field(&meta, "source"),
    };
    stage.put(
        "model_versions",
        &[
            &model,
            &version,
            &number(&meta, "creation_timestamp"),
            &number(&meta, "last_updated_timestamp"),
            &optional(&meta, "description"),
            &optional(&meta, "user_id"),
            &given("current_stage").unwrap_or_else(|| "None".to_owned()),
            &source,
            &given("run_id"),
            &given("status").unwrap_or_else(|| "READY".to_owned()),
            &given("status_message"),
            &given("run_link"),
            &given("storage_location"),
        ],
    )?;
    for (key, value) in dir.values("tags", found)? {
        stage.put("model_version_tags", &[&model, &version, &key, &value])?;
    }
    Ok(())
}
