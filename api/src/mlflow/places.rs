//! Locations of artifacts: stored relative to the store, rendered for the API that asks.
//!
//! ```text
//! kept in the event         shown at a door whose root is ROOT
//! None (experiment 3)       ROOT/3
//! None (run R of it)        ROOT/3/R/artifacts                or  EXPLICIT/R/artifacts
//! None (model M of it)      ROOT/3/models/M/artifacts         or  EXPLICIT/models/M/artifacts
//! "artifacts/3/R/artifacts" ROOT/3/R/artifacts                (imported: below the store's own folder)
//! "s3://bucket/x"           s3://bucket/x                     (explicit: as it was given)
//! ```
//! So a store that was moved, or is asked by REST today and in process tomorrow, always finds its artifacts.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::error::{ApiError, ApiResult};
use crate::uri::{ARTIFACTS_DIR, below, scheme};

/// Longest artifact location.
const LOCATION_CHARS_MAX: usize = 2048;

/// The folder to which relative locations refer: the working directory. If that was removed, `/`: relative paths cannot
/// be opened then anyhow, and absolute ones do not need it.
pub fn working_directory() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}

/// A location whose local path is absolute: a relative one, also in a `file:` URI, is below `directory`. Query and
/// fragment of a URI stay. Other URIs are returned as they are.
///
/// ```
/// use runlode::mlflow::absolute_place;
///
/// assert_eq!(absolute_place("file:a/b?x=1", "/srv".as_ref()), "file:///srv/a/b?x=1");
/// assert_eq!(absolute_place("a/./b", "/srv".as_ref()), "/srv/a/b");
/// assert_eq!(absolute_place("s3://bucket/a", "/srv".as_ref()), "s3://bucket/a");
/// ```
pub fn absolute_place(location: &str, directory: &Path) -> String {
    let below = |path: &str| super::names::posix_normal(&directory.join(path).to_string_lossy());
    // `file:rel` is a relative path too; `file:/abs` and `file://localhost/abs` are not.
    if let Some(rest) = location.strip_prefix("file:").filter(|rest| !rest.starts_with('/')) {
        let (path, tail) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        return format!("file://{}{tail}", below(&percent_decode_str(path).decode_utf8_lossy()));
    }
    if scheme(location).is_some() || Path::new(location).is_absolute() {
        return location.to_owned();
    }
    below(location)
}

/// Renders artifact locations for one API.
///
/// ```
/// use runlode::mlflow::Places;
///
/// let rest = Places::new("mlflow-artifacts:/", "/srv");
/// assert_eq!(rest.experiment("3", None), "mlflow-artifacts:/3");
/// assert_eq!(rest.run("3", None, "r1", None), "mlflow-artifacts:/3/r1/artifacts");
/// assert_eq!(rest.run("3", Some("s3://b/x?v=1"), "r1", None), "s3://b/x/r1/artifacts?v=1");
/// ```
#[derive(Debug, Clone)]
pub struct Places {
    root: String,
    directory: PathBuf,
}

impl Places {
    /// `root`: the URI or path before `/EXPERIMENT` in a default location. `directory`: the folder to which relative
    /// local locations refer, also that of `root`.
    pub fn new(root: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        Self { root: absolute_place(&root.into(), &directory), directory }
    }

    /// The URI or path before `/EXPERIMENT` in a default location.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Artifact location of an experiment. `location`: its explicit one.
    pub fn experiment(&self, experiment: &str, location: Option<&str>) -> String {
        match location {
            Some(location) => self.rendered(location),
            None => below(&self.root, experiment),
        }
    }

    /// Artifact location of a run: `own` if the run has a location of its own, else a folder below its experiment's, which
    /// is `location` if that was set.
    pub fn run(&self, experiment: &str, location: Option<&str>, run: &str, own: Option<&str>) -> String {
        match own {
            Some(own) => self.rendered(own),
            None => below(&self.experiment(experiment, location), &format!("{run}/artifacts")),
        }
    }

    /// Location of a logged model's files, with arguments as in [`Places::run`].
    pub fn logged_model(&self, experiment: &str, location: Option<&str>, model: &str, own: Option<&str>) -> String {
        match own {
            Some(own) => self.rendered(own),
            None => below(&self.experiment(experiment, location), &format!("models/{model}/artifacts")),
        }
    }

