//! Several processes on one ledger, killed ones, full disks, and ledgers that must be refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use flyball_ledger::{Draft, Filter, Kind, Ledger, LedgerError};
use rusqlite::Connection;
use serde_json::json;
use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::{Child, Command, Stdio},
};

fn draft(n: u64) -> Draft {
    let kind = if n == 1 { Kind::Open } else { Kind::Attempt };
    let body = json!({"n": n, "pad": "x".repeat(300)});
    Draft { at_ns: n, kind, actor: "child".into(), cause: vec![], body }
}

/// This test binary again, as `child`, on the ledger in `dir`.
fn spawn(dir: &Path, stream: &str, count: u64, shell: Option<&str>) -> Child {
    let me = std::env::current_exe().unwrap();
    let mut command = match shell {
        None => Command::new(me),
        Some(before) => {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("{before}; exec \"$0\" \"$@\"")]).arg(me);
            command
        }
    };
    command.args(["--ignored", "--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env("LEDGER_DIR", dir).env("LEDGER_STREAM", stream).env("LEDGER_COUNT", count.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
}

#[test]
#[ignore = "the others' child process"]
fn child() {
    let (Some(dir), Ok(id)) = (std::env::var_os("LEDGER_DIR"), std::env::var("LEDGER_STREAM")) else { return };
    let count: u64 = std::env::var("LEDGER_COUNT").unwrap().parse().unwrap();
    let say = |line: String| {
        // Past the test harness's own output, and at once.
        let mut out = std::io::stdout();
        writeln!(out, "\n{line}").and_then(|()| out.flush()).unwrap();
    };
    let ledger = Ledger::open(Path::new(&dir)).unwrap();
    let stream = ledger.stream(&id).unwrap();
    let first = stream.last_seq() + 1;
    say(format!("at {}", first - 1));
    for n in first..first + count {
        let mut draft = draft(n);
        if n % 7 == 0 {
            draft.body["payload"] = ledger.payload(&vec![n as u8; 20_000]).unwrap_or_default();
        }
        let appended = match n % 3 {
            // Queued with the next one.
            2 => stream.stage(draft.at_ns, draft.kind, &draft.actor, &draft.cause, &draft.body),
            _ => stream.append(draft.clone()),
        };
        let done = appended.and_then(|seq| {
            assert_eq!(seq, n);
            match n % 3 {
                0 => stream.durable(seq).map(|()| say(format!("durable {seq}"))),
                1 => {
                    say(format!("appended {seq}"));
                    Ok(())
                }
                _ => Ok(()),
            }
        });
        if let Err(error) = done {
            say(format!("error {} {error}", error.code()));
            // From the first failure on, nothing is taken any more.
            for _ in 0..3 {
                assert!(matches!(stream.append(draft.clone()), Err(LedgerError::Stopped { .. })));
                assert!(matches!(ledger.put_blob(&[1; 10_000]), Err(LedgerError::Stopped { .. })));
            }
            say("stopped".into());
            return;
        }
    }
    stream.flush().unwrap();
    say(format!("durable {}", stream.last_seq()));
}

/// What the ledger must hold now: all of `acknowledged`, and a whole, verified prefix of the stream.
#[track_caller]
fn holds(dir: &Path, stream: &str, acknowledged: u64) -> u64 {
    let ledger = Ledger::open(dir).unwrap();
    let report = ledger.verify(None).unwrap();
    assert!(report.ok, "{:#?}", report.problems);
    if acknowledged == 0 && ledger.streams().unwrap().is_empty() {
        return 0;
    }
    let mut last = 0;
    for entry in ledger.entries(stream, .., Filter::default()).unwrap() {
        let entry = entry.unwrap();
        last += 1;
        assert_eq!((entry.seq, &entry.body["n"]), (last, &json!(last)));
        if let Some(payload) = entry.body.get("payload") {
            assert_eq!(ledger.payload_bytes(payload).unwrap(), vec![last as u8; 20_000]);
        }
    }
    assert!(last >= acknowledged, "{acknowledged} acknowledged, {last} there");
    last
}

#[test]
fn killed_at_any_moment_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut seed = u64::from(std::process::id()) << 20 | 1;
    eprintln!("seed {seed}");
    let mut last = 0;
    for round in 0..20 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let lines = (seed >> 33) % 40;
        let mut child = spawn(dir.path(), "s", 1_000_000, None);
        let mut acknowledged = last;
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in output.by_ref().map(Result::unwrap) {
            if let Some(n) = line.strip_prefix("at ") {
                assert_eq!(n.parse::<u64>().unwrap(), last, "round {round}");
            }
            // What was appended outlives its process, durable or not.
            if let Some(n) = line.strip_prefix("durable ").or_else(|| line.strip_prefix("appended ")) {
                acknowledged = n.parse().unwrap();
                seen += 1;
            }
            if seen >= lines && seen > 0 {
                break;
            }
        }
        child.kill().unwrap();
        // What it said before it died counts too.
        for line in output.map_while(Result::ok) {
            if let Some(n) = line.strip_prefix("durable ").and_then(|n| n.parse().ok()) {
                acknowledged = acknowledged.max(n);
            }
        }
        child.wait().unwrap();
        last = holds(dir.path(), "s", acknowledged);
    }
    assert!(last > 20, "{last}");
}

