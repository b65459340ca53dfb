//! A request as bytes.

use std::fmt::Write as _;
use std::io::{self, Write};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampNanosecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType};
use arrow_buffer::Buffer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use half::f16;
use runlode_models::json::{write_float, write_text};
use runlode_models::{Cells, Column, DType, Frame, Input, Label, Tensor, Value};

use super::body::Body;
use super::{ALIGN_BYTES, Params, name};
use crate::engine::{PredictError, Untyped, UntypedForm};

/// Where the header begins.
const HEAD_BYTES: usize = 16;
/// `numpy.datetime64("NaT")`.
const NOT_A_TIME: i64 = i64::MIN;

/// A request on its way to a worker.
#[derive(Debug)]
pub(in crate::worker) struct Request {
    head: Vec<u8>,
    body: Body,
}

/// In what form the answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) enum Wanted<'a> {
    /// JSON, or columns that the server writes as the same JSON.
    Answer,
    /// The same, for several requests, with the number of rows of each.
    Each(&'a [usize]),
    /// Columns wherever the answer has any, with a cell for each row.
    Rows,
}

impl Request {
    /// Writes the whole message.
    pub(in crate::worker) fn send(&self, to: &mut impl Write) -> io::Result<()> {
        self.body.send(&self.head, to)
    }
}

/// The bytes of a request.
///
/// # Errors
/// [`PredictError::Refused`]: an array is not of the type that it is said to be.
pub(in crate::worker) fn request(
    input: &Input,
    wanted: Wanted<'_>,
    params: Params<'_>,
) -> Result<Request, PredictError> {
    let mut writer = Writer::default();
    match input {
        Input::Frame(frame) => writer.frame(frame)?,
        Input::Tensor(tensor) => {
            writer.header.push_str("{\"kind\":\"tensor\",\"tensor\":");
            writer.tensor(tensor)?;
        }
        Input::Tensors(tensors) => {
            writer.header.push_str("{\"kind\":\"tensors\",\"tensors\":[");
            for (place, (name, tensor)) in tensors.iter().enumerate() {
                writer.header.push_str(if place == 0 { "[" } else { ",[" });
                write_text(&mut writer.header, name);
                writer.header.push(',');
                writer.tensor(tensor)?;
                writer.header.push(']');
            }
            writer.header.push(']');
        }
        Input::Value(value) => {
            writer.header.push_str("{\"kind\":\"value\",\"value\":");
            writer.tree(value)?;
        }
    }
    match wanted {
        Wanted::Answer => {}
        Wanted::Each(rows_each) => {
            writer.header.push_str(",\"rows_each\":");
            write_list(&mut writer.header, rows_each, write_int);
        }
        Wanted::Rows => writer.header.push_str(",\"by_rows\":true"),
    }
    writer.finish(params)
}

/// The bytes of a request that pandas and numpy give types to.
pub(in crate::worker) fn untyped(request: &Untyped, params: Params<'_>) -> Result<Request, PredictError> {
    let mut writer = Writer::default();
    let header = &mut writer.header;
    match &request.form {
        UntypedForm::Json => header.push_str("{\"kind\":\"json\""),
        UntypedForm::JsonByTypeHint => header.push_str("{\"kind\":\"json\",\"by_type_hint\":true"),
        UntypedForm::JsonUnwrapped { params_names } => {
            header.push_str("{\"kind\":\"json\",\"unwrapped\":true,\"params_names\":");
            write_list(header, params_names, |out, name| write_text(out, name));
        }
        UntypedForm::Csv { dtypes } => {
            header.push_str("{\"kind\":\"csv\"");
            if let Some(dtypes) = dtypes {
                header.push_str(",\"dtypes\":");
                write_list(header, dtypes, |out, (name, dtype)| {
                    write_list(out, [name, dtype], |out, text| write_text(out, text));
                });
            }
        }
        UntypedForm::Parquet => header.push_str("{\"kind\":\"parquet\""),
    }
    if request.is_only_read {
        header.push_str(",\"only_read\":true");
    }
    header.push_str(",\"bytes\":");
    write_int(header, request.body.len());
    writer.body.put(&Buffer::from(request.body.clone()));
    writer.finish(params)
}

