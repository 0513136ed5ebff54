//! What the system says about this process and this machine, and the few things that are asked of it.

use crate::engine::Outcome;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::Instant,
};

/// Where and when figures were taken.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) compiler: String,
    /// One reading of the clock; a timed operation has two around it, of which it sees about one.
    pub(crate) clock_ns: f64,
}

impl Machine {
    pub(crate) fn describe() -> Self {
        let first = |file: &str, label: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(label)).unwrap_or_default();
            line.split_once(':').map_or(line, |(_, value)| value).trim().to_owned()
        };
        let kib = first("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let compiler = std::process::Command::new("rustc").arg("--version").output();
        let compiler = compiler.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
        Self {
            processor: first("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (kib + (1 << 19)) >> 20,
            // What is after the number names the machine, not the kernel.
            kernel: kernel.split('-').next().unwrap_or_default().trim().to_owned(),
            compiler: compiler.unwrap_or_default(),
            clock_ns: clock_cost_ns(),
        }
    }
}

fn clock_cost_ns() -> f64 {
    const READINGS: u32 = 1_000_000;
    let began = Instant::now();
    for _ in 0..READINGS {
        std::hint::black_box(Instant::now());
    }
    began.elapsed().as_nanos() as f64 / f64::from(READINGS)
}

/// Seconds of processor time that all processes of the machine have had, and this process and its children of it. The
/// difference is what somebody else took meanwhile.
pub(crate) fn busy_seconds() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<f64> =
        text.lines().next().unwrap_or_default().split_whitespace().skip(1).flat_map(str::parse).collect();
    // user nice system idle iowait irq softirq
    let ticks: f64 = fields.iter().take(7).sum::<f64>() - fields.iter().skip(3).take(2).sum::<f64>();
    ticks / 100.0
}

/// Processor seconds of process `pid` so far, all its threads.
pub(crate) fn process_seconds(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = text.rsplit(") ").next().unwrap_or_default();
    // After the name: state is field 3 of the manual, utime 14, stime 15.
    after_name.split(' ').skip(11).take(2).flat_map(str::parse::<f64>).sum::<f64>() / 100.0
}

/// This process's resident memory, without pages of files that are mapped, in bytes: (all, anonymous).
pub(crate) fn resident_bytes() -> (u64, u64) {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |label: &str| {
        let line = text.lines().find(|line| line.starts_with(label)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
    };
    (of("VmRSS:"), of("RssAnon:"))
}

/// Makes the system forget the cached pages of every file this process has open or mapped, and of all files below
/// `directories`. They are written out first: dirty pages cannot be dropped.
pub(crate) fn drop_cached_pages(directories: &[&Path]) -> Outcome<()> {
    for directory in directories {
        // One call for all of the file system: thousands of small files would each wait for the disk.
        let file = File::open(directory)?;
        // SAFETY: plain numbers; the descriptor is open for as long as `file` lives.
        if unsafe { libc::syncfs(file.as_raw_fd()) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
    }
    unmap_pages()?;
    let drop_pages = |file: &File| -> std::io::Result<()> {
        // SAFETY: plain numbers; the descriptor is open for as long as `file` is borrowed.
        let code = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        if code == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(code)) }
    };
    let open = fs::read_dir("/proc/self/fd")?.flatten().map(|entry| entry.path());
    let below = directories.iter().flat_map(walkdir::WalkDir::new).flatten().map(|entry| entry.into_path());
    for path in open.chain(below) {
        // Pipes, sockets, and descriptors that are gone by now.
        if fs::metadata(&path).is_ok_and(|metadata| metadata.is_file())
            && let Ok(file) = File::open(&path)
        {
            drop_pages(&file)?;
        }
    }
    Ok(())
}

/// Lets go of the pages of all read-only shared mappings: a page that is mapped cannot be dropped from the cache.
fn unmap_pages() -> Outcome<()> {
    for line in fs::read_to_string("/proc/self/maps")?.lines().filter(|line| line.contains(" r--s ")) {
        let range =
            line.split(' ').next().and_then(|range| range.split_once('-')).ok_or("unknown format of maps")?;
        let (start, end) = (usize::from_str_radix(range.0, 16)?, usize::from_str_radix(range.1, 16)?);
        // SAFETY: the range is a shared read-only mapping of a file: the next access brings the same bytes again. The engine is
        // at rest between rounds; should one of its own threads put something else there within these microseconds, the
        // contents that are lost so are found by the check of every read.
        unsafe {
            libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED);
        }
    }
    Ok(())
}

/// A control group that bounds memory and page cache of the processes in it (version 1 of the interface). Gone when dropped.
pub(crate) struct MemoryCage {
    directory: PathBuf,
}

impl MemoryCage {
    pub(crate) fn new(name: &str, limit_bytes: u64) -> Outcome<Self> {
        let directory =
            Path::new("/sys/fs/cgroup/memory").join(format!("alternatives-{}-{name}", std::process::id()));
        fs::create_dir(&directory)?;
        let cage = Self { directory };
        fs::write(cage.directory.join("memory.limit_in_bytes"), limit_bytes.to_string())?;
        Ok(cage)
    }

    /// Puts a process in, with all that it does from now on.
    pub(crate) fn hold(&self, pid: u32) -> Outcome<()> {
        Ok(fs::write(self.directory.join("cgroup.procs"), pid.to_string())?)
    }
}

impl Drop for MemoryCage {
    fn drop(&mut self) {
        // Fails while a process in it is still going down; an empty group costs nothing.
        let _ = fs::remove_dir(&self.directory);
    }
}
