//! One store, its operations by criterion: reads that hit (in place, held, copied), writes, lookups, swap-out, swap-in and
//! listings, by one thread and by two.

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use memfs::{Builder, MemFs};
use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

const FILES: u64 = 1024;
const LENGTHS: [usize; 3] = [100, 4 << 10, 256 << 10];

fn store(limit_bytes: u64) -> Builder {
    MemFs::builder().memory_limit_bytes(limit_bytes)
}

fn path(file: u64) -> String {
    format!("/bench/d{:02}/file{file:05}", file % 16)
}

fn paths() -> Vec<String> {
    (0..FILES).map(path).collect()
}

/// `FILES` resident files of `len` bytes.
fn filled(len: usize) -> MemFs {
    let fs = store(1 << 30).build().unwrap();
    for path in paths() {
        fs.write(path, vec![7; len]).unwrap();
    }
    fs
}

/// Which of `count`, in an order that no prefetcher knows.
fn nth(i: u64, count: u64) -> usize {
    (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % count as usize
}

/// Times `iterations` of `work(thread, i)` on each of `threads` threads; the mean of the threads' times.
fn timed(threads: u64, iterations: u64, work: impl Fn(u64, u64) + Sync) -> Duration {
    let start = Barrier::new(threads as usize);
    let total: Duration = thread::scope(|scope| {
        let (start, work) = (&start, &work);
        let each: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    start.wait();
                    let began = Instant::now();
                    for i in 0..iterations {
                        work(thread, i);
                    }
                    began.elapsed()
                })
            })
            .collect();
        each.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    total / threads as u32
}

/// Benches `work` at one and at two threads.
fn at_1_and_2(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, work: impl Fn(u64, u64) + Sync) {
    for threads in [1, 2] {
        group.bench_function(BenchmarkId::new(name, format!("{threads} threads")), |bencher| {
            bencher.iter_custom(|iterations| timed(threads, iterations, &work));
        });
    }
}

fn hits(criterion: &mut Criterion) {
    for len in LENGTHS {
        let (fs, paths) = (filled(len), paths());
        let mut group = criterion.benchmark_group(format!("hit {len}"));
        group.throughput(Throughput::Bytes(len as u64));
        let pick = |thread: u64, i: u64| &paths[nth(i + thread * 7919, FILES)];
        at_1_and_2(&mut group, "read_with", |thread, i| {
            fs.read_with(pick(thread, i), |bytes| black_box(bytes[bytes.len() - 1])).unwrap();
        });
        at_1_and_2(&mut group, "get", |thread, i| {
            black_box(fs.get(pick(thread, i)).unwrap()[0]);
        });
        at_1_and_2(&mut group, "read", |thread, i| {
            black_box(fs.read(pick(thread, i)).unwrap());
        });
        group.finish();
    }
}

fn writes(criterion: &mut Criterion) {
    for len in LENGTHS {
        let (fs, paths, contents) = (filled(len), paths(), vec![8; len]);
        let mut group = criterion.benchmark_group(format!("write {len}"));
        group.throughput(Throughput::Bytes(len as u64));
        at_1_and_2(&mut group, "overwrite", |thread, i| {
            // Each thread has files of its own, as different writers usually do.
            let file = nth(i, FILES / 2) + thread as usize * (FILES / 2) as usize;
            fs.write(&paths[file], &contents).unwrap();
        });
        at_1_and_2(&mut group, "create and remove", |thread, i| {
            let path = format!("/new/{thread}/{}", i % 1000);
            fs.write(&path, &contents).unwrap();
            fs.remove_file(&path).unwrap();
        });
        group.finish();
    }
}

fn lookups(criterion: &mut Criterion) {
    let (fs, paths) = (filled(100), paths());
    let missing: Vec<String> = (0..FILES).map(|file| path(file + FILES)).collect();
    let mut group = criterion.benchmark_group("lookup");
    at_1_and_2(&mut group, "exists", |thread, i| {
        assert!(fs.exists(&paths[nth(i + thread, FILES)]));
    });
    at_1_and_2(&mut group, "exists, missing", |thread, i| {
        assert!(!fs.exists(&missing[nth(i + thread, FILES)]));
    });
    at_1_and_2(&mut group, "metadata", |thread, i| {
        black_box(fs.metadata(&paths[nth(i + thread, FILES)]).unwrap());
    });
    at_1_and_2(&mut group, "rename there and back", |thread, i| {
        let name = &paths[nth(i, FILES / 2) + thread as usize * (FILES / 2) as usize];
        let other = format!("{name}.moved");
        fs.rename(name, &other).unwrap();
        fs.rename(&other, name).unwrap();
    });
    group.finish();
}

fn swaps(criterion: &mut Criterion) {
    for len in LENGTHS {
        // A store whose files are sixteen times its limit: nearly every read is of a file on disk, and puts another there.
        let files = 4096;
        let fs = store((len as u64 * files / 16).max(1 << 20)).build().unwrap();
        let paths: Vec<String> = (0..files).map(path).collect();
        for path in &paths {
            fs.write(path, vec![7; len]).unwrap();
        }
        let mut group = criterion.benchmark_group(format!("swap {len}"));
        group.throughput(Throughput::Bytes(len as u64));
        group.sample_size(20);
        at_1_and_2(&mut group, "read of a file on disk", |thread, i| {
            let path = &paths[nth(i + thread * 7919, files)];
            fs.read_with(path, |bytes| black_box(bytes[bytes.len() - 1])).unwrap();
        });
        at_1_and_2(&mut group, "write that swaps another file out", |thread, i| {
            let path = &paths[nth(i + thread * 7919, files)];
            fs.write(path, vec![9; len]).unwrap();
        });
        group.bench_function("swap-out of a file by gc", |bencher| {
            bencher.iter_custom(|iterations| swap_out_time(len, iterations));
        });
        group.finish();
    }
}

/// The time to swap `iterations` fresh files out, set-up left out.
fn swap_out_time(len: usize, iterations: u64) -> Duration {
    let batch = ((64 << 20) / len as u64).clamp(1, 4096);
    let (mut done, mut took) = (0, Duration::ZERO);
    let fs = store(256 << 20).worker_threads(0).build().unwrap();
    while done < iterations {
        let now = batch.min(iterations - done);
        for file in 0..now {
            fs.write(path(file), vec![done as u8; len]).unwrap();
        }
        let began = Instant::now();
        black_box(fs.gc(0.0).unwrap());
        took += began.elapsed();
        done += now;
    }
    took
}

fn listings(criterion: &mut Criterion) {
    let fs = filled(100);
    let mut group = criterion.benchmark_group("listing");
    at_1_and_2(&mut group, "read_dir of 64", |_, _| {
        assert_eq!(fs.read_dir("/bench/d03").unwrap().count(), 64);
    });
    at_1_and_2(&mut group, "walk of 1024", |_, _| {
        assert!(fs.walk("/bench").unwrap().count() >= 1024);
    });
    at_1_and_2(&mut group, "glob of 64 in 1024", |_, _| {
        assert_eq!(fs.glob("/bench/*5/*").unwrap().len(), 128);
    });
    group.finish();
}

criterion_group! {
    name = operations;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30);
    targets = hits, writes, lookups, swaps, listings
}
criterion_main!(operations);
