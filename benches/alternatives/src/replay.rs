//! How well MemFS chooses what stays in RAM: request traces replayed through its public interface.
//!
//! All files of a trace are written and swapped out first. Then each request is a read; it is a miss if the file's bytes were
//! not in RAM (`Metadata::location`), which is where a cache would have had to fetch it. A first request is always a miss, as
//! in a cache that starts empty.
//!
//! A simulated cache of C bytes holds C bytes of contents and nothing else. MemFS's limit covers names, nodes, tables and
//! slack as well, so a limit is looked for under which the contents in RAM are C bytes on average: a replay, a correction of
//! the limit by what was missing, another replay. The average and the peak that came of it are reported.

use crate::{drive::Scratch, engine::Outcome, results::Replayed, simulate};
use memfs::{Location, MemFs};
use std::{
    path::{Path, PathBuf},
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Shares of the footprint, as in the figures compared with.
const SHARES: [f64; 4] = [0.01, 0.05, 0.10, 0.20];
/// How near the mean of what is resident has to come to the capacity.
const NEAR: f64 = 0.005;
const ATTEMPTS: usize = 6;
/// Looks at the statistics during a replay.
const LOOKS: usize = 200;

/// What the user chose.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) traces: PathBuf,
    /// Parts of names; all if empty.
    pub(crate) only: Vec<String>,
    pub(crate) work_directory: PathBuf,
    /// Of MemFS; with none, one thread's replay is the same every time.
    pub(crate) workers: usize,
    /// Reads that lift a file's priority by one; 0 for never.
    pub(crate) boost: u32,
}

/// Requests, and how long each object is.
pub(crate) struct Trace {
    name: String,
    requests: Vec<u32>,
    sizes: Vec<u32>,
}

impl Trace {
    /// `.ctr`, compressed: "CTR1", requests, objects, 0, an object a request, a size an object; little-endian words.
    fn load(path: &Path) -> Outcome<Self> {
        let bytes = zstd::decode_all(std::fs::File::open(path)?)?;
        let word = |i: usize| -> Outcome<u32> {
            let word = bytes.get(4 * i..).and_then(|rest| rest.first_chunk());
            Ok(u32::from_le_bytes(*word.ok_or("the trace is cut short")?))
        };
        if !bytes.starts_with(b"CTR1") {
            return Err(format!("{} is no trace", path.display()).into());
        }
        let (requests, objects) = (word(1)? as usize, word(2)? as usize);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: name.trim_end_matches(".ctr.zst").to_owned(),
            requests: (4..4 + requests).map(word).collect::<Outcome<_>>()?,
            sizes: (4 + requests..4 + requests + objects).map(word).collect::<Outcome<_>>()?,
        })
    }

    fn footprint(&self) -> u64 {
        self.sizes.iter().map(|&size| u64::from(size)).sum()
    }

    fn paths(&self) -> Vec<String> {
        (0..self.sizes.len()).map(|id| format!("/{}/{:03}/object-{id:07}", self.name, id / 256)).collect()
    }
}

/// Replays every wanted trace at every size, by one thread and by two.
pub(crate) fn run(options: &Options) -> Outcome<Vec<Replayed>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&options.traces)?.map(|entry| Ok(entry?.path())).collect::<Outcome<_>>()?;
    files.retain(|path| path.to_string_lossy().ends_with(".ctr.zst"));
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if !options.only.is_empty() && !options.only.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let trace = Trace::load(&file)?;
        let paths = trace.paths();
        for share in SHARES {
            let capacity = (trace.footprint() as f64 * share) as u64;
            let (objects, bytes) = simulate::miss_ratios(&trace.requests, &trace.sizes, capacity);
            println!(
                "{:10} {:4.0} % rule object misses {objects:.4}, byte misses {bytes:.4}",
                trace.name,
                share * 100.0
            );
            let mut limit = None;
            for threads in [1, 2] {
                let replayed = calibrated(&trace, &paths, share, threads, &mut limit, options)?;
                let replayed = Replayed { rule_object_misses: objects, rule_byte_misses: bytes, ..replayed };
                println!(
                    "{:10} {:4.0} % {threads}t  object misses {:.4}, byte misses {:.4}  (resident {:.3} of the capacity, peak {:.3})",
                    replayed.trace,
                    share * 100.0,
                    replayed.object_miss_ratio,
                    replayed.byte_miss_ratio,
                    replayed.resident_bytes as f64 / replayed.capacity_bytes as f64,
                    replayed.peak_bytes as f64 / replayed.capacity_bytes as f64,
                );
                all.push(replayed);
            }
        }
    }
    Ok(all)
}

/// The replay whose mean of resident contents is nearest to the capacity. `limit` is where to begin, and what was found.
fn calibrated(
    trace: &Trace,
    paths: &[String],
    share: f64,
    threads: usize,
    limit: &mut Option<u64>,
    options: &Options,
) -> Outcome<Replayed> {
    let capacity = (trace.footprint() as f64 * share) as u64;
    // What a name costs, roughly; the first replay tells how much it was.
    let mut now = limit.unwrap_or(capacity + 220 * paths.len() as u64 + (1 << 20));
    let off = |replayed: &Replayed| replayed.resident_bytes as f64 / capacity as f64 - 1.0;
    let mut best: Option<(u64, Replayed)> = None;
    // How much more is resident for each byte of limit, by the last two replays (the secant method).
    let (mut gain, mut last): (f64, Option<(u64, f64)>) = (0.95, None);
    for _ in 0..ATTEMPTS {
        let replayed = match replay(trace, paths, now, capacity, share, threads, options) {
            Ok(replayed) => replayed,
            // Not even the names fit: half way to what did.
            Err(failure) => match last {
                Some((limit, _)) if limit > now => {
                    now = now.midpoint(limit);
                    continue;
                }
                _ => return Err(failure),
            },
        };
        let resident = replayed.resident_bytes as f64;
        let (far, missing) = (off(&replayed), capacity as f64 - resident);
        if best.as_ref().is_none_or(|(_, best)| far.abs() < off(best).abs()) {
            best = Some((now, replayed));
        }
        if far.abs() <= NEAR {
            break;
        }
        if let Some((limit, before)) = last.filter(|&(limit, _)| limit != now) {
            // Within what is plausible: slack takes part of what is added, and a measurement is not exact.
            gain = ((resident - before) / (now as f64 - limit as f64)).clamp(0.3, 1.2);
        }
        last = Some((now, resident));
        now = (now as f64 + missing / gain) as u64;
    }
    let (found, replayed) = best.ok_or("no replay")?;
    *limit = Some(found);
    Ok(replayed)
}

