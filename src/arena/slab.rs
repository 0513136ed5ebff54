//! The slots of one class: which are free, which spans of them are resident. Knows nothing of what is in a slot.
//!
//! ```text
//! slots   |used..ready..used|ready........ready|   gone   |used..magazine..ready|   never used  ...
//! spans   |     backed      | backed and whole |  ground  |       backed        | ground ->
//! ready    0000 1111 0000    1111 1111 1111      0000       0000  0000     1111   0000
//! whole    0                 1 (a hint)          0          0                     0
//! ```
//!
//! # Invariants
//! 1. A slot is at one place: used, in a magazine (or quarantine), ready, or in a span that the ground has or that is in
//!    the hands of a thread that is backing it or giving it back.
//! 2. A span is charged to the budget before its first slot leaves, until after its pages went back.
//! 3. When nothing is under way, a span whose slots are all ready is in `whole`. (`whole` may have more: claims do not
//!    look at it.) Where a span is one slot, `ready` itself is `whole`.

use super::{
    bitmap::{Bitmap, Claim, End, FULL, WORD_BITS, WORD_SHIFT, pick},
    budget::Budget,
    ground::Ground,
    span::Geometry,
};
use crate::{
    failpoint::pass,
    sync::{AtomicUsize, Ordering, fence},
};
use std::{io, ops::Range};

/// Most bytes that one trim holds in its hands, out of reach of everybody, while it gives them back.
const RUN_BYTES: usize = 2 << 20;

pub(super) struct Slab {
    pub(super) geometry: Geometry,
    /// Slots that are free and resident.
    ready: Bitmap,
    /// Spans that became wholly ready; absent where a span is one slot.
    whole: Option<Bitmap>,
    /// How many spans are charged.
    backed: AtomicUsize,
    /// All other spans.
    ground: Ground,
    /// What a charge must leave of the budget.
    leave_bytes: u64,
}

impl Slab {
    pub(super) fn new(geometry: Geometry, ground: Ground) -> io::Result<Self> {
        Ok(Self {
            geometry,
            ready: Bitmap::new(geometry.slots())?,
            whole: if geometry.span_shift > 0 { Some(Bitmap::new(geometry.spans)?) } else { None },
            backed: AtomicUsize::new(0),
            ground,
            leave_bytes: 0,
        })
    }

    /// The same, charging only what leaves so much of the budget for others.
    pub(super) fn leaving(self, leave_bytes: u64) -> Self {
        Self { leave_bytes, ..self }
    }

    /// Takes up to `count` slots: ready ones, else from a span that is charged for it. `None`: the budget has no room for
    /// one.
    pub(super) fn claim(&self, budget: &Budget, count: u32) -> Option<Claim> {
        self.claim_backed(budget, count, |_| {})
    }

    /// The same; `back` is told of the slots of a span that had no pages, before anybody can have one of them.
    pub(super) fn claim_backed(
        &self,
        budget: &Budget,
        count: u32,
        back: impl FnOnce(Range<usize>),
    ) -> Option<Claim> {
        if let Some(claim) = self.claim_ready(count) {
            return Some(claim);
        }
        let span = self.back_span(budget)?;
        back(self.geometry.slots_of(span..span + 1));
        let (mut words, mask) = self.geometry.words(span);
        let word = words.next().expect("a span has a word");
        let taken = pick(mask, End::Low, count);
        if taken != mask {
            self.ready.set(word, mask & !taken);
        }
        words.for_each(|word| _ = self.ready.set(word, mask));
        Some(Claim { word, mask: taken })
    }

    /// Charges for spans that stand in a row, as many as `count` says of the first of them, and makes their slots ready, after `back`
    /// was told of them. Fewer, or none, where others are in between or the budget has no room: who needs a slot asks again.
    pub(super) fn back_row(
        &self,
        budget: &Budget,
        count: impl FnOnce(usize) -> usize,
        back: impl FnOnce(Range<usize>),
    ) {
        let Some(first) = self.ground.take(budget) else { return };
        let (wanted, span_bytes) = (count(first).max(1), self.geometry.span_bytes() as u64);
        if !budget.try_charge_leaving(wanted as u64 * span_bytes, self.leave_bytes) {
            return self.ground.put(first);
        }
        let mut row = first..first + 1;
        while row.len() < wanted
            && let Some(span) = self.ground.take(budget)
        {
            if span != row.end {
                self.ground.put(span);
                break;
            }
            row.end += 1;
        }
        budget.refund((wanted - row.len()) as u64 * span_bytes);
        // Relaxed: a figure.
        self.backed.fetch_add(row.len(), Ordering::Relaxed);
        back(self.geometry.slots_of(row.clone()));
        for span in row {
            let (words, mask) = self.geometry.words(span);
            words.for_each(|word| self.give(Claim { word, mask }));
        }
    }

