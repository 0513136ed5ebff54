//! Lets engines take turns: starts a process for each, gives orders, gathers answers.

mod reopening;

use crate::{
    child::{self, Answer, Order},
    engine::{Outcome, Setup},
    engines::{self, Entry},
    machine::{self, MemoryCage},
    plan::{Kind, RowPlan, Scene},
    results::{self, Row, Score, Unit},
    work::{Measured, Round, Work},
};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

/// What the user chose.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Rows whose names begin with one of these; all if empty.
    pub(crate) only: Vec<String>,
    /// Engines by name; all if empty.
    pub(crate) engines: Vec<String>,
    pub(crate) without: Vec<String>,
    pub(crate) rounds: usize,
    pub(crate) round_millis: u64,
    /// On disk; a directory of its own is made in it, and removed.
    pub(crate) work_directory: PathBuf,
    pub(crate) tmpfs: PathBuf,
    /// As the user typed it.
    pub(crate) command: String,
}

impl Options {
    pub(crate) fn wants_row(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|start| id.starts_with(start.as_str()))
    }

    pub(crate) fn wants_engine(&self, name: &str) -> bool {
        (self.engines.is_empty() || self.engines.iter().any(|wanted| wanted == name))
            && !self.without.iter().any(|unwanted| unwanted == name)
    }
}

/// A directory that is gone when this is dropped.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(parent: &Path, name: &str) -> Outcome<Self> {
        let path = parent.join(format!("alternatives-{}-{name}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("left behind: {}: {error}", self.0.display());
        }
    }
}

/// An engine in its process.
pub(crate) struct Player {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    // After the process in order of dropping.
    _cage: Option<MemoryCage>,
}

impl Player {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(
        entry: Entry,
        scene: &child::Scene,
        cage: Option<MemoryCage>,
    ) -> Outcome<(Self, Answer)> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["serve", entry.about.name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        if let Some(cage) = &cage {
            cage.hold(process.id())?;
        }
        let input = process.stdin.take().ok_or("no standard input")?;
        let output = BufReader::new(process.stdout.take().ok_or("no standard output")?);
        let mut player = Self { process, input, output, _cage: cage };
        player.say(scene)?;
        let ready = player.hear()?;
        Ok((player, ready))
    }

    fn say(&mut self, what: &impl serde::Serialize) -> Outcome<()> {
        let mut line = serde_json::to_string(what)?;
        line.push('\n');
        Ok(self.input.write_all(line.as_bytes())?)
    }

