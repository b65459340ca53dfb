//! Names that are like one that is not there.

use pyo3::prelude::*;

/// `. Similar: ...`, or nothing.
pub(crate) fn similar(py: Python<'_>, text: &str, names: &[String]) -> PyResult<String> {
    let close = py.import("difflib")?.call_method1("get_close_matches", (text, names.to_vec(), 3, 0.6))?;
    let close: Vec<String> = close.extract()?;
    let quoted: Vec<String> = close.iter().map(|name| format!("'{name}'")).collect();
    Ok(if quoted.is_empty() { String::new() } else { format!(". Similar: {}", quoted.join(", ")) })
}
