//! A session's attempts and what people did to it, as rows of a window that moves over the stream: entries are taken in
//! pages from either side, and what a window holds at most does not depend on how long the session is.

use super::History;
use super::history::{attempt_of, say_outcome};
use super::session::text;
use flyball_kernel::Verdict;
use flyball_ledger::{Entry, Kind};
use serde_json::Value as Json;
use std::collections::{BTreeMap, VecDeque};

/// Rows that a window holds at most; the far side is let go of.
pub const ROWS_MAX: usize = 4_000;
/// Characters of an attempt's text that a row keeps.
const WHAT_CHARS_MAX: usize = 400;
/// Attempts before the window of which something was seen inside it.
const EARLIER_MAX: usize = 16_384;

/// Which rows a window keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Show {
    /// All.
    #[default]
    All,
    /// Attempts that were refused.
    Refused,
    /// Attempts that people were asked about.
    Asked,
}

/// What became of an attempt, as far as a row tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// Nothing is known yet, or nothing happened.
    #[default]
    None,
    /// It was begun.
    Begun,
    /// It was not carried out though nothing refused it: another part of the same call was refused, or its asker went away.
    Withdrawn,
    /// It ended, in words.
    Ended(String),
}

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The attempt's entry, or the entry that stands for itself.
    pub seq: u64,
    /// When.
    pub at_ns: u64,
    /// The verb of an attempt, else the entry's kind.
    pub verb: String,
    /// What, in words, without the verb.
    pub what: String,
    /// Whether it is an attempt.
    pub is_attempt: bool,
    /// The verdict that stands.
    pub verdict: Option<Verdict>,
    /// Whether people were ever asked.
    pub was_held: bool,
    /// The first rule that the verdict names.
    pub rule: String,
    /// What became of it.
    pub fate: Fate,
    ruled: u64,
    fated: u64,
}

/// What was seen of an attempt's life.
#[derive(Clone, Debug, Default)]
struct Life {
    verdict: Option<Verdict>,
    was_held: bool,
    rule: String,
    ruled: u64,
    fate: Fate,
    fated: u64,
}

/// A window over a session's stream.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// The session.
    pub session: String,
    show: Show,
    wanted: String,
    rows: VecDeque<Row>,
    /// Lives of attempts that stand before the window.
    earlier: BTreeMap<u64, Life>,
    /// The first entry that the window has seen, and the last; `low > high` while it has seen none.
    low: u64,
    high: u64,
    words: History,
}

impl Timeline {
    /// An empty window at the end of a stream whose last entry is `last`, opened by that entry.
    #[must_use]
    pub fn new(session: &str, opening: Option<Entry>, last: u64, show: Show, wanted: &str) -> Self {
        Self {
            session: session.to_owned(),
            show,
            wanted: wanted.to_lowercase(),
            rows: VecDeque::new(),
            earlier: BTreeMap::new(),
            low: last.saturating_add(1),
            high: last,
            words: History::new(session, opening.into_iter().collect()),
        }
    }

