//! The typed calls: those of [`Store`](crate::Store) and its handles, answered by [`LocalStore`] in the process that
//! holds the store. One line for each, as [`super::calls`] has them, with numbers from [`FIRST`] to [`LAST`]. Kinds are those
//! there, where what they look at is an id:
//!
//! ```text
//!   run          as `of_run`
//!   experiment   as there, by id
//!   taken        a new name: that of an experiment of the main store is taken
//!   named        a name: an experiment of the main store is copied
//! ```
//!
//! Long, because every typed call has its line here, and beside the lines what answers them.

use std::ops::Deref;

use super::caller::OWN;
use super::fault::typed;
use super::protocol::{ClientId, Request, answered, new_request, refused};
use super::request::{call_of, unknown};
use super::typed_again::Again;
use super::wire::{Arg, Lend, Put, Take};
use super::{Shared, raw_bytes};
use crate::engine::search::View;
use crate::engine::{HistoryPosition, HistoryQuery};
use crate::info::{self, ExperimentInfo, LoggedModelInfo, MetricInfo, RegisteredModelInfo, RunInfo, VersionInfo};
use crate::lease::{Liveness, Process, Watch, last_point_ms};
use crate::mlflow::entity::Tag;
use crate::mlflow::{MetricColumns, Mlflow, Rewound};
use crate::run::RunChange;
use crate::{
    AsOf, Batch, CompactOptions, CompactReport, DatasetInput, Durability, Ended, Error, ExperimentId, ExperimentSpec,
    GcOptions, GcPlan, GcReport, Lifecycle, LocalStore, LoggedModelSpec, LoggedModelStatus, Lsn, ModelId, Promotion,
    RegisteredModelSpec, Result, Rollback, RunId, RunSpec, RunStatus, Stage, VersionSpec,
};

/// The first number of a typed call.
pub(super) const FIRST: u16 = 110;
/// Brings index and files up to date, for a reader that opens them: no arguments, no result.
pub(super) const SETTLE_FOR_READERS: u16 = 891;
/// The last number that a typed call may have.
pub(super) const LAST: u16 = 899;
/// Most points of a part of a history.
const PART_POINTS_MAX: u64 = 1 << 20;

/// Points of a history, and where the next part begins: empty at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct HistoryPart {
    pub(crate) points: MetricColumns,
    pub(crate) next: Vec<u8>,
}

/// Which runs are searched for.
#[derive(Debug, Clone)]
pub(crate) struct RunsSearch {
    /// None: all that are active.
    pub(crate) experiments: Vec<ExperimentId>,
    pub(crate) filter: String,
    pub(crate) order_by: Vec<String>,
    pub(crate) view: View,
    pub(crate) limit: u64,
    /// Where a page begins; empty for the first one.
    pub(crate) after: String,
}

/// A page of runs, and where the next one begins: empty at the end.
#[derive(Debug, Clone)]
pub(crate) struct RunsFound {
    pub(crate) runs: Vec<RunInfo>,
    pub(crate) next: String,
}

/// What answers typed calls: the store, and what the caller's handle is set to.
struct Answers<'a>(&'a Mlflow);

impl Deref for Answers<'_> {
    type Target = LocalStore;

    fn deref(&self) -> &LocalStore {
        self.0.store()
    }
}

