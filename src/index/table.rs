//! The dentry table: a split-ordered list (Shalev and Shavit 2006) over Michael's linked list (2002).
//!
//! All dentries are in one list, in the order of their hashes read backwards. A bucket is an element of that list, too, from
//! which a search starts; doubling the number of buckets splits each in two without moving a dentry. Buckets are lazy: one
//! that is not in the list yet is stood in for by the one it will be split from.
//!
//! # Invariants
//! 1. Elements are ordered by (key, parent, name); no two unmarked ones are equal.
//! 2. An element is marked before it is taken out, its `next` is frozen from then on; a dentry is marked only when its word is
//!    DEAD. Hence a reader that walks over marked elements under a pin meets no retired one.
//! 3. Whoever takes a dentry out (one compare-and-swap succeeds) frees its slot and gives up the table's hold.

use super::{
    chaos::may_stop_here,
    children,
    dentry::{DentryRef, Link, MARK},
    error::Result,
    memory::{Charged, Memory},
    node::NodeId,
};
use crate::{
    epoch::Guard,
    map::prefetch,
    sync::{Arc, AtomicPtr, AtomicU32, Ordering},
};
use std::{cmp, ptr};

/// Buckets in the first segment; each further segment doubles the whole.
const FIRST_BUCKETS: u32 = if cfg!(memfs_loom) { 2 } else { 512 };
const SEGMENTS: usize = if cfg!(memfs_loom) { 4 } else { 20 };
/// Dentries per bucket beyond which the number of buckets doubles.
const LOAD: u64 = 2;

/// `Link::aux` of a bucket.
const ABSENT: u32 = 0;
const CLAIMED: u32 = 1;
const READY: u32 = 2;

/// What is looked for.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) list_key: u32,
    pub(super) parent: NodeId,
    pub(super) name: &'a str,
}

impl<'a> Key<'a> {
    /// The key of a dentry: the hash, but odd, so that it comes after the bucket of the same bits. That costs a bit which is the
    /// top one of the number of no bucket.
    pub(super) fn new(hash: u32, parent: NodeId, name: &'a str) -> Self {
        Self { list_key: hash | 1, parent, name }
    }

    /// Of this the lowest bits are the number of its bucket.
    fn bucket(&self) -> u32 {
        self.list_key.reverse_bits()
    }
}

fn key_of(dentry: DentryRef<'_>) -> Key<'_> {
    Key { list_key: dentry.key(), parent: dentry.parent(), name: dentry.name_str() }
}

/// Between which elements a key belongs. Good for an insertion as long as `previous` leads to `current`: neither can have come
/// to be something else while the guard is held under which they were found.
pub(super) struct Position<'g> {
    previous: &'g Link,
    current: u64,
    found: bool,
}

pub(super) struct Table {
    segments: [AtomicPtr<Charged<Link>>; SEGMENTS],
    buckets: AtomicU32,
    memory: Arc<Memory>,
}

fn link<'g>(address: u64) -> &'g Link {
    debug_assert!(address != 0 && address & MARK == 0);
    #[cfg(memfs_loom)]
    crate::model::touch(address as usize);
    // SAFETY: an element of the list: a bucket, which lives as long as the table, or a dentry, which begins with a `Link`
    // and is not retired while a pinned thread can get here (invariant 2).
    unsafe { &*ptr::with_exposed_provenance(address as usize) }
}

fn address_of(link: &Link) -> u64 {
    ptr::from_ref(link).expose_provenance() as u64
}

/// The bucket that `bucket` is split from: without its highest bit.
fn origin(bucket: u32) -> u32 {
    debug_assert_ne!(bucket, 0);
    bucket & !(1 << bucket.ilog2())
}

/// The segment a bucket is in and its place there.
fn place(bucket: u32) -> (usize, usize) {
    if bucket < FIRST_BUCKETS {
        return (0, bucket as usize);
    }
    let segment = bucket.ilog2() - FIRST_BUCKETS.ilog2() + 1;
    (segment as usize, (bucket - (1 << bucket.ilog2())) as usize)
}

