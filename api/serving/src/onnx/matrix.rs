//! Columns side by side: the rows of a frame as one array in C order, which is what a graph of one input is fed.
//!
//! ```text
//! a  b          a1 b1 a2 b2 a3 b3
//! 1  1    ->
//! 2  2
//! 3  3
//! ```
//!
//! Rows are written in blocks that fit into the processor's first cache, column after column, so every column is read
//! once from front to back and no line of the result leaves the cache half written.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray};
use half::f16;
use runlode_models::DType;

/// Rows of a block: with 20 columns of `f32` 20 KiB.
const BLOCK_ROWS: usize = 256;

/// Writes columns of numbers side by side as values of `dtype`, which is their common type or `Float32` for `Float64`.
///
/// Missing values are NaN where `dtype` is a float. `None`: a column is no array of numbers (or of booleans, or of
/// times, if all are), or an integer is missing.
pub(crate) fn side_by_side(columns: &[ArrayRef], rows_count: usize, dtype: DType) -> Option<ArrayRef> {
    Some(match dtype {
        DType::Bool => Arc::new(booleans(columns, rows_count)?),
        DType::Int8 => Arc::new(numbers::<Int8Type>(columns, rows_count)?),
        DType::Int16 => Arc::new(numbers::<Int16Type>(columns, rows_count)?),
        DType::Int32 => Arc::new(numbers::<Int32Type>(columns, rows_count)?),
        DType::Int64 => Arc::new(numbers::<Int64Type>(columns, rows_count)?),
        DType::UInt8 => Arc::new(numbers::<UInt8Type>(columns, rows_count)?),
        DType::UInt16 => Arc::new(numbers::<UInt16Type>(columns, rows_count)?),
        DType::UInt32 => Arc::new(numbers::<UInt32Type>(columns, rows_count)?),
        DType::UInt64 => Arc::new(numbers::<UInt64Type>(columns, rows_count)?),
        DType::Float16 => Arc::new(numbers::<Float16Type>(columns, rows_count)?),
        DType::Float32 => Arc::new(numbers::<Float32Type>(columns, rows_count)?),
        DType::Float64 => Arc::new(numbers::<Float64Type>(columns, rows_count)?),
        DType::Str | DType::Bytes | DType::Datetime => return None,
    })
}

fn booleans(columns: &[ArrayRef], rows_count: usize) -> Option<BooleanArray> {
    let columns: Option<Vec<&BooleanArray>> = columns.iter().map(|column| column.as_boolean_opt()).collect();
    let columns = columns?;
    if columns.iter().any(|column| column.null_count() > 0) {
        return None;
    }
    let cells = (0..rows_count).flat_map(|row| columns.iter().map(move |column| column.value(row)));
    Some(cells.collect::<Vec<bool>>().into())
}

fn numbers<T>(columns: &[ArrayRef], rows_count: usize) -> Option<PrimitiveArray<T>>
where
    T: ArrowPrimitiveType,
    T::Native: Target,
{
    let width = columns.len();
    let columns: Option<Vec<Column<'_>>> = columns.iter().map(Column::of).collect();
    let columns = columns?;
    if T::Native::NAN.is_none() && columns.iter().any(|column| column.array.null_count() > 0) {
        return None;
    }
    let mut out = Vec::with_capacity(width * rows_count);
    for start in (0..rows_count).step_by(BLOCK_ROWS) {
        let rows = start..rows_count.min(start + BLOCK_ROWS);
        // Zeroed block by block: each is still in the cache when its columns are written.
        out.resize(rows.end * width, T::Native::default());
        let block = &mut out[rows.start * width..];
        for (position, column) in columns.iter().enumerate() {
            column.write(rows.clone(), &mut block[position..], width);
        }
    }
    if let Some(nan) = T::Native::NAN {
        for (position, column) in columns.iter().enumerate() {
            column.array.nulls().into_iter().filter(|nulls| nulls.null_count() > 0).for_each(|nulls| {
                let missing = (0..rows_count).filter(|row| nulls.is_null(*row));
                missing.for_each(|row| out[row * width + position] = nan);
            });
        }
    }
    Some(PrimitiveArray::new(out.into(), None))
}

/// A column of numbers, as a slice.
struct Column<'a> {
    array: &'a ArrayRef,
    values: Values<'a>,
}

