//! Entities by the names that people type, lists of them, and what is said of names that are not there.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::path::Path;

use runlode::mlflow::{Mlflow, NewLoggedModel, Settings};
use runlode::{ExperimentId, LocalStore, LoggedModelStatus, RunSpec, RunStatus, Stage, VersionSpec};
use serde_json::{Value, json};
use support::{command, done, imported, json, refused, runlode, said};
use tempfile::TempDir;

struct Fixture {
    _dir: TempDir,
    store: String,
    run: String,
    model: String,
}

fn fixture() -> Fixture {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let store = LocalStore::open(&path).unwrap();
    let experiment = store.get_or_create_experiment("vision").unwrap();
    store.delete_experiment(store.get_or_create_experiment("old-tries").unwrap()).unwrap();
    let run = store.create_run(experiment, RunSpec::named("trial-17").tag("kind", "x")).unwrap();
    run.log_params(&[("lr", "0.1")]).unwrap();
    run.log_metrics(0, &[("loss", 1.0), ("val/acc", 0.5)]).unwrap();
    run.end(RunStatus::Finished).unwrap();
    for _ in 0..2 {
        store.create_run(ExperimentId(0), RunSpec::named("twin")).unwrap();
    }
    let mlflow = Mlflow::new(store.clone(), Settings::in_process(&store));
    let id = run.id().to_string();
    let new = NewLoggedModel {
        experiment_id: &experiment.to_string(),
        name: Some("net"),
        source_run_id: &id,
        model_type: "torch",
        ..NewLoggedModel::default()
    };
    let model = mlflow.create_logged_model(&new).unwrap().model_id;
    mlflow.finalize_logged_model(&model, LoggedModelStatus::Ready).unwrap();
    store.create_registered_model("fraud").unwrap();
    for source in ["s3://b/1", "s3://b/2"] {
        store.create_version("fraud", VersionSpec::from_source(source)).unwrap();
    }
    store.transition_stage("fraud", 1, Stage::Production, false).unwrap();
    store.set_alias("fraud", "champion", 1).unwrap();
    drop((run, mlflow));
    store.close().unwrap();
    Fixture { store: path.to_str().unwrap().to_owned(), _dir: dir, run: id, model }
}

#[test]
fn every_entity_is_found_by_what_people_type() {
    let Fixture { store, run, model, .. } = &fixture();
    let shown = |text: &str| json(&["show", store, text, "--json"]);
    for text in [run.as_str(), &run[..6], "trial-17", &format!("runs:/{run}/model")] {
        assert_eq!(shown(text)["run_id"], run.as_str(), "{text}");
    }
    for text in ["vision", "experiment:vision"] {
        assert_eq!(shown(text)["name"], "vision", "{text}");
    }
    assert_eq!(shown("experiment:0")["name"], "Default");
    for text in [model.as_str(), &model[..8], "net", &format!("models:/{model}")] {
        let found = shown(text);
        assert_eq!((&found["model_id"], &found["status"]), (&json!(model), &json!("READY")), "{text}");
    }
    for text in ["fraud", "models:/fraud"] {
        assert_eq!(shown(text)["versions"].as_array().unwrap().len(), 2, "{text}");
    }
    for (text, version) in [
        ("models:/fraud@champion", 1),
        ("models:/fraud/1", 1),
        ("models:/fraud/Production", 1),
        ("models:/fraud/latest", 2),
    ] {
        assert_eq!(shown(text)["version"], version, "{text}");
    }
    // The same in histories, and where a run is asked for.
    for (text, event) in [
        ("vision", "ExperimentCreated"),
        ("trial-17", "RunCreated"),
        (&run[..6], "RunCreated"),
        (&model[..8], "LoggedModelCreated"),
        ("net", "LoggedModelCreated"),
        ("fraud", "RegisteredModelCreated"),
        ("models:/fraud@champion", "ModelVersionCreated"),
    ] {
        assert_eq!(json(&["history", store, text, "--json"])[0]["event"], event, "{text}");
    }
    assert_eq!(json(&["plot", store, &run[..6], "loss", "--json"])["run_id"], run.as_str());
    assert_eq!(json(&["rewind", store, &run[..6], "--to-step", "0", "--json"])["run_id"], run.as_str());
    assert_eq!(json(&["runs", store, "-e", "vision", "--json"]).as_array().unwrap().len(), 1);
}

