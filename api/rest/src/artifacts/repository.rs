//! Which artifacts this server opens: those below a root of its own setup, and no others.
//!
//! ```text
//! place of an entity                          opened as
//! mlflow-artifacts:/E/R/artifacts             DESTINATION/E/R/artifacts
//! http://.../mlflow-artifacts/artifacts/E/..  DESTINATION/E/..             nothing is asked over the network
//! /path, file:///path                         that path, if it lies below a root
//! s3://bucket/path                            that path, if it lies below a root
//! anything else                               refused
//! ```
//! Roots are `--artifacts-destination`, `--default-artifact-root`, the store's own folder of artifacts, and each
//! `--artifact-roots`. An experiment's `artifact_location`, a run's and a version's source are texts that any client
//! may set: were they opened as they stand, `artifact_location=/etc` would give out every file of the machine, and
//! `s3://...` every bucket that the server's credentials reach. So they are data; the operator says what is opened
//! (docs/decisions/artifact-roots.md).

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use runlode::mlflow::{ApiError, ApiResult, ErrorCode, names, scheme};

use super::local::{self, LocalFolder};
#[cfg(feature = "s3")]
use super::object::ObjectFolder;
use super::paths::{ArtifactPath, Entry};

/// Files below one root.
#[derive(Debug, Clone)]
pub(crate) enum Repository {
    /// A folder of this machine.
    Local(Arc<LocalFolder>),
    /// A prefix in an object store.
    #[cfg(feature = "s3")]
    Object(Arc<ObjectFolder>),
}

impl Repository {
    /// The entries of a folder, by name. Waits for the disk, or for the object store.
    ///
    /// # Errors
    /// Those of the repository.
    pub(crate) fn list(&self, path: &ArtifactPath) -> ApiResult<Vec<Entry>> {
        match self {
            Self::Local(folder) => folder.list(path),
            #[cfg(feature = "s3")]
            Self::Object(folder) => tokio::runtime::Handle::current().block_on(folder.list(path)),
        }
    }

    /// The content of a small file. Waits as [`Repository::list`] does.
    ///
    /// # Errors
    /// Those of the repository; `INVALID_PARAMETER_VALUE` for a file of more than `bytes_max`.
    pub(crate) fn read(&self, path: &ArtifactPath, bytes_max: u64) -> ApiResult<Vec<u8>> {
        let too_long = |bytes: u64| {
            ApiError::invalid(format!("'{}' has {bytes} bytes; at most {bytes_max} are read", path.as_str()))
        };
        match self {
            Self::Local(folder) => {
                let found = folder.open(path)?;
                if found.bytes > bytes_max {
                    return Err(too_long(found.bytes));
                }
                let mut bytes = Vec::with_capacity(usize::try_from(found.bytes).unwrap_or(0));
                let read = found.file.take(bytes_max).read_to_end(&mut bytes);
                read.map_err(|error| local::io_failed("read", path, &error))?;
                Ok(bytes)
            }
            #[cfg(feature = "s3")]
            Self::Object(folder) => tokio::runtime::Handle::current().block_on(async {
                let found = folder.open(path).await?;
                let bytes = found.bytes;
                if bytes > bytes_max {
                    return Err(too_long(bytes));
                }
                let cannot = |error: axum::Error| ApiError::new(ErrorCode::TemporarilyUnavailable, error.to_string());
                let body = http_body_util::BodyExt::collect(found.body(0, bytes).await?).await.map_err(cannot)?;
                Ok(body.to_bytes().to_vec())
            }),
        }
    }
}

/// A place that this server opens: a path below one of its roots.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    pub(crate) repository: Repository,
    pub(crate) path: ArtifactPath,
}

impl Spot {
    /// A path below this place.
    pub(crate) fn join(&self, path: &ArtifactPath) -> Self {
        Self { repository: self.repository.clone(), path: self.path.join(path) }
    }
}

/// The location of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Local(PathBuf),
    /// `s3://bucket`, and a path in it.
    Object(String, ArtifactPath),
}

impl Place {
    /// Whether this build can open it.
    fn is_reached(&self) -> bool {
        cfg!(feature = "s3") || matches!(self, Self::Local(_))
    }
}

#[derive(Debug)]
struct Root {
    place: Place,
    repository: Repository,
}

/// The artifacts of a server.
#[derive(Debug)]
pub(crate) struct Artifacts {
    /// The proxy's destination; `None` if artifacts are not served.
    destination: Option<Repository>,
    roots: Vec<Root>,
    directory: PathBuf,
}

