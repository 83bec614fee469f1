//! Who may answer, when, and by which proof: attacks on questions from outside the session.

use crate::people::{asked, start, wait_for};
use crate::support::{Case, World, nothing, program, stderr};
use flyball_runtime::Home;
use flyball_runtime::control::{Request, send, user};
use flyball_runtime::signed::{self, Signed, Statement};
use flyball_testkit::user::User;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "an_answer_is_signed_by_the_key_that_is_asked", needs: keygen, run: by_key },
        Case { name: "a_signed_answer_is_for_one_question_as_it_is_for_a_while", needs: keygen, run: replayed },
        Case { name: "two_answers_at_once_are_one", needs: nothing, run: at_once },
        Case { name: "an_answer_that_races_with_its_askers_end_is_taken_or_refused", needs: nothing, run: races },
        Case { name: "who_is_not_asked_any_more_does_not_answer", needs: nothing, run: narrowed },
        Case { name: "an_answer_after_the_deadline_is_none", needs: nothing, run: late },
    ]
}

pub fn keygen(_: User) -> Option<String> {
    program("ssh-keygen").or_else(|| program("ssh-agent"))
}

/// A key of that name in the world's scratch folder; gives its file and the contact that it is.
pub fn key(world: &World, name: &str) -> (PathBuf, String) {
    let file = world.repo.scratch().join(name);
    let mut made = world.user.command("ssh-keygen", &world.repo.home());
    let made = made.args(["-q", "-t", "ed25519", "-N", "", "-C", "ann@corp", "-f"]).arg(&file).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let public = std::fs::read_to_string(file.with_extension("pub")).unwrap();
    let contact = public.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    (file, format!("key:{contact}"))
}

/// Has only these people asked.
pub fn only(world: &World, contacts: &[&str]) {
    let me = user(world.user.uid());
    let all = contacts.iter().map(|c| format!("\"{c}\"")).collect::<Vec<_>>().join(", ");
    world.change("charter.toml", |text| {
        assert!(text.contains(&format!("[\"{me}\"]")), "{text}");
        text.replacen(&format!("[\"{me}\"]"), &format!("[{all}]"), 1)
    });
}

fn work(world: &World) -> Child {
    std::fs::write(world.repo.workspace().join("work.sh"), "printf x > .github/workflows/ci.yml; echo code=$?\n")
        .unwrap();
    start(world, "sh work.sh")
}

fn answer(world: &World, id: &str, more: &[&str]) -> Output {
    world.flyball(&[&["answer", id, "allow", "--reason", "it may"], more].concat()).output().unwrap()
}

fn refused(output: &Output, why: &str) {
    let said = stderr(output);
    assert!(!output.status.success() && said.contains(why), "`{why}` is not in: {said}");
}

fn ended(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output))
}

fn by_key(user: User) {
    let world = World::new(user);
    world.init("", "");
    let (file, contact) = key(&world, "ann");
    let (other, _) = key(&world, "eve");
    // The comment is no part of who somebody is.
    only(&world, &[&format!("{contact} ann@corp")]);
    let child = work(&world);
    let question = asked(&world);
    let id = question["id"].as_str().unwrap();
    assert_eq!(question["who"][0], contact.as_str());
    assert!(world.ok(&["asks"]).contains("key SHA256:"), "people know keys by their fingerprints");
    let unsigned = answer(&world, id, &[]);
    refused(&unsigned, "is not among those who are asked");
    refused(&unsigned, "--key FILE");
    refused(&answer(&world, id, &["--key", other.to_str().unwrap()]), "is not among those who are asked");
    // By hand, with what OpenSSH has: what it signs is taken for what it says, and for nothing else.
    let statement = world.ok(&["answer", id, "allow", "--reason", "it may", "--statement"]);
    let text = world.repo.scratch().join("answer");
    std::fs::write(&text, statement).unwrap();
    user.own(&text).unwrap();
    let mut sign = user.command("ssh-keygen", &world.repo.home());
    let made = sign.args(["-Y", "sign", "-n", signed::NAMESPACE, "-f"]).arg(&file).arg(&text).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let signature = world.repo.scratch().join("answer.sig");
    let words = ["answer", id, "allow", "--reason", "another reason", "--signature", signature.to_str().unwrap()];
    refused(&world.flyball(&words).output().unwrap(), "the signature does not hold");
    let given = answer(&world, id, &["--signature", signature.to_str().unwrap()]);
    assert!(given.status.success(), "{}", stderr(&given));
    let said = ended(child);
    assert!(said.contains("code=0"), "{said}");
    let log = world.log();
    let last = log.iter().rev().find(|e| e["kind"] == "answer").unwrap();
    assert_eq!((&last["actor"], &last["body"]["by"]), (&contact.as_str().into(), &contact.as_str().into()), "{last}");
    assert!(last["body"]["signed"]["sshsig"].as_str().unwrap().contains("BEGIN SSH SIGNATURE"), "{last}");
    assert!(log.iter().any(|e| e["kind"] == "alert" && e.to_string().contains("the signature does not hold")));
    world.verifies();
    // That of the key that nobody asked is a true signature too, and was refused.
    let report: Value = serde_json::from_str(&world.ok(&["verify", "@", "--json"])).unwrap();
    assert_eq!(report["signed_answers"], 2, "{report}");

    // By the agent that holds the key, where the file has only the public half.
    let socket = world.repo.scratch().join("agent.sock");
    let mut agent = user.command("ssh-agent", &world.repo.home());
    let mut agent = agent.args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    wait_for("the agent", || socket.exists().then_some(()));
    let mut add = user.command("ssh-add", &world.repo.home());
    let added = add.arg("-q").arg(&file).env("SSH_AUTH_SOCK", &socket).output().unwrap();
    assert!(added.status.success(), "{added:?}");
    std::fs::remove_file(&file).unwrap();
    let child = work(&world);
    let id = asked(&world)["id"].as_str().unwrap().to_owned();
    let public = file.with_extension("pub");
    let words = ["answer", &id, "allow", "--reason", "it may", "--key", public.to_str().unwrap()];
    refused(&world.flyball(&words).env_remove("SSH_AUTH_SOCK").output().unwrap(), "there is no ssh-agent");
    let given = world.flyball(&words).env("SSH_AUTH_SOCK", &socket).output().unwrap();
    assert!(given.status.success(), "{}", stderr(&given));
    assert!(ended(child).contains("code=0"));
    agent.kill().unwrap();
    agent.wait().unwrap();
    world.verifies();
}

