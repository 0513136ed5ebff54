//! Texts that are paths, and texts that are none.

use crate::{assert_fails, common::stores::on_each};
use memfs::{MemFs, OpenOptions, Priority, WriteOptions};

/// Every call that takes a path refuses this one as no path, and the store stays as it is.
fn refused_everywhere(fs: &MemFs, path: &str) {
    assert_fails!(fs.write(path, "x"), InvalidPath);
    assert_fails!(fs.write_with(path, "x", &WriteOptions::new()), InvalidPath);
    assert_fails!(fs.read(path), InvalidPath);
    assert_fails!(fs.read_to_string(path), InvalidPath);
    assert_fails!(fs.get(path), InvalidPath);
    assert_fails!(fs.read_with(path, |_| ()), InvalidPath);
    assert_fails!(fs.read_bytes(path), InvalidPath);
    assert_fails!(fs.read_at(path, &mut [0], 0), InvalidPath);
    assert_fails!(fs.write_at(path, b"x", 0), InvalidPath);
    assert_fails!(fs.append(path, b"x"), InvalidPath);
    assert_fails!(fs.set_len(path, 0), InvalidPath);
    assert_fails!(fs.remove_file(path), InvalidPath);
    assert_fails!(fs.rename(path, "/g"), InvalidPath);
    assert_fails!(fs.rename("/kept", path), InvalidPath);
    assert_fails!(fs.copy(path, "/g"), InvalidPath);
    assert_fails!(fs.copy("/kept", path), InvalidPath);
    assert_fails!(fs.metadata(path), InvalidPath);
    assert_fails!(fs.open(path), InvalidPath);
    assert_fails!(fs.create(path), InvalidPath);
    assert_fails!(fs.open_with(path, OpenOptions::new().read(true)), InvalidPath);
    assert_fails!(fs.create_dir(path), InvalidPath);
    assert_fails!(fs.create_dir_all(path), InvalidPath);
    assert_fails!(fs.remove_dir(path), InvalidPath);
    assert_fails!(fs.remove_dir_all(path), InvalidPath);
    assert_fails!(fs.read_dir(path), InvalidPath);
    assert_fails!(fs.walk(path), InvalidPath);
    assert_fails!(fs.set_priority(path, Priority::LOW), InvalidPath);
    assert_fails!(fs.priority(path), InvalidPath);
    assert_fails!(fs.preload(path), InvalidPath);
    assert!(!fs.exists(path));
    assert_eq!(fs.read("/kept").unwrap(), b"kept");
    assert_eq!(fs.read_dir("/").unwrap().count(), 1);
}

#[test]
fn texts_that_are_no_paths_are_refused_by_every_call() {
    on_each(|fs| {
        fs.write("/kept", "kept").unwrap();
        let long_name = format!("/{}", "n".repeat(256));
        let wide_name = format!("/{}", "ü".repeat(128));
        let long_path = "/abcdefgh".repeat(456);
        assert_eq!((wide_name.len(), long_path.len()), (257, 4104));
        for path in [
            "/..",
            "..",
            "/a/../..",
            "/../a",
            "../../etc/passwd",
            "\\..\\a",
            "/a/b/../../../c",
            "/nul\0inside",
            "\0",
            "/a/\0",
            &long_name,
            &format!("{long_name}/below"),
            &wide_name,
            &long_path,
        ] {
            refused_everywhere(fs, path);
        }
    });
}

#[test]
fn names_of_255_bytes_and_paths_of_4096_are_fine() {
    on_each(|fs| {
        let name = format!("/{}", "n".repeat(255));
        let wide = format!("/{}e", "ü".repeat(127));
        let path = name.repeat(16);
        assert_eq!((name.len(), wide.len(), path.len()), (256, 256, 4096));
        for path in [&name, &wide, &path] {
            fs.remove_dir_all(&name).ok();
            fs.write(path, "x").unwrap();
            assert_eq!(fs.read(path).unwrap(), b"x");
            assert_eq!(fs.glob("/**").unwrap().iter().filter(|found| *found == path).count(), 1);
            fs.remove_file(path).unwrap();
        }
        assert_fails!(fs.write(format!("{path}x"), "x"), InvalidPath);
        assert_fails!(fs.write(format!("{path}/x"), "x"), InvalidPath);
    });
}

