//! What comes to harm under a live store: errors for the files concerned, and no signal.

use super::*;
use memfs::Error;

#[test]
fn segments_cut_under_a_live_store_concern_their_files_alone() {
    let home = tempfile::tempdir().unwrap();
    let builder = || builder(home.path()).chunk_size(4096).segment_size(64 << 10);
    let fs = builder().build().unwrap();
    for i in 0..60 {
        fs.write(format!("/d/{i}"), bytes(i, 15_000)).unwrap();
    }
    fs.sync().unwrap();
    fs.gc(0.0).unwrap();
    for entry in std::fs::read_dir(home.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            std::fs::File::options().write(true).open(path).unwrap().set_len(5_000).unwrap();
        }
    }
    let mut lost = 0;
    for i in 0..60 {
        let path = format!("/d/{i}");
        let mut part = [0; 100];
        let reads = [
            fs.read(&path),
            fs.get(&path).map(|file| file.to_vec()),
            fs.read_bytes(&path).map(|bytes| bytes.to_vec()),
            fs.read_with(&path, <[u8]>::to_vec),
        ];
        for read in reads {
            match read {
                Ok(found) => assert!(found == bytes(i, 15_000), "file {i}"),
                Err(Error::Io { .. } | Error::Corrupt { .. }) => lost += 1,
                Err(error) => panic!("file {i}: {error}"),
            }
        }
        if fs.read_at(&path, &mut part, 14_000).is_ok() {
            assert!(part == bytes(i, 15_000)[14_000..14_100], "file {i}");
        }
    }
    assert!(lost > 0, "the cut went unnoticed");
    // The store goes on, and what is written since lasts.
    for i in 0..60 {
        fs.write(format!("/d/{i}"), bytes(i + 100, 3_000)).unwrap();
    }
    fs.sync().unwrap();
    validate(&fs);
    fs.close().unwrap();
    let fs = builder().build().unwrap();
    for i in 0..60 {
        assert!(fs.read(format!("/d/{i}")).unwrap() == bytes(i + 100, 3_000), "file {i}");
    }
}
