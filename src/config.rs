//! What a store can be told: vocabulary and the checks on it. Knows nothing of how any of it is done.

use crate::error::{Error, Result};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How much a file deserves its place in RAM: 0 to 10.
///
/// 0 to 2 are swapped out first, 3 to 5 are normal, 6 to 8 are kept as long as possible, 9 and 10 are locked: only an
/// explicit [`gc`](crate::MemFs::gc) swaps them out. A new file has [`Priority::NORMAL`].
///
/// ```
/// use memfs::Priority;
/// assert_eq!(Priority::new(7)?, Priority::HIGH);
/// assert!(Priority::new(11).is_err());
/// # Ok::<(), memfs::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Priority(u8);

impl Priority {
    /// 1: among the first to leave.
    pub const LOW: Priority = Priority(1);
    /// 5: what a new file gets.
    pub const NORMAL: Priority = Priority(5);
    /// 7: kept as long as possible.
    pub const HIGH: Priority = Priority(7);
    /// 9: stays in RAM.
    pub const LOCKED: Priority = Priority(9);
    /// 8: the highest that reads can lift a file to.
    pub(crate) const BOOST_CAP: Priority = Priority(8);

    /// A priority of `level`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] above 10.
    pub fn new(level: u8) -> Result<Self> {
        if level <= 10 { Ok(Self(level)) } else { Err(Error::argument("priority", "0 to 10", level)) }
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }

    /// Whether only an explicit gc may swap the file out.
    pub(crate) fn is_locked(self) -> bool {
        self >= Self::LOCKED
    }

    /// From a number this module made.
    pub(crate) fn from_level(level: u8) -> Self {
        debug_assert!(level <= 10);
        Self(level.min(10))
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

impl std::fmt::Display for Priority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a store outlives its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StorageMode {
    /// Nothing is left behind, not even after a kill.
    #[default]
    Temp,
    /// Everything survives restarts and crashes.
    Persist,
}

/// When an acknowledged operation is durable (persist mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Before the call returns.
    Sync,
    /// At the latest after this long.
    Periodic(Duration),
    /// When the store is closed, or by [`sync`](crate::MemFs::sync).
    OnClose,
}

impl Default for Durability {
    fn default() -> Self {
        Self::Periodic(Duration::from_millis(100))
    }
}

/// The least limit a store can work under: its tables at their smallest, and a few small files.
pub(crate) const MIN_LIMIT_BYTES: u64 = 256 << 10;
const MAX_CHUNK_BYTES: usize = 64 << 20;
const MIN_CHUNK_BYTES: usize = 512;
const MAX_SEGMENT_BYTES: u64 = 4 << 30;
const MAX_WORKERS: usize = 256;

/// Everything a store can be told before it starts; all of it optional. Made by [`MemFs::builder`](crate::MemFs::builder).
///
/// ```
/// let fs = memfs::MemFs::builder().memory_limit_bytes(64 << 20).worker_threads(2).build()?;
/// fs.write("/greeting", "hello")?;
/// # Ok::<(), memfs::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    memory_limit_bytes: Option<u64>,
    memory_limit_fraction: f64,
    mode: StorageMode,
    storage_path: Option<PathBuf>,
    storage_limit_bytes: Option<u64>,
    segment_size: Option<u64>,
    chunk_size: Option<usize>,
    worker_threads: usize,
    durability: Durability,
    priority_boost_threshold: u32,
    huge_pages: bool,
    operation_log: Option<PathBuf>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            memory_limit_bytes: None,
            memory_limit_fraction: 0.8,
            mode: StorageMode::Temp,
            storage_path: None,
            storage_limit_bytes: None,
            segment_size: None,
            chunk_size: None,
            worker_threads: 4,
            durability: Durability::default(),
            priority_boost_threshold: 10,
            huge_pages: true,
            operation_log: None,
        }
    }
}

impl Builder {
    /// The hard limit on the store's whole footprint, in bytes: contents, slack, index, what waits for reclamation. Wins over
    /// [`memory_limit_fraction`](Self::memory_limit_fraction). At least 256 KiB; more than the machine has is allowed.
    ///
    /// Address space is reserved for many times as much. So a process that has its memory locked (`mlockall`) has to do it with
    /// `MCL_ONFAULT`: else the system fills in all of that, and no limit holds.
    pub fn memory_limit_bytes(mut self, bytes: u64) -> Self {
        self.memory_limit_bytes = Some(bytes);
        self
    }

