//! A store that lasts, opened again: what the journal knows of is there, and the rest is free for use.

use super::{
    super::{Disk, ExtentRef, RealDisk, SegmentConfig, Segments, StorageKind, params::params_chunk_bytes},
    store::{Store, TestDisk, bytes},
};
use crate::{
    Error, Result,
    sync::{Arc, thread},
};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
};

pub(super) const CHUNK: usize = 4096;
pub(super) const SEGMENT: u64 = 64 << 10;

/// A directory, and how the store in it is opened.
pub(super) struct Lasting {
    pub(super) home: tempfile::TempDir,
    pub(super) params: Option<[u8; 64]>,
    pub(super) segment_bytes: u64,
    pub(super) limit: Option<u64>,
}

impl Lasting {
    pub(super) fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap(), params: None, segment_bytes: SEGMENT, limit: None }
    }

    pub(super) fn try_open(&mut self, disk: Arc<dyn Disk>, chunk_bytes: usize) -> Result<Segments> {
        let config = SegmentConfig {
            dir: self.home.path().to_path_buf(),
            kind: StorageKind::Persist { params: self.params },
            segment_bytes: self.segment_bytes,
            chunk_bytes,
            storage_limit_bytes: self.limit,
        };
        let segments = Segments::open(config, disk)?;
        self.params.get_or_insert(segments.params());
        assert_eq!(self.params, Some(segments.params()));
        Ok(segments)
    }

    pub(super) fn open(&mut self) -> Segments {
        self.try_open(TestDisk::new(), CHUNK).unwrap()
    }

    /// Opens the store and tells it of all that is live.
    pub(super) fn reopen(&mut self, live: &[(u64, ExtentRef)]) -> Segments {
        let segments = self.open();
        live.iter().for_each(|(_, extent)| segments.adopt(*extent).unwrap());
        segments.validate(Some(live_bytes(&segments, live)));
        segments.recovered();
        segments.validate(Some(live_bytes(&segments, live)));
        segments
    }

    pub(super) fn file(&self, number: u32) -> PathBuf {
        self.home.path().join(format!("{number:06}.seg"))
    }

    pub(super) fn files(&self) -> Vec<String> {
        let mut names = RealDisk.list(self.home.path()).unwrap();
        names.sort();
        names
    }
}

pub(super) fn live_bytes(segments: &Segments, live: &[(u64, ExtentRef)]) -> u64 {
    Store::live_bytes(live.iter().map(|(_, extent)| segments.len(*extent)))
}

#[track_caller]
pub(super) fn assert_holds(segments: &Segments, live: &[(u64, ExtentRef)]) {
    for (owner, extent) in live {
        let mut found = vec![0xAA; segments.len(*extent)];
        segments.read(*extent, *owner, &mut found).unwrap();
        assert!(found == bytes(*owner, found.len()), "other bytes for owner {owner}");
    }
}

pub(super) fn append(segments: &Segments, owner: u64, len: usize) -> (u64, ExtentRef) {
    (owner, segments.append(owner, &bytes(owner, len)).unwrap())
}

pub(super) fn kill(segments: &Segments, extent: ExtentRef) {
    // SAFETY: the tests kill what they appended or adopted, once, and nobody relies on it without looking again.
    unsafe { segments.kill(extent) };
}

#[test]
fn what_was_appended_is_there_again_after_an_orderly_end_and_after_none() {
    for is_orderly in [true, false] {
        let mut store = Lasting::new();
        let segments = store.reopen(&[]);
        let mut live: Vec<_> = (0..200).map(|owner| append(&segments, owner, owner as usize * 20)).collect();
        live.retain(|(owner, extent)| {
            let dies = owner % 3 == 0;
            if dies {
                kill(&segments, *extent);
            }
            !dies
        });
        segments.sync().unwrap();
        if is_orderly {
            segments.shrink();
        }
        drop(segments);

        let segments = store.open();
        thread::scope(|scope| {
            for half in live.chunks(live.len() / 2) {
                let segments = &segments;
                scope.spawn(move || half.iter().for_each(|(_, extent)| segments.adopt(*extent).unwrap()));
            }
        });
        segments.validate(Some(live_bytes(&segments, &live)));
        segments.recovered();
        assert_holds(&segments, &live);
        live.extend((1000..1100).map(|owner| append(&segments, owner, 500)));
        assert_holds(&segments, &live);
        segments.validate(Some(live_bytes(&segments, &live)));
        segments.sync().unwrap();
        drop(segments);

        let segments = store.reopen(&live);
        assert_holds(&segments, &live);
        live.iter().for_each(|(_, extent)| kill(&segments, *extent));
        segments.validate(Some(0));
        segments.shrink();
        assert_eq!((store.files(), segments.stats().preallocated_bytes), (vec![], 0));
    }
}

