//! Reading a bundle and verifying it, in one pass and bounded memory: the tree's root first, then each entry against its
//! digest, then content against what entries commit to. What holds is kept in a store of its own, for whoever reads entries.

use super::{FIRST_VERSION, FORMAT, Manifest, VERSION, content::Content, member, tar};
use crate::{
    Digest, ENTRY_BYTES_MAX, Keychain, Ledger, LedgerError, Registers, Report, key, merkle, multiproof,
    note::{Checkpoint, Note, NoteVerifier},
    schema,
    verify::{Found, Place, content::Relied, shape},
    writer::to_sql,
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
};

/// Of small members, and of one file beside the entries.
const SMALL_BYTES_MAX: u64 = 4 << 20;
/// Of all files beside the entries.
const BESIDE_BYTES_MAX: u64 = 64 << 20;
const BESIDE_MAX: usize = 1000;
/// A line of `leaves.txt`: two numbers.
const LEAVES_LINE_BYTES_MAX: u64 = 42;

/// How much a reader is willing to take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of all members together.
    pub bytes: u64,
    /// Each takes 40 bytes of memory.
    pub entries: u64,
    /// Contents that entries name; each takes about 200 bytes of memory.
    pub references: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 16 << 30, entries: 5_000_000, references: 2_000_000 }
    }
}

/// A bundle that was read.
pub struct Opened {
    /// What it says that it has.
    pub manifest: Manifest,
    /// The keys that it brings. Nothing but its reader says whether they are the right ones.
    pub keys: Keychain,
    /// The checkpoint that its entries were held against.
    pub checkpoint: Option<Checkpoint>,
    /// That checkpoint with all signatures under it.
    pub note: Option<Note>,
    /// Its entries and those bodies that were too large for one, as a ledger to read.
    pub ledger: Ledger,
    /// Blobs that it brings.
    pub blobs: u64,
    /// Files beside the entries, by name: not verified here.
    pub beside: BTreeMap<String, Vec<u8>>,
    /// What was found.
    pub report: Report,
}

/// Reads a bundle to its end. `path` is what messages call it.
///
/// # Errors
/// [`LedgerError::Bundle`] for a file that is not a whole bundle, [`LedgerError::BundleVersion`], [`LedgerError::BundleTooLarge`]:
/// in all of these nothing of it is believed. What is wrong with a whole one is in the report.
pub fn read(from: impl Read, path: &Path, limits: Limits) -> Result<Opened, LedgerError> {
    let from = tar::Reader::new(BufReader::with_capacity(256 << 10, from));
    let mut reading = Reading { from, path: path.to_owned(), left: 0 };
    let manifest = reading.manifest(limits)?;
    reading.left = manifest.bytes;
    let mut found = Found::new(Some(&manifest.session));
    let (keys, mut name) = reading.keys()?;
    let (note, checkpoint, signed_by) = reading.checkpoint(&name, &keys, &mut found)?;
    let leaves = reading.leaves(&manifest)?;
    let is_in_tree = reading.proof(&leaves, checkpoint.as_ref(), &mut found)?;

    let db = schema::temporary(path)?;
    db.execute_batch("BEGIN").map_err(|e| LedgerError::store(path, e))?;
    let mut content = Content::new(manifest.payloads, manifest.bytes, limits.references);
    reading.entries(&manifest, &leaves, &db, &mut content, &mut found)?;

    let mut beside = BTreeMap::new();
    let (mut last_blob, mut beside_left) = (None, BESIDE_BYTES_MAX);
    name = reading.next()?;
    if manifest.payloads {
        reading.is(&name, member::PAYLOADS)?;
        content.payloads(&mut reading, &mut found)?;
        name = reading.next()?;
    }
    while let Some((member, bytes)) = name {
        if let Some(digest) = member.strip_prefix(member::BLOBS) {
            let digest: Option<Digest> = digest.parse().ok().filter(|d: &Digest| d.to_hex() == digest);
            match digest {
                Some(digest) if manifest.payloads && last_blob < Some(digest) => {
                    last_blob = Some(digest);
                    content.blob(&mut reading, digest, bytes, &db, &mut found)?;
                }
                _ => return Err(reading.broken(format!("`{member}` is out of its place"))),
            }
        } else {
            let is_known = member::BESIDE.iter().any(|folder| member.starts_with(folder));
            let is_next = beside.last_key_value().is_none_or(|(last, _): (&String, _)| *last < member);
            if !is_known || last_blob.is_some() || !is_next {
                return Err(reading.broken(format!("`{member}` is out of its place")));
            }
            if bytes > beside_left || beside.len() >= BESIDE_MAX {
                return Err(reading.too_large("bytes of files beside the entries", bytes, beside_left));
            }
            beside_left -= bytes;
            beside.insert(member, reading.small(bytes)?);
        }
        name = reading.next()?;
    }
    if reading.left > 0 {
        return Err(reading.broken(format!("its manifest speaks of {} bytes more", reading.left)));
    }
    let mut relied = content.finish(&mut found);
    db.execute_batch("COMMIT").map_err(|e| LedgerError::store(path, e))?;

    let problems = found.finish();
    let report = Report {
        ok: problems.is_empty(),
        entries: manifest.entries,
        checkpoints: u64::from(is_in_tree),
        signed_by: signed_by.into_iter().collect(),
        witnessed_by: Vec::new(),
        witnessed: Vec::new(),
        registers: Registers::default(),
        erased: relied.erased.take(),
        problems,
    };
    let ledger = Ledger::of_bundle(path, keys.clone(), db);
    Ok(Opened { manifest, keys, checkpoint, note, ledger, blobs: content.blobs, beside, report })
}

