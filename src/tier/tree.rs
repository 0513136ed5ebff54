//! The chunks of a long file: a radix tree of content words, 64 to a leaf, copied along the path of each change, so that a
//! change costs what it touches and not what the file holds, and a hole costs nothing.
//!
//! ```text
//! Tree { len, height, root }          immutable once published
//!    └─ Branch [64]                   immutable once published
//!         └─ Leaf [64 slots]          each slot a content word that swap-out and swap-in exchange
//! ```
//!
//! # Invariants
//! 1. A leaf's slots change by compare-and-swap only, and never once they are frozen.
//! 2. A leaf is copied only after all its slots are frozen. So a copy is exact, and what a published tree owns (blocks,
//!    extents, shared leaves) has one owner: the newest tree that holds it.
//! 3. A frozen leaf in a live tree means that somebody is replacing it or gave up, or has just locked the file (`locked`): whoever
//!    needs it unfrozen replaces it by an identical copy (`rebuild` without changes). Nobody waits.
//! 4. Chunk `i` holds the bytes from `i * chunk`; a slot with fewer bytes than its chunk reads as zeros beyond them.

use super::word::Word;
use crate::{
    arena::{Arena, Magazine},
    sync::{AtomicU64, Ordering::*},
};
use std::{ops::Range, ptr::NonNull};

const FAN_BITS: u32 = if cfg!(memfs_loom) { 1 } else { 6 };
pub(crate) const FAN: usize = 1 << FAN_BITS;

/// The longest file, as on POSIX systems: offsets are signed there.
pub(crate) const MAX_LEN: u64 = i64::MAX as u64;

pub(crate) struct Tree {
    len: u64,
    height: u32,
    root: *const Node,
}

/// A leaf or a branch; which of them, its depth says.
union Node {
    slots: std::mem::ManuallyDrop<[AtomicU64; FAN]>,
    kids: [*const Node; FAN],
}

const _: () = assert!(!std::mem::needs_drop::<AtomicU64>() || cfg!(memfs_loom));

/// How many chunks a node of this height spans.
fn span(height: u32) -> u64 {
    1u64.checked_shl(FAN_BITS * (height + 1)).unwrap_or(u64::MAX)
}

/// The height at which `chunks` fit.
fn height_for(chunks: u64) -> u32 {
    let mut height = 0;
    while span(height) < chunks {
        height += 1;
    }
    height
}

impl Tree {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The slot of `chunk`; none in a hole or past the end.
    pub(crate) fn slot(&self, chunk: u64) -> Option<&AtomicU64> {
        if chunk >= span(self.height) {
            return None;
        }
        let mut node = self.root;
        #[cfg(memfs_loom)]
        crate::model::touch(std::ptr::from_ref(self).addr());
        for height in (1..=self.height).rev() {
            // SAFETY: a published branch is immutable and lives as long as its tree (invariant 2, epoch).
            let kids = unsafe { &node.as_ref()?.kids };
            node = kids[(chunk >> (FAN_BITS * height)) as usize % FAN];
        }
        #[cfg(memfs_loom)]
        crate::model::touch(node.addr());
        // SAFETY: at height zero a node is a leaf, alive as above.
        let slots = unsafe { &node.as_ref()?.slots };
        Some(&slots[chunk as usize % FAN])
    }

    /// Visits the slots of `chunks` that exist, in order, until `visit` says stop; holes of any size cost nothing.
    pub(crate) fn visit<'t>(&'t self, chunks: Range<u64>, mut visit: impl FnMut(u64, &'t AtomicU64) -> bool) {
        Self::visit_node(self.root, self.height, 0, &chunks, &mut visit);
    }

