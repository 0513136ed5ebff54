//! One size class: a slab, its address space, and its headers where it has any.

use super::{
    bitmap::Claim,
    block::{HEADER_BYTES, Header},
    budget::Budget,
    ground::Ground,
    slab::Slab,
    span::Geometry,
};
use crate::map::{PAGE_BYTES, Reservation, Zeroed, prefetch_to_write};
use std::{io, ops::Range, ptr::NonNull};

/// Most address space of one class: 56 classes of it are 14 TiB, so that several stores fit into the 128 TiB a process
/// has, whatever their limits say.
const REGION_MAX_BYTES: u64 = if cfg!(memfs_loom) { 512 } else { 256 << 30 };
/// The granule of classes on small pages.
pub(super) const PAGE_GRANULE: usize = if cfg!(memfs_loom) { 256 } else { PAGE_BYTES };
/// The granule of classes on huge pages.
pub(super) const HUGE_GRANULE: usize = 2 << 20;
/// Largest slot that shares a huge page with others: larger ones become free in whole pages often enough that giving
/// those back at once is worth more than the misses saved.
const HUGE_SLOT_MAX_BYTES: usize = 512;
/// A class on huge pages is made only where its span is at most this part of the limit.
const HUGE_SPAN_PART: u64 = 256;
/// Contents come in rows of spans that are huge pages, as long as there is much room: with this part of the limit charged, at most.
pub(super) const ROW_CHARGED_PART: u64 = 2;

/// How large the regions of an arena are: as large as everything in one class could need.
pub(super) fn region_bytes(limit_bytes: u64) -> usize {
    limit_bytes.clamp(1, REGION_MAX_BYTES) as usize
}

/// What contents leave of the budget for metadata: contents that may not leave RAM (locked files) cannot fill it to where no
/// name and no long file's table could be made any more.
pub(crate) fn metadata_reserve(limit_bytes: u64) -> u64 {
    if cfg!(memfs_loom) { 0 } else { (limit_bytes / 32).clamp(8 << 10, 4 << 20) }
}

/// From two pages on a call for all of them costs less than a fault for each.
const POPULATED_BYTES: usize = 2 * PAGE_BYTES;

/// Address space of one class, aligned to its granule.
pub(super) struct Region {
    pages: Reservation,
    skew_bytes: usize,
    slot_bytes: usize,
    /// Whether it begins with a huge page, and rows are to be of such.
    has_huge_rows: bool,
}

impl Region {
    fn new(geometry: &Geometry, granule_bytes: usize, align_bytes: usize) -> io::Result<Self> {
        Self::aligned(geometry.region_bytes(), geometry.slot_bytes, granule_bytes, align_bytes)
    }

    pub(super) fn aligned(
        bytes: usize,
        slot_bytes: usize,
        granule_bytes: usize,
        align_bytes: usize,
    ) -> io::Result<Self> {
        let spare_bytes = align_bytes.saturating_sub(PAGE_BYTES);
        let pages = Reservation::new(bytes + spare_bytes)?;
        if granule_bytes == HUGE_GRANULE {
            pages.advise_huge()
        } else {
            pages.refuse_huge()
        }
        let skew_bytes = pages.ptr().addr().get().wrapping_neg() % align_bytes;
        Ok(Self { pages, skew_bytes, slot_bytes, has_huge_rows: align_bytes == HUGE_GRANULE })
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        // SAFETY: `new` reserved a granule more than the slots need, less the page that is aligned anyway.
        unsafe { self.pages.ptr().add(self.skew_bytes) }
    }

    fn populate(&self, slots: Range<usize>) {
        let at = |slot: usize| self.skew_bytes + slot * self.slot_bytes;
        self.pages.populate(at(slots.start)..at(slots.end));
    }

