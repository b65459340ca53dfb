//! Where the files of a run or model are, how many bytes they take, and how they go.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The place of a thing's artifacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A folder of its own, which may go whole.
    Folder(PathBuf),
    /// Elsewhere: not removed.
    Elsewhere(String),
}

/// The place of a location as events keep it, or as it is rendered below `root`: `id` is the thing's own.
///
/// A default location is `ROOT/EXPERIMENT/ID/artifacts`, and then the folder is `ROOT/EXPERIMENT/ID`.
pub(super) fn place(root: &Path, location: &str, id: &str) -> Place {
    let elsewhere = || Place::Elsewhere(location.to_owned());
    let Some(path) = local_path(root, location) else { return elsewhere() };
    let Ok(below) = path.strip_prefix(root) else { return elsewhere() };
    if !below.components().all(|part| matches!(part, Component::Normal(_))) {
        return elsewhere();
    }
    let own = if below.file_name().is_some_and(|name| name == "artifacts") { path.parent() } else { Some(&*path) };
    match own {
        Some(own) if own.file_name().is_some_and(|name| name == id) && !leads_out(root, own) => {
            Place::Folder(own.to_owned())
        }
        _ => elsewhere(),
    }
}

/// The path of a location on this machine.
fn local_path(root: &Path, location: &str) -> Option<PathBuf> {
    if let Some(rest) = location.strip_prefix("mlflow-artifacts:") {
        let path = rest.strip_prefix("//").map_or(rest, |host| host.split_once('/').map_or("", |(_, path)| path));
        return Some(root.join(path.trim_start_matches('/')));
    }
    if let Some(path) = location.strip_prefix("file:") {
        let path = path.strip_prefix("//localhost").or_else(|| path.strip_prefix("//")).unwrap_or(path);
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        return path.starts_with('/').then(|| PathBuf::from(path.into_owned()));
    }
    location.starts_with('/').then(|| PathBuf::from(location))
}

/// Whether a folder between the root and the last name is a link.
fn leads_out(root: &Path, folder: &Path) -> bool {
    let Ok(below) = folder.strip_prefix(root) else { return true };
    let mut at = root.to_owned();
    below.components().any(|part| {
        at.push(part);
        fs::symlink_metadata(&at).is_ok_and(|found| found.is_symlink())
    })
}

/// Bytes on the disk of a file or a folder; 0 if it is not there. Links are not followed.
pub(super) fn disk_bytes(path: &Path) -> Result<u64> {
    let Some(found) = metadata(path)? else { return Ok(0) };
    if !found.is_dir() {
        return Ok(found.blocks() * 512);
    }
    let mut bytes = 0;
    for entry in entries(path)? {
        bytes += disk_bytes(&entry)?;
    }
    Ok(bytes)
}

/// The latest change of anything in a folder, Unix ms.
pub(super) fn changed_ms(path: &Path) -> Result<i64> {
    let Some(found) = metadata(path)? else { return Ok(i64::MIN) };
    let mut last = found.mtime().saturating_mul(1_000);
    if found.is_dir() {
        for entry in entries(path)? {
            last = last.max(changed_ms(&entry)?);
        }
    }
    Ok(last)
}

/// SHA-256 over a folder: of each file in the order of paths its path, a zero byte, its length as u64, little endian, and
/// its bytes. Links count by their target's text.
pub(super) fn hash(path: &Path) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    hash_into(path, &mut hash, "")?;
    Ok(hash.finalize().into())
}

