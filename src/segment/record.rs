//! Bytes as they stand on disk: a header of 32 bytes, then the bytes.
//!
//! ```text
//!  0      4      8         16           24         28      32
//!  magic  len    owner     sequence     reserved   crc32c  bytes ...      little endian; from a unit's first byte
//! ```
//! The checksum covers the header before it and the bytes. The sequence counts all records of a store; `reserved` is zero.

pub(super) const HEADER_BYTES: usize = 32;

/// "MFSx" in the file; what begins so and verifies is a record.
const MAGIC: u32 = u32::from_le_bytes(*b"MFSx");

const CRC_AT: usize = 28;

/// The header of a record of `bytes`.
pub(super) fn header(owner: u64, sequence: u64, bytes: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..8].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    header[8..16].copy_from_slice(&owner.to_le_bytes());
    header[16..24].copy_from_slice(&sequence.to_le_bytes());
    let crc = crc32c::crc32c_append(seed(&header), bytes);
    header[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// What a record should have had, and has instead.
#[derive(Clone, Debug)]
pub(crate) struct Mismatch {
    pub(super) expected: String,
    pub(super) found: String,
}

/// Whether `header` begins a record of `len_bytes` bytes that belongs to `owner`; the checksum to continue over them.
pub(super) fn check_header(
    header: &[u8; HEADER_BYTES],
    owner: u64,
    len_bytes: usize,
) -> Result<u32, Mismatch> {
    let magic = u32_at(header, 0);
    let len = u32_at(header, 4);
    let found_owner = u64::from(u32_at(header, 8)) | u64::from(u32_at(header, 12)) << 32;
    if (magic, len as usize, found_owner) == (MAGIC, len_bytes, owner) {
        return Ok(seed(header));
    }
    let describe = |magic, len, owner| format!("a record {magic:#010x} of {len} bytes, owner {owner}");
    Err(Mismatch {
        expected: describe(MAGIC, len_bytes, owner),
        found: describe(magic, len as usize, found_owner),
    })
}

/// Whether `crc`, continued over all of the bytes, is the header's.
pub(super) fn check_crc(header: &[u8; HEADER_BYTES], crc: u32) -> Result<(), Mismatch> {
    let found = u32_at(header, CRC_AT);
    if found == crc {
        return Ok(());
    }
    let describe = |crc| format!("checksum {crc:#010x}");
    Err(Mismatch { expected: describe(found), found: describe(crc) })
}

fn seed(header: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c(&header[..CRC_AT])
}

fn u32_at(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(header: &[u8; HEADER_BYTES], bytes: &[u8]) -> Result<(), Mismatch> {
        let crc = check_header(header, 7, bytes.len())?;
        check_crc(header, crc32c::crc32c_append(crc, bytes))
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let bytes = *b"some bytes";
        let good = header(7, 99, &bytes);
        verify(&good, &bytes).unwrap();
        for bit in 0..8 * HEADER_BYTES {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&bad, &bytes).is_err(), "bit {bit} of the header");
        }
        for bit in 0..8 * bytes.len() {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&good, &bad).is_err(), "bit {bit} of the bytes");
        }
    }
}
