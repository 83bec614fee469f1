//! What `attest` looks at itself: contracts that nobody held against a session, and its whole workspace.

use crate::support::{Case, World, nothing, stderr, summary};
use flyball_testkit::user::User;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "contracts_are_held_against_a_session_whose_supervisor_died", needs: nothing, run: died },
        Case { name: "contracts_are_held_once_more_when_asked", needs: nothing, run: again },
        Case { name: "a_contracts_command_that_was_never_started_is_run_later", needs: nothing, run: not_started },
        Case { name: "a_contract_runs_on_a_recorded_workspace_that_is_gone", needs: nothing, run: recorded },
        Case { name: "two_sessions_are_held_against_each_other", needs: nothing, run: two },
        Case { name: "the_whole_workspace_has_a_digest_that_others_compute", needs: nothing, run: tree },
    ]
}

fn two(user: User) {
    let world = World::new(user);
    world.init("[budget.writes]\ncount = \"fs.write\"\nlimit = 100\nper = \"session\"\n", "");
    std::fs::write(world.repo.workspace().join("both"), "as it was\n").unwrap();
    std::fs::write(world.repo.workspace().join("one"), "as it was\n").unwrap();
    for file in ["both", "one"] {
        user.own(&world.repo.workspace().join(file)).unwrap();
    }
    let run = |script: &str| {
        let output = world.flyball(&["run", "--json", "--apply", "never", "--", "sh", "-c", script]).output().unwrap();
        summary(&output)["session"].as_str().unwrap_or_else(|| panic!("{}", stderr(&output))).to_owned()
    };
    let (a, b) = (
        run("echo a > both; echo a > one; echo same > new; true"),
        run("echo b > both; echo same > new; rm one; true"),
    );
    let told: Value = serde_json::from_str(&world.ok(&["diff", &a, &b, "--json"])).unwrap();
    let files = told["files"].as_array().unwrap();
    let said: Vec<(&str, &str)> =
        files.iter().map(|file| (file["path"].as_str().unwrap(), file["change"].as_str().unwrap())).collect();
    assert_eq!(said, [("both", "modified"), ("one", "deleted")], "{told:#}");
    let patch = files[0]["unified"].as_str().unwrap();
    assert!(patch.contains("-a\n+b\n"), "{patch}");
    // What only one of them touched stands for the other as it found it.
    let none = run("true");
    let patch = world.ok(&["diff", &none, &a]);
    assert!(patch.contains("-as it was\n+a\n") && patch.contains("+same"), "{patch}");
    assert!(world.ok(&["diff", &a, &a, "--json"]).contains("\"files\":[]"));
    // Where nothing differs, the sessions are named, each by its own name.
    let said = |words: &[&str]| {
        let output = world.flyball(words).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output))
    };
    let other = run("true");
    let text = said(&["diff", &none, &other]);
    assert!(text.contains(&format!("sessions {none} and {other} were the same")), "{text}");
    let text = said(&["diff", &none, &other, "--state"]);
    assert!(text.contains(&format!("state of session {none} was that of session {other}")), "{text}");
    let state: Value = serde_json::from_str(&world.ok(&["diff", &none, &a, "--state", "--json"])).unwrap();
    let used = state["differences"].as_array().unwrap().iter().find(|d| d["member"] == "registers/budgets/writes/used");
    assert_eq!(used.unwrap()["before"], 0, "{state:#}");
    assert!(used.unwrap()["after"].as_u64().unwrap() >= 3, "{state:#}");
    let same = |d: &&Value| d["before"] == d["after"];
    assert_eq!(state["differences"].as_array().unwrap().iter().find(same), None, "only what differs");
    // Either may be at a step of its own.
    let begun = format!("{a}:1");
    assert!(world.ok(&["diff", &none, &begun, "--json"]).contains("\"files\":[]"));
    let patch = world.ok(&["diff", &begun, &a]);
    assert!(patch.contains("-as it was\n+a\n") && patch.contains("+same"), "{patch}");
    let state: Value = serde_json::from_str(&world.ok(&["diff", &a, &begun, "--state", "--json"])).unwrap();
    let used = state["differences"].as_array().unwrap().iter().find(|d| d["member"] == "registers/budgets/writes/used");
    assert!(used.unwrap()["before"].as_u64().unwrap() >= 3, "{state:#}");
}

