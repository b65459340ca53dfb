//! The demo: real runs, then volume, then a crash. Every number is measured when it is printed.
//!
//! ```text
//!  real.rs    imports what ships with the project, searches runs, draws curves
//!  load.rs    10 million points of a training-shaped stream: bytes, query times
//!  crash.rs   a child (writer.rs) is killed in the middle of a write; what it acknowledged is compared with the store
//! ```

pub mod crash;
pub mod load;
pub mod real;
pub mod writer;
