//! The vectors of the compatibility document, with their exact answers and the fragments of their messages; then what
//! goes beyond MLflow.

use tempfile::TempDir;

use super::*;
use crate::mlflow::entity::{Dataset, DatasetInput, View};
use crate::mlflow::page_token::{page_text, text_token};
use crate::mlflow::{ErrorCode, Mlflow, NewMetric, NewRun, Places, Settings};
use crate::{LocalStore, LoggedModelSpec, LoggedModelStatus, RegisteredModelSpec, RunStatus, VersionSpec};

struct Shop {
    mlflow: Mlflow,
    /// Name and id of each run.
    runs: Vec<(String, String)>,
    _dir: TempDir,
}

fn shop() -> Shop {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::options(dir.path().join("store")).background(false).open().unwrap();
    let settings = Settings {
        places: Places::new("mlflow-artifacts:/", "/srv"),
        long_values: crate::mlflow::LongValues::Keep,
        metric_durability: crate::Durability::Buffered,
        process: None,
        author: None,
    };
    Shop { mlflow: Mlflow::new(store, settings), runs: Vec::new(), _dir: dir }
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn metric(key: &str, value: f64) -> NewMetric<'_> {
    NewMetric { key, value, timestamp: 1, step: 0, model_id: None, dataset_name: None, dataset_digest: None }
}

fn input(name: &str, digest: &str, context: Option<&str>) -> DatasetInput {
    let dataset = Dataset { name: name.to_owned(), digest: digest.to_owned(), ..Dataset::default() };
    DatasetInput { tags: context.map(|context| pair("mlflow.data.context", context)).into_iter().collect(), dataset }
}

