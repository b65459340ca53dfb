//! Where a project comes from: a folder, a zip file, a git repository, or artifacts of a run.
//!
//! A folder is used in place, and nothing in it or in its git is touched: a version of it is checked out in a temporary
//! clone. Everything remote goes to a temporary folder, which lives as long as [`Source`].
//!
//! Remote projects are fetched by the user's `git`, with its credentials; transports are limited to [`crate::git::TRANSPORTS`].

use std::fs::File;
use std::path::{Path, PathBuf};

use runlode_client::local;
use tempfile::TempDir;

use crate::error::{ProjectError, Result};
use crate::git::{self, Checkout, TRANSPORTS};

/// The largest content of a zip file, unpacked.
const ZIP_BYTES_MAX: u64 = 4 << 30;
/// Members of a zip file.
const ZIP_FILES_MAX: usize = 100_000;

/// A project's folder, and what is recorded of its origin.
#[derive(Debug)]
pub struct Source {
    /// The folder of the project.
    pub folder: PathBuf,
    /// The tag `mlflow.source.name`.
    pub name: String,
    /// The commit that is checked out there, if the folder is in a git repository.
    pub checkout: Option<Checkout>,
    /// The version, if it is the name of a branch.
    pub branch: Option<String>,
    /// The folder or zip file of this machine that it is.
    pub(crate) local: Option<PathBuf>,
    /// Removed when the source is dropped.
    _temporary: Option<TempDir>,
}

/// Fetches a file over HTTP into a path, or artifacts of a run (`runs:/ID/path`) into a folder.
pub type Download<'a> = &'a dyn Fn(&str, &Path) -> std::result::Result<(), String>;

impl Source {
    /// Finds or fetches the project `URI[#subfolder]`, at a version if one is given.
    ///
    /// ```
    /// use runlode_projects::source::Source;
    ///
    /// let folder = tempfile::tempdir().unwrap();
    /// let uri = folder.path().to_str().unwrap();
    /// let source = Source::find(uri, None, &|url, _| Err(format!("{url} is not here"))).unwrap();
    /// assert_eq!(source.folder, folder.path().canonicalize().unwrap());
    /// ```
    ///
    /// # Errors
    /// [`ProjectError::Source`] for what cannot be found or fetched.
    pub fn find(uri: &str, version: Option<&str>, download: Download<'_>) -> Result<Self> {
        let place = Place::parse(uri)?;
        if let Some(version) = version.filter(|version| version.is_empty() || version.starts_with('-')) {
            return Err(place.refused(format!("{version:?} is no version")));
        }
        match &place.kind {
            Kind::Artifacts => place.artifacts(version, download),
            Kind::Zip => place.zip(version, download),
            Kind::Folder(folder) => match version {
                None => place.folder(folder.clone()),
                Some(version) => place.version_of_folder(folder, version),
            },
            Kind::Git => place.clone(version),
        }
    }

    /// The project's folder below the root of its repository, or of what was fetched.
    pub(crate) fn subfolder(&self) -> Option<String> {
        let below = self.folder.strip_prefix(&self.checkout.as_ref()?.root).ok()?;
        Some(below.display().to_string()).filter(|below| !below.is_empty())
    }

    /// The zip file of this machine that it was unpacked from.
    pub(crate) fn archive(&self) -> Option<&Path> {
        self.local.as_deref().filter(|local| local.is_file())
    }
}

enum Kind {
    /// A folder of this machine.
    Folder(PathBuf),
    Zip,
    /// A folder of a run's artifacts.
    Artifacts,
    Git,
}

struct Place<'a> {
    /// As given.
    uri: &'a str,
    /// Without quotes and subfolder.
    base: &'a str,
    subfolder: &'a str,
    kind: Kind,
}

impl<'a> Place<'a> {
    fn parse(uri: &'a str) -> Result<Self> {
        let bare = uri.trim_matches(['\'', '"']);
        let (base, subfolder) = bare.split_once('#').unwrap_or((bare, ""));
        let mut place = Self { uri, base, subfolder, kind: Kind::Git };
        if subfolder.contains('.') || subfolder.starts_with('/') {
            return Err(place.refused("a subfolder is a path inside the project, without a dot".to_owned()));
        }
        if base.is_empty() {
            return Err(place.refused("give a folder, a zip file or a git URL".to_owned()));
        }
        let local = local::path(base).unwrap_or(base);
        place.kind = if base.starts_with("runs:/") {
            Kind::Artifacts
        } else if base.ends_with(".zip") {
            Kind::Zip
        } else if Path::new(local).exists() {
            Kind::Folder(PathBuf::from(local))
        } else {
            place.check_transport()?;
            Kind::Git
        };
        Ok(place)
    }

    fn refused(&self, reason: String) -> ProjectError {
        ProjectError::Source { uri: git::without_login(self.uri), reason }
    }

