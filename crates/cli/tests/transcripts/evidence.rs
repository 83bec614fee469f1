//! What a session's file shows to somebody who has nothing else.

use crate::fixture;
use crate::scene::Scene;
use flyball_ledger::{Draft, Kind, Ledger};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

/// What the last command printed, and its exit code.
fn last(scene: &Scene) -> (String, String) {
    let text = scene.transcript();
    let (_, last) = text.trim_end().rsplit_once("$ flyball ").unwrap();
    let (head, code) = last.rsplit_once("\n[exit ").unwrap();
    (head.split_once('\n').map(|(_, out)| out.to_owned()).unwrap_or_default(), code.trim_end_matches(']').to_owned())
}

fn said(scene: &mut Scene, words: &[&str]) -> (String, String) {
    scene.type_in(words);
    last(scene)
}

fn json(scene: &mut Scene, words: &[&str], code: &str) -> Value {
    let (text, exit) = said(scene, words);
    assert_eq!(exit, code, "{words:?}: {text}");
    serde_json::from_str(text.lines().find(|l| l.starts_with('{')).unwrap()).unwrap()
}

/// A scene without a ledger, with what `from` made in its repository.
fn stranger(from: &Scene, files: &[&str]) -> Scene {
    let scene = Scene::new();
    for file in files {
        std::fs::copy(from.repo().join(file), scene.repo().join(file)).unwrap();
    }
    scene
}

#[test]
fn a_session_in_a_file_is_verified_by_a_stranger() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    let (text, code) = said(&mut scene, &["export", "@", "-o", "s.flyball"]);
    assert!(code == "0" && text.contains("22 entries of session 0samp1esess1, 0 blobs"), "{text}");
    let made = json(&mut scene, &["--json", "export", "@", "-o", "bare.flyball", "--without-payloads"], "0");
    assert_eq!((&made["entries"], &made["blobs"], &made["payloads"]), (&22.into(), &0.into(), &false.into()));
    let key = made["key"].as_str().unwrap().to_owned();
    assert_eq!(json(&mut scene, &["--json", "key", "show"], "0")["key"], key.as_str());

    let mut other = stranger(&scene, &["s.flyball", "bare.flyball"]);
    let (text, code) = said(&mut other, &["verify", "./s.flyball"]);
    assert_eq!(code, "0", "{text}");
    for line in [
        "verified: 22 entries of session 0samp1esess1 in a bundle",
        "a key that only this file vouches for",
        "witnessed by  nobody",
        "shown         entries 1 to 22, each byte as it was",
        "shown         0 blobs",
        "not shown     whose key it is",
        "not shown     whether anything was recorded of the session after entry 22 (it was closed at 22)",
        "not shown     what the ledger holds besides, and after its first 22 entries",
    ] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }
    let shown = json(&mut other, &["--json", "verify", "s.flyball", "--key", &key], "0");
    assert_eq!((&shown["ok"], &shown["entries"], &shown["checkpoints"]), (&true.into(), &22.into(), &1.into()));
    assert_eq!(shown["signed_by"], json!([key]));
    assert_eq!((&shown["witnessed_by"], &shown["problems"]), (&json!([]), &json!([])));
    assert_eq!((&shown["bundle"]["key"], &shown["bundle"]["payloads"]), (&"pinned".into(), &"all".into()));
    let shown = json(&mut other, &["--json", "verify", "bare.flyball", "--key", &key], "0");
    assert_eq!(shown["bundle"]["payloads"], "commitments");
    assert!(shown["bundle"]["not_shown"].to_string().contains("only their commitments"), "{shown}");

    // Another ledger's key, a flipped byte, half a file, something else, nothing.
    let mut third = Scene::new();
    fixture::session(&third);
    let foreign = json(&mut third, &["--json", "key", "show"], "0")["key"].as_str().unwrap().to_owned();
    let shown = json(&mut other, &["--json", "verify", "s.flyball", "--key", &foreign], "103");
    assert_eq!(shown["problems"][0]["code"], "FB0348");
    let bytes = std::fs::read(other.repo().join("s.flyball")).unwrap();
    let at = bytes.windows(9).position(|w| w == b"not today").unwrap();
    let mut bad = bytes.clone();
    bad[at] = b'N';
    std::fs::write(other.repo().join("bad.flyball"), &bad).unwrap();
    let shown = json(&mut other, &["--json", "verify", "bad.flyball"], "103");
    assert_eq!((&shown["problems"][0]["code"], &shown["problems"][0]["seq"]), (&"FB0330".into(), &17.into()));
    std::fs::write(other.repo().join("half.flyball"), &bytes[..bytes.len() / 2]).unwrap();
    let (text, code) = said(&mut other, &["verify", "half.flyball"]);
    assert!(code == "103" && text.contains("error[FB0324]") && text.contains("cut off after byte"), "{text}");
    let three = String::from_utf8_lossy(&bytes[..600]).replace("\"version\":2", "\"version\":3").into_bytes();
    std::fs::write(other.repo().join("three.flyball"), three.iter().chain(&bytes[600..]).copied().collect::<Vec<_>>())
        .unwrap();
    let (text, code) = said(&mut other, &["verify", "three.flyball"]);
    assert!(code == "1" && text.contains("error[FB0325]"), "{text}");
    let (text, code) = said(&mut other, &["verify", "s.flyball", "--max-bytes", "100"]);
    assert!(code == "1" && text.contains("error[FB0326]") && text.contains("--max-bytes"), "{text}");
    let (text, code) = said(&mut other, &["verify", "./absent"]);
    assert!(code == "1" && text.contains("error[FB0512]"), "{text}");
    let (text, code) = said(&mut other, &["verify", "s.flyball", "--key", "x"]);
    assert!(code == "1" && text.contains("error[FB0323]"), "{text}");
}

