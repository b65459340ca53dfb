//! Stage 2 of tensors: rank, fixed dimensions and dtype are exactly those of the signature.
//!
//! A frame in place of an array: one column of scalars is reshaped to `(-1,)` or `(-1, 1)`, one of lists to the shape
//! that the signature has, and several columns are the columns of a matrix.

use super::astype::{astype, numpy_astype};
use super::error::{EnforceError, Fault, Refusal};
use super::numpy;
use super::scalar::{is_scalar, is_unsigned};
use super::series::{bounds, concatenated, is_float, item_bytes, taken};
use crate::data::{Cells, DType, Frame, Input, Label, Tensor, Value};
use crate::schema::{TensorSpec, TensorType, shape_text};

/// The arrays that the signature has, or why the input is none.
pub(crate) fn enforce_tensors(input: Input, specs: &[TensorSpec]) -> Result<Input, EnforceError> {
    match specs {
        [spec @ TensorSpec { name: None, .. }] => unnamed(input, spec).map(Input::Tensor),
        _ => named(input, specs).map(Input::Tensors),
    }
}

fn refused(fault: Fault, spec: &TensorSpec) -> EnforceError {
    let expected = format!("{} {}", spec.kind.name(), shape_text(&spec.shape));
    fault.error(Refusal::Enforcement, spec.name.as_ref(), expected)
}

fn what(input: &Input) -> &'static str {
    match input {
        Input::Frame(_) => "a frame",
        Input::Tensor(_) => "an array",
        Input::Tensors(_) => "arrays by name",
        Input::Value(value) => super::nested::type_name(value),
    }
}

fn unnamed(input: Input, spec: &TensorSpec) -> Result<Tensor, EnforceError> {
    let tensor = match input {
        Input::Tensor(tensor) => check(tensor, spec),
        Input::Frame(frame) => of_frame(frame, spec),
        other => Err(Fault::found("the signature has one array without a name", what(&other))),
    };
    tensor.map_err(|fault| refused(fault, spec))
}

