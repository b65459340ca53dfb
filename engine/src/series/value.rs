//! Chooses the codec for the values of a series: once, remembered, and reconsidered when it no longer fits.
//!
//! pco's search for a mode costs five times its encoding, and a wrong mode that is kept is expensive (a cosine
//! schedule: 6 B a point by bits, 0.6 by third differences). So the first large chunk of a series is searched and the
//! choice is kept in a [`ValueHint`]. A chunk that takes a tenth more bytes per point than the searched one is searched
//! again, and so is every 64th, in case the values became simpler. Short columns of f32 that look like noise are not
//! searched. A hint changes sizes only, never the values that are read back.

use pco::metadata::{ChunkMeta, DeltaEncoding, DynLatent, Mode};
use pco::{DeltaSpec, ModeSpec};
use runlode_pages::Page;

use super::codec::{self, CONSTANT, FIXED, PACKED_F32, PCO_F32, PCO_F64, PCO_LEVEL, PCO_POINTS_MIN, RAW_F64};
use super::fixed;
use crate::error::Result;

/// Number of chunks encoded by a choice before it is reconsidered.
const CHOICE_CHUNKS_MAX: u32 = 64;
/// Level for encodings found by a search: such values are few or smooth, so it costs little.
const SEARCHED_LEVEL: usize = 8;

/// Columns at least this long are always searched.
const SEARCH_POINTS_MIN: usize = 4096;

/// What is known about a series: the best encoding of its values, and the greatest step so far, which separates late
/// points from new ones. Keep it between chunks and files; losing it costs time and space only.
#[derive(Debug, Clone, Default)]
pub struct ValueHint {
    choice: Option<Box<Choice>>,
    last_step: Option<i64>,
}

impl ValueHint {
    /// The greatest step that was pushed with this hint.
    pub fn last_step(&self) -> Option<i64> {
        self.last_step
    }

    pub(crate) fn saw_step(&mut self, step: i64) {
        self.last_step = Some(self.last_step.map_or(step, |last| last.max(step)));
    }
}

#[derive(Debug, Clone)]
struct Choice {
    /// Whether the values are f32, bit for bit.
    narrow: bool,
    mode: ModeSpec,
    delta: DeltaSpec,
    level: usize,
    bytes_per_point: f64,
    chunks: u32,
}

/// Appends the body of a value column and returns its codec.
pub(crate) fn encode_values(
    values: &[f64],
    hint: &mut ValueHint,
    floats: &mut Vec<f32>,
    out: &mut Vec<u8>,
) -> Result<u8> {
    let first = values.first().copied().unwrap_or_default();
    if values.iter().all(|value| value.to_bits() == first.to_bits()) {
        out.extend_from_slice(&first.to_bits().to_le_bytes());
        return Ok(CONSTANT);
    }
    let (narrow, nan) = codec::narrow_all(values, floats);
    let start = out.len();
    if values.len() < PCO_POINTS_MIN {
        let mut whole = Vec::new();
        let is_whole = fixed::put(values, &mut whole);
        let codec = if narrow {
            codec::put_packed_f32(floats, nan, out);
            PACKED_F32
        } else if values.len() < 32 {
            codec::put_raw_f64(values, out);
            RAW_F64
        } else {
            encode_pco(values, false, true, hint, out)?;
            PCO_F64
        };
        if is_whole && whole.len() < out.len() - start {
            out.truncate(start);
            out.extend_from_slice(&whole);
            return Ok(FIXED);
        }
        return Ok(or_raw(codec, values, start, out));
    }
    let codec = if narrow {
        out.push(u8::from(nan));
        let search = values.len() >= SEARCH_POINTS_MIN || !looks_like_noise(floats);
        encode_pco(floats, true, search, hint, out)?;
        PCO_F32
    } else {
        encode_pco(values, false, true, hint, out)?;
        PCO_F64
    };
    Ok(or_raw(codec, values, start, out))
}

/// The codec of the body written at `start`. Replaces the body by the raw values if it is not smaller.
fn or_raw(codec: u8, values: &[f64], start: usize, out: &mut Vec<u8>) -> u8 {
    if codec == RAW_F64 || out.len() - start < values.len() * 8 {
        return codec;
    }
    out.truncate(start);
    codec::put_raw_f64(values, out);
    RAW_F64
}

