//! What governs a session, and what sessions share, over a crash: another charter, open questions, budgets of several sessions.

use crate::check::{self, seq};
use crate::dice::Dice;
use crate::processes;
use crate::rounds::{Seen, note, recover, settle};
use crate::work::{self, Step};
use crate::world::{Running, World};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread::sleep;

/// Kills one of these, or both; gives what was killed. The supervisor's own death ends all below it.
fn kill(dice: &mut Dice, session: &Running) -> &'static str {
    let below = processes::below(session.child.id());
    let victim = dice.pick(&["supervisor", "agent", "both"]);
    // The first child is the launcher, the next pid 1 of the sandbox, the third the agent.
    let agent = below.iter().nth(2);
    if victim == "agent"
        && let Some((pid, _)) = agent
    {
        processes::kill(*pid);
        return "agent";
    }
    session.kill();
    if victim == "both" {
        below.iter().rev().for_each(|(pid, _)| processes::kill(*pid));
    }
    victim
}

/// A copy of the world's charter with text added to its files, or replaced in them.
fn charter(world: &World, name: &str, how: impl Fn(&str, String) -> String) -> PathBuf {
    let to = world.beside(name);
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(world.workspace().join(".flyball")).unwrap().flatten() {
        let file = entry.file_name().into_string().unwrap();
        let text = std::fs::read_to_string(entry.path()).unwrap();
        std::fs::write(to.join(&file), how(&file, text)).unwrap();
    }
    world.user.own(&to).unwrap();
    to
}

/// Another charter while the session runs: afterwards the old or the new one is in force, whole, and the entry tells which.
pub fn constrain(world: &World, dice: &mut Dice, seen: &Seen) {
    let steps = work::steps(dice, 300);
    let token = world.token();
    let before = world.ids();
    let rule = "@id(\"no-notes\") @owner(\"maintainer\") @reason(\"No notes.\")\n\
                forbid (principal, action == Action::\"fs.write\", resource) when { resource.name == \"notes.txt\" };\n";
    let dir =
        charter(world, "narrow", |file, text| if file == "rules.cedar" { format!("{text}\n{rule}") } else { text });
    let mut session =
        world.govern(&steps, &token, "echo ready; while :; do echo > notes.txt; env true; done 2> /dev/null");
    let real = world.real();
    let mut output = String::new();
    let wanted = if dice.one_in(2) { "ack 0\n" } else { "ready\n" };
    assert!(session.wait_for(wanted, &mut output), "{output}");
    let id = world.new_session(&before).unwrap();
    let below = processes::below(session.child.id());
    let command = world.start(&["constrain", &id, "--charter", dir.to_str().unwrap(), "--reason", "test"]);
    // Comparing the charters takes most of it.
    let most_ms = dice.pick(&[400, 2000, 6000]);
    sleep(dice.moment(most_ms));
    let victim = if dice.one_in(4) {
        command.kill();
        "command"
    } else {
        kill(dice, &session)
    };
    let done = command.end().status.success();
    note(seen, victim);
    if matches!(victim, "command" | "agent") {
        // The supervisor finishes what it was asked.
        world.run(&["kill", &id, "--reason", "test"]);
    }
    session.end();
    processes::wait_gone("after the kill", &below);
    world.nothing_runs("after the kill", &token);
    recover(world, dice, seen);
    check::ledger(world);
    assert_eq!(world.real(), real);
    let log = world.log(&id);
    let changes: Vec<&Value> = log.iter().filter(|e| e["kind"] == "charter").collect();
    assert!(changes.len() <= 1, "{changes:?}");
    assert!(!done || changes.len() == 1, "it was said to be in force and is not on record");
    note(
        seen,
        if done {
            "said to be in force"
        } else if changes.is_empty() {
            "the old one"
        } else {
            "the new one"
        },
    );
    let old = digest(world, &log[0]["body"]["charter"]["files"]);
    assert_eq!(log[0]["body"]["charter"]["digest"], old.as_str());
    let change = changes.first().map(|entry| (seq(entry), digest(world, &entry["body"]["files"])));
    if let (Some(entry), Some((_, new))) = (changes.first(), &change) {
        assert_eq!(entry["body"]["charter"], new.as_str(), "the entry's files are not the charter that it names");
        assert_eq!(entry["body"]["before"], old.as_str());
    }
    for ruling in log.iter().filter(|e| e["kind"] == "ruling") {
        let in_force = change.as_ref().filter(|(at, _)| *at < seq(ruling)).map_or(&old, |(_, new)| new);
        assert_eq!(ruling["body"]["charter"], in_force.as_str(), "{ruling}");
    }
    world.ok(&["show", &id]);
    settle(world, dice, seen, &id, &real);
}

