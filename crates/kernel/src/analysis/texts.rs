//! What was found out about texts: some that there are, and demands that no text meets. Questions about rules ask for the
//! same ones again and again, and finding a text costs more than all else.

use super::words::{Demand, NoWord, Test, View, word};
use crate::session::Session;
use std::collections::BTreeMap;

/// Most texts, and most sets of demands, that are kept of each kind.
const WORDS_MAX: usize = 256;
const IMPOSSIBLE_MAX: usize = 1024;

/// What is known of paths, in one session, and of other texts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    paths: Kind,
    others: Kind,
}

#[derive(Clone, Debug, Default)]
struct Kind {
    words: Vec<Seen>,
    /// Demands, each sorted, that no text meets; none of them could be left out.
    impossible: Vec<Vec<Demand>>,
    best: BTreeMap<Vec<Demand>, Result<String, NoWord>>,
}

/// A text, and what is seen of it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    whole: String,
    rel: String,
    name: String,
    zone: &'static str,
}

impl Seen {
    fn of(text: String, session: Option<&Session>) -> Self {
        let Some(session) = session else {
            return Self { whole: text, rel: String::new(), name: String::new(), zone: "" };
        };
        let rel = session.rel(&text).to_owned();
        let name = text.rsplit('/').next().unwrap_or_default().to_owned();
        let zone = session.zone(&text);
        Self { rel, name, zone, whole: text }
    }

    /// Whether the text is as demanded.
    pub fn meets(&self, demand: &Demand) -> bool {
        let seen = match demand.view {
            View::Whole => self.whole.as_str(),
            View::Rel => &self.rel,
            View::Name => &self.name,
            View::Zone => self.zone,
        };
        demand.test.holds(seen) == demand.wanted
    }

    fn meets_all(&self, demands: &[Demand]) -> bool {
        demands.iter().all(|d| self.meets(d))
    }
}

impl Known {
    fn kind(&mut self, is_path: bool) -> &mut Kind {
        if is_path { &mut self.paths } else { &mut self.others }
    }

    /// Whether some text meets these demands, sorted; nothing when the search was cut off. `session`: it is a file's path.
    pub fn is_possible(&mut self, demands: &[Demand], session: Option<&Session>, steps: &mut u64) -> Option<bool> {
        self.kind(session.is_some()).look(demands, session, steps)
    }

    /// Whether it is known that no text meets these demands and that one.
    pub fn is_impossible_with(&self, is_path: bool, demands: &[Demand], also: &Demand) -> bool {
        let kind = if is_path { &self.paths } else { &self.others };
        let is_given = |d: &Demand| d == also || demands.binary_search(d).is_ok();
        kind.impossible.iter().any(|core| core.contains(also) && core.iter().all(is_given))
    }

    /// The text, where the demands say which one it is.
    pub fn fixed(&self, demands: &[Demand], session: Option<&Session>) -> Option<Seen> {
        demands.iter().find_map(|d| match (&d.test, d.view) {
            (Test::Is(text), View::Whole) if d.wanted => Some(Seen::of((**text).to_owned(), session)),
            (Test::Is(rel), View::Rel) if d.wanted && !rel.is_empty() => {
                let workspace = &session?.workspace;
                let path = if **rel == *"." { workspace.clone() } else { format!("{workspace}/{rel}") };
                Some(Seen::of(path, session))
            }
            _ => None,
        })
    }

    /// The text that meets these demands and reads best.
    pub fn best(&mut self, demands: &[Demand], session: Option<&Session>, steps: &mut u64) -> Option<String> {
        let kind = self.kind(session.is_some());
        let found = match kind.best.get(demands) {
            Some(found) => found.clone(),
            None => {
                let found = if session.is_some() {
                    by_need(demands, session, steps)
                } else {
                    // An empty text reads badly.
                    let mut fuller = demands.to_vec();
                    fuller.push(Demand { view: View::Whole, test: Test::Is("".into()), wanted: false });
                    by_need(&fuller, None, steps).or_else(|_| by_need(demands, None, steps))
                };
                let found = found.map_err(|(why, _)| why);
                kind.best.insert(demands.to_vec(), found.clone());
                found
            }
        };
        found.ok().or_else(|| kind.words.iter().find(|w| w.meets_all(demands)).map(|w| w.whole.clone()))
    }
}

impl Kind {
    fn look(&mut self, demands: &[Demand], session: Option<&Session>, steps: &mut u64) -> Option<bool> {
        *steps = steps.saturating_add(1);
        if self.impossible.iter().any(|core| is_within(core, demands)) {
            return Some(false);
        }
        if self.words.iter().any(|w| w.meets_all(demands)) {
            return Some(true);
        }
        match by_need(demands, session, steps) {
            Ok(text) => {
                if self.words.len() < WORDS_MAX {
                    self.words.push(Seen::of(text, session));
                }
                Some(true)
            }
            Err((NoWord::Impossible, needed)) => {
                let core = self.core(needed, session, steps);
                if self.impossible.len() < IMPOSSIBLE_MAX && !self.impossible.contains(&core) {
                    self.impossible.push(core);
                }
                Some(false)
            }
            Err((NoWord::CutOff, _)) => None,
        }
    }

    /// As few of these demands as still contradict each other: each is left out if they do without it.
    fn core(&mut self, mut core: Vec<Demand>, session: Option<&Session>, steps: &mut u64) -> Vec<Demand> {
        let mut at = 0;
        while at < core.len() {
            let fewer: Vec<Demand> =
                core.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, d)| d.clone()).collect();
            let is_met = self.words.iter().any(|w| w.meets_all(&fewer));
            if !is_met && matches!(by_need(&fewer, session, steps), Err((NoWord::Impossible, _))) {
                core = fewer;
            } else {
                at += 1;
            }
        }
        core
    }
}

/// The shortest text that meets the demands, sorted; or those of them that no text meets. What is not to be is asked for only
/// once a text was found that is: of many such demands few matter.
fn by_need(demands: &[Demand], session: Option<&Session>, steps: &mut u64) -> Result<String, (NoWord, Vec<Demand>)> {
    let (mut needed, mut rest): (Vec<&Demand>, Vec<&Demand>) = demands.iter().partition(|d| d.wanted);
    loop {
        let asked: Vec<Demand> = needed.iter().map(|d| (*d).clone()).collect();
        let text = match word(&asked, session, steps) {
            Ok(text) => Seen::of(text, session),
            Err(why) => {
                needed.sort();
                return Err((why, needed.into_iter().cloned().collect()));
            }
        };
        let (met, unmet): (Vec<&Demand>, Vec<&Demand>) = rest.into_iter().partition(|d| text.meets(d));
        if unmet.is_empty() {
            return Ok(text.whole);
        }
        needed.extend(unmet);
        rest = met;
    }
}

/// Whether all of the first, both sorted, are among the second.
fn is_within(core: &[Demand], demands: &[Demand]) -> bool {
    core.iter().all(|d| demands.binary_search(d).is_ok())
}
