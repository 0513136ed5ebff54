//! See docs/design/segment.md.
