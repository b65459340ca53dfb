//! The calls that a process makes of a store that it shares: those of [`Mlflow`], by the same names.
//!
//! One line for each call makes its method, its request, and what the holder does with it:
//!
//! ```text
//!   KIND NUMBER name(argument: type, ...) -> result;
//!
//!   read    sent again as it is when its answer did not come
//!   write   done once: its number is an idempotency key, a repeat is answered with what the first one made
//! ```
//!
//! Offline a process has two stores, its own and the main one ([`super::offline`]), and more kinds:
//!
//! ```text
//!   kind         as         offline
//!   read         -          of the own store; of the main one what is not there
//!   of_run       read       of the store that has the run (the first argument)
//!   write        -          to the own store
//!   own          read       to or of the own store only
//!   main         read       of the main store, if there is one: the registry
//!   experiment   write      to the own store; an experiment of the main one (the first argument) is copied there first
//!   registry     write      refused
//! ```
//!
//! A call keeps its number for ever, and its arguments and result their encoding ([`super::wire`]): a new form is a new
//! number. Lines of `hidden_calls!` are used by methods that do more than to ask. Typed calls have the numbers 110 to
//! 899: [`super::typed`]. Numbers from 901 on belong to calls that servers make; those with long answers are in
//! [`super::parts`].

use super::again::Again;
use super::caller::Caller;
use super::protocol::{ClientId, Request, answered, refused, repeated};
use super::request::{call_of, unknown};
use super::wire::{Arg, Lend, Put, Take};
use super::{Shared, hidden, typed};
use crate::mlflow::entity::{
    DatasetInput, DatasetSummary, Experiment, LoggedModel, Metric, ModelVersion, Paged, RegisteredModel, Run, RunInfo,
    Tag, View,
};
use crate::mlflow::{
    ApiError, ApiResult, Buckets, Curves, CurvesQuery, EntityChanges, EntityName, HistoriesQuery, Liveness,
    LoggedModelOrder, Made, MetricColumns, MetricHistories, Mlflow, NewLoggedModel, NewModelVersion, NewRun,
    PastExperiments, PastHistory, PastLoggedModels, PastRegistry, PastRun, Rewound, RunBranch, RunColumns, RunKeys,
    RunWindow, RunsQuery, TailPage, VersionSource, WindowQuery,
};
use crate::sync::Report;
use crate::{AsOf, Error, LoggedModelStatus, Lsn, Positions, Promotion, Rollback, RunStatus};

/// MLflow's calls on a store, as [`crate::mlflow::Mlflow`] has them, in a process that holds it, is a client of its
/// holder, or is offline: see [`Store::mlflow`](crate::Store::mlflow). Cheap to clone.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let calls = runlode::Store::open(&path)?.mlflow();
/// let id = calls.create_experiment("digits", None, &[])?;
/// assert_eq!(calls.experiment(&id)?.name, "digits");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct MlflowCalls {
    pub(crate) shared: Shared,
    pub(super) caller: Caller,
}

/// What a call does in a process that holds the store, or is offline; it goes on to the request in a client.
macro_rules! here {
    (read, $seat:ident, $caller:expr, $path:path, ($($arg:ident),*)) => {
        if let Some(offline) = $seat.offline()? {
            return offline.read($seat.settings(), |mlflow| $path(mlflow, $(Clone::clone(&$arg)),*));
        }
        if let Some(mlflow) = $seat.mlflow()? {
            return $path(&$caller.on(mlflow), $($arg),*);
        }
    };
    (of_run, $seat:ident, $caller:expr, $path:path, ($id:ident $(, $arg:ident)*)) => {
        if let Some(offline) = $seat.offline()? {
            return offline.read_run($seat.settings(), $id.parse().ok(), |mlflow| $path(mlflow, $id, $(Clone::clone(&$arg)),*));
        }
        if let Some(mlflow) = $seat.mlflow()? {
            return $path(&$caller.on(mlflow), $id, $($arg),*);
        }
    };
    (main, $seat:ident, $caller:expr, $path:path, ($($arg:ident),*)) => {
        if let Some(offline) = $seat.offline()? {
            return offline.read_main($seat.settings(), |mlflow| $path(mlflow, $(Clone::clone(&$arg)),*));
        }
        if let Some(mlflow) = $seat.mlflow()? {
            return $path(&$caller.on(mlflow), $($arg),*);
        }
    };
    (experiment, $seat:ident, $caller:expr, $path:path, ($id:ident $(, $arg:ident)*)) => {
        if let Some(offline) = $seat.offline()? {
            let id = offline.adopt($id)?;
            if let Some(mlflow) = $seat.mlflow()? {
                return $path(&mlflow, &id, $($arg),*).map_err(|error| offline.explained(error));
            }
        }
        if let Some(mlflow) = $seat.mlflow()? {
            return $path(&$caller.on(mlflow), $id, $($arg),*);
        }
    };
    (registry, $seat:ident, $caller:expr, $path:path, ($($arg:ident),*)) => {
        if let Some(offline) = $seat.offline()? {
            return Err(offline.registry_refused().into());
        }
        if let Some(mlflow) = $seat.mlflow()? {
            return $path(&$caller.on(mlflow), $($arg),*);
        }
    };
    // `write` and `own`.
    ($kind:ident, $seat:ident, $caller:expr, $path:path, ($($arg:ident),*)) => {
        if let Some(mlflow) = $seat.mlflow()? {
            return $path(&$caller.on(mlflow), $($arg),*).map_err(|error| $seat.explained(error));
        }
    };
}

