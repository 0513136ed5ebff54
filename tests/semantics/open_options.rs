//! Every combination of `OpenOptions`, answered as std answers it on a real file system.

use crate::common::{
    kind::Fails,
    stores::{on_each, tiny},
};
use memfs::{MemFs, OpenOptions, Priority};
use std::{
    fs,
    io::{Read, Write},
};

/// What an attempt to open, and then to read and to write one byte, came to.
#[derive(Debug, PartialEq)]
struct Outcome {
    opened: Result<(), std::io::ErrorKind>,
    read: bool,
    wrote: bool,
    content: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug)]
struct Flags(u8);

impl Flags {
    fn has(self, bit: u8) -> bool {
        self.0 & (1 << bit) != 0
    }
}

const CONTENT: &[u8] = b"content";

fn try_std(flags: Flags, exists: bool) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    if exists {
        fs::write(&path, CONTENT).unwrap();
    }
    let mut options = fs::OpenOptions::new();
    options.read(flags.has(0)).write(flags.has(1)).append(flags.has(2));
    options.truncate(flags.has(3)).create(flags.has(4)).create_new(flags.has(5));
    let opened = options.open(&path);
    let (mut read, mut wrote) = (false, false);
    if let Ok(file) = &opened {
        let mut file: &fs::File = file;
        read = file.read(&mut [0]).is_ok();
        wrote = file.write(b"!").is_ok();
    }
    Outcome { opened: opened.map(drop).map_err(|e| e.kind()), read, wrote, content: fs::read(&path).ok() }
}

fn try_memfs(store: &MemFs, flags: Flags, exists: bool) -> Outcome {
    let path = format!("/{}/{exists}", flags.0);
    store.create_dir_all(format!("/{}", flags.0)).unwrap();
    if exists {
        store.write(&path, CONTENT).unwrap();
    }
    let mut options = OpenOptions::new();
    options.read(flags.has(0)).write(flags.has(1)).append(flags.has(2));
    options.truncate(flags.has(3)).create(flags.has(4)).create_new(flags.has(5));
    let mut opened = store.open_with(&path, &options);
    let (mut read, mut wrote) = (false, false);
    if let Ok(file) = &mut opened {
        read = file.read(&mut [0]).is_ok();
        wrote = file.write(b"!").is_ok();
    }
    Outcome { opened: opened.map(drop).map_err(|e| e.kind()), read, wrote, content: store.read(&path).ok() }
}

#[test]
fn every_combination_of_flags_does_what_std_does() {
    let store = tiny().build().unwrap();
    for flags in (0..64).map(Flags) {
        for exists in [false, true] {
            let (expected, found) = (try_std(flags, exists), try_memfs(&store, flags, exists));
            assert_eq!(found, expected, "read write append truncate create create_new: {flags:?}, {exists}");
        }
    }
}

#[test]
fn a_handle_not_opened_for_it_neither_reads_nor_writes() {
    on_each(|store| {
        store.write("/f", CONTENT).unwrap();
        let reader = store.open("/f").unwrap();
        assert!(reader.write_at(b"x", 0).is_err() && reader.set_len(0).is_err());
        let writer = store.open_with("/f", OpenOptions::new().write(true)).unwrap();
        assert!(writer.read_at(&mut [0], 0).is_err());
        assert_eq!(store.read("/f").unwrap(), CONTENT);
    });
}

#[test]
fn a_priority_given_with_a_new_file_is_its_priority() {
    on_each(|store| {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).priority(Priority::HIGH);
        let file = store.open_with("/f", &options).unwrap();
        assert_eq!(store.priority("/f").unwrap(), Priority::HIGH);
        assert_eq!(file.metadata().unwrap().priority(), Priority::HIGH);
        let again = store.open_with("/f", &options).unwrap_err();
        assert_eq!(again.variant(), crate::common::kind::Kind::AlreadyExists);
    });
}
