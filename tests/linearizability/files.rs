//! A few files as a sequential object. Contents are lists of tags; in the store a tag is a block of [`BLOCK`] bytes.

use crate::common::linear::Object;

pub(crate) const PATHS: usize = 3;
pub(crate) const BLOCK: usize = 1536;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write { path: usize, tag: u16, blocks: usize },
    CreateNew { path: usize, tag: u16, blocks: usize },
    Append { path: usize, tag: u16, blocks: usize },
    WriteAt { path: usize, tag: u16, at: usize, blocks: usize },
    SetLen { path: usize, blocks: usize },
    Read { path: usize },
    ReadAt { path: usize, at: usize, blocks: usize },
    Len { path: usize },
    Exists { path: usize },
    Remove { path: usize },
    Rename { from: usize, to: usize },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Done,
    Missing,
    Taken,
    Content(Vec<u16>),
    Blocks(usize),
    Is(bool),
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) op: Op,
    pub(crate) answer: Answer,
}

pub(crate) struct Files;

pub(crate) type State = [Option<Vec<u16>>; PATHS];

impl Object for Files {
    type State = State;
    type Call = Call;

    fn start() -> State {
        Default::default()
    }

    fn step(state: &State, call: &Call) -> Option<State> {
        let mut next = state.clone();
        let answer = apply(&mut next, &call.op);
        (answer == call.answer).then_some(next)
    }
}

/// What one after the other gives.
fn apply(files: &mut State, op: &Op) -> Answer {
    match *op {
        Op::Write { path, tag, blocks } => {
            files[path] = Some(vec![tag; blocks]);
            Answer::Done
        }
        Op::CreateNew { path, tag, blocks } => {
            if files[path].is_some() {
                return Answer::Taken;
            }
            files[path] = Some(vec![tag; blocks]);
            Answer::Done
        }
        Op::Append { path, tag, blocks } => {
            let file = files[path].get_or_insert_default();
            file.resize(file.len() + blocks, tag);
            Answer::Done
        }
        Op::WriteAt { path, tag, at, blocks } => with(&mut files[path], |file| {
            file.resize(file.len().max(at + blocks), 0);
            file[at..at + blocks].fill(tag);
            Answer::Done
        }),
        Op::SetLen { path, blocks } => with(&mut files[path], |file| {
            file.resize(blocks, 0);
            Answer::Done
        }),
        Op::Read { path } => with(&mut files[path], |file| Answer::Content(file.clone())),
        Op::ReadAt { path, at, blocks } => with(&mut files[path], |file| {
            let end = (at + blocks).min(file.len());
            Answer::Content(file.get(at..end).unwrap_or_default().to_vec())
        }),
        Op::Len { path } => with(&mut files[path], |file| Answer::Blocks(file.len())),
        Op::Exists { path } => Answer::Is(files[path].is_some()),
        Op::Remove { path } => match files[path].take() {
            Some(_) => Answer::Done,
            None => Answer::Missing,
        },
        Op::Rename { from, to } => match files[from].take() {
            Some(file) => {
                files[to] = Some(file);
                Answer::Done
            }
            None => Answer::Missing,
        },
    }
}

fn with(file: &mut Option<Vec<u16>>, f: impl FnOnce(&mut Vec<u16>) -> Answer) -> Answer {
    file.as_mut().map_or(Answer::Missing, f)
}
