//! What a node remembers of its use: reads, boost, priority, last access. One word holds what must change together.
//!
//! ```text
//!  63            32 31      16 15     8 7        0
//! ┌────────────────┬──────────┬────────┬──────────┐
//! │ progress       │ pass     │ count  │ priority │
//! └────────────────┴──────────┴────────┴──────────┘
//! ```
//! `progress` counts the reads towards boosts, `pass` is the sketch's pass it was last brought up to date in: it halves with
//! every pass since, as the sketch's counters do. `count` counts changes of the priority where an order of changes is kept.

use super::{
    core::Core,
    local::{DRAW_ONE_IN, Local},
};
use crate::{
    config::Priority,
    index::Node,
    sync::{AtomicU64, Ordering::*},
};

/// Reads are counted one by one to here, and beyond in steps of `STEP`, each taken with a chance of one in `STEP`.
const EXACT_READS: u32 = 64;
const STEP: u32 = DRAW_ONE_IN;
/// From here on in longer steps, as seldom: threads that read one file would else pass its line to and fro.
const MANY_READS: u32 = 1 << 16;
const LONG_STEP: u32 = 16 * STEP;

const COUNT_SHIFT: u32 = 8;
const PASS_SHIFT: u32 = 16;
const PROGRESS_SHIFT: u32 = 32;

/// The word of a file that was never read.
pub(crate) fn fresh(priority: Priority) -> u64 {
    u64::from(priority.get())
}

pub(crate) fn priority(node: &Node) -> Priority {
    // Relaxed throughout this module: the word orders nothing but itself.
    Priority::from_level(node.heat.load(Relaxed) as u8)
}

/// The priority that reads have lifted a file to.
pub(crate) fn effective(core: &Core, node: &Node) -> Priority {
    let heat = node.heat.load(Relaxed);
    let own = Priority::from_level(heat as u8);
    let threshold = core.config.boost_threshold;
    if threshold == 0 || own >= Priority::BOOST_CAP {
        return own;
    }
    let boost = faded(heat, core.sketch.passes()) / threshold;
    let lifted = u32::from(own.get()).saturating_add(boost).min(Priority::BOOST_CAP.get().into());
    Priority::from_level(lifted as u8)
}

fn faded(heat: u64, passes: u64) -> u32 {
    let since = (passes as u16).wrapping_sub((heat >> PASS_SHIFT) as u16);
    ((heat >> PROGRESS_SHIFT) as u32).checked_shr(since.into()).unwrap_or(0)
}

/// Sets a file's own priority and clears its boost.
pub(crate) fn set_priority(core: &Core, node: &Node, to: Priority) {
    let pass = u64::from(core.sketch.passes() as u16) << PASS_SHIFT;
    // A swap and no store for the model checker's sake: loom would let a read's count, based on the word before, come after a store.
    node.heat.swap(pass | u64::from(to.get()), Relaxed);
    disturb_if_locked(node, to);
}

/// After the priority was set: an eviction that has not seen it fails (`locked`, invariant 2).
fn disturb_if_locked(node: &Node, to: Priority) {
    if to.is_locked() {
        node.disturb();
    }
}

/// The same for a change that has its place in the order of changes and is in the content word now, by any number of helpers:
/// `mark` is the change's, and remembers which count it was based on. One that comes 256 changes late would be deceived.
pub(crate) fn apply_priority(core: &Core, node: &Node, to: Priority, mark: &AtomicU64) {
    const SEEN: u64 = 1 << 32;
    let count = |heat: u64| heat >> COUNT_SHIFT & 0xff;
    if mark.load(Acquire) == 0 {
        // While the change is in the content word no other one is applied: until this is, the count stands.
        let _ = mark.compare_exchange(0, SEEN | count(node.heat.load(Acquire)), AcqRel, Acquire);
    }
    let before = mark.load(Acquire) & !SEEN;
    let pass = u64::from(core.sketch.passes() as u16) << PASS_SHIFT;
    let mut heat = node.heat.load(Acquire);
    while count(heat) == before {
        let next = pass | ((before + 1) & 0xff) << COUNT_SHIFT | u64::from(to.get());
        match node.heat.compare_exchange(heat, next, AcqRel, Acquire) {
            Ok(_) => break,
            Err(now) => heat = now,
        }
    }
    // By every helper: the one who has set it may stand still here.
    disturb_if_locked(node, to);
}

/// Notes the second. Asking for it is a tenth of a hot read, so a file's first reads do, then those that are counted and
/// those that come long after the one before.
pub(crate) fn note_access(node: &Node) {
    let now = super::core::now_seconds();
    if node.accessed.load(Relaxed) != now {
        node.accessed.store(now, Relaxed);
    }
}

/// Counts one read. Past 64 reads it writes once in 32 calls, past 65,536 once in 512: from there on the count is right to 2 %
/// (the standard deviation of a sum of Bernoulli trials).
#[inline(always)]
pub(crate) fn read(core: &Core, local: &Local, node: &Node) {
    // Boosts are exact for the first reads after the priority was set, too.
    let is_boosting =
        || core.config.boost_threshold > 0 && node.heat.load(Relaxed) >> PROGRESS_SHIFT < EXACT_READS.into();
    if node.reads.load(Relaxed) < EXACT_READS || is_boosting() {
        count(core, node, 1);
    } else if local.is_drawn() {
        count_drawn(core, local, node);
    }
}

#[inline(never)]
fn count_drawn(core: &Core, local: &Local, node: &Node) {
    if node.reads.load(Relaxed) < MANY_READS {
        count(core, node, STEP);
    } else if local.random().is_multiple_of(u64::from(LONG_STEP / STEP)) {
        count(core, node, LONG_STEP);
    }
}

#[inline(never)]
fn count(core: &Core, node: &Node, step: u32) {
    note_access(node);
    // A count that would wrap stays where it is.
    let before = node.reads.fetch_add(step, Relaxed);
    if before > u32::MAX - LONG_STEP {
        node.reads.store(u32::MAX - LONG_STEP, Relaxed);
    }
    if core.config.boost_threshold > 0 {
        progress(&node.heat, core.sketch.passes(), step);
    }
}

fn progress(word: &AtomicU64, passes: u64, step: u32) {
    let mut heat = word.load(Relaxed);
    loop {
        let progress = faded(heat, passes).saturating_add(step);
        let next = u64::from(progress) << PROGRESS_SHIFT
            | u64::from(passes as u16) << PASS_SHIFT
            | heat & ((1 << PASS_SHIFT) - 1);
        match word.compare_exchange_weak(heat, next, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(now) => heat = now,
        }
    }
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn progress_grows_by_reads_and_halves_with_each_pass() {
        let word = AtomicU64::new(fresh(Priority::HIGH));
        for _ in 0..40 {
            progress(&word, 0, 1);
        }
        let heat = word.load(Relaxed);
        assert_eq!([faded(heat, 0), faded(heat, 1), faded(heat, 3), faded(heat, 40)], [40, 20, 5, 0]);
        assert_eq!(heat as u8, 7);
        progress(&word, 2, 1);
        assert_eq!(faded(word.load(Relaxed), 2), 11);
    }
}
