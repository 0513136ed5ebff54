//! What the index remembers of paths, for the model tests: prefixes and the path cache, each without the tree that they are
//! checked against.

use super::{
    Hashing,
    cache::{Cache, PathHash},
    memory::Memory,
    node::NodeId,
    prefix::Prefixes,
};
use crate::{
    arena::{Arena, Budget},
    epoch::{Collector, Guard, Handle},
    model::{Seats, pinned},
    sync::{Arc, Ordering},
};
use std::hash::BuildHasher;

/// Room for prefixes to grow once.
const LIMIT_BYTES: u64 = 1 << 17;

/// What is known of paths.
pub struct Hints {
    seats: Seats<Handle>,
    collector: Collector,
    prefixes: Prefixes,
    cache: Cache,
    budget: Arc<Budget>,
}

/// A thread's handle on [`Hints`].
pub struct HintUser<'a> {
    hints: &'a Hints,
    handle: &'a Handle,
    /// Whether what is replaced is freed at once: the broken variant.
    reckless: bool,
}

fn hash(text: &str) -> PathHash {
    PathHash(Hashing::default().hash_one(text))
}

impl Hints {
    /// Nothing is known.
    pub fn new() -> Self {
        let budget = Arc::new(Budget::new(LIMIT_BYTES));
        let arena = Arc::new(Arena::new(budget.clone(), 64, false).expect("small"));
        let memory = Arc::new(Memory::new(arena, None));
        let collector = Collector::new();
        let seats = Seats::new(|| collector.register());
        let prefixes = Prefixes::new(memory.clone()).expect("small");
        let cache = Cache::new(memory).expect("small");
        Self { seats, collector, prefixes, cache, budget }
    }

    /// For the calling thread.
    pub fn user(&self) -> HintUser<'_> {
        self.make_user(false)
    }

    /// The same for a thread that frees at once what it replaces.
    pub fn reckless_user(&self) -> HintUser<'_> {
        self.make_user(true)
    }

    fn make_user(&self, reckless: bool) -> HintUser<'_> {
        HintUser { hints: self, handle: self.seats.take(), reckless }
    }

    /// Every piece of memory was given back, and every byte of it.
    pub fn finish(self) {
        let Self { seats, collector, prefixes, cache, budget } = self;
        drop((seats, collector));
        drop((prefixes, cache));
        assert_eq!(crate::model::living(), 0, "memory was lost");
        assert_eq!(budget.charged(), 0, "bytes were lost");
    }
}

impl Default for Hints {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for HintUser<'_> {
    fn drop(&mut self) {
        self.hints.seats.give(self.handle);
    }
}

impl HintUser<'_> {
    fn with<R>(&self, run: impl FnOnce(&Guard) -> R) -> R {
        let guard = pinned(self.handle);
        // SAFETY: a mistake on purpose in the broken variant; not used otherwise.
        let unprotected = unsafe { crate::epoch::unprotected() };
        run(if self.reckless { unprotected } else { &guard })
    }

    /// Notes that `text` led to `directory` when the stamp was `stamp`, where there are so many directories.
    pub fn note(&self, text: &str, stamp: u64, directory: u32, directories: u64) {
        let directory = NodeId::new(directory);
        self.with(|guard| {
            self.hints.prefixes.fill(text.as_bytes(), directory, stamp, directories, guard);
        });
    }

    /// The directory, if it is known that `text` led there when the stamp was `stamp`.
    pub fn noted(&self, text: &str, stamp: u64, directory: u32) -> Option<u32> {
        let leads =
            |guard: &Guard| self.hints.prefixes.leads(text.as_bytes(), NodeId::new(directory), stamp, guard);
        self.with(leads).then_some(directory)
    }

    /// Notes in the cache that `path` led to `id`, with the id for a hint.
    pub fn cache(&self, path: &str, id: u32) {
        self.with(|guard| {
            self.hints.cache.fill(hash(path), NodeId::new(id), u64::from(id), guard, |_| false);
        });
    }

    /// Where the cache says that `path` leads; that is written beside it once more, as a reader does who was misled.
    pub fn cached(&self, path: &str) -> Option<u32> {
        self.with(|guard| {
            let (id, hint) = self.hints.cache.find(hash(path), guard)?;
            hint.store(u64::from(id.get()), Ordering::Relaxed);
            Some(id.get())
        })
    }

    /// Doubles the cache.
    pub fn grow_cache(&self) {
        self.with(|guard| self.hints.cache.grow(u64::MAX / 4, guard));
    }

    /// Lets the cache fall back to its first size; the bytes that will be free.
    pub fn shrink_cache(&self) -> u64 {
        self.with(|guard| self.hints.cache.shrink(0, guard))
    }

    /// Lets the cache give up what it can do without at the size it has; the bytes that will be free.
    pub fn trim_cache(&self) -> u64 {
        self.with(|guard| self.hints.cache.shrink(u64::from(u32::MAX), guard))
    }

    /// Lets the epoch advance, and frees what it can.
    pub fn collect(&self) {
        pinned(self.handle).flush();
    }
}
