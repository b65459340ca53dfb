//! These tests give sources of model versions, and see which ones are refused.

use std::time::{Duration, Instant};

use super::*;
use crate::mlflow::registry::tests::{open, refused};
use crate::mlflow::{NewLoggedModel, NewModelVersion, NewRun, Settings};
use ErrorCode::{InternalError, InvalidParameterValue, ResourceDoesNotExist};

fn source(source: &str) -> VersionSource {
    VersionSource { source: source.to_owned(), ..VersionSource::default() }
}

fn vet(mlflow: &Mlflow, text: &str) -> ApiResult<VersionSource> {
    mlflow.vet_source(source(text), false)
}

#[test]
fn places_of_others_are_taken_as_they_are() {
    let (_dir, mlflow) = open();
    for good in [
        "s3://b/p",
        "s3://b/p//q/",
        "runs:/x/model",
        "mlflow-artifacts:/models",
        "mlflow-artifacts://host:9000/models",
        "http://h/x",
        "ftp://h/a.b/c..d",
        "dbfs:/x",
        "models:/m-123",
        "s3://b/a%20b",
    ] {
        assert_eq!(vet(&mlflow, good).unwrap(), source(good));
    }
}

#[test]
fn relative_parts_are_refused_however_they_are_written() {
    let (_dir, mlflow) = open();
    for bad in [
        "s3://b/p/../q",
        "s3:/my_bucket/models/path/../../other/path",
        "http://host:port/api/2.0/mlflow-artifacts/artifacts/../../../../",
        "mlflow-artifacts://host:port/..%2f..%2f..%2f..%2f",
        "mlflow-artifacts://host:port/..%252f..%252f..%25252f",
        "s3://b/%2e%2e/q",
        "s3://b/%252525252e./q",
        "s3://b/%%32%65%2e/q",
        "s3://b/.\t./q",
        "s3://b/%09.%0a./q",
        "http://host/a%00",
        "http://h/..;x/y",
        "s3:/b/./c",
        "s3://b",
        "s3:",
        "dbfs:x",
        "mlflow-artifacts:../x",
    ] {
        let (code, status, message) = refused(vet(&mlflow, bad));
        assert_eq!((code, status), (InvalidParameterValue, 400));
        let told = format!(
            "Invalid model version source: '{bad}'. If supplying a source as an http, https, local file path, ftp, \
             objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path references \
             present."
        );
        assert!(message.starts_with(&told), "{bad}: {message}");
    }
}

