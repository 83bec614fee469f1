//! Which texts pass some tests and fail others: the shortest such text, found on the product of the tests' automata.
//!
//! A test of a file's `rel`, `name` or `zone` is a test of its path, so all tests of one file are on one text.

use crate::session::Session;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A test of a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Test {
    Is(Box<str>),
    /// What stands between the wildcards; two or more.
    Like(Vec<Box<str>>),
}

impl Test {
    /// A pattern by its literal parts.
    pub fn like(mut parts: Vec<Box<str>>) -> Self {
        if parts.len() > 1 { Test::Like(parts) } else { Test::Is(parts.pop().unwrap_or_default()) }
    }

    pub fn holds(&self, text: &str) -> bool {
        match self {
            Test::Is(wanted) => **wanted == *text,
            Test::Like(parts) => {
                let (Some((first, rest)), mut text) = (parts.split_first(), text) else { return false };
                let Some((last, middle)) = rest.split_last() else { return **first == *text };
                let Some(after) = text.strip_prefix(&**first) else { return false };
                text = after;
                // The first place of each part leaves the most for the others.
                for part in middle {
                    let Some(at) = text.find(&**part) else { return false };
                    text = text.get(at.saturating_add(part.len())..).unwrap_or_default();
                }
                text.ends_with(&**last)
            }
        }
    }
}

/// What of a text a test looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum View {
    /// All of it.
    Whole,
    /// Of a path: below the workspace, the last component, the zone.
    Rel,
    Name,
    Zone,
}

/// A test that is to come out as told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Demand {
    pub view: View,
    pub test: Test,
    pub wanted: bool,
}

/// Why there is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoWord {
    /// None can be.
    Impossible,
    /// The search was cut off.
    CutOff,
}

/// Most states of one search: beyond this the tests are too entangled to be worth it.
const STATES_MAX: usize = 20_000;

/// Most work of one search, for the same reason.
const STEPS_MAX: u64 = 1_000_000;

/// What a text is filled up with where anything would do, the most readable first.
const FILLER: [char; 3] = ['x', 'y', 'z'];

/// The shortest text that meets every demand. `session`: where it is a file's path.
pub(crate) fn word(demands: &[Demand], session: Option<&Session>, steps: &mut u64) -> Result<String, NoWord> {
    let forced = demands.iter().find_map(|d| match (&d.test, d.view, d.wanted) {
        (Test::Is(text), View::Whole, true) => Some((**text).to_owned()),
        (Test::Is(rel), View::Rel, true) if !rel.is_empty() => {
            let workspace = &session?.workspace;
            Some(if **rel == *"." { workspace.clone() } else { format!("{workspace}/{rel}") })
        }
        _ => None,
    });
    let mut machines: Vec<(Machine, bool)> = Vec::new();
    // A text that is only not to be is looked for at the end, not followed on the way.
    let mut avoided: BTreeSet<&str> = BTreeSet::new();
    for demand in demands {
        match (&demand.test, demand.view, demand.wanted) {
            (Test::Is(text), View::Whole, false) => {
                avoided.insert(text);
            }
            _ => machines.push((Machine::new(demand, session), demand.wanted)),
        }
    }
    if let Some(session) = session {
        machines.push((Machine::Canonical, true));
        // A path without a wish of its own is one of the workspace's, which reads best.
        let _ = session;
    }
    let accepts = |states: &[State]| machines.iter().zip(states).all(|((m, wanted), s)| m.is_end(s) == *wanted);
    if let Some(text) = forced {
        let states: Vec<State> =
            machines.iter().map(|(m, _)| text.chars().fold(m.start(), |state, c| m.step(&state, c))).collect();
        *steps = steps.saturating_add(1);
        let is_it = accepts(&states) && !avoided.contains(text.as_str());
        return if is_it { Ok(text) } else { Err(NoWord::Impossible) };
    }
    let alphabet = alphabet(demands, session);
    search(&machines, &avoided, &alphabet, session, &accepts, steps)
}