    /// The limit as a fraction, in (0, 1], of the memory this process may use: its cgroup's limit if there is one, else the
    /// machine's. Default 0.8.
    pub fn memory_limit_fraction(mut self, fraction: f64) -> Self {
        self.memory_limit_fraction = fraction;
        self
    }

    /// Whether the store outlives the process. Default [`StorageMode::Temp`].
    pub fn mode(mut self, mode: StorageMode) -> Self {
        self.mode = mode;
        self
    }

    /// Where segments are put. Default: nameless files in the system's temporary directory (Temp), `./memfs_data` (Persist).
    /// A directory that does not exist is made.
    pub fn storage_path(mut self, path: impl AsRef<Path>) -> Self {
        self.storage_path = Some(path.as_ref().to_owned());
        self
    }

    /// The most disk to use, in bytes, preallocated segments included. Default: no limit.
    pub fn storage_limit_bytes(mut self, bytes: u64) -> Self {
        self.storage_limit_bytes = Some(bytes);
        self
    }

    /// The size of a segment file in bytes, up to 4 GiB. Default 256 MiB, less where the limits are small.
    pub fn segment_size(mut self, bytes: u64) -> Self {
        self.segment_size = Some(bytes);
        self
    }

    /// The largest piece of a file that is kept, swapped and copied as one, in bytes: 512 to 64 MiB, rounded up to a power of
    /// two. Default 1 MiB, less where the limit is small.
    pub fn chunk_size(mut self, bytes: usize) -> Self {
        self.chunk_size = Some(bytes);
        self
    }

    /// Background threads that swap out ahead of need, preload and compact. Default 4; with 0 callers do all the work.
    pub fn worker_threads(mut self, threads: usize) -> Self {
        self.worker_threads = threads;
        self
    }

    /// When an operation is durable, in persist mode. Default every 100 ms.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// After this many reads a file's effective priority rises by one, to 8 at most. Default 10; 0 means never.
    pub fn priority_boost_threshold(mut self, reads: u32) -> Self {
        self.priority_boost_threshold = reads;
        self
    }

    /// Whether to ask for huge pages where they help (the index and the sketch of a large store). A hint. Default true.
    pub fn huge_pages(mut self, wanted: bool) -> Self {
        self.huge_pages = wanted;
        self
    }

    /// Appends a line of JSON for each operation that changes the store to the file at `path`. Costs a lock per operation, so
    /// for debugging; default none.
    pub fn operation_log(mut self, path: impl AsRef<Path>) -> Self {
        self.operation_log = Some(path.as_ref().to_owned());
        self
    }

    /// Checks everything and fills in what was left out.
    pub(crate) fn resolve(self) -> Result<Config> {
        let memory_limit_bytes = self.resolve_limit()?;
        let chunk_bytes = match self.chunk_size {
            Some(bytes @ 1..=MAX_CHUNK_BYTES) => bytes.next_power_of_two().max(MIN_CHUNK_BYTES),
            Some(bytes) => {
                return Err(Error::argument("chunk_size", "1 byte to 64 MiB", bytes));
            }
            None => (1 << (memory_limit_bytes / 16).ilog2().min(20)).max(4096),
        };
        let segment_bytes = match self.segment_size {
            Some(bytes @ 1..=MAX_SEGMENT_BYTES) => bytes,
            Some(bytes) => {
                return Err(Error::argument("segment_size", "1 byte to 4 GiB", bytes));
            }
            None => 1 << memory_limit_bytes.ilog2().clamp(20, 28),
        };
        if self.worker_threads > MAX_WORKERS {
            return Err(Error::argument("worker_threads", "at most 256", self.worker_threads));
        }
        if self.storage_limit_bytes == Some(0) {
            return Err(Error::argument("storage_limit_bytes", "at least 1 byte", 0));
        }
        if self.durability == Durability::Periodic(Duration::ZERO) {
            return Err(Error::argument("durability", "a period above zero", "0 s"));
        }
        Ok(Config {
            memory_limit_bytes,
            mode: self.mode,
            storage_path: self.storage_path,
            storage_limit_bytes: self.storage_limit_bytes,
            segment_bytes,
            chunk_bytes,
            chunk_bytes_asked: self.chunk_size.is_some(),
            durability: self.durability,
            worker_threads: self.worker_threads,
            boost_threshold: self.priority_boost_threshold,
            huge_pages: self.huge_pages,
            operation_log: self.operation_log,
        })
    }