/// The digest of a charter of these files: it compiles, so it is whole.
fn digest(world: &World, files: &Value) -> String {
    let dir = world.beside("recorded");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    for (name, text) in files.as_object().unwrap() {
        std::fs::write(dir.join(name), text.as_str().unwrap()).unwrap();
    }
    world.user.own(&dir).unwrap();
    let report: Value = serde_json::from_str(&world.ok(&["check", dir.to_str().unwrap(), "--json"])).unwrap();
    report["digest"].as_str().unwrap_or_else(|| panic!("{report}")).to_owned()
}

/// Questions that nobody has answered when the one dies who would hear the answer: closed, nothing let through, no answer taken.
pub fn open_questions(world: &World, dice: &mut Dice, seen: &Seen) {
    let token = world.token();
    let before = world.ids();
    let count = 1 + dice.below(4);
    let ask = |n: u64| Step {
        text: format!("(printf 'ci {n}' > .github/workflows/q{n}.yml) &"),
        writes: None,
        touches: vec![format!(".github/workflows/q{n}.yml")],
    };
    let text: String = (0..count).map(|n| format!("{}\n", ask(n).text)).collect();
    let session = world.govern_asking(&[], &token, &format!("{text}wait\nsleep 1000"));
    let real = world.real();
    let wanted = 1 + dice.below(count);
    let begun = std::time::Instant::now();
    let open = loop {
        let open = asks(world);
        if open.len() as u64 >= wanted {
            break open;
        }
        assert!(begun.elapsed().as_secs() < 120, "{wanted} of {count} questions did not come: {open:?}");
        sleep(std::time::Duration::from_millis(5));
    };
    let below = processes::below(session.child.id());
    sleep(dice.moment(60));
    let victim = kill(dice, &session);
    note(seen, victim);
    let id = world.new_session(&before).unwrap();
    if victim == "agent" {
        // Whoever asks lives on: the questions stand until the session ends.
        world.run(&["kill", &id, "--reason", "test"]);
    }
    session.end();
    processes::wait_gone("after the kill", &below);
    if dice.one_in(2) {
        // Asked of nobody any more, and told so.
        for question in &open {
            let answer = world.run(&["answer", question, "allow", "--reason", "late"]);
            assert!(!answer.status.success(), "an answer was taken by nobody");
        }
    }
    recover(world, dice, seen);
    check::ledger(world);
    assert_eq!(asks(world), [""; 0], "a question outlived its session");
    let log = world.log(&id);
    let questions: Vec<&Value> = log.iter().filter(|e| e["kind"] == "question").collect();
    for open in &open {
        assert!(questions.iter().any(|q| q["body"]["id"] == open.as_str()), "{open} was shown and is not on record");
    }
    let ends = |of: &Value| log.iter().filter(|e| e["kind"] == "outcome" && e["body"]["of"] == *of).collect::<Vec<_>>();
    for question in &questions {
        let of = &question["body"]["of"];
        assert!(!log.iter().any(|e| e["kind"] == "dispatch" && e["body"]["of"] == *of), "{question} was let through");
        let ends = ends(of);
        assert_eq!(ends.len(), 1, "{question}: {ends:?}");
        assert!(ends[0]["body"]["withdrawn"].is_string() && ends[0]["body"]["ok"] == false, "{question}: {ends:?}");
    }
    assert!(!log.iter().any(|e| e["kind"] == "answer"), "nobody answered");
    let written = world.merged(&id).keys().filter(|p| p.extension().is_some_and(|e| e == "yml")).count();
    assert_eq!(written, 0, "written without an answer");
    settle(world, dice, seen, &id, &real);
}

fn asks(world: &World) -> Vec<String> {
    let output = world.run(&["asks", "--json"]);
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["id"].as_str().unwrap().to_owned()).collect()
}

