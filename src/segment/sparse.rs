//! Which segments are worth emptying by hand.
//!
//! A segment less than half live is always worth it: moving its extents frees more than it takes. When no space is left,
//! one is worth it up to seven eighths, but only as many as what is kept for moving can take in: the emptiest first, so
//! that each round ends with more free space than it began with. In a store that lasts, one is also worth it up to three
//! quarters as long as all of them take more than twice what lives in them, and one more.

use super::{
    extent::{ExtentRef, Layout},
    ledger::Stream,
    segment::Segment,
    segments::{Segments, Shared},
};
use crate::sync::{Arc, Ordering};

/// Segments whose live extents should be moved: read, [`append_moved`](Segments::append_moved), swing the word, kill.
pub(crate) struct SparseSegments {
    layout: Layout,
    is_sparse: Vec<bool>,
}

impl SparseSegments {
    /// Whether this extent should be moved. A number reused since costs a needless move, no more.
    pub(crate) fn contains(&self, extent: ExtentRef) -> bool {
        let segment = self.layout.unpack(extent).segment;
        self.is_sparse.get(segment as usize).copied().unwrap_or(false)
    }

    /// How many segments there are to be emptied.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.is_sparse.iter().filter(|is_sparse| **is_sparse).count()
    }
}

impl Segments {
    /// Gives spares back as long as a lasting store takes more disk than it should for what lives in it; whether it still does.
    pub(crate) fn give_back_surplus(&self) -> bool {
        while self.shared.is_out_of_proportion() {
            let Some((number, segment)) = self.shared.unpark() else { return true };
            self.shared.discard(number, &segment);
        }
        false
    }

    /// What to compact now; `None` if there would be no gain.
    pub(crate) fn sparse(&self) -> Option<SparseSegments> {
        let shared = &self.shared;
        let need = shared.need();
        if need != Need::Tidiness {
            shared.seal_wasteful(need);
        }
        let table = shared.table.load();
        let mut candidates: Vec<(u32, usize)> = table
            .iter()
            .enumerate()
            .filter_map(|(number, segment)| Some((worth_emptying(segment.as_ref()?, need)?, number)))
            .collect();
        candidates.sort_unstable();
        let largest = u64::from(shared.units_of(shared.layout.chunk_bytes));
        let mut room = shared.room_for_moves();
        let mut is_sparse = vec![false; table.len()];
        for (live_units, number) in candidates {
            // The end of a segment stays unused when the next record does not fit.
            let Some(left) = room.checked_sub(u64::from(live_units) + largest) else { break };
            room = left;
            is_sparse[number] = true;
        }
        is_sparse.contains(&true).then_some(SparseSegments { layout: shared.layout, is_sparse })
    }
}

/// Why segments are to be emptied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Fresh data gets no further segment.
    Space,
    /// The store takes more than it should for what lives in it.
    Proportion,
    Tidiness,
}

impl Need {
    /// What may be live in a segment that is worth emptying.
    fn most_live(self, capacity_units: u32) -> u32 {
        match self {
            Need::Space => capacity_units / 8 * 7,
            Need::Proportion => capacity_units / 4 * 3,
            Need::Tidiness => capacity_units / 2,
        }
    }
}

/// The live units of a sealed segment that has few enough of them.
fn worth_emptying(segment: &Arc<Segment>, need: Need) -> Option<u32> {
    let now = segment.state.load();
    let (live, capacity) = (now.live_units(), segment.capacity_units);
    let most = if segment.is_failed() { capacity } else { need.most_live(capacity) };
    (now.is_sealed() && live > 0 && live < most).then_some(live)
}

impl Shared {
    fn need(&self) -> Need {
        // Relaxed: judging pressure.
        if self.ledger.free_tickets(Stream::Fresh) == 0 || self.is_disk_full.load(Ordering::Relaxed) {
            Need::Space
        } else if self.is_out_of_proportion() {
            Need::Proportion
        } else {
            Need::Tidiness
        }
    }

    /// Whether the segments of a lasting store take more than twice what lives in them, and one more. (A temporary store's
    /// last no longer than it, and its spares are its way not to wait for the disk.)
    fn is_out_of_proportion(&self) -> bool {
        if self.lasting.is_none() {
            return false;
        }
        let table = self.table.load();
        let live = table.iter().flatten().map(|segment| u64::from(segment.state.load().live_units()));
        let live_bytes = live.sum::<u64>() * self.layout.unit_bytes();
        let segments_bytes = self.ledger.charged_bytes().saturating_sub(self.ledger.other_bytes());
        segments_bytes > 2 * live_bytes + self.layout.segment_bytes
    }

    /// Displaces the active segment of fresh data if it has more dead space than room left, so that it can be emptied.
    fn seal_wasteful(&self, need: Need) {
        let (seen, segment) = self.active(Stream::Fresh);
        let Some((_, segment)) = segment else { return };
        let now = segment.state.load();
        let dead = now.tail_units() - now.live_units();
        let room = segment.capacity_units.saturating_sub(now.tail_units());
        if dead > room && now.live_units() < need.most_live(segment.capacity_units) {
            self.displace(Stream::Fresh, seen, None);
        }
    }

    /// How many units moved data can take: what its segment has left, spares, and what can still be made.
    fn room_for_moves(&self) -> u64 {
        let (_, active) = self.active(Stream::Moved);
        let left = active.map_or(0, |(_, segment)| {
            u64::from(segment.capacity_units.saturating_sub(segment.state.load().tail_units()))
        });
        // Relaxed, both: judging pressure.
        let segments = if self.is_disk_full.load(Ordering::Relaxed) {
            self.spares.iter().filter(|slot| slot.load(Ordering::Relaxed) != 0).count() as u64
        } else {
            self.ledger.free_tickets(Stream::Moved)
        };
        let each = u64::from(self.layout.capacity_units(self.layout.segment_bytes)).saturating_sub(1);
        left + segments.saturating_mul(each)
    }
}
