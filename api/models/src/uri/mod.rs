//! Where a model is: URIs, what a store says of them, and the files on this machine.
//!
//! ```text
//! models:/m-<32 hex>                          logged model
//! models:/name/7  /latest  /Stage  name@alias registered version
//! runs:/run/path                              files of a run, and the logged model that the path's first part names
//! path, file:, mlflow-artifacts:, http:       folder with an MLmodel file
//!
//! text -> ModelUri -> locate(store) -> Located -> fetch(cache) -> folder
//! ```

mod cache;
mod http;
mod store;

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

pub use self::cache::{Cache, Fetched};
pub use self::http::HttpStore;
pub use self::store::{Listed, LocalOnly, Located, LoggedModel, ModelStore, Owner, Place, Version, locate};

/// A URI of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelUri {
    /// `models:/m-...`: a logged model by its id.
    LoggedModel(String),
    /// `models:/name/...`: a version of a registered model.
    Version {
        /// The registered model.
        name: String,
        /// Which of its versions.
        which: Which,
    },
    /// `runs:/run/path`.
    Run {
        /// The run.
        run_id: String,
        /// The path below its artifacts.
        path: String,
    },
    /// A folder: a path of this machine, or the URI of an artifact place.
    Folder(String),
}

/// Which version of a registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// By its number.
    Number(String),
    /// The highest one.
    Latest,
    /// The highest one of a stage.
    Stage(String),
    /// The one that an alias names now.
    Alias(String),
}

/// A URI that leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum UriError {
    /// It is no URI of a model.
    #[error("{uri:?} is no URI of a model: {reason}")]
    Wrong {
        /// The text.
        uri: String,
        /// Why.
        reason: &'static str,
    },
    /// The store does not have what it names.
    #[error("{0}")]
    Absent(String),
    /// The store refuses, or cannot be reached.
    #[error("{0}")]
    Store(String),
    /// Files of it cannot be read from here.
    #[error("{0}")]
    Unreadable(String),
    /// A path leads out of the model's folder, or the disk fails.
    #[error(transparent)]
    Folder(#[from] crate::folder::FolderError),
    /// Writing to the cache failed.
    #[error("{}: {source}", path.display())]
    Cache {
        /// What was written.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl FromStr for ModelUri {
    type Err = UriError;

    /// ```
    /// use runlode_models::uri::{ModelUri, Which};
    ///
    /// let version = |which| ModelUri::Version { name: "fraud".into(), which };
    /// assert_eq!("models:/fraud/7".parse::<ModelUri>()?, version(Which::Number("7".into())));
    /// assert_eq!("models:/fraud@champion".parse::<ModelUri>()?, version(Which::Alias("champion".into())));
    /// assert_eq!("models:/fraud/LATEST".parse::<ModelUri>()?, version(Which::Latest));
    /// assert!("models:/fraud/7/x".parse::<ModelUri>().is_err());
    /// # Ok::<(), runlode_models::uri::UriError>(())
    /// ```
    fn from_str(uri: &str) -> Result<Self, UriError> {
        let wrong = |reason| UriError::Wrong { uri: uri.to_owned(), reason };
        if let Some(path) = path_of(uri, "models") {
            let path = path.strip_prefix('/').ok_or_else(|| wrong("write models:/NAME/VERSION, with one slash"))?;
            return parse_models(path.trim_start_matches('/')).map_err(wrong);
        }
        if let Some(path) = path_of(uri, "runs") {
            let (run_id, path) = path
                .strip_prefix('/')
                .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
                .filter(|(run_id, _)| !run_id.is_empty())
                .ok_or_else(|| wrong("write runs:/RUN/PATH, with one slash"))?;
            return Ok(Self::Run { run_id: run_id.to_owned(), path: path.trim_matches('/').to_owned() });
        }
        if uri.is_empty() {
            return Err(wrong("it is empty"));
        }
        Ok(Self::Folder(uri.to_owned()))
    }
}

/// What follows `scheme:` without a host and without a query.
fn path_of<'u>(uri: &'u str, scheme: &str) -> Option<&'u str> {
    let (name, rest) = uri.split_once(':')?;
    if !name.eq_ignore_ascii_case(scheme) {
        return None;
    }
    let rest = match rest.strip_prefix("//") {
        // `models://profile@host/name`: the host is a Databricks workspace.
        Some(host) => host.find('/').map_or("", |at| &host[at..]),
        None => rest,
    };
    Some(rest.split('?').next().unwrap_or(rest))
}

