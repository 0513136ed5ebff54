//! What was measured, as it is kept in `results.json`. Rows of a new run take the place of older rows of the same name; each
//! says when it was taken, by which command, and how busy the machine was with other things.

use crate::{
    child::Memory,
    engine::Outcome,
    engines,
    histogram::{Histogram, Percentiles},
    machine::Machine,
    plan,
    statistics::Summary,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// What a row's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unit {
    /// Operations by second.
    Rate,
    /// Seconds, for all of it or for one.
    Seconds,
    Bytes,
}

impl Unit {
    pub(crate) fn higher_is_better(self) -> bool {
        self == Unit::Rate
    }
}

/// One engine in one row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Score {
    pub(crate) engine: String,
    /// One a round, in the row's unit.
    pub(crate) values: Vec<f64>,
    /// Of all rounds' sampled latencies; the histograms themselves are only needed while rounds are added up.
    pub(crate) reads: Percentiles,
    pub(crate) writes: Percentiles,
    #[serde(skip)]
    pub(crate) reads_ns: Histogram,
    #[serde(skip)]
    pub(crate) writes_ns: Histogram,
    /// Reads that found nothing, or what the full check at the end found gone.
    pub(crate) missing: u64,
    pub(crate) wrong: u64,
    pub(crate) memory: Memory,
    /// The limit it was told: the row's, or less where it did not live within the control group otherwise.
    #[serde(default)]
    pub(crate) told_bytes: u64,
    /// What went wrong, if it is out.
    pub(crate) failure: Option<String>,
    /// Its own figures at the end.
    pub(crate) figures: serde_json::Value,
}

impl Score {
    pub(crate) fn summary(&self) -> Option<Summary> {
        Summary::of(&self.values)
    }

    /// Whether it did the work.
    pub(crate) fn is_sound(&self) -> bool {
        self.failure.is_none() && self.wrong == 0 && !self.values.is_empty()
    }
}

/// The same work by several engines.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    /// Rows of a group share a table and a chart.
    pub(crate) group: String,
    pub(crate) title: String,
    pub(crate) unit: Unit,
    pub(crate) threads: usize,
    pub(crate) files: u32,
    pub(crate) data_bytes: u64,
    pub(crate) limit_bytes: u64,
    pub(crate) round_millis: u64,
    /// Coordinated universal time.
    pub(crate) taken: String,
    pub(crate) command: String,
    /// Processors' worth of time that processes other than ours took, on average, while the row's scene ran.
    pub(crate) others_busy: f64,
    pub(crate) scores: Vec<Score>,
    /// Why the row is empty, if it is.
    pub(crate) skipped: Option<String>,
}

impl Row {
    pub(crate) fn score(&self, engine: &str) -> Option<&Score> {
        self.scores.iter().find(|score| score.engine == engine)
    }

    /// How many times as good as `theirs` is `ours`: the ratio of rates, or the inverse of times and sizes.
    pub(crate) fn advantage(&self, ours: &Score, theirs: &Score) -> Option<Summary> {
        if self.unit.higher_is_better() {
            Summary::of_ratios(&ours.values, &theirs.values)
        } else {
            Summary::of_ratios(&theirs.values, &ours.values)
        }
    }

    /// MemFS's: that of temp mode, or of persist mode where there is no other.
    pub(crate) fn ours(&self) -> Option<&Score> {
        let sound = |name| self.score(name).filter(|score| score.is_sound());
        sound("memfs").or_else(|| sound("memfs_persist"))
    }

    /// The best that is no limit, loses nothing, and is not MemFS.
    pub(crate) fn best_alternative(&self) -> Option<&Score> {
        self.ranked().into_iter().find(|score| {
            let about = engines::find(&score.engine).map(|entry| entry.about);
            score.missing == 0
                && !score.engine.starts_with("memfs")
                && about.is_ok_and(|about| !about.can.limit)
        })
    }

