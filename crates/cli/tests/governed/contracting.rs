//! Contracts: what is applied because they hold, and what is said of one that does not.

use crate::support::{Case, World, nothing, stderr, summary};
use flyball_testkit::user::User;
use serde_json::{Value, json};

pub fn cases() -> Vec<Case> {
    vec![Case { name: "what_a_contract_asks_for_decides_about_apply", needs: nothing, run: contracts }]
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
