//! Artifact folders: finds where the source's absolute locations are now, and copies them into the store.
//!
//! A database often comes from another machine: its locations say `/srv/mlflow/artifacts/1/RUN/artifacts`, but the
//! files are beside the database. So a location is re-rooted: by the prefixes that the user gave, longest first, else
//! by the longest tail of it that exists beside the database. Files are copied to the store's default places
//! (`artifacts/EXPERIMENT/RUN/artifacts`, `artifacts/EXPERIMENT/models/MODEL/artifacts`), and the entity then has no
//! explicit location, so the store can be moved. Locations that are not on this machine stay as they are.
//!
//! Everybody who wrote to the database could choose these locations. So files come only from the folder of the
//! database, and from where the user said; another location on this machine is left out and reported. Below these
//! folders no link is followed ([`super::beneath`]). What a server hands out is fetched from it ([`super::fetched`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::ImportOptions;
use super::beneath::{Folder, Kind};
use super::decode::text;
use super::fetched::{self, Digests};
use super::home::{Home, UNFINISHED, join};
use super::report::Report;
use super::server::Files;
use super::source::{Source, read_failed};
use crate::error::{Error, Result};

/// Longest file that is copied.
const FILE_BYTES_MAX: u64 = 256 << 30;
/// Folders within folders.
const DEPTH_MAX: usize = 100;
/// Files are copied in pieces of this length; a piece of zeros becomes a hole.
const PIECE_BYTES: usize = 1 << 20;
/// Why an entry that is not a file is left out.
const NO_FILES: &str = "artifacts that are links or special files";

/// `old` places lie in `below` of `root`.
struct Rule {
    old: String,
    root: PathBuf,
    below: String,
}

/// Where locations of the source are now.
pub(super) struct Places {
    /// Longest prefix first.
    rules: Vec<Rule>,
    /// The source's folder; `None` for a server.
    beside: Option<PathBuf>,
    /// Its path: as the user named it, and as the disk names it.
    own: Vec<PathBuf>,
    /// What a server hands out.
    served: Option<Served>,
    /// No files are taken: all places stay as they are.
    left: bool,
}

/// The files of a server, and what is known of those that came.
struct Served {
    files: Arc<Files>,
    digests: Digests,
}

/// Where a location is.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Below a folder that may be read.
    Here { root: PathBuf, below: String },
    /// On this machine, but neither the database's nor named by the user.
    Outside(PathBuf),
    /// A path behind the server's proxy.
    Served(String),
    /// Not on this machine.
    Elsewhere,
}

/// What happened to an entity's artifacts.
pub(super) struct Copied {
    /// The location to give to the entity; `None` is the store's default.
    pub(super) location: Option<String>,
    /// Paths below the location, with lengths.
    pub(super) files: Vec<(String, u64)>,
}

