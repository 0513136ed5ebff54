//! The store's handle.

use super::{
    File, FileRef, OpenOptions, Preload, WriteOptions,
    oplog::About,
    store::{Opener, Store},
};
use crate::{
    config::{Builder, Config, Priority, StorageMode},
    error::{Error, Result},
    stats::{Histogram, Stats, is_sampled},
    tier::{At, Change, Core, GcReport, Local, Metadata, Naming, Opening, root_stays},
};
use std::{fmt, path::Path, sync::Arc, time::Instant};

/// A memory-first file store: virtual paths to contents, in RAM under a hard limit, on disk beyond it.
///
/// Cheap to clone; every method takes `&self` and may be called from any thread. Reads, writes, creation, removal and look-up
/// take no lock and wait for no other thread; what waits for disk says so. Dropping the last clone closes the store.
///
/// Every operation on a single file, and [`rename`](MemFs::rename), happens at one instant between call and return
/// (linearizable); listings are not snapshots (see [`read_dir`](MemFs::read_dir)).
///
/// Paths are UTF-8 and rooted at `/`: a missing leading `/` is supplied, `\` counts as `/`, repeated `/` and `.` collapse,
/// `..` is resolved and cannot escape the root, a trailing `/` names a directory.
///
/// ```
/// let fs = memfs::MemFs::builder().memory_limit_bytes(16 << 20).build()?;
/// fs.write("/models/small.bin", vec![1; 4096])?;
/// let sum = fs.read_with("/models/small.bin", |bytes| bytes.iter().map(|b| *b as u64).sum::<u64>())?;
/// assert_eq!(sum, 4096);
/// # Ok::<(), memfs::Error>(())
/// ```
#[derive(Clone)]
pub struct MemFs {
    pub(super) opener: Arc<Opener>,
}

/// Records how long it lived: so a result is nowhere between where it is made and the caller.
struct Timing<'c> {
    started: Instant,
    into: &'c Histogram,
}

impl Drop for Timing<'_> {
    #[cold]
    fn drop(&mut self) {
        self.into.record(self.started.elapsed().as_nanos() as u64);
    }
}

impl Builder {
    /// Opens the store.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] names the value that is out of range, [`Error::InstanceConflict`] a storage directory that
    /// is in use, [`Error::Io`] what the system refused.
    pub fn build(self) -> Result<MemFs> {
        MemFs::open_config(self.resolve()?)
    }
}

