//! Any bytes in place of the journal's front, with checksums and stamps that are right or not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memfs_fuzz::{Target, replace};

fuzz_target!(|input: &[u8]| replace(Target::Front, input));
