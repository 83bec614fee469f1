//! Content beside the entries: blobs by digest, and payloads that an entry commits to without telling their digest.

use crate::{
    Digest, Entry, FILED_BYTES_MIN, Ledger, LedgerError,
    commitment::{Opening, commit},
    digest::Hasher,
    filed,
    writer::{Item, to_sql},
};
use rusqlite::OptionalExtension as _;
use serde_json::{Value, json};
use std::io::Read;

/// A piece of a blob, as a row and as it is read.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Up to here content is queued without asking whether it is stored already.
const UNASKED_BYTES_MAX: usize = 64 << 10;
/// The longest payload that stands in its entry.
pub const INLINE_BYTES_MAX: usize = 4096;

impl Ledger {
    /// Stores `bytes` and returns their digest. They are durable no later than any entry appended afterwards through
    /// this handle.
    ///
    /// # Errors
    /// [`LedgerError::Stopped`], [`LedgerError::ReadOnly`].
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, LedgerError> {
        self.put_digested(bytes, Digest::of(bytes))
    }

    fn put_digested(&self, bytes: &[u8], digest: Digest) -> Result<Digest, LedgerError> {
        // What is already there is written no second time; of a short one, asking costs more than that.
        if !self.remembers(&digest) && (bytes.len() <= UNASKED_BYTES_MAX || !self.has_blob(&digest)?) {
            let chunk = |(piece, chunk): (u64, &[u8])| Item::Chunk { digest, piece, bytes: chunk.to_vec() };
            let chunks = (0..).zip(bytes.chunks(CHUNK_BYTES)).map(chunk);
            // In one go: each is a write to the file of what is in flight.
            self.queue()?.push(chunks.chain([Item::Blob { digest, bytes: bytes.len() as u64 }]))?;
            self.remember(digest)?;
        }
        Ok(digest)
    }

    /// Stores what `reader` gives, however long, and returns its digest and length. Durable as with
    /// [`Ledger::put_blob`].
    ///
    /// # Errors
    /// Those of the reader, as [`LedgerError::Io`]; otherwise as for [`Ledger::put_blob`].
    pub fn put_blob_from(&self, mut reader: impl Read) -> Result<(Digest, u64), LedgerError> {
        let mut head = Vec::new();
        let fail = |e| LedgerError::io("read content for", self.dir(), e);
        (&mut reader).take(FILED_BYTES_MIN as u64).read_to_end(&mut head).map_err(fail)?;
        if head.len() < FILED_BYTES_MIN {
            return Ok((self.put_blob(&head)?, head.len() as u64));
        }
        let mut content = self.begin_content()?;
        let mut read = head.len();
        // The room for its beginning serves for the rest.
        while read > 0 {
            content.add(head.get(..read).unwrap_or_default())?;
            read = loop {
                match reader.read(&mut head) {
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    other => break other.map_err(fail)?,
                }
            };
        }
        content.store()
    }

