//! Ten recipes. Each is a whole program, and a test.
//!
//! 1. [A training loop](#a-training-loop)
//! 2. [The hot row](#the-hot-row)
//! 3. [Many processes on one store](#many-processes-on-one-store)
//! 4. [Search](#search)
//! 5. [A window of a history](#a-window-of-a-history)
//! 6. [Registry: alias and promotion](#registry-alias-and-promotion)
//! 7. [Resume after a crash](#resume-after-a-crash)
//! 8. [Bring stores together](#bring-stores-together)
//! 9. [Time travel](#time-travel)
//! 10. [Read while another process trains](#read-while-another-process-trains)
//!
//! # A training loop
//!
//! ```
//! use runlode::{RunSpec, RunStatus, Store};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("exp");
//! let store = Store::open(&path)?;
//! let run = store.experiment("digits")?.create_run(RunSpec::named("trial-17").user("ada"))?;
//! run.log_params(&[("lr", "0.01"), ("batch", "32")])?;
//! for epoch in 0..10 {
//!     run.log_metrics(epoch, &[("loss", 1.0 / (epoch + 1) as f64), ("acc", 0.9)])?;
//! }
//! run.set_tags(&[("note", "converged")])?;
//! run.end(RunStatus::Finished)?;
//! store.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The hot row
//!
//! A loop that logs the same keys at every step makes a [`Row`](crate::Row) once.
//!
//! ```
//! use runlode::{RunSpec, Store};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("exp");
//! let run = Store::open(&path)?.experiment("digits")?.create_run(RunSpec::new())?;
//! let mut row = run.row(&["loss", "grad_norm", "lr"])?;
//! for step in 0..100_000 {
//!     row.log(step, &[1.0 / (step + 1) as f64, 0.5, 0.01])?;
//! }
//! assert_eq!(run.latest("lr")?.expect("logged above").count, 100_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Many processes on one store
//!
//! Every process opens the store, and that is all. The first holds the files; the others reach it by a socket, and log
//! points without asking it.
//!
//! ```
//! use runlode::{RunSpec, Store};
//!
//! fn worker(path: &std::path::Path, rank: u32) -> runlode::Result<()> {
//!     let store = Store::open(path)?;
//!     let run = store.experiment("sweep")?.create_run(RunSpec::named(format!("rank-{rank}")))?;
//!     run.log_metrics(0, &[("loss", f64::from(rank))])?;
//!     run.end(runlode::RunStatus::Finished)?;
//!     store.close()
//! }
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("exp");
//! // Threads here; processes do the same.
//! std::thread::scope(|scope| {
//!     for rank in 0..4 {
//!         let path = &path;
//!         scope.spawn(move || worker(path, rank).expect("a worker's run"));
//!     }
//! });
//! let store = Store::open(&path)?;
//! assert_eq!(store.experiment("sweep")?.search_runs("").find()?.len(), 4);
//! println!("held by process {:?}", store.status()?.holder_pid);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Search
//!
//! ```
//! use runlode::{RunSpec, Store};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("exp");
//! let store = Store::open(&path)?;
//! let digits = store.experiment("digits")?;
//! for (lr, loss) in [("0.1", 0.5), ("0.01", 0.05), ("0.001", 0.2)] {
//!     let run = digits.create_run(RunSpec::new().tag("kind", "sweep"))?;
//!     run.log_params(&[("lr", lr)])?;
//!     run.log_metrics(0, &[("loss", loss)])?;
//! }
//! let good = "metrics.loss < 0.3 and (params.lr <= 0.01 or tags.kind = 'baseline')";
//! for run in store.search_runs(good).order_by("metrics.loss").iter() {
//!     let run = run?;
//!     println!("{} {:?} {}", run.name, run.params, run.metrics[0].last.value);
//! }
//! assert_eq!(store.search_runs(good).find()?.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A window of a history
//!
//! ```
//! use runlode::{RunSpec, Store};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("exp");
//! let run = Store::open(&path)?.experiment("digits")?.create_run(RunSpec::new())?;
//! let mut row = run.row(&["loss"])?;
//! for step in 0..50_000 {
//!     row.log(step, &[f64::from(step as i32 % 100)])?;
//! }
//! let mut greatest = f64::MIN;
//! for point in run.history("loss")?.steps(10_000..20_000) {
//!     greatest = greatest.max(point?.value);
//! }
//! assert_eq!(greatest, 99.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Registry: alias and promotion
//!
//! ```
//! use runlode::{Stage, Store, VersionSpec};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("exp");
//! let store = Store::open(&path)?;
//! let fraud = store.create_registered_model("fraud")?;
//! let version = fraud.create_version(VersionSpec::from_source("s3://models/fraud-7").user("ada"))?;
//! fraud.transition_stage(version, Stage::Production, true)?; // what was there is archived
//! fraud.set_alias("champion", version)?;
//! assert_eq!(fraud.version_by_alias("champion")?.source, "s3://models/fraud-7");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Resume after a crash
//!
//! The checkpoint is of step 900, points were logged up to 1,000: rewind, and go on as one curve.
//!
//! ```
//! use runlode::{RunSpec, Store};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("exp");
//! # let store = Store::open(&path)?;
//! # let first = store.experiment("digits")?.create_run(RunSpec::named("trial-17"))?;
//! # let mut row = first.row(&["loss"])?;
//! # (0..=1000).try_for_each(|step| row.log(step, &[1.0]))?;
//! let lost = store.search_runs("attributes.name = 'trial-17'").find()?;
//! let run = store.run(lost[0].id)?;
//! run.lease()?; // this process logs to it now
//! run.rewind(900)?;
//! run.log_metrics(901, &[("loss", 0.1)])?;
//! assert_eq!(run.latest("loss")?.expect("logged above").count, 902);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Bring stores together
//!
//! From a shell `runlode sync SOURCE TARGET` sends what another store has, any number of times, while runs go on;
//! `runlode import sqlite:///mlflow.db STORE` takes over MLflow's database, and `runlode merge STORE` what offline
//! processes logged. From Rust, [`sync`](crate::sync) has the pieces:
//!
//! ```
//! use runlode::sync::Source;
//! use runlode::{Lsn, RunSpec, Store};
//!
//! # let dir = tempfile::tempdir()?;
//! # let (here, there) = (dir.path().join("here"), dir.path().join("there"));
//! let here = Store::open(&here)?;
//! here.experiment("digits")?.create_run(RunSpec::named("trial-17"))?;
//! here.flush()?;
//!
//! let there = Store::open(&there)?;
//! let calls = there.mlflow();
//! let from = here.local()?;
//! let applied = Lsn(calls.sync_position(&from.engine().id().to_string())?);
//! let mut source = Source::new(&from, applied, calls.store_id()?.parse()?)?;
//! while let Some(chunk) = source.next_chunk()? {
//!     calls.sync_apply(&chunk.encode())?;
//! }
//! assert_eq!(there.search_runs("attributes.name = 'trial-17'").find()?.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Time travel
//!
//! The past needs the engine in this process: [`Store::local`](crate::Store::local).
//!
//! ```
//! use runlode::{AsOf, RunSpec, Store};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("exp");
//! let store = Store::open(&path)?;
//! let run = store.experiment("digits")?.create_run(RunSpec::named("before"))?;
//! let then = store.local()?.positions().published;
//! run.rename("after")?;
//!
//! let snapshot = store.local()?.snapshot()?;
//! let past = snapshot.as_of(AsOf::Position(then))?;
//! assert_eq!(past.run(run.id())?.expect("it was there").0.name, "before");
//! assert_eq!(run.info()?.name, "after");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Read while another process trains
//!
//! Open the store as ever: reads are answered by the process that trains, and show every point that it was told is
//! logged. To look at the files alone, without a word to anybody, open them for reading:
//!
//! ```
//! use runlode::{LocalStore, RunSpec, Store};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("exp");
//! let trains = Store::open(&path)?;
//! let run = trains.experiment("digits")?.create_run(RunSpec::new())?;
//! run.log_metrics(0, &[("loss", 0.5)])?;
//!
//! let reads = Store::open(&path)?; // in another process
//! assert_eq!(reads.run(run.id())?.latest("loss")?.expect("logged above").last.value, 0.5);
//!
//! let files = LocalStore::options(&path).read_only(true).open()?;
//! assert!(files.snapshot()?.run(run.id())?.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