impl Artifacts {
    /// `destination`: of the proxy, if there is one. `default_root`: what default places begin with; where this build
    /// does not reach it, clients do, and nothing below it is opened here. `roots`: more of what is opened; places that
    /// are not ours (`mlflow-artifacts:`) are passed over. Relative paths are relative to `directory`.
    ///
    /// # Errors
    /// A text when a root cannot be one.
    pub(crate) fn new(
        destination: Option<&str>,
        default_root: &str,
        roots: &[&str],
        directory: &Path,
    ) -> Result<Self, String> {
        let mut artifacts = Self::none(directory);
        if let Some(destination) = destination {
            artifacts.destination = Some(artifacts.add(destination)?);
        }
        if place_of(default_root, directory).is_some_and(|place| place.is_reached()) {
            artifacts.add(default_root)?;
        }
        for root in roots.iter().filter(|root| !matches!(scheme(root), Some("mlflow-artifacts" | "http" | "https"))) {
            artifacts.add(root)?;
        }
        Ok(artifacts)
    }

    /// A server that opens no artifacts.
    pub(crate) fn none(directory: &Path) -> Self {
        Self { destination: None, roots: Vec::new(), directory: directory.to_owned() }
    }

    fn add(&mut self, uri: &str) -> Result<Repository, String> {
        let place = place_of(uri, &self.directory)
            .ok_or_else(|| format!("artifacts cannot be kept at {uri}; give a folder, file: or s3:// URI"))?;
        if let Some(known) = self.roots.iter().find(|root| root.place == place) {
            return Ok(known.repository.clone());
        }
        let repository = match &place {
            Place::Local(folder) => Repository::Local(Arc::new(LocalFolder::new(folder.clone()))),
            #[cfg(feature = "s3")]
            Place::Object(bucket, path) => Repository::Object(Arc::new(ObjectFolder::new(bucket, path)?)),
            #[cfg(not(feature = "s3"))]
            Place::Object(..) => {
                return Err(format!(
                    "this runlode was built without S3, which {uri} needs; build it with `--features s3`"
                ));
            }
        };
        self.roots.push(Root { place, repository: repository.clone() });
        Ok(repository)
    }

    /// The proxy's files; `None` if artifacts are not served.
    pub(crate) fn destination(&self) -> Option<&Repository> {
        self.destination.as_ref()
    }

    /// The files at an entity's artifact location.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` if it is below no root.
    pub(crate) fn resolve(&self, uri: &str) -> ApiResult<Spot> {
        if let Some(path) = proxied_path(uri) {
            let repository = self.destination.clone().ok_or_else(|| {
                ApiError::invalid(format!(
                    "The artifacts at '{uri}' go through a server that serves them; this one runs with \
                     `--no-serve-artifacts`."
                ))
            })?;
            return Ok(Spot { repository, path: ArtifactPath::new(path.trim_start_matches('/'))? });
        }
        let place = place_of(uri, &self.directory);
        let found = place.as_ref().and_then(|place| self.roots.iter().find_map(|root| root.below(place)));
        let how = match place {
            Some(place) if !place.is_reached() => ", by a build with `--features s3` and",
            _ => ", by",
        };
        found.ok_or_else(|| {
            ApiError::new(
                ErrorCode::PermissionDenied,
                format!(
                    "The artifacts at '{uri}' lie below no folder that this server opens. Whoever runs it can allow \
                     it{how} --artifact-roots; clients that reach the place read it themselves."
                ),
            )
        })
    }
}

impl Root {
    fn below(&self, place: &Place) -> Option<Spot> {
        let path = match (&self.place, place) {
            (Place::Local(root), Place::Local(path)) => local::below(root, path)?,
            (Place::Object(bucket, root), Place::Object(other, path)) if bucket == other => {
                let rest = path.as_str().strip_prefix(root.as_str())?;
                if !(root.is_root() || rest.is_empty() || rest.starts_with('/')) {
                    return None;
                }
                ArtifactPath::new(rest.trim_start_matches('/')).ok()?
            }
            _ => return None,
        };
        Some(Spot { repository: self.repository.clone(), path })
    }
}

/// The path below the proxy's destination, for a location that goes through a proxy.
fn proxied_path(uri: &str) -> Option<&str> {
    let rest = match scheme(uri)? {
        "mlflow-artifacts" => after_host(&uri["mlflow-artifacts:".len()..]),
        "http" | "https" => uri.split_once("/api/2.0/mlflow-artifacts/artifacts/")?.1,
        _ => return None,
    };
    Some(rest.split(['?', '#']).next().unwrap_or_default())
}

/// The text after `//HOST`, if that is present.
fn after_host(rest: &str) -> &str {
    match rest.strip_prefix("//") {
        Some(rest) => rest.find('/').map_or("", |at| &rest[at..]),
        None => rest,
    }
}

