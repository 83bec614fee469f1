use crate::*;

/// Runs the charter's examples; each must hold.
fn check(toml: &str, cedar: &str) {
    let charter = charter(toml, &format!("{ALL}{cedar}"));
    let outcomes = check_examples(&charter);
    assert!(!outcomes.is_empty());
    for outcome in outcomes {
        assert!(outcome.passed, "{} wanted {}, got {:#?}", outcome.attempt, outcome.expected, outcome.got);
    }
}

fn forbid(id: &str, rest: &str) -> String {
    format!(
        "@id(\"{id}\") @owner(\"dev\") @reason(\"{id} is not to be\") forbid (principal, action, resource) {rest};\n"
    )
}

#[test]
fn rules_without_memory() {
    check(
        r#"
[[example]]
attempt = "fs.write(path: 'src/a.rs')"
expect = "allow all"
[[example]]
attempt = "fs.write(path: '.git/hooks/pre-commit')"
expect = "deny hooks"
[[example]]
attempt = "fs.write(path: '.github/workflows/ci.yml')"
expect = "hold ci"
[[example]]
attempt = "fs.read(path: '~/.ssh/id_ed25519')"
expect = "deny keys"
[[example]]
attempt = "fs.write(path: '/etc/passwd')"
expect = "deny outside"
[[example]]
attempt = "git.push(remote: 'origin', name: 'main', force: true)"
expect = "deny force"
[[example]]
attempt = "process.exec(program: 'bash', opaque: true)"
expect = "hold opaque"
[[example]]
attempt = "net.connect(host: 'example.com', port: 443)"
expect = "deny net"
[[example]]
attempt = "net.connect(host: 'crates.io', port: 443)"
expect = "allow"
"#,
        r#"
@id("hooks") @owner("dev") @reason("hooks run unasked")
forbid (principal, action in Action::"fs", resource) when { resource.rel like ".git/hooks/*" };
@id("ci") @owner("dev") @reason("ask before ci changes") @escalate("dev")
forbid (principal, action in [Action::"fs.write", Action::"fs.delete"], resource) when { resource.rel like ".github/*" };
@id("keys") @owner("dev") @reason("credentials stay where they are")
forbid (principal, action == Action::"fs.read", resource) when { resource.zone == "home" && resource.path like "*/.ssh/*" };
@id("outside") @owner("dev") @reason("only the workspace is written")
forbid (principal, action == Action::"fs.write", resource) when { resource.zone != "workspace" && resource.zone != "temp" };
@id("force") @owner("dev") @reason("history stays")
forbid (principal, action == Action::"git.push", resource) when { context.attrs has force && context.attrs.force };
@id("opaque") @owner("dev") @reason("what can't be read is asked about") @escalate("dev")
forbid (principal, action in Action::"process", resource) when { context.opaque };
@id("net") @owner("dev") @reason("the network is closed")
forbid (principal, action == Action::"net.connect", resource) unless { resource.host == "crates.io" && resource.port == 443 };
"#,
    );
}

