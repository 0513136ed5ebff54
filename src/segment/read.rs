//! Why bytes could not be had back.

use super::extent::Place;
use crate::error::Error;
use std::io;

/// What a read of an extent found instead of its bytes. To a caller that was not protected against the extent's death this
/// proves nothing before it has seen that the extent is still the current one.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// There is no such segment any more.
    #[cfg(any(test, memfs_loom))]
    Gone { segment: u64, offset: u64 },
    /// There is a segment, but not this record in it.
    Corrupt { segment: u64, offset: u64, expected: String, found: String },
    /// The system could not give the bytes; the file being too short included.
    Io { source: io::Error },
}

impl ReadError {
    pub(super) fn corrupt(place: Place, offset: u64, expected: String, found: String) -> Self {
        ReadError::Corrupt { segment: place.segment.into(), offset, expected, found }
    }

    pub(super) fn io(place: Place, offset: u64, source: io::Error) -> Self {
        ReadError::Io { source: in_segment(place.segment, offset, source) }
    }

    pub(super) fn cut_short(place: Place, offset: u64, expected_bytes: usize, found_bytes: usize) -> Self {
        let what = format!(
            "expected {expected_bytes} bytes, found {found_bytes}: the file is cut short or unreadable"
        );
        Self::io(place, offset, io::Error::new(io::ErrorKind::UnexpectedEof, what))
    }
}

/// The path is left empty, for the floor above to fill in.
impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        let path = String::new();
        match error {
            #[cfg(any(test, memfs_loom))]
            ReadError::Gone { segment, offset } => Error::Corrupt {
                path,
                segment,
                offset,
                expected: "a segment".into(),
                found: "none of this number".into(),
            },
            ReadError::Corrupt { segment, offset, expected, found } => {
                Error::Corrupt { path, segment, offset, expected, found }
            }
            ReadError::Io { source } => Error::Io { path, doing: "read a segment", source },
        }
    }
}

/// The system's answer, saying where.
pub(super) fn in_segment(segment: u32, offset: u64, source: io::Error) -> io::Error {
    io::Error::new(source.kind(), format!("segment {segment} at offset {offset}: {source}"))
}
