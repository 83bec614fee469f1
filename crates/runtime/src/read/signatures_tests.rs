#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use flyball_kernel::Verdict;
use flyball_ledger::Draft;
use serde_json::json;
use std::process::Command;

const AT_NS: u64 = 1_795_230_000_000_000_000;

/// A person's key, where one can be made.
fn key(dir: &std::path::Path) -> Option<std::path::PathBuf> {
    let file = dir.join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file).status();
    made.is_ok().then_some(file)
}

/// A ledger whose writer makes answers up: the tree is whole, and what the keys signed is all that can tell.
#[test]
fn an_answer_that_no_key_signed_as_it_stands_does_not_hold() {
    let dir = tempfile::tempdir().unwrap();
    let Some(file) = key(dir.path()) else {
        println!("skipped: ssh-keygen can't be run");
        return;
    };
    let ledger = Ledger::open(&dir.path().join("ledger")).unwrap();
    let stream = ledger.stream("0samp1esess1").unwrap();
    let statement =
        Statement::of("q-1@1", ["sha256:a"].into_iter(), Verdict::Allow, None, "why", "2026-11-21T03:05:00Z");
    let signed = signed::sign(&statement, &file).unwrap();
    let (by, _) = signed::signer(&signed).unwrap();
    let mut at_ns = AT_NS;
    let ask = |at_ns: u64| {
        let body = json!({ "id": "q-1", "of": 1 });
        stream.append(Draft { at_ns, kind: Kind::Question, actor: "kernel".into(), cause: vec![], body }).unwrap();
    };
    ask(AT_NS);
    let mut put = |change: &dyn Fn(&mut Json)| {
        let mut body = json!({
            "question": "q-1", "of": 1, "action": "sha256:a", "verdict": "allow", "by": by, "reason": "why", "with": null,
            "signed": signed, "brought_by": "user:ann",
        });
        change(&mut body);
        at_ns += 60_000_000_000;
        stream.append(Draft { at_ns, kind: Kind::Answer, actor: "x".into(), cause: vec![], body }).unwrap();
    };
    put(&|_| {});
    put(&|body| body["question"] = "q-2".into());
    put(&|body| body["verdict"] = "deny".into());
    put(&|body| body["reason"] = "because".into());
    // The fifth minute and all after it are too late as well.
    put(&|body| body["action"] = "sha256:b".into());
    put(&|_| {});
    put(&|body| body["signed"] = Json::Null);
    put(&|body| body["by"] = format!("key:ssh-ed25519 {}", "A".repeat(68)).into());
    put(&|body| body["signed"]["statement"] = statement.text().replace("why", "how").into());
    // People without keys are proven by the supervisor's word, as ever.
    put(&|body| {
        body["signed"] = Json::Null;
        body["by"] = "user:ann".into();
    });
    // Asked anew, under the same name and about the same action, it is another question.
    ask(AT_NS + 600_000_000_000);
    put(&|_| {});
    stream.flush().unwrap();
    drop(stream);
    let found = signed_answers(&ledger, None).unwrap();
    assert_eq!(found.hold, 1, "{found:?}");
    let told: Vec<(u64, &str)> = found.problems.iter().map(|(_, seq, why)| (*seq, why.as_str())).collect();
    for (problem, (seq, why)) in told.iter().zip([
        (3, "another question"),
        (4, "another answer"),
        (5, "another reason"),
        (6, "does not name the action"),
        (7, "expired"),
        (8, "carries no signature"),
        (9, "and `key:ssh-ed25519"),
        (10, "does not hold"),
        (13, "another question: `q-1@1`, not `q-1@12`"),
    ]) {
        assert!(problem.0 == seq && problem.1.contains(why), "{why} at {seq}: {told:?}");
    }
    assert_eq!(told.len(), 9, "{told:?}");
}

