//! A source of an import as a side of a comparison: its tables, read as the importer reads them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use runlode::{Point, Stage, TimestampMs, VersionStatus};
use rusqlite::{Connection, Rows as SqlRows};
use tempfile::TempDir;

use super::super::decode::{self, integer, integer_of, number_of, text, text_or_empty, value};
use super::super::report::Report;
use super::super::runs::{RunReader, RunTables, SourceRun};
use super::super::source::{Source, read_failed};
use super::view::{Holds, Kind, Points, Record, Records, Row, Run, Runs, View, lasting, lifecycle};
use crate::error::{Error, Result};

/// A source, open.
pub(super) struct TablesView<'s> {
    source: &'s Source,
    workspace: String,
    /// Names of the experiments.
    experiments: BTreeMap<i64, String>,
    scratch: RefCell<Option<Scratch>>,
}

/// A table for the points of one run, if the source has them in files: to sort them.
struct Scratch {
    connection: Connection,
    _folder: TempDir,
}

const COLUMNS: &str = "key, timestamp, step, value, is_nan";

impl<'s> TablesView<'s> {
    pub(super) fn new(source: &'s Source, workspace: &str) -> Result<Self> {
        let mut view =
            Self { source, workspace: workspace.to_owned(), experiments: BTreeMap::new(), scratch: RefCell::new(None) };
        let mut names = BTreeMap::new();
        view.each("experiments", &["experiment_id", "name"], |row| {
            if let Some(id) = integer(row, 0)? {
                names.insert(id, text_or_empty(row, 1)?);
            }
            Ok(())
        })?;
        view.experiments = names;
        Ok(view)
    }

    /// Calls `each` with every row of a table, of this workspace.
    fn each(
        &self,
        table: &str,
        columns: &[&str],
        mut each: impl FnMut(&rusqlite::Row<'_>) -> Result<()>,
    ) -> Result<()> {
        if !self.source.has(table) {
            return Ok(());
        }
        let (list, here) = (self.source.list(table, columns), self.source.in_workspace(table));
        let mut statement = self.source.prepare(&format!("SELECT {list} FROM {table} WHERE {here}"))?;
        let mut rows = statement.query([&self.workspace]).map_err(|error| read_failed(&error))?;
        while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
            each(row)?;
        }
        Ok(())
    }

    /// Adds the pairs of a table to the records that they belong to.
    fn pairs(
        &self,
        table: &str,
        columns: [&str; 3],
        records: &mut Records,
        (kind, word): (Kind, &str),
        key: impl Fn(&str) -> String,
    ) -> Result<()> {
        self.each(table, &columns, |row| {
            let of = key(&text_or_empty(row, 0)?);
            if let Some(record) = records.get_mut(&of) {
                record.each(kind, word, &[(text_or_empty(row, 1)?, text_or_empty(row, 2)?)]);
            }
            Ok(())
        })
    }

    fn logged_models(&self, records: &mut Records) -> Result<()> {
        let key = |id: &str| format!("m {}", decode::model_id(id).0);
        let columns = [
            "model_id",
            "name",
            "model_type",
            "source_run_id",
            "status",
            "status_message",
            "creation_timestamp_ms",
            "lifecycle_stage",
            "experiment_id",
        ];
        self.each("logged_models", &columns, |row| {
            if !integer(row, 8)?.is_some_and(|id| self.experiments.contains_key(&id)) {
                return Ok(());
            }
            let id = text_or_empty(row, 0)?;
            let mut record = Record::new(Kind::LoggedModels, format!("logged model {}", decode::model_id(&id).0));
            record.own("name", text_or_empty(row, 1)?);
            record.own("type", text_or_empty(row, 2)?);
            record.own("run", text_or_empty(row, 3)?);
            record.own("status", integer(row, 4)?.filter(|status| (1..=3).contains(status)).unwrap_or(0));
            record.optional("message", text(row, 5)?.filter(|text| !text.is_empty()));
            record.own("created", integer(row, 6)?.unwrap_or(0));
            record.own("lifecycle", lifecycle(text(row, 7)?.as_deref() == Some("deleted")));
            records.insert(key(&id), record);
            Ok(())
        })?;
        self.each("logged_model_metrics", &["model_id", "run_id", "metric_name"], |row| {
            if let Some(record) = records.get_mut(&key(&text_or_empty(row, 0)?)) {
                let run = decode::run_id(&text_or_empty(row, 1)?).0;
                record.own(&format!("metric {} of run {run}", text_or_empty(row, 2)?), "");
            }
            Ok(())
        })?;
        let params = ["model_id", "param_key", "param_value"];
        self.pairs("logged_model_params", params, records, (Kind::Params, "param"), key)?;
        self.pairs("logged_model_tags", ["model_id", "tag_key", "tag_value"], records, (Kind::Tags, "tag"), key)
    }

