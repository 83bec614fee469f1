//! What must hold of the record, whatever was killed.

use crate::work::Step;
use crate::world::World;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The ledger verifies, and every session in it is closed with nothing left open.
pub fn ledger(world: &World) {
    let report: Value = serde_json::from_str(&world.ok(&["verify", "--json"])).unwrap();
    assert_eq!(report["ok"], true, "{report}");
    for session in world.sessions() {
        let id = session["id"].as_str().unwrap();
        assert_eq!(session["state"], "ended", "{session}");
        closed(id, &world.log(id));
    }
}

/// Every attempt has its ruling, every allowed one its end, and nothing happened without an attempt.
fn closed(id: &str, log: &[Value]) {
    let of = |kind: &str| -> BTreeMap<u64, &Value> {
        log.iter().filter(|e| e["kind"] == kind).map(|e| (e["body"]["of"].as_u64().unwrap(), e)).collect()
    };
    let (rulings, dispatches, outcomes) = (of("ruling"), of("dispatch"), of("outcome"));
    let attempts: BTreeSet<u64> = log.iter().filter(|e| e["kind"] == "attempt").map(seq).collect();
    for (name, entries) in [("ruling", &rulings), ("dispatch", &dispatches), ("outcome", &outcomes)] {
        for (of, entry) in entries {
            assert!(attempts.contains(of) && *of < seq(entry), "{id}: a {name} of no attempt: {entry}");
        }
    }
    for attempt in &attempts {
        let denied = rulings.get(attempt).is_some_and(|r| r["body"]["verdict"] == "deny");
        assert!(denied || outcomes.contains_key(attempt), "{id}: attempt {attempt} has no end");
    }
    for of in dispatches.keys() {
        assert!(rulings.contains_key(of), "{id}: {of} was carried out unruled");
    }
    assert!(log.iter().any(|e| e["kind"] == "close"), "{id} is not closed");
}

pub fn seq(entry: &Value) -> u64 {
    entry["seq"].as_u64().unwrap()
}

/// What the program saw done is on record: all of it where the supervisor lived; else all but what was still on its way
/// to the disk when it died, and that only in one piece at the end and never of high consequence.
pub fn acknowledged(world: &World, session: &str, steps: &[Step], acks: usize, supervisor_died: bool) -> usize {
    let log = world.log(session);
    let dispatched: BTreeSet<u64> =
        log.iter().filter(|e| e["kind"] == "dispatch").map(|e| e["body"]["of"].as_u64().unwrap()).collect();
    let mut written: BTreeMap<&str, usize> = BTreeMap::new();
    for attempt in log.iter().filter(|e| e["kind"] == "attempt" && dispatched.contains(&seq(e))) {
        let opens =
            attempt["body"]["attrs"].get("implied_by").is_none() && attempt["body"]["attrs"].get("kind").is_none();
        if attempt["body"]["verb"] == "fs.write" && opens && attempt["body"]["attrs"].get("content").is_none() {
            let path = attempt["body"]["resource"]["path"].as_str().unwrap();
            let work = world.workspace();
            let rel = path.strip_prefix(work.to_str().unwrap()).map(|p| p.trim_start_matches('/')).unwrap_or(path);
            *written.entry(rel).or_default() += 1;
        }
    }
    let mut wanted: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lost = 0;
    for (n, step) in steps.iter().take(acks).enumerate() {
        let Some(path) = step.writes.as_deref() else { continue };
        let count = wanted.entry(path).or_default();
        *count += 1;
        let is_there = written.get(path).copied().unwrap_or_default() >= *count;
        if is_there {
            assert_eq!(lost, 0, "{session}: step {n} is on record and one before it is not");
        } else {
            assert!(supervisor_died, "{session}: step {n} ({path}) was acknowledged and is not on record");
            assert!(!path.starts_with("grave/"), "{session}: {path} was written before its attempt was durable");
            lost += 1;
        }
    }
    lost
}
