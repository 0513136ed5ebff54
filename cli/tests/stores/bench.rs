//! `bench`: figures that make sense, and nothing left behind.

use super::*;

fn check(output: &Output, mode: &str) {
    assert_eq!((output.status.code(), &*stderr(output)), (Some(0), ""));
    let report = json(output);
    assert_eq!((&report["mode"], &report["failures"]), (&mode.into(), &Value::Array(Vec::new())));
    let results = report["results"].as_array().expect("a list");
    assert_eq!(results.len(), 9);
    for result in results {
        let rate = |field: &str| result[field].as_f64().expect("a rate");
        assert!(number(result, "operations") > 0 && rate("operations_per_second") > 0.0, "{result}");
        assert!(number(result, "p50_ns") <= number(result, "p99_ns"), "{result}");
        assert!(number(result, "p99_ns") <= number(result, "max_ns"), "{result}");
        let expected = if number(result, "operations") == 1 { 0 } else { 4 * MIB as u64 };
        assert_eq!(number(result, "bytes"), expected, "{result}");
        assert_eq!(rate("bytes_per_second") > 0.0, expected > 0, "{result}");
    }
}

#[test]
fn a_store_made_for_it_is_removed() {
    let home = Home::new();
    let args: &[&dyn AsRef<OsStr>] = &[&"--bytes", &"4MiB", &"--json", &"--memory-limit", &"2MiB"];
    check(&run("bench", args), "temp");
    let store = home.store();
    check(&run("bench", &[&[&store as &dyn AsRef<OsStr>], args].concat()), "persist");
    assert!(!store.exists());
    failed(&run("bench", &[&store, &"--memory-limit", &"1"]), 2, "memory_limit_bytes");
    assert!(!store.exists());
}

#[test]
fn a_store_that_was_there_stays_as_it_was() {
    let home = Home::with(&[("/f", b"contents")]);
    let store = home.store();
    check(&run("bench", &[&store, &"--bytes", &"4MiB", &"--json"]), "persist");
    assert_eq!(ok(&run("ls", &[&store, &"-R"])), "/f\n");
    ok(&run("put", &[&store, &"/.memfs-bench/mine", &home.at("contents")]));
    failed(&run("bench", &[&store]), 2, "/.memfs-bench: ");
    assert_eq!(ok(&run("cat", &[&store, &"/.memfs-bench/mine"])), "contents");
}

#[test]
fn the_table_fits_a_terminal() {
    let table = ok(&run("bench", &[&"--bytes", &"1MiB"]));
    assert_eq!(table.lines().count(), 10, "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert!(table.contains("read 4 KiB from disk") && table.contains("swap out all"), "{table}");
}
