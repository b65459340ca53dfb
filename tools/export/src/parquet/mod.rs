//! Parquet: a folder with a folder for each table.
//!
//! ```text
//! out/experiments/part-00001.parquet      a row for each entity, its params and tags as maps
//!     datasets/  runs/  logged_models/
//!     registry/                           models and their versions
//!     events/                             the history of all of them
//!     points/part-00001.parquet, ...      sorted by run, key, step, so that readers skip what they do not need
//!     runlode-export.json                 which store, which position, what was written
//! ```
//! Nothing that the store knows of experiments, runs, models and their points is left out, so the tables can be read
//! back. A table is one step of the export; `points` also goes on after its last complete file.

mod columns;
mod encode;
mod entities;
mod events;
mod file;
mod group;
mod points;
mod registry;
mod repeats;

use std::collections::BTreeSet;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use runlode::{EntityKey, ExperimentId};

use self::entities::Experiment;
pub(crate) use self::file::Form;
use self::file::{Table, failed};
use crate::error::Result;
use crate::folder::Folder;
use crate::history;
use crate::moment::Moment;
use crate::progress::Progress;
use crate::report::Report;
use crate::select::Selected;

/// Rows that are made into columns at once, at most.
const BATCH_ROWS: usize = 4096;
/// About the memory of the rows that are made into columns at once.
const BATCH_BYTES: usize = 8 << 20;

/// Rows of a table, written in batches.
struct Rows<R> {
    table: Table,
    rows: Vec<R>,
    bytes: usize,
    make: fn(&[R]) -> Result<RecordBatch, ArrowError>,
}

impl<R> Rows<R> {
    fn create(folder: &Folder, name: &str, make: fn(&[R]) -> Result<RecordBatch, ArrowError>) -> Result<Self> {
        let empty = make(&[]).map_err(|error| failed(&folder.path(name), error.into()))?;
        Ok(Self { table: Table::create(folder, name, &empty)?, rows: Vec::new(), bytes: 0, make })
    }

    fn push(&mut self, row: R, bytes: usize) -> Result<()> {
        self.rows.push(row);
        self.bytes += bytes;
        if self.rows.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let rows = (self.make)(&self.rows).map_err(|error| self.table.failed(error.into()))?;
        self.rows.clear();
        self.bytes = 0;
        self.table.write(&rows)
    }

    fn finish(mut self, folder: &mut Folder) -> Result<()> {
        self.flush()?;
        self.table.finish(folder)
    }
}

/// Writes all tables that are not done yet.
pub(crate) fn write(
    moment: &Moment,
    selected: &Selected,
    folder: &mut Folder,
    form: Form,
    progress: &mut Progress<'_>,
) -> Result<()> {
    type Write = fn(&Moment, &Selected, &mut Folder, &mut Progress<'_>) -> Result<()>;
    let tables: [(&str, Write); 5] = [
        ("experiments", experiments),
        ("runs", runs_and_datasets),
        ("logged_models", logged_models),
        ("registry", registry),
        ("events", events),
    ];
    for (name, write) in tables {
        if !folder.manifest.is_done(name) {
            write(moment, selected, folder, progress)?;
            folder.manifest.set_done(name);
            folder.save()?;
        }
    }
    if !folder.manifest.is_done(points::TABLE) {
        points::write(moment, selected, folder, form, progress)?;
        folder.manifest.set_done(points::TABLE);
        folder.save()?;
    }
    Ok(())
}

fn experiments(moment: &Moment, selected: &Selected, folder: &mut Folder, _: &mut Progress<'_>) -> Result<()> {
    let mut rows = Rows::create(folder, "experiments", entities::experiments)?;
    for (id, state) in &selected.experiments {
        let place = moment.places.experiment(&id.to_string(), state.artifact_location.as_deref());
        rows.push(Experiment(*id, state.clone(), place), 512)?;
        folder.manifest.report.written.experiments += 1;
    }
    rows.finish(folder)
}

fn runs_and_datasets(
    moment: &Moment,
    selected: &Selected,
    folder: &mut Folder,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let mut rows = Rows::create(folder, "runs", entities::runs)?;
    let mut datasets: BTreeSet<(ExperimentId, String, String)> = BTreeSet::new();
    let total = selected.runs.len() as u64;
    for (done, (id, experiment)) in (0u64..).zip(&selected.runs) {
        progress.at("runs", done, total);
        let Some(run) = entities::Run::read(moment, selected, *id)? else { continue };
        run.count(&mut folder.manifest.report);
        datasets.extend(run.state.datasets.iter().map(|set| (*experiment, set.name.clone(), set.digest.clone())));
        let bytes = run.bytes();
        rows.push(run, bytes)?;
    }
    rows.finish(folder)?;
    let mut rows = Rows::create(folder, "datasets", entities::datasets)?;
    for dataset in entities::datasets_of(moment, &datasets)? {
        let bytes = dataset.bytes();
        rows.push(dataset, bytes)?;
    }
    rows.finish(folder)
}

fn logged_models(moment: &Moment, selected: &Selected, folder: &mut Folder, _: &mut Progress<'_>) -> Result<()> {
    let mut rows = Rows::create(folder, "logged_models", entities::logged_models)?;
    for id in &selected.logged_models {
        let Some(model) = entities::LoggedModel::read(moment, selected, *id)? else { continue };
        folder.manifest.report.written.logged_models += 1;
        let bytes = model.bytes();
        rows.push(model, bytes)?;
    }
    rows.finish(folder)
}

fn registry(moment: &Moment, selected: &Selected, folder: &mut Folder, _: &mut Progress<'_>) -> Result<()> {
    let mut rows = Rows::create(folder, "registry", registry::registry)?;
    for (id, state) in &selected.registered_models {
        for row in registry::Row::of(moment, *id, state, &mut folder.manifest.report)? {
            rows.push(row, 1024)?;
        }
    }
    rows.finish(folder)
}

fn events(moment: &Moment, selected: &Selected, folder: &mut Folder, progress: &mut Progress<'_>) -> Result<()> {
    let mut rows = Rows::create(folder, "events", events::events)?;
    let mut of = |key: EntityKey, name: &str, report: &mut Report| -> Result<()> {
        for happened in history::of(moment, &key)? {
            report.written.events += 1;
            let row = events::Row::new(&key, name, happened);
            let bytes = row.bytes();
            rows.push(row, bytes)?;
        }
        Ok(())
    };
    let report = &mut folder.manifest.report;
    for (id, state) in &selected.experiments {
        of(EntityKey::Experiment(*id), &state.name, report)?;
    }
    let total = selected.runs.len() as u64;
    for (done, (id, _)) in (0u64..).zip(&selected.runs) {
        progress.at("events", done, total);
        if let Some((state, _)) = moment.run(*id)? {
            of(EntityKey::Run(*id), &state.name, report)?;
        }
    }
    for id in &selected.logged_models {
        if let Some(state) = moment.logged_model(*id)? {
            of(EntityKey::LoggedModel(*id), &state.name, report)?;
        }
    }
    for (id, state) in &selected.registered_models {
        of(EntityKey::RegisteredModel(*id), &state.name, report)?;
    }
    rows.finish(folder)
}