    fn hear(&mut self) -> Outcome<Answer> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(format!("ended: {}", self.process.wait()?).into());
        }
        match serde_json::from_str(&line)? {
            Answer::Failed(failure) => Err(failure.into()),
            answer => Ok(answer),
        }
    }

    pub(crate) fn order(&mut self, order: Order) -> Outcome<Answer> {
        self.say(&order)?;
        self.hear()
    }

    /// Ends it at once, as a crash of the process would.
    fn kill(&mut self) -> Outcome<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Closes it in order, and waits until its process is gone.
    fn close(&mut self) -> Outcome<()> {
        self.order(Order::Close)?;
        self.process.wait()?;
        Ok(())
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // Ended already, if all went well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How long an engine in a control group works before it counts as living there.
const TRIAL_MILLIS: u64 = 300;
const TRIALS: usize = 3;

/// One engine's part in a scene, row by row.
struct Part {
    entry: Entry,
    player: Option<Player>,
    scores: Vec<Score>,
    _directories: [Scratch; 2],
}

impl Part {
    /// Starts and fills it; what fails is noted in its scores. Who does not live within a control group is told half as much,
    /// and half of that, before it is out.
    fn start(entry: Entry, scene: &Scene, plans: &[&RowPlan], options: &Options) -> Outcome<(Self, u64)> {
        let began = Instant::now();
        let mut told_bytes = scene.limit_bytes;
        let (part, total) = loop {
            let (part, total) = Self::start_with(entry, scene, plans, options, told_bytes)?;
            let is_last = scene.cage_bytes.is_none() || told_bytes <= scene.limit_bytes / 4;
            if part.player.is_some() || is_last {
                break (part, total);
            }
            told_bytes /= 2;
        };
        eprintln!("  {:16} ready after {:.1} s", entry.about.name, began.elapsed().as_secs_f64());
        Ok((part, total))
    }

    fn start_with(
        entry: Entry,
        scene: &Scene,
        plans: &[&RowPlan],
        options: &Options,
        told_bytes: u64,
    ) -> Outcome<(Self, u64)> {
        let name = format!("{}-{}", scene.id, entry.about.name);
        let on_disk = Scratch::new(&options.work_directory, &name)?;
        let on_tmpfs = Scratch::new(&options.tmpfs, &name)?;
        let setup = Setup {
            files: scene.files,
            lengths: scene.lengths,
            layout: scene.layout,
            limit_bytes: told_bytes,
            directory: on_disk.0.clone(),
            tmpfs: on_tmpfs.0.clone(),
            threads: scene.threads,
        };
        let cage = scene.cage_bytes.map(|bytes| MemoryCage::new(entry.about.name, bytes)).transpose()?;
        let is_caged = cage.is_some();
        let score = Score { engine: entry.about.name.to_owned(), told_bytes, ..Score::default() };
        let scores = vec![score; plans.len()];
        let mut part = Self { entry, player: None, scores, _directories: [on_disk, on_tmpfs] };
        let mut total = 0;
        match Player::start(entry, &child::Scene { setup, fill: true, check_all: true }, cage) {
            Ok((player, Answer::Ready { memory, data_bytes, fill_seconds, .. })) => {
                part.filled(memory, fill_seconds, scene, plans);
                part.player = Some(player);
                total = data_bytes;
            }
            Ok((_, other)) => part.fail(&format!("answered {other:?}")),
            Err(failure) => part.fail(&failure.to_string()),
        }
        if is_caged && let Some(Kind::Work(work)) = plans.last().map(|plan| plan.kind) {
            // Whether it lives through the work, too.
            for _ in 0..TRIALS {
                part.play(plans.len() - 1, plans[plans.len() - 1], work, TRIAL_MILLIS, false);
            }
        }
        Ok((part, total))
    }

    /// Notes what the filling itself tells.
    fn filled(&mut self, memory: child::Memory, seconds: f64, scene: &Scene, plans: &[&RowPlan]) {
        let files = f64::from(scene.files);
        for (score, plan) in self.scores.iter_mut().zip(plans) {
            score.memory = memory;
            let grown = memory.rss.saturating_sub(memory.rss_before) as f64;
            match plan.kind {
                Kind::Fill => score.values.push(files / seconds),
                Kind::Memory { per_file: false } => score.values.push(grown),
                Kind::Memory { per_file: true } => score.values.push(grown / files),
                Kind::Work(_) | Kind::Open { .. } => {}
            }
        }
    }

    fn fail(&mut self, why: &str) {
        eprintln!("  {:16} is out: {why}", self.entry.about.name);
        for score in self.scores.iter_mut().filter(|score| score.values.is_empty()) {
            score.failure.get_or_insert_with(|| why.to_owned());
        }
        self.player = None;
    }

    /// One round; `keep` is false for the first, which warms up.
    fn play(&mut self, row: usize, plan: &RowPlan, work: Work, millis: u64, keep: bool) {
        let Some(player) = self.player.as_mut().filter(|_| plan.takes(self.entry.about)) else { return };
        match Self::try_play(player, Round { work, threads: plan.threads, millis }) {
            Ok((measured, memory)) => {
                let score = &mut self.scores[row];
                score.missing += measured.missing;
                score.wrong += measured.wrong;
                score.memory = memory;
                if keep {
                    score.values.push(value_of(plan.unit, work, &measured));
                    score.reads_ns.add(&measured.reads_ns);
                    score.writes_ns.add(&measured.writes_ns);
                }
            }
            Err(failure) => self.fail(&failure.to_string()),
        }
    }

    fn try_play(player: &mut Player, round: Round) -> Outcome<(Measured, child::Memory)> {
        if let Work::Once { cold } = round.work {
            player.order(Order::Evict { cold })?;
        }
        match player.order(Order::Round(round))? {
            Answer::Measured { measured, memory } => Ok((measured, memory)),
            other => Err(format!("answered {other:?}").into()),
        }
    }

    /// Reads everything, every byte, and closes.
    fn finish(&mut self) {
        let Some(player) = &mut self.player else { return };
        match player.order(Order::Check) {
            Ok(Answer::Checked { missing, wrong, figures, .. }) => {
                for score in &mut self.scores {
                    score.missing += missing;
                    score.wrong += wrong;
                    score.figures = figures.clone();
                }
                if let Err(failure) = player.close() {
                    eprintln!("  {:16} did not close: {failure}", self.entry.about.name);
                }
            }
            Ok(other) => self.fail(&format!("answered {other:?}")),
            Err(failure) => self.fail(&failure.to_string()),
        }
        self.player = None;
    }
}

fn value_of(unit: Unit, work: Work, measured: &Measured) -> f64 {
    match (unit, work) {
        (Unit::Rate, _) => measured.rate,
        // All threads work at once: what counts is when the last one is through.
        (_, Work::Once { .. }) => measured.seconds / measured.operations as f64,
        (_, _) => measured.seconds,
    }
}

/// Runs the wanted rows of a scene; the rows, measured.
pub(crate) fn scene(scene: &Scene, options: &Options) -> Outcome<Vec<Row>> {
    let plans: Vec<&RowPlan> = scene.rows.iter().filter(|row| options.wants_row(&row.id)).collect();
    if plans.is_empty() {
        return Ok(Vec::new());
    }
    eprintln!("{}: {} files", scene.id, scene.files);
    if plans.iter().any(|plan| matches!(plan.kind, Kind::Open { .. })) {
        return reopening::scene(scene, &plans, options);
    }
    if scene.cage_bytes.is_some()
        && let Err(failure) = MemoryCage::new("probe", 1 << 30)
    {
        return Ok(skipped(scene, &plans, options, &format!("no control group can be made: {failure}")));
    }
    let (mut parts, mut data_bytes) = (Vec::new(), 0);
    for entry in engines::all() {
        let about = entry.about;
        if (scene.wants)(about.can)
            && !scene.without.contains(&about.name)
            && options.wants_engine(about.name)
        {
            let (part, total) = Part::start(entry, scene, &plans, options)?;
            data_bytes = data_bytes.max(total);
            parts.push(part);
        }
    }
    let others_busy = rounds(&mut parts, &plans, options);
    parts.iter_mut().for_each(Part::finish);
    let mut rows: Vec<Row> = plans.iter().map(|plan| blank(scene, plan, options)).collect();
    for part in parts {
        for ((row, plan), score) in rows.iter_mut().zip(&plans).zip(part.scores) {
            if plan.takes(part.entry.about) {
                let (reads, writes) = ((&score.reads_ns).into(), (&score.writes_ns).into());
                row.scores.push(Score { reads, writes, ..score });
            }
        }
    }
    for row in &mut rows {
        row.data_bytes = data_bytes;
        row.others_busy = others_busy;
        show(row);
    }
    Ok(rows)
}

/// Rows with a reason in place of figures.
fn skipped(scene: &Scene, plans: &[&RowPlan], options: &Options, why: &str) -> Vec<Row> {
    eprintln!("  skipped: {why}");
    let row = |plan: &&RowPlan| Row { skipped: Some(why.to_owned()), ..blank(scene, plan, options) };
    plans.iter().map(row).collect()
}

/// All rounds of all rows; each begins with another engine. How busy others were.
fn rounds(parts: &mut [Part], plans: &[&RowPlan], options: &Options) -> f64 {
    let began = (Instant::now(), machine::busy_seconds());
    let ours = |parts: &[Part]| -> f64 {
        let ids = parts.iter().filter_map(|part| part.player.as_ref()).map(Player::id);
        ids.chain([std::process::id()]).map(machine::process_seconds).sum()
    };
    let ours_before = ours(parts);
    for round in 0..=options.rounds {
        for (row, plan) in plans.iter().enumerate() {
            let Kind::Work(work) = plan.kind else { continue };
            for turn in 0..parts.len() {
                let part = (turn + round) % parts.len();
                parts[part].play(row, plan, work, options.round_millis, round > 0);
            }
        }
    }
    let all = machine::busy_seconds() - began.1;
    ((all - (ours(parts) - ours_before)) / began.0.elapsed().as_secs_f64()).max(0.0)
}

fn blank(scene: &Scene, plan: &RowPlan, options: &Options) -> Row {
    Row {
        id: plan.id.clone(),
        group: plan.group.to_owned(),
        title: plan.title.clone(),
        unit: plan.unit,
        threads: plan.threads,
        files: scene.files,
        data_bytes: 0,
        limit_bytes: scene.limit_bytes,
        round_millis: if plan.is_pass() { 0 } else { options.round_millis },
        taken: results::timestamp(),
        command: options.command.clone(),
        others_busy: 0.0,
        scores: Vec::new(),
        skipped: None,
    }
}

/// A line for each engine, best first, as soon as it is known.
pub(crate) fn show(row: &Row) {
    println!("{}: {}, {} (others took {:.2} processors)", row.id, row.group, row.title, row.others_busy);
    let ours = row.ours();
    for score in row.ranked() {
        let Some(summary) = score.summary() else { continue };
        let show = |value| crate::report::show_value(row.unit, value);
        let advantage = ours.and_then(|ours| row.advantage(ours, score)).map_or(1.0, |ratio| ratio.median);
        let faults = if score.missing > 0 { format!("  {} missing", score.missing) } else { String::new() };
        println!(
            "  {:16} {:>10} ({} to {})  memfs is {advantage:.2} x{faults}",
            score.engine,
            show(summary.median),
            show(summary.lower_quartile),
            show(summary.upper_quartile),
        );
    }
    for score in row.scores.iter().filter(|score| !score.is_sound()) {
        println!("  {:16} out: {} wrong, {:?}", score.engine, score.wrong, score.failure);
    }
}
