//! Backups of a store: exact at one position while the store is written, incremental, in a folder or an object store.
//!
//! ```text
//!  STORE ──Frozen──► log segments, series files, MANIFEST ─┐            TARGET/
//!                                                          ├─ chunks ──►  blobs/ab/abcdef...      each once, by SHA-256
//!  STORE/artifacts ──walk──► files ────────────────────────┘  then ────►  backups/NAME.json       written last
//! ```
//! - A backup exists once its manifest does. Everything that the manifest names was durable before. So a backup that was
//!   killed leaves blobs that nothing names, and every earlier backup whole; the next one uses these blobs.
//! - Nothing in a target is changed or removed by any call of this crate. Encryption, replication and retention are the
//!   target's.
//! - What a store can rebuild (index, derived series files) is not in a backup.
//!
//! Modules: `manifest` (what a backup names), `blob` (chunks by their hash), `target` (where bytes lie), `place` (the
//! backups in one), and the verbs
//! `make`, `check`, `restore`. `docs/format/backup.md` has every byte.
//!
//! ```
//! use runlode_backup::{At, Backups, MakeOptions};
//!
//! # let dir = tempfile::tempdir()?;
//! let (exp, target, copy) = (dir.path().join("exp"), dir.path().join("backups"), dir.path().join("copy"));
//! let store = runlode::Store::open(&exp)?;
//! let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
//! let backups = Backups::open(target.to_str().expect("a plain path"))?;
//! let made = backups.make(&exp, &MakeOptions::default(), &mut |_| {})?;
//! assert!(backups.check(&[], &mut |_| {})?.problems.is_empty());
//! backups.restore(&At::Name(made.name), &copy, &mut |_| {})?;
//! assert!(runlode::Store::open(&copy)?.run(run.id()).is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blob;
mod check;
mod error;
mod make;
mod manifest;
mod place;
mod restore;
mod target;
#[cfg(test)]
mod tests;

pub use check::{CheckReport, Problem};
pub use error::{Error, Result};
pub use make::{Made, MakeOptions};
pub use manifest::{Manifest, VERSION};
pub use place::{Backups, Progress};
pub use restore::{At, Restored};
