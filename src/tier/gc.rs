//! The explicit gc: swaps out down to a target, locked files last.

use super::{core::Core, local::Local};
use crate::{
    error::{Error, Result},
    scorer::Band,
};
use serde::Serialize;
use std::time::Instant;

/// What a gc did.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct GcReport {
    /// Files, or chunks of long files, that left RAM.
    pub files_swapped_out: u64,
    /// Bytes of RAM that became free.
    pub bytes_freed: u64,
    /// Swap-outs that failed; those files stayed in RAM.
    pub failed: u64,
    /// Bytes in use before: charged and not free.
    pub usage_before: u64,
    /// Bytes in use after.
    pub usage_after: u64,
    /// How long it took.
    pub duration_ms: f64,
}

impl Core {
    /// Charged bytes that are not free for the next write.
    pub(crate) fn in_use(&self) -> u64 {
        self.budget().charged().saturating_sub(self.ground.arena.free_resident_bytes())
    }

    pub(crate) fn gc(&self, local: &Local, target_usage: f64) -> Result<GcReport> {
        if target_usage.is_nan() || target_usage < 0.0 {
            return Err(Error::argument("target_usage", "a fraction of the limit, 0 or more", target_usage));
        }
        let started = Instant::now();
        // What is not durable yet is held until it is.
        self.flush(local)?;
        self.collect(local);
        let usage_before = self.in_use();
        let target = (self.config.memory_limit_bytes as f64 * target_usage) as u64;
        let mut report = GcReport {
            files_swapped_out: 0,
            bytes_freed: 0,
            failed: 0,
            usage_before,
            usage_after: usage_before,
            duration_ms: 0.0,
        };
        let mut last_error = None;
        for band in [Band::First, Band::Normal, Band::Kept, Band::Locked] {
            self.gc_band(local, target, band, &mut report, &mut last_error);
        }
        self.collect(local);
        self.ground.arena.trim(u64::MAX);
        report.usage_after = self.in_use();
        report.bytes_freed = usage_before.saturating_sub(report.usage_after);
        report.duration_ms = started.elapsed().as_secs_f64() * 1e3;
        match last_error {
            Some(error) if report.files_swapped_out == 0 => Err(error),
            _ => Ok(report),
        }
    }

    /// Swaps out files of one band until the target is met or none is left.
    fn gc_band(
        &self,
        local: &Local,
        target: u64,
        band: Band,
        report: &mut GcReport,
        last_error: &mut Option<Error>,
    ) {
        // What is retired is on its way to be free, whoever still reads it.
        let mut in_use = self.in_use().saturating_sub(self.awaiting_reclamation());
        let (mut since_look, mut idle) = (0, 0);
        while in_use > target && idle < 64 && !self.is_closed() {
            let Some(victim) = self.victim(local, band, u32::MAX) else { return };
            match self.swap_out(local, victim.place(), victim.word(), band) {
                Ok(0) => idle += 1,
                Ok(bytes) => {
                    idle = 0;
                    report.files_swapped_out += 1;
                    in_use = in_use.saturating_sub(bytes);
                    since_look += 1;
                }
                Err(error) => {
                    idle += 1;
                    report.failed += 1;
                    local.counters.failed_swap_outs.add(1);
                    *last_error = Some(error);
                }
            }
            if since_look == 256 {
                since_look = 0;
                self.collect(local);
                in_use = self.in_use().saturating_sub(self.awaiting_reclamation());
            }
        }
    }
}
