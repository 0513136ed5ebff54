//! Rebuilding a tree of names from a store's records, nodes under the numbers they had.
//!
//! Directories first, without names; then names, in any order; then what was not used is free again. Whatever does not fit
//! (a name twice, a parent that is none, a circle) is said, not assumed: the records come from a disk.

use super::{
    Cx, Index, Kind, NodeInit,
    children::{Body, free_slot},
    dentry::DentryRef,
    error::{IndexError, Result},
    node::NodeId,
    word::{self, Target},
};
use crate::sync::Ordering;
use std::cell::{Cell, RefCell};

/// A load under way.
pub(crate) struct Loading<'i> {
    index: &'i Index,
    /// Numbers below this were claimed.
    bound: Cell<u32>,
    /// A bit for each number: whether it is a node's by now.
    used: RefCell<Vec<u64>>,
    /// Names that are registered and not in the table yet, with their keys: the addresses of their dentries.
    names: RefCell<Vec<(u32, u64)>>,
    /// Bytes charged for those, if there was room: a store that fits is not refused for what goes again.
    charged: Cell<u64>,
}

/// Numbers are claimed in steps of at least so many.
const STEP: u32 = if cfg!(memfs_loom) { 4 } else { 64 };

fn wrong<T>(reason: &'static str) -> Result<T> {
    Err(IndexError::Invalid { path: String::new(), reason })
}

impl Index {
    /// Begins a load into an index of nothing but its root.
    pub(crate) fn load(&self) -> Loading<'_> {
        // Numbers 0 and 1 are nobody's and the root's, from the beginning.
        Loading {
            index: self,
            bound: Cell::new(0),
            used: RefCell::new(vec![0b11]),
            names: RefCell::default(),
            charged: Cell::new(0),
        }
    }
}

impl<'i> Loading<'i> {
    fn take(&self, id: NodeId) -> Result<()> {
        if self.is_used(id) {
            return wrong("two nodes have one number");
        }
        self.reach(id)?;
        self.used.borrow_mut()[(id.get() / 64) as usize] |= 1 << (id.get() % 64);
        Ok(())
    }

    /// Claims the numbers up to this one.
    fn reach(&self, id: NodeId) -> Result<()> {
        if id.get() < self.bound.get() {
            return Ok(());
        }
        let bound = id.get().saturating_add(STEP.max(self.bound.get() / 16));
        let missing = u64::from(bound - self.bound.get()) * size_of::<super::Node>() as u64;
        if bound == u32::MAX || !self.index.nodes.claim_below(bound) {
            return Err(IndexError::Memory(missing));
        }
        self.bound.set(bound);
        self.used.borrow_mut().resize((bound as usize).div_ceil(64), 0);
        Ok(())
    }

    fn is_used(&self, id: NodeId) -> bool {
        let used = self.used.borrow();
        used.get((id.get() / 64) as usize).is_some_and(|word| word & 1 << (id.get() % 64) != 0)
    }

    /// A directory, which has no name yet.
    pub(crate) fn directory(&self, id: NodeId, init: &NodeInit<'_>, cx: &Cx<'_>) -> Result<()> {
        self.take(id)?;
        let body = Body::alloc(&self.index.memory, cx.magazine)?;
        let content = body.as_ptr().expose_provenance() as u64;
        self.index.slot(id).initialise(Kind::Directory, &NodeInit { content, ..*init });
        Ok(())
    }

    /// A file, with its name. It is the caller's to give up its content if this fails.
    pub(crate) fn file(
        &self,
        id: NodeId,
        parent: NodeId,
        name: &str,
        init: &NodeInit<'_>,
        cx: &Cx<'_>,
    ) -> Result<()> {
        self.take(id)?;
        self.index.slot(id).initialise(Kind::File, init);
        self.name(Target { id, kind: Kind::File }, parent, name, cx)
    }

    /// A directory's name.
    pub(crate) fn name_directory(&self, id: NodeId, parent: NodeId, name: &str, cx: &Cx<'_>) -> Result<()> {
        self.name(Target { id, kind: Kind::Directory }, parent, name, cx)
    }

