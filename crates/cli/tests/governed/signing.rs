//! Acts that people sign: whose they are, and that each is good for once.

use crate::answering::{key, keygen, only};
use crate::constraining::{constrain, copy, small};
use crate::people::{asked, start};
use crate::support::{Case, World, stderr};
use flyball_runtime::Home;
use flyball_runtime::control::{Request, send};
use flyball_runtime::signed::sign_act;
use flyball_testkit::user::User;
use serde_json::Value;

pub fn cases() -> Vec<Case> {
    vec![Case { name: "an_act_is_its_signers_and_good_for_once", needs: keygen, run: acts }]
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
