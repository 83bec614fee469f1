//! The kinds of rounds: what is done, what is killed meanwhile, and what must be so afterwards.

use crate::calls;
use crate::check;
use crate::dice::Dice;
use crate::full;
use crate::governing;
use crate::processes;
use crate::tree::{self, Tree};
use crate::work::{self, Step};
use crate::world::{Running, World};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread::sleep;

/// What a round saw, counted for the report.
pub type Seen = Mutex<Vec<String>>;
pub type Round = fn(&World, &mut Dice, &Seen);

pub const KINDS: &[(&str, Round)] = &[
    ("run", run),
    ("apply", apply),
    ("rollback", rollback),
    ("live rollback", live_rollback),
    ("launch", launch),
    ("answer", answer),
    ("discard", discard),
    ("pause", paused),
    ("apply, call by call", calls::apply),
    ("rollback, call by call", calls::rollback),
    ("constrain", governing::constrain),
    ("open questions", governing::open_questions),
    ("shared budgets", governing::shared_budgets),
    ("damaged journals", damaged),
    ("full disk, at work", full::run),
    ("full disk, people's acts", full::acts),
];

pub fn note(seen: &Seen, what: &str) {
    seen.lock().unwrap().push(what.to_owned());
}

/// A session at work; supervisor, agent or both are killed.
fn run(world: &World, dice: &mut Dice, seen: &Seen) {
    work_and_kill(world, dice, seen, 1500);
}

/// The same, within the first moments, in a ledger that is new: the kill meets the ledger's creation or the launch.
fn launch(world: &World, dice: &mut Dice, seen: &Seen) {
    let fresh;
    let world = if dice.one_in(2) {
        fresh = World::new(world.user);
        &fresh
    } else {
        world
    };
    work_and_kill(world, dice, seen, 250);
}

fn work_and_kill(world: &World, dice: &mut Dice, seen: &Seen, moment_ms: u64) {
    let steps = work::steps(dice, 400);
    let token = world.token();
    let before_ids = world.ids();
    let mut session = world.govern(&steps, &token, "");
    let real = world.real();
    // Another's session writes to the same ledger meanwhile.
    let beside = dice.one_in(3).then(|| world.start(&["run", "--json", "--apply", "never", "--", "sh", "-c", BESIDE]));
    let mut output = String::new();
    let victim = dice.pick(&["supervisor", "supervisor", "agent", "both", "launcher"]);
    if moment_ms > 1000 {
        session.wait_for("ack 0\n", &mut output);
    }
    sleep(dice.moment(moment_ms));
    let below = processes::below(session.child.id());
    // The first child is the launcher, the next pid 1 of the sandbox, the third the agent: where they are there already.
    let one = match victim {
        "agent" => below.iter().nth(2),
        "launcher" => below.iter().next(),
        _ => None,
    };
    let died = one.is_none();
    match one {
        Some((pid, _)) => processes::kill(*pid),
        None => session.kill(),
    }
    if victim == "both" {
        below.iter().rev().for_each(|(pid, _)| processes::kill(*pid));
    }
    let ended = session.end();
    output.push_str(&ended.stdout);
    note(seen, if died && victim != "both" { "supervisor" } else { victim });
    processes::wait_gone("after the kill", &below);
    world.nothing_runs("after the kill", &token);
    recover(world, dice, seen);
    if let Some(beside) = beside {
        let ended = beside.end();
        assert!(ended.status.success() && ended.stdout.contains("beside"), "{}\n{}", ended.stdout, ended.stderr);
    }
    assert_eq!(world.real(), real, "nobody applied anything");
    check::ledger(world);
    let Some(id) = world.new_session(&before_ids) else {
        note(seen, "before its record");
        return;
    };
    let acks = work::acknowledged(&output);
    let lost = check::acknowledged(world, &id, &steps, acks, died);
    if died && world.log(&id).iter().any(|e| e["kind"] == "close" && e["body"]["recovered"] == true) {
        assert!(world.ok(&["show", &id]).contains("its supervisor died"));
    }
    if lost > 0 {
        note(seen, "writes in flight lost of the record");
    }
    if world.session(&id).join("workspace/upper").exists() {
        has_acknowledged(world, &id, &steps, acks);
    }
    settle(world, dice, seen, &id, &real);
}

