//! Witnesses, proofs of one entry, and keys that follow each other: a ledger that is taken back or shows two histories is found by
//! whoever saw the other one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signature, VerifyingKey};
use flyball_ledger::bundle::{self, Export, Limits};
use flyball_ledger::witness::{Answered, Asked, Said, Witness};
use flyball_ledger::{Checkpoint, Cosigner, Draft, Kind, Ledger, LedgerError, Note, Proof};
use serde_json::json;
use std::path::Path;

fn append(ledger: &Ledger, stream: &str, count: u64, text: &str) {
    let stream = ledger.stream(stream).unwrap();
    for _ in 0..count {
        let kind = if stream.last_seq() == 0 { Kind::Open } else { Kind::Attempt };
        let draft = Draft {
            at_ns: stream.last_at_ns() + 1,
            kind,
            actor: "x".into(),
            cause: vec![],
            body: json!({"text": text}),
        };
        stream.append(draft).unwrap();
    }
    stream.flush().unwrap();
}

/// Asks as the runtime does, without the network between.
fn ask(ledger: &Ledger, witness: &Witness, asked: &Asked) -> Result<Option<u64>, LedgerError> {
    let mut old = None;
    for _ in 0..4 {
        let Some((body, note)) = ledger.ask(asked, old)? else { return Ok(None) };
        let said = std::str::from_utf8(&body).unwrap().lines().next().unwrap()[4..].parse().unwrap();
        let (status, _, answer) = witness.add_checkpoint(&body, 1_700_000_000).status();
        match ledger.answered(asked, &note, said, status, &answer)? {
            Answered::Cosigned(size, at) => {
                assert_eq!(at, 1_700_000_000);
                return Ok(Some(size));
            }
            Answered::Again(size) => old = Some(size),
        }
    }
    panic!("it asks for ever");
}

struct Scene {
    dir: tempfile::TempDir,
    witness: Witness,
    asked: Asked,
}

fn scene() -> (Scene, Ledger) {
    let dir = tempfile::tempdir().unwrap();
    let witness = Witness::open(&dir.path().join("w"), Some("w.example/1")).unwrap();
    let ledger = Ledger::open(&dir.path().join("l")).unwrap();
    append(&ledger, "s", 5, "first");
    let asked = Asked { url: "http://w".into(), cosigner: witness.cosigner().clone() };
    ledger.add_witness(&asked.url, &asked.cosigner).unwrap();
    (Scene { dir, witness, asked }, ledger)
}

/// Copies the ledger's files, as whoever takes it back later would.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to)
        } else {
            _ = std::fs::copy(entry.path(), &to).unwrap()
        }
    }
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
}

#[test]
fn what_goes_on_is_cosigned_and_told() {
    let (Scene { witness, asked, dir: _dir }, ledger) = scene();
    let report = ledger.verify(None).unwrap();
    assert!(report.ok && report.witnessed_by.is_empty(), "unwitnessed until somebody asked");
    let refused = ask(&ledger, &witness, &asked).unwrap_err();
    assert!(matches!(refused, LedgerError::Witness { .. }), "it does not know the ledger yet: {refused}");
    witness.trust(ledger.verifier()).unwrap();
    assert_eq!(ask(&ledger, &witness, &asked).unwrap(), Some(5));
    assert_eq!(ask(&ledger, &witness, &asked).unwrap(), None, "nothing new");
    append(&ledger, "s", 300, "more");
    assert_eq!(ask(&ledger, &witness, &asked).unwrap(), Some(305));
    let report = ledger.verify(None).unwrap();
    assert!(report.ok, "{:#?}", report.problems);
    assert_eq!(report.witnessed_by, [asked.cosigner.to_vkey()]);
    assert_eq!((report.witnessed[0].size, report.witnessed[0].at.as_str()), (305, "2023-11-14T22:13:20.000000000Z"));

    // What leaves the ledger afterwards carries it.
    append(&ledger, "other", 3, "later");
    let mut bytes = Vec::new();
    ledger.export(&Export { session: "s".into(), ..Export::default() }, &mut bytes).unwrap();
    let opened = bundle::read(bytes.as_slice(), Path::new("x"), Limits::default()).unwrap();
    assert!(opened.report.ok, "{:#?}", opened.report.problems);
    assert_eq!(opened.checkpoint.unwrap().size, 305, "the last one that was witnessed and has all of the session");
    assert_eq!(asked.cosigner.cosigned_at(&opened.note.unwrap()), Some(1_700_000_000));
    let (_, proof) = ledger.prove_entry("s", 7).unwrap();
    assert!(asked.cosigner.cosigned_at(&Note::parse(proof.note.as_bytes()).unwrap()).is_some());
    let (_, proof) = ledger.prove_entry("other", 1).unwrap();
    assert!(asked.cosigner.cosigned_at(&Note::parse(proof.note.as_bytes()).unwrap()).is_none(), "not in that tree");
}

