//! The arena as a whole: accounting, switching of sizes, evacuation, threads.

use super::{slab::Slab, *};
use crate::{
    map::PAGE_BYTES,
    sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, thread},
};
use std::ptr::NonNull;

const MIB: u64 = 1 << 20;

fn arena(limit_bytes: u64, chunk_bytes: usize) -> Arena {
    Arena::new(Arc::new(Budget::new(limit_bytes)), chunk_bytes, true).expect("address space")
}

/// A small generator: the tests want spread, not quality.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % sides
    }
}

/// Fills all of a block's bytes with what nobody else writes.
fn fill(arena: &Arena, b: BlockRef, id: u64) {
    let len = arena.len(b);
    for (at, byte) in (0..len).zip(id.to_le_bytes().into_iter().cycle()) {
        // SAFETY: the block is ours and `at` is in bounds (`slack_mut` checks).
        unsafe { arena.slack_mut(b, at, 1).write(byte) };
    }
}

fn check(arena: &Arena, b: BlockRef, id: u64) {
    // SAFETY: the test holds a reference, and wrote all bytes.
    let bytes = unsafe { arena.bytes(b) };
    let same = bytes.iter().zip(id.to_le_bytes().iter().cycle()).all(|(a, b)| a == b);
    assert!(same, "block of {} bytes was written by somebody else", bytes.len());
}

fn release(arena: &Arena, b: BlockRef) -> bool {
    // SAFETY: the tests own a reference to every block they pass here, and forget it.
    unsafe { arena.release(b) }
}

/// Allocates until the budget refuses.
fn fill_up(arena: &Arena, mag: &Magazine, len: usize) -> Vec<BlockRef> {
    std::iter::from_fn(|| arena.alloc(mag, len)).collect()
}

/// A block, and what it is filled with.
type Parcel = (BlockRef, u64);

/// Moves those of the blocks that are in sparse spans; the bytes refunded, `None` where no span is sparse.
fn evacuate(arena: &Arena, mag: &Magazine, blocks: &mut [Parcel]) -> Option<u64> {
    let sparse = arena.sparse_spans()?;
    for (b, id) in blocks.iter_mut().filter(|(b, _)| sparse.contains(*b)) {
        if let Some(copy) = arena.alloc_outside(mag, arena.len(*b), &sparse) {
            assert!(!sparse.contains(copy));
            fill(arena, copy, *id);
            check(arena, *b, *id);
            assert!(release(arena, *b));
            *b = copy;
        }
    }
    Some(sparse.finish())
}

/// How many bytes of the pages from `base` on the system says are resident.
fn resident_in(base: *const u8, bytes: usize) -> u64 {
    let mut pages = vec![0_u8; bytes / PAGE_BYTES];
    // SAFETY: the callers pass mapped pages, and `pages` has a byte for each.
    let done = unsafe { libc::mincore(base.cast_mut().cast(), bytes, pages.as_mut_ptr()) };
    assert!(done == 0 || bytes == 0, "not mapped pages");
    (pages.iter().filter(|&&page| page & 1 == 1).count() * PAGE_BYTES) as u64
}

/// What is resident of blocks, raw memory and headers.
fn resident_bytes(arena: &Arena) -> u64 {
    let mut resident = arena.resident_in_runs(resident_in);
    for class in arena.classes() {
        let bytes = |slab: &Slab| slab.used_spans() * slab.geometry.span_bytes();
        resident += resident_in(class.region.base().as_ptr(), bytes(&class.slab));
        if let Some(pages) = class.slab.ground().headers() {
            resident += resident_in((&raw const *class.header(0)).cast(), bytes(pages));
        }
    }
    resident
}

