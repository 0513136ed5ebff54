//! What the model tests (`loom-tests/`) need of the engine: compiled under `--cfg memfs_loom` only.
//!
//! Owns three things: the atomics of that build ([`atomic`], loom's own behind a thin shell), canaries that make a use
//! after free visible to the checker ([`born`], [`touch`], [`dies`]), and thin public wrappers of the mechanisms below
//! the public face ([`arena`], [`order`], [`index`], [`hints`], [`scorer`], [`segment`], [`tier`]). It has no mechanism of its own: whatever a
//! model finds right or wrong is the code that ships.
//!
//! # Broken variants
//! A check that cannot fail proves nothing. [`Mutation`] names a line of the shipping source and what is to be wrong with
//! the atomic operation there: an ordering dropped, a fence left out, a look that sees what it must not, a
//! read-modify-write torn in two. The shell around loom's atomics knows its caller's line, so nothing of this is in the
//! shipping code.
//!
//! # Invariants
//! 1. Everything here is per operating-system thread: loom runs all threads of a model on one, so tests run side by side.
//! 2. [`begin`] is called first in every execution: no canary outlives the execution it was made in.

pub mod atomic;
pub mod condvar;
pub mod mutation;

pub use crate::{
    arena::model as arena, index::model as index, index::model_hints as hints, order::model as order,
    scorer::model as scorer, segment::model as segment, tier::model as tier, tier::model_limbo as limbo,
};
pub use mutation::{Kind, Mutation, broken};

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    ptr::NonNull,
};

struct Canary {
    alive: Cell<bool>,
    cell: loom::cell::UnsafeCell<()>,
}

thread_local! {
    static CANARIES: RefCell<HashMap<usize, Canary>> = RefCell::default();
    static PINS: RefCell<Option<std::rc::Rc<loom::sync::atomic::AtomicU64>>> = const { RefCell::new(None) };
    static ADDRESSES: Cell<Addresses> = const { Cell::new(Addresses { base: std::ptr::null_mut(), used: 0, users: 0 }) };
}

/// Begins an execution.
pub fn begin() {
    CANARIES.with(|canaries| canaries.borrow_mut().clear());
    PINS.set(Some(std::rc::Rc::new(loom::sync::atomic::AtomicU64::new(0))));
    // An execution that panicked gave nothing back.
    ADDRESSES.set(Addresses { used: 0, users: 0, ..ADDRESSES.get() });
}

/// Explores what `run` does, in the bounds of the model tests; for what needs more than a set-up, bodies, and a look.
pub(crate) fn explore(run: impl Fn() + Sync + Send + 'static) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let mut builder = loom::model::Builder::new();
    let bound = number("LOOM_MAX_PREEMPTIONS").unwrap_or(2) as usize;
    builder.preemption_bound = Some(bound);
    let (begun, seconds) = (std::time::Instant::now(), number("MEMFS_LOOM_SECONDS").unwrap_or(20));
    builder.max_duration = Some(std::time::Duration::from_secs(seconds));
    builder.checkpoint_interval = 20;
    let executions = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = executions.clone();
    builder.check(move || {
        begin();
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        run();
    });
    let cut = if begun.elapsed().as_secs() >= seconds { "CUT SHORT" } else { "all" };
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    let executions = executions.load(std::sync::atomic::Ordering::Relaxed);
    let took = begun.elapsed().as_secs_f64();
    println!("{name}: {cut} of {bound} preemptions, {executions} executions, {took:.1} s");
}

/// The memory at `address` becomes somebody's.
#[track_caller]
pub(crate) fn born(address: usize) {
    CANARIES.with(|canaries| {
        let mut canaries = canaries.borrow_mut();
        let fresh = || Canary { alive: Cell::new(false), cell: loom::cell::UnsafeCell::new(()) };
        let canary = canaries.entry(address).or_insert_with(fresh);
        assert!(!canary.alive.replace(true), "{address:#x} was given out twice");
        canary.cell.with_mut(|_| ());
    });
}

/// The memory at `address` is used; by somebody to whom it was given, or who is protected against its end.
#[track_caller]
pub(crate) fn touch(address: usize) {
    CANARIES.with(|canaries| {
        if let Some(canary) = canaries.borrow().get(&address) {
            assert!(canary.alive.get(), "{address:#x} is used after its end");
            canary.cell.with(|_| ());
        }
    });
}

/// The memory at `address` is nobody's: every use happened before, or the checker complains.
#[track_caller]
pub(crate) fn dies(address: usize) {
    CANARIES.with(|canaries| {
        if let Some(canary) = canaries.borrow().get(&address) {
            assert!(canary.alive.replace(false), "{address:#x} is freed twice");
            canary.cell.with_mut(|_| ());
        }
    });
}

