//! Random histories of stores that import databases, change things and sync, beside what must come out of them.
//!
//! A history makes two or three stores and one or two MLflow databases. In any order the databases grow, rename and
//! retag, stores import them, log points, rename, retag, sync and compact. Whenever a store took something in, none of
//! its points is there twice or in another run, and no registered model has versions of two databases. In the end all
//! stores import all databases and sync with all others until nothing moves: then each holds every point of every
//! database and every point that was logged, once; fields are what the database says, or what somebody set in a store,
//! which the import tells.
//!
//! `RUNLODE_MEETINGS` sets how many (default 300), `RUNLODE_MEETINGS_SEED` the first seed. A failure names its seed, and
//! the shortest beginning of its steps that fails.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::panic::catch_unwind;
use std::sync::Arc;

use runlode::sync::{Chunk, Source, Target};
use runlode::{
    CompactOptions, Durability, ExperimentId, ExperimentSpec, HistoryQuery, LocalStore, Point, RunId, RunSpec,
    Snapshot, TimestampMs,
};
use runlode_cli::import::{ImportOptions, Report, import_sqlite};
use runlode_engine::ManualClock;
use runlode_engine::storage::sim::SimRng;
use runlode_tests::{knob, manual_clock};
use rusqlite::Connection;
use tempfile::TempDir;

/// The tables that matter here, as MLflow makes them. Nothing of it has to outlive a crash.
const SCHEMA: &str = "
    CREATE TABLE alembic_version (version_num VARCHAR(32));
    INSERT INTO alembic_version VALUES ('dc11669786a5');
    CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT, artifact_location TEXT,
        lifecycle_stage TEXT DEFAULT 'active', creation_time BIGINT, last_update_time BIGINT DEFAULT 1000);
    CREATE TABLE experiment_tags (key TEXT, value TEXT, experiment_id INTEGER, PRIMARY KEY (key, experiment_id));
    CREATE TABLE runs (run_uuid TEXT PRIMARY KEY, name TEXT, user_id TEXT DEFAULT 'ann', status TEXT DEFAULT 'RUNNING',
        start_time BIGINT DEFAULT 2000, end_time BIGINT, artifact_uri TEXT, experiment_id INTEGER,
        lifecycle_stage TEXT DEFAULT 'active', deleted_time BIGINT);
    CREATE TABLE metrics (key TEXT, value FLOAT, timestamp BIGINT, run_uuid TEXT, step BIGINT, is_nan BOOLEAN DEFAULT 0);
    CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT);
    CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT, PRIMARY KEY (key, run_uuid));
    CREATE TABLE registered_models (name TEXT PRIMARY KEY, creation_time BIGINT,
        last_updated_time BIGINT DEFAULT 3000, description TEXT);
    CREATE TABLE registered_model_tags (key TEXT, value TEXT, name TEXT);
    CREATE TABLE registered_model_aliases (alias TEXT, version INTEGER, name TEXT, PRIMARY KEY (alias, name));
    CREATE TABLE model_versions (name TEXT, version INTEGER, creation_time BIGINT,
        last_updated_time BIGINT DEFAULT 4000, description TEXT, user_id TEXT, current_stage TEXT DEFAULT 'None',
        source TEXT, run_id TEXT, status TEXT DEFAULT 'READY', status_message TEXT, run_link TEXT, storage_location TEXT);
    CREATE TABLE model_version_tags (key TEXT, value TEXT, name TEXT, version INTEGER);
";

/// An MLflow database, and what is in it.
struct Database {
    sql: Connection,
    path: std::path::PathBuf,
    number: u64,
    experiments: u64,
    runs: Vec<RunId>,
    /// In which of its experiments they are.
    places: BTreeMap<RunId, u64>,
    tags: BTreeMap<RunId, Option<String>>,
    names: BTreeMap<RunId, String>,
    model: String,
    versions: u32,
}

