//! Questions of a live session: what one answer is for, and who can't give it.

use crate::people::{asked, start, wait_for};
use crate::support::{Case, World, nothing, stderr};
use flyball_testkit::user::User;
use serde_json::Value;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "one_answer_is_for_all_that_a_command_names_and_then_for_each_once", needs: nothing, run: named },
        Case { name: "an_answer_from_inside_reaches_nobody", needs: nothing, run: inside },
        Case { name: "a_question_ends_with_who_asked_and_with_its_time", needs: nothing, run: ends },
        Case { name: "two_people_are_two_people", needs: nothing, run: quorum },
        Case { name: "all_whose_rules_stop_it_are_shown_and_have_to_agree", needs: nothing, run: two_tiers },
        Case { name: "who_is_asked_in_anothers_place_does_not_hide_the_rest", needs: nothing, run: handed_on },
        Case { name: "an_answer_to_one_question_leaves_the_others_open", needs: nothing, run: beside },
        Case { name: "what_is_refused_for_another_part_counts_as_put_to_nobody", needs: nothing, run: put_to_nobody },
    ]
}

pub fn open(world: &World) -> Vec<Value> {
    world.ok(&["asks", "--json"]).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

pub fn count(log: &[Value], kind: &str) -> usize {
    log.iter().filter(|e| e["kind"] == kind).count()
}

fn named(user: User) {
    let world = World::new(user);
    world.init("", "");
    let script = "printf x > .github/workflows/one.yml && cp README.md .github/workflows/two.yml && echo both; \
                  printf y > .github/workflows/one.yml || echo asked again; cat .github/workflows/one.yml";
    let child = start(&world, script);
    let question = asked(&world);
    let also = question["also"].as_array().expect("more than one action");
    assert!(question["said"].as_str().unwrap().contains("one.yml"), "{question}");
    assert!(also.iter().any(|a| a["said"].as_str().unwrap().contains("two.yml")), "{question}");
    let shown = world.ok(&["asks"]);
    assert!(shown.contains("two.yml"), "{shown}");
    let changed = serde_json::to_string(&question["attempt"]).unwrap();
    let id = question["id"].as_str().unwrap();
    let refused = world.flyball(&["answer", id, "modify", "--with", &changed, "--reason", "t"]).output().unwrap();
    assert!(stderr(&refused).contains("allow or deny them as they are"), "{}", stderr(&refused));
    world.ok(&["answer", id, "allow", "--reason", "a test may"]);
    // The script names `one.yml` twice: it was allowed twice, and is not asked about a third time.
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("both\n") && text.contains("\ny"), "{text}\n{}", stderr(&output));
    let log = world.log();
    assert_eq!(count(&log, "question"), 1, "one question, and nobody is asked twice for one action");
    let before = log.iter().filter(|e| e["kind"] == "ruling" && e.to_string().contains("answered-before"));
    assert!(before.count() >= 3, "each write passed by what was answered");
    world.verifies();
}

fn inside(user: User) {
    let world = World::new(user);
    world.init("", "");
    let sessions = world.repo.scratch().join("ledger/sessions");
    let (binary, ledger) = (world.binary.display(), world.ledger.display());
    // It knows all that a person knows: where the ledger is, and that the question's id begins with the session's.
    let script = format!(
        "(printf x > .github/workflows/ci.yml) & sleep 1; ls {sessions} && echo SEEN; \
         for s in {sessions}/* /proc/1/root{sessions}/*; do test -S $s/control.sock && echo REACHED $s; done; \
         {binary} --ledger {ledger} asks && echo ASKED; \
         {binary} --ledger {ledger} answer 0 allow --reason mine && echo ANSWERED; touch tried; wait",
        sessions = sessions.display()
    );
    std::fs::write(world.repo.workspace().join("work.sh"), script).unwrap();
    let child = start(&world, "sh work.sh");
    let question = asked(&world);
    wait_for("the attempts from inside", || {
        world.log().iter().any(|e| e.to_string().contains("/tried\"")).then_some(())
    });
    assert_eq!(open(&world).len(), 1, "still open");
    world.ok(&["answer", question["id"].as_str().unwrap(), "deny", "--reason", "over"]);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for word in ["SEEN", "REACHED", "ASKED", "ANSWERED"] {
        assert!(!text.contains(word), "{text}\n{}", stderr(&output));
    }
    assert_eq!(count(&world.log(), "answer"), 1);
    world.verifies();
}

