//! Laws: the same inputs give the same bytes, and nothing that anybody writes makes the kernel panic.

use crate::*;
use proptest::prelude::*;

const TOML: &str = r#"
[facts]
green = 'no did fs.write since result process.exec(exit: 0)'
seen = 'once did fs.read(path: $path)'
many = 'count[10s] attempt fs.write >= 3'
joined = 'exists p . (once did fs.read(path: p) and once did fs.write(path: p))'
[budget.writes]
count = "fs.write"
limit = 20
warn_at = 0.5
[envelope.replicas]
of = "deploy.scale.replicas"
min = 0
max = 10
step = 3
on_breach = "clamp"
[autonomy]
ask = "dev"
[[autonomy.lower]]
when = "joined"
to = "propose"
"#;

const RULES: &str = r#"
@id("a") @owner("dev") @reason("a") forbid (principal, action == Action::"fs.write", resource) unless { context.fact.green || context.fact.seen };
@id("b") @owner("dev") @reason("b") @escalate("both") forbid (principal, action == Action::"fs.delete", resource) when { context.fact.many };
@id("c") @owner("dev") @reason("c") forbid (principal, action, resource is File) when { resource.zone == "system" };
@id("d") @owner("dev") @reason("d") forbid (principal, action, resource is File) when { resource.name like "*.pem" };
@id("e") @owner("dev") @reason("e") permit (principal, action == Action::"fs.read", resource);
@id("f") @owner("dev") @reason("f") permit (principal, action in Action::"fs", resource);
"#;

fn action() -> impl Strategy<Value = Action> {
    let path = prop::sample::select(vec![
        "/w/a",
        "/w/b/c",
        "/w/k.pem",
        "/etc/passwd",
        "/home/u/.ssh/id",
        "",
        "/",
        "/w/../x",
        "🦀",
    ]);
    let verb = prop::sample::select(vec!["fs.read", "fs.write", "fs.delete", "fs.chmod"]);
    let files = (verb, path).prop_map(|(verb, path)| file(verb, path));
    let programs = prop::sample::select(vec!["cargo", "rm", ""]).prop_map(|p| exec(p, &["test"]));
    let scales = prop_oneof![any::<i64>(), -5..20i64].prop_map(|n| {
        Action::new("deploy.scale", Resource::new(ResourceKind::Target), Surface::K8s)
            .unwrap()
            .with("replicas", n)
            .unwrap()
    });
    prop_oneof![6 => files, 2 => programs, 1 => scales]
}

fn event() -> impl Strategy<Value = Event> {
    let of = || 0..40u64;
    let who = prop::sample::select(vec!["user:alice", "user:bob", "user:carol", "claude", ""]);
    let verdict = prop::sample::select(vec![Verdict::Allow, Verdict::Deny, Verdict::Modify, Verdict::Hold]);
    let act = prop::sample::select(vec!["pause", "resume", "autonomy", "nonsense"]);
    let level =
        prop::sample::select(vec![None, Some("observe".to_owned()), Some("extended".to_owned()), Some("?".to_owned())]);
    prop_oneof![
        8 => action().prop_map(Event::Attempt),
        2 => (of(), action()).prop_map(|(of, action)| Event::Expected { of, action }),
        3 => (of(), prop::option::of(of()), action()).prop_map(|(batch, of, action)| Event::Together { batch, of, action }),
        4 => of().prop_map(|of| Event::Dispatch { of }),
        3 => (of(), any::<bool>(), any::<i64>()).prop_map(|(of, ok, n)| Event::Outcome {
            of, ok, attrs: [("exit".to_owned(), Value::Long(n)), ("bytes".to_owned(), "x".into())].into(),
        }),
        1 => of().prop_map(|of| Event::Withdraw { of }),
        2 => (of(), action(), verdict, who, any::<bool>()).prop_map(|(of, action, verdict, by, with)| Event::Answer {
            of, action: action.digest(), verdict, with: with.then(|| Box::new(action)), by: by.to_owned(), reason: "r".into(),
        }),
        1 => (act, level).prop_map(|(act, level)| Event::Control {
            act: act.to_owned(), level, by: "user:alice".into(), reason: String::new(),
        }),
        1 => Just(Event::Tick),
    ]
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    prop::collection::vec(
        (event(), 0..3u64, prop_oneof![9 => 0..400 * SECOND, 1 => any::<u64>()], any::<bool>()),
        1..40,
    )
    .prop_map(|steps| {
        let (mut seq, mut now) = (0, 0u64);
        let mut out = Vec::new();
        for (event, skip, later, backwards) in steps {
            seq += skip;
            now = if backwards && later % 7 == 0 { now.saturating_sub(later) } else { now.saturating_add(later) };
            out.push(Input { seq, at_ns: now, event });
        }
        out
    })
}