impl MemFs {
    /// A temporary store with all defaults: 0.8 of the memory this process may use, segments in the system's temporary
    /// directory.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new() -> Result<MemFs> {
        Self::builder().build()
    }

    /// A store that outlives the process, in `dir`.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn persistent(dir: impl AsRef<Path>) -> Result<MemFs> {
        Self::builder().mode(StorageMode::Persist).storage_path(dir).build()
    }

    /// Everything that can be chosen.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn open_config(config: Config) -> Result<MemFs> {
        Ok(MemFs { opener: Arc::new(Opener::new(config)?) })
    }

    fn store(&self) -> &Store {
        self.opener.store()
    }

    /// The core, unless this opener has closed.
    #[inline]
    fn open_core(&self) -> Result<&Arc<Core>> {
        if self.opener.has_closed() { Err(Error::Closed) } else { Ok(self.core()) }
    }

    fn core(&self) -> &Arc<Core> {
        &self.opener.core
    }

    pub(super) fn check_open(&self) -> Result<()> {
        self.open_core()?.check_open()
    }

    /// Counts, and now and then times, a read of a store that the caller found open. (A store is closed after its openers.)
    #[inline(always)]
    pub(super) fn timed_read<R>(
        core: &Arc<Core>,
        read: impl FnOnce(&Core, &Local) -> Result<R>,
    ) -> Result<R> {
        let local = core.local();
        let is_timed = is_sampled(local.counters.reads.add(1));
        let _timing = is_timed.then(|| Timing { started: Instant::now(), into: &local.counters.read_ns });
        read(core, &local)
    }

    /// Counts, and now and then times, a change of contents.
    pub(super) fn timed_write<R>(
        core: &Arc<Core>,
        write: impl FnOnce(&Core, &Local) -> Result<R>,
    ) -> Result<R> {
        let local = core.local();
        core.check_open()?;
        let is_timed = is_sampled(local.counters.writes.add(1));
        let _timing = is_timed.then(|| Timing { started: Instant::now(), into: &local.counters.write_ns });
        let done = write(core, &local).map_err(|error| unless_closed(core, error))?;
        core.acknowledge(&local)?;
        Ok(done)
    }

    /// Counts another operation.
    pub(super) fn other<R>(&self, run: impl FnOnce(&Arc<Core>, &Local) -> Result<R>) -> Result<R> {
        let core = self.open_core()?;
        let local = core.local();
        core.check_open()?;
        local.counters.others.add(1);
        run(core, &local).map_err(|error| unless_closed(core, error))
    }

    /// Counts another operation that changes something.
    fn change<R>(&self, run: impl FnOnce(&Arc<Core>, &Local) -> Result<R>) -> Result<R> {
        self.other(|core, local| {
            let done = run(core, local)?;
            core.acknowledge(local)?;
            Ok(done)
        })
    }

    /// Tells the operation log, if one is asked for.
    #[inline]
    fn noted<'a, R>(
        &self,
        operation: &'static str,
        about: impl FnOnce() -> About<'a>,
        result: Result<R>,
    ) -> Result<R> {
        if let Some(log) = &self.store().log {
            log.note(operation, about(), &result);
        }
        result
    }

    /// Replaces, or creates, a file: readers see the old bytes or the new, whole. Parents are made with it, in the same
    /// instant. What does not fit in RAM goes to disk.
    ///
    /// Costs a copy of the bytes and one exchange of a word; where the store is at its limit, the swap-out of worse files.
    ///
    /// # Errors
    /// [`Error::IsADirectory`], [`Error::NotADirectory`] for a parent, [`Error::InvalidPath`], [`Error::StorageFull`],
    /// [`Error::MemoryLimit`] for a locked file or where names alone fill the limit, [`Error::Io`], [`Error::Closed`].
    pub fn write(&self, path: impl AsRef<str>, contents: impl AsRef<[u8]>) -> Result<()> {
        self.write_with(path, contents, &WriteOptions::new())
    }

    /// As [`write`](MemFs::write), with a priority, or for new files only.
    ///
    /// # Errors
    /// As [`write`](MemFs::write); [`Error::AlreadyExists`] with `create_new`.
    pub fn write_with(
        &self,
        path: impl AsRef<str>,
        contents: impl AsRef<[u8]>,
        options: &WriteOptions,
    ) -> Result<()> {
        let (path, contents) = (path.as_ref(), contents.as_ref());
        let naming = Naming { priority: options.priority, create_new: options.create_new };
        let result =
            Self::timed_write(self.open_core()?, |core, local| core.write(local, path, contents, naming));
        self.noted("write", || About { path, bytes: Some(contents.len()), ..About::default() }, result)
    }

    /// Copies a file out. Works for files beyond the memory limit.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::IsADirectory`], [`Error::NotADirectory`], [`Error::InvalidPath`], [`Error::Corrupt`],
    /// [`Error::Io`], [`Error::MemoryLimit`] beyond the memory of the machine, [`Error::Closed`].
    pub fn read(&self, path: impl AsRef<str>) -> Result<Vec<u8>> {
        Self::timed_read(self.open_core()?, |core, local| core.read(local, At::Path(path.as_ref())))
    }

    /// As [`read`](MemFs::read), for text.
    ///
    /// # Errors
    /// As [`read`](MemFs::read); [`Error::Io`] of kind `InvalidData` if it is not UTF-8.
    pub fn read_to_string(&self, path: impl AsRef<str>) -> Result<String> {
        let path = path.as_ref();
        String::from_utf8(self.read(path)?).map_err(|error| {
            Error::io(path, "reading text", std::io::Error::new(std::io::ErrorKind::InvalidData, error))
        })
    }

    /// One version of a file, held: zero copy when it is in RAM.
    ///
    /// # Errors
    /// As [`read`](MemFs::read); [`Error::MemoryLimit`] if it is on disk and RAM has no room for it at all.
    pub fn get(&self, path: impl AsRef<str>) -> Result<FileRef> {
        let core = self.open_core()?;
        Self::timed_read(core, |_, _| core.file_ref(At::Path(path.as_ref())))
    }

    /// Calls `read` with the bytes where they lie. The fastest read: no copy, and no write to memory that another thread
    /// writes.
    ///
    /// Memory replaced or removed while `read` runs is not used again before it returns; a `read` that takes long stops
    /// nobody, but costs memory. It may call the store.
    ///
    /// # Errors
    /// As [`read`](MemFs::read); [`Error::MemoryLimit`] if the file is in several chunks and cannot be built as one piece
    /// under the limit.
    #[inline]
    pub fn read_with<R>(&self, path: impl AsRef<str>, read: impl FnOnce(&[u8]) -> R) -> Result<R> {
        Self::timed_read(self.open_core()?, |core, local| {
            core.read_with(local, At::Path(path.as_ref()), read)
        })
    }

    /// One version of a file as [`bytes::Bytes`]: zero copy when it is in RAM.
    ///
    /// # Errors
    /// As [`get`](MemFs::get) and [`FileRef::as_slice`].
    pub fn read_bytes(&self, path: impl AsRef<str>) -> Result<bytes::Bytes> {
        let path = path.as_ref();
        let held = self.get(path)?.in_one_piece().map_err(|error| error.about(path))?;
        Ok(bytes::Bytes::from_owner(held))
    }

    /// Fills `buf` from `offset` unless the file ends first; how much was there, 0 at or past the end.
    ///
    /// # Errors
    /// As [`read`](MemFs::read).
    pub fn read_at(&self, path: impl AsRef<str>, buf: &mut [u8], offset: u64) -> Result<usize> {
        Self::timed_read(self.open_core()?, |core, local| {
            core.read_at(local, At::Path(path.as_ref()), buf, offset)
        })
    }

    /// Writes all of `data` at `offset` of a file that exists, in one instant; a gap before it reads as zeros and takes no
    /// room. Costs a copy of the chunks it touches.
    ///
    /// # Errors
    /// As [`write`](MemFs::write); [`Error::NotFound`]; [`Error::InvalidArgument`] beyond 2^63 - 1 bytes.
    pub fn write_at(&self, path: impl AsRef<str>, data: &[u8], offset: u64) -> Result<usize> {
        let path = path.as_ref();
        let result = Self::timed_write(self.open_core()?, |core, local| {
            core.update(local, At::Path(path), Change::WriteAt { data, offset }).map(|_| data.len())
        });
        self.noted("write_at", || About { path, bytes: Some(data.len()), ..About::default() }, result)
    }

    /// Appends to a file in one instant, and creates it as [`write`](MemFs::write) does.
    ///
    /// # Errors
    /// As [`write_at`](MemFs::write_at), but for [`Error::NotFound`].
    pub fn append(&self, path: impl AsRef<str>, data: impl AsRef<[u8]>) -> Result<()> {
        let (path, data) = (path.as_ref(), data.as_ref());
        let result = Self::timed_write(self.open_core()?, |core, local| core.append(local, path, data));
        self.noted("append", || About { path, bytes: Some(data.len()), ..About::default() }, result)
    }

    /// Cuts a file that exists, or extends it by zeros.
    ///
    /// # Errors
    /// As [`write_at`](MemFs::write_at).
    pub fn set_len(&self, path: impl AsRef<str>, len: u64) -> Result<()> {
        let path = path.as_ref();
        let result = Self::timed_write(self.open_core()?, |core, local| {
            core.update(local, At::Path(path), Change::SetLen(len)).map(drop)
        });
        self.noted("set_len", || About { path, ..About::default() }, result)
    }

    /// Removes a file's name. Who has it open, or holds its bytes, keeps them.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::IsADirectory`], [`Error::NotADirectory`], [`Error::InvalidPath`], [`Error::Closed`].
    pub fn remove_file(&self, path: impl AsRef<str>) -> Result<()> {
        let path = path.as_ref();
        let result = self.deleting(|core, local| core.remove_file(local, path));
        self.noted("remove_file", || About { path, ..About::default() }, result)
    }

    fn deleting(&self, run: impl FnOnce(&Core, &Local) -> Result<()>) -> Result<()> {
        let core = self.open_core()?;
        let local = core.local();
        core.check_open()?;
        local.counters.deletes.add(1);
        run(core, &local)?;
        core.acknowledge(&local)
    }

    /// Moves a file or a directory with all that is in it, in one instant; replaces as rename(2) does: a file by a file, an
    /// empty directory by a directory. Makes no parents.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the source or the destination's parent, [`Error::IsADirectory`], [`Error::NotADirectory`],
    /// [`Error::DirectoryNotEmpty`], [`Error::InvalidArgument`] for a directory into itself, [`Error::InvalidPath`],
    /// [`Error::MemoryLimit`], [`Error::Closed`].
    pub fn rename(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result<()> {
        let (path, to) = (from.as_ref(), to.as_ref());
        let result = self.change(|core, local| core.rename(local, path, to));
        self.noted("rename", || About { path, to: Some(to), ..About::default() }, result)
    }

    /// Writes one version of a file to another name; its length. Holes stay holes.
    ///
    /// # Errors
    /// As [`read`](MemFs::read) and [`write`](MemFs::write).
    pub fn copy(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result<u64> {
        let (path, to) = (from.as_ref(), to.as_ref());
        let result = Self::timed_write(self.open_core()?, |core, local| core.copy(local, path, to));
        self.noted("copy", || About { path, to: Some(to), ..About::default() }, result)
    }

    /// Whether there is a file or directory of this name; false for what is no path, and after [`close`](MemFs::close).
    pub fn exists(&self, path: impl AsRef<str>) -> bool {
        let local = self.core().local();
        local.counters.others.add(1);
        self.open_core().is_ok_and(|core| core.exists(&local, path.as_ref()))
    }

    /// What is known of a file or directory.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotADirectory`] for a parent, [`Error::InvalidPath`], [`Error::Closed`].
    pub fn metadata(&self, path: impl AsRef<str>) -> Result<Metadata> {
        self.other(|core, local| core.metadata(local, path.as_ref()))
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// As [`metadata`](MemFs::metadata); [`Error::IsADirectory`].
    pub fn open(&self, path: impl AsRef<str>) -> Result<File> {
        self.open_with(path, OpenOptions::new().read(true))
    }

    /// Opens a file for writing, empty, and makes it and its parents if they are not there.
    ///
    /// # Errors
    /// As [`write`](MemFs::write).
    pub fn create(&self, path: impl AsRef<str>) -> Result<File> {
        self.open_with(path, OpenOptions::new().write(true).create(true).truncate(true))
    }

    /// Opens a file as the options say.
    ///
    /// # Errors
    /// As [`write`](MemFs::write); [`Error::NotFound`]; [`Error::AlreadyExists`] with `create_new`;
    /// [`Error::InvalidArgument`] for options that contradict each other, as `std::fs` has it.
    pub fn open_with(&self, path: impl AsRef<str>, options: &OpenOptions) -> Result<File> {
        let path = path.as_ref();
        if let Some(expected) = options.contradiction() {
            return Err(Error::InvalidArgument {
                path: path.to_owned(),
                argument: "options",
                expected: expected.to_owned(),
                found: format!("{options:?}"),
            });
        }
        let result = self.change(|core, local| {
            let OpenOptions { create, create_new, priority, .. } = *options;
            let id = core.open_or_create(local, path, Opening { create, create_new, priority })?;
            let file = File::new(core.clone(), id, core.canonical(path)?.text().to_owned(), options.clone());
            if let Some(priority) = options.priority.filter(|_| options.writes()) {
                core.set_file_priority(local, id, priority)?;
            }
            if options.truncate {
                core.update(local, At::Node(id), Change::SetLen(0))?;
            }
            Ok(file)
        });
        if !options.writes() {
            return result;
        }
        self.noted("open", || About { path, ..About::default() }, result)
    }

    /// Makes a directory, whose parent must exist and whose name must be free.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::NotFound`] or [`Error::NotADirectory`] for the parent, [`Error::InvalidPath`],
    /// [`Error::MemoryLimit`], [`Error::Closed`].
    pub fn create_dir(&self, path: impl AsRef<str>) -> Result<()> {
        let path = path.as_ref();
        let result = self.change(|core, local| {
            if core.create_dir(local, path, false)? {
                return Ok(());
            }
            Err(Error::AlreadyExists { path: core.canonical(path)?.text().to_owned() })
        });
        self.noted("create_dir", || About { path, ..About::default() }, result)
    }

    /// Makes a directory and its parents; content with one that is there.
    ///
    /// # Errors
    /// As [`create_dir`](MemFs::create_dir); [`Error::AlreadyExists`] if the name is a file's.
    pub fn create_dir_all(&self, path: impl AsRef<str>) -> Result<()> {
        let path = path.as_ref();
        let result = self.change(|core, local| core.create_dir(local, path, true).map(drop));
        self.noted("create_dir_all", || About { path, ..About::default() }, result)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotADirectory`], [`Error::DirectoryNotEmpty`], [`Error::InvalidArgument`] for the root,
    /// [`Error::InvalidPath`], [`Error::Closed`].
    pub fn remove_dir(&self, path: impl AsRef<str>) -> Result<()> {
        let path = path.as_ref();
        let result = self.deleting(|core, local| core.remove_dir(local, path));
        self.noted("remove_dir", || About { path, ..About::default() }, result)
    }

    /// Removes a directory with all that is in it, one entry at a time; what is created in it meanwhile is removed, too.
    ///
    /// # Errors
    /// As [`remove_dir`](MemFs::remove_dir), but for [`Error::DirectoryNotEmpty`].
    pub fn remove_dir_all(&self, path: impl AsRef<str>) -> Result<()> {
        let path = path.as_ref();
        let result = self.deleting(|core, local| {
            if core.canonical(path)?.text() == "/" {
                return Err(root_stays());
            }
            self.remove_tree(core, local, path)
        });
        self.noted("remove_dir_all", || About { path, ..About::default() }, result)
    }

    /// Goes down with a list of its own: a path has room for two thousand levels.
    fn remove_tree(&self, core: &Core, local: &Local, path: &str) -> Result<()> {
        let mut open = vec![path.to_owned()];
        while let Some(dir) = open.last() {
            let mut below = Vec::new();
            match self.read_dir(dir) {
                Ok(entries) => {
                    for entry in entries {
                        match core.remove_file(local, entry.path()) {
                            Err(Error::IsADirectory { .. }) => below.push(entry.path().to_owned()),
                            Ok(()) | Err(Error::NotFound { .. }) => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(Error::NotFound { .. }) if open.len() > 1 => {}
                Err(error) => return Err(error),
            }
            if !below.is_empty() {
                open.append(&mut below);
                continue;
            }
            match core.remove_dir(local, dir) {
                Ok(()) => {}
                Err(Error::NotFound { .. }) if open.len() > 1 => {}
                Err(Error::DirectoryNotEmpty { .. }) => continue,
                Err(error) => return Err(error),
            }
            open.pop();
        }
        Ok(())
    }

    /// Sets a file's priority and clears what reads had added to it.
    ///
    /// # Errors
    /// As [`metadata`](MemFs::metadata); [`Error::IsADirectory`].
    pub fn set_priority(&self, path: impl AsRef<str>, priority: Priority) -> Result<()> {
        let path = path.as_ref();
        let result = self.change(|core, local| core.set_priority(local, path, priority));
        self.noted("set_priority", || About { path, ..About::default() }, result)
    }

    /// The priority a file was given.
    ///
    /// # Errors
    /// As [`set_priority`](MemFs::set_priority).
    pub fn priority(&self, path: impl AsRef<str>) -> Result<Priority> {
        self.other(|core, local| core.priority_of(local, At::Path(path.as_ref())))
    }

    /// Starts to bring a file into RAM, in the background; with no worker threads it is done when this returns.
    ///
    /// # Errors
    /// As [`set_priority`](MemFs::set_priority).
    pub fn preload(&self, path: impl AsRef<str>) -> Result<Preload> {
        let preloading = self.other(|core, local| core.preload(local, path.as_ref()))?;
        Ok(Preload { preloading })
    }

    /// Swaps out, worst files first and locked ones last, until at most `target_usage` of the limit is in use. Waits for the
    /// disk. Names stay in RAM, so 0 is never quite met.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for NaN and below 0; [`Error::StorageFull`] or [`Error::Io`] if nothing could be swapped out
    /// for it; [`Error::Closed`].
    pub fn gc(&self, target_usage: f64) -> Result<GcReport> {
        self.other(|core, local| core.gc(local, target_usage))
    }

    /// The files with bytes in RAM, by path; empty after [`close`](MemFs::close). Looks at every file.
    pub fn memory_map(&self) -> Vec<Metadata> {
        self.open_core().map_or_else(|_| Vec::new(), |core| core.memory_map(&core.local()))
    }

    /// All figures. Looks at every file.
    pub fn stats(&self) -> Stats {
        self.core().stats(&self.core().local())
    }

    /// Returns when all that was acknowledged before is durable, in persist mode; at once in temp mode.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn sync(&self) -> Result<()> {
        self.other(|core, local| core.sync(local))
    }

    /// Closes the store for all its clones, deletes everything (temp mode) and gives its memory back. Calls under way finish
    /// or find it closed; later ones get [`Error::Closed`]; [`FileRef`]s and `Bytes` stay valid. Idempotent.
    ///
    /// # Errors
    /// None in temp mode.
    pub fn close(&self) -> Result<()> {
        self.opener.close()
    }

    /// Panics if the store's structures disagree. For tests, when no other thread uses the store.
    #[doc(hidden)]
    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub fn validate(&self) {
        self.core().validate(&self.core().local());
    }
}

/// What an operation answers that failed with `error`: where the store was closed meanwhile its directory may be gone, and
/// with it the files that the operation wanted to make.
#[cold]
fn unless_closed(core: &Core, error: Error) -> Error {
    match error {
        Error::Io { .. } if core.is_closed() => Error::Closed,
        error => error,
    }
}

impl fmt::Debug for MemFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemFs")
            .field("memory_limit_bytes", &self.core().config.memory_limit_bytes)
            .field("is_closed", &self.open_core().is_ok_and(|core| core.is_closed()))
            .finish_non_exhaustive()
    }
}
