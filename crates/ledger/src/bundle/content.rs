//! A bundle's payloads and blobs against what its entries commit to.

use super::{PayloadLine, read::Reading};
use crate::{
    CHUNK_BYTES, Digest, LedgerError,
    commitment::Opening,
    digest::Hasher,
    verify::{
        Found, Place,
        content::{Relied, tell},
    },
    writer::to_sql,
};
use rusqlite::Connection;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io::{BufRead as _, BufReader, Read},
};

/// The longest body that is kept for readers of entries.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// What all of them may take together.
const BODIES_BYTES_MAX: u64 = 1 << 30;
/// What may be hashed beyond sixteen times a bundle's length: some minutes.
const WORK_BYTES_MAX: u64 = 64 << 30;
const LINE_BYTES_MAX: u64 = 512;
/// What a body that was too large for its entry leaves there.
const SPILLED: &[u8] = b"\"body\":{\"payload\":{\"bytes\":";

pub(super) struct Content {
    /// Whether content is with the entries at all.
    is_there: bool,
    pub(super) relied: Relied,
    /// Entries have bodies that stand beside them.
    has_spilled: bool,
    /// By blob: the commitments that it is to give, with their salts.
    committed: HashMap<Digest, Vec<(Digest, [u8; 32])>>,
    brought: HashSet<Digest>,
    pub(super) blobs: u64,
    kept_bytes: u64,
    /// What may still be hashed: one long blob under very many commitments would otherwise take days.
    work_left: u64,
    pub(super) references_max: u64,
}

impl Content {
    pub(super) fn new(is_there: bool, bytes: u64, references_max: u64) -> Self {
        Self {
            is_there,
            relied: Relied::default(),
            has_spilled: false,
            committed: HashMap::new(),
            brought: HashSet::new(),
            blobs: 0,
            kept_bytes: 0,
            work_left: bytes.saturating_mul(16).saturating_add(WORK_BYTES_MAX),
            references_max,
        }
    }

    /// How many contents entries name, if they are more than are taken.
    pub(super) fn too_many(&self) -> Option<u64> {
        let references = (self.relied.blobs.len() + self.relied.payloads.len()) as u64;
        (references > self.references_max).then_some(references)
    }

    pub(super) fn note(&mut self, line: &[u8]) {
        self.has_spilled = self.has_spilled || line.windows(SPILLED.len()).any(|w| w == SPILLED);
    }

