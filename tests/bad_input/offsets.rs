//! Offsets and lengths near the end of the numbers.

use crate::{
    assert_fails,
    common::{kind::Kind, kind::failure, rng::bytes, stores::on_each},
};
use memfs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};

const FAR: [u64; 6] = [1 << 62, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, u64::MAX - 1, u64::MAX];

#[test]
fn reads_far_past_the_end_give_nothing() {
    on_each(|fs| {
        fs.write("/f", bytes(1, 10_000)).unwrap();
        for offset in FAR {
            let mut buf = [0xA5; 100];
            assert_eq!(fs.read_at("/f", &mut buf, offset).unwrap(), 0);
            assert_eq!(fs.open("/f").unwrap().read_at(&mut buf, offset).unwrap(), 0);
            assert_eq!(buf, [0xA5; 100]);
        }
    });
}

#[test]
fn writes_that_would_end_past_the_last_offset_are_refused_and_change_nothing() {
    on_each(|fs| {
        fs.write("/f", bytes(1, 10_000)).unwrap();
        let file = fs.open_with("/f", OpenOptions::new().write(true)).unwrap();
        for offset in [(1 << 63) - 1, 1 << 63, u64::MAX - 1, u64::MAX] {
            assert_fails!(fs.write_at("/f", b"abc", offset), InvalidArgument | StorageFull);
            let found = failure(file.write_at(b"abc", offset));
            assert!([Kind::InvalidArgument, Kind::StorageFull].contains(&found), "{found:?}");
        }
        assert!(fs.read("/f").unwrap() == bytes(1, 10_000));
    });
}

#[test]
fn lengths_that_cannot_be_are_refused_and_change_nothing() {
    on_each(|fs| {
        fs.write("/f", bytes(1, 10_000)).unwrap();
        let file = fs.open_with("/f", OpenOptions::new().write(true)).unwrap();
        for len in [1 << 63, u64::MAX - 1, u64::MAX] {
            assert_fails!(fs.set_len("/f", len), InvalidArgument | StorageFull);
            let found = failure(file.set_len(len));
            assert!([Kind::InvalidArgument, Kind::StorageFull].contains(&found), "{found:?}");
        }
        assert_eq!(fs.metadata("/f").unwrap().len(), 10_000);
        assert!(fs.read("/f").unwrap() == bytes(1, 10_000));
    });
}

#[test]
fn a_position_far_out_reads_nothing_and_writes_with_an_error() {
    on_each(|fs| {
        fs.write("/f", "abc").unwrap();
        let mut file = fs.open_with("/f", OpenOptions::new().read(true).write(true)).unwrap();
        for at in [SeekFrom::Start(u64::MAX), SeekFrom::Start(1 << 63), SeekFrom::End(i64::MAX)] {
            // Some ends of the numbers are refused by seek itself, as Linux does.
            if file.seek(at).is_ok() {
                assert_eq!(file.read(&mut [0; 10]).unwrap(), 0);
                if file.stream_position().unwrap() >= 1 << 63 {
                    assert!(file.write(b"abc").is_err());
                }
            }
        }
        file.seek(SeekFrom::Start(1)).unwrap();
        for by in [i64::MIN, -2, i64::MIN + 1] {
            assert!(file.seek(SeekFrom::Current(by)).is_err());
            assert_eq!(file.stream_position().unwrap(), 1);
        }
        if file.seek(SeekFrom::Start(u64::MAX)).is_ok() {
            assert!(file.seek(SeekFrom::Current(1)).is_err());
        }
        assert_eq!(fs.read("/f").unwrap(), b"abc");
    });
}

#[test]
fn empty_buffers_and_empty_writes_are_fine_anywhere() {
    on_each(|fs| {
        fs.write("/f", "abc").unwrap();
        for offset in [0, 2, 3, 4].into_iter().chain(FAR) {
            assert_eq!(fs.read_at("/f", &mut [], offset).unwrap(), 0);
            // At the end of the numbers a refusal is an answer as well.
            if let Ok(n) = fs.write_at("/f", b"", offset) {
                assert_eq!(n, 0);
            }
        }
        assert_eq!(fs.read("/f").unwrap(), b"abc");
    });
}
