//! Virtual paths: from what a caller wrote to the one spelling the store uses.
//!
//! Owns the rules of spelling (SPEC, "Paths") and their limits. Knows nothing of what exists under a name.
//!
//! # Invariants
//! 1. The text of a [`Canonical`] starts with `/`, ends with `/` only if it is the root, has no empty, `.` or `..` component,
//!    no `\` and no NUL; a component has 1 to 255 bytes, the whole at most 4096.
//! 2. Two texts name the same place if and only if their canonical texts are equal.

use std::borrow::Cow;

/// Longest component, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 255;
/// Longest canonical path, in bytes.
pub(crate) const MAX_PATH_BYTES: usize = 4096;

/// What is wrong with a text that is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidPath {
    pub(crate) reason: &'static str,
}

const EMPTY: InvalidPath = InvalidPath { reason: "empty" };
const NUL: InvalidPath = InvalidPath { reason: "it contains a NUL byte" };
const ESCAPES: InvalidPath = InvalidPath { reason: "`..` leads above the root" };
const LONG_NAME: InvalidPath = InvalidPath { reason: "a component is longer than 255 bytes" };
const LONG_PATH: InvalidPath = InvalidPath { reason: "longer than 4096 bytes" };

/// A path in its one spelling, borrowed from the caller where that was it already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Canonical<'a> {
    text: Cow<'a, str>,
    directory: bool,
}

impl<'a> Canonical<'a> {
    /// Reads `raw` by the rules of SPEC; allocates only if `raw` is spelled otherwise.
    pub(crate) fn new(raw: &'a str) -> Result<Self, InvalidPath> {
        if is_canonical(raw) {
            return Ok(Self { text: Cow::Borrowed(raw), directory: raw.len() == 1 });
        }
        match raw.strip_suffix('/') {
            Some(stem) if stem.len() > 1 && is_canonical(stem) => {
                Ok(Self { text: Cow::Borrowed(stem), directory: true })
            }
            _ => normalise(raw),
        }
    }

    /// The canonical spelling.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn into_text(self) -> Cow<'a, str> {
        self.text
    }

    /// Whether the caller's spelling insists on a directory: it ended in a separator.
    pub(crate) fn names_directory(&self) -> bool {
        self.directory
    }

    pub(crate) fn is_root(&self) -> bool {
        self.text.len() == 1
    }

    /// The parent's path and the last component; `None` for the root.
    pub(crate) fn split(&self) -> Option<(&str, &str)> {
        split(&self.text)
    }

    #[cfg(any(test, memfs_loom))]
    /// The components from the root down.
    pub(crate) fn components(&self) -> Components<'_> {
        components(&self.text)
    }

    /// Whether `self` lies strictly below `above`.
    pub(crate) fn is_below(&self, above: &Canonical<'_>) -> bool {
        above.is_root() && !self.is_root()
            || self.text.strip_prefix(&*above.text).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// The name an error is about: in its one spelling, or as written if it is no path.
pub(crate) fn canonical_name(raw: &str) -> String {
    Canonical::new(raw).map_or_else(|_| raw.to_owned(), |path| path.text().to_owned())
}

/// Whether `text` is spelled as invariant 1 says. No allocation.
pub(crate) fn is_canonical(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'/') || bytes.len() > MAX_PATH_BYTES {
        return false;
    }
    bytes.len() == 1 || is_plain(bytes) || bytes[1..].split(|&byte| byte == b'/').all(is_name)
}

/// Whether a text that begins with a separator is canonical at first sight, as nearly all paths are: neither short nor long, and
/// no separator before another one, a dot or the end.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    match bytes.len() {
        17..=MAX_NAME_BYTES => !has_odd::<16>(bytes),
        9..17 => !has_odd::<8>(bytes),
        _ => false,
    }
}

