//! MemFS beside what it would be compared with: the same work, in turns, contents checked.
//!
//! Every engine runs in a process of its own ([`child`]) and implements one trait ([`engine`], [`engines`]). The program
//! that is started ([`drive`]) lets them take turns in short rounds, so that whatever else the machine does meets all alike,
//! and gathers what they answer into rows ([`plan`], [`results`]), which become tables and charts ([`report`]).

use tikv_jemallocator::Jemalloc;

mod child;
mod cli;
mod content;
mod data;
mod drive;
mod engine;
mod engines;
mod histogram;
mod machine;
mod plan;
mod replay;
mod report;
mod requests;
mod results;
mod simulate;
mod statistics;
mod work;

/// What users of concurrent maps choose, and what is best for all of them here. MemFS has its own memory for contents.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> std::process::ExitCode {
    match cli::run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("alternatives: {failure}");
            std::process::ExitCode::FAILURE
        }
    }
}
