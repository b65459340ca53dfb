//! crc32 (IEEE, as crc32fast computes it) of everything that is read back from disk.
//!
//! It finds accidents, not attackers. The crc of no bytes is 0, so every structure must also check its length.

mod short;

use std::fmt;

/// A crc32; prints as `0x0badf00d`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Crc32(pub u32);

impl Crc32 {
    /// The crc of these bytes.
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        Self::default().and(bytes)
    }

    /// The crc of several pieces, concatenated.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        parts.iter().fold(Self::default(), |crc, part| crc.and(part))
    }

    /// The crc of the bytes so far, followed by these.
    #[inline]
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        short::extend(self.0, bytes).map_or_else(|| self.and_many(bytes), Self)
    }

    /// [`Crc32::and`] of these numbers, little endian, concatenated.
    #[inline]
    #[must_use]
    pub fn and_words(self, first: u32, rest: [u64; 3]) -> Self {
        short::extend_words(self.0, first, rest).map_or_else(|| self.and_many_words(first, rest), Self)
    }

    #[cold]
    fn and_many_words(self, first: u32, rest: [u64; 3]) -> Self {
        rest.iter().fold(self.and_many(&first.to_le_bytes()), |crc, word| crc.and_many(&word.to_le_bytes()))
    }

    fn and_many(self, bytes: &[u8]) -> Self {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        Self(hasher.finalize())
    }
}

/// FNV-1a of 64 bits, for requests and queries that must be told apart, by any build: it is stored and sent.
pub fn fnv(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let add = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, add)
}

impl fmt::Debug for Crc32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08x}", self.0)
    }
}

impl fmt::Display for Crc32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_is_as_published() {
        assert_eq!(fnv([]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(*b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv(*b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn every_length_and_split_is_what_crc32fast_says() {
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random as u8
        })
        .take(700)
        .collect();
        for len in 0..bytes.len() {
            let bytes = &bytes[..len];
            assert_eq!(Crc32::of(bytes).0, crc32fast::hash(bytes), "{len} bytes");
            let (head, tail) = bytes.split_at(len / 3);
            assert_eq!(Crc32::of_parts(&[head, tail]), Crc32::of(bytes), "{len} bytes in two");
        }
        assert_eq!(Crc32::of(b"123456789"), Crc32(0xcbf4_3926));
    }

    #[test]
    fn words_are_their_bytes() {
        let (first, rest) = (0x0102_0304u32, [u64::MAX, 0, 0x1122_3344_5566_7788]);
        let mut bytes = first.to_le_bytes().to_vec();
        rest.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        for before in [Crc32(0), Crc32(u32::MAX), Crc32::of(b"store")] {
            assert_eq!(before.and_words(first, rest), before.and(&bytes));
            assert_eq!(before.and_many_words(first, rest), before.and(&bytes));
        }
    }

    #[test]
    fn constant_bytes_of_every_length() {
        for byte in [0, 0xff] {
            for len in 0..300 {
                let bytes = vec![byte; len];
                assert_eq!(Crc32::of(&bytes).0, crc32fast::hash(&bytes), "{len} bytes of {byte}");
            }
        }
    }
}
