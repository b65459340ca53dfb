//! Columns of numbers and texts as bytes that a program maps instead of parsing: `application/vnd.runlode.columns`.
//!
//! ```text
//!   offset   bytes
//!   0        4       "RLC1"
//!   4        4       H: length of the header, little-endian; 8 + H is a multiple of 8
//!   8        H       header: a JSON object, then spaces
//!   8 + H    ...     arrays, each at a multiple of 8 from here, zero bytes between
//! ```
//!
//! The header's list `columns` has for each column `name`, `type`, `rows` and `at`, the place of its array counted from
//! the end of the header:
//!
//! | type | array |
//! |---|---|
//! | `f64` | IEEE 754 doubles, little-endian; NaN and infinities as they are |
//! | `i64` | 64-bit integers, little-endian |
//! | `text` | `rows` + 1 offsets (32-bit, little-endian) into UTF-8 text, which is at `text_at` and has `text_bytes` |
//!
//! A column whose rows may lack a value has `present_at`: the place of one byte for each row, 1 where there is a value.

use runlode::mlflow::{ApiResult, ColumnValues, RunColumn};
use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::door::Door;
use crate::long::Writer;

/// The type of such an answer.
pub(super) const CONTENT_TYPE: &str = "application/vnd.runlode.columns";
const MAGIC: &[u8; 4] = b"RLC1";
const ALIGNMENT: usize = 8;

/// An array of an answer.
enum Array<'a> {
    F64(&'a [f64]),
    I64(&'a [i64]),
    Offsets(&'a [i64]),
    Text(&'a str),
    Present(&'a [bool]),
}

impl Array<'_> {
    fn bytes(&self) -> usize {
        match self {
            Self::F64(values) => values.len() * 8,
            Self::I64(values) => values.len() * 8,
            Self::Offsets(values) => values.len() * 4,
            Self::Text(text) => text.len(),
            Self::Present(rows) => rows.len(),
        }
    }

    fn write(&self, out: &mut Writer) -> ApiResult<()> {
        match self {
            Self::F64(values) => values.iter().try_for_each(|value| out.put(&value.to_le_bytes())),
            Self::I64(values) => values.iter().try_for_each(|value| out.put(&value.to_le_bytes())),
            Self::Offsets(values) => {
                values.iter().try_for_each(|value| out.put(&u32::try_from(*value).unwrap_or(u32::MAX).to_le_bytes()))
            }
            Self::Text(text) => out.put(text.as_bytes()),
            Self::Present(rows) => rows.iter().try_for_each(|there| out.put(&[u8::from(*there)])),
        }
    }
}

/// An answer of columns.
pub(super) struct ColumnsAnswer<'a> {
    header: Map<String, Value>,
    columns: Vec<Value>,
    arrays: Vec<Array<'a>>,
    at: usize,
}

impl<'a> ColumnsAnswer<'a> {
    /// An answer whose header has these fields besides its columns.
    pub(super) fn new(header: Map<String, Value>) -> Self {
        Self { header, columns: Vec::new(), arrays: Vec::new(), at: 0 }
    }

    /// Adds an array; returns its place.
    fn array(&mut self, array: Array<'a>) -> usize {
        let at = self.at;
        self.at = (at + array.bytes()).next_multiple_of(ALIGNMENT);
        self.arrays.push(array);
        at
    }

    pub(super) fn doubles(&mut self, name: &str, values: &'a [f64]) {
        let at = self.array(Array::F64(values));
        self.columns.push(json!({ "name": name, "type": "f64", "rows": values.len(), "at": at }));
    }

    pub(super) fn integers(&mut self, name: &str, values: &'a [i64]) {
        let at = self.array(Array::I64(values));
        self.columns.push(json!({ "name": name, "type": "i64", "rows": values.len(), "at": at }));
    }

    /// Adds a column of a table of runs.
    pub(super) fn of_runs(&mut self, column: &'a RunColumn) {
        let mut head = Map::new();
        head.insert("name".to_owned(), column.name.as_str().into());
        let mut put = |name: &str, value: Value| drop(head.insert(name.to_owned(), value));
        let present: &[bool] = match &column.values {
            ColumnValues::Text(texts) => {
                put("type", "text".into());
                put("rows", texts.offsets.len().saturating_sub(1).into());
                put("at", self.array(Array::Offsets(&texts.offsets)).into());
                put("text_at", self.array(Array::Text(&texts.text)).into());
                put("text_bytes", texts.text.len().into());
                &texts.present
            }
            ColumnValues::Number(values, present) => {
                put("type", "f64".into());
                put("rows", values.len().into());
                put("at", self.array(Array::F64(values)).into());
                present
            }
            ColumnValues::Time(values, present) | ColumnValues::Count(values, present) => {
                put("type", "i64".into());
                put("rows", values.len().into());
                put("at", self.array(Array::I64(values)).into());
                present
            }
        };
        if !present.is_empty() {
            put("present_at", self.array(Array::Present(present)).into());
        }
        self.columns.push(Value::Object(head));
    }

    /// The answer.
    ///
    /// # Errors
    /// 429 `RESOURCE_EXHAUSTED` where there is no room for it.
    pub(super) fn finish(mut self, door: &Door) -> ApiResult<Answer> {
        self.header.insert("columns".to_owned(), Value::Array(self.columns));
        let mut header = Value::Object(self.header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
        let mut out = door.writer();
        out.put(MAGIC)?;
        out.put(&u32::try_from(header.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        out.put(&header)?;
        for array in &self.arrays {
            array.write(&mut out)?;
            let bytes = array.bytes();
            out.put(&[0; ALIGNMENT][..bytes.next_multiple_of(ALIGNMENT) - bytes])?;
        }
        Ok(Answer::from(out.finish()?).with_type(CONTENT_TYPE, &door.memory))
    }
}
