//! These tests ask for what MLflow has no calls for: tables, histories of many runs, the log, the past.

use super::*;
use crate::mlflow::entity::View;
use crate::mlflow::{NewMetric, NewRun, Settings};
use crate::{LocalStore, Lsn, RunStatus};

struct Fixture {
    _dir: tempfile::TempDir,
    mlflow: Mlflow,
    runs: Vec<String>,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path().join("store")).unwrap();
    let settings = Settings::in_process(&store);
    let mlflow = Mlflow::new(store, settings);
    let experiment = mlflow.ensure_experiment("digits").unwrap();
    let mut runs = Vec::new();
    for number in 0..3 {
        let new = NewRun { experiment_id: Some(&experiment), start_time: number, ..NewRun::default() };
        let id = mlflow.create_run(&new).unwrap().info.run_id;
        for step in 0..4 {
            let value = (number * 10 + step) as f64;
            let metric = NewMetric { key: "loss", value, timestamp: step, step, ..NewMetric::default() };
            mlflow.log_metric(&id, &metric).unwrap();
        }
        if number > 0 {
            mlflow.log_param(&id, "lr", &format!("0.{number}")).unwrap();
        }
        runs.push(id);
    }
    Fixture { _dir: dir, mlflow, runs }
}

#[test]
fn an_experiment_is_made_once() {
    let fixture = fixture();
    let Fixture { mlflow, .. } = &fixture;
    let id = mlflow.ensure_experiment("digits").unwrap();
    assert_eq!(mlflow.ensure_experiment("digits").unwrap(), id);
    mlflow.delete_experiment(&id).unwrap();
    assert!(mlflow.ensure_experiment("digits").unwrap_err().message.contains("deleted"));
}

#[test]
fn histories_of_many_runs_and_keys() {
    let fixture = fixture();
    let Fixture { mlflow, runs, .. } = &fixture;
    let query = HistoriesQuery { runs: runs.clone(), ..HistoriesQuery::default() };
    let all = mlflow.histories(&query).unwrap();
    assert_eq!(all.series, [(0, 0, 4), (1, 0, 4), (2, 0, 4)]);
    assert_eq!(all.keys, ["loss"]);
    assert_eq!(all.values[4..8], [10.0, 11.0, 12.0, 13.0]);
    let keys = Some(vec!["none".to_owned(), "loss".to_owned()]);
    let part = mlflow.histories(&HistoriesQuery { keys, steps: Some((1, 2)), ..query.clone() }).unwrap();
    assert_eq!(part.series, [(0, 1, 2), (1, 1, 2), (2, 1, 2)]);
    let before = AsOf::Position(Lsn(all.position - 3));
    let past = mlflow.histories(&HistoriesQuery { at: Some(before), ..query }).unwrap();
    assert_eq!(past.position, all.position - 3);
    assert_eq!(past.series[2], (2, 0, 2));
    let absent = HistoriesQuery { runs: vec!["0".repeat(32)], ..HistoriesQuery::default() };
    assert!(mlflow.histories(&absent).is_err());
}

#[test]
fn a_table_has_the_columns_that_are_asked_for() {
    let fixture = fixture();
    let Fixture { mlflow, runs, .. } = &fixture;
    let query = RunsQuery {
        order_by: vec!["metrics.loss".to_owned()],
        view: View::ActiveOnly,
        limit: 10,
        ..RunsQuery::default()
    };
    let columns = ["params.lr", "metrics.loss", "run_id", "metrics.loss.min", "metrics.loss.count", "tags.none"];
    let asked = columns.map(str::to_owned).to_vec();
    let table = mlflow.run_columns(&RunsQuery { columns: Some(asked.clone()), ..query.clone() }).unwrap();
    assert_eq!(table.rows, 3);
    assert_eq!(table.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>(), asked);
    let ColumnValues::Text(lr) = &table.columns[0].values else { panic!() };
    assert_eq!(
        (&lr.offsets[..], &lr.text[..], &lr.present[..]),
        (&[0, 0, 3, 6][..], "0.10.2", &[false, true, true][..])
    );
    assert_eq!(table.columns[1].values, ColumnValues::Number(vec![3.0, 13.0, 23.0], Vec::new()));
    let ColumnValues::Text(ids) = &table.columns[2].values else { panic!() };
    assert_eq!(ids.text, runs.concat());
    assert_eq!(table.columns[3].values, ColumnValues::Number(vec![0.0, 10.0, 20.0], Vec::new()));
    assert_eq!(table.columns[4].values, ColumnValues::Count(vec![4, 4, 4], Vec::new()));
    let ColumnValues::Text(none) = &table.columns[5].values else { panic!() };
    assert_eq!(none.present, [false, false, false]);

    let all = mlflow.run_columns(&query).unwrap();
    let names: Vec<_> = all.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names[..2], ["run_id", "run_name"]);
    assert_eq!(names[8..], ["metrics.loss", "params.lr", "tags.mlflow.runName"]);
    let unknown = RunsQuery { columns: Some(vec!["nope".to_owned()]), ..query.clone() };
    assert!(mlflow.run_columns(&unknown).unwrap_err().message.contains("no column 'nope'"));
    let named = RunsQuery { experiments: Some(vec!["Default".to_owned()]), ..query };
    assert_eq!(mlflow.run_columns(&named).unwrap().rows, 0);
}