#[test]
fn many_spellings_name_one_file() {
    on_each(|fs| {
        fs.write("/a/b/c", "one").unwrap();
        for path in [
            "a/b/c",
            "//a//b//c",
            "/a/./b/./c",
            "./a/b/c",
            "/a/x/../b/c",
            "/a/b/x/../c",
            "\\a\\b\\c",
            "a\\b/c",
            "/x/y/../../a/b/c",
            "/a/b/../b/c",
        ] {
            assert_eq!(fs.read(path).unwrap(), b"one", "{path:?}");
            assert!(fs.exists(path));
            assert_eq!(fs.metadata(path).unwrap().path(), "/a/b/c");
        }
        fs.write("\\a\\.\\b\\\\d", "two").unwrap();
        assert_eq!(fs.glob("/**").unwrap(), ["/a/b/c", "/a/b/d"]);
    });
}

#[test]
fn case_spaces_and_signs_make_different_names() {
    on_each(|fs| {
        let names = [
            "a",
            "A",
            " a",
            "a ",
            "...",
            "..a",
            "a.",
            "é",
            "e\u{301}",
            "\u{1F5FF}",
            "a\nb",
            "*",
            "[",
            "-rf",
            "~",
        ];
        for name in names {
            fs.write(format!("/{name}"), name).unwrap();
        }
        for name in names {
            assert_eq!(fs.read(format!("/{name}")).unwrap(), name.as_bytes(), "{name:?}");
        }
        assert_eq!(fs.read_dir("/").unwrap().count(), names.len());
    });
}

#[test]
fn a_trailing_slash_names_a_directory() {
    on_each(|fs| {
        fs.write("/d/f", "x").unwrap();
        assert!(fs.exists("/d/") && !fs.exists("/d/f/"));
        assert_eq!(fs.metadata("/d/").unwrap().path(), "/d");
        assert_eq!(fs.read_dir("/d//").unwrap().count(), 1);
        assert_fails!(fs.read("/d/f/"), NotADirectory);
        assert_fails!(fs.metadata("/d/f/"), NotADirectory);
        assert_fails!(fs.remove_file("/d/f/"), NotADirectory);
        assert_fails!(fs.write("/d/f/", "y"), NotADirectory | IsADirectory);
        assert_fails!(fs.write("/new/", "y"), IsADirectory | NotADirectory);
        assert_fails!(fs.create("/new/"), IsADirectory | NotADirectory);
        assert_fails!(fs.rename("/d/f", "/d/g/"), NotADirectory | IsADirectory);
        assert!(!fs.exists("/new"));
        assert_eq!(fs.read("/d/f").unwrap(), b"x");
        fs.create_dir("/e/").unwrap();
        fs.create_dir_all("/g/h/").unwrap();
        fs.rename("/e/", "/i/").unwrap();
        fs.remove_dir("/i/").unwrap();
        fs.remove_dir_all("/g/").unwrap();
    });
}

#[test]
fn the_empty_path_is_the_root_or_no_path_but_never_a_file() {
    on_each(|fs| {
        for path in ["", ".", "./", "a/..", "//"] {
            assert!(fs.write(path, "x").is_err(), "{path:?}");
            assert!(fs.read(path).is_err() && fs.remove_file(path).is_err() && fs.remove_dir(path).is_err());
            assert_eq!(fs.exists(path), fs.metadata(path).is_ok(), "{path:?}");
        }
        assert!(fs.exists("/"));
    });
}

#[test]
fn bad_patterns_and_long_ones_end_in_an_answer() {
    on_each(|fs| {
        fs.write("/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "x").unwrap();
        assert_fails!(fs.glob("/["), InvalidArgument | InvalidPath);
        assert_fails!(fs.glob("/{"), InvalidArgument | InvalidPath);
        // Patterns that make a backtracking matcher take forever.
        assert!(fs.glob(format!("/{}b", "a*".repeat(30))).unwrap().is_empty());
        assert!(fs.glob(format!("{}/b", "/**".repeat(30))).unwrap().is_empty());
        // Too much to compile, or compiled and matched: either is an answer.
        drop(fs.glob("/{a,b}".repeat(200)));
        drop(fs.glob("/a".repeat(50_000)));
        drop(fs.glob("\0"));
        drop(fs.glob(""));
        drop(fs.glob("/../*"));
    });
}