#[test]
fn a_file_with_a_sessions_name_is_not_taken_for_the_session() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    scene.write("sample", "an agent made this");
    let (text, code) = said(&mut scene, &["verify", "sample"]);
    assert!(code == "0" && text.contains("22 entries of session"), "{text}");
    let (text, code) = said(&mut scene, &["verify", "./sample"]);
    assert!(code == "103" && text.contains("FB0324"), "{text}");
}

#[test]
fn a_key_that_was_changed_is_followed() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    let old = json(&mut scene, &["--json", "key", "show"], "0");
    let new = json(&mut scene, &["--json", "key", "rotate"], "0");
    assert_eq!((&new["ledger"], &new["first"]), (&old["ledger"], &old["key"]));
    assert_ne!(new["key"], old["key"]);
    assert_eq!(new["rotations"][0]["size"], 22);
    let shown = json(&mut scene, &["--json", "verify"], "0");
    assert_eq!(shown["signed_by"], json!([new["key"]]));
    scene.type_in(&["export", "@", "-o", "s.flyball"]);
    let mut other = stranger(&scene, &["s.flyball"]);
    for key in [&old["key"], &new["key"]] {
        let shown = json(&mut other, &["--json", "verify", "s.flyball", "--key", key.as_str().unwrap()], "0");
        assert_eq!((&shown["bundle"]["key"], &shown["signed_by"][0]), (&"pinned".into(), &new["key"]));
    }
    let (text, _) = said(&mut scene, &["key", "show"]);
    assert!(text.contains("at 22 entries, to") && text.contains("fingerprint"), "{text}");

    // A lost key and loose permissions.
    let file = scene.ledger().join("keys/ledger.key");
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (text, code) = said(&mut scene, &["key", "rotate"]);
    assert!(code == "1" && text.contains("error[FB0307]") && text.contains("chmod go-rwx"), "{text}");
    std::fs::remove_file(&file).unwrap();
    let (text, code) = said(&mut scene, &["key", "rotate"]);
    assert!(code == "1" && text.contains("error[FB0308]") && text.contains("missing"), "{text}");
}

