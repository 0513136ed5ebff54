//! docs/safety.md has every file with unsafe code, and no other.

#[path = "common/sources.rs"]
mod sources;

use sources::sources;
use std::{collections::BTreeSet, fs, path::Path};

/// Whether `code` has the keyword outside of comments, and outside of the unit tests at its end.
fn is_unsafe(code: &str) -> bool {
    let code = code.split("\nmod tests {").next().unwrap();
    let mut words = code
        .lines()
        .flat_map(|line| line.split("//").next().unwrap().split(|c: char| !c.is_alphanumeric() && c != '_'));
    words.any(|word| word == "unsafe")
}

#[test]
fn every_file_with_unsafe_code_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for part in ["src", "cli/src"] {
        sources(&root.join(part), &mut files);
    }
    let is_test = |path: &Path| {
        let names = ["tests", "tests.rs"];
        path.iter().any(|part| names.iter().any(|name| part == *name))
    };
    let found: BTreeSet<String> = files
        .iter()
        .map(|path| path.strip_prefix(root).unwrap())
        .filter(|path| !is_test(path) && is_unsafe(&fs::read_to_string(root.join(path)).unwrap()))
        .map(|path| path.to_str().unwrap().replace('\\', "/"))
        .collect();
    let page = fs::read_to_string(root.join("docs/safety.md")).unwrap();
    let listed: BTreeSet<String> = page
        .split('`')
        .filter(|part| part.starts_with("src/") && part.ends_with(".rs"))
        .map(str::to_owned)
        .collect();
    let (missing, stale): (Vec<_>, Vec<_>) =
        (found.difference(&listed).collect(), listed.difference(&found).collect());
    assert!(
        missing.is_empty() && stale.is_empty(),
        "not in docs/safety.md: {missing:?}; without unsafe: {stale:?}"
    );
}

#[test]
fn comments_and_tests_do_not_count() {
    assert!(is_unsafe("fn f() { unsafe { g() } }"));
    assert!(!is_unsafe("// unsafe\nfn f() {} // unsafe { }\n"));
    assert!(!is_unsafe("fn f() {}\n#[cfg(test)]\nmod tests {\n unsafe {} }"));
    assert!(!is_unsafe("fn not_unsafe() {}"));
}
