//! `runlode import SOURCE STORE`

use std::path::PathBuf;

use clap::Args;
use runlode::RawStore;

use crate::error::{Error, Result};
use crate::find::store_path;
use crate::import::{ImportOptions, ImportSource, Report, check_sqlite, import_sqlite_into};
use crate::open::to_import;
use crate::output::Output;
use crate::progress::Bar;
use crate::{Answer, format};

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// sqlite:///PATH of an MLflow database (sqlite:////PATH for an absolute path)
    source: String,
    /// Folder of the store; created if it does not exist
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// Where artifacts are now, as OLD=NEW prefixes; without it only those in the database's folder are imported
    #[arg(long, value_name = "OLD=NEW", value_parser = pair)]
    artifacts: Vec<(String, String)>,
    /// Turn +-1.797e308, MLflow's encoding of infinities, back into infinities
    #[arg(long)]
    restore_infinities: bool,
    /// Workspace to import, if the database has several [default: default]
    #[arg(long)]
    workspace: Option<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
        _ => Err("write OLD=NEW, e.g. /srv/mlflow/artifacts=./artifacts".to_owned()),
    }
}

impl Import {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let ImportSource::Sqlite(database) = ImportSource::parse(&self.source)?;
        if !database.is_file() {
            return Err(Error::usage(format!(
                "there is no file {}; give sqlite:///PATH of mlflow.db",
                database.display()
            )));
        }
        check_sqlite(&database)?;
        let store = to_import(&self.store)?;
        let options = ImportOptions {
            artifacts: self.artifacts,
            restore_infinities: self.restore_infinities,
            one_workspace: self.workspace.is_some(),
            ..ImportOptions::default()
        };
        let options = match self.workspace {
            Some(workspace) => ImportOptions { workspace, ..options },
            None => options,
        };
        let bar = Bar::new("reading");
        let into = RawStore::from(store.clone());
        let report = import_sqlite_into(&database, &into, &options, &mut |at| bar.set(at.phase, at.done, at.total))?;
        drop(into);
        drop(bar);
        store.close()?;
        print(&report, output)?;
        Ok(if report.complete { Answer::Yes } else { Answer::No })
    }
}

/// Prints what an import did.
pub(crate) fn print(report: &Report, output: &mut Output) -> Result<()> {
    if output.is_json() {
        return output.document(report);
    }
    let imported = &report.imported;
    let schema = report.schema.as_deref().unwrap_or("without a version");
    output.line(format!("Imported {} (MLflow schema {schema})", report.source))?;
    let counts = [
        ("experiments", imported.experiments),
        ("runs", imported.runs),
        ("params", imported.params),
        ("tags", imported.tags),
        ("metric points", imported.points),
        ("data set inputs", imported.dataset_inputs),
        ("logged models", imported.logged_models),
        ("model inputs and outputs", imported.model_links),
        ("metric rows of models", imported.model_points),
        ("registered models", imported.registered_models),
        ("model versions", imported.model_versions),
        ("aliases", imported.aliases),
        ("artifact files", imported.artifact_files),
    ];
    for (what, count) in counts {
        output.line(format!("  {:>12}  {what}", format::count(count)))?;
    }
    if report.batches_new == 0 && report.artifact_files_new == 0 {
        output.line("Everything was there already: nothing changed.")?;
    }
    for (reason, rows) in &report.skipped {
        output.line(format!("  left out: {} {reason}", format::count(*rows)))?;
    }
    for (table, rows) in &report.tables_left_out {
        output.line(format!("  left out: table {table}, {} rows", format::count(*rows)))?;
    }
    for problem in &report.problems {
        output.line(format!("  problem: {problem}"))?;
    }
    for (kind, count) in &report.kept {
        output.line(format!("  kept: {} {kind}", format::count(*count)))?;
    }
    if report.artifact_places_elsewhere > 0 {
        let count = format::count(report.artifact_places_elsewhere);
        output.line(format!("  kept as they are: {count} artifact places that are not on this machine"))?;
    }
    for note in &report.notes {
        output.line(format!("  note: {note}"))?;
    }
    for difference in &report.differences {
        output.line(format!("  differs: {difference}"))?;
    }
    let more = report.notes_more + report.differences_more + report.problems_more;
    if more > 0 {
        output.line(format!("  and {more} more problems, notes and differences"))?;
    }
    Ok(())
}
