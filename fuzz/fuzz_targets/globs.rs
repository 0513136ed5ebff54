//! Any text as a pattern: it is refused, or it lists files that exist, sorted and once; a simple one exactly those it means.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memfs::{Error, MemFs};
use std::sync::OnceLock;

const FILES: &[&str] = &["/a", "/ab", "/b/a", "/b/b/a", "/b/b/ab", "/b/c/d/e", "/c.rs", "/d/lib.rs", "/ä"];

/// Components against components; `**` stands for any number of them.
fn matches(pattern: &[&str], path: &[&str]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ["**", rest @ ..] => (0..=path.len()).any(|skipped| matches(rest, &path[skipped..])),
        [name, rest @ ..] => {
            !path.is_empty()
                && one(&name.chars().collect::<Vec<_>>(), &path[0].chars().collect::<Vec<_>>())
                && matches(rest, &path[1..])
        }
    }
}

fn one(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['*', rest @ ..] => (0..=name.len()).any(|skipped| one(rest, &name[skipped..])),
        ['?', rest @ ..] => !name.is_empty() && one(rest, &name[1..]),
        [letter, rest @ ..] => name.first() == Some(letter) && one(rest, &name[1..]),
    }
}

/// No classes, choices or escapes; `**` alone in its component and not last; spelled canonically.
fn is_simple(pattern: &str) -> bool {
    let names: Vec<&str> = pattern.split('/').collect();
    pattern.chars().all(|c| c.is_ascii_lowercase() || "*?/.".contains(c))
        && names.iter().skip(1).all(|name| !name.is_empty() && *name != "." && *name != "..")
        && names.iter().all(|name| !name.contains("**") || *name == "**")
        && names.last() != Some(&"**")
        && pattern.starts_with('/')
}

fuzz_target!(|pattern: &str| {
    static STORE: OnceLock<MemFs> = OnceLock::new();
    let fs = STORE.get_or_init(|| {
        let fs = MemFs::builder().memory_limit_bytes(1 << 20).worker_threads(0).build().expect("a store");
        FILES.iter().for_each(|file| fs.write(file, "x").expect("room"));
        fs
    });
    if pattern.len() > 200 {
        return;
    }
    let found = match fs.glob(pattern) {
        Ok(found) => found,
        Err(Error::InvalidArgument { .. } | Error::InvalidPath { .. }) => {
            assert!(!is_simple(pattern), "{pattern:?} was refused");
            return;
        }
        Err(error) => panic!("{pattern:?}: {error}"),
    };
    assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
    assert!(found.iter().all(|path| FILES.contains(&path.as_str())), "{found:?}");
    if is_simple(pattern) {
        let pattern: Vec<&str> = pattern[1..].split('/').collect();
        let mut expected: Vec<&str> = FILES
            .iter()
            .copied()
            .filter(|file| matches(&pattern, &file[1..].split('/').collect::<Vec<_>>()))
            .collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "{pattern:?}");
    }
});
