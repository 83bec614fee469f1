//! The proof that one entry is in the tree, as a text of its own (<https://c2sp.org/tlog-proof>): other tools verify it.

use crate::{
    Checkpoint, Digest, Entry, Keychain, Ledger, LedgerError, NoteVerifier, key, merkle, note::Note, schema, tiles,
    witness, writer::to_sql,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rusqlite::OptionalExtension as _;
use serde::{Deserialize, Serialize};

/// The first line.
pub const HEADER: &str = "c2sp.org/tlog-proof@v1";
const PROOF_BYTES_MAX: usize = 8 << 20;
/// As many as a tree of 2^64 leaves has levels.
const HASHES_MAX: usize = 64;

/// One entry's inclusion in a tree, with the checkpoint of that tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The entry's place, from 0.
    pub index: u64,
    /// The inclusion proof, from the leaf's sibling up.
    pub hashes: Vec<Digest>,
    /// The checkpoint, as a note.
    pub note: String,
    /// The keys that it brings. Nothing but its reader says whether they are the right ones.
    pub keys: Option<Keychain>,
}

/// What this writes as the proof's extra data, which nothing authenticates.
#[derive(Serialize, Deserialize)]
struct Extra {
    key: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rotations: Vec<String>,
}

impl Ledger {
    /// An entry and the proof that it is in the tree of the latest checkpoint, or of the latest one that a witness cosigned
    /// if the entry is in that.
    ///
    /// # Errors
    /// [`LedgerError::NoStream`], [`LedgerError::NoEntry`]; those of the store.
    pub fn prove_entry(&self, stream: &str, seq: u64) -> Result<(Entry, Proof), LedgerError> {
        let db = schema::open_read(self.dir())?;
        db.execute_batch("BEGIN").map_err(|e| self.fail(e))?;
        let keys = key::open_public(self.dir())?;
        let sql = "SELECT id FROM streams WHERE name = ?1";
        let id: Option<i64> = db.query_row(sql, [stream], |row| row.get(0)).optional().map_err(|e| self.fail(e))?;
        let id = id.ok_or_else(|| LedgerError::NoStream(stream.to_owned()))?;
        let sql = "SELECT leaf, digest, data FROM entries WHERE stream = ?1 AND seq = ?2";
        let found = db.query_row(sql, (id, to_sql(seq)), |row| {
            Ok((row.get::<_, i64>(0)?.unsigned_abs(), Digest(row.get(1)?), row.get(2)?))
        });
        let found = found.optional().map_err(|e| self.fail(e))?;
        let (index, leaf, data) = found.ok_or_else(|| LedgerError::NoEntry { stream: stream.to_owned(), seq })?;
        let note = witness::best_note(&db, self.dir(), &keys, index)?;
        let (checkpoint, _) = keys.open(&note)?;
        let mut nodes = tiles::Nodes::new(&db, self.dir(), checkpoint.size);
        let hashes = merkle::inclusion_proof(index, checkpoint.size, &mut |level, at| nodes.node(level, at))?;
        Ok((Entry::decode(data, index, leaf)?, Proof { index, hashes, note, keys: Some(keys) }))
    }
}

impl Proof {
    /// Its text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        if let Some(keys) = &self.keys {
            let rotations = keys.rotations().iter().map(|r| r.note.clone()).collect();
            let extra = Extra { key: keys.first().to_vkey(), rotations };
            let extra = serde_json::to_vec(&extra).unwrap_or_default();
            text.push_str(&format!("extra {}\n", BASE64.encode(extra)));
        }
        text.push_str(&format!("index {}\n", self.index));
        self.hashes.iter().for_each(|hash| text.push_str(&format!("{}\n", BASE64.encode(hash.0))));
        text.push('\n');
        text.push_str(&self.note);
        text
    }

    /// Reads the text. Extra data that is not of this ledger's kind is passed over, as the specification asks.
    ///
    /// # Errors
    /// [`LedgerError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LedgerError> {
        let bad = |cause: &str| LedgerError::Malformed { what: "a proof", cause: cause.to_owned() };
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(bad("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| bad("it is not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or_else(|| bad("it has no checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(bad("it does not begin as one of version 1"));
        }
        let mut line = lines.next().ok_or_else(|| bad("it has no index"))?;
        let mut keys = None;
        if let Some(extra) = line.strip_prefix("extra ") {
            let extra = BASE64.decode(extra).map_err(|_| bad("its extra data is not base64"))?;
            if let Ok(extra) = serde_json::from_slice::<Extra>(&extra) {
                keys =
                    Some(Keychain::read(NoteVerifier::parse(&extra.key)?, extra.rotations.iter().map(String::as_str))?);
            }
            line = lines.next().ok_or_else(|| bad("it has no index"))?;
        }
        let digits = line.strip_prefix("index ").ok_or_else(|| bad("it has no index"))?;
        let index: u64 = digits.parse().map_err(|_| bad("its index is not a number"))?;
        if index.to_string() != digits {
            return Err(bad("its index is not a number"));
        }
        let mut hashes = Vec::new();
        for line in lines {
            let hash = BASE64.decode(line).ok().and_then(|hash| Digest::from_slice(&hash));
            hashes.push(hash.ok_or_else(|| bad("a hash is not 32 bytes in base64"))?);
            if hashes.len() > HASHES_MAX {
                return Err(bad("it has more hashes than any tree has levels"));
            }
        }
        Note::parse(note.as_bytes())?;
        Ok(Self { index, hashes, note: note.to_owned(), keys })
    }

    /// Whether it shows that an entry of these bytes is at its place in the tree of this checkpoint.
    #[must_use]
    pub fn holds(&self, entry: &[u8], checkpoint: &Checkpoint) -> bool {
        let leaf = merkle::leaf_digest(entry);
        merkle::verify_inclusion(&leaf, self.index, checkpoint.size, &checkpoint.root, &self.hashes)
    }
}
