//! Two processes at one store: one has it, the other is told who.

use super::*;
use std::{io::Read, process};

#[test]
fn the_store_is_owned_while_it_waits_for_input() {
    let home = Home::with(&[("/f", b"old")]);
    let mut put = memfs("put", &[&home.store(), &"/f"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut input = put.stdin.take().expect("piped");
    // It has read this when the next write is through, and it opens the store before it reads.
    input.write_all(&bytes(1, MIB)).expect("it reads");
    let owner = format!("owned by process {}", put.id());
    for (command, args) in [
        ("ls", &[] as &[&str]),
        ("cat", &["/f"]),
        ("put", &["/g", "/dev/null"]),
        ("rm", &["/f"]),
        ("stats", &["--json"]),
        ("glob", &["**"]),
        ("stat", &["/f"]),
        ("bench", &[]),
    ] {
        let output = memfs(command, &[&home.store()]).args(args).output().expect("the binary runs");
        failed(&output, 2, &owner);
        assert_eq!(output.stdout, b"");
    }
    drop(input);
    let mut said = String::new();
    put.stderr.take().expect("piped").read_to_string(&mut said).expect("UTF-8");
    assert_eq!((put.wait().expect("it ends").code(), &*said), (Some(0), ""));
    assert!(run("cat", &[&home.store(), &"/f"]).stdout == bytes(1, MIB));
}

#[test]
fn the_owner_may_be_any_program() {
    let home = Home::with(&[("/f", b"contents")]);
    let owner = memfs::MemFs::persistent(home.store()).expect("the store");
    let said = format!("owned by process {}", process::id());
    failed(&run("cat", &[&home.store(), &"/f"]), 2, &said);
    failed(&run("export", &[&home.store(), &home.at("target")]), 2, &said);
    assert!(!home.at("target").exists());
    // What other threads of these tests start may have the lock for a moment longer, so what comes after it is another test's.
    owner.close().expect("it closes");
}

#[test]
fn of_many_at_once_each_is_done_or_refused_whole() {
    let home = Home::with(&[("/f", b"contents")]);
    let names: Vec<String> = (0..8).map(|number| format!("/n{number}")).collect();
    let started: Vec<_> = names
        .iter()
        .map(|name| {
            let mut put = memfs("put", &[&home.store(), name, &home.at("contents")]);
            put.stderr(Stdio::piped()).spawn().expect("the binary runs")
        })
        .collect();
    let mut expected = String::from("/f\n");
    for (put, name) in started.into_iter().zip(&names) {
        let output = put.wait_with_output().expect("it ends");
        match output.status.code() {
            Some(0) => expected.push_str(&format!("{name}\n")),
            // An owner that has not signed yet has no name.
            _ if stderr(&output).contains("found a live instance") => {}
            _ => failed(&output, 2, "owned by process "),
        }
    }
    assert_ne!(expected, "/f\n", "the first to come is served");
    assert_eq!(ok(&run("ls", &[&home.store(), &"-R"])), expected);
}
