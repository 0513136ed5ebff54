//! A store whose disk has changed under it: what is damaged is said, the rest is served.

use super::*;

/// Flips a byte of `contents` in the store's segments, where they stand once.
fn damage(store: &Path, contents: &[u8]) {
    let mut hits = 0;
    for entry in fs::read_dir(store).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        let mut segment = fs::read(&path).expect("a segment");
        let at = segment.windows(contents.len()).position(|window| window == contents);
        if let Some(at) = at {
            segment[at + contents.len() / 2] ^= 1;
            fs::write(&path, segment).expect("a segment");
            hits += 1;
        }
    }
    assert_eq!(hits, 1);
}

#[test]
fn a_damaged_file_is_said_and_the_others_are_served() {
    let home = Home::new();
    let (source, store, target) = (home.at("source"), home.store(), home.at("target"));
    fs::create_dir(&source).expect("a directory");
    let good = bytes(1, 5000);
    fs::write(source.join("bad"), b"contents that will be damaged on disk").expect("a file");
    fs::write(source.join("good"), &good).expect("a file");
    ok(&run("import", &[&source, &store, &"--memory-limit", &"1MiB"]));
    damage(&store, b"contents that will be damaged on disk");

    let output = run("cat", &[&store, &"/bad", &"/good"]);
    failed(&output, 1, "/bad: corrupt");
    assert!(output.stdout == good, "nothing of the damaged file is printed");
    let output = run("export", &[&store, &target, &"--json"]);
    failed(&output, 1, "/bad: corrupt");
    assert_eq!((number(&json(&output), "files"), number(&json(&output), "failed")), (1, 1));
    let found: Vec<_> = tree(&target).into_iter().collect();
    assert!(found == [("good".into(), Some(good))], "nothing half is left: {:?}", tree(&target).keys());
}

#[test]
fn a_store_that_cannot_be_opened_is_left_alone() {
    let home = Home::with(&[("/f", b"contents")]);
    for entry in fs::read_dir(home.store()).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("checkpoint-")) {
            let mut checkpoint = fs::read(&path).expect("a checkpoint");
            checkpoint[20] ^= 1;
            fs::write(&path, checkpoint).expect("a checkpoint");
        }
    }
    let before = tree(&home.store());
    failed(&run("ls", &[&home.store()]), 2, "corrupt");
    failed(&run("put", &[&home.store(), &"/g", &home.at("contents")]), 2, "corrupt");
    let lock = |path: &PathBuf| path.ends_with("lock");
    let rest =
        |tree: BTreeMap<PathBuf, _>| tree.into_iter().filter(|(path, _)| !lock(path)).collect::<Vec<_>>();
    assert!(rest(tree(&home.store())) == rest(before));
}
