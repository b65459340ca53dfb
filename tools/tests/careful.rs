//! `promote`, `rollback`, `pin`, `unpin` and `audit`.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::sync::Barrier;

use runlode::{LocalStore, OnlyIf, RunSpec, Stage, Store, VersionSpec};
use serde_json::{Value, json};
use support::{command, done, json, refused, runlode, said};
use tempfile::TempDir;

fn fixture() -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let store = LocalStore::open(&path).unwrap();
    store.create_registered_model("fraud").unwrap();
    for version in 1..=7 {
        store.create_version("fraud", VersionSpec::from_source(format!("s3://m/{version}"))).unwrap();
    }
    store.set_alias("fraud", "champion", 6).unwrap();
    store.transition_stage("fraud", 6, Stage::Production, false).unwrap();
    store.create_run(runlode::ExperimentId(0), RunSpec::named("trial-17")).unwrap();
    store.close().unwrap();
    (dir, path.to_str().unwrap().to_owned())
}

/// The version that an alias names.
fn champion(store: &str) -> Value {
    json(&["show", store, "models:/fraud", "--json"])["aliases"]["champion"].clone()
}

fn position(store: &str) -> String {
    json(&["verify", store, "--json"])["position"].to_string()
}

#[test]
fn an_alias_moves_only_if_it_is_where_it_was_seen() {
    let (_dir, store) = &fixture();
    let promote = |more: &[&str]| said(&runlode(&[&["promote", store], more].concat()));
    let (code, out, _) = promote(&["models:/fraud/7", "--to", "champion", "--if-champion", "5"]);
    assert_eq!((code, champion(store)), (Some(1), json!(6)), "{out}");
    assert!(out.contains("is at version 6: nothing changed"), "{out}");
    let (code, out, error) =
        promote(&["models:/fraud/7", "--to", "champion", "--if-champion", "6", "--reason", "CR-1182"]);
    assert_eq!((code, champion(store)), (Some(0), json!(7)), "{out}{error}");
    assert_eq!(json(&["show", store, "models:/fraud/7", "--json"])["tags"]["runlode.promote.champion"], "CR-1182");
    // Again: it is there already. Then `none`, `=`, and an alias as the version.
    assert!(promote(&["models:/fraud/7", "--to", "champion"]).1.contains("already"));
    assert_eq!(promote(&["models:/fraud/1", "--to", "champion", "--if-champion=none"]).0, Some(1));
    assert_eq!(promote(&["models:/fraud@champion", "--to", "challenger", "--if-challenger=none"]).0, Some(0));
    let moved = json(&["promote", store, "models:/fraud/3", "--to", "challenger", "--json"]);
    assert_eq!((&moved["before"], &moved["now"], &moved["done"]), (&json!(7), &json!(3), &json!(true)));

    for (arguments, near) in [
        (&["models:/fraud", "--to", "champion"][..], "models:/fraud/7"),
        (&["models:/frad/7", "--to", "champion"], "`fraud`"),
        (&["models:/fraud/9", "--to", "champion"], "there are 1"),
        (&["trial-17", "--to", "champion"], "names no version"),
        (&["models:/fraud/7", "--to", "Production"], "is a stage"),
        (&["models:/fraud/7", "--to", "champion", "--if-challenger", "3"], "--if-champion"),
        (&["models:/fraud/7", "--to", "champion", "--if-champion", "x"], "no version"),
    ] {
        let error = refused(&[&["promote", store], arguments].concat());
        assert!(error.contains(near), "{arguments:?}: {error}");
    }
}

