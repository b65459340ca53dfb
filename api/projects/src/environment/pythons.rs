//! The Pythons of this machine, found by version.
//!
//! A Python says its version only when it is started, which takes tens of milliseconds, through pyenv's scripts hundreds.
//! So what each program said is noted in a file beside the environments, with all that the answer depends on; a program
//! that changed is asked again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::error::{ProjectError, Result};
use crate::launch::Stop;
use crate::tool::{self, io_error};

/// What programs said, in the folder of environments.
const NOTES_FILE: &str = "pythons.json";
/// Notes are begun anew beyond this many.
const NOTES_MAX: usize = 200;

/// A Python that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Python {
    /// Its program, not a link or a script that starts it.
    pub(super) program: PathBuf,
    /// Version of three parts.
    pub(super) version: String,
}

/// A Python of the version: `python3.11`, `python3`, `python`, or one of pyenv. One that is missing is fetched by uv if
/// uv makes the environment, and built by pyenv otherwise, as MLflow has it.
pub(super) fn find(
    version: Option<&str>,
    by_uv: bool,
    root: &Path,
    stop: &mut Stop,
    say: &dyn Fn(&str),
) -> Result<Python> {
    let mut notes = Notes::read(root);
    let found = search(version, &mut notes);
    notes.write();
    if let Some(found) = found {
        return Ok(found);
    }
    if let Some(version) = version {
        if by_uv {
            return fetch(version, &mut notes, stop, say);
        }
        if let Some(pyenv) = pyenv() {
            return install(&pyenv, version, stop, say);
        }
    }
    let wanted = version.map_or_else(|| "Python".to_owned(), |version| format!("Python {version}"));
    Err(ProjectError::Environment(format!(
        "{wanted} is not installed; install it (pyenv install, uv python install), or launch with --env-manager local"
    )))
}

/// Lets uv fetch a Python.
fn fetch(version: &str, notes: &mut Notes, stop: &mut Stop, say: &dyn Fn(&str)) -> Result<Python> {
    say(&format!("uv fetches Python {version}"));
    tool::call(Command::new("uv").args(["python", "install", "--quiet", version]), stop)?;
    let program = PathBuf::from(tool::call(Command::new("uv").args(["python", "find", version]), stop)?.trim());
    notes.ask(&program).ok_or_else(|| io_error(&program, std::io::ErrorKind::NotFound.into()))
}

fn search(version: Option<&str>, notes: &mut Notes) -> Option<Python> {
    let mut candidates: Vec<PathBuf> = Vec::new();
    if let Some(version) = version {
        let short: Vec<_> = version.split('.').take(2).collect();
        candidates.extend(tool::find(&format!("python{}", short.join("."))));
    }
    candidates.extend(tool::find("python3"));
    candidates.extend(tool::find("python"));
    if let Some(version) = version {
        candidates.extend(of_pyenv(version));
    }
    candidates.into_iter().find_map(|candidate| {
        let found = notes.ask(&candidate)?;
        version.is_none_or(|version| is_version(&found.version, version)).then_some(found)
    })
}

/// Whether `found`, such as `3.11.4`, is what `wanted`, such as `3.11`, asks for.
fn is_version(found: &str, wanted: &str) -> bool {
    let mut found = found.split('.');
    wanted.trim_end_matches('.').split('.').all(|part| found.next() == Some(part))
}

fn pyenv_root() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv"));
    std::env::var_os("PYENV_ROOT").map(PathBuf::from).or_else(home)
}

fn pyenv() -> Option<PathBuf> {
    let own = || pyenv_root().map(|root| root.join("bin/pyenv")).filter(|path| tool::is_program(path));
    tool::find("pyenv").or_else(own)
}

/// Pythons of pyenv, the newest first.
fn of_pyenv(version: &str) -> Vec<PathBuf> {
    let Some(root) = pyenv_root() else { return Vec::new() };
    let entries = fs::read_dir(root.join("versions")).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| entry.file_name().to_str().map(str::to_owned))
        .filter(|name| is_version(name, version))
        .collect();
    found.sort_by_key(|name| std::cmp::Reverse(numbers(name)));
    found.iter().map(|name| root.join("versions").join(name).join("bin/python")).collect()
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