const BESIDE: &str = "for i in 1 2 3 4 5 6 7 8 9; do echo $i > side$i; env true; done; echo beside";

/// The session's view is what the acknowledged steps make, but for what the step after them was about.
fn has_acknowledged(world: &World, id: &str, steps: &[Step], acks: usize) {
    let wanted = world.plain(&steps[..acks]);
    let found = world.merged(id);
    let next: BTreeSet<PathBuf> =
        steps.get(acks).into_iter().flat_map(|s| s.touches.iter().map(PathBuf::from)).collect();
    let differs =
        |path: &PathBuf| !path.as_os_str().is_empty() && !next.contains(path) && found.get(path) != wanted.get(path);
    let off: Vec<&PathBuf> = found.keys().chain(wanted.keys()).filter(|p| differs(p)).collect();
    assert!(off.is_empty(), "{id}: after {acks} steps: {off:?}\n{}", tree::difference(&found, &wanted));
}

/// The next start, by itself or several at once, cut off itself or not.
pub fn recover(world: &World, dice: &mut Dice, seen: &Seen) {
    let start = || world.start(&["run", "--json", "--apply", "never", "--", "true"]);
    if dice.one_in(3) {
        note(seen, "recovery killed");
        let first = start();
        sleep(dice.moment(200));
        first.kill();
        first.end();
    }
    let at_once: Vec<Running> = (0..if dice.one_in(3) { 3 } else { 1 }).map(|_| start()).collect();
    if at_once.len() > 1 {
        note(seen, "recoveries at once");
    }
    for one in at_once {
        let ended = one.end();
        assert!(ended.status.success(), "{:?}\n{}\n{}", ended.status, ended.stdout, ended.stderr);
    }
    // One that another start held while this one looked is closed by the next.
    world.ok(&["run", "--json", "--apply", "never", "--", "true"]);
}

/// Whatever a person wants of a crashed session works.
pub fn settle(world: &World, dice: &mut Dice, seen: &Seen, id: &str, real: &Tree) {
    if !world.session(id).join("workspace").exists() {
        return;
    }
    if dice.one_in(3) {
        world.ok(&["discard", id]);
        assert_eq!(world.real(), *real);
        return;
    }
    if dice.one_in(2) {
        roll_back_somewhere(world, dice, id);
    }
    let mut wanted = world.merged(id);
    let applied = world.run(&["apply", id]);
    if !applied.status.success() {
        let told = String::from_utf8_lossy(&applied.stderr).into_owned();
        assert!(told.contains("FB0522"), "{told}");
        assert_eq!(world.real(), *real);
        note(seen, "unexplained, so rolled back first");
        let log = world.log(id);
        let last = log.iter().find(|e| e["actor"] == "recovery").map_or(1, |e| check::seq(e) - 1);
        world.ok(&["rollback", id, &last.max(1).to_string(), "--reason", "test"]);
        wanted = world.merged(id);
        world.ok(&["apply", id]);
    }
    let found = world.real();
    assert_eq!(found, wanted, "{}", tree::difference(&found, &wanted));
    reset(world, real);
}

fn roll_back_somewhere(world: &World, dice: &mut Dice, id: &str) {
    let log = world.log(id);
    let seq = check::seq(&log[dice.below(log.len() as u64) as usize]);
    world.ok(&["rollback", id, &seq.to_string(), "--reason", "test"]);
}

