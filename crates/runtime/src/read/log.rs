//! A session's entries that pass a filter, read one by one: there may be more than fit in memory.

use super::ReadError;
use super::history::{attempt_of, say, whole_body};
use super::session::workspace;
use flyball_ledger::{Entry, Kind, Ledger, LedgerError};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Attempts that are kept at hand for what is said of them: most is said right after them.
const RECENT_MAX: usize = 64;

/// Which entries to show.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these kinds; none means all.
    pub kinds: Vec<String>,
    /// Only what belongs to attempts of these verbs or groups; none means all.
    pub verbs: Vec<String>,
    /// Only what belongs to attempts that had one of these verdicts; none means all.
    pub verdicts: Vec<String>,
    /// Only entries after this one.
    pub since: Option<u64>,
}

/// A session's log, as far as it was read.
pub struct Log<'a> {
    ledger: &'a Ledger,
    session: &'a str,
    workspace: String,
    filter: Filter,
    /// The last entry that was read.
    last: u64,
    /// Attempts that had a verdict that is asked for.
    ruled: BTreeSet<u64>,
    recent: BTreeMap<u64, Entry>,
    is_closed: bool,
}

impl<'a> Log<'a> {
    /// A log of which nothing was read yet.
    ///
    /// # Errors
    /// [`ReadError`] when the ledger can't be read or the session is not there.
    pub fn new(ledger: &'a Ledger, session: &'a str, filter: Filter) -> Result<Self, ReadError> {
        Ok(Self {
            ledger,
            session,
            workspace: workspace(ledger, session)?,
            filter,
            last: 0,
            ruled: BTreeSet::new(),
            recent: BTreeMap::new(),
            is_closed: false,
        })
    }

    /// Whether the session's close was read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Reads what was appended since the last time, and gives each entry that passes and was not given before, in order, with
    /// what it says in words. A verdict comes after its attempt: an attempt that did not pass before may pass now.
    ///
    /// # Errors
    /// [`ReadError`] when the ledger can't be read.
    pub fn read_on(&mut self, mut give: impl FnMut(&Entry, &str)) -> Result<(), ReadError> {
        let heads = self.ledger.heads()?;
        let upto = heads.into_iter().find(|h| h.id == self.session).map_or(self.last, |h| h.last_seq);
        let newly = self.newly_ruled(upto)?;
        let from = newly.first().copied().unwrap_or(u64::MAX).min(self.last + 1);
        for entry in self.ledger.entries(self.session, from..=upto, self.of_kinds())? {
            let entry = entry?;
            self.is_closed |= entry.kind == Kind::Close;
            let of = attempt_of(&entry);
            let was_read = entry.seq <= self.last && !of.is_some_and(|of| newly.contains(&of));
            if was_read || !self.may_pass(&entry, of) {
                continue;
            }
            let entry = Entry { body: whole_body(self.ledger, &entry)?, ..entry };
            if let Some(of) = of {
                self.fetch(of, &entry)?;
            }
            let attempt = of.and_then(|of| self.recent.get(&of));
            if self.has_verb(attempt) {
                give(&entry, &say(&self.workspace, &entry, attempt));
            }
        }
        self.last = upto;
        Ok(())
    }

    /// Attempts that have a verdict that is asked for since then, and had none before.
    fn newly_ruled(&mut self, upto: u64) -> Result<BTreeSet<u64>, ReadError> {
        let mut newly = BTreeSet::new();
        if self.filter.verdicts.is_empty() {
            return Ok(newly);
        }
        let rulings = flyball_ledger::Filter { kinds: vec![Kind::Ruling], ..flyball_ledger::Filter::default() };
        for ruling in self.ledger.entries(self.session, self.last + 1..=upto, rulings)? {
            let ruling = ruling?;
            let body = whole_body(self.ledger, &ruling)?;
            let verdict = body.get("verdict").and_then(Json::as_str);
            let is_wanted = verdict.is_some_and(|verdict| self.filter.verdicts.iter().any(|wanted| wanted == verdict));
            if let Some(of) = attempt_of(&ruling).filter(|of| is_wanted && self.ruled.insert(*of)) {
                newly.insert(of);
            }
        }
        Ok(newly)
    }

    /// The kinds that are asked for, and the close.
    fn of_kinds(&self) -> flyball_ledger::Filter {
        let mut kinds: Vec<Kind> = self.filter.kinds.iter().filter_map(|kind| Kind::parse(kind)).collect();
        kinds.extend((!kinds.is_empty()).then_some(Kind::Close));
        flyball_ledger::Filter { kinds, ..flyball_ledger::Filter::default() }
    }

    /// Whether an entry passes, but for its attempt's verb.
    fn may_pass(&self, entry: &Entry, of: Option<u64>) -> bool {
        let Filter { kinds, verbs, verdicts, since } = &self.filter;
        since.is_none_or(|since| entry.seq > since)
            && (kinds.is_empty() || kinds.iter().any(|kind| kind == entry.kind.as_str()))
            && (of.is_some() || (verbs.is_empty() && verdicts.is_empty()))
            && (verdicts.is_empty() || of.is_some_and(|of| self.ruled.contains(&of)))
    }

    fn has_verb(&self, attempt: Option<&Entry>) -> bool {
        let verb = attempt.and_then(|attempt| attempt.body.get("verb")?.as_str()).unwrap_or_default();
        let group = verb.split('.').next().unwrap_or_default();
        self.filter.verbs.is_empty() || self.filter.verbs.iter().any(|wanted| wanted == verb || wanted == group)
    }

