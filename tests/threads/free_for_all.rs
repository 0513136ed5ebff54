//! Many writers on the same names: whole contents only, and every read sees one of them.

use crate::common::{
    alarm::Alarm,
    kind::{Fails, Kind},
    rng::Rng,
    stores::validate,
    ways,
    words::{from_text, image, runs_of, to_text},
};
use memfs::{Builder, Error, MemFs, WriteOptions};
use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

const NAMES: u64 = 8;
const WRITERS: usize = 3;
/// Reads that are to be verified before the writers may end, however late the readers get a processor.
const ENOUGH: usize = 20;

fn name(which: u64) -> String {
    // Names in three directories, two of which come and go with what is in them.
    match which % 3 {
        0 => format!("/{which}"),
        1 => format!("/come/{which}"),
        _ => format!("/come/and/go/{which}"),
    }
}

/// Contents: a first word that says the length, then as many; all of one version and of one id.
fn contents(version: u64, words: u64) -> Vec<u8> {
    let id = 1 + version % 1000;
    let mut bytes = words.to_le_bytes().to_vec();
    bytes.extend(id.to_le_bytes());
    bytes.extend(image(id, version, 0, words));
    bytes
}

/// The version of contents read whole.
fn verify(bytes: &[u8]) -> u64 {
    let head = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let (words, id) = (head(0), head(8));
    assert_eq!(bytes.len() as u64, 16 + words * 8, "cut off");
    let runs = runs_of(id, 0, &bytes[16..]);
    assert_eq!(runs.len(), 1, "a mixture: {runs:?}");
    let version = runs[0].version.expect("no hole");
    assert_eq!(id, 1 + version % 1000);
    version
}

/// What can happen to a name that others are changing, too.
fn expected(error: &Error) -> bool {
    use Kind::*;
    [NotFound, AlreadyExists, IsADirectory, NotADirectory, DirectoryNotEmpty].contains(&error.variant())
}

fn allow(result: memfs::Result<()>) {
    if let Err(error) = result {
        assert!(expected(&error), "{error}");
    }
}

fn write(fs: &MemFs, versions: &AtomicU64, rng: &mut Rng) {
    let version = versions.fetch_add(1, SeqCst);
    let words = 1 + rng.below(*rng.clone().pick(&[4, 500, 3000]));
    let path = name(rng.below(NAMES));
    match rng.below(12) {
        0..=4 => fs.write(&path, contents(version, words)).unwrap(),
        5 => allow(fs.write_with(&path, contents(version, words), &WriteOptions::new().create_new(true))),
        6 => allow(fs.remove_file(&path)),
        7 | 8 => allow(fs.rename(&path, name(rng.below(NAMES)))),
        9 => allow(fs.copy(&path, name(rng.below(NAMES))).map(drop)),
        10 => {
            // As text, under names of its own.
            let text = to_text(&contents(version, words));
            fs.write(format!("/text/{}", rng.below(3)), text).unwrap();
        }
        _ => match rng.below(4) {
            0 => allow(fs.remove_dir_all("/come/and")),
            1 => allow(fs.rename("/come", "/gone")),
            2 => allow(fs.rename("/gone/and", "/come/and")),
            _ => allow(fs.remove_dir_all("/gone")),
        },
    }
}

fn read(fs: &MemFs, rng: &mut Rng) -> bool {
    if rng.one_in(8) {
        let text = fs.read_to_string(format!("/text/{}", rng.below(3)));
        return text.map_err(|error| assert!(expected(&error), "{error}")).is_ok_and(|text| {
            verify(&from_text(text.as_bytes()));
            true
        });
    }
    let mut path = name(rng.below(NAMES));
    if rng.one_in(6) {
        path = path.replace("/come", "/gone");
    }
    // The last ways read ranges: here everything is read whole.
    let way = rng.below(7);
    match ways::read(fs, &path, way, 0, 4000) {
        Ok(found) => {
            verify(&found.bytes);
            true
        }
        Err(error) => {
            assert!(expected(&error), "way {way}, {path}: {error}");
            false
        }
    }
}

fn run(builder: Builder, ops_each: usize) {
    let fs = builder.build().unwrap();
    let (alarm, versions, writing) = (Alarm::default(), AtomicU64::new(1), AtomicUsize::new(WRITERS));
    let (verified, deadline) = (AtomicUsize::new(0), Instant::now() + Duration::from_secs(180));
    thread::scope(|scope| {
        let (fs, alarm, versions, writing) = (&fs, &alarm, &versions, &writing);
        let verified = &verified;
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let _guard = alarm.guard();
                let mut rng = Rng::varied(writer as u64);
                let mut steps = 0;
                let is_enough = || verified.load(SeqCst) > ENOUGH || Instant::now() > deadline;
                while steps < ops_each || !is_enough() {
                    steps += 1;
                    if alarm.is_raised() {
                        return;
                    }
                    write(fs, versions, &mut rng);
                    if rng.one_in(50) {
                        fs.gc(rng.below(10) as f64 / 10.0).unwrap();
                    }
                }
                writing.fetch_sub(1, SeqCst);
            });
        }
        for reader in 0..2 {
            scope.spawn(move || {
                let _guard = alarm.guard();
                let mut rng = Rng::varied(100 + reader);
                while writing.load(SeqCst) > 0 && !alarm.is_raised() {
                    verified.fetch_add(usize::from(read(fs, &mut rng)), SeqCst);
                }
            });
        }
    });
    let verified = verified.into_inner();
    assert!(verified > ENOUGH, "only {verified} reads were verified");
    for path in fs.glob("/**").unwrap() {
        let bytes = fs.read(&path).unwrap();
        if path.starts_with("/text/") {
            verify(&from_text(&bytes))
        } else {
            verify(&bytes)
        };
    }
    assert!(fs.stats().memory.peak_usage <= fs.stats().memory.limit);
    validate(&fs);
}

#[test]
fn many_writers_on_the_same_names_never_mix_contents() {
    run(
        MemFs::builder()
            .memory_limit_bytes(512 << 10)
            .chunk_size(4096)
            .segment_size(256 << 10)
            .worker_threads(0),
        1500,
    );
}

#[test]
fn many_writers_on_the_same_names_never_mix_contents_beside_workers() {
    run(
        MemFs::builder()
            .memory_limit_bytes(512 << 10)
            .chunk_size(32 << 10)
            .segment_size(256 << 10)
            .worker_threads(2),
        1500,
    );
}
