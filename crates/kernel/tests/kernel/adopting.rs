//! Another charter during a session.

use crate::*;

const MORE: &str = r#"
[facts]
bait = 'once did fs.read(path: "/w/bait")'
[budget.reads]
count = "fs.read"
limit = 3
[envelope.replicas]
of = "deploy.scale.replicas"
step = 2
"#;
const RULES: &str = r#"
@id("after-bait") @owner("dev") @reason("no writes after the bait") forbid (principal, action == Action::"fs.write", resource) when { context.fact.bait };
"#;

struct Told {
    run: Run,
    history: Vec<Past>,
}

impl Told {
    fn new(toml: &str, rules: &str) -> Self {
        Self { run: Run::new(charter(toml, &format!("{ALL}{rules}"))), history: Vec::new() }
    }

    fn step(&mut self, event: Event) -> Vec<Ruling> {
        let rulings = self.run.step(event.clone());
        let input = Input { seq: self.run.seq, at_ns: self.run.now_ns, event };
        self.history.push(Past { input, rulings: rulings.clone() });
        rulings
    }

    fn attempt(&mut self, action: &Action) -> Ruling {
        self.step(Event::Attempt(action.clone())).pop().unwrap()
    }

    fn does(&mut self, action: &Action) -> u64 {
        let of = self.attempt(action).of;
        self.step(Event::Dispatch { of });
        self.step(Event::Outcome { of, ok: true, attrs: [].into() });
        of
    }

    fn adopt(&mut self, toml: &str, rules: &str) {
        self.run.seq += 1;
        let charter = Arc::new(charter(toml, &format!("{ALL}{rules}")));
        self.run.kernel = self.run.kernel.adopted(charter, self.history.clone(), self.run.seq, self.run.now_ns);
    }
}

fn scale(to: i64) -> Action {
    let target = Resource::new(ResourceKind::Target);
    Action::new("deploy.scale", target, Surface::K8s).unwrap().with("replicas", to).unwrap()
}

#[test]
fn what_is_new_knows_the_past() {
    let mut told = Told::new("", "");
    let bait = told.does(&file("fs.read", "/w/bait"));
    told.does(&file("fs.read", "/w/a"));
    told.does(&scale(4));
    let running = told.attempt(&file("fs.read", "/w/b")).of;
    told.step(Event::Dispatch { of: running });
    assert_eq!(said(&told.attempt(&file("fs.write", "/w/a"))), "allow all");
    let before = told.attempt(&file("fs.read", "/w/c"));
    told.step(Event::Withdraw { of: before.of });
    told.adopt(MORE, RULES);

    let refused = told.attempt(&file("fs.write", "/w/a"));
    assert_eq!(said(&refused), "deny after-bait");
    assert_eq!(refused.reasons[0].witnesses, [bait + 1], "the dispatch that made it so");
    assert_ne!(refused.charter, before.charter);
    let registers = told.run.kernel.registers();
    assert_eq!((registers.budgets[0].used, registers.budgets[0].reserved), (3, 1), "what is under way counts");
    assert_eq!(said(&told.attempt(&file("fs.read", "/w/d"))), "deny reads");
    told.step(Event::Outcome { of: running, ok: false, attrs: [].into() });
    assert_eq!(told.run.kernel.registers().budgets[0].used, 2, "what was begun before is settled after");
    assert_eq!(registers.envelopes[0].value, Some(4));
    assert_eq!(told.attempt(&scale(7)).verdict, Verdict::Deny, "a step from where it stands");
    assert_eq!(told.attempt(&scale(6)).verdict, Verdict::Allow);
}

