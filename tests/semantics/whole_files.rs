//! write, write_with, read, read_to_string, get, read_with, read_bytes, append, remove_file, exists.

use crate::{
    assert_fails,
    common::{
        rng::bytes,
        stores::{on_each, tiny, validate},
    },
};
use memfs::{MemFs, WriteOptions};

/// Around every edge between classes, chunks and files of several chunks.
const LENGTHS: [usize; 16] =
    [0, 1, 7, 64, 65, 100, 4095, 4096, 4097, 8191, 8192, 12289, 65535, 65536, 65537, 150_000];

fn read_by_all_ways(fs: &MemFs, path: &str, expected: &[u8]) {
    assert!(fs.read(path).unwrap() == expected);
    assert!(fs.read_with(path, |found| found == expected).unwrap());
    let held = fs.get(path).unwrap();
    assert_eq!(held.len(), expected.len());
    assert!(*held == *expected);
    assert!(held.chunks().collect::<Vec<_>>().concat() == expected);
    // What is held counts against the limit.
    drop(held);
    assert!(fs.read_bytes(path).unwrap() == expected);
    let mut buf = vec![0; expected.len() + 1];
    assert_eq!(fs.read_at(path, &mut buf, 0).unwrap(), expected.len());
    assert!(buf[..expected.len()] == *expected);
}

#[test]
fn what_is_written_is_read_by_every_way_of_reading() {
    on_each(|fs| {
        for (seed, len) in LENGTHS.into_iter().enumerate() {
            let content = bytes(seed as u64, len);
            let path = format!("/files/of {len}");
            fs.write(&path, &content).unwrap();
            read_by_all_ways(fs, &path, &content);
        }
        fs.gc(0.0).unwrap();
        for (seed, len) in LENGTHS.into_iter().enumerate() {
            read_by_all_ways(fs, &format!("/files/of {len}"), &bytes(seed as u64, len));
        }
    });
}

#[test]
fn an_overwrite_replaces_the_whole_contents_whatever_the_lengths() {
    on_each(|fs| {
        for (seed, first) in LENGTHS.into_iter().enumerate() {
            for then in [0, 100, 4096, 9000] {
                fs.write("/f", bytes(seed as u64, first)).unwrap();
                fs.write("/f", bytes(99, then)).unwrap();
                assert!(fs.read("/f").unwrap() == bytes(99, then));
                assert_eq!(fs.metadata("/f").unwrap().len(), then as u64);
            }
        }
    });
}

#[test]
fn a_write_makes_the_parents() {
    on_each(|fs| {
        fs.write("/a/b/c/d", "x").unwrap();
        assert!(fs.exists("/a/b/c"));
        assert!(fs.read_dir("/a/b").unwrap().map(|entry| entry.path().to_owned()).eq(["/a/b/c"]));
    });
}

#[test]
fn a_write_through_a_file_or_onto_a_directory_is_refused_and_changes_nothing() {
    on_each(|fs| {
        fs.write("/file", "kept").unwrap();
        fs.create_dir_all("/dir/sub").unwrap();
        assert_fails!(fs.write("/file/below", "x"), NotADirectory);
        assert_fails!(fs.write("/file/below/deeper", "x"), NotADirectory);
        assert_fails!(fs.write("/dir", "x"), IsADirectory);
        assert_fails!(fs.append("/dir", b"x"), IsADirectory);
        assert_fails!(fs.append("/file/below", b"x"), NotADirectory);
        assert_eq!(fs.read("/file").unwrap(), b"kept");
        assert_eq!(fs.walk("/").unwrap().filter(|entry| entry.path() != "/").count(), 3);
    });
}

#[test]
fn reads_of_what_is_not_there_or_is_a_directory_fail() {
    on_each(|fs| {
        fs.write("/d/f", "x").unwrap();
        assert_fails!(fs.read("/d/nothing"), NotFound);
        assert_fails!(fs.read("/no/such/dir"), NotFound);
        assert_fails!(fs.read("/d/f/below"), NotADirectory);
        assert_fails!(fs.read("/d"), IsADirectory);
        assert_fails!(fs.get("/d"), IsADirectory);
        assert_fails!(fs.get("/nothing"), NotFound);
        assert_fails!(fs.read_bytes("/nothing"), NotFound);
        assert_fails!(fs.read_to_string("/nothing"), NotFound);
        assert_fails!(fs.read_at("/nothing", &mut [0; 4], 0), NotFound);
        assert_fails!(fs.read_at("/d", &mut [0; 4], 0), IsADirectory);
        assert_fails!(fs.read_with("/nothing", |_| panic!("called without a file")), NotFound);
    });
}

#[test]
fn create_new_writes_only_what_is_not_there() {
    on_each(|fs| {
        let new = WriteOptions::new().create_new(true);
        fs.write_with("/a/f", "first", &new).unwrap();
        assert_fails!(fs.write_with("/a/f", "second", &new), AlreadyExists);
        assert_fails!(fs.write_with("/a", "second", &new), AlreadyExists);
        assert_eq!(fs.read("/a/f").unwrap(), b"first");
        fs.write_with("/a/f", "third", &WriteOptions::new()).unwrap();
        assert_eq!(fs.read("/a/f").unwrap(), b"third");
    });
}

