//! The one error type: what failed, on which path, what was expected and what was found.

use std::{fmt, io, path::PathBuf};

/// What every fallible call returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. Nothing is lost by an error: the store is as it was before the call, unless the variant says more.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// There is no file or directory of this name.
    NotFound {
        /// The virtual path, in canonical form.
        path: String,
    },
    /// The name is taken.
    AlreadyExists {
        /// The virtual path, in canonical form.
        path: String,
    },
    /// A directory was expected.
    NotADirectory {
        /// The path of what is a file.
        path: String,
    },
    /// A file was expected.
    IsADirectory {
        /// The path of what is a directory.
        path: String,
    },
    /// Only an empty directory can be removed or replaced.
    DirectoryNotEmpty {
        /// The virtual path, in canonical form.
        path: String,
    },
    /// The text is not a virtual path.
    InvalidPath {
        /// The text as it was given.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A value outside what the call accepts.
    InvalidArgument {
        /// The path the call was about; empty if it was about none.
        path: String,
        /// The argument's name.
        argument: &'static str,
        /// What is accepted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The bytes cannot be in RAM within the limit, and this call needs them there.
    MemoryLimit {
        /// The virtual path, in canonical form.
        path: String,
        /// What the call needs at once.
        needed_bytes: u64,
        /// The store's limit on its whole footprint.
        limit_bytes: u64,
    },
    /// The disk, or the share of it that the store may use, is full.
    StorageFull {
        /// The virtual path, or the storage directory where no path is concerned.
        path: String,
        /// What was to be stored.
        needed_bytes: u64,
        /// Bytes on disk in use by the store when it failed.
        used_bytes: u64,
    },
    /// Bytes on disk are not what was written. Nothing else is affected.
    Corrupt {
        /// The virtual path, or the file on disk where no path is concerned.
        path: String,
        /// The segment's number; [`Error::NO_SEGMENT`] where another file is concerned, which `path` names.
        segment: u64,
        /// The place in the segment, or in that file, in bytes.
        offset: u64,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// Another process owns the directory.
    Locked {
        /// The storage directory.
        path: PathBuf,
        /// The owner's process id; 0 if it could not be read.
        pid: u32,
    },
    /// Another instance uses the directory in a way that excludes this one.
    InstanceConflict {
        /// The storage directory, or a description of what exists already.
        path: PathBuf,
        /// What was asked for.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// The store was closed.
    Closed,
    /// The operating system refused.
    Io {
        /// The virtual path, or the file on disk where no path is concerned.
        path: String,
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl Error {
    /// In place of a segment's number in [`Error::Corrupt`], where what is corrupt is in no segment.
    pub const NO_SEGMENT: u64 = u64::MAX;

    pub(crate) fn io(path: impl Into<String>, doing: &'static str, source: io::Error) -> Self {
        Error::Io { path: path.into(), doing, source }
    }

    pub(crate) fn argument(
        argument: &'static str,
        expected: impl Into<String>,
        found: impl fmt::Display,
    ) -> Self {
        Error::InvalidArgument {
            path: String::new(),
            argument,
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    /// The same error, about `path`: lower floors know no names and leave them empty.
    pub(crate) fn about(mut self, about: &str) -> Self {
        match &mut self {
            Error::NotFound { path }
            | Error::AlreadyExists { path }
            | Error::NotADirectory { path }
            | Error::IsADirectory { path }
            | Error::DirectoryNotEmpty { path }
            | Error::InvalidArgument { path, .. }
            | Error::MemoryLimit { path, .. }
            | Error::StorageFull { path, .. }
            | Error::Corrupt { path, .. }
            | Error::Io { path, .. }
                if path.is_empty() =>
            {
                about.clone_into(path);
            }
            _ => {}
        }
        self
    }

    /// The `std::io::ErrorKind` that says the same.
    pub fn kind(&self) -> io::ErrorKind {
        use io::ErrorKind as K;
        match self {
            Error::NotFound { .. } => K::NotFound,
            Error::AlreadyExists { .. } => K::AlreadyExists,
            Error::NotADirectory { .. } => K::NotADirectory,
            Error::IsADirectory { .. } => K::IsADirectory,
            Error::DirectoryNotEmpty { .. } => K::DirectoryNotEmpty,
            Error::InvalidPath { .. } => K::InvalidInput,
            Error::InvalidArgument { .. } => K::InvalidInput,
            Error::MemoryLimit { .. } => K::OutOfMemory,
            Error::StorageFull { .. } => K::StorageFull,
            Error::Corrupt { .. } => K::InvalidData,
            Error::Locked { .. } | Error::InstanceConflict { .. } => K::ResourceBusy,
            Error::Closed => K::Other,
            Error::Io { source, .. } => source.kind(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound { path } => write!(f, "{path}: not found"),
            Error::AlreadyExists { path } => write!(f, "{path}: already exists"),
            Error::NotADirectory { path } => {
                write!(f, "{path}: expected a directory, found a file")
            }
            Error::IsADirectory { path } => write!(f, "{path}: expected a file, found a directory"),
            Error::DirectoryNotEmpty { path } => {
                write!(f, "{path}: expected an empty directory, found entries in it")
            }
            Error::InvalidPath { path, reason } => write!(f, "{path:?}: not a path: {reason}"),
            Error::InvalidArgument { path, argument, expected, found } => {
                if !path.is_empty() {
                    write!(f, "{path}: ")?;
                }
                write!(f, "{argument}: expected {expected}, found {found}")
            }
            Error::MemoryLimit { path, needed_bytes, limit_bytes } => write!(
                f,
                "{path}: needs {needed_bytes} bytes of RAM at once, more than can be had under the limit of {limit_bytes}"
            ),
            Error::StorageFull { path, needed_bytes, used_bytes } => {
                write!(f, "{path}: no room on disk for {needed_bytes} bytes, {used_bytes} are in use")
            }
            Error::Corrupt { path, segment: Error::NO_SEGMENT, offset, expected, found } => {
                write!(f, "{path}: corrupt at offset {offset}: expected {expected}, found {found}")
            }
            Error::Corrupt { path, segment, offset, expected, found } => write!(
                f,
                "{path}: corrupt in segment {segment} at offset {offset}: expected {expected}, found {found}"
            ),
            Error::Locked { path, pid } => {
                write!(f, "{}: owned by process {pid}", path.display())
            }
            Error::InstanceConflict { path, expected, found } => {
                write!(f, "{}: expected {expected}, found {found}", path.display())
            }
            Error::Closed => f.write_str("the store is closed"),
            Error::Io { path, doing, source } => write!(f, "{path}: {doing}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::new(error.kind(), error)
    }
}
