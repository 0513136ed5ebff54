//! The structure validator: what must hold when nobody is appending, killing, holding or dropping holds.

use super::{
    extent::FIRST_UNIT,
    ledger::Stream,
    segments::{Segments, find},
};
use crate::sync::Ordering;
use std::collections::HashSet;

impl Segments {
    /// Panics if the counts of segments, bytes and tickets disagree. The caller keeps the store quiet, and owns
    /// `live_bytes` if it says how much, headers and rounding included, must be live.
    pub(crate) fn validate(&self, live_bytes: Option<u64>) {
        let shared = &self.shared;
        let table = shared.table.load();
        let spares: Vec<u32> =
            shared.spares.iter().filter_map(|slot| slot.load(Ordering::Acquire).checked_sub(1)).collect();
        let active: Vec<u32> = [Stream::Fresh, Stream::Moved]
            .into_iter()
            .filter_map(|stream| shared.active(stream).1.map(|(number, _)| number))
            .collect();
        let placed: HashSet<u32> = spares.iter().chain(&active).copied().collect();
        assert_eq!(
            placed.len(),
            spares.len() + active.len(),
            "a segment in two places: {spares:?} {active:?}"
        );
        for number in &placed {
            assert!(find(&table, *number).is_some(), "segment {number} is placed but not in the table");
        }
        let (mut charged, mut promised, mut live) =
            (shared.ledger.other_bytes(), shared.ledger.other_bytes(), 0);
        for (number, segment) in table.iter().enumerate().filter_map(|(n, s)| Some((n as u32, s.as_ref()?))) {
            let now = segment.state.load();
            let used = now.tail_units() - FIRST_UNIT;
            assert!(
                now.tail_units() <= segment.capacity_units && now.live_units() <= used,
                "{number}: {now:?}"
            );
            assert_eq!(now.is_sealed() && !now.is_empty(), !placed.contains(&number), "{number}: {now:?}");
            assert_eq!(segment.charge.is_in_use(), !spares.contains(&number), "{number}: {now:?}");
            charged += segment.charge.bytes();
            promised += segment.charge.promised_bytes();
            live += u64::from(now.live_units()) * shared.layout.unit_bytes();
        }
        let ledger = &shared.ledger;
        assert_eq!(ledger.charged_bytes(), charged, "bytes charged");
        assert_eq!(ledger.promised_bytes(), promised, "bytes promised");
        // A store may be opened under a limit that it has passed already.
        assert!(
            charged <= ledger.limit_bytes() || shared.lasting.is_some(),
            "{charged} bytes pass the limit"
        );
        if let Some(expected) = live_bytes {
            assert_eq!(live, expected, "live bytes");
        }
    }
}
