//! The first bytes of a lasting segment's file: whose it is. They stand in unit 0, where no record is.
//!
//! ```text
//!  0      4        8         16      20     24             32              40     60
//!  magic  version  store id  number  zeros  segment bytes  first sequence  zeros  crc32c      little endian
//! ```
//! Written once, when the file is made; `first sequence` is above that of all records that were written before.

use super::{
    extent::{FIRST_UNIT, Layout},
    record::Mismatch,
};

pub(super) const SEGMENT_HEADER_BYTES: usize = 64;

/// "MFSs" in the file.
const MAGIC: u32 = u32::from_le_bytes(*b"MFSs");
const VERSION: u32 = 1;
const CRC_AT: usize = 60;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SegmentHeader {
    pub(super) store_id: u64,
    pub(super) number: u32,
    pub(super) segment_bytes: u64,
    pub(super) first_sequence: u64,
}

/// Why a file is no segment of this store.
pub(super) enum NoSegment {
    /// Nothing but zeros: it was being made when the process ended.
    Blank,
    /// Another store's.
    Foreign(Mismatch),
    /// It may have been one.
    Damaged(Mismatch),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.store_id.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.segment_bytes.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first_sequence.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header of segment `number` of the store; `bytes` are zeros where the file has none.
    pub(super) fn decode(
        bytes: &[u8; SEGMENT_HEADER_BYTES],
        store_id: u64,
        number: u32,
        layout: &Layout,
    ) -> Result<Self, NoSegment> {
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(NoSegment::Blank);
        }
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        if (u32_at(0), u32_at(CRC_AT)) != (MAGIC, crc) {
            let describe = |magic, crc| format!("a segment header {magic:#010x}, checksum {crc:#010x}");
            return Err(damaged(describe(MAGIC, crc), describe(u32_at(0), u32_at(CRC_AT))));
        }
        if u32_at(4) != VERSION {
            let describe = |version| format!("a segment of version {version}");
            return Err(damaged(describe(VERSION), describe(u32_at(4))));
        }
        let header = Self {
            store_id: u64_at(8),
            number: u32_at(16),
            segment_bytes: u64_at(24),
            first_sequence: u64_at(32),
        };
        if header.store_id != store_id {
            let describe = |id| format!("a segment of store {id:#018x}");
            let (expected, found) = (describe(store_id), describe(header.store_id));
            return Err(NoSegment::Foreign(Mismatch { expected, found }));
        }
        let least_bytes = layout.offset(FIRST_UNIT + 1);
        let is_possible = (least_bytes..=layout.max_segment_bytes()).contains(&header.segment_bytes);
        if header.number != number || !is_possible {
            let describe = |number, bytes| format!("segment {number} of {bytes} bytes");
            let most_bytes = layout.max_segment_bytes();
            return Err(damaged(
                format!("segment {number} of {least_bytes} to {most_bytes} bytes"),
                describe(header.number, header.segment_bytes),
            ));
        }
        Ok(header)
    }
}

fn damaged(expected: String, found: String) -> NoSegment {
    NoSegment::Damaged(Mismatch { expected, found })
}

/// The name of a segment's file.
pub(super) fn file_name(number: u32) -> String {
    format!("{number:06}.seg")
}

/// The number in the name of a segment's file; `None` if it is no such name.
pub(super) fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 6)?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_header_is_seen() {
        let layout = Layout::lasting(1 << 20, 4096, None, 32).unwrap();
        let header = SegmentHeader { store_id: 5, number: 3, segment_bytes: 1 << 20, first_sequence: 77 };
        let good = header.encode();
        assert!(SegmentHeader::decode(&good, 5, 3, &layout).is_ok_and(|found| found == header));
        for bit in 0..8 * SEGMENT_HEADER_BYTES {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            let found = SegmentHeader::decode(&bad, 5, 3, &layout);
            assert!(matches!(found, Err(NoSegment::Damaged(_))), "bit {bit}");
        }
        assert!(matches!(SegmentHeader::decode(&good, 6, 3, &layout), Err(NoSegment::Foreign(_))));
        assert!(matches!(SegmentHeader::decode(&good, 5, 4, &layout), Err(NoSegment::Damaged(_))));
        assert!(matches!(SegmentHeader::decode(&[0; 64], 5, 3, &layout), Err(NoSegment::Blank)));
    }

    #[test]
    fn names_are_of_six_digits() {
        assert_eq!(number_of(&file_name(0)), Some(0));
        assert_eq!(number_of(&file_name(999_999)), Some(999_999));
        for name in ["1.seg", "0000001.seg", "00000a.seg", "000001", "+00001.seg", "000001.seg.tmp"] {
            assert_eq!(number_of(name), None, "{name}");
        }
    }
}