/// Bytes at `address`, inside of a piece of memory, are written: who reads them must have it from the writer.
#[track_caller]
pub(crate) fn written(address: usize) {
    let canary = Canary { alive: Cell::new(true), cell: loom::cell::UnsafeCell::new(()) };
    canary.cell.with_mut(|_| ());
    CANARIES.with(|canaries| canaries.borrow_mut().insert(address, canary));
}

/// The first `len` bytes at `address` are read.
#[track_caller]
pub(crate) fn touch_bytes(address: usize, len: usize) {
    (address..address + len.max(1)).for_each(touch);
}

/// What was written inside of the `len` bytes at `address` is of no account any more.
pub(crate) fn forget(address: usize, len: usize) {
    CANARIES.with(|canaries| {
        let mut canaries = canaries.borrow_mut();
        (address + 1..address + len).for_each(|at| _ = canaries.remove(&at));
    });
}

/// A thread has pinned. Pins order each other (SeqCst), which loom honours, but since each is an access to a word of
/// its own, loom would try them in one order only, and in that order the later one sees what the earlier did before.
pub(crate) fn pins() {
    if let Some(pins) = PINS.with_borrow(Clone::clone) {
        pins.fetch_add(1, loom::sync::atomic::Ordering::Relaxed);
    }
}

/// A guard of the calling thread's.
pub(crate) fn pinned(handle: &crate::epoch::Handle) -> crate::epoch::Guard {
    // Within another of the thread's it orders nothing.
    let is_first = !handle.is_pinned();
    let guard = handle.pin();
    if is_first {
        pins();
    }
    guard
}

/// How many pieces of memory are somebody's.
pub fn living() -> usize {
    CANARIES.with(|canaries| canaries.borrow().values().filter(|canary| canary.alive.get()).count())
}

/// What the threads of a model keep: made before they run, so that it is not explored, and never torn down between.
pub(crate) struct Seats<T> {
    // Boxed: a seat stays where it is while others come.
    all: RefCell<Vec<Box<T>>>,
    free: RefCell<Vec<*const T>>,
}

/// As many threads as any model has, and the one that looks at what came of it.
const SEATS: usize = 4;

impl<T> Seats<T> {
    pub(crate) fn new(mut make: impl FnMut() -> T) -> Self {
        let all: Vec<Box<T>> = (0..SEATS).map(|_| Box::new(make())).collect();
        let free = all.iter().map(|seat| &raw const **seat).collect();
        Self { all: RefCell::new(all), free: RefCell::new(free) }
    }

    /// One that nobody has.
    pub(crate) fn take(&self) -> &T {
        let seat = self.free.borrow_mut().pop().expect("models have few threads");
        // SAFETY: in a box of `all`, which lives as long as `self`.
        unsafe { &*seat }
    }

    pub(crate) fn give(&self, seat: &T) {
        self.free.borrow_mut().push(seat);
    }

    pub(crate) fn each(&self, visit: impl FnMut(&T)) {
        self.all.borrow().iter().map(|seat| &**seat).for_each(visit);
    }
}

// SAFETY: loom runs all threads of a model on one, one at a time.
unsafe impl<T> Send for Seats<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Seats<T> {}

/// Address space that is the same in every execution, so that code which orders things by address takes the same steps.
#[derive(Clone, Copy)]
struct Addresses {
    base: *mut u8,
    used: usize,
    users: usize,
}

const ADDRESS_BYTES: usize = 64 << 20;
const ADDRESS_ALIGN: usize = 4096;

/// `len_bytes` (whole pages) of zeroed memory.
pub(crate) fn reserve(len_bytes: usize) -> NonNull<u8> {
    let mut addresses = ADDRESSES.get();
    if addresses.base.is_null() {
        let layout =
            std::alloc::Layout::from_size_align(ADDRESS_BYTES, ADDRESS_ALIGN).expect("a power of two");
        // SAFETY: not empty. Never freed: it serves every model of the thread.
        addresses.base = unsafe { std::alloc::alloc_zeroed(layout) };
    }
    if addresses.users == 0 {
        addresses.used = 0;
    }
    // SAFETY: in bounds (asserted).
    let at = unsafe { addresses.base.add(addresses.used) };
    addresses.used += len_bytes;
    addresses.users += 1;
    assert!(addresses.used <= ADDRESS_BYTES, "models are small");
    // SAFETY: in bounds, and nobody else's: what was there has been given back, or the last execution panicked.
    unsafe { at.write_bytes(0, len_bytes) };
    ADDRESSES.set(addresses);
    NonNull::new(at).expect("heap")
}

/// Gives a reservation back; the addresses are used again when all are given back.
pub(crate) fn unreserve() {
    let mut addresses = ADDRESSES.get();
    addresses.users = addresses.users.saturating_sub(1);
    ADDRESSES.set(addresses);
}
