//! The command line.

use crate::{
    drive::{self, Options},
    engine::Outcome,
    engines,
    machine::Machine,
    plan, replay, report,
    results::{self, Results},
};
use lexopt::prelude::*;
use std::{ffi::OsString, path::PathBuf};

const HELP: &str = "\
MemFS beside what it would be compared with.

alternatives run [OPTIONS]     measure, and write tables and charts
alternatives replay --traces D [--only A,B] [--workers N] [--boost N]
                               miss ratios of request traces
alternatives report [--out D]  write tables and charts again from results.json
alternatives rows              what there is to measure
alternatives engines           who is compared, and how each is set up

Options of run:
  --only A,B         rows whose names begin with one of these
  --engines A,B      only these engines
  --without A,B      all but these
  --rounds N         rounds that count, after one that warms up (default 7)
  --round-ms N       how long a round is (default 200)
  --work-dir DIR     on disk, for those that need one (default: the system's directory for temporary files)
  --tmpfs DIR        default /dev/shm
  --max-files N      how far growth is followed (default 1000000; at most 10000000)
  --out DIR          default docs/benchmarks; rows measured before stay unless measured again
";

/// Does what the arguments say.
pub(crate) fn run() -> Outcome<()> {
    let mut parser = lexopt::Parser::from_env();
    let command = match parser.next()? {
        Some(Value(command)) => command.string()?,
        Some(Long("help") | Short('h')) | None => "help".to_owned(),
        Some(other) => return Err(other.unexpected().into()),
    };
    match command.as_str() {
        "run" => run_rows(parser),
        "replay" => replay_traces(parser),
        "report" => {
            let arguments = Arguments::parse(parser)?;
            let mut results = Results::load(&arguments.out)?;
            results.sort();
            results.save(&arguments.out)?;
            report::write(&results, &arguments.out)
        }
        "rows" => {
            for row in plan::all_rows() {
                println!("{:24} {}: {}", row.id, row.group, row.title);
            }
            Ok(())
        }
        "engines" => {
            for about in engines::all().map(|entry| entry.about) {
                println!("{:16} {}", about.name, about.fairness);
            }
            Ok(())
        }
        "serve" => (engines::find(&parser.value()?.string()?)?.serve)(),
        "help" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(format!("no command {other:?}; try --help").into()),
    }
}

struct Arguments {
    options: Options,
    out: PathBuf,
    max_files: u32,
}

impl Arguments {
    fn parse(mut parser: lexopt::Parser) -> Outcome<Self> {
        let typed: Vec<String> = std::env::args().skip(1).collect();
        let mut arguments = Self {
            options: Options {
                only: Vec::new(),
                engines: Vec::new(),
                without: Vec::new(),
                rounds: 7,
                round_millis: 200,
                work_directory: std::env::temp_dir(),
                tmpfs: "/dev/shm".into(),
                command: format!("alternatives {}", typed.join(" ")),
            },
            out: "docs/benchmarks".into(),
            max_files: 1_000_000,
        };
        let options = &mut arguments.options;
        while let Some(argument) = parser.next()? {
            match argument {
                Long("only") => options.only = list(parser.value()?)?,
                Long("engines") => options.engines = list(parser.value()?)?,
                Long("without") => options.without = list(parser.value()?)?,
                Long("rounds") => options.rounds = parser.value()?.parse()?,
                Long("round-ms") => options.round_millis = parser.value()?.parse()?,
                Long("work-dir") => options.work_directory = parser.value()?.into(),
                Long("tmpfs") => options.tmpfs = parser.value()?.into(),
                Long("max-files") => arguments.max_files = parser.value()?.parse()?,
                Long("out") => arguments.out = parser.value()?.into(),
                other => return Err(other.unexpected().into()),
            }
        }
        for name in arguments.options.engines.iter().chain(&arguments.options.without) {
            engines::find(name)?;
        }
        Ok(arguments)
    }
}

fn replay_traces(mut parser: lexopt::Parser) -> Outcome<()> {
    let mut out = PathBuf::from("docs/benchmarks");
    let mut options = replay::Options {
        traces: PathBuf::new(),
        only: Vec::new(),
        work_directory: std::env::temp_dir(),
        workers: 0,
        boost: 10,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("traces") => options.traces = parser.value()?.into(),
            Long("only") => options.only = list(parser.value()?)?,
            Long("work-dir") => options.work_directory = parser.value()?.into(),
            Long("boost") => options.boost = parser.value()?.parse()?,
            Long("workers") => options.workers = parser.value()?.parse()?,
            Long("out") => out = parser.value()?.into(),
            other => return Err(other.unexpected().into()),
        }
    }
    let mut results = Results::load(&out)?;
    results.put_replays(replay::run(&options)?);
    results.save(&out)?;
    report::write(&results, &out)
}

fn list(value: OsString) -> Outcome<Vec<String>> {
    Ok(value.string()?.split(',').map(str::to_owned).collect())
}

fn run_rows(parser: lexopt::Parser) -> Outcome<()> {
    let Arguments { options, out, max_files } = Arguments::parse(parser)?;
    let mut results = Results::load(&out)?;
    results.machine = Machine::describe();
    results.versions = results::versions();
    for scene in plan::scenes().into_iter().chain(plan::growth(max_files)) {
        for row in drive::scene(&scene, &options)? {
            results.put(row);
        }
        results.sort();
        results.save(&out)?;
    }
    report::write(&results, &out)
}
