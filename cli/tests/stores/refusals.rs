//! What cannot be done at all: exit code 2, and nothing is made or changed.

use super::*;

/// Every command that does not make a store, with arguments that would do otherwise.
const LOOKING: [(&str, &[&str]); 7] = [
    ("ls", &[]),
    ("cat", &["/f"]),
    ("rm", &["/f"]),
    ("stat", &["/f"]),
    ("glob", &["**"]),
    ("stats", &[]),
    ("export", &["/no/such/directory"]),
];

#[test]
fn a_store_that_is_not_there_is_not_made() {
    let home = Home::new();
    let empty = home.at("empty");
    fs::create_dir(&empty).expect("a directory");
    fs::create_dir(home.at("files")).expect("a directory");
    fs::write(home.at("files/mine"), b"mine").expect("a file");
    let before = tree(home.home.path());
    for (command, args) in LOOKING {
        for dir in ["absent", "absent/below", "empty", "files"] {
            let output = memfs(command, &[&home.at(dir)]).args(args).output().expect("the binary runs");
            failed(&output, 2, "there is no store");
            assert_eq!(output.stdout, b"");
        }
        let output = memfs(command, &[&home.at("files/mine")]).args(args).output().expect("the binary runs");
        failed(&output, 2, "mine: Not a directory");
    }
    assert!(tree(home.home.path()) == before);
}

#[test]
fn other_peoples_files_are_no_place_for_a_store() {
    let home = Home::new();
    let (files, source) = (home.at("files"), home.at("source"));
    for dir in [&files, &source] {
        fs::create_dir(dir).expect("a directory");
        fs::write(dir.join("mine"), b"mine").expect("a file");
    }
    let before = tree(home.home.path());
    failed(&run("import", &[&source, &files]), 2, "expected a store or an empty directory");
    failed(&run("put", &[&files, &"/f", &source.join("mine")]), 2, "expected a store or an empty directory");
    failed(&run("bench", &[&files]), 2, "expected a store or an empty directory");
    assert!(tree(home.home.path()) == before);
}

#[test]
fn wrong_usage_is_said() {
    let home = Home::with(&[("/f", b"contents")]);
    let store = home.store();
    let store = store.to_str().expect("UTF-8");
    let cases: &[&[&str]] = &[
        &["import"],
        &["import", "/usr"],
        &["export", store],
        &["ls"],
        &["ls", store, "/", "/"],
        &["cat", store],
        &["put", store],
        &["rm", store],
        &["stat", store],
        &["glob", store],
        &["glob", store, "a["],
        &["stats"],
        &["cat", "--json", store, "/f"],
        &["ls", store, "--memory-limit", "0"],
        &["ls", store, "--memory-limit", "1"],
        &["ls", store, "--memory-limit", "64MB"],
        &["bench", "--bytes", "0"],
        &["bench", "--memory-limit", "1"],
    ];
    for args in cases {
        let output = memfs(args[0], &[]).args(&args[1..]).output().expect("the binary runs");
        failed(&output, 2, "");
        assert!(!stderr(&output).trim().is_empty() && output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_path_that_is_not_there_fails_alone() {
    let home = Home::with(&[("/a", b"first "), ("/b", b"second")]);
    let store = home.store();
    let output = run("cat", &[&store, &"/a", &"/absent", &"/", &"/a/below", &"/b"]);
    failed(&output, 1, "/absent: not found");
    assert_eq!((stdout(&output).as_str(), stderr(&output).lines().count()), ("first second", 3));
    failed(&run("ls", &[&store, &"/absent"]), 1, "/absent: not found");
    let output = run("stat", &[&store, &"/absent", &"/b", &"/../up"]);
    failed(&output, 1, "/absent: not found");
    assert!(stdout(&output).starts_with("path      /b\n"));
}

#[test]
fn help_tells_of_every_command_and_of_exit_codes() {
    let help = ok(&run("--help", &[]));
    for command in
        ["demo", "import", "export", "ls", "cat", "put", "rm", "stat", "glob", "stats", "bench", "Exit codes"]
    {
        assert!(
            help.contains(&format!("\n  {command} ")) || help.contains(&format!("\n{command}: ")),
            "{command}"
        );
    }
    for command in ["import", "export", "ls", "cat", "put", "rm", "stat", "glob", "stats", "bench"] {
        let help = ok(&run(command, &[&"--help"]));
        assert!(help.contains("STORE") && help.contains("--memory-limit"), "{help}");
        assert_eq!(help.contains("--json"), command != "cat", "{help}");
    }
}