#[derive(Debug, Default)]
struct Writer {
    header: String,
    body: Body,
}

impl Writer {
    fn finish(mut self, params: Params<'_>) -> Result<Request, PredictError> {
        if let Some(params) = params {
            self.header.push_str(",\"params\":[");
            for (place, (name, value)) in params.iter().enumerate() {
                self.header.push_str(if place == 0 { "[" } else { ",[" });
                write_text(&mut self.header, name);
                self.header.push(',');
                self.tree(value)?;
                self.header.push(']');
            }
            self.header.push(']');
        }
        self.header.push('}');
        let header_bytes = self.header.len();
        let padded = header_bytes.next_multiple_of(ALIGN_BYTES);
        let mut head = Vec::with_capacity(HEAD_BYTES + padded);
        head.extend_from_slice(&((padded + self.body.len()) as u64).to_le_bytes());
        head.extend_from_slice(&(header_bytes as u64).to_le_bytes());
        head.extend_from_slice(self.header.as_bytes());
        head.resize(HEAD_BYTES + padded, 0);
        Ok(Request { head, body: self.body })
    }

    fn frame(&mut self, frame: &Frame) -> Result<(), PredictError> {
        self.header.push_str("{\"kind\":\"frame\",\"rows\":");
        write_int(&mut self.header, frame.rows_count);
        self.header.push_str(",\"names\":");
        write_list(&mut self.header, &frame.columns, |out, column| match &column.name {
            Label::Text(name) => write_text(out, name),
            Label::Position(place) => write_int(out, place),
        });
        self.header.push_str(",\"blocks\":[");
        let blocks = blocks(&frame.columns);
        for (number, (dtype, places)) in blocks.iter().enumerate() {
            self.body.align();
            self.header.push_str(if number == 0 { "[" } else { ",[" });
            write_text(&mut self.header, name(*dtype));
            self.header.push(',');
            write_int(&mut self.header, self.body.len());
            self.header.push(',');
            write_list(&mut self.header, places, write_int);
            self.header.push(']');
            for place in places {
                if let Cells::Array(dtype, array) = &frame.columns[*place].cells {
                    write_numbers(&mut self.body, *dtype, array)?;
                }
            }
        }
        self.header.push_str("],\"others\":[");
        let others = (0..frame.columns.len()).filter(|place| !blocks.iter().any(|(_, places)| places.contains(place)));
        for (number, place) in others.enumerate() {
            self.header.push_str(if number == 0 { "[" } else { ",[" });
            write_int(&mut self.header, place);
            self.header.push(',');
            self.cells(&frame.columns[place].cells, None)?;
            self.header.push(']');
        }
        self.header.push(']');
        if let Some(index) = &frame.index {
            self.header.push_str(",\"index\":");
            self.cells(index, None)?;
        }
        Ok(())
    }

    fn tensor(&mut self, tensor: &Tensor) -> Result<(), PredictError> {
        self.cells(&tensor.elements, Some(&tensor.shape))
    }

    /// Describes cells in the header and puts them into the body.
    fn cells(&mut self, cells: &Cells, shape: Option<&[usize]>) -> Result<(), PredictError> {
        match cells {
            Cells::Objects(values) => {
                self.header.push_str("{\"dtype\":\"object\",\"cells\":");
                self.trees(values)?;
            }
            Cells::Array(dtype, array) => {
                self.body.align();
                let start = self.body.len();
                match dtype {
                    DType::Str => write_texts(self.body.own(), array)?,
                    DType::Bytes => write_bytes_list(self.body.own(), array)?,
                    _ => write_numbers(&mut self.body, *dtype, array)?,
                }
                self.header.push_str("{\"dtype\":");
                write_text(&mut self.header, name(*dtype));
                for (key, number) in [("at", start), ("length", array.len()), ("bytes", self.body.len() - start)] {
                    self.header.push(',');
                    write_text(&mut self.header, key);
                    self.header.push(':');
                    write_int(&mut self.header, number);
                }
            }
        }
        if let Some(shape) = shape {
            self.header.push_str(",\"shape\":");
            write_list(&mut self.header, shape, write_int);
        }
        self.header.push('}');
        Ok(())
    }