#[test]
fn a_block_is_as_asked_for() {
    let (arena, mag) = (arena(16 * MIB, 1 << 20), Magazine::new());
    for len in [1, 64, 65, 100, 4095, 4096, 4097, 70_000, 1 << 20] {
        let b = arena.alloc(&mag, len).expect("room");
        assert_eq!(arena.len(b), len);
        assert!(arena.capacity(b) >= len);
        let header = arena.header(b);
        assert_eq!(
            (header.extent.load(Ordering::Relaxed), header.tail.load(Ordering::Relaxed)),
            (0, len as u32)
        );
        // SAFETY: the block is ours.
        let address = unsafe { arena.slack_mut(b, 0, arena.capacity(b)) }.addr();
        assert_eq!(address % 16, 0);
        assert!(len < 4096 || address.is_multiple_of(PAGE_BYTES));
        fill(&arena, b, 0x0123_4567_89AB_CDEF);
        check(&arena, b, 0x0123_4567_89AB_CDEF);

        let shorter = arena.with_len(BlockRef::from_bits(b.bits()), len / 2);
        assert_eq!((arena.len(shorter), arena.same_block(b, shorter)), (len / 2, true));
        header.extent.store(7, Ordering::Relaxed);
        assert!(release(&arena, shorter));
        let again = arena.alloc(&mag, len).expect("room");
        assert!(!arena.same_block(b, again) || arena.header(again).extent.load(Ordering::Relaxed) == 0);
        assert!(release(&arena, again));
    }
    arena.validate().expect("sound");
}

#[test]
fn a_block_lives_until_its_last_reference() {
    let (arena, mag) = (arena(MIB, 4096), Magazine::new());
    let b = arena.alloc(&mag, 4096).expect("room");
    // SAFETY: the test owns the first reference.
    unsafe { arena.retain(b) };
    assert!(!release(&arena, b));
    assert_eq!(arena.free_resident_bytes(), 0);
    assert!(release(&arena, b));
    assert_eq!(arena.free_resident_bytes(), 4096);
}

#[test]
#[should_panic(expected = "freed twice")]
fn freeing_raw_memory_twice_is_seen() {
    let (arena, mag) = (arena(MIB, 4096), Magazine::new());
    let ptr = arena.alloc_raw(&mag, 100).expect("room");
    // SAFETY: not kept, on purpose: the second call is the error under test, and is refused before it harms.
    unsafe {
        arena.free_raw(ptr, 100);
        arena.free_raw(ptr, 100);
    }
}

#[test]
#[should_panic(expected = "another arena")]
fn a_magazine_serves_one_arena() {
    let (one, other, mag) = (arena(64 * MIB, 4096), arena(64 * MIB, 4096), Magazine::new());
    assert!(one.alloc(&mag, 64).is_some());
    other.alloc(&mag, 64);
}

#[test]
fn a_drained_magazine_may_serve_another_arena() {
    let (one, other, mag) = (arena(64 * MIB, 4096), arena(64 * MIB, 4096), Magazine::new());
    let b = one.alloc(&mag, 64).expect("room");
    one.drain(&mag);
    assert!(release(&one, b));
    assert!(other.alloc(&mag, 64).is_some());
    assert_eq!(one.trim(u64::MAX), 2 * PAGE_BYTES as u64, "a page of blocks, a page of headers");
}

#[test]
fn any_limit_can_be_had() {
    for (limit, chunk) in
        [(1, 1), (4096, 512), (64 << 10, 1 << 20), (1 << 40, 64 << 20), (u64::MAX, 64 << 20)]
    {
        let (arena, mag) = (arena(limit, chunk), Magazine::new());
        assert_eq!(arena.alloc(&mag, chunk).is_some(), limit > 4096 && limit > chunk as u64);
        assert!(arena.budget().charged() <= limit);
        arena.validate().expect("sound");
    }
}

