//! Folders and small files of a file store.

use std::io::Read;
use std::path::{Path, PathBuf};

use runlode_yaml::{Node, Value, load};
use rustix::io::Errno;

use super::super::beneath::{Folder, Kind};
use super::super::report::Report;
use crate::error::{Error, Result};

/// Longest `meta.yaml`, param or tag.
const TEXT_BYTES_MAX: u64 = 16 << 20;
/// Folders within folders, for keys with slashes.
const DEPTH_MAX: usize = 64;

/// An open folder and its path, for errors.
pub(super) struct Dir {
    folder: Folder,
    path: PathBuf,
}

impl Dir {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let folder = Folder::open(path).map_err(|error| cannot_read(path, error))?;
        Ok(Self { folder, path: path.to_owned() })
    }

    /// A folder below this one.
    pub(super) fn folder(&self, path: &str) -> Result<Self> {
        let full = self.path.join(path);
        let folder = self.folder.folder(path).map_err(|error| cannot_read(&full, error))?;
        Ok(Self { folder, path: full })
    }

    pub(super) fn has_folder(&self, path: &str) -> bool {
        self.folder.folder(path).is_ok()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its entries by name.
    pub(super) fn entries(&self, found: &mut Report) -> Result<Vec<(String, Kind)>> {
        let entries = self.folder.list().map_err(|error| cannot_read(&self.path, error))?;
        let mut named = Vec::with_capacity(entries.len());
        for (name, kind) in entries {
            match name.into_string() {
                Ok(_) if kind == Kind::Other => found.skip("links and special files in the file store", 1),
                Ok(name) => named.push((name, kind)),
                Err(name) => {
                    found.problem(format!("{}: its name is no UTF-8", self.path.join(name).display()));
                    found.skip("files whose name is no UTF-8", 1);
                }
            }
        }
        Ok(named)
    }

    /// A file below this folder; `None` if there is none.
    pub(super) fn file(&self, name: &str) -> Result<Option<std::fs::File>> {
        self.folder.file(name).map_err(|error| cannot_read(&self.path.join(name), error))
    }

    /// All files below a folder of this one, as paths below it: the keys of metrics, params and tags.
    pub(super) fn keys(&self, folder: &str, found: &mut Report) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        if self.has_folder(folder) {
            walk(&self.folder(folder)?, "", 0, &mut keys, found)?;
        }
        Ok(keys)
    }

    /// Keys below a folder, with the texts of their files.
    pub(super) fn values(&self, folder: &str, found: &mut Report) -> Result<Vec<(String, String)>> {
        let mut values = Vec::new();
        for key in self.keys(folder, found)? {
            if let Some(text) = self.text(&format!("{folder}/{key}"), found)? {
                values.push((key, text));
            }
        }
        Ok(values)
    }

    /// The text of a file. If it cannot be used, `found` says why.
    fn text(&self, name: &str, found: &mut Report) -> Result<Option<String>> {
        let Some(file) = self.file(name)? else { return Ok(None) };
        let path = self.path.join(name);
        let mut bytes = Vec::new();
        file.take(TEXT_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
        if bytes.len() as u64 > TEXT_BYTES_MAX {
            found.problem(format!("{} is left out: it is longer than {TEXT_BYTES_MAX} bytes", path.display()));
            found.skip("files that are too long", 1);
            return Ok(None);
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => {
                found.problem(format!("{} is left out: it is no UTF-8", path.display()));
                found.skip("files that are no UTF-8", 1);
                Ok(None)
            }
        }
    }

    /// A YAML file that holds a map. If there is none, or it is damaged, `found` says so.
    pub(super) fn meta(&self, name: &str, found: &mut Report) -> Result<Option<Node>> {
        let path = self.path.join(name);
        let Some(text) = self.text(name, found)? else {
            found.problem(format!("{} is missing", path.display()));
            return Ok(None);
        };
        let why = match load(&text) {
            Ok(node) if matches!(node.value, Value::Map(_)) => return Ok(Some(node)),
            Ok(node) => format!("it is {}, not a map", node.value.kind()),
            Err(error) => error.to_string(),
        };
        found.problem(format!("{} is damaged: {why}", path.display()));
        Ok(None)
    }

    /// The `meta.yaml` of each folder below a folder of this one.
    pub(super) fn metas(&self, folder: &str, found: &mut Report) -> Result<Vec<(String, Node)>> {
        let mut metas = Vec::new();
        if !self.has_folder(folder) {
            return Ok(metas);
        }
        let dir = self.folder(folder)?;
        for (name, kind) in dir.entries(found)? {
            if kind != Kind::Folder {
                continue;
            }
            match dir.folder(&name)?.meta("meta.yaml", found)? {
                Some(meta) => metas.push((name, meta)),
                None => found.skip(&format!("{folder} without a readable meta.yaml"), 1),
            }
        }
        Ok(metas)
    }
}

fn walk(dir: &Dir, below: &str, depth: usize, keys: &mut Vec<String>, found: &mut Report) -> Result<()> {
    if depth > DEPTH_MAX {
        found.problem(format!("{} is left out: it is too deep", dir.path.display()));
        found.skip("folders that are too deep", 1);
        return Ok(());
    }
    for (name, kind) in dir.entries(found)? {
        let key = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        match kind {
            Kind::Folder => walk(&dir.folder(&name)?, &key, depth + 1, keys, found)?,
            Kind::File => keys.push(key),
            Kind::Other => {}
        }
    }
    Ok(())
}

fn cannot_read(path: &Path, error: Errno) -> Error {
    Error::io(format!("cannot read {}", path.display()), error.into())
}

/// A field as Python prints it; `None` if it is missing or null.
pub(super) fn optional(meta: &Node, name: &str) -> Option<String> {
    let value = &meta.get(name)?.value;
    (*value != Value::Null).then(|| value.to_string())
}

/// A field as Python prints it; empty if it is missing or null.
pub(super) fn field(meta: &Node, name: &str) -> String {
    optional(meta, name).unwrap_or_default()
}

/// A field that is a whole number, or a text of one.
pub(super) fn number(meta: &Node, name: &str) -> Option<i64> {
    let text = optional(meta, name)?;
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
    })
}
