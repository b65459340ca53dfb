//! The bytes between a server and the worker of a model.
//!
//! ```text
//! request   u64 bytes of header and body | u64 bytes of header | header (JSON) | zeros up to a multiple of 8 | body
//! answer    u32 parts | for each part: u8 kind, u16 status, u64 bytes | the bytes of all parts
//! columns   a part of this kind: u64 bytes of header | header (JSON) | zeros up to a multiple of 8 | body
//! ```
//!
//! All numbers are little-endian. A header says what the input or the answer is; it names columns by their place in the
//! body:
//!
//! - Numbers lie in the body as numpy has them, so that `numpy.frombuffer` makes arrays without a copy, and Arrow does the
//!   same with answers. The columns of one type lie one behind the other and make one block, as pandas keeps them. A block
//!   begins at a multiple of 8. A missing number is NaN, a missing time NaT.
//! - Texts of a request are a list in JSON: nothing else makes many texts as fast in Python. Those of an answer are UTF-8
//!   and offsets, as Arrow has them.
//! - Other values of a request are a tree in the header: `{"plain": ...}` if JSON has all of it, else `{"tagged": ...}`,
//!   where a list begins with what it is (`l` list, `d` dict, `b` bytes, `t` nanoseconds since 1970, `y` days since then,
//!   `a` array, `n` scalar of numpy). An answer that is not all columns is JSON as a whole.
//!
//! Arrow IPC would need pyarrow in the environment of every model. For a row of 20 numbers pyarrow takes 365 us to a frame
//! of pandas, this 18 us; for 10,000 rows 1,115 us and 22 us.

mod answer;
mod body;
mod request;

use arrow_buffer::Buffer;
use runlode_models::{DType, Value};

pub(super) use answer::data;
pub(super) use request::{Request, Wanted, request, untyped};

/// Boundary of columns.
const ALIGN_BYTES: usize = 8;

/// Parameters of a request, by name.
type Params<'a> = Option<&'a [(String, Value)]>;

/// One part of an answer.
#[derive(Debug, PartialEq)]
pub(super) struct Part {
    pub(super) kind: Kind,
    pub(super) status: u16,
    pub(super) bytes: Buffer,
}

/// What a part of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Answer,
    Error,
    Lost,
    Unencodable,
    Refused,
    Unsplit,
    Columns,
}

impl Kind {
    pub(super) fn of(number: u8) -> Option<Self> {
        let all =
            [Self::Answer, Self::Error, Self::Lost, Self::Unencodable, Self::Refused, Self::Unsplit, Self::Columns];
        all.get(usize::from(number)).copied()
    }
}

/// The name that the worker knows a dtype by.
fn name(dtype: DType) -> &'static str {
    match dtype {
        DType::Datetime => "datetime",
        other => other.name(),
    }
}
