//! Inboxes: logs of processes that do not hold the store, merged into its log exactly once.
//!
//! ```text
//! process 1                            process 2, which holds the store
//! InboxWriter ─ memory copy ─► inbox/WRITER/*.seg ─ Store::merge_inboxes ─► log, hot state
//!               no system call                       gathered: one frame for thousands
//! ```
//!
//! ```text
//! STORE/inbox/
//!   news                8 bytes in use: a word that changes whenever an inbox was made; every holder has it mapped
//!   WRITER/             the writer's id, 32 hex digits; never used again
//!     lock              advisory lock, held while the writer lives
//!     00000001.seg ...  ordinals without a gap; removed one by one once merged and durable there
//!
//! 0        64    72         128                     length given at creation
//! +--------+-----+----------+-------+-----+--------+
//! | header | end | zeros    | frame | ... | zeros  |       frames as in the store's log (`log::frame`)
//! +--------+-----+----------+-------+-----+--------+
//!
//! header (64)    0 magic "RLSEGM\r\n"  8 version u32  12 flags u32 (2 = of an inbox)  16 store id [16]
//!               32 ordinal u64  40 writer id [16]  56 zeros [4]  60 crc32 of 0..60
//! end u64       where the published frames end; all ones: it is not kept, the frames themselves say
//! ```
//!
//! What is special about the frames: the store id in `head_crc` is followed by the writer's id; the Lsn is the
//! writer's own *number*, from 1, without a gap; numbers of metric keys are the writer's own, and each segment defines
//! those that it uses. A *mark* says that the next segment goes on, a *close* that nothing comes any more; both take
//! no number, theirs is that of the frame that would follow.
//!
//! Invariants:
//! - A frame is stored whole before `end` is stored (release), and read only below it (acquire). Where appends are
//!   system calls `end` is not kept: a frame counts if its crcs are right, and one that is not there yet ends the log
//!   for now. Once the writer's lock is free, what does not end in a whole frame is the end.
//! - A merged batch says in its origin section which numbers it holds. The store's last number of a writer is part of
//!   its state: replay, index and compaction keep it ([`crate::hot::writers`]). Only the number behind it is merged.
//! - A segment is removed when all of it is durable in the store's log, the folder when in addition the lock is free.
//!   Nothing here is ever cut or written again.
//! - The holder only looks at a mapped word of an inbox in which nothing is new.

mod gather;
mod merge;
mod mutant;
mod reader;
mod segment;
#[cfg(test)]
mod sim_tests;
#[cfg(test)]
mod sync_sim_tests;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use merge::Inboxes;
pub use merge::{InboxProblem, InboxProblemKind, MergeReport};
pub(crate) use segment::INBOX_DIR;
pub use writer::{InboxWriter, Patience};
