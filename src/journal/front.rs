//! The front of the journal: a file of fixed length, written over and over, that takes small batches with the bytes of their
//! contents, so that one sync makes both last. What is in it is written once more into the journal, all at once, when it is
//! full or a batch comes that is not for it; the contents have been synced in their places then.
//!
//! ```text
//!  sector 0         the file's header
//!  then frames:     each of whole sectors, of which each ends with a stamp (8 bytes); what is left of the sectors is, as
//!                   one stream:  header (64) | entries | bytes of contents | filler 0xff
//!  then what was written before, or zeros
//! ```
//! # Invariants
//! 1. The file has its name, and all its space was written once, when the first frame is: so a sync of it has no space to
//!    allocate, no length to change, no state of blocks to turn.
//! 2. Writing starts over only when the journal has all that was written. So of what verifies behind the last frame every
//!    operation is in the journal.
//! 3. A stamp tells its frame from any other of the store: a sector without it was not written with the frame, or not to its end.
//! 4. After a write or a sync that failed the file is not written again.

use super::{
    batch::Batch,
    files::{FRONT, corrupt, create_over, file_name, refused, tmp_name},
    frame::{FrameHeader, SECTOR, check_sealed, seal},
    wire::{put_varint, u64_at},
};
use crate::{
    error::Result,
    segment::{Disk, DiskFile},
};
use std::{
    io::{self, IoSlice},
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"MFSfront";
const VERSION: u16 = 1;
const STAMP_BYTES: usize = 8;
/// What of the stream is in one sector.
pub(super) const SHARE_BYTES: usize = SECTOR - STAMP_BYTES;
const FILLER: u8 = 0xff;
/// The tag of bytes of contents, among those of entries.
pub(super) const BYTES: u8 = 10;
/// Zeros that are written at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Bytes of contents beside a batch, each with the extent it belongs to, encoded.
pub(crate) struct Redo {
    pub(super) payload: Vec<u8>,
    pub(super) entries: u32,
    most_bytes: usize,
    is_whole: bool,
}

impl Redo {
    /// For this many bytes.
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self { payload: Vec::new(), entries: 0, most_bytes, is_whole: false }
    }

    /// Nothing again, in the same memory.
    pub(crate) fn restart(&mut self) {
        self.payload.clear();
        (self.entries, self.is_whole) = (0, true);
    }

    /// Some extent's bytes are not in it: it is of no use.
    pub(crate) fn give_up(&mut self) {
        self.is_whole = false;
    }

    /// Whether the bytes of all extents are in it.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Adds an extent's bytes, if they are not too many.
    pub(crate) fn push(&mut self, extent: u64, bytes: &[u8]) {
        self.is_whole &= self.payload.len() + bytes.len() <= self.most_bytes;
        if !self.is_whole {
            return;
        }
        let mut head = [BYTES; 9];
        head[1..].copy_from_slice(&extent.to_le_bytes());
        put_varint(&mut self.payload, (head.len() + bytes.len()) as u64);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head), bytes);
        self.payload.extend_from_slice(&crc.to_le_bytes());
        self.payload.extend_from_slice(&head);
        self.payload.extend_from_slice(bytes);
        self.entries += 1;
    }
}

/// A front that is written to.
pub(super) struct Front {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    /// Its name.
    pub(super) name: String,
    store_id: u64,
    pub(super) file_bytes: u64,
    /// Where the next frame goes, what it begins with, and the checksum of the header before it.
    at: u64,
    next_seq: u64,
    chain: u32,
    /// Nobody knows what it holds on disk now: there is to be no further write.
    spoilt: bool,
    /// A frame as it stands in the file.
    sectors: Vec<u8>,
}

impl Front {
    /// Makes `front-<seq>`, of so many bytes, all of which are written.
    pub(super) fn make(
        disk: &dyn Disk,
        dir: &Path,
        store_id: u64,
        seq: u64,
        file_bytes: u64,
    ) -> Result<Self> {
        let (name, tmp) = (file_name(FRONT, seq), dir.join(tmp_name(FRONT, seq)));
        let path = dir.join(&name);
        let made = Self::fill(disk, &tmp, store_id, file_bytes)
            .and_then(|file| disk.rename(&tmp, &path).map(|()| file))
            .inspect_err(|_| drop(disk.remove(&tmp)))
            .and_then(|file| disk.sync_dir(dir).map(|()| file));
        let file = made.map_err(|error| refused(&path, "make the journal's front", file_bytes, error))?;
        let (at, spoilt, sectors) = (SECTOR as u64, false, Vec::new());
        Ok(Self { file, path, name, store_id, file_bytes, at, next_seq: seq, chain: 0, spoilt, sectors })
    }