impl Database {
    fn new(dir: &TempDir, number: u64, same_birth: bool) -> Self {
        let path = dir.path().join(format!("mlflow-{number}.db"));
        let sql = Connection::open(&path).unwrap();
        sql.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;").unwrap();
        sql.execute_batch(SCHEMA).unwrap();
        let birth_ms = if same_birth { 1_000 } else { 1_000 + number };
        let created_ms = 3_000 + number;
        sql.execute_batch(&format!(
            "INSERT INTO experiments (experiment_id, name, creation_time)
                VALUES (0, 'Default', {birth_ms}), (1, 'mnist', {});
             INSERT INTO registered_models (name, creation_time) VALUES ('fraud', {created_ms});",
            1_010 + number
        ))
        .unwrap();
        let (runs, places, tags, names) = (Vec::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { sql, path, number, experiments: 2, runs, places, tags, names, model: "fraud".into(), versions: 0 }
    }

    fn execute(&self, sql: &str) {
        self.sql.execute_batch(sql).unwrap();
    }

    /// What the sources of its versions begin with.
    fn place(&self) -> String {
        format!("s3://{}/", self.number)
    }
}

struct World {
    _dir: TempDir,
    rng: SimRng,
    clock: Arc<ManualClock>,
    stores: Vec<LocalStore>,
    databases: Vec<Database>,
    next: u64,
    /// All points of every run, by the bits of their values, which are all different.
    points: BTreeMap<RunId, BTreeSet<u64>>,
    /// Tags and names that runs got in stores.
    set: BTreeMap<RunId, BTreeSet<String>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let shm = std::path::Path::new("/dev/shm");
        let dir = if shm.is_dir() { TempDir::new_in(shm) } else { TempDir::new() }.unwrap();
        let mut rng = SimRng::new(seed);
        let clock = manual_clock();
        let stores = 2 + rng.below(2);
        let stores = (0..stores).map(|number| open(&dir, number as usize, &clock)).collect();
        let (databases, same_birth) = (1 + rng.below(2), rng.below(2) == 0);
        let databases = (0..databases).map(|number| Database::new(&dir, number, same_birth)).collect();
        let (points, set) = (BTreeMap::new(), BTreeMap::new());
        let mut world = Self { _dir: dir, rng, clock, stores, databases, next: 1, points, set };
        for at in 0..world.databases.len() {
            world.new_run(at);
        }
        world
    }

