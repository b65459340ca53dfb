//! Enforcement of signatures (`runlode-models`): a million rows of 20 columns from Arrow, and records of JSON that are
//! read already, beside bare loops over the same cells.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{ArrayRef, PrimitiveArray};
use runlode_models::enforce::{enforce, json_records};
use runlode_models::signature::{ColumnSpec, Scalar, Schema, Signature};
use runlode_models::{Cells, Column, DType, Frame, Input, Value};

use crate::Result;
use crate::bars::Context;
use crate::report::Measured;

const ROWS: usize = 1_000_000;
const COLUMNS: usize = 20;
const RECORDS: usize = 50_000;
/// The best of so many.
const TIMES: usize = 5;

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    arrow(context)?;
    json(context)
}

fn signature() -> Signature {
    // Half of the columns are widened, half are what the signature says.
    let kinds = [Scalar::Long, Scalar::Double, Scalar::Long, Scalar::Double];
    let column = |at: usize| ColumnSpec::new(&format!("c{at}"), kinds[at % kinds.len()]);
    Signature { inputs: Some(Schema::Columns((0..COLUMNS).map(column).collect())), ..Signature::default() }
}

fn column<T: ArrowPrimitiveType>(dtype: DType, value: impl Fn(usize) -> T::Native) -> Cells {
    let values: Vec<T::Native> = (0..ROWS).map(value).collect();
    Cells::Array(dtype, Arc::new(PrimitiveArray::<T>::new(values.into(), None)) as ArrayRef)
}

fn frame() -> Frame {
    let cells = |at: usize| match at % 4 {
        0 => column::<Int32Type>(DType::Int32, |row| row as i32),
        1 => column::<Float32Type>(DType::Float32, |row| row as f32 * 0.5),
        2 => column::<Int64Type>(DType::Int64, |row| row as i64),
        _ => column::<Float64Type>(DType::Float64, |row| row as f64 * 0.25),
    };
    Frame::new((0..COLUMNS).map(|at| Column::new(&format!("c{at}"), cells(at))).collect())
}

/// Cells a second of the best of some runs, in millions.
fn best(cells: usize, mut run: impl FnMut() -> Result) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..TIMES {
        let begin = Instant::now();
        run()?;
        best = best.min(begin.elapsed().as_secs_f64());
    }
    Ok(cells as f64 / best / 1e6)
}

fn arrow(context: &Context<'_>) -> Result {
    context.progress("enforcement of 20 M cells from Arrow");
    let (signature, frame) = (signature(), frame());
    let ours = best(ROWS * COLUMNS, || {
        black_box(enforce(Input::Frame(frame.clone()), &signature)?);
        Ok(())
    })?;
    // The floor casts and copies the same cells in plain loops.
    let (ints, floats): (Vec<i32>, Vec<f32>) = ((0..ROWS as i32).collect(), (0..ROWS).map(|row| row as f32).collect());
    let floor = best(ROWS * COLUMNS, || {
        for _ in 0..COLUMNS / 4 {
            black_box(ints.iter().map(|int| i64::from(*int)).collect::<Vec<i64>>());
            black_box(floats.iter().map(|float| f64::from(*float)).collect::<Vec<f64>>());
        }
        Ok(())
    })?;
    context.tell(Measured::new("enforce.arrow", ours).note(format!("bare casts {floor:.0} Mcells/s")));
    Ok(())
}

fn json(context: &Context<'_>) -> Result {
    context.progress("enforcement of 1 M cells from JSON");
    let names: Vec<Arc<str>> = (0..COLUMNS).map(|at| format!("c{at}").into()).collect();
    let cell = |at: usize, row: usize| {
        if at.is_multiple_of(2) { Value::Int(row as i64) } else { Value::Float(row as f64 * 0.5) }
    };
    let record =
        |row| Value::Dict(names.iter().enumerate().map(|(at, name)| (Arc::clone(name), cell(at, row))).collect());
    let records = Value::List((0..RECORDS).map(record).collect());
    let signature = signature();
    let mut copies: Vec<Value> = vec![records.clone(); TIMES];
    let ours = best(RECORDS * COLUMNS, || {
        let records = copies.pop().unwrap_or(Value::None);
        let input = json_records(records, signature.inputs.as_ref())?;
        black_box(enforce(input, &signature)?);
        Ok(())
    })?;
    // The floor looks at each cell once and writes it to a column.
    let floor = best(RECORDS * COLUMNS, || {
        let mut columns: Vec<_> = (0..COLUMNS).map(|_| Vec::with_capacity(RECORDS)).collect();
        let Value::List(records) = &records else { return Ok(()) };
        for record in records {
            let Value::Dict(entries) = record else { continue };
            for (column, (_, value)) in columns.iter_mut().zip(entries) {
                column.push(match value {
                    Value::Int(number) => *number as f64,
                    Value::Float(number) => *number,
                    _ => f64::NAN,
                });
            }
        }
        black_box(columns);
        Ok(())
    })?;
    context.tell(Measured::new("enforce.json", ours).note(format!("bare loop {floor:.0} Mcells/s")));
    Ok(())
}
