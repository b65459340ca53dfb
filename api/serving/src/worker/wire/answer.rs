//! An answer of columns, out of the bytes that the worker sent.
//!
//! ```text
//! header   {"frame": [[name, column]...], "rows": n}   {"tensor": column, "shape": [...]}   {"tensors": [[name, column, shape]...]}
//! column   {"dtype", "at", "length"}; texts: "at", "bytes" of all in UTF-8, "offsets" and, where some are missing, "valid";
//!          of the dtype "json": "at" and "bytes" of a list of all cells
//! ```
//!
//! Arrays of numbers are views of these bytes. The bytes come from a process that runs a model's code: whatever they
//! say, nothing here panics.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, BooleanArray, LargeStringArray, PrimitiveArray};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use runlode_models::{Cells, Column, DType, Frame, Input, Label, Tensor, Value, json};
use serde::Deserialize;

use super::{ALIGN_BYTES, name};

/// Bytes of the header's length.
const HEAD_BYTES: usize = 8;

/// The dtype of cells of any kind.
const OBJECTS: &str = "json";

/// The header of an answer.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Header {
    Frame { frame: Vec<(String, Described)>, rows: usize },
    Tensor { tensor: Described, shape: Vec<usize> },
    Tensors { tensors: Vec<(String, Described, Vec<usize>)> },
}

/// Where a column is.
#[derive(Debug, Deserialize)]
struct Described {
    dtype: String,
    at: usize,
    length: usize,
    /// Of all texts.
    bytes: Option<usize>,
    /// Where the ends of the texts are, from 0 on.
    offsets: Option<usize>,
    /// Where a byte for each text says whether there is one.
    valid: Option<usize>,
}

/// The answer in these bytes.
///
/// # Errors
/// The bytes are none, in a sentence.
pub(in crate::worker) fn data(bytes: &Buffer) -> Result<Input, String> {
    let head = slice(bytes, 0..HEAD_BYTES)?;
    let header_bytes = head.iter().rev().fold(0usize, |sum, byte| (sum << 8) | usize::from(*byte));
    let header_end = HEAD_BYTES.checked_add(header_bytes).ok_or("the header is longer than memory")?;
    let header = slice(bytes, HEAD_BYTES..header_end)?;
    let header: Header = serde_json::from_slice(&header).map_err(|error| format!("the header: {error}"))?;
    let body = slice(bytes, header_end.next_multiple_of(ALIGN_BYTES).min(bytes.len())..bytes.len())?;
    match header {
        Header::Frame { frame, rows } => {
            let column = |(name, described): (String, Described)| {
                if described.length != rows {
                    return Err(format!("column '{name}' has {} cells in {rows} rows", described.length));
                }
                Ok(Column { name: Label::Text(name.into()), cells: cells(&body, &described)? })
            };
            let columns = frame.into_iter().map(column).collect::<Result<_, String>>()?;
            Ok(Input::Frame(Frame { columns, rows_count: rows, index: None }))
        }
        Header::Tensor { tensor: described, shape } => Ok(Input::Tensor(tensor(&body, &described, shape)?)),
        Header::Tensors { tensors } => {
            let one = |(name, described, shape)| Ok((name, tensor(&body, &described, shape)?));
            Ok(Input::Tensors(tensors.into_iter().map(one).collect::<Result<_, String>>()?))
        }
    }
}

fn tensor(body: &Buffer, described: &Described, shape: Vec<usize>) -> Result<Tensor, String> {
    let elements = shape.iter().try_fold(1usize, |product, length| product.checked_mul(*length));
    if elements != Some(described.length) {
        return Err(format!("an array of the shape {shape:?} has {} elements", described.length));
    }
    Ok(Tensor { shape, elements: cells(body, described)? })
}

fn cells(body: &Buffer, described: &Described) -> Result<Cells, String> {
    if described.dtype == OBJECTS {
        return objects(body, described);
    }
    let dtype = DType::ALL.into_iter().find(|dtype| name(*dtype) == described.dtype);
    let array: ArrayRef = match dtype {
        Some(DType::Bool) => Arc::new(booleans(body, described)?),
        Some(DType::Int8) => numbers::<Int8Type>(body, described)?,
        Some(DType::Int16) => numbers::<Int16Type>(body, described)?,
        Some(DType::Int32) => numbers::<Int32Type>(body, described)?,
        Some(DType::Int64) => numbers::<Int64Type>(body, described)?,
        Some(DType::UInt8) => numbers::<UInt8Type>(body, described)?,
        Some(DType::UInt16) => numbers::<UInt16Type>(body, described)?,
        Some(DType::UInt32) => numbers::<UInt32Type>(body, described)?,
        Some(DType::UInt64) => numbers::<UInt64Type>(body, described)?,
        Some(DType::Float16) => numbers::<Float16Type>(body, described)?,
        Some(DType::Float32) => numbers::<Float32Type>(body, described)?,
        Some(DType::Float64) => numbers::<Float64Type>(body, described)?,
        Some(DType::Datetime) => times(body, described)?,
        Some(DType::Str) => texts(body, described)?,
        Some(DType::Bytes) | None => return Err(format!("a column of '{}'", described.dtype)),
    };
    dtype.map(|dtype| Cells::Array(dtype, array)).ok_or_else(|| "a column without a dtype".to_owned())
}

