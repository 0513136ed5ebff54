//! One thread, against a map from paths to nodes.

use super::*;
use crate::path;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Op {
    Create { path: String, kind: Kind, parents: bool },
    RemoveFile(String),
    RemoveDir(String),
    Rename(String, String),
    Lookup(String),
}

/// Every path there is, but the root.
#[derive(Default)]
struct Model(BTreeMap<String, (NodeId, Kind)>);

type Answer<T> = Result<T, IndexError>;

impl Model {
    fn get(&self, text: &str) -> Option<(NodeId, Kind)> {
        if text == "/" { Some((NodeId::ROOT, Kind::Directory)) } else { self.0.get(text).copied() }
    }

    /// The error for the first ancestor that is a file, if there is one.
    fn blocked(&self, text: &str) -> Answer<()> {
        for component in path::components(text) {
            let above = &text[..component.end];
            if above != text && self.get(above).is_some_and(|(_, kind)| kind == Kind::File) {
                return Err(IndexError::NotADirectory(above.to_owned()));
            }
        }
        Ok(())
    }

    fn lookup(&self, raw: &str) -> Answer<(NodeId, Kind)> {
        let path = super::path(raw);
        let text = path.text();
        self.blocked(text)?;
        let found = self.get(text).ok_or_else(|| IndexError::NotFound(text.to_owned()))?;
        if path.names_directory() && found.1 == Kind::File {
            return Err(IndexError::NotADirectory(text.to_owned()));
        }
        Ok(found)
    }

    fn directory(&self, text: &str) -> Answer<()> {
        match self.lookup(text)?.1 {
            Kind::Directory => Ok(()),
            Kind::File => Err(IndexError::NotADirectory(text.to_owned())),
        }
    }

    fn has_entry(&self, text: &str) -> bool {
        let below = format!("{}/", text.trim_end_matches('/'));
        self.0.keys().any(|path| path.starts_with(&below))
    }

    /// What has to exist afterwards, from the top down; empty if all does.
    fn create(&self, raw: &str, kind: Kind, parents: bool) -> Answer<Vec<(String, Kind)>> {
        let path = super::path(raw);
        let text = path.text();
        let Some((parent, _)) = path.split() else { return Ok(Vec::new()) };
        self.blocked(text)?;
        if self.get(text).is_some() {
            return self.lookup(raw).map(|_| Vec::new());
        }
        if !parents {
            self.directory(parent)?;
        }
        if kind == Kind::File && path.names_directory() {
            return Err(IndexError::IsADirectory(text.to_owned()));
        }
        let missing = path.components().map(|component| &text[..component.end]);
        let missing = missing.filter(|&above| self.get(above).is_none());
        Ok(missing
            .map(|above| (above.to_owned(), if above == text { kind } else { Kind::Directory }))
            .collect())
    }

    fn remove(&mut self, raw: &str, kind: Kind) -> Answer<()> {
        let path = super::path(raw);
        let text = path.text().to_owned();
        let found = self.lookup(raw)?;
        match (kind, found.1) {
            (Kind::File, Kind::Directory) => return Err(IndexError::IsADirectory(text)),
            (Kind::Directory, Kind::File) => return Err(IndexError::NotADirectory(text)),
            (Kind::Directory, _) if text == "/" => {
                return Err(IndexError::Invalid { path: text, reason: "the root cannot be removed" });
            }
            (Kind::Directory, _) if self.has_entry(&text) => return Err(IndexError::NotEmpty(text)),
            _ => {}
        }
        self.0.remove(&text);
        Ok(())
    }

