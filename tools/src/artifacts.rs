//! The files of a run or model: those in its artifact location, if it is on this machine, and those that it recorded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

/// Most files that are listed.
const FILES_MAX: usize = 10_000;

/// Files by path below the location, with their sizes.
pub(crate) type Files = BTreeMap<String, Option<u64>>;

/// The files below a location, and those that were recorded. What cannot be listed from here (another machine's folder,
/// an object store) is left to the records.
pub(crate) fn list(store: &Path, location: &str, recorded: &[(String, Option<u64>)]) -> Files {
    let mut files: Files = recorded.iter().cloned().collect();
    if let Some(folder) = folder_of(store, location) {
        // A folder that is not there has no files.
        let _ = walk(&folder, "", &mut files);
    }
    files
}

/// The folder of a location on this machine. A server keeps `mlflow-artifacts:` below its store unless it was told
/// otherwise.
pub(crate) fn folder_of(store: &Path, location: &str) -> Option<PathBuf> {
    if let Some(rest) = location.strip_prefix("mlflow-artifacts:") {
        let path = rest.strip_prefix("//").map_or(rest, |host| host.split_once('/').map_or("", |(_, path)| path));
        let inside = Path::new(path.trim_start_matches('/'));
        let plain = inside.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        return plain.then(|| store.join("artifacts").join(inside));
    }
    if let Some(path) = location.strip_prefix("file:") {
        let path = path.strip_prefix("//localhost").or_else(|| path.strip_prefix("//")).unwrap_or(path);
        let path = percent_decode_str(path.split(['?', '#']).next().unwrap_or_default()).decode_utf8_lossy();
        return path.starts_with('/').then(|| PathBuf::from(path.into_owned()));
    }
    location.starts_with('/').then(|| PathBuf::from(location))
}

/// Links are not followed: they may lead anywhere.
fn walk(folder: &Path, below: &str, files: &mut Files) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if files.len() >= FILES_MAX {
            return Ok(());
        }
        let name = entry.file_name();
        let path = if below.is_empty() {
            name.to_string_lossy().into_owned()
        } else {
            format!("{below}/{}", name.to_string_lossy())
        };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), &path, files)?;
        } else if kind.is_file() {
            files.insert(path, entry.metadata().ok().map(|about| about.len()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_on_this_machine_are_folders() {
        let store = Path::new("/s");
        for (location, folder) in [
            ("/a/b", Some("/a/b")),
            ("file:///a%20b", Some("/a b")),
            ("file:/a", Some("/a")),
            ("file://localhost/a", Some("/a")),
            ("mlflow-artifacts:/0/r/artifacts", Some("/s/artifacts/0/r/artifacts")),
            ("mlflow-artifacts://host:5000/0/r", Some("/s/artifacts/0/r")),
            ("mlflow-artifacts:/../../etc", None),
            ("s3://b/x", None),
            ("relative", None),
        ] {
            assert_eq!(folder_of(store, location), folder.map(PathBuf::from), "{location}");
        }
    }
}