/// Whether a byte after the first is NUL or a backslash, or is a separator or a dot that comes after a separator, or is a
/// separator at the end. Of texts longer than `N`, in steps of as much, of which the last overlaps the one before.
#[inline(always)]
fn has_odd<const N: usize>(bytes: &[u8]) -> bool {
    // A lane for each byte of a step and no branch among them: what a processor does at once.
    let mut odd = [0; N];
    let last = bytes.len() - N - 1;
    let mut at = 0;
    loop {
        let (Some(before), Some(these)) =
            (bytes[at..].first_chunk::<N>(), bytes[at + 1..].first_chunk::<N>())
        else {
            return true;
        };
        let mut found = [0; N];
        for lane in 0..N {
            let is = |byte: u8, what: u8| u8::from(byte == what);
            let (before, this) = (before[lane], these[lane]);
            let hides = is(before, b'/') & (is(this, b'/') | is(this, b'.'));
            found[lane] = is(this, 0) | is(this, b'\\') | hides;
        }
        (0..N).for_each(|lane| odd[lane] |= found[lane]);
        if at == last {
            break;
        }
        at = (at + N).min(last);
    }
    odd.iter().fold(0, |all, lane| all | lane) != 0 || bytes.ends_with(b"/")
}

fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= MAX_NAME_BYTES
        && !name.iter().any(|&byte| byte == 0 || byte == b'\\')
}

fn normalise(raw: &str) -> Result<Canonical<'static>, InvalidPath> {
    if raw.is_empty() {
        return Err(EMPTY);
    }
    if raw.contains('\0') {
        return Err(NUL);
    }
    let mut text = String::with_capacity(raw.len() + 1);
    for name in raw.split(['/', '\\']) {
        match name {
            "" | "." => {}
            ".." => text.truncate(text.rfind('/').ok_or(ESCAPES)?),
            _ if name.len() > MAX_NAME_BYTES => return Err(LONG_NAME),
            _ => {
                text.push('/');
                text.push_str(name);
            }
        }
    }
    if text.len() > MAX_PATH_BYTES {
        return Err(LONG_PATH);
    }
    let directory = text.is_empty() || raw.ends_with(['/', '\\']);
    if text.is_empty() {
        text.push('/');
    }
    Ok(Canonical { text: Cow::Owned(text), directory })
}

/// The parent's path and the last component of a canonical text; `None` for the root.
pub(crate) fn split(text: &str) -> Option<(&str, &str)> {
    debug_assert!(is_canonical(text), "{text:?}");
    let cut = text.rfind('/').filter(|_| text.len() > 1)?;
    Some((if cut == 0 { "/" } else { &text[..cut] }, &text[cut + 1..]))
}

/// What is above the last component of a text, without the separator, and that component, if it is a name as it stands, and short
/// enough to be one. Says nothing of what is above. Eight bytes at a step, from the end.
#[inline]
pub(crate) fn last_name(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let mut end = bytes.len();
    let start = loop {
        let Some(eight) = bytes[..end].last_chunk() else {
            let start = bytes[..end].iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
            if bytes[start..end].iter().any(|byte| matches!(byte, 0 | b'\\')) {
                return None;
            }
            break start;
        };
        let word = u64::from_le_bytes(*eight);
        let (separators, odd) = (lanes(word, b'/'), lanes(word, 0) | lanes(word, b'\\'));
        // The highest lane that is either: what is below a separator is not of the name.
        if odd > separators {
            return None;
        }
        if separators != 0 {
            break end - separators.leading_zeros() as usize / 8;
        }
        end -= 8;
    };
    let (above, name) = (text.get(..start.saturating_sub(1))?, text.get(start..)?);
    let fits = name.len() <= MAX_NAME_BYTES && text.len() < MAX_PATH_BYTES;
    (fits && !matches!(name, "" | "." | "..")).then_some((above, name))
}

/// The top bits of the bytes of `word` that are `byte`.
fn lanes(word: u64, byte: u8) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const LOW: u64 = ONES * 127;
    let word = word ^ (ONES * u64::from(byte));
    // The sum stays within each byte, and sets its top bit unless the other seven are zero.
    !(((word & LOW) + LOW) | word | LOW)
}

/// What of a text stands above a name that is its last component; `None` if that is another one.
#[inline(always)]
pub(crate) fn above<'t>(text: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    let start = text.len().checked_sub(name.len())?;
    let (above, last) = text.split_at(start);
    if !same(last, name) {
        return None;
    }
    match above {
        [above @ .., b'/'] => Some(above),
        [] => Some(above),
        _ => None,
    }
}

