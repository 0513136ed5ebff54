//! What a lasting store must find again to make sense of its segments: kept by the floor above, in its journal, as 64 bytes.
//!
//! ```text
//!  0      4        8         16           24          28         32        36     60
//!  magic  version  store id  chunk bytes  unit shift  unit bits  len bits  zeros  crc32c      little endian
//! ```

use super::extent::{EXTENT_BITS, Layout, MAX_UNIT_SHIFT, MAX_UNITS, MIN_UNIT_SHIFT};
use crate::error::{Error, Result};

pub(crate) const PARAMS_BYTES: usize = 64;

/// "MFSp" in the bytes.
const MAGIC: u32 = u32::from_le_bytes(*b"MFSp");
const VERSION: u32 = 1;
const CRC_AT: usize = 60;

/// Which store it is, and what its extents' bits mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Params {
    pub(super) store_id: u64,
    pub(super) chunk_bytes: usize,
    unit_shift: u32,
    unit_bits: u32,
    len_bits: u32,
}

/// The chunk size of the store that these parameters are of, which every opening of it must ask for.
#[cfg(test)]
pub(crate) fn params_chunk_bytes(params: &[u8; PARAMS_BYTES]) -> Result<usize> {
    Params::decode(params).map(|params| params.chunk_bytes)
}

impl Params {
    pub(super) fn new(store_id: u64, layout: &Layout) -> Self {
        let Layout { chunk_bytes, unit_shift, unit_bits, len_bits, .. } = *layout;
        Self { store_id, chunk_bytes, unit_shift, unit_bits, len_bits }
    }

    /// The layout that these parameters fix, with segments of no length yet.
    pub(super) fn layout(&self) -> Layout {
        Layout {
            segment_bytes: 0,
            chunk_bytes: self.chunk_bytes,
            min_segment_bytes: 0,
            unit_shift: self.unit_shift,
            len_bits: self.len_bits,
            unit_bits: self.unit_bits,
        }
    }

    pub(super) fn encode(&self) -> [u8; PARAMS_BYTES] {
        let mut bytes = [0; PARAMS_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.store_id.to_le_bytes());
        bytes[16..24].copy_from_slice(&(self.chunk_bytes as u64).to_le_bytes());
        bytes[24..28].copy_from_slice(&self.unit_shift.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.unit_bits.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.len_bits.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// # Errors
    /// `Corrupt`, with an empty path, if these are not parameters, or of another version.
    pub(super) fn decode(bytes: &[u8; PARAMS_BYTES]) -> Result<Self> {
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        if (u32_at(0), u32_at(CRC_AT)) != (MAGIC, crc) {
            let describe = |magic, crc| format!("segment parameters {magic:#010x}, checksum {crc:#010x}");
            return Err(corrupt(describe(MAGIC, crc), describe(u32_at(0), u32_at(CRC_AT))));
        }
        if u32_at(4) != VERSION {
            let describe = |version| format!("segment parameters of version {version}");
            return Err(corrupt(describe(VERSION), describe(u32_at(4))));
        }
        let params = Self {
            store_id: u64_at(8),
            chunk_bytes: usize::try_from(u64_at(16)).unwrap_or(usize::MAX),
            unit_shift: u32_at(24),
            unit_bits: u32_at(28),
            len_bits: u32_at(32),
        };
        if params.is_possible() {
            Ok(params)
        } else {
            Err(corrupt("segment parameters that fit together".into(), format!("{params:?}")))
        }
    }

    fn is_possible(&self) -> bool {
        (MIN_UNIT_SHIFT..=MAX_UNIT_SHIFT).contains(&self.unit_shift)
            && (1..=MAX_UNITS.ilog2()).contains(&self.unit_bits)
            && (1..EXTENT_BITS - self.unit_bits).contains(&self.len_bits)
            && (1..1usize << self.len_bits).contains(&self.chunk_bytes)
    }
}

fn corrupt(expected: String, found: String) -> Error {
    Error::Corrupt { path: String::new(), segment: Error::NO_SEGMENT, offset: 0, expected, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_back_and_every_flipped_bit_is_seen() {
        let params = Params::new(99, &Layout::lasting(256 << 20, 1 << 20, None, 32).unwrap());
        let good = params.encode();
        assert_eq!(Params::decode(&good).unwrap(), params);
        assert_eq!(params_chunk_bytes(&good).unwrap(), 1 << 20);
        for bit in 0..8 * PARAMS_BYTES {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Params::decode(&bad), Err(Error::Corrupt { .. })), "bit {bit}");
        }
    }

    #[test]
    fn bits_mean_the_same_under_any_segment_size_and_limit() {
        let first = Layout::lasting(1 << 20, 64 << 10, Some(4 << 20), 32).unwrap();
        let params = Params::decode(&Params::new(1, &first).encode()).unwrap();
        for (segment_bytes, limit) in [(256 << 20, None), (1, None), (1 << 30, Some(1 << 20)), (1, Some(1))] {
            let later = params.layout().with_segments(segment_bytes, limit, 32).unwrap();
            assert_eq!(Params::new(1, &later), params);
            assert!(later.segment_bytes <= limit.unwrap_or(u64::MAX));
        }
        let later = params.layout().with_segments(1 << 30, None, 32).unwrap();
        assert_eq!(later.segment_bytes, 256 << 20, "the largest that the bits can name");
    }
}
