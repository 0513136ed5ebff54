//! The one place that names `memmap2`: address space, by the page.
//!
//! Owns two things: [`Reservation`], anonymous zeroed memory reserved without commitment, and [`FileMap`], a shared
//! read-only view of a file. Knows nothing of blocks, classes or extents.
//!
//! # Invariants
//! 1. A page of a `Reservation` that was never written, or that was decommitted since, reads as zeros and is not resident.
//! 2. A `Zeroed<T>` hands out shared references only; `T: Zeroable` promises that all-zero bytes are a `T` and that a page
//!    turning to zeros under a shared reference is a value change that `T`'s atomics allow.

use std::{fs::File, io, marker::PhantomData, ops::Range, ptr::NonNull};

/// The granule in which memory becomes resident and is given back.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Rounds up to whole pages; `usize::MAX` stays representable because callers bound their sizes first.
pub(crate) const fn page_ceil(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_BYTES) * PAGE_BYTES
}

/// Starts to bring the cache line at `at` near, without waiting for it. Any address will do: a hint that cannot fault.
#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(memfs_loom)))]
    // SAFETY: prefetching reads nothing, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    let _ = at;
}

/// The same for memory that is about to be written.
#[inline(always)]
pub(crate) fn prefetch_to_write<T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(memfs_loom)))]
    // SAFETY: as above.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_ET0>(at.cast());
    }
    let _ = at;
}

/// Anonymous memory: address space now, pages when they are touched.
#[cfg(not(memfs_loom))]
pub(crate) struct Reservation {
    map: memmap2::MmapRaw,
    /// Where it begins.
    base: NonNull<u8>,
}

