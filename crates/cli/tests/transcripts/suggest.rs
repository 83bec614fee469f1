//! suggest: what it makes of a session's refusals.

use crate::assert_transcript;
use crate::scene::Scene;
use flyball_ledger::{Draft, Kind, Ledger};
use serde_json::{Value, json};

const TOML: &str = "[escalation.team]\nask = \"team\"\nwithin = \"5m\"\nthen = \"deny\"\n
[facts]\ndeleted = 'count[1m] did fs.delete(zone: \"workspace\")'\n
[budget.modes]\ncount = \"fs.chmod\"\nlimit = 1\n
[envelope.replicas]\nof = \"deploy.scale.replicas\"\nmin = 2\nmax = 5\n
[[example]]\nattempt = \"fs.write(path: '/etc/hosts')\"\nexpect = \"deny\"\n
[[example]]\nattempt = \"net.connect(host: 'paste.example', port: 443)\"\nexpect = \"hold elsewhere\"\n";

const RULES: &str = "@id(\"work\") @owner(\"team\") @reason(\"Work.\")
permit (principal, action in [Action::\"process\", Action::\"fs.read\", Action::\"fs.delete\", Action::\"fs.chmod\", Action::\"net\", Action::\"git\", Action::\"deploy\"], resource);

@id(\"sources\") @owner(\"team\") @reason(\"Sources are written.\")
permit (principal, action == Action::\"fs.write\", resource)
when { resource.rel like \"src/*\" };

@id(\"few-deletions\") @owner(\"team\") @reason(\"Few files are deleted.\")
forbid (principal, action == Action::\"fs.delete\", resource)
when { context.fact.deleted > 2 }; // in a minute

@id(\"elsewhere\") @owner(\"team\") @escalate(\"team\") @reason(\"Unknown hosts are asked about.\")
forbid (principal, action == Action::\"net.connect\", resource)
unless {
    resource.port == 443 &&
    [\"a.example\",
     \"b.example\"].contains(resource.host)
};

@id(\"main-is-reviewed\") @owner(\"team\") @escalate(\"team\") @reason(\"Others build on it.\")
forbid (principal, action == Action::\"git.push\", resource)
when { resource.name == \"main\" || (context.attrs has force && context.attrs.force) };

@id(\"charter\") @owner(\"team\") @reason(\"An agent does not write its rules.\")
forbid (principal, action == Action::\"fs.write\", resource)
when { resource.rel like \".flyball/*\" };
";

/// A session of these attempts; what was allowed is left out, since it is judged again.
fn session(scene: &Scene, id: &str, attempts: &[Value]) {
    session_of(scene, id, attempts, None);
}

/// The same, with these rules and further attempts after the charter was changed.
fn session_of(scene: &Scene, id: &str, attempts: &[Value], then: Option<(&str, &[Value])>) {
    let ledger = Ledger::open(&scene.ledger()).unwrap();
    let stream = ledger.stream(id).unwrap();
    let repo = scene.repo();
    let text = |name: &str| std::fs::read_to_string(repo.join(".flyball").join(name)).unwrap();
    let files = json!({"charter.toml": text("charter.toml"), "rules.cedar": text("rules.cedar")});
    let mut at_ns = 1_795_230_000_000_000_000;
    let mut put = |kind: Kind, cause: &[u64], body: Value| {
        at_ns += 1_000_000;
        stream.append(Draft { at_ns, kind, actor: "sample".into(), cause: cause.to_vec(), body }).unwrap()
    };
    let open = json!({"session": id, "name": id, "agent": "sample", "argv": ["sh"], "cwd": repo, "workspace": repo, "home": "/home/ann",
        "session_dir": "/nowhere", "pid": 42, "version": "0.1.0", "charter": {"digest": "sha256:0", "files": files}, "weaker": [], "uncovered": []});
    put(Kind::Open, &[], open);
    for attempt in attempts {
        put(Kind::Attempt, &[1], attempt.clone());
    }
    if let Some((rules, attempts)) = then {
        let files = json!({"charter.toml": text("charter.toml"), "rules.cedar": rules});
        put(
            Kind::Charter,
            &[],
            json!({"charter": "sha256:1", "before": "sha256:0", "files": files, "by": "user:ann", "reason": "narrower", "widens": []}),
        );
        for attempt in attempts {
            put(Kind::Attempt, &[1], attempt.clone());
        }
    }
    let close = json!({"ended_by": "program", "exit": 0, "actions": 0, "allowed": 0, "denied": 0, "held": 0, "modified": 0, "changed_files": 0});
    put(Kind::Close, &[], close);
    stream.flush().unwrap();
}

fn file(scene: &Scene, verb: &str, path: &str) -> Value {
    let path = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", scene.repo().display()) };
    json!({"verb": verb, "resource": {"type": "File", "path": path}, "attrs": {}, "surface": "fs", "agent": "sample"})
}

fn action(verb: &str, resource: Value, attrs: Value) -> Value {
    json!({"verb": verb, "resource": resource, "attrs": attrs, "surface": "exec", "agent": "sample"})
}

fn host(host: &str, port: u16) -> Value {
    action("net.connect", json!({"type": "Endpoint", "host": host, "port": port}), json!({}))
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.charter(TOML, RULES);
    let write = |path: &str| file(&scene, "fs.write", path);
    let push = |name: &str| action("git.push", json!({"type": "Ref", "remote": "origin", "name": name}), json!({}));
    let scale = |n: i64| {
        let target =
            json!({"type": "Target", "cluster": "eu", "namespace": "web", "kind": "deployment", "name": "api"});
        action("deploy.scale", target, json!({"replicas": n}))
    };
    let mut attempts = vec![
        write("src/a.rs"),
        write("docs/guide/a.md"),
        write("docs/guide/b.md"),
        write("docs/index.md"),
        write(".flyball/rules.cedar"),
        write("/home/ann/.ssh/authorized_keys"),
        host("a.example", 443),
        host("c.example", 443),
        host("paste.example", 443),
        host("d.example", 8443),
        push("main"),
        scale(9),
    ];
    attempts.extend((0..5).map(|n| file(&scene, "fs.delete", &format!("src/old{n}.rs"))));
    attempts.extend((0..3).map(|n| file(&scene, "fs.chmod", &format!("src/m{n}.rs"))));
    session(&scene, "0samp1esess1", &attempts);
    session(&scene, "0samp1esess2", &[write("docs/other.md"), write("docs/guide/a.md"), scale(7), push("main")]);
    scene
}

#[test]
fn what_refusals_suggest() {
    let mut scene = scene();
    scene.type_in(&["suggest", "0samp1esess1"]);
    assert_transcript!(scene);
}

#[test]
fn what_refusals_suggest_in_general() {
    let mut scene = scene();
    scene.type_in(&["suggest", "0samp1esess1", "--generalise"]).type_in(&["suggest", "0samp1esess1", "--only", "99"]);
    assert_transcript!(scene);
}

#[test]
fn suggestions_as_json() {
    let mut scene = scene();
    scene.type_in(&["suggest", "0samp1esess2", "--json"]);
    assert_transcript!(scene);
}

/// The patch applies, the charter with it compiles, and then nothing of it is suggested any more.
#[test]
fn the_patch_is_taken_and_changes_what_it_says() {
    let mut scene = scene();
    scene.type_in(&["suggest", "0samp1esess1", "--patch", "-q"]);
    let diff: String = scene
        .transcript()
        .lines()
        .skip(1)
        .take_while(|l| !l.starts_with("[exit"))
        .fold(String::new(), |all, line| all + line + "\n");
    // The transcript's lines have no blanks at their ends, which context lines of a diff need.
    let diff: String = diff.lines().map(|l| if l.is_empty() { " \n".to_owned() } else { format!("{l}\n") }).collect();
    scene.write("p.diff", diff.trim_end_matches(" \n"));
    let patch =
        std::process::Command::new("patch").args(["-p1", "-i", "p.diff"]).current_dir(scene.repo()).output().unwrap();
    assert!(patch.status.success(), "{diff}\n{}", String::from_utf8_lossy(&patch.stdout));
    scene.type_in(&["check", "-q"]).type_in(&["suggest", "0samp1esess1"]);
    let rest = scene.transcript();
    let rest = rest.split_once("$ flyball check").unwrap().1;
    assert!(rest.contains("0 suggestions") && !rest.contains("\n1. "), "{rest}");
}

/// Suggested changes, taken; then what is said of these actions.
fn after_taking(scene: &mut Scene, id: &str, actions: &[Value]) -> Vec<String> {
    scene.type_in(&["suggest", id, "--json"]);
    let text = scene.transcript();
    let said: Value =
        serde_json::from_str(text.lines().find(|l| l.starts_with('{')).unwrap_or_else(|| panic!("{text}"))).unwrap();
    scene.write("p.diff", said["patch"].as_str().unwrap());
    let patch =
        std::process::Command::new("patch").args(["-p1", "-i", "p.diff"]).current_dir(scene.repo()).output().unwrap();
    assert!(patch.status.success(), "{text}\n{}", String::from_utf8_lossy(&patch.stdout));
    let lines: String = actions.iter().map(|a| format!("{a}\n")).collect();
    scene.write("after.jsonl", &lines);
    scene.type_in(&["check", "-q"]).type_in(&["test", "after.jsonl", "--json"]);
    let text = scene.transcript();
    let text = text.rsplit_once("$ flyball test").unwrap().1;
    let rulings: Vec<Value> =
        text.lines().filter(|l| l.starts_with('{')).map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(rulings.len(), actions.len(), "{text}");
    rulings.iter().map(|r| r["verdict"].as_str().unwrap().to_owned()).collect()
}

/// Without `--generalise` nothing passes that was not seen, whatever the names look like.
#[test]
fn nothing_beyond_what_was_seen_is_suggested() {
    let mut scene = Scene::new();
    scene.charter(TOML, RULES);
    let odd =
        ["a/b", "a/c", "a/*", "b/**", "q/\" || true || \"", "q/\\", "q/x\"); permit (principal, action, resource); //"];
    let write = |scene: &Scene, path: &str| file(scene, "fs.write", path);
    let mut seen: Vec<Value> = odd.iter().map(|path| write(&scene, path)).collect();
    seen.extend([host("*.example", 443), host("one.example", 443)]);
    session(&scene, "0attack0sess1", &seen);
    let others = [
        "a/d",
        "a",
        "a/b/c",
        "a/bc",
        "a/",
        "b/x",
        "b/x/y",
        "b",
        "q/y",
        "q/",
        "docs/x.md",
        "A/b",
        "a/B",
        "x/a/b",
        "q/\\\\",
        "q/x",
    ];
    let mut asked = seen.clone();
    asked.extend(others.iter().filter(|p| !p.ends_with('/')).map(|path| write(&scene, path)));
    asked.extend([host("two.example", 443), host("x.one.example", 443), host("one.example", 80), host("example", 443)]);
    let verdicts = after_taking(&mut scene, "0attack0sess1", &asked);
    for (n, verdict) in verdicts.iter().enumerate() {
        assert_eq!(*verdict == "allow", n < seen.len(), "{}: {verdict}", asked[n]);
    }
}

/// What was refused is what the charter that was in force then refused; what is changed is the one in force at the end.
#[test]
fn each_refusal_is_of_the_charter_in_force() {
    let mut scene = Scene::new();
    scene.charter(TOML, RULES);
    let narrower = format!(
        "{RULES}\n@id(\"no-secrets\") @owner(\"team\") @reason(\"Not these.\")\nforbid (principal, action == Action::\"fs.read\", resource)\nwhen {{ resource.rel like \"secret/*\" }};\n"
    );
    let read = |scene: &Scene, path: &str| file(scene, "fs.read", path);
    let (first, then) =
        ([read(&scene, "secret/before"), file(&scene, "fs.write", "docs/a.md")], [read(&scene, "secret/after")]);
    session_of(&scene, "0change0sess1", &first, Some((&narrower, &then)));
    scene.type_in(&["suggest", "0change0sess1", "--json"]);
    let text = scene.transcript();
    let said: Value =
        serde_json::from_str(text.lines().find(|l| l.starts_with('{')).unwrap_or_else(|| panic!("{text}"))).unwrap();
    assert_eq!((said["refused"].as_u64(), said["charter_changed"].as_bool()), (Some(2), Some(false)), "{text}");
    let mut of: Vec<u64> = Vec::new();
    for suggestion in said["suggestions"].as_array().unwrap() {
        of.extend(suggestion["attempts"].as_array().unwrap().iter().filter_map(Value::as_u64));
    }
    of.sort_unstable();
    // The opening is 1, the first read 2: it passed. The write is 3, the change 4, the refused read 5.
    assert_eq!(of, [3, 5], "{text}");
    let patch = said["patch"].as_str().unwrap();
    assert!(patch.contains("no-secrets") && patch.contains("secret/after"), "{patch}");
    assert_eq!(said["adopted"].as_u64(), Some(4), "{text}");
    // Of the workspace's own charter, which knows no such rule, only the write is a refusal.
    scene.type_in(&["suggest", "0change0sess1", "--json", "--charter", ".flyball"]);
    let text = scene.transcript();
    let said: Value = serde_json::from_str(text.lines().rfind(|l| l.starts_with('{')).unwrap()).unwrap();
    assert_eq!((said["refused"].as_u64(), said["adopted"].as_u64()), (Some(1), None), "{text}");
    assert_eq!(said["suggestions"][0]["attempts"], json!([3]), "{text}");
}

/// What the charter of then let pass is no refusal, though the one that followed would stop it.
#[test]
fn what_passed_then_is_no_refusal_now() {
    let mut scene = Scene::new();
    scene.charter(TOML, RULES);
    session(
        &scene,
        "0then0sess001",
        &[file(&scene, "fs.read", "secret/before"), file(&scene, "fs.write", "docs/a.md")],
    );
    scene.charter(TOML, &format!(
        "{RULES}\n@id(\"no-secrets\") @owner(\"team\") @reason(\"Not these.\")\nforbid (principal, action == Action::\"fs.read\", resource)\nwhen {{ resource.rel like \"secret/*\" }};\n"
    ));
    scene.type_in(&["suggest", "0then0sess001", "--json"]);
    let text = scene.transcript();
    let said: Value = serde_json::from_str(text.lines().rfind(|l| l.starts_with('{')).unwrap()).unwrap();
    assert_eq!((said["refused"].as_u64(), said["charter_changed"].as_bool()), (Some(1), Some(true)), "{text}");
    assert_eq!(said["suggestions"][0]["attempts"], json!([3]), "{text}");
}
