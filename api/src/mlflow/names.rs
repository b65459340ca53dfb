//! MLflow's rules for names, keys and values, and its messages for invalid ones.
//!
//! Each rule is in one place; calls only name the path of the parameter. Lengths count code points. The engine has
//! wider limits of its own and knows nothing of these.
//!
//! ```
//! use runlode::mlflow::entity::DatasetInput;
//! use runlode::mlflow::names::*;
//!
//! assert!(key("params[0].key", "a b/c.d").is_ok() && key("params[0].key", "a//b").is_err());
//! assert!(metric("", "loss", f64::NAN, 0).is_ok() && metric("", "loss", 0.5, -1).is_err());
//! assert!(metric_key("loss").is_ok() && param_key("", "lr").is_ok() && tag_key("", "note").is_ok());
//! assert_eq!(value("value", "0.01", PARAM_VALUE_CHARS_MAX, LongValues::of_environment())?, "0.01");
//! assert_eq!(value("value", "0.01", 2, LongValues::Cut)?, "0.");
//! assert!(experiment_name("").is_err() && experiment_tag("team", "vision").is_ok());
//! assert!(registry_tag("team", "risk").is_ok() && version_tag("checked", "yes").is_ok());
//! assert!(registered_model_name("name", "a/b").is_err() && logged_model_name("mlp").is_ok());
//! assert!(alias_form("v1").is_ok() && alias("v1").is_err(), "it reads like a version");
//! assert!(run_id("a-run_7").is_ok() && run_id("").is_err());
//! assert!(batch_sizes(1000, 0, 0).is_ok() && batch_sizes(1000, 1, 0).is_err());
//! assert!(pairs_size("tags", PAIRS_MAX).is_ok() && pairs_size("tags", PAIRS_MAX + 1).is_err());
//! assert_eq!(positive("max_results", 10)?, 10);
//! let mut input = DatasetInput::default();
//! input.dataset.name = "n".repeat(501);
//! assert!(dataset_input(&input).is_err());
//! assert_eq!(stage("production")?, runlode::Stage::Production);
//!
//! assert_eq!((python_float(1e16).as_str(), python_texts(["a", "b"]).as_str()), ("1e+16", "'a', 'b'"));
//! assert_eq!(quoted("a\"b"), r#""a\"b""#);
//! assert_eq!(missing("name").message, "Missing value for required parameter 'name'.");
//! assert!(invalid_value("key", "a//b", "not normal").message.ends_with("supplied: not normal"));
//! assert!(at_most("name", "digits", 3).is_err());
//! assert_eq!(internal_as_400("a file of another host").status(), 400);
//! # Ok::<(), runlode::mlflow::ApiError>(())
//! ```

use super::error::{ApiError, ApiResult, ErrorCode};
pub use crate::key::{KEY_CHARS_MAX, posix_normal, python_text};

/// Longest param value before MLflow cuts it.
pub const PARAM_VALUE_CHARS_MAX: usize = 6000;
/// Longest run tag value before MLflow cuts it.
pub const TAG_VALUE_CHARS_MAX: usize = 8000;
/// Longest value of an experiment's tag.
pub const EXPERIMENT_TAG_CHARS_MAX: usize = 20_000;
/// Longest experiment name.
pub const EXPERIMENT_NAME_CHARS_MAX: usize = 500;
/// Maximum number of metrics of a batch, and of all its items together.
pub const BATCH_ITEMS_MAX: usize = 1000;
/// Maximum number of params of a batch, and of tags.
pub const BATCH_PARAMS_MAX: usize = 100;
/// Maximum number of tags, and of params, that a call on one entity may carry. MLflow has no such limit, except a lower
/// one for a run's batch. The store accepts lists of ten times that.
pub const PAIRS_MAX: usize = 10_000;

/// Treatment of a param or tag value longer than MLflow's limit (`MLFLOW_TRUNCATE_LONG_VALUES`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LongValues {
    /// Kept whole, up to 64 KiB; the default if the variable is not set.
    #[default]
    Keep,
    /// Cut at MLflow's limit.
    Cut,
    /// The call is refused.
    Refuse,
}

