//! Floor 3: who deserves RAM. Owns the frequency sketch, the scoring rule, the hand's order and the clock of request epochs. Knows keys and
//! numbers; must never know names, nodes or bytes.
//!
//! # Invariants
//! 1. A saturated counter is only read: a hot file costs no write.
//! 2. An estimate is never below the true count since the last halving, up to saturation, except for an increment lost to a
//!    concurrent one on the same word (one attempt is made, see [`Sketch::record`]).
//! 3. Growing keeps every estimate: a block is copied to each of the blocks that its keys can fall into.

mod clock;
mod hand;
#[cfg(memfs_loom)]
#[path = "../model/scorer.rs"]
pub mod model;
mod rule;
mod sketch;

pub(crate) use clock::{RequestClock, age};
pub(crate) use hand::Hand;
pub(crate) use rule::{Band, Sample, score};
pub(crate) use sketch::Sketch;