    fn visit_node<'t>(
        node: *const Node,
        height: u32,
        base: u64,
        chunks: &Range<u64>,
        visit: &mut impl FnMut(u64, &'t AtomicU64) -> bool,
    ) -> bool {
        #[cfg(memfs_loom)]
        crate::model::touch(node.addr());
        // SAFETY: as in `slot`.
        let Some(node) = (unsafe { node.as_ref::<'t>() }) else { return true };
        let step = if height == 0 { 1 } else { span(height - 1) };
        for index in 0..FAN {
            let from = base.saturating_add(step.saturating_mul(index as u64));
            if from >= chunks.end {
                break;
            }
            if from.saturating_add(step) <= chunks.start {
                continue;
            }
            // SAFETY: the height tells which of the two it is.
            let go_on = unsafe {
                if height == 0 {
                    visit(from, &node.slots[index])
                } else {
                    Self::visit_node(node.kids[index], height - 1, from, chunks, visit)
                }
            };
            if !go_on {
                return false;
            }
        }
        true
    }

    /// Makes every exchange of a slot fail that was prepared before now: leaves that are changed or thawed are others.
    pub(crate) fn freeze(&self) {
        self.visit(0..u64::MAX, |_, slot| {
            // AcqRel: as in the copy of a leaf.
            slot.fetch_or(Word::FREEZE, AcqRel);
            true
        });
    }

    /// # Safety
    /// `tree` was taken from a content word under the guard that is still held, or is owned by the caller.
    pub(crate) unsafe fn deref<'g>(tree: *const Tree) -> &'g Tree {
        #[cfg(memfs_loom)]
        crate::model::touch(tree.addr());
        // SAFETY: the caller.
        unsafe { &*tree }
    }
}

/// Memory for the nodes of trees.
pub(crate) struct TreeMemory<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) magazine: &'a Magazine,
}

/// A piece of a tree's own memory.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    ptr: NonNull<u8>,
    size_bytes: usize,
}

impl Piece {
    /// # Safety
    /// Allocated by `rebuild` from this arena; unreachable, and not freed before.
    pub(crate) unsafe fn free(self, arena: &Arena) {
        // SAFETY: the caller.
        unsafe { arena.free_raw(self.ptr, self.size_bytes) };
    }

    pub(crate) fn size_bytes(self) -> u64 {
        self.size_bytes as u64
    }
}

/// A new tree, not yet published, and what it leaves behind once it is.
pub(crate) struct Rebuilt {
    pub(crate) tree: *const Tree,
    /// Words of the old tree that the new one has not: to be retired after publication.
    pub(crate) replaced: Vec<Word>,
    /// Memory of the old tree that the new one does not share: to be freed after publication and grace.
    pub(crate) old: Vec<Piece>,
    /// Subtrees that truncation cut off: still changing, to be taken apart after publication.
    cut: Vec<(*const Node, u32)>,
    /// Memory of the new tree's own: to be freed if it is not published.
    fresh: Vec<Piece>,
}

// SAFETY: the pointers are to memory of the arena, governed by the epoch; nothing in it is bound to a thread.
unsafe impl Send for Rebuilt {}

/// No memory for a node of this many bytes.
#[derive(Debug)]
pub(crate) struct NoMemory(pub(crate) u64);

struct Builder<'a> {
    memory: &'a TreeMemory<'a>,
    /// Chunks at and beyond this are cut off.
    keep_chunks: u64,
    out: Rebuilt,
}

/// Makes a tree of `len` bytes in chunks of `1 << chunk_shift` out of `old` and `changes` (ascending). Freezes the leaves
/// of `old` that it copies. On failure nothing is left but frozen leaves (invariant 3).
pub(crate) fn rebuild(
    memory: &TreeMemory<'_>,
    old: Option<&Tree>,
    changes: &[(u64, Word)],
    len: u64,
    chunk_shift: u32,
) -> Result<Rebuilt, NoMemory> {
    debug_assert!(changes.is_sorted_by_key(|(chunk, _)| *chunk));
    let keep_chunks = len.div_ceil(1 << chunk_shift);
    debug_assert!(changes.last().is_none_or(|(chunk, _)| *chunk < keep_chunks));
    let height = height_for(keep_chunks.max(1)).max(old.map_or(0, |old| old.height));
    let out = Rebuilt {
        tree: std::ptr::null(),
        replaced: Vec::new(),
        old: Vec::new(),
        cut: Vec::new(),
        fresh: Vec::new(),
    };
    let mut builder = Builder { memory, keep_chunks, out };
    let made = builder.root(old, height, changes).and_then(|root| {
        let tree = builder.fresh::<Tree>()?;
        // SAFETY: fresh memory of that size and alignment (16), owned by the builder.
        unsafe { tree.cast::<Tree>().write(Tree { len, height, root }) };
        Ok(tree.as_ptr().cast_const().cast())
    });
    match made {
        Ok(tree) => {
            builder.out.tree = tree;
            if let Some(old) = old {
                builder.out.old.push(piece_of(old));
            }
            Ok(builder.out)
        }
        Err(no_memory) => {
            // SAFETY: fresh pieces were shared with nobody.
            unsafe { builder.out.discard(memory.arena) };
            Err(no_memory)
        }
    }
}

