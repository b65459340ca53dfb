//! Which points of a source a store has already.

use crate::Point;

/// Whether a point of a source is among those of a store, which are in history order.
///
/// MLflow's tables hold ±1.797e308 for infinities, and an import turns them back only if it is asked to. So a point at one
/// of these values is there in either form: two imports of one source need not have been asked the same.
///
/// ```
/// use runlode::{Point, TimestampMs, is_imported};
///
/// let at = |value| Point { step: 1, time: TimestampMs(7), value };
/// assert!(is_imported(&[at(f64::MAX)], &at(f64::INFINITY)));
/// assert!(is_imported(&[at(f64::NEG_INFINITY)], &at(f64::MIN)));
/// assert!(!is_imported(&[at(0.5)], &at(0.25)));
/// ```
pub fn is_imported(known: &[Point], point: &Point) -> bool {
    let is_there = |point: &Point| known.binary_search_by(|other| other.history_order(point)).is_ok();
    let other = match point.value.abs() {
        f64::INFINITY => Some(f64::MAX),
        f64::MAX => Some(f64::INFINITY),
        _ => None,
    };
    is_there(point) || other.is_some_and(|other| is_there(&Point { value: other.copysign(point.value), ..*point }))
}