    fn check_transport(&self) -> Result<()> {
        let allowed = TRANSPORTS.join(", ");
        if self.base.contains("::") || self.base.starts_with('-') {
            return Err(self.refused(format!("no such folder, and no git URL that is fetched; those are {allowed}")));
        }
        match self.base.split_once("://") {
            Some((scheme, _)) if TRANSPORTS.contains(&scheme) => Ok(()),
            Some((scheme, _)) => {
                Err(self.refused(format!("git URLs of {scheme:?} are not fetched; those of {allowed} are")))
            }
            // user@host:path
            None => match self.base.split_once(':') {
                Some((host, path)) if !host.contains('/') && !host.is_empty() && !path.is_empty() => Ok(()),
                _ => Err(self.refused("there is no such folder".to_owned())),
            },
        }
    }

    /// The subfolder of a project's root, which it does not leave by links.
    fn inside(&self, root: &Path) -> Result<PathBuf> {
        let io = |source| ProjectError::Io { path: root.join(self.subfolder), source };
        let root_real = root.canonicalize().map_err(io)?;
        let folder = root_real.join(self.subfolder);
        let folder =
            folder.canonicalize().map_err(|_| self.refused(format!("there is no subfolder {:?}", self.subfolder)))?;
        if !folder.starts_with(&root_real) {
            return Err(self.refused(format!("the subfolder {:?} leads out of the project", self.subfolder)));
        }
        if !folder.is_dir() {
            return Err(self.refused("not a folder".to_owned()));
        }
        Ok(folder)
    }

    fn folder(&self, root: PathBuf) -> Result<Source> {
        let folder = self.inside(&root)?;
        let checkout = git::checkout(&folder);
        let name = match &checkout {
            // Recorded as it was given, as MLflow does.
            _ if !self.subfolder.is_empty() && !self.uri.starts_with("file:") => {
                self.uri.trim_matches(['\'', '"']).to_owned()
            }
            Some(checkout) => match folder.strip_prefix(&checkout.root) {
                Ok(below) if below.as_os_str().is_empty() => format!("file://{}", checkout.root.display()),
                Ok(below) => format!("file://{}#{}", checkout.root.display(), below.display()),
                Err(_) => folder.display().to_string(),
            },
            None => folder.display().to_string(),
        };
        let local = match &checkout {
            Some(checkout) => checkout.root.clone(),
            None => folder.clone(),
        };
        Ok(Source { folder, name, checkout, branch: None, local: Some(local), _temporary: None })
    }

    fn temporary(&self) -> Result<TempDir> {
        tempfile::Builder::new()
            .prefix("runlode-project-")
            .tempdir()
            .map_err(|source| ProjectError::Io { path: std::env::temp_dir(), source })
    }

    fn version_of_folder(&self, folder: &Path, version: &str) -> Result<Source> {
        let Some(checkout) = git::checkout(folder) else {
            return Err(self.refused("a version can be chosen of a git repository only".to_owned()));
        };
        let temporary = self.temporary()?;
        let below =
            folder.canonicalize().ok().and_then(|real| real.strip_prefix(&checkout.root).ok().map(Path::to_owned));
        git::clone_local(&checkout.root, version, temporary.path()).map_err(|reason| self.refused(reason))?;
        let folder = self.inside(&temporary.path().join(below.unwrap_or_default()))?;
        let branch = git::is_branch(&checkout.root, version).then(|| version.to_owned());
        let here = self.folder(PathBuf::from(local::path(self.base).unwrap_or(self.base)))?;
        let made = git::checkout(&folder).map(|made| Checkout { url: checkout.url.clone(), ..made });
        let local = Some(checkout.root);
        Ok(Source { folder, name: here.name, checkout: made, branch, local, _temporary: Some(temporary) })
    }

    fn clone(&self, version: Option<&str>) -> Result<Source> {
        let temporary = self.temporary()?;
        let is_branch =
            git::clone_remote(self.base, version, temporary.path()).map_err(|reason| self.refused(reason))?;
        let folder = self.inside(temporary.path())?;
        let checkout = git::checkout(&folder);
        let branch = version.filter(|_| is_branch).map(str::to_owned);
        let name = self.uri.trim_matches(['\'', '"']).to_owned();
        Ok(Source { folder, name, checkout, branch, local: None, _temporary: Some(temporary) })
    }

    fn zip(&self, version: Option<&str>, download: Download<'_>) -> Result<Source> {
        if version.is_some() {
            return Err(self.refused("a version can be chosen of a git repository only".to_owned()));
        }
        let temporary = self.temporary()?;
        let local = PathBuf::from(local::path(self.base).unwrap_or(self.base));
        let mut here = None;
        let (file, name) = if local.exists() {
            let absolute = std::path::absolute(&local).unwrap_or_else(|_| local.clone());
            here = Some(absolute.clone());
            let below = if self.subfolder.is_empty() { String::new() } else { format!("#{}", self.subfolder) };
            (local, format!("{}{below}", absolute.display()))
        } else if self.base.starts_with("http://") || self.base.starts_with("https://") {
            let file = temporary.path().join("project.zip");
            download(self.base, &file).map_err(|reason| self.refused(reason))?;
            (file, self.uri.to_owned())
        } else {
            return Err(self.refused("there is no such file".to_owned()));
        };
        let root = temporary.path().join("project");
        self.unpack(&file, &root)?;
        let folder = self.inside(&root)?;
        // An archive may hold its repository. One around the temporary folder is not the project's.
        let unpacked = root.canonicalize().ok();
        let is_inside = |made: &Checkout| unpacked.as_ref().is_some_and(|root| made.root.starts_with(root));
        let checkout = git::checkout(&folder).filter(is_inside);
        Ok(Source { folder, name, checkout, branch: None, local: here, _temporary: Some(temporary) })
    }