#[derive(Default)]
struct Misses {
    objects: u64,
    bytes: u64,
    resident_sum: u64,
    resident_peak: u64,
    looks: u64,
}

fn replay(
    trace: &Trace,
    paths: &[String],
    limit: u64,
    capacity: u64,
    share: f64,
    threads: usize,
    options: &Options,
) -> Outcome<Replayed> {
    let scratch = Scratch::new(&options.work_directory, "replay")?;
    let fs = MemFs::builder()
        .memory_limit_bytes(limit)
        .storage_path(&scratch.0)
        .worker_threads(options.workers)
        .priority_boost_threshold(options.boost)
        .build()?;
    fill(&fs, trace, paths)?;
    let start = Barrier::new(threads);
    let places: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
    let parts: Vec<Outcome<Misses>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                let (fs, places, start) = (&fs, &places, &start);
                scope.spawn(move || worked(fs, trace, paths, thread, places, start))
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|_| Err("a thread died".into())))
            .collect()
    });
    let mut all = Misses::default();
    for part in parts {
        let part = part?;
        all.objects += part.objects;
        all.bytes += part.bytes;
        all.resident_sum += part.resident_sum;
        all.resident_peak = all.resident_peak.max(part.resident_peak);
        all.looks += part.looks;
    }
    let requested: u64 = trace.requests.iter().map(|&id| u64::from(trace.sizes[id as usize])).sum();
    fs.close()?;
    Ok(Replayed {
        trace: trace.name.clone(),
        share,
        threads,
        capacity_bytes: capacity,
        limit_bytes: limit,
        resident_bytes: all.resident_sum / all.looks.max(1),
        peak_bytes: all.resident_peak,
        rule_object_misses: 0.0,
        rule_byte_misses: 0.0,
        object_miss_ratio: all.objects as f64 / trace.requests.len() as f64,
        byte_miss_ratio: all.bytes as f64 / requested as f64,
    })
}

/// Writes everything, and swaps it out.
fn fill(fs: &MemFs, trace: &Trace, paths: &[String]) -> Outcome<()> {
    let mut bytes = vec![0x5a; trace.sizes.iter().copied().max().unwrap_or(0) as usize];
    for (id, path) in paths.iter().enumerate() {
        let len = trace.sizes[id] as usize;
        let tag = tag(id as u32, len);
        bytes[..tag.len()].copy_from_slice(&tag);
        fs.write(path, &bytes[..len])?;
    }
    fs.gc(0.0)?;
    Ok(())
}

/// What a file begins with.
fn tag(id: u32, len: usize) -> Vec<u8> {
    id.to_le_bytes().into_iter().take(len).collect()
}

/// How many requests a thread may be ahead of another.
const AHEAD: usize = 64;

/// One thread's requests: those for its share of the objects, so that no object is fetched by two at once, which would count
/// a miss twice where requests come in bursts. Threads stay together in the trace.
fn worked(
    fs: &MemFs,
    trace: &Trace,
    paths: &[String],
    thread: usize,
    places: &[AtomicUsize],
    start: &Barrier,
) -> Outcome<Misses> {
    let (mut misses, mut looked) = (Misses::default(), 0);
    let look_every = (trace.requests.len() / LOOKS).max(1);
    start.wait();
    let is_mine = |id: u32| (id.wrapping_mul(0x9e37_79b9) >> 16) as usize % places.len() == thread;
    let mine = trace.requests.iter().enumerate().filter(|&(_, &id)| is_mine(id));
    let _done = Finished(&places[thread]);
    for (i, &id) in mine {
        // Relaxed: places order nothing but themselves.
        places[thread].store(i, Ordering::Relaxed);
        while places.iter().any(|place| place.load(Ordering::Relaxed) + AHEAD < i) {
            std::thread::yield_now();
        }
        let (path, len) = (&paths[id as usize], trace.sizes[id as usize] as usize);
        // A file without bytes is never fetched.
        if len > 0 && fs.metadata(path)?.location() == Location::Disk {
            misses.objects += 1;
            misses.bytes += len as u64;
        }
        let is_right = fs.read_with(path, |bytes| bytes.len() == len && bytes.starts_with(&tag(id, len)))?;
        if !is_right {
            return Err(format!("{path} has other contents than were written").into());
        }
        // A cache that is still filling is not full; the first tenth does not count.
        if looked + look_every <= i && i > trace.requests.len() / 10 {
            let resident = fs.stats().memory.total_size;
            misses.resident_sum += resident;
            misses.resident_peak = misses.resident_peak.max(resident);
            misses.looks += 1;
            looked = i;
        }
    }
    Ok(misses)
}

/// Keeps nobody waiting for a thread that has ended, well or badly.
struct Finished<'a>(&'a AtomicUsize);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.0.store(usize::MAX / 2, Ordering::Relaxed);
    }
}
