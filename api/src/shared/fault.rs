//! The two kinds of errors that answers carry: those of MLflow's calls, and those of typed calls.

use super::wire::{Put, Take};
use crate::engine::varint::Bytes;
use crate::mlflow::{ApiError, ErrorCode};
use crate::{EntityKind, Error};

/// An error of a call that may be answered by another process.
pub(super) trait Fault: From<Error> + Put {
    /// The byte that marks an answer as this kind of error.
    const MARK: u8;

    /// Reads the error of an answer with this mark. An older holder refuses an unknown call with an error of MLflow's
    /// calls.
    fn read(mark: u8, from: &mut Bytes<'_>) -> Option<Self>;

    /// Whether the error says that an entity does not exist.
    fn is_absent(&self) -> bool;

    /// Adds words to the error, if its text is free.
    fn with_more(self, more: &str) -> Self;
}

impl Fault for ApiError {
    const MARK: u8 = 1;

    fn read(mark: u8, from: &mut Bytes<'_>) -> Option<Self> {
        if mark == Self::MARK { Self::take(from) } else { None }
    }

    fn is_absent(&self) -> bool {
        self.code == ErrorCode::ResourceDoesNotExist
    }

    fn with_more(mut self, more: &str) -> Self {
        self.message += more;
        self
    }
}

impl Fault for Error {
    const MARK: u8 = 2;

    fn read(mark: u8, from: &mut Bytes<'_>) -> Option<Self> {
        match mark {
            ApiError::MARK => ApiError::take(from).map(typed),
            Self::MARK => Self::take(from),
            _ => None,
        }
    }