    /// The folder to which relative local locations refer.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Renders a stored location for this API.
    pub(crate) fn rendered(&self, location: &str) -> String {
        match location.strip_prefix(ARTIFACTS_DIR).and_then(|rest| rest.strip_prefix('/')) {
            Some(rest) => below(&self.root, rest),
            None => location.to_owned(),
        }
    }

    /// Converts a location given by a client to the form that is stored: relative local paths become absolute.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for `runs:` URIs and overlong ones; `INTERNAL_ERROR`, as a 400, for files of another
    /// host.
    ///
    /// ```
    /// use runlode::mlflow::{Places, working_directory};
    ///
    /// let places = Places::new("/data/exp/artifacts", working_directory());
    /// assert_eq!(places.root(), "/data/exp/artifacts");
    /// assert_eq!(places.given("s3://team/digits").unwrap(), "s3://team/digits");
    /// assert!(places.given("runs:/x/model").is_err());
    /// assert_eq!(places.logged_model("3", None, "m-1", None), "/data/exp/artifacts/3/models/m-1/artifacts");
    /// ```
    pub fn given(&self, location: &str) -> ApiResult<String> {
        if location.starts_with("runs:") {
            return Err(ApiError::invalid(format!("Artifact location cannot be a runs:/ URI. Given: '{location}'")));
        }
        if location.chars().count() > LOCATION_CHARS_MAX {
            return Err(ApiError::invalid(format!(
                "Invalid artifact path length. The length of the artifact path cannot be greater than \
                 {LOCATION_CHARS_MAX} characters. To configure this limit, please set the \
                 MLFLOW_ARTIFACT_LOCATION_MAX_LENGTH environment variable."
            )));
        }
        super::sources::refuse_foreign_files(location)?;
        Ok(absolute_place(location, &self.directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let local = Places::new("/srv/store/artifacts", "/srv");
        assert_eq!(local.experiment("0", None), "/srv/store/artifacts/0");
        assert_eq!(local.run("0", None, "r", Some("artifacts/0/r/artifacts")), "/srv/store/artifacts/0/r/artifacts");
        assert_eq!(local.run("0", Some("file:///x"), "r", None), "file:///x/r/artifacts");
        assert_eq!(local.logged_model("0", None, "m-1", None), "/srv/store/artifacts/0/models/m-1/artifacts");
        assert_eq!(local.run("0", None, "r", Some("artifacts-of-mine")), "artifacts-of-mine");
        assert_eq!(below("s3://b/p/?x=1#f", "3"), "s3://b/p/3?x=1#f");
        assert_eq!(below("/a#b", "3"), "/a#b/3");
        assert_eq!(below("file:/a", "3"), "file:///a/3");
        assert_eq!(below("file:///a", "3"), "file:///a/3");
    }

    #[test]
    fn given_locations() {
        let places = Places::new("mlflow-artifacts:/", "/srv");
        assert_eq!(places.given("rel/./x").unwrap(), "/srv/rel/x");
        assert_eq!(places.given("/abs").unwrap(), "/abs");
        assert_eq!(places.given("#rel/x?").unwrap(), "/srv/#rel/x?");
        for (given, absolute) in [
            ("file:rel/x", "file:///srv/rel/x"),
            ("file:./rel//x/", "file:///srv/rel/x"),
            ("file:rel/x?param=value", "file:///srv/rel/x?param=value"),
            ("file:rel/x?param=value#part", "file:///srv/rel/x?param=value#part"),
            ("file:a%20b", "file:///srv/a b"),
            ("file:?x=1", "file:///srv?x=1"),
            ("file:/abs?x=1", "file:/abs?x=1"),
        ] {
            assert_eq!(places.given(given).unwrap(), absolute, "{given}");
            assert_eq!(Places::new(given, "/srv").root(), absolute, "{given}");
        }
        let root = Places::new("file:rel/x?param=value#part", "/srv");
        assert_eq!(root.run("3", None, "r", None), "file:///srv/rel/x/3/r/artifacts?param=value#part");
        assert_eq!(places.given("file:///abs").unwrap(), "file:///abs");
        assert_eq!(places.given("file://localhost/abs").unwrap(), "file://localhost/abs");
        let foreign = places.given("file://host/abs").unwrap_err();
        assert!(foreign.message.starts_with("file://host/abs is not a valid remote uri.") && foreign.status() == 400);
        assert!(places.given("runs:/x/y").unwrap_err().message.contains("cannot be a runs:/ URI. Given: 'runs:/x/y'"));
        assert!(places.given(&"x".repeat(2049)).is_err());
    }
}
