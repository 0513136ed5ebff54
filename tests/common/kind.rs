//! Errors compared by variant, whether they come as `memfs::Error` or wrapped into an `io::Error`.

use memfs::Error;
use std::{fmt::Debug, io};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    NotFound,
    AlreadyExists,
    NotADirectory,
    IsADirectory,
    DirectoryNotEmpty,
    InvalidPath,
    InvalidArgument,
    MemoryLimit,
    StorageFull,
    Corrupt,
    Locked,
    InstanceConflict,
    Closed,
    Io,
}

pub(crate) trait Fails: Debug {
    fn variant(&self) -> Kind;
}

impl Fails for Error {
    fn variant(&self) -> Kind {
        match self {
            Error::NotFound { .. } => Kind::NotFound,
            Error::AlreadyExists { .. } => Kind::AlreadyExists,
            Error::NotADirectory { .. } => Kind::NotADirectory,
            Error::IsADirectory { .. } => Kind::IsADirectory,
            Error::DirectoryNotEmpty { .. } => Kind::DirectoryNotEmpty,
            Error::InvalidPath { .. } => Kind::InvalidPath,
            Error::InvalidArgument { .. } => Kind::InvalidArgument,
            Error::MemoryLimit { .. } => Kind::MemoryLimit,
            Error::StorageFull { .. } => Kind::StorageFull,
            Error::Corrupt { .. } => Kind::Corrupt,
            Error::Locked { .. } => Kind::Locked,
            Error::InstanceConflict { .. } => Kind::InstanceConflict,
            Error::Closed => Kind::Closed,
            Error::Io { .. } => Kind::Io,
            other => panic!("a variant this test does not know: {other:?}"),
        }
    }
}

impl Fails for io::Error {
    fn variant(&self) -> Kind {
        match self.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => error.variant(),
            None => Kind::Io,
        }
    }
}

/// The variant of a call that has to fail.
#[track_caller]
pub(crate) fn failure<T, E: Fails>(result: Result<T, E>) -> Kind {
    match result {
        Ok(_) => panic!("succeeded, but had to fail"),
        Err(error) => {
            assert!(!format!("{error:?}").is_empty());
            error.variant()
        }
    }
}

/// `assert_fails!(call, NotFound)`, or several variants where more than one fits.
#[macro_export]
macro_rules! assert_fails {
    ($call:expr, $($kind:ident)|+) => {{
        let found = $crate::common::kind::failure($call);
        let fitting = [$($crate::common::kind::Kind::$kind),+];
        assert!(fitting.contains(&found), "{}: found {found:?}, expected {fitting:?}", stringify!($call));
    }};
}
