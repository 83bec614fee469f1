//! What came before what in a record, where a replay must see to it: a recorded answer is there at once, and the one that was given then was
//! waited for, while other threads and processes went on. So each part of an answer is held back until what was attempted before it then was
//! attempted again; and a call is, until the answers that came before it were given, or, where the record has no such call, until the end.
//!
//! INVARIANT: nothing waits for good. An answer is given once the time is over at which the record has what it waits for, and a call once
//! nothing else goes on; what was waited for in vain is told, and nothing is allowed or denied by any of it.

use super::{RerunError, compare};
use flyball_gateway::http::Turn;
use flyball_kernel::Action;
use flyball_ledger::{Digest, Filter, Kind, Ledger};
use flyball_sandbox::Ticket;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long after its time in the record something is still waited for.
const LATE_MAX: Duration = Duration::from_secs(2);
/// The latest time of a record that is waited for.
const WAITED_FOR_MAX: Duration = Duration::from_secs(600);
/// While nothing that is on record comes for so long, nothing more is expected to.
const QUIET_MAX: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 5 });
/// The longest that one call is held, whatever else goes on.
const CALL_WAIT_MAX: Duration = Duration::from_secs(60);
/// Calls that are held at once; of more, each goes on.
const CALLS_MAX: usize = 64;
/// Waits in vain until nothing is waited for any more.
const VAIN_MAX: usize = 4;
/// The last answer goes on waiting as long as what came behind it comes by itself, each within this.
const LINGER: Duration = Duration::from_millis(if cfg!(test) { 2000 } else { 150 });
const LINGER_MAX: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// While no call is held.
const IDLE_LOOK: Duration = Duration::from_millis(500);
/// Parts of one answer that are told apart.
const PARTS_MAX: usize = 4096;

type Key = Digest;

/// A record's order, and how far its replay is.
#[derive(Debug)]
pub(crate) struct Order {
    state: Mutex<State>,
    changed: Condvar,
    is_paced: bool,
    /// How often a file is opened again to write on in it may differ.
    is_lenient: bool,
}

#[derive(Debug)]
struct State {
    /// Attempts that were not made again yet, by what they are.
    attempts: BTreeMap<Key, VecDeque<u64>>,
    /// Those that answers wait for, with the time since the record's first.
    missing: BTreeMap<u64, Duration>,
    exchanges: BTreeMap<u64, Exchange>,
    /// The last attempt before each part of an answer that was not given yet.
    open: BTreeSet<(u64, u64, u64)>,
    begun: Option<Instant>,
    /// When anything that is on record came last.
    stirred: Instant,
    held: BTreeMap<Ticket, Held>,
    /// Calls that were held, and go on now.
    free: BTreeSet<Ticket>,
    lingers_since: Option<Instant>,
    in_vain: Vec<u64>,
    is_off: bool,
}

#[derive(Debug)]
struct Exchange {
    /// Its head (0), pieces from 1 on, end: each place at which something had been attempted since the one before.
    parts: Vec<(u64, u64)>,
    head_at: Duration,
    ended_at: Duration,
}

#[derive(Debug)]
struct Held {
    key: Key,
    /// Its entry in the record.
    of: Option<u64>,
    since: Instant,
}

/// What a part of an answer waits for.
enum Look {
    Due,
    Wait,
}

