//! RAM under one budget: content blocks, raw memory for tables, typed pools.
//!
//! Owns address space (a region per size class, and one for the runs of pages that longer contents are), which slots of it are free, which pages of it are resident, and the
//! budget they are charged to. Knows nothing of names, files, disks or epochs: when a block may be freed is the caller's
//! to know. The design, with its pictures and bounds, is in `docs/design/arena.md`.
//!
//! # Invariants
//! 1. What is resident was charged first: charged bytes never pass the limit (`budget`), pages go back before they are
//!    refunded (`slab`).
//! 2. A slot has one holder: it is taken by the read-modify-write that clears its bit, freed by the one that sets it
//!    (`bitmap`); what was done with it before the one happens before what is done with it after the other.
//! 3. No operation waits for another thread. A thread that is paused anywhere keeps from the others what it holds at that
//!    moment: a batch of slots or a content, at most two megabytes of spans or pages under trim, and no more.
//! 4. Memory is stuck in no class: a wholly free span is found in constant time (`slab::trim`), a sparse one can be
//!    emptied (`sparse`); pages of runs pass from one length to another as they are (`runs`).

mod bitmap;
mod block;
mod budget;
mod class;
mod ground;
mod heap;
mod magazine;
#[cfg(memfs_loom)]
#[path = "../model/arena.rs"]
pub mod model;
mod pages;
mod poison;
mod pool;
mod recent;
mod runs;
mod sizes;
mod slab;
mod span;
mod sparse;

#[cfg(all(test, not(memfs_loom)))]
mod tests;

pub(crate) use block::{BLOCK_REF_BITS, BlockRef, Near};
pub(crate) use budget::{Budget, Charge};
pub(crate) use class::metadata_reserve;
pub(crate) use heap::Arena;
pub(crate) use magazine::Magazine;
pub(crate) use pool::{Pool, PoolMagazine};
pub(crate) use sparse::SparseSpans;
