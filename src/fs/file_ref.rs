//! A file's bytes, held.

use crate::{
    error::Result,
    tier::{At, Core, HeldBlock, Keep, KeptChunk, OnePiece},
};
use std::{fmt, ops::Deref, sync::Arc, sync::OnceLock};

/// One version of a file's bytes. Zero copy when the file is in RAM; whatever becomes of the file, by overwrite, removal,
/// eviction or [`close`](crate::MemFs::close), the bytes stay as they were until this is dropped. What is held counts
/// against the memory limit.
///
/// As a slice a file of several chunks is copied into one piece when it is first asked for; [`chunks`](FileRef::chunks)
/// copies nothing.
///
/// ```
/// # let fs = memfs::MemFs::builder().memory_limit_bytes(1 << 20).build()?;
/// fs.write("/a", "first")?;
/// let held = fs.get("/a")?;
/// fs.write("/a", "second")?;
/// assert_eq!(&held[..], b"first");
/// # Ok::<(), memfs::Error>(())
/// ```
#[derive(Clone)]
pub struct FileRef {
    repr: Repr,
}

#[derive(Clone)]
enum Repr {
    Empty,
    Block(HeldBlock),
    Other(Arc<KeptChunk>),
    Long(Arc<Long>),
}

/// A kept version in several chunks.
struct Long {
    len: u64,
    chunk_bytes: u64,
    chunks: Vec<(u64, KeptChunk)>,
    core: Arc<Core>,
    whole: OnceLock<OnePiece>,
}

/// What holes read as.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl FileRef {
    fn new(keep: Keep, core: &Arc<Core>) -> Self {
        let repr = match keep {
            Keep::Empty => Repr::Empty,
            Keep::Block(block) => Repr::Block(block),
            Keep::Other(kept) => Repr::Other(Arc::new(kept)),
            Keep::Chunks { len, chunk_bytes, chunks } => Repr::Long(Arc::new(Long {
                len,
                chunk_bytes,
                chunks,
                core: core.clone(),
                whole: OnceLock::new(),
            })),
        };
        Self { repr }
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Empty => 0,
            Repr::Block(block) => block.bytes().len(),
            Repr::Other(kept) => kept.bytes().len(),
            Repr::Long(long) => long.len as usize,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in order, in as many pieces as they lie in; never copies. Works for files beyond the memory limit, too: what
    /// cannot be in RAM is then read where it lies on disk.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let (simple, long) = match &self.repr {
            Repr::Empty => (None, None),
            Repr::Block(block) => (Some(block.bytes()), None),
            Repr::Other(kept) => (Some(kept.bytes()), None),
            Repr::Long(long) => (None, Some(LongChunks { at: 0, long, next: 0 })),
        };
        simple.into_iter().chain(long.into_iter().flatten())
    }

    /// The bytes as one slice.
    ///
    /// # Errors
    /// [`Error::MemoryLimit`](crate::Error::MemoryLimit) if the file is in several chunks and one piece of its length cannot
    /// be had under the limit.
    pub fn as_slice(&self) -> Result<&[u8]> {
        match &self.repr {
            Repr::Empty => Ok(&[]),
            Repr::Block(block) => Ok(block.bytes()),
            Repr::Other(kept) => Ok(kept.bytes()),
            Repr::Long(long) => {
                if let Some(piece) = long.whole.get() {
                    return Ok(piece.bytes());
                }
                let built = long.core.piece_of(&long.core.local(), long.len, self.chunks())?;
                Ok(long.whole.get_or_init(|| built).bytes())
            }
        }
    }

    /// Makes sure that the slice can be had.
    pub(crate) fn in_one_piece(self) -> Result<Self> {
        self.as_slice()?;
        Ok(self)
    }
}

/// The pieces of a long file, holes as zeros.
struct LongChunks<'a> {
    long: &'a Long,
    at: u64,
    next: usize,
}

impl<'a> Iterator for LongChunks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let Long { len, chunk_bytes, chunks, .. } = self.long;
        if self.at >= *len {
            return None;
        }
        let start_of = |index: usize| chunks.get(index).map_or(*len, |(chunk, _)| chunk * chunk_bytes);
        if start_of(self.next) == self.at {
            let bytes = chunks[self.next].1.bytes();
            let bytes = &bytes[..bytes.len().min((len - self.at) as usize)];
            self.next += 1;
            self.at += bytes.len() as u64;
            return Some(bytes);
        }
        let zeros = (start_of(self.next) - self.at).min(ZEROS.len() as u64);
        self.at += zeros;
        Some(&ZEROS[..zeros as usize])
    }
}

impl Deref for FileRef {
    type Target = [u8];

    /// The bytes as one slice.
    ///
    /// # Panics
    /// If the file is in several chunks and cannot be built as one piece under the memory limit:
    /// [`as_slice`](FileRef::as_slice) says so with an error, [`chunks`](FileRef::chunks) works all the same.
    fn deref(&self) -> &[u8] {
        match self.as_slice() {
            Ok(bytes) => bytes,
            Err(error) => panic!("{error}; use chunks() for files of this length"),
        }
    }
}

impl AsRef<[u8]> for FileRef {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for FileRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileRef").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Core {
    /// A kept version of a file, as a value.
    pub(crate) fn file_ref(self: &Arc<Self>, at: At<'_>) -> Result<FileRef> {
        let keep = self.keep(&self.local(), at)?;
        Ok(FileRef::new(keep, self))
    }
}