#[test]
fn nothing_is_used_again_before_all_that_is_live_was_counted() {
    let mut store = Lasting::new();
    let segments = store.reopen(&[]);
    let old: Vec<_> = (0..60).map(|owner| append(&segments, owner, CHUNK)).collect();
    segments.sync().unwrap();
    let files = store.files();
    drop(segments);

    let segments = store.open();
    assert_eq!(segments.stats().segments, files.len() as u64);
    segments.adopt(old[5].1).unwrap();
    kill(&segments, old[5].1);
    let during: Vec<_> = (100..130).map(|owner| append(&segments, owner, CHUNK)).collect();
    assert!(files.iter().all(|name| store.home.path().join(name).exists()));
    assert!(during.iter().all(|(_, extent)| segments.location(*extent).0 >= files.len() as u64));
    segments.adopt(old[40].1).unwrap();
    segments.recovered();
    assert_holds(&segments, &[old[40]]);
    assert_holds(&segments, &during);
    segments.validate(Some(31 * Store::live_bytes([CHUNK])));
}

#[test]
fn segments_that_nothing_refers_to_become_spares_or_go() {
    let mut store = Lasting::new();
    let segments = store.reopen(&[]);
    let _: Vec<_> = (0..60).map(|owner| append(&segments, owner, CHUNK)).collect();
    assert!(store.files().len() >= 4);
    drop(segments);
    let segments = store.reopen(&[]);
    assert_eq!((store.files().len(), segments.stats().segments), (2, 2));
    let live: Vec<_> = (0..20).map(|owner| append(&segments, owner, CHUNK)).collect();
    assert_eq!(store.files().len(), 2, "spares are used");
    segments.sync().unwrap();
    drop(segments);
    assert_holds(&store.reopen(&live), &live);
}

#[test]
fn many_short_openings_fill_one_segment() {
    let mut store = Lasting::new();
    let mut live = Vec::new();
    for owner in 0..50 {
        let segments = store.reopen(&live);
        assert_holds(&segments, &live);
        live.push(append(&segments, owner, 500));
        if owner % 5 == 4 {
            kill(&segments, live.remove(0).1);
        }
        segments.sync().unwrap();
    }
    assert_eq!(store.files().len(), 1);
}

#[test]
fn an_extent_that_lies_in_no_segment_is_corrupt_and_names_the_file() {
    let mut store = Lasting::new();
    let segments = store.reopen(&[]);
    let live = append(&segments, 1, 1000);
    let unit_bits = 20 + 13;
    segments.sync().unwrap();
    drop(segments);

    let segments = store.open();
    let refused = |bits: u64, path: PathBuf| match segments.adopt(ExtentRef::try_from_bits(bits).unwrap()) {
        Err(Error::Corrupt { path: found, .. }) => assert_eq!(found, path.display().to_string()),
        other => panic!("{bits:#x}: {other:?}"),
    };
    let good = live.1.bits();
    refused(good | 7 << unit_bits, store.file(7));
    refused(good & !(0xf_ffff << 13), store.file(0));
    refused(good | (SEGMENT / 256) << 13, store.file(0));
    refused(good | 0x1fff, store.file(0));
    assert_eq!(ExtentRef::try_from_bits(0), None);
    assert_eq!(ExtentRef::try_from_bits(1 << 56), None);
    // More than there is space for cannot all be extents.
    let mut adopted = 0;
    while segments.adopt(live.1).is_ok() {
        adopted += 1;
    }
    assert_eq!(adopted, (SEGMENT - 256) / 1280);
    segments.recovered();
    refused(good, store.file(0));
}

