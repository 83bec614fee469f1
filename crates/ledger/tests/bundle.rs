//! Bundles: what is exported is verified without its ledger; whatever is changed is found, and the entry is named; what is no bundle
//! is refused before much of it is read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use flyball_ledger::bundle::{self, Export, Limits, Opened};
use flyball_ledger::{Digest, Draft, Kind, Ledger, LedgerError, Problem};
use serde_json::json;
use std::path::Path;

const SESSION: &str = "aaa";
const ENTRIES: u64 = 60;

/// Two interleaved sessions; the exported one has a blob, a payload, and a body too large for its entry.
fn grow(dir: &Path) -> Ledger {
    let ledger = Ledger::open(dir).unwrap();
    let (a, b) = (ledger.stream(SESSION).unwrap(), ledger.stream("bbb").unwrap());
    let blob = ledger.put_blob(&[7; 1_500_000]).unwrap();
    let payload = ledger.payload(&[b'p'; 9000]).unwrap();
    let same = ledger.payload(&[b'p'; 9000]).unwrap();
    for n in 1..=ENTRIES {
        for (stream, name) in [(&a, "a"), (&b, "b")] {
            if name == "b" && n % 3 == 0 {
                continue;
            }
            let kind = match n {
                1 => Kind::Open,
                ENTRIES => Kind::Close,
                _ => Kind::Attempt,
            };
            let mut body = json!({"name": name, "n": n, "text": "plain"});
            if n == 20 && name == "a" {
                body["blob"] = json!(blob);
                body["stdin"] = payload.clone();
            }
            if n == 21 && name == "a" {
                body["stdin"] = same.clone();
            }
            if n == 22 && name == "a" {
                body["much"] = "x".repeat(70_000).into();
            }
            let cause = if n > 1 && name == "a" { vec![n - 1] } else { vec![] };
            stream.append(Draft { at_ns: 1_000_000 * n, kind, actor: "agent".into(), cause, body }).unwrap();
        }
        if n % 10 == 0 {
            ledger.flush().unwrap();
        }
    }
    ledger.flush().unwrap();
    drop((a, b));
    ledger
}

fn export(ledger: &Ledger, payloads: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let beside = ["attestations/00000061.dsse.json", "charter/00000001/charter.toml"];
    let beside = beside.into_iter().map(|name| (name.to_owned(), b"[charter]\n".to_vec())).collect();
    let exported = ledger.export(&Export { session: SESSION.into(), payloads, beside }, &mut out).unwrap();
    assert_eq!((exported.entries, exported.bytes), (ENTRIES, out.len() as u64));
    out
}

fn open(bytes: &[u8]) -> Result<Opened, LedgerError> {
    bundle::read(bytes, Path::new("x.bundle"), Limits::default())
}

fn whole() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    export(&grow(dir.path()), true)
}

/// Where a member's content begins, and how long it is.
fn member(bytes: &[u8], name: &str) -> (usize, usize) {
    let mut at = 0;
    loop {
        let found = bytes[at..at + 100].split(|b| *b == 0).next().unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[at + 124..at + 135]).unwrap(), 8).unwrap();
        if found == name.as_bytes() {
            return (at + 512, length);
        }
        assert!(!found.is_empty(), "no member {name}");
        at += 512 + length.next_multiple_of(512);
    }
}

#[track_caller]
fn problems(bytes: &[u8]) -> Vec<Problem> {
    let report = open(bytes).unwrap().report;
    assert!(!report.ok && !report.problems.is_empty(), "the change was not found");
    report.problems
}

#[track_caller]
fn names(problems: &[Problem], code: &str, seq: Option<u64>) {
    assert!(problems.iter().any(|p| p.code == code && p.seq == seq), "no {code} for {seq:?} in {problems:#?}");
}