impl LongValues {
    /// Reads the environment variable.
    pub fn of_environment() -> Self {
        match std::env::var("MLFLOW_TRUNCATE_LONG_VALUES").as_deref() {
            Ok("true" | "True" | "TRUE" | "1") => Self::Cut,
            Ok("false" | "False" | "FALSE" | "0") => Self::Refuse,
            _ => Self::Keep,
        }
    }
}

/// Longest value under [`LongValues::Keep`].
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// Number of characters of a value that a message shows.
const SHOWN_CHARS_MAX: usize = 1000;

/// A text as MLflow's messages quote it: JSON with ASCII only; cut if it is long.
pub fn quoted(text: &str) -> String {
    let shown = text.char_indices().nth(SHOWN_CHARS_MAX).map_or(text, |(at, _)| &text[..at]);
    let mut out = String::with_capacity(shown.len() + 5);
    out.push('"');
    for c in shown.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    if shown.len() < text.len() {
        out.push_str("...");
    }
    out.push('"');
    out
}

/// Texts as Python prints them, separated by commas.
pub fn python_texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    texts.into_iter().map(|text| python_text(text.as_ref())).collect::<Vec<_>>().join(", ")
}

/// The error for a missing required parameter.
pub fn missing(path: &str) -> ApiError {
    ApiError::invalid(format!("Missing value for required parameter '{path}'."))
}

/// The error for a wrong value; `why` may be empty.
pub fn invalid_value(path: &str, value: &str, why: &str) -> ApiError {
    if why.is_empty() {
        return ApiError::invalid(format!("Invalid value {} for parameter '{path}' supplied.", quoted(value)));
    }
    ApiError::invalid(format!("Invalid value {} for parameter '{path}' supplied: {why}", quoted(value)))
}

fn too_long(path: &str, limit: usize) -> ApiError {
    ApiError::invalid(format!("'{path}' exceeds the maximum length of {limit} characters"))
}

/// Refuses a text of more than `limit` code points.
pub fn at_most(path: &str, text: &str, limit: usize) -> ApiResult<()> {
    // There are at least as many bytes as code points: most texts need no count.
    if text.len() <= limit || text.chars().count() <= limit { Ok(()) } else { Err(too_long(path, limit)) }
}

/// Refuses characters and forms that keys of metrics, params and tags may not have; `path` is how the message names it.
pub fn key(path: &str, key: &str) -> ApiResult<()> {
    match crate::key::check(key) {
        Ok(()) => Ok(()),
        Err(why) => Err(invalid_value(path, key, &why.to_string())),
    }
}

/// Checks key and time of a metric point; `path` is "" or the point's place in a batch.
pub fn metric(path: &str, name: &str, value: f64, timestamp: i64) -> ApiResult<()> {
    let at = |field: &str| if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !name.is_empty() {
        // A valid name needs no allocation for its path.
    } else {
        key(&at("name"), name)?;
    }
    if timestamp < 0 {
        return Err(ApiError::invalid(format!(
            "Invalid value {timestamp} for parameter '{}' supplied: metric '{name}' (value={}). Timestamp must be a \
             nonnegative long (64-bit integer) ",
            at("timestamp"),
            python_float(value),
        )));
    }
    at_most("Metric name", name, KEY_CHARS_MAX)
}

/// Checks a metric's key by the rule of every API. A valid plain key needs no allocation.
pub fn metric_key(name: &str) -> ApiResult<()> {
    metric("", name, 0.0, 0)
}

/// A number as Python prints it.
pub fn python_float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |exponent| ("-", exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{value:?}")
}

/// Checks a param's key.
pub fn param_key(path: &str, name: &str) -> ApiResult<()> {
    key(path, name)?;
    at_most("Param key", name, KEY_CHARS_MAX)
}

/// Checks a run tag's key.
pub fn tag_key(path: &str, name: &str) -> ApiResult<()> {
    key(path, name)?;
    at_most(path, name, KEY_CHARS_MAX)
}