/// Whether a search would most likely find nothing: the bits are full, neighbours are no closer to one another than any
/// two values, and the values are not decimals.
fn looks_like_noise(values: &[f32]) -> bool {
    let bits_used = values.iter().fold(0, |used, value| used | value.to_bits());
    if bits_used.trailing_zeros() > 1 {
        return false;
    }
    let sample = values.get(..values.len().min(64)).unwrap_or_default();
    let decimals = |scale: f64| {
        let is = |value: &&f32| ((f64::from(**value) * scale).round() / scale) as f32 == **value;
        sample.iter().filter(is).count() * 2 > sample.len()
    };
    // Most f32 below 1 are decimals of six digits: more than four digits prove nothing.
    if decimals(1e4) || decimals(3.0) || decimals(7.0) {
        return false;
    }
    let ordered = |value: &f32| i64::from(codec::ordered_bits(*value));
    let (mut low, mut high) = (i64::MAX, i64::MIN);
    let mut travelled = 0u64;
    for (a, b) in codec::pairs(values) {
        (low, high) = (low.min(ordered(a)), high.max(ordered(a)));
        travelled = travelled.saturating_add(ordered(a).abs_diff(ordered(b)));
    }
    // Neighbours in noise are about a quarter of the range apart, those in a curve a hundredth.
    travelled / values.len() as u64 > high.abs_diff(low) / 32
}

fn encode_pco<T: Page>(
    numbers: &[T],
    narrow: bool,
    search: bool,
    hint: &mut ValueHint,
    out: &mut Vec<u8>,
) -> Result<()> {
    let start = out.len();
    let per_point = |bytes: usize| bytes as f64 / numbers.len() as f64;
    if let Some(choice) = hint.choice.as_mut().filter(|choice| choice.narrow == narrow) {
        choice.chunks += 1;
        if choice.chunks < CHOICE_CHUNKS_MAX {
            let config = codec::pco_config(choice.mode.clone(), choice.delta.clone(), choice.level);
            codec::pco_encode(numbers, &config, out)?;
            // A short chunk pays more for pco's tables than the searched one did.
            if per_point(out.len() - start) <= choice.bytes_per_point * 1.1 + 64.0 / numbers.len() as f64 {
                return Ok(());
            }
            out.truncate(start);
        }
    }
    let plain_config = codec::pco_config(ModeSpec::Classic, DeltaSpec::NoOp, PCO_LEVEL);
    if !search {
        return codec::pco_encode(numbers, &plain_config, out).map(drop);
    }
    // Plain first: noisy f32 is neither decimal nor smooth, and mostly ends up plain.
    let mut plain = Vec::new();
    codec::pco_encode(numbers, &plain_config, &mut plain)?;
    let meta = codec::pco_encode(numbers, &codec::pco_config(ModeSpec::Auto, DeltaSpec::Auto, SEARCHED_LEVEL), out)?;
    let searched_bytes = out.len() - start;
    // A search that saves less than 2 % is not worth its slower encoding and decoding.
    let choice = match spec_of(&meta).filter(|_| (searched_bytes as f64) < plain.len() as f64 * 0.98) {
        Some((mode, delta)) => {
            Choice { narrow, mode, delta, level: SEARCHED_LEVEL, bytes_per_point: per_point(searched_bytes), chunks: 0 }
        }
        None => {
            out.truncate(start);
            out.extend_from_slice(&plain);
            let bytes_per_point = per_point(plain.len());
            let (mode, delta) = (ModeSpec::Classic, DeltaSpec::NoOp);
            Choice { narrow, mode, delta, level: PCO_LEVEL, bytes_per_point, chunks: 0 }
        }
    };
    // Do not remember the choice of a short chunk: pco's tables are most of its bytes.
    if numbers.len() >= 1024 {
        hint.choice = Some(Box::new(choice));
    }
    Ok(())
}

/// pco's choice, as a specification to use it again.
fn spec_of(meta: &ChunkMeta) -> Option<(ModeSpec, DeltaSpec)> {
    let mode = match &meta.mode {
        Mode::Classic => ModeSpec::Classic,
        Mode::FloatMult(DynLatent::U32(base)) => ModeSpec::TryFloatMult(f64::from(codec::from_ordered_bits(*base))),
        Mode::FloatMult(DynLatent::U64(base)) => {
            ModeSpec::TryFloatMult(f64::from_bits(if base >> 63 == 1 { base & !(1 << 63) } else { !base }))
        }
        Mode::FloatQuant(bits) => ModeSpec::TryFloatQuant(*bits),
        _ => return None,
    };
    let delta = match &meta.delta_encoding {
        DeltaEncoding::NoOp => DeltaSpec::NoOp,
        DeltaEncoding::Consecutive { order, .. } => DeltaSpec::TryConsecutive(*order),
        DeltaEncoding::Lookback { .. } => DeltaSpec::TryLookback,
        _ => return None,
    };
    Some((mode, delta))
}