#[test]
fn what_is_exported_verifies_without_its_ledger_and_twice_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = grow(dir.path());
    let bytes = export(&ledger, true);
    assert_eq!(bytes, export(&ledger, true), "deterministic");
    let note = ledger.checkpoint().unwrap().unwrap();
    let leaf = ledger.entry(SESSION, 22).unwrap();
    let (vkey, raw) = (ledger.verifier().to_vkey(), leaf.raw.clone());
    let bodies = ledger.body(&leaf).unwrap();
    drop((ledger, dir));
    let opened = open(&bytes).unwrap();
    assert!(opened.report.ok, "{:#?}", opened.report.problems);
    assert_eq!((opened.report.entries, opened.report.checkpoints, opened.blobs), (ENTRIES, 1, 3));
    assert_eq!(opened.report.signed_by, [vkey]);
    assert_eq!(opened.checkpoint.unwrap().size, ENTRIES + ENTRIES - ENTRIES / 3);
    assert!(note.starts_with(&opened.note.unwrap().text));
    let entry = opened.ledger.entry(SESSION, 22).unwrap();
    assert_eq!((entry.raw.clone(), entry.index), (raw, leaf.index));
    assert_eq!(opened.ledger.body(&entry).unwrap(), bodies, "a body beside its entry is there to read");
    assert_eq!(opened.beside.len(), 2);
}

#[test]
fn without_payloads_it_is_small_and_still_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = grow(dir.path());
    let bytes = export(&ledger, false);
    assert!(bytes.len() < 60_000, "{}", bytes.len());
    let opened = open(&bytes).unwrap();
    assert!(opened.report.ok, "{:#?}", opened.report.problems);
    assert_eq!((opened.blobs, opened.manifest.payloads), (0, false));
}

#[test]
fn other_tools_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.bundle");
    std::fs::write(&path, whole()).unwrap();
    let Ok(out) = std::process::Command::new("tar").arg("-tvf").arg(&path).output() else {
        println!("skipped: no `tar` here");
        return;
    };
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{text} {}", String::from_utf8_lossy(&out.stderr));
    assert!(text.lines().count() >= 12 && text.contains("entries.jsonl") && text.contains("1500000"), "{text}");
}

#[test]
fn no_byte_of_it_is_without_meaning() {
    let bytes = whole();
    // Every byte of all but the long blob, which has one in a thousand tried.
    let (blob, length) = member(&bytes, &format!("blobs/{}", Digest::of(&[7; 1_500_000]).to_hex()));
    let is_tried = |at: &usize| !(blob..blob + length).contains(at) || at.is_multiple_of(499_979);
    // A bit of each; others in the long form.
    let step = if std::env::var_os("FLYBALL_LONG").is_some() { 1 } else { 397 };
    for at in (0..bytes.len()).filter(is_tried).step_by(step) {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        match open(&bad) {
            Err(
                LedgerError::Bundle { .. } | LedgerError::BundleVersion { .. } | LedgerError::BundleTooLarge { .. },
            ) => {}
            Err(error) => panic!("byte {at}: {error}"),
            // A file beside the entries is held against them by who knows what it is.
            Ok(opened) if opened.beside.values().any(|text| text != b"[charter]\n") => {}
            Ok(opened) => assert!(!opened.report.ok, "byte {at} of {} has no meaning", bytes.len()),
        }
    }
}

#[test]
fn a_changed_entry_is_named() {
    let bytes = whole();
    let (at, length) = member(&bytes, "entries.jsonl");
    let text = String::from_utf8(bytes[at..at + length].to_vec()).unwrap();
    let line = text.lines().nth(16).unwrap();
    let place = at + text.find(line).unwrap();
    for field in [r#""stream":"#, r#""seq":"#, r#""at":"#, r#""kind":"#, r#""actor":"#, r#""cause":"#, r#""body":"#] {
        let mut bad = bytes.clone();
        bad[place + line.find(field).unwrap() + field.len() + 2] ^= 1;
        let found = problems(&bad);
        assert!(found.iter().any(|p| p.code == "FB0330" && p.leaf.is_some()), "{field}: {found:#?}");
        if field != r#""seq":"# {
            names(&found, "FB0330", Some(17));
        }
    }
    // With its digest: nothing is left to name it, but the root is another.
    let mut bad = bytes.clone();
    bad[place + line.find("plain").unwrap()] ^= 1;
    let leaf = flyball_ledger::merkle::leaf_digest(&bad[place..place + line.len()]);
    let (digests, _) = member(&bytes, "digests");
    bad[digests + 16 * 32..digests + 17 * 32].copy_from_slice(&leaf.0);
    names(&problems(&bad), "FB0346", None);
}

