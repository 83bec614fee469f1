//! Long content in files of its own: as it came, whoever is killed and whatever is put in its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use common::append;
use flyball_ledger::bundle::{self, Export, Limits};
use flyball_ledger::{Digest, Draft, FILED_BYTES_MIN, Kind, Ledger, LedgerError};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const SECRET: &str = "a-secret-in-a-file-of-its-own-";

fn content(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 253 + seed) as u8).collect()
}

fn kept(ledger: &Ledger, bytes: &[u8]) -> Value {
    let mut content = ledger.begin_content().unwrap();
    bytes.chunks(70_001).for_each(|piece| content.add(piece).unwrap());
    content.store_payload(None).unwrap()
}

fn file_of(dir: &Path, bytes: &[u8]) -> PathBuf {
    dir.join("blobs").join(Digest::of(bytes).to_hex())
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn coming(dir: &Path) -> Vec<String> {
    names(&dir.join("blobs/coming"))
}

/// This test binary again, as `child`, on the ledger in `dir`; returns once it has said so.
fn child_that(does: &str, dir: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env("LEDGER_DIR", dir).env("LEDGER_CHILD", does);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "ready"), "{does}");
    child
}

fn secret() -> Vec<u8> {
    SECRET.repeat(200_000).into_bytes()
}

#[test]
#[ignore = "the others' child process"]
fn child() {
    let (Some(dir), Ok(does)) = (std::env::var_os("LEDGER_DIR"), std::env::var("LEDGER_CHILD")) else { return };
    let ledger = Ledger::open(Path::new(&dir)).unwrap();
    let stream = ledger.stream("s").unwrap();
    let append = |kind, body| stream.append(Draft { at_ns: 1, kind, actor: "x".into(), cause: vec![], body }).unwrap();
    let mut unfinished = ledger.begin_content().unwrap();
    unfinished.add(&secret()).unwrap();
    if does == "acknowledges" {
        append(Kind::Open, json!({"name": "s"}));
        append(Kind::Attempt, json!({"stdin": kept(&ledger, &content(3, 1 << 20))}));
        stream.on_disk(append(Kind::Attempt, json!({"n": 3}))).unwrap();
    }
    println!("\nready");
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// A ledger in which a killed process left, on the disk by its word and in no commit: an entry that relies on content in a file.
fn left_uncommitted() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    drop(Ledger::open(dir.path()).unwrap());
    let other = Connection::open(dir.path().join("ledger.db")).unwrap();
    // Nobody can commit.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut child = child_that("acknowledges", dir.path());
    child.kill().unwrap();
    child.wait().unwrap();
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(coming(dir.path()).len(), 2);
    dir
}

#[track_caller]
fn is_whole(dir: &Path, bytes: &[u8]) {
    let ledger = Ledger::open(dir).unwrap();
    assert_eq!(ledger.entry("s", 3).unwrap().body, json!({"n": 3}), "what was acknowledged is there");
    assert!(ledger.payload_bytes(&ledger.entry("s", 2).unwrap().body["stdin"]).unwrap() == bytes);
    let report = ledger.verify(None).unwrap();
    assert!(report.ok, "{:#?}", report.problems);
    assert_eq!(coming(dir), [] as [&str; 0]);
    let mut expected = ["coming".to_owned(), Digest::of(bytes).to_hex()];
    expected.sort();
    assert_eq!(names(&dir.join("blobs")), expected);
}

