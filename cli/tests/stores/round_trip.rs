//! What goes in comes out.

use super::*;
use std::{fs::File, time::SystemTime};

/// Names and lengths of many kinds, longer than the memory limit among them.
fn source(root: &Path) {
    let write = |name: &str, contents: &[u8]| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, contents).expect("a file");
    };
    for index in 0..200 {
        write(&format!("d{}/e{}/f{index}.rs", index % 5, index % 3), &bytes(index, index as usize * 37));
    }
    for (name, len) in [("one", MIB), ("more", MIB + 1), ("less", MIB - 1), ("four", 4 * MIB)] {
        write(&format!("long/{name}.bin"), &bytes(len as u64, len));
    }
    let mut holes = vec![0; 5 * MIB];
    holes[2 * MIB..3 * MIB].copy_from_slice(&bytes(7, MIB));
    write("long/holes", &holes);
    write("empty", b"");
    write("names/ü — 名前 with blanks", b"umlaut");
    write("names/line\nbreak", b"break");
    write("names/.hidden", b"hidden");
    fs::create_dir_all(root.join("nothing/at/all")).expect("directories");
}

#[test]
fn what_was_imported_is_listed_read_and_exported_as_it_was() {
    let home = Home::new();
    let (source_dir, store, target) = (home.at("source"), home.store(), home.at("target/made/on/the/way"));
    source(&source_dir);
    let limited: &[&dyn AsRef<OsStr>] = &[&"--memory-limit", &"1MiB"];
    ok(&run("import", &[&[&source_dir as &dyn AsRef<OsStr>, &store], limited].concat()));

    let expected = tree(&source_dir);
    let mut names: Vec<_> = expected
        .iter()
        .map(|(path, contents)| {
            format!("/{}{}", path.to_str().expect("UTF-8"), if contents.is_some() { "" } else { "/" })
        })
        .collect();
    let listed = json(&run("ls", &[&store, &"-R", &"--json"]));
    let mut found: Vec<_> = listed["entries"].as_array().expect("a list").iter().map(spelled).collect();
    names.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, names);

    let globbed = ok(&run("glob", &[&store, &"/d*/**/f1?.rs"]));
    let mut wanted: Vec<_> = (10..20).map(|i| format!("/d{}/e{}/f{i}.rs\n", i % 5, i % 3)).collect();
    wanted.sort_unstable();
    assert_eq!(globbed, wanted.concat());

    let four = &expected[Path::new("long/four.bin")].clone().expect("a file");
    let known = json(&run("stat", &[&store, &"/long/four.bin", &"--json"]));
    assert_eq!(number(&known["entries"][0], "len"), four.len() as u64);
    let read =
        run("cat", &[&[&store as &dyn AsRef<OsStr>, &"/long/four.bin", &"/names/.hidden"], limited].concat());
    assert_eq!((read.status.code(), read.stdout == [four, &b"hidden"[..]].concat()), (Some(0), true));

    ok(&run("export", &[&[&store as &dyn AsRef<OsStr>, &target], limited].concat()));
    assert!(tree(&target) == expected, "{:?}", tree(&target).keys());
}

fn spelled(entry: &Value) -> String {
    let slash = if entry["kind"] == "directory" { "/" } else { "" };
    format!("{}{slash}", entry["path"].as_str().expect("a path"))
}

#[test]
fn listings_are_sorted_and_tell_directories() {
    let home = Home::with(&[("/b/c/d", b"1"), ("/a", b"22"), ("/b/a", b"")]);
    let store = home.store();
    assert_eq!(ok(&run("ls", &[&store])), "a\nb/\n");
    assert_eq!(ok(&run("ls", &[&store, &"b"])), "a\nc/\n");
    assert_eq!(ok(&run("ls", &[&store, &"/b/c/d"])), "d\n");
    assert_eq!(ok(&run("ls", &[&store, &"-R"])), "/a\n/b/\n/b/a\n/b/c/\n/b/c/d\n");
    let long = ok(&run("ls", &[&store, &"-l"]));
    let lines: Vec<Vec<&str>> = long.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((&lines[0][..4], lines[0][5]), (&["f", "5", "disk", "2"][..], "a"), "{long}");
    assert_eq!((&lines[1][..4], lines[1][5]), (&["d", "-", "-", "-"][..], "b/"), "{long}");
    let stat = ok(&run("stat", &[&store, &"/b/a", &"/b"]));
    assert!(stat.contains("path      /b/a\nkind      file\nlength    0 bytes\n"), "{stat}");
    assert!(stat.contains("path      /b\nkind      directory\ncreated   20"), "{stat}");
    assert!(ok(&run("stats", &[&store])).contains("2 directories"));
    assert_eq!(ok(&run("glob", &[&store, &"/nothing/*"])), "", "no match is no failure");
}

#[test]
fn an_export_has_the_modification_times_of_the_store() {
    let home = Home::with(&[("/f", b"contents")]);
    let known = json(&run("stat", &[&home.store(), &"/f", &"--json"]));
    let known = known["entries"][0]["modified"].as_str().expect("a time").to_owned();
    ok(&run("export", &[&home.store(), &home.at("target")]));
    let exported = File::open(home.at("target/f")).and_then(|f| f.metadata()?.modified()).expect("a time");
    let exported = exported.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    // The second within the minute and the nanosecond within that are the same in every time zone.
    let expected = format!("{:02}.{:09}Z", exported.as_secs() % 60, exported.subsec_nanos());
    assert!(known.ends_with(&expected), "{known}, {expected}");
}
