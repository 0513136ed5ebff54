//! Floor 5: the life of a file's bytes. Owns the content word, the paths of reading and writing, swap-out and swap-in, the
//! eviction hand, gc, preloads and background work. Knows names only as what the index looks up; must never know how a call
//! of the public face is spelled.
//!
//! The states of the content word and who may exchange what for what: docs/design/content.md.

#[cfg(not(memfs_loom))]
mod ahead;
mod commit;
mod condense;
mod core;
mod edit;
mod encode;
mod flush;
mod gc;
mod ground;
mod heat;
mod inspect;
mod lead;
mod limbo;
mod local;
mod locked;
mod log;
mod loose;
#[cfg(memfs_loom)]
#[path = "../model/tier.rs"]
pub mod model;
#[cfg(memfs_loom)]
#[path = "../model/limbo.rs"]
pub mod model_limbo;
mod names;
mod open;
mod preload;
mod read;
mod room;
mod stage;
mod swap;
mod tls;
mod tree;
mod upkeep;
mod word;
mod worker;
mod write;

pub use gc::GcReport;
pub use inspect::{FileKind, Location, Metadata};

pub(crate) use core::{At, Core, default_dir};
pub(crate) use edit::Change;
pub(crate) use ground::{HeldBlock, OWNER};
pub(crate) use local::Local;
pub(crate) use names::{Opening, root_stays};
pub(crate) use preload::Preloading;
pub(crate) use read::{Keep, KeptChunk, OnePiece};
pub(crate) use tree::MAX_LEN;
pub(crate) use write::Naming;
