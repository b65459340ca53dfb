//! Where ONNX Runtime is: a library that this process loads when the first ONNX model is loaded.
//!
//! Looked for in this order, the first one found is taken:
//! 1. the file that `ORT_DYLIB_PATH` names;
//! 2. the package `onnxruntime` of a given Python, then of the active virtual environment, then of `python3`;
//! 3. a library of the system: `libonnxruntime.so`.
//!
//! A process loads one library and keeps it. Versions 1.20 and later do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use ort::environment::Environment;
use parking_lot::Mutex;

/// The oldest ONNX Runtime that works: the C interface that `ort` is told to use.
const VERSION_MIN: &str = "1.20";

/// Where to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// The library itself; nothing else is looked at.
    pub library: Option<PathBuf>,
    /// Pythons whose package `onnxruntime` will do, the first one that has it.
    pub pythons: Vec<PathBuf>,
}

/// Why there is no ONNX Runtime.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LibraryError {
    /// It is nowhere.
    #[error(
        "ONNX Runtime is not installed: looked for {}. `pip install onnxruntime` into one of these Pythons, or set \
         ORT_DYLIB_PATH to a libonnxruntime.so of version {VERSION_MIN} or later", looked_at.join(", ")
    )]
    Absent {
        /// Each place.
        looked_at: Vec<String>,
    },
    /// It is there and cannot be used.
    #[error("ONNX Runtime cannot be used ({}): {why}; version {VERSION_MIN} or later is needed", path.display())]
    Unusable {
        /// The library.
        path: PathBuf,
        /// What the loader says.
        why: String,
    },
}

impl Search {
    /// What the environment of this process says, with a Python that comes first.
    #[must_use]
    pub fn from_env(python: Option<PathBuf>) -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let active = set("VIRTUAL_ENV").map(|folder| folder.join("bin/python"));
        let pythons = python.into_iter().chain(active).chain([PathBuf::from("python3")]);
        Self { library: set("ORT_DYLIB_PATH"), pythons: pythons.collect() }
    }

    /// The library's file.
    ///
    /// # Errors
    /// [`LibraryError::Absent`] names each place that was looked at.
    pub fn find(&self) -> Result<PathBuf, LibraryError> {
        if let Some(library) = &self.library {
            return match library.is_file() {
                true => Ok(library.clone()),
                false => {
                    Err(LibraryError::Absent { looked_at: vec![format!("{} (ORT_DYLIB_PATH)", library.display())] })
                }
            };
        }
        let mut looked_at = Vec::new();
        for python in &self.pythons {
            if let Some(library) = in_environment(python).or_else(|| as_imported(python)) {
                return Ok(library);
            }
            looked_at.push(format!("the package onnxruntime of {}", python.display()));
        }
        for folder in SYSTEM_FOLDERS {
            if let Some(library) = in_folder(Path::new(folder)) {
                return Ok(library);
            }
        }
        looked_at.push(format!("libonnxruntime.so in {}", SYSTEM_FOLDERS.join(", ")));
        Err(LibraryError::Absent { looked_at })
    }
}

const SYSTEM_FOLDERS: [&str; 6] = [
    "/usr/local/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/opt/onnxruntime/lib",
];

/// `libonnxruntime.so` of a folder, or the one with the highest version behind it.
fn in_folder(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let names = entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name()));
    let version = |name: &OsString| -> Option<Vec<u32>> {
        let rest = name.to_str()?.strip_prefix("libonnxruntime.so")?;
        rest.split('.').filter(|part| !part.is_empty()).map(|part| part.parse().ok()).collect()
    };
    let best = names.filter_map(|name| Some((version(&name)?, name))).max()?;
    Some(folder.join(best.1))
}

/// The library in a virtual environment's own packages. No process is started for it: that would take longer than the
/// rest of a model's start.
fn in_environment(python: &Path) -> Option<PathBuf> {
    let root = python.parent()?.parent()?;
    if !root.join("pyvenv.cfg").is_file() {
        return None;
    }
    let versions = std::fs::read_dir(root.join("lib")).ok()?;
    let folders = versions.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    folders
        .filter(|folder| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python")))
        .find_map(|folder| in_folder(&folder.join("site-packages/onnxruntime/capi")))
}

/// The library of the package that a Python would import. Importing it would load the library, so only its place is
/// asked for.
fn as_imported(python: &Path) -> Option<PathBuf> {
    let program = "import importlib.util as u; s = u.find_spec('onnxruntime'); print(s.submodule_search_locations[0] \
                   if s else '')";
    let output = Command::new(python).args(["-c", program]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let folder = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    let folder = folder.trim_end_matches('\n');
    if folder.is_empty() { None } else { in_folder(&Path::new(folder).join("capi")) }
}

/// ONNX Runtime as loaded, and from where.
static LOADED: OnceLock<(Environment, PathBuf)> = OnceLock::new();
/// Held while it is loaded.
static LOADING: Mutex<()> = Mutex::new(());

/// Loads ONNX Runtime, or answers the one that this process has already loaded, wherever it came from.
///
/// # Errors
/// There is none, it is too old, or the loader refuses it.
pub(crate) fn environment(search: &Search) -> Result<&'static Environment, LibraryError> {
    if let Some((environment, _)) = LOADED.get() {
        return Ok(environment);
    }
    let _turn = LOADING.lock();
    if let Some((environment, _)) = LOADED.get() {
        return Ok(environment);
    }
    let path = search.find()?;
    let unusable = |why: String| LibraryError::Unusable { path: path.clone(), why };
    let builder = ort::init_from(&path).map_err(|error| unusable(error.to_string()))?;
    let environment = builder
        .with_name("runlode")
        .with_telemetry(false)
        .build()
        .map_err(|error| unusable(error.message().to_owned()))?;
    Ok(&LOADED.get_or_init(|| (environment, path)).0)
}

/// The library that this process has loaded, if it has.
#[must_use]
pub fn loaded() -> Option<&'static Path> {
    LOADED.get().map(|(_, path)| path.as_path())
}