impl Answers<'_> {
    fn process(&self) -> Option<Process> {
        self.0.settings().process.clone()
    }

    fn make_experiment(&self, spec: &ExperimentSpec) -> Result<ExperimentId> {
        self.create_experiment(spec.clone())
    }

    fn make_run(&self, experiment: ExperimentId, spec: &RunSpec) -> Result<RunId> {
        self.begin_run(experiment, spec.clone(), self.process())
    }

    fn fork_run(&self, parent: RunId, to_step: i64, spec: &RunSpec) -> Result<RunId> {
        self.begin_fork(parent, to_step, spec.clone(), self.process())
    }

    fn change_run(&self, run: RunId, change: &RunChange) -> Result<()> {
        self.check_run(run)?;
        self.update_run(run, change.clone(), self.process())
    }

    fn take_run(&self, run: RunId) -> Result<()> {
        match self.process() {
            Some(process) => self.lease_run(run, process).map(drop),
            None => Ok(()),
        }
    }

    fn liveness(&self, run: RunId) -> Result<Liveness> {
        let (snapshot, state) = (self.snapshot_of_run(run)?, self.run_state(run)?);
        Watch::here(self.now().0).look(&state, || last_point_ms(&snapshot, run))
    }

    fn log_artifact(&self, run: RunId, path: &str, size_bytes: Option<u64>) -> Result<Lsn> {
        let path = path.to_owned();
        self.append_event(crate::engine::event::ArtifactLogged { run, path, size_bytes })
    }

    fn rewind(&self, run: RunId, to_step: i64) -> Result<Rewound> {
        self.rewind_run(run, to_step).map(Rewound::from)
    }

    fn compact_store(&self, options: &CompactOptions) -> Result<CompactReport> {
        self.compact(options)
    }

    fn compact_at(&self, options: &CompactOptions, bytes_per_second: Option<u64>) -> Result<CompactReport> {
        let mut options = options.clone();
        options.bytes_per_second = bytes_per_second;
        self.compact(&options)
    }

    fn compaction_progress(&self) -> Result<Option<(u64, u64)>> {
        Ok(self.engine().compaction_progress())
    }

    fn settle_for_readers(&self) -> Result<()> {
        self.engine().settle_for_readers()
    }

    fn raw_state(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.snapshot_of_entities()?.entity_bytes(&raw_bytes::key(key)?)
    }

    fn raw_experiments(&self) -> Result<Vec<ExperimentId>> {
        Ok(self.snapshot_of_entities()?.experiments_ever()?.into_iter().map(|(id, _)| id).collect())
    }

    fn raw_registered_models(&self) -> Result<Vec<u64>> {
        Ok(self.snapshot_of_entities()?.registered_models()?.into_iter().map(|(id, _)| id.0).collect())
    }

    fn raw_runs(&self, experiment: ExperimentId) -> Result<Vec<RunId>> {
        self.snapshot_of_entities()?.runs_of(experiment)
    }

    fn raw_events(&self, key: &[u8]) -> Result<Vec<raw_bytes::EventBytes>> {
        raw_bytes::events(&self.snapshot_of_entities()?, &raw_bytes::key(key)?)
    }

    fn raw_has_points(&self, run: RunId) -> Result<bool> {
        Ok(!self.snapshot_of_run(run)?.latest(run)?.is_empty())
    }

    /// Position, and whether the batch was there; `None`: its key was used for another one.
    fn raw_append(&self, batch: &[u8]) -> Result<(u64, Option<bool>)> {
        match self.append(Batch::from_bytes(batch)?, Durability::Buffered) {
            Ok(receipt) => Ok((receipt.lsn.0, Some(receipt.repeated))),
            Err(Error::KeyReused { lsn, .. }) => Ok((lsn, None)),
            Err(error) => Err(error),
        }
    }

    fn raw_ensure_default_experiment(&self) -> Result<bool> {
        self.ensure_default_experiment()
    }

    fn history(&self, run: RunId, key: &str, first: i64, last: i64, after: &[u8], limit: u64) -> Result<HistoryPart> {
        let snapshot = self.snapshot_of_run(run)?;
        let after = match after {
            [] => None,
            after => Some(
                HistoryPosition::from_bytes(after)
                    .ok_or_else(|| Error::invalid("position of a history", "it is none that a part ended with"))?,
            ),
        };
        let limit = limit.clamp(1, PART_POINTS_MAX) as usize;
        let query = HistoryQuery { steps: (first, last), limit, after, ..HistoryQuery::default() };
        let page = snapshot.history(run, key, &query)?;
        let columns = page.columns;
        Ok(HistoryPart {
            points: MetricColumns { steps: columns.steps, timestamps: columns.times, values: columns.values },
            next: page.next.map_or_else(Vec::new, |next| next.to_bytes().to_vec()),
        })
    }

    fn search_runs(&self, search: &RunsSearch) -> Result<RunsFound> {
        let snapshot = self.snapshot()?;
        let mut experiments = search.experiments.clone();
        if experiments.is_empty() {
            let active = snapshot.experiments()?.into_iter().filter(|(_, state)| state.lifecycle == Lifecycle::Active);
            experiments.extend(active.map(|(id, _)| id));
        }
        experiments.sort_unstable();
        experiments.dedup();
        let wrong = |text: &str, error: crate::filter::FilterError| {
            Error::invalid(format!("search `{text}`"), error.to_string())
        };
        let filter = match search.filter.trim() {
            "" => None,
            text => Some(crate::filter::parse(text).map_err(|error| wrong(text, error))?),
        };
        let order =
            search.order_by.iter().map(|text| crate::filter::parse_order(text).map_err(|error| wrong(text, error)));
        let query = crate::engine::search::SearchQuery {
            experiments,
            filter,
            order: order.collect::<Result<_>>()?,
            view: search.view,
            limit: usize::try_from(search.limit).unwrap_or(usize::MAX),
            after: if search.after.is_empty() { None } else { Some(search.after.parse()?) },
        };
        let page = self.0.search_page(&snapshot, &query).map_err(typed)?;
        let mut runs = Vec::with_capacity(page.runs.len());
        for run in page.runs {
            runs.extend(info::run(&snapshot, run)?);
        }
        Ok(RunsFound { runs, next: page.next.map(|next| next.to_string()).unwrap_or_default() })
    }

    fn make_registered_model(&self, spec: &RegisteredModelSpec) -> Result<()> {
        self.create_registered_model(spec.clone()).map(drop)
    }

    fn make_version(&self, name: &str, spec: &VersionSpec) -> Result<u32> {
        self.create_version(name, spec.clone())
    }

    fn make_logged_model(&self, experiment: ExperimentId, spec: &LoggedModelSpec) -> Result<ModelId> {
        self.create_logged_model(experiment, spec.clone())
    }
}

