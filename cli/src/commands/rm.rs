//! `memfs rm`: removes from a store.

use super::store::{self, Store};
use crate::{output::Output, trouble::Trouble};
use memfs::{Error, MemFs};
use serde_json::json;

/// Remove files, and with -r directories
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    store: Store,
    /// Files and directories in the store
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Remove directories with all that is in them
    #[arg(short, long)]
    recursive: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options, out: &mut Output) -> Result<bool, Trouble> {
    options.store.open(|fs, failures| {
        let mut removed = Vec::new();
        for path in &options.paths {
            match remove(fs, path, options.recursive) {
                Ok(()) => removed.push(path),
                Err(error) => failures.add_store(path, &error),
            }
        }
        store::sync(fs, failures);
        if !options.json {
            return Ok(());
        }
        out.text(format_args!("{}\n", json!({ "removed": removed, "failures": failures.json() })))
    })
}

fn remove(fs: &MemFs, path: &str, recursive: bool) -> Result<(), Error> {
    match fs.remove_file(path) {
        Err(Error::IsADirectory { .. }) if recursive => fs.remove_dir_all(path),
        removed => removed,
    }
}
