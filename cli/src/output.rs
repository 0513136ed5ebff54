//! Standard output: buffered, and closed without a fuss when the reader goes away (`memfs ls store | head`).

use crate::trouble::Trouble;
use std::{
    borrow::Cow,
    fmt,
    io::{self, BufWriter, IsTerminal, StdoutLock, Write},
};

/// Where commands print what they were asked for.
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
    is_closed: bool,
}

impl Output {
    pub(crate) fn new() -> Self {
        let out = io::stdout().lock();
        Self { is_terminal: out.is_terminal(), out: BufWriter::new(out), is_closed: false }
    }

    /// Whether nobody reads any more: what is printed now goes nowhere, so long work may end.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.attempt(|out| out.write_all(bytes))
    }

    /// Prints text, such as `format_args!` gives.
    pub(crate) fn text(&mut self, text: impl fmt::Display) -> Result<(), Trouble> {
        self.attempt(|out| write!(out, "{text}"))
    }

    /// A name from a store as it is shown here: to a terminal without control characters, to a program as it is.
    pub(crate) fn name<'a>(&self, name: &'a str) -> Cow<'a, str> {
        if self.is_terminal { printable(name) } else { Cow::Borrowed(name) }
    }

    /// All is said.
    pub(crate) fn finish(&mut self) -> Result<(), Trouble> {
        self.attempt(|out| out.flush())
    }

    fn attempt(
        &mut self,
        print: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<()>,
    ) -> Result<(), Trouble> {
        if self.is_closed {
            return Ok(());
        }
        match print(&mut self.out) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            printed => printed.map_err(|error| Trouble(format!("standard output: {error}"))),
        }
    }
}

/// Without what would move the cursor, change the colour or begin a line of its own.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelled_out() {
        assert_eq!(printable("a\x1b[31mb\nc\u{9b}ü"), "a\\u{1b}[31mb\\nc\\u{9b}ü");
        assert!(matches!(printable("plain ü"), Cow::Borrowed(_)));
    }
}