impl Order {
    /// That of a session. `is_paced`: answers also come no sooner than they came then.
    pub fn of(ledger: &Ledger, session: &str, level: u8, is_paced: bool) -> Result<Self, RerunError> {
        let (mut state, mut began) = (State::new(), None);
        let (mut ended, mut told) = (BTreeMap::new(), Vec::new());
        let is_lenient = level < 5;
        for entry in ledger.entries(session, 1.., Filter::default())? {
            let entry = entry?;
            if !matches!(entry.kind, Kind::Attempt | Kind::Outcome | Kind::Observe) {
                continue;
            }
            if entry.kind == Kind::Attempt {
                began.get_or_insert(entry.at_ns);
            }
            let at = Duration::from_nanos(began.map_or(0, |began| entry.at_ns.saturating_sub(began)));
            match entry.kind {
                Kind::Attempt => {
                    let body = compare::action(ledger.body(&entry)?);
                    if !(is_lenient && compare::writes_on(&body)) {
                        state.missing.insert(entry.seq, at);
                    }
                    state.attempts.entry(key(&body)).or_default().push_back(entry.seq);
                }
                Kind::Outcome => {
                    if let Some(of) = ledger.body(&entry)?.get("of").and_then(Json::as_u64) {
                        ended.entry(of).or_insert((entry.seq, at));
                    }
                }
                _ if entry.actor == "gateway" => {
                    if let Some(http) = ledger.body(&entry)?.get("http") {
                        told.push((entry.seq, at, http.get("of").and_then(Json::as_u64), parts(http)));
                    }
                }
                _ => {}
            }
        }
        for (seq, ended_at, of, parts) in told {
            let head = of.and_then(|of| ended.get(&of)).copied();
            // A record of a version that did not say when: the outcome is told before the answer is given.
            let parts = parts.or_else(|| head.map(|(seq, _)| vec![(0, seq)])).unwrap_or_default();
            state.open.extend(parts.iter().map(|(part, after)| (*after, seq, *part)));
            let head_at = head.map_or(ended_at, |(_, at)| at);
            state.exchanges.insert(seq, Exchange { parts, head_at, ended_at });
        }
        Ok(Self { state: Mutex::new(state), changed: Condvar::new(), is_paced, is_lenient })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is attempted, and on the replay's record.
    pub fn came(&self, action: &Action) {
        if let Some(told) = told(action) {
            self.came_as(&told);
        }
    }

    fn came_as(&self, told: &Json) {
        let mut state = self.state();
        let now = Instant::now();
        state.begun.get_or_insert(now);
        let Some(seq) = state.attempts.get_mut(&key(told)).and_then(VecDeque::pop_front) else { return };
        state.missing.remove(&seq);
        state.stirred = now;
        self.changed.notify_all();
    }

    /// Whether a call is to wait: [`Self::released`] names it then.
    pub fn holds(&self, ticket: Ticket, actions: &[Action]) -> bool {
        actions.first().and_then(told).is_some_and(|told| self.holds_as(ticket, &told))
    }

    fn holds_as(&self, ticket: Ticket, told: &Json) -> bool {
        let mut state = self.state();
        state.begun.get_or_insert_with(Instant::now);
        if state.free.remove(&ticket) || state.is_off || state.held.len() >= CALLS_MAX {
            return false;
        }
        let key = key(told);
        let before = state.held.values().filter(|held| held.key == key).count();
        let of = state.attempts.get(&key).and_then(|all| all.get(before)).copied();
        let waits = match of {
            Some(of) => state.waits(of),
            None => !(self.is_lenient && compare::writes_on(told)),
        };
        if waits {
            state.held.insert(ticket, Held { key, of, since: Instant::now() });
            self.changed.notify_all();
        }
        waits
    }

    /// A call that was held is gone.
    pub fn withdrawn(&self, ticket: Ticket) {
        let mut state = self.state();
        state.held.remove(&ticket);
        state.free.remove(&ticket);
    }

    /// Waits, not for long, and gives the calls that go on now.
    pub fn released(&self) -> Vec<Ticket> {
        let state = self.state();
        let patience = if state.held.is_empty() { IDLE_LOOK } else { LOOK };
        let (mut state, _) = self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_quiet = now.duration_since(state.stirred) >= QUIET_MAX;
        let is_over = |held: &Held| {
            let waited = now.duration_since(held.since);
            (is_quiet && waited >= QUIET_MAX) || waited >= CALL_WAIT_MAX
        };
        let due = |held: &Held| state.is_off || held.of.is_some_and(|of| !state.waits(of));
        let due: Vec<Ticket> = state.held.iter().filter(|(_, h)| due(h) || is_over(h)).map(|(t, _)| *t).collect();
        for ticket in &due {
            let Some(held) = state.held.remove(ticket) else { continue };
            match held.of {
                // What the record does not have is done now: it is another run, whatever follows.
                None => state.is_off = true,
                Some(of) if state.waits(of) => state.waited_in_vain(of),
                Some(_) => {}
            }
            state.free.insert(*ticket);
        }
        due
    }

    /// Whose turn an answer is.
    pub fn turn(self: &Arc<Self>, exchange: u64) -> Arc<dyn Turn> {
        Arc::new(OfExchange { order: Arc::clone(self), exchange })
    }

    fn look(&self, exchange: u64, part: u64, since: Instant, has_waited: bool) -> Look {
        let mut state = self.state();
        let now = Instant::now();
        let begun = *state.begun.get_or_insert(now);
        let Some((after, paced)) = state.before(exchange, part) else { return Look::Due };
        if state.is_off {
            state.gives(exchange, part);
            return Look::Due;
        }
        if self.is_paced && now.duration_since(begun) < paced.min(WAITED_FOR_MAX) {
            return Look::Wait;
        }
        if let Some((&last, &at)) = state.missing.range(..=after).next_back() {
            let until = begun + at.min(WAITED_FOR_MAX) + LATE_MAX;
            if now < until || now.duration_since(state.stirred.max(since)) < QUIET_MAX {
                return Look::Wait;
            }
            state.waited_in_vain(last);
            state.missing.retain(|seq, _| *seq > after);
        } else if has_waited && state.lingers(exchange, now) {
            return Look::Wait;
        }
        state.gives(exchange, part);
        self.changed.notify_all();
        Look::Due
    }

    fn gone(&self, exchange: u64) {
        self.state().gives(exchange, u64::MAX);
        self.changed.notify_all();
    }

    /// Entries of the record that something waited for, in vain.
    pub fn in_vain(&self) -> Vec<u64> {
        self.state().in_vain.clone()
    }

    /// Whether the replay was over before the time at which the record has what is missing.
    pub fn was_over_too_soon(&self) -> bool {
        let state = self.state();
        let age = state.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        let is_answered = !state.exchanges.is_empty();
        !self.is_paced && !state.is_off && is_answered && state.missing.values().any(|at| *at > age)
    }
}

impl State {
    fn new() -> Self {
        Self {
            attempts: BTreeMap::new(),
            missing: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            open: BTreeSet::new(),
            begun: None,
            stirred: Instant::now(),
            held: BTreeMap::new(),
            free: BTreeSet::new(),
            lingers_since: None,
            in_vain: Vec::new(),
            is_off: false,
        }
    }

