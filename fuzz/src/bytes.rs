//! A file of a store, replaced by the fuzzer's bytes.

use crate::{
    examine, sample,
    seal::{Identity, seal_checkpoint, seal_front, seal_journal, seal_segment},
};

/// Which file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    Journal,
    Checkpoint,
    Segment,
    Front,
}

impl Target {
    pub fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Checkpoint => "checkpoint",
            Self::Segment => "segment",
            Self::Front => "front",
        }
    }

    pub fn is_of(self, name: &str) -> bool {
        if self == Self::Segment { name.ends_with(".seg") } else { name.starts_with(self.name()) }
    }
}

// What the first byte of an input says; bit 0 and the last are the store's number.
/// A store of the second format.
pub const SECOND: u8 = 128;
/// Checksums are put right.
pub const SEALED: u8 = 2;
/// The bytes are this store's, of this number, and as many as they are.
pub const CALLED: u8 = 4;
/// There is no other file of this kind.
pub const ALONE: u8 = 8;
/// The store is salvaged, too.
pub const SAVED: u8 = 16;
/// As long as the file was, if they are fewer.
pub const PADDED: u8 = 32;

/// What opened is written to, and opened again.
pub const USED: u8 = 64;

/// Two bytes say how, and in place of which file, the rest of `input` stands.
pub fn replace(target: Target, input: &[u8]) {
    let [flags, index, bytes @ ..] = input else { return };
    let mut files = sample(flags & 1 | flags >> 7 << 1).files.clone();
    let those: Vec<usize> = (0..files.len()).filter(|at| target.is_of(&files[*at].0)).collect();
    let Some(at) = those.get(*index as usize % those.len().max(1)).copied() else { return };
    let checkpoint = files.iter().find(|(name, _)| Target::Checkpoint.is_of(name));
    let checkpoint = Identity::of(&checkpoint.expect("one in each store").1);
    let name = files[at].0.clone();
    let mut bytes = bytes.to_vec();
    if flags & PADDED != 0 {
        bytes.resize(bytes.len().max(files[at].1.len()), 0);
    }
    if flags & SEALED != 0 {
        let called = |identity| (flags & CALLED != 0).then_some(identity);
        match target {
            Target::Journal => seal_journal(&mut bytes, called(Identity::of(&files[at].1)).as_ref()),
            Target::Checkpoint => seal_checkpoint(&mut bytes, called(checkpoint).as_ref()),
            Target::Front => seal_front(&mut bytes, &files[at].1, flags & CALLED != 0),
            Target::Segment => {
                let number = name[..6].parse().expect("six digits");
                seal_segment(&mut bytes, called(Identity { number, ..checkpoint }).as_ref());
            }
        }
    }
    files[at].1 = bytes;
    if flags & ALONE != 0 {
        files.retain(|(other, _)| *other == name || !target.is_of(other));
    }
    examine(&files, None, flags & SAVED != 0, flags & USED != 0);
}
