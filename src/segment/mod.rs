//! Disk: where bytes go that do not fit in RAM.
//!
//! Owns segment files (preallocated, appended to, recycled whole), the records in them and their checksums, the share of
//! the disk that the store may use, and the lock on a storage directory. It must never know a name, what an owner number
//! means, or a RAM block. The races are argued in docs/design/segment.md.
//!
//! # Invariants
//! 1. An [`ExtentRef`] is returned only after the whole record, header and checksum included, was written without error.
//! 2. A segment's space is handed out again only when no extent in it is live, none is being written, none is held: all
//!    three are counts in one word ([`state`]), so that exactly one thread sees them all reach zero.
//! 3. The bytes of all segment files together, spares included, and what the floor above has charged, never pass the storage
//!    limit ([`ledger`]).
//! 4. Moving live extents together is always possible under a limit of four segments or more: one is kept for it.
//! 5. No call waits for another thread, except that one which would fail for want of space looks again for a bounded time
//!    (2 s or so) while another thread is bringing some. What waits otherwise, waits for the disk.
//! 6. A file that is shorter than it was, or a disk that cannot give a page, is an error of the call and never a signal.
//!    (Loads by whoever was lent a slice are not calls of this floor: see [`SegmentHold::slice`].)
//! 7. Bytes that were appended before a sync of a lasting store began, and are trusted when it has returned, outlast any crash
//!    ([`durable`]). Nothing of a segment that failed to be synced is trusted that was not before.

mod append;
mod cell;
#[cfg(all(test, not(memfs_loom)))]
pub(crate) mod crash;
mod dirlock;
mod durable;
mod extent;
mod fault;
mod header;
mod hold;
mod io;
mod lasting;
mod ledger;
#[cfg(memfs_loom)]
#[path = "../model/segment.rs"]
pub mod model;
mod params;
mod read;
mod record;
mod recover;
#[expect(clippy::module_inception, reason = "the file is named after the thing: one segment")]
mod segment;
mod segments;
mod sparse;
mod state;
mod stock;
#[cfg(all(test, not(memfs_loom)))]
mod tests;
#[cfg(any(test, debug_assertions, feature = "validate"))]
mod validate;

pub(crate) use dirlock::DirLock;
pub(crate) use extent::ExtentRef;
pub(crate) use hold::SegmentHold;
pub(crate) use io::{Disk, DiskFile, RealDisk};
#[cfg(all(test, not(memfs_loom)))]
pub(crate) use read::ReadError;
pub(crate) use segments::{SegmentConfig, Segments, StorageKind};
pub(crate) use sparse::SparseSegments;
