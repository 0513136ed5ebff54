//! What every public operation does and how it fails, topic by topic, on stores of several shapes.

#[path = "../common/mod.rs"]
mod common;

mod close;
mod copying;
mod directories;
mod errors;
mod gc;
mod globs;
mod handles;
mod instances;
mod listing;
mod locked;
mod metadata;
mod open_options;
mod oplog;
mod preload;
mod priorities;
mod ranges;
mod rename;
mod stats;
mod temp;
mod traits;
mod whole_files;
