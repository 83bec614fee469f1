//! Contracts: what is applied because they hold, and what is said of one that does not.

use crate::lacking::mounts;
use crate::support::{Case, World, nothing, stderr, summary};
use flyball_testkit::user::User;
use serde_json::{Value, json};

pub fn cases() -> Vec<Case> {
    [
        vec![Case { name: "what_a_contract_asks_for_decides_about_apply", needs: nothing, run: contracts }],
        commands(),
        vec![Case {
            name: "a_contracts_command_sees_a_copied_workspace_as_well",
            needs: mounts,
            run: |user| sees(&World::lacking(user, &["overlay"])),
        }],
    ]
    .concat()
}

/// Those of a contract's command, which also run where there are no namespaces.
pub fn commands() -> Vec<Case> {
    vec![
        Case {
            name: "a_contracts_command_sees_the_final_workspace_and_changes_nothing",
            needs: nothing,
            run: |user| sees(&World::new(user)),
        },
        Case { name: "a_contracts_command_that_ends_badly_does_not_hold", needs: nothing, run: ends_badly },
    ]
}

const CONTRACT: &str = r#"
[[contract]]
name = "checked"
holds = ["no-deletes"]
facts = ["checked"]
replay_at_least = 2
no_open_questions = true
"#;

const RULE: &str = r#"@id("no-deletes") @owner("maintainer") @reason("nothing goes")
forbid (principal, action == Action::"fs.delete", resource);
"#;

fn contracts(user: User) {
    let world = World::new(user);
    world.init("[facts]\nchecked = 'once result process.exec(program: \"true\", exit: 0)'\n", RULE);
    let run = |script: &str| {
        world.flyball(&["run", "--json", "--apply", "contract", "--", "sh", "-c", script]).output().unwrap()
    };
    // Nothing to hold: nothing runs.
    let output = run("true");
    assert!(stderr(&output).contains("FB0519"), "{}", stderr(&output));
    world.change("charter.toml", |text| text + CONTRACT);

    let output = run("echo one > made; rm made; true; exit 0");
    let told = summary(&output);
    let checks = &told["contracts"][0]["checks"];
    assert_eq!((&told["contracts"][0]["holds"], checks[1]["of"].as_str()), (&json!(false), Some("checked")), "{told}");
    assert_eq!(checks.as_array().unwrap().iter().filter(|c| c["holds"] == false).count(), 1, "{told}");
    assert!(!world.repo.workspace().join("made").exists(), "not applied");
    assert!(stderr(&output).contains("contract checked does not hold"), "{}", stderr(&output));
    let hold = |wanted: bool| {
        let file = world.repo.scratch().join("a.json");
        let name = file.to_str().unwrap();
        let told: Value = serde_json::from_str(&world.ok(&["attest", "@", "-o", name, "--json"])).unwrap();
        assert_eq!(told["contracts_hold"], wanted);
        let report: Value = serde_json::from_str(&world.ok(&["verify", name, "--json"])).unwrap();
        assert_eq!((&report["ok"], &report["contracts_hold"]), (&json!(true), &json!(wanted)), "{report}");
        let shown: Value = serde_json::from_str(&world.ok(&["show", "@", "--json"])).unwrap();
        assert_eq!(shown["contracts"][0]["holds"], wanted, "{shown}");
    };
    hold(false);

    let output = run("echo two > made; env true");
    let told = summary(&output);
    assert_eq!(told["contracts"][0]["holds"], true, "{told}");
    assert_eq!(std::fs::read_to_string(world.repo.workspace().join("made")).unwrap(), "two\n");
    hold(true);
    world.verifies();
    world.ok(&["replay", "@"]);
}

/// The charter's contracts, each a name, its command as TOML has it, and more keys.
fn charter(world: &World, contracts: &[(&str, &str, &str)]) {
    world.init("", "");
    let sections = contracts
        .iter()
        .map(|(name, command, more)| format!("\n[[contract]]\nname = \"{name}\"\ncommand = {command}\n{more}\n"));
    let sections: String = sections.collect();
    world.change("charter.toml", |text| text + &sections);
}

