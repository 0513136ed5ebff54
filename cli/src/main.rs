//! The binary `memfs`. All of it is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    memfs_cli::main(std::env::args_os())
}
