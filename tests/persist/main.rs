//! Stores that outlive their process.
#![cfg(target_os = "linux")]

mod damage;
mod fsck;
mod history;
mod kill;
mod races;
mod reopen;
mod space;

use memfs::{Builder, MemFs, StorageMode};
use std::path::Path;

/// A store of 4 MiB in `dir`, in chunks of 64 KiB.
fn builder(dir: &Path) -> Builder {
    MemFs::builder()
        .memory_limit_bytes(4 << 20)
        .mode(StorageMode::Persist)
        .storage_path(dir)
        .worker_threads(2)
}

fn open(dir: &Path) -> MemFs {
    builder(dir).build().unwrap()
}

/// Checks the structures, where the build has that.
fn validate(fs: &MemFs) {
    #[cfg(any(debug_assertions, feature = "validate"))]
    fs.validate();
    #[cfg(not(any(debug_assertions, feature = "validate")))]
    let _ = fs;
}

/// Bytes that tell where they belong.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x as u8
        })
        .collect()
}
