use crate::*;

const CI: &str = r#"@id("ci") @owner("dev") @reason("ask first") @escalate("dev")
forbid (principal, action == Action::"fs.write", resource);
"#;
const RELEASE: &str = r#"@id("release") @owner("dev") @reason("two people") @escalate("both")
forbid (principal, action == Action::"deploy.apply", resource);
"#;

fn run(rules: &str) -> Run {
    Run::new(charter("", &format!("{ALL}{rules}")))
}

fn answered(held: &Ruling, by: &str) -> Event {
    Event::Answer {
        of: held.of,
        action: held.action.to_string(),
        verdict: Verdict::Allow,
        with: None,
        by: by.to_owned(),
        reason: String::new(),
    }
}

fn deploy() -> Action {
    Action::new("deploy.apply", Resource::new(ResourceKind::Target), Surface::K8s).unwrap()
}

#[test]
fn an_answer_settles_its_attempt_once() {
    let mut run = run(CI);
    let held = run.attempt(&file("fs.write", "/w/a"));
    assert_eq!(said(&held), "hold ci");
    assert!(
        matches!(&held.effects[..], [Effect::Ask { tier, who, quorum: 1, deadline_ns, with: None }]
            if tier == "dev" && who.len() == 2 && *deadline_ns == run.now_ns + 300 * SECOND),
        "{:?}",
        held.effects
    );
    assert_eq!(held.reasons[0].needs.as_deref(), Some("an answer by one of dev: user:alice, user:bob"));
    assert!(run.step(Event::Dispatch { of: held.of }).is_empty(), "what is held is not dispatched");
    assert!(run.step(Event::Outcome { of: held.of, ok: true, attrs: [].into() }).is_empty());
    assert_eq!(said(&run.answer(&held, "user:alice", Verdict::Allow, None)), "allow all answered");
    assert_eq!(said(&run.answer(&held, "user:bob", Verdict::Allow, None)), "deny no-open-question");
    assert_eq!(said(&run.attempt(&file("fs.write", "/w/a"))), "hold ci", "an approval is for one attempt");
}

#[test]
fn answers_that_do_not_count_change_nothing() {
    let mut run = run(CI);
    let held = run.attempt(&file("fs.write", "/w/a"));
    let other = Ruling { action: file("fs.write", "/w/b").digest().into(), ..held.clone() };
    for (ruling, by, verdict, with, expect) in [
        (&other, "user:alice", Verdict::Allow, None, "hold answer-other-action"),
        (&other, "user:alice", Verdict::Deny, None, "hold answer-other-action"),
        (&held, "user:carol", Verdict::Allow, None, "hold answer-not-asked"),
        (&held, "user:carol", Verdict::Deny, None, "hold answer-not-asked"),
        (&held, "claude", Verdict::Allow, None, "hold answer-by-agent"),
        (&held, "agent:x", Verdict::Allow, None, "hold answer-by-agent"),
        (&held, " Agent:x", Verdict::Allow, None, "hold answer-by-agent"),
        (&held, "user:alice", Verdict::Hold, None, "hold answer-unclear"),
        (&held, "user:alice", Verdict::Modify, None, "hold answer-unclear"),
        (&held, "user:alice", Verdict::Allow, Some(file("fs.write", "/w/b")), "hold answer-unclear"),
        (&held, "user:alice", Verdict::Modify, Some(file("fs.read", "/w/b")), "hold answer-other-action"),
    ] {
        assert_eq!(said(&run.answer(ruling, by, verdict, with)), expect, "by {by}");
    }
    assert_eq!(run.answer(&held, "user:alice", Verdict::Allow, None).verdict, Verdict::Allow);
}

#[test]
fn a_person_may_refuse_or_change() {
    let mut run = run(CI);
    let held = run.attempt(&file("fs.write", "/w/a"));
    let refused = run.answer(&held, "user:bob", Verdict::Deny, None);
    assert_eq!(said(&refused), "deny answered");
    assert_eq!((refused.reasons[0].owner.as_str(), refused.reasons[0].reason.as_str()), ("user:bob", "because"));

    let held = run.attempt(&file("fs.write", "/w/a"));
    let changed = run.answer(&held, "user:bob", Verdict::Modify, Some(file("fs.write", "/w/b")));
    assert_eq!(said(&changed), "modify all answered");
    assert_eq!(changed.action, held.action, "it answers the attempt as it was made");
    assert_eq!(changed.modified.as_deref(), Some(&file("fs.write", "/w/b")));
}

