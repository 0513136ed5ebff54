//! Any text as a path: it is refused for a reason that stands in the contract, or it is the file of its canonical spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memfs::{Error, MemFs};
use std::sync::OnceLock;

/// The rules of spelling once more, as simply as can be.
fn canonical(raw: &str) -> Option<String> {
    if raw.is_empty() || raw.contains('\0') {
        return None;
    }
    let mut names: Vec<&str> = Vec::new();
    for name in raw.split(['/', '\\']) {
        match name {
            "" | "." => {}
            ".." => _ = names.pop()?,
            name => names.push(name),
        }
    }
    let text = format!("/{}", names.join("/"));
    (text.len() <= 4096 && names.iter().all(|name| name.len() <= 255)).then_some(text)
}

fuzz_target!(|raw: &str| {
    static STORE: OnceLock<MemFs> = OnceLock::new();
    let fs = STORE.get_or_init(|| {
        MemFs::builder().memory_limit_bytes(8 << 20).worker_threads(0).build().expect("a store")
    });
    let Some(text) = canonical(raw) else {
        // What is too long only before it is shortened is for the engine to judge.
        if !raw.contains("..") {
            assert!(matches!(fs.write(raw, "x"), Err(Error::InvalidPath { .. })), "{raw:?} was taken");
            assert!(!fs.exists(raw));
        }
        return;
    };
    match fs.write(raw, raw) {
        Ok(()) => {
            assert_eq!(fs.read(&text).expect("what was just written"), raw.as_bytes());
            assert!(fs.exists(raw) && fs.exists(&text));
            assert_eq!(fs.metadata(&text).expect("a file").path(), text);
            let top = text[1..].split('/').next().expect("a name");
            if top.len() + 1 == text.len() {
                fs.remove_file(&text).expect("a file");
            } else {
                fs.remove_dir_all(format!("/{top}")).expect("a directory");
            }
            assert!(!fs.exists(&text));
        }
        Err(Error::IsADirectory { .. }) => assert!(text == "/" || raw.ends_with(['/', '\\', '.'])),
        // A middle component may be too long, or lead above the root, and be taken back by `..` later.
        Err(Error::InvalidPath { .. }) => {
            assert!(raw.contains("..") || raw.len() > 255, "{raw:?} was refused")
        }
        Err(error) => panic!("{raw:?}: {error}"),
    }
    assert_eq!(fs.read_dir("/").expect("the root").count(), 0);
});
