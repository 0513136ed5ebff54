//! The model: a map of names, a map of files, and the rules of rename(2), open(2) and friends in the plainest form.

use super::ops::Opening;
use crate::common::kind::Kind::{self, *};
use std::collections::BTreeMap;

pub(crate) type FileId = usize;

/// An operation that has to fail, with the variants that fit; the first is the one Linux gives.
pub(crate) type Refused = &'static [Kind];
pub(crate) type Answer<T> = Result<T, Refused>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Node {
    Dir,
    File(FileId),
}

#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) priority: u8,
}

/// Directories and files by full path; the root is not among them. Files live on while handles are open.
#[derive(Default)]
pub(crate) struct Plain {
    pub(crate) names: BTreeMap<String, Node>,
    pub(crate) files: Vec<Content>,
}

fn parent(path: &str) -> &str {
    &path[..path.rfind('/').unwrap()]
}

impl Plain {
    /// What a lookup of `path` gives.
    pub(crate) fn node(&self, path: &str) -> Answer<Node> {
        if path.is_empty() {
            return Ok(Node::Dir);
        }
        match self.node(parent(path))? {
            Node::File(_) => Err(&[NotADirectory]),
            Node::Dir => self.names.get(path).copied().ok_or(&[NotFound]),
        }
    }

    pub(crate) fn file(&self, path: &str) -> Answer<FileId> {
        match self.node(path)? {
            Node::File(id) => Ok(id),
            Node::Dir => Err(&[IsADirectory]),
        }
    }

    pub(crate) fn dir(&self, path: &str) -> Answer<()> {
        match self.node(path)? {
            Node::Dir => Ok(()),
            Node::File(_) => Err(&[NotADirectory]),
        }
    }

