//! Arrays out of nested lists: `numpy.array(value)` and `numpy.array(value, dtype)`.
//!
//! Lists of one length at each depth make a shape; anything else is refused, but for dtype object. Without a dtype the
//! elements decide: bool < int64 (uint64 beyond 63 bits) < float64 < str; a missing value, a dict or a longer integer
//! makes dtype object.

use std::borrow::Cow;

use arrow_array::types::{Int64Type, UInt64Type};

use super::error::Fault;
use super::scalar::{self, Why};
use super::series::{self, bools, bounds, bytes, datetimes, is_float, primitive, texts};
use crate::data::{Cells, DType, Tensor, Value};
use crate::schema::TensorType;

/// Most dimensions of an array in numpy.
const DIMENSIONS_MAX: usize = 64;

/// The shape of nested lists; a list that does not fit its neighbours is an error.
fn shape_of(value: &Value) -> Result<Vec<usize>, Fault> {
    let mut shape = Vec::new();
    let mut first = Cow::Borrowed(value);
    loop {
        let next = match &*first {
            Value::List(items) if shape.len() < DIMENSIONS_MAX => {
                shape.push(items.len());
                items.first().cloned()
            }
            Value::List(_) => return Err(Fault::new("lists inside one another deeper than numpy has dimensions")),
            Value::Tensor(tensor) => {
                shape.extend(&tensor.shape);
                None
            }
            _ => None,
        };
        match next {
            Some(next) => first = Cow::Owned(next),
            None => return Ok(shape),
        }
    }
}

/// Elements in order, after a check of the shape.
fn flatten(value: Value, shape: &[usize], out: &mut Vec<Value>) -> Result<(), Fault> {
    let ragged = || Fault::new("lists of different lengths make no array");
    match (value, shape) {
        (Value::List(items), [length, rest @ ..]) if items.len() == *length => {
            if rest.is_empty() && !items.iter().any(|item| matches!(item, Value::List(_) | Value::Tensor(_))) {
                out.extend(items);
                return Ok(());
            }
            items.into_iter().try_for_each(|item| flatten(item, rest, out))
        }
        (Value::Tensor(tensor), _) if tensor.shape == shape => {
            out.extend(tensor.elements.values());
            Ok(())
        }
        (Value::List(_) | Value::Tensor(_), _) => Err(ragged()),
        (_, [_, ..]) => Err(ragged()),
        (value, []) => {
            out.push(value);
            Ok(())
        }
    }
}

fn elements(value: Value) -> Result<(Vec<usize>, Vec<Value>), Fault> {
    let shape = shape_of(&value)?;
    let mut out = Vec::with_capacity(shape.iter().product::<usize>().min(1 << 20));
    flatten(value, &shape, &mut out)?;
    Ok((shape, out))
}

/// `numpy.array(value)`
pub(crate) fn array(value: Value) -> Result<Tensor, Fault> {
    let (shape, elements) = elements(value)?;
    Ok(Tensor { shape, elements: infer(elements) })
}

/// The dtype that numpy finds for elements, and the elements in it.
fn infer(elements: Vec<Value>) -> Cells {
    let (mut bools_count, mut ints, mut bigs, mut floats, mut texts_count) = (0, 0, 0, 0, 0);
    let mut dates = 0;
    for element in &elements {
        match element {
            Value::Bool(_) => bools_count += 1,
            Value::Int(_) => ints += 1,
            Value::BigInt(digits) if series::big(digits).is_some() => bigs += 1,
            Value::Float(_) => floats += 1,
            Value::Text(_) => texts_count += 1,
            Value::Datetime(_) => dates += 1,
            _ => return Cells::Objects(elements),
        }
    }
    let count = elements.len();
    if dates == count && count > 0 {
        let nanos = |element: &Value| if let Value::Datetime(nanos) = element { *nanos } else { None };
        return datetimes(elements.iter().map(nanos).collect());
    }
    if dates > 0 {
        return Cells::Objects(elements);
    }
    if texts_count > 0 {
        return texts(elements.iter().map(|element| Some(scalar::to_text(element))));
    }
    if floats > 0 || count == 0 || ints > 0 && bigs > 0 {
        return series::of_floats(
            DType::Float64,
            elements.iter().map(|x| scalar::to_float(x).unwrap_or(f64::NAN)).collect(),
        );
    }
    if bools_count == count {
        return bools(elements.iter().map(scalar::to_bool).collect());
    }
    let dtype = if bigs > 0 { DType::UInt64 } else { DType::Int64 };
    let range = bounds(dtype).unwrap_or((0, 0));
    let ints: Vec<i64> = elements.iter().map(|element| scalar::to_int(element, range).unwrap_or_default()).collect();
    if bigs > 0 {
        return primitive::<UInt64Type>(dtype, ints.into_iter().map(|int| int as u64).collect());
    }
    primitive::<Int64Type>(dtype, ints)
}

/// `numpy.array(value, dtype)`
pub(crate) fn array_as(value: Value, kind: &TensorType) -> Result<Tensor, Fault> {
    match kind {
        TensorType::Known(dtype) => {
            let (shape, elements) = elements(value)?;
            Ok(Tensor { shape, elements: cast(elements, *dtype)? })
        }
        TensorType::Object => Ok(objects(value)),
        TensorType::Other(name) => Err(Fault::new(format!("no array of the dtype {name} can be made of JSON"))),
    }
}

/// Elements of Python in a dtype, as numpy converts them.
pub(crate) fn cast(elements: Vec<Value>, dtype: DType) -> Result<Cells, Fault> {
    fn all<T>(elements: &[Value], to: impl Fn(&Value) -> Result<T, Why>) -> Result<Vec<T>, Fault> {
        let mut out = Vec::with_capacity(elements.len());
        for (row, element) in elements.iter().enumerate() {
            out.push(to(element).map_err(|why| Fault::at(row, element, why))?);
        }
        Ok(out)
    }
    Ok(match dtype {
        DType::Bool => bools(elements.iter().map(scalar::to_bool).collect()),
        DType::Str => texts(elements.iter().map(|element| Some(scalar::to_text(element)))),
        DType::Bytes => bytes(all(&elements, scalar::to_bytes)?.into_iter().map(Some)),
        DType::Datetime => datetimes(all(&elements, scalar::to_datetime)?),
        dtype if is_float(dtype) => series::of_floats(dtype, all(&elements, scalar::to_float)?),
        dtype => {
            let range = bounds(dtype).unwrap_or((0, 0));
            series::of_integers(dtype, all(&elements, |element| scalar::to_int(element, range))?)
        }
    })
}

/// `numpy.array(value, object)`: as many dimensions as the lists have in common, values below them.
fn objects(value: Value) -> Tensor {
    let mut shape = Vec::new();
    let mut layer = vec![value];
    while !layer.is_empty() && shape.len() < DIMENSIONS_MAX {
        let length = match &layer[0] {
            Value::List(items) => items.len(),
            _ => break,
        };
        if !layer.iter().all(|item| matches!(item, Value::List(items) if items.len() == length)) {
            break;
        }
        shape.push(length);
        layer =
            layer.into_iter().flat_map(|item| if let Value::List(items) = item { items } else { Vec::new() }).collect();
    }
    Tensor { shape, elements: Cells::Objects(layer) }
}