/// Puts the real tree back for the next round.
pub fn reset(world: &World, to: &Tree) {
    let now = world.real();
    for path in now.keys().rev().filter(|p| !to.contains_key(*p)) {
        let at = world.workspace().join(path);
        let _ = std::fs::remove_file(&at).or_else(|_| std::fs::remove_dir_all(&at));
    }
    for (path, node) in to {
        if now.get(path) != Some(node) {
            let at = world.workspace().join(path);
            let _ = std::fs::remove_file(&at).or_else(|_| std::fs::remove_dir_all(&at));
            restore(&at, node);
        }
    }
    world.user.own(&world.workspace()).unwrap();
    assert_eq!(world.real(), *to);
}

fn restore(at: &std::path::Path, node: &str) {
    use std::os::unix::fs::PermissionsExt;
    let (kind, rest) = node.split_once(' ').unwrap();
    match kind {
        "dir" => std::fs::create_dir_all(at).unwrap(),
        "->" => std::os::unix::fs::symlink(rest, at).unwrap(),
        _ => std::fs::write(at, rest.split_once(' ').unwrap().1).unwrap(),
    }
    let mode = rest.split(' ').next().unwrap();
    if kind != "->" {
        std::fs::set_permissions(at, std::fs::Permissions::from_mode(u32::from_str_radix(mode, 8).unwrap())).unwrap();
    }
}

/// A session that has come to its end, with its tree after each of three stages, and an entry as of each.
pub struct Finished {
    pub id: String,
    pub real: Tree,
    pub stages: Vec<(u64, Tree)>,
}

pub fn finished(world: &World, dice: &mut Dice, tail: &str) -> (Option<Running>, Finished) {
    let mut steps = Vec::new();
    let mut ends = Vec::new();
    for stage in 0..3 {
        steps.extend(work::steps(dice, 25));
        // Looked at before anything runs: what stands when this is attempted is on record before it.
        steps.push(Step { text: format!("env true stage-{stage}"), writes: None, touches: Vec::new() });
        ends.push(steps.len());
    }
    let token = world.token();
    let before = world.ids();
    let mut session = world.govern(&steps, &token, tail);
    let real = world.real();
    let running = if tail.is_empty() {
        let ended = session.end();
        assert!(ended.status.success(), "{}\n{}", ended.stdout, ended.stderr);
        None
    } else {
        let mut output = String::new();
        assert!(session.wait_for("ready\n", &mut output), "{output}");
        Some(session)
    };
    let id = world.new_session(&before).unwrap();
    // What nobody waits for is recorded in groups: a moment after the program's own next words, that is.
    let begun = std::time::Instant::now();
    let is_last = |e: &Value| e["kind"] == "attempt" && e["body"].to_string().contains("stage-2");
    while !world.log(&id).iter().any(is_last) && begun.elapsed().as_secs() < 60 {
        sleep(std::time::Duration::from_millis(10));
    }
    let log = world.log(&id);
    let stages = ends.iter().enumerate().map(|(stage, end)| {
        let marker = format!("stage-{stage}");
        let is_marker = |e: &&Value| e["kind"] == "attempt" && e["body"].to_string().contains(&marker);
        let entry = log.iter().find(is_marker).unwrap_or_else(|| panic!("{marker} is not on record"));
        (check::seq(entry), world.plain(&steps[..*end]))
    });
    let stages = stages.collect();
    (running, Finished { id, real, stages })
}

/// Kills a command of a person's at some moment; whether it had said that all is done.
fn cut_off(world: &World, dice: &mut Dice, words: &[&str], moment_ms: u64) -> bool {
    let command = world.start(words);
    sleep(dice.moment(moment_ms));
    command.kill();
    command.end().status.success()
}

pub fn is_one_of(what: &str, found: &Tree, wanted: &[&Tree]) {
    if !wanted.contains(&found) {
        let told: Vec<String> = wanted.iter().map(|w| tree::difference(found, w)).collect();
        panic!("{what}: the tree is none of {}:\n{}", wanted.len(), told.join("\n-- or\n"));
    }
}