#[test]
fn what_a_person_changes_meets_the_other_rules() {
    let mut run = run(&format!(
        "{CI}@id(\"etc\") @owner(\"dev\") @reason(\"never\") forbid (principal, action, resource is File) when {{ resource.path like \"/etc/*\" }};"
    ));
    let held = run.attempt(&file("fs.write", "/w/a"));
    assert_eq!(
        said(&run.answer(&held, "user:bob", Verdict::Modify, Some(file("fs.write", "/etc/passwd")))),
        "deny etc"
    );
}

#[test]
fn a_plain_forbid_is_not_asked_about() {
    let mut run = run(&format!(
        "{CI}@id(\"no\") @owner(\"dev\") @reason(\"never\") forbid (principal, action == Action::\"fs.write\", resource);"
    ));
    let ruling = run.attempt(&file("fs.write", "/w/a"));
    assert_eq!(said(&ruling), "deny no");
    assert!(ruling.effects.is_empty());
}

#[test]
fn approval_does_not_outlive_what_happened_since() {
    let mut run = run(CI);
    let held = run.attempt(&file("fs.write", "/w/a"));
    let quarantine =
        Event::Control { act: "quarantine".into(), level: None, by: "user:carol".into(), reason: String::new() };
    run.step(quarantine);
    assert_eq!(said(&run.answer(&held, "user:alice", Verdict::Allow, None)), "deny session-quarantined");
}

#[test]
fn a_quorum_counts_people() {
    let mut run = run(RELEASE);
    let held = run.attempt(&deploy());
    assert_eq!(said(&held), "hold release");
    assert_eq!(held.reasons[0].needs.as_deref(), Some("answers by 2 of both: user:alice, user:bob"));
    assert_eq!(said(&run.answer(&held, "user:alice", Verdict::Allow, None)), "hold answer-counted");
    assert_eq!(said(&run.answer(&held, "user:alice", Verdict::Allow, None)), "hold answer-twice");
    assert_eq!(said(&run.answer(&held, "user:bob", Verdict::Allow, None)), "allow all answered");
}

#[test]
fn a_quorum_must_agree_on_the_same_action() {
    let mut run = run(RELEASE);
    let held = run.attempt(&deploy());
    let changed = deploy().with("tool", "kubectl").unwrap();
    assert_eq!(said(&run.answer(&held, "user:alice", Verdict::Modify, Some(changed))), "hold answer-counted");
    assert_eq!(said(&run.answer(&held, "user:bob", Verdict::Allow, None)), "hold answer-counted");
}

#[test]
fn two_paths_must_both_agree() {
    let both = format!(
        "{CI}@id(\"boss\") @owner(\"dev\") @reason(\"boss\") @escalate(\"boss\") forbid (principal, action == Action::\"fs.write\", resource);"
    );
    let mut run = run(&both);
    let held = run.attempt(&file("fs.write", "/w/a"));
    assert_eq!(said(&held), "hold boss ci");
    assert_eq!(held.effects.len(), 2);
    assert_eq!(said(&run.answer(&held, "user:alice", Verdict::Allow, None)), "hold answer-counted");
    assert_eq!(said(&run.answer(&held, "user:carol", Verdict::Allow, None)), "allow all answered");
}

#[test]
fn deadlines_hand_on_and_end_in_refusal() {
    let mut run = run(RELEASE);
    let held = run.attempt(&deploy());
    assert!(run.step(Event::Tick).is_empty(), "nothing is due");
    run.now_ns += 301 * SECOND;
    let late = run.step(answered(&held, "user:alice"));
    assert_eq!(late.iter().map(said).collect::<Vec<_>>(), ["hold question-escalated", "hold answer-not-asked"]);
    let passed_on = late;
    assert!(
        matches!(&passed_on[0].effects[..], [Effect::Ask { tier, .. }] if tier == "boss"),
        "{:?}",
        passed_on[0].effects
    );
    assert_eq!(said(&run.answer(&held, "user:alice", Verdict::Allow, None)), "hold answer-not-asked");
    run.now_ns += 601 * SECOND;
    let expired = run.step(Event::Tick);
    assert_eq!(said(&expired[0]), "deny question-expired");
    assert_eq!(said(&run.answer(&held, "user:carol", Verdict::Allow, None)), "deny no-open-question");
    assert!(run.step(Event::Tick).is_empty());
}