#[test]
fn when_all_is_free_all_goes_back_but_the_bitmaps() {
    let (arena, mag) = (arena(32 * MIB, 256 << 10), Magazine::new());
    let mut dice = Dice(1);
    let mut blocks = Vec::new();
    let mut raws = Vec::new();
    while let Some(b) = arena.alloc(&mag, 1 + (dice.roll(256 << 10) >> dice.roll(12))) {
        blocks.push(b);
        let size = 1 + dice.roll(8192);
        raws.extend(arena.alloc_raw(&mag, size).map(|ptr| (ptr, size)));
    }
    assert!(arena.budget().charged() <= 32 * MIB && arena.budget().charged() > 30 * MIB);
    arena.validate().expect("sound");
    blocks.into_iter().for_each(|b| assert!(release(&arena, b)));
    // SAFETY: from `alloc_raw`, with these sizes.
    raws.into_iter().for_each(|(ptr, size)| unsafe { arena.free_raw(ptr, size) });
    arena.drain(&mag);
    arena.validate().expect("sound");
    assert_eq!(arena.charged_bytes(), arena.budget().charged());
    let charged = arena.budget().charged();
    assert_eq!(arena.trim(u64::MAX), charged - arena.overhead_bytes());
    assert_eq!((arena.budget().charged(), arena.free_resident_bytes()), (arena.overhead_bytes(), 0));
    assert!(
        arena.overhead_bytes() < 320 << 10,
        "a hundredth, for the headers of runs: {}",
        arena.overhead_bytes()
    );
    arena.validate().expect("sound");
}

#[test]
fn what_is_resident_is_what_is_charged() {
    let (arena, mag) = (arena(24 * MIB, 256 << 10), Magazine::new());
    let mut dice = Dice(2);
    let mut blocks = Vec::new();
    for round in 0..4000_u64 {
        let len = 1 + (dice.roll(100_000) >> dice.roll(10));
        match arena.alloc(&mag, len) {
            Some(b) => {
                fill(&arena, b, round);
                blocks.push(b);
            }
            None => {
                for _ in 0..blocks.len() / 3 {
                    assert!(release(&arena, blocks.swap_remove(dice.roll(blocks.len()))));
                }
                arena.trim(u64::MAX);
            }
        }
        if round % 500 == 0 {
            assert!(
                resident_bytes(&arena) <= arena.charged_bytes(),
                "pages are resident that nobody paid for"
            );
        }
    }
    blocks.into_iter().for_each(|b| assert!(release(&arena, b)));
    arena.drain(&mag);
    assert!(resident_bytes(&arena) > MIB);
    arena.trim(u64::MAX);
    assert_eq!(resident_bytes(&arena), 0);
}

#[test]
fn contents_leave_room_for_tables() {
    let (arena, mag) = (arena(32 * MIB, 4096), Magazine::new());
    let blocks = fill_up(&arena, &mag, 4096);
    assert!(blocks.len() * 4096 > 30 << 20);
    let tables = std::iter::from_fn(|| arena.alloc_raw(&mag, 8192)).count() * 8192;
    assert!(tables > 900 << 10, "a thirty-second part of the limit is for tables, they got {tables}");
}

#[test]
fn trim_gives_back_about_as_much_as_was_asked_for() {
    let (arena, mag) = (arena(16 * MIB, 64 << 10), Magazine::new());
    let large = fill_up(&arena, &mag, 64 << 10);
    large.iter().for_each(|&b| assert!(release(&arena, b)));
    assert_eq!(arena.trim(0), 0);
    assert_eq!(arena.trim(1), 4 << 10);
    assert_eq!(arena.trim(100_000), 100 << 10);
    arena.validate().expect("sound");
}

#[test]
fn pages_stay_when_they_pass_from_one_size_to_another() {
    let (arena, mag) = (arena(16 * MIB, 1 << 20), Magazine::new());
    let mut blocks = fill_up(&arena, &mag, 16 << 10);
    let backed = arena.runs().backed_pages();
    for len in [128 << 10, 40 << 10, 1 << 20, 12 << 10, 300 << 10, 8 << 10] {
        blocks.drain(..).for_each(|b| assert!(release(&arena, b)));
        // As good as none of them needs a page that is not there.
        while arena.free_resident_bytes() > 2 * len as u64 {
            blocks.push(arena.alloc(&mag, len).expect("room"));
            let more = arena.runs().backed_pages() - backed;
            assert!(more <= backed / 100, "{len} bytes: {more} pages");
        }
        assert_eq!(arena.validate(), Ok(()));
    }
    blocks.into_iter().for_each(|b| assert!(release(&arena, b)));
}