fn apply(world: &World, dice: &mut Dice, seen: &Seen) {
    let (_, session) = finished(world, dice, "");
    let after = &session.stages[2].1;
    let mut done = false;
    for _ in 0..=dice.below(3) {
        done |= cut_off(world, dice, &["apply", &session.id], 250);
        if dice.one_in(4) {
            note(seen, "recovery killed");
            cut_off(world, dice, &["run", "--json", "--apply", "never", "--", "true"], 200);
        }
    }
    note(seen, if done { "came to its end" } else { "cut off" });
    if world.session(&session.id).join("apply.journal").exists() {
        note(seen, "in the middle");
    }
    match dice.below(3) {
        0 => recover(world, dice, seen),
        1 => {
            // Who was cut off may have done it, and not said so yet.
            let is_done = |e: &Value| e["body"]["act"] == "apply" && e["body"]["phase"] == "done";
            let is_over = done
                || !world.session(&session.id).join("workspace").exists()
                || world.log(&session.id).iter().any(is_done);
            let two = [world.start(&["apply", &session.id]), world.start(&["apply", &session.id])];
            let told: Vec<_> = two.into_iter().map(Running::end).collect();
            let well = told.iter().filter(|e| e.status.success()).count();
            assert!(is_over || well >= 1, "{}\n{}", told[0].stderr, told[1].stderr);
        }
        _ => {}
    }
    if world.session(&session.id).join("workspace").exists() {
        let here = world.session(&session.id).join("apply.journal").exists();
        assert!(!done, "it said that it was applied");
        if !here {
            let found = world.real();
            assert_eq!(found, session.real, "{}", tree::difference(&found, &session.real));
        }
        world.ok(&["apply", &session.id]);
    }
    is_one_of("after apply", &world.real(), &[after]);
    recover(world, dice, seen);
    is_one_of("after recovery", &world.real(), &[after]);
    check::ledger(world);
    assert!(!world.session(&session.id).join("workspace.going").exists());
    reset(world, &session.real);
}

fn discard(world: &World, dice: &mut Dice, seen: &Seen) {
    let (_, session) = finished(world, dice, "");
    let done = cut_off(world, dice, &["discard", &session.id], 200);
    note(seen, if done { "came to its end" } else { "cut off" });
    if dice.one_in(2) {
        recover(world, dice, seen);
    }
    assert_eq!(world.real(), session.real);
    if world.session(&session.id).join("workspace").exists() {
        assert!(!done);
        // It was not begun: all of it can still be had.
        world.ok(&["apply", &session.id]);
        is_one_of("after apply", &world.real(), &[&session.stages[2].1]);
        reset(world, &session.real);
    }
    recover(world, dice, seen);
    assert!(!world.session(&session.id).join("workspace.going").exists());
    check::ledger(world);
}

fn rollback(world: &World, dice: &mut Dice, seen: &Seen) {
    let (_, session) = finished(world, dice, "");
    let mut at = 2;
    for _ in 0..=dice.below(3) {
        let to = dice.below(3) as usize;
        let seq = session.stages[to].0.to_string();
        let done = cut_off(world, dice, &["rollback", &session.id, &seq, "--reason", "test"], 300);
        let is_cut = world.session(&session.id).join("rollback.journal").exists();
        note(
            seen,
            if done {
                "came to its end"
            } else if is_cut {
                "in the middle"
            } else {
                "cut off"
            },
        );
        if dice.one_in(4) {
            note(seen, "recovery killed");
            cut_off(world, dice, &["run", "--json", "--apply", "never", "--", "true"], 200);
        }
        if dice.one_in(2) {
            recover(world, dice, seen);
        } else {
            world.ok(&["run", "--json", "--apply", "never", "--", "true"]);
        }
        let found = world.merged(&session.id);
        let (old, new) = (&session.stages[at].1, &session.stages[to].1);
        if done {
            is_one_of("after a rollback that was done", &found, &[new]);
        } else {
            is_one_of("after a rollback that was cut off", &found, &[old, new]);
        }
        if found == *new {
            at = to;
        }
    }
    assert_eq!(world.real(), session.real);
    check::ledger(world);
    let wanted = &session.stages[at].1;
    world.ok(&["apply", &session.id]);
    is_one_of("after apply", &world.real(), &[wanted]);
    assert!(!world.session(&session.id).join("workspace").exists());
    reset(world, &session.real);
}