#[test]
fn of_many_who_expect_the_same_version_one_moves_the_alias() {
    let (_dir, path) = &fixture();
    // This process holds the store: half of the others ask it from other processes.
    let store = Store::options(path).serves_others(true).open().unwrap();
    let model = store.registered_model("fraud").unwrap();
    let barrier = Barrier::new(8);
    let won: Vec<bool> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8u32)
            .map(|number| {
                let (model, barrier) = (model.clone(), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let version = 1 + number % 5;
                    if number % 2 == 0 {
                        return model.promote(version, "champion", OnlyIf::At(6), None).unwrap().met;
                    }
                    let uri = format!("models:/fraud/{version}");
                    let arguments = ["promote", path, &uri, "--to", "champion", "--if-champion", "6"];
                    let (code, out, error) = said(&command(&arguments).output().unwrap());
                    assert!(matches!(code, Some(0 | 1)), "{out}{error}");
                    code == Some(0)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
    store.close().unwrap();
}

#[test]
fn a_rollback_restores_aliases_and_stages() {
    let (_dir, store) = &fixture();
    let then = position(store);
    done(&["promote", store, "models:/fraud/7", "--to", "champion"]);
    done(&["promote", store, "models:/fraud/2", "--to", "challenger"]);
    let opened = LocalStore::open(store).unwrap();
    opened.transition_stage("fraud", 7, Stage::Production, true).unwrap();
    let eighth = opened.create_version("fraud", VersionSpec::from_source("s3://m/8")).unwrap();
    opened.transition_stage("fraud", eighth, Stage::Staging, false).unwrap();
    opened.close().unwrap();
    let after = position(store);

    let rollback = |more: &[&str]| json(&[&["rollback", store, "models:/fraud", "--json"], more].concat());
    let plan = rollback(&["--to-as-of", &then, "--plan"]);
    assert_eq!((&plan["done"], champion(store)), (&json!(false), json!(7)));
    let done_ = rollback(&["--to-as-of", &then, "--reason", "CR-1183"]);
    assert_eq!(done_["changes"], plan["changes"]);
    let whats: Vec<&str> = done_["changes"].as_array().unwrap().iter().map(|of| of["what"].as_str().unwrap()).collect();
    let expected =
        ["alias champion", "alias challenger", "stage of version 6", "stage of version 7", "stage of version 8"];
    assert_eq!(whats, expected);
    let shown = json(&["show", store, "models:/fraud", "--json"]);
    assert_eq!(shown["aliases"], json!({"champion": 6}));
    let stages: Vec<&str> =
        shown["versions"].as_array().unwrap().iter().map(|of| of["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["None", "None", "None", "None", "None", "Production", "None", "Archived"]);
    assert_eq!(shown["tags"]["runlode.rollback"], format!("to position {then}: CR-1183"));
    assert_eq!(rollback(&["--to-as-of", &then])["changes"], json!([]), "nothing is left to do");
    // Forward again.
    rollback(&["--to-as-of", &after]);
    assert_eq!(champion(store), 7);
    // A version that an alias named is gone: nothing is changed.
    let opened = LocalStore::open(store).unwrap();
    opened.delete_version("fraud", 6).unwrap();
    opened.close().unwrap();
    assert!(refused(&["rollback", store, "models:/fraud", "--to-as-of", &then]).contains("version 6"));
    assert_eq!(champion(store), 7);
    assert!(refused(&["rollback", store, "models:/fraud", "--to-as-of", "1"]).contains("at position 1"));
    assert!(refused(&["rollback", store, "trial-17", "--to-as-of", "1"]).contains("no registered model"));
}

#[test]
fn pins_are_tags_with_a_reason() {
    let (_dir, store) = &fixture();
    done(&["pin", store, "trial-17", "--reason", "paper, table 3"]);
    assert_eq!(json(&["show", store, "trial-17", "--json"])["tags"]["runlode.pin"], "paper, table 3");
    let pinned = json(&["pin", store, "models:/fraud@champion", "--reason", "audit", "--json"]);
    assert_eq!(pinned, json!({"pinned": "models:/fraud/6", "reason": "audit", "reason_before": null}));
    assert_eq!(json(&["show", store, "models:/fraud/6", "--json"])["tags"]["runlode.pin"], "audit");
    for target in ["trial-17", "models:/fraud/6"] {
        done(&["unpin", store, target]);
        let (code, out, _) = said(&runlode(&["unpin", store, target]));
        assert_eq!(code, Some(1), "{out}");
    }
    assert!(refused(&["pin", store, "models:/fraud", "--reason", "x"]).contains("neither a run nor a version"));
    assert!(refused(&["pin", store, "trial-17", "--reason", " "]).contains("--reason"));
    assert!(refused(&["pin", store, "trial-71", "--reason", "x"]).contains("`trial-17`"));
}

#[test]
fn an_audit_finds_what_changed_and_survives_compaction() {
    let (dir, store) = &fixture();
    // A run is deleted and purged, so that compaction removes what it said.
    let opened = LocalStore::open(store).unwrap();
    let run = opened.create_run(runlode::ExperimentId(0), RunSpec::named("secret")).unwrap();
    run.log_metrics(0, &[("loss", 1.0)]).unwrap();
    let id = run.id();
    drop(run);
    opened.delete_run(id).unwrap();
    opened.purge_run(id).unwrap();
    opened.close().unwrap();
    let head = done(&["audit", "head", store]).trim().to_owned();
    let copy = dir.path().join("copy");
    copy_folder(std::path::Path::new(store), &copy);
    let verify = |path: &str, head: &str| {
        let (code, out, error) = said(&runlode(&["audit", "verify", path, "--head", head, "--json"]));
        (code, serde_json::from_str::<Value>(&out).unwrap_or_else(|_| panic!("{out}{error}")))
    };
    assert_eq!(verify(store, &head).1["unchanged"], true);
    done(&["compact", store]);
    done(&["promote", store, "models:/fraud/7", "--to", "champion"]);
    done(&["compact", store]);
    let (code, answer) = verify(store, &head);
    assert_eq!((code, &answer["unchanged"]), (Some(0), &json!(true)), "{answer}");
    assert!(answer["events_since"].as_u64() >= Some(1));
    let newer = done(&["audit", "head", store]).trim().to_owned();
    assert_eq!(verify(store, &newer).0, Some(0));

    // The copy took another way since: it has none of the newer events, and others in their place.
    let (code, answer) = verify(copy.to_str().unwrap(), &newer);
    assert_eq!(code, Some(1), "{answer}");
    assert!(answer["why"].as_str().unwrap().contains("older copy"), "{answer}");
    // A compaction skips numbers, so that both are as long.
    done(&["compact", copy.to_str().unwrap()]);
    let forged = LocalStore::open(&copy).unwrap();
    for _ in 0..200 {
        forged.set_alias("fraud", "champion", 3).unwrap();
        forged.set_alias("fraud", "champion", 4).unwrap();
    }
    forged.close().unwrap();
    assert_eq!(verify(copy.to_str().unwrap(), &head).0, Some(0), "what the first head covers is as it was");
    let (code, answer) = verify(copy.to_str().unwrap(), &newer);
    assert_eq!(code, Some(1), "{answer}");
    assert!(answer["why"].as_str().unwrap().contains("changed"), "{answer}");
    // Lists show where both begin to differ.
    let list = |path: &str| json(&["audit", "list", path, "--json"]).as_array().unwrap().clone();
    let (ours, theirs) = (list(store), list(copy.to_str().unwrap()));
    let same = ours.iter().zip(&theirs).take_while(|(a, b)| a["hash"] == b["hash"]).count();
    let covered: usize = head.split(':').nth(3).unwrap().parse().unwrap();
    assert_eq!(same, covered);
    let names: Vec<&str> = ours.iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    assert!(names.contains(&"RunDeleted") && names.contains(&"RunPurged"), "{names:?}");
    // Another store's head, and a head that is none.
    let (_other_dir, other) = fixture();
    assert!(verify(&other, &head).1["why"].as_str().unwrap().contains("of store"));
    assert!(refused(&["audit", "verify", store, "--head", "abc"]).contains("runlode audit head"));
    assert_eq!(json(&["verify", store, "--json"])["ok"], true);
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
        let target = to.join(path.file_name().unwrap());
        if kind.is_dir() {
            copy_folder(&path, &target);
        } else if kind.is_file() {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
