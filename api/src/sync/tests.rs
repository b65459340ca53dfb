//! Two stores, or three, brought together in every order.

use std::sync::Arc;

use tempfile::TempDir;

use super::{CHUNK_BYTES_MAX, Chunk, Report, Source, Target};
use crate::engine::{Clock, InboxWriter, ManualClock};
use crate::mlflow::entity::{Dataset, DatasetInput, Tag, View};
use crate::mlflow::{Mlflow, NewLoggedModel, NewMetric, NewModelVersion, NewRun, Settings};
use crate::{CompactOptions, LocalStore, Lsn, RunStatus, TimestampMs};

struct Side {
    folder: TempDir,
    store: LocalStore,
    mlflow: Mlflow,
    clock: Arc<ManualClock>,
}

impl Side {
    fn new() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), 1_000_000)
    }

    /// With a clock that stands at this time.
    fn at(ms: i64) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), ms)
    }

    fn in_folder(folder: TempDir, ms: i64) -> Self {
        let clock = Arc::new(ManualClock::at(TimestampMs(ms)));
        let options = LocalStore::options(folder.path().join("store")).background(false).clock(clock.clone());
        let store = options.open().unwrap();
        let mlflow = Mlflow::new(store.clone(), Settings::with_root("root:/", "/"));
        Self { folder, store, mlflow, clock }
    }

    /// What `runlode replay` makes of it.
    fn replayed(&self) -> Self {
        self.store.flush().unwrap();
        let folder = tempfile::tempdir().unwrap();
        self.store.engine().replay_into(folder.path().join("store"), None).unwrap();
        Self::in_folder(folder, self.clock.now().0)
    }

    /// The same store, opened again from its log alone.
    fn opened_again(self) -> Self {
        let Self { folder, store, mlflow, clock } = self;
        drop(mlflow);
        store.close().unwrap();
        std::fs::remove_file(folder.path().join("store/index.redb")).unwrap();
        Self::in_folder(folder, clock.now().0)
    }

    fn later(&self, ms: i64) {
        self.clock.advance_ms(ms);
    }

    fn tag_of(&self, run: &str, key: &str) -> Option<String> {
        let tags = self.mlflow.run(run).unwrap().tags;
        tags.into_iter().find(|(have, _)| have == key).map(|(_, value)| value)
    }

    fn end(&self) -> u64 {
        self.store.positions().published.0
    }

    fn id(&self) -> String {
        self.store.engine().id().to_string()
    }

    /// A run with everything that a run can have; its id.
    fn run(&self, experiment: &str, name: &str, points: i64) -> String {
        let experiment = match self.mlflow.experiment_by_name(experiment).unwrap() {
            Some(found) => found.experiment_id,
            None => self.mlflow.create_experiment(experiment, None, &[tag("kind", "test")]).unwrap(),
        };
        let new =
            NewRun { experiment_id: Some(&experiment), user_id: "ann", start_time: 7, run_name: Some(name), tags: &[] };
        let run = self.mlflow.create_run(&new).unwrap().info.run_id;
        self.mlflow.log_batch(&run, &[], &[tag("lr", "0.1")], &[tag("note", name)]).unwrap();
        let dataset = Dataset {
            name: "digits".into(),
            digest: "d1".into(),
            source_type: "local".into(),
            source: "x".into(),
            ..Dataset::default()
        };
        self.mlflow
            .log_inputs(&run, &[DatasetInput { tags: vec![tag("mlflow.data.context", "train")], dataset }], &[])
            .unwrap();
        self.points(&run, 0, points);
        run
    }

    fn points(&self, run: &str, from: i64, to: i64) {
        for step in from..to {
            let value = if step % 10 == 9 { f64::from_bits(0x7ff8_0000_0000_1234) } else { 1.0 / (step + 1) as f64 };
            let metric = |key, value| NewMetric { key, value, timestamp: 1000 + step, step, ..NewMetric::default() };
            self.mlflow.log_batch(run, &[metric("loss", value), metric("acc", -0.0)], &[], &[]).unwrap();
        }
    }

    /// Everything that clients can see of a run, ids of experiments by their names.
    fn seen(&self, run: &str) -> String {
        let mut seen = self.mlflow.run(run).unwrap();
        seen.info.experiment_id = self.mlflow.experiment(&seen.info.experiment_id).unwrap().name;
        seen.info.artifact_uri.clear();
        let mut text = format!("{:?}{:?}{:?}", seen.info, seen.params, seen.tags);
        text += &format!("{:?}{:?}{:?}", seen.dataset_inputs, seen.model_inputs, seen.model_outputs);
        for metric in &seen.metrics {
            let (columns, _) = self.mlflow.metric_history(run, &metric.key, None, None).unwrap();
            let bits: Vec<u64> = columns.values.iter().map(|value| value.to_bits()).collect();
            text +=
                &format!("{}{:?}{:?}{:?}{:?}", metric.key, metric.model_id, columns.steps, columns.timestamps, bits);
        }
        text
    }
}

fn tag(key: &str, value: &str) -> Tag {
    (key.to_owned(), value.to_owned())
}

/// The chunks that a target does not have.
fn chunks(from: &Side, to: &Side) -> Vec<Vec<u8>> {
    from.store.flush().unwrap();
    let applied = to.mlflow.sync_position(&from.id()).unwrap();
    let mut source = Source::new(&from.store, Lsn(applied), to.store.engine().id()).unwrap();
    let mut out = Vec::new();
    while let Some(chunk) = source.next_chunk().unwrap() {
        out.push(chunk.encode());
    }
    out
}

fn sync(from: &Side, to: &Side) -> Report {
    let mut report = Report::default();
    for chunk in chunks(from, to) {
        report.add(to.mlflow.sync_apply(&chunk).unwrap());
    }
    report
}

#[test]
fn a_run_is_copied_unchanged_and_continues() {
    let (a, b) = (Side::new(), Side::new());
    let run = a.run("digits", "first", 25);
    let report = sync(&a, &b);
    assert_eq!((report.problems.as_slice(), report.points_count), (&[][..], 50));
    assert_eq!(b.seen(&run), a.seen(&run));
    // Again: nothing.
    let again = sync(&a, &b);
    assert_eq!((again.batches_count, again.points_count, again.problems_count), (0, 0, 0));
    // The run goes on.
    a.points(&run, 25, 40);
    a.mlflow.update_run(&run, Some(RunStatus::Finished), Some(99), None).unwrap();
    let more = sync(&a, &b);
    assert_eq!((more.points_count, more.problems_count), (30, 0));
    assert_eq!(b.seen(&run), a.seen(&run));
}

#[test]
fn experiments_are_matched_by_name_and_keep_a_free_id() {
    let (a, b) = (Side::new(), Side::new());
    let other = b.run("theirs", "b0", 1);
    let both_b = b.run("both", "b1", 1);
    let both_a = a.run("both", "a1", 1);
    let alone = a.run("alone", "a2", 1);
    let in_default = a.run("Default", "a3", 1);
    assert_eq!(sync(&a, &b).problems, []);
    for run in [&both_a, &alone, &in_default] {
        assert_eq!(b.seen(run), a.seen(run));
    }
    let experiment = |run: &str| b.mlflow.run_info(run).unwrap().experiment_id;
    assert_eq!(experiment(&both_a), experiment(&both_b));
    assert_eq!(experiment(&in_default), "0");
    // `alone` has the id 2 there, which is `both` here.
    assert_ne!(experiment(&alone), experiment(&both_b));
    assert_ne!(experiment(&alone), experiment(&other));
    // A rename there finds its experiment here.
    let id = a.mlflow.experiment_by_name("alone").unwrap().unwrap().experiment_id;
    a.mlflow.rename_experiment(&id, "not alone").unwrap();
    assert_eq!(sync(&a, &b).problems, []);
    assert_eq!(b.mlflow.experiment(&experiment(&alone)).unwrap().name, "not alone");
}

