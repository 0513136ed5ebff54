//! The index, for the model tests: names over nodes whose content is a small number, changed as the tier changes it.

use super::{
    Created, Cx, Index, IndexError, Kind, NameChange, NodeId, NodeInit, Settled, lookup::Bound,
    node::CONTENT_MASK,
};
use crate::{
    arena::{Arena, Budget, Magazine, PoolMagazine},
    epoch::{Collector, Guard, Handle},
    model::{Seats, pinned},
    order::{Consumer, Order, Taken},
    path::Canonical,
    sync::{Arc, Ordering},
};
use std::{cell::RefCell, collections::BTreeMap};

/// Why an operation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as the errors of the public face")]
pub enum Refusal {
    NotFound,
    NotADirectory,
    IsADirectory,
    NotEmpty,
    AlreadyExists,
    Memory,
    Other,
}

impl From<IndexError> for Refusal {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::NotFound(_) => Self::NotFound,
            IndexError::NotADirectory(_) => Self::NotADirectory,
            IndexError::IsADirectory(_) => Self::IsADirectory,
            IndexError::NotEmpty(_) => Self::NotEmpty,
            IndexError::Memory(_) => Self::Memory,
            IndexError::Invalid { .. } | IndexError::IntoItself { .. } => Self::Other,
        }
    }
}

/// A tree of names.
pub struct Names {
    seats: Seats<Seat>,
    collector: Collector,
    queue: Option<Queue>,
    index: Index,
    arena: Arc<Arena>,
}

/// The order of changes, where one is kept. Dropped after the collector.
struct Queue {
    order: Arc<Order>,
    /// The flusher's: what it consumes from, what it has taken and not let go.
    front: RefCell<Option<(Consumer, Vec<Taken>)>>,
    /// What the changes that were taken made of an empty tree: the directory and name of each node.
    tree: RefCell<BTreeMap<u32, (u32, String)>>,
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Some((consumer, _)) = self.front.take() {
            // SAFETY: the collector is gone, and nobody else is left.
            unsafe { self.order.tear_down(consumer) };
        }
    }
}

// SAFETY: loom runs all threads of a model on one; one thread at a time flushes.
unsafe impl Sync for Queue {}
// SAFETY: as above.
unsafe impl Send for Queue {}

/// Plays a change: it must fit what came before it.
fn play(tree: &mut BTreeMap<u32, (u32, String)>, change: NameChange<'_>) {
    let is_there = |tree: &BTreeMap<_, _>, id: NodeId| id == NodeId::ROOT || tree.contains_key(&id.get());
    let is_free = |tree: &BTreeMap<_, (u32, String)>, parent: NodeId, name: &str| {
        !tree.values().any(|(its, called)| *its == parent.get() && called == name)
    };
    let is_empty =
        |tree: &BTreeMap<_, (u32, String)>, id: NodeId| !tree.values().any(|(parent, _)| *parent == id.get());
    match change {
        NameChange::Make { mut parent, nodes, .. } => {
            for (id, name) in nodes {
                assert!(is_there(tree, parent), "the order: {name} was made in nothing");
                assert!(is_free(tree, parent, name), "the order: {name} was made twice");
                let before = tree.insert(id.get(), (parent.get(), name.to_owned()));
                assert!(before.is_none(), "the order: a node was made twice");
                parent = id;
            }
        }
        NameChange::Rename { id, parent, name, replaced } => {
            if let Some(replaced) = replaced {
                assert!(is_empty(tree, replaced), "the order: a directory with entries was replaced");
                let before = tree.remove(&replaced.get());
                let is_here = |(its, called): (u32, String)| its == parent.get() && called == name;
                assert!(before.is_some_and(is_here), "the order: replaced where it was not");
            }
            assert!(is_there(tree, parent), "the order: {name} was moved into nothing");
            assert!(is_free(tree, parent, name), "the order: {name} was taken");
            let moved = tree.insert(id.get(), (parent.get(), name.to_owned()));
            assert!(moved.is_some(), "the order: nothing was moved");
        }
        NameChange::Remove { id } => {
            assert!(is_empty(tree, id), "the order: a directory with entries was removed");
            assert!(tree.remove(&id.get()).is_some(), "the order: what is not there was removed");
        }
    }
}

/// A thread's handle on [`Names`].
pub struct NameUser<'a> {
    names: &'a Names,
    seat: &'a Seat,
    /// Whether what is unlinked is freed at once: the broken variant.
    reckless: bool,
}

struct Seat {
    handle: Handle,
    magazine: Magazine,
    nodes: PoolMagazine,
}

fn canonical(path: &str) -> Canonical<'_> {
    Canonical::new(path).expect("a good path")
}

impl Names {
    /// A root and nothing in it.
    pub fn new() -> Self {
        Self::over(|_| None)
    }

