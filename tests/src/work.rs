//! A seeded generator of work: what callers do to a store, right and wrong, with few ids and names so that they
//! collide.

use runlode_engine::event::*;
use runlode_engine::point::Point;
use runlode_engine::search::filter::{metric, param, param_number, tag};
use runlode_engine::search::{Filter, NumberKey, OrderKey, SearchQuery, TextKey, View};
use runlode_engine::storage::sim::SimRng;
use runlode_engine::{Durability, ExperimentId, Lsn, MetricContext, ModelId, RegisteredModelId, RunId, TimestampMs};

use crate::model::Model;
use crate::write::{Logged, Route, Write};

/// The experiments used.
pub const EXPERIMENTS: [ExperimentId; 3] = [ExperimentId(0), ExperimentId(1), ExperimentId(7)];
/// Names that experiments compete for.
pub const EXPERIMENT_NAMES: [&str; 4] = ["Default", "digits", "diabetes", "Träume"];
/// Registered models.
pub const REGISTERED: [RegisteredModelId; 3] =
    [RegisteredModelId(11), RegisteredModelId(12), RegisteredModelId(u64::MAX)];
/// Their names.
pub const MODEL_NAMES: [&str; 3] = ["classifier", "scaler", "both"];
/// Metric keys.
pub const METRICS: [&str; 5] = ["loss", "acc", "system/gpu_0", "val loss", "größe"];
/// Maximum number of runs.
pub const RUNS: u8 = 8;
/// Maximum number of logged models.
pub const LOGGED_MODELS: u8 = 3;

/// A run of the pool.
pub fn run_id(number: u8) -> RunId {
    RunId([number.wrapping_mul(37).wrapping_add(1); 16])
}

/// A logged model of the pool.
pub fn model_id(number: u8) -> ModelId {
    ModelId([number + 100; 16])
}

/// Makes writes.
#[derive(Debug, Clone)]
pub struct Generator {
    /// Its numbers.
    pub rng: SimRng,
    /// Writes so far, for fresh idempotency keys.
    count: u64,
    /// Of 1,000 writes, how many are points.
    points_per_mille: u64,
    /// Most points of a write.
    points_max: u64,
    /// Of 1,000 writes, how many are `Sync`.
    sync_per_mille: u64,
    /// Writes with a key, to be tried again.
    keyed: Vec<Write>,
}

impl Generator {
    /// From a seed, which also chooses habits.
    pub fn new(seed: u64) -> Self {
        let mut rng = SimRng::new(seed);
        let points_per_mille = [200, 500, 800][rng.below(3) as usize];
        let points_max = [3, 20, 200][rng.below(3) as usize];
        let sync_per_mille = [50, 300, 700][rng.below(3) as usize];
        Self { rng, count: 0, points_per_mille, points_max, sync_per_mille, keyed: Vec::new() }
    }

