#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::trust::{Trust, digest, trust};
use super::*;
use proptest::prelude::*;

fn called() -> Called {
    Called { program: "/x/flyball".to_owned(), within: 540, otlp: None }
}

/// What is put in can be taken out again, whatever stands around it.
#[test]
fn others_keep_their_bytes() {
    for harness in Harness::ALL {
        for before in [
            "{}",
            "{ }\n",
            "{\"model\":\"x\"}",
            "{\n\t\"hooks\": {\"Stop\": [ ]},\n\t\"n\": 1e400000\n}",
            "{\"hooks\":{\"PreToolUse\":[{\"matcher\":\"Bash\",\"hooks\":[{\"type\":\"command\",\"command\":\"mine hook claude\"}]}]},\"z\":[1,\"}\\\"\"]}\r\n",
        ] {
            // Such a number is none to this parser; then nothing is changed.
            let Ok(with) = install(harness, Some(before.as_bytes()), &called()) else {
                assert!(before.contains("1e400000"));
                continue;
            };
            let json: Json = serde_json::from_slice(&with).unwrap();
            assert_eq!(entries(harness, &with).unwrap().len(), events(harness).len(), "{json}");
            assert_eq!(install(harness, Some(&with), &called()).unwrap(), with, "a second time changes nothing");
            let (without, taken) = uninstall(harness, &with).unwrap();
            assert_eq!(taken, events(harness).len());
            let empty = |json: &Json| json["hooks"].as_object().is_some_and(|h| h.values().all(|v| v == &json!([])));
            let (mut was, is): (Json, Json) =
                (serde_json::from_str(before).unwrap(), serde_json::from_slice(&without).unwrap());
            if empty(&was) {
                was.as_object_mut().unwrap().remove("hooks");
            }
            assert_eq!(is, was, "{harness:?}");
            assert_eq!(before.contains("\t\"n\""), String::from_utf8(without).unwrap().contains("\t\"n\""));
        }
    }
}

#[test]
fn what_is_written_is_what_each_harness_reads() {
    let read = |harness| serde_json::from_slice::<Json>(&install(harness, None, &called()).unwrap()).unwrap();
    assert_eq!(
        read(Harness::Claude)["hooks"]["PreToolUse"],
        json!([{"matcher": "*", "hooks": [
            {"type": "command", "command": "/x/flyball hook claude --within 540 || exit 2", "timeout": 570}]}])
    );
    assert_eq!(read(Harness::Claude)["hooks"]["Stop"][0]["hooks"][0]["command"], "/x/flyball hook claude --within 540");
    assert_eq!(read(Harness::Gemini)["hooks"]["BeforeTool"][0]["hooks"][0]["timeout"], 570_000);
    assert_eq!(
        read(Harness::Cursor)["hooks"]["preToolUse"],
        json!([{"command": "/x/flyball hook cursor --within 540 || exit 2", "timeout": 570, "failClosed": true}])
    );
    assert_eq!(read(Harness::Cursor)["version"], 1);
}

#[test]
fn one_of_others_in_our_group_stays() {
    let with = String::from_utf8(install(Harness::Claude, None, &called()).unwrap()).unwrap();
    let mixed = with.replacen("\"hooks\": [\n", "\"hooks\": [{\"type\":\"command\",\"command\":\"theirs\"},\n", 1);
    assert_ne!(mixed, with);
    let (without, taken) = uninstall(Harness::Claude, mixed.as_bytes()).unwrap();
    assert_eq!(taken, events(Harness::Claude).len());
    assert!(String::from_utf8(without).unwrap().contains("theirs"));
}

