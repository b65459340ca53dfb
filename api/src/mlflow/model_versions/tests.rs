//! These tests make, change and list model versions as MLflow does.

use super::*;
use crate::VersionStatus;
use crate::mlflow::registry::tests::{add, open, refused, tick};
use crate::mlflow::{ErrorCode, NewLoggedModel, Settings};
use ErrorCode::{InternalError, InvalidParameterValue, ResourceDoesNotExist};

fn new(source: &str) -> NewModelVersion<'_> {
    NewModelVersion { source, ..NewModelVersion::default() }
}

fn absent(version: &str) -> (ErrorCode, u16, String) {
    (ResourceDoesNotExist, 404, format!("Model Version (name=m, version={version}) not found"))
}

#[test]
fn creation() {
    let (_dir, mlflow) = open();
    mlflow.create_registered_model("m", &[], None).unwrap();
    tick(&mlflow);
    let tags = [("k".to_owned(), "1".to_owned()), ("k".to_owned(), "2".to_owned())];
    let version = mlflow
        .create_model_version(
            "m",
            &NewModelVersion { description: Some(""), run_id: Some("r"), tags: &tags, ..new("s3://b/p") },
        )
        .unwrap();
    assert_eq!((version.version, version.current_stage, version.status), (1, Stage::None, VersionStatus::Ready));
    assert_eq!((version.source.as_str(), version.run_id.as_deref()), ("s3://b/p", Some("r")));
    assert_eq!((version.description.as_deref(), version.run_link), (Some(""), None));
    assert_eq!((version.user_id, version.status_message), (None, None));
    assert_eq!(version.tags, [("k".to_owned(), "2".to_owned())]);
    assert_eq!(mlflow.registered_model("m").unwrap().last_updated_timestamp, version.creation_timestamp);
    assert_eq!(version.last_updated_timestamp, version.creation_timestamp);
    let (_, _, message) =
        refused(mlflow.create_model_version(
            "m",
            &NewModelVersion { tags: &[("a|b".to_owned(), String::new())], ..new("s3://b/p") },
        ));
    assert!(message.starts_with("Invalid value \"a|b\" for parameter 'key' supplied"));
}

#[test]
fn numbers_are_never_used_twice() {
    let (_dir, mlflow) = open();
    mlflow.create_registered_model("m", &[], None).unwrap();
    for expected in 1..=3 {
        assert_eq!(add(&mlflow, "m").version, expected);
    }
    mlflow.delete_model_version("m", "3").unwrap();
    assert_eq!(add(&mlflow, "m").version, 4);
}

#[test]
fn racing_creations_get_numbers_of_their_own() {
    let (_dir, mlflow) = open();
    mlflow.create_registered_model("m", &[], None).unwrap();
    let mut numbers: Vec<u32> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..5).map(|_| add(&mlflow, "m").version).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
}

#[test]
fn versions_are_integers_in_text() {
    let (_dir, mlflow) = open();
    mlflow.create_registered_model("m", &[], None).unwrap();
    add(&mlflow, "m");
    assert_eq!(mlflow.model_version("m", " 1 ").unwrap().version, 1);
    assert_eq!(mlflow.model_version("m", "+1").unwrap().version, 1);
    for text in ["x", "1.0", "", "None", "-"] {
        let told = format!("Parameter 'version' must be an integer, got '{text}'.");
        assert_eq!(refused(mlflow.model_version("m", text)), (InvalidParameterValue, 400, told));
    }
    for text in ["0", "2", "-1", "99999999999"] {
        assert_eq!(refused(mlflow.model_version("m", text)), absent(text));
    }
    assert_eq!(refused(mlflow.model_version("m", "99999999999999999999999")).1, 404);
}

#[test]
fn unknown_versions() {
    let (_dir, mlflow) = open();
    for there in [false, true] {
        if there {
            mlflow.create_registered_model("m", &[], None).unwrap();
        }
        assert_eq!(refused(mlflow.model_version("m", "3")), absent("3"));
        assert_eq!(refused(mlflow.update_model_version("m", "3", None)), absent("3"));
        assert_eq!(refused(mlflow.transition_model_version_stage("m", "3", "Staging", true)), absent("3"));
        assert_eq!(refused(mlflow.delete_model_version("m", "3")), absent("3"));
        assert_eq!(refused(mlflow.model_version_download_uri("m", "3")), absent("3"));
        assert_eq!(refused(mlflow.set_model_version_tag("m", "3", "k", "v")), absent("3"));
        assert_eq!(refused(mlflow.delete_model_version_tag("m", "3", "k")), absent("3"));
    }
}

