//! An attacker with the database file and no key: whatever is changed is found, and the entry is named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use flyball_ledger::{Digest, Draft, Kind, Ledger, LedgerError, Problem, Report, merkle};
use rusqlite::Connection;
use serde_json::json;
use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::OnceLock};

const ENTRIES: u64 = 600;

/// Two streams, three group commits at least, blobs, payloads, over two tiles of level 0.
fn build_anew(dir: &Path) {
    let ledger = Ledger::open(dir).unwrap();
    let (a, b) = (ledger.stream("aaa").unwrap(), ledger.stream("bbb").unwrap());
    let blob = ledger.put_blob(&[7; 1_500_000]).unwrap();
    let payload = ledger.payload(&[b'p'; 9000]).unwrap();
    for n in 1..=ENTRIES / 2 {
        for (stream, name) in [(&a, "a"), (&b, "b")] {
            let kind = match n {
                1 => Kind::Open,
                300 => Kind::Close,
                _ => Kind::Attempt,
            };
            let mut body = json!({"name": name, "n": n, "text": "plain"});
            if n == 50 && name == "a" {
                body["blob"] = json!(blob);
                body["stdin"] = payload.clone();
            }
            // The same content again: in another's payload, and as a file that it was written into.
            match (name, n) {
                ("b", 47) => body["answer"] = ledger.payload(&[b'p'; 9000]).unwrap(),
                ("a", 55) => body["blob"] = json!(Digest::of(&[b'p'; 9000])),
                ("b", 60) => body["blob"] = json!(ledger.put_blob(&[b'o'; 9000]).unwrap()),
                ("b", 100..120) => body["blob"] = json!(ledger.put_blob(b"many").unwrap()),
                _ => {}
            }
            let cause = if n > 1 { vec![n - 1] } else { vec![] };
            let draft = Draft { at_ns: 1_000_000 * n, kind, actor: "agent".into(), cause, body };
            stream.append(draft).unwrap();
        }
        if n % 100 == 1 {
            ledger.flush().unwrap();
        }
    }
}

/// A copy of one such ledger in `dir`.
fn build(dir: &Path) {
    static TEMPLATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let template = TEMPLATE.get_or_init(|| {
        let made = tempfile::tempdir().unwrap();
        build_anew(made.path());
        let db = Connection::open(made.path().join("ledger.db")).unwrap();
        db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        made
    });
    std::fs::create_dir(dir.join("keys")).unwrap();
    std::fs::set_permissions(dir.join("keys"), std::fs::Permissions::from_mode(0o700)).unwrap();
    for name in ["ledger.db", "keys/ledger.key", "keys/ledger.pub"] {
        std::fs::copy(template.path().join(name), dir.join(name)).unwrap();
    }
}

fn verify(dir: &Path) -> Report {
    Ledger::open_read(dir).unwrap().verify(None).unwrap()
}

/// Builds a ledger, lets `attack` at the database, and returns what is found. It must be something.
#[track_caller]
fn attacked(attack: impl FnOnce(&Connection)) -> Vec<Problem> {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let before = verify(dir.path());
    assert!(before.ok, "{:#?}", before.problems);
    assert_eq!((before.entries, before.signed_by.len(), before.witnessed_by.len()), (ENTRIES, 1, 0));
    assert!(before.checkpoints >= 3, "{}", before.checkpoints);
    {
        let db = Connection::open(dir.path().join("ledger.db")).unwrap();
        attack(&db);
        db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    }
    let report = verify(dir.path());
    assert!(!report.ok && !report.problems.is_empty(), "the attack was not found");
    // A leaf's number alone tells a person nothing: whatever has one names the entry, or the one behind which it should be.
    for problem in report.problems.iter().filter(|problem| problem.leaf.is_some() && problem.seq.is_none()) {
        assert!(problem.message.contains(" entry ") || problem.message.contains("no entry"), "{problem:?}");
    }
    report.problems
}

