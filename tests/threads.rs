//! Threads that read by every way there is while others change everything under them. Contents describe themselves
//! (`common/words.rs`), so that a byte of another version, file or place is seen at once.

mod common;

#[path = "threads/free_for_all.rs"]
mod free_for_all;
#[path = "threads/held.rs"]
mod held;
#[path = "threads/ledger.rs"]
mod ledger;
#[path = "threads/owned.rs"]
mod owned;
