//! These tests make, change and delete logged models, and log points of them.

use super::*;
use crate::mlflow::registry::tests::{open, refused, tick};
use crate::mlflow::{ErrorCode, NewMetric, NewRun};
use ErrorCode::{InvalidParameterValue, ResourceDoesNotExist};

fn pairs(pairs: &[(&str, &str)]) -> Vec<Tag> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn plain() -> NewLoggedModel<'static> {
    NewLoggedModel { experiment_id: "0", ..NewLoggedModel::default() }
}

fn absent<T: std::fmt::Debug>(result: ApiResult<T>) {
    let told = (ResourceDoesNotExist, 404, "Logged model with ID 'm-nope' not found.".to_owned());
    assert_eq!(refused(result), told);
}

#[test]
fn creation() {
    let (_dir, mlflow) = open();
    let model = mlflow.create_logged_model(&plain()).unwrap();
    assert!(model.model_id.starts_with("m-") && model.model_id.len() == 34);
    assert_eq!(model.status, LoggedModelStatus::Pending);
    assert_eq!((model.model_type.as_str(), model.source_run_id.as_str()), ("", ""));
    assert_eq!(model.artifact_uri, format!("mlflow-artifacts:/0/models/{}/artifacts", model.model_id));
    assert_eq!(model.creation_timestamp_ms, model.last_updated_timestamp_ms);
    assert_eq!(model.name.split('-').count(), 3);
    let (params, tags) = (pairs(&[("p", "1")]), pairs(&[("t", "2")]));
    let new = NewLoggedModel {
        name: Some("n"),
        model_type: "ty",
        source_run_id: "r",
        params: &params,
        tags: &tags,
        ..plain()
    };
    let model = mlflow.create_logged_model(&new).unwrap();
    assert_eq!((model.name.as_str(), model.model_type.as_str(), model.source_run_id.as_str()), ("n", "ty", "r"));
    assert_eq!((&model.params, &model.tags), (&params, &tags));
    assert_eq!(mlflow.logged_model(&model.model_id, false).unwrap(), model);
}

#[test]
fn creations_that_are_refused() {
    let (_dir, mlflow) = open();
    for name in ["a/b", "a:b", "a.b", "a%b", "a\"b", "a'b", ""] {
        let (code, status, message) =
            refused(mlflow.create_logged_model(&NewLoggedModel { name: Some(name), ..plain() }));
        assert_eq!((code, status), (InvalidParameterValue, 400));
        let told = format!("Invalid model name ({}) provided. Model name must be", names::python_text(name));
        assert!(message.starts_with(&told), "{message}");
    }
    let at = |experiment_id| refused(mlflow.create_logged_model(&NewLoggedModel { experiment_id, ..plain() }));
    assert_eq!(at("77"), (ResourceDoesNotExist, 404, "No Experiment with id=77 exists".to_owned()));
    assert_eq!(at("abc").2, "Invalid experiment ID 'abc'. Experiment ID must be a valid integer.");
    let deleted = mlflow.create_experiment("gone", None, &[]).unwrap();
    mlflow.delete_experiment(&deleted).unwrap();
    let told = format!("The experiment {deleted} must be in the 'active' state. Current state is deleted.");
    assert_eq!(refused(mlflow.create_logged_model(&NewLoggedModel { experiment_id: &deleted, ..plain() })).2, told);
    let twice = pairs(&[("a", "1"), ("b", "1"), ("a", "1")]);
    let (code, status, _) = refused(mlflow.create_logged_model(&NewLoggedModel { params: &twice, ..plain() }));
    assert_eq!((code, status), (InvalidParameterValue, 400));
    assert_eq!(refused(mlflow.create_logged_model(&NewLoggedModel { tags: &twice, ..plain() })).1, 400);
}

