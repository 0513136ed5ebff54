//! MemFS: a memory-first file store.
#![expect(dead_code, reason = "floors are landing one by one")]

mod arena;
mod config;
mod epoch;
mod error;
mod index;
mod map;
mod path;
mod scorer;
mod segment;
mod stats;
mod sync;

pub use config::{Builder, Durability, Priority, StorageMode};
pub use error::{Error, Result};