    fn resolve_limit(&self) -> Result<u64> {
        let fraction = self.memory_limit_fraction;
        if !(fraction > 0.0 && fraction <= 1.0) {
            return Err(Error::argument("memory_limit_fraction", "above 0, at most 1", fraction));
        }
        let bytes =
            self.memory_limit_bytes.unwrap_or_else(|| (usable_memory_bytes() as f64 * fraction) as u64);
        if bytes < MIN_LIMIT_BYTES {
            return Err(Error::argument(
                "memory_limit_bytes",
                format!("at least {MIN_LIMIT_BYTES} bytes, to hold the store's tables and a few files"),
                bytes,
            ));
        }
        Ok(bytes)
    }
}

/// The memory this process may use: its cgroup's limit if there is one, else the machine's.
pub(crate) fn usable_memory_bytes() -> u64 {
    // Where the system does not say, a figure that every machine has.
    let Ok(mut system) = sysinfo::System::new() else { return 1 << 30 };
    system.refresh_memory();
    let machine = system.total_memory();
    system.cgroup_limits().map_or(machine, |limits| limits.total_memory.min(machine))
}

/// A [`Builder`]'s word, checked and complete.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) memory_limit_bytes: u64,
    pub(crate) mode: StorageMode,
    pub(crate) storage_path: Option<PathBuf>,
    pub(crate) storage_limit_bytes: Option<u64>,
    pub(crate) segment_bytes: u64,
    pub(crate) chunk_bytes: usize,
    /// Whether `chunk_bytes` was asked for: a store that exists keeps its own otherwise.
    pub(crate) chunk_bytes_asked: bool,
    pub(crate) durability: Durability,
    pub(crate) worker_threads: usize,
    pub(crate) boost_threshold: u32,
    pub(crate) huge_pages: bool,
    pub(crate) operation_log: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(builder: Builder, name: &str) {
        match builder.resolve() {
            Err(Error::InvalidArgument { argument, .. }) => assert_eq!(argument, name),
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let new = Builder::default;
        refused(new().memory_limit_bytes(0), "memory_limit_bytes");
        refused(new().memory_limit_bytes(MIN_LIMIT_BYTES - 1), "memory_limit_bytes");
        for fraction in [0.0, -1.0, 1.5, f64::NAN, f64::INFINITY] {
            refused(new().memory_limit_fraction(fraction), "memory_limit_fraction");
        }
        refused(new().chunk_size(0), "chunk_size");
        refused(new().chunk_size(usize::MAX), "chunk_size");
        refused(new().segment_size(0), "segment_size");
        refused(new().segment_size(u64::MAX), "segment_size");
        refused(new().storage_limit_bytes(0), "storage_limit_bytes");
        refused(new().worker_threads(usize::MAX), "worker_threads");
        refused(new().durability(Durability::Periodic(Duration::ZERO)), "durability");
    }

    #[test]
    fn the_limit_wins_over_the_fraction_and_defaults_shrink_with_it() {
        let config =
            Builder::default().memory_limit_fraction(0.5).memory_limit_bytes(1 << 20).resolve().unwrap();
        assert_eq!(config.memory_limit_bytes, 1 << 20);
        assert_eq!((config.chunk_bytes, config.segment_bytes), (64 << 10, 1 << 20));
        let config = Builder::default().memory_limit_bytes(u64::MAX).resolve().unwrap();
        assert_eq!((config.chunk_bytes, config.segment_bytes), (1 << 20, 256 << 20));
    }

    #[test]
    fn the_fraction_is_of_the_memory_this_process_may_use() {
        let config = Builder::default().memory_limit_fraction(0.25).resolve().unwrap();
        assert_eq!(config.memory_limit_bytes, usable_memory_bytes() / 4);
    }
}