fn search(
    machines: &[(Machine, bool)],
    avoided: &BTreeSet<&str>,
    alphabet: &[char],
    session: Option<&Session>,
    accepts: &dyn Fn(&[State]) -> bool,
    steps: &mut u64,
) -> Result<String, NoWord> {
    let is_hopeless = |states: &[State]| machines.iter().zip(states).any(|((m, wanted), s)| m.is_lost(s, *wanted));
    let run = |text: &str| -> Vec<State> {
        machines.iter().map(|(m, _)| text.chars().fold(m.start(), |state, c| m.step(&state, c))).collect()
    };
    let work =
        u64::try_from(alphabet.len().saturating_mul(machines.len().saturating_add(1))).unwrap_or(u64::MAX) / 8 + 1;
    // A path is looked for in the workspace first, then anywhere.
    let mut starts: Vec<String> = Vec::new();
    if let Some(session) = session {
        starts.push(format!("{}/", session.workspace));
    }
    starts.push(String::new());
    for start in starts {
        // Each product state with the way that led there: its predecessor and a character. A state is met again with
        // longer texts as long as all of them are among those to avoid.
        let mut seen: BTreeMap<Vec<State>, usize> = BTreeMap::new();
        let mut nodes: Vec<(usize, char)> = vec![(0, ' ')];
        let first = run(&start);
        let mut queue: VecDeque<(Vec<State>, usize)> = VecDeque::new();
        if !is_hopeless(&first) {
            seen.insert(first.clone(), 1);
            queue.push_back((first, 0));
        }
        while let Some((states, at)) = queue.pop_front() {
            // Each character takes each machine one step.
            *steps = steps.saturating_add(work);
            if accepts(&states) {
                let text = format!("{start}{}", spelled(&nodes, at));
                if !avoided.contains(text.as_str()) {
                    return Ok(text);
                }
            }
            if nodes.len() > STATES_MAX || *steps > STEPS_MAX {
                return Err(NoWord::CutOff);
            }
            for c in alphabet {
                let next: Vec<State> = machines.iter().zip(&states).map(|((m, _), s)| m.step(s, *c)).collect();
                if is_hopeless(&next) {
                    continue;
                }
                let times = seen.entry(next.clone()).or_insert(0);
                // Each text to avoid can spoil a state once.
                if *times <= avoided.len() {
                    *times += 1;
                    nodes.push((at, *c));
                    queue.push_back((next, nodes.len() - 1));
                }
            }
        }
    }
    Err(NoWord::Impossible)
}

fn spelled(nodes: &[(usize, char)], mut at: usize) -> String {
    let mut out = Vec::new();
    while let Some((before, c)) = nodes.get(at).filter(|_| at != 0) {
        out.push(*c);
        at = *before;
    }
    out.iter().rev().collect()
}

/// The characters that tests can tell apart: those that they name, and one that none of them names.
fn alphabet(demands: &[Demand], session: Option<&Session>) -> Vec<char> {
    let mut named: BTreeSet<char> = BTreeSet::new();
    for demand in demands {
        match &demand.test {
            Test::Is(text) => named.extend(text.chars()),
            Test::Like(parts) => named.extend(parts.iter().flat_map(|p| p.chars())),
        }
    }
    // What only the session's folders name reads as well as what nothing does: the same text wherever the session is.
    let asked = named.clone();
    if let Some(session) = session {
        named.extend(session.workspace.chars().chain(session.home.chars()).chain("/tmp/var.".chars()));
    }
    let others = FILLER.into_iter().chain('a'..='w').chain('\u{e000}'..='\u{f8ff}');
    // INVARIANT: the private-use area is larger than what a charter can name, so that there is always another one.
    let other = others.filter(|c| !named.contains(c)).take(1);
    let is_free = |c: &char| named.contains(c) && !asked.contains(c);
    let mut out: Vec<char> = FILLER.into_iter().filter(is_free).chain(other).collect();
    out.extend(FILLER.into_iter().filter(|c| asked.contains(c)));
    out.extend(named.iter().filter(|c| !FILLER.contains(c)));
    out
}