/// Whether a problem with this code says these words.
#[track_caller]
fn says(problems: &[Problem], code: &str, words: &str) {
    assert!(problems.iter().any(|p| p.code == code && p.message.contains(words)), "no `{words}` in {problems:#?}");
}

#[track_caller]
fn names(problems: &[Problem], code: &str, stream: &str, seq: u64) {
    let is_named = |p: &Problem| p.code == code && p.stream.as_deref() == Some(stream) && p.seq == Some(seq);
    assert!(problems.iter().any(is_named), "no {code} for {stream} {seq} in {problems:#?}");
}

#[track_caller]
fn has(problems: &[Problem], code: &str, leaf: Option<u64>) {
    assert!(problems.iter().any(|p| p.code == code && p.leaf == leaf), "no {code} at {leaf:?} in {problems:#?}");
}

fn leaf_of(db: &Connection, stream: &str, seq: u64) -> i64 {
    let sql = "SELECT leaf FROM entries JOIN streams ON id = stream WHERE name = ?1 AND seq = ?2";
    db.query_row(sql, (stream, seq as i64), |row| row.get(0)).unwrap()
}

fn data_of(db: &Connection, leaf: i64) -> String {
    db.query_row("SELECT CAST(data AS TEXT) FROM entries WHERE leaf = ?1", [leaf], |row| row.get(0)).unwrap()
}

fn put_data(db: &Connection, leaf: i64, data: &str, is_digest_mended: bool) {
    db.execute("UPDATE entries SET data = CAST(?2 AS BLOB) WHERE leaf = ?1", (leaf, data)).unwrap();
    if is_digest_mended {
        let digest = merkle::leaf_digest(data.as_bytes()).0;
        db.execute("UPDATE entries SET digest = ?2 WHERE leaf = ?1", (leaf, digest)).unwrap();
    }
}

