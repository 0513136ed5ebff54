//! The memfs command line.
fn main() {}