/// What a call does in a process that holds the store, or is offline; it goes on to the request in a client.
macro_rules! here {
    (read, $seat:ident, $name:ident, ($($arg:ident),*)) => {
        if let Some(offline) = $seat.offline()? {
            return offline.read($seat.settings(), |mlflow| Answers(mlflow).$name($(Clone::clone(&$arg)),*));
        }
        here!(write, $seat, $name, ($($arg),*));
    };
    (run, $seat:ident, $name:ident, ($id:ident $(, $arg:ident)*)) => {
        if let Some(offline) = $seat.offline()? {
            let read = |mlflow: &Mlflow| Answers(mlflow).$name($id, $(Clone::clone(&$arg)),*);
            return offline.read_run($seat.settings(), Some($id), read);
        }
        here!(write, $seat, $name, ($id $(, $arg)*));
    };
    (main, $seat:ident, $name:ident, ($($arg:ident),*)) => {
        if let Some(offline) = $seat.offline()? {
            return offline.read_main($seat.settings(), |mlflow| Answers(mlflow).$name($(Clone::clone(&$arg)),*));
        }
        here!(write, $seat, $name, ($($arg),*));
    };
    (experiment, $seat:ident, $name:ident, ($id:ident $(, $arg:ident)*)) => {
        let $id = match $seat.offline()? {
            Some(offline) => offline.adopt_id($id)?,
            None => $id,
        };
        here!(write, $seat, $name, ($id $(, $arg)*));
    };
    (named, $seat:ident, $name:ident, ($experiment:ident $(, $arg:ident)*)) => {
        if let Some(offline) = $seat.offline()?
            && offline.adopt_name($experiment)?
        {
            return Err(Error::Deleted { entity: crate::EntityKind::Experiment, id: $experiment.to_owned() });
        }
        here!(write, $seat, $name, ($experiment $(, $arg)*));
    };
    (taken, $seat:ident, $name:ident, ($spec:ident)) => {
        if let Some(offline) = $seat.offline()?
            && offline.adopt_name(&$spec.name)?
        {
            return Err(Error::AlreadyExists { entity: crate::EntityKind::Experiment, id: $spec.name.clone() });
        }
        here!(write, $seat, $name, ($spec));
    };
    (registry, $seat:ident, $name:ident, ($($arg:ident),*)) => {
        if let Some(offline) = $seat.offline()? {
            return Err(offline.registry_refused());
        }
        here!(write, $seat, $name, ($($arg),*));
    };
    // `write` and `own`.
    ($kind:ident, $seat:ident, $name:ident, ($($arg:ident),*)) => {
        if let Some(mlflow) = $seat.mlflow()? {
            return Answers(&mlflow).$name($($arg),*);
        }
    };
}