/// Points of each metric of a run, as the statistics and as the history have them.
fn counts(side: &Side, run: &str) -> Vec<(String, u64, u64)> {
    let (snapshot, run) = (side.store.snapshot().unwrap(), run.parse().unwrap());
    let count = |key: &str| snapshot.count_exact(run, key).unwrap();
    let metrics = snapshot.latest(run).unwrap().into_iter();
    metrics.map(|(key, stats)| (key.to_string(), stats.count_raw, count(&key))).collect()
}

fn compact(side: &Side) {
    side.store.flush().unwrap();
    side.store.compact(&CompactOptions::default()).unwrap();
}

#[test]
fn compacted_points_are_sent_once_in_log_order() {
    let (a, b) = (Side::new(), Side::new());
    let deleted = a.run("digits", "deleted", 30);
    a.mlflow.delete_run(&deleted).unwrap();
    let run = a.run("digits", "first", 300);
    compact(&a);
    // The run goes on: the log has points that a series file of the next seal has as well.
    a.points(&run, 300, 340);
    a.store.flush().unwrap();
    a.store.engine().seal().unwrap();
    a.points(&run, 340, 350);
    let same = |report: &Report, points: u64| {
        assert_eq!((report.problems.as_slice(), report.points_count), (&[][..], points));
        for run in [&run, &deleted] {
            assert_eq!(b.seen(run), a.seen(run));
            assert_eq!(counts(&b, run), counts(&a, run));
        }
        assert_eq!(counts(&a, &run)[0].1, counts(&a, &run)[0].2);
        assert_eq!(sync(&a, &b).batches_count, 0);
    };
    same(&sync(&a, &b), 2 * (30 + 350));
    // Both are compacted, and it goes on again.
    compact(&a);
    compact(&b);
    assert_eq!(sync(&a, &b).batches_count, 0);
    a.points(&run, 350, 360);
    compact(&a);
    same(&sync(&a, &b), 2 * 10);
    // What came from there does not go back, though nothing but points was in most batches.
    compact(&b);
    assert_eq!((sync(&b, &a).points_count, sync(&a, &b).points_count), (0, 0));
    assert_eq!(counts(&a, &run), counts(&b, &run));
}

#[test]
fn a_sync_of_a_compacted_store_that_is_cut_again_and_again_raises_no_alarm() {
    let (a, b) = (Side::new(), Side::new());
    let run = a.run("digits", "first", 40);
    // What is refused when it is said twice.
    a.mlflow.delete_tag(&run, "note").unwrap();
    let id = a.mlflow.experiment_by_name("digits").unwrap().unwrap().experiment_id;
    a.mlflow.rename_experiment(&id, "letters").unwrap();
    a.mlflow.delete_experiment(&id).unwrap();
    a.mlflow.restore_experiment(&id).unwrap();
    a.run("digits", "second", 3);
    a.mlflow.create_registered_model("fraud", &[], None).unwrap();
    let version = NewModelVersion { source: "s3://x", run_id: Some(&run), ..NewModelVersion::default() };
    a.mlflow.create_model_version("fraud", &version).unwrap();
    a.mlflow.set_registered_model_alias("fraud", "champion", "1").unwrap();
    a.mlflow.delete_registered_model_alias("fraud", "champion").unwrap();
    a.mlflow.delete_model_version("fraud", "1").unwrap();
    compact(&a);
    a.points(&run, 40, 50);
    a.store.flush().unwrap();
    for rounds in 0.. {
        let applied = b.mlflow.sync_position(&a.id()).unwrap();
        let mut source = Source::new(&a.store, Lsn(applied), b.store.engine().id()).unwrap();
        let Some(mut chunk) = source.next_chunk().unwrap() else {
            assert!(rounds > 10, "{rounds}");
            break;
        };
        if chunk.batches.len() > 1 {
            // What is said of all of it is not said of a part.
            chunk.batches.truncate(1);
            chunk.through = 0;
        }
        let report = b.mlflow.sync_apply(&chunk.encode()).unwrap();
        assert_eq!(report.problems, []);
    }
    assert_eq!(b.seen(&run), a.seen(&run));
    assert_eq!(counts(&b, &run), counts(&a, &run));
}

#[test]
fn a_run_that_was_purged_on_the_way_to_a_third_store_is_told_and_may_come_from_where_it_was_made() {
    let (a, b, c) = (Side::new(), Side::new(), Side::new());
    let run = a.run("digits", "first", 5);
    assert_eq!(sync(&a, &b).problems, []);
    b.mlflow.delete_run(&run).unwrap();
    b.store.purge_run(run.parse().unwrap()).unwrap();
    a.run("digits", "second", 5);
    assert_eq!(sync(&a, &b).problems, []);
    let told = sync(&b, &c);
    assert!(told.problems.iter().any(|problem| problem.what.contains(&run)), "{:?}", told.problems);
    assert!(c.mlflow.run_info(&run).is_err());
    // As the message says.
    c.mlflow.sync_forget(&a.id()).unwrap();
    sync(&a, &c);
    assert_eq!(counts(&c, &run), counts(&a, &run));
    assert_eq!(c.seen(&run), a.seen(&run));
}

#[test]
fn runs_that_were_purged_before_they_were_sent_are_not_sent() {
    for compacted in [false, true] {
        let (a, b, c) = (Side::new(), Side::new(), Side::new());
        let (run, purged) = (a.run("digits", "first", 5), a.run("digits", "purged", 5));
        assert_eq!(sync(&a, &c).problems, []);
        a.mlflow.delete_run(&purged).unwrap();
        a.store.purge_run(purged.parse().unwrap()).unwrap();
        if compacted {
            compact(&a);
        }
        let report = sync(&a, &b);
        assert_eq!((report.problems.as_slice(), report.points_count), (&[][..], 10));
        assert!(b.mlflow.run_info(&purged).is_err());
        assert_eq!(b.seen(&run), a.seen(&run));
        // Who has it already is told.
        let report = sync(&a, &c);
        assert_eq!((report.problems_count, counts(&c, &purged)[0].2), (1, 5), "{:?}", report.problems);
    }
}

#[test]
fn an_interrupted_sync_continues_and_repeated_chunks_change_nothing() {
    let (a, b) = (Side::new(), Side::new());
    let run = a.run("digits", "first", 50);
    a.store.flush().unwrap();
    let mut source = Source::new(&a.store, Lsn(0), b.store.engine().id()).unwrap();
    let chunk = source.next_chunk().unwrap().unwrap();
    for (count, batch) in chunk.batches.iter().enumerate() {
        // Each by itself, every third twice, and then from the beginning.
        let one = Chunk { through: 0, batches: vec![batch.clone()], ..chunk.clone() }.encode();
        b.mlflow.sync_apply(&one).unwrap();
        if count % 3 == 0 {
            assert_eq!(b.mlflow.sync_apply(&one).unwrap().points_count, 0);
        }
    }
    assert_eq!(sync(&a, &b).batches_count, 0);
    assert_eq!(b.seen(&run), a.seen(&run));
    let log_points = b.store.engine().positions().published;
    b.mlflow.sync_apply(&chunk.encode()).unwrap();
    assert_eq!(b.store.engine().positions().published, log_points);
}

