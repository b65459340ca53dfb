//! `runlode import SOURCE STORE`

use std::path::PathBuf;

use clap::Args;
use runlode::RawStore;

use crate::error::Result;
use crate::find::store_path;
use crate::import::{ImportOptions, ImportSource, Report};
use crate::open::to_import;
use crate::output::Output;
use crate::progress::Bar;
use crate::{Answer, format};

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// sqlite:///PATH of an MLflow database (sqlite:////PATH for an absolute path), http(s)://HOST of an MLflow server, or
    /// a folder: mlruns, or one with TensorBoard's event files
    source: String,
    /// Folder of the store; created if it does not exist
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// Where artifacts are now, as OLD=NEW prefixes; without it those in the database's folder are imported, and those
    /// that a server hands out
    #[arg(long, value_name = "OLD=NEW", value_parser = pair)]
    artifacts: Vec<(String, String)>,
    /// Take no artifact files: their places stay as they are
    #[arg(long, conflicts_with = "artifacts")]
    no_artifacts: bool,
    /// Turn +-1.797e308, MLflow's encoding of infinities, back into infinities
    #[arg(long)]
    restore_infinities: bool,
    #[command(flatten)]
    reading: Reading,
}

/// How to read a source.
#[derive(Debug, Args)]
pub(crate) struct Reading {
    /// Workspace to import, if the database has several [default: default]
    #[arg(long)]
    workspace: Option<String>,
    /// File that keeps what was fetched from a server, so that the next import fetches only what is new
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
    /// Requests to a server at one time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=32))]
    concurrency: u8,
    /// Experiment of runs that belong to none, such as TensorBoard's [default: the folder's name]
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
        _ => Err("write OLD=NEW, e.g. /srv/mlflow/artifacts=./artifacts".to_owned()),
    }
}

impl Import {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let source = ImportSource::parse(&self.source)?;
        let options = self.reading.options();
        let options = ImportOptions {
            artifacts: self.artifacts,
            without_artifacts: self.no_artifacts,
            restore_infinities: self.restore_infinities,
            ..options
        };
        let bar = Bar::new("reading");
        // Before a store is made for it.
        let source = source.open(&options, &mut |at| bar.set(at.phase, at.done, at.total))?;
        let store = to_import(&self.store)?;
        let into = RawStore::from(store.clone());
        let report = source.import(&into, &options, &mut |at| bar.set(at.phase, at.done, at.total))?;
        drop(into);
        drop(bar);
        store.close()?;
        print(&report, output)?;
        Ok(if report.complete { Answer::Yes } else { Answer::No })
    }
}

impl Reading {
    /// As options of an import.
    pub(crate) fn options(self) -> ImportOptions {
        let options = ImportOptions {
            one_workspace: self.workspace.is_some(),
            cache: self.cache,
            concurrency: usize::from(self.concurrency),
            experiment: self.experiment,
            ..ImportOptions::default()
        };
        match self.workspace {
            Some(workspace) => ImportOptions { workspace, ..options },
            None => options,
        }
    }
}

/// Prints what an import did.
pub(crate) fn print(report: &Report, output: &mut Output) -> Result<()> {
    if output.is_json() {
        return output.document(report);
    }
    let imported = &report.imported;
    let what = match report.schema.as_deref() {
        _ if !report.kind.is_empty() => report.kind.clone(),
        Some(schema) => format!("MLflow schema {schema}"),
        None => "MLflow schema without a version".to_owned(),
    };
    output.line(format!("Imported {} ({what})", report.source))?;
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
        let rows = format::count(*rows);
        match report.kind.is_empty() {
            true => output.line(format!("  left out: table {table}, {rows} rows"))?,
            false => output.line(format!("  left out: {rows} {table}"))?,
        }
    }
    for problem in &report.problems {
        output.line(format!("  problem: {problem}"))?;
    }
    for (kind, count) in &report.kept {
        output.line(format!("  kept: {} {kind}", format::count(*count)))?;
    }
    if report.artifact_places_elsewhere > 0 {
        let count = format::count(report.artifact_places_elsewhere);
        output.line(format!("  kept as they are: {count} artifact places that were not read"))?;
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
