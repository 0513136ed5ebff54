//! Files with far more length than bytes.

use crate::common::{
    kind::{Fails, Kind},
    process::rss_bytes,
    stores::validate,
};
use memfs::{Builder, MemFs};

const TIB: u64 = 1 << 40;

fn shapes() -> [Builder; 3] {
    let with = |limit: u64| MemFs::builder().memory_limit_bytes(limit).worker_threads(0);
    [
        with(64 << 20),
        with(16 << 20).chunk_size(4096).segment_size(1 << 20),
        with(4 << 20).chunk_size(64 << 10),
    ]
}

/// What is true of a file of a few bytes far behind a hole.
fn hole_then_bytes(fs: &MemFs, at: u64, tail: &[u8]) {
    let len = at + tail.len() as u64;
    assert_eq!(fs.metadata("/f").unwrap().len(), len);
    let mut buf = [0xA5; 8192];
    for offset in [0, 1, 4095, (1 << 20) - 7, 1 << 32, at / 2, at - 8192] {
        assert_eq!(fs.read_at("/f", &mut buf, offset).unwrap(), buf.len(), "at {offset}");
        assert!(buf.iter().all(|&b| b == 0), "bytes in the hole at {offset}");
        buf.fill(0xA5);
    }
    let n = fs.read_at("/f", &mut buf, at - 10).unwrap();
    assert_eq!(n, 10 + tail.len());
    assert!(buf[..10].iter().all(|&b| b == 0) && buf[10..n] == *tail);
    assert_eq!(fs.read_at("/f", &mut buf, len).unwrap(), 0);
}

#[test]
fn a_tebibyte_hole_costs_next_to_nothing() {
    for builder in shapes() {
        let fs = builder.build().unwrap();
        fs.write("/f", "start").unwrap();
        let before = (rss_bytes(), fs.stats());
        match fs.write_at("/f", b"tail", TIB) {
            Ok(n) => assert_eq!(n, 4),
            Err(error) => panic!("what is written fits, but: {error}"),
        }
        assert_eq!(fs.read_at("/f", &mut [0; 5], 0).unwrap(), 5);
        fs.write_at("/f", &[0; 5], 0).unwrap();
        hole_then_bytes(&fs, TIB, b"tail");
        let (grown, now) = (rss_bytes().saturating_sub(before.0), fs.stats());
        assert!(now.memory.current_usage <= now.memory.limit);
        assert!(grown < now.memory.limit + (16 << 20), "the process grew by {grown}");
        assert!(now.disk.current_usage - before.1.disk.current_usage < 64 << 20, "{:?}", now.disk);
        fs.gc(0.0).unwrap();
        hole_then_bytes(&fs, TIB, b"tail");
        fs.write_at("/f", b"middle", TIB / 2 - 3).unwrap();
        let mut buf = [0; 12];
        fs.read_at("/f", &mut buf, TIB / 2 - 6).unwrap();
        assert_eq!(&buf, b"\0\0\0middle\0\0\0");
        fs.set_len("/f", 3).unwrap();
        assert_eq!(fs.read("/f").unwrap(), [0; 3]);
        fs.remove_file("/f").unwrap();
        validate(&fs);
    }
}

#[test]
fn what_wants_a_tebibyte_at_once_is_refused_and_kills_nobody() {
    for builder in shapes() {
        let fs = builder.build().unwrap();
        fs.write("/f", "").unwrap();
        fs.write_at("/f", b"tail", TIB).unwrap();
        for refused in [fs.read_bytes("/f").map(drop), fs.read_with("/f", |_| ())] {
            let error = refused.expect_err("a tebibyte in one piece");
            assert_eq!(error.variant(), Kind::MemoryLimit, "{error}");
        }
        let held = fs.get("/f").unwrap();
        assert_eq!(held.len() as u64, TIB + 4);
        drop(held);
        fs.append("/f", b"more").unwrap();
        let mut buf = [0; 10];
        assert_eq!(fs.read_at("/f", &mut buf, TIB).unwrap(), 8);
        assert_eq!(&buf[..8], b"tailmore");
        fs.rename("/f", "/g").unwrap();
        fs.preload("/g").unwrap().wait().ok();
        assert!(fs.stats().memory.current_usage <= fs.stats().memory.limit);
        validate(&fs);
    }
}

#[test]
fn a_length_without_bytes_is_a_hole() {
    for builder in shapes() {
        let fs = builder.build().unwrap();
        fs.write("/f", "start").unwrap();
        for len in [1 << 20, 1 << 32, TIB] {
            fs.set_len("/f", len).unwrap();
            assert_eq!(fs.metadata("/f").unwrap().len(), len);
            let mut buf = [0xA5; 100];
            assert_eq!(fs.read_at("/f", &mut buf, len - 100).unwrap(), 100);
            assert_eq!(buf, [0; 100]);
            assert_eq!(fs.read_at("/f", &mut buf, 0).unwrap(), 100);
            assert_eq!(&buf[..5], b"start");
            fs.gc(0.0).unwrap();
        }
        fs.set_len("/f", 5).unwrap();
        assert_eq!(fs.read("/f").unwrap(), b"start");
        validate(&fs);
    }
}

#[test]
fn bytes_dotted_over_a_large_file_cost_what_they_are() {
    for builder in shapes() {
        let fs = builder.build().unwrap();
        fs.write("/f", "").unwrap();
        for i in 0..100u64 {
            fs.write_at("/f", &i.to_le_bytes(), i << 30).unwrap();
        }
        for i in 0..100u64 {
            let mut buf = [0; 8];
            fs.read_at("/f", &mut buf, i << 30).unwrap();
            assert_eq!(u64::from_le_bytes(buf), i);
        }
        let stats = fs.stats();
        assert!(stats.memory.current_usage <= stats.memory.limit);
        assert!(stats.disk.current_usage < 256 << 20, "{:?}", stats.disk);
        validate(&fs);
    }
}
