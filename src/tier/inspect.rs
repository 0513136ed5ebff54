//! Looking at files without reading them, and at the store as a whole.

use super::{
    core::{At, Core, Spot, time_of},
    heat,
    local::Local,
    tree::Tree,
    word::{Content, Word},
};
use crate::{
    config::Priority,
    epoch::Guard,
    error::Result,
    index::NodeId,
    stats::{self, Merged, Stats, percent},
    sync::Ordering::*,
};
use serde::Serialize;
use std::time::SystemTime;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum FileKind {
    /// A file.
    File,
    /// A directory.
    Directory,
}

/// Where a file's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Location {
    /// In RAM alone.
    Memory,
    /// On disk alone.
    Disk,
    /// In RAM with a copy on disk, or, of a long file, some chunks here and some there.
    Both,
}

/// What is known of a file or directory at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Metadata {
    path: String,
    kind: FileKind,
    len: u64,
    location: Location,
    priority: Priority,
    effective_priority: Priority,
    access_count: u64,
    created: SystemTime,
    modified: SystemTime,
    accessed: SystemTime,
}

impl Metadata {
    /// The canonical path; of an open file that was removed, the one it was opened by.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// File or directory.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// Whether it is a file.
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// Bytes of contents; 0 for a directory.
    #[expect(clippy::len_without_is_empty, reason = "as std::fs::Metadata")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Where the bytes are. Names are always in RAM, and so are empty files.
    pub fn location(&self) -> Location {
        self.location
    }

    /// The priority that was given.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// The priority that reads have lifted it to, 8 at most; it fades when they stop.
    pub fn effective_priority(&self) -> Priority {
        self.effective_priority
    }

    /// Reads: exact to 64, an unbiased estimate beyond.
    pub fn access_count(&self) -> u64 {
        self.access_count
    }

    /// When it was made.
    pub fn created(&self) -> SystemTime {
        self.created
    }

    /// When its contents last changed.
    pub fn modified(&self) -> SystemTime {
        self.modified
    }

    /// When it was last read, to the second; of a file read more than 64 times, when one of its last reads was.
    pub fn accessed(&self) -> SystemTime {
        self.accessed
    }
}

/// How many of a file's bytes are where.
#[derive(Clone, Copy, Default)]
pub(crate) struct Presence {
    pub(crate) ram_bytes: u64,
    /// What the blocks take that those bytes are in.
    pub(crate) block_bytes: u64,
    pub(crate) disk_bytes: u64,
}

impl Presence {
    fn location(self) -> Location {
        match (self.ram_bytes, self.disk_bytes) {
            (_, 0) => Location::Memory,
            (0, _) => Location::Disk,
            _ => Location::Both,
        }
    }
}

impl Core {
    pub(crate) fn presence(&self, word: Word, _guard: &Guard) -> Presence {
        let mut sum = Presence::default();
        let mut add = |word: Word| match word.content() {
            Content::Ram(block) => {
                let len = self.ground.arena.len(block) as u64;
                sum.ram_bytes += len;
                sum.block_bytes += self.ground.arena.capacity(block) as u64;
                sum.disk_bytes += if self.ground.extent_of(block).is_some() { len } else { 0 };
            }
            Content::Disk(extent) => sum.disk_bytes += self.ground.segments.len(extent) as u64,
            _ => {}
        };
        match word.content() {
            // SAFETY: loaded under the guard.
            Content::Tree(tree) => unsafe { Tree::deref(tree) }.visit(0..u64::MAX, |_, slot| {
                add(Word::from_bits(slot.load(Acquire)));
                true
            }),
            _ => add(word),
        }
        sum
    }

    /// What is known of a file, under `path`; nothing if it is no more, or the store is being closed.
    pub(crate) fn describe(&self, spot: &Spot<'_>, path: String, guard: &Guard) -> Option<Metadata> {
        let word = spot.word(self, guard);
        let node = spot.node;
        Some(Metadata {
            path,
            kind: FileKind::File,
            len: self.ground.len_of(word, guard)?,
            location: self.presence(word, guard).location(),
            priority: heat::priority(node),
            effective_priority: heat::effective(self, node),
            access_count: u64::from(node.reads.load(Relaxed)),
            created: time_of(node.created.load(Relaxed)),
            modified: time_of(node.modified.load(Relaxed)),
            accessed: time_of(u64::from(node.accessed.load(Relaxed)) * 1_000_000_000),
        })
    }

    /// Metadata of a file or directory by name.
    pub(crate) fn metadata(&self, local: &Local, path: &str) -> Result<Metadata> {
        loop {
            self.check_open()?;
            let guard = local.pin();
            let bound = self.index.lookup(path, &guard).map_err(|error| self.index_error(error))?;
            let name = self.index.path_of(bound.id, &guard);
            if bound.is_dir() {
                let node = bound.node;
                let created = time_of(node.created.load(Relaxed));
                return Ok(Metadata {
                    path: name.unwrap_or_else(|| path.to_owned()),
                    kind: FileKind::Directory,
                    len: 0,
                    location: Location::Memory,
                    priority: Priority::NORMAL,
                    effective_priority: Priority::NORMAL,
                    access_count: 0,
                    created,
                    modified: time_of(node.modified.load(Relaxed)),
                    accessed: created,
                });
            }
            let spot = self.resolve(At::Node(bound.id), &guard)?;
            let metadata = self.describe(&spot, name.unwrap_or_else(|| path.to_owned()), &guard);
            if let Some(metadata) = metadata
                && bound.still(&self.index)
            {
                return Ok(metadata);
            }
        }
    }