#[test]
fn syncing_there_and_back_changes_nothing() {
    let (a, b) = (Side::new(), Side::new());
    let (of_a, of_b) = (a.run("digits", "a", 20), b.run("digits", "b", 20));
    sync(&a, &b);
    sync(&b, &a);
    let ends = (a.store.positions().published, b.store.positions().published);
    for _ in 0..3 {
        assert_eq!((sync(&a, &b).points_count, sync(&b, &a).points_count), (0, 0));
    }
    let grown = (a.store.positions().published.0 - ends.0.0, b.store.positions().published.0 - ends.1.0);
    assert!(grown.0 < 5 && grown.1 < 5, "{grown:?}");
    for run in [&of_a, &of_b] {
        assert_eq!(a.seen(run), b.seen(run));
    }
}

#[test]
fn disagreements_are_kept_and_reported() {
    let (a, b) = (Side::new(), Side::new());
    let run = a.run("digits", "first", 5);
    sync(&a, &b);
    a.mlflow.log_param(&run, "depth", "3").unwrap();
    b.mlflow.log_param(&run, "depth", "4").unwrap();
    a.mlflow.log_param(&run, "width", "8").unwrap();
    let report = sync(&a, &b);
    assert_eq!(report.problems_count, 1, "{:?}", report.problems);
    let seen = b.mlflow.run(&run).unwrap();
    assert!(seen.params.contains(&tag("depth", "4")) && seen.params.contains(&tag("width", "8")));
    assert!(seen.tags.contains(&tag("runlode.conflict.depth", "3")));
    assert_eq!(sync(&a, &b).batches_count, 0);
}

#[test]
fn a_rewound_run_is_the_same_clean_curve() {
    let (a, b) = (Side::new(), Side::new());
    let run = a.run("digits", "first", 20);
    sync(&a, &b);
    a.store.engine().rewind(run.parse().unwrap(), 11, None).unwrap();
    a.points(&run, 12, 15);
    assert_eq!(sync(&a, &b).problems, []);
    assert_eq!(b.seen(&run), a.seen(&run));
    assert_eq!(sync(&a, &b).batches_count, 0);
    // All of it at once, into a store that has nothing of it.
    let c = Side::new();
    assert_eq!(sync(&a, &c).problems, []);
    assert_eq!(c.seen(&run), a.seen(&run));
}

#[test]
fn models_and_the_registry_are_copied() {
    let (a, b) = (Side::new(), Side::new());
    let run = a.run("digits", "first", 5);
    let experiment = a.mlflow.run_info(&run).unwrap().experiment_id;
    let new = NewLoggedModel {
        experiment_id: &experiment,
        name: Some("net"),
        model_type: "",
        source_run_id: &run,
        params: &[tag("p", "1")],
        tags: &[],
    };
    let model = a.mlflow.create_logged_model(&new).unwrap().model_id;
    let metric = NewMetric {
        key: "acc",
        value: 0.5,
        timestamp: 3,
        step: 2,
        model_id: Some(&model),
        dataset_name: Some("digits"),
        dataset_digest: Some("d1"),
    };
    a.mlflow.log_metric(&run, &metric).unwrap();
    a.mlflow.create_registered_model("fraud", &[], Some("about")).unwrap();
    let version = NewModelVersion { source: "s3://x", run_id: Some(&run), ..NewModelVersion::default() };
    a.mlflow.create_model_version("fraud", &version).unwrap();
    a.mlflow.set_registered_model_alias("fraud", "champion", "1").unwrap();
    a.mlflow.transition_model_version_stage("fraud", "1", "Production", false).unwrap();
    assert_eq!(sync(&a, &b).problems, []);
    let models = |side: &Side| {
        let mut model = side.mlflow.logged_model(&model, false).unwrap();
        (model.experiment_id, model.artifact_uri) = (String::new(), String::new());
        model
    };
    assert_eq!(models(&b), models(&a));
    assert_eq!(
        b.mlflow.model_version_by_alias("fraud", "champion").unwrap(),
        a.mlflow.model_version_by_alias("fraud", "champion").unwrap()
    );
    assert_eq!(b.mlflow.registered_model("fraud").unwrap(), a.mlflow.registered_model("fraud").unwrap());
    let found = b.mlflow.search_runs(&["1".into()], "metrics.loss > 0.1", View::ActiveOnly, 10, &[], None).unwrap();
    assert_eq!(found.items.len(), 1);
    // The name is taken by another one: said, and nothing of theirs is mixed in.
    let c = Side::new();
    c.mlflow.create_registered_model("fraud", &[], None).unwrap();
    let report = sync(&a, &c);
    assert!(report.problems.iter().any(|problem| problem.what.contains("fraud")), "{:?}", report.problems);
    assert_eq!(c.seen(&run), a.seen(&run));
    assert!(c.mlflow.model_version("fraud", "1").is_err());
}

#[test]
fn many_stores_sync_into_one() {
    let hub = Side::new();
    let sides: Vec<Side> = (0..4).map(|_| Side::new()).collect();
    let runs: Vec<String> = sides.iter().map(|side| side.run("sweep", "trial", 10)).collect();
    for side in &sides {
        assert_eq!(sync(side, &hub).problems, []);
    }
    let experiment = hub.mlflow.experiment_by_name("sweep").unwrap().unwrap().experiment_id;
    let found = hub.mlflow.search_runs(&[experiment], "", View::ActiveOnly, 100, &[], None).unwrap();
    assert_eq!(found.items.len(), 4);
    for (side, run) in sides.iter().zip(&runs) {
        assert_eq!(hub.seen(run), side.seen(run));
    }
}

#[test]
fn bytes_that_are_no_chunk_are_refused() {
    let (a, b) = (Side::new(), Side::new());
    a.run("digits", "first", 5);
    let chunk = chunks(&a, &b).remove(0);
    assert!(chunk.len() < CHUNK_BYTES_MAX);
    for at in (0..chunk.len()).step_by(7) {
        let mut damaged = chunk.clone();
        damaged[at] ^= 0x10;
        assert!(b.mlflow.sync_apply(&damaged).is_err(), "byte {at}");
        assert!(b.mlflow.sync_apply(&chunk[..at]).is_err(), "cut at {at}");
    }
    assert_eq!(b.mlflow.sync_position(&a.id()).unwrap(), 0);
    assert!(Target::new(&a.store, a.store.engine().id()).is_err());
}

// ---- an event is itself wherever it travels --------------------------------------------------------------------------

