//! `/graphql` for the pages: MLflow's REST answers, cut to the requested fields.
//!
//! The handler of its REST endpoint answers a root field, so that no rule exists twice; [`schema`] cuts the answer to
//! the selection. A field that fails is null, and its message is in `errors`.
//!
//! - Queries are bounded before anything is read: root fields, aliases, depth, selections.
//! - All fields of a query share one budget for what they read and what they answer. Whatever is requested twice, under
//!   another alias or in another run, is looked up once.
//! - Mutations need POST: any page can send a GET without a preflight.

mod node;
mod schema;

use std::rc::Rc;

use bytes::Bytes;
use graphql_parser::query::{
    Definition, Document, Field, FragmentDefinition, OperationDefinition, Selection, SelectionSet, TypeCondition,
    Value as Argument, parse_query,
};
use runlode::mlflow::{ApiError, ApiResult};
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Map, Value, json};

use self::node::Node;
use self::schema::{Kind, ROOTS, Root};
use super::model_versions::ModelVersionJson;
use super::{artifacts, experiments, metrics, runs, search};
use crate::answer::{Answer, json_into};
use crate::door::Door;
use crate::request::Request;
use crate::route::{Api, Plain, Route, Work};

/// Most fields at the root, and most aliases of one level.
const ROOT_FIELDS_MAX: usize = 10;
/// Deepest selection.
const DEPTH_MAX: usize = 10;
/// Most fields in all.
const SELECTIONS_MAX: usize = 1000;
/// Longest text of a query: it is parsed before it can be counted.
const QUERY_BYTES_MAX: usize = 64 << 10;
/// Deepest braces that are passed to the parser.
const BRACES_MAX: usize = 64;
/// Most values that a query returns, in all its fields together.
const COST_MAX: u64 = 1_000_000;
/// Bytes of text that cost as much as a value.
const TEXT_BYTES_OF_ONE: usize = 32;
/// Most bytes of REST answers that are read for one query. They are held until the query is answered, one at a time as
/// a tree, which takes up to five times as much.
const ANSWERS_BYTES_MAX: usize = 16 << 20;

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
    let variables = if request.fields_in_body { fields.object("variables")?.into_map()? } else { Map::new() };
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
    execute(door, request, &document, operation, &variables)
}

/// The REST endpoints that answer root fields, by their paths.
fn endpoints() -> FxHashMap<&'static str, Plain> {
    let routes = [artifacts::routes(), experiments::routes(), metrics::routes(), runs::routes(), search::routes()];
    routes.into_iter().flatten().filter_map(|route| Some((route.path, route.plain()?))).collect()
}

fn failed(message: String) -> Value {
    json!({ "data": null, "errors": [message] })
}

/// Depth of braces, brackets and parentheses: the parser and its tree are recursive.
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

/// A field of a selection, prepared for looking it up in each object.
struct Chosen<'q> {
    field: &'q Field<'q, &'q str>,
    /// Its name in the answer.
    key: &'q str,
    /// Its name in the REST answer.
    source: String,
    /// `None` for `__typename`.
    kind: Option<Kind>,
}

/// Why a field has no value.
enum Stop {
    /// The field is null, with this error.
    Field(ApiError),
    /// The whole query ends: it costs too much.
    Query(String),
    /// The client has gone.
    Gone(ApiError),
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        Self::Field(error)
    }
}

type Resolved<T> = Result<T, Stop>;

/// One execution: context, cache and errors.
struct Execution<'q> {
    door: &'q Door,
    request: &'q Request,
    fragments: Fragments<'q>,
    variables: &'q Map<String, Value>,
    endpoints: FxHashMap<&'static str, Plain>,
    /// Selections by their place in the query and their type.
    chosen: FxHashMap<(usize, &'static str), Rc<[Chosen<'q>]>>,
    /// Answers of REST endpoints by path and input, so that an alias causes no second call.
    answers: FxHashMap<(&'static str, String), Bytes>,
    /// Versions by run, as JSON; complete for the runs listed here.
    versions: FxHashMap<String, Bytes>,
    /// What the whole query may still cost.
    cost_left: u64,
    /// Bytes of REST answers that it may still read.
    bytes_left: usize,
    errors: Vec<String>,
}