    /// The same for slots of which some may lie in a huge page of their own.
    pub(super) fn populate_row(&self, slots: Range<usize>) {
        let bytes = slots.start * self.slot_bytes..slots.end * self.slot_bytes;
        if self.has_huge_rows && bytes.start.next_multiple_of(HUGE_GRANULE) + HUGE_GRANULE <= bytes.end {
            self.pages.populate_huge(self.skew_bytes + bytes.start..self.skew_bytes + bytes.end);
        } else if bytes.len() >= POPULATED_BYTES {
            self.populate(slots);
        }
    }

    /// # Safety
    /// Nobody can reach the slots, which are whole pages.
    pub(super) unsafe fn decommit(&self, slots: Range<usize>) {
        let at = |slot: usize| self.skew_bytes + slot * self.slot_bytes;
        // SAFETY: no reference into the slots is alive (caller).
        unsafe { self.pages.decommit(at(slots.start)..at(slots.end)) };
    }
}

pub(super) struct Class {
    pub(super) slab: Slab,
    pub(super) region: Region,
    headers: Option<Zeroed<Header>>,
    /// How long a row of spans is that becomes resident at once; 0 where none does.
    row_bytes: usize,
    /// How many slots a magazine claims at once.
    pub(super) batch: u32,
}

impl Class {
    /// A class of raw memory.
    pub(super) fn raw(slot_bytes: usize, limit_bytes: u64, huge_pages: bool, batch: u32) -> io::Result<Self> {
        let granule = granule_bytes(slot_bytes, limit_bytes, huge_pages);
        let geometry = Geometry::new(slot_bytes, granule, region_bytes(limit_bytes), 0);
        let slab = Slab::new(geometry, Ground::untouched(&geometry)?)?;
        Ok(Self {
            slab,
            region: Region::new(&geometry, granule, granule)?,
            headers: None,
            row_bytes: 0,
            batch,
        })
    }

    /// A class of content blocks, with headers.
    pub(super) fn content(
        slot_bytes: usize,
        limit_bytes: u64,
        huge_pages: bool,
        batch: u32,
    ) -> io::Result<Self> {
        let granule = granule_bytes(slot_bytes, limit_bytes, huge_pages);
        let mut geometry = Geometry::new(slot_bytes, granule, region_bytes(limit_bytes), 0);
        let header_bytes = geometry.span_slots() * HEADER_BYTES;
        let below =
            Geometry::new(header_bytes, PAGE_GRANULE, geometry.spans * header_bytes, geometry.overhead_bytes);
        // The headers come by the page: as many spans as the pages have headers for.
        geometry.spans = below.slots();
        let headers = Zeroed::new(geometry.slots())?;
        headers.refuse_huge();
        let ground = Ground::Headers(Box::new(Slab::new(below, Ground::untouched(&below)?)?));
        let slab = Slab::new(geometry, ground)?.leaving(metadata_reserve(limit_bytes));
        let row_bytes = row_bytes(&geometry, granule, limit_bytes, huge_pages);
        let align_bytes = if row_bytes > 0 { HUGE_GRANULE } else { granule };
        let region = Region::new(&geometry, granule, align_bytes)?;
        Ok(Self { slab, region, headers: Some(headers), row_bytes, batch })
    }

    #[inline]
    pub(super) fn header(&self, slot: usize) -> &Header {
        self.headers.as_ref().expect("a content class has headers").get(slot)
    }

    /// Starts to bring a slot's header near, to be written; whatever the number.
    #[inline(always)]
    pub(super) fn prefetch_header(&self, slot: usize) {
        if let Some(headers) = &self.headers {
            prefetch_to_write(headers.address(slot));
        }
    }

    /// As [`Slab::claim`]. The pages of a long slot are asked for in one call, rather than one by one as they are written.
    pub(super) fn claim(&self, budget: &Budget, count: u32) -> Option<Claim> {
        if let Some(claim) = self.slab.claim_ready(count) {
            return Some(claim);
        }
        if self.wants_row(budget) {
            self.slab.back_row(
                budget,
                |first| self.spans_in_row(first),
                |slots| self.region.populate_row(slots),
            );
        }
        self.slab.claim_backed(budget, count, |slots| {
            if self.slab.geometry.slot_bytes >= POPULATED_BYTES {
                self.region.populate(slots);
            }
        })
    }

