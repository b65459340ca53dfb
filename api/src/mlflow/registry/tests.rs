//! These tests make, rename and delete registered models, their tags and aliases; other tests use their fixtures.

use super::*;
use crate::mlflow::{ErrorCode, NewModelVersion, Settings};
use crate::{LocalOptions, LocalStore, TimestampMs};

/// A store with a clock that a test moves.
pub(in crate::mlflow) fn open() -> (tempfile::TempDir, Mlflow) {
    let dir = tempfile::tempdir().unwrap();
    let options: LocalOptions = LocalStore::options(dir.path().join("store"));
    let store = options.open().unwrap();
    let settings = Settings::with_root("mlflow-artifacts:/", dir.path());
    (dir, Mlflow::new(store, settings))
}

/// Waits until the clock shows another millisecond than `before`.
pub(in crate::mlflow) fn tick(mlflow: &Mlflow) -> TimestampMs {
    let before = mlflow.store().now();
    while mlflow.store().now() == before {
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    mlflow.store().now()
}

pub(in crate::mlflow) fn add(mlflow: &Mlflow, name: &str) -> ModelVersion {
    mlflow.create_model_version(name, &NewModelVersion { source: "s3://b/p", ..NewModelVersion::default() }).unwrap()
}

pub(in crate::mlflow) fn refused<T: std::fmt::Debug>(result: ApiResult<T>) -> (ErrorCode, u16, String) {
    let error = result.unwrap_err();
    (error.code, error.status(), error.message)
}

fn tag(key: &str, value: &str) -> Tag {
    (key.to_owned(), value.to_owned())
}

use ErrorCode::{InvalidParameterValue, ResourceAlreadyExists, ResourceDoesNotExist};

#[test]
fn creation() {
    let (_dir, mlflow) = open();
    let model = mlflow.create_registered_model("m", &[tag("a", "1"), tag("a", "2")], Some("d")).unwrap();
    assert_eq!((model.name.as_str(), model.description.as_deref()), ("m", Some("d")));
    assert_eq!(model.tags, [tag("a", "2")]);
    assert_eq!(model.creation_timestamp, model.last_updated_timestamp);
    assert!(model.latest_versions.is_empty() && model.aliases.is_empty());
    assert_eq!(mlflow.registered_model("m").unwrap(), model);
    // Names are case-sensitive, and of any length.
    mlflow.create_registered_model("M", &[], None).unwrap();
    mlflow.create_registered_model(&"x".repeat(3000), &[], None).unwrap();
}

#[test]
fn taken_names() {
    let (_dir, mlflow) = open();
    let prompt = [tag("mlflow.prompt.is_prompt", "true")];
    mlflow.create_registered_model("m", &[], None).unwrap();
    mlflow.create_registered_model("p", &prompt, None).unwrap();
    let told = |name: &str, tags: &[Tag]| {
        let (code, status, message) = refused(mlflow.create_registered_model(name, tags, None));
        assert_eq!((code, status), (ResourceAlreadyExists, 400));
        message
    };
    assert_eq!(told("m", &[]), "Registered Model (name=m) already exists.");
    assert_eq!(told("p", &prompt), "Prompt (name=p) already exists.");
    assert_eq!(
        told("m", &prompt),
        "Tried to create a prompt with name 'm', but the name is already taken by a registered model. MLflow does \
         not allow creating a model and a prompt with the same name."
    );
    assert!(
        told("p", &[]).starts_with(
            "Tried to create a registered model with name 'p', but the name is already taken by a prompt."
        )
    );
}

#[test]
fn names_that_cannot_be() {
    let (_dir, mlflow) = open();
    for (name, told) in [
        ("a/b", "Invalid model name 'a/b'. Names cannot contain '/' or ':'."),
        ("a:b", "Invalid model name 'a:b'. Names cannot contain '/' or ':'."),
        (" ", "Missing value for required parameter 'name'."),
        ("", "Missing value for required parameter 'name'."),
        ("..", "Invalid value \"..\" for parameter 'name' supplied: Names may be treated as files"),
    ] {
        for (code, status, message) in [
            refused(mlflow.create_registered_model(name, &[], None)),
            refused(mlflow.registered_model(name)),
            refused(mlflow.delete_registered_model(name)),
            refused(mlflow.model_version(name, "1")),
            refused(mlflow.model_version_by_alias(name, "a")),
        ] {
            assert_eq!((code, status), (InvalidParameterValue, 400));
            assert!(message.starts_with(told), "{name}: {message}");
        }
    }
    mlflow.create_registered_model("m", &[], None).unwrap();
    assert_eq!(refused(mlflow.rename_registered_model("m", " ")).2, "Missing value for required parameter 'new_name'.");
    let (_, _, message) = refused(mlflow.create_registered_model("x", &[tag("a||b", "1")], None));
    assert!(message.starts_with("Invalid value \"a||b\" for parameter 'key' supplied: Names may only contain"));
}

#[test]
fn unknown_models() {
    let (_dir, mlflow) = open();
    let told = (ResourceDoesNotExist, 404, "Registered Model with name=x not found".to_owned());
    assert_eq!(refused(mlflow.registered_model("x")), told);
    assert_eq!(refused(mlflow.update_registered_model("x", None)), told);
    assert_eq!(refused(mlflow.rename_registered_model("x", "y")), told);
    assert_eq!(refused(mlflow.delete_registered_model("x")), told);
    assert_eq!(refused(mlflow.latest_versions::<&str>("x", &["bogus"])), told);
    assert_eq!(refused(mlflow.set_registered_model_tag("x", "k", "v")), told);
    assert_eq!(refused(mlflow.delete_registered_model_tag("x", "k")), told);
    assert_eq!(refused(mlflow.delete_registered_model_alias("x", "a")), told);
    assert_eq!(refused(mlflow.model_version_by_alias("x", "a")), told);
    assert_eq!(refused(mlflow.model_version_by_alias("x", "latest")), told);
    assert_eq!(refused(mlflow.create_model_version("x", &NewModelVersion::default())), told);
}

#[test]
fn an_absent_description_clears_it() {
    let (_dir, mlflow) = open();
    let made = mlflow.create_registered_model("m", &[], Some("d")).unwrap();
    let now = tick(&mlflow);
    let updated = mlflow.update_registered_model("m", Some("e")).unwrap();
    assert_eq!(updated.description.as_deref(), Some("e"));
    assert!(updated.last_updated_timestamp >= now.0 && updated.creation_timestamp == made.creation_timestamp);
    assert_eq!(mlflow.update_registered_model("m", None).unwrap().description, None);
    assert_eq!(mlflow.update_registered_model("m", Some("")).unwrap().description.as_deref(), Some(""));
}

#[test]
fn rename_takes_all_along() {
    let (_dir, mlflow) = open();
    mlflow.create_registered_model("m", &[tag("k", "v")], None).unwrap();
    mlflow.create_registered_model("taken", &[], None).unwrap();
    let (first, second) = (add(&mlflow, "m"), add(&mlflow, "m"));
    mlflow.set_registered_model_alias("m", "champion", "1").unwrap();
    mlflow.set_model_version_tag("m", "1", "vk", "vv").unwrap();
    tick(&mlflow);
    let renamed = mlflow.rename_registered_model("m", "n").unwrap();
    assert_eq!((renamed.name.as_str(), &renamed.tags), ("n", &vec![tag("k", "v")]));
    assert_eq!(renamed.aliases, [("champion".to_owned(), 1)]);
    for old in [first, second] {
        let version = mlflow.model_version("n", &old.version.to_string()).unwrap();
        assert!(version.last_updated_timestamp > old.last_updated_timestamp);
        assert_eq!(version.last_updated_timestamp, renamed.last_updated_timestamp);
        assert_eq!(version.name, "n");
    }
    assert_eq!(mlflow.model_version("n", "1").unwrap().tags, [tag("vk", "vv")]);
    assert!(mlflow.registered_model("m").is_err());
    let (code, status, message) = refused(mlflow.rename_registered_model("n", "taken"));
    assert_eq!((code, status), (ResourceAlreadyExists, 400));
    assert!(message.starts_with("Registered Model (name=taken) already exists"));
    mlflow.rename_registered_model("n", "n").unwrap();
    mlflow.create_registered_model("m", &[], None).unwrap();
}

#[test]
fn a_deleted_models_name_is_free_and_counts_anew() {
    let (_dir, mlflow) = open();
    mlflow.create_registered_model("m", &[], None).unwrap();
    add(&mlflow, "m");
    add(&mlflow, "m");
    mlflow.delete_registered_model("m").unwrap();
    assert_eq!(refused(mlflow.model_version("m", "1")).2, "Model Version (name=m, version=1) not found");
    mlflow.create_registered_model("m", &[], None).unwrap();
    assert_eq!(add(&mlflow, "m").version, 1);
}

#[test]
fn tags() {
    let (_dir, mlflow) = open();
    let made = mlflow.create_registered_model("m", &[], None).unwrap();
    tick(&mlflow);
    mlflow.set_registered_model_tag("m", "k", "1").unwrap();
    mlflow.set_registered_model_tag("m", "k", "2").unwrap();
    mlflow.set_registered_model_tag("m", "e", "").unwrap();
    mlflow.set_registered_model_tag("m", "long", &"x".repeat(100_000)).unwrap();
    let (_, _, message) = refused(mlflow.set_registered_model_tag("m", "long", &"x".repeat(100_001)));
    assert_eq!(message, "'value' exceeds the maximum length of 100000 characters");
    let (_, _, message) = refused(mlflow.set_registered_model_tag("m", &"k".repeat(251), "v"));
    assert_eq!(message, "'key' exceeds the maximum length of 250 characters");
    mlflow.delete_registered_model_tag("m", "long").unwrap();
    mlflow.delete_registered_model_tag("m", "never").unwrap();
    let model = mlflow.registered_model("m").unwrap();
    assert_eq!(model.tags, [tag("e", ""), tag("k", "2")]);
    assert_eq!(model.last_updated_timestamp, made.last_updated_timestamp);
}

#[test]
fn aliases() {
    let (_dir, mlflow) = open();
    mlflow.create_registered_model("m", &[], None).unwrap();
    assert_eq!(
        refused(mlflow.model_version_by_alias("m", "Latest")),
        (ResourceDoesNotExist, 404, "Latest version not found for model m.".to_owned())
    );
    add(&mlflow, "m");
    add(&mlflow, "m");
    mlflow.transition_model_version_stage("m", "2", "Staging", false).unwrap();
    let before = mlflow.registered_model("m").unwrap().last_updated_timestamp;
    tick(&mlflow);
    mlflow.set_registered_model_alias("m", "champion", "1").unwrap();
    mlflow.set_registered_model_alias("m", "Champion", "1").unwrap();
    mlflow.set_registered_model_alias("m", "champion", "2").unwrap();
    let model = mlflow.registered_model("m").unwrap();
    assert_eq!(model.aliases, [("Champion".to_owned(), 1), ("champion".to_owned(), 2)]);
    assert_eq!(model.last_updated_timestamp, before);
    // The latest versions of a model come without aliases, those of get-latest-versions with.
    assert!(model.latest_versions.iter().all(|version| version.aliases.is_empty()));
    assert_eq!(mlflow.latest_versions::<&str>("m", &[]).unwrap()[1].aliases, ["champion"]);
    let found = mlflow.model_version_by_alias("m", "champion").unwrap();
    assert_eq!((found.version, found.aliases), (2, vec!["champion".to_owned()]));
    assert_eq!(mlflow.model_version_by_alias("m", "LATEST").unwrap().version, 2);
    for unknown in ["none", "v3", "CHAMPION"] {
        assert_eq!(
            refused(mlflow.model_version_by_alias("m", unknown)),
            (InvalidParameterValue, 400, format!("Registered model alias {unknown} not found."))
        );
    }
    let set = |alias: &str, version: &str| refused(mlflow.set_registered_model_alias("m", alias, version));
    assert!(set("a b", "1").2.starts_with("Invalid alias name: 'a b'."));
    assert_eq!(set("Latest", "1").2, "'latest' alias name (case insensitive) is reserved.");
    assert_eq!(set("v3", "1").2, "Version alias name 'v3' is reserved.");
    assert!(set(&"a".repeat(256), "1").2.starts_with("'Registered model alias name' exceeds"));
    assert_eq!(set("x", "y").2, "Parameter 'version' must be an integer, got 'y'.");
    assert_eq!(set("x", "9"), (ResourceDoesNotExist, 404, "Model Version (name=m, version=9) not found".to_owned()));
    let (_, status, message) = refused(mlflow.set_registered_model_alias("nope", "x", "1"));
    assert_eq!((status, message.as_str()), (404, "Model Version (name=nope, version=1) not found"));
    mlflow.delete_registered_model_alias("m", "none").unwrap();
    mlflow.delete_registered_model_alias("m", "latest").unwrap();
    mlflow.delete_registered_model_alias("m", "champion").unwrap();
    assert_eq!(mlflow.registered_model("m").unwrap().aliases, [("Champion".to_owned(), 1)]);
    // A version takes its aliases along.
    mlflow.delete_model_version("m", "1").unwrap();
    assert!(mlflow.registered_model("m").unwrap().aliases.is_empty());
}

#[test]
fn latest_versions_of_stages() {
    let (_dir, mlflow) = open();
    mlflow.create_registered_model("m", &[], None).unwrap();
    for _ in 0..5 {
        add(&mlflow, "m");
    }
    for (version, stage) in [("2", "staging"), ("4", "STAGING"), ("3", "Production")] {
        mlflow.transition_model_version_stage("m", version, stage, false).unwrap();
    }
    let numbers = |versions: Vec<ModelVersion>| versions.iter().map(|version| version.version).collect::<Vec<_>>();
    assert_eq!(numbers(mlflow.latest_versions::<&str>("m", &[]).unwrap()), [3, 4, 5]);
    assert_eq!(numbers(mlflow.registered_model("m").unwrap().latest_versions), [3, 4, 5]);
    assert_eq!(numbers(mlflow.latest_versions("m", &["production", "None"]).unwrap()), [3, 5]);
    assert!(mlflow.latest_versions("m", &["Archived"]).unwrap().is_empty());
    assert_eq!(
        refused(mlflow.latest_versions("m", &["bogus"])).2,
        "Invalid Model Version stage: bogus. Value must be one of None, Staging, Production, Archived."
    );
    mlflow.delete_model_version("m", "5").unwrap();
    assert_eq!(numbers(mlflow.latest_versions("m", &["None"]).unwrap()), [1]);
}