    fn rename(&mut self, raw_from: &str, raw_to: &str) -> Answer<Option<NodeId>> {
        let (from, to) = (super::path(raw_from), super::path(raw_to));
        let (id, kind) = self.lookup(raw_from)?;
        let text = to.text().to_owned();
        if let Some((parent, _)) = to.split() {
            self.directory(parent)?;
        }
        if kind == Kind::File && to.names_directory() && text != "/" {
            return Err(IndexError::NotADirectory(text));
        }
        if from.text() == to.text() {
            return Ok(None);
        }
        if kind == Kind::Directory && to.is_below(&from) {
            return Err(IndexError::IntoItself { from: from.text().to_owned(), to: text });
        }
        let replaced = self.get(&text);
        match (kind, replaced.map(|(_, kind)| kind)) {
            (Kind::File, Some(Kind::Directory)) => return Err(IndexError::IsADirectory(text)),
            (Kind::Directory, Some(Kind::File)) => return Err(IndexError::NotADirectory(text)),
            (Kind::Directory, Some(_)) if self.has_entry(&text) => {
                return Err(IndexError::NotEmpty(text));
            }
            _ => {}
        }
        self.0.remove(from.text());
        self.0.insert(text.clone(), (id, kind));
        let below = format!("{}/", from.text());
        let moved: Vec<String> = self.0.keys().filter(|path| path.starts_with(&below)).cloned().collect();
        for old in moved {
            let entry = self.0.remove(&old).expect("listed");
            self.0.insert(format!("{text}/{}", &old[below.len()..]), entry);
        }
        Ok(replaced.filter(|(_, kind)| *kind == Kind::File).map(|(id, _)| id))
    }
}

fn apply(op: &Op, worker: &Worker<'_>, model: &mut Model) -> Result<(), TestCaseError> {
    match op {
        Op::Create { path, kind, parents } => {
            let expected = model.create(path, *kind, *parents);
            let got = worker.create(path, *kind, *parents);
            match expected {
                Err(error) => prop_assert_eq!(got, Err(error)),
                Ok(made) => {
                    let (new, id) = got.expect("as the model");
                    prop_assert_eq!(new, !made.is_empty());
                    for (text, kind) in made {
                        let (id, found) = worker.lookup(&text).expect("just made");
                        prop_assert_eq!(found, kind);
                        prop_assert!(model.0.values().all(|&(other, _)| other != id), "an id in use");
                        model.0.insert(text, (id, kind));
                    }
                    prop_assert_eq!(model.lookup(path).map(|(id, _)| id), Ok(id));
                }
            }
        }
        Op::RemoveFile(text) => {
            let expected = model.lookup(text).map(|(id, _)| id);
            let expected = model.remove(text, Kind::File).and(expected);
            prop_assert_eq!(worker.remove_file(text), expected);
        }
        Op::RemoveDir(text) => {
            prop_assert_eq!(worker.remove_dir(text), model.remove(text, Kind::Directory));
        }
        Op::Rename(from, to) => prop_assert_eq!(worker.rename(from, to), model.rename(from, to)),
        Op::Lookup(text) => prop_assert_eq!(worker.lookup(text), model.lookup(text)),
    }
    Ok(())
}

fn check_all(worker: &Worker<'_>, model: &Model) -> Result<(), TestCaseError> {
    let mut listed: BTreeMap<String, Vec<(String, NodeId, Kind)>> = BTreeMap::from([("/".into(), vec![])]);
    for (text, &(id, kind)) in &model.0 {
        prop_assert_eq!(worker.lookup(text), Ok((id, kind)));
        prop_assert_eq!(worker.lookup(&text[1..]), Ok((id, kind)), "without its slash");
        prop_assert_eq!(worker.path_of(id), Some(text.clone()));
        let (parent, name) = path::split(text).expect("not the root");
        listed.get_mut(parent).expect("a parent sorts before").push((name.to_owned(), id, kind));
        if kind == Kind::Directory {
            listed.insert(text.clone(), Vec::new());
        }
    }
    for (text, entries) in listed {
        prop_assert_eq!(worker.children(&text), entries, "the entries of {}", text);
    }
    Ok(())
}