    fn is_absent(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    fn with_more(self, _more: &str) -> Self {
        self
    }
}

/// Converts an MLflow error to a typed one. A missing or taken entity then has no name in it.
pub(crate) fn typed(error: ApiError) -> Error {
    let why = error.message;
    match error.code {
        ErrorCode::InvalidParameterValue | ErrorCode::BadRequest => Error::invalid("argument", why),
        ErrorCode::TemporarilyUnavailable => Error::Unavailable { why },
        ErrorCode::FeatureDisabled | ErrorCode::NotImplemented => Error::Unsupported { why },
        _ => Error::Refused { why },
    }
}

/// The kinds that errors of this version name.
const KINDS: &[EntityKind] = &[
    EntityKind::Store,
    EntityKind::Log,
    EntityKind::Experiment,
    EntityKind::ActiveExperiment,
    EntityKind::DeletedExperiment,
    EntityKind::Run,
    EntityKind::Branch,
    EntityKind::Tag,
    EntityKind::LoggedModel,
    EntityKind::LoggedModelParam,
    EntityKind::RegisteredModel,
    EntityKind::ModelVersion,
    EntityKind::Alias,
];

fn put_named(number: u8, (entity, id): (EntityKind, &String), out: &mut Vec<u8>) {
    out.push(number);
    entity.to_string().put(out);
    id.put(out);
}

/// Reads an error about an entity. A kind that only another version knows stays in the text.
fn take_named(number: u8, from: &mut Bytes<'_>) -> Option<Error> {
    let name: &str = Take::take(from)?;
    let id = Take::take(from)?;
    let known = KINDS.iter().find(|known| known.to_string() == name);
    Some(match (number, known.copied()) {
        (2, Some(entity)) => Error::NotFound { entity, id },
        (3, Some(entity)) => Error::AlreadyExists { entity, id },
        (_, Some(entity)) => Error::Deleted { entity, id },
        (2, None) => Error::Refused { why: format!("{name} `{id}` does not exist") },
        (3, None) => Error::Refused { why: format!("{name} `{id}` already exists") },
        (_, None) => Error::Refused { why: format!("{name} `{id}` is deleted") },
    })
}

impl Put for Error {
    fn put(&self, out: &mut Vec<u8>) {
        let mut texts = |number: u8, texts: &[&str]| {
            out.push(number);
            texts.iter().for_each(|text| text.put(out));
        };
        match self {
            Self::Invalid { what, why } => texts(1, &[what, why]),
            Self::NotFound { entity, id } => put_named(2, (*entity, id), out),
            Self::AlreadyExists { entity, id } => put_named(3, (*entity, id), out),
            Self::Deleted { entity, id } => put_named(4, (*entity, id), out),
            Self::ParamChanged { run, key, old, new } => texts(5, &[run, key, old, new]),
            Self::Purged { run } => texts(6, &[run]),
            Self::Conflict { what, expected, actual } => {
                texts(7, &[what]);
                expected.put(out);
                actual.put(out);
            }
            Self::StorageFull { path } => texts(8, &[&path.to_string_lossy()]),
            Self::Locked { path, holder } => texts(9, &[&path.to_string_lossy(), holder]),
            Self::Poisoned { cause } => texts(10, &[cause]),
            Self::OutcomeUnknown { cause } => texts(11, &[cause]),
            Self::Closed => texts(12, &[]),
            Self::ReadOnly => texts(13, &[]),
            Self::SnapshotTooOld => texts(14, &[]),
            Self::Unavailable { why } => texts(15, &[why]),
            Self::Unsupported { why } => texts(16, &[why]),
            other => texts(0, &[&other.to_string()]),
        }
    }
}

impl<'a> Take<'a> for Error {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        let number = from.u8()?;
        let mut text = || String::take(from);
        Some(match number {
            0 => Self::Refused { why: text()? },
            1 => Self::Invalid { what: text()?, why: text()? },
            2..=4 => return take_named(number, from),
            5 => Self::ParamChanged { run: text()?, key: text()?, old: text()?, new: text()? },
            6 => Self::Purged { run: text()? },
            7 => Self::Conflict { what: text()?, expected: Take::take(from)?, actual: Take::take(from)? },
            8 => Self::StorageFull { path: text()?.into() },
            9 => Self::Locked { path: text()?.into(), holder: text()? },
            10 => Self::Poisoned { cause: text()? },
            11 => Self::OutcomeUnknown { cause: text()? },
            12 => Self::Closed,
            13 => Self::ReadOnly,
            14 => Self::SnapshotTooOld,
            15 => Self::Unavailable { why: text()? },
            16 => Self::Unsupported { why: text()? },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_errors_come_through_with_what_users_match() {
        let id = || "x".to_owned();
        let errors = [
            Error::invalid("a", "b"),
            Error::NotFound { entity: EntityKind::ModelVersion, id: id() },
            Error::AlreadyExists { entity: EntityKind::Experiment, id: id() },
            Error::Deleted { entity: EntityKind::Run, id: id() },
            Error::ParamChanged { run: id(), key: id(), old: id(), new: id() },
            Error::Purged { run: id() },
            Error::Conflict { what: id(), expected: 1, actual: 2 },
            Error::StorageFull { path: "p".into() },
            Error::Locked { path: "p".into(), holder: id() },
            Error::Poisoned { cause: id() },
            Error::OutcomeUnknown { cause: id() },
            Error::Closed,
            Error::ReadOnly,
            Error::SnapshotTooOld,
            Error::Unavailable { why: id() },
            Error::Unsupported { why: id() },
            Error::Refused { why: id() },
        ];
        for error in errors {
            let mut bytes = Vec::new();
            error.put(&mut bytes);
            let mut from = Bytes::new(&bytes);
            let back = <Error as Fault>::read(Error::MARK, &mut from).unwrap();
            assert!(from.is_empty());
            assert_eq!(format!("{back:?}"), format!("{error:?}"));
            for cut in 0..bytes.len() {
                assert!(Error::take(&mut Bytes::new(&bytes[..cut])).is_none(), "{error:?} cut to {cut}");
            }
        }
        let internal = Error::Internal("lost".to_owned());
        let mut bytes = Vec::new();
        internal.put(&mut bytes);
        let back = Error::take(&mut Bytes::new(&bytes)).unwrap();
        assert_eq!(back.to_string(), internal.to_string());
    }
}