#[test]
fn deleted_ones_are_hidden_but_take_changes() {
    let (_dir, mlflow) = open();
    let made = mlflow.create_logged_model(&plain()).unwrap();
    let id = made.model_id.as_str();
    tick(&mlflow);
    mlflow.delete_logged_model(id).unwrap();
    let told = format!("Logged model with ID '{id}' not found.");
    assert_eq!(refused(mlflow.logged_model(id, false)), (ResourceDoesNotExist, 404, told));
    let deleted = mlflow.logged_model(id, true).unwrap();
    assert!(deleted.last_updated_timestamp_ms > made.last_updated_timestamp_ms);
    mlflow.delete_logged_model(id).unwrap();
    assert_eq!(mlflow.finalize_logged_model(id, LoggedModelStatus::Ready).unwrap().status, LoggedModelStatus::Ready);
    mlflow.set_logged_model_tags(id, &pairs(&[("a", "1")])).unwrap();
    mlflow.delete_logged_model_tag(id, "a").unwrap();
    mlflow.log_logged_model_params(id, &pairs(&[("a", "1")])).unwrap();
}

#[test]
fn unknown_ones() {
    let (_dir, mlflow) = open();
    absent(mlflow.logged_model("m-nope", true));
    absent(mlflow.finalize_logged_model("m-nope", LoggedModelStatus::Ready));
    absent(mlflow.delete_logged_model("m-nope"));
    absent(mlflow.log_logged_model_params("m-nope", &[]));
    absent(mlflow.set_logged_model_tags("m-nope", &[]));
    absent(mlflow.delete_logged_model_tag("m-nope", "a"));
    let unknown = format!("m-{}", "0".repeat(32));
    assert_eq!(refused(mlflow.finalize_logged_model(&unknown, LoggedModelStatus::Ready)).1, 404);
    assert_eq!(refused(mlflow.delete_logged_model(&unknown)).2, format!("Logged model with ID '{unknown}' not found."));
}

#[test]
fn only_the_status_moves_the_time() {
    let (_dir, mlflow) = open();
    let made = mlflow.create_logged_model(&plain()).unwrap();
    let id = made.model_id.as_str();
    tick(&mlflow);
    mlflow.set_logged_model_tags(id, &pairs(&[("a", "1"), ("a", "2")])).unwrap();
    mlflow.set_logged_model_tags(id, &[]).unwrap();
    mlflow.log_logged_model_params(id, &pairs(&[("p", "1")])).unwrap();
    let model = mlflow.logged_model(id, false).unwrap();
    assert_eq!((model.tags, model.params), (pairs(&[("a", "2")]), pairs(&[("p", "1")])));
    assert_eq!(model.last_updated_timestamp_ms, made.last_updated_timestamp_ms);
    let finalized = mlflow.finalize_logged_model(id, LoggedModelStatus::UploadFailed).unwrap();
    assert!(finalized.last_updated_timestamp_ms > made.last_updated_timestamp_ms);
    assert_eq!(finalized.status, LoggedModelStatus::UploadFailed);
}

#[test]
fn params_are_never_logged_twice() {
    let (_dir, mlflow) = open();
    let params = pairs(&[("p", "1")]);
    let model = mlflow.create_logged_model(&NewLoggedModel { params: &params, ..plain() }).unwrap();
    for again in [pairs(&[("p", "1")]), pairs(&[("q", "1"), ("p", "2")]), pairs(&[("q", "1"), ("q", "1")])] {
        let (code, status, _) = refused(mlflow.log_logged_model_params(&model.model_id, &again));
        assert_eq!((code, status), (InvalidParameterValue, 400));
    }
    assert_eq!(mlflow.logged_model(&model.model_id, false).unwrap().params, params);
}

#[test]
fn a_tag_that_is_not_there() {
    let (_dir, mlflow) = open();
    let id = mlflow.create_logged_model(&plain()).unwrap().model_id;
    let told = format!("No tag with key 'u' found for model with ID '{id}'.");
    assert_eq!(refused(mlflow.delete_logged_model_tag(&id, "u")), (ResourceDoesNotExist, 404, told));
}

