//! Why a command could not run: a sentence for standard error, and exit code 2.

use std::{fmt, io};

/// A sentence that says what failed and where.
#[derive(Debug)]
pub(crate) struct Trouble(pub(crate) String);

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<memfs::Error> for Trouble {
    fn from(error: memfs::Error) -> Self {
        Trouble(format!("store: {error}"))
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble(error.to_string())
    }
}
