//! glob.

use crate::{assert_fails, common::stores::on_each};

#[track_caller]
fn finds(fs: &memfs::MemFs, pattern: &str, expected: &[&str]) {
    assert_eq!(fs.glob(pattern).unwrap(), expected, "{pattern}");
}

#[test]
fn every_form_of_a_pattern_finds_what_it_says() {
    on_each(|fs| {
        for path in
            ["/a.txt", "/b.txt", "/c.md", "/d/a.txt", "/d/e/a.txt", "/d/e/f.md", "/x1", "/x2", "/x22", "/x-"]
        {
            fs.write(path, "x").unwrap();
        }
        fs.create_dir_all("/dir.txt").unwrap();
        finds(fs, "/*.txt", &["/a.txt", "/b.txt"]);
        finds(fs, "*.txt", &["/a.txt", "/b.txt"]);
        finds(fs, "/*", &["/a.txt", "/b.txt", "/c.md", "/x-", "/x1", "/x2", "/x22"]);
        finds(fs, "/x?", &["/x-", "/x1", "/x2"]);
        finds(fs, "/x[0-9]", &["/x1", "/x2"]);
        finds(fs, "/x[!0-9]", &["/x-"]);
        finds(fs, "/x[2-]", &["/x-", "/x2"]);
        finds(fs, "/{a,c}.{txt,md}", &["/a.txt", "/c.md"]);
        finds(fs, "/d/*", &["/d/a.txt"]);
        finds(fs, "/d/*/*", &["/d/e/a.txt", "/d/e/f.md"]);
        finds(fs, "/*/a.txt", &["/d/a.txt"]);
        finds(fs, "/d/e/f.md", &["/d/e/f.md"]);
        finds(fs, "/nothing*", &[]);
        finds(fs, "/d", &[]);
        finds(fs, "/d/e", &[]);
    });
}

#[test]
fn two_stars_match_any_number_of_directories_none_included() {
    on_each(|fs| {
        for path in ["/a", "/d/a", "/d/e/a", "/d/e/f/a", "/d/e/f/b"] {
            fs.write(path, "x").unwrap();
        }
        finds(fs, "/**/a", &["/a", "/d/a", "/d/e/a", "/d/e/f/a"]);
        finds(fs, "**/a", &["/a", "/d/a", "/d/e/a", "/d/e/f/a"]);
        finds(fs, "/d/**/a", &["/d/a", "/d/e/a", "/d/e/f/a"]);
        finds(fs, "/d/**", &["/d/a", "/d/e/a", "/d/e/f/a", "/d/e/f/b"]);
        finds(fs, "/d/**/f/*", &["/d/e/f/a", "/d/e/f/b"]);
        finds(fs, "/**", &["/a", "/d/a", "/d/e/a", "/d/e/f/a", "/d/e/f/b"]);
    });
}

#[test]
fn results_are_sorted_by_full_path() {
    on_each(|fs| {
        for path in ["/b/z", "/a", "/b/a", "/a-", "/b-/x", "/c"] {
            fs.write(path, "x").unwrap();
        }
        let found = fs.glob("/**").unwrap();
        assert!(found.is_sorted(), "{found:?}");
        assert_eq!(found.len(), 6);
    });
}

#[test]
fn patterns_that_are_none_are_refused() {
    on_each(|fs| {
        fs.write("/a", "x").unwrap();
        for pattern in ["/[", "/[a", "/{a,b", "/a]{", "/[z-a]"] {
            assert_fails!(fs.glob(pattern), InvalidArgument | InvalidPath);
        }
    });
}

#[test]
fn a_name_with_special_characters_is_found_by_an_escaped_pattern() {
    on_each(|fs| {
        for path in ["/[x]", "/a*b", "/q?"] {
            fs.write(path, "x").unwrap();
        }
        finds(fs, "/[[]x[]]", &["/[x]"]);
        finds(fs, "/a[*]b", &["/a*b"]);
        finds(fs, "/q[?]", &["/q?"]);
    });
}
