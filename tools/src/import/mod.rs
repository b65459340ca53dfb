//! Importing an MLflow SQLite store.
//!
//! ```text
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

mod artifacts;
mod base;
mod beneath;
mod decode;
mod experiments;
mod key;
mod logged_models;
mod merge;
mod origin;
mod points;
mod registry;
mod report;
mod runs;
mod sink;
mod source;

use std::path::{Path, PathBuf};

use runlode::{LocalStore, RawStore};

use crate::error::{Error, Result};

pub use report::{Imported, Report};

/// How to import. The defaults are what an import without options does.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// `old=new` prefixes of artifact places, tried longest first. Empty: the folder beside the database is found.
    pub artifacts: Vec<(String, String)>,
    /// Turn +-1.797e308 back into the infinities that MLflow wrote so.
    pub restore_infinities: bool,
    /// The workspace to import, of a store that has several.
    pub workspace: String,
    /// Whether just this workspace was asked for: then an import without the others is complete.
    pub one_workspace: bool,
    /// Stop with an error after this many new batches, so that tests can interrupt an import.
    pub stop_after_batches: Option<u64>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            artifacts: Vec::new(),
            restore_infinities: false,
            workspace: "default".to_owned(),
            one_workspace: false,
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

/// Where an import comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportSource {
    /// An MLflow SQLite store.
    Sqlite(PathBuf),
}

impl ImportSource {
    /// Reads `sqlite:///PATH`, as MLflow writes it (four slashes for an absolute path), or a plain path to a file.
    ///
    /// ```
    /// use runlode_cli::import::ImportSource;
    /// assert_eq!(ImportSource::parse("sqlite:///mlflow.db")?, ImportSource::Sqlite("mlflow.db".into()));
    /// assert_eq!(ImportSource::parse("sqlite:////srv/mlflow.db")?, ImportSource::Sqlite("/srv/mlflow.db".into()));
    /// assert!(ImportSource::parse("postgresql://db/mlflow").is_err());
    /// # Ok::<(), runlode_cli::Error>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(rest) = text.strip_prefix("sqlite:") {
            let path = rest.strip_prefix("///").filter(|path| !path.is_empty()).ok_or_else(|| {
                Error::usage(format!("`{text}` names no file: write sqlite:///PATH, or sqlite:////PATH from the root"))
            })?;
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        if text.contains("://") || !Path::new(text).is_file() {
            return Err(Error::usage(format!(
                "cannot import from `{text}`: give sqlite:///PATH, the SQLite database of an MLflow store"
            )));
        }
        Ok(Self::Sqlite(PathBuf::from(text)))
    }
}

/// Checks that a file is an MLflow SQLite store: before a store is made for it.
///
/// # Errors
/// When it is not, or cannot be read.
pub fn check_sqlite(database: &Path) -> Result<()> {
    source::Source::open(database).map(|_| ())
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
    let source = source::Source::open(database)?;
    let mut report = Report::new(database, &source);
    report.tables_left_out = source.tables_left_out()?;
    let places = artifacts::Places::find(&source, database, options, &mut report)?;
    let mut sink = sink::Sink::new(store, options.stop_after_batches);

    let origin = origin::Origin::find(&source, options, &store.view()?)?;
    report.source_id = origin.source().to_owned();
    let experiments = experiments::import(&source, &origin, &places, options, &mut sink, &mut report)?;
    let foreign = runs::import(&source, &experiments, &places, &mut sink, &mut report, progress)?;
    logged_models::import(&source, &experiments, &places, &mut sink, &mut report, progress)?;
    points::import(&source, options, &foreign, &mut sink, &mut report, progress)?;
    registry::import(&source, &origin, &experiments, &places, options, &mut sink, &mut report)?;
    // Last, because deleted entities accept no changes.
    runs::delete(&source, &experiments, &foreign, &mut sink, &mut report)?;
    experiments::delete(&experiments, &origin, &mut sink, &mut report)?;
    runs::restore(&source, &experiments, &foreign, &mut sink, &mut report)?;
    store.ensure_default_experiment()?;
    store.flush()?;

    report.batches_new = sink.batches_new;
    report.batches_known = sink.batches_known;
    report.finish(options.one_workspace);
    Ok(report)
}
