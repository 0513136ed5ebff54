//! The floors of ARCHITECTURE.md: a module uses those below it only, and what one module is said to name alone is named
//! nowhere else.

#[path = "common/sources.rs"]
mod sources;

use sources::sources;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Modules by floor, lowest first. A floor's modules do not know each other, but for the first's.
const FLOORS: [&[&str]; 7] = [
    &["config", "epoch", "error", "failpoint", "map", "path", "stats", "sync"],
    &["arena", "segment"],
    &["order"],
    &["index", "scorer"],
    &["journal"],
    &["tier"],
    &["fs"],
];

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The engine's sources by module, tests and the model checker's doors left out, comments removed.
fn modules() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut modules: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for path in files {
        let inside = path.strip_prefix(&src).unwrap().to_owned();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let is_test = inside.iter().any(|part| part == "tests" || part == "tests.rs");
        if module == "lib" || module == "model" || is_test {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code: String =
            text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
        // A file's unit tests stand at its end.
        let code = code.split("#[cfg(all(test").next().unwrap().to_owned();
        modules.entry(module).or_default().push((inside, code));
    }
    modules
}

/// The modules of the crate that `code` names: after `crate::`, one or several in braces.
fn named(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let word = |text: &str| -> String {
            text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
        };
        if !rest.starts_with('{') {
            names.push(word(rest));
            continue;
        }
        let mut depth = 0;
        let mut item_starts = true;
        for (index, c) in rest.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' => {}
                _ if item_starts && depth == 1 && !c.is_whitespace() => names.push(word(&rest[index..])),
                _ => {}
            }
            item_starts = depth == 1 && (c == '{' || c == ',' || item_starts && c.is_whitespace());
            if depth == 0 {
                break;
            }
        }
    }
    names
}

#[test]
fn every_module_uses_only_the_floors_below_it() {
    let modules = modules();
    let mut wrong = Vec::new();
    for (module, files) in &modules {
        let floor = floor_of(module).unwrap_or_else(|| panic!("{module} is on no floor"));
        for (path, code) in files {
            for name in named(code) {
                // The public items at the root of the crate come from floors that are named by their modules.
                let Some(used) = floor_of(&name) else { continue };
                if used > floor || used == floor && floor > 0 && name != *module {
                    wrong.push(format!("{}: {module} uses {name}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let found: Vec<_> = modules.keys().map(String::as_str).collect();
    let expected: std::collections::BTreeSet<_> =
        FLOORS.iter().flat_map(|floor| floor.iter().copied()).collect();
    assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "the floors name each module once");
}

#[test]
fn what_one_module_is_to_name_alone_is_named_nowhere_else() {
    let alone = [
        ("memmap2::", "map.rs"),
        ("crossbeam_epoch::", "epoch.rs"),
        ("arc_swap::", "segment/cell.rs"),
        ("std::sync::atomic::Atomic", "sync.rs"),
        ("loom::", "sync.rs"),
    ];
    let mut wrong = Vec::new();
    for (path, code) in modules().into_values().flatten() {
        for (what, place) in alone {
            if code.contains(what) && path != Path::new(place) {
                wrong.push(format!("{} names {what}", path.display()));
            }
        }
    }
    // One counter of a process, which no model runs twice.
    wrong.retain(|line| !line.starts_with("tier/core.rs names std::sync::atomic"));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn names_are_found_in_every_form_of_use() {
    let code = "use crate::arena::Block;\nuse crate::{\n    epoch::{Guard, Handle},\n    scorer,\n    error::Result,\n};";
    assert_eq!(named(code), ["arena", "epoch", "scorer", "error"]);
}
