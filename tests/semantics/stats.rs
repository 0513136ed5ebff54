//! stats: names as the contract fixes them, and figures that agree with what was done.

use crate::common::{
    rng::bytes,
    stores::{on_each, tiny, validate},
};
use serde_json::Value;

#[test]
fn json_has_every_name_of_the_contract() {
    let fs = tiny().build().unwrap();
    fs.write("/f", "x").unwrap();
    let json = serde_json::to_value(fs.stats()).unwrap();
    assert!(json["uptime_seconds"].is_f64());
    let counts: [(&str, &[&str]); 4] = [
        ("memory", &["current_usage", "peak_usage", "limit", "file_count", "total_size"]),
        ("disk", &["current_usage", "total_capacity", "file_count"]),
        ("cache", &["hits", "misses", "swaps_in", "swaps_out", "preloads", "evictions"]),
        ("operations", &["total_operations", "read_count", "write_count", "delete_count"]),
    ];
    for (group, names) in counts {
        for name in names {
            assert!(json[group][name].is_u64(), "{group}.{name}: {}", json[group][name]);
        }
    }
    let measures = [
        ("memory", "usage_percent"),
        ("disk", "usage_percent"),
        ("cache", "hit_rate"),
        ("operations", "avg_read_time_ms"),
        ("operations", "avg_write_time_ms"),
    ];
    for (group, name) in measures {
        assert!(json[group][name].is_f64(), "{group}.{name}: {}", json[group][name]);
    }
    assert!(json["disk"]["path"].is_string());
}

#[test]
fn json_holds_the_same_figures_as_the_fields_and_no_number_is_unrepresentable() {
    fn finite(value: &Value, at: &str) {
        match value {
            Value::Null => panic!("{at} is no number"),
            Value::Object(fields) => fields.iter().for_each(|(name, value)| finite(value, name)),
            _ => {}
        }
    }
    on_each(|fs| {
        // Before anything was done, divisions by nothing are likely.
        finite(&serde_json::to_value(fs.stats()).unwrap(), "stats");
        fs.write("/f", bytes(1, 5000)).unwrap();
        fs.read("/f").unwrap();
        let stats = fs.stats();
        let json = serde_json::to_value(&stats).unwrap();
        assert_eq!(json["memory"]["limit"], stats.memory.limit);
        assert_eq!(json["cache"]["hits"], stats.cache.hits);
        assert_eq!(json["operations"]["write_count"], stats.operations.write_count);
        assert!(!stats.to_string().is_empty());
    });
}

#[test]
fn counts_follow_what_was_done() {
    on_each(|fs| {
        let before = fs.stats();
        for i in 0..20 {
            fs.write(format!("/d/{i}"), bytes(i, 2000)).unwrap();
        }
        for i in 0..15 {
            fs.read(format!("/d/{i}")).unwrap();
        }
        for i in 0..5 {
            fs.remove_file(format!("/d/{i}")).unwrap();
        }
        let (then, now) = (before.operations, fs.stats().operations);
        assert_eq!(now.write_count - then.write_count, 20);
        assert_eq!(now.read_count - then.read_count, 15);
        assert_eq!(now.delete_count - then.delete_count, 5);
        assert!(now.total_operations - then.total_operations >= 40);
    });
}

#[test]
fn hits_misses_and_swaps_are_told_apart() {
    on_each(|fs| {
        for i in 0..10 {
            fs.write(format!("/d/{i}"), bytes(i, 2000)).unwrap();
        }
        let fresh = fs.stats().cache;
        for i in 0..10 {
            fs.read(format!("/d/{i}")).unwrap();
        }
        let hot = fs.stats().cache;
        assert_eq!((hot.hits - fresh.hits, hot.misses - fresh.misses), (10, 0));
        fs.gc(0.0).unwrap();
        let out = fs.stats().cache;
        assert_eq!(out.swaps_out - hot.swaps_out, 10);
        for i in 0..10 {
            fs.read(format!("/d/{i}")).unwrap();
        }
        let cold = fs.stats().cache;
        assert_eq!((cold.hits - out.hits, cold.misses - out.misses), (0, 10));
        let rate = cold.hits as f64 * 100.0 / (cold.hits + cold.misses) as f64;
        assert!((cold.hit_rate - rate).abs() < 0.01, "{cold:?}");
    });
}

#[test]
fn memory_figures_agree_with_each_other_and_with_what_is_resident() {
    on_each(|fs| {
        for i in 0..200 {
            fs.write(format!("/d/{i}"), bytes(i, 3000)).unwrap();
            let memory = fs.stats().memory;
            assert!(memory.current_usage <= memory.limit && memory.current_usage <= memory.peak_usage);
            assert!(memory.peak_usage <= memory.limit);
        }
        let (memory, disk) = (fs.stats().memory, fs.stats().disk);
        let percent = memory.current_usage as f64 * 100.0 / memory.limit as f64;
        assert!((memory.usage_percent - percent).abs() < 1.0, "{memory:?}");
        assert!(memory.current_usage >= memory.total_size, "{memory:?}");
        assert!(memory.file_count + disk.file_count >= 200, "{memory:?} {disk:?}");
        assert!(memory.total_size <= 200 * 3000);
    });
}

#[test]
fn workers_aside_the_resident_files_of_the_map_are_those_of_the_figures() {
    let fs = tiny().build().unwrap();
    for i in 0..300 {
        fs.write(format!("/d/{i}"), bytes(i, 3000)).unwrap();
    }
    let (memory, map) = (fs.stats().memory, fs.memory_map());
    assert_eq!(memory.file_count, map.len() as u64);
    assert_eq!(memory.total_size, map.iter().map(|file| file.len()).sum::<u64>());
    validate(&fs);
}

#[test]
fn disk_usage_follows_swapping_and_removal() {
    let fs = tiny().build().unwrap();
    for i in 0..100 {
        fs.write(format!("/d/{i}"), bytes(i, 20_000)).unwrap();
    }
    let full = fs.stats().disk;
    assert!(full.current_usage > 1 << 20, "2 MB do not fit into 512 KiB: {full:?}");
    assert!(full.file_count >= 75 && full.total_capacity > 0, "{full:?}");
    fs.remove_dir_all("/d").unwrap();
    let empty = fs.stats();
    assert_eq!(empty.disk.file_count, 0);
    assert!(empty.disk.current_usage < full.current_usage / 4, "{empty:?}");
    assert_eq!((empty.memory.file_count, empty.memory.total_size), (0, 0));
    validate(&fs);
}

#[test]
fn uptime_grows() {
    let fs = tiny().build().unwrap();
    let first = fs.stats().uptime_seconds;
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(first >= 0.0 && fs.stats().uptime_seconds > first);
}
