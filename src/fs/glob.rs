//! Globs: which paths a pattern means. Knows no store.
//!
//! A choice stands for as many plain patterns as it has alternatives, and is multiplied out while the text is read: where a
//! name ends, and whether `**` is a whole one, can be told of plain patterns only. The directories that all of them name
//! literally are the `base`; what is left of them becomes one automaton.
//!
//! 1. Names are matched by characters, not by bytes.
//! 2. Nothing but `/` matches `/`.
//! 3. Whatever the text: reading it takes at most [`MAX_STEPS`], the automaton [`MAX_AUTOMATON_BYTES`], and a match is linear
//!    in the path.

use crate::error::{Error, Result};
use regex_automata::{
    Anchored, Input, MatchKind,
    hybrid::dfa::{self, DFA},
    nfa::thompson::{self, WhichCaptures},
};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, Look, Repetition};
use std::{mem, str::Chars};

/// Longer than any path, as it may name several.
const MAX_TEXT_BYTES: usize = 64 << 10;
/// Tokens written while choices are multiplied out.
const MAX_STEPS: usize = 1 << 17;
const MAX_AUTOMATON_BYTES: usize = 2 << 20;
/// Its states are made when a path comes to them; so many of them are kept, or as many as it cannot do without.
const CACHE_BYTES: usize = 4 << 20;

/// A glob, and where it can match.
pub(super) struct Pattern {
    /// Without a `/` at its end, so that the root's is empty.
    base: String,
    max_depth: usize,
    below_base: DFA,
    cache: dfa::Cache,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self> {
        if text.len() > MAX_TEXT_BYTES {
            let expected = format!("a glob of at most {MAX_TEXT_BYTES} bytes");
            return Err(Error::argument("pattern", expected, text.len()));
        }
        let refused = |expected: &str| Error::argument("pattern", expected, format_args!("{text:?}"));
        let mut reader = Reader { rest: text.chars(), classes: Vec::new(), steps: 0 };
        let plain = reader.read().map_err(refused)?;
        let plain: Vec<Vec<&[Token]>> = plain.iter().filter_map(|tokens| names(tokens)).collect();

        let common = common_directories(&plain);
        let literal: Vec<String> = common.iter().map_while(|name| text_of(name)).collect();
        let base = literal.iter().flat_map(|name| ["/", name]).collect();
        let depth = |names: &Vec<&[Token]>| {
            if names.contains(&ANY_DEPTH) { usize::MAX } else { names.len() - literal.len() }
        };
        let max_depth = plain.iter().map(depth).max().unwrap_or(0);

        let ends = plain.iter().map(|names| reader.hir(&names[common.len()..], true)).collect();
        let below = Hir::concat(vec![reader.hir(&common[literal.len()..], false), Hir::alternation(ends)]);
        let below_base = automaton(below).ok_or_else(|| refused("a glob that is less intricate"))?;
        let cache = below_base.create_cache();
        Ok(Self { base, max_depth, below_base, cache })
    }

    /// The directory that every match lies below. If this is no path, nothing matches.
    pub(super) fn base(&self) -> &str {
        if self.base.is_empty() { "/" } else { &self.base }
    }

    /// How many levels below it.
    pub(super) fn max_depth(&self) -> usize {
        self.max_depth
    }

    /// Whether `path`, canonical and below the base, is one that is meant.
    pub(super) fn is_match(&mut self, path: &str) -> bool {
        debug_assert!(path.starts_with(&self.base), "{path} is not below {}", self.base);
        let below = Input::new(&path[self.base.len()..]).anchored(Anchored::Yes);
        let end = self.below_base.try_search_fwd(&mut self.cache, &below);
        end.expect("an automaton that looks at every byte and never gives up").is_some()
    }
}

