//! Entries that are there throughout are listed exactly once, whatever comes and goes around them.

mod common;

use common::{alarm::Alarm, rng::Rng, stores::validate};
use memfs::{FileKind, MemFs};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
};

const STABLE: u64 = 120;
const ROUNDS: usize = 60;
const CHURNERS: u64 = 2;

fn stable_file(i: u64) -> String {
    match i % 3 {
        0 => format!("/d/stable{i:03}"),
        1 => format!("/d/sub/stable{i:03}"),
        _ => format!("/d/sub/deep/stable{i:03}"),
    }
}

fn churn(fs: &MemFs, seed: u64, listing: &AtomicUsize, alarm: &Alarm) {
    let mut rng = Rng::varied(seed);
    let dirs = ["/d", "/d/sub", "/d/sub/deep"];
    while listing.load(SeqCst) > 0 && !alarm.is_raised() {
        let i = rng.below(25);
        let dir = *rng.pick(&dirs);
        let other = *rng.pick(&dirs);
        // Names that sort before, between and after those that stay.
        let name = format!("{dir}/{}{seed}-{i}", rng.pick(&["a", "stable05", "z"]));
        match rng.below(8) {
            0..=2 => fs.write(&name, "comes and goes").unwrap(),
            3 => drop(fs.remove_file(&name)),
            4 => drop(fs.rename(&name, format!("{other}/moved{seed}-{i}"))),
            5 => {
                fs.create_dir_all(format!("{dir}/dir{seed}-{i}/below")).unwrap();
                fs.write(format!("{dir}/dir{seed}-{i}/below/f"), "x").unwrap();
            }
            6 => {
                drop(fs.rename(format!("{dir}/dir{seed}-{i}"), format!("{other}/dir{seed}-{}", i + 1)));
                drop(fs.remove_dir_all(format!("{other}/dir{seed}-{i}")));
            }
            _ => {
                // What stays may change in every other way.
                let stays = stable_file(rng.below(STABLE));
                fs.write(&stays, vec![1; rng.below(3000) as usize]).unwrap();
                fs.append(&stays, b"more").unwrap();
                if rng.one_in(10) {
                    fs.gc(0.1).unwrap();
                }
            }
        }
    }
}

#[track_caller]
fn once_each<'a>(found: impl Iterator<Item = &'a str>, expected: &[String], how: &str) {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for path in found {
        *times.entry(path).or_default() += 1;
    }
    for path in expected {
        assert_eq!(times.get(path.as_str()), Some(&1), "{how}: {path}");
    }
    assert!(times.values().all(|&n| n == 1), "{how}: something is listed twice: {times:?}");
}

fn list(fs: &MemFs) {
    let all: Vec<String> = (0..STABLE).map(stable_file).collect();
    let top: Vec<String> = all.iter().filter(|path| path.matches('/').count() == 2).cloned().collect();
    let entries: Vec<_> = fs.read_dir("/d").unwrap().collect();
    assert!(entries.is_sorted_by(|a, b| a.file_name() < b.file_name()));
    let sub = entries.iter().find(|entry| entry.path() == "/d/sub").expect("a directory that stays");
    assert_eq!(sub.kind(), FileKind::Directory);
    once_each(entries.iter().map(|entry| entry.path()), &top, "read_dir");

    let walked: Vec<_> = fs.walk("/d").unwrap().collect();
    let staying =
        walked.iter().filter(|entry| entry.file_name().len() == 9 && entry.file_name().starts_with("stable"));
    assert!(staying.clone().all(|entry| entry.kind() == FileKind::File));
    let found: Vec<&str> = staying.map(|entry| entry.path()).collect();
    once_each(found.into_iter(), &all, "walk");

    let globbed = fs.glob("/d/**/stable???").unwrap();
    assert!(globbed.is_sorted());
    once_each(globbed.iter().map(String::as_str), &all, "glob");
}

fn run(fs: &MemFs) {
    for i in 0..STABLE {
        fs.write(stable_file(i), "stays").unwrap();
    }
    let (listing, alarm) = (AtomicUsize::new(2), Alarm::default());
    thread::scope(|scope| {
        let (listing, alarm) = (&listing, &alarm);
        for churner in 0..CHURNERS {
            scope.spawn(move || {
                let _guard = alarm.guard();
                churn(fs, churner, listing, alarm);
            });
        }
        for _ in 0..2 {
            scope.spawn(move || {
                let _guard = alarm.guard();
                for _ in 0..ROUNDS {
                    if alarm.is_raised() {
                        return;
                    }
                    list(fs);
                }
                listing.fetch_sub(1, SeqCst);
            });
        }
    });
    list(fs);
    validate(fs);
}

#[test]
fn entries_that_stay_are_listed_once_each_without_workers() {
    run(&MemFs::builder().memory_limit_bytes(1 << 20).worker_threads(0).build().unwrap());
}

#[test]
fn entries_that_stay_are_listed_once_each_beside_workers() {
    run(&MemFs::builder().memory_limit_bytes(1 << 20).chunk_size(4096).worker_threads(2).build().unwrap());
}
