//! The format is what it was: a store that an earlier build left opens, and the same history leaves the same bytes.

use super::{
    super::{Batch, Entry, Journal, Kind, Opened, Redo, StoreParams},
    world::{Node, State, visited},
};
use crate::segment::{Disk, crash::CrashDisk};
use std::{path::Path, sync::Arc};

type Fixture = [(&'static str, &'static [u8])];

macro_rules! fixture {
    ($format:literal, $($name:literal),*) => {
        &[$(($name, include_bytes!(concat!("../../../tests/fixtures/", $format, "/", $name)))),*]
    };
}

/// Its journal files are of version 1.
const FORMAT_1: &Fixture = fixture!(
    "format-1",
    "checkpoint-0000000000000004",
    "journal-0000000000000004",
    "journal-000000000000000b"
);

/// With a front that has what is not in the journal.
const FORMAT_2: &Fixture = fixture!(
    "format-2",
    "checkpoint-0000000000000004",
    "front-000000000000000c",
    "journal-0000000000000004",
    "journal-000000000000000b"
);

fn dir() -> &'static Path {
    Path::new("/store")
}

fn params() -> StoreParams {
    StoreParams {
        store_id: 0xfeed_beef_0123_4567,
        chunk_bytes: 1 << 20,
        opaque: std::array::from_fn(|at| at as u8),
    }
}

fn make(id: u32, parent: u32, kind: Kind, name: &str) -> Entry<'_> {
    let (created_ns, modified_ns) = (1_000_000_000 + u64::from(id), 2_000_000_000 + u64::from(id));
    Entry::Make { id, parent, kind, name, created_ns, modified_ns, priority: 5 }
}

fn batch(journal: &Journal, operations: &[&[Entry<'_>]]) -> Batch {
    let mut batch = Batch::new(journal.next_seq());
    for operation in operations {
        operation.iter().for_each(|entry| batch.push(entry));
        batch.end_operation();
    }
    batch
}

fn append(journal: &mut Journal, operations: &[&[Entry<'_>]]) {
    let batch = batch(journal, operations);
    journal.append(&batch).unwrap();
}

/// The history that the fixture has; the disk it is on.
fn write() -> CrashDisk {
    use Kind::{Directory, File};
    let disk = CrashDisk::new();
    let mut journal = Journal::create(Arc::new(disk.clone()), dir(), &params()).unwrap();
    let one = [(0, 0x11_2233_4455_6677)];
    let several = [(0, 0x1001), (1, 0x1002), (5, 0x1006)];
    let content =
        |id, len, reset, chunks| Entry::Content { id, modified_ns: 3_000_000_000, len, reset, chunks };
    append(
        &mut journal,
        &[
            &[make(1, 0, Directory, "")],
            &[make(2, 1, Directory, "données"), make(3, 2, File, "short"), content(3, 11, true, &one)],
            &[make(4, 1, File, "long"), content(4, 6 << 20, true, &several)],
        ],
    );
    journal.checkpoint().unwrap();
    append(&mut journal, &[&[make(5, 1, File, "replaced")], &[make(6, 2, File, "removed")]]);
    append(
        &mut journal,
        &[
            &[content(4, (2 << 20) + 1, false, &[(2, 0x2003)])],
            &[Entry::Rename { id: 3, parent: 1, name: "replaced", replaced: Some(5) }],
            &[Entry::Rename { id: 2, parent: 1, name: "data", replaced: None }],
            &[Entry::Remove { id: 6 }],
            &[Entry::Priority { id: 4, priority: 9 }],
        ],
    );
    drop(journal);
    let mut journal = Journal::open(Arc::new(disk.clone()), dir()).unwrap().unwrap().journal;
    append(&mut journal, &[&[Entry::Move { id: 4, chunk: 1, from: 0x1002, to: 0x3002 }]]);
    let change =
        Entry::Content { id: 3, modified_ns: 4_000_000_000, len: 700, reset: true, chunks: &[(0, 0x4003)] };
    let batch = batch(&journal, &[&[change], &[Entry::Priority { id: 3, priority: 2 }]]);
    let mut redo = Redo::new(1 << 10);
    redo.restart();
    redo.push(0x4003, &[b'z'; 700]);
    assert!(journal.append_ahead(&batch, &redo, 4 << 10));
    disk
}

fn opened(fixture: &Fixture) -> Opened {
    let disk = CrashDisk::new();
    for (name, bytes) in fixture {
        disk.put(&dir().join(name), bytes.to_vec());
    }
    let opened = Journal::open(Arc::new(disk), dir()).unwrap().unwrap();
    assert_eq!(opened.params, params());
    opened
}

fn node(
    id: u64,
    parent: u32,
    name: &str,
    modified_ns: u64,
    len: u64,
    priority: u8,
    chunks: &[(u64, u64)],
) -> (u32, Node) {
    let kind = if len > 0 { Kind::File } else { Kind::Directory };
    let (name, chunks) = (name.to_owned(), chunks.iter().copied().collect());
    (
        id as u32,
        Node { parent, kind, name, created_ns: 1_000_000_000 + id, modified_ns, priority, len, chunks },
    )
}

/// What both formats have; the file `short` comes in two versions.
fn state(short: (u32, Node)) -> State {
    let long = [(0, 0x1001), (1, 0x3002), (2, 0x2003)];
    State::from([
        node(1, 0, "", 2_000_000_001, 0, 5, &[]),
        node(2, 1, "data", 2_000_000_002, 0, 5, &[]),
        short,
        node(4, 1, "long", 3_000_000_000, (2 << 20) + 1, 9, &long),
    ])
}

#[test]
fn a_store_of_format_1_opens() {
    let mut opened = opened(FORMAT_1);
    assert!(opened.recovery.clean && opened.contents.is_empty());
    assert_eq!(opened.journal.next_seq(), 12);
    let short = node(3, 1, "replaced", 3_000_000_000, 11, 5, &[(0, 0x11_2233_4455_6677)]);
    assert_eq!(visited(&mut opened).unwrap(), state(short));
}

#[test]
fn a_store_of_format_2_opens_with_what_is_in_its_front() {
    let mut opened = opened(FORMAT_2);
    let contents = std::mem::take(&mut opened.contents);
    assert_eq!(opened.journal.next_seq(), 14);
    assert_eq!(contents.into_iter().collect::<Vec<_>>(), [(0x4003, vec![b'z'; 700])]);
    let short = node(3, 1, "replaced", 4_000_000_000, 700, 2, &[(0, 0x4003)]);
    assert_eq!(visited(&mut opened).unwrap(), state(short));
}

#[test]
fn the_same_history_leaves_the_same_bytes() {
    let disk = write();
    let mut names = disk.list(dir()).unwrap();
    names.sort();
    assert_eq!(names, FORMAT_2.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (name, bytes) in FORMAT_2 {
        let now = disk.contents(&dir().join(name)).unwrap();
        // What a file has in reserve is no part of the format.
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        assert!(now.len() >= used && now[..used] == bytes[..used], "{name} is written otherwise");
        assert!(now[used..].iter().all(|byte| *byte == 0), "{name} has more");
    }
}

#[test]
#[ignore = "writes the fixture: once for each version of the format"]
fn write_the_fixture() {
    let disk = write();
    for name in disk.list(dir()).unwrap() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-2").join(&name);
        std::fs::write(path, disk.contents(&dir().join(name)).unwrap()).unwrap();
    }
}
