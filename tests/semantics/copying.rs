//! copy.

use crate::{
    assert_fails,
    common::{rng::bytes, stores::on_each},
};

#[test]
fn a_copy_has_the_bytes_and_a_life_of_its_own() {
    on_each(|fs| {
        for len in [0, 100, 4096, 70_000] {
            for cold in [false, true] {
                fs.write("/from", bytes(1, len)).unwrap();
                if cold {
                    fs.gc(0.0).unwrap();
                }
                assert_eq!(fs.copy("/from", "/to").unwrap(), len as u64);
                assert!(fs.read("/to").unwrap() == bytes(1, len));
                fs.write("/from", "changed").unwrap();
                fs.append("/to", b"!").unwrap();
                assert_eq!(fs.metadata("/to").unwrap().len(), len as u64 + 1);
                assert_eq!(fs.read("/from").unwrap(), b"changed");
                fs.remove_file("/from").unwrap();
                assert!(fs.read("/to").unwrap()[..len] == bytes(1, len));
            }
        }
    });
}

#[test]
fn a_copy_overwrites_a_file() {
    on_each(|fs| {
        fs.write("/from", "new").unwrap();
        fs.write("/to", bytes(1, 9000)).unwrap();
        assert_eq!(fs.copy("/from", "/to").unwrap(), 3);
        assert_eq!(fs.read("/to").unwrap(), b"new");
    });
}

#[test]
fn a_copy_onto_itself_changes_nothing() {
    on_each(|fs| {
        fs.write("/f", bytes(1, 9000)).unwrap();
        assert_eq!(fs.copy("/f", "//f").unwrap(), 9000);
        assert!(fs.read("/f").unwrap() == bytes(1, 9000));
    });
}

#[test]
fn directories_are_neither_copied_nor_overwritten() {
    on_each(|fs| {
        fs.write("/f", "x").unwrap();
        fs.create_dir("/d").unwrap();
        assert_fails!(fs.copy("/d", "/e"), IsADirectory | InvalidArgument);
        assert_fails!(fs.copy("/f", "/d"), IsADirectory);
        assert_fails!(fs.copy("/nothing", "/e"), NotFound);
        assert_fails!(fs.copy("/f", "/f/g"), NotADirectory);
        assert!(!fs.exists("/e"));
    });
}

#[test]
fn a_file_larger_than_the_limit_is_copied() {
    on_each(|fs| {
        fs.write("/from", bytes(1, 2 << 20)).unwrap();
        assert_eq!(fs.copy("/from", "/to").unwrap(), 2 << 20);
        assert!(fs.read("/to").unwrap() == bytes(1, 2 << 20));
    });
}
