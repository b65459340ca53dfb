//! Joins modules into one script, and style sheets into one.
//!
//! ```text
//!   main.js -> imports, depth first -> each module once, after those that it imports -> one module
//! ```
//!
//! All modules share one scope, so every name at the beginning of a line is declared in one file only; this is checked.
//! Imports name what they take (`import { a, b } from "./x.js";`, never `as`), and circles are refused. Lines that are
//! only comment are left out.

use std::collections::BTreeMap;
use std::path::Path;

/// The first module.
const MAIN: &str = "main.js";

struct Bundle<'a> {
    folder: &'a Path,
    /// Modules that are being read, to find circles.
    open: Vec<String>,
    done: Vec<String>,
    /// The module that declares each name.
    names: BTreeMap<String, String>,
    text: String,
}

/// One script of all modules that `main.js` reaches.
///
/// # Errors
/// A sentence about the module that cannot be joined.
pub(crate) fn script(folder: &Path) -> Result<String, String> {
    let mut bundle = Bundle {
        folder,
        open: Vec::new(),
        done: Vec::new(),
        names: BTreeMap::new(),
        text: String::from("\"use strict\";\n"),
    };
    bundle.module(MAIN)?;
    Ok(bundle.text)
}

/// One style sheet of all in a folder, by name.
///
/// # Errors
/// Those of reading.
pub(crate) fn style(folder: &Path) -> Result<String, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "css"));
    paths.sort();
    let mut text = String::new();
    for path in paths {
        let sheet = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        put_without_comments(&sheet, &mut text);
    }
    Ok(text)
}

impl Bundle<'_> {
    fn module(&mut self, name: &str) -> Result<(), String> {
        if self.done.iter().any(|done| done == name) {
            return Ok(());
        }
        if self.open.iter().any(|open| open == name) {
            return Err(format!("modules import one another: {} -> {name}", self.open.join(" -> ")));
        }
        let path = self.folder.join(name);
        let source = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        self.open.push(name.to_owned());
        let (imports, body) = split(&source).map_err(|why| format!("{name}: {why}"))?;
        for import in imports {
            self.module(&import)?;
        }
        for declared in declared_names(&body) {
            if let Some(other) = self.names.insert(declared.clone(), name.to_owned()) {
                return Err(format!("{other} and {name} both declare `{declared}`"));
            }
        }
        put_without_comments(&body, &mut self.text);
        self.open.pop();
        self.done.push(name.to_owned());
        Ok(())
    }
}

/// The modules that a source imports, and the source without these lines and without `export`.
fn split(source: &str) -> Result<(Vec<String>, String), String> {
    let (mut imports, mut body) = (Vec::new(), String::new());
    let mut open = String::new();
    for line in source.lines() {
        if !open.is_empty() || line.starts_with("import ") {
            open.push_str(line);
            open.push(' ');
            if line.trim_end().ends_with(';') {
                imports.push(imported(&open)?);
                open.clear();
            }
            continue;
        }
        body.push_str(line.strip_prefix("export ").unwrap_or(line));
        body.push('\n');
    }
    if open.is_empty() { Ok((imports, body)) } else { Err(format!("an import does not end: {open}")) }
}

/// The file that an import names.
fn imported(line: &str) -> Result<String, String> {
    let wrong = || format!("cannot read `{line}`; write import {{ a, b }} from \"./x.js\";");
    let (names, from) = line.split_once(" from \"./").ok_or_else(wrong)?;
    if names.contains(" as ") || names.contains('*') || !names.contains('{') {
        return Err(wrong());
    }
    Ok(from.split_once('"').ok_or_else(wrong)?.0.to_owned())
}

/// Names that are declared at the beginning of a line.
fn declared_names(body: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in body.lines() {
        let line = line.strip_prefix("async ").unwrap_or(line);
        let rest =
            ["function* ", "function ", "class ", "const ", "let "].iter().find_map(|word| line.strip_prefix(word));
        if let Some(rest) = rest {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').unwrap_or(rest.len());
            names.push(rest[..end].to_owned());
        }
    }
    names
}

/// Appends lines that are not only comment, without indentation.
fn put_without_comments(source: &str, out: &mut String) {
    let mut in_comment = false;
    for line in source.lines() {
        let line = line.trim();
        if in_comment {
            in_comment = !line.ends_with("*/");
            continue;
        }
        if line.starts_with("/*") {
            in_comment = !line.ends_with("*/");
            continue;
        }
        if !line.is_empty() && !line.starts_with("//") {
            out.push_str(line);
            out.push('\n');
        }
    }
}
