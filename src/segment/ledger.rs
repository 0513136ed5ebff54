//! What a store may still take from the disk: bytes that exist, and bytes that are promised, so that a segment's worth is
//! kept for moving.
//!
//! A *ticket* is the promise of a segment: who holds one may use a spare, or make a file. Segments in use keep theirs; a spare
//! has none. What is not segments (*other*: journal and checkpoint) is promised and charged alike. Fresh data may not take
//! the last ticket, moved data may: compaction needs somewhere to go.
//!
//! # Invariants
//! 1. The bytes charged never pass the limit, and cover every file that exists; they are charged before it is made. (A store
//!    that is opened under a limit below what it has charges that; then nothing can be taken before enough is given back.)
//! 2. Who holds a ticket finds a spare or room for a new file: a ticket is given back only after the spare can be found, or
//!    after the file's bytes were refunded, and promises come before charges. The exception is a store of which more is
//!    promised than the limit ([`Ledger::is_overdrawn`]).

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
    /// Of a new segment: what a ticket stands for.
    segment_bytes: u64,
    charged_bytes: AtomicU64,
    /// Tickets, those of segments in use included, and what is not segments.
    promised_bytes: AtomicU64,
    /// The part of both that is not segments.
    other_bytes: AtomicU64,
    reserved_bytes: u64,
}

impl Ledger {
    /// For new segments of `segment_bytes` each.
    pub(super) fn new(limit_bytes: Option<u64>, segment_bytes: u64) -> Self {
        let limit_bytes = limit_bytes.unwrap_or(u64::MAX);
        let segments = limit_bytes.checked_div(segment_bytes).unwrap_or(0);
        Self {
            limit_bytes,
            segment_bytes,
            charged_bytes: AtomicU64::new(0),
            promised_bytes: AtomicU64::new(0),
            other_bytes: AtomicU64::new(0),
            reserved_bytes: if segments >= RESERVE_FROM_SEGMENTS { segment_bytes } else { 0 },
        }
    }

    /// A ticket, for the caller to give back.
    pub(super) fn take_ticket(&self, stream: Stream) -> bool {
        self.promise(self.segment_bytes, self.kept_from(stream))
    }

    pub(super) fn give_ticket(&self) {
        self.unpromise(self.segment_bytes);
    }

    /// How many segments `stream` can still get.
    pub(super) fn free_tickets(&self, stream: Stream) -> u64 {
        // Relaxed: for judging pressure; taking one decides for itself.
        let taken = self.promised_bytes.load(Ordering::Relaxed).saturating_add(self.kept_from(stream));
        self.limit_bytes.saturating_sub(taken).checked_div(self.segment_bytes).unwrap_or(0)
    }

    /// Whether more is promised than the limit: a ticket is worth nothing then.
    pub(super) fn is_overdrawn(&self) -> bool {
        // Acquire: as in `promise`.
        self.promised_bytes.load(Ordering::Acquire) > self.limit_bytes
    }

    /// Whether there is more on the disk than the limit.
    pub(super) fn is_over_limit(&self) -> bool {
        self.charged_bytes() > self.limit_bytes
    }