#[test]
fn one_entry_is_proved_by_itself() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    let (text, code) = said(&mut scene, &["prove", "@", "13"]);
    assert!(code == "0" && text.starts_with("c2sp.org/tlog-proof@v1\n") && text.contains("\nindex 12\n"), "{text}");
    scene.type_in(&["prove", "@", "13", "-o", "p.tlog-proof"]);
    let key = json(&mut scene, &["--json", "key", "show"], "0")["key"].as_str().unwrap().to_owned();
    let mut other = stranger(&scene, &["p.tlog-proof", "p.tlog-proof.entry"]);
    let (text, code) = said(&mut other, &["verify", "p.tlog-proof"]);
    assert!(
        code == "0" && text.contains("verified: entry 13 of session 0samp1esess1, leaf 12 of a tree of 22"),
        "{text}"
    );
    assert!(text.contains("a key that only this file vouches for") && text.contains("witnessed by  nobody"), "{text}");
    let shown = json(&mut other, &["--json", "verify", "p.tlog-proof", "--key", &key], "0");
    assert_eq!((&shown["proof"]["key"], &shown["proof"]["index"]), (&"pinned".into(), &12.into()));
    let file = other.repo().join("p.tlog-proof.entry");
    let bytes = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, bytes.replace("deny", "Deny")).unwrap();
    let shown = json(&mut other, &["--json", "verify", "p.tlog-proof"], "103");
    assert_eq!((&shown["problems"][0]["code"], &shown["problems"][0]["seq"]), (&"FB0346".into(), &13.into()));
    std::fs::remove_file(&file).unwrap();
    let (text, code) = said(&mut other, &["verify", "p.tlog-proof"]);
    assert!(code == "1" && text.contains("FB0512"), "{text}");
    let (text, code) = said(&mut scene, &["prove", "@", "99"]);
    assert!(code == "1" && text.contains("FB0318"), "{text}");
}

#[test]
fn what_is_forgotten_is_said_wherever_it_was() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    let ledger = Ledger::open(&scene.ledger()).unwrap();
    let stream = ledger.stream("0samp1esess1").unwrap();
    let secret = "much that is private. ".repeat(400);
    let body = json!({"of": 2, "stdout": ledger.payload(secret.as_bytes()).unwrap()});
    let draft = Draft { at_ns: stream.last_at_ns() + 1, kind: Kind::Observe, actor: "x".into(), cause: vec![], body };
    let seq = stream.append(draft).unwrap().to_string();
    drop((stream, ledger));
    let (text, code) = said(&mut scene, &["forget", "@", "--payload", "13", "--reason", "r"]);
    assert!(code == "1" && text.contains("error[FB0327]"), "{text}");
    scene.type_in(&["export", "@", "-o", "before.flyball"]);
    let done = json(&mut scene, &["--json", "forget", "@", "--payload", &seq, "--reason", "asked for"], "0");
    assert_eq!((&done["payloads"], &done["blobs"], &done["kept_for"]), (&1.into(), &1.into(), &json!([])));
    let (text, _) = said(&mut scene, &["log", "@"]);
    assert!(text.lines().any(|l| l.contains(&format!("{seq}  ")) && l.contains("erased by user:ME at")), "{text}");
    let (text, _) = said(&mut scene, &["--json", "log", "@"]);
    let line = text.lines().find(|l| l.contains(&format!("\"seq\":{seq},"))).unwrap();
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["erased"]["reason"], "asked for");
    let (text, code) = said(&mut scene, &["verify"]);
    assert!(code == "0" && text.contains(&format!("erased        entry {seq} of 0samp1esess1: erased by")), "{text}");
    scene.type_in(&["export", "@", "-o", "after.flyball"]);
    let mut other = stranger(&scene, &["before.flyball", "after.flyball"]);
    let shown = json(&mut other, &["--json", "verify", "after.flyball"], "0");
    assert!(
        shown["bundle"]["not_shown"].to_string().contains(&format!("the content of entry {seq}: erased by")),
        "{shown}"
    );
    assert_eq!(json(&mut other, &["--json", "verify", "before.flyball"], "0")["erased"], Value::Null, "made before");
    let (text, code) = said(&mut scene, &["forget", "@", "--payload", &seq, "--reason", "r"]);
    assert!(code == "1" && text.contains("gone already"), "{text}");
    let ledger = Ledger::open(&scene.ledger()).unwrap();
    let running = ledger.stream("another").unwrap();
    running.append(Draft { at_ns: 1, kind: Kind::Open, actor: "x".into(), cause: vec![], body: json!({}) }).unwrap();
    running.flush().unwrap();
    let (text, code) = said(&mut scene, &["forget", "@", "--payload", &seq, "--reason", "r"]);
    assert!(code == "1" && text.contains("error[FB0328]") && text.contains("another"), "{text}");
}

