//! Names to nodes.
//!
//! Owns the tree of names: which directory has which entries, which node an entry stands for, how that changes, and what it
//! costs in memory. Knows nothing of bytes: a file's content is a word that it passes on.
//!
//! The protocol, its states and the argument for it: `docs/design/index.md`.
//!
//! # Invariants
//! 1. Truth is the dentry table: a name stands for a node if and only if its dentry's word says so. Path cache, children's
//!    slots and back pointers lead there and are checked against it.
//! 2. A name is bound only in a directory that has a name, or is the root, or has never been reachable yet: no orphans.
//! 3. Every operation takes effect at one instant: one compare-and-swap of a word, or of a descriptor's status.
//! 4. No thread waits for another: whatever is met half-way can be read as it is, and completed.

mod cache;
mod change;
mod chaos;
mod children;
mod create;
mod dentry;
mod descriptor;
mod error;
mod load;
mod lookup;
mod mcas;
mod memory;
#[cfg(memfs_loom)]
#[path = "../model/index.rs"]
pub mod model;
#[cfg(memfs_loom)]
#[path = "../model/hints.rs"]
pub mod model_hints;
mod moves;
mod node;
mod prefix;
mod remove;
mod rename;
mod table;
#[cfg(test)]
mod tests;
#[cfg(any(test, debug_assertions, feature = "validate"))]
mod validate;
mod word;

pub(crate) use change::NameChange;
pub(crate) use create::{Created, Vacancy};
pub(crate) use error::IndexError;
pub(crate) use load::Loading;
pub(crate) use lookup::{Bound, Glimpse, Settled};
#[cfg(test)]
pub(crate) use node::CONTENT_MASK;
pub(crate) use node::{BINDING_SHIFT, Kind, Node, NodeId, NodeInit};

use crate::{
    arena::{Arena, Magazine, Pool, PoolMagazine},
    epoch::Guard,
    map::prefetch,
    order::Order,
    sync::{Arc, Ordering},
};
use children::Body;
use error::Result;
use memory::{Memory, Striped, stripe_of};
use std::io;
use word::Target;

/// What an operation that changes the index may use: the calling thread's.
#[derive(Clone, Copy)]
pub(crate) struct Cx<'g> {
    pub(crate) guard: &'g Guard,
    pub(crate) magazine: &'g Magazine,
    pub(crate) nodes: &'g PoolMagazine,
}

/// The tree of names.
pub(crate) struct Index {
    moves: Arc<moves::Moves>,
    cache: cache::Cache,
    prefixes: prefix::Prefixes,
    table: table::Table,
    hasher: Hashing,
    files: Striped,
    directories: Striped,
    nodes: Arc<Pool<Node>>,
    memory: Arc<Memory>,
}

impl Index {
    /// An index of a root directory, for up to `capacity` nodes. With an `order`, every change of names takes its place in
    /// it before it can be seen.
    pub(crate) fn new(arena: Arc<Arena>, capacity: u32, order: Option<Arc<Order>>) -> io::Result<Self> {
        let memory = Arc::new(Memory::new(arena, order));
        let nodes = Arc::new(Pool::new(memory.budget().clone(), capacity, memory.has_huge_pages())?);
        let full = |_| io::Error::new(io::ErrorKind::OutOfMemory, "no room for an empty index");
        let index = Self {
            moves: Arc::new(moves::Moves::new()),
            cache: cache::Cache::new(memory.clone()).map_err(full)?,
            prefixes: prefix::Prefixes::new(memory.clone()).map_err(full)?,
            table: table::Table::new(memory.clone()).map_err(full)?,
            hasher: Hashing::default(),
            files: Striped::new(),
            directories: Striped::new(),
            nodes,
            memory,
        };
        index.make_root().map_err(full)?;
        Ok(index)
    }

    /// Takes slot 0, so that no node is called so, and slot 1 for the root.
    fn make_root(&self) -> Result<()> {
        let (magazine, nodes) = (Magazine::new(), PoolMagazine::new());
        let (mut surplus, mut wanted) = (Vec::new(), 2);
        while wanted > 0 {
            let id = self.nodes.alloc(&nodes).ok_or(IndexError::Memory(size_of::<Node>() as u64))?;
            if id <= NodeId::ROOT.get() { wanted -= 1 } else { surplus.push(id) }
        }
        for id in surplus {
            // SAFETY: taken above, never used.
            unsafe { self.nodes.free(id) };
        }
        let body = Body::alloc(&self.memory, &magazine)?;
        let content = body.as_ptr().expose_provenance() as u64;
        let root = self.slot(NodeId::ROOT);
        root.initialise(Kind::Directory, &NodeInit { content, ..NodeInit::default() });
        root.set_live(Kind::Directory);
        self.memory.drain(&magazine);
        self.nodes.drain(&nodes);
        Ok(())
    }

    /// The slot of an id, in use or not.
    #[inline]
    fn slot(&self, id: NodeId) -> &Node {
        self.nodes.get(id.get())
    }

    /// The body of a directory met under the guard.
    fn body<'g>(&'g self, directory: Target, _guard: &'g Guard) -> &'g Body {
        debug_assert!(directory.is_dir());
        let address = self.slot(directory.id).content.load(Ordering::Acquire);
        #[cfg(memfs_loom)]
        crate::model::touch(address as usize);
        // SAFETY: a directory's content is its body, set before it was bound, retired with the node; it was met under the
        // guard (callers), so neither is freed.
        unsafe { &*std::ptr::with_exposed_provenance(address as usize) }
    }

    /// Slots that may be in use: ids are below this.
    pub(crate) fn bound(&self) -> u32 {
        self.nodes.bound()
    }

