//! Twelve forbidden effects, each attempted in every way that the surfaces give: all end the same, with the same rule named.
//!
//! The outcome is kept as a page, `docs/sameness.md`. `FLYBALL_SAMENESS=write cargo test -p flyball --test sameness` writes it anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    missing_docs,
    reason = "tests"
)]

mod effects;
mod page;
mod scene;
#[path = "../governed/support.rs"]
mod support;

use effects::{Effect, Ran, Told, Way};
use flyball_testkit::user::User;
use page::{Outcome, Row};
use scene::{End, Scene};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Programs that the attempts are made with.
const NEEDED: [&str; 9] = ["openssl", "python3", "curl", "git", "node", "perl", "awk", "tar", "bash"];

#[test]
fn every_way_ends_the_same() {
    if let Some(why) = support::why_not().or_else(|| NEEDED.into_iter().find_map(support::program)) {
        eprintln!("skipped: every_way_ends_the_same: {why}");
        return;
    }
    let scene = Scene::new(User::ordinary());
    let effects = effects::all();
    let before = scene.outside();
    let next = AtomicUsize::new(0);
    let (in_sandbox, by_hooks, by_tools) = std::thread::scope(|scope| {
        let sandbox = || {
            let turns = std::iter::repeat_with(|| next.fetch_add(1, Ordering::SeqCst));
            let turns = turns.take_while(|n| *n < effects.len());
            turns.map(|n| (n, sandbox(&scene, &effects[n]))).collect::<Vec<_>>()
        };
        let scene = &scene;
        let sessions = [scope.spawn(sandbox), scope.spawn(sandbox)];
        let effects = &effects;
        let hooks = ["claude", "codex", "gemini", "cursor"].map(|h| (h, scope.spawn(move || hooks(scene, h, effects))));
        let tools: Vec<Ends> = effects.iter().map(|effect| tools(scene, effect, effects)).collect();
        let ran: BTreeMap<usize, Vec<End>> = sessions.into_iter().flat_map(|s| s.join().unwrap()).collect();
        let told: BTreeMap<&str, Vec<Ends>> =
            hooks.into_iter().map(|(h, thread)| (h, thread.join().unwrap())).collect();
        (ran, told, tools)
    });
    let mut wrong = Vec::new();
    let mut outcomes = Vec::new();
    for ((n, effect), tools) in effects.iter().enumerate().zip(by_tools) {
        let mut rows = Vec::new();
        let told = by_hooks["claude"][n].iter().map(|(_, end)| end.clone());
        let calls: Ends = ["claude", "codex", "gemini", "cursor"]
            .into_iter()
            .flat_map(|h| by_hooks[h][n].iter().skip(if h == "claude" { effect.ways.len() } else { 0 }).cloned())
            .collect();
        for ((way, ran), told) in effect.ways.iter().zip(in_sandbox[&n].clone()).zip(told) {
            let expected = (
                if way.ran == Ran::Stopped { End::Stopped } else { End::Passed },
                match way.hook {
                    Told::Read => End::Stopped,
                    Told::Opaque => End::Unread,
                    Told::Not(_) => End::Passed,
                },
            );
            if (ran.clone(), told.clone()) != expected {
                wrong.push(format!("{}: `{}`: {ran:?}, {told:?} and not {expected:?}", effect.name, way.text));
            }
            rows.push(Row { way, ran, told });
        }
        for (what, end) in calls.iter().chain(&tools) {
            if *end != End::Stopped {
                wrong.push(format!("{}: {what}: {end:?}", effect.name));
            }
        }
        outcomes.push(Outcome { effect, rows, calls, tools });
    }
    assert!(wrong.is_empty(), "{} ways end otherwise:\n{}", wrong.len(), wrong.join("\n"));
    let after = scene.outside();
    let forced = effects.iter().flat_map(|e| &e.ways).filter(|w| matches!(w.ran, Ran::Not(_))).count();
    let new: Vec<&str> = after.lines().filter(|line| !before.contains(line)).collect();
    // What the table says that nothing stops is all that reached the server: a push is a request, and a branch.
    assert!(new.len() <= 2 * forced, "{new:?}");
    assert!(new.iter().all(|line| !line.contains("main")), "{new:?}");
    page::compare(&page::write(&outcomes));
}

