//! What durability costs: overwrites of 4 KiB files in a temporary store and in one that lasts, side by side, A B A B; and
//! how near `Durability::Sync` comes to the disk's own rate of `fdatasync`. Where other processes take the processors, the writes a
//! second that one processor's time is enough for say more than those that there were; the flusher's share is in them.
//!
//! `cargo bench --bench persist_cost`, a minute and a half; `-- periodic` or `-- sync` for one half. Targets: periodic at most 15 % below
//! temporary; sync at least 70 % of the disk's rate times the number of writes that share a sync.
//!
//! The disk alone is asked in the way the store asks it: by one thread, in a file in the store's directory, made with the same
//! flags, all of it written before; with as many bytes for each sync as a commit of the store has had. Short slices, in turn,
//! for a sync may take thirty times as long when something else computes: a kernel that preempts nobody lets the thread
//! that completes it wait for the next tick, 4 ms. Both are met by that alike, if neither is looked at for long.

use memfs::{Durability, MemFs, StorageMode};
use std::{
    fs::File,
    hint::black_box,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

const FILES: u64 = 2000;
const SLICE: Duration = Duration::from_millis(700);
const ROUNDS: usize = 9;
/// The same where the disk decides.
const SYNC_SLICE: Duration = Duration::from_millis(100);
const SYNC_ROUNDS: usize = 60;

/// Calls of `fdatasync` in this process, and their time.
static SYNCS: AtomicU64 = AtomicU64::new(0);
static SYNC_NANOS: AtomicU64 = AtomicU64::new(0);

/// Takes the place of the system library's, to count.
// SAFETY: the same arguments, result and effect.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: i32) -> i32 {
    let began = Instant::now();
    // SAFETY: a system call that takes a number.
    let done = unsafe { libc::syscall(libc::SYS_fdatasync, fd) };
    SYNCS.fetch_add(1, Relaxed);
    SYNC_NANOS.fetch_add(began.elapsed().as_nanos() as u64, Relaxed);
    done as i32
}

fn store(home: &Path, name: &str, durability: Option<Durability>) -> MemFs {
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

/// Overwrites per second by `threads` threads, for a while.
fn overwrites(fs: &MemFs, threads: u64, slice: Duration) -> f64 {
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
        thread::sleep(slice);
        stop.store(true, Relaxed);
    });
    done.into_inner() as f64 / began.elapsed().as_secs_f64()
}

/// Processor time of this process until now.
fn processor_seconds() -> f64 {
    // SAFETY: zeros are a value of it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: a system call that fills what it is given.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Overwrites per second of time, and of a processor's.
fn both_rates(fs: &MemFs, threads: u64) -> [f64; 2] {
    let (began, before) = (Instant::now(), processor_seconds());
    let rate = overwrites(fs, threads, SLICE);
    let writes = rate * began.elapsed().as_secs_f64();
    [rate, writes / (processor_seconds() - before)]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A file as the journal's front is: allocated, written from end to end, synced.
struct DiskAlone {
    file: File,
    at: u64,
}

impl DiskAlone {
    const FILE_BYTES: u64 = 4 << 20;

    fn new(dir: &Path) -> Self {
        let path = dir.join("disk-alone");
        let file =
            File::options().read(true).write(true).create_new(true).mode(0o600).open(path).expect("a file");
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, Self::FILE_BYTES).expect("room");
        for at in (0..Self::FILE_BYTES).step_by(64 << 10) {
            file.write_all_at(&[0; 64 << 10], at).expect("room");
        }
        file.sync_data().expect("a disk that works");
        Self { file, at: 0 }
    }

    /// Writes of so many bytes per second, each synced, for a while.
    fn syncs(&mut self, bytes: usize, slice: Duration) -> f64 {
        let (began, mut count, mut data) = (Instant::now(), 0_u64, vec![0; bytes]);
        while began.elapsed() < slice {
            data.fill(count as u8);
            if self.at + bytes as u64 > Self::FILE_BYTES {
                self.at = 0;
            }
            self.file.write_all_at(&data, self.at).expect("room");
            self.file.sync_data().expect("a disk that works");
            self.at += bytes as u64;
            count += 1;
        }
        count as f64 / began.elapsed().as_secs_f64()
    }
}

/// What a commit of so many overwrites has to write and sync: each one's bytes and some 60 more, in sectors that end with a stamp.
fn commit_bytes(writes: f64) -> usize {
    ((64.0 + writes * (4096.0 + 60.0)) / 504.0).ceil() as usize * 512
}

fn periodic(home: &Path) {
    let temp = store(home, "temp", None);
    let lasting = store(home, "periodic", Some(Durability::Periodic(Duration::from_millis(100))));
    for threads in [1, 2] {
        let (mut plain, mut durable, mut ratios) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
        for _ in 0..ROUNDS {
            let (a, b) = (both_rates(&temp, threads), both_rates(&lasting, threads));
            plain.push(a[0]);
            durable.push(b[0]);
            (0..2).for_each(|number| ratios[number].push(b[number] / a[number]));
        }
        let [ratios, by_processor] = ratios.map(median);
        println!(
            "periodic, {threads} threads: {:.0} temporary, {:.0} lasting writes/s, median ratio {ratios:.3}; of writes for each \
             second of a processor {by_processor:.3}",
            median(plain),
            median(durable),
        );
    }
}

fn sync(home: &Path) {
    let fs = store(home, "sync", Some(Durability::Sync));
    let mut alone = DiskAlone::new(&home.join("sync"));
    for threads in [1, 8] {
        let (mut rates, mut groups, mut within) = (Vec::new(), Vec::new(), Vec::new());
        let (mut disk, mut ratios, mut group) = (Vec::new(), Vec::new(), threads as f64);
        let mut before = alone.syncs(commit_bytes(group), SYNC_SLICE);
        for _ in 0..SYNC_ROUNDS {
            let (syncs, nanos) = (SYNCS.load(Relaxed), SYNC_NANOS.load(Relaxed));
            let rate = overwrites(&fs, threads, SYNC_SLICE);
            let syncs = (SYNCS.load(Relaxed) - syncs) as f64;
            let nanos = (SYNC_NANOS.load(Relaxed) - nanos) as f64;
            group = rate * SYNC_SLICE.as_secs_f64() / syncs;
            let after = alone.syncs(commit_bytes(group), SYNC_SLICE);
            // Between two looks at the disk, which may be another's at any time.
            let around = f64::midpoint(before, after);
            before = after;
            rates.push(rate);
            groups.push(group);
            within.push(nanos / SYNC_SLICE.as_nanos() as f64);
            disk.push(around);
            ratios.push(rate / (around * group));
        }
        println!(
            "sync, {threads} writers: {:.0} writes/s, {:.2} for each sync, {:.0} % of the time in it; the disk alone {:.0} syncs/s \
             of {} bytes; median share of its rate times the group {:.3}",
            median(rates),
            median(groups.clone()),
            100.0 * median(within),
            median(disk),
            commit_bytes(median(groups)),
            median(ratios)
        );
    }
}

fn main() {
    let home = tempfile::tempdir().expect("a directory");
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let wants = |half: &str| asked.is_empty() || asked.iter().any(|arg| arg == half);
    if wants("periodic") {
        periodic(home.path());
    }
    if wants("sync") {
        sync(home.path());
    }
}