#[test]
fn a_ledger_that_was_taken_back_whole_is_found() {
    let (Scene { dir, witness, asked }, ledger) = scene();
    witness.trust(ledger.verifier()).unwrap();
    drop(ledger);
    let (now, then) = (dir.path().join("l"), dir.path().join("then"));
    copy(&now, &then);
    let ledger = Ledger::open(&now).unwrap();
    append(&ledger, "s", 4, "what somebody wants gone");
    assert_eq!(ask(&ledger, &witness, &asked).unwrap(), Some(9));
    drop(ledger);
    // The database only: what the witness cosigned lies beside it.
    std::fs::copy(then.join("ledger.db"), now.join("ledger.db")).unwrap();
    for left in ["ledger.db-wal", "ledger.db-shm"] {
        let _ = std::fs::remove_file(now.join(left));
    }
    let report = Ledger::open_read(&now).unwrap().verify(None).unwrap();
    assert!(report.problems.iter().any(|p| p.code == "FB0331" && p.message.contains("w.example/1")), "{report:#?}");
    // All of it: nothing here can tell, and the witness does.
    std::fs::remove_dir_all(&now).unwrap();
    copy(&then, &now);
    let ledger = Ledger::open(&now).unwrap();
    let report = ledger.verify(None).unwrap();
    assert!(report.ok && report.witnessed_by.is_empty(), "{report:#?}");
    let error = ask(&ledger, &witness, &asked).unwrap_err();
    assert!(
        matches!(&error, LedgerError::OtherHistory { cause, .. } if cause.contains("9 entries, and here are 5")),
        "{error}"
    );
    // Grown again to the same size, and beyond it, with other entries.
    append(&ledger, "s", 4, "another story");
    assert!(matches!(ask(&ledger, &witness, &asked).unwrap_err(), LedgerError::OtherHistory { .. }));
    append(&ledger, "s", 4, "another story");
    let error = ask(&ledger, &witness, &asked).unwrap_err();
    assert!(
        matches!(&error, LedgerError::OtherHistory { cause, .. } if cause.contains("not the beginning")),
        "{error}"
    );
    assert_eq!(error.code(), "FB0347");
}

#[test]
fn of_two_histories_only_one_is_cosigned() {
    let (Scene { dir, witness, asked }, ledger) = scene();
    witness.trust(ledger.verifier()).unwrap();
    assert_eq!(ask(&ledger, &witness, &asked).unwrap(), Some(5));
    drop(ledger);
    copy(&dir.path().join("l"), &dir.path().join("fork"));
    let (one, two) = (Ledger::open(&dir.path().join("l")).unwrap(), Ledger::open(&dir.path().join("fork")).unwrap());
    append(&one, "s", 2, "for ann");
    append(&two, "s", 2, "for bob");
    assert!(one.verify(None).unwrap().ok && two.verify(None).unwrap().ok, "each by itself");
    assert_eq!(ask(&one, &witness, &asked).unwrap(), Some(7));
    assert!(matches!(ask(&two, &witness, &asked).unwrap_err(), LedgerError::OtherHistory { .. }));
    // A cosignature is of one text: carried over to the other history it is none.
    let id: String = asked.cosigner.id().iter().map(|b| format!("{b:02x}")).collect();
    std::fs::copy(dir.path().join("l/witnesses").join(&id), dir.path().join("fork/witnesses").join(&id)).unwrap();
    let report = two.verify(None).unwrap();
    assert!(report.problems.iter().any(|p| p.code == "FB0339" && p.message.contains("w.example/1")), "{report:#?}");
}

