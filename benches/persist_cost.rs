//! What durability costs: overwrites of 4 KiB files in a temporary store and in one that lasts, side by side, A B A B; and
//! how near `Durability::Sync` comes to the disk's own rate of `fdatasync`. A share above 1 cannot be: then the look at the disk
//! alone was held up by something else, and the row says nothing.
//!
//! `cargo bench --bench persist_cost`, a minute and a half. Targets: periodic at most 15 % below temporary; sync at least 70 % of the
//! disk's rate times the number of writers that share a commit.

use memfs::{Durability, MemFs, StorageMode};
use std::{
    fs::File,
    hint::black_box,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

const FILES: u64 = 2000;
const SLICE: Duration = Duration::from_millis(700);
const ROUNDS: usize = 9;

fn store(home: &std::path::Path, name: &str, durability: Option<Durability>) -> MemFs {
    let builder = MemFs::builder().memory_limit_bytes(256 << 20).storage_path(home.join(name));
    let fs = match durability {
        None => builder.build(),
        Some(durability) => builder.mode(StorageMode::Persist).durability(durability).build(),
    };
    let fs = fs.expect("a store");
    for file in 0..FILES {
        fs.write(path(file), [1; 4096]).expect("room");
    }
    fs.sync().expect("a disk that works");
    fs
}

fn path(file: u64) -> String {
    format!("/data/section{:02}/file{file:06}", file % 20)
}

/// Overwrites per second by `threads` threads, for one slice.
fn overwrites(fs: &MemFs, threads: u64) -> f64 {
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads {
            let (stop, done) = (&stop, &done);
            scope.spawn(move || {
                let paths: Vec<String> = (0..FILES).map(path).collect();
                let (mut x, mut count) = (thread + 1, 0);
                let data = [thread as u8; 4096];
                while !stop.load(Relaxed) {
                    x ^= x << 13;
                    x ^= x >> 7;
                    x ^= x << 17;
                    fs.write(&paths[(x % FILES) as usize], black_box(data)).expect("room");
                    count += 1;
                }
                done.fetch_add(count, Relaxed);
            });
        }
        thread::sleep(SLICE);
        stop.store(true, Relaxed);
    });
    done.into_inner() as f64 / began.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The disk's own syncs of 4 KiB per second, in space that was written before.
fn disk_syncs(home: &std::path::Path) -> f64 {
    let file = File::create(home.join("syncs")).expect("a file");
    file.write_all_at(&vec![0; 4 << 20], 0).and_then(|()| file.sync_all()).expect("a disk that works");
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < SLICE {
        file.write_all_at(&[count as u8; 4096], count % 1024 * 4096).expect("room");
        file.sync_data().expect("a disk that works");
        count += 1;
    }
    count as f64 / began.elapsed().as_secs_f64()
}

fn main() {
    let home = tempfile::tempdir().expect("a directory");
    let temp = store(home.path(), "temp", None);
    let lasting = store(home.path(), "periodic", Some(Durability::Periodic(Duration::from_millis(100))));
    for threads in [1, 2] {
        let (mut plain, mut durable, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (a, b) = (overwrites(&temp, threads), overwrites(&lasting, threads));
            plain.push(a);
            durable.push(b);
            ratios.push(b / a);
        }
        println!(
            "periodic, {threads} threads: {:.0} temporary, {:.0} lasting writes/s, median ratio {:.3}",
            median(plain),
            median(durable),
            median(ratios)
        );
    }
    drop((temp, lasting));
    let sync = store(home.path(), "sync", Some(Durability::Sync));
    for threads in [1, 8] {
        let (mut rates, mut disk, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            // Between two looks at the disk, which may be another's at any time.
            let before = disk_syncs(home.path());
            rates.push(overwrites(&sync, threads));
            disk.push((before + disk_syncs(home.path())) / 2.0);
            ratios.push(rates[rates.len() - 1] / disk[disk.len() - 1] / threads as f64);
        }
        println!(
            "sync, {threads} writers: {:.0} writes/s; the disk alone: {:.0} syncs/s; median share of {threads} times that {:.3}",
            median(rates),
            median(disk),
            median(ratios)
        );
    }
}
