//! One budget in bytes: what may be resident, what is, and the most that ever was.
//!
//! Knows nothing of what is charged. Invariants:
//! 1. `charged <= limit` at every moment.
//! 2. Memory is charged before it is touched and refunded after it went back to the system, so the resident bytes of
//!    whoever charges are at most `charged`.

use crate::sync::{Arc, AtomicU64, Ordering};
use crossbeam_utils::CachePadded;

/// Bytes resident under a hard limit.
pub(crate) struct Budget {
    charged: CachePadded<AtomicU64>,
    peak: AtomicU64,
    limit_bytes: u64,
}

impl Budget {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self { charged: CachePadded::new(AtomicU64::new(0)), peak: AtomicU64::new(0), limit_bytes }
    }

    /// Takes `bytes` out of what is left, or leaves everything as it is.
    ///
    /// A compare-and-swap loop and not an add with a correction: the correction would let other threads see a budget
    /// that is full when it is not.
    pub(crate) fn try_charge(&self, bytes: u64) -> bool {
        self.try_charge_leaving(bytes, 0)
    }

    /// As [`try_charge`](Self::try_charge), but only if `leave_bytes` are left afterwards, for others.
    pub(crate) fn try_charge_leaving(&self, bytes: u64, leave_bytes: u64) -> bool {
        let most = self.limit_bytes.saturating_sub(leave_bytes);
        let mut now = self.charged.load(Ordering::Relaxed);
        let charged = loop {
            let Some(next) = now.checked_add(bytes).filter(|&next| next <= most) else {
                return false;
            };
            // Acquire: pairs with the Release in `refund`: pages given back there are gone before they are charged here.
            match self.charged.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break next,
                Err(other) => now = other,
            }
        };
        // Relaxed: a figure for people, ordered with nothing; the load spares the line where there is no new peak.
        if charged > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(charged, Ordering::Relaxed);
        }
        true
    }

    /// Gives back what was charged.
    pub(crate) fn refund(&self, bytes: u64) {
        // Release: pairs with the Acquire in `try_charge`.
        let before = self.charged.fetch_sub(bytes, Ordering::AcqRel);
        debug_assert!(before >= bytes, "refunded {bytes} of {before} charged bytes");
    }

    pub(crate) fn charged(&self) -> u64 {
        self.charged.load(Ordering::Relaxed)
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit_bytes
    }
}

/// Bytes that were charged, refunded when this is dropped: the last field of what they are for, so that by then its memory has gone
/// back (invariant 2).
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Charge {
    /// Of bytes that the caller has charged.
    pub(crate) fn of(budget: &Arc<Budget>, bytes: u64) -> Self {
        Self { budget: budget.clone(), bytes }
    }

    /// So many more that the caller has charged.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.refund(self.bytes);
    }
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;
    use crate::sync::thread;

    #[test]
    fn a_charge_that_does_not_fit_changes_nothing() {
        let budget = Budget::new(100);
        assert!(budget.try_charge(60));
        assert!(!budget.try_charge(41));
        assert!(!budget.try_charge(u64::MAX), "the sum must not wrap");
        assert_eq!((budget.charged(), budget.peak()), (60, 60));
        assert!(budget.try_charge(40));
        budget.refund(70);
        assert_eq!((budget.charged(), budget.peak()), (30, 100));
    }

    #[test]
    fn threads_together_never_pass_the_limit() {
        let budget = Budget::new(1000);
        thread::scope(|scope| {
            for step in [7, 13, 29, 101] {
                let budget = &budget;
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        if budget.try_charge(step) {
                            assert!(budget.charged() <= budget.limit());
                            budget.refund(step);
                        }
                    }
                });
            }
        });
        assert_eq!(budget.charged(), 0);
        assert!(budget.peak() <= 1000 && budget.peak() >= 101);
    }
}
