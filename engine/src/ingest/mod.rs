//! From a call to a batch in the log: what must hold, and the order of those who wait.

pub mod validate;
