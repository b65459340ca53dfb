//! Metric series: points, their packed and compressed forms, rollups, and exact reads over them.

pub mod point;
