//! `memfs ls`: what is in a directory.

use super::{
    entry::{self, List},
    store::Store,
};
use crate::{failures::Failures, output::Output, time, trouble::Trouble};
use memfs::{MemFs, Metadata};

/// List a directory, sorted by name; a directory's name ends in /
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    store: Store,
    /// Directory or file in the store
    #[arg(value_name = "PATH", default_value = "/")]
    path: String,
    /// Also kind, priority, where the bytes are, length, modification time (UTC)
    #[arg(short, long)]
    long: bool,
    /// All that is below, by full paths
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options, out: &mut Output) -> Result<bool, Trouble> {
    options.store.open(|fs, failures| {
        let mut list = if options.json { Some(List::begin(out, "entries")?) } else { None };
        each(options, fs, failures, |metadata| {
            match &mut list {
                Some(list) => list.add(out, &entry::json(metadata))?,
                None => line(options, metadata, out)?,
            }
            Ok(!out.is_closed())
        })?;
        list.map_or(Ok(()), |list| list.end(out, failures))
    })
}

/// Calls `show` with each entry until that says `false`.
fn each(
    options: &Options,
    fs: &MemFs,
    failures: &mut Failures,
    mut show: impl FnMut(&Metadata) -> Result<bool, Trouble>,
) -> Result<(), Trouble> {
    let top = match fs.metadata(&options.path) {
        Ok(metadata) => metadata,
        Err(error) => {
            failures.add_store(&options.path, &error);
            return Ok(());
        }
    };
    if top.is_file() {
        return show(&top).map(drop);
    }
    let walk: Box<dyn Iterator<Item = _>> =
        if options.recursive { Box::new(fs.walk(top.path())?) } else { Box::new(fs.read_dir(top.path())?) };
    for entry in walk {
        match fs.metadata(entry.path()) {
            Ok(metadata) if !show(&metadata)? => break,
            Ok(_) => {}
            Err(error) => failures.add_store(entry.path(), &error),
        }
    }
    Ok(())
}

fn line(options: &Options, of: &Metadata, out: &mut Output) -> Result<(), Trouble> {
    let last = of.path().rfind('/').map_or(0, |slash| slash + 1);
    let name = out.name(if options.recursive { of.path() } else { &of.path()[last..] }).into_owned();
    let slash = if of.is_dir() { "/" } else { "" };
    if !options.long {
        return out.text(format_args!("{name}{slash}\n"));
    }
    let modified = time::seconds(of.modified());
    if of.is_dir() {
        return out.text(format_args!("d  - {:6} {:>14}  {modified}  {name}{slash}\n", "-", "-"));
    }
    let (priority, location, len) = (of.priority().get(), entry::location(of), of.len());
    out.text(format_args!("f {priority:2} {location:6} {len:>14}  {modified}  {name}\n"))
}
