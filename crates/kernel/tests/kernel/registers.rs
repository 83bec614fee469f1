//! Envelopes and budgets under any order of what happens to the attempts.

use crate::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn scale(replicas: i64) -> Action {
    let target = Resource::new(ResourceKind::Target).with("name", "api").unwrap();
    Action::new("deploy.scale", target, Surface::K8s).unwrap().with("replicas", replicas).unwrap()
}

fn call(tokens: i64) -> Action {
    let model = Resource::new(ResourceKind::Model);
    Action::new("model.call", model, Surface::Model).unwrap().with("tokens", tokens).unwrap()
}

fn outcome(of: u64, ok: bool) -> Event {
    Event::Outcome { of, ok, attrs: BTreeMap::new() }
}

#[test]
fn what_is_let_through_together_can_not_step_twice() {
    let toml = "[envelope.r]\nof = \"deploy.scale.replicas\"\nmin = 0\nmax = 100\nstep = 4\n";
    let mut run = Run::new(charter(toml, ALL));
    run.does(&scale(10));
    let up = run.attempt(&scale(14));
    assert_eq!(said(&run.attempt(&scale(6))), "deny r", "14 may be in force by then");
    run.step(Event::Withdraw { of: up.of });
    assert_eq!(said(&run.attempt(&scale(6))), "allow all");
}

#[test]
fn after_a_failure_both_positions_count() {
    let toml = "[envelope.r]\nof = \"deploy.scale.replicas\"\nmin = 0\nmax = 100\nstep = 4\n";
    let mut run = Run::new(charter(toml, ALL));
    run.does(&scale(10));
    let up = run.attempt(&scale(14));
    run.step(Event::Dispatch { of: up.of });
    run.step(outcome(up.of, false));
    for (replicas, verdict) in [(15, "deny r"), (9, "deny r"), (12, "allow all")] {
        assert_eq!(said(&run.attempt(&scale(replicas))), verdict, "{replicas}");
    }
    let mut run = Run::new(charter(toml, ALL));
    run.does(&scale(10));
    for _ in 0..5_000 {
        let up = run.attempt(&scale(14));
        assert_eq!(said(&up), "allow all");
        run.step(outcome(up.of, false));
    }
    run.does(&scale(14));
    assert_eq!(said(&run.attempt(&scale(18))), "allow all", "a success settles it");
}

#[test]
fn a_shared_budget_needs_a_grant_and_gives_back_what_is_not_used() {
    let toml = "[budget.tokens]\nsum = \"model.call.tokens\"\nlimit = 100\nper = \"day\"\nwarn_at = 0.5\n";
    let mut run = Run::new(charter(toml, ALL));
    assert_eq!(said(&run.attempt(&call(10))), "deny tokens", "nothing was granted");
    let noon = 1_763_726_400 * SECOND;
    let wants = run.kernel.shared_wants(&call(40), noon);
    assert_eq!((wants.len(), wants[0].amount, wants[0].limit), (1, 40, 100));
    let register = wants[0].register("user:alice");
    assert_eq!(register, "budget/test/tokens/day 2025-11-21");
    assert_ne!(run.kernel.shared_wants(&call(40), noon + 43_200 * SECOND)[0].register(""), register, "the day is over");
    let grant = |run: &mut Run, used: i64, granted: i64| {
        let found = vec![SharedFound { budget: "tokens".into(), register: register.clone(), used, granted }];
        run.step(Event::Shared { found });
    };
    let dues = |run: &Run| run.kernel.shared_dues().map(|(_, _, add)| add).collect::<Vec<_>>();

    grant(&mut run, 70, 40);
    let first = run.attempt(&call(40));
    assert_eq!((said(&first).as_str(), dues(&run)), ("allow all", vec![]));
    assert!(first.effects.iter().any(|e| matches!(e, Effect::Warn { used: 70, limit: 100, .. })), "{first:#?}");
    run.step(Event::Dispatch { of: first.of });
    let attrs = [("tokens".to_owned(), Value::Long(25))].into();
    run.step(Event::Outcome { of: first.of, ok: true, attrs });
    assert_eq!(dues(&run), [-15], "25 of 40 were used");

    grant(&mut run, 95, 40);
    let second = run.attempt(&call(40));
    run.step(outcome(second.of, false));
    assert_eq!(dues(&run), [-40], "nothing was used");
    grant(&mut run, 95, 0);
    let third = run.attempt(&call(40));
    assert_eq!(said(&third), "deny tokens");
    assert!(third.reasons[0].reason.contains("95 of it is used"), "{third:#?}");

    let rule = "@id(\"no\") @owner(\"dev\") @reason(\"no\") forbid (principal, action, resource);";
    let mut run = Run::new(charter(toml, &format!("{ALL}{rule}")));
    grant(&mut run, 40, 40);
    assert_eq!(said(&run.attempt(&call(40))), "deny no");
    assert_eq!(dues(&run), [-40], "what is refused takes nothing");
}

