//! Where export writes, and where not.

use super::*;
use std::os::unix::fs::symlink;

#[test]
fn what_is_there_stays_without_force() {
    let home = Home::with(&[("/d/a", b"from the store"), ("/d/b", b"b")]);
    let (store, target) = (home.store(), home.at("target"));
    fs::create_dir_all(target.join("d")).expect("a directory");
    fs::write(target.join("d/a"), b"mine").expect("a file");
    fs::write(target.join("d/c"), b"c").expect("a file");
    let output = run("export", &[&store, &target, &"--json"]);
    failed(&output, 1, "--force");
    assert_eq!((number(&json(&output), "files"), number(&json(&output), "failed")), (1, 1));
    let read = |name: &str| fs::read_to_string(target.join(name)).expect("a file");
    assert_eq!([read("d/a"), read("d/b"), read("d/c")], ["mine", "b", "c"]);
    let output = run("export", &[&store, &target, &"--json", &"--force"]);
    assert_eq!((output.status.code(), number(&json(&output), "files")), (Some(0), 2));
    assert_eq!([read("d/a"), read("d/b"), read("d/c")], ["from the store", "b", "c"]);
    assert_eq!(fs::read_dir(target.join("d")).expect("a directory").count(), 3, "no parts are left");
}

#[test]
fn nothing_is_written_through_a_link() {
    let home = Home::with(&[("/dir/f", b"new"), ("/file", b"new"), ("/good", b"good")]);
    let (target, elsewhere) = (home.at("target"), home.at("elsewhere"));
    fs::create_dir_all(&target).expect("a directory");
    fs::create_dir_all(&elsewhere).expect("a directory");
    fs::write(elsewhere.join("file"), b"untouched").expect("a file");
    symlink(&elsewhere, target.join("dir")).expect("a link");
    symlink(elsewhere.join("file"), target.join("file")).expect("a link");
    for force in [false, true] {
        let mut export = memfs("export", &[&home.store(), &target]);
        let output = export.args(force.then_some("--force")).output().expect("the binary runs");
        failed(&output, 1, "dir: ");
        let found = tree(&elsewhere);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("file".into(), Some(b"untouched".to_vec()))]);
    }
    assert_eq!(fs::read(target.join("good")).expect("a file"), b"good");
    assert_eq!(
        fs::read(target.join("file")).expect("a file"),
        b"new",
        "the link was replaced, not what it led to"
    );
}

#[test]
fn a_file_and_a_directory_do_not_replace_each_other() {
    let home = Home::with(&[("/file", b"f"), ("/dir/below", b"d"), ("/good", b"good")]);
    let target = home.at("target");
    fs::create_dir_all(target.join("file")).expect("a directory");
    fs::write(target.join("dir"), b"in the way").expect("a file");
    let output = run("export", &[&home.store(), &target, &"--force", &"--json"]);
    failed(&output, 1, "dir: Not a directory");
    assert_eq!((number(&json(&output), "files"), number(&json(&output), "failed")), (1, 2));
    assert_eq!(fs::read(target.join("dir")).expect("a file"), b"in the way");
    assert!(target.join("file").is_dir());
}

#[test]
fn the_stores_own_directory_is_no_target() {
    let home = Home::with(&[("/store/lock", b"not yours"), ("/good", b"good")]);
    let before: Vec<_> = tree(&home.store()).into_keys().collect();
    failed(&run("export", &[&home.store(), &home.store()]), 2, "own directory");
    failed(&run("export", &[&home.store(), &home.store().join("deep/below")]), 2, "own directory");
    let output = run("export", &[&home.store(), &home.home.path(), &"--force"]);
    failed(&output, 1, "own directory");
    assert_eq!(fs::read(home.at("good")).expect("a file"), b"good");
    assert!(fs::read(home.store().join("lock")).expect("the lock file") != b"not yours");
    assert!(before.contains(&"lock".into()) && !home.store().join("deep").exists());
}

#[test]
fn a_file_is_no_target() {
    let home = Home::with(&[("/f", b"f")]);
    failed(&run("export", &[&home.store(), &home.at("contents")]), 2, "contents: ");
    assert_eq!(fs::read(home.at("contents")).expect("a file"), b"f");
}