#[test]
fn the_original_recognises_the_content_of_a_copy() {
    let a = Side::new();
    let run = a.run("digits", "first", 20);
    a.mlflow.create_registered_model("fraud", &[], None).unwrap();
    let version = NewModelVersion { source: "s3://x", run_id: Some(&run), ..NewModelVersion::default() };
    a.mlflow.create_model_version("fraud", &version).unwrap();
    a.mlflow.create_model_version("fraud", &version).unwrap();
    a.mlflow.set_registered_model_alias("fraud", "prod", "1").unwrap();
    a.mlflow.set_tag(&run, "word", "old").unwrap();
    let b = a.replayed();
    assert_eq!(b.seen(&run), a.seen(&run));
    // The original goes on: what the copy holds is older, and was seen.
    a.later(1_000);
    a.mlflow.set_registered_model_alias("fraud", "prod", "2").unwrap();
    a.mlflow.set_tag(&run, "word", "new").unwrap();
    let end = a.end();
    let back = sync(&b, &a);
    assert_eq!((back.batches_count, back.points_count, back.problems_count), (0, 0, 0), "{:?}", back.problems);
    assert_eq!(a.tag_of(&run, "word").as_deref(), Some("new"));
    assert_eq!(a.mlflow.model_version_by_alias("fraud", "prod").unwrap().version, 2);
    assert!(a.end() <= end + 4, "{end} to {}", a.end());
    // And the copy gets what is new, and nothing but that.
    let there = sync(&a, &b);
    assert_eq!((there.points_count, there.problems_count), (0, 0), "{:?}", there.problems);
    assert!(there.events_count <= 2, "{there:?}");
    assert_eq!(b.seen(&run), a.seen(&run));
    assert_eq!(b.mlflow.model_version_by_alias("fraud", "prod").unwrap().version, 2);
    // A run that the copy logs in the experiment that both have is in that one there.
    let more = b.run("digits", "second", 3);
    assert_eq!(sync(&b, &a).problems, []);
    assert_eq!(a.seen(&more), b.seen(&more));
    assert_eq!(a.mlflow.run_info(&more).unwrap().experiment_id, a.mlflow.run_info(&run).unwrap().experiment_id);
}

#[test]
fn a_copy_of_a_copy_recognises_both_originals() {
    let a = Side::new();
    let run = a.run("digits", "first", 5);
    let b = a.replayed();
    b.points(&run, 5, 8);
    let c = b.replayed();
    c.points(&run, 8, 11);
    // A meets C, and has not met B.
    let report = sync(&c, &a);
    assert_eq!((report.points_count, report.problems_count), (12, 0), "{:?}", report.problems);
    assert_eq!(a.seen(&run), c.seen(&run));
    assert_eq!(sync(&b, &a).points_count, 0);
    assert_eq!(sync(&c, &b).points_count, 6);
    assert_eq!(sync(&a, &b).points_count, 0);
    assert_eq!(b.seen(&run), a.seen(&run));
    // As it was in the middle of what was copied.
    let folder = tempfile::tempdir().unwrap();
    let until = Some(crate::AsOf::Position(Lsn(3)));
    c.store.engine().replay_into(folder.path().join("store"), until).unwrap();
    let early = Side::in_folder(folder, 1_000_000);
    assert_eq!(sync(&early, &a).batches_count, 0);
    assert_eq!(sync(&a, &early).problems, []);
    assert_eq!(early.seen(&run), a.seen(&run));
}

#[test]
fn data_that_arrives_by_two_paths_is_added_once() {
    let sides: Vec<Side> = (0..4).map(|at| Side::at(1_000_000 + at * 3_600_000)).collect();
    let run = sides[0].run("digits", "first", 10);
    // Along the line, then directly, then back, with more in between.
    assert_eq!(sync(&sides[0], &sides[1]).points_count, 20);
    sides[0].points(&run, 10, 20);
    sides[1].points(&run, 20, 30);
    assert_eq!(sync(&sides[1], &sides[2]).points_count, 40);
    assert_eq!(sync(&sides[0], &sides[2]).points_count, 20);
    assert_eq!(sync(&sides[2], &sides[3]).points_count, 60);
    for (from, to, points) in [(0, 3, 0), (1, 3, 0), (3, 0, 20), (3, 1, 20), (2, 0, 0), (2, 1, 0), (0, 1, 0), (1, 0, 0)]
    {
        assert_eq!(sync(&sides[from], &sides[to]).points_count, points, "{from} to {to}");
    }
    for side in &sides {
        assert_eq!(side.seen(&run), sides[0].seen(&run));
    }
}

#[test]
fn joined_rows_are_taken_from_the_first_unseen_position() {
    let (a, b, c) = (Side::new(), Side::new(), Side::new());
    let run = a.run("digits", "first", 1);
    let row = |from: i64, to: i64| {
        for step in from..to {
            let metric = NewMetric { key: "loss", value: 0.5, timestamp: step, step, ..NewMetric::default() };
            a.mlflow.log_metric(&run, &metric).unwrap();
        }
    };
    row(10, 20);
    sync(&a, &b);
    row(20, 50);
    sync(&a, &c);
    let before = c.end();
    // What C has joined, B has half of.
    let report = sync(&c, &b);
    assert_eq!((report.points_count, report.problems_count), (30, 0));
    assert_eq!(b.seen(&run), a.seen(&run));
    assert!(before < 20, "{before}");
}

#[test]
fn an_experiment_synced_through_a_third_store_is_recognised() {
    let (a, b, c) = (Side::new(), Side::new(), Side::new());
    for side in [&a, &b] {
        side.mlflow.create_experiment("mnist", None, &[]).unwrap();
    }
    sync(&b, &c);
    // Of a's experiment b keeps no more than that it is its own one, and so c has seen the event that made it.
    sync(&a, &b);
    sync(&b, &c);
    let run = a.run("mnist", "one", 5);
    let report = sync(&a, &c);
    assert_eq!(report.problems_count, 0, "{report:?}");
    assert_eq!(c.seen(&run), a.seen(&run));
}

#[test]
fn seen_positions_survive_compaction_and_replay() {
    let (a, b) = (Side::new(), Side::new());
    let run = a.run("digits", "first", 30);
    sync(&a, &b);
    sync(&b, &a);
    b.store.engine().seal().unwrap();
    b.store.compact(&CompactOptions::default()).unwrap();
    let b = b.opened_again();
    assert_eq!(sync(&a, &b).batches_count, 0);
    assert_eq!(sync(&b, &a).batches_count, 0);
    let copy = b.replayed().opened_again();
    assert_eq!((sync(&copy, &a).batches_count, sync(&a, &copy).batches_count), (0, 0));
    assert_eq!(copy.seen(&run), a.seen(&run));
}

#[test]
fn a_name_of_a_process_says_nothing_of_its_log() {
    let (a, b) = (Side::new(), Side::new());
    let run = a.run("digits", "first", 3);
    let inbox = InboxWriter::create(&a.folder.path().join("store"), a.store.engine().id(), a.clock.clone()).unwrap();
    let forged = Chunk { source: inbox.id().0, through: 1 << 20, ..Chunk::default() };
    a.mlflow.sync_apply(&forged.encode()).unwrap();
    assert_eq!(a.mlflow.sync_position(&inbox.id().to_string()).unwrap(), 1 << 20);
    assert_eq!(a.store.engine().applied_number(inbox.id()).unwrap(), 0);
    drop((inbox, run, b));
}