#[test]
fn facts() {
    check(
        r#"
[facts]
tests_green = 'no did fs.write(path like "src/**") since result process.exec(program: "cargo", argv has "test", exit: 0)'
secret_seen = 'once did fs.read(label: "secret")'
fixes = 'count[10m] attempt remediation.start(condition: $condition)'
too_many = 'fixes >= 3'
read_first = 'once did fs.read(path: $path)'
recently = 'once[1m] did git.commit'
moved_back = 'exists p . (once did fs.read(path: p) and once did fs.write(path: p))'
last_failed = 'result process.exec(ok: false)'
twice = 'prev result process.exec(ok: false) and attempt process.exec'
bytes_out = 'sum[1h] of sent result net.connect'
only_reads = 'historically not did fs.delete'

[[example]]
given = ["result process.exec(program: 'cargo', argv: ['test'], exit: 0)", "did fs.write(path: 'src/a.rs')"]
attempt = "deploy.apply(name: 'api')"
expect = "deny no-deploy-on-red"
[[example]]
given = ["did fs.write(path: 'src/a.rs')", "result process.exec(program: 'cargo', argv: ['test'], exit: 0)", "did fs.write(path: 'README.md')"]
attempt = "deploy.apply(name: 'api')"
expect = "allow"
[[example]]
given = ["result process.exec(program: 'cargo', argv: ['test'], exit: 1)"]
attempt = "deploy.apply(name: 'api')"
expect = "deny no-deploy-on-red"
[[example]]
given = ["did fs.read(path: 'x', labels: ['secret'])"]
attempt = "net.connect(host: 'a', port: 1)"
expect = "deny no-egress"
[[example]]
given = ["attempt fs.read(path: 'x', labels: ['secret'])"]
attempt = "net.connect(host: 'a', port: 1)"
expect = "allow"
[[example]]
given = ["attempt remediation.start(condition: 'a')", "attempt remediation.start(condition: 'a')", "attempt remediation.start(condition: 'a')", "attempt remediation.start(condition: 'b')"]
attempt = "remediation.start(condition: 'a')"
expect = "deny fixes"
[[example]]
given = ["attempt remediation.start(condition: 'a')", "attempt remediation.start(condition: 'a')", "attempt remediation.start(condition: 'b')"]
attempt = "remediation.start(condition: 'a')"
expect = "allow"
[[example]]
given = ["attempt remediation.start(condition: 'a')", "attempt remediation.start(condition: 'a')", "wait 11m", "attempt remediation.start(condition: 'a')"]
attempt = "remediation.start(condition: 'a')"
expect = "allow"
[[example]]
attempt = "fs.write(path: 'never-read')"
expect = "deny read-first"
[[example]]
given = ["did git.commit(name: 'x')", "wait 50s"]
attempt = "git.push(name: 'x')"
expect = "deny cool-down"
[[example]]
given = ["did git.commit(name: 'x')", "wait 2m"]
attempt = "git.push(name: 'x')"
expect = "allow"
[[example]]
given = ["did fs.read(path: 'a')", "did fs.write(path: 'b')"]
attempt = "git.tag(name: 'x')"
expect = "allow"
[[example]]
given = ["did fs.read(path: 'a')", "did fs.write(path: 'a')"]
attempt = "git.tag(name: 'x')"
expect = "deny moved-back"
[[example]]
given = ["result process.exec(program: 'a', ok: false)"]
attempt = "git.branch(name: 'x')"
expect = "deny last-failed"
[[example]]
given = ["result process.exec(program: 'a', ok: false)", "attempt fs.read(path: 'a')"]
attempt = "git.branch(name: 'x')"
expect = "allow"
[[example]]
given = ["result net.connect(host: 'a', port: 1, sent: 600)", "result net.connect(host: 'b', port: 1, sent: 600)"]
attempt = "net.listen(host: 'a')"
expect = "deny bytes-out"
[[example]]
given = ["did fs.delete(path: 'a')"]
attempt = "git.commit(name: 'x')"
expect = "deny only-reads"
"#,
        &[
            "@id(\"no-deploy-on-red\") @owner(\"dev\") @reason(\"green first\") forbid (principal, action in Action::\"deploy\", resource) unless { context.fact.tests_green };",
            "@id(\"no-egress\") @owner(\"dev\") @reason(\"secrets stay\") forbid (principal, action == Action::\"net.connect\", resource) when { context.fact.secret_seen };",
            "@id(\"fixes\") @owner(\"dev\") @reason(\"three tries\") forbid (principal, action == Action::\"remediation.start\", resource) when { context.fact.too_many && context.fact.fixes >= 3 };",
            "@id(\"read-first\") @owner(\"dev\") @reason(\"read before write\") forbid (principal, action == Action::\"fs.write\", resource) unless { context.fact.read_first };",
            "@id(\"cool-down\") @owner(\"dev\") @reason(\"wait\") forbid (principal, action == Action::\"git.push\", resource) when { context.fact.recently };",
            "@id(\"moved-back\") @owner(\"dev\") @reason(\"joined\") forbid (principal, action == Action::\"git.tag\", resource) when { context.fact.moved_back };",
            "@id(\"last-failed\") @owner(\"dev\") @reason(\"last\") forbid (principal, action == Action::\"git.branch\", resource) when { context.fact.last_failed };",
            "@id(\"bytes-out\") @owner(\"dev\") @reason(\"sum\") forbid (principal, action == Action::\"net.listen\", resource) when { context.fact.bytes_out > 1000 };",
            "@id(\"only-reads\") @owner(\"dev\") @reason(\"never\") forbid (principal, action == Action::\"git.commit\", resource) unless { context.fact.only_reads };",
            "@id(\"twice\") @owner(\"dev\") @reason(\"never\") forbid (principal, action == Action::\"pr.open\", resource) when { context.fact.twice };",
        ]
        .join("\n"),
    );
}

