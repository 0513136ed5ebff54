//! Contents on their way into a store and out of it, in pieces: none has to fit into memory.

use memfs::{Error, MemFs, OpenOptions, Priority, WriteOptions};
use std::io::{self, Read};

/// What is read and written at once: a chunk of most stores, so that a long file is written chunk by chunk.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// Which side failed.
pub(crate) enum Failed {
    Source(io::Error),
    Store(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Store(error)
    }
}

/// Whether there is no point in going on with other files.
pub(crate) fn is_fatal(error: &Error) -> bool {
    matches!(error, Error::StorageFull { .. } | Error::MemoryLimit { .. } | Error::Io { .. } | Error::Closed)
}

/// A buffer for one piece.
pub(crate) struct Pieces(Vec<u8>);

impl Pieces {
    pub(crate) fn new() -> Self {
        Self(vec![0; PIECE_BYTES])
    }

    /// Writes what `source` has to its end into the file at `path`, which is replaced in one instant
    /// and keeps its priority unless another is given. Tells `seen` of the
    /// bytes of each piece; answers with the length.
    pub(crate) fn take_in(
        &mut self,
        fs: &MemFs,
        path: &str,
        priority: Option<Priority>,
        source: &mut impl Read,
        mut seen: impl FnMut(u64),
    ) -> Result<u64, Failed> {
        let got = fill(source, &mut self.0).map_err(Failed::Source)?;
        if got < PIECE_BYTES {
            seen(got as u64);
            let options =
                priority.map_or(WriteOptions::new(), |priority| WriteOptions::new().priority(priority));
            fs.write_with(path, &self.0[..got], &options)?;
            return Ok(got as u64);
        }
        let had = match fs.metadata(path) {
            Ok(found) if found.is_dir() => {
                return Err(Error::IsADirectory { path: found.path().to_owned() }.into());
            }
            found => found.ok().map(|found| found.priority()),
        };
        let part = part(fs, priority.or(had))?;
        let taken = self.take_long(fs, path, &part, source, &mut seen);
        if taken.is_err() {
            // The first error is the one to be told.
            let _ = fs.remove_file(&part);
        }
        taken
    }

    /// The whole of a file of which the buffer holds the first piece, by way of `part`.
    fn take_long(
        &mut self,
        fs: &MemFs,
        path: &str,
        part: &str,
        source: &mut impl Read,
        seen: &mut impl FnMut(u64),
    ) -> Result<u64, Failed> {
        let (mut len, mut got) = (0, PIECE_BYTES);
        while got > 0 {
            let piece = &self.0[..got];
            // What is not written reads as zeros and takes no room.
            if !is_zero(piece) {
                fs.write_at(part, piece, len)?;
            }
            len += got as u64;
            seen(got as u64);
            got = if got < PIECE_BYTES { 0 } else { fill(source, &mut self.0).map_err(Failed::Source)? };
        }
        fs.set_len(part, len)?;
        // A rename makes no parents. Which that is the store knows best, whatever the spelling.
        fs.create_dir_all(format!("{path}/.."))?;
        fs.rename(part, path)?;
        Ok(len)
    }

    /// Hands the file at `path` to `each` in order, with the offset of every piece, until that says `false`.
    pub(crate) fn give_out<E: From<Error>>(
        &mut self,
        fs: &MemFs,
        path: &str,
        mut each: impl FnMut(u64, &[u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        let file = fs.open(path)?;
        let mut at = 0;
        loop {
            let got = file.read_at(&mut self.0, at)?;
            if got == 0 || !each(at, &self.0[..got])? {
                return Ok(());
            }
            at += got as u64;
        }
    }
}

/// A new file in which contents gather until they are whole.
fn part(fs: &MemFs, priority: Option<Priority>) -> Result<String, Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    if let Some(priority) = priority {
        options.priority(priority);
    }
    for number in 0u64.. {
        let path = format!("/.memfs-part-{number}");
        match fs.open_with(&path, &options) {
            Ok(_) => return Ok(path),
            Err(Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("a store has fewer than 2^64 files")
}

/// Reads until `piece` is full or the source ends.
fn fill(source: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < piece.len() {
        match source.read(&mut piece[got..]) {
            Ok(0) => break,
            Ok(some) => got += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Compared with itself one byte on: as fast as memory.
    bytes.first().is_none_or(|first| *first == 0 && bytes[1..] == bytes[..bytes.len() - 1])
}
