//! init, check, test, schema.

use crate::assert_transcript;
use crate::scene::Scene;

#[test]
fn a_first_charter_compiles_and_is_never_overwritten() {
    let mut scene = Scene::new();
    scene.write("Cargo.toml", "[package]\nname = \"x\"\n");
    scene.write(".env", "SECRET=1\n");
    scene.write(".git/HEAD", "ref: refs/heads/main\n");
    scene.type_in(&["init"]).type_in(&["check"]).type_in(&["init"]).type_in(&["check", "--json", "-q"]);
    assert_transcript!(scene);
}

/// What the charter of `init` must let pass, ask about and stop, ruled on offline.
#[test]
fn a_first_charter_stops_the_well_known_harms() {
    let mut scene = Scene::new();
    scene.write("package.json", "{}");
    scene.write(".git/HEAD", "ref: refs/heads/main\n");
    scene.type_in(&["init", "-q"]);
    let repo = scene.repo().display().to_string();
    let file = |verb: &str, path: &str| {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("{repo}/{path}") };
        format!("{{\"verb\":\"{verb}\",\"resource\":{{\"type\":\"File\",\"path\":\"{path}\"}},\"surface\":\"fs\"}}\n")
    };
    let exec = |program: &str, argv: &str| {
        format!(
            "{{\"verb\":\"process.exec\",\"resource\":{{\"type\":\"Command\",\"program\":\"{program}\",\"argv\":[{argv}]}},\"surface\":\"exec\"}}\n"
        )
    };
    let git = |verb: &str, name: &str, attrs: &str| {
        format!(
            "{{\"verb\":\"{verb}\",\"resource\":{{\"type\":\"Ref\",\"remote\":\"origin\",\"name\":\"{name}\"}},\"attrs\":{{{attrs}}}}}\n"
        )
    };
    let connect = |host: &str| {
        format!(
            "{{\"verb\":\"net.connect\",\"resource\":{{\"type\":\"Endpoint\",\"host\":\"{host}\",\"port\":443}}}}\n"
        )
    };
    let ordinary = [
        file("fs.write", "src/a.js"),
        file("fs.delete", "src/old.js"),
        file("fs.write", ".git/index"),
        file("fs.write", "/tmp/x"),
        exec("npm", "\"test\""),
        git("git.commit", "topic", ""),
        git("git.push", "topic", ""),
        connect("api.anthropic.com"),
        connect("127.0.0.1"),
    ];
    scene.write("ordinary.jsonl", &ordinary.concat());
    scene.type_in(&["test", "--exit-code", "ordinary.jsonl"]);
    let harms = [
        file("fs.write", "/etc/cron.d/x"),
        file("fs.write", ".flyball/rules.cedar"),
        file("fs.write", ".git/hooks/pre-commit"),
        file("fs.write", ".git/config"),
        file("fs.write", ".github/workflows/ci.yml"),
        file("fs.write", ".vscode/tasks.json"),
        git("git.push", "main", ""),
        git("git.push", "", ""),
        git("git.push", "topic", "\"force\":true"),
        connect("169.254.169.254"),
        connect("paste.example"),
        exec("rm", "\"-rf\",\".\""),
        "{\"verb\":\"dependency.add\",\"resource\":{\"type\":\"Package\",\"ecosystem\":\"npm\",\"name\":\"left-pad\"}}\n".to_owned(),
        "{\"verb\":\"deploy.apply\",\"resource\":{\"type\":\"Target\",\"name\":\"api\"}}\n".to_owned(),
    ];
    scene.write("harms.jsonl", &harms.concat());
    scene.type_in(&["test", "--exit-code", "harms.jsonl"]);
    let transcript = scene.transcript();
    let (first, second) = transcript.split_once("harms.jsonl").unwrap();
    assert!(!first.contains("  hold  ") && !first.contains("  deny  "), "{first}");
    assert!(!second.contains("  allow  "), "{second}");
    assert_transcript!(scene);
}