/// A value under its limit: unchanged, cut, or refused.
pub fn value<'a>(path: &str, text: &'a str, limit: usize, long: LongValues) -> ApiResult<&'a str> {
    if text.len() <= limit {
        return Ok(text);
    }
    let cut = text.char_indices().nth(limit).map(|(at, _)| at);
    match (cut, long) {
        (None, _) => Ok(text),
        (Some(at), LongValues::Cut) => Ok(&text[..at]),
        (Some(_), LongValues::Keep) if text.len() <= VALUE_BYTES_MAX => Ok(text),
        (Some(_), LongValues::Keep) => {
            Err(ApiError::invalid(format!("'{path}' exceeds the maximum length of {VALUE_BYTES_MAX} bytes")))
        }
        (Some(_), LongValues::Refuse) => Err(too_long(path, limit)),
    }
}

/// Checks an experiment's name.
pub fn experiment_name(name: &str) -> ApiResult<()> {
    if name.is_empty() {
        return Err(ApiError::invalid("Invalid experiment name: ''"));
    }
    at_most("name", name, EXPERIMENT_NAME_CHARS_MAX)
}

/// Checks a tag of an experiment.
pub fn experiment_tag(name: &str, value: &str) -> ApiResult<()> {
    key("key", name)?;
    at_most("key", name, KEY_CHARS_MAX)?;
    at_most("value", value, EXPERIMENT_TAG_CHARS_MAX)?;
    match name {
        "mlflow.trace.archivalRetention" => archival_duration(value, "value", true),
        "mlflow.trace.archiveNow" => archival_duration(value, "older_than", false),
        _ => Ok(()),
    }
}

/// What an experiment's tag says of the archival of its traces: a JSON object with a duration, as `30d`. `retention`: it
/// must be there, and say what it is.
fn archival_duration(text: &str, field: &str, retention: bool) -> ApiResult<()> {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(text) else {
        return Err(ApiError::invalid("Trace archival config must be encoded as a JSON object."));
    };
    if retention && fields.get("type").and_then(|kind| kind.as_str()) != Some("duration") {
        return Err(ApiError::invalid("Trace archival config must use type 'duration'."));
    }
    let duration = match fields.get(field) {
        None | Some(serde_json::Value::Null) if !retention => return Ok(()),
        Some(serde_json::Value::String(duration)) => duration.trim(),
        _ => "",
    };
    if duration.chars().count() > 32 {
        return Err(ApiError::invalid("Trace archival duration must be at most 32 characters."));
    }
    let number = duration.strip_suffix(['m', 'h', 'd']).unwrap_or_default();
    if number.is_empty() || number.starts_with('0') || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ApiError::invalid(
            "Trace archival retention must be in the form `<int><unit>`, where unit is one of 'm', 'h', or 'd'.",
        ));
    }
    Ok(())
}

/// Checks a tag of a registered model or version.
pub fn registry_tag(name: &str, value: &str) -> ApiResult<()> {
    key("key", name)?;
    at_most("key", name, KEY_CHARS_MAX)?;
    at_most("value", value, 100_000)
}

/// Checks a tag of a version. Texts of prompts have a message of their own.
pub fn version_tag(name: &str, value: &str) -> ApiResult<()> {
    if name == "mlflow.prompt.text" && value.chars().count() > 100_000 {
        return Err(ApiError::invalid("Prompt text exceeds max length of 100000 characters."));
    }
    registry_tag(name, value)
}

/// Checks a registered model's name; `parameter` is `name` or `new_name`.
pub fn registered_model_name(parameter: &str, name: &str) -> ApiResult<()> {
    if name.trim().is_empty() {
        return Err(missing(parameter));
    }
    if name.contains(['/', ':']) {
        return Err(ApiError::invalid(format!("Invalid model name '{name}'. Names cannot contain '/' or ':'.")));
    }
    let normal = posix_normal(name);
    if normal != name || normal == "." || normal.starts_with("..") {
        let why = format!(
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as \
             such. This name would resolve to {}",
            python_text(&normal)
        );
        return Err(invalid_value("name", name, &why));
    }
    Ok(())
}

