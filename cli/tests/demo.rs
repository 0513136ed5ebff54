//! `memfs demo` as a user runs it: the built binary on small directories, good ones and bad ones.

use serde_json::Value;
use std::{
    ffi::OsStr,
    fs,
    io::Read,
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    path::Path,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

fn memfs(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memfs"));
    command.args(args).stdin(Stdio::null());
    command
}

fn demo(dir: &Path, args: &[&str]) -> Output {
    memfs(&["demo", "--seconds", "0.4"]).arg("--dir").arg(dir).args(args).output().expect("the binary runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert_eq!(output.status.code(), Some(0), "{}, {}", stderr(output), report["findings"]);
    assert!(report.is_object(), "one JSON object");
    report
}

fn number(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or_else(|| panic!("{field} is a whole number in {report}"))
}

/// About 24 MiB in 400 files of many lengths and kinds, and some entries that are no such files.
fn source() -> (TempDir, u64, u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut files, mut bytes) = (0, 0);
    let mut add = |name: String, len: usize| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        let mut contents = vec![files as u8; len];
        contents.chunks_exact_mut(4096).enumerate().for_each(|(at, page)| page[0] = at as u8);
        fs::write(path, contents).expect("a file");
        files += 1;
        bytes += len as u64;
    };
    for index in 0..390usize {
        let kind = ["rs", "html", "toml", "bin", "txt"][index % 5];
        add(format!("d{}/e{}/f{index}.{kind}", index % 7, index % 3), index * index % 60_000);
    }
    for index in 0..8 {
        add(format!("long/l{index}.so"), 1_500_000 + index);
    }
    add("exactly".into(), MIB as usize);
    add("empty".into(), 0);
    fs::write(dir.path().join(OsStr::from_bytes(b"not\xffutf8")), b"?").expect("a file");
    symlink("/etc", dir.path().join("link")).expect("a link");
    UnixListener::bind(dir.path().join("socket")).expect("a socket");
    (dir, files, bytes)
}

#[test]
fn everything_swaps_and_every_byte_is_right() {
    let (dir, files, bytes) = source();
    let report = json(&demo(dir.path(), &["--json", "--limit", "8MiB", "--threads", "2"]));
    assert_eq!((number(&report, "files"), number(&report, "bytes")), (files, bytes));
    assert_eq!(number(&report, "mismatches"), 0, "{}", report["findings"]);
    assert_eq!(number(&report, "limit_bytes"), 8 * MIB);
    assert_eq!(number(&report, "verified_files"), files - number(&report, "removed"));
    assert_eq!((number(&report, "skipped_names"), number(&report, "skipped_special")), (1, 2));
    for field in ["swaps_out", "swaps_in", "reads", "read_p50_ns", "overwritten", "renamed", "removed"] {
        assert!(number(&report, field) > 0, "{field} in {report}");
    }
    assert!(number(&report, "read_p50_ns") <= number(&report, "read_p999_ns"));
    let rate = report["hit_rate"].as_f64().expect("a rate");
    assert!((0.0..=100.0).contains(&rate), "{rate}");
    assert!(report["elapsed_seconds"].as_f64().is_some_and(|seconds| seconds > 0.4));
    let listed = report["by_priority"].as_array().expect("a list").iter();
    assert_eq!(listed.map(|group| number(group, "files")).sum::<u64>(), files);
}

#[test]
fn memory_stays_within_what_was_promised() {
    let (dir, ..) = source();
    let report = json(&demo(dir.path(), &["--json", "--limit", "8MiB"]));
    let limit = number(&report, "limit_bytes");
    assert!(number(&report, "peak_footprint_bytes") <= limit, "{report}");
    let grown = number(&report, "peak_rss_bytes") - number(&report, "start_rss_bytes");
    assert!(grown <= limit + limit / 50 + 16 * MIB, "grown by {grown} under a limit of {limit}");
}

#[test]
fn the_report_fits_a_terminal_and_says_that_all_is_well() {
    let (dir, ..) = source();
    let output = demo(dir.path(), &["--limit", "8MiB"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(output.stderr.is_empty(), "no progress where there is no terminal: {}", stderr(&output));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("every byte is what it has to be"), "{text}");
    for section in ["What was done", "Hit rate while reading", "Latency", "Where the files were", "Memory"] {
        assert!(text.contains(section), "{section} in {text}");
    }
    for line in text.lines() {
        assert!(line.chars().count() <= 80 && !line.contains('\u{1b}'), "{line:?}");
    }
}

#[test]
fn one_huge_file_is_cut_to_what_was_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::File::create(dir.path().join("huge")).and_then(|file| file.set_len(1 << 40)).expect("a hole");
    let report = json(&demo(dir.path(), &["--json", "--max-bytes", "20MiB", "--limit", "8MiB"]));
    assert_eq!((number(&report, "files"), number(&report, "bytes")), (1, 20 * MIB));
    assert_eq!((number(&report, "mismatches"), &report["source_has_more"]), (0, &Value::Bool(true)));
}

