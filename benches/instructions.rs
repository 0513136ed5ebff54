//! Instructions per operation, counted by callgrind: what a change costs, told apart from what the machine does meanwhile.
//!
//! `cargo bench --bench instructions` runs each piece of work twice under `valgrind --tool=callgrind`, the second time with
//! more operations, and divides the difference: set-up and tear-down cancel out. It compares with the counts recorded in
//! `benches/instructions.txt` and exits with 1 if one is more than 5 % off, up or down; `-- --record` writes them anew.

use memfs::MemFs;
use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    hint::black_box,
    process::{Command, ExitCode},
};

const TOLERANCE: f64 = 0.05;
const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

/// A piece of work: its name, its files, what is done to one of them in a round.
struct Work {
    name: &'static str,
    files: usize,
    len: usize,
    limit: u64,
    run: fn(&MemFs, &str, &[u8]),
}

const WORK: &[Work] = &[
    Work { name: "hit_touch_1k", files: 64, len: 1 << 10, limit: 64 << 20, run: touch },
    Work { name: "hit_copy_1k", files: 64, len: 1 << 10, limit: 64 << 20, run: copy },
    Work { name: "hit_get_1k", files: 64, len: 1 << 10, limit: 64 << 20, run: get },
    Work { name: "metadata", files: 64, len: 1 << 10, limit: 64 << 20, run: metadata },
    Work { name: "overwrite_1k", files: 64, len: 1 << 10, limit: 64 << 20, run: overwrite },
    Work { name: "overwrite_4k", files: 64, len: 4 << 10, limit: 64 << 20, run: overwrite },
    Work { name: "create_remove_1k", files: 64, len: 1 << 10, limit: 64 << 20, run: create_and_remove },
    Work { name: "rename_twice", files: 64, len: 1 << 10, limit: 64 << 20, run: rename_and_back },
    Work { name: "swap_in_16k", files: 1024, len: 16 << 10, limit: 6 << 20, run: touch },
];

fn touch(fs: &MemFs, path: &str, _: &[u8]) {
    black_box(fs.read_with(path, |bytes| bytes[0] ^ bytes[bytes.len() - 1]).unwrap());
}

fn copy(fs: &MemFs, path: &str, _: &[u8]) {
    let mut buf = [0; 1 << 10];
    fs.read_at(path, &mut buf, 0).unwrap();
    black_box(buf);
}

fn get(fs: &MemFs, path: &str, _: &[u8]) {
    black_box(fs.get(path).unwrap().len());
}

fn metadata(fs: &MemFs, path: &str, _: &[u8]) {
    black_box(fs.metadata(path).unwrap().len());
}

fn overwrite(fs: &MemFs, path: &str, bytes: &[u8]) {
    fs.write(path, bytes).unwrap();
}

fn create_and_remove(fs: &MemFs, path: &str, bytes: &[u8]) {
    fs.remove_file(path).unwrap();
    fs.write(path, bytes).unwrap();
}

fn rename_and_back(fs: &MemFs, path: &str, _: &[u8]) {
    fs.rename(path, "/elsewhere").unwrap();
    fs.rename("/elsewhere", path).unwrap();
}

fn perform(work: &Work, rounds: usize) {
    // No workers: who does what would be up to the machine.
    let fs = MemFs::builder().memory_limit_bytes(work.limit).worker_threads(0).build().unwrap();
    let bytes = vec![7; work.len];
    let paths: Vec<String> =
        (0..work.files).map(|i| format!("/models/shard-{:02}/part{i:05}.bin", i % 8)).collect();
    for path in &paths {
        fs.write(path, &bytes).unwrap();
    }
    // Past the first reads, which are counted one by one.
    for _ in 0..70 {
        paths.iter().for_each(|path| touch(&fs, path, &bytes));
    }
    for _ in 0..rounds {
        paths.iter().for_each(|path| (work.run)(&fs, path, &bytes));
    }
}

/// Instructions of the whole process that does `rounds` of `work`.
fn counted(work: &Work, rounds: usize) -> Result<u64, Box<dyn Error>> {
    let profile = env::temp_dir().join(format!("memfs-callgrind-{}", std::process::id()));
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe()?)
        .args([work.name, &rounds.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let _ = fs::remove_file(profile);
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.filter(|_| output.status.success()).ok_or_else(|| format!("{}: {said}", work.name).into())
}

/// What one operation of `work` takes.
fn cost(work: &Work) -> Result<f64, Box<dyn Error>> {
    let few = 4_096_usize.div_ceil(work.files);
    let more = counted(work, 3 * few)?.saturating_sub(counted(work, few)?);
    Ok(more as f64 / (2 * few * work.files) as f64)
}

/// The same by three runs, of which the middle one counts: who leaves RAM is a matter of chance, and with it what a swap-in takes.
fn median_cost(first: f64, work: &Work) -> Result<f64, Box<dyn Error>> {
    let mut costs = [first, cost(work)?, cost(work)?];
    costs.sort_by(f64::total_cmp);
    Ok(costs[1])
}

fn recorded() -> BTreeMap<String, f64> {
    let text = fs::read_to_string(RECORD).unwrap_or_default();
    let pair = |line: &str| {
        Some((line.split_whitespace().next()?.to_owned(), line.split_whitespace().nth(1)?.parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let known = |name: &str| WORK.iter().find(|work| work.name == name);
    if let [name, rounds] = &args[..] {
        perform(known(name).ok_or("no such work")?, rounds.parse()?);
        return Ok(ExitCode::SUCCESS);
    }
    let record = args == ["--record"];
    let (before, mut text, mut off) = (recorded(), String::new(), false);
    println!("{:<18} {:>10} {:>10}", "instructions", "recorded", "now");
    for work in WORK.iter().filter(|work| record || args.is_empty() || args.contains(&work.name.to_owned())) {
        let was = before.get(work.name).copied().unwrap_or(f64::NAN);
        // Unknown is off, too.
        let is_within = |now: f64| (now / was - 1.0).abs() <= TOLERANCE;
        let mut now = cost(work)?;
        if record || !is_within(now) {
            now = median_cost(now, work)?;
        }
        let (change, within) = (now / was - 1.0, is_within(now));
        off |= !within;
        println!(
            "{:<18} {was:>10.0} {now:>10.0}  {:+.1} %{}",
            work.name,
            change * 100.0,
            if within { "" } else { "  OFF" }
        );
        text += &format!("{} {now:.0}\n", work.name);
    }
    if record {
        fs::write(RECORD, text)?;
    }
    Ok(ExitCode::from(u8::from(off && !record)))
}