    fn tree(&mut self, value: &Value) -> Result<(), PredictError> {
        let is_plain = is_plain(value);
        self.header.push_str(if is_plain { "{\"plain\":" } else { "{\"tagged\":" });
        self.node(value, is_plain)?;
        self.header.push('}');
        Ok(())
    }

    fn trees(&mut self, values: &[Value]) -> Result<(), PredictError> {
        let is_plain = values.iter().all(is_plain);
        self.header.push_str(if is_plain { "{\"plain\":[" } else { "{\"tagged\":[\"l\"" });
        for (place, value) in values.iter().enumerate() {
            if place > 0 || !is_plain {
                self.header.push(',');
            }
            self.node(value, is_plain)?;
        }
        self.header.push_str("]}");
        Ok(())
    }

    fn node(&mut self, value: &Value, is_plain: bool) -> Result<(), PredictError> {
        let out = &mut self.header;
        match value {
            Value::None => out.push_str("null"),
            Value::Bool(true) => out.push_str("true"),
            Value::Bool(false) => out.push_str("false"),
            Value::Int(number) => write_int(out, number),
            Value::BigInt(digits) => out.push_str(digits),
            Value::Float(number) => write_float(out, *number),
            Value::Text(text) => write_text(out, text),
            Value::Bytes(bytes) => {
                out.push_str("[\"b\",\"");
                STANDARD.encode_string(bytes, out);
                out.push_str("\"]");
            }
            Value::Datetime(None) => out.push_str("[\"t\",null]"),
            Value::Datetime(Some(nanoseconds)) => {
                out.push_str("[\"t\",");
                write_int(out, nanoseconds);
                out.push(']');
            }
            Value::Date(days) => {
                out.push_str("[\"y\",");
                write_int(out, days);
                out.push(']');
            }
            Value::List(items) => {
                out.push_str(if is_plain { "[" } else { "[\"l\"" });
                for (place, item) in items.iter().enumerate() {
                    if place > 0 || !is_plain {
                        self.header.push(',');
                    }
                    self.node(item, is_plain)?;
                }
                self.header.push(']');
            }
            Value::Dict(pairs) => {
                out.push_str(if is_plain { "{" } else { "[\"d\"" });
                for (place, (key, item)) in pairs.iter().enumerate() {
                    if place > 0 || !is_plain {
                        self.header.push(',');
                    }
                    if !is_plain {
                        self.header.push('[');
                    }
                    write_text(&mut self.header, key);
                    self.header.push(if is_plain { ':' } else { ',' });
                    self.node(item, is_plain)?;
                    if !is_plain {
                        self.header.push(']');
                    }
                }
                self.header.push(if is_plain { '}' } else { ']' });
            }
            Value::Tensor(tensor) => {
                out.push_str("[\"a\",");
                self.tensor(tensor)?;
                self.header.push(']');
            }
            Value::Numpy(dtype, value) => {
                out.push_str("[\"n\",");
                write_text(out, name(*dtype));
                out.push(',');
                self.node(value, false)?;
                self.header.push(']');
            }
        }
        Ok(())
    }
}

/// Whether JSON has a form of its own for each part of the value.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::None | Value::Bool(_) | Value::Int(_) | Value::BigInt(_) | Value::Float(_) | Value::Text(_) => true,
        Value::Bytes(_) | Value::Datetime(_) | Value::Date(_) | Value::Tensor(_) | Value::Numpy(..) => false,
        Value::List(items) => items.iter().all(is_plain),
        Value::Dict(pairs) => pairs.iter().all(|(_, item)| is_plain(item)),
    }
}

