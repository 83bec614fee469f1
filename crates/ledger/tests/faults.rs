//! The store on a disk that fails, or that forgets what was not synced.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use flyball_ledger::{Draft, Filter, Kind, Ledger, LedgerError};
use flyball_testkit::faultfs::{self, Op};
use serde_json::json;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Entries that a child appends; every third is waited for (in the tree or in what stands for it), every fifth names a blob, every
/// fourth content in a file.
const ENTRIES: u64 = 24;

fn filed(n: u64) -> Vec<u8> {
    format!("content {n} in a file of its own, ").repeat(200).into_bytes()
}

fn draft(n: u64) -> Draft {
    let kind = if n == 1 { Kind::Open } else { Kind::Attempt };
    Draft { at_ns: n, kind, actor: "child".into(), cause: vec![], body: json!({"n": n, "pad": "x".repeat(200)}) }
}

#[test]
#[ignore = "the others' child process"]
fn child() {
    let Some(dir) = std::env::var_os("LEDGER_DIR") else { return };
    let say = |line: String| {
        let mut out = std::io::stdout();
        writeln!(out, "\n{line}").and_then(|()| out.flush()).unwrap();
    };
    let ledger = match Ledger::open(Path::new(&dir)) {
        Ok(ledger) => ledger,
        Err(error) => return say(format!("not opened {} {error}", error.code())),
    };
    let done = (|| -> Result<(), LedgerError> {
        let stream = ledger.stream("s")?;
        let first = stream.last_seq() + 1;
        for n in first..first + ENTRIES {
            let mut draft = draft(n);
            if n % 5 == 0 {
                draft.body["payload"] = ledger.payload(&vec![n as u8; 9_000])?;
            }
            if n % 4 == 0 {
                let mut content = ledger.begin_content()?;
                content.add(&filed(n))?;
                draft.body["filed"] = content.store_payload(None)?;
            }
            stream.append(draft)?;
            if n % 3 == 0 {
                if n % 2 == 0 {
                    stream.durable(n)?
                } else {
                    stream.on_disk(n)?
                }
                say(format!("durable {n}"));
            }
        }
        stream.flush()?;
        say(format!("durable {}", stream.last_seq()));
        if std::env::var_os("LEDGER_ERASES").is_some() {
            for seq in [4, 12] {
                ledger.erase(&stream, seq, "user:ann", "asked", 1_000)?;
                say(format!("erased {seq}"));
            }
        }
        Ok(())
    })();
    if let Err(error) = done {
        say(format!("error {} {error}", error.code()));
        // From the first failure on, nothing is taken any more.
        if matches!(error, LedgerError::Stopped { .. }) {
            assert!(matches!(ledger.put_blob(&[1; 10_000]), Err(LedgerError::Stopped { .. })));
            assert!(matches!(ledger.flush(), Err(LedgerError::Stopped { .. })));
        }
    }
}

/// A place with the layer built; says why there is none.
struct Bench {
    _folder: tempfile::TempDir,
    library: PathBuf,
    root: PathBuf,
    log: PathBuf,
}

impl Bench {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().canonicalize().unwrap();
        match faultfs::library(&at) {
            Ok(library) => Some(Self { root: at.join("root"), log: at.join("log"), library, _folder: folder }),
            Err(why) => {
                let _ = writeln!(std::io::stderr(), "skipped: {why}");
                None
            }
        }
    }

    /// Runs the child in the layer, on a ledger in `root/ledger`.
    fn run(&self, fail: Option<&str>) -> Output {
        self.run_with(fail, |_| {})
    }

    fn run_with(&self, fail: Option<&str>, set: impl FnOnce(&mut Command)) -> Output {
        std::fs::create_dir_all(&self.root).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "child", "--nocapture", "--test-threads=1"]);
        command.env("LEDGER_DIR", self.root.join("ledger"));
        set(&mut command);
        faultfs::wrap(&mut command, &self.library, &self.root, &self.log, fail);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{fail:?}: {output:?}");
        output
    }

    fn ops(&self) -> Vec<Op> {
        faultfs::read(&self.log).unwrap()
    }

    fn clear(&self) {
        let _ = std::fs::remove_dir_all(&self.root);
        let _ = std::fs::remove_file(&self.log);
    }
}