#[test]
fn every_point_logged_with_its_id_is_there() {
    let (_dir, mlflow) = open();
    let id = mlflow.create_logged_model(&plain()).unwrap().model_id;
    let run = mlflow.create_run(&NewRun::default()).unwrap().info.run_id;
    let metric =
        |key, value, step, model_id| NewMetric { key, value, step, timestamp: 5, model_id, ..Default::default() };
    mlflow.log_metric(&run, &metric("loss", 1.0, 0, Some(id.as_str()))).unwrap();
    mlflow.log_metric(&run, &metric("loss", 0.5, 1, Some(id.as_str()))).unwrap();
    mlflow.log_metric(&run, &metric("loss", 0.4, 2, None)).unwrap();
    mlflow.log_batch(&run, &[metric("acc", 0.9, 0, Some(id.as_str()))], &[], &[]).unwrap();
    // Deleting the run keeps the model.
    mlflow.delete_run(&run).unwrap();
    let metrics = mlflow.logged_model(&id, false).unwrap().metrics;
    let points: Vec<(&str, f64, i64)> =
        metrics.iter().map(|metric| (metric.key.as_ref(), metric.value, metric.step)).collect();
    assert_eq!(points, [("acc", 0.9, 0), ("loss", 1.0, 0), ("loss", 0.5, 1)]);
    assert!(
        metrics.iter().all(|metric| metric.run_id.as_deref() == Some(&run) && metric.model_id.as_deref() == Some(&id))
    );
}

/// As MLflow's clients do it: a call for each model. A value that is logged again is a point again.
#[test]
fn a_point_logged_now_is_shared_by_models_and_by_nothing_else() {
    let (_dir, mlflow) = open();
    let run = mlflow.create_run(&NewRun::default()).unwrap().info.run_id;
    let models: Vec<String> = (0..2).map(|_| mlflow.create_logged_model(&plain()).unwrap().model_id).collect();
    let timestamp = mlflow.store().now().0 + 60_000;
    let log = |model: Option<usize>| {
        let model_id = model.map(|model| models[model].as_str());
        mlflow.log_metric(&run, &NewMetric { key: "acc", value: 1.0, timestamp, model_id, ..NewMetric::default() })
    };
    let counts = || {
        let of_models = models.iter().map(|id| mlflow.logged_model(id, false).unwrap().metrics.len());
        let of_run = mlflow.metric_history(&run, "acc", None, None).unwrap().0.values.len();
        (of_run, of_models.collect::<Vec<_>>())
    };
    log(None).unwrap();
    log(Some(0)).unwrap();
    assert_eq!(counts(), (2, vec![1, 0]));
    log(Some(1)).unwrap();
    assert_eq!(counts(), (2, vec![1, 1]));
    log(Some(0)).unwrap();
    assert_eq!(counts(), (3, vec![2, 1]));
}

/// In the log, sealed, and compacted.
#[test]
fn a_point_logged_for_several_models_is_of_each() {
    let (_dir, mlflow) = open();
    let run = mlflow.create_run(&NewRun::default()).unwrap().info.run_id;
    let models: Vec<String> = (0..3).map(|_| mlflow.create_logged_model(&plain()).unwrap().model_id).collect();
    let point = |model: usize, digest| NewMetric {
        key: "acc",
        value: 1.0,
        model_id: Some(&models[model]),
        dataset_name: Some("d"),
        dataset_digest: Some(digest),
        ..NewMetric::default()
    };
    mlflow.log_batch(&run, &[point(0, "1"), point(1, "1"), point(0, "1")], &[], &[]).unwrap();
    mlflow.log_metric(&run, &NewMetric { key: "acc", value: 1.0, ..NewMetric::default() }).unwrap();
    mlflow.log_metric(&run, &point(2, "1")).unwrap();
    mlflow.log_metric(&run, &point(2, "2")).unwrap();
    let check = |when: &str| {
        let counts: Vec<usize> =
            models.iter().map(|id| mlflow.logged_model(id, false).unwrap().metrics.len()).collect();
        assert_eq!(counts, [1, 1, 2], "{when}");
        assert_eq!(mlflow.metric_history(&run, "acc", None, None).unwrap().0.values, [1.0], "{when}");
    };
    check("in memory");
    mlflow.store().engine().seal().unwrap();
    check("sealed");
    mlflow.log_metric(&run, &point(1, "1")).unwrap();
    check("again");
    mlflow.store().engine().seal().unwrap();
    mlflow.store().engine().compact(&Default::default()).unwrap();
    check("compacted");
}