impl Shop {
    #[allow(clippy::too_many_arguments)]
    fn run(
        &mut self,
        name: &str,
        start_time: i64,
        user_id: &str,
        status: RunStatus,
        end: Option<i64>,
        params: &[(String, String)],
        tags: &[(String, String)],
        metrics: &[NewMetric<'_>],
        datasets: &[DatasetInput],
    ) {
        let new = NewRun { start_time, user_id, run_name: Some(name), ..NewRun::default() };
        let id = self.mlflow.create_run(&new).unwrap().info.run_id;
        self.mlflow.update_run(&id, Some(status), end, None).unwrap();
        self.mlflow.log_batch(&id, metrics, params, tags).unwrap();
        self.mlflow.log_inputs(&id, datasets, &[]).unwrap();
        self.runs.push((name.to_owned(), id));
    }

    /// The runs of the document.
    fn with_runs() -> Self {
        let mut shop = shop();
        shop.run(
            "A",
            100,
            "ann",
            RunStatus::Finished,
            Some(200),
            &[pair("lr", "0.1"), pair("opt", "SGD"), pair("p x", "1"), pair("empty", "")],
            &[pair("kind", "abl"), pair("team.x", "1"), pair("mlflow.note.content", "it's")],
            &[metric("loss", 1.0), metric("acc", 0.5)],
            &[input("d1", "x1", Some("train")), input("d2", "x2", Some("eval"))],
        );
        shop.run(
            "B",
            200,
            "bob",
            RunStatus::Failed,
            Some(300),
            &[pair("lr", "0.01"), pair("opt", "sgd")],
            &[pair("kind", "Abl")],
            &[metric("loss", f64::NAN), metric("acc", 0.9)],
            &[input("d1", "x1", Some("eval"))],
        );
        let kind = [pair("kind", "other_%")];
        shop.run(
            "C",
            300,
            "",
            RunStatus::Running,
            None,
            &[pair("lr", "10")],
            &kind,
            &[metric("loss", f64::INFINITY)],
            &[],
        );
        let metrics = [metric("loss", -1.0), metric("m/x y", 2.0)];
        shop.run("D", 300, "", RunStatus::Killed, Some(500), &[], &[], &metrics, &[input("d3", "x3", None)]);
        let (opt, kind) = ([pair("opt", "adam")], [pair("kind", "")]);
        shop.run("a", 400, "", RunStatus::Scheduled, None, &opt, &kind, &[metric("loss", 0.0)], &[]);
        shop
    }

    fn find(&self, filter: &str, order: &[&str]) -> ApiResult<String> {
        let filter = filter.replace("<A>", &self.id("A"));
        let found = self.mlflow.search_runs(&texts(&["0"]), &filter, View::ActiveOnly, 1000, &texts(order), None)?;
        assert_eq!(found.next_page_token, None);
        Ok(self.names(&found))
    }

    fn names(&self, found: &Paged<crate::mlflow::entity::Run>) -> String {
        found.items.iter().map(|run| run.info.run_name.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn id(&self, name: &str) -> String {
        self.runs.iter().find(|(known, _)| known == name).map(|(_, id)| id.clone()).unwrap_or_default()
    }

    /// C and D started together: which comes first is up to their ids.
    fn in_default_order(&self, wanted: &str) -> String {
        if self.id("C") < self.id("D") { wanted.to_owned() } else { swapped(wanted) }
    }
}

/// With C and D exchanged, if they are neighbours.
fn swapped(names: &str) -> String {
    names.replace("C D", "D C")
}

fn refusal<T: std::fmt::Debug>(result: ApiResult<T>) -> String {
    let error = result.unwrap_err();
    assert_eq!((error.code, error.status()), (ErrorCode::InvalidParameterValue, 400), "{error}");
    error.message
}

#[test]
fn filters_of_runs() {
    let shop = Shop::with_runs();
    for (filter, wanted) in [
        ("", "a C D B A"),
        ("metrics.loss < 1", "a D"),
        ("metrics.loss != 1", "a C D B"),
        ("metrics.loss > 1e300", "C"),
        ("metrics.acc = .5", "A"),
        ("metrics.\"m/x y\" = 2", "D"),
        ("metrics.`m/x y` = 2", "D"),
        ("metrics.'loss' = 0", "a"),
        ("`metrics`.loss = 0", "a"),
        ("metric.loss = 0", "a"),
        ("params.lr = \"0.1\"", "A"),
        ("params.lr != '0.1'", "C B"),
        ("params.opt LIKE '%gd'", "B"),
        ("params.opt ilike 'SGD'", "B A"),
        ("params.opt is null", "C D"),
        ("params.empty IS NOT NULL", "A"),
        ("params. lr = '0.1'", ""),
        ("parameters.`p x` = '1'", "A"),
        ("tags.team.x = '1'", "A"),
        ("tags.kind != 'abl'", "a C B"),
        ("tags.kind IS NULL", "D"),
        ("tags.kind LIKE 'other\\_%'", ""),
        ("tags.kind LIKE 'other_%'", "C"),
        ("tags.`mlflow.note.content` = \"it's\"", "A"),
        ("tags.`mlflow.note.content` = 'it''s'", ""),
        ("status != 'FINISHED'", "a C D B"),
        ("status = 'finished'", ""),
        ("run_name ILIKE 'a'", "a A"),
        ("attributes.`Run name` = 'B'", "B"),
        ("run.user_id LIKE 'a%'", "A"),
        ("start_time < 250.5", "B A"),
        ("created >= 400", "a"),
        ("end_time != 300", "D A"),
        ("run_id NOT IN ('<A>')", "a C D B"),
        ("run_id IN ('<A>',)", "A"),
        ("run_id in (\"<A>\")", "A"),
        ("dataset.name = 'd1' AND dataset.context = 'eval'", "B A"),
        ("dataset.name != 'd1'", "D A"),
        ("datasets.digest IN ('x2', 'x3')", "D A"),
        ("metrics.loss > -5 metrics.acc > 0", "A"),
        ("AND metrics.loss > -5 AND", "a C D A"),
        ("and metrics.loss > -5 AND and metrics.acc > 0", "A"),
        ("tags.kind = 'abl' AND tags.kind = 'Abl'", ""),
        ("artifact_uri LIKE 'mlflow-artifacts:/0/%/artifacts'", "a C D B A"),
        ("artifact_uri = 'mlflow-artifacts:/0/<A>/artifacts'", "A"),
        ("artifact_uri LIKE 'artifacts/%'", ""),
    ] {
        assert_eq!(shop.find(filter, &[]).unwrap(), shop.in_default_order(wanted), "{filter}");
    }
}

#[test]
fn refused_filters_of_runs() {
    let shop = Shop::with_runs();
    for (filter, wanted) in [
        ("\"metrics\".loss = 0", "Invalid entity type"),
        ("METRICS.loss > 0", "Invalid entity type"),
        ("metrics.loss = '1'", "Expected numeric value type for metric"),
        ("metrics.loss = abc", "Expected numeric value type for metric"),
        ("metrics.loss = NaN", "Expected numeric value type for metric"),
        ("metrics.loss == 1", "Invalid comparator"),
        ("metrics.loss <> 1", "Invalid comparator"),
        ("metrics.loss IS NULL", "IS NULL / IS NOT NULL is only supported for tags and params"),
        ("params.lr > '0.1'", "Invalid comparator"),
        ("params.lr NOT LIKE '0.1'", "Invalid comparator"),
        ("params.lr RLIKE '0.1'", "Invalid comparator"),
        ("params.lr LIKE 0.1", "Expected a quoted string value for parameter"),
        ("tags.kind = 1", "Expected a quoted string value for tag"),
        ("params.opt IN ('SGD')", "Expected a quoted string value"),
        ("params.p x = '1'", "Invalid clause(s)"),
        ("params.lr = '0.1", "Invalid clause(s)"),
        ("params.lr = `0.1`", "either not quoted or unidentified quote types"),
        ("params.lr = abc", "either not quoted or unidentified quote types"),
        ("status IN ('FAILED')", "comparison with a list"),
        ("run_name IN ('A')", "comparison with a list"),
        ("start_time = '300'", "Expected numeric value type for numeric attribute"),
        ("lifecycle_stage = 'x'", "Invalid attribute key"),
        ("experiment_id = '1'", "Invalid attribute key"),
        ("run_uuid = 'x'", "Invalid attribute key"),
        ("run_id IN ()", "expected a non-empty list of string values, but got empty list"),
        ("run_id IN (abc)", "While parsing a list"),
        ("run_id IN (1)", "While parsing a list"),
        ("run_id IN (,)", "but got ill-formed list"),
        ("run_id IN ('a'", "Invalid clause(s)"),
        ("run_id IN 'a'", "Invalid clause(s)"),
        ("dataset.profile = 'x'", "Invalid dataset key"),
        ("metrics.loss > -5, metrics.acc > 0", "Invalid clause(s)"),
        ("metrics.loss", "Invalid clause(s)"),
        ("x > 1;", "Invalid clause(s)"),
        ("metrics.a > 1; metrics.b > 2", "Search filter contained multiple expression"),
        ("  ", "Invalid filter '  '. Could not be parsed."),
        ("1 < metrics.loss", "Expected 'Identifier' found"),
        ("metrics.loss BETWEEN 1 AND 2", "Invalid clause(s)"),
        ("metrics.loss > 1 -- x", "Invalid clause(s)"),
        ("metrics.loss > 1 /* x */", "Invalid clause(s)"),
        ("metrics.loss > +1", "Invalid clause(s)"),
        ("metrics.loss > 1/2", "Expected numeric value type for metric. Found 1/2"),
        // Beyond MLflow, but not well formed there either.
        ("BETWEEN 1 AND 2", "Invalid clause(s) in filter string: 'BETWEEN', '1', '2'"),
        ("metrics.loss > 1 AND foo bar", "Invalid clause(s) in filter string: 'foo bar'"),
        ("metrics.loss > 1 LIMIT 5", "Invalid clause(s) in filter string: 'LIMIT', '5'"),
        ("run_name =", "Invalid clause(s) in filter string: 'run_name', '='"),
        ("run_name 'x'", "Invalid clause(s) in filter string: 'run_name', ''x''"),
        ("run_name = AND metrics.loss > 1", "Invalid clause(s) in filter string: 'run_name', '='"),
        ("run_name IN ('x'", "Invalid clause(s) in filter string: 'run_name', 'IN', '(', ''x''"),
        ("tags.k = 'v' AND run_name BETWEEN 'a' AND 'b'", "filter string: 'run_name', 'BETWEEN', ''a'', ''b''"),
        ("metrics.a > 1,metrics.b > 2", "Invalid clause(s) in filter string: 'metrics.a > 1,metrics.b > 2'"),
        ("select = 'x'", "Invalid clause(s) in filter string: 'select', '=', ''x''"),
        ("run_name = true", "Invalid clause(s) in filter string: 'run_name', '=', 'true'"),
        ("OR metrics.loss > 1", "Invalid clause(s) in filter string: 'OR'"),
        ("metrics.loss > 1 OR", "Invalid clause(s) in filter string: 'OR'"),
        ("()", "Invalid clause(s)"),
        ("(metrics.loss > 1", "Invalid clause(s)"),
        ("metrics.loss > 1)", "Invalid clause(s)"),
        ("NOT", "Invalid clause(s)"),
        ("NOT AND metrics.loss > 1", "Invalid clause(s)"),
    ] {
        let message = refusal(shop.find(filter, &[]));
        assert!(message.contains(wanted), "{filter}: {message}");
    }
    let deep = format!("{}metrics.loss > 1{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(refusal(shop.find(&deep, &[])).contains("nested deeper"));
    let many = "metrics.loss > 1 ".repeat(10_000);
    assert!(refusal(shop.find(&many, &[])).contains("more than 4096"));
}

/// What MLflow refuses and we answer. `params.lr = 0.1` is a refusal in MLflow (`Expected a quoted string value for
/// parameter`): here an unquoted number compares numbers, for all of `= != < <= > >=`.
#[test]
fn filters_beyond_mlflow() {
    let shop = Shop::with_runs();
    for (filter, wanted) in [
        ("params.lr = 0.1", "A"),
        ("params.lr = 1e-1", "A"),
        ("params.lr != 0.1", "C B"),
        ("params.lr < 0.05", "B"),
        ("params.lr >= 0.1", "C A"),
        // Text that is no number matches no comparison of numbers.
        ("params.opt != 1", ""),
        ("metrics.loss = 0 OR tags.kind = 'abl'", "a A"),
        ("(metrics.loss = 0 or tags.kind = 'abl') and status = 'FINISHED'", "A"),
        ("metrics.loss = 0 OR tags.kind = 'abl' AND status = 'FAILED'", "a"),
        ("NOT tags.kind = 'abl'", "a C D B"),
        ("not (tags.kind = 'abl' OR metrics.loss = 0)", "C D B"),
        ("NOT NOT metrics.loss = 0", "a"),
        ("((metrics.loss = 0))", "a"),
        ("NOT run_id IN ('<A>') AND NOT status = 'FAILED'", "a C D"),
    ] {
        assert_eq!(shop.find(filter, &[]).unwrap(), shop.in_default_order(wanted), "{filter}");
    }

    // Aggregates of a series, unless a run holds that very key.
    let a = shop.id("A");
    for (step, value) in [(1, 5.0), (2, -3.0), (3, 2.0)] {
        shop.mlflow.log_metric(&a, &NewMetric { step, ..metric("loss", value) }).unwrap();
    }
    let find = |shop: &Shop, filter: &str| shop.find(filter, &[]).unwrap();
    assert_eq!(find(&shop, "metrics.loss.min < -2"), "A");
    assert_eq!(find(&shop, "metrics.loss.max = 5"), "A");
    assert_eq!(find(&shop, "metrics.loss.first = 1"), "A");
    assert_eq!(find(&shop, "metrics.loss.count > 1"), "A");
    assert_eq!(find(&shop, "metrics.loss = 2"), "A");
    assert!(shop.find("metrics.loss IS NOT NULL OR metrics.loss.max > 0", &[]).is_err());
    // Quotes and backticks make it a key.
    for filter in ["metrics.`loss.max` = 5", "metrics.\"loss.max\" = 5", "metrics.'loss.max' = 5"] {
        assert_eq!(find(&shop, filter), "", "{filter}");
    }
    assert_eq!(shop.find("metrics.loss.max > -100", &["metrics.loss.max DESC"]).unwrap(), "C A a D");
    shop.mlflow.log_metric(&shop.id("a"), &metric("loss.max", 7.0)).unwrap();
    assert_eq!(find(&shop, "metrics.loss.max = 5"), "");
    assert_eq!(find(&shop, "metrics.loss.max = 7"), "a");
    // A key of another experiment does not count.
    let other = shop.mlflow.create_experiment("other", None, &[]).unwrap();
    let new = NewRun { experiment_id: Some(&other), run_name: Some("E"), ..NewRun::default() };
    let e = shop.mlflow.create_run(&new).unwrap().info.run_id;
    shop.mlflow.log_metric(&e, &metric("loss", 9.0)).unwrap();
    let search = |filter: &str| {
        let found =
            shop.mlflow.search_runs(std::slice::from_ref(&other), filter, View::ActiveOnly, 10, &[], None).unwrap();
        shop.names(&found)
    };
    assert_eq!(search("metrics.loss.max = 9"), "E");
}

#[test]
fn orders_of_runs() {
    let shop = Shop::with_runs();
    for (order, wanted) in [
        (&["metrics.loss"][..], "D a A C B"),
        (&["metrics.loss DESC"], "C A a D B"),
        (&["metric.acc asc"], "A B a C D"),
        (&["params.lr DESC"], "C A B a D"),
        (&["params.lr"], "B A C a D"),
        (&["tags.kind"], "a B A C D"),
        (&["attributes.status DESC", "metrics.loss"], "a C D A B"),
        (&["end_time DESC"], "D B A a C"),
        (&["metrics.`m/x y` DESC", "metrics.\"loss\""], "D a A C B"),
        (&["run_name"], "A B C D a"),
        (&["user_id desc"], "B A a C D"),
        (&["Created"], "A B C D a"),
    ] {
        // Where only C and D are equal up to their ids, these decide.
        let tied = [&["metric.acc asc"][..], &["user_id desc"], &["Created"]].contains(&order);
        let wanted = if tied { shop.in_default_order(wanted) } else { wanted.to_owned() };
        assert_eq!(shop.find("", order).unwrap(), wanted, "{order:?}");
    }
    let mut ids: Vec<_> = shop.runs.clone();
    ids.sort_by(|a, b| b.1.cmp(&a.1));
    let wanted: Vec<_> = ids.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(shop.find("", &["artifact_uri DESC"]).unwrap(), wanted.join(" "));
    assert_eq!(shop.find("", &["run_id DESC"]).unwrap(), wanted.join(" "));
    for (order, wanted) in [
        (&["run name"][..], "Invalid ordering key in order_by clause"),
        (&["metrics.loss FOO"], "Invalid ordering key in order_by clause"),
        (&["metrics.loss, metrics.acc"], "Invalid order_by clause"),
        (&["x ASC ASC"], "Invalid order_by clause"),
        (&[""], "Invalid order_by clause"),
        (&["foo"], "Invalid attribute key"),
        (&["experiment_id"], "Invalid attribute key"),
        (&["duration"], "Invalid attribute key"),
        (&["dataset.name"], "Invalid identifier type 'dataset'"),
        (&["metrics.loss", "metric.`loss` DESC"], "`order_by` contains duplicate fields"),
        (&["start_time", "created"], "`order_by` contains duplicate fields"),
    ] {
        let message = refusal(shop.find("", order));
        assert!(message.contains(wanted), "{order:?}: {message}");
    }
}

#[test]
fn views_and_experiments_of_runs() {
    let shop = Shop::with_runs();
    shop.mlflow.delete_run(&shop.id("B")).unwrap();
    let find = |ids: &[&str], view| {
        let found = shop.mlflow.search_runs(&texts(ids), "", view, 1000, &texts(&["run_name"]), None).unwrap();
        shop.names(&found)
    };
    assert_eq!(find(&["0"], View::ActiveOnly), "A C D a");
    assert_eq!(find(&["0"], View::DeletedOnly), "B");
    assert_eq!(find(&["0", "77", "0", "-3"], View::All), "A B C D a");
    assert_eq!(find(&[], View::All), "");
    let message = refusal(shop.mlflow.search_runs(&texts(&["x"]), "", View::All, 10, &[], None));
    assert!(message.contains("Invalid experiment ID 'x'. Experiment ID must be a valid integer."));
    let found = shop.mlflow.search_runs(&texts(&["0"]), "run_name = 'A'", View::All, 1, &[], None).unwrap();
    assert_eq!(found.items[0], shop.mlflow.run(&shop.id("A")).unwrap());
}

#[test]
fn pages_of_runs() {
    let mut shop = Shop::with_runs();
    let page = |shop: &Shop, order: &str, token: Option<&str>| {
        shop.mlflow.search_runs(&texts(&["0"]), "", View::ActiveOnly, 2, &texts(&[order]), token).unwrap()
    };
    let first = page(&shop, "run_name", None);
    assert_eq!(shop.names(&first), "A B");
    let token = first.next_page_token.unwrap();
    assert_eq!(page_offset(Some(&token)).unwrap(), 2);
    // A run that comes before the place of the token shifts nothing.
    shop.run("0", 1, "", RunStatus::Running, None, &[], &[], &[], &[]);
    let second = page(&shop, "run_name", Some(&token));
    assert_eq!(shop.names(&second), "C D");
    let third = page(&shop, "run_name", second.next_page_token.as_deref());
    assert_eq!((shop.names(&third).as_str(), &third.next_page_token), ("a", &None));
    // MLflow's own tokens, and ours under another order, count.
    assert_eq!(shop.names(&page(&shop, "run_name", Some(&page_token(2)))), "B C");
    assert_eq!(shop.names(&page(&shop, "run_name DESC", Some(&token))), "C B");
    assert_eq!(shop.names(&page(&shop, "run_name", Some(&page_token(99)))), "");
    let ask = |token: &str, max_results| {
        shop.mlflow.search_runs(&texts(&["0"]), "", View::ActiveOnly, max_results, &[], Some(token))
    };
    assert!(refusal(ask("!!", 2)).contains("Invalid page token, could not base64-decode"));
    assert!(refusal(ask(&text_token("{}"), 2)).contains("Invalid page token, parsed value={}"));
    assert!(refusal(ask(&text_token("{\"offset\": \"x\"}"), 2)).contains("Invalid page token, not stringable x"));
    assert!(refusal(ask("", 50_001)).contains("Invalid value 50001 for parameter 'max_results' supplied"));
    assert!(
        refusal(ask("", 0))
            .contains("Invalid value 0 for parameter 'max_results' supplied. It must be a positive integer")
    );
    assert!(refusal(ask("", -1)).contains("It must be a positive integer"));
    assert_eq!(ask("", 50_000).unwrap().items.len(), 6);
}

#[test]
fn experiments() {
    let Shop { mlflow, _dir, .. } = shop();
    for (name, tags) in [("one", vec![pair("k", "v"), pair("l", "")]), ("Two", vec![pair("k", "V")]), ("three", vec![])]
    {
        mlflow.create_experiment(name, None, &tags).unwrap();
    }
    mlflow.delete_experiment("3").unwrap();
    let find = |view, filter: &str, order: &[&str]| -> ApiResult<String> {
        let found = mlflow.search_experiments(view, 100, filter, &texts(order), None)?;
        Ok(found.items.iter().map(|experiment| experiment.name.as_str()).collect::<Vec<_>>().join(" "))
    };
    let by_id = &["experiment_id"][..];
    for (filter, wanted) in [
        ("", "Default one Two"),
        ("name = 'one'", "one"),
        ("attribute.name LIKE 'T%'", "Two"),
        ("name ILIKE 't%'", "Two"),
        ("`name` != \"one\"", "Default Two"),
        ("experiment_id = '1'", "one"),
        ("experiment_id != '01'", "Default Two"),
        ("experiment_id IN ('1', '2', '3')", "one Two"),
        ("experiment_id NOT IN ('1')", "Default Two"),
        ("creation_time > 0 AND last_update_time >= 0", "Default one Two"),
        ("creation_time < 5", ""),
        ("tags.k = 'v'", "one"),
        ("tag.`k` != 'v'", "Two"),
        ("tags.k ILIKE 'V'", "one Two"),
        ("tags.k is null", "Default"),
        ("tags.l IS NOT NULL", "one"),
        ("tags.`mlflow.experiment.isGateway` IS NULL", "Default one Two"),
        // Beyond MLflow.
        ("name = 'one' OR tags.k = 'V'", "one Two"),
        ("NOT (name = 'one')", "Default Two"),
    ] {
        assert_eq!(find(View::ActiveOnly, filter, by_id).unwrap(), wanted, "{filter}");
    }
    assert_eq!(find(View::DeletedOnly, "", by_id).unwrap(), "three");
    assert_eq!(find(View::All, "", &["name"]).unwrap(), "Default Two one three");
    assert_eq!(find(View::All, "", &["attribute.name DESC"]).unwrap(), "three one Two Default");
    assert_eq!(find(View::All, "", &["experiment_id DESC"]).unwrap(), "three Two one Default");
    assert_eq!(find(View::All, "", &["last_update_time DESC", "name"]).unwrap().split(' ').count(), 4);
    for (filter, wanted) in [
        ("attributes.name = 'x'", "Invalid entity type"),
        ("params.k = 'x'", "Invalid entity type"),
        ("foo = 'x'", "Invalid attribute key"),
        ("experiment_id = 15", "Expected a quoted string value"),
        ("experiment_id = 'x'", "Invalid experiment ID 'x'"),
        ("experiment_id LIKE '1%'", "Invalid comparator"),
        ("name IN ('x')", "comparison with a list"),
        ("name like 'x'", "Invalid comparator"),
        ("tags.k ilike 'x'", "Invalid comparator"),
        ("experiment_id in ('1')", "Invalid comparator"),
        ("creation_time > 1.5", "Invalid value for numeric attribute"),
        ("creation_time > '1'", "Expected numeric value type for numeric attribute"),
        ("name IS NULL", "IS NULL / IS NOT NULL is only supported for tags"),
        ("tags.k = 1", "Expected a quoted string value"),
        (" ", "Could not be parsed"),
    ] {
        let message = refusal(find(View::All, filter, &[]));
        assert!(message.contains(wanted), "{filter}: {message}");
    }
    for (order, wanted) in [
        ("tags.k", "Invalid order_by entity: tag"),
        ("foo", "Invalid attribute key"),
        ("name FOO", "Invalid ordering key"),
        ("params.x", "Invalid entity type"),
    ] {
        let message = refusal(find(View::All, "", &[order]));
        assert!(message.contains(wanted), "{order}: {message}");
    }
    let pages = |max_results, token: Option<&str>| mlflow.search_experiments(View::All, max_results, "", &[], token);
    let first = pages(3, None).unwrap();
    assert_eq!(first.next_page_token.as_deref(), Some(page_token(3).as_str()));
    assert_eq!(pages(3, first.next_page_token.as_deref()).unwrap().items.len(), 1);
    assert_eq!(pages(4, None).unwrap().next_page_token, None);
    assert!(refusal(pages(0, None)).contains("It must be a positive integer"));
    let message = refusal(pages(50_001, None));
    assert!(message.contains("Invalid value 50001 for parameter 'max_results' supplied. It must be at most 50000"));
}

#[test]
fn experiments_of_one_moment() {
    let clock = std::sync::Arc::new(crate::engine::ManualClock::at(crate::TimestampMs(1000)));
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::options(dir.path().join("store")).background(false).clock(clock).open().unwrap();
    let mlflow = Mlflow::new(store, Settings::with_root("mlflow-artifacts:/", "/srv"));
    mlflow.create_experiment("x", None, &[]).unwrap();
    mlflow.create_experiment("y", None, &[]).unwrap();
    let ids = |order: &[&str]| {
        let found = mlflow.search_experiments(View::All, 10, "", &texts(order), None).unwrap();
        found.items.into_iter().map(|experiment| experiment.experiment_id).collect::<Vec<_>>()
    };
    // By default ids ascend; behind a given order they descend.
    assert_eq!(ids(&[]), ["0", "1", "2"]);
    assert_eq!(ids(&["creation_time"]), ["2", "1", "0"]);
}

#[test]
fn registered_models_and_versions() {
    let Shop { mlflow, _dir, .. } = shop();
    let store = mlflow.store();
    store.create_registered_model(RegisteredModelSpec::named("b").tag("k", "v")).unwrap();
    store.create_registered_model(RegisteredModelSpec::named("A")).unwrap();
    let prompt = RegisteredModelSpec::named("p").tag("mlflow.prompt.is_prompt", "true");
    store.create_registered_model(prompt).unwrap();
    let run = crate::new_run_id().unwrap();
    store.create_version("b", VersionSpec::from_source("s3://x/1").run(run).tag("t", "1")).unwrap();
    store.create_version("b", VersionSpec::from_source("s3://x/2").tag("t", "2")).unwrap();
    store.create_version("A", VersionSpec::from_source("s3://y")).unwrap();
    let version = VersionSpec::from_source("prompt").tag("mlflow.prompt.is_prompt", "true");
    store.create_version("p", version).unwrap();
    store.create_version("b", VersionSpec::from_source("s3://x/3")).unwrap();
    store.delete_version("b", 3).unwrap();
    let models = |filter: &str, order: &[&str]| -> ApiResult<String> {
        let found = mlflow.search_registered_models(filter, 100, &texts(order), None)?;
        Ok(found.items.iter().map(|model| model.name.as_str()).collect::<Vec<_>>().join(" "))
    };
    for (filter, wanted) in [
        ("", "A b"),
        ("name = 'b'", "b"),
        ("name = 'p'", ""),
        ("name != 'b'", "A"),
        ("name ilike 'a'", "A"),
        ("attribute.name IN ('A', 'b', 'p')", "A b"),
        ("name NOT IN ('A')", "b"),
        ("tags.k = 'v'", "b"),
        ("tags.k != 'w'", "b"),
        ("tag.`k` LIKE '_'", "b"),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", "p"),
        ("tags.`mlflow.prompt.is_prompt` != 'false'", "p"),
        ("tags.`mlflow.prompt.is_prompt` = 'false'", "A b"),
        ("tags.`mlflow.prompt.is_prompt` != 'true'", "A b"),
        ("tags.`mlflow.prompt.is_prompt` = 'true' AND name = 'p'", "p"),
        ("name = 'A' OR tags.k = 'v'", "A b"),
        ("NOT name = 'A'", "b"),
    ] {
        assert_eq!(models(filter, &[]).unwrap(), wanted, "{filter}");
    }
    assert_eq!(models("", &["name DESC"]).unwrap(), "b A");
    assert_eq!(models("", &["timestamp DESC", "name"]).unwrap().split(' ').count(), 2);
    for (filter, wanted) in [
        ("`name` = 'x'", "Invalid attribute key"),
        ("run_id = 'x'", "Invalid attribute key"),
        ("tags.k IS NULL", "IS NULL"),
        ("name = 1", "Expected a quoted string value"),
        ("name > 'x'", "Invalid comparator"),
        ("params.k = 'x'", "Invalid entity type"),
        ("name", "Invalid clause(s) in filter string: name"),
        ("name = AND tags.k = 'v'", "Invalid clause(s) in filter string: name, ="),
    ] {
        let message = refusal(models(filter, &[]));
        assert!(message.contains(wanted), "{filter}: {message}");
    }
    assert!(refusal(models("", &["creation_timestamp"])).contains("Invalid order by key"));
    let told = models("", &["timestamp", "last_updated_timestamp"]).unwrap_err();
    let doubled = "`order_by` contains duplicate fields: ['timestamp', 'last_updated_timestamp']";
    assert_eq!((told.code, told.status(), told.message.as_str()), (ErrorCode::InternalError, 400, doubled));
    let limited = |max_results, token: Option<&str>| mlflow.search_registered_models("", max_results, &[], token);
    assert!(refusal(limited(1001, None)).contains("Invalid value for request parameter max_results"));
    assert!(refusal(limited(-1, None)).contains("max_results"));
    let nothing = limited(0, None).unwrap();
    assert_eq!((nothing.items.len(), nothing.next_page_token.as_deref()), (0, Some("eyJvZmZzZXQiOiAwfQ==")));
    let first = limited(1, None).unwrap();
    assert_eq!(limited(1, first.next_page_token.as_deref()).unwrap().items[0].name, "b");
    assert_eq!(first.items[0].latest_versions.len(), 1);

    let versions = |filter: &str, order: &[&str]| -> ApiResult<String> {
        let found = mlflow.search_model_versions(filter, 100, &texts(order), None)?;
        let names = found.items.iter().map(|version| format!("{}{}", version.name, version.version));
        Ok(names.collect::<Vec<_>>().join(" "))
    };
    let by_run = format!("run_id = '{run}'");
    let in_runs = format!("run_id IN ('{run}', 'x')");
    for (filter, wanted) in [
        ("", "A1 b2 b1"),
        ("name = 'b'", "b2 b1"),
        ("name IN ('b')", "b2 b1"),
        (&by_run, "b1"),
        (&in_runs, "b1"),
        ("source_path = 's3://x/2'", "b2"),
        ("source_path LIKE 's3://x%'", "b2 b1"),
        ("version_number = 1", "A1 b1"),
        ("version_number > '1'", "b2"),
        ("version_number != 1", "b2"),
        ("tags.t = '2'", "b2"),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", "p1"),
        ("tags.t = '1' OR tags.t = '2'", "b2 b1"),
    ] {
        assert_eq!(versions(filter, &["name"]).unwrap(), wanted, "{filter}");
    }
    assert_eq!(versions("", &["version_number", "name DESC"]).unwrap(), "b1 A1 b2");
    assert_eq!(versions("", &["attribute.creation_timestamp"]).unwrap().split(' ').count(), 3);
    for (filter, wanted) in [
        ("version = 1", "Invalid clause(s)"),
        ("source = 'x'", "Invalid clause(s)"),
        ("alias = 'x'", "Invalid clause(s)"),
        ("current_stage = 'x'", "Invalid attribute key"),
        ("creation_timestamp > 1", "Invalid attribute key"),
        ("version_number = 1.5", "Invalid value for numeric attribute"),
        ("version_number = 'x'", "Invalid value for numeric attribute"),
        ("source_path IN ('x')", "comparison with a list"),
        ("name = 1", "numeric values"),
    ] {
        let message = refusal(versions(filter, &[]));
        assert!(message.contains(wanted), "{filter}: {message}");
    }
    assert!(versions("", &["name", "name DESC"]).unwrap_err().message.contains("duplicate fields"));
    let limited = |max_results| mlflow.search_model_versions("", max_results, &[], None);
    assert!(refusal(limited(0)).contains("Invalid value for max_results. It must be a positive integer"));
    assert!(refusal(limited(200_001)).contains("Invalid value for request parameter max_results"));
    let found = limited(1).unwrap();
    assert_eq!(found.next_page_token.as_deref(), Some(page_token(1).as_str()));
    // The last updated one.
    assert!(found.items[0].aliases.is_empty());
}

#[test]
fn logged_models() {
    let Shop { mlflow, _dir, .. } = shop();
    let store = mlflow.store();
    let run = mlflow.create_run(&NewRun::default()).unwrap().info.run_id;
    let experiment = crate::ExperimentId(0);
    let spec = |name: &str| LoggedModelSpec::named(name);
    let x = store.create_logged_model(experiment, spec("x").param("lr", "0.1").tag("t", "a").model_type("k")).unwrap();
    let y = store.create_logged_model(experiment, spec("y").param("lr", "0.2")).unwrap();
    let z = store.create_logged_model(experiment, spec("Z")).unwrap();
    let gone = store.create_logged_model(experiment, spec("gone")).unwrap();
    store.delete_logged_model(gone).unwrap();
    store.finalize_logged_model(y, LoggedModelStatus::Ready).unwrap();
    let log = |model: crate::ModelId, key: &str, value, timestamp, dataset: Option<(&str, &str)>| {
        let model = model.to_string();
        let point = NewMetric {
            timestamp,
            model_id: Some(&model),
            dataset_name: dataset.map(|(name, _)| name),
            dataset_digest: dataset.map(|(_, digest)| digest),
            ..metric(key, value)
        };
        mlflow.log_metric(&run, &point).unwrap();
    };
    log(x, "acc", 0.5, 1, None);
    log(x, "acc", 0.1, 2, Some(("d", "1")));
    log(y, "acc", 0.9, 1, Some(("d", "2")));
    log(z, "nan", f64::NAN, 1, None);
    log(x, "nan", 1.0, 1, None);
    let search = |filter: &str, datasets: &[(String, Option<String>)], order: &[LoggedModelOrder]| {
        let found = mlflow.search_logged_models(&texts(&["0"]), filter, datasets, 100, order, None)?;
        Ok::<_, ApiError>(found.items.iter().map(|model| model.name.as_str()).collect::<Vec<_>>().join(" "))
    };
    let by_name = [LoggedModelOrder::ascending("name")];
    let (id_x, id_y) = (x.to_string(), y.to_string());
    for (filter, wanted) in [
        ("", "Z x y"),
        ("name = 'x'", "x"),
        ("attributes.name LIKE '_'", "Z x y"),
        ("name ilike 'z'", "Z"),
        ("model_type = 'k'", "x"),
        (&format!("attributes.model_id IN ('{id_x}','{id_y}')"), "x y"),
        (&format!("model_id NOT IN ('{id_x}')"), "Z y"),
        ("status = '2'", "y"),
        ("status = 2", "y"),
        ("status = 'READY'", "y"),
        ("status != 'LOGGED_MODEL_READY'", "Z x"),
        ("creation_timestamp > 0 AND creation_time > 5", "Z x y"),
        ("last_updated_timestamp < 5", ""),
        ("params.lr = '0.1'", "x"),
        ("params.lr = \"0.1\"", "x"),
        ("params.lr = 0.1", "x"),
        ("params.lr != '0.1'", "y"),
        ("params.lr IN ('0.1', '0.2')", "x y"),
        ("tags.t = a", "x"),
        ("tags.`t` = 'a'", "x"),
        ("metrics.acc > 0.3", "x y"),
        ("metrics.acc < 0.2 AND params.lr = '0.1'", "x"),
        ("metrics.acc = 0.5", "x"),
        ("name IN ()", ""),
        ("name NOT IN ()", "Z x y"),
        ("experiment_id = '0'", "Z x y"),
    ] {
        assert_eq!(search(filter, &[], &by_name).unwrap(), wanted, "{filter}");
    }
    let on = |digest: Option<&str>| vec![("d".to_owned(), digest.map(str::to_owned))];
    assert_eq!(search("", &on(None), &by_name).unwrap(), "x y");
    assert_eq!(search("", &on(Some("2")), &by_name).unwrap(), "y");
    assert_eq!(search("metrics.acc > 0.3", &on(None), &by_name).unwrap(), "y");
    let both = [on(Some("1")), on(Some("2"))].concat();
    assert_eq!(search("", &both, &by_name).unwrap(), "x y");
    assert!(refusal(search("", &[(String::new(), None)], &[])).contains("`dataset_name` in the `datasets` clause"));
    // The newest value by time; missing last, NaN before.
    assert_eq!(search("", &[], &[LoggedModelOrder::descending("metrics.acc")]).unwrap(), "y x Z");
    assert_eq!(search("", &[], &[LoggedModelOrder::ascending("metrics.acc")]).unwrap(), "x y Z");
    assert_eq!(search("", &[], &[LoggedModelOrder::descending("metrics.nan")]).unwrap(), "x Z y");
    assert_eq!(search("", &[], &[LoggedModelOrder::ascending("metrics.nan")]).unwrap(), "x Z y");
    let on_d2 = LoggedModelOrder {
        dataset_name: Some("d".to_owned()),
        dataset_digest: Some("2".to_owned()),
        ..LoggedModelOrder::ascending("metrics.acc")
    };
    assert!(search("", &[], &[on_d2]).unwrap().starts_with('y'));
    assert_eq!(search("", &[], &[LoggedModelOrder::descending("name")]).unwrap(), "y x Z");
    for (filter, wanted) in [
        ("attribute.name = 'x'", "Invalid entity type"),
        ("param.lr = '1'", "Invalid entity type"),
        ("params.lr > '1'", "Invalid comparison operator"),
        ("metrics.acc LIKE '1'", "Invalid comparison operator"),
        ("name = 'x' OR name = 'y'", "Invalid filter string"),
        ("(name = 'x')", "Invalid filter string"),
        ("name = 'x' AND (name = 'y')", "Invalid filter string"),
        ("NOT name = 'x'", "Invalid filter string"),
        ("foo = 'x'", "Invalid attribute key"),
        ("metrics.acc > 'x'", "Expected numeric value"),
        ("params.lr IS NULL", "Invalid comparison"),
    ] {
        let message = refusal(search(filter, &[], &[]));
        assert!(message.contains(wanted), "{filter}: {message}");
    }
    assert!(
        refusal(search("", &[], &[LoggedModelOrder::ascending("foo")])).contains("Invalid order by field name: foo")
    );
    let message = refusal(search("", &[], &[LoggedModelOrder::ascending("params.lr")]));
    assert!(message.contains("Invalid order by field name: params.lr. Only metrics are supported."));

    // Pages.
    let pages = |ids: &[&str], filter: &str, order: &[LoggedModelOrder], max_results, token: Option<&str>| {
        mlflow.search_logged_models(&texts(ids), filter, &[], max_results, order, token)
    };
    let first = pages(&["0"], "", &by_name, 2, None).unwrap();
    let own = first.next_page_token.unwrap();
    let token = Some(own.as_str());
    assert!(page_text(&own).unwrap().contains("\"offset\":2"));
    let second = pages(&["0"], "", &by_name, 2, token).unwrap();
    assert_eq!((second.items[0].name.as_str(), second.items.len(), second.next_page_token), ("y", 1, None));
    let message = refusal(pages(&["0", "1"], "", &by_name, 2, token));
    assert!(message.contains("Experiment IDs in the page token do not match"), "{message}");
    let message = refusal(pages(&["0"], "name = 'x'", &by_name, 2, token));
    assert!(message.contains("Filter string in the page token does not match"), "{message}");
    let message = refusal(pages(&["0"], "", &[], 2, token));
    assert!(message.contains("Order by in the page token does not match"), "{message}");
    // As MLflow's client makes it in process.
    let theirs =
        r#"{"experiment_ids": ["0"], "filter_string": null, "order_by": [{"field_name": "name"}], "offset": 1}"#;
    let third = pages(&["0"], "", &by_name, 1, Some(&text_token(theirs))).unwrap();
    assert_eq!(third.items[0].name, "x");
    for garbage in ["!!", "e30", &text_token("x"), &text_token("[]")] {
        refusal(pages(&["0"], "", &[], 2, Some(garbage)));
    }
    assert!(refusal(pages(&["0"], "", &[], 0, None)).contains("It must be a positive integer"));
}

#[test]
fn datasets() {
    let shop = Shop::with_runs();
    let found = shop.mlflow.search_datasets(&texts(&["0", "9"])).unwrap();
    let found: Vec<_> =
        found.iter().map(|d| (d.name.as_str(), d.digest.as_str(), d.context.as_deref().unwrap_or("-"))).collect();
    assert_eq!(found, [("d1", "x1", "eval"), ("d1", "x1", "train"), ("d2", "x2", "eval"), ("d3", "x3", "-")]);
    let message = refusal(shop.mlflow.search_datasets(&[]));
    assert_eq!(message, "SearchDatasets request must specify at least one experiment_id.");
    let many: Vec<String> = (0..21).map(|id| id.to_string()).collect();
    let message = refusal(shop.mlflow.search_datasets(&many));
    assert!(message.starts_with("SearchDatasets request cannot specify more than 20 experiment_ids. Received 21"));
}

#[test]
fn any_text_is_read_or_refused() {
    for text in
        ["", " ", "'", "\"", "`", "a.", ".a", "a..b = 1", "IN", "a IN (", "a NOT", "a IS", "é.ü = 'ß'", "()", ";"]
    {
        crate::mlflow::probe_filter(text);
    }
}
