//! Bad input: each gives its code, the place, the cause and the remedy.

use crate::assert_transcript;
use crate::fixture;
use crate::scene::{Scene, why_not};

const WORK: &str = "@id(\"work\") @owner(\"team\") @reason(\"Work.\")\npermit (principal, action, resource);\n";

#[test]
fn charters_that_are_wrong() {
    let mut scene = Scene::new();
    scene.type_in(&["check"]);
    scene.charter("[charters]\nx = 1\n", WORK);
    scene.type_in(&["check"]).type_in(&["check", "--json"]);
    scene.charter("", &format!("{WORK}\n@id(\"a\") @owner(\"team\") @reason(\"A.\")\nforbid (principal, action == Action::\"fs.write\", resource)\nwhen {{ resource.pth == \"x\" }};\n"));
    scene.type_in(&["check"]);
    scene.charter("[facts]\nodd = 'exists x. not did fs.write(path: x)'\n", WORK);
    scene.type_in(&["check"]);
    scene.charter(
        "[escalation.a]\nask = \"team\"\nwithin = \"1m\"\nthen = \"b\"\n\n[escalation.b]\nask = \"team\"\nwithin = \"1m\"\nthen = \"a\"\n",
        WORK,
    );
    scene.type_in(&["check"]);
    scene.charter("x = [\n", WORK);
    scene.type_in(&["run", "--", "true"]);
    assert_transcript!(scene);
}

#[test]
fn runs_that_do_not_start() {
    let mut scene = Scene::new();
    scene.type_in(&["run", "--workspace", "/nowhere/at/all", "--", "true"]);
    scene.type_in(&["run", "--charter", "/nowhere", "--", "true"]);
    scene.type_in(&["run", "--apply", "contract", "--", "true"]);
    assert_transcript!(scene);
}

#[test]
fn a_command_that_does_not_exist() {
    let mut scene = Scene::new();
    if let Some(why) = why_not(&scene.root) {
        eprintln!("skipped: nothing can be governed here: {why}");
        return;
    }
    scene.type_in(&["run", "--", "no-such-program-anywhere"]);
    let text = scene.transcript();
    assert!(text.contains("error[FB0206]") && text.contains("[exit 1]") && text.contains("help:"), "{text}");
}

#[test]
fn ledgers_that_cannot_be_read() {
    let mut scene = Scene::new();
    scene.type_in(&["log", "@"]).type_in(&["ps"]).type_in(&["asks"]).type_in(&["verify"]);
    fixture::session(&scene);
    let file = scene.ledger().join("ledger.db");
    let whole = std::fs::read(&file).unwrap();
    // SQLite's header holds `user_version` at byte 60, big-endian.
    let mut newer = whole.clone();
    newer[60..64].copy_from_slice(&4_000_u32.to_be_bytes());
    std::fs::write(&file, &newer).unwrap();
    scene.type_in(&["log", "@"]).type_in(&["verify"]).type_in(&["run", "--", "true"]);
    std::fs::write(&file, b"this is no ledger at all, and long enough to be looked at by anybody who reads it")
        .unwrap();
    scene.type_in(&["log", "@"]).type_in(&["verify"]).type_in(&["run", "--", "true"]);
    assert_transcript!(scene);
}

#[test]
fn a_changed_byte_is_found() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    let file = scene.ledger().join("ledger.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let wanted = b"Deploys need green tests.";
    let place = bytes.windows(wanted.len()).rposition(|w| w == wanted).expect("the reason is stored as it is");
    bytes[place] = b'd';
    std::fs::write(&file, &bytes).unwrap();
    scene.type_in(&["verify"]);
    let text = scene.transcript();
    assert!(text.contains("does not verify") && text.contains("FB0330") && text.contains("[exit 103]"), "{text}");
}

#[test]
fn names_that_nobody_has() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    scene.type_in(&["show", "nobody"]).type_in(&["why", "@", "999"]).type_in(&["at", "@", "9", "/etc/passwd"]);
    scene.type_in(&["at", "@", "9", "no/such/file"]).type_in(&["log", "@", "--kind", "atempt"]);
    scene.type_in(&["answer", "nothing", "allow", "--reason", "r"]).type_in(&["pause", "@"]).type_in(&["apply", "@"]);
    scene.type_in(&["--json", "why", "@", "999"]);
    assert_transcript!(scene);
}
