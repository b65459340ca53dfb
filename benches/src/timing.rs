//! Latencies: one sample a call, percentiles at the end.

use std::time::{Duration, Instant};

/// Nanoseconds of many calls.
#[derive(Debug, Default, Clone)]
pub struct Samples {
    ns: Vec<u64>,
    sorted: bool,
}

impl Samples {
    /// Room for `count` samples, so that none of the calls pays for growth.
    pub fn with_capacity(count: usize) -> Self {
        // Touched now: a page fault between two calls would still cool the caches.
        let mut ns = vec![0; count];
        ns.clear();
        Self { ns, sorted: false }
    }

    /// Adds a sample.
    #[inline]
    pub fn push(&mut self, took: Duration) {
        self.ns.push(took.as_nanos() as u64);
        self.sorted = false;
    }

    /// Calls `body` and keeps how long it took.
    #[inline]
    pub fn time<T>(&mut self, body: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = body();
        self.push(start.elapsed());
        result
    }

    /// Number of samples.
    pub fn count(&self) -> usize {
        self.ns.len()
    }

    /// The sample that a share of `quantile` lies below or at, in ns; NaN of none.
    pub fn quantile_ns(&mut self, quantile: f64) -> f64 {
        if !self.sorted {
            self.ns.sort_unstable();
            self.sorted = true;
        }
        let rank = (quantile * self.ns.len() as f64).ceil() as usize;
        self.ns.get(rank.clamp(1, self.ns.len().max(1)) - 1).map_or(f64::NAN, |&ns| ns as f64)
    }

    /// Median in ns.
    pub fn p50_ns(&mut self) -> f64 {
        self.quantile_ns(0.5)
    }

    /// Greatest in ns.
    pub fn max_ns(&mut self) -> f64 {
        self.quantile_ns(1.0)
    }

    /// Sum in seconds.
    pub fn sum_s(&self) -> f64 {
        self.ns.iter().sum::<u64>() as f64 / 1e9
    }

    /// Sum in seconds and count of the samples of at most `ns_max`.
    pub fn sum_s_within(&self, ns_max: f64) -> (f64, usize) {
        let within = self.ns.iter().filter(|&&ns| ns as f64 <= ns_max);
        let (sum, count) = within.fold((0u64, 0), |(sum, count), &ns| (sum + ns, count + 1));
        (sum as f64 / 1e9, count)
    }
}

/// What one pair of clock readings costs: (p50, p99) in ns. It is part of every sample and not taken off.
pub fn timer_overhead_ns() -> (f64, f64) {
    let mut samples = Samples::with_capacity(100_000);
    for _ in 0..100_000 {
        samples.time(|| ());
    }
    (samples.quantile_ns(0.5), samples.quantile_ns(0.99))
}

/// Median of a few numbers; NaN of none.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    match numbers.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => numbers[n / 2],
        n => (numbers[n / 2 - 1] + numbers[n / 2]) / 2.0,
    }
}

/// Repeats `body` until `at_least` calls and `at_most` time have passed; samples of all but the first.
pub fn repeat<T, E>(
    calls_min: usize,
    time_max: Duration,
    mut body: impl FnMut() -> Result<T, E>,
) -> Result<Samples, E> {
    std::hint::black_box(body()?);
    let mut samples = Samples::default();
    let start = Instant::now();
    while samples.count() < calls_min || (start.elapsed() < time_max && samples.count() < 100_000) {
        let result = samples.time(&mut body)?;
        std::hint::black_box(result);
    }
    Ok(samples)
}