/// Checks a logged model's name.
pub fn logged_model_name(name: &str) -> ApiResult<()> {
    if name.is_empty() || name.contains(['/', ':', '.', '%', '"', '\'']) {
        return Err(ApiError::invalid(format!(
            "Invalid model name ({}) provided. Model name must be a non-empty string and cannot contain the following \
             characters: ('/', ':', '.', '%', '\"', \"'\")",
            python_text(name)
        )));
    }
    Ok(())
}

/// Checks an alias that is read or deleted.
pub fn alias_form(name: &str) -> ApiResult<()> {
    if name.is_empty() {
        return Err(ApiError::invalid("Registered model alias name cannot be empty."));
    }
    if !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-')) {
        return Err(ApiError::invalid(format!(
            "Invalid alias name: '{name}'. Names may only contain alphanumerics, underscores (_), and dashes (-)."
        )));
    }
    at_most("Registered model alias name", name, 255)
}

/// Checks an alias that is set.
pub fn alias(name: &str) -> ApiResult<()> {
    alias_form(name)?;
    if name.eq_ignore_ascii_case("latest") {
        return Err(ApiError::invalid("'latest' alias name (case insensitive) is reserved."));
    }
    let digits = name.strip_prefix(['v', 'V']);
    if digits.is_some_and(|digits| !digits.is_empty() && digits.chars().all(char::is_numeric)) {
        return Err(ApiError::invalid(format!("Version alias name '{name}' is reserved.")));
    }
    Ok(())
}

/// Checks a run id as log-batch and log-inputs do: they accept more than the ids of this store.
pub fn run_id(id: &str) -> ApiResult<()> {
    let mut chars = id.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = chars.clone().count() <= 255 && chars.all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    if first && rest { Ok(()) } else { Err(invalid_value("run_id", id, "")) }
}

/// Refuses more than `limit` entries of a list in one call.
fn at_most_entries(what: &str, limit: usize, count: usize) -> ApiResult<()> {
    if count <= limit {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "A batch logging request can contain at most {limit} {what}. Got {count} {what}. Please split up {what} \
         across multiple requests and try again."
    )))
}

/// Checks the number of metrics, params and tags of a batch.
pub fn batch_sizes(metrics: usize, params: usize, tags: usize) -> ApiResult<()> {
    at_most_entries("metrics", BATCH_ITEMS_MAX, metrics)?;
    at_most_entries("params", BATCH_PARAMS_MAX, params)?;
    at_most_entries("tags", BATCH_PARAMS_MAX, tags)?;
    at_most_entries("metrics, params, and tags", BATCH_ITEMS_MAX, metrics + params + tags)
}

/// Checks the number of tags or params (`what`) of a call that creates an entity or sets them.
pub fn pairs_size(what: &str, count: usize) -> ApiResult<()> {
    if count <= PAIRS_MAX {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "A request can contain at most {PAIRS_MAX} {what}. Got {count} {what}. Please split up {what} across multiple \
         requests and try again."
    )))
}

/// Checks a number of results, which must be positive.
pub fn positive(path: &str, number: i64) -> ApiResult<usize> {
    match usize::try_from(number) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(ApiError::invalid(format!(
            "Invalid value {number} for parameter '{path}' supplied. It must be a positive integer."
        ))),
    }
}

/// Checks a data set as a run's input.
pub fn dataset_input(input: &super::entity::DatasetInput) -> ApiResult<()> {
    let dataset = &input.dataset;
    at_most("name", &dataset.name, 500)?;
    at_most("digest", &dataset.digest, 36)?;
    at_most("source", &dataset.source, 65_535)?;
    at_most("schema", dataset.schema.as_deref().unwrap_or_default(), 1_048_575)?;
    at_most("profile", dataset.profile.as_deref().unwrap_or_default(), 16_777_215)?;
    for (key, value) in &input.tags {
        at_most("key", key, 255)?;
        at_most("value", value, 500)?;
    }
    Ok(())
}

