//! read_at, write_at, set_len.

use crate::{
    assert_fails,
    common::{rng::bytes, stores::on_each},
};

#[test]
fn read_at_fills_the_buffer_unless_the_file_ends() {
    on_each(|fs| {
        let content = bytes(1, 20_000);
        fs.write("/f", &content).unwrap();
        for cold in [false, true] {
            for offset in [0usize, 1, 4095, 4096, 4097, 8000, 19_999, 20_000, 20_001, 1 << 40] {
                for len in [0usize, 1, 4096, 4097, 30_000] {
                    if cold {
                        fs.gc(0.0).unwrap();
                    }
                    let mut buf = vec![0xA5; len];
                    let n = fs.read_at("/f", &mut buf, offset as u64).unwrap();
                    let from = offset.min(content.len());
                    let expected = &content[from..(from + len).min(content.len())];
                    assert_eq!(n, expected.len(), "{len} bytes at {offset}");
                    assert!(buf[..n] == *expected, "{len} bytes at {offset}");
                    assert!(buf[n..].iter().all(|&b| b == 0xA5), "touched past the answer");
                }
            }
        }
    });
}

#[test]
fn write_at_changes_what_it_covers_and_nothing_else() {
    on_each(|fs| {
        for cold in [false, true] {
            let mut expected = bytes(1, 20_000);
            fs.write("/f", &expected).unwrap();
            for (seed, offset, len) in [
                (2, 0, 1),
                (3, 4095, 2),
                (4, 4096, 4096),
                (5, 100, 13_000),
                (6, 19_999, 1),
                (7, 19_000, 3000),
            ] {
                if cold {
                    fs.gc(0.0).unwrap();
                }
                let piece = bytes(seed, len);
                assert_eq!(fs.write_at("/f", &piece, offset as u64).unwrap(), len);
                expected.resize(expected.len().max(offset + len), 0);
                expected[offset..offset + len].copy_from_slice(&piece);
                assert!(fs.read("/f").unwrap() == expected, "{len} bytes at {offset}");
            }
        }
    });
}

#[test]
fn a_gap_left_by_write_at_reads_as_zeros() {
    on_each(|fs| {
        for (start, offset) in [(0, 10), (3, 4), (5, 4096), (4096, 100_000), (10, 300_000)] {
            fs.write("/f", vec![1; start]).unwrap();
            fs.write_at("/f", b"end", offset).unwrap();
            let mut expected = vec![1; start];
            expected.resize(offset as usize, 0);
            expected.extend_from_slice(b"end");
            assert_eq!(fs.metadata("/f").unwrap().len(), offset + 3);
            assert!(fs.read("/f").unwrap() == expected);
            fs.gc(0.0).unwrap();
            assert!(fs.read("/f").unwrap() == expected);
        }
    });
}

#[test]
fn bytes_cut_off_by_set_len_do_not_come_back() {
    on_each(|fs| {
        for (len, cut, grown) in
            [(100, 10, 60), (100, 0, 200), (9000, 4096, 9000), (9000, 4097, 20_000), (4096, 1, 4096)]
        {
            let content = bytes(1, len);
            fs.write("/f", &content).unwrap();
            fs.set_len("/f", cut as u64).unwrap();
            assert!(fs.read("/f").unwrap() == content[..cut]);
            fs.set_len("/f", grown as u64).unwrap();
            let found = fs.read("/f").unwrap();
            assert!(found[..cut] == content[..cut] && found[cut..].iter().all(|&b| b == 0));
            // The same where an append or a write past the end does the growing.
            fs.set_len("/f", cut as u64).unwrap();
            fs.write_at("/f", b"x", grown as u64).unwrap();
            let found = fs.read("/f").unwrap();
            assert!(found[cut..grown].iter().all(|&b| b == 0) && found[grown..] == *b"x");
        }
    });
}

#[test]
fn an_empty_write_at_changes_nothing_not_even_past_the_end() {
    on_each(|fs| {
        fs.write("/f", "abc").unwrap();
        assert_eq!(fs.write_at("/f", b"", 100).unwrap(), 0);
        assert_eq!(fs.read("/f").unwrap(), b"abc");
    });
}

#[test]
fn write_at_and_set_len_want_the_file_to_exist() {
    on_each(|fs| {
        fs.write("/d/f", "x").unwrap();
        assert_fails!(fs.write_at("/nothing", b"x", 0), NotFound);
        assert_fails!(fs.set_len("/nothing", 0), NotFound);
        assert_fails!(fs.write_at("/d", b"x", 0), IsADirectory);
        assert_fails!(fs.set_len("/d", 0), IsADirectory);
        assert_fails!(fs.write_at("/d/f/g", b"x", 0), NotADirectory);
        assert!(!fs.exists("/nothing"));
    });
}

#[test]
fn truncation_to_nothing_gives_the_room_back() {
    on_each(|fs| {
        for i in 0..400 {
            fs.write("/f", bytes(i, 200_000)).unwrap();
            fs.set_len("/f", 0).unwrap();
        }
        assert_eq!(fs.read("/f").unwrap(), b"");
        assert!(fs.stats().disk.current_usage < 50 << 20, "{:?}", fs.stats().disk);
    });
}