#[test]
fn witnesses_and_needs() {
    let toml = r#"
[facts]
green = 'no did fs.write since result process.exec(program: "cargo", exit: 0)'
"#;
    let rule = r#"@id("red") @owner("dev") @reason("green first")
        forbid (principal, action == Action::"deploy.apply", resource) unless { context.fact.green };"#;
    let mut run = Run::new(charter(toml, &format!("{ALL}{rule}")));
    let deploy = Action::new("deploy.apply", Resource::new(ResourceKind::Target), Surface::K8s).unwrap();
    let before = run.attempt(&deploy);
    assert_eq!(said(&before), "deny red");
    assert_eq!(before.reasons[0].witnesses, Vec::<u64>::new());
    assert_eq!(before.reasons[0].needs.as_deref(), Some("result process.exec(program: \"cargo\", exit: 0)"));
    let test = run.does(&exec("cargo", &["test"]));
    assert_eq!(said(&run.attempt(&deploy)), "allow all");
    let write = run.does(&file("fs.write", "/w/a"));
    let after = run.attempt(&deploy);
    assert_eq!(said(&after), "deny red");
    assert_eq!(after.reasons[0].witnesses, vec![test + 2, write + 1], "outcome of the test, dispatch of the write");
    let needs = format!("result process.exec(program: \"cargo\", exit: 0) after {}", write + 1);
    assert_eq!(after.reasons[0].needs.as_deref(), Some(needs.as_str()));
    assert_eq!(after.reasons[0].source.as_deref(), Some("rules.cedar:2"));
}

#[test]
fn an_error_in_a_rule_never_lets_through() {
    let overflow = forbid("big", "when { 9223372036854775807 + context.autonomy > 0 }");
    let mut run = Run::new(charter("", &format!("{ALL}{overflow}")));
    let ruling = run.attempt(&file("fs.read", "/w/a"));
    assert_eq!(said(&ruling), "deny rule-error");
    assert!(ruling.reasons[0].reason.contains("`big`"), "{}", ruling.reasons[0].reason);

    let mut run = Run::new(
        Charter::compile(&Sources::from([
            ("charter.toml".to_owned(), HEAD.replace("name = \"test\"", "name = \"t\"\non_error = \"escalate:dev\"")),
            ("a.cedar".to_owned(), format!("{ALL}{overflow}")),
        ]))
        .unwrap()
        .0,
    );
    let held = run.attempt(&file("fs.read", "/w/a"));
    assert_eq!(said(&held), "hold rule-error");
    assert_eq!(run.answer(&held, "user:alice", Verdict::Allow, None).verdict, Verdict::Allow);
}

#[test]
fn overflowing_facts_refuse() {
    let toml = r#"
[facts]
seen = { is = 'once did fs.read(path: $path)', keys_max = 3 }
"#;
    let rule = forbid("again", "when { action == Action::\"fs.write\" && context.fact.seen }");
    let mut run = Run::new(charter(toml, &format!("{ALL}{rule}")));
    for n in 0..4 {
        assert_eq!(run.attempt(&file("fs.write", "/w/new")).verdict, Verdict::Allow);
        run.step(Event::Withdraw { of: run.seq });
        let ruling = run.attempt(&file("fs.read", &format!("/w/{n}")));
        run.step(Event::Dispatch { of: ruling.of });
    }
    assert_eq!(said(&run.attempt(&file("fs.write", "/w/new"))), "deny fact-overflow");
}

#[test]
fn session_gate() {
    let mut run = Run::new(charter("", ALL));
    let control = |act: &str, by: &str| Event::Control {
        act: act.to_owned(),
        level: Some("observe".to_owned()),
        by: by.to_owned(),
        reason: String::new(),
    };
    let write = file("fs.write", "/w/a");
    for (act, by, expect) in [
        ("pause", "user:alice", "hold session-paused"),
        ("resume", "claude", "hold session-paused"),
        ("resume", "user:alice", "allow all"),
        ("quarantine", "user:alice", "deny session-quarantined"),
        ("pause", "user:alice", "deny session-quarantined"),
        ("resume", "user:alice", "allow all"),
        ("autonomy", "user:alice", "deny autonomy-observe"),
        ("kill", "user:alice", "deny session-killed"),
        ("resume", "user:alice", "deny session-killed"),
    ] {
        run.step(control(act, by));
        assert_eq!(said(&run.attempt(&write)), expect, "after {act} by {by}");
    }
}