#[test]
fn every_byte_of_an_entry() {
    // One byte of each field, early, in the middle, and the very last entry (whose tile is not full).
    for (stream, seq) in [("aaa", 50), ("bbb", 150), ("aaa", 300)] {
        let fields =
            [r#""stream":"#, r#""seq":"#, r#""at":"#, r#""kind":"#, r#""actor":"#, r#""cause":"#, r#""body":"#];
        for field in fields {
            let problems = attacked(|db| {
                let leaf = leaf_of(db, stream, seq);
                let mut data = data_of(db, leaf).into_bytes();
                let at = String::from_utf8(data.clone()).unwrap().find(field).unwrap() + field.len() + 2;
                data[at] ^= 1;
                put_data(db, leaf, std::str::from_utf8(&data).unwrap(), false);
            });
            names(&problems, "FB0330", stream, seq);
        }
    }
}

#[test]
fn an_entry_with_its_recorded_digest() {
    let problems = attacked(|db| {
        let leaf = leaf_of(db, "aaa", 20);
        put_data(db, leaf, &data_of(db, leaf).replace("plain", "fancy"), true);
    });
    // Nothing stored says which entry of this checkpoint it was, but the range is named.
    assert!(problems.iter().any(|p| p.code == "FB0339" && p.leaf.is_some_and(|l| l <= 40)), "{problems:#?}");
    assert!(problems.iter().any(|p| p.code == "FB0336"), "{problems:#?}");
    says(&problems, "FB0339", "is entry 2 of `aaa`");
}

#[test]
fn an_entry_dropped() {
    let problems =
        attacked(|db| _ = db.execute("DELETE FROM entries WHERE leaf = ?1", [leaf_of(db, "aaa", 77)]).unwrap());
    names(&problems, "FB0332", "aaa", 77);
    let problems =
        attacked(|db| _ = db.execute("DELETE FROM entries WHERE leaf = (SELECT max(leaf) FROM entries)", []).unwrap());
    names(&problems, "FB0331", "bbb", 300);
    let problems = attacked(|db| _ = db.execute("DELETE FROM entries WHERE leaf = 0", []).unwrap());
    names(&problems, "FB0332", "aaa", 1);
    has(&problems, "FB0331", Some(0));
}

#[test]
fn an_entry_dropped_and_the_rest_moved_up() {
    let problems = attacked(|db| {
        let leaf = leaf_of(db, "bbb", 299);
        db.execute("DELETE FROM entries WHERE leaf = ?1", [leaf]).unwrap();
        db.execute("UPDATE entries SET leaf = leaf - 1 WHERE leaf > ?1", [leaf]).unwrap();
    });
    names(&problems, "FB0332", "bbb", 299);
    has(&problems, "FB0331", Some(ENTRIES - 1));
}

#[test]
fn the_end_cut_off_with_all_that_tells_of_it() {
    let problems = attacked(|db| {
        db.execute("DELETE FROM entries WHERE leaf >= 500", []).unwrap();
        db.execute("UPDATE streams SET closed_seq = NULL", []).unwrap();
        db.execute("UPDATE streams SET last_seq = (SELECT max(seq) FROM entries WHERE stream = id)", []).unwrap();
    });
    has(&problems, "FB0331", Some(500));
    has(&problems, "FB0337", Some(500));
    says(&problems, "FB0331", "the last one before is entry 250 of `bbb`");
}

#[test]
fn two_entries_swapped() {
    let swap = |db: &Connection, x: i64, y: i64| {
        db.execute("UPDATE entries SET leaf = -1 WHERE leaf = ?1", [x]).unwrap();
        db.execute("UPDATE entries SET leaf = ?1 WHERE leaf = ?2", [x, y]).unwrap();
        db.execute("UPDATE entries SET leaf = ?1 WHERE leaf = -1", [y]).unwrap();
    };
    let problems = attacked(|db| swap(db, leaf_of(db, "aaa", 30), leaf_of(db, "aaa", 31)));
    names(&problems, "FB0332", "aaa", 30);
    // Of two streams: no stream's order changes, but the tree's does.
    let problems = attacked(|db| swap(db, leaf_of(db, "aaa", 30), leaf_of(db, "bbb", 30)));
    has(&problems, "FB0339", problems.iter().find(|p| p.code == "FB0339").unwrap().leaf);
    // The bytes only.
    let problems = attacked(|db| {
        let (x, y) = (leaf_of(db, "aaa", 30), leaf_of(db, "bbb", 40));
        let (dx, dy) = (data_of(db, x), data_of(db, y));
        put_data(db, x, &dy, true);
        put_data(db, y, &dx, true);
    });
    names(&problems, "FB0333", "aaa", 30);
    names(&problems, "FB0333", "bbb", 40);
}

#[test]
fn a_stream_forked() {
    let problems = attacked(|db| {
        // The unique index is in the way of a fork; an attacker takes it out.
        let sql: String =
            db.query_row("SELECT sql FROM sqlite_schema WHERE name = 'entries'", [], |r| r.get(0)).unwrap();
        let sql = sql.replace(", UNIQUE (stream, seq)", "").replace("entries", "forked");
        db.execute_batch(&format!(
            "{sql}; INSERT INTO forked SELECT * FROM entries; DROP TABLE entries; ALTER TABLE forked RENAME TO entries;"
        ))
        .unwrap();
        let data = data_of(db, leaf_of(db, "bbb", 9)).replace("plain", "other");
        let sql = "INSERT INTO entries SELECT ?1, stream, seq, ?2, CAST(?3 AS BLOB) FROM entries WHERE leaf = ?4";
        let digest = merkle::leaf_digest(data.as_bytes()).0;
        db.execute(sql, (ENTRIES as i64, digest, &data, leaf_of(db, "bbb", 9))).unwrap();
    });
    names(&problems, "FB0332", "bbb", 9);
    has(&problems, "FB0344", None);
}

#[test]
fn an_entry_appended_and_the_frontier_recomputed_without_the_key() {
    let problems = attacked(|db| {
        let data = data_of(db, ENTRIES as i64 - 1).replace(r#""seq":300"#, r#""seq":301"#).replace("close", "alert");
        let sql = "INSERT INTO entries SELECT ?1, stream, 301, ?2, CAST(?3 AS BLOB) FROM entries WHERE leaf = ?1 - 1";
        db.execute(sql, (ENTRIES as i64, merkle::leaf_digest(data.as_bytes()).0, &data)).unwrap();
        db.execute("UPDATE streams SET last_seq = 301 WHERE name = 'bbb'", []).unwrap();
        forge_head(db);
    });
    has(&problems, "FB0337", Some(ENTRIES));
    says(&problems, "FB0337", "is entry 301 of `bbb`");
}

/// Recomputes all that can be without the key.
fn forge_head(db: &Connection) {
    let mut frontier = merkle::Frontier::new();
    let mut statement = db.prepare("SELECT data FROM entries ORDER BY leaf").unwrap();
    let rows: Vec<Vec<u8>> = statement.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
    let mut tile = Vec::new();
    rows.iter().for_each(|data| {
        frontier.append(merkle::leaf_digest(data), |level, _, digest| {
            if level == 8 {
                tile.extend(digest.0);
            }
        });
    });
    let peaks: Vec<u8> = frontier.peaks().iter().flat_map(|d| d.0).collect();
    db.execute("UPDATE head SET size = ?1, peaks = ?2", (frontier.size() as i64, peaks)).unwrap();
    db.execute("UPDATE tiles SET data = ?1 WHERE level = 1", [tile]).unwrap();
}

#[test]
fn a_rewritten_history_is_found_and_never_signed_over() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    {
        let db = Connection::open(dir.path().join("ledger.db")).unwrap();
        let leaf = leaf_of(&db, "aaa", 20);
        put_data(&db, leaf, &data_of(&db, leaf).replace("plain", "fancy"), true);
        forge_head(&db);
    }
    let report = verify(dir.path());
    assert!(report.problems.iter().any(|p| p.code == "FB0339"), "{report:#?}");
    // Opening for writing must refuse: the next commit's signature would make the forgery true.
    assert!(matches!(Ledger::open(dir.path()), Err(LedgerError::Damaged { .. })));
}

#[test]
fn a_history_rewritten_under_a_running_writer_is_never_signed_over() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let ledger = Ledger::open(dir.path()).unwrap();
    let stream = ledger.stream("ccc").unwrap();
    forge_after_edit(dir.path());
    let draft = Draft { at_ns: 1, kind: Kind::Open, actor: "x".into(), cause: vec![], body: json!({}) };
    let seq = stream.append(draft.clone()).unwrap();
    assert!(matches!(stream.durable(seq), Err(LedgerError::Stopped { .. })));
    assert!(matches!(stream.append(draft), Err(LedgerError::Stopped { .. })), "a stopped store takes nothing more");
    assert!(matches!(ledger.put_blob(b"new"), Err(LedgerError::Stopped { .. })));
    assert!(matches!(ledger.stream("ddd"), Err(LedgerError::Stopped { .. })));
}

