//! What a store counts, and the figures it shows. Counters are one set per thread, each with a single writer, so that counting
//! puts no shared write on any path; who asks for the figures adds them up.

use crate::sync::{AtomicI64, AtomicU64, Ordering::Relaxed};
use serde::Serialize;
use std::fmt;

/// A counter that one thread writes and any thread reads.
#[derive(Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    // Relaxed, and a load and a store in place of a read-modify-write: only the owning thread writes.
    #[inline]
    pub(crate) fn add(&self, n: u64) -> u64 {
        let now = self.0.load(Relaxed).wrapping_add(n);
        self.0.store(now, Relaxed);
        now
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How many operations of a thread go by for one that is timed.
const SAMPLE_EVERY: u64 = 32;

/// Whether the `n`-th operation of a kind is one of those that are timed: the first is.
#[inline]
pub(crate) fn is_sampled(n: u64) -> bool {
    n % SAMPLE_EVERY == 1
}

/// A level that one thread moves up and down and any thread reads; only the sum over threads has a meaning.
#[derive(Default)]
pub(crate) struct Level(AtomicI64);

impl Level {
    #[inline]
    pub(crate) fn add(&self, n: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

const SUB_BITS: u32 = 3;
const BUCKETS: usize = if cfg!(memfs_loom) { 1 } else { 38 << SUB_BITS };

/// Latencies in log-linear buckets: eight to a doubling, so a percentile is within 1/8 of the truth.
pub(crate) struct Histogram {
    buckets: [Tally; BUCKETS],
    total_ns: Tally,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Tally::default()), total_ns: Tally::default() }
    }
}

fn bucket_of(ns: u64) -> usize {
    let ns = ns.max(1);
    let top = ns.ilog2();
    if top < SUB_BITS {
        return ns as usize;
    }
    let below = (ns >> (top - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    ((((top - SUB_BITS + 1) << SUB_BITS) as usize) + below as usize).min(BUCKETS - 1)
}

/// The largest value that falls into `bucket`.
fn ceiling_of(bucket: usize) -> u64 {
    if bucket < 1 << SUB_BITS {
        return bucket as u64;
    }
    let shift = (bucket >> SUB_BITS) as u32 - 1;
    let below = (bucket & ((1 << SUB_BITS) - 1)) as u64;
    (((1 << SUB_BITS) + below + 1) << shift) - 1
}

impl Histogram {
    pub(crate) fn record(&self, ns: u64) {
        self.buckets[bucket_of(ns)].add(1);
        self.total_ns.add(ns);
    }
}

/// Sums of histograms, to read percentiles from.
pub(crate) struct Merged {
    buckets: Vec<u64>,
    total_ns: u64,
}

impl Merged {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], total_ns: 0 }
    }

    pub(crate) fn add(&mut self, one: &Histogram) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&one.buckets) {
            *sum += bucket.get();
        }
        self.total_ns += one.total_ns.get();
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let samples: u64 = self.buckets.iter().sum();
        let at = |share: f64| {
            let rank = (samples as f64 * share).ceil().max(1.0) as u64;
            let mut seen = 0;
            for (bucket, count) in self.buckets.iter().enumerate() {
                seen += count;
                if seen >= rank {
                    return ceiling_of(bucket);
                }
            }
            0
        };
        Percentiles {
            samples,
            mean_ns: if samples == 0 { 0.0 } else { self.total_ns as f64 / samples as f64 },
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
        }
    }
}

/// One thread's counters.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) reads: Tally,
    pub(crate) writes: Tally,
    pub(crate) deletes: Tally,
    /// Every call of the public face, those above included.
    pub(crate) others: Tally,
    pub(crate) hits: Tally,
    pub(crate) misses: Tally,
    pub(crate) swaps_in: Tally,
    pub(crate) swaps_out: Tally,
    pub(crate) evictions: Tally,
    pub(crate) preloads: Tally,
    pub(crate) retired_bytes: Tally,
    pub(crate) failed_swap_outs: Tally,
    /// Contents in RAM: a file, or one chunk of a long file.
    pub(crate) resident: Level,
    pub(crate) read_ns: Histogram,
    pub(crate) write_ns: Histogram,
}

/// The store's figures at one moment, each read on its own: they are consistent when the store is at rest.
///
/// Prints as text with `{}` and serialises with serde; [`to_json`](Stats::to_json) is the short way.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Since the store was opened.
    pub uptime_seconds: f64,
    /// RAM.
    pub memory: MemoryStats,
    /// Segment files.
    pub disk: DiskStats,
    /// What became of reads.
    pub cache: CacheStats,
    /// What was asked for.
    pub operations: OperationStats,
    /// How long it took, sampled: one operation in 32.
    pub latency: LatencyStats,
    /// Names.
    pub index: IndexStats,
    /// Disk, in detail.
    pub segments: SegmentFigures,
    /// Bytes of the journal; 0 in temp mode.
    pub journal_bytes: u64,
    /// Extents whose bytes were not what had been written.
    pub checksum_failures: u64,
}

/// RAM, in bytes unless said otherwise.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct MemoryStats {
    /// The whole footprint: contents, slack, index, sketch, what awaits reclamation.
    pub current_usage: u64,
    /// The most it has been.
    pub peak_usage: u64,
    /// What it can never be above.
    pub limit: u64,
    /// `current_usage` of `limit`.
    pub usage_percent: f64,
    /// Files with bytes in RAM.
    pub file_count: u64,
    /// Lengths of those files; of a long file, of the chunks in RAM.
    pub total_size: u64,
    /// Replaced or removed, but possibly still being read.
    pub awaiting_reclamation: u64,
    /// Resident, but free for the next write.
    pub free_resident: u64,
}

