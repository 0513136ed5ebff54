//! The rows: which work, over which files, by whom.

use crate::{
    data::{Layout, Lengths},
    engine::{About, Can},
    requests::Spread,
    results::Unit,
    work::Work,
};

const KIB: u32 = 1 << 10;
const MIB: u64 = 1 << 20;
/// What is read and written where all fits.
const BYTES: u64 = 128 * MIB;

/// Engines that are filled once and then take turns in several rows.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) id: &'static str,
    pub(crate) files: u32,
    pub(crate) lengths: Lengths,
    pub(crate) layout: Layout,
    pub(crate) limit_bytes: u64,
    pub(crate) threads: usize,
    /// Who can take part.
    pub(crate) wants: fn(Can) -> bool,
    /// Who could, but is left out, each for a reason given in its `fairness` or in the report.
    pub(crate) without: &'static [&'static str],
    /// Memory and page cache of each engine's process are held within this.
    pub(crate) cage_bytes: Option<u64>,
    pub(crate) rows: Vec<RowPlan>,
}

/// One row of a scene.
#[derive(Clone, Debug)]
pub(crate) struct RowPlan {
    pub(crate) id: String,
    pub(crate) group: &'static str,
    pub(crate) title: String,
    pub(crate) unit: Unit,
    pub(crate) kind: Kind,
    pub(crate) threads: usize,
}

/// What a row's values are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Rounds of work.
    Work(Work),
    /// How fast all files were created, one by one or in the engine's own way of filling.
    Fill,
    /// How much the process had grown then; of one file, or of all.
    Memory { per_file: bool },
    /// How long it takes until an engine that is opened again has read one file.
    Open { killed: bool },
}

impl RowPlan {
    /// Whether an engine of the scene is in this row.
    pub(crate) fn takes(&self, about: About) -> bool {
        match self.kind {
            Kind::Work(Work::List) => about.can.list,
            // vfs looks at all paths to list one directory: its walk takes as long as files times directories.
            Kind::Work(Work::Glob) => about.can.list && about.name != "vfs",
            // Where contents are not the process's memory, its growth is not what they cost.
            Kind::Memory { .. } => {
                about.name.starts_with("memfs") || !(about.can.overflow || about.name == "std_fs_tmpfs")
            }
            _ => true,
        }
    }

    /// Whether a value is one of a pass over everything, which takes what it takes.
    pub(crate) fn is_pass(&self) -> bool {
        match self.kind {
            Kind::Work(work) => work.is_pass(),
            Kind::Fill | Kind::Memory { .. } | Kind::Open { .. } => true,
        }
    }
}

fn plural(threads: usize) -> &'static str {
    if threads == 1 { "1 thread" } else { "2 threads" }
}

fn rated(group: &'static str, id: String, title: String, work: Work, threads: usize) -> RowPlan {
    let title = format!("{title}, {}", plural(threads));
    RowPlan {
        id: format!("{id}-{threads}t"),
        group,
        title,
        unit: Unit::Rate,
        kind: Kind::Work(work),
        threads,
    }
}

fn short(spread: Spread) -> &'static str {
    match spread {
        Spread::Zipf => "zipf",
        Spread::Uniform => "uniform",
        Spread::One => "one",
    }
}

fn touch(group: &'static str, size: &str, spread: Spread, threads: usize) -> RowPlan {
    let id = format!("touch-{size}-{}", short(spread));
    rated(group, id, format!("touch, {}", spread.name()), Work::Touch(spread), threads)
}

fn copy(group: &'static str, size: &str, spread: Spread, threads: usize) -> RowPlan {
    let id = format!("copy-{size}-{}", short(spread));
    rated(group, id, format!("copy, {}", spread.name()), Work::Copy(spread), threads)
}

fn mix(group: &'static str, size: &str, writes_percent: u8, threads: usize) -> RowPlan {
    let work = Work::Mix { spread: Spread::Zipf, writes_percent };
    let (id, title) = match writes_percent {
        100 => {
            (format!("overwrite-{size}"), format!("{}iB, Zipf 0.99", size.to_uppercase().replace('K', " K")))
        }
        _ => (
            format!("mix-{size}-{}-{writes_percent}", 100 - writes_percent),
            format!("{} % copy, {writes_percent} % overwrite, Zipf 0.99", 100 - writes_percent),
        ),
    };
    rated(group, id, title, work, threads)
}

/// Files that all fit, read over and over. 128 MiB: several times the last cache of a usual machine.
fn hits(id: &'static str, group: &'static str, len: u32, spreads: &[Spread]) -> Scene {
    let size = id.trim_start_matches("hit-");
    let files = (BYTES / u64::from(len)) as u32;
    let mut rows = Vec::new();
    for &spread in spreads {
        if spread != Spread::Uniform {
            rows.push(touch(group, size, spread, 1));
        }
        rows.push(touch(group, size, spread, 2));
        if spread != Spread::One {
            rows.push(copy(group, size, spread, 2));
        }
    }
    let without: &[&str] = if len <= 4 * KIB { SMALL_FILES_OUT } else { &[] };
    Scene { rows, without, ..fitting(id, files, len) }
}