#[test]
fn many_deletions_are_asked_about() {
    let mut scene = Scene::new();
    scene.type_in(&["init", "-q"]);
    let repo = scene.repo().display().to_string();
    let line = |n: usize| {
        format!(
            "{{\"verb\":\"fs.delete\",\"resource\":{{\"type\":\"File\",\"path\":\"{repo}/src/{n}.js\"}},\"attrs\":{{\"kind\":\"file\"}},\"at\":\"2026-01-01T00:00:00Z\"}}\n"
        )
    };
    scene.write("many.jsonl", &(0..1010).map(line).collect::<String>());
    scene.type_in(&["test", "many.jsonl"]);
    let text = scene.transcript();
    assert_eq!(text.matches("  allow  ").count(), 1001, "{text}");
    assert_eq!(text.matches("mass-deletion-is-asked-about").count(), 9, "{text}");
}

#[test]
fn rulings_offline() {
    let mut scene = Scene::new();
    scene.charter(
        "[escalation.team]\nask = \"team\"\nwithin = \"5m\"\nthen = \"deny\"\n\n[facts]\ntests_green = 'not did fs.write(rel like \"src/**\") since result process.exec(program: \"cargo\", argv has \"test\", exit: 0)'\n",
        "@id(\"work\") @owner(\"team\") @reason(\"Work.\")\npermit (principal, action, resource);\n\n@id(\"no-deploy-on-red\") @owner(\"team\") @reason(\"Deploys need green tests.\")\nforbid (principal, action in Action::\"deploy\", resource)\nunless { context.fact.tests_green };\n\n@id(\"main\") @owner(\"team\") @reason(\"Reviewed.\") @escalate(\"team\")\nforbid (principal, action == Action::\"git.push\", resource);\n",
    );
    let repo = scene.repo().display().to_string();
    let lines = [
        "{\"verb\":\"process.exec\",\"resource\":{\"type\":\"Command\",\"program\":\"cargo\",\"argv\":[\"test\"]},\"surface\":\"exec\"}".to_owned(),
        "{\"result\":{\"of\":1,\"ok\":true,\"exit\":0}}".to_owned(),
        format!("{{\"verb\":\"fs.write\",\"resource\":{{\"type\":\"File\",\"path\":\"{repo}/src/a.rs\"}},\"surface\":\"fs\"}}"),
        "{\"verb\":\"deploy.apply\",\"resource\":{\"type\":\"Target\",\"name\":\"api\"}}".to_owned(),
        "{\"verb\":\"git.push\",\"resource\":{\"type\":\"Ref\",\"remote\":\"origin\",\"name\":\"main\"}}".to_owned(),
        "{\"answer\":{\"of\":8,\"verdict\":\"allow\",\"by\":\"user:ann\",\"reason\":\"reviewed\"}}".to_owned(),
        "{\"tick\":\"2026-01-02T00:00:00Z\"}".to_owned(),
    ];
    scene.write("steps.jsonl", &lines.join("\n"));
    scene.type_in(&["test", "steps.jsonl"]).type_in(&["test", "--json", "steps.jsonl"]);
    scene.write("bad.jsonl", "\n{\"verb\":\"fs.wriet\",\"resource\":{\"type\":\"File\",\"path\":\"/x\"}}\n");
    scene.write("worse.jsonl", "{\"verb\":");
    scene.write("other.jsonl", "{\"reslt\":{}}");
    scene.type_in(&["test", "bad.jsonl"]).type_in(&["test", "worse.jsonl"]).type_in(&["test", "other.jsonl"]);
    scene.type_in(&["test", "missing.jsonl"]).type_in(&["test", ".flyball"]);
    assert_transcript!(scene);
}

#[test]
fn the_schema_needs_no_charter() {
    let mut scene = Scene::new();
    scene.type_in(&["schema"]);
    let text = scene.transcript();
    assert!(
        text.contains("entity File") && text.contains("action \"fs.write\"") && text.contains("[exit 0]"),
        "{text}"
    );
}