impl Table {
    pub(super) fn new(memory: Arc<Memory>) -> Result<Self> {
        let first = Box::new(Charged::<Link>::new(&memory, FIRST_BUCKETS as usize)?);
        first.get(0).aux.store(READY, Ordering::Relaxed);
        let segments = std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()));
        segments[0].store(Box::into_raw(first), Ordering::Release);
        Ok(Self { segments, buckets: AtomicU32::new(FIRST_BUCKETS), memory })
    }

    pub(super) fn size_bytes(&self) -> u64 {
        (0..SEGMENTS).filter_map(|number| self.segment(number)).map(Charged::size_bytes).sum()
    }

    fn segment(&self, number: usize) -> Option<&Charged<Link>> {
        // Acquire: pairs with the publication in `grow`.
        let segment = self.segments[number].load(Ordering::Acquire);
        // SAFETY: published whole, freed only with the table.
        unsafe { segment.as_ref() }
    }

    fn bucket(&self, bucket: u32) -> &Link {
        let (number, index) = place(bucket);
        self.segment(number).expect("a segment is published before its buckets are counted").get(index)
    }

    /// The element at which a look-up starts: the nearest bucket that is in the list already.
    #[inline]
    fn reader_start(&self, key: &Key<'_>) -> &Link {
        // Acquire: pairs with the Release in `grow`: the segment is there.
        let mut bucket = key.bucket() & (self.buckets.load(Ordering::Acquire) - 1);
        loop {
            let link = self.bucket(bucket);
            // Acquire: pairs with the Release in `enlist`.
            if link.aux.load(Ordering::Acquire) == READY {
                return link;
            }
            bucket = origin(bucket);
        }
    }

    /// The same for those who change the list: they put missing buckets in.
    #[inline]
    fn writer_start(&self, key: &Key<'_>, guard: &Guard) -> &Link {
        let bucket = key.bucket() & (self.buckets.load(Ordering::Acquire) - 1);
        let link = self.bucket(bucket);
        // Acquire: as in `reader_start`.
        if link.aux.load(Ordering::Acquire) == READY { link } else { self.enlist(bucket, guard) }
    }

    /// Puts a bucket into the list, unless another thread is at it: then the nearest that is there will do.
    #[cold]
    fn enlist(&self, bucket: u32, guard: &Guard) -> &Link {
        let link = self.bucket(bucket);
        let state = link.aux.load(Ordering::Acquire);
        if state == READY {
            return link;
        }
        let start = self.enlist(origin(bucket), guard);
        if state == ABSENT
            && link.aux.compare_exchange(ABSENT, CLAIMED, Ordering::AcqRel, Ordering::Acquire).is_ok()
        {
            let key = bucket.reverse_bits();
            link.key.store(key, Ordering::Relaxed);
            loop {
                let position = self.search(start, key, |_| cmp::Ordering::Less, guard);
                link.next.store(position.current, Ordering::Relaxed);
                may_stop_here();
                if position.swing(address_of(link)) {
                    break;
                }
            }
            // Release: who starts here finds the rest of the list.
            link.aux.store(READY, Ordering::Release);
            return link;
        }
        start
    }

    /// The dentry of this name, whatever it says. Wait-free: nothing is helped.
    ///
    /// A dentry found DEAD means that the name stood for nothing at some instant of the call: it was in the list at some
    /// instant of it, and while it is, no other of its name is.
    #[inline]
    pub(super) fn lookup<'g>(&self, key: Key<'_>, _guard: &'g Guard) -> Option<DentryRef<'g>> {
        let list_key = key.list_key;
        let mut current = self.reader_start(&key).next.load(Ordering::Acquire) & !MARK;
        while current != 0 {
            let element = link(current);
            let element_key = element.key.load(Ordering::Relaxed);
            if element_key > list_key {
                return None;
            }
            if element_key == list_key {
                // SAFETY: odd key: a dentry, found under the guard.
                let dentry = unsafe { DentryRef::from_address(current) };
                match dentry.order(key.parent, key.name.as_bytes()) {
                    cmp::Ordering::Less => {}
                    cmp::Ordering::Equal => return Some(dentry),
                    cmp::Ordering::Greater => return None,
                }
            }
            current = element.next.load(Ordering::Acquire) & !MARK;
        }
        None
    }

    /// Where a name is, or belongs; what is marked there is taken out on the way.
    pub(super) fn seek<'g>(&'g self, key: Key<'_>, guard: &'g Guard) -> Position<'g> {
        self.search(
            self.writer_start(&key, guard),
            key.list_key,
            |dentry| dentry.order(key.parent, key.name.as_bytes()),
            guard,
        )
    }

    /// Inserts `dentry`, or tells which dentry has its name already.
    pub(super) fn insert<'g>(&'g self, dentry: DentryRef<'g>, guard: &'g Guard) -> Result<(), DentryRef<'g>> {
        loop {
            let position = self.seek(key_of(dentry), guard);
            match position.dentry() {
                Some(other) => return Err(other),
                None if position.put(dentry) => return Ok(()),
                None => {}
            }
        }
    }

    /// Fills an empty table with registered dentries and their keys, nobody else being at work: one pass over the list, where
    /// insertions would each look for their place. Of dentries of one name all but one are handed back.
    pub(super) fn fill<'g>(&self, mut dentries: Vec<(u32, DentryRef<'g>)>) -> Vec<DentryRef<'g>> {
        let order = |a: DentryRef<'_>, b: DentryRef<'_>| a.order(b.parent(), b.name());
        dentries.sort_unstable_by_key(|(key, _)| *key);
        for equal in dentries.chunk_by_mut(|a, b| a.0 == b.0).filter(|equal| equal.len() > 1) {
            equal.sort_unstable_by(|a, b| order(a.1, b.1));
        }
        let mut twins = Vec::new();
        dentries.dedup_by(|next, kept| {
            let same = next.0 == kept.0 && order(next.1, kept.1).is_eq();
            twins.extend(same.then_some(next.1));
            same
        });
        while self.grow(dentries.len() as u64) {}

        let buckets = self.buckets.load(Ordering::Acquire);
        // The other buckets in the list's order: by their numbers read backwards.
        let turned = |turn: u32| turn.reverse_bits() >> (u32::BITS - buckets.trailing_zeros());
        let mut waiting = (1..buckets).map(turned).peekable();
        let mut last = self.bucket(0);
        // Release: who comes this way finds the element filled.
        let mut put = |element| {
            std::mem::replace(&mut last, element).next.store(address_of(element), Ordering::Release);
        };
        for (at, (key, dentry)) in dentries.iter().enumerate() {
            if let Some((_, soon)) = dentries.get(at + 8) {
                prefetch(soon.as_ptr());
            }
            while let Some(bucket) = waiting.next_if(|bucket| bucket.reverse_bits() < *key) {
                put(self.ready(bucket));
            }
            put(link(dentry.address()));
        }
        waiting.for_each(|bucket| put(self.ready(bucket)));
        twins
    }

    /// A bucket that is about to be put into a list that nobody looks at.
    fn ready(&self, bucket: u32) -> &Link {
        let link = self.bucket(bucket);
        link.key.store(bucket.reverse_bits(), Ordering::Relaxed);
        link.aux.store(READY, Ordering::Release);
        link
    }

    /// Takes a dentry out whose word is DEAD. It is out when this returns, whoever did it.
    pub(super) fn bury(&self, dentry: DentryRef<'_>, guard: &Guard) {
        debug_assert_eq!(dentry.word.load(Ordering::Relaxed), super::word::DEAD);
        // AcqRel: the mark comes after DEAD for everyone who sees it.
        dentry.link.next.fetch_or(MARK, Ordering::AcqRel);
        may_stop_here();
        self.seek(key_of(dentry), guard);
    }

    /// Michael's search: the first unmarked element that is not before (key, order), taking marked ones out on the way.
    fn search<'a>(
        &'a self,
        start: &'a Link,
        key: u32,
        order: impl Fn(DentryRef<'_>) -> cmp::Ordering,
        guard: &Guard,
    ) -> Position<'a> {
        'restart: loop {
            let mut previous = start;
            // Buckets are never marked.
            let mut current = previous.next.load(Ordering::Acquire);
            while current != 0 {
                let element = link(current);
                may_stop_here();
                let next = element.next.load(Ordering::Acquire);
                if next & MARK != 0 {
                    let position = Position { previous, current, found: false };
                    if !position.swing(next & !MARK) {
                        continue 'restart;
                    }
                    self.taken_out(current, guard);
                    current = next & !MARK;
                    continue;
                }
                let found = match element.key.load(Ordering::Relaxed).cmp(&key) {
                    // SAFETY: dentries' keys are odd, and so is `key` unless a bucket is sought, which no dentry equals.
                    cmp::Ordering::Equal => order(unsafe { DentryRef::from_address(current) }),
                    unequal => unequal,
                };
                if found != cmp::Ordering::Less {
                    return Position { previous, current, found: found == cmp::Ordering::Equal };
                }
                previous = element;
                current = next;
            }
            return Position { previous, current, found: false };
        }
    }

    /// What the one who took a dentry out owes it.
    fn taken_out(&self, address: u64, guard: &Guard) {
        // SAFETY: only dentries are marked, and this one is retired below at the earliest.
        let dentry = unsafe { DentryRef::from_address(address) };
        may_stop_here();
        children::free_slot(dentry.slot(), &self.memory, guard);
        // SAFETY: the table's hold is ours (invariant 3), slot and table are clear of the dentry.
        unsafe { dentry.unhold(&self.memory, guard) };
    }

    /// Doubles the buckets if `entries` ask for it; whether it did. Without memory it stays as it is, only slower.
    pub(super) fn grow(&self, entries: u64) -> bool {
        let buckets = self.buckets.load(Ordering::Acquire);
        let (number, _) = place(buckets);
        if entries <= u64::from(buckets) * LOAD || number >= SEGMENTS {
            return false;
        }
        if self.segment(number).is_none() {
            let Ok(segment) = Charged::new(&self.memory, buckets as usize) else { return false };
            let segment = Box::into_raw(Box::new(segment));
            let slot = &self.segments[number];
            if slot.compare_exchange(ptr::null_mut(), segment, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: never published.
                drop(unsafe { Box::from_raw(segment) });
            }
        }
        // Release: pairs with the Acquire in `reader_start`. A failure means that another thread has doubled.
        self.buckets.compare_exchange(buckets, buckets * 2, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Every element from the first, with exclusive or quiescent access.
    pub(super) fn elements(&self) -> impl Iterator<Item = (u64, &Link)> {
        let first = address_of(self.bucket(0));
        std::iter::successors(Some(first), |&at| {
            Some(link(at).next.load(Ordering::Acquire) & !MARK).filter(|&next| next != 0)
        })
        .map(|at| (at, link(at)))
    }

    /// Every dentry of the list, with exclusive or quiescent access.
    pub(super) fn dentries(&self) -> impl Iterator<Item = DentryRef<'_>> {
        self.elements().filter(|(_, link)| link.key.load(Ordering::Relaxed) & 1 == 1).map(|(at, _)| {
            // SAFETY: odd key: a dentry; nobody retires any (caller).
            unsafe { DentryRef::from_address(at) }
        })
    }

    /// Checks order and reachability, with nobody else at work.
    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(super) fn validate(&self) {
        let mut before: Option<(u64, &Link)> = None;
        let mut members = std::collections::HashSet::new();
        for (at, element) in self.elements() {
            let next = element.next.load(Ordering::Relaxed);
            assert_eq!(next & MARK, 0, "a marked element is still in the table");
            if let Some((previous_at, previous)) = before {
                let (low, high) = (previous.key.load(Ordering::Relaxed), element.key.load(Ordering::Relaxed));
                assert!(low <= high, "the list is out of order");
                if low == high {
                    assert_eq!(low & 1, 1, "a bucket is in the list twice");
                    // SAFETY: odd keys: dentries.
                    let (low, high) =
                        unsafe { (DentryRef::from_address(previous_at), DentryRef::from_address(at)) };
                    assert_eq!(low.order(high.parent(), high.name()), cmp::Ordering::Less);
                }
            }
            members.insert(at);
            before = Some((at, element));
        }
        for bucket in 0..self.buckets.load(Ordering::Relaxed) {
            let link = self.bucket(bucket);
            let state = link.aux.load(Ordering::Relaxed);
            assert_ne!(state, CLAIMED, "a bucket was left half-way");
            assert_eq!(state == READY, members.contains(&address_of(link)), "bucket {bucket}");
        }
    }

    #[cfg(test)]
    pub(super) fn buckets(&self) -> u32 {
        self.buckets.load(Ordering::Relaxed)
    }
}

