//! metadata: every field.

use crate::{
    assert_fails,
    common::{
        rng::bytes,
        stores::{on_each, roomy, validate},
    },
};
use memfs::{FileKind, Location, Priority};
use std::time::{Duration, SystemTime};

#[test]
fn a_file_says_its_path_kind_length_and_priority() {
    on_each(|fs| {
        fs.write("/d/f", bytes(1, 5000)).unwrap();
        let metadata = fs.metadata("d//f").unwrap();
        assert_eq!(metadata.path(), "/d/f");
        assert_eq!((metadata.kind(), metadata.len()), (FileKind::File, 5000));
        assert_eq!(
            (metadata.priority(), metadata.effective_priority()),
            (Priority::NORMAL, Priority::NORMAL)
        );
        assert_eq!(metadata.access_count(), 0);
    });
}

#[test]
fn a_directory_says_that_it_is_one() {
    on_each(|fs| {
        fs.write("/d/f", "x").unwrap();
        for (given, path) in [("/d", "/d"), ("/d/", "/d"), ("/", "/")] {
            let metadata = fs.metadata(given).unwrap();
            assert_eq!((metadata.path(), metadata.kind()), (path, FileKind::Directory));
        }
        assert_fails!(fs.metadata("/nothing"), NotFound);
        assert_fails!(fs.metadata("/d/f/g"), NotADirectory);
    });
}

#[test]
fn reads_are_counted_exactly_to_64() {
    on_each(|fs| {
        fs.write("/f", bytes(1, 10_000)).unwrap();
        for i in 1..=64 {
            match i % 5 {
                0 => drop(fs.read("/f").unwrap()),
                1 => drop(fs.get("/f").unwrap()),
                2 => fs.read_with("/f", |_| ()).unwrap(),
                3 => drop(fs.read_bytes("/f").unwrap()),
                _ => drop(fs.read_at("/f", &mut [0; 8], 0).unwrap()),
            }
            assert_eq!(fs.metadata("/f").unwrap().access_count(), i);
        }
    });
}

#[test]
fn beyond_64_the_count_is_an_estimate() {
    let fs = roomy().build().unwrap();
    fs.write("/f", "x").unwrap();
    let reads = 20_000;
    for _ in 0..reads {
        fs.read_with("/f", |_| ()).unwrap();
    }
    let counted = fs.metadata("/f").unwrap().access_count();
    assert!((reads / 2..reads * 2).contains(&counted), "{counted} counted of {reads}");
    validate(&fs);
}

#[test]
fn asking_is_not_reading() {
    on_each(|fs| {
        fs.write("/f", "x").unwrap();
        for _ in 0..10 {
            fs.metadata("/f").unwrap();
            assert!(fs.exists("/f"));
            fs.read_dir("/").unwrap().for_each(drop);
            fs.priority("/f").unwrap();
        }
        assert_eq!(fs.metadata("/f").unwrap().access_count(), 0);
    });
}

#[test]
fn times_say_when_it_was_made_changed_and_read() {
    on_each(|fs| {
        let slack = Duration::from_secs(1);
        let before = SystemTime::now() - slack;
        fs.write("/f", "x").unwrap();
        let made = fs.metadata("/f").unwrap();
        assert!(made.created() >= before && made.modified() >= made.created());
        std::thread::sleep(Duration::from_millis(60));
        fs.append("/f", b"y").unwrap();
        let changed = fs.metadata("/f").unwrap();
        assert_eq!(changed.created(), made.created());
        assert!(changed.modified() > made.modified());
        std::thread::sleep(Duration::from_millis(60));
        fs.read("/f").unwrap();
        fs.set_priority("/f", Priority::HIGH).unwrap();
        let read = fs.metadata("/f").unwrap();
        assert_eq!(read.modified(), changed.modified());
        assert!(read.accessed() >= made.accessed());
        assert!(read.accessed() <= SystemTime::now() + slack && read.modified() <= SystemTime::now() + slack);
    });
}

#[test]
fn location_says_where_the_bytes_are() {
    on_each(|fs| {
        for len in [100, 20_000] {
            fs.write("/f", bytes(1, len)).unwrap();
            assert_ne!(fs.metadata("/f").unwrap().location(), Location::Disk);
            fs.gc(0.0).unwrap();
            assert_eq!(fs.metadata("/f").unwrap().location(), Location::Disk);
            assert!(fs.memory_map().is_empty());
            fs.preload("/f").unwrap().wait().unwrap();
            assert_ne!(fs.metadata("/f").unwrap().location(), Location::Disk);
            let map = fs.memory_map();
            assert_eq!(map.len(), 1);
            assert_eq!((map[0].path(), map[0].len()), ("/f", len as u64));
        }
    });
}

#[test]
fn the_memory_map_has_resident_files_only() {
    on_each(|fs| {
        for i in 0..20 {
            fs.write(format!("/d/{i}"), bytes(i, 3000)).unwrap();
        }
        fs.gc(0.0).unwrap();
        for i in 0..5 {
            fs.preload(format!("/d/{i}")).unwrap().wait().unwrap();
        }
        fs.remove_file("/d/4").unwrap();
        let mut paths: Vec<String> = fs.memory_map().iter().map(|file| file.path().to_owned()).collect();
        paths.sort();
        assert_eq!(paths, ["/d/0", "/d/1", "/d/2", "/d/3"]);
        assert!(fs.memory_map().iter().all(|file| file.kind() == FileKind::File));
    });
}