#[test]
fn two_charters_are_compared() {
    let mut scene = Scene::new();
    let head = "[escalation.team]\nask = \"team\"\nwithin = \"5m\"\nthen = \"deny\"\n\n[facts]\ntests_green = 'not did fs.write(rel like \"src/**\") since result process.exec(program: \"cargo\", argv has \"test\", exit: 0)'\n";
    let work = "@id(\"work\") @owner(\"team\") @reason(\"Work.\")\npermit (principal, action, resource);\n\n";
    let strict = "@id(\"source\") @owner(\"team\") @reason(\"Reviewed.\")\nforbid (principal, action in Action::\"fs\", resource)\nwhen { resource.rel like \"src/*\" && resource.name like \"*.rs\" };\n\n@id(\"red\") @owner(\"team\") @reason(\"Green first.\")\nforbid (principal, action in Action::\"deploy\", resource)\nunless { context.fact.tests_green };\n";
    let loose = "@id(\"source\") @owner(\"team\") @reason(\"Reviewed.\") @escalate(\"team\")\nforbid (principal, action in Action::\"fs\", resource)\nwhen { resource.rel like \"src/*.rs\" && resource.name != \"lib.rs\" };\n\n@id(\"friday\") @owner(\"team\") @reason(\"Not before the weekend.\")\nforbid (principal, action in Action::\"deploy\", resource)\nwhen { context.time.weekday >= 5 };\n";
    scene.charter(head, &format!("{work}{strict}"));
    std::fs::rename(scene.repo().join(".flyball"), scene.repo().join("a")).unwrap();
    scene.charter(&format!("[sandbox]\nexpose = [\"/opt\"]\n\n{head}"), &format!("{work}{loose}"));
    std::fs::rename(scene.repo().join(".flyball"), scene.repo().join("b")).unwrap();
    scene.type_in(&["diff", "a", "b"]).type_in(&["diff", "a", "a"]).type_in(&["diff", "a", "b", "--json"]);
    scene.type_in(&["diff", "a", "nowhere"]).type_in(&["diff", "@", "x", "3"]);
    assert_transcript!(scene);
}

/// With a solver each rule has an answer, and an example that the rules of both confirm; without one that is said.
#[test]
fn two_charters_are_compared_by_a_solver() {
    let mut scene = Scene::new();
    let work = "@id(\"work\") @owner(\"team\") @reason(\"Work.\")\npermit (principal, action, resource)";
    let source = "@id(\"source\") @owner(\"team\") @reason(\"Reviewed.\")\nforbid (principal, action in Action::\"fs\", resource)\nwhen { resource.rel like \"src/*\"";
    let git = "@id(\"git\") @owner(\"team\") @reason(\"Its own.\")\nforbid (principal, action, resource is File)\nwhen { resource.rel like \".git/*\" };";
    scene.charter("", &format!("{work};\n\n{source} }};\n\n{git}\n"));
    std::fs::rename(scene.repo().join(".flyball"), scene.repo().join("a")).unwrap();
    scene.charter("", &format!("{work};\n\n{source} && resource.name != \"lib.rs\" }};\n\n{git}\n"));
    std::fs::rename(scene.repo().join(".flyball"), scene.repo().join("b")).unwrap();
    scene.type_in(&["diff", "a", "b", "--prove"]).type_in(&["diff", "a", "b", "--prove", "--json"]);
    scene.type_in(&["diff", "a", "b", "3", "--prove"]);
    let text = scene.transcript();
    assert!(text.contains("[exit 2]"), "of a session it means nothing: {text}");
    if text.contains("no solver was asked") {
        assert!(text.contains("\"solver\":null"), "{text}");
        println!("skipped: neither `cvc5` nor `z3` is installed");
        return;
    }
    let line = |start: &str| {
        text.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("{start}\n{text}")).to_owned()
    };
    let source = line("source (stops in the first)");
    assert!(source.contains("sometimes") && source.contains("/src/") && source.contains("lib.rs"), "{source}");
    assert!(line("git (stops in the first)").contains("never"), "{text}");
    assert!(line("work (permits in the second)").contains("sometimes"), "{text}");
    assert!(!text.contains("\"answer\":\"unknown\"") && text.contains("[exit 0]"), "{text}");
}

