//! The operation log: a line of JSON for each operation that changes the store.

use crate::{
    error::{Error, Result},
    sync::Mutex,
};
use serde::Serialize;
use std::{fs, io::Write, path::Path, time::SystemTime};

pub(crate) struct OperationLog {
    file: Mutex<fs::File>,
}

#[derive(Serialize)]
struct Line<'a> {
    unix_ms: u128,
    operation: &'static str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What an operation was about.
#[derive(Clone, Copy, Default)]
pub(crate) struct About<'a> {
    pub(crate) path: &'a str,
    pub(crate) to: Option<&'a str>,
    pub(crate) bytes: Option<usize>,
}

impl OperationLog {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file =
            fs::OpenOptions::new().create(true).append(true).open(path).map_err(|source| {
                Error::io(path.display().to_string(), "opening the operation log", source)
            })?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Appends one line. A log that cannot be written does not fail the operation it is about.
    #[cold]
    #[inline(never)]
    pub(crate) fn note<T>(&self, operation: &'static str, about: About<'_>, result: &Result<T>) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let line = Line {
            unix_ms: now.map_or(0, |since| since.as_millis()),
            operation,
            path: about.path,
            to: about.to,
            bytes: about.bytes,
            error: result.as_ref().err().map(ToString::to_string),
        };
        let mut text = serde_json::to_string(&line).expect("strings and numbers serialise");
        text.push('\n');
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = file.write_all(text.as_bytes());
    }
}
