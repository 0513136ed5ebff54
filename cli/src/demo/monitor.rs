//! The process's memory while the demo runs: what the kernel counts, and what the store says of itself.
//!
//! The kernel's figures come from `/proc/self/status`; where there is none they are absent, and the report says so.

use super::read::QUIET;
use memfs::MemFs;
use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread::{self, Thread},
    time::{Duration, Instant},
};

const INTERVAL: Duration = Duration::from_millis(20);

/// Resident memory in bytes: all, and its parts.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rss {
    pub(crate) total: u64,
    pub(crate) anonymous: u64,
    pub(crate) file: u64,
    pub(crate) shared: u64,
    /// The highest total since the process began, as the kernel keeps it.
    pub(crate) peak: u64,
}

/// Now.
pub(crate) fn rss() -> Option<Rss> {
    parse(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<Rss> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim_start_matches(':').trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib << 10)
    };
    Some(Rss {
        total: field("VmRSS")?,
        anonymous: field("RssAnon").unwrap_or(0),
        file: field("RssFile").unwrap_or(0),
        shared: field("RssShmem").unwrap_or(0),
        peak: field("VmHWM")?,
    })
}

/// The highest figures seen.
#[derive(Clone, Copy, Default)]
pub(crate) struct Peaks {
    /// The sample with the highest total.
    pub(crate) rss: Option<Rss>,
    pub(crate) footprint_bytes: u64,
}

impl Peaks {
    fn sample_footprint(&mut self, fs: &MemFs) {
        self.footprint_bytes = self.footprint_bytes.max(fs.stats().memory.current_usage);
    }

    fn sample_rss(&mut self) {
        if let Some(now) = rss()
            && self.rss.is_none_or(|before| before.total < now.total)
        {
            self.rss = Some(now);
        }
    }
}

/// Runs `work` while a thread of its own samples the memory; the peaks, with the store's own word on its peak.
pub(crate) fn watched<T>(fs: &MemFs, work: impl FnOnce() -> T) -> (T, Peaks) {
    let over = AtomicBool::new(false);
    let watch = || {
        let mut peaks = Peaks::default();
        // Relaxed: a late look costs one more interval at most, and the thread is woken when the work is done.
        let mut next = Instant::now();
        while !over.load(Relaxed) {
            peaks.sample_rss();
            let now = Instant::now();
            if now >= next {
                peaks.sample_footprint(fs);
                next = Instant::now() + now.elapsed() * QUIET;
            }
            thread::park_timeout(INTERVAL);
        }
        peaks
    };
    let (done, mut peaks) = thread::scope(|scope| {
        // Without the thread there still are the figures at the end, and the kernel's own peak.
        let watcher = thread::Builder::new().name("demo-monitor".into()).spawn_scoped(scope, watch).ok();
        let stop = Stop { over: &over, watcher: watcher.as_ref().map(|watcher| watcher.thread().clone()) };
        let done = work();
        drop(stop);
        (done, watcher.and_then(|watcher| watcher.join().ok()).unwrap_or_default())
    });
    peaks.sample_rss();
    peaks.footprint_bytes = peaks.footprint_bytes.max(fs.stats().memory.peak_usage);
    (done, peaks)
}

/// Ends the watch when it goes out of scope, by a panic too: the scope would wait for the thread otherwise.
struct Stop<'a> {
    over: &'a AtomicBool,
    watcher: Option<Thread>,
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        if let Some(watcher) = &self.watcher {
            watcher.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_file_is_understood() {
        let status = "Name:\tmemfs\nVmHWM:\t   2048 kB\nVmRSS:\t    1024 kB\nRssAnon:\t 512 kB\nRssFile:\t 500 kB\nRssShmem:\t 12 kB\n";
        let rss = parse(status).expect("all fields");
        assert_eq!((rss.total, rss.peak), (1 << 20, 2 << 20));
        assert_eq!((rss.anonymous, rss.file, rss.shared), (512 << 10, 500 << 10, 12 << 10));
        assert!(parse("Name:\tmemfs\n").is_none());
    }
}
