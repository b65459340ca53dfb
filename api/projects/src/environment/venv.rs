//! Python environments by `uv`, or by `python -m venv` and pip.
//!
//! The list of what is installed is a requirements file, with the digest of each archive where pip tells it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::python_env::PythonEnv;
use super::pythons::Python;
use crate::error::{ProjectError, Result};
use crate::launch::Stop;
use crate::tool::{call, io_error};

/// Files that name files, at most.
const DEPTH_MAX: usize = 8;
/// Options of a requirements line that name a file or folder of the project.
const OPTIONS: [&str; 6] = ["--requirement", "--constraint", "--editable", "-r", "-c", "-e"];

/// What makes a virtual environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    Uv,
    Pip,
}

/// All that decides what an environment becomes, in words for a digest.
pub(super) fn content(tool: Tool, python: &Python, env: &PythonEnv, project: &Path) -> Result<String> {
    let mut content = format!("2\n{tool:?}\n{}\n{}\n", python.version, python.program.display());
    for (kind, lines) in [("build", &env.build_dependencies), ("run", &env.dependencies)] {
        content.push_str(&format!("{kind}\n"));
        for line in lines {
            content.push_str(line);
            content.push('\n');
            for file in named_files(line, project, 0)? {
                content.push_str(&file);
            }
        }
    }
    Ok(content)
}

/// The option and the path of a line such as `-r requirements.txt`.
fn option(line: &str) -> Option<(&'static str, &str)> {
    let line = line.trim();
    OPTIONS.into_iter().find_map(|option| {
        let rest = line.strip_prefix(option)?;
        let name = rest.trim_start_matches(['=', ' ', '\t']).trim();
        (!name.is_empty()).then_some((option, name))
    })
}

/// The content of the files that a line names, and of those that these name. An editable package counts by its
/// project file.
fn named_files(line: &str, folder: &Path, depth: usize) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let Some((option, name)) = option(line).filter(|(_, name)| !name.contains("://")) else { return Ok(out) };
    if option.starts_with("-e") || option == "--editable" {
        let package = folder.join(name.split('[').next().unwrap_or(name));
        let files = ["pyproject.toml", "setup.py", "setup.cfg"].map(|file| package.join(file));
        out.push(format!("{}\n", package.display()));
        out.extend(files.iter().filter_map(|file| fs::read_to_string(file).ok()));
        return Ok(out);
    }
    let path = folder.join(name);
    let text = fs::read_to_string(&path).map_err(|source| io_error(&path, source))?;
    if depth < DEPTH_MAX {
        let folder = path.parent().unwrap_or(folder);
        for line in text.lines() {
            out.extend(named_files(line, folder, depth + 1)?);
        }
    }
    out.push(text);
    Ok(out)
}

/// Makes the environment in a folder; the list of what is installed.
pub(super) fn install(
    tool: Tool,
    python: &Python,
    env: &PythonEnv,
    project: &Path,
    folder: &Path,
    stop: &mut Stop,
) -> Result<String> {
    let own = folder.join("bin/python");
    match tool {
        Tool::Uv => {
            call(Command::new("uv").args(["venv", "--quiet", "--python"]).arg(&python.program).arg(folder), stop)?
        }
        Tool::Pip => call(Command::new(&python.program).args(["-m", "venv"]).arg(folder), stop)?,
    };
    let mut digests = BTreeMap::new();
    for dependencies in [&env.build_dependencies, &env.dependencies] {
        if dependencies.is_empty() {
            continue;
        }
        // A file, so that options such as -r and markers are read as in a requirements file.
        let file = |suffix: &str| {
            let mut builder = tempfile::Builder::new();
            builder
                .prefix("runlode-requirements-")
                .suffix(suffix)
                .tempfile()
                .map_err(|source| io_error(project, source))
        };
        let (list, report) = (file(".txt")?, file(".json")?);
        let lines: Vec<_> = dependencies.iter().map(|line| absolute(line, project)).collect();
        fs::write(list.path(), lines.join("\n")).map_err(|source| io_error(list.path(), source))?;
        let mut command = match tool {
            Tool::Uv => {
                let mut command = Command::new("uv");
                command.args(["pip", "install", "--quiet", "--python"]).arg(&own);
                command
            }
            Tool::Pip => {
                let mut command = Command::new(&own);
                command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
                if knows_reports(&own, stop)? {
                    command.arg("--report").arg(report.path());
                }
                command
            }
        };
        call(command.arg("-r").arg(list.path()).current_dir(project).env("VIRTUAL_ENV", folder), stop)?;
        let report = fs::read_to_string(report.path()).map_err(|source| io_error(report.path(), source))?;
        digests.extend(digests_of(&report));
    }
    let list = match tool {
        Tool::Uv => call(Command::new("uv").args(["pip", "freeze", "--python"]).arg(&own), stop)?,
        Tool::Pip => call(Command::new(&own).args(["-m", "pip", "freeze", "--disable-pip-version-check"]), stop)?,
    };
    Ok(format!("# Python {}\n{}", python.version, with_digests(&list, &digests)))
}

