//! Checks the licenses: every package that is built into anything here may be used, changed and passed on in any form.
//! No copyleft, not even for the file that it covers.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use serde_json::Value;

const PERMISSIVE: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether one of the choices that an expression leaves is permissive in all its parts.
fn is_permissive(expression: &str) -> bool {
    let expression = expression.trim();
    // The outermost operator decides; OR binds weaker than AND. `/` is how OR was written once.
    for (operator, all) in [(" OR ", false), ("/", false), (" AND ", true)] {
        let parts = split(expression, operator);
        if parts.len() > 1 {
            return if all { parts.into_iter().all(is_permissive) } else { parts.into_iter().any(is_permissive) };
        }
    }
    match expression.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => is_permissive(inner),
        None => PERMISSIVE.contains(&expression),
    }
}

/// Splits at an operator that stands in no parentheses.
fn split<'t>(text: &'t str, operator: &str) -> Vec<&'t str> {
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && at >= begin && text[at..].starts_with(operator) => {
                parts.push(&text[begin..at]);
                begin = at + operator.len();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

#[test]
fn no_package_is_under_a_copyleft() {
    let of_rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into())).arg("-vV").output().unwrap();
    let of_rustc = String::from_utf8(of_rustc.stdout).unwrap();
    let host = of_rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    // What was built is here already: nothing is asked of a registry.
    let arguments = ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host];
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(env!("CARGO")).args(arguments).args(["--manifest-path", manifest]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "{} packages", packages.len());
    for package in packages {
        let (name, license) = (&package["name"], package["license"].as_str().unwrap_or("none"));
        assert!(is_permissive(license), "{name} is under {license}: use another package, or do without it");
    }
}

#[test]
fn expressions_are_read() {
    for good in ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR GPL-2.0) AND Zlib", "Unlicense / MIT"] {
        assert!(is_permissive(good), "{good}");
    }
    for bad in ["MPL-2.0", "MIT AND MPL-2.0", "GPL-3.0", "(MIT OR Apache-2.0) AND LGPL-2.1", "none", ""] {
        assert!(!is_permissive(bad), "{bad}");
    }
}
