//! Files and folders of models: those that MLflow wrote come back letter for letter, hostile ones are refused.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use runlode_models::file::ModelFile;
use runlode_models::folder::Folder;
use runlode_models::signature::Schema;

fn models() -> Vec<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/artifacts/2/models");
    fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path().join("artifacts")).collect()
}

#[test]
fn files_of_mlflow_come_back_letter_for_letter() {
    let models = models();
    assert_eq!(models.len(), 6);
    for folder in models {
        let text = fs::read_to_string(folder.join("MLmodel")).unwrap();
        let file = ModelFile::read(&folder).unwrap();
        assert_eq!(file.to_yaml(), text, "{}", folder.display());
        let signature = file.signature.as_ref().unwrap();
        assert!(matches!(signature.inputs, Some(Schema::Tensors(_))));
        assert!(file.python_function.is_some() && file.run_id.is_some() && file.model_size_bytes.is_some());
        if let Some(onnx) = &file.onnx {
            assert_eq!(onnx.data, "model.onnx");
            assert_eq!(onnx.providers.len(), 2);
        }
    }
}

#[test]
fn a_change_leaves_all_else_in_place() {
    let text = "run_id: abc\nzz_unknown:\n  b: 1\n  a: [x, 'yes']\nflavors:\n  mine:\n    k: 1.0e-05\n# a comment\nalpha: true\n";
    let mut file = ModelFile::from_yaml(text).unwrap();
    file.run_id = Some("def".to_owned());
    file.model_id = Some("m-1".to_owned());
    let expected = "run_id: def\nmodel_id: m-1\nzz_unknown:\n  b: 1\n  a:\n  - x\n  - 'yes'\nflavors:\n  mine:\n    k: 1.0e-05\nalpha: true\n";
    let written = file.to_yaml();
    assert_eq!(ModelFile::from_yaml(&written).unwrap().run_id.as_deref(), Some("def"));
    let mut lines: Vec<&str> = written.lines().collect();
    lines.retain(|line| !line.starts_with("model_id"));
    let kept: Vec<&str> = expected.lines().filter(|line| !line.starts_with("model_id")).collect();
    assert_eq!(lines, kept);
    assert!(written.contains("model_id: m-1\n"));
}

const GOOD: &str = "flavors:\n  python_function:\n    loader_module: mine\n    data: d\n";

#[test]
fn wrong_files_are_refused_with_line_and_key() {
    for (text, what) in [
        ("", "the file is a map of keys"),
        ("- 1\n", "the file is a map of keys"),
        ("a: 1\n", "flavors is missing"),
        ("flavors: 1\n", "it is no map"),
        ("flavors:\n  python_function: {}\n", "line 2, flavors.python_function: loader_module is missing"),
        ("flavors:\n  python_function:\n    loader_module: 'os; rm'\n", "no name of a Python module"),
        ("flavors:\n  python_function:\n    loader_module: m\n    predict_fn: a.b()\n", "no name in Python"),
        ("flavors:\n  onnx: {}\n", "data is missing"),
        ("flavors:\n  onnx:\n    data: m\n    providers: 5\n", "providers is no list"),
        ("flavors: {}\nsignature:\n  inputs: '[{'\n", "line 3, signature.inputs: no JSON"),
        ("flavors: {}\nsignature:\n  inputs: '[{\"type\": \"x\"}]'\n", "line 3, signature.inputs: column 1"),
        ("flavors: {}\nrun_id: [1]\n", "line 2, run_id: it is no text"),
        ("flavors: {}\nmodel_size_bytes: -1\n", "line 2, model_size_bytes"),
        ("flavors: {}\nflavors: *x\n", "line 2"),
        ("flavors: !!python/object:os.system x\n", "tag"),
    ] {
        let error = ModelFile::from_yaml(text).unwrap_err().to_string();
        assert!(error.starts_with("MLmodel") && error.contains(what), "{text:?}: {error}");
    }
}