#[test]
fn a_budget_beyond_counting_stays_used_up() {
    let mut run = Run::new(charter("[budget.t]\nsum = \"model.call.tokens\"\nlimit = 9223372036854775806\n", ALL));
    for _ in 0..2 {
        let first = run.attempt(&call(1));
        let attrs = [("tokens".to_owned(), Value::Long(i64::MAX))].into();
        run.step(Event::Outcome { of: first.of, ok: true, attrs });
    }
    assert_eq!(said(&run.attempt(&call(0))), "deny t");
}

#[derive(Clone, Debug)]
enum Move {
    Attempt(i64),
    Dispatch(usize),
    Done(usize, bool),
    Withdraw(usize),
    Wait,
}

fn moves(values: std::ops::Range<i64>) -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => values.prop_map(Move::Attempt),
        2 => (0..6usize).prop_map(Move::Dispatch),
        2 => (0..6usize, any::<bool>()).prop_map(|(n, ok)| Move::Done(n, ok)),
        1 => (0..6usize).prop_map(Move::Withdraw),
        1 => Just(Move::Wait),
    ];
    prop::collection::vec(one, 0..60)
}

/// What became of an attempt that was let through.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Allowed,
    Dispatched,
    Over(bool),
}

/// Plays the moves; `judge` is shown each ruling with those that were let through before: value, fate.
fn play(
    run: &mut Run,
    moves: Vec<Move>,
    action: fn(i64) -> Action,
    judge: impl Fn(&Ruling, i64, &[(i64, Fate)], &Run),
) {
    let mut let_through: Vec<(u64, i64, Fate)> = Vec::new();
    for one in moves {
        let pick = |n: usize, from: &[(u64, i64, Fate)]| (!from.is_empty()).then(|| n % from.len());
        match one {
            Move::Wait => run.now_ns += 3 * SECOND,
            Move::Attempt(value) => {
                let ruling = run.attempt(&action(value));
                let before: Vec<(i64, Fate)> = let_through.iter().map(|(_, value, fate)| (*value, *fate)).collect();
                judge(&ruling, value, &before, run);
                if matches!(ruling.verdict, Verdict::Allow | Verdict::Modify) {
                    let done = ruling.modified.as_ref().and_then(|a| a.attr("replicas").cloned());
                    let value = if let Some(Value::Long(n)) = done { n } else { value };
                    let_through.push((ruling.of, value, Fate::Allowed));
                }
            }
            Move::Dispatch(n) => {
                let Some(n) = pick(n, &let_through) else { continue };
                run.step(Event::Dispatch { of: let_through[n].0 });
                if let_through[n].2 == Fate::Allowed {
                    let_through[n].2 = Fate::Dispatched;
                }
            }
            Move::Done(n, ok) => {
                let Some(n) = pick(n, &let_through) else { continue };
                run.step(outcome(let_through[n].0, ok));
                if !matches!(let_through[n].2, Fate::Over(_)) {
                    let mut done = let_through.remove(n);
                    done.2 = Fate::Over(ok);
                    let_through.push(done);
                }
            }
            Move::Withdraw(n) => {
                let Some(n) = pick(n, &let_through) else { continue };
                run.step(Event::Withdraw { of: let_through[n].0 });
                if let_through[n].2 == Fate::Allowed {
                    let_through.remove(n);
                }
            }
        }
    }
}

proptest! {
    /// Whatever is reserved, settled and given back in whatever order: what is let through and not given back fits.
    #[test]
    fn budgets_are_never_exceeded(moves in moves(-2..12)) {
        let mut run = Run::new(charter("[budget.t]\nsum = \"model.call.tokens\"\nlimit = 30\n", ALL));
        play(&mut run, moves, call, |ruling, value, before, run| {
            let used: i64 = before.iter().filter(|(_, fate)| *fate != Fate::Over(false)).map(|(value, _)| value).sum();
            assert_eq!(ruling.verdict == Verdict::Allow, value >= 0 && used + value <= 30, "{used} and {value}: {ruling:#?}");
            assert!(run.kernel.registers().budgets[0].used <= 30);
        });
    }

    /// No value is let through outside the bounds, nor further than a step from any that may be in force.
    #[test]
    fn envelopes_never_pass_a_value_outside(moves in moves(-5..30), clamps in any::<bool>()) {
        let on_breach = if clamps { "clamp" } else { "deny" };
        let toml = format!("[envelope.r]\nof = \"deploy.scale.replicas\"\nmin = 2\nmax = 20\nstep = 4\non_breach = \"{on_breach}\"\n");
        let mut run = Run::new(charter(&toml, ALL));
        play(&mut run, moves, scale, |ruling, value, before, _| {
            let value = match (&ruling.modified, ruling.verdict) {
                (Some(changed), Verdict::Modify) => changed.attr("replicas").cloned().unwrap(),
                (None, Verdict::Allow) => Value::Long(value),
                _ => return,
            };
            let Value::Long(value) = value else { panic!("{value:?}") };
            assert!((2..=20).contains(&value), "{ruling:#?}");
            let known = before.iter().rposition(|(_, fate)| *fate == Fate::Over(true)).unwrap_or(0);
            // In the order of their ends, with those under way last: each of these may be what stands.
            for (there, _) in (0..).zip(before).filter(|(n, b)| *n >= known || !matches!(b.1, Fate::Over(_))).map(|(_, b)| b) {
                assert!((there - value).abs() <= 4, "{there} may stand, and {value} was let through: {before:?}");
            }
        });
    }
}

