use crate::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

const INCIDENT: &str = r#"
[[obligation]]
name = "tell"
reason = "an incident is passed on"
when = 'did incident.open(id: i)'
must = 'did incident.escalate(id: i)'
within = "10s"
owner = "dev"
otherwise = "OTHERWISE"
open_max = 2
"#;

fn incident(verb: &str, id: &str) -> Action {
    let resource = Resource::new(ResourceKind::Incident).with("id", id).unwrap();
    Action::new(verb, resource, Surface::Sdk).unwrap()
}

fn run(otherwise: &str) -> Run {
    Run::new(charter(&INCIDENT.replace("OTHERWISE", otherwise), ALL))
}

fn causes(rulings: &[Ruling]) -> Vec<String> {
    let effects = rulings.iter().flat_map(|r| &r.effects);
    effects.filter_map(|e| if let Effect::Cause { act, .. } = e { Some(act.clone()) } else { None }).collect()
}

/// A tick at that second.
fn tick_at(run: &mut Run, second: u64) -> Vec<Ruling> {
    run.now_ns = (second - 1) * SECOND;
    run.step(Event::Tick)
}

#[test]
fn what_is_done_in_time_causes_nothing() {
    let mut run = run("kill");
    run.does(&incident("incident.open", "1"));
    run.does(&incident("incident.escalate", "2"));
    let open = run.kernel.registers().obligations;
    assert_eq!(
        (open.len(), open[0].bound.as_str(), open[0].since),
        (1, "i = \"1\"", 2),
        "another's id met it: {open:?}"
    );
    assert_eq!(run.kernel.next_deadline_ns(), Some(12 * SECOND));
    run.does(&incident("incident.escalate", "1"));
    assert_eq!(run.kernel.registers().obligations, vec![]);
    assert!(tick_at(&mut run, 100).is_empty());
}

#[test]
fn the_deadline_causes_it_once_and_closes_the_gate() {
    for (otherwise, gate) in
        [("kill", "killed"), ("pause", "paused"), ("quarantine", "quarantined"), ("rollback", "open")]
    {
        let mut run = run(otherwise);
        run.does(&incident("incident.open", "1"));
        // The same trigger again leaves the earliest deadline.
        run.does(&incident("incident.open", "1"));
        assert_eq!(run.kernel.next_deadline_ns(), Some(12 * SECOND));
        assert!(tick_at(&mut run, 11).is_empty());
        let rulings = tick_at(&mut run, 12);
        assert_eq!(causes(&rulings), [otherwise]);
        assert_eq!((rulings.len(), rulings[0].of, said(&rulings[0]).as_str()), (1, run.seq, "deny tell"));
        assert_eq!(rulings[0].reasons[0].witnesses, [2]);
        assert_eq!(run.kernel.registers().gate, gate);
        assert_eq!(run.kernel.registers().obligations, vec![]);
        assert!(tick_at(&mut run, 40).is_empty());
    }
}

#[test]
fn the_next_input_of_any_kind_finds_it() {
    let mut by_attempt = run("kill");
    by_attempt.does(&incident("incident.open", "1"));
    by_attempt.now_ns = 60 * SECOND;
    let ruling = by_attempt.attempt(&file("fs.write", "/w/a"));
    assert_eq!((said(&ruling).as_str(), causes(&[ruling])), ("deny session-killed", vec!["kill".to_owned()]));

    let mut by_dispatch = run("pause");
    by_dispatch.does(&incident("incident.open", "1"));
    let late = by_dispatch.attempt(&file("fs.write", "/w/a"));
    by_dispatch.now_ns = 60 * SECOND;
    let rulings = by_dispatch.step(Event::Dispatch { of: late.of });
    assert_eq!(causes(&rulings), ["pause"]);
}

#[test]
fn an_event_at_the_deadline_is_in_time() {
    let mut run = run("kill");
    run.does(&incident("incident.open", "1"));
    let ruling = run.attempt(&incident("incident.escalate", "1"));
    run.now_ns = 11 * SECOND;
    assert!(run.step(Event::Dispatch { of: ruling.of }).is_empty());
    assert_eq!(run.kernel.registers().gate, "open");
}

