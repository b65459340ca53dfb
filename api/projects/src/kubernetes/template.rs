//! The template of a Job, and the Job that it becomes.
//!
//! Set are, as MLflow sets them: `metadata.name`, and of the first container its name, image, command and, after those of
//! the template, its variables. All else stays.

use std::path::Path;

use runlode_yaml::{self as yaml, Node};
use serde_json::{Map, Value, json};

use crate::error::{ProjectError, Result};
use crate::file::file_error;

/// The longest name of a Job whose pods can be named by it.
const NAME_CHARS_MAX: usize = 63;
/// `-YYYY-MM-DD-HH-MM-SS-ffffff`
const TIME_CHARS: usize = 27;

/// A template that can be filled.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    job: Value,
    namespace: String,
}

/// What is put in.
pub(crate) struct Filling<'a> {
    /// Name of the Job.
    pub(crate) job: &'a str,
    /// Name of the container.
    pub(crate) project: &'a str,
    /// Image, with its digest if it has one.
    pub(crate) image: &'a str,
    /// The command.
    pub(crate) words: &'a [String],
    /// Variables, after those of the template.
    pub(crate) variables: &'a [(String, String)],
}

impl Template {
    /// Reads a template, and refuses with file, line and key what cannot be filled.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let io = |source| ProjectError::Io { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(io)?;
        let top = yaml::load(&text).map_err(|error| file_error(path, error.line, &[], error.reason))?;
        let refused = |node: &Node, keys: &[&str], what: &str| file_error(path, node.line, keys, what);
        let mut at = &top;
        let mut keys = Vec::new();
        for key in ["spec", "template", "spec", "containers"] {
            keys.push(key);
            at = at.get(key).ok_or_else(|| refused(at, &keys, "missing; this is no template of a Job"))?;
        }
        match &at.value {
            yaml::Value::List(items) if items.first().is_some_and(|item| matches!(item.value, yaml::Value::Map(_))) => {
                if let Some(variables) = items.first().and_then(|item| item.get("env"))
                    && !matches!(variables.value, yaml::Value::List(_))
                {
                    return Err(refused(variables, &["spec", "template", "spec", "containers", "env"], "no list"));
                }
            }
            _ => return Err(refused(at, &keys, "no list of containers")),
        }
        let metadata = top.get("metadata").filter(|metadata| matches!(metadata.value, yaml::Value::Map(_)));
        let Some(metadata) = metadata else {
            return Err(refused(&top, &["metadata"], "missing; write {namespace: NAME}"));
        };
        let Some(namespace) = metadata.get("namespace").and_then(Node::as_text) else {
            return Err(refused(metadata, &["metadata", "namespace"], "missing; name the namespace of the Job"));
        };
        Ok(Self { namespace: namespace.to_owned(), job: json_of(&top) })
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The Job of a launch.
    pub(crate) fn job(&self, filling: &Filling<'_>) -> Value {
        let mut job = self.job.clone();
        job["metadata"]["name"] = json!(filling.job);
        let container = &mut job["spec"]["template"]["spec"]["containers"][0];
        container["name"] = json!(filling.project);
        container["image"] = json!(filling.image);
        container["command"] = json!(filling.words);
        let mut variables = container["env"].as_array().cloned().unwrap_or_default();
        variables.extend(filling.variables.iter().map(|(name, value)| json!({ "name": name, "value": value })));
        container["env"] = Value::Array(variables);
        job
    }
}

/// The name of a Job of this moment.
pub(crate) fn job_name(project: &str, now: &jiff::Zoned) -> String {
    format!("{project}-{}", now.strftime("%Y-%m-%d-%H-%M-%S-%6f"))
}