fn execute<'q>(
    door: &'q Door,
    request: &'q Request,
    document: &'q Document<'q, &'q str>,
    name: Option<&str>,
    variables: &'q Map<String, Value>,
) -> ApiResult<Answer> {
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
        return Answer::json(&failed(match name {
            Some(name) => format!("Unknown operation named '{name}'."),
            None => "Must provide operation name if query contains multiple operations.".to_owned(),
        }));
    };
    if *mutation && !request.fields_in_body {
        // Any page can send a GET without a preflight.
        return Err(ApiError::invalid("Can only perform a mutation operation from a POST request.").with_status(405));
    }
    let mut execution = Execution {
        door,
        request,
        fragments: fragments(document),
        variables,
        endpoints: endpoints(),
        chosen: FxHashMap::default(),
        answers: FxHashMap::default(),
        versions: FxHashMap::default(),
        cost_left: COST_MAX,
        bytes_left: ANSWERS_BYTES_MAX,
        errors: Vec::new(),
    };
    let kind = if *mutation { "Mutation" } else { "Query" };
    let mut out = b"{\"data\":{".to_vec();
    for (number, field) in last_of_each(flat(set, &execution.fragments)).into_iter().enumerate() {
        begin_field(&mut out, number, field.alias.unwrap_or(field.name))?;
        if field.name == "__typename" {
            json_into(&mut out, &kind)?;
            continue;
        }
        let root =
            ROOTS.iter().find(|root| root.name == field.name && if *mutation { root.mutation } else { root.query });
        let Some(root) = root else {
            return Answer::json(&failed(format!("Cannot query field '{}' on type '{kind}'.", field.name)));
        };
        let begin = out.len();
        match execution.root(&mut out, root, field) {
            Ok(()) => {}
            Err(Stop::Field(error)) => {
                execution.errors.push(error.message);
                out.truncate(begin);
                out.extend_from_slice(b"null");
            }
            Err(Stop::Query(why)) => return Answer::json(&failed(why)),
            Err(Stop::Gone(error)) => return Err(error),
        }
    }
    out.extend_from_slice(b"},\"errors\":");
    json_into(&mut out, &(!execution.errors.is_empty()).then_some(&execution.errors))?;
    out.push(b'}');
    Ok(Answer::Json(out))
}

/// If fields have the same name, the last one counts.
fn last_of_each<'q>(fields: Vec<&'q Field<'q, &'q str>>) -> Vec<&'q Field<'q, &'q str>> {
    let mut known = FxHashSet::default();
    let key = |field: &Field<'q, &'q str>| field.alias.unwrap_or(field.name);
    let mut last: Vec<_> = fields.into_iter().rev().filter(|field| known.insert(key(field))).collect();
    last.reverse();
    last
}

/// Writes the name of an object's field.
fn begin_field(out: &mut Vec<u8>, number: usize, name: &str) -> ApiResult<()> {
    if number > 0 {
        out.push(b',');
    }
    json_into(out, &name)?;
    out.push(b':');
    Ok(())
}

/// Parses JSON that we made.
fn parsed(json: &[u8]) -> ApiResult<Node<'_>> {
    serde_json::from_slice(json).map_err(|error| ApiError::invalid(format!("an answer is not JSON: {error}")))
}

impl<'q> Execution<'q> {
    fn root(&mut self, out: &mut Vec<u8>, root: &Root, field: &'q Field<'q, &'q str>) -> Resolved<()> {
        let argument = |name: &str| field.arguments.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        let source = match root.endpoint {
            None => {
                let text = argument("inputString").map_or(Value::Null, |value| self.argument(value));
                json!({ "output": text }).to_string().into()
            }
            Some(endpoint) => {
                let input = argument("input").map_or(Value::Null, |value| self.argument(value));
                self.call(endpoint, &input)?
            }
        };
        self.object(out, root.answers, &parsed(&source)?, &field.selection_set)
    }

    /// Subtracts the cost of a part of the answer: values, and text by its length.
    fn pay(&mut self, values: usize, text_bytes: usize) -> Resolved<()> {
        let cost = (values + text_bytes / TEXT_BYTES_OF_ONE) as u64;
        self.cost_left = self.cost_left.checked_sub(cost).ok_or_else(|| {
            Stop::Query(format!(
                "Query answers more than {COST_MAX} values in all its fields together; ask for fewer runs (maxResults) \
                 or fewer fields"
            ))
        })?;
        Ok(())
    }

