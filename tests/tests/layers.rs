//! The levels of the engine, as its crate doc draws them, and of the crate above it: imports only point down, and the
//! nouns of the engine (log, series, index, hot state, pins) never import one another.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// A crate whose modules have levels.
struct Crate {
    /// Its folder, from that of the tests.
    src: &'static str,
    /// Modules by level, the lowest first.
    levels: &'static [&'static [&'static str]],
    /// A level whose modules never import one another.
    nouns: Option<usize>,
    /// A level, and the part above it that its work is given: what it works on.
    given: Option<(usize, &'static str)>,
    /// Imports that cross the picture, each with its reason. None may be added without one.
    exceptions: &'static [(&'static str, &'static str, &'static str)],
    /// A search that sees fewer imports is broken.
    imports_min: usize,
}

/// `storage` and its like stand above time, errors and ids; `store` wires all.
const ENGINE: Crate = Crate {
    src: "../engine/src",
    levels: &[
        &["error", "id", "time", "checksum", "varint", "fork"],
        &["storage", "event", "entity", "branch", "point", "summary", "missing"],
        &["log", "series", "index", "hot", "pins"],
        &["ingest", "inbox", "query", "checkpoint", "heal", "seal", "compaction", "replay", "rewind", "tail", "verify"],
        &["wiring", "background"],
        &["options"],
        &["store"],
        &["open"],
        &["copy", "repair", "lib"],
    ],
    nouns: Some(2),
    given: Some((3, "wiring")),
    exceptions: &[("entity", "ingest", "a test compares the two views of what may happen")],
    imports_min: 200,
};

/// What decides on entities; MLflow's rules on it; two stores that come together; one store in several processes.
const API: Crate = Crate {
    src: "../api/src",
    levels: &[
        &["beneath", "changes", "filter", "key", "random", "run_name", "uri"],
        &["experiment", "info", "lease", "local", "local_run", "logged_model", "registry", "run"],
        &["mlflow"],
        &["sync"],
        &["shared"],
        &["store"],
        &["cookbook", "lib"],
    ],
    nouns: None,
    given: None,
    exceptions: &[],
    imports_min: 20,
};

impl Crate {
    fn level(&self, module: &str) -> usize {
        let found = self.levels.iter().position(|modules| modules.contains(&module));
        found.unwrap_or_else(|| panic!("module `{module}` has no level; give it one here and in the crate doc"))
    }
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// The code of a file without its tests and comments.
fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Modules named behind `crate::`, also in `crate::{a, b::c}`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in code.split("crate::").skip(1) {
        let names = match part.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or("").split(',').collect(),
            None => vec![part],
        };
        for name in names {
            let name: String =
                name.trim().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_' || c.is_ascii_digit()).collect();
            if !name.is_empty() {
                found.push(name);
            }
        }
    }
    found
}

fn check(of: &Crate) {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join(of.src);
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    files.sort();
    assert!(files.len() > 40, "no crate is at {}", src.display());
    let mut wrong = Vec::new();
    let mut checked = 0;
    for file in files {
        let relative = file.strip_prefix(&src).unwrap();
        let name = relative.to_string_lossy().replace('\\', "/");
        if name.ends_with("tests.rs") || name.contains("/tests/") || name.contains("test_") {
            continue;
        }
        let module = name.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        let from = of.level(&module);
        for import in imports(&code(&std::fs::read_to_string(&file).unwrap())) {
            // What the crate root re-exports or defines by macro is no module.
            if import == module || !src.join(&import).exists() && !src.join(format!("{import}.rs")).exists() {
                continue;
            }
            checked += 1;
            let to = of.level(&import);
            let excepted = of.exceptions.iter().any(|(a, b, _)| *a == module && *b == import);
            let given = of.given.is_some_and(|(level, part)| from == level && import == part);
            let noun_to_noun = of.nouns == Some(from) && from == to;
            if (to > from && !given || noun_to_noun) && !excepted {
                wrong.push(format!("{name} (level {from}) imports `{import}` (level {to})"));
            }
        }
    }
    assert!(checked > of.imports_min, "only {checked} imports were seen in {}", of.src);
    assert!(wrong.is_empty(), "imports of {} against its levels:\n{}", of.src, wrong.join("\n"));
}

#[test]
fn imports_of_the_engine_only_point_down() {
    check(&ENGINE);
}

#[test]
fn imports_of_the_crate_above_it_only_point_down() {
    check(&API);
}

#[test]
fn imports_are_found_in_all_forms() {
    let code = "use crate::{id::Lsn, log};\nuse crate::error::Error;\nlet x = crate::hot::points::f();";
    assert_eq!(imports(code), ["id", "log", "error", "hot"]);
}