fn piece_of<T>(node: &T) -> Piece {
    Piece { ptr: NonNull::from(node).cast(), size_bytes: size_of::<T>() }
}

impl Builder<'_> {
    fn fresh<T>(&mut self) -> Result<NonNull<u8>, NoMemory> {
        let size_bytes = size_of::<T>();
        let ptr = self
            .memory
            .arena
            .alloc_raw(self.memory.magazine, size_bytes)
            .ok_or(NoMemory(size_bytes as u64))?;
        self.out.fresh.push(Piece { ptr, size_bytes });
        Ok(ptr)
    }

    /// The root at `height`, over an old tree that may be lower.
    fn root(
        &mut self,
        old: Option<&Tree>,
        height: u32,
        changes: &[(u64, Word)],
    ) -> Result<*const Node, NoMemory> {
        let Some(old) = old else { return self.node(std::ptr::null(), height, 0, changes) };
        self.raised(old.root, old.height, height, changes)
    }

    /// A node of `height` whose first descendant at `old_height` is the old root.
    fn raised(
        &mut self,
        old_root: *const Node,
        old_height: u32,
        height: u32,
        changes: &[(u64, Word)],
    ) -> Result<*const Node, NoMemory> {
        if height == old_height {
            return self.node(old_root, height, 0, changes);
        }
        let below = span(height - 1);
        let split = changes.partition_point(|(chunk, _)| *chunk < below);
        let first = self.raised(old_root, old_height, height - 1, &changes[..split])?;
        let mut kids = [std::ptr::null(); FAN];
        kids[0] = first;
        self.branch(kids, height, 0, &changes[split..], 1)
    }

    /// A branch from `kids`, those from `from` on rebuilt with `changes`.
    fn branch(
        &mut self,
        mut kids: [*const Node; FAN],
        height: u32,
        base: u64,
        mut changes: &[(u64, Word)],
        from: usize,
    ) -> Result<*const Node, NoMemory> {
        let step = span(height - 1);
        for (index, kid) in kids.iter_mut().enumerate().skip(from) {
            let start = base.saturating_add(step.saturating_mul(index as u64));
            let split = changes.partition_point(|(chunk, _)| *chunk < start.saturating_add(step));
            *kid = self.node(*kid, height - 1, start, &changes[..split])?;
            changes = &changes[split..];
        }
        let branch = self.fresh::<Node>()?;
        // SAFETY: fresh memory of a node's size, owned by the builder.
        unsafe { branch.cast::<Node>().write(Node { kids }) };
        Ok(branch.as_ptr().cast_const().cast())
    }

    /// The node that replaces `old`, spanning chunks from `base`: itself where nothing changes.
    fn node(
        &mut self,
        old: *const Node,
        height: u32,
        base: u64,
        changes: &[(u64, Word)],
    ) -> Result<*const Node, NoMemory> {
        if base >= self.keep_chunks && base > 0 {
            if !old.is_null() {
                self.out.cut.push((old, height));
            }
            return Ok(std::ptr::null());
        }
        // SAFETY: reachable from the old tree, which the caller holds under its guard.
        let old_node = unsafe { old.as_ref() };
        let whole = base.saturating_add(span(height)) <= self.keep_chunks;
        let frozen = height == 0 && old_node.is_some_and(is_frozen);
        if changes.is_empty() && (old.is_null() || whole || height == 0 && self.fits(old, base)) && !frozen {
            // A branch is shared whole, too, unless a leaf below is frozen: that leaf is mended when it is next changed.
            return Ok(old);
        }
        if let Some(old_node) = old_node {
            self.out.old.push(piece_of(old_node));
        }
        if height > 0 {
            // SAFETY: height above zero: a branch.
            let kids = old_node.map_or([std::ptr::null(); FAN], |node| unsafe { node.kids });
            return self.branch(kids, height, base, changes, 0);
        }
        self.leaf(old_node, base, changes)
    }

    /// Whether the leaf has nothing beyond what is kept.
    fn fits(&self, leaf: *const Node, base: u64) -> bool {
        // SAFETY: a leaf (height zero), alive as in `node`.
        let slots = unsafe { &(*leaf).slots };
        (0..FAN).all(|i| {
            base + (i as u64) < self.keep_chunks
                || Word::from_bits(slots[i].load(Relaxed)).value() == Word::EMPTY
        })
    }

    fn leaf(
        &mut self,
        old: Option<&Node>,
        base: u64,
        changes: &[(u64, Word)],
    ) -> Result<*const Node, NoMemory> {
        let leaf = self.fresh::<Node>()?;
        let mut words = old.map_or([Word::EMPTY; FAN], freeze);
        for (index, word) in words.iter_mut().enumerate() {
            if base + index as u64 >= self.keep_chunks && *word != Word::EMPTY {
                self.out.replaced.push(std::mem::replace(word, Word::EMPTY));
            }
        }
        for (chunk, new) in changes {
            let replaced = std::mem::replace(&mut words[(chunk - base) as usize], new.value());
            self.out.replaced.push(replaced);
        }
        let slots = words.map(|word| AtomicU64::new(word.bits()));
        // SAFETY: fresh memory of a node's size, owned by the builder.
        unsafe { leaf.cast::<Node>().write(Node { slots: std::mem::ManuallyDrop::new(slots) }) };
        Ok(leaf.as_ptr().cast_const().cast())
    }
}

