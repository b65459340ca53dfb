//! MLflow's tracking store: the calls of its abstract class, by the same names and argument names.
//!
//! What this class lacks (asynchronous calls, traces) is in `runlode.mlflow_plugin`, whose store derives from it.

use std::path::PathBuf;
use std::thread::ThreadId;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use runlode::mlflow::entity::{Dataset, DatasetInput};
use runlode::mlflow::{
    ApiError, ApiResult, BULK_RUNS_MAX, ErrorCode, LoggedModelOrder, NewLoggedModel, NewMetric, NewRun, RUNS_PAGE_MAX,
    names,
};
use runlode::shared::MlflowCalls;
use rustc_hash::FxHashSet;

use crate::arguments::{self, ExperimentId, MetricParts, Text, Token, tag, tags, texts};
use crate::entities::{Answer, Classes, Maker, Pause};
use crate::errors::{Raise, raised};
use crate::exit::detached;
use crate::open::{Opened, open};

/// Runs of a page when a call does not say.
const RUNS_PAGE: i64 = 1000;
/// Logged models of a page when a call does not say.
const LOGGED_MODELS_PAGE: i64 = 100;
/// Most summaries of data sets of an answer.
const DATASET_SUMMARIES_MAX: usize = 1000;
/// From how many points on the GIL is released while they are logged.
const DETACH_FROM_POINTS: usize = 64;
/// Most names kept that somebody was told are free.
const CREDITS_MAX: usize = 4096;

/// The tracking store of a folder. `path`, `durability` (`buffered`, `sync`), `artifacts` (root of default places).
#[pyclass(subclass, frozen, module = "runlode._runlode")]
pub(crate) struct Tracking {
    opened: Opened,
    /// Names that a thread was told are free.
    credits: std::sync::Mutex<FxHashSet<(ThreadId, String)>>,
}

impl Tracking {
    fn shared(&self) -> &MlflowCalls {
        &self.opened.shared
    }

    /// A call without the GIL.
    fn free<T: Send>(&self, py: Python<'_>, call: impl FnOnce(&MlflowCalls) -> ApiResult<T> + Send) -> PyResult<T> {
        let shared = self.shared();
        detached(py, || call(shared)).or_raise(py)
    }

    fn credits(&self) -> std::sync::MutexGuard<'_, FxHashSet<(ThreadId, String)>> {
        self.credits.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether this thread was told before that the name is free; it is not told twice on that account.
    fn use_credit(&self, name: &str) -> bool {
        self.credits().remove(&(std::thread::current().id(), name.to_owned()))
    }
}

