//! Environments by conda, mamba or micromamba, whichever the user has.
//!
//! Programs are looked for where MLflow looks: `MLFLOW_CONDA_HOME`, `CONDA_EXE`, the search path; and
//! `MLFLOW_CONDA_CREATE_ENV_CMD` names the one that creates. Beyond MLflow, mamba and micromamba do without conda.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{ProjectError, Result};
use crate::launch::Stop;
use crate::quote::quote;
use crate::tool::{self, call, io_error};

/// The programs, the one that people have most first.
const NAMES: [&str; 3] = ["conda", "mamba", "micromamba"];

/// The conda of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conda {
    /// The program that lists and activates.
    program: PathBuf,
    /// The program that creates.
    creator: PathBuf,
}

impl Conda {
    /// Finds it.
    ///
    /// # Errors
    /// [`ProjectError::Environment`] if there is none; says what to do for the project's file.
    pub fn find(file: &Path) -> Result<Self> {
        let home = std::env::var_os("MLFLOW_CONDA_HOME").map(|home| PathBuf::from(home).join("bin"));
        let own = || Some(PathBuf::from(std::env::var_os("CONDA_EXE")?).parent()?.to_owned());
        let folder = home.or_else(own);
        let existing = |name: &str| match &folder {
            Some(folder) => Some(folder.join(name)).filter(|path| tool::is_program(path)),
            None => tool::find(name),
        };
        let named = || std::env::var_os("MAMBA_EXE").map(PathBuf::from).filter(|path| tool::is_program(path));
        let Some(program) = NAMES.iter().find_map(|name| existing(name)).or_else(named) else {
            let place = folder.map_or_else(String::new, |folder| format!(" in {}", folder.display()));
            return Err(ProjectError::Environment(format!(
                "the project's environment is of conda ({}), and there is no conda, mamba or micromamba{place}; install one \
                 (https://conda-forge.org/download), or launch with --env-manager virtualenv, which takes Python and the \
                 packages of pip out of that file, or with --env-manager local",
                file.display()
            )));
        };
        let creator = match std::env::var("MLFLOW_CONDA_CREATE_ENV_CMD").ok().filter(|name| !name.is_empty()) {
            None => program.clone(),
            Some(name) => existing(&name).ok_or_else(|| {
                ProjectError::Environment(format!(
                    "MLFLOW_CONDA_CREATE_ENV_CMD names {name:?}, which is not installed beside {}",
                    program.display()
                ))
            })?,
        };
        Ok(Self { program, creator })
    }

    fn is(&self, name: &str) -> bool {
        self.program.file_name().is_some_and(|found| found == name)
    }

    /// The script by which conda becomes a function of the shell.
    fn script(&self) -> Option<PathBuf> {
        let real = self.program.canonicalize().ok();
        let programs = [Some(&self.program), real.as_ref()];
        let roots = programs.into_iter().flatten().filter_map(|program| program.parent()?.parent());
        roots.map(|root| root.join("etc/profile.d/conda.sh")).find(|script| script.is_file())
    }

    /// The command by which a shell enters an environment.
    pub(super) fn activate(&self, folder: &Path) -> String {
        let folder = quote(&folder.display().to_string());
        let program = quote(&self.program.display().to_string());
        match self.script() {
            Some(script) if !self.is("micromamba") => {
                format!("source {} && conda activate {folder} 1>&2", quote(&script.display().to_string()))
            }
            _ if self.is("conda") => format!("eval \"$({program} shell.posix activate {folder})\""),
            _ => {
                let name = if self.is("micromamba") { "micromamba" } else { "mamba" };
                format!("eval \"$({program} shell hook --shell bash)\" && {name} activate {folder} 1>&2")
            }
        }
    }

    /// All that decides what an environment becomes, in words for a digest.
    pub(super) fn content(&self, file: &Path) -> Result<String> {
        let text = fs::read_to_string(file).map_err(|source| io_error(file, source))?;
        let mut content = format!("2\nconda\n{text}");
        // Packages of pip may come from files beside it.
        let folder = file.parent().unwrap_or(Path::new("."));
        for line in text.lines().map(|line| line.trim().trim_start_matches('-').trim()) {
            let named = line.strip_prefix("r ").or_else(|| line.strip_prefix("-r ")).map(str::trim);
            if let Some(more) = named.and_then(|name| fs::read_to_string(folder.join(name)).ok()) {
                content.push_str(&more);
            }
        }
        Ok(content)
    }

    /// Makes the environment in a folder; the list of what is installed.
    pub(super) fn install(&self, file: &Path, folder: &Path, stop: &mut Stop) -> Result<String> {
        let mut command = Command::new(&self.creator);
        let is_micromamba = self.creator.file_name().is_some_and(|name| name == "micromamba");
        if !is_micromamba {
            command.arg("env");
        }
        command.args(["create", "--quiet", "--prefix"]).arg(folder).arg("--file").arg(file);
        // Not all of them know --yes here.
        command.env("CONDA_ALWAYS_YES", "true").env("MAMBA_ALWAYS_YES", "true").env("PIP_NO_INPUT", "1");
        call(&mut command, stop)?;
        self.list(folder, stop)
    }

    /// The packages of conda as URLs with digests, then those of pip.
    fn list(&self, folder: &Path, stop: &mut Stop) -> Result<String> {
        let mut command = Command::new(&self.program);
        match self.is("conda") {
            true => command.args(["list", "--explicit", "--md5", "--prefix"]).arg(folder),
            false => command.args(["env", "export", "--explicit", "--md5", "--prefix"]).arg(folder),
        };
        let mut out = String::from("# conda\n");
        match call(&mut command, stop) {
            Ok(list) => out.push_str(&list),
            Err(interrupted @ ProjectError::Interrupted { .. }) => return Err(interrupted),
            // The environment is complete all the same.
            Err(error) => {
                for line in error.to_string().lines() {
                    let _infallible = writeln!(out, "# not listed: {line}");
                }
            }
        }
        let python = folder.join("bin/python");
        if tool::is_program(&python) {
            let list = call(Command::new(python).args(["-m", "pip", "freeze", "--disable-pip-version-check"]), stop);
            match list {
                Ok(list) => out.push_str(&format!("# pip\n{list}")),
                Err(interrupted @ ProjectError::Interrupted { .. }) => return Err(interrupted),
                // An environment of conda need not have pip.
                Err(_) => out.push_str("# no pip\n"),
            }
        }
        Ok(out)
    }
}