/// What takes exactly the texts of the expression; `None` if that would be too large.
fn automaton(texts: Hir) -> Option<DFA> {
    let states =
        thompson::Config::new().which_captures(WhichCaptures::None).nfa_size_limit(Some(MAX_AUTOMATON_BYTES));
    let whole = Hir::concat(vec![texts, Hir::look(Look::End)]);
    let states = thompson::Compiler::new().configure(states).build_from_hir(&whole).ok()?;
    let search = dfa::Config::new()
        .match_kind(MatchKind::All)
        .cache_capacity(CACHE_BYTES)
        .skip_cache_capacity_check(true);
    dfa::Builder::new().configure(search).build_from_nfa(states).ok()
}

/// What a plain pattern consists of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    /// `/` is one, too.
    Char(char),
    /// `?`
    One,
    /// `*`
    Some,
    /// By its index in [`Reader::classes`].
    Class(u32),
}

/// The name that stands for any number of directories.
const ANY_DEPTH: &[Token] = &[Token::Some, Token::Some];

type Plain = Vec<Token>;

/// The names of a plain pattern; `None` if no file can have them.
fn names(tokens: &[Token]) -> Option<Vec<&[Token]>> {
    const HERE: &[Token] = &[Token::Char('.')];
    const ABOVE: &[Token] = &[Token::Char('.'), Token::Char('.')];
    let mut names: Vec<&[Token]> = tokens
        .split(|token| *token == Token::Char('/'))
        .filter(|name| !name.is_empty() && *name != HERE)
        .collect();
    names.dedup_by(|next, name| *next == ANY_DEPTH && *name == ANY_DEPTH);
    (!names.is_empty() && !names.contains(&ABOVE)).then_some(names)
}

/// The names, but for a last one, that all begin with.
fn common_directories<'a, 'b>(plain: &'b [Vec<&'a [Token]>]) -> &'b [&'a [Token]] {
    let Some((first, others)) = plain.split_first() else { return &[] };
    let directories = &first[..first.len() - 1];
    others.iter().fold(directories, |common, names| {
        let equal = common.iter().zip(&names[..names.len() - 1]).take_while(|(a, b)| a == b);
        &common[..equal.count()]
    })
}

/// The one text that the name matches, if it is just one.
fn text_of(name: &[Token]) -> Option<String> {
    let chars = name.iter().map(|token| if let Token::Char(char) = token { Some(*char) } else { None });
    chars.collect()
}

/// Reads a pattern once, from the left.
struct Reader<'a> {
    rest: Chars<'a>,
    classes: Vec<ClassUnicode>,
    steps: usize,
}

/// A choice that is still being read: its finished alternatives, and what the current one may be so far.
struct Choice {
    done: Vec<Plain>,
    current: Vec<Plain>,
}

impl Choice {
    fn new() -> Self {
        Self { done: Vec::new(), current: vec![Plain::new()] }
    }

    fn finish_alternative(&mut self) {
        self.done.append(&mut mem::replace(&mut self.current, vec![Plain::new()]));
    }
}

