//! People's acts on a live session: questions, pause, resume, kill, rollback.

use crate::support::{Case, World, nothing, stderr, summary};
use flyball_testkit::user::User;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "a_question_is_answered_and_binds_to_its_action", needs: nothing, run: question },
        Case { name: "pause_stops_and_resume_goes_on", needs: nothing, run: pause },
        Case { name: "kill_ends_all_with_a_question_open", needs: nothing, run: kill },
        Case { name: "rollback_of_a_live_session", needs: nothing, run: rollback },
        Case { name: "a_pause_while_a_rollback_goes_on_stands", needs: nothing, run: pause_in_rollback },
        Case { name: "a_charter_that_cannot_be_read_is_not_one_that_is_not_there", needs: nothing, run: unreadable },
        Case { name: "a_killed_supervisor_ends_the_tree_and_is_closed_honestly", needs: nothing, run: dead_supervisor },
        Case {
            name: "daemons_stopped_and_frozen_ones_die_with_their_supervisor",
            needs: nothing,
            run: dead_in_any_state,
        },
        Case { name: "sessions_share_one_ledger", needs: nothing, run: several },
    ]
}

pub fn start(world: &World, script: &str) -> Child {
    world
        .flyball(&["run", "--json", "--apply", "never", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "waited a minute for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn asked(world: &World) -> Value {
    wait_for("a question", || {
        // There may be no ledger yet.
        let output = world.flyball(&["asks", "--json"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).lines().next().map(|line| serde_json::from_str(line).unwrap())
    })
}

fn pause_in_rollback(user: User) {
    let world = World::new(user);
    world.init("", "");
    let script = "mkdir d; i=0; while [ $i -lt 400 ]; do printf x > d/$i; i=$((i+1)); done; env true; touch ready
                  while [ ! -e stop ]; do printf . >> beat; done";
    let child = start(&world, script);
    wait_for("the script's work", || (upper(&world).join("ready").exists() && heartbeat(&world) > 10).then_some(()));
    let session = upper(&world).ancestors().nth(2).unwrap().to_owned();
    let rollback = world.flyball(&["rollback", "@", "1", "--reason", "test"]).spawn().unwrap();
    wait_for("the rollback to begin", || session.join("rollback.journal").exists().then_some(()));
    world.ok(&["pause", "@", "--reason", "test"]);
    let rolled_back = rollback.wait_with_output().unwrap();
    assert!(rolled_back.status.success());
    // Of a session that goes on under a kernel that was told of a pause, everything would be refused.
    std::thread::sleep(Duration::from_millis(300));
    let refused = world.log().iter().filter(|e| e.to_string().contains("session-paused")).count();
    assert_eq!(refused, 0, "it went on while paused");
    world.ok(&["resume", "@", "--reason", "test"]);
    let before = heartbeat(&world);
    wait_for("the program to go on", || (heartbeat(&world) > before).then_some(()));
    world.ok(&["kill", "@", "--reason", "test"]);
    child.wait_with_output().unwrap();
    world.verifies();
}

fn unreadable(user: User) {
    let world = World::new(user);
    let charter = world.repo.workspace().join(".flyball");
    let run = || world.flyball(&["run", "--apply", "never", "--", "true"]).output().unwrap();
    std::os::unix::fs::symlink("nowhere", &charter).unwrap();
    let output = run();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    std::fs::remove_file(&charter).unwrap();
    std::fs::create_dir(&charter).unwrap();
    std::fs::write(charter.join("rules.cedar"), "forbid (principal, action, resource);").unwrap();
    user.own(&charter).unwrap();
    let output = run();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("no `charter.toml`"), "{}", stderr(&output));
}

/// Something inside that changes as long as the program runs.
fn heartbeat(world: &World) -> u64 {
    std::fs::metadata(upper(world).join("beat")).map_or(0, |m| m.len())
}

fn upper(world: &World) -> std::path::PathBuf {
    let sessions = world.repo.scratch().join("ledger/sessions");
    let session = std::fs::read_dir(&sessions).ok().and_then(|mut d| d.next()).and_then(Result::ok);
    session.map_or_else(|| sessions.join("none"), |s| s.path()).join("workspace/upper")
}

fn question(user: User) {
    let world = World::new(user);
    world.init("", "");
    // In a file, so that what it writes is asked about when it writes it, not when the shell is started.
    std::fs::write(
        world.repo.workspace().join("work.sh"),
        "printf x > .github/workflows/ci.yml; echo code=$?; printf y > .github/workflows/new.yml; echo code=$?\n",
    )
    .unwrap();
    let child = start(&world, "sh work.sh");
    let first = asked(&world);
    let id = first["id"].as_str().unwrap().to_owned();
    world.ok(&["answer", &id, "allow", "--reason", "a test may"]);
    let second = wait_for("the next question", || {
        let text = world.ok(&["asks", "--json"]);
        let next: Value = serde_json::from_str(text.lines().next()?).unwrap();
        (next["id"] != id.as_str()).then_some(next)
    });
    // An answer is good for one action, once.
    let again = world.flyball(&["answer", &id, "allow", "--reason", "again"]).output().unwrap();
    assert!(!again.status.success());
    world.ok(&["answer", second["id"].as_str().unwrap(), "deny", "--reason", "not this one"]);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("code=0\n"), "{text}\n{}", stderr(&output));
    assert!(text.contains("code=2\n") || text.contains("code=1\n"), "{text}");
    assert!(stderr(&output).contains("not this one"), "{}", stderr(&output));
    let log = world.log();
    assert_eq!(log.iter().filter(|e| e["kind"] == "answer").count(), 2);
    world.verifies();
}

fn pause(user: User) {
    let world = World::new(user);
    world.init("", "");
    let child = start(&world, "while [ ! -e stop ]; do printf . >> beat; done");
    wait_for("the program to run", || (heartbeat(&world) > 10).then_some(()));
    world.ok(&["pause", "@", "--reason", "test"]);
    let paused = heartbeat(&world);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(heartbeat(&world), paused, "it went on while paused");
    world.ok(&["resume", "@", "--reason", "test"]);
    wait_for("the program to go on", || (heartbeat(&world) > paused).then_some(()));
    world.ok(&["kill", "@", "--reason", "test"]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(summary(&output)["ended_by"], "person");
    let log = world.log();
    let paused = log.iter().filter(|e| e["kind"] == "ruling" && e.to_string().contains("session-paused")).count();
    assert_eq!(paused, 0, "a pause is no refusal");
    world.verifies();
}

fn kill(user: User) {
    let world = World::new(user);
    world.init("", "");
    let child = start(&world, "sleep 1000 & printf x > .github/workflows/ci.yml");
    asked(&world);
    world.ok(&["kill", "@", "--reason", "test"]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(summary(&output)["ended_by"], "person");
    assert_eq!(world.ok(&["asks", "--json"]), "");
    world.verifies();
}

fn rollback(user: User) {
    let world = World::new(user);
    world.init("", "");
    let script = "printf one > a.txt; env true; printf two > a.txt; rm README.md; mkdir -p d/e; printf x > d/e/f; env true; \
                  touch ready; while [ ! -e /tmp/go ] && grep -q two a.txt; do sleep 0.05; done; cat a.txt; ls";
    let child = start(&world, script);
    wait_for("the script's last change", || upper(&world).join("ready").exists().then_some(()));
    let first = wait_for("the first change on record", || {
        let log = world.log();
        log.iter().find(|e| e["kind"] == "observe" && e.to_string().contains("a.txt")).map(|e| e["seq"].to_string())
    });
    world.ok(&["rollback", "@", &first, "--reason", "test"]);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("one") && text.contains("README.md") && !text.contains("\nd\n"),
        "{text}\n{}",
        stderr(&output)
    );
    let log = world.log();
    let act = log.iter().find(|e| e["kind"] == "intervention" && e["body"]["act"] == "rollback").unwrap();
    assert_eq!(act["body"]["digest"], act["body"]["recorded"], "{act}");
    world.verifies();
}

fn dead_supervisor(user: User) {
    let world = World::new(user);
    world.init("", "");
    let mut child = start(&world, "while :; do printf . >> beat; done");
    wait_for("the program to run", || (heartbeat(&world) > 10).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    let mut last = heartbeat(&world);
    wait_for("the tree to end with its supervisor", || {
        std::thread::sleep(Duration::from_millis(150));
        let now = heartbeat(&world);
        (std::mem::replace(&mut last, now) == now).then_some(())
    });
    let (_, _) = world.run("true");
    let streams = world.ok(&["ps", "--json"]);
    let dead: Value = streams
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap())
        .find(|s| s["name"] == "sh" && s["actions"].as_u64() > Some(10))
        .unwrap();
    let text = world.ok(&["log", dead["session"].as_str().or(dead["id"].as_str()).unwrap(), "--json"]);
    let log: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(log.last().unwrap()["kind"], "close");
    assert!(
        log.iter().any(|e| e["kind"] == "outcome" && e["body"]["unknown"] == true),
        "nothing is left open or guessed"
    );
    world.verifies();
}

fn dead_in_any_state(user: User) {
    for is_frozen in [false, true] {
        let world = World::new(user);
        world.init("", "");
        // Nobody else sleeps for so long.
        let who = u8::from(user.kind() == "root");
        let mark = format!("7{}{who}{}", std::process::id(), u8::from(is_frozen));
        let running = || {
            let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
            let said = all.filter_map(|one| std::fs::read(one.path().join("cmdline")).ok());
            said.filter(|said| said.starts_with(format!("sleep\0{mark}.").as_bytes())).count()
        };
        let script = format!(
            "(setsid sh -c 'exec sleep {mark}.1' &); sleep {mark}.2 & until grep -q sleep /proc/$!/comm; do :; done; kill -STOP $!; \
             (trap '' TERM HUP INT; setsid nohup sh -c '(exec sleep {mark}.3) &' > /dev/null 2>&1); \
             trap '' TERM HUP INT QUIT; sleep {mark}.4"
        );
        let mut child = start(&world, &script);
        wait_for("all four to run", || (running() == 4).then_some(()));
        if is_frozen {
            world.ok(&["pause", "@"]);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        wait_for("all four to be gone", || (running() == 0).then_some(()));
    }
}

fn several(user: User) {
    let world = World::new(user);
    world.init("", "");
    let script = "for i in 1 2 3 4 5 6 7 8; do printf $i > f$i; cat f$i; done";
    let children: Vec<Child> = (0..3).map(|_| start(&world, script)).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("12345678"));
    }
    assert!(!Path::new(&world.repo.workspace().join("f1")).exists());
    let report: Value = serde_json::from_str(&world.ok(&["verify", "--json"])).unwrap();
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!(world.ok(&["ps", "--json"]).lines().count(), 3);
}