/// A command that does what a forger would: it must see what the session left, and change nothing of it or of the record.
fn sees(world: &World) {
    let ledger = world.ledger.display().to_string();
    let script = format!(
        r#"cat made; test ! -e README.md || echo undeleted
echo forged > made; echo forged > intruder; rm -rf .git
echo forged > '{ledger}/intruder' 2>/dev/null && echo reached
cat '{ledger}/ledger.db' > /dev/null 2>&1 && echo read
echo forged > .flyball/more.cedar && echo rewrote
echo forged > "$HOME/.profile"
cat made; exit 0"#
    );
    std::fs::write(world.repo.workspace().join("check.sh"), &script).unwrap();
    std::fs::write(world.repo.workspace().join("README.md"), "to go\n").unwrap();
    charter(world, &[("sees", r#"["sh", "check.sh"]"#, "")]);
    let profile = std::fs::read(world.repo.home().join(".profile")).ok();
    let args = ["run", "--json", "--apply", "contract", "--", "sh", "-c", "echo one > made; rm README.md"];
    let output = world.flyball(&args).output().unwrap();
    let told = summary(&output);
    let check = &told["contracts"][0]["checks"][0];
    assert_eq!((&check["holds"], &check["exit"]), (&json!(true), &json!(0)), "{told:#}\n{}", stderr(&output));

    let log = world.log();
    let ran = log.iter().find(|entry| !entry["body"]["contract_command"].is_null()).unwrap();
    let output = &ran["body"]["contract_command"]["output"];
    let said = output["tail"].as_str().unwrap();
    let words: Vec<&str> = said.lines().filter(|line| !line.contains(": ")).collect();
    assert_eq!(words, ["one", "forged"], "{said}");
    assert_eq!(output["digest"], format!("sha256:{}", flyball_ledger::Digest::of(said.as_bytes()).to_hex()));
    assert_eq!((&check["output"], &check["witnesses"][0]), (&output["digest"], &ran["seq"]));

    // All of it is as the session left it, and applied as such.
    let at = |path: &str| std::fs::read_to_string(world.repo.workspace().join(path)).ok();
    assert_eq!((at("made").as_deref(), at("README.md"), at("intruder")), (Some("one\n"), None, None));
    assert!(world.repo.workspace().join(".git/HEAD").exists());
    assert_eq!(at(".flyball/more.cedar").as_deref(), Some(""));
    assert_eq!(std::fs::read(world.repo.home().join(".profile")).ok(), profile);
    let session = world.ledger.join("sessions").join(told["session"].as_str().unwrap());
    assert!(!session.join("contract").exists(), "what it wrote is thrown away");
    world.verifies();
}

fn ends_badly(user: User) {
    let world = World::new(user);
    let contracts = [
        ("fails", r#"["sh", "-c", "echo oh no; exit 3"]"#, ""),
        ("slow", r#"["sleep", "600"]"#, "within = \"1s\""),
        ("loud", r#"["yes"]"#, ""),
        ("absent", r#"["no-such-program"]"#, ""),
        ("killed", r#"["sh", "-c", "kill -9 $$"]"#, ""),
        // Nothing leads out of it, whatever the charter opens to the session itself.
        ("calls", r#"["bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/80"]"#, "within = \"1m\""),
    ];
    charter(&world, &contracts);
    let output = world.flyball(&["run", "--json", "--apply", "contract", "--", "sh", "-c", "echo x > made"]).output();
    let output = output.unwrap();
    let told = summary(&output);
    let because = |at: usize| told["contracts"][at]["checks"][0]["because"].as_str().unwrap_or_default().to_owned();
    for (at, (name, said)) in [
        ("fails", "exited with 3"),
        ("slow", "not over after 1000 ms"),
        ("loud", "wrote more than"),
        ("absent", "not run"),
        ("killed", "signal 9"),
        ("calls", "exited with 1"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(told["contracts"][at]["contract"], name);
        assert_eq!(told["contracts"][at]["holds"], false, "{told:#}");
        assert!(because(at).contains(said), "{name}: {}", because(at));
    }
    assert!(!world.repo.workspace().join("made").exists(), "not applied");

    // The attestation says so, and one that says otherwise is found out.
    let file = world.repo.scratch().join("a.json");
    let name = file.to_str().unwrap();
    let attested: Value = serde_json::from_str(&world.ok(&["attest", "@", "-o", name, "--json"])).unwrap();
    assert_eq!(attested["contracts_hold"], false);
    let report: Value = serde_json::from_str(&world.ok(&["verify", name, "--json"])).unwrap();
    assert_eq!((&report["ok"], &report["contracts_hold"]), (&json!(true), &json!(false)), "{report}");

    // A session that was ended by somebody else leaves nothing to be sure of: its commands are not run.
    let output = world.flyball(&["run", "--json", "--apply", "never", "--", "no-such-program"]).output().unwrap();
    assert!(!output.status.success());
    let shown: Value = serde_json::from_str(&world.ok(&["show", "@", "--json"])).unwrap();
    assert!(shown["contracts"].to_string().contains("never started"), "{shown}");
}
