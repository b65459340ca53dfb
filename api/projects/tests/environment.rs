//! Environments: what files ask for, and that one environment is made once.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;
use std::process::Command;

use runlode_projects::environment::{Made, PythonEnv, Recipe, make};
use runlode_projects::launch::Stop;

fn made(env: &PythonEnv, project: &Path, root: &Path) -> runlode_projects::Result<Made> {
    let recipe = Recipe::Python { by_uv: false, env: env.clone() };
    make(&recipe, project, root, &mut Stop::catch().unwrap(), &|_| {})
}

fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("env.yaml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn a_python_env_is_read_whole() {
    let (_folder, path) =
        file("python: \"3.11\"\nbuild_dependencies:\n- pip==24\ndependencies:\n- -r requirements.txt\n- numpy<3\n");
    let env = PythonEnv::read(&path).unwrap();
    assert_eq!(env.python.as_deref(), Some("3.11"));
    assert_eq!(env.build_dependencies, ["pip==24"]);
    assert_eq!(env.dependencies, ["-r requirements.txt", "numpy<3"]);
    for (text, says) in [
        ("python: 3.11\n", "env.yaml:1: python: a number"),
        ("python: '3'\nname: x\n", "env.yaml:2: name: not known"),
        ("dependencies: numpy\n", "env.yaml:1: dependencies: a text"),
        ("dependencies:\n- [a]\n", "env.yaml:2: dependencies: a list"),
        ("- a\n", "env.yaml:1: env.yaml: a list"),
    ] {
        let (_folder, path) = file(text);
        let error = PythonEnv::read(&path).unwrap_err().to_string();
        assert!(error.contains(says), "{text:?}: {error}");
    }
}

#[test]
fn a_conda_env_gives_its_python_part() {
    let text =
        "name: x\ndependencies:\n- python=3.11\n- pip=24\n- numpy=1.2\n- wheel\n- pip:\n  - mlflow\n  - -r more.txt\n";
    let (_folder, path) = file(text);
    let env = PythonEnv::of_conda(&path).unwrap();
    assert_eq!(env.python.as_deref(), Some("3.11"));
    assert_eq!(env.build_dependencies, ["pip==24", "wheel"]);
    assert_eq!(env.dependencies, ["mlflow", "-r more.txt"]);
    assert!(env.warnings.len() == 1 && env.warnings[0].ends_with(": numpy=1.2"), "{:?}", env.warnings);
    // What pip does not know in this form is left out, as MLflow leaves it out.
    for (dependency, says) in [
        ("python=3.6=h2bc3f7f_5", "no version of Python"),
        ("python >=3.8", "no version of Python"),
        ("conda-forge::python=3.8", "no version of Python"),
        ("numpy", "no version of Python"),
    ] {
        let (_folder, path) = file(&format!("dependencies:\n- {dependency}\n- pip:\n"));
        let env = PythonEnv::of_conda(&path).unwrap();
        assert_eq!((env.python, env.build_dependencies.len(), env.dependencies.len()), (None, 0, 0));
        assert!(
            env.warnings[0].contains(says) && env.warnings[1].ends_with(&format!(": {dependency}")),
            "{:?}",
            env.warnings
        );
    }
    let (_folder, path) = file("");
    assert!(PythonEnv::of_conda(&path).unwrap_err().to_string().contains("env.yaml:1: env.yaml: nothing"));
    for (dependency, says) in [("python", "must be pinned"), ("python>3", "use one of")] {
        let (_folder, path) = file(&format!("dependencies:\n- {dependency}\n"));
        assert!(PythonEnv::of_conda(&path).unwrap_err().to_string().contains(says));
    }
}

/// A wheel without code, so that nothing is fetched.
fn wheel(folder: &Path) -> String {
    let script = "import sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], 'w') as z:\n    z.writestr('nothing_here.py', 'x = 1\\n')\n    d = 'nothing_here-1.0.dist-info/'\n    z.writestr(d + 'METADATA', 'Metadata-Version: 2.1\\nName: nothing-here\\nVersion: 1.0\\n')\n    z.writestr(d + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n    z.writestr(d + 'RECORD', '')\n";
    let path = folder.join("nothing_here-1.0-py3-none-any.whl");
    assert!(Command::new("python3").args(["-c", script]).arg(&path).status().unwrap().success());
    path.display().to_string()
}

#[test]
fn two_launches_at_once_make_an_environment_once() {
    let project = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    fs::write(project.path().join("requirements.txt"), wheel(project.path())).unwrap();
    let env = PythonEnv { dependencies: vec!["-r requirements.txt".to_owned()], ..PythonEnv::default() };
    let both: Vec<_> = std::thread::scope(|scope| {
        let one = || scope.spawn(|| made(&env, project.path(), root.path()).unwrap());
        [one(), one()].map(|thread| thread.join().unwrap()).into()
    });
    assert_eq!(both.iter().filter(|made| made.is_new).count(), 1);
    assert_eq!(both[0].folder, both[1].folder);
    assert!(both[0].lock.contains("nothing"), "{}", both[0].lock);
    let line = format!("{} && python -c 'import nothing_here, sys; print(sys.prefix)'", both[0].activate);
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        both[0].folder.canonicalize().unwrap().display().to_string()
    );

    // What is not complete is made again; a changed file makes another one.
    fs::remove_file(both[0].folder.join("runlode-lock.txt")).unwrap();
    assert!(made(&env, project.path(), root.path()).unwrap().is_new);
    fs::write(project.path().join("requirements.txt"), "# nothing\n").unwrap();
    let other = made(&env, project.path(), root.path()).unwrap();
    assert!(other.is_new && other.folder != both[0].folder);
}

#[test]
fn what_cannot_be_made_says_why() {
    let project = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    let make = |env: PythonEnv| made(&env, project.path(), root.path()).unwrap_err().to_string();
    let error = make(PythonEnv { python: Some("1.2".to_owned()), ..PythonEnv::default() });
    assert!(error.contains("Python 1.2 is not installed"), "{error}");
    let error = make(PythonEnv { dependencies: vec!["./gone.whl".to_owned()], ..PythonEnv::default() });
    assert!(error.contains("the environment cannot be made") && error.contains("gone.whl"), "{error}");
    let error = make(PythonEnv { dependencies: vec!["-r gone.txt".to_owned()], ..PythonEnv::default() });
    assert!(error.contains("gone.txt"), "{error}");
}

#[test]
fn what_is_installed_can_be_installed_again() {
    let project = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    let env = PythonEnv { dependencies: vec![wheel(project.path())], ..PythonEnv::default() };
    let first = made(&env, project.path(), root.path()).unwrap();
    assert!(first.lock.starts_with("# Python 3."), "{}", first.lock);
    let again = Recipe::of_list(false, &first.lock).unwrap();
    let again = make(&again, project.path(), root.path(), &mut Stop::catch().unwrap(), &|_| {}).unwrap();
    assert_eq!(again.lock.lines().count(), first.lock.lines().count());
    assert!(again.is_new && again.folder != first.folder);
}
