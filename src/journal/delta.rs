//! The net effect of a run of entries on nodes that are not at hand: what a checkpoint has to change to be up to date.
//!
//! Takes memory by the entries it was given, whatever the store holds.

use super::{
    entry::{Entry, Kind},
    id_set::IdSet,
    view::NodeView,
    wire::Malformed,
};
use std::collections::{BTreeMap, HashMap};

const _: () = assert!(size_of::<Change>() <= 64, "there is one for each node that a long journal names");

/// What has become of one node.
pub(super) struct Change {
    id: u32,
    created_ns: u64,
    /// These two with a node that was made, or with content.
    modified_ns: u64,
    len: u64,
    chunks: Chunks,
    /// Where among all names this one begins; they are never taken back, which costs no more than the journal that brought
    /// them.
    name_at: u64,
    parent: u32,
    /// 0 if neither name nor parent are others.
    name_len: u8,
    priority: Option<u8>,
    has_content: bool,
    life: Life,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It was there before; if it was not, it has no name, and nothing said of it counts.
    Old,
    /// Made, and no node of this number is known to have been there before: there must have been none.
    Made(Kind),
    /// Made after another one of this number was gone.
    MadeAgain(Kind),
}

/// What has become of the chunks.
enum Chunks {
    Kept,
    /// Chunk 0 is all there is (0: nothing).
    One(u64),
    Edited(Box<Edits>),
}

struct Edits {
    /// Chunks from here on are not those of before.
    keep_below: u64,
    slots: BTreeMap<u64, Slot>,
}

#[expect(clippy::box_collection, reason = "a slot is two words so, and moves are rare")]
enum Slot {
    At(u64),
    /// What was at the first of a pair is at the second now.
    Moved(Box<Vec<(u64, u64)>>),
}

pub(super) struct Delta {
    chunk_bytes: u64,
    /// Where a node's change is, or [`GONE`].
    places: HashMap<u32, u32, foldhash::fast::RandomState>,
    /// Those that have one. Most nodes of a checkpoint have none, and their numbers lie together: this answers for them from cache.
    touched: IdSet,
    /// The last of them and its place, if it has a change: what is made is filled next.
    latest: Option<(u32, u32)>,
    changes: Vec<Change>,
    /// Places of changes that are no more: their nodes are gone. What stands there was not made.
    free: Vec<u32>,
    names: Vec<u8>,
}

/// A node that was made, and where its change is.
#[derive(Clone, Copy)]
pub(super) struct Made {
    id: u32,
    place: u32,
}

/// The node has no name any more, and nothing else is to be known of it.
const GONE: u32 = u32::MAX;

