//! The memfs command line: arguments in, exit codes out. Everything else is in the commands' modules, and nothing here
//! reaches past the library's public interface.
//!
//! Exit codes: 0 done, 1 the command ran and found something wrong, 2 it could not run. Errors go to standard error.

mod demo;
mod digest;
mod histogram;
mod random;
pub mod size;
mod trouble;

use clap::Parser;
use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};
use trouble::Trouble;

/// A memory-first file store: many bytes under a small memory limit.
#[derive(Parser)]
#[command(name = "memfs", version, arg_required_else_help = true)]
enum Command {
    /// Real files under a small memory limit, every byte checked, and a report.
    Demo(demo::Options),
}

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
    let done = match command {
        Command::Demo(options) => demo::run(&options),
    };
    match done.and_then(|outcome| show(&outcome.text).map(|()| outcome.good)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(Trouble(text)) => {
            let _ = writeln!(io::stderr(), "memfs: {text}");
            ExitCode::from(2)
        }
    }
}

/// What a command hands back: the text for standard output and whether all was well.
struct Outcome {
    text: String,
    good: bool,
}

/// Prints to standard output. A reader that has gone away (`memfs demo | head`) is not an error.
fn show(text: &str) -> Result<(), Trouble> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Trouble(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}