/// The session runs on while it is taken back; supervisor, command or both are killed.
fn live_rollback(world: &World, dice: &mut Dice, seen: &Seen) {
    let (running, session) = finished(world, dice, "echo ready; while [ ! -e /tmp/go ]; do sleep 0.02; done");
    let running = running.unwrap();
    let below = processes::below(running.child.id());
    let to = dice.below(3) as usize;
    let seq = session.stages[to].0.to_string();
    let words = ["rollback", &session.id, &seq, "--reason", "test"];
    let command = world.start(&words);
    sleep(dice.moment(300));
    let victim = dice.pick(&["supervisor", "supervisor", "command"]);
    if victim == "command" {
        command.kill();
    } else {
        running.kill();
    }
    let done = command.end().status.success();
    note(seen, if done { "came to its end" } else { victim });
    if victim == "command" {
        // The supervisor finishes what it was asked, and lets the program go on.
        world.ok(&["kill", &session.id, "--reason", "test"]);
    }
    running.end();
    processes::wait_gone("after the kill", &below);
    if world.session(&session.id).join("rollback.journal").exists() {
        note(seen, "in the middle");
    }
    recover(world, dice, seen);
    let found = world.merged(&session.id);
    let (old, new) = (&session.stages[2].1, &session.stages[to].1);
    let wanted = if done { vec![new] } else { vec![old, new] };
    is_one_of("after a live rollback", &found, &wanted);
    assert_eq!(world.real(), session.real);
    check::ledger(world);
    let applied = world.run(&["apply", &session.id]);
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let real = world.real();
    assert_eq!(real, found, "{}", tree::difference(&real, &found));
    reset(world, &session.real);
}

/// People answer while the supervisor dies: what was said to be heard is on record, and nothing was done unheard.
fn answer(world: &World, dice: &mut Dice, seen: &Seen) {
    let token = world.token();
    let before = world.ids();
    let step = |n: u64| Step {
        text: format!("printf 'ci {n}' > .github/workflows/ci{n}.yml"),
        writes: None,
        touches: vec![format!(".github/workflows/ci{n}.yml")],
    };
    let steps: Vec<Step> = (0..3).map(step).collect();
    let session = world.govern_asking(&steps, &token, "sleep 1000");
    let real = world.real();
    let below = std::cell::OnceCell::new();
    let mut heard = Vec::new();
    let begun = std::time::Instant::now();
    let allowed = dice.below(3);
    while heard.len() as u64 <= allowed {
        assert!(begun.elapsed().as_secs() < 120, "no question came");
        let asked = world.run(&["asks", "--json"]);
        let asked = String::from_utf8_lossy(&asked.stdout).into_owned();
        let Some(id) = asked.lines().next().map(|l| serde_json::from_str::<Value>(l).unwrap()["id"].clone()) else {
            sleep(std::time::Duration::from_millis(5));
            continue;
        };
        let id = id.as_str().unwrap().to_owned();
        if heard.iter().any(|(known, _)| *known == id) {
            sleep(std::time::Duration::from_millis(5));
            continue;
        }
        below.get_or_init(|| processes::below(session.child.id()));
        let command = world.start(&["answer", &id, "allow", "--reason", "a test may"]);
        if heard.len() as u64 == allowed {
            sleep(dice.moment(120));
            session.kill();
        }
        heard.push((id, command.end().status.success()));
    }
    session.end();
    processes::wait_gone("after the kill", below.get().unwrap());
    recover(world, dice, seen);
    check::ledger(world);
    let id = world.new_session(&before).unwrap();
    let log = world.log(&id);
    for (question, was_heard) in &heard {
        let is_recorded = log.iter().any(|e| e["kind"] == "answer" && e["body"]["question"] == question.as_str());
        note(seen, if *was_heard { "heard" } else { "not heard" });
        assert!(is_recorded || !was_heard, "{question} was said to be answered and is not on record");
    }
    let answers = log.iter().filter(|e| e["kind"] == "answer").count();
    let written = world.merged(&id).keys().filter(|p| p.extension().is_some_and(|e| e == "yml")).count();
    assert!(written <= answers, "{written} written, {answers} answered on record");
    settle(world, dice, seen, &id, &real);
}

