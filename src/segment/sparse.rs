//! Which segments are worth emptying by hand.
//!
//! A segment less than half live is always worth it: moving its extents frees more than it takes. When no space is left,
//! one is worth it up to seven eighths, but only as many as what is kept for moving can take in: the emptiest first, so
//! that each round ends with more free space than it began with.

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
    /// What to compact now; `None` if there would be no gain.
    pub(crate) fn sparse(&self) -> Option<SparseSegments> {
        let shared = &self.shared;
        let is_pressed = shared.is_pressed();
        if is_pressed {
            shared.seal_wasteful();
        }
        let table = shared.table.load();
        let mut candidates: Vec<(u32, usize)> = table
            .iter()
            .enumerate()
            .filter_map(|(number, segment)| Some((worth_emptying(segment.as_ref()?, is_pressed)?, number)))
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

/// The live units of a sealed segment that has few enough of them.
fn worth_emptying(segment: &Arc<Segment>, is_pressed: bool) -> Option<u32> {
    let now = segment.state.load();
    let (live, capacity) = (now.live_units(), segment.capacity_units);
    let most = match (segment.is_failed(), is_pressed) {
        (true, _) => capacity,
        (false, true) => most_under_pressure(capacity),
        (false, false) => capacity / 2,
    };
    (now.is_sealed() && live > 0 && live < most).then_some(live)
}

impl Shared {
    /// Whether fresh data gets no further segment.
    fn is_pressed(&self) -> bool {
        // Relaxed: judging pressure.
        self.ledger.free_tickets(Stream::Fresh) == 0 || self.is_disk_full.load(Ordering::Relaxed)
    }

    /// Displaces the active segment of fresh data if it has more dead space than room left, so that it can be emptied.
    fn seal_wasteful(&self) {
        let (seen, segment) = self.active(Stream::Fresh);
        let Some((_, segment)) = segment else { return };
        let now = segment.state.load();
        let dead = now.tail_units() - now.live_units();
        let room = segment.capacity_units.saturating_sub(now.tail_units());
        if dead > room && now.live_units() < most_under_pressure(segment.capacity_units) {
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

/// What may be live in a segment that is worth emptying when there is no space left.
fn most_under_pressure(capacity_units: u32) -> u32 {
    capacity_units / 8 * 7
}