#[test]
fn what_is_escalated_is_asked_about_until_it_is_answered_for() {
    let mut run = run("escalate:dev");
    run.does(&incident("incident.open", "1"));
    assert_eq!(causes(&tick_at(&mut run, 30)), ["escalate:dev"]);
    assert_eq!(said(&run.attempt(&file("fs.read", "/w/a"))), "allow all", "what changes nothing goes on");
    let first = run.attempt(&file("fs.write", "/w/a"));
    assert_eq!(said(&first), "hold tell");
    let denied = run.answer(&first, "user:alice", Verdict::Deny, None);
    assert_eq!(denied.verdict, Verdict::Deny);
    let second = run.attempt(&file("fs.write", "/w/a"));
    assert_eq!(said(&second), "hold tell", "a refusal settles nothing");
    assert_eq!(run.answer(&second, "user:alice", Verdict::Allow, None).verdict, Verdict::Allow);
    assert_eq!(said(&run.attempt(&file("fs.write", "/w/b"))), "allow all");
}

#[test]
fn one_too_many_is_refused() {
    let mut run = run("kill");
    run.does(&incident("incident.open", "1"));
    run.does(&incident("incident.open", "2"));
    assert_eq!(said(&run.attempt(&incident("incident.open", "3"))), "deny obligation-overflow");
    run.does(&incident("incident.open", "1"));
    run.does(&incident("incident.escalate", "1"));
    run.does(&incident("incident.open", "3"));
}

#[test]
fn examples_see_deadlines() {
    let example = r#"
[[example]]
given = ["did incident.open(id: '1')", "wait 1m"]
attempt = "fs.write(path: 'a')"
expect = "hold tell"
[[example]]
given = ["did incident.open(id: '1')", "did incident.escalate(id: '1')", "wait 1m"]
attempt = "fs.write(path: 'a')"
expect = "allow"
"#;
    let charter = charter(&format!("{}{example}", INCIDENT.replace("OTHERWISE", "escalate:dev")), ALL);
    for outcome in check_examples(&charter) {
        assert!(outcome.passed, "{outcome:#?}");
    }
}

#[derive(Clone, Debug)]
enum Move {
    Open(u8),
    Meet(u8),
    Wait(u64),
    Tick,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (0..4u8).prop_map(Move::Open),
        2 => (0..4u8).prop_map(Move::Meet),
        2 => (0..15u64).prop_map(Move::Wait),
        1 => Just(Move::Tick),
    ];
    prop::collection::vec(one, 0..60)
}

proptest! {
    /// Each is met, caused or open, and never two of these: against a table that is obviously right.
    #[test]
    fn each_ends_once(moves in moves()) {
        let mut run = run("rollback");
        let mut open: BTreeMap<u8, u64> = BTreeMap::new();
        let (mut opened, mut met, mut caused) = (0, 0, 0);
        for one in moves {
            let seen = match one {
                Move::Wait(seconds) => {
                    run.now_ns += seconds * SECOND;
                    continue;
                }
                Move::Tick => {
                    let rulings = run.step(Event::Tick);
                    caused += open.values().filter(|at| run.now_ns >= **at + 10 * SECOND).count();
                    open.retain(|_, at| run.now_ns < *at + 10 * SECOND);
                    rulings
                }
                Move::Open(id) | Move::Meet(id) => {
                    let is_open = matches!(one, Move::Open(_));
                    let action = incident(if is_open { "incident.open" } else { "incident.escalate" }, &id.to_string());
                    let ruling = run.attempt(&action);
                    caused += open.values().filter(|at| run.now_ns > **at + 10 * SECOND).count();
                    open.retain(|_, at| run.now_ns <= *at + 10 * SECOND);
                    let has_room = open.len() < 2 || open.contains_key(&id);
                    prop_assert_eq!(ruling.verdict == Verdict::Allow, !is_open || has_room, "{:#?}", ruling);
                    let mut rulings = vec![ruling.clone()];
                    if ruling.verdict == Verdict::Allow {
                        rulings.extend(run.step(Event::Dispatch { of: ruling.of }));
                        caused += open.values().filter(|at| run.now_ns > **at + 10 * SECOND).count();
                        open.retain(|_, at| run.now_ns <= *at + 10 * SECOND);
                        if !is_open {
                            met += usize::from(open.remove(&id).is_some());
                        } else if let Entry::Vacant(place) = open.entry(id) {
                            place.insert(run.now_ns);
                            opened += 1;
                        }
                    }
                    rulings
                }
            };
            caused -= causes(&seen).len();
            prop_assert_eq!(caused, 0, "what was caused is what was due");
            opened -= causes(&seen).len();
            let kept = run.kernel.registers().obligations.len();
            prop_assert_eq!(kept, open.len());
            prop_assert_eq!(opened, met + kept);
        }
    }
}
