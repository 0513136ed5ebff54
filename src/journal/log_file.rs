//! The journal file that is being written.
//!
//! # Invariants
//! 1. A file has its name only when its header, its length and the frame it may begin with are synced, and the directory too.
//! 2. A frame is written only after the one before was synced, and after its file was known to last to a sector past its end.
//! 3. The header of the frame that says of a greater length stands within the length said before. So whatever a file is cut to,
//!    a header that can be read says that it was longer.
//! 4. After a write or a sync that failed the file is not written again.

use super::{
    batch::Batch,
    checkpoint::StoreParams,
    files::{JOURNAL, create_over, file_name, is_full, refused, tmp_name},
    frame::{FileHeader, FrameHeader, HEADER_BYTES, Mark, SECTOR, Tail, frame_bytes},
};
use crate::{
    error::Result,
    segment::{Disk, DiskFile},
};
use std::{
    io::{self, IoSlice},
    path::{Path, PathBuf},
};

/// A file grows by its length, but by this at least.
const MIN_STEP_BYTES: u64 = 16 << 10;
/// And by this at most.
const MAX_STEP_BYTES: u64 = 1 << 20;

pub(super) struct LogFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    store_id: u64,
    /// Number of the first operation it may hold.
    pub(super) start_seq: u64,
    pub(super) next_seq: u64,
    pub(super) chain: u32,
    /// Where the next frame goes.
    at: u64,
    /// Its length, as it is known to last.
    pub(super) file_bytes: u64,
    pub(super) entries: u64,
    /// Nobody knows what it holds on disk now: there is to be no further write.
    spoilt: bool,
}

/// A journal file that is whole, and does not count until it has its name.
pub(super) struct Unnamed {
    file: LogFile,
    tmp: PathBuf,
}

impl Unnamed {
    /// Makes it over one of the same number that holds nothing that counts. From here on files before it must not be
    /// written, even if this fails: the name may be there after a crash.
    pub(super) fn name(self, disk: &dyn Disk, dir: &Path) -> Result<LogFile> {
        let Self { file, tmp } = self;
        let named = disk.rename(&tmp, &file.path).inspect_err(|_| drop(disk.remove(&tmp)));
        let named = named.and_then(|()| disk.sync_dir(dir));
        named.map_err(|error| refused(&file.path, "name the journal file", SECTOR as u64, error))?;
        Ok(file)
    }
}

impl LogFile {
    /// Makes what will be `journal-<start>`. It begins with `first`, if there is one, as a frame.
    pub(super) fn prepare(
        disk: &dyn Disk,
        dir: &Path,
        place: (&StoreParams, u64, u32),
        first: Option<&Batch>,
    ) -> Result<Unnamed> {
        let (path, tmp) = (dir.join(file_name(JOURNAL, place.1)), dir.join(tmp_name(JOURNAL, place.1)));
        let needed = first.map_or(0, |first| needed(first.payload.len() as u64, SECTOR as u64));
        let file_bytes = needed.next_multiple_of(SECTOR as u64) + MIN_STEP_BYTES;
        match Self::fill(disk, &tmp, path.clone(), place, file_bytes, first) {
            Ok(file) => Ok(Unnamed { file, tmp }),
            Err(error) => {
                let _ = disk.remove(&tmp);
                Err(refused(&path, "make the journal file", file_bytes, error))
            }
        }
    }

    fn fill(
        disk: &dyn Disk,
        tmp: &Path,
        path: PathBuf,
        (params, start_seq, chain): (&StoreParams, u64, u32),
        file_bytes: u64,
        first: Option<&Batch>,
    ) -> io::Result<Self> {
        let file = create_over(disk, tmp)?;
        file.allocate(file_bytes)?;
        let header = FileHeader { params: *params, start_seq, chain, file_bytes };
        file.write_at(&mut [IoSlice::new(&header.encode())], 0)?;
        let (store_id, next_seq, at) = (params.store_id, start_seq, SECTOR as u64);
        let (entries, spoilt) = (0, false);
        let mut made =
            Self { file, path, store_id, start_seq, next_seq, chain, at, file_bytes, entries, spoilt };
        if let Some(first) = first {
            made.write([first, &Batch::new(first.next_seq())])?;
        }
        made.file.sync()?;
        Ok(made)
    }

    /// Whether no frame was written.
    pub(super) fn is_empty(&self) -> bool {
        self.next_seq == self.start_seq
    }

    pub(super) fn is_spoilt(&self) -> bool {
        self.spoilt
    }