/// The checkpoint's note, what it says, and the key under it if one holds.
type Signed = (Option<Note>, Option<Checkpoint>, Option<String>);

/// Each entry's place in the tree and its recorded digest.
type Leaves = Vec<(u64, Digest)>;

pub(super) struct Reading<R> {
    pub(super) from: tar::Reader<BufReader<R>>,
    pub(super) path: PathBuf,
    /// What the manifest says is still to come.
    left: u64,
}

#[derive(Deserialize)]
struct Version {
    format: String,
    version: u64,
}

impl<R: Read> Reading<R> {
    fn manifest(&mut self, limits: Limits) -> Result<Manifest, LedgerError> {
        let name = self.from.next().map_err(|e| self.io(e))?;
        let bytes = match name {
            Some((name, bytes)) if name == member::MANIFEST && bytes <= 64 << 10 => bytes,
            _ => return Err(self.broken("it does not begin with a manifest".into())),
        };
        self.left = bytes;
        let text = self.small(bytes)?;
        let version: Version =
            serde_json::from_slice(&text).map_err(|e| self.broken(format!("its manifest can't be read: {e}")))?;
        if version.format != FORMAT {
            return Err(self.broken("its manifest is of something else".into()));
        }
        if !(FIRST_VERSION..=VERSION).contains(&version.version) {
            let (path, found) = (self.path.clone(), version.version);
            return Err(LedgerError::BundleVersion { path, found, known: VERSION });
        }
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|e| self.broken(format!("its manifest can't be read: {e}")))?;
        let mut again = serde_json::to_vec(&manifest).unwrap_or_default();
        again.push(b'\n');
        if again != text {
            return Err(self.broken("its manifest is not written as flyball writes it".into()));
        }
        if manifest.bytes > limits.bytes {
            return Err(self.too_large("bytes", manifest.bytes, limits.bytes));
        }
        if manifest.entries > limits.entries {
            return Err(self.too_large("entries", manifest.entries, limits.entries));
        }
        if manifest.entries == 0 || manifest.entries > manifest.bytes {
            return Err(self.broken(format!("it can't have {} entries", manifest.entries)));
        }
        Ok(manifest)
    }

    /// The chain of keys, and the member behind it.
    fn keys(&mut self) -> Result<(Keychain, Option<(String, u64)>), LedgerError> {
        let name = self.next()?;
        let bytes = self.is(&name, member::KEY)?;
        let text = self.text(bytes)?;
        let first = NoteVerifier::parse(&text).map_err(|e| self.broken(format!("its key: {e}")))?;
        if format!("{}\n", first.to_vkey()) != text {
            return Err(self.broken("its key is not written as flyball writes it".into()));
        }
        let mut keys = Keychain::new(first.clone());
        let mut name = self.next()?;
        if let Some((_, bytes)) = name.as_ref().filter(|(name, _)| name == member::ROTATIONS) {
            let text = self.text(*bytes)?;
            let chain = key::read_chain(&text).map_err(|e| self.broken(format!("its keys: {e}")))?;
            keys =
                chain.filter(|chain| *chain.first() == first && key::write_chain(chain) == text).ok_or_else(|| {
                    self.broken(
                        "its key rotations do not begin with its first key, or are not written as flyball writes them"
                            .into(),
                    )
                })?;
            name = self.next()?;
        }
        Ok((keys, name))
    }

    fn checkpoint(
        &mut self,
        name: &Option<(String, u64)>,
        keys: &Keychain,
        found: &mut Found,
    ) -> Result<Signed, LedgerError> {
        let bytes = self.is(name, member::CHECKPOINT)?;
        let text = self.text(bytes)?;
        let note = Note::parse(text.as_bytes()).ok();
        match keys.open(&text) {
            Ok((checkpoint, key)) => Ok((note, Some(checkpoint), Some(key.to_vkey()))),
            Err(error) => {
                found.add("FB0338", Place::Ledger, error.to_string());
                let checkpoint = note.as_ref().and_then(|note| Checkpoint::parse(&note.text).ok());
                Ok((note, checkpoint, None))
            }
        }
    }

    fn leaves(&mut self, manifest: &Manifest) -> Result<Leaves, LedgerError> {
        let name = self.next()?;
        let bytes = self.is(&name, member::LEAVES)?;
        if bytes > manifest.entries.saturating_mul(LEAVES_LINE_BYTES_MAX) {
            return Err(self.broken("it has more leaves than entries".into()));
        }
        let text = self.all(bytes)?;
        let text = String::from_utf8(text).map_err(|_| self.broken("its leaves are not text".into()))?;
        // Runs, and not yet what they stand for: ten bytes can say that there are millions.
        let (mut runs, mut left) = (Vec::new(), manifest.entries);
        for line in text.split_terminator('\n') {
            let run = line
                .split_once(' ')
                .and_then(|(first, count)| Some((first.parse::<u64>().ok()?, count.parse::<u64>().ok()?)));
            let Some((first, count)) = run.filter(|(first, count)| {
                format!("{first} {count}") == line
                    && *count > 0
                    && *count <= left
                    && first.checked_add(*count).is_some()
            }) else {
                let line: String = line.chars().take(50).collect();
                return Err(self.broken(format!("its leaves say `{line}`, with {left} entries left to place")));
            };
            left -= count;
            runs.push(first..first + count);
        }
        if left > 0 || !text.ends_with('\n') {
            return Err(self.broken(format!("it says the places of {left} entries less than it has")));
        }
        let name = self.next()?;
        if self.is(&name, member::DIGESTS)? != manifest.entries * 32 {
            return Err(self.broken("it has not one digest an entry".into()));
        }
        let mut leaves: Leaves = Vec::new();
        for leaf in runs.into_iter().flatten() {
            let mut digest = Digest([0; 32]);
            self.from.read_exact(&mut digest.0).map_err(|e| self.io(e))?;
            leaves.push((leaf, digest));
        }
        Ok(leaves)
    }

    /// Whether the leaves lead to the signed root.
    fn proof(
        &mut self,
        leaves: &Leaves,
        checkpoint: Option<&Checkpoint>,
        found: &mut Found,
    ) -> Result<bool, LedgerError> {
        let name = self.next()?;
        let bytes = self.is(&name, member::PROOF)?;
        let Some(checkpoint) = checkpoint else { return Ok(false) };
        let mut count = bytes / 32;
        let mut failed = None;
        let from = &mut self.from;
        let root = multiproof::root(leaves, checkpoint.size, &mut || {
            count = count.checked_sub(1)?;
            let mut digest = [0; 32];
            from.read_exact(&mut digest).map_err(|e| failed = Some(e)).ok()?;
            Some(Digest(digest))
        });
        if let Some(error) = failed {
            return Err(self.io(error));
        }
        let why = match root {
            None => "the proof does not fit the places that its entries are said to have",
            Some(root) if root != checkpoint.root => {
                "the entries' digests and the proof give another root than the signed one"
            }
            Some(_) if count > 0 || bytes % 32 != 0 => "the proof goes on where it should end",
            Some(_) => return Ok(true),
        };
        found.add("FB0346", Place::Ledger, format!("{why} (of {} entries)", checkpoint.size));
        Ok(false)
    }

    fn entries(
        &mut self,
        manifest: &Manifest,
        leaves: &Leaves,
        db: &rusqlite::Connection,
        content: &mut Content,
        found: &mut Found,
    ) -> Result<(), LedgerError> {
        let session = manifest.session.as_str();
        let fail = |e| LedgerError::store(&self.path, e);
        db.execute("INSERT INTO streams (id, name, last_seq) VALUES (0, ?1, ?2)", (session, to_sql(manifest.entries)))
            .map_err(fail)?;
        let name = self.next()?;
        let bytes = self.is(&name, member::ENTRIES)?;
        let begins = format!("{{\"stream\":{},\"seq\":", serde_json::Value::from(session));
        let mut streams = shape::Streams::of_one(session);
        let mut put = db
            .prepare("INSERT OR IGNORE INTO entries (leaf, stream, seq, digest, data) VALUES (?1, 0, ?2, ?3, ?4)")
            .map_err(|e| LedgerError::store(&self.path, e))?;
        let mut lines = BufReader::with_capacity(256 << 10, (&mut self.from).take(bytes));
        let (mut line, mut seq, mut failed) = (Vec::new(), 0u64, None);
        for (leaf, recorded) in leaves {
            line.clear();
            let read = (&mut lines).take(ENTRY_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line);
            if let Err(error) = read {
                failed = Some(Err(error));
                break;
            }
            if line.pop() != Some(b'\n') {
                failed = Some(Ok(format!("the entry after {seq} is missing, or longer than an entry can be")));
                break;
            }
            seq = numbered(&line, &begins).unwrap_or(seq + 1);
            let computed = merkle::leaf_digest(&line);
            if computed != *recorded {
                let message = "its bytes are not those whose digest the tree has".to_owned();
                found.add("FB0330", Place::Entry(session, seq, Some(*leaf)), message);
            }
            streams.check(0, seq, *leaf, &line, found, &mut content.relied);
            content.note(&line);
            if let Some(references) = content.too_many() {
                return Err(LedgerError::BundleTooLarge {
                    path: self.path.clone(),
                    what: "contents that its entries name",
                    found: references,
                    limit: content.references_max,
                });
            }
            put.execute((to_sql(*leaf), to_sql(seq), computed.0, &line))
                .map_err(|e| LedgerError::store(&self.path, e))?;
        }
        let rest = lines.fill_buf().map_or(0, <[u8]>::len);
        drop(lines);
        match failed {
            Some(Err(error)) => Err(self.io(error)),
            Some(Ok(cause)) => Err(self.broken(cause)),
            None if rest > 0 => {
                Err(self.broken(format!("it has more entries than the {} it speaks of", manifest.entries)))
            }
            None => Ok(()),
        }
    }

    /// The next member.
    fn next(&mut self) -> Result<Option<(String, u64)>, LedgerError> {
        let name = self.from.next().map_err(|e| self.io(e))?;
        if let Some((name, bytes)) = &name {
            self.left = self
                .left
                .checked_sub(*bytes)
                .ok_or_else(|| self.broken(format!("`{name}` of {bytes} bytes is more than its manifest speaks of")))?;
        }
        Ok(name)
    }

    /// The length of the member, which must be this one.
    fn is(&self, name: &Option<(String, u64)>, wanted: &str) -> Result<u64, LedgerError> {
        match name {
            Some((name, bytes)) if name == wanted => Ok(*bytes),
            Some((name, _)) => Err(self.broken(format!("`{name}` stands where `{wanted}` should"))),
            None => Err(self.broken(format!("it ends where `{wanted}` should stand"))),
        }
    }

    fn text(&mut self, bytes: u64) -> Result<String, LedgerError> {
        String::from_utf8(self.small(bytes)?).map_err(|_| self.broken("a member is not text".into()))
    }

    fn small(&mut self, bytes: u64) -> Result<Vec<u8>, LedgerError> {
        if bytes > SMALL_BYTES_MAX {
            return Err(self.too_large("bytes in a small member", bytes, SMALL_BYTES_MAX));
        }
        self.all(bytes)
    }

    fn all(&mut self, bytes: u64) -> Result<Vec<u8>, LedgerError> {
        let mut into = Vec::new();
        (&mut self.from).take(bytes).read_to_end(&mut into).map_err(|e| self.io(e))?;
        Ok(into)
    }

    pub(super) fn io(&self, error: std::io::Error) -> LedgerError {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        match error.kind() {
            InvalidData | UnexpectedEof => self.broken(error.to_string()),
            _ => LedgerError::io("read", &self.path, error),
        }
    }

    pub(super) fn broken(&self, cause: String) -> LedgerError {
        LedgerError::Bundle { path: self.path.clone(), cause }
    }

    pub(super) fn too_large(&self, what: &'static str, found: u64, limit: u64) -> LedgerError {
        LedgerError::BundleTooLarge { path: self.path.clone(), what, found, limit }
    }
}

/// The number that an entry gives itself, if it begins as one of its session does.
fn numbered(line: &[u8], begins: &str) -> Option<u64> {
    let digits = line.strip_prefix(begins.as_bytes())?;
    let digits = digits.get(..digits.iter().position(|b| !b.is_ascii_digit())?)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl Content {
    /// What entries relied on.
    fn finish(&mut self, found: &mut Found) -> Relied {
        self.missing(found);
        std::mem::take(&mut self.relied)
    }
}