/// Lets pyenv build the newest Python of a version, as MLflow does.
fn install(pyenv: &Path, version: &str, stop: &mut Stop, say: &dyn Fn(&str)) -> Result<Python> {
    let listed = tool::call(Command::new(pyenv).args(["install", "--list"]), stop)?;
    let known = listed.lines().map(str::trim).filter(|name| {
        let is_release = name.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
        is_release && is_version(name, version)
    });
    let Some(newest) = known.max_by_key(|name| numbers(name)) else {
        return Err(ProjectError::Environment(format!(
            "Python {version} is not installed, and pyenv does not know it; update pyenv, or launch with --env-manager local"
        )));
    };
    say(&format!("pyenv installs Python {newest}"));
    tool::call(Command::new(pyenv).args(["install", "--skip-existing", newest]), stop)?;
    let root = tool::call(Command::new(pyenv).arg("root"), stop)?;
    let program = Path::new(root.trim()).join("versions").join(newest).join("bin/python");
    match tool::is_program(&program) {
        true => Ok(Python { program, version: newest.to_owned() }),
        false => Err(io_error(&program, std::io::ErrorKind::NotFound.into())),
    }
}

/// What programs said: digest of a program to its version and own path, on two lines.
struct Notes {
    file: PathBuf,
    known: BTreeMap<String, (String, PathBuf)>,
    is_changed: bool,
}

impl Notes {
    /// Notes that cannot be read count as none: they are written anew.
    fn read(root: &Path) -> Self {
        let file = root.join(NOTES_FILE);
        let known = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { file, known, is_changed: false }
    }

    /// Without a place to write, the next launch asks again.
    fn write(&self) {
        let Some(folder) = self.file.parent().filter(|_| self.is_changed) else { return };
        let written = || -> std::io::Result<()> {
            fs::create_dir_all(folder)?;
            let made = tempfile::NamedTempFile::new_in(folder)?;
            fs::write(made.path(), serde_json::to_vec(&self.known)?)?;
            made.persist(&self.file)?;
            Ok(())
        };
        let _unwritten = written();
    }

    fn ask(&mut self, program: &Path) -> Option<Python> {
        let digest = digest(program)?;
        if let Some((version, own)) = self.known.get(&digest).filter(|(_, own)| tool::is_program(own)) {
            return Some(Python { program: own.clone(), version: version.clone() });
        }
        let print = "import sys; print('.'.join(map(str, sys.version_info[:3])), sys.executable)";
        // Skip programs that cannot be started, and scripts of pyenv that have no version to start.
        let output = Command::new(program).args(["-c", print]).output().ok()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let (version, own) = said.trim().split_once(' ').filter(|_| output.status.success())?;
        let found = Python { program: PathBuf::from(own), version: version.to_owned() };
        if self.known.len() >= NOTES_MAX {
            self.known.clear();
        }
        self.known.insert(digest, (found.version.clone(), found.program.clone()));
        self.is_changed = true;
        Some(found)
    }
}

/// All that a program's answer depends on: its file, and for pyenv's scripts the version that is chosen here.
fn digest(program: &Path) -> Option<String> {
    let facts = fs::metadata(program).ok()?;
    let mut content =
        format!("{}\n{} {} {}.{}\n", program.display(), facts.ino(), facts.len(), facts.mtime(), facts.mtime_nsec());
    let begin = read_begin(program)?;
    if begin == *b"#!" {
        content.push_str(&format!("{:?}\n", std::env::var_os("PYENV_VERSION")));
        let here = std::env::current_dir().ok()?;
        let chosen = here.ancestors().map(|folder| folder.join(".python-version"));
        for file in chosen.chain(pyenv_root().map(|root| root.join("version"))) {
            if let Ok(version) = fs::read_to_string(&file) {
                content.push_str(&format!("{}\n{version}\n", file.display()));
            }
        }
    }
    let sum = Sha256::digest(content.as_bytes());
    Some(sum.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

fn read_begin(program: &Path) -> Option<[u8; 2]> {
    use std::io::Read;
    let mut begin = [0; 2];
    fs::File::open(program).ok()?.read_exact(&mut begin).ok()?;
    Some(begin)
}