#[test]
fn bits_mean_the_same_whatever_the_store_is_told_and_another_chunk_size_is_refused() {
    let mut store = Lasting::new();
    let mut live = Vec::new();
    for (round, (segment_bytes, limit)) in
        [(SEGMENT, None), (8 << 20, None), (1, Some(1 << 20)), (16 << 10, Some(300 << 10)), (1 << 30, None)]
            .into_iter()
            .enumerate()
    {
        (store.segment_bytes, store.limit) = (segment_bytes, limit);
        let segments = store.reopen(&live);
        assert_holds(&segments, &live);
        // In segments of its own, and in one of a time before.
        live.extend((0..30).map(|owner| append(&segments, round as u64 * 100 + owner, 1500)));
        segments.sync().unwrap();
        assert_holds(&segments, &live);
    }
    assert_eq!(params_chunk_bytes(&store.params.unwrap()).unwrap(), CHUNK);
    for chunk in [CHUNK / 2, CHUNK * 2] {
        match store.try_open(Arc::new(RealDisk), chunk) {
            Err(Error::InvalidArgument { argument: "chunk_size", .. }) => {}
            other => panic!("{chunk}: {:?}", other.err()),
        }
    }
    let good = store.params;
    store.params.as_mut().unwrap()[20] ^= 1;
    let found = store.try_open(Arc::new(RealDisk), CHUNK);
    assert!(matches!(found, Err(Error::Corrupt { path, .. }) if path == store.home.path().to_str().unwrap()));
    store.params = good;
    assert_holds(&store.reopen(&live), &live);
}

#[test]
fn a_header_that_came_to_harm_is_corrupt_for_its_own_extents_only() {
    let mut store = Lasting::new();
    let segments = store.reopen(&[]);
    let live: Vec<_> = (0..60).map(|owner| append(&segments, owner, CHUNK)).collect();
    let (first, rest): (Vec<_>, Vec<_>) = live.into_iter().partition(|(_, e)| segments.location(*e).0 == 1);
    segments.sync().unwrap();
    drop(segments);
    let good = fs::read(store.file(1)).unwrap();
    type Harm = fn(&Lasting, &[u8]);
    let harm: [(&str, Harm); 5] = [
        ("flipped", |store, good| write_at(store.file(1), &[good[20] ^ 4], 20)),
        ("zeroed", |store, _| write_at(store.file(1), &[0; 256], 0)),
        ("cut short", |store, _| set_len(store.file(1), 40)),
        ("another's", |store, _| assert!(fs::copy(store.file(0), store.file(1)).is_ok())),
        ("empty", |store, _| set_len(store.file(1), 0)),
    ];
    let name = store.file(1).display().to_string();
    for (what, harm) in harm {
        harm(&store, &good);
        let segments = store.open();
        for (_, extent) in &first {
            let found = segments.adopt(*extent);
            assert!(
                matches!(&found, Err(Error::Corrupt { path, segment: 1, .. }) if *path == name),
                "{what}: {found:?}"
            );
        }
        rest.iter().for_each(|(_, extent)| segments.adopt(*extent).unwrap());
        segments.recovered();
        assert_holds(&segments, &rest);
        assert!(store.file(1).exists(), "{what}: what is left of it stays");
        fs::write(store.file(1), &good).unwrap();
    }
    let mut all = first;
    all.extend(rest);
    assert_holds(&store.reopen(&all), &all);
}