#[test]
fn what_stands_goes_on() {
    let asks = |id: &str, reason: &str| {
        format!(
            "@id(\"{id}\") @owner(\"dev\") @reason(\"{reason}\") @escalate(\"dev\") forbid (principal, action == Action::\"fs.write\", resource);\n"
        )
    };
    let mut told = Told::new("[budget.reads]\ncount = \"fs.read\"\nlimit = 9\n", &asks("ask", "why"));
    told.does(&file("fs.read", "/w/a"));
    let held = told.attempt(&file("fs.write", "/w/a"));
    let other = told.attempt(&file("fs.write", "/w/b"));
    let pause =
        |act: &str| Event::Control { act: act.into(), level: None, by: "user:alice".into(), reason: String::new() };
    told.step(pause("pause"));
    told.adopt(
        "[budget.reads]\ncount = \"fs.read\"\nlimit = 2\n[autonomy]\nask = \"dev\"\nstart = \"observe\"\n",
        &asks("ask", "why"),
    );
    let registers = told.run.kernel.registers();
    assert_eq!((registers.gate.as_str(), registers.budgets[0].used, registers.budgets[0].limit), ("paused", 1, 2));
    assert_eq!(registers.autonomy, "observe", "no higher than where the new charter starts");
    told.step(pause("resume"));
    let level = Event::Control {
        act: "autonomy".into(),
        level: Some("bounded".into()),
        by: "user:alice".into(),
        reason: String::new(),
    };
    told.step(level);
    assert_eq!(said(&told.run.answer(&held, "user:alice", Verdict::Allow, None)), "allow all answered");
    // A rule that says something else by the same name was not what people were asked about.
    told.adopt("", &asks("ask", "because").replace("fs.write\", resource)", "fs.write\", resource) when { true }"));
    assert_eq!(said(&told.run.answer(&other, "user:alice", Verdict::Allow, None)), "hold ask");
    assert_eq!(said(&told.run.answer(&other, "user:alice", Verdict::Allow, None)), "allow all answered");
}

#[test]
fn a_question_whose_tier_is_gone_still_ends() {
    let rules = "@id(\"ask\") @owner(\"dev\") @reason(\"r\") @escalate(\"only\") forbid (principal, action == Action::\"fs.write\", resource);\n";
    let mut told = Told::new("[escalation.only]\nask = \"dev\"\nwithin = \"1m\"\nthen = \"deny\"\n", rules);
    let held = told.attempt(&file("fs.write", "/w/a"));
    told.adopt("", "");
    assert_eq!(said(&told.run.answer(&held, "user:alice", Verdict::Allow, None)), "hold answer-not-asked");
    told.run.now_ns += 60 * SECOND;
    assert_eq!(said(&told.step(Event::Tick)[0]), "deny question-expired");
}

/// Two of three; then one who agreed is not asked any more.
#[test]
fn who_is_not_asked_any_more_does_not_count_any_more() {
    let rule = "@id(\"w\") @owner(\"dev\") @reason(\"two people\") @escalate(\"dev\") forbid (principal, action == Action::\"fs.write\", resource);\n";
    let with = |people: &str| {
        let toml = format!(
            "[charter]\nname = \"t\"\n[owners]\ndev = [{people}]\n[escalation.dev]\nask = \"dev\"\nquorum = 2\nwithin = \"5m\"\nthen = \"deny\"\n"
        );
        let files = [("charter.toml", toml), ("rules.cedar", format!("{ALL}{rule}"))];
        Charter::compile(&Sources::from(files.map(|(name, text)| (name.to_owned(), text)))).unwrap().0
    };
    let mut run = Run::new(with("\"user:alice\", \"user:bob\", \"user:carol\""));
    let held = run.attempt(&file("fs.write", "/w/a"));
    assert_eq!(said(&run.answer(&held, "user:alice", Verdict::Allow, None)), "hold answer-counted");
    run.seq += 1;
    let narrower = Arc::new(with("\"user:bob\", \"user:carol\""));
    run.kernel = run.kernel.adopted(narrower, Vec::new(), run.seq, run.now_ns);
    assert_eq!(said(&run.answer(&held, "user:alice", Verdict::Allow, None)), "hold answer-not-asked");
    let one = run.answer(&held, "user:bob", Verdict::Allow, None);
    assert_eq!(said(&one), "hold answer-counted", "alice is not one of two any more");
    assert!(one.reasons[0].reason.contains("1 of 2"), "{one:?}");
    assert_eq!(said(&run.answer(&held, "user:carol", Verdict::Allow, None)), "allow all answered");
}

const OWED: &str = r#"
[[obligation]]
name = "tell"
reason = "an incident is passed on"
when = 'did incident.open(id: i)'
must = 'did incident.escalate(id: i)'
within = "60s"
owner = "dev"
otherwise = "pause"
"#;

