//! Errors of MLflow's clients: a code, a text, and the HTTP status that belongs to the code.
//!
//! Codes and numbers are those of MLflow's `databricks.proto`. Texts contain the fragments that clients and MLflow's
//! own tests check. A wrong request is never answered by a 500: clients would send it eight times over minutes.

use std::fmt;

use runlode_engine::{EntityKind, Error, Lsn};

use crate::find::FindError;

/// Result of an MLflow call.
pub type ApiResult<T> = Result<T, ApiError>;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $number:literal, $status:literal;)*) => {
        /// MLflow's error codes.
        ///
        /// ```
        /// use runlode::mlflow::ErrorCode;
        ///
        /// let code = ErrorCode::ResourceDoesNotExist;
        /// assert_eq!((code.name(), code.status()), ("RESOURCE_DOES_NOT_EXIST", 404));
        /// assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode { $($(#[$doc])* $name),* }

        impl ErrorCode {
            /// All error codes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code with this number; `None` if there is none.
            pub fn from_number(number: i32) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.number() == number)
            }

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// The number in MLflow's protocol.
            pub fn number(self) -> i32 {
                match self { $(Self::$name => $number),* }
            }

            /// The HTTP status that belongs to the code.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status),* }
            }
        }
    };
}

codes! {
    /// The server is at fault.
    InternalError = "INTERNAL_ERROR", 1, 500;
    /// Temporarily impossible: try again.
    TemporarilyUnavailable = "TEMPORARILY_UNAVAILABLE", 2, 503;
    /// The request is wrong in another way.
    BadRequest = "BAD_REQUEST", 4, 400;
    /// The disk is full. 507, because clients repeat 429.
    ResourceExhausted = "RESOURCE_EXHAUSTED", 9, 507;
    /// A value is wrong.
    InvalidParameterValue = "INVALID_PARAMETER_VALUE", 1000, 400;
    /// There is no such path.
    EndpointNotFound = "ENDPOINT_NOT_FOUND", 1001, 404;
    /// The entity is in a state that forbids it. MLflow says 500, which clients repeat.
    InvalidState = "INVALID_STATE", 1003, 400;
    /// The caller may not do this.
    PermissionDenied = "PERMISSION_DENIED", 1004, 403;
    /// The feature is switched off or does not exist.
    FeatureDisabled = "FEATURE_DISABLED", 1005, 501;
    /// Another change came first.
    ResourceConflict = "RESOURCE_CONFLICT", 1008, 409;
    /// Not implemented here.
    NotImplemented = "NOT_IMPLEMENTED", 1010, 501;
    /// The name is taken.
    ResourceAlreadyExists = "RESOURCE_ALREADY_EXISTS", 3001, 400;
    /// There is no such entity.
    ResourceDoesNotExist = "RESOURCE_DOES_NOT_EXIST", 3002, 404;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A refused or failed call.
///
/// ```
/// use runlode::mlflow::{ApiError, ErrorCode};
///
/// let error = ApiError::invalid("Missing value for required parameter 'name'.");
/// assert_eq!((error.code, error.status()), (ErrorCode::InvalidParameterValue, 400));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// Kind of the error.
    pub code: ErrorCode,
    /// What is wrong, where, and what to do.
    pub message: String,
    /// HTTP status, if it is not the code's own.
    pub status: Option<u16>,
    /// Whether the store refuses writes until it is opened again.
    pub store_failed: bool,
    /// Not an error: the call was made before, by the batch at this position, and is not made again.
    pub repeated: Option<Lsn>,
    /// Whether the answer ended in the middle because the process that gave it has gone: make the call again.
    pub cut_short: bool,
}

