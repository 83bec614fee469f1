//! A machine whose ordinary users have no user namespaces: Landlock and mediation stand alone, if that is accepted.

use crate::lacking::{WORK, announced, doctor, refused, tree};
use crate::people::wait_for;
use crate::support::{Case, World, nothing, stderr, summary};
use flyball_testkit::repo::CANARY;
use flyball_testkit::user::User;
use serde_json::Value;
use std::process::{Output, Stdio};

const ACCEPT: [&str; 2] = ["--accept-weaker", "namespaces"];

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "without_namespaces_only_if_accepted", needs: nothing, run: accepted },
        Case { name: "without_namespaces_the_work_is_the_same", needs: ordinary, run: the_same },
        Case { name: "without_namespaces_what_is_closed_stays_closed", needs: ordinary, run: closed },
        Case { name: "without_namespaces_nothing_outlives_the_end", needs: ordinary, run: ends },
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
    // Whoever goes by the workspace's own path is told where it is.
    assert!(seen.contains(&format!("this session has {real} at ")), "{seen}");
    let after = (tree(&world.repo.workspace(), ""), tree(&world.repo.home(), ""), tree(&world.repo.outside(), ""));
    assert_eq!(before, after);
    world.verifies();
}

/// Daemons of every kind die with the session, with its supervisor, and with each of the two processes that stand between.
fn ends(user: User) {
    const DAEMONS: &str =
        "perl -MPOSIX -e 'fork and exit; POSIX::setsid(); fork and exit; $SIG{$_} = \"IGNORE\" for qw(HUP TERM INT);
        open(F, \">\", \"up\"); close F; sleep 1 while 1' {mark}; while ! test -e up; do sleep 0.05; done";
    for (round, end) in ["itself", "supervisor", "launcher", "first"].into_iter().enumerate() {
        let world = machine(user);
        world.init("", "");
        let mark = format!("flyball-daemon-{}-{round}", std::process::id());
        let wait = if end == "itself" { "" } else { "; sleep 600" };
        std::fs::write(world.repo.workspace().join("d.sh"), DAEMONS.replace("{mark}", &mark) + wait).unwrap();
        let words = ["run", ACCEPT[0], ACCEPT[1], "--on-hold", "deny", "--apply", "never", "--", "sh", "d.sh", &mark];
        let mut child = world.flyball(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if end != "itself" {
            wait_for("the daemon", || running(&mark).iter().any(|(_, line)| line.starts_with("perl")).then_some(()));
            // The wrapper that takes the namespaces away execs: the child is the supervisor.
            let supervisor = i32::try_from(child.id()).unwrap();
            let launcher = children(supervisor)[0];
            let pid = match end {
                "supervisor" => supervisor,
                "launcher" => launcher,
                _ => children(launcher)[0],
            };
            let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
            assert!(killed.success());
        }
        wait_for("the supervisor's end", || child.try_wait().unwrap());
        // The supervisor itself has the mark among its arguments.
        wait_for(&format!("the end after {end}"), || running(&mark).is_empty().then_some(()));
    }
}

/// Processes with that text among their arguments.
fn running(mark: &str) -> Vec<(i32, String)> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let lines = numbers.filter_map(|pid: i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&line).into_owned()))
    });
    lines.filter(|(_, line)| line.contains(mark)).collect()
}

fn children(pid: i32) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |child: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parent == Some(pid)
    };
    let mut found: Vec<i32> = numbers.filter(is_child).collect();
    found.sort_unstable();
    found
}
