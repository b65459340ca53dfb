//! The type that columns of different types have in common, by the rules of pandas and numpy.

use runlode_models::DType;

/// The dtype of `DataFrame.values` for columns of these types; `None` is `object`.
///
/// Numbers follow `numpy.result_type`. A boolean beside a number is an object, as pandas has it, and so is a text: even
/// a frame of texts only.
pub(crate) fn common(dtypes: impl IntoIterator<Item = DType>) -> Option<DType> {
    let mut dtypes: Vec<DType> = dtypes.into_iter().collect();
    // With the floats first, an integer widens a float only if it has to: numpy takes int8, uint8, float16 as float16.
    dtypes.sort_by_key(|dtype| !matches!(dtype, DType::Float16 | DType::Float32 | DType::Float64));
    let (first, others) = dtypes.split_first()?;
    let first = if matches!(first, DType::Str | DType::Bytes) { None } else { Some(*first) };
    others.iter().fold(first, |common, dtype| pair(common?, *dtype))
}

fn pair(a: DType, b: DType) -> Option<DType> {
    if a == b {
        return Some(a);
    }
    let (a, b) = (Number::of(a)?, Number::of(b)?);
    let bits_max = a.bits.max(b.bits);
    Some(match (a.form, b.form) {
        (Form::Float, Form::Float) => float(bits_max),
        (Form::Float, _) => float(a.bits.max(b.float_bits())),
        (_, Form::Float) => float(b.bits.max(a.float_bits())),
        (Form::Signed, Form::Signed) => signed(bits_max),
        (Form::Unsigned, Form::Unsigned) => unsigned(bits_max),
        (Form::Signed, Form::Unsigned) => mixed(a.bits, b.bits),
        (Form::Unsigned, Form::Signed) => mixed(b.bits, a.bits),
    })
}

#[derive(Clone, Copy)]
enum Form {
    Signed,
    Unsigned,
    Float,
}

#[derive(Clone, Copy)]
struct Number {
    form: Form,
    bits: u8,
}

impl Number {
    fn of(dtype: DType) -> Option<Self> {
        let (form, bits) = match dtype {
            DType::Int8 => (Form::Signed, 8),
            DType::Int16 => (Form::Signed, 16),
            DType::Int32 => (Form::Signed, 32),
            DType::Int64 => (Form::Signed, 64),
            DType::UInt8 => (Form::Unsigned, 8),
            DType::UInt16 => (Form::Unsigned, 16),
            DType::UInt32 => (Form::Unsigned, 32),
            DType::UInt64 => (Form::Unsigned, 64),
            DType::Float16 => (Form::Float, 16),
            DType::Float32 => (Form::Float, 32),
            DType::Float64 => (Form::Float, 64),
            DType::Bool | DType::Str | DType::Bytes | DType::Datetime => return None,
        };
        Some(Self { form, bits })
    }

    /// The bits of the float that numpy takes beside a float for an integer of this many bits.
    fn float_bits(self) -> u8 {
        self.bits.saturating_mul(2).min(64)
    }
}

fn float(bits: u8) -> DType {
    match bits {
        ..=16 => DType::Float16,
        17..=32 => DType::Float32,
        _ => DType::Float64,
    }
}

fn signed(bits: u8) -> DType {
    match bits {
        ..=8 => DType::Int8,
        9..=16 => DType::Int16,
        17..=32 => DType::Int32,
        _ => DType::Int64,
    }
}

fn unsigned(bits: u8) -> DType {
    match bits {
        ..=8 => DType::UInt8,
        9..=16 => DType::UInt16,
        17..=32 => DType::UInt32,
        _ => DType::UInt64,
    }
}

/// A signed and an unsigned integer: the signed one that holds both, else `float64`.
fn mixed(signed_bits: u8, unsigned_bits: u8) -> DType {
    match unsigned_bits {
        64 => DType::Float64,
        bits => signed(signed_bits.max(bits.saturating_mul(2))),
    }
}

#[cfg(test)]
mod tests {
    use DType::{
        Bool, Datetime, Float16, Float32, Float64, Int8, Int16, Int32, Int64, Str, UInt8, UInt16, UInt32, UInt64,
    };

    use super::*;

    /// Each line as `numpy.result_type` and `DataFrame.values` gave it (numpy 2.4.6, pandas 3.1.1).
    #[test]
    fn types_have_in_common_what_numpy_says() {
        let table = [
            (Int8, UInt8, Some(Int16)),
            (Int16, UInt8, Some(Int16)),
            (Int8, UInt16, Some(Int32)),
            (Int32, UInt32, Some(Int64)),
            (Int64, UInt32, Some(Int64)),
            (Int64, UInt64, Some(Float64)),
            (Int8, UInt64, Some(Float64)),
            (UInt8, UInt32, Some(UInt32)),
            (Int8, Float16, Some(Float16)),
            (UInt8, Float16, Some(Float16)),
            (Int16, Float16, Some(Float32)),
            (Int16, Float32, Some(Float32)),
            (Int32, Float16, Some(Float64)),
            (Int32, Float32, Some(Float64)),
            (Int64, Float32, Some(Float64)),
            (Float16, Float32, Some(Float32)),
            (Float32, Float64, Some(Float64)),
            (Bool, Float64, None),
            (Bool, Bool, Some(Bool)),
            (Int64, Str, None),
            (Datetime, Int64, None),
            (Datetime, Datetime, Some(Datetime)),
        ];
        for (a, b, expected) in table {
            assert_eq!(common([a, b]), expected, "{a:?} and {b:?}");
            assert_eq!(common([b, a]), expected, "{b:?} and {a:?}");
        }
        assert_eq!(common([Str, Str]), None);
        assert_eq!(common([Int8, UInt8, Float16]), Some(Float16));
        assert_eq!(common([Int32, UInt32, Float32]), Some(Float64));
        assert_eq!(common([]), None);
    }
}
