#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use serde_json::json;
use std::process::{Command, Stdio};

const DEADLINE_NS: u64 = 1_795_230_000_000_000_000;
const REASON: &str = "two \"words\"\nand verdict deny";

fn question(id: &str) -> Question {
    let action =
        json!({"verb": "fs.write", "resource": {"type": "File", "path": "/w/a"}, "surface": "fs", "agent": "a"});
    serde_json::from_value(json!({
        "id": id, "of": 9, "action": "sha256:a", "tier": "t", "who": ["user:ann"], "quorum": 1, "deadline_ns": DEADLINE_NS,
        "attempt": action, "reasons": [], "also": [{"of": 11, "action": "sha256:b", "attempt": action}],
    }))
    .unwrap()
}

fn statement(id: &str, expires_ns: u64) -> Statement {
    question(id).statement(Verdict::Allow, None, REASON, &rfc3339(expires_ns))
}

/// Who signed this answer to all of that question.
fn answers(signed: &Signed, id: &str, verdict: Verdict, reason: &str, now_ns: u64) -> Result<String, SignatureError> {
    check(signed, &question(id).statement(verdict, None, reason, ""), DEADLINE_NS, now_ns)
}

/// A folder with a key of `ssh-keygen`'s; none where there is no `ssh-keygen`.
fn keys(arguments: &[&str]) -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-C", "ann@corp", "-f"])
        .arg(dir.path().join("key"))
        .args(arguments)
        .stdin(Stdio::null())
        .status();
    match made {
        Ok(status) => assert!(status.success()),
        Err(error) => {
            println!("skipped: ssh-keygen can't be run: {error}");
            return None;
        }
    }
    Some(dir)
}

fn plain() -> Option<tempfile::TempDir> {
    keys(&["-t", "ed25519", "-N", ""])
}

fn contact(dir: &Path) -> String {
    let public = std::fs::read_to_string(dir.join("key.pub")).unwrap();
    let words: Vec<&str> = public.split_whitespace().collect();
    format!("key:{} {}", words[0], words[1])
}

#[test]
fn a_statement_is_read_as_it_was_written_and_in_no_other_way() {
    let mut said = statement("s-9", DEADLINE_NS);
    said.with = Some("sha256:c".to_owned());
    let text = said.text();
    assert_eq!(Statement::read(&text), Ok(said));
    assert_eq!(text.lines().count(), 8, "a reason's line ends are no lines: {text}");
    for wrong in [
        String::new(),
        text.replacen("flyball answer 1", "flyball answer 2", 1),
        format!("{text}\n"),
        text.trim_end().to_owned(),
        text.replace('\n', "\r\n"),
        format!("{text}question other\n"),
        format!("{text}verdict deny\n"),
        text.replacen("reason ", "because ", 1),
        "flyball answer 1\n".repeat(30_000),
    ] {
        assert!(matches!(Statement::read(&wrong), Err(SignatureError::NoStatement(_))), "{wrong}");
    }
}