#[test]
fn a_withdrawn_question_is_closed() {
    let mut run = run(CI);
    let held = run.attempt(&file("fs.write", "/w/a"));
    run.step(Event::Withdraw { of: held.of });
    assert_eq!(said(&run.answer(&held, "user:alice", Verdict::Allow, None)), "deny no-open-question");
}

/// The last tier of a question is not called on for one whose asker has gone at that very moment.
#[test]
fn a_question_withdrawn_at_its_deadline_is_not_handed_on() {
    let mut run = run(RELEASE);
    let held = run.attempt(&deploy());
    run.now_ns += 3_600 * SECOND;
    assert_eq!(run.step(Event::Withdraw { of: held.of }), []);
    assert_eq!(run.step(Event::Tick), []);
}

#[test]
fn open_questions_are_bounded() {
    let mut run = run(CI);
    let all: Vec<Ruling> = (0..30).map(|n| run.attempt(&file("fs.write", &format!("/w/{n}")))).collect();
    assert!(all[..24].iter().all(|r| r.verdict == Verdict::Hold));
    assert!(all[24..].iter().all(|r| said(r) == "deny owner-overloaded"));
    assert!(matches!(&all[24].effects[..], [Effect::Alert { alert, .. }] if alert == "questions"));
    assert!(all[25].effects.is_empty(), "it is told once");
    run.answer(&all[0], "user:alice", Verdict::Deny, None);
    assert_eq!(run.attempt(&file("fs.write", "/w/x")).verdict, Verdict::Hold, "there is room for one");
    let again = run.attempt(&file("fs.write", "/w/y"));
    assert_eq!((said(&again).as_str(), again.effects.len()), ("deny owner-overloaded", 1), "at the cap anew");
}

#[test]
fn questions_of_consequence_find_room_when_small_ones_have_none() {
    let mut run = run(&format!("{CI}{RELEASE}"));
    for n in 0..40 {
        run.attempt(&file("fs.write", &format!("/w/{n}")));
    }
    let deploys: Vec<String> = (0..10).map(|_| said(&run.attempt(&deploy()))).collect();
    assert!(deploys[..8].iter().all(|d| d == "hold release"), "{deploys:?}");
    assert!(deploys[8..].iter().all(|d| d == "deny owner-overloaded"), "{deploys:?}");
}

/// A write, as the command that will do it names it.
fn foreseen(path: &str) -> Action {
    file("fs.write", path).with("implied_by", format!("> {path}")).unwrap().with("reader", "shell/1").unwrap()
}

fn expect(run: &mut Run, of: u64, action: &Action) -> Ruling {
    let mut rulings = run.step(Event::Expected { of, action: action.clone() });
    assert_eq!(rulings.len(), 1);
    rulings.remove(0)
}

#[test]
fn an_approval_stands_once_for_the_action_that_was_named() {
    let mut run = run(CI);
    let opened = file("fs.write", "/w/a").with("create", true).unwrap();
    let held = run.attempt(&foreseen("/w/a"));
    assert_eq!(said(&expect(&mut run, held.of, &opened)), "hold ci", "nobody has answered yet");
    run.answer(&held, "user:alice", Verdict::Allow, None);
    assert_eq!(said(&expect(&mut run, held.of, &file("fs.write", "/w/b"))), "hold ci", "another file");
    assert_eq!(
        said(&expect(&mut run, held.of, &file("fs.delete", "/w/a"))),
        "allow all",
        "nothing is asked, nothing spent"
    );
    let passed = expect(&mut run, held.of, &opened);
    assert_eq!(said(&passed), "allow all answered-before");
    let reason = passed.reasons.iter().find(|r| r.rule == "answered-before").unwrap();
    assert_eq!((reason.owner.as_str(), reason.witnesses.len()), ("user:alice", 2));
    assert_eq!(said(&expect(&mut run, held.of, &opened)), "hold ci", "once");
    // What a script names and a program in it names again is one action: the approval goes along.
    assert_eq!(said(&expect(&mut run, passed.of, &opened)), "allow all answered-before");
    assert_eq!(said(&expect(&mut run, passed.of, &opened)), "hold ci");
}

