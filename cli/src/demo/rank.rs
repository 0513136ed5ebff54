//! Which files matter: a priority by the kind of the file, so that the report has something to tell apart.

use super::table::Table;
use crate::trouble::Trouble;
use memfs::{MemFs, Priority};

/// Settings and notes up to this length are locked in RAM.
const LOCKED_MAX_BYTES: u64 = 64 << 10;
/// Locked files together take no more than this part of the limit.
const LOCKED_PART: u64 = 8;

/// The priority that a file of this name and length would like.
fn wish(name: &str, len_bytes: u64) -> Priority {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        "toml" | "json" | "conf" | "cfg" | "ini" | "yaml" | "yml" | "md" if len_bytes <= LOCKED_MAX_BYTES => {
            Priority::LOCKED
        }
        "rs" | "c" | "h" | "cc" | "cpp" | "hpp" | "py" | "go" | "js" | "ts" | "pl" | "sh" | "java" => {
            Priority::HIGH
        }
        "so" | "a" | "o" | "ko" | "rlib" | "rmeta" | "pyc" | "jar" | "gz" | "xz" | "zst" | "zip" => {
            Priority::LOW
        }
        _ if name.contains(".so.") => Priority::LOW,
        _ => Priority::NORMAL,
    }
}

/// What the report calls the files of a priority.
pub(crate) fn kind(level: u8) -> &'static str {
    match level {
        1 => "low: binaries, archives",
        7 => "high: source code",
        9 => "locked: settings, notes",
        _ => "normal: all else",
    }
}

/// Tells the store. Files keep their wish as long as the locked ones stay within their part of `limit_bytes`.
pub(crate) fn assign(fs: &MemFs, table: &Table, limit_bytes: u64) -> Result<(), Trouble> {
    let mut locked_room = limit_bytes / LOCKED_PART;
    let mut path = String::new();
    for (id, file) in table.loaded() {
        let mut priority = wish(table.file_name(id), file.len_bytes());
        if priority == Priority::LOCKED {
            match locked_room.checked_sub(file.len_bytes()) {
                Some(rest) => locked_room = rest,
                None => priority = Priority::HIGH,
            }
        }
        if priority != Priority::NORMAL {
            fs.set_priority(table.path(id, &mut path), priority)?;
            file.set_priority(priority.get());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_names() {
        for (name, len_bytes, priority) in [
            ("lib.rs", 10, Priority::HIGH),
            ("Cargo.toml", 10, Priority::LOCKED),
            ("huge.json", LOCKED_MAX_BYTES + 1, Priority::NORMAL),
            ("libc.so.6", 10, Priority::LOW),
            ("libm.a", 10, Priority::LOW),
            ("index.html", 10, Priority::NORMAL),
            ("rs", 10, Priority::NORMAL),
            ("", 0, Priority::NORMAL),
        ] {
            assert_eq!(wish(name, len_bytes), priority, "{name}");
        }
    }

    #[test]
    fn kinds_fit_their_column() {
        for level in 0..=10 {
            assert!(format!("{level} {}", kind(level)).len() <= crate::demo::report::LABEL_WIDTH, "{level}");
        }
    }

    #[test]
    fn locked_files_leave_room_under_the_limit() {
        let fs = MemFs::builder().memory_limit_bytes(16 << 20).build().expect("a store");
        let mut table = Table::new(std::path::Path::new("/"));
        for index in 0..10 {
            let id = table.add_file(crate::demo::table::ROOT, &format!("{index}.toml"), 1000).expect("room");
            fs.write(format!("/{index}.toml"), [0; 1000]).expect("a write");
            table.file(id).set_contents(1000, 0);
        }
        assign(&fs, &table, 8 * 3000).expect("known files");
        let of = |level: Priority| table.loaded().filter(|(_, file)| file.priority() == level.get()).count();
        assert_eq!((of(Priority::LOCKED), of(Priority::HIGH)), (3, 7));
        assert_eq!(fs.priority("/0.toml").expect("a file"), Priority::LOCKED);
        assert_eq!(fs.priority("/9.toml").expect("a file"), Priority::HIGH);
    }
}
