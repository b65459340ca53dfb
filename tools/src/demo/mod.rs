//! The demo: real runs, then volume, then a crash. Every number that it prints is measured when it is printed.
//!
//! ```text
//!  real.rs    import what ships with the project, runs, searches, curves
//!  load.rs    10 million points of a training-shaped stream, bytes, query times
//!  crash.rs   a child (writer.rs) is killed in the middle of a write; what it was told is compared with what is there
//! ```

pub mod crash;
pub mod load;
pub mod real;
pub mod writer;
