//! The Python package: MLflow's stores in process, and what else is in `runlode`, under pytest.
//!
//! ```text
//! cargo test -> python_plugin -> cargo build -p runlode-python, of the same profile
//!                    |           a folder with the package, the library and its entry points, as an installation has it
//!                    |
//!                    +-> pytest of tests/python with RUNLODE_TEST_URI=runlode: (a store in each module's own folder)
//! ```
//! The files about HTTP are the same ones that `mlflow_client` runs against a server. Its variables count here too;
//! `RUNLODE_PYTEST` are arguments for pytest in place of all files.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use runlode_tests::python::{environment, is_left_out, side_by_side};

#[test]
fn stores_in_process() {
    if is_left_out() {
        println!("left out: RUNLODE_WITHOUT_MLFLOW is 1");
        return;
    }
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    let python = environment(&suite).unwrap_or_else(|why| panic!("{why}"));
    let package = package();
    let groups: Vec<Vec<String>> = match std::env::var("RUNLODE_PYTEST") {
        Ok(arguments) => vec![arguments.split_whitespace().map(str::to_owned).collect()],
        Err(_) => groups(&suite),
    };
    // Thousands of small stores and synchronous writes: what a disk does to them is for other tests.
    let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let passed = side_by_side(&groups, |arguments| {
        let mut command = Command::new(&python);
        command.args(["-m", "pytest"]).args(arguments).current_dir(&suite).env("TMPDIR", memory.path());
        command.env("PYTHONPATH", &package).env("PYTHONDONTWRITEBYTECODE", "1").env("RUNLODE_TEST_URI", "runlode:");
        command
    });
    assert!(passed.unwrap_or_else(|why| panic!("{why}")), "pytest failed; its output stands above");
}

/// The suite in two parts that take about equally long: what compares with MLflow's own stores, and the rest.
fn groups(suite: &Path) -> Vec<Vec<String>> {
    let compares = "plugin/test_differential";
    let mut files: Vec<String> = Vec::new();
    for folder in ["", "native/", "plugin/", "processes/"] {
        for entry in fs::read_dir(suite.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.starts_with("test_") && name.ends_with(".py") {
                files.push(format!("{folder}{name}"));
            }
        }
    }
    files.sort();
    let (first, rest) = files.into_iter().partition(|name| name.starts_with(compares));
    vec![first, rest]
}

/// A folder as pip makes it: the package with its library, and what tells MLflow of it.
fn package() -> PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("api/python");
    // target/PROFILE/deps/python_plugin-HASH
    let me = std::env::current_exe().unwrap();
    let built = me.parent().and_then(Path::parent).unwrap();
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With the whole workspace and a test of it, the libraries below are those that are built already for tests of this
    // profile. Alone, or without the features that tests' dependencies ask for, all of them would be built again.
    build.args(["build", "--quiet", "--workspace", "--lib", "--test", "python_plugin"]).current_dir(&project);
    let profile = if built.ends_with("release") { "release" } else { "test" };
    build.args(["--profile", profile]).arg("--target-dir").arg(built.parent().unwrap());
    assert!(build.status().unwrap().success(), "the extension module does not build");

    let folder = built.join("python");
    let _ = fs::remove_dir_all(&folder);
    copy_python(&project.join("runlode"), &folder.join("runlode"));
    fs::copy(built.join("lib_runlode.so"), folder.join("runlode/_runlode.abi3.so")).unwrap();
    let told = folder.join("runlode-0.dist-info");
    fs::create_dir_all(&told).unwrap();
    fs::write(told.join("METADATA"), "Metadata-Version: 2.1\nName: runlode\nVersion: 0\n").unwrap();
    fs::write(told.join("entry_points.txt"), entry_points(&project.join("pyproject.toml"))).unwrap();
    folder
}

/// Everything but libraries and caches.
fn copy_python(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if entry.file_type().unwrap().is_dir() {
            if name != "__pycache__" {
                copy_python(&entry.path(), &to.join(name));
            }
        } else if entry.path().extension().is_none_or(|extension| extension != "so") {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

/// The entry points of a project file, as an installation lists them.
fn entry_points(project: &Path) -> String {
    let mut out = String::new();
    let mut inside = false;
    for line in fs::read_to_string(project).unwrap().lines() {
        if line.starts_with('[') {
            let group = line.strip_prefix("[project.entry-points.\"").and_then(|rest| rest.strip_suffix("\"]"));
            inside = group.is_some();
            if let Some(group) = group {
                out.push_str(&format!("[{group}]\n"));
            }
        } else if inside {
            out.push_str(&line.replace('"', ""));
            out.push('\n');
        }
    }
    assert!(out.contains("runlode = runlode.mlflow_plugin:tracking_store"), "{out}");
    out
}
