//! Damage on disk: each read gives the exact bytes or a typed error; nothing panics.

use super::*;

/// A small closed store, and what is in it.
fn sample() -> (CrashDisk, Vec<(String, Vec<u8>)>) {
    let disk = CrashDisk::new();
    let store = open(&disk, builder()).expect("a disk that works");
    let mut files = Vec::new();
    for number in 0..12_u64 {
        let (path, data) = (format!("/d{}/f{number}", number % 3), bytes(number, (number * 700) as usize));
        store.write(&path, &data).expect("room");
        files.push((path, data));
        if number % 4 == 0 {
            store.sync().expect("a disk that works");
        }
    }
    let long = bytes(99, 50_000);
    store.write("/long", &long).expect("room");
    files.push(("/long".to_owned(), long));
    store.close().expect("a disk that works");
    (disk.image(), files)
}

/// Opens the damaged store: whatever it shows of a file is what was written, at some time.
fn look(disk: &CrashDisk, files: &[(String, Vec<u8>)], what: &str) {
    let Ok(store) = open(disk, builder()) else { return };
    let Ok(found) = readable(&store) else { return };
    for (path, data) in found {
        let Some(data) = data else { continue };
        let written = files.iter().find(|(written, _)| *written == path);
        assert!(written.is_some_and(|(_, written)| *written == data), "{what}: {path} reads wrong");
    }
    let _ = store.close();
}

fn names(disk: &CrashDisk) -> Vec<String> {
    use crate::segment::Disk;
    disk.list(Path::new(DIR)).expect("a directory")
}

/// Whether every place is to be harmed, which takes a while: `MEMFS_EVERY_BYTE=1`.
fn is_thorough() -> bool {
    std::env::var_os("MEMFS_EVERY_BYTE").is_some()
}

#[test]
fn a_flipped_byte_anywhere_is_told_or_harmless() {
    let (disk, files) = sample();
    for name in names(&disk) {
        let good = disk.contents(&path(&name)).expect("it is listed");
        // Of the used part.
        let used = good.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let step = if is_thorough() {
            1
        } else if name.ends_with(".seg") {
            97
        } else {
            5
        };
        for at in (0..used).step_by(step) {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            let damaged = disk.image();
            damaged.put(&path(&name), bad);
            look(&damaged, &files, &format!("{name}, byte {at}"));
        }
    }
}

#[test]
fn a_file_cut_short_or_missing_or_longer_is_told_or_harmless() {
    let (disk, files) = sample();
    for name in names(&disk) {
        let good = disk.contents(&path(&name)).expect("it is listed");
        let step = if is_thorough() { 1 } else { good.len() / 40 + 1 };
        // Behind the used part there is nothing to tell one length from another.
        let used = good.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 513).min(good.len());
        let behind = (used..good.len()).step_by(good.len() / 40 + 1);
        for len in (0..used).step_by(step).chain(behind) {
            let damaged = disk.image();
            damaged.put(&path(&name), good[..len].to_vec());
            look(&damaged, &files, &format!("{name}, cut to {len}"));
        }
        let damaged = disk.image();
        damaged.take(&path(&name));
        look(&damaged, &files, &format!("{name}, gone"));
        let damaged = disk.image();
        damaged.put(&path(&name), [&good[..], &bytes(5, 5000)].concat());
        look(&damaged, &files, &format!("{name}, with garbage behind"));
    }
}

#[test]
fn the_error_of_a_damaged_journal_or_checkpoint_names_the_file_and_no_segment() {
    let (disk, _) = sample();
    for name in names(&disk).into_iter().filter(|name| !name.ends_with(".seg")) {
        let damaged = disk.image();
        let mut contents = disk.contents(&path(&name)).expect("it is listed");
        contents[20] ^= 1;
        damaged.put(&path(&name), contents);
        let error = open(&damaged, builder()).expect_err("a header that does not verify");
        assert!(matches!(error, Error::Corrupt { segment: Error::NO_SEGMENT, .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&name) && !text.contains("segment"), "{text}");
    }
}

/// Contents of one byte repeated would be found in more places than their own.
fn place_of(disk: &CrashDisk, data: &[u8]) -> (String, usize) {
    let segments = names(disk).into_iter().filter(|name| name.ends_with(".seg"));
    let mut found = segments.filter_map(|name| {
        let contents = disk.contents(&path(&name)).expect("it is listed");
        let at = contents.windows(data.len()).position(|window| window == data)?;
        Some((name, at))
    });
    found.next().expect("it is in a segment")
}

#[test]
fn compaction_goes_on_behind_what_cannot_be_read() {
    let builder = || builder().segment_size(64 << 10);
    let disk = CrashDisk::new();
    let store = open(&disk, builder()).expect("a disk that works");
    let file = |number: u64| format!("/f{number:03}");
    for number in 0..200 {
        store.write(file(number), bytes(number, 3_000)).expect("room");
    }
    store.close().expect("a disk that works");
    // The first of each segment that stays: what is met first there.
    let stays = |number: u64| number.is_multiple_of(8);
    let mut damaged = Vec::new();
    let mut harmed = std::collections::HashSet::new();
    for number in (0..200).filter(|number| stays(*number)) {
        let (name, at) = place_of(&disk, &bytes(number, 3_000)[..64]);
        if harmed.len() < 3 && harmed.insert(name.clone()) {
            let mut contents = disk.contents(&path(&name)).expect("it is listed");
            contents[at] ^= 1;
            disk.put(&path(&name), contents);
            damaged.push(number);
        }
    }
    let store = open(&disk, builder()).expect("names are whole");
    let segments = || names(&disk).iter().filter(|name| name.ends_with(".seg")).count();
    let before = segments();
    for number in (0..200).filter(|number| !stays(*number)) {
        store.remove_file(file(number)).expect("it is there");
    }
    // Each flush empties some.
    for round in 0..20 {
        store.write("/again", bytes(round, 10)).expect("room");
        store.sync().expect("a disk that works");
    }
    let after = segments();
    // Those that are damaged, one for fresh and one for moved bytes, spares.
    assert!(before >= 10 && after <= 7, "{after} segments of {before} are left for an eighth of the bytes");
    for number in (0..200).filter(|number| stays(*number)) {
        match store.read(file(number)) {
            Err(Error::Corrupt { .. }) => assert!(damaged.contains(&number), "{number} came to harm"),
            found => assert!(found.expect("readable") == bytes(number, 3_000), "{number} reads wrong"),
        }
    }
    store.validate();
    store.close().expect("a disk that works");
}