    /// What is in use of its length.
    pub(super) fn used_bytes(&self) -> u64 {
        self.at
    }

    /// Writes two batches, of which the second follows the first, as one frame and syncs it. One of them may be empty.
    pub(super) fn append(&mut self, batches: [&Batch; 2]) -> Result<()> {
        debug_assert!(!self.spoilt && batches[0].first_seq == self.next_seq);
        let payload_bytes = payload_bytes(batches);
        self.extend(needed(payload_bytes, self.at))?;
        let written = self.write(batches);
        self.done(written, "write the journal", payload_bytes)?;
        let synced = self.file.sync();
        self.done(synced, "sync the journal", payload_bytes)?;
        // Durable already: the mark is for telling damage from a torn tail, should this be the last frame.
        self.spoilt = self.mark(false).is_err();
        Ok(())
    }

    fn done(&mut self, done: io::Result<()>, doing: &'static str, needed_bytes: u64) -> Result<()> {
        self.spoilt |= done.is_err();
        done.map_err(|error| refused(&self.path, doing, needed_bytes, error))
    }

    fn write(&mut self, batches: [&Batch; 2]) -> io::Result<()> {
        let [first, second] = batches;
        debug_assert_eq!(first.next_seq(), second.first_seq);
        let payload_bytes = payload_bytes(batches);
        let tail = Tail::new(payload_bytes as usize);
        let mut header = FrameHeader {
            store_id: self.store_id,
            first_seq: first.first_seq,
            operations: first.operations + second.operations,
            entries: first.entries + second.entries,
            file_bytes: self.file_bytes,
            payload_bytes,
            chain: self.chain,
            payload_crc: crc32c::crc32c_append(crc32c::crc32c(&first.payload), &second.payload),
            crc: 0,
        };
        let bytes = header.encode(self.at);
        let parts: [&[u8]; 4] = [&bytes, &first.payload, &second.payload, tail.bytes()];
        self.file.write_at(&mut parts.map(IoSlice::new), self.at)?;
        self.at += frame_bytes(payload_bytes).expect("it is in memory");
        self.next_seq = second.next_seq();
        self.entries += u64::from(header.entries);
        self.chain = header.crc;
        Ok(())
    }

    /// Says that all so far is synced; the next frame goes over it.
    fn mark(&self, clean: bool) -> io::Result<()> {
        let (store_id, next_seq) = (self.store_id, self.next_seq);
        let mark = Mark { store_id, next_seq, file_bytes: self.file_bytes, chain: self.chain, clean };
        self.file.write_at(&mut [IoSlice::new(&mark.encode(self.at))], self.at)
    }

    /// Nothing comes after this.
    pub(super) fn close(self) -> Result<()> {
        let failed = |doing| {
            let path = &self.path;
            move |error| refused(path, doing, HEADER_BYTES as u64, error)
        };
        self.mark(true).map_err(failed("write the journal"))?;
        self.file.sync().map_err(failed("sync the journal"))
    }

    /// Makes sure that the file lasts to `needed_bytes`, and looks ahead where that is possible.
    fn extend(&mut self, needed_bytes: u64) -> Result<()> {
        let step = self.file_bytes.clamp(MIN_STEP_BYTES, MAX_STEP_BYTES);
        // Early, by half a step: a disk that is full later still takes what frees space.
        if needed_bytes + step / 2 <= self.file_bytes {
            return Ok(());
        }
        let mut wanted = needed_bytes + step;
        let mut allocated = self.file.allocate(wanted);
        if allocated.as_ref().is_err_and(is_full) {
            if needed_bytes <= self.file_bytes {
                return Ok(());
            }
            wanted = needed_bytes;
            allocated = self.file.allocate(wanted);
        }
        if let Err(error) = allocated {
            // A full disk leaves the file as it was; of anything else nobody knows what it means.
            self.spoilt = !is_full(&error);
            return Err(refused(&self.path, "allocate the journal", needed_bytes, error));
        }
        let synced = self.file.sync();
        self.done(synced, "sync the journal", needed_bytes)?;
        self.file_bytes = wanted;
        Ok(())
    }
}

fn payload_bytes(batches: [&Batch; 2]) -> u64 {
    batches.iter().map(|batch| batch.payload.len() as u64).sum()
}

/// Where the file must reach so that so many bytes of entries can be written at `at`, and a header after them.
fn needed(payload_bytes: u64, at: u64) -> u64 {
    at + frame_bytes(payload_bytes).expect("it is in memory") + SECTOR as u64
}
