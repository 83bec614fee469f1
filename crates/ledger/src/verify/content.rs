//! Blobs against their digests, payloads against their commitments, and both against the entries that name them.

use super::{Found, Place, erased::Erasures};
use crate::{CHUNK_BYTES, Digest, References, digest::Hasher};
use rusqlite::Connection;
use std::collections::HashMap;

/// What entries rely on, each with the first entry that does.
#[derive(Default)]
pub(crate) struct Relied {
    pub(crate) blobs: HashMap<Digest, (String, u64)>,
    pub(crate) payloads: HashMap<Digest, (String, u64)>,
    /// How many entries rely on a blob, where it is more than one.
    more: HashMap<Digest, usize>,
    pub(crate) erased: Erasures,
}

impl Relied {
    pub(super) fn note(&mut self, stream: &str, seq: u64, refs: &References) {
        for digest in &refs.payloads {
            self.payloads.entry(*digest).or_insert_with(|| (stream.to_owned(), seq));
        }
        for digest in &refs.blobs {
            if self.blobs.contains_key(digest) {
                *self.more.entry(*digest).or_insert(1) += 1;
            } else {
                self.blobs.insert(*digest, (stream.to_owned(), seq));
            }
        }
    }

    /// Whether nobody was hurt by the loss of this blob: all who relied on it gave it up.
    pub(crate) fn gave_up(&self, digest: &Digest) -> bool {
        let relied = self.more.get(digest).copied().unwrap_or(1);
        self.blobs.contains_key(digest) && self.erased.has_blob(digest, relied)
    }
}

/// A payload's row, by the digest of its content.
type Commitments = HashMap<Digest, Vec<(Digest, Vec<u8>)>>;

pub(super) fn check(db: &Connection, relied: &Relied, found: &mut Found) {
    if let Err(error) = check_stored(db, relied, found) {
        found.add("FB0344", Place::Ledger, format!("the blobs cannot be read: {error}"));
    }
}

fn check_stored(db: &Connection, relied: &Relied, found: &mut Found) -> rusqlite::Result<()> {
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
    let mut users = relied.blobs.clone();
    for (commitment, user) in &relied.payloads {
        match payloads.get(commitment) {
            Some(digest) => _ = users.entry(*digest).or_insert_with(|| user.clone()),
            None if relied.erased.has_payload(commitment) => {}
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
        if relied.gave_up(digest) && !commitments.contains_key(digest) {
            continue;
        }
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