enum Values<'a> {
    Int8(&'a [i8]),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    UInt8(&'a [u8]),
    UInt16(&'a [u16]),
    UInt32(&'a [u32]),
    UInt64(&'a [u64]),
    Float16(&'a [f16]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
}

impl<'a> Column<'a> {
    fn of(array: &'a ArrayRef) -> Option<Self> {
        use arrow_schema::DataType as Type;
        let values = match array.data_type() {
            Type::Int8 => Values::Int8(array.as_primitive::<Int8Type>().values()),
            Type::Int16 => Values::Int16(array.as_primitive::<Int16Type>().values()),
            Type::Int32 => Values::Int32(array.as_primitive::<Int32Type>().values()),
            Type::Int64 => Values::Int64(array.as_primitive::<Int64Type>().values()),
            Type::UInt8 => Values::UInt8(array.as_primitive::<UInt8Type>().values()),
            Type::UInt16 => Values::UInt16(array.as_primitive::<UInt16Type>().values()),
            Type::UInt32 => Values::UInt32(array.as_primitive::<UInt32Type>().values()),
            Type::UInt64 => Values::UInt64(array.as_primitive::<UInt64Type>().values()),
            Type::Float16 => Values::Float16(array.as_primitive::<Float16Type>().values()),
            Type::Float32 => Values::Float32(array.as_primitive::<Float32Type>().values()),
            Type::Float64 => Values::Float64(array.as_primitive::<Float64Type>().values()),
            Type::Timestamp(arrow_schema::TimeUnit::Nanosecond, None) => {
                Values::Int64(array.as_primitive::<TimestampNanosecondType>().values())
            }
            _ => return None,
        };
        Some(Self { array, values })
    }

    /// Writes rows into every `width`-th place of `out`.
    fn write<T: Target>(&self, rows: Range<usize>, out: &mut [T], width: usize) {
        match self.values {
            Values::Int8(values) => spread(&values[rows], out, width, |value| T::of_signed(i64::from(value))),
            Values::Int16(values) => spread(&values[rows], out, width, |value| T::of_signed(i64::from(value))),
            Values::Int32(values) => spread(&values[rows], out, width, |value| T::of_signed(i64::from(value))),
            Values::Int64(values) => spread(&values[rows], out, width, T::of_signed),
            Values::UInt8(values) => spread(&values[rows], out, width, |value| T::of_unsigned(u64::from(value))),
            Values::UInt16(values) => spread(&values[rows], out, width, |value| T::of_unsigned(u64::from(value))),
            Values::UInt32(values) => spread(&values[rows], out, width, |value| T::of_unsigned(u64::from(value))),
            Values::UInt64(values) => spread(&values[rows], out, width, T::of_unsigned),
            Values::Float16(values) => spread(&values[rows], out, width, |value| T::of_float(f64::from(value))),
            Values::Float32(values) => spread(&values[rows], out, width, |value| T::of_float(f64::from(value))),
            Values::Float64(values) => spread(&values[rows], out, width, T::of_float),
        }
    }
}

fn spread<S: Copy, T>(values: &[S], out: &mut [T], width: usize, convert: impl Fn(S) -> T) {
    for (place, value) in out.iter_mut().step_by(width).zip(values) {
        *place = convert(*value);
    }
}

/// A number that others are converted to: through `f64` to a float, as numpy's common type has it.
trait Target: Copy + Default {
    /// What a missing value becomes.
    const NAN: Option<Self>;
    fn of_signed(value: i64) -> Self;
    fn of_unsigned(value: u64) -> Self;
    fn of_float(value: f64) -> Self;
}

macro_rules! integer {
    ($($native:ty),*) => {$(
        impl Target for $native {
            const NAN: Option<Self> = None;
            fn of_signed(value: i64) -> Self {
                value as Self
            }
            fn of_unsigned(value: u64) -> Self {
                value as Self
            }
            fn of_float(value: f64) -> Self {
                value as Self
            }
        }
    )*};
}

integer!(i8, i16, i32, i64, u8, u16, u32, u64);

impl Target for f16 {
    const NAN: Option<Self> = Some(Self::NAN);
    fn of_signed(value: i64) -> Self {
        Self::from_f64(value as f64)
    }
    fn of_unsigned(value: u64) -> Self {
        Self::from_f64(value as f64)
    }
    fn of_float(value: f64) -> Self {
        Self::from_f64(value)
    }
}

impl Target for f32 {
    const NAN: Option<Self> = Some(Self::NAN);
    fn of_signed(value: i64) -> Self {
        value as f64 as Self
    }
    fn of_unsigned(value: u64) -> Self {
        value as f64 as Self
    }
    fn of_float(value: f64) -> Self {
        value as Self
    }
}

impl Target for f64 {
    const NAN: Option<Self> = Some(Self::NAN);
    fn of_signed(value: i64) -> Self {
        value as Self
    }
    fn of_unsigned(value: u64) -> Self {
        value as Self
    }
    fn of_float(value: f64) -> Self {
        value
    }
}
