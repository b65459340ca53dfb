//! Fetches the artifacts of one run or model from a server into the store.
//!
//! A file is complete once it has its name: a fetch that was interrupted goes on with the first file that is not there with
//! the length that the server tells. Of each file that came, `artifacts/imported.sha256` keeps the SHA-256 in the form of
//! `sha256sum`, which checks all of them at any later time: `cd STORE/artifacts && sha256sum --check imported.sha256`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use runlode::engine::storage::owner::settle_tree;

use super::beneath::Folder;
use super::home::{Home, ROOT, UNFINISHED, join};
use super::report::Report;
use super::server::{Download, Entry, Files, Listing};
use crate::error::{Error, Result};

/// Longest file that is fetched.
const FILE_BYTES_MAX: u64 = 64 << 30;
/// Folders within folders.
const DEPTH_MAX: usize = 100;
/// Most files of one place.
const FILES_MAX: usize = 100_000;
/// The list of digests, below the folder of artifacts.
const LIST: &str = "imported.sha256";

/// Fetches all files below a path of the server. `None`: the server does not show them; the place stays as it is.
pub(super) fn fetch(
    files: &Files,
    path: &str,
    home: Home<'_>,
    digests: &Digests,
    report: &mut Report,
) -> Result<Option<Vec<(String, u64)>>> {
    let mut fetch = Fetch { files, path, home, digests, found: Vec::new(), report };
    if !fetch.tree("", 0)? {
        return Ok(None);
    }
    let found = fetch.found;
    home.settle(&found, report)?;
    Ok(Some(found))
}

struct Fetch<'f> {
    files: &'f Files,
    /// Of the place, on the server.
    path: &'f str,
    home: Home<'f>,
    digests: &'f Digests,
    found: Vec<(String, u64)>,
    report: &'f mut Report,
}

impl Fetch<'_> {
    /// Fetches a folder and its subfolders. `false`: the server refuses to show it.
    fn tree(&mut self, below: &str, depth: usize) -> Result<bool> {
        let at = join(self.path, below);
        let (entries, unusable) = match self.files.list(&at)? {
            Listing::Entries { entries, unusable } => (entries, unusable),
            Listing::Refused(error) => {
                self.report.skip("artifact folders that the server does not show", 1);
                self.report.problem(format!("artifacts in {at} are left out: {error}"));
                return Ok(false);
            }
        };
        self.report.skip("artifacts with names that no file can have", unusable);
        // Made when the first file comes.
        let mut target: Option<Folder> = None;
        let mut any_came = false;
        for entry in entries {
            let path = join(below, &entry.name);
            let Some(bytes) = entry.bytes else {
                if depth < DEPTH_MAX {
                    self.tree(&path, depth + 1)?;
                } else {
                    self.report.skip("artifact folders that lie too deep", 1);
                    self.report.problem(format!("{at}/{} is nested too deeply: left out", entry.name));
                }
                continue;
            };
            if bytes > FILE_BYTES_MAX || self.found.len() >= FILES_MAX {
                self.report.skip("artifacts that are too long or too many", 1);
                self.report.problem(format!("{at}/{} of {bytes} bytes is left out", entry.name));
                continue;
            }
            let target = match &mut target {
                Some(target) => target,
                None => target.insert(self.home.folder(below)?),
            };
            any_came |= self.file(&entry, bytes, target, path)?;
        }
        if let Some(target) = target.filter(|_| any_came) {
            self.home.sync(&target, below)?;
        }
        Ok(true)
    }

    /// Fetches a file unless it is there with this length. Returns whether it came.
    fn file(&mut self, entry: &Entry, bytes: u64, to: &Folder, path: String) -> Result<bool> {
        let name = entry.name.as_str();
        if to.file_bytes(name) == Some(bytes) {
            self.found.push((path, bytes));
            return Ok(false);
        }
        let place = self.home.place(&path);
        let cannot = |error: io::Error| {
            Error::io(format!("cannot write {} (run the import again to go on)", place.display()), error)
        };
        let mut file = to.create(UNFINISHED).map_err(|error| cannot(error.into()))?;
        match self.files.download(&join(self.path, &path), bytes, &mut file)? {
            Download::Whole(digest) => {
                file.sync_all().map_err(cannot)?;
                self.digests.note(&self.home.below_root(&path), digest)?;
                to.rename(UNFINISHED, name).map_err(|error| cannot(error.into()))?;
                self.report.artifact_files_new += 1;
                self.found.push((path, bytes));
                Ok(true)
            }
            Download::Refused(error) => {
                to.remove(UNFINISHED).map_err(|error| cannot(error.into()))?;
                self.report.skip("artifacts that the server does not give", 1);
                self.report.problem(format!("{} is left out: {error}", join(self.path, &path)));
                Ok(false)
            }
        }
    }
}