fn named(input: Input, specs: &[TensorSpec]) -> Result<Vec<(String, Tensor)>, EnforceError> {
    let name_of = |spec: &TensorSpec| spec.name.as_ref().map(ToString::to_string).unwrap_or_default();
    let missing = |there: &dyn Fn(&str) -> bool| {
        let missing: Vec<String> = specs.iter().map(name_of).filter(|name| !there(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(EnforceError::enforcement(format!("the input lacks {}", missing.join(", "))))
    };
    let mut tensors: Vec<(String, Option<Tensor>)> = match input {
        Input::Tensor(tensor) if specs.len() == 1 => vec![(name_of(&specs[0]), Some(tensor))],
        Input::Tensors(tensors) => tensors.into_iter().map(|(name, tensor)| (name, Some(tensor))).collect(),
        Input::Value(Value::Dict(entries)) => {
            let tensor = |value| if let Value::Tensor(tensor) = value { Some(*tensor) } else { None };
            entries.into_iter().map(|(name, value)| (name.to_string(), tensor(value))).collect()
        }
        Input::Frame(frame) => {
            missing(&|name| frame.columns.iter().any(|column| column.name.to_string() == name))?;
            let of_spec = |spec: &TensorSpec| {
                let name = spec.name.clone().unwrap_or(Label::Position(0));
                let mut found = frame.columns.iter().filter(|column| column.name == name);
                let tensor = match (found.next(), found.next()) {
                    (Some(column), None) => of_column(&column.cells, frame.index.as_ref(), spec),
                    (Some(_), Some(_)) => Err(Fault::new("the column is there twice")),
                    (None, _) => Err(Fault::new("the column is missing")),
                };
                Ok((name.to_string(), tensor.map_err(|fault| refused(fault, spec))?))
            };
            return specs.iter().map(of_spec).collect();
        }
        other => {
            missing(&|_| false)?;
            return Err(EnforceError::enforcement("the signature has arrays by name").with("dict", what(&other)));
        }
    };
    missing(&|name| tensors.iter().any(|(other, _)| *other == name))?;
    let mut out = Vec::with_capacity(specs.len());
    for spec in specs {
        let name = name_of(spec);
        let tensor = tensors.iter_mut().find(|(other, _)| *other == name).and_then(|(_, tensor)| tensor.take());
        let tensor = tensor.ok_or_else(|| Fault::new("it is no array")).and_then(|tensor| check(tensor, spec));
        out.push((name, tensor.map_err(|fault| refused(fault, spec))?));
    }
    Ok(out)
}

fn type_of(cells: &Cells) -> TensorType {
    match cells {
        Cells::Array(dtype, _) => TensorType::Known(*dtype),
        Cells::Objects(_) => TensorType::Object,
    }
}

/// The array, if it is what the spec says.
fn check(tensor: Tensor, spec: &TensorSpec) -> Result<Tensor, Fault> {
    let kind = type_of(&tensor.elements);
    if spec.shape == [-1] && spec.kind == TensorType::Object {
        return Ok(tensor);
    }
    let is_ragged = kind == TensorType::Object && tensor.shape.len() == 1;
    if is_ragged && spec.shape.len() > 1 && spec.shape[1..].contains(&-1) {
        return Ok(tensor);
    }
    let fits = |(expected, length): (&i64, &usize)| *expected == -1 || usize::try_from(*expected) == Ok(*length);
    if spec.shape.len() != tensor.shape.len() || !spec.shape.iter().zip(&tensor.shape).all(fits) {
        return Err(Fault::found("the shape differs", shape_text(&tensor.shape)));
    }
    if kind != spec.kind {
        return Err(Fault::found("the dtype differs", kind.name()));
    }
    Ok(tensor)
}

fn of_frame(frame: Frame, spec: &TensorSpec) -> Result<Tensor, Fault> {
    if frame.rows_count == 0 || frame.columns.is_empty() {
        return Err(Fault::found(
            "the frame is empty",
            format!("{} columns, {} rows", frame.columns.len(), frame.rows_count),
        ));
    }
    if let [column] = &frame.columns[..] {
        return of_column(&column.cells, frame.index.as_ref(), spec);
    }
    let width = frame.columns.len();
    if spec.shape != [-1, i64::try_from(width).unwrap_or(i64::MAX)] {
        return Err(Fault::found("the columns of a frame are the columns of a matrix", format!("{width} columns")));
    }
    let dtype = common_dtype(&frame);
    if dtype.map_or(TensorType::Object, TensorType::Known) != spec.kind {
        return Err(Fault::found("the dtype differs", dtype.map_or("object", DType::name)));
    }
    let shape = vec![frame.rows_count, width];
    let Some(dtype) = dtype else {
        let columns: Vec<Vec<Value>> = frame.columns.iter().map(|column| column.cells.values()).collect();
        let cells = (0..frame.rows_count).flat_map(|row| columns.iter().map(move |column| column[row].clone()));
        return Ok(Tensor { shape, elements: Cells::Objects(cells.collect()) });
    };
    matrix(&frame, dtype).map(|elements| Tensor { shape, elements })
}

/// The cells of all columns, row by row.
fn matrix(frame: &Frame, dtype: DType) -> Result<Cells, Fault> {
    let mut arrays = Vec::with_capacity(frame.columns.len());
    for column in &frame.columns {
        let Cells::Array(_, array) = astype(column.cells.clone(), dtype)? else { continue };
        arrays.push(array);
    }
    let all = Cells::Array(dtype, concatenated(&arrays.iter().collect::<Vec<_>>())?);
    let (rows, width) = (frame.rows_count, arrays.len());
    taken(&all, (0..rows).flat_map(|row| (0..width).map(move |column| column * rows + row)))
}

/// The dtype of `DataFrame.to_numpy()`; none is object.
fn common_dtype(frame: &Frame) -> Option<DType> {
    let mut common = None;
    for column in &frame.columns {
        let Cells::Array(dtype, _) = column.cells else { return None };
        if matches!(dtype, DType::Str | DType::Bytes) {
            return None;
        }
        common = Some(match common {
            None => dtype,
            Some(other) => promoted(other, dtype)?,
        });
    }
    common
}

/// numpy's promotion of two dtypes of numbers.
fn promoted(one: DType, two: DType) -> Option<DType> {
    if one == two {
        return Some(one);
    }
    let is_number = |dtype: DType| is_float(dtype) || bounds(dtype).is_some();
    if !is_number(one) || !is_number(two) {
        return None;
    }
    let (small, large) = if item_bytes(one) <= item_bytes(two) { (one, two) } else { (two, one) };
    Some(match (is_float(small), is_float(large)) {
        (true, true) => large,
        (false, false) if is_unsigned(small) == is_unsigned(large) => large,
        // An unsigned one needs the next larger signed one.
        (false, false) if is_unsigned(small) && item_bytes(small) < item_bytes(large) => large,
        (false, false) => match item_bytes(large) {
            1 => DType::Int16,
            2 => DType::Int32,
            4 => DType::Int64,
            _ => DType::Float64,
        },
        _ => {
            let (float, int) = if is_float(one) { (one, two) } else { (two, one) };
            match (float, item_bytes(int)) {
                (DType::Float16, 1) => DType::Float16,
                (DType::Float16 | DType::Float32, 1 | 2) => DType::Float32,
                _ => DType::Float64,
            }
        }
    })
}

/// A column of a frame as an array.
fn of_column(cells: &Cells, index: Option<&Cells>, spec: &TensorSpec) -> Result<Tensor, Fault> {
    let [-1, rest @ ..] = &spec.shape[..] else {
        return Err(Fault::new("a column of a frame takes a shape whose first dimension is -1"));
    };
    if rest.contains(&-1) {
        return Err(Fault::new("a column of a frame takes a shape whose other dimensions are fixed"));
    }
    let rows_count = cells.len();
    // pandas looks for the label 0.
    let first = match index {
        None => (rows_count > 0).then_some(0),
        Some(labels) => (0..labels.len()).find(|row| labels.value(*row) == Value::Int(0)),
    };
    let first = first.map(|row| cells.value(row)).ok_or_else(|| Fault::new("no row has the label 0"))?;
    let kind = |cells: Cells| match &spec.kind {
        TensorType::Known(dtype) => astype(cells, *dtype),
        TensorType::Object => Ok(Cells::Objects(cells.values())),
        TensorType::Other(name) => Err(Fault::new(format!("no array of the dtype {name} is known here"))),
    };
    match first {
        value if is_scalar(&value) => {
            if !(rest.is_empty() || rest == [1]) {
                return Err(Fault::found("a column of scalars takes the shape (-1,) or (-1, 1)", "scalars"));
            }
            let shape = if rest.is_empty() { vec![rows_count] } else { vec![rows_count, 1] };
            check(Tensor { shape, elements: kind(cells.clone())? }, spec)
        }
        Value::List(items) if items.first().is_some_and(is_scalar) => {
            let (elements, shape) = stacked(cells.values(), rest)?;
            let elements = match &spec.kind {
                TensorType::Known(dtype) => numpy_astype(elements, *dtype)?,
                _ => kind(elements)?,
            };
            Ok(Tensor { shape, elements })
        }
        Value::Tensor(_) => {
            let (elements, shape) = stacked(cells.values(), rest)?;
            Ok(Tensor { shape, elements })
        }
        other => Err(Fault::found(
            "the cells of a column are scalars, or lists of scalars",
            super::nested::type_name(&other),
        )),
    }
}

/// Rows under one another, in the shape of the signature.
fn stacked(rows: Vec<Value>, rest: &[i64]) -> Result<(Cells, Vec<usize>), Fault> {
    let rows_count = rows.len();
    let row = |row| if is_scalar(&row) { Value::List(vec![row]) } else { row };
    let rows: Vec<Value> = rows.into_iter().map(row).collect();
    let stacked = match of_tensors(&rows)? {
        Some(cells) => cells,
        None => numpy::array(Value::List(rows))?.elements,
    };
    let row: Option<usize> =
        rest.iter().try_fold(1_usize, |all, length| all.checked_mul(usize::try_from(*length).ok()?));
    let shape: Vec<usize> = std::iter::once(rows_count)
        .chain(rest.iter().map(|length| usize::try_from(*length).unwrap_or_default()))
        .collect();
    if row.and_then(|row| row.checked_mul(rows_count)) != Some(stacked.len()) {
        let each = stacked.len() / rows_count.max(1);
        return Err(Fault::found("the lists do not have the shape", format!("{each} values a row")));
    }
    Ok((stacked, shape))
}

/// The elements of arrays of one dtype and length.
fn of_tensors(rows: &[Value]) -> Result<Option<Cells>, Fault> {
    let tensor = |value: &Value| match value {
        Value::Tensor(tensor) => match &tensor.elements {
            Cells::Array(dtype, array) => Some((*dtype, tensor.shape.clone(), array.clone())),
            Cells::Objects(_) => None,
        },
        _ => None,
    };
    let Some(tensors) = rows.iter().map(tensor).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let Some((dtype, shape, _)) = tensors.first().cloned() else { return Ok(None) };
    if tensors.iter().any(|(other, _, _)| *other != dtype) {
        return Ok(None);
    }
    if tensors.iter().any(|(_, other, _)| *other != shape) {
        return Err(Fault::new("the arrays in the cells have different lengths"));
    }
    let arrays: Vec<_> = tensors.iter().map(|(_, _, array)| array).collect();
    concatenated(&arrays).map(|array| Some(Cells::Array(dtype, array)))
}