fn replayed(user: User) {
    let world = World::new(user);
    world.init("", "");
    let (file, contact) = key(&world, "ann");
    only(&world, &[&contact]);
    let bring = |question: &Value, signed: Signed, reason: &str| {
        let request = Request::Answer {
            id: question["id"].as_str().unwrap().to_owned(),
            verdict: flyball_kernel::Verdict::Allow,
            with: None,
            reason: reason.to_owned(),
            signed: Some(signed),
            only: Vec::new(),
            set: None,
        };
        let home = Home::open(&world.ledger).unwrap();
        let sent = send(&home, question["session"].as_str().unwrap(), &request);
        sent.map(|_| ()).map_err(|e| e.to_string())
    };
    let statement = |question: &Value, expires: &str| {
        let text = |key: &str| question[key].as_str().unwrap().to_owned();
        let action = text("action");
        let (id, verdict) = (text("id"), flyball_kernel::Verdict::Allow);
        let id = signed::asked(&id, question["asked"].as_u64().unwrap());
        Statement::of(&id, std::iter::once(action.as_str()), verdict, None, "it may", expires)
    };
    let child = work(&world);
    let question = asked(&world);
    let deadline = question["deadline"].as_str().unwrap();
    let good = signed::sign(&statement(&question, deadline), &file).unwrap();
    let gone = signed::sign(&statement(&question, "2020-01-01T00:00:00.000000000Z"), &file).unwrap();
    let long = signed::sign(&statement(&question, "2120-01-01T00:00:00.000000000Z"), &file).unwrap();
    let mut changed = good.clone();
    changed.statement = changed.statement.replacen("it may", "it must", 1);
    for (signed, reason, why) in [
        (gone, "it may", "the signed answer expired at 2020"),
        (long, "it may", "would be good until 2120"),
        (good.clone(), "it must", "signed for another reason: `it may`, not `it must`"),
        (changed, "it must", "the signature does not hold"),
    ] {
        let error = bring(&question, signed, reason).unwrap_err();
        assert!(error.contains(why), "`{why}` is not in: {error}");
    }
    assert_eq!(bring(&question, good.clone(), "it may"), Ok(()));
    assert!(ended(child).contains("code=0"));
    assert!(bring(&question, good.clone(), "it may").is_err(), "the session is over");
    // The same action in the next session, by the same program: the answer was to another question.
    let child = work(&world);
    let next = asked(&world);
    assert_eq!(next["action"], question["action"], "the same action");
    let error = bring(&next, good, "it may").unwrap_err();
    assert!(error.contains("signed for another question"), "{error}");
    world.ok(&["kill", "@", "--reason", "over"]);
    ended(child);
    let alerts = world.log().iter().filter(|e| e["body"]["alert"] == "signature").count();
    assert_eq!(alerts, 1, "who tried is on record");
    world.verifies();
}

fn at_once(user: User) {
    let world = World::new(user);
    world.init("", "");
    let child = work(&world);
    let id = asked(&world)["id"].as_str().unwrap().to_owned();
    let outputs: Vec<Output> = std::thread::scope(|scope| {
        let (world, id) = (&world, id.as_str());
        let answers: Vec<_> = ["allow", "deny", "allow", "deny"]
            .into_iter()
            .map(|verdict| {
                scope.spawn(move || world.flyball(&["answer", id, verdict, "--reason", verdict]).output().unwrap())
            })
            .collect();
        answers.into_iter().map(|a| a.join().unwrap()).collect()
    });
    let taken: Vec<bool> = outputs.iter().map(|o| o.status.success()).collect();
    assert_eq!(taken.iter().filter(|t| **t).count(), 1, "{outputs:?}");
    let is_allowed = taken[0] || taken[2];
    assert_eq!(ended(child).contains("code=0"), is_allowed, "what was said is what was done");
    let log = world.log();
    assert_eq!(log.iter().filter(|e| e["kind"] == "answer").count(), 1, "{log:?}");
    world.verifies();
}