/// The archive again with a member changed; the manifest's sum is kept right.
fn with(bytes: &[u8], change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut at = 0;
    let mut members = Vec::new();
    while bytes[at] != 0 {
        let name = String::from_utf8(bytes[at..at + 100].split(|b| *b == 0).next().unwrap().to_vec()).unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[at + 124..at + 135]).unwrap(), 8).unwrap();
        let content = bytes[at + 512..at + 512 + length].to_vec();
        at += 512 + length.next_multiple_of(512);
        members.push((name, content));
    }
    let mut members: Vec<(String, Vec<u8>)> =
        members.into_iter().filter_map(|(name, content)| change(&name, content).map(|c| (name, c))).collect();
    let sum: usize = members[1..].iter().map(|(_, content)| content.len()).sum();
    let mut manifest: serde_json::Value = serde_json::from_slice(&members[0].1).unwrap();
    manifest["bytes"] = sum.into();
    if let Some((_, entries)) = members.iter().find(|(name, _)| name == "entries.jsonl") {
        manifest["entries"] = entries.iter().filter(|b| **b == b'\n').count().into();
    }
    members[0].1 = format!("{manifest}\n").into_bytes();
    let mut out = Vec::new();
    for (name, content) in members {
        out.extend(header(&name, content.len()));
        out.extend(&content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn header(name: &str, length: usize) -> [u8; 512] {
    let mut block = [0u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    for (at, text) in [(100, "0000644"), (108, "0000000"), (116, "0000000"), (136, "00000000000"), (148, "        0")] {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    block[124..135].copy_from_slice(format!("{length:011o}").as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn lines(content: Vec<u8>, change: impl FnOnce(&mut Vec<String>)) -> Vec<u8> {
    let mut lines: Vec<String> = String::from_utf8(content).unwrap().lines().map(str::to_owned).collect();
    change(&mut lines);
    lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes()
}

#[test]
fn entries_dropped_reordered_and_forked_are_found() {
    let bytes = whole();
    assert!(open(&with(&bytes, |_, content| Some(content))).unwrap().report.ok);
    // A whole entry with its digest and its place: the proof no longer fits.
    let leaves = |content: Vec<u8>| lines(content, |lines| *lines = every(lines));
    fn every(lines: &[String]) -> Vec<String> {
        let mut all: Vec<u64> = Vec::new();
        for line in lines {
            let (first, count) = line.split_once(' ').unwrap();
            let (first, count): (u64, u64) = (first.parse().unwrap(), count.parse().unwrap());
            all.extend(first..first + count);
        }
        all.remove(29);
        all.iter().map(|leaf| format!("{leaf} 1")).collect()
    }
    let dropped = with(&bytes, |name, content| {
        Some(match name {
            "leaves.txt" => leaves(content),
            "digests" => [&content[..29 * 32], &content[30 * 32..]].concat(),
            "entries.jsonl" => lines(content, |lines| _ = lines.remove(29)),
            _ => content,
        })
    });
    let found = problems(&dropped);
    names(&found, "FB0332", Some(30));
    names(&found, "FB0346", None);
    let swapped = with(&bytes, |name, content| {
        Some(if name == "entries.jsonl" { lines(content, |lines| lines.swap(9, 10)) } else { content })
    });
    let found = problems(&swapped);
    names(&found, "FB0330", Some(11));
    names(&found, "FB0332", Some(10));
    let doubled = with(&bytes, |name, content| {
        Some(if name == "entries.jsonl" { lines(content, |lines| lines[40] = lines[39].clone()) } else { content })
    });
    names(&problems(&doubled), "FB0332", Some(40));
    // A cause that comes after, which would be a cycle.
    let cycle = with(&bytes, |name, content| {
        let text = |content| String::from_utf8(content).unwrap().replace("\"cause\":[4]", "\"cause\":[5]").into_bytes();
        Some(if name == "entries.jsonl" { text(content) } else { content })
    });
    names(&problems(&cycle), "FB0334", Some(5));
}

#[test]
fn content_that_is_swapped_missing_or_nobodys_is_found() {
    let bytes = whole();
    let blob = format!("blobs/{}", Digest::of(&[b'p'; 9000]).to_hex());
    let other = with(&bytes, |name, content| Some(if name == blob { vec![b'q'; 9000] } else { content }));
    let found = problems(&other);
    for seq in [20, 21] {
        names(&found, "FB0340", Some(seq));
        names(&found, "FB0341", Some(seq));
    }
    let gone = with(&bytes, |name, content| (name != blob).then_some(content));
    let found = problems(&gone);
    names(&found, "FB0340", Some(20));
    names(&found, "FB0340", Some(21));
    let salts = with(&bytes, |name, content| {
        Some(if name == "payloads.jsonl" { lines(content, |lines| _ = lines.remove(0)) } else { content })
    });
    assert!(problems(&salts).iter().any(|p| p.code == "FB0341" && p.seq.is_some()));
    let nobodys = with(&bytes, |name, content| {
        let drop_it =
            |lines: &mut Vec<String>| lines.iter_mut().for_each(|l| *l = l.replace("\"blobs\":[", "\"blobz\":["));
        Some(if name == "entries.jsonl" { lines(content, drop_it) } else { content })
    });
    names(&problems(&nobodys), "FB0349", None);
}

#[test]
fn a_second_reading_brings_what_is_wanted_and_only_that_as_its_digest_says() {
    let bytes = whole();
    let wanted = Digest::of(&[7; 1_500_000]);
    let name = format!("blobs/{}", wanted.to_hex());
    let swapped = with(&bytes, |member, content| Some(if member == name { vec![8; 1_500_000] } else { content }));
    let mut opened = open(&bytes).unwrap();
    let set = [wanted].into();
    let read = |opened: &Opened| match opened.ledger.blob(&wanted) {
        Err(LedgerError::NoBlob(_)) => None,
        other => Some(other.unwrap().len()),
    };
    assert_eq!(read(&opened), None, "the first reading keeps bodies only");
    // The file was changed between the two.
    opened.bring(swapped.as_slice(), &set).unwrap();
    assert_eq!(read(&opened), None);
    let cut = opened.bring(&bytes[..bytes.len() - 2000], &set);
    assert!(matches!(cut, Err(LedgerError::Bundle { .. })), "{cut:?}");
    let mut opened = open(&bytes).unwrap();
    opened.bring(bytes.as_slice(), &[].into()).unwrap();
    assert_eq!(read(&opened), None, "nobody wanted it");
    opened.bring(bytes.as_slice(), &set).unwrap();
    opened.bring(bytes.as_slice(), &set).unwrap();
    assert_eq!(read(&opened), Some(1_500_000));
}

#[test]
fn an_old_checkpoint_another_history_and_another_key_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = grow(dir.path());
    let old = ledger.checkpoint().unwrap().unwrap();
    ledger
        .stream("ccc")
        .unwrap()
        .append(Draft { at_ns: 1, kind: Kind::Open, actor: "x".into(), cause: vec![], body: json!({}) })
        .unwrap();
    ledger.flush().unwrap();
    let bytes = export(&ledger, false);
    let replayed =
        with(&bytes, |name, content| Some(if name == "checkpoint" { old.clone().into_bytes() } else { content }));
    names(&problems(&replayed), "FB0346", None);
    // The same entries in a ledger of somebody else's: well made, but of another key.
    let theirs = tempfile::tempdir().unwrap();
    let theirs = export(&grow(theirs.path()), false);
    let opened = open(&theirs).unwrap();
    assert!(opened.report.ok && !opened.keys.has(ledger.verifier()), "only the key tells");
    let (at, length) = member(&theirs, "checkpoint");
    let foreign = with(&bytes, |name, content| {
        Some(if name == "checkpoint" { theirs[at..at + length].to_vec() } else { content })
    });
    names(&problems(&foreign), "FB0338", None);
}

#[test]
fn a_file_that_is_cut_off_is_refused_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = export(&grow(dir.path()), false);
    for at in (0..bytes.len()).step_by(131) {
        assert!(matches!(open(&bytes[..at]), Err(LedgerError::Bundle { .. })), "cut at {at}");
    }
    let error = open(&bytes[..bytes.len() / 2]).map(drop).unwrap_err();
    assert_eq!(error.code(), "FB0324");
    assert!(error.to_string().contains("cut off after byte"), "{error}");
    let more: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    assert!(matches!(open(&more), Err(LedgerError::Bundle { .. })));
}

#[test]
fn hostile_files_are_refused_before_much_is_read() {
    struct Endless(u64);
    impl std::io::Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0 += into.len() as u64;
            assert!(self.0 < 64 << 20, "it reads on and on");
            into.fill(b'7');
            Ok(into.len())
        }
    }
    use std::io::Read as _;
    let manifest = |entries: u64, bytes: u64, version: u64| {
        let text = format!(
            "{{\"format\":\"flyball-bundle\",\"version\":{version},\"session\":\"s\",\"entries\":{entries},\"payloads\":true,\"bytes\":{bytes}}}\n"
        );
        let mut out = header("manifest.json", text.len()).to_vec();
        out.extend(text.as_bytes());
        out.resize(out.len().next_multiple_of(512), 0);
        out
    };
    let read =
        |head: Vec<u8>| bundle::read(head.chain(Endless(0)), Path::new("x"), Limits::default()).map(drop).unwrap_err();
    let code = |head: Vec<u8>| read(head).code();
    assert_eq!(code(vec![]), "FB0324", "no archive at all");
    assert_eq!(code(manifest(1, 1 << 50, 1)), "FB0326", "a petabyte");
    assert_eq!(code(manifest(1 << 40, 1 << 33, 1)), "FB0326", "very many entries");
    assert_eq!(code(manifest(9, 999, 3)), "FB0325", "another version");
    assert_eq!(code(manifest(0, 999, 1)), "FB0324", "no entries");
    let after = |name: &str, length: usize| [manifest(5, 1 << 33, 1), header(name, length).to_vec()].concat();
    assert_eq!(code(after("ledger.pub", 1 << 32)), "FB0326", "a key of four gigabytes");
    assert_eq!(code(after("checkpoint", 100)), "FB0324", "no key");
    // A sparse file, a link, a long name, an absolute one: none is a header as this writes it.
    for (at, byte) in [(156, b'S'), (156, b'2'), (156, b'L'), (156, b'x'), (0, b'/'), (136, b'1')] {
        let mut bad = header("ledger.pub", 100);
        bad[at] = byte;
        let sum: u32 =
            bad.iter().enumerate().map(|(n, b)| if (148..156).contains(&n) { 32 } else { u32::from(*b) }).sum();
        bad[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(code([manifest(5, 1000, 1), bad.to_vec()].concat()), "FB0324", "{at} {byte}");
    }
    let small = Limits { bytes: 1000, ..Limits::default() };
    let error = bundle::read(whole().as_slice(), Path::new("x"), small).map(drop).unwrap_err();
    assert!(matches!(error, LedgerError::BundleTooLarge { limit: 1000, .. }), "{error}");
    let few = Limits { references: 2, ..Limits::default() };
    let error = bundle::read(whole().as_slice(), Path::new("x"), few).map(drop).unwrap_err();
    assert!(matches!(error, LedgerError::BundleTooLarge { what: "contents that its entries name", .. }), "{error}");
    // A million checkpoints: there is one, of at most 64 KiB.
    let dir = tempfile::tempdir().unwrap();
    let bytes = export(&grow(dir.path()), false);
    let many = with(&bytes, |name, content| Some(if name == "checkpoint" { content.repeat(30_000) } else { content }));
    assert!(matches!(open(&many).map(drop).unwrap_err(), LedgerError::BundleTooLarge { .. }));
    let some = with(&bytes, |name, content| Some(if name == "checkpoint" { content.repeat(100) } else { content }));
    names(&problems(&some), "FB0338", None);
}
