//! Artifact folders: where the source's absolute places are now, and copying them into the store.
//!
//! A database often comes from another machine: its places say `/srv/mlflow/artifacts/1/RUN/artifacts` while the files
//! lie beside the database. So a place is re-rooted: by the prefixes that the user gave, longest first, else by the
//! longest tail of it that exists beside the database. Copied files lie where the store keeps artifacts by default
//! (`artifacts/EXPERIMENT/RUN/artifacts`, `artifacts/EXPERIMENT/models/MODEL/artifacts`), and the entity then has no
//! explicit place: the store can be moved. Places that are not on this machine stay as they are.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use runlode::engine::storage::owner::settle_tree;

use super::ImportOptions;
use super::decode::text;
use super::report::Report;
use super::source::{Source, read_failed};
use crate::error::{Error, Result};

/// Where places of the source are now.
pub(super) struct Places {
    /// `(old prefix, folder)`, longest prefix first.
    rules: Vec<(String, PathBuf)>,
}

/// What became of an entity's artifacts.
pub(super) struct Copied {
    /// The place to give to the entity; `None` is the store's default place.
    pub(super) location: Option<String>,
    /// Paths below the place, with lengths.
    pub(super) files: Vec<(String, u64)>,
}

impl Places {
    /// Finds the rules for a database.
    pub(super) fn find(source: &Source, database: &Path, options: &ImportOptions, report: &mut Report) -> Result<Self> {
        let mut rules: Vec<(String, PathBuf)> = Vec::new();
        for (old, new) in &options.artifacts {
            let folder = PathBuf::from(local_path(new).unwrap_or(new.as_str()));
            if !folder.is_dir() {
                return Err(Error::usage(format!("--artifacts {old}={new}: {} is no folder", folder.display())));
            }
            rules.push((old.trim_end_matches('/').to_owned(), folder));
        }
        if rules.is_empty() {
            rules = guess(source, database)?;
            for (old, new) in &rules {
                report.note(format!("artifacts of {old}/ were looked for in {}", new.display()));
            }
        }
        rules.sort_by_key(|(old, _)| std::cmp::Reverse(old.len()));
        Ok(Self { rules })
    }

    /// Where a place is on this machine: by a rule, or as it stands.
    fn resolve(&self, location: &str) -> Option<PathBuf> {
        for (old, new) in &self.rules {
            if let Some(rest) = strip_prefix(location, old) {
                return Some(
                    rest.split('/')
                        .filter(|part| !matches!(*part, "" | "." | ".."))
                        .fold(new.clone(), |path, part| path.join(part)),
                );
            }
        }
        local_path(location).map(PathBuf::from).filter(|path| path.is_absolute() && path.is_dir())
    }

    /// Whether a place's files are on this machine, and so in the store after the import.
    pub(super) fn is_here(&self, location: &str) -> bool {
        self.resolve(location).is_some()
    }

    /// What to keep of an experiment's place: nothing of a local one, as its runs come into the store.
    pub(super) fn of_experiment(&self, location: &str) -> Option<String> {
        let local = location.is_empty() || self.resolve(location).is_some() || local_path(location).is_some();
        (!local).then(|| location.to_owned())
    }

    /// Copies what is at a place of the source to a path below the store, as far as it is not there yet.
    pub(super) fn copy(&self, location: &str, store: &Path, below: &str, report: &mut Report) -> Result<Copied> {
        if location.is_empty() {
            return Ok(Copied { location: None, files: Vec::new() });
        }
        let Some(from) = self.resolve(location) else {
            report.skip("artifact places that are not on this machine (kept as they are)", 1);
            return Ok(Copied { location: Some(location.to_owned()), files: Vec::new() });
        };
        let mut files = Vec::new();
        // A run without artifacts has no folder.
        if from.is_dir() {
            let to = store.join(below);
            copy_tree(&from, &to, "", &mut files, report)?;
            if to.exists() {
                // Root imports for the user whose store it is.
                settle_tree(store, &to)
                    .map_err(|error| Error::io(format!("cannot give {} away", to.display()), error))?;
            }
        }
        report.imported.artifact_files += files.len() as u64;
        report.imported.artifact_bytes += files.iter().map(|(_, bytes)| bytes).sum::<u64>();
        Ok(Copied { location: None, files })
    }