fn races(user: User) {
    let world = World::new(user);
    world.init("", "");
    for round in 0..4 {
        let child = work(&world);
        let question = asked(&world);
        let id = question["id"].as_str().unwrap();
        // Nothing says which comes first.
        let given = std::thread::scope(|scope| {
            let end = || world.flyball(&["kill", "@", "--reason", "over"]).output().unwrap();
            let killer = (round % 2 == 0).then(|| scope.spawn(end));
            let given = scope.spawn(|| answer(&world, id, &[]));
            let killer = killer.unwrap_or_else(|| scope.spawn(end));
            assert!(killer.join().unwrap().status.success());
            given.join().unwrap()
        });
        ended(child);
        let log = world.log();
        let of_it = |kind: &str| log.iter().filter(|e| e["kind"] == kind && e["body"]["of"] == question["of"]).count();
        assert!(of_it("answer") <= 1 && of_it("dispatch") <= of_it("answer"), "{log:?}");
        // Nothing is done without an answer that was taken, and none is taken for what is over.
        assert!(of_it("dispatch") == 0 || given.status.success(), "round {round}: {} {log:?}", stderr(&given));
        let said = String::from_utf8_lossy(&given.stdout).into_owned();
        assert_eq!(said.starts_with("allowed"), of_it("dispatch") == 1, "round {round}: {said} {log:?}");
        world.verifies();
    }
}

fn narrowed(user: User) {
    let world = World::new(user);
    world.init("", "");
    let me = user_name(&world);
    // A small one: charters that are not plainly narrower are compared action by action.
    world.change("charter.toml", |_| {
        format!(
            "[charter]\nname = \"small\"\n[owners]\nmaintainer = [\"{me}\", \"user:somebody-else\"]\n\
             [escalation.maintainer]\nask = \"maintainer\"\nwithin = \"15m\"\nthen = \"deny\"\n"
        )
    });
    world.change("rules.cedar", |_| {
        "@id(\"all\") @owner(\"maintainer\") @reason(\"All else.\") permit (principal, action, resource);\n\
         @id(\"ci\") @owner(\"maintainer\") @reason(\"Ask.\") @escalate(\"maintainer\")\n\
         forbid (principal, action == Action::\"fs.write\", resource) when { resource.name == \"ci.yml\" };\n"
            .to_owned()
    });
    let child = work(&world);
    let id = asked(&world)["id"].as_str().unwrap().to_owned();
    let narrow = world.repo.scratch().join("narrow");
    std::fs::create_dir_all(&narrow).unwrap();
    for entry in std::fs::read_dir(world.repo.workspace().join(".flyball")).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        std::fs::write(narrow.join(entry.file_name()), text.replace(&format!("\"{me}\", "), "")).unwrap();
    }
    user.own(&narrow).unwrap();
    let constrain = |dir: &std::path::Path, more: &[&str]| {
        let words = ["constrain", "@", "--reason", "t", "--charter", dir.to_str().unwrap()];
        world.flyball(&[&words, more].concat()).output().unwrap()
    };
    let done = constrain(&narrow, &[]);
    assert!(done.status.success(), "fewer people is narrower: {}", stderr(&done));
    let open: Value = serde_json::from_str(world.ok(&["asks", "--json"]).lines().next().unwrap()).unwrap();
    assert_eq!(open["who"], serde_json::json!(["user:somebody-else"]), "who is asked now: {open}");
    refused(&answer(&world, &id, &[]), "is not among those who are asked");
    // Nor do they let themselves in again.
    let back = constrain(&world.repo.workspace().join(".flyball"), &[]);
    refused(&back, "not shown to be narrower");
    let back = constrain(&world.repo.workspace().join(".flyball"), &["--widen"]);
    refused(&back, "is no contact of");
    world.ok(&["kill", "@", "--reason", "over"]);
    assert!(!ended(child).contains("code=0"));
    world.verifies();
}

fn user_name(world: &World) -> String {
    user(world.user.uid())
}

fn late(user: User) {
    let world = World::new(user);
    world.init("", "");
    world.change("charter.toml", |text| text.replace("within = \"15m\"", "within = \"2s\""));
    let child = work(&world);
    let id = asked(&world)["id"].as_str().unwrap().to_owned();
    let said = ended(child);
    assert!(said.contains("did not answer in time") && !said.contains("code=0"), "{said}");
    assert!(!answer(&world, &id, &[]).status.success());
    assert_eq!(world.log().iter().filter(|e| e["kind"] == "answer").count(), 0);
    world.verifies();
}