#[test]
fn a_source_that_changes_meanwhile_is_no_mismatch() {
    let (dir, ..) = source();
    let over = AtomicBool::new(false);
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..u64::MAX {
                if over.load(Relaxed) {
                    return;
                }
                let index = round as usize % 390;
                let kind = ["rs", "html", "toml", "bin", "txt"][index % 5];
                let path = dir.path().join(format!("d{}/e{}/f{index}.{kind}", index % 7, index % 3));
                // Whatever happens to the files is the point; that it succeeds is not.
                let _ = match round % 3 {
                    0 => fs::remove_file(path),
                    1 => fs::write(path, vec![round as u8; 3000]),
                    _ => fs::write(path, b""),
                };
            }
        });
        let output = demo(dir.path(), &["--json", "--limit", "8MiB"]);
        over.store(true, Relaxed);
        json(&output)
    });
    assert_eq!(number(&report, "mismatches"), 0, "{}", report["findings"]);
}

#[test]
fn nothing_is_left_in_the_storage_directory() {
    let ((dir, ..), storage) = (source(), tempfile::tempdir().expect("a directory"));
    fs::write(storage.path().join("mine"), b"left alone").expect("a file");
    let path = storage.path().to_str().expect("UTF-8");
    let report = json(&demo(dir.path(), &["--json", "--limit", "8MiB", "--storage", path]));
    assert!(number(&report, "swaps_out") > 0, "{report}");
    let left: Vec<_> =
        fs::read_dir(storage.path()).expect("it is there").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["mine"]);
}

#[test]
fn what_cannot_run_says_why_and_exits_with_two() {
    let (dir, ..) = source();
    let empty = tempfile::tempdir().expect("a directory");
    let (dir, empty) = (dir.path().to_str().expect("UTF-8"), empty.path().to_str().expect("UTF-8"));
    let file = format!("{dir}/empty");
    let cases: &[&[&str]] = &[
        &[],
        &["no-such-command"],
        &["demo", "--no-such-option"],
        &["demo", "--dir", "/no/such/directory"],
        &["demo", "--dir", &file],
        &["demo", "--dir", empty],
        &["demo", "--dir", "/proc"],
        &["demo", "--dir", dir, "--limit", "0"],
        &["demo", "--dir", dir, "--limit", "1"],
        &["demo", "--dir", dir, "--limit", "64MB"],
        &["demo", "--dir", dir, "--max-bytes", "-1"],
        &["demo", "--dir", dir, "--max-bytes", "99999999TiB"],
        &["demo", "--dir", dir, "--seconds", "NaN"],
        &["demo", "--dir", dir, "--seconds", "-1"],
        &["demo", "--dir", dir, "--threads", "0"],
        &["demo", "--dir", dir, "--seed", "x"],
        &["demo", "--dir", dir, "--storage", &file],
    ];
    for args in cases {
        let output = memfs(args).output().expect("the binary runs");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(!said.trim().is_empty() && output.stdout.is_empty(), "{args:?}");
        assert!(!said.contains("panicked"), "{args:?}: {said}");
    }
}

#[test]
fn help_goes_to_standard_output() {
    let output = memfs(&["demo", "--help"]).output().expect("the binary runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0));
    for option in
        ["--dir", "--max-bytes", "--limit", "--seconds", "--threads", "--seed", "--json", "--storage"]
    {
        assert!(text.contains(option), "{option} in {text}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let (dir, ..) = source();
    let mut command = memfs(&["demo", "--seconds", "0"]);
    command.arg("--dir").arg(dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("UTF-8");
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "{said}");
    assert_eq!(said, "");
}

#[test]
fn a_full_standard_output_is_an_error() {
    let (dir, ..) = source();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("the device");
    let mut command = memfs(&["demo", "--seconds", "0"]);
    let output = command.arg("--dir").arg(dir.path()).stdout(full).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("standard output"), "{}", stderr(&output));
}