#[cfg(not(memfs_loom))]
impl Reservation {
    /// Reserves `bytes` (at least a page) of zeroed address space. Costs microseconds at any size. Refused where the system's pages
    /// are larger than [`PAGE_BYTES`]: giving one of ours back would take its neighbours with it.
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        let page_bytes = rustix::param::page_size();
        if page_bytes > PAGE_BYTES {
            let why = format!("memory comes in pages of {page_bytes} bytes here, more than {PAGE_BYTES}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let len = bytes.max(1).checked_next_multiple_of(PAGE_BYTES).filter(|len| *len <= isize::MAX as usize);
        let len = len.ok_or(io::ErrorKind::OutOfMemory)?;
        let map = memmap2::MmapOptions::new().len(len).no_reserve_swap().map_anon()?;
        let map: memmap2::MmapRaw = map.into();
        let base = NonNull::new(map.as_mut_ptr()).expect("a mapping is never at address zero");
        Ok(Self { map, base })
    }

    #[inline]
    pub(crate) fn ptr(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.map.len()
    }

    /// Gives the pages of `range` back to the system; they read as zeros from then on.
    ///
    /// # Safety
    /// No reference to plain (non-atomic) memory in `range` is alive.
    pub(crate) unsafe fn decommit(&self, range: Range<usize>) {
        debug_assert!(range.start.is_multiple_of(PAGE_BYTES) && range.end.is_multiple_of(PAGE_BYTES));
        debug_assert!(range.end <= self.len_bytes());
        let drop_pages = || {
            // SAFETY: the range lies in the mapping (caller's slots do); nothing refers to it (caller).
            unsafe {
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
            }
        };
        let done = drop_pages().or_else(|_| {
            // A process that has its memory locked (`mlockall`) gives nothing back unless told so.
            self.decommit_locked(&range).or_else(|_| self.map.unlock().and_then(|()| drop_pages()))
        });
        debug_assert!(done.is_ok(), "DONTNEED of anonymous memory failed: {done:?}");
    }

    /// Gives back pages that are locked; what is touched later will be locked again. From Linux 5.18 on.
    #[cfg(target_os = "linux")]
    fn decommit_locked(&self, range: &Range<usize>) -> io::Result<()> {
        // SAFETY: as in `decommit`.
        let done = unsafe {
            let start = self.base.add(range.start).as_ptr().cast();
            libc::madvise(start, range.len(), libc::MADV_DONTNEED_LOCKED)
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    #[cfg(not(target_os = "linux"))]
    fn decommit_locked(&self, _range: &Range<usize>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes the pages of `range` resident now, zeroed, by one call; a hint whose refusal (a kernel before 5.14) changes nothing.
    pub(crate) fn populate(&self, range: Range<usize>) {
        #[cfg(target_os = "linux")]
        let _ = self.map.advise_range(memmap2::Advice::PopulateWrite, range.start, range.len());
        #[cfg(not(target_os = "linux"))]
        let _ = range;
    }

    /// The same in huge pages, where they fit into the range and the system has them; what becomes resident later, when pages of
    /// it went back, does so in small ones.
    pub(crate) fn populate_huge(&self, range: Range<usize>) {
        #[cfg(target_os = "linux")]
        {
            let _ = self.map.advise_range(memmap2::Advice::HugePage, range.start, range.len());
            self.populate(range.clone());
            let _ = self.map.advise_range(memmap2::Advice::NoHugePage, range.start, range.len());
        }
        #[cfg(not(target_os = "linux"))]
        let _ = range;
    }

    /// Asks for huge pages, where the system has them; a hint whose refusal changes nothing.
    pub(crate) fn advise_huge(&self) {
        #[cfg(target_os = "linux")]
        let _ = self.map.advise(memmap2::Advice::HugePage);
    }

    /// Asks for small pages only, so that touching one page makes one page resident even where the system hands out
    /// huge pages unasked.
    pub(crate) fn refuse_huge(&self) {
        #[cfg(target_os = "linux")]
        let _ = self.map.advise(memmap2::Advice::NoHugePage);
    }
}

/// The same under the model checker, from the heap: small, and at the same addresses in every execution.
#[cfg(memfs_loom)]
pub(crate) struct Reservation {
    bytes: NonNull<u8>,
    len_bytes: usize,
}

#[cfg(memfs_loom)]
impl Reservation {
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        let len_bytes = page_ceil(bytes.max(1));
        Ok(Self { bytes: crate::model::reserve(len_bytes), len_bytes })
    }

    pub(crate) fn ptr(&self) -> NonNull<u8> {
        self.bytes
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// # Safety
    /// As in the ordinary build.
    pub(crate) unsafe fn decommit(&self, range: Range<usize>) {
        // SAFETY: in bounds and unreferenced (caller).
        unsafe { self.bytes.as_ptr().add(range.start).write_bytes(0, range.len()) };
    }

    pub(crate) fn populate(&self, _range: Range<usize>) {}

    pub(crate) fn populate_huge(&self, _range: Range<usize>) {}

    pub(crate) fn advise_huge(&self) {}

    pub(crate) fn refuse_huge(&self) {}
}

#[cfg(memfs_loom)]
impl Drop for Reservation {
    fn drop(&mut self) {
        crate::model::unreserve();
    }
}

// SAFETY: a reservation is an address range; what is in it is governed by who hands out its parts.
unsafe impl Send for Reservation {}
// SAFETY: as above; every method takes `&self` and the system calls behind them are thread-safe.
unsafe impl Sync for Reservation {}

/// Types for which zeroed memory is a value.
///
/// # Safety
/// All-zero bytes are a valid `T`; every field is atomic, so that shared references see changes through atomics only.
pub(crate) unsafe trait Zeroable: Send + Sync {
    /// The zero value, for the model checker, whose atomics are not plain memory.
    #[cfg(memfs_loom)]
    fn zeroed() -> Self;
}

macro_rules! zeroable_atomics {
    ($($t:ty),*) => {$(
        // SAFETY: an integer atomic is valid when zero and is its own synchronisation.
        unsafe impl Zeroable for $t {
            #[cfg(memfs_loom)]
            fn zeroed() -> Self { <$t>::new(0) }
        }
    )*};
}
zeroable_atomics!(crate::sync::AtomicU8, crate::sync::AtomicU32, crate::sync::AtomicU64);

/// An array of zeroed atomics. A long one costs memory only where it was written. One shorter than a page comes from the heap: a store
/// may have two hundred of those, and a mapping each would be three system calls and a page.
pub(crate) struct Zeroed<T> {
    #[cfg(not(memfs_loom))]
    base: NonNull<T>,
    /// None of an array from the heap.
    #[cfg(not(memfs_loom))]
    pages: Option<Reservation>,
    #[cfg(memfs_loom)]
    items: Box<[T]>,
    len: usize,
    _items: PhantomData<T>,
}

// SAFETY: an array of `T`, which is both (`Zeroable`), and the memory that it is in.
unsafe impl<T: Zeroable> Send for Zeroed<T> {}
// SAFETY: as above.
unsafe impl<T: Zeroable> Sync for Zeroed<T> {}

impl<T: Zeroable> Zeroed<T> {
    #[cfg(not(memfs_loom))]
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let bytes = len.saturating_mul(size_of::<T>());
        let (base, pages) = if let Some(layout) = heap_layout::<T>(len) {
            // SAFETY: the layout is not of size zero.
            let base = unsafe { std::alloc::alloc_zeroed(layout) };
            (NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?, None)
        } else {
            let pages = Reservation::new(bytes)?;
            (pages.ptr().cast(), Some(pages))
        };
        Ok(Self { base, pages, len, _items: PhantomData })
    }

    #[cfg(memfs_loom)]
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        Ok(Self { items: (0..len).map(|_| T::zeroed()).collect(), len, _items: PhantomData })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Most memory the array can come to occupy.
    pub(crate) fn size_bytes(&self) -> usize {
        page_ceil(self.len * size_of::<T>())
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> &T {
        assert!(index < self.len, "index {index} of {}", self.len);
        #[cfg(not(memfs_loom))]
        // SAFETY: in bounds (asserted); zero bytes are a `T` and all access is atomic (`Zeroable`).
        unsafe {
            self.base.add(index).as_ref()
        }
        #[cfg(memfs_loom)]
        &self.items[index]
    }

    /// Where an item is, or would be: for prefetching.
    #[inline]
    pub(crate) fn address(&self, index: usize) -> *const T {
        #[cfg(not(memfs_loom))]
        return self.base.as_ptr().wrapping_add(index);
        #[cfg(memfs_loom)]
        self.items.as_ptr().wrapping_add(index)
    }

    pub(crate) fn advise_huge(&self) {
        #[cfg(not(memfs_loom))]
        self.pages.iter().for_each(Reservation::advise_huge);
    }

    /// As [`Reservation::refuse_huge`].
    pub(crate) fn refuse_huge(&self) {
        #[cfg(not(memfs_loom))]
        self.pages.iter().for_each(Reservation::refuse_huge);
    }

    /// Gives the pages under `items`, which are whole pages, back to the system: the items read as zero from then on.
    /// Under the model checker, whose atomics are not plain memory, they keep their values.
    pub(crate) fn decommit(&self, items: Range<usize>) {
        assert!(items.start <= items.end && items.end <= self.len, "{items:?} of {}", self.len);
        #[cfg(not(memfs_loom))]
        if let Some(pages) = &self.pages {
            // SAFETY: every reference into the array is to atomics (`Zeroable`), whose values may change at any time.
            unsafe { pages.decommit(items.start * size_of::<T>()..items.end * size_of::<T>()) };
        } else {
            debug_assert!(items.is_empty(), "less than a page has no whole ones");
        }
    }
}

impl<T> Drop for Zeroed<T> {
    fn drop(&mut self) {
        debug_assert!(!std::mem::needs_drop::<T>() || cfg!(memfs_loom));
        #[cfg(not(memfs_loom))]
        if self.pages.is_none()
            && let Some(layout) = heap_layout::<T>(self.len)
        {
            // SAFETY: from `alloc_zeroed` in `new`, with this layout; nothing refers to it any more.
            unsafe { std::alloc::dealloc(self.base.as_ptr().cast(), layout) };
        }
    }
}

/// How an array of so many items lies in the heap, on cache lines of its own; `None` if it is none or not less than a page.
#[cfg(not(memfs_loom))]
fn heap_layout<T>(len: usize) -> Option<std::alloc::Layout> {
    /// Two lines: one is often fetched with the other.
    const LINES_BYTES: usize = 128;
    let layout = std::alloc::Layout::array::<T>(len).ok()?.align_to(LINES_BYTES).ok()?.pad_to_align();
    (1..PAGE_BYTES).contains(&layout.size()).then_some(layout)
}

/// A file, mapped shared and read-only. A load past the end of the file, or from a page that the disk cannot give, is a
/// SIGBUS: callers read through `segment::fault`, which turns it into an error.
pub(crate) struct FileMap {
    map: memmap2::MmapRaw,
}

impl FileMap {
    pub(crate) fn new(file: &File, len_bytes: usize) -> io::Result<Self> {
        let map = memmap2::MmapOptions::new().len(len_bytes).map_raw_read_only(file)?;
        Ok(Self { map })
    }

    pub(crate) fn ptr(&self) -> *const u8 {
        self.map.as_ptr()
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.map.len()
    }

    /// Starts reading `range` (rounded out to pages) from disk, without waiting for it.
    #[cfg(unix)]
    pub(crate) fn will_need(&self, range: Range<usize>) {
        let start = range.start / PAGE_BYTES * PAGE_BYTES;
        let end = page_ceil(range.end).min(self.len_bytes());
        let _ = self.map.advise_range(memmap2::Advice::WillNeed, start, end - start);
    }

    /// Unmaps what was faulted in, so that it no longer counts as this process's memory; the page cache keeps it.
    pub(crate) fn drop_resident(&self) {
        // SAFETY: the mapping is shared and read-only: its pages come back from the file unchanged.
        let _ = unsafe { self.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    }
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn pages_go_back_even_if_the_process_has_them_locked() {
        let pages = Reservation::new(2 * PAGE_BYTES).expect("address space");
        for locked in [false, true] {
            if locked {
                pages.map.lock().expect("two pages may be locked");
            }
            // SAFETY: ours, and no reference is made.
            unsafe {
                pages.ptr().as_ptr().write_bytes(7, 2 * PAGE_BYTES);
                pages.decommit(0..PAGE_BYTES);
                assert_eq!(pages.ptr().read(), 0, "locked: {locked}");
                assert_eq!(pages.ptr().add(PAGE_BYTES).read(), 7, "the next page went, too");
            }
        }
    }

    #[test]
    fn short_arrays_and_long_ones_begin_with_zeros_on_a_cache_line() {
        use crate::sync::{AtomicU64, Ordering::Relaxed};
        for len in [1, 7, 496, 497, 511, 512, 513, 5000] {
            let array = Zeroed::<AtomicU64>::new(len).expect("memory");
            assert!(array.address(0).addr().is_multiple_of(128));
            assert_eq!(array.pages.is_none(), len <= 496, "{len}");
            for index in 0..len {
                assert_eq!(array.get(index).fetch_add(index as u64, Relaxed), 0);
            }
            array.decommit(0..len / 512 * 512);
            let left: Vec<u64> = (0..len).map(|index| array.get(index).load(Relaxed)).collect();
            assert!(left[..len / 512 * 512].iter().all(|item| *item == 0));
            assert!((len / 512 * 512..len).all(|index| left[index] == index as u64));
        }
        assert!(Zeroed::<AtomicU64>::new(0).is_ok_and(|array| array.len() == 0));
        for absurd in [usize::MAX, usize::MAX / 8, isize::MAX as usize / 8 + 1] {
            assert!(Zeroed::<AtomicU64>::new(absurd).is_err());
        }
    }
}
