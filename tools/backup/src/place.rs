//! What a target of backups contains.

use crate::error::{Error, Result};
use crate::manifest::{self, MARKER, MARKER_TEXT, Manifest};
use crate::target::{self, Target};

/// How far a call has got.
///
/// ```
/// let progress = runlode_backup::Progress { done_bytes: 5, total_bytes: 10 };
/// assert!(progress.done_bytes <= progress.total_bytes);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes of content that were read or written.
    pub done_bytes: u64,
    /// Bytes in all, as far as they are known.
    pub total_bytes: u64,
}

/// A place of backups.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let backups = runlode_backup::Backups::open(dir.path().to_str().expect("a plain path"))?;
/// assert!(backups.list()?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Backups {
    pub(crate) target: Box<dyn Target>,
}

impl Backups {
    /// The backups in a folder, or below a prefix of a bucket: `s3://BUCKET/PREFIX`. Nothing is made yet.
    ///
    /// # Errors
    /// [`Error::Target`] for a URI that is none of these, or settings that make no client; [`Error::NoTarget`] for a
    /// folder of something else; [`Error::Io`].
    ///
    /// ```
    /// assert!(runlode_backup::Backups::open("ftp://host/x").is_err());
    /// ```
    pub fn open(place: &str) -> Result<Self> {
        Self::of(target::open(place)?)
    }

    pub(crate) fn of(target: Box<dyn Target>) -> Result<Self> {
        let backups = Self { target };
        match backups.target.get(MARKER)? {
            Some(text) if text == MARKER_TEXT.as_bytes() => {}
            Some(_) => return Err(Error::damaged(MARKER, "it is not the mark of a place of backups of this version")),
            None if backups.target.list("")?.is_empty() => {}
            None => return Err(Error::NoTarget { place: backups.target.place() }),
        }
        Ok(backups)
    }

    /// The backups that are whole by their manifests, oldest first.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a manifest that cannot be read: see [`Backups::check`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # runlode::Store::open(dir.path().join("exp"))?.close()?;
    /// use runlode_backup::{Backups, MakeOptions};
    ///
    /// let backups = Backups::open(dir.path().join("backups").to_str().expect("a plain path"))?;
    /// backups.make(&dir.path().join("exp"), &MakeOptions::default(), &mut |_| {})?;
    /// assert_eq!(backups.list()?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn list(&self) -> Result<Vec<Manifest>> {
        let mut all = Vec::new();
        for name in self.names()? {
            all.push(self.manifest(&name)?);
        }
        all.sort_by(|a, b| (a.made_ms, &a.name).cmp(&(b.made_ms, &b.name)));
        Ok(all)
    }

    /// Names of all manifests.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let listed = self.target.list(manifest::FOLDER)?;
        let name = |path: &str| path.strip_prefix(manifest::FOLDER)?.strip_suffix(".json").map(str::to_owned);
        let mut names: Vec<String> = listed.iter().filter_map(|(path, _)| name(path)).collect();
        names.sort();
        Ok(names)
    }

    pub(crate) fn manifest(&self, name: &str) -> Result<Manifest> {
        let path = manifest::path(name);
        let Some(bytes) = self.target.get(&path)? else {
            return Err(Error::NoBackup { wanted: name.to_owned(), there: self.names()?.join(", ") });
        };
        let manifest = Manifest::decode(&path, &bytes)?;
        match manifest.name == name {
            true => Ok(manifest),
            false => Err(Error::damaged(&path, format!("it is the manifest of `{}`", manifest.name))),
        }
    }
}
