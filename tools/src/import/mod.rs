//! Importing what other trackers have: MLflow's databases, file stores and servers, TensorBoard's event files, and more.
//!
//! ```text
//!  SQLite of MLflow --------------------------------+
//!  mlruns/, event files, .wandb --+                 |
//!  server, PostgreSQL, trackio ---+--> stage (tables) --> source
//!
//!  source (one read transaction) -> origin -> experiments -> runs -> logged models -> points -> registry -> deletions
//!                                                 |            |          |            |
//!                                                 +------------+----------+------------+--> sink: batch + key -> store
//! ```
//!
//! - The source is only read; rows are streamed, so memory is bounded by one run's points of one chunk, its params,
//!   tags and keys, and by the ids of all runs.
//! - Entities are matched by their origin (`origin`). Ids are kept. What the store has already is compared, and only
//!   what is missing, or changed in the source since the last import, is added (`base`); so an import that was cut
//!   short is completed by running it again, and a second one changes nothing. What somebody decided in the store since
//!   stays.
//! - Whatever is not in the store as the source has it stands in the report.
//! - Every batch carries an idempotency key made of what it was read from (kind, id, content), for imports that race.
//! - Deletions come last, as what is deleted takes no changes.

mod appender;
mod artifacts;
mod base;
mod beneath;
mod current;
mod decode;
pub mod diff;
mod experiments;
mod fetched;
mod file_store;
mod home;
mod key;
mod logged_models;
mod merge;
mod open;
mod origin;
mod points;
mod postgres;
mod proto;
mod registry;
mod report;
mod runs;
mod server;
mod sink;
mod source;
mod stage;
mod tensorboard;
mod trackio;
mod wandb;

use std::path::{Path, PathBuf};

use runlode::{LocalStore, RawStore};

use crate::error::Result;

pub use open::{ImportSource, Opened};
pub use report::{Imported, Report};

/// How to import. The defaults are what an import without options does.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// `old=new` prefixes of artifact places, tried longest first. Empty: the folder beside the database is found.
    pub artifacts: Vec<(String, String)>,
    /// Turn +-1.797e308 back into the infinities that MLflow wrote so.
    pub restore_infinities: bool,
    /// Take no artifact files: their places stay as they are.
    pub without_artifacts: bool,
    /// The workspace to import, of a store that has several.
    pub workspace: String,
    /// Whether just this workspace was asked for: then an import without the others is complete.
    pub one_workspace: bool,
    /// A file that keeps what was fetched from a server, for the next import.
    pub cache: Option<PathBuf>,
    /// Requests to a server at one time.
    pub concurrency: usize,
    /// The experiment of runs that belong to none: those of event files.
    pub experiment: Option<String>,
    /// Stop with an error after this many new batches, so that tests can interrupt an import.
    pub stop_after_batches: Option<u64>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            artifacts: Vec::new(),
            without_artifacts: false,
            restore_infinities: false,
            workspace: "default".to_owned(),
            one_workspace: false,
            cache: None,
            concurrency: 1,
            experiment: None,
            stop_after_batches: None,
        }
    }
}

/// How far an import is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// What is being read.
    pub phase: &'static str,
    /// Rows of it done.
    pub done: u64,
    /// Rows of it in all, as far as known.
    pub total: u64,
}

/// Imports an MLflow SQLite store into a Runlode store. `progress` is called now and then.
///
/// # Errors
/// When the source cannot be read or the store cannot be written. Rows that the store refuses are no errors: they
/// stand in the report. After an error the import can be run again; what is there already stays.
pub fn import_sqlite(
    database: &Path,
    store: &LocalStore,
    options: &ImportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report> {
    import_sqlite_into(database, &RawStore::from(store.clone()), options, progress)
}

/// As [`import_sqlite`], into a store that another process may hold. Then every read and every batch is a call of that
/// process, and what it and its clients change meanwhile is met as it comes.
///
/// # Errors
/// As there, and when the process that holds the store does not answer.
pub fn import_sqlite_into(
    database: &Path,
    store: &RawStore,
    options: &ImportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report> {
    Opened::sqlite(database)?.import(store, options, progress)
}

impl Opened {
    /// A report that says what the source is.
    fn report(&self) -> Report {
        let source = &self.source;
        if source.is_foreign() {
            return Report::new(&self.name, Some(source.kind()), None);
        }
        let mut report = Report::new(&self.name, None, source.head.clone());
        if !source.head_known() {
            let head = source.head.as_deref().unwrap_or("none");
            report.note(format!(
                "schema version {head} is not one that was checked; its known tables and columns were imported"
            ));
        }
        if let Some(why) = source.copied {
            report.note(format!("a copy of the database was read, as {why}"));
        }
        report
    }

    /// Imports it into a store, in whatever process holds that. `progress` is called now and then.
    ///
    /// # Errors
    /// Those of [`import_sqlite_into`].
    pub fn import(
        &self,
        store: &RawStore,
        options: &ImportOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Report> {
        let source = &self.source;
        let mut report = self.report();
        report.tables_left_out = source.tables_left_out()?;
        report.absorb(source.found.clone());
        let files = self.files.as_ref();
        let folder = self.folder.as_deref();
        let places = artifacts::Places::find(source, folder, files, (store.path(), options), &mut report)?;
        let mut sink = sink::Sink::new(store, options.stop_after_batches);

        let origin = origin::Origin::find(source, options, &store.view()?)?;
        report.source_id = origin.source().to_owned();
        let experiments = experiments::import(source, &origin, &places, options, &mut sink, &mut report)?;
        let foreign = runs::import(source, &experiments, &places, &mut sink, &mut report, progress)?;
        logged_models::import(source, &experiments, &places, &mut sink, &mut report, progress)?;
        points::import(source, options, &foreign, &mut sink, &mut report, progress)?;
        registry::import(source, &origin, &experiments, &places, options, &mut sink, &mut report)?;
        // Last, because deleted entities accept no changes.
        runs::delete(source, &experiments, &foreign, &mut sink, &mut report)?;
        experiments::delete(&experiments, &origin, &mut sink, &mut report)?;
        runs::restore(source, &experiments, &foreign, &mut sink, &mut report)?;
        places.finish()?;
        store.ensure_default_experiment()?;
        store.flush()?;

        report.batches_new = sink.batches_new;
        report.batches_known = sink.batches_known;
        report.finish(options.one_workspace);
        Ok(report)
    }
}
