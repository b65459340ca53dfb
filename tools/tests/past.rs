//! `--as-of` on every command that has it, and forks.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use runlode::{LocalStore, RunSpec, RunStatus, Stage, VersionSpec};
use serde_json::{Value, json};
use support::{done, json, refused, runlode, said};
use tempfile::TempDir;

struct Fixture {
    _dir: TempDir,
    store: String,
    /// Before anything was changed.
    before: String,
    run: String,
}

/// A store in which everything was renamed, moved or deleted after `before`.
fn fixture() -> Fixture {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let store = LocalStore::open(&path).unwrap();
    let vision = store.get_or_create_experiment("vision").unwrap();
    let run = store.create_run(vision, RunSpec::named("trial-17").tag("kind", "old")).unwrap();
    for step in 0..10 {
        run.log_metrics(step, &[("loss", 1.0 - step as f64 / 20.0)]).unwrap();
    }
    store.create_registered_model("fraud").unwrap();
    store.create_version("fraud", VersionSpec::from_source("s3://b/1")).unwrap();
    store.create_version("fraud", VersionSpec::from_source("s3://b/2")).unwrap();
    store.set_alias("fraud", "champion", 1).unwrap();
    store.transition_stage("fraud", 1, Stage::Production, false).unwrap();
    store.create_registered_model("gone").unwrap();
    let before = store.positions().published.to_string();

    run.log_metrics(10, &[("loss", 0.01), ("acc", 0.9)]).unwrap();
    run.set_tags(&[("kind", "new")]).unwrap();
    run.end(RunStatus::Finished).unwrap();
    store.rename_experiment(vision, "sight").unwrap();
    store.set_alias("fraud", "champion", 2).unwrap();
    store.transition_stage("fraud", 2, Stage::Production, true).unwrap();
    store.rename_registered_model("fraud", "payments").unwrap();
    store.delete_registered_model("gone").unwrap();
    store.create_run(vision, RunSpec::named("later")).unwrap().log_metrics(0, &[("loss", 0.0)]).unwrap();
    let id = run.id().to_string();
    store.close().unwrap();
    Fixture { store: path.to_str().unwrap().to_owned(), _dir: dir, before, run: id }
}

#[test]
fn every_command_shows_the_moment_that_it_is_asked_for() {
    let Fixture { store, before, run, .. } = &fixture();
    let at = |arguments: &[&str]| {
        let all = [&arguments[..1], &[store], &arguments[1..], &["--as-of", before, "--json"]].concat();
        json(&all)
    };
    let position: Value = before.parse::<u64>().unwrap().into();

    let shown = at(&["show", "trial-17"]);
    assert_eq!((&shown["as_of_position"], &shown["status"]), (&position, &json!("RUNNING")));
    assert_eq!((&shown["tags"]["kind"], &shown["metrics"]["loss"]["points"]), (&json!("old"), &json!(10)));
    // By the names of then, and by those of now.
    for name in ["models:/fraud@champion", "models:/payments@champion", "models:/fraud/Production"] {
        assert_eq!(at(&["show", name])["version"], 1, "{name}");
    }
    for name in ["models:/fraud", "fraud", "models:/payments"] {
        assert_eq!(at(&["show", name])["aliases"], json!({"champion": 1}), "{name}");
    }
    assert_eq!(at(&["show", "models:/gone"])["name"], "gone", "it was deleted since");
    for name in ["experiment:vision", "vision", "sight"] {
        assert_eq!(at(&["show", name])["name"], "vision", "{name}");
    }

    let found = at(&["runs", "metrics.loss.min > 0.5 and tags.kind = 'old'"]);
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!((&found[0]["run_id"], &found[0]["as_of_position"]), (&json!(run), &position));
    assert_eq!(at(&["runs", "-e", "vision"]).as_array().unwrap().len(), 1, "the other one is younger");
    assert_eq!(json(&["runs", store, "-e", "sight", "--json"]).as_array().unwrap().len(), 2);

    let events = at(&["history", "models:/payments"]);
    let names: Vec<&str> = events.as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert!(names.contains(&"AliasSet") && !names.contains(&"RegisteredModelRenamed"), "{names:?}");

    let plot = at(&["plot", "trial-17", "loss"]);
    assert_eq!((&plot["points"], &plot["as_of_position"]), (&json!(10), &position));
    assert!(
        refused(&["plot", store, "trial-17", "acc", "--as-of", before]).contains("has no metric `acc` at position")
    );

    let names = |list: &Value| list.as_array().unwrap().iter().map(|of| of["name"].clone()).collect::<Vec<_>>();
    let experiments = at(&["experiments"]);
    assert_eq!(names(&experiments), ["Default", "vision"]);
    assert_eq!((&experiments[1]["runs"], &experiments[1]["as_of_position"]), (&json!(1), &position));
    assert_eq!(names(&at(&["models"])), ["fraud", "gone"]);
    assert_eq!(names(&json(&["models", store, "--json"])), ["payments"]);
    assert_eq!(at(&["logged-models"]), json!([]));
    let compared = json(&["compare", store, "trial-17", "later", "--json"]);
    assert_eq!(compared["metrics"][1], json!({"key": "loss", "same": false, "values": [0.01, 0.0]}));
    assert!(refused(&["compare", store, "trial-17", "later", "--as-of", before]).contains("there was no `later`"));
}

