//! Puts the rows of several inputs together, and cuts an answer into the rows of each.

use arrow_array::ArrayRef;
use arrow_select::concat;
use runlode_models::{Cells, Column, Frame, Input, Tensor};

/// The rows of an input that has rows.
pub(crate) fn rows(input: &Input) -> Option<usize> {
    match input {
        Input::Frame(frame) => frame.index.is_none().then_some(frame.rows_count),
        Input::Tensor(tensor) => tensor.shape.first().copied(),
        Input::Tensors(tensors) => {
            let first = *tensors.first()?.1.shape.first()?;
            tensors.iter().all(|(_, tensor)| tensor.shape.first() == Some(&first)).then_some(first)
        }
        Input::Value(_) => None,
    }
}

/// Whether the rows of both can stand in one input.
pub(crate) fn is_alike(one: &Input, other: &Input) -> bool {
    match (one, other) {
        (Input::Frame(one), Input::Frame(other)) => {
            let alike =
                |(one, other): (&Column, &Column)| one.name == other.name && same_type(&one.cells, &other.cells);
            one.columns.len() == other.columns.len() && one.columns.iter().zip(&other.columns).all(alike)
        }
        (Input::Tensor(one), Input::Tensor(other)) => same_rows(one, other),
        (Input::Tensors(one), Input::Tensors(other)) => {
            let alike =
                |(one, other): (&(String, Tensor), &(String, Tensor))| one.0 == other.0 && same_rows(&one.1, &other.1);
            one.len() == other.len() && one.iter().zip(other).all(alike)
        }
        _ => false,
    }
}

fn same_type(one: &Cells, other: &Cells) -> bool {
    match (one, other) {
        (Cells::Array(one, _), Cells::Array(other, _)) => one == other,
        (Cells::Objects(_), Cells::Objects(_)) => true,
        _ => false,
    }
}

fn same_rows(one: &Tensor, other: &Tensor) -> bool {
    same_type(&one.elements, &other.elements) && one.shape.get(1..) == other.shape.get(1..)
}

/// One input with the rows of all, in order; none if they are not alike.
pub(crate) fn concat(inputs: &[&Input]) -> Option<Input> {
    let first = *inputs.first()?;
    if !inputs.iter().all(|input| is_alike(first, input)) {
        return None;
    }
    match first {
        Input::Frame(frame) => {
            let frames: Vec<&Frame> = inputs
                .iter()
                .filter_map(|input| match input {
                    Input::Frame(frame) => Some(frame),
                    _ => None,
                })
                .collect();
            let column = |(place, column): (usize, &Column)| {
                let cells: Vec<&Cells> = frames.iter().map(|frame| &frame.columns[place].cells).collect();
                Some(Column { name: column.name.clone(), cells: concat_cells(&cells)? })
            };
            let columns = frame.columns.iter().enumerate().map(column).collect::<Option<_>>()?;
            let rows_count = frames.iter().map(|frame| frame.rows_count).sum();
            Some(Input::Frame(Frame { columns, rows_count, index: None }))
        }
        Input::Tensor(_) => {
            let tensors: Vec<&Tensor> = inputs
                .iter()
                .filter_map(|input| match input {
                    Input::Tensor(tensor) => Some(tensor),
                    _ => None,
                })
                .collect();
            concat_tensors(&tensors).map(Input::Tensor)
        }
        Input::Tensors(named) => {
            let one = |(place, (name, _)): (usize, &(String, Tensor))| {
                let tensors: Vec<&Tensor> = inputs
                    .iter()
                    .filter_map(|input| match input {
                        Input::Tensors(tensors) => tensors.get(place).map(|(_, tensor)| tensor),
                        _ => None,
                    })
                    .collect();
                Some((name.clone(), concat_tensors(&tensors)?))
            };
            named.iter().enumerate().map(one).collect::<Option<_>>().map(Input::Tensors)
        }
        Input::Value(_) => None,
    }
}

fn concat_tensors(tensors: &[&Tensor]) -> Option<Tensor> {
    let mut shape = tensors.first()?.shape.clone();
    *shape.first_mut()? = tensors.iter().filter_map(|tensor| tensor.shape.first()).sum();
    let elements: Vec<&Cells> = tensors.iter().map(|tensor| &tensor.elements).collect();
    Some(Tensor { shape, elements: concat_cells(&elements)? })
}

fn concat_cells(cells: &[&Cells]) -> Option<Cells> {
    match cells.first()? {
        Cells::Objects(_) => {
            let values = cells.iter().filter_map(|cells| match cells {
                Cells::Objects(values) => Some(values),
                Cells::Array(..) => None,
            });
            Some(Cells::Objects(values.flatten().cloned().collect()))
        }
        Cells::Array(dtype, _) => {
            let arrays: Vec<&dyn arrow_array::Array> = cells
                .iter()
                .filter_map(|cells| match cells {
                    Cells::Array(_, array) => Some(&**array),
                    Cells::Objects(_) => None,
                })
                .collect();
            // Arrays of one dtype have one type of Arrow; if not, each request is predicted alone.
            Some(Cells::Array(*dtype, concat::concat(&arrays).ok()?))
        }
    }
}

/// The rows of each request out of an answer; none if the answer has other rows than were asked for.
pub(crate) fn split(data: &Input, rows_each: &[usize]) -> Option<Vec<Input>> {
    if rows(data)? != rows_each.iter().sum::<usize>() {
        return None;
    }
    let mut start = 0;
    let cut = |count: &usize| {
        let part = slice(data, start, *count);
        start += count;
        part
    };
    rows_each.iter().map(cut).collect()
}

fn slice(data: &Input, start: usize, count: usize) -> Option<Input> {
    match data {
        Input::Frame(frame) => {
            let column =
                |column: &Column| Column { name: column.name.clone(), cells: slice_cells(&column.cells, start, count) };
            let columns = frame.columns.iter().map(column).collect();
            Some(Input::Frame(Frame { columns, rows_count: count, index: None }))
        }
        Input::Tensor(tensor) => Some(Input::Tensor(slice_tensor(tensor, start, count))),
        Input::Tensors(tensors) => {
            let cut = |(name, tensor): &(String, Tensor)| (name.clone(), slice_tensor(tensor, start, count));
            Some(Input::Tensors(tensors.iter().map(cut).collect()))
        }
        Input::Value(_) => None,
    }
}

fn slice_tensor(tensor: &Tensor, start: usize, count: usize) -> Tensor {
    let row: usize = tensor.shape.iter().skip(1).product();
    let mut shape = tensor.shape.clone();
    if let Some(first) = shape.first_mut() {
        *first = count;
    }
    Tensor { shape, elements: slice_cells(&tensor.elements, start * row, count * row) }
}

fn slice_cells(cells: &Cells, start: usize, count: usize) -> Cells {
    match cells {
        Cells::Objects(values) => Cells::Objects(values[start..start + count].to_vec()),
        Cells::Array(dtype, array) => {
            let array: ArrayRef = array.slice(start, count);
            Cells::Array(*dtype, array)
        }
    }
}
