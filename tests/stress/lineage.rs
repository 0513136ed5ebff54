//! Whether what a read found can be what a file was at one instant, if anybody may have written to it.
//!
//! Contents come about by operations one after the other, each upon what the one before left: the contents' lineage (a
//! copy carries it on under another name). Each word says which operation wrote it. From this alone follows, for one
//! version read whole or in part:
//!
//! 1. A word stands where its operation put it, and the operation had begun before the read returned.
//! 2. Where operation X wrote, but Y's word stands, Y came after X. Coming after has no circles, and nothing comes after what
//!    began when it had returned. A torn read shows as a circle: X's words upon Y's and Y's upon X's.
//! 3. Where X wrote, but nothing stands, the file was cut there after X: so no word of X's stands further on, and there was
//!    a cut, to that length or less, that had not returned when X began.
//! 4. The same holds where an append stands.
//! 5. An operation that replaces everything came before all others that are seen.

use crate::common::words::Word;
use std::{collections::BTreeMap, fmt};

/// Where an operation puts its words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// From 0 on, and nothing else is left.
    All,
    From(u64),
    /// At the end, wherever that is.
    End,
}

/// An operation that writes words, and when it ran; `returned` is `u64::MAX` while it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) place: Place,
    pub(crate) words: u64,
    pub(crate) called: u64,
    pub(crate) returned: u64,
}

/// What is known of all operations of a run.
pub(crate) trait Origins {
    /// The operation that writes words of this id and version, if it has begun.
    fn origin(&self, id: u64, version: u64) -> Option<Origin>;

    /// Whether an operation that cuts a file to `words` or less has begun, and not returned by `after`.
    fn was_cut(&self, words: u64, after: u64) -> bool;
}

/// What one read found: words from `from` on, and whether the file ends behind them.
pub(crate) struct Seen {
    pub(crate) from: u64,
    pub(crate) words: Vec<Option<Word>>,
    pub(crate) to_the_end: bool,
}

/// A stretch of one operation's words, or of holes.
#[derive(Clone, Copy)]
struct Stretch {
    from: u64,
    to: u64,
    by: Option<usize>,
}

struct Writer {
    id: u64,
    version: u64,
    origin: Origin,
    /// Where it put its words.
    from: u64,
    to: u64,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} {:?} to {}..{}", self.id, self.version, self.origin.place, self.from, self.to)
    }
}

/// Why `seen` can be no state of a file, if so.
pub(crate) fn contradiction(seen: &Seen, origins: &impl Origins) -> Option<String> {
    explain(seen, origins).err()
}

fn explain(seen: &Seen, origins: &impl Origins) -> Result<(), String> {
    let (writers, stretches) = stretches(seen, origins)?;
    let end = seen.from + seen.words.len() as u64;
    // before[x] has y: x came before y.
    let mut before = vec![Vec::new(); writers.len()];
    for (x, writer) in writers.iter().enumerate() {
        let last = stretches.iter().filter(|stretch| stretch.by == Some(x)).map(|stretch| stretch.to).max();
        let mut cut = (seen.to_the_end && writer.to > end && writer.from < end).then_some(end);
        for stretch in &stretches {
            let lost = stretch.from.max(writer.from);
            if lost >= stretch.to.min(writer.to) || stretch.by == Some(x) {
                continue;
            }
            match stretch.by {
                Some(y) => {
                    before[x].push(y);
                    // What is appended inside of X's place needs X cut there.
                    if writers[y].origin.place == Place::End {
                        let at = writers[y].from;
                        if last > Some(at) {
                            return Err(format!("{:?} is not at the end of {writer:?}", writers[y]));
                        }
                        cut = Some(cut.map_or(at, |cut| cut.min(at)));
                    }
                }
                None if last > Some(lost) => return Err(format!("{writer:?} has a hole at {lost}")),
                None => cut = Some(cut.map_or(lost, |cut| cut.min(lost))),
            }
        }
        if let Some(cut) = cut
            && !origins.was_cut(cut, writer.origin.called)
        {
            return Err(format!("{writer:?} is cut off at {cut}, which nobody did"));
        }
        if writer.origin.place == Place::All {
            before[x].extend((0..writers.len()).filter(|&y| y != x));
        }
    }
    in_order(&writers, &before)
}

/// Who wrote what is seen, and where.
fn stretches(seen: &Seen, origins: &impl Origins) -> Result<(Vec<Writer>, Vec<Stretch>), String> {
    let mut writers: Vec<Writer> = Vec::new();
    let mut known = BTreeMap::new();
    let mut stretches: Vec<Stretch> = Vec::new();
    for (index, word) in seen.words.iter().enumerate() {
        let at = seen.from + index as u64;
        let by = match word {
            None => None,
            Some(word) => {
                let Some(origin) = origins.origin(word.id, word.version) else {
                    return Err(format!("{word:?} at {at}: nobody has written that"));
                };
                let base = match origin.place {
                    Place::All => Some(0),
                    Place::From(from) => Some(from),
                    Place::End => at.checked_sub(word.place),
                };
                let index = *known.entry((word.id, word.version)).or_insert_with(|| {
                    let from = base.unwrap_or(u64::MAX);
                    let to = from.saturating_add(origin.words);
                    writers.push(Writer { id: word.id, version: word.version, origin, from, to });
                    writers.len() - 1
                });
                let writer = &writers[index];
                if base != Some(writer.from) || at != writer.from + word.place || at >= writer.to {
                    return Err(format!("{word:?} at {at} is out of place: {writer:?}"));
                }
                Some(index)
            }
        };
        match stretches.last_mut() {
            Some(last) if last.by == by => last.to = at + 1,
            _ => stretches.push(Stretch { from: at, to: at + 1, by }),
        }
    }
    Ok((writers, stretches))
}