/// Whether pip writes reports: from 22.2 on.
fn knows_reports(python: &Path, stop: &mut Stop) -> Result<bool> {
    let said = call(Command::new(python).args(["-m", "pip", "--version"]), stop)?;
    let version = said.split_whitespace().nth(1).unwrap_or_default();
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0u32));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    Ok(version >= (22, 2))
}

/// Name and version of each package that a report of pip names, and the digest of its archive.
fn digests_of(report: &str) -> BTreeMap<String, String> {
    let report: serde_json::Value = serde_json::from_str(report).unwrap_or_default();
    let packages = report["install"].as_array().into_iter().flatten();
    let digests = packages.filter_map(|package| {
        let of = |key: &str| package["metadata"][key].as_str();
        let digest = package["download_info"]["archive_info"]["hashes"]["sha256"].as_str()?;
        Some((format!("{}=={}", canonical(of("name")?), of("version")?), digest.to_owned()))
    });
    digests.collect()
}

/// The name as package indexes compare it.
fn canonical(name: &str) -> String {
    let mut out = String::new();
    for part in name.to_ascii_lowercase().split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !out.is_empty() {
            out.push('-');
        }
        out.push_str(part);
    }
    out
}

fn with_digests(list: &str, digests: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    for line in list.lines() {
        out.push_str(line);
        if let Some((name, version)) = line.split_once("==")
            && let Some(digest) = digests.get(&format!("{}=={version}", canonical(name)))
        {
            out.push_str(&format!(" --hash=sha256:{digest}"));
        }
        out.push('\n');
    }
    out
}

/// The line with the path that it names made absolute.
fn absolute(line: &str, project: &Path) -> String {
    match option(line) {
        Some((option, name)) if !name.contains("://") => format!("{option} {}", project.join(name).display()),
        _ => line.to_owned(),
    }
}

/// The dependencies that a list of installed packages stands for: with digests if all have one, since pip then asks for
/// all of them.
///
/// # Errors
/// [`ProjectError::Environment`] for a list of another form.
pub(super) fn of_list(list: &str) -> Result<PythonEnv> {
    let mut lines = list.lines();
    let python = lines.next().and_then(|line| line.strip_prefix("# Python ")).map(|version| version.trim().to_owned());
    let Some(python) = python else {
        return Err(ProjectError::Environment("the list of the environment does not begin with its Python".to_owned()));
    };
    let all: Vec<_> = lines.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let has_all = all.iter().all(|line| line.contains(" --hash="));
    let line = |line: &&str| match has_all {
        true => (*line).to_owned(),
        false => line.split(" --hash=").next().unwrap_or(line).to_owned(),
    };
    Ok(PythonEnv { python: Some(python), dependencies: all.iter().map(line).collect(), ..PythonEnv::default() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn lines_name_files_in_each_form() {
        let folder = Path::new("/p");
        for (line, becomes) in [
            ("-r requirements.txt", "-r /p/requirements.txt"),
            ("-rmore.txt", "-r /p/more.txt"),
            ("--requirement=a b.txt", "--requirement /p/a b.txt"),
            ("  -c c.txt ", "-c /p/c.txt"),
            ("-e .", "-e /p/."),
            ("-r https://host/r.txt", "-r https://host/r.txt"),
            ("requests==2", "requests==2"),
            ("-i https://host/simple", "-i https://host/simple"),
            ("--extra-index-url https://host/simple", "--extra-index-url https://host/simple"),
        ] {
            assert_eq!(absolute(line, folder), becomes);
        }
    }

    #[test]
    fn digests_are_kept_and_used_if_all_have_one() {
        let report = r#"{"install": [{"metadata": {"name": "Zope.Interface", "version": "1.0"}, "download_info": {"archive_info": {"hashes": {"sha256": "ab"}}}}]}"#;
        let list = with_digests("zope_interface==1.0\nother==2\n", &digests_of(report));
        assert_eq!(list, "zope_interface==1.0 --hash=sha256:ab\nother==2\n");
        let env = of_list(&format!("# Python 3.11.7\n{list}")).unwrap();
        assert_eq!(
            (env.python.as_deref(), env.dependencies),
            (Some("3.11.7"), vec!["zope_interface==1.0".to_owned(), "other==2".to_owned()])
        );
        let env = of_list("# Python 3.11.7\na==1 --hash=sha256:ab\n").unwrap();
        assert_eq!(env.dependencies, ["a==1 --hash=sha256:ab"]);
        assert!(of_list("a==1\n").is_err());
    }
}
