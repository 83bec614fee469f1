//! The library's charters over real programs: what each stops and lets through of files, git, commands and connections, and
//! that it says what nothing brings to its rules yet.

use crate::fleet::Live;
use crate::support::{Case, World, nothing, stderr, summary, verdicts};
use flyball_testkit::user::User;
use serde_json::Value;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "the_coding_charter_over_a_real_repository", needs: nothing, run: coding },
        Case { name: "the_data_charter_lets_nothing_out_after_personal_data", needs: nothing, run: data },
        Case { name: "the_release_charter_over_tests_tags_and_deploys", needs: nothing, run: release },
        Case { name: "the_sre_charter_looks_and_changes_nothing_yet", needs: nothing, run: sre },
        Case { name: "the_setpoints_charter_reaches_no_controller", needs: nothing, run: setpoints },
        Case { name: "the_team_charter_lets_the_lead_write", needs: nothing, run: team },
        Case { name: "a_day_is_shared_by_sessions_under_the_coding_charter", needs: nothing, run: day },
    ]
}

/// A repository under that charter of the library, with whoever runs the tests in its owners, and programs by these names.
fn under(user: User, name: &str, programs: &[(&str, &str)]) -> World {
    let world = World::new(user);
    world.ok(&["init", "--from", name]);
    let me = flyball_runtime::control::user(user.uid());
    world.change("charter.toml", |text| text.replace("\"user:alice\"", &format!("\"{me}\"")));
    world.user.own(&world.repo.workspace().join(".flyball")).unwrap();
    // Outside of the workspace nothing can be pushed to.
    let origin = world.repo.workspace().join("origin.git");
    world.repo.git(user, &["clone", "-q", "--bare", ".", "origin.git"]).unwrap();
    world.repo.git(user, &["remote", "set-url", "origin", origin.to_str().unwrap()]).unwrap();
    for (name, script) in programs {
        world.repo_program(name, script);
    }
    world
}

impl World {
    fn repo_program(&self, name: &str, script: &str) {
        let path = self.repo.workspace().join("bin").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        self.user.own(path.parent().unwrap()).unwrap();
    }
}

/// Runs these lines one after another, each whatever became of those before; questions are refused. Gives for each its exit code,
/// and the record.
fn lines(world: &World, program: &[&str], lines: &[&str]) -> (Vec<i32>, Vec<Value>, String) {
    let script: String = lines.iter().enumerate().map(|(n, line)| format!("{line}\necho \"line {n} $?\"\n")).collect();
    let file = world.repo.workspace().join("lines.sh");
    std::fs::write(&file, script).unwrap();
    world.user.own(&file).unwrap();
    let words = ["run", "--json", "--apply", "never", "--on-hold", "deny", "--"];
    let output = world.flyball(&[&words[..], program, &["lines.sh"]].concat()).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output));
    assert_eq!(summary(&output)["ended_by"], "program", "{text}\n{errors}");
    let codes = (0..lines.len()).map(|n| {
        let said = text.lines().find_map(|l| l.strip_prefix(&format!("line {n} ")));
        said.unwrap_or_else(|| panic!("line {n}: {text}\n{errors}")).trim().parse().unwrap()
    });
    (codes.collect(), world.log(), errors)
}

/// Which lines went well.
fn went(codes: &[i32]) -> Vec<bool> {
    codes.iter().map(|code| *code == 0).collect()
}

