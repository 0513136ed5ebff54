//! Reading a front: frames that verify and follow what the journal has, then the verdict on what comes after them.

use super::{
    batch::{Batch, Entries},
    checkpoint::StoreParams,
    delta::Delta,
    entry::{self, Entry},
    files::{FRONT, Reader, corrupt, file_name},
    frame::{FrameHeader, HEADER_BYTES, SECTOR},
    front::{BYTES, SHARE_BYTES, decode_header, frame_sectors, stamp},
    wire::{Malformed, u64_at},
};
use crate::{error::Result, segment::Disk};
use std::{collections::HashMap, path::Path};

/// Bytes of contents by the extent they belong to: what may not be in its place on disk.
pub(crate) type Contents = HashMap<u64, Vec<u8>, foldhash::fast::RandomState>;

/// A frame that verifies, taken out of its sectors.
pub(super) struct FrontFrame {
    pub(super) at: u64,
    pub(super) header: FrameHeader,
    pub(super) payload: Vec<u8>,
}

pub(super) struct FrontReader {
    pub(super) file: Reader,
    store_id: u64,
    /// Offset of what has not been read.
    pub(super) at: u64,
    /// Number of the operation that is expected there, and the checksum of the header before it.
    pub(super) seq: u64,
    pub(super) chain: u32,
    /// The journal has all that was acknowledged of it. There may be frames besides that were not, as far as they got.
    is_past: bool,
    /// There is a frame, whole or torn, that was written when what is before it was durable.
    follows: bool,
}

impl FrontReader {
    /// Opens `front-<start>`, to read from operation `seq` on; `None` if there is no such file of this store.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        start: u64,
        params: &StoreParams,
        (seq, chain): (u64, u32),
    ) -> Result<Option<Self>> {
        let Some(mut file) = Reader::open(disk, dir.join(file_name(FRONT, start)))? else {
            return Ok(None);
        };
        let path = file.path.clone();
        let Some(file_bytes) = decode_header(&path, file.get(0, SECTOR)?, params.store_id)? else {
            return Ok(None);
        };
        if file_bytes > file.len {
            return Err(corrupt(&path, file.len, format!("a file of {file_bytes} bytes"), "its end"));
        }
        Ok(Some(Self {
            file,
            store_id: params.store_id,
            at: SECTOR as u64,
            seq,
            chain,
            is_past: false,
            follows: false,
        }))
    }

    /// The next frame; `None` if what follows is none that counts.
    ///
    /// # Errors
    /// `Corrupt` if it cannot be what a crash leaves of a frame that was never acknowledged, or of what was there before.
    pub(super) fn next(&mut self) -> Result<Option<FrontFrame>> {
        let (at, expected) = (self.at, stamp(self.store_id, self.seq));
        let path = self.file.path.clone();
        let bad = |found: String| corrupt(&path, at, format!("the frame of operation {}", self.seq), found);
        let sector = self.file.get(at, SECTOR)?;
        if sector.len() < SECTOR {
            return Ok(None);
        }
        let Some(header) = header_in(sector, at) else {
            return if sector[SHARE_BYTES..] == expected {
                Err(bad("one whose header does not verify".to_owned()))
            } else {
                Ok(None)
            };
        };
        // The journal takes over all that is in a front, at once.
        self.is_past = at == SECTOR as u64 && header.first_seq < self.seq;
        if self.is_past || header.next_seq() <= self.seq {
            return Ok(None);
        }
        let other = || format!("operation {} after {:#010x}", header.first_seq, header.chain);
        if (header.store_id, header.first_seq) != (self.store_id, self.seq) {
            return Err(bad(other()));
        }
        self.follows |= header.chain == self.chain;
        let len = frame_sectors(header.payload_bytes).map(|sectors| sectors * SECTOR as u64);
        let Some(len) = len.filter(|len| at + len <= header.file_bytes && header.operations > 0) else {
            return Err(bad(format!("one of {} bytes", header.payload_bytes)));
        };
        let frame = self.file.get(at, len as usize)?;
        if (frame.len() as u64) < len {
            return Err(bad("the file's end".to_owned()));
        }
        let sectors = || frame.chunks_exact(SECTOR);
        let mut payload: Vec<u8> = sectors().flat_map(|sector| &sector[..SHARE_BYTES]).copied().collect();
        payload.truncate(HEADER_BYTES + header.payload_bytes as usize);
        payload.drain(..HEADER_BYTES);
        if crc32c::crc32c(&payload) == header.payload_crc {
            if header.chain != self.chain {
                return Err(bad(other()));
            }
            self.at += len;
            (self.seq, self.chain) = (header.next_seq(), header.crc);
            return Ok(Some(FrontFrame { at, header, payload }));
        }
        // One changed byte is in the stream, and all stamps are right; or it is in a stamp, and the stream is right.
        if sectors().all(|sector| sector[SHARE_BYTES..] == expected) {
            return Err(bad(format!(
                "one whose bytes are others than checksum {:#010x}",
                header.payload_crc
            )));
        }
        Ok(None)
    }

    /// Takes the next header that verifies, of an operation not before the one expected, for the one expected; `false` if there
    /// is none. For who reads what is damaged.
    pub(super) fn skip(&mut self) -> bool {
        while let Ok(sector) = self.file.get(self.at + SECTOR as u64, SECTOR)
            && !sector.is_empty()
        {
            self.at += SECTOR as u64;
            let header = header_in(sector, self.at);
            if let Some(header) = header.filter(|header| header.first_seq >= self.seq) {
                (self.seq, self.chain) = (header.first_seq, header.chain);
                return true;
            }
        }
        false
    }

    /// Takes the first frame as it comes, where nobody knows what it follows.
    pub(super) fn begin_anywhere(&mut self) {
        let first = self.file.get(self.at, SECTOR).ok().and_then(|sector| header_in(sector, self.at));
        if let Some(header) = first.filter(|header| header.first_seq >= self.seq) {
            (self.seq, self.chain) = (header.first_seq, header.chain);
        }
    }

    /// Makes sure that nothing that counts is behind the last frame: that would have been written after what is there was synced.
    pub(super) fn check_rest(&mut self) -> Result<()> {
        let mut at = if self.is_past { self.file.len } else { self.at + SECTOR as u64 };
        while at + SECTOR as u64 <= self.file.len {
            let header = header_in(self.file.get(at, SECTOR)?, at);
            if header.is_some_and(|header| header.store_id == self.store_id && header.next_seq() > self.seq) {
                let found = format!("none that verifies, and at {at} what was written after it was synced");
                let expected = format!("the frame of operation {}", self.seq);
                return Err(corrupt(&self.file.path, self.at, expected, found));
            }
            at += SECTOR as u64;
        }
        Ok(())
    }
}

