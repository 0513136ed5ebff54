//! rename, as rename(2).

use crate::{
    assert_fails,
    common::{rng::bytes, stores::on_each},
};
use memfs::{Location, Priority, WriteOptions};

#[test]
fn a_file_moves_with_its_contents_priority_and_count() {
    on_each(|fs| {
        fs.create_dir("/to").unwrap();
        for (resident, len) in [(true, 100), (false, 100), (true, 20_000), (false, 20_000)] {
            fs.write_with("/from", bytes(1, len), &WriteOptions::new().priority(Priority::HIGH)).unwrap();
            for _ in 0..3 {
                fs.read("/from").unwrap();
            }
            if !resident {
                fs.gc(0.0).unwrap();
                assert_eq!(fs.metadata("/from").unwrap().location(), Location::Disk);
            }
            let before = fs.metadata("/from").unwrap();
            fs.rename("/from", "/to/here").unwrap();
            let after = fs.metadata("/to/here").unwrap();
            assert_eq!(after.path(), "/to/here");
            assert_eq!((after.len(), after.priority()), (len as u64, Priority::HIGH));
            assert_eq!(after.access_count(), 3);
            assert_eq!((after.created(), after.modified()), (before.created(), before.modified()));
            assert!(!fs.exists("/from"));
            assert!(fs.read("/to/here").unwrap() == bytes(1, len));
            fs.remove_file("/to/here").unwrap();
        }
    });
}

#[test]
fn a_file_replaces_a_file() {
    on_each(|fs| {
        fs.write("/from", "new").unwrap();
        fs.write("/to", bytes(1, 50_000)).unwrap();
        fs.rename("/from", "/to").unwrap();
        assert_eq!(fs.read("/to").unwrap(), b"new");
        assert_eq!(fs.glob("/*").unwrap(), ["/to"]);
    });
}

#[test]
fn a_directory_moves_with_everything_below() {
    on_each(|fs| {
        for i in 0..20 {
            fs.write(format!("/from/{}/f{i}", i % 4), bytes(i, 3000)).unwrap();
        }
        fs.write("/fromage", "beside").unwrap();
        fs.create_dir("/to").unwrap();
        fs.rename("/from", "/to/moved").unwrap();
        assert!(!fs.exists("/from") && !fs.exists("/from/0/f0") && fs.exists("/fromage"));
        for i in 0..20 {
            assert!(fs.read(format!("/to/moved/{}/f{i}", i % 4)).unwrap() == bytes(i, 3000));
            assert_fails!(fs.read(format!("/from/{}/f{i}", i % 4)), NotFound);
        }
        assert_eq!(fs.metadata("/to/moved/3/f3").unwrap().path(), "/to/moved/3/f3");
        fs.write("/from/0/f0", "new").unwrap();
        assert_eq!(fs.read("/from/0/f0").unwrap(), b"new");
        assert!(fs.read("/to/moved/0/f0").unwrap() == bytes(0, 3000));
    });
}

#[test]
fn a_directory_replaces_an_empty_directory_only() {
    on_each(|fs| {
        fs.write("/from/f", "x").unwrap();
        fs.write("/full/g", "x").unwrap();
        fs.create_dir("/empty").unwrap();
        assert_fails!(fs.rename("/from", "/full"), DirectoryNotEmpty);
        fs.rename("/from", "/empty").unwrap();
        assert_eq!(fs.glob("/**").unwrap(), ["/empty/f", "/full/g"]);
    });
}

#[test]
fn kinds_do_not_replace_each_other() {
    on_each(|fs| {
        fs.write("/file", "x").unwrap();
        fs.create_dir("/dir").unwrap();
        assert_fails!(fs.rename("/file", "/dir"), IsADirectory);
        assert_fails!(fs.rename("/dir", "/file"), NotADirectory);
        assert!(fs.exists("/file") && fs.exists("/dir"));
    });
}

#[test]
fn a_directory_cannot_move_into_itself() {
    on_each(|fs| {
        fs.write("/a/b/f", "x").unwrap();
        assert_fails!(fs.rename("/a", "/a/c"), InvalidArgument);
        assert_fails!(fs.rename("/a", "/a/b/c"), InvalidArgument);
        assert_fails!(fs.rename("/a/b", "/a"), DirectoryNotEmpty);
        assert_fails!(fs.rename("/a/b/f", "/a"), DirectoryNotEmpty | IsADirectory);
        assert_eq!(fs.glob("/**").unwrap(), ["/a/b/f"]);
    });
}

#[test]
fn missing_sources_and_parents_are_not_found_and_none_is_made() {
    on_each(|fs| {
        fs.write("/f", "x").unwrap();
        assert_fails!(fs.rename("/nothing", "/g"), NotFound);
        assert_fails!(fs.rename("/f", "/no/parent"), NotFound);
        assert_fails!(fs.rename("/f/x", "/g"), NotADirectory);
        fs.write("/file", "y").unwrap();
        assert_fails!(fs.rename("/f", "/file/x"), NotADirectory);
        assert_eq!(fs.glob("/**").unwrap(), ["/f", "/file"]);
        assert!(!fs.exists("/no"));
    });
}

#[test]
fn onto_itself_nothing_happens() {
    on_each(|fs| {
        fs.write("/d/f", "x").unwrap();
        fs.rename("/d/f", "/d/f").unwrap();
        fs.rename("/d", "d/").unwrap();
        fs.rename("/d/f", "/d/./../d/f").unwrap();
        assert_eq!(fs.read("/d/f").unwrap(), b"x");
        assert_fails!(fs.rename("/nothing", "/nothing"), NotFound);
    });
}

#[test]
fn back_and_forth_many_times_loses_nothing() {
    on_each(|fs| {
        for i in 0..10 {
            fs.write(format!("/a/{i}"), bytes(i, 4000)).unwrap();
        }
        for _ in 0..100 {
            fs.rename("/a", "/b").unwrap();
            fs.rename("/b/3", "/b/x").unwrap();
            fs.rename("/b/x", "/b/3").unwrap();
            fs.rename("/b", "/a").unwrap();
        }
        for i in 0..10 {
            assert!(fs.read(format!("/a/{i}")).unwrap() == bytes(i, 4000));
        }
        assert_eq!(fs.read_dir("/").unwrap().count(), 1);
    });
}
