//! Where an export goes to.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::Error;

/// Where an export goes to: a format and a place.
///
/// ```
/// use runlode_export::Target;
///
/// assert_eq!("parquet:out".parse::<Target>()?, Target::Parquet("out".into()));
/// assert_eq!("sqlite:///back.db".parse::<Target>()?, Target::Sqlite("back.db".into()));
/// assert_eq!("sqlite:////srv/back.db".parse::<Target>()?, Target::Sqlite("/srv/back.db".into()));
/// assert_eq!("tensorboard:logs".parse::<Target>()?.to_string(), "tensorboard:logs");
/// assert!("out".parse::<Target>().is_err());
/// # Ok::<(), runlode_export::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A folder of Parquet files.
    Parquet(PathBuf),
    /// A database as MLflow makes it.
    Sqlite(PathBuf),
    /// A folder of TensorBoard's event files.
    TensorBoard(PathBuf),
}

impl Target {
    /// The folder or file.
    pub fn path(&self) -> &PathBuf {
        match self {
            Self::Parquet(path) | Self::Sqlite(path) | Self::TensorBoard(path) => path,
        }
    }

    /// Whether a text names a target rather than a folder.
    ///
    /// ```
    /// assert!(runlode_export::Target::is_one("parquet:out") && !runlode_export::Target::is_one("./out"));
    /// ```
    pub fn is_one(text: &str) -> bool {
        ["parquet:", "sqlite:", "tensorboard:"].iter().any(|scheme| text.starts_with(scheme))
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let target = |make: fn(PathBuf) -> Self, path: &str| match path {
            "" => Err(Error::Target(format!("`{text}` names no place; write e.g. parquet:./out"))),
            path => Ok(make(PathBuf::from(path))),
        };
        if let Some(path) = text.strip_prefix("parquet:") {
            return target(Self::Parquet, path);
        }
        if let Some(path) = text.strip_prefix("tensorboard:") {
            return target(Self::TensorBoard, path);
        }
        match text.strip_prefix("sqlite:") {
            Some(rest) => match rest.strip_prefix("///") {
                Some(path) => target(Self::Sqlite, path),
                None => Err(Error::Target(format!(
                    "`{text}` needs three slashes before the path: sqlite:///back.db (sqlite:////srv/back.db for an \
                     absolute path)"
                ))),
            },
            None => Err(Error::Target(format!(
                "`{text}` is no target of an export; write parquet:DIR, sqlite:///back.db or tensorboard:DIR"
            ))),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parquet(path) => write!(f, "parquet:{}", path.display()),
            Self::Sqlite(path) => write!(f, "sqlite:///{}", path.display()),
            Self::TensorBoard(path) => write!(f, "tensorboard:{}", path.display()),
        }
    }
}