/// Parses a stage, in any case.
pub fn stage(text: &str) -> ApiResult<crate::Stage> {
    use crate::Stage;
    let all = [Stage::None, Stage::Staging, Stage::Production, Stage::Archived];
    let found = all.into_iter().find(|stage| <&str>::from(*stage).eq_ignore_ascii_case(text));
    found.ok_or_else(|| {
        ApiError::invalid(format!(
            "Invalid Model Version stage: {text}. Value must be one of None, Staging, Production, Archived."
        ))
    })
}

/// An internal error where MLflow deliberately answers 500: the same code, with a status that clients raise at once.
pub fn internal_as_400(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InternalError, message).with_status(400)
}

/// Refuses duplicate keys. Lists may be long: they are sorted, not compared each with each.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE`.
pub(super) fn refuse_doubled(what: &str, pairs: &[(String, String)]) -> ApiResult<()> {
    let mut keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(ApiError::invalid(format!("Duplicate {what} keys have been submitted: ['{}'].", pair[0]))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_normal_paths() {
        for good in ["a", "a/b", "m/x y", "a.b", "é", "a:b", "a-b", "...a", "a b", "0"] {
            let result = key("key", good);
            assert_eq!(result.is_ok(), good != "...a", "{good}: {result:?}");
        }
        for bad in ["", ".", "..", "a//b", "a/../b", "a/", "/a", "../a", "./a", "a/."] {
            let text = key("key", bad).unwrap_err().message;
            assert!(text.contains("must not resolve to other names when treated as such"), "{bad}: {text}");
        }
        let text = key("metrics[1].name", "a|b").unwrap_err().message;
        assert!(text.starts_with("Invalid value \"a|b\" for parameter 'metrics[1].name' supplied: Names may only"));
        assert!(key("key", "a/../b").unwrap_err().message.ends_with("would resolve to 'b'"));
    }

    #[test]
    fn posix_forms() {
        for (path, normal) in [
            ("", "."),
            ("a//b/", "a/b"),
            ("//a", "//a"),
            ("///a", "/a"),
            ("a/../..", ".."),
            ("/..", "/"),
            ("a/./b", "a/b"),
        ] {
            assert_eq!(posix_normal(path), normal, "{path}");
        }
    }

    #[test]
    fn long_values_are_kept_cut_or_refused() {
        let long = "é".repeat(6001);
        assert_eq!(value("Param value", &long, 6000, LongValues::Keep).unwrap().len(), 12_002);
        assert_eq!(value("Param value", &long, 6000, LongValues::Cut).unwrap().chars().count(), 6000);
        let text = value("Param value", &long, 6000, LongValues::Refuse).unwrap_err().message;
        assert!(text.contains("'Param value' exceeds the maximum length of 6000 characters"));
        assert!(value("Param value", &"x".repeat(VALUE_BYTES_MAX + 1), 6000, LongValues::Keep).is_err());
        assert_eq!(value("p", &"é".repeat(6000), 6000, LongValues::Refuse).unwrap().len(), 12_000);
    }

    #[test]
    fn aliases() {
        for bad in ["", "a b", "latest", "Latest", "v3", "V12", "é!", &"a".repeat(256)] {
            assert!(alias(bad).is_err(), "{bad}");
        }
        for good in ["champion", "v", "v3a", "a-b_c"] {
            alias(good).unwrap();
        }
    }

    #[test]
    fn numbers_as_python_prints_them() {
        for (value, text) in
            [(1.0, "1.0"), (1e300, "1e+300"), (1e-5, "1e-05"), (0.1, "0.1"), (1e15, "1000000000000000.0")]
        {
            assert_eq!(python_float(value), text);
        }
    }

    #[test]
    fn batches() {
        let text = batch_sizes(1001, 0, 0).unwrap_err().message;
        assert!(text.starts_with(
            "A batch logging request can contain at most 1000 metrics. Got 1001 metrics. Please split up"
        ));
        assert!(batch_sizes(900, 100, 1).unwrap_err().message.contains("metrics, params, and tags"));
        batch_sizes(800, 100, 100).unwrap();
        pairs_size("tags", 10_000).unwrap();
        assert!(pairs_size("tags", 10_001).unwrap_err().message.contains("at most 10000 tags. Got 10001 tags."));
    }
}