/// Two supervisors take from the same budgets of owner, fleet and day, and one is killed: together they never take more than
/// there is, what was taken stays taken, and what is left can all be had.
pub fn shared_budgets(world: &World, dice: &mut Dice, seen: &Seen) {
    let token = world.token();
    let before = world.ids();
    let [fleet, owner, day] = [(); 3].map(|()| 12 + dice.below(12));
    let name = format!("budgets-{}", before.len());
    let dir = charter(world, &name, |file, text| match file {
        "charter.toml" => {
            let budget = |name: &str, count: &str, limit: u64, per: &str| {
                format!("\n[budget.{name}]\ncount = \"{count}\"\nlimit = {limit}\nper = \"{per}\"\n")
            };
            let own =
                text.lines().map(|l| if l.starts_with("name = ") { format!("name = \"{name}\"") } else { l.into() });
            own.collect::<Vec<_>>().join("\n")
                + &budget("by-fleet", "process.exec", fleet, "fleet")
                + &budget("by-owner", "fs.write", owner, "owner")
                + &budget("by-day", "fs.write", day, "day")
        }
        _ => text,
    });
    // What a builtin writes and what is executed: each acknowledged once it was done.
    let script = world.workspace().join("spend.sh");
    let lines = "n=0; while [ $n -lt 30 ]; do echo $n > s$n && echo wrote; /bin/true && echo ran; n=$((n+1)); done 2> /dev/null; echo over";
    std::fs::write(&script, format!("# {token}\n{lines}\n")).unwrap();
    world.user.own(&script).unwrap();
    let real = world.real();
    let spend = || {
        let words =
            ["run", "--json", "--apply", "never", "--on-hold", "deny", "--charter", dir.to_str().unwrap(), "--"];
        world.start(&[&words[..], &["/bin/sh", "spend.sh", &token]].concat())
    };
    let (mut one, two) = (spend(), spend());
    let mut output = String::new();
    if dice.one_in(2) {
        one.wait_for("wrote\n", &mut output);
    }
    sleep(dice.moment(1200));
    let below = processes::below(one.child.id());
    note(seen, kill(dice, &one));
    output.push_str(&one.end().stdout);
    processes::wait_gone("after the kill", &below);
    let ended = two.end();
    assert!(ended.stdout.contains("over") || ended.stdout.contains("ended_by"), "{}\n{}", ended.stdout, ended.stderr);
    output.push_str(&ended.stdout);
    recover(world, dice, seen);
    let used_by: Vec<String> = world.ids().difference(&before).cloned().collect();
    let late = spend().end();
    world.ok(&["run", "--json", "--apply", "never", "--", "true"]);
    check::ledger(world);
    assert_eq!(world.real(), real);
    let last: BTreeSet<String> = &world.ids() - &before;
    let last = last.iter().find(|id| !used_by.contains(id) && is_under(&world.log(id), &name));
    let last = last.unwrap_or_else(|| panic!("no last session:\n{}", late.stderr)).clone();
    let logs: Vec<Vec<Value>> = used_by.iter().map(|id| world.log(id)).collect();
    for (budget, limit, verb) in
        [("by-fleet", fleet, "process.exec"), ("by-owner", owner, "fs.write"), ("by-day", day, "fs.write")]
    {
        let prefix = format!("budget/{name}/{budget}/");
        let taken: u64 = logs.iter().map(|log| carried_out(log, verb, &name)).sum();
        let of_last = world.log(&last);
        let found = of_last.iter().flat_map(|e| e["body"]["registers"].as_array().cloned().unwrap_or_default());
        let first = found.into_iter().find(|r| r["register"].as_str().is_some_and(|r| r.starts_with(&prefix)));
        let Some(first) = first else { continue };
        let used = first["value"].as_u64().unwrap() - u64::from(first["made"] == true);
        assert!(used <= limit, "{budget}: {used} of {limit} used");
        assert!(taken <= used, "{budget}: {taken} carried out, {used} counted: what was taken is lost");
        // At most what the dead supervisor had taken for the attempt that it was at.
        assert!(used <= taken + 4, "{budget}: {taken} carried out, {used} counted");
        let more = carried_out(&of_last, verb, &name);
        assert!(used + more <= limit, "{budget}: {used} and {more} of {limit}");
        note(seen, if used == limit { "used up" } else { "left over" });
    }
    let acks = |word: &str| output.lines().filter(|l| *l == word).count() as u64;
    assert!(acks("wrote") <= owner.min(day) && acks("ran") <= fleet, "{output}");
    // Of what is counted by both, the smaller is the one that stops: whoever comes next and can start gets all that is left.
    let of_last = world.log(&last);
    if carried_out(&of_last, "process.exec", &name) > 0 {
        let writes: u64 = logs.iter().map(|log| carried_out(log, "fs.write", &name)).sum();
        let late = carried_out(&of_last, "fs.write", &name);
        assert!(
            writes + late + 4 >= owner.min(day),
            "{writes} and {late} of {owner} and {day}: what is left can't be had"
        );
        note(seen, "the rest was had");
    }
    drop(std::fs::remove_dir_all(Path::new(&dir)));
}

fn is_under(log: &[Value], charter: &str) -> bool {
    let text = log[0]["body"]["charter"]["files"]["charter.toml"].as_str().unwrap_or_default();
    text.contains(&format!("name = \"{charter}\""))
}

/// How many actions of a verb a session under that charter carried out. What failed gives back what it had taken.
fn carried_out(log: &[Value], verb: &str, charter: &str) -> u64 {
    if !is_under(log, charter) {
        return 0;
    }
    let dispatched: BTreeSet<u64> =
        log.iter().filter(|e| e["kind"] == "dispatch").map(|e| e["body"]["of"].as_u64().unwrap()).collect();
    let failed = log.iter().filter(|e| e["kind"] == "outcome" && e["body"]["ok"] == false);
    let failed: BTreeSet<u64> = failed.map(|e| e["body"]["of"].as_u64().unwrap()).collect();
    let stays = |e: &&Value| dispatched.contains(&seq(e)) && !failed.contains(&seq(e));
    log.iter().filter(|e| e["kind"] == "attempt" && e["body"]["verb"] == verb).filter(stays).count() as u64
}
