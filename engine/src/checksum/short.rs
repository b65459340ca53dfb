//! The crc of a few dozen bytes, by carry-less multiplication: for the header and the payload of a frame with one row.
//!
//! A folding loop is best for long input, but it is a chain: each step waits for the one before. Here every 8 bytes are
//! multiplied by a constant for their distance from the end, all at once, and only the sum is reduced:
//!
//! ```text
//! bytes   (zeros) q0 | q1 | ... | qn         8 bytes each; zeros in front change no crc
//! sum   = q0 * x^(64n+32) + ... + qn * x^32  mod P, each factor below x^32: 96 bits
//! crc   = sum mod P                          one multiplication to 64 bits, two (Barrett) to 32
//! ```
//!
//! Polynomials are stored reflected, as the crc is: the lowest bit is the highest power. A product of two reflected
//! numbers lacks a factor x, so constants are one power short.

/// Longer input is left to crc32fast.
#[cfg(target_arch = "x86_64")]
const BYTES_MAX: usize = 256;

/// `crc` continued over `bytes`. `None`: too few bytes or too many, or the processor lacks the instruction.
#[inline]
pub(super) fn extend(crc: u32, bytes: &[u8]) -> Option<u32> {
    #[cfg(target_arch = "x86_64")]
    if (8..=BYTES_MAX).contains(&bytes.len()) && std::arch::is_x86_feature_detected!("pclmulqdq") {
        #[expect(unsafe_code, reason = "an instruction that not all processors have; the proof stands beside it")]
        // SAFETY: the only precondition is `pclmulqdq`, and the processor was just found to have it.
        return Some(unsafe { x86::extend(crc, bytes) });
    }
    let _ = (crc, bytes);
    None
}

/// As [`extend`], over 4 bytes and 3 times 8 bytes, little endian, in registers: no load from memory, and a known
/// length.
#[inline]
pub(super) fn extend_words(crc: u32, first: u32, rest: [u64; 3]) -> Option<u32> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("pclmulqdq") {
        #[expect(unsafe_code, reason = "an instruction that not all processors have; the proof stands beside it")]
        // SAFETY: as in `extend`.
        return Some(unsafe { x86::extend_words(crc, first, rest) });
    }
    let _ = (crc, first, rest);
    None
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, _mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_unpackhi_epi64, _mm_xor_si128,
    };

    use super::BYTES_MAX;

    /// The polynomial without its highest power, reflected.
    const P: u32 = 0xedb8_8320;
    /// The polynomial, and the quotient of x^64 by it; 33 bits, reflected.
    const P_WHOLE: i64 = 0x1_db71_0641;
    const QUOTIENT: i64 = 0x1_f701_1641;
    /// x^(64 i + 31) mod P: for 8 bytes that are followed by `i` groups of 8.
    const BY_DISTANCE: [i64; BYTES_MAX / 8] = {
        let mut powers = [0; BYTES_MAX / 8];
        let mut at = 0;
        while at < powers.len() {
            powers[at] = power(64 * at as u32 + 31);
            at += 1;
        }
        powers
    };
    const X_63: i64 = power(63);

    /// x^exponent mod P, reflected in 64 bits.
    const fn power(exponent: u32) -> i64 {
        let mut power = 1u32 << 31;
        let mut at = 0;
        while at < exponent {
            power = (power >> 1) ^ (if power & 1 == 1 { P } else { 0 });
            at += 1;
        }
        (power as i64) << 32
    }

    /// At least 8 bytes, at most [`BYTES_MAX`].
    #[target_feature(enable = "pclmulqdq")]
    pub(super) fn extend(crc: u32, bytes: &[u8]) -> u32 {
        let (Some(head), blocks) = (bytes.first_chunk::<8>(), bytes.len().div_ceil(8)) else { return crc };
        // Length of the first block; the rest of it are the zeros in front.
        let first = bytes.len() - (blocks - 1) * 8;
        let zeros = 64 - 8 * first as u32;
        // The crc so far is added to the first 4 bytes, wherever they are now.
        let before = u128::from(!crc) << zeros;
        let q0 = (u64::from_le_bytes(*head) << zeros) ^ before as u64;
        let mut sum = times(q0, BY_DISTANCE[blocks - 1]);
        let mut before = (before >> 64) as u64;
        let rest = bytes[first..].as_chunks::<8>().0;
        for (block, factor) in rest.iter().zip(BY_DISTANCE[..blocks - 1].iter().rev()) {
            sum = _mm_xor_si128(sum, times(u64::from_le_bytes(*block) ^ before, *factor));
            before = 0;
        }
        reduced(sum)
    }

    #[target_feature(enable = "pclmulqdq")]
    pub(super) fn extend_words(crc: u32, first: u32, rest: [u64; 3]) -> u32 {
        // Four zeros in front.
        let mut sum = times(u64::from(first ^ !crc) << 32, BY_DISTANCE[3]);
        for (word, factor) in rest.iter().zip([BY_DISTANCE[2], BY_DISTANCE[1], BY_DISTANCE[0]]) {
            sum = _mm_xor_si128(sum, times(*word, factor));
        }
        reduced(sum)
    }

    /// The sum of all products as a crc.
    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn reduced(sum: __m128i) -> u32 {
        // Reduces the highest 32 of its 96 bits; 64 are left.
        let high = times(low(sum), X_63);
        let rest = low(_mm_unpackhi_epi64(_mm_xor_si128(sum, high), sum));
        let quotient = low(times(rest & 0xffff_ffff, QUOTIENT)) & 0xffff_ffff;
        let multiple = low(times(quotient, P_WHOLE));
        !(((rest ^ multiple) >> 32) as u32)
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn times(a: u64, b: i64) -> __m128i {
        _mm_clmulepi64_si128(_mm_cvtsi64_si128(a as i64), _mm_cvtsi64_si128(b), 0)
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn low(a: __m128i) -> u64 {
        _mm_cvtsi128_si64(a) as u64
    }
}