impl Places {
    /// Finds the rules for a source. `folder` is that of the database, or the root of what the source is; a server has
    /// none on this machine.
    pub(super) fn find(
        source: &Source,
        folder: Option<&Path>,
        files: Option<&Arc<Files>>,
        (store, options): (&Path, &ImportOptions),
        report: &mut Report,
    ) -> Result<Self> {
        let mut rules: Vec<Rule> = Vec::new();
        for (old, new) in &options.artifacts {
            let root = PathBuf::from(local_path(new).unwrap_or(new.as_str()));
            if !root.is_dir() {
                return Err(Error::usage(format!("--artifacts {old}={new}: {} is not a folder", root.display())));
            }
            rules.push(Rule { old: old.trim_end_matches('/').to_owned(), root, below: String::new() });
        }
        let beside = folder.map(Path::to_path_buf);
        if let Some(beside) = beside.as_ref().filter(|_| rules.is_empty()) {
            for (old, below) in guess(source, beside)? {
                report.note(format!("artifacts of {old}/ were looked for in {}", beside.join(&below).display()));
                rules.push(Rule { old, root: beside.clone(), below });
            }
        }
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.old.len()));
        let own = beside.iter().flat_map(|beside| [std::path::absolute(beside).ok(), fs::canonicalize(beside).ok()]);
        let files = files.filter(|_| !options.without_artifacts).cloned();
        let served = files.map(|files| Ok::<_, Error>(Served { files, digests: Digests::read(store)? })).transpose()?;
        Ok(Self { rules, own: own.flatten().collect(), beside, served, left: options.without_artifacts })
    }

    /// Writes down what is known of files that came from a server.
    pub(super) fn finish(&self) -> Result<()> {
        self.served.as_ref().map_or(Ok(()), |served| served.digests.finish())
    }

    /// Where a location is on this machine: by a rule, or as it is written.
    fn resolve(&self, location: &str) -> Found {
        if self.left {
            return Found::Elsewhere;
        }
        for rule in &self.rules {
            if let Some(rest) = strip_prefix(location, &rule.old) {
                let below = plain(rest).map(|rest| join(&rule.below, &rest));
                return match below {
                    Some(below) => Found::Here { root: rule.root.clone(), below },
                    None => Found::Outside(PathBuf::from(location)),
                };
            }
        }
        if let Some(path) = self.served.as_ref().and_then(|served| served.files.path_of(location)) {
            return Found::Served(path);
        }
        let Some(path) = local_path(location) else { return Found::Elsewhere };
        if !path.starts_with('/') {
            // Taken for the database's own if it looks like it: MLflow means the folder that its server was started in.
            let Some(beside) = &self.beside else { return Found::Elsewhere };
            return match plain(path) {
                Some(below) if beside.join(below.split('/').next().unwrap_or_default()).is_dir() => {
                    Found::Here { root: beside.clone(), below }
                }
                Some(_) => Found::Elsewhere,
                None => Found::Outside(PathBuf::from(path)),
            };
        }
        for (own, beside) in self.own.iter().zip(self.beside.iter().cycle()) {
            let below = own.to_str().and_then(|own| strip_prefix(path, own.trim_end_matches('/'))).and_then(plain);
            if let Some(below) = below {
                return Found::Here { root: beside.clone(), below };
            }
        }
        if Path::new(path).is_dir() { Found::Outside(PathBuf::from(path)) } else { Found::Elsewhere }
    }

    /// Whether a location's files are within reach, and so in the store after the import.
    pub(super) fn is_here(&self, location: &str) -> bool {
        matches!(self.resolve(location), Found::Here { .. } | Found::Served(_))
    }

    /// Whether files at a location come from a server.
    pub(super) fn is_served(&self, location: &str) -> bool {
        matches!(self.resolve(location), Found::Served(_))
    }

    /// What to keep of an experiment's location: nothing of a local one, because its runs move into the store.
    pub(super) fn of_experiment(&self, location: &str) -> Option<String> {
        let local = location.is_empty() || self.is_here(location) || local_path(location).is_some() && !self.left;
        (!local).then(|| location.to_owned())
    }

    /// Copies the files at a location of the source to a path below the store, unless they are there already.
    pub(super) fn copy(&self, location: &str, store: &Path, home: &str, report: &mut Report) -> Result<Copied> {
        if location.is_empty() {
            return Ok(Copied { location: None, files: Vec::new() });
        }
        let kept = Copied { location: Some(location.to_owned()), files: Vec::new() };
        let (root, below) = match self.resolve(location) {
            Found::Here { root, below } => (root, below),
            Found::Outside(path) => {
                // An empty folder holds nothing to leave out.
                if fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none()) {
                    report.artifact_places_elsewhere += 1;
                    return Ok(kept);
                }
                report.skip("artifact places outside the database's folder", 1);
                report.problem(format!(
                    "artifacts at {location} are left out, as that is outside the database's folder; \
                     --artifacts {location}=FOLDER takes them from FOLDER, which may be the same"
                ));
                return Ok(kept);
            }
            Found::Served(path) => {
                let Some(served) = &self.served else { return Ok(kept) };
                let copied = fetched::fetch(&served.files, &path, Home::new(store, home), &served.digests, report)?;
                return Ok(copied.map_or(kept, |files| Copied { location: None, files }));
            }
            Found::Elsewhere => {
                report.artifact_places_elsewhere += 1;
                return Ok(kept);
            }
        };
        let cannot_read =
            |error: Errno| Error::io(format!("cannot read {}", root.join(&below).display()), error.into());
        let from = match Folder::open(&root).and_then(|root| root.folder(&below)) {
            Ok(from) => from,
            // A run without artifacts has no folder.
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Copied { location: None, files: Vec::new() }),
            // No file can have this path.
            Err(Errno::INVAL | Errno::NAMETOOLONG | Errno::ILSEQ) => {
                report.artifact_places_elsewhere += 1;
                return Ok(kept);
            }
            Err(Errno::LOOP | Errno::XDEV) => {
                report.skip("artifact places that are links, or lie behind one", 1);
                report.problem(format!(
                    "artifacts at {location} are left out: {} is a link, or lies behind one; \
                     --artifacts {location}=FOLDER takes them from FOLDER",
                    root.join(&below).display()
                ));
                return Ok(kept);
            }
            Err(Errno::ACCESS) => {
                report.skip("artifacts that may not be read", 1);
                report.problem(format!("artifacts at {location} are left out: they may not be read"));
                return Ok(kept);
            }
            Err(error) => return Err(cannot_read(error)),
        };
        let is_store = |path: &Path| -> Option<bool> {
            Some(fs::canonicalize(path).ok()?.starts_with(fs::canonicalize(store).ok()?))
        };
        if is_store(&root.join(&below)).unwrap_or(false) {
            report.skip("artifact places in the store itself", 1);
            report.problem(format!("artifacts at {location} are left out: that is in the store itself"));
            return Ok(kept);
        }
        let store_id = Folder::open(store).and_then(|store| store.id()).map_err(cannot_read)?;
        let home = Home::new(store, home);
        let mut copy = Copy { from: root.join(&below), store_id, home, files: Vec::new(), report };
        copy.tree(&from, "", 0)?;
        let files = copy.files;
        home.settle(&files, report)?;
        Ok(Copied { location: None, files })
    }

    /// A text that may name an artifact location (a version's source), as the store has it: copied locations become
    /// relative to the store's folder.
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