    /// Takes up to `count` ready slots.
    #[inline]
    pub(super) fn claim_ready(&self, count: u32) -> Option<Claim> {
        self.ready.claim(End::Low, count)
    }

    /// Charges for a span and takes it from the ground.
    fn back_span(&self, budget: &Budget) -> Option<usize> {
        let bytes = self.geometry.span_bytes() as u64;
        if !budget.try_charge_leaving(bytes, self.leave_bytes) {
            return None;
        }
        let span = self.ground.take(budget);
        if span.is_some() {
            // Relaxed: a figure.
            self.backed.fetch_add(1, Ordering::Relaxed);
        } else {
            budget.refund(bytes);
        }
        span
    }

    /// Makes slots that nobody uses any more ready for everybody.
    #[inline]
    pub(super) fn give(&self, claim: Claim) {
        let before = self.ready.set(claim.word, claim.mask);
        pass("free: ready, its span not noted");
        assert!(
            before & claim.mask == 0,
            "slots {:#x} of word {} freed twice",
            before & claim.mask,
            claim.word
        );
        if let Some(whole) = &self.whole {
            self.note_whole(whole, claim, before | claim.mask);
        }
    }

    /// Enters the spans of `claim`'s slots that are wholly ready into `whole`; `now` is the leaf word as `give` left it.
    #[inline]
    fn note_whole(&self, whole: &Bitmap, claim: Claim, now: u64) {
        if self.geometry.span_shift >= WORD_SHIFT {
            if now == FULL {
                self.note_long_span(whole, (claim.word * WORD_BITS) >> self.geometry.span_shift);
            }
            return;
        }
        let mut rest = claim.mask;
        while rest != 0 {
            let slot = claim.word * WORD_BITS + rest.trailing_zeros() as usize;
            let span = slot >> self.geometry.span_shift;
            let (_, mask) = self.geometry.words(span);
            if now & mask == mask {
                let hint = Claim::one(span);
                whole.set(hint.word, hint.mask);
            }
            rest &= !mask;
        }
    }

    /// As above for a span of one or more whole words.
    fn note_long_span(&self, whole: &Bitmap, span: usize) {
        let (words, _) = self.geometry.words(span);
        // SeqCst: of several threads that fill the words of a span, the one whose fence is last sees all words full:
        // each filled its word before its fence and looks after it. Without it, each may miss the other's.
        fence(Ordering::SeqCst);
        if words.into_iter().all(|word| self.ready.load(word) == FULL) {
            let hint = Claim::one(span);
            whole.set(hint.word, hint.mask);
        }
    }

    /// Takes the highest span that is wholly ready.
    ///
    /// The hint is taken before the slots are looked at, and entered after they are freed, both by read-modify-writes of
    /// one word: a span that becomes whole too late for the look has its hint entered after ours was taken.
    fn take_whole(&self) -> Option<usize> {
        let Some(whole) = &self.whole else {
            return self.ready.claim(End::High, 1)?.pop();
        };
        loop {
            let span = whole.claim(End::High, 1)?.pop()?;
            if self.take_span(span) {
                return Some(span);
            }
        }
    }

    /// Takes all slots of a span, or none.
    fn take_span(&self, span: usize) -> bool {
        let (words, mask) = self.geometry.words(span);
        for word in words.clone() {
            if !self.ready.claim_all(word, mask) {
                (words.start..word).for_each(|taken| self.give(Claim { word: taken, mask }));
                return false;
            }
        }
        true
    }

    /// Gives wholly ready spans back to the system, from the top down, until at least `want_bytes` are refunded or there
    /// are no more. `decommit` gets ranges of slots that nobody can reach. Returns the bytes refunded.
    pub(super) fn trim(&self, budget: &Budget, want_bytes: u64, decommit: impl Fn(Range<usize>)) -> u64 {
        let span_bytes = self.geometry.span_bytes();
        let most_spans = (RUN_BYTES / span_bytes).max(1);
        let mut refunded = 0;
        let mut run = 0..0;
        while refunded + ((run.len() * span_bytes) as u64) < want_bytes {
            let Some(span) = self.take_whole() else { break };
            if span + 1 == run.start && run.len() < most_spans {
                run.start = span;
            } else {
                refunded += self.give_back(budget, run, &decommit);
                run = span..span + 1;
            }
        }
        refunded + self.give_back(budget, run, &decommit)
    }

