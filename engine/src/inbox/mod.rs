//! Inboxes: logs of processes that do not hold the store. The holder merges them into the store's log, exactly once.
//!
//! ```text
//! process 1                            process 2, which holds the store
//! InboxWriter ─ memory copy ─► inbox/WRITER/*.seg ─ Store::merge_inboxes ─► log, hot state
//!               no system call                       gathered: one frame for thousands
//! ```
//!
//! ```text
//! STORE/inbox/
//!   news                one word (8 bytes in use) that changes whenever an inbox is created; every holder maps it
//!   WRITER/             the writer's id, 32 hex digits, random, never used again
//!     lock              advisory lock, held while the writer lives; its text is for messages only
//!     00000001.seg ...  ordinals without a gap; each is removed once it is merged and durable in the store's log
//! STORE/writers/
//!   WRITER              says that this inbox has segments
//!
//! 0        64    72         128                     length given at creation
//! +--------+-----+----------+-------+-----+--------+
//! | header | end | zeros    | frame | ... | zeros  |       frames as in the store's log
//! +--------+-----+----------+-------+-----+--------+
//!
//! header, 64 bytes                              end, 8 bytes
//!   0  magic "RLSEGM\r\n"                         64  where the published frames end u64; all ones: it is not kept,
//!   8  version u32                                    the frames themselves say where they end
//!  12  flags u32: 2 = of an inbox
//!  16  store id [16]
//!  32  ordinal u64
//!  40  writer id [16]
//!  56  zeros [4]
//!  60  crc32 of bytes 0..60
//! ```
//!
//! Frames differ from those of the store's log in four points. In `head_crc` the writer's id follows the store's id.
//! The Lsn is the writer's own *number*, from 1, without a gap. The numbers of metric keys are the writer's own, and
//! each segment defines the keys that it uses. A *mark* says that the next segment goes on, a *close* that nothing
//! follows; both take no number of their own but carry that of the next frame.
//!
//! Invariants:
//! - A frame is stored whole before `end` is stored (release), and is read only below `end` (acquire). Where appends
//!   are system calls, `end` is not kept: a frame counts once its crcs are right, and the first one that is not whole
//!   ends the log for now. Once the writer's lock is free, whatever follows the last whole frame is a torn end.
//! - The origin section of a merged batch says which numbers it holds. The last merged number of each writer is part of
//!   the store's state: replay, index and compaction keep it ([`crate::hot::writers`]). Only the next number is merged.
//! - A segment that must be there and is not stops the merge before the gap, and every reader reports it.
//! - A segment is removed once all of it is durable in the store's log; the folder goes once the lock is free too.
//!   Nothing in an inbox is ever cut or written again.
//! - Checking an inbox without news costs the holder one read of a mapped word.

mod gather;
mod inspect;
mod judge;
mod merge;
#[cfg(test)]
mod missing_tests;
mod mutant;
mod note;
mod peek;
mod reader;
mod report;
mod segment;
#[cfg(test)]
mod sim_tests;
#[cfg(test)]
mod sync_sim_tests;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use merge::StoreInboxes;
#[cfg(any(test, feature = "testing"))]
pub use note::note_again;
pub use report::{InboxProblem, InboxProblemKind, MergeReport};
pub(crate) use segment::INBOX_DIR;
pub use writer::InboxWriter;
