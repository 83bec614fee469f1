//! Our tree and notes as others' implementations read them, and theirs as ours does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use flyball_ledger::{Checkpoint, Digest, Draft, Kind, Ledger, Note, NoteVerifier, merkle};
use serde_json::json;
use signed_note::{StandardSigner, StandardVerifier, VerifierList};
use std::path::Path;
use tlog_tiles::{Error, Hash, HashReader, Tile, TileHashReader, TileReader};

/// Enough for a full tile of level 1 and a tile of level 2.
const LARGE: u64 = 66_000;

fn grow(dir: &Path, entries: u64) -> Ledger {
    let ledger = Ledger::open(dir).unwrap();
    let stream = ledger.stream("s").unwrap();
    for n in 1..=entries {
        let draft = Draft { at_ns: n, kind: Kind::Tick, actor: "t".into(), cause: vec![], body: json!({}) };
        stream.append(draft).unwrap();
    }
    stream.flush().unwrap();
    drop(stream);
    ledger
}

/// Serves our tiles to their reader, which authenticates each against the root before it uses it.
struct Ours<'a>(&'a Ledger);

impl TileReader for Ours<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        let read = |t: &Tile| self.0.tile(t.level().into(), t.level_index(), t.width().into());
        tiles.iter().map(|t| read(t).map_err(|e| Error::InvalidInput(e.to_string()))).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// All hashes of a tree as theirs computes and orders them.
struct Theirs(Vec<Hash>);

impl HashReader for Theirs {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        Ok(indexes.iter().map(|i| self.0[*i as usize]).collect())
    }
}

#[test]
fn their_reader_takes_our_tiles_bundles_and_proofs() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = grow(dir.path(), LARGE);
    let note = ledger.checkpoint().unwrap().unwrap();
    let text = note.split_once("\n\n").map(|(text, _)| format!("{text}\n")).unwrap();
    let head = tlog_tiles::Checkpoint::from_bytes(text.as_bytes()).unwrap();
    assert_eq!((head.size(), head.origin()), (LARGE, ledger.verifier().name()));

    // Their tree, built of our bundles, entry by entry.
    let mut theirs = Theirs(Vec::new());
    let mut count = 0;
    for bundle in 0..LARGE.div_ceil(256) {
        let bytes = ledger.bundle(bundle, 256.min(LARGE - bundle * 256)).unwrap();
        let mut rest = &bytes[..];
        while let Some((length, tail)) = rest.split_first_chunk::<2>() {
            let (entry, tail) = tail.split_at(u16::from_be_bytes(*length).into());
            let new = tlog_tiles::stored_hashes(count, entry, &theirs).unwrap();
            theirs.0.extend(new);
            count += 1;
            rest = tail;
        }
    }
    assert_eq!(count, LARGE);
    assert_eq!(tlog_tiles::tree_hash(LARGE, &theirs).unwrap().0, head.hash().0);

    // Each tile that a tree of this size publishes, byte for byte.
    let tiles = Tile::new_tiles(8, 0, LARGE);
    assert!(tiles.iter().any(|t| t.level() == 2));
    for tile in tiles {
        let ours = ledger.tile(tile.level().into(), tile.level_index(), tile.width().into()).unwrap();
        assert_eq!(ours, tile.read_data(&theirs).unwrap(), "{}", tile.path());
    }

    // Proofs: theirs out of our tiles are ours, and each side's verifier takes them.
    let ours = Ours(&ledger);
    let reader = TileHashReader::new(LARGE, Hash(head.hash().0), &ours);
    for n in [0, 1, 255, 256, 300, 65_535, 65_536, LARGE - 1] {
        let proof = tlog_tiles::prove_record(LARGE, n, &reader).unwrap();
        let own = ledger.prove_inclusion(n, LARGE).unwrap();
        assert_eq!(own.iter().map(|d| d.0).collect::<Vec<_>>(), proof.iter().map(|h| h.0).collect::<Vec<_>>());
        let leaf = ledger.entry("s", n + 1).unwrap().leaf;
        tlog_tiles::check_record(&proof, LARGE, Hash(head.hash().0), n, Hash(leaf.0)).unwrap();
        assert!(merkle::verify_inclusion(&leaf, n, LARGE, &Digest(head.hash().0), &own));
    }
    for old in [1, 2, 255, 256, 257, 65_536, LARGE - 1, LARGE] {
        let proof = tlog_tiles::prove_tree(LARGE, old, &reader).unwrap();
        let own = ledger.prove_consistency(old, LARGE).unwrap();
        assert_eq!(own.iter().map(|d| d.0).collect::<Vec<_>>(), proof.iter().map(|h| h.0).collect::<Vec<_>>());
        let old_root = ledger.root_at(old).unwrap();
        assert_eq!(old_root.0, tlog_tiles::tree_hash(old, &theirs).unwrap().0);
        tlog_tiles::check_tree(&proof, LARGE, Hash(head.hash().0), old, Hash(old_root.0)).unwrap();
        assert!(merkle::verify_consistency(old, LARGE, &old_root, &Digest(head.hash().0), &own));
    }
    assert!(ledger.tile(0, LARGE / 256, 256).is_err());
    assert!(ledger.tile(1, 1, 2).is_err());
    assert!(ledger.bundle(LARGE / 256, 256).is_err());
    assert!(ledger.prove_inclusion(LARGE, LARGE).is_err());
    assert!(ledger.prove_inclusion(0, LARGE + 1).is_err());
    let report = ledger.verify(None).unwrap();
    assert!(report.ok, "{:#?}", report.problems);
    // One kept at each multiple of 4096 that a commit crossed, and the head.
    assert!(report.checkpoints > LARGE / 4096 / 2, "{}", report.checkpoints);
}

