//! Columns of series files: docs/format/series.md, "Codecs of columns".

use runlode_pages::Page;

use crate::bytes::Bytes;
use crate::payload::widened;

const BLOCK: usize = 256;

/// The integers of blocks: `base svarint | width u8 | bits`, 256 a block.
fn blocks(bytes: &mut Bytes<'_>, count: usize) -> Option<Vec<i64>> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let points = BLOCK.min(count - numbers.len());
        let (base, width) = (bytes.svarint()?, usize::from(bytes.u8()?));
        if width > 64 {
            return None;
        }
        let packed = bytes.take((points * width).div_ceil(8))?;
        for point in 0..points {
            let mut offset = 0u64;
            for bit in 0..width {
                let at = point * width + bit;
                offset |= u64::from(packed[at / 8] >> (at % 8) & 1) << bit;
            }
            numbers.push(base.wrapping_add(offset as i64));
        }
    }
    Some(numbers)
}

/// A column of integers.
pub(crate) fn integers(codec: u8, body: &[u8], count: usize) -> Option<Vec<i64>> {
    let mut bytes = Bytes::new(body);
    let numbers = match codec {
        0 => vec![0; count],
        1 => {
            let (first, stride) = (bytes.svarint()?, bytes.svarint()?);
            (0..count as i64).map(|at| first.wrapping_add(stride.wrapping_mul(at))).collect()
        }
        2 => {
            let order = usize::from(bytes.u8()?);
            if order > 2 || order > count {
                return None;
            }
            let seeds: Vec<i64> = (0..order).map(|_| bytes.svarint()).collect::<Option<_>>()?;
            let mut numbers = blocks(&mut bytes, count - order)?;
            // The last seed begins the deltas of the highest order.
            for seed in seeds.into_iter().rev() {
                let mut last = seed;
                let mut summed = vec![last];
                for delta in numbers {
                    last = last.wrapping_add(delta);
                    summed.push(last);
                }
                numbers = summed;
            }
            numbers
        }
        3 => {
            let (mut numbers, mut value) = (Vec::new(), 0i64);
            while numbers.len() < count {
                value = value.wrapping_add(bytes.svarint()?);
                let length = usize::try_from(bytes.varint()?).ok()?;
                if length == 0 || length > count - numbers.len() {
                    return None;
                }
                numbers.resize(numbers.len() + length, value);
            }
            numbers
        }
        4 => {
            let mut numbers = vec![0i64; count];
            i64::decode(bytes.rest(), &mut numbers)?;
            return Some(numbers);
        }
        _ => return None,
    };
    (numbers.len() == count && bytes.is_empty()).then_some(numbers)
}

/// A column of values.
pub(crate) fn values(codec: u8, body: &[u8], count: usize) -> Option<Vec<f64>> {
    let mut bytes = Bytes::new(body);
    let narrow = |values: Vec<f32>, nan: bool| {
        values.into_iter().map(|value| if nan { widened(value) } else { f64::from(value) }).collect::<Vec<f64>>()
    };
    Some(match codec {
        0 => vec![0.0; count],
        16 => vec![bytes.f64()?; count],
        17 => (0..count).map(|_| bytes.f64()).collect::<Option<_>>()?,
        18 => {
            let nan = bytes.u8()? != 0;
            let ordered = blocks(&mut bytes, count)?;
            let unordered = |bits: i64| {
                let bits = u32::try_from(bits).ok()?;
                Some(f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits }))
            };
            narrow(ordered.into_iter().map(unordered).collect::<Option<_>>()?, nan)
        }
        19 => {
            let nan = bytes.u8()? != 0;
            let mut values = vec![0f32; count];
            f32::decode(bytes.rest(), &mut values)?;
            narrow(values, nan)
        }
        20 => {
            let mut values = vec![0f64; count];
            f64::decode(bytes.rest(), &mut values)?;
            values
        }
        21 => {
            let scale = i32::try_from(bytes.svarint()?).ok()?;
            let numbers = blocks(&mut bytes, count)?;
            numbers.into_iter().map(|number| number as f64 * 2f64.powi(scale)).collect()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read_as_they_are_described() {
        // first 5, stride -2
        assert_eq!(integers(1, &[10, 3], 4).unwrap(), [5, 3, 1, -1]);
        // order 1, seed 100, one block: base 1, width 2, deltas 1 2 3 4
        assert_eq!(integers(2, &[1, 200, 1, 2, 2, 0b1110_0100], 5).unwrap(), [100, 101, 103, 106, 110]);
        assert_eq!(integers(3, &[14, 2, 1, 1], 3).unwrap(), [7, 7, 6]);
        assert_eq!(integers(0, &[], 2).unwrap(), [0, 0]);
        // scale -2, base 6, width 1
        assert_eq!(values(21, &[3, 12, 1, 0b10], 2).unwrap(), [1.5, 1.75]);
        for cut in [&[1u8, 200][..], &[]] {
            assert_eq!(integers(2, cut, 5), None);
        }
    }
}
