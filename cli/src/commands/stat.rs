//! `memfs stat`: all that is known of a path.

use super::{
    entry::{self, List},
    store::Store,
};
use crate::{output::Output, size::count, time, trouble::Trouble};
use memfs::Metadata;

/// Show all that is known of files and directories
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    store: Store,
    /// Files and directories in the store
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options, out: &mut Output) -> Result<bool, Trouble> {
    options.store.open(|fs, failures| {
        let mut list = if options.json { Some(List::begin(out, "entries")?) } else { None };
        for path in &options.paths {
            match (fs.metadata(path), &mut list) {
                (Ok(metadata), Some(list)) => list.add(out, &entry::json(&metadata))?,
                (Ok(metadata), None) => show(&metadata, out)?,
                (Err(error), _) => failures.add_store(path, &error),
            }
        }
        list.map_or(Ok(()), |list| list.end(out, failures))
    })
}

fn show(of: &Metadata, out: &mut Output) -> Result<(), Trouble> {
    let (path, kind) = (out.name(of.path()).into_owned(), entry::kind(of));
    out.text(format_args!("path      {path}\nkind      {kind}\n"))?;
    if of.is_file() {
        let (priority, effective) = (of.priority(), of.effective_priority());
        out.text(format_args!("length    {} bytes\n", count(of.len())))?;
        out.text(format_args!("location  {}\n", entry::location(of)))?;
        out.text(format_args!("priority  {priority}, with reads {effective}\n"))?;
        out.text(format_args!("reads     {} since the store was opened\n", of.access_count()))?;
        out.text(format_args!("accessed  {}\n", time::seconds(of.accessed())))?;
    }
    out.text(format_args!("created   {}\n", time::nanoseconds(of.created())))?;
    out.text(format_args!("modified  {}\n", time::nanoseconds(of.modified())))
}
