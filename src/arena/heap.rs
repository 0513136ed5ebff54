//! The arena: content blocks and raw memory in size classes, under one budget.

#[cfg(all(test, not(memfs_loom)))]
use super::runs::Runs;
use super::{
    bitmap::Claim,
    block::{BlockRef, Header, Near, SHAPES, Shape},
    budget::Budget,
    class::Class,
    magazine::{Magazine, Reach},
    pages::Pages,
    poison::{poison, unpoison},
    runs::Lack,
    sizes::{
        CHUNK_MAX_BYTES, MAX_CLASSES, RAW_CLASSES, RAW_MAX_BYTES, content_sizes, raw_class, raw_size,
        small_class,
    },
};
use crate::{
    failpoint::pass,
    map::{PAGE_BYTES, prefetch_to_write},
    sync::{Arc, Ordering, fence},
};
use std::{io, ptr::NonNull};

const CACHE_LINE_BYTES: usize = 64;
/// How many lines of the next block are fetched ahead.
const EXPECTED_LINES: usize = 4;

/// RAM under one budget. See the module's head for its parts and invariants.
pub(crate) struct Arena {
    /// By class: content of up to a page, smallest first, then raw, then the windows of longer contents. Inline, so that a reader goes
    /// from here to the bytes.
    shapes: [Shape; SHAPES],
    /// But for the windows.
    classes: Box<[Class]>,
    /// The longer contents, where there are any.
    runs: Option<Box<Pages>>,
    /// Where the raw classes begin.
    pub(super) raw_from: usize,
    chunk_bytes: usize,
    huge_pages: bool,
    reach: Reach,
    budget: Arc<Budget>,
}