/// What became of each way in a session of `run`.
fn sandbox(scene: &Scene, effect: &Effect) -> Vec<End> {
    let ways: Vec<&str> = effect.ways.iter().map(|way| way.text.as_str()).collect();
    if ways.is_empty() {
        return Vec::new();
    }
    scene.run(effect.name, effect.rule, &effect.setup, &effect.happened, &ways)
}

/// What was attempted, and how it ended.
type Ends = Vec<(String, End)>;

/// What becomes of tool calls told by a harness's hook: by effect, for Claude Code first each way as a call of its shell.
fn hooks(scene: &Scene, harness: &str, effects: &[Effect]) -> Vec<Ends> {
    let mut told = Vec::new();
    for (n, effect) in effects.iter().enumerate() {
        let mut calls: Vec<(String, &str, Value, bool)> = Vec::new();
        if harness == "claude" {
            let shell = |way: &Way| (way.text.clone(), "Bash", json!({"command": scene.spelt(&way.text)}), false);
            calls.extend(effect.ways.iter().map(shell));
        }
        let own = effect.calls.iter().filter(|(of, ..)| *of == harness);
        let own = own.map(|(of, tool, input)| {
            // Reading the key is no effect yet.
            (page::call(of, tool, input), *tool, scene.placed(input), input.to_string().contains("secrets/key"))
        });
        if effect.name == "key" {
            calls.splice(0..0, own);
            // The reading comes first, and the page has the commands first.
            let ways = if harness == "claude" { effect.ways.len() } else { 0 };
            let done = tell(scene, harness, n, &calls);
            let split = done.len() - ways;
            told.push([&done[split..], &done[..split]].concat());
        } else {
            calls.extend(own);
            told.push(tell(scene, harness, n, &calls));
        }
    }
    scene.end_hooks(harness);
    let refused = scene.refused(harness);
    told.iter_mut().for_each(|of| of.retain(|(_, _, _, is_setup)| !is_setup));
    let end = |effect: &Effect, id: &str, code: Option<i32>, text: &str| {
        let by = |rule: &str| refused.get(id).is_some_and(|rules| rules.iter().any(|r| r == rule));
        match code {
            Some(0) => End::Passed,
            Some(2) if by(effect.rule) => End::Stopped,
            Some(2) if by("unread-is-refused") => End::Unread,
            code => End::Other(format!("{code:?} {text}")),
        }
    };
    let ends = effects.iter().zip(told).map(|(effect, told)| {
        told.into_iter().map(|(what, id, (code, text), _)| (what, end(effect, &id, code, &text))).collect()
    });
    ends.collect()
}

type Said = (String, String, (Option<i32>, String), bool);

fn tell(scene: &Scene, harness: &str, effect: usize, calls: &[(String, &str, Value, bool)]) -> Vec<Said> {
    let said = calls.iter().enumerate().map(|(n, (what, tool, input, is_setup))| {
        let id = format!("{effect}-{n}");
        let reply = scene.hook(harness, &id, tool, input);
        (what.clone(), id, reply, *is_setup)
    });
    said.collect()
}

/// What becomes of calls of servers' tools behind a gateway.
fn tools(scene: &Scene, effect: &Effect, effects: &[Effect]) -> Ends {
    let mut ends = Vec::new();
    let mut servers: Vec<&str> = effect.tools.iter().map(|(server, ..)| *server).collect();
    servers.dedup();
    for server in servers {
        let of: Vec<_> = effect.tools.iter().filter(|(of, ..)| *of == server).collect();
        if server == "tickets" {
            // Known, and without that tool, until now.
            scene.gateway(server, "search", &[]);
        }
        // A server has the same tools each time.
        let all = effects.iter().flat_map(|e| &e.tools).filter(|(of, ..)| *of == server);
        let offered: BTreeSet<&str> = all.map(|(_, tool, _)| *tool).collect();
        let offered = offered.into_iter().collect::<Vec<_>>().join(",");
        let asked: Vec<(&str, &str, Value)> =
            of.iter().map(|(_, tool, input)| (effect.rule, *tool, scene.placed(input))).collect();
        let said = of.iter().map(|(server, tool, input)| page::call(server, tool, input));
        ends.extend(said.zip(scene.gateway(server, &offered, &asked)));
    }
    ends
}