fn forge_after_edit(dir: &Path) {
    let db = Connection::open(dir.join("ledger.db")).unwrap();
    let leaf = leaf_of(&db, "aaa", 20);
    put_data(&db, leaf, &data_of(&db, leaf).replace("plain", "fancy"), true);
    forge_head(&db);
}

#[test]
fn checkpoints_and_head() {
    let problems = attacked(|db| _ = db.execute("DELETE FROM checkpoints WHERE number = 1", []).unwrap());
    has(&problems, "FB0343", None);
    let problems = attacked(|db| {
        _ = db.execute("DELETE FROM checkpoints WHERE number = (SELECT max(number) FROM checkpoints)", []).unwrap()
    });
    has(&problems, "FB0343", None);
    let problems = attacked(|db| _ = db.execute("DELETE FROM checkpoints", []).unwrap());
    has(&problems, "FB0343", None);
    // An old checkpoint in a newer one's place.
    let problems = attacked(|db| {
        db.execute(
            "UPDATE checkpoints SET note = (SELECT note FROM checkpoints WHERE number = 1) WHERE number = 2",
            [],
        )
        .unwrap();
    });
    has(&problems, "FB0338", None);
    let problems = attacked(|db| {
        _ = db.execute("UPDATE head SET note = (SELECT note FROM checkpoints WHERE number = 1)", []).unwrap()
    });
    says(&problems, "FB0337", "leaf 2 is entry 2 of `aaa`");
    // A flipped letter of a root, of a signature.
    for (from, to) in [("substr(note, 1, 40)", "'flyball.local/ledger/00000000'"), ("'='", "'+'"), ("'— '", "'— x'")]
    {
        let problems = attacked(|db| {
            db.execute(&format!("UPDATE checkpoints SET note = replace(note, {from}, {to}) WHERE number = 2"), [])
                .unwrap();
        });
        has(&problems, "FB0338", None);
    }
    let problems = attacked(|db| _ = db.execute("UPDATE head SET peaks = zeroblob(length(peaks))", []).unwrap());
    has(&problems, "FB0337", Some(ENTRIES));
    let problems = attacked(|db| _ = db.execute("UPDATE head SET note = ''", []).unwrap());
    has(&problems, "FB0338", None);
    let problems = attacked(|db| _ = db.execute("DELETE FROM head", []).unwrap());
    has(&problems, "FB0337", None);
}