/// What the holder does with a request of a line.
macro_rules! handle {
    (of_run, $($rest:tt)*) => { handle!(read, $($rest)*) };
    (own, $($rest:tt)*) => { handle!(read, $($rest)*) };
    (main, $($rest:tt)*) => { handle!(read, $($rest)*) };
    (experiment, $($rest:tt)*) => { handle!(write, $($rest)*) };
    (registry, $($rest:tt)*) => { handle!(write, $($rest)*) };
    (read, $mlflow:ident, $client:ident, $request:ident, $path:path, ($($arg:ident: $type:ty),*)) => {{
        $(let $arg = <<$type as Arg>::Held<'_> as Take<'_>>::take(&mut $request.arguments)?;)*
        $request.arguments.is_empty().then(|| answered($path($mlflow, $(Lend::lend(&$arg)),*)))
    }};
    (write, $mlflow:ident, $client:ident, $request:ident, $path:path, ($($arg:ident: $type:ty),*)) => {{
        let call = call_of($client, $request);
        $(let $arg = <<$type as Arg>::Held<'_> as Take<'_>>::take(&mut $request.arguments)?;)*
        $request.arguments.is_empty().then(|| {
            let result = $mlflow.for_call(call).and_then(|mlflow| $path(&mlflow, $(Lend::lend(&$arg)),*));
            match result {
                // The one who gave the key asks what the first call made.
                Err(ApiError { repeated: Some(lsn), .. }) if $request.has_key() => repeated(lsn),
                result => answered(match result {
                    Err(ApiError { repeated: Some(lsn), .. }) => Again::again($mlflow, lsn),
                    result => result,
                }),
            }
        })
    }};
}