    fn name(&self, target: Target, parent: NodeId, name: &str, cx: &Cx<'_>) -> Result<()> {
        let index = self.index;
        let is_name = !name.is_empty() && name != "." && name != ".." && name.len() <= 255;
        // To the end in any case: many bytes at once.
        if !is_name || name.bytes().fold(false, |found, byte| found | matches!(byte, 0 | b'/')) {
            return wrong("a name that cannot be one");
        }
        if !self.is_used(parent) || !index.slot(parent).is_directory_slot() {
            return wrong("a name in what is no directory");
        }
        let key = index.key(parent, name);
        let dentry = DentryRef::alloc(&index.memory, cx.magazine, key, word::bound(target))?;
        let body = index.body(Target { id: parent, kind: Kind::Directory }, cx.guard);
        let open = index.register(dentry, body, cx)?;
        debug_assert!(open, "no directory is removed while a store is loaded");
        self.remember(key.list_key, dentry);
        // Release: the dentry is filled.
        index.slot(target.id).dentry.store(dentry.address(), Ordering::Release);
        index.slot(target.id).set_live(target.kind);
        index.count_up(target, cx);
        Ok(())
    }

    /// Ends the load: every directory leads up to the root, and numbers of no node can be had again.
    pub(crate) fn finish(self, cx: &Cx<'_>) -> Result<()> {
        let twins = self.tabulate();
        for twin in &twins {
            if let Some(target) = twin.target() {
                self.index.slot(target.id).unname(Ordering::Release);
            }
            free_slot(twin.slot(), &self.index.memory, cx.guard);
            // SAFETY: never in the table, so its hold is ours; no longer in a slot.
            unsafe { twin.unhold(&self.index.memory, cx.guard) };
        }
        if !twins.is_empty() {
            return wrong("two nodes have one name");
        }
        let bound = self.bound.get();
        let mut rooted: Vec<u64> = vec![0; self.used.borrow().len()];
        rooted[0] = 1 << NodeId::ROOT.get();
        let mut way = Vec::new();
        for id in (2..bound).map(NodeId::new) {
            if !self.is_used(id) || !self.index.slot(id).is_directory_slot() {
                continue;
            }
            let mut at = id;
            while rooted[(at.get() / 64) as usize] & 1 << (at.get() % 64) == 0 {
                way.push(at);
                let Some(dentry) = self.index.dentry_of(self.index.slot(at), cx.guard) else {
                    return wrong("a directory without a name");
                };
                at = dentry.parent();
                if way.len() > bound as usize {
                    return wrong("directories in a circle");
                }
            }
            for at in way.drain(..) {
                rooted[(at.get() / 64) as usize] |= 1 << (at.get() % 64);
            }
        }
        for id in (2..bound).map(NodeId::new).filter(|id| !self.is_used(*id)) {
            // SAFETY: claimed in `load`, and nobody's.
            unsafe { self.index.nodes.free(id.get()) };
        }
        Ok(())
    }

    fn remember(&self, key: u32, dentry: DentryRef<'_>) {
        let mut names = self.names.borrow_mut();
        if names.len() == names.capacity() {
            let more = names.len().max(STEP as usize);
            let bytes = (more * size_of::<(u32, u64)>()) as u64;
            if self.index.memory.budget().try_charge(bytes) {
                self.charged.set(self.charged.get() + bytes);
            }
            names.reserve_exact(more);
        }
        names.push((key, dentry.address()));
    }

    /// Puts the names into the table; those that were there already are handed back.
    fn tabulate(&self) -> Vec<DentryRef<'i>> {
        let names = std::mem::take(&mut *self.names.borrow_mut());
        // SAFETY: made by this load, and nobody else knows the index yet: not retired for as long as it is borrowed.
        let met = names.into_iter().map(|(key, address)| (key, unsafe { DentryRef::from_address(address) }));
        self.index.table.fill(met.collect())
    }
}

/// A load that failed leaves what it has made to the index, which is given up, names that are there twice and all.
impl Drop for Loading<'_> {
    fn drop(&mut self) {
        if !self.names.borrow().is_empty() {
            self.tabulate();
        }
        self.index.memory.budget().refund(self.charged.get());
    }
}
