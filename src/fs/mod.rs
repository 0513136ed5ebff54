//! Floor 6: the public face. Checks arguments, spells names as `std::fs` does, counts and times; no mechanism.

mod dir;
mod file;
mod file_ref;
mod glob;
mod global;
mod memfs;
mod oplog;
mod options;
mod preload;
mod store;
#[cfg(all(test, not(memfs_loom)))]
mod tests;

pub use dir::{DirEntry, ReadDir, Walk};
pub use file::File;
pub use file_ref::FileRef;
pub use global::{
    create, create_dir_all, exists, gc, glob, global, init, metadata, open, preload, priority, read,
    read_dir, remove_file, set_priority, stats, write,
};
pub use memfs::MemFs;
pub use options::{OpenOptions, WriteOptions};
pub use preload::Preload;