    /// Calls a REST endpoint; returns its JSON.
    fn call(&mut self, endpoint: &'static str, input: &Value) -> Resolved<Bytes> {
        let asked = (endpoint, input.to_string());
        if let Some(known) = self.answers.get(&asked) {
            return Ok(known.clone());
        }
        self.door.mlflow.check_waiting().map_err(Stop::Gone)?;
        let handler = self.endpoints.get(endpoint);
        let handler = handler.ok_or_else(|| ApiError::invalid(format!("{endpoint} is not served here")))?;
        let request = Request {
            body: asked.1.clone().into(),
            fields_in_body: true,
            client: self.request.client.clone(),
            ..Request::default()
        };
        let answer: Bytes = match self.door.answered(*handler, &request).and_then(Answer::into_json) {
            Ok(Some(body)) => body.into(),
            Ok(None) => Bytes::from_static(b"{}"),
            Err(error) => {
                self.door.mlflow.check_waiting().map_err(Stop::Gone)?;
                return Err(error.into());
            }
        };
        self.pay_for_reading(answer.len())?;
        self.answers.insert(asked, answer.clone());
        Ok(answer)
    }

    fn pay_for_reading(&mut self, bytes: usize) -> Resolved<()> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or_else(|| {
            Stop::Query(format!(
                "Query reads more than {} MiB in all its fields together; ask for fewer runs (maxResults)",
                ANSWERS_BYTES_MAX >> 20
            ))
        })?;
        Ok(())
    }

    /// Looks up the versions of runs, with one query to the registry for all of them.
    fn look_up_versions(&mut self, runs: &[Node<'_>]) -> Resolved<()> {
        let ids = runs.iter().map(run_id).filter(|id| !self.versions.contains_key(*id));
        let ids: FxHashSet<&str> = ids.collect();
        if ids.is_empty() {
            return Ok(());
        }
        let gone = |error: ApiError| match self.door.mlflow.check_waiting() {
            Ok(()) => Stop::Field(error),
            Err(gone) => Stop::Gone(gone),
        };
        let asked: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let found = self.door.mlflow.model_versions_of_runs(&asked).map_err(gone)?;
        let mut of: FxHashMap<&str, Vec<u8>> = ids.iter().map(|id| (*id, vec![b'['])).collect();
        for version in &found {
            let Some(versions) = version.run_id.as_deref().and_then(|id| of.get_mut(id)) else { continue };
            if versions.len() > 1 {
                versions.push(b',');
            }
            let before = versions.len();
            json_into(versions, &ModelVersionJson::from(version))?;
            let bytes = versions.len() - before;
            self.pay_for_reading(bytes)?;
        }
        for (id, mut versions) in of {
            versions.push(b']');
            self.versions.insert(id.to_owned(), versions.into());
        }
        Ok(())
    }

    /// An argument with its variables replaced.
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

    /// The fields of a selection from a type.
    fn chosen(&mut self, of: &'static str, set: &'q SelectionSet<'q, &'q str>) -> Resolved<Rc<[Chosen<'q>]>> {
        let place = (std::ptr::from_ref(set) as usize, of);
        if let Some(known) = self.chosen.get(&place) {
            return Ok(known.clone());
        }
        let mut chosen: Vec<Chosen<'q>> = Vec::new();
        for field in last_of_each(flat(set, &self.fragments)) {
            let kind = match field.name {
                "__typename" => None,
                name => Some(
                    schema::field(of, name)
                        .ok_or_else(|| ApiError::invalid(format!("Cannot query field '{name}' on type '{of}'.")))?,
                ),
            };
            let key = field.alias.unwrap_or(field.name);
            chosen.push(Chosen { field, key, source: snake_case(field.name), kind });
        }
        let chosen: Rc<[Chosen<'q>]> = chosen.into();
        self.chosen.insert(place, chosen.clone());
        Ok(chosen)
    }

    fn object(
        &mut self,
        out: &mut Vec<u8>,
        of: &'static str,
        source: &Node<'_>,
        set: &'q SelectionSet<'q, &'q str>,
    ) -> Resolved<()> {
        let chosen = self.chosen(of, set)?;
        self.door.mlflow.check_waiting().map_err(Stop::Gone)?;
        self.pay(1 + chosen.len(), chosen.iter().map(|field| field.key.len()).sum())?;
        out.push(b'{');
        for (number, Chosen { field, key, source: name, kind }) in chosen.iter().enumerate() {
            begin_field(out, number, key)?;
            let Some(kind) = kind else {
                json_into(out, &of)?;
                continue;
            };
            // Two fields of a run are missing in its REST answer.
            match (of, field.name) {
                ("MlflowRunExtension", "experiment") => {
                    let input = json!({ "experiment_id": source.get("info").get("experiment_id").text() });
                    let answer = self.call("experiments/get", &input)?;
                    self.value(out, *kind, parsed(&answer)?.get("experiment"), &field.selection_set)?;
                }
                ("MlflowRunExtension", "modelVersions") => {
                    self.look_up_versions(std::slice::from_ref(source))?;
                    let versions = self.versions.get(run_id(source)).cloned().unwrap_or(Bytes::from_static(b"[]"));
                    self.value(out, *kind, &parsed(&versions)?, &field.selection_set)?;
                }
                _ => self.value(out, *kind, source.get(name), &field.selection_set)?,
            }
        }
        out.push(b'}');
        Ok(())
    }

    fn value(
        &mut self,
        out: &mut Vec<u8>,
        kind: Kind,
        value: &Node<'_>,
        set: &'q SelectionSet<'q, &'q str>,
    ) -> Resolved<()> {
        match (kind, value) {
            // A double given as text is NaN or an infinity, which JSON numbers cannot represent.
            (Kind::Null, _) | (Kind::Double, Node::Text(_)) => out.extend_from_slice(b"null"),
            (Kind::Text, Node::Null) => out.extend_from_slice(b"\"\""),
            (Kind::Long, Node::Null) => out.extend_from_slice(b"\"0\""),
            (Kind::Long, Node::Int(number)) => json_into(out, &number.to_string())?,
            (Kind::Truth, Node::Null) => out.extend_from_slice(b"false"),
            (Kind::Double, Node::Null) => out.extend_from_slice(b"0.0"),
            (Kind::Texts | Kind::Many(_), Node::Null) => out.extend_from_slice(b"[]"),
            (Kind::One(of), value) => self.object(out, of, value, set)?,
            (Kind::Many(of), Node::List(items)) => {
                if of == "MlflowRunExtension"
                    && self.chosen(of, set)?.iter().any(|field| field.field.name == "modelVersions")
                {
                    self.look_up_versions(items)?;
                }
                out.push(b'[');
                for (number, item) in items.iter().enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    self.object(out, of, item, set)?;
                }
                out.push(b']');
            }
            (_, value) => {
                match value {
                    Node::Text(text) => self.pay(0, text.len())?,
                    Node::List(texts) => self.pay(texts.len(), texts.iter().map(|text| text.text().len()).sum())?,
                    _ => {}
                }
                json_into(out, value)?;
            }
        }
        Ok(())
    }
}

