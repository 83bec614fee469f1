//! Writing a bundle: twice out of the same state, the same bytes.

use super::{FORMAT, Manifest, PayloadLine, VERSION, member, tar};
use crate::{
    CHUNK_BYTES, Digest, Entry, Keychain, Ledger, LedgerError, References, key, multiproof, schema, tiles, witness,
    writer::to_sql,
};
use rusqlite::{Connection, OptionalExtension as _};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufWriter, Write},
};

/// What is to be exported.
#[derive(Clone, Debug, Default)]
pub struct Export {
    /// The session.
    pub session: String,
    /// Whether payloads and blobs go with it.
    pub payloads: bool,
    /// Files beside the entries, each named `charter/…` or `attestations/…`.
    pub beside: BTreeMap<String, Vec<u8>>,
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Entries.
    pub entries: u64,
    /// Blobs, those of payloads included.
    pub blobs: u64,
    /// Bytes written.
    pub bytes: u64,
    /// The size of the tree that the checkpoint is of.
    pub tree_size: u64,
}

impl Ledger {
    /// Writes a session as a bundle, out of one snapshot, while others may go on writing.
    ///
    /// # Errors
    /// [`LedgerError::NoStream`]; those of the store, and those of `out` as [`LedgerError::Io`].
    pub fn export(&self, what: &Export, out: impl Write) -> Result<Exported, LedgerError> {
        let dir = self.dir();
        let db = schema::open_read(dir)?;
        db.execute_batch("BEGIN").map_err(|e| self.fail(e))?;
        // Read anew: the key may have been changed since this handle was opened.
        let keys = key::open_public(dir)?;
        Exporting { ledger: self, db: &db, keys, what }.write(out)
    }
}

struct Exporting<'a> {
    ledger: &'a Ledger,
    db: &'a Connection,
    keys: Keychain,
    what: &'a Export,
}

/// What is known of the session before anything is written.
struct Known {
    stream: i64,
    leaves: Vec<u64>,
    digests: Vec<Digest>,
    entries_bytes: u64,
    blobs: BTreeMap<Digest, u64>,
    payloads: String,
}

