//! The frequency sketch, for the model tests.

use super::Sketch;
use crate::{
    epoch::{Collector, Handle},
    model::{Seats, pinned},
};

/// A sketch and its epoch.
pub struct Counts {
    seats: Seats<Handle>,
    collector: Collector,
    sketch: Sketch,
}

/// A thread's handle on [`Counts`].
pub struct Counter<'a> {
    counts: &'a Counts,
    handle: &'a Handle,
}

impl Counts {
    /// The smallest there is.
    pub fn new() -> Self {
        let collector = Collector::new();
        let seats = Seats::new(|| collector.register());
        Self { seats, collector, sketch: Sketch::new(1).expect("small") }
    }

    /// For the calling thread.
    pub fn user(&self) -> Counter<'_> {
        Counter { counts: self, handle: self.seats.take() }
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Counter<'_> {
    fn drop(&mut self) {
        self.counts.seats.give(self.handle);
    }
}

impl Counter<'_> {
    /// Counts a use of `key`.
    pub fn record(&self, key: u64) -> bool {
        self.counts.sketch.record(key, &pinned(self.handle))
    }

    /// How often `key` was used.
    pub fn estimate(&self, key: u64) -> u8 {
        self.counts.sketch.estimate(key, &pinned(self.handle))
    }

    /// Pays for `increments`; 40 of them halve everything once.
    pub fn pay(&self, increments: u64) {
        self.counts.sketch.age(increments, 1, &pinned(self.handle));
    }

    /// Pays for as many increments as halve everything once.
    pub fn halve(&self) {
        self.counts.sketch.age(40, 1, &pinned(self.handle));
    }

    /// Doubles the table.
    pub fn grow(&self) -> bool {
        self.grow_under(&pinned(self.handle))
    }

    /// Doubles the table and frees the old one at once: the broken variant.
    pub fn grow_recklessly(&self) -> bool {
        // SAFETY: none: this is the mistake.
        self.grow_under(unsafe { crate::epoch::unprotected() })
    }

    fn grow_under(&self, guard: &crate::epoch::Guard) -> bool {
        let sketch = &self.counts.sketch;
        let wanted = sketch.wants(u64::MAX, guard).expect("never so large");
        sketch.grow(wanted, guard).expect("small")
    }

    /// Lets the epoch advance, and frees what it can.
    pub fn collect(&self) {
        pinned(self.handle).flush();
    }
}
