//! Screens as text: what a person sees of a state, and that no state and no size makes it fail.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use super::draw;
use crate::watch::model::{Act, Board, Command, Event, State, Want, update};
use flyball_kernel::{BudgetUse, EnvelopeUse, ObligationUse, OwnerLoad, Reason, Registers, Verdict};
use flyball_ledger::{Digest, Entry, Kind, References};
use flyball_runtime::control::Request;
use flyball_runtime::gate::Counts;
use flyball_runtime::read::{Ask, Asker, SessionLine, State as Stands, Undone};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value as Json, json};

const NOW_NS: u64 = 1_795_230_000_000_000_000;
/// A name as an agent that wants to be mistaken would choose it.
const HOSTILE: &str = "a\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}gpj\u{200b}.e\u{301}xe 日本\n> A allowed";

fn line(id: &str, name: &str, state: Stands, questions: usize) -> SessionLine {
    SessionLine {
        id: id.into(),
        name: name.into(),
        agent: "claude".into(),
        state,
        quarantined: false,
        counts: Counts { actions: 1200, allowed: 1190, denied: 9, held: 1, modified: 0 },
        questions,
        deadline: (questions > 0).then(|| "2026-11-21T03:04:12.000000000Z".into()),
        since: "2026-11-21T01:58:00.000000000Z".into(),
        workspace: "/w".into(),
    }
}

fn ask(id: &str, said: &str) -> Ask {
    Ask {
        asked: 1,
        id: id.into(),
        session: "0live1sess1".into(),
        name: "nightly".into(),
        of: 9,
        action: format!("sha256:{}", "ab".repeat(32)),
        set: "sha256:cd".into(),
        tier: "sre".into(),
        who: vec!["user:ann".into(), "user:bob".into()],
        quorum: 1,
        answered: vec![],
        deadline: "2026-11-21T03:04:12.000000000Z".into(),
        left_s: 252,
        then: Some("boss".into()),
        owners: vec!["sre".into()],
        load: vec![load()],
        asker: Some(Asker { seq: 5, said: "process.exec sh release.sh".into() }),
        governance: serde_json::from_value(
            json!({"consequence": "high", "reversibility": "irreversible", "durable": true, "snapshot": true}),
        )
        .unwrap(),
        said: said.into(),
        attempt: serde_json::from_value(json!({"verb": "git.push", "resource": {"type": "Ref", "remote": "origin", "name": "main"}, "attrs": {"force": true}, "surface": "exec", "agent": "claude"})).unwrap(),
        reasons: vec![Reason {
            rule: "main-is-reviewed".into(),
            owner: "sre".into(),
            reason: "Pushes to main are reviewed by a person.".into(),
            witnesses: vec![],
            needs: None,
            source: None,
        }],
        also: vec![],
        also_asked: vec![],
    }
}

fn load() -> OwnerLoad {
    OwnerLoad { owner: "sre".into(), open: 25, small_max: 24, max: 32 }
}

fn board() -> Board {
    Board {
        sessions: vec![
            line("0over1sess1", "yesterday", Stands::Ended, 0),
            line("0live1sess1", "nightly", Stands::Waiting, 1),
            line("0live2sess2", HOSTILE, Stands::Running, 0),
            line("0dead1sess1", "gone", Stands::Dead, 0),
        ],
        asks: vec![ask("0live1sess1-9", "git.push origin main")],
        last: 40,
        registers: Some(Registers {
            gate: "open".into(),
            budgets: vec![
                budget("deletes", 3, 100, vec![]),
                budget("tokens", 410_000, 1_000_000, vec![400_000, 900_000]),
                budget("calls", 20, 20, vec![10]),
            ],
            envelopes: vec![EnvelopeUse {
                envelope: "replicas".into(),
                of: "deploy.scale.replicas".into(),
                resource: "api".into(),
                value: Some(10),
                min: Some(2),
                max: Some(20),
                step: Some(4),
                rate: None,
                per_ns: Some(60_000_000_000),
                changes: 1,
            }],
            autonomy: "bounded".into(),
            asked: vec![load()],
            labels: [("secret".to_owned(), 17)].into(),
            obligations: vec![
                ObligationUse {
                    obligation: "passed-on".into(),
                    owner: "sre".into(),
                    bound: "i = \"7\"".into(),
                    since: 12,
                    deadline_ns: Some(NOW_NS),
                },
                ObligationUse {
                    obligation: "cleaned".into(),
                    owner: "sre".into(),
                    bound: String::new(),
                    since: 9,
                    deadline_ns: None,
                },
            ],
        }),
    }
}

fn budget(name: &str, used: i64, limit: i64, warn_at: Vec<i64>) -> BudgetUse {
    BudgetUse { budget: name.into(), agent: String::new(), used, reserved: used / 10, limit, warn_at }
}

fn entry(seq: u64, kind: Kind, body: Json) -> Entry {
    Entry {
        stream: "0live1sess1".into(),
        seq,
        at_ns: NOW_NS - 60_000_000_000 + seq * 1_000_000_000,
        kind,
        actor: "claude".into(),
        cause: vec![],
        body,
        refs: References::default(),
        index: seq,
        leaf: Digest::of(b""),
        raw: Vec::new(),
    }
}

