//! Values against PyYAML: `tests/yaml.txt` holds what `str(yaml.safe_load(...))` answered, made by `tests/make_yaml.py`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use runlode_yaml::load;

#[test]
fn values_are_the_texts_that_python_makes() {
    let vectors = include_str!("yaml.txt");
    let mut count = 0;
    let mut wrong = Vec::new();
    for line in vectors.lines().filter(|line| !line.starts_with('#')) {
        let (source, expected) = line.split_once(" => ").unwrap();
        let source = source.replace("\\n", "\n").replace("\\t", "\t");
        let found = load(&source).map_or_else(
            |_| "refused".to_owned(),
            |node| node.value.to_string().replace('\n', "\\n").replace('\t', "\\t"),
        );
        if found != expected {
            wrong.push(format!("{source:?}: {found}, not {expected}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 150, "{count} vectors");
}