/// A deterministic automaton over characters, its states made as they are met.
enum Machine {
    Whole(Glob),
    Name(Glob),
    Rel {
        workspace: Vec<char>,
        glob: Glob,
        holds_empty: bool,
        holds_dot: bool,
    },
    Zone {
        folders: Vec<(Vec<char>, bool)>,
        otherwise: bool,
    },
    /// A path as the operating system gives it: absolute, no empty component, no `.` or `..`.
    Canonical,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Positions within a pattern.
    At(Vec<u32>),
    /// How far a prefix matched; `u32::MAX` once it did not.
    Prefix(u32),
    Below(Vec<u32>),
    Prefixes(Vec<u32>),
    Component(Component),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Component {
    Nothing,
    Empty { is_root: bool },
    Dot,
    Dots,
    Named,
    Wrong,
}

const OFF: u32 = u32::MAX;

impl Machine {
    fn new(demand: &Demand, session: Option<&Session>) -> Self {
        let glob = Glob::new(&demand.test);
        let Some(session) = session else { return Machine::Whole(glob) };
        let chars = |text: &str| text.chars().collect::<Vec<char>>();
        match demand.view {
            View::Whole => Machine::Whole(glob),
            View::Name => Machine::Name(glob),
            View::Rel => Machine::Rel {
                workspace: chars(&session.workspace),
                holds_empty: demand.test.holds(""),
                holds_dot: demand.test.holds("."),
                glob,
            },
            View::Zone => {
                let holds = |zone: &str| demand.test.holds(zone);
                Machine::Zone {
                    folders: vec![
                        (chars(&session.workspace), holds("workspace")),
                        (chars(&session.home), holds("home")),
                        (chars("/tmp"), holds("temp")),
                        (chars("/var/tmp"), holds("temp")),
                    ],
                    otherwise: holds("system"),
                }
            }
        }
    }

    fn start(&self) -> State {
        match self {
            Machine::Whole(glob) | Machine::Name(glob) => State::At(glob.start()),
            Machine::Rel { .. } => State::Prefix(0),
            Machine::Zone { folders, .. } => State::Prefixes(vec![0; folders.len()]),
            Machine::Canonical => State::Component(Component::Nothing),
        }
    }

    fn step(&self, state: &State, c: char) -> State {
        match (self, state) {
            (Machine::Whole(glob), State::At(at)) => State::At(glob.step(at, c)),
            (Machine::Name(glob), State::At(at)) => State::At(if c == '/' { glob.start() } else { glob.step(at, c) }),
            (Machine::Rel { workspace, glob, .. }, State::Prefix(n)) => match along(workspace, *n, c) {
                Some(BELOW) => State::Below(glob.start()),
                next => State::Prefix(next.unwrap_or(OFF)),
            },
            (Machine::Rel { glob, .. }, State::Below(at)) => State::Below(glob.step(at, c)),
            (Machine::Zone { folders, .. }, State::Prefixes(all)) => State::Prefixes(
                folders.iter().zip(all).map(|((folder, _), n)| along(folder, *n, c).unwrap_or(OFF)).collect(),
            ),
            (Machine::Canonical, State::Component(was)) => State::Component(match (*was, c) {
                (Component::Nothing, '/') => Component::Empty { is_root: true },
                (Component::Nothing | Component::Wrong, _) => Component::Wrong,
                (Component::Dot | Component::Dots | Component::Empty { .. }, '/') => Component::Wrong,
                (Component::Named, '/') => Component::Empty { is_root: false },
                (Component::Empty { .. }, '.') => Component::Dot,
                (Component::Dot, '.') => Component::Dots,
                _ => Component::Named,
            }),
            (_, state) => state.clone(),
        }
    }