#[pymethods]
impl Tracking {
    #[new]
    #[pyo3(signature = (path, durability=None, artifacts=None, serves_others=false))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        durability: Option<&str>,
        artifacts: Option<String>,
        serves_others: bool,
    ) -> PyResult<Self> {
        Ok(Self { opened: open(py, path, durability, artifacts, serves_others)?, credits: Default::default() })
    }

    // Experiments.

    #[pyo3(signature = (view_type=1, max_results=Some(RUNS_PAGE), filter_string=None, order_by=None, page_token=None))]
    fn search_experiments<'py>(
        &self,
        py: Python<'py>,
        view_type: i32,
        max_results: Option<i64>,
        filter_string: Option<&str>,
        order_by: Option<&Bound<'py, PyAny>>,
        page_token: Option<Token>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (view, order) = (arguments::view(view_type).or_raise(py)?, texts(order_by)?);
        let filter = filter_string.unwrap_or_default();
        let Some(most) = max_results else {
            let text = "Invalid value None for parameter 'max_results' supplied. It must be a positive integer";
            return Err(raised(py, &ApiError::invalid(text)));
        };
        let page = self.free(py, |s| s.search_experiments(view, most, filter, &order, page_token.as_deref()))?;
        Maker::new(py)?.page(&page, |make, found| make.experiment(found))
    }

    /// Who was told a moment ago that the name is free, and loses the race for it, is told the winner's id: MLflow's
    /// `set_experiment` would take a refusal for success, and leave the thread's runs in `Default`.
    #[pyo3(signature = (name, artifact_location=None, tags=None))]
    fn create_experiment(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
        artifact_location: Option<&str>,
        tags: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<String> {
        let name = experiment_name(name)?;
        let mut made = Vec::new();
        for given in tags.filter(|tags| !tags.is_none()).map(|tags| tags.try_iter()).transpose()?.into_iter().flatten()
        {
            made.push(tag(&given?, || "key".to_owned())?);
        }
        let tags = made;
        let artifact_location = artifact_location.filter(|place| !place.is_empty());
        let was_free = self.use_credit(name) && artifact_location.is_none() && tags.is_empty();
        let made = detached(py, || self.shared().create_experiment(name, artifact_location, &tags));
        match made {
            Err(error) if was_free && error.code == ErrorCode::ResourceAlreadyExists => {
                let found = self.free(py, |s| s.experiment_by_name(name))?;
                found.filter(|found| !found.deleted).map(|found| found.experiment_id).ok_or_else(|| raised(py, &error))
            }
            made => made.or_raise(py),
        }
    }

    fn get_experiment<'py>(&self, py: Python<'py>, experiment_id: ExperimentId) -> PyResult<Bound<'py, PyAny>> {
        let found = self.free(py, |s| s.experiment(&experiment_id))?;
        Maker::new(py)?.experiment(&found)
    }

    fn get_experiment_by_name<'py>(
        &self,
        py: Python<'py>,
        experiment_name: Text,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let Some(found) = self.free(py, |s| s.experiment_by_name(&experiment_name))? {
            return Maker::new(py)?.experiment(&found).map(Some);
        }
        let mut credits = self.credits();
        if credits.len() >= CREDITS_MAX {
            credits.clear();
        }
        credits.insert((std::thread::current().id(), experiment_name.to_owned()));
        Ok(None)
    }

    fn delete_experiment(&self, py: Python<'_>, experiment_id: Text) -> PyResult<()> {
        self.free(py, |s| s.delete_experiment(&experiment_id))
    }

    fn restore_experiment(&self, py: Python<'_>, experiment_id: Text) -> PyResult<()> {
        self.free(py, |s| s.restore_experiment(&experiment_id))
    }

    fn rename_experiment(&self, py: Python<'_>, experiment_id: Text, new_name: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = experiment_name(new_name)?;
        self.free(py, |s| s.rename_experiment(&experiment_id, name))
    }

    fn set_experiment_tag(&self, py: Python<'_>, experiment_id: Text, tag: &Bound<'_, PyAny>) -> PyResult<()> {
        let (key, value) = arguments::tag(tag, || "key".to_owned())?;
        self.free(py, |s| s.set_experiment_tag(&experiment_id, &key, &value))
    }

    fn delete_experiment_tag(&self, py: Python<'_>, experiment_id: Text, key: Text) -> PyResult<()> {
        self.free(py, |s| s.delete_experiment_tag(&experiment_id, &key))
    }

    // Runs.

    fn get_run<'py>(&self, py: Python<'py>, run_id: Text) -> PyResult<Bound<'py, PyAny>> {
        let run = self.free(py, |s| s.run(&run_id))?;
        Maker::new(py)?.run(&run, Answer::Get)
    }

    #[pyo3(signature = (run_id, run_status, end_time, run_name))]
    fn update_run_info<'py>(
        &self,
        py: Python<'py>,
        run_id: Text,
        run_status: Option<&Bound<'py, PyAny>>,
        end_time: Option<i64>,
        run_name: Option<Text>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let status = run_status.map(arguments::run_status).transpose()?;
        let info = self.free(py, |s| s.update_run(&run_id, status, end_time, run_name.as_deref()))?;
        Maker::new(py)?.run_info(&info)
    }

    #[pyo3(signature = (experiment_id, user_id, start_time, tags, run_name))]
    fn create_run<'py>(
        &self,
        py: Python<'py>,
        experiment_id: Option<Text>,
        user_id: Option<Text>,
        start_time: Option<i64>,
        tags: Option<&Bound<'py, PyAny>>,
        run_name: Option<Text>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let tags = arguments::tags(tags, "tags")?;
        let new = NewRun {
            experiment_id: experiment_id.as_deref(),
            user_id: user_id.as_deref().unwrap_or_default(),
            start_time: start_time.unwrap_or_default(),
            run_name: run_name.as_deref(),
            tags: &tags,
        };
        let run = self.free(py, |s| s.create_run(&new))?;
        Maker::new(py)?.run(&run, Answer::Create)
    }

    fn delete_run(&self, py: Python<'_>, run_id: Text) -> PyResult<()> {
        self.free(py, |s| s.delete_run(&run_id))
    }

    fn restore_run(&self, py: Python<'_>, run_id: Text) -> PyResult<()> {
        self.free(py, |s| s.restore_run(&run_id))
    }

    #[pyo3(signature = (
        experiment_ids, filter_string, run_view_type, max_results=Some(RUNS_PAGE), order_by=None, page_token=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "those of MLflow")]
    fn search_runs<'py>(
        &self,
        py: Python<'py>,
        experiment_ids: &Bound<'py, PyAny>,
        filter_string: Option<&str>,
        run_view_type: i32,
        max_results: Option<i64>,
        order_by: Option<&Bound<'py, PyAny>>,
        page_token: Option<Token>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (ids, order) = (texts(Some(experiment_ids))?, texts(order_by)?);
        let view = arguments::view(run_view_type).or_raise(py)?;
        let filter = filter_string.unwrap_or_default();
        let mut token = page_token.map(|token| token.to_owned());
        let mut make = Maker::new(py)?;
        let mut items = Vec::new();
        loop {
            let most = max_results.unwrap_or(RUNS_PAGE_MAX);
            let page = self.free(py, |s| s.search_runs(&ids, filter, view, most, &order, token.as_deref()))?;
            let _pause = Pause::during(py, page.items.len() * 10)?;
            items.reserve(page.items.len());
            for run in &page.items {
                items.push(make.run(run, Answer::Search)?);
            }
            token = page.next_page_token;
            // No limit means all of them.
            if max_results.is_some() || token.is_none() {
                return make.paged(items, token.as_deref());
            }
        }
    }

    #[pyo3(signature = (experiment_ids, filter_string, run_view_type, max_results, order_by, page_token))]
    #[expect(clippy::too_many_arguments, reason = "those of MLflow")]
    fn _search_runs<'py>(
        &self,
        py: Python<'py>,
        experiment_ids: &Bound<'py, PyAny>,
        filter_string: Option<&str>,
        run_view_type: i32,
        max_results: Option<i64>,
        order_by: Option<&Bound<'py, PyAny>>,
        page_token: Option<Token>,
    ) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyAny>)> {
        let found =
            self.search_runs(py, experiment_ids, filter_string, run_view_type, max_results, order_by, page_token)?;
        let token = found.getattr(intern!(py, "token"))?;
        let runs = found.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        Ok((PyList::new(py, runs)?, token))
    }

    fn _search_datasets<'py>(
        &self,
        py: Python<'py>,
        experiment_ids: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let ids = texts(Some(experiment_ids))?;
        let mut found = Vec::new();
        // A call takes so many, MLflow's store any number.
        for ids in ids.chunks(20) {
            found.extend(self.free(py, |s| s.search_datasets(ids))?);
        }
        found.truncate(DATASET_SUMMARIES_MAX);
        let make = Maker::new(py)?;
        PyList::new(py, found.iter().map(|summary| make.dataset_summary(summary)).collect::<PyResult<Vec<_>>>()?)
    }

    // Logging.

    fn log_metric<'py>(&self, py: Python<'py>, run_id: &Bound<'py, PyAny>, metric: &Bound<'py, PyAny>) -> PyResult<()> {
        let parts = MetricParts::of(metric, Classes::get(py)?.is_plain_metric(py, metric), String::new)?;
        let new = parts.metric()?;
        let Ok(run_id) = run_id.extract::<&str>() else {
            return Err(raised(py, &ApiError::absent(format!("Run with id={run_id} not found"))));
        };
        // A point that stays in memory is logged faster than the GIL changes hands.
        if self.opened.sync || new.model_id.is_some() {
            return self.free(py, |s| s.log_metric(run_id, &new));
        }
        self.shared().log_metric(run_id, &new).or_raise(py)
    }

    fn log_param(&self, py: Python<'_>, run_id: Text, param: &Bound<'_, PyAny>) -> PyResult<()> {
        let (key, value) = arguments::param(param, || "key".to_owned())?;
        self.free(py, |s| s.log_param(&run_id, &key, &value))
    }

    fn set_tag(&self, py: Python<'_>, run_id: Text, tag: &Bound<'_, PyAny>) -> PyResult<()> {
        let (key, mut value) = arguments::tag(tag, || "key".to_owned())?;
        arguments::fit_tag(&key, &mut value, String::new).or_raise(py)?;
        self.free(py, |s| s.set_tag(&run_id, &key, &value))
    }

    fn delete_tag(&self, py: Python<'_>, run_id: Text, key: Text) -> PyResult<()> {
        self.free(py, |s| s.delete_tag(&run_id, &key))
    }

    #[pyo3(signature = (run_id, metrics=None, params=None, tags=None))]
    fn log_batch<'py>(
        &self,
        py: Python<'py>,
        run_id: &Bound<'py, PyAny>,
        metrics: Option<&Bound<'py, PyAny>>,
        params: Option<&Bound<'py, PyAny>>,
        tags: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let run_id = arguments::text(run_id, "run_id")?;
        let mut parts = Vec::new();
        if let Some(metrics) = metrics.filter(|metrics| !metrics.is_none()) {
            let classes = Classes::get(py)?;
            parts.reserve(metrics.len().unwrap_or(0));
            for (i, metric) in metrics.try_iter()?.enumerate() {
                let metric = metric?;
                let plain = classes.is_plain_metric(py, &metric);
                parts.push(MetricParts::of(&metric, plain, || format!("metrics[{i}]"))?);
            }
        }
        let metrics = parts.iter().map(MetricParts::metric).collect::<PyResult<Vec<NewMetric<'_>>>>()?;
        let (params, tags) = (arguments::params(params)?, arguments::run_tags(tags)?);
        if metrics.len() < DETACH_FROM_POINTS && params.is_empty() && tags.is_empty() && !self.opened.sync {
            return self.shared().log_batch(run_id, &metrics, &params, &tags).or_raise(py);
        }
        self.free(py, |s| s.log_batch(run_id, &metrics, &params, &tags))
    }

    #[pyo3(signature = (run_id, datasets=None, models=None))]
    fn log_inputs(
        &self,
        py: Python<'_>,
        run_id: Text,
        datasets: Option<&Bound<'_, PyAny>>,
        models: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let mut inputs = Vec::new();
        if let Some(datasets) = datasets.filter(|datasets| !datasets.is_none()) {
            if !datasets.is_instance_of::<PyList>() {
                let kind = datasets.get_type();
                let text = format!("Argument 'datasets' should be a list, got '{kind}'");
                return Err(pyo3::exceptions::PyTypeError::new_err(text));
            }
            for input in datasets.try_iter()? {
                inputs.push(dataset_input(&input?)?);
            }
        }
        let mut ids = Vec::new();
        if let Some(models) = models.filter(|models| !models.is_none()) {
            for model in models.try_iter()? {
                ids.push(model?.getattr(intern!(py, "model_id"))?.extract::<String>()?);
            }
        }
        self.free(py, |s| s.log_inputs(&run_id, &inputs, &ids))
    }

    fn log_outputs(&self, py: Python<'_>, run_id: Text, models: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut outputs: Vec<(String, i64)> = Vec::new();
        for model in models.try_iter()? {
            let model = model?;
            let step: Option<i64> = model.getattr(intern!(py, "step"))?.extract()?;
            outputs.push((model.getattr(intern!(py, "model_id"))?.extract()?, step.unwrap_or_default()));
        }
        self.free(py, |s| s.log_outputs(&run_id, &outputs))
    }

    /// Adds a model, as a JSON object, to the tag `mlflow.log-model.history`, in one step.
    fn _record_logged_model(&self, py: Python<'_>, run_id: Text, model_json: &str) -> PyResult<()> {
        self.free(py, |s| s.record_logged_model(&run_id, model_json))
    }

    // Histories.

    #[pyo3(signature = (run_id, metric_key, max_results=None, page_token=None))]
    fn get_metric_history<'py>(
        &self,
        py: Python<'py>,
        run_id: Text,
        metric_key: Text,
        max_results: Option<i64>,
        page_token: Option<Token>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let token = page_token.as_deref();
        let (columns, token) = self.free(py, |s| s.metric_history(&run_id, &metric_key, max_results, token))?;
        let items = Maker::new(py)?.history(&metric_key, &columns)?;
        Classes::get(py)?.paged(py, items, token.as_deref())
    }

    fn get_metric_history_bulk<'py>(
        &self,
        py: Python<'py>,
        run_ids: &Bound<'py, PyAny>,
        metric_key: Text,
        max_results: Option<i64>,
    ) -> PyResult<Bound<'py, PyList>> {
        let mut ids = texts(Some(run_ids))?;
        ids.sort_unstable();
        ids.dedup();
        let mut left = max_results;
        let mut found = Vec::new();
        // A call takes so many, MLflow's store any number.
        for ids in ids.chunks(BULK_RUNS_MAX) {
            found.extend(self.free(py, |s| s.metric_history_bulk(ids, &metric_key, left))?);
            left = max_results.map(|most| most.saturating_sub(i64::try_from(found.len()).unwrap_or(i64::MAX)));
        }
        Maker::new(py)?.metrics_with_run_id(&found)
    }

    #[pyo3(signature = (run_ids, metric_key, max_results, start_step=None, end_step=None))]
    fn get_metric_history_bulk_interval<'py>(
        &self,
        py: Python<'py>,
        run_ids: &Bound<'py, PyAny>,
        metric_key: Text,
        max_results: i64,
        start_step: Option<i64>,
        end_step: Option<i64>,
    ) -> PyResult<Bound<'py, PyList>> {
        let ids = texts(Some(run_ids))?;
        let steps = match (start_step, end_step) {
            (Some(start), Some(end)) => Some((start, end)),
            (None, None) => None,
            _ => {
                let text = "Both start_step and end_step must be specified together, or neither may be specified.";
                return Err(raised(py, &ApiError::invalid(text)));
            }
        };
        let found = self.free(py, |s| s.metric_history_samples(&ids, &metric_key, steps, max_results))?;
        Maker::new(py)?.metrics_with_run_id(&found)
    }

    // Logged models.

    #[pyo3(signature = (experiment_id, name=None, source_run_id=None, tags=None, params=None, model_type=None))]
    #[expect(clippy::too_many_arguments, reason = "those of MLflow")]
    fn create_logged_model<'py>(
        &self,
        py: Python<'py>,
        experiment_id: Text,
        name: Option<&str>,
        source_run_id: Option<&str>,
        tags: Option<&Bound<'py, PyAny>>,
        params: Option<&Bound<'py, PyAny>>,
        model_type: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (tags, params) = (arguments::tags(tags, "tags")?, arguments::tags(params, "params")?);
        let new = NewLoggedModel {
            experiment_id: &experiment_id,
            name,
            model_type: model_type.unwrap_or_default(),
            source_run_id: source_run_id.unwrap_or_default(),
            params: &params,
            tags: &tags,
        };
        let model = self.free(py, |s| s.create_logged_model(&new))?;
        Maker::new(py)?.logged_model(&model)
    }

    #[pyo3(signature = (model_id, allow_deleted=false))]
    fn get_logged_model<'py>(
        &self,
        py: Python<'py>,
        model_id: Text,
        allow_deleted: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let model = self.free(py, |s| s.logged_model(&model_id, allow_deleted))?;
        Maker::new(py)?.logged_model(&model)
    }

    fn finalize_logged_model<'py>(
        &self,
        py: Python<'py>,
        model_id: Text,
        status: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let status = arguments::logged_model_status(status)?;
        let model = self.free(py, |s| s.finalize_logged_model(&model_id, status))?;
        Maker::new(py)?.logged_model(&model)
    }

    fn delete_logged_model(&self, py: Python<'_>, model_id: Text) -> PyResult<()> {
        self.free(py, |s| s.delete_logged_model(&model_id))
    }

    fn log_logged_model_params(&self, py: Python<'_>, model_id: Text, params: &Bound<'_, PyAny>) -> PyResult<()> {
        let params = tags(Some(params), "params")?;
        self.free(py, |s| s.log_logged_model_params(&model_id, &params))
    }

    fn set_logged_model_tags(&self, py: Python<'_>, model_id: Text, tags: &Bound<'_, PyAny>) -> PyResult<()> {
        let tags = arguments::tags(Some(tags), "tags")?;
        self.free(py, |s| s.set_logged_model_tags(&model_id, &tags))
    }

    fn delete_logged_model_tag(&self, py: Python<'_>, model_id: Text, key: Text) -> PyResult<()> {
        self.free(py, |s| s.delete_logged_model_tag(&model_id, &key))
    }

    #[pyo3(signature = (
        experiment_ids, filter_string=None, datasets=None, max_results=None, order_by=None, page_token=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "those of MLflow")]
    fn search_logged_models<'py>(
        &self,
        py: Python<'py>,
        experiment_ids: &Bound<'py, PyAny>,
        filter_string: Option<&str>,
        datasets: Option<Vec<Bound<'py, PyDict>>>,
        max_results: Option<i64>,
        order_by: Option<Vec<Bound<'py, PyDict>>>,
        page_token: Option<Token>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let page_token = page_token.as_deref();
        let ids = texts(Some(experiment_ids))?;
        let field = |dict: &Bound<'py, PyDict>, name: &str| -> PyResult<Option<String>> {
            dict.get_item(name)?.map_or(Ok(None), |value| value.extract())
        };
        let mut chosen = Vec::new();
        for dataset in datasets.unwrap_or_default() {
            let name = field(&dataset, "dataset_name")?.unwrap_or_default();
            chosen.push((name, field(&dataset, "dataset_digest")?));
        }
        let mut order = Vec::new();
        for key in order_by.unwrap_or_default() {
            let Some(field_name) = field(&key, "field_name")? else {
                return Err(raised(py, &names::missing("order_by.field_name")));
            };
            order.push(LoggedModelOrder {
                field_name,
                ascending: key.get_item("ascending")?.map_or(Ok(true), |value| value.is_truthy())?,
                dataset_name: field(&key, "dataset_name")?,
                dataset_digest: field(&key, "dataset_digest")?,
            });
        }
        let filter = filter_string.unwrap_or_default();
        let most = max_results.filter(|most| *most != 0).unwrap_or(LOGGED_MODELS_PAGE);
        let page = self.free(py, |s| s.search_logged_models(&ids, filter, &chosen, most, &order, page_token))?;
        Maker::new(py)?.page(&page, |make, model| make.logged_model(model))
    }

    /// Waits until everything that this process logged would outlive the machine.
    fn _flush(&self, py: Python<'_>) -> PyResult<()> {
        self.free(py, MlflowCalls::flush)
    }
}

