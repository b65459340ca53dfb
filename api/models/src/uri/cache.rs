//! Models of other machines, kept on this one by the digest of their content.
//!
//! ```text
//! <cache>/places/<sha256 of owner and place>   text: digest of the folder that it had last
//! <cache>/models/<digest>/                     files
//! <cache>/models/<digest>.files                text: sha256, bytes and path of each file
//! <cache>/tmp/                                 downloads that go on, and those of killed processes
//! ```
//!
//! - The digest is the SHA-256 of the list of files. A folder is used only after its files were hashed and have it; what
//!   was damaged is downloaded again.
//! - A registered version and a logged model do not change once they are ready: they are asked for once. Other places
//!   are downloaded each time, and land in the same folder if they are the same.
//! - A folder appears by a rename: it is whole, whoever downloads it at once.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::name::UriError;
use super::store::{Listed, Located, ModelStore, Owner, Place};
use crate::folder::{FILES_MAX, Folder, hash_of, hex, line_of, plain_path};

/// A model's folder on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The folder.
    pub folder: PathBuf,
    /// The digest of its content, if it was downloaded.
    pub digest: Option<String>,
}

/// Where downloads are kept.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache of this user: `RUNLODE_CACHE`, else `runlode` below `XDG_CACHE_HOME` or `~/.cache`. Without a home it is
    /// below the folder for temporary files.
    #[must_use]
    pub fn of_user() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = variable("RUNLODE_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("runlode")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/runlode")))
            .unwrap_or_else(|| std::env::temp_dir().join(format!("runlode-{}", rustix::process::getuid().as_raw())));
        Self { root }
    }

    /// A cache in a folder, which is made when something is downloaded.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder of a model: one of this machine as it is, any other as a checked copy.
    ///
    /// ```
    /// use runlode_models::uri::{Cache, LocalOnly, locate};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # std::fs::write(dir.path().join("MLmodel"), "flavors: {}")?;
    /// let located = locate(&dir.path().to_str().unwrap().parse()?, &LocalOnly)?;
    /// let fetched = Cache::of_user().fetch(&located, &LocalOnly)?;
    /// assert_eq!((fetched.folder.as_path(), fetched.digest), (dir.path(), None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`UriError`] if no place has a file `MLmodel`, a name leads out of its folder, or a transfer fails.
    pub fn fetch(&self, located: &Located, store: &dyn ModelStore) -> Result<Fetched, UriError> {
        let folder_of =
            |place: &Place| store.folder(place).filter(|folder| folder.join(crate::file::FILE_NAME).exists());
        // The files of the logged model win, and are all that it has.
        if let Some(folder) = located.places.iter().rev().find_map(folder_of) {
            return Ok(Fetched { folder, digest: None });
        }
        let mut last = None;
        for place in located.places.iter().rev() {
            if store.folder(place).is_some() {
                continue;
            }
            match self.fetch_place(place, store) {
                Ok(Some((folder, digest))) => return Ok(Fetched { folder, digest: Some(digest) }),
                Ok(None) => {}
                Err(error) => last = last.or(Some(error)),
            }
        }
        Err(last.unwrap_or_else(|| {
            let places: Vec<&str> = located.places.iter().map(|place| place.uri.as_str()).collect();
            UriError::Absent(format!("{} has no file MLmodel (looked in {})", located.uri, places.join(" and ")))
        }))
    }

    /// The copy of a place; none if it has no `MLmodel`.
    fn fetch_place(&self, place: &Place, store: &dyn ModelStore) -> Result<Option<(PathBuf, String)>, UriError> {
        let note = self.root.join("places").join(hex(&Sha256::digest(format!("{place:?}"))));
        if matches!(place.owner, Owner::LoggedModel(_) | Owner::Version(..))
            && let Ok(digest) = fs::read_to_string(&note)
            && let Some(folder) = self.checked(digest.trim())
        {
            return Ok(Some((folder, digest.trim().to_owned())));
        }
        let files = store.list(place)?;
        if !files.iter().any(|file| file.path == crate::file::FILE_NAME) {
            return Ok(None);
        }
        let (folder, digest) = self.download(place, &files, store)?;
        self.write_whole(&note, digest.as_bytes())?;
        Ok(Some((folder, digest)))
    }

    /// The folder of a digest, if its files are what they were.
    fn checked(&self, digest: &str) -> Option<PathBuf> {
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        let list =
            is_digest.then(|| fs::read_to_string(self.root.join("models").join(format!("{digest}.files"))).ok())??;
        if hex(&Sha256::digest(&list)) != digest {
            return None;
        }
        let path = self.root.join("models").join(digest);
        let folder = Folder::open(&path).ok()?;
        let mut found = folder.files().ok()?;
        // Python writes `__pycache__` beside a model's code when the model is loaded: it is not part of the model.
        found.retain(|file| !file.path.split('/').any(|part| part == "__pycache__"));
        let mut lines = list.lines();
        for file in &found {
            let mut content = folder.open_file(&file.path).ok()?;
            let (hash, bytes) = hash_of(&mut content).ok()?;
            if lines.next() != Some(line_of(&hash, bytes, &file.path).trim_end()) {
                return None;
            }
        }
        lines.next().is_none().then_some(path)
    }

    fn download(&self, place: &Place, files: &[Listed], store: &dyn ModelStore) -> Result<(PathBuf, String), UriError> {
        if files.len() > FILES_MAX {
            return Err(UriError::Unreadable(format!("{} has more than {FILES_MAX} files", place.uri)));
        }
        let scratch = self.make("tmp")?;
        let scratch = tempfile::Builder::new()
            .prefix("model-")
            .tempdir_in(&scratch)
            .map_err(|source| UriError::Cache { path: scratch, source })?;
        let target = scratch.path().join("files");
        make_dir(&target)?;
        let mut files: Vec<&Listed> = files.iter().collect();
        files.sort_by(|one, two| one.path.cmp(&two.path));
        let mut list = String::new();
        for file in files {
            let plain = plain_path(&file.path).filter(|path| *path == file.path && !path.is_empty());
            let path = plain.ok_or_else(|| {
                UriError::Unreadable(format!("{}: the file {:?} leads out of its folder", place.uri, file.path))
            })?;
            let to = target.join(&path);
            if let Some(parent) = to.parent() {
                make_dir(parent)?;
            }
            let mut content = store.open(place, &path)?;
            let (digest, bytes) = write_file(&to, &mut content, &place.uri)?;
            if file.bytes != bytes && file.bytes != 0 {
                return Err(UriError::Unreadable(format!(
                    "{}: the file {path} has {bytes} bytes, but was listed with {}",
                    place.uri, file.bytes
                )));
            }
            list.push_str(&line_of(&digest, bytes, &path));
        }
        let digest = hex(&Sha256::digest(&list));
        let models = self.make("models")?;
        let folder = models.join(&digest);
        if self.checked(&digest).is_none() {
            self.write_whole(&models.join(format!("{digest}.files")), list.as_bytes())?;
            // A damaged folder makes room; another download of the same content may have been faster.
            if folder.exists() {
                let old = scratch.path().join("old");
                fs::rename(&folder, old).map_err(|source| UriError::Cache { path: folder.clone(), source })?;
            }
            match fs::rename(&target, &folder) {
                Err(_) if self.checked(&digest).is_some() => {}
                renamed => renamed.map_err(|source| UriError::Cache { path: folder.clone(), source })?,
            }
        }
        Ok((folder, digest))
    }

    fn make(&self, name: &str) -> Result<PathBuf, UriError> {
        let path = self.root.join(name);
        make_dir(&path)?;
        Ok(path)
    }

    fn write_whole(&self, path: &Path, content: &[u8]) -> Result<(), UriError> {
        let fail = |source| UriError::Cache { path: path.to_owned(), source };
        let folder = path.parent().unwrap_or(&self.root);
        make_dir(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
        file.write_all(content).map_err(fail)?;
        file.persist(path).map(|_| ()).map_err(|error| fail(error.error))
    }
}

