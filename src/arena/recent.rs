//! Where runs of ready pages were seen lately, by their length: hints, for whoever needs one of that length next.
//!
//! A place that is noted may have become another's meanwhile, and one that exists need not be noted: what is read here is looked
//! at before it is used (`Runs::claim_recent`), so everything is Relaxed, and what is overwritten or forgotten costs a search.

use crate::sync::{AtomicU64, AtomicUsize, Ordering};
use crossbeam_utils::CachePadded;

/// Lengths are told apart by doublings; the last has all that are longer.
const DOUBLINGS: usize = if cfg!(memfs_loom) { 1 } else { 12 };
/// How many places are kept of each, and looked at.
const PLACES: usize = if cfg!(memfs_loom) { 1 } else { 16 };

#[derive(Default)]
struct Places {
    /// How many were ever noted.
    noted: AtomicUsize,
    /// A page and one; zero where there is none.
    places: [AtomicU64; PLACES],
}

pub(super) struct Recent(Box<[CachePadded<Places>]>);

fn doubling(pages: usize) -> usize {
    (pages.max(1).ilog2() as usize).min(DOUBLINGS - 1)
}

impl Recent {
    pub(super) fn new() -> Self {
        Self((0..DOUBLINGS).map(|_| CachePadded::default()).collect())
    }

    /// Lengths above it are not told apart.
    pub(super) fn longest(&self) -> usize {
        1 << (DOUBLINGS - 1)
    }

    /// At `page` there are `pages` ready ones in a row.
    pub(super) fn note(&self, page: usize, pages: usize) {
        let places = &self.0[doubling(pages)];
        let at = places.noted.fetch_add(1, Ordering::Relaxed) % PLACES;
        places.places[at].store(page as u64 + 1, Ordering::Relaxed);
    }

    /// What `look` makes of the first place that suits it, of those that may have `pages` in a row: the shortest lengths first, and
    /// of one length what was noted last. `Err` says whether the place is still worth keeping.
    pub(super) fn find<T>(&self, pages: usize, mut look: impl FnMut(usize) -> Result<T, bool>) -> Option<T> {
        for places in &self.0[doubling(pages)..] {
            let last = places.noted.load(Ordering::Relaxed);
            for back in 1..=PLACES {
                let place = &places.places[last.wrapping_sub(back) % PLACES];
                let page = place.load(Ordering::Relaxed);
                if page == 0 {
                    continue;
                }
                let found = look(page as usize - 1);
                if !matches!(found, Err(true)) {
                    let _ = place.compare_exchange(page, 0, Ordering::Relaxed, Ordering::Relaxed);
                }
                if let Ok(found) = found {
                    return Some(found);
                }
            }
        }
        None
    }
}
