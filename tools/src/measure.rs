//! Measures repeated calls.

use std::time::{Duration, Instant};

/// Median and worst of repeated calls, seconds.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Times {
    pub(crate) p50_s: f64,
    pub(crate) p99_s: f64,
    pub(crate) worst_s: f64,
}

/// Calls `call` at least `count` times, or until `at_most` has passed. Returns the last answer and the times.
pub(crate) fn repeat<T, E>(
    count: usize,
    at_most: Duration,
    mut call: impl FnMut() -> Result<T, E>,
) -> Result<(T, Times), E> {
    let begin = Instant::now();
    let mut times = Vec::with_capacity(count);
    loop {
        let at = Instant::now();
        let answer = call()?;
        times.push(at.elapsed().as_secs_f64());
        if times.len() >= count.max(1) || begin.elapsed() >= at_most {
            return Ok((answer, of(&mut times)));
        }
    }
}

/// Median and worst of single calls; sorts them.
pub(crate) fn of(times: &mut [f64]) -> Times {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get(((times.len() as f64 - 1.0) * share).round() as usize).copied().unwrap_or(0.0);
    Times { p50_s: at(0.5), p99_s: at(0.99), worst_s: at(1.0) }
}