/// A replay whose writer says of answers that they were signed elsewhere.
#[test]
fn an_answer_given_again_stands_where_it_is_said_to() {
    let dir = tempfile::tempdir().unwrap();
    let Some(file) = key(dir.path()) else {
        println!("skipped: ssh-keygen can't be run");
        return;
    };
    let ledger = Ledger::open(&dir.path().join("ledger")).unwrap();
    let (parent, child) = (ledger.stream("0samp1esess1").unwrap(), ledger.stream("0samp1esess2").unwrap());
    let orphan = ledger.stream("0samp1esess3").unwrap();
    let put = |stream: &flyball_ledger::Stream, kind, body| {
        stream.append(Draft { at_ns: AT_NS, kind, actor: "x".into(), cause: vec![], body }).unwrap();
    };
    let statement =
        Statement::of("q-1@1", ["sha256:a"].into_iter(), Verdict::Allow, None, "why", "2026-11-21T03:05:00Z");
    let signed = signed::sign(&statement, &file).unwrap();
    let (by, _) = signed::signer(&signed).unwrap();
    let answer =
        json!({ "question": "q-1", "action": "sha256:a", "verdict": "allow", "by": by, "reason": "why", "with": null });
    let with = |key: &str, value: Json| {
        let mut body = answer.clone();
        body[key] = value;
        body
    };
    put(&parent, Kind::Question, json!({ "id": "q-1", "of": 1 }));
    put(&parent, Kind::Answer, with("signed", json!(signed)));
    put(&parent, Kind::Answer, answer.clone());
    put(&child, Kind::Open, json!({ "replay_of": { "session": "0samp1esess1" } }));
    put(&orphan, Kind::Open, json!({ "forked_from": { "session": "0absentsess1" } }));
    let given = |session: &str, seq: u64, key: &str, value: &str| {
        let mut body = with("said_in", json!({ "session": session, "seq": seq }));
        if !key.is_empty() {
            body[key] = value.into();
        }
        body
    };
    put(&child, Kind::Answer, given("0samp1esess1", 2, "", ""));
    let lies = [
        (given("0samp1esess1", 2, "", ""), "was given again before"),
        (given("0samp1esess1", 3, "", ""), "carries no signature"),
        (given("0samp1esess1", 1, "", ""), "another answer"),
        (given("0samp1esess1", 99, "", ""), "has no entry 99"),
        (given("0samp1esess3", 2, "", ""), "of which this one is none"),
    ];
    lies.iter().for_each(|(body, _)| put(&child, Kind::Answer, body.clone()));
    put(&orphan, Kind::Answer, given("0absentsess1", 2, "", ""));
    parent.flush().unwrap();
    child.flush().unwrap();
    orphan.flush().unwrap();
    let found = signed_answers(&ledger, Some("0samp1esess2")).unwrap();
    assert_eq!(found.problems.len(), lies.len(), "{found:?}");
    for ((_, seq, why), (nth, (_, wanted))) in found.problems.iter().zip(lies.iter().enumerate()) {
        assert!(*seq == nth as u64 + 3 && why.contains(wanted), "{wanted} at {seq}: {why}");
    }
    // What it says may not differ from what was signed.
    for (key, value) in [("verdict", "deny"), ("action", "sha256:b"), ("by", "key:ssh-ed25519 other"), ("with", "x")] {
        let entry = |body: Json| {
            put(&child, Kind::Answer, body);
            child.flush().unwrap();
            ledger.entry("0samp1esess2", child.last_seq()).unwrap()
        };
        let lie = entry(given("0samp1esess1", 2, key, value));
        let said = said_before(&ledger, &lie, &lie.body["said_in"].clone()).unwrap();
        assert!(matches!(&said, Before::Not(why) if why.contains("another answer")), "{key}");
    }
    let of = signed_answers(&ledger, Some("0samp1esess3")).unwrap();
    assert!(of.problems[0].2.contains("which is not here") && of.elsewhere.is_empty(), "{of:?}");
    let of = signed_answers_brought(&ledger, "0samp1esess3").unwrap();
    assert_eq!((of.problems.len(), of.elsewhere.len()), (0, 1), "{of:?}");
}

