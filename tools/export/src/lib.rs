//! Exports a store: as Parquet files, as MLflow's SQLite database, or as TensorBoard's event files.
//!
//! ```
//! use runlode::{LocalStore, RunSpec};
//! use runlode_export::{Options, Target, export};
//!
//! # let dir = tempfile::tempdir()?;
//! # let (path, out) = (dir.path().join("exp"), dir.path().join("out"));
//! let store = LocalStore::open(&path)?;
//! let experiment = store.create_experiment("digits")?;
//! let run = store.create_run(experiment, RunSpec::named("trial-17"))?;
//! run.log_metrics(0, &[("loss", 0.5)])?;
//!
//! let report = export(&store, &Target::Parquet(out.clone()), &Options::default(), &mut |_| {})?;
//! assert_eq!((report.written.runs, report.written.points), (1, 1));
//! assert!(out.join("points/part-00001.parquet").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - An export shows the store at one position: now, or any earlier one.
//! - It is built beside its place under another name, and moved there when it is complete. If it is cut at any moment,
//!   the same export run again goes on from there. If the target is complete at that position, nothing is written.
//! - A target that no export wrote is refused, and so is a database that was changed since.
//! - Memory is that of a few blocks of points and the ids of all runs.
//!
//! Imports only point down these levels:
//!
//! ```text
//! lib                                  begins, goes on, ends
//! parquet/  sqlite/  tensorboard/      a target each; none imports another one
//! folder  history  select  series      where files grow; what of the store is read, in which order
//! manifest  moment  target             how far an export is; the store at a position; where to
//! error  progress  report  tags        ground
//! ```

mod error;
mod folder;
mod history;
mod manifest;
mod moment;
mod parquet;
mod progress;
mod report;
mod select;
mod series;
mod sqlite;
mod tags;
mod target;
mod tensorboard;

use runlode::{AsOf, LocalStore, Lsn};

pub use error::{Error, Result};
pub use progress::Step;
pub use report::{Loss, Report, Written};
pub use select::Only;
pub use target::Target;

use folder::{Begun, Folder};
use manifest::Manifest;
use moment::Moment;
use progress::Progress;
use select::Selected;

/// Most threads that encode points, unless asked otherwise.
const THREADS_MAX: usize = 8;
/// Points of a Parquet file, unless asked otherwise.
const PART_POINTS: u64 = 1 << 24;

/// How to export. The default is all of the store, as it is now.
///
/// ```
/// use runlode::{AsOf, Lsn};
/// use runlode_export::{Only, Options};
///
/// let options = Options::default().until(AsOf::Position(Lsn(120))).only(Only::Experiment("digits".into()));
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "options do nothing until they are given to `export`"]
pub struct Options {
    until: Option<AsOf>,
    only: Vec<Only>,
    threads: Option<usize>,
    part_points: Option<u64>,
}

impl Options {
    /// Exports the store as it was at a moment.
    pub fn until(mut self, moment: AsOf) -> Self {
        self.until = Some(moment);
        self
    }

    /// Exports this part of the store, and those named by further calls, instead of all of it.
    pub fn only(mut self, part: Only) -> Self {
        self.only.push(part);
        self
    }

    /// How many threads encode Parquet; default: as many as the machine runs at once, at most 8.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// About how many points a Parquet file has at most; default: 16 Mi. An export that was cut goes on after the last
    /// complete file.
    pub fn part_points(mut self, points: u64) -> Self {
        self.part_points = Some(points.max(1));
        self
    }

    fn thread_count(&self) -> usize {
        self.threads
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS_MAX)))
    }
}

/// Exports a store. `progress` is called for each run and table.
///
/// A store that is open for writing may be written meanwhile. If it is short of memory then, the export ends with
/// [`runlode::Error::SnapshotTooOld`]; run it again, or open the store for reading.
///
/// # Errors
/// [`Error`] says what to do; what was written by then is used by the next call.
pub fn export(
    store: &LocalStore,
    target: &Target,
    options: &Options,
    progress: &mut dyn FnMut(Step),
) -> Result<Report> {
    let mut progress = Progress(progress);
    let mut moment = Moment::of(store, options.until)?;
    let mut only: Vec<String> = options.only.iter().map(ToString::to_string).collect();
    only.sort();
    only.dedup();
    let kind = match target {
        Target::Parquet(_) => "parquet",
        Target::Sqlite(_) => "sqlite",
        Target::TensorBoard(_) => "tensorboard",
    };
    let wanted = Manifest::new(kind, store.engine().id(), moment.position, only);
    let fixed = options.until.is_some();
    let now = moment.snapshot.position();
    let mut earlier = |manifest: &Manifest| -> Result<()> {
        if manifest.position != moment.position.0 {
            moment = Moment::of(store, Some(AsOf::Position(Lsn(manifest.position))))?;
        }
        Ok(())
    };
    let (manifest, resumed, unchanged) = match target {
        Target::Sqlite(path) => match sqlite::Database::begin(path, wanted, fixed)? {
            sqlite::Begun::Complete(manifest) => (*manifest, false, true),
            sqlite::Begun::Work(mut database) => {
                earlier(&database.manifest)?;
                let resumed = database.resumed;
                let selected = Selected::of(&moment, &options.only)?;
                sqlite::write(&moment, &selected, &mut database, &mut progress)?;
                (database.finish()?, resumed, false)
            }
        },
        Target::Parquet(path) | Target::TensorBoard(path) => match Folder::begin(path, wanted, fixed)? {
            Begun::Complete(manifest) => (*manifest, false, true),
            Begun::Work(mut folder) => {
                earlier(&folder.manifest)?;
                let resumed = folder.resumed;
                let selected = Selected::of(&moment, &options.only)?;
                match target {
                    Target::Parquet(_) => {
                        let form = parquet::Form {
                            threads: options.thread_count(),
                            part_points: options.part_points.unwrap_or(PART_POINTS),
                        };
                        parquet::write(&moment, &selected, &mut folder, form, &mut progress)?;
                    }
                    _ => tensorboard::write(&moment, &selected, &mut folder, &mut progress)?,
                }
                (folder.finish()?, resumed, false)
            }
        },
    };
    Ok(Report { store_position: now.0, resumed, unchanged, ..manifest.report })
}