#[test]
fn impossible_positions_are_refused_and_others_can_be_forgotten() {
    let (a, b) = (Side::new(), Side::new());
    let run = a.run("digits", "first", 10);
    a.mlflow.set_tag(&run, "word", "old").unwrap();
    sync(&a, &b);
    for through in [1 << 49, u64::MAX, (1 << 32) + 1_000] {
        let forged = Chunk { source: a.store.engine().id().0, through, ..Chunk::default() };
        assert!(b.mlflow.sync_apply(&forged.encode()).is_err(), "{through}");
    }
    // One that could be is believed, and blocks the source until it is forgotten.
    let forged = Chunk { source: a.store.engine().id().0, through: 1 << 31, ..Chunk::default() };
    b.mlflow.sync_apply(&forged.encode()).unwrap();
    a.points(&run, 10, 20);
    b.mlflow.set_tag(&run, "word", "new").unwrap();
    assert_eq!(sync(&a, &b).points_count, 0);
    assert_eq!(b.mlflow.sync_forget(&a.id()).unwrap(), 1 << 31);
    let b = b.opened_again();
    assert_eq!(b.mlflow.sync_position(&a.id()).unwrap(), 0);
    let report = sync(&a, &b);
    assert_eq!(report.problems, []);
    assert_eq!(b.tag_of(&run, "word").as_deref(), Some("new"), "what is here already is no news");
    a.mlflow.set_tag(&run, "word", "new").unwrap();
    assert_eq!(b.seen(&run), a.seen(&run));
    assert_eq!(sync(&b, &a).points_count, 0);
}

// ---- who wins --------------------------------------------------------------------------------------------------------

/// Two stores that know the same run and model; their clocks as given, in hours.
fn met(hours: [i64; 2]) -> (Side, Side, String) {
    let (a, b) = (Side::at(100_000_000 + hours[0] * 3_600_000), Side::at(100_000_000 + hours[1] * 3_600_000));
    let run = a.run("digits", "first", 3);
    a.mlflow.create_registered_model("fraud", &[], Some("about")).unwrap();
    for _ in 0..3 {
        let version = NewModelVersion { source: "s3://x", run_id: Some(&run), ..NewModelVersion::default() };
        a.mlflow.create_model_version("fraud", &version).unwrap();
        a.later(1);
    }
    a.mlflow.set_registered_model_alias("fraud", "prod", "1").unwrap();
    assert_eq!((sync(&a, &b).problems, sync(&b, &a).problems), (vec![], vec![]));
    (a, b, run)
}

