//! What a training loop logs: at every step one value for each of some keys, the same numbers in every run.
//!
//! - step: +1 a row;
//! - time: each key has a clock of its own that goes on by 100 ms, give or take 20 (normal): 6.4 bits a point that
//!   no codec can take away (0.80 bytes), and no two keys share a time column;
//! - value: see [`Values`].

use std::sync::Arc;

use crate::rng::Rng;

/// Kinds of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// A falling loss with noise of 16 %, in f32: 23 bits a value that no codec can take away (2.87 bytes).
    Loss,
    /// An accuracy with four decimals, noise of 2 %.
    Decimals,
    /// One constant a key.
    Constant,
    /// A learning rate that falls along a cosine, in f64.
    Cosine,
}

/// One point as it is logged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StreamPoint {
    /// Index of the key, from 0.
    pub key: usize,
    /// Step.
    pub step: i64,
    /// Unix ms.
    pub time_ms: i64,
    /// Value.
    pub value: f64,
}

/// Entries of the tables of noise; a prime distance between keys keeps them apart.
const TABLE: usize = 1 << 20;
const START_MS: i64 = 1_700_000_000_000;
/// Steps of a whole cosine.
const COSINE_STEPS: f64 = 10_000_000.0;

/// An endless stream of rows.
#[derive(Debug, Clone)]
pub struct Stream {
    kind: Values,
    step: i64,
    clocks: Vec<i64>,
    trend: f64,
    cursor: usize,
    steps_ms: Arc<[u16]>,
    noise: Arc<[f32]>,
}

impl Stream {
    /// A stream over `keys` keys that begins at step 0.
    pub fn new(kind: Values, keys: usize) -> Self {
        let mut rng = Rng::new(7);
        let steps_ms = (0..TABLE).map(|_| (100.0 + 20.0 * rng.normal()).round().max(1.0) as u16).collect();
        let noise = (0..TABLE).map(|_| rng.normal() as f32).collect();
        Self { kind, step: 0, clocks: vec![START_MS; keys], trend: 1.0, cursor: 0, steps_ms, noise }
    }

    /// The next step's number.
    pub fn step(&self) -> i64 {
        self.step
    }

    /// Gives the next row's points, in the order of keys.
    #[inline]
    pub fn row(&mut self, mut each: impl FnMut(StreamPoint)) {
        let step = self.step;
        // Once a row, and only where it is wanted: a cosine costs as much as logging a point.
        let cosine = match self.kind {
            Values::Cosine => (std::f64::consts::PI * step as f64 / COSINE_STEPS).cos(),
            _ => 0.0,
        };
        for key in 0..self.clocks.len() {
            let at = self.cursor & (TABLE - 1);
            self.cursor += 1;
            self.clocks[key] += i64::from(self.steps_ms[at]);
            let noise = f64::from(self.noise[(at * 5 + 3) & (TABLE - 1)]);
            let value = match self.kind {
                Values::Loss => f64::from(((0.3 + 2.0 * self.trend) * (1.0 + 0.16 * noise)) as f32),
                Values::Decimals => ((0.9 - 0.4 * self.trend + 0.02 * noise) * 1e4).round() / 1e4,
                Values::Constant => 0.1 * (key + 1) as f64,
                Values::Cosine => 0.5e-3 * (key + 1) as f64 * (1.0 + cosine),
            };
            each(StreamPoint { key, step, time_ms: self.clocks[key], value });
        }
        self.trend *= 1.0 - 1e-6;
        self.step += 1;
        // Rows of 2^n keys would meet the same noise again and again.
        if self.cursor & (TABLE - 1) < self.clocks.len() {
            self.cursor += 7;
        }
    }

    /// Fills a batch of `points` points (a multiple of the keys) with whole rows.
    #[inline]
    pub fn fill<T>(&mut self, batch: &mut Vec<T>, points: usize, mut make: impl FnMut(StreamPoint) -> T) {
        batch.clear();
        while batch.len() < points {
            self.row(|point| batch.push(make(point)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_same_each_time_and_its_steps_and_times_grow() {
        let points = || {
            let (mut stream, mut points) = (Stream::new(Values::Loss, 10), Vec::new());
            stream.fill(&mut points, 1_000, |point| point);
            points
        };
        let first = points();
        assert_eq!(first, points());
        assert_eq!(first.len(), 1_000);
        for key in 0..10 {
            let of_key: Vec<_> = first.iter().filter(|point| point.key == key).collect();
            assert!(of_key.windows(2).all(|w| w[1].step == w[0].step + 1 && w[1].time_ms > w[0].time_ms));
            assert!(of_key.iter().all(|point| point.value == f64::from(point.value as f32)));
        }
    }
}