impl Delta {
    pub(super) fn new(chunk_bytes: u64) -> Self {
        Self {
            chunk_bytes: chunk_bytes.max(1),
            places: HashMap::default(),
            touched: IdSet::default(),
            latest: None,
            changes: Vec::new(),
            free: Vec::new(),
            names: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The nodes of `kind` that were made, in the order of their numbers.
    pub(super) fn made(&self, kind: Kind) -> Vec<Made> {
        let made = self.changes.iter().enumerate().filter(|(_, change)| change.made() == Some(kind));
        let mut made: Vec<Made> =
            made.map(|(place, change)| Made { id: change.id, place: place as u32 }).collect();
        made.sort_unstable_by_key(|made| made.id);
        made
    }

    /// About how many nodes have changed.
    #[cfg(not(memfs_loom))]
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn apply(&mut self, entry: &Entry<'_>) -> Result<(), Malformed> {
        match *entry {
            Entry::Make { id, parent, kind, name, created_ns, modified_ns, priority } => {
                let before = self.places.get(&id).copied();
                let life = match before {
                    None => Life::Made(kind),
                    Some(GONE) => Life::MadeAgain(kind),
                    Some(place) if self.changes[place as usize].life == Life::Old => Life::Made(kind),
                    Some(_) => return Err(Malformed("a node made where there is one")),
                };
                let mut made = Change::new(id, life);
                (made.created_ns, made.modified_ns, made.has_content) = (created_ns, modified_ns, true);
                (made.priority, made.chunks) = (Some(priority), Chunks::One(0));
                made.place(parent, self.keep(name), name);
                match before {
                    Some(place) if place != GONE => self.changes[place as usize] = made,
                    _ => drop(self.add(id, made)),
                }
            }
            Entry::Content { id, modified_ns, len, reset, chunks } => {
                let end = len.div_ceil(self.chunk_bytes);
                if let Some(change) = self.named(id) {
                    (change.modified_ns, change.len, change.has_content) = (modified_ns, len, true);
                    change.chunks.set(end, reset, chunks);
                }
            }
            Entry::Rename { id, parent, name, replaced } => {
                if let Some(replaced) = replaced {
                    self.lose(replaced);
                }
                let name_at = self.keep(name);
                if let Some(change) = self.named(id) {
                    change.place(parent, name_at, name);
                }
            }
            Entry::Remove { id } => self.lose(id),
            Entry::Priority { id, priority } => {
                if let Some(change) = self.named(id) {
                    change.priority = Some(priority);
                }
            }
            Entry::Move { id, chunk, from, to } => {
                if let Some(change) = self.named(id) {
                    change.chunks.moved(chunk, from, to);
                }
            }
        }
        Ok(())
    }

    /// What is known of a node, unless it is known to have no name.
    fn named(&mut self, id: u32) -> Option<&mut Change> {
        if let Some((latest, place)) = self.latest
            && latest == id
        {
            return self.changes.get_mut(place as usize);
        }
        match self.places.get(&id) {
            Some(&GONE) => None,
            Some(&place) => self.changes.get_mut(place as usize),
            None => Some(self.add(id, Change::new(id, Life::Old))),
        }
    }

    fn add(&mut self, id: u32, change: Change) -> &mut Change {
        let place = match self.free.pop() {
            Some(place) => {
                self.changes[place as usize] = change;
                place
            }
            None => {
                self.changes.push(change);
                (self.changes.len() - 1) as u32
            }
        };
        self.places.insert(id, place);
        self.touched.insert(id);
        self.latest = Some((id, place));
        &mut self.changes[place as usize]
    }

    fn lose(&mut self, id: u32) {
        self.latest = None;
        self.touched.insert(id);
        if let Some(place) = self.places.insert(id, GONE).filter(|place| *place != GONE) {
            self.changes[place as usize] = Change::new(id, Life::Old);
            self.free.push(place);
        }
    }

    fn keep(&mut self, name: &str) -> u64 {
        let at = self.names.len() as u64;
        self.names.extend_from_slice(name.as_bytes());
        at
    }

    /// `node` as it is now; `None` if it is gone. `chunks` is where its chunks go, if they are others now.
    pub(super) fn update<'a>(
        &'a self,
        node: NodeView<'a>,
        chunks: &'a mut Vec<(u64, u64)>,
    ) -> Result<Option<NodeView<'a>>, Malformed> {
        if !self.touched.contains(node.id) {
            return Ok(Some(node));
        }
        let change = match self.places.get(&node.id) {
            None => return Ok(Some(node)),
            Some(&GONE) => return Ok(None),
            Some(&place) => &self.changes[place as usize],
        };
        match change.life {
            Life::Old => self.patch(change, node, chunks).map(Some),
            Life::MadeAgain(_) => Ok(None),
            Life::Made(_) => Err(Malformed("a node made where there is one")),
        }
    }

    /// A node that was made.
    pub(super) fn view<'a>(
        &'a self,
        Made { id, place }: Made,
        chunks: &'a mut Vec<(u64, u64)>,
    ) -> Result<NodeView<'a>, Malformed> {
        let change = &self.changes[place as usize];
        let node = NodeView {
            id,
            parent: 0,
            kind: change.made().expect("listed by `made`"),
            name: "",
            created_ns: change.created_ns,
            modified_ns: 0,
            priority: 0,
            len: 0,
            chunks: &[],
        };
        self.patch(change, node, chunks)
    }

    fn patch<'a>(
        &'a self,
        change: &Change,
        mut node: NodeView<'a>,
        chunks: &'a mut Vec<(u64, u64)>,
    ) -> Result<NodeView<'a>, Malformed> {
        if change.name_len > 0 {
            let name = &self.names[change.name_at as usize..][..change.name_len.into()];
            (node.name, node.parent) = (str::from_utf8(name).expect("it was a str"), change.parent);
        }
        node.priority = change.priority.unwrap_or(node.priority);
        if change.has_content {
            (node.modified_ns, node.len) = (change.modified_ns, change.len);
        }
        if !matches!(change.chunks, Chunks::Kept) {
            change.chunks.update(node.chunks, chunks);
            node.chunks = chunks;
        }
        if node.kind == Kind::Directory && (node.len != 0 || !node.chunks.is_empty()) {
            return Err(Malformed("a directory with bytes"));
        }
        Ok(node)
    }
}

