//! MemFS: a memory-first file store, embedded.
//!
//! Virtual paths map to contents. Contents live in RAM under a hard limit on the whole footprint; what does not fit is
//! swapped out to local disk, worst files first, and swapped back in when it is read. Reads, writes, creation, removal and
//! look-up take no lock and wait for no other thread.
//!
//! ```
//! use memfs::{MemFs, Priority};
//!
//! let fs = MemFs::builder().memory_limit_bytes(64 << 20).build()?;
//! fs.write("/models/en/vocabulary.txt", "the\nof\nand")?; // parents are made with it
//! fs.set_priority("/models/en/vocabulary.txt", Priority::HIGH)?;
//!
//! let lines = fs.read_with("/models/en/vocabulary.txt", |bytes| bytes.split(|b| *b == b'\n').count())?; // no copy
//! assert_eq!(lines, 3);
//!
//! let held = fs.get("/models/en/vocabulary.txt")?; // stays as it is, whatever becomes of the file
//! fs.remove_file("/models/en/vocabulary.txt")?;
//! assert_eq!(&held[..3], b"the");
//! # Ok::<(), memfs::Error>(())
//! ```
//!
//! Start at [`MemFs`]. How it is built: `ARCHITECTURE.md` and `docs/design/` in the repository.

// So that tests of the whole store can be shared with those outside.
#[cfg(test)]
extern crate self as memfs;

mod arena;
mod config;
mod epoch;
mod error;
mod failpoint;
mod fs;
mod index;
mod journal;
mod map;
#[cfg(memfs_loom)]
pub mod model;
mod order;
mod path;
mod scorer;
mod segment;
mod stats;
mod sync;
mod tier;

pub use config::{Builder, Durability, Priority, StorageMode};
pub use error::{Error, Result};
pub use fs::{
    DirEntry, File, FileRef, Finding, FsckReport, MemFs, OpenOptions, Preload, ReadDir, Walk, WriteOptions,
    create, create_dir_all, exists, fsck, gc, glob, global, init, metadata, open, preload, priority, read,
    read_dir, remove_file, salvage, set_priority, stats, write,
};
pub use stats::{
    CacheStats, DiskStats, IndexStats, LatencyStats, MemoryStats, OperationStats, Percentiles,
    SegmentFigures, Stats,
};
pub use tier::{FileKind, GcReport, Location, Metadata};

/// The example of the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
