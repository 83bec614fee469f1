//! What the charter counts, bounds and owes, over real runs.

use crate::people::{start, wait_for};
use crate::support::{Case, World, nothing, stderr, summary};
use flyball_testkit::user::User;
use serde_json::Value;
use std::process::Child;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "an_obligation_kills_an_idle_run_at_its_deadline", needs: nothing, run: owed_and_killed },
        Case { name: "an_obligation_pauses_and_one_that_is_met_does_not", needs: nothing, run: owed_and_paused },
        Case { name: "an_obligation_takes_the_workspace_back", needs: nothing, run: owed_and_rolled_back },
        Case { name: "a_budget_of_the_fleet_is_never_overspent_by_two_supervisors", needs: nothing, run: shared },
    ]
}

/// Who makes a folder removes one in time.
fn owed(within: &str, otherwise: &str) -> String {
    format!(
        "[owners]\ndev = [\"user:root\"]\n[[obligation]]\nname = \"cleaned\"\nreason = \"what is made is removed\"\n\
         when = 'did process.exec(program: \"mkdir\")'\nmust = 'did process.exec(program: \"rmdir\")'\n\
         within = \"{within}\"\nowner = \"dev\"\notherwise = \"{otherwise}\"\n"
    )
}

fn alerts(world: &World) -> Vec<Value> {
    world.log().into_iter().filter(|e| e["kind"] == "alert" && e["body"]["alert"] == "obligation").collect()
}

fn end(child: Child) -> (Value, String) {
    let output = child.wait_with_output().unwrap();
    (summary(&output), stderr(&output))
}

fn owed_and_killed(user: User) {
    let world = World::new(user);
    world.init(&owed("1s", "kill"), "");
    // The program makes no call that anybody would rule on: only the clock can tell.
    let (summary, said) = end(start(&world, "mkdir d; exec sleep 600"));
    assert_eq!(summary["ended_by"], "charter", "{summary} {said}");
    let alerts = alerts(&world);
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(
        (&alerts[0]["body"]["act"], &alerts[0]["body"]["reasons"][0]["rule"]),
        (&"kill".into(), &"cleaned".into())
    );
    world.verifies();
}

fn owed_and_paused(user: User) {
    let world = World::new(user);
    world.init(&owed("1s", "pause"), "");
    let (met, said) = end(start(&world, "mkdir d; rmdir d; sleep 2"));
    assert_eq!((&met["ended_by"], met["obligations"].is_null()), (&"program".into(), true), "{met} {said}");
    let child = start(&world, "mkdir d; exec sleep 600");
    wait_for("the pause", || {
        let list = world.ok(&["ps", "--json"]);
        list.contains("\"paused\"").then_some(())
    });
    world.ok(&["kill", "@", "--reason", "seen"]);
    let (summary, _) = end(child);
    assert_eq!(summary["ended_by"], "person", "{summary}");
}

fn owed_and_rolled_back(user: User) {
    let world = World::new(user);
    world.init(&owed("1s", "rollback"), "");
    let script = "echo before > kept; mkdir d; echo after > d/lost; while [ -e d ]; do sleep 0.1; done; ls";
    let (summary, said) = end(start(&world, script));
    assert_eq!(summary["ended_by"], "program", "{summary} {said}");
    let last = world.log().last().unwrap()["seq"].to_string();
    let changed = world.ok(&["diff", "@", "1", &last]);
    assert!(changed.contains("kept") && !changed.contains("lost"), "{changed}");
}

/// How often a session attempted `true`, and how often it was let.
fn made(world: &World, session: &str) -> (usize, usize) {
    let text = world.ok(&["log", session, "--json"]);
    let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let attempts: Vec<&Value> = entries
        .iter()
        .filter(|e| {
            e["kind"] == "attempt" && e["body"]["verb"] == "process.exec" && e["body"]["resource"]["program"] == "true"
        })
        .collect();
    let allowed = attempts.iter().filter(|a| {
        entries.iter().any(|e| e["kind"] == "ruling" && e["body"]["of"] == a["seq"] && e["body"]["verdict"] == "allow")
    });
    (attempts.len(), allowed.count())
}

fn shared(user: User) {
    const LIMIT: usize = 20;
    let world = World::new(user);
    // The shells count as well: one each for what `run` starts.
    world.init(&format!("[budget.runs]\ncount = \"process.exec\"\nlimit = {}\nper = \"fleet\"\n", LIMIT + 2), "");
    let script = "n=0; while [ $n -lt 20 ]; do /bin/true; n=$((n+1)); done; exit 0";
    let children = [start(&world, script), start(&world, script)];
    let sessions: Vec<String> = children.map(|child| end(child).0["session"].as_str().unwrap().to_owned()).to_vec();
    let counts: Vec<(usize, usize)> = sessions.iter().map(|s| made(&world, s)).collect();
    assert_eq!(counts.iter().map(|(attempts, _)| attempts).sum::<usize>(), 40, "{counts:?}");
    assert_eq!(counts.iter().map(|(_, allowed)| allowed).sum::<usize>(), LIMIT, "{counts:?}");
    let (late, output) = world.run("true");
    assert_eq!(late["exit"], 100, "what is used up stays used up for the next session: {late} {}", stderr(&output));
    world.verifies();
}
