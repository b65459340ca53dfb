//! Codecs of one column of a chunk: integers (steps, times, positions, contexts) and values.
//!
//! Every codec is lossless bit for bit over the whole range of its type: arithmetic on integers wraps, NaN payloads
//! and the sign of zero are kept. The codec's id stands beside each column, it is never implied by a version. A
//! decoder is given the number of points and answers `None` where the bytes cannot be what an encoder wrote; it never
//! panics, and never allocates more than that number of points.
//!
//! ```text
//! id  name        body
//!  0  ABSENT      nothing: all zero
//!  1  ARITHMETIC  first svarint | stride svarint                              x[i] = first + i * stride
//!  2  PACKED      order u8 (0, 1, 2) | order seeds svarint | blocks           deltas of that order
//!  3  RUNS        (difference to the run before svarint | length varint)*
//!  4  PCO_I64     pco: i64
//! 16  CONSTANT    bits u64
//! 17  RAW_F64     bits u64 each
//! 18  PACKED_F32  nan u8 | blocks                                             ordered bits of f32
//! 19  PCO_F32     nan u8 | pco: f32
//! 20  PCO_F64     pco: f64
//! 21  FIXED       scale svarint | blocks                                      x[i] = integer * 2^scale; since version 2
//!
//! block = base svarint | width u8 (0..=64) | ceil(points * width / 8) bytes   256 points, the last block fewer
//!         bit i*width.. of the bytes, least significant first, is x[i] - base
//! pco   = header, chunk meta and one page of pco's wrapped format, one behind the other
//! nan   = 1 if any value is NaN (they are widened by bits then, not by the processor), else 0
//! ```
//! svarint is a zigzag LEB128 number. Worst case: 8.1 B a point for each of the columns.

use pco::{ChunkConfig, DeltaSpec, ModeSpec};
use runlode_pages::Page;

use super::blocks::{BLOCK_POINTS, blocks_bytes, put_blocks, sample_bytes, take_blocks};
use crate::error::{Error, Result};
use crate::varint::{Bytes, put_i64, put_u64};

pub(crate) const ABSENT: u8 = 0;
pub(crate) const ARITHMETIC: u8 = 1;
pub(crate) const PACKED: u8 = 2;
pub(crate) const RUNS: u8 = 3;
pub(crate) const PCO_I64: u8 = 4;
pub(crate) const CONSTANT: u8 = 16;
pub(crate) const RAW_F64: u8 = 17;
pub(crate) const PACKED_F32: u8 = 18;
pub(crate) const PCO_F32: u8 = 19;
pub(crate) const PCO_F64: u8 = 20;
pub(crate) const FIXED: u8 = 21;

/// With fewer points, pco's tables cost more than they save (32 points: 4.1 B against 3.3 B packed).
pub(crate) const PCO_POINTS_MIN: usize = 256;
/// pco's level: 5 is 0.6 % smaller than 4 and 8 % slower; 8 saves another 0.3 % for twice the time.
pub(crate) const PCO_LEVEL: usize = 5;

/// Buffers that decoding reuses from chunk to chunk.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ints: Vec<i64>,
    floats: Vec<f32>,
}

// ---- pco --------------------------------------------------------------------------------------------------------

pub(crate) fn pco_config(mode: ModeSpec, delta: DeltaSpec, level: usize) -> ChunkConfig {
    ChunkConfig::default().with_mode_spec(mode).with_delta_spec(delta).with_compression_level(level)
}

/// Appends the numbers as one pco page and returns pco's choice.
pub(crate) fn pco_encode<T: Page>(
    numbers: &[T],
    config: &ChunkConfig,
    out: &mut Vec<u8>,
) -> Result<pco::metadata::ChunkMeta> {
    T::encode(numbers, config, out)
        .map_err(|error| Error::Internal(format!("pco refused {} numbers: {error}", numbers.len())))
}

/// Fills `out` from one pco page.
fn pco_decode<T: Page>(bytes: &[u8], out: &mut [T]) -> Option<()> {
    T::decode(bytes, out)
}

// ---- integers ---------------------------------------------------------------------------------------------------

/// The kind of an integer column, which decides which codecs are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntKind {
    /// Steps, positions, contexts: regular, or in runs of equal differences.
    Regular,
    /// Times: jitter, where pco saves a tenth.
    Times,
}

/// Pairs of neighbours, as two slices that the compiler turns into wide loads.
pub(crate) fn pairs<T>(numbers: &[T]) -> impl Iterator<Item = (&T, &T)> {
    numbers.iter().zip(numbers.get(1..).unwrap_or_default())
}