    /// Keeps an attempt at hand: the entry that speaks of it, if that is the attempt itself, or as the ledger has it.
    fn fetch(&mut self, of: u64, entry: &Entry) -> Result<(), ReadError> {
        if self.recent.contains_key(&of) {
            return Ok(());
        }
        let attempt = if entry.seq == of {
            entry.clone()
        } else {
            match self.ledger.entry(self.session, of) {
                // Named, and not there: `verify` tells of it.
                Err(LedgerError::NoEntry { .. }) => return Ok(()),
                found => {
                    let found = found?;
                    Entry { body: whole_body(self.ledger, &found)?, ..found }
                }
            }
        };
        while self.recent.len() >= RECENT_MAX {
            self.recent.pop_first();
        }
        self.recent.insert(of, attempt);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use flyball_ledger::Draft;
    use serde_json::json;

    const VERBS: [&str; 3] = ["fs.write", "exec", "net.connect"];
    const VERDICTS: [&str; 3] = ["allow", "deny", "hold"];

    /// Attempts that are ruled on at once, or once others were: the `n`th entry of a session.
    fn body(n: u64) -> (Kind, Json) {
        let pick = |list: [&'static str; 3], n: u64| list.into_iter().cycle().nth((n % 97) as usize).unwrap();
        match n % 7 {
            _ if n == 1 => (Kind::Open, json!({"workspace": "/w"})),
            1 | 2 => (Kind::Attempt, json!({"verb": pick(VERBS, n / 7)})),
            3 => (Kind::Ruling, json!({"of": n - 1, "verdict": pick(VERDICTS, n / 3)})),
            4 if n > 400 => (Kind::Ruling, json!({"of": n - 360, "verdict": pick(VERDICTS, n / 5)})),
            5 => (Kind::Dispatch, json!({"of": n - 3})),
            6 => (Kind::Outcome, json!({"of": n - 5, "ok": true})),
            _ => (Kind::Observe, json!({})),
        }
    }

    /// What is to be given of these entries, by looking at all of them.
    fn expected(entries: &[Entry], filter: &Filter) -> Vec<u64> {
        let find = |of: u64| entries.iter().find(|e| e.seq == of);
        let has = |list: &[String], text: &str| list.is_empty() || list.iter().any(|one| one == text);
        let is_ruled = |of: u64| {
            let rulings = entries.iter().filter(|e| e.kind == Kind::Ruling && attempt_of(e) == Some(of));
            rulings.filter_map(|e| e.body["verdict"].as_str()).any(|verdict| has(&filter.verdicts, verdict))
        };
        let passes = |entry: &&Entry| {
            let of = attempt_of(entry);
            let verb = of.and_then(find).and_then(|e| e.body["verb"].as_str()).unwrap_or_default();
            entry.seq > filter.since.unwrap_or_default()
                && has(&filter.kinds, entry.kind.as_str())
                && (filter.verbs.is_empty()
                    || of.is_some_and(|_| {
                        has(&filter.verbs, verb) || has(&filter.verbs, verb.split('.').next().unwrap())
                    }))
                && (filter.verdicts.is_empty() || of.is_some_and(is_ruled))
        };
        entries.iter().filter(passes).map(|e| e.seq).collect()
    }

    /// However it grows while it is read, each entry that passes is given once: in order, but for what a late verdict lets pass.
    #[test]
    fn a_log_that_is_read_as_it_grows_gives_the_same() {
        const ENTRIES: u64 = 800;
        let list = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
        let mut filters = Vec::new();
        for kinds in [&[][..], &["outcome"], &["attempt", "ruling"]] {
            for verbs in [&[][..], &["fs"], &["exec", "net.connect"]] {
                for verdicts in [&[][..], &["deny"], &["hold", "allow"]] {
                    for since in [None, Some(300)] {
                        let (kinds, verbs, verdicts) = (list(kinds), list(verbs), list(verdicts));
                        filters.push(Filter { kinds, verbs, verdicts, since });
                    }
                }
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let stream = ledger.stream("s").unwrap();
        let append = |n: u64| {
            let (kind, body) = body(n);
            stream.append(Draft { at_ns: n, kind, actor: "a".into(), cause: Vec::new(), body }).unwrap();
        };
        append(1);
        stream.flush().unwrap();
        let mut logs: Vec<_> = filters.iter().map(|f| Log::new(&ledger, "s", f.clone()).unwrap()).collect();
        let mut given = vec![Vec::new(); filters.len()];
        for n in 2..=ENTRIES {
            append(n);
            if n % 53 != 0 && n != ENTRIES {
                continue;
            }
            stream.flush().unwrap();
            for (log, given) in logs.iter_mut().zip(&mut given) {
                log.read_on(|entry, _| given.push(entry.seq)).unwrap();
            }
        }
        let all: Vec<Entry> =
            ledger.entries("s", .., flyball_ledger::Filter::default()).unwrap().map(|e| e.unwrap()).collect();
        for (filter, given) in filters.iter().zip(&mut given) {
            let expected = expected(&all, filter);
            let mut whole = Vec::new();
            Log::new(&ledger, "s", filter.clone()).unwrap().read_on(|entry, _| whole.push(entry.seq)).unwrap();
            assert_eq!(whole, expected, "{filter:?} at once");
            if !filter.verdicts.is_empty() {
                given.sort_unstable();
            }
            assert_eq!(*given, expected, "{filter:?} as it grew");
        }
        assert!(given.iter().all(|given| !given.is_empty()));
    }
}
