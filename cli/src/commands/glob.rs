//! `memfs glob`: files by pattern.

use super::{entry::List, store::Store};
use crate::{output::Output, trouble::Trouble};
use serde_json::Value;

/// Print the full paths of the files that match a pattern, sorted
///
/// `?` and `*` stay within a name, `**` crosses names, `[..]` is a class, `{a,b}`
/// a choice. Quote the pattern, or the shell will take it. That nothing matches
/// is no failure.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(flatten)]
    store: Store,
    /// What to look for, such as '/src/**/*.rs'
    #[arg(value_name = "PATTERN")]
    pattern: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options, out: &mut Output) -> Result<bool, Trouble> {
    options.store.open(|fs, failures| {
        let paths = fs.glob(&options.pattern)?;
        if !options.json {
            return paths.iter().try_for_each(|path| {
                let line = format!("{}\n", out.name(path));
                out.text(line)
            });
        }
        let mut list = List::begin(out, "paths")?;
        paths.into_iter().try_for_each(|path| list.add(out, &Value::String(path)))?;
        list.end(out, failures)
    })
}
