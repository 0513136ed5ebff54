//! Contents that say whose they are, so that whoever reads them can tell whether they are right.
//!
//! ```text
//!  0        8         16       24      32                  len-8     len
//! ┌────────┬─────────┬────────┬───────┬─────────────────────┬───────┐
//! │ stamp  │ version │ length │ check │ pattern (version%8) │ check │
//! └────────┴─────────┴────────┴───────┴─────────────────────┴───────┘
//! ```
//! `stamp` is the file's number in disguise, `check` mixes the three words before it. A touch compares the stamp (one cache
//! line, the file's first); a copy compares both checks; [`verify`] compares every byte. The pattern is the same for all
//! files, so that writing does not cost the making of contents: a writer's buffers hold the patterns, and only the 40
//! bytes around them are set. Patterns are random, so that nothing is won by compressing one file; engines that compress
//! by default are told not to.

use crate::requests::Rng;

/// The least a file can hold.
pub(crate) const MIN_LEN: usize = 40;
const HEAD: usize = 32;
const PATTERNS: u64 = 8;

fn stamp(id: u32) -> u64 {
    mix(u64::from(id) ^ 0x6d65_6d66_735f_6964)
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn check(stamp: u64, version: u64, len: u64) -> u64 {
    mix(stamp ^ version.rotate_left(24) ^ len.rotate_left(48))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Whether the first line of `bytes` is file `id`'s.
#[inline]
pub(crate) fn is_stamped(bytes: &[u8], id: u32) -> bool {
    word(bytes, 0) == Some(stamp(id))
}

/// Whether head and tail of `bytes` are one version of file `id`.
#[inline]
pub(crate) fn is_framed(bytes: &[u8], id: u32) -> bool {
    let Some(version) = word(bytes, 8) else { return false };
    let want = check(stamp(id), version, bytes.len() as u64);
    bytes.len() >= MIN_LEN
        && is_stamped(bytes, id)
        && word(bytes, 16) == Some(bytes.len() as u64)
        && word(bytes, 24) == Some(want)
        && word(bytes, bytes.len() - 8) == Some(want)
}

/// One buffer per pattern, from which files of up to a certain length are made.
pub(crate) struct Contents {
    patterns: Vec<Vec<u8>>,
}

impl Contents {
    /// For files of up to `max_len` bytes.
    pub(crate) fn new(max_len: usize) -> Self {
        let of = |pattern| {
            let mut rng = Rng::new(0x7061_7474 + pattern);
            let words = max_len.max(MIN_LEN).div_ceil(8);
            (0..words).flat_map(|_| rng.next().to_le_bytes()).collect()
        };
        Self { patterns: (0..PATTERNS).map(of).collect() }
    }

    /// Calls `use_it` with version `version` of file `id`.
    #[inline]
    pub(crate) fn with<R>(
        &mut self,
        id: u32,
        version: u64,
        len: usize,
        use_it: impl FnOnce(&[u8]) -> R,
    ) -> R {
        debug_assert!(len >= MIN_LEN);
        let buffer = &mut self.patterns[(version % PATTERNS) as usize];
        let (stamp, tail) = (stamp(id), len - 8);
        let check = check(stamp, version, len as u64).to_le_bytes();
        let covered: [u8; 8] = *buffer[tail..].first_chunk().expect("the tail is in the buffer");
        buffer[0..8].copy_from_slice(&stamp.to_le_bytes());
        buffer[8..16].copy_from_slice(&version.to_le_bytes());
        buffer[16..24].copy_from_slice(&(len as u64).to_le_bytes());
        buffer[24..32].copy_from_slice(&check);
        buffer[tail..len].copy_from_slice(&check);
        let result = use_it(&buffer[..len]);
        // Longer files of this pattern have it here.
        buffer[tail..len].copy_from_slice(&covered);
        result
    }

    /// Whether `bytes` are, all of them, some version of file `id`.
    pub(crate) fn verify(&self, bytes: &[u8], id: u32) -> bool {
        let Some(version) = word(bytes, 8) else { return false };
        let pattern = &self.patterns[(version % PATTERNS) as usize];
        is_framed(bytes, id)
            && bytes.len() <= pattern.len()
            && bytes[HEAD..bytes.len() - 8] == pattern[HEAD..bytes.len() - 8]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_verifies_and_every_changed_byte_is_seen() {
        let mut contents = Contents::new(4096);
        for (len, version) in [(40, 0), (100, 1), (4096, 7), (1000, 15), (4096, 15)] {
            let mut made = contents.with(9, version, len, <[u8]>::to_vec);
            assert!(contents.verify(&made, 9) && !contents.verify(&made, 8));
            for at in 0..len {
                made[at] ^= 1;
                assert!(!contents.verify(&made, 9), "byte {at} of {len}");
                made[at] ^= 1;
            }
            assert!(!contents.verify(&made[..len - 1], 9));
        }
    }
}