#[test]
fn several_processes_and_threads_share_a_ledger() {
    let dir = tempfile::tempdir().unwrap();
    // Also the making of the ledger and its key is a race.
    let children: Vec<_> = (0..3).map(|n| spawn(dir.path(), &format!("p{n}"), 200, None)).collect();
    let threads: Vec<_> = (0..3)
        .map(|t| {
            let dir = dir.path().to_owned();
            std::thread::spawn(move || {
                let ledger = Ledger::open(&dir).unwrap();
                let streams: Vec<_> = (0..4).map(|s| ledger.stream(&format!("t{t}-{s}")).unwrap()).collect();
                std::thread::scope(|scope| {
                    for stream in &streams {
                        scope.spawn(move || {
                            for n in 1..=60 {
                                let seq = stream.append(draft(n)).unwrap();
                                if n % 5 == 0 {
                                    stream.durable(seq).unwrap();
                                }
                            }
                        });
                    }
                });
            })
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("durable 200"), "{text}");
    }
    threads.into_iter().for_each(|t| t.join().unwrap());
    let ledger = Ledger::open_read(dir.path()).unwrap();
    let report = ledger.verify(None).unwrap();
    assert!(report.ok, "{:#?}", report.problems);
    assert_eq!(report.entries, 3 * 200 + 3 * 4 * 60);
    let mut streams = ledger.streams().unwrap();
    streams.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(streams.len(), 15);
    assert!(streams.iter().all(|s| s.last_seq == if s.id.starts_with('p') { 200 } else { 60 } && !s.is_owned));
}

#[test]
fn a_stream_has_one_owner_across_processes() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = spawn(dir.path(), "s", 1_000_000, None);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.by_ref().find(|line| line.starts_with("durable ")).unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    assert!(ledger.is_owned("s"));
    assert!(matches!(ledger.stream("s"), Err(LedgerError::StreamOwned(_))));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!ledger.is_owned("s"));
    let stream = ledger.stream("s").unwrap();
    let next = stream.last_seq() + 1;
    assert_eq!(stream.append(draft(next)).unwrap(), next);
}

#[test]
fn a_failing_disk_stops_the_store_and_keeps_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    drop(Ledger::open(dir.path()).unwrap());
    // Writes beyond 600 KiB of any file fail from here on, in the child only.
    let child = spawn(dir.path(), "s", 1_000_000, Some("trap '' XFSZ; ulimit -f 1200"));
    let output = child.wait_with_output().unwrap();
    failed_and_kept(dir.path(), &output);
}

#[test]
fn a_full_disk_stops_the_store_and_keeps_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mount) = Tmpfs::mount(dir.path()) else { return };
    let child = spawn(dir.path(), "s", 1_000_000, None);
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("FB0304"), "{output:?}");
    failed_and_kept(dir.path(), &output);
    mount.run("remount,ro");
    let refused = Ledger::open(dir.path()).err().expect("a read-only place must be refused");
    assert_eq!(refused.code(), "FB0303", "{refused}");
    assert!(refused.to_string().contains(&*dir.path().to_string_lossy()));
}

/// What is too long for the disk is refused before anything relies on it: the store itself goes on.
#[test]
fn long_content_that_fills_the_disk_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_mount) = Tmpfs::mount(dir.path()) else { return };
    let ledger = Ledger::open(dir.path()).unwrap();
    let stream = ledger.stream("s").unwrap();
    stream.durable(stream.append(draft(1)).unwrap()).unwrap();
    for _ in 0..2 {
        let mut content = ledger.begin_content().unwrap();
        let error = (0..64).find_map(|_| content.add(&[7; 100_000]).err()).unwrap();
        assert_eq!(error.code(), "FB0304", "{error}");
        drop(content);
        let error = ledger.put_blob_from(std::io::Read::take(std::io::repeat(7), 6 << 20)).unwrap_err();
        assert_eq!(error.code(), "FB0304", "{error}");
    }
    assert_eq!(std::fs::read_dir(dir.path().join("blobs/coming")).unwrap().count(), 0);
    stream.durable(stream.append(draft(2)).unwrap()).unwrap();
    assert!(ledger.verify(None).unwrap().ok);
}

