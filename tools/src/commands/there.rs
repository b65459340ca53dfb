//! What commands that list and show read of a server, now or as of a moment.
//!
//! An entity's JSON is the server's own (docs/api.md). Lists have the same columns as for a folder, as far as the API has
//! their values.

use serde_json::{Value, json};

use crate::columns::Columns;
use crate::error::{Error, Result};
use crate::format;
use crate::list::{Cell, Column};
use crate::moment::Moment;
use crate::output::{Output, note};
use crate::v1::{Named, Server};

/// A server, and the moment that is asked for.
pub(super) struct There {
    server: Server,
    /// `None`: now.
    position: Option<u64>,
}

/// The columns of runs in a table that names none, and their heads.
const RUN_COLUMNS: [(&str, &str, usize); 6] = [
    ("run_id", "run", 32),
    ("run_name", "name", 24),
    ("experiment_id", "experiment", 20),
    ("status", "status", 12),
    ("start_time", "started", 24),
    ("end_time", "ended", 24),
];
/// Logged models that a server lists at once.
const LOGGED_MODELS_MAX: usize = 5_000;
/// Metric and param columns of a table for people.
const COLUMNS_MAX: usize = 12;

fn text(value: &Value) -> Cell {
    Cell::text(value.as_str())
}

fn time(value: &Value) -> Cell {
    value.as_i64().map_or(Cell::Nothing, Cell::Time)
}

/// Lists of two, joined.
fn pairs(value: &Value, join: &str) -> Cell {
    let pair = |pair: &Value| {
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{}{join}{}", plain(&pair[0]), plain(&pair[1]))
    };
    let pairs: Vec<String> = value.as_array().into_iter().flatten().map(pair).collect();
    if pairs.is_empty() { Cell::Nothing } else { Cell::Text(pairs.join(" ")) }
}

fn list(answer: &Value, field: &str) -> Result<Vec<Value>> {
    let list = answer[field].as_array().cloned();
    list.ok_or_else(|| Error::Source(format!("the server is no Runlode server of this version: no `{field}`")))
}

impl There {
    /// Asks which position the moment means, and says it.
    pub(super) fn new(url: &str, moment: &Moment, output: &Output) -> Result<Self> {
        let server = Server::new(url)?;
        let position = match moment.text() {
            None => None,
            Some(moment) => {
                let position = server.get("moment", &[("as_of", &moment)])?["position"].as_u64();
                Some(position.ok_or_else(|| Error::Source(format!("{url} does not say which position it shows")))?)
            }
        };
        if let Some(position) = position.filter(|_| !output.is_json()) {
            note(format!("as of position {position}"));
        }
        Ok(Self { server, position })
    }

    fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let position = self.position.map(|position| position.to_string());
        let mut all = parameters.to_vec();
        all.extend(position.as_deref().map(|position| ("as_of", position)));
        self.server.get(path, &all)
    }

    /// Adds the position to a document.
    fn marked(&self, mut document: Value) -> Value {
        if let (Some(position), Some(fields)) = (self.position, document.as_object_mut()) {
            fields.insert("as_of_position".to_owned(), position.into());
        }
        document
    }

    fn absent(&self, what: &str) -> Error {
        Error::usage(match self.position {
            None => format!("there is no `{what}` in this store"),
            Some(position) => format!("there was no `{what}` at position {position}"),
        })
    }

    /// Experiments, each as a document and as cells: id, name, lifecycle, creation, tags.
    pub(super) fn experiments(&self, all: bool) -> Result<Vec<(Value, [Cell; 5])>> {
        let experiments = list(&self.get("experiments", &[])?, "experiments")?.into_iter();
        let shown = experiments.filter(|experiment| all || experiment["deleted"] != true);
        let row = |experiment: Value| {
            let lifecycle = if experiment["deleted"] == true { "deleted" } else { "active" };
            let cells = [
                text(&experiment["experiment_id"]),
                text(&experiment["name"]),
                Cell::text(Some(lifecycle)),
                time(&experiment["created_ms"]),
                pairs(&experiment["tags"], "="),
            ];
            (self.marked(experiment), cells)
        };
        Ok(shown.map(row).collect())
    }

    /// Registered models, each as a document and as cells: name, versions, aliases, update, creation, description, tags.
    pub(super) fn models(&self) -> Result<Vec<(Value, [Cell; 7])>> {
        let row = |model: Value| {
            let cells = [
                text(&model["name"]),
                model["versions"].as_u64().map_or(Cell::Nothing, Cell::Count),
                pairs(&model["aliases"], "="),
                time(&model["updated_ms"]),
                time(&model["created_ms"]),
                text(&model["description"]),
                pairs(&model["tags"], "="),
            ];
            (self.marked(model), cells)
        };
        Ok(list(&self.get("models", &[])?, "models")?.into_iter().map(row).collect())
    }

    /// The runs that match, as the columns of a list, and whether there are more.
    pub(super) fn runs(&self, search: &RunsThere<'_>, for_people: bool) -> Result<(Vec<Column>, usize, bool)> {
        let columns = match search.columns {
            Some(names) => names.to_vec(),
            None => {
                let usual = RUN_COLUMNS.iter().map(|(name, ..)| (*name).to_owned());
                usual.chain(["metrics.*".to_owned(), "params.*".to_owned()]).collect()
            }
        };
        let mut body = json!({
            "filter": search.filter, "order_by": search.order, "view": search.view, "limit": search.limit,
            "column": columns,
        });
        if !search.experiments.is_empty() {
            body["experiment_id"] = json!(search.experiments);
        }
        if let Some(position) = self.position {
            body["as_of"] = position.to_string().into();
        }
        let Columns { header, columns, rows } = self.server.table("runs", &body)?;
        let (mut out, mut others) = (Vec::new(), 0);
        for (name, cells) in columns {
            let column = Column::new(name.clone(), cells);
            let usual = RUN_COLUMNS.iter().find(|(usual, ..)| *usual == name);
            out.push(match (usual, search.columns) {
                (_, Some(_)) => column,
                (Some((_, head, width)), None) => column.shown_as(*head, *width),
                (None, None) => {
                    others += 1;
                    let head = match name.split_once('.') {
                        Some(("params", key)) => format!("{key}="),
                        Some((_, key)) => key.to_owned(),
                        None => name,
                    };
                    column.shown_as(head, if others <= COLUMNS_MAX { 14 } else { 0 })
                }
            });
        }
        if let Some(position) = self.position.filter(|_| !for_people) {
            out.push(Column::new("as_of_position", vec![Cell::Count(position); rows]));
        }
        Ok((out, rows, header["total"].as_u64().is_some_and(|total| total > rows as u64)))
    }

    /// The position that is shown, if a moment was asked for.
    pub(super) fn position(&self) -> Option<u64> {
        self.position
    }

    /// The id of the run that a text names: by its name now.
    pub(super) fn find_run(&self, text: &str) -> Result<String> {
        match self.server.find(text)? {
            Named::Run(id) => Ok(id),
            Named::Model(_) | Named::Version(..) | Named::Other(..) => {
                Err(Error::usage(format!("`{text}` is no run; give the name or the id of one")))
            }
        }
    }

    /// Everything about a run, but its points.
    pub(super) fn run(&self, id: &str) -> Result<Value> {
        let run = self.get("run", &[("run_id", id)])?["run"].take();
        if run.is_object() { Ok(run) } else { Err(self.absent(id)) }
    }

    /// Curves, as the API has them.
    pub(super) fn curves(&self, mut body: Value) -> Result<Columns> {
        if let Some(position) = self.position {
            body["as_of"] = position.to_string().into();
        }
        self.server.columns("curves", &body)
    }

    /// The logged models of some experiments, by name or id, or of all, newest first; each as a document and as cells: id,
    /// name, experiment, type, status, run, creation.
    pub(super) fn logged_models(&self, named: &[String]) -> Result<Vec<(Value, [Cell; 7])>> {
        let experiments = list(&self.get("experiments", &[])?, "experiments")?;
        let is = |experiment: &&Value, name: &str| experiment["name"] == name || experiment["experiment_id"] == name;
        let mut ids = Vec::new();
        for name in named {
            let found = experiments.iter().find(|experiment| is(experiment, name)).ok_or_else(|| self.absent(name))?;
            ids.push(found["experiment_id"].as_str().unwrap_or_default());
        }
        let limit = LOGGED_MODELS_MAX.to_string();
        let mut parameters: Vec<(&str, &str)> = ids.iter().map(|id| ("experiment_id", *id)).collect();
        parameters.push(("limit", &limit));
        let answer = self.get("logged-models", &parameters)?;
        if answer["more"] == true {
            note(format!("the newest {limit} logged models only; name an --experiment for others"));
        }
        let row = |model: Value| {
            let of = experiments.iter().find(|experiment| experiment["experiment_id"] == model["experiment_id"]);
            let experiment = of.map_or(&model["experiment_id"], |experiment| &experiment["name"]);
            let cells = [
                text(&model["model_id"]),
                text(&model["name"]),
                text(experiment),
                text(&model["type"]),
                text(&model["status"]),
                text(&model["run_id"]),
                time(&model["created_ms"]),
            ];
            (self.marked(model), cells)
        };
        Ok(list(&answer, "models")?.into_iter().map(row).collect())
    }

    /// Everything about the thing that a text names, but its points.
    pub(super) fn document(&self, target: &str) -> Result<Value> {
        let document = match self.server.find(target)? {
            Named::Run(id) => return Ok(self.marked(self.run(&id)?)),
            Named::Model(name) => {
                let found = self.get("models", &[("name", &name)])?;
                let mut model = list(&found, "models")?.into_iter().next().unwrap_or_default();
                if model.is_object() {
                    model["versions"] = found["versions"].clone();
                }
                model
            }
            Named::Version(name, version) => {
                let versions = list(&self.get("models", &[("name", &name)])?, "versions")?;
                versions.into_iter().find(|of| is_number(&of["version"], version)).unwrap_or_default()
            }
            Named::Other(kind, id) if kind == "experiment" => {
                let experiments = list(&self.get("experiments", &[])?, "experiments")?;
                experiments.into_iter().find(|of| of["experiment_id"] == id).unwrap_or_default()
            }
            Named::Other(kind, id) if kind == "logged_model" => {
                self.get("logged-model", &[("model_id", &id)])?["model"].clone()
            }
            Named::Other(..) => Value::Null,
        };
        match document.is_object() {
            true => Ok(self.marked(document)),
            false => Err(self.absent(target)),
        }
    }

    /// The changes of the thing that a text names, oldest first.
    pub(super) fn changes(&self, target: &str) -> Result<Vec<Value>> {
        let found = match self.server.find(target)? {
            Named::Run(id) => self.server.get("history", &[("run_id", &id)])?,
            Named::Model(name) => self.server.get("history", &[("registered_model", &name)])?,
            Named::Version(name, version) => {
                self.server.get("history", &[("registered_model", &name), ("version", &version.to_string())])?
            }
            Named::Other(kind, id) if kind == "experiment" => self.server.get("history", &[("experiment_id", &id)])?,
            Named::Other(kind, id) if kind == "logged_model" => {
                self.server.get("history", &[("logged_model_id", &id)])?
            }
            Named::Other(..) => return Err(self.absent(target)),
        };
        let mut changes = list(&found, "changes")?;
        let end = self.position.unwrap_or(u64::MAX);
        changes.retain(|change| change["position"].as_u64().is_some_and(|position| position <= end));
        if changes.is_empty() {
            return Err(self.absent(target));
        }
        Ok(changes.into_iter().map(|change| self.marked(change)).collect())
    }
}

