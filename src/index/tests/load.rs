//! A tree rebuilt from what was noted of another.

use super::*;

/// What a record of a node says: number, parent, name, kind.
type Noted = (NodeId, NodeId, String, Kind);

fn load(noted: &[Noted]) -> Result<Store, IndexError> {
    let store = Store::new();
    let worker = store.worker();
    let loaded = worker.with(|index, cx| {
        let loading = index.load();
        let init = NodeInit { content: 7, ..NodeInit::default() };
        let directories = || noted.iter().filter(|(.., kind)| *kind == Kind::Directory);
        directories().try_for_each(|(id, ..)| loading.directory(*id, &init, cx))?;
        directories().try_for_each(|(id, parent, name, _)| loading.name_directory(*id, *parent, name, cx))?;
        let mut files = noted.iter().filter(|(.., kind)| *kind == Kind::File);
        files.try_for_each(|(id, parent, name, _)| loading.file(*id, *parent, name, &init, cx))?;
        loading.finish(cx)
    });
    drop(worker);
    match loaded {
        Ok(()) => Ok(store),
        Err(error) => {
            // What was half loaded is never used: nobody asks it to be sound.
            std::mem::forget(store);
            Err(error)
        }
    }
}

fn noted(id: u32, parent: u32, name: &str, kind: Kind) -> Noted {
    (NodeId::new(id), NodeId::new(parent), name.to_owned(), kind)
}

#[test]
fn a_tree_is_rebuilt_under_its_numbers_and_what_was_free_can_be_had() {
    // A parent with a higher number than its child; gaps; numbers over several spans.
    let tree = [
        noted(900, 1, "top", Kind::Directory),
        noted(3, 900, "sub", Kind::Directory),
        noted(70, 3, "file", Kind::File),
        noted(71, 1, "other", Kind::File),
    ];
    let store = load(&tree).expect("a good tree");
    let worker = store.worker();
    assert_eq!(worker.lookup("/top/sub/file"), Ok((NodeId::new(70), Kind::File)));
    assert_eq!(worker.path_of(NodeId::new(71)).as_deref(), Some("/other"));
    assert_eq!((store.index.file_count(), store.index.dir_count()), (2, 2));
    let ids: std::collections::HashSet<u32> =
        (0..1200).map(|n| worker.put(&format!("/new/{n}")).get()).collect();
    assert_eq!(ids.len(), 1200);
    assert!([0, 1, 3, 70, 71, 900].iter().all(|id| !ids.contains(id)), "numbers in use were not given out");
    assert!(ids.contains(&4) && ids.contains(&899), "numbers that were free were");
    worker.rename("/top", "/moved").expect("free");
    assert_eq!(worker.remove_file("/moved/sub/file"), Ok(NodeId::new(70)));
}

#[test]
fn a_large_tree_is_found_name_by_name_and_grows_on() {
    let mut tree: Vec<Noted> = (0..20).map(|d| noted(2 + d, 1, &format!("d{d}"), Kind::Directory)).collect();
    tree.extend((0..5000).map(|n| noted(100 + n, 2 + n % 20, &format!("f{n}"), Kind::File)));
    let store = load(&tree).expect("a good tree");
    store.index.table.validate();
    let worker = store.worker();
    for n in 0..5000 {
        let path = format!("/d{}/f{n}", n % 20);
        assert_eq!(worker.lookup(&path), Ok((NodeId::new(100 + n), Kind::File)));
        assert!(worker.lookup(&format!("{path}x")).is_err());
    }
    for n in 0..5000 {
        worker.put(&format!("/d{}/g{n}", n % 20));
        worker.remove_file(&format!("/d{}/f{n}", n % 20)).expect("there");
    }
    store.index.table.validate();
    assert_eq!(store.index.file_count(), 5000);
}

#[test]
fn records_that_do_not_fit_are_refused() {
    let dir = |id, parent, name| noted(id, parent, name, Kind::Directory);
    let file = |id, parent, name| noted(id, parent, name, Kind::File);
    let bad: [&[Noted]; 8] = [
        &[file(2, 1, "a"), file(3, 1, "a")],
        &[file(2, 1, "a"), file(2, 1, "b")],
        &[file(2, 1, "a"), file(3, 2, "b")],
        &[file(2, 5, "a")],
        &[file(1, 1, "a")],
        &[file(2, 1, "a/b")],
        &[dir(2, 3, "a"), dir(3, 2, "b")],
        &[dir(2, 2, "a")],
    ];
    for tree in bad {
        assert!(matches!(load(tree), Err(IndexError::Invalid { .. })), "{tree:?}");
    }
}