fn attest(world: &World, words: &[&str]) -> (Value, Value) {
    let file = world.repo.scratch().join("a.json");
    let name = file.to_str().unwrap();
    let told = world.ok(&[&["attest", "@", "-o", name, "--json"], words].concat());
    let report: Value = serde_json::from_str(&world.ok(&["verify", name, "--json"])).unwrap();
    assert_eq!(report["ok"], true, "{report:#}");
    let script = "import base64,json,sys; print(base64.b64decode(json.load(open(sys.argv[1]))['payload']).decode())";
    let output = Command::new("python3").args(["-c", script]).arg(&file).output().unwrap();
    (serde_json::from_str(&told).unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

/// The charter's one contract, with its command as a script.
fn contract(world: &World, script: &str) {
    world.init("[facts]\nseen = 'once did fs.write(path like \"**/made\")'\n", "");
    let text = format!(
        "\n[[contract]]\nname = \"later\"\nfacts = [\"seen\"]\nreplay_at_least = 2\ncommand = [\"sh\", \"-c\", '''{script}''']\n"
    );
    world.change("charter.toml", |charter| charter + &text);
}

fn died(user: User) {
    let world = World::new(user);
    contract(&world, "cat made; test \"$(cat made)\" = two");
    for (content, holds) in [("two", true), ("one", false)] {
        let script = format!("echo {content} > made; true; sleep 600");
        let mut child = world.flyball(&["run", "--apply", "never", "--", "sh", "-c", &script]).spawn().unwrap();
        // On record by now: the exec behind it looked at the file.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            assert!(std::time::Instant::now() < deadline, "it does not get there");
            let log = world.flyball(&["log", "@", "--json"]).output().unwrap();
            if String::from_utf8_lossy(&log.stdout).contains("\"sleep\"") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let open = world.flyball(&["attest", "@"]).output().unwrap();
        assert!(!open.status.success(), "nobody closed it yet");
        let id = {
            let log: Value = serde_json::from_str(world.ok(&["log", "@", "--json"]).lines().next().unwrap()).unwrap();
            log["stream"].as_str().unwrap().to_owned()
        };
        world.run("true");
        let file = world.repo.scratch().join(format!("{content}.json"));
        let name = file.to_str().unwrap();
        let told: Value = serde_json::from_str(&world.ok(&["attest", &id, "-o", name, "--json"])).unwrap();
        assert_eq!(told["contracts_hold"], holds, "{told}");
        let report: Value = serde_json::from_str(&world.ok(&["verify", name, "--json"])).unwrap();
        assert_eq!((&report["ok"], &report["contracts_hold"]), (&json!(true), &json!(holds)), "{report:#}");
        let shown: Value = serde_json::from_str(&world.ok(&["show", &id, "--json"])).unwrap();
        let checks = shown["contracts"][0]["checks"].as_array().unwrap();
        let command = checks.iter().find(|check| check["check"] == "command").unwrap();
        assert_eq!((&command["holds"], &command["exit"]), (&json!(holds), &json!(i32::from(!holds))), "{shown:#}");
        assert!(checks.iter().filter(|check| check["check"] != "command").all(|check| check["holds"] == true));
        // It is looked at once.
        world.ok(&["attest", &id]);
        let log = world.ok(&["log", &id, "--json"]);
        assert_eq!(log.lines().filter(|line| line.contains("contract_command")).count(), 1, "{log}");
        let folder = world.ledger.join("sessions").join(&id);
        assert!(!folder.join("attested").exists(), "what was laid out is gone");
        world.ok(&["replay", &id]);
    }
    assert!(!world.repo.workspace().join("made").exists());
    world.verifies();
}

/// What could not be run then, as somebody ended the session, is run later; once.
fn not_started(user: User) {
    let world = World::new(user);
    contract(&world, "cat made");
    let output = world.flyball(&["run", "--json", "--apply", "never", "--", "no-such-program"]).output().unwrap();
    assert!(!output.status.success());
    let started = || {
        let log = world.log();
        let ran = log.iter().filter_map(|entry| entry["body"].get("contract_command"));
        ran.map(|ran| !ran["output"].is_null()).collect::<Vec<_>>()
    };
    assert_eq!(started(), [false]);
    let (_, said) = attest(&world, &[]);
    assert_eq!(started(), [false, true], "{said:#}");
    assert_eq!(said["predicate"]["contracts"]["results"][0]["later"]["from"], "workspace", "{said:#}");
    attest(&world, &[]);
    assert_eq!(started(), [false, true]);
}

fn again(user: User) {
    let world = World::new(user);
    let intruder = world.repo.scratch().join("intruder");
    let script = format!("cat made README.md; echo forged > made; echo x > {} || true; exit 3", intruder.display());
    contract(&world, &script);
    std::fs::write(world.repo.workspace().join("README.md"), "as it was\n").unwrap();
    let output = world.flyball(&["run", "--json", "--apply", "always", "--", "sh", "-c", "echo one > made; true"]);
    let output = { output }.output().unwrap();
    assert_eq!(summary(&output)["contracts"][0]["holds"], false, "{}", stderr(&output));
    let (told, said) = attest(&world, &[]);
    assert_eq!(told["contracts_hold"], false);
    assert!(said["predicate"]["contracts"]["results"][0]["later"].is_null(), "it was looked at by then");

    // It was applied: the real tree is what the session left.
    assert_eq!(std::fs::read_to_string(world.repo.workspace().join("made")).unwrap(), "one\n");
    let (told, said) = attest(&world, &["--again"]);
    assert_eq!(told["contracts_hold"], false);
    let result = &said["predicate"]["contracts"]["results"][0];
    assert_eq!((&result["later"]["from"], &result["before"][0]["holds"]), (&json!("workspace"), &json!(false)));
    assert_eq!(said["predicate"]["contracts"]["results"].as_array().unwrap().len(), 1);
    let log = world.log();
    let ran = log.iter().rev().find(|entry| !entry["body"]["contract_command"].is_null()).unwrap();
    assert_eq!(ran["body"]["contract_command"]["exit"], 3);
    let said = ran["body"]["contract_command"]["output"]["tail"].as_str().unwrap();
    assert!(said.starts_with("one\nas it was\n"), "{said}");
    assert_eq!(std::fs::read_to_string(world.repo.workspace().join("made")).unwrap(), "one\n", "thrown away");
    assert!(!intruder.exists());

    // What is neither what it began with nor what it left is not judged.
    std::fs::write(world.repo.workspace().join("made"), "somebody else's\n").unwrap();
    let (told, said) = attest(&world, &["--again"]);
    assert_eq!(told["contracts_hold"], false);
    let told = said["predicate"]["contracts"]["results"][0].to_string();
    assert!(told.contains("`made` in the real workspace is neither"), "{told}");
    world.verifies();
}

fn recorded(user: User) {
    let world = World::new(user);
    contract(&world, "cat made kept; test ! -e gone; exit 0");
    std::fs::write(world.repo.workspace().join("kept"), "as it was\n").unwrap();
    std::fs::write(world.repo.workspace().join("gone"), "x\n").unwrap();
    let script = "echo one > made; rm gone; true";
    let output = world.flyball(&["run", "--record", "--json", "--apply", "never", "--", "sh", "-c", script]);
    let output = { output }.output().unwrap();
    assert_eq!(summary(&output)["contracts"][0]["holds"], true, "{}", stderr(&output));
    for (file, text) in [("kept", "another by now\n"), ("made", "somebody else's\n")] {
        std::fs::write(world.repo.workspace().join(file), text).unwrap();
    }
    let (told, said) = attest(&world, &["--again"]);
    assert_eq!(told["contracts_hold"], true, "{said:#}");
    assert_eq!(said["predicate"]["contracts"]["results"][0]["later"]["from"], "record");
    let log = world.log();
    let ran = log.iter().rev().find(|entry| !entry["body"]["contract_command"].is_null()).unwrap();
    assert_eq!(ran["body"]["contract_command"]["output"]["tail"], "one\nas it was\n");
}

/// The recipe of `docs/attestation.md`, as it stands there.
fn recipe() -> String {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/attestation.md")).unwrap();
    let (_, recipe) = page.split_once("```python\n").unwrap();
    recipe.split("```").next().unwrap().to_owned()
}

fn tree(user: User) {
    let world = World::new(user);
    world.init("", "");
    let workspace = world.repo.workspace();
    let odd: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"od\xff d %\\\xc2\xa0\x01");
    std::fs::create_dir_all(workspace.join("a/b")).unwrap();
    for path in ["a/b/c", "a-b", "goes/deep", "a/gone"] {
        std::fs::create_dir_all(workspace.join(path).parent().unwrap()).unwrap();
        std::fs::write(workspace.join(path), path).unwrap();
    }
    std::fs::write(workspace.join(odd), "odd").unwrap();
    std::os::unix::fs::symlink(odd, workspace.join("link")).unwrap();
    for path in ["a", "a/b", "a/b/c", "a-b", "goes", "goes/deep", "a/gone"] {
        user.own(&workspace.join(path)).unwrap();
    }
    let script = "echo one > a/made; rm goes/deep; rmdir goes; rm a/gone; mkdir empty; chmod 700 a/b; ln -s nowhere new; echo x > a/b/c";
    let recompute = |root: &Path| {
        let output = Command::new("python3").args(["-c", &recipe()]).arg(root).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    for (words, from) in [(&["--record"][..], "record"), (&[][..], "workspace")] {
        let copy = world.repo.scratch().join(format!("copy-{from}"));
        assert!(Command::new("cp").arg("-a").arg(&workspace).arg(&copy).status().unwrap().success());
        let words = [&["run", "--json", "--apply", "never"], words, &["--", "sh", "-c", script]].concat();
        let output = world.flyball(&words).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let (_, said) = attest(&world, &[]);
        let told = &said["predicate"]["workspace"]["tree"];
        assert_eq!((told["form"].as_str(), told["from"].as_str()), (Some("flyball-tree-1"), Some(from)), "{told}");
        let subject = said["subject"].as_array().unwrap().iter().find(|subject| subject["name"] == "tree").unwrap();
        // The same by hand, on a copy of what was there before.
        let done = Command::new("sh").args(["-c", script]).current_dir(&copy).status().unwrap();
        assert!(done.success());
        assert_eq!(told["digest"], format!("sha256:{}", subject["digest"]["sha256"].as_str().unwrap()));
        assert_eq!(subject["digest"]["sha256"], recompute(&copy), "{from}: {told}");
    }
}
