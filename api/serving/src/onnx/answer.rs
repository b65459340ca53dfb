//! What a graph answers, in the form that MLflow gives it.
//!
//! Arrays in, arrays out: a dictionary of the outputs by name. Columns in, columns out: each output becomes one column,
//! all its elements in a row. So a graph that answers `(rows,)` and `(rows, 10)` to columns has no answer in MLflow, and
//! none here ([`output`]); [`by_rows`] keeps such a matrix as it is, for callers that are free to do so.

use arrow_select::concat::concat;
use runlode_models::{Cells, Column, Frame, Input, Label, Tensor, Value};

use crate::engine::{Output, PredictError};
use crate::onnx::port::Port;

/// One output of a graph.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// A tensor.
    Array(Tensor),
    /// A sequence of maps or of tensors.
    Sequence(Vec<Value>),
}

/// The answer to `frame_rows_count` rows of columns, or to arrays.
///
/// # Errors
/// `Raised` where columns would have different lengths, as pandas has it.
pub(crate) fn output(
    ports: &[Port],
    answers: Vec<Answer>,
    frame_rows_count: Option<usize>,
) -> Result<Output, PredictError> {
    if frame_rows_count.is_none() {
        return Ok(by_rows(ports, answers));
    }
    let mut columns = Vec::with_capacity(ports.len());
    for (port, answer) in ports.iter().zip(answers) {
        columns.push(Column { name: Label::Text(port.name.as_str().into()), cells: flat(answer)? });
    }
    let rows_count = columns.first().map_or(0, |column| length(&column.cells));
    if columns.iter().any(|column| length(&column.cells) != rows_count) {
        let lengths =
            columns.iter().zip(ports).map(|(column, port)| format!("'{}' {}", port.name, length(&column.cells)));
        return Err(PredictError::Raised {
            status: 400,
            code: "BAD_REQUEST".into(),
            message: format!(
                "All arrays must be of the same length: the model's outputs have {} elements, so they are no columns. A \
                 signature of tensors lets the model answer arrays",
                lengths.collect::<Vec<_>>().join(", ")
            ),
            stack_trace: String::new(),
        });
    }
    Ok(Output::Data(Input::Frame(Frame { columns, rows_count, index: None })))
}

/// The outputs by name, each with its own shape.
pub(crate) fn by_rows(ports: &[Port], answers: Vec<Answer>) -> Output {
    let names = ports.iter().map(|port| port.name.as_str());
    if answers.iter().all(|answer| matches!(answer, Answer::Array(_))) {
        let arrays = names.zip(answers).filter_map(|(name, answer)| match answer {
            Answer::Array(tensor) => Some((name.to_owned(), tensor)),
            Answer::Sequence(_) => None,
        });
        return Output::Data(Input::Tensors(arrays.collect()));
    }
    let values = names.zip(answers).map(|(name, answer)| {
        let value = match answer {
            Answer::Array(tensor) => Value::Tensor(Box::new(tensor)),
            Answer::Sequence(values) => Value::List(values),
        };
        (name.into(), value)
    });
    Output::Data(Input::Value(Value::Dict(values.collect())))
}

fn length(cells: &Cells) -> usize {
    match cells {
        Cells::Array(_, values) => values.len(),
        Cells::Objects(values) => values.len(),
    }
}

/// All elements in a row. A sequence of tensors is one array first, so they need one shape.
fn flat(answer: Answer) -> Result<Cells, PredictError> {
    let values = match answer {
        Answer::Array(tensor) => return Ok(tensor.elements),
        Answer::Sequence(values) => values,
    };
    let tensors: Option<Vec<&Tensor>> = values
        .iter()
        .map(|value| match value {
            Value::Tensor(tensor) => Some(&**tensor),
            _ => None,
        })
        .collect();
    let Some(tensors) = tensors.filter(|tensors| !tensors.is_empty()) else { return Ok(Cells::Objects(values)) };
    let no_column = |why: &str| PredictError::Raised {
        status: 400,
        code: "BAD_REQUEST".into(),
        message: format!("a sequence of tensors {why}, so it is no column"),
        stack_trace: String::new(),
    };
    if tensors.windows(2).any(|pair| pair[0].shape != pair[1].shape) {
        return Err(no_column("has tensors of different shapes"));
    }
    let mut parts = Vec::with_capacity(tensors.len());
    let mut dtype = None;
    for tensor in &tensors {
        let Cells::Array(of, part) = &tensor.elements else { return Err(no_column("holds objects")) };
        dtype = Some(*of);
        parts.push(&**part);
    }
    let joined = concat(&parts).map_err(|error| no_column(&format!("cannot be joined ({error})")))?;
    dtype.map(|dtype| Cells::Array(dtype, joined)).ok_or_else(|| no_column("is empty"))
}