#[test]
fn everything_emptied() {
    let problems = attacked(|db| {
        db.execute_batch("DELETE FROM entries; DELETE FROM streams; DELETE FROM tiles; UPDATE head SET size = 0, peaks = x'', note = '', kept = 0").unwrap();
    });
    assert!(problems.iter().any(|p| p.code == "FB0338"), "{problems:#?}");
}

#[test]
fn tiles_and_index_of_streams() {
    let problems = attacked(|db| _ = db.execute("UPDATE tiles SET data = zeroblob(length(data))", []).unwrap());
    has(&problems, "FB0336", Some(0));
    let problems = attacked(|db| _ = db.execute("DELETE FROM tiles", []).unwrap());
    has(&problems, "FB0336", Some(0));
    let problems = attacked(|db| _ = db.execute("INSERT INTO tiles VALUES (2, 0, zeroblob(32))", []).unwrap());
    has(&problems, "FB0336", None);
    let problems = attacked(|db| _ = db.execute("UPDATE streams SET name = 'zzz' WHERE name = 'aaa'", []).unwrap());
    names(&problems, "FB0333", "zzz", 1);
    let problems = attacked(|db| _ = db.execute("UPDATE streams SET closed_seq = 12 WHERE name = 'aaa'", []).unwrap());
    names(&problems, "FB0342", "aaa", 300);
    let problems = attacked(|db| _ = db.execute("DELETE FROM streams WHERE name = 'aaa'", []).unwrap());
    has(&problems, "FB0342", Some(0));
    says(&problems, "FB0342", "is entry 1 of `aaa`");
}

#[test]
fn blobs_and_payloads() {
    let problems = attacked(|db| {
        db.execute("UPDATE chunks SET data = CAST(replace(data, x'0707', x'0708') AS BLOB) WHERE piece = 1", [])
            .unwrap();
    });
    names(&problems, "FB0340", "aaa", 50);
    let problems = attacked(|db| _ = db.execute("DELETE FROM chunks WHERE piece = 1", []).unwrap());
    names(&problems, "FB0340", "aaa", 50);
    let problems = attacked(|db| _ = db.execute("DELETE FROM blobs WHERE bytes > 1000000", []).unwrap());
    names(&problems, "FB0340", "aaa", 50);
    let problems = attacked(|db| _ = db.execute("UPDATE payloads SET salt = zeroblob(32)", []).unwrap());
    names(&problems, "FB0341", "aaa", 50);
    let problems = attacked(|db| _ = db.execute("DELETE FROM payloads", []).unwrap());
    names(&problems, "FB0341", "aaa", 50);
    // Another blob's bytes, consistently.
    let problems = attacked(|db| {
        db.execute("UPDATE payloads SET digest = (SELECT digest FROM blobs WHERE bytes > 1000000)", []).unwrap();
    });
    names(&problems, "FB0341", "aaa", 50);
}