    /// The node of an id that the caller has a reference to, or found under its guard: live or not. (A file is bound, and can
    /// be opened or removed, an instant before its creator has marked it live.)
    pub(crate) fn held(&self, id: NodeId) -> &Node {
        self.slot(id)
    }

    /// The node of an id, if it has or had a name and is not retired.
    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        if id == NodeId::NONE || id.get() >= self.bound() {
            return None;
        }
        Some(self.slot(id)).filter(|node| node.live_kind().is_some())
    }

    /// Starts to bring the slot of an id below the bound near.
    pub(crate) fn prefetch(&self, id: NodeId) {
        prefetch(self.slot(id));
    }

    /// Files that have a name. Exact when nothing changes.
    pub(crate) fn file_count(&self) -> u64 {
        self.files.sum()
    }

    /// Directories, the root not counted. Exact when nothing changes.
    pub(crate) fn dir_count(&self) -> u64 {
        self.directories.sum()
    }

    /// Files and directories, the root not counted.
    pub(crate) fn len(&self) -> u64 {
        self.file_count() + self.dir_count()
    }

    /// Bytes of the index itself, nodes included, as asked for from the arena.
    pub(crate) fn size_bytes(&self, guard: &Guard) -> u64 {
        let nodes = (self.len() + 1) * size_of::<Node>() as u64;
        nodes
            + self.memory.bytes()
            + self.table.size_bytes()
            + self.cache.size_bytes(guard)
            + self.prefixes.size_bytes(guard)
    }

    /// Gives up memory the index can do without; returns bytes that are free, or will be when the epoch has passed.
    pub(crate) fn trim(&self, want_bytes: u64, guard: &Guard) -> u64 {
        let freed = self.nodes.trim(want_bytes);
        if freed >= want_bytes { freed } else { freed + self.cache.shrink(self.len(), guard) }
    }

    /// Gives back what a thread's node magazine holds; at thread exit.
    pub(crate) fn drain(&self, nodes: &PoolMagazine) {
        self.nodes.drain(nodes);
    }

    /// One more reference to what was found, unless it is gone.
    pub(crate) fn acquire(&self, bound: &Bound<'_>) -> bool {
        bound.node.acquire()
    }

    /// One reference less. After the last (true) the caller frees the content and calls [`Index::retire`].
    pub(crate) fn release(&self, id: NodeId) -> bool {
        self.slot(id).release()
    }

    /// Gives the slot back after the epoch, and a directory's body with it. The caller had the last reference.
    pub(crate) fn retire(&self, id: NodeId, cx: &Cx<'_>) {
        let node = self.slot(id);
        let was_directory = node.is_directory_slot();
        if was_directory {
            self.retire_body(Target { id, kind: Kind::Directory }, cx.guard);
        }
        node.clear();
        let nodes: *const Pool<Node> = &*self.nodes;
        // SAFETY: pool and stamp are behind `Arc`s of the index, which outlives the collector (`epoch`, invariant 3). The slot
        // had its last reference released (caller), and no name leads to it: whoever pins later cannot come to rely on it.
        unsafe {
            if was_directory {
                let moves: *const moves::Moves = &*self.moves;
                cx.guard.defer_unchecked(move || {
                    // By now nobody takes it for the directory any more who has not noted so already (`prefix`).
                    (*moves).number_freed();
                    (*nodes).free(id.get());
                });
            } else {
                cx.guard.defer_unchecked(move || (*nodes).free(id.get()));
            }
        }
    }

    /// A removed directory's names that died unburied are taken out of the table, so that none is left when the id is used
    /// again; then no more are taken in.
    fn retire_body(&self, directory: Target, guard: &Guard) {
        let body = self.body(directory, guard);
        body.for_each(guard, |dentry| {
            if dentry.word.load(Ordering::SeqCst) == word::DEAD {
                self.table.bury(dentry, guard);
            }
            true
        });
        body.seal(&self.memory, guard);
        // SAFETY: the node's hold, given up with the node.
        unsafe { body.unhold(&self.memory, guard) };
    }

    fn counter(&self, kind: Kind) -> &Striped {
        match kind {
            Kind::File => &self.files,
            Kind::Directory => &self.directories,
        }
    }

    /// Counts a new name, and now and then looks whether table and cache should grow: when nodes of some numbers are bound. The
    /// lowest that are free come first, so it is looked as often as there come to be more, and seldom if files only come and go.
    fn count_up(&self, target: Target, cx: &Cx<'_>) {
        self.counter(target.kind).add(stripe_of(std::ptr::from_ref(cx.magazine).addr()), 1);
        if target.id.get().is_multiple_of(16) {
            let len = self.len();
            self.table.grow(len);
            self.cache.grow(len, cx.guard);
        }
    }

    fn count_down(&self, kind: Kind, cx: &Cx<'_>) {
        self.counter(kind).sub(stripe_of(std::ptr::from_ref(cx.magazine).addr()), 1);
    }
}

#[cfg(not(memfs_loom))]
type Hashing = foldhash::fast::RandomState;
/// The model checker wants every run to be the same.
#[cfg(memfs_loom)]
type Hashing = foldhash::fast::FixedState;

impl Drop for Index {
    fn drop(&mut self) {
        for id in 1..self.nodes.bound() {
            let node = self.slot(NodeId::new(id));
            if node.is_directory_slot() {
                let body = node.content.load(Ordering::Relaxed);
                // SAFETY: a directory's content is its body; nobody else is left, and what was retired has been freed, since
                // the collector was dropped before (`epoch`, invariant 3).
                unsafe { (*std::ptr::with_exposed_provenance::<Body>(body as usize)).free(&self.memory) };
            }
        }
    }
}