fn ends(user: User) {
    let world = World::new(user);
    world.init("", "");
    world.change("charter.toml", |text| text.replace("within = \"15m\"", "within = \"6s\""));
    std::fs::write(world.repo.workspace().join("inner.sh"), "printf x > .github/workflows/a.yml\n").unwrap();
    let script = "sh inner.sh & pid=$!; sleep 2; kill -KILL $pid; wait; sh later.sh; echo code=$?";
    std::fs::write(world.repo.workspace().join("later.sh"), "printf y > .github/workflows/b.yml\n").unwrap();
    let child = start(&world, script);
    let first = asked(&world);
    wait_for("the asker's end", || (!open(&world).iter().any(|q| q["id"] == first["id"])).then_some(()));
    let late = world.flyball(&["answer", first["id"].as_str().unwrap(), "allow", "--reason", "late"]).output().unwrap();
    assert!(!late.status.success());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("code=2") || text.contains("code=1"), "{text}\n{}", stderr(&output));
    let log = world.log();
    assert!(log.iter().any(|e| e["kind"] == "outcome" && e["body"]["withdrawn"].is_string()), "withdrawn");
    assert!(log.iter().any(|e| e.to_string().contains("question-expired")), "{}", stderr(&output));
    assert_eq!(count(&log, "answer"), 0);
    world.verifies();
}

fn quorum(user: User) {
    let world = World::new(user);
    world.init("", "");
    let me = flyball_runtime::control::user(user.uid());
    world.change("charter.toml", |text| {
        let text = text.replacen(&format!("[\"{me}\"]"), &format!("[\"{me}\", \"user:nobody-else\"]"), 1);
        text.replacen("[escalation.maintainer]\n", "[escalation.maintainer]\nquorum = 2\n", 1)
    });
    let mut child = start(&world, "printf x > .github/workflows/ci.yml");
    let id = asked(&world)["id"].as_str().unwrap().to_owned();
    world.ok(&["answer", &id, "allow", "--reason", "first"]);
    let again = world.flyball(&["answer", &id, "allow", "--reason", "again"]).output().unwrap();
    assert!(stderr(&again).contains("answered already"), "{}", stderr(&again));
    assert_eq!(open(&world).len(), 1, "one person is not two");
    world.ok(&["kill", "@", "--reason", "over"]);
    child.wait().map(drop).unwrap_or_default();
    world.verifies();
}