    /// Whether an answer was given before that attempt then, and is not yet. Who comes while the last one lingers is who it lingers for.
    fn waits(&self, of: u64) -> bool {
        let lingers = self.lingers_since.and(self.open.last().map(|(_, last, _)| *last));
        let mut before = self.open.iter().take_while(|(after, ..)| *after < of);
        before.any(|(_, exchange, _)| Some(*exchange) != lingers)
    }

    /// The last attempt before a part of an answer, and when that came; `None`: it was given.
    fn before(&self, exchange: u64, part: u64) -> Option<(u64, Duration)> {
        let found = self.exchanges.get(&exchange)?;
        let open = found.parts.iter().filter(|(at, after)| *at <= part && self.open.contains(&(*after, exchange, *at)));
        let after = open.map(|(_, after)| *after).max()?;
        Some((after, if part == u64::MAX { found.ended_at } else { found.head_at }))
    }

    fn gives(&mut self, exchange: u64, part: u64) {
        let Some(found) = self.exchanges.get(&exchange) else { return };
        for (at, after) in found.parts.iter().filter(|(at, _)| *at <= part) {
            self.open.remove(&(*after, exchange, *at));
        }
        (self.stirred, self.lingers_since) = (Instant::now(), None);
    }

    /// Whether the last answer, which had to wait, goes on waiting: what came behind it then comes by itself.
    fn lingers(&mut self, exchange: u64, now: Instant) -> bool {
        let is_last = self.open.last().is_some_and(|(_, last, _)| *last == exchange);
        if !is_last || self.missing.is_empty() {
            return false;
        }
        let lingers_since = *self.lingers_since.get_or_insert(now);
        now.duration_since(lingers_since) < LINGER_MAX && now.duration_since(self.stirred) < LINGER
    }

    fn waited_in_vain(&mut self, of: u64) {
        if self.in_vain.len() < VAIN_MAX {
            self.in_vain.push(of);
        }
        self.is_off |= self.in_vain.len() >= VAIN_MAX;
    }
}

/// One answer, until it is given or nobody takes it any more.
struct OfExchange {
    order: Arc<Order>,
    exchange: u64,
}

impl Turn for OfExchange {
    fn due(&self, part: u64) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let (order, exchange, since) = (Arc::clone(&self.order), self.exchange, Instant::now());
        match order.look(exchange, part, since, false) {
            Look::Due => None,
            Look::Wait => Some(Box::pin(async move {
                while matches!(order.look(exchange, part, since, true), Look::Wait) {
                    tokio::time::sleep(LOOK).await;
                }
            })),
        }
    }
}

