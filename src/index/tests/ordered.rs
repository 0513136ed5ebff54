//! The same behaviour where an order of changes is kept; and that the order, played back, gives the tree that there is.

use super::*;
use crate::{
    index::NameChange,
    order::{Consumer, Taken},
    sync::Mutex,
};
use std::{collections::HashMap, ops::Deref};

#[expect(clippy::duplicate_mod, reason = "the same tests over another store")]
#[path = "contention.rs"]
mod contention;
#[expect(clippy::duplicate_mod, reason = "as above")]
#[path = "model.rs"]
mod model;

/// A store that keeps an order; its drop plays the order back.
struct OrderedStore {
    plain: ManuallyDrop<super::Store>,
    order: Arc<Order>,
    consumer: Mutex<Option<Consumer>>,
}

type Store = OrderedStore;

impl Deref for OrderedStore {
    type Target = super::Store;

    fn deref(&self) -> &super::Store {
        &self.plain
    }
}

impl OrderedStore {
    fn new() -> Self {
        let budget = Arc::new(Budget::new(1 << 30));
        let arena = Arc::new(Arena::new(budget, 1 << 20, false).expect("address space"));
        let (order, consumer) = Order::new(arena.clone()).expect("room");
        let order = Arc::new(order);
        let plain = super::Store::over(arena, Some(order.clone()));
        Self { plain: ManuallyDrop::new(plain), order, consumer: Mutex::new(Some(consumer)) }
    }
}

impl Drop for OrderedStore {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let mut consumer = self.consumer.lock().expect("nobody panicked").take().expect("once");
        let handle = self.collector.register();
        let mut taken = Vec::new();
        self.order.take(&mut consumer, &mut taken, || handle.pin());
        compare(&self.index, &play(&taken), &handle);
        for (number, taken) in taken.into_iter().enumerate() {
            assert_eq!(taken.record().place(), number as u64 + 1, "places count up");
            self.order.release(std::iter::once(taken), &handle.pin());
        }
        drop(handle);
        let empty = Collector::new();
        drop(std::mem::replace(&mut *self.plain.collector, empty));
        // SAFETY: the collector is gone, all that was taken was released, and nobody else is left.
        unsafe { self.order.tear_down(consumer) };
        // SAFETY: dropped once.
        unsafe { ManuallyDrop::drop(&mut self.plain) };
    }
}

/// Names by node, as the records say. Panics at a record that does not fit what came before it.
fn play(taken: &[Taken]) -> HashMap<NodeId, (NodeId, String, Kind)> {
    let mut tree: HashMap<NodeId, (NodeId, String, Kind)> = HashMap::new();
    let is_free = |tree: &HashMap<NodeId, (NodeId, String, Kind)>, parent: NodeId, name: &str| {
        !tree.values().any(|(p, n, _)| *p == parent && n == name)
    };
    let is_dir = |tree: &HashMap<NodeId, (NodeId, String, Kind)>, id: NodeId| {
        id == NodeId::ROOT || tree.get(&id).is_some_and(|(.., kind)| *kind == Kind::Directory)
    };
    let is_empty = |tree: &HashMap<NodeId, (NodeId, String, Kind)>, id: NodeId| {
        !tree.values().any(|(parent, ..)| *parent == id)
    };
    for taken in taken {
        match NameChange::of(taken.record()).expect("a record of the index") {
            NameChange::Make { mut parent, kind, nodes, .. } => {
                let nodes: Vec<_> = nodes.collect();
                for (number, (id, name)) in nodes.iter().enumerate() {
                    let kind = if number + 1 == nodes.len() { kind } else { Kind::Directory };
                    assert!(is_dir(&tree, parent), "made in what is no directory");
                    assert!(is_free(&tree, parent, name), "{name:?} was made twice");
                    assert!(
                        tree.insert(*id, (parent, (*name).to_owned(), kind)).is_none(),
                        "a node was made twice"
                    );
                    parent = *id;
                }
            }
            NameChange::Rename { id, parent, name, replaced } => {
                if let Some(replaced) = replaced {
                    assert!(is_empty(&tree, replaced), "a directory with entries was replaced");
                    assert!(tree.remove(&replaced).is_some_and(|(p, n, _)| p == parent && n == name));
                }
                assert!(is_dir(&tree, parent), "moved to what is no directory");
                assert!(is_free(&tree, parent, name), "{name:?} was taken");
                let moved = tree.get_mut(&id).expect("what moves is there");
                (moved.0, moved.1) = (parent, name.to_owned());
            }
            NameChange::Remove { id } => {
                assert!(is_empty(&tree, id), "a directory with entries was removed");
                assert!(tree.remove(&id).is_some(), "what is removed is there");
            }
        }
    }
    tree
}

fn compare(index: &Index, tree: &HashMap<NodeId, (NodeId, String, Kind)>, handle: &Handle) {
    let guard = handle.pin();
    assert_eq!(index.len(), tree.len() as u64, "as many nodes as the order made");
    for (id, (parent, name, kind)) in tree {
        assert_eq!(index.slot(*id).live_kind(), Some(*kind), "{name:?}");
        let path = index.path_of(*id, &guard).expect("it has a name");
        let (above, last) = path.rsplit_once('/').expect("an absolute path");
        assert_eq!(last, name);
        let above = if above.is_empty() { "/" } else { above };
        assert_eq!(index.lookup(above, &guard).map(|bound| bound.id), Ok(*parent));
    }
}

#[test]
fn a_creation_with_its_parents_is_one_record() {
    let store = OrderedStore::new();
    let worker = store.worker();
    worker.put("/a/b/c");
    assert_eq!(worker.with(|_, cx| store.order.last_place(cx.guard)), 1);
}