#[test]
fn a_run_keeps_its_capacity_whatever_its_length() {
    let (arena, mag) = (arena(16 * MIB, 300_000), Magazine::new());
    for (len, capacity) in [(4097, 8192), (8193, 12288), (70_000, 80 << 10), (300_000, 74 * 4096)] {
        let b = arena.alloc(&mag, len).expect("room");
        assert_eq!(arena.capacity(b), capacity);
        let short = arena.with_len(b, 1);
        assert_eq!((arena.capacity(short), arena.len(short)), (capacity, 1));
        let long = arena.with_len(short, len);
        assert!(arena.same_block(b, long));
        let free = arena.free_resident_bytes();
        assert!(release(&arena, short));
        assert_eq!(arena.free_resident_bytes(), free + capacity as u64);
    }
    assert_eq!(arena.validate(), Ok(()));
}

#[test]
#[should_panic(expected = "freed twice")]
fn freeing_a_run_twice_is_seen() {
    let (arena, mag) = (arena(MIB, 64 << 10), Magazine::new());
    let b = arena.alloc(&mag, 10_000).expect("room");
    assert!(release(&arena, b));
    let header = arena.header(b);
    header.refs.store(1, Ordering::Relaxed);
    release(&arena, b);
}

#[test]
fn long_contents_have_room_in_a_reference_wherever_they_are() {
    // Few bits are left for a page: the region has many windows.
    let (arena, mag) = (arena(1 << 40, 64 << 20), Magazine::new());
    let runs = arena.runs();
    let last = runs.plan.pages - 2;
    assert!(last * PAGE_BYTES > 1 << 38);
    let b = arena.alloc(&mag, 64 << 20).expect("room");
    assert_eq!((arena.len(b), arena.capacity(b)), (64 << 20, 64 << 20));
    assert!(release(&arena, b));
    arena.trim(u64::MAX);
}

#[test]
fn sizes_out_of_use_leave_the_whole_limit_to_others() {
    let (arena, mag) = (arena(16 * MIB, 256 << 10), Magazine::new());
    for len in [256 << 10, 64, 4096, 112, 48 << 10, 1792, 80, 256 << 10, 3584, 64, 512, 64 << 10] {
        let blocks = fill_up(&arena, &mag, len);
        // Less the sixteen bytes of the headers, two or three bits a slot for bitmaps, and one block that did not fit.
        let expected = (15 << 20) * len / (len + 16) - len;
        let got = blocks.len() * len;
        assert!(got >= expected, "blocks of {len} bytes got {got} of the limit, not {expected}");
        assert!(arena.budget().charged() <= arena.budget().limit());
        blocks.into_iter().for_each(|b| assert!(release(&arena, b)));
        arena.validate().expect("sound");
    }
}

#[test]
fn sparse_spans_are_emptied_by_moving_their_blocks() {
    let (arena, mag) = (arena(8 * MIB, 64 << 10), Magazine::new());
    let mut dice = Dice(3);
    let mut blocks: Vec<Parcel> = fill_up(&arena, &mag, 256).into_iter().zip(0..).collect();
    blocks.iter().for_each(|&(b, id)| fill(&arena, b, id));
    let all = blocks.len();
    for _ in 0..all * 5 / 8 {
        let (b, _) = blocks.swap_remove(dice.roll(blocks.len()));
        assert!(release(&arena, b));
    }
    arena.trim(u64::MAX);
    let before = arena.budget().charged();
    assert!(before > 7 * MIB, "sixteen slots are seldom free together");
    while let Some(refunded) = evacuate(&arena, &mag, &mut blocks) {
        assert!(refunded > 0, "a round without progress");
        arena.validate().expect("sound");
    }
    let live = (blocks.len() * 256) as u64;
    let after = arena.budget().charged() - arena.overhead_bytes();
    assert!(after < live * 3 / 2, "{after} bytes are held for {live}");
    blocks.iter().for_each(|&(b, id)| check(&arena, b, id));
    assert!(fill_up(&arena, &mag, 64 << 10).len() as u64 * (64 << 10) > 3 * MIB);
}

