//! Where a slab's spans come from, and go back to.
//!
//! ```text
//! raw class, pool:   Slab (slots in spans of pages) -> Untouched (spans: bare | fresh)
//! content class:     Slab (slots in spans of pages) -> Slab (spans in groups of header pages) -> Untouched (groups)
//! ```
//!
//! The headers of a content class are charged and given back by the page, too: a page of headers serves a group of spans
//! and goes when all of them went. So the spans of a content class are themselves the slots of a slab, whose bytes are the
//! header bytes of a span. Were headers kept for ever, a store whose sizes wander through the small classes would end up
//! with a limit full of headers: the 64-byte class alone can come to have a quarter of its bytes in headers.
//!
//! Invariant: a span is fresh, bare, or taken; fresh ones lie above all that were ever taken, and bitmap bytes for them
//! are charged when they stop being fresh, for good.

use super::{
    bitmap::{Bitmap, Claim, End},
    budget::Budget,
    slab::Slab,
    span::Geometry,
};
use crate::sync::{AtomicUsize, Ordering};
use crossbeam_utils::CachePadded;
use std::io;

/// Both boxed: large, and off the paths that matter.
pub(super) enum Ground {
    Untouched(Box<Untouched>),
    Headers(Box<Slab>),
}

impl Ground {
    pub(super) fn untouched(geometry: &Geometry) -> io::Result<Self> {
        Ok(Self::Untouched(Box::new(Untouched {
            bare: Bitmap::new(geometry.spans)?,
            fresh: CachePadded::new(AtomicUsize::new(0)),
            spans: geometry.spans,
            overhead_bytes: geometry.overhead_bytes as u64,
        })))
    }

    /// A span that nobody has, the lowest that went back if there is one. Charges for what it needs below.
    pub(super) fn take(&self, budget: &Budget) -> Option<usize> {
        match self {
            Self::Untouched(untouched) => untouched.take(budget),
            Self::Headers(headers) => headers.claim(budget, 1)?.pop(),
        }
    }

    /// Takes the span back. Release: pairs with the Acquire in `take`; both are the bitmap's.
    pub(super) fn put(&self, span: usize) {
        let claim = Claim::one(span);
        match self {
            Self::Untouched(untouched) => _ = untouched.bare.set(claim.word, claim.mask),
            Self::Headers(headers) => headers.give(claim),
        }
    }

    /// The slab of the header pages, where there is one.
    pub(super) fn headers(&self) -> Option<&Slab> {
        match self {
            Self::Untouched(_) => None,
            Self::Headers(headers) => Some(headers),
        }
    }

    /// Spans that were ever taken are below it.
    pub(super) fn bound(&self) -> usize {
        match self {
            // Relaxed: a bound for scans; who was given a span learned of it by then.
            Self::Untouched(untouched) => untouched.fresh.load(Ordering::Relaxed),
            Self::Headers(headers) => headers.geometry.slots_of(0..headers.used_spans()).end,
        }
    }

    /// What taking a span can cost here.
    pub(super) fn first_use_bytes(&self) -> u64 {
        match self {
            Self::Untouched(untouched) => untouched.overhead_bytes,
            Self::Headers(headers) => headers.first_use_bytes(),
        }
    }

    #[cfg(any(test, memfs_loom, debug_assertions, feature = "validate"))]
    pub(super) fn charged_bytes(&self) -> u64 {
        match self {
            Self::Untouched(untouched) => self.bound() as u64 * untouched.overhead_bytes,
            Self::Headers(headers) => headers.charged_bytes(),
        }
    }

    #[cfg(any(test, memfs_loom))]
    pub(super) fn overhead_bytes(&self) -> u64 {
        match self {
            Self::Untouched(_) => self.charged_bytes(),
            Self::Headers(headers) => headers.overhead_bytes(),
        }
    }
}

#[cfg(any(test, debug_assertions, feature = "validate"))]
impl Ground {
    /// Whether the span is here and not taken. The caller knows that nothing is under way.
    pub(super) fn has(&self, span: usize) -> bool {
        match self {
            Self::Untouched(untouched) => span >= self.bound() || untouched.bare.has(span),
            Self::Headers(headers) => headers.has(span),
        }
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        match self {
            Self::Untouched(untouched) => {
                untouched.bare.validate(self.bound().div_ceil(super::bitmap::WORD_BITS))?;
                let (bare, fresh) = (untouched.bare.bound(), self.bound());
                if bare > fresh {
                    Err(format!("span {} is bare, {fresh} is fresh", bare - 1))
                } else {
                    Ok(())
                }
            }
            Self::Headers(headers) => headers.validate().map_err(|what| format!("headers: {what}")),
        }
    }
}

/// Spans that are bare or were never used.
pub(super) struct Untouched {
    /// Spans that were used and went back.
    bare: Bitmap,
    /// The first span that never was used.
    fresh: CachePadded<AtomicUsize>,
    /// How many there can be.
    spans: usize,
    /// What a fresh one costs.
    overhead_bytes: u64,
}

impl Untouched {
    fn take(&self, budget: &Budget) -> Option<usize> {
        if let Some(mut claim) = self.bare.claim(End::Low, 1) {
            return claim.pop();
        }
        if !budget.try_charge(self.overhead_bytes) {
            return None;
        }
        // Relaxed: the index alone makes the span ours; a fresh span has no past to be ordered after.
        let next = |fresh| (fresh < self.spans).then_some(fresh + 1);
        let span = self.fresh.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok();
        if span.is_none() {
            budget.refund(self.overhead_bytes);
        }
        span
    }
}