    /// A text that may name an artifact place (a version's source), as it is in the store: places that were copied
    /// become relative to the store's folder.
    pub(super) fn relocate(&self, text: &str, homes: &BTreeMap<String, String>) -> String {
        if text.contains(":/") && local_path(text).is_none() && !text.starts_with("mlflow-artifacts:") {
            return text.to_owned();
        }
        // The longest place that contains it.
        let mut prefix = text.trim_end_matches('/');
        loop {
            if let Some(home) = homes.get(prefix) {
                return format!("{home}{}", text.get(prefix.len()..).unwrap_or_default());
            }
            match prefix.rfind('/') {
                Some(at) => prefix = &prefix[..at],
                None => return text.to_owned(),
            }
        }
    }
}

/// The local path of a place: a plain path, or a `file:` URI without a host.
fn local_path(location: &str) -> Option<&str> {
    if let Some(rest) = location.strip_prefix("file:") {
        return match rest.strip_prefix("//") {
            Some(with_host) => with_host.strip_prefix("localhost").or(Some(with_host)).filter(|p| p.starts_with('/')),
            None => Some(rest),
        };
    }
    let scheme = location.split_once(':').map(|(scheme, _)| scheme);
    let has_scheme =
        scheme.is_some_and(|s| s.len() > 1 && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)));
    (!has_scheme).then_some(location)
}

/// `location` below `prefix`, at a `/`.
fn strip_prefix<'l>(location: &'l str, prefix: &str) -> Option<&'l str> {
    let rest = location.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')).then_some(rest)
}

/// Rules by the longest tails of the source's places that exist beside the database.
fn guess(source: &Source, database: &Path) -> Result<Vec<(String, PathBuf)>> {
    let beside = match database.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let roots = [beside.clone(), beside.join("mlartifacts"), beside.join("mlruns"), beside.join("artifacts")];
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    let queries =
        [("runs", "artifact_uri"), ("experiments", "artifact_location"), ("logged_models", "artifact_location")];
    for (table, column) in queries {
        if !source.has_column(table, column) {
            continue;
        }
        // A sample is enough: places of one store begin alike.
        let mut statement = source.prepare(&format!("SELECT {column} FROM {table} WHERE {column} > '' LIMIT 2000"))?;
        let mut rows = statement.query([]).map_err(|error| read_failed(&error))?;
        while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
            let Some(location) = text(row, 0)? else { continue };
            let proxied = location.starts_with("mlflow-artifacts:");
            if local_path(&location).is_none() && !proxied {
                continue;
            }
            if found.keys().any(|old| strip_prefix(&location, old).is_some()) {
                continue;
            }
            // Where it is already in its place there is nothing to re-root.
            if local_path(&location).is_some_and(|path| Path::new(path).is_absolute() && Path::new(path).is_dir()) {
                continue;
            }
            if let Some((old, new)) = longest_tail(&location, &roots) {
                found.insert(old, new);
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// Splits a place into a head and the longest tail, of two parts at least, that exists below one of the roots.
fn longest_tail(location: &str, roots: &[PathBuf]) -> Option<(String, PathBuf)> {
    let cuts: Vec<usize> = location.match_indices('/').map(|(at, _)| at).collect();
    for at in &cuts {
        let (head, tail) = (location.get(..*at)?, location.get(*at + 1..)?);
        let parts = tail.split('/').filter(|part| !part.is_empty()).count();
        let plain = Path::new(tail).components().all(|part| matches!(part, Component::Normal(_)));
        if parts < 2 || !plain {
            continue;
        }
        if let Some(root) = roots.iter().find(|root| root.join(tail).is_dir()) {
            return Some((head.to_owned(), root.clone()));
        }
    }
    None
}

fn copy_tree(from: &Path, to: &Path, below: &str, files: &mut Vec<(String, u64)>, report: &mut Report) -> Result<()> {
    let cannot_list = |error| Error::io(format!("cannot list {}", from.display()), error);
    let mut entries = fs::read_dir(from).map_err(cannot_list)?.collect::<io::Result<Vec<_>>>().map_err(cannot_list)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut copied_any = false;
    for entry in entries {
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            report.skip("artifacts whose names are no UTF-8", 1);
            continue;
        };
        let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        let kind = entry.file_type().map_err(cannot_list)?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &to.join(name), &path, files, report)?;
        } else if kind.is_file() {
            let (bytes, copied) = copy_file(&entry.path(), to, name)?;
            copied_any |= copied;
            report.artifact_files_new += u64::from(copied);
            files.push((path, bytes));
        } else {
            // Following a link could bring in any file of this machine.
            report.skip("artifacts that are links or special files", 1);
        }
    }
    if copied_any {
        // The names are durable when the folder is.
        fs::File::open(to)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| Error::io(format!("cannot sync {}", to.display()), error))?;
    }
    Ok(())
}

