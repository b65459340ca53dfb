//! Sealed series files: compressed chunks and their rollups. Knows points and files, neither the log nor the index.
//!
//! [`SeriesFileWriter`] cuts points into chunks and writes a file, [`SeriesFile`] reads chunks, rollups and the
//! directory back, [`SeriesCache`] keeps rollups that were read, `ByPosition` sorts points back into the order in
//! which they were logged. [`crate::query::points`] answers questions about several files and the hot tail together.

mod blocks;
mod by_position;
mod cache;
mod chunk;
mod codec;
mod directories;
mod directory;
mod entry;
mod file;
mod fixed;
mod group;
mod items;
mod list;
mod order;
mod read;
mod rollup;
mod value;
mod window;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use by_position::{Budget, ByPosition};
pub use cache::SeriesCache;
pub use chunk::ColumnSet;
pub(crate) use directories::Directories;
pub use entry::ChunkEntry;
pub use file::{CHUNK_POINTS, SeriesFileInfo, SeriesFileWriter};
pub(crate) use items::Items;
pub use list::{ChunkList, ChunkRef};
pub(crate) use order::{in_latest_order, sort_latest};
pub use read::SeriesFile;
pub(crate) use read::forget_group;
pub use rollup::RollupBlock;
pub use value::ValueHint;
pub(crate) use window::Window;

pub use crate::summary::{ROLLUP_POINTS, Summary};
pub(crate) use crate::summary::{greatest, least};
