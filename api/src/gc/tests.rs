//! A collection over a whole store: what goes, what stays, what the disk says.

use std::path::{Path, PathBuf};

use super::*;
use crate::engine::event::Event;
use crate::engine::event::payload::Decoded;
use crate::{
    EntityKey, Error, LocalStore, LoggedModelSpec, ModelId, PIN_TAG, RegisteredModelSpec, RunId, RunSpec, VerifyReport,
    VersionSpec,
};

const ALL: i64 = i64::MAX;

struct Lab {
    _dir: tempfile::TempDir,
    path: PathBuf,
    store: LocalStore,
    experiment: ExperimentId,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exp");
        let store = LocalStore::open(&path).unwrap();
        let experiment = store.get_or_create_experiment("digits").unwrap();
        Self { _dir: dir, path, store, experiment }
    }

    fn run(&self, name: &str) -> RunId {
        self.store.create_run(self.experiment, RunSpec::named(name)).unwrap().id()
    }

    fn model(&self, of: RunId) -> ModelId {
        let spec = LoggedModelSpec::named("mlp").source_run(of);
        self.store.create_logged_model(self.experiment, spec).unwrap()
    }

    fn folder(&self, id: impl ToString) -> PathBuf {
        let id = id.to_string();
        let above = self.path.join("artifacts").join(self.experiment.to_string());
        if id.starts_with("m-") { above.join("models").join(id) } else { above.join(id) }
    }

    fn put(&self, id: impl ToString, name: &str, bytes: usize) {
        let file = self.folder(id).join("artifacts").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, vec![7; bytes]).unwrap();
    }

    fn plan(&self) -> GcPlan {
        self.store.plan_gc(&GcOptions::deleted_before(ALL)).unwrap()
    }

    fn ids(plan: &GcPlan) -> Vec<String> {
        let mut ids: Vec<String> = plan.items.iter().map(|item| item.id.clone()).collect();
        ids.sort();
        ids
    }

    fn why(plan: &GcPlan, id: impl ToString) -> Vec<String> {
        let id = id.to_string();
        plan.kept.iter().find(|kept| kept.id == id).map(|kept| kept.why.clone()).unwrap_or_default()
    }

    fn log_points(&self, run: RunId, seed: u64, count: i64) {
        let run = self.store.run(run).unwrap();
        let mut state = seed;
        for step in 0..count {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            run.log_metrics(step, &[("loss", (state >> 11) as f64)]).unwrap();
        }
    }
}

fn is_sound(report: &VerifyReport) -> bool {
    report.is_sound()
}

fn du(path: &Path) -> u64 {
    folders::disk_bytes(path).unwrap()
}

#[test]
fn half_of_the_runs_deleted_leaves_about_half_of_the_bytes() {
    let lab = Lab::new();
    let runs: Vec<RunId> = (0..20).map(|number| lab.run(&format!("trial-{number}"))).collect();
    for (run, seed) in runs.iter().zip(1..) {
        lab.log_points(*run, seed, 4_000);
        lab.put(run, "weights.bin", 400_000);
    }
    lab.store.compact(&Default::default()).unwrap();
    let before = du(&lab.path);
    for run in runs.iter().step_by(2) {
        lab.store.delete_run(*run).unwrap();
    }
    let plan = lab.plan();
    assert_eq!((plan.items.len(), plan.kept.len()), (10, 0));
    assert!(plan.items.iter().all(|item| item.file_bytes >= 400_000 && item.series_bytes > 20_000), "{plan:?}");
    let report = lab.store.gc(&plan).unwrap();
    assert_eq!((report.runs_count, report.removed_count, report.receipts.len()), (10, 10, 1));
    assert_eq!((report.skipped.len(), report.pinned_bytes), (0, 0));
    // What it says is what the disk says.
    assert_eq!(report.bytes_after, du(&lab.path));
    assert!(report.bytes_before >= before);
    let left = report.bytes_after as f64 / before as f64;
    assert!(left <= 0.55, "{left:.3} of {before} bytes are left");
    let freed = report.bytes_before - report.bytes_after;
    assert!(freed * 10 >= plan.bytes() * 9, "{freed} freed of {} planned", plan.bytes());
    for (at, run) in runs.iter().enumerate() {
        let snapshot = lab.store.snapshot().unwrap();
        assert_eq!(snapshot.latest(*run).unwrap().len(), at % 2);
        assert_eq!(lab.folder(run).exists(), at % 2 == 1);
    }
    assert!(is_sound(&lab.store.verify().unwrap()));
    assert!(lab.plan().items.is_empty(), "nothing is left to do");
}

