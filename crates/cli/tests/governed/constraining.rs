//! Another charter while a program runs.

use crate::fleet::Live;
use crate::people::{asked, start, wait_for};
use crate::support::{Case, World, nothing, stderr};
use flyball_testkit::user::User;
use serde_json::Value;
use std::path::{Path, PathBuf};

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "a_narrower_charter_holds_from_the_next_action_on", needs: nothing, run: narrower },
        Case { name: "lower_limits_hold_from_then_on", needs: nothing, run: limits },
        Case { name: "a_wider_charter_needs_who_answers_for_it", needs: nothing, run: wider },
    ]
}

/// A copy of the charter, with each file changed.
pub fn copy(world: &World, name: &str, how: impl Fn(&str, String) -> String) -> PathBuf {
    let to = world.repo.scratch().join(name);
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(world.repo.workspace().join(".flyball")).unwrap().flatten() {
        let file = entry.file_name().into_string().unwrap();
        let text = std::fs::read_to_string(entry.path()).unwrap();
        std::fs::write(to.join(&file), how(&file, text)).unwrap();
    }
    world.user.own(&to).unwrap();
    to
}

pub fn constrain(world: &World, dir: &Path, more: &[&str]) -> (bool, String) {
    let words = ["constrain", "@", "--reason", "test", "--charter", dir.to_str().unwrap()];
    let output = world.flyball(&[&words, more].concat()).output().unwrap();
    (output.status.success(), stderr(&output))
}

fn narrower(user: User) {
    let world = World::new(user);
    world.init("[facts]\n", "");
    let dir = copy(&world, "narrow", |file, text| match file {
        "charter.toml" => {
            text.replacen("[facts]\n", "[facts]\nbegun = 'once did fs.write(path like \"**/first.txt\")'\n", 1)
        }
        "more.cedar" => format!(
            "{text}@id(\"no-notes\") @owner(\"maintainer\") @reason(\"No notes once it has begun.\")\n\
             forbid (principal, action == Action::\"fs.write\", resource) when {{ resource.name == \"notes.txt\" && context.fact.begun }};\n"
        ),
        _ => text,
    });
    std::fs::write(
        world.repo.workspace().join("work.sh"),
        "printf 1 > first.txt; printf 2 > notes.txt; echo before=$?; printf x > .github/workflows/ci.yml; echo asked=$?; \
         printf 3 > notes.txt; echo after=$?\n",
    )
    .unwrap();
    let child = start(&world, "sh work.sh; true");
    let question = asked(&world);
    let sandbox = copy(&world, "sandbox", |file, text| match file {
        "charter.toml" => text.replacen("[sandbox]\n", "[sandbox]\nhide = [\"~/.elsewhere\"]\n", 1),
        _ => text,
    });
    if std::fs::read_to_string(sandbox.join("charter.toml")).unwrap().contains(".elsewhere") {
        let (is_ok, said) = constrain(&world, &sandbox, &[]);
        assert!(!is_ok && said.contains("[sandbox] can't change while the program runs"), "{said}");
        assert!(said.contains("rules that forbid `fs.read`"), "it says what does it instead: {said}");
    }
    let (is_ok, said) = constrain(&world, &dir, &[]);
    assert!(is_ok, "{said}");
    let (again, said) = constrain(&world, &dir, &[]);
    assert!(!again && said.contains("in force already"), "{said}");
    world.ok(&["answer", question["id"].as_str().unwrap(), "allow", "--reason", "a test may"]);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in ["before=0", "asked=0"] {
        assert!(text.contains(line), "{text}\n{}", stderr(&output));
    }
    assert!(!text.contains("after=0"), "{text}\n{}", stderr(&output));
    let log = world.log();
    let change = log.iter().find(|e| e["kind"] == "charter").expect("the change is an entry");
    let denied = log.iter().find(|e| e["kind"] == "ruling" && e["body"]["verdict"] == "deny").unwrap();
    assert_eq!(denied["body"]["charter"], change["body"]["charter"]);
    let reason = &denied["body"]["reasons"][0];
    assert_eq!(reason["rule"], "no-notes");
    let witness = reason["witnesses"][0].as_u64().expect("a witness from before the change");
    assert!(witness < change["seq"].as_u64().unwrap(), "{reason}");
    let opened = &log[0]["body"]["charter"]["digest"];
    assert!(log.iter().any(|e| e["kind"] == "ruling" && e["body"]["charter"] == *opened));
    // Reading goes across the change: the rule is quoted from the charter that ruled.
    let of = denied["body"]["of"].to_string();
    let why = world.ok(&["why", "@", &of]);
    assert!(why.contains("no-notes") && why.contains("context.fact.begun"), "{why}");
    world.ok(&["show", "@"]);
    world.ok(&["log", "@"]);
    world.ok(&["trace", "@", &of]);
    world.verifies();
}