fn slice(bytes: &Buffer, range: Range<usize>) -> Result<Buffer, String> {
    if range.start > range.end || range.end > bytes.len() {
        return Err(format!("bytes {} to {} of {}", range.start, range.end, bytes.len()));
    }
    Ok(bytes.slice_with_length(range.start, range.end - range.start))
}

/// Items of one size from `at` on.
fn scalars<T: arrow_buffer::ArrowNativeType>(
    body: &Buffer,
    at: usize,
    length: usize,
) -> Result<ScalarBuffer<T>, String> {
    let end = length.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_add(at));
    let bytes = slice(body, at..end.ok_or("a column is longer than memory")?)?;
    if bytes.as_ptr().align_offset(align_of::<T>()) != 0 {
        return Err(format!("a column of items of {} bytes begins at {at}", size_of::<T>()));
    }
    Ok(ScalarBuffer::new(bytes, 0, length))
}

fn numbers<T: ArrowPrimitiveType>(body: &Buffer, described: &Described) -> Result<ArrayRef, String> {
    Ok(Arc::new(PrimitiveArray::<T>::new(scalars(body, described.at, described.length)?, None)))
}

/// Times, of which the smallest is none.
fn times(body: &Buffer, described: &Described) -> Result<ArrayRef, String> {
    let values: ScalarBuffer<i64> = scalars(body, described.at, described.length)?;
    let nulls = values
        .contains(&i64::MIN)
        .then(|| NullBuffer::new(BooleanBuffer::collect_bool(values.len(), |row| values[row] != i64::MIN)));
    Ok(Arc::new(PrimitiveArray::<TimestampNanosecondType>::new(values, nulls)))
}

fn booleans(body: &Buffer, described: &Described) -> Result<BooleanArray, String> {
    let bytes: ScalarBuffer<u8> = scalars(body, described.at, described.length)?;
    Ok(BooleanArray::new(BooleanBuffer::collect_bool(bytes.len(), |row| bytes[row] != 0), None))
}

fn objects(body: &Buffer, described: &Described) -> Result<Cells, String> {
    let end = described.at.checked_add(described.bytes.unwrap_or_default()).ok_or("a column is longer than memory")?;
    let values = json::from_slice(&slice(body, described.at..end)?).map_err(|error| error.to_string())?;
    match values {
        Value::List(values) if values.len() == described.length => Ok(Cells::Objects(values)),
        _ => Err("a column of JSON that is no list of its cells".to_owned()),
    }
}

