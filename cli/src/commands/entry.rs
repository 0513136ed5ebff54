//! What is known of a path, as text and as JSON.

use crate::{failures::Failures, output::Output, time, trouble::Trouble};
use memfs::{Location, Metadata};
use serde_json::{Value, json};

/// `file` or `directory`.
pub(crate) fn kind(of: &Metadata) -> &'static str {
    if of.is_dir() { "directory" } else { "file" }
}

pub(crate) fn location(of: &Metadata) -> &'static str {
    match of.location() {
        Location::Memory => "memory",
        Location::Disk => "disk",
        Location::Both => "both",
    }
}

/// One object; what only files have is left out of a directory's.
pub(crate) fn json(of: &Metadata) -> Value {
    let mut entry = json!({
        "path": of.path(),
        "kind": kind(of),
        "created": time::nanoseconds(of.created()),
        "modified": time::nanoseconds(of.modified()),
    });
    if of.is_file() {
        entry["len"] = json!(of.len());
        entry["location"] = json!(location(of));
        entry["priority"] = json!(of.priority().get());
        entry["effective_priority"] = json!(of.effective_priority().get());
        entry["access_count"] = json!(of.access_count());
        entry["accessed"] = json!(time::nanoseconds(of.accessed()));
    }
    entry
}

/// One JSON object with a long list in it, printed while the list is made: `{"entries":[..],"failures":[..]}`.
pub(crate) struct List {
    is_empty: bool,
}

impl List {
    pub(crate) fn begin(out: &mut Output, name: &str) -> Result<Self, Trouble> {
        out.text(format_args!("{{\"{name}\":["))?;
        Ok(Self { is_empty: true })
    }

    pub(crate) fn add(&mut self, out: &mut Output, item: &Value) -> Result<(), Trouble> {
        let comma = if self.is_empty { "" } else { "," };
        self.is_empty = false;
        out.text(format_args!("{comma}\n{item}"))
    }

    pub(crate) fn end(self, out: &mut Output, failures: &Failures) -> Result<(), Trouble> {
        out.text(format_args!("],\n\"failures\":{}}}\n", failures.json()))
    }
}
