//! Settings that cannot be.

use crate::{
    assert_fails,
    common::{rng::bytes, stores::validate},
};
use memfs::{Error, MemFs};

#[test]
fn impossible_settings_are_refused_by_name() {
    let new = MemFs::builder;
    let refused = [
        ("memory_limit_bytes", new().memory_limit_bytes(0)),
        ("memory_limit_bytes", new().memory_limit_bytes(1)),
        ("memory_limit_bytes", new().memory_limit_bytes(10_000)),
        ("memory_limit_fraction", new().memory_limit_fraction(0.0)),
        ("memory_limit_fraction", new().memory_limit_fraction(-0.5)),
        ("memory_limit_fraction", new().memory_limit_fraction(1.5)),
        ("memory_limit_fraction", new().memory_limit_fraction(f64::NAN)),
        ("memory_limit_fraction", new().memory_limit_fraction(f64::INFINITY)),
        ("chunk_size", new().chunk_size(0)),
        ("segment_size", new().segment_size(0)),
    ];
    for (name, builder) in refused {
        match builder.build() {
            Err(Error::InvalidArgument { argument, expected, .. }) => {
                assert_eq!(argument, name);
                assert!(!expected.is_empty());
            }
            Err(other) => panic!("{name}: {other:?}"),
            Ok(_) => panic!("{name}: accepted"),
        }
    }
}

#[test]
fn a_limit_too_small_says_what_is_needed() {
    let error = MemFs::builder().memory_limit_bytes(1).build().unwrap_err();
    assert!(error.to_string().chars().any(|c| c.is_ascii_digit() && c != '1'), "{error}");
}

#[test]
fn extreme_settings_that_are_accepted_work() {
    let new = || MemFs::builder().worker_threads(0);
    let builders = [
        ("limit u64::MAX", new().memory_limit_bytes(u64::MAX)),
        ("limit i64::MAX", new().memory_limit_bytes(i64::MAX as u64)),
        ("least limit", new().memory_limit_bytes(256 << 10)),
        ("whole fraction", new().memory_limit_fraction(1.0)),
        ("chunk of one byte", new().memory_limit_bytes(1 << 20).chunk_size(1)),
        ("chunk of any length", new().memory_limit_bytes(1 << 20).chunk_size(5000)),
        ("chunk larger than the limit", new().memory_limit_bytes(1 << 20).chunk_size(4 << 20)),
        ("segment of one byte", new().memory_limit_bytes(1 << 20).segment_size(1)),
        (
            "segment smaller than a chunk",
            new().memory_limit_bytes(1 << 20).chunk_size(64 << 10).segment_size(4096),
        ),
        ("threshold u32::MAX", new().memory_limit_bytes(1 << 20).priority_boost_threshold(u32::MAX)),
        ("no huge pages", new().memory_limit_bytes(1 << 20).huge_pages(false)),
        ("storage limit u64::MAX", new().memory_limit_bytes(1 << 20).storage_limit_bytes(u64::MAX)),
    ];
    for (name, builder) in builders {
        let fs = match builder.build() {
            Ok(fs) => fs,
            // A refusal is an answer, a panic or a wrong byte is not.
            Err(Error::InvalidArgument { .. }) => continue,
            Err(other) => panic!("{name}: {other}"),
        };
        for i in 0..30 {
            fs.write(format!("/d/{i}"), bytes(i, 40_000)).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        fs.gc(0.0).unwrap();
        for i in 0..30 {
            assert!(fs.read(format!("/d/{i}")).unwrap() == bytes(i, 40_000), "{name}: file {i}");
        }
        let memory = fs.stats().memory;
        assert!(memory.peak_usage <= memory.limit, "{name}: {memory:?}");
        validate(&fs);
    }
}

#[test]
fn absurd_worker_counts_are_refused_or_harmless() {
    for workers in [1, 64, 100_000, usize::MAX] {
        match MemFs::builder().memory_limit_bytes(1 << 20).worker_threads(workers).build() {
            Ok(fs) => fs.write("/f", "x").unwrap(),
            Err(Error::InvalidArgument { .. }) => assert!(workers > 64),
            Err(other) => panic!("{workers} workers: {other}"),
        }
    }
}

#[test]
fn a_storage_path_nobody_may_write_to_is_an_io_error() {
    for path in ["/proc/nothing/here", "/dev/null/x", "/dev/null"] {
        assert_fails!(MemFs::builder().memory_limit_bytes(1 << 20).storage_path(path).build(), Io);
    }
}

#[test]
fn a_storage_limit_too_small_for_anything_leaves_memory_in_use() {
    let built = MemFs::builder().memory_limit_bytes(1 << 20).storage_limit_bytes(1).worker_threads(0).build();
    let fs = match built {
        Ok(fs) => fs,
        Err(Error::InvalidArgument { .. }) => return,
        Err(other) => panic!("{other}"),
    };
    let mut kept = 0;
    let error = loop {
        match fs.write(format!("/{kept}"), bytes(kept, 20_000)) {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 100, "2 MB kept in 1 MiB");
    };
    assert!(matches!(error, Error::StorageFull { .. } | Error::MemoryLimit { .. }), "{error:?}");
    assert!(kept > 10, "only {kept} files of 20 KB in 1 MiB");
    for i in 0..kept {
        assert!(fs.read(format!("/{i}")).unwrap() == bytes(i, 20_000));
    }
    validate(&fs);
}
