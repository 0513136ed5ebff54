//! The memfs command line: arguments in, exit codes out. Everything else is in the commands' modules, and nothing here
//! reaches past the library's public interface.
//!
//! Exit codes: see `AFTER_HELP`. Errors go to standard error.

mod commands;
mod demo;
mod digest;
mod failures;
mod histogram;
mod mounts;
mod output;
mod progress;
mod random;
pub mod size;
mod time;
mod trouble;

use clap::Parser;
use output::Output;
use std::{ffi::OsString, process::ExitCode};
use trouble::Trouble;

/// A memory-first file store: many bytes under a small memory limit.
#[derive(Parser)]
#[command(name = "memfs", version, arg_required_else_help = true, after_help = AFTER_HELP)]
enum Command {
    /// Real files under a small memory limit, every byte checked, and a report
    Demo(demo::Options),
    #[command(flatten)]
    Store(commands::Command),
}

const AFTER_HELP: &str = "\
A STORE is a directory that holds a persistent store; one process at a time
owns it. Only import, put and bench make one that is not there. A PATH is a
path in the store, with / between names.

Exit codes: 0 all done; 1 something of it failed, and was said on standard
error; 2 nothing was done: wrong usage, no such store, another process owns it,
it cannot be opened; or standard output cannot be written.";

/// A command line that makes sense.
pub struct Understood(Command);

/// Reads the arguments, the program's name first.
///
/// # Errors
/// What is to be printed instead of running anything, with its exit code: 0 if help was asked for, 2 if the arguments make no
/// sense.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Understood, clap::Error> {
    Command::try_parse_from(arguments).map(Understood)
}

/// Does what the arguments say, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Understood(command) = match parse(arguments) {
        Ok(understood) => understood,
        Err(refusal) => {
            // Help goes to standard output, a usage error to standard error; a closed one is no reason to panic.
            let _ = refusal.print();
            return ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(2));
        }
    };
    let mut out = Output::new();
    match run(&command, &mut out).and_then(|good| out.finish().map(|()| good)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(Trouble(text)) => {
            failures::say(&text);
            ExitCode::from(2)
        }
    }
}

fn run(command: &Command, out: &mut Output) -> Result<bool, Trouble> {
    match command {
        Command::Demo(options) => {
            let Outcome { text, good } = demo::run(options)?;
            out.text(text).map(|()| good)
        }
        Command::Store(command) => commands::run(command, out),
    }
}

/// What the demo hands back: the text for standard output and whether all was well.
struct Outcome {
    text: String,
    good: bool,
}
