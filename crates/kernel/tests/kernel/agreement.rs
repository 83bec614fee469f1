//! What holds of every question, whatever anybody says and whenever: held against a model that is obviously right.

use crate::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const RULES: &str = r#"
@id("write") @owner("dev") @reason("ask") @escalate("dev") forbid (principal, action == Action::"fs.write", resource);
@id("delete") @owner("dev") @reason("ask two") @escalate("both") forbid (principal, action == Action::"fs.delete", resource);
@id("top") @owner("dev") @reason("ask carol") @escalate("boss") forbid (principal, action == Action::"fs.delete", resource) when { resource.name == "a" };
"#;
const PEOPLE: [&str; 5] = ["user:alice", "user:bob", "user:carol", "claude", "agent:other"];

#[derive(Clone, Debug)]
enum Move {
    Attempt(bool, u8),
    /// The nth open question, who, what, about another action's digest, on another tier's time.
    Answer {
        nth: u8,
        who: u8,
        verdict: Verdict,
        other: bool,
    },
    /// An action that the nth attempt may have named.
    Expected {
        nth: u8,
        delete: bool,
        path: u8,
    },
    Withdraw(u8),
    Dispatch(u8),
    Wait(u16),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let verdict =
        prop::sample::select(vec![Verdict::Allow, Verdict::Allow, Verdict::Allow, Verdict::Deny, Verdict::Modify]);
    let one = prop_oneof![
        4 => (any::<bool>(), 0..3u8).prop_map(|(delete, path)| Move::Attempt(delete, path)),
        9 => (0..6u8, 0..5u8, verdict, prop::bool::weighted(0.1)).prop_map(|(nth, who, verdict, other)| Move::Answer { nth, who, verdict, other }),
        3 => (any::<u8>(), any::<bool>(), 0..3u8).prop_map(|(nth, delete, path)| Move::Expected { nth, delete, path }),
        1 => (0..6u8).prop_map(Move::Withdraw),
        1 => any::<u8>().prop_map(Move::Dispatch),
        2 => (0..400u16).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 1..80)
}

/// A tier's share of a question, as the ruling told it.
#[derive(Clone, Debug)]
struct Asked {
    who: Vec<String>,
    quorum: usize,
    deadline_ns: u64,
    agreed: BTreeSet<String>,
}

#[derive(Default)]
struct Model {
    open: BTreeMap<u64, (Ruling, BTreeMap<String, Asked>)>,
    /// Attempts that people let through and what they were: each may stand for one more.
    approved: BTreeMap<u64, Action>,
    ended: BTreeSet<u64>,
    /// All that ever held an approval.
    ever: Vec<u64>,
}