/// The local path of a location: a plain path, or a `file:` URI without a host.
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

/// A path below a folder without `.` and empty parts; `None` if it leaves the folder.
fn plain(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    (!parts.contains(&"..")).then(|| parts.join("/"))
}

/// Rules from the longest tails of the source's locations that exist beside the database: old prefix, and folder below
/// the database's.
fn guess(source: &Source, beside: &Path) -> Result<Vec<(String, String)>> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let queries =
        [("runs", "artifact_uri"), ("experiments", "artifact_location"), ("logged_models", "artifact_location")];
    for (table, column) in queries {
        if !source.has_column(table, column) {
            continue;
        }
        // A sample is enough: locations of one store begin alike.
        let mut statement = source.prepare(&format!("SELECT {column} FROM {table} WHERE {column} > '' LIMIT 2000"))?;
        let mut rows = statement.query([]).map_err(|error| read_failed(&error))?;
        while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
            let Some(location) = text(row, 0)? else { continue };
            let proxied = location.starts_with("mlflow-artifacts:");
            if (local_path(&location).is_none() && !proxied) || !seen.insert(location.clone()) {
                continue;
            }
            if found.keys().any(|old| strip_prefix(&location, old).is_some()) {
                continue;
            }
            // A location that is right already needs no rule.
            if local_path(&location).is_some_and(|path| Path::new(path).is_absolute() && Path::new(path).is_dir()) {
                continue;
            }
            if let Some((old, below)) = longest_tail(&location, beside) {
                found.insert(old, below.to_owned());
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// Splits a location into a head and the longest tail, of two parts at least, that exists beside the database or in one
/// of the folders that MLflow makes there. Returns the head and that folder.
fn longest_tail(location: &str, beside: &Path) -> Option<(String, &'static str)> {
    let cuts: Vec<usize> = location.match_indices('/').map(|(at, _)| at).collect();
    for at in &cuts {
        let (head, tail) = (location.get(..*at)?, location.get(*at + 1..)?);
        let parts = tail.split('/').filter(|part| !part.is_empty()).count();
        let plain = Path::new(tail).components().all(|part| matches!(part, Component::Normal(_)));
        if parts < 2 || !plain {
            continue;
        }
        let folders = ["", "mlartifacts", "mlruns", "artifacts"];
        if let Some(folder) = folders.into_iter().find(|folder| beside.join(folder).join(tail).is_dir()) {
            return Some((head.to_owned(), folder));
        }
    }
    None
}

/// The files of one location on their way into the store.
struct Copy<'c> {
    /// The name in messages.
    from: PathBuf,
    /// A folder that holds the store must not be copied into it endlessly.
    store_id: (u64, u64),
    home: Home<'c>,
    files: Vec<(String, u64)>,
    report: &'c mut Report,
}

impl Copy<'_> {
    /// Copies a folder and its subfolders; `below` is its path below the location.
    fn tree(&mut self, from: &Folder, below: &str, depth: usize) -> Result<()> {
        let cannot_list =
            |error: Errno| Error::io(format!("cannot list {}", self.from.join(below).display()), error.into());
        let entries = from.list().map_err(cannot_list)?;
        // Created when the first file comes.
        let mut target: Option<Folder> = None;
        let mut copied_any = false;
        for (name, kind) in entries {
            let Some(name) = name.to_str() else {
                self.report.skip("artifacts whose names are no UTF-8", 1);
                continue;
            };
            let path = join(below, name);
            match kind {
                Kind::Folder if depth >= DEPTH_MAX => {
                    self.report.skip("artifact folders that lie too deep", 1);
                    self.report.problem(format!("{} is nested too deeply: left out", self.from.join(&path).display()));
                }
                Kind::Folder => match from.folder(name) {
                    Ok(folder) if folder.id() == Ok(self.store_id) => {
                        self.report.skip("artifact folders that are the store itself", 1);
                    }
                    Ok(folder) => self.tree(&folder, &path, depth + 1)?,
                    Err(error) => self.left_out(&path, error)?,
                },
                Kind::File => {
                    let file = match from.file(name) {
                        Ok(Some(file)) => file,
                        Ok(None) => {
                            self.report.skip(NO_FILES, 1);
                            continue;
                        }
                        Err(error) => {
                            self.left_out(&path, error)?;
                            continue;
                        }
                    };
                    let target = match &mut target {
                        Some(target) => target,
                        None => target.insert(self.home.folder(below)?),
                    };
                    copied_any |= self.file(file, target, name, path)?;
                }
                // Following a link could bring in any file of this machine.
                Kind::Other => self.report.skip(NO_FILES, 1),
            }
        }
        if let Some(target) = target.filter(|_| copied_any) {
            // The names are durable once the folder is synced.
            self.home.sync(&target, below)?;
        }
        Ok(())
    }

    /// Handles what could not be opened: it is left out if it may not be read or became a link; anything else is an
    /// error.
    fn left_out(&mut self, path: &str, error: Errno) -> Result<()> {
        let place = self.from.join(path);
        match error {
            Errno::ACCESS => {
                self.report.skip("artifacts that may not be read", 1);
                self.report.problem(format!("{} may not be read: left out", place.display()));
            }
            Errno::LOOP | Errno::XDEV | Errno::NOTDIR => self.report.skip(NO_FILES, 1),
            Errno::NOENT => {}
            error => return Err(Error::io(format!("cannot read {}", place.display()), error.into())),
        }
        Ok(())
    }

    /// Copies a file unless it is there with this length. Returns whether it did. A copy is complete once it has its
    /// name.
    fn file(&mut self, mut from: fs::File, to: &Folder, name: &str, path: String) -> Result<bool> {
        let cannot = |error: io::Error| {
            let (from, to) = (self.from.join(&path), self.home.place(&path));
            let what = format!("cannot copy {} to {} (run the import again to go on)", from.display(), to.display());
            Error::io(what, error)
        };
        let bytes = from.metadata().map_err(cannot)?.len();
        if bytes > FILE_BYTES_MAX {
            self.report.skip("artifacts that are too long", 1);
            self.report.problem(format!("{} has {bytes} bytes, too many: left out", self.from.join(&path).display()));
            return Ok(false);
        }
        let is_new = to.file_bytes(name) != Some(bytes);
        if is_new {
            let mut write = || -> io::Result<()> {
                let mut target = to.create(UNFINISHED)?;
                copy_pieces(&mut from, &mut target, bytes)?;
                target.sync_all()?;
                Ok(to.rename(UNFINISHED, name)?)
            };
            write().map_err(cannot)?;
            self.report.artifact_files_new += 1;
        }
        self.files.push((path, bytes));
        Ok(is_new)
    }
}

