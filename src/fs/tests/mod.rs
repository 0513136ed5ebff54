//! Whole stores over a disk that can be made to fail, and to crash.

#[path = "../../../tests/persist/history.rs"]
mod history;

mod corrupt;
mod crash;
mod kills;
mod meetings;
mod progress;
mod retry;

use super::{MemFs, store::Opener};
use crate::{
    config::{Builder, Durability, StorageMode},
    error::{Error, Result},
    segment::crash::{CrashDisk, Fault},
};
use history::{Dice, Step, dump};
use std::{path::Path, sync::Arc};

const DIR: &str = "/store";

/// Bytes that tell where they belong.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    (0..len).map(|_| dice.next() as u8).collect()
}

fn builder() -> Builder {
    MemFs::builder()
        .mode(StorageMode::Persist)
        .storage_path(DIR)
        .memory_limit_bytes(1 << 20)
        .chunk_size(16 << 10)
        .segment_size(256 << 10)
        .worker_threads(0)
        .durability(Durability::OnClose)
}

/// Opens the store on this disk; not shared with anybody.
fn open(disk: &CrashDisk, builder: Builder) -> Result<MemFs> {
    let opener = Opener::over(builder.resolve()?, Arc::new(disk.clone()))?;
    Ok(MemFs { opener: Arc::new(opener) })
}

/// A store that is never harmed.
fn reference() -> MemFs {
    MemFs::builder().memory_limit_bytes(32 << 20).worker_threads(0).build().expect("room")
}

type Dump = Vec<(String, crate::FileKind, u8, u64, u64)>;

/// Where everything that is left of a store is read without a panic: contents that cannot be read are left out.
fn readable(fs: &MemFs) -> Result<Vec<(String, Option<Vec<u8>>)>> {
    let mut all = Vec::new();
    for entry in fs.walk("/")? {
        if entry.kind() == crate::FileKind::File {
            all.push((entry.path().to_owned(), fs.read(entry.path()).ok()));
        }
    }
    Ok(all)
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new(DIR).join(name)
}