/// The place of a URI or a path; `None` if it is unreachable.
fn place_of(uri: &str, directory: &Path) -> Option<Place> {
    let local = |path: &str| {
        if path.contains('\0') || path.split('/').any(|part| part == "..") {
            return None;
        }
        Some(Place::Local(names::posix_normal(directory.join(path).to_str()?).into()))
    };
    let Some(scheme) = scheme(uri) else { return local(uri) };
    let rest = &uri[scheme.len() + 1..];
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    match scheme.to_ascii_lowercase().as_str() {
        "file" => {
            let path = match rest.strip_prefix("//") {
                Some(with_host) => {
                    let (host, _) = with_host.split_once('/').unwrap_or((with_host, ""));
                    if !matches!(host, "" | "localhost") {
                        return None;
                    }
                    after_host(rest)
                }
                None => rest,
            };
            local(&percent_decode_str(path).decode_utf8().ok()?)
        }
        "s3" | "s3a" => {
            let (bucket, path) = rest.strip_prefix("//")?.split_once('/').unwrap_or((&rest[2..], ""));
            let path = ArtifactPath::new(path.trim_start_matches('/')).ok()?;
            (!bucket.is_empty()).then(|| Place::Object(format!("s3://{bucket}"), path))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_below_a_root_is_opened() {
        let roots = ["/srv/store/artifacts", "file:///data/my%20runs", "mlflow-artifacts:/"];
        let artifacts = Artifacts::new(Some("dest"), "mlflow-artifacts:/", &roots, Path::new("/srv")).unwrap();
        let opened = |uri: &str| artifacts.resolve(uri).map(|spot| (spot.path.as_str().to_owned(), spot.repository));
        for (uri, path) in [
            ("mlflow-artifacts:/3/r/artifacts", "3/r/artifacts"),
            ("mlflow-artifacts://host:5000/3/r", "3/r"),
            ("mlflow-artifacts:/", ""),
            ("http://h/api/2.0/mlflow-artifacts/artifacts/3/r", "3/r"),
            ("/srv/dest/3", "3"),
            ("dest/3", "3"),
            ("/srv/store/artifacts/3/./r/", "3/r"),
            ("file:/srv/store/artifacts", ""),
            ("file://localhost/data/my%20runs/1?x=1", "1"),
            ("/data/my runs/1", "1"),
        ] {
            assert_eq!(opened(uri).unwrap().0, path, "{uri}");
        }
        for uri in [
            "/etc",
            "file:///etc",
            "/srv/store",
            "/srv/store/artifacts2/x",
            "/srv/store/artifacts/../../../etc",
            "file:///srv/store/artifacts/%2e%2e/x",
            "file://other/srv/store/artifacts/x",
            "s3://b/x",
            "dbfs:/x",
            "http://h/x",
            "https://h/api/2.0/x",
            "ftp://h/x",
            "",
            "runs:/x/y",
            "/srv/store/artifacts/a#b/%2e%2e/c",
            "gs://b",
            "s3:x",
        ] {
            assert!(opened(uri).is_err(), "{uri}");
        }
        assert_eq!(opened("mlflow-artifacts:/../x").unwrap_err().message, "Invalid path");
        let closed = Artifacts::new(None, "mlflow-artifacts:/", &roots, Path::new("/srv")).unwrap();
        assert!(closed.resolve("mlflow-artifacts:/3").unwrap_err().message.contains("--no-serve-artifacts"));
        assert!(Artifacts::new(Some("gs://b"), "mlflow-artifacts:/", &[], Path::new("/")).is_err());
    }

    #[test]
    fn a_default_root_that_only_clients_reach_is_fine() {
        for root in ["gs://bucket/x", "hdfs://host/x"] {
            let artifacts = Artifacts::new(Some("dest"), root, &[], Path::new("/srv")).unwrap();
            let error = artifacts.resolve(&format!("{root}/3")).unwrap_err();
            assert!(error.message.contains("clients that reach the place read it themselves"), "{}", error.message);
        }
        #[cfg(not(feature = "s3"))]
        {
            let artifacts = Artifacts::new(Some("dest"), "s3://bucket/x", &[], Path::new("/srv")).unwrap();
            let error = artifacts.resolve("s3://bucket/x/3").unwrap_err();
            assert!(error.message.contains("--features s3"), "{}", error.message);
            let kept = Artifacts::new(Some("s3://bucket/x"), "mlflow-artifacts:/", &[], Path::new("/srv"));
            assert!(kept.unwrap_err().contains("--features s3"));
        }
    }
}