    fn is_end(&self, state: &State) -> bool {
        match (self, state) {
            (Machine::Whole(glob) | Machine::Name(glob), State::At(at)) => glob.is_end(at),
            (Machine::Rel { workspace, holds_empty, holds_dot, .. }, State::Prefix(n)) => {
                if usize::try_from(*n) == Ok(workspace.len()) { *holds_dot } else { *holds_empty }
            }
            (Machine::Rel { glob, .. }, State::Below(at)) => glob.is_end(at),
            (Machine::Zone { folders, otherwise }, State::Prefixes(all)) => {
                let inside = folders
                    .iter()
                    .zip(all)
                    .find(|((folder, _), n)| **n == BELOW || usize::try_from(**n) == Ok(folder.len()));
                inside.map_or(*otherwise, |((_, holds), _)| *holds)
            }
            (Machine::Canonical, State::Component(at)) => {
                matches!(at, Component::Named | Component::Empty { is_root: true })
            }
            _ => false,
        }
    }

    /// No text that goes on from here comes out as wanted.
    fn is_lost(&self, state: &State, wanted: bool) -> bool {
        match (self, state) {
            (Machine::Whole(_), State::At(at)) => wanted && at.is_empty(),
            (Machine::Rel { glob, .. }, State::Below(at)) => wanted && glob.is_dead(at),
            (Machine::Rel { holds_empty, .. }, State::Prefix(OFF)) => *holds_empty != wanted,
            (Machine::Canonical, State::Component(at)) => *at == Component::Wrong,
            (Machine::Zone { folders, otherwise }, State::Prefixes(all)) => {
                // Once every prefix is left or passed, the zone stands.
                all.iter().all(|n| *n == OFF || *n == BELOW) && {
                    let inside = folders.iter().zip(all).find(|(_, n)| **n == BELOW);
                    inside.map_or(*otherwise, |((_, holds), _)| *holds) != wanted
                }
            }
            _ => false,
        }
    }
}

/// A path that went below a folder.
const BELOW: u32 = u32::MAX - 1;

/// One character further along `folder/`.
fn along(folder: &[char], n: u32, c: char) -> Option<u32> {
    if n == BELOW {
        return Some(BELOW);
    }
    let at = usize::try_from(n).ok()?;
    match folder.get(at) {
        Some(next) => (*next == c).then_some(n.saturating_add(1)),
        // The root is no folder that sets anything apart.
        None => (at == folder.len() && c == '/' && !folder.is_empty()).then_some(BELOW),
    }
}

/// A pattern, and the set of places in it that a text may have reached.
struct Glob {
    /// `None` is a wildcard.
    items: Vec<Option<char>>,
}

impl Glob {
    fn new(test: &Test) -> Self {
        let items = match test {
            Test::Is(text) => text.chars().map(Some).collect(),
            Test::Like(parts) => {
                let mut items = Vec::new();
                for (n, part) in parts.iter().enumerate() {
                    if n > 0 && items.last() != Some(&None) {
                        items.push(None);
                    }
                    items.extend(part.chars().map(Some));
                }
                items
            }
        };
        Self { items }
    }

    fn item(&self, at: u32) -> Option<&Option<char>> {
        self.items.get(usize::try_from(at).ok()?)
    }

    fn start(&self) -> Vec<u32> {
        self.tidied(vec![0])
    }

    fn step(&self, at: &[u32], c: char) -> Vec<u32> {
        let mut next = Vec::with_capacity(at.len() + 1);
        for place in at {
            match self.item(*place) {
                Some(None) => {
                    next.push(*place);
                    if self.item(place + 1) == Some(&Some(c)) {
                        next.push(place + 2);
                    }
                }
                Some(Some(wanted)) if *wanted == c => next.push(place + 1),
                _ => {}
            }
        }
        self.tidied(next)
    }