    #[cfg(any(test, memfs_loom, debug_assertions, feature = "validate"))]
    pub(super) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    pub(super) fn charged_bytes(&self) -> u64 {
        // Relaxed: a figure to report.
        self.charged_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn other_bytes(&self) -> u64 {
        // Relaxed: a figure to report.
        self.other_bytes.load(Ordering::Relaxed)
    }

    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(super) fn promised_bytes(&self) -> u64 {
        self.promised_bytes.load(Ordering::Relaxed)
    }

    /// Promises bytes that are not a segment's; the charge comes after, when there is room for it.
    pub(super) fn promise_other(&self, bytes: u64) -> bool {
        self.promise(bytes, 0)
    }

    pub(super) fn unpromise_other(&self, bytes: u64) {
        self.unpromise(bytes);
    }

    /// Charges bytes that were promised; `false` as long as spare segments are in the way.
    pub(super) fn charge_other(&self, bytes: u64) -> bool {
        let is_charged = self.charge(bytes);
        if is_charged {
            // Relaxed: a figure to report.
            self.other_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        is_charged
    }

    /// Counts what is there already.
    pub(super) fn count_other(&self, bytes: u64) {
        // AcqRel, as all changes of the two.
        self.promised_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.charged_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.other_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The caller gives back what was charged and is not on the disk any more.
    pub(super) fn refund_other(&self, bytes: u64) {
        self.other_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.refund(bytes);
        self.unpromise(bytes);
    }

    fn kept_from(&self, stream: Stream) -> u64 {
        match stream {
            Stream::Fresh => self.reserved_bytes,
            Stream::Moved => 0,
        }
    }

    fn promise(&self, bytes: u64, keep_bytes: u64) -> bool {
        let fits =
            |sum: u64| sum.checked_add(keep_bytes).is_some_and(|with_kept| with_kept <= self.limit_bytes);
        // AcqRel: Acquire pairs with the Release of `unpromise`, so that what it announced can be found (invariant 2).
        // Acquire on the first load is the exchange's.
        self.promised_bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |promised| {
                promised.checked_add(bytes).filter(|sum| fits(*sum))
            })
            .is_ok()
    }

    fn unpromise(&self, bytes: u64) {
        // AcqRel: Release, see `promise`.
        let before = self.promised_bytes.fetch_sub(bytes, Ordering::AcqRel);
        debug_assert!(before >= bytes, "more given back than was promised");
    }

    fn charge(&self, bytes: u64) -> bool {
        // AcqRel: Acquire pairs with the Release of `refund`, after the file was gone. Acquire on the first load is the
        // exchange's.
        self.charged_bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |charged| {
                charged.checked_add(bytes).filter(|charged| *charged <= self.limit_bytes)
            })
            .is_ok()
    }

    fn refund(&self, bytes: u64) {
        // AcqRel: Release, see `charge`.
        let before = self.charged_bytes.fetch_sub(bytes, Ordering::AcqRel);
        debug_assert!(before >= bytes, "more refunded than was charged");
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
        ledger.charge(bytes).then(|| Self {
            ledger: ledger.clone(),
            bytes,
            has_ticket: AtomicBool::new(false),
        })
    }

    /// For a file that is there already, in use.
    pub(super) fn of_found(ledger: &Arc<Ledger>, bytes: u64) -> Self {
        // AcqRel, as all changes of it.
        ledger.charged_bytes.fetch_add(bytes, Ordering::AcqRel);
        let charge = Self { ledger: ledger.clone(), bytes, has_ticket: AtomicBool::new(false) };
        charge.force_ticket();
        charge
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The file is in use from now on: it takes over a ticket that the caller holds.
    pub(super) fn bind_ticket(&self) {
        self.ledger.promised_bytes.fetch_add(self.bytes_beyond_ticket(), Ordering::AcqRel);
        self.mark_in_use();
    }

    /// The file is in use from now on, and nobody asked whether the limit has room for that.
    pub(super) fn force_ticket(&self) {
        self.ledger.promised_bytes.fetch_add(self.ledger.segment_bytes, Ordering::AcqRel);
        self.bind_ticket();
    }

    /// The file is a spare from now on; the caller holds its ticket.
    pub(super) fn unbind_ticket(&self) {
        // Relaxed: as in `mark_in_use`.
        let had = self.has_ticket.swap(false, Ordering::Relaxed);
        debug_assert!(had, "a segment in use without a ticket");
        self.ledger.unpromise(self.bytes_beyond_ticket());
    }

    /// Of a file in use: what it has promised.
    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(super) fn promised_bytes(&self) -> u64 {
        if self.is_in_use() { self.ledger.segment_bytes + self.bytes_beyond_ticket() } else { 0 }
    }

    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(super) fn is_in_use(&self) -> bool {
        self.has_ticket.load(Ordering::Relaxed)
    }

    /// A file from a time of larger segments has more than a ticket; a smaller one has a whole ticket, too.
    fn bytes_beyond_ticket(&self) -> u64 {
        self.bytes.saturating_sub(self.ledger.segment_bytes)
    }

    fn mark_in_use(&self) {
        // Relaxed: ownership of the segment passes through the spares, whose slots order this.
        let had = self.has_ticket.swap(true, Ordering::Relaxed);
        debug_assert!(!had, "two tickets for one segment");
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.ledger.refund(self.bytes);
        // Relaxed: the last reference orders it.
        if self.has_ticket.load(Ordering::Relaxed) {
            self.unbind_ticket();
            self.ledger.give_ticket();
        }
    }
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_ticket_is_for_moving() {
        let ledger = Ledger::new(Some(400), 100);
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
        let ledger = Arc::new(Ledger::new(Some(250), 100));
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

    #[test]
    fn other_bytes_and_large_files_take_from_the_tickets() {
        let ledger = Arc::new(Ledger::new(Some(1000), 100));
        let large = Charge::of_found(&ledger, 500);
        assert_eq!((ledger.charged_bytes(), ledger.free_tickets(Stream::Moved)), (500, 5));
        assert!(ledger.promise_other(150) && ledger.charge_other(150));
        assert_eq!((ledger.other_bytes(), ledger.free_tickets(Stream::Moved)), (150, 3));
        assert!(!ledger.promise_other(351));
        drop(large);
        ledger.refund_other(150);
        assert_eq!((ledger.charged_bytes(), ledger.promised_bytes()), (0, 0));
    }
}
