//! What a sequence is made of.

use proptest::prelude::*;

/// A virtual path of the small set that operations collide on.
pub(crate) type Path = String;

/// Contents: `len` bytes made from `seed`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data {
    pub(crate) seed: u64,
    pub(crate) len: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) append: bool,
    pub(crate) truncate: bool,
    pub(crate) create: bool,
    pub(crate) create_new: bool,
    pub(crate) priority: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Whence {
    Start(u64),
    End(i64),
    Current(i64),
}

/// How a whole file is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Read,
    ReadWith,
    Get,
    GetChunks,
    ReadBytes,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write(Path, Data),
    WriteWith { path: Path, data: Data, priority: Option<u8>, create_new: bool },
    Read(Path, Way),
    ReadToString(Path),
    ReadAt { path: Path, offset: u64, len: usize },
    WriteAt { path: Path, data: Data, offset: u64 },
    Append(Path, Data),
    SetLen(Path, u64),
    RemoveFile(Path),
    Rename(Path, Path),
    Copy(Path, Path),
    Metadata(Path),
    Hold(Path),
    LetGo(usize),
    Open(Path, Opening),
    HandleRead { handle: usize, len: usize },
    HandleWrite { handle: usize, data: Data },
    HandleSeek { handle: usize, to: Whence },
    HandleReadAt { handle: usize, offset: u64, len: usize },
    HandleWriteAt { handle: usize, data: Data, offset: u64 },
    HandleSetLen { handle: usize, len: u64 },
    HandleMetadata { handle: usize },
    HandleClose { handle: usize },
    CreateDir(Path),
    CreateDirAll(Path),
    RemoveDir(Path),
    RemoveDirAll(Path),
    ReadDir(Path),
    Walk(Path),
    Glob(usize),
    SetPriority(Path, u8),
    Priority(Path),
    Preload(Path),
    Gc(f64),
    MemoryMap,
}

fn path() -> impl Strategy<Value = Path> {
    let name = prop_oneof![Just("a"), Just("b"), Just("c")];
    prop::collection::vec(name, 1..=3).prop_map(|names| format!("/{}", names.join("/")))
}

/// Lengths from nothing to several chunks, with the edges of chunks more often than chance would have them.
fn len(chunk: usize) -> impl Strategy<Value = usize> {
    prop_oneof![
        1 => Just(0),
        4 => 1..300usize,
        2 => 1..chunk,
        3 => (1..4usize, 0..3usize).prop_map(move |(chunks, off)| chunks * chunk - 1 + off),
        2 => 1..(5 * chunk).min(150 << 10),
    ]
}

fn data(chunk: usize) -> impl Strategy<Value = Data> {
    (any::<u64>(), len(chunk)).prop_map(|(seed, len)| Data { seed, len })
}

fn offset(chunk: usize) -> impl Strategy<Value = u64> {
    len(chunk).prop_map(|len| len as u64)
}

fn level() -> impl Strategy<Value = u8> {
    // Locked files are rare: they take the room that everything else is swapped in and out of.
    prop_oneof![8 => 0..9u8, 1 => 9..=10u8]
}

fn opening() -> impl Strategy<Value = Opening> {
    let wanted = prop::bool::weighted(0.8);
    let rare = prop::bool::weighted(0.2);
    (wanted, wanted, rare, rare, wanted, rare, prop::option::weighted(0.2, level())).prop_map(
        |(read, write, append, truncate, create, create_new, priority)| Opening {
            read,
            write,
            append,
            truncate,
            create,
            create_new,
            priority,
        },
    )
}

fn handle() -> impl Strategy<Value = usize> {
    0..4usize
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![
        Just(Way::Read),
        Just(Way::ReadWith),
        Just(Way::Get),
        Just(Way::GetChunks),
        Just(Way::ReadBytes)
    ]
}

fn whence(chunk: usize) -> impl Strategy<Value = Whence> {
    let step = chunk as i64;
    prop_oneof![
        offset(chunk).prop_map(Whence::Start),
        (-2 * step..step).prop_map(Whence::End),
        (-2 * step..step).prop_map(Whence::Current),
    ]
}