#[test]
fn what_ssh_keygen_signs_is_taken_and_what_we_sign_ssh_keygen_verifies() {
    let Some(dir) = plain() else { return };
    let said = statement("s-9", DEADLINE_NS);
    let file = dir.path().join("answer");
    std::fs::write(&file, said.text()).unwrap();
    let key = dir.path().join("key");
    let made =
        Command::new("ssh-keygen").args(["-Y", "sign", "-n", NAMESPACE, "-f"]).arg(&key).arg(&file).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let sshsig = std::fs::read_to_string(dir.path().join("answer.sig")).unwrap();
    let theirs = Signed { statement: said.text(), sshsig };
    let by = answers(&theirs, "s-9", Verdict::Allow, REASON, DEADLINE_NS - 1);
    assert_eq!(by, Ok(contact(dir.path())));

    let ours = sign(&said, &key).unwrap();
    std::fs::write(dir.path().join("ours.sig"), &ours.sshsig).unwrap();
    let public = std::fs::read_to_string(dir.path().join("key.pub")).unwrap();
    std::fs::write(dir.path().join("allowed"), format!("ann@corp {public}")).unwrap();
    let verified = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-I", "ann@corp", "-n", NAMESPACE, "-f"])
        .arg(dir.path().join("allowed"))
        .arg("-s")
        .arg(dir.path().join("ours.sig"))
        .stdin(std::fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn a_signature_is_for_one_answer_to_one_question_for_a_while() {
    let Some(dir) = plain() else { return };
    let key = dir.path().join("key");
    let signed = |said: &Statement| sign(said, &key).unwrap();
    let said = statement("s-9", DEADLINE_NS);
    let good = signed(&said);
    let (allow, now_ns) = (Verdict::Allow, DEADLINE_NS - 1);
    let why = |signed: &Signed, id: &str, verdict, reason: &str, now_ns| {
        answers(signed, id, verdict, reason, now_ns).map_err(|e| e.to_string()).unwrap_err()
    };
    let changed = |from: &str, to: &str| {
        let statement = good.statement.replacen(from, to, 1);
        assert_ne!(statement, good.statement);
        Signed { statement, ..good.clone() }
    };
    for (told, error) in [
        (why(&good, "s-10", allow, REASON, now_ns), "signed for another question: `s-9@0`, not `s-10@0`"),
        (why(&good, "s-9", Verdict::Deny, REASON, now_ns), "signed for another answer: `allow`, not `deny`"),
        (why(&good, "s-9", allow, "another", now_ns), "signed for another reason: "),
        (why(&good, "s-9", allow, REASON, DEADLINE_NS), "the signed answer expired at 2026-11-21T03:00:00"),
        (why(&signed(&statement("s-9", DEADLINE_NS + 1)), "s-9", allow, REASON, now_ns), "would be good until"),
        // A statement that says what is wanted, with a signature that was made under another.
        (why(&changed("s-9", "s-10"), "s-10", allow, REASON, now_ns), "the signature does not hold"),
        (why(&changed("words", "wards"), "s-9", allow, REASON, now_ns), "the signature does not hold"),
        (why(&changed("2026", "2027"), "s-9", allow, REASON, now_ns), "the signature does not hold"),
        (why(&changed("action sha256:b\n", ""), "s-9", allow, REASON, now_ns), "the signature does not hold"),
        (why(&Signed { sshsig: "none".into(), ..good.clone() }, "s-9", allow, REASON, now_ns), "can't be read"),
    ] {
        assert!(told.contains(error), "`{error}` is not in: {told}");
    }
    let mut fewer = said.clone();
    fewer.actions.pop();
    assert!(why(&signed(&fewer), "s-9", allow, REASON, now_ns).contains("another action"));
    assert_eq!(answers(&good, "s-9", allow, REASON, now_ns), Ok(contact(dir.path())));
    // Another key signs for itself, not for this one.
    let Some(other) = plain() else { return };
    let theirs = sign(&said, &other.path().join("key")).unwrap();
    assert_eq!(answers(&theirs, "s-9", allow, REASON, now_ns), Ok(contact(other.path())));
    assert_ne!(contact(other.path()), contact(dir.path()));
    // The statement of one with the signature of another on something else.
    let mixed = Signed { sshsig: signed(&statement("s-8", DEADLINE_NS)).sshsig, ..good.clone() };
    assert!(why(&mixed, "s-9", allow, REASON, now_ns).contains("does not hold"));
}

#[test]
fn a_signature_for_another_purpose_or_of_another_kind_is_none() {
    let Some(dir) = plain() else { return };
    let said = statement("s-9", DEADLINE_NS);
    let key = PrivateKey::from_openssh(std::fs::read(dir.path().join("key")).unwrap()).unwrap();
    let sig = key.sign("file", HashAlg::Sha512, said.text().as_bytes());
    let other = Signed { statement: said.text(), sshsig: sig.unwrap().to_pem(LineEnding::LF).unwrap() };
    assert_eq!(signer(&other), Err(SignatureError::Namespace { signed: "file".to_owned(), wanted: NAMESPACE }));
    let Some(rsa) = keys(&["-t", "ecdsa", "-N", ""]) else { return };
    let error = sign(&said, &rsa.path().join("key")).unwrap_err().to_string();
    assert!(error.contains("ecdsa") || error.contains("can't use the key"), "{error}");
}

#[test]
fn a_key_with_a_passphrase_signs_by_its_agent() {
    let Some(dir) = keys(&["-t", "ed25519", "-N", "secret words"]) else { return };
    let error = sign(&statement("s-9", DEADLINE_NS), &dir.path().join("key")).unwrap_err().to_string();
    assert!(error.contains("no key that can sign by itself"), "{error}");
}

#[test]
fn an_act_is_read_as_it_was_written_and_in_no_other_way() {
    let said = ActStatement {
        session: "s1".into(),
        after: 7,
        act: "autonomy".into(),
        to: "bounded\nafter 8".into(),
        reason: REASON.into(),
        expires: rfc3339(DEADLINE_NS),
    };
    let text = said.text();
    assert_eq!(ActStatement::read(&text), Ok(said));
    let other = |from: &str, to: &str| {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert!(matches!(ActStatement::read(&changed), Err(SignatureError::NoStatement(_))), "{changed}");
    };
    other("flyball act 1", "flyball answer 1");
    other("after 7", "after 07");
    other("act autonomy\n", "");
    other("expires", "expired");
    other("session s1\nafter 7", "after 7\nsession s1");
    assert!(ActStatement::read(&format!("{text}x y\n")).is_err());
    assert!(ActStatement::read(&text.repeat(100_000)).is_err());
}

#[test]
fn a_signed_act_is_for_one_session_once_and_for_minutes() {
    let Some(dir) = plain() else { return };
    let key = dir.path().join("key");
    let act = |level: &str| crate::control::Request::Autonomy { level: level.into(), reason: REASON.into() };
    let signed_until = |expires_ns: u64| {
        let said = ActStatement::of(&act("bounded"), "s1", 7, &rfc3339(expires_ns)).unwrap();
        sign_text(&said.text(), ACT_NAMESPACE, &key).unwrap()
    };
    let now_ns = DEADLINE_NS - 60_000_000_000;
    let why = |signed: &Signed, level: &str, session: &str, after: u64| {
        check_act(signed, &act(level), session, after, "user:ann", now_ns).map(|actor| actor.contact)
    };
    let good = signed_until(DEADLINE_NS);
    assert_eq!(why(&good, "bounded", "s1", 7), Ok(contact(dir.path())));
    let answer = sign(&statement("s-9", DEADLINE_NS), &key).unwrap();
    for (told, error) in [
        (why(&good, "extended", "s1", 7), "another charter, level or label"),
        (why(&good, "bounded", "s2", 7), "another session"),
        (why(&good, "bounded", "s1", 8), "it was used, or another act came first"),
        (why(&signed_until(now_ns), "bounded", "s1", 7), "expired at"),
        (why(&signed_until(now_ns + 301_000_000_000), "bounded", "s1", 7), "none is beyond five minutes"),
        (why(&answer, "bounded", "s1", 7), "made for `flyball-answer`, not for `flyball-act`"),
    ] {
        let told = told.unwrap_err();
        assert!(told.contains(error), "`{error}` is not in: {told}");
    }
    let pause = crate::control::Request::Pause { reason: String::new() };
    assert!(check_act(&good, &pause, "s1", 7, "user:ann", now_ns).is_err(), "it is none of the acts that are signed");
}