fn fields(report: &Report) -> Vec<(String, Option<String>, Option<String>)> {
    let about = report.problems.iter().filter_map(|problem| problem.disagreement.clone());
    about.map(|about| (about.field, about.stays, about.given_up)).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn changes_of_one_side_are_copied_and_older_values_never() {
    let (a, b, run) = met([0, -9]);
    for at in 0..3 {
        let word = format!("a{at}");
        a.mlflow.set_tag(&run, "word", &word).unwrap();
        assert_eq!(sync(&a, &b).problems, []);
        // By a clock that is nine hours behind, and yet later: it was seen.
        let word = format!("b{at}");
        b.mlflow.set_tag(&run, "word", &word).unwrap();
        b.mlflow.set_registered_model_alias("fraud", "prod", "2").unwrap();
        assert_eq!(sync(&b, &a).problems, []);
        assert_eq!(a.tag_of(&run, "word"), Some(word));
        a.mlflow.set_registered_model_alias("fraud", "prod", "3").unwrap();
        assert_eq!(sync(&a, &b).problems, []);
        assert_eq!(b.mlflow.model_version_by_alias("fraud", "prod").unwrap().version, 3);
    }
}

#[test]
fn the_later_change_of_a_tag_stays_in_both_stores_and_is_told_once() {
    for (first, hours) in [(0, [0, 0]), (1, [0, 0]), (0, [7, 0]), (1, [0, 7])] {
        let (a, b, run) = met(hours);
        a.later(1_000);
        b.later(2_000);
        a.mlflow.set_tag(&run, "word", "of a").unwrap();
        b.mlflow.set_tag(&run, "word", "of b").unwrap();
        let (stays, gone) = if hours[0] > hours[1] { ("of a", "of b") } else { ("of b", "of a") };
        let (one, two) = if first == 0 { (&a, &b) } else { (&b, &a) };
        let told = fields(&sync(one, two));
        assert_eq!(told, [("tag `word`".into(), some(stays), some(gone))]);
        assert_eq!(sync(two, one).problems, []);
        for side in [&a, &b] {
            assert_eq!(side.tag_of(&run, "word").as_deref(), Some(stays), "{hours:?}");
        }
    }
}

#[test]
fn a_tag_that_was_deleted_later_does_not_come_back() {
    let (a, b, run) = met([0, 0]);
    a.mlflow.set_tag(&run, "word", "old").unwrap();
    sync(&a, &b);
    a.later(1_000);
    a.mlflow.set_tag(&run, "word", "new").unwrap();
    b.later(2_000);
    b.mlflow.delete_tag(&run, "word").unwrap();
    assert_eq!(fields(&sync(&a, &b)), [("tag `word`".into(), None, some("new"))]);
    assert_eq!(sync(&b, &a).problems, []);
    assert_eq!((a.tag_of(&run, "word"), b.tag_of(&run, "word")), (None, None));
    // Set anew by who knows of that, it is there again.
    a.mlflow.set_tag(&run, "word", "again").unwrap();
    assert_eq!(sync(&a, &b).problems, []);
    assert_eq!(b.tag_of(&run, "word").as_deref(), Some("again"));
}

#[test]
fn the_later_name_description_and_status_win() {
    let (a, b, run) = met([0, 0]);
    let change = |side: &Side, word: &str, status: RunStatus| {
        side.mlflow.update_run(&run, Some(status), Some(7), Some(word)).unwrap();
        side.mlflow.update_registered_model("fraud", Some(word)).unwrap();
        side.mlflow.update_model_version("fraud", "1", Some(word)).unwrap();
        let experiment = side.mlflow.run_info(&run).unwrap().experiment_id;
        side.mlflow.rename_experiment(&experiment, word).unwrap();
    };
    b.later(1_000);
    change(&b, "of b", RunStatus::Failed);
    a.later(5_000);
    change(&a, "of a", RunStatus::Finished);
    let told: Vec<_> = fields(&sync(&b, &a)).into_iter().map(|(field, ..)| field).collect();
    assert_eq!(told, ["name", "status", "description", "description of version 1", "name"]);
    assert_eq!(sync(&a, &b).problems, []);
    for side in [&a, &b] {
        let info = side.mlflow.run_info(&run).unwrap();
        assert_eq!((info.run_name.as_str(), info.status), ("of a", RunStatus::Finished));
        assert_eq!(side.mlflow.experiment(&info.experiment_id).unwrap().name, "of a");
        assert_eq!(side.mlflow.registered_model("fraud").unwrap().description.as_deref(), Some("of a"));
        assert_eq!(side.mlflow.model_version("fraud", "1").unwrap().description.as_deref(), Some("of a"));
    }
}

#[test]
fn the_target_keeps_its_alias() {
    let (a, b, _) = met([0, 0]);
    a.later(1_000);
    b.later(1_000);
    a.mlflow.set_registered_model_alias("fraud", "prod", "2").unwrap();
    b.mlflow.set_registered_model_alias("fraud", "prod", "3").unwrap();
    let told = |stays: &str, gone: &str| vec![("alias `prod`".to_owned(), some(stays), some(gone))];
    assert_eq!(fields(&sync(&a, &b)), told("version 3", "version 2"));
    assert_eq!(fields(&sync(&b, &a)), told("version 2", "version 3"));
    let version = |side: &Side| side.mlflow.model_version_by_alias("fraud", "prod").unwrap().version;
    assert_eq!((version(&a), version(&b)), (2, 3));
    // The same decision in both settles it, and what is decided on top of that comes over.
    a.later(1_000);
    a.mlflow.set_registered_model_alias("fraud", "prod", "3").unwrap();
    assert_eq!((sync(&a, &b).problems, sync(&b, &a).problems), (vec![], vec![]));
    b.mlflow.set_registered_model_alias("fraud", "prod", "1").unwrap();
    assert_eq!(sync(&b, &a).problems, []);
    assert_eq!(version(&a), 1);
}

#[test]
fn an_alias_that_was_deleted_does_not_come_back() {
    let (a, b, _) = met([0, 0]);
    b.mlflow.delete_registered_model_alias("fraud", "prod").unwrap();
    let c = a.replayed();
    assert_eq!((sync(&a, &b).problems, sync(&c, &b).problems), (vec![], vec![]));
    assert!(b.mlflow.model_version_by_alias("fraud", "prod").is_err());
    assert_eq!(sync(&b, &a).problems, []);
    assert!(a.mlflow.model_version_by_alias("fraud", "prod").is_err());
}

#[test]
fn a_sync_never_leaves_two_versions_in_production() {
    let (a, b, _) = met([0, 0]);
    a.mlflow.transition_model_version_stage("fraud", "1", "Production", true).unwrap();
    b.mlflow.transition_model_version_stage("fraud", "2", "Production", true).unwrap();
    let told = |stays: &str, gone: &str| vec![("stages".to_owned(), some(stays), some(gone))];
    let both = "version 1 Production, version 2 Production";
    assert_eq!(fields(&sync(&a, &b)), told("version 2 Production", both));
    assert_eq!(fields(&sync(&b, &a)), told("version 1 Production", both));
    for (side, number) in [(&a, 1), (&b, 2)] {
        let all = (1..=3).map(|number| side.mlflow.model_version("fraud", &number.to_string()).unwrap());
        let staged: Vec<_> = all
            .filter(|version| version.current_stage == crate::Stage::Production)
            .map(|version| version.version)
            .collect();
        assert_eq!(staged, [number]);
    }
    // One after the other it is no disagreement.
    let (a, b, _) = met([0, 0]);
    a.mlflow.transition_model_version_stage("fraud", "1", "Production", true).unwrap();
    assert_eq!(sync(&a, &b).problems, []);
    b.mlflow.transition_model_version_stage("fraud", "2", "Production", true).unwrap();
    assert_eq!(sync(&b, &a).problems, []);
    assert_eq!(a.mlflow.model_version("fraud", "1").unwrap().current_stage, crate::Stage::Archived);
}

#[test]
fn entities_in_use_here_are_not_deleted_by_a_sync() {
    let (a, b, _) = met([0, 0]);
    a.mlflow.delete_model_version("fraud", "2").unwrap();
    b.mlflow.set_registered_model_alias("fraud", "best", "2").unwrap();
    let told = fields(&sync(&a, &b));
    assert_eq!(told, [("deletion of version 2".into(), some("active"), some("deleted"))]);
    assert_eq!(b.mlflow.model_version_by_alias("fraud", "best").unwrap().version, 2);
    let back = sync(&b, &a);
    assert_eq!(back.problems_count, 1);
    assert!(back.problems[0].what.contains("version 2 was deleted here"), "{:?}", back.problems);
    // A whole model.
    let (a, b, _) = met([0, 0]);
    a.mlflow.delete_registered_model("fraud").unwrap();
    b.mlflow.transition_model_version_stage("fraud", "3", "Production", false).unwrap();
    assert_eq!(fields(&sync(&a, &b)), [("deletion".into(), some("active"), some("deleted"))]);
    assert_eq!(b.mlflow.model_version("fraud", "3").unwrap().current_stage, crate::Stage::Production);
    assert!(sync(&b, &a).problems[0].what.contains("was deleted here"));
    // What nobody used goes.
    let (a, b, _) = met([0, 0]);
    a.mlflow.delete_model_version("fraud", "2").unwrap();
    a.mlflow.delete_registered_model("fraud").unwrap();
    assert_eq!(sync(&a, &b).problems, []);
    assert!(b.mlflow.registered_model("fraud").is_err());
}

#[test]
fn models_and_versions_created_separately_are_not_mixed() {
    let (a, b, run) = met([0, 0]);
    let new = |side: &Side, source: &str| {
        let version = NewModelVersion { source, run_id: Some(&run), ..NewModelVersion::default() };
        side.mlflow.create_model_version("fraud", &version).unwrap();
        side.mlflow.set_model_version_tag("fraud", "4", "of", source).unwrap();
        side.mlflow.set_registered_model_alias("fraud", source, "4").unwrap();
    };
    new(&a, "a");
    new(&b, "b");
    let report = sync(&a, &b);
    assert!(report.problems.iter().all(|problem| problem.what.contains("version 4 is another one here")), "{report:?}");
    assert_eq!(report.problems_count, 2);
    let here = b.mlflow.model_version("fraud", "4").unwrap();
    assert_eq!((here.source.as_str(), here.tags), ("b", vec![tag("of", "b")]));
    assert!(b.mlflow.model_version_by_alias("fraud", "a").is_err());
    // Two models of one name are two models.
    let c = Side::new();
    c.mlflow.create_registered_model("fraud", &[], Some("of c")).unwrap();
    assert_eq!(sync(&c, &a).problems_count, 1);
    let name = format!("fraud ({})", &c.id()[..8]);
    assert_eq!(a.mlflow.registered_model(&name).unwrap().description.as_deref(), Some("of c"));
    assert_eq!(a.mlflow.registered_model("fraud").unwrap().description.as_deref(), Some("about"));
}

#[test]
fn a_taken_name_stays_with_its_owner() {
    let (a, b, run) = met([0, 0]);
    let experiment = a.mlflow.run_info(&run).unwrap().experiment_id;
    b.mlflow.create_experiment("taken", None, &[]).unwrap();
    a.later(1);
    a.mlflow.rename_experiment(&experiment, "taken").unwrap();
    let report = sync(&a, &b);
    assert_eq!(report.problems_count, 1);
    assert!(report.problems[0].what.contains("keeps its own"), "{:?}", report.problems);
    assert_eq!(b.mlflow.experiment(&b.mlflow.run_info(&run).unwrap().experiment_id).unwrap().name, "digits");
}

#[test]
fn the_later_note_of_experiments_with_one_name_wins() {
    let (a, b) = (Side::at(1_000_000), Side::at(2_000_000));
    let new = |side: &Side, note: &str| {
        let tags = [tag("mlflow.note.content", note), tag("same", "x"), tag(note, "own")];
        side.mlflow.create_experiment("digits", None, &tags).unwrap()
    };
    let (of_a, of_b) = (new(&a, "of a"), new(&b, "of b"));
    let told = fields(&sync(&a, &b));
    assert_eq!(told, [("tag `mlflow.note.content`".into(), some("of b"), some("of a"))]);
    assert_eq!(sync(&b, &a).problems, []);
    let tags = |side: &Side, id: &str| {
        let mut tags = side.mlflow.experiment(id).unwrap().tags;
        tags.retain(|(key, _)| !key.starts_with("runlode."));
        tags
    };
    assert_eq!(tags(&a, &of_a), tags(&b, &of_b));
    assert!(tags(&a, &of_a).contains(&tag("of a", "own")));
}

#[test]
fn points_of_a_run_deleted_here_are_kept_with_it() {
    let (a, b, run) = met([0, 0]);
    b.mlflow.delete_run(&run).unwrap();
    a.mlflow.set_tag(&run, "word", "kept").unwrap();
    a.points(&run, 10, 12);
    let experiment = a.mlflow.run_info(&run).unwrap().experiment_id;
    assert_eq!(sync(&a, &b).problems, []);
    assert_eq!(b.tag_of(&run, "word").as_deref(), Some("kept"));
    assert_eq!(sync(&b, &a).problems, []);
    assert_eq!(a.seen(&run), b.seen(&run));
    // A run that was made in an experiment which is deleted here is deleted with it.
    b.mlflow.delete_experiment(&b.mlflow.run_info(&run).unwrap().experiment_id).unwrap();
    let more = a.run("digits", "second", 2);
    assert_eq!((sync(&a, &b).problems, sync(&b, &a).problems), (vec![], vec![]));
    assert_eq!(a.seen(&more), b.seen(&more));
    a.mlflow.restore_experiment(&experiment).unwrap();
    assert_eq!(sync(&a, &b).problems, []);
    assert_eq!(a.seen(&more), b.seen(&more));
}

#[test]
fn three_stores_end_equal_in_every_order() {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        let (a, b, run) = met([0, 3]);
        let c = b.replayed();
        c.clock.advance_ms(-9 * 3_600_000);
        let sides = [a, b, c];
        for (at, side) in sides.iter().enumerate() {
            side.later(1_000);
            side.mlflow.set_tag(&run, "word", &format!("of {at}")).unwrap();
            side.mlflow.update_registered_model("fraud", Some(&format!("of {at}"))).unwrap();
        }
        for _ in 0..2 {
            for from in order {
                for to in order.into_iter().filter(|to| *to != from) {
                    sync(&sides[from], &sides[to]);
                }
            }
        }
        for side in &sides {
            assert_eq!(side.tag_of(&run, "word").as_deref(), Some("of 1"), "{order:?}");
            assert_eq!(
                side.mlflow.registered_model("fraud").unwrap().description.as_deref(),
                Some("of 1"),
                "{order:?}"
            );
        }
        assert!((0..9).filter(|at| at / 3 != at % 3).all(|at| sync(&sides[at / 3], &sides[at % 3]).batches_count == 0));
    }
}