/// Whether there is an order in which each comes before those that it has to.
fn in_order(writers: &[Writer], before: &[Vec<usize>]) -> Result<(), String> {
    let mut left: Vec<usize> = (0..writers.len()).collect();
    for (x, later) in before.iter().enumerate() {
        if let Some(&y) = later.iter().find(|&&y| writers[y].origin.returned < writers[x].origin.called) {
            return Err(format!("{:?} stands upon {:?}, which began later", writers[y], writers[x]));
        }
    }
    while !left.is_empty() {
        let Some(first) = left.iter().position(|&y| !left.iter().any(|&x| x != y && before[x].contains(&y)))
        else {
            let circle: Vec<_> = left.iter().map(|&x| &writers[x]).collect();
            return Err(format!("each stands upon another: {circle:?}"));
        };
        left.swap_remove(first);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operations 1.. of id 1: the first two are one after the other, all others at once with everything.
    struct Known(Vec<(Place, u64)>, Option<u64>);

    impl Origins for Known {
        fn origin(&self, id: u64, version: u64) -> Option<Origin> {
            let &(place, words) = self.0.get(version.checked_sub(1)? as usize).filter(|_| id == 1)?;
            let (called, returned) = match version {
                1 => (1, 2),
                2 => (3, 4),
                _ => (0, u64::MAX),
            };
            Some(Origin { place, words, called, returned })
        }

        fn was_cut(&self, words: u64, _: u64) -> bool {
            self.1.is_some_and(|to| to <= words)
        }
    }

    /// `words` as pairs of version and place, version 0 for a hole.
    fn check(known: &Known, words: &[(u64, u64)]) -> Option<String> {
        let words =
            words.iter().map(|&(version, place)| (version > 0).then_some(Word { id: 1, version, place }));
        contradiction(&Seen { from: 0, words: words.collect(), to_the_end: true }, known)
    }

    #[track_caller]
    fn refused(known: &Known, words: &[(u64, u64)], why: &str) {
        let said = check(known, words).expect("refused");
        assert!(said.contains(why), "{said}");
    }

    #[test]
    fn one_write_upon_another_is_explained_and_a_mixture_is_not() {
        let known = Known(vec![(Place::All, 4), (Place::From(1), 2)], None);
        assert_eq!(check(&known, &[(1, 0), (1, 1), (1, 2), (1, 3)]), None);
        assert_eq!(check(&known, &[(1, 0), (2, 0), (2, 1), (1, 3)]), None);
        refused(&known, &[(1, 0), (2, 0), (1, 2), (1, 3)], "began later");
        refused(&known, &[(1, 0), (2, 1), (2, 0), (1, 3)], "out of place");
        refused(&known, &[(1, 0), (3, 0)], "nobody has written");
    }

    #[test]
    fn what_was_replaced_whole_and_what_was_written_over_later_are_refused() {
        let known = Known(vec![(Place::From(0), 2), (Place::All, 4), (Place::All, 4)], None);
        refused(&known, &[(2, 0), (2, 1), (3, 2), (3, 3)], "each stands upon another");
        // The first returned before the second was called.
        refused(&known, &[(1, 0), (1, 1)][..1], "cut off");
        let known = Known(vec![(Place::From(0), 2), (Place::From(0), 4)], None);
        assert_eq!(check(&known, &[(2, 0), (2, 1), (2, 2), (2, 3)]), None);
        refused(&known, &[(1, 0), (1, 1), (2, 2), (2, 3)], "began later");
    }

    #[test]
    fn a_cut_needs_somebody_who_cut_and_leaves_nothing_behind_it() {
        let (uncut, cut) = (Known(vec![(Place::All, 4)], None), Known(vec![(Place::All, 4)], Some(2)));
        let (short, hole) = ([(1, 0), (1, 1), (1, 2)], [(1, 0), (1, 1), (0, 0), (0, 0)]);
        refused(&uncut, &short, "cut off at 3");
        refused(&uncut, &hole, "cut off at 2");
        assert_eq!(check(&cut, &short), None);
        assert_eq!(check(&cut, &hole), None);
        refused(&cut, &[(1, 0), (0, 0), (1, 2), (1, 3)], "a hole");
        refused(&cut, &[(1, 0)], "cut off at 1");
    }

    #[test]
    fn an_append_stands_in_one_piece_wherever_it_starts() {
        let known = Known(vec![(Place::End, 2), (Place::End, 2), (Place::All, 1)], None);
        assert_eq!(check(&known, &[(3, 0), (1, 0), (1, 1), (2, 0), (2, 1)]), None);
        refused(&known, &[(1, 0), (2, 0), (2, 1), (1, 1)], "out of place");
        refused(&known, &[(3, 0), (1, 0), (2, 0), (2, 1)], "cut off at 2");
        let known = Known(vec![(Place::End, 4), (Place::End, 2)], Some(1));
        assert_eq!(check(&known, &[(1, 0), (2, 0), (2, 1)]), None);
        refused(&known, &[(1, 0), (2, 0), (2, 1), (1, 3)], "not at the end");
    }
}
