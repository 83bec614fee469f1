//! What the reading commands say of a session.

use crate::assert_transcript;
use crate::fixture;
use crate::scene::Scene;

#[test]
fn lists_and_logs() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    scene.type_in(&["ps"]).type_in(&["show", "@"]).type_in(&["log", "sample"]);
    scene.type_in(&["log", "@", "--verdict", "deny"]).type_in(&["log", "@", "--verb", "fs", "--kind", "attempt"]);
    scene.type_in(&["log", "@", "--since", "21"]).type_in(&["verify", "@"]).type_in(&["asks"]);
    assert_transcript!(scene);
}

#[test]
fn reasons_and_causes() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    for seq in ["12", "13", "16", "6", "1", "22"] {
        scene.type_in(&["why", "@", seq]);
    }
    scene.type_in(&["trace", "@"]).type_in(&["trace", "@", "8"]);
    assert_transcript!(scene);
}

#[test]
fn the_workspace_at_each_step() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    for seq in ["4", "11", "22"] {
        scene.type_in(&["at", "@", seq]);
    }
    scene.type_in(&["at", "@", "11", "src/a.txt"]).type_in(&["at", "@", "22", "src/a.txt"]);
    scene.type_in(&["at", "@", "4", "src/a.txt"]).type_in(&["at", "@", "22", "src"]).type_in(&[
        "at",
        "@",
        "4",
        "other.txt",
    ]);
    scene
        .type_in(&["at", "@", "22", "gone.txt"])
        .type_in(&["diff", "@", "4", "22"])
        .type_in(&["diff", "@", "11", "22"]);
    scene.type_in(&["diff", "@", "22", "22"]);
    assert_transcript!(scene);
}

#[test]
fn json_shapes() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    scene
        .type_in(&["--json", "ps"])
        .type_in(&["--json", "show", "@"])
        .type_in(&["--json", "log", "@", "--since", "20"]);
    scene.type_in(&["--json", "why", "@", "12"]).type_in(&["--json", "trace", "@", "12"]);
    scene
        .type_in(&["--json", "at", "@", "22"])
        .type_in(&["--json", "diff", "@", "11", "22"])
        .type_in(&["--json", "verify"]);
    assert_transcript!(scene);
}
