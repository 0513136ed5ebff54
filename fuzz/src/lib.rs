//! Stores on disk as bytes, to be harmed and looked at: what the targets for files have in common.
//!
//! The harmed stores are kept in `stores/`, so that an input means the same in every run; `cargo run --example stores` makes
//! them anew, with the seeds. What they held is known from a temporary store that goes through the same steps.

mod bytes;
mod check;
mod sample;
mod seal;

pub use bytes::{ALONE, CALLED, PADDED, SAVED, SEALED, SECOND, Target, USED, replace};
pub use check::{Files, examine};
pub use sample::{KINDS, Sample, open, open_for, sample, steps};