#[test]
fn autonomy_is_lowered_by_facts_and_raised_by_people() {
    let toml = r#"
[facts]
failing = 'count did fs.delete >= 2'
[autonomy]
start = "extended"
ask = "dev"
[[autonomy.lower]]
when = "failing"
to = "propose"
"#;
    let rule = forbid("careful", "when { context.autonomy < 3 && action == Action::\"fs.chmod\" }");
    let mut run = Run::new(charter(toml, &format!("{ALL}{rule}")));
    run.does(&file("fs.delete", "/w/a"));
    assert_eq!(said(&run.attempt(&file("fs.chmod", "/w/a"))), "allow all");
    run.does(&file("fs.delete", "/w/b"));
    let ruling = run.attempt(&file("fs.write", "/w/b"));
    assert_eq!(said(&ruling), "hold autonomy-propose");
    assert!(matches!(&ruling.effects[0], Effect::Autonomy { level, .. } if level == "propose"), "{:?}", ruling.effects);
    assert_eq!(said(&run.attempt(&file("fs.read", "/w/b"))), "allow all", "reading has no effect");
    assert_eq!(said(&run.answer(&ruling, "user:bob", Verdict::Allow, None)), "allow all answered");
}

#[test]
fn budgets() {
    let toml = r#"
[budget.tokens]
sum = "model.call.tokens"
limit = 100
warn_at = [0.5, 0.9]
[budget.deletes]
count = "fs.delete"
limit = 2
per = "session"
"#;
    let mut run = Run::new(charter(toml, ALL));
    let call = |tokens: i64| {
        let model = Resource::new(ResourceKind::Model);
        Action::new("model.call", model, Surface::Model).unwrap().with("tokens", tokens).unwrap()
    };
    let first = run.attempt(&call(60));
    assert_eq!(first.verdict, Verdict::Allow);
    assert_eq!(first.effects.len(), 2, "reserved, and past half: {:?}", first.effects);
    assert_eq!(said(&run.attempt(&call(50))), "deny tokens", "60 are reserved");
    let stands = |run: &Run, of: &str| {
        let used = run.kernel.registers().budgets.into_iter().find(|b| b.budget == of).unwrap();
        (used.used, used.reserved, used.limit, used.warn_at)
    };
    assert_eq!(stands(&run, "tokens"), (60, 60, 100, vec![50, 90]));
    assert_eq!(stands(&run, "deletes"), (0, 0, 2, vec![]), "one that nobody used is told of too");
    run.step(Event::Dispatch { of: first.of });
    let used = [("tokens".to_owned(), Value::Long(30))].into();
    run.step(Event::Outcome { of: first.of, ok: true, attrs: used });
    assert_eq!(
        stands(&run, "tokens"),
        (30, 0, 100, vec![50, 90]),
        "what was used takes the place of what was reserved"
    );
    let second = run.attempt(&call(70));
    assert_eq!(second.verdict, Verdict::Allow, "only 30 were used");
    run.step(Event::Withdraw { of: second.of });
    let third = run.attempt(&call(70));
    assert_eq!(third.verdict, Verdict::Allow, "the withdrawn gave back");
    run.step(Event::Dispatch { of: third.of });
    run.step(Event::Outcome { of: third.of, ok: false, attrs: [].into() });
    assert_eq!(run.attempt(&call(70)).verdict, Verdict::Allow, "the failed gave back");
    assert_eq!(said(&run.attempt(&call(-1))), "deny tokens", "a negative amount is no way to earn");
    assert_eq!(said(&run.attempt(&call(i64::MAX))), "deny tokens");
    for expect in ["allow all", "allow all", "deny deletes"] {
        assert_eq!(said(&run.attempt(&file("fs.delete", "/w/a"))), expect);
    }
}