fn beside(user: User) {
    let world = World::new(user);
    world.init("", "");
    for name in ["a", "b", "c"] {
        let script = format!("printf {name} > .github/workflows/{name}.yml; echo {name}=$?\n");
        std::fs::write(world.repo.workspace().join(format!("{name}.sh")), script).unwrap();
    }
    let child = start(&world, "sh a.sh & sh b.sh & sh c.sh & wait");
    asked(&world);
    let all = wait_for("three questions", || Some(open(&world)).filter(|all| all.len() == 3));
    let id = |at: usize| all[at]["id"].as_str().unwrap().to_owned();
    world.ok(&["answer", &id(1), "allow", "--reason", "this one"]);
    let left: Vec<String> = open(&world).iter().map(|q| q["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    world.ok(&["answer", &id(0), "deny", "--reason", "not this"]);
    assert_eq!(open(&world).len(), 1);
    world.ok(&["answer", &id(2), "allow", "--reason", "and this"]);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.matches("=0\n").count(), 2, "{text}\n{}", stderr(&output));
    world.verifies();
}

/// Two owners' rules stop the same write: who answers sees that the other is asked too, and one answer is not enough.
fn two_tiers(user: User) {
    let world = World::new(user);
    let rule = r#"
@id("words-are-the-writers") @owner("writers") @escalate("writers") @reason("They know the words.")
forbid (principal, action == Action::"fs.write", resource) when { resource.path like "*/.github/workflows/*" };
"#;
    let toml = "[owners]\nwriters = [\"user:somebody-else\"]\n[escalation.writers]\nask = \"writers\"\nwithin = \"9m\"\nthen = \"deny\"\n";
    world.init(toml, rule);
    let child = start(&world, "printf x > .github/workflows/one.yml && echo through");
    let question = asked(&world);
    let tiers = |q: &Value| -> Vec<String> {
        let others = q["also_asked"].as_array().into_iter().flatten();
        std::iter::once(q).chain(others).map(|t| t["tier"].as_str().unwrap().to_owned()).collect()
    };
    let mut both = tiers(&question);
    both.sort();
    assert_eq!(both, ["maintainer", "writers"], "{question}");
    let shown = world.ok(&["asks"]);
    assert!(shown.contains("user:somebody-else") && shown.contains("tier writers"), "{shown}");
    let id = question["id"].as_str().unwrap();
    world.ok(&["answer", id, "allow", "--reason", "one of two"]);
    assert_eq!(open(&world).len(), 1, "the other has not agreed");
    world.ok(&["answer", id, "deny", "--reason", "enough"]);
    let output = child.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("through"), "{}", stderr(&output));
    assert!(world.log().iter().any(|e| e["kind"] == "question" && e["body"]["also_asked"].is_array()));
    world.verifies();
}

/// One of two tiers is late and hands on: the other is still shown, and still has to agree.
fn handed_on(user: User) {
    let world = World::new(user);
    let rule = r#"
@id("words-are-the-writers") @owner("writers") @escalate("writers") @reason("They know the words.")
forbid (principal, action == Action::"fs.write", resource) when { resource.path like "*/.github/workflows/*" };
"#;
    let toml = "[owners]\nwriters = [\"user:somebody-else\"]\n\
                [escalation.writers]\nask = \"writers\"\nwithin = \"3s\"\nthen = \"editors\"\n\
                [escalation.editors]\nask = \"writers\"\nwithin = \"9m\"\nthen = \"deny\"\n";
    world.init(toml, rule);
    let child = start(&world, "printf x > .github/workflows/one.yml && echo through");
    asked(&world);
    let tiers = || -> Option<Vec<String>> {
        let question = open(&world).pop()?;
        let others = question["also_asked"].as_array().into_iter().flatten();
        let mut all: Vec<String> =
            std::iter::once(&question).chain(others).map(|t| t["tier"].as_str().unwrap().to_owned()).collect();
        all.sort();
        Some(all)
    };
    let both = wait_for("the next tier", || tiers().filter(|all| all.iter().any(|tier| tier == "editors")));
    assert_eq!(both, ["editors", "maintainer"]);
    let id = open(&world)[0]["id"].as_str().unwrap().to_owned();
    world.ok(&["answer", &id, "deny", "--reason", "enough"]);
    let output = child.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("through"), "{}", stderr(&output));
    world.verifies();
}

fn put_to_nobody(user: User) {
    let world = World::new(user);
    world.init("", "");
    let (session, output) = world.run("sh -c 'printf x > .github/workflows/ci.yml; cat ~/.ssh/id_rsa; rm -rf /'; true");
    let log = world.log();
    assert!(
        log.iter().any(|e| e["kind"] == "ruling" && e["body"]["verdict"] == "hold"),
        "one part would be asked about"
    );
    assert_eq!((count(&log, "question"), &session["held"]), (0, &0.into()), "{session}\n{}", stderr(&output));
    let shown: Value = serde_json::from_str(&world.ok(&["show", "@", "--json"])).unwrap();
    let listed: Value = serde_json::from_str(&world.ok(&["ps", "--json"])).unwrap();
    for counted in ["actions", "allowed", "denied", "held", "modified"] {
        assert_eq!((&shown[counted], &listed[counted]), (&session[counted], &session[counted]), "{counted}");
    }
}