    fn fill(disk: &dyn Disk, tmp: &Path, store_id: u64, file_bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let file = create_over(disk, tmp)?;
        file.allocate(file_bytes)?;
        file.write_at(&mut [IoSlice::new(&encode_header(store_id, file_bytes))], 0)?;
        let mut at = SECTOR as u64;
        while at < file_bytes {
            let len = (file_bytes - at).min(ZEROS.len() as u64);
            file.write_at(&mut [IoSlice::new(&ZEROS[..len as usize])], at)?;
            at += len;
        }
        file.sync()?;
        Ok(file)
    }

    /// Starts over behind operation `seq`, which is the journal's next: invariant 2.
    pub(super) fn start_over(&mut self, seq: u64, chain: u32) {
        (self.at, self.next_seq, self.chain) = (SECTOR as u64, seq, chain);
    }

    pub(super) fn is_spoilt(&self) -> bool {
        self.spoilt
    }

    /// Whether a batch finds room where writing goes on.
    pub(super) fn has_room(&self, batch: &Batch, redo: &Redo) -> bool {
        let payload_bytes = (batch.payload.len() + redo.payload.len()) as u64;
        frame_sectors(payload_bytes)
            .is_some_and(|sectors| self.at + sectors * SECTOR as u64 <= self.file_bytes)
    }

    /// Writes a batch, with the bytes beside it, as one frame and syncs it. There is room.
    pub(super) fn append(&mut self, batch: &Batch, redo: &Redo) -> Result<()> {
        debug_assert!(!self.spoilt && batch.first_seq == self.next_seq && self.has_room(batch, redo));
        let payload_bytes = (batch.payload.len() + redo.payload.len()) as u64;
        let mut header = FrameHeader {
            store_id: self.store_id,
            first_seq: batch.first_seq,
            operations: batch.operations,
            entries: batch.entries + redo.entries,
            file_bytes: self.file_bytes,
            payload_bytes,
            chain: self.chain,
            payload_crc: crc32c::crc32c_append(crc32c::crc32c(&batch.payload), &redo.payload),
            crc: 0,
        };
        let bytes = header.encode(self.at);
        let stamp = stamp(self.store_id, batch.first_seq);
        lay_out(&mut self.sectors, stamp, &[&bytes, &batch.payload, &redo.payload]);
        let written = self.file.write_at(&mut [IoSlice::new(&self.sectors)], self.at);
        let written = written.and_then(|()| self.file.sync());
        self.spoilt = written.is_err();
        written.map_err(|error| refused(&self.path, "write the journal's front", payload_bytes, error))?;
        self.at += self.sectors.len() as u64;
        (self.next_seq, self.chain) = (batch.next_seq(), header.crc);
        Ok(())
    }
}

/// The parts, one after the other, in stamped sectors.
fn lay_out(sectors: &mut Vec<u8>, stamp: [u8; STAMP_BYTES], parts: &[&[u8]]) {
    sectors.clear();
    for part in parts {
        let mut rest = *part;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(SHARE_BYTES - sectors.len() % SECTOR));
            sectors.extend_from_slice(now);
            if sectors.len() % SECTOR == SHARE_BYTES {
                sectors.extend_from_slice(&stamp);
            }
            rest = later;
        }
    }
    if !sectors.len().is_multiple_of(SECTOR) {
        sectors.resize(sectors.len().next_multiple_of(SECTOR) - STAMP_BYTES, FILLER);
        sectors.extend_from_slice(&stamp);
    }
}

/// How many sectors a frame takes; `None` if no file is that long.
pub(super) fn frame_sectors(payload_bytes: u64) -> Option<u64> {
    let stream_bytes = payload_bytes.checked_add(super::frame::HEADER_BYTES as u64)?;
    (stream_bytes <= 1 << 40).then(|| stream_bytes.div_ceil(SHARE_BYTES as u64))
}

/// What the sectors of the frame end with whose first operation is `seq`: splitmix64, which has another value for each.
pub(super) fn stamp(store_id: u64, seq: u64) -> [u8; STAMP_BYTES] {
    let mut x = store_id.wrapping_add(seq.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ x >> 31).to_le_bytes()
}

fn encode_header(store_id: u64, file_bytes: u64) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    sector[0..8].copy_from_slice(MAGIC);
    sector[8..10].copy_from_slice(&VERSION.to_le_bytes());
    sector[16..24].copy_from_slice(&store_id.to_le_bytes());
    sector[40..48].copy_from_slice(&file_bytes.to_le_bytes());
    seal(&mut sector);
    sector
}

/// How long a front of this store is, as its header says; `None` if it is another store's.
pub(super) fn decode_header(path: &Path, sector: &[u8], store_id: u64) -> Result<Option<u64>> {
    let bad = |found: String| corrupt(path, 0, "the header of a front", found);
    check_sealed(sector, MAGIC, VERSION).map_err(bad)?;
    Ok((u64_at(sector, 16) == store_id).then(|| u64_at(sector, 40)))
}