/// A fork of a fork of a session that a person changed and answered, in its ledger and alone.
#[test]
fn what_a_fork_of_a_fork_copied_was_signed_where_it_was_made() {
    let dir = tempfile::tempdir().unwrap();
    let Some(file) = key(dir.path()) else {
        println!("skipped: ssh-keygen can't be run");
        return;
    };
    let (first, second, third) = ("0samp1esess1", "0samp1esess2", "0samp1esess3");
    let at_ns = crate::clock::wall_ns();
    let act = crate::control::Request::Autonomy { level: "bounded".into(), reason: "why".into() };
    let acted = |session: &str, after: u64| {
        let signed = signed::sign_act(&act, session, after, &file).unwrap();
        let (by, _) = signed::act_signer(&signed).unwrap();
        json!({ "act": "autonomy", "level": "bounded", "by": by, "reason": "why", "signed": signed })
    };
    let expires = crate::clock::rfc3339(at_ns + 60_000_000_000);
    let statement = Statement::of("q-1@3", ["sha256:a"].into_iter(), Verdict::Allow, None, "why", &expires);
    let signed = signed::sign(&statement, &file).unwrap();
    let (by, _) = signed::signer(&signed).unwrap();
    let answer = |key: &str, value: Json| {
        let mut body = json!({ "question": "q-1", "action": "sha256:a", "verdict": "allow", "by": by, "reason": "why", "with": null });
        body[key] = value;
        body
    };
    let of_first = |until: u64| json!({ "session": first, "until": until });
    // The second has the act and the question, and gives the answer again; the third has all of that.
    let first_has = [
        (Kind::Open, json!({})),
        (Kind::Intervention, acted(first, 0)),
        (Kind::Question, json!({ "id": "q-1", "of": 1 })),
        (Kind::Answer, answer("signed", json!(signed))),
    ];
    let again = (Kind::Answer, answer("said_in", json!({ "session": first, "seq": 4 })));
    let opened = |from: Json| (Kind::Open, json!({ "forked_from": from }));
    let second_has = [opened(of_first(3)), first_has[1].clone(), first_has[2].clone(), again.clone()];
    let told = json!({ "session": second, "until": 4, "forked_from": of_first(3) });
    let third_has = |from: Json| [opened(from), first_has[1].clone(), first_has[2].clone(), again.clone()];
    let put = |ledger: &Ledger, session: &str, entries: &[(Kind, Json)]| {
        let stream = ledger.stream(session).unwrap();
        for (kind, body) in entries {
            let draft = Draft { at_ns, kind: *kind, actor: "x".into(), cause: vec![], body: body.clone() };
            stream.append(draft).unwrap();
        }
        stream.flush().unwrap();
    };
    let whole = Ledger::open(&dir.path().join("whole")).unwrap();
    put(&whole, first, &first_has);
    put(&whole, second, &second_has);
    // A fork of before this was told finds it in the openings of the others.
    for (session, from) in [(third, told.clone()), ("0samp1esess4", json!({ "session": second, "until": 4 }))] {
        put(&whole, session, &third_has(from));
        let found = signed_answers(&whole, Some(session)).unwrap();
        assert_eq!((found.problems.len(), found.acts), (0, 1), "{session}: {found:?}");
    }
    let alone = |name: &str, entries: &[(Kind, Json)]| {
        let ledger = Ledger::open(&dir.path().join(name)).unwrap();
        put(&ledger, third, entries);
        signed_answers_brought(&ledger, third).unwrap()
    };
    let found = alone("alone", &third_has(told.clone()));
    assert_eq!((found.problems.len(), found.acts), (0, 1), "{found:?}");
    assert_eq!(found.elsewhere, [(4, first.to_owned())], "whose answer it was is said");
    // Of one whose opening does not say what its parent's said, no more is known than that it was not made here.
    let found = alone("untold", &third_has(json!({ "session": second, "until": 4 })));
    assert_eq!(found.elsewhere, [(4, second.to_owned())], "{found:?}");
    // What nobody signed for the session that it was made in does not hold there either.
    for (name, at, body) in [
        ("another", 1, (Kind::Intervention, acted(third, 0))),
        ("later", 3, (Kind::Answer, answer("said_in", json!({ "session": "0samp1esess9", "seq": 4 })))),
    ] {
        let mut lie = third_has(told.clone());
        lie[at] = body;
        let found = alone(name, &lie);
        assert_eq!(found.problems.len(), 1, "{name}: {found:?}");
        assert_eq!(found.problems[0].1, at as u64 + 1, "{name}");
    }
    // Behind what was copied it is the fork's own.
    let late = [third_has(told).to_vec(), vec![(Kind::Intervention, acted(first, 2))]].concat();
    assert_eq!(alone("late", &late).problems.len(), 1);
}

/// A session whose writer takes one signature twice, or under another act.
#[test]
fn an_act_that_was_not_signed_so_or_twice_does_not_hold() {
    let dir = tempfile::tempdir().unwrap();
    let Some(file) = key(dir.path()) else {
        println!("skipped: ssh-keygen can't be run");
        return;
    };
    let session = "0samp1esess1";
    let ledger = Ledger::open(&dir.path().join("ledger")).unwrap();
    let stream = ledger.stream(session).unwrap();
    let act = |level: &str| crate::control::Request::Autonomy { level: level.into(), reason: "why".into() };
    let signed_after = |after: u64| signed::sign_act(&act("bounded"), session, after, &file).unwrap();
    let (by, _) = signed::act_signer(&signed_after(0)).unwrap();
    let at_ns = crate::clock::wall_ns();
    let put = |signed: Signed, change: &dyn Fn(&mut Json)| {
        let mut body = json!({ "act": "autonomy", "level": "bounded", "by": by, "reason": "why", "signed": signed, "brought_by": "user:ann" });
        change(&mut body);
        stream.append(Draft { at_ns, kind: Kind::Intervention, actor: "x".into(), cause: vec![], body }).unwrap();
    };
    put(signed_after(0), &|_| {});
    put(signed_after(1), &|_| {});
    put(signed_after(1), &|_| {});
    put(signed_after(3), &|body| body["level"] = "extended".into());
    put(signed_after(4), &|body| body["act"] = "declassify".into());
    put(signed_after(5), &|body| body["reason"] = "because".into());
    put(signed_after(6), &|body| body["signed"] = Json::Null);
    // What the agent can bring about is none of the acts that a signature has to follow.
    let body = json!({ "act": "put-back", "by": "charter", "reason": "b.txt" });
    stream.append(Draft { at_ns, kind: Kind::Intervention, actor: "x".into(), cause: vec![], body }).unwrap();
    put(signed_after(7), &|_| {});
    stream.flush().unwrap();
    drop(stream);
    let found = signed_answers(&ledger, None).unwrap();
    assert_eq!((found.hold, found.acts), (0, 3), "{found:?}");
    let told: Vec<(u64, &str)> = found.problems.iter().map(|(_, seq, why)| (*seq, why.as_str())).collect();
    assert_eq!(told.len(), 5, "{told:?}");
    for ((seq, why), (at, part)) in told.iter().zip([
        (3, "it was used"),
        (4, "another charter, level or label"),
        (5, "another act"),
        (6, "another reason"),
        (7, "carries no signature"),
    ]) {
        assert!(*seq == at && why.contains(part), "{seq}: {why}");
    }
    assert_eq!(super::last_act(&ledger, session).unwrap(), 9);
}