fn any_path() -> impl Strategy<Value = String> {
    r"(/[a-c]){1,4}|(/[ab]){1,2}/|[ab]/c|/|/a/\.\./b"
}

fn any_op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![Just(Kind::File), Just(Kind::Directory)];
    prop_oneof![
        4 => (any_path(), kind, any::<bool>())
            .prop_map(|(path, kind, parents)| Op::Create { path, kind, parents }),
        2 => any_path().prop_map(Op::RemoveFile),
        2 => any_path().prop_map(Op::RemoveDir),
        4 => (any_path(), any_path()).prop_map(|(from, to)| Op::Rename(from, to)),
        2 => any_path().prop_map(Op::Lookup),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn any_sequence_of_operations_agrees_with_the_model(ops in prop::collection::vec(any_op(), 1..120)) {
        let store = Store::new();
        let worker = store.worker();
        let mut model = Model::default();
        for op in &ops {
            apply(op, &worker, &mut model)?;
        }
        check_all(&worker, &model)?;
    }
}

#[test]
fn a_removed_file_that_is_still_open_keeps_its_node() {
    let store = Store::new();
    let worker = store.worker();
    let id = worker.put("/a/f");
    worker.with(|index, cx| {
        let bound = index.lookup("/a/f", cx.guard).expect("there");
        assert!(index.acquire(&bound));
        assert!(bound.still(index));
    });
    assert_eq!(worker.remove_file("/a/f"), Ok(id));
    assert!(worker.index.node(id).is_some());
    assert_eq!(worker.path_of(id), None);
    assert_ne!(worker.put("/a/f"), id, "the slot is in use");
    assert!(worker.index.release(id));
    worker.with(|index, cx| index.retire(id, cx));
    assert!(worker.index.node(id).is_none());
}

#[test]
fn a_large_directory_and_a_grown_table_lose_nothing() {
    let store = Store::new();
    let worker = store.worker();
    let name = |n: usize| format!("/many/{n:05}");
    let ids: Vec<NodeId> = (0..20_000).map(|n| worker.put(&name(n))).collect();
    assert!(store.index.table.buckets() >= 8192, "the table has grown");
    for n in (0..20_000).step_by(3) {
        worker.remove_file(&name(n)).expect("there");
    }
    let kept: Vec<usize> = (0..20_000).filter(|n| n % 3 != 0).collect();
    let names: Vec<String> = kept.iter().map(|n| format!("{n:05}")).collect();
    assert_eq!(worker.names("/many"), names);
    for &n in &kept {
        assert_eq!(worker.lookup(&name(n)), Ok((ids[n], Kind::File)));
    }
    assert_eq!(worker.lookup(&name(3)), Err(IndexError::NotFound(name(3))));
    assert_eq!(worker.rename("/many", "/more"), Ok(None));
    assert_eq!(worker.names("/more"), names);
    assert_eq!(worker.lookup("/more/00001"), Ok((ids[1], Kind::File)));
}

#[test]
fn the_number_of_a_directory_that_is_used_again_does_not_answer_for_its_former_path() {
    let store = Store::new();
    let worker = store.worker();
    let mut former: std::collections::HashMap<(NodeId, NodeId), String> = std::collections::HashMap::new();
    let mut used_again = 0;
    for round in 0..300 {
        let (directory, file) = (format!("/{round}"), format!("/{round}/file"));
        let ids = (worker.mkdir(&directory), worker.put(&file));
        // By the cache, which notes where the directory is.
        assert_eq!(worker.lookup(&file).expect("there").0, ids.1);
        if let Some(former) = former.insert(ids, file.clone()) {
            let found = worker.lookup(&former);
            assert!(matches!(found, Err(IndexError::NotFound(_))), "{former}: {found:?}");
            used_again += 1;
        }
        worker.remove_file(&file).expect("there");
        worker.remove_dir(&directory).expect("empty");
        worker.quiesce();
    }
    assert!(used_again > 0, "no numbers were used again: nothing was tried");
}
