//! What stands in a journal file, by the sector: the file's header, frames, and marks.
//!
//! ```text
//!  sector 0         the file's header
//!  then frames:     header (64) | entries | filler 0xff | trailer (8)       each begins and ends with a sector
//!  then a mark:     48 bytes, where the next frame's header will be
//!  then zeros       to the end of the file
//! ```
//! Checksums of headers and marks cover their offset too: nothing verifies in another place than its own.
//!
//! # Invariants
//! 1. A sector that was synced is never written again, but for the one that begins with a mark.
//! 2. No sector of a frame is all zeros, and none becomes so by the change of one byte; its last byte is not zero. So a frame
//!    whose entries do not verify, and that has neither, was written whole and is damaged; else it may be torn.

use super::{
    checkpoint::StoreParams,
    wire::{u16_at, u32_at, u64_at},
};

/// What a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;
pub(super) const HEADER_BYTES: usize = 64;
/// Of frames, marks and checkpoints.
pub(super) const VERSION: u16 = 1;
/// Of journal files: a front may follow one of version 2.
const JOURNAL_VERSION: u16 = 2;

const FILE_MAGIC: &[u8; 8] = b"MFSjourn";
pub(super) const CHECKPOINT_MAGIC: &[u8; 8] = b"MFScheck";
const FRAME_MAGIC: &[u8; 8] = b"MFSframe";
const MARK_MAGIC: &[u8; 8] = b"\x01synced\x02";
const TRAILER: &[u8; 8] = b"frameEND";
const FILLER: u8 = 0xff;

/// The mark is the last thing written by a store that was closed.
const CLEAN: u16 = 1;

/// What a journal file says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileHeader {
    /// As the checkpoint has them: what is found again when that is lost.
    pub(super) params: StoreParams,
    /// Number of the first operation it may hold.
    pub(super) start_seq: u64,
    /// The chain up to there.
    pub(super) chain: u32,
    /// Its length when it was made.
    pub(super) file_bytes: u64,
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        sector[0..8].copy_from_slice(FILE_MAGIC);
        sector[8..10].copy_from_slice(&JOURNAL_VERSION.to_le_bytes());
        sector[16..24].copy_from_slice(&self.params.store_id.to_le_bytes());
        sector[24..32].copy_from_slice(&self.start_seq.to_le_bytes());
        sector[32..40].copy_from_slice(&self.params.chunk_bytes.to_le_bytes());
        sector[40..48].copy_from_slice(&self.file_bytes.to_le_bytes());
        sector[64..128].copy_from_slice(&self.params.opaque);
        sector[128..132].copy_from_slice(&self.chain.to_le_bytes());
        seal(&mut sector);
        sector
    }

    /// `Err` says what was found instead.
    pub(super) fn decode(sector: &[u8]) -> Result<Self, String> {
        check_sealed(sector, FILE_MAGIC, JOURNAL_VERSION)?;
        Ok(Self {
            params: params_at(sector),
            start_seq: u64_at(sector, 24),
            file_bytes: u64_at(sector, 40),
            chain: u32_at(sector, 128),
        })
    }
}

/// What both kinds of files have in the same places of their first sectors.
pub(super) fn params_at(sector: &[u8]) -> StoreParams {
    StoreParams {
        store_id: u64_at(sector, 16),
        chunk_bytes: u64_at(sector, 32),
        opaque: sector[64..128].try_into().expect("64 bytes"),
    }
}

/// What the store is, if `sector` verifies as the first one of either kind of file.
pub(super) fn read_params(sector: &[u8]) -> Option<StoreParams> {
    let magic: &[u8; 8] = sector.first_chunk()?;
    let known = magic == FILE_MAGIC || magic == CHECKPOINT_MAGIC;
    let newest = if magic == FILE_MAGIC { JOURNAL_VERSION } else { VERSION };
    (known && check_sealed(sector, magic, newest).is_ok()).then(|| params_at(sector))
}

/// Puts the checksum of a whole sector at its end.
pub(super) fn seal(sector: &mut [u8; SECTOR]) {
    let crc = crc32c::crc32c(&sector[..SECTOR - 4]);
    sector[SECTOR - 4..].copy_from_slice(&crc.to_le_bytes());
}

/// Whether `sector` begins with `magic` and a version up to `newest`, and its checksum is right.
pub(super) fn check_sealed(sector: &[u8], magic: &[u8; 8], newest: u16) -> Result<(), String> {
    if sector.len() < SECTOR {
        return Err(format!("{} bytes", sector.len()));
    }
    if sector[..8] != *magic {
        return Err(format!("{:?}", sector[..8].escape_ascii().to_string()));
    }
    let (found, sum) = (u32_at(sector, SECTOR - 4), crc32c::crc32c(&sector[..SECTOR - 4]));
    if found != sum {
        return Err(format!("a header with checksum {found:#010x} over bytes of {sum:#010x}"));
    }
    match u16_at(sector, 8) {
        version if (1..=newest).contains(&version) => Ok(()),
        other => Err(format!("version {other}, and this is version {newest}")),
    }
}

