//! Emptying sparse spans: choosing them, keeping their free slots out of use meanwhile, giving them back.
//!
//! A span of small slots seldom becomes wholly free by itself. The floor above moves blocks out of the spans chosen here
//! (allocate elsewhere, copy, swing the word, retire the old block); what is freed stays in quarantine until the span is
//! whole.
//!
//! Invariants:
//! 1. A quarantined slot is in nobody else's hands (it was claimed), and goes back when the `SparseSpans` is dropped.
//! 2. The chosen spans' live blocks fit into free slots of the class outside them, as counted at the choice.

use super::{bitmap::Claim, block::BlockRef, class::Class, heap::Arena, magazine::Magazine};
use std::cell::Cell;

/// Most bytes of spans chosen at once.
const ROUND_BYTES: usize = 4 << 20;
/// Spans are told apart by how full they are in this many steps.
const LEVELS: usize = 64;

/// The sparsest spans of one class, being emptied by one thread.
pub(crate) struct SparseSpans<'a> {
    arena: &'a Arena,
    class: usize,
    /// Ascending.
    spans: Vec<usize>,
    /// For each span, its leaf words' slots in quarantine.
    held: Vec<Cell<u64>>,
    /// For each span, whether it was given back: whoever backs it again has it.
    done: Vec<Cell<bool>>,
    refunded_bytes: Cell<u64>,
}

impl Arena {
    /// The sparsest spans of the small class that wastes most, if one has more than a quarter of its resident bytes free.
    /// Their free slots are in quarantine from then on. Costs a scan of the class's bitmap. Trim first: spans that are
    /// free already are not chosen.
    pub(crate) fn sparse_spans(&self) -> Option<SparseSpans<'_>> {
        let wasteful = |(index, class): (usize, &Class)| {
            let (free, waste_bytes) = waste(class)?;
            Some((waste_bytes, index, free))
        };
        let (_, index, _) = self.classes()[..self.raw_from].iter().enumerate().filter_map(wasteful).max()?;
        let spans = sparsest(&self.classes()[index]);
        if spans.is_empty() {
            return None;
        }
        let words = self.classes()[index].slab.geometry.words(0).0.len();
        let held = vec![Cell::new(0); spans.len() * words];
        let done = vec![Cell::new(false); spans.len()];
        let sparse =
            SparseSpans { arena: self, class: index, spans, held, done, refunded_bytes: Cell::new(0) };
        sparse.sweep();
        Some(sparse)
    }

    /// As [`alloc`](Self::alloc), but never in the spans being emptied.
    pub(crate) fn alloc_outside(
        &self,
        mag: &Magazine,
        len_bytes: usize,
        sparse: &SparseSpans<'_>,
    ) -> Option<BlockRef> {
        loop {
            let b = self.alloc(mag, len_bytes)?;
            if !sparse.contains(b) {
                return Some(b);
            }
            sparse.hold(self.slot(b));
        }
    }
}

/// Free slots and the bytes wasted by them, of a class that is worth emptying.
fn waste(class: &Class) -> Option<(usize, usize)> {
    let geometry = &class.slab.geometry;
    let resident = class.slab.backed_spans() * geometry.span_slots();
    if geometry.span_shift == 0 || resident < 4 * geometry.span_slots() {
        return None;
    }
    let free = class.slab.ready_slots();
    let worth_it = free > resident / 4 && free >= 2 * geometry.span_slots();
    worth_it.then_some((free, free * geometry.slot_bytes))
}

fn ready_slots(class: &Class, span: usize) -> usize {
    let (words, mask) = class.slab.geometry.words(span);
    words.map(|word| (class.slab.ready_in(word) & mask).count_ones() as usize).sum()
}

