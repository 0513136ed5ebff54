//! What a store may still take from the disk: bytes, exactly, and segments, so that one is kept for moving.
//!
//! A *ticket* stands for a segment in use; the limit allows a fixed number of them. A spare segment, or one that was not
//! made yet, is a free ticket. Fresh data may not take the last one, moved data may: compaction needs somewhere to go.
//!
//! # Invariants
//! 1. The bytes charged never pass the limit, and cover every file that exists; they are charged before it is made.
//! 2. Who holds a ticket finds a spare or room for a new file: a ticket is freed only after the spare can be found, or after
//!    the file's bytes were refunded.

use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};

/// What a segment is wanted for. The two fill segments of their own, so that what was moved, and is likely to live long,
/// is not mixed with what is new, and fresh data cannot fill the segment that a compaction needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stream {
    Fresh = 0,
    Moved = 1,
}

/// From this many segments on, one is kept for moving; with fewer it would cost too much of the whole.
const RESERVE_FROM_SEGMENTS: u64 = 4;

pub(super) struct Ledger {
    limit_bytes: u64,
    charged_bytes: AtomicU64,
    free_tickets: AtomicU64,
    reserved_tickets: u64,
    max_segments: u64,
}

impl Ledger {
    /// For segments of `segment_bytes` each, at most `max_segments` of them.
    pub(super) fn new(limit_bytes: Option<u64>, segment_bytes: u64, max_segments: u64) -> Self {
        let limit_bytes = limit_bytes.unwrap_or(u64::MAX);
        let max_segments = limit_bytes.checked_div(segment_bytes).unwrap_or(0).min(max_segments);
        Self {
            limit_bytes,
            charged_bytes: AtomicU64::new(0),
            free_tickets: AtomicU64::new(max_segments),
            reserved_tickets: u64::from(max_segments >= RESERVE_FROM_SEGMENTS),
            max_segments,
        }
    }

    /// A ticket, for the caller to give back.
    pub(super) fn take_ticket(&self, stream: Stream) -> bool {
        let keep = self.kept_from(stream);
        // AcqRel: Acquire pairs with the Release of `give_ticket`, so that what it announced can be found (invariant 2).
        // Acquire on the first load is the exchange's.
        self.free_tickets
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| (free > keep).then(|| free - 1))
            .is_ok()
    }

    pub(super) fn give_ticket(&self) {
        // AcqRel: Release, see `take_ticket`.
        let before = self.free_tickets.fetch_add(1, Ordering::AcqRel);
        debug_assert!(before < self.max_segments, "more tickets than segments");
    }

    /// How many segments `stream` can still get.
    pub(super) fn free_tickets(&self, stream: Stream) -> u64 {
        // Relaxed: for judging pressure; taking one decides for itself.
        self.free_tickets.load(Ordering::Relaxed).saturating_sub(self.kept_from(stream))
    }

    pub(super) fn max_segments(&self) -> u64 {
        self.max_segments
    }

    pub(super) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    pub(super) fn charged_bytes(&self) -> u64 {
        // Relaxed: a figure to report.
        self.charged_bytes.load(Ordering::Relaxed)
    }

    fn kept_from(&self, stream: Stream) -> u64 {
        match stream {
            Stream::Fresh => self.reserved_tickets,
            Stream::Moved => 0,
        }
    }
}

/// The bytes of one file, charged, and its ticket while it is in use; both are given back when dropped.
pub(super) struct Charge {
    ledger: Arc<Ledger>,
    bytes: u64,
    /// Written by the segment's owner only: who makes it, parks it or takes it from the spares.
    has_ticket: AtomicBool,
}

impl Charge {
    /// Charges `bytes`, if there is room for them.
    pub(super) fn try_new(ledger: &Arc<Ledger>, bytes: u64) -> Option<Self> {
        // AcqRel: Acquire pairs with the Release of the refund in `drop`, after the file was gone. Acquire on the first
        // load is the exchange's.
        ledger
            .charged_bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |charged| {
                charged.checked_add(bytes).filter(|charged| *charged <= ledger.limit_bytes)
            })
            .ok()?;
        Some(Self { ledger: ledger.clone(), bytes, has_ticket: AtomicBool::new(false) })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The file is in use from now on: it takes over a ticket that the caller holds.
    pub(super) fn bind_ticket(&self) {
        // Relaxed: ownership of the segment passes through the spares, whose slots order this.
        let had = self.has_ticket.swap(true, Ordering::Relaxed);
        debug_assert!(!had, "two tickets for one segment");
    }

    /// The file is a spare from now on; the caller holds its ticket.
    pub(super) fn unbind_ticket(&self) {
        // Relaxed: as in `bind_ticket`.
        let had = self.has_ticket.swap(false, Ordering::Relaxed);
        debug_assert!(had, "a segment in use without a ticket");
    }

    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(super) fn is_in_use(&self) -> bool {
        self.has_ticket.load(Ordering::Relaxed)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // AcqRel: Release, see `try_new`.
        let before = self.ledger.charged_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        debug_assert!(before >= self.bytes);
        // Relaxed: the last reference orders it.
        if self.has_ticket.load(Ordering::Relaxed) {
            self.ledger.give_ticket();
        }
    }
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_ticket_is_for_moving() {
        let ledger = Ledger::new(Some(400), 100, 1000);
        for _ in 0..3 {
            assert!(ledger.take_ticket(Stream::Fresh));
        }
        assert!(!ledger.take_ticket(Stream::Fresh));
        assert!(ledger.take_ticket(Stream::Moved));
        assert!(!ledger.take_ticket(Stream::Moved));
        ledger.give_ticket();
        assert!(!ledger.take_ticket(Stream::Fresh));
    }

    #[test]
    fn a_charge_never_passes_the_limit_and_comes_back() {
        let ledger = Arc::new(Ledger::new(Some(250), 100, 1000));
        assert!(ledger.take_ticket(Stream::Fresh) && ledger.take_ticket(Stream::Fresh));
        let first = Charge::try_new(&ledger, 200).unwrap();
        assert!(Charge::try_new(&ledger, 51).is_none());
        let second = Charge::try_new(&ledger, 50).unwrap();
        first.bind_ticket();
        second.bind_ticket();
        assert_eq!(ledger.charged_bytes(), 250);
        drop((first, second));
        assert_eq!((ledger.charged_bytes(), ledger.free_tickets(Stream::Fresh)), (0, 2));
    }
}
