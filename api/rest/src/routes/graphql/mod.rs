//! `/graphql`, as the pages ask it: MLflow's REST answers, with the fields that are wanted.
//!
//! A root field is answered by the handler of its REST endpoint, so that no rule stands twice; what comes back is cut
//! to the selection by [`schema`]. A field that fails is null, its message stands in `errors`. Queries are bounded
//! before anything is read: root fields, aliases, depth, selections.

mod schema;

use graphql_parser::query::{
    Definition, Document, Field, FragmentDefinition, OperationDefinition, Selection, SelectionSet, TypeCondition,
    Value as Argument, parse_query,
};
use runlode::mlflow::{ApiError, ApiResult};
use rustc_hash::FxHashMap;
use serde_json::{Map, Value, json};

use self::schema::{Kind, ROOTS, Root};
use super::{Api, Handler, Route, Work};
use crate::answer::Answer;
use crate::door::Door;
use crate::request::Request;

/// Most fields at the root, and most aliases of one level.
const ROOT_FIELDS_MAX: usize = 10;
/// Deepest selection.
const DEPTH_MAX: usize = 10;
/// Most fields in all.
const SELECTIONS_MAX: usize = 1000;
/// Longest text of a query: it is parsed before it can be counted.
const QUERY_BYTES_MAX: usize = 64 << 10;
/// Deepest braces that the parser is given.
const BRACES_MAX: usize = 64;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post("/graphql", Work::Read, graphql).api(Api::Root),
        Route::get("/graphql", Work::Read, graphql).api(Api::Root),
    ]
}

type Fragments<'q> = FxHashMap<&'q str, &'q FragmentDefinition<'q, &'q str>>;

fn graphql(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let text = fields.required("query")?;
    let variables = if request.fields_in_body { fields.object("variables")?.into_map() } else { Map::new() };
    let operation = fields.text("operationName")?;
    if text.len() > QUERY_BYTES_MAX || deepest(text) > BRACES_MAX {
        return Answer::json(&failed(format!("Query exceeds {QUERY_BYTES_MAX} bytes or {BRACES_MAX} levels")));
    }
    let document = match parse_query::<&str>(text) {
        Ok(document) => document,
        Err(error) => return Answer::json(&failed(format!("Syntax Error: {error}"))),
    };
    if let Err(message) = check(&document) {
        return Answer::json(&failed(message));
    }
    Answer::json(&execute(door, request, &document, operation, &variables))
}

fn failed(message: String) -> Value {
    json!({ "data": null, "errors": [message] })
}

/// How deep braces, brackets and parentheses go: the parser and its tree are recursive.
fn deepest(text: &str) -> usize {
    let (mut depth, mut most) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'(' => {
                depth += 1;
                most = most.max(depth);
            }
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    most
}

fn fragments<'q>(document: &'q Document<'q, &'q str>) -> Fragments<'q> {
    let all = document.definitions.iter().filter_map(|definition| match definition {
        Definition::Fragment(fragment) => Some((fragment.name, fragment)),
        Definition::Operation(_) => None,
    });
    all.collect()
}

/// Kind and fields of an operation.
fn parts<'q>(
    operation: &'q OperationDefinition<'q, &'q str>,
) -> (bool, Option<&'q str>, &'q SelectionSet<'q, &'q str>) {
    match operation {
        OperationDefinition::SelectionSet(set) => (false, None, set),
        OperationDefinition::Query(query) => (false, query.name, &query.selection_set),
        OperationDefinition::Mutation(mutation) => (true, mutation.name, &mutation.selection_set),
        OperationDefinition::Subscription(subscription) => (false, subscription.name, &subscription.selection_set),
    }
}

/// The fields of a selection with those of its fragments; a fragment counts once a level, which also ends cycles.
fn flat<'q>(set: &'q SelectionSet<'q, &'q str>, fragments: &Fragments<'q>) -> Vec<&'q Field<'q, &'q str>> {
    let mut out = Vec::new();
    let mut used: Vec<&str> = Vec::new();
    let mut rest: Vec<&Selection<'q, &'q str>> = set.items.iter().rev().collect();
    while let Some(selection) = rest.pop() {
        match selection {
            Selection::Field(field) => out.push(field),
            Selection::InlineFragment(inline) => rest.extend(inline.selection_set.items.iter().rev()),
            Selection::FragmentSpread(spread) => {
                if !used.contains(&spread.fragment_name) {
                    used.push(spread.fragment_name);
                    if let Some(fragment) = fragments.get(spread.fragment_name) {
                        let TypeCondition::On(_) = &fragment.type_condition;
                        rest.extend(fragment.selection_set.items.iter().rev());
                    }
                }
            }
        }
    }
    out
}