#[test]
fn their_verifier_takes_our_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = grow(dir.path(), 3);
    let note = ledger.checkpoint().unwrap().unwrap();
    let vkey = std::fs::read_to_string(dir.path().join("keys/ledger.pub")).unwrap();
    assert_eq!(vkey.trim_end(), ledger.verifier().to_vkey());
    let known = || VerifierList::new(vec![Box::new(StandardVerifier::new(vkey.trim_end()).unwrap())]);
    let theirs = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
    let (verified, unverified) = theirs.verify(&known()).unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 0));
    let changed = note.replacen("\n3\n", "\n4\n", 1);
    assert!(signed_note::Note::from_bytes(changed.as_bytes()).unwrap().verify(&known()).is_err());
    assert!(Checkpoint::open(&changed, ledger.verifier()).is_err());
}

#[test]
fn we_take_their_notes_and_refuse_what_they_refuse() {
    // The key of the specification's example.
    let skey = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    let vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let signer = StandardSigner::new(skey).unwrap();
    let verifier = NoteVerifier::parse(vkey).unwrap();
    assert_eq!((verifier.name(), verifier.to_vkey().as_str()), ("PeterNeumann", vkey));
    let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    let mut theirs = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
    theirs.add_sigs(&[&signer]).unwrap();
    let bytes = theirs.to_bytes();
    let ours = Note::parse(&bytes).unwrap();
    assert_eq!(ours.text, text);
    assert!(ours.is_signed_by(&verifier));
    let known = || VerifierList::new(vec![Box::new(StandardVerifier::new(vkey).unwrap())]);
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        let is_taken = Note::parse(&bad).is_ok_and(|note| note.is_signed_by(&verifier));
        let is_theirs = signed_note::Note::from_bytes(&bad).is_ok_and(|note| note.verify(&known()).is_ok());
        assert!(!is_taken && !is_theirs, "byte {at}");
    }

    // A checkpoint of theirs.
    let theirs = tlog_tiles::Checkpoint::new("PeterNeumann", 7, Hash([9; 32]), "extension line\n").unwrap();
    let mut note = signed_note::Note::new(&theirs.to_bytes(), &[]).unwrap();
    note.add_sigs(&[&signer]).unwrap();
    let note = String::from_utf8(note.to_bytes()).unwrap();
    let ours = Checkpoint::open(&note, &verifier).unwrap();
    assert_eq!(ours, Checkpoint { origin: "PeterNeumann".into(), size: 7, root: Digest([9; 32]) });

    for bad in ["", "x", "a+b+c", "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"] {
        assert!(NoteVerifier::parse(bad).is_err(), "{bad}");
    }
    assert!(NoteVerifier::parse(&vkey.replace("c74f20a3", "c74f20a4")).is_err());
    let root = BASE64.encode([1; 32]);
    for bad in [
        "",
        "o\n1\n",
        &format!("o\n01\n{root}\n"),
        &format!("o\n-1\n{root}\n"),
        &format!("\n1\n{root}\n"),
        "o\n1\nAAAA\n",
    ] {
        assert!(Checkpoint::parse(bad).is_err(), "{bad}");
        assert!(tlog_tiles::Checkpoint::from_bytes(bad.as_bytes()).is_err(), "{bad}");
    }
}
