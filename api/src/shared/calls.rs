//! The calls that a process makes of a store that it shares: those of [`Mlflow`], by the same names.

use super::Shared;
use crate::mlflow::entity::{
    DatasetInput, DatasetSummary, Experiment, LoggedModel, Metric, ModelVersion, Paged, RegisteredModel, Run, RunInfo,
    Tag, View,
};
use crate::mlflow::{
    ApiResult, Buckets, EntityChanges, EntityName, HistoriesQuery, LoggedModelOrder, MetricColumns, MetricHistories,
    Mlflow, NewLoggedModel, NewMetric, NewModelVersion, NewRun, PastRun, RunColumns, RunsQuery, TailPage,
    VersionSource,
};
use crate::{AsOf, LoggedModelStatus, Positions, RunStatus};

macro_rules! calls {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        impl Shared {
            $(
                #[doc = concat!("As [`Mlflow::", stringify!($name), "`].")]
                ///
                /// # Errors
                /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
                #[allow(clippy::too_many_arguments)]
                pub fn $name(&self, $($arg: $type),*) -> ApiResult<$out> {
                    Mlflow::$name(&self.mlflow, $($arg),*)
                }
            )*
        }
    };
}

calls! {
    create_experiment(name: &str, artifact_location: Option<&str>, tags: &[Tag]) -> String;
    experiment(id: &str) -> Experiment;
    experiment_by_name(name: &str) -> Option<Experiment>;
    delete_experiment(id: &str) -> ();
    restore_experiment(id: &str) -> ();
    rename_experiment(id: &str, name: &str) -> ();
    set_experiment_tag(id: &str, key: &str, value: &str) -> ();
    delete_experiment_tag(id: &str, key: &str) -> ();
    search_experiments(view: View, max_results: i64, filter: &str, order_by: &[String], page_token: Option<&str>) -> Paged<Experiment>;

    create_run(new: &NewRun<'_>) -> Run;
    run(id: &str) -> Run;
    run_info(id: &str) -> RunInfo;
    update_run(id: &str, status: Option<RunStatus>, end_time: Option<i64>, name: Option<&str>) -> RunInfo;
    delete_run(id: &str) -> ();
    restore_run(id: &str) -> ();
    set_tag(id: &str, key: &str, value: &str) -> ();
    delete_tag(id: &str, key: &str) -> ();
    log_param(id: &str, key: &str, value: &str) -> ();
    log_metric(id: &str, metric: &NewMetric<'_>) -> ();
    log_batch(id: &str, metrics: &[NewMetric<'_>], params: &[Tag], tags: &[Tag]) -> ();
    log_inputs(id: &str, datasets: &[DatasetInput], models: &[String]) -> ();
    log_outputs(id: &str, models: &[(String, i64)]) -> ();
    record_logged_model(id: &str, add: impl Fn(Option<&str>) -> ApiResult<String>) -> ();
    search_runs(experiment_ids: &[String], filter: &str, view: View, max_results: i64, order_by: &[String], page_token: Option<&str>) -> Paged<Run>;
    search_datasets(experiment_ids: &[String]) -> Vec<DatasetSummary>;

    metric_history(id: &str, key: &str, max_results: Option<i64>, token: Option<&str>) -> (MetricColumns, Option<String>);
    metric_history_bulk(ids: &[String], key: &str, max_results: Option<i64>) -> Vec<Metric>;
    metric_history_interval(ids: &[String], key: &str, steps: Option<(i64, i64)>, max_results: Option<i64>) -> Vec<Metric>;

    create_logged_model(new: &NewLoggedModel<'_>) -> LoggedModel;
    logged_model(id: &str, allow_deleted: bool) -> LoggedModel;
    finalize_logged_model(id: &str, status: LoggedModelStatus) -> LoggedModel;
    delete_logged_model(id: &str) -> ();
    log_logged_model_params(id: &str, params: &[Tag]) -> ();
    set_logged_model_tags(id: &str, tags: &[Tag]) -> ();
    delete_logged_model_tag(id: &str, key: &str) -> ();
    search_logged_models(experiment_ids: &[String], filter: &str, datasets: &[(String, Option<String>)], max_results: i64, order_by: &[LoggedModelOrder], page_token: Option<&str>) -> Paged<LoggedModel>;

    create_registered_model(name: &str, tags: &[Tag], description: Option<&str>) -> RegisteredModel;
    registered_model(name: &str) -> RegisteredModel;
    update_registered_model(name: &str, description: Option<&str>) -> RegisteredModel;
    rename_registered_model(name: &str, new_name: &str) -> RegisteredModel;
    delete_registered_model(name: &str) -> ();
    latest_versions(name: &str, stages: &[String]) -> Vec<ModelVersion>;
    set_registered_model_tag(name: &str, key: &str, value: &str) -> ();
    delete_registered_model_tag(name: &str, key: &str) -> ();
    set_registered_model_alias(name: &str, alias: &str, version: &str) -> ();
    delete_registered_model_alias(name: &str, alias: &str) -> ();
    model_version_by_alias(name: &str, alias: &str) -> ModelVersion;
    search_registered_models(filter: &str, max_results: i64, order_by: &[String], page_token: Option<&str>) -> Paged<RegisteredModel>;

    create_model_version(name: &str, new: &NewModelVersion<'_>) -> ModelVersion;
    model_version(name: &str, version: &str) -> ModelVersion;
    update_model_version(name: &str, version: &str, description: Option<&str>) -> ModelVersion;
    transition_model_version_stage(name: &str, version: &str, stage: &str, archive_existing_versions: bool) -> ModelVersion;
    delete_model_version(name: &str, version: &str) -> ();
    model_version_download_uri(name: &str, version: &str) -> String;
    set_model_version_tag(name: &str, version: &str, key: &str, value: &str) -> ();
    delete_model_version_tag(name: &str, version: &str, key: &str) -> ();
    search_model_versions(filter: &str, max_results: i64, order_by: &[String], page_token: Option<&str>) -> Paged<ModelVersion>;
    vet_source(given: VersionSource, is_prompt: bool) -> VersionSource;

    ensure_experiment(name: &str) -> String;
    positions() -> Positions;
    position_at(at: AsOf) -> u64;
    entity_changes(entity: &EntityName) -> EntityChanges;
    histories(query: &HistoriesQuery) -> MetricHistories;
    downsampled(id: &str, key: &str, steps: Option<(i64, i64)>, buckets: u64) -> Buckets;
    run_columns(query: &RunsQuery) -> RunColumns;
    run_as_of(id: &str, at: AsOf) -> PastRun;
    tail(from: u64, batches: u64, wait_ms: u64) -> TailPage;
    store_id() -> String;
    sync_position(source: &str) -> u64;
    sync_apply(chunk: &[u8]) -> crate::sync::Report;
    sync_experiments(source: &str) -> Vec<(String, String)>;
}
