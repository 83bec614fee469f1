//! A machine whose ordinary users have no user namespaces: Landlock and mediation stand alone, if that is accepted.

use crate::lacking::{WORK, announced, doctor, refused, tree};
use crate::support::{Case, World, nothing, stderr, summary};
use flyball_testkit::repo::CANARY;
use flyball_testkit::user::User;
use serde_json::Value;
use std::process::Output;

const ACCEPT: [&str; 2] = ["--accept-weaker", "namespaces"];

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "without_namespaces_only_if_accepted", needs: nothing, run: accepted },
        Case { name: "without_namespaces_the_work_is_the_same", needs: ordinary, run: the_same },
        Case { name: "without_namespaces_what_is_closed_stays_closed", needs: ordinary, run: closed },
    ]
}

fn ordinary(user: User) -> Option<String> {
    user.is_root().then(|| "a session without namespaces is an ordinary user's only".to_owned())
}

fn machine(user: User) -> World {
    World::lacking(user, &[if user.is_root() { "namespaces" } else { "user-namespaces" }])
}

/// Governs a script; nobody is there to answer.
fn run(world: &World, script: &str) -> (Value, Output) {
    let words = ["run", "--json", "--on-hold", "deny", "--apply", "never"];
    let output = world.flyball(&[&words[..], &ACCEPT, &["--", "sh", "-c", script]].concat()).output().unwrap();
    (summary(&output), output)
}

fn accepted(user: User) {
    let world = machine(user);
    world.init("", "");
    let (finding, is_enough) = doctor(&world, "namespaces");
    assert!(!is_enough && finding["ok"] == false && finding["required"] == true, "{finding}");
    assert_eq!(finding["weakness"].as_str(), (!user.is_root()).then_some("namespaces"), "{finding}");
    refused(&world, &["run", "--", "touch", "ran"], "namespaces");
    if user.is_root() {
        return refused(&world, &["run", ACCEPT[0], ACCEPT[1], "--", "touch", "ran"], "namespaces");
    }
    let (summary, output) = run(&world, "true");
    assert_eq!(summary["exit"], 0, "{}", stderr(&output));
    announced(&world, &stderr(&output), &["namespaces", "overlay"]);
    for what in ["net: closed", "process: the machine's", "fs.read: names"] {
        assert!(world.ok(&["show", "@"]).contains(what));
        assert!(world.log()[0]["body"]["uncovered"].to_string().contains(what), "{:?}", world.log()[0]);
        assert!(stderr(&output).contains(what), "{}", stderr(&output));
    }
    world.verifies();
    let world = machine(user);
    world.init("[sandbox]\nrequire = [\"namespaces\"]\n", "");
    refused(&world, &["run", "--", "touch", "ran"], "namespaces");
    refused(&world, &["run", ACCEPT[0], ACCEPT[1], "--", "touch", "ran"], "namespaces");
}

/// A compiler, its temporary files, and a program that was just made.
const COMPILE: &str = "printf 'int main(void){return 7;}' > seven.c && cc -o seven seven.c; ./seven; test $? = 7 || exit 9
    rm seven seven.c; mktemp > /dev/null && echo x > $TMPDIR/x && cat $TMPDIR/x && test \"$(pwd)\" = \"$PWD\" || exit 8";