fn hash_into(path: &Path, hash: &mut Sha256, name: &str) -> Result<()> {
    let Some(found) = metadata(path)? else { return Ok(()) };
    if found.is_dir() {
        for entry in entries(path)? {
            let own = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            hash_into(&entry, hash, &if name.is_empty() { own } else { format!("{name}/{own}") })?;
        }
        return Ok(());
    }
    let io = |error| Error::io("read", path, error);
    hash.update(name.as_bytes());
    hash.update([0]);
    if found.is_symlink() {
        let target = fs::read_link(path).map_err(io)?;
        hash.update((target.as_os_str().len() as u64).to_le_bytes());
        hash.update(target.as_os_str().as_encoded_bytes());
    } else if found.is_file() {
        hash.update(found.len().to_le_bytes());
        let mut file = fs::File::open(path).map_err(io)?;
        let mut piece = vec![0; 256 << 10];
        loop {
            let count = std::io::Read::read(&mut file, &mut piece).map_err(io)?;
            if count == 0 {
                break;
            }
            hash.update(piece.get(..count).unwrap_or_default());
        }
    }
    Ok(())
}

/// Removes a file, or a folder with all that is in it. What is not there is gone already.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = match metadata(path)? {
        None => return Ok(()),
        Some(found) if found.is_dir() => fs::remove_dir_all(path),
        Some(_) => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|error| Error::io("remove", path, error)),
    }
}

/// The paths in a folder, sorted; none if it is not there.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |error| Error::io("list", folder, error);
    let listed = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        listed => listed.map_err(io)?,
    };
    let mut paths = listed.map(|entry| Ok(entry.map_err(io)?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort_unstable();
    Ok(paths)
}

fn metadata(path: &Path) -> Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        found => found.map(Some).map_err(|error| Error::io("look at", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_below_the_root_that_ends_in_the_id_is_ones_own() {
        let root = Path::new("/s/artifacts");
        let own = |path: &str| Place::Folder(path.into());
        let table = [
            ("/s/artifacts/3/r1/artifacts", own("/s/artifacts/3/r1")),
            ("/s/artifacts/3/r1", own("/s/artifacts/3/r1")),
            ("file:///s/artifacts/3/r1/artifacts", own("/s/artifacts/3/r1")),
            ("mlflow-artifacts:/3/r1/artifacts", own("/s/artifacts/3/r1")),
            ("mlflow-artifacts://host:1/3/r1/artifacts", own("/s/artifacts/3/r1")),
        ];
        for (location, expected) in table {
            assert_eq!(place(root, location, "r1"), expected, "{location}");
        }
        for location in [
            "/s/artifacts/3/r2/artifacts",
            "/s/artifacts/3/r1/artifacts/deeper",
            "/s/artifacts",
            "/elsewhere/r1/artifacts",
            "/s/artifacts/../r1",
            "mlflow-artifacts:/../r1",
            "s3://bucket/3/r1/artifacts",
            "relative/r1",
            "",
        ] {
            assert_eq!(place(root, location, "r1"), Place::Elsewhere(location.into()), "{location}");
        }
    }

    #[test]
    fn links_are_neither_followed_nor_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("artifacts"), dir.path().join("outside/r1"));
        fs::create_dir_all(root.join("3")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("precious"), [7; 9000]).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("3/r1")).unwrap();
        let location = root.join("3/r1/artifacts").display().to_string();
        assert_eq!(place(&root, &location, "r1"), Place::Elsewhere(location));
        assert!(disk_bytes(&root).unwrap() < 4096);
        remove(&root).unwrap();
        assert_eq!(fs::read(outside.join("precious")).unwrap(), [7; 9000]);
        assert_eq!((disk_bytes(&root).unwrap(), remove(&root).is_ok()), (0, true));
    }

    #[test]
    fn a_hash_depends_on_names_lengths_and_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let of = |files: &[(&str, &str)]| {
            let folder = tempfile::tempdir_in(dir.path()).unwrap();
            for (name, content) in files {
                let path = folder.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            hash(folder.path()).unwrap()
        };
        let one = of(&[("a/b", "xy"), ("c", "")]);
        assert_eq!(one, of(&[("c", ""), ("a/b", "xy")]));
        for other in [&[("a/b", "xyz"), ("c", "")][..], &[("a/b", "x"), ("c", "y")], &[("a", "xy"), ("c", "")], &[]] {
            assert_ne!(one, of(other), "{other:?}");
        }
    }
}