    /// The same with an order of changes.
    pub fn in_order() -> Self {
        Self::over(|arena| {
            let (order, consumer) = Order::new(arena.clone()).expect("room");
            let front = RefCell::new(Some((consumer, Vec::new())));
            Some(Queue { order: Arc::new(order), front, tree: RefCell::default() })
        })
    }

    fn over(queue: impl FnOnce(&Arc<Arena>) -> Option<Queue>) -> Self {
        let budget = Arc::new(Budget::new(1 << 16));
        let arena = Arc::new(Arena::new(budget, 64, false).expect("small"));
        let queue = queue(&arena);
        let order = queue.as_ref().map(|queue| queue.order.clone());
        let index = Index::new(arena.clone(), 8, order).expect("small");
        let collector = Collector::new();
        let seats = Seats::new(|| Seat {
            handle: collector.register(),
            magazine: Magazine::new(),
            nodes: PoolMagazine::new(),
        });
        Self { seats, collector, queue, index, arena }
    }

    /// For the calling thread.
    pub fn user(&self) -> NameUser<'_> {
        self.make_user(false)
    }

    /// The same for a thread that frees at once what it unlinks.
    pub fn reckless_user(&self) -> NameUser<'_> {
        self.make_user(true)
    }

    fn make_user(&self, reckless: bool) -> NameUser<'_> {
        NameUser { names: self, seat: self.seats.take(), reckless }
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