#[test]
fn append_makes_the_file_and_then_extends_it_across_chunks() {
    on_each(|fs| {
        let mut expected = Vec::new();
        for (seed, len) in [0, 1, 4094, 1, 1, 3, 8192, 0, 5000, 70_000].into_iter().enumerate() {
            let piece = bytes(seed as u64, len);
            fs.append("/logs/one", &piece).unwrap();
            expected.extend_from_slice(&piece);
            if seed % 3 == 0 {
                fs.gc(0.0).unwrap();
            }
            assert!(fs.read("/logs/one").unwrap() == expected);
        }
    });
}

#[test]
fn read_to_string_wants_utf8() {
    on_each(|fs| {
        fs.write("/text", "grüße, 世界").unwrap();
        assert_eq!(fs.read_to_string("/text").unwrap(), "grüße, 世界");
        fs.write("/bytes", [0x66, 0xff, 0xfe]).unwrap();
        let error = fs.read_to_string("/bytes").unwrap_err();
        assert!(error.to_string().contains("/bytes"), "{error}");
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::InvalidData);
    });
}

#[test]
fn remove_file_removes_files_only_and_once() {
    on_each(|fs| {
        fs.write("/d/f", bytes(1, 10_000)).unwrap();
        fs.write("/d/kept", "kept").unwrap();
        fs.remove_file("/d/f").unwrap();
        assert!(!fs.exists("/d/f"));
        assert_fails!(fs.read("/d/f"), NotFound);
        assert_fails!(fs.remove_file("/d/f"), NotFound);
        assert_fails!(fs.remove_file("/d"), IsADirectory);
        assert_fails!(fs.remove_file("/d/kept/below"), NotADirectory);
        assert_eq!(fs.read("/d/kept").unwrap(), b"kept");
    });
}

#[test]
fn a_removed_and_recreated_file_starts_afresh() {
    on_each(|fs| {
        fs.write_with("/f", bytes(1, 9000), &WriteOptions::new().priority(memfs::Priority::HIGH)).unwrap();
        for _ in 0..5 {
            fs.read("/f").unwrap();
        }
        fs.remove_file("/f").unwrap();
        fs.append("/f", b"new").unwrap();
        assert_eq!(fs.read("/f").unwrap(), b"new");
        assert_eq!(fs.priority("/f").unwrap(), memfs::Priority::NORMAL);
        assert_eq!(fs.metadata("/f").unwrap().access_count(), 1);
    });
}

#[test]
fn exists_answers_for_files_and_directories() {
    on_each(|fs| {
        fs.write("/d/f", "").unwrap();
        assert!(fs.exists("/d/f") && fs.exists("/d") && fs.exists("d/f") && fs.exists("/"));
        assert!(!fs.exists("/d/g") && !fs.exists("/d/f/g") && !fs.exists("/../d"));
    });
}

#[test]
fn what_is_held_stays_as_it_was_over_overwrite_append_remove_and_eviction() {
    on_each(|fs| {
        for len in [3, 4096, 50_000] {
            let old = bytes(1, len);
            fs.write("/f", &old).unwrap();
            let (held, shared) = (fs.get("/f").unwrap(), fs.read_bytes("/f").unwrap());
            fs.write("/f", bytes(2, len)).unwrap();
            fs.append("/f", &bytes(3, 5000)).unwrap();
            fs.write_at("/f", &bytes(4, len), 1).unwrap();
            fs.set_len("/f", 1).unwrap();
            fs.remove_file("/f").unwrap();
            fs.gc(0.0).unwrap();
            for i in 0..200 {
                fs.write(format!("/churn/{}", i % 20), bytes(i, 9000)).unwrap();
            }
            assert!(*held == *old && shared == old);
            assert!(held.chunks().flatten().eq(&old));
        }
    });
}

#[test]
fn a_file_larger_than_the_limit_is_written_and_read_by_pieces() {
    let fs = tiny().build().unwrap();
    let content = bytes(7, 3 << 20);
    fs.write("/large", &content).unwrap();
    assert_eq!(fs.metadata("/large").unwrap().len(), 3 << 20);
    assert!(fs.read("/large").unwrap() == content);
    let mut buf = vec![0; 10_000];
    assert_eq!(fs.read_at("/large", &mut buf, 1_999_999).unwrap(), 10_000);
    assert!(buf == content[1_999_999..2_009_999]);
    let held = fs.get("/large").unwrap();
    assert_eq!(held.len(), 3 << 20);
    let mut rest = &content[..];
    for chunk in held.chunks() {
        assert!(chunk == &rest[..chunk.len()]);
        rest = &rest[chunk.len()..];
    }
    assert!(rest.is_empty());
    drop(held);
    assert_fails!(fs.read_with("/large", |_| ()), MemoryLimit);
    assert_fails!(fs.read_bytes("/large"), MemoryLimit);
    assert!(fs.stats().memory.peak_usage <= 512 << 10);
    validate(&fs);
}

#[test]
fn a_long_file_within_the_limit_is_never_refused_as_one_slice() {
    let fs =
        MemFs::builder().memory_limit_bytes(4 << 20).chunk_size(64 << 10).worker_threads(0).build().unwrap();
    for i in 0..6 {
        fs.write(format!("/other/{i}"), bytes(i, 1 << 20)).unwrap();
    }
    let content = bytes(7, 3 << 20);
    fs.write("/long", &content).unwrap();
    assert!(fs.read_with("/long", |found| found == content).unwrap());
    assert!(fs.read_bytes("/long").unwrap() == content);
    assert!(*fs.get("/long").unwrap() == *content);
    validate(&fs);
}