#[test]
fn envelopes() {
    let scale = |replicas: i64| {
        let target = Resource::new(ResourceKind::Target).with("name", "api").unwrap();
        Action::new("deploy.scale", target, Surface::K8s).unwrap().with("replicas", replicas).unwrap()
    };
    let does = |run: &mut Run, n: i64| {
        let ruling = run.attempt(&scale(n));
        run.step(Event::Dispatch { of: ruling.of });
        run.step(Event::Outcome { of: ruling.of, ok: true, attrs: [].into() });
        let got = ruling.modified.as_ref().and_then(|a| a.attr("replicas").cloned());
        (said(&ruling), got)
    };
    let toml = "[envelope.replicas]\nof = \"deploy.scale.replicas\"\nmin = 2\nmax = 20\nstep = 4\nper = \"1m\"\n";
    let mut run = Run::new(charter(toml, ALL));
    assert_eq!(run.kernel.registers().envelopes[0].value, None);
    assert_eq!(does(&mut run, 1).0, "deny replicas");
    assert_eq!(does(&mut run, 10).0, "allow all");
    let stands = &run.kernel.registers().envelopes[0];
    assert_eq!((stands.value, stands.min, stands.step, stands.changes), (Some(10), Some(2), Some(4), 1));
    assert!(stands.resource.contains("api"), "{stands:?}");
    assert_eq!(does(&mut run, 15).0, "deny replicas");
    assert_eq!(does(&mut run, 14).0, "allow all");
    assert_eq!(does(&mut run, 18).0, "deny replicas", "more than a step from 10 within the minute");
    run.now_ns += 70 * SECOND;
    assert_eq!(does(&mut run, 18).0, "allow all");

    let mut run = Run::new(charter(&format!("{toml}on_breach = \"clamp\""), ALL));
    assert_eq!(does(&mut run, 100), ("modify replicas".to_owned(), Some(Value::Long(20))));
    assert_eq!(does(&mut run, 0), ("modify replicas".to_owned(), Some(Value::Long(16))), "a step from what was done");

    let rule = forbid(
        "even",
        "when { action == Action::\"deploy.scale\" && context.attrs has replicas && context.attrs.replicas == 20 }",
    );
    let mut run = Run::new(charter(&format!("{toml}on_breach = \"clamp\""), &format!("{ALL}{rule}")));
    assert_eq!(does(&mut run, 100).0, "deny even replicas", "what is clamped is ruled on once more");

    let mut run = Run::new(charter(&format!("{toml}on_breach = \"escalate:dev\""), ALL));
    let held = run.attempt(&scale(100));
    assert_eq!(said(&held), "hold replicas");
    assert_eq!(said(&run.answer(&held, "user:alice", Verdict::Allow, None)), "allow all answered");

    let rate = "[envelope.r]\nof = \"deploy.scale.replicas\"\nrate = 2\nper = \"1m\"\n";
    let mut run = Run::new(charter(rate, ALL));
    for expect in ["allow all", "allow all", "deny r"] {
        assert_eq!(does(&mut run, 5).0, expect);
    }
}

#[test]
fn governance_follows_the_consequence_table() {
    let toml = r#"
[[consequence]]
action = "deploy.*"
in = "prod"
is = "critical"
reversibility = "irreversible"
[[consequence]]
action = "fs.delete"
is = "medium"
"#;
    let mut run = Run::new(charter(toml, ALL));
    let target = |ns: &str| {
        let it = Resource::new(ResourceKind::Target).with("namespace", ns).unwrap();
        Action::new("deploy.apply", it, Surface::K8s).unwrap()
    };
    let prod = run.attempt(&target("prod")).governance;
    assert_eq!((prod.consequence, prod.reversibility), (Consequence::Critical, Reversibility::Irreversible));
    assert!(prod.durable && prod.snapshot);
    assert_eq!(run.attempt(&target("dev")).governance.consequence, Consequence::High);
    let delete = run.attempt(&file("fs.delete", "/w/a")).governance;
    assert_eq!((delete.consequence, delete.durable), (Consequence::Medium, false));
}

#[test]
fn only_the_facts_that_made_it_so_are_witnesses() {
    let toml = "[facts]\nread = 'once did fs.read'\nwrote = 'once did fs.write'\ngone = 'once did fs.delete'\n";
    let rule = r#"@id("x") @owner("dev") @reason("x") forbid (principal, action == Action::"git.tag", resource)
        when { context.fact.read || context.fact.wrote } unless { context.fact.gone };"#;
    let mut run = Run::new(charter(toml, &format!("{ALL}{rule}")));
    let tag = Action::new("git.tag", Resource::new(ResourceKind::Ref), Surface::Git).unwrap();
    assert_eq!(said(&run.attempt(&tag)), "allow all");
    let read = run.does(&file("fs.read", "/w/a"));
    let ruling = run.attempt(&tag);
    assert_eq!(said(&ruling), "deny x");
    assert_eq!(ruling.reasons[0].witnesses, vec![read + 1]);
    assert_eq!(ruling.reasons[0].needs.as_deref(), Some("did fs.delete"), "and not a write");
    run.does(&file("fs.delete", "/w/a"));
    assert_eq!(said(&run.attempt(&tag)), "allow all");
}
