//! Large and hostile bundles: read, or refused, in a memory that does not grow with them.

use crate::scene::Scene;
use flyball_ledger::bundle::Export;
use flyball_ledger::{Draft, Kind, Ledger};
use serde_json::{Value, json};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Command, Output};

/// Address space of the one that verifies; the bundles below would take some up to eighty times as much if they were held.
const MEMORY_KIB: u32 = 160 << 10;
const ENTRIES: u64 = 1_500;

fn verify(scene: &Scene, file: &str) -> Output {
    let flyball = env!("CARGO_BIN_EXE_flyball");
    let mut bounded = Command::new("sh");
    bounded.args(["-c", &format!("ulimit -v {MEMORY_KIB} && exec \"$0\" \"$@\"")]).arg(flyball);
    bounded.args(["--json", "verify", file]).current_dir(scene.repo()).env("FLYBALL_HOME", "/nonexistent");
    bounded.output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// A session whose entries are long, one after the other the cause of the next.
fn session(dir: &Path) -> Ledger {
    let ledger = Ledger::open(dir).unwrap();
    let stream = ledger.stream("aaa").unwrap();
    let text = "x".repeat(60_000);
    for n in 1..=ENTRIES {
        let kind = match n {
            1 => Kind::Open,
            ENTRIES => Kind::Close,
            _ => Kind::Attempt,
        };
        let body = json!({ "n": n, "text": text });
        let cause = if n > 1 { vec![n - 1] } else { Vec::new() };
        stream.append(Draft { at_ns: n, kind, actor: "agent".into(), cause, body }).unwrap();
    }
    stream.flush().unwrap();
    drop(stream);
    ledger
}

/// A member's header, as bundles have it.
fn header(name: &str, length: u64) -> Vec<u8> {
    let mut block = vec![0_u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    for (at, text) in [(100, "0000644"), (108, "0000000"), (116, "0000000"), (136, "00000000000"), (148, "        0")] {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    block[124..135].copy_from_slice(format!("{length:011o}").as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[test]
fn a_bundle_is_verified_in_less_memory_than_it_has_bytes() {
    let scene = Scene::new();
    let ledger = session(&scene.ledger());
    let file = scene.repo().join("long.flyball");
    let what = Export { session: "aaa".into(), payloads: true, ..Export::default() };
    ledger.export(&what, std::fs::File::create(&file).unwrap()).unwrap();
    drop(ledger);
    let bytes = std::fs::metadata(&file).unwrap().len();
    assert!(bytes > 80 << 20, "{bytes}");
    let output = verify(&scene, "./long.flyball");
    let said = report(&output);
    assert!(output.status.success() && said["ok"] == true && said["entries"] == ENTRIES, "{said}");

    // What looks like nothing on the disk: a hole of 256 MiB, as a content that no entry names. The archive's
    // end, two blocks of zeros, gives way to it.
    let mut made = std::fs::OpenOptions::new().read(true).write(true).open(&file).unwrap();
    let hole = 256_u64 << 20;
    made.seek(SeekFrom::End(-1024)).unwrap();
    made.write_all(&header(&format!("blobs/{}", "0".repeat(64)), hole)).unwrap();
    let end = made.stream_position().unwrap() + hole + 1024;
    made.set_len(end).unwrap();
    // The manifest's sum is wrong by that.
    let said = refused(&scene, "./long.flyball", "FB0324");
    assert!(said.contains("is more than its manifest speaks of"), "{said}");
    // And right: it is read to its end, and told.
    resum(&mut made, hole);
    let output = verify(&scene, "./long.flyball");
    let said = report(&output);
    let told = said["problems"].to_string();
    assert!(output.status.code() == Some(103) && told.contains("which no entry names"), "{told}");
    assert!(told.contains("bytes of blob") && told.contains("are others"), "{told}");
}

/// Adds to the sum in the manifest, whose length stays as it is.
fn resum(file: &mut std::fs::File, more: u64) {
    use std::io::Read as _;
    let mut block = [0_u8; 1024];
    file.rewind().unwrap();
    file.read_exact(&mut block).unwrap();
    let text = std::str::from_utf8(&block[512..]).unwrap().trim_end_matches('\0').to_owned();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    let bytes = manifest["bytes"].as_u64().unwrap();
    manifest["bytes"] = (bytes + more).into();
    // In the order in which it is written.
    let mended = text.replace(&bytes.to_string(), &(bytes + more).to_string());
    assert_eq!(serde_json::from_str::<Value>(&mended).unwrap(), manifest);
    let mut head = header("manifest.json", mended.len() as u64);
    head.extend(mended.as_bytes());
    head.resize(1024, 0);
    file.rewind().unwrap();
    file.write_all(&head).unwrap();
}

#[track_caller]
fn refused(scene: &Scene, file: &str, code: &str) -> String {
    let output = verify(scene, file);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains(code), "{file}: {said} {:?}", output.status);
    said
}

#[test]
fn bundles_that_promise_much_are_refused_for_little() {
    let scene = Scene::new();
    let write = |name: &str, members: &[(&str, u64, &str)], entries: u64, bytes: u64| {
        let text = format!(
            "{{\"format\":\"flyball-bundle\",\"version\":1,\"session\":\"s\",\"entries\":{entries},\"payloads\":true,\"bytes\":{bytes}}}\n"
        );
        let mut out = Vec::new();
        for (member, length, content) in [("manifest.json", text.len() as u64, text.as_str())].iter().chain(members) {
            out.extend(header(member, *length));
            out.extend(content.as_bytes());
            out.resize(out.len().next_multiple_of(512), 0);
        }
        let file = std::fs::File::create(scene.repo().join(name)).unwrap();
        (&file).write_all(&out).unwrap();
        // The rest is a hole.
        file.set_len(out.len() as u64 + (15 << 30)).unwrap();
    };
    let key = "flyball.local/ledger/034265aa+5d775ab6+AdSrDBBCcuFVW7qLRHrsA2MwC6noofEB4pgf4HGIzcSN\n";
    let until = [("ledger.pub", key.len() as u64, key), ("checkpoint", 5, "none\n")];
    let with = |more: &[(&'static str, u64, &'static str)]| [&until[..], more].concat();
    write("leaves", &with(&[("leaves.txt", 4 << 30, "")]), 5_000_000, 15 << 30);
    refused(&scene, "./leaves", "FB0324");
    // The most entries that are taken at all, in two words; then their digests, which are not there.
    write("runs", &with(&[("leaves.txt", 10, "0 4999999\n"), ("digests", 1, "")]), 4_999_999, 15 << 30);
    refused(&scene, "./runs", "FB0324");
    // An entry of seven gigabytes.
    let entries: &[(&str, u64, &str)] = &[
        ("leaves.txt", 4, "0 1\n"),
        ("digests", 32, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        ("proof", 0, ""),
        ("entries.jsonl", 7 << 30, ""),
    ];
    write("entry", &[&until[..], entries].concat(), 1, 15 << 30);
    refused(&scene, "./entry", "FB0324");
}
