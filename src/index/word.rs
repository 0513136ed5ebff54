//! What a dentry's node word can say, and its encoding in 64 bits.
//!
//! # Invariants
//! 1. A value that left a node word does not come back to it while a thread that saw it is pinned: NONE comes only first,
//!    a node is bound to a name once and for all (there are no hard links, and an id is reused only after an epoch), DEAD is
//!    final. Only a failed descriptor gives back what it replaced.

use super::{
    descriptor::Descriptor,
    node::{Kind, NodeId},
};

/// The low three bits of every word that a descriptor may stand in. Descriptors are 16-aligned, which frees them.
const TAG_MASK: u64 = 0b111;
const BOUND_TAG: u64 = 1;
const UNBINDING_TAG: u64 = 2;
const DESCRIPTOR_TAG: u64 = 3;
const DIRECTORY_BIT: u64 = 1 << 3;
const ID_SHIFT: u32 = 32;

/// The name exists in the table, and nowhere else yet.
pub(super) const NONE: u64 = 0;
/// The name is gone for good; whoever meets the dentry takes it out of the table.
pub(super) const DEAD: u64 = 4;
/// A directory's state word: children may be bound in it.
pub(super) const OPEN: u64 = 5;
/// A directory's state word: it was removed, empty, for good.
pub(super) const CLOSED: u64 = 6;
const MOVES_TAG: u64 = 7;
/// Where the count begins in a `moves` word.
pub(super) const MOVES_SHIFT: u32 = 3;

/// A node as a name refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) id: NodeId,
    pub(super) kind: Kind,
}

impl Target {
    pub(super) fn is_dir(self) -> bool {
        self.kind == Kind::Directory
    }

    fn bits(self) -> u64 {
        u64::from(self.id.get()) << ID_SHIFT | if self.is_dir() { DIRECTORY_BIT } else { 0 }
    }

    fn from_bits(bits: u64) -> Self {
        let kind = if bits & DIRECTORY_BIT != 0 { Kind::Directory } else { Kind::File };
        Self { id: NodeId::new((bits >> ID_SHIFT) as u32), kind }
    }
}

/// A word that is no descriptor, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    None,
    Bound(Target),
    /// Still reads as bound; whoever meets it completes the removal.
    Unbinding(Target),
    Dead,
}

impl Word {
    /// Takes apart what is known to be no descriptor.
    pub(super) fn decode(bits: u64) -> Word {
        match bits & TAG_MASK {
            BOUND_TAG => Word::Bound(Target::from_bits(bits)),
            UNBINDING_TAG => Word::Unbinding(Target::from_bits(bits)),
            _ if bits == NONE => Word::None,
            _ => {
                debug_assert_eq!(bits, DEAD, "a node word of no known form");
                Word::Dead
            }
        }
    }

    /// What a look-up sees.
    pub(super) fn target(self) -> Option<Target> {
        match self {
            Word::Bound(target) | Word::Unbinding(target) => Some(target),
            Word::None | Word::Dead => None,
        }
    }
}

#[inline]
pub(super) fn bound(target: Target) -> u64 {
    target.bits() | BOUND_TAG
}

#[inline]
pub(super) fn unbinding(target: Target) -> u64 {
    target.bits() | UNBINDING_TAG
}

/// The target of a plainly bound word, in one comparison; the fast path of [`Word::decode`].
#[inline]
pub(super) fn plainly_bound(bits: u64) -> Option<Target> {
    (bits & TAG_MASK == BOUND_TAG).then(|| Target::from_bits(bits))
}

#[inline]
pub(super) fn descriptor(bits: u64) -> Option<*const Descriptor> {
    (bits & TAG_MASK == DESCRIPTOR_TAG)
        .then(|| std::ptr::with_exposed_provenance((bits & !TAG_MASK) as usize))
}

pub(super) fn of_descriptor(descriptor: *const Descriptor) -> u64 {
    let address = descriptor.expose_provenance() as u64;
    debug_assert_eq!(address & TAG_MASK, 0, "descriptors are 16-aligned");
    address | DESCRIPTOR_TAG
}

/// The `moves` word after `count` directory moves.
pub(super) fn moves(count: u64) -> u64 {
    count << MOVES_SHIFT | MOVES_TAG
}

/// The `moves` word after one more.
pub(super) fn next_move(bits: u64) -> u64 {
    debug_assert_eq!(bits & TAG_MASK, MOVES_TAG);
    bits.wrapping_add(1 << MOVES_SHIFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_survives_encoding_and_none_is_mistaken_for_another() {
        let targets = [(1, Kind::Directory), (7, Kind::File), (u32::MAX, Kind::Directory)];
        let mut seen = vec![NONE, DEAD, OPEN, CLOSED, moves(0), moves(u64::MAX >> 3)];
        for (id, kind) in targets {
            let target = Target { id: NodeId::new(id), kind };
            assert_eq!(Word::decode(bound(target)), Word::Bound(target));
            assert_eq!(Word::decode(unbinding(target)), Word::Unbinding(target));
            assert_eq!(plainly_bound(bound(target)), Some(target));
            assert_eq!(plainly_bound(unbinding(target)), None);
            seen.extend([bound(target), unbinding(target)]);
        }
        assert!(seen.iter().all(|&bits| descriptor(bits).is_none()));
        let address = 0x7fff_1234_5670_usize as *const Descriptor;
        assert_eq!(descriptor(of_descriptor(address)), Some(address));
        seen.push(of_descriptor(address));
        let distinct: std::collections::HashSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len());
    }
}
