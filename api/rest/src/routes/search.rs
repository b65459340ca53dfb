//! Searches: experiments, runs, data sets, logged models, registered models, versions.

use runlode::mlflow::entity::{DatasetSummary, Run, View};
use runlode::mlflow::{ApiResult, LoggedModelOrder, MODELS_PAGE_MAX, RUNS_PAGE_MAX, VERSIONS_PAGE_MAX};
use serde::Serialize;

use super::experiments::ExperimentJson;
use super::logged_models::LoggedModelJson;
use super::model_versions::ModelVersionJson;
use super::registered_models::RegisteredModelJson;
use super::runs::RunJson;
use crate::answer::{Answer, ListJson};
use crate::door::Door;
use crate::request::{Fields, Request};
use crate::route::{Api, Route, Work};

/// Page sizes if a request names none.
const RUNS_PAGE: i64 = 1000;
const MODELS_PAGE: i64 = 100;
const LOGGED_MODELS_PAGE: i64 = 50;
/// MLflow's server passes a size of 0 on as none, and its store then has a default of its own.
const LOGGED_MODELS_PAGE_OF_0: i64 = 100;

const VIEWS: &[(&str, i64, View)] =
    &[("ACTIVE_ONLY", 1, View::ActiveOnly), ("DELETED_ONLY", 2, View::DeletedOnly), ("ALL", 3, View::All)];

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post("experiments/search", Work::Read, experiments),
        Route::get("experiments/search", Work::Read, experiments),
        Route::post("experiments/search-datasets", Work::Read, datasets).api(Api::Pages),
        Route::post("runs/search", Work::Read, runs),
        Route::post("logged-models/search", Work::Read, logged_models),
        Route::get("registered-models/search", Work::Read, registered_models),
        Route::get("model-versions/search", Work::Read, model_versions),
    ]
}

/// `max_results`, checked as MLflow's handlers do before they ask the store.
fn max_results(fields: &Fields<'_>, default: i64, most: i64) -> ApiResult<i64> {
    let max_results = fields.int("max_results")?.unwrap_or(default);
    if max_results > most { Err(fields.refused("max_results")) } else { Ok(max_results) }
}

fn experiments(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let view = fields.one_of("view_type", VIEWS)?.unwrap_or_default();
    // Absent is 0, which is refused.
    let max_results = fields.int("max_results")?.unwrap_or(0);
    let order_by = fields.texts("order_by")?;
    let filter = fields.text("filter")?.unwrap_or_default();
    let token = fields.text("page_token")?;
    let found = door.mlflow.search_experiments(view, max_results, filter, &order_by, token)?;
    door.answer(&ListJson::<ExperimentJson<'_>>::page("experiments", &found))
}

/// Written run by run: a page of many runs is never in memory as a whole.
fn runs(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let experiment_ids = fields.texts("experiment_ids")?;
    let filter = fields.text("filter")?.unwrap_or_default();
    let max_results = max_results(&fields, RUNS_PAGE, RUNS_PAGE_MAX)?;
    let order_by = fields.texts("order_by")?;
    let view = fields.one_of("run_view_type", VIEWS)?.unwrap_or_default();
    let token = fields.text("page_token")?;
    let mut out = door.writer();
    let mut write = |run: Run| {
        out.put(if out.is_empty() { b"{\"runs\":[" } else { b"," })?;
        out.json(&RunJson::found(&run))
    };
    let next =
        door.mlflow.search_runs_each(&experiment_ids, filter, view, max_results, &order_by, token, &mut write)?;
    if out.is_empty() {
        return Ok(Answer::Nothing);
    }
    out.put(b"]")?;
    if let Some(next) = next {
        out.put(b",\"next_page_token\":")?;
        out.json(&next)?;
    }
    out.put(b"}")?;
    out.finish().map(Answer::from)
}

fn datasets(door: &Door, request: &Request) -> ApiResult<Answer> {
    #[derive(Serialize)]
    struct Summary<'a> {
        experiment_id: &'a str,
        name: &'a str,
        digest: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        context: Option<&'a str>,
    }
    impl<'a> From<&'a DatasetSummary> for Summary<'a> {
        fn from(summary: &'a DatasetSummary) -> Self {
            let DatasetSummary { experiment_id, name, digest, context } = summary;
            Self { experiment_id, name, digest, context: context.as_deref() }
        }
    }
    let found = door.mlflow.search_datasets(&request.fields()?.texts("experiment_ids")?)?;
    door.answer(&ListJson::<Summary<'_>>::whole("dataset_summaries", &found))
}

fn logged_models(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let experiment_ids = fields.texts("experiment_ids")?;
    if experiment_ids.is_empty() {
        return Err(fields.missing("experiment_ids"));
    }
    let filter = fields.text("filter")?.unwrap_or_default();
    let given = |fields: &Fields<'_>, name: &str| -> ApiResult<Option<String>> {
        Ok(fields.text(name)?.filter(|text| !text.is_empty()).map(str::to_owned))
    };
    let mut datasets = Vec::new();
    for dataset in fields.objects("datasets")? {
        let name = dataset.text("dataset_name")?.unwrap_or_default().to_owned();
        datasets.push((name, given(&dataset, "dataset_digest")?));
    }
    let max_results = match fields.int("max_results")? {
        Some(0) => LOGGED_MODELS_PAGE_OF_0,
        given => given.unwrap_or(LOGGED_MODELS_PAGE),
    };
    let mut order_by = Vec::new();
    for order in fields.objects("order_by")? {
        order_by.push(LoggedModelOrder {
            field_name: order.text("field_name")?.unwrap_or_default().to_owned(),
            ascending: order.truth("ascending")?.unwrap_or(true),
            dataset_name: given(&order, "dataset_name")?,
            dataset_digest: given(&order, "dataset_digest")?,
        });
    }
    let token = fields.text("page_token")?;
    let found = door.mlflow.search_logged_models(&experiment_ids, filter, &datasets, max_results, &order_by, token)?;
    door.answer(&ListJson::<LoggedModelJson<'_>>::page("models", &found))
}

fn registered_models(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let filter = fields.text("filter")?.unwrap_or_default();
    let max_results = max_results(&fields, MODELS_PAGE, MODELS_PAGE_MAX)?;
    let (order_by, token) = (fields.texts("order_by")?, fields.text("page_token")?);
    let found = door.mlflow.search_registered_models(filter, max_results, &order_by, token)?;
    door.answer(&ListJson::<RegisteredModelJson<'_>>::page("registered_models", &found))
}

fn model_versions(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let filter = fields.text("filter")?.unwrap_or_default();
    let max_results = max_results(&fields, VERSIONS_PAGE_MAX, VERSIONS_PAGE_MAX)?;
    let (order_by, token) = (fields.texts("order_by")?, fields.text("page_token")?);
    let found = door.mlflow.search_model_versions(filter, max_results, &order_by, token)?;
    door.answer(&ListJson::<ModelVersionJson<'_>>::page("model_versions", &found))
}