    fn below(&mut self, below: usize) -> usize {
        self.rng.below(below.max(1) as u64) as usize
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        if all.is_empty() { None } else { Some(all[self.below(all.len())].clone()) }
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// New points of a run: of new steps and values, which come late as often as not.
    fn new_points(&mut self, run: RunId) -> Vec<Point> {
        let count = 1 + self.below(3);
        let points = self.points.entry(run).or_default();
        let mut new = Vec::new();
        for _ in 0..count {
            self.next += 1;
            let time = TimestampMs(1_600_000_000_000 + self.rng.below(1_000_000) as i64);
            new.push(Point { step: self.next as i64, time, value: self.next as f64 + 0.5 });
        }
        points.extend(new.iter().map(|point| point.value.to_bits()));
        new
    }

    // ---- databases -----------------------------------------------------------------------------------------------

    fn new_run(&mut self, at: usize) {
        let number = self.fresh();
        let experiment = self.below(self.databases[at].experiments as usize);
        let mut id = [0xd0 + at as u8; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        let run = RunId(id);
        let database = &mut self.databases[at];
        database.execute(&format!(
            "INSERT INTO runs (run_uuid, name, experiment_id) VALUES ('{run}', 'run {number}', {experiment});
             INSERT INTO params VALUES ('number', '{number}', '{run}');"
        ));
        database.runs.push(run);
        database.places.insert(run, experiment as u64);
        database.names.insert(run, format!("run {number}"));
        database.tags.insert(run, None);
        self.log_in_database(at, run);
    }

    fn log_in_database(&mut self, at: usize, run: RunId) {
        let mut sql = String::new();
        for Point { step, time, value } in self.new_points(run) {
            write!(
                sql,
                "INSERT INTO metrics (key, value, timestamp, run_uuid, step)
                 VALUES ('loss', {value:?}, {}, '{run}', {step});",
                time.0
            )
            .unwrap();
        }
        self.databases[at].execute(&sql);
    }

    fn change_database(&mut self) -> String {
        let at = self.below(self.databases.len());
        let number = self.fresh();
        let run = self.pick(&self.databases[at].runs.clone()).unwrap();
        let deletes = self.rng.below(3) == 0;
        let experiment = self.below(self.databases[at].experiments as usize);
        let kind = self.rng.below(12);
        match kind {
            0..2 => {
                self.new_run(at);
                return format!("database {at}: a run");
            }
            2..5 => {
                self.log_in_database(at, run);
                return format!("database {at}: points of {run}");
            }
            _ => {}
        }
        let database = &mut self.databases[at];
        let sql = match kind {
            5 => {
                let tag = (!deletes).then(|| format!("d{number}"));
                database.tags.insert(run, tag.clone());
                match tag {
                    Some(tag) => format!("INSERT OR REPLACE INTO tags VALUES ('t', '{tag}', '{run}')"),
                    None => format!("DELETE FROM tags WHERE key = 't' AND run_uuid = '{run}'"),
                }
            }
            6 => {
                database.names.insert(run, format!("run {number}"));
                format!("UPDATE runs SET name = 'run {number}' WHERE run_uuid = '{run}'")
            }
            7 if experiment > 0 => {
                let name = if deletes { "mnist".into() } else { format!("e{number}") };
                format!("UPDATE OR IGNORE experiments SET name = '{name}' WHERE experiment_id = {experiment}")
            }
            8 => {
                let name = if database.model != "fraud" && deletes { "fraud".into() } else { format!("m{number}") };
                let tables =
                    ["registered_models", "registered_model_tags", "registered_model_aliases", "model_versions"];
                database.model.clone_from(&name);
                tables.map(|table| format!("UPDATE {table} SET name = '{name}'")).join(";")
            }
            9 => {
                database.versions += 1;
                let (version, place) = (database.versions, database.place());
                format!(
                    "INSERT INTO model_versions (name, version, source, creation_time)
                     VALUES ('{}', {version}, '{place}{version}', {})",
                    database.model,
                    4_000 + number
                )
            }
            10 if database.versions > 0 => {
                let version = 1 + number % u64::from(database.versions);
                format!(
                    "INSERT OR REPLACE INTO registered_model_aliases VALUES ('prod', {version}, '{}')",
                    database.model
                )
            }
            11 => {
                let id = database.experiments;
                database.experiments += 1;
                format!(
                    "INSERT INTO experiments (experiment_id, name, creation_time) VALUES ({id}, 'x{number}', {})",
                    5_000 + number
                )
            }
            _ => return String::new(),
        };
        database.execute(&sql);
        format!("database {at}: {sql}")
    }

    // ---- stores --------------------------------------------------------------------------------------------------

    fn change_store(&mut self, at: usize) -> String {
        let number = self.fresh();
        let snapshot = self.stores[at].snapshot().unwrap();
        let runs = runs_of(&snapshot);
        let experiments: Vec<_> = snapshot.experiments().unwrap().into_iter().map(|(id, _)| id).collect();
        let models: Vec<_> = snapshot.registered_models().unwrap().into_iter().map(|(_, state)| state).collect();
        let run = self.pick(&runs);
        let kind = self.rng.below(11);
        let store = self.stores[at].clone();
        match (kind, run) {
            (0, _) => {
                let Some(experiment) = self.pick(&experiments) else { return String::new() };
                let run = store.create_run(experiment, RunSpec::named(format!("run {number}"))).unwrap().id();
                for point in self.new_points(run) {
                    store.run(run).unwrap().log_metric_at("loss", point, Durability::Buffered).unwrap();
                }
                self.set.entry(run).or_default().insert(format!("run {number}"));
                format!("store {at}: run {run} in {experiment}")
            }
            (1..5, Some(run)) => {
                for point in self.new_points(run) {
                    store.run(run).unwrap().log_metric_at("loss", point, Durability::Buffered).unwrap();
                }
                format!("store {at}: points of {run}")
            }
            (5..7, Some(run)) => {
                let tag = format!("s{number}");
                store.run(run).unwrap().set_tags(&[("t", &tag)]).unwrap();
                self.set.entry(run).or_default().insert(tag);
                format!("store {at}: tag of {run} s{number}")
            }
            (7, Some(run)) => {
                let name = format!("here {number}");
                store.run(run).unwrap().rename(&name).unwrap();
                self.set.entry(run).or_default().insert(name);
                format!("store {at}: name of {run}, here {number}")
            }
            (8, _) => {
                let Some(experiment) = self.pick(&experiments).filter(|id| id.0 > 0) else { return String::new() };
                store.rename_experiment(experiment, &format!("here {number}")).unwrap();
                format!("store {at}: experiment {experiment} is here {number}")
            }
            (9, _) => {
                let Some(model) = self.pick(&models) else { return String::new() };
                let Some(version) = self.pick(&model.versions) else { return String::new() };
                store.set_alias(&model.name, "prod", version).unwrap();
                format!("store {at}: prod of {} is {version}", model.name)
            }
            (10, _) => {
                let Ok(experiment) = store.create_experiment(ExperimentSpec::named(format!("own {number}"))) else {
                    return String::new();
                };
                format!("store {at}: experiment {experiment}")
            }
            _ => String::new(),
        }
    }

    fn import(&mut self, at: usize, database: usize) -> Report {
        let path = self.databases[database].path.clone();
        let report = import_sqlite(&path, &self.stores[at], &ImportOptions::default(), &mut |_| {}).unwrap();
        self.check(at);
        report
    }

    fn sync(&mut self, from: usize, to: usize) -> Vec<String> {
        let (source_store, target_store) = (&self.stores[from], &self.stores[to]);
        source_store.flush().unwrap();
        let target = || Target::new(target_store, source_store.engine().id()).unwrap();
        let applied = target().applied().unwrap();
        let mut source = Source::new(source_store, applied, target_store.engine().id()).unwrap();
        let mut told = Vec::new();
        while let Some(chunk) = source.next_chunk().unwrap() {
            let chunk = Chunk::decode(&chunk.encode()).unwrap();
            let report = target().apply(&chunk).unwrap();
            told.extend(report.problems.into_iter().map(|problem| problem.what));
        }
        self.check(to);
        told
    }

    fn step(&mut self) -> String {
        let at = self.below(self.stores.len());
        self.clock.advance_ms(1 + self.rng.below(3_000) as i64);
        match self.rng.below(20) {
            0..6 => self.change_database(),
            6..11 => self.change_store(at),
            11..15 => {
                let database = self.below(self.databases.len());
                let report = self.import(at, database);
                if self.rng.below(4) == 0 {
                    let before = self.position(at);
                    self.import(at, database);
                    assert_eq!(self.position(at), before, "a second import of {database} into {at} moves something");
                }
                format!("import of {database} into {at}: {:?} {:?}", report.problems, report.skipped)
            }
            15..19 => {
                let to = self.below(self.stores.len());
                if at == to {
                    return String::new();
                }
                let told = self.sync(at, to);
                format!("sync {at} to {to}: {told:?}")
            }
            _ => {
                let store = &self.stores[at];
                store.flush().unwrap();
                store.engine().seal().unwrap();
                store.compact(&CompactOptions::default()).unwrap();
                self.check(at);
                format!("compact {at}")
            }
        }
    }

    fn position(&self, at: usize) -> u64 {
        self.stores[at].snapshot().unwrap().position().0
    }

    /// What holds at any time: no point is there twice, or in another run, and no model is of two databases.
    fn check(&self, at: usize) {
        let snapshot = self.stores[at].snapshot().unwrap();
        for run in runs_of(&snapshot) {
            let all = &self.points[&run];
            let mut here = BTreeSet::new();
            for value in points_of(&snapshot, run) {
                assert!(all.contains(&value), "store {at}: {} is in run {run}", f64::from_bits(value));
                assert!(here.insert(value), "store {at}: {} is twice in run {run}", f64::from_bits(value));
            }
        }
        for (model, state) in snapshot.registered_models().unwrap() {
            let mut of = BTreeSet::new();
            for version in &state.versions {
                let source = snapshot.model_version(model, *version).unwrap().unwrap().source.clone();
                of.insert(source.rsplit_once('/').unwrap().0.to_owned());
            }
            assert!(of.len() <= 1, "store {at}: model {} is of {of:?}", state.name);
        }
    }

    /// All stores import all databases and sync with all others until nothing moves: then nothing is missing.
    fn settle(&mut self, trace: bool) {
        let mut reports: BTreeMap<(usize, usize), Report> = BTreeMap::new();
        for round in 0.. {
            let before: Vec<u64> = (0..self.stores.len()).map(|at| self.position(at)).collect();
            for at in 0..self.stores.len() {
                for database in 0..self.databases.len() {
                    self.clock.advance_ms(1_000);
                    let report = self.import(at, database);
                    if trace {
                        println!("import of {database} into {at}: {:?} {:?}", report.problems, report.notes);
                    }
                    reports.insert((at, database), report);
                }
            }
            for from in 0..self.stores.len() {
                for to in (0..self.stores.len()).filter(|to| *to != from) {
                    self.clock.advance_ms(1_000);
                    let told = self.sync(from, to);
                    if trace {
                        println!("sync {from} to {to}: {told:?}");
                    }
                }
            }
            let after: Vec<u64> = (0..self.stores.len()).map(|at| self.position(at)).collect();
            if before == after {
                break;
            }
            assert!(round < 8, "they go on and on: {before:?}, {after:?}");
        }
        for at in 0..self.stores.len() {
            self.check_end(at, &reports);
        }
    }

    fn check_end(&self, at: usize, reports: &BTreeMap<(usize, usize), Report>) {
        let snapshot = self.stores[at].snapshot().unwrap();
        for (run, all) in &self.points {
            let here: BTreeSet<u64> = points_of(&snapshot, *run).into_iter().collect();
            let missing: Vec<f64> = all.difference(&here).map(|bits| f64::from_bits(*bits)).collect();
            assert!(missing.is_empty(), "store {at} has no {missing:?} of run {run}");
        }
        // Runs of one experiment are in one experiment, which is no other database's; all share the first one.
        let mut homes: BTreeMap<ExperimentId, (u64, u64)> = BTreeMap::new();
        for database in &self.databases {
            for (run, number) in &database.places {
                let of = if *number == 0 { (0, 0) } else { (database.number, *number) };
                let home = snapshot.run(*run).unwrap().unwrap().experiment;
                assert_eq!(*homes.entry(home).or_insert(of), of, "store {at}: run {run} is in {home}");
            }
        }
        let places: BTreeSet<_> = homes.values().collect();
        assert_eq!(places.len(), homes.len(), "store {at}: {homes:?}");
        for (number, database) in self.databases.iter().enumerate() {
            let report = &reports[&(at, number)];
            let told = |what: &str| report.problems.iter().chain(&report.notes).any(|text| text.contains(what));
            for run in &database.runs {
                let state = snapshot.run(*run).unwrap().unwrap();
                let set = self.set.get(run);
                let tag = state.tags.iter().find(|(key, _)| key == "t").map(|(_, value)| value.clone());
                if tag != database.tags[run] {
                    let is_set = tag.as_ref().is_some_and(|tag| set.is_some_and(|set| set.contains(tag)));
                    assert!(is_set, "store {at}: tag {tag:?} of run {run}, not {:?}", database.tags[run]);
                    // A tag that the database has not is the store's own.
                    let own = database.tags[run].is_none();
                    assert!(own || told(&format!("tag t of run {run}")), "store {at}: {tag:?} of {run}: {report:?}");
                }
                if state.name != database.names[run] {
                    let is_set = set.is_some_and(|set| set.contains(&state.name));
                    assert!(is_set, "store {at}: name {} of run {run}, not {}", state.name, database.names[run]);
                    assert!(told(&format!("name of run {run}")), "store {at}: {} of {run} is not told", state.name);
                }
            }
            // Its model is there once, with its versions and no others.
            let mut found = Vec::new();
            for (model, state) in snapshot.registered_models().unwrap() {
                let versions: Vec<String> = state
                    .versions
                    .iter()
                    .map(|version| snapshot.model_version(model, *version).unwrap().unwrap().source.clone())
                    .collect();
                if versions.iter().any(|source| source.starts_with(&database.place())) {
                    found.push(versions);
                }
            }
            let versions: Vec<String> =
                (1..=database.versions).map(|version| format!("{}{version}", database.place())).collect();
            let wanted = if versions.is_empty() { Vec::new() } else { vec![versions] };
            assert_eq!(found, wanted, "store {at}: the model of database {number}");
        }
    }
}

fn open(dir: &TempDir, number: usize, clock: &Arc<ManualClock>) -> LocalStore {
    let options = LocalStore::options(dir.path().join(format!("store-{number}"))).default_experiment(false);
    options.background(false).clock(clock.clone()).memory_bytes(16 << 20).open().unwrap()
}

fn runs_of(snapshot: &Snapshot) -> Vec<RunId> {
    let experiments: Vec<ExperimentId> = snapshot.experiments().unwrap().into_iter().map(|(id, _)| id).collect();
    experiments.into_iter().flat_map(|experiment| snapshot.runs_of(experiment).unwrap()).collect()
}

/// The points of a run, by the bits of their values.
fn points_of(snapshot: &Snapshot, run: RunId) -> Vec<u64> {
    let (mut points, mut after) = (Vec::new(), None);
    if snapshot.run(run).unwrap().is_none() {
        return points;
    }
    loop {
        let query = HistoryQuery { after, ..HistoryQuery::default() };
        let page = snapshot.history(run, "loss", &query).unwrap();
        points.extend(page.columns.values.iter().map(|value| value.to_bits()));
        after = page.next;
        if after.is_none() {
            return points;
        }
    }
}

/// A history of `steps` steps.
fn run(seed: u64, steps: u64, trace: bool) {
    let mut world = World::new(seed);
    for _ in 0..steps {
        let step = world.step();
        if trace && !step.is_empty() {
            println!("{step}");
        }
    }
    world.settle(trace);
}

#[test]
fn stores_that_import_and_meet_hold_every_point_once() {
    let count = knob("RUNLODE_MEETINGS", 300);
    let first = knob("RUNLODE_MEETINGS_SEED", 1);
    let fails = |seed: u64, steps: u64| catch_unwind(|| run(seed, steps, false)).is_err();
    for seed in first..first + count {
        let steps = 5 + seed % 30;
        if !fails(seed, steps) {
            continue;
        }
        let shortest = (1..=steps).find(|steps| fails(seed, *steps)).unwrap_or(steps);
        println!("RUNLODE_MEETINGS_SEED={seed} RUNLODE_MEETINGS=1: fails with the first {shortest} of {steps} steps:");
        run(seed, shortest, true);
        panic!("seed {seed} fails");
    }
    println!("{count} histories from seed {first} on");
}
