//! Acts that people sign: whose they are, and that each is good for once.

use crate::answering::{key, keygen, only};
use crate::constraining::{constrain, copy, small};
use crate::labels::guarded;
use crate::people::{asked, start, wait_for};
use crate::registers::end;
use crate::support::{Case, World, stderr};
use flyball_runtime::Home;
use flyball_runtime::control::{Request, send};
use flyball_runtime::signed::sign_act;
use flyball_testkit::user::User;
use serde_json::Value;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "an_act_is_its_signers_and_good_for_once", needs: keygen, run: acts },
        Case { name: "a_label_is_declassified_by_its_owners_key_alone", needs: keygen, run: declassified },
    ]
}

fn acts(user: User) {
    let world = World::new(user);
    world.init("", "");
    small(&world, user);
    let (file, contact) = key(&world, "ann");
    let (other, _) = key(&world, "eve");
    only(&world, &[&contact]);
    world.change("charter.toml", |text| {
        text + "\n[autonomy]\nlevels = [\"observe\", \"bounded\"]\nstart = \"bounded\"\n"
    });
    let loose = copy(&world, "loose", |file, text| if file == "more.cedar" { String::new() } else { text });
    std::fs::write(world.repo.workspace().join("work.sh"), "printf x > .github/workflows/ci.yml; echo code=$?\n")
        .unwrap();
    let mut child = start(&world, "sh work.sh");
    let question = asked(&world);
    let session = question["session"].as_str().unwrap();
    let (file, other) = (file.to_str().unwrap(), other.to_str().unwrap());

    // Authority is the key's, and not the account's.
    let (is_ok, said) = constrain(&world, &loose, &["--widen"]);
    assert!(!is_ok && said.contains("is no contact of `maintainer`"), "{said}");
    let (is_ok, said) = constrain(&world, &loose, &["--widen", "--key", other]);
    assert!(!is_ok && said.contains("is no contact of the charter in force"), "{said}");
    let (is_ok, said) = constrain(&world, &loose, &["--key", file]);
    assert!(!is_ok && said.contains("not shown to be narrower"), "{said}");
    let (is_ok, said) = constrain(&world, &loose, &["--widen", "--key", file]);
    assert!(is_ok, "{said}");
    let level = |to: &str, key: &str| {
        let words = ["autonomy", "@", to, "--reason", "seen", "--key", key];
        let output = world.flyball(&words).output().unwrap();
        (output.status.success(), stderr(&output))
    };
    let (is_ok, said) = level("observe", other);
    assert!(!is_ok && said.contains("is no contact of the charter in force"), "{said}");
    let (is_ok, said) = level("observe", file);
    assert!(is_ok, "{said}");

    // One signature, brought again, to another level, and where another act came first.
    let home = Home::open(&world.ledger).unwrap();
    let to = |level: &str| Request::Autonomy { level: level.to_owned(), reason: "seen".to_owned() };
    let after = world.log().iter().rfind(|e| e["body"]["act"] == "autonomy").unwrap()["seq"].as_u64().unwrap();
    let bring = |act: Request, signed| {
        let request = Request::Signed { act: Box::new(act), signed };
        send(&home, session, &request).map(|_| ()).map_err(|e| e.to_string())
    };
    let sign = |act: &Request, session: &str, after: u64| sign_act(act, session, after, file.as_ref()).unwrap();
    let good = sign(&to("bounded"), session, after);
    let stale = sign(&to("bounded"), session, after);
    for (act, signed, why) in [
        (to("observe"), good.clone(), "signed for another charter, level or label: `bounded`, not `observe`"),
        (to("bounded"), sign(&to("bounded"), "0other0000000", after), "signed for another session"),
        (to("bounded"), sign(&to("bounded"), session, 1), "it was used, or another act came first"),
        (
            Request::Kill { reason: String::new() },
            good.clone(),
            "only `constrain`, `autonomy` and `declassify` are signed",
        ),
    ] {
        let error = bring(act, signed).unwrap_err();
        assert!(error.contains(why), "`{why}` is not in: {error}");
    }
    assert_eq!(bring(to("bounded"), good.clone()), Ok(()));
    let error = bring(to("bounded"), good).unwrap_err();
    assert!(error.contains("it was used, or another act came first"), "{error}");
    let error = bring(to("bounded"), stale).unwrap_err();
    assert!(error.contains("it was used, or another act came first"), "{error}");

    world.ok(&["kill", "@", "--reason", "over"]);
    drop(child.wait());
    let log = world.log();
    let signed = |e: &&Value| !e["body"]["signed"].is_null() && e["actor"] == contact.as_str();
    let kinds: Vec<&str> = log.iter().filter(signed).filter_map(|e| e["kind"].as_str()).collect();
    assert_eq!(kinds, ["charter", "intervention", "intervention"]);
    assert!(
        log.iter().any(|e| e["kind"] == "alert" && e.to_string().contains("is no contact of the charter in force"))
    );
    world.verifies();
    let report: Value = serde_json::from_str(&world.ok(&["verify", "@", "--json"])).unwrap();
    assert_eq!(report["signed_acts"], 3, "{report}");
}