/// Folders of the cache are for their user only: a model is code.
fn make_dir(path: &Path) -> Result<(), UriError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| UriError::Cache { path: path.to_owned(), source })
}

/// Writes a file, and returns its digest and size.
fn write_file(path: &Path, content: &mut dyn Read, place: &str) -> Result<(String, u64), UriError> {
    struct Tee<'f> {
        from: &'f mut dyn Read,
        to: File,
        failed: Option<io::Error>,
    }
    impl Read for Tee<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.from.read(buffer)?;
            if let Err(error) = self.to.write_all(&buffer[..count]) {
                self.failed = Some(error);
                return Ok(0);
            }
            Ok(count)
        }
    }
    let fail = |source| UriError::Cache { path: path.to_owned(), source };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
    let mut tee = Tee { from: content, to: file, failed: None };
    let hashed =
        hash_of(&mut tee).map_err(|error| UriError::Store(format!("{place}: the transfer broke off: {error}")))?;
    match tee.failed {
        Some(error) => Err(fail(error)),
        None => Ok(hashed),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::name::Which;
    use super::super::store::locate;
    use super::super::store::{LoggedModel, Version};
    use super::*;

    /// A store with one logged model, whose files are given.
    struct One {
        files: Vec<(&'static str, &'static str)>,
        opened: Cell<usize>,
    }

    impl ModelStore for One {
        fn version(&self, name: &str, _: &Which) -> Result<Version, UriError> {
            Err(UriError::Absent(name.to_owned()))
        }
        fn logged_model(&self, id: &str) -> Result<LoggedModel, UriError> {
            Ok(LoggedModel { id: id.to_owned(), place: "mlflow-artifacts:/x".to_owned(), ..LoggedModel::default() })
        }
        fn run_place(&self, _: &str) -> Result<String, UriError> {
            Ok("mlflow-artifacts:/r".to_owned())
        }
        fn logged_model_of_run(&self, _: &str, _: &str) -> Result<Option<LoggedModel>, UriError> {
            Ok(None)
        }
        fn folder(&self, _: &Place) -> Option<PathBuf> {
            None
        }
        fn list(&self, _: &Place) -> Result<Vec<Listed>, UriError> {
            let file = |(path, text): &(&str, &str)| Listed { path: (*path).to_owned(), bytes: text.len() as u64 };
            Ok(self.files.iter().map(file).collect())
        }
        fn open(&self, _: &Place, path: &str) -> Result<Box<dyn Read + Send>, UriError> {
            self.opened.set(self.opened.get() + 1);
            let text = self.files.iter().find(|(name, _)| *name == path).map(|(_, text)| *text).unwrap_or_default();
            Ok(Box::new(text.as_bytes()))
        }
    }

    fn store(files: &[(&'static str, &'static str)]) -> One {
        One { files: files.to_vec(), opened: Cell::new(0) }
    }

    #[test]
    fn a_model_is_downloaded_once_and_again_when_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let store = store(&[("MLmodel", "flavors: {}"), ("code/a.py", "1"), ("empty", "")]);
        let located = locate(&"models:/m-1".parse().unwrap(), &store).unwrap();
        let first = cache.fetch(&located, &store).unwrap();
        assert_eq!(
            (fs::read_to_string(first.folder.join("code/a.py")).unwrap().as_str(), store.opened.get()),
            ("1", 3)
        );
        assert_eq!(cache.fetch(&located, &store).unwrap(), first);
        assert_eq!(store.opened.get(), 3, "it was in the cache");
        fs::create_dir(first.folder.join("code/__pycache__")).unwrap();
        fs::write(first.folder.join("code/__pycache__/a.pyc"), "x").unwrap();
        assert_eq!(cache.fetch(&located, &store).unwrap(), first);
        assert_eq!(store.opened.get(), 3, "Python's own files do not matter");
        for damage in ["code/a.py", "code/new.py"] {
            fs::write(first.folder.join(damage), "2").unwrap();
            assert_eq!(cache.fetch(&located, &store).unwrap(), first);
            assert_eq!(fs::read_to_string(first.folder.join("code/a.py")).unwrap(), "1");
            assert!(!first.folder.join("code/new.py").exists());
        }
        assert_eq!(store.opened.get(), 9);
        // Files of a run may change, and are asked for each time.
        let run = locate(&"runs:/r/model".parse().unwrap(), &store).unwrap();
        assert_eq!(cache.fetch(&run, &store).unwrap(), first, "the same content is one folder");
        cache.fetch(&run, &store).unwrap();
        assert_eq!(store.opened.get(), 15);
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        for trick in ["../x", "/etc/x", "a/../../x", "a//b", "./x", "%2e%2e/x", "a\\..\\x", ""] {
            let dir = tempfile::tempdir().unwrap();
            let store = store(&[("MLmodel", "x"), (trick, "evil")]);
            let located = locate(&"models:/m-1".parse().unwrap(), &store).unwrap();
            let error = Cache::new(dir.path().join("cache")).fetch(&located, &store).unwrap_err();
            assert!(error.to_string().contains("leads out"), "{trick}: {error}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        let store = store(&[("other", "x")]);
        let located = locate(&"models:/m-1".parse().unwrap(), &store).unwrap();
        let error = Cache::new("/nowhere").fetch(&located, &store).unwrap_err();
        assert!(error.to_string().contains("has no file MLmodel"), "{error}");
    }
}