/// The last entry that was said to be durable in what was told.
fn acknowledged<'a>(told: impl Iterator<Item = &'a str>) -> u64 {
    told.flat_map(str::lines).filter_map(|l| l.strip_prefix("durable ")?.trim().parse().ok()).max().unwrap_or(0)
}

fn told(ops: &[Op]) -> impl Iterator<Item = &str> {
    ops.iter().filter_map(|op| if let Op::Told(text) = op { Some(text.as_str()) } else { None })
}

/// What the ledger must hold: all of `acknowledged`, and a whole, verified prefix of the stream.
#[track_caller]
fn holds(dir: &Path, acknowledged: u64, what: &str) {
    if acknowledged == 0 && !dir.exists() {
        return;
    }
    let ledger = match Ledger::open(dir) {
        Ok(ledger) => ledger,
        Err(error) => panic!("{what}: {acknowledged} acknowledged, and it does not open: {error}"),
    };
    let report = ledger.verify(None).unwrap();
    assert!(report.ok, "{what}: {:#?}", report.problems);
    let mut last = 0;
    if !ledger.streams().unwrap().is_empty() {
        for entry in ledger.entries("s", .., Filter::default()).unwrap() {
            let entry = entry.unwrap();
            last += 1;
            assert_eq!((entry.seq, &entry.body["n"]), (last, &json!(last)), "{what}");
            if let Some(payload) = entry.body.get("payload") {
                assert_eq!(ledger.payload_bytes(payload).unwrap(), vec![last as u8; 9_000], "{what}");
            }
            if let Some(content) = entry.body.get("filed") {
                assert_eq!(ledger.payload_bytes(content).unwrap(), filed(last), "{what}");
            }
        }
    }
    assert!(last >= acknowledged, "{what}: {acknowledged} acknowledged, {last} there");
}

#[test]
fn each_failing_call_stops_the_store_and_loses_nothing_acknowledged() {
    let Some(bench) = Bench::new() else { return };
    let mut stopped = 0;
    for (kind, errno, most) in [
        ("sync", 5, 60),
        ("write", 28, 120),
        ("write", 5, 120),
        ("create", 28, 24),
        ("rename", 5, 8),
        ("truncate", 5, 3),
        ("unlink", 5, 4),
    ] {
        for tail in ["", ":for-good"] {
            let mut n = 1;
            while n <= most {
                bench.clear();
                let what = format!("{kind}:{n}:{errno}{tail}");
                let output = bench.run(Some(&what));
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let ops = bench.ops();
                let Some(failed) = ops.iter().position(|op| matches!(op, Op::Failed(..))) else { break };
                if text.contains("error FB0314") {
                    stopped += 1;
                    // Nothing of the store is written or synced again: a second try can succeed for what is lost.
                    // (What is in flight stands in a file of its own: a commit that is under way then comes to its own end.)
                    let Op::Failed(_, path) = &ops[failed] else { unreachable!() };
                    let of = if path.to_string_lossy().contains("inflight") { "inflight" } else { "ledger.db" };
                    let again = ops[failed + 1..].iter().find(|op| match op {
                        Op::Write(path, ..) | Op::Sync(path) => path.to_string_lossy().contains(of),
                        _ => false,
                    });
                    assert!(again.is_none(), "{what}: after the failure: {again:?}\n{text}");
                }
                holds(&bench.root.join("ledger"), acknowledged(text.lines()), &what);
                // The first are each another step of the making; later ones are alike.
                n += if n < 20 { 1 } else { 7 };
            }
        }
    }
    assert!(stopped > 20, "{stopped}");
}