#[test]
fn huge_pages_are_charged_emptied_and_given_back_whole() {
    let (arena, mag) = (arena(8192 * MIB, 4096), Magazine::new());
    let mut blocks: Vec<Parcel> = (0..160_000).map(|id| (arena.alloc(&mag, 64).expect("room"), id)).collect();
    blocks.iter().for_each(|&(b, id)| fill(&arena, b, id));
    let charged = |arena: &Arena| arena.charged_bytes() - arena.overhead_bytes();
    assert!((10 * MIB..14 * MIB).contains(&charged(&arena)), "five spans, and headers");
    assert!(resident_bytes(&arena) <= charged(&arena));
    let mut dice = Dice(4);
    while blocks.len() > 60_000 {
        let (b, _) = blocks.swap_remove(dice.roll(blocks.len()));
        assert!(release(&arena, b));
    }
    assert_eq!(arena.trim(u64::MAX), 0, "no span of thousands is free by chance");
    assert!(evacuate(&arena, &mag, &mut blocks).is_some_and(|refunded| refunded >= 4 * MIB));
    arena.validate().expect("sound");
    assert!(resident_bytes(&arena) <= charged(&arena));
    blocks.iter().for_each(|&(b, id)| check(&arena, b, id));
    blocks.into_iter().for_each(|(b, _)| assert!(release(&arena, b)));
    arena.drain(&mag);
    arena.trim(u64::MAX);
    assert_eq!((resident_bytes(&arena), charged(&arena)), (0, 0));
}

#[test]
fn quarantine_ends_with_its_holder() {
    let (arena, mag) = (arena(4 * MIB, 4096), Magazine::new());
    let blocks = fill_up(&arena, &mag, 1024);
    blocks.iter().step_by(2).for_each(|&b| assert!(release(&arena, b)));
    arena.drain(&mag);
    let free = arena.free_resident_bytes();
    let sparse = arena.sparse_spans().expect("half is free");
    assert!(arena.free_resident_bytes() < free);
    drop(sparse);
    assert_eq!(arena.free_resident_bytes(), free);
    arena.validate().expect("sound");
}

struct Slot([AtomicU64; 8]);

// SAFETY: eight integer atomics.
unsafe impl crate::map::Zeroable for Slot {}

#[test]
fn a_pool_slot_is_zero_until_used_and_after_its_page_went_back() {
    let pool: Pool<Slot> = Pool::new(Arc::new(Budget::new(MIB)), 100_000, false).expect("address space");
    let mag = PoolMagazine::new();
    let mut indices: Vec<u32> = std::iter::from_fn(|| pool.alloc(&mag)).collect();
    assert!(indices.len() > 15_000, "a mebibyte, less the bitmaps");
    indices.sort_unstable();
    assert!(indices.is_sorted_by(|a, b| a < b), "one slot, two users");
    assert!(indices.iter().all(|&index| index < pool.bound()));
    let zero = |index: u32| pool.get(index).0.iter().all(|word| word.load(Ordering::Relaxed) == 0);
    for &index in &indices {
        assert!(zero(index));
        pool.get(index).0[7].store(u64::from(index) + 1, Ordering::Relaxed);
    }
    let (low, high) = indices.split_at(1000);
    // SAFETY: allocated above, freed once.
    high.iter().for_each(|&index| unsafe { pool.free(index) });
    pool.drain(&mag);
    pool.validate().expect("sound");
    assert!(pool.trim(u64::MAX) > 900 << 10);
    pool.validate().expect("sound");
    assert!(low.iter().all(|&index| pool.get(index).0[7].load(Ordering::Relaxed) == u64::from(index) + 1));
    assert!(high[64..].iter().all(|&index| zero(index)));
    let again = pool.alloc(&mag).expect("room");
    assert!(again <= low[low.len() - 1] + 64, "low slots first, so that high spans stay empty");
}