impl Reader<'_> {
    /// All the plain patterns that the text stands for, or what would have been one.
    fn read(&mut self) -> Result<Vec<Plain>, &'static str> {
        let mut choice = Choice::new();
        let mut around: Vec<Choice> = Vec::new();
        while let Some(char) = self.rest.next() {
            let token = match char {
                '{' => {
                    around.push(mem::replace(&mut choice, Choice::new()));
                    continue;
                }
                ',' if !around.is_empty() => {
                    choice.finish_alternative();
                    continue;
                }
                '}' => {
                    let outer = around.pop().ok_or("a glob with a { for every }")?;
                    choice = self.close(mem::replace(&mut choice, outer), choice)?;
                    continue;
                }
                '[' => {
                    let class = self.class()?;
                    self.classes.push(class);
                    Token::Class(self.classes.len() as u32 - 1)
                }
                '/' | '\\' => Token::Char('/'),
                '?' => Token::One,
                '*' => Token::Some,
                _ => Token::Char(char),
            };
            self.charge(choice.current.len())?;
            choice.current.iter_mut().for_each(|plain| plain.push(token));
        }
        if around.is_empty() { Ok(choice.current) } else { Err("a glob with a } for every {") }
    }

    /// Each beginning goes on with each alternative.
    fn close(&mut self, mut inner: Choice, mut outer: Choice) -> Result<Choice, &'static str> {
        inner.finish_alternative();
        let (begun, ways) = (&outer.current, &inner.done);
        let tokens = |of: &[Plain]| of.iter().map(Vec::len).sum::<usize>();
        self.charge(begun.len() * ways.len() + tokens(begun) * ways.len() + tokens(ways) * begun.len())?;
        outer.current =
            begun.iter().flat_map(|start| ways.iter().map(|way| [&start[..], way].concat())).collect();
        Ok(outer)
    }

    fn charge(&mut self, steps: usize) -> Result<(), &'static str> {
        self.steps += steps;
        if self.steps <= MAX_STEPS { Ok(()) } else { Err("a glob with fewer or shorter alternatives") }
    }

    /// What stands after `[`, up to the `]`: one that comes first is a member, so is a `-` that does not stand between two.
    fn class(&mut self) -> Result<ClassUnicode, &'static str> {
        const CLOSED: &str = "a glob with a ] for every [";
        let mut ahead = self.rest.clone();
        let negated = matches!(ahead.next(), Some('!' | '^'));
        if negated {
            self.rest = ahead;
        }
        let mut members = Vec::new();
        loop {
            let low = self.rest.next().ok_or(CLOSED)?;
            if low == ']' && !members.is_empty() {
                break;
            }
            let mut ahead = self.rest.clone();
            let high = match (ahead.next(), ahead.next()) {
                (Some('-'), Some(high)) if high != ']' => {
                    self.rest = ahead;
                    high
                }
                _ => low,
            };
            if high < low {
                return Err("a glob with ranges from low to high");
            }
            members.push(ClassUnicodeRange::new(low, high));
        }
        let mut class = ClassUnicode::new(members);
        if negated {
            class.negate();
        }
        class.difference(&slash());
        Ok(class)
    }

    /// An expression for some of a pattern's names; `are_last` if no more follow.
    fn hir(&self, names: &[&[Token]], are_last: bool) -> Hir {
        let mut parts = Vec::new();
        for (index, name) in names.iter().enumerate() {
            if *name == ANY_DEPTH {
                let level = Hir::concat(vec![Hir::literal(*b"/"), at_least(1, not_slash())]);
                let is_file = are_last && index + 1 == names.len();
                parts.push(at_least(u32::from(is_file), level));
            } else {
                self.push_name(name, &mut parts);
            }
        }
        Hir::concat(parts)
    }

    fn push_name(&self, name: &[Token], parts: &mut Vec<Hir>) {
        let mut literal = String::from("/");
        let mut before = None;
        for &token in name {
            let part = match token {
                Token::Char(char) => {
                    literal.push(char);
                    before = Some(token);
                    continue;
                }
                // One star says all that several do.
                Token::Some if before == Some(token) => continue,
                Token::Some => at_least(0, not_slash()),
                Token::One => not_slash(),
                Token::Class(index) => Hir::class(Class::Unicode(self.classes[index as usize].clone())),
            };
            before = Some(token);
            parts.extend([Hir::literal(mem::take(&mut literal).into_bytes()), part]);
        }
        parts.push(Hir::literal(literal.into_bytes()));
    }
}

fn slash() -> ClassUnicode {
    ClassUnicode::new([ClassUnicodeRange::new('/', '/')])
}

fn not_slash() -> Hir {
    let mut class = slash();
    class.negate();
    Hir::class(Class::Unicode(class))
}

fn at_least(min: u32, sub: Hir) -> Hir {
    Hir::repetition(Repetition { min, max: None, greedy: true, sub: Box::new(sub) })
}
