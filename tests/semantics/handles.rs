//! open, create, and the life of a `File` over what happens to its name.

use crate::{
    assert_fails,
    common::{kind::Kind, kind::failure, rng::bytes, stores::on_each},
};
use memfs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};

fn whole(file: &mut File) -> Vec<u8> {
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut out = Vec::new();
    file.read_to_end(&mut out).unwrap();
    out
}

#[test]
fn a_handle_reads_writes_and_seeks_like_a_file() {
    on_each(|fs| {
        let content = bytes(1, 30_000);
        let mut file = fs.create("/f").unwrap();
        for piece in content.chunks(7001) {
            file.write_all(piece).unwrap();
        }
        file.flush().unwrap();
        file.sync_all().unwrap();
        assert_eq!(file.stream_position().unwrap(), 30_000);
        drop(file);
        fs.gc(0.0).unwrap();
        let mut file = fs.open("/f").unwrap();
        let mut buf = vec![0; 1000];
        assert_eq!(file.seek(SeekFrom::Start(4000)).unwrap(), 4000);
        file.read_exact(&mut buf).unwrap();
        assert!(buf == content[4000..5000]);
        assert_eq!(file.seek(SeekFrom::Current(-500)).unwrap(), 4500);
        file.read_exact(&mut buf).unwrap();
        assert!(buf == content[4500..5500]);
        assert_eq!(file.seek(SeekFrom::End(-10)).unwrap(), 29_990);
        let mut rest = Vec::new();
        assert_eq!(file.read_to_end(&mut rest).unwrap(), 10);
        assert!(rest == content[29_990..]);
        assert_eq!(file.read(&mut buf).unwrap(), 0);
        assert!(whole(&mut file) == content);
    });
}

#[test]
fn seeking_before_the_start_fails_and_past_the_end_is_fine() {
    on_each(|fs| {
        fs.write("/f", "abc").unwrap();
        let mut file = fs.open_with("/f", OpenOptions::new().read(true).write(true)).unwrap();
        file.seek(SeekFrom::Start(2)).unwrap();
        assert!(file.seek(SeekFrom::Current(-3)).is_err());
        assert!(file.seek(SeekFrom::End(-4)).is_err());
        assert_eq!(file.stream_position().unwrap(), 2);
        assert_eq!(file.seek(SeekFrom::End(2)).unwrap(), 5);
        assert_eq!(file.read(&mut [0; 4]).unwrap(), 0);
        file.write_all(b"x").unwrap();
        assert_eq!(fs.read("/f").unwrap(), b"abc\0\0x");
    });
}

#[test]
fn range_calls_leave_the_position_alone() {
    on_each(|fs| {
        fs.write("/f", "0123456789").unwrap();
        let mut file = fs.open_with("/f", OpenOptions::new().read(true).write(true)).unwrap();
        file.seek(SeekFrom::Start(3)).unwrap();
        let mut buf = [0; 4];
        assert_eq!(file.read_at(&mut buf, 8).unwrap(), 2);
        assert_eq!(&buf[..2], b"89");
        assert_eq!(file.write_at(b"X", 0).unwrap(), 1);
        file.set_len(9).unwrap();
        assert_eq!(file.stream_position().unwrap(), 3);
        assert_eq!(file.metadata().unwrap().len(), 9);
        assert_eq!(fs.read("/f").unwrap(), b"X12345678");
    });
}

#[test]
fn a_handle_sees_what_others_write_to_the_file() {
    on_each(|fs| {
        fs.write("/f", "old").unwrap();
        let mut file = fs.open("/f").unwrap();
        fs.write("/f", "newer").unwrap();
        assert_eq!(whole(&mut file), b"newer");
        fs.append("/f", b"!").unwrap();
        assert_eq!(whole(&mut file), b"newer!");
        assert_eq!(file.metadata().unwrap().len(), 6);
    });
}

#[test]
fn rename_over_an_open_file_keeps_the_handle_readable() {
    on_each(|fs| {
        fs.write("/old", bytes(1, 9000)).unwrap();
        fs.write("/new", "new").unwrap();
        let mut file = fs.open("/old").unwrap();
        fs.rename("/new", "/old").unwrap();
        fs.gc(0.0).unwrap();
        assert!(whole(&mut file) == bytes(1, 9000));
        assert_eq!(fs.read("/old").unwrap(), b"new");
    });
}

