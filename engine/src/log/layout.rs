//! What the header and the footer of a segment share; [`super::segment`] has the layout.

/// Bytes of a segment's header; the first frame begins here.
pub const SEGMENT_HEADER_BYTES: u64 = 64;
/// Version of segments as this build appends them, and the newest that it reads.
pub const SEGMENT_VERSION: u32 = 2;