/// Creating and removing 100,000 small files on disk takes longer than everything else, and reads come from the page cache, as
/// on tmpfs; larger files are in.
const SMALL_FILES_OUT: &[&str] = &["std_fs_disk"];

fn fitting(id: &'static str, files: u32, len: u32) -> Scene {
    Scene {
        id,
        files,
        lengths: Lengths::Fixed(len),
        layout: Layout::Tree,
        limit_bytes: 4 * u64::from(files) * u64::from(len),
        threads: 2,
        wants: |_| true,
        without: &[],
        cage_bytes: None,
        rows: Vec::new(),
    }
}

fn writes(id: &'static str, len: u32, rows: Vec<RowPlan>) -> Scene {
    let files = (BYTES / u64::from(len)) as u32;
    let without: &[&str] = if len <= KIB { SMALL_FILES_OUT } else { &[] };
    Scene { wants: |can| can.write, without, rows, ..fitting(id, files, len) }
}

/// All scenes, in the order of the report.
pub(crate) fn scenes() -> Vec<Scene> {
    use Spread::{One, Uniform, Zipf};
    const HIT_1K: &str = "Hit reads, 1 KiB";
    const HIT_4K: &str = "Hit reads, 4 KiB";
    const HIT_64K: &str = "Hit reads, 64 KiB";
    const HIT_1M: &str = "Hit reads, 1 MiB";
    const OVERWRITE: &str = "Overwrites";
    const MIXES: &str = "Mixes of reads and writes, 4 KiB";
    const CHURN: &str = "Create and delete, 1 KiB";
    vec![
        hits("hit-1k", HIT_1K, KIB, &[Zipf, Uniform, One]),
        hits("hit-4k", HIT_4K, 4 * KIB, &[Zipf, Uniform]),
        hits("hit-64k", HIT_64K, 64 * KIB, &[Zipf, Uniform]),
        hits("hit-1m", HIT_1M, 1024 * KIB, &[Zipf]),
        writes("write-1k", KIB, vec![mix(OVERWRITE, "1k", 100, 1), mix(OVERWRITE, "1k", 100, 2)]),
        writes(
            "write-4k",
            4 * KIB,
            vec![
                mix(OVERWRITE, "4k", 100, 1),
                mix(OVERWRITE, "4k", 100, 2),
                mix(MIXES, "4k", 50, 1),
                mix(MIXES, "4k", 50, 2),
                mix(MIXES, "4k", 5, 1),
                mix(MIXES, "4k", 5, 2),
            ],
        ),
        writes("write-64k", 64 * KIB, vec![mix(OVERWRITE, "64k", 100, 1), mix(OVERWRITE, "64k", 100, 2)]),
        Scene {
            wants: |can| can.remove,
            rows: [1, 2]
                .map(|threads| {
                    let title = "create one, delete one, 64 directories".to_owned();
                    rated(CHURN, "churn-1k".to_owned(), title, Work::Churn, threads)
                })
                .into(),
            ..fitting("churn-1k", 65_536, KIB)
        },
        over(OVER_FREE, "over-free", None),
        over(OVER_CAPPED, "over-capped", Some(OVER_LIMIT + OVER_LIMIT / 4 + 48 * MIB)),
        swapping_in(),
        listing(),
        globbing(),
        reopening(),
    ]
}

/// What engines may use in RAM where there is more.
const OVER_LIMIT: u64 = 128 * MIB;
const OVER_FREE: &str = "Four times the limit, page cache free";
const OVER_CAPPED: &str = "Four times the limit, memory and page cache capped";
const MIXED_LENGTHS: Lengths = Lengths::LogUniform { least: 4 * KIB, most: 256 * KIB };

fn files_of(total_bytes: u64) -> u32 {
    (total_bytes as f64 / MIXED_LENGTHS.mean()) as u32
}

fn over(group: &'static str, id: &'static str, cage_bytes: Option<u64>) -> Scene {
    let row = |threads| {
        let work = Work::Mix { spread: Spread::Zipf, writes_percent: 5 };
        let title = "95 % copy, 5 % overwrite, Zipf 0.99, 4 to 256 KiB".to_owned();
        rated(group, id.to_owned(), title, work, threads)
    };
    Scene {
        id,
        files: files_of(4 * OVER_LIMIT),
        lengths: MIXED_LENGTHS,
        limit_bytes: OVER_LIMIT,
        wants: |can| can.overflow && can.write,
        cage_bytes,
        rows: vec![row(1), row(2)],
        ..fitting(id, 0, 0)
    }
}