impl NameUser<'_> {
    fn with<R>(&self, run: impl FnOnce(&Index, &Cx<'_>) -> R) -> R {
        let guard = pinned(&self.seat.handle);
        // SAFETY: a mistake on purpose in the broken variant; not used otherwise.
        let unprotected = unsafe { crate::epoch::unprotected() };
        let used: &Guard = if self.reckless { unprotected } else { &guard };
        let cx = Cx { guard: used, magazine: &self.seat.magazine, nodes: &self.seat.nodes };
        run(&self.names.index, &cx)
    }

    fn create(&self, path: &str, kind: Kind, parents: bool, value: u64) -> Result<u32, Refusal> {
        self.with(|index, cx| {
            let init = NodeInit { content: value, ..NodeInit::default() };
            match index.create(&canonical(path), kind, parents, &init, cx)? {
                Created::New(bound) => Ok(bound.id.get()),
                Created::Exists(_) => Err(Refusal::AlreadyExists),
            }
        })
    }

    /// Makes a file, at once if that can be done, as the floor above does.
    pub fn create_file(&self, path: &str, value: u64) -> Result<u32, Refusal> {
        let at_once = self.with(|index, cx| {
            let init = NodeInit { content: value, ..NodeInit::default() };
            let Some(vacancy) = index.vacancy(path, index.spelled(path), cx.guard) else { return Ok(None) };
            index.occupy(&vacancy, &init, cx).map(|made| made.map(|bound| bound.id.get()))
        })?;
        at_once.map_or_else(|| self.create(path, Kind::File, false, value), Ok)
    }

    /// Makes a file and the directories above it.
    pub fn create_deep(&self, path: &str, value: u64) -> Result<u32, Refusal> {
        self.create(path, Kind::File, true, value)
    }

    /// Makes a directory.
    pub fn create_dir(&self, path: &str) -> Result<u32, Refusal> {
        self.create(path, Kind::Directory, false, 0)
    }

    /// Removes a file; the content it had when its name had gone.
    pub fn remove_file(&self, path: &str) -> Result<u64, Refusal> {
        self.with(|index, cx| {
            let id = index.remove_file(path, cx)?;
            Ok(Self::give_up(index, id, cx).expect("no handle is open"))
        })
    }

    /// Drops a reference as `Core::drop_ref` does; the content of the node if that was the last.
    fn give_up(index: &Index, id: NodeId, cx: &Cx<'_>) -> Option<u64> {
        if !index.release(id) {
            return None;
        }
        let content = index.held(id).content.load(Ordering::Acquire) & CONTENT_MASK;
        index.retire(id, cx);
        Some(content)
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: &str) -> Result<(), Refusal> {
        Ok(self.with(|index, cx| index.remove_dir(&canonical(path), cx))?)
    }

    /// Renames; the content of the file that was replaced.
    pub fn rename(&self, from: &str, to: &str) -> Result<Option<u64>, Refusal> {
        self.with(|index, cx| {
            let replaced = index.rename(&canonical(from), &canonical(to), cx)?;
            Ok(replaced.map(|id| Self::give_up(index, id, cx).expect("no handle is open")))
        })
    }

    /// The node a path leads to.
    pub fn lookup(&self, path: &str) -> Result<u32, Refusal> {
        self.with(|index, cx| Ok(index.lookup(path, cx.guard)?.id.get()))
    }

    /// The node a path leads to, found without the cache.
    pub fn walk(&self, path: &str) -> Option<u32> {
        self.with(|index, cx| match index.walk(canonical(path).text(), cx.guard) {
            super::lookup::Walk::Found(bound) => Some(bound.id.get()),
            _ => None,
        })
    }

    /// Reads a file as the tier does: content, then whether the name still leads to it.
    pub fn read(&self, path: &str) -> Result<u64, Refusal> {
        self.with(|index, cx| {
            loop {
                let bound = index.lookup(path, cx.guard)?;
                let word = bound.node.content.load(Ordering::Acquire);
                if bound.still(index) {
                    return Ok(word & CONTENT_MASK);
                }
            }
        })
    }

    /// Overwrites a file as the tier does: content, whether the name is settled, exchange; what it replaced.
    pub fn write(&self, path: &str, value: u64) -> Result<u64, Refusal> {
        self.overwrite(path, value, true)
    }

    /// The same without asking whether the name is settled: the broken variant.
    pub fn write_unsettled(&self, path: &str, value: u64) -> Result<u64, Refusal> {
        self.overwrite(path, value, false)
    }

    fn overwrite(&self, path: &str, value: u64, asks: bool) -> Result<u64, Refusal> {
        self.with(|index, cx| {
            loop {
                let bound = index.lookup(path, cx.guard)?;
                let old = bound.node.content.load(Ordering::Acquire);
                if asks && bound.settled(index, cx.guard) != Settled::Yes {
                    continue;
                }
                let new = value | old & !CONTENT_MASK;
                let content = &bound.node.content;
                if content.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                    return Ok(old & CONTENT_MASK);
                }
            }
        })
    }

    /// Opens a file by its path, and reads it by its number, as a handle does; then drops the reference.
    pub fn open(&self, path: &str) -> Result<u64, Refusal> {
        self.with(|index, cx| {
            let bound: Bound<'_> = index.lookup(path, cx.guard)?;
            if !index.acquire(&bound) {
                return Err(Refusal::NotFound);
            }
            let content = index.held(bound.id).content.load(Ordering::Acquire) & CONTENT_MASK;
            Self::give_up(index, bound.id, cx);
            Ok(content)
        })
    }

    /// The names in a directory.
    pub fn list(&self, path: &str) -> Result<Vec<String>, Refusal> {
        self.with(|index, cx| {
            let bound = index.lookup(path, cx.guard)?;
            Ok(index.children(&bound, cx.guard).into_iter().map(|(name, ..)| name).collect())
        })
    }

    /// Doubles the table's buckets.
    pub fn grow(&self) {
        self.names.index.table.grow(u64::MAX);
    }

    /// Doubles the path cache.
    pub fn grow_cache(&self) {
        self.with(|index, cx| index.cache.grow(u64::MAX / 4, cx.guard));
    }

    /// Lets the epoch advance, and frees what it can.
    pub fn collect(&self) {
        pinned(&self.seat.handle).flush();
    }

    fn queue(&self) -> &Queue {
        self.names.queue.as_ref().expect("an order is kept")
    }

    /// The place of the last change that has one.
    pub fn placed(&self) -> u64 {
        self.queue().order.last_place(&pinned(&self.seat.handle))
    }

    /// Takes the changes that are in the order, plays them, and lets go of them. For one thread at a time.
    pub fn flush(&self) {
        let queue = self.queue();
        let mut front = queue.front.borrow_mut();
        let (consumer, taken) = front.as_mut().expect("the model is not over");
        queue.order.take(consumer, taken, || pinned(&self.seat.handle));
        let mut tree = queue.tree.borrow_mut();
        for taken in &*taken {
            play(&mut tree, NameChange::of(taken.record()).expect("a record of the index"));
        }
        let guard = pinned(&self.seat.handle);
        queue.order.release(taken.drain(..), &guard);
        guard.flush();
    }

    /// With nobody else at work: the order, played, gives the tree that there is.
    pub fn check_order(&self) {
        self.flush();
        let tree = self.queue().tree.borrow();
        let path_of = |mut id: u32| {
            let mut path = String::new();
            while let Some((parent, name)) = tree.get(&id) {
                path = format!("/{name}{path}");
                id = *parent;
            }
            path
        };
        for id in tree.keys() {
            assert_eq!(self.walk(&path_of(*id)), Some(*id), "the order says otherwise of {}", path_of(*id));
        }
        let there = self.with(|index, _| index.len());
        assert_eq!(there, tree.len() as u64, "the order says otherwise: {tree:?}");
    }

    /// With nobody else at work: table, slots, nodes and counts agree.
    pub fn check(&self) {
        self.with(|index, cx| index.validate(cx.guard));
    }
}

impl Drop for NameUser<'_> {
    fn drop(&mut self) {
        self.names.seats.give(self.seat);
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.seats.each(|seat| {
            self.arena.drain(&seat.magazine);
            self.index.drain(&seat.nodes);
        });
    }
}