/// The header of one batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FrameHeader {
    pub(super) store_id: u64,
    pub(super) first_seq: u64,
    pub(super) operations: u32,
    pub(super) entries: u32,
    /// Length of the file that was known to last when this was written: it ends after this frame and a sector more.
    pub(super) file_bytes: u64,
    pub(super) payload_bytes: u64,
    /// Checksum of the header before this one, or the file's chain.
    pub(super) chain: u32,
    /// Of the entries.
    pub(super) payload_crc: u32,
    /// Of the header, and the offset it stands at.
    pub(super) crc: u32,
}

impl FrameHeader {
    /// The bytes, with the checksum, which `self.crc` becomes.
    pub(super) fn encode(&mut self, at: u64) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(FRAME_MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.operations.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.store_id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.file_bytes.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.entries.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.chain.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.payload_crc.to_le_bytes());
        self.crc = crc_at(&bytes[..60], at);
        bytes[60..64].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8], at: u64) -> Option<Self> {
        if bytes.len() < HEADER_BYTES || bytes[..8] != *FRAME_MAGIC {
            return None;
        }
        let crc = crc_at(&bytes[..60], at);
        (crc == u32_at(bytes, 60) && u16_at(bytes, 8) == VERSION).then(|| Self {
            operations: u32_at(bytes, 12),
            store_id: u64_at(bytes, 16),
            first_seq: u64_at(bytes, 24),
            file_bytes: u64_at(bytes, 32),
            payload_bytes: u64_at(bytes, 40),
            entries: u32_at(bytes, 48),
            chain: u32_at(bytes, 52),
            payload_crc: u32_at(bytes, 56),
            crc,
        })
    }

    pub(super) fn next_seq(&self) -> u64 {
        self.first_seq.saturating_add(self.operations.into())
    }
}

/// Whether a sector, whose header does not verify, is the first of a frame and was written to its end: so it is after the
/// change of any one byte of the header, and not where a mark stands, or nothing, or a header that was cut short.
pub(super) fn was_frame(sector: &[u8]) -> bool {
    let Some((header, rest)) = sector.split_at_checked(HEADER_BYTES) else { return false };
    let wrong = header.iter().zip(FRAME_MAGIC).filter(|(byte, magic)| byte != magic).count();
    wrong <= 1 && rest.iter().any(|byte| *byte != 0)
}

/// What a frame takes in the file; `None` if no file is that long.
pub(super) fn frame_bytes(payload_bytes: u64) -> Option<u64> {
    payload_bytes.checked_add((HEADER_BYTES + TRAILER.len()) as u64)?.checked_next_multiple_of(SECTOR as u64)
}

/// What follows the entries: filler, and the trailer.
pub(super) struct Tail {
    bytes: [u8; SECTOR + TRAILER.len()],
    len: usize,
}

impl Tail {
    pub(super) fn new(payload_bytes: usize) -> Self {
        let used = (HEADER_BYTES + payload_bytes + TRAILER.len()) % SECTOR;
        let filler = (SECTOR - used) % SECTOR;
        let mut bytes = [FILLER; SECTOR + TRAILER.len()];
        bytes[filler..filler + TRAILER.len()].copy_from_slice(TRAILER);
        Self { bytes, len: filler + TRAILER.len() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Whether a frame whose entries do not verify may be one that was never written to its end, in whatever order its sectors
/// were. One changed byte cannot make it so: it is among the entries, and leaves no sector without bytes.
pub(super) fn may_be_torn(frame: &[u8]) -> bool {
    frame.last() == Some(&0) || frame.chunks_exact(SECTOR).any(|sector| sector.iter().all(|byte| *byte == 0))
}

/// Says that all before it was synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub(super) store_id: u64,
    pub(super) next_seq: u64,
    pub(super) file_bytes: u64,
    pub(super) chain: u32,
    pub(super) clean: bool,
}

impl Mark {
    pub(super) fn encode(&self, at: u64) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(MARK_MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(if self.clean { CLEAN } else { 0 }).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.store_id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.next_seq.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.file_bytes.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.chain.to_le_bytes());
        let crc = crc_at(&bytes[..44], at);
        bytes[44..48].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8], at: u64) -> Option<Self> {
        let verifies = bytes.len() >= HEADER_BYTES
            && bytes[..8] == *MARK_MAGIC
            && u16_at(bytes, 8) == VERSION
            && crc_at(&bytes[..44], at) == u32_at(bytes, 44);
        verifies.then(|| Self {
            clean: u16_at(bytes, 10) & CLEAN != 0,
            store_id: u64_at(bytes, 16),
            next_seq: u64_at(bytes, 24),
            file_bytes: u64_at(bytes, 32),
            chain: u32_at(bytes, 40),
        })
    }
}

fn crc_at(bytes: &[u8], at: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(bytes), &at.to_le_bytes())
}