#[test]
fn content_of_any_length_is_kept_as_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    for (seed, length) in [0, 1, 131_071, 131_072, 131_073, FILED_BYTES_MIN, (3 << 20) + 5].into_iter().enumerate() {
        let bytes = content(seed, length);
        let member = kept(&ledger, &bytes);
        ledger.flush().unwrap();
        for ledger in [&ledger, &Ledger::open_read(dir.path()).unwrap()] {
            assert!(ledger.payload_bytes(&member).unwrap() == bytes, "{length}");
        }
        // Once more, with its digest known, and as a file's content: one copy, and commitments of their own.
        let [again, unsaid] = [Some(Digest::of(&bytes)), None].map(|digest| {
            let mut again = ledger.begin_digested().unwrap();
            again.add(&bytes).unwrap();
            again.store_payload(digest).unwrap()
        });
        assert_eq!(ledger.put_blob_from(&bytes[..]).unwrap(), (Digest::of(&bytes), length as u64));
        ledger.flush().unwrap();
        for again in [again, unsaid] {
            assert_ne!(again["commitment"], member["commitment"]);
            assert!(ledger.payload_bytes(&again).unwrap() == bytes, "{length}");
        }
    }
    let streamed = content(9, FILED_BYTES_MIN + 1);
    ledger.put_blob_from(&streamed[..]).unwrap();
    drop(ledger.begin_content().unwrap());
    ledger.flush().unwrap();
    assert!(ledger.blob(&Digest::of(&streamed)).unwrap() == streamed);
    assert_eq!((names(&dir.path().join("blobs")).len(), coming(dir.path()).len()), (9, 0));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file_of(dir.path(), &streamed)), 0o600);
    assert_eq!((mode(&dir.path().join("blobs")), mode(&dir.path().join("blobs/coming"))), (0o700, 0o700));
    assert!(ledger.verify(None).unwrap().ok);
}

#[test]
fn two_who_keep_the_same_at_once_keep_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let handles = [Ledger::open(dir.path()).unwrap(), Ledger::open(dir.path()).unwrap()];
    let bytes = content(1, 2 << 20);
    let members = handles.each_ref().map(|ledger| {
        let mut content = ledger.begin_content().unwrap();
        content.add(&bytes).unwrap();
        content
    });
    assert_eq!(coming(dir.path()).len(), 2);
    for content in members {
        content.store_payload(None).unwrap();
    }
    handles.iter().for_each(|ledger| ledger.flush().unwrap());
    assert_eq!((names(&dir.path().join("blobs")).len(), coming(dir.path()).len()), (2, 0));
    assert!(handles[0].blob(&Digest::of(&bytes)).unwrap() == bytes);
}

#[test]
fn whatever_is_put_in_a_file_s_place_is_found_and_its_entry_named() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let (bytes, others) = (content(1, 1_500_000), content(2, 1_500_000));
    append(&ledger, "s", json!({"name": "s"}));
    let member = kept(&ledger, &bytes);
    let seq = append(&ledger, "s", json!({ "stdin": member }));
    append(&ledger, "s", json!({"stdin": kept(&ledger, &others)}));
    assert!(ledger.verify(None).unwrap().ok);
    let path = file_of(dir.path(), &bytes);
    let aside = dir.path().join("aside");
    type Attack = (&'static str, fn(&Path, &Path));
    let attacks: [Attack; 9] = [
        ("a byte", |path, _| {
            let mut bytes = std::fs::read(path).unwrap();
            bytes[1_400_000] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }),
        ("cut", |path, _| std::fs::File::options().write(true).open(path).unwrap().set_len(1_048_576).unwrap()),
        ("emptied", |path, _| std::fs::write(path, b"").unwrap()),
        ("longer", |path, _| std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"x").unwrap()),
        ("gone", |path, _| std::fs::remove_file(path).unwrap()),
        ("another's", |path, other| _ = std::fs::copy(other, path).unwrap()),
        ("a link to the same", |path, _| {
            let to = path.with_extension("moved");
            std::fs::rename(path, &to).unwrap();
            symlink(&to, path).unwrap();
        }),
        ("a folder", |path, _| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        }),
        ("a pipe", |path, _| {
            std::fs::remove_file(path).unwrap();
            assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        }),
    ];
    std::fs::copy(&path, &aside).unwrap();
    for (what, attack) in attacks {
        attack(&path, &file_of(dir.path(), &others));
        let report = ledger.verify(None).unwrap();
        assert!(!report.problems.is_empty(), "{what}");
        for problem in &report.problems {
            assert!(["FB0340", "FB0341"].contains(&problem.code) && problem.seq == Some(seq), "{what}: {problem:?}");
        }
        // What stands behind the end is nobody's.
        if what != "longer" {
            let read = ledger.payload_bytes(&member);
            assert!(matches!(read, Err(LedgerError::Damaged { .. } | LedgerError::Io { .. })), "{what}");
            let export = Export { session: "s".into(), payloads: true, ..Export::default() };
            let mut out = Vec::new();
            let is_refused = ledger.export(&export, &mut out).is_err()
                || !bundle::read(out.as_slice(), Path::new("x"), Limits::default()).unwrap().report.ok;
            assert!(is_refused, "{what}");
        }
        let _ = std::fs::remove_dir(&path);
        let _ = std::fs::remove_file(&path);
        std::fs::copy(&aside, &path).unwrap();
        assert!(ledger.verify(None).unwrap().ok, "{what}");
    }
}

