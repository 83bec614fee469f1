//! The reference of the command line.

use crate::assert_transcript;
use crate::scene::Scene;

#[test]
fn the_reference() {
    let mut scene = Scene::new();
    scene.type_in(&["--help"]);
    for command in [
        "init",
        "check",
        "test",
        "run",
        "demo",
        "watch",
        "ps",
        "show",
        "log",
        "why",
        "suggest",
        "trace",
        "at",
        "diff",
        "asks",
        "answer",
        "pause",
        "resume",
        "rollback",
        "autonomy",
        "declassify",
        "constrain",
        "quarantine",
        "kill",
        "apply",
        "discard",
        "verify",
        "export",
        "prove",
        "forget",
        "witness",
        "witness serve",
        "witness add",
        "witness ask",
        "key",
        "key show",
        "key rotate",
        "attest",
        "doctor",
        "schema",
        "explain",
        "completions",
        "man",
    ] {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        scene.type_in(&words);
    }
    assert_transcript!(scene);
}

#[test]
fn usage_errors() {
    let mut scene = Scene::new();
    scene.type_in(&["frobnicate"]);
    scene.type_in(&["run", "ls"]);
    scene.type_in(&["answer", "x", "allow"]);
    scene.type_in(&["answer", "x", "modify", "--reason", "r"]);
    scene.type_in(&["run", "--accept-weaker", "everything", "--", "ls"]);
    scene.type_in(&["watch"]).type_in(&["watch", "--json"]);
    assert_transcript!(scene);
}

#[test]
fn every_code_has_a_page() {
    let mut scene = Scene::new();
    scene.type_in(&["explain"]);
    let list = scene.transcript();
    let codes: Vec<&str> = list.split_whitespace().filter(|w| w.starts_with("FB0") && w.len() == 6).collect();
    assert!(codes.len() > 60, "{list}");
    assert!(codes.is_sorted_by(|a, b| a < b), "a code has two pages: {list}");
    let mut one = Scene::new();
    one.type_in(&["explain", "fb0501"]).type_in(&["explain", "FB0999"]).type_in(&["explain", "FB0210"]);
    assert_transcript!(one);
}

#[test]
fn completions_and_manual_name_every_command() {
    for words in [["completions", "bash"], ["completions", "fish"], ["completions", "zsh"]] {
        let mut scene = Scene::new();
        scene.type_in(&words);
        assert!(scene.transcript().contains("quarantine"), "{words:?}");
    }
    let mut scene = Scene::new();
    scene.type_in(&["man"]);
    let text = scene.transcript();
    assert!(text.contains(".SH \"FLYBALL ROLLBACK\"") && text.contains("[exit 0]"), "{text}");
}
