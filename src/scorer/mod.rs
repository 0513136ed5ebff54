//! See docs/design/scorer.md.