/// Its digest is of what came, whatever is in the file.
#[test]
fn what_is_put_in_its_place_before_it_has_its_name_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    append(&ledger, "s", json!({"name": "s"}));
    let (bytes, others) = (content(1, 1_500_000), content(2, 1_500_000));
    let alone = |name: Vec<String>| dir.path().join("blobs/coming").join(&name[0]);

    // While it comes: shorter, longer.
    for length in [1_000_000, 2_000_000] {
        let mut coming_now = ledger.begin_content().unwrap();
        coming_now.add(&bytes).unwrap();
        std::fs::File::options().write(true).open(alone(coming(dir.path()))).unwrap().set_len(length).unwrap();
        assert!(matches!(coming_now.store_payload(None), Err(LedgerError::Io { .. })), "{length}");
        assert_eq!(coming(dir.path()), [] as [&str; 0]);
    }

    // All of it is others', of the same length: written over while it comes, and swapped once it is synced.
    let mut coming_now = ledger.begin_content().unwrap();
    coming_now.add(&bytes).unwrap();
    std::fs::write(alone(coming(dir.path())), &others).unwrap();
    let over = append(&ledger, "s", json!({"stdin": coming_now.store_payload(None).unwrap()}));
    let other = Connection::open(dir.path().join("ledger.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let member = kept(&ledger, &bytes[1..]);
    let (swapped, at) = (dir.path().join("swapped"), alone(coming(dir.path())));
    std::fs::write(&swapped, &others[1..]).unwrap();
    std::fs::rename(&swapped, &at).unwrap();
    other.execute_batch("ROLLBACK").unwrap();
    let swapped = append(&ledger, "s", json!({ "stdin": member }));
    let report = ledger.verify(None).unwrap();
    for seq in [over, swapped] {
        for code in ["FB0340", "FB0341"] {
            assert!(report.problems.iter().any(|p| p.code == code && p.seq == Some(seq)), "{code} {seq} {report:#?}");
        }
    }
}

#[test]
fn a_folder_that_is_a_link_is_not_written_through() {
    for which in ["blobs", "blobs/coming"] {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ledger = Ledger::open(dir.path()).unwrap();
        std::fs::create_dir_all(dir.path().join(which).parent().unwrap()).unwrap();
        symlink(elsewhere.path(), dir.path().join(which)).unwrap();
        let error = ledger.begin_content().err().unwrap();
        assert!(error.to_string().contains("blobs"), "{error}");
        assert_eq!(names(elsewhere.path()), [] as [&str; 0]);
        // What needs no file goes on.
        append(&ledger, "s", json!({"stdin": ledger.payload(&[7; 9000]).unwrap()}));
        assert!(ledger.verify(None).unwrap().ok);
    }
}

#[test]
fn a_bundle_has_what_stands_in_files() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let bytes = content(1, (2 << 20) + 17);
    append(&ledger, "s", json!({"name": "s"}));
    let member = kept(&ledger, &bytes);
    append(&ledger, "s", json!({ "stdin": member }));
    let mut out = Vec::new();
    ledger.export(&Export { session: "s".into(), payloads: true, ..Export::default() }, &mut out).unwrap();
    let opened = bundle::read(out.as_slice(), Path::new("x"), Limits::default()).unwrap();
    assert!(opened.report.ok, "{:#?}", opened.report.problems);
    assert_eq!(opened.blobs, 1);
    assert!(out.windows(1000).any(|window| window == &bytes[5000..6000]));
}