#[test]
fn a_handle_follows_its_file_over_rename() {
    on_each(|fs| {
        fs.write("/d/f", "one").unwrap();
        let mut file = fs.open_with("/d/f", OpenOptions::new().read(true).append(true)).unwrap();
        fs.rename("/d/f", "/g").unwrap();
        fs.write("/d/f", "another file").unwrap();
        file.write_all(b"+two").unwrap();
        assert_eq!(fs.read("/g").unwrap(), b"one+two");
        assert_eq!(fs.read("/d/f").unwrap(), b"another file");
        fs.create_dir("/e").unwrap();
        fs.rename("/g", "/e/g").unwrap();
        fs.rename("/e", "/moved").unwrap();
        file.write_all(b"+three").unwrap();
        assert_eq!(fs.read("/moved/g").unwrap(), b"one+two+three");
        assert_eq!(whole(&mut file), b"one+two+three");
    });
}

#[test]
fn a_removed_file_lives_on_in_its_handles_and_under_no_name() {
    on_each(|fs| {
        let content = bytes(1, 20_000);
        fs.write("/d/f", &content).unwrap();
        let mut file = fs.open_with("/d/f", OpenOptions::new().read(true).write(true)).unwrap();
        let mut other = fs.open("/d/f").unwrap();
        fs.remove_file("/d/f").unwrap();
        fs.remove_dir("/d").unwrap();
        fs.gc(0.0).unwrap();
        assert!(whole(&mut file) == content);
        file.write_at(b"changed", 19_999).unwrap();
        file.set_len(20_003).unwrap();
        assert_eq!(other.metadata().unwrap().len(), 20_003);
        assert!(whole(&mut other)[19_999..] == *b"chan");
        assert!(fs.glob("/**").unwrap().is_empty() && !fs.exists("/d/f"));
        fs.write("/d/f", "another").unwrap();
        file.write_at(b"!", 0).unwrap();
        assert_eq!(fs.read("/d/f").unwrap(), b"another");
        drop((file, other));
        assert_eq!(fs.read("/d/f").unwrap(), b"another");
    });
}

#[test]
fn removed_files_give_their_room_back_when_the_last_handle_goes() {
    on_each(|fs| {
        for i in 0..300 {
            let path = format!("/f{i}");
            fs.write(&path, bytes(i, 100_000)).unwrap();
            let file = fs.open(&path).unwrap();
            fs.remove_file(&path).unwrap();
            assert_eq!(file.read_at(&mut [0; 4], 0).unwrap(), 4);
        }
        fs.gc(0.0).unwrap();
        let stats = fs.stats();
        assert_eq!(stats.memory.file_count, 0, "{:?}", stats.memory);
        assert!(stats.disk.current_usage < 10 << 20, "{:?}", stats.disk);
    });
}

#[test]
fn create_truncates_and_open_wants_the_file() {
    on_each(|fs| {
        fs.write("/f", bytes(1, 9000)).unwrap();
        let file = fs.create("/f").unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
        assert_eq!(fs.read("/f").unwrap(), b"");
        assert_fails!(fs.open("/nothing"), NotFound);
        assert_fails!(fs.open("/f/below"), NotADirectory);
        fs.create_dir("/d").unwrap();
        assert_fails!(fs.open("/d"), IsADirectory);
        assert_fails!(fs.create("/d"), IsADirectory);
        assert_fails!(fs.create("/f/below"), NotADirectory);
    });
}

#[test]
fn every_call_of_a_handle_fails_with_closed_once_the_store_is() {
    on_each(|fs| {
        fs.write("/f", "abc").unwrap();
        let mut file = fs.open_with("/f", OpenOptions::new().read(true).write(true)).unwrap();
        fs.close().unwrap();
        assert_eq!(failure(file.read(&mut [0; 2])), Kind::Closed);
        assert_eq!(failure(file.write(b"x")), Kind::Closed);
        assert_eq!(failure(file.seek(SeekFrom::End(0))), Kind::Closed);
        assert_eq!(failure(file.read_at(&mut [0; 2], 0)), Kind::Closed);
        assert_eq!(failure(file.write_at(b"x", 0)), Kind::Closed);
        assert_eq!(failure(file.set_len(0)), Kind::Closed);
        assert_eq!(failure(file.metadata()), Kind::Closed);
        assert_eq!(failure(file.sync_all()), Kind::Closed);
    });
}

#[test]
fn appends_through_two_handles_interleave_whole() {
    on_each(|fs| {
        let mut one = fs.open_with("/log", OpenOptions::new().append(true).create(true)).unwrap();
        let mut two = fs.open_with("/log", OpenOptions::new().append(true)).unwrap();
        let mut expected = Vec::new();
        for i in 0..40u8 {
            let piece = vec![i; 300];
            if i % 3 == 0 { &mut one } else { &mut two }.write_all(&piece).unwrap();
            expected.extend(piece);
        }
        assert!(fs.read("/log").unwrap() == expected);
    });
}