    fn artifacts(&self, version: Option<&str>, download: Download<'_>) -> Result<Source> {
        if version.is_some() {
            return Err(self.refused("a version can be chosen of a git repository only".to_owned()));
        }
        let temporary = self.temporary()?;
        let root = temporary.path().join("project");
        download(self.base, &root).map_err(|reason| self.refused(reason))?;
        let folder = self.inside(&root)?;
        let name = self.uri.trim_matches(['\'', '"']).to_owned();
        Ok(Source { folder, name, checkout: None, branch: None, local: None, _temporary: Some(temporary) })
    }

    /// Unpacks all members; refuses, before it writes anything, a file with one that leaves the folder.
    fn unpack(&self, file: &Path, root: &Path) -> Result<()> {
        let io = |source| ProjectError::Io { path: file.to_owned(), source };
        let broken = |error: zip::result::ZipError| self.refused(format!("not a zip file that can be read: {error}"));
        let mut archive = zip::ZipArchive::new(File::open(file).map_err(io)?).map_err(broken)?;
        if archive.len() > ZIP_FILES_MAX {
            return Err(self.refused(format!("a zip file of more than {ZIP_FILES_MAX} files")));
        }
        let mut bytes = 0u64;
        for index in 0..archive.len() {
            let member = archive.by_index(index).map_err(broken)?;
            bytes = bytes.saturating_add(member.size());
            let name = member.name().map_err(broken)?;
            if member.enclosed_name().is_none() || name.starts_with('/') || member.is_symlink() {
                return Err(self.refused(format!("the member {name:?} leads out of the project")));
            }
        }
        if bytes > ZIP_BYTES_MAX {
            return Err(self.refused(format!("a zip file of more than {ZIP_BYTES_MAX} bytes")));
        }
        archive.extract(root).map_err(broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A zip file of one member of zeros, and what it says of its length.
    fn zeros(name: &str, bytes: usize, says: u32) -> Vec<u8> {
        let mut crc = !0u32;
        for _ in 0..bytes {
            let mut low = crc & 0xff;
            for _ in 0..8 {
                low = if low & 1 == 1 { 0xedb8_8320 ^ (low >> 1) } else { low >> 1 };
            }
            crc = low ^ (crc >> 8);
        }
        // Deflate's stored blocks: nothing is compressed, but the lengths of both sides are said apart.
        let mut data = Vec::new();
        let pieces = bytes.div_ceil(60_000);
        for at in 0..pieces {
            let length = (bytes - at * 60_000).min(60_000) as u16;
            data.push(u8::from(at + 1 == pieces));
            data.extend(length.to_le_bytes());
            data.extend((!length).to_le_bytes());
            data.resize(data.len() + usize::from(length), 0);
        }
        let mut facts = Vec::new();
        for field in [20u16, 0, 8, 0, 0] {
            facts.extend(field.to_le_bytes());
        }
        for field in [!crc, data.len() as u32, says] {
            facts.extend(field.to_le_bytes());
        }
        facts.extend((name.len() as u16).to_le_bytes());
        facts.extend(0u16.to_le_bytes());
        let mut out = b"PK\x03\x04".to_vec();
        out.extend(&facts);
        out.extend(name.as_bytes());
        out.extend(&data);
        let central = out.len() as u32;
        out.extend(b"PK\x01\x02\x14\x00");
        out.extend(&facts);
        out.extend([0; 14]);
        out.extend(name.as_bytes());
        let length = out.len() as u32 - central;
        out.extend(b"PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00");
        out.extend(length.to_le_bytes());
        out.extend(central.to_le_bytes());
        out.extend([0; 2]);
        out
    }

    #[test]
    fn a_member_that_is_longer_than_it_says_is_refused_before_it_fills_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let zip = dir.path().join("project.zip");
        let find = || Source::find(zip.to_str().unwrap(), None, &|_, _| Err("no".into()));
        std::fs::write(&zip, zeros("data/file", 200_000, 200_000)).unwrap();
        let source = find().unwrap();
        assert_eq!(std::fs::metadata(source.folder.join("data/file")).unwrap().len(), 200_000);
        std::fs::write(&zip, zeros("data/file", 200_000, 10)).unwrap();
        let refused = find().unwrap_err().to_string();
        assert!(refused.contains("larger than its declared"), "{refused}");
    }
}
