//! Integers packed in blocks: each with a base, a width, and the differences from the base in that many bits.

use crate::varint::{Bytes, put_i64};

/// Points of one block of packed integers.
pub(super) const BLOCK_POINTS: usize = 256;

/// The least number, and the bits needed for every difference from it.
fn base_and_width(numbers: &[i64]) -> (i64, u32) {
    let (mut low, mut high) = (i64::MAX, i64::MIN);
    for number in numbers {
        low = low.min(*number);
        high = high.max(*number);
    }
    (low, 64 - (high.wrapping_sub(low) as u64).leading_zeros())
}

pub(crate) fn put_blocks(numbers: &[i64], out: &mut Vec<u8>) {
    for block in numbers.chunks(BLOCK_POINTS) {
        let (mut base, mut width) = base_and_width(block);
        // In a short block a base of many bytes may cost more than it saves.
        if base > 0 {
            let width_from_0 = 64 - block.iter().fold(0, |bits, number| bits | *number as u64).leading_zeros();
            let base_bytes = (64 - base.leading_zeros()) as usize / 7;
            if block.len() * (width_from_0 - width) as usize / 8 < base_bytes {
                (base, width) = (0, width_from_0);
            }
        }
        put_i64(out, base);
        out.push(width as u8);
        if width == 0 {
            continue;
        }
        let (mut pending, mut bits) = (0u128, 0);
        for number in block {
            pending |= u128::from(number.wrapping_sub(base) as u64) << bits;
            bits += width;
            while bits >= 32 {
                out.extend_from_slice(&(pending as u32).to_le_bytes());
                pending >>= 32;
                bits -= 32;
            }
        }
        let tail = pending.to_le_bytes();
        out.extend(tail.iter().take(bits.div_ceil(8) as usize));
    }
}

/// Nearly the bytes that [`put_blocks`] would take.
pub(super) fn blocks_bytes(numbers: &[i64]) -> usize {
    let block_bytes = |block: &[i64]| {
        let (_, width) = base_and_width(block);
        4 + (block.len() * width as usize).div_ceil(8)
    };
    numbers.chunks(BLOCK_POINTS).map(block_bytes).sum()
}

/// [`blocks_bytes`] of at most four blocks, spread over the column.
pub(super) fn sample_bytes(numbers: &[i64]) -> usize {
    let stride = (numbers.len() / BLOCK_POINTS).div_ceil(4).max(1);
    numbers.chunks(BLOCK_POINTS).step_by(stride).take(4).map(blocks_bytes).sum()
}

/// Fills `out` from packed blocks.
pub(crate) fn take_blocks(bytes: &mut Bytes<'_>, out: &mut [i64]) -> Option<()> {
    // One block at its widest, and room for the last load after it.
    let mut packed = [0u8; BLOCK_POINTS * 8 + 16];
    for block in out.chunks_mut(BLOCK_POINTS) {
        let base = bytes.varint_signed()?;
        let width = usize::from(bytes.u8()?);
        if width == 0 {
            block.fill(base);
            continue;
        }
        if width > 64 {
            return None;
        }
        let source = bytes.take((block.len() * width).div_ceil(8))?;
        let (head, tail) = packed.split_at_mut_checked(source.len())?;
        head.copy_from_slice(source);
        tail.get_mut(..16)?.fill(0);
        let mask = u64::MAX >> (64 - width);
        let mut bit = 0;
        for number in block {
            let word = u64::from_le_bytes(*packed.get(bit / 8..)?.first_chunk::<8>()?);
            let shift = bit % 8;
            let mut value = word >> shift;
            if shift + width > 64 {
                value |= u64::from(*packed.get(bit / 8 + 8)?) << (64 - shift);
            }
            *number = base.wrapping_add((value & mask) as i64);
            bit += width;
        }
    }
    Some(())
}