/// What was erased by our word is nowhere, whatever fails or forgets; before that it is there whole, or its erasure is on record.
#[track_caller]
fn is_erased(dir: &Path, erased: &[u64], what: &str) {
    let ledger = match Ledger::open(dir) {
        Ok(ledger) => ledger,
        Err(error) => panic!("{what}: {error}"),
    };
    let report = ledger.verify(None).unwrap();
    assert!(report.ok, "{what}: {:#?}", report.problems);
    let there = |seq: u64| dir.join("blobs").join(flyball_ledger::Digest::of(&filed(seq)).to_hex()).exists();
    for seq in erased {
        assert!(report.erased.iter().any(|erased| erased.seq == *seq) && !there(*seq), "{what}: {seq}");
    }
    for gone in report.erased {
        let entry = ledger.entry("s", gone.seq).unwrap();
        let read = ledger.payload_bytes(&entry.body["filed"]);
        // Recorded and not done yet: asked for again, it is.
        if let Ok(bytes) = read {
            assert_eq!(bytes, filed(gone.seq), "{what}");
            ledger.erase(&ledger.stream("s").unwrap(), gone.seq, "user:ann", "again", 2_000).unwrap();
        }
        assert!(!there(gone.seq), "{what}: {}", gone.seq);
    }
    if dir.join("blobs/coming").exists() {
        assert_eq!(std::fs::read_dir(dir.join("blobs/coming")).unwrap().count(), 0, "{what}");
    }
}

fn erased<'a>(told: impl Iterator<Item = &'a str>) -> Vec<u64> {
    told.flat_map(str::lines).filter_map(|line| line.strip_prefix("erased ")?.trim().parse().ok()).collect()
}

#[test]
fn an_erasure_that_fails_or_forgets_on_its_way_is_done_or_said_not_to_be() {
    let Some(bench) = Bench::new() else { return };
    let erases = |command: &mut Command| _ = command.env("LEDGER_ERASES", "1");
    bench.run_with(None, erases);
    let ops = bench.ops();
    assert_eq!(erased(told(&ops)), [4, 12]);
    let first = ops.iter().position(|op| matches!(op, Op::Told(text) if text.contains("durable 24"))).unwrap();
    let seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    let mut random = dice(seed);
    for upto in first..=ops.len() {
        let folder = tempfile::tempdir().unwrap();
        faultfs::power_loss(&ops, upto, &bench.root, folder.path(), &mut random).unwrap();
        let erased = erased(told(&ops[..upto]));
        is_erased(&folder.path().join("ledger"), &erased, &format!("cut at {upto} of {}", ops.len()));
    }
    let unlinks = |ops: &[Op]| ops.iter().filter(|op| matches!(op, Op::Unlink(_))).count();
    for n in unlinks(&ops[..first]) + 1..=unlinks(&ops) {
        bench.clear();
        let what = format!("unlink:{n}:5");
        let output = bench.run_with(Some(&what), erases);
        let erased = erased(String::from_utf8_lossy(&output.stdout).lines());
        is_erased(&bench.root.join("ledger"), &erased, &what);
    }
}

fn dice(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |n| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n.max(1)
    }
}

/// Cuts the power at many points of a log; what was acknowledged before each must be there.
fn cut_everywhere(bench: &Bench, cuts: u64, random: &mut dyn FnMut(u64) -> u64) {
    let ops = bench.ops();
    for cut in 0..cuts {
        let upto = usize::try_from(random(ops.len() as u64 + 1)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        faultfs::power_loss(&ops, upto, &bench.root, folder.path(), random).unwrap();
        let acknowledged = acknowledged(told(&ops[..upto]));
        holds(&folder.path().join("ledger"), acknowledged, &format!("cut {cut} at {upto} of {}", ops.len()));
    }
}

#[test]
fn a_power_loss_at_any_moment_loses_nothing_acknowledged() {
    let Some(bench) = Bench::new() else { return };
    let seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    bench.run(None);
    bench.run(None);
    cut_everywhere(&bench, 120, &mut dice(seed));
}

#[test]
fn what_a_failed_sync_forgot_is_not_built_upon_by_the_next_start() {
    let Some(bench) = Bench::new() else { return };
    let seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    let mut random = dice(seed);
    let mut mended = 0;
    for n in [1, 2, 3, 4, 6, 8, 9, 11, 12] {
        bench.clear();
        bench.run(None);
        let output = bench.run(Some(&format!("sync:{n}:5")));
        mended += u32::from(String::from_utf8_lossy(&output.stdout).contains("error FB0314"));
        // Starts anew on what the operating system still shows, and says of it that it is durable.
        bench.run(None);
        cut_everywhere(&bench, 40, &mut random);
    }
    assert!(mended > 1, "{mended}");
}