fn entries() -> Vec<Entry> {
    let write = |path: &str| json!({"verb": "fs.write", "resource": {"type": "File", "path": path}, "attrs": {}, "surface": "fs", "agent": "claude"});
    let ruled = |of: u64, verdict: &str, rule: &str| json!({"of": of, "verdict": verdict, "reasons": [{"rule": rule}]});
    let push = json!({"verb": "git.push", "resource": {"type": "Ref", "remote": "origin", "name": "main"}, "attrs": {}, "surface": "exec", "agent": "claude"});
    vec![
        entry(1, Kind::Open, json!({"name": "nightly", "workspace": "/w", "argv": ["claude"]})),
        entry(2, Kind::Attempt, write("/w/src/a.rs")),
        entry(3, Kind::Ruling, ruled(2, "allow", "work")),
        entry(4, Kind::Dispatch, json!({"of": 2})),
        entry(5, Kind::Outcome, json!({"of": 2, "ok": true})),
        entry(6, Kind::Attempt, write(&format!("/w/{HOSTILE}"))),
        entry(7, Kind::Ruling, ruled(6, "deny", "ci-is-the-owners")),
        entry(8, Kind::Intervention, json!({"act": "pause", "by": "user:ann", "reason": "look"})),
        entry(9, Kind::Attempt, push),
        entry(10, Kind::Ruling, ruled(9, "hold", "main-is-reviewed")),
        entry(11, Kind::Question, json!({"of": 9})),
    ]
}

fn key(code: KeyCode) -> Event {
    Event::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn keys(state: &mut State, text: &str) -> Vec<Command> {
    text.chars().flat_map(|c| update(state, key(if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) }))).collect()
}

fn listed() -> State {
    let mut state = State::new((80, 24), NOW_NS, None);
    update(&mut state, Event::Board(board()));
    state
}

/// The first session of the list, opened and read.
fn opened() -> State {
    let mut state = listed();
    let commands = keys(&mut state, "\n");
    assert_eq!(commands, [Command::Read(Want::Open("0live1sess1".into()))]);
    let entries = entries();
    let opening = Box::new(entries[0].clone());
    update(&mut state, Event::Opened { session: "0live1sess1".into(), opening, last: 11 });
    let page = Event::Earlier { session: "0live1sess1".into(), before: 12, from: 1, entries };
    update(&mut state, page);
    state
}

fn screen(state: &mut State, columns: u16, rows: u16) -> String {
    state.size = (columns, rows);
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(state, frame.buffer_mut())).unwrap();
    let text = terminal.backend().to_string();
    let lines: Vec<&str> = text.lines().map(|l| l.trim_start_matches('"').trim_end_matches('"').trim_end()).collect();
    lines.join("\n")
}

macro_rules! assert_screen {
    ($name:literal, $text:expr) => {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false },
            { insta::assert_snapshot!($name, $text) })
    };
}

#[test]
fn the_list() {
    let mut state = listed();
    assert_screen!("list_80x24", screen(&mut state, 80, 24));
    assert_screen!("list_120x40", screen(&mut state, 120, 40));
    assert_screen!("list_40x10", screen(&mut state, 40, 10));
}

#[test]
fn a_session() {
    let mut state = opened();
    assert_screen!("session_80x24", screen(&mut state, 80, 24));
    assert_screen!("session_120x40", screen(&mut state, 120, 40));
    keys(&mut state, "b");
    assert_screen!("budgets_80x24", screen(&mut state, 80, 24));
    keys(&mut state, "bf");
    update(&mut state, Event::Earlier { session: "0live1sess1".into(), before: 12, from: 1, entries: entries() });
    let text = screen(&mut state, 80, 24);
    assert!(text.contains("timeline: refused") && text.contains("ci-is-the-owners"), "{text}");
    assert!(!text.contains("a.rs"), "{text}");
}

#[test]
fn help_fits_the_least_screen() {
    let mut state = listed();
    keys(&mut state, "?");
    assert_screen!("help_80x24", screen(&mut state, 80, 24));
}

#[test]
fn an_answer_takes_a_choice_a_reason_and_enter() {
    let mut state = opened();
    // Keys that mean something elsewhere do nothing to a question.
    assert!(keys(&mut state, "axyk\n").is_empty());
    assert_screen!("answer_80x24", screen(&mut state, 80, 24));
    assert!(keys(&mut state, "a\n  \n").is_empty(), "no reason, no answer");
    assert!(screen(&mut state, 80, 24).contains("NOT DONE: an answer needs a reason"));
    update(&mut state, Event::Paste("seen\nby me".into()));
    let commands = keys(&mut state, "\n");
    let request = Request::Answer {
        id: "0live1sess1-9".into(),
        verdict: Verdict::Allow,
        with: None,
        reason: "seen by me".into(),
        signed: None,
        only: vec![],
        set: Some("sha256:cd".into()),
    };
    let act = Act::Control(request);
    assert_eq!(commands, [Command::Act { session: "0live1sess1".into(), act: act.clone() }]);
    assert!(keys(&mut state, "\n\n").is_empty(), "it is sent once");
    let refused = Event::Acted { act: act.clone(), result: Err("answer-not-asked: `user:eve` is not asked".into()) };
    update(&mut state, refused);
    assert_screen!("answer_refused_80x24", screen(&mut state, 80, 24));
    assert_eq!(keys(&mut state, "\n").len(), 1, "it can be sent again");
    update(&mut state, Event::Acted { act, result: Ok(String::new()) });
    assert!(state.dialog.is_none());
    assert!(screen(&mut state, 80, 24).contains("answered"));
}

