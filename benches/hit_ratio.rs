//! What a hot read costs beside the least that a map can cost: `read_with` of resident 1 KiB files, against a bare
//! `HashMap<&str, &[u8]>` that touches the same bytes. The two take turns (A B A B ...) in one run, so that whatever else
//! the machine does meets both alike; the figure is the median of the ratios of neighbours. Exits with 1 above 2.0.

use memfs::MemFs;
use std::{collections::HashMap, hint::black_box, process::ExitCode, time::Instant};

const LEN: usize = 1024;
const ROUNDS: usize = 61;
const READS: usize = 200_000;
const MOST: f64 = 2.0;

fn touch(bytes: &[u8]) -> u64 {
    // Every cache line of the file, by both in the same way.
    bytes.iter().step_by(64).map(|&byte| u64::from(byte)).sum()
}

/// Nanoseconds per read.
fn timed(paths: &[String], mut read: impl FnMut(&str) -> u64) -> f64 {
    let mut sum = 0;
    let began = Instant::now();
    for i in 0..READS {
        sum += read(&paths[(i * 7) % paths.len()]);
    }
    let took = began.elapsed();
    black_box(sum);
    took.as_nanos() as f64 / READS as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Measures `files` files; the median ratio.
fn measure(files: usize) -> f64 {
    let fs = MemFs::builder().memory_limit_bytes(256 << 20).build().unwrap();
    let paths: Vec<String> = (0..files).map(|i| format!("/hot/dir{}/file{i:05}", i % 8)).collect();
    let contents: Vec<Vec<u8>> = (0..files).map(|i| vec![i as u8 + 1; LEN]).collect();
    for (path, bytes) in paths.iter().zip(&contents) {
        fs.write(path, bytes).unwrap();
    }
    let map: HashMap<&str, &[u8]> =
        paths.iter().map(String::as_str).zip(contents.iter().map(Vec::as_slice)).collect();
    let by_map = |path: &str| map.get(path).map(|bytes| touch(bytes)).unwrap();
    let by_store = |path: &str| fs.read_with(path, touch).unwrap();
    assert!(paths.iter().all(|path| by_map(path) == by_store(path)));
    timed(&paths, by_map);
    timed(&paths, by_store);
    let (mut of_map, mut of_store, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (a, b) = (timed(&paths, by_map), timed(&paths, by_store));
        of_map.push(a);
        of_store.push(b);
        ratios.push(b / a);
    }
    let ratio = median(ratios);
    println!(
        "{files:>6} files of {LEN} bytes: HashMap {:.1} ns, read_with {:.1} ns, median ratio {ratio:.2} (at most {MOST})",
        median(of_map),
        median(of_store)
    );
    ratio
}

fn main() -> ExitCode {
    // One file is as hot as it gets; 64 are in the nearest caches; 4096 are not.
    let worst = [1, 64, 4096].map(measure).into_iter().fold(0.0, f64::max);
    println!("worst median ratio {worst:.2}");
    ExitCode::from(u8::from(worst > MOST))
}