#[test]
fn an_update_touches_the_version_only() {
    let (_dir, mlflow) = open();
    mlflow.create_registered_model("m", &[], None).unwrap();
    let made = add(&mlflow, "m");
    tick(&mlflow);
    let updated = mlflow.update_model_version("m", "1", Some("d")).unwrap();
    assert_eq!(updated.description.as_deref(), Some("d"));
    assert!(updated.last_updated_timestamp > made.last_updated_timestamp);
    assert_eq!(mlflow.update_model_version("m", "1", None).unwrap().description, None);
    let time = mlflow.model_version("m", "1").unwrap().last_updated_timestamp;
    tick(&mlflow);
    mlflow.set_model_version_tag("m", "1", "k", "v").unwrap();
    mlflow.delete_model_version_tag("m", "1", "never").unwrap();
    mlflow.set_model_version_tag("m", "1", "j", "v").unwrap();
    mlflow.delete_model_version_tag("m", "1", "j").unwrap();
    let tagged = mlflow.model_version("m", "1").unwrap();
    assert_eq!((tagged.tags, tagged.last_updated_timestamp), (vec![("k".to_owned(), "v".to_owned())], time));
    assert_eq!(mlflow.registered_model("m").unwrap().last_updated_timestamp, made.creation_timestamp);
    tick(&mlflow);
    mlflow.delete_model_version("m", "1").unwrap();
    assert!(mlflow.registered_model("m").unwrap().last_updated_timestamp > time);
}

#[test]
fn stages() {
    let (_dir, mlflow) = open();
    mlflow.create_registered_model("m", &[], None).unwrap();
    for _ in 0..5 {
        add(&mlflow, "m");
    }
    let to = |version: &str, stage: &str, archive| {
        tick(&mlflow);
        mlflow.transition_model_version_stage("m", version, stage, archive)
    };
    assert_eq!(to("1", "pRoDuCtIoN", false).unwrap().current_stage, Stage::Production);
    to("3", "staging", false).unwrap();
    to("5", "staging", false).unwrap();
    let moved = to("4", "Staging", true).unwrap();
    for archived in ["3", "5"] {
        let version = mlflow.model_version("m", archived).unwrap();
        assert_eq!(version.current_stage, Stage::Archived);
        assert_eq!(version.last_updated_timestamp, moved.last_updated_timestamp);
    }
    assert_eq!(mlflow.registered_model("m").unwrap().last_updated_timestamp, moved.last_updated_timestamp);
    assert_eq!(mlflow.model_version("m", "1").unwrap().current_stage, Stage::Production);
    // Again: it is no other version of the stage.
    assert_eq!(to("4", "Staging", true).unwrap().current_stage, Stage::Staging);
    assert_eq!(
        refused(to("4", "bogus", false)).2,
        "Invalid Model Version stage: bogus. Value must be one of None, Staging, Production, Archived."
    );
    for inactive in ["None", "archived"] {
        let told = format!(
            "Model version transition cannot archive existing model versions because '{inactive}' is not an Active \
             stage. Valid stages are ['Staging', 'Production']"
        );
        assert_eq!(refused(to("4", inactive, true)), (InternalError, 400, told));
    }
    assert_eq!(to("4", "None", false).unwrap().current_stage, Stage::None);
}

