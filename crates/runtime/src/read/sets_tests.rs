#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use flyball_kernel::{Action, Resource, Surface};
use flyball_ledger::Draft;
use serde_json::json;

/// A ledger whose writer makes questions up: the tree is whole, and only the actions' digests tell.
#[test]
fn a_question_that_names_other_actions_than_its_set_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&dir.path().join("ledger")).unwrap();
    let stream = ledger.stream("0samp1esess1").unwrap();
    let action = |path: &str| Action::new("fs.delete", Resource::file(path), Surface::Fs).unwrap();
    let part = |of: u64, path: &str| json!({ "of": of, "action": action(path).digest(), "attempt": action(path) });
    let set = set_of([(1, action("/w/a").digest().as_str()), (2, action("/w/b").digest().as_str())].into_iter());
    let mut at_ns = 1_795_230_000_000_000_000;
    let mut put = |kind: Kind, change: &dyn Fn(&mut Json)| {
        let mut body = match kind {
            Kind::Question => part(1, "/w/a"),
            _ => json!({ "question": "q-1", "of": 1, "verdict": "allow", "by": "user:ann" }),
        };
        if kind == Kind::Question {
            body["id"] = "q-1".into();
            body["also"] = json!([part(2, "/w/b")]);
        }
        body["set"] = set.as_str().into();
        change(&mut body);
        at_ns += 1;
        stream.append(Draft { at_ns, kind, actor: "x".into(), cause: vec![], body }).unwrap();
    };
    put(Kind::Question, &|_| {});
    put(Kind::Answer, &|_| {});
    // Of an earlier version.
    put(Kind::Question, &|body| {
        body["id"] = "q-0".into();
        body["set"] = Json::Null;
    });
    put(Kind::Question, &|body| body["set"] = format!("sha256:{}", "0".repeat(64)).into());
    put(Kind::Question, &|body| body["also"][0]["action"] = part(2, "/w/c")["action"].clone());
    put(Kind::Question, &|body| body["also"] = json!([]));
    put(Kind::Question, &|body| body["also"] = json!([part(2, "/w/b"), part(3, "/w/c")]));
    put(Kind::Answer, &|body| body["set"] = "sha256:other".into());
    stream.flush().unwrap();
    drop(stream);
    let found = misnamed_questions(&ledger, None).unwrap();
    let told: Vec<(u64, &str)> = found.iter().map(|(_, seq, why)| (*seq, why.as_str())).collect();
    assert_eq!(told.len(), 5, "{told:?}");
    for ((seq, why), (at, part)) in told.iter().zip([
        (4, "that of the actions it names"),
        (5, "that of the actions it names"),
        (6, "that of the actions it names"),
        (7, "that of the actions it names"),
        (8, "another set"),
    ]) {
        assert!(*seq == at && why.contains(part), "{seq}: {why}");
    }
}
