//! Which rules of a verb can match at all, by what they all but certainly ask for: a text that is equal to, or starts or
//! ends with, a literal, or has one between slashes; a fact that holds, or doesn't.
//!
//! A rule is left out only where evaluating it would give `false`, without an error: what it is looked up by is
//! evaluated before everything in it that could fail.

use super::node::{Node, Path, TextTest};
use crate::facts::Answer;
use crate::request::Judged;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};

/// A condition without which a rule does not match.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Is(Path, Box<str>),
    Starts(Path, Box<str>),
    Ends(Path, Box<str>),
    /// It has this between two slashes.
    Within(Path, Box<str>),
    Fact(usize, bool),
}

/// Fewer rules than this are quicker evaluated than looked up.
const RULES_MIN: usize = 8;

/// The rules of one verb, by their places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    always: Vec<usize>,
    texts: BTreeMap<Path, Texts>,
    facts: BTreeMap<usize, [Vec<usize>; 2]>,
}

#[derive(Clone, Debug, Default)]
struct Texts {
    is: BTreeMap<Box<str>, Vec<usize>>,
    starts: BTreeMap<Box<str>, Vec<usize>>,
    /// The lengths of what texts may start with.
    lengths: BTreeSet<usize>,
    ends: BTreeMap<Box<str>, Vec<usize>>,
    /// And of what they may end with.
    end_lengths: BTreeSet<usize>,
    within: BTreeMap<Box<str>, Vec<usize>>,
}

impl Index {
    /// `rules`: each with whether it can't fail, or nothing for one that is Cedar's.
    pub fn new<'n>(rules: impl ExactSizeIterator<Item = Option<(&'n Node, bool)>>) -> Self {
        let mut out = Self::default();
        let is_small = rules.len() < RULES_MIN;
        for (place, rule) in rules.enumerate() {
            let keys = rule.filter(|_| !is_small).and_then(|(node, is_sound)| keys(node, is_sound));
            match keys {
                Some(keys) => keys.into_iter().for_each(|key| out.add(key, place)),
                None => out.always.push(place),
            }
        }
        out
    }

    fn add(&mut self, key: Key, place: usize) {
        match key {
            Key::Is(path, text) => self.texts.entry(path).or_default().is.entry(text).or_default().push(place),
            Key::Starts(path, text) => {
                let texts = self.texts.entry(path).or_default();
                texts.lengths.insert(text.len());
                texts.starts.entry(text).or_default().push(place);
            }
            Key::Ends(path, text) => {
                let texts = self.texts.entry(path).or_default();
                texts.end_lengths.insert(text.len());
                texts.ends.entry(text).or_default().push(place);
            }
            Key::Within(path, text) => {
                self.texts.entry(path).or_default().within.entry(text).or_default().push(place);
            }
            Key::Fact(fact, wanted) => {
                let [when_false, when_true] = self.facts.entry(fact).or_default();
                if wanted { when_true.push(place) } else { when_false.push(place) }
            }
        }
    }

    /// The places of the rules that may match, ascending, each once.
    pub fn candidates(&self, judged: &Judged) -> SmallVec<[usize; 16]> {
        let mut out = SmallVec::from_slice(&self.always);
        if self.texts.is_empty() && self.facts.is_empty() {
            return out;
        }
        for (path, texts) in &self.texts {
            let Some(text) = path.text(judged) else {
                // No such text: Cedar says what that means for each of them.
                let all = [&texts.is, &texts.starts, &texts.ends, &texts.within].into_iter().flat_map(BTreeMap::values);
                all.for_each(|places| out.extend_from_slice(places));
                continue;
            };
            out.extend(texts.is.get(text).into_iter().flatten().copied());
            for length in &texts.lengths {
                let head = text.get(..*length);
                out.extend(head.and_then(|head| texts.starts.get(head)).into_iter().flatten().copied());
            }
            if !texts.within.is_empty() {
                let found = text.split('/').filter_map(|component| texts.within.get(component));
                found.for_each(|places| out.extend_from_slice(places));
            }
            for length in &texts.end_lengths {
                let tail = text.len().checked_sub(*length).and_then(|at| text.get(at..));
                out.extend(tail.and_then(|tail| texts.ends.get(tail)).into_iter().flatten().copied());
            }
        }
        for (fact, [when_false, when_true]) in &self.facts {
            match judged.facts.value(*fact) {
                Some(Answer::Bool(true)) => out.extend_from_slice(when_true),
                Some(Answer::Bool(false)) => out.extend_from_slice(when_false),
                _ => out.extend(when_true.iter().chain(when_false).copied()),
            }
        }
        out.sort_unstable();
        out.dedup();
        out
    }
}

/// Keys one of which must hold for the condition to come to anything but `false`; nothing when there are no such.
/// `is_sound`: no part of it can fail.
fn keys(node: &Node, is_sound: bool) -> Option<BTreeSet<Key>> {
    match node {
        Node::Text(path, tests) => tests.iter().try_fold(BTreeSet::new(), |mut all, test| {
            match test {
                TextTest::Is(text) => {
                    all.insert(Key::Is(*path, text.clone()));
                }
                TextTest::OneOf(texts) => all.extend(texts.iter().map(|t| Key::Is(*path, t.clone()))),
                TextTest::Like(pattern) => match pattern.literal() {
                    Some(text) => {
                        all.insert(Key::Is(*path, text.into()));
                    }
                    None if !pattern.head().is_empty() => {
                        all.insert(Key::Starts(*path, pattern.head().into()));
                    }
                    None if !pattern.tail().is_empty() => {
                        all.insert(Key::Ends(*path, pattern.tail().into()));
                    }
                    None => {
                        all.insert(Key::Within(*path, pattern.component()?.into()));
                    }
                },
            }
            Some(all)
        }),
        Node::Path(Path::Fact(fact)) => Some([Key::Fact(*fact, true)].into()),
        Node::Not(inner) => match &**inner {
            Node::Path(Path::Fact(fact)) => Some([Key::Fact(*fact, false)].into()),
            Node::Not(inner) => keys(inner, is_sound),
            _ => None,
        },
        // Only of what is evaluated first, or where nothing before it can fail.
        Node::And(all) => {
            let reach = if is_sound { all.len() } else { 1 };
            let found = all.iter().take(reach).filter_map(|one| keys(one, is_sound));
            found.min_by_key(|keys| (rank(keys), keys.len()))
        }
        Node::Or(all) if !all.is_empty() => all.iter().try_fold(BTreeSet::new(), |mut keys_of_all, one| {
            keys_of_all.extend(keys(one, is_sound)?);
            Some(keys_of_all)
        }),
        _ => None,
    }
}

/// Equal texts tell most, facts least.
fn rank(keys: &BTreeSet<Key>) -> usize {
    let rank = |key: &Key| match key {
        // One of a few values: true of most actions or of none.
        Key::Is(Path::Field("zone") | Path::Surface | Path::Consequence | Path::Reversibility, _) => 3,
        Key::Is(..) => 0,
        Key::Starts(..) | Key::Ends(..) | Key::Within(..) => 1,
        Key::Fact(..) => 2,
    };
    keys.iter().map(rank).max().unwrap_or_default()
}