/// A version's number, which may come as a text.
fn is_number(value: &Value, number: u32) -> bool {
    value.as_u64() == Some(number.into()) || value.as_str() == Some(&number.to_string())
}

/// Which runs are asked for.
pub(super) struct RunsThere<'a> {
    pub(super) filter: &'a str,
    pub(super) order: &'a [String],
    pub(super) experiments: &'a [String],
    pub(super) view: &'a str,
    pub(super) limit: u32,
    pub(super) columns: Option<&'a [String]>,
}

/// Prints a document as lines, nested lists indented.
pub(super) fn print(document: &Value, output: &mut Output) -> Result<()> {
    if output.is_json() {
        return output.document(document);
    }
    for (key, value) in document.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::Array(list) if list.is_empty() => {}
            Value::Array(list) => {
                output.line(key)?;
                for item in list {
                    output.line(format!("  {}", format::cut(&line(item), output.line_columns())))?;
                }
            }
            Value::Number(ms) if key.ends_with("_ms") => {
                let time = ms.as_i64().map_or_else(String::new, format::time);
                output.line(format!("{:24}  {time}", key.trim_end_matches("_ms")))?;
            }
            Value::String(text) if text.is_empty() => {}
            value => output.line(format!("{key:24}  {}", line(value)))?,
        }
    }
    Ok(())
}

/// A value on one line: pairs as `key  value`, objects as `key value, ...`.
fn line(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(pair) if pair.len() == 2 && pair.iter().all(|part| !part.is_object() && !part.is_array()) => {
            pair.iter().map(line).collect::<Vec<_>>().join("  ")
        }
        Value::Object(fields) => {
            let shown = fields.iter().filter(|(_, value)| !value.is_null() && *value != "" && **value != json!([]));
            let field = |(key, value): (&String, &Value)| match value {
                Value::Number(ms) if key.ends_with("_ms") => {
                    let time = ms.as_i64().map_or_else(String::new, format::time);
                    format!("{} {time}", key.trim_end_matches("_ms"))
                }
                value => format!("{key} {}", line(value)),
            };
            shown.map(field).collect::<Vec<_>>().join(", ")
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_lines() {
        assert_eq!(line(&json!(["champion", 7])), "champion  7");
        let metric = json!({ "key": "loss", "value": 0.5, "dataset": null, "tags": [] });
        assert_eq!(line(&metric), "key loss, value 0.5");
        assert_eq!(pairs(&json!([["a", 1], ["b", "x"]]), "="), Cell::Text("a=1 b=x".into()));
    }
}