    /// Metadata of the files that have bytes in RAM.
    pub(crate) fn memory_map(&self, local: &Local) -> Vec<Metadata> {
        let mut map = Vec::new();
        for slot in 0..self.index.bound() {
            let guard = local.pin();
            let id = NodeId::new(slot);
            let Ok(spot) = self.resolve(At::Node(id), &guard) else { continue };
            if self.file(id).is_none() || self.presence(spot.word(self, &guard), &guard).ram_bytes == 0 {
                continue;
            }
            if let Some(path) = self.index.path_of(id, &guard) {
                map.extend(self.describe(&spot, path, &guard));
            }
        }
        map.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        map
    }

    /// All figures. Looks at every file.
    pub(crate) fn stats(&self, local: &Local) -> Stats {
        let (mut in_ram, mut on_disk) = ((0, 0), (0, 0));
        for slot in 0..self.index.bound() {
            let guard = local.pin();
            if let Some(node) = self.file(NodeId::new(slot)) {
                let presence = self.presence(self.word_of(node, &guard), &guard);
                in_ram = add(in_ram, presence.ram_bytes);
                on_disk = add(on_disk, presence.disk_bytes);
            }
        }
        let (mut read_ns, mut write_ns) = (Merged::new(), Merged::new());
        for local in self.registry.iter() {
            read_ns.add(&local.counters.read_ns);
            write_ns.add(&local.counters.write_ns);
        }
        let (read, write) = (read_ns.percentiles(), write_ns.percentiles());
        Stats {
            uptime_seconds: self.opened.elapsed().as_secs_f64(),
            memory: self.memory_stats(in_ram),
            disk: self.disk_stats(on_disk),
            cache: self.cache_stats(),
            operations: stats::OperationStats {
                total_operations: self
                    .registry
                    .tally(|c| c.reads.get() + c.writes.get() + c.deletes.get() + c.others.get()),
                read_count: self.registry.tally(|c| c.reads.get()),
                write_count: self.registry.tally(|c| c.writes.get()),
                delete_count: self.registry.tally(|c| c.deletes.get()),
                avg_read_time_ms: read.mean_ns / 1e6,
                avg_write_time_ms: write.mean_ns / 1e6,
            },
            latency: stats::LatencyStats { read, write },
            index: stats::IndexStats {
                files: self.index.file_count(),
                directories: self.index.dir_count(),
                size_bytes: self.index.size_bytes(&local.pin()),
                sketch_bytes: self.sketch.size_bytes(&local.pin()),
            },
            segments: self.segment_figures(),
            journal_bytes: self.ground.segments.stats().other_bytes,
            checksum_failures: self.ground.segments.stats().checksum_failures,
        }
    }

    fn memory_stats(&self, (file_count, total_size): (u64, u64)) -> stats::MemoryStats {
        let budget = self.budget();
        let (current_usage, limit) = (budget.charged(), budget.limit());
        stats::MemoryStats {
            current_usage,
            peak_usage: budget.peak(),
            limit,
            usage_percent: percent(current_usage, limit),
            file_count,
            total_size,
            awaiting_reclamation: self.awaiting_reclamation(),
            free_resident: self.ground.arena.free_resident_bytes(),
        }
    }

    fn disk_stats(&self, (file_count, current_usage): (u64, u64)) -> stats::DiskStats {
        let segments = self.ground.segments.stats();
        stats::DiskStats {
            path: segments.dir.display().to_string(),
            current_usage,
            total_capacity: segments.capacity_bytes,
            usage_percent: percent(current_usage, segments.capacity_bytes),
            file_count,
        }
    }

    fn cache_stats(&self) -> stats::CacheStats {
        let tally = |of: fn(&stats::Counters) -> u64| self.registry.tally(of);
        let (hits, misses) = (tally(|c| c.hits.get()), tally(|c| c.misses.get()));
        stats::CacheStats {
            hits,
            misses,
            hit_rate: percent(hits, hits + misses),
            swaps_in: tally(|c| c.swaps_in.get()),
            swaps_out: tally(|c| c.swaps_out.get()),
            preloads: tally(|c| c.preloads.get()),
            evictions: tally(|c| c.evictions.get()),
            failed_swap_outs: tally(|c| c.failed_swap_outs.get()),
        }
    }

    fn segment_figures(&self) -> stats::SegmentFigures {
        let segments = self.ground.segments.stats();
        stats::SegmentFigures {
            count: segments.segments,
            preallocated_bytes: segments.preallocated_bytes,
            live_bytes: segments.live_bytes,
            compactions: segments.compactions,
        }
    }

    /// Panics if the structures disagree; to be called at rest.
    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(crate) fn validate(&self, local: &Local) {
        let _resting = self.jobs.at_rest();
        let _flushed = self.log.as_ref().map(|log| log.at_rest());
        self.collect(local);
        self.ground.arena.validate().expect("the arena is consistent");
        self.ground.segments.validate(None);
        self.index.validate(&local.pin());
        for slot in 0..self.index.bound() {
            let guard = local.pin();
            self.each_place(NodeId::new(slot), &guard, |place, word| {
                if let Content::Ram(block) = word.content() {
                    let header = self.ground.arena.header(block);
                    let tail = header.tail.load(Acquire) as usize;
                    assert!(tail >= self.ground.arena.len(block), "{place:?}: claimed to {tail}");
                }
            });
        }
    }
}

/// One more file if it has any bytes here.
fn add((files, bytes): (u64, u64), here: u64) -> (u64, u64) {
    (files + u64::from(here > 0), bytes + here)
}
