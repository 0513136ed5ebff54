//! How long it takes to open a store again: after it was closed, and after its process was killed while it was writing.

use super::{Options, Player, Scratch, blank, show};
use crate::{
    child::{self, Answer, Order},
    engine::{Outcome, Setup},
    engines::{self, Entry},
    machine,
    plan::{Kind, RowPlan, Scene},
    requests::Spread,
    results::{Row, Score},
    work::{Round, Work},
};
use std::time::Instant;

/// How long is written before the kill.
const WRITING_MILLIS: u64 = 300;
/// How long is read after each opening, to see that files are there.
const READING_MILLIS: u64 = 50;

pub(super) fn scene(scene: &Scene, plans: &[&RowPlan], options: &Options) -> Outcome<Vec<Row>> {
    let mut rows: Vec<Row> = plans.iter().map(|plan| blank(scene, plan, options)).collect();
    let began = (Instant::now(), machine::busy_seconds());
    let mut ours = 0.0;
    for entry in engines::all() {
        let name = entry.about.name;
        if !(scene.wants)(entry.about.can) || scene.without.contains(&name) || !options.wants_engine(name) {
            continue;
        }
        let mut openings = Openings::default();
        let failure = openings.measure(entry, scene, options).err().map(|failure| failure.to_string());
        if let Some(failure) = &failure {
            eprintln!("  {name:16} is out: {failure}");
        }
        ours += openings.processor_seconds;
        for (row, plan) in rows.iter_mut().zip(plans) {
            let killed = plan.kind == Kind::Open { killed: true };
            let values = if killed { openings.after_kill.clone() } else { openings.after_close.clone() };
            row.scores.push(Score {
                engine: name.to_owned(),
                values,
                missing: openings.missing,
                wrong: openings.wrong,
                memory: openings.memory,
                failure: failure.clone(),
                ..Score::default()
            });
            row.data_bytes = openings.data_bytes;
        }
    }
    let busy = machine::busy_seconds() - began.1;
    for row in &mut rows {
        row.others_busy = ((busy - ours) / began.0.elapsed().as_secs_f64()).max(0.0);
        show(row);
    }
    Ok(rows)
}

/// What came of one engine.
#[derive(Default)]
struct Openings {
    after_close: Vec<f64>,
    after_kill: Vec<f64>,
    missing: u64,
    wrong: u64,
    memory: child::Memory,
    data_bytes: u64,
    processor_seconds: f64,
}

impl Openings {
    fn measure(&mut self, entry: Entry, scene: &Scene, options: &Options) -> Outcome<()> {
        let directory = Scratch::new(&options.work_directory, &format!("{}-{}", scene.id, entry.about.name))?;
        let tmpfs = Scratch::new(&options.tmpfs, &format!("{}-{}", scene.id, entry.about.name))?;
        let setup = Setup {
            files: scene.files,
            lengths: scene.lengths,
            layout: scene.layout,
            limit_bytes: scene.limit_bytes,
            directory: directory.0.clone(),
            tmpfs: tmpfs.0.clone(),
            threads: scene.threads,
        };
        let first = child::Scene { setup: setup.clone(), fill: true, check_all: true };
        let again = child::Scene { setup, fill: false, check_all: true };
        let (mut player, _) = self.open(entry, &first)?;
        self.close(&mut player)?;
        for _ in 0..options.rounds {
            let (mut player, seconds) = self.open(entry, &again)?;
            self.after_close.push(seconds);
            self.read(&mut player)?;
            let overwrite = Work::Mix { spread: Spread::Zipf, writes_percent: 100 };
            player.order(Order::Round(Round { work: overwrite, threads: 1, millis: WRITING_MILLIS }))?;
            self.processor_seconds += machine::process_seconds(player.id());
            player.kill()?;
            let (mut player, seconds) = self.open(entry, &again)?;
            self.after_kill.push(seconds);
            self.read(&mut player)?;
            self.close(&mut player)?;
        }
        eprintln!("  {:16} done", entry.about.name);
        Ok(())
    }

    fn open(&mut self, entry: Entry, scene: &child::Scene) -> Outcome<(Player, f64)> {
        match Player::start(entry, scene, None)? {
            (player, Answer::Ready { memory, open_seconds, data_bytes, .. }) => {
                self.memory = memory;
                self.data_bytes = data_bytes;
                Ok((player, open_seconds))
            }
            (_, other) => Err(format!("answered {other:?}").into()),
        }
    }

    fn read(&mut self, player: &mut Player) -> Outcome<()> {
        let look = Round { work: Work::Copy(Spread::Uniform), threads: 1, millis: READING_MILLIS };
        if let Answer::Measured { measured, .. } = player.order(Order::Round(look))? {
            self.missing += measured.missing;
            self.wrong += measured.wrong;
        }
        Ok(())
    }

    fn close(&mut self, player: &mut Player) -> Outcome<()> {
        self.processor_seconds += machine::process_seconds(player.id());
        player.close()
    }
}
