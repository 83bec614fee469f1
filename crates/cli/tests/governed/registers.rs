//! What the charter counts, bounds and owes, over real runs.

use crate::people::{asked, start, wait_for};
use crate::support::{Case, World, nothing, stderr, summary};
use flyball_testkit::user::User;
use serde_json::Value;
use std::process::Child;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "an_obligation_kills_an_idle_run_at_its_deadline", needs: nothing, run: owed_and_killed },
        Case { name: "an_obligation_pauses_and_one_that_is_met_does_not", needs: nothing, run: owed_and_paused },
        Case { name: "an_obligation_takes_the_workspace_back", needs: nothing, run: owed_and_rolled_back },
        Case { name: "what_is_grave_has_a_point_just_before_it", needs: nothing, run: point },
        Case { name: "a_person_raises_the_level_and_the_agent_can_not", needs: nothing, run: raised },
        Case { name: "a_budget_of_the_fleet_is_never_overspent_by_two_supervisors", needs: nothing, run: shared },
        Case { name: "a_fact_of_the_fleet_sees_what_is_too_large_for_an_entry", needs: nothing, run: elsewhere },
        Case { name: "show_says_what_is_spent_owed_carried_and_asked", needs: nothing, run: shown },
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

pub fn end(child: Child) -> (Value, String) {
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

fn point(user: User) {
    let world = World::new(user);
    world.init("", "");
    world.change("charter.toml", |text| text + "\n[[consequence]]\naction = \"fs.delete\"\nis = \"high\"\n");
    let (summary, output) = world.run("echo one > a; echo two > b; rm b; echo three > a");
    assert_eq!(summary["exit"], 0, "{summary} {}", stderr(&output));
    let log = world.log();
    let point = log.iter().find(|e| !e["body"]["snapshot"].is_null()).unwrap_or_else(|| panic!("no point in {log:?}"));
    let (seq, before) = (point["seq"].as_u64().unwrap(), point["body"]["snapshot"]["before"].as_u64().unwrap());
    let attempt = log.iter().find(|e| e["seq"] == before).unwrap();
    assert_eq!(attempt["body"]["verb"], "fs.delete", "{attempt}");
    let dispatch = log.iter().find(|e| e["kind"] == "dispatch" && e["body"]["of"] == before).unwrap();
    assert!(dispatch["seq"].as_u64().unwrap() > seq, "the point stands before the dispatch");
    let shown = world.ok(&["log", "@"]);
    assert!(shown.contains(&format!("the point just before entry {before}")), "{shown}");
    world.ok(&["rollback", "@", &seq.to_string(), "--reason", "test"]);
    let at = |path: &str| world.ok(&["at", "@", &seq.to_string(), path]);
    assert_eq!((at("a").as_str(), at("b").as_str()), ("one\n", "two\n"));
    world.verifies();
}

fn raised(user: User) {
    let world = World::new(user);
    world.init("", "");
    world.change("charter.toml", |text| {
        text + "\n[autonomy]\nlevels = [\"observe\", \"bounded\"]\nstart = \"bounded\"\n"
    });
    let child = start(&world, "while [ ! -e go ]; do sleep 0.2; mkdir d 2>/dev/null; done");
    let level = |to: &str| world.flyball(&["autonomy", "@", to, "--reason", "seen"]).output().unwrap();
    wait_for("the program at work", || {
        let output = world.flyball(&["log", "@"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("mkdir").then_some(())
    });
    assert!(level("observe").status.success());
    wait_for("a refusal at that level", || world.ok(&["log", "@"]).contains("autonomy-observe").then_some(()));
    let wrong = level("extended");
    assert!(!wrong.status.success() && stderr(&wrong).contains("observe, bounded"), "{}", stderr(&wrong));
    assert!(level("bounded").status.success());
    let acts = world.log().into_iter().filter(|e| e["kind"] == "intervention" && e["body"]["act"] == "autonomy");
    assert_eq!(acts.map(|e| e["body"]["level"].clone()).collect::<Vec<_>>(), ["observe", "bounded"]);
    world.ok(&["kill", "@", "--reason", "done"]);
    end(child);
}

/// What one session did counts in the next, however long its arguments were.
fn elsewhere(user: User) {
    let world = World::new(user);
    let rule = "@id(\"fleet\") @owner(\"maintainer\") @reason(\"seen elsewhere\") \
                forbid (principal, action == Action::\"fs.write\", resource) when { context.fact.seen };\n";
    let fact = "[facts]\nseen = { is = 'once did process.exec(argv has \"magic\")', per = \"fleet\" }\n";
    world.init(fact, rule);
    let deny = ["run", "--on-hold", "deny", "--apply", "never", "--"];
    world.ok(&[&deny[..], &["sh", "-c", "echo a > first"]].concat());
    world.ok(&[&deny[..], &["/bin/true", "magic", &"x".repeat(9000)]].concat());
    let refused = world.flyball(&[&deny[..], &["sh", "-c", "echo a > second"]].concat()).output().unwrap();
    assert!(!refused.status.success() && stderr(&refused).contains("seen elsewhere"), "{}", stderr(&refused));
    world.verifies();
}

fn shown(user: User) {
    let world = World::new(user);
    let toml = "[budget.deletes]\ncount = \"fs.delete\"\nlimit = 5\nwarn_at = [0.5]\n\
                [[label]]\nname = \"secret\"\nowner = \"maintainer\"\npaths = [\"secrets/**\"]\n\
                [[obligation]]\nname = \"cleaned\"\nwhen = 'did process.exec(program: \"mkdir\")'\n\
                must = 'did process.exec(program: \"rmdir\")'\nwithin = \"1h\"\nowner = \"maintainer\"\notherwise = \"pause\"\n";
    world.init(toml, "");
    std::fs::create_dir(world.repo.workspace().join("secrets")).unwrap();
    std::fs::write(world.repo.workspace().join("secrets/key"), "k").unwrap();
    user.own(&world.repo.workspace().join("secrets")).unwrap();
    std::fs::write(world.repo.workspace().join("ask.sh"), "printf x > .github/workflows/ci.yml\n").unwrap();
    let child = start(&world, "mkdir d; touch a b c; rm a b c; cat secrets/key > /dev/null; sh ask.sh; rmdir d");
    let question = asked(&world);
    let live: Value = serde_json::from_str(&world.ok(&["show", "@", "--json"])).unwrap();
    let registers = &live["registers"];
    assert_eq!(registers["as_of"], "live", "{live}");
    let budget = &registers["budgets"][0];
    assert_eq!((&budget["used"], &budget["limit"], &budget["warn_at"][0]), (&3.into(), &5.into(), &2.into()), "{live}");
    assert_eq!(registers["obligations"][0]["obligation"], "cleaned", "{live}");
    let deadline = registers["obligations"][0]["deadline"].as_str().unwrap();
    assert!(deadline.ends_with('Z') && deadline.len() == 30, "{deadline}");
    assert!(registers["labels"]["secret"].is_u64(), "{live}");
    assert_eq!(
        registers["asked"][0],
        serde_json::json!({"owner": "maintainer", "open": 1, "small_max": 24, "max": 32})
    );
    assert_eq!(question["load"][0]["open"], 1, "{question}");
    assert_eq!(question["owners"][0], "maintainer", "{question}");
    assert!(question["asker"]["said"].as_str().unwrap().contains("ask.sh"), "{question}");
    assert!(question["governance"]["consequence"].is_string(), "{question}");
    let text = world.ok(&["show", "@"]);
    for said in ["deletes", "maintainer has 1 of 32 open", "secret since entry", "cleaned", "as the charter starts"] {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    // Read at night by somebody who was asleep: everything that the answer takes.
    let text = world.ok(&["asks"]);
    let answer = format!("--ledger {} answer {} allow|deny", world.ledger.display(), question["id"].as_str().unwrap());
    for said in
        ["would     ", "asked by  ", "ask.sh", "stopped   ", "stakes    ", "until     ", "then it is refused", &answer]
    {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    world.ok(&["answer", question["id"].as_str().unwrap(), "allow", "--reason", "t"]);
    let (_, told) = end(child);
    for said in ["QUESTION", "would", "stopped by", "consequence", "until", "then it is refused", &answer] {
        assert!(told.contains(said), "{said} is not in\n{told}");
    }
    let ended: Value = serde_json::from_str(&world.ok(&["show", "@", "--json"])).unwrap();
    assert_eq!(ended["registers"]["as_of"], "close", "{ended}");
    assert_eq!(ended["registers"]["budgets"][0]["used"], 4, "{ended}");
    // What of it differs between two steps.
    let last = world.log().last().unwrap()["seq"].to_string();
    let told: Value = serde_json::from_str(&world.ok(&["diff", "@", "2", &last, "--state", "--json"])).unwrap();
    let differences = told["differences"].as_array().unwrap();
    let used = differences.iter().find(|d| d["member"] == "registers/budgets/deletes/used");
    let used = used.unwrap_or_else(|| panic!("{told:#}"));
    assert_eq!((&used["before"], &used["after"]), (&0.into(), &4.into()), "{told:#}");
    assert!(!differences.iter().any(|d| d["member"] == "registers/budgets/deletes/limit"), "{told:#}");
    let same: Value = serde_json::from_str(&world.ok(&["diff", "@", &last, &last, "--state", "--json"])).unwrap();
    assert_eq!(same["differences"], serde_json::json!([]));
    assert!(
        ended["registers"]["obligations"].as_array().unwrap().is_empty()
            && ended["registers"]["asked"].as_array().unwrap().is_empty()
    );
}
