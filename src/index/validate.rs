//! The structure validator: table, slots, nodes and counts agree. For when nobody else is at work.

use super::{
    Index, Kind, NodeId,
    dentry::DentryRef,
    node::GONE,
    word::{self, Target},
};
use crate::{epoch::Guard, sync::Ordering};
use std::collections::{HashMap, HashSet};

impl Index {
    /// Panics with what is wrong.
    pub(crate) fn validate(&self, guard: &Guard) {
        self.nodes.validate().expect("the pool of nodes is sound");
        self.table.validate();
        assert!(
            word::descriptor(self.moves.word.load(Ordering::SeqCst)).is_none(),
            "a move was left half-way"
        );
        let mut entries: HashMap<NodeId, HashSet<u64>> = HashMap::new();
        let mut named = HashSet::from([NodeId::ROOT]);
        let (mut files, mut directories) = (0, 0);
        for dentry in self.table.dentries() {
            let target = self.validate_name(dentry, guard);
            assert!(named.insert(target.id), "node {:?} has two names", target.id);
            match target.kind {
                Kind::File => files += 1,
                Kind::Directory => directories += 1,
            }
            entries.entry(dentry.parent()).or_default().insert(dentry.address());
        }
        assert_eq!((self.file_count(), self.dir_count()), (files, directories), "counts");
        for id in 1..self.bound() {
            self.validate_node(NodeId::new(id), &named, &mut entries, guard);
        }
        assert!(entries.is_empty(), "names in directories that do not exist: {:?}", entries.keys());
    }

    fn validate_name(&self, dentry: DentryRef<'_>, guard: &Guard) -> Target {
        let name = dentry.name_str();
        let bits = dentry.word.load(Ordering::SeqCst);
        let target = word::plainly_bound(bits).unwrap_or_else(|| panic!("{name:?} says {bits:#x}"));
        assert_eq!(dentry.holds(), 1, "{name:?} is held");
        let key = self.key(dentry.parent(), name);
        assert!(self.table.lookup(key, guard) == Some(dentry), "{name:?} is not found");
        let node = self.slot(target.id);
        assert_eq!(node.live_kind(), Some(target.kind), "{name:?}: its node");
        assert!(node.refs() >= 1, "{name:?}: a node without references");
        assert!(self.dentry_of(node, guard) == Some(dentry), "{name:?}: the back pointer");
        assert!(self.path_of(target.id, guard).is_some(), "{name:?} cannot be reached from the root");
        target
    }

    fn validate_node(
        &self,
        id: NodeId,
        named: &HashSet<NodeId>,
        entries: &mut HashMap<NodeId, HashSet<u64>>,
        guard: &Guard,
    ) {
        let node = self.slot(id);
        let Some(kind) = node.live_kind() else { return };
        if !named.contains(&id) {
            assert_eq!(node.dentry.load(Ordering::SeqCst), GONE, "node {id:?} has no name but points back");
            assert!(node.refs() >= 1, "node {id:?} has neither name nor reference");
            return;
        }
        if kind == Kind::Directory {
            let body = self.body(Target { id, kind }, guard);
            assert!(!body.is_closed(), "directory {id:?} has a name and is closed");
            let mut registered = HashSet::new();
            body.for_each(guard, |dentry| registered.insert(dentry.address()));
            assert_eq!(body.count(), registered.len(), "directory {id:?}: slots taken and not filled");
            assert_eq!(entries.remove(&id).unwrap_or_default(), registered, "directory {id:?}: its entries");
        }
    }
}
