//! One question for all that one barrier finds: a branch switch, a lock file. What an answer to it is for, whole and in parts.

use crate::people::{asked, start, wait_for};
use crate::questions::{count, open};
use crate::support::{Case, World, nothing, stderr};
use flyball_runtime::Home;
use flyball_runtime::control::{Request, send, user};
use flyball_testkit::user::User;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "a_branch_with_many_packages_is_one_question_each_time", needs: nothing, run: branch },
        Case { name: "a_lock_file_is_answered_in_parts", needs: nothing, run: parts },
        Case { name: "what_is_one_question_is_handed_on_as_one_and_loses_what_is_gone", needs: nothing, run: later },
    ]
}

const RULES: &str = r#"
@id("all") @owner("maintainer") @reason("All else.") permit (principal, action, resource);
@id("packages") @owner("maintainer") @reason("Packages are read first.") @escalate("maintainer")
forbid (principal, action == Action::"dependency.add", resource);
@id("ci-is-read") @owner("maintainer") @reason("CI is read first.") @escalate("maintainer")
forbid (principal, action == Action::"fs.write", resource) when { context.attrs has ci && context.attrs.ci };
"#;

/// A small charter of our own: what `init` asks about is not what these tests are about.
fn world(user_of: User, tier: &str) -> World {
    let world = World::new(user_of);
    world.init("", "");
    let me = user(user_of.uid());
    world.change("charter.toml", |_| {
        format!("[charter]\nname = \"small\"\n[owners]\nmaintainer = [\"{me}\"]\n[escalation.maintainer]\n{tier}\n")
    });
    world.change("rules.cedar", |_| RULES.to_owned());
    world
}

const TIER: &str = "ask = \"maintainer\"\nwithin = \"15m\"\nthen = \"deny\"";

/// A lock file as npm writes it.
fn lock(packages: usize) -> String {
    let one = |n| {
        format!(
            "    \"node_modules/left-pad-{n}\": {{\n      \"version\": \"1.0.{n}\",\n      \"resolved\": \
             \"https://registry.example/left-pad-{n}/-/left-pad-{n}-1.0.{n}.tgz\",\n      \"integrity\": \"sha512-x\"\n    }}"
        )
    };
    let all: Vec<String> = (0..packages).map(one).collect();
    format!(
        "{{\n  \"name\": \"web\",\n  \"lockfileVersion\": 3,\n  \"requires\": true,\n  \"packages\": {{\n    \"\": {{\n      \
         \"name\": \"web\"\n    }},\n{}\n  }}\n}}\n",
        all.join(",\n")
    )
}

fn write(world: &World, path: &str, text: &str) {
    let file = world.repo.workspace().join(path);
    let mut dirs = file.parent().unwrap().to_owned();
    std::fs::create_dir_all(&dirs).unwrap();
    std::fs::write(&file, text).unwrap();
    world.user.own(&file).unwrap();
    while dirs != world.repo.workspace() {
        world.user.own(&dirs).unwrap();
        dirs.pop();
    }
}

/// The only question, once it is another than that.
fn whole(world: &World, besides: &Value) -> Value {
    // There may be no ledger yet.
    asked(world);
    let found = wait_for("a question", || open(world).into_iter().find(|q| q["id"] != *besides));
    assert_eq!(open(world).len(), 1, "one question: {:#?}", open(world));
    found
}

fn entries(question: &Value) -> Vec<u64> {
    let also = question["also"].as_array().cloned().unwrap_or_default();
    std::iter::once(question).chain(&also).map(|part| part["of"].as_u64().unwrap()).collect()
}

fn id(question: &Value) -> &str {
    question["id"].as_str().unwrap()
}

