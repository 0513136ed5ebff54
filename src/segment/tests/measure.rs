//! Figures for docs/design/segment.md, by hand:
//! `cargo test --release --lib segment::tests::measure -- --ignored --nocapture`

use super::{
    super::{Disk, RealDisk, fault::Tolerant, hold::MAPPED_BOUND_BYTES},
    store::{Random, Store, bytes},
};
use crate::sync::Arc;
use std::{
    io::{IoSlice, IoSliceMut},
    time::Instant,
};

const SEGMENT: usize = 256 << 20;

/// Median and mean of what `times` runs of `work` take, in nanoseconds.
fn timed(times: usize, mut work: impl FnMut()) -> String {
    let mut runs: Vec<u64> = (0..times)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_nanos() as u64
        })
        .collect();
    runs.sort_unstable();
    let mean = runs.iter().sum::<u64>() / times as u64;
    format!("{:>8} {:>8}", runs[times / 2], mean)
}

#[test]
#[ignore = "a measurement: takes half a minute, and proves nothing"]
fn ways_of_reading_cached_bytes() {
    let home = tempfile::tempdir().unwrap();
    let file = RealDisk.create_temp(home.path()).unwrap();
    file.allocate(SEGMENT as u64).unwrap();
    for at in (0..SEGMENT).step_by(1 << 20) {
        file.write_at(&mut [IoSlice::new(&bytes(at as u64, 1 << 20))], at as u64).unwrap();
    }
    let (Some(tolerant), Some(map)) = (Tolerant::get(), file.map(SEGMENT).unwrap()) else { return };
    let mut random = Random(1);
    println!(
        "{:>8}  {:>17} {:>17} {:>17} {:>17}",
        "bytes", "read call", "map, all resident", "map, bounded", "checksum"
    );
    for len in [256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20] {
        let (mut dst, times) = (vec![1; len], ((256 << 20) / len).min(5000));
        let mut at = || random.below((SEGMENT - len) / 256) * 256;
        let call = timed(times, || {
            let at = at() as u64;
            assert_eq!(file.read_at(&mut [IoSliceMut::new(&mut dst)], at).unwrap(), len);
        });
        for page in (0..SEGMENT).step_by(4096) {
            tolerant.copy(&map, page, &mut [0]);
        }
        let resident = timed(times, || assert_eq!(tolerant.copy(&map, at(), &mut dst), 0));
        map.drop_resident();
        let mut touched = 0;
        let bounded = timed(times, || {
            let at = at();
            assert_eq!(tolerant.copy(&map, at, &mut dst), 0);
            touched += (at + len).next_multiple_of(64 << 10) - at / (64 << 10) * (64 << 10);
            if touched as u64 > MAPPED_BOUND_BYTES {
                map.drop_resident();
                touched = 0;
            }
        });
        let checksum = timed(times, || _ = std::hint::black_box(crc32c::crc32c(&dst)));
        println!("{len:>8}  {call} {resident} {bounded} {checksum}");
    }
}

#[test]
#[ignore = "a measurement: takes half a minute, and proves nothing"]
fn the_calls_of_the_disk_floor() {
    println!(
        "{:>8}  {:>17} {:>17} {:>17} {:>17}",
        "bytes", "append, new", "append, recycled", "read", "hold and slice"
    );
    for len in [256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20] {
        let store = Store::new(Arc::new(RealDisk), 64 << 20, 1 << 20, None);
        let (content, mut extents) = (bytes(1, len), Vec::new());
        let times = ((48 << 20) / len).min(20_000);
        let append =
            |extents: &mut Vec<_>| timed(times, || extents.push(store.segments.append(1, &content).unwrap()));
        let new = append(&mut extents);
        let mut again = Vec::new();
        append(&mut again);
        for extent in again.drain(..).chain(extents.drain(..)) {
            store.kill(extent);
        }
        for extent in std::iter::repeat_with(|| store.segments.append(2, &content).unwrap()).take(times) {
            store.kill(extent);
        }
        let recycled = append(&mut extents);
        let (mut random, mut dst) = (Random(1), vec![0; len]);
        let read = timed(times.min(5000), || {
            store.segments.read(extents[random.below(times)], 1, &mut dst).unwrap();
        });
        let slice = timed(times.min(5000), || {
            let hold = store.segments.hold(extents[random.below(times)]).unwrap();
            std::hint::black_box(super::store::slice(&hold, 1).unwrap());
        });
        println!("{len:>8}  {new} {recycled} {read} {slice}");
    }
}
