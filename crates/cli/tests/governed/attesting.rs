//! Attestations: read by an implementation that is not ours, refused by both where something was changed, and held against the
//! ledger.

use crate::support::{Case, World, stderr};
use flyball_testkit::user::User;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "an_attestation_is_read_by_others", needs: readers, run: others },
        Case { name: "an_attestation_is_held_against_the_record", needs: crate::support::nothing, run: against },
        Case { name: "a_forged_tree_in_a_bundle_is_refused", needs: crate::support::nothing, run: forged_tree },
        Case { name: "a_session_in_a_file_has_all_of_it", needs: crate::support::nothing, run: in_a_file },
        Case {
            name: "what_is_forgotten_is_gone_unless_another_entry_relies_on_it",
            needs: crate::support::nothing,
            run: forgotten,
        },
    ]
}

/// Python with the packages of `xtask/agents/readers`.
pub fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.agents/readers/py/bin/python")
}

pub fn readers(_: User) -> Option<String> {
    (!python().exists()).then(|| "`.agents/readers` is not installed: `cargo xtask test` does it".to_owned())
}

/// The DSSE of `securesystemslib` and the statement of `in-toto-attestation`: prints the type and every subject's digest.
const OTHERS: &str = r#"
import base64, json, sys
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
envelope = Envelope.from_dict(json.load(open(sys.argv[1])))
name, number, key = sys.argv[2].split("+", 2)
public = {"public": base64.b64decode(key)[1:].hex()}
envelope.verify([SSlibKey(name + "+" + number, "ed25519", "ed25519", public)], 1)
statement = json_format.Parse(envelope.payload, statement_pb2.Statement())
Statement.copy_from_pb(statement).validate()
print(json.dumps([envelope.payload_type, statement.type, [dict(s.digest) for s in statement.subject]]))
"#;

const SCRIPT: &str = "echo b > b; git add b; git commit -qm b; git rev-parse HEAD > /dev/null; rm -f README.md";

fn attested(world: &World, words: &[&str]) -> PathBuf {
    let file = world.repo.scratch().join("attestation.dsse.json");
    let name = file.to_str().unwrap();
    world.ok(&[&["attest", "@", "-o", name], words].concat());
    file
}

