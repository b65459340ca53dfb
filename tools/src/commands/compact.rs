//! `runlode compact STORE [--mib-per-s N]`

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use runlode::{CompactOptions, CompactReport, LocalStore, Store};
use serde_json::json;

use crate::commands::du;
use crate::error::{Error, Result};
use crate::find::store_path;
use crate::output::{Output, note};
use crate::progress::Bar;
use crate::{Answer, disk, format, open};

/// How often the progress is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often the bytes of experiments are read beside a holder that replaces its files.
const READS_MAX: usize = 5;

/// Arguments of `compact`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  runlode compact ./store\n  runlode compact ./store --mib-per-s 20")]
pub struct Compact {
    /// Folder of the store, which may be in use
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// Read at most so many MiB a second, and leave disk and processor to others [default: as fast as it can]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    mib_per_s: Option<u64>,
}

/// Bytes of experiments, by id, with their names.
type Sizes = std::collections::BTreeMap<String, du::Row>;

impl Compact {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let store = open::to_change(&self.store)?;
        let (before, sizes_before) = (disk::bytes_of(&self.store)?, self.sizes(&store));
        let mut options = CompactOptions::default();
        options.bytes_per_second = self.mib_per_s.map(|mib| mib << 20);
        let report = compact(&store, &options)?;
        let sizes = sizes_before.zip(self.sizes(&store));
        store.close()?;
        let after = disk::bytes_of(&self.store)?;
        let bytes = |sizes: &Sizes, id: &str| sizes.get(id).map_or(0, du::Row::bytes);
        if output.is_json() {
            let experiments = sizes.as_ref().map(|(sizes_before, sizes_after)| {
                let experiment = |(id, row): (&String, &du::Row)| {
                    let (before, after) = (bytes(sizes_before, id), row.bytes());
                    json!({ "experiment_id": id, "name": row.name, "bytes_before": before, "bytes_after": after })
                };
                sizes_after.iter().map(experiment).collect::<Vec<_>>()
            });
            output.document(&json!({
                "bytes_before": before, "bytes_after": after, "pinned_bytes": report.pinned_bytes,
                "segments": report.segments_after, "series_files": report.series_files_after,
                "runs_purged": report.runs_purged, "points_purged": report.points_purged,
                "experiments": experiments,
            }))?;
        } else {
            output.line(format!("{} before, {} after.", format::bytes(before), format::bytes(after)))?;
            if report.runs_purged > 0 {
                let points = format::count(report.points_purged);
                output.line(format!("{} purged runs left the disk, {points} points.", report.runs_purged))?;
            }
            let Some((sizes_before, sizes_after)) = sizes else { return Ok(Answer::Yes) };
            let changed = sizes_after.iter().filter(|(id, row)| bytes(&sizes_before, id) != row.bytes());
            let cells = |(id, row): (&String, &du::Row)| {
                let (before, after) = (format::bytes(bytes(&sizes_before, id)), format::bytes(row.bytes()));
                vec![id.clone(), format::cut(&row.name, 40), before, after]
            };
            let rows: Vec<_> = changed.map(cells).collect();
            if !rows.is_empty() {
                output.table(&["experiment", "name", ">before", ">after"], rows)?;
            }
        }
        Ok(Answer::Yes)
    }

    /// Bytes of experiments. If they cannot be read (a holder that replaces its files all the time), the compaction is done
    /// all the same, and a note says why they are missing.
    fn sizes(&self, store: &Store) -> Option<Sizes> {
        let mut sizes = self.try_sizes(store);
        for _ in 1..READS_MAX {
            if !matches!(sizes, Err(Error::Store(runlode::Error::IndexChanged))) {
                break;
            }
            sizes = self.try_sizes(store);
        }
        sizes.map_err(|error| note(format!("the bytes by experiment are not known: {error}"))).ok()
    }

    /// As this process sees them: its own store, or the files of the one that another process holds.
    fn try_sizes(&self, store: &Store) -> Result<Sizes> {
        let local = match store.local() {
            Ok(local) => local,
            Err(_) => LocalStore::options(&self.store).create(false).read_only(true).open()?,
        };
        du::by_experiment(&local.snapshot()?, &self.store)
    }
}

/// Compacts in the process that holds the store, and shows how far it is.
fn compact(store: &Store, options: &CompactOptions) -> Result<CompactReport> {
    let done = AtomicBool::new(false);
    let bar = Bar::new("compact");
    let look = || {
        // A holder of an older version does not tell.
        while let (false, Ok(progress)) = (done.load(Ordering::Acquire), store.compaction_progress()) {
            if let Some((read, total)) = progress {
                bar.set("compact", read, total);
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    };
    std::thread::scope(|scope| {
        let looking = scope.spawn(look);
        let report = store.compact(options);
        done.store(true, Ordering::Release);
        looking.thread().unpark();
        Ok(report?)
    })
}