#[test]
fn the_table_of_governance_is_tightened_and_shown() {
    let toml = "[[consequence]]\naction = \"fs.delete\"\nis = \"high\"\n[[governance]]\nconsequence = \"high\"\nask = \"dev\"\n[[governance]]\nsnapshot = true\n";
    let mut run = Run::new(charter(toml, ALL));
    let held = run.attempt(&file("fs.delete", "/w/a"));
    assert_eq!((said(&held).as_str(), held.governance.approvals), ("hold governance-approval", 1));
    assert!(held.governance.durable && held.governance.snapshot);
    assert_eq!(said(&run.answer(&held, "user:bob", Verdict::Allow, None)), "allow all answered");
    let light = run.attempt(&file("fs.read", "/w/a")).governance;
    assert_eq!((light.record, light.durable, light.snapshot, light.approvals), (Record::Digest, false, true, 0));
    let schema = charter(toml, ALL).schema_cedar();
    assert!(
        schema.contains("//   high      pure           payload, durable first, snapshot first, 1 approvals by dev\n"),
        "{schema}"
    );
    for loosened in ["durable = false", "snapshot = false", "record = \"digest\"", "consequence = \"high\""] {
        let found = render(&compile(&format!("[[governance]]\n{loosened}"), ALL).unwrap_err());
        assert!(found.contains("FB0153"), "{loosened}: {found}");
    }
}

#[test]
fn a_person_raises_the_level_and_nobody_else_does() {
    let toml = "[facts]\nfailing = 'once[1h] did fs.delete'\n[autonomy]\nask = \"dev\"\n[[autonomy.lower]]\nwhen = \"failing\"\nto = \"propose\"\n";
    let mut run = Run::new(charter(toml, ALL));
    let level = |run: &mut Run, level: &str, by: &str| {
        let event =
            Event::Control { act: "autonomy".into(), level: Some(level.into()), by: by.into(), reason: "r".into() };
        run.step(event);
        run.kernel.registers().autonomy
    };
    run.does(&file("fs.delete", "/w/a"));
    let write = file("fs.write", "/w/a");
    assert_eq!(said(&run.attempt(&write)), "hold autonomy-propose");
    for by in ["claude", "agent:other", "charter", "kernel", ""] {
        assert_eq!(level(&mut run, "extended", by), "propose", "{by}");
    }
    assert_eq!(level(&mut run, "bounded", "user:alice"), "bounded");
    assert_eq!(said(&run.attempt(&write)), "allow all", "who raised it knew");
    run.now_ns += 7_200 * SECOND;
    // The question that nobody answered runs out.
    assert_eq!(run.step(Event::Tick).len(), 1);
    assert_eq!(said(&run.attempt(&write)), "allow all");
    run.does(&file("fs.delete", "/w/a"));
    assert_eq!(said(&run.attempt(&write)), "hold autonomy-propose", "it holds anew");
    assert_eq!(level(&mut run, "observe", "charter"), "observe", "anybody may lower it");
}

const LABELS: &str = "[[label]]\nname = \"secret\"\nowner = \"boss\"\npaths = [\"secrets/**\", \"~/.aws/**\", \"/etc/keys/*\"]\ntables = [\"prod.*.customers\"]\nhosts = [\"*.internal\"]\n[facts]\nseen = 'once did fs.read(label: \"secret\")'\n";
const STAYS: &str = "@id(\"stays\") @owner(\"dev\") @reason(\"stays\") forbid (principal, action in [Action::\"fs.write\", Action::\"net.connect\"], resource) when { context.attrs has labels && context.attrs.labels.contains(\"secret\") };";