fn deltas(numbers: &[i64]) -> Vec<i64> {
    pairs(numbers).map(|(a, b)| b.wrapping_sub(*a)).collect()
}

/// Appends the body of an integer column in the smallest codec and returns the codec's id.
pub(crate) fn encode_ints(numbers: &[i64], kind: IntKind, out: &mut Vec<u8>) -> Result<u8> {
    let Some(first) = numbers.first().copied() else { return Ok(ABSENT) };
    let second = numbers.get(1).copied().unwrap_or(first);
    let stride = second.wrapping_sub(first);
    if first == 0 && stride == 0 && numbers.iter().all(|number| *number == 0) {
        return Ok(ABSENT);
    }
    if pairs(numbers).all(|(a, b)| b.wrapping_sub(*a) == stride) {
        put_i64(out, first);
        put_i64(out, stride);
        return Ok(ARITHMETIC);
    }
    let first_order = deltas(numbers);
    let second_order = deltas(&first_order);
    // A few blocks decide the order; the exact size is computed for that order alone.
    let sampled = [sample_bytes(numbers), 6 + sample_bytes(&first_order), 9 + sample_bytes(&second_order)];
    let (order, _) = sampled.iter().copied().enumerate().min_by_key(|(_, size)| *size).unwrap_or((0, 0));
    let packed_bytes = match order {
        0 => blocks_bytes(numbers),
        1 => 6 + blocks_bytes(&first_order),
        _ => 9 + blocks_bytes(&second_order),
    };
    let runs = 1 + first_order.iter().filter(|delta| **delta != 0).count();
    if runs * 3 < packed_bytes {
        let mut before = 0i64;
        for run in numbers.chunk_by(|a, b| a == b) {
            let number = run.first().copied().unwrap_or(before);
            put_i64(out, number.wrapping_sub(before));
            put_u64(out, run.len() as u64);
            before = number;
        }
        return Ok(RUNS);
    }
    let start = out.len();
    if kind == IntKind::Times && numbers.len() >= PCO_POINTS_MIN && packed_bytes > numbers.len() / 8 {
        // pco finds the deltas' distribution; level 4 decodes faster than 8 and is 1 % larger.
        pco_encode(numbers, &pco_config(ModeSpec::Classic, DeltaSpec::TryConsecutive(1), 4), out)?;
        if out.len() - start < packed_bytes {
            return Ok(PCO_I64);
        }
        out.truncate(start);
    }
    out.push(order as u8);
    match order {
        0 => put_blocks(numbers, out),
        1 => {
            put_i64(out, first);
            put_blocks(&first_order, out);
        }
        _ => {
            put_i64(out, first);
            put_i64(out, stride);
            put_blocks(&second_order, out);
        }
    }
    Ok(PACKED)
}

fn integrate(numbers: &mut [i64]) {
    let mut sum = 0i64;
    for number in numbers {
        sum = sum.wrapping_add(*number);
        *number = sum;
    }
}

/// Appends `count` integers to `out`.
pub(crate) fn decode_ints(codec: u8, body: &[u8], count: usize, out: &mut Vec<i64>) -> Option<()> {
    let mut bytes = Bytes::new(body);
    let start = out.len();
    match codec {
        ABSENT => out.resize(start + count, 0),
        ARITHMETIC => {
            let first = bytes.varint_signed()?;
            let stride = bytes.varint_signed()?;
            out.extend((0..count as i64).map(|i| first.wrapping_add(i.wrapping_mul(stride))));
        }
        PACKED => {
            let order = usize::from(bytes.u8()?);
            if order > 2 || count < order {
                return None;
            }
            let mut seeds = [0i64; 2];
            for seed in seeds.iter_mut().take(order) {
                *seed = bytes.varint_signed()?;
            }
            out.resize(start + count, 0);
            let column = out.get_mut(start..)?;
            let (head, rest) = column.split_at_mut_checked(order)?;
            take_blocks(&mut bytes, rest)?;
            head.copy_from_slice(seeds.get(..order)?);
            match order {
                0 => {}
                1 => integrate(column),
                _ => {
                    integrate(column.get_mut(1..)?);
                    integrate(column);
                }
            }
        }
        RUNS => {
            let (mut number, mut left) = (0i64, count);
            while left > 0 {
                number = number.wrapping_add(bytes.varint_signed()?);
                let run = usize::try_from(bytes.varint()?).ok().filter(|run| (1..=left).contains(run))?;
                out.resize(out.len() + run, number);
                left -= run;
            }
        }
        PCO_I64 => {
            out.resize(start + count, 0);
            pco_decode(body, out.get_mut(start..)?)?;
            return Some(());
        }
        _ => return None,
    }
    bytes.is_empty().then_some(())
}