impl Drop for OfExchange {
    fn drop(&mut self) {
        self.order.gone(self.exchange);
    }
}

/// What a record says of when each part of an answer was given.
fn parts(http: &Json) -> Option<Vec<(u64, u64)>> {
    let told = http.pointer("/answer/after")?.as_array()?;
    let part = |told: &Json| Some((told.get(0)?.as_u64()?, told.get(1)?.as_u64()?));
    Some(told.iter().take(PARTS_MAX).filter_map(part).collect())
}

/// An action as a record tells of it.
fn told(action: &Action) -> Option<Json> {
    serde_json::to_value(action).ok()
}

fn key(told: &Json) -> Key {
    Digest::of(told.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use flyball_ledger::Draft;
    use serde_json::json;

    fn act(name: &str) -> Json {
        json!({ "verb": "fs.delete", "surface": "fs", "resource": { "type": "File", "path": name } })
    }

    /// A record: attempts by name; `!`: an answer to the one before, with what it says of what came before its parts.
    fn order(acts: &[(&str, Json)], level: u8, is_paced: bool) -> (Arc<Order>, Vec<u64>) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let stream = ledger.stream("s").unwrap();
        let append = |kind, actor: &str, at_ns, body: Json| {
            stream.append(Draft { at_ns, kind, actor: actor.to_owned(), cause: Vec::new(), body }).unwrap()
        };
        append(Kind::Open, "a", 1, json!({}));
        let (mut answers, mut last, mut at_ns) = (Vec::new(), 0, 1);
        for (name, after) in acts {
            at_ns += 1_000_000;
            if *name == "!" {
                append(Kind::Outcome, "a", at_ns, json!({ "of": last, "ok": true }));
                let answer = if after.is_null() { json!({}) } else { json!({ "after": after }) };
                let http = json!({ "of": last, "request": {}, "answer": answer });
                answers.push(append(Kind::Observe, "gateway", at_ns, json!({ "http": http })));
            } else {
                last = append(Kind::Attempt, "a", at_ns, act(name));
            }
        }
        ledger.flush().unwrap();
        (Arc::new(Order::of(&ledger, "s", level, is_paced).unwrap()), answers)
    }

    /// Whether a part is due within so long; where not, it goes on waiting.
    fn is_due(turn: &dyn Turn, part: u64, within: Duration) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            match turn.due(part) {
                None => true,
                Some(due) => tokio::time::timeout(within, due).await.is_ok(),
            }
        })
    }

    const SOON: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(60);
    const NULL: Json = Json::Null;

    #[test]
    fn an_answer_is_given_once_what_came_before_it_came() {
        for after in [NULL, json!([[0, 4]])] {
            let (order, answers) = order(&[("ask", NULL), ("x", NULL), ("y", NULL), ("!", after)], 4, false);
            let turn = order.turn(answers[0]);
            order.came_as(&act("ask"));
            assert!(!is_due(&*turn, 0, SOON));
            order.came_as(&act("y"));
            order.came_as(&act("another"));
            assert!(!is_due(&*turn, 0, SOON));
            order.came_as(&act("x"));
            assert!(is_due(&*turn, 0, LONG) && is_due(&*turn, u64::MAX, SOON));
            assert_eq!(order.in_vain(), Vec::<u64>::new());
        }
    }

    /// A session that ended while something else went on in it.
    #[test]
    fn the_last_answer_waits_for_what_comes_by_itself() {
        let acts = [("ask", NULL), ("a", NULL), ("!", json!([[0, 3]])), ("b", NULL), ("c", NULL)];
        let (order, answers) = order(&acts, 4, false);
        let turn = order.turn(answers[0]);
        order.came_as(&act("ask"));
        let mut due = turn.due(0).unwrap();
        assert!(order.holds_as(Ticket(1), &act("b")), "it came behind the answer");
        order.came_as(&act("a"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(SOON, &mut due).await.unwrap_err() });
        released(&order, Ticket(1));
        order.came_as(&act("b"));
        assert!(!order.holds_as(Ticket(2), &act("c")));
        runtime.block_on(due);
        assert!(order.holds_as(Ticket(3), &act("d")), "the record has none of it");
    }

    #[test]
    fn each_part_waits_for_its_own() {
        let after = json!([[0, 2], [2, 3], [3, 4]]);
        let (order, answers) = order(&[("ask", NULL), ("x", NULL), ("y", NULL), ("!", after)], 4, false);
        let turn = order.turn(answers[0]);
        order.came_as(&act("ask"));
        assert!(is_due(&*turn, 0, SOON) && is_due(&*turn, 1, SOON) && !is_due(&*turn, 2, SOON));
        order.came_as(&act("x"));
        assert!(is_due(&*turn, 2, LONG) && !is_due(&*turn, u64::MAX, SOON));
        order.came_as(&act("y"));
        assert!(is_due(&*turn, u64::MAX, LONG));
    }

    /// Each at the other, at itself, at what is not there, out of order, by the million, or not in numbers at all.
    #[test]
    fn whatever_a_record_says_an_answer_is_given() {
        let many: Vec<Json> = (0..100_000_u64).map(|n| json!([n, u64::MAX - n])).collect();
        for after in [
            json!([[0, 9]]),
            json!([[0, u64::MAX], [u64::MAX, 1], [3, 0]]),
            json!([[u64::MAX, u64::MAX]]),
            json!(many),
            json!([["0", "1"], [1], 7, {}]),
            json!("x"),
        ] {
            let acts = [("a", NULL), ("!", after.clone()), ("b", NULL), ("!", after), ("c", NULL)];
            let (order, answers) = order(&acts, 4, false);
            order.came_as(&act("a"));
            order.came_as(&act("b"));
            for answer in &answers {
                let turn = order.turn(*answer);
                assert!([0, 1, 7, u64::MAX].into_iter().all(|part| is_due(&*turn, part, LONG)));
            }
        }
    }

    fn released(order: &Order, wanted: Ticket) {
        let until = Instant::now() + LONG;
        while !order.released().contains(&wanted) {
            assert!(Instant::now() < until, "it is held for good");
        }
    }

    #[test]
    fn a_call_waits_for_the_answers_before_it() {
        let (order, answers) = order(&[("ask", NULL), ("!", NULL), ("x", NULL)], 4, false);
        assert!(!order.holds_as(Ticket(1), &act("ask")));
        order.came_as(&act("ask"));
        assert!(order.holds_as(Ticket(2), &act("x")));
        assert_eq!(order.released(), []);
        let turn = order.turn(answers[0]);
        assert!(is_due(&*turn, 0, LONG));
        released(&order, Ticket(2));
        assert!(!order.holds_as(Ticket(2), &act("x")), "it goes on");
        assert_eq!(order.in_vain(), Vec::<u64>::new());
    }

    #[test]
    fn an_answer_that_nobody_takes_holds_nobody() {
        let (order, answers) = order(&[("ask", NULL), ("!", NULL), ("x", NULL)], 4, false);
        assert!(order.holds_as(Ticket(2), &act("x")));
        drop(order.turn(answers[0]));
        released(&order, Ticket(2));
    }

    #[test]
    fn what_is_not_on_record_waits_for_the_end_and_not_for_good() {
        let (order, answers) = order(&[("ask", NULL), ("x", NULL), ("!", NULL), ("y", NULL)], 4, false);
        order.came_as(&act("ask"));
        assert!(order.holds_as(Ticket(1), &act("new")));
        // The record has one of it.
        assert!(order.holds_as(Ticket(2), &act("y")) && order.holds_as(Ticket(3), &act("y")));
        order.withdrawn(Ticket(3));
        released(&order, Ticket(1));
        // It is another run from there on: nobody waits any more.
        assert!(!order.holds_as(Ticket(4), &act("newer")));
        assert!(is_due(&*order.turn(answers[0]), 0, SOON));
    }

    #[test]
    fn how_often_a_file_is_written_on_in_is_nobody_s_wait_below_level_5() {
        let mut again = act("log");
        again["verb"] = "fs.write".into();
        again["attrs"] = json!({ "create": false, "truncate": false });
        let (four, _) = order(&[("ask", NULL)], 4, false);
        let (five, _) = order(&[("ask", NULL)], 5, false);
        assert!(!four.holds_as(Ticket(1), &again) && five.holds_as(Ticket(1), &again));
    }

    #[test]
    fn no_more_calls_are_held_than_there_is_room_for() {
        let (order, _) = order(&[("ask", NULL)], 4, false);
        let held = (0..1000).filter(|n| order.holds_as(Ticket(*n), &act(&n.to_string()))).count();
        assert_eq!(held, CALLS_MAX);
    }
}
