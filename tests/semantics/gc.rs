//! gc.

use crate::{
    assert_fails,
    common::{rng::bytes, stores::on_each},
};
use memfs::Priority;

#[test]
fn gc_to_nothing_swaps_every_file_out_and_loses_none() {
    on_each(|fs| {
        for i in 0..30 {
            fs.write(format!("/d/{i}"), bytes(i, 100 * i as usize)).unwrap();
        }
        let resident = fs.memory_map().iter().filter(|file| file.len() > 0).count() as u64;
        let bytes_resident = fs.stats().memory.total_size;
        let report = fs.gc(0.0).unwrap();
        assert!(report.files_swapped_out >= resident, "{report:?}, {resident} were resident");
        assert!(report.bytes_freed >= bytes_resident, "{report:?}, {bytes_resident} were resident");
        assert!(fs.memory_map().iter().all(|file| file.len() == 0));
        assert_eq!(fs.stats().memory.total_size, 0);
        for i in 0..30 {
            assert!(fs.read(format!("/d/{i}")).unwrap() == bytes(i, 100 * i as usize));
        }
    });
}

#[test]
fn gc_stops_at_its_target_and_takes_the_lowest_first() {
    on_each(|fs| {
        let limit = fs.stats().memory.limit.min(4 << 20);
        let count = limit / 2 / 5000;
        for i in 0..count {
            fs.write(format!("/d/{i}"), bytes(i, 5000)).unwrap();
            fs.set_priority(format!("/d/{i}"), Priority::new(if i % 2 == 0 { 2 } else { 8 }).unwrap())
                .unwrap();
        }
        // In use is what is charged and not free for the next write.
        let in_use = || {
            let memory = fs.stats().memory;
            (memory.current_usage - memory.free_resident) as f64 / memory.limit as f64
        };
        let target = in_use() - 40_000.0 / fs.stats().memory.limit as f64;
        let report = fs.gc(target).unwrap();
        assert!(report.files_swapped_out > 0, "{report:?}");
        assert!(in_use() <= target, "{} for {target}", in_use());
        let left: Vec<u8> = fs.memory_map().iter().map(|file| file.priority().get()).collect();
        let high = left.iter().filter(|&&level| level == 8).count() as u64;
        assert_eq!(high, count / 2, "high priority files left before low ones");
    });
}

#[test]
fn a_target_at_or_above_what_is_used_does_nothing() {
    on_each(|fs| {
        fs.write("/f", bytes(1, 5000)).unwrap();
        for target in [1.0, 1.5, 2.0, f64::INFINITY] {
            let report = fs.gc(target).unwrap();
            assert_eq!((report.files_swapped_out, report.bytes_freed), (0, 0));
        }
        assert_eq!(fs.memory_map().len(), 1);
    });
}

#[test]
fn targets_that_are_no_fraction_are_refused() {
    on_each(|fs| {
        for target in [f64::NAN, -1.0, -0.001, f64::NEG_INFINITY] {
            assert_fails!(fs.gc(target), InvalidArgument);
        }
    });
}

#[test]
fn gc_of_an_empty_store_is_fine() {
    on_each(|fs| {
        let report = fs.gc(0.0).unwrap();
        assert_eq!((report.files_swapped_out, report.bytes_freed), (0, 0));
    });
}
