//! pco over whole columns, with all the time it wants: nothing stored but step, time and value of each series.

use pco::ChunkConfig;
use pco::standalone::simple_compress;

use crate::Result;
use crate::stream::StreamPoint;

/// Bytes that the columns of these points take, series by series.
///
/// # Errors
/// Those of pco.
pub fn bytes(points: &[StreamPoint], keys: usize) -> Result<u64> {
    let config = ChunkConfig::default();
    let mut bytes = 0;
    for key in 0..keys {
        let of_key = || points.iter().filter(move |point| point.key == key);
        let steps: Vec<i64> = of_key().map(|point| point.step).collect();
        let times: Vec<i64> = of_key().map(|point| point.time_ms).collect();
        let values: Vec<f64> = of_key().map(|point| point.value).collect();
        bytes += simple_compress(&steps, &config)?.len();
        bytes += simple_compress(&times, &config)?.len();
        bytes += simple_compress(&values, &config)?.len();
    }
    Ok(bytes as u64)
}