/// Copies a file if it is not there with this length; its length, and whether it was copied. A copy is complete when
/// it has its name.
fn copy_file(from: &Path, folder: &Path, name: &str) -> Result<(u64, bool)> {
    let to = folder.join(name);
    let bytes = fs::metadata(from).map_err(|error| Error::io(format!("cannot read {}", from.display()), error))?.len();
    if fs::metadata(&to).is_ok_and(|there| there.len() == bytes) {
        return Ok((bytes, false));
    }
    let write = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let part = folder.join(format!("{name}.part"));
        let mut target = fs::File::create(&part)?;
        io::copy(&mut fs::File::open(from)?, &mut target)?;
        target.sync_all()?;
        fs::rename(&part, &to)
    };
    write().map_err(|error| {
        Error::io(format!("cannot copy {} to {} (run the import again to go on)", from.display(), to.display()), error)
    })?;
    Ok((bytes, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_tell_local_from_remote() {
        assert_eq!(local_path("/srv/a"), Some("/srv/a"));
        assert_eq!(local_path("./mlruns/0"), Some("./mlruns/0"));
        assert_eq!(local_path("file:///srv/a"), Some("/srv/a"));
        assert_eq!(local_path("file:/srv/a"), Some("/srv/a"));
        assert_eq!(local_path("file://localhost/srv/a"), Some("/srv/a"));
        assert_eq!(local_path("file://elsewhere/srv/a"), None);
        assert_eq!(local_path("s3://bucket/a"), None);
        assert_eq!(local_path("mlflow-artifacts:/1/r"), None);
        assert_eq!(strip_prefix("/a/bc/d", "/a/b"), None);
        assert_eq!(strip_prefix("/a/b/d", "/a/b"), Some("/d"));
    }

    #[test]
    fn the_folder_beside_the_database_is_found_by_the_longest_tail() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("artifacts/1/r/artifacts")).unwrap();
        let found = longest_tail("/srv/mlflow/artifacts/1/r/artifacts", &[dir.path().to_path_buf()]);
        assert_eq!(found, Some(("/srv/mlflow".to_owned(), dir.path().to_path_buf())));
        assert_eq!(longest_tail("/srv/mlflow/artifacts/2/r/artifacts", &[dir.path().to_path_buf()]), None);
    }

    #[test]
    fn what_lay_in_a_copied_place_becomes_relative() {
        let homes = BTreeMap::from([("/srv/a/1/r/artifacts".to_owned(), "artifacts/1/r/artifacts".to_owned())]);
        let places = Places { rules: Vec::new() };
        assert_eq!(places.relocate("/srv/a/1/r/artifacts/model", &homes), "artifacts/1/r/artifacts/model");
        assert_eq!(places.relocate("/srv/a/1/r/artifacts2", &homes), "/srv/a/1/r/artifacts2");
        assert_eq!(places.relocate("models:/m-1", &homes), "models:/m-1");
        assert_eq!(places.relocate("file:///srv/x", &homes), "file:///srv/x");
    }
}
