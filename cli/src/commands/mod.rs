//! The commands that work on stores, one file each, and what they share: [`store`] opens and closes, [`pieces`] copies
//! contents in and out, [`entry`] shows what is known of a path. [`tree`] writes below a directory and never elsewhere,
//! [`source`] lists one.

mod bench;
mod cat;
mod entry;
mod export;
mod fsck;
mod glob;
mod import;
mod ls;
mod pieces;
mod put;
mod rm;
mod source;
mod stat;
mod stats;
mod store;
mod tree;

use crate::{output::Output, trouble::Trouble};

/// Commands on stores.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    Import(import::Options),
    Export(export::Options),
    Ls(ls::Options),
    Cat(cat::Options),
    Put(put::Options),
    Rm(rm::Options),
    Stat(stat::Options),
    Glob(glob::Options),
    Stats(stats::Options),
    Bench(bench::Options),
    Fsck(fsck::Options),
}

/// Runs a command; good unless something failed that was said on the way.
pub(crate) fn run(command: &Command, out: &mut Output) -> Result<bool, Trouble> {
    match command {
        Command::Import(options) => import::run(options, out),
        Command::Export(options) => export::run(options, out),
        Command::Ls(options) => ls::run(options, out),
        Command::Cat(options) => cat::run(options, out),
        Command::Put(options) => put::run(options, out),
        Command::Rm(options) => rm::run(options, out),
        Command::Stat(options) => stat::run(options, out),
        Command::Glob(options) => glob::run(options, out),
        Command::Stats(options) => stats::run(options, out),
        Command::Bench(options) => bench::run(options, out),
        Command::Fsck(options) => fsck::run(options, out),
    }
}
