//! Blobs against their digests, payloads against their commitments, and both against the entries that name them.

use super::{Found, Place, erased::Erasures};
use crate::{CHUNK_BYTES, Digest, Ledger, LedgerError, References, commitment::Opening, digest::Hasher, filed};
use rusqlite::Connection;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

/// Of the entries that rely on one content, so many are named; how many more do is told.
const USERS_NAMED_MAX: usize = 16;

/// The entries that rely on one content, in the order of the tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct Users {
    named: Vec<(Arc<str>, u64)>,
    more: usize,
}

impl Users {
    fn note(&mut self, stream: &Arc<str>, seq: u64) {
        if self.named.len() < USERS_NAMED_MAX {
            self.named.push((Arc::clone(stream), seq));
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Those of both, each once.
    fn and(mut self, other: &Self) -> Self {
        for user in &other.named {
            if !self.named.contains(user) {
                self.note(&user.0, user.1);
            }
        }
        self.more += other.more;
        self
    }
}

/// What entries rely on, each with who does.
#[derive(Default)]
pub(crate) struct Relied {
    pub(crate) blobs: HashMap<Digest, Users>,
    pub(crate) payloads: HashMap<Digest, Users>,
    /// The stream of the entry before, since most entries follow one of their own stream.
    stream: Arc<str>,
    pub(crate) erased: Erasures,
}

impl Relied {
    pub(super) fn note(&mut self, stream: &str, seq: u64, refs: &References) {
        if refs.is_empty() {
            return;
        }
        if *self.stream != *stream {
            self.stream = stream.into();
        }
        for digest in &refs.payloads {
            self.payloads.entry(*digest).or_default().note(&self.stream, seq);
        }
        for digest in &refs.blobs {
            self.blobs.entry(*digest).or_default().note(&self.stream, seq);
        }
    }

    /// Who relies on that blob: by its digest, or by one of the commitments to it.
    pub(crate) fn users<'a>(&self, blob: &Digest, commitments: impl IntoIterator<Item = &'a Digest>) -> Users {
        let by_commitment = commitments.into_iter().filter_map(|commitment| self.payloads.get(commitment));
        self.blobs.get(blob).into_iter().chain(by_commitment).fold(Users::default(), Users::and)
    }

    /// Of them, those who did not give it up; all, where too many rely on it to tell.
    pub(crate) fn hurt<'a>(&self, blob: &Digest, commitments: impl IntoIterator<Item = &'a Digest>) -> Users {
        let mut users = self.users(blob, commitments);
        if users.more == 0 {
            users.named.retain(|(stream, seq)| !self.erased.gave_up(blob, stream, *seq));
        }
        users
    }

    /// Tells all who rely on a payload what is wrong with it.
    pub(crate) fn tell_of_payload(&self, commitment: &Digest, message: &str, found: &mut Found) {
        tell("FB0341", self.payloads.get(commitment).unwrap_or(&Users::default()), message, found);
    }

    /// Whether nobody was hurt by the loss of this blob: all who relied on it gave it up.
    pub(crate) fn gave_up(&self, digest: &Digest) -> bool {
        self.blobs.get(digest).is_some_and(|users| self.erased.has_blob(digest, users.named.len() + users.more))
    }
}

/// What is wrong with content is wrong with each entry that relies on it. Nobody relying on it, it is wrong with the ledger.
pub(crate) fn tell(code: &'static str, users: &Users, message: &str, found: &mut Found) {
    let Some((last, others)) = users.named.split_last() else {
        return found.add(code, Place::Ledger, message.to_owned());
    };
    for (stream, seq) in others {
        found.add(code, Place::Entry(stream, *seq, None), message.to_owned());
    }
    let more = match users.more {
        0 => String::new(),
        1 => "; 1 more entry relies on it".to_owned(),
        more => format!("; {more} more entries rely on it"),
    };
    found.add(code, Place::Entry(&last.0, last.1, None), format!("{message}{more}"));
}

/// A payload's row, by the digest of its content.
type Commitments = HashMap<Digest, Vec<(Digest, Vec<u8>)>>;

pub(super) fn check(ledger: &Ledger, db: &Connection, relied: &Relied, found: &mut Found) {
    if let Err(error) = check_stored(ledger, db, relied, found) {
        found.add("FB0344", Place::Ledger, format!("the blobs cannot be read: {error}"));
    }
}

