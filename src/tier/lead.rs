//! Waiting for the disk together: one of those whose changes are to be durable flushes for all of them.

use super::{
    core::Core,
    flush::{Aim, Log},
    local::Local,
};
use crate::{
    error::Result,
    sync::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering::*},
};
use std::time::{Duration, Instant};

/// How long at most a flush lets others join before it begins, as a share of what the last one took, and in all; and how long
/// after the last of them came.
const GATHER_SHARE: u64 = 4;
const MOST_GATHERING: Duration = Duration::from_millis(1);
const BETWEEN_TWO: Duration = Duration::from_micros(30);

/// Who leads, and what is known of how many follow.
pub(super) struct Led {
    /// Whether one of those who wait flushes for all of them.
    leading: Mutex<bool>,
    ended: Condvar,
    /// Whether those whose changes became durable under the present lead were told so already.
    is_told: AtomicBool,
    /// How many changes are about to come together, and how long the last flush took.
    expected: AtomicU64,
    took_ns: AtomicU64,
}

/// One thread's lead of all who wait, until it is dropped.
struct Lead<'l>(&'l Led);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        *self.0.lock() = false;
        // Relaxed: if it was another flush that told them, whoever is woken here leads, and wakes the next.
        if self.0.is_told.load(Relaxed) {
            // All who still wait want another flush: one of them is enough.
            self.0.ended.notify_one();
        } else {
            self.0.ended.notify_all();
        }
    }
}

impl Led {
    pub(super) fn new() -> Self {
        let (expected, took_ns) = (AtomicU64::new(0), AtomicU64::new(0));
        let is_told = AtomicBool::new(false);
        Self { leading: Mutex::new(false), ended: Condvar::new(), is_told, expected, took_ns }
    }

    /// So many changes became durable together, and so many came meanwhile.
    pub(super) fn expect(&self, changes: u64) {
        self.expected.store(changes, Relaxed);
    }

    /// Tells those who wait that more is durable; they need not wait for what the flush does after that.
    pub(super) fn tell(&self) {
        // Who looked before is asleep when this has been locked, and is woken.
        drop(self.lock());
        self.is_told.store(true, Relaxed);
        self.ended.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.leading.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Log {
    /// Lets as many join the next batch as were in the last one, beside those who came while that was written: who has just been
    /// told that his change is durable most likely has another. Without it writers fall into two groups that wait for each
    /// other. Not for long, if nobody comes.
    fn gather(&self, local: &Local) {
        // Under the model checker every run is to be the same, and whoever could join does so in some run.
        if cfg!(memfs_loom) {
            return;
        }
        let expected = self.led.expected.load(Relaxed);
        let (began, mut came_at) = (Instant::now(), Duration::ZERO);
        let mut waiting = self.waiting(&local.pin());
        let most = Duration::from_nanos(self.led.took_ns.load(Relaxed) / GATHER_SHARE).min(MOST_GATHERING);
        while waiting < expected {
            std::thread::yield_now();
            let (now, elapsed) = (self.waiting(&local.pin()), began.elapsed());
            if now > waiting {
                (waiting, came_at) = (now, elapsed);
            } else if elapsed > most || elapsed - came_at > BETWEEN_TWO {
                return;
            }
        }
    }

    /// Flushes for all who wait.
    fn flushed(&self, core: &Core, local: &Local) -> Result<()> {
        let lead = Lead(&self.led);
        self.led.is_told.store(false, Relaxed);
        self.gather(local);
        let began = Instant::now();
        let flushed = core.flush_for(local, Aim::Soon);
        // Relaxed: a matter of tuning.
        self.led.took_ns.store(began.elapsed().as_nanos() as u64, Relaxed);
        drop(lead);
        flushed
    }
}

impl Core {
    /// Makes durable all that was acknowledged before.
    pub(crate) fn sync(&self, local: &Local) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        self.firm_up(local);
        let target = log.order.last_place(&local.pin());
        let mut leading = log.led.lock();
        // Acquire: pairs with the Release in `commit`.
        while log.durable.load(Acquire) < target {
            if *leading {
                leading = log.led.ended.wait(leading).unwrap_or_else(|poisoned| poisoned.into_inner());
                continue;
            }
            *leading = true;
            drop(leading);
            log.flushed(self, local)?;
            leading = log.led.lock();
        }
        drop(leading);
        self.settle(local)
    }
}
