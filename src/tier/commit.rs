//! Making one batch durable: its bytes and one frame, in the journal or in the journal's front. The rules are `flush`'s.

use super::{
    core::Core,
    encode::{Digest, Encoded},
    flush::{Aim, Flusher, Log},
    limbo::Freed,
    local::Local,
};
use crate::{
    error::{Error, Result},
    segment::ExtentRef,
    sync::Ordering::*,
};
use std::collections::HashSet;

/// Times that bytes are written anew after a segment could not be synced.
const REWRITES: usize = 3;

impl Core {
    /// Writes what is in the order as one frame, and lets the records go.
    pub(super) fn write_batch(
        &self,
        log: &Log,
        flusher: &mut Flusher,
        aim: Aim,
        local: &Local,
    ) -> Result<()> {
        let segments = &self.ground.segments;
        for _ in 0..REWRITES {
            let digest = self.encode_batch(log, flusher, local)?;
            flusher.tried = !flusher.taken.is_empty();
            if flusher.taken.is_empty() && (aim != Aim::Settled || !flusher.has_to_settle()) {
                return Ok(());
            }
            if aim == Aim::Soon && self.commit_ahead(log, flusher) {
                self.committed(log, flusher, &digest, local);
                return Ok(());
            }
            // What could not be synced is not trusted, and written elsewhere the next time round.
            let _ = segments.sync();
            if self.are_safe(&flusher.encoded.extents, &flusher.dead)
                && self.are_safe(&flusher.ahead, &flusher.dead)
            {
                return self.commit(log, flusher, &digest, local);
            }
            // Of what went to disk at once, for want of RAM, and of what only the front has beside, there is no other copy: it is
            // moved, as far as it can be read and verifies, and those moves belong to the batch.
            if let Some(sparse) = segments.sparse() {
                let _ = self.compact(local, &sparse);
            }
            // Also what was written elsewhere this time: a move to where it had been names nothing any more.
            if let Some(limbo) = &self.ground.limbo {
                limbo.take_dead(&mut flusher.dead);
            }
        }
        Err(Error::io("", "syncing a segment", std::io::ErrorKind::Other.into()))
    }

    /// Whether the extents that the batch names, or the journal's front, are synced, but for those that changes of this batch, or
    /// of earlier ones, have freed (invariant 3).
    fn are_safe<'e>(&self, named: impl IntoIterator<Item = &'e ExtentRef>, dead: &[Freed]) -> bool {
        let mut unsafe_ones =
            named.into_iter().filter(|extent| !self.ground.segments.is_trusted(**extent)).peekable();
        if unsafe_ones.peek().is_none() {
            return true;
        }
        let extent_of = |freed: &Freed| match freed {
            Freed::Extent(extent) => Some(*extent),
            Freed::Block(_) => None,
        };
        let dead: HashSet<ExtentRef, foldhash::fast::RandomState> =
            dead.iter().filter_map(extent_of).collect();
        unsafe_ones.all(|extent| dead.contains(extent))
    }

    /// Writes the batch into the journal's front, if it is for that; whether it is durable now.
    fn commit_ahead(&self, log: &Log, flusher: &mut Flusher) -> bool {
        let Flusher { journal: Some(journal), encoded, ahead, charged, .. } = flusher else { return false };
        let Encoded { batch, extents, redo } = encoded;
        if !redo.is_whole() || !extents.iter().all(|extent| self.ground.segments.is_founded(*extent)) {
            return false;
        }
        let bytes = journal.bytes() + journal.front_growth_bytes(log.most_front_bytes);
        if self.charge_journal(bytes, charged).is_err()
            || !journal.append_ahead(batch, redo, log.most_front_bytes)
        {
            return false;
        }
        ahead.extend(extents.iter().copied());
        true
    }

    /// Makes the batch durable, whose bytes are.
    fn commit(&self, log: &Log, flusher: &mut Flusher, digest: &Digest, local: &Local) -> Result<()> {
        let Flusher { journal: Some(journal), encoded, ahead, charged, .. } = flusher else {
            return Err(Error::Closed);
        };
        let bytes = journal.ahead_bytes() + encoded.batch.len_bytes() as u64;
        self.charge_journal(journal.bytes() + bytes, charged)?;
        journal.append(&encoded.batch)?;
        // It is durable, whatever it takes on disk: if that is more than was charged, and than there is, the next batch meets it.
        let _ = self.charge_journal(journal.bytes(), charged);
        ahead.clear();
        // What nothing names that was found is free from now on, and not before: what no longer names it may have been in the
        // page cache alone. AcqRel: one of several ends it, after all that was found.
        if log.unsettled.swap(false, AcqRel) {
            self.ground.segments.recovered();
        }
        self.committed(log, flusher, digest, local);
        Ok(())
    }

    /// What was taken is durable.
    fn committed(&self, log: &Log, flusher: &mut Flusher, digest: &Digest, local: &Local) {
        let Flusher { taken, placed, tried, .. } = flusher;
        *tried = false;
        if taken.is_empty() {
            return;
        }
        let last = taken.last().map_or(0, |taken| taken.record().place());
        placed.clear();
        // Release: pairs with the Acquire of who waits for a place.
        log.durable.store(last, Release);
        log.led.expect(taken.len() as u64 + log.waiting(&local.pin()));
        log.led.tell();
        self.let_go(log, std::mem::take(taken), |record| digest.is_settled(record), local);
    }

    /// Charges what journal and checkpoint take to the storage limit.
    pub(super) fn charge_journal(&self, bytes: u64, charged: &mut u64) -> Result<()> {
        if bytes > *charged {
            self.ground.segments.charge_other(bytes - *charged)?;
        } else {
            self.ground.segments.refund_other(*charged - bytes);
        }
        *charged = bytes;
        Ok(())
    }
}