#[test]
fn an_approval_ends_with_its_time_and_its_asker() {
    for how in 0..3 {
        let mut run = run(CI);
        let held = run.attempt(&foreseen("/w/a"));
        run.answer(&held, "user:alice", Verdict::Allow, None);
        match how {
            0 => run.now_ns += 301 * SECOND,
            1 => drop(run.step(Event::Outcome { of: held.of, ok: true, attrs: [].into() })),
            _ => drop(run.step(Event::Withdraw { of: held.of })),
        }
        assert_eq!(said(&expect(&mut run, held.of, &file("fs.write", "/w/a"))), "hold ci", "{how}");
    }
}

#[test]
fn an_approval_waives_only_what_was_asked_about() {
    let mut run = run(&format!(
        "{CI}@id(\"cut\") @owner(\"dev\") @reason(\"never\") forbid (principal, action == Action::\"fs.write\", resource) when {{ context.attrs has truncate && context.attrs.truncate }};"
    ));
    let held = run.attempt(&foreseen("/w/a"));
    run.answer(&held, "user:alice", Verdict::Allow, None);
    let cut = file("fs.write", "/w/a").with("truncate", true).unwrap();
    assert_eq!(said(&expect(&mut run, held.of, &cut)), "deny cut");
    assert_eq!(said(&expect(&mut run, held.of, &file("fs.write", "/w/a"))), "allow all answered-before");
}

#[test]
fn order_and_time_are_kept() {
    let mut run = run(CI);
    let at = |run: &mut Run, seq: u64, at_ns: u64, event: Event| run.kernel.step(&Input { seq, at_ns, event });
    let read = || Event::Attempt(file("fs.read", "/w/a"));
    assert_eq!(said(&at(&mut run, 5, 100, read())[0]), "allow all");
    assert_eq!(said(&at(&mut run, 5, 101, read())[0]), "deny input-out-of-order");
    assert_eq!(said(&at(&mut run, 4, 101, read())[0]), "deny input-out-of-order");
    assert_eq!(said(&at(&mut run, 6, 99, read())[0]), "deny input-out-of-order");
    let held = at(&mut run, 7, 102, Event::Attempt(file("fs.write", "/w/a"))).remove(0);
    let answer = Event::Answer {
        of: held.of,
        action: held.action.to_string(),
        verdict: Verdict::Allow,
        with: None,
        by: "user:alice".into(),
        reason: String::new(),
    };
    assert_eq!(said(&at(&mut run, 7, 103, answer.clone())[0]), "hold input-out-of-order");
    assert_eq!(said(&at(&mut run, 8, 103, answer)[0]), "allow all answered");
}

#[test]
fn a_pause_does_not_spend_an_approval() {
    let mut run = run(CI);
    let held = run.attempt(&file("fs.write", "/w/a"));
    let control =
        |act: &str| Event::Control { act: act.into(), level: None, by: "user:carol".into(), reason: String::new() };
    run.step(control("pause"));
    assert_eq!(said(&run.answer(&held, "user:alice", Verdict::Allow, None)), "hold session-paused");
    run.step(control("resume"));
    assert_eq!(said(&run.answer(&held, "user:alice", Verdict::Allow, None)), "allow all answered");
}

