//! A store as a side of a comparison: what is visible in a snapshot.

use std::sync::Arc;

use runlode::engine::Snapshot;
use runlode::{HistoryQuery, IMPORT_TAG, Lifecycle, RunId};

use super::view::{Holds, Kind, Points, Record, Records, Row, Run, Runs, View, lasting, lifecycle};
use crate::error::Result;

/// Points read at once.
const PAGE_POINTS: usize = 1 << 16;

/// A snapshot of a store.
pub(super) struct StoreView {
    snapshot: Snapshot,
}

impl StoreView {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        Self { snapshot }
    }

    fn run(&self, id: RunId) -> Result<Option<Run>> {
        let Some(state) = self.snapshot.run(id)? else { return Ok(None) };
        let mut record = Record::new(Kind::Runs, format!("run {id}"));
        let experiment = self.snapshot.experiment(state.experiment)?;
        record.optional("experiment", experiment.map(|experiment| experiment.name.clone()));
        record.own("name", &state.name);
        record.own("user", &state.user_id);
        let status: &str = state.status.into();
        record.own("status", status);
        record.own("start", state.start_time_ms);
        record.optional("end", state.end_time_ms);
        record.own("lifecycle", lifecycle(self.snapshot.lifecycle(&state)? != Lifecycle::Active));
        record.each(Kind::Params, "param", &state.params);
        record.run_tags(&state.name, &state.tags);
        for dataset in &state.datasets {
            record.data_set(&dataset.name, &dataset.digest, &dataset.tags);
        }
        record.models(&state.model_inputs, &state.model_outputs);
        Ok(Some(Run { id, text: id.to_string(), record }))
    }
}

/// Tags without those that imports set for themselves.
fn tags(tags: &[(String, String)]) -> Vec<(String, String)> {
    tags.iter().filter(|(key, _)| !key.starts_with(IMPORT_TAG)).cloned().collect()
}

impl View for StoreView {
    fn holds(&self) -> Holds {
        Holds { values: true, repeats: false }
    }

    fn entities(&self) -> Result<Records> {
        let mut records = Records::new();
        for (id, state) in self.snapshot.experiments()? {
            let mut record = Record::new(Kind::Experiments, format!("experiment `{}`", state.name));
            record.own("id", id);
            record.own("created", state.creation_time_ms);
            record.own("lifecycle", lifecycle(state.lifecycle != Lifecycle::Active));
            let tags = tags(&state.tags);
            record.each(Kind::Tags, "tag", &tags);
            record.is_untouched = id.0 == 0 && tags.is_empty() && self.snapshot.runs_of(id)?.is_empty();
            for (model, state) in self.snapshot.logged_models_of(id)? {
                let mut record = Record::new(Kind::LoggedModels, format!("logged model {model}"));
                record.own("name", &state.name);
                record.own("type", &state.model_type);
                record.own("run", &state.source_run);
                record.own("status", state.status as u8);
                record.optional("message", state.status_message.as_ref().filter(|text| !text.is_empty()));
                record.own("created", state.creation_time_ms);
                record.own("lifecycle", lifecycle(state.lifecycle != Lifecycle::Active));
                for (run, key) in &state.metric_series {
                    record.own(&format!("metric {key} of run {run}"), "");
                }
                record.each(Kind::Params, "param", &state.params);
                record.each(Kind::Tags, "tag", &state.tags);
                records.insert(format!("m {model}"), record);
            }
            records.insert(format!("e {}", state.name), record);
        }
        for (id, state) in self.snapshot.registered_models()? {
            let mut record = Record::new(Kind::RegisteredModels, format!("registered model `{}`", state.name));
            record.own("created", state.creation_time_ms);
            record.optional("description", state.description.as_ref().filter(|text| !text.is_empty()));
            record.each(Kind::Tags, "tag", &tags(&state.tags));
            for (alias, version) in &state.aliases {
                record.facts.insert((Kind::Aliases, format!("alias {alias}")), version.to_string());
            }
            for version in &state.versions {
                let Some(of) = self.snapshot.model_version(id, *version)?.filter(|version| !version.deleted) else {
                    continue;
                };
                let label = format!("version {version} of model `{}`", state.name);
                let mut record = Record::new(Kind::ModelVersions, label);
                record.own("source", lasting(&of.source));
                record.optional("run", of.run_id.as_ref());
                record.optional("user", of.user_id.as_ref().filter(|text| !text.is_empty()));
                record.optional("description", of.description.as_ref().filter(|text| !text.is_empty()));
                let stage: &str = of.stage.into();
                record.own("stage", stage);
                record.own("status", format!("{:?}", of.status));
                record.optional("message", of.status_message.as_ref().filter(|text| !text.is_empty()));
                record.own("created", of.creation_time_ms);
                record.each(Kind::Tags, "tag", &of.tags);
                records.insert(format!("v {} {version:010}", state.name), record);
            }
            records.insert(format!("r {}", state.name), record);
        }
        Ok(records)
    }

    fn runs(&self, with: &mut dyn FnMut(&mut dyn Runs) -> Result<()>) -> Result<()> {
        let mut ids = Vec::new();
        for (experiment, _) in self.snapshot.experiments()? {
            ids.extend(self.snapshot.runs_of(experiment)?);
        }
        ids.sort_unstable();
        with(&mut StoreRuns { view: self, ids: ids.into_iter() })
    }

    fn points(&self, run: &Run, with: &mut dyn FnMut(&mut dyn Points) -> Result<()>) -> Result<()> {
        let mut keys: Vec<Arc<str>> = self.snapshot.latest(run.id)?.into_iter().map(|(key, _)| key).collect();
        keys.sort();
        let page = Vec::new().into_iter();
        with(&mut StorePoints { view: self, run: run.id, keys: keys.into_iter(), key: None, query: query(), page })
    }
}

fn query() -> HistoryQuery {
    HistoryQuery { limit: PAGE_POINTS, ..HistoryQuery::default() }
}

struct StoreRuns<'v> {
    view: &'v StoreView,
    ids: std::vec::IntoIter<RunId>,
}

impl Runs for StoreRuns<'_> {
    fn next(&mut self) -> Result<Option<Run>> {
        for id in self.ids.by_ref() {
            if let Some(run) = self.view.run(id)? {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }
}

/// Reads one key after another, page by page.
struct StorePoints<'v> {
    view: &'v StoreView,
    run: RunId,
    keys: std::vec::IntoIter<Arc<str>>,
    key: Option<Arc<str>>,
    query: HistoryQuery,
    page: std::vec::IntoIter<runlode::Point>,
}

impl Points for StorePoints<'_> {
    fn next(&mut self) -> Result<Option<Row>> {
        loop {
            if let (Some(key), Some(point)) = (&self.key, self.page.next()) {
                return Ok(Some(Row { key: key.to_string(), point: Some(point) }));
            }
            if self.key.is_none() || self.query.after.is_none() {
                let Some(key) = self.keys.next() else { return Ok(None) };
                self.key = Some(key);
                self.query = query();
            }
            let Some(key) = &self.key else { return Ok(None) };
            let page = self.view.snapshot.history(self.run, key, &self.query)?;
            let columns = &page.columns;
            let points: Vec<_> = (0..columns.len()).map(|at| columns.point(at)).collect();
            self.query.after = page.next;
            self.page = points.into_iter();
        }
    }
}
