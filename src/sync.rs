//! The one place that names atomics, locks and threads: `std`'s in every ordinary build, loom's under
//! `--cfg memfs_loom`, so that the model checker runs the very code that ships.
//!
//! Invariant: no other module names `std::sync::atomic`, `std::thread` or `loom` (but `model`, which is loom's own).

#[cfg(not(memfs_loom))]
pub(crate) use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{
            AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
        },
    },
    thread,
};

#[cfg(memfs_loom)]
pub(crate) use crate::model::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(memfs_loom)]
pub(crate) use crate::model::condvar::Condvar;
#[cfg(memfs_loom)]
pub(crate) use loom::{
    sync::{Arc, Mutex, MutexGuard},
    thread,
};