impl ApiError {
    /// An error with a code and a text.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), status: None, store_failed: false, repeated: None, cut_short: false }
    }

    /// An `INVALID_PARAMETER_VALUE` with this text.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidParameterValue, message)
    }

    /// A `RESOURCE_DOES_NOT_EXIST` with this text.
    pub fn absent(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::ResourceDoesNotExist, message)
    }

    /// A `RESOURCE_ALREADY_EXISTS` with this text.
    pub fn exists(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::ResourceAlreadyExists, message)
    }

    /// The call was made before under its idempotency key, by the batch at this position.
    pub fn repeated(lsn: Lsn) -> Self {
        let message = format!("this call was made before, at position {lsn}");
        Self { repeated: Some(lsn), ..Self::new(ErrorCode::ResourceConflict, message) }
    }

    /// The answer ended in the middle, because the process that gave it has gone.
    ///
    /// ```
    /// use runlode::mlflow::{ApiError, ErrorCode};
    ///
    /// let error = ApiError::cut_short();
    /// assert_eq!((error.code, error.cut_short), (ErrorCode::TemporarilyUnavailable, true));
    /// ```
    pub fn cut_short() -> Self {
        let message = "the process that held the store has gone while it answered; ask again";
        Self { cut_short: true, ..Self::new(ErrorCode::TemporarilyUnavailable, message) }
    }

    /// The same error with another HTTP status.
    ///
    /// ```
    /// use runlode::mlflow::{ApiError, ErrorCode};
    ///
    /// assert_eq!(ApiError::absent("Run with id=x not found").status(), 404);
    /// assert_eq!(ApiError::exists("taken").code, ErrorCode::ResourceAlreadyExists);
    /// assert_eq!(ApiError::repeated(runlode::Lsn(7)).repeated, Some(runlode::Lsn(7)));
    /// assert_eq!(ApiError::new(ErrorCode::InternalError, "a file of another host").with_status(400).status(), 400);
    /// ```
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// The HTTP status to answer with.
    pub fn status(&self) -> u16 {
        self.status.unwrap_or_else(|| self.code.status())
    }
}

impl From<FindError> for ApiError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Store(error) => error.into(),
            FindError::Absent { .. } => Self::absent(error.to_string()),
            _ => Self::invalid(error.to_string()),
        }
    }
}

/// Converts engine errors to MLflow's words. Calls that know more about the request report their own error before.
impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::NotFound { entity, id } => return Self::absent(absent_text(*entity, id)),
            Error::AlreadyExists { entity: EntityKind::Experiment, id } => {
                return Self::exists(format!("Experiment(name={id}) already exists."));
            }
            Error::AlreadyExists { entity: EntityKind::RegisteredModel, id } => {
                return Self::exists(format!("Registered Model (name={id}) already exists."));
            }
            Error::Deleted { entity, id } => {
                return Self::invalid(format!(
                    "The {entity} {id} must be in the 'active' state. Current state is deleted."
                ));
            }
            Error::ParamChanged { run, key, old, new } => {
                return Self::invalid(format!(
                    "Changing param values is not allowed. Param with key='{key}' was already logged with \
                     value='{old}' for run ID='{run}'. Attempted logging new value '{new}'."
                ));
            }
            Error::Repeated { lsn } => return Self::repeated(Lsn(*lsn)),
            Error::Purged { run } => return Self::absent(format!("Run with id={run} not found: it was purged")),
            Error::AlreadyExists { .. } => ErrorCode::ResourceAlreadyExists,
            Error::Invalid { .. } => ErrorCode::InvalidParameterValue,
            Error::Conflict { .. } | Error::KeyReused { .. } => ErrorCode::ResourceConflict,
            Error::StorageFull { .. } => ErrorCode::ResourceExhausted,
            Error::SnapshotTooOld | Error::Locked { .. } | Error::Unavailable { .. } => {
                ErrorCode::TemporarilyUnavailable
            }
            Error::Unsupported { .. } => ErrorCode::FeatureDisabled,
            Error::Poisoned { .. } | Error::OutcomeUnknown { .. } | Error::Closed => {
                let message = error.to_string();
                return Self { store_failed: true, ..Self::new(ErrorCode::TemporarilyUnavailable, message) };
            }
            Error::ReadOnly => ErrorCode::PermissionDenied,
            _ => ErrorCode::InternalError,
        };
        Self::new(code, error.to_string())
    }
}

fn absent_text(entity: EntityKind, id: &str) -> String {
    match entity {
        EntityKind::Run => format!("Run with id={id} not found"),
        EntityKind::Experiment => format!("No Experiment with id={id} exists"),
        EntityKind::LoggedModel => format!("Logged model with ID '{id}' not found."),
        EntityKind::RegisteredModel => format!("Registered Model with name={id} not found"),
        _ => format!("{entity} `{id}` does not exist"),
    }
}