pub(super) fn write_at(path: PathBuf, bytes: &[u8], at: u64) {
    File::options().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

pub(super) fn set_len(path: PathBuf, len_bytes: u64) {
    File::options().write(true).open(path).unwrap().set_len(len_bytes).unwrap();
}

#[test]
fn a_segment_that_is_cut_short_is_an_error_of_what_is_missing() {
    let mut store = Lasting::new();
    let segments = store.reopen(&[]);
    let live: Vec<_> = (0..40).map(|owner| append(&segments, owner, CHUNK)).collect();
    let in_first = |segments: &Segments, extent| segments.location(extent).0 == 0;
    assert_eq!(live.iter().filter(|(_, extent)| in_first(&segments, *extent)).count(), 15);
    segments.sync().unwrap();
    drop(segments);
    set_len(store.file(0), 30 << 10);

    let segments = store.reopen(&live);
    let mut missing = 0;
    for (owner, extent) in &live {
        let end = segments.location(*extent).1 + 32 + CHUNK as u64;
        if in_first(&segments, *extent) && end > 30 << 10 {
            let found = segments.read(*extent, *owner, &mut [0; CHUNK]).map_err(Error::from);
            assert!(matches!(found, Err(Error::Io { .. })), "{found:?}");
            missing += 1;
        } else {
            assert_holds(&segments, &[(*owner, *extent)]);
        }
    }
    assert_eq!(missing, 8);
    // It is not used again: it has not got the room that its header says.
    live.iter().for_each(|(_, extent)| kill(&segments, *extent));
    assert!(!store.file(0).exists());
    segments.validate(Some(0));
    // Nor is one that nothing refers to.
    set_len(store.file(1), 30 << 10);
    drop(segments);
    let segments = store.reopen(&[]);
    assert!(!store.file(1).exists());
    assert_holds(&segments, &[append(&segments, 1, CHUNK)]);
}

#[test]
fn a_segment_whose_making_was_cut_off_goes_and_strangers_stay() {
    let mut store = Lasting::new();
    let segments = store.reopen(&[]);
    let live = [append(&segments, 1, CHUNK)];
    segments.sync().unwrap();
    drop(segments);
    let mut other = Lasting::new();
    append(&other.open(), 1, 1);
    fs::write(store.file(1), vec![0; 100 << 10]).unwrap();
    fs::write(store.file(2), "").unwrap();
    fs::copy(other.file(0), store.file(3)).unwrap();
    fs::write(store.file(4), "a letter").unwrap();
    fs::create_dir(store.file(5)).unwrap();
    fs::write(store.home.path().join("notes.txt"), "more").unwrap();
    fs::write(store.home.path().join("7.seg"), "more").unwrap();

    let segments = store.reopen(&live);
    assert_eq!(segments.stats().other_bytes, 8, "what may have been a segment takes space");
    let strangers = ["000003.seg", "000004.seg", "000005.seg", "7.seg", "notes.txt"];
    assert_eq!(store.files()[1..], strangers);
    let mut live = live.to_vec();
    live.extend((10..100).map(|owner| append(&segments, owner, CHUNK)));
    segments.sync().unwrap();
    drop(segments);
    let segments = store.reopen(&live);
    assert_holds(&segments, &live);
    live.iter().for_each(|(_, extent)| kill(&segments, *extent));
    segments.shrink();
    assert_eq!(store.files(), strangers);
    assert_eq!(fs::read(store.file(4)).unwrap(), b"a letter");
}

#[test]
fn a_new_store_leaves_the_segments_of_another_alone() {
    let mut old = Lasting::new();
    let segments = old.reopen(&[]);
    let live: Vec<_> = (0..30).map(|owner| append(&segments, owner, CHUNK)).collect();
    segments.sync().unwrap();
    drop(segments);
    let params = old.params.take();
    let segments = old.reopen(&[]);
    let mine: Vec<_> = (50..90).map(|owner| append(&segments, owner, CHUNK)).collect();
    assert_holds(&segments, &mine);
    mine.iter().for_each(|(_, extent)| kill(&segments, *extent));
    segments.shrink();
    drop(segments);
    old.params = params;
    assert_holds(&old.reopen(&live), &live);
}

#[test]
fn records_are_counted_on_over_every_opening() {
    let mut store = Lasting::new();
    let mut live = Vec::new();
    let mut highest = 0;
    for owner in 0..5 {
        let segments = store.reopen(&live);
        for _ in 0..20 {
            live.push(append(&segments, owner, 100));
            let (number, offset) = segments.location(live.last().unwrap().1);
            let mut sequence = [0; 8];
            let file = File::open(store.file(number as u32)).unwrap();
            file.read_exact_at(&mut sequence, offset + 16).unwrap();
            let sequence = u64::from_le_bytes(sequence);
            assert!(sequence > highest, "{sequence} after {highest}");
            highest = sequence;
        }
    }
}

#[test]
fn a_smaller_limit_opens_and_takes_nothing_until_there_is_room() {
    let mut store = Lasting::new();
    let segments = store.reopen(&[]);
    let mut live: Vec<_> = (0..150).map(|owner| append(&segments, owner, CHUNK)).collect();
    segments.sync().unwrap();
    drop(segments);
    store.limit = Some(4 * SEGMENT);
    let segments = store.reopen(&live);
    assert_holds(&segments, &live);
    // The rest of the segment that was begun is there already.
    let error = loop {
        match segments.append(1000, &bytes(1000, CHUNK)) {
            Ok(extent) => live.push((1000, extent)),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::StorageFull { .. }) && live.len() < 165, "{error:?}, {}", live.len());
    assert!(matches!(segments.charge_other(1), Err(Error::StorageFull { .. })));
    segments.validate(Some(live_bytes(&segments, &live)));
    live.drain(20..).for_each(|(_, extent)| kill(&segments, extent));
    assert!(segments.stats().preallocated_bytes <= 4 * SEGMENT, "{:?}", segments.stats());
    live.push(append(&segments, 2000, CHUNK));
    assert_holds(&segments, &live);
    segments.validate(Some(live_bytes(&segments, &live)));
}

#[test]
fn the_limit_covers_what_is_not_segments_and_spares_give_way_to_it() {
    let mut store = Lasting::new();
    let limit = 16 * SEGMENT;
    store.limit = Some(limit);
    let segments = store.reopen(&[]);
    let mut live: Vec<(u64, ExtentRef)> = Vec::new();
    segments.charge_other(100_000).unwrap();
    while let Ok(extent) = segments.append(1, &bytes(1, CHUNK)) {
        live.push((1, extent));
        let stats = segments.stats();
        assert!(stats.preallocated_bytes + stats.other_bytes <= limit, "{stats:?}");
    }
    assert_eq!(segments.stats().other_bytes, 100_000);
    assert!(live_bytes(&segments, &live) + 100_000 > limit * 3 / 4, "{} records", live.len());
    // What is kept for moving may be taken.
    segments.charge_other(SEGMENT / 2).unwrap();
    assert!(matches!(segments.charge_other(limit), Err(Error::StorageFull { .. })));
    segments.validate(None);
    live.drain(..).for_each(|(_, extent)| kill(&segments, extent));
    assert!(segments.stats().segments >= 2, "spares");
    let rest = limit - 100_000 - SEGMENT / 2;
    segments.charge_other(rest).unwrap();
    assert_eq!(segments.stats().preallocated_bytes, 0, "all of it is other");
    assert!(matches!(segments.append(1, b"x"), Err(Error::StorageFull { .. })));
    segments.refund_other(rest);
    assert_holds(&segments, &[append(&segments, 2, CHUNK)]);
    segments.validate(None);
    assert_eq!(segments.stats().other_bytes, 100_000 + SEGMENT / 2);
}

#[test]
fn a_nearly_full_disk_is_filled_with_smaller_segments_that_are_found_again() {
    let mut store = Lasting::new();
    store.segment_bytes = 256 << 10;
    let segments = store.try_open(TestDisk::small(300 << 10), CHUNK).unwrap();
    segments.recovered();
    let mut live = Vec::new();
    while let Ok(extent) = segments.append(live.len() as u64, &bytes(live.len() as u64, CHUNK)) {
        live.push((live.len() as u64, extent));
    }
    assert!(live.len() * CHUNK >= 250 << 10, "{} records", live.len());
    let files = store.files().len();
    segments.sync().unwrap();
    drop(segments);
    let segments = store.reopen(&live);
    assert_eq!(segments.stats().segments, files as u64);
    assert_holds(&segments, &live);
}
