//! Where facts go, and how many are told.

use serde_json::Value;

/// How much to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Detail {
    /// Every point too, not only how many there are.
    pub points: bool,
}

/// Where facts go; an error ends the reading.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(Value) -> std::io::Result<()>;
