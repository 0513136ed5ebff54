//! The node: one cache line that stands for a file or a directory, whatever it is called.
//!
//! Owns the layout and who may write what. The index reads a file's content word never and writes it in one way: it adds to
//! the *binding count*, the top six bits, when a name is about to leave the file (see [`Node::bump_binding`]).
//!
//! # Invariants
//! 1. `dentry` is 0 (not set yet), [`GONE`], or the address of a dentry that is not yet retired. It changes 0 → dentry,
//!    dentry → dentry of the new name, anything → GONE; never back.
//! 2. A slot is given back through the epoch: under one pin an id means one node.

use crate::{
    map::Zeroable,
    sync::{AtomicU32, AtomicU64, Ordering},
};

/// Number of a node. 0 stands for none, 1 is the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub(crate) struct NodeId(u32);

impl NodeId {
    pub(crate) const NONE: NodeId = NodeId(0);
    pub(crate) const ROOT: NodeId = NodeId(1);

    #[inline]
    pub(crate) const fn new(id: u32) -> Self {
        Self(id)
    }

    #[inline]
    pub(crate) const fn get(self) -> u32 {
        self.0
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    File,
    Directory,
}

/// Where the binding count begins in a file's content word.
pub(crate) const BINDING_SHIFT: u32 = 58;
/// The part of a file's content word that belongs to the floor above.
pub(crate) const CONTENT_MASK: u64 = (1 << BINDING_SHIFT) - 1;

/// `Node::dentry` of a node that has lost its last name.
pub(super) const GONE: u64 = 1;

const FILE: u32 = 1;
const DIRECTORY: u32 = 2;
const KIND_MASK: u32 = 3;
/// The node was linked; set after that, cleared when it is retired.
const LIVE: u32 = 4;

/// One slot of the node slab.
#[repr(C, align(64))]
pub(crate) struct Node {
    /// A file's content: the top six bits are the index's binding count, the rest is opaque to it.
    /// A directory's is the address of its body.
    pub(crate) content: AtomicU64,
    pub(super) dentry: AtomicU64,
    /// Nanoseconds since 1970.
    pub(crate) created: AtomicU64,
    /// Nanoseconds since 1970.
    pub(crate) modified: AtomicU64,
    pub(crate) heat: AtomicU64,
    pub(crate) reads: AtomicU32,
    pub(crate) age: AtomicU32,
    pub(crate) accessed: AtomicU32,
    /// The name counts one, every open handle one.
    refs: AtomicU32,
    state: AtomicU32,
    /// The scorer's era in which the file was seen to be counted as high as it can be.
    pub(crate) hottest: AtomicU32,
}

#[cfg(not(memfs_loom))]
const _: () = assert!(size_of::<Node>() == 64);

/// What the floor above puts into a new node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NodeInit<'n> {
    pub(crate) content: u64,
    pub(crate) heat: u64,
    pub(crate) reads: u32,
    pub(crate) age: u32,
    pub(crate) accessed: u32,
    pub(crate) created: u64,
    pub(crate) modified: u64,
    /// What the order of changes is told with a file's creation, if one is kept.
    pub(crate) note: &'n [u64],
}

impl Node {
    /// Makes the slot a node of `kind` with one reference. Relaxed stores: the compare-and-swap that binds the node to its
    /// name publishes them (Release there, Acquire in every look-up).
    pub(super) fn initialise(&self, kind: Kind, init: &NodeInit<'_>) {
        debug_assert_eq!(self.state.load(Ordering::Relaxed), 0, "the slot was free");
        let file = kind == Kind::File;
        self.content.store(if file { init.content & CONTENT_MASK } else { init.content }, Ordering::Relaxed);
        // Release: a reader that meets the id in the path cache must not see the former node's dentry after this one's.
        self.dentry.store(0, Ordering::Release);
        self.created.store(init.created, Ordering::Relaxed);
        self.modified.store(init.modified, Ordering::Relaxed);
        self.heat.store(init.heat, Ordering::Relaxed);
        self.reads.store(init.reads, Ordering::Relaxed);
        self.age.store(init.age, Ordering::Relaxed);
        self.accessed.store(init.accessed, Ordering::Relaxed);
        self.refs.store(1, Ordering::Relaxed);
        self.hottest.store(0, Ordering::Relaxed);
        self.state.store(if file { FILE } else { DIRECTORY }, Ordering::Release);
    }

    /// No name leads to the node any more.
    ///
    /// Under the model checker a swap, here and in `clear`: loom lets another thread's compare-and-swap come after a plain
    /// store without having read it, and would show a pointer that was set again, which no machine does.
    pub(super) fn unname(&self, order: Ordering) {
        #[cfg(not(memfs_loom))]
        self.dentry.store(GONE, order);
        #[cfg(memfs_loom)]
        self.dentry.swap(GONE, order);
    }