#[test]
fn what_something_needs_stays_and_says_why() {
    let lab = Lab::new();
    let [registered, by_text, parent, pinned, maker, plain, active] =
        ["registered", "by-text", "parent", "pinned", "maker", "plain", "active"].map(|name| lab.run(name));
    let child = lab.run("child");
    let tag = |key: &str, value: &str| [(key.to_owned(), value.to_owned())];
    lab.store.set_run_tags(child, &tag("mlflow.parentRunId", &parent.to_string())).unwrap();
    lab.store.set_run_tags(pinned, &tag(PIN_TAG, "the paper")).unwrap();
    let model = lab.model(maker);
    lab.store.create_registered_model(RegisteredModelSpec::named("fraud")).unwrap();
    let version = |source: &str, run: Option<RunId>| {
        let mut spec = VersionSpec::from_source(source);
        if let Some(run) = run {
            spec = spec.run(run);
        }
        lab.store.create_version("fraud", spec).unwrap()
    };
    version("s3://elsewhere/model", Some(registered));
    version(&format!("runs:/{by_text}/model"), None);
    lab.store.set_alias("fraud", "champion", 2).unwrap();
    for run in [registered, by_text, parent, pinned, maker, plain] {
        lab.store.delete_run(run).unwrap();
    }
    let plan = lab.plan();
    assert_eq!(Lab::ids(&plan), [plain.to_string()]);
    assert_eq!(Lab::why(&plan, registered), ["version 1 of registered model `fraud` comes from it"]);
    assert_eq!(Lab::why(&plan, by_text), ["version 2 of registered model `fraud` comes from it (alias champion)"]);
    assert_eq!(Lab::why(&plan, parent), [format!("run {child} is a child of it")]);
    assert_eq!(Lab::why(&plan, pinned), ["it is pinned: the paper"]);
    assert_eq!(Lab::why(&plan, maker), [format!("logged model {model} needs it")]);
    // With the models: unless somebody uses them.
    let mut with_models = GcOptions::deleted_before(ALL);
    with_models.with_models = true;
    let plan = lab.store.plan_gc(&with_models).unwrap();
    assert!(Lab::ids(&plan).contains(&model.to_string()) && Lab::ids(&plan).contains(&maker.to_string()));
    lab.store.log_run_inputs(active, &[], &[model.to_string()]).unwrap();
    let plan = lab.store.plan_gc(&with_models).unwrap();
    assert_eq!(Lab::ids(&plan), [plain.to_string()]);
    assert_eq!(Lab::why(&plan, model), [format!("run {active} has it as an input")]);
    // Once a version is deleted it needs nothing.
    lab.store.delete_version("fraud", 1).unwrap();
    assert!(Lab::ids(&lab.plan()).contains(&registered.to_string()));
}

#[test]
fn a_plan_that_is_no_longer_true_removes_only_what_still_may_go() {
    let lab = Lab::new();
    let [restored, registered, goes] = ["restored", "registered", "goes"].map(|name| lab.run(name));
    for run in [restored, registered, goes] {
        lab.put(run, "model.bin", 10);
        lab.store.delete_run(run).unwrap();
    }
    let plan = lab.plan();
    assert_eq!(plan.items.len(), 3);
    lab.store.restore_run(restored).unwrap();
    lab.store.create_registered_model(RegisteredModelSpec::named("fraud")).unwrap();
    lab.store.create_version("fraud", VersionSpec::from_source(format!("runs:/{registered}/model"))).unwrap();
    let report = lab.store.gc(&plan).unwrap();
    assert_eq!(report.runs_count, 1);
    let mut skipped: Vec<(String, String)> =
        report.skipped.iter().map(|kept| (kept.id.clone(), kept.why[0].clone())).collect();
    let mut expected = [
        (restored.to_string(), "it was restored, or has gone, since the plan".to_owned()),
        (registered.to_string(), "version 1 of registered model `fraud` comes from it".to_owned()),
    ];
    skipped.sort();
    expected.sort();
    assert_eq!(skipped, expected);
    assert!(lab.folder(restored).exists() && lab.folder(registered).exists() && !lab.folder(goes).exists());
    assert!(matches!(lab.store.restore_run(goes), Err(Error::Purged { .. })));
}