    /// The whole content of a blob, once it is committed.
    ///
    /// # Errors
    /// [`LedgerError::NoBlob`]; [`LedgerError::Damaged`] if its bytes no longer have this digest.
    pub fn blob(&self, digest: &Digest) -> Result<Vec<u8>, LedgerError> {
        let mut bytes = Vec::new();
        self.blob_to(digest, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes a blob's content to `out`, a piece at a time. On an error, what was written is worth nothing.
    ///
    /// # Errors
    /// As for [`Ledger::blob`]; those of `out` as [`LedgerError::Io`].
    pub fn blob_to(&self, digest: &Digest, out: &mut dyn std::io::Write) -> Result<u64, LedgerError> {
        let length = self.blob_bytes(digest)?.ok_or_else(|| LedgerError::NoBlob(digest.to_string()))?;
        let mut hasher = Hasher::new();
        let mut written = 0;
        for piece in 0..length.div_ceil(CHUNK_BYTES as u64) {
            let Some(chunk) = self.chunk(digest, piece)? else { break };
            hasher.update(&chunk);
            written += chunk.len() as u64;
            out.write_all(&chunk).map_err(|e| LedgerError::io("write a blob out of", self.dir(), e))?;
        }
        if written != length || hasher.finish() != *digest {
            return Err(LedgerError::damaged(self.dir(), format!("the stored bytes of blob {digest} are others")));
        }
        Ok(length)
    }

    /// Whether a blob is stored.
    ///
    /// # Errors
    /// Those of the store.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool, LedgerError> {
        Ok(self.blob_bytes(digest)?.is_some())
    }

    /// `bytes` as a member of an entry's body: up to 4 KiB as they are, `{"text":…}` or, if not UTF-8, `{"base64":…}`;
    /// else stored, and `{"bytes":N,"commitment":"sha256:…"}`, where [`commit`] gives the commitment, of a random salt of 32
    /// bytes and the content's digest. So an entry never tells the digest of what may have to be erased, and an erased payload
    /// cannot be found again by guessing; nor does its erasure break a proof.
    ///
    /// # Errors
    /// As for [`Ledger::put_blob`].
    pub fn payload(&self, bytes: &[u8]) -> Result<Value, LedgerError> {
        self.payload_of(bytes, None)
    }

    /// [`Self::payload`] of content whose digest may be known.
    ///
    /// # Errors
    /// As for [`Self::payload`].
    pub fn payload_of(&self, bytes: &[u8], digest: Option<Digest>) -> Result<Value, LedgerError> {
        if bytes.len() > INLINE_BYTES_MAX {
            let digest = digest.unwrap_or_else(|| Digest::of(bytes));
            return Ok(self.commit_payload(bytes, digest)?.0);
        }
        Ok(match std::str::from_utf8(bytes) {
            Ok(text) => json!({ "text": text }),
            Err(_) => {
                use base64::Engine as _;
                json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes) })
            }
        })
    }

    /// The bytes of a member that [`Ledger::payload`] made.
    ///
    /// # Errors
    /// [`LedgerError::NoBlob`] if it was erased or is not committed yet; [`LedgerError::Damaged`] if the stored bytes do
    /// not give the commitment; [`LedgerError::Malformed`] if `member` is no payload.
    pub fn payload_bytes(&self, member: &Value) -> Result<Vec<u8>, LedgerError> {
        let malformed = |cause: &str| LedgerError::Malformed { what: "a payload", cause: cause.to_owned() };
        if let Some(text) = member.get("text").and_then(Value::as_str) {
            return Ok(text.as_bytes().to_vec());
        }
        if let Some(text) = member.get("base64").and_then(Value::as_str) {
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD.decode(text);
            return bytes.map_err(|_| malformed("its base64 is invalid"));
        }
        let commitment = member.get("commitment").and_then(Value::as_str);
        let commitment: Digest = commitment.ok_or_else(|| malformed("it has no content and no commitment"))?.parse()?;
        let Some((salt, digest)) = self.salt(&commitment)? else {
            return Err(LedgerError::NoBlob(commitment.to_string()));
        };
        let bytes = self.blob(&digest)?;
        let mut opening = Opening::new(commitment, &salt, &digest);
        opening.update(&bytes);
        // Of that digest the bytes are: they were read as its.
        if !opening.opens(&digest) {
            return Err(LedgerError::damaged(self.dir(), format!("the payload of {commitment} is another")));
        }
        Ok(bytes)
    }

    /// An entry's whole body: what stands in it, or, of one that was too large for an entry, the payload.
    ///
    /// # Errors
    /// As for [`Ledger::payload_bytes`].
    pub fn body(&self, entry: &Entry) -> Result<Value, LedgerError> {
        let spilled = entry.body.as_object().filter(|members| members.len() == 1).and_then(|m| m.get("payload"));
        match spilled.filter(|payload| payload.get("commitment").is_some()) {
            None => Ok(entry.body.clone()),
            Some(payload) => {
                let bytes = self.payload_bytes(payload)?;
                let read = serde_json::from_slice(&bytes);
                read.map_err(|e| LedgerError::Malformed { what: "a body", cause: e.to_string() })
            }
        }
    }

    pub(crate) fn payload_of_body(&self, body: &Value) -> Result<(Value, Digest), LedgerError> {
        let bytes = serde_json::to_vec(body);
        let bytes = bytes.map_err(|e| LedgerError::Malformed { what: "a body", cause: e.to_string() })?;
        let (payload, commitment) = self.commit_payload(&bytes, Digest::of(&bytes))?;
        Ok((json!({ "payload": payload }), commitment))
    }

    pub(crate) fn new_salt(&self) -> Result<[u8; 32], LedgerError> {
        let mut salt = [0u8; 32];
        let no_salt = |e: getrandom::Error| std::io::Error::other(e.to_string());
        getrandom::fill(&mut salt).map_err(|e| LedgerError::io("draw a salt for", self.dir(), no_salt(e)))?;
        Ok(salt)
    }

    fn commit_payload(&self, bytes: &[u8], digest: Digest) -> Result<(Value, Digest), LedgerError> {
        let salt = self.new_salt()?;
        self.put_digested(bytes, digest)?;
        let commitment = commit(&salt, &digest);
        self.queue()?.push([Item::Payload { commitment, salt, digest }])?;
        self.remember(commitment)?;
        Ok((json!({ "bytes": bytes.len(), "commitment": commitment.to_string() }), commitment))
    }

    pub(crate) fn salt(&self, commitment: &Digest) -> Result<Option<([u8; 32], Digest)>, LedgerError> {
        let db = self.db();
        let found = db
            .prepare_cached("SELECT salt, digest FROM payloads WHERE commitment = ?1")
            .and_then(|mut s| s.query_row([commitment.0], |row| Ok((row.get(0)?, Digest(row.get(1)?)))).optional());
        found.map_err(|e| self.fail(e))
    }

    /// The commitments that have this blob as their content.
    pub(crate) fn commitments_of(&self, blob: &Digest) -> Result<Vec<Digest>, LedgerError> {
        let db = self.db();
        let found: rusqlite::Result<Vec<Digest>> = (|| {
            let mut statement = db.prepare_cached("SELECT commitment FROM payloads WHERE digest = ?1")?;
            statement.query_map([blob.0], |row| Ok(Digest(row.get(0)?)))?.collect()
        })();
        found.map_err(|e| self.fail(e))
    }

    pub(crate) fn chunk(&self, digest: &Digest, piece: u64) -> Result<Option<Vec<u8>>, LedgerError> {
        let db = self.db();
        let found = db.prepare_cached("SELECT data FROM chunks WHERE digest = ?1 AND piece = ?2");
        let found = found.and_then(|mut s| s.query_row((digest.0, to_sql(piece)), |row| row.get(0)).optional());
        match found.map_err(|e| self.fail(e))? {
            None => filed::piece(self.dir(), digest, piece.saturating_mul(CHUNK_BYTES as u64), CHUNK_BYTES),
            found => Ok(found),
        }
    }

    pub(crate) fn blob_bytes(&self, digest: &Digest) -> Result<Option<u64>, LedgerError> {
        let db = self.db();
        let found = db.prepare_cached("SELECT bytes FROM blobs WHERE digest = ?1");
        let found = found.and_then(|mut s| s.query_row([digest.0], |row| row.get::<_, i64>(0)).optional());
        Ok(found.map_err(|e| self.fail(e))?.map(i64::unsigned_abs))
    }
}
