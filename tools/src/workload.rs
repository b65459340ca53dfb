//! A stream of metric points shaped like a training: many keys a step, consecutive steps, jittering times, falling
//! losses with the noise of an f32. The same seed gives the same numbers.

use runlode::engine::KeyedPoint;
use runlode::{KeyId, LocalRun, Point, Result, TimestampMs};

/// Names of the metrics of the stream.
pub const KEYS: [&str; 10] = [
    "train/loss",
    "train/acc",
    "train/grad_norm",
    "val/loss",
    "val/acc",
    "lr",
    "gpu/util",
    "gpu/memory",
    "tokens/s",
    "aux/loss",
];

/// A stream of points of one run.
#[derive(Debug, Clone)]
pub struct Training {
    keys: Vec<KeyId>,
    levels: Vec<f32>,
    step: i64,
    time_ms: i64,
    random: u64,
}

impl Training {
    /// Begins a stream at step 0.
    ///
    /// # Errors
    /// As [`runlode::engine::Store::metric_key`].
    pub fn begin(run: &LocalRun, seed: u64) -> Result<Self> {
        let engine = run.store().engine();
        let keys = KEYS.iter().map(|key| engine.metric_key(key)).collect::<Result<Vec<_>>>()?;
        let levels = (0..keys.len()).map(|index| 1.0 + index as f32 / 4.0).collect();
        Ok(Self { keys, levels, step: 0, time_ms: 1_760_000_000_000, random: seed })
    }

    /// Steps made so far.
    pub fn steps(&self) -> i64 {
        self.step
    }

    /// Replaces the content of `points` by the points of the next `steps` steps.
    pub fn fill(&mut self, steps: usize, points: &mut Vec<KeyedPoint>) {
        points.clear();
        for _ in 0..steps {
            let step = self.step;
            let time = TimestampMs(self.time_ms);
            for (key, level) in self.keys.iter().zip(&mut self.levels) {
                *level *= 0.999_998;
                // SplitMix64.
                self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let noise = (mixed >> 40) as f32 / (1 << 24) as f32 - 0.5;
                let value = f64::from(*level + *level * noise * 0.1);
                points.push(KeyedPoint { key: *key, point: Point { step, time, value } });
            }
            self.step += 1;
            self.time_ms += 40 + (self.random >> 61).cast_signed();
        }
    }
}