    fn registry(&self, records: &mut Records) -> Result<()> {
        let key = |name: &str| format!("r {name}");
        self.each("registered_models", &["name", "creation_time", "description"], |row| {
            let name = text_or_empty(row, 0)?;
            let mut record = Record::new(Kind::RegisteredModels, format!("registered model `{name}`"));
            record.own("created", integer(row, 1)?.unwrap_or(0));
            record.optional("description", text(row, 2)?.filter(|text| !text.is_empty()));
            records.insert(key(&name), record);
            Ok(())
        })?;
        self.pairs("registered_model_tags", ["name", "key", "value"], records, (Kind::Tags, "tag"), key)?;
        let alias = ["name", "alias", "version"];
        self.pairs("registered_model_aliases", alias, records, (Kind::Aliases, "alias"), key)?;
        let columns = [
            "name",
            "version",
            "source",
            "run_id",
            "user_id",
            "description",
            "current_stage",
            "status",
            "status_message",
            "creation_time",
        ];
        let key = |name: &str, version: i64| format!("v {name} {version:010}");
        self.each("model_versions", &columns, |row| {
            let (name, version) = (text_or_empty(row, 0)?, integer(row, 1)?.unwrap_or(0));
            let stage = text_or_empty(row, 6)?;
            if stage == "Deleted_Internal" {
                return Ok(());
            }
            let mut record = Record::new(Kind::ModelVersions, format!("version {version} of model `{name}`"));
            record.own("source", lasting(&text_or_empty(row, 2)?));
            record.optional("run", text(row, 3)?.filter(|text| !text.is_empty()));
            record.optional("user", text(row, 4)?.filter(|text| !text.is_empty()));
            record.optional("description", text(row, 5)?.filter(|text| !text.is_empty()));
            let stage: &str = decode::stage(&stage).unwrap_or(Stage::None).into();
            let status = decode::version_status(&text_or_empty(row, 7)?).unwrap_or(VersionStatus::Ready);
            record.own("stage", stage);
            record.own("status", format!("{status:?}"));
            record.optional("message", text(row, 8)?.filter(|text| !text.is_empty()));
            record.own("created", integer(row, 9)?.unwrap_or(0));
            records.insert(key(&name, version), record);
            Ok(())
        })?;
        self.each("model_version_tags", &["name", "version", "key", "value"], |row| {
            let of = key(&text_or_empty(row, 0)?, integer(row, 1)?.unwrap_or(0));
            if let Some(record) = records.get_mut(&of) {
                record.each(Kind::Tags, "tag", &[(text_or_empty(row, 2)?, text_or_empty(row, 3)?)]);
            }
            Ok(())
        })
    }

    fn run(&self, run: SourceRun) -> Option<Run> {
        let experiment = self.experiments.get(&run.number?)?;
        let mut record = Record::new(Kind::Runs, format!("run {}", run.id));
        record.own("experiment", experiment);
        record.own("name", &run.name);
        record.own("user", &run.user_id);
        let status: &str = run.status.into();
        record.own("status", status);
        record.own("start", run.start_time_ms);
        record.optional("end", run.end_time_ms);
        record.own("lifecycle", lifecycle(run.deleted));
        record.each(Kind::Params, "param", &run.params);
        record.run_tags(&run.name, &run.tags);
        for dataset in &run.datasets {
            record.data_set(&dataset.name, &dataset.digest, &dataset.tags);
        }
        record.models(&run.model_inputs, &run.model_outputs);
        Some(Run { id: run.id, text: run.uuid, record })
    }

    /// Whether the order of the texts is that of the ids: not if somebody wrote ids by hand.
    fn is_ordered(&self) -> Result<bool> {
        let mut statement = self.source.prepare("SELECT run_uuid FROM runs ORDER BY run_uuid")?;
        let mut rows = statement.query([]).map_err(|error| read_failed(&error))?;
        let mut last = None;
        while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
            let id = decode::run_id(&text_or_empty(row, 0)?).0;
            if last.is_some_and(|last| last >= id) {
                return Ok(false);
            }
            last = Some(id);
        }
        Ok(true)
    }

    /// The points of a run, brought from files into a table.
    fn scratch(&self, run: &str) -> Result<bool> {
        let Some(files) = self.source.files() else { return Ok(false) };
        let mut scratch = self.scratch.borrow_mut();
        let failed = |error: rusqlite::Error| Error::Source(format!("cannot write a temporary table: {error}"));
        if scratch.is_none() {
            let folder = TempDir::new().map_err(|error| Error::io("cannot make a temporary folder", error))?;
            let connection = Connection::open(folder.path().join("points.db")).map_err(failed)?;
            let sql = "PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; PRAGMA temp_store = FILE;
                       CREATE TABLE metrics (key TEXT, timestamp INTEGER, step INTEGER, value, is_nan INTEGER)";
            connection.execute_batch(sql).map_err(failed)?;
            *scratch = Some(Scratch { connection, _folder: folder });
        }
        let Some(Scratch { connection, .. }) = scratch.as_ref() else { return Ok(false) };
        connection.execute_batch("DELETE FROM metrics; BEGIN").map_err(failed)?;
        let mut insert =
            connection.prepare_cached("INSERT INTO metrics VALUES (?1, ?2, ?3, ?4, ?5)").map_err(failed)?;
        files.read(run, &mut Report::default(), &mut |of| {
            let Point { step, time, value } = of.point;
            let stored = if value.is_nan() { 0.0 } else { value };
            insert.execute((of.key, time.0, step, stored, value.is_nan())).map_err(failed)?;
            Ok(())
        })?;
        drop(insert);
        connection.execute_batch("COMMIT").map_err(failed)?;
        Ok(true)
    }
}