/// Refuses queries that ask for too much.
fn check<'q>(document: &'q Document<'q, &'q str>) -> Result<(), String> {
    let fragments = fragments(document);
    let (mut roots, mut aliases, mut total) = (0, 0, 0);
    for definition in &document.definitions {
        let Definition::Operation(operation) = definition else { continue };
        let mut rest = vec![(parts(operation).2, 1)];
        while let Some((set, depth)) = rest.pop() {
            if depth > DEPTH_MAX {
                return Err(format!("Query exceeds maximum depth of {DEPTH_MAX}"));
            }
            let fields = flat(set, &fragments);
            aliases = aliases.max(fields.iter().filter(|field| field.alias.is_some()).count());
            roots += if depth == 1 { fields.len() } else { 0 };
            total += fields.len();
            if total > SELECTIONS_MAX {
                return Err(format!("Query exceeds maximum total selections of {SELECTIONS_MAX}"));
            }
            for field in fields {
                if !field.selection_set.items.is_empty() {
                    rest.push((&field.selection_set, depth + 1));
                }
            }
        }
    }
    for (count, what) in [(roots, "root fields"), (aliases, "aliases")] {
        if count > ROOT_FIELDS_MAX {
            return Err(format!("GraphQL queries should have at most {ROOT_FIELDS_MAX} {what}, got {count} {what}."));
        }
    }
    Ok(())
}

/// One execution: what is needed to resolve fields, and what went wrong.
struct Execution<'q> {
    door: &'q Door,
    request: &'q Request,
    fragments: Fragments<'q>,
    variables: &'q Map<String, Value>,
    endpoints: FxHashMap<&'static str, Handler>,
    errors: Vec<String>,
}

fn execute<'q>(
    door: &'q Door,
    request: &'q Request,
    document: &'q Document<'q, &'q str>,
    name: Option<&str>,
    variables: &'q Map<String, Value>,
) -> Value {
    let operations: Vec<_> = document
        .definitions
        .iter()
        .filter_map(|definition| match definition {
            Definition::Operation(operation) => Some(parts(operation)),
            Definition::Fragment(_) => None,
        })
        .collect();
    let chosen = match name.filter(|name| !name.is_empty()) {
        Some(name) => operations.iter().find(|(_, known, _)| *known == Some(name)),
        None if operations.len() == 1 => operations.first(),
        None => None,
    };
    let Some((mutation, _, set)) = chosen else {
        return failed(match name {
            Some(name) => format!("Unknown operation named '{name}'."),
            None => "Must provide operation name if query contains multiple operations.".to_owned(),
        });
    };
    let endpoints = super::all().into_iter().map(|route| (route.path, route.handler)).collect();
    let mut execution =
        Execution { door, request, fragments: fragments(document), variables, endpoints, errors: Vec::new() };
    let mut data = Map::new();
    let kind = if *mutation { "Mutation" } else { "Query" };
    for field in flat(set, &execution.fragments) {
        let key = field.alias.unwrap_or(field.name).to_owned();
        if field.name == "__typename" {
            data.insert(key, kind.into());
            continue;
        }
        let root =
            ROOTS.iter().find(|root| root.name == field.name && if *mutation { root.mutation } else { root.query });
        let Some(root) = root else {
            return failed(format!("Cannot query field '{}' on type '{kind}'.", field.name));
        };
        let value = execution.root(root, field).unwrap_or_else(|error| {
            execution.errors.push(error.message);
            Value::Null
        });
        data.insert(key, value);
    }
    let errors = if execution.errors.is_empty() { Value::Null } else { execution.errors.into() };
    json!({ "data": data, "errors": errors })
}

