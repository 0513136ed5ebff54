//! Where runs of ready pages were seen lately, by their length: hints, for whoever needs one of that length next.
//!
//! A place that is noted may have become another's meanwhile, and one that exists need not be noted: what is read here is looked
//! at before it is used (`Runs::claim_recent`), so everything is Relaxed, and what is overwritten or forgotten costs a search.

use super::sizes::{RUN_STEPS, run_step};
use crate::sync::{AtomicU64, AtomicUsize, Ordering};
use crossbeam_utils::CachePadded;

/// Lengths are told apart by their steps (`run_step`), up to this one, which has all that are longer.
const STEPS: usize = if cfg!(memfs_loom) { 2 } else { 9 * RUN_STEPS };
/// How many places are kept of each, and looked at.
const PLACES: usize = if cfg!(memfs_loom) { 1 } else { 32 };

#[derive(Default)]
struct Places {
    /// How many were ever noted.
    noted: AtomicUsize,
    /// A page and one; zero where there is none.
    places: [AtomicU64; PLACES],
}

pub(super) struct Recent(Box<[CachePadded<Places>]>);

/// What became of a place that was looked at.
pub(super) enum Look<T> {
    Taken(T),
    /// It has not what was wanted, but what was noted.
    Keep,
    /// It is no longer what was noted.
    Forget,
}

fn step(pages: usize) -> usize {
    run_step(pages).min(STEPS - 1)
}

impl Recent {
    pub(super) fn new() -> Self {
        Self((0..STEPS).map(|_| CachePadded::default()).collect())
    }

    /// At `page` there are `pages` ready ones in a row.
    pub(super) fn note(&self, page: usize, pages: usize) {
        let places = &self.0[step(pages)];
        let at = places.noted.fetch_add(1, Ordering::Relaxed) % PLACES;
        places.places[at].store(page as u64 + 1, Ordering::Relaxed);
    }

    /// What `look` makes of the first place that suits it, of those that were noted with `pages` in a row or more: the shortest
    /// first, and of one length what was noted last.
    pub(super) fn find<T>(&self, pages: usize, mut look: impl FnMut(usize, usize) -> Look<T>) -> Option<T> {
        for (step, places) in self.0.iter().enumerate().skip(step(pages)) {
            // Relaxed, all: hints.
            let last = places.noted.load(Ordering::Relaxed);
            for back in 1..=PLACES.min(last) {
                let place = &places.places[last.wrapping_sub(back) % PLACES];
                let page = place.load(Ordering::Relaxed);
                if page == 0 {
                    continue;
                }
                let found = look(page as usize - 1, step);
                if !matches!(found, Look::Keep) {
                    let _ = place.compare_exchange(page, 0, Ordering::Relaxed, Ordering::Relaxed);
                }
                if let Look::Taken(found) = found {
                    return Some(found);
                }
            }
        }
        None
    }

    /// The step that so many pages are noted at.
    pub(super) fn step(pages: usize) -> usize {
        step(pages)
    }

    /// Lengths above it are not told apart.
    pub(super) fn longest() -> usize {
        super::sizes::run_pages(STEPS)
    }
}