#[test]
fn the_position_is_said_on_standard_error() {
    let Fixture { store, before, .. } = &fixture();
    for arguments in [
        &["show", store, "trial-17"][..],
        &["runs", store],
        &["history", store, "trial-17"],
        &["plot", store, "trial-17", "loss"],
        &["experiments", store, "--csv"],
        &["models", store],
    ] {
        let (code, out, error) = said(&runlode(&[arguments, &["--as-of", before]].concat()));
        assert_eq!((code, error.as_str()), (Some(0), &*format!("runlode: as of position {before}\n")), "{arguments:?}");
        assert!(!out.is_empty());
    }
    // A time means the last position at or before it.
    let shown = json(&["show", store, "trial-17", "--as-of", "2100-01-01 00:00", "--json"]);
    assert_eq!(shown["status"], "FINISHED");
    assert!(refused(&["runs", store, "--as-of", "yesterday"]).contains("2026-03-03"));
    assert!(refused(&["show", store, "trial-17", "--as-of", "1999-01-01"]).contains("there was no"));
}

#[test]
fn a_fork_shows_the_whole_curve() {
    let Fixture { store, run, .. } = &fixture();
    let forked = json(&["fork", store, "trial-17", "--at-step", "4", "--name", "lower-lr", "--json"]);
    assert_eq!((&forked["points_shared"], &forked["forked_from"]), (&json!(5), &json!(run)));
    let id = forked["run_id"].as_str().unwrap();
    let opened = LocalStore::open(store).unwrap();
    let child = opened.run(id.parse().unwrap()).unwrap();
    child.log_metrics(5, &[("loss", 0.125)]).unwrap();
    opened.run(run.parse().unwrap()).unwrap().log_metrics(3, &[("loss", 77.0)]).unwrap();
    drop(child);
    opened.close().unwrap();

    let plot = json(&["plot", store, "lower-lr", "loss", "--json"]);
    assert_eq!(plot["points"], 6, "what the parent logs later is not the fork's");
    let shown = json(&["show", store, "lower-lr", "--json"]);
    assert_eq!((&shown["metrics"]["loss"]["latest"], &shown["metrics"]["loss"]["max"]), (&json!(0.125), &json!(1.0)));
    assert_eq!((&shown["forked_from"]["run_id"], &shown["forked_from"]["step"]), (&json!(run), &json!(4)));
    assert_eq!((&shown["tags"]["mlflow.parentRunId"], &shown["status"]), (&json!(run), &json!("SCHEDULED")));
    assert!(done(&["show", store, "lower-lr"]).contains(&format!("forked from  {run} at step 4")));
    assert!(done(&["history", store, "lower-lr"]).contains(&format!("forked from {run} at step 4")));
    let found = json(&["runs", store, "metrics.loss.max > 0.9 and metrics.loss < 0.2", "--json"]);
    let names: Vec<&str> = found.as_array().unwrap().iter().map(|run| run["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"lower-lr"), "{names:?}");
    // A copy, a compacted store and one whose index is made again say the same.
    let copy = format!("{store}-copy");
    done(&["replay", store, "--into", &copy, "--json"]);
    done(&["compact", store]);
    std::fs::remove_file(format!("{store}/index.redb")).unwrap();
    done(&["compact", store]);
    for place in [store, &copy] {
        assert_eq!(json(&["plot", place, "lower-lr", "loss", "--json"])["points"], 6, "{place}");
        assert_eq!(json(&["verify", place, "--json"])["ok"], true, "{place}");
    }
    // Another store gets it by a sync.
    let other = format!("{store}-other");
    LocalStore::open(&other).unwrap().close().unwrap();
    done(&["sync", store, &other, "--json"]);
    assert_eq!(json(&["plot", &other, "lower-lr", "loss", "--json"])["points"], 6);
    assert!(refused(&["fork", store, "trial-71", "--at-step", "4"]).contains("`trial-17`"));
}