/// The id of a run in a REST answer.
fn run_id<'n>(run: &'n Node<'_>) -> &'n str {
    run.get("info").get("run_id").text()
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

    use runlode::LocalStore;

    use super::*;
    use crate::door::ServeOptions;

    #[test]
    fn every_root_has_an_endpoint() {
        let endpoints = endpoints();
        for root in ROOTS {
            assert!(root.endpoint.is_none_or(|path| endpoints.contains_key(path)), "{}", root.name);
        }
    }

    fn door() -> (tempfile::TempDir, Arc<Door>) {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path().join("store")).unwrap();
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

    #[test]
    fn frequent_lookups_are_done_once() {
        let (_dir, door) = door();
        let runs: Vec<String> = (0..300)
            .map(|_| door.mlflow.create_run(&runlode::mlflow::NewRun::default()).unwrap().info.run_id)
            .collect();
        door.mlflow.create_registered_model("m", &[], None).unwrap();
        for run in [&runs[0], &runs[7], &runs[0]] {
            let new = runlode::mlflow::NewModelVersion { source: "s", run_id: Some(run), ..Default::default() };
            door.mlflow.create_model_version("m", &new).unwrap();
        }
        // Every object, call and look-up asks once whether somebody waits; the answer alone asks once for each run and
        // version. Ten aliases of the search and ten of the versions would be a thousand times as many look-ups.
        let versions: String = (0..10).map(|k| format!("b{k}: modelVersions {{ name version }} ")).collect();
        let roots: String = (0..10)
            .map(|i| {
                format!("a{i}: mlflowSearchRuns(input: {{experimentIds: [\"0\"], maxResults: 500}}) {{ runs {{ info {{ runId }} {versions} }} }} ")
            })
            .collect();
        let asked = Arc::new(Counting::default());
        let counted = door.for_waiting(asked.clone(), 0);
        let answer = ask(&counted, &format!("mutation {{ {roots} }}"), &Value::Null);
        assert_eq!(answer["errors"], Value::Null, "{answer}");
        for (i, k) in [(0, 0), (9, 9), (3, 5)] {
            let found = answer["data"][format!("a{i}")]["runs"].as_array().unwrap();
            assert_eq!(found.len(), 300);
            for run in found {
                let id = run["info"]["runId"].as_str().unwrap();
                let numbers: Vec<&str> = run[format!("b{k}")]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|version| version["version"].as_str().unwrap())
                    .collect();
                match runs.iter().position(|known| known == id).unwrap() {
                    0 => assert_eq!(numbers, ["3", "1"]),
                    7 => assert_eq!(numbers, ["2"]),
                    _ => assert!(numbers.is_empty()),
                }
            }
        }
        let asked = asked.0.load(std::sync::atomic::Ordering::Relaxed);
        // For each alias of the search: its answer, 300 runs and their infos, and 30 versions; beside that, one search.
        assert!(asked < 10 * (1 + 600 + 30) + 300 + 100, "{asked}");
    }

    /// Counts the questions; always waits.
    #[derive(Debug, Default)]
    struct Counting(std::sync::atomic::AtomicUsize);

    impl runlode::mlflow::Waiting for Counting {
        fn is_waiting(&self) -> bool {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            true
        }
    }

    /// Waits for this many questions.
    #[derive(Debug)]
    struct Leaving(std::sync::atomic::AtomicUsize);

    impl runlode::mlflow::Waiting for Leaving {
        fn is_waiting(&self) -> bool {
            let relaxed = std::sync::atomic::Ordering::Relaxed;
            self.0.fetch_update(relaxed, relaxed, |left| left.checked_sub(1)).is_ok()
        }
    }

    #[test]
    fn all_fields_of_a_query_have_one_budget_and_end_with_their_client() {
        let (_dir, door) = door();
        let tags: Vec<(String, String)> = (0..100).map(|i| (format!("k{i}"), "v".repeat(5000))).collect();
        for _ in 0..30 {
            let new = runlode::mlflow::NewRun { tags: &tags, ..Default::default() };
            door.mlflow.create_run(&new).unwrap();
        }
        let fields: String = (0..10).map(|k| format!("t{k}: data {{ tags {{ key value }} }} ")).collect();
        let root = |i| {
            format!(
                "a{i}: mlflowSearchRuns(input: {{experimentIds: [\"0\"], maxResults: 500}}) {{ runs {{ {fields} }} }} "
            )
        };
        // 100 tags cost about 16,000 values, ten aliases of them 160,000, and 30 runs 4,800,000.
        let answer = ask(&door, &format!("mutation {{ {} }}", root(0)), &Value::Null);
        assert_eq!(answer["data"], Value::Null);
        assert!(answer["errors"][0].as_str().unwrap().contains("more than 1000000 values"), "{}", answer["errors"]);
        let leaving = door.for_waiting(Arc::new(Leaving(std::sync::atomic::AtomicUsize::new(200))), 0);
        let body = json!({ "query": format!("mutation {{ {} }}", root(0)) }).to_string();
        let request = Request { body: body.into(), fields_in_body: true, ..Request::default() };
        assert_eq!(graphql(&leaving, &request).unwrap_err().status(), 499);
    }

    #[test]
    fn mutations_come_by_post() {
        let (_dir, door) = door();
        let get = |query: &str| {
            let query = query.replace(' ', "+").replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
            graphql(&door, &Request { query: format!("query={query}"), ..Request::default() })
        };
        let refused = get("mutation { testMutation(inputString: \"x\") { output } }").unwrap_err();
        assert_eq!(refused.status(), 405);
        assert!(matches!(get("{ test(inputString: \"x\") { output } }").unwrap(), Answer::Json(_)));
    }
}