/// A small charter: those that are not plainly narrower are compared action by action. Gives who answers for it.
pub fn small(world: &World, user: User) -> String {
    let me = flyball_runtime::control::user(user.uid());
    world.change("charter.toml", |_| {
        format!(
            "[charter]\nname = \"small\"\n[owners]\nmaintainer = [\"{me}\"]\n\
             [escalation.maintainer]\nask = \"maintainer\"\nwithin = \"15m\"\nthen = \"deny\"\n"
        )
    });
    world.change("rules.cedar", |_| {
        "@id(\"all\") @owner(\"maintainer\") @reason(\"All else.\") permit (principal, action, resource);\n\
         @id(\"ci\") @owner(\"maintainer\") @reason(\"Ask.\") @escalate(\"maintainer\")\n\
         forbid (principal, action == Action::\"fs.write\", resource) when { resource.name == \"ci.yml\" };\n"
            .to_owned()
    });
    world.change("more.cedar", |_| {
        "@id(\"no-notes\") @owner(\"maintainer\") @reason(\"No notes.\")\n\
         forbid (principal, action == Action::\"fs.write\", resource) when { resource.name == \"notes.txt\" };\n"
            .to_owned()
    });
    me
}

fn wider(user: User) {
    let world = World::new(user);
    world.init("", "");
    let me = small(&world, user);
    let loose = copy(&world, "loose", |file, text| if file == "more.cedar" { String::new() } else { text });
    std::fs::write(
        world.repo.workspace().join("work.sh"),
        "printf 1 > notes.txt; echo before=$?; printf x > .github/workflows/ci.yml; printf 2 > notes.txt; echo after=$?\n",
    )
    .unwrap();
    let child = start(&world, "sh work.sh; true");
    let question = asked(&world);
    let (is_ok, said) = constrain(&world, &loose, &[]);
    assert!(!is_ok && said.contains("not shown to be narrower") && said.contains("no-notes"), "{said}");
    let (is_ok, said) = constrain(&world, &loose, &["--widen"]);
    assert!(is_ok, "{said}");
    world.ok(&["answer", question["id"].as_str().unwrap(), "deny", "--reason", "go on"]);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("after=0") && !text.contains("before=0"), "{text}\n{}", stderr(&output));
    let log = world.log();
    let change = log.iter().find(|e| e["kind"] == "charter").unwrap();
    assert!(change["body"]["widens"].to_string().contains("notes"), "{change}");
    world.verifies();

    // The same, where somebody else answers for the rules.
    world.change("charter.toml", |text| text.replacen(&format!("\"{me}\""), "\"user:somebody-else\"", 1));
    let loose = copy(&world, "looser", |file, text| if file == "more.cedar" { String::new() } else { text });
    let mut child = start(&world, "sleep 100");
    wait_for("the second session", || {
        let live: Vec<Value> = world.ok(&["ps", "--json"]).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        live.iter().any(|s| s["state"] == "running").then_some(())
    });
    let (is_ok, said) = wait_for("an answer of its own", || {
        let (is_ok, said) = constrain(&world, &loose, &["--widen"]);
        (!said.contains("still starting")).then_some((is_ok, said))
    });
    assert!(!is_ok && said.contains("is no contact of `maintainer`"), "{said}");
    world.ok(&["kill", "@", "--reason", "over"]);
    drop(child.wait());
}