/// The rules that stopped something.
fn stopped_by(log: &[Value]) -> Vec<&str> {
    let stopped = log.iter().filter(|e| e["kind"] == "ruling" && e["body"]["verdict"] != "allow");
    let mut rules: Vec<&str> =
        stopped.flat_map(|e| e["body"]["reasons"].as_array().unwrap()).filter_map(|r| r["rule"].as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// What `check`, the record and `show` say that nothing brings to these rules.
fn says_what_is_not_mediated(world: &World, log: &[Value], rules: &[&str]) {
    let check = world.ok(&["check"]);
    for rule in rules {
        assert!(check.contains(&format!("rule `{rule}` can't be triggered")), "{rule}: {check}");
    }
    is_not_mediated_here(world, log, rules);
}

/// What the record and `show` say that nothing brings to these rules in this session, though another kind of session would.
fn is_not_mediated_here(world: &World, log: &[Value], rules: &[&str]) {
    let opened = log[0]["body"]["uncovered"].to_string();
    let show = world.ok(&["show", "@"]);
    for rule in rules {
        assert!(opened.contains(rule), "{rule}: {opened}");
        assert!(show.contains(rule), "{rule}: {show}");
    }
}

const GIT: &str = "git -c user.name=a -c user.email=a@example.test";

fn coding(user: User) {
    let world = under(user, "coding", &[("pytest", "exit ${RESULT-0}"), ("npm", "exit 0")]);
    let commit = format!("{GIT} add src && {GIT} commit -qm new");
    let (codes, log, errors) = lines(
        &world,
        &["sh"],
        &[
            "mkdir src && echo x > src/new.rs && git checkout -q -b topic",
            &commit,
            // On red, and after a write since.
            "git push -q origin topic",
            "bin/pytest && echo y > src/new.rs; git push -q origin topic",
            "RESULT=1 bin/pytest; git push -q origin topic",
            "bin/pytest && git push -q origin topic",
            "git push -q origin topic:main",
            "git push -q --force origin topic",
            "echo x > .github/workflows/ci.yml",
            "echo x > .flyball/rules.cedar",
            "cat ~/.ssh/id_ed25519",
            "bin/npm install left-pad",
            "rm -r docs",
            "rm docs/page-00.md",
            "git --git-dir origin.git rev-parse -q --verify topic",
        ],
    );
    let passed = [0, 1, 5, 13, 14];
    let went = went(&codes);
    for (n, is_ok) in went.iter().enumerate() {
        assert_eq!(*is_ok, passed.contains(&n), "line {n}: {errors}");
    }
    let rules = stopped_by(&log);
    for rule in [
        "push-needs-green-tests",
        "shared-branches-are-asked-about",
        "no-force-push",
        "what-runs-later-is-asked-about",
        "packages-are-asked-about",
        "whole-folders-are-asked-about",
    ] {
        assert!(rules.contains(&rule), "{rule} is not among {rules:?}\n{errors}");
    }
    world.verifies();
}

/// Personal data as files carry it: the label of the README.
fn data(user: User) {
    let world = under(user, "data", &[]);
    world.change("charter.toml", |text| {
        format!("{text}\n[[label]]\nname = \"personal\"\nowner = \"privacy\"\npaths = [\"exports/**\"]\n")
    });
    let exports = world.repo.workspace().join("exports");
    std::fs::create_dir(&exports).unwrap();
    std::fs::write(exports.join("people.csv"), "ann,1\n").unwrap();
    user.own(&exports).unwrap();
    let report =
        format!("mkdir -p reports && echo done > reports/july.md && {GIT} add reports && {GIT} commit -qm july");
    let (codes, log, errors) = lines(
        &world,
        &["sh"],
        &[
            &report,
            "git push -q origin main",
            "git push -q https://paste.example/x main",
            "cat exports/people.csv > reports/people.md",
            "git push -q origin main",
            "echo more > reports/august.md",
            "echo x > .flyball/charter.toml",
        ],
    );
    assert_eq!(went(&codes), [true, true, false, true, false, true, false], "{errors}");
    let rules = stopped_by(&log);
    assert!(rules.contains(&"no-egress-after-personal-data"), "{rules:?}");
    let (_, verdict) = verdicts(&log, "git.push").pop().unwrap();
    assert_eq!(verdict, "deny");
    let refused =
        log.iter().rev().find(|e| e["body"]["reasons"][0]["rule"] == "no-egress-after-personal-data").unwrap();
    let witness = refused["body"]["reasons"][0]["witnesses"][0].as_u64().expect("the read");
    assert!(log.iter().any(|e| e["seq"] == witness && e["kind"] == "dispatch"), "{refused}");
    let silent =
        ["say-how-many-rows", "no-writes-outside-its-schema", "no-sweeping-changes", "personal-data-is-asked-about"];
    // A gateway in front of tool servers would bring them.
    is_not_mediated_here(&world, &log, &silent);
    world.verifies();
}

fn release(user: User) {
    let world = under(user, "release", &[("make", "exit 0"), ("kubectl", "echo kubectl $*")]);
    let (codes, log, errors) = lines(
        &world,
        &["sh"],
        &[
            "echo '# 1.2' > CHANGELOG.md",
            "git tag v1.2.0",
            "git push -q origin v1.2.0",
            "git push -q origin main",
            "git tag -f v1.2.0 HEAD",
            "bin/kubectl scale -n staging deployment/api --replicas=3",
            "bin/kubectl scale -n canary deployment/api --replicas=3",
            "bin/make test",
            "bin/kubectl scale -n canary deployment/api --replicas=3",
            "bin/kubectl delete -n prod deployment/api",
            "bin/kubectl delete -n staging deployment/old",
        ],
    );
    // Whether the second scaling of the canary passes hangs on the hour and the day: the freeze window.
    let mut sure = went(&codes);
    sure.remove(8);
    assert_eq!(sure, [true, true, true, false, false, true, false, true, false, true], "{errors}");
    let scalings: Vec<Vec<String>> = log
        .iter()
        .filter(|e| {
            e["kind"] == "attempt"
                && e["body"]["verb"] == "deploy.scale"
                && e["body"]["resource"]["namespace"] == "canary"
        })
        .map(|attempt| {
            let ruling = log.iter().find(|e| e["kind"] == "ruling" && e["body"]["of"] == attempt["seq"]).unwrap();
            let reasons = ruling["body"]["reasons"].as_array().unwrap();
            reasons.iter().map(|r| r["rule"].as_str().unwrap().to_owned()).collect()
        })
        .collect();
    let [red, green] = &scalings[..] else { panic!("{scalings:?}") };
    assert!(
        red.contains(&"no-deploy-on-red".to_owned()) && !green.contains(&"no-deploy-on-red".to_owned()),
        "{scalings:?}"
    );
    assert!(green == &["deploy"] || green == &["freeze-window"], "{green:?}");
    let rules = stopped_by(&log);
    for rule in ["releases-are-not-rewritten", "nothing-is-deleted-in-production", "no-rule-permits"] {
        assert!(rules.contains(&rule), "{rules:?}");
    }
    world.verifies();
}

fn sre(user: User) {
    let world = under(user, "sre", &[("kubectl", "echo kubectl $*")]);
    let (codes, log, errors) = lines(
        &world,
        &["sh"],
        &[
            "mkdir notes && echo 'latency is up' > notes/incident.md",
            "bin/kubectl get pods -n prod",
            "bin/kubectl scale -n prod deployment/api --replicas=4",
            "bin/kubectl delete -n prod pvc/data",
            "echo x > .flyball/rules.cedar",
            "cat notes/incident.md > /dev/null",
        ],
    );
    assert_eq!(went(&codes), [true, true, false, false, false, true], "{errors}");
    let rules = stopped_by(&log);
    for rule in ["only-while-mending", "nothing-is-deleted-in-production"] {
        assert!(rules.contains(&rule), "{rules:?}");
    }
    says_what_is_not_mediated(&world, &log, &["three-tries-then-people", "not-the-same-fix-again"]);
    assert!(world.ok(&["check"]).contains("obligation `incident-is-escalated` never begins"));
    world.verifies();
}

fn setpoints(user: User) {
    let world = under(user, "setpoints", &[]);
    let (codes, log, errors) = lines(
        &world,
        &["sh"],
        &[
            "mkdir log && echo '60000' > log/today.csv",
            "cat log/today.csv > /dev/null",
            "git ls-remote git://plc-2.plant:502/x",
            "echo x > .flyball/charter.toml",
            "echo x > ~/notes",
        ],
    );
    assert_eq!(went(&codes), [true, true, false, false, false], "{errors}");
    let silent = ["safety-is-not-software", "no-heat-without-flow", "stale-telemetry", "disagreeing-telemetry"];
    says_what_is_not_mediated(&world, &log, &silent);
    assert!(world.ok(&["check"]).contains("envelope `setpoint` counts nothing"));
    world.verifies();
}

fn team(user: User) {
    let world = under(user, "team", &[("lead", "exec sh \"$@\""), ("coder", "exec sh \"$@\"")]);
    let acts = [
        "mkdir src && echo x > src/parser.rs",
        "cat README.md > /dev/null",
        "git push -q origin HEAD:topic",
        "echo x > .flyball/rules.cedar",
    ];
    let (codes, log, errors) = lines(&world, &["bin/lead"], &acts);
    assert_eq!(went(&codes), [true, true, true, false], "{errors}");
    assert_eq!(log[0]["body"]["agent"], "lead");
    says_what_is_not_mediated(&world, &log, &["delegation-never-widens"]);
    // Hooks would bring these, and no run does.
    assert!(log[0]["body"]["uncovered"].to_string().contains("one-writer-per-key"));
    let (codes, log, errors) = lines(&world, &["bin/coder"], &acts);
    assert_eq!(went(&codes), [false, true, false, false], "{errors}");
    let rules = stopped_by(&log);
    assert!(rules.contains(&"writing-is-given") && rules.contains(&"pushing-is-given"), "{rules:?}");
    world.verifies();
}

/// Two pushes a day, whichever session makes them.
fn day(user: User) {
    let world = under(user, "coding", &[("pytest", "exit 0")]);
    world.change("charter.toml", |text| {
        format!("{text}\n[budget.pushes]\ncount = \"git.push\"\nlimit = 2\nper = \"day\"\n")
    });
    let day_of = |log: &[Value]| {
        let budgets = log.last().unwrap()["body"]["registers"]["budgets"].clone();
        budgets[0]["agent"].as_str().unwrap_or_default().to_owned()
    };
    let (mut one, mut two) = (Live::start(&world), Live::start(&world));
    for live in [&mut one, &mut two] {
        assert!(live.act("bin/pytest"));
    }
    assert!(one.act("git push -q origin HEAD:one"));
    assert!(two.act("git push -q origin HEAD:two"));
    let third = (one.act("git push -q origin HEAD:three"), two.act("git push -q origin HEAD:four"));
    let ((said, log), (_, other)) = (one.end(&world), two.end(&world));
    if day_of(&log) != day_of(&other) {
        println!("skipped: midnight came between");
        return;
    }
    assert_eq!(third, (false, false), "{said}");
    for log in [log, other] {
        assert!(stopped_by(&log).contains(&"pushes"), "{:?}", stopped_by(&log));
    }
    world.ok(&["verify"]);
}
