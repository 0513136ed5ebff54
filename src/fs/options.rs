//! How a file is written or opened.

use crate::config::Priority;

/// How [`MemFs::write_with`](crate::MemFs::write_with) writes.
///
/// ```
/// # use memfs::{MemFs, Priority, WriteOptions};
/// # let fs = MemFs::builder().memory_limit_bytes(1 << 20).build()?;
/// let options = WriteOptions::new().priority(Priority::HIGH).create_new(true);
/// fs.write_with("/config", "a = 1", &options)?;
/// assert!(fs.write_with("/config", "a = 2", &options).is_err());
/// # Ok::<(), memfs::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    pub(crate) priority: Option<Priority>,
    pub(crate) create_new: bool,
}

impl WriteOptions {
    /// As [`MemFs::write`](crate::MemFs::write) writes: creates or replaces, and keeps the file's priority.
    pub fn new() -> Self {
        Self::default()
    }

    /// The file's priority from now on.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Fails with [`Error::AlreadyExists`](crate::Error::AlreadyExists) if the name is taken, in one atomic step.
    #[must_use]
    pub fn create_new(mut self, create_new: bool) -> Self {
        self.create_new = create_new;
        self
    }
}

/// How [`MemFs::open_with`](crate::MemFs::open_with) opens; the rules are those of [`std::fs::OpenOptions`].
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) append: bool,
    pub(crate) truncate: bool,
    pub(crate) create: bool,
    pub(crate) create_new: bool,
    pub(crate) priority: Option<Priority>,
}

impl OpenOptions {
    /// Nothing allowed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// For reading.
    pub fn read(&mut self, read: bool) -> &mut Self {
        self.read = read;
        self
    }

    /// For writing, at the position.
    pub fn write(&mut self, write: bool) -> &mut Self {
        self.write = write;
        self
    }

    /// For writing, each write atomically at the end.
    pub fn append(&mut self, append: bool) -> &mut Self {
        self.append = append;
        self
    }

    /// Cut to length 0; wants [`write`](Self::write).
    pub fn truncate(&mut self, truncate: bool) -> &mut Self {
        self.truncate = truncate;
        self
    }

    /// Make the file, and its parents, if it is not there; wants [`write`](Self::write) or [`append`](Self::append).
    pub fn create(&mut self, create: bool) -> &mut Self {
        self.create = create;
        self
    }

    /// Make the file, which must not be there, in one atomic step.
    pub fn create_new(&mut self, create_new: bool) -> &mut Self {
        self.create_new = create_new;
        self
    }

    /// The file's priority from now on.
    pub fn priority(&mut self, priority: Priority) -> &mut Self {
        self.priority = Some(priority);
        self
    }

    pub(crate) fn writes(&self) -> bool {
        self.write || self.append
    }

    /// What is contradictory about these options, if anything.
    pub(crate) fn contradiction(&self) -> Option<&'static str> {
        if !self.read && !self.writes() {
            Some("read, write or append")
        } else if self.truncate && (!self.writes() || self.append && !self.create_new) {
            Some("write, and not append, with truncate")
        } else if (self.create || self.create_new) && !self.writes() {
            Some("write or append, with create or create_new")
        } else {
            None
        }
    }
}
