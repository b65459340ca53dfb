//! The commands, one file each.

pub mod bench;
pub mod compact;
pub mod demo;
pub mod diff;
pub mod history;
pub mod import;
mod launches;
pub mod lineage;
pub mod lists;
mod liveness;
pub mod models;
pub mod plot;
pub mod replay;
pub mod rerun;
pub mod rewind;
pub mod run;
pub mod runs;
pub mod serve;
pub mod show;
pub mod sync;
pub mod tail;
pub mod ui;
pub mod verify;