impl View for TablesView<'_> {
    fn holds(&self) -> Holds {
        let all = self.source.keeps_all_points();
        Holds { values: all, repeats: all }
    }

    fn entities(&self) -> Result<Records> {
        let mut records = Records::new();
        let columns = ["experiment_id", "name", "creation_time", "lifecycle_stage"];
        self.each("experiments", &columns, |row| {
            let (id, name) = (integer(row, 0)?, text_or_empty(row, 1)?);
            let mut record = Record::new(Kind::Experiments, format!("experiment `{name}`"));
            record.optional("id", id);
            record.own("created", integer(row, 2)?.unwrap_or(0));
            record.own("lifecycle", lifecycle(text(row, 3)?.as_deref() == Some("deleted")));
            records.insert(format!("e {name}"), record);
            Ok(())
        })?;
        self.each("experiment_tags", &["experiment_id", "key", "value"], |row| {
            let name = integer(row, 0)?.and_then(|id| self.experiments.get(&id));
            if let Some(record) = name.and_then(|name| records.get_mut(&format!("e {name}"))) {
                record.each(Kind::Tags, "tag", &[(text_or_empty(row, 1)?, text_or_empty(row, 2)?)]);
            }
            Ok(())
        })?;
        self.logged_models(&mut records)?;
        self.registry(&mut records)?;
        Ok(records)
    }

    fn runs(&self, with: &mut dyn FnMut(&mut dyn Runs) -> Result<()>) -> Result<()> {
        let mut tables = RunTables::prepare(self.source)?;
        let mut runs = TableRuns { view: self, reader: tables.read()?, ignored: Report::default() };
        if self.is_ordered()? {
            return with(&mut runs);
        }
        let mut all = Vec::new();
        while let Some(run) = runs.next()? {
            all.push(run);
        }
        all.sort_by_key(|run| run.id);
        with(&mut Sorted(all.into_iter()))
    }

    fn points(&self, run: &Run, with: &mut dyn FnMut(&mut dyn Points) -> Result<()>) -> Result<()> {
        let order = "ORDER BY key, timestamp, step";
        if self.scratch(&run.text)? {
            let scratch = self.scratch.borrow();
            let Some(Scratch { connection, .. }) = scratch.as_ref() else { return Ok(()) };
            let sql = format!("SELECT {COLUMNS} FROM metrics {order}");
            let mut statement = connection.prepare_cached(&sql).map_err(|error| read_failed(&error))?;
            let rows = statement.query([]).map_err(|error| read_failed(&error))?;
            return with(&mut TablePoints(rows));
        }
        if !self.source.has("metrics") {
            return with(&mut NoPoints);
        }
        let columns = self.source.list("metrics", &["key", "timestamp", "step", "value", "is_nan"]);
        let sql = format!("SELECT {columns} FROM metrics WHERE run_uuid = ?1 {order}");
        let mut statement = self.source.prepare(&sql)?;
        let rows = statement.query([&run.text]).map_err(|error| read_failed(&error))?;
        with(&mut TablePoints(rows))
    }
}

struct TableRuns<'v> {
    view: &'v TablesView<'v>,
    reader: RunReader<'v>,
    ignored: Report,
}

impl Runs for TableRuns<'_> {
    fn next(&mut self) -> Result<Option<Run>> {
        while let Some(run) = self.reader.next(&mut self.ignored)? {
            if let Some(run) = self.view.run(run) {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }
}

struct Sorted(std::vec::IntoIter<Run>);

impl Runs for Sorted {
    fn next(&mut self) -> Result<Option<Run>> {
        Ok(self.0.next())
    }
}

struct NoPoints;

impl Points for NoPoints {
    fn next(&mut self) -> Result<Option<Row>> {
        Ok(None)
    }
}

struct TablePoints<'q>(SqlRows<'q>);

impl Points for TablePoints<'_> {
    fn next(&mut self) -> Result<Option<Row>> {
        let Some(row) = self.0.next().map_err(|error| read_failed(&error))? else { return Ok(None) };
        let key = text_or_empty(row, 0)?;
        let step = match value(row, 2)? {
            rusqlite::types::ValueRef::Null => Some(0),
            step => integer_of(step),
        };
        let is_nan = integer_of(value(row, 4)?).is_some_and(|flag| flag != 0);
        let point = match (integer_of(value(row, 1)?), step, number_of(value(row, 3)?)) {
            (Some(time_ms), Some(step), Some(value)) => {
                let value = if is_nan { f64::NAN } else { value };
                Some(Point { step, time: TimestampMs(time_ms), value })
            }
            _ => None,
        };
        Ok(Some(Row { key, point }))
    }
}