/// A paused tree does not stay behind its supervisor.
fn paused(world: &World, dice: &mut Dice, seen: &Seen) {
    let steps = work::steps(dice, 400);
    let token = world.token();
    let before = world.ids();
    let mut session = world.govern(&steps, &token, "sleep 1000");
    let real = world.real();
    let mut output = String::new();
    assert!(session.wait_for("ack 2\n", &mut output));
    let id = world.new_session(&before).unwrap();
    let below = processes::below(session.child.id());
    let command = world.start(&["pause", &id, "--reason", "test"]);
    sleep(dice.moment(150));
    let victim = dice.pick(&["supervisor", "launcher, then supervisor"]);
    if victim != "supervisor" {
        below.iter().next().into_iter().for_each(|(pid, _)| processes::kill(*pid));
    }
    session.kill();
    let done = command.end().status.success();
    note(seen, if done { "paused" } else { "cut off" });
    let ended = session.end();
    output.push_str(&ended.stdout);
    if victim == "supervisor" {
        processes::wait_gone("of a paused session", &below);
    } else {
        note(seen, "launcher killed too");
    }
    recover(world, dice, seen);
    processes::wait_gone("of a paused session, after the next start", &below);
    world.nothing_runs("of a paused session", &token);
    check::ledger(world);
    if done {
        let log = world.log(&id);
        assert!(log.iter().any(|e| e["kind"] == "intervention" && e["body"]["act"] == "pause"));
    }
    check::acknowledged(world, &id, &steps, work::acknowledged(&output), true);
    settle(world, dice, seen, &id, &real);
}

/// A journal that nobody can read stops what it is about, names itself, and costs nothing else.
fn damaged(world: &World, dice: &mut Dice, seen: &Seen) {
    let (_, session) = finished(world, dice, "");
    let dir = world.session(&session.id);
    let after = &session.stages[2].1;
    let texts = ["", "{", "{\"version\":9}", "garbage \u{1}", "{\"version\":1}", "{\"version\":9,\"steps\":[]}"];
    for name in ["rollback.journal", "apply.journal"] {
        let text = dice.pick(&texts);
        note(seen, name);
        std::fs::write(dir.join(name), text).unwrap();
        world.user.own(&dir.join(name)).unwrap();
        let seq = session.stages[0].0.to_string();
        for words in [&["apply", &session.id][..], &["discard", &session.id], &["rollback", &session.id, &seq]] {
            let refused = world.run(words);
            let told = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(!refused.status.success() && told.contains(name), "{words:?} with {text:?}: {told}");
        }
        assert_eq!(world.real(), session.real);
        is_one_of("with a damaged journal", &world.merged(&session.id), &[after]);
        // A start does not take half an apply for the real tree; a rollback's journal is about its own session alone.
        let start = world.run(&["run", "--json", "--apply", "never", "--", "true"]);
        let told = String::from_utf8_lossy(&start.stderr).into_owned();
        if name == "apply.journal" {
            assert!(!start.status.success() && told.contains("FB0531") && told.contains(name), "{told}");
        } else {
            assert!(start.status.success(), "{told}");
        }
        std::fs::remove_file(dir.join(name)).unwrap();
    }
    world.ok(&["apply", &session.id]);
    is_one_of("after apply", &world.real(), &[after]);
    check::ledger(world);
    reset(world, &session.real);
}
