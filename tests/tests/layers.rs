//! The levels of the engine, as its crate doc draws them: imports only point down, and the nouns (log, series, index,
//! hot state, pins) never import one another.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// Modules by level. `storage` and its like stand above time, errors and ids; `store` wires all.
const LEVELS: [&[&str]; 9] = [
    &["error", "id", "time", "checksum", "varint", "fork"],
    &["storage", "event", "entity", "branch", "point"],
    &["log", "series", "index", "hot", "pins"],
    &[
        "ingest",
        "inbox",
        "query",
        "checkpoint",
        "heal",
        "seal",
        "compaction",
        "replay",
        "rewind",
        "tail",
        "merge",
        "verify",
    ],
    &["wiring", "background"],
    &["options"],
    &["store"],
    &["open"],
    &["copy", "repair", "lib"],
];

/// The part above that the work of level 3 is given: what it works on.
const SHARED: [&str; 1] = ["wiring"];

/// Imports that cross the picture, each with its reason. None may be added without one.
const EXCEPTIONS: [(&str, &str, &str); 1] = [("entity", "ingest", "a test compares the two views of what may happen")];

fn level(module: &str) -> usize {
    LEVELS
        .iter()
        .position(|modules| modules.contains(&module))
        .unwrap_or_else(|| panic!("module `{module}` has no level; give it one here and in the crate doc"))
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

#[test]
fn imports_only_point_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    files.sort();
    assert!(files.len() > 40, "the engine is not at {}", src.display());
    let mut wrong = Vec::new();
    let mut checked = 0;
    for file in files {
        let relative = file.strip_prefix(&src).unwrap();
        let name = relative.to_string_lossy().replace('\\', "/");
        if name.ends_with("tests.rs") || name.contains("/tests/") || name.contains("test_") {
            continue;
        }
        let module = name.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        let from = level(&module);
        for import in imports(&code(&std::fs::read_to_string(&file).unwrap())) {
            // What the crate root re-exports or defines by macro is no module.
            if import == module || !src.join(&import).exists() && !src.join(format!("{import}.rs")).exists() {
                continue;
            }
            checked += 1;
            let to = level(&import);
            let excepted = EXCEPTIONS.iter().any(|(a, b, _)| *a == module && *b == import);
            let shared = from == 3 && SHARED.contains(&import.as_str());
            let noun_to_noun = from == 2 && to == 2;
            if (to > from && !shared || noun_to_noun) && !excepted {
                wrong.push(format!("{name} (level {from}) imports `{import}` (level {to})"));
            }
        }
    }
    assert!(checked > 200, "only {checked} imports were seen");
    assert!(wrong.is_empty(), "imports against the picture of the crate doc:\n{}", wrong.join("\n"));
}

#[test]
fn imports_are_found_in_all_forms() {
    let code = "use crate::{id::Lsn, log};\nuse crate::error::Error;\nlet x = crate::hot::points::f();";
    assert_eq!(imports(code), ["id", "log", "error", "hot"]);
}