#[test]
fn the_log_is_followed_from_any_position() {
    let fixture = fixture();
    let Fixture { mlflow, runs, .. } = &fixture;
    mlflow.store().flush().unwrap();
    let mut page = mlflow.tail(0, 2, 0).unwrap();
    assert_eq!(page.events[0].event, "ExperimentCreated");
    assert_eq!(page.next, 3);
    let (mut events, mut points) = (page.events, page.points);
    loop {
        page = mlflow.tail(page.next, 2, 0).unwrap();
        if page.events.is_empty() && page.points.is_empty() {
            break;
        }
        events.extend(page.events);
        points.extend(page.points);
    }
    assert_eq!(points.len(), 12);
    assert_eq!((points[0].run_id.as_str(), points[0].key.as_str()), (runs[0].as_str(), "loss"));
    let created = events.iter().find(|event| event.event == "RunCreated").unwrap();
    assert!(created.fields.contains(&("run_id".to_owned(), Field::Text(runs[0].clone()))), "{created:?}");
    assert_eq!(page.next, mlflow.positions().unwrap().durable.0 + 1);
}

#[test]
fn the_past_of_a_run_and_of_its_metrics() {
    let fixture = fixture();
    let Fixture { mlflow, runs, .. } = &fixture;
    let now = mlflow.positions().unwrap().published;
    mlflow.set_tag(&runs[2], "mlflow.runName", "late").unwrap();
    let past = mlflow.run_as_of(&runs[2], AsOf::Position(now)).unwrap().run.unwrap();
    assert_ne!(past.info.run_name, "late");
    assert_eq!(past.metrics[0].value, 23.0);
    assert_eq!(mlflow.run_as_of(&runs[2], AsOf::Position(Lsn(1))).unwrap().run, None);
    let page = mlflow.metric_history_as_of(&runs[2], "loss", AsOf::Position(now), 1, 2).unwrap();
    assert_eq!((page.columns.values, page.more), (vec![21.0, 22.0], true));
    let changes = mlflow.entity_changes(&EntityName::Run(runs[2].clone())).unwrap();
    assert!(changes.changes.last().unwrap().changes.iter().any(|line| line.contains("-> late")));
    assert!(mlflow.entity_changes(&EntityName::RegisteredModel("none".to_owned())).is_err());
}

/// Whatever a table, a curve and the registry answered at a position, they answer as of that position for ever.
#[test]
fn the_past_answers_as_it_did_when_it_was_now() {
    let Fixture { _dir, mlflow, .. } = fixture();
    let experiment = mlflow.create_experiment("letters", None, &[]).unwrap();
    let filters = [
        "",
        "metrics.loss < 2.5",
        "params.lr = '0.1' or tags.kind = 'b'",
        "metrics.loss.max > 3",
        "status = 'FINISHED'",
    ];
    let orders: [&[&str]; 4] = [&[], &["metrics.loss"], &["params.lr DESC", "name"], &["metrics.loss.max DESC"]];
    let columns =
        ["run_id", "run_name", "status", "lifecycle", "metrics.loss", "metrics.loss.max", "params.lr", "tags.kind"];
    let ask = |at: Option<AsOf>| {
        let mut answers = Vec::new();
        for (filter, order) in filters.iter().flat_map(|filter| orders.iter().map(move |order| (filter, order))) {
            for view in [View::ActiveOnly, View::DeletedOnly, View::All] {
                let table = RunsQuery {
                    experiments: Some(vec![experiment.clone()]),
                    filter: (*filter).to_owned(),
                    order_by: order.iter().map(|key| (*key).to_owned()).collect(),
                    view,
                    limit: 2,
                    columns: Some(columns.iter().map(|name| (*name).to_owned()).collect()),
                };
                answers.push(mlflow.run_window(&WindowQuery { table, offset: 1, at }).unwrap());
            }
        }
        answers
    };
    let mut known = Vec::new();
    let mut runs: Vec<String> = Vec::new();
    for step in 0..12 {
        // Two runs each time.
        let first = (step / 6) as usize * 2;
        match step % 6 {
            0 | 1 => {
                let name = format!("run {step}");
                let new = NewRun {
                    experiment_id: Some(&experiment),
                    run_name: Some(&name),
                    start_time: step,
                    ..NewRun::default()
                };
                runs.push(mlflow.create_run(&new).unwrap().info.run_id);
            }
            2 => mlflow.log_param(&runs[first + 1], "lr", ["0.1", "0.2"][first / 2]).unwrap(),
            3 => mlflow.set_tag(&runs[first], "kind", ["a", "b"][first / 2]).unwrap(),
            4 => drop(mlflow.update_run(&runs[first], Some(RunStatus::Finished), Some(step), None).unwrap()),
            _ => mlflow.delete_run(&runs[first]).unwrap(),
        }
        if !matches!(step % 6, 5) && step < 5 {
            for (at, run) in runs.iter().enumerate() {
                let value = 4.0 - step as f64 + at as f64;
                mlflow
                    .log_metric(run, &NewMetric { key: "loss", value, timestamp: step, step, ..NewMetric::default() })
                    .unwrap();
            }
        }
        known.push((mlflow.positions().unwrap().published, ask(None)));
    }
    assert!(known.iter().any(|(_, answers)| answers.iter().any(|window| window.total > 1)), "nothing was found");
    for (position, then) in &known {
        assert_eq!(&ask(Some(AsOf::Position(*position))), then, "at {position:?}");
    }
}