#[test]
fn an_answer_stays_with_its_question() {
    let mut state = opened();
    keys(&mut state, "ad");
    let other = Board { asks: vec![ask("0live1sess1-20", "fs.write x")], ..board() };
    update(&mut state, Event::Board(other));
    assert!(screen(&mut state, 80, 24).contains("NO LONGER OPEN"));
    assert!(keys(&mut state, "why\n").is_empty(), "not an answer to the question that stands in its place");
}

#[test]
fn kill_and_rollback_ask_first() {
    let mut state = opened();
    assert!(keys(&mut state, "k\nn\n").is_empty());
    update(&mut state, key(KeyCode::Esc));
    let killed = keys(&mut state, "knightly\n");
    assert!(matches!(&killed[..], [Command::Act { act: Act::Control(Request::Kill { .. }), .. }]), "{killed:?}");
    let mut state = opened();
    let asked = keys(&mut state, "-R");
    assert_eq!(asked, [Command::Read(Want::Undone { session: "0live1sess1".into(), seq: 8 })]);
    assert!(keys(&mut state, "y\n").is_empty(), "what it would change is not known yet");
    let paths = vec![("src/a.rs".into(), "modified"), (HOSTILE.into(), "deleted"), ("old".into(), "added")];
    let undone = Undone { seq: 8, as_of: Some(7), paths };
    update(&mut state, Event::Undone { session: "0live1sess1".into(), seq: 8, result: Ok(undone) });
    assert_screen!("rollback_80x24", screen(&mut state, 80, 24));
    let done = keys(&mut state, "\n");
    assert!(matches!(&done[..], [Command::Act { act: Act::Rollback { seq: 8, .. }, .. }]), "{done:?}");
}

#[test]
fn keys_on_what_is_over_do_nothing() {
    let mut state = listed();
    update(&mut state, key(KeyCode::End));
    for c in ['p', 'r', 'k', 'a'] {
        assert!(keys(&mut state, &c.to_string()).is_empty());
        assert!(state.dialog.is_none());
        assert!(state.message.as_ref().is_some_and(|m| m.contains("nothing to act on")), "{:?}", state.message);
    }
}

/// No state and no size fails, and nothing of an agent's words reaches the terminal as it is.
#[test]
fn every_size_and_screen_is_drawn_and_clean() {
    let mut states = vec![State::new((80, 24), NOW_NS, None), listed(), opened()];
    for text in ["?", "a", "ad", "k", "R", "b", "\n", "/x", "f", "G"] {
        let mut state = opened();
        keys(&mut state, text);
        states.push(state);
    }
    for state in &mut states {
        for (columns, rows) in [(1, 1), (2, 3), (40, 10), (79, 24), (80, 23), (80, 24), (81, 25), (132, 50), (400, 200)]
        {
            let text = screen(state, columns, rows);
            let is_steering = |c: char| c != '\n' && (c.is_control() || ('\u{200b}'..='\u{206f}').contains(&c));
            assert!(!text.chars().any(is_steering), "{columns}x{rows}: {text:?}");
        }
    }
}

/// A session is read backwards a page at a time until the screen is full, and no further.
#[test]
fn only_what_is_shown_is_read() {
    let mut state = listed();
    keys(&mut state, "\n");
    let opening = Box::new(entries()[0].clone());
    let session = || "0live1sess1".to_owned();
    let asked = update(&mut state, Event::Opened { session: session(), opening, last: 400_000 });
    assert_eq!(asked, [Command::Read(Want::Earlier { session: session(), before: 400_001 })]);
    assert!(update(&mut state, Event::Tick(NOW_NS)).is_empty(), "asked for once");
    let page: Vec<Entry> = (399_001..=400_000).map(|seq| entry(seq, Kind::Alert, json!({"alert": "x"}))).collect();
    let page = Event::Earlier { session: session(), before: 400_001, from: 399_001, entries: page };
    assert!(update(&mut state, page).is_empty(), "the screen is full");
    let up = update(&mut state, key(KeyCode::Home));
    assert_eq!(up, [Command::Read(Want::Newer { session: session(), after: 0 })]);
    let end = update(&mut state, key(KeyCode::End));
    assert_eq!(end, [Command::Read(Want::Earlier { session: session(), before: 400_001 })]);
}