#[test]
fn paths_that_lead_out_are_refused() {
    for key in ["data", "code", "model_path", "python_model", "env"] {
        for path in ["../x", "/etc/passwd", "a/../../x", "'%2e%2e/x'", "..\\x", "c:/x", "\"a\\0b\"", "\"\""] {
            let text = format!("flavors:\n  python_function:\n    loader_module: mine\n    {key}: {path}\n");
            let error = ModelFile::from_yaml(&text).unwrap_err().to_string();
            assert!(error.contains("no path inside the model's folder"), "{key} {path}: {error}");
        }
    }
    for path in ["../x", "/etc/passwd"] {
        for text in [
            format!("flavors:\n  onnx:\n    data: {path}\n"),
            format!("flavors: {{}}\nsaved_input_example_info:\n  artifact_path: {path}\n"),
            format!("flavors:\n  python_function:\n    loader_module: m\n    env:\n      conda: {path}\n"),
            format!(
                "flavors:\n  python_function:\n    loader_module: m\n    artifacts:\n      a:\n        path: {path}\n"
            ),
        ] {
            assert!(ModelFile::from_yaml(&text).is_err(), "{text}");
        }
    }
    // The path to the file when it was logged says nothing but its name.
    let text = "flavors:\n  python_function:\n    loader_module: m\n    model_code_path: /home/me/model.py\n";
    let file = ModelFile::from_yaml(text).unwrap();
    assert_eq!(file.python_function.unwrap().model_code_path.as_deref(), Some("model.py"));
}

#[test]
fn links_and_pipes_do_not_lead_out() {
    let dir = tempfile::tempdir().unwrap();
    let (model, outside) = (dir.path().join("model"), dir.path().join("outside"));
    fs::create_dir_all(model.join("real")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "s").unwrap();
    fs::write(model.join("MLmodel"), GOOD).unwrap();
    let refused = |what: &str| {
        let error = ModelFile::read(&model).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("data"), "{error}");
        fs::remove_file(model.join("d")).unwrap();
    };
    symlink(outside.join("secret"), model.join("d")).unwrap();
    refused("leads out");
    symlink("../outside/secret", model.join("d")).unwrap();
    refused("leads out");
    symlink(&outside, model.join("d")).unwrap();
    refused("leads out");
    symlink("d", model.join("d")).unwrap();
    refused("link");
    symlink("nowhere", model.join("d")).unwrap();
    refused("no such file");
    rustix::fs::mknodat(rustix::fs::CWD, model.join("d"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    refused("neither a file nor a folder");
    // A link to another place inside is a part of the model.
    symlink("real", model.join("d")).unwrap();
    assert!(ModelFile::read(&model).is_ok());
    symlink(outside.join("secret"), model.join("away")).unwrap();
    fs::write(model.join("real/pickle.pkl"), b"cos\nsystem\n(S'touch /tmp/runlode-was-run'\ntR.").unwrap();
    let files: Vec<String> = Folder::open(&model).unwrap().files().unwrap().into_iter().map(|file| file.path).collect();
    assert_eq!(files, ["MLmodel", "real/pickle.pkl"]);
    assert!(!Path::new("/tmp/runlode-was-run").exists(), "a pickle is a name here");

    fs::remove_file(model.join("MLmodel")).unwrap();
    symlink(outside.join("secret"), model.join("MLmodel")).unwrap();
    assert!(ModelFile::read(&model).unwrap_err().to_string().contains("leads out"));
    fs::remove_file(model.join("MLmodel")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, model.join("MLmodel"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    assert!(ModelFile::read(&model).unwrap_err().to_string().contains("no regular file"));
}

/// Self-referring, doubling, deep and huge files end in an error; none takes memory or time without bound.
#[test]
fn bombs_are_refused_at_once() {
    let mut doubling = "a0: &a0 [x, x]\n".to_owned();
    for level in 1..40 {
        doubling.push_str(&format!("a{level}: &a{level} [*a{}, *a{}]\n", level - 1, level - 1));
    }
    let keys: String = (0..60_000).map(|key| format!("k{key}: 1\n")).collect();
    let deep_json = format!("flavors: {{}}\nsignature:\n  inputs: '{}'\n", "[".repeat(100_000));
    let nested = r#"{"type": "array", "items": "#.repeat(2000);
    let deep_type = format!("flavors: {{}}\nsignature:\n  inputs: '[{nested}'\n");
    for (what, text) in [
        ("itself", "flavors: &a\n  b: *a\n".to_owned()),
        ("doubling", doubling),
        ("deep", format!("flavors: {}", "[".repeat(50_000))),
        ("block deep", (0..5000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect()),
        ("keys", keys),
        ("huge", format!("flavors: {{}}\nx: {}", "y".repeat(5 << 20))),
        ("deep JSON", deep_json),
        ("deep type", deep_type),
    ] {
        assert!(ModelFile::from_yaml(&text).is_err(), "{what}");
    }
    // Many keys are read, and each is compared with none of the others.
    let many: String = (0..49_000).map(|key| format!("{key}: 1\n")).collect();
    assert!(ModelFile::from_yaml(&format!("{many}flavors: {{}}\n")).is_ok());
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("MLmodel"), vec![b' '; 5 << 20]).unwrap();
    assert!(ModelFile::read(dir.path()).unwrap_err().to_string().contains("more than"));
}
