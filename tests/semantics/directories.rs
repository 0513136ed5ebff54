//! create_dir, create_dir_all, remove_dir, remove_dir_all.

use crate::{
    assert_fails,
    common::{rng::bytes, stores::on_each},
};

#[test]
fn create_dir_wants_its_parent_and_a_free_name() {
    on_each(|fs| {
        assert_fails!(fs.create_dir("/a/b"), NotFound);
        fs.create_dir("/a").unwrap();
        fs.create_dir("/a/b").unwrap();
        assert_fails!(fs.create_dir("/a"), AlreadyExists);
        assert_fails!(fs.create_dir("/"), AlreadyExists);
        fs.write("/a/f", "x").unwrap();
        assert_fails!(fs.create_dir("/a/f"), AlreadyExists);
        assert_fails!(fs.create_dir("/a/f/d"), NotADirectory);
        assert!(fs.exists("/a/b"));
    });
}

#[test]
fn create_dir_all_makes_what_is_missing_and_minds_only_files() {
    on_each(|fs| {
        fs.create_dir_all("/a/b/c/d").unwrap();
        fs.create_dir_all("/a/b/c/d").unwrap();
        fs.create_dir_all("/a/b/e").unwrap();
        fs.create_dir_all("/").unwrap();
        fs.write("/a/f", "x").unwrap();
        assert_fails!(fs.create_dir_all("/a/f"), AlreadyExists | NotADirectory);
        assert_fails!(fs.create_dir_all("/a/f/g/h"), NotADirectory);
        assert_eq!(fs.read("/a/f").unwrap(), b"x");
    });
}

#[test]
fn remove_dir_wants_an_empty_directory() {
    on_each(|fs| {
        fs.write("/a/b/f", "x").unwrap();
        assert_fails!(fs.remove_dir("/a"), DirectoryNotEmpty);
        assert_fails!(fs.remove_dir("/a/b"), DirectoryNotEmpty);
        assert_fails!(fs.remove_dir("/a/b/f"), NotADirectory);
        assert_fails!(fs.remove_dir("/nothing"), NotFound);
        assert_fails!(fs.remove_dir("/a/b/f/g"), NotADirectory);
        assert_eq!(fs.read("/a/b/f").unwrap(), b"x");
        fs.remove_file("/a/b/f").unwrap();
        fs.remove_dir("/a/b").unwrap();
        fs.remove_dir("/a").unwrap();
        assert!(!fs.exists("/a"));
        assert_fails!(fs.create_dir("/a/b"), NotFound);
        fs.write("/a/b/f", "again").unwrap();
        assert_eq!(fs.read("/a/b/f").unwrap(), b"again");
    });
}

#[test]
fn remove_dir_all_takes_everything_below_and_nothing_beside() {
    on_each(|fs| {
        for i in 0..30 {
            fs.write(format!("/a/{}/{}/f{i}", i % 3, i % 2), bytes(i, 5000)).unwrap();
        }
        fs.write("/ab", "beside").unwrap();
        fs.write("/b/a/f", "beside").unwrap();
        assert_fails!(fs.remove_dir_all("/ab"), NotADirectory);
        assert_fails!(fs.remove_dir_all("/nothing"), NotFound);
        fs.remove_dir_all("/a").unwrap();
        assert!(!fs.exists("/a") && !fs.exists("/a/0/0/f0"));
        assert_eq!(fs.glob("/**").unwrap(), ["/ab", "/b/a/f"]);
        fs.create_dir("/a").unwrap();
        assert_eq!(fs.read_dir("/a").unwrap().count(), 0);
    });
}

#[test]
fn the_root_is_always_there() {
    on_each(|fs| {
        fs.write("/f", "x").unwrap();
        assert!(fs.remove_dir("/").is_err());
        assert!(fs.rename("/", "/a").is_err() && fs.rename("/f", "/").is_err());
        assert!(fs.remove_file("/").is_err() && fs.write("/", "x").is_err());
        assert_eq!(fs.read("/f").unwrap(), b"x");
        fs.remove_file("/f").unwrap();
        assert!(fs.remove_dir("/").is_err());
        assert!(fs.exists("/") && fs.metadata("/").unwrap().kind() == memfs::FileKind::Directory);
        fs.write("/g", "x").unwrap();
        assert_eq!(fs.glob("/*").unwrap(), ["/g"]);
    });
}

#[test]
fn a_directory_holds_thousands_of_entries_and_empties_again() {
    on_each(|fs| {
        for i in 0..2000 {
            fs.write(format!("/d/{i}"), "").unwrap();
        }
        assert_eq!(fs.read_dir("/d").unwrap().count(), 2000);
        for i in (0..2000).step_by(2) {
            fs.remove_file(format!("/d/{i}")).unwrap();
        }
        for i in 0..500 {
            fs.create_dir(format!("/d/x{i}")).unwrap();
        }
        assert_eq!(fs.read_dir("/d").unwrap().count(), 1500);
        assert_fails!(fs.remove_dir("/d"), DirectoryNotEmpty);
        for i in (1..2000).step_by(2) {
            fs.remove_file(format!("/d/{i}")).unwrap();
        }
        for i in 0..500 {
            fs.remove_dir(format!("/d/x{i}")).unwrap();
        }
        fs.remove_dir("/d").unwrap();
    });
}

#[test]
fn a_thousand_levels_are_written_moved_and_removed() {
    let fs = crate::common::stores::tiny().build().unwrap();
    let path = format!("{}/f", "/d".repeat(1000));
    fs.write(&path, "deep").unwrap();
    assert_eq!(fs.read(&path).unwrap(), b"deep");
    fs.rename("/d/d", "/e").unwrap();
    assert_eq!(fs.read(format!("/e{}/f", "/d".repeat(998))).unwrap(), b"deep");
    fs.remove_dir_all("/e").unwrap();
    assert!(fs.read_dir("/").unwrap().map(|entry| entry.path().to_owned()).eq(["/d"]));
    crate::common::stores::validate(&fs);
}

#[test]
fn deep_trees_are_walked_and_searched() {
    on_each(|fs| {
        let path = format!("{}/f", "/d".repeat(300));
        fs.write(&path, "deep").unwrap();
        assert_eq!(fs.glob("/**/f").unwrap(), [path.as_str()]);
        assert_eq!(fs.walk("/").unwrap().filter(|entry| entry.path() != "/").count(), 301);
    });
}
