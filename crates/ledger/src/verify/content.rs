//! Blobs against their digests, payloads against their commitments, and both against the entries that name them.

use super::{Found, Place};
use crate::{CHUNK_BYTES, Digest, digest::Hasher};
use rusqlite::Connection;
use serde_json::Value;
use std::collections::HashMap;

/// What entries refer to, each with the first entry that does.
#[derive(Default)]
pub(super) struct References {
    blobs: HashMap<Digest, (String, u64)>,
    payloads: HashMap<Digest, (String, u64)>,
}

impl References {
    /// Takes the references of an entry's body: its members `blob` and `commitment`, at any depth.
    pub(super) fn collect(&mut self, stream: &str, seq: u64, data: &[u8]) {
        // Few entries have any, and reading a body whole is slow.
        let text = std::str::from_utf8(data).unwrap_or_default();
        if !text.contains("\"sha256:") {
            return;
        }
        let Ok(entry) = serde_json::from_slice::<Value>(data) else { return };
        let mut open = vec![entry.get("body").unwrap_or(&Value::Null)];
        while let Some(value) = open.pop() {
            match value {
                Value::Array(items) => open.extend(items),
                Value::Object(members) => {
                    for (name, member) in members {
                        let digest = member.as_str().filter(|text| text.starts_with("sha256:"));
                        let into = match name.as_str() {
                            "blob" => &mut self.blobs,
                            "commitment" => &mut self.payloads,
                            _ => {
                                open.push(member);
                                continue;
                            }
                        };
                        if let Some(digest) = digest.and_then(|text| text.parse().ok()) {
                            into.entry(digest).or_insert_with(|| (stream.to_owned(), seq));
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// A payload's row, by the digest of its content.
type Commitments = HashMap<Digest, Vec<(Digest, Vec<u8>)>>;

pub(super) fn check(db: &Connection, references: &References, found: &mut Found) {
    if let Err(error) = check_stored(db, references, found) {
        found.add("FB0344", Place::Ledger, format!("the blobs cannot be read: {error}"));
    }
}

fn check_stored(db: &Connection, references: &References, found: &mut Found) -> rusqlite::Result<()> {
    let mut commitments = Commitments::new();
    let mut payloads = HashMap::new();
    {
        let mut statement = db.prepare("SELECT commitment, salt, digest FROM payloads")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (commitment, digest) = (Digest(row.get(0)?), Digest(row.get(2)?));
            commitments.entry(digest).or_default().push((commitment, row.get(1)?));
            payloads.insert(commitment, digest);
        }
    }
    // Who is hurt if this blob is wrong.
    let mut users = references.blobs.clone();
    for (commitment, user) in &references.payloads {
        match payloads.get(commitment) {
            Some(digest) => _ = users.entry(*digest).or_insert_with(|| user.clone()),
            None => {
                let message = format!("its payload {commitment} is gone");
                found.add("FB0341", Place::Entry(&user.0, user.1, None), message);
            }
        }
    }
    let mut statement = db.prepare("SELECT digest, bytes FROM blobs")?;
    let mut rows = statement.query([])?;
    let mut stored = std::collections::HashSet::new();
    while let Some(row) = rows.next()? {
        let (digest, bytes) = (Digest(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs());
        stored.insert(digest);
        let committed = commitments.get(&digest).map(Vec::as_slice).unwrap_or_default();
        let place = users.get(&digest).map_or(Place::Ledger, |(stream, seq)| Place::Entry(stream, *seq, None));
        check_blob(db, digest, bytes, committed, place, found)?;
    }
    for (digest, (stream, seq)) in users.iter().filter(|(digest, _)| !stored.contains(*digest)) {
        found.add("FB0340", Place::Entry(stream, *seq, None), format!("its blob {digest} is not stored"));
    }
    Ok(())
}

fn check_blob(
    db: &Connection,
    digest: Digest,
    bytes: u64,
    committed: &[(Digest, Vec<u8>)],
    place: Place<'_>,
    found: &mut Found,
) -> rusqlite::Result<()> {
    let mut hasher = Hasher::new();
    let mut salted: Vec<Hasher> = committed.iter().map(|_| Hasher::new()).collect();
    salted.iter_mut().zip(committed).for_each(|(hasher, (_, salt))| hasher.update(salt));
    let mut statement = db.prepare_cached("SELECT data FROM chunks WHERE digest = ?1 AND piece < ?2 ORDER BY piece")?;
    let pieces = crate::writer::to_sql(bytes.div_ceil(CHUNK_BYTES as u64));
    let mut rows = statement.query((digest.0, pieces))?;
    let mut read = 0;
    while let Some(row) = rows.next()? {
        let data = row.get_ref(0)?.as_blob()?;
        read += data.len() as u64;
        hasher.update(data);
        salted.iter_mut().for_each(|hasher| hasher.update(data));
    }
    if read != bytes || hasher.finish() != digest {
        found.add("FB0340", place, format!("the {read} stored bytes of blob {digest} (of {bytes}) are others"));
    }
    for (hasher, (commitment, _)) in salted.into_iter().zip(committed) {
        if hasher.finish() != *commitment {
            found.add("FB0341", place, format!("payload and salt do not give the commitment {commitment}"));
        }
    }
    Ok(())
}
