//! What a session's file shows to somebody who has nothing else.

use crate::fixture;
use crate::scene::Scene;
use serde_json::Value;

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
    assert_eq!(shown["signed_by"], serde_json::json!([key]));
    assert_eq!((&shown["witnessed_by"], &shown["problems"]), (&serde_json::json!([]), &serde_json::json!([])));
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
    let two = String::from_utf8_lossy(&bytes[..600]).replace("\"version\":1", "\"version\":2").into_bytes();
    std::fs::write(other.repo().join("two.flyball"), two.iter().chain(&bytes[600..]).copied().collect::<Vec<_>>())
        .unwrap();
    let (text, code) = said(&mut other, &["verify", "two.flyball"]);
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
    assert_eq!(shown["signed_by"], serde_json::json!([new["key"]]));
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