#[test]
fn a_receipt_says_what_went_and_survives_compaction_and_a_lost_index() {
    let lab = Lab::new();
    let run = lab.run("trial");
    lab.log_points(run, 3, 100);
    lab.put(run, "a/b.txt", 5_000);
    let artifacts = folders::hash(&lab.folder(run)).unwrap();
    lab.store.delete_run(run).unwrap();
    let plan = lab.plan();
    let expected = receipt::of(&plan.items[0], &lab.store.snapshot().unwrap()).unwrap();
    let report = lab.store.gc(&plan).unwrap();
    lab.store.compact(&Default::default()).unwrap();
    let path = lab.path.clone();
    lab.store.clone().close().unwrap();
    drop(lab.store);
    std::fs::remove_file(path.join("index.redb")).unwrap();
    let store = LocalStore::open(&path).unwrap();
    let records = store.engine().events_at(report.receipts[0]).unwrap();
    let removed = records.iter().find_map(|record| match &record.event {
        Decoded::Known(Event::GarbageCollected(event)) => Some(event.removed.clone()),
        _ => None,
    });
    let removed = removed.unwrap();
    assert_eq!(removed, [expected]);
    assert_eq!((removed[0].kind.as_str(), removed[0].points_count), ("run", 100));
    assert_eq!(removed[0].artifacts_sha256, artifacts);
    assert_ne!(removed[0].content_sha256, [0; 32]);
    assert!(records[0].actor.is_some(), "by whom");
}

#[test]
fn orphans_and_an_experiment_without_runs_go_and_young_or_foreign_folders_stay() {
    let lab = Lab::new();
    let run = lab.run("trial");
    lab.put(run, "x", 10);
    lab.put(RunId([9; 16]), "young", 10);
    lab.put("notes-of-mine", "x", 10);
    assert!(lab.plan().items.is_empty(), "an orphan is young, the rest is active or foreign");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(48 * 3_600);
    let orphan = lab.folder(RunId([9; 16]));
    for path in [orphan.join("artifacts/young"), orphan.join("artifacts"), orphan.clone()] {
        std::fs::File::open(path).unwrap().set_modified(old).unwrap();
    }
    std::fs::write(lab.path.join("MANIFEST.bad"), "damaged").unwrap();
    let plan = lab.plan();
    let kinds: Vec<GcKind> = plan.items.iter().map(|item| item.kind).collect();
    assert_eq!(kinds, [GcKind::Orphan, GcKind::File]);
    lab.store.gc(&plan).unwrap();
    assert!(!orphan.exists() && !lab.path.join("MANIFEST.bad").exists());
    assert!(lab.folder("notes-of-mine").exists() && lab.folder(run).exists());
    // The experiment with everything in it.
    lab.store.delete_experiment(lab.experiment).unwrap();
    let plan = lab.plan();
    let kinds: Vec<GcKind> = plan.items.iter().map(|item| item.kind).collect();
    assert_eq!(kinds, [GcKind::Run, GcKind::Experiment]);
    assert!(
        plan.items[1].folder.is_none() && plan.items[1].left_at.is_some(),
        "a folder with something foreign in it stays"
    );
    std::fs::remove_dir_all(lab.folder("notes-of-mine")).unwrap();
    let plan = lab.plan();
    let kinds: Vec<GcKind> = plan.items.iter().map(|item| item.kind).collect();
    assert_eq!(kinds, [GcKind::Run, GcKind::Experiment]);
    lab.store.gc(&plan).unwrap();
    assert!(!lab.path.join("artifacts").join(lab.experiment.to_string()).exists());
    assert!(lab.plan().items.is_empty());
}