fn branch(user: User) {
    let world = world(user, TIER);
    let git = |words: &[&str]| {
        let mut git = user.command("git", &world.repo.home());
        let git = git.args(["-c", "user.name=t", "-c", "user.email=t@t"]).args(words);
        let done = git.current_dir(world.repo.workspace()).output().unwrap();
        assert!(done.status.success(), "{words:?}: {done:?}");
    };
    git(&["checkout", "-q", "-b", "deps"]);
    let files = [
        ("api/Cargo.toml", "[package]\nname = \"api\"\n\n[dependencies]\nserde = \"1\"\n".to_owned()),
        (".github/workflows/more.yml", "on: push\njobs: {}\n".to_owned()),
        ("tool/requirements.txt", "requests==2.0\nflask==3.0\n".to_owned()),
        ("web/package-lock.json", lock(40)),
    ];
    for (path, text) in &files {
        write(&world, path, text);
        git(&["add", path]);
    }
    git(&["commit", "-q", "-m", "packages"]);
    git(&["checkout", "-q", "-"]);
    let script = "git checkout -q deps; env true && echo first; git checkout -q -; env true; git checkout -q deps; \
                  env true || echo refused; ls web api tool .github/workflows";
    let child = start(&world, script);
    let question = whole(&world, &Value::Null);
    let named = entries(&question);
    assert_eq!(named.len(), 44, "{question:#}");
    assert_eq!(question["load"][0]["open"], 1, "one question is one: {}", question["load"]);
    let shown = world.ok(&["asks"]);
    assert!(shown.contains("44 actions, one answer: 43 dependency.add, 1 fs.write"), "{shown}");
    for said in [
        "left-pad-0 ",
        "left-pad-39 ",
        "serde",
        "flask",
        "more.yml",
        "packages (owner maintainer)",
        "ci-is-read (owner maintainer)",
    ] {
        assert!(shown.contains(said), "{said} is not in {shown}");
    }
    // What another set of actions was shown to is no answer to this one.
    let answer = |set: &str, only: Vec<u64>| {
        let request = Request::Answer {
            id: id(&question).to_owned(),
            verdict: flyball_kernel::Verdict::Allow,
            with: None,
            reason: "t".to_owned(),
            signed: None,
            only,
            set: Some(set.to_owned()),
        };
        let home = Home::open(&world.ledger).unwrap();
        send(&home, question["session"].as_str().unwrap(), &request).unwrap_err().to_string()
    };
    assert!(answer("sha256:00", Vec::new()).contains("names other actions now"));
    assert!(answer(question["set"].as_str().unwrap(), vec![1]).contains("not about entry 1"));
    world.ok(&["answer", id(&question), "allow", "--reason", "reviewed"]);
    // The same once more is another attempt: what was allowed was what the question named, then.
    let again = whole(&world, &question["id"]);
    assert_eq!(entries(&again).len(), 44);
    assert_ne!(again["set"], question["set"]);
    world.ok(&["answer", id(&again), "deny", "--reason", "once was enough"]);
    let output = child.wait_with_output().unwrap();
    let (text, told) = (String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output));
    assert!(text.contains("first\n") && text.contains("refused\n"), "{text}\n{told}");
    for (path, _) in &files {
        let file = path.rsplit('/').next().unwrap();
        assert!(!text.contains(file), "{file} is put back: {text}");
    }
    assert!(told.contains("rule answered") && told.contains("once was enough"), "{told}");
    assert!(told.contains("stopped by packages (owner maintainer)"), "{told}");
    let log = world.log();
    assert_eq!(count(&log, "question"), 2, "asked once each time");
    let answers: Vec<&Value> = log.iter().filter(|e| e["kind"] == "answer").collect();
    let allowed: BTreeSet<u64> = answers[..44].iter().map(|e| e["body"]["of"].as_u64().unwrap()).collect();
    assert_eq!(allowed, named.iter().copied().collect(), "each of its actions by its own digest");
    assert!(answers[..44].iter().all(|e| e["body"]["set"] == question["set"]));
    assert!(answers[44..].iter().all(|e| e["body"]["verdict"] == "deny" && e["body"]["set"] == again["set"]));
    let backs: Vec<&Value> = log.iter().filter(|e| e["body"]["act"] == "put-back").collect();
    assert_eq!(backs.len(), 4, "{backs:?}");
    let why: String = backs.iter().map(|e| e["body"]["reason"].to_string()).collect();
    assert!(why.contains("packages") && why.contains("ci-is-read"), "{why}");
    world.verifies();
}