impl<'q> Execution<'q> {
    fn root(&mut self, root: &Root, field: &'q Field<'q, &'q str>) -> ApiResult<Value> {
        let argument = |name: &str| field.arguments.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        let source = match root.endpoint {
            None => {
                let text = argument("inputString").map_or(Value::Null, |value| self.argument(value));
                json!({ "output": text })
            }
            Some(endpoint) => {
                let input = argument("input").map_or(Value::Null, |value| self.argument(value));
                self.call(endpoint, &input)?
            }
        };
        self.object(root.answers, &source, &field.selection_set)
    }

    /// The JSON that a REST endpoint answers.
    fn call(&self, endpoint: &str, input: &Value) -> ApiResult<Value> {
        let handler = self.endpoints.get(endpoint);
        let handler = handler.ok_or_else(|| ApiError::invalid(format!("{endpoint} is not served here")))?;
        let request = Request {
            body: input.to_string().into(),
            fields_in_body: true,
            client: self.request.client.clone(),
            ..Request::default()
        };
        match handler(self.door, &request)?.into_json()? {
            Some(body) => serde_json::from_slice(&body)
                .map_err(|error| ApiError::invalid(format!("the answer of {endpoint} is no JSON: {error}"))),
            None => Ok(Value::Object(Map::new())),
        }
    }

    /// An argument with its variables filled in.
    fn argument(&self, value: &Argument<'q, &'q str>) -> Value {
        match value {
            Argument::Variable(name) => self.variables.get(*name).cloned().unwrap_or(Value::Null),
            Argument::Int(number) => number.as_i64().map_or(Value::Null, Value::from),
            Argument::Float(number) => Value::from(*number),
            Argument::String(text) => Value::from(text.as_str()),
            Argument::Boolean(truth) => Value::from(*truth),
            Argument::Null => Value::Null,
            Argument::Enum(name) => Value::from(*name),
            Argument::List(items) => items.iter().map(|item| self.argument(item)).collect(),
            Argument::Object(fields) => {
                fields.iter().map(|(name, value)| ((*name).to_owned(), self.argument(value))).collect()
            }
        }
    }

    fn object(&mut self, of: &str, source: &Value, set: &'q SelectionSet<'q, &'q str>) -> ApiResult<Value> {
        let mut out = Map::new();
        for field in flat(set, &self.fragments) {
            let key = field.alias.unwrap_or(field.name).to_owned();
            if field.name == "__typename" {
                out.insert(key, of.into());
                continue;
            }
            let kind = schema::field(of, field.name)
                .ok_or_else(|| ApiError::invalid(format!("Cannot query field '{}' on type '{of}'.", field.name)))?;
            // Two fields of a run are not in its REST answer.
            let added = match (of, field.name) {
                ("MlflowRunExtension", "experiment") => {
                    let input = json!({ "experiment_id": source["info"]["experiment_id"] });
                    Some(self.call("experiments/get", &input)?["experiment"].take())
                }
                ("MlflowRunExtension", "modelVersions") => {
                    let filter = format!("run_id='{}'", source["info"]["run_id"].as_str().unwrap_or_default());
                    let input = json!({ "filter": filter, "max_results": 200_000 });
                    Some(self.call("model-versions/search", &input)?["model_versions"].take())
                }
                _ => None,
            };
            let value = added.as_ref().or_else(|| source.get(snake_case(field.name)));
            out.insert(key, self.value(kind, value.unwrap_or(&Value::Null), &field.selection_set)?);
        }
        Ok(out.into())
    }

    fn value(&mut self, kind: Kind, value: &Value, set: &'q SelectionSet<'q, &'q str>) -> ApiResult<Value> {
        Ok(match (kind, value) {
            (Kind::Null, _) => Value::Null,
            (Kind::Text, Value::Null) => Value::from(""),
            (Kind::Long, Value::Null) => Value::from("0"),
            (Kind::Long, Value::Number(number)) => Value::from(number.to_string()),
            (Kind::Truth, Value::Null) => Value::from(false),
            (Kind::Double, Value::Null) => Value::from(0.0),
            // NaN and infinities, which JSON has no numbers for.
            (Kind::Double, Value::String(_)) => Value::Null,
            (Kind::Texts | Kind::Many(_), Value::Null) => Value::Array(Vec::new()),
            (Kind::One(of), value) => self.object(of, value, set)?,
            (Kind::Many(of), Value::Array(items)) => {
                items.iter().map(|item| self.object(of, item, set)).collect::<ApiResult<Vec<_>>>()?.into()
            }
            (_, value) => value.clone(),
        })
    }
}