#[test]
fn a_purged_experiment_is_in_no_list_and_its_name_is_free() {
    let lab = Lab::new();
    let run = lab.run("trial");
    let ids = |lab: &Lab| -> Vec<ExperimentId> {
        lab.store.snapshot().unwrap().experiments().unwrap().into_iter().map(|(id, _)| id).collect()
    };
    lab.store.delete_experiment(lab.experiment).unwrap();
    let plan = lab.plan();
    assert!(ids(&lab).contains(&lab.experiment));
    // Restored since the plan: it stays.
    lab.store.restore_experiment(lab.experiment).unwrap();
    assert_eq!(lab.store.gc(&plan).unwrap().removed_count, 0);
    lab.store.delete_experiment(lab.experiment).unwrap();
    let report = lab.store.gc(&lab.plan()).unwrap();
    assert_eq!((report.removed_count, report.runs_count, report.skipped.len()), (2, 1, 0));
    let check = |lab: &Lab| {
        assert!(!ids(lab).contains(&lab.experiment));
        let snapshot = lab.store.snapshot().unwrap();
        assert!(snapshot.experiment(lab.experiment).unwrap().unwrap().is_purged());
        assert!(snapshot.experiment_by_name("digits").unwrap().is_none_or(|(id, _)| id != lab.experiment));
        assert!(matches!(lab.store.restore_experiment(lab.experiment), Err(Error::NotFound { .. })));
        let events = snapshot.events(&EntityKey::Experiment(lab.experiment)).unwrap();
        assert!(matches!(&events.last().unwrap().event, Decoded::Known(Event::ExperimentPurged(_))));
        assert!(snapshot.run(run).unwrap().is_some_and(|run| run.lifecycle == crate::Lifecycle::Purged));
    };
    check(&lab);
    assert!(lab.plan().items.is_empty());
    let again = lab.store.get_or_create_experiment("digits").unwrap();
    assert!(again.0 > lab.experiment.0, "its id is not given again");
    // The log says the same.
    let path = lab.path.clone();
    lab.store.clone().close().unwrap();
    let Lab { _dir, experiment, store, .. } = lab;
    drop(store);
    std::fs::remove_file(path.join("index.redb")).unwrap();
    let lab = Lab { _dir, store: LocalStore::open(&path).unwrap(), path, experiment };
    check(&lab);
    assert!(ids(&lab).contains(&again));
}

#[test]
fn the_default_experiment_is_not_purged() {
    let lab = Lab::new();
    let id = ExperimentId(0);
    lab.store.delete_experiment(id).unwrap();
    lab.store.gc(&lab.plan()).unwrap();
    lab.store.restore_experiment(id).unwrap();
}

#[test]
fn a_collection_that_died_after_its_receipt_is_finished_by_the_next() {
    let lab = Lab::new();
    let run = lab.run("trial");
    lab.put(run, "x", 10);
    lab.store.delete_run(run).unwrap();
    // As if it had died between the batch and the removal of the files.
    let purged = crate::engine::event::RunPurged { run };
    lab.store.append(crate::Batch::new().event(purged), crate::Durability::Sync).unwrap();
    let plan = lab.plan();
    assert_eq!(plan.items.len(), 1);
    assert_eq!((plan.items[0].kind, plan.items[0].folder.is_some()), (GcKind::Orphan, true));
    lab.store.gc(&plan).unwrap();
    assert!(!lab.folder(run).exists() && lab.plan().items.is_empty());
}

#[test]
fn young_deletions_stay() {
    let lab = Lab::new();
    let run = lab.run("trial");
    lab.store.delete_run(run).unwrap();
    let now = lab.store.now().0;
    let plan = |before| lab.store.plan_gc(&GcOptions::deleted_before(before)).unwrap().items.len();
    assert_eq!((plan(now - 60_000), plan(now + 60_000)), (0, 1));
}