#[test]
fn a_labelled_read_taints_and_what_is_written_carries_it() {
    let new = || Run::new(charter(LABELS, &format!("{ALL}{STAYS}")));
    let host = |name: &str| {
        let endpoint = Resource::new(ResourceKind::Endpoint).with("host", name).unwrap();
        Action::new("net.connect", endpoint, Surface::Net).unwrap()
    };
    let table = Resource::new(ResourceKind::Table).with("database", "prod").unwrap().with("schema", "x").unwrap();
    let table = Action::new("data.select", table.with("name", "customers").unwrap(), Surface::Sql).unwrap();
    for read in
        [file("fs.read", "/w/secrets/a/b"), file("fs.read", "/home/u/.aws/c"), file("fs.read", "/etc/keys/k"), table]
    {
        let mut run = new();
        assert_eq!(said(&run.attempt(&host("example.com"))), "allow all");
        run.does(&file("fs.read", "/w/src/secrets.rs"));
        let refused = run.attempt(&read);
        assert_eq!(said(&run.attempt(&host("example.com"))), "allow all", "an attempt alone reads nothing");
        run.step(Event::Dispatch { of: refused.of });
        assert_eq!(said(&run.attempt(&host("example.com"))), "deny stays", "{read:?}");
        assert_eq!(run.kernel.taint().keys().collect::<Vec<_>>(), ["secret"]);
    }

    let mut run = Run::new(charter(LABELS, ALL));
    run.does(&file("fs.read", "/w/secrets/key"));
    let write = run.attempt(&file("fs.write", "/w/notes"));
    run.step(Event::Dispatch { of: write.of });
    assert_eq!(run.kernel.labels_made().collect::<Vec<_>>(), [("secret", "/w/notes")]);
    run.does(&file("fs.move", "/w/notes").with("to", "/w/d/n").unwrap());
    assert!(
        run.kernel.is_labelled("/w/d/n") && run.kernel.is_labelled("/w/secrets/x") && !run.kernel.is_labelled("/w/x")
    );

    for by in ["claude", "user:alice", "charter"] {
        run.step(Event::Control {
            act: "declassify".into(),
            level: Some("secret".into()),
            by: by.into(),
            reason: "r".into(),
        });
        assert_eq!(run.kernel.taint().len(), 1, "{by}");
    }
    run.step(Event::Control {
        act: "declassify".into(),
        level: Some("secret".into()),
        by: "user:carol".into(),
        reason: "r".into(),
    });
    assert!(run.kernel.taint().is_empty());
    let label = Resource::new(ResourceKind::Label).with("name", "secret").unwrap();
    assert_eq!(said(&run.attempt(&Action::new("meta.declassify", label, Surface::Sdk).unwrap())), "deny label-owner");
    run.does(&file("fs.read", "/w/d/n"));
    assert_eq!(run.kernel.taint().len(), 1, "the file kept it");

    let mut foreseen = new();
    let mut named = file("fs.read", "/w/secrets/key");
    named.surface = Surface::Exec;
    foreseen.does(&named);
    assert!(foreseen.kernel.taint().is_empty(), "what a command names is read when it is opened");

    let mut later = new();
    later.step(Event::Labelled { files: [("/w/old".to_owned(), ["secret".to_owned()].into())].into() });
    later.does(&file("fs.read", "/w/old"));
    assert_eq!(said(&later.attempt(&file("fs.write", "/w/x"))), "deny stays");
    let restored = Kernel::restore(Arc::new(later.kernel.charter().clone()), &later.kernel.snapshot()).unwrap();
    assert_eq!(restored.taint(), later.kernel.taint());
}

#[test]
fn examples_see_labels() {
    let example = "[[example]]\ngiven = [\"did fs.read(path: 'secrets/a')\"]\nattempt = \"net.connect(host: 'x', port: 443)\"\nexpect = \"deny stays\"\n[[example]]\nattempt = \"net.connect(host: 'x', port: 443)\"\nexpect = \"allow\"\n";
    let rule = format!(
        "{ALL}{STAYS}@id(\"s\") @owner(\"dev\") @reason(\"s\") forbid (principal, action == Action::\"fs.delete\", resource) when {{ context.fact.seen }};"
    );
    for outcome in check_examples(&charter(&format!("{LABELS}{example}"), &rule)) {
        assert!(outcome.passed, "{outcome:#?}");
    }
    for wrong in [
        "name = \"x\"\nowner = \"dev\"",
        "name = \"a b\"\nowner = \"dev\"\npaths = \"x\"",
        "name = \"x\"\nowner = \"none\"\npaths = \"../x\"",
    ] {
        let found = render(&compile(&format!("[[label]]\n{wrong}"), ALL).unwrap_err());
        assert!(found.contains("FB0154") || (found.contains("FB0105") && found.contains("FB0103")), "{wrong}: {found}");
    }
}