#[test]
fn a_version_of_a_logged_model() {
    let (_dir, mlflow) = open();
    mlflow.create_registered_model("m", &[], None).unwrap();
    let model = mlflow
        .create_logged_model(&NewLoggedModel { experiment_id: "0", source_run_id: "r1", ..Default::default() })
        .unwrap();
    let source = format!("models:/{}", model.model_id);
    let id = Some(model.model_id.as_str());
    // In process the client writes the tag; the server does it in the same step.
    let quiet = mlflow.create_model_version("m", &NewModelVersion { model_id: id, ..new(&source) }).unwrap();
    assert_eq!((quiet.run_id.as_deref(), quiet.model_id.as_deref()), (Some("r1"), id));
    assert!(mlflow.logged_model(&model.model_id, false).unwrap().tags.is_empty());
    for _ in 0..2 {
        let spec = NewModelVersion { model_id: id, run_id: Some(""), note_on_model: true, ..new("s3://b/p") };
        assert_eq!(mlflow.create_model_version("m", &spec).unwrap().run_id.as_deref(), Some("r1"));
    }
    let tags = mlflow.logged_model(&model.model_id, false).unwrap().tags;
    let listed = r#"[{"name": "m", "version": 2}, {"name": "m", "version": 3}]"#;
    assert_eq!(tags, [("mlflow.modelVersions".to_owned(), listed.to_owned())]);
    assert_eq!(mlflow.model_version_download_uri("m", "1").unwrap(), model.artifact_uri);
    assert_eq!(mlflow.model_version_download_uri("m", "2").unwrap(), "s3://b/p");
    // A run that is given stays.
    let given = mlflow.create_model_version("m", &NewModelVersion { run_id: Some("r2"), ..new(&source) }).unwrap();
    assert_eq!((given.run_id.as_deref(), given.model_id), (Some("r2"), None));

    // Nothing is written when the logged model is not there.
    let unknown = NewModelVersion { model_id: Some("m-nope"), note_on_model: true, ..new("s3://b/p") };
    let told = (ResourceDoesNotExist, 404, "Logged model with ID 'm-nope' not found.".to_owned());
    assert_eq!(refused(mlflow.create_model_version("m", &unknown)), told);
    let (code, status, message) = refused(mlflow.create_model_version("m", &new("models:/m-nope")));
    assert_eq!((code, status), (InternalError, 400));
    assert!(message.starts_with("Unable to fetch model from model URI source artifact location 'models:/m-nope'."));
    assert_eq!(mlflow.latest_versions::<&str>("m", &[]).unwrap()[0].version, 4);

    // Its files are found though it is deleted, and by every door at its own place.
    mlflow.delete_logged_model(&model.model_id).unwrap();
    assert_eq!(mlflow.model_version_download_uri("m", "1").unwrap(), model.artifact_uri);
    let here = Mlflow::new(mlflow.store().clone(), Settings::with_root("/srv", "/"));
    let path = format!("/srv/0/models/{}/artifacts", model.model_id);
    assert_eq!(here.model_version_download_uri("m", "1").unwrap(), path);
}

#[test]
fn a_version_of_a_version() {
    let (_dir, mlflow) = open();
    mlflow.create_registered_model("m", &[], None).unwrap();
    mlflow.create_registered_model("n", &[], None).unwrap();
    let logged = mlflow.create_logged_model(&NewLoggedModel { experiment_id: "0", ..Default::default() }).unwrap();
    mlflow.create_model_version("m", &new("s3://b/1")).unwrap();
    mlflow.create_model_version("m", &new(&format!("models:/{}", logged.model_id))).unwrap();
    mlflow.set_registered_model_alias("m", "champion", "1").unwrap();
    mlflow.transition_model_version_stage("m", "1", "Production", false).unwrap();
    for (source, place) in [
        ("models:/m/1", "s3://b/1"),
        ("models:/m@champion", "s3://b/1"),
        ("models:/m/Production", "s3://b/1"),
        ("models:/m/latest", &logged.artifact_uri),
        ("models:/n/1", "s3://b/1"),
    ] {
        let copy = mlflow.create_model_version("n", &new(source)).unwrap();
        assert_eq!(copy.source, source);
        let uri = mlflow.model_version_download_uri("n", &copy.version.to_string()).unwrap();
        assert_eq!(uri, place, "{source}");
    }
    // A copy outlives the version that it was made of.
    mlflow.delete_model_version("m", "1").unwrap();
    mlflow.delete_model_version("m", "2").unwrap();
    assert_eq!(mlflow.model_version_download_uri("n", "1").unwrap(), "s3://b/1");
    assert_eq!(mlflow.model_version_download_uri("n", "4").unwrap(), logged.artifact_uri);
    let (code, status, message) = refused(mlflow.create_model_version("n", &new("models:/m/1")));
    assert_eq!((code, status), (InternalError, 400));
    assert!(message.contains("Model Version (name=m, version=1) not found"));
}

#[test]
fn lists_of_versions() {
    let one = r#"[{"name": "a\"b", "version": 1}]"#;
    for none in [None, Some("[]"), Some(" [ ] "), Some("broken"), Some("")] {
        assert_eq!(with_version(none, "a\"b", 1), one);
    }
    assert_eq!(with_version(Some(one), "a\"b", 1), one);
    assert_eq!(with_version(Some(one), "x", 2), r#"[{"name": "a\"b", "version": 1}, {"name": "x", "version": 2}]"#);
}