fn texts(body: &Buffer, described: &Described) -> Result<ArrayRef, String> {
    let (Some(bytes), Some(offsets)) = (described.bytes, described.offsets) else {
        return Err("texts without offsets".to_owned());
    };
    let count = described.length.checked_add(1).ok_or("a column is longer than memory")?;
    let offsets: ScalarBuffer<i64> = scalars(body, offsets, count)?;
    if offsets[0] < 0 || offsets.windows(2).any(|pair| pair[0] > pair[1]) {
        return Err("offsets of texts that go back".to_owned());
    }
    let end = described.at.checked_add(bytes).ok_or("a column is longer than memory")?;
    let values = slice(body, described.at..end)?;
    let nulls = match described.valid {
        Some(at) => {
            let valid: ScalarBuffer<u8> = scalars(body, at, described.length)?;
            Some(NullBuffer::new(BooleanBuffer::collect_bool(valid.len(), |row| valid[row] != 0)))
        }
        None => None,
    };
    let array = LargeStringArray::try_new(OffsetBuffer::new(offsets), values, nulls);
    Ok(Arc::new(array.map_err(|error| error.to_string())?))
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use proptest::prelude::*;

    use super::*;

    /// An answer with this header and body.
    fn answer(header: &str, body: &[u8]) -> Buffer {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(ALIGN_BYTES), 0);
        bytes.extend_from_slice(body);
        let mut aligned = arrow_buffer::MutableBuffer::new(bytes.len());
        aligned.extend_from_slice(&bytes);
        aligned.into()
    }

    fn of_numbers(numbers: &[i64]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    #[test]
    fn a_frame_has_numbers_times_and_texts() {
        let mut body = of_numbers(&[5, -6, i64::MIN, 7]);
        body.extend(of_numbers(&[0, 2, 2]));
        body.extend("ä".as_bytes());
        body.extend([1, 0]);
        let header = r#"{"frame": [["n", {"dtype": "int64", "at": 0, "length": 2}],
            ["t", {"dtype": "datetime", "at": 16, "length": 2}],
            ["s", {"dtype": "str", "at": 56, "bytes": 2, "length": 2, "offsets": 32, "valid": 58}],
            ["b", {"dtype": "bool", "at": 58, "length": 2}]], "rows": 2}"#;
        let Input::Frame(frame) = data(&answer(header, &body)).unwrap() else { panic!("a frame") };
        let shown: Vec<String> = frame.columns.iter().map(|column| format!("{:?}", column.cells.values())).collect();
        assert_eq!(
            shown,
            [
                "[Int(5), Int(-6)]",
                "[Datetime(None), Datetime(Some(7))]",
                // As pandas has it.
                "[Text(\"ä\"), Float(NaN)]",
                "[Bool(true), Bool(false)]"
            ]
        );
    }

    #[test]
    fn an_array_has_a_shape() {
        let header = r#"{"tensor": {"dtype": "float64", "at": 0, "length": 4}, "shape": [2, 2]}"#;
        let body: Vec<u8> = [0.5, f64::NAN, 1e300, -0.0].iter().flat_map(|number: &f64| number.to_le_bytes()).collect();
        let Input::Tensor(tensor) = data(&answer(header, &body)).unwrap() else { panic!("an array") };
        let Cells::Array(DType::Float64, array) = &tensor.elements else { panic!("numbers") };
        let array = array.as_primitive::<Float64Type>();
        assert!(array.value(1).is_nan() && array.value(3).is_sign_negative());
        let header = header.replace("[2, 2]", "[3, 2]");
        let refused = data(&answer(&header, &body)).unwrap_err();
        assert_eq!(refused, "an array of the shape [3, 2] has 4 elements");
    }

    #[test]
    fn bytes_that_are_no_answer_are_refused() {
        for (header, reason) in [
            ("{", "the header: EOF"),
            (r#"{"tensor": {"dtype": "float64", "at": 8, "length": 1}, "shape": [1]}"#, "bytes 8 to 16 of 8"),
            (r#"{"tensor": {"dtype": "float64", "at": 4, "length": 0}, "shape": [0]}"#, "items of 8 bytes begins at 4"),
            (r#"{"tensor": {"dtype": "complex", "at": 0, "length": 1}, "shape": [1]}"#, "a column of 'complex'"),
            (
                r#"{"tensor": {"dtype": "float64", "at": 0, "length": 4611686018427387904}, "shape": [4611686018427387904]}"#,
                "longer than memory",
            ),
            (r#"{"frame": [["a", {"dtype": "int8", "at": 0, "length": 2}]], "rows": 3}"#, "'a' has 2 cells in 3 rows"),
            (
                r#"{"tensor": {"dtype": "str", "at": 0, "bytes": 0, "length": 0, "offsets": 0}, "shape": [0]}"#,
                "that go back",
            ),
            (
                r#"{"frame": [["a", {"dtype": "json", "at": 0, "bytes": 0, "length": 1}]], "rows": 1}"#,
                "a value is missing",
            ),
        ] {
            let refused = data(&answer(header, &(-1i64).to_le_bytes())).unwrap_err();
            assert!(refused.contains(reason), "{header}: {refused}");
        }
        assert_eq!(data(&Buffer::from(vec![0u8; 3])).unwrap_err(), "bytes 0 to 8 of 3");
        assert!(data(&Buffer::from(vec![255u8; 8])).unwrap_err().contains("longer than memory"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            at in 0usize..40, length in 0usize..6, offsets in 0usize..40, valid in proptest::option::of(0usize..40),
            dtype in proptest::sample::select(DType::ALL.to_vec()), body in proptest::collection::vec(0u8..4, 0..40),
        ) {
            let valid = valid.map_or_else(String::new, |at| format!(", \"valid\": {at}"));
            let header = format!(
                "{{\"tensor\": {{\"dtype\": \"{}\", \"at\": {at}, \"length\": {length}, \"bytes\": 3, \"offsets\": {offsets}{valid}}}, \
                 \"shape\": [{length}]}}",
                name(dtype)
            );
            let _ = data(&answer(&header, &body));
        }
    }
}
