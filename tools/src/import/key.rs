//! Idempotency keys: 128-bit FNV-1a over what a batch was read from.
//!
//! The key depends only on the source's rows, so the same rows give the same key on every machine and in every version.
//! Fields are length-prefixed, so different lists of fields never give the same bytes.
//!
//! Points are many: their numbers go through SHA-256, which is several times as fast, and its digest into the key.

use sha2::{Digest as _, Sha256};

const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// A key being made.
#[derive(Debug, Clone)]
pub(super) struct Key(u128);

impl Key {
    /// Starts the key of a kind of batch.
    pub(super) fn new(kind: &str) -> Self {
        Self(OFFSET).text("mlflow-sql-1").text(kind)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        self.add_text(text);
        self
    }

    pub(super) fn number(mut self, number: i64) -> Self {
        self.add_number(number);
        self
    }

    pub(super) fn add_text(&mut self, text: &str) {
        self.add(&(text.len() as u64).to_le_bytes());
        self.add(text.as_bytes());
    }

    pub(super) fn add_number(&mut self, number: i64) {
        self.add(&number.to_le_bytes());
    }

    pub(super) fn add_optional(&mut self, text: Option<&str>) {
        self.add(&[u8::from(text.is_some())]);
        self.add_text(text.unwrap_or_default());
    }

    pub(super) fn add_pairs(&mut self, pairs: &[(String, String)]) {
        self.add_number(pairs.len() as i64);
        for (key, value) in pairs {
            self.add_text(key);
            self.add_text(value);
        }
    }

    /// The key as the store takes it.
    pub(super) fn bytes(&self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// 64 bits of it, for numbers that must be the same in a repeated import.
    pub(super) fn fold(&self) -> u64 {
        (self.0 >> 64) as u64 ^ self.0 as u64
    }
}

/// The points of a batch, for its key.
pub(super) struct PointsHash {
    digest: Sha256,
    waiting: Vec<u8>,
}

/// Bytes that are hashed at once.
const WAITING_BYTES: usize = 4096;

impl PointsHash {
    pub(super) fn new() -> Self {
        Self { digest: Sha256::new(), waiting: Vec::with_capacity(WAITING_BYTES) }
    }

    /// Adds numbers that a point consists of.
    pub(super) fn add<const N: usize>(&mut self, numbers: [u64; N]) {
        for number in numbers {
            self.waiting.extend_from_slice(&number.to_le_bytes());
        }
        if self.waiting.len() + N * 8 > WAITING_BYTES {
            self.digest.update(&self.waiting);
            self.waiting.clear();
        }
    }

    /// Adds the points to a key.
    pub(super) fn add_to(mut self, key: &mut Key) {
        self.digest.update(&self.waiting);
        key.add(&self.digest.finalize());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_fields_give_different_keys() {
        assert_ne!(Key::new("a").text("bc").bytes(), Key::new("ab").text("c").bytes());
        assert_eq!(Key::new("run").number(7).bytes(), Key::new("run").number(7).bytes());
        // Pinned: another key would import everything a second time.
        assert_eq!(Key::new("run").text("x").fold(), 5_023_527_324_114_522_608);
    }

    #[test]
    fn every_number_of_many_points_counts() {
        let of = |points: &[u64]| {
            let mut hash = PointsHash::new();
            points.iter().for_each(|point| hash.add([*point, 0]));
            let mut key = Key::new("points");
            hash.add_to(&mut key);
            key.bytes()
        };
        let points: Vec<u64> = (0..1_000).collect();
        let whole = of(&points);
        assert_eq!(of(&points), whole);
        assert_ne!(of(&points[1..]), whole);
        for at in [0, 255, 256, 511, 999] {
            let mut other = points.clone();
            other[at] += 1 << 40;
            assert_ne!(of(&other), whole, "{at}");
        }
    }
}