/// What is asked for at once and put to the same people is one question, and counts as one.
#[test]
fn one_question_about_many_actions_is_one() {
    let release = r#"@id("two") @owner("dev") @reason("two people") @escalate("both") forbid (principal, action == Action::"fs.delete", resource);"#;
    let mut run = run(&format!("{CI}{release}"));
    let at_once = |run: &mut Run, batch: u64, action: Action| {
        let batch = if batch == 0 { run.seq + 1 } else { batch };
        run.now_ns -= SECOND;
        let mut rulings = run.step(Event::Together { batch, of: None, action });
        assert_eq!(rulings.len(), 1);
        rulings.remove(0)
    };
    let ask = |ruling: &Ruling| match &ruling.effects[..] {
        [Effect::Ask { deadline_ns, with, .. }] => (*deadline_ns, *with),
        other => panic!("{other:?}"),
    };
    let mut held = Vec::new();
    run.now_ns = SECOND;
    for n in 0..24_u64 {
        let first = at_once(&mut run, 0, file("fs.write", &format!("/w/{n}")));
        if n < 3 {
            let other = at_once(&mut run, first.of, file("fs.delete", "/w/other"));
            assert_eq!(ask(&other).1, None, "another tier is asked another question");
            run.step(Event::Withdraw { of: other.of });
        }
        let mut many = vec![first];
        for m in 0..9 {
            many.push(at_once(&mut run, many[0].of, file("fs.write", &format!("/w/{n}/{m}"))));
        }
        let (deadline_ns, with) = ask(&many[0]);
        assert_eq!(with, None);
        assert!(many[1..].iter().all(|r| ask(r) == (deadline_ns, Some(many[0].of))), "one deadline: {many:?}");
        held.push(many);
    }
    assert_eq!(run.kernel.registers().asked[0].open, 24);
    assert_eq!(said(&at_once(&mut run, 0, file("fs.write", "/w/x"))), "deny owner-overloaded", "the 25th question");
    // Each action is answered by itself, and the question is there until the last.
    for ruling in &held[0][..9] {
        let other = Ruling { action: held[0][9].action.clone(), ..ruling.clone() };
        assert_eq!(said(&run.answer(&other, "user:alice", Verdict::Allow, None)), "hold answer-other-action");
        assert_eq!(said(&run.answer(ruling, "user:alice", Verdict::Allow, None)), "allow all answered");
    }
    assert_eq!(run.kernel.registers().asked[0].open, 24);
    // Snapshots know it as well.
    let charter = Arc::new(charter("", &format!("{ALL}{CI}{release}")));
    let bytes = run.kernel.snapshot();
    let mut restored = Kernel::restore(charter, &bytes).unwrap();
    assert_eq!(restored.snapshot(), bytes);
    let (seq, at_ns) = (run.seq + 1, run.now_ns + SECOND);
    let batch = held[0][0].of;
    let more = Event::Together { batch, of: None, action: file("fs.write", "/w/more") };
    let rulings = restored.step(&Input { seq, at_ns, event: more.clone() });
    assert_eq!(ask(&rulings[0]).1, Some(held[0][0].of), "{rulings:?}");
    assert_eq!(rulings, run.step(more));
    run.answer(&held[0][9], "user:alice", Verdict::Deny, None);
    run.answer(&rulings[0], "user:alice", Verdict::Deny, None);
    assert_eq!(run.kernel.registers().asked[0].open, 23);
}

/// What somebody agreed to already is not joined by more.
#[test]
fn a_question_that_somebody_answered_gains_nothing() {
    let mut run = run(RELEASE);
    let together = |batch: u64| Event::Together { batch, of: None, action: deploy() };
    let first = run.step(together(1)).remove(0);
    assert_eq!(said(&run.answer(&first, "user:alice", Verdict::Allow, None)), "hold answer-counted");
    let second = run.step(together(1)).remove(0);
    assert!(matches!(&second.effects[..], [Effect::Ask { with: None, .. }]), "{second:?}");
    assert_eq!(said(&run.answer(&second, "user:bob", Verdict::Allow, None)), "hold answer-counted", "one of two");
    // Nor is one that went to the next tier.
    run.now_ns += 301 * SECOND;
    assert_eq!(run.step(Event::Tick).len(), 2);
    let third = run.step(together(1)).remove(0);
    assert!(matches!(&third.effects[..], [Effect::Ask { with: None, tier, .. }] if tier == "both"), "{third:?}");
}

#[test]
fn a_question_has_an_end_and_the_next_begins() {
    let mut run = run(CI);
    run.now_ns = SECOND;
    let firsts: Vec<Option<u64>> = (0..600)
        .map(|n| {
            run.now_ns -= SECOND;
            let action = file("fs.write", &format!("/w/{n}"));
            match &run.step(Event::Together { batch: 1, of: None, action }).remove(0).effects[..] {
                [Effect::Ask { with, .. }] => *with,
                other => panic!("{other:?}"),
            }
        })
        .collect();
    for (n, with) in firsts.iter().enumerate() {
        let first = n as u64 / 256 * 256 + 1;
        assert_eq!(*with, (first != n as u64 + 1).then_some(first), "{n}");
    }
    assert_eq!(run.kernel.registers().asked[0].open, 3);
}
