//! FIXED: values that are whole multiples of one power of two, as packed integers.
//!
//! Random numbers in [0, 1) are multiples of 2^-53, counts are multiples of 1: 53 bits, and a few. Only short columns are
//! tried: for long ones pco finds the same and more.
//!
//! ```text
//! body = scale svarint | packed blocks (see [`super::blocks`])        value = integer * 2^scale
//! ```

use super::blocks::{put_blocks, take_blocks};
use crate::varint::{Bytes, put_i64};

/// Powers of two that are normal numbers.
const SCALES: std::ops::RangeInclusive<i64> = -1022..=971;
/// Integers of more bits save nothing.
const BITS_MAX: i64 = 62;

/// 2 to a power of [`SCALES`].
fn power(scale: i64) -> f64 {
    f64::from_bits(((scale + 1023) as u64) << 52)
}

/// A value as an odd mantissa and its exponent; `None` for zero and values that are not finite.
fn odd(value: f64) -> Option<(u64, i64)> {
    let (fraction, exponent) = (value.to_bits() & ((1 << 52) - 1), (value.to_bits() >> 52 & 0x7ff) as i64);
    if !value.is_finite() || value == 0.0 {
        return None;
    }
    let (mantissa, exponent) = if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    let zeros = mantissa.trailing_zeros();
    Some((mantissa >> zeros, exponent + i64::from(zeros)))
}

/// Appends the body. `false`, without appending, if the values are not multiples of one power of two.
pub(super) fn put(values: &[f64], out: &mut Vec<u8>) -> bool {
    let mut scale = *SCALES.end();
    for value in values {
        match odd(*value) {
            Some((_, exponent)) => scale = scale.min(exponent),
            None if value.to_bits() == 0 => {}
            None => return false,
        }
    }
    if !SCALES.contains(&scale) {
        return false;
    }
    let whole = |value: &f64| {
        let Some((mantissa, exponent)) = odd(*value) else { return Some(0) };
        let shift = exponent - scale;
        if shift + i64::from(64 - mantissa.leading_zeros()) > BITS_MAX {
            return None;
        }
        let number = (mantissa << shift) as i64;
        let number = if *value < 0.0 { -number } else { number };
        (number as f64 * power(scale)).to_bits().eq(&value.to_bits()).then_some(number)
    };
    let Some(numbers) = values.iter().map(whole).collect::<Option<Vec<i64>>>() else { return false };
    put_i64(out, scale);
    put_blocks(&numbers, out);
    true
}

/// Appends `count` values to `out`.
pub(super) fn take(body: &[u8], count: usize, numbers: &mut Vec<i64>, out: &mut Vec<f64>) -> Option<()> {
    let mut bytes = Bytes::new(body);
    let scale = bytes.varint_signed().filter(|scale| SCALES.contains(scale))?;
    numbers.clear();
    numbers.resize(count, 0);
    take_blocks(&mut bytes, numbers)?;
    let power = power(scale);
    out.extend(numbers.iter().map(|number| *number as f64 * power));
    bytes.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(values: &[f64]) -> Option<usize> {
        let mut body = Vec::new();
        if !put(values, &mut body) {
            assert!(body.is_empty());
            return None;
        }
        let mut out = Vec::new();
        take(&body, values.len(), &mut Vec::new(), &mut out).unwrap();
        let bits = |values: &[f64]| -> Vec<u64> { values.iter().map(|value| value.to_bits()).collect() };
        assert_eq!(bits(&out), bits(values));
        Some(body.len())
    }

    #[test]
    fn random_numbers_take_their_53_bits_and_counts_a_few() {
        let mut state = 7u64;
        let random: Vec<f64> = (0..20)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 11) as f64 / (1u64 << 53) as f64
            })
            .collect();
        assert!(round_trip(&random).unwrap() <= 20 * 53 / 8 + 6);
        assert!(round_trip(&(0..20).map(f64::from).collect::<Vec<_>>()).unwrap() <= 17);
        assert_eq!(round_trip(&[-0.0, 1.0]), None);
        assert_eq!(round_trip(&[f64::INFINITY]), None);
        assert_eq!(round_trip(&[1e300, 1e-300]), None);
        assert!(round_trip(&[0.0, -3.5, 2f64.powi(-1020)]).is_none());
        assert!(round_trip(&[f64::MIN_POSITIVE, -f64::MIN_POSITIVE, 0.0]).is_some());
        assert!(round_trip(&[f64::MAX]).is_some());
        assert_eq!(round_trip(&[f64::from_bits(1)]), None);
    }

    proptest! {
        #[test]
        fn what_is_taken_comes_back(mantissas in prop::collection::vec(any::<i64>(), 1..300), shift in 0u32..63,
            scale in -1080i32..960) {
            let values: Vec<f64> = mantissas.iter().map(|n| (n >> shift) as f64 * 2f64.powi(scale)).collect();
            round_trip(&values);
        }

        #[test]
        fn arbitrary_values_come_back_or_are_refused(bits in prop::collection::vec(any::<u64>(), 1..40)) {
            round_trip(&bits.iter().map(|bits| f64::from_bits(*bits)).collect::<Vec<_>>());
        }
    }
}