fn incident(verb: &str, id: &str) -> Action {
    let resource = Resource::new(ResourceKind::Incident).with("id", id).unwrap();
    Action::new(verb, resource, Surface::Sdk).unwrap()
}

/// Two incidents, of which one was passed on; then this charter. Gives what is owed: variables, and seconds left.
fn owed_after(was: &str, is: &str) -> (Told, Vec<(String, i64)>) {
    let mut told = Told::new(was, "");
    told.does(&incident("incident.open", "1"));
    told.does(&incident("incident.open", "2"));
    told.does(&incident("incident.escalate", "2"));
    told.run.now_ns += 20 * SECOND;
    told.adopt(is, "");
    let now = told.run.now_ns;
    let left = |at: u64| (i64::try_from(at).unwrap() - i64::try_from(now).unwrap()) / i64::try_from(SECOND).unwrap();
    let owed = told.run.kernel.registers().obligations;
    let owed = owed.into_iter().map(|o| (o.bound, o.deadline_ns.map_or(-1, left))).collect();
    (told, owed)
}

#[test]
fn what_is_owed_stays_owed_by_the_earlier_deadline() {
    let (_, same) = owed_after(OWED, OWED);
    let [(bound, left)] = &same[..] else { panic!("{same:?}") };
    assert_eq!(bound, "i = \"1\"");
    let shorter = owed_after(OWED, &OWED.replace("60s", "45s")).1;
    assert_eq!(shorter, [(bound.clone(), left - 15)]);
    let longer = owed_after(OWED, &OWED.replace("60s", "2h")).1;
    assert_eq!(longer, same, "nobody has more time for what was begun");
    // A time that is over already is missed with the next input.
    let (mut told, _) = owed_after(OWED, &OWED.replace("60s", "5s"));
    told.step(Event::Tick);
    assert_eq!(told.run.kernel.registers().gate, "paused");
}

#[test]
fn an_obligation_of_other_events_is_made_from_the_history() {
    // Writing it down is what counts now: neither was.
    let other = OWED.replace("did incident.escalate(id: i)", "did state.write(key: i)");
    let (mut told, owed) = owed_after(OWED, &other);
    let bounds: Vec<&str> = owed.iter().map(|(bound, _)| bound.as_str()).collect();
    assert_eq!(bounds, ["i = \"1\"", "i = \"2\""]);
    let key = Resource::new(ResourceKind::Key).with("store", "log").unwrap().with("key", "1").unwrap();
    told.does(&Action::new("state.write", key, Surface::Sdk).unwrap());
    assert_eq!(told.run.kernel.registers().obligations.len(), 1);
    // What nobody owed, and whose time is over, is not held against anyone; what was owed is.
    let late = owed_after(OWED, &other.replace("60s", "5s"));
    assert_eq!(late.1.iter().map(|(bound, _)| bound.as_str()).collect::<Vec<_>>(), ["i = \"1\""]);
    // Met already, as it reads now.
    assert_eq!(owed_after(&other, OWED).1.len(), 1);
    // A name of its own begins with the next event.
    assert_eq!(owed_after("", OWED).1, []);
}

#[test]
fn what_was_escalated_is_due_where_there_is_no_question_any_more() {
    let asks = OWED.replace("\"pause\"", "\"escalate:dev\"");
    let mut told = Told::new(&asks, "");
    told.does(&incident("incident.open", "1"));
    told.run.now_ns += 100 * SECOND;
    told.step(Event::Tick);
    let held = told.attempt(&file("fs.write", "/w/a"));
    assert_eq!(said(&held), "hold tell");
    let mut asked = told.run.kernel.clone();
    told.adopt(&OWED.replace("\"pause\"", "\"kill\""), "");
    told.step(Event::Tick);
    assert_eq!(told.run.kernel.registers().gate, "killed");
    // And an answer is for the obligation that its person read.
    std::mem::swap(&mut told.run.kernel, &mut asked);
    told.adopt(&asks.replace("did incident.escalate(id: i)", "did state.write(key: i)"), "");
    assert_eq!(said(&told.run.answer(&held, "user:alice", Verdict::Allow, None)), "hold tell");
}
