//! `put`: all or nothing.

use super::*;

#[test]
fn standard_input_and_files_of_every_length_arrive() {
    let home = Home::new();
    let store = home.store();
    for len in [0, 1, 4096, MIB - 1, MIB, MIB + 1, 3 * MIB] {
        let contents = bytes(len as u64 + 1, len);
        let file = home.at("file");
        fs::write(&file, &contents).expect("a file");
        ok(&run_with_input("put", &[&store, &"in/put", &"--memory-limit", &"1MiB"], &contents));
        ok(&run_with_input("put", &[&store, &"in\\put2", &"-"], &contents));
        ok(&run("put", &[&store, &"/a/../file", &file]));
        for path in ["/in/put", "/in/put2", "/file"] {
            assert!(run("cat", &[&store, &path]).stdout == contents, "{path}, {len} bytes");
        }
    }
    assert_eq!(ok(&run("ls", &[&store, &"-R"])), "/file\n/in/\n/in/put\n/in/put2\n", "no parts are left");
}

#[test]
fn what_the_store_refuses_changes_nothing() {
    let home = Home::with(&[("/dir/f", b"f")]);
    let store = home.store();
    for input in [bytes(1, 10), bytes(1, 2 * MIB)] {
        for path in ["/dir", "/", "/dir/f/below", "/../up", "", "/dir/new/", &"x".repeat(256)] {
            let output = run_with_input("put", &[&store, &path], &input);
            failed(&output, 1, "memfs: ");
            assert_eq!(output.stdout, b"");
        }
    }
    let left = ok(&run("ls", &[&store, &"-R"]));
    assert_eq!(left, "/dir/\n/dir/f\n");
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let home = Home::with(&[("/f", b"old")]);
    failed(&run("put", &[&home.store(), &"/f", &home.at("absent")]), 2, "absent: No such file");
    failed(&run("put", &[&home.store(), &"/f", &home.home.path()]), 2, "directory");
    let output = run("put", &[&home.store(), &"/f", &"/proc/self/mem", &"--json"]);
    failed(&output, 1, "/proc/self/mem: ");
    assert!(json(&output)["bytes"].is_null());
    assert_eq!(ok(&run("cat", &[&home.store(), &"/f"])), "old");
}

#[test]
fn killed_in_the_middle_it_leaves_the_old_contents() {
    let home = Home::with(&[("/f", b"old")]);
    let mut put =
        memfs("put", &[&home.store(), &"/f"]).stdin(Stdio::piped()).spawn().expect("the binary runs");
    let mut input = put.stdin.take().expect("piped");
    input.write_all(&bytes(1, 4 * MIB)).expect("it reads");
    put.kill().expect("it is there");
    put.wait().expect("it ends");
    assert_eq!(ok(&run("cat", &[&home.store(), &"/f"])), "old");
}

#[test]
fn a_priority_is_given_and_kept() {
    let home = Home::new();
    let store = home.store();
    let priority =
        |path: &str| number(&json(&run("stat", &[&store, &path, &"--json"]))["entries"][0], "priority");
    for (path, len) in [("/short", 10), ("/long", 2 * MIB)] {
        ok(&run_with_input("put", &[&store, &path, &"--priority", &"8"], &bytes(1, len)));
        assert_eq!(priority(path), 8);
        ok(&run_with_input("put", &[&store, &path], &bytes(2, len)));
        assert_eq!(priority(path), 8);
        ok(&run_with_input("put", &[&store, &path, &"--priority=0"], &bytes(3, len)));
        assert_eq!(priority(path), 0);
    }
    failed(&run("put", &[&store, &"/f", &"--priority", &"11"]), 2, "from 0 to 10");
}