fn check_stored(ledger: &Ledger, db: &Connection, relied: &Relied, found: &mut Found) -> rusqlite::Result<()> {
    let mut commitments = Commitments::new();
    let mut payloads = HashSet::new();
    {
        let mut statement = db.prepare("SELECT commitment, salt, digest FROM payloads")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (commitment, digest) = (Digest(row.get(0)?), Digest(row.get(2)?));
            commitments.entry(digest).or_default().push((commitment, row.get(1)?));
            payloads.insert(commitment);
        }
    }
    let mut gone: Vec<&Digest> = relied.payloads.keys().filter(|commitment| !payloads.contains(*commitment)).collect();
    gone.sort();
    for commitment in gone.into_iter().filter(|commitment| !relied.erased.has_payload(commitment)) {
        relied.tell_of_payload(commitment, &format!("its payload {commitment} is gone"), found);
    }
    let mut statement = db.prepare("SELECT digest, bytes FROM blobs")?;
    let mut rows = statement.query([])?;
    let mut stored = HashSet::new();
    while let Some(row) = rows.next()? {
        let (digest, bytes) = (Digest(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs());
        stored.insert(digest);
        let committed = commitments.get(&digest).map(Vec::as_slice).unwrap_or_default();
        check_blob(ledger, db, (digest, bytes), committed, relied, found)?;
    }
    let named = relied.blobs.keys().chain(commitments.keys());
    for digest in named.filter(|digest| !stored.contains(*digest)).collect::<BTreeSet<_>>() {
        let committed = commitments.get(digest).map(Vec::as_slice).unwrap_or_default();
        let users = relied.hurt(digest, committed.iter().map(|(commitment, _)| commitment));
        // A row of a payload that nobody relies on says nothing.
        if !users.is_empty() && (!relied.gave_up(digest) || !committed.is_empty()) {
            tell("FB0340", &users, &format!("its blob {digest} is not stored"), found);
        }
    }
    Ok(())
}

fn check_blob(
    ledger: &Ledger,
    db: &Connection,
    (digest, bytes): (Digest, u64),
    committed: &[(Digest, Vec<u8>)],
    relied: &Relied,
    found: &mut Found,
) -> rusqlite::Result<()> {
    let mut hasher = Hasher::new();
    let mut openings: Vec<Opening> = committed.iter().map(|(of, salt)| Opening::new(*of, salt, &digest)).collect();
    let mut statement = db.prepare_cached("SELECT data FROM chunks WHERE digest = ?1 AND piece < ?2 ORDER BY piece")?;
    let pieces = crate::writer::to_sql(bytes.div_ceil(CHUNK_BYTES as u64));
    let mut rows = statement.query((digest.0, pieces))?;
    let mut read = 0;
    while let Some(row) = rows.next()? {
        let data = row.get_ref(0)?.as_blob()?;
        read += data.len() as u64;
        hasher.update(data);
        openings.iter_mut().for_each(|opening| opening.update(data));
    }
    let users = || relied.users(&digest, committed.iter().map(|(commitment, _)| commitment));
    if read == 0 && bytes > 0 {
        let each = |data: &[u8]| {
            hasher.update(data);
            openings.iter_mut().for_each(|opening| opening.update(data));
        };
        match read_file(ledger, digest, bytes, each) {
            Ok(Some(there)) => read = there,
            // It was erased since, while this was read as it was before.
            Ok(None) if ledger.has_blob(&digest).is_ok_and(|is_stored| !is_stored) => return Ok(()),
            Ok(None) => {
                let message = format!("blob {digest} of {bytes} bytes is gone: it has no pieces, and no file");
                tell("FB0340", &users(), &message, found);
                return Ok(());
            }
            Err(error) => {
                tell("FB0340", &users(), &format!("blob {digest}: {error}"), found);
                return Ok(());
            }
        }
    }
    let there = hasher.finish();
    if read != bytes || there != digest {
        let message = format!("the {read} stored bytes of blob {digest} (of {bytes}) are others");
        tell("FB0340", &users(), &message, found);
    }
    for (opening, (commitment, _)) in openings.into_iter().zip(committed) {
        if !opening.opens(&there) {
            let message = format!("payload and salt do not give the commitment {commitment}");
            relied.tell_of_payload(commitment, &message, found);
        }
    }
    Ok(())
}

/// Reads a blob's file, one byte beyond its length at most; how long it is.
fn read_file(
    ledger: &Ledger,
    digest: Digest,
    bytes: u64,
    mut each: impl FnMut(&[u8]),
) -> Result<Option<u64>, LedgerError> {
    let mut read = 0;
    while read <= bytes {
        let most = usize::try_from(bytes - read + 1).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let Some(data) = filed::piece(ledger.dir(), &digest, read, most)? else {
            return Ok((read > 0).then_some(read));
        };
        if data.is_empty() {
            break;
        }
        each(&data);
        read += data.len() as u64;
    }
    Ok(Some(read))
}
