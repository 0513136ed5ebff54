//! Behaviour of the index as a whole: against a plain model, under contention, and at the end of memory.

mod contention;
mod exhaustion;
mod load;
mod model;
mod ordered;
mod races;

use super::{Created, Cx, Index, IndexError, Kind, Node, NodeId, NodeInit, memory::Memory};
use crate::{
    arena::{Arena, Budget, Magazine, Pool, PoolMagazine},
    epoch::{Collector, Handle},
    order::Order,
    path::Canonical,
    sync::Arc,
};
use std::{cell::Cell, mem::ManuallyDrop};

/// An index as a store would own it. Dropping it checks the structure, and that every byte comes back.
struct Store {
    collector: ManuallyDrop<Collector>,
    index: ManuallyDrop<Index>,
    budget: Arc<Budget>,
    arena: Arc<Arena>,
    memory: Arc<Memory>,
    nodes: Arc<Pool<Node>>,
}

/// What a thread brings.
struct Worker<'s> {
    index: &'s Index,
    handle: Handle,
    magazine: Magazine,
    nodes: PoolMagazine,
    at_once: Cell<bool>,
}

fn path(text: &str) -> Canonical<'_> {
    Canonical::new(text).expect("a valid path")
}

impl Store {
    fn new() -> Self {
        let budget = Arc::new(Budget::new(1 << 30));
        let arena = Arc::new(Arena::new(budget, 1 << 20, false).expect("address space"));
        Self::over(arena, None)
    }

    fn over(arena: Arc<Arena>, order: Option<Arc<Order>>) -> Self {
        let index = Index::new(arena.clone(), 1 << 20, order).expect("room");
        Self {
            collector: ManuallyDrop::new(Collector::new()),
            memory: index.memory.clone(),
            nodes: index.nodes.clone(),
            index: ManuallyDrop::new(index),
            budget: arena.budget().clone(),
            arena,
        }
    }

    fn worker(&self) -> Worker<'_> {
        Worker {
            index: &self.index,
            handle: self.collector.register(),
            magazine: Magazine::new(),
            nodes: PoolMagazine::new(),
            at_once: Cell::new(false),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.index.validate(&self.collector.register().pin());
        // SAFETY: dropped once each, the collector first (`epoch`, invariant 3), and not used again.
        unsafe {
            ManuallyDrop::drop(&mut self.collector);
            ManuallyDrop::drop(&mut self.index);
        }
        assert_eq!(self.memory.bytes(), 0, "bytes that were not given back");
        let lent = self.arena.charged_bytes() + self.nodes.charged_bytes();
        assert_eq!(self.budget.charged(), lent, "table and cache were not refunded");
        self.arena.validate().and_then(|()| self.nodes.validate()).expect("sound");
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        self.index.memory.drain(&self.magazine);
        self.index.drain(&self.nodes);
    }
}

impl Worker<'_> {
    fn with<R>(&self, run: impl FnOnce(&Index, &Cx<'_>) -> R) -> R {
        let guard = self.handle.pin();
        run(self.index, &Cx { guard: &guard, magazine: &self.magazine, nodes: &self.nodes })
    }

    /// Lets the epoch pass until what this thread and those that are gone have retired is free.
    fn quiesce(&self) {
        (0..64).for_each(|_| self.handle.pin().flush());
    }

    /// Whether it is new, and the node.
    fn create(&self, text: &str, kind: Kind, parents: bool) -> Result<(bool, NodeId), IndexError> {
        let init = NodeInit { content: 7, ..NodeInit::default() };
        // Files at once, as the floor above makes them, and the long way, in turns.
        let at_once = self.at_once.replace(!self.at_once.get()) && kind == Kind::File;
        self.with(|index, cx| {
            if at_once
                && let Some(vacancy) = index.vacancy(text, index.spelled(text), cx.guard)
                && let Some(bound) = index.occupy(&vacancy, &init, cx)?
            {
                return Ok((true, bound.id));
            }
            index.create(&path(text), kind, parents, &init, cx).map(|created| match created {
                Created::New(bound) => (true, bound.id),
                Created::Exists(bound) => (false, bound.id),
            })
        })
    }

    /// A file with its parents, as a write makes it.
    fn put(&self, text: &str) -> NodeId {
        self.create(text, Kind::File, true).expect("room").1
    }

    fn mkdir(&self, text: &str) -> NodeId {
        self.create(text, Kind::Directory, true).expect("room").1
    }

    fn lookup(&self, text: &str) -> Result<(NodeId, Kind), IndexError> {
        self.with(|index, cx| index.lookup(text, cx.guard).map(|bound| (bound.id, bound.kind())))
    }

    /// As the floor above does it: the name's reference is given up, and the node with the last.
    fn remove_file(&self, text: &str) -> Result<NodeId, IndexError> {
        self.with(|index, cx| {
            index.remove_file(text, cx).inspect(|&id| {
                if index.release(id) {
                    index.retire(id, cx);
                }
            })
        })
    }

    fn remove_dir(&self, text: &str) -> Result<(), IndexError> {
        self.with(|index, cx| index.remove_dir(&path(text), cx))
    }

    fn rename(&self, from: &str, to: &str) -> Result<Option<NodeId>, IndexError> {
        self.with(|index, cx| {
            let replaced = index.rename(&path(from), &path(to), cx)?;
            if let Some(id) = replaced
                && index.release(id)
            {
                index.retire(id, cx);
            }
            Ok(replaced)
        })
    }

    fn children(&self, text: &str) -> Vec<(String, NodeId, Kind)> {
        self.with(|index, cx| {
            let bound = index.lookup(text, cx.guard).expect("a directory");
            index.children(&bound, cx.guard)
        })
    }

    fn names(&self, text: &str) -> Vec<String> {
        self.children(text).into_iter().map(|(name, ..)| name).collect()
    }

    fn path_of(&self, id: NodeId) -> Option<String> {
        self.with(|index, cx| index.path_of(id, cx.guard))
    }
}
