//! Recorded histories of single-file operations and renames, on few paths and under eviction, each explained by one order.

mod common;

#[path = "linearizability/checker.rs"]
mod checker;
#[path = "linearizability/files.rs"]
mod files;
#[path = "linearizability/histories.rs"]
mod histories;