fn swapping_in() -> Scene {
    let row = |cold: bool, threads| {
        let cache = if cold { "cold" } else { "warm" };
        RowPlan {
            id: format!("swapin-{cache}-{threads}t"),
            group: "Everything read once from disk, 4 to 256 KiB, by file",
            title: format!("page cache {cache}, {}", plural(threads)),
            unit: Unit::Seconds,
            kind: Kind::Work(Work::Once { cold }),
            threads,
        }
    };
    Scene {
        files: files_of(512 * MIB),
        lengths: MIXED_LENGTHS,
        limit_bytes: 1024 * MIB,
        // Who forgets cannot read everything.
        wants: |can| can.overflow && !can.forget,
        rows: vec![row(false, 1), row(false, 2), row(true, 1), row(true, 2)],
        ..fitting("swapin", 0, 0)
    }
}

fn listing() -> Scene {
    Scene {
        layout: Layout::Flat,
        threads: 1,
        limit_bytes: 1024 * MIB,
        wants: |can| can.list,
        rows: vec![RowPlan {
            id: "list-100k".to_owned(),
            group: "Listing",
            title: "one directory of 100,000 files, sorted".to_owned(),
            unit: Unit::Seconds,
            kind: Kind::Work(Work::List),
            threads: 1,
        }],
        ..fitting("list-100k", 100_000, SMALL)
    }
}

/// Bytes of a file where names are what counts.
const SMALL: u32 = 100;

fn globbing() -> Scene {
    let row = |id: &str, group, title: &str, unit, kind| RowPlan {
        id: id.to_owned(),
        group,
        title: title.to_owned(),
        unit,
        kind,
        threads: 1,
    };
    const MEMORY: &str = "1,000,000 files of 100 bytes";
    Scene {
        threads: 1,
        limit_bytes: 1024 * MIB,
        wants: |can| can.write,
        without: SMALL_FILES_OUT,
        rows: vec![
            row("fill-1m", MEMORY, "created one after the other", Unit::Rate, Kind::Fill),
            row(
                "memory-1m",
                MEMORY,
                "memory, by how much the process grew",
                Unit::Bytes,
                Kind::Memory { per_file: false },
            ),
            row(
                "glob-1m",
                "Listing",
                "glob of an eighth of 1,000,000 paths",
                Unit::Seconds,
                Kind::Work(Work::Glob),
            ),
        ],
        ..fitting("files-1m", 1_000_000, SMALL)
    }
}

fn reopening() -> Scene {
    let row = |id: &str, title: &str, killed| RowPlan {
        id: id.to_owned(),
        group: "Opening a store of 1,000,000 files",
        title: title.to_owned(),
        unit: Unit::Seconds,
        kind: Kind::Open { killed },
        threads: 1,
    };
    Scene {
        threads: 1,
        limit_bytes: 1024 * MIB,
        wants: |can| can.reopen,
        rows: vec![
            row("open-1m-closed", "after close, until a file is read", false),
            row("open-1m-killed", "after a kill while writing, until a file is read", true),
        ],
        ..fitting("open-1m", 1_000_000, SMALL)
    }
}

/// Everything there is, in the order of the report.
pub(crate) fn all_rows() -> impl Iterator<Item = RowPlan> {
    scenes().into_iter().chain(growth(u32::MAX)).flat_map(|scene| scene.rows)
}

/// The same work with more and more files of 100 bytes.
pub(crate) fn growth(max_files: u32) -> Vec<Scene> {
    const SIZES: [(u32, &str, &str); 5] = [
        (1_000, "1k", "grow-1k"),
        (10_000, "10k", "grow-10k"),
        (100_000, "100k", "grow-100k"),
        (1_000_000, "1m", "grow-1m"),
        (10_000_000, "10m", "grow-10m"),
    ];
    SIZES
        .into_iter()
        .filter(|&(files, ..)| files <= max_files)
        .map(|(files, short, id)| grown(files, short, id))
        .collect()
}

fn grown(files: u32, short: &str, id: &'static str) -> Scene {
    let row = |what: &str, group, unit, kind| RowPlan {
        id: format!("grow-{what}-{short}"),
        group,
        title: format!("{short} files"),
        unit,
        kind,
        threads: 1,
    };
    let overwrite = Work::Mix { spread: Spread::Uniform, writes_percent: 100 };
    Scene {
        threads: 1,
        limit_bytes: (u64::from(files) * 1000).max(64 * MIB),
        // Maps, and what reads without a copy; caches and databases are in the rows above.
        wants: |can| can.write && can.remove && !can.forget && (!can.overflow || !can.reopen),
        without: &["std_fs_tmpfs", "std_fs_disk", "vfs", "object_store", "feoxdb"],
        rows: vec![
            row("fill", "Growth: creation", Unit::Rate, Kind::Fill),
            row("memory", "Growth: memory by file", Unit::Bytes, Kind::Memory { per_file: true }),
            row("touch", "Growth: touch, uniform", Unit::Rate, Kind::Work(Work::Touch(Spread::Uniform))),
            row("overwrite", "Growth: overwrite, uniform", Unit::Rate, Kind::Work(overwrite)),
        ],
        ..fitting(id, files, SMALL)
    }
}
