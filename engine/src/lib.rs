//! The storage engine of Runlode.
pub mod checksum;
pub mod entity;
pub mod error;
pub mod event;
pub mod hot;
pub mod id;
pub mod index;
pub mod pins;
pub mod point;
pub mod query;
pub mod series;
pub mod storage;
pub mod time;
pub mod varint;

pub use error::{Corruption, Error, Result};
pub use id::*;
pub use time::*;