fn rulings(charter: &Arc<Charter>, inputs: &[Input]) -> Vec<u8> {
    let session = Session { workspace: "/w".into(), home: "/home/u".into(), agent: "claude".into() };
    let mut kernel = Kernel::new(Arc::clone(charter), session);
    let mut bytes = Vec::new();
    for input in inputs {
        let rulings = kernel.step(input);
        // On top of its own ruling, those on questions that nobody answered in time.
        let own = usize::from(input.event.is_ruled_on());
        assert!(rulings.len() >= own);
        let late = &rulings[..rulings.len() - own];
        assert!(late.iter().all(|r| matches!(r.reasons[0].rule.as_str(), "question-escalated" | "question-expired")));
        for ruling in &rulings {
            assert_eq!(ruling.verdict == Verdict::Modify, ruling.modified.is_some());
            assert!(!ruling.reasons.is_empty(), "every ruling says why: {ruling:?}");
            assert!(ruling.reasons.is_sorted());
            bytes.extend(serde_json::to_vec(ruling).unwrap());
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn same_inputs_same_bytes(inputs in inputs()) {
        // Each compilation has hash tables with seeds of its own: another process in miniature.
        static TWO: std::sync::OnceLock<(Arc<Charter>, Arc<Charter>)> = std::sync::OnceLock::new();
        let (one, other) = TWO.get_or_init(|| {
            let make = || Arc::new(charter(TOML, RULES));
            (make(), make())
        });
        prop_assert_eq!(one.digest(), other.digest());
        let first = rulings(one, &inputs);
        prop_assert_eq!(&first, &rulings(other, &inputs));
        // Serialised and read back, an input is the same input.
        let again: Vec<Input> = serde_json::from_slice(&serde_json::to_vec(&inputs).unwrap()).unwrap();
        prop_assert_eq!(&first, &rulings(one, &again));
    }

    #[test]
    fn a_restored_kernel_rules_the_same(inputs in inputs()) {
        static ONE: std::sync::OnceLock<Arc<Charter>> = std::sync::OnceLock::new();
        let charter = ONE.get_or_init(|| Arc::new(charter(TOML, RULES)));
        let session = Session { workspace: "/w".into(), home: "/home/u".into(), agent: "claude".into() };
        let mut kernel = Kernel::new(Arc::clone(charter), session);
        for input in &inputs {
            let bytes = kernel.snapshot();
            let mut restored = Kernel::restore(Arc::clone(charter), &bytes).unwrap();
            prop_assert_eq!(&restored.snapshot(), &bytes);
            prop_assert_eq!(restored.step(input), kernel.step(input));
        }
    }

    #[test]
    fn no_toml_panics(text in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..30)) {
        let text = text.join("");
        let _ = Charter::compile(&Sources::from([("charter.toml".to_owned(), text)]));
    }

    #[test]
    fn no_text_panics(toml in ".{0,60}", cedar in ".{0,60}") {
        let files = Sources::from([("charter.toml".to_owned(), toml), ("a.cedar".to_owned(), cedar)]);
        let _ = Charter::compile(&files);
    }
}

/// Pieces that make TOML likely enough to get somewhere.
const PIECES: &[&str] = &[
    "[charter]\n",
    "name = 'x'\n",
    "default = 'maybe'\n",
    "[owners]\n",
    "a = ['b', 1]\n",
    "a = 'b'\n",
    "[facts]\n",
    "f = 'once did fs.read'\n",
    "g = 'count[99999999999999h] f'\n",
    "h = \"not (((\"\n",
    "h = 'f since g'\n",
    "k = { is = 'h', keys_max = 0 }\n",
    "[escalation.x]\n",
    "ask = 'a'\n",
    "then = 'x'\n",
    "within = '0'\n",
    "quorum = 99999999999\n",
    "[[example]]\n",
    "attempt = 'fs.read(path: 1)'\n",
    "expect = 'deny'\n",
    "given = ['wait 1s', 1]\n",
    "[budget.b]\n",
    "sum = 'model.call'\n",
    "limit = -1\n",
    "warn_at = [2.0, 'x']\n",
    "[envelope.e]\n",
    "of = '.'\n",
    "min = 5\n",
    "max = 1\n",
    "[limits]\n",
    "memory = '🦀'\n",
    "cpu = 0\n",
    "[autonomy]\n",
    "levels = ['extended', 'observe']\n",
    "\n",
    "=",
    "[",
    "'",
];
