//! One journal file, read from its beginning: frames that verify and follow from each other, then the verdict on what comes
//! after them: the end, a torn tail, or damage.

use super::{
    checkpoint::StoreParams,
    files::{JOURNAL, Reader, corrupt, file_name},
    frame::{FileHeader, FrameHeader, HEADER_BYTES, Mark, SECTOR, frame_bytes, may_be_torn, was_frame},
};
use crate::{
    error::{Error, Result},
    segment::Disk,
};
use std::path::Path;

/// How a journal file ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Ending {
    /// All frames are known to have been synced.
    pub(super) proven: bool,
    /// The store was closed.
    pub(super) clean: bool,
    /// From here to the last byte that is not zero lies what was begun and not finished; 0: nothing.
    pub(super) torn_bytes: u64,
}

/// A frame that verifies.
pub(super) struct Frame<'a> {
    pub(super) at: u64,
    pub(super) header: FrameHeader,
    pub(super) payload: &'a [u8],
}

/// Where a frame was found, and what it followed.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) at: u64,
    pub(super) header: FrameHeader,
    /// Of the frame with its filler.
    pub(super) len: u64,
}

pub(super) struct LogReader {
    pub(super) file: Reader,
    pub(super) header: FileHeader,
    /// Offset of what has not been read.
    pub(super) at: u64,
    /// Number of the operation that is expected there.
    pub(super) seq: u64,
    /// Checksum of the last header read.
    pub(super) chain: u32,
    /// The last frame read.
    pub(super) last: Option<Found>,
}