fn is_frozen(leaf: &Node) -> bool {
    // SAFETY: called on leaves only.
    let slots = unsafe { &leaf.slots };
    Word::from_bits(slots[0].load(Relaxed)).is_frozen()
}

/// Freezes a leaf for good and returns what is in it.
fn freeze(leaf: &Node) -> [Word; FAN] {
    // SAFETY: called on leaves only.
    let slots = unsafe { &leaf.slots };
    // AcqRel: Acquire to see the block a swap-in put there; Release pairs with the Acquire of who finds the slot frozen.
    std::array::from_fn(|i| Word::from_bits(slots[i].fetch_or(Word::FREEZE, AcqRel)).value())
}

impl Rebuilt {
    /// Takes apart what truncation cut off; to be called once, after publication.
    pub(crate) fn take_cut_apart(&mut self) {
        for (node, height) in std::mem::take(&mut self.cut) {
            // SAFETY: cut off from the published tree; alive until the caller's guard is dropped.
            unsafe { dismantle(node, height, &mut self.replaced, &mut self.old) };
        }
    }

    /// Frees the new tree's own memory.
    ///
    /// # Safety
    /// The tree was not published.
    pub(crate) unsafe fn discard(&mut self, arena: &Arena) {
        for piece in self.fresh.drain(..) {
            // SAFETY: made by this builder from this arena, shared with nobody (caller).
            unsafe { piece.free(arena) };
        }
    }
}

/// Freezes every leaf below `node` and collects the words and the memory.
///
/// # Safety
/// `node` (of `height`) is reachable from a tree the caller holds under a guard, or is owned; no tree will be published that
/// shares it.
unsafe fn dismantle(node: *const Node, height: u32, words: &mut Vec<Word>, pieces: &mut Vec<Piece>) {
    // SAFETY: alive (caller).
    let Some(node) = (unsafe { node.as_ref() }) else { return };
    if height == 0 {
        words.extend(freeze(node).into_iter().filter(|word| *word != Word::EMPTY));
    } else {
        // SAFETY: height above zero: a branch.
        for kid in unsafe { node.kids } {
            // SAFETY: reachable from `node`.
            unsafe { dismantle(kid, height - 1, words, pieces) };
        }
    }
    pieces.push(piece_of(node));
}

impl Tree {
    /// Freezes a tree that no node points to any more, and collects its words and its memory.
    ///
    /// # Safety
    /// Unlinked by the caller, who still holds the guard under which it did, or owned by the caller.
    pub(crate) unsafe fn take_apart(tree: *const Tree) -> (Vec<Word>, Vec<Piece>) {
        let (mut words, mut pieces) = (Vec::new(), Vec::new());
        // SAFETY: the caller.
        unsafe {
            let tree = &*tree;
            dismantle(tree.root, tree.height, &mut words, &mut pieces);
            pieces.push(piece_of(tree));
        }
        (words, pieces)
    }
}