#[test]
fn what_a_killed_process_had_on_the_disk_is_taken_in_with_its_file() {
    let dir = left_uncommitted();
    is_whole(dir.path(), &content(3, 1 << 20));

    // Killed between the naming and the commit.
    let dir = left_uncommitted();
    let bytes = content(3, 1 << 20);
    let folder = dir.path().join("blobs/coming");
    let name = coming(dir.path()).into_iter().find(|name| std::fs::read(folder.join(name)).unwrap() == bytes).unwrap();
    std::fs::rename(folder.join(name), file_of(dir.path(), &bytes)).unwrap();
    is_whole(dir.path(), &bytes);
    is_whole(dir.path(), &bytes);
}

#[test]
fn an_acknowledged_entry_whose_file_somebody_took_is_kept_and_named() {
    let dir = left_uncommitted();
    for name in coming(dir.path()) {
        std::fs::remove_file(dir.path().join("blobs/coming").join(name)).unwrap();
    }
    let ledger = Ledger::open(dir.path()).unwrap();
    assert_eq!(ledger.entry("s", 3).unwrap().body, json!({"n": 3}));
    let report = ledger.verify(None).unwrap();
    assert!(report.problems.iter().all(|p| p.code == "FB0340" && p.seq == Some(2)), "{report:#?}");
    assert_eq!(report.problems.len(), 1);
}

#[test]
fn what_was_on_its_way_goes_with_its_process_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child_that("waits", dir.path());
    let other = Ledger::open(dir.path()).unwrap();
    assert_eq!(coming(dir.path()).len(), 1, "its process lives");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(other.stream("t").unwrap());
    assert_eq!(coming(dir.path()), [] as [&str; 0]);
}

#[test]
fn what_was_named_and_never_committed_goes_once_nobody_else_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (lives, mut child) = (Ledger::open(dir.path()).unwrap(), child_that("waits", dir.path()));
    child.kill().unwrap();
    child.wait().unwrap();
    let mine = kept(&lives, &content(1, 5000));
    lives.flush().unwrap();
    let orphan = file_of(dir.path(), b"nobody's");
    std::fs::write(&orphan, b"nobody's").unwrap();
    let left: Vec<String> = names(&dir.path().join("inflight"));
    let dead = left.iter().find(|name| name.starts_with(&format!("{}-", child.id()))).unwrap();
    let dead = dir.path().join("inflight").join(dead);
    drop(Ledger::open(dir.path()).unwrap());
    assert!(orphan.exists() && !dead.exists(), "another may be about to commit it");
    drop(lives);
    let ledger = Ledger::open(dir.path()).unwrap();
    assert!(!orphan.exists(), "however long ago that process was killed");
    assert!(!names(&dir.path().join("blobs")).contains(&"unswept".to_owned()));
    assert!(ledger.payload_bytes(&mine).unwrap() == content(1, 5000));
}