fn failed_and_kept(dir: &Path, output: &std::process::Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("\nerror FB") && text.contains("\nstopped"), "{text}");
    let acknowledged = text.lines().filter_map(|l| l.strip_prefix("durable ")?.parse().ok()).max().unwrap();
    assert!(acknowledged > 10, "{text}");
    let ledger = Ledger::open_read(dir).unwrap();
    let report = ledger.verify(None).unwrap();
    assert!(report.ok && report.entries >= acknowledged, "{acknowledged} {report:#?}");
}

struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(dir: &'a Path) -> Option<Self> {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs"]).arg(dir).stderr(Stdio::null());
        if command.status().is_ok_and(|status| status.success()) {
            return Some(Self(dir));
        }
        // Past the test harness, which keeps what passing tests print to itself.
        let _ = writeln!(std::io::stderr(), "skipped: this user cannot mount a small file system to fill");
        None
    }

    fn run(&self, options: &str) {
        assert!(Command::new("mount").args(["-o", options]).arg(self.0).status().unwrap().success());
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn what_is_no_usable_ledger_is_refused_and_left_alone() {
    type Damage = fn(&Path);
    let cases: [(&str, &str, Damage); 10] = [
        ("a newer version", "FB0306", |dir| sql(dir, "PRAGMA user_version = 99")),
        ("another program's database", "FB0305", |dir| sql(dir, "PRAGMA application_id = 1")),
        ("a lost database", "FB0305", |dir| std::fs::remove_file(dir.join("ledger.db")).unwrap()),
        ("an emptied database", "FB0305", |dir| std::fs::write(dir.join("ledger.db"), b"").unwrap()),
        ("garbage", "FB0305", |dir| std::fs::write(dir.join("ledger.db"), [b'x'; 9000]).unwrap()),
        ("a lost table", "FB0305", |dir| sql(dir, "DROP TABLE head")),
        ("a readable key", "FB0307", |dir| mode(&dir.join("keys/ledger.key"), 0o640)),
        ("an open key folder", "FB0307", |dir| mode(&dir.join("keys"), 0o755)),
        ("a lost key", "FB0308", |dir| std::fs::remove_file(dir.join("keys/ledger.key")).unwrap()),
        ("another ledger's key", "FB0308", |dir| {
            let other = tempfile::tempdir().unwrap();
            drop(Ledger::open(other.path()).unwrap());
            std::fs::copy(other.path().join("keys/ledger.key"), dir.join("keys/ledger.key")).unwrap();
        }),
    ];
    for (what, code, damage) in cases {
        let dir = tempfile::tempdir().unwrap();
        {
            let ledger = Ledger::open(dir.path()).unwrap();
            let stream = ledger.stream("s").unwrap();
            let seq = stream.append(draft(1)).unwrap();
            stream.durable(seq).unwrap();
        }
        damage(dir.path());
        let before = listing(dir.path());
        let error = Ledger::open(dir.path()).err().unwrap_or_else(|| panic!("{what} was taken"));
        assert_eq!(error.code(), code, "{what}: {error}");
        assert!(!error.hint().is_empty() && error.to_string().contains(&*dir.path().to_string_lossy()), "{error}");
        assert_eq!(listing(dir.path()), before, "{what}: files were changed");
    }
    let none = tempfile::tempdir().unwrap();
    assert_eq!(Ledger::open_read(&none.path().join("x")).err().unwrap().code(), "FB0301");
    assert_eq!(Ledger::open_read(none.path()).err().unwrap().code(), "FB0301");
    assert!(listing(none.path()).is_empty(), "reading made something");
    std::fs::write(none.path().join("file"), b"").unwrap();
    assert_eq!(Ledger::open(&none.path().join("file/ledger")).err().unwrap().code(), "FB0302");
}

fn sql(dir: &Path, text: &str) {
    Connection::open(dir.join("ledger.db")).unwrap().execute_batch(text).unwrap();
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Names and sizes, but for what SQLite keeps beside an open database.
fn listing(dir: &Path) -> Vec<(String, u64)> {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap());
    let mut all: Vec<_> = files.map(|f| (f.file_name().into_string().unwrap(), f.metadata().unwrap().len())).collect();
    all.retain(|(name, _)| !name.ends_with("-wal") && !name.ends_with("-shm"));
    all.sort();
    all
}

#[test]
fn only_the_owner_reads_a_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("new/ledger");
    drop(Ledger::open(&dir).unwrap());
    for (path, mode) in [("", 0o700), ("keys", 0o700), ("keys/ledger.key", 0o600)] {
        assert_eq!(std::fs::metadata(dir.join(path)).unwrap().mode() & 0o777, mode, "{path}");
    }
}

#[test]
fn every_error_has_a_page() {
    let codes = flyball_ledger::CODES;
    assert!(codes.windows(2).all(|w| w[0].0 < w[1].0), "sorted, each once");
    assert!(codes.iter().all(|(c, title, page)| c.starts_with("FB03") && !title.is_empty() && page.len() > 40));
}
