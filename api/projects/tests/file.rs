//! Project files that cannot be used: each is refused with its line and key, before anything is launched.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use runlode_projects::{Environment, Project};

/// The error of a file, without the folder's name.
fn error(file: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("MLproject"), file).unwrap();
    let error = match Project::load(folder.path()) {
        Ok(project) => panic!("{:?} is taken: {project:?}", String::from_utf8_lossy(file)),
        Err(error) => error.to_string(),
    };
    error.replace(&folder.path().display().to_string(), "")
}

#[test]
fn every_malformed_file_is_refused_with_line_and_key() {
    let cases: [(&str, &str); 32] = [
        ("", "/MLproject:1: MLproject: empty"),
        ("# only a comment\n", "/MLproject:1: MLproject: empty"),
        ("- a\n- b\n", "/MLproject:1: MLproject: a list"),
        ("just text\n", "/MLproject:1: MLproject: a text"),
        ("name: x\nentry_points:\n", "/MLproject:2: entry_points: nothing"),
        ("entry_points: []\n", "/MLproject:1: entry_points: a list"),
        ("entry_points: train.py\n", "/MLproject:1: entry_points: a text"),
        ("entry_points:\n  main:\n", "/MLproject:2: entry_points.main: nothing"),
        ("entry_points:\n  main: python x.py\n", "/MLproject:2: entry_points.main: a text"),
        ("entry_points:\n  main:\n    - command: x\n", "/MLproject:3: entry_points.main: a list"),
        (
            "entry_points:\n  main:\n    parameters:\n    command: x\n",
            "/MLproject:3: entry_points.main.parameters: nothing",
        ),
        ("entry_points:\n  main:\n    parameters: [lr]\n", "/MLproject:3: entry_points.main.parameters: a list"),
        ("entry_points:\n  main:\n    parameters: {lr: }\n", "/MLproject:3: entry_points.main.parameters.lr: nothing"),
        (
            "entry_points:\n  main:\n    parameters:\n      lr: 0.1\n",
            "/MLproject:4: entry_points.main.parameters.lr: a number",
        ),
        (
            "entry_points:\n  main:\n    parameters:\n      lr: [float, 1]\n",
            "/MLproject:4: entry_points.main.parameters.lr: a list",
        ),
        (
            "entry_points:\n  main:\n    parameters:\n      on: yes\n",
            "/MLproject:4: entry_points.main.parameters.True: a boolean",
        ),
        ("name: x\n\tentry_points: {}\n", "/MLproject:1: MLproject: while scanning a plain scalar, found a tab"),
        ("name: [1, 2\nentry_points: {}\n", "/MLproject:2: MLproject: "),
        ("name: \"x\n", "/MLproject:"),
        ("name: x\n  entry_points: {}\n", "/MLproject:2: MLproject: "),
        ("name: &a x\nentry_points: *b\n", "/MLproject:2: MLproject: "),
        ("name: !!python/name:os.system x\n", "/MLproject:1: MLproject: the tag"),
        ("name: x\n---\nname: y\n", "/MLproject:2: MLproject: a second document"),
        (
            "entry_points: {main: {command: x, parameters: {d: {default: 2024-02-30}}}}\n",
            "/MLproject:1: MLproject: \"2024-02-30\" is no date",
        ),
        ("{[1]: 2}\n", "/MLproject:1: MLproject: a list cannot be a key"),
        ("conda_env: a.yaml\npython_env: b.yaml\n", "/MLproject:1: conda_env: a project has one environment"),
        ("name: x\npython_env: gone.yaml\n", "/MLproject:2: python_env: there is no file"),
        ("conda_env: {name: x}\n", "/MLproject:1: conda_env: a map"),
        ("docker_env: python:3.12\n", "/MLproject:1: docker_env: a text"),
        ("docker_env:\n  volumes: [a]\n", "/MLproject:2: docker_env.image: missing"),
        ("docker_env: {image: x, environment: [[A, b, c]]}\n", "/MLproject:1: docker_env.environment: a list of 3"),
        ("databricks_spark_job: {python_file: x.py}\n", "/MLproject:1: databricks_spark_job: not supported"),
    ];
    for (file, expected) in cases {
        let found = error(file.as_bytes());
        assert!(found.starts_with(expected), "{file:?}\n  says     {found}\n  and not  {expected}");
    }
    assert_eq!(error(b"name: x\n# \xff\n"), "/MLproject:2: MLproject: not UTF-8; save the file as UTF-8");
}

#[test]
fn a_file_that_names_billions_of_values_is_refused() {
    let mut file = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        file.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert!(error(file.as_bytes()).contains("more than 100000 values"));
    assert!(error("[".repeat(5000).as_bytes()).starts_with("/MLproject:1: "));
}

#[test]
fn what_is_meant_otherwise_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("data.csv"), "").unwrap();
    let file = "entry_points:\n  main:\n    parameters:\n      a: type:int\n      b: {type: float, defulat: 1}\n      c: {type: path, default: data.csv}\n      d: 'float=0.5'\n    command: x\n";
    fs::write(folder.path().join("mlPROJECT"), file).unwrap();
    let project = Project::load(folder.path()).unwrap();
    let lines: Vec<_> = project.warnings.iter().map(|warning| warning.rsplit_once("mlPROJECT:").unwrap().1).collect();
    let begins = [
        "4: entry_points.main.parameters.a",
        "5: entry_points.main.parameters.b",
        "6: entry_points.main.parameters.c",
        "7: entry_points.main.parameters.d",
    ];
    assert_eq!(lines.len(), begins.len(), "{lines:?}");
    assert!(lines.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{lines:?}");
}

#[test]
fn environments_are_those_of_the_file_or_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let load = |file: &str| {
        fs::write(folder.path().join("MLproject"), file).unwrap();
        Project::load(folder.path()).unwrap().environment
    };
    assert_eq!(load("name: x"), Environment::Python(None));
    fs::write(folder.path().join("conda.yaml"), "").unwrap();
    assert_eq!(load("docker_env: {}"), Environment::Conda(folder.path().join("conda.yaml")));
    fs::write(folder.path().join("python_env.yaml"), "").unwrap();
    assert_eq!(load("name: x"), Environment::Python(Some(folder.path().join("python_env.yaml"))));
    assert_eq!(load("conda_env: conda.yaml"), Environment::Conda(folder.path().join("conda.yaml")));
    let Environment::Docker(docker) =
        load("docker_env: {image: 'py:3', volumes: ['/a:/a'], environment: [HOME, [N, 1.50]]}")
    else {
        panic!("no container")
    };
    let variables = vec![("HOME".to_owned(), None), ("N".to_owned(), Some("1.5".to_owned()))];
    assert_eq!(
        (docker.image.as_str(), docker.volumes, docker.variables),
        ("py:3", vec!["/a:/a".to_owned()], variables)
    );
}

#[test]
fn scripts_are_entry_points() {
    let folder = tempfile::tempdir().unwrap();
    let project = Project::load(folder.path()).unwrap();
    let line = |name: &str| project.entry_point(name).unwrap().command.unwrap().value.to_string();
    assert_eq!(line("a b/{x}.py"), "python 'a b/{{x}}.py'");
    assert!(line("go.sh").ends_with(" go.sh"));
    for name in ["main", "x.R", ".py", "x.py/y"] {
        let error = project.entry_point(name).unwrap_err().to_string();
        assert!(error.contains("no entry point") && error.contains("there are none"), "{error}");
    }
}
