//! Other software with the same task.

pub mod pco_alone;
pub mod sqlite;
