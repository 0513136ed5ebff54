//! Real files into the store, in parallel, hashed as they are read. What counts afterwards is what was loaded: a file
//! that changes, shrinks or vanishes meanwhile is known by the bytes that went into the store.

use super::{
    table::{Record, Table},
    workers::on_each_file,
};
use crate::{
    digest::{Digest, digest},
    trouble::Trouble,
};
use indicatif::ProgressBar;
use memfs::MemFs;
use rustix::fs::OFlags;
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
};

/// What is read and written at once: a chunk of the store, so that a long file is written chunk by chunk.
const PIECE_BYTES: usize = 1 << 20;
/// More threads than this only cost buffers.
const THREADS_MAX: usize = 8;

/// What went in.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Listed by the scan, but they could not be opened or read.
    pub(crate) unreadable: u64,
    /// Shorter than the scan had seen them.
    pub(crate) changed: u64,
}

#[derive(Default)]
struct Loader {
    done: Loaded,
    path: String,
    piece: Vec<u8>,
}

/// Loads every file of the table.
pub(crate) fn load(
    fs: &MemFs,
    table: &Table,
    threads: usize,
    progress: &ProgressBar,
) -> Result<Loaded, Trouble> {
    let loaders = on_each_file(table, threads.min(THREADS_MAX), Loader::default, |loader, id| {
        loader.load(fs, table, id)?;
        progress.inc(table.file(id).len_bytes());
        Ok(())
    })?;
    Ok(loaders.into_iter().fold(Loaded::default(), |sum, Loader { done, .. }| Loaded {
        files: sum.files + done.files,
        bytes: sum.bytes + done.bytes,
        unreadable: sum.unreadable + done.unreadable,
        changed: sum.changed + done.changed,
    }))
}

impl Loader {
    fn load(&mut self, fs: &MemFs, table: &Table, id: u32) -> Result<(), Trouble> {
        let file = table.file(id);
        let wanted = file.len_bytes();
        let first = open(table, id).and_then(|mut source| Ok((self.fill(&mut source, wanted)?, source)));
        let Ok(((got, end), mut source)) = first else {
            self.done.unreadable += 1;
            return Ok(());
        };
        table.path(id, &mut self.path);
        if end || got as u64 == wanted {
            fs.write(&self.path, &self.piece[..got])?;
            file.set_contents(got as u64, digest(&self.piece[..got]));
        } else {
            self.load_long(fs, file, &mut source, wanted, got)?;
        }
        self.done.files += 1;
        self.done.bytes += file.len_bytes();
        self.done.changed += u64::from(file.len_bytes() < wanted);
        Ok(())
    }

    /// The rest of a file of which `piece` holds the first `got` bytes.
    fn load_long(
        &mut self,
        fs: &MemFs,
        file: &Record,
        source: &mut fs::File,
        wanted: u64,
        got: usize,
    ) -> Result<(), Trouble> {
        let mut sink = fs.create(&self.path)?;
        let (mut hash, mut got, mut end) = (Digest::default(), got, false);
        loop {
            hash.update(&self.piece[..got]);
            sink.write_all(&self.piece[..got]).map_err(|error| Trouble(format!("store: {error}")))?;
            if end || hash.len_bytes() == wanted {
                break;
            }
            (got, end) = self.fill(source, wanted - hash.len_bytes()).unwrap_or((0, true));
        }
        file.set_contents(hash.len_bytes(), hash.finish());
        Ok(())
    }

    /// Reads the next piece, at most `wanted` bytes; how many came, and whether the source ended before. An error after
    /// some bytes counts as the end.
    fn fill(&mut self, source: &mut fs::File, wanted: u64) -> io::Result<(usize, bool)> {
        let room = usize::try_from(wanted).unwrap_or(usize::MAX).min(PIECE_BYTES);
        if self.piece.len() < room {
            self.piece.resize(room, 0);
        }
        let mut got = 0;
        while got < room {
            match source.read(&mut self.piece[got..room]) {
                Ok(0) => return Ok((got, true)),
                Ok(some) => got += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if got == 0 => return Err(error),
                Err(_) => return Ok((got, true)),
            }
        }
        Ok((got, false))
    }
}

/// Opens the source without following a link and without waiting for a pipe that has taken the file's place.
fn open(table: &Table, id: u32) -> io::Result<fs::File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let source = fs::OpenOptions::new().read(true).custom_flags(flags as i32).open(table.source_path(id))?;
    if source.metadata()?.is_file() { Ok(source) } else { Err(io::ErrorKind::InvalidInput.into()) }
}
