//! The hash by which the command line knows contents. Independent of the checksum that the engine keeps, so that a
//! fault in one cannot hide in the other.

use std::hash::Hasher;
use twox_hash::XxHash3_64;

/// The hash of `bytes`.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// A hash in the making, for contents that come in pieces. Equal to [`digest`] of the pieces in one.
#[derive(Default)]
pub(crate) struct Digest {
    state: XxHash3_64,
    len_bytes: u64,
}

impl Digest {
    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.state.write(piece);
        self.len_bytes += piece.len() as u64;
    }

    /// Bytes seen so far.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    pub(crate) fn finish(&self) -> u64 {
        self.state.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hash_as_the_whole() {
        let whole: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        for piece_bytes in [1, 63, 256, 65_537, whole.len()] {
            let mut state = Digest::default();
            whole.chunks(piece_bytes).for_each(|piece| state.update(piece));
            assert_eq!((state.finish(), state.len_bytes()), (digest(&whole), whole.len() as u64));
        }
        assert_eq!(Digest::default().finish(), digest(b""));
    }
}
