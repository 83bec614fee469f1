//! The same inputs give the same bytes: from the start or from snapshots, in another process, under another locale. What a
//! release build says to them is compared by `cargo xtask oracle determinism`.

use crate::*;
use sha2::{Digest, Sha256};
use std::process::Command;

const TOML: &str = r#"
[facts]
green = 'no did fs.write since result process.exec(exit: 0)'
seen = 'once did fs.read(path: $path)'
many = 'count[10s] attempt fs.write >= 3'
joined = 'exists p . (once did fs.read(path: p) and once did fs.write(path: p))'
moved = 'prev[20s] did fs.write'
often = 'count[1m] did fs.read(path: $path)'
exits = 'sum[5m] of exit result process.exec'
running = '(attempt fs.read or attempt fs.write or did fs.read) since[0, 30s] attempt fs.write(path like "**/a*")'
late = 'once[5s, 1m] did fs.write(path: $path)'
[budget.writes]
count = "fs.write"
limit = 4000
warn_at = [0.1, 0.5]
[budget.reads]
count = "fs.read"
limit = 50000
per = "agent"
[envelope.replicas]
of = "deploy.scale.replicas"
min = 0
max = 10
step = 3
per = "1m"
on_breach = "clamp"
[envelope.pods]
of = "deploy.scale.replicas"
max = 9
rate = 5
per = "30s"
on_breach = "escalate:both"
[autonomy]
ask = "dev"
[[autonomy.lower]]
when = "running"
to = "propose"
[[obligation]]
when = 'did fs.write(path: p)'
must = 'did fs.read(path: p)'
within = "20s"
owner = "dev"
otherwise = "rollback"
"#;

const RULES: &str = r#"
@id("a") @owner("dev") @reason("a") @escalate("dev") forbid (principal, action == Action::"fs.write", resource) unless { context.fact.green || context.fact.seen };
@id("b") @owner("dev") @reason("b") @escalate("both") forbid (principal, action == Action::"fs.delete", resource) when { context.fact.many };
@id("c") @owner("dev") @reason("c") forbid (principal, action, resource is File) when { resource.zone == "system" };
@id("d") @owner("dev") @reason("d") @escalate("boss") forbid (principal, action, resource is File) when { resource.name like "*.pem" };
@id("e") @owner("dev") @reason("e") forbid (principal, action == Action::"fs.read", resource) when { context.fact.often > 3 && context.fact.moved };
@id("f") @owner("dev") @reason("f") forbid (principal, action == Action::"process.exec", resource) when { context.fact.exits > 9 || context.fact.late };
@id("g") @owner("dev") @reason("g") permit (principal, action, resource);
"#;

/// A small generator that is the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[usize::try_from(self.roll(of.len() as u64)).unwrap()]
    }

    fn action(&mut self) -> Action {
        match self.roll(10) {
            0 => exec(self.pick(&["cargo", "rm", "git"]), &["x"]),
            1 => Action::new("deploy.scale", Resource::new(ResourceKind::Target), Surface::K8s)
                .unwrap()
                .with("replicas", i64::try_from(self.roll(16)).unwrap() - 2)
                .unwrap(),
            _ => {
                let verb = self.pick(&["fs.read", "fs.read", "fs.write", "fs.write", "fs.delete", "fs.chmod"]);
                let path = self.pick(&["/w/a", "/w/b/c", "/w/b/a1", "/w/k.pem", "/etc/passwd", "/home/u/x", "/w/🦀"]);
                file(verb, path)
            }
        }
    }
}

/// The chain of hashes over all rulings of a long run; the kernel is put down and taken up again at every `every`-th step.
fn chain(steps: u64, every: Option<u64>) -> (String, [u64; 4]) {
    chain_adopting(steps, every, None)
}

