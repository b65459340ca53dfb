//! LEB128 integers and zigzag, and a bounds-checked reader over bytes from disk.
//!
//! Every decoder in the engine reads bytes from disk through [`Bytes`]. It never panics, never allocates by an
//! unchecked length, and returns `None` if the bytes end too early.

/// Appends `value` in 1 to 10 bytes, 7 bits each, least significant first.
#[inline]
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    if value < 1 << 7 {
        out.push(value as u8);
    } else if value < 1 << 56 {
        let (bytes, count) = spread(value);
        let start = out.len();
        // All eight bytes, because copying a variable number of them would be a function call.
        out.extend_from_slice(&bytes.to_le_bytes());
        out.truncate(start + count);
    } else {
        put_long(out, value);
    }
}

/// Encodes 1 to 56 bits as 1 to 8 bytes of 7 bits each, without a loop; returns the bytes and their count.
#[inline]
fn spread(value: u64) -> (u64, usize) {
    let halves = (value & 0x0fff_ffff) | ((value & 0x00ff_ffff_f000_0000) << 4);
    let quarters = (halves & 0x0000_3fff_0000_3fff) | ((halves & 0x0fff_c000_0fff_c000) << 2);
    let bytes = (quarters & 0x007f_007f_007f_007f) | ((quarters & 0x3f80_3f80_3f80_3f80) << 1);
    let count = (64 - value.leading_zeros()).div_ceil(7).max(1);
    // Sets the continuation bit of all but the last byte.
    let more = 0x8080_8080_8080_8080 & ((1u64 << (8 * (count - 1))) - 1);
    (bytes | more, count as usize)
}

#[cold]
fn put_long(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed value by zigzag.
#[inline]
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, zigzag(value));
}

/// Maps small magnitudes of either sign to small numbers.
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

/// A cursor over untrusted bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// From the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The unread bytes.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes, little endian.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, little endian.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, little endian.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Eight bytes, little endian, signed.
    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// Eight bytes: an f64, bit for bit.
    pub fn f64(&mut self) -> Option<f64> {
        self.u64().map(f64::from_bits)
    }

    /// A LEB128 number; `None` also if it does not fit 64 bits.
    pub fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A zigzag LEB128 number.
    pub fn varint_signed(&mut self) -> Option<i64> {
        self.varint().map(unzigzag)
    }

    /// A length as LEB128, then that many bytes.
    pub fn slice(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.varint()?).ok()?;
        self.take(count)
    }

    /// A length as LEB128, then that many bytes of UTF-8.
    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.slice()?).ok()
    }
}

/// Appends a length as LEB128, then the bytes.
pub fn put_slice(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(value: u64, signed: i64) {
            let mut out = Vec::new();
            put_u64(&mut out, value);
            put_i64(&mut out, signed);
            let mut bytes = Bytes::new(&out);
            prop_assert_eq!(bytes.varint(), Some(value));
            prop_assert_eq!(bytes.varint_signed(), Some(signed));
            prop_assert!(bytes.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_panic(input: Vec<u8>) {
            let mut bytes = Bytes::new(&input);
            while bytes.varint().is_some() {}
            let mut bytes = Bytes::new(&input);
            while bytes.text().is_some() {}
        }
    }

    #[test]
    fn eleven_bytes_are_refused() {
        assert_eq!(Bytes::new(&[0xff; 11]).varint(), None);
        assert_eq!(Bytes::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).varint(), None);
    }
}