    /// Reads the salts.
    pub(super) fn payloads<R: Read>(&mut self, reading: &mut Reading<R>, found: &mut Found) -> Result<(), LedgerError> {
        let bytes = reading.from.left();
        let mut lines = BufReader::new((&mut reading.from).take(bytes));
        let (mut line, mut last, mut count) = (Vec::new(), None, 0u64);
        let why = loop {
            line.clear();
            match (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) => break None,
                Ok(_) => {}
                Err(error) => break Some(Err(error)),
            }
            count += 1;
            let parsed = serde_json::from_slice::<PayloadLine>(&line).ok().filter(|parsed| {
                serde_json::to_vec(parsed).is_ok_and(|mut again| {
                    again.push(b'\n');
                    again == line
                })
            });
            let salt = parsed.as_ref().and_then(|p| p.salt.parse::<Digest>().ok().filter(|s| s.to_hex() == p.salt));
            let (Some(payload), Some(Digest(salt))) = (parsed, salt) else {
                break Some(Ok(format!("line {count} of its payloads is not one")));
            };
            if last >= Some(payload.commitment) {
                break Some(Ok(format!("line {count} of its payloads is out of order")));
            }
            last = Some(payload.commitment);
            if !self.relied.payloads.contains_key(&payload.commitment) {
                let message = format!("it brings the payload of {}, which no entry names", payload.commitment);
                found.add("FB0349", Place::Ledger, message);
                continue;
            }
            if self.relied.erased.has_payload(&payload.commitment)
                && let Some(users) = self.relied.payloads.get(&payload.commitment)
            {
                let message = format!("its payload {} was erased, and is here", payload.commitment);
                tell("FB0349", users, &message, found);
            }
            self.committed.entry(payload.blob).or_default().push((payload.commitment, salt));
        };
        drop(lines);
        match why {
            None => Ok(()),
            Some(Err(error)) => Err(reading.io(error)),
            Some(Ok(cause)) => Err(reading.broken(cause)),
        }
    }

    /// Reads a blob of `bytes` bytes, which is to have this digest.
    pub(super) fn blob<R: Read>(
        &mut self,
        reading: &mut Reading<R>,
        digest: Digest,
        bytes: u64,
        db: &Connection,
        found: &mut Found,
    ) -> Result<(), LedgerError> {
        let committed = self.committed.get(&digest).map(Vec::as_slice).unwrap_or_default();
        let users = self.relied.users(&digest, committed.iter().map(|(commitment, _)| commitment));
        if users.is_empty() {
            found.add("FB0349", Place::Ledger, format!("it brings the blob {digest}, which no entry names"));
        }
        let is_kept = self.has_spilled
            && !committed.is_empty()
            && bytes <= BODY_BYTES_MAX
            && self.kept_bytes.saturating_add(bytes) <= BODIES_BYTES_MAX;
        let mut openings: Vec<Opening> = committed.iter().map(|(of, salt)| Opening::new(*of, salt, &digest)).collect();
        let times = 1 + openings.iter().filter(|opening| opening.is_over_content()).count();
        let work = bytes.saturating_mul(times as u64);
        self.work_left = self.work_left.checked_sub(work).ok_or_else(|| {
            reading.too_large("bytes to hash of one blob under many commitments", work, self.work_left)
        })?;
        let fail = |e| LedgerError::store(&reading.path, e);
        let mut hasher = Hasher::new();
        let mut piece = Vec::new();
        for number in 0..bytes.div_ceil(CHUNK_BYTES as u64) {
            piece.clear();
            let read = (&mut reading.from).take(CHUNK_BYTES as u64).read_to_end(&mut piece);
            read.map_err(|e| reading.io(e))?;
            hasher.update(&piece);
            openings.iter_mut().for_each(|opening| opening.update(&piece));
            if is_kept {
                let sql = "INSERT INTO chunks (digest, piece, data) VALUES (?1, ?2, ?3)";
                db.execute(sql, (digest.0, to_sql(number), &piece)).map_err(fail)?;
            }
        }
        let there = hasher.finish();
        if there != digest {
            tell("FB0340", &users, &format!("the {bytes} bytes of blob {digest} are others"), found);
        }
        for (opening, (commitment, salt)) in openings.into_iter().zip(committed) {
            if !opening.opens(&there) {
                let message = format!("payload and salt do not give the commitment {commitment}");
                self.relied.tell_of_payload(commitment, &message, found);
            } else if is_kept {
                let sql = "INSERT INTO payloads (commitment, salt, digest) VALUES (?1, ?2, ?3)";
                db.execute(sql, (commitment.0, salt, digest.0)).map_err(fail)?;
            }
        }
        if is_kept {
            self.kept_bytes += bytes;
            let sql = "INSERT INTO blobs (digest, bytes) VALUES (?1, ?2)";
            db.execute(sql, (digest.0, to_sql(bytes))).map_err(fail)?;
        }
        if !users.is_empty() {
            self.brought.insert(digest);
        }
        self.blobs += 1;
        Ok(())
    }

    /// What entries rely on and is not here, though the rest is and nobody erased it.
    pub(super) fn missing(&self, found: &mut Found) {
        if !self.is_there {
            return;
        }
        let salted: HashSet<&Digest> = self.committed.values().flatten().map(|(commitment, _)| commitment).collect();
        let relied = &self.relied;
        let lost = |commitment: &&Digest| !salted.contains(commitment) && !relied.erased.has_payload(commitment);
        for commitment in relied.payloads.keys().filter(lost).collect::<BTreeSet<_>>() {
            relied.tell_of_payload(commitment, &format!("its payload {commitment} is gone"), found);
        }
        let named = relied.blobs.keys().chain(self.committed.keys());
        for digest in named.filter(|digest| !self.brought.contains(*digest)).collect::<BTreeSet<_>>() {
            let committed = self.committed.get(digest).map(Vec::as_slice).unwrap_or_default();
            let users = relied.hurt(digest, committed.iter().map(|(commitment, _)| commitment));
            if !users.is_empty() && (!relied.gave_up(digest) || !committed.is_empty()) {
                tell("FB0340", &users, &format!("its blob {digest} is not here"), found);
            }
        }
    }
}
