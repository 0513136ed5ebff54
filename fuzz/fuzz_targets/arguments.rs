//! Any bytes as a command line: it is understood, answered with help (exit code 0), or refused (2). And as sizes: what is
//! taken is what is written, and what is shown can be read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memfs_cli::size;
use std::{ffi::OsString, iter, os::unix::ffi::OsStringExt};

fuzz_target!(|bytes: &[u8]| {
    let words = || bytes.split(|byte| *byte == 0);
    let arguments = words().map(|word| OsString::from_vec(word.to_vec()));
    if let Err(refusal) = memfs_cli::parse(iter::once("memfs".into()).chain(arguments)) {
        assert!(!refusal.render().to_string().is_empty());
        let helps = words().any(|word| matches!(word, b"help" | b"--help" | b"--version") || is_flags(word));
        assert!(refusal.exit_code() == 2 || refusal.exit_code() == 0 && helps, "{refusal:?}");
    }
    words().filter_map(|word| str::from_utf8(word).ok()).for_each(reads_sizes);
    if let Some(number) = bytes.first_chunk() {
        shows_sizes(u64::from_le_bytes(*number));
    }
});

/// Short options, of which one may ask for help.
fn is_flags(word: &[u8]) -> bool {
    word.starts_with(b"-") && !word.starts_with(b"--")
}

fn reads_sizes(text: &str) {
    let whole: Option<u64> = text.parse().ok().filter(|_| !text.starts_with('+'));
    match size::parse(text) {
        Ok(bytes) => assert!(bytes > 0 && whole.is_none_or(|whole| whole == bytes), "{text:?} is {bytes}"),
        Err(reason) => {
            assert!(!reason.is_empty() && whole.is_none_or(|whole| whole == 0), "{text:?}: {reason}")
        }
    }
}

fn shows_sizes(number: u64) {
    assert_eq!(size::count(number).replace(',', ""), number.to_string());
    assert!(
        size::short(number).chars().count() <= 8 || number >= 1_000_000_000_000,
        "{}",
        size::short(number)
    );
    assert!(!size::duration(number).is_empty());
    let shown = size::show(number);
    match size::parse(&shown) {
        Ok(again) => {
            assert!(again.abs_diff(number) <= number / 100, "{number} shown as {shown}, read as {again}")
        }
        // Rounded up past the largest there is.
        Err(_) => assert!(number == 0 || number > u64::MAX / 100 * 99, "{number} shown as {shown}"),
    }
}