#[test]
fn a_pool_never_hands_out_more_than_it_has() {
    let pool: Pool<Slot> = Pool::new(Arc::new(Budget::new(MIB)), 100, false).expect("address space");
    let mag = PoolMagazine::new();
    assert_eq!(std::iter::from_fn(|| pool.alloc(&mag)).count(), 128);
    assert_eq!(pool.bound(), 128);
    assert_eq!(pool.charged_bytes(), 2 * 4096 + 2 * 11);
}

fn stress_blocks(arena: &Arena, seed: u64, exchange: &Mutex<Vec<Parcel>>, rounds: u64) {
    let (mag, mut dice) = (Magazine::new(), Dice(seed));
    let mut mine: Vec<Parcel> = Vec::new();
    let mut raws: Vec<(NonNull<u8>, usize)> = Vec::new();
    for round in 0..rounds {
        let len = 1 + (dice.roll(64 << 10) >> dice.roll(11));
        let id = seed << 32 | round;
        match arena.alloc(&mag, len) {
            Some(b) => {
                fill(arena, b, id);
                mine.push((b, id));
            }
            None => {
                for _ in 0..mine.len() / 2 {
                    let (b, id) = mine.swap_remove(dice.roll(mine.len()));
                    check(arena, b, id);
                    assert!(release(arena, b));
                }
                arena.trim(64 << 10);
            }
        }
        let size = 1 + dice.roll(2000);
        if let Some(ptr) = arena.alloc_raw(&mag, size) {
            // SAFETY: ours, and of that size.
            unsafe { ptr.write_bytes(seed as u8, size) };
            raws.push((ptr, size));
        }
        if raws.len() > 200 {
            let (ptr, size) = raws.swap_remove(dice.roll(raws.len()));
            // SAFETY: ours until freed here.
            unsafe {
                assert!((0..size).all(|at| ptr.add(at).read() == seed as u8), "raw memory has two users");
                arena.free_raw(ptr, size);
            }
        }
        match round % 64 {
            0 => {
                let mut exchange = exchange.lock().expect("no panic");
                exchange.append(&mut mine);
                let keep = exchange.len() / 2;
                mine.extend(exchange.drain(keep..));
            }
            7 => _ = arena.trim(1 << dice.roll(20)),
            13 if seed == 1 => _ = evacuate(arena, &mag, &mut mine),
            _ => {}
        }
        if round % 1000 == 999 {
            arena.drain(&mag);
        }
    }
    exchange.lock().expect("no panic").append(&mut mine);
    // SAFETY: ours until freed here.
    raws.into_iter().for_each(|(ptr, size)| unsafe { arena.free_raw(ptr, size) });
    arena.drain(&mag);
}

#[test]
fn under_threads_a_block_has_one_user_and_the_budget_adds_up() {
    let arena = arena(12 * MIB, 64 << 10);
    let exchange = Mutex::new(Vec::new());
    let running = AtomicBool::new(true);
    thread::scope(|scope| {
        let threads: Vec<_> = (1..=4)
            .map(|seed| {
                scope.spawn({
                    let (arena, exchange) = (&arena, &exchange);
                    move || stress_blocks(arena, seed, exchange, 4000)
                })
            })
            .collect();
        let watcher = scope.spawn(|| {
            while running.load(Ordering::Relaxed) {
                assert!(arena.budget().charged() <= arena.budget().limit());
                assert!(
                    arena.free_resident_bytes() <= 2 * arena.budget().limit(),
                    "a scan that makes no sense"
                );
                thread::yield_now();
            }
        });
        let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        running.store(false, Ordering::Relaxed);
        outcomes.into_iter().for_each(|outcome| outcome.expect("no panic"));
        watcher.join().expect("no panic");
    });
    arena.validate().expect("sound");
    for (b, id) in exchange.into_inner().expect("no panic") {
        check(&arena, b, id);
        assert!(release(&arena, b));
    }
    arena.validate().expect("sound");
    arena.trim(u64::MAX);
    arena.validate().expect("sound");
    assert_eq!(arena.free_resident_bytes(), 0);
    assert_eq!(arena.budget().charged(), arena.overhead_bytes());
    assert_eq!(resident_bytes(&arena), 0);
}
