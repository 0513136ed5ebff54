//! The format is what it was: a store that an earlier build left opens, and the same history leaves the same bytes.

use super::{
    super::{Batch, Entry, Journal, Kind, StoreParams},
    world::{Node, State, visited},
};
use crate::segment::{Disk, crash::CrashDisk};
use std::{path::Path, sync::Arc};

const FILES: [(&str, &[u8]); 3] = [
    (
        "checkpoint-0000000000000004",
        include_bytes!("../../../tests/fixtures/format-1/checkpoint-0000000000000004"),
    ),
    ("journal-0000000000000004", include_bytes!("../../../tests/fixtures/format-1/journal-0000000000000004")),
    ("journal-000000000000000b", include_bytes!("../../../tests/fixtures/format-1/journal-000000000000000b")),
];

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

fn append(journal: &mut Journal, operations: &[&[Entry<'_>]]) {
    let mut batch = Batch::new(journal.next_seq());
    for operation in operations {
        operation.iter().for_each(|entry| batch.push(entry));
        batch.end_operation();
    }
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
    journal.close().unwrap();
    disk
}

#[test]
fn a_store_of_format_1_opens() {
    let disk = CrashDisk::new();
    for (name, bytes) in FILES {
        disk.put(&dir().join(name), bytes.to_vec());
    }
    let mut opened = Journal::open(Arc::new(disk), dir()).unwrap().unwrap();
    assert_eq!(opened.params, params());
    assert!(opened.recovery.clean);
    assert_eq!(opened.journal.next_seq(), 12);
    let node = |id: u64, parent, kind, name: &str, modified_ns, len, priority, chunks: &[(u64, u64)]| {
        let (name, chunks) = (name.to_owned(), chunks.iter().copied().collect());
        let created_ns = 1_000_000_000 + id;
        (id as u32, Node { parent, kind, name, created_ns, modified_ns, priority, len, chunks })
    };
    let long = [(0, 0x1001), (1, 0x3002), (2, 0x2003)];
    let expected = State::from([
        node(1, 0, Kind::Directory, "", 2_000_000_001, 0, 5, &[]),
        node(2, 1, Kind::Directory, "data", 2_000_000_002, 0, 5, &[]),
        node(3, 1, Kind::File, "replaced", 3_000_000_000, 11, 5, &[(0, 0x11_2233_4455_6677)]),
        node(4, 1, Kind::File, "long", 3_000_000_000, (2 << 20) + 1, 9, &long),
    ]);
    assert_eq!(visited(&mut opened).unwrap(), expected);
}

#[test]
fn the_same_history_leaves_the_same_bytes() {
    let disk = write();
    let mut names = disk.list(dir()).unwrap();
    names.sort();
    assert_eq!(names, FILES.map(|(name, _)| name));
    for (name, bytes) in FILES {
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
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1").join(&name);
        std::fs::write(path, disk.contents(&dir().join(name)).unwrap()).unwrap();
    }
}