#[test]
fn decoding_costs_one_pass() {
    let (_dir, mlflow) = open();
    let deep = format!("s3://b/%{}2e./x", "25".repeat(500_000));
    let start = Instant::now();
    assert!(vet(&mlflow, &deep).is_err());
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn local_paths_lie_in_the_artifacts_of_their_run_or_model() {
    let (dir, mlflow) = open();
    let root = dir.path().join("artifacts");
    let mlflow = Mlflow::new(mlflow.store().clone(), Settings::with_root(root.to_string_lossy(), dir.path()));
    let run = mlflow.create_run(&NewRun::default()).unwrap().info;
    let model = mlflow.create_logged_model(&NewLoggedModel { experiment_id: "0", ..Default::default() }).unwrap();
    let by_run =
        |text: &str| mlflow.vet_source(VersionSource { run_id: Some(run.run_id.clone()), ..source(text) }, false);
    let by_model = |text: &str| {
        let named =
            VersionSource { model_id: Some(model.model_id.clone()), run_id: Some(run.run_id.clone()), ..source(text) };
        mlflow.vet_source(named, false)
    };
    let place = &run.artifact_uri;
    for good in ["", "/", "/model", "/model/..", "/./model", "//model"] {
        by_run(&format!("{place}{good}")).unwrap();
        by_run(&format!("file://{place}{good}")).unwrap();
        by_run(&format!("file:{place}{good}")).unwrap();
        by_run(&format!("file://localhost{place}{good}")).unwrap();
        by_model(&format!("{}{good}", model.artifact_uri)).unwrap();
    }
    let relative = format!("artifacts/0/{}/artifacts/model", run.run_id);
    by_run(&relative).unwrap();
    // A run stays one after its deletion; a model does not.
    mlflow.delete_run(&run.run_id).unwrap();
    by_run(place).unwrap();
    for bad in ["/..", "/../artifactsX", "X", "/model/../..", "/%2e%2e", "/%2e%2e/%2e%2e/etc"] {
        let (code, status, message) = refused(by_run(&format!("{place}{bad}")));
        assert_eq!((code, status), (InvalidParameterValue, 400));
        let told = format!(
            "Invalid model version source: '{place}{bad}'. To use a local path as a model version source, the run_id \
             request parameter has to be specified and the local path has to be contained within the artifact \
             directory of the run"
        );
        assert!(message.starts_with(&told), "{message}");
        assert!(by_run(&format!("file://{place}{bad}")).is_err());
    }
    for bad in ["/etc", "file:///etc", "rel", " ", "/", "", "\0", &format!("{place}\0")] {
        assert!(by_run(bad).is_err(), "{bad}");
        assert!(by_model(bad).is_err(), "{bad}");
        assert!(vet(&mlflow, bad).is_err(), "{bad}");
    }
    assert!(by_model(place).is_err() && by_run(&model.artifact_uri).is_err() && vet(&mlflow, place).is_err());
    let named = VersionSource { run_id: Some("0".repeat(32)), ..source(place) };
    assert_eq!(refused(mlflow.vet_source(named, false)).1, 400);
    mlflow.delete_logged_model(&model.model_id).unwrap();
    assert!(by_model(&model.artifact_uri).is_err());
}

#[cfg(unix)]
#[test]
fn links_are_followed_before_they_are_judged() {
    let (dir, mlflow) = open();
    let root = dir.path().join("artifacts");
    let mlflow = Mlflow::new(mlflow.store().clone(), Settings::with_root(root.to_string_lossy(), dir.path()));
    let run = mlflow.create_run(&NewRun::default()).unwrap().info;
    std::fs::create_dir_all(&run.artifact_uri).unwrap();
    for (name, to) in [("out", "/"), ("nowhere", "/does/not/exist"), ("up", "..")] {
        std::os::unix::fs::symlink(to, Path::new(&run.artifact_uri).join(name)).unwrap();
        let named =
            VersionSource { run_id: Some(run.run_id.clone()), ..source(&format!("{}/{name}", run.artifact_uri)) };
        assert!(mlflow.vet_source(named, false).is_err(), "{name}");
    }
}

#[test]
fn no_local_path_lies_behind_the_proxy() {
    let (_dir, mlflow) = open();
    let run = mlflow.create_run(&NewRun::default()).unwrap().info;
    let named = VersionSource { run_id: Some(run.run_id.clone()), ..source("/0/artifacts") };
    assert_eq!(refused(mlflow.vet_source(named, false)).1, 400);
}

#[test]
fn files_of_other_hosts() {
    let (_dir, mlflow) = open();
    for remote in ["file://HOST/x", "file://123.456.789/path", "file://user@h:1/x"] {
        let (code, status, message) = refused(vet(&mlflow, remote));
        assert_eq!((code, status), (InternalError, 500));
        assert!(message.contains("is not a valid remote uri"), "{message}");
    }
}

#[test]
fn versions_as_sources() {
    let (_dir, mlflow) = open();
    mlflow.create_registered_model("m", &[], None).unwrap();
    mlflow.create_registered_model("empty", &[], None).unwrap();
    for run_id in ["r1", "r2"] {
        let new = NewModelVersion { source: "s3://b/p", run_id: Some(run_id), ..NewModelVersion::default() };
        mlflow.create_model_version("m", &new).unwrap();
    }
    mlflow.set_registered_model_alias("m", "champion", "1").unwrap();
    mlflow.transition_model_version_stage("m", "1", "Staging", false).unwrap();
    let kept = |text: &str| {
        let kept = vet(&mlflow, text).unwrap();
        (kept.source, kept.run_id.unwrap())
    };
    let version = |version: &str, run: &str| (format!("models:/m/{version}"), run.to_owned());
    assert_eq!(kept("models:/m/1"), version("1", "r1"));
    assert_eq!(kept("models:/m@champion"), version("1", "r1"));
    assert_eq!(kept("models:/m/staging"), version("1", "r1"));
    assert_eq!(kept("models:/m/latest"), version("2", "r2"));
    let named = VersionSource { run_id: Some("mine".to_owned()), ..source("models:/m/1") };
    assert_eq!(mlflow.vet_source(named, false).unwrap().run_id.as_deref(), Some("mine"));
    for (text, code, status, told) in [
        ("models:/nope/1", ResourceDoesNotExist, 404, "Registered Model with name=nope not found"),
        ("models:/m/9", ResourceDoesNotExist, 404, "Model Version (name=m, version=9) not found"),
        ("models:/m@none", InvalidParameterValue, 400, "Registered model alias none not found."),
        ("models:/m/bogus", InvalidParameterValue, 400, "Invalid Model Version stage: bogus."),
        (
            "models:/m/Archived",
            ResourceDoesNotExist,
            404,
            "No versions of model with name 'm' and stage 'Archived' found",
        ),
        ("models:/empty/latest", ResourceDoesNotExist, 404, "Latest version not found for model empty."),
        ("models:/a/b/c", InvalidParameterValue, 400, "Invalid model version source: 'models:/a/b/c'."),
        ("models:/", InvalidParameterValue, 400, "Invalid model version source: 'models:/'."),
        ("models://x/m/1", InvalidParameterValue, 400, "Invalid model version source: 'models://x/m/1'."),
        ("models:/m@", InvalidParameterValue, 400, "Invalid model version source: 'models:/m@'."),
    ] {
        let (found, answered, message) = refused(vet(&mlflow, text));
        assert_eq!((found, answered), (code, status), "{text}: {message}");
        assert!(message.starts_with(told), "{text}: {message}");
    }
}

#[test]
fn prompts_have_placeholders() {
    let (_dir, mlflow) = open();
    for placeholder in PROMPT_SOURCES {
        mlflow.vet_source(source(placeholder), true).unwrap();
        assert!(mlflow.vet_source(source(placeholder), false).is_err());
    }
    // The tag of a prompt opens no files.
    assert!(mlflow.vet_source(source("file:///etc"), true).is_err());
    assert!(mlflow.vet_source(source("/etc/passwd"), true).is_err());
}

#[test]
fn forms_of_model_uris() {
    let parse = |uri: &str| ModelUri::parse(uri).ok();
    let owned = str::to_owned;
    assert_eq!(parse("models:/m-1"), Some(ModelUri::Logged(owned("m-1"))));
    assert_eq!(parse("models:/a b/12"), Some(ModelUri::Version { name: owned("a b"), version: owned("12") }));
    assert_eq!(parse("models:/a@b@c"), Some(ModelUri::Alias { name: owned("a@b"), alias: owned("c") }));
    assert_eq!(parse("models:/a@b/Latest"), Some(ModelUri::Latest { name: owned("a@b") }));
    assert_eq!(parse("models:/a#1/x?y"), Some(ModelUri::Stage { name: owned("a#1"), stage: owned("x") }));
    for bad in ["models:/", "models:a/1", "models:", "models:/a/", "models:/ /1", "models:/a/b/c", "models://h/a/1"] {
        assert_eq!(parse(bad), None, "{bad}");
    }
}
