//! The whole process stays under the limit plus 2 % and 16 MiB whatever the sizes are and however they shift, and memory
//! that one size has given up is there for the next.

mod common;

use common::{alarm::Alarm, process::rss_bytes, rng, rng::Rng, stores::validate};
use memfs::MemFs;
use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

const LIMIT: u64 = 40 << 20;
const ALLOWED: u64 = LIMIT + LIMIT / 50 + (16 << 20);
const LONGEST: usize = 1 << 20;
const THREADS: u64 = 3;

/// The tests of this binary measure the process, so there is one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Contents are stretches of one random text: checking them takes no memory of its own.
fn text() -> Vec<u8> {
    rng::bytes(4711, 2 * LONGEST)
}

fn stretch(text: &[u8], file: u64, len: usize) -> &[u8] {
    let from = (file.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44) as usize % LONGEST;
    &text[from..from + len]
}

/// Watches the process and the store's own figures until it is told to stop; answers the most it saw.
fn watch(fs: &MemFs, over: &Alarm, most: &AtomicU64) {
    let mut rounds = 0;
    while !over.is_raised() {
        most.fetch_max(rss_bytes(), SeqCst);
        // The store's own figures cost a look at every file.
        if rounds % 16 == 0 {
            let memory = fs.stats().memory;
            assert!(memory.current_usage <= memory.limit, "charged past the limit: {memory:?}");
        }
        rounds += 1;
        thread::sleep(Duration::from_millis(5));
    }
}

/// So many files of about so many bytes each, in this directory, after another one was removed.
#[derive(Clone, Copy, Debug)]
struct Phase {
    dir: &'static str,
    len: usize,
    files: u64,
    removes: Option<&'static str>,
}

const fn phase(dir: &'static str, len: usize, files: u64, removes: Option<&'static str>) -> Phase {
    Phase { dir, len, files, removes }
}

/// Sizes up and down, some far apart: beside what is there, over the same names, and after it was removed.
const PHASES: [Phase; 8] = [
    phase("a", 100, 20_000, None),
    phase("b", 4096, 16_000, None),
    phase("c", 1 << 20, 80, Some("a")),
    phase("d", 37 << 10, 2000, None),
    phase("d", 300, 15_000, None),
    phase("b", 9000, 8000, None),
    phase("e", 700_000, 100, Some("b")),
    phase("f", 1500, 20_000, None),
];

fn work(fs: &MemFs, text: &[u8], number: usize, plan: Phase, thread: u64, over: &Alarm) {
    let name = |file: u64| format!("/{}/{}/{file}", plan.dir, file % 10);
    // Lengths scatter a little, so that no size class fits exactly.
    let len = |file: u64| plan.len - (file as usize * 7) % (plan.len / 10 + 1);
    let mut rng = Rng::varied(number as u64 * 100 + thread);
    for file in (thread..plan.files).step_by(THREADS as usize) {
        if over.is_raised() {
            return;
        }
        fs.write(name(file), stretch(text, file, len(file))).unwrap();
        if file % 5 == 0 {
            let old = thread + rng.below(file / THREADS + 1) * THREADS;
            let expected = stretch(text, old, len(old));
            let same = match old % 3 {
                0 => fs.get(name(old)).unwrap()[..] == *expected,
                1 => fs.read_bytes(name(old)).unwrap() == *expected,
                _ => fs.read_with(name(old), |found| found == expected).unwrap(),
            };
            assert!(same, "file {old} of phase {number}");
        }
    }
}

fn shift_sizes(workers: usize) {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let text = text();
    let start = rss_bytes();
    let most = AtomicU64::new(0);
    let fs = MemFs::builder().memory_limit_bytes(LIMIT).worker_threads(workers).build().unwrap();
    let over = Alarm::default();
    thread::scope(|scope| {
        let (fs, text, over, most) = (&fs, &text[..], &over, &most);
        let _guard = over.guard();
        scope.spawn(move || {
            let _guard = over.guard();
            watch(fs, over, most);
        });
        for (number, plan) in PHASES.into_iter().enumerate() {
            if let Some(dir) = plan.removes {
                fs.remove_dir_all(format!("/{dir}")).unwrap();
            }
            thread::scope(|scope| {
                for thread in 0..THREADS {
                    scope.spawn(move || {
                        let _guard = over.guard();
                        work(fs, text, number, plan, thread, over);
                    });
                }
            });
        }
        over.raise();
    });
    let grown = most.into_inner().saturating_sub(start);
    assert!(grown <= ALLOWED, "the process grew by {grown}, allowed are {ALLOWED}: {:?}", fs.stats().memory);
    assert!(fs.stats().cache.swaps_out > 1000);
    validate(&fs);
}

