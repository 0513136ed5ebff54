//! The commands on stores as a user runs them: the built binary, real directories, exit codes.

mod bench;
mod closed;
mod damage;
mod export;
mod import;
mod json;
mod processes;
mod put;
mod refusals;
mod remove;
mod round_trip;

use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

const MIB: usize = 1 << 20;

/// A directory for a store, a source and a target; none of them is there yet.
struct Home {
    home: TempDir,
}

impl Home {
    fn new() -> Self {
        Home { home: tempfile::tempdir().expect("a directory") }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.at("store")
    }

    /// A store that holds `files`.
    fn with(files: &[(&str, &[u8])]) -> Self {
        let home = Self::new();
        for (path, contents) in files {
            let source = home.at("contents");
            fs::write(&source, contents).expect("a file");
            // Under a small limit segments are small, too.
            ok(&run("put", &[&home.store(), path, &source, &"--memory-limit=4MiB"]));
        }
        home
    }
}

type Args<'a> = &'a [&'a dyn AsRef<OsStr>];

fn memfs(command: &str, args: Args<'_>) -> Command {
    let mut memfs = Command::new(env!("CARGO_BIN_EXE_memfs"));
    memfs.arg(command).args(args.iter().map(|arg| arg.as_ref())).stdin(Stdio::null());
    memfs
}

fn run(command: &str, args: Args<'_>) -> Output {
    memfs(command, args).output().expect("the binary runs")
}

fn run_with_input(command: &str, args: Args<'_>, input: &[u8]) -> Output {
    let mut memfs = memfs(command, args);
    memfs.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = memfs.spawn().expect("the binary runs");
    // A command that fails early does not read it.
    let _ = child.stdin.take().expect("piped").write_all(input);
    child.wait_with_output().expect("it ends")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// All went well and nothing was said; what was printed.
fn ok(output: &Output) -> String {
    let said = stderr(output);
    assert_eq!((output.status.code(), &*said), (Some(0), ""), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// It ended with `code` and said `what` on standard error.
fn failed(output: &Output, code: i32, what: &str) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(what), "{what} in {said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// Its standard output is one JSON object.
fn json(output: &Output) -> Value {
    let value: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}, {}", stdout(output), stderr(output)));
    assert!(value.is_object(), "{value}");
    value
}

fn number(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or_else(|| panic!("{field} is a whole number in {report}"))
}

/// Bytes that tell where they belong.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    (0..len).map(|_| next()).collect()
}

/// All that is below a directory: files with their contents, directories with none.
fn tree(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            let inside = path.strip_prefix(root).expect("below").to_owned();
            if path.is_dir() {
                found.insert(inside, None);
                pending.push(path);
            } else {
                found.insert(inside, Some(fs::read(path).expect("a file")));
            }
        }
    }
    found
}