/// Fewer processes from now on, fewer still, and as many as before again.
fn limits(user: User) {
    let world = World::new(user);
    world.init("", "");
    small(&world, user);
    let limited = |name: &str, limits: &str| {
        copy(&world, name, |file, text| match file {
            "charter.toml" => format!("{text}[limits]\n{limits}\n"),
            _ => text,
        })
    };
    let as_before = copy(&world, "as-before", |_, text| text);
    let twenty = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 0.5 & done; wait\n";
    std::fs::write(world.repo.workspace().join("twenty.sh"), twenty).unwrap();
    let mut live = Live::start(&world);
    assert!(live.act("sh twenty.sh"));
    let (is_ok, said) = constrain(&world, &limited("lower", "pids = 12\ncpu = \"50%\""), &[]);
    if !is_ok {
        assert!(said.contains("pids") && said.contains("FB0254"), "{said}");
        let can = user.is_root() && Path::new("/sys/fs/cgroup/pids").is_dir();
        assert!(!can, "{said}");
        println!("skipped: {said}");
        assert!(live.act("sh twenty.sh"), "nothing was changed");
        let (_, log) = live.end(&world);
        assert!(!log.iter().any(|e| e["kind"] == "charter"));
        return world.verifies();
    }
    let group = format!("flyball-{}-", live.pid());
    let held = |controller: &str, file: &str| -> Option<String> {
        let groups = std::fs::read_dir(format!("/sys/fs/cgroup/{controller}")).ok()?.flatten();
        let mut own = groups.filter(|g| g.file_name().to_string_lossy().starts_with(&group));
        Some(std::fs::read_to_string(own.next()?.path().join(file)).ok()?.trim().to_owned())
    };
    // A shell that can't start anything ends: whoever is asleep still is waited for.
    let started_twenty = |live: &mut Live| {
        wait_for("those that sleep", || {
            held("pids", "pids.current").is_none_or(|n| n.parse::<u32>().unwrap() <= 2).then_some(())
        });
        live.act("sh twenty.sh")
    };
    assert!(!started_twenty(&mut live), "the processes that were there count");
    // The rest says what controllers of version 1 hold.
    let is_v1 = Path::new("/sys/fs/cgroup/pids").is_dir() && Path::new("/sys/fs/cgroup/cpu").is_dir();
    if is_v1 {
        assert_eq!(held("pids", "pids.max").as_deref(), Some("12"));
        assert_eq!(held("cpu", "cpu.cfs_quota_us").as_deref(), Some("50000"));
        // Where one limit can't be had none is changed: memory in use would not count in a group that is come into now.
        let all = limited("all", "pids = 9\ncpu = \"50%\"\nmemory = \"1GiB\"");
        let (is_ok, said) = constrain(&world, &all, &[]);
        assert!(!is_ok && said.contains("`memory`"), "{said}");
        assert_eq!(held("pids", "pids.max").as_deref(), Some("12"));
    }
    let (is_ok, said) = constrain(&world, &limited("lowest", "pids = 8\ncpu = \"50%\""), &[]);
    assert!(is_ok, "{said}");
    assert!(!started_twenty(&mut live));
    let (is_ok, said) = constrain(&world, &as_before, &[]);
    assert!(!is_ok && said.contains("[limits] pids is higher"), "{said}");
    assert!(!started_twenty(&mut live));
    let (is_ok, said) = constrain(&world, &as_before, &["--widen"]);
    assert!(is_ok, "{said}");
    assert!(started_twenty(&mut live), "and it can have them back");
    if is_v1 {
        assert_eq!(held("pids", "pids.max").as_deref(), Some("max"));
    }
    let (_, log) = live.end(&world);
    let changes: Vec<&Value> = log.iter().filter(|e| e["kind"] == "charter").collect();
    let limit = |change: &Value| change["body"]["files"]["charter.toml"].as_str().unwrap().contains("pids = 12");
    assert!(changes.len() == 3 && limit(changes[0]), "{changes:?}");
    assert!(!log.iter().any(|e| e["kind"] == "alert"), "{log:?}");
    assert_eq!(held("pids", "pids.max"), None, "its group goes with it");
    world.verifies();
}
