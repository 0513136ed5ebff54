//! Any text as a pattern: it is refused if it is none, else it lists exactly the files that it means, sorted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memfs::{Error, MemFs};
use std::sync::OnceLock;

const FILES: &[&str] = &[
    "/-",
    "/[x]",
    "/a",
    "/ab",
    "/a,b",
    "/b/a",
    "/b/b/a",
    "/b/b/ab",
    "/b/c/d/e",
    "/c.rs",
    "/d/.a",
    "/d/lib.rs",
    "/e\u{301}",
    "/{",
    "/ä/ö",
    "/ä/語",
    "/é",
    "/🦀",
];
/// Multiplying out is left to the engine where it is much.
const MOST_CHOICES: usize = 4;
const MOST_ALTERNATIVES: usize = 12;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Char(char),
    One,
    Some,
    /// Whether it is negated, and ranges.
    Class(bool, Vec<(char, char)>),
    Open,
    Comma,
    Close,
}

/// `None` if a class is not closed or a range runs backwards.
fn tokens(pattern: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        tokens.push(match first {
            '\\' => Token::Char('/'),
            '?' => Token::One,
            '*' => Token::Some,
            '{' => Token::Open,
            ',' => Token::Comma,
            '}' => Token::Close,
            '[' => {
                let members = rest.strip_prefix(['!', '^']).unwrap_or(rest);
                let negated = members.len() < rest.len();
                let first = members.chars().next()?.len_utf8();
                let end = first + members[first..].find(']')?;
                rest = &members[end + 1..];
                Token::Class(negated, ranges(&members[..end])?)
            }
            other => Token::Char(other),
        });
    }
    Some(tokens)
}

fn ranges(members: &str) -> Option<Vec<(char, char)>> {
    let members: Vec<char> = members.chars().collect();
    let (mut ranges, mut rest) = (Vec::new(), &members[..]);
    while let [low, after @ ..] = rest {
        let (high, after) = if let ['-', high, after @ ..] = after { (high, after) } else { (low, after) };
        ranges.push((*low, *high));
        rest = after;
    }
    ranges.iter().all(|(low, high)| low <= high).then_some(ranges)
}

/// Writes out the first choice, then those of what comes of it; `None` if braces do not pair.
fn plain(tokens: &[Token]) -> Option<Vec<Vec<Token>>> {
    let Some(open) = tokens.iter().position(|token| matches!(token, Token::Open | Token::Close)) else {
        let outside = |token: &Token| if *token == Token::Comma { Token::Char(',') } else { token.clone() };
        return Some(vec![tokens.iter().map(outside).collect()]);
    };
    let (mut depth, mut cuts) = (0, vec![open]);
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Open => depth += 1,
            Token::Close if depth == 0 => return None,
            Token::Close => depth -= 1,
            Token::Comma if depth == 1 => cuts.push(at),
            _ => {}
        }
        if depth == 0 {
            cuts.push(at);
            let (before, after) = (&tokens[..open], &tokens[at + 1..]);
            let alternatives = cuts.windows(2).map(|cut| &tokens[cut[0] + 1..cut[1]]);
            let written = alternatives.map(|alternative| plain(&[before, alternative, after].concat()));
            return Some(written.collect::<Option<Vec<_>>>()?.concat());
        }
    }
    None
}

/// The names of a plain pattern; `None` if no file can have them.
fn names(plain: &[Token]) -> Option<Vec<Vec<Token>>> {
    let mut names: Vec<Vec<Token>> =
        plain.split(|token| *token == Token::Char('/')).map(<[Token]>::to_vec).collect();
    names.retain(|name| !name.is_empty() && *name != [Token::Char('.')]);
    if names.last().is_some_and(|name| is_any_depth(name)) {
        names.push(vec![Token::Some]);
    }
    names.dedup_by(|a, b| is_any_depth(a) && is_any_depth(b));
    for name in names.iter_mut().filter(|name| !is_any_depth(name)) {
        name.dedup_by(|a, b| *a == Token::Some && *b == Token::Some);
    }
    (!names.is_empty() && !names.contains(&vec![Token::Char('.'); 2])).then_some(names)
}

fn is_any_depth(name: &[Token]) -> bool {
    name == [Token::Some, Token::Some]
}

fn matches(names: &[Vec<Token>], path: &[&str]) -> bool {
    match (names, path) {
        ([], _) => path.is_empty(),
        ([any, rest @ ..], _) if is_any_depth(any) => {
            (0..=path.len()).any(|skipped| matches(rest, &path[skipped..]))
        }
        ([name, rest @ ..], [first, below @ ..]) => {
            one(name, &first.chars().collect::<Vec<_>>()) && matches(rest, below)
        }
        _ => false,
    }
}

fn one(pattern: &[Token], name: &[char]) -> bool {
    match (pattern, name) {
        ([], _) => name.is_empty(),
        ([Token::Some, rest @ ..], _) => (0..=name.len()).any(|skipped| one(rest, &name[skipped..])),
        (_, []) => false,
        ([Token::Class(negated, ranges), rest @ ..], [char, after @ ..]) => {
            ranges.iter().any(|(low, high)| (low..=high).contains(&char)) != *negated && one(rest, after)
        }
        ([token, rest @ ..], [char, after @ ..]) => {
            (*token == Token::One || *token == Token::Char(*char)) && one(rest, after)
        }
    }
}

/// What the pattern finds, if it is one.
fn expected(tokens: Option<Vec<Token>>) -> Option<Vec<&'static str>> {
    let plain = plain(&tokens?)?;
    let names: Vec<_> = plain.iter().filter_map(|plain| names(plain)).collect();
    let is_meant = |file: &&str| {
        let path: Vec<&str> = file[1..].split('/').collect();
        names.iter().any(|names| matches(names, &path))
    };
    let mut found: Vec<&str> = FILES.iter().copied().filter(is_meant).collect();
    found.sort_unstable();
    Some(found)
}

fuzz_target!(|pattern: &str| {
    static STORE: OnceLock<MemFs> = OnceLock::new();
    let fs = STORE.get_or_init(|| {
        let fs = MemFs::builder().memory_limit_bytes(1 << 20).worker_threads(0).build().expect("a store");
        FILES.iter().for_each(|file| fs.write(file, "x").expect("room"));
        fs
    });
    let found = match fs.glob(pattern) {
        Ok(found) => Some(found),
        Err(Error::InvalidArgument { .. }) => None,
        Err(error) => panic!("{pattern:?}: {error}"),
    };
    let tokens = tokens(pattern);
    let count = |what: &Token| tokens.iter().flatten().filter(|token| *token == what).count();
    let is_small = pattern.len() <= 200
        && count(&Token::Open) <= MOST_CHOICES
        && count(&Token::Comma) <= MOST_ALTERNATIVES;
    if is_small {
        let expected = expected(tokens);
        assert_eq!(found.is_some(), expected.is_some(), "{pattern:?}: {found:?}, expected {expected:?}");
        assert!(
            found.iter().flatten().eq(expected.iter().flatten()),
            "{pattern:?}: {found:?}, expected {expected:?}"
        );
    } else if let Some(found) = found {
        assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
        assert!(found.iter().all(|path| FILES.contains(&path.as_str())), "{found:?}");
    }
});