/// Holds those who are named for this code against those who should be.
#[track_caller]
fn names_all(problems: &[Problem], code: &str, expected: &[(&str, u64)]) {
    let named = problems.iter().filter(|p| p.code == code);
    let mut named: Vec<_> = named.map(|p| (p.stream.as_deref().unwrap_or_default(), p.seq.unwrap_or(0))).collect();
    named.sort_unstable();
    assert_eq!(named, expected, "{code} of {problems:#?}");
}

#[test]
fn every_entry_that_relies_on_content_is_named() {
    let own = format!("x'{}'", Digest::of(&[b'p'; 9000]).to_hex());
    let other = format!("x'{}'", Digest::of(&[b'o'; 9000]).to_hex());
    let (all, both) = ([("aaa", 50), ("aaa", 55), ("bbb", 47)], [("aaa", 50), ("bbb", 47)]);
    let run = |sql: String| attacked(move |db| db.execute_batch(&sql).unwrap());
    // Altered and cut: the payloads' commitments tell as well.
    for change in ["substr(data, 1, 4000) || x'00' || substr(data, 4002)", "substr(data, 1, 8999)"] {
        let problems = run(format!("UPDATE chunks SET data = CAST({change} AS BLOB) WHERE digest = {own}"));
        names_all(&problems, "FB0340", &all);
        names_all(&problems, "FB0341", &both);
        says(&problems, "FB0340", &Digest::of(&[b'p'; 9000]).to_string());
    }
    // Its length with it.
    let problems = run(format!(
        "UPDATE chunks SET data = CAST(substr(data, 1, 8999) AS BLOB) WHERE digest = {own}; UPDATE blobs SET bytes = 8999 WHERE digest = {own}"
    ));
    names_all(&problems, "FB0340", &all);
    // Swapped with another's: both are wrong.
    let problems = run(format!(
        "UPDATE chunks SET piece = -1 WHERE digest = {own}; UPDATE chunks SET digest = {own} WHERE digest = {other};
        UPDATE chunks SET digest = {other}, piece = 0 WHERE piece = -1"
    ));
    names_all(&problems, "FB0340", &[all.as_slice(), &[("bbb", 60)]].concat());
    // Said to be another, which is whole: only the commitments show it.
    let problems = run(format!("UPDATE payloads SET digest = {other} WHERE digest = {own}"));
    names_all(&problems, "FB0340", &[]);
    names_all(&problems, "FB0341", &both);
    // Gone: its pieces, its row, the payloads' rows.
    names_all(&run(format!("DELETE FROM chunks WHERE digest = {own}")), "FB0340", &all);
    names_all(&run(format!("DELETE FROM blobs WHERE digest = {own}")), "FB0340", &all);
    names_all(&run("DELETE FROM payloads".into()), "FB0341", &both);
    // One payload's row: its entry alone, and not who relies on the same content.
    let problems = run("DELETE FROM payloads WHERE commitment = (SELECT max(commitment) FROM payloads)".to_string());
    assert_eq!(problems.iter().filter(|p| p.code == "FB0341").count(), 1, "{problems:#?}");
    names_all(&problems, "FB0340", &[]);
    // Of very many, the first.
    let many = format!("DELETE FROM blobs WHERE digest = x'{}'", Digest::of(b"many").to_hex());
    let problems = run(many);
    names_all(&problems, "FB0340", &(100..116).map(|seq| ("bbb", seq)).collect::<Vec<_>>());
    says(&problems, "FB0340", "; 4 more entries rely on it");
}

