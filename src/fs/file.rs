//! Open files.

use super::{MemFs, OpenOptions};
use crate::{
    error::{Error, Result},
    index::NodeId,
    tier::{At, Change, Core, MAX_LEN, Metadata},
};
use std::{
    fmt, io,
    io::{Read, Seek, SeekFrom, Write},
    sync::Arc,
};

/// An open file. It follows the file, not the name, over rename, replacement and removal, as on POSIX systems; each call sees
/// or makes one version of the contents, whole. After [`MemFs::close`] every call gives [`Error::Closed`].
///
/// `Read`, `Write` and `Seek` move a position of this handle's own; `read_at` and `write_at` leave it alone and can be called
/// from several threads at once.
///
/// ```
/// use std::io::{Read, Seek, SeekFrom, Write};
/// # let fs = memfs::MemFs::builder().memory_limit_bytes(1 << 20).build()?;
/// let mut file = fs.create("/log")?;
/// writeln!(file, "one")?;
/// writeln!(file, "two")?;
/// drop(file);
/// let mut file = fs.open("/log")?;
/// file.seek(SeekFrom::Start(4))?;
/// let mut rest = String::new();
/// file.read_to_string(&mut rest)?;
/// assert_eq!(rest, "two\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct File {
    core: Arc<Core>,
    id: NodeId,
    /// The name it was opened by.
    path: String,
    position: u64,
    options: OpenOptions,
}

impl File {
    pub(super) fn new(core: Arc<Core>, id: NodeId, path: String, options: OpenOptions) -> Self {
        Self { core, id, path, position: 0, options }
    }

    fn at(&self) -> At<'static> {
        At::Node(self.id)
    }

    fn reading<R>(&self, read: impl FnOnce(&Core, &crate::tier::Local) -> Result<R>) -> Result<R> {
        if !self.options.read {
            return Err(self.not_opened_for("reading"));
        }
        self.core.check_open()?;
        MemFs::timed_read(&self.core, read).map_err(|error| error.about(&self.path))
    }

    fn writing<R>(&self, write: impl FnOnce(&Core, &crate::tier::Local) -> Result<R>) -> Result<R> {
        if !self.options.writes() {
            return Err(self.not_opened_for("writing"));
        }
        MemFs::timed_write(&self.core, write).map_err(|error| error.about(&self.path))
    }

    fn not_opened_for(&self, what: &str) -> Error {
        Error::InvalidArgument {
            path: self.path.clone(),
            argument: "file",
            expected: format!("a file opened for {what}"),
            found: format!("{:?}", self.options),
        }
    }

    /// Fills `buf` from `offset` unless the file ends first; how much was there, 0 at or past the end.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`], [`Error::Closed`]; [`Error::InvalidArgument`] if not opened for reading.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.reading(|core, local| core.read_at(local, self.at(), buf, offset))
    }

    /// Writes all of `data` at `offset`; a gap before it reads as zeros.
    ///
    /// # Errors
    /// [`Error::StorageFull`], [`Error::MemoryLimit`] for a locked file, [`Error::InvalidArgument`] beyond 2^63 - 1 bytes or if
    /// not opened for writing, [`Error::Closed`].
    pub fn write_at(&self, data: &[u8], offset: u64) -> Result<usize> {
        self.put(data, offset).map(|_| data.len())
    }

    /// Writes at `offset`, or at the end if opened to append; where the data ends.
    fn put(&self, data: &[u8], offset: u64) -> Result<u64> {
        let change =
            if self.options.append { Change::Append { data } } else { Change::WriteAt { data, offset } };
        self.writing(|core, local| core.update(local, self.at(), change))
    }

    /// Cuts the file, or extends it by zeros that take no room.
    ///
    /// # Errors
    /// As [`write_at`](File::write_at).
    pub fn set_len(&self, len: u64) -> Result<()> {
        self.writing(|core, local| core.update(local, self.at(), Change::SetLen(len)).map(drop))
    }

    /// Returns when all that was written through any handle is durable, in persist mode; at once in temp mode.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn sync_all(&self) -> Result<()> {
        self.core.check_open()?;
        self.core.sync(&self.core.local()).map_err(|error| error.about(&self.path))
    }

    /// What is known of the file now. The path is its current one, or the one it was opened by if it has none any more.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn metadata(&self) -> Result<Metadata> {
        self.core.check_open()?;
        let local = self.core.local();
        let guard = local.pin();
        let spot = self.core.resolve(self.at(), &guard)?;
        let path = self.core.index.path_of(self.id, &guard).unwrap_or_else(|| self.path.clone());
        // The handle holds the file: only the store's close ends it.
        self.core.describe(&spot, path, &guard).ok_or(Error::Closed)
    }

    fn len(&self) -> Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.read_at(buf, self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Write for File {
    /// Writes all of `data` at the position, or at the end if opened to append.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.position = self.put(data, self.position)?;
        Ok(data.len())
    }

    /// Nothing is buffered here.
    fn flush(&mut self) -> io::Result<()> {
        Ok(self.core.check_open()?)
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.core.check_open()?;
        let (base, offset) = match to {
            SeekFrom::Start(offset) => (offset, 0),
            SeekFrom::Current(offset) => (self.position, offset),
            SeekFrom::End(offset) => (self.len()?, offset),
        };
        let position = base.checked_add_signed(offset).filter(|position| *position <= MAX_LEN);
        self.position = position.ok_or_else(|| Error::InvalidArgument {
            path: self.path.clone(),
            argument: "to",
            expected: format!("a position from 0 to {MAX_LEN}"),
            found: format!("{to:?}"),
        })?;
        Ok(self.position)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.core.drop_ref(&self.core.local(), self.id);
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("path", &self.path)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