    /// The sound ones, best first.
    pub(crate) fn ranked(&self) -> Vec<&Score> {
        let mut scores: Vec<&Score> = self.scores.iter().filter(|score| score.is_sound()).collect();
        let median = |score: &Score| score.summary().map_or(0.0, |summary| summary.median);
        scores.sort_by(|a, b| median(a).total_cmp(&median(b)));
        if self.unit.higher_is_better() {
            scores.reverse();
        }
        scores
    }
}

/// A trace at one size of cache.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Replayed {
    pub(crate) trace: String,
    /// Of the trace's footprint.
    pub(crate) share: f64,
    pub(crate) threads: usize,
    pub(crate) capacity_bytes: u64,
    /// Under which the contents in RAM came to the capacity on average.
    pub(crate) limit_bytes: u64,
    /// Contents in RAM, mean and most during the replay.
    pub(crate) resident_bytes: u64,
    pub(crate) peak_bytes: u64,
    pub(crate) object_miss_ratio: f64,
    pub(crate) byte_miss_ratio: f64,
    /// What the rule alone comes to, simulated on this trace at this capacity.
    #[serde(default)]
    pub(crate) rule_object_misses: f64,
    #[serde(default)]
    pub(crate) rule_byte_misses: f64,
}

/// All of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// Of the packages compared.
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) rows: Vec<Row>,
    #[serde(default)]
    pub(crate) replays: Vec<Replayed>,
}

const FILE: &str = "results.json";

impl Results {
    /// Puts rows in the order of the plan, whatever was measured first.
    pub(crate) fn sort(&mut self) {
        let order: Vec<String> = plan::all_rows().map(|plan| plan.id).collect();
        self.rows.sort_by_key(|row| order.iter().position(|id| *id == row.id));
    }

    /// What `directory` holds; nothing if it holds none.
    pub(crate) fn load(directory: &Path) -> Outcome<Self> {
        match std::fs::read(directory.join(FILE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn save(&self, directory: &Path) -> Outcome<()> {
        std::fs::create_dir_all(directory)?;
        let mut text = serde_json::to_string(self)?;
        // A line for each engine of each row: what has changed can be seen.
        text = text.replace("{\"engine\":", "\n{\"engine\":").replace("{\"id\":", "\n{\"id\":");
        text.push('\n');
        Ok(std::fs::write(directory.join(FILE), text)?)
    }

    /// Puts a row in the place of its predecessor, or at the end.
    pub(crate) fn put(&mut self, row: Row) {
        match self.rows.iter_mut().find(|old| old.id == row.id) {
            Some(old) => *old = row,
            None => self.rows.push(row),
        }
    }
}

impl Results {
    /// Puts replays in the place of their predecessors.
    pub(crate) fn put_replays(&mut self, replays: Vec<Replayed>) {
        for new in replays {
            let same = |old: &&mut Replayed| {
                (&old.trace, old.share, old.threads) == (&new.trace, new.share, new.threads)
            };
            match self.replays.iter_mut().find(same) {
                Some(old) => *old = new,
                None => self.replays.push(new),
            }
        }
    }
}

/// Versions of the packages that engines name, from the lock file this was built with.
pub(crate) fn versions() -> BTreeMap<String, String> {
    let mut locked: BTreeMap<&str, &str> = BTreeMap::new();
    let mut name = "";
    for line in include_str!("../Cargo.lock").lines() {
        if let Some(value) = line.strip_prefix("name = ") {
            name = value.trim_matches('"');
        } else if let Some(value) = line.strip_prefix("version = ") {
            // Of two versions the one named last is the newer one, which is ours; the other is somebody's dependency.
            locked.insert(name, value.trim_matches('"'));
        }
    }
    let packages = engines::all().filter_map(|entry| entry.about.package);
    packages.filter_map(|package| Some((package.to_owned(), (*locked.get(package)?).to_owned()))).collect()
}

/// Now, as people write it.
pub(crate) fn timestamp() -> String {
    let since =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, seconds) = (since / 86_400, since % 86_400);
    // Days to a date: years begin in March here, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60)
}