#[test]
fn foreign_objects_in_the_database() {
    let problems = attacked(|db| {
        db.execute_batch(
            "CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries WHERE leaf = new.leaf - 1; END",
        )
        .unwrap();
    });
    has(&problems, "FB0344", None);
    let problems = attacked(|db| db.execute_batch("CREATE TABLE more (x)").unwrap());
    has(&problems, "FB0344", None);
}

#[test]
fn bytes_of_the_file_itself() {
    // Flip bytes all over the file, under SQLite: nothing may panic, and none of it may go unnoticed as a changed entry.
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    Connection::open(dir.path().join("ledger.db")).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let path = dir.path().join("ledger.db");
    let clean = std::fs::read(&path).unwrap();
    let before: Vec<_> = raw_entries(dir.path()).unwrap();
    for at in (0..clean.len()).step_by(clean.len() / 150) {
        let mut bytes = clean.clone();
        bytes[at] ^= 0x11;
        std::fs::write(&path, &bytes).unwrap();
        let is_found = match Ledger::open_read(dir.path()) {
            Ok(ledger) => ledger.verify(None).map_or(true, |report| !report.ok),
            Err(_) => true,
        };
        // A flip in unused space changes nothing that is recorded, and only that may pass.
        assert!(is_found || raw_entries(dir.path()).is_ok_and(|now| now == before), "byte {at}");
    }
}

type RawEntry = (i64, i64, i64, Vec<u8>);

fn raw_entries(dir: &Path) -> rusqlite::Result<Vec<RawEntry>> {
    let db = Connection::open(dir.join("ledger.db"))?;
    let mut statement = db.prepare("SELECT leaf, stream, seq, data FROM entries ORDER BY leaf")?;
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
    rows.collect()
}

#[test]
fn one_stream_is_verified_by_itself_on_the_whole_tree() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let ledger = Ledger::open_read(dir.path()).unwrap();
    let report = ledger.verify(Some("aaa")).unwrap();
    assert!(report.ok, "{report:#?}");
    assert_eq!(report.entries, ENTRIES / 2);
    assert!(matches!(ledger.verify(Some("zzz")), Err(LedgerError::NoStream(_))));
    let db = Connection::open(dir.path().join("ledger.db")).unwrap();
    let leaf = leaf_of(&db, "aaa", 20);
    put_data(&db, leaf, &data_of(&db, leaf).replace("plain", "fancy"), false);
    names(&ledger.verify(Some("aaa")).unwrap().problems, "FB0330", "aaa", 20);
}

#[test]
fn an_old_copy_put_back_is_consistent_and_only_a_witness_could_tell() {
    // Said plainly, so that nobody takes the report for more than it is.
    let (dir, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    build(dir.path());
    let copy = |from: &Path, to: &Path| {
        Connection::open(from.join("ledger.db")).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
            let _ = std::fs::remove_file(to.join(name));
        }
        std::fs::copy(from.join("ledger.db"), to.join("ledger.db")).unwrap();
    };
    copy(dir.path(), old.path());
    {
        let ledger = Ledger::open(dir.path()).unwrap();
        let draft = Draft { at_ns: 1, kind: Kind::Open, actor: "x".into(), cause: vec![], body: json!({}) };
        ledger.stream("ccc").unwrap().append(draft).unwrap();
    }
    let later = Ledger::open_read(dir.path()).unwrap().signed_head().unwrap().unwrap();
    copy(old.path(), dir.path());
    let report = verify(dir.path());
    assert!(report.ok && report.witnessed_by.is_empty());
    // Who kept the later checkpoint has the proof.
    assert!(Ledger::open_read(dir.path()).unwrap().signed_head().unwrap().unwrap().size < later.size);
}
