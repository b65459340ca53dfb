//! Why a project cannot be launched.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = ProjectError> = std::result::Result<T, E>;

/// A project that cannot be launched; none of these leaves a run behind.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The project file says something that cannot be used.
    #[error("{}:{line}: {key}: {reason}", file.display())]
    File {
        /// The project file.
        file: PathBuf,
        /// Line in it, from 1.
        line: usize,
        /// Path of the key, such as `entry_points.main.command`; the file's name for the whole file.
        key: String,
        /// What is wrong, and what to write instead.
        reason: String,
    },
    /// The file system refused something.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// The refusal.
        source: std::io::Error,
    },
    /// The project cannot be found or fetched.
    #[error("project {uri}: {reason}")]
    Source {
        /// The project's URI, without login.
        uri: String,
        /// What is wrong.
        reason: String,
    },
    /// The environment cannot be made; says why, and what to do.
    #[error("{0}")]
    Environment(String),
    /// The store refuses to record the launch.
    #[error("the launch cannot be recorded: {0}")]
    Record(String),
    /// A signal came before the child was started.
    #[error("stopped by signal {signal} before the command was started")]
    Interrupted {
        /// Number of the signal.
        signal: i32,
    },
    /// The entry point is not in the file and is no script.
    #[error("no entry point {name:?} in {}; there are {known}; a script ends in .py or .sh", root.display())]
    NoEntryPoint {
        /// What was asked for.
        name: String,
        /// The project.
        root: PathBuf,
        /// Names of those that exist, or "none".
        known: String,
    },
    /// Parameters have no value.
    #[error("entry point {entry_point:?} needs a value for {}; give each as -P NAME=VALUE", names.join(", "))]
    MissingParameters {
        /// The entry point.
        entry_point: String,
        /// Names of the parameters.
        names: Vec<String>,
    },
    /// A value cannot be used for a parameter.
    #[error("parameter {name}: {reason}")]
    Parameter {
        /// Name of the parameter.
        name: String,
        /// What is wrong.
        reason: String,
    },
}