// ---- values -----------------------------------------------------------------------------------------------------

/// The f32 that is this f64 bit for bit, NaN payload included, if there is one.
#[inline]
pub(crate) fn narrow(value: f64) -> Option<f32> {
    if value.is_nan() {
        let bits = value.to_bits();
        let narrowed = ((bits >> 63) as u32) << 31 | 0x7f80_0000 | ((bits >> 29) as u32 & 0x007f_ffff);
        return (widen_nan(narrowed) == bits && narrowed & 0x007f_ffff != 0).then_some(f32::from_bits(narrowed));
    }
    let narrowed = value as f32;
    (f64::from(narrowed).to_bits() == value.to_bits()).then_some(narrowed)
}

/// The f64 bits of a 32-bit NaN. The processor may change payloads, so this is done by hand.
fn widen_nan(bits: u32) -> u64 {
    u64::from(bits >> 31) << 63 | 0x7ff0_0000_0000_0000 | u64::from(bits & 0x007f_ffff) << 29
}

/// The f64 of an f32, NaN payload included.
#[inline]
pub(crate) fn widen(value: f32) -> f64 {
    if value.is_nan() { f64::from_bits(widen_nan(value.to_bits())) } else { f64::from(value) }
}

/// Narrows all values: whether all fit (if not, `out` is unspecified), and whether any is NaN.
pub(crate) fn narrow_all(values: &[f64], out: &mut Vec<f32>) -> (bool, bool) {
    out.clear();
    out.reserve(values.len());
    let (mut lossless, mut nan) = (true, false);
    // In blocks, so that a column that does not fit is given up early and the loop has no branches.
    for block in values.chunks(BLOCK_POINTS) {
        for value in block {
            let narrowed = *value as f32;
            lossless &= f64::from(narrowed).to_bits() == value.to_bits();
            nan |= value.is_nan();
            out.push(narrowed);
        }
        if nan || !lossless {
            break;
        }
    }
    if nan {
        out.clear();
        for value in values {
            match narrow(*value) {
                Some(narrowed) => out.push(narrowed),
                None => return (false, true),
            }
        }
        return (true, true);
    }
    (lossless, false)
}

/// Order-preserving bits of an f32, and back.
pub(crate) fn ordered_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