/// Each charter of the library is copied out, compiles without a word, and rules on its story.
#[test]
fn the_library_rules_on_its_stories() {
    let mut scene = Scene::new();
    scene.type_in(&["init", "--list"]).type_in(&["init", "--from", "sales"]);
    for name in ["coding", "data", "release", "setpoints", "sre", "team"] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charters").join(name);
        scene.write(&format!("{name}.jsonl"), &std::fs::read_to_string(folder.join("session.jsonl")).unwrap());
        std::fs::create_dir(scene.repo().join(name)).unwrap();
        scene.type_in(&["init", name, "--from", name]).type_in(&["check", "-q", name]);
        scene.type_in(&["test", "--workspace", "/w", &format!("{name}/.flyball"), &format!("{name}.jsonl")]);
    }
    scene.type_in(&["init", "team", "--from", "team"]);
    assert_transcript!(scene);
}

#[test]
fn a_charter_that_does_not_mean_what_it_says() {
    let mut scene = Scene::new();
    scene.charter(
        "[[example]]\nattempt = \"fs.write(path: 'src/a.rs')\"\nexpect = \"deny\"\n\n[[example]]\nattempt = \"fs.write(path: 'docs/a.md')\"\nexpect = \"allow\"\n",
        "@id(\"work\") @owner(\"team\") @reason(\"Work.\")\npermit (principal, action, resource);\n\n@id(\"wide\") @owner(\"team\") @reason(\"Not there.\")\nforbid (principal, action in Action::\"fs\", resource)\nwhen { resource.rel like \"target/*\" };\n\n@id(\"narrow\") @owner(\"team\") @reason(\"Not there either.\")\nforbid (principal, action == Action::\"fs.write\", resource)\nwhen { resource.rel like \"target/debug/*\" };\n",
    );
    scene.type_in(&["check"]).type_in(&["check", "--json"]);
    assert_transcript!(scene);
}

/// With the real solver: what it finds was put to the rules, what it proves our own search agrees with.
#[test]
fn a_charter_is_proved() {
    if std::process::Command::new("cvc5").arg("--version").output().is_err() {
        println!("skipped: cvc5 is not installed (cargo xtask deps)");
        return;
    }
    let mut scene = Scene::new();
    scene.charter(
        "[facts]\ntests_green = 'no did fs.write(rel like \"src/**\") since result process.exec(program: \"cargo\", argv has \"test\", exit: 0)'\nimpossible = 'once did fs.write(rel: \"a\") and not once did fs.write'\n",
        "@id(\"work\") @owner(\"team\") @reason(\"Work.\")\npermit (principal, action in [Action::\"fs\", Action::\"git\", Action::\"deploy\", Action::\"net\"], resource)\nunless { context.fact.impossible };\n\n@id(\"source\") @owner(\"team\") @reason(\"Only there.\")\nforbid (principal, action in Action::\"fs\", resource)\nunless { resource.rel like \"src/*.rs\" && resource.name != \"lib.rs\" };\n\n@id(\"red\") @owner(\"team\") @reason(\"Green first.\")\nforbid (principal, action in Action::\"deploy\", resource)\nunless { context.fact.tests_green };\n\n@id(\"push\") @owner(\"team\") @reason(\"No history.\")\nforbid (principal, action == Action::\"git.push\", resource)\nwhen { resource.name == \"main\" || !(resource.name like \"m*n\") || resource.name like \"m?*\" || resource.name like \"*a*\" || resource.name like \"m*\" };\n",
    );
    scene.type_in(&["check", "--prove"]);
    let text = scene.transcript();
    for said in [
        "asked cvc5",
        "fs.write            sometimes",
        "git.push            never",
        "deploy.apply        sometimes",
        "process.exec        never",
        "\"tests_green\":true",
        "tests_green  after result process.exec(program: 'cargo', argv: ['test'], exit: 0)",
        "impossible   after nothing that was tried",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("unknown"), "{text}");
}
