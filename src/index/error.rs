//! Why an index operation was refused. Nothing was changed by a call that failed.

/// The paths are canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IndexError {
    /// Nothing of this name; where a parent is missing, the parent's path.
    NotFound(String),
    /// A file stands where a directory was needed.
    NotADirectory(String),
    /// A directory stands where a file was needed.
    IsADirectory(String),
    /// The directory to be removed or replaced has entries.
    NotEmpty(String),
    /// The text is no path, or no path this call can take.
    Invalid { path: String, reason: &'static str },
    /// A directory cannot be moved to a place below itself.
    IntoItself { from: String, to: String },
    /// The index needs this many bytes and the budget has no room: make some and call again.
    Memory(u64),
}

pub(crate) type Result<T, E = IndexError> = std::result::Result<T, E>;