#[test]
fn the_protocol_is_kept() {
    let (Scene { dir, witness, asked }, ledger) = scene();
    let (body, note) = ledger.ask(&asked, None).unwrap().unwrap();
    let status = |body: &[u8]| witness.add_checkpoint(body, 1).status();
    assert_eq!(status(&body).0, 404, "an unknown ledger");
    witness.trust(ledger.verifier()).unwrap();
    for bad in ["", "old\n\n", "old 01\n\n", "old x\n\n", "old 0\nAAAA\n\n"] {
        assert_eq!(status(format!("{bad}{note}").as_bytes()).0, 400, "{bad:?}");
    }
    let hash = BASE64.encode([7; 32]);
    assert_eq!(status(format!("old 0\n{}\n{note}", format!("{hash}\n").repeat(64)).as_bytes()).0, 400, "64 hashes");
    assert_eq!(status(format!("old 6\n\n{note}").as_bytes()).0, 400, "old beyond the checkpoint");
    assert_eq!(status(format!("old 0\n{hash}\n\n{note}").as_bytes()).0, 422, "a proof from nothing");
    let forged = note.replacen("\n5\n", "\n6\n", 1);
    assert_eq!(status(format!("old 0\n\n{forged}").as_bytes()).0, 403, "not signed");
    let (code, _, line) = status(&body);
    assert!(code == 200 && line.starts_with("— w.example/1 ") && line.ends_with('\n'), "{code} {line}");
    assert_eq!(status(&body), (409, "text/x.tlog.size", "5\n".to_owned()), "seen since");
    copy(&dir.path().join("l"), &dir.path().join("split"));
    append(&ledger, "s", 3, "more");
    let (body, _) = ledger.ask(&asked, Some(5)).unwrap().unwrap();
    let broken = String::from_utf8(body.clone())
        .unwrap()
        .lines()
        .enumerate()
        .filter(|(n, _)| *n != 1)
        .map(|(_, l)| format!("{l}\n"))
        .collect::<String>();
    assert_eq!(status(broken.as_bytes()).0, 422, "half a proof");
    // What it saw outlives it, and so does its key.
    drop(witness);
    let again = Witness::open(&dir.path().join("w"), Some("another name")).unwrap();
    assert_eq!(again.cosigner(), &asked.cosigner);
    assert!(matches!(again.add_checkpoint(&body, 2), Said::Cosigned(_)));
    // As many entries under the same key, and others: the answer is what was seen, not that a proof is wrong.
    let split = Ledger::open(&dir.path().join("split")).unwrap();
    append(&split, "s", 3, "less");
    let other = format!("old 8\n\n{}", split.checkpoint().unwrap().unwrap());
    assert_eq!(again.add_checkpoint(other.as_bytes(), 3).status(), (409, "text/x.tlog.size", "8\n".to_owned()));
    // Two at once: one of them saw what the other stored.
    append(&ledger, "s", 3, "more");
    let (body, _) = ledger.ask(&asked, Some(8)).unwrap().unwrap();
    let said: Vec<Said> = std::thread::scope(|scope| {
        let asks: Vec<_> = (0..8)
            .map(|n| {
                scope.spawn({
                    let (again, body) = (&again, &body);
                    move || again.add_checkpoint(body, n)
                })
            })
            .collect();
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    });
    assert_eq!(said.iter().filter(|said| matches!(said, Said::Cosigned(_))).count(), 1, "{said:?}");
    assert!(said.iter().all(|said| matches!(said, Said::Cosigned(_) | Said::Conflict(11))), "{said:?}");
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir.path().join("w/witness.key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Witness::open(&dir.path().join("w"), None).map(drop), Err(LedgerError::KeyExposed { .. })));
}

#[test]
fn cosignatures_are_what_the_specification_says() {
    let (Scene { witness, asked, dir: _dir }, ledger) = scene();
    witness.trust(ledger.verifier()).unwrap();
    let (body, note) = ledger.ask(&asked, None).unwrap().unwrap();
    let Said::Cosigned(line) = witness.add_checkpoint(&body, 1_679_315_147) else { panic!("not cosigned") };
    // Taken apart by hand, with nothing of ours.
    let (name, data) = line.trim_end().strip_prefix("— ").unwrap().split_once(' ').unwrap();
    let data = BASE64.decode(data).unwrap();
    let vkey = asked.cosigner.to_vkey();
    let parts: Vec<&str> = vkey.splitn(3, '+').collect();
    let key = BASE64.decode(parts[2]).unwrap();
    assert_eq!((name, key[0], key.len(), data.len()), ("w.example/1", 4, 33, 4 + 8 + 64));
    let id = flyball_ledger::Digest::of(&[name.as_bytes(), b"\n", &key].concat());
    assert_eq!((&data[..4], parts[1]), (&id.0[..4], id.to_hex().get(..8).unwrap()));
    assert_eq!(u64::from_be_bytes(data[4..12].try_into().unwrap()), 1_679_315_147);
    let text = note.split_once("\n\n").unwrap().0;
    let message = format!("cosignature/v1\ntime 1679315147\n{text}\n");
    let verifying = VerifyingKey::from_bytes(key[1..].try_into().unwrap()).unwrap();
    verifying.verify_strict(message.as_bytes(), &Signature::from_slice(&data[12..]).unwrap()).unwrap();
    // The other reader of notes takes it as one more signature that it does not know.
    let whole = format!("{note}{line}");
    let theirs = signed_note::Note::from_bytes(whole.as_bytes()).unwrap();
    let known = signed_note::StandardVerifier::new(&ledger.verifier().to_vkey()).unwrap();
    let (known, unknown) = theirs.verify(&signed_note::VerifierList::new(vec![Box::new(known)])).unwrap();
    assert_eq!((known.len(), unknown.len()), (1, 1));
    // One bit of it, and it is none.
    assert!(asked.cosigner.cosigned_at(&Note::parse(whole.as_bytes()).unwrap()).is_some());
    for at in 0..76 {
        let mut bad = data.clone();
        bad[at] ^= 1;
        let bad = format!("{note}— {name} {}\n", BASE64.encode(bad));
        assert!(asked.cosigner.cosigned_at(&Note::parse(bad.as_bytes()).unwrap()).is_none(), "{at}");
    }
    assert!(Cosigner::parse(&ledger.verifier().to_vkey()).is_err(), "a ledger's key is no witness's");
    assert_eq!(Cosigner::parse(&vkey).unwrap(), asked.cosigner);
}

#[test]
fn a_proof_of_one_entry_is_read_by_others() {
    let (_scene, ledger) = scene();
    append(&ledger, "t", 700, "much");
    let head = Checkpoint::parse(&Note::parse(ledger.checkpoint().unwrap().unwrap().as_bytes()).unwrap().text).unwrap();
    for (stream, seq) in [("s", 1), ("s", 5), ("t", 1), ("t", 300), ("t", 700)] {
        let (entry, proof) = ledger.prove_entry(stream, seq).unwrap();
        let text = proof.to_text();
        assert_eq!(Proof::parse(text.as_bytes()).unwrap(), proof);
        assert!(proof.holds(&entry.raw, &head));
        let mut other = entry.raw.clone();
        other[3] ^= 1;
        assert!(!proof.holds(&other, &head));
        // Line by line as the specification has it, and by the other implementation of proofs.
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
        assert!(lines.next().unwrap().starts_with("extra "));
        assert_eq!(lines.next().unwrap(), format!("index {}", entry.index));
        let hashes: Vec<tlog_tiles::Hash> = lines
            .by_ref()
            .take_while(|line| !line.is_empty())
            .map(|line| tlog_tiles::Hash(BASE64.decode(line).unwrap().try_into().unwrap()))
            .collect();
        let note: String = lines.map(|line| format!("{line}\n")).collect();
        let theirs = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
        let theirs = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
        tlog_tiles::check_record(
            &hashes,
            theirs.size(),
            *theirs.hash(),
            entry.index,
            tlog_tiles::record_hash(&entry.raw),
        )
        .unwrap();
    }
    // The specification's shape without extra data, and what is none.
    let (_, mut proof) = ledger.prove_entry("s", 2).unwrap();
    proof.keys = None;
    let text = proof.to_text();
    assert!(Proof::parse(text.as_bytes()).is_ok_and(|read| read == proof));
    for (from, to) in [
        ("@v1", "@v2"),
        ("index 1", "index 01"),
        ("index 1", "index"),
        ("\n\n", "\n"),
        ("index 1\n", "index 1\nAAAA\n"),
    ] {
        assert!(Proof::parse(text.replacen(from, to, 1).as_bytes()).is_err(), "{from:?}");
    }
    assert!(
        Proof::parse(
            text.replacen("index 1\n", &format!("index 1\n{}", format!("{}\n", BASE64.encode([1; 32])).repeat(65)), 1)
                .as_bytes()
        )
        .is_err()
    );
    assert!(matches!(ledger.prove_entry("s", 99), Err(LedgerError::NoEntry { .. })));
}

#[test]
fn a_key_follows_another_while_a_session_runs() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let first = ledger.verifier().to_vkey();
    append(&ledger, "s", 4, "before");
    for n in 1..=3u64 {
        let keys = Ledger::rotate_key(dir.path(), n).unwrap();
        assert_eq!((keys.rotations().len() as u64, keys.first().to_vkey()), (n, first.clone()));
        // The handle from before goes on, under the new key.
        append(&ledger, "s", 2, "after");
        let report = Ledger::open_read(dir.path()).unwrap().verify(None).unwrap();
        assert!(report.ok, "{:#?}", report.problems);
        assert_eq!(report.signed_by, [keys.current().to_vkey()]);
    }
    // A change that was cut off when the new key was announced is finished by the next who opens it.
    let key = dir.path().join("keys/ledger.key");
    let old = std::fs::read(&key).unwrap();
    drop(ledger);
    Ledger::rotate_key(dir.path(), 9).unwrap();
    std::fs::rename(&key, dir.path().join("keys/ledger.key.next")).unwrap();
    std::fs::write(&key, &old).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    append(&ledger, "s", 1, "goes on");
    assert!(Ledger::open_read(dir.path()).unwrap().verify(None).unwrap().ok);
    drop(ledger);
    // The old key alone, a chain without its end, a chain that was changed: nothing is signed by any of them.
    let chain = dir.path().join("keys/rotations.jsonl");
    let text = std::fs::read_to_string(&chain).unwrap();
    let without_last: String = text.lines().take(3).map(|l| format!("{l}\n")).collect();
    for bad in
        [without_last, text.replacen("key-rotation", "key-rotatiom", 1), text.replacen("/v1", "/v2", 1), "x\n".into()]
    {
        std::fs::write(&chain, bad).unwrap();
        assert!(matches!(Ledger::open(dir.path()).map(drop), Err(LedgerError::Key { .. })));
    }
    std::fs::write(&chain, &text).unwrap();
    std::fs::write(&key, &old).unwrap();
    assert!(
        matches!(Ledger::open(dir.path()).map(drop), Err(LedgerError::Key { .. })),
        "a key that was replaced signs no more"
    );
}