#[test]
fn what_is_erased_has_no_file_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    append(&ledger, "s", json!({"name": "s"}));
    let one = append(&ledger, "s", json!({"stdin": kept(&ledger, &secret())}));
    let two = append(&ledger, "t", json!({"stdin": kept(&ledger, &secret())}));
    let file = file_of(dir.path(), &secret());
    let erase =
        |stream: &str, seq| ledger.erase(&ledger.stream(stream).unwrap(), seq, "user:ann", "asked", 77).unwrap();
    assert_eq!(erase("s", one).kept_for, [("t".to_owned(), two)]);
    assert!(file.exists());
    let done = erase("t", two);
    assert_eq!((done.blobs, done.is_out_of_log, file.exists()), (1, true, false));
    let report = ledger.verify(None).unwrap();
    assert!(report.ok && report.erased.len() == 2, "{report:#?}");
    // It may come again, as another's.
    let again = append(&ledger, "t", json!({"stdin": kept(&ledger, &secret())}));
    assert!(ledger.payload_bytes(&ledger.entry("t", again).unwrap().body["stdin"]).unwrap() == secret());

    // Who is killed on the way of the same content leaves none; of who lives it is said.
    let mut child = child_that("waits", dir.path());
    let held = ledger.stream("t").unwrap();
    assert!(matches!(ledger.erase(&held, again, "user:ann", "", 78), Err(LedgerError::Running(_))));
    child.kill().unwrap();
    child.wait().unwrap();
    let lives = Ledger::open(dir.path()).unwrap();
    let mut theirs = lives.begin_content().unwrap();
    theirs.add(&secret()).unwrap();
    let done = ledger.erase(&held, again, "user:ann", "", 78).unwrap();
    assert_eq!((done.blobs, done.is_out_of_log), (1, false));
    assert_eq!((file.exists(), coming(dir.path()).len()), (false, 1));
    drop(theirs);
    assert_eq!(coming(dir.path()), [] as [&str; 0]);
    // Whoever opens it alone looks for what the killed one may have left.
    drop((held, lives, ledger));
    drop(Ledger::open(dir.path()).unwrap());
    assert_eq!(names(&dir.path().join("blobs")), ["coming"]);
}

#[test]
fn a_ledger_of_the_first_version_opens_and_is_of_this_one_then() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let bytes = content(1, (2 << 20) + 17);
    let seq = append(&ledger, "s", json!({"blob": ledger.put_blob(&bytes).unwrap()}));
    drop(ledger);
    let db = || Connection::open(dir.path().join("ledger.db")).unwrap();
    let version = || db().query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap();
    assert!(!dir.path().join("blobs").exists());
    db().execute_batch("PRAGMA user_version = 1").unwrap();
    let ledger = Ledger::open_read(dir.path()).unwrap();
    assert!(ledger.verify(None).unwrap().ok);
    assert_eq!(version(), 1, "reading changes nothing");
    let ledger = Ledger::open(dir.path()).unwrap();
    assert_eq!(version(), 3);
    let long = append(&ledger, "s", json!({"stdin": kept(&ledger, &bytes)}));
    let other = append(&ledger, "s", json!({"stdin": kept(&ledger, &bytes[1..])}));
    // What was stored in the database stays there, and serves for both.
    assert_eq!(names(&dir.path().join("blobs")), ["coming".to_owned(), Digest::of(&bytes[1..]).to_hex()]);
    assert!(ledger.blob(&ledger.entry("s", seq).unwrap().refs.blobs[0]).unwrap() == bytes);
    assert!(ledger.payload_bytes(&ledger.entry("s", long).unwrap().body["stdin"]).unwrap() == bytes);
    assert!(ledger.payload_bytes(&ledger.entry("s", other).unwrap().body["stdin"]).unwrap() == bytes[1..]);
    assert!(ledger.verify(None).unwrap().ok);
}

/// In a container, a supervisor that is started again has the number of the one that was killed.
#[test]
fn what_was_left_by_a_process_of_this_one_s_number_is_taken_in() {
    let dir = left_uncommitted();
    let probe = tempfile::tempdir().unwrap();
    let held = Ledger::open(probe.path()).unwrap();
    let mine = names(&probe.path().join("inflight")).into_iter().find(|name| name.contains('-')).unwrap();
    let (number, last) = mine.rsplit_once('-').unwrap();
    let folder = dir.path().join("inflight");
    let left = names(&folder).into_iter().find(|name| name.contains('-')).unwrap();
    let bytes = std::fs::read(folder.join(&left)).unwrap();
    std::fs::remove_file(folder.join(&left)).unwrap();
    std::fs::write(folder.join(format!("{number}-{}", last.parse::<u64>().unwrap() + 1)), &bytes).unwrap();
    drop(held);
    is_whole(dir.path(), &content(3, 1 << 20));
}