#[test]
fn what_is_no_settings_file_is_told_and_not_changed() {
    for (bytes, told) in [
        (&b"{ // mine\n}"[..], "no JSON"),
        (b"\xef\xbb\xbf{}", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[]", "`the file` is not an object"),
        (b"{\"hooks\": 1}", "`hooks` is not an object"),
        (b"{\"hooks\": {\"PreToolUse\": {}}}", "`hooks.PreToolUse` is not a list"),
        (b"{\"hooks\": {}, \"hooks\": {}}", "`hooks` stands in it twice"),
    ] {
        let error = install(Harness::Claude, Some(bytes), &called()).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
    let deep = "[".repeat(100_000);
    assert!(install(Harness::Claude, Some(deep.as_bytes()), &called()).is_err());
    assert_eq!(install(Harness::Claude, Some(&vec![b' '; SETTINGS_BYTES_MAX + 1]), &called()), {
        // Blank is empty, however long.
        install(Harness::Claude, None, &called())
    });
}

/// The digests are those that `codex app-server` 0.169.0 gave for these very entries.
#[test]
fn trust_is_read_as_codex_records_it() {
    let hooks = install(Harness::Codex, None, &called()).unwrap();
    let all = entries(Harness::Codex, &hooks).unwrap();
    let named = |event: &str| all.iter().find(|e| e.event == event).unwrap();
    for (event, is) in [
        ("PreToolUse", "sha256:d4bf07f1a75e6b89ce1e2969619d3165789f71e6cb300769b9fcdb32be94dfff"),
        ("SessionEnd", "sha256:d93a1122b47dd2d2b8d0ce70e836d5a42d43fcb879327c356084224099b8adb5"),
        ("UserPromptSubmit", "sha256:edec44f32022a46d09233d625b088c9d4b333deea830ac9ec1f42152acbd962e"),
    ] {
        assert_eq!(digest(named(event)), is, "{event}");
    }
    let pre = digest(named("PreToolUse"));
    let config = format!(
        "[hooks.state.\"/h/hooks.json:pre_tool_use:0:0\"]\ntrusted_hash = \"{pre}\"\n\
         [hooks.state.\"/h/hooks.json:stop:0:0\"]\ntrusted_hash = \"sha256:00\"\n\
         [hooks.state.\"/h/hooks.json:session_start:0:0\"]\nenabled = false\n"
    );
    let told = trust("/h/hooks.json", &hooks, &config).unwrap();
    let of = |event: &str| told.iter().find(|(e, _)| e.event == event).unwrap().1;
    assert_eq!(of("PreToolUse"), Trust::Trusted);
    assert_eq!(of("Stop"), Trust::Changed);
    assert_eq!(of("SessionStart"), Trust::Off);
    assert_eq!(of("PostToolUse"), Trust::Untrusted);
    assert!(trust("/h/hooks.json", &hooks, "not toml [").unwrap().iter().all(|(_, t)| *t == Trust::Untrusted));
}

proptest! {
    #[test]
    fn any_settings_come_back(keys in prop::collection::btree_map("[a-z\"\\\\ ]{0,6}", any::<Option<bool>>(), 0..4)) {
        let before = serde_json::to_string_pretty(&keys).unwrap();
        for harness in Harness::ALL {
            let with = install(harness, Some(before.as_bytes()), &called()).unwrap();
            prop_assert_eq!(entries(harness, &with).unwrap().len(), events(harness).len());
            let (without, _) = uninstall(harness, &with).unwrap();
            let is: Json = serde_json::from_slice(&without).unwrap();
            prop_assert_eq!(is, serde_json::to_value(&keys).unwrap());
        }
    }
}

#[test]
fn entries_that_send_are_flyballs_as_well() {
    for harness in Harness::ALL {
        let sends = Called { otlp: Some("'http://127.0.0.1:4318'".to_owned()), ..called() };
        let with = install(harness, Some(b"{}"), &sends).unwrap();
        assert!(String::from_utf8_lossy(&with).contains(" --otlp 'http://127.0.0.1:4318' --within 540"));
        assert_eq!(entries(harness, &with).unwrap().len(), events(harness).len());
        // Installed otherwise they are written over, and never stand beside each other.
        let other = install(harness, Some(&with), &called()).unwrap();
        assert_eq!(entries(harness, &other).unwrap().len(), events(harness).len());
        assert!(!String::from_utf8_lossy(&other).contains("--otlp"));
        assert_eq!(uninstall(harness, &with).unwrap().1, events(harness).len());
        let more = String::from_utf8(with).unwrap().replace("4318' --within", "4318' --mine x --within");
        assert_eq!(entries(harness, more.as_bytes()).unwrap().len(), 0, "somebody's own is somebody's own");
    }
}
