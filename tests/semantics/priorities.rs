//! Priorities, and what reads lift them to.

use crate::{
    assert_fails,
    common::{
        rng::bytes,
        stores::{on_each, roomy, validate},
    },
};
use memfs::{Location, MemFs, Priority, WriteOptions};

fn level(level: u8) -> Priority {
    Priority::new(level).unwrap()
}

fn effective(fs: &MemFs, path: &str) -> u8 {
    fs.metadata(path).unwrap().effective_priority().get()
}

#[test]
fn levels_are_0_to_10_with_four_names() {
    for n in 0..=10 {
        assert_eq!(level(n).get(), n);
    }
    for n in [11, 12, 100, 255] {
        assert_fails!(Priority::new(n), InvalidArgument);
    }
    let named = [Priority::LOW, Priority::NORMAL, Priority::HIGH, Priority::LOCKED].map(Priority::get);
    assert_eq!(named, [1, 5, 7, 9]);
}

#[test]
fn set_priority_is_seen_by_priority_and_metadata() {
    on_each(|fs| {
        fs.write("/f", bytes(1, 5000)).unwrap();
        for n in 0..=10 {
            fs.set_priority("/f", level(n)).unwrap();
            assert_eq!(fs.priority("/f").unwrap(), level(n));
            let metadata = fs.metadata("/f").unwrap();
            assert_eq!((metadata.priority(), metadata.effective_priority()), (level(n), level(n)));
        }
        assert_fails!(fs.set_priority("/nothing", level(1)), NotFound);
        assert_fails!(fs.priority("/nothing"), NotFound);
    });
}

#[test]
fn an_overwrite_keeps_the_priority_unless_it_gives_one() {
    on_each(|fs| {
        fs.write_with("/f", "x", &WriteOptions::new().priority(Priority::HIGH)).unwrap();
        fs.write("/f", "y").unwrap();
        fs.write_with("/f", "y", &WriteOptions::new()).unwrap();
        fs.append("/f", b"z").unwrap();
        fs.set_len("/f", 100).unwrap();
        drop(fs.create("/f").unwrap());
        assert_eq!(fs.priority("/f").unwrap(), Priority::HIGH);
        fs.write_with("/f", "x", &WriteOptions::new().priority(Priority::LOW)).unwrap();
        assert_eq!(fs.priority("/f").unwrap(), Priority::LOW);
    });
}

/// Files enough that the sketch does not age while one of them is read some dozens of times.
fn with_company(threshold: u32) -> MemFs {
    let fs = roomy().priority_boost_threshold(threshold).build().unwrap();
    for i in 0..300 {
        fs.write(format!("/company/{i}"), "x").unwrap();
    }
    fs.write("/f", "x").unwrap();
    fs
}

#[test]
fn every_ten_reads_lift_a_file_by_one_to_8_at_most() {
    let fs = with_company(10);
    for reads in 1..=60 {
        fs.read("/f").unwrap();
        let expected = 5 + (reads / 10).min(3);
        assert_eq!(effective(&fs, "/f"), expected, "after {reads} reads");
        assert_eq!(fs.priority("/f").unwrap(), Priority::NORMAL);
    }
    validate(&fs);
}

#[test]
fn the_threshold_is_the_builders_and_0_means_never() {
    let fs = with_company(3);
    for reads in 1..=6 {
        fs.read("/f").unwrap();
        assert_eq!(effective(&fs, "/f"), 5 + reads / 3);
    }
    let fs = with_company(0);
    for _ in 0..60 {
        fs.read("/f").unwrap();
    }
    assert_eq!(effective(&fs, "/f"), 5);
}

#[test]
fn set_priority_clears_the_boost() {
    let fs = with_company(10);
    for _ in 0..30 {
        fs.read("/f").unwrap();
    }
    assert_eq!(effective(&fs, "/f"), 8);
    fs.set_priority("/f", level(4)).unwrap();
    assert_eq!(effective(&fs, "/f"), 4);
    for _ in 0..10 {
        fs.read("/f").unwrap();
    }
    assert_eq!(effective(&fs, "/f"), 5);
    validate(&fs);
}

#[test]
fn boosts_lift_nothing_that_is_higher_already() {
    let fs = with_company(10);
    fs.set_priority("/f", level(10)).unwrap();
    for _ in 0..30 {
        fs.read("/f").unwrap();
    }
    assert_eq!(effective(&fs, "/f"), 10);
    fs.set_priority("/f", level(8)).unwrap();
    for _ in 0..30 {
        fs.read("/f").unwrap();
    }
    assert_eq!(effective(&fs, "/f"), 8);
}

#[test]
fn boosts_fade_as_other_files_are_read() {
    // The sketch ages by what it learns of: of files that do not all fit, there is always some more.
    let fs = roomy().memory_limit_bytes(2 << 20).worker_threads(0).build().unwrap();
    for i in 0..800 {
        fs.write(format!("/company/{i}"), bytes(i, 16_000)).unwrap();
    }
    fs.write("/f", "x").unwrap();
    for _ in 0..30 {
        fs.read("/f").unwrap();
    }
    assert_eq!(effective(&fs, "/f"), 8);
    let mut rounds = 0;
    while effective(&fs, "/f") > 5 {
        for i in 0..800 {
            fs.read_at(format!("/company/{i}"), &mut [0; 8], 0).unwrap();
        }
        rounds += 1;
        assert!(rounds < 300, "still lifted after {rounds} rounds");
    }
    validate(&fs);
}

#[test]
fn of_two_alike_the_lower_priority_leaves_first() {
    on_each(|fs| {
        if fs.stats().memory.limit > 2 << 20 {
            return;
        }
        for i in 0..20 {
            let (low, high) =
                (WriteOptions::new().priority(level(1)), WriteOptions::new().priority(level(8)));
            fs.write_with(format!("/low/{i}"), bytes(i, 4000), &low).unwrap();
            fs.write_with(format!("/high/{i}"), bytes(i, 4000), &high).unwrap();
        }
        for i in 0..400 {
            fs.write(format!("/flood/{i}"), bytes(i, 4000)).unwrap();
        }
        let resident = |dir: &str| {
            (0..20)
                .filter(|i| fs.metadata(format!("/{dir}/{i}")).unwrap().location() != Location::Disk)
                .count()
        };
        let (low, high) = (resident("low"), resident("high"));
        assert!(low < high, "{low} of low and {high} of high priority stayed");
        for i in 0..20 {
            assert!(fs.read(format!("/low/{i}")).unwrap() == bytes(i, 4000));
        }
    });
}