fn the_same(user: User) {
    let world = machine(user);
    world.init("", "");
    let before = tree(&world.repo.workspace(), "");
    let (summary, output) = run(&world, &format!("{COMPILE}\n{WORK}"));
    assert_eq!(summary["exit"], 0, "{}", stderr(&output));
    assert_eq!(tree(&world.repo.workspace(), ""), before, "the user's tree was touched");
    let log = world.log();
    let alerts: Vec<_> = log.iter().filter(|e| e["kind"] == "alert").collect();
    assert!(alerts.is_empty(), "{alerts:?}");
    // Rules saw the workspace, not where the session keeps it.
    let attempts = || log.iter().filter(|e| e["kind"] == "attempt");
    assert!(!attempts().any(|e| e["body"].to_string().contains("/upper")), "{log:#?}");
    let made = world.repo.workspace().join("a.txt").display().to_string();
    assert!(attempts().any(|e| e["body"]["resource"]["path"] == made.as_str()), "{log:#?}");

    let plain = world.repo.scratch().join("plain");
    let copied = std::process::Command::new("cp").arg("-a").arg(world.repo.workspace()).arg(&plain).status().unwrap();
    assert!(copied.success());
    let mut command = user.command("sh", &world.repo.home());
    assert!(command.args(["-c", WORK]).current_dir(&plain).status().unwrap().success());
    world.ok(&["apply", "@"]);
    let (ours, theirs) = (tree(&world.repo.workspace(), ".git"), tree(&plain, ".git"));
    let differing = ours.iter().filter(|e| !theirs.contains(e)).chain(theirs.iter().filter(|e| !ours.contains(e)));
    assert_eq!(differing.collect::<Vec<_>>(), Vec::<&String>::new());
    world.repo.git(user, &["fsck", "--strict"]).unwrap();

    // And back: a session's work taken back before it is applied.
    let before = tree(&world.repo.workspace(), "");
    run(&world, "printf 1 > kept; rm pages/page-0*; mv words.sh verbs.sh");
    let log = world.log();
    let id = log[0]["body"]["session"].as_str().unwrap().to_owned();
    let last = log.last().unwrap()["seq"].to_string();
    let diff = world.ok(&["diff", "@", "1", &last]);
    assert!(diff.contains("kept") && diff.contains("verbs.sh"), "{diff}");
    world.ok(&["rollback", &id, "1", "--reason", "a test"]);
    world.ok(&["apply", &id]);
    assert_eq!(tree(&world.repo.workspace(), ""), before);
    world.verifies();
}

fn closed(user: User) {
    let world = machine(user);
    world.init("", "");
    let (home, outside) = (world.repo.home(), world.repo.outside());
    let (home, outside, real) = (home.display(), outside.display(), world.repo.workspace());
    let real = real.display();
    let ledger = world.repo.scratch().join("ledger");
    let ledger = ledger.display();
    let script = format!(
        "cat ~/.ssh/* {home}/.ssh/* ~/.aws/* {home}/.aws/* ~/.netrc {home}/.netrc {home}/.config/gh/*
         cp -r {home}/.ssh x; cat x/*; ln {home}/.ssh/id_ed25519 y; cat y; mv {home}/.ssh z; cat z/*
         cat /proc/self/root{home}/.ssh/* {outside}/notes.txt {ledger}/keys/* {ledger}/ledger.db ../base
         ls {home} {outside} {ledger} .. {real} /tmp /dev/shm && echo LISTED
         for f in {real}/new {real}/README.md {outside}/new {home}/.new {ledger}/new ../new ../base ../../lock /tmp/new /dev/shm/new; do
           echo x > $f && echo WROTE $f; done
         echo x >> .flyball/charter.toml && echo WROTE charter; mv .flyball a && echo WROTE charter
         rm -rf ../../inbox.jsonl ../base && echo WROTE record; mv ../upper ../lower && echo WROTE upper
         touch {real}/README.md && echo WROTE times; chmod 777 {real}/README.md && echo WROTE mode
         ln -s {home}/.ssh s && cat s/*
         grep -q . .flyball/charter.toml && echo READ charter"
    );
    std::fs::write(world.repo.workspace().join("attack.sh"), script).unwrap();
    let before = (tree(&world.repo.workspace(), ""), tree(&world.repo.home(), ""), tree(&world.repo.outside(), ""));
    let (summary, output) = run(&world, "sh attack.sh");
    let seen = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    assert_eq!(summary["exit"], 0, "{seen}");
    assert!(seen.contains("READ charter"), "{seen}");
    for bad in [CANARY, "LISTED", "WROTE", "SQLite"] {
        assert!(!seen.contains(bad), "{bad}: {seen}");
    }
    let after = (tree(&world.repo.workspace(), ""), tree(&world.repo.home(), ""), tree(&world.repo.outside(), ""));
    assert_eq!(before, after);
    world.verifies();
}