    /// At most so many points in a write.
    pub fn limit_points(&mut self, points_max: u64) {
        self.points_max = self.points_max.min(points_max);
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.rng.below(of.len() as u64) as usize].clone()
    }

    fn durability(&mut self) -> Durability {
        if self.rng.per_mille(self.sync_per_mille) { Durability::Sync } else { Durability::Buffered }
    }

    /// A step: of any kind that is allowed.
    fn step(&mut self, next: i64) -> i64 {
        match self.rng.below(20) {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => -(self.rng.below(10) as i64),
            3..=5 => self.rng.below(10) as i64,
            _ => next,
        }
    }

    fn value(&mut self) -> f64 {
        match self.rng.below(12) {
            0 => f64::NAN,
            1 => f64::from_bits(0x7ff8_0000_dead_beef),
            2 => f64::INFINITY,
            3 => f64::NEG_INFINITY,
            4 => -0.0,
            5 => 0.0,
            6 => f64::from_bits(self.rng.next()),
            7 => 1.5,
            _ => (self.rng.below(2_000) as f64 - 500.0) / 64.0,
        }
    }

    /// The next write. What may happen now is looked up in the model, so that most of them are accepted.
    pub fn write(&mut self, model: &Model, head: Lsn) -> Write {
        self.count += 1;
        if !self.keyed.is_empty() && self.rng.below(25) == 0 {
            let keyed = self.keyed.clone();
            let mut again = self.pick(&keyed);
            if self.rng.below(5) == 0 {
                again.events.push(RunTagsSet { run: run_id(0), tags: vec![] }.into());
            }
            again.durability = self.durability();
            return again;
        }
        let mut write = if !model.runs.is_empty() && self.rng.per_mille(self.points_per_mille) {
            self.points(model)
        } else {
            self.events(model)
        };
        write.durability = self.durability();
        if write.route == Route::Batch {
            if self.rng.below(4) == 0 {
                write.actor = Some(self.pick(&["ann", "bob"]).to_owned());
            }
            if self.rng.below(6) == 0 {
                write.key = Some(format!("key-{}", self.count).into_bytes());
                self.keyed.push(write.clone());
            }
            match self.rng.below(30) {
                0 => write.expect_head = Some(head),
                1 => write.expect_head = Some(Lsn(head.0.saturating_sub(1))),
                2 | 3 => {
                    let run = run_id(self.rng.below(u64::from(RUNS)) as u8);
                    let last = model.runs.get(&run).map_or(Lsn::ZERO, |state| state.last);
                    let wrong = self.rng.below(3) == 0;
                    write.expect = Some((run, if wrong { last.next() } else { last }));
                }
                _ => {}
            }
        }
        write
    }

    fn points(&mut self, model: &Model) -> Write {
        let mut write = Write::of(Vec::new(), Durability::Sync);
        write.route = self.pick(&[Route::Batch, Route::Row, Route::Points, Route::Row]);
        let runs: Vec<RunId> = model.runs.keys().copied().collect();
        let mut run = if self.rng.below(60) == 0 { RunId([255; 16]) } else { self.pick(&runs) };
        let base = self.count as i64 * 4;
        let count = 1 + self.rng.below(self.points_max);
        let context = (write.route == Route::Batch && self.rng.below(4) == 0).then(|| MetricContext {
            model_id: Some(model_id(0).to_string()),
            dataset_name: (self.rng.below(2) == 0).then(|| "train".to_owned()),
            dataset_digest: (self.rng.below(2) == 0).then(|| "d1".to_owned()),
            also: Vec::new(),
        });
        let (step, time) = (self.step(base), TimestampMs(1_000 + base + self.rng.below(3) as i64));
        for i in 0..count {
            let point = if write.route == Route::Row {
                Point { step, time, value: self.value() }
            } else {
                let time = TimestampMs(1_000 + base + if self.rng.below(8) == 0 { 0 } else { i as i64 });
                Point { step: self.step(base + i as i64), time, value: self.value() }
            };
            let key = self.pick(&METRICS).to_owned();
            write.points.push(Logged { run, key, point, context: context.clone() });
            if write.route == Route::Batch && self.rng.below(10) == 0 {
                run = self.pick(&runs);
            }
            // The same again.
            if self.rng.below(12) == 0 {
                let last = write.points[write.points.len() - 1].clone();
                write.points.push(last);
            }
        }
        match self.rng.below(80) {
            0 => write.points.iter_mut().for_each(|logged| logged.point.time = TimestampMs(-1)),
            1 => write.points[0].key = String::new(),
            _ => {}
        }
        write
    }

    fn tags(&mut self) -> Vec<KeyValue> {
        let count = self.rng.below(4);
        let keys = ["a", "b", "mlflow.runName", "ключ"];
        (0..count).map(|_| (self.pick(&keys).to_owned(), self.pick(&["", "1", "0.5", "nan", "x"]).to_owned())).collect()
    }

    fn text(&mut self) -> Option<String> {
        (self.rng.below(2) == 0).then(|| format!("text {}", self.rng.below(3)))
    }

    fn events(&mut self, model: &Model) -> Write {
        let experiment = self.pick(&EXPERIMENTS);
        let run = run_id(self.rng.below(u64::from(RUNS)) as u8);
        let at_ms = self.count as i64 * 10;
        let mut events = vec![self.event(model, experiment, run, at_ms)];
        let lifecycle = |event: &Event| {
            matches!(
                event,
                Event::ExperimentCreated(_)
                    | Event::ExperimentDeleted(_)
                    | Event::ExperimentRestored(_)
                    | Event::RunDeleted(_)
                    | Event::RunRestored(_)
                    | Event::RunPurged(_)
            )
        };
        if let Event::ExperimentCreated(created) = &events[0] {
            // A whole life in one batch.
            let experiment = created.experiment;
            if self.rng.below(2) == 0 {
                events.push(self.run_created(experiment, run));
                events.push(ParamsLogged { run, params: vec![("lr".into(), "0.1".into())] }.into());
            }
        } else if !lifecycle(&events[0]) {
            for _ in 0..self.rng.below(3) {
                let another = self.event(model, experiment, run, at_ms);
                if !lifecycle(&another) {
                    events.push(another);
                }
            }
        }
        let mut write = Write::of(events, Durability::Sync);
        if let [Event::RunCreated(created), ..] = write.events.as_slice()
            && self.rng.below(3) == 0
        {
            let point = Point { step: 0, time: TimestampMs(at_ms), value: self.value() };
            write.points.push(Logged { run: created.run, key: "loss".into(), point, context: None });
        }
        write
    }

    fn run_created(&mut self, experiment: ExperimentId, run: RunId) -> Event {
        RunCreated {
            run,
            experiment,
            name: self.pick(&["", "trial", "best"]).into(),
            user_id: self.pick(&["", "ann", "bob"]).into(),
            status: self.pick(&[RunStatus::Running, RunStatus::Scheduled]),
            start_time_ms: self.rng.below(5) as i64,
            artifact_location: self.text(),
            tags: self.tags(),
        }
        .into()
    }

    fn event(&mut self, model: &Model, experiment: ExperimentId, run: RunId, at_ms: i64) -> Event {
        let logged = model_id(self.rng.below(u64::from(LOGGED_MODELS)) as u8);
        let registered = self.pick(&REGISTERED);
        let last = model.registered.get(&registered).map_or(0, |model| model.version_last);
        let version = (last + 1).saturating_sub(self.rng.below(3) as u32);
        if !model.experiments.contains_key(&experiment) && self.rng.below(3) > 0 {
            let name = self.pick(&EXPERIMENT_NAMES).into();
            let (artifact_location, tags) = (self.text(), self.tags());
            let (creation_time_ms, last_update_time_ms) = (at_ms, at_ms);
            return ExperimentCreated {
                experiment,
                name,
                artifact_location,
                creation_time_ms,
                last_update_time_ms,
                tags,
            }
            .into();
        }
        if !model.runs.contains_key(&run) && self.rng.below(2) > 0 {
            return self.run_created(experiment, run);
        }
        let key = self.pick(&["a", "b", "ключ"]).to_owned();
        match self.rng.below(60) {
            0 => ExperimentRenamed { experiment, name: self.pick(&EXPERIMENT_NAMES).into(), at_ms }.into(),
            1 | 2 => ExperimentTagsSet { experiment, tags: self.tags() }.into(),
            3 => ExperimentTagDeleted { experiment, key }.into(),
            4 => ExperimentDeleted { experiment, at_ms }.into(),
            5..=7 => ExperimentRestored { experiment, at_ms }.into(),
            8 => RunDeleted { run, at_ms }.into(),
            9..=11 => RunRestored { run }.into(),
            12 => RunPurged { run }.into(),
            13..=18 => {
                let count = 1 + self.rng.below(3);
                let params = (0..count)
                    .map(|_| {
                        (self.pick(&["lr", "depth", "opt"]).to_owned(), self.pick(&["0.1", "0.1", "3"]).to_owned())
                    })
                    .collect();
                ParamsLogged { run, params }.into()
            }
            19..=21 => RunTagsSet { run, tags: self.tags() }.into(),
            22 | 23 => RunTagDeleted { run, key }.into(),
            24..=26 => RunUpdated {
                run,
                status: self.pick(&[None, Some(RunStatus::Finished), Some(RunStatus::Failed)]),
                end_time_ms: self.pick(&[None, Some(at_ms)]),
                name: self.pick(&[None, Some(String::new()), Some("renamed".to_owned())]),
            }
            .into(),
            27 | 28 => RunInputsLogged {
                run,
                datasets: vec![DatasetInput {
                    name: self.pick(&["train", "test"]).into(),
                    digest: self.pick(&["d1", "d2"]).into(),
                    source_type: "local".into(),
                    source: format!("file-{at_ms}"),
                    schema: self.text(),
                    profile: None,
                    tags: vec![("mlflow.data.context".into(), self.pick(&["training", "eval"]).into())],
                }],
                models: vec![logged.to_string()],
            }
            .into(),
            29 => RunOutputsLogged { run, models: vec![(logged.to_string(), self.rng.next() as i64)] }.into(),
            30 => ArtifactLogged {
                run,
                path: self.pick(&["plot.png", "model/MLmodel"]).into(),
                size_bytes: self.pick(&[None, Some(7)]),
            }
            .into(),
            31 if self.pick(&[true, false]) => RunLeased {
                run,
                host: self.pick(&["gpu-1", "gpu-2"]).into(),
                pid: 100 + self.rng.below(3) as u32,
                process_start: 7,
                boot_id: "b:1".into(),
                at_ms,
            }
            .into(),
            31 => ProjectLaunched {
                run,
                uri: "./project".into(),
                version: self.text(),
                entry_point: "main".into(),
                parameters: vec![("alpha".into(), "0.5".into())],
                environment: "local".into(),
                backend: "local".into(),
                attempt: 1,
            }
            .into(),
            32..=34 => LoggedModelCreated {
                model: logged,
                experiment,
                name: "forest".into(),
                model_type: String::new(),
                source_run: run.to_string(),
                artifact_location: None,
                status: LoggedModelStatus::Pending,
                status_message: None,
                creation_time_ms: at_ms,
                last_updated_time_ms: at_ms,
                params: vec![("p".into(), "1".into())],
                tags: self.tags(),
            }
            .into(),
            35 => LoggedModelFinalized { model: logged, status: LoggedModelStatus::Ready, at_ms }.into(),
            36 => LoggedModelTagsSet { model: logged, tags: self.tags() }.into(),
            37 => LoggedModelTagDeleted { model: logged, key }.into(),
            38 if self.rng.below(4) == 0 => LoggedModelPointShared {
                model: logged,
                run,
                key,
                step: self.rng.below(3) as i64,
                time_ms: at_ms,
                value_bits: 1.5f64.to_bits(),
                dataset_name: None,
                dataset_digest: None,
            }
            .into(),
            38 if self.pick(&[true, false]) => LoggedModelMetricsLogged { model: logged, run, keys: vec![key] }.into(),
            38 => LoggedModelParamsLogged {
                model: logged,
                params: vec![(self.pick(&["p", "q", "r"]).into(), "2".into())],
            }
            .into(),
            39 => LoggedModelDeleted { model: logged, at_ms }.into(),
            40 | 41 => RegisteredModelCreated {
                model: registered,
                name: self.pick(&MODEL_NAMES).into(),
                description: self.text(),
                creation_time_ms: at_ms,
                last_updated_time_ms: at_ms,
                tags: self.tags(),
            }
            .into(),
            42 => RegisteredModelUpdated { model: registered, description: self.text(), at_ms }.into(),
            43 => RegisteredModelRenamed { model: registered, name: self.pick(&MODEL_NAMES).into(), at_ms }.into(),
            44 => RegisteredModelTagsSet { model: registered, tags: self.tags() }.into(),
            45 => RegisteredModelTagDeleted { model: registered, key }.into(),
            46 if self.rng.below(3) == 0 => RegisteredModelDeleted { model: registered }.into(),
            46..=48 => AliasSet { model: registered, alias: self.pick(&["champion", "next"]).into(), version }.into(),
            49 => AliasDeleted { model: registered, alias: self.pick(&["champion", "next"]).into() }.into(),
            50..=54 => ModelVersionCreated {
                model: registered,
                version: last + self.rng.below(3) as u32,
                source: "models:/x".into(),
                storage_location: None,
                run_id: Some(run.to_string()),
                run_link: None,
                model_id: self.text(),
                user_id: self.text(),
                description: None,
                stage: Stage::None,
                status: VersionStatus::Ready,
                status_message: None,
                creation_time_ms: at_ms,
                last_updated_time_ms: at_ms,
                tags: self.tags(),
            }
            .into(),
            55 => ModelVersionUpdated { model: registered, version, description: self.text(), at_ms }.into(),
            56 => ModelVersionStageChanged { model: registered, version, stage: Stage::Production, at_ms }.into(),
            57 => ModelVersionTagsSet { model: registered, version, tags: self.tags() }.into(),
            58 => ModelVersionTagDeleted { model: registered, version, key }.into(),
            _ => ModelVersionDeleted { model: registered, version, at_ms }.into(),
        }
    }
}

