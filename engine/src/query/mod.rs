//! Reads: what users ask of points.
pub mod points;