    /// The rows that the filter lets through, oldest first.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = &Row> {
        self.rows.iter().filter(|r| self.shows(r))
    }

    /// The first entry inside the window: what stands before it is to be read by [`Self::take_earlier`].
    #[must_use]
    pub fn low(&self) -> u64 {
        self.low
    }

    /// The last entry inside the window: what stands after it is to be read by [`Self::take_newer`].
    #[must_use]
    pub fn high(&self) -> u64 {
        self.high
    }

    /// Whether the window holds as many rows as it may.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows.len() >= ROWS_MAX
    }

    /// Takes the entries right after the window, ascending.
    pub fn take_newer(&mut self, entries: &[Entry]) {
        for entry in entries {
            if entry.seq > self.high {
                self.high = entry.seq;
                self.take(entry);
            }
        }
        self.sift();
        while self.rows.len() > ROWS_MAX {
            self.rows.pop_front();
            self.low = self.rows.front().map_or(self.low, |r| r.seq);
        }
    }

    /// Takes the entries right before the window, ascending; the first of them is `from`.
    pub fn take_earlier(&mut self, from: u64, entries: &[Entry]) {
        let (high, later) = (self.high, std::mem::take(&mut self.rows));
        let before = self.low;
        self.low = from;
        // Taken as if they were new, in their own place: what the rows after them already know is not told again.
        for entry in entries.iter().filter(|e| e.seq < before && e.seq >= from) {
            self.take(entry);
        }
        self.high = high;
        self.rows.extend(later);
        self.sift();
        while self.rows.len() > ROWS_MAX {
            self.rows.pop_back();
            self.high = self.rows.back().map_or(self.high, |r| r.seq);
        }
    }

    fn take(&mut self, entry: &Entry) {
        match (entry.kind, attempt_of(entry)) {
            (Kind::Attempt, _) => {
                let mut row = self.attempt(entry);
                if let Some(life) = self.earlier.remove(&entry.seq) {
                    row.learn(life);
                }
                self.rows.push_back(row);
            }
            (Kind::Ruling | Kind::Dispatch | Kind::Outcome | Kind::Question, Some(of)) => {
                let life = life(entry);
                match self.rows.binary_search_by_key(&of, |r| r.seq) {
                    Ok(at) => {
                        if let Some(row) = self.rows.get_mut(at) {
                            row.learn(life);
                        }
                    }
                    Err(_) if of < self.low => self.remember(of, life),
                    // Sifted out: nothing that it hears can bring it back.
                    Err(_) => {}
                }
            }
            (Kind::Answer | Kind::Intervention | Kind::Alert | Kind::Open | Kind::Close, _) => {
                let what = clip(&self.words.say(entry));
                self.rows.push_back(Row {
                    seq: entry.seq,
                    at_ns: entry.at_ns,
                    verb: entry.kind.as_str().to_owned(),
                    what,
                    is_attempt: false,
                    verdict: None,
                    was_held: entry.kind == Kind::Answer,
                    rule: String::new(),
                    fate: Fate::None,
                    ruled: 0,
                    fated: 0,
                });
            }
            _ => {}
        }
    }

    fn attempt(&self, entry: &Entry) -> Row {
        let verb = text(&entry.body, "verb");
        let said = self.words.say(entry);
        let what = clip(said.strip_prefix(verb.as_str()).unwrap_or(&said).trim());
        Row {
            seq: entry.seq,
            at_ns: entry.at_ns,
            verb: verb.chars().take(40).collect(),
            what,
            is_attempt: true,
            verdict: None,
            was_held: false,
            rule: String::new(),
            fate: Fate::None,
            ruled: 0,
            fated: 0,
        }
    }

    fn remember(&mut self, of: u64, life: Life) {
        let known = self.earlier.entry(of).or_default();
        let mut row = Row::of_life(std::mem::take(known));
        row.learn(life);
        *known = row.life();
        while self.earlier.len() > EARLIER_MAX {
            // The one that is farthest away is the last to be scrolled to.
            self.earlier.pop_first();
        }
    }

    fn sift(&mut self) {
        if self.show == Show::All && self.wanted.is_empty() {
            return;
        }
        let rows = std::mem::take(&mut self.rows);
        self.rows = rows.into_iter().filter(|r| self.shows(r) || r.may_change()).collect();
    }

    fn shows(&self, row: &Row) -> bool {
        let shown = match self.show {
            Show::All => true,
            Show::Refused => row.verdict == Some(Verdict::Deny),
            Show::Asked => row.was_held,
        };
        shown && self.is_wanted(row)
    }

    fn is_wanted(&self, row: &Row) -> bool {
        self.wanted.is_empty()
            || row.what.to_lowercase().contains(&self.wanted)
            || row.verb.to_lowercase().contains(&self.wanted)
            || row.rule.to_lowercase().contains(&self.wanted)
    }
}

impl Row {
    fn of_life(life: Life) -> Self {
        let mut row = Row {
            seq: 0,
            at_ns: 0,
            verb: String::new(),
            what: String::new(),
            is_attempt: true,
            verdict: None,
            was_held: false,
            rule: String::new(),
            fate: Fate::None,
            ruled: 0,
            fated: 0,
        };
        row.learn(life);
        row
    }

    fn life(self) -> Life {
        let Row { verdict, was_held, rule, ruled, fate, fated, .. } = self;
        Life { verdict, was_held, rule, ruled, fate, fated }
    }

    /// Takes what is later than what it knows.
    fn learn(&mut self, life: Life) {
        self.was_held |= life.was_held;
        if life.ruled > self.ruled {
            (self.ruled, self.verdict, self.rule) = (life.ruled, life.verdict, life.rule);
        }
        if life.fated > self.fated {
            (self.fated, self.fate) = (life.fated, life.fate);
        }
    }

    /// Whether a verdict may yet come that is another than the one that stands.
    fn may_change(&self) -> bool {
        self.is_attempt && matches!(self.verdict, None | Some(Verdict::Hold))
    }
}

fn life(entry: &Entry) -> Life {
    let body = &entry.body;
    match entry.kind {
        Kind::Ruling => {
            let verdict: Option<Verdict> = body.get("verdict").and_then(|v| serde_json::from_value(v.clone()).ok());
            let rule = body.pointer("/reasons/0/rule").and_then(Json::as_str).unwrap_or_default();
            Life {
                verdict,
                was_held: verdict == Some(Verdict::Hold),
                rule: rule.chars().take(80).collect(),
                ruled: entry.seq,
                ..Life::default()
            }
        }
        Kind::Question => Life { was_held: true, ..Life::default() },
        Kind::Dispatch => Life { fate: Fate::Begun, fated: entry.seq, ..Life::default() },
        _ if body.get("withdrawn").is_some() => Life { fate: Fate::Withdrawn, fated: entry.seq, ..Life::default() },
        _ => Life { fate: Fate::Ended(say_outcome(body)), fated: entry.seq, ..Life::default() },
    }
}