macro_rules! calls {
    ($($kind:ident $number:literal $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        impl MlflowCalls {
            $(
                #[doc = concat!("As [`Mlflow::", stringify!($name), "`].")]
                ///
                /// # Errors
                /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
                #[allow(clippy::too_many_arguments)]
                pub fn $name(&self, $($arg: $type),*) -> ApiResult<$out> {
                    let seat = self.shared.seat()?;
                    here!($kind, seat, self.caller, Mlflow::$name, ($($arg),*));
                    #[allow(unused_mut)]
                    let mut request = self.caller.request(seat.next_request(), $number);
                    $($arg.put(&mut request);)*
                    seat.ask(&self.caller, request)
                }
            )*
        }

        /// Does what a request asks for. `None`: it cannot be read.
        fn dispatch_public(mlflow: &Mlflow, client: ClientId, request: &mut Request<'_>) -> Option<Vec<u8>> {
            match request.call {
                $($number => handle!($kind, mlflow, client, request, Mlflow::$name, ($($arg: $type),*)),)*
                call => Some(refused(&unknown(call))),
            }
        }
    };
}

macro_rules! hidden_calls {
    ($($kind:ident $number:literal $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        /// Calls behind methods that do more than to ask.
        pub(super) struct Asked<'a>(pub(super) &'a Shared, pub(super) &'a Caller);

        impl Asked<'_> {
            $(
                #[allow(dead_code, reason = "a call that this build no longer makes is still answered")]
                pub(super) fn $name(&self, $($arg: $type),*) -> ApiResult<$out> {
                    let seat = self.0.seat()?;
                    here!($kind, seat, self.1, hidden::$name, ($($arg),*));
                    let mut request = self.1.request(seat.next_request(), $number);
                    $($arg.put(&mut request);)*
                    seat.ask(self.1, request)
                }
            )*
        }

        /// Does what a request asks for. `None`: it cannot be read.
        pub(super) fn dispatch(mlflow: &Mlflow, client: ClientId, request: &mut Request<'_>) -> Option<Vec<u8>> {
            match request.call {
                $($number => handle!($kind, mlflow, client, request, hidden::$name, ($($arg: $type),*)),)*
                typed::FIRST..=typed::LAST => typed::dispatch(mlflow, client, request),
                _ => dispatch_public(mlflow, client, request),
            }
        }
    };
}

/// The refusal of a request that could not be begun.
pub(super) fn refused_for(request: &Request<'_>, error: Error) -> Vec<u8> {
    if (typed::FIRST..=typed::LAST).contains(&request.call) { refused(&error) } else { refused(&ApiError::from(error)) }
}

hidden_calls! {
    write 1 create_experiment(name: &str, artifact_location: Option<&str>, tags: &[Tag]) -> String;
    read 3 experiment_by_name(name: &str) -> Option<Experiment>;
    write 10 create_run(new: NewRun<'_>) -> Run;
    own 18 check_run(id: &str) -> ();
    write 19 log_batch(id: &str, metrics: hidden::Metrics<'_>, params: &[Tag], tags: &[Tag]) -> ();
    own 22 logged_model_history(id: &str) -> Option<String>;
    write 23 swap_logged_model_history(id: &str, before: Option<&str>, after: &str) -> bool;
    write 40 create_logged_model(new: NewLoggedModel<'_>) -> LoggedModel;
    registry 70 create_model_version(name: &str, new: NewModelVersion<'_>) -> ModelVersion;
    // Made twice it finds what the first one made.
    own 80 ensure_experiment(name: &str) -> String;
}

calls! {
    read 2 experiment(id: &str) -> Experiment;
    experiment 4 delete_experiment(id: &str) -> ();
    experiment 5 restore_experiment(id: &str) -> ();
    experiment 6 rename_experiment(id: &str, name: &str) -> ();
    experiment 7 set_experiment_tag(id: &str, key: &str, value: &str) -> ();
    experiment 8 delete_experiment_tag(id: &str, key: &str) -> ();
    read 9 search_experiments(view: View, max_results: i64, filter: &str, order_by: &[String], page_token: Option<&str>) -> Paged<Experiment>;

    of_run 11 run(id: &str) -> Run;
    of_run 12 run_info(id: &str) -> RunInfo;
    write 13 update_run(id: &str, status: Option<RunStatus>, end_time: Option<i64>, name: Option<&str>) -> RunInfo;
    write 14 delete_run(id: &str) -> ();
    write 15 restore_run(id: &str) -> ();
    write 16 set_tag(id: &str, key: &str, value: &str) -> ();
    write 17 delete_tag(id: &str, key: &str) -> ();
    write 20 log_param(id: &str, key: &str, value: &str) -> ();
    write 24 log_inputs(id: &str, datasets: &[DatasetInput], models: &[String]) -> ();
    write 25 log_outputs(id: &str, models: &[(String, i64)]) -> ();
    read 26 search_runs(experiment_ids: &[String], filter: &str, view: View, max_results: i64, order_by: &[String], page_token: Option<&str>) -> Paged<Run>;
    read 27 search_datasets(experiment_ids: &[String]) -> Vec<DatasetSummary>;

    of_run 30 metric_history(id: &str, key: &str, max_results: Option<i64>, token: Option<&str>) -> (MetricColumns, Option<String>);
    read 31 metric_history_bulk(ids: &[String], key: &str, max_results: Option<i64>) -> Vec<Metric>;
    read 32 metric_history_interval(ids: &[String], key: &str, steps: Option<(i64, i64)>, max_results: Option<i64>) -> Vec<Metric>;
    read 33 metric_history_samples(ids: &[String], key: &str, steps: Option<(i64, i64)>, most: i64) -> Vec<Metric>;

    read 41 logged_model(id: &str, allow_deleted: bool) -> LoggedModel;
    write 42 finalize_logged_model(id: &str, status: LoggedModelStatus) -> LoggedModel;
    write 43 delete_logged_model(id: &str) -> ();
    write 44 log_logged_model_params(id: &str, params: &[Tag]) -> ();
    write 45 set_logged_model_tags(id: &str, tags: &[Tag]) -> ();
    write 46 delete_logged_model_tag(id: &str, key: &str) -> ();
    read 47 search_logged_models(experiment_ids: &[String], filter: &str, datasets: &[(String, Option<String>)], max_results: i64, order_by: &[LoggedModelOrder], page_token: Option<&str>) -> Paged<LoggedModel>;

    registry 50 create_registered_model(name: &str, tags: &[Tag], description: Option<&str>) -> RegisteredModel;
    main 51 registered_model(name: &str) -> RegisteredModel;
    registry 52 update_registered_model(name: &str, description: Option<&str>) -> RegisteredModel;
    registry 53 rename_registered_model(name: &str, new_name: &str) -> RegisteredModel;
    registry 54 delete_registered_model(name: &str) -> ();
    main 55 latest_versions(name: &str, stages: &[String]) -> Vec<ModelVersion>;
    registry 56 set_registered_model_tag(name: &str, key: &str, value: &str) -> ();
    registry 57 delete_registered_model_tag(name: &str, key: &str) -> ();
    registry 58 set_registered_model_alias(name: &str, alias: &str, version: &str) -> ();
    registry 59 delete_registered_model_alias(name: &str, alias: &str) -> ();
    main 60 model_version_by_alias(name: &str, alias: &str) -> ModelVersion;
    main 61 search_registered_models(filter: &str, max_results: i64, order_by: &[String], page_token: Option<&str>) -> Paged<RegisteredModel>;

    main 71 model_version(name: &str, version: &str) -> ModelVersion;
    registry 72 update_model_version(name: &str, version: &str, description: Option<&str>) -> ModelVersion;
    registry 73 transition_model_version_stage(name: &str, version: &str, stage: &str, archive_existing_versions: bool) -> ModelVersion;
    registry 74 delete_model_version(name: &str, version: &str) -> ();
    main 75 model_version_download_uri(name: &str, version: &str) -> String;
    registry 76 set_model_version_tag(name: &str, version: &str, key: &str, value: &str) -> ();
    registry 77 delete_model_version_tag(name: &str, version: &str, key: &str) -> ();
    main 78 search_model_versions(filter: &str, max_results: i64, order_by: &[String], page_token: Option<&str>) -> Paged<ModelVersion>;
    main 79 vet_source(given: VersionSource, is_prompt: bool) -> VersionSource;

    read 81 positions() -> Positions;
    read 82 position_at(at: AsOf) -> u64;
    // 83 answered without fields.
    read 89 entity_changes(entity: &EntityName) -> EntityChanges;
    read 84 histories(query: &HistoriesQuery) -> MetricHistories;
    of_run 85 downsampled(id: &str, key: &str, steps: Option<(i64, i64)>, buckets: u64) -> Buckets;
    read 86 run_columns(query: &RunsQuery) -> RunColumns;
    of_run 87 run_as_of(id: &str, at: AsOf) -> PastRun;
    read 94 find(text: &str) -> EntityName;
    read 95 unknown_keys(filter: &str, order_by: &[String]) -> Vec<String>;
    of_run 96 nearest_metrics(id: &str, key: &str) -> Vec<String>;
    read 88 tail(from: u64, batches: u64, wait_ms: u64) -> TailPage;

    write 90 rewind_run(id: &str, to_step: i64) -> Rewound;
    of_run 91 run_branches(id: &str) -> Vec<RunBranch>;
    of_run 92 branch_history(id: &str, branch: u32, key: &str) -> MetricColumns;
    of_run 93 run_liveness(id: &str) -> Liveness;

    read 97 curves(query: &CurvesQuery) -> Curves;
    read 98 run_window(query: &WindowQuery) -> RunWindow;
    read 99 run_keys(experiments: &[String], most_runs: u64) -> RunKeys;
    main 105 registry_as_of(name: Option<&str>, at: AsOf) -> PastRegistry;

    own 100 store_id() -> String;
    own 101 sync_position(source: &str) -> u64;
    // A chunk that comes twice changes nothing.
    own 102 sync_apply(chunk: &[u8]) -> Report;
    own 103 sync_experiments(source: &str) -> Vec<(String, String)>;
    write 104 sync_forget(source: &str) -> u64;

    of_run 901 run_artifacts(id: &str) -> String;
    read 902 logged_model_artifacts(id: &str) -> String;
    of_run 903 metric_history_as_of(id: &str, key: &str, at: AsOf, offset: u64, limit: u64) -> PastHistory;
    main 904 model_versions_of_runs(runs: &[String]) -> Vec<ModelVersion>;
    own 905 made_at(lsn: Lsn) -> Vec<Made>;
    own 906 call_made_before(key: &[u8], request_hash: u64) -> Option<Lsn>;
    read 910 experiments_as_of(at: AsOf) -> PastExperiments;
    read 911 logged_models_as_of(experiments: &[String], limit: u64, at: AsOf) -> PastLoggedModels;
    read 912 logged_model_as_of(id: &str, at: AsOf) -> PastLoggedModels;
    read 913 run_keys_as_of(experiments: &[String], most_runs: u64, at: AsOf) -> RunKeys;
    registry 914 promote(name: &str, version: &str, alias: &str, expected: Option<u64>, reason: Option<&str>) -> Promotion;
    read 916 first_ms() -> Option<i64>;
    registry 915 roll_back(name: &str, to: AsOf, reason: Option<&str>, plan: bool) -> Rollback;
}
