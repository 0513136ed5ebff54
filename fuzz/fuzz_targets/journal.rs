//! Any bytes in place of a journal, with checksums that are right or not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memfs_fuzz::{Target, replace};

fuzz_target!(|input: &[u8]| replace(Target::Journal, input));
