//! Another charter while a program runs.

use crate::people::{asked, start, wait_for};
use crate::support::{Case, World, nothing, stderr};
use flyball_testkit::user::User;
use serde_json::Value;
use std::path::{Path, PathBuf};

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "a_narrower_charter_holds_from_the_next_action_on", needs: nothing, run: narrower },
        Case { name: "a_wider_charter_needs_who_answers_for_it", needs: nothing, run: wider },
    ]
}

/// A copy of the charter, with each file changed.
fn copy(world: &World, name: &str, how: impl Fn(&str, String) -> String) -> PathBuf {
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

fn constrain(world: &World, dir: &Path, more: &[&str]) -> (bool, String) {
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

fn wider(user: User) {
    let world = World::new(user);
    world.init("", "");
    // A small one: charters that are not plainly narrower are compared action by action.
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