/// A witness that runs; it ends with this.
struct Serving(Child, Value);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(scene: &Scene, more: &[&str]) -> Serving {
    let words = ["--json", "witness", "serve", "--listen", "127.0.0.1:0", "--dir", "w"];
    let mut child = scene.command(&[&words, more].concat()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Serving(child, serde_json::from_str(&line).unwrap())
}

#[test]
fn a_witness_cosigns_what_goes_on_and_finds_what_was_taken_back() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    let key = json(&mut scene, &["--json", "key", "show"], "0")["key"].as_str().unwrap().to_owned();
    let theirs = Scene::new();
    let witness = serve(&theirs, &[]);
    let (url, vkey) = (witness.1["url"].as_str().unwrap().to_owned(), witness.1["key"].as_str().unwrap().to_owned());
    scene.type_in(&["witness", "add", &url, &vkey]);
    let (text, code) = said(&mut scene, &["witness", "ask"]);
    assert!(code == "1" && text.contains("FB0329") && text.contains("does not know this ledger"), "{text}");
    drop(witness);
    let (text, code) = said(&mut scene, &["witness", "ask"]);
    assert!(code == "1" && text.contains("FB0329"), "nobody there: {text}");
    let witness = serve(&theirs, &["--trust", &key]);
    assert_eq!(witness.1["key"], vkey.as_str(), "the same after a start anew");
    scene.type_in(&["witness", "add", witness.1["url"].as_str().unwrap(), &vkey]);
    assert_eq!(json(&mut scene, &["--json", "witness", "ask"], "0")["size"], 22);
    assert_eq!(json(&mut scene, &["--json", "verify"], "0")["witnessed_by"], json!([vkey]));
    let (text, _) = said(&mut scene, &["verify", "@"]);
    assert!(text.contains("witnessed by  flyball.local/witness/") && text.contains("up to entry 22"), "{text}");
    scene.type_in(&["export", "@", "-o", "s.flyball"]).type_in(&["prove", "@", "3", "-o", "p"]);
    let mut other = stranger(&scene, &["s.flyball", "p", "p.entry"]);
    for file in ["s.flyball", "./p"] {
        let shown = json(&mut other, &["--json", "verify", file, "--key", &key, "--witness", &vkey], "0");
        assert_eq!(shown["witnessed_by"], json!([vkey]), "{file}");
        let shown = json(&mut other, &["--json", "verify", file], "0");
        assert_eq!(shown["witnessed_by"], json!([]), "a witness that nobody named is none");
    }

    // Taken back to before its last entry, with all that lies beside the database.
    let db = scene.ledger().join("ledger.db");
    let then = std::fs::read(&db).unwrap();
    let ledger = Ledger::open(&scene.ledger()).unwrap();
    let stream = ledger.stream("0samp1esess1").unwrap();
    let at_ns = stream.last_at_ns() + 1;
    stream.append(Draft { at_ns, kind: Kind::Alert, actor: "x".into(), cause: vec![], body: json!({}) }).unwrap();
    drop((stream, ledger));
    assert_eq!(json(&mut scene, &["--json", "witness", "ask"], "0")["size"], 23);
    std::fs::write(&db, then).unwrap();
    for left in std::fs::read_dir(scene.ledger().join("witnesses")).unwrap().map(|e| e.unwrap().path()) {
        if left.file_name().unwrap() != "list" {
            std::fs::remove_file(left).unwrap();
        }
    }
    let (text, code) = said(&mut scene, &["verify"]);
    assert!(code == "0" && text.contains("witnessed by  nobody"), "by itself it holds: {text}");
    let (text, code) = said(&mut scene, &["witness", "ask"]);
    assert!(code == "103" && text.contains("FB0347") && text.contains("23 entries, and here are 22"), "{text}");
    let (text, code) = said(&mut scene, &["witness", "add", "ftp://w.example", &vkey]);
    assert!(code == "1" && text.contains("FB0329"), "{text}");
}
