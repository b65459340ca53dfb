//! The fuzz targets as plain tests: valid inputs, and many small damages of them. `RUNLODE_FUZZ_SCALE` multiplies their
//! number, `RUNLODE_FUZZ_SEED` makes others of them.

#![allow(clippy::unwrap_used)]

use runlode_engine::event::batch::{SectionKind, put_section};
use runlode_engine::event::payload::encode;
use runlode_engine::event::section::put_series;
use runlode_engine::search::PageToken;
use runlode_engine::storage::sim::SimRng;
use runlode_engine::{ContextId, KeyId, RunId, SeriesId};
use runlode_tests::{fuzz, fuzz_foreign, knob};

/// Each input unchanged, and damaged `times` times by flips, cuts, and misplaced bytes.
fn with_damages(seed: u64, inputs: &[Vec<u8>], times: u64, target: impl Fn(&[u8])) {
    let mut rng = SimRng::new(seed ^ knob("RUNLODE_FUZZ_SEED", 0));
    let count = inputs.len() as u64 * (1 + times * knob("RUNLODE_FUZZ_SCALE", 1));
    println!("{count} inputs");
    for input in inputs {
        target(input);
        for _ in 0..times * knob("RUNLODE_FUZZ_SCALE", 1) {
            let mut bytes = input.clone();
            for _ in 0..1 + rng.below(3) {
                if bytes.is_empty() {
                    bytes.push(rng.next() as u8);
                }
                let at = rng.below(bytes.len() as u64) as usize;
                match rng.below(5) {
                    0 => bytes[at] ^= 1 << rng.below(8),
                    1 => bytes[at] = rng.next() as u8,
                    2 => bytes.truncate(at),
                    3 => bytes.insert(at, [0, 255, 128][rng.below(3) as usize]),
                    _ => bytes[at..].fill(255),
                }
            }
            target(&bytes);
        }
    }
}

fn random(seed: u64, count: usize, len: u64) -> Vec<Vec<u8>> {
    let mut rng = SimRng::new(seed);
    (0..count).map(|_| (0..rng.below(len)).map(|_| rng.next() as u8).collect()).collect()
}

fn payloads() -> Vec<Vec<u8>> {
    fuzz::events()
        .iter()
        .map(|event| {
            let mut bytes = Vec::new();
            encode(event, &mut bytes).unwrap();
            bytes
        })
        .collect()
}

fn series(out: &mut Vec<u8>) -> u8 {
    let series = SeriesId { run: RunId([1; 16]), key: KeyId(0) };
    put_series(out, series, ContextId(0), &[1, 2, 3, 9], &[5, 6, 7, 8], &[0.5, f64::NAN, 0.1, -0.0])
}

#[test]
fn frames() {
    let mut inputs = random(1, 20, 200);
    for payload in payloads().into_iter().step_by(6) {
        let mut bytes = Vec::new();
        put_section(&mut bytes, SectionKind::Event, |out| {
            out.extend_from_slice(&payload);
            0
        });
        put_section(&mut bytes, SectionKind::Series, series);
        inputs.push(bytes);
    }
    with_damages(1, &inputs, 8, fuzz::frame);
}

#[test]
fn chunks() {
    let mut inputs = random(2, 60, 900);
    let mut section = Vec::new();
    series(&mut section);
    inputs.push(section);
    with_damages(2, &inputs, 6, fuzz::chunk);
}

#[test]
fn event_payloads() {
    let mut inputs = payloads();
    inputs.extend(random(3, 50, 200));
    with_damages(3, &inputs, 20, fuzz::payload);
}

#[test]
fn filters_and_page_tokens() {
    let mut inputs = random(4, 400, 120);
    inputs.push(PageToken::from_offset(77).encode());
    with_damages(4, &inputs, 20, fuzz::filter);
}

#[test]
fn texts_of_filters() {
    let mut inputs = random(6, 4000, 60);
    let good = "(metrics.loss.max > 0.5 AND NOT params.`l r` <= 1e-3) OR tags.k IN ('a', \"b\",) name IS NOT NULL";
    inputs.push(good.as_bytes().to_vec());
    with_damages(6, &inputs, 3, fuzz::filter_text);
}