    /// Everything below `path`, at any depth, in order of names.
    pub(crate) fn below(&self, path: &str) -> Vec<(String, Node)> {
        let prefix = format!("{path}/");
        self.names
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix))
            .map(|(name, node)| (name.clone(), *node))
            .collect()
    }

    pub(crate) fn children(&self, path: &str) -> Vec<(String, Node)> {
        let mut all = self.below(path);
        all.retain(|(name, _)| parent(name) == path);
        all
    }

    fn make_parents(&mut self, path: &str) {
        let dir = parent(path).to_owned();
        if !dir.is_empty() && !self.names.contains_key(&dir) {
            self.make_parents(&dir);
            self.names.insert(dir, Node::Dir);
        }
    }

    /// The file of this name, made if it is not there, its parents too.
    pub(crate) fn file_or_new(&mut self, path: &str) -> Answer<FileId> {
        match self.file(path) {
            Err(&[NotFound]) => {
                self.make_parents(path);
                self.files.push(Content { bytes: Vec::new(), priority: 5 });
                self.names.insert(path.to_owned(), Node::File(self.files.len() - 1));
                Ok(self.files.len() - 1)
            }
            other => other,
        }
    }

    /// Whether [`file_or_new`](Self::file_or_new) would fail.
    pub(crate) fn can_write(&self, path: &str, create_new: bool) -> Answer<()> {
        match self.file(path) {
            Ok(_) | Err(&[IsADirectory]) if create_new => Err(&[AlreadyExists]),
            Ok(_) | Err(&[NotFound]) => Ok(()),
            Err(refused) => Err(refused),
        }
    }

    pub(crate) fn open(&mut self, path: &str, opening: &Opening) -> Answer<FileId> {
        let Opening { read, write, append, truncate, create, create_new, priority } = *opening;
        let writes = write || append;
        let nonsense = (!read && !writes)
            || (!writes && (truncate || create || create_new))
            || (append && truncate && !create_new);
        if nonsense {
            return Err(&[InvalidArgument]);
        }
        if create || create_new {
            self.can_write(path, create_new)?;
        }
        let existed = self.file(path);
        let id = if create || create_new { self.file_or_new(path)? } else { existed? };
        if truncate {
            self.files[id].bytes.clear();
        }
        if let (Some(level), true) = (priority, existed.is_err()) {
            self.files[id].priority = level;
        }
        Ok(id)
    }

    pub(crate) fn remove_file(&mut self, path: &str) -> Answer<()> {
        self.file(path)?;
        self.names.remove(path);
        Ok(())
    }

    pub(crate) fn create_dir(&mut self, path: &str) -> Answer<()> {
        match self.node(path) {
            Ok(_) => return Err(&[AlreadyExists]),
            Err(&[NotFound]) => {}
            Err(refused) => return Err(refused),
        }
        self.dir(parent(path))?;
        self.names.insert(path.to_owned(), Node::Dir);
        Ok(())
    }

    pub(crate) fn create_dir_all(&mut self, path: &str) -> Answer<()> {
        match self.node(path) {
            Ok(Node::Dir) => Ok(()),
            Ok(Node::File(_)) => Err(&[AlreadyExists, NotADirectory]),
            Err(&[NotFound]) => {
                self.make_parents(path);
                self.names.insert(path.to_owned(), Node::Dir);
                Ok(())
            }
            Err(refused) => Err(refused),
        }
    }

    pub(crate) fn remove_dir(&mut self, path: &str) -> Answer<()> {
        self.dir(path)?;
        if !self.children(path).is_empty() {
            return Err(&[DirectoryNotEmpty]);
        }
        self.names.remove(path);
        Ok(())
    }

    pub(crate) fn remove_dir_all(&mut self, path: &str) -> Answer<()> {
        self.dir(path)?;
        for (name, _) in self.below(path) {
            self.names.remove(&name);
        }
        self.names.remove(path);
        Ok(())
    }

    /// rename(2). Where several things are wrong at once, each of their errors fits.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Answer<()> {
        let node = match (self.node(from), self.dir(parent(to))) {
            (Err(&[NotFound]), Err(&[NotFound])) => return Err(&[NotFound]),
            (Err(&[NotADirectory]), Err(&[NotADirectory])) => return Err(&[NotADirectory]),
            (Err(_), Err(_)) => return Err(&[NotFound, NotADirectory]),
            (Err(refused), Ok(())) => return Err(refused),
            (Ok(Node::Dir), Err(_)) if to.starts_with(&format!("{from}/")) => {
                return Err(&[InvalidArgument, NotFound, NotADirectory]);
            }
            (Ok(_), Err(refused)) => return Err(refused),
            (Ok(node), Ok(())) => node,
        };
        if from == to {
            return Ok(());
        }
        if to.starts_with(&format!("{from}/")) {
            return Err(&[InvalidArgument]);
        }
        match (node, self.names.get(to)) {
            (Node::File(_), Some(Node::Dir)) if from.starts_with(&format!("{to}/")) => {
                return Err(&[DirectoryNotEmpty, IsADirectory]);
            }
            (Node::File(_), Some(Node::Dir)) => return Err(&[IsADirectory]),
            (Node::Dir, Some(Node::File(_))) => return Err(&[NotADirectory]),
            (Node::Dir, Some(Node::Dir)) if !self.children(to).is_empty() => {
                return Err(&[DirectoryNotEmpty]);
            }
            _ => {}
        }
        for (name, node) in self.below(from) {
            self.names.remove(&name);
            self.names.insert(format!("{to}{}", &name[from.len()..]), node);
        }
        self.names.remove(from);
        self.names.insert(to.to_owned(), node);
        Ok(())
    }

    /// Sum of the lengths of locked files.
    pub(crate) fn locked_bytes(&self) -> usize {
        self.files.iter().filter(|file| file.priority >= 9).map(|file| file.bytes.len()).sum()
    }
}

/// `data` over `bytes` from `offset`; a gap is zeros.
pub(crate) fn put_at(bytes: &mut Vec<u8>, data: &[u8], offset: u64) {
    if data.is_empty() {
        return;
    }
    let offset = offset as usize;
    bytes.resize(bytes.len().max(offset + data.len()), 0);
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

/// Up to `len` bytes from `offset`.
pub(crate) fn part(bytes: &[u8], offset: u64, len: usize) -> &[u8] {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    &bytes[from..bytes.len().min(from + len)]
}
