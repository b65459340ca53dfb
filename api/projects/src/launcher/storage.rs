//! Where values of type `path` are downloaded to.

use std::path::{Path, PathBuf};

use super::{Download, io_error};
use crate::error::Result;

/// A folder for downloads; the temporary one goes when the launch has ended.
pub(super) enum Storage {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Storage {
    /// Below the folder that was asked for, which is made if it is missing.
    pub(super) fn new(asked: Option<&Path>) -> Result<Self> {
        let builder = || {
            let mut builder = tempfile::Builder::new();
            builder.prefix("runlode-launch-");
            builder
        };
        match asked {
            None => {
                let folder = builder().tempdir().map_err(|source| io_error(&std::env::temp_dir(), source))?;
                Ok(Self::Temporary(folder))
            }
            Some(path) => {
                let path = std::path::absolute(path).map_err(|source| io_error(path, source))?;
                std::fs::create_dir_all(&path).map_err(|source| io_error(&path, source))?;
                let folder = builder().tempdir_in(&path).map_err(|source| io_error(&path, source))?;
                Ok(Self::Kept(folder.keep()))
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }

    /// Fetches the value of the parameter at a position, from 0.
    pub(super) fn fetch(
        &self,
        download: Download<'_>,
        uri: &str,
        position: usize,
    ) -> std::result::Result<PathBuf, String> {
        let folder = self.path().join(format!("param_{position}"));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let without_query = uri.split(['?', '#']).next().unwrap_or(uri);
        let name = without_query.trim_end_matches('/').rsplit('/').next();
        let name = name.filter(|name| !matches!(*name, "" | "." | "..")).unwrap_or("value");
        let path = folder.join(name);
        download(uri, &path).map(|()| path)
    }
}
