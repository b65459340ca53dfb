//! The errors of commands, each one sentence.

use std::io;

/// Result of a command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The command was called wrongly.
    Usage(String),
    /// The store refused or failed.
    Store(runlode::Error),
    /// A source of an import cannot be read, or another process holds the store.
    Source(String),
    /// A file outside the store.
    Io {
        /// What was tried, with the path.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// Printing failed; a closed pipe among them.
    Output(io::Error),
}

impl Error {
    /// A wrong call; the text says what would be right.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// A failed operation on a file outside the store.
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// A refusal by a shared store, or the message that another process holds it.
    pub fn refused(error: runlode::mlflow::ApiError) -> Self {
        Self::Source(error.message)
    }

    /// Whether the reader of our output went away.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Usage(text) | Self::Source(text) => f.write_str(text),
            Self::Store(error) => error.fmt(f),
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Output(error) => write!(f, "cannot print: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            Self::Io { source, .. } | Self::Output(source) => Some(source),
            Self::Usage(_) | Self::Source(_) => None,
        }
    }
}

impl From<runlode::Error> for Error {
    fn from(error: runlode::Error) -> Self {
        Self::Store(error)
    }
}

impl From<runlode::filter::FilterError> for Error {
    fn from(error: runlode::filter::FilterError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<runlode::find::FindError> for Error {
    fn from(error: runlode::find::FindError) -> Self {
        use runlode::find::FindError as E;
        let list = match &error {
            E::Store(error) => return Self::Store(error.clone()),
            E::Absent { what: "run" | "run, experiment or model", .. } => "; `runlode runs STORE` lists the runs",
            E::Absent { what: "experiment", .. } => "; `runlode experiments STORE` lists them",
            E::Absent { what: "registered model", .. } => "; `runlode models STORE` lists them",
            E::Absent { what: "logged model", .. } => "; `runlode logged-models STORE` lists them",
            _ => "",
        };
        Self::Usage(format!("{}{list}", error.to_string().trim_end_matches('?')))
    }
}

impl From<runlode::mlflow::ApiError> for Error {
    fn from(error: runlode::mlflow::ApiError) -> Self {
        Self::Source(error.message)
    }
}

impl From<io::Error> for Error {
    /// `?` on io errors is used only for printing. Every other io error says what was being done.
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Output(error.into())
    }
}