/// The places of the columns of each type of numbers.
fn blocks(columns: &[Column]) -> Vec<(DType, Vec<usize>)> {
    let mut blocks: Vec<(DType, Vec<usize>)> = Vec::new();
    for (place, column) in columns.iter().enumerate() {
        let Cells::Array(dtype, _) = &column.cells else { continue };
        if matches!(dtype, DType::Str | DType::Bytes) {
            continue;
        }
        match blocks.iter_mut().find(|(known, _)| known == dtype) {
            Some((_, places)) => places.push(place),
            None => blocks.push((*dtype, vec![place])),
        }
    }
    blocks
}

fn wrong(dtype: DType, array: &ArrayRef) -> PredictError {
    PredictError::Refused(format!("a column of {} is an array of {}", name(dtype), array.data_type()))
}

fn write_numbers(out: &mut Body, dtype: DType, array: &ArrayRef) -> Result<(), PredictError> {
    let written = match dtype {
        DType::Bool => {
            array.as_boolean_opt().map(|array| out.own().extend(array.iter().map(|cell| u8::from(cell == Some(true)))))
        }
        DType::Int8 => write_whole::<Int8Type>(out, array),
        DType::Int16 => write_whole::<Int16Type>(out, array),
        DType::Int32 => write_whole::<Int32Type>(out, array),
        DType::Int64 => write_whole::<Int64Type>(out, array),
        DType::UInt8 => write_whole::<UInt8Type>(out, array),
        DType::UInt16 => write_whole::<UInt16Type>(out, array),
        DType::UInt32 => write_whole::<UInt32Type>(out, array),
        DType::UInt64 => write_whole::<UInt64Type>(out, array),
        DType::Float16 => write_or::<Float16Type, 2>(out, array, f16::NAN, f16::to_ne_bytes),
        DType::Float32 => write_or::<Float32Type, 4>(out, array, f32::NAN, f32::to_ne_bytes),
        DType::Float64 => write_or::<Float64Type, 8>(out, array, f64::NAN, f64::to_ne_bytes),
        DType::Datetime => write_or::<TimestampNanosecondType, 8>(out, array, NOT_A_TIME, i64::to_ne_bytes),
        DType::Str | DType::Bytes => None,
    };
    written.ok_or_else(|| wrong(dtype, array))
}

/// Numbers of which none is missing.
fn write_whole<T: ArrowPrimitiveType>(out: &mut Body, array: &ArrayRef) -> Option<()> {
    let array = array.as_primitive_opt::<T>().filter(|array| array.null_count() == 0)?;
    out.put(array.values().inner());
    Some(())
}

/// Numbers with `missing` in the place of those that are missing.
fn write_or<T: ArrowPrimitiveType, const BYTES: usize>(
    out: &mut Body,
    array: &ArrayRef,
    missing: T::Native,
    bytes: impl Fn(T::Native) -> [u8; BYTES],
) -> Option<()> {
    let given = array.as_primitive_opt::<T>()?;
    if given.null_count() == 0 {
        out.put(given.values().inner());
    } else {
        let out = out.own();
        given.iter().for_each(|number| out.extend_from_slice(&bytes(number.unwrap_or(missing))));
    }
    Some(())
}

/// A list of texts; a missing one is null.
fn write_texts(out: &mut Vec<u8>, array: &ArrayRef) -> Result<(), PredictError> {
    let texts = array.as_string_opt::<i64>().ok_or_else(|| wrong(DType::Str, array))?;
    let mut list = String::new();
    write_list(&mut list, texts, |out, text| match text {
        Some(text) => write_text(out, text),
        None => out.push_str("null"),
    });
    out.extend_from_slice(list.as_bytes());
    Ok(())
}

/// A list of bytes in base64.
fn write_bytes_list(out: &mut Vec<u8>, array: &ArrayRef) -> Result<(), PredictError> {
    let cells = array.as_binary_opt::<i64>().ok_or_else(|| wrong(DType::Bytes, array))?;
    let mut list = String::new();
    write_list(&mut list, cells, |out, bytes| match bytes {
        Some(bytes) => write_text(out, &STANDARD.encode(bytes)),
        None => out.push_str("null"),
    });
    out.extend_from_slice(list.as_bytes());
    Ok(())
}

