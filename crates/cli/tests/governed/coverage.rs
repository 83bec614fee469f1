//! What is enforced, observed only and not mediated: in `check`, in `show` of this very session, and required by a charter.

use crate::support::{Case, World, nothing, stderr, summary};
use flyball_testkit::user::User;
use serde_json::{Value, json};

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "show_says_what_this_session_enforces", needs: nothing, run: shown },
        Case { name: "a_run_below_the_required_coverage_does_not_start", needs: nothing, run: required },
    ]
}

/// The row of a rule in `show --json`.
fn row(world: &World, rule: &str) -> Value {
    let view: Value = serde_json::from_str(&world.ok(&["show", "@", "--json"])).unwrap();
    let rows = view["coverage"]["rules"].as_array().unwrap().clone();
    rows.into_iter().find(|row| row["rule"] == rule).unwrap_or_else(|| panic!("{rule}: {view}"))
}

fn shown(user: User) {
    let world = World::new(user);
    world.init("[http]\nopen = false", "");
    world.run("true");
    let writes = row(&world, "outside-the-workspace");
    assert_eq!(writes["surfaces"], json!({"exec": "observed", "fs": "enforced"}), "{writes}");
    assert_eq!(row(&world, "default-branch-is-asked-about")["observed"], json!(["git.push"]));
    assert_eq!(row(&world, "credentials-are-not-read")["observed"], json!(["fs.read"]), "reads are not decided here");
    assert_eq!(row(&world, "no-force-push")["surfaces"], json!({"exec": "observed"}), "HTTP is closed to the rules");

    // Each read is decided, and each request; but connections to other ports carry what nobody reads.
    world.change("charter.toml", |text| text.replacen("[http]\nopen = false", "[sandbox]\nmediate_reads = true", 1));
    world.run("true");
    assert_eq!(row(&world, "credentials-are-not-read")["enforced"].as_array().unwrap().len(), 3);
    let push = row(&world, "no-force-push");
    assert_eq!((&push["surfaces"]["http"], &push["observed"]), (&json!("enforced"), &json!(["git.push"])), "{push}");
    let text = world.ok(&["show", "@"]);
    assert!(text.contains("connections that may carry something else than HTTP"), "{text}");
    world.change("more.cedar", |_| WEB_ONLY.to_owned());
    world.run("true");
    assert_eq!(row(&world, "no-force-push")["enforced"], json!(["git.push"]));
    let (learned, _) = {
        let output = world.flyball(&["run", "--json", "--learn", "--", "true"]).output().unwrap();
        (summary(&output), output)
    };
    assert_eq!(learned["exit"], 0);
    assert_eq!(
        row(&world, "outside-the-workspace")["enforced"],
        json!([]),
        "what is let through to learn is not enforced"
    );
    assert_eq!(row(&world, "no-force-push")["enforced"], json!(["git.push"]));

    let check = world.ok(&["check", "--json"]);
    let check: Value = serde_json::from_str(&check).unwrap();
    let rules = check["rules"].as_array().unwrap();
    let of = rules.iter().find(|r| r["rule"] == "outside-the-workspace").unwrap();
    assert_eq!((&of["coverage"][0]["kind"], &of["coverage"][1]["kind"]), (&json!("run"), &json!("hooks")), "{of}");
    assert_eq!(of["coverage"][0]["enforced"].as_array().unwrap().len(), 5, "{of}");
    assert_eq!(of["coverage"][1]["observed"].as_array().unwrap().len(), 5, "{of}");
}

const WEB_ONLY: &str = "@id(\"only-the-web\") @owner(\"maintainer\") @reason(\"What is no HTTP can't be read.\")\n\
     forbid (principal, action == Action::\"net.connect\", resource)\n\
     unless { resource.port == 443 || resource.port == 80 };\n";

fn required(user: User) {
    let world = World::new(user);
    let marker = world.repo.workspace().join("ran");
    let refused = |told: &[&str]| {
        let output = world.flyball(&["run", "--apply", "always", "--", "touch", "ran"]).output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(102), "{text}");
        assert!(text.contains("FB0546") && !marker.exists(), "{text}");
        told.iter().for_each(|told| assert!(text.contains(told), "{told} is not in: {text}"));
    };
    world.init("[http]\nopen = false", "");
    world.change("charter.toml", |text| text + "\n[require]\ncoverage = [\"git.push\", \"fs.write\"]\n");
    refused(&["`git.push` is observed only", "no-force-push", "surface `http`", "leave `open = false` out"]);
    world.change("charter.toml", |text| text.replacen("[http]\nopen = false", "", 1));
    refused(&["`git.push` is observed only", "such as `net.connect", "resource.port"]);
    world.change("more.cedar", |_| {
        WEB_ONLY.to_owned()
            + "@id(\"keys-stay\") @owner(\"maintainer\") @reason(\"Keys are not read.\") @coverage(\"enforced\")\n\
               forbid (principal, action == Action::\"fs.read\", resource) when { resource.name like \"*.pem\" };\n"
    });
    refused(&["`fs.read` is observed only", "`keys-stay`", "surface `fs`", "mediate_reads = true"]);
    world.change("charter.toml", |text| text + "\n[sandbox]\nmediate_reads = true\n");
    world.ok(&["run", "--apply", "always", "--", "touch", "ran"]);
    assert!(marker.exists());
    // What nothing gives is said beforehand.
    world.edit("charter.toml", "\"fs.write\"]", "\"fs.write\", \"dependency\"]");
    let output = world.flyball(&["check"]).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    assert!(output.status.code() == Some(1) && text.contains("FB0189") && text.contains("dependency.add"), "{text}");
}