/// The taint ends by the signature of a label's owner, not by another key, another label's signature or the account at the keyboard.
fn declassified(user: User) {
    let world = guarded(user);
    let (file, contact) = key(&world, "ann");
    let (other, _) = key(&world, "eve");
    only(&world, &[&contact]);
    let (file, other) = (file.to_str().unwrap(), other.to_str().unwrap());
    // Each try of the program is refused until the label is gone.
    let child = start(&world, "cat secrets/key > /dev/null; until echo 1 > public/a; do sleep 0.2; done");
    // Nothing can be asked of the record before its ledger is made.
    let refused = || {
        let log = world.flyball(&["log", "@", "--json"]).output().unwrap();
        let is_one = |line: &str| line.contains(r#""verdict":"deny""#) && line.contains("stays-inside");
        String::from_utf8_lossy(&log.stdout).lines().any(is_one).then_some(())
    };
    wait_for("a refusal for the label", refused);
    let declassify = |more: &[&str]| {
        let words = [&["declassify", "@", "secret", "--reason", "seen"], more].concat();
        let output = world.flyball(&words).output().unwrap();
        (output.status.success(), stderr(&output))
    };
    let (is_ok, said) = declassify(&[]);
    assert!(!is_ok && said.contains("may not declassify `secret`"), "{said}");
    let (is_ok, said) = declassify(&["--key", other]);
    assert!(!is_ok && said.contains("is no contact of the charter in force"), "{said}");
    // What its owner signed for another label ends no other.
    let home = Home::open(&world.ledger).unwrap();
    let log = world.log();
    let (session, to) = (log[0]["stream"].as_str().unwrap(), |label: &str| Request::Declassify {
        label: label.to_owned(),
        reason: "seen".to_owned(),
    });
    let signed = sign_act(&to("other"), session, 0, file.as_ref()).unwrap();
    let request = Request::Signed { act: Box::new(to("secret")), signed };
    let error = send(&home, session, &request).unwrap_err().to_string();
    assert!(error.contains("signed for another charter, level or label: `other`, not `secret`"), "{error}");

    let (is_ok, said) = declassify(&["--key", file]);
    assert!(is_ok, "{said}");
    let (ended, said) = end(child);
    assert_eq!(ended["exit"], 0, "{ended} {said}");
    let log = world.log();
    let acts: Vec<&Value> = log.iter().filter(|e| e["body"]["act"] == "declassify").collect();
    assert_eq!(acts.len(), 1, "{acts:?}");
    assert_eq!(acts[0]["actor"], contact.as_str());
    world.verifies();
    let report: Value = serde_json::from_str(&world.ok(&["verify", "@", "--json"])).unwrap();
    assert_eq!(report["signed_acts"], 1, "{report}");
}
