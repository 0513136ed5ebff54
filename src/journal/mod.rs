//! History on disk: what happened to names and contents, so that it can be told again after a crash.
//!
//! Owns the files `journal-<number>`, `front-<number>` and `checkpoint-<number>` of a storage directory. It is handed batches of operations, in
//! order, and hands back, when a store is opened, the nodes that they led to. It must never know the index, a block, a
//! thread, or what an extent is. The format is in docs/format.md, the reasons in docs/design/journal.md.
//!
//! # Invariants
//! 1. A batch is in the journal whole or not at all, and before it is written all batches before it are durable: what recovery
//!    finds is a prefix of history.
//! 2. What a torn tail may be is cut; what cannot be one is `Corrupt`. One changed byte anywhere is never taken for a tail.
//! 3. A file that a write or a sync failed on is not written again, and counts up to where the next one begins.
//! 4. `checkpoint-S` is the state before operation S. It counts only with `journal-S`, which is made first; no file is removed
//!    before what makes it needless is durable.
//! 5. Making a checkpoint takes memory by the journal's length, never by the store's.
//! 6. What is in a front and counts follows what is in the journal; it is in the next frame of that.

mod batch;
mod checkpoint;
mod delta;
mod entry;
mod files;
mod frame;
mod front;
mod front_reader;
mod fsck;
mod id_set;
#[expect(clippy::module_inception, reason = "the file is named after the thing")]
mod journal;
mod log_file;
mod log_reader;
mod merge;
mod recovery;
mod salvage;
#[cfg(all(test, not(memfs_loom)))]
mod tests;
mod tree;
mod view;
mod wire;

pub(crate) use batch::Batch;
pub(crate) use checkpoint::StoreParams;
pub(crate) use entry::{Entry, Kind};
pub(crate) use front::Redo;
pub(crate) use front_reader::Contents;
pub(crate) use fsck::{Fsck, Harm, fsck};
#[cfg(test)]
pub(crate) use journal::Opened;
pub(crate) use journal::{CheckpointJob, Journal};
pub(crate) use recovery::Recovery;
pub(crate) use view::NodeView;

/// Number of a store's first operation.
const FIRST_SEQ: u64 = 1;
