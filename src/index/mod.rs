//! See docs/design/index.md.