impl<'g> Position<'g> {
    /// The dentry of the name that was sought.
    pub(super) fn dentry(&self) -> Option<DentryRef<'g>> {
        // SAFETY: found under the guard of this lifetime.
        self.found.then(|| unsafe { DentryRef::from_address(self.current) })
    }

    /// Puts the dentry of the name that was sought, and was not there, where it belongs. False, and nothing done, if things have
    /// changed there meanwhile: it may be there by now.
    pub(super) fn put(&self, dentry: DentryRef<'_>) -> bool {
        debug_assert!(!self.found);
        // Who kills a registered name may have marked it already: the mark is lost, and set again by who finds it dead.
        #[cfg(not(memfs_loom))]
        dentry.link.next.store(self.current, Ordering::Relaxed);
        // Loom lets another thread's read-modify-write come after a plain store without having read it.
        #[cfg(memfs_loom)]
        dentry.link.next.swap(self.current, Ordering::Relaxed);
        self.swing(dentry.address())
    }

    fn swing(&self, next: u64) -> bool {
        // AcqRel: publishes the element put in. Fails if `previous` was marked or has got another successor.
        self.previous.next.compare_exchange(self.current, next, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // The arena's memory goes with the arena, whose last owner owns the index, too: a quarter of a second for a million names.
        // One by one only where somebody counts.
        if cfg!(any(test, debug_assertions, memfs_loom)) {
            // Exclusive; whoever owns the index has dropped its collector, so nothing retired is still in the list.
            let dentries: Vec<_> = self.dentries().map(|dentry| dentry.address()).collect();
            for address in dentries {
                // SAFETY: unreachable for others (exclusive), and freed once each.
                unsafe { DentryRef::from_address(address).free(&self.memory) };
            }
        }
        for segment in &self.segments {
            let segment = segment.load(Ordering::Relaxed);
            if !segment.is_null() {
                // SAFETY: made by `Box::into_raw`, freed once.
                drop(unsafe { Box::from_raw(segment) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_has_a_place_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for bucket in 0..FIRST_BUCKETS * 16 {
            let (segment, index) = place(bucket);
            assert!(index < if segment == 0 { 512 } else { 512 << (segment - 1) });
            assert!(seen.insert((segment, index)));
        }
    }

    #[test]
    fn a_bucket_comes_after_the_one_it_is_split_from_and_before_what_it_takes_over() {
        for bucket in 1..4096_u32 {
            assert!(origin(bucket).reverse_bits() < bucket.reverse_bits());
            for hash in [bucket, bucket | 1 << 20, bucket | 0x7f00_0000] {
                let key = Key::new(hash.reverse_bits(), NodeId::ROOT, "");
                assert_eq!(key.bucket() & 0x7fff_ffff, hash);
                assert!(bucket.reverse_bits() < key.list_key);
            }
        }
    }
}