fn payload(file: &Path) -> Value {
    let script = "import base64,json,sys; print(base64.b64decode(json.load(open(sys.argv[1]))['payload']).decode())";
    let output = Command::new("python3").args(["-c", script]).arg(file).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn verify(world: &World, file: &Path, words: &[&str]) -> (Value, Output) {
    let words = [&["verify", file.to_str().unwrap(), "--json"], words].concat();
    let output = world.flyball(&words).output().unwrap();
    (serde_json::from_slice(&output.stdout).unwrap_or_default(), output)
}

fn others(user: User) {
    let world = World::new(user);
    world.init("", "");
    let (_, output) = world.run(SCRIPT);
    assert!(output.status.success(), "{}", stderr(&output));
    let file = attested(&world, &["--artifact", "b"]);
    let key = std::fs::read_to_string(world.ledger.join("keys/ledger.pub")).unwrap();
    let read = |file: &Path| Command::new(python()).args(["-c", OTHERS]).arg(file).arg(key.trim()).output().unwrap();
    let output = read(&file);
    assert!(output.status.success(), "{}", stderr(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told[0], "application/vnd.in-toto+json");
    assert_eq!(told[1], "https://in-toto.io/Statement/v1");
    let has = |wanted: Value| told[2].as_array().unwrap().contains(&wanted);
    assert!(has(json!({"sha256": "0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f"})), "{told}");
    assert_eq!(told[2].as_array().unwrap().iter().filter(|d| d["gitCommit"].is_string()).count(), 1, "{told}");

    // One bit of the payload, of the signature, of the type: refused by both.
    let text = std::fs::read_to_string(&file).unwrap();
    let envelope: Value = serde_json::from_str(&text).unwrap();
    let change = |part: &str, old: &str| {
        let new = if old.starts_with('A') { old.replacen('A', "B", 1) } else { format!("A{}", &old[1..]) };
        let mut changed = envelope.clone();
        *changed.pointer_mut(part).unwrap() = new.into();
        changed
    };
    let sig = envelope["signatures"][0]["sig"].as_str().unwrap();
    let mut later = envelope.clone();
    let said = payload(&file).to_string().replacen("\"endedBy\":\"program\"", "\"endedBy\":\"person\"", 1);
    let script = "import base64,sys; print(base64.b64encode(sys.argv[1].encode()).decode(), end='')";
    let encoded = Command::new("python3").args(["-c", script, &said]).output().unwrap().stdout;
    later["payload"] = String::from_utf8(encoded).unwrap().into();
    let tampered =
        [later, change("/signatures/0/sig", sig), change("/payloadType", envelope["payloadType"].as_str().unwrap())];
    for (n, tampered) in tampered.iter().enumerate() {
        let file = world.repo.scratch().join(format!("tampered-{n}.json"));
        std::fs::write(&file, tampered.to_string()).unwrap();
        user.own(&file).unwrap();
        assert!(!read(&file).status.success(), "case {n}: others take it");
        let (_, output) = verify(&world, &file, &[]);
        assert_eq!(output.status.code(), Some(103), "case {n}: {}", stderr(&output));
    }
}

fn against(user: User) {
    let world = World::new(user);
    world.init("", "");
    let script = "cat /nonexistent; echo secret > b; curl -s http://example.com/; true";
    // The script is refused as a whole, for what it would ask people about.
    world.flyball(&["run", "--on-hold", "deny", "--apply", "never", "--", "sh", "-c", script]).output().unwrap();
    let file = attested(&world, &[]);
    let said = payload(&file);
    let log = world.log();
    let ruled = |rule: &str| {
        let rulings = log.iter().filter(|e| e["kind"] == "ruling");
        let named = |e: &&Value| e["body"]["reasons"].as_array().unwrap().iter().any(|r| r["rule"] == rule);
        rulings.filter(named).count()
    };
    for rule in said["predicate"]["rules"].as_array().unwrap() {
        assert_eq!(rule["ruled"], ruled(rule["id"].as_str().unwrap()), "{rule}");
        assert!(rule["owner"].is_string());
    }
    assert!(said["predicate"]["rules"].as_array().unwrap().iter().any(|r| r["held"] != 0), "{said}");
    assert_eq!(said["predicate"]["head"]["seq"].as_u64().unwrap() + 1, log.len() as u64);
    assert_eq!(log.last().unwrap()["body"]["attestation"]["of"], said["predicate"]["head"]["seq"]);
    let (report, _) = verify(&world, &file, &[]);
    assert_eq!((&report["ok"], &report["problems"]), (&json!(true), &json!([])), "{report}");
    assert_eq!(report["recomputed_entries"], said["predicate"]["head"]["seq"]);
    world.verifies();
    // A bundle has it beside the entries, and holds.
    world.ok(&["attest", "@", "-o", world.repo.scratch().join("second.json").to_str().unwrap()]);
    let bundle = world.repo.scratch().join("session.flyball");
    world.ok(&["export", "@", "-o", bundle.to_str().unwrap()]);
    world.ok(&["verify", bundle.to_str().unwrap()]);
    let bytes = std::fs::read(&bundle).unwrap();
    let envelope = std::fs::read(&file).unwrap();
    assert!(bytes.windows(envelope.len()).any(|window| window == envelope), "the bundle has no attestation");

    // Signed by the right key, and not what the record says: somebody had the key.
    let home = flyball_runtime::Home::open(&world.ledger).unwrap();
    let ledger = flyball_ledger::Ledger::open(home.dir()).unwrap();
    let lie = |pointer: &str, value: Value| {
        let mut lie = said.clone();
        *lie.pointer_mut(pointer).unwrap() = value;
        let file = world.repo.scratch().join("lie.json");
        let envelope = ledger.seal("application/vnd.in-toto+json", lie.to_string().into_bytes()).unwrap();
        std::fs::write(&file, envelope.to_bytes().unwrap()).unwrap();
        user.own(&file).unwrap();
        verify(&world, &file, &[]).0["problems"].to_string()
    };
    for (pointer, value) in [
        ("/predicate/actions/denied", json!(77)),
        ("/predicate/charter/digest", json!("sha256:00")),
        ("/subject/0/digest/sha256", json!("00")),
        ("/predicate/rules/0/owner", json!("nobody")),
    ] {
        let problems = lie(pointer, value);
        assert!(problems.contains(pointer), "{pointer} is not in {problems}");
    }
    drop(ledger);

    // Without the ledger, by a key of one's own choice, and by another's.
    let elsewhere = ["--ledger", "/nonexistent"];
    let key = world.ledger.join("keys/ledger.pub");
    let (report, _) = verify(&world, &file, &[&elsewhere[..], &["--key", key.to_str().unwrap()]].concat());
    assert_eq!((&report["ok"], &report["recomputed_entries"]), (&json!(true), &Value::Null), "{report}");
    let other = "flyball.local/ledger/034265aa+5d775ab6+AdSrDBBCcuFVW7qLRHrsA2MwC6noofEB4pgf4HGIzcSN";
    let (report, output) = verify(&world, &file, &["--key", other]);
    assert_eq!((output.status.code(), &report["ok"]), (Some(103), &json!(false)), "{report}");
    for (words, code) in [
        (vec!["verify", file.to_str().unwrap(), "--key", "nothing"], "FB0573"),
        (vec!["attest", "@", "--artifact", "src"], "FB0572"),
        (vec!["attest", "@", "--artifact", "absent"], "FB0572"),
    ] {
        let said = stderr(&world.flyball(&words).output().unwrap());
        assert!(said.contains(code), "{words:?}: {said}");
    }
    std::fs::write(&file, r#"{"payloadType":"text/plain","payload":"","signatures":[{"sig":""}]}"#).unwrap();
    let said = stderr(&world.flyball(&["verify", file.to_str().unwrap()]).output().unwrap());
    assert!(said.contains("FB0571"), "{said}");
}

fn in_a_file(user: User) {
    let world = World::new(user);
    world.init("", "");
    let (_, output) = world.run(SCRIPT);
    assert!(output.status.success(), "{}", stderr(&output));
    attested(&world, &[]);
    let file = world.repo.scratch().join("s.flyball");
    let name = file.to_str().unwrap();
    world.ok(&["export", "@", "-o", name]);
    let key = world.ledger.join("keys/ledger.pub");
    let key = key.to_str().unwrap();
    let elsewhere = ["--ledger", "/nonexistent", "--key", key];
    let (report, output) = verify(&world, &file, &elsewhere);
    assert!(output.status.success(), "{report} {}", stderr(&output));
    assert_eq!((&report["ok"], &report["bundle"]["key"]), (&json!(true), &json!("pinned")), "{report}");
    assert!(report["bundle"]["blobs"].as_u64().unwrap() >= 3, "{report}");
    let shown = report["bundle"]["shown"].to_string();
    assert!(
        shown.contains(".dsse.json` is signed by the ledger's key") && shown.contains("its files have the digest"),
        "{shown}"
    );
    assert!(shown.contains(".dsse.json` says is what entries 1 to "), "{shown}");
    world.verifies();
    // Without contents the same is recomputed, but for which objects are commits.
    world.ok(&["export", "@", "--without-payloads", "-o", name]);
    let (report, output) = verify(&world, &file, &elsewhere);
    assert!(output.status.success(), "{report}");
    let not_shown = report["bundle"]["not_shown"].to_string();
    assert!(not_shown.contains("which commits were made") && not_shown.contains("(1 are taken"), "{not_shown}");

    forged(&world, &elsewhere);
    packed(&world, &elsewhere);
}

/// A commit that the session made and packed; what the pack took over from before is not the session's.
fn packed(world: &World, elsewhere: &[&str]) {
    let script = "git commit -qm one --allow-empty && git gc -q --prune=now && git rev-parse HEAD";
    let (_, output) = world.run(script);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = payload(&attested(world, &[]));
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    let commits = said["subject"].as_array().unwrap().iter().filter(|s| s["digest"]["gitCommit"].is_string());
    let commits: Vec<&str> = commits.map(|s| s["digest"]["gitCommit"].as_str().unwrap()).collect();
    assert!(commits.len() == 1 && printed.contains(commits[0]), "{commits:?} {printed}");
    assert_eq!(said["predicate"]["workspace"]["unreadPacks"], Value::Null);
    let file = world.repo.scratch().join("packed.flyball");
    world.ok(&["export", "@", "-o", file.to_str().unwrap()]);
    let (report, output) = verify(world, &file, elsewhere);
    assert!(output.status.success(), "{report}");
    let shown = report["bundle"]["shown"].to_string();
    assert!(
        shown.contains(".dsse.json` says is what entries 1 to ") && !report.to_string().contains("which commits"),
        "{report}"
    );
}

/// An attestation that stands in the record and in the bundle as true ones do, and lies: what `verify` says of the entry that keeps it.
fn lie(
    world: &World,
    elsewhere: &[&str],
    said: &Value,
    lies: &[(&str, Value)],
    theirs: Option<&flyball_ledger::Ledger>,
) -> String {
    let session = world.log()[0]["stream"].as_str().unwrap().to_owned();
    let file = world.repo.scratch().join("forged.flyball");
    let ledger = flyball_ledger::Ledger::open(&world.ledger).unwrap();
    let mut lie = said.clone();
    for (pointer, value) in lies {
        *lie.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value.clone();
    }
    let sealer = theirs.unwrap_or(&ledger);
    let envelope = sealer.seal("application/vnd.in-toto+json", lie.to_string().into_bytes()).unwrap();
    let blob = ledger.put_blob(&envelope.to_bytes().unwrap()).unwrap();
    let body = json!({"attestation": {"blob": blob.to_string(), "of": said["predicate"]["head"]["seq"]}});
    let stream = ledger.stream(&session).unwrap();
    let at_ns = stream.last_at_ns() + 1;
    let kind = flyball_ledger::Kind::Observe;
    let draft = flyball_ledger::Draft { at_ns, kind, actor: "user:x".into(), cause: vec![], body };
    let seq = stream.append(draft).unwrap();
    stream.flush().unwrap();
    drop((stream, ledger));
    world.user.own(&world.ledger).unwrap();
    world.ok(&["export", "@", "-o", file.to_str().unwrap()]);
    let (report, output) = verify(world, &file, elsewhere);
    assert_eq!(output.status.code(), Some(103), "{lies:?}: {report}");
    let found = report["problems"].as_array().unwrap().iter().filter(|p| p["seq"] == seq);
    let found: Vec<&str> = found.map(|problem| problem["message"].as_str().unwrap()).collect();
    assert!(!found.is_empty(), "{lies:?}: entry {seq} is not named: {report}");
    found.join("\n")
}

/// Each lie is told by its place in the statement and by the entry that keeps it.
fn forged(world: &World, elsewhere: &[&str]) {
    let theirs = tempfile::tempdir().unwrap();
    let theirs = flyball_ledger::Ledger::open(theirs.path()).unwrap();
    let said = payload(&world.repo.scratch().join("attestation.dsse.json"));
    let lie = |pointer: &str, value: Value, is_ours: bool| {
        lie(world, elsewhere, &said, &[(pointer, value)], (!is_ours).then_some(&theirs))
    };
    let commit = said["subject"].as_array().unwrap().iter().position(|s| s["digest"]["gitCommit"].is_string()).unwrap();
    for (pointer, value) in [
        ("/predicate/actions/allowed", json!(7777)),
        ("/predicate/contracts/hold", json!(false)),
        ("/predicate/replay/level", json!(9)),
        ("/predicate/session/argv", json!(["something", "else"])),
        ("/subject/0/digest/sha256", json!("00")),
        (&format!("/subject/{commit}/digest/gitCommit"), json!("0123456789abcdef0123456789abcdef01234567")),
        ("/subject", without(&said, "tree")),
        ("/subject", without(&said, "workspace")),
    ] {
        let found = lie(pointer, value, true);
        assert!(found.contains(&format!("`{pointer}` ")), "{pointer} is not in {found}");
    }
    let found = lie("/predicate/session/name", said["predicate"]["session"]["name"].clone(), false);
    let key = theirs.verifier().to_vkey().split('+').take(2).collect::<Vec<_>>().join("+");
    assert!(found.contains("no key of the ledger's signed it") && found.contains(&key), "{found}");
    let found = lie("/predicate/head/seq", json!(100_000), true);
    assert!(found.contains("no entry 100000"), "{found}");
    let found = lie("/predicate/session/id", json!("another"), true);
    assert!(found.contains("another session"), "{found}");
}

/// The subjects but for one.
fn without(said: &Value, name: &str) -> Value {
    said["subject"].as_array().unwrap().iter().filter(|subject| subject["name"] != name).cloned().collect()
}

/// Of a session whose whole workspace is on record, what is said of the tree is recomputed from the bundle.
fn forged_tree(user: User) {
    let world = &World::new(user);
    world.init("", "");
    let key = world.ledger.join("keys/ledger.pub");
    let elsewhere = &["--ledger", "/nonexistent", "--key", key.to_str().unwrap()][..];
    let output =
        world.flyball(&["run", "--record", "--apply", "never", "--", "sh", "-c", "echo t > t"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let said = payload(&attested(world, &[]));
    let file = world.repo.scratch().join("tree.flyball");
    world.ok(&["export", "@", "-o", file.to_str().unwrap()]);
    let (report, output) = verify(world, &file, elsewhere);
    assert!(output.status.success() && !report.to_string().contains("`tree`"), "{report}");
    let at = said["subject"].as_array().unwrap().iter().position(|subject| subject["name"] == "tree").unwrap();
    let (subject, told) = (format!("/subject/{at}/digest/sha256"), "/predicate/workspace/tree/digest");
    let other = "00".repeat(32);
    let (as_subject, as_told) = ((subject.as_str(), json!(other)), (told, json!(format!("sha256:{other}"))));
    for lies in [vec![as_subject.clone()], vec![as_subject, as_told]] {
        let found = lie(world, elsewhere, &said, &lies, None);
        assert!(lies.iter().all(|(pointer, _)| found.contains(&format!("`{pointer}` "))), "{lies:?}: {found}");
    }
    // As of another session, for whose tree only a signature stands.
    let left_out = json!({ "form": "flyball-tree-1", "leftOut": "x" });
    for lies in [
        vec![("/subject", without(&said, "tree")), ("/predicate/workspace/tree", left_out)],
        vec![("/predicate/workspace/tree/from", json!("workspace"))],
    ] {
        let found = lie(world, elsewhere, &said, &lies, None);
        assert!(found.contains("/predicate/workspace/tree"), "{lies:?}: {found}");
    }
    // Left out altogether is what a version says that knew nothing of it: `tree` is no subject then either.
    let mut older = said.clone();
    older["predicate"]["workspace"].as_object_mut().unwrap().remove("tree");
    let found = lie(world, elsewhere, &older, &[], None);
    assert!(found.contains("`/subject` has "), "{found}");
}

/// Two files of the same bytes, seen at two entries: the bytes go with the last that relies on them.
fn forgotten(user: User) {
    let world = World::new(user);
    world.init("", "");
    let (_, output) = world.run("echo personal > b; /bin/true; cp b d");
    assert!(output.status.success(), "{}", stderr(&output));
    let seen = |path: &str| {
        let log = world.log();
        let is_it =
            |e: &&Value| e["body"]["workspace"]["changes"].to_string().contains(&format!("\"path\":\"{path}\""));
        log.iter().filter(|e| e["kind"] == "observe").rfind(is_it).unwrap()["seq"].to_string()
    };
    let (of_b, of_d) = (seen("b"), seen("d"));
    assert_ne!(of_b, of_d);
    let last = world.log().last().unwrap()["seq"].to_string();
    let at = |path: &str| {
        let output = world.flyball(&["at", "@", &last, path]).output().unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output))
    };
    world.ok(&["forget", "@", "--payload", &of_b, "--reason", "asked to"]);
    assert_eq!(at("b").0, "personal\n", "another entry relies on the same bytes");
    world.ok(&["forget", "@", "--payload", &of_d, "--reason", "asked to"]);
    for path in ["b", "d"] {
        let (content, said) = at(path);
        assert!(content.is_empty() && said.contains("erased by"), "{path}: {content} {said}");
    }
    world.verifies();
}
