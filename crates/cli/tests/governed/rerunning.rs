//! Programs run again from their record (replay levels 4 and 5), and what must not be taken for the same.

use crate::answering::{key, keygen, only};
use crate::support::{Case, World, nothing, stderr, summary};
use flyball_testkit::user::User;
use serde_json::{Value, json};
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::Output;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "a_recorded_script_runs_again", needs: nothing, run: script },
        Case { name: "a_replay_needs_nothing_of_the_workspace_as_it_is_now", needs: nothing, run: changed_since },
        Case { name: "another_program_is_told_before_it_starts", needs: nothing, run: another_program },
        Case { name: "a_program_that_does_something_else_diverges", needs: nothing, run: diverges },
        Case { name: "how_often_a_file_is_written_on_in_is_not_counted", needs: nothing, run: written_on },
        Case { name: "time_and_randomness_of_a_shell_are_given_again", needs: nothing, run: shell },
        Case {
            name: "time_and_randomness_of_python_are_given_again",
            needs: |_| program_of_all("/usr/bin/python3"),
            run: python,
        },
        Case {
            name: "time_and_randomness_of_node_are_given_again",
            needs: |_| program_of_all("/usr/bin/node"),
            run: node,
        },
        Case { name: "commits_are_made_again_with_the_same_ids", needs: nothing, run: commits },
        Case { name: "a_push_does_not_arrive_twice", needs: nothing, run: push },
        Case {
            name: "what_reaches_out_is_not_done_again",
            needs: |_| program_of_all("/usr/bin/python3"),
            run: reaches_out,
        },
        Case { name: "people_are_not_asked_again", needs: nothing, run: answered },
        Case {
            name: "what_nobody_answered_in_time_is_late_again",
            needs: |_| program_of_all("/usr/bin/python3"),
            run: late,
        },
        Case { name: "what_a_key_signed_is_answered_again", needs: keygen, run: signed },
        Case { name: "acts_that_a_key_signed_are_copied_to_forks", needs: keygen, run: signed_acts },
        Case {
            name: "processes_that_write_a_file_at_once_are_named",
            needs: |_| program_of_all("/usr/bin/python3"),
            run: at_once,
        },
        Case { name: "a_fork_goes_on_from_a_step", needs: nothing, run: fork },
        Case { name: "a_fork_has_what_people_said_unless_it_is_reopened", needs: nothing, run: fork_answered },
    ]
}

/// Runs a command so that it can be run again; gives its session.
fn record(world: &World, words: &[&str]) -> (Value, Output) {
    let mut all = vec!["run", "--json", "--record", "--apply", "never", "--"];
    all.extend(words);
    let output = world.flyball(&all).output().unwrap();
    (summary(&output), output)
}