/// Copies at most `bytes` bytes. Zeros become holes, so a sparse file takes no more room than it had.
fn copy_pieces(from: &mut fs::File, to: &mut fs::File, bytes: u64) -> io::Result<()> {
    let mut piece = Vec::with_capacity(PIECE_BYTES.min(usize::try_from(bytes).unwrap_or(PIECE_BYTES)));
    let mut done = 0;
    while done < bytes {
        piece.clear();
        let wanted = (bytes - done).min(PIECE_BYTES as u64);
        Read::take(&mut *from, wanted).read_to_end(&mut piece)?;
        if piece.is_empty() {
            break;
        }
        done += piece.len() as u64;
        if piece.iter().all(|byte| *byte == 0) {
            to.seek(SeekFrom::Current(piece.len().cast_signed() as i64))?;
        } else {
            to.write_all(&piece)?;
        }
    }
    to.set_len(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_and_remote_locations_are_distinguished() {
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
        let found = longest_tail("/srv/mlflow/artifacts/1/r/artifacts", dir.path());
        assert_eq!(found, Some(("/srv/mlflow".to_owned(), "")));
        assert_eq!(longest_tail("/srv/mlflow/artifacts/2/r/artifacts", dir.path()), None);
    }

    #[test]
    fn locations_outside_the_databases_folder_are_distinguished() {
        let dir = tempfile::tempdir().unwrap();
        let beside = dir.path().join("db");
        fs::create_dir_all(beside.join("mlruns/1")).unwrap();
        let new = dir.path().join("new");
        let rule = Rule { old: "/srv/a".to_owned(), root: new.clone(), below: String::new() };
        let places = Places {
            rules: vec![rule],
            own: vec![beside.clone()],
            beside: Some(beside.clone()),
            served: None,
            left: false,
        };
        let here = |below: &str| Found::Here { root: beside.clone(), below: below.to_owned() };
        assert_eq!(places.resolve("./mlruns/1"), here("mlruns/1"));
        assert_eq!(places.resolve("mlruns/9/x"), here("mlruns/9/x"));
        assert_eq!(places.resolve("file:mlruns/1"), here("mlruns/1"));
        assert_eq!(places.resolve(&format!("file://{}/mlruns/1", beside.display())), here("mlruns/1"));
        assert_eq!(places.resolve("absent/1"), Found::Elsewhere);
        assert_eq!(places.resolve("s3://bucket/1"), Found::Elsewhere);
        assert_eq!(places.resolve("/no/such/place"), Found::Elsewhere);
        assert!(matches!(places.resolve("/etc"), Found::Outside(_)));
        assert!(matches!(places.resolve("mlruns/../../x"), Found::Outside(_)));
        let up = format!("{}/../../etc", beside.display());
        assert!(!matches!(places.resolve(&up), Found::Here { .. }));
        assert!(matches!(places.resolve("/srv/a/../etc"), Found::Outside(_)));
        assert_eq!(places.resolve("/srv/a/1"), Found::Here { root: new, below: "1".to_owned() });
    }

    #[test]
    fn holes_stay_holes() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let mut file = fs::File::create(&from).unwrap();
        file.seek(SeekFrom::Start(64 << 20)).unwrap();
        file.write_all(b"end").unwrap();
        file.set_len(100 << 20).unwrap();
        let mut target = fs::File::create(&to).unwrap();
        copy_pieces(&mut fs::File::open(&from).unwrap(), &mut target, 100 << 20).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
        assert!(target.metadata().unwrap().blocks() * 512 < 8 << 20);
    }

    #[test]
    fn paths_in_a_copied_location_become_relative() {
        let homes = BTreeMap::from([("/srv/a/1/r/artifacts".to_owned(), "artifacts/1/r/artifacts".to_owned())]);
        let places =
            Places { rules: Vec::new(), beside: Some(PathBuf::new()), own: Vec::new(), served: None, left: false };
        assert_eq!(places.relocate("/srv/a/1/r/artifacts/model", &homes), "artifacts/1/r/artifacts/model");
        assert_eq!(places.relocate("/srv/a/1/r/artifacts2", &homes), "/srv/a/1/r/artifacts2");
        assert_eq!(places.relocate("models:/m-1", &homes), "models:/m-1");
        assert_eq!(places.relocate("file:///srv/x", &homes), "file:///srv/x");
    }
}
