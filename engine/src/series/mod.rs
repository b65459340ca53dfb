//! Sealed series files: compressed chunks, rollups, and exact reads over them.