/// Searches that every comparison asks.
pub fn queries() -> Vec<SearchQuery> {
    let query = |filter: Option<Filter>, order: Vec<OrderKey>, view: View, limit: usize| SearchQuery {
        experiments: EXPERIMENTS.to_vec(),
        filter,
        order,
        view,
        limit,
        after: None,
    };
    let m = |key: &str| -> NumberKey { metric(key) };
    vec![
        query(None, vec![], View::ActiveOnly, 3),
        query(None, vec![OrderKey::descending(m("loss"))], View::All, 2),
        query(
            Some(m("loss").gt(0.5) & param("lr").eq("0.1")),
            vec![OrderKey::ascending(param("depth"))],
            View::All,
            100,
        ),
        query(Some(!m("acc").min().le(1.0)), vec![OrderKey::ascending(m("acc").max())], View::ActiveOnly, 2),
        query(Some(m("loss").count().ge(3.0) | tag("a").is_null()), vec![], View::All, 100),
        query(Some(tag("a").ne("x")), vec![OrderKey::descending(TextKey::Name)], View::DeletedOnly, 1),
        query(
            Some(param_number("lr").lt(1.0) & m("val loss").first().ne(0.0)),
            vec![OrderKey::ascending(m("loss").count()), OrderKey::descending(NumberKey::EndTime)],
            View::All,
            2,
        ),
    ]
}