/// Refuses a project's name that no Job and no container can have.
pub(crate) fn check_name(project: &str, file: &Path) -> Result<()> {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends_well = project.bytes().next().is_some_and(is_letter) && project.bytes().last().is_some_and(is_letter);
    if project.len() + TIME_CHARS > NAME_CHARS_MAX {
        let most = NAME_CHARS_MAX - TIME_CHARS;
        return Err(file_error(file, 1, &["name"], format!("longer than {most} letters, as a Job's name may be")));
    }
    if !ends_well || !project.bytes().all(|byte| is_letter(byte) || byte == b'-') {
        let reason = format!("{project:?} names no Job: use small letters, digits and - inside");
        return Err(file_error(file, 1, &["name"], reason));
    }
    Ok(())
}

/// The value as kubectl reads it.
fn json_of(node: &Node) -> Value {
    match &node.value {
        yaml::Value::Null => Value::Null,
        yaml::Value::Bool(is) => json!(is),
        yaml::Value::Int(_) => {
            let digits = node.value.to_string();
            digits.parse::<i64>().map_or_else(|_| json!(digits.parse::<f64>().ok()), |number| json!(number))
        }
        yaml::Value::Float(number) => json!(number),
        yaml::Value::List(items) => Value::Array(items.iter().map(json_of).collect()),
        yaml::Value::Map(entries) => {
            let entry = |(key, value): &(Node, Node)| (key.value.to_string(), json_of(value));
            Value::Object(entries.iter().map(entry).collect::<Map<_, _>>())
        }
        other => json!(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TEMPLATE: &str = "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: x\n  namespace: mlflow\nspec:\n  backoffLimit: 0\n  template:\n    spec:\n      containers:\n      - name: x\n        image: y\n        command: [z]\n        env: [{name: A, value: '1'}]\n        resources: {limits: {memory: 512Mi}}\n      restartPolicy: Never\n";

    fn read(text: &str) -> Result<Template> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.yaml");
        std::fs::write(&path, text).unwrap();
        Template::read(&path)
    }

    #[test]
    fn what_a_launch_decides_is_set_and_the_rest_stays() {
        let template = read(TEMPLATE).unwrap();
        assert_eq!(template.namespace(), "mlflow");
        let job = template.job(&Filling {
            job: "demo-1",
            project: "demo",
            image: "r/demo@sha256:ab",
            words: &["python".to_owned(), "a b".to_owned()],
            variables: &[("MLFLOW_RUN_ID".to_owned(), "r".to_owned())],
        });
        assert_eq!(job["metadata"], json!({"name": "demo-1", "namespace": "mlflow"}));
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(
            *container,
            json!({"name": "demo", "image": "r/demo@sha256:ab", "command": ["python", "a b"],
                "env": [{"name": "A", "value": "1"}, {"name": "MLFLOW_RUN_ID", "value": "r"}],
                "resources": {"limits": {"memory": "512Mi"}}})
        );
        assert_eq!(job["spec"]["backoffLimit"], json!(0));
    }

    #[test]
    fn what_cannot_be_filled_is_refused_by_line_and_key() {
        for (from, to, says) in [
            ("namespace: mlflow", "labels: {}", "job.yaml:4: metadata.namespace: missing"),
            ("      containers:", "      boxes:", "job.yaml:10: spec.template.spec.containers: missing"),
            ("- name: x", "- x\n      - name: x", "job.yaml:11: spec.template.spec.containers: no list"),
            ("[{name: A, value: '1'}]", "{A: 1}", "spec.template.spec.containers.env: no list"),
            ("kind: Job", "kind: [", "job.yaml:"),
        ] {
            let error = read(&TEMPLATE.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(says), "{from}: {error}");
        }
    }

    #[test]
    fn names_are_those_of_jobs() {
        let file = Path::new("MLproject");
        check_name("demo-2", file).unwrap();
        for name in ["Demo", "a_b", "-a", "a-", "", &"a".repeat(40)] {
            check_name(name, file).unwrap_err();
        }
        let now = "2026-11-30T17:03:04.000123[UTC]".parse().unwrap();
        assert_eq!(job_name("demo", &now), "demo-2026-11-30-17-03-04-000123");
    }
}
