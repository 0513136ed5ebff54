//! `memfs fsck`: what is wrong with a store, and what of it can be saved.

use crate::{output::Output, trouble::Trouble};
use memfs::FsckReport;
use std::path::PathBuf;

/// Check every byte of a store that nobody has open, and change nothing in it
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The store's directory
    #[arg(value_name = "STORE")]
    store: PathBuf,
    /// Write all that verifies into a new store in this directory
    #[arg(long, value_name = "DIR")]
    salvage: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options, out: &mut Output) -> Result<bool, Trouble> {
    let report = match &options.salvage {
        Some(into) => memfs::salvage(&options.store, into),
        None => memfs::fsck(&options.store),
    };
    let report = report.map_err(|error| Trouble(error.to_string()))?;
    if options.json {
        let json = serde_json::to_string_pretty(&report).map_err(|error| Trouble(error.to_string()))?;
        out.text(format_args!("{json}\n"))?;
    } else {
        show(&report, out)?;
    }
    Ok(report.is_sound())
}

fn show(report: &FsckReport, out: &mut Output) -> Result<(), Trouble> {
    for finding in &report.findings {
        let kind = if finding.is_damage { "damage" } else { "note" };
        let path = finding.path.as_ref().map(|path| out.name(path).into_owned()).unwrap_or_default();
        out.text(format_args!("{kind}: {} at {}: {} {path}\n", finding.file, finding.offset, finding.what))?;
    }
    let FsckReport { files, directories, bytes, damaged_files, .. } = report;
    out.text(format_args!(
        "{files} files with {bytes} bytes and {directories} directories verify; {damaged_files} files do not\n"
    ))
}