/// The same, and at every `adopt`-th step the same charter is adopted anew, from the history.
fn chain_adopting(steps: u64, every: Option<u64>, adopt: Option<u64>) -> (String, [u64; 4]) {
    let mut history: Vec<Past> = Vec::new();
    let charter = Arc::new(charter(TOML, RULES));
    let session = Session { workspace: "/w".into(), home: "/home/u".into(), agent: "claude".into() };
    let mut kernel = Kernel::new(Arc::clone(&charter), session);
    let mut dice = Dice(0x5eed_f1ba_1111_2222);
    let mut head = [0_u8; 32];
    let mut now = 1_700_000_000 * SECOND;
    let (mut held, mut allowed, mut going) = (Vec::<Ruling>::new(), Vec::<u64>::new(), Vec::<u64>::new());
    let mut counts = [0; 4];
    for seq in 1..=steps {
        now += dice.roll(4) * SECOND + dice.roll(3);
        let take = |from: &mut Vec<u64>, dice: &mut Dice| {
            let at = usize::try_from(dice.roll(from.len().max(1) as u64)).unwrap();
            (at < from.len()).then(|| from.swap_remove(at))
        };
        let event = match dice.roll(20) {
            0..=7 => Event::Attempt(dice.action()),
            8..=11 => Event::Dispatch { of: take(&mut allowed, &mut dice).inspect(|of| going.push(*of)).unwrap_or(0) },
            12..=14 => Event::Outcome {
                of: take(&mut going, &mut dice).unwrap_or(0),
                ok: dice.roll(3) > 0,
                attrs: [("exit".to_owned(), Value::Long(i64::try_from(dice.roll(3)).unwrap()))].into(),
            },
            15..=17 if !held.is_empty() => {
                let at = usize::try_from(dice.roll(held.len() as u64)).unwrap();
                let ruling = held[at].clone();
                let verdict = [Verdict::Allow, Verdict::Allow, Verdict::Modify, Verdict::Deny]
                    [usize::try_from(dice.roll(4)).unwrap()];
                Event::Answer {
                    of: ruling.of,
                    action: ruling.action.into(),
                    verdict,
                    with: (verdict == Verdict::Modify).then(|| Box::new(dice.action())),
                    by: dice.pick(&["user:alice", "user:bob", "user:carol", "claude"]).to_owned(),
                    reason: "r".into(),
                }
            }
            18 if dice.roll(4) == 0 => Event::Withdraw { of: take(&mut allowed, &mut dice).unwrap_or(0) },
            18 => Event::Control {
                act: dice.pick(&["resume", "resume", "pause", "autonomy"]).to_owned(),
                level: Some("bounded".into()),
                by: "user:alice".into(),
                reason: String::new(),
            },
            _ => Event::Tick,
        };
        let input = Input { seq, at_ns: now, event };
        let rulings = kernel.step(&input);
        if adopt.is_some() {
            history.push(Past { input, rulings: rulings.clone() });
        }
        for ruling in rulings {
            let bytes = serde_json::to_vec(&ruling).unwrap();
            head = Sha256::new().chain_update(head).chain_update(&bytes).finalize().into();
            held.retain(|h| h.of != ruling.of);
            counts[ruling.verdict as usize] += 1;
            match ruling.verdict {
                Verdict::Hold => held.push(ruling),
                Verdict::Allow | Verdict::Modify => allowed.push(ruling.of),
                Verdict::Deny => {}
            }
        }
        if adopt.is_some_and(|adopt| seq % adopt == 0) {
            kernel = kernel.adopted(Arc::clone(&charter), history.iter().cloned(), seq, now);
        }
        if every.is_some_and(|every| seq % every == 0) {
            let bytes = kernel.snapshot();
            kernel = Kernel::restore(Arc::clone(&charter), &bytes).unwrap();
            assert_eq!(kernel.snapshot(), bytes, "the same state has the same bytes");
        }
    }
    let head = head.iter().map(|b| format!("{b:02x}")).collect();
    (head, counts)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn snapshots_do_not_change_the_chain() {
    let (from_the_start, counts) = chain(1_500, None);
    assert!(counts.iter().all(|n| *n > 2), "every verdict occurs: {counts:?}");
    for every in [1, 7, 64] {
        assert_eq!(chain(1_500, Some(every)).0, from_the_start, "a snapshot at every {every}-th step");
    }
}

#[test]
fn adopting_the_same_charter_changes_nothing() {
    assert_eq!(chain_adopting(600, None, Some(50)).0, chain(600, None).0);
}

/// Run by the others here in processes of their own.
#[test]
#[ignore = "prints the head for the tests that compare it"]
fn head() {
    println!("\nhead {}", chain(number("FLYBALL_CHAIN_STEPS").unwrap_or(1_500), number("FLYBALL_CHAIN_EVERY")).0);
}

#[test]
fn other_processes_give_the_same_chain() {
    let there = |every: &str, locale: &str, zone: &str| {
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "determinism::head", "--ignored", "--nocapture"])
            .env("FLYBALL_CHAIN_STEPS", "1500")
            .env("FLYBALL_CHAIN_EVERY", every)
            .envs([("LC_ALL", locale), ("LANG", locale), ("TZ", zone)])
            .output()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        text.lines().find_map(|l| l.strip_prefix("head ")).map(str::to_owned).unwrap_or_else(|| panic!("{text}"))
    };
    let here = chain(1_500, None).0;
    assert_eq!(there("", "C", "UTC"), here);
    assert_eq!(there("13", "tr_TR.UTF-8", "Pacific/Kiritimati"), here);
}

#[test]
fn a_snapshot_of_another_version_or_charter_is_refused() {
    let mut run = Run::new(charter(TOML, RULES));
    run.does(&file("fs.read", "/w/a"));
    let bytes = run.kernel.snapshot();
    let restore = |toml: &str, bytes: &[u8]| Kernel::restore(Arc::new(charter(toml, RULES)), bytes).map(|_| ());
    assert_eq!(restore(TOML, &bytes), Ok(()));
    let other = restore(&format!("{TOML}\n[env]\npass = [\"X\"]\n"), &bytes).unwrap_err();
    assert_eq!(other.code(), "FB0171", "{other}");
    let text = String::from_utf8(bytes.clone()).unwrap();
    let older = restore(TOML, text.replacen("{\"version\":2,", "{\"version\":1,", 1).as_bytes()).unwrap_err();
    assert_eq!(older.code(), "FB0170", "{older}");
    for end in (0..bytes.len()).step_by(7) {
        assert_eq!(restore_cut(&bytes[..end]), "FB0172");
    }
    let more = text.replacen("\"gate\"", "\"extra\":1,\"gate\"", 1);
    assert_eq!(restore(TOML, more.as_bytes()).unwrap_err().code(), "FB0172");
    let foreign = text.replacen("\"green\":{", "\"blue\":{", 1);
    assert_ne!(foreign, text);
    assert_eq!(restore(TOML, foreign.as_bytes()).unwrap_err().code(), "FB0172");
}

fn restore_cut(bytes: &[u8]) -> &'static str {
    static ONE: std::sync::OnceLock<Arc<Charter>> = std::sync::OnceLock::new();
    let charter = ONE.get_or_init(|| Arc::new(charter(TOML, RULES)));
    Kernel::restore(Arc::clone(charter), bytes).unwrap_err().code()
}