    /// Sorted, and without the places before the last wildcard that was reached: it takes whatever they would take.
    fn tidied(&self, mut places: Vec<u32>) -> Vec<u32> {
        places.sort_unstable();
        places.dedup();
        if let Some(last) = places.iter().rposition(|p| self.item(*p) == Some(&None)) {
            places.drain(..last);
        }
        places
    }

    fn is_end(&self, at: &[u32]) -> bool {
        at.iter().any(|place| {
            let rest = usize::try_from(*place).ok().and_then(|p| self.items.get(p..));
            rest.is_some_and(|rest| rest.iter().all(Option::is_none))
        })
    }

    fn is_dead(&self, at: &[u32]) -> bool {
        at.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn session() -> Session {
        Session { workspace: "/w".into(), home: "/h".into(), agent: "a".into() }
    }

    fn test_of(pattern: &str) -> Test {
        Test::like(pattern.split('*').map(Into::into).collect())
    }

    fn view(session: &Session, view: View, path: &str) -> String {
        let action = crate::Action::new("fs.read", crate::Resource::file(path), crate::Surface::Fs).unwrap();
        let values = session.values(&action);
        let field = match view {
            View::Whole => "path",
            View::Rel => "rel",
            View::Name => "name",
            View::Zone => "zone",
        };
        values.get(field).unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn words_are_short_and_readable() {
        let word = |list: &[(View, &str, bool)]| {
            let demands: Vec<Demand> = list
                .iter()
                .map(|(view, pattern, wanted)| Demand { view: *view, test: test_of(pattern), wanted: *wanted })
                .collect();
            word(&demands, Some(&session()), &mut 0)
        };
        use View::{Name, Rel, Whole, Zone};
        assert_eq!(word(&[]).unwrap(), "/w/x");
        assert_eq!(word(&[(Rel, "src/*", true), (Rel, "*.rs", true)]).unwrap(), "/w/src/.rs");
        assert_eq!(word(&[(Rel, "src/*", true), (Name, "a*", true), (Rel, "src/a*", false)]).unwrap(), "/w/src/x/a");
        assert_eq!(word(&[(Zone, "home", true), (Whole, "*/.ssh/*", true)]).unwrap(), "/h/.ssh/x");
        assert_eq!(word(&[(Zone, "home", true), (Whole, "/h*", false)]), Err(NoWord::Impossible));
        assert_eq!(word(&[(Rel, "", true), (Zone, "workspace", true)]), Err(NoWord::Impossible));
        assert_eq!(word(&[(Whole, "*..*", true), (Name, "*..*", false)]).unwrap(), "/w/x../x");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against all short paths: a word is found if there is one, and is one.
        #[test]
        fn finds_what_there_is(list in prop::collection::vec((0..4usize, "[ab/*]{0,5}", any::<bool>()), 0..4)) {
            let views = [View::Whole, View::Rel, View::Name, View::Zone];
            let session = session();
            let demands: Vec<Demand> = list.iter().map(|(v, pattern, wanted)| Demand {
                view: *views.get(*v).unwrap(),
                test: if *v == 3 { Test::Is("workspace".into()) } else { test_of(pattern) },
                wanted: *wanted,
            }).collect();
            let meets = |path: &str| demands.iter().all(|d| d.test.holds(&view(&session, d.view, path)) == d.wanted);
            match word(&demands, Some(&session), &mut 0) {
                Ok(path) => prop_assert!(meets(&path), "{path}"),
                Err(NoWord::CutOff) => prop_assert!(false, "cut off"),
                Err(NoWord::Impossible) => {
                    for path in ["/w/a", "/w/b", "/w", "/", "/a", "/b/a", "/w/a/b", "/h/a", "/w/ab", "/w/b/a", "/w/z", "/z", "/z/a", "/a/z", "/w/a/z", "/tmp/a"] {
                        prop_assert!(!meets(path), "{path}");
                    }
                }
            }
        }
    }
}