#[test]
fn shifting_sizes_stay_within_the_limit_without_workers() {
    shift_sizes(0);
}

#[test]
fn shifting_sizes_stay_within_the_limit_beside_workers() {
    shift_sizes(4);
}

#[test]
fn memory_that_one_size_has_given_up_serves_the_next() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let text = text();
    let fs = MemFs::builder().memory_limit_bytes(LIMIT).worker_threads(0).build().unwrap();
    let mut resident = Vec::new();
    for (number, len) in [4096, 1 << 20, 20_000, 2000, 300_000, 65_536, 5000].into_iter().enumerate() {
        // Twice as much as fits, and only this size: what was before is gone, or there is less of it. How much less is for the rule
        // to say, which values the many small files above the few large ones.
        for file in 0..2 * LIMIT / len as u64 {
            fs.write(format!("/{number}/{}/{file}", file % 16), stretch(&text, file, len)).unwrap();
        }
        let in_ram: u64 = fs.memory_map().iter().map(|file| file.len()).sum();
        resident.push((len, in_ram * 100 / LIMIT));
        if number % 2 == 1 {
            fs.remove_dir_all(format!("/{}", number - 1)).unwrap();
            fs.remove_dir_all(format!("/{number}")).unwrap();
        }
    }
    assert!(
        resident.iter().all(|&(_, percent)| percent >= 50),
        "percent of the limit that contents took after each size: {resident:?}"
    );
    validate(&fs);
}

#[test]
fn a_million_bytes_in_tiny_files_cost_about_200_bytes_each_beside() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let fs = MemFs::builder().memory_limit_bytes(LIMIT).worker_threads(0).build().unwrap();
    let files = 60_000;
    for file in 0..files {
        fs.write(format!("/d{:02}/file{file:06}", file % 64), [file as u8; 100]).unwrap();
    }
    fs.gc(0.0).unwrap();
    let memory = fs.stats().memory;
    assert_eq!(memory.total_size, 0);
    let each = memory.current_usage / files;
    assert!(each <= 220, "{each} bytes a file cannot leave RAM: {memory:?}");
    for file in (0..files).step_by(997) {
        assert_eq!(fs.read(format!("/d{:02}/file{file:06}", file % 64)).unwrap(), [file as u8; 100]);
    }
    validate(&fs);
}

/// Bytes of this process in huge pages, and whether any of its memory asks for such.
#[cfg(target_os = "linux")]
fn huge_pages() -> (u64, bool) {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let values = |key: &'static str| smaps.lines().filter_map(move |line| line.strip_prefix(key));
    let kib = |value: &str| value.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
    let asks = values("VmFlags:").any(|flags| flags.split_whitespace().any(|flag| flag == "hg"));
    (values("AnonHugePages:").map(kib).sum::<u64>() << 10, asks)
}

#[test]
#[cfg(target_os = "linux")]
fn a_store_that_is_to_have_no_huge_pages_has_none() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Where they are given out unasked others may have some.
    let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let on_demand = enabled.contains("[madvise]");
    let (before, _) = huge_pages();
    for wanted in [false, true] {
        let fs = MemFs::builder().memory_limit_bytes(1 << 30).huge_pages(wanted).build().unwrap();
        for file in 0..30_000 {
            fs.write(format!("/d{}/{file}", file % 10), [1; 1000]).unwrap();
        }
        for file in 0..100 {
            fs.write(format!("/long/{file}"), vec![2; 300 << 10]).unwrap();
        }
        let (bytes, asks) = huge_pages();
        // A system whose memory is in pieces may have none to give to who wants some.
        println!("huge pages wanted: {wanted}; {bytes} bytes in some, {before} before");
        assert!(wanted || !asks && (bytes == before || !on_demand));
    }
}