fn header_in(sector: &[u8], at: u64) -> Option<FrameHeader> {
    FrameHeader::decode(sector.get(..SHARE_BYTES)?, at)
}

impl FrontFrame {
    /// Where in the payload the bytes of contents begin, which come after all entries, and how many entries there are.
    fn split(&self) -> (usize, u32) {
        let mut entries = 0;
        for framed in Entries::new(&self.payload, false) {
            if framed.body.is_ok_and(|body| body.first() == Some(&BYTES)) {
                return (framed.at, entries);
            }
            entries += 1;
        }
        (self.payload.len(), entries)
    }

    /// The frame without bytes of contents.
    pub(super) fn batch(&self) -> Batch {
        let (end, entries) = self.split();
        Batch::from_disk(self.header.first_seq, self.header.operations, entries, self.payload[..end].to_vec())
    }

    /// Notes what bytes the frame brings, of extents that it names.
    pub(super) fn note_contents(&self, contents: &mut Contents) -> Result<(), (usize, Malformed)> {
        let mut chunks = Vec::new();
        let mut count = 0;
        for framed in Entries::new(&self.payload, false) {
            let bad = |malformed| (framed.at, malformed);
            let body = framed.body.map_err(bad)?;
            count += 1;
            if let Some((&BYTES, body)) = body.split_first() {
                let (extent, bytes) =
                    body.split_at_checked(8).ok_or(bad(Malformed("bytes without an extent")))?;
                contents.insert(u64_at(extent, 0), bytes.to_vec());
                continue;
            }
            // What was there before this, under the same number, is another's.
            match entry::decode(body, &mut chunks).map_err(bad)? {
                Entry::Content { chunks, .. } => {
                    chunks.iter().for_each(|(_, extent)| drop(contents.remove(extent)));
                }
                Entry::Move { to, .. } => drop(contents.remove(&to)),
                _ => {}
            }
        }
        if count == self.header.entries {
            return Ok(());
        }
        Err((self.payload.len(), Malformed("another number of entries than the frame has")))
    }
}

/// What follows the journal in the fronts.
pub(super) struct Ahead {
    /// Without bytes of contents; empty if there is nothing.
    pub(super) batch: Batch,
    pub(super) contents: Contents,
    /// A front shows that all of the journal was synced.
    pub(super) proves_journal: bool,
}

/// Reads the fronts that begin at `starts` into `delta`, as far as they follow the operation before `seq`.
pub(super) fn read_ahead(
    disk: &dyn Disk,
    dir: &Path,
    params: &StoreParams,
    starts: &[u64],
    (mut seq, mut chain): (u64, u32),
    delta: &mut Delta,
) -> Result<Ahead> {
    let mut ahead = Ahead { batch: Batch::new(seq), contents: Contents::default(), proves_journal: false };
    for &start in starts {
        let Some(mut front) = FrontReader::open(disk, dir, start, params, (seq, chain))? else { continue };
        while let Some(frame) = front.next()? {
            let path = &front.file.path;
            let bad = |(at, Malformed(found)): (usize, Malformed)| {
                corrupt(path, frame.at, format!("an entry at {at} of the frame"), found)
            };
            let batch = frame.batch();
            let mut chunks = Vec::new();
            for framed in Entries::new(&batch.payload, false) {
                let applied = framed.body.and_then(|body| delta.apply(&entry::decode(body, &mut chunks)?));
                applied.map_err(|malformed| bad((framed.at, malformed)))?;
            }
            frame.note_contents(&mut ahead.contents).map_err(bad)?;
            ahead.batch.extend(&batch);
        }
        front.check_rest()?;
        ahead.proves_journal |= front.follows;
        (seq, chain) = (front.seq, front.chain);
    }
    Ok(ahead)
}