/// A list, item by item.
fn write_list<T>(out: &mut String, items: impl IntoIterator<Item = T>, mut item: impl FnMut(&mut String, T)) {
    out.push('[');
    for (place, each) in items.into_iter().enumerate() {
        if place > 0 {
            out.push_str(", ");
        }
        item(out, each);
    }
    out.push(']');
}

fn write_int(out: &mut String, number: impl std::fmt::Display) {
    // A string takes everything.
    let _ = write!(out, "{number}");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, LargeStringArray};

    use super::*;

    /// Header and body of a request.
    fn parts(request: &Request) -> (String, Vec<u8>) {
        let mut whole = Vec::new();
        request.send(&mut whole).unwrap();
        let number = |at: usize| u64::from_le_bytes(whole[at..at + 8].try_into().unwrap()) as usize;
        assert_eq!(number(0) + HEAD_BYTES, whole.len());
        let header = String::from_utf8(whole[HEAD_BYTES..HEAD_BYTES + number(8)].to_vec()).unwrap();
        let body = HEAD_BYTES + number(8).next_multiple_of(ALIGN_BYTES);
        (header, whole[body..].to_vec())
    }

    fn column(name: &str, cells: Cells) -> Column {
        Column { name: Label::Text(name.into()), cells }
    }

    #[test]
    fn columns_of_one_type_are_a_block_with_nan_for_the_missing() {
        let first: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None]));
        let second: ArrayRef = Arc::new(Float64Array::from(vec![3.0, 4.0]));
        let columns = vec![
            column("a", Cells::Array(DType::Float64, first)),
            column("b", Cells::Array(DType::Float64, second.slice(0, 2))),
        ];
        let frame = Frame { columns, rows_count: 2, index: None };
        let (header, body) = parts(&request(&Input::Frame(frame), Wanted::Each(&[1, 1]), None).unwrap());
        assert_eq!(
            header,
            "{\"kind\":\"frame\",\"rows\":2,\"names\":[\"a\", \"b\"],\"blocks\":[[\"float64\",0,[0, 1]]],\"others\":[],\"rows_each\":[1, 1]}"
        );
        let numbers: Vec<f64> = body.chunks(8).map(|bytes| f64::from_ne_bytes(bytes.try_into().unwrap())).collect();
        assert_eq!((numbers[0], numbers[2], numbers[3]), (1.0, 3.0, 4.0));
        assert!(numbers[1].is_nan());
    }

    #[test]
    fn texts_and_objects_stand_beside_numbers() {
        let texts: ArrayRef = Arc::new(LargeStringArray::from(vec![Some("ä"), None]));
        let objects = vec![Value::Bytes([1, 2].as_slice().into()), Value::List(vec![Value::Float(f64::NAN)])];
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 1.5]));
        let columns = vec![
            column("s", Cells::Array(DType::Str, texts)),
            column("o", Cells::Objects(objects)),
            column("d", Cells::Array(DType::Float64, numbers)),
        ];
        let frame = Frame { columns, rows_count: 2, index: None };
        let params = [("p".to_owned(), Value::BigInt("1180591620717411303424".into()))];
        let (header, body) = parts(&request(&Input::Frame(frame), Wanted::Answer, Some(&params)).unwrap());
        assert!(header.contains("\"cells\":{\"tagged\":[\"l\",[\"b\",\"AQI=\"],[\"l\",NaN]]}"), "{header}");
        assert!(header.ends_with("\"params\":[[\"p\",{\"plain\":1180591620717411303424}]]}"), "{header}");
        assert!(header.contains("\"blocks\":[[\"float64\",0,[2]]]"), "{header}");
        assert!(header.contains("\"at\":16,\"length\":2,\"bytes\":16"), "{header}");
        assert!(body.ends_with(b"[\"\\u00e4\", null]"), "{body:?}");
    }

    #[test]
    fn an_array_of_another_type_is_refused() {
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
        let frame =
            Frame { columns: vec![column("d", Cells::Array(DType::Int64, numbers))], rows_count: 1, index: None };
        let refused = request(&Input::Frame(frame), Wanted::Rows, None).unwrap_err();
        assert_eq!(refused.to_string(), "a column of int64 is an array of Float64");
    }
}
