#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use crate::replay::recorded::{self, CEDAR, Recording, TOML, charter, everything, files};
use flyball_ledger::{Filter, Kind};

fn test(dir: &Path, sessions: &[&str], cedar: &str) -> Backtest {
    let sessions: Vec<String> = sessions.iter().map(|s| (*s).to_owned()).collect();
    backtest(dir, &sessions, &Arc::new(charter(&files(TOML, cedar)))).unwrap()
}

#[test]
fn the_charter_of_the_time_says_the_same_to_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut it = Recording::new(dir.path(), "s", files(TOML, CEDAR), None);
    for action in [recorded::deploy(), recorded::exec("cargo"), recorded::deploy(), recorded::push("main")] {
        it.does(vec![action], &[1]);
    }
    it.answer(Verdict::Allow);
    (0..9).for_each(|n| drop(it.does(vec![recorded::write(&n.to_string())], &[1])));
    (0..3).for_each(|_| drop(it.does(vec![recorded::commit()], &[1])));
    it.close();
    let found = test(dir.path(), &["s"], CEDAR);
    assert_eq!((found.actions, found.same, found.sums.total), (16, 16, Count::default()), "{found:#?}");
    assert_eq!(found.sessions[0].bounded_from, None);
    // By one thread or by two, in whatever order.
    everything(dir.path(), "t");
    let both = test(dir.path(), &["t", "s"], CEDAR);
    assert_eq!(both.sessions[1].actions, 16);
    assert_eq!(both.sessions[0].session, "t");
}

#[test]
fn flips_are_told_both_ways_with_their_witnesses_and_bounded_after_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut it = Recording::new(dir.path(), "s", files(TOML, CEDAR), None);
    it.does(vec![recorded::exec("cargo")], &[1]);
    let written = it.does(vec![recorded::write("a")], &[1]).attempts[0];
    let deployed = it.does(vec![recorded::deploy()], &[1]).attempts[0];
    let pushed = it.does(vec![recorded::push("main")], &[1]).attempts[0];
    it.answer(Verdict::Allow);
    let ledger = it.close();
    let dispatched = ledger.entries("s", .., Filter { kinds: vec![Kind::Dispatch], ..Filter::default() }).unwrap();
    let did = dispatched.map(Result::unwrap).find(|e| e.cause == [written]).unwrap().seq;
    let other = "@id(\"no-push\") @owner(\"sec\") @reason(\"No.\")
forbid (principal, action == Action::\"git.push\", resource) unless { context.fact.clean };";
    let toml = TOML.replace("dev = [\"user:alice\"]", "dev = [\"user:alice\"]\nsec = [\"user:bob\"]");
    let toml = toml.replace("[facts]", "[facts]\nclean = 'no did deploy.apply since did process.exec'");
    let found = backtest(dir.path(), &["s".to_owned()], &Arc::new(charter(&files(&toml, other)))).unwrap();
    let flips = &found.sessions[0].flips;
    let told: Vec<_> = flips.iter().map(|f| (f.seq, f.was, f.now, f.is_bounded)).collect();
    // The deploy that was refused passes, and counts as done: so the push is refused.
    assert_eq!(told, [(deployed, Verdict::Deny, Verdict::Allow, false), (pushed, Verdict::Hold, Verdict::Deny, true)]);
    assert_eq!((flips[0].reasons[0].rule.as_str(), flips[0].reasons[0].owner.as_str()), ("green", "dev"));
    assert!(flips[0].reasons[0].witnesses.contains(&did), "{flips:#?}");
    assert_eq!((flips[1].reasons[0].rule.as_str(), flips[1].reasons[0].owner.as_str()), ("no-push", "sec"));
    assert_eq!(found.sums.rules["green"], Count { passed: 1, ..Count::default() });
    assert_eq!(found.sums.owners["sec"], Count { other: 1, bounded: 1, ..Count::default() });
    assert_eq!(found.sums.agents["a"].all(), 2);
    assert_eq!((found.actions, found.same), (4, 2));
    assert_eq!(found.sessions[0].bounded_from, Some(deployed));
}

#[test]
fn a_record_that_can_not_be_read_on_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let mut it = Recording::new(dir.path(), "s", files(TOML, CEDAR), None);
    it.does(vec![recorded::write("a")], &[1]);
    let seq = it.gate.note(Kind::Attempt, "a", &[1], serde_json::json!({"verb": "no.such"})).unwrap();
    it.close();
    let found = test(dir.path(), &["s"], CEDAR);
    assert_eq!(found.sessions[0].stopped.as_ref().unwrap().seq, seq);
    assert_eq!(found.actions, 1);
}