pub(crate) fn from_ordered_bits(ordered: u32) -> f32 {
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

/// Appends the body of a PACKED_F32 column.
pub(crate) fn put_packed_f32(values: &[f32], nan: bool, out: &mut Vec<u8>) {
    let ordered: Vec<i64> = values.iter().map(|value| i64::from(ordered_bits(*value))).collect();
    out.push(u8::from(nan));
    put_blocks(&ordered, out);
}

/// Appends the body of a RAW_F64 column.
pub(crate) fn put_raw_f64(values: &[f64], out: &mut Vec<u8>) {
    out.reserve(values.len() * 8);
    for value in values {
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

/// Appends `count` values to `out`.
pub(crate) fn decode_values(
    codec: u8,
    body: &[u8],
    count: usize,
    scratch: &mut Scratch,
    out: &mut Vec<f64>,
) -> Option<()> {
    let mut bytes = Bytes::new(body);
    let start = out.len();
    match codec {
        CONSTANT => {
            let value = bytes.f64()?;
            out.resize(start + count, value);
        }
        RAW_F64 => {
            let raw = bytes.take(count.checked_mul(8)?)?;
            let (words, _) = raw.as_chunks::<8>();
            out.extend(words.iter().map(|word| f64::from_bits(u64::from_le_bytes(*word))));
        }
        PACKED_F32 => {
            let nan = bytes.u8()?;
            scratch.ints.clear();
            scratch.ints.resize(count, 0);
            take_blocks(&mut bytes, &mut scratch.ints)?;
            scratch.floats.clear();
            for ordered in &scratch.ints {
                scratch.floats.push(from_ordered_bits(u32::try_from(*ordered).ok()?));
            }
            extend_widened(&scratch.floats, nan, out)?;
        }
        PCO_F32 => {
            let nan = bytes.u8()?;
            scratch.floats.clear();
            scratch.floats.resize(count, 0.0);
            pco_decode(bytes.rest(), &mut scratch.floats)?;
            return extend_widened(&scratch.floats, nan, out);
        }
        FIXED => return super::fixed::take(body, count, &mut scratch.ints, out),
        PCO_F64 => {
            out.resize(start + count, 0.0);
            return pco_decode(body, out.get_mut(start..)?);
        }
        _ => return None,
    }
    bytes.is_empty().then_some(())
}

fn extend_widened(floats: &[f32], nan: u8, out: &mut Vec<f64>) -> Option<()> {
    match nan {
        0 => out.extend(floats.iter().map(|float| f64::from(*float))),
        1 => out.extend(floats.iter().map(|float| widen(*float))),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip_ints(numbers: &[i64], kind: IntKind) -> u8 {
        let mut body = Vec::new();
        let codec = encode_ints(numbers, kind, &mut body).unwrap();
        let mut out = vec![7];
        decode_ints(codec, &body, numbers.len(), &mut out).unwrap();
        assert_eq!(out.split_first().unwrap().1, numbers);
        codec
    }

    #[test]
    fn integers_take_the_codec_that_suits_them() {
        assert_eq!(round_trip_ints(&[0; 9], IntKind::Regular), ABSENT);
        assert_eq!(round_trip_ints(&[5], IntKind::Regular), ARITHMETIC);
        round_trip_ints(&[i64::MIN, i64::MAX, 0], IntKind::Regular);
        let regular: Vec<i64> = (0..5000i64).map(|i| i64::MAX - 9 + i * i % 3).collect();
        assert_eq!(round_trip_ints(&regular, IntKind::Regular), PACKED);
        let runs: Vec<i64> = (0..5000).map(|i| i / 100).collect();
        assert_eq!(round_trip_ints(&runs, IntKind::Regular), RUNS);
        let wrapping: Vec<i64> = (0..300i64).map(|i| i64::MAX.wrapping_add(i.wrapping_mul(i64::MAX / 3))).collect();
        assert_eq!(round_trip_ints(&wrapping, IntKind::Regular), ARITHMETIC);
        let mut state = 1u64;
        let jitter: Vec<i64> = (0..3000i64)
            .map(|i| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                1_700_000_000_000 + i * 100 + (state >> 60) as i64 * (state >> 62) as i64
            })
            .collect();
        assert_eq!(round_trip_ints(&jitter, IntKind::Times), PCO_I64);
    }

    #[test]
    fn every_width_is_packed() {
        for width in 0..=64u32 {
            let mask = if width == 0 { 0 } else { u64::MAX >> (64 - width) };
            for count in [1usize, 2, 7, 255, 256, 257, 600] {
                let numbers: Vec<i64> = (0..count as u64)
                    .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask) as i64)
                    .chain([mask as i64])
                    .collect();
                let mut body = Vec::new();
                put_blocks(&numbers, &mut body);
                let mut out = vec![0; numbers.len()];
                let mut bytes = Bytes::new(&body);
                take_blocks(&mut bytes, &mut out).unwrap();
                assert!(bytes.is_empty());
                assert_eq!(out, numbers, "width {width} count {count}");
            }
        }
    }

    #[test]
    fn nan_payloads_are_narrowed_by_bits() {
        for bits in [0x7ff8_0000_0000_0000u64, 0xfff8_0000_0000_0000, 0x7ff0_0000_2000_0000, 0x7ffc_0000_e000_0000] {
            let value = f64::from_bits(bits);
            assert_eq!(widen(narrow(value).unwrap()).to_bits(), bits);
        }
        for bits in [0x7ff0_0000_0000_0001u64, 0x7ff8_0000_0000_0001] {
            assert!(narrow(f64::from_bits(bits)).is_none());
        }
        assert_eq!(narrow(-0.0).unwrap().to_bits(), (-0.0f32).to_bits());
        assert!(narrow(0.1).is_none());
        assert!(narrow(1e300).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_integers_round_trip(numbers in prop::collection::vec(any::<i64>(), 1..700)) {
            round_trip_ints(&numbers, IntKind::Regular);
            round_trip_ints(&numbers, IntKind::Times);
        }

        #[test]
        fn arbitrary_bodies_never_panic(body: Vec<u8>, count in 0usize..600) {
            for codec in 0..=255 {
                // pco's own decoder is not given bytes without a checked crc.
                if ![PCO_I64, PCO_F32, PCO_F64].contains(&codec) {
                    let _ = decode_ints(codec, &body, count, &mut Vec::new());
                    let _ = decode_values(codec, &body, count, &mut Scratch::default(), &mut Vec::new());
                }
            }
        }
    }
}
