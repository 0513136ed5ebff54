//! The one place that names `crossbeam_epoch`: deferred reclamation.
//!
//! Every engine has a [`Collector`] of its own, so that a reader stuck in one store holds back the memory of that store
//! alone. A thread that works on a store registers once and keeps the [`Handle`].
//!
//! # Invariants
//! 1. A guard is held for memory work only: never across I/O, never across a wait.
//! 2. What is retired was unlinked before: no thread that pins later can find it.
//! 3. A retired object's destructor touches only memory that outlives the collector (`Core` drops its collector first).

#[cfg(memfs_loom)]
pub(crate) use crossbeam_epoch::unprotected;
pub(crate) use crossbeam_epoch::{Collector, Guard, LocalHandle as Handle};
