//! read_dir and walk.

use crate::{assert_fails, common::stores::on_each};
use memfs::{DirEntry, FileKind};

fn show(entry: &DirEntry) -> (String, String, FileKind) {
    (entry.file_name().to_owned(), entry.path().to_owned(), entry.kind())
}

#[test]
fn read_dir_lists_the_children_sorted_by_name() {
    on_each(|fs| {
        for name in ["zebra", "a", "B", "ä", "a.txt", "a b", "0"] {
            fs.write(format!("/d/{name}"), "x").unwrap();
        }
        fs.write("/d/sub/below", "x").unwrap();
        let names: Vec<String> =
            fs.read_dir("/d").unwrap().map(|entry| entry.file_name().to_owned()).collect();
        assert_eq!(names, ["0", "B", "a", "a b", "a.txt", "sub", "zebra", "ä"]);
        let sub = fs.read_dir("/d").unwrap().find(|entry| entry.file_name() == "sub").unwrap();
        assert_eq!(show(&sub), ("sub".into(), "/d/sub".into(), FileKind::Directory));
        let file = fs.read_dir("d/").unwrap().next().unwrap();
        assert_eq!(show(&file), ("0".into(), "/d/0".into(), FileKind::File));
    });
}

#[test]
fn read_dir_of_the_root_and_of_what_is_no_directory() {
    on_each(|fs| {
        assert_eq!(fs.read_dir("/").unwrap().count(), 0);
        fs.write("/f", "x").unwrap();
        assert!(fs.read_dir("/").unwrap().map(|entry| entry.path().to_owned()).eq(["/f"]));
        assert_fails!(fs.read_dir("/f"), NotADirectory);
        assert_fails!(fs.read_dir("/f/g"), NotADirectory);
        assert_fails!(fs.read_dir("/nothing"), NotFound);
    });
}

#[test]
fn walk_goes_depth_first_through_everything_once() {
    on_each(|fs| {
        for path in ["/w/a/1", "/w/a/2", "/w/a/x/3", "/w/b/4", "/w/5", "/other/6"] {
            fs.write(path, "x").unwrap();
        }
        fs.create_dir("/w/empty").unwrap();
        let found: Vec<(String, FileKind)> = fs
            .walk("/w")
            .unwrap()
            .map(|entry| {
                assert_eq!(entry.path().rsplit('/').next(), Some(entry.file_name()));
                (entry.path().to_owned(), entry.kind())
            })
            .filter(|(path, _)| path != "/w")
            .collect();
        let at = |path: &str| {
            found.iter().position(|(found, _)| found == path).unwrap_or_else(|| panic!("{path}"))
        };
        assert_eq!(found.len(), 9);
        for (dir, below) in [("/w/a", 4), ("/w/a/x", 1), ("/w/b", 1)] {
            let mut places: Vec<usize> = found
                .iter()
                .enumerate()
                .filter(|(_, (path, _))| path.starts_with(&format!("{dir}/")))
                .map(|(place, _)| place)
                .collect();
            assert_eq!(places.len(), below);
            places.push(at(dir));
            let (low, high) = (places.iter().min().unwrap(), places.iter().max().unwrap());
            assert_eq!(high - low, below, "{dir} is torn apart: {found:?}");
        }
        assert_eq!(found[at("/w/empty")].1, FileKind::Directory);
        assert_eq!(found[at("/w/a/x/3")].1, FileKind::File);
    });
}

#[test]
fn walk_wants_something_to_walk() {
    on_each(|fs| {
        assert_fails!(fs.walk("/nothing"), NotFound);
        assert_eq!(fs.walk("/").unwrap().filter(|entry| entry.path() != "/").count(), 0);
        fs.create_dir("/d").unwrap();
        assert_eq!(fs.walk("/d").unwrap().filter(|entry| entry.path() != "/d").count(), 0);
    });
}

#[test]
fn a_listing_under_way_outlives_what_it_lists() {
    on_each(|fs| {
        for i in 0..100 {
            fs.write(format!("/d/{i:03}"), "x").unwrap();
        }
        let mut entries = fs.read_dir("/d").unwrap();
        let mut walk = fs.walk("/d").unwrap();
        entries.next().unwrap();
        walk.next().unwrap();
        fs.remove_dir_all("/d").unwrap();
        assert!(entries.count() <= 99 && walk.count() <= 100);
    });
}