    /// The way of spans, all of whose slots the caller holds, back to the system. Returns the bytes refunded.
    pub(super) fn give_back(
        &self,
        budget: &Budget,
        spans: Range<usize>,
        decommit: impl Fn(Range<usize>),
    ) -> u64 {
        if spans.is_empty() {
            return 0;
        }
        let (count, bytes) = (spans.len(), (spans.len() * self.geometry.span_bytes()) as u64);
        pass("trim: spans taken");
        decommit(self.geometry.slots_of(spans.clone()));
        pass("trim: pages gone, spans not in the ground");
        self.backed.fetch_sub(count, Ordering::Relaxed);
        budget.refund(bytes);
        // Last: who takes a span from the ground finds its pages gone.
        spans.for_each(|span| self.ground.put(span));
        bytes
    }

    /// Takes the ready ones of a span's slots in `word`: for quarantine.
    pub(super) fn claim_ready_in(&self, word: usize, mask: u64) -> u64 {
        self.ready.claim_any(word, mask)
    }

    /// The slots of leaf word `word` that are ready, as they are at the moment or were.
    pub(super) fn ready_in(&self, word: usize) -> u64 {
        self.ready.load(word)
    }

    /// Whether a trim would find nothing; as cheap as a look at one word.
    pub(super) fn looks_untrimmable(&self) -> bool {
        self.whole.as_ref().unwrap_or(&self.ready).looks_empty()
    }

    /// What is below this slab.
    pub(super) fn ground(&self) -> &Ground {
        &self.ground
    }

    /// Spans that were ever used are below it.
    pub(super) fn used_spans(&self) -> usize {
        self.ground.bound()
    }

    /// What must be left of the budget for the first slot of a span, at most.
    pub(super) fn first_use_bytes(&self) -> u64 {
        self.leave_bytes + self.geometry.span_bytes() as u64 + self.ground.first_use_bytes()
    }

    pub(super) fn backed_spans(&self) -> usize {
        self.backed.load(Ordering::Relaxed)
    }

    /// Slots that are charged for and ready; a scan.
    pub(super) fn ready_slots(&self) -> usize {
        if self.ready.looks_empty() {
            0
        } else {
            self.ready.count(self.geometry.words_below(self.used_spans()))
        }
    }

    /// What this slab and its ground have charged.
    #[cfg(any(test, memfs_loom, debug_assertions, feature = "validate"))]
    pub(super) fn charged_bytes(&self) -> u64 {
        (self.backed_spans() * self.geometry.span_bytes()) as u64 + self.ground.charged_bytes()
    }

    #[cfg(any(test, memfs_loom))]
    /// What of that is never given back.
    pub(super) fn overhead_bytes(&self) -> u64 {
        self.ground.overhead_bytes()
    }
}

#[cfg(any(test, debug_assertions, feature = "validate"))]
impl Slab {
    /// The invariants at the head of this file, one span after the other. The caller knows that nothing is under way.
    pub(super) fn validate(&self) -> Result<(), String> {
        self.ground.validate()?;
        let used = self.used_spans();
        if used > self.geometry.spans {
            return Err(format!("{used} spans used of {}", self.geometry.spans));
        }
        self.ready.validate(self.geometry.words_below(used))?;
        if let Some(whole) = &self.whole {
            whole.validate(used.div_ceil(WORD_BITS))?;
        }
        if self.ready.bound() > self.geometry.slots_of(0..used).end {
            return Err(format!("slot {} is ready, {used} spans are used", self.ready.bound() - 1));
        }
        let mut backed = 0;
        for span in 0..used {
            backed += usize::from(self.validate_span(span)?);
        }
        if backed != self.backed_spans() {
            return Err(format!("{backed} spans are backed, {} are charged", self.backed_spans()));
        }
        Ok(())
    }

    /// Whether the span is backed, if it is as it should be.
    fn validate_span(&self, span: usize) -> Result<bool, String> {
        let (words, mask) = self.geometry.words(span);
        let ready = |word| self.ready.load(word) & mask;
        if self.ground.has(span) {
            let clean = words.into_iter().all(|word| ready(word) == 0);
            return if clean { Ok(false) } else { Err(format!("span {span} went back and has ready slots")) };
        }
        let whole = words.into_iter().all(|word| ready(word) == mask);
        if whole && self.whole.as_ref().is_some_and(|set| !set.has(span)) {
            return Err(format!("span {span} is wholly ready and trim does not know"));
        }
        Ok(true)
    }

    /// Whether the slot is ready, or in a span that went back.
    pub(super) fn has(&self, slot: usize) -> bool {
        self.ready.has(slot) || self.ground.has(slot >> self.geometry.span_shift)
    }
}
