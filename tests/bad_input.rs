//! Whatever is passed in: a typed error or the documented meaning, and nothing lost.

mod common;

#[path = "bad_input/builder.rs"]
mod builder;
#[path = "bad_input/holes.rs"]
mod holes;
#[path = "bad_input/offsets.rs"]
mod offsets;
#[path = "bad_input/paths.rs"]
mod paths;