/// Whether two names or paths are the same: in words that overlap, which for texts as short as these costs less than the call of
/// the library's comparison.
#[inline(always)]
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        4..8 => a.first_chunk::<4>() == b.first_chunk() && a.last_chunk::<4>() == b.last_chunk(),
        8..16 => a.first_chunk::<8>() == b.first_chunk() && a.last_chunk::<8>() == b.last_chunk(),
        16..32 => a.first_chunk::<16>() == b.first_chunk() && a.last_chunk::<16>() == b.last_chunk(),
        32..=64 => a.first_chunk::<32>() == b.first_chunk() && a.last_chunk::<32>() == b.last_chunk(),
        _ => a == b,
    }
}

/// The components of a canonical text from the root down.
pub(crate) fn components(text: &str) -> Components<'_> {
    debug_assert!(is_canonical(text), "{text:?}");
    Components { text, start: 1 }
}

/// See [`components`].
pub(crate) struct Components<'a> {
    text: &'a str,
    start: usize,
}

/// One component and where it ends in the text, so that `&text[..end]` is its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Component<'a> {
    pub(crate) name: &'a str,
    pub(crate) end: usize,
}

impl<'a> Iterator for Components<'a> {
    type Item = Component<'a>;

    fn next(&mut self) -> Option<Component<'a>> {
        if self.start >= self.text.len() {
            return None;
        }
        let rest = &self.text[self.start..];
        let name = &rest[..rest.find('/').unwrap_or(rest.len())];
        let end = self.start + name.len();
        self.start = end + 1;
        Some(Component { name, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(raw: &str) -> Result<String, InvalidPath> {
        Canonical::new(raw).map(|path| path.text().to_owned())
    }

    #[test]
    fn what_is_above_a_name_is_known_if_the_text_ends_with_it_as_a_component() {
        for name in ["x", "part-7", "a name.bin", "one that is longer than three words \u{af}\u{2e}"] {
            for text in ["", "a", "a/b", "some/where/deep below", "\u{10ffff}/\u{2f}x"] {
                let below = format!("{text}/{name}");
                assert_eq!(above(below.as_bytes(), name.as_bytes()), Some(text.as_bytes()));
                assert_eq!(above(format!("{text}y{name}").as_bytes(), name.as_bytes()), None);
                assert_eq!(above(format!("{below}y").as_bytes(), name.as_bytes()), None);
            }
            assert_eq!(above(name.as_bytes(), name.as_bytes()), Some(&b""[..]));
            assert_eq!(above(&name.as_bytes()[1..], name.as_bytes()), None);
        }
    }

    #[test]
    fn texts_of_every_length_are_the_same_only_if_every_byte_is() {
        for len in 0..80 {
            let text: Vec<u8> = (0..len).map(|at| at * 3).collect();
            assert!(same(&text, &text.clone()));
            for at in 0..usize::from(len) {
                let mut other = text.clone();
                other[at] ^= 1;
                assert!(!same(&text, &other), "{at} of {len}");
                assert!(!same(&text, &text[..at]));
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_at_first_sight_is_canonical(text in "/[a-z./\\\\\u{0}\u{e9}]{0,30}") {
            let careful = text[1..].split('/').all(|name| is_name(name.as_bytes()));
            prop_assert!(!is_plain(text.as_bytes()) || careful, "{text:?}");
            prop_assert_eq!(is_canonical(&text), careful || text == "/", "{:?}", text);
        }
    }

    proptest! {
        #[test]
        fn the_last_name_of_a_text_is_what_its_canonical_text_ends_with(raw in "[a-c./\\\\\u{0}\u{e9}]{0,40}") {
            if let Some((above, name)) = last_name(&raw) {
                prop_assert!(is_name(name.as_bytes()), "{raw:?}");
                prop_assert_eq!(raw.rsplit('/').next(), Some(name));
                prop_assert_eq!(above, raw.rsplit_once('/').map_or("", |(above, _)| above));
            } else {
                let last = raw.rsplit('/').next().unwrap_or_default();
                prop_assert!(!is_name(last.as_bytes()), "{raw:?}");
            }
        }
    }

    #[test]
    fn what_is_too_long_has_no_last_name() {
        let name = "x".repeat(MAX_NAME_BYTES);
        assert_eq!(last_name(&format!("/a/{name}")), Some(("/a", &*name)));
        assert_eq!(last_name(&format!("/a/{name}x")), None);
        assert_eq!(last_name(&format!("/{}", "a/".repeat(MAX_PATH_BYTES / 2))), None);
    }

    #[test]
    fn usual_paths_are_plain() {
        for text in ["/models/part-0.bin", "/usr/lib/x86_64.so", "/a/b/c/d/e", "/\u{e4}\u{f6}/x.y.z"] {
            assert!(is_plain(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn spellings_of_one_place_are_one_path() {
        for raw in ["/a/b", "a/b", "//a///b", "/a/./b", "\\a\\b", "/a/c/../b", "a/b/", "./a/b/."] {
            assert_eq!(text(raw).as_deref(), Ok("/a/b"), "{raw}");
        }
        for raw in ["/", "//", ".", "/.", "a/..", "\\"] {
            assert_eq!(text(raw).as_deref(), Ok("/"), "{raw}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused_with_the_reason() {
        let name = |bytes: usize| "x".repeat(bytes);
        assert_eq!(text(""), Err(EMPTY));
        assert_eq!(text("/a\0b"), Err(NUL));
        assert_eq!(text("/a/../.."), Err(ESCAPES));
        assert_eq!(text("../a"), Err(ESCAPES));
        assert_eq!(text(&name(256)), Err(LONG_NAME));
        assert!(text(&name(255)).is_ok());
        let full = format!("/{}", name(255)).repeat(16);
        assert_eq!(full.len(), MAX_PATH_BYTES);
        assert!(text(&full).is_ok() && is_canonical(&full));
        assert!(text(&full[1..]).is_ok());
        assert_eq!(text(&format!("{full}/y")), Err(LONG_PATH));
    }

    #[test]
    fn a_trailing_separator_names_a_directory() {
        for (raw, directory) in
            [("/a", false), ("/a/", true), ("a\\", true), ("/", true), ("/a/.", false), ("b/../a//", true)]
        {
            assert_eq!(Canonical::new(raw).map(|p| p.names_directory()), Ok(directory), "{raw}");
        }
    }

    #[test]
    fn below_means_whole_components() {
        let path = |raw: &'static str| Canonical::new(raw).expect("valid");
        assert!(path("/a/b").is_below(&path("/a")));
        assert!(path("/a").is_below(&path("/")));
        for (lower, upper) in [("/ab", "/a"), ("/a", "/a"), ("/a", "/a/b"), ("/", "/")] {
            assert!(!path(lower).is_below(&path(upper)), "{lower} {upper}");
        }
    }

    /// The rules once more, as plainly as they can be put.
    fn model(raw: &str) -> Option<(Vec<String>, bool)> {
        let slashes = raw.replace('\\', "/");
        let mut names: Vec<String> = Vec::new();
        for name in slashes.split('/') {
            match name {
                "" | "." => {}
                ".." => drop(names.pop()?),
                _ if name.len() > 255 || name.contains('\0') => return None,
                _ => names.push(name.to_owned()),
            }
        }
        let bytes: usize = names.iter().map(|name| name.len() + 1).sum();
        let directory = slashes.ends_with('/') || names.is_empty();
        (!raw.is_empty() && bytes <= 4096).then_some((names, directory))
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_model(raw in r"([/\\]|\.{1,3}|[a-c]|é|\x00|x{200,300}){0,24}") {
            // A NUL in a component that `..` removes again is refused as well: the model sees it first, too.
            let got = Canonical::new(&raw).ok().map(|path| {
                (path.components().map(|c| c.name.to_owned()).collect::<Vec<_>>(), path.names_directory())
            });
            if raw.contains('\0') {
                prop_assert_eq!(got, None);
            } else {
                prop_assert_eq!(got, model(&raw));
            }
        }

        #[test]
        fn canonical_texts_are_fixed_points(raw in r"([/\\]|\.{1,2}|[a-c]{1,3}){0,16}") {
            if let Ok(path) = Canonical::new(&raw) {
                prop_assert!(is_canonical(path.text()));
                prop_assert_eq!(is_canonical(&raw), raw == path.text());
                let again = Canonical::new(path.text()).expect("canonical");
                prop_assert!(matches!(again.text, Cow::Borrowed(_)));
                prop_assert_eq!(again.text(), path.text());
                match path.split() {
                    None => prop_assert!(path.is_root()),
                    Some((parent, name)) => {
                        prop_assert!(is_canonical(parent));
                        prop_assert_eq!(format!("{}/{name}", parent.trim_end_matches('/')), path.text());
                        let last = path.components().last().expect("not the root");
                        prop_assert_eq!((last.name, last.end), (name, path.text().len()));
                    }
                }
            }
        }
    }
}
