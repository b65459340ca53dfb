//! What is derived from the log: entities, names, latest values, chunk directory, event lists, positions.

pub mod backend;