/// What the holder does with a request of a line.
macro_rules! handle {
    (run, $($rest:tt)*) => { handle!(read, $($rest)*) };
    (own, $($rest:tt)*) => { handle!(read, $($rest)*) };
    (named, $($rest:tt)*) => { handle!(read, $($rest)*) };
    (main, $($rest:tt)*) => { handle!(read, $($rest)*) };
    (experiment, $($rest:tt)*) => { handle!(write, $($rest)*) };
    (registry, $($rest:tt)*) => { handle!(write, $($rest)*) };
    (taken, $($rest:tt)*) => { handle!(write, $($rest)*) };
    (read, $mlflow:ident, $client:ident, $request:ident, $name:ident, ($($arg:ident: $type:ty),*)) => {{
        $(let $arg = <<$type as Arg>::Held<'_> as Take<'_>>::take(&mut $request.arguments)?;)*
        $request.arguments.is_empty().then(|| answered(Answers($mlflow).$name($(Lend::lend(&$arg)),*)))
    }};
    (write, $mlflow:ident, $client:ident, $request:ident, $name:ident, ($($arg:ident: $type:ty),*)) => {{
        let call = call_of($client, $request);
        $(let $arg = <<$type as Arg>::Held<'_> as Take<'_>>::take(&mut $request.arguments)?;)*
        $request.arguments.is_empty().then(|| {
            let result = match $mlflow.store().for_call(call) {
                Ok(store) => Answers(&$mlflow.on(store)).$name($(Lend::lend(&$arg)),*),
                Err(error) => Err(error),
            };
            answered(match result {
                Err(Error::Repeated { lsn }) => Again::again($mlflow.store(), Lsn(lsn)),
                result => result,
            })
        })
    }};
}

