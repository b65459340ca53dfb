//! `runlode models predict` and the images of models: every command of docs/predict.md, and what they answer.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "../../tests/src/python.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests of MLflow's client use the rest")]
mod python;

const RUNLODE: &str = env!("CARGO_BIN_EXE_runlode");

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn interpreter() -> Option<PathBuf> {
    if python::is_left_out() {
        println!("skipped: RUNLODE_WITHOUT_MLFLOW is set");
        return None;
    }
    Some(python::environment(&project().join("tests/python")).unwrap_or_else(|error| panic!("{error}")))
}

/// A folder with a model, files of rows, and a program `docker` that only looks at what it is to build.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("model")).unwrap();
    for name in ["MLmodel", "model.onnx"] {
        let from = project().join("api/serving/tests/data/onnx/regression_columns").join(name);
        fs::copy(from, at("model").join(name)).unwrap();
    }
    fs::write(at("model/conda.yaml"), "dependencies: [python=3.11.7]\n").unwrap();
    fs::write(at("model/python_env.yaml"), "python: 3.11.7\n").unwrap();
    fs::write(at("model/requirements.txt"), "mlflow==3.17.2\nonnxruntime==1.32.0\n").unwrap();
    fs::write(at("rows.csv"), "id,a,b,c\nx,1,2,3\ny,0,0,1\nz,-1,0.5,2\n").unwrap();
    fs::write(at("bad.csv"), "a,b,c\n1,2,3\n1,oops,3\n1,2\n").unwrap();
    fs::create_dir_all(at("days/one")).unwrap();
    fs::write(at("days/one/a.jsonl"), "{\"a\": 1, \"b\": 2, \"c\": 3}\n").unwrap();
    fs::write(at("days/b.csv"), "a,b,c\n1,2,3\n").unwrap();
    fs::create_dir_all(at("bin")).unwrap();
    // An engine that answers, and builds what lies in its folder.
    let engine = "#!/bin/sh\ntest \"$1\" = info || { test -f Dockerfile && test -x runlode && echo \"$@\" >&2; }\n";
    fs::write(at("bin/docker"), engine).unwrap();
    fs::set_permissions(at("bin/docker"), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn sh(folder: &Path, python: &Path, script: &str) -> Output {
    let before = std::env::var_os("PATH").unwrap_or_default();
    let own = [
        folder.join("bin"),
        Path::new(RUNLODE).parent().unwrap().to_path_buf(),
        python.parent().unwrap().to_path_buf(),
    ];
    let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&before))).unwrap();
    let mut command = Command::new("sh");
    command.args(["-e", "-c", script]).current_dir(folder).env("PATH", path);
    for name in ["ORT_DYLIB_PATH", "VIRTUAL_ENV", "MLFLOW_TRACKING_URI"] {
        command.env_remove(name);
    }
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_command_of_the_page_runs() {
    let Some(python) = interpreter() else { return };
    let folder = prepared();
    let to_parquet =
        sh(folder.path(), &python, "runlode models predict ./model -i rows.csv -o unused.csv --keep id,a,b,c");
    assert!(to_parquet.status.success(), "{}", text(&to_parquet));
    // The page has a Parquet file of the same rows.
    let make = "import pandas, sys; pandas.read_csv('rows.csv').to_parquet('rows.parquet')";
    let made = Command::new(&python).args(["-c", make]).current_dir(folder.path()).output().unwrap();
    assert!(made.status.success(), "{}", text(&made));
    let page = fs::read_to_string(project().join("docs/predict.md")).unwrap();
    let blocks: Vec<&str> = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 6);
    let mut outputs = Vec::new();
    for block in &blocks {
        let output = sh(folder.path(), &python, block);
        assert!(output.status.success(), "{block}\n{}", text(&output));
        outputs.push((block, output));
    }
    let of = |part: &str| &outputs.iter().find(|(block, _)| block.contains(part)).unwrap().1;
    let csv = String::from_utf8(of("cat rows.csv").stdout.clone()).unwrap();
    assert_eq!(csv.lines().count(), 4, "{csv}");
    let kept = fs::read_to_string(folder.path().join("answers.jsonl")).unwrap();
    assert!(kept.starts_with("{\"id\": \"x\", \"variable\": "), "{kept}");
    let errors = fs::read_to_string(folder.path().join("errors.jsonl")).unwrap();
    let rows: Vec<u64> = errors
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["row"].as_u64().unwrap())
        .collect();
    assert_eq!(rows, [2, 3]);
    assert!(text(of("-i days")).contains("2 files are finished already"), "{}", text(of("-i days")));
    assert!(folder.path().join("scored/one/a.parquet").is_file());
    let small = String::from_utf8(of("-t json").stdout.clone()).unwrap();
    assert!(small.starts_with("{\"predictions\": [{\"variable\": "), "{small}");
    let dockerfile = fs::read_to_string(folder.path().join("image/Dockerfile")).unwrap();
    assert!(dockerfile.contains("onnxruntime") && dockerfile.contains("COPY [\"model_dir/model\""), "{dockerfile}");
    assert!(text(of("build-docker")).contains("build --tag my-model ."));
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let Some(python) = interpreter() else { return };
    let folder = prepared();
    for (command, status, told) in [
        ("runlode models predict ./model -i rows.csv -o out.txt", 2, "--to csv|jsonl|parquet|arrow"),
        ("runlode models predict ./model -i nowhere.csv -o out.csv", 2, "nowhere.csv"),
        ("runlode models predict ./nowhere -i rows.csv -o out.csv", 2, "nowhere"),
        (
            "runlode models predict ./model -i bad.csv -o out.csv",
            2,
            "row 2 (line 3), column 'b': \"oops\" is no double",
        ),
        ("runlode models predict ./model -i rows.csv -o out.csv --keep d", 2, "there is no column 'd'"),
        ("runlode models predict ./model -i rows.csv -o out.csv --engine tract", 2, "--features tract"),
        (
            "ORT_DYLIB_PATH=/nowhere/x.so runlode models predict ./model -i rows.csv -o out.csv",
            2,
            "pip install onnxruntime",
        ),
        ("runlode models generate-dockerfile -m ./model -d days", 2, "empty folder"),
    ] {
        let output = sh(folder.path(), &python, command);
        assert_eq!(output.status.code(), Some(status), "{command}\n{}", text(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains(told), "{command}\n{}", text(&output));
        assert!(output.stdout.is_empty());
    }
    assert!(!folder.path().join("out.csv").exists());
}