    /// The slot is free again, or will be after the epoch.
    pub(super) fn clear(&self) {
        self.unname(Ordering::Release);
        #[cfg(not(memfs_loom))]
        self.state.store(0, Ordering::Release);
        #[cfg(memfs_loom)]
        self.state.swap(0, Ordering::Release);
    }

    /// The node has its name: the eviction hand may find it. Fails, rightly, if it has been retired meanwhile.
    pub(super) fn set_live(&self, kind: Kind) {
        let fresh = if kind == Kind::File { FILE } else { DIRECTORY };
        // AcqRel: pairs with the Acquire in `live_kind`; the loser has nothing to publish.
        let _ = self.state.compare_exchange(fresh, fresh | LIVE, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// What the node is, if it has or had a name and is not retired.
    pub(crate) fn live_kind(&self) -> Option<Kind> {
        let state = self.state.load(Ordering::Acquire);
        (state & LIVE != 0).then_some(if state & KIND_MASK == FILE { Kind::File } else { Kind::Directory })
    }

    /// Whether the content word is a file's: true from before its name leads to it until it is retired.
    pub(crate) fn is_file(&self) -> bool {
        self.state.load(Ordering::Acquire) & KIND_MASK == FILE
    }

    pub(super) fn is_directory_slot(&self) -> bool {
        self.state.load(Ordering::Acquire) & KIND_MASK == DIRECTORY
    }

    /// Makes every compare-and-swap on the content word fail that was prepared before now. Wraps harmlessly.
    ///
    /// Release: a writer that loads (Acquire) the word after this also sees the name marked, which was done before.
    pub(super) fn bump_binding(&self) {
        self.content.fetch_add(1 << BINDING_SHIFT, Ordering::AcqRel);
    }

    /// The same for the floor above, which has set a priority: whoever loads (Acquire) the word after this sees that, too.
    pub(crate) fn disturb(&self) {
        self.bump_binding();
    }

    /// Notes when the content was changed, unless a later change has been noted by one who was faster.
    #[inline]
    pub(crate) fn note_modified(&self, now: u64) {
        // Relaxed: a time orders nothing. Two that come at once may still leave the earlier one, by as much as they are apart.
        if self.modified.load(Ordering::Relaxed) < now {
            self.modified.store(now, Ordering::Relaxed);
        }
    }

    /// One more reference, unless the last is gone.
    pub(super) fn acquire(&self) -> bool {
        let mut refs = self.refs.load(Ordering::Relaxed);
        while refs != 0 {
            // Acquire: whoever holds the node sees it initialised. Relaxed on failure: the value is only compared again.
            match self.refs.compare_exchange_weak(refs, refs + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => refs = now,
            }
        }
        false
    }

    /// One reference less; whether it was the last.
    pub(super) fn release(&self) -> bool {
        // AcqRel: what any holder did happens before what the last one does next.
        let before = self.refs.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "a reference was released twice");
        before == 1
    }

    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(super) fn refs(&self) -> u32 {
        self.refs.load(Ordering::Relaxed)
    }
}

// SAFETY: nothing but integer atomics, for which zero is a value: a free slot.
unsafe impl Zeroable for Node {
    #[cfg(memfs_loom)]
    fn zeroed() -> Self {
        Self {
            content: AtomicU64::new(0),
            dentry: AtomicU64::new(0),
            created: AtomicU64::new(0),
            modified: AtomicU64::new(0),
            heat: AtomicU64::new(0),
            reads: AtomicU32::new(0),
            age: AtomicU32::new(0),
            accessed: AtomicU32::new(0),
            refs: AtomicU32::new(0),
            state: AtomicU32::new(0),
            hottest: AtomicU32::new(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Box<Node> {
        // SAFETY: `Zeroable`.
        unsafe { Box::new(std::mem::zeroed()) }
    }

    #[test]
    fn the_binding_count_leaves_the_content_alone_and_wraps() {
        let node = slot();
        node.initialise(Kind::File, &NodeInit { content: CONTENT_MASK, ..NodeInit::default() });
        for bumps in 1..=200_u64 {
            node.bump_binding();
            let word = node.content.load(Ordering::Relaxed);
            assert_eq!((word & CONTENT_MASK, word >> BINDING_SHIFT), (CONTENT_MASK, bumps % 64));
        }
    }

    #[test]
    fn no_reference_can_be_had_after_the_last_is_gone() {
        let node = slot();
        node.initialise(Kind::File, &NodeInit::default());
        assert!(node.acquire());
        assert!(!node.release());
        assert!(node.release());
        assert!(!node.acquire());
    }

    #[test]
    fn a_node_retired_before_it_was_announced_stays_invisible() {
        let node = slot();
        node.initialise(Kind::File, &NodeInit::default());
        assert_eq!(node.live_kind(), None);
        node.clear();
        node.set_live(Kind::File);
        assert_eq!(node.live_kind(), None);
    }
}