pub fn replay(world: &World, session: &Value, level: &str) -> (Value, Output) {
    let session = session["session"].as_str().unwrap();
    let output = world.flyball(&["replay", session, "--level", level, "--json"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (serde_json::from_str(&text).unwrap_or(Value::Null), output)
}

/// It is a match; gives what was told.
pub fn matches(world: &World, session: &Value, level: &str) -> Value {
    let (told, output) = replay(world, session, level);
    assert_eq!(told["result"], "match", "{told:#}\n{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(told["rerun"]["recorded"], told["rerun"]["made"], "{told:#}");
    told
}

/// A folder of programs of one's own, that sessions see.
pub fn programs(world: &World) -> PathBuf {
    let dir = world.repo.scratch().join("programs");
    std::fs::create_dir_all(&dir).unwrap();
    world.user.own(&dir).unwrap();
    dir
}

pub fn program(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(file, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The real workspace, by path and content.
fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() && !path.is_symlink() {
                true => open.push(path),
                false => all.push((path.clone(), std::fs::read(&path).unwrap_or_default())),
            }
        }
    }
    all.sort();
    all
}

fn script(user: User) {
    let world = World::new(user);
    world.init("", "");
    let script = "read said; echo \"$said\" > said; cat said | tr a-z A-Z; mkdir -p d/e; echo 1 > d/e/f; mv d g; rm said; exit 3";
    let input = world.repo.scratch().join("input");
    std::fs::write(&input, "hello\n").unwrap();
    let mut command = world.flyball(&["run", "--json", "--record", "--apply", "never", "--", "sh", "-c", script]);
    let output = command.stdin(std::fs::File::open(&input).unwrap()).output().unwrap();
    let session = summary(&output);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("HELLO\n"), "{output:?}");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(session["replay_level"], 5, "{session}");
    let before = tree(&world.repo.workspace());
    let told = matches(&world, &session, "4");
    assert!(told["rerun"]["made"].as_u64().unwrap() > 10, "{told:#}");
    assert_eq!(tree(&world.repo.workspace()), before, "nothing of it is in the real workspace");
    // It has a session of its own, marked, verified, and never to be applied.
    let log = world.log();
    assert_eq!(log[0]["body"]["replay_of"]["session"], session["session"]);
    world.verifies();
    for act in ["apply", "discard"] {
        let output = world.flyball(&[act, "@"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{act}: {}", stderr(&output));
    }
    // What was not recorded for it says so, and nothing is run.
    let (plain, _) = world.run("echo 1 > a");
    assert_eq!(plain["replay_level"], 3);
    let sessions = world.ok(&["ps", "--json"]).lines().count();
    let (told, output) = replay(&world, &plain, "4");
    assert_eq!((told["result"].as_str(), output.status.code()), (Some("inconclusive"), Some(1)), "{told:#}");
    assert!(told["levels"][3]["obstacles"][0]["why"].as_str().unwrap().contains("--record"), "{told:#}");
    assert_eq!(world.ok(&["ps", "--json"]).lines().count(), sessions);
}

fn changed_since(user: User) {
    let world = World::new(user);
    world.init("", "");
    let file = world.repo.workspace().join("first.txt");
    std::fs::write(&file, "first\n").unwrap();
    std::os::unix::fs::symlink("first.txt", world.repo.workspace().join("link")).unwrap();
    world.user.own(&file).unwrap();
    let (session, _) = record(
        &world,
        &["sh", "-c", "test \"$(cat link)\" = first && echo more >> first.txt && ls -l first.txt | cut -c1-10 > mode"],
    );
    assert_eq!(session["exit"], 0, "{session}");
    let id = session["session"].as_str().unwrap();
    world.ok(&["apply", id]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "first\nmore\n");
    matches(&world, &session, "4");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(world.repo.workspace().join(".flyball/rules.cedar"), "").unwrap();
    let before = tree(&world.repo.workspace());
    matches(&world, &session, "4");
    assert_eq!(tree(&world.repo.workspace()), before);
}

fn another_program(user: User) {
    let world = World::new(user);
    world.init("", "");
    let file = programs(&world).join("agent");
    program(&file, "echo one > one");
    world.user.own(&file).unwrap();
    let (session, _) = record(&world, &[file.to_str().unwrap()]);
    assert_eq!(session["exit"], 0, "{session}");
    matches(&world, &session, "4");
    let sessions = world.ok(&["ps", "--json"]).lines().count();
    let refused = |why: &str| {
        let (_, output) = replay(&world, &session, "4");
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("FB0604") && text.contains(why), "{text}");
        assert_eq!(world.ok(&["ps", "--json"]).lines().count(), sessions, "nothing was started");
    };
    program(&file, "echo two > one");
    refused("sha256:");
    std::fs::remove_file(&file).unwrap();
    refused("agent");
}

fn diverges(user: User) {
    let world = World::new(user);
    world.init("", "");
    let dir = programs(&world);
    let (agent, helper) = (dir.join("agent"), dir.join("helper"));
    program(&agent, &format!("echo 1 > one; {}; echo 3 > three", helper.display()));
    program(&helper, "echo 2 > two");
    world.user.own(&dir).unwrap();
    let (session, _) = record(&world, &[agent.to_str().unwrap()]);
    matches(&world, &session, "4");
    let log: Vec<Value> = world
        .ok(&["log", session["session"].as_str().unwrap(), "--json"])
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let at = |path: &str| {
        let is_it = |e: &&Value| {
            e["kind"] == "attempt" && e["body"]["resource"]["path"].as_str().is_some_and(|p| p.ends_with(path))
        };
        log.iter().find(is_it).unwrap()["seq"].clone()
    };
    let diverged = |text: &str, at: Value, field: &str| {
        program(&helper, text);
        let (told, output) = replay(&world, &session, "4");
        assert_eq!((told["result"].as_str(), output.status.code()), (Some("diverged"), Some(104)), "{told:#}");
        assert_eq!((&told["at"], &told["difference"]["field"]), (&at, &Value::from(field)), "{told:#}");
        told["difference"].clone()
    };
    let difference = diverged("echo 2 > TWO", at("/two"), "/action/resource/path");
    assert!(difference["recorded"].as_str().unwrap().ends_with("/two"), "{difference:#}");
    assert!(difference["recomputed"].as_str().unwrap().ends_with("/TWO"), "{difference:#}");
    let difference = diverged(":", at("/two"), "");
    assert_eq!(difference["recomputed"], Value::Null);
    // What was never done then is named, under the command that does it now.
    let difference = diverged("echo 2 > two; echo 4 > four", at("/helper"), "");
    assert!(
        difference["recomputed"]["action"]["resource"]["path"].as_str().unwrap().ends_with("/four"),
        "{difference:#}"
    );
    // How a command ended is told by what comes after all that it did.
    let of = at("/helper");
    let ended = log.iter().find(|e| e["kind"] == "outcome" && e["body"]["of"] == of).unwrap()["seq"].clone();
    let difference = diverged("echo 2 > two; exit 7", ended, "/exit");
    assert_eq!((&difference["recorded"], &difference["recomputed"]), (&Value::from(0), &Value::from(7)));
}

/// At level 4 how often, and nothing else: not whether, not what else is done to the file.
fn written_on(user: User) {
    let world = World::new(user);
    let kept = world.repo.workspace().join("kept");
    std::fs::write(&kept, "kept\n").unwrap();
    world.user.own(&kept).unwrap();
    world.init("", "");
    let dir = programs(&world);
    let (agent, helper) = (dir.join("agent"), dir.join("helper"));
    program(&agent, &format!("{}; exit 0", helper.display()));
    let all = "echo 1 >> kept; echo 2 >> kept; echo 3 >> kept";
    program(&helper, all);
    world.user.own(&dir).unwrap();
    let (session, _) = record(&world, &[agent.to_str().unwrap()]);
    let held = |text: &str| {
        program(&helper, text);
        let of = |level| replay(&world, &session, level).0;
        let (operational, deterministic) = (of("4"), of("5"));
        (operational["result"].clone(), operational["rerun"]["reopened"].clone(), deterministic["result"].clone())
    };
    let told = |four: &str, more: u64, five: &str| (Value::from(four), Value::from(more), Value::from(five));
    assert_eq!(held(all), told("match", 0, "match"));
    assert_eq!(held("echo 1 >> kept; echo 2 >> kept"), told("match", 1, "diverged"));
    assert_eq!(held(&format!("{all}; {all}")), told("match", 3, "diverged"));
    // It is not written on in at all, or emptied, or another one is written on in.
    assert_eq!(held(":"), told("diverged", 0, "diverged"));
    assert_eq!(held(&format!("{all}; : > kept")), told("diverged", 0, "diverged"));
    assert_eq!(held(&format!("{all}; echo 4 >> words.sh")), told("diverged", 0, "diverged"));
}

/// Who was asked is not asked again; what nobody was asked about is refused.
fn answered(user: User) {
    let world = World::new(user);
    world.init(
        "",
        "@id(\"asked\") @owner(\"maintainer\") @reason(\"ask\") @escalate(\"maintainer\")\nforbid (principal, action == Action::\"fs.write\", resource) when { resource.path like \"*.asked\" };\n",
    );
    let agent = programs(&world).join("agent");
    program(
        &agent,
        "echo 1 > a.asked; echo 2 > b.asked; sh -c 'echo 3 > c.asked; echo 4 > d.asked'; cat *.asked; exit 0",
    );
    world.user.own(&agent).unwrap();
    let running = world
        .flyball(&["run", "--json", "--record", "--apply", "never", "--", agent.to_str().unwrap()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The last question is about both of what a script says.
    for verdict in ["allow", "deny", "allow"] {
        let id = asked(&world);
        world.ok(&["answer", &id, verdict, "--reason", "looked at"]);
    }
    let output = running.wait_with_output().unwrap();
    let session = summary(&output);
    assert_eq!(session["held"], 3, "{session}\n{}", stderr(&output));
    matches(&world, &session, "4");
    let log = world.log();
    let answers: Vec<&Value> = log.iter().filter(|e| e["kind"] == "answer").collect();
    assert_eq!(answers.len(), 4, "{log:#?}");
    for answer in answers {
        let reason = answer["body"]["reason"].as_str().unwrap();
        assert!(reason.contains("looked at") && reason.contains(session["session"].as_str().unwrap()), "{reason}");
    }
    assert_eq!(world.ok(&["asks", "--json"]).trim(), "");
}

/// Without that time going by: a tier lets it pass and hands on, the next answers; another question is refused by its deadline.
fn late(user: User) {
    let world = World::new(user);
    world.init(
        "[escalation.first]\nask = \"maintainer\"\nwithin = \"3s\"\nthen = \"second\"\n[escalation.second]\nask = \"maintainer\"\nwithin = \"10m\"\nthen = \"deny\"\n[escalation.only]\nask = \"maintainer\"\nwithin = \"4s\"\nthen = \"deny\"\n[facts]\nlong_ago = 'once[3s] did fs.write(path like \"**/before\")'\n",
        "@id(\"handed-on\") @owner(\"maintainer\") @reason(\"ask\") @escalate(\"first\")\nforbid (principal, action == Action::\"fs.write\", resource) when { resource.path like \"*.asked\" };\n\
         @id(\"refused\") @owner(\"maintainer\") @reason(\"ask\") @escalate(\"only\")\nforbid (principal, action == Action::\"fs.write\", resource) when { resource.path like \"*.late\" };\n\
         @id(\"soon\") @owner(\"maintainer\") @reason(\"too soon\")\nforbid (principal, action == Action::\"fs.write\", resource) when { resource.path like \"*.after\" && context.fact.long_ago };\n",
    );
    // What a script says is asked about together, what this one does each by itself.
    let text = "import os, subprocess, time\n\
                def put(name):\n\
                \x20   try: open(name, 'w').write(name + ' ')\n\
                \x20   except OSError as e: print(name, e.errno)\n\
                for name in ('before', 'a.late', 'b.asked', 'c.asked', 'd.after'): put(name)\n\
                try: subprocess.run(['/bin/sh', '-c', 'echo 5 > e.late; echo 6 > f.late'])\n\
                except OSError as e: print('sh', e.errno)\n\
                print(*sorted(n for n in os.listdir('.') if n[1] == '.'), time.time())\n";
    std::fs::write(world.repo.workspace().join("agent.py"), text).unwrap();
    let running = world
        .flyball(&["run", "--json", "--record", "--apply", "never", "--", "/usr/bin/python3", "agent.py"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Whoever is asked second answers.
    for verdict in ["allow", "deny"] {
        let id = loop {
            asked(&world);
            let asks = world.ok(&["asks", "--json"]);
            let asks = asks.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            if let Some(ask) = asks.into_iter().find(|ask| ask["tier"] == "second") {
                break ask["id"].as_str().unwrap().to_owned();
            }
        };
        world.ok(&["answer", &id, verdict, "--reason", "looked at"]);
    }
    let output = running.wait_with_output().unwrap();
    let session = summary(&output);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!((&session["held"], &session["exit"]), (&4.into(), &0.into()), "{session}\n{}", stderr(&output));
    assert!(text.contains("a.late 13\nc.asked 13\nsh 13\nb.asked d.after "), "{text}");
    let ticks = |log: &[Value]| log.iter().filter(|e| e["kind"] == "tick").count();
    assert_eq!(ticks(&entries(&world, &session)), 4);
    matches(&world, &session, "5");
    let log = world.log();
    assert_eq!(ticks(&log), 4, "{log:#?}");
    assert!(!log.iter().any(|e| e.to_string().contains("nobody answered this in the recorded session")), "{log:#?}");
    world.verifies();
    matches(&world, &session, "4");
}

/// Somebody who is no contact was not heard then, and whoever has the key was.
fn signed(user: User) {
    let world = World::new(user);
    world.init(
        "",
        "@id(\"asked\") @owner(\"maintainer\") @reason(\"ask\") @escalate(\"maintainer\")\nforbid (principal, action == Action::\"fs.write\", resource) when { resource.path like \"*.asked\" };\n",
    );
    let (file, contact) = key(&world, "ann");
    only(&world, &[&contact]);
    let running = world
        .flyball(&["run", "--json", "--record", "--apply", "never", "--", "sh", "-c", "echo 1 > a.asked; cat a.asked"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let id = asked(&world);
    let unheard = world.flyball(&["answer", &id, "allow", "--reason", "me"]).output().unwrap();
    assert!(!unheard.status.success());
    world.ok(&["answer", &id, "allow", "--reason", "looked at", "--key", file.to_str().unwrap()]);
    let output = running.wait_with_output().unwrap();
    let session = summary(&output);
    assert_eq!(session["exit"], 0, "{}", stderr(&output));
    let answers = |log: &[Value]| log.iter().filter(|e| e["kind"] == "answer").count();
    assert_eq!(answers(&world.log()), 2, "both stand there");
    matches(&world, &session, "4");
    assert_eq!(answers(&world.log()), 2, "and are given again");
    // The key signed the answer of then, and not that of the replay, which says whose it was.
    world.verifies();
    let bundle = world.repo.scratch().join("replay.bundle");
    let name = bundle.to_str().unwrap();
    world.ok(&["export", "@", "-o", name]);
    let report: Value = serde_json::from_str(&world.ok(&["verify", name, "--json"])).unwrap();
    assert!(report["bundle"]["not_shown"].to_string().contains("whether a key signed what entry"), "{report:#}");

    // A fork begins with copies of what was signed for its parent, and takes up what was said later.
    let id = session["session"].as_str().unwrap();
    let log = world.ok(&["log", id, "--json"]);
    let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let attempt = log.iter().find(|entry| entry["kind"] == "question").unwrap()["body"]["of"].as_u64().unwrap();
    let outcome = log.iter().rfind(|entry| entry["kind"] == "outcome").unwrap()["seq"].as_u64().unwrap();
    for (until, script) in [(attempt - 1, "echo 1 > a.asked; cat a.asked"), (outcome, "cat a.asked")] {
        let until = until.to_string();
        let again = ["replay", id, "--until", &until, "--then", "--", "sh", "-c", script];
        let output = world.flyball(&again).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains('1'), "{output:?}");
        world.verifies();
    }
}

/// Signed acts on a session stand in its forks as well.
fn signed_acts(user: User) {
    let world = World::new(user);
    world.init("[autonomy]\nlevels = [\"observe\", \"bounded\"]\nstart = \"bounded\"\n", "");
    let (file, contact) = key(&world, "ann");
    only(&world, &[&contact]);
    let mut running = world
        .flyball(&["run", "--json", "--apply", "never", "--", "sh", "-c", "echo ready; read over"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // At that level nothing begins any more, its program neither: it has to run already.
    let mut said = std::io::BufReader::new(running.stdout.take().unwrap());
    said.read_line(&mut String::new()).unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let words = ["autonomy", "@", "observe", "--reason", "seen", "--key", file.to_str().unwrap()];
    while !world.flyball(&words).output().unwrap().status.success() {
        assert!(std::time::Instant::now() < until, "nobody takes it");
    }
    world.ok(&["kill", "@", "--reason", "enough"]);
    running.wait().unwrap();
    world.verifies();
    let log = world.log();
    let id = log[0]["stream"].as_str().unwrap().to_owned();
    let last = (log.last().unwrap()["seq"].as_u64().unwrap() - 1).to_string();
    world.flyball(&["replay", &id, "--until", &last, "--then", "--", "true"]).output().unwrap();
    assert_eq!(world.log()[0]["body"]["forked_from"]["session"], id.as_str());
    world.verifies();
    // And in a fork of that one, also where it is all that there is.
    let child = world.log()[0]["stream"].as_str().unwrap().to_owned();
    let last = (world.log().last().unwrap()["seq"].as_u64().unwrap() - 1).to_string();
    world.flyball(&["replay", &child, "--until", &last, "--then", "--", "true"]).output().unwrap();
    let from = &world.log()[0]["body"]["forked_from"];
    assert_eq!((&from["session"], &from["forked_from"]["session"]), (&json!(child), &json!(id)), "{from}");
    world.verifies();
    let bundle = world.repo.scratch().join("grandchild.flyball");
    let name = bundle.to_str().unwrap();
    world.ok(&["export", "@", "-o", name]);
    let key = world.ledger.join("keys/ledger.pub");
    let report = world.ok(&["verify", name, "--json", "--ledger", "/nonexistent", "--key", key.to_str().unwrap()]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["ok"], &report["problems"]), (&json!(true), &json!([])), "{report:#}");
}

/// The question that is open, once there is one.
fn asked(world: &World) -> String {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while std::time::Instant::now() < until {
        // Before the first session there is no ledger to ask.
        let asks = world.flyball(&["asks", "--json"]).output().unwrap();
        let asks = String::from_utf8_lossy(&asks.stdout).into_owned();
        if let Some(line) = asks.lines().next() {
            let ask: Value = serde_json::from_str(line).unwrap();
            return ask["id"].as_str().unwrap().to_owned();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("nobody was asked");
}

/// The entries of a session.
pub fn entries(world: &World, session: &Value) -> Vec<Value> {
    let text = world.ok(&["log", session["session"].as_str().unwrap(), "--json"]);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn forked(world: &World, session: &Value, until: u64, words: &[&str]) -> (Value, Output) {
    let (session, until) = (session["session"].as_str().unwrap(), until.to_string());
    let mut all = vec!["replay", session, "--json", "--until", until.as_str(), "--then", "--"];
    all.extend(words);
    let output = world.flyball(&all).output().unwrap();
    (summary(&output), output)
}

/// The workspace, a budget, a fact with its witness: as they were at the step, not before, not after.
fn fork(user: User) {
    let world = World::new(user);
    world.init(
        "[facts]\nbegun = 'once did fs.write(path like \"**/a.txt\")'\n[budget.links]\ncount = \"fs.link\"\nlimit = 3\nper = \"session\"\n",
        "@id(\"not-yet\") @owner(\"maintainer\") @reason(\"a.txt first\")\nforbid (principal, action == Action::\"fs.chmod\", resource) unless { context.fact.begun };\n",
    );
    let dir = programs(&world);
    let (parent, other) = (dir.join("parent"), dir.join("other"));
    program(
        &parent,
        "echo a > a.txt; ln a.txt l1; ln a.txt l2; mkdir step; cat a.txt > /dev/null; echo b > b.txt; echo A > a.txt; rm l1",
    );
    program(&other, "cat a.txt; ls b.txt l1 l2; chmod 600 a.txt; ln a.txt l3 && ln a.txt l4; echo c > c.txt; exit 5");
    world.user.own(&dir).unwrap();
    let session =
        world.flyball(&["run", "--json", "--apply", "never", "--", parent.to_str().unwrap()]).output().unwrap();
    let session = summary(&session);
    let log = entries(&world, &session);
    // Once the step's folder was made and seen.
    let is_step = |e: &&Value| e["kind"] == "observe" && e["body"]["workspace"].to_string().contains("\"step\"");
    let until = log.iter().find(is_step).unwrap()["seq"].as_u64().unwrap();
    let before = tree(&world.repo.workspace());
    let (fork, output) = forked(&world, &session, until, &[other.to_str().unwrap()]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output));
    assert_eq!(fork["exit"], 5, "{fork}\n{err}");
    assert!(out.starts_with("a\n") && out.contains("l1\nl2\n") && err.contains("b.txt"), "{out}\n{err}");
    assert_eq!(fork["denied"], 1, "the fourth link, and nothing else\n{err}");
    assert_eq!(tree(&world.repo.workspace()), before, "nothing is taken to the real workspace by itself");
    let its = entries(&world, &fork);
    assert_eq!(its[0]["body"]["forked_from"]["session"], session["session"]);
    assert_eq!(its[0]["body"]["forked_from"]["until"], until);
    assert_eq!(its[usize::try_from(until).unwrap()]["body"]["forked"]["session"], session["session"]);
    let (was, is) = (log[until as usize - 1].clone(), its[until as usize - 1].clone());
    assert_eq!((&was["kind"], &was["at"], &was["body"]), (&is["kind"], &is["at"], &is["body"]));
    world.verifies();
    let replayed = world.replay(fork["session"].as_str().unwrap());
    assert_eq!(replayed["result"], "match", "{replayed:#}");
    // It is a session as any other: applied, or gone on from.
    world.ok(&["apply", fork["session"].as_str().unwrap()]);
    let real = |name: &str| std::fs::read_to_string(world.repo.workspace().join(name)).ok();
    assert_eq!((real("a.txt").as_deref(), real("c.txt").as_deref(), real("b.txt")), (Some("a\n"), Some("c\n"), None));
    let refused = |until: &str, code: &str| {
        let words = ["replay", session["session"].as_str().unwrap(), "--until", until, "--then", "--", "true"];
        let output = world.flyball(&words).output().unwrap();
        let text = stderr(&output);
        assert!(output.status.code() == Some(1) && text.contains(code), "{text}");
    };
    refused(&until.to_string(), "a.txt");
    refused("100000", "FB0608");
    refused("0", "FB0608");
}

fn fork_answered(user: User) {
    let world = World::new(user);
    world.init(
        "",
        "@id(\"asked\") @owner(\"maintainer\") @reason(\"ask\") @escalate(\"maintainer\")\nforbid (principal, action == Action::\"fs.write\", resource) when { resource.path like \"*.asked\" };\n",
    );
    let dir = programs(&world);
    let agent = dir.join("agent");
    program(&agent, "echo 1 > a.asked; echo 2 > b.asked; cat *.asked");
    world.user.own(&dir).unwrap();
    let answering = |words: &[&str], verdicts: &[&str]| {
        let running = world
            .flyball(words)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        for verdict in verdicts {
            world.ok(&["answer", &asked(&world), verdict, "--reason", "looked at"]);
        }
        let output = running.wait_with_output().unwrap();
        (summary(&output), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let agent = agent.to_str().unwrap();
    let (session, out) = answering(&["run", "--json", "--apply", "never", "--", agent], &["allow", "deny"]);
    assert!(out.starts_with("1\n{"), "{out}");
    let id = session["session"].as_str().unwrap();
    let (fork, output) = forked(&world, &session, 1, &[agent]);
    assert_eq!((&fork["held"], &fork["exit"]), (&session["held"], &session["exit"]), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("1\n{"), "{output:?}");
    let log = entries(&world, &fork);
    let said: Vec<&str> =
        log.iter().filter(|e| e["kind"] == "answer").filter_map(|e| e["body"]["reason"].as_str()).collect();
    assert!(said.len() == 2 && said.iter().all(|reason| reason.contains(id)), "{said:?}");
    // Reopened: people are asked.
    let words = ["replay", id, "--json", "--reopen", "--until", "1", "--then", "--", agent];
    let (_, out) = answering(&words, &["deny", "allow"]);
    assert!(out.starts_with("2\n{"), "{out}");
}

fn program_of_all(path: &str) -> Option<String> {
    (!Path::new(path).exists()).then(|| format!("`{path}` is not installed"))
}

/// Runs it twice: each run has a time and randomness of its own, and each is made again as it was.
fn given_again(world: &World, words: &[&str]) -> (Value, String) {
    let (first, output) = record(world, words);
    assert_eq!(first["exit"], 0, "{first}\n{}", stderr(&output));
    let (_, other) = record(world, words);
    let said = |output: &Output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter(|line| !line.contains("ended_by")).collect::<Vec<_>>().join("\n")
    };
    assert_ne!(said(&output), said(&other), "they say what is random");
    matches(world, &first, "5");
    (first, said(&output))
}

/// Two processes that see to their order themselves, which nobody else can know; and some that follow each other.
const AT_ONCE: &str = r#"
import os
(from_a, to_b), (from_b, to_a) = os.pipe(), os.pipe()
a = os.fork()
if a == 0:
    open("f", "w").write("a"); os.write(to_b, b"x"); os.read(from_b, 1); os._exit(0)
b = os.fork()
if b == 0:
    os.read(from_a, 1); open("f", "a").write("b"); os.write(to_a, b"x"); os._exit(0)
os.waitpid(a, 0); os.waitpid(b, 0)
"#;

fn at_once(user: User) {
    let world = World::new(user);
    world.init("", "");
    let file = programs(&world).join("agent");
    program(&file, "echo 1 > f; sh -c 'echo 2 > f; date >> f'; date >> f; echo 3 >> f; cp f g; mv g f");
    world.user.own(&file).unwrap();
    let (session, _) = record(&world, &[file.to_str().unwrap()]);
    let shown = world.ok(&["show", session["session"].as_str().unwrap()]);
    assert!(session["replay_level"] == 5 && shown.contains("up to level 5"), "{session}\n{shown}");
    let (session, output) = record(&world, &["/usr/bin/python3", "-c", AT_ONCE]);
    assert_eq!((&session["exit"], &session["replay_level"]), (&json!(0), &json!(4)), "{session}\n{}", stderr(&output));
    let log = entries(&world, &session);
    let mut writes = log.iter().filter(|e| e["kind"] == "attempt" && e["body"]["verb"] == "fs.write");
    let last = writes.next_back().unwrap()["seq"].as_u64().unwrap();
    let shown = world.ok(&["show", session["session"].as_str().unwrap()]);
    assert!(shown.contains("up to level 4") && shown.contains("which went on as well"), "{shown}");
    assert!(shown.contains(&format!("{last}")), "entry {last}: {shown}");
    matches(&world, &session, "5");
}

fn shell(user: User) {
    let world = World::new(user);
    world.init("", "");
    let file = programs(&world).join("agent");
    let text = "date +%s.%N; od -An -N8 -tx8 /dev/urandom; mktemp; sh -c 'echo $$'; date > now; sleep 0.1; date +%N >> now; ls -1U";
    program(&file, text);
    world.user.own(&file).unwrap();
    let agent = file.to_str().unwrap();
    let (session, _) = given_again(&world, &[agent]);
    let shown = world.ok(&["show", session["session"].as_str().unwrap()]);
    assert!(shown.contains("up to level 5"), "{shown}");
    // What the sandbox does not give is what it is today, and the replay says so.
    program(&file, "cat /proc/sys/kernel/../kernel/random/uuid");
    let (session, _) = record(&world, &[agent]);
    let (told, output) = replay(&world, &session, "5");
    assert_eq!((told["result"].as_str(), output.status.code()), (Some("diverged"), Some(104)), "{told:#}");
    assert_eq!(told["difference"]["field"], "/streams/stdout");
    matches(&world, &session, "4");
}

fn python(user: User) {
    let world = World::new(user);
    world.init("", "");
    let text = "import os, random, secrets, tempfile, time, uuid\n\
                print(time.time(), time.monotonic_ns(), random.random(), uuid.uuid4(), secrets.token_hex(), os.getpid(), {'a', 'b', 'c', 'd'})\n\
                print(tempfile.mkdtemp()); open('now', 'w').write(str(time.time_ns()))\n";
    std::fs::write(world.repo.workspace().join("agent.py"), text).unwrap();
    given_again(&world, &["/usr/bin/python3", "agent.py"]);
    // What can't be handed over fails as the system's own call does.
    let text = "import ctypes, errno\n\
                call = ctypes.CDLL(None, use_errno=True).syscall\n\
                for number, words in ((318, (8, 16, 0)), (228, (0, 8)), (96, (8, 0))):\n\
                \x20   assert call(number, *words) == -1 and ctypes.get_errno() == errno.EFAULT, number\n\
                print('refused', __import__('time').time_ns())\n";
    std::fs::write(world.repo.workspace().join("agent.py"), text).unwrap();
    let (_, said) = given_again(&world, &["/usr/bin/python3", "agent.py"]);
    assert!(said.contains("refused"), "{said}");
}

fn node(user: User) {
    let world = World::new(user);
    world.init("", "");
    let text = "const c = require('crypto');\n\
                console.log(Date.now(), Math.random(), process.hrtime.bigint(), c.randomUUID(), c.randomBytes(8).toString('hex'), process.pid);\n\
                setTimeout(() => { console.log(Date.now()); require('fs').writeFileSync('now', String(Math.random())); }, 50);\n";
    std::fs::write(world.repo.workspace().join("agent.js"), text).unwrap();
    given_again(&world, &["/usr/bin/node", "agent.js"]);
}

fn commits(user: User) {
    let world = World::new(user);
    world.init("", "");
    let file = programs(&world).join("agent");
    let git = "git -c user.email=a@example.com -c user.name=a";
    program(
        &file,
        &format!(
            "date +%N > g; git add g; {git} commit -qm one; sleep 1; echo 2 >> g; {git} commit -qam two; git log --format=%H,%ct"
        ),
    );
    world.user.own(&file).unwrap();
    let (_, said) = given_again(&world, &[file.to_str().unwrap()]);
    assert!(said.lines().count() >= 2, "{said}");
}

/// To a real bare repository: it is there once, applied, and the replay's never leaves the replay.
fn push(user: User) {
    let world = World::new(user);
    world.init("", "");
    let file = programs(&world).join("agent");
    let git = "git -c user.email=a@example.com -c user.name=a";
    program(
        &file,
        &format!(
            "git init -q --bare remote.git; echo 1 > p; git add p; {git} commit -qm p; git push -q ./remote.git HEAD:refs/heads/next; echo pushed $?"
        ),
    );
    world.user.own(&file).unwrap();
    let words = ["run", "--json", "--record", "--on-hold", "deny", "--apply", "never", "--", file.to_str().unwrap()];
    let output = world.flyball(&words).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("pushed 0"), "{output:?}");
    let session = summary(&output);
    world.ok(&["apply", session["session"].as_str().unwrap()]);
    let remote = world.repo.workspace().join("remote.git");
    assert!(remote.join("refs/heads/next").exists());
    let before = tree(&remote);
    let hook = remote.join("hooks/post-receive");
    program(&hook, "touch arrived");
    let told = matches(&world, &session, "4");
    std::fs::remove_file(&hook).unwrap();
    assert_eq!(tree(&remote), before, "nothing arrived");
    // That it was done again in the copy is said.
    let done = told["rerun"]["in_the_copy"].as_array().unwrap();
    let pushed = done.iter().filter(|done| done["verb"] == "git.push").count();
    assert_eq!(pushed, 1, "{told:#}");
    let copy = entries(&world, &told["rerun"]);
    for done in done {
        let entry = &copy[usize::try_from(done["seq"].as_u64().unwrap()).unwrap() - 1];
        assert_eq!((&entry["kind"], &entry["body"]["verb"]), (&json!("attempt"), &done["verb"]), "{told:#}");
    }
    let (_, output) = (told, world.flyball(&["replay", session["session"].as_str().unwrap(), "--level", "4"]).output());
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(said.contains("done in its copy only") && said.contains("git.push"), "{said}");
}

/// A server of this machine that the recorded program did not reach either: the replay reaches nothing at all.
fn reaches_out(user: User) {
    let world = World::new(user);
    world.init("", "");
    let dir = programs(&world);
    let (agent, helper) = (dir.join("agent"), dir.join("helper"));
    program(&agent, &format!("{} ; exit 0", helper.display()));
    program(&helper, "exit 0");
    world.user.own(&dir).unwrap();
    let (session, _) = record(&world, &[agent.to_str().unwrap()]);
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let port = server.local_addr().unwrap().port();
    program(
        &helper,
        &format!("/usr/bin/python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}), 5)'; exit 0"),
    );
    let (told, output) = replay(&world, &session, "4");
    assert_eq!((told["result"].as_str(), output.status.code()), (Some("diverged"), Some(104)), "{told:#}");
    assert!(
        told["difference"]["recomputed"]["action"]["resource"]["program"].as_str().unwrap().starts_with("python3"),
        "{told:#}"
    );
    assert!(server.accept().is_err(), "nobody came");
}