macro_rules! calls {
    ($($kind:ident $number:literal $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        /// The typed calls, in whichever seat this process is.
        pub(crate) trait Asks {
            $(fn $name(&self, $($arg: $type),*) -> Result<$out>;)*
        }

        impl Asks for Shared {
            $(
                fn $name(&self, $($arg: $type),*) -> Result<$out> {
                    let seat = self.seat()?;
                    here!($kind, seat, $name, ($($arg),*));
                    #[allow(unused_mut)]
                    let mut request = new_request(seat.next_request(), $number);
                    $($arg.put(&mut request);)*
                    seat.ask(&OWN, request)
                }
            )*
        }

        /// Does what a request asks for. `None`: it cannot be read.
        pub(super) fn dispatch(mlflow: &Mlflow, client: ClientId, request: &mut Request<'_>) -> Option<Vec<u8>> {
            match request.call {
                $($number => handle!($kind, mlflow, client, request, $name, ($($arg: $type),*)),)*
                SETTLE_FOR_READERS => Some(answered(Answers(mlflow).settle_for_readers())),
                call => Some(refused(&unknown(call))),
            }
        }
    };
}

calls! {
    taken 110 make_experiment(spec: &ExperimentSpec) -> ExperimentId;
    // Made twice it finds what the first one made.
    named 111 get_or_create_experiment(name: &str) -> ExperimentId;
    read 112 experiment_info(id: ExperimentId) -> ExperimentInfo;
    read 113 experiment_named(name: &str) -> ExperimentInfo;
    read 114 experiment_infos() -> Vec<ExperimentInfo>;
    experiment 115 rename_experiment(id: ExperimentId, name: &str) -> Lsn;
    experiment 116 set_experiment_tags(id: ExperimentId, tags: &[Tag]) -> Lsn;
    experiment 117 delete_experiment_tag(id: ExperimentId, key: &str) -> Lsn;
    experiment 118 delete_experiment(id: ExperimentId) -> Lsn;
    experiment 119 restore_experiment(id: ExperimentId) -> Lsn;

    experiment 120 make_run(experiment: ExperimentId, spec: &RunSpec) -> RunId;
    run 121 run_info(run: RunId) -> RunInfo;
    own 122 check_run(run: RunId) -> ();
    write 123 change_run(run: RunId, change: &RunChange) -> ();
    write 124 end_run(run: RunId, status: RunStatus, end_time_ms: Option<i64>) -> Ended;
    write 125 set_run_tags(run: RunId, tags: &[Tag]) -> Lsn;
    write 126 delete_run_tag(run: RunId, key: &str) -> Lsn;
    write 127 log_run_params(run: RunId, params: &[Tag]) -> Lsn;
    write 128 log_run_inputs(run: RunId, datasets: &[DatasetInput], models: &[String]) -> Lsn;
    write 129 log_run_outputs(run: RunId, models: &[(String, i64)]) -> Lsn;
    write 130 log_artifact(run: RunId, path: &str, size_bytes: Option<u64>) -> Lsn;
    write 131 delete_run(run: RunId) -> Lsn;
    write 132 restore_run(run: RunId) -> Lsn;
    write 133 take_run(run: RunId) -> ();
    write 134 rewind(run: RunId, to_step: i64) -> Rewound;
    run 135 history(run: RunId, key: &str, first: i64, last: i64, after: &[u8], limit: u64) -> HistoryPart;
    run 136 metric_info(run: RunId, key: &str) -> Option<MetricInfo>;
    run 138 liveness(run: RunId) -> Liveness;
    write 139 fork_run(parent: RunId, to_step: i64, spec: &RunSpec) -> RunId;
    read 137 search_runs(search: &RunsSearch) -> RunsFound;

    // Keys, states, events and batches as bytes of the engine: see [`super::raw`].
    own 870 raw_state(key: &[u8]) -> Option<Vec<u8>>;
    own 871 raw_experiments() -> Vec<ExperimentId>;
    own 872 raw_registered_models() -> Vec<u64>;
    own 873 raw_runs(experiment: ExperimentId) -> Vec<RunId>;
    own 874 raw_events(key: &[u8]) -> Vec<raw_bytes::EventBytes>;
    own 875 raw_has_points(run: RunId) -> bool;
    // A batch with an idempotency key may come twice.
    own 876 raw_append(batch: &[u8]) -> (u64, Option<bool>);
    own 877 raw_ensure_default_experiment() -> bool;

    // Done twice it finds nothing to do.
    own 890 compact_store(options: &CompactOptions) -> CompactReport;
    own 892 compact_at(options: &CompactOptions, bytes_per_second: Option<u64>) -> CompactReport;
    own 893 compaction_progress() -> Option<(u64, u64)>;
    own 894 plan_gc(options: &GcOptions) -> GcPlan;
    write 895 gc(plan: &GcPlan) -> GcReport;

    registry 140 make_registered_model(spec: &RegisteredModelSpec) -> ();
    main 141 registered_model_info(name: &str) -> RegisteredModelInfo;
    main 142 registered_model_infos() -> Vec<RegisteredModelInfo>;
    registry 143 describe_registered_model(name: &str, description: Option<&str>) -> ();
    registry 144 rename_registered_model(name: &str, new_name: &str) -> ();
    registry 145 delete_registered_model(name: &str) -> ();
    registry 146 set_registered_model_tags(name: &str, tags: &[Tag]) -> ();
    registry 147 delete_registered_model_tag(name: &str, key: &str) -> ();
    registry 148 set_alias(name: &str, alias: &str, version: u32) -> ();
    registry 149 delete_alias(name: &str, alias: &str) -> ();
    registry 150 make_version(name: &str, spec: &VersionSpec) -> u32;
    main 151 version_info(name: &str, version: u32) -> VersionInfo;
    main 152 version_infos(name: &str) -> Vec<VersionInfo>;
    main 153 version_by_alias(name: &str, alias: &str) -> VersionInfo;
    registry 154 describe_version(name: &str, version: u32, description: Option<&str>) -> ();
    registry 155 transition_stage(name: &str, version: u32, stage: Stage, archive_existing: bool) -> ();
    registry 156 set_version_tags(name: &str, version: u32, tags: &[Tag]) -> ();
    registry 157 delete_version_tag(name: &str, version: u32, key: &str) -> ();
    registry 158 delete_version(name: &str, version: u32) -> ();
    registry 159 promote_if(name: &str, version: u32, alias: &str, expected: Option<u64>, reason: Option<&str>) -> Promotion;
    registry 170 roll_back(name: &str, to: AsOf, reason: Option<&str>, plan: bool) -> Rollback;

    experiment 160 make_logged_model(experiment: ExperimentId, spec: &LoggedModelSpec) -> ModelId;
    read 161 logged_model_info(model: ModelId) -> LoggedModelInfo;
    write 162 finalize_logged_model(model: ModelId, status: LoggedModelStatus) -> Lsn;
    write 163 set_logged_model_tags(model: ModelId, tags: &[Tag]) -> Lsn;
    write 164 delete_logged_model_tag(model: ModelId, key: &str) -> Lsn;
    write 165 log_logged_model_params(model: ModelId, params: &[Tag]) -> Lsn;
    write 166 delete_logged_model(model: ModelId) -> Lsn;
}
