//! `rm`.

use super::*;

#[test]
fn files_go_and_directories_only_when_told() {
    let home = Home::with(&[("/a", b"a"), ("/d/e/f", b"f"), ("/d/g", b"g"), ("/rest", b"rest")]);
    let store = home.store();
    failed(&run("rm", &[&store, &"/d", &"/a"]), 1, "/d: expected a file, found a directory");
    assert_eq!(ok(&run("ls", &[&store])), "d/\nrest\n", "what could be done was");
    failed(&run("rm", &[&store, &"/a", &"-r"]), 1, "/a: not found");
    assert_eq!(ok(&run("rm", &[&store, &"-r", &"/d"])), "");
    failed(&run("rm", &[&store, &"-r", &"/"]), 1, "/");
    assert_eq!(ok(&run("ls", &[&store, &"-R"])), "/rest\n");
    let output = run("rm", &[&store, &"--json", &"/absent", &"/rest"]);
    failed(&output, 1, "/absent: not found");
    let report = json(&output);
    assert_eq!(
        (report["removed"].to_string(), &report["failures"][0]["path"]),
        ("[\"/rest\"]".into(), &"/absent".into())
    );
    assert_eq!(ok(&run("ls", &[&store])), "");
}
