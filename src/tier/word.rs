//! The content word: one atomic word says where a file's bytes are. See docs/design/content.md for its states and who may
//! move it from which to which.
//!
//! ```text
//!  63      58 57                                            2 1   0
//! ┌──────────┬───────────────────────────────────────────────┬─────┐
//! │ binding  │ payload: block, extent or address of a tree   │ tag │
//! └──────────┴───────────────────────────────────────────────┴─────┘
//! ```
//! In a node the top six bits are the binding count, which belongs to the index; in a slot of a tree the topmost of them
//! says that the slot is frozen. In a node's word of a block the two highest bits of the payload say what the order of changes
//! knows of it: see `loose`.

use super::tree::Tree;
use crate::{
    arena::{BLOCK_REF_BITS, BlockRef},
    order::Record,
    segment::ExtentRef,
};
use std::fmt;

const TAG_BITS: u32 = 2;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
const PAYLOAD_BITS: u32 = 56;
const VALUE_MASK: u64 = (1 << (TAG_BITS + PAYLOAD_BITS)) - 1;
/// Set in a slot whose tree is being replaced: nobody changes it any more.
const FROZEN: u64 = 1 << 63;

/// Of a block: the content may be replaced without a record.
const LOOSE: u64 = 1 << (TAG_BITS + BLOCK_REF_BITS);
/// Of a block: it came without one.
const BARE: u64 = LOOSE << 1;
const BLOCK_MASK: u64 = (1 << BLOCK_REF_BITS) - 1;

const TAG_NONE: u64 = 0;
const TAG_RAM: u64 = 1;
const TAG_DISK: u64 = 2;
const TAG_TREE: u64 = 3;

const _: () = assert!(crate::index::BINDING_SHIFT == TAG_BITS + PAYLOAD_BITS);
const _: () = assert!(BARE >> (TAG_BITS + PAYLOAD_BITS - 1) == 1);

/// A content word, as loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(u64);

/// What a word says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// No bytes: an empty file, or a hole in a long one.
    Empty,
    /// The file is no more: removed and closed by its last user, or its store was closed.
    Gone,
    /// In RAM; its header names the extent it also has on disk, if any.
    Ram(BlockRef),
    /// On disk alone.
    Disk(ExtentRef),
    /// A long file's chunks.
    Tree(*const Tree),
    /// A change that has taken the word and may have no place in the order of changes yet: see `log`.
    Pending(*const Record),
}

impl Word {
    pub(crate) const EMPTY: Word = Word(TAG_NONE);
    pub(crate) const GONE: Word = Word(1 << TAG_BITS | TAG_NONE);

    pub(crate) fn ram(block: BlockRef) -> Self {
        Self::tagged(block.bits(), TAG_RAM)
    }

    pub(crate) fn disk(extent: ExtentRef) -> Self {
        Self::tagged(extent.bits(), TAG_DISK)
    }

    pub(crate) fn tree(tree: *const Tree) -> Self {
        Self::tagged(tree as u64, TAG_TREE)
    }

    pub(crate) fn pending(record: *const Record) -> Self {
        Self::tagged(record as u64, TAG_NONE)
    }

    /// Whether a change has taken the word, and is to be completed before it is read.
    #[inline]
    pub(crate) fn is_pending(self) -> bool {
        self.0 & TAG_MASK == TAG_NONE && self.0 & VALUE_MASK > Self::GONE.0
    }

    /// Whether it is a file's without bytes in RAM. (Of what is no file's this says nothing.)
    #[inline]
    pub(crate) fn is_elsewhere(self) -> bool {
        self.0 & TAG_MASK == TAG_DISK || self.0 & TAG_MASK == TAG_NONE && self.0 & VALUE_MASK <= Self::GONE.0
    }

    fn tagged(payload: u64, tag: u64) -> Self {
        debug_assert!(payload >> PAYLOAD_BITS == 0, "payload {payload:#x}");
        Self(payload << TAG_BITS | tag)
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn content(self) -> Content {
        let payload = (self.0 & VALUE_MASK) >> TAG_BITS;
        match self.0 & TAG_MASK {
            TAG_RAM => Content::Ram(BlockRef::from_bits(payload & BLOCK_MASK)),
            TAG_DISK => Content::Disk(ExtentRef::from_bits(payload)),
            TAG_TREE => Content::Tree(payload as *const Tree),
            _ if payload == 0 => Content::Empty,
            _ if payload == 1 => Content::Gone,
            _ => Content::Pending(payload as *const Record),
        }
    }

    /// This content in a node whose word was `old`: the binding count stays.
    pub(crate) fn in_place_of(self, old: Word) -> Word {
        Word(self.0 & VALUE_MASK | old.0 & !VALUE_MASK)
    }

    /// The content alone, whatever the count, the frozen bit or what the order knows of it.
    pub(crate) fn value(self) -> Word {
        let marks = if self.0 & TAG_MASK == TAG_RAM { LOOSE | BARE } else { 0 };
        Word(self.0 & VALUE_MASK & !marks)
    }

    /// This block as a content that may be replaced without a record.
    pub(crate) fn loose(self) -> Word {
        debug_assert!(self.0 & TAG_MASK == TAG_RAM);
        Word(self.0 | LOOSE)
    }

    /// This block as a content that came without a record.
    pub(crate) fn bare(self) -> Word {
        Word(self.loose().0 | BARE)
    }

    #[inline]
    pub(crate) fn is_loose(self) -> bool {
        self.0 & (TAG_MASK | LOOSE) == TAG_RAM | LOOSE
    }

    #[inline]
    pub(crate) fn is_bare(self) -> bool {
        self.0 & (TAG_MASK | BARE) == TAG_RAM | BARE
    }

    pub(crate) fn is_frozen(self) -> bool {
        self.0 & FROZEN != 0
    }

    pub(crate) const FREEZE: u64 = FROZEN;
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}^{:#x}", self.content(), self.0 >> (TAG_BITS + PAYLOAD_BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_content_survives_packing_under_any_binding_count() {
        let tree = 0x7fff_ffff_fff0 as *const Tree;
        let contents = [
            (Word::EMPTY, Content::Empty),
            (Word::GONE, Content::Gone),
            (Word::ram(BlockRef::from_bits(77)), Content::Ram(BlockRef::from_bits(77))),
            (Word::disk(ExtentRef::from_bits(1 << 55)), Content::Disk(ExtentRef::from_bits(1 << 55))),
            (Word::tree(tree), Content::Tree(tree)),
            (Word::pending(tree.cast()), Content::Pending(tree.cast())),
        ];
        for (word, content) in contents {
            for count in [0, 1, 33, 63] {
                let bound = word.in_place_of(Word::from_bits(count << 58 | 12345));
                assert_eq!((bound.content(), bound.bits() >> 58), (content, count));
                assert_eq!(bound.value(), word);
                assert_eq!(bound.is_pending(), matches!(content, Content::Pending(_)));
                assert!(!bound.is_loose() && !bound.is_bare());
            }
        }
    }

    #[test]
    fn what_the_order_knows_of_a_block_is_no_part_of_the_content() {
        let block = Word::ram(BlockRef::from_bits((1 << BLOCK_REF_BITS) - 1));
        let old = Word::from_bits(63 << 58 | 12345);
        for (word, marks) in
            [(block, (false, false)), (block.loose(), (true, false)), (block.bare(), (true, true))]
        {
            let bound = word.in_place_of(old);
            assert_eq!((bound.content(), bound.bits() >> 58), (block.content(), 63));
            assert_eq!((bound.value(), (bound.is_loose(), bound.is_bare())), (block, marks));
        }
    }
}