/// Appends what an import appends for a version of a database's model; for version 1 also the model.
fn import_version(side: &Side, number: u32, source: &str) {
    import_described(side, number, source, None);
}

/// The same with a description of both.
fn import_described(side: &Side, number: u32, source: &str, description: Option<&str>) {
    use crate::engine::event::{AliasSet, ModelVersionCreated, RegisteredModelCreated};
    let model = crate::RegisteredModelId(77);
    let mut batch = crate::Batch::new().actor(crate::experiment::IMPORT_ACTOR);
    if side.store.snapshot().unwrap().registered_model_by_id(model).unwrap().is_none() {
        batch = batch.event(RegisteredModelCreated {
            model,
            name: "fraud".into(),
            description: description.map(str::to_owned),
            creation_time_ms: 1,
            last_updated_time_ms: 1,
            tags: vec![],
        });
    }
    let batch = batch.event(ModelVersionCreated {
        model,
        version: number,
        source: source.into(),
        storage_location: None,
        run_id: None,
        run_link: None,
        model_id: None,
        user_id: None,
        description: description.map(str::to_owned),
        stage: crate::Stage::None,
        status: crate::VersionStatus::Ready,
        status_message: None,
        creation_time_ms: 5,
        last_updated_time_ms: 5,
        tags: vec![],
    });
    let batch = batch.event(AliasSet { model, alias: "imported".into(), version: number });
    side.store.append(batch, crate::Durability::Sync).unwrap();
}

/// Appends what an import appends for a run of a source.
fn import_run(side: &Side, run: crate::RunId, name: &str) {
    let event = crate::engine::event::RunCreated {
        run,
        experiment: side.store.get_or_create_experiment("imported").unwrap(),
        name: name.into(),
        user_id: "ann".into(),
        status: RunStatus::Running,
        start_time_ms: 7,
        artifact_location: None,
        tags: Vec::new(),
    };
    let batch = crate::Batch::new().actor(crate::experiment::IMPORT_ACTOR).event(event);
    side.store.append(batch, crate::Durability::Sync).unwrap();
}

/// Appends what an import appends for points of a source.
fn import_points(side: &Side, run: crate::RunId, steps: std::ops::Range<i64>) {
    let key = format!("{run} {steps:?}");
    let mut batch = crate::Batch::new().actor(crate::experiment::IMPORT_ACTOR).idempotency_key(key.as_bytes());
    for step in steps {
        let point = crate::Point { step, time: TimestampMs(step), value: 0.5 };
        batch = batch.metric(run, "loss", point, None);
    }
    side.store.append(batch, crate::Durability::Sync).unwrap();
}

/// Two stores topped a run up from one source. It came to one of them by a sync, so nothing but who brought its points says
/// that the other may have them: also after a compaction, when the keys of these batches are forgotten.
#[test]
fn points_that_two_stores_imported_are_there_once_after_compactions() {
    let run = crate::RunId([7; 16]);
    for compacts in [[false, false], [true, false], [false, true], [true, true]] {
        let (a, b) = (Side::new(), Side::new());
        import_run(&a, run, "imported");
        import_points(&a, run, 0..10);
        sync(&a, &b);
        import_points(&a, run, 10..30);
        import_points(&b, run, 10..20);
        import_points(&b, run, 20..30);
        for (side, compacts) in [&a, &b].into_iter().zip(compacts) {
            side.later(9 * 24 * 3_600_000);
            // Keys are forgotten at the next change.
            side.mlflow.create_experiment("later", None, &[]).unwrap();
            if compacts {
                side.store.flush().unwrap();
                side.store.engine().seal().unwrap();
                side.store.compact(&CompactOptions::default()).unwrap();
            }
        }
        for _ in 0..2 {
            sync(&a, &b);
            sync(&b, &a);
        }
        let again = [a.opened_again(), b.opened_again()];
        for side in &again {
            let history = side.store.snapshot().unwrap().history(run, "loss", &crate::HistoryQuery::default()).unwrap();
            let steps: Vec<i64> = history.columns.steps.clone();
            assert_eq!(steps, (0..30).collect::<Vec<_>>(), "compacted: {compacts:?}");
        }
    }
}

/// A later import of the same run is a later word on its name, also where an earlier import said the same.
#[test]
fn a_run_that_two_stores_imported_has_one_name_whatever_the_order() {
    let run = crate::RunId([7; 16]);
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let sides = [Side::at(10_000_000), Side::at(30_000_000), Side::at(20_000_000)];
        import_run(&sides[0], run, "imported");
        sync(&sides[0], &sides[2]);
        sides[2].mlflow.update_run(&run.to_string(), None, None, Some("renamed")).unwrap();
        import_run(&sides[1], run, "imported");
        for _ in 0..3 {
            for from in order {
                for to in order.into_iter().filter(|to| *to != from) {
                    sync(&sides[from], &sides[to]);
                }
            }
        }
        let names = sides.each_ref().map(|side| side.mlflow.run_info(&run.to_string()).unwrap().run_name);
        assert_eq!(names, ["imported"; 3], "{order:?}");
    }
}