#[test]
fn an_alias_of_the_past_is_that_of_the_past() {
    let Fixture { store, .. } = &fixture();
    let position = json(&["verify", store, "--json"])["position"].to_string();
    let opened = LocalStore::open(store).unwrap();
    opened.set_alias("fraud", "champion", 2).unwrap();
    opened.close().unwrap();
    let champion = |more: &[&str]| json(&[&["show", store, "models:/fraud@champion", "--json"], more].concat());
    assert_eq!(champion(&[])["version"], 2);
    assert_eq!(champion(&["--as-of", &position])["version"], 1);
    assert!(refused(&["show", store, "models:/fraud@champion", "--as-of", "1"]).contains("there was no"));
}

#[test]
fn the_nearest_names_are_told() {
    let Fixture { store, run, .. } = &fixture();
    for (arguments, near) in [
        (["show", store, "trail-17"].as_slice(), "`trial-17`"),
        (&["show", store, "visoin"], "`vision`"),
        (&["history", store, "frauds"], "fraud`"),
        (&["show", store, "models:/fruad"], "`fraud`"),
        (&["show", store, "models:/fraud@champoin"], "`fraud@champion`"),
        (&["show", store, "experiment:visions"], "`vision`"),
        (&["runs", store, "-e", "vison"], "`vision`"),
        (&["logged-models", store, "-e", "vison"], "`vision`"),
        (&["plot", store, "trail-17", "loss"], "`trial-17`"),
        (&["plot", store, "trial-17", "los"], "did you mean `loss`"),
        (&["rewind", store, "trial17", "--to-step", "0"], "`trial-17`"),
        (&["show", store, "models:/fraud/7"], "there are 1, 2"),
    ] {
        let error = refused(arguments);
        assert!(error.contains(near), "{arguments:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    // Two fit: both are named, and their ids tell them apart.
    let error = refused(&["show", store, "twin"]);
    let ids: Vec<&str> = error.split([' ', ',']).filter(|word| word.trim().len() == 32).collect();
    assert!(error.contains("`twin` fits 2") && ids.len() == 2, "{error}");
    assert_eq!(json(&["show", store, ids[0].trim(), "--json"])["name"], "twin");
    // A whole id that is not there is not guessed.
    let absent = "0".repeat(32);
    assert!(refused(&["show", store, &absent]).contains(&absent) && absent != *run);
}

#[test]
fn a_search_for_a_key_that_no_run_has_says_so() {
    let Fixture { store, .. } = &fixture();
    for (arguments, said_of) in [
        (["runs", store, "metrics.los < 1"].as_slice(), "no run has a metric `los`; did you mean `loss`?"),
        (
            &["runs", store, "metrics.val/ac.max > 0 and params.lrr = '1'"],
            "no run has a param `lrr`; did you mean `lr`?",
        ),
        (&["runs", store, "tags.kidn = 'x'"], "no run has a tag `kidn`; did you mean `kind`?"),
        (&["runs", store, "--order", "metrics.los desc"], "no run has a metric `los`; did you mean `loss`?"),
        (&["runs", store, "--columns", "metrics.los"], "no run has a metric `los`; did you mean `loss`?"),
    ] {
        for json in [false, true] {
            let arguments = if json { [arguments, &["--json"]].concat() } else { arguments.to_vec() };
            let (code, out, error) = said(&runlode(&arguments));
            assert_eq!(code, Some(0), "{arguments:?}: {error}");
            assert!(error.contains(said_of), "{arguments:?}: {error}");
            assert!(!json || serde_json::from_str::<Value>(&out).unwrap().is_array(), "{out}");
        }
    }
    // An answer that is empty for another reason, and a question whether a key is missing, are no mistakes.
    assert!(done(&["runs", store, "metrics.loss > 9"]).contains("No run matches"));
    assert_eq!(json(&["runs", store, "metrics.los is null", "--json"]).as_array().unwrap().len(), 3);
}

#[test]
fn lists_of_experiments_and_models() {
    let Fixture { store, run, model, .. } = &fixture();
    let names = |list: &Value| list.as_array().unwrap().iter().map(|of| of["name"].clone()).collect::<Vec<_>>();
    let experiments = json(&["experiments", store, "--json"]);
    assert_eq!(names(&experiments), ["Default", "vision"]);
    assert_eq!((&experiments[1]["runs"], &experiments[1]["lifecycle"]), (&json!(1), &json!("active")));
    assert_eq!(json(&["experiments", store, "--all", "--json"]).as_array().unwrap().len(), 3);
    assert!(done(&["experiments", store]).contains("vision"));
    assert_eq!(done(&["experiments", store, "--csv", "--columns", "name,runs"]), "name,runs\nDefault,2\nvision,1\n");
    assert!(refused(&["experiments", store, "--columns", "nmae"]).contains("name"));

    let models = json(&["models", store, "--json"]);
    assert_eq!(names(&models), ["fraud"]);
    assert_eq!((&models[0]["aliases"]["champion"], models[0]["versions"].as_array().unwrap().len()), (&json!(1), 2));
    assert_eq!(
        done(&["models", store, "--csv", "--columns", "name,versions,latest,aliases"]),
        "name,versions,latest,aliases\nfraud,2,2,@champion=1\n"
    );
    assert!(done(&["models", store]).contains("@champion=1"));

    let logged = json(&["logged-models", store, "--json"]);
    assert_eq!((&logged[0]["model_id"], &logged[0]["source_run_id"]), (&json!(model), &json!(run)));
    assert!(done(&["logged-models", store]).contains(model.as_str()));
    assert_eq!(json(&["logged-models", store, "-e", "Default", "--json"]), json!([]));
    assert!(done(&["logged-models", store, "-e", "Default"]).contains("no logged models"));
}

#[test]
fn artifacts_that_a_client_wrote_are_listed() {
    let Fixture { store, run, model, .. } = &fixture();
    let files = Path::new(store).join("artifacts/1").join(run).join("artifacts");
    std::fs::create_dir_all(files.join("plots")).unwrap();
    std::fs::write(files.join("model.bin"), [0; 2048]).unwrap();
    std::fs::write(files.join("plots/a b.png"), "png").unwrap();
    std::os::unix::fs::symlink("/etc", files.join("link")).unwrap();
    let of_model = Path::new(store).join("artifacts/1/models").join(model).join("artifacts");
    std::fs::create_dir_all(&of_model).unwrap();
    std::fs::write(of_model.join("MLmodel"), "x").unwrap();

    let shown = json(&["show", store, "trial-17", "--json"]);
    assert_eq!(
        shown["artifacts"],
        json!([
            { "path": "model.bin", "size_bytes": 2048 },
            { "path": "plots/a b.png", "size_bytes": 3 },
        ])
    );
    let text = done(&["show", store, "trial-17"]);
    assert!(text.contains("model.bin") && text.contains("2.0 KiB") && text.contains("plots/a b.png"), "{text}");
    assert!(done(&["show", store, "net"]).contains("MLmodel"));
    // From another folder too, and from none of the imported ones.
    let elsewhere = command(&["show", store, "trial-17"]).current_dir("/").output().unwrap();
    assert!(said(&elsewhere).1.contains("model.bin"));
    let (_dir, other) = imported();
    assert!(json(&["show", &other, "mlp-16", "--json"])["artifacts"].is_array());
}
