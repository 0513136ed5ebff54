//! The operation log.

use crate::common::stores::tiny;
use serde_json::Value;

#[test]
fn the_operation_log_has_a_line_for_each_change_and_none_for_a_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let fs = tiny().operation_log(&log).build().unwrap();
    fs.write("/d/f", "x").unwrap();
    fs.read("/d/f").unwrap();
    fs.rename("/d/f", "/d/g").unwrap();
    fs.create_dir("/d").unwrap_err();
    fs.remove_file("/d/g").unwrap();
    fs.close().unwrap();
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "{text}");
    for (line, path) in lines.iter().zip(["/d/f", "/d/g", "/d", "/d/g"]) {
        assert!(line.to_string().contains(path), "{line}");
    }
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error() {
    assert!(tiny().operation_log("/proc/nothing/here").build().is_err());
}