fn on_files(chunk: usize) -> impl Strategy<Value = Op> {
    let put = (path(), data(chunk), prop::option::of(level()), prop::bool::weighted(0.3))
        .prop_map(|(path, data, priority, create_new)| Op::WriteWith { path, data, priority, create_new });
    let get_at =
        (path(), offset(chunk), len(chunk)).prop_map(|(path, offset, len)| Op::ReadAt { path, offset, len });
    let put_at = (path(), data(chunk), offset(chunk)).prop_map(|(path, data, offset)| Op::WriteAt {
        path,
        data,
        offset,
    });
    prop_oneof![
        6 => (path(), data(chunk)).prop_map(|(path, data)| Op::Write(path, data)),
        3 => put,
        8 => (path(), way()).prop_map(|(path, way)| Op::Read(path, way)),
        1 => path().prop_map(Op::ReadToString),
        4 => get_at,
        4 => put_at,
        3 => (path(), data(chunk)).prop_map(|(path, data)| Op::Append(path, data)),
        3 => (path(), offset(chunk)).prop_map(|(path, len)| Op::SetLen(path, len)),
        3 => path().prop_map(Op::RemoveFile),
        2 => (path(), path()).prop_map(|(from, to)| Op::Copy(from, to)),
        2 => path().prop_map(Op::Metadata),
        2 => path().prop_map(Op::Hold),
        2 => handle().prop_map(Op::LetGo),
    ]
}

fn on_handles(chunk: usize) -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (path(), opening()).prop_map(|(path, opening)| Op::Open(path, opening)),
        2 => (handle(), len(chunk)).prop_map(|(handle, len)| Op::HandleRead { handle, len }),
        2 => (handle(), data(chunk)).prop_map(|(handle, data)| Op::HandleWrite { handle, data }),
        2 => (handle(), whence(chunk)).prop_map(|(handle, to)| Op::HandleSeek { handle, to }),
        1 => (handle(), offset(chunk), len(chunk))
            .prop_map(|(handle, offset, len)| Op::HandleReadAt { handle, offset, len }),
        1 => (handle(), data(chunk), offset(chunk))
            .prop_map(|(handle, data, offset)| Op::HandleWriteAt { handle, data, offset }),
        1 => (handle(), offset(chunk)).prop_map(|(handle, len)| Op::HandleSetLen { handle, len }),
        1 => handle().prop_map(|handle| Op::HandleMetadata { handle }),
        1 => handle().prop_map(|handle| Op::HandleClose { handle }),
    ]
}

fn on_names() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (path(), path()).prop_map(|(from, to)| Op::Rename(from, to)),
        2 => path().prop_map(Op::CreateDir),
        2 => path().prop_map(Op::CreateDirAll),
        2 => path().prop_map(Op::RemoveDir),
        1 => path().prop_map(Op::RemoveDirAll),
        2 => path().prop_map(Op::ReadDir),
        1 => path().prop_map(Op::Walk),
        1 => (0..GLOBS.len()).prop_map(Op::Glob),
    ]
}

fn on_tiers() -> impl Strategy<Value = Op> {
    let target = prop_oneof![2 => Just(0.0), 2 => 0.0..1.0f64, 1 => Just(1.5)];
    prop_oneof![
        2 => (path(), level()).prop_map(|(path, level)| Op::SetPriority(path, level)),
        1 => path().prop_map(Op::Priority),
        2 => path().prop_map(Op::Preload),
        4 => target.prop_map(Op::Gc),
        1 => Just(Op::MemoryMap),
    ]
}

pub(crate) fn op(chunk: usize) -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => on_files(chunk),
        4 => on_handles(chunk),
        4 => on_names(),
        3 => on_tiers(),
    ]
}

/// Patterns, and what they mean for the three names that paths are made of.
pub(crate) const GLOBS: [(&str, fn(&[&str]) -> bool); 8] = [
    ("/**", |_| true),
    ("/*", |names| names.len() == 1),
    ("/a/*", |names| names.len() == 2 && names[0] == "a"),
    ("/a/**/b", |names| names.len() >= 2 && names[0] == "a" && names[names.len() - 1] == "b"),
    ("/**/c", |names| names[names.len() - 1] == "c"),
    ("/[ab]/?", |names| names.len() == 2 && names[0] != "c"),
    ("/{a,b/c}/*", |names| match names {
        [first, _] => *first == "a",
        [first, second, _] => *first == "b" && *second == "c",
        _ => false,
    }),
    ("a/b", |names| names == ["a", "b"]),
];