impl Model {
    fn take(&mut self, ruling: &Ruling) {
        if ruling.verdict == Verdict::Hold {
            let asks = ruling.effects.iter().filter_map(|e| match e {
                Effect::Ask { tier, who, quorum, deadline_ns, .. } => Some((
                    tier.clone(),
                    Asked {
                        who: who.clone(),
                        quorum: *quorum as usize,
                        deadline_ns: *deadline_ns,
                        agreed: BTreeSet::new(),
                    },
                )),
                _ => None,
            });
            let asks: BTreeMap<_, _> = asks.collect();
            match self.open.get_mut(&ruling.of) {
                // Handed on: the late tiers are gone from it.
                Some((_, there)) if !asks.is_empty() => {
                    let expired: Vec<String> =
                        ruling.reasons.iter().map(|r| r.reason.split('`').nth(1).unwrap().to_owned()).collect();
                    there.retain(|tier, _| !expired.contains(tier));
                    there.extend(asks);
                }
                Some(_) => {}
                None if !asks.is_empty() => drop(self.open.insert(ruling.of, (ruling.clone(), asks))),
                None => {}
            }
        } else {
            self.open.remove(&ruling.of);
            self.ended.insert(ruling.of);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_passes_without_its_people_and_every_question_ends(moves in moves()) {
        static ONE: std::sync::OnceLock<Charter> = std::sync::OnceLock::new();
        let charter = ONE.get_or_init(|| charter("", &format!("{ALL}{RULES}")));
        let mut run = Run::new(charter.clone());
        let mut model = Model::default();
        let mut actions: BTreeMap<u64, Action> = BTreeMap::new();
        for step in moves {
            let nth_open = |n: u8| model.open.keys().nth(usize::from(n)).copied();
            let nth_any = |n: u8| actions.keys().nth(usize::from(n) % actions.len().max(1)).copied().unwrap_or_default();
            let of_file = |delete: bool, path: u8| file(if delete { "fs.delete" } else { "fs.write" }, ["/w/a", "/w/b", "/w/c"][usize::from(path)]);
            let event = match &step {
                Move::Attempt(delete, path) => Event::Attempt(of_file(*delete, *path)),
                Move::Expected { nth, delete, path } => {
                    let of = model.ever.get(usize::from(*nth) % model.ever.len().max(1)).copied();
                    let same = of.filter(|_| *path > 0).map(|of| actions[&of].clone());
                    Event::Expected {
                        of: of.unwrap_or_else(|| nth_any(*nth)),
                        action: same.unwrap_or_else(|| of_file(*delete, *path)),
                    }
                }
                Move::Answer { nth, who, verdict, other } => {
                    let Some(of) = nth_open(*nth) else { continue };
                    let action = if *other { file("fs.read", "/w/z").digest() } else { model.open[&of].0.action.to_string() };
                    let with = (*verdict == Verdict::Modify).then(|| Box::new(actions[&of].clone()));
                    Event::Answer { of, action, verdict: *verdict, with, by: PEOPLE[usize::from(*who)].into(), reason: String::new() }
                }
                Move::Withdraw(nth) => {
                    let Some(of) = nth_open(*nth) else { continue };
                    model.open.remove(&of);
                    model.ended.insert(of);
                    Event::Withdraw { of }
                }
                Move::Dispatch(nth) => Event::Dispatch { of: nth_any(*nth) },
                Move::Wait(seconds) => {
                    run.now_ns += u64::from(*seconds) * SECOND;
                    Event::Tick
                }
            };
            let seq = run.seq + 1;
            let rulings = run.step(event.clone());
            for ruling in &rulings {
                let is_own = match &event {
                    Event::Attempt(action) | Event::Expected { action, .. } if ruling.of == seq => {
                        actions.insert(seq, action.clone());
                        true
                    }
                    Event::Answer { .. } => std::ptr::eq(ruling, rulings.last().unwrap()),
                    _ => false,
                };
                match (&event, ruling.verdict) {
                    (Event::Attempt(_), Verdict::Allow) if is_own => prop_assert!(false, "every such action is asked about"),
                    (Event::Expected { of, action }, Verdict::Allow) if is_own => {
                        let named = model.approved.remove(of);
                        prop_assert!(named.is_some_and(|n| n.foresees(action)), "allowed by no approval, or by a spent one");
                        model.approved.insert(seq, action.clone());
                        model.ever.push(seq);
                    }
                    (Event::Answer { of, action, verdict, by, .. }, said) if is_own => {
                        let Some((held, asks)) = model.open.get_mut(of) else { continue };
                        let counts = *action == held.action && *verdict != Verdict::Deny;
                        for ask in asks.values_mut().filter(|a| counts && a.who.contains(by) && run.now_ns < a.deadline_ns) {
                            ask.agreed.insert(by.clone());
                        }
                        let is_met = asks.values().all(|a| a.agreed.len() >= a.quorum);
                        prop_assert!(!is_met || said != Verdict::Hold || !ruling.effects.is_empty(), "met, and still held: {ruling:?}");
                        if matches!(said, Verdict::Allow | Verdict::Modify) {
                            prop_assert!(is_met, "without its people: {asks:?} {ruling:?}");
                            let people: BTreeSet<&String> = asks.values().flat_map(|a| &a.agreed).collect();
                            prop_assert!(people.iter().all(|p| p.starts_with("user:")));
                            let least = asks.values().map(|a| a.quorum).max().unwrap_or(1);
                            prop_assert!(people.len() >= least);
                            if said == Verdict::Allow {
                                model.approved.insert(*of, actions[of].clone());
                                model.ever.push(*of);
                            }
                        } else if said == Verdict::Deny {
                            let may = asks.values().any(|a| a.who.contains(by) && run.now_ns < a.deadline_ns);
                            prop_assert!(may && *verdict == Verdict::Deny, "refused by who may not: {ruling:?}");
                        }
                    }
                    _ => {}
                }
                model.take(ruling);
            }
        }
        // Left alone, every question ends, in no more steps than there are tiers.
        for _ in 0..3 {
            run.now_ns += 3_600 * SECOND;
            for ruling in run.step(Event::Tick) {
                prop_assert!(matches!(ruling.verdict, Verdict::Hold | Verdict::Deny), "time allows nothing");
                model.take(&ruling);
            }
        }
        prop_assert!(model.open.is_empty(), "{:?}", model.open.keys().collect::<Vec<_>>());
        for of in actions.keys() {
            prop_assert!(model.ended.contains(of), "entry {of} never ended");
        }
    }
}