// SAFETY: the shapes' pointers are addresses of the regions that `classes` owns; what may be done at them, and by whom, is
// the business of the unsafe functions here.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Reserves address space for chunks of up to `chunk_bytes`; nothing is resident, and nothing charged, yet.
    pub(crate) fn new(budget: Arc<Budget>, chunk_bytes: usize, huge_pages: bool) -> io::Result<Self> {
        assert!((1..=CHUNK_MAX_BYTES).contains(&chunk_bytes), "chunks of {chunk_bytes} bytes");
        let contents = content_sizes(chunk_bytes);
        let (raw_from, limit_bytes) = (contents.len(), budget.limit());
        let reach = Reach::new(limit_bytes);
        let content = |size| Class::content(size, limit_bytes, huge_pages, reach.batch(size));
        let raw = |size| Class::raw(size, limit_bytes, huge_pages, reach.batch(size));
        let classes = contents.into_iter().map(content).chain((0..RAW_CLASSES).map(raw_size).map(raw));
        let classes = classes.collect::<io::Result<Box<[Class]>>>()?;
        debug_assert!(classes.len() <= MAX_CLASSES);
        let mut shapes = [Shape::NONE; SHAPES];
        for (shape, class) in shapes.iter_mut().zip(&classes) {
            let geometry = &class.slab.geometry;
            *shape = Shape::new(class.region.base(), geometry.slot_bytes, geometry.slots());
        }
        let has_runs = chunk_bytes > PAGE_BYTES;
        let runs = has_runs.then(|| Pages::new(chunk_bytes, limit_bytes, huge_pages).map(Box::new));
        let runs = runs.transpose()?;
        for (window, shape) in runs.iter().flat_map(|runs| runs.shapes()).enumerate() {
            shapes[classes.len() + window] = shape;
        }
        Ok(Self { shapes, classes, runs, raw_from, chunk_bytes, huge_pages, reach, budget })
    }

    /// Whether huge pages are asked for where they serve.
    pub(crate) fn has_huge_pages(&self) -> bool {
        self.huge_pages
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(super) fn classes(&self) -> &[Class] {
        &self.classes
    }

    #[cfg(all(test, not(memfs_loom)))]
    pub(super) fn runs(&self) -> &Runs {
        &self.runs.as_ref().expect("long contents").runs
    }

    /// What `resident_in`, told of the runs' pages, says of them.
    #[cfg(all(test, not(memfs_loom)))]
    pub(super) fn resident_in_runs(&self, resident_in: impl Fn(*const u8, usize) -> u64) -> u64 {
        let base = self.shapes[self.classes.len()].address(0);
        self.runs.as_ref().map_or(0, |runs| resident_in(base, runs.runs.opened() * PAGE_BYTES))
    }

    #[inline]
    fn shape(&self, b: BlockRef) -> &Shape {
        &self.shapes[b.class()]
    }

    #[inline]
    pub(super) fn slot(&self, b: BlockRef) -> usize {
        self.shape(b).slot(b)
    }

    /// What magazines know this arena by.
    fn id(&self) -> usize {
        self.classes.as_ptr().addr()
    }

    /// The runs, and the first page of the run that `b` is, if it is one.
    #[inline]
    fn run(&self, b: BlockRef) -> Option<(&Pages, usize)> {
        let window = b.class().checked_sub(self.classes.len())?;
        let runs = self.runs.as_ref().expect("who has a run has runs");
        Some((runs, runs.page(window, self.slot(b))))
    }

    /// A free slot of `class`: the one place where memory becomes somebody's.
    #[inline]
    fn take_slot(&self, mag: &Magazine, class: usize) -> Option<usize> {
        let slot_bytes = self.shapes[class].slot_bytes();
        let slot = match mag.pop(self.id(), class, slot_bytes) {
            Some(slot) => slot,
            None => self.refill(mag, class, slot_bytes)?,
        };
        unpoison(self.shapes[class].address(slot), slot_bytes);
        Some(slot)
    }

    #[cold]
    fn refill(&self, mag: &Magazine, class: usize, slot_bytes: usize) -> Option<usize> {
        let class_of = &self.classes[class];
        let Class { slab, batch, .. } = class_of;
        if mag.would_pass(self.reach, *batch as usize * slot_bytes) {
            self.drain(mag);
        }
        let mut claim = loop {
            match class_of.claim(&self.budget, *batch) {
                Some(claim) => break claim,
                None if self.make_room(mag, slab.first_use_bytes()) => {}
                // Others may have given back meanwhile what this thread no longer found.
                None => break class_of.claim(&self.budget, *batch)?,
            }
        };
        pass("allocate: slots claimed");
        let slot = claim.pop();
        if claim.mask != 0 {
            mag.put(self.id(), class, claim, slot_bytes);
        }
        slot
    }

    /// The same for contents of two pages and more: a run of free pages, all of them resident.
    fn take_run(&self, mag: &Magazine, runs: &Pages, pages: usize) -> Option<usize> {
        loop {
            let mut run = match runs.claim(&self.budget, pages) {
                Ok(run) => run,
                Err(Lack::Room) if self.make_room(mag, runs.runs.need_bytes(pages)) => continue,
                Err(Lack::Room | Lack::Place) => return None,
            };
            pass("allocate: run claimed");
            loop {
                if runs.back(&self.budget, &mut run) {
                    pass("allocate: run backed");
                    return Some(run.pages.start);
                }
                if !self.make_room(mag, runs.runs.need_bytes(run.missing)) {
                    runs.runs.give(run.pages);
                    return None;
                }
            }
        }
    }

    /// Turns free memory, wherever it is, into room in the budget for what needs so many bytes of it; whether there was any.
    fn make_room(&self, mag: &Magazine, need_bytes: u64) -> bool {
        self.drain(mag);
        let left_bytes = self.budget.limit().saturating_sub(self.budget.charged());
        self.trim(need_bytes.saturating_sub(left_bytes).max(1)) > 0
    }

    /// The one place where memory becomes nobody's.
    ///
    /// # Safety
    /// The slot came from `take_slot`, and the caller is the last to know it.
    #[inline]
    unsafe fn put_slot(&self, class: usize, slot: usize) {
        #[cfg(memfs_loom)]
        {
            let address = self.shapes[class].address(slot).addr();
            crate::model::forget(address, self.shapes[class].slot_bytes());
            crate::model::dies(address);
        }
        poison(self.shapes[class].address(slot), self.shapes[class].slot_bytes());
        pass("free: nobody's, not ready");
        self.classes[class].slab.give(Claim::one(slot));
    }

    /// The same for the run that `b` is, of which the last reference is gone.
    fn put_run(&self, b: BlockRef, runs: &Pages, page: usize) {
        let (start, capacity) = (self.shape(b).address(self.slot(b)), runs.capacity(page));
        #[cfg(memfs_loom)]
        {
            crate::model::forget(start.addr(), capacity);
            crate::model::dies(start.addr());
        }
        poison(start, capacity);
        pass("free: run nobody's, not free");
        runs.give(page);
    }

    /// A block for `len_bytes` of content (1 to the chunk size): unpublished, its bytes unspecified, with one reference,
    /// `tail` the length and `extent` zero. `None`: the budget has no room, and trimming found none;
    /// evict, try again. (Near the limit that can be so for a moment only, while another thread opens a span.)
    pub(crate) fn alloc(&self, mag: &Magazine, len_bytes: usize) -> Option<BlockRef> {
        assert!(
            (1..=self.chunk_bytes).contains(&len_bytes),
            "{len_bytes} bytes of at most {}",
            self.chunk_bytes
        );
        let (class, slot) = if len_bytes > PAGE_BYTES {
            let runs = self.runs.as_ref().expect("longer contents than a page are runs");
            let pages = runs.pages_for(len_bytes);
            let (window, slot) = runs.window(self.take_run(mag, runs, pages)?);
            let class = self.classes.len() + window;
            unpoison(self.shapes[class].address(slot), pages * PAGE_BYTES);
            (class, slot)
        } else {
            let class = small_class(len_bytes);
            let slot = self.take_slot(mag, class)?;
            if let Some(next) = mag.peek(class) {
                self.expect_alloc(class, next, len_bytes);
            }
            (class, slot)
        };
        #[cfg(memfs_loom)]
        crate::model::born(self.shapes[class].address(slot).addr());
        let b = BlockRef::pack(class, &self.shapes[class], slot, len_bytes);
        // Relaxed: whoever publishes the block releases these with it.
        let header = self.header_of(b);
        header.extent.store(0, Ordering::Relaxed);
        header.tail.store(len_bytes as u32, Ordering::Relaxed);
        header.refs.store(1, Ordering::Relaxed);
        Some(b)
    }

    /// Starts to bring near what is written first of a slot that this thread is going to take next: its header, and where its bytes
    /// begin. (What comes after, the processor sees coming.)
    #[inline(always)]
    fn expect_alloc(&self, class: usize, slot: usize, len_bytes: usize) {
        self.classes[class].prefetch_header(slot);
        let bytes = self.shapes[class].address(slot);
        for line in 0..EXPECTED_LINES.min(len_bytes.div_ceil(CACHE_LINE_BYTES)) {
            prefetch_to_write(bytes.wrapping_add(line * CACHE_LINE_BYTES));
        }
    }

    /// The block's bytes.
    ///
    /// # Safety
    /// - The block stays allocated for as long as the slice is used: the caller is pinned since it loaded `b`, or holds a reference.
    /// - Its first `len` bytes were written before `b` was published, and are not written meanwhile.
    #[inline]
    pub(crate) unsafe fn bytes(&self, b: BlockRef) -> &[u8] {
        let shape = self.shape(b);
        debug_assert!(shape.len(b) <= self.capacity(b));
        #[cfg(memfs_loom)]
        crate::model::touch_bytes(shape.address(shape.slot(b)).addr(), shape.len(b));
        // SAFETY: the slot is in its class's region, or the run in its window's (`alloc` made `b`), the length at most what is there
        // (`alloc`, `with_len`); alive and unwritten (caller).
        unsafe { std::slice::from_raw_parts(shape.address(shape.slot(b)), shape.len(b)) }
    }

    /// The block's place in half a word.
    pub(crate) fn near(&self, b: BlockRef) -> Near {
        Near::new(b.class(), self.slot(b))
    }

    /// The place of memory that came from `alloc_raw` with this size.
    pub(crate) fn near_raw(&self, ptr: NonNull<u8>, size_bytes: usize) -> Near {
        let class = self.raw_from + raw_class(size_bytes);
        Near::new(class, self.shapes[class].slot_at(ptr))
    }

    /// The address that was meant, or some other: for prefetching and comparing.
    #[inline]
    pub(crate) fn far(&self, near: Near) -> *const u8 {
        self.shapes[near.class()].address(near.slot())
    }

    /// Starts to bring near what is written of the block that was meant, or some other, when it is let go.
    #[inline(always)]
    pub(crate) fn expect_release(&self, near: Near) {
        match (self.classes.get(near.class()), &self.runs) {
            (Some(class), _) => class.prefetch_header(near.slot()),
            (None, Some(runs)) => runs.prefetch_header(near.class() - self.classes.len(), near.slot()),
            (None, None) => {}
        }
    }

    /// Where bytes `from..from + len` of the block's capacity are.
    ///
    /// # Safety
    /// The block is allocated; the caller writes only where nobody reads, by whatever protocol the floors above keep.
    #[inline]
    pub(crate) unsafe fn slack_mut(&self, b: BlockRef, from: usize, len: usize) -> *mut u8 {
        let shape = self.shape(b);
        let fits = from.checked_add(len).is_some_and(|end| end <= self.capacity(b));
        assert!(fits, "{len} bytes at {from} of a block of {}", self.capacity(b));
        #[cfg(memfs_loom)]
        crate::model::touch(shape.address(shape.slot(b)).addr());
        shape.address(shape.slot(b)).wrapping_add(from)
    }

    #[inline]
    pub(crate) fn header(&self, b: BlockRef) -> &Header {
        #[cfg(memfs_loom)]
        crate::model::touch(self.shape(b).address(self.slot(b)).addr());
        self.header_of(b)
    }

    #[inline]
    fn header_of(&self, b: BlockRef) -> &Header {
        match self.run(b) {
            Some((runs, page)) => runs.header(page),
            None => self.classes[b.class()].header(self.slot(b)),
        }
    }

    /// How many bytes fit into the block, which is allocated.
    #[inline]
    pub(crate) fn capacity(&self, b: BlockRef) -> usize {
        match self.run(b) {
            Some((runs, page)) => runs.capacity(page),
            None => self.shape(b).slot_bytes(),
        }
    }

    /// How many bytes the reference says are in it.
    #[inline]
    pub(crate) fn len(&self, b: BlockRef) -> usize {
        self.shape(b).len(b)
    }

    /// The same block, with another length.
    pub(crate) fn with_len(&self, b: BlockRef, len_bytes: usize) -> BlockRef {
        let shape = self.shape(b);
        assert!(len_bytes <= self.capacity(b), "{len_bytes} bytes in a block of {}", self.capacity(b));
        BlockRef::pack(b.class(), shape, shape.slot(b), len_bytes)
    }

    #[cfg(any(test, memfs_loom))]
    /// Whether two references, whatever their lengths, mean one block.
    pub(crate) fn same_block(&self, a: BlockRef, b: BlockRef) -> bool {
        a.class() == b.class() && self.slot(a) == self.slot(b)
    }

    /// One more reference.
    ///
    /// # Safety
    /// There is one already that cannot go meanwhile: the caller holds it, or is pinned since it loaded `b`.
    #[inline]
    pub(crate) unsafe fn retain(&self, b: BlockRef) {
        // Relaxed, as in `Arc`: the reference that is there orders everything.
        let before = self.header(b).refs.fetch_add(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a reference to a free block");
        // As in `Arc`: a count that wraps would free what is in use; half the range is never reached but by a leak.
        if before > u32::MAX / 2 {
            std::process::abort();
        }
    }

    /// Whether there is more than one reference, at some instant.
    pub(crate) fn is_shared(&self, b: BlockRef) -> bool {
        // Relaxed: a hint.
        self.header(b).refs.load(Ordering::Relaxed) > 1
    }

    /// One reference less; the last one frees the block (`true`).
    ///
    /// # Safety
    /// The caller owns a reference, and uses the block no more.
    #[inline]
    pub(crate) unsafe fn release(&self, b: BlockRef) -> bool {
        let refs = &self.header(b).refs;
        // Acquire: who finds its own reference to be the only one sees what all the others did before they let go (Release), and
        // nobody can make another: that takes a reference, or a word in which the block still is (`retain`).
        if refs.load(Ordering::Acquire) != 1 {
            // Release: all use of the block happens before its end.
            let before = refs.fetch_sub(1, Ordering::Release);
            debug_assert!(before > 0, "released once too often");
            if before != 1 {
                return false;
            }
            // Acquire: pairs with the Release of all the others who let go.
            fence(Ordering::Acquire);
        }
        match self.run(b) {
            Some((runs, page)) => self.put_run(b, runs, page),
            // SAFETY: from `alloc`, and the last reference is gone.
            None => unsafe { self.put_slot(b.class(), self.slot(b)) },
        }
        true
    }

    /// Memory for tables: 16-aligned, of at least `size_bytes` (8 KiB at most), contents unspecified.
    pub(crate) fn alloc_raw(&self, mag: &Magazine, size_bytes: usize) -> Option<NonNull<u8>> {
        assert!(size_bytes <= RAW_MAX_BYTES, "{size_bytes} raw bytes");
        let class = self.raw_from + raw_class(size_bytes);
        let slot = self.take_slot(mag, class)?;
        #[cfg(memfs_loom)]
        crate::model::born(self.shapes[class].address(slot).addr());
        NonNull::new(self.shapes[class].address(slot))
    }

    /// Frees it again.
    ///
    /// # Safety
    /// `ptr` came from `alloc_raw` of this arena with a size of the same class, and nobody uses the memory any more.
    pub(crate) unsafe fn free_raw(&self, ptr: NonNull<u8>, size_bytes: usize) {
        let class = self.raw_from + raw_class(size_bytes);
        // SAFETY: from `take_slot` by `alloc_raw`, and unused (caller).
        unsafe { self.put_slot(class, self.shapes[class].slot_at(ptr)) };
    }

    /// Gives free pages of runs and then wholly free spans back to the system, large classes first and from the top of each, until
    /// at least `want_bytes` are refunded or there are none. Costs a look per class that has none. Returns the bytes refunded.
    pub(crate) fn trim(&self, want_bytes: u64) -> u64 {
        let (contents, raws) = self.classes.split_at(self.raw_from);
        let runs = self.runs.as_ref().filter(|runs| !runs.runs.looks_untrimmable());
        let mut refunded = runs.map_or(0, |runs| runs.trim(&self.budget, want_bytes));
        for class in contents.iter().rev().chain(raws.iter().rev()) {
            if refunded >= want_bytes {
                break;
            }
            if !class.looks_untrimmable() {
                refunded += class.trim(&self.budget, want_bytes - refunded);
            }
        }
        refunded
    }

    /// Bytes that are charged but free, magazines not counted; a scan of all small classes that were ever used.
    pub(crate) fn free_resident_bytes(&self) -> u64 {
        let free = |class: &Class| (class.slab.ready_slots() * class.slab.geometry.slot_bytes) as u64;
        let of_runs = self.runs.as_ref().map_or(0, |runs| runs.runs.ready_bytes());
        of_runs + self.classes.iter().map(free).sum::<u64>()
    }

    /// What the arena itself has charged to the budget: resident spans, their headers, and bitmaps.
    #[cfg(any(test, memfs_loom, debug_assertions, feature = "validate"))]
    pub(crate) fn charged_bytes(&self) -> u64 {
        let of_runs = self.runs.as_ref().map_or(0, |runs| runs.runs.charged_bytes());
        of_runs + self.classes.iter().map(|class| class.slab.charged_bytes()).sum::<u64>()
    }

    #[cfg(any(test, memfs_loom))]
    /// What of that stays charged when all is free and trimmed: bits of bitmaps, two or three for every slot ever used.
    pub(crate) fn overhead_bytes(&self) -> u64 {
        let of_runs = self.runs.as_ref().map_or(0, |runs| runs.runs.overhead_bytes());
        of_runs + self.classes.iter().map(|class| class.slab.overhead_bytes()).sum::<u64>()
    }

    /// Gives back what the magazine holds: at thread exit, or when memory is short.
    pub(crate) fn drain(&self, mag: &Magazine) {
        mag.empty(self.id(), |class, claim| self.classes[class].slab.give(claim));
    }

    /// Whether the structures agree; the caller knows that no operation is under way.
    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(crate) fn validate(&self) -> Result<(), String> {
        for class in &self.classes {
            let size = class.slab.geometry.slot_bytes;
            class.slab.validate().map_err(|what| format!("class of {size} bytes: {what}"))?;
        }
        if let Some(runs) = &self.runs {
            runs.runs.validate().map_err(|what| format!("runs: {what}"))?;
        }
        let (own, charged) = (self.charged_bytes(), self.budget.charged());
        if own > charged {
            return Err(format!("{own} bytes are the arena's, {charged} are charged in all"));
        }
        Ok(())
    }
}

const _: () = assert!(MAX_CLASSES <= SHAPES && PAGE_BYTES <= RAW_MAX_BYTES || cfg!(memfs_loom));

/// The addresses may become somebody's outside of the arena.
#[cfg(memfs_asan)]
impl Drop for Arena {
    fn drop(&mut self) {
        for (shape, class) in self.shapes.iter().zip(&self.classes) {
            let used = class.slab.geometry.slots_of(0..class.slab.used_spans()).end;
            unpoison(shape.address(0), used * shape.slot_bytes());
        }
        if let Some(runs) = &self.runs {
            unpoison(self.shapes[self.classes.len()].address(0), runs.runs.opened() * PAGE_BYTES);
        }
    }
}
