//! The fuzz targets of models as plain tests: valid inputs, and many small damages of them. `RUNLODE_FUZZ_SCALE`
//! multiplies their number.

#![allow(clippy::unwrap_used)]

#[path = "../../../tests/src/fuzz_models.rs"]
#[expect(unreachable_pub, reason = "it is a file of the suites' crate")]
mod fuzz_models;

/// Numbers that look random, the same on each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap()
    }
}

/// Each input unchanged, and damaged by flips, cuts, repeats and pieces of other inputs.
fn with_damages(inputs: &[String], times: usize, target: impl Fn(&[u8])) {
    let scale = std::env::var("RUNLODE_FUZZ_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for input in inputs {
        target(input.as_bytes());
        for _ in 0..times * scale {
            let mut bytes = input.clone().into_bytes();
            for _ in 0..=numbers.below(3) {
                let at = numbers.below(bytes.len());
                match numbers.below(6) {
                    0 if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(7),
                    1 => bytes.truncate(at),
                    2 => bytes.insert(at, b"{}[]\"':,-0e.&*!|>\n "[numbers.below(19)]),
                    3 => {
                        let other = inputs[numbers.below(inputs.len())].as_bytes();
                        let from = numbers.below(other.len());
                        let piece = &other[from..(from + numbers.below(40)).min(other.len())];
                        bytes.splice(at..at, piece.iter().copied());
                    }
                    4 => {
                        let end = (at + numbers.below(20)).min(bytes.len());
                        bytes.drain(at..end);
                    }
                    _ => {
                        let end = (at + numbers.below(20)).min(bytes.len());
                        let piece = bytes[at..end].to_vec();
                        bytes.splice(at..at, piece);
                    }
                }
            }
            target(&bytes);
        }
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn model_files() {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/artifacts/2/models");
    let mut files: Vec<String> = std::fs::read_dir(data)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path().join("artifacts/MLmodel")).unwrap())
        .collect();
    files.sort();
    files.push("flavors: {a: &x [1, 0x10, 1:30, .inf, 2024-01-02, ~, 'it''s', \"\\u263a\\t\"], b: *x}\n".to_owned());
    files.push("flavors:\n  ? - 1\n  : |\n    text\n\n    more\n  b: >-\n    folded\n    text\n? c\n".to_owned());
    with_damages(&files, 400, fuzz_models::model_file);
}

#[test]
fn signatures() {
    let all = texts(&[
        r#"[{"type": "double", "name": "x", "required": true}, {"type": "string", "name": "y", "required": false}]"#,
        r#"[{"type": "object", "properties": {"b": {"type": "array", "items": {"type": "map", "values": {"type": "any"}}}}, "name": "o"}]"#,
        r#"[{"type": "tensor", "name": "a", "tensor-spec": {"dtype": "float32", "shape": [-1, 64]}}]"#,
        r#"[{"name": "t", "default": 0.5, "shape": null, "type": "double"}, {"name": "d", "default": ["2024-05-06"], "shape": [-1], "type": "datetime"}]"#,
    ]);
    with_damages(&all, 2000, fuzz_models::signature);
}

#[test]
fn scoring_bodies() {
    let bodies = [
        r#"{"dataframe_records": [{"a": 1, "b": "2024-01-02"}, {"a": "7", "b": null}], "params": {"t": 1}}"#,
        r#"{"dataframe_split": {"columns": ["a", "b"], "index": ["x"], "data": [[1, [1, 2]], [3, {"k": 1e300}]]}}"#,
        r#"{"inputs": {"a": [[1, 2], [3, 4]], "b": ["AQID", "AQ=="]}}"#,
        r#"{"instances": [{"a": [[[1, 2], [3, 4]]], "b": 1.5}, {"a": {"x": 1, "y": [NaN]}, "b": "x"}]}"#,
        r#"{"inputs": [[18446744073709551616, -1], ["\ud83d\ude00", true]]}"#,
        "a,b\n1,2024-01-02\n2.5,\"x,\"\"y\"\n",
    ];
    let bodies: Vec<String> =
        (0..7).flat_map(|choice| bodies.map(|body| format!("{}{body}", char::from(choice)))).collect();
    with_damages(&bodies, 500, fuzz_models::scoring_body);
}