/// An experiment's name, which must be a text.
fn experiment_name<'a>(name: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    name.extract::<&str>().map_err(|_| {
        let text = if name.is_none() {
            "Invalid experiment name: 'None'".to_owned()
        } else {
            format!("Invalid experiment name: {name}. Expects a string.")
        };
        raised(name.py(), &ApiError::invalid(text))
    })
}

/// `mlflow.entities.DatasetInput`.
fn dataset_input(input: &Bound<'_, PyAny>) -> PyResult<DatasetInput> {
    let py = input.py();
    let dataset = input.getattr(intern!(py, "dataset"))?;
    let none = |what: &str| raised(py, &ApiError::invalid(format!("{what} cannot be None")));
    if dataset.is_none() {
        return Err(none("Dataset"));
    }
    let required = |name: &str| -> PyResult<String> {
        let value = dataset.getattr(name)?;
        if value.is_none() { Err(none(&format!("Dataset {name}"))) } else { Ok(value.extract::<Text>()?.to_owned()) }
    };
    let optional = |name: &str| -> PyResult<Option<String>> {
        Ok(dataset.getattr(name)?.extract::<Option<Text>>()?.map(|text| text.to_owned()))
    };
    let dataset = Dataset {
        name: required("name")?,
        digest: required("digest")?,
        source_type: required("source_type")?,
        source: required("source")?,
        schema: optional("schema")?,
        profile: optional("profile")?,
    };
    let given = input.getattr(intern!(py, "tags"))?;
    for one in given.try_iter()? {
        let one = one?;
        for field in ["key", "value"] {
            if one.getattr(field)?.is_none() {
                return Err(none(&format!("InputTag {field}")));
            }
        }
    }
    Ok(DatasetInput { tags: tags(Some(&given), "tags")?, dataset })
}
