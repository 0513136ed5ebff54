//! `memfs stats`: the store's own figures.

use super::store::Store;
use crate::{output::Output, trouble::Trouble};

/// Show a store's figures
///
/// Those of use (reads, hits, latencies) count from the opening of the store, so
/// here they are near 0.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(flatten)]
    store: Store,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options, out: &mut Output) -> Result<bool, Trouble> {
    options.store.open(|fs, _| {
        let stats = fs.stats();
        if options.json {
            return out.text(format_args!("{}\n", stats.to_json()));
        }
        for line in stats.to_string().lines() {
            let line = format!("{}\n", out.name(line));
            out.text(line)?;
        }
        out.text(format_args!("journal     {} bytes\n", stats.journal_bytes))
    })
}
