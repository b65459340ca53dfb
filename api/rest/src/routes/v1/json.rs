//! JSON answers with long lists, written while they are made: only one entry at a time is a tree of values.

use runlode::mlflow::ApiResult;
use serde::Serialize;

use crate::answer::Answer;
use crate::door::Door;
use crate::long::Writer;

/// A JSON text that is written from its beginning to its end.
pub(super) struct JsonWriter {
    out: Writer,
    /// Whether something stands before the place, in the same object or list.
    follows: bool,
}

impl JsonWriter {
    pub(super) fn new(door: &Door) -> Self {
        Self { out: door.writer(), follows: false }
    }

    fn comma(&mut self) -> ApiResult<()> {
        if std::mem::replace(&mut self.follows, true) { self.out.put(b",") } else { Ok(()) }
    }

    /// The name of the next value of an object.
    ///
    /// # Errors
    /// 429 `RESOURCE_EXHAUSTED` where there is no room for the answer; so do all that follow.
    pub(super) fn name(&mut self, name: &str) -> ApiResult<()> {
        self.comma()?;
        self.out.json(&name)?;
        self.follows = false;
        self.out.put(b":")
    }

    pub(super) fn value(&mut self, value: &impl Serialize) -> ApiResult<()> {
        self.comma()?;
        self.out.json(value)
    }

    pub(super) fn field(&mut self, name: &str, value: &impl Serialize) -> ApiResult<()> {
        self.name(name)?;
        self.value(value)
    }

    /// A field that is a list.
    pub(super) fn list<T: Serialize>(&mut self, name: &str, values: impl IntoIterator<Item = T>) -> ApiResult<()> {
        self.name(name)?;
        self.begin(b"[")?;
        for value in values {
            self.value(&value)?;
        }
        self.end(b"]")
    }

    /// Begins an object or a list.
    pub(super) fn begin(&mut self, bracket: &[u8; 1]) -> ApiResult<()> {
        self.comma()?;
        self.follows = false;
        self.out.put(bracket)
    }

    /// Ends the object or list.
    pub(super) fn end(&mut self, bracket: &[u8; 1]) -> ApiResult<()> {
        self.follows = true;
        self.out.put(bracket)
    }

    pub(super) fn finish(self) -> ApiResult<Answer> {
        self.out.finish().map(Answer::from)
    }
}