    /// Whether more spans are to become resident than the next claim needs: of a class that has come to use as much already, as
    /// long as nobody needs the room.
    fn wants_row(&self, budget: &Budget) -> bool {
        self.row_bytes > 0
            && self.slab.backed_spans() * self.slab.geometry.span_bytes() >= self.row_bytes
            && budget.charged() <= budget.limit() / ROW_CHARGED_PART
    }

    /// How many spans there are in the row that begins with `first`: the last of them reaches to where a huge page ends.
    fn spans_in_row(&self, first: usize) -> usize {
        let span_bytes = self.slab.geometry.span_bytes();
        let begin = first * span_bytes;
        let end = (begin + self.row_bytes) / HUGE_GRANULE * HUGE_GRANULE;
        (end - begin).div_ceil(span_bytes)
    }

    /// Whether a trim would find nothing; as cheap as a look at two words.
    pub(super) fn looks_untrimmable(&self) -> bool {
        self.slab.looks_untrimmable() && self.slab.ground().headers().is_none_or(Slab::looks_untrimmable)
    }

    /// As [`Slab::trim`], header pages included.
    pub(super) fn trim(&self, budget: &Budget, want_bytes: u64) -> u64 {
        // SAFETY: `Slab::trim` took every slot of the range out of `ready`: they are in no other hands.
        let refunded = self.slab.trim(budget, want_bytes, |slots| unsafe { self.region.decommit(slots) });
        let (Some(pages), Some(headers)) = (self.slab.ground().headers(), &self.headers) else {
            return refunded;
        };
        let decommit = |spans| headers.decommit(self.slab.geometry.slots_of(spans));
        refunded + pages.trim(budget, want_bytes.saturating_sub(refunded), decommit)
    }

    /// Gives one span back to the system; its headers follow with a later trim.
    ///
    /// # Safety
    /// The caller holds every slot of the span.
    pub(super) unsafe fn give_back(&self, budget: &Budget, span: usize) -> u64 {
        // SAFETY: held by the caller, hence in no other hands.
        self.slab.give_back(budget, span..span + 1, |slots| unsafe { self.region.decommit(slots) })
    }
}

/// Whether slots so small share huge pages: a span of them is then at most a small part of the limit.
pub(super) fn is_shared_huge(slot_bytes: usize, limit_bytes: u64) -> bool {
    let span_bytes = Geometry::new(slot_bytes, HUGE_GRANULE, 0, 0).span_bytes() as u64;
    !cfg!(memfs_loom) && slot_bytes <= HUGE_SLOT_MAX_BYTES && span_bytes <= limit_bytes / HUGE_SPAN_PART
}

/// A row is a huge page where spans divide that, else two, of which one is whole in most rows. None in small stores, for which it
/// would be much, and where spans are of huge pages anyway.
fn row_bytes(geometry: &Geometry, granule_bytes: usize, limit_bytes: u64, huge_pages: bool) -> usize {
    let divides = HUGE_GRANULE.is_multiple_of(geometry.span_bytes());
    let row_bytes = if divides { HUGE_GRANULE } else { 2 * HUGE_GRANULE };
    let serves = granule_bytes < HUGE_GRANULE
        && geometry.span_bytes() < row_bytes
        && wants_rows(row_bytes, limit_bytes, huge_pages);
    if serves { row_bytes } else { 0 }
}

/// Whether rows of so many bytes are no more than a small part of the limit.
pub(super) fn wants_rows(row_bytes: usize, limit_bytes: u64, huge_pages: bool) -> bool {
    huge_pages && row_bytes as u64 <= limit_bytes / HUGE_SPAN_PART && !cfg!(memfs_loom)
}

