//! The simulated disk's own random numbers: splitmix64, so that a seed always means the same.

/// Numbers from a seed.
#[derive(Debug, Clone)]
pub struct SimRng(u64);

impl SimRng {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it never ends, so it is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `bound`, which is not 0. The bias is far below what a test could see.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True `count` times of 1,000.
    pub fn per_mille(&mut self, count: u64) -> bool {
        self.below(1_000) < count
    }
}

/// A number that looks unlike its argument (splitmix64's finalizer).
pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}
