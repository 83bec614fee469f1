//! The first decision: a charter without memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use flyball_kernel::*;
use std::sync::Arc;

fn charter(toml: &str, cedar: &str) -> Result<(Charter, Diagnostics), Diagnostics> {
    Charter::compile(&Sources::from([
        ("charter.toml".to_owned(), toml.to_owned()),
        ("rules.cedar".to_owned(), cedar.to_owned()),
    ]))
}

const TOML: &str = r#"
[charter]
name = "t"
[owners]
dev = ["user:alice", "user:bob"]
[escalation.dev]
ask = "dev"
within = "5m"
then = "deny"
"#;

const RULES: &str = r#"
@id("work") @owner("dev") @reason("work in the workspace")
permit (principal, action in Action::"fs", resource) when { resource.zone == "workspace" };
@id("hooks") @owner("dev") @reason("hooks run unasked")
forbid (principal, action in Action::"fs", resource) when { resource.rel like ".git/hooks/*" };
@id("ci") @owner("dev") @reason("ci is asked about") @escalate("dev")
forbid (principal, action == Action::"fs.write", resource) when { resource.rel like ".github/*" };
"#;

#[test]
fn decides() {
    let (charter, warnings) = charter(TOML, RULES).unwrap_or_else(|e| panic!("{e:#?}"));
    println!("{warnings:?}");
    let session = Session { workspace: "/w".into(), home: "/home/u".into(), agent: "claude".into() };
    let mut kernel = Kernel::new(Arc::new(charter), session);
    let mut seq = 0;
    let mut go = |path: &str| {
        seq += 1;
        let action = Action::new("fs.write", Resource::file(path), Surface::Fs).unwrap();
        let ruling = kernel.step(&Input { seq, at_ns: seq, event: Event::Attempt(action) }).remove(0);
        (ruling.verdict, ruling.reasons.iter().map(|r| r.rule.clone()).collect::<Vec<_>>())
    };
    assert_eq!(go("/w/src/a.rs"), (Verdict::Allow, vec!["work".to_owned()]));
    assert_eq!(go("/w/.git/hooks/x"), (Verdict::Deny, vec!["hooks".to_owned()]));
    assert_eq!(go("/w/.github/x"), (Verdict::Hold, vec!["ci".to_owned()]));
    assert_eq!(go("/etc/passwd"), (Verdict::Deny, vec!["no-rule-permits".to_owned()]));
}