/// The source said something else of a model and its version when the second store imported them.
#[test]
fn descriptions_that_two_stores_imported_end_equal_whatever_the_order() {
    for order in [[0, 1], [1, 0]] {
        let sides = [Side::at(10_000_000), Side::at(30_000_000)];
        import_described(&sides[0], 1, "s3://w", Some("first"));
        import_described(&sides[1], 1, "s3://w", Some("second"));
        for _ in 0..2 {
            sync(&sides[order[0]], &sides[order[1]]);
            sync(&sides[order[1]], &sides[order[0]]);
        }
        for side in &sides {
            let model = side.mlflow.registered_model("fraud").unwrap().description;
            let version = side.mlflow.model_version("fraud", "1").unwrap().description;
            assert_eq!([model.as_deref(), version.as_deref()], [Some("second"); 2], "{order:?}");
        }
    }
}

/// Two stores imported one database, and had made different numbers of versions of their own since. Its next version has
/// another number in each.
#[test]
fn a_version_of_one_database_is_one_version_whatever_its_number() {
    let (a, b) = (Side::new(), Side::new());
    import_version(&a, 1, "db/1");
    import_version(&b, 1, "db/1");
    let own = |side: &Side, source: &str| {
        side.later(10);
        let new = NewModelVersion { source, ..NewModelVersion::default() };
        side.mlflow.create_model_version("fraud", &new).unwrap().version
    };
    assert_eq!((own(&a, "a/2"), own(&a, "a/3"), own(&b, "b/2")), (2, 3, 2));
    import_version(&a, 4, "db/2");
    import_version(&b, 3, "db/2");
    a.mlflow.set_model_version_tag("fraud", "4", "checked", "yes").unwrap();
    a.mlflow.set_registered_model_alias("fraud", "best", "4").unwrap();
    a.later(10);
    a.mlflow.transition_model_version_stage("fraud", "4", "Staging", false).unwrap();
    let told = sync(&a, &b);
    let texts: Vec<&str> = told.problems.iter().map(|problem| &*problem.what).collect();
    let has = |text: &str| texts.iter().any(|told| told.contains(text));
    assert!(has("version 4 there is version 3 here"), "{texts:?}");
    // Those that each made stay where they are.
    assert!(has("version 2 is another one here: theirs is left out"), "{texts:?}");
    let sources = |side: &Side| {
        let found = side.mlflow.search_model_versions("name = 'fraud'", 100, &[], None).unwrap().items;
        let mut found: Vec<_> = found.into_iter().map(|version| (version.version, version.source)).collect();
        found.sort();
        found
    };
    let versions = |all: &[(i64, &str)]| all.iter().map(|(n, s)| (*n as _, (*s).to_owned())).collect::<Vec<_>>();
    assert_eq!(sources(&b), versions(&[(1, "db/1"), (2, "b/2"), (3, "db/2")]));
    let version = b.mlflow.model_version("fraud", "3").unwrap();
    assert_eq!(version.current_stage, crate::Stage::Staging);
    assert!(version.tags.contains(&tag("checked", "yes")), "{:?}", version.tags);
    for alias in ["best", "imported"] {
        assert_eq!(b.mlflow.model_version_by_alias("fraud", alias).unwrap().version, 3, "{alias}");
    }
    let told = sync(&b, &a);
    let texts: Vec<&str> = told.problems.iter().map(|problem| &*problem.what).collect();
    assert!(texts.iter().any(|told| told.contains("version 3 there is version 4 here")), "{texts:?}");
    assert_eq!(sources(&a), versions(&[(1, "db/1"), (2, "a/2"), (3, "a/3"), (4, "db/2")]));
    assert_eq!(a.mlflow.model_version_by_alias("fraud", "imported").unwrap().version, 4);
    for (from, to) in [(&a, &b), (&b, &a)] {
        assert_eq!(sync(from, to).batches_count, 0);
    }
    // A third store has one of it, too, whoever comes first.
    let c = Side::new();
    sync(&b, &c);
    sync(&a, &c);
    let db: Vec<_> = sources(&c).into_iter().filter(|(_, source)| source == "db/2").collect();
    assert_eq!(db.len(), 1, "{:?}", sources(&c));
}

/// A run that a middle store purged before it sent it on: it comes to none of the stores after it, and all are told.
#[test]
fn a_purge_in_a_middle_store_is_told_in_every_store_after_it() {
    let [a, b, c, d] = [Side::new(), Side::new(), Side::new(), Side::new()];
    let run = a.run("e", "of a", 3);
    let other = a.run("e", "kept", 3);
    sync(&a, &b);
    let own = b.run("e", "of b", 3);
    for id in [&run, &own] {
        let id = id.parse().unwrap();
        b.mlflow.delete_run(&format!("{id}")).unwrap();
        b.store
            .append(crate::Batch::new().event(crate::engine::event::RunPurged { run: id }), crate::Durability::Sync)
            .unwrap();
    }
    let about = |report: &Report, run: &str| {
        let told = report.problems.iter().filter(|problem| problem.what.contains(run));
        told.map(|problem| problem.what.clone()).collect::<Vec<_>>()
    };
    for (from, to) in [(&b, &c), (&c, &d)] {
        let report = sync(from, to);
        let [told] = &about(&report, &run)[..] else { panic!("{:?}", report.problems) };
        assert!(told.contains(&format!("purged in store {}", b.id())) && told.contains("--forget"), "{told}");
        // The store that purged it made it: nobody misses it.
        assert_eq!(about(&report, &own), Vec::<String>::new());
        assert!(to.mlflow.run(&run).is_err());
        assert!(to.mlflow.run(&other).is_ok());
        assert!(to.store.verify().unwrap().is_sound());
    }
    // It stays where it is.
    assert!(a.mlflow.run(&run).is_ok());
    assert!(about(&sync(&d, &a), &run).iter().all(|told| told.contains("it stays here")));
    assert!(a.mlflow.run(&run).is_ok());
    // And may come after all, with its points, also to a store that was opened again.
    let c = c.opened_again();
    Target::new(&c.store, a.store.engine().id()).unwrap().forget().unwrap();
    sync(&a, &c);
    assert_eq!(c.seen(&run), a.seen(&run));
    c.store.compact(&CompactOptions::default()).unwrap();
    assert_eq!(c.seen(&run), a.seen(&run));
    assert!(c.store.verify().unwrap().is_sound());
}

/// A sender whose answer was lost sends the chunk again. What was told the first time must not be lost with the answer.
#[test]
fn a_chunk_that_comes_again_is_answered_as_the_first_time() {
    let [a, b] = [Side::new(), Side::new()];
    let run = a.run("e", "both", 1);
    sync(&a, &b);
    for (side, value) in [(&a, "of a"), (&b, "of b")] {
        side.later(10);
        side.mlflow.set_tag(&run, "note", value).unwrap();
        side.store.flush().unwrap();
    }
    let id = a.store.engine().id();
    let applied = Target::new(&b.store, id).unwrap().applied().unwrap();
    let mut source = Source::new(&a.store, applied, b.store.engine().id()).unwrap();
    let chunk = source.next_chunk().unwrap().unwrap().encode();
    let first = b.mlflow.sync_apply(&chunk).unwrap();
    assert_eq!((first.problems_count, first.batches_count), (1, 1), "{first:?}");
    let end = b.end();
    assert_eq!(b.mlflow.sync_apply(&chunk).unwrap(), first);
    assert_eq!(b.mlflow.sync_apply(&chunk).unwrap(), first);
    assert_eq!(b.end(), end, "nothing was applied again");
    // Another chunk has a report of its own.
    let mut other = Chunk::decode(&chunk).unwrap();
    other.batches.clear();
    assert_eq!(b.mlflow.sync_apply(&other.encode()).unwrap().problems_count, 0);
}
