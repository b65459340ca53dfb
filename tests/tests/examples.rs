//! Every public function and type of the crate `runlode` has an example, and `cargo test` runs it.
//!
//! Reads the files of `api/src`. The lint `unreachable_pub` makes sure that whatever is `pub` there can be reached by
//! users, so everything `pub` counts, except what `#[doc(hidden)]` hides. An example is a block of Rust in the item's
//! own docs. In the files of [`TOGETHER`], it is enough if some example of the crate calls the function by its name.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Files whose functions are shown together: why that reads better there. Their types are the plain arguments and
/// answers of these functions, so they need no example of their own.
const TOGETHER: &[(&str, &str)] = &[
    (
        "mlflow/",
        "some hundred calls of MLflow: the module's docs walk through them in the order in which one makes them",
    ),
    ("shared/", "the same calls from any process, and the loggers: an example each for the group"),
    ("beneath.rs", "ten functions on files below a folder: one example for all"),
];

/// A public function or type.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    name: String,
    is_function: bool,
    has_example: bool,
}

/// The Rust blocks in doc comments.
fn examples(text: &str) -> String {
    let mut out = String::new();
    let mut inside = None;
    for line in text.lines() {
        let line = line.trim_start();
        let Some(doc) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) else {
            inside = None;
            continue;
        };
        match (inside, doc.trim().strip_prefix("```")) {
            (None, Some(language)) => inside = Some(runs(language)),
            (Some(_), Some(_)) => inside = None,
            (Some(true), None) => {
                out.push_str(doc);
                out.push('\n');
            }
            _ => {}
        }
    }
    out
}

/// Whether a block of this language is compiled and run.
fn runs(language: &str) -> bool {
    language.is_empty() || language == "should_panic"
}

/// The code without test modules at its end.
fn without_tests(text: &str) -> &str {
    let end = text
        .match_indices("#[cfg(test)]\nmod ")
        .find(|(at, found)| text[at + found.len()..].lines().next().is_some_and(|line| line.ends_with('{')));
    end.map_or(text, |(at, _)| &text[..at])
}

/// The public functions and types of a file.
fn items(text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let (mut docs, mut hidden, mut test) = (String::new(), false, false);
    for line in without_tests(text).lines() {
        let line = line.trim_start();
        if line.starts_with("///") {
            docs.push_str(line);
            docs.push('\n');
        } else if line.starts_with("#[") || line.starts_with(')') || line.is_empty() && !docs.is_empty() {
            hidden |= line == "#[doc(hidden)]";
            test |= line == "#[cfg(test)]";
        } else {
            let rest = line.strip_prefix("pub ").unwrap_or_default();
            let rest = ["const fn ", "unsafe fn "].iter().find_map(|kind| rest.strip_prefix(kind)).map_or_else(
                || {
                    ["fn ", "struct ", "enum ", "trait "]
                        .iter()
                        .find_map(|kind| Some((*kind, rest.strip_prefix(kind)?)))
                },
                |rest| Some(("fn ", rest)),
            );
            if let Some((kind, rest)) = rest.filter(|_| !hidden && !test) {
                let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                let has_example = !examples(&docs).is_empty();
                // `$name` of a macro has no name.
                items.extend((!name.is_empty()).then(|| Item {
                    name: name.to_owned(),
                    is_function: kind == "fn ",
                    has_example,
                }));
            }
            (docs, hidden, test) = (String::new(), false, false);
        }
    }
    items
}

/// The items that have no example.
fn without_example(files: &BTreeMap<String, String>, together: &[(&str, &str)]) -> Vec<String> {
    let called: BTreeSet<String> = files.values().flat_map(|text| called(&examples(text))).collect();
    let mut missing = Vec::new();
    for (file, text) in files {
        let grouped = together.iter().any(|(place, _)| file.starts_with(place));
        for item in items(text) {
            let shown = item.has_example || grouped && (!item.is_function || called.contains(&item.name));
            if !shown {
                missing.push(format!("{file}: {}", item.name));
            }
        }
    }
    missing
}

/// The names that stand before a parenthesis.
fn called(code: &str) -> Vec<String> {
    let names = code.match_indices('(').map(|(at, _)| {
        let before = &code[..at];
        let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
        before[start..].to_owned()
    });
    names.filter(|name| !name.is_empty()).collect()
}

fn read(dir: &Path, root: &Path, out: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, root, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let is_test = name.ends_with("tests.rs") || name.starts_with("sync/histories/");
            if !is_test {
                out.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
}

#[test]
fn every_public_function_and_type_has_an_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/src");
    let mut files = BTreeMap::new();
    read(&root, &root, &mut files);
    let count: usize = files.values().map(|text| items(text).len()).sum();
    assert!(count >= 450, "only {count} public items were seen");
    let missing = without_example(&files, TOGETHER);
    assert!(missing.is_empty(), "{} of {count} have no example:\n{}", missing.len(), missing.join("\n"));
}

#[test]
fn a_missing_example_is_found() {
    let missing = |text: &str, together: &[(&str, &str)]| {
        without_example(&BTreeMap::from([("a.rs".to_owned(), text.to_owned())]), together)
    };
    let shown = "/// Counts.\n///\n/// ```\n/// count();\n/// ```\npub fn count() {}\n";
    assert_eq!(missing(shown, &[]), [""; 0]);
    assert_eq!(missing("/// Counts.\npub fn count() {}\n", &[]), ["a.rs: count"]);
    assert_eq!(
        missing("/// Counts.\n///\n/// ```text\n/// count();\n/// ```\npub fn count() {}\n", &[]),
        ["a.rs: count"]
    );
    assert_eq!(
        missing("/// ```\n/// f();\n/// ```\nfn f() {}\n/// Two.\n#[must_use]\npub struct Two;\n", &[]),
        ["a.rs: Two"]
    );
    assert_eq!(missing("impl A {\n    /// One.\n    pub const fn one(&self) {}\n}\n", &[]), ["a.rs: one"]);
    for other in [
        "pub(crate) fn f() {}\n",
        "#[doc(hidden)]\npub fn f() {}\n",
        "#[cfg(test)]\nmod tests {\n    pub fn f() {}\n}\n",
    ] {
        assert_eq!(missing(other, &[]), [""; 0], "{other}");
    }
    let together = "//! ```\n//! a.one();\n//! ```\npub struct A;\nimpl A {\n    pub fn one(&self) {}\n    pub fn two(&self) {}\n}\n";
    assert_eq!(missing(together, &[("a.rs", "")]), ["a.rs: two"]);
}