impl Exporting<'_> {
    fn write(&self, out: impl Write) -> Result<Exported, LedgerError> {
        let session = self.what.session.as_str();
        let known = self.survey()?;
        let last = known.leaves.last().copied().unwrap_or_default();
        let note = witness::best_note(self.db, self.ledger.dir(), &self.keys, last)?;
        let (checkpoint, _) = self.keys.open(&note)?;
        let mut nodes = tiles::Nodes::new(self.db, self.ledger.dir(), checkpoint.size);
        let proof = multiproof::prove(&known.leaves, checkpoint.size, &mut |level, index| nodes.node(level, index))?;

        let key = format!("{}\n", self.keys.first().to_vkey());
        let rotations = key::write_chain(&self.keys);
        let leaves = runs(&known.leaves);
        let raw = |digests: &[Digest]| digests.iter().flat_map(|d| d.0).collect::<Vec<u8>>();
        let (digests, proof) = (raw(&known.digests), raw(&proof));
        let mut whole: Vec<(&str, &[u8])> = vec![(member::KEY, key.as_bytes())];
        if !rotations.is_empty() {
            whole.push((member::ROTATIONS, rotations.as_bytes()));
        }
        whole.push((member::CHECKPOINT, note.as_bytes()));
        whole.push((member::LEAVES, leaves.as_bytes()));
        whole.push((member::DIGESTS, &digests));
        whole.push((member::PROOF, &proof));
        let mut behind: Vec<(&str, &[u8])> = Vec::new();
        if self.what.payloads {
            behind.push((member::PAYLOADS, known.payloads.as_bytes()));
        }
        for (name, content) in &self.what.beside {
            if !member::BESIDE.iter().any(|folder| name.starts_with(folder)) {
                return Err(LedgerError::Malformed { what: "a bundle", cause: format!("`{name}` has no place in it") });
            }
            behind.push((name, content));
        }

        let sum = |members: &[(&str, &[u8])]| members.iter().map(|(_, content)| content.len() as u64).sum::<u64>();
        let bytes = sum(&whole) + known.entries_bytes + sum(&behind) + known.blobs.values().sum::<u64>();
        let manifest = Manifest {
            format: FORMAT.into(),
            version: VERSION,
            session: session.to_owned(),
            entries: known.leaves.len() as u64,
            payloads: self.what.payloads,
            bytes,
        };
        let mut manifest = serde_json::to_vec(&manifest).map_err(|e| unwritable(&e.to_string()))?;
        manifest.push(b'\n');

        let fail = |e| LedgerError::io("write a bundle out of", self.ledger.dir(), e);
        let mut tar = tar::Writer::new(Counted { to: BufWriter::with_capacity(1 << 20, out), bytes: 0 });
        tar.member(member::MANIFEST, &manifest).map_err(fail)?;
        whole.iter().try_for_each(|(name, content)| tar.member(name, content)).map_err(fail)?;
        tar.begin(member::ENTRIES, known.entries_bytes).map_err(fail)?;
        self.each_entry(known.stream, |_, _, data| {
            tar.write_all(data).and_then(|()| tar.write_all(b"\n")).map_err(fail)
        })?;
        behind.iter().try_for_each(|(name, content)| tar.member(name, content)).map_err(fail)?;
        for (digest, bytes) in &known.blobs {
            tar.begin(&format!("{}{}", member::BLOBS, digest.to_hex()), *bytes).map_err(fail)?;
            for piece in 0..bytes.div_ceil(CHUNK_BYTES as u64) {
                let chunk = self.ledger.chunk(digest, piece)?;
                tar.write_all(&chunk.unwrap_or_default()).map_err(fail)?;
            }
        }
        let mut counted = tar.finish().map_err(fail)?;
        counted.flush().map_err(fail)?;
        let (entries, blobs) = (known.leaves.len() as u64, known.blobs.len() as u64);
        Ok(Exported { entries, blobs, bytes: counted.bytes, tree_size: checkpoint.size })
    }

    fn survey(&self) -> Result<Known, LedgerError> {
        let session = &self.what.session;
        let sql = "SELECT id FROM streams WHERE name = ?1";
        let stream = self.db.query_row(sql, [session], |row| row.get(0)).optional().map_err(|e| self.ledger.fail(e))?;
        let stream = stream.ok_or_else(|| LedgerError::NoStream(session.clone()))?;
        let (leaves, digests) = Default::default();
        let mut known =
            Known { stream, leaves, digests, entries_bytes: 0, blobs: BTreeMap::new(), payloads: String::new() };
        let (mut blobs, mut payloads) = (BTreeSet::new(), BTreeSet::new());
        self.each_entry(stream, |leaf, digest, data| {
            if data.contains(&b'\n') {
                let cause = format!("the entry at leaf {leaf} is not one line");
                return Err(LedgerError::damaged(self.ledger.dir(), cause));
            }
            known.leaves.push(leaf);
            known.digests.push(digest);
            known.entries_bytes += data.len() as u64 + 1;
            if self.what.payloads {
                let refs = refs(data, leaf, digest);
                blobs.extend(refs.blobs);
                payloads.extend(refs.payloads);
            }
            Ok(())
        })?;
        for commitment in payloads {
            // What is not there was erased, or is missing: the reader of the bundle will say which.
            let Some((salt, blob)) = self.ledger.salt(&commitment)? else { continue };
            blobs.insert(blob);
            let line = PayloadLine { commitment, salt: crate::digest::to_hex(&salt), blob };
            known.payloads.push_str(&serde_json::to_string(&line).map_err(|e| unwritable(&e.to_string()))?);
            known.payloads.push('\n');
        }
        for digest in blobs {
            if let Some(bytes) = self.ledger.blob_bytes(&digest)? {
                known.blobs.insert(digest, bytes);
            }
        }
        Ok(known)
    }

    fn each_entry(
        &self,
        stream: i64,
        mut each: impl FnMut(u64, Digest, &[u8]) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let fail = |e| self.ledger.fail(e);
        let sql = "SELECT leaf, digest, data FROM entries WHERE stream = ?1 AND seq >= ?2 ORDER BY seq";
        let mut statement = self.db.prepare_cached(sql).map_err(fail)?;
        let mut rows = statement.query((stream, to_sql(0))).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let leaf = row.get::<_, i64>(0).map_err(fail)?.unsigned_abs();
            let digest = Digest(row.get(1).map_err(fail)?);
            let data = row.get_ref(2).map_err(fail)?.as_blob().map_err(|e| fail(e.into()))?;
            each(leaf, digest, data)?;
        }
        Ok(())
    }
}

/// What an entry relies on. One that can't be read relies on nothing; the reader of the bundle will name it.
fn refs(data: &[u8], leaf: u64, digest: Digest) -> References {
    const MARK: &[u8] = b",\"refs\":{";
    if !data.windows(MARK.len()).any(|w| w == MARK) {
        return References::default();
    }
    Entry::decode(data.to_vec(), leaf, digest).map(|entry| entry.refs).unwrap_or_default()
}

/// Ascending leaves as lines `FIRST COUNT`.
fn runs(leaves: &[u64]) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for leaf in leaves {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == *leaf => *count += 1,
            _ => runs.push((*leaf, 1)),
        }
    }
    runs.iter().map(|(first, count)| format!("{first} {count}\n")).collect()
}

fn unwritable(cause: &str) -> LedgerError {
    LedgerError::Malformed { what: "a bundle", cause: cause.to_owned() }
}

struct Counted<W> {
    to: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}
