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

#[test]
fn a_flipped_byte_anywhere_is_told_or_harmless() {
    let (disk, files) = sample();
    for name in names(&disk) {
        let good = disk.contents(&path(&name)).expect("it is listed");
        // Every byte of what is small; of segments, those of the used part.
        let used = good.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let step = if name.ends_with(".seg") { 97 } else { 5 };
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
        for len in (0..good.len()).step_by(good.len() / 40 + 1) {
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
