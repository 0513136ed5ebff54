//! The rows: which work, over which files, by whom.

use crate::{
    data::{Layout, Lengths},
    engine::Can,
    requests::Spread,
    results::Unit,
    work::{Round, Work},
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
    pub(crate) work: Work,
    pub(crate) threads: usize,
}

impl RowPlan {
    pub(crate) fn round(&self, millis: u64) -> Round {
        Round { work: self.work, threads: self.threads, millis }
    }

    /// Whether seconds are those of one file and not of all.
    pub(crate) fn per_operation(&self) -> bool {
        matches!(self.work, Work::Once { .. })
    }
}

fn plural(threads: usize) -> &'static str {
    if threads == 1 { "1 thread" } else { "2 threads" }
}

fn rated(group: &'static str, id: String, title: String, work: Work, threads: usize) -> RowPlan {
    let title = format!("{title}, {}", plural(threads));
    RowPlan { id: format!("{id}-{threads}t"), group, title, unit: Unit::Rate, work, threads }
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
        100 => (format!("overwrite-{size}"), "overwrite, Zipf 0.99".to_owned()),
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
    Scene { rows, ..fitting(id, files, len) }
}

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
    Scene { wants: |can| can.write, rows, ..fitting(id, files, len) }
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
    ]
}