fn parse_models(path: &str) -> Result<ModelUri, &'static str> {
    let parts: Vec<&str> = path.split('/').collect();
    let version = |name: &str, which| ModelUri::Version { name: name.to_owned(), which };
    match parts[..] {
        [name] if name.trim().is_empty() => Err("the name of the model is missing"),
        [name] => match name.rsplit_once('@') {
            None => Ok(ModelUri::LoggedModel(name.to_owned())),
            Some((_, alias)) if alias.trim().is_empty() => Err("the alias is missing"),
            Some(("", _)) => Err("the name of the model is missing"),
            Some((name, alias)) => Ok(version(name, Which::Alias(alias.to_owned()))),
        },
        [name, _] if name.trim().is_empty() => Err("the name of the model is missing"),
        [_, suffix] if suffix.trim().is_empty() => Err("the version is missing"),
        [name, suffix] if suffix.chars().all(char::is_numeric) => Ok(version(name, Which::Number(suffix.to_owned()))),
        [name, suffix] if suffix.eq_ignore_ascii_case("latest") => Ok(version(name, Which::Latest)),
        [name, suffix] => Ok(version(name, Which::Stage(suffix.to_owned()))),
        _ => Err("it has more than two parts"),
    }
}

impl Display for ModelUri {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoggedModel(id) => write!(out, "models:/{id}"),
            Self::Version { name, which: Which::Number(number) } => write!(out, "models:/{name}/{number}"),
            Self::Version { name, which: Which::Latest } => write!(out, "models:/{name}/latest"),
            Self::Version { name, which: Which::Stage(stage) } => write!(out, "models:/{name}/{stage}"),
            Self::Version { name, which: Which::Alias(alias) } => write!(out, "models:/{name}@{alias}"),
            Self::Run { run_id, path } => write!(out, "runs:/{run_id}/{path}"),
            Self::Folder(place) => out.write_str(place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_those_of_mlflow() {
        let version = |name: &str, which| ModelUri::Version { name: name.to_owned(), which };
        let cases = [
            ("models:/m-0123", Some(ModelUri::LoggedModel("m-0123".into()))),
            ("models:/any", Some(ModelUri::LoggedModel("any".into()))),
            ("models:/a/7", Some(version("a", Which::Number("7".into())))),
            ("models:/a/latest", Some(version("a", Which::Latest))),
            ("models:/a/Latest", Some(version("a", Which::Latest))),
            ("models:/a/Production", Some(version("a", Which::Stage("Production".into())))),
            ("models:/a@b", Some(version("a", Which::Alias("b".into())))),
            ("models:/a@b@c", Some(version("a@b", Which::Alias("c".into())))),
            ("models:/a@b/1", Some(version("a@b", Which::Number("1".into())))),
            ("models:a", None),
            ("models:/", None),
            ("models:/a/", None),
            ("models:/a/1/x", None),
            ("models:/a@", None),
            ("models:/ /1", None),
            ("runs:/r/model", Some(ModelUri::Run { run_id: "r".into(), path: "model".into() })),
            ("runs:/r/a/b/", Some(ModelUri::Run { run_id: "r".into(), path: "a/b".into() })),
            ("runs:/r", Some(ModelUri::Run { run_id: "r".into(), path: String::new() })),
            ("runs:/", None),
            ("runs:r/x", None),
            ("./m", Some(ModelUri::Folder("./m".into()))),
            ("s3://b/x", Some(ModelUri::Folder("s3://b/x".into()))),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<ModelUri>().ok(), expected, "{text}");
        }
    }
}
