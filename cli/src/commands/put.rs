//! `memfs put`: one file, or standard input, into a store.

use super::{
    pieces::{Failed, Pieces},
    store::{self, Store},
};
use crate::{output::Output, trouble::Trouble};
use memfs::Priority;
use serde_json::json;
use std::{fs::File, io, io::Read, path::PathBuf};

/// Put a file, or standard input, into a store
///
/// Makes the store and the directories on the way if they are not there. What is
/// at PATH is replaced in one instant, when all has been read, and keeps its
/// priority unless another is given.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(flatten)]
    store: Store,
    /// Where to put it in the store
    #[arg(value_name = "PATH")]
    path: String,
    /// What to put; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Priority from now on, 0 to 10 [default: what it was; of a new file 5]
    #[arg(long, value_name = "LEVEL", value_parser = priority)]
    priority: Option<Priority>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn priority(text: &str) -> Result<Priority, String> {
    let level = text.parse().ok().and_then(|level| Priority::new(level).ok());
    level.ok_or_else(|| "expected a whole number from 0 to 10".into())
}

pub(crate) fn run(options: &Options, out: &mut Output) -> Result<bool, Trouble> {
    let at = |error: io::Error| Trouble(format!("{}: {error}", options.file.display()));
    let mut source: Box<dyn Read> = if options.file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&options.file).map_err(at)?;
        if file.metadata().map_err(at)?.is_dir() {
            return Err(at(io::ErrorKind::IsADirectory.into()));
        }
        Box::new(file)
    };
    options.store.open_or_make(|fs, failures| {
        let taken = match Pieces::new().take_in(fs, &options.path, options.priority, &mut source, |_| ()) {
            Ok(bytes) => Some(bytes),
            Err(Failed::Source(error)) => {
                let name = options.file.display();
                failures.add(&name, format_args!("{name}: {error}"));
                None
            }
            Err(Failed::Store(error)) => {
                failures.add_store(&options.path, &error);
                None
            }
        };
        store::sync(fs, failures);
        if !options.json {
            return Ok(());
        }
        let report = json!({ "path": options.path, "bytes": taken, "failures": failures.json() });
        out.text(format_args!("{report}\n"))
    })
}