/// The spans of `class` with most slots free, but not all, as many as the others have room to empty them.
fn sparsest(class: &Class) -> Vec<usize> {
    let geometry = &class.slab.geometry;
    let (slots, used) = (geometry.span_slots(), class.slab.used_spans());
    let level = |free: usize| free * LEVELS / slots;
    // A histogram instead of a sort: the spans of a large store would not fit anywhere when memory is short.
    let (mut histogram, mut free_in_all) = ([0; LEVELS], 0);
    for free in (0..used).map(|span| ready_slots(class, span)).filter(|free| (1..slots).contains(free)) {
        histogram[level(free)] += 1;
        free_in_all += free;
    }
    // Live blocks of the chosen fit into the free slots of the others: chosen * slots <= free in all.
    let most = (free_in_all / slots).min((ROUND_BYTES / geometry.span_bytes()).max(1));
    let mut threshold = LEVELS;
    let mut found = 0;
    while threshold > 0 && found < most {
        threshold -= 1;
        found += histogram[threshold];
    }
    let sparse = |&span: &usize| {
        let free = ready_slots(class, span);
        (1..slots).contains(&free) && level(free) >= threshold
    };
    // From the top: the class gives up high spans and keeps low ones.
    let mut chosen: Vec<usize> = (0..used).rev().filter(sparse).take(most).collect();
    chosen.reverse();
    chosen
}

impl SparseSpans<'_> {
    /// Whether the block lies in one of the spans, and should be moved.
    #[inline]
    pub(crate) fn contains(&self, b: BlockRef) -> bool {
        b.class() == self.class && self.position(self.arena.slot(b)).is_some()
    }

    fn class(&self) -> &Class {
        &self.arena.classes()[self.class]
    }

    fn position(&self, slot: usize) -> Option<usize> {
        let span = slot >> self.class().slab.geometry.span_shift;
        self.spans.binary_search(&span).ok().filter(|&position| !self.done[position].get())
    }

    /// The leaf words of the span at `position`, the part of them that is the span's, and what is held of each.
    fn held(&self, position: usize) -> (impl Iterator<Item = (usize, &Cell<u64>)>, u64) {
        let (words, mask) = self.class().slab.geometry.words(self.spans[position]);
        let cells = self.held.chunks_exact(words.len()).nth(position).expect("a chunk per span");
        (words.zip(cells), mask)
    }

    /// Takes a slot of the spans into quarantine. The caller holds it alone.
    fn hold(&self, slot: usize) {
        let position = self.position(slot).expect("`contains` said so");
        let Claim { word, mask } = Claim::one(slot);
        let (mut words, _) = self.held(position);
        let (_, held) = words.find(|&(at, _)| at == word).expect("a word of the slot's span");
        debug_assert_eq!(held.get() & mask, 0);
        held.set(held.get() | mask);
    }

    /// Quarantines what was freed in the spans since, and gives those that became whole back to the system. Worth
    /// calling when the epoch has passed over the retired blocks. Returns the bytes refunded so far, in all.
    pub(crate) fn sweep(&self) -> u64 {
        let left = self.spans.iter().enumerate().filter(|&(position, _)| !self.done[position].get());
        for (position, &span) in left {
            let (words, mask) = self.held(position);
            let mut whole = true;
            for (word, held) in words {
                held.set(held.get() | self.class().slab.claim_ready_in(word, mask));
                whole &= held.get() == mask;
            }
            if whole {
                self.done[position].set(true);
                self.held(position).0.for_each(|(_, held)| held.set(0));
                // SAFETY: every slot of the span was in quarantine: held by this thread alone.
                let bytes = unsafe { self.class().give_back(self.arena.budget(), span) };
                self.refunded_bytes.set(self.refunded_bytes.get() + bytes);
            }
        }
        self.refunded_bytes.get()
    }

    /// The last sweep; what did not become whole is free for everybody again. Returns the bytes refunded in all.
    pub(crate) fn finish(self) -> u64 {
        self.sweep()
    }
}

impl Drop for SparseSpans<'_> {
    fn drop(&mut self) {
        for position in 0..self.spans.len() {
            for (word, held) in self.held(position).0 {
                let mask = held.take();
                if mask != 0 {
                    self.class().slab.give(Claim { word, mask });
                }
            }
        }
    }
}
