//! What the flavor `onnx` of a model says about its session.

use serde_json::Value;

/// The providers and the session options of the flavor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Names of execution providers in the order of preference; none is the CPU.
    pub providers: Vec<String>,
    /// Threads that run parts of the graph side by side.
    pub inter_op_threads: Option<usize>,
    /// Threads of one operator.
    pub intra_op_threads: Option<usize>,
    /// Whether parts of the graph run side by side.
    pub is_parallel: Option<bool>,
    /// How much of the graph is rewritten.
    pub optimization: Option<Optimization>,
    /// Keys of ONNX Runtime's session options, and their values.
    pub extra: Vec<(String, String)>,
}

/// How much of the graph ONNX Runtime rewrites before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Optimization {
    /// What changes nothing but speed, before providers are chosen.
    Basic,
    /// Fusions of operators too.
    Extended,
    /// Layouts too.
    Layout,
    /// Everything.
    All,
}

/// A key of the flavor that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("flavors.onnx.{key} of the model's MLmodel file is {found}; expected {expected}")]
pub struct SettingsError {
    /// The key, with dots.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub expected: &'static str,
}

impl Settings {
    /// Reads the flavor's keys. As in MLflow, a number that is 0 and a key that is null or empty say nothing.
    ///
    /// # Errors
    /// A key has a value of another type, or one that ONNX Runtime has no meaning for.
    pub fn of_flavor(flavor: &Value) -> Result<Self, SettingsError> {
        let mut settings = Self { providers: providers(&flavor["providers"])?, ..Self::default() };
        let options = &flavor["onnx_session_options"];
        settings.inter_op_threads = threads(options, "inter_op_num_threads")?;
        settings.intra_op_threads = threads(options, "intra_op_num_threads")?;
        settings.is_parallel = match said(&options["execution_mode"]) {
            None => None,
            Some(value) => match value.as_str().map(str::to_uppercase).as_deref() {
                Some("SEQUENTIAL") => Some(false),
                Some("PARALLEL") => Some(true),
                // MLflow passes over other texts.
                Some(_) => None,
                None => return Err(wrong("onnx_session_options.execution_mode", value, "sequential or parallel")),
            },
        };
        settings.optimization = match said(&options["graph_optimization_level"]) {
            None => None,
            Some(value) => Some(match value.as_u64() {
                Some(1) => Optimization::Basic,
                Some(2) => Optimization::Extended,
                Some(3) => Optimization::Layout,
                Some(99) => Optimization::All,
                _ => return Err(wrong("onnx_session_options.graph_optimization_level", value, "0, 1, 2, 3 or 99")),
            }),
        };
        if let Some(value) = said(&options["extra_session_config"]) {
            let expected = "a map from text to text";
            let key = "onnx_session_options.extra_session_config";
            let map = value.as_object().ok_or_else(|| wrong(key, value, expected))?;
            for (name, value) in map {
                let text = value.as_str().ok_or_else(|| wrong(&format!("{key}.{name}"), value, expected))?;
                settings.extra.push((name.clone(), text.to_owned()));
            }
        }
        Ok(settings)
    }

    /// The providers other than the CPU's, which this program does not have: such a model runs on the CPU.
    pub fn passed_over(&self) -> impl Iterator<Item = &str> {
        self.providers.iter().map(String::as_str).filter(|name| *name != "CPUExecutionProvider")
    }
}

fn wrong(key: &str, found: &Value, expected: &'static str) -> SettingsError {
    SettingsError { key: key.to_owned(), found: found.to_string(), expected }
}

/// A value that Python takes as true.
fn said(value: &Value) -> Option<&Value> {
    let is_silent = match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    };
    if is_silent { None } else { Some(value) }
}

fn threads(options: &Value, name: &str) -> Result<Option<usize>, SettingsError> {
    let Some(value) = said(&options[name]) else { return Ok(None) };
    let threads = value.as_u64().and_then(|threads| usize::try_from(threads).ok());
    threads
        .map(Some)
        .ok_or_else(|| wrong(&format!("onnx_session_options.{name}"), value, "a number of threads"))
}

/// Names, or pairs of a name and options.
fn providers(value: &Value) -> Result<Vec<String>, SettingsError> {
    let Some(value) = said(value) else { return Ok(Vec::new()) };
    let name = |entry: &Value| match entry {
        Value::String(name) => Some(name.clone()),
        Value::Array(pair) => pair.first()?.as_str().map(str::to_owned),
        _ => None,
    };
    match value {
        Value::String(name) => Ok(vec![name.clone()]),
        Value::Array(entries) => entries
            .iter()
            .map(|entry| name(entry).ok_or_else(|| wrong("providers", entry, "names, or pairs of a name and options")))
            .collect(),
        _ => Err(wrong("providers", value, "a list of names")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_flavor_says_is_read() {
        let flavor = json!({
            "providers": ["CUDAExecutionProvider", ["TensorrtExecutionProvider", {"device_id": "0"}], "CPUExecutionProvider"],
            "onnx_session_options": {
                "inter_op_num_threads": 0, "intra_op_num_threads": 3, "execution_mode": "parallel",
                "graph_optimization_level": 99, "extra_session_config": {"session.set_denormal_as_zero": "1"},
            },
        });
        let settings = Settings::of_flavor(&flavor).unwrap();
        assert_eq!(settings.passed_over().collect::<Vec<_>>(), ["CUDAExecutionProvider", "TensorrtExecutionProvider"]);
        assert_eq!((settings.inter_op_threads, settings.intra_op_threads), (None, Some(3)));
        assert_eq!((settings.is_parallel, settings.optimization), (Some(true), Some(Optimization::All)));
        assert_eq!(settings.extra, [("session.set_denormal_as_zero".to_owned(), "1".to_owned())]);
        assert_eq!(Settings::of_flavor(&json!({"onnx_session_options": null})).unwrap(), Settings::default());
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        for (flavor, key) in [
            (json!({"providers": 5}), "providers"),
            (json!({"providers": [{}]}), "providers"),
            (json!({"onnx_session_options": {"intra_op_num_threads": "4"}}), "onnx_session_options.intra_op_num_threads"),
            (json!({"onnx_session_options": {"graph_optimization_level": 7}}), "onnx_session_options.graph_optimization_level"),
            (json!({"onnx_session_options": {"extra_session_config": {"a": 1}}}), "onnx_session_options.extra_session_config.a"),
        ] {
            assert_eq!(Settings::of_flavor(&flavor).unwrap_err().key, key, "{flavor}");
        }
    }
}