/// The SHA-256 of files that came from servers, in this import or an earlier one.
///
/// A line is appended before its file has its name. So after a crash, lines may be there twice, or without a file; the
/// next import that ends writes the list again, with the last line of each file that is there.
#[derive(Debug)]
pub(super) struct Digests {
    store: PathBuf,
    list: PathBuf,
    known: RefCell<BTreeMap<String, String>>,
    /// Opened when the first line comes.
    file: RefCell<Option<fs::File>>,
}

impl Digests {
    /// Those that a store has.
    pub(super) fn read(store: &Path) -> Result<Self> {
        let list = store.join(ROOT).join(LIST);
        let text = match fs::read_to_string(&list) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(|error| Error::io(format!("cannot read {}", list.display()), error))?,
        };
        let lines = text.lines().filter_map(|line| Some((read_name(line)?, line.to_owned())));
        Ok(Self { store: store.to_owned(), list, known: RefCell::new(lines.collect()), file: RefCell::default() })
    }

    fn cannot(&self, error: io::Error) -> Error {
        Error::io(format!("cannot write {}", self.list.display()), error)
    }

    fn note(&self, path: &str, digest: [u8; 32]) -> Result<()> {
        let line = line(path, digest);
        let mut file = self.file.borrow_mut();
        let file = match &mut *file {
            Some(file) => file,
            None => {
                let opened = fs::OpenOptions::new().create(true).append(true).open(&self.list);
                file.insert(opened.map_err(|error| self.cannot(error))?)
            }
        };
        file.write_all(format!("{line}\n").as_bytes()).map_err(|error| self.cannot(error))?;
        self.known.borrow_mut().insert(path.to_owned(), line);
        Ok(())
    }

    /// Writes the list again, if lines were added: one for each file that is there.
    pub(super) fn finish(&self) -> Result<()> {
        if self.file.borrow_mut().take().is_none() {
            return Ok(());
        }
        let Some(root) = self.list.parent() else { return Ok(()) };
        let mut text = String::new();
        for (_, line) in self.known.borrow().iter().filter(|(path, _)| root.join(path).is_file()) {
            let _infallible = writeln!(text, "{line}");
        }
        let mut file = tempfile::NamedTempFile::new_in(root).map_err(|error| self.cannot(error))?;
        file.write_all(text.as_bytes()).map_err(|error| self.cannot(error))?;
        file.as_file().sync_all().map_err(|error| self.cannot(error))?;
        file.persist(&self.list).map_err(|error| self.cannot(error.error))?;
        // Root may import for the user who owns the store.
        settle_tree(&self.store, &self.list).map_err(|error| self.cannot(error))
    }
}

/// A line as `sha256sum` writes it: names with a line feed or a backslash are escaped, and the line says so.
fn line(path: &str, digest: [u8; 32]) -> String {
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    if path.contains(['\\', '\n', '\r']) {
        let path = path.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        return format!("\\{hex}  {path}");
    }
    format!("{hex}  {path}")
}

/// The path in such a line.
fn read_name(line: &str) -> Option<String> {
    let (escaped, rest) = line.strip_prefix('\\').map_or((false, line), |rest| (true, rest));
    let path = rest.get(64..)?.strip_prefix("  ")?;
    if !escaped {
        return Some(path.to_owned());
    }
    let mut out = String::new();
    let mut chars = path.chars();
    while let Some(char) = chars.next() {
        out.push(match (char, if char == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            (_, Some(other)) => other,
            (char, None) => char,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        for path in ["1/r/artifacts/a b.txt", "1/r/a\\b", "1/r/line\nfeed\\n", "x"] {
            let line = line(path, [0xab; 32]);
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(read_name(&line).as_deref(), Some(path));
        }
        assert_eq!(read_name("short"), None);
    }

    #[test]
    fn the_list_keeps_the_last_line_of_each_file_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join(ROOT);
        fs::create_dir_all(root.join("1")).unwrap();
        fs::write(root.join("1/there"), "x").unwrap();
        let digests = Digests::read(dir.path()).unwrap();
        for (path, byte) in [("1/there", 1), ("1/gone", 2), ("1/there", 3)] {
            digests.note(path, [byte; 32]).unwrap();
        }
        assert_eq!(fs::read_to_string(root.join(LIST)).unwrap().lines().count(), 3);
        digests.finish().unwrap();
        assert_eq!(fs::read_to_string(root.join(LIST)).unwrap(), format!("{}  1/there\n", "03".repeat(32)));
        let again = Digests::read(dir.path()).unwrap();
        again.finish().unwrap();
        assert_eq!(again.known.borrow().len(), 1);
    }
}
