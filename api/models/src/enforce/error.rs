//! Why an input is refused: what MLflow answers, and which cell it was.

use std::fmt::{self, Display};

use crate::data::Label;

/// A refused input, its message ready for the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", Shown(self))]
pub struct EnforceError {
    /// Which error of MLflow's it is.
    pub refusal: Refusal,
    /// What is wrong, as a sentence.
    pub reason: String,
    /// The column, tensor or parameter.
    pub column: Option<String>,
    /// The type or shape that the signature has.
    pub expected: Option<String>,
    /// What was found in its place.
    pub found: Option<String>,
    /// The row, from 0.
    pub row: Option<usize>,
}

/// Which of MLflow's errors is answered. All have the status 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `BAD_REQUEST`: the body cannot be read, or not be cast to the schema.
    BadRequest,
    /// `INVALID_PARAMETER_VALUE`: parameters, and what a type hint asks for.
    InvalidParameter,
    /// `INVALID_PARAMETER_VALUE` with the class `SCHEMA_ENFORCEMENT_FAILED`: read, but not what the signature says.
    Enforcement,
}

impl Refusal {
    /// `error_code` of the answer.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "BAD_REQUEST",
            Self::InvalidParameter | Self::Enforcement => "INVALID_PARAMETER_VALUE",
        }
    }

    /// `error_class` of the answer.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::BadRequest | Self::InvalidParameter => "INVALID_PARAMETER_VALUE",
            Self::Enforcement => "SCHEMA_ENFORCEMENT_FAILED",
        }
    }

    /// `sqlstate` of the answer.
    #[must_use]
    pub fn sqlstate(self) -> &'static str {
        match self {
            Self::BadRequest | Self::InvalidParameter => "KAM00",
            Self::Enforcement => "KAM01",
        }
    }
}

struct Shown<'e>(&'e EnforceError);

impl Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self.0;
        if let Some(column) = &error.column {
            write!(out, "input '{column}'")?;
            if let Some(row) = error.row {
                write!(out, ", row {row}")?;
            }
            out.write_str(": ")?;
        }
        out.write_str(&error.reason)?;
        match (&error.expected, &error.found) {
            (Some(expected), Some(found)) => write!(out, "; expected {expected}, found {found}"),
            (Some(expected), None) => write!(out, "; expected {expected}"),
            (None, Some(found)) => write!(out, "; found {found}"),
            (None, None) => Ok(()),
        }
    }
}

impl EnforceError {
    /// A refusal with a reason alone.
    #[must_use]
    pub fn new(refusal: Refusal, reason: impl Into<String>) -> Self {
        Self { refusal, reason: reason.into(), column: None, expected: None, found: None, row: None }
    }

    /// A body that cannot be read.
    #[must_use]
    pub fn bad_request(reason: impl Into<String>) -> Self {
        Self::new(Refusal::BadRequest, reason)
    }

    /// An input that is not what the signature says.
    #[must_use]
    pub fn enforcement(reason: impl Into<String>) -> Self {
        Self::new(Refusal::Enforcement, reason)
    }

    /// Says what was expected and what was found.
    #[must_use]
    pub fn with(mut self, expected: impl Into<String>, found: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self.found = Some(found.into());
        self
    }

    /// Names the column.
    #[must_use]
    pub fn in_column(mut self, name: impl Into<String>) -> Self {
        self.column = Some(name.into());
        self
    }
}

/// Why cells cannot become what a type asks for; the caller knows the column, and which error it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: String,
    pub(crate) found: Option<String>,
    pub(crate) row: Option<usize>,
    /// The body was read, but enforcement is sure to refuse it: a date with a zone.
    pub(crate) is_enforcement: bool,
}

impl Fault {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), found: None, row: None, is_enforcement: false }
    }

    /// A cell that cannot be converted.
    pub(crate) fn at(row: usize, value: &crate::data::Value, reason: impl Into<String>) -> Self {
        let mut found: String = crate::text::python_repr(value).chars().take(SHOWN_CHARS_MAX + 1).collect();
        if found.chars().count() > SHOWN_CHARS_MAX {
            found.pop();
            found.push('…');
        }
        Self { found: Some(found), row: Some(row), ..Self::new(reason) }
    }

    pub(crate) fn found(reason: impl Into<String>, found: impl Into<String>) -> Self {
        Self { found: Some(found.into()), ..Self::new(reason) }
    }

    pub(crate) fn error(self, refusal: Refusal, column: Option<&Label>, expected: impl Into<String>) -> EnforceError {
        EnforceError {
            refusal: if self.is_enforcement { Refusal::Enforcement } else { refusal },
            reason: self.reason,
            column: column.map(ToString::to_string),
            expected: Some(expected.into()),
            found: self.found,
            row: self.row,
        }
    }
}

/// How much of a cell an error shows.
const SHOWN_CHARS_MAX: usize = 80;