#[test]
fn a_folder_that_a_version_names_stays_though_its_run_is_gone() {
    let lab = Lab::new();
    let run = lab.run("trial");
    lab.put(run, "weights", 10);
    let source = lab.folder(run).join("artifacts/weights").display().to_string();
    lab.store.create_registered_model("fraud").unwrap();
    lab.store.create_version("fraud", VersionSpec::from_source(source)).unwrap();
    lab.store.delete_run(run).unwrap();
    let purged = crate::engine::event::RunPurged { run };
    lab.store.append(crate::Batch::new().event(purged), crate::Durability::Sync).unwrap();
    let plan = lab.plan();
    assert!(plan.items.is_empty());
    let kept = plan.kept.iter().find(|kept| kept.kind == GcKind::Orphan).unwrap();
    assert_eq!((kept.id.as_str(), kept.why.len()), (format!("{}/{run}", lab.experiment).as_str(), 1));
    // Also if it was registered after the plan.
    lab.store.delete_version("fraud", 1).unwrap();
    let plan = lab.plan();
    assert_eq!(plan.items.len(), 1);
    let source = lab.folder(run).display().to_string();
    lab.store.create_version("fraud", VersionSpec::from_source(source)).unwrap();
    let report = lab.store.gc(&plan).unwrap();
    assert_eq!((report.removed_count, report.skipped.len()), (0, 1));
    assert!(lab.folder(run).join("artifacts/weights").exists());
}

#[test]
fn a_folder_of_artifacts_elsewhere_may_be_of_another_store_too() {
    let lab = Lab::new();
    let shared = lab.path.with_file_name("shared");
    let theirs = shared.join(lab.experiment.to_string()).join(RunId([9; 16]).to_string());
    std::fs::create_dir_all(&theirs).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(48 * 3_600);
    std::fs::File::open(&theirs).unwrap().set_modified(old).unwrap();
    let mut options = GcOptions::deleted_before(ALL);
    options.artifact_root = Some(shared.display().to_string());
    assert!(lab.store.plan_gc(&options).unwrap().items.is_empty());
}

#[test]
fn a_version_registered_before_a_purge_never_loses_its_files() {
    let lab = Lab::new();
    lab.store.create_registered_model("fraud").unwrap();
    let runs: Vec<RunId> = (0..40).map(|number| lab.run(&format!("trial-{number}"))).collect();
    for run in &runs {
        lab.put(run, "weights", 10);
        lab.store.delete_run(*run).unwrap();
    }
    let (store, of) = (lab.store.clone(), runs.clone());
    let registering = std::thread::spawn(move || {
        for run in &of {
            store.create_version("fraud", VersionSpec::from_source(format!("runs:/{run}/weights"))).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    });
    while !registering.is_finished() {
        // Some at a time, so that many collections and registrations meet.
        let mut plan = lab.plan();
        plan.items.truncate(1);
        match lab.store.gc(&plan) {
            Ok(_) | Err(Error::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    registering.join().unwrap();
    let snapshot = lab.store.snapshot().unwrap();
    let at = |key: EntityKey, is_it: fn(&Event) -> bool| {
        let events = snapshot.events(&key).unwrap();
        let found = events.iter().find(|record| matches!(&record.event, Decoded::Known(event) if is_it(event)));
        found.map(|record| record.lsn)
    };
    let (number, _) = snapshot.registered_models().unwrap().remove(0);
    let mut kept = 0;
    for (run, version) in runs.iter().zip(1..) {
        let registered =
            at(EntityKey::ModelVersion(number, version), |event| matches!(event, Event::ModelVersionCreated(_)));
        let purged = at(EntityKey::Run(*run), |event| matches!(event, Event::RunPurged(_)));
        match purged {
            None => {
                assert!(lab.folder(run).exists(), "run {run} was not purged");
                kept += 1;
            }
            Some(purged) => assert!(registered.unwrap() > purged, "run {run} was purged at {purged}: {registered:?}"),
        }
    }
    assert!(kept > 0, "no registration came in time");
    assert!(is_sound(&lab.store.verify().unwrap()));
}