#[test]
fn bodies_of_requests() {
    let mut inputs = random(7, 150, 40);
    let good = r#"{"run_id": "00", "metrics": [{"key": "m", "value": "NaN", "timestamp": 1}], "tags": [{"key": "k"}]}"#;
    inputs.push(good.as_bytes().to_vec());
    with_damages(7, &inputs, 1, fuzz::request_body);
}

#[test]
fn project_files() {
    let mut inputs = random(8, 400, 80);
    let good = "name: x\nentry_points:\n  main:\n    parameters:\n      a: {type: float, default: 0.10}\n    command: |\n      echo {a} \"{a}\"\n";
    inputs.push(good.as_bytes().to_vec());
    with_damages(8, &inputs, 1, fuzz::project);
}

#[test]
fn whole_stores() {
    random(5, 12, 150).iter().for_each(|bytes| fuzz::store(bytes));
}

#[test]
fn scoring_bodies_are_refused_or_fit_together() {
    with_damages(11, &runlode_tests::scoring::scoring_bodies(), 300, runlode_tests::scoring::scoring_body);
}

#[test]
fn model_files_are_refused_or_written_as_they_were_read() {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/artifacts/2/models");
    let mut files: Vec<Vec<u8>> = std::fs::read_dir(data)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path().join("artifacts/MLmodel")).unwrap())
        .collect();
    files.sort();
    files.push(b"flavors: {a: &x [1, 0x10, 1:30, .inf, 2024-01-02, ~, 'it''s', \"\\u263a\\t\"], b: *x}\n".to_vec());
    files.push(b"flavors:\n  ? - 1\n  : |\n    text\n\n    more\n  b: >-\n    folded\n    text\n? c\n".to_vec());
    with_damages(12, &files, 200, runlode_tests::fuzz_models::model_file);
}

#[test]
fn signatures_are_refused_or_written_as_they_were_read() {
    let inputs = [
        r#"[{"type": "double", "name": "x", "required": true}, {"type": "string", "name": "y", "required": false}]"#,
        r#"[{"type": "object", "properties": {"b": {"type": "array", "items": {"type": "map", "values": {"type": "any"}}}}, "name": "o"}]"#,
        r#"[{"type": "tensor", "name": "a", "tensor-spec": {"dtype": "float32", "shape": [-1, 64]}}]"#,
        r#"[{"name": "t", "default": 0.5, "shape": null, "type": "double"}, {"name": "d", "default": ["2024-05-06"], "shape": [-1], "type": "datetime"}]"#,
    ]
    .map(|text| text.as_bytes().to_vec());
    with_damages(13, &inputs, 1_000, runlode_tests::fuzz_models::signature);
}

/// The first file below a folder whose name has this part.
fn shipped(folder: &str, part: &str) -> Vec<u8> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(folder);
    let mut open = vec![root];
    let mut files = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false if path.file_name().unwrap().to_string_lossy().contains(part) => files.push(path),
                false => {}
            }
        }
    }
    files.sort_by_key(|path| std::fs::metadata(path).unwrap().len());
    std::fs::read(&files[0]).unwrap()
}

#[test]
fn event_files_are_read_or_refused() {
    let mut inputs = random(14, 5, 200);
    let mut whole = shipped("tensorboard", "tfevents");
    whole.truncate(600);
    inputs.push(whole);
    with_damages(14, &inputs, 3, fuzz_foreign::event_file);
}

#[test]
fn logs_of_wandb_are_read_or_refused() {
    let mut inputs = random(15, 3, 200);
    inputs.push(shipped("wandb", ".wandb"));
    with_damages(15, &inputs, 5, fuzz_foreign::wandb_log);
}

#[test]
fn file_stores_are_read_as_far_as_they_are_whole() {
    with_damages(16, &fuzz_foreign::file_store_inputs(), 2, fuzz_foreign::file_store);
}

#[test]
fn databases_with_any_values_are_imported_once() {
    with_damages(17, &random(17, 6, 1500), 1, fuzz_foreign::sqlite_rows);
}