/// Disk, in bytes unless said otherwise.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct DiskStats {
    /// The storage directory.
    pub path: String,
    /// Bytes of contents on disk.
    pub current_usage: u64,
    /// The storage limit if there is one, else what the file system has free or gives to this store already.
    pub total_capacity: u64,
    /// `current_usage` of `total_capacity`.
    pub usage_percent: f64,
    /// Files with bytes on disk.
    pub file_count: u64,
}

/// What became of reads.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct CacheStats {
    /// Served from RAM.
    pub hits: u64,
    /// Served from disk.
    pub misses: u64,
    /// `hits` of both, in percent.
    pub hit_rate: f64,
    /// Files or chunks copied from disk to RAM.
    pub swaps_in: u64,
    /// Files or chunks that left RAM or were written past it.
    pub swaps_out: u64,
    /// Preloads completed.
    pub preloads: u64,
    /// Those of `swaps_out` that made room for something else.
    pub evictions: u64,
    /// Those that failed and left their file in RAM.
    pub failed_swap_outs: u64,
}

/// What was asked for.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct OperationStats {
    /// All calls that reached the store.
    pub total_operations: u64,
    /// Reads of contents.
    pub read_count: u64,
    /// Changes of contents.
    pub write_count: u64,
    /// Removed files and directories.
    pub delete_count: u64,
    /// Mean, sampled.
    pub avg_read_time_ms: f64,
    /// Mean, sampled.
    pub avg_write_time_ms: f64,
}

/// Latencies of reads and of writes.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct LatencyStats {
    /// Reads of contents.
    pub read: Percentiles,
    /// Changes of contents.
    pub write: Percentiles,
}

/// Sampled latencies, in nanoseconds; each percentile is at most 1/8 too high.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Percentiles {
    /// How many were timed.
    pub samples: u64,
    /// Mean.
    pub mean_ns: f64,
    /// Half are at most this.
    pub p50_ns: u64,
    /// Nine in ten.
    pub p90_ns: u64,
    /// 99 in 100.
    pub p99_ns: u64,
    /// 999 in 1000.
    pub p999_ns: u64,
}

/// Names.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct IndexStats {
    /// Files, resident or not.
    pub files: u64,
    /// Directories, without the root.
    pub directories: u64,
    /// Bytes of RAM that names, nodes and their tables take.
    pub size_bytes: u64,
    /// Bytes of the frequency sketch.
    pub sketch_bytes: u64,
}

/// Segment files.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct SegmentFigures {
    /// Files open.
    pub count: u64,
    /// Their sizes, preallocated.
    pub preallocated_bytes: u64,
    /// Bytes in them that somebody still needs.
    pub live_bytes: u64,
    /// Segments emptied and used again or given back.
    pub compactions: u64,
}

pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

impl Stats {
    /// One JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and a string serialise")
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (m, d, c, o) = (&self.memory, &self.disk, &self.cache, &self.operations);
        writeln!(f, "uptime      {:.1} s", self.uptime_seconds)?;
        writeln!(
            f,
            "memory      {} of {} bytes ({:.1} %), peak {}, {} files with {} bytes",
            m.current_usage, m.limit, m.usage_percent, m.peak_usage, m.file_count, m.total_size
        )?;
        writeln!(
            f,
            "disk        {} of {} bytes ({:.1} %), {} files, in {}",
            d.current_usage, d.total_capacity, d.usage_percent, d.file_count, d.path
        )?;
        writeln!(
            f,
            "cache       {} hits, {} misses ({:.1} %), {} swapped in, {} out, {} preloads, {} evictions",
            c.hits, c.misses, c.hit_rate, c.swaps_in, c.swaps_out, c.preloads, c.evictions
        )?;
        writeln!(
            f,
            "operations  {}: {} reads ({:.4} ms), {} writes ({:.4} ms), {} deletes",
            o.total_operations,
            o.read_count,
            o.avg_read_time_ms,
            o.write_count,
            o.avg_write_time_ms,
            o.delete_count
        )?;
        writeln!(f, "read        {}", self.latency.read)?;
        writeln!(f, "write       {}", self.latency.write)?;
        writeln!(
            f,
            "index       {} files, {} directories, {} bytes; sketch {} bytes",
            self.index.files, self.index.directories, self.index.size_bytes, self.index.sketch_bytes
        )?;
        write!(
            f,
            "segments    {} ({} bytes, {} live), {} compactions, {} checksum failures",
            self.segments.count,
            self.segments.preallocated_bytes,
            self.segments.live_bytes,
            self.segments.compactions,
            self.checksum_failures
        )
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {} ns, p90 {} ns, p99 {} ns, p99.9 {} ns ({} samples)",
            self.p50_ns, self.p90_ns, self.p99_ns, self.p999_ns, self.samples
        )
    }
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_falls_into_it_within_an_eighth() {
        for ns in (1..5000).chain([1 << 20, (1 << 33) + 12345]) {
            let ceiling = ceiling_of(bucket_of(ns));
            assert!(ceiling >= ns && ceiling as f64 <= ns as f64 * 1.125, "{ns}: {ceiling}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_of_a_known_distribution() {
        let histogram = Histogram::default();
        (1..=1000).for_each(|ns| histogram.record(ns));
        let mut merged = Merged::new();
        merged.add(&histogram);
        let p = merged.percentiles();
        assert_eq!(p.samples, 1000);
        assert!((500..=575).contains(&p.p50_ns) && (990..=1125).contains(&p.p99_ns), "{p:?}");
        assert!((p.mean_ns - 500.5).abs() < 1e-9);
    }

    #[test]
    fn no_samples_give_zeros() {
        let p = Merged::new().percentiles();
        assert_eq!((p.samples, p.p50_ns, p.p999_ns), (0, 0, 0));
    }
}
