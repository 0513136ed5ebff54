//! See docs/design/arena.md.