impl LogReader {
    /// Opens `journal-<start>` and checks its header; `None` if there is no such file.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        start: u64,
        params: Option<&StoreParams>,
    ) -> Result<Option<Self>> {
        let Some(mut file) = Reader::open(disk, dir.join(file_name(JOURNAL, start)))? else {
            return Ok(None);
        };
        let wanted = || format!("the header of the journal from operation {start}");
        let header = match FileHeader::decode(file.get(0, SECTOR)?) {
            Ok(header) => header,
            Err(found) => return Err(corrupt(&file.path, 0, wanted(), found)),
        };
        if header.start_seq != start || params.is_some_and(|params| header.params != *params) {
            let (store_id, start_seq) = (header.params.store_id, header.start_seq);
            let found =
                format!("that of store {store_id:016x}, or of another layout, from operation {start_seq}");
            return Err(corrupt(&file.path, 0, wanted(), found));
        }
        if header.file_bytes > file.len {
            return Err(truncated(&file, header.file_bytes));
        }
        let at = SECTOR as u64;
        Ok(Some(Self { file, header, at, seq: start, chain: header.chain, last: None }))
    }

    /// The next frame; `None` if what follows is none that verifies. Then [`ending`](Self::ending) knows what it is.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'_>>> {
        let at = self.at;
        let Some(header) = FrameHeader::decode(self.file.get(at, HEADER_BYTES)?, at) else {
            return Ok(None);
        };
        let len = self.check(&header)?;
        let payload = HEADER_BYTES..HEADER_BYTES + header.payload_bytes as usize;
        let frame = self.file.get(at, len as usize)?;
        if crc32c::crc32c(&frame[payload.clone()]) != header.payload_crc {
            return Ok(None);
        }
        self.at += len;
        self.seq = header.next_seq();
        self.chain = header.crc;
        self.last = Some(Found { at, header, len });
        // Read again from the window: the borrow above ended with the check.
        let frame = self.file.get(at, len as usize)?;
        Ok(Some(Frame { at, header, payload: &frame[payload] }))
    }

    /// Whether a frame whose header verifies belongs here; its length in the file.
    fn check(&self, header: &FrameHeader) -> Result<u64> {
        let len = frame_bytes(header.payload_bytes);
        let end = len.and_then(|len| self.at.checked_add(len)?.checked_add(SECTOR as u64));
        let (Some(len), Some(true), true) =
            (len, end.map(|end| end <= header.file_bytes), header.operations > 0)
        else {
            let found = format!(
                "a frame of {} operations in {} bytes, in a file of {}",
                header.operations, header.payload_bytes, header.file_bytes
            );
            return Err(corrupt(&self.file.path, self.at, "a frame within its file", found));
        };
        if header.file_bytes > self.file.len {
            return Err(truncated(&self.file, header.file_bytes));
        }
        let belongs = (self.header.params.store_id, self.seq, self.chain);
        let found = (header.store_id, header.first_seq, header.chain);
        if belongs != found {
            let describe = |(store, seq, chain): (u64, u64, u32)| {
                format!("operation {seq} of store {store:016x} after {chain:#010x}")
            };
            return Err(corrupt(&self.file.path, self.at, describe(belongs), describe(found)));
        }
        Ok(len)
    }

    /// Reads on until operation `until`, where the next file begins; that this one goes so far was promised by that.
    pub(super) fn check_reaches(&mut self, until: u64) -> Result<()> {
        if self.seq == until {
            return Ok(());
        }
        Err(corrupt(
            &self.file.path,
            self.at,
            format!("operation {}: the next journal file begins with {until}", self.seq),
            if self.seq < until { "no frame that verifies" } else { "a frame that ends after it" },
        ))
    }

    /// What there is after the last frame, in the last of the files.
    ///
    /// # Errors
    /// `Corrupt` if it is no end, and cannot be what a crash leaves of a frame that was never acknowledged.
    pub(super) fn ending(&mut self) -> Result<Ending> {
        let at = self.at;
        let place = self.file.get(at, SECTOR)?;
        if place.len() < SECTOR {
            return Err(truncated(&self.file, at + SECTOR as u64));
        }
        let mark = Mark::decode(place, at);
        let header = FrameHeader::decode(place, at);
        let was_frame = was_frame(place);
        if let Some(mark) = mark {
            self.check_mark(&mark)?;
        }
        let (proof, torn_bytes) = self.rest(at)?;
        let found = if let Some(later) = proof {
            format!("none that verifies, and at {later} what was written after it was synced")
        } else if let Some(header) = header {
            let len = self.check(&header)?;
            if may_be_torn(self.file.get(at, len as usize)?) {
                // The frame before it was synced before this one was begun.
                return Ok(Ending { proven: true, clean: false, torn_bytes });
            }
            format!("one whose bytes are others than checksum {:#010x}", header.payload_crc)
        } else if mark.is_none() && was_frame {
            "one whose header does not verify".to_owned()
        } else {
            // A file gets its name when its header, and a frame it may begin with, are synced.
            let proven = mark.is_some() || self.last.is_none();
            let clean = mark.is_some_and(|mark| mark.clean) && torn_bytes == 0;
            return Ok(Ending { proven, clean, torn_bytes });
        };
        Err(corrupt(&self.file.path, at, format!("the frame of operation {}", self.seq), found))
    }

    fn check_mark(&self, mark: &Mark) -> Result<()> {
        if mark.file_bytes > self.file.len {
            return Err(truncated(&self.file, mark.file_bytes));
        }
        let belongs = (self.header.params.store_id, self.seq, self.chain);
        let found = (mark.store_id, mark.next_seq, mark.chain);
        if belongs == found {
            return Ok(());
        }
        let describe = |(store, seq, chain): (u64, u64, u32)| {
            format!("a mark before operation {seq} of store {store:016x} after {chain:#010x}")
        };
        Err(corrupt(&self.file.path, self.at, describe(belongs), describe(found)))
    }

    /// Looks through what comes after the sector at `at`: where something verifies, if anything does, and how far from `at`
    /// there is something (0: there is not; a mark at `at` is nothing).
    fn rest(&mut self, at: u64) -> Result<(Option<u64>, u64)> {
        let first = self.file.get(at, SECTOR)?;
        let skip = if Mark::decode(first, at).is_some() { HEADER_BYTES } else { 0 };
        let mut dirty_to = if is_zero(&first[skip..]) { at } else { at + SECTOR as u64 };
        let mut here = at + SECTOR as u64;
        while here < self.file.len {
            let sector = self.file.get(here, SECTOR)?;
            if !is_zero(sector) {
                if FrameHeader::decode(sector, here).is_some() || Mark::decode(sector, here).is_some() {
                    return Ok((Some(here), 0));
                }
                dirty_to = here + sector.len() as u64;
            }
            here += SECTOR as u64;
        }
        Ok((None, dirty_to - at))
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn truncated(file: &Reader, expected: u64) -> Error {
    corrupt(&file.path, file.len, format!("a file of {expected} bytes"), "its end")
}