/// `artifactUri` as `artifact_uri`.
fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use runlode::Store;

    use super::*;
    use crate::door::ServeOptions;

    fn door() -> (tempfile::TempDir, Arc<Door>) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        (dir, Arc::new(Door::new(store, ServeOptions::default())))
    }

    fn ask(door: &Door, query: &str, variables: &Value) -> Value {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let request = Request { body: body.into(), fields_in_body: true, ..Request::default() };
        match graphql(door, &request).unwrap() {
            Answer::Json(body) => serde_json::from_slice(&body).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_run_with_fragments_aliases_and_variables() {
        let (_dir, door) = door();
        let run = door.mlflow.create_run(&runlode::mlflow::NewRun { start_time: 123, ..Default::default() }).unwrap();
        let query = "query GetRun($data: MlflowGetRunInput!) @component(name: \"MLflow.Runs\") {
              mlflowGetRun(input: $data) { ...Answer __typename }
            }
            fragment Answer on MlflowGetRunResponse {
              apiError { code }
              one: run { info { runUuid status startTime endTime __typename } data { metrics { key } } experiment { name } }
            }";
        let answer = ask(&door, query, &json!({ "data": { "runId": run.info.run_id } }));
        assert_eq!(answer["errors"], Value::Null, "{answer}");
        let found = &answer["data"]["mlflowGetRun"];
        assert_eq!(found["__typename"], "MlflowGetRunResponse");
        assert_eq!(found["apiError"], Value::Null);
        let info = &found["one"]["info"];
        assert_eq!((&info["startTime"], &info["endTime"]), (&json!("123"), &json!("0")));
        assert_eq!(info["status"], "RUNNING");
        assert_eq!(found["one"]["experiment"]["name"], "Default");
        assert_eq!(found["one"]["data"]["metrics"], json!([]));
    }

    #[test]
    fn what_is_not_there_is_null_with_a_message() {
        let (_dir, door) = door();
        let query =
            "{ mlflowGetRun(input: {runId: \"nope\"}) { run { info { runId } } } test(inputString: \"x\") { output } }";
        let answer = ask(&door, query, &Value::Null);
        assert_eq!(answer["data"]["mlflowGetRun"], Value::Null);
        assert_eq!(answer["data"]["test"]["output"], "x");
        assert_eq!(answer["errors"], json!(["Run with id=nope not found"]));
        let unknown = ask(&door, "{ test(inputString: \"x\") { nope } }", &Value::Null);
        assert!(unknown["errors"][0].as_str().unwrap().contains("Cannot query field 'nope'"));
        assert!(ask(&door, "{ test(", &Value::Null)["errors"][0].as_str().unwrap().starts_with("Syntax Error"));
    }

    #[test]
    fn queries_are_bounded() {
        let (_dir, door) = door();
        let many: String = (0..12).map(|i| format!("a{i}: test(inputString: \"x\") {{ output }} ")).collect();
        let answer = ask(&door, &format!("{{ {many} }}"), &Value::Null);
        assert_eq!(answer["data"], Value::Null);
        let text = answer["errors"][0].as_str().unwrap();
        assert!(text.starts_with("GraphQL queries should have at most 10 root fields, got 12 root fields."));
        let deep = format!("{}x{}", "{ a ".repeat(30), " }".repeat(30));
        assert!(ask(&door, &deep, &Value::Null)["errors"][0].as_str().unwrap().contains("maximum depth"));
        let deeper = format!("{}x{}", "{a".repeat(20_000), "}".repeat(20_000));
        assert_ne!(ask(&door, &deeper, &Value::Null)["errors"], Value::Null);
        let cycle = "{ test(inputString: \"x\") { ...a } } fragment a on Test { output ...a }";
        assert_eq!(ask(&door, cycle, &Value::Null)["data"]["test"]["output"], "x");
    }
}