/// What becomes resident at once in a class: a page, or a huge page where it can be charged and given back as one.
fn granule_bytes(slot_bytes: usize, limit_bytes: u64, huge_pages: bool) -> usize {
    if !huge_pages || cfg!(memfs_loom) {
        return PAGE_GRANULE;
    }
    if is_shared_huge(slot_bytes, limit_bytes) { HUGE_GRANULE } else { PAGE_GRANULE }
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_only_where_they_are_charged_whole() {
        let huge = |slot, limit| granule_bytes(slot, limit, true) == HUGE_GRANULE;
        assert!(!huge(64, 256 << 20), "a span would be a large part of the limit");
        assert!(huge(64, 512 << 20));
        assert!(!huge(80, 2 << 30), "its span is 10 MiB");
        assert!(!huge(4096, 1 << 40));
        assert_eq!(granule_bytes(64, 1 << 40, false), PAGE_GRANULE);
    }

    #[test]
    fn contents_come_in_rows_of_huge_pages_and_go_back_page_by_page() {
        let limit = 2 << 30;
        // A page each; five pages for sixteen.
        for slot_bytes in [4096, 1280] {
            let budget = Budget::new(limit);
            let class = Class::content(slot_bytes, limit, true, 1).expect("address space");
            let span_bytes = class.slab.geometry.span_bytes();
            let mut taken = Vec::new();
            let mut most_at_once = 0;
            while (taken.len() * slot_bytes) < 16 << 20 {
                let before = class.slab.backed_spans();
                taken.push(class.claim(&budget, 1).expect("room"));
                most_at_once = most_at_once.max(class.slab.backed_spans() - before);
                assert!(class.slab.charged_bytes() == budget.charged());
            }
            assert!(most_at_once * span_bytes > class.row_bytes / 2, "{slot_bytes}: {most_at_once} spans");
            assert!(class.slab.backed_spans() * span_bytes <= (16 << 20) + 2 * class.row_bytes);
            class.slab.validate().unwrap();
            let used = taken.split_off(taken.len() / 2);
            taken.into_iter().for_each(|claim| class.slab.give(claim));
            let refunded = class.trim(&budget, u64::MAX);
            assert!(refunded >= (8 << 20) - 2 * class.row_bytes as u64, "{slot_bytes}: {refunded}");
            used.into_iter().for_each(|claim| class.slab.give(claim));
            class.trim(&budget, u64::MAX);
            assert_eq!(class.slab.backed_spans(), 0);
            class.slab.validate().unwrap();
        }
    }

    #[test]
    fn no_row_where_it_would_be_much() {
        let row = |slot, limit, huge| Class::content(slot, limit, huge, 1).unwrap().row_bytes;
        assert_eq!(row(4096, 1 << 30, true), HUGE_GRANULE);
        assert_eq!(row(1280, 1 << 30, true), 2 * HUGE_GRANULE);
        assert_eq!(row(4096, 256 << 20, true), 0);
        assert_eq!(row(4096, 1 << 30, false), 0);
        assert_eq!(row(64, 1 << 30, true), 0, "in huge pages anyway");
        // Half of the limit is charged: no more than is needed.
        let (limit, budget) = (1 << 30, Budget::new(1 << 30));
        let class = Class::content(4096, limit, true, 1).unwrap();
        assert!(budget.try_charge(limit / ROW_CHARGED_PART));
        for spans in 1..=2048 {
            class.claim(&budget, 1).expect("room");
            assert_eq!(class.slab.backed_spans(), spans);
        }
    }

    #[test]
    fn a_region_begins_at_a_whole_granule() {
        for (slot, limit) in [(64, 16_u64 << 30), (64, 1 << 20), (4096, 64 << 20)] {
            let class = Class::content(slot, limit, true, 1).expect("address space");
            assert_eq!(class.region.base().addr().get() % granule_bytes(slot, limit, true), 0);
        }
    }
}
