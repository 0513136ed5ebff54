//! What import takes, and what it passes over.

use super::*;
use std::{
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    time::Instant,
};

#[test]
fn links_and_special_files_are_counted_and_bad_names_said() {
    let home = Home::new();
    let (source, store) = (home.at("source"), home.store());
    fs::create_dir_all(source.join(OsStr::from_bytes(b"dir\xff"))).expect("a directory");
    fs::write(source.join(OsStr::from_bytes(b"dir\xff/lost")), b"?").expect("a file");
    fs::write(source.join(OsStr::from_bytes(b"not\xffutf8")), b"?").expect("a file");
    fs::write(source.join("back\\slash"), b"?").expect("a file");
    fs::write(source.join("good"), b"good").expect("a file");
    symlink("good", source.join("link")).expect("a link");
    symlink("/", source.join("loop")).expect("a link");
    UnixListener::bind(source.join("socket")).expect("a socket");
    let output = run("import", &[&source, &store, &"--json"]);
    failed(&output, 1, "back\\slash");
    let report = json(&output);
    assert_eq!((number(&report, "files"), number(&report, "directories")), (1, 0));
    assert_eq!((number(&report, "skipped_special"), number(&report, "failed")), (3, 3));
    assert_eq!(report["failures"].as_array().map(Vec::len), Some(3));
    assert_eq!(ok(&run("ls", &[&store, &"-R"])), "/good\n");
}

#[test]
fn the_store_itself_is_not_imported() {
    let home = Home::new();
    fs::write(home.at("file"), b"contents").expect("a file");
    let output = run("import", &[&home.home.path(), &home.store()]);
    assert!(ok(&output).contains("imported 1 files"));
    assert_eq!(ok(&run("ls", &[&home.store(), &"-R"])), "/file\n");
    failed(&run("import", &[&home.store(), &home.store()]), 2, "the store's own directory");
}

#[test]
fn another_import_replaces_adds_and_leaves_the_rest() {
    let home = Home::with(&[("/rest", b"rest"), ("/is/a/dir", b"dir"), ("/file", b"file")]);
    let (source, store) = (home.at("source"), home.store());
    for (path, priority) in [("/f", "7"), ("/long", "1")] {
        ok(&run_with_input("put", &[&store, &path, &"--priority", &priority], b"old"));
    }
    fs::create_dir_all(source.join("file/is")).expect("directories");
    fs::write(source.join("f"), b"new").expect("a file");
    fs::write(source.join("long"), bytes(1, 3 * MIB)).expect("a file");
    fs::write(source.join("is"), b"a file now").expect("a file");
    let output = run("import", &[&source, &store, &"--json"]);
    failed(&output, 1, "/is: expected a file, found a directory");
    failed(&output, 1, "/file: ");
    assert_eq!(number(&json(&output), "failed"), 2, "what is below /file is not tried");
    assert_eq!(ok(&run("ls", &[&store, &"-R"])), "/f\n/file\n/is/\n/is/a/\n/is/a/dir\n/long\n/rest\n");
    let known = json(&run("stat", &[&store, &"/f", &"/long", &"--json"]));
    let priorities: Vec<_> = (0..2).map(|i| number(&known["entries"][i], "priority")).collect();
    assert_eq!(priorities, [7, 1], "an overwrite keeps the priority");
    assert_eq!(ok(&run("cat", &[&store, &"/f", &"/rest"])), "newrest");
    assert!(run("cat", &[&store, &"/long"]).stdout == bytes(1, 3 * MIB));
}

#[test]
fn a_hole_of_many_times_the_memory_takes_no_room() {
    let home = Home::new();
    let source = home.at("source");
    fs::create_dir(&source).expect("a directory");
    fs::File::create(source.join("hole")).and_then(|file| file.set_len(512 << 20)).expect("a hole");
    let started = Instant::now();
    ok(&run("import", &[&source, &home.store(), &"--memory-limit", &"1MiB"]));
    let stats = json(&run("stats", &[&home.store(), &"--json"]));
    assert_eq!(number(&stats["disk"], "current_usage"), 0, "after {:?}", started.elapsed());
    let known = json(&run("stat", &[&home.store(), &"/hole", &"--json"]));
    assert_eq!(number(&known["entries"][0], "len"), 512 << 20);
}

#[test]
fn what_cannot_be_a_source_makes_no_store() {
    let home = Home::new();
    fs::write(home.at("file"), b"contents").expect("a file");
    failed(&run("import", &[&home.at("absent"), &home.store()]), 2, "absent: No such file");
    failed(&run("import", &[&home.at("file"), &home.store()]), 2, "file: Not a directory");
    assert!(!home.store().exists());
}
