//! `--json` on every command that prints data: one object each, with the fields that programs use.

use super::*;

#[test]
fn every_command_prints_one_object() {
    let home = Home::with(&[("/d/f", b"contents")]);
    let (store, source) = (home.store(), home.at("source"));
    fs::create_dir(&source).expect("a directory");
    fs::write(source.join("g"), b"more").expect("a file");
    let cases: &[(&str, Args<'_>, &[&str])] = &[
        (
            "import",
            &[&source, &store],
            &["files", "directories", "bytes", "skipped_special", "failed", "seconds"],
        ),
        ("put", &[&store, &"/p", &source.join("g")], &["path", "bytes", "failures"]),
        ("ls", &[&store], &["entries", "failures"]),
        ("ls", &[&store, &"-lR"], &["entries", "failures"]),
        ("stat", &[&store, &"/d", &"/d/f"], &["entries", "failures"]),
        ("glob", &[&store, &"**"], &["paths", "failures"]),
        ("stats", &[&store], &["memory", "disk", "cache", "operations", "uptime_seconds"]),
        ("export", &[&store, &home.at("target")], &["files", "directories", "bytes", "failed", "seconds"]),
        ("rm", &[&store, &"/p"], &["removed", "failures"]),
        ("bench", &[&"--bytes", &"64KiB"], &["mode", "results", "failures"]),
    ];
    for (command, args, fields) in cases {
        let output = memfs(command, args).arg("--json").output().expect("the binary runs");
        assert_eq!((output.status.code(), &*stderr(&output)), (Some(0), ""), "{command}");
        let report = json(&output);
        for field in *fields {
            assert!(!report[*field].is_null(), "{command}: {field} in {report}");
        }
    }
}

#[test]
fn a_file_has_all_its_figures_and_a_directory_its_own() {
    let home = Home::with(&[("/d/f", b"contents")]);
    let report = json(&run("stat", &[&home.store(), &"d", &"/d/./f", &"/absent", &"--json"]));
    let (dir, file) = (&report["entries"][0], &report["entries"][1]);
    assert_eq!((&dir["path"], &dir["kind"], &dir["len"]), (&"/d".into(), &"directory".into(), &Value::Null));
    assert_eq!((&file["path"], &file["kind"]), (&"/d/f".into(), &"file".into()));
    assert_eq!(
        (number(file, "len"), number(file, "priority"), number(file, "effective_priority")),
        (8, 5, 5)
    );
    assert_eq!((&file["location"], number(file, "access_count")), (&"disk".into(), 0));
    for field in ["created", "modified", "accessed"] {
        let time = file[field].as_str().expect("a time");
        assert!(time.len() == 30 && time.starts_with("20") && time.ends_with('Z'), "{time}");
    }
    let failure = &report["failures"][0];
    assert_eq!((&failure["path"], &failure["reason"]), (&"/absent".into(), &"/absent: not found".into()));
}

#[test]
fn names_with_quotes_and_line_breaks_are_still_one_object() {
    let home = Home::with(&[("/\"\n\t\u{1b}[31m'", b"x")]);
    for (command, list) in [("ls", "entries"), ("glob", "paths")] {
        let mut command = memfs(command, &[&home.store()]);
        command.args((list == "paths").then_some("**")).arg("--json");
        let report = json(&command.output().expect("the binary runs"));
        let found = if list == "paths" { &report[list][0] } else { &report[list][0]["path"] };
        assert_eq!(found, "/\"\n\t\u{1b}[31m'");
    }
    let output = run("cat", &[&home.store(), &"/\u{1b}[31m"]);
    failed(&output, 1, "\\u{1b}[31m: not found");
    assert!(!stderr(&output).contains('\u{1b}'), "what goes to a terminal cannot steer it");
}
