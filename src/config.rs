//! What a store can be told: vocabulary and the checks on it. Knows nothing of how any of it is done.

use crate::error::{Error, Result};
use std::time::Duration;

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