fn clip(text: &str) -> String {
    text.chars().take(WHAT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use serde_json::json;

    fn entry(seq: u64, kind: Kind, body: Json) -> Entry {
        Entry {
            stream: "s".into(),
            seq,
            at_ns: seq,
            kind,
            actor: "a".into(),
            cause: vec![],
            body,
            refs: flyball_ledger::References::default(),
            index: seq,
            leaf: flyball_ledger::Digest::of(b""),
            raw: Vec::new(),
        }
    }

    /// Attempts of four entries each, of which every fifth is refused and every seventh asked about, then allowed.
    fn stream(attempts: u64) -> Vec<Entry> {
        let mut out = Vec::new();
        for n in 0..attempts {
            let of = out.len() as u64 + 1;
            let put = |out: &mut Vec<Entry>, kind, body| out.push(entry(out.len() as u64 + 1, kind, body));
            let action = json!({"verb": "fs.write", "resource": {"type": "File", "path": format!("/w/f{n}")}, "attrs": {}, "surface": "fs", "agent": "a"});
            put(&mut out, Kind::Attempt, action);
            let verdict = if n % 5 == 0 {
                "deny"
            } else if n % 7 == 0 {
                "hold"
            } else {
                "allow"
            };
            put(
                &mut out,
                Kind::Ruling,
                json!({"of": of, "verdict": verdict, "reasons": [{"rule": format!("r-{verdict}")}]}),
            );
            if verdict == "hold" {
                put(&mut out, Kind::Question, json!({"of": of}));
                put(&mut out, Kind::Ruling, json!({"of": of, "verdict": "allow", "reasons": [{"rule": "answered"}]}));
            }
            if verdict != "deny" {
                put(&mut out, Kind::Dispatch, json!({"of": of}));
                put(&mut out, Kind::Outcome, json!({"of": of, "ok": true}));
            }
        }
        out
    }

    fn told(timeline: &Timeline) -> Vec<(u64, Option<Verdict>, String, Fate)> {
        timeline.rows().map(|r| (r.seq, r.verdict, r.rule.clone(), r.fate.clone())).collect()
    }

    /// However the stream is cut into pages, and from whichever side they come, the same rows come out.
    #[test]
    fn pages_from_either_side_make_the_same_rows() {
        let all = stream(60);
        let last = all.len() as u64;
        for show in [Show::All, Show::Refused, Show::Asked] {
            for wanted in ["", "f1", "answered"] {
                let mut whole = Timeline::new("s", None, 0, show, wanted);
                whole.take_newer(&all);
                assert!(show != Show::Asked || wanted == "f1" || !told(&whole).is_empty());
                for page in [1, 2, 3, 7, 50] {
                    let mut newer = Timeline::new("s", None, 0, show, wanted);
                    all.chunks(page).for_each(|c| newer.take_newer(c));
                    assert_eq!(told(&newer), told(&whole), "{show:?} {wanted} by {page} forwards");
                    let mut earlier = Timeline::new("s", None, last, show, wanted);
                    while earlier.low() > 1 {
                        let from = earlier.low().saturating_sub(page as u64).max(1);
                        let range = from as usize - 1..earlier.low() as usize - 1;
                        earlier.take_earlier(from, &all[range]);
                    }
                    assert_eq!(told(&earlier), told(&whole), "{show:?} {wanted} by {page} backwards");
                    assert_eq!(earlier.high(), last);
                }
            }
        }
    }

    #[test]
    fn a_window_holds_only_so_much_and_moves() {
        let all = stream(ROWS_MAX as u64 * 2);
        let mut timeline = Timeline::new("s", None, 0, Show::All, "");
        all.chunks(500).for_each(|c| timeline.take_newer(c));
        assert_eq!(timeline.rows().count(), ROWS_MAX);
        assert_eq!(timeline.low(), timeline.rows().next().unwrap().seq);
        while timeline.low() > 1 {
            let from = timeline.low().saturating_sub(500).max(1);
            let before = timeline.low() as usize - 1;
            timeline.take_earlier(from, &all[from as usize - 1..before]);
        }
        assert_eq!(timeline.rows().count(), ROWS_MAX);
        assert_eq!(timeline.rows().next().unwrap().seq, 1);
        // And back: what was let go of is read again.
        while timeline.high() < all.len() as u64 {
            let from = timeline.high() as usize;
            timeline.take_newer(&all[from..(from + 500).min(all.len())]);
        }
        assert_eq!(
            timeline.rows().last().unwrap().seq,
            all.iter().rev().find(|e| e.kind == Kind::Attempt).unwrap().seq
        );
        assert!(timeline.rows().all(|r| r.verdict.is_some()));
    }
}