fn parts(user: User) {
    let world = world(user, TIER);
    write(&world, "lock", &lock(40));
    let script = "cp lock package-lock.json; env true && echo first; rm package-lock.json; env true; \
                  cp lock package-lock.json; env true || echo refused; ls package-lock.json";
    let child = start(&world, script);
    let question = whole(&world, &Value::Null);
    let named = entries(&question);
    assert_eq!(named.len(), 40, "{question:#}");
    let some = |of: &[u64]| of.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    let none = world.flyball(&["answer", id(&question), "allow", "--only", "1", "--reason", "t"]).output().unwrap();
    assert!(stderr(&none).contains("is not about entry 1"), "{}", stderr(&none));
    // The first ten: the file waits for the rest.
    let said = world.flyball(&["answer", id(&question), "allow", "--only", &some(&named[..10]), "--reason", "these"]);
    let said = { said }.output().unwrap();
    assert!(said.status.success() && stderr(&said).contains("still asked about the rest"), "{}", stderr(&said));
    let rest = whole(&world, &question["id"]);
    assert_eq!(entries(&rest), named[10..]);
    let gone = world.flyball(&["answer", id(&question), "allow", "--reason", "late"]).output().unwrap();
    assert!(!gone.status.success(), "what it named is named no more");
    world.ok(&["answer", id(&rest), "allow", "--only", &some(&named[30..]), "--reason", "and these"]);
    let rest = open(&world).remove(0);
    assert_eq!(entries(&rest), named[10..30]);
    world.ok(&["answer", id(&rest), "allow", "--reason", "and those"]);
    let second = whole(&world, &rest["id"]);
    let named = entries(&second);
    // One package that must not be: the file is what it was, and nothing more is asked.
    world.ok(&["answer", id(&second), "allow", "--only", &some(&named[..5]), "--reason", "these"]);
    let rest = whole(&world, &second["id"]);
    world.ok(&["answer", id(&rest), "deny", "--only", &some(&named[7..8]), "--reason", "not left-pad-7"]);
    assert_eq!(open(&world), Vec::<Value>::new());
    let output = child.wait_with_output().unwrap();
    let (text, told) = (String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output));
    assert!(text.contains("first\n") && text.contains("refused\n"), "{text}\n{told}");
    assert!(!text.lines().any(|line| line == "package-lock.json"), "{text}");
    assert!(told.contains("not left-pad-7"), "{told}");
    world.verifies();
}

fn later(user: User) {
    let world = world(
        user,
        "ask = \"maintainer\"\nwithin = \"8s\"\nthen = \"again\"\n[escalation.again]\nask = \"maintainer\"\nwithin = \"15m\"\nthen = \"deny\"",
    );
    write(&world, "lock", &lock(30));
    // What the second file says is taken back by a program that was there before, when it is told to.
    let script = "exec 3<&0; (read x <&3; : > requirements.txt) & cp lock package-lock.json; printf 'flask==3.0\\nrequests==2.0\\n' > requirements.txt; env true && echo ran; wait";
    let mut run = world.flyball(&["run", "--json", "--apply", "never", "--", "sh", "-c", script]);
    let run = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = run.spawn().unwrap();
    let question = whole(&world, &Value::Null);
    let named = entries(&question);
    assert_eq!(named.len(), 32, "{question:#}");
    let handed = wait_for("the next tier", || open(&world).into_iter().find(|q| q["tier"] == "again"));
    assert_eq!((open(&world).len(), entries(&handed)), (1, named.clone()), "{handed:#}");
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let less = wait_for("the file to be gone", || open(&world).into_iter().find(|q| entries(q).len() != 32));
    assert_eq!((open(&world).len(), entries(&less)), (1, named[..30].to_vec()), "{less:#}");
    world.ok(&["answer", id(&less), "allow", "--reason", "reviewed"]);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("ran\n"), "{text}\n{}", stderr(&output));
    let log = world.log();
    assert_eq!(log.iter().filter(|e| e["body"]["withdrawn"] == "the file was changed again").count(), 3, "{log:?}");
    world.verifies();
}
