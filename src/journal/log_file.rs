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
    error::{Error, Result},
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
    /// Nobody knows what it holds on disk now: there is to be no further write.
    spoilt: bool,
}

impl LogFile {
    /// Makes `journal-<start>`, over one of that name which holds nothing that counts. It begins with `first`, if there is
    /// one, as a frame.
    pub(super) fn create(
        disk: &dyn Disk,
        dir: &Path,
        (params, start_seq, chain): (&StoreParams, u64, u32),
        first: Option<&Batch>,
    ) -> Result<Self> {
        let path = dir.join(file_name(JOURNAL, start_seq));
        let tmp = dir.join(tmp_name(JOURNAL, start_seq));
        let needed = first.map_or(0, |first| needed(first, SECTOR as u64));
        let failed = |doing| {
            let path = path.clone();
            move |error| refused(&path, doing, MIN_STEP_BYTES + needed, error)
        };
        let make = || -> Result<Self> {
            let file = create_over(disk, &tmp).map_err(failed("make the journal file"))?;
            let file_bytes = needed.next_multiple_of(SECTOR as u64) + MIN_STEP_BYTES;
            file.allocate(file_bytes).map_err(failed("allocate the journal file"))?;
            let header = FileHeader { params: *params, start_seq, chain, file_bytes };
            let write = file.write_at(&mut [IoSlice::new(&header.encode())], 0);
            write.map_err(failed("write the journal file"))?;
            let (next_seq, at) = (start_seq, SECTOR as u64);
            let mut made = Self {
                file,
                path: path.clone(),
                store_id: params.store_id,
                start_seq,
                next_seq,
                chain,
                at,
                file_bytes,
                spoilt: false,
            };
            if let Some(first) = first {
                made.write(first).map_err(failed("write the journal file"))?;
            }
            made.file.sync().map_err(failed("sync the journal file"))?;
            disk.rename(&tmp, &path).map_err(failed("name the journal file"))?;
            disk.sync_dir(dir).map_err(failed("sync the storage directory"))?;
            Ok(made)
        };
        make().inspect_err(|_| drop(disk.remove(&tmp)))
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

    /// Writes `batch` as one frame and syncs it.
    pub(super) fn append(&mut self, batch: &Batch) -> Result<()> {
        debug_assert!(!self.spoilt && batch.first_seq == self.next_seq && batch.operations > 0);
        self.extend(needed(batch, self.at))?;
        let written = self.write(batch);
        self.done(written, "write the journal", batch.payload.len() as u64)?;
        let synced = self.file.sync();
        self.done(synced, "sync the journal", batch.payload.len() as u64)?;
        // Durable already: the mark is for telling damage from a torn tail, should this be the last frame.
        self.spoilt = self.mark(false).is_err();
        Ok(())
    }

    fn done(&mut self, done: io::Result<()>, doing: &'static str, needed_bytes: u64) -> Result<()> {
        self.spoilt |= done.is_err();
        done.map_err(|error| refused(&self.path, doing, needed_bytes, error))
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let payload_bytes = batch.payload.len() as u64;
        let tail = Tail::new(batch.payload.len());
        let mut header = FrameHeader {
            store_id: self.store_id,
            first_seq: batch.first_seq,
            operations: batch.operations,
            entries: batch.entries,
            file_bytes: self.file_bytes,
            payload_bytes,
            chain: self.chain,
            payload_crc: crc32c::crc32c(&batch.payload),
            crc: 0,
        };
        let bytes = header.encode(self.at);
        let mut parts = [IoSlice::new(&bytes), IoSlice::new(&batch.payload), IoSlice::new(tail.bytes())];
        self.file.write_at(&mut parts, self.at)?;
        self.at += frame_bytes(payload_bytes).expect("it is in memory");
        self.next_seq = batch.next_seq();
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

/// Where the file must reach so that `batch` can be written at `at`, and a header after it.
fn needed(batch: &Batch, at: u64) -> u64 {
    at + frame_bytes(batch.payload.len() as u64).expect("it is in memory") + SECTOR as u64
}