impl Change {
    fn new(id: u32, life: Life) -> Self {
        Self {
            id,
            created_ns: 0,
            modified_ns: 0,
            len: 0,
            chunks: Chunks::Kept,
            name_at: 0,
            parent: 0,
            name_len: 0,
            priority: None,
            has_content: false,
            life,
        }
    }

    fn place(&mut self, parent: u32, name_at: u64, name: &str) {
        (self.parent, self.name_at, self.name_len) = (parent, name_at, name.len() as u8);
    }

    fn made(&self) -> Option<Kind> {
        match self.life {
            Life::Made(kind) | Life::MadeAgain(kind) => Some(kind),
            Life::Old => None,
        }
    }
}

impl Chunks {
    fn edits(&mut self) -> &mut Edits {
        let edits = match self {
            Self::Edited(edits) => return edits,
            Self::Kept => Edits { keep_below: u64::MAX, slots: BTreeMap::new() },
            Self::One(extent) => Edits { keep_below: 0, slots: BTreeMap::from([(0, Slot::At(*extent))]) },
        };
        *self = Self::Edited(Box::new(edits));
        let Self::Edited(edits) = self else { unreachable!("just set") };
        edits
    }

    /// `end`: number of chunks there are now.
    fn set(&mut self, end: u64, reset: bool, listed: &[(u64, u64)]) {
        match listed {
            [] if reset || end == 0 => *self = Self::One(0),
            [] if matches!(self, Self::One(_)) => {}
            [(0, extent)] if reset && end > 0 || end == 1 => *self = Self::One(*extent),
            _ => {
                if reset {
                    *self = Self::One(0);
                }
                let edits = self.edits();
                edits.keep_below = edits.keep_below.min(end);
                edits.slots.split_off(&end);
                for &(index, extent) in listed.iter().filter(|(index, _)| *index < end) {
                    edits.slots.insert(index, Slot::At(extent));
                }
            }
        }
    }

    fn moved(&mut self, chunk: u64, from: u64, to: u64) {
        if let Self::One(extent) = self {
            if chunk == 0 && *extent == from {
                *extent = to;
            }
            return;
        }
        let edits = self.edits();
        match edits.slots.get_mut(&chunk) {
            Some(Slot::At(extent)) if *extent == from => *extent = to,
            Some(Slot::At(_)) => {}
            Some(Slot::Moved(pairs)) => add_pair(pairs, from, to),
            None if chunk < edits.keep_below => {
                edits.slots.insert(chunk, Slot::Moved(Box::new(vec![(from, to)])));
            }
            None => {}
        }
    }

    /// The chunks now, given those of before; without holes.
    fn update(&self, before: &[(u64, u64)], out: &mut Vec<(u64, u64)>) {
        out.clear();
        let edits = match self {
            Self::Kept => return out.extend_from_slice(before),
            Self::One(0) => return,
            Self::One(extent) => return out.push((0, *extent)),
            Self::Edited(edits) => edits,
        };
        let mut slots = edits.slots.iter().peekable();
        let mut put = |index, extent| {
            if extent != 0 {
                out.push((index, extent));
            }
        };
        for &(index, extent) in before.iter().take_while(|(index, _)| *index < edits.keep_below) {
            while let Some((&set, slot)) = slots.next_if(|(set, _)| **set < index) {
                put(set, slot.over(0));
            }
            match slots.next_if(|(set, _)| **set == index) {
                Some((_, slot)) => put(index, slot.over(extent)),
                None => put(index, extent),
            }
        }
        for (&set, slot) in slots {
            put(set, slot.over(0));
        }
    }
}

impl Slot {
    /// Where the chunk is that was at `extent`.
    fn over(&self, extent: u64) -> u64 {
        match self {
            Self::At(set) => *set,
            Self::Moved(pairs) => {
                pairs.iter().find(|(from, _)| *from == extent).map_or(extent, |(_, to)| *to)
            }
        }
    }
}

/// Another move after those of `pairs`: what any of them brought to `from` goes on, and so does what was there all along.
fn add_pair(pairs: &mut Vec<(u64, u64)>, from: u64, to: u64) {
    for pair in pairs.iter_mut().filter(|pair| pair.1 == from) {
        pair.1 = to;
    }
    if pairs.iter().all(|pair| pair.0 != from) {
        pairs.push((from, to));
    }
}
