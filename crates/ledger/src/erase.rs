//! Erasure: content goes, its salt with it, and the entries stay. What is left of a payload is a commitment that nobody can guess
//! at, and the entry that says who erased it and why.

use crate::{
    Digest, Draft, Entry, Erased, Filter, Kind, Ledger, LedgerError, Stream, inflight, schema, verify, writer::Item,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// What became of a request to erase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasing {
    /// The entry that records it.
    pub entry: u64,
    /// Payloads whose salt is gone.
    pub payloads: usize,
    /// Contents whose bytes are gone.
    pub blobs: usize,
    /// Contents whose bytes stay, since these entries rely on them too.
    pub kept_for: Vec<(String, u64)>,
    /// Whether no copy is left in the store's log or in what another has in flight: who had the ledger open keeps one there
    /// until it ends.
    pub is_out_of_log: bool,
}

impl Ledger {
    /// Erases the content beside entry `seq` of `stream`, and records who did it and why. Bytes that other entries rely on stay;
    /// what they committed to is untouched.
    ///
    /// # Errors
    /// [`LedgerError::NoEntry`]; [`LedgerError::NothingToErase`]; [`LedgerError::Running`] while another session runs: it may be
    /// about to rely on the same bytes.
    pub fn erase(&self, stream: &Stream, seq: u64, by: &str, reason: &str, at_ns: u64) -> Result<Erasing, LedgerError> {
        let running: Vec<String> =
            self.heads()?.into_iter().map(|h| h.id).filter(|id| id != stream.id() && self.is_owned(id)).collect();
        if !running.is_empty() {
            return Err(LedgerError::Running(running));
        }
        // Their owners may have been killed a moment ago: what they left has to be there to be erased.
        inflight::take_in(self)?;
        self.flush()?;
        let entry = self.entry(stream.id(), seq)?;
        let nothing =
            |cause: &str| LedgerError::NothingToErase { stream: stream.id().to_owned(), seq, cause: cause.into() };
        if entry.refs.is_empty() {
            return Err(nothing("all that it has stands in the entry itself, which the tree's proofs are over"));
        }
        let mut salted = BTreeMap::new();
        for commitment in &entry.refs.payloads {
            if let Some((_, blob)) = self.salt(commitment)? {
                salted.insert(*commitment, blob);
            }
        }
        let mut stored = BTreeSet::new();
        for blob in &entry.refs.blobs {
            if self.has_blob(blob)? {
                stored.insert(*blob);
            }
        }
        if salted.is_empty() && stored.is_empty() {
            return Err(nothing(&match self.taken_by(&entry)? {
                Some(it) => {
                    format!("its content is gone already: entry {} of {} records its erasure", it.entry, it.stream)
                }
                None => "its content is gone already, and no entry records its erasure".to_owned(),
            }));
        }
        let candidates: BTreeSet<Digest> = stored.iter().chain(salted.values()).copied().collect();
        let users = self.users(&candidates, (stream.id(), seq))?;
        let kept_for: BTreeSet<(String, u64)> = users.values().flatten().cloned().collect();
        let goes: Vec<Digest> = candidates.iter().filter(|blob| !users.contains_key(*blob)).copied().collect();

        let payloads: Vec<Digest> = salted.keys().copied().collect();
        let texts = |digests: &mut dyn Iterator<Item = &Digest>| digests.map(Digest::to_string).collect::<Vec<_>>();
        let body = json!({
            "act": verify::erased::ACT, "of": seq, "by": by, "reason": reason,
            "erased": { "payloads": texts(&mut payloads.iter()), "blobs": texts(&mut entry.refs.blobs.iter()) },
        });
        let at_ns = at_ns.max(stream.last_at_ns());
        let draft = Draft { at_ns, kind: Kind::Intervention, actor: by.to_owned(), cause: vec![seq], body };
        let recorded = stream.append(draft)?;
        // INVARIANT: recorded before anything is gone, in the same commit where it fits in one; after a crash between it is done again
        // by asking again, since what is recorded may be asked for twice.
        self.queue()?.push([Item::Erase { payloads: payloads.clone(), blobs: goes.clone() }])?;
        self.flush()?;
        self.queue()?.empty_file()?;
        self.forget_known();
        let mut blobs = 0;
        for blob in &goes {
            blobs += usize::from(!self.has_blob(blob)?);
        }
        let kept_for = kept_for.into_iter().collect();
        let is_out_of_log = schema::empty_log(self.dir())? && !inflight::others_hold_any(self)?;
        Ok(Erasing { entry: recorded, payloads: payloads.len(), blobs, kept_for, is_out_of_log })
    }

    /// The first erasure on record that took of what an entry commits to.
    fn taken_by(&self, of: &Entry) -> Result<Option<Erased>, LedgerError> {
        let acts = Filter { kinds: vec![Kind::Intervention], ..Filter::default() };
        for head in self.heads()? {
            for entry in self.entries(&head.id, .., acts.clone())? {
                let Some(erased) = Erased::of(&entry?) else { continue };
                let takes = |what: &[Digest], refs: &[Digest]| what.iter().any(|digest| refs.contains(digest));
                if takes(&erased.what.payloads, &of.refs.payloads) || takes(&erased.what.blobs, &of.refs.blobs) {
                    return Ok(Some(erased));
                }
            }
        }
        Ok(None)
    }

    /// Which entries besides `but` rely on these contents and have not given them up.
    fn users(
        &self,
        contents: &BTreeSet<Digest>,
        but: (&str, u64),
    ) -> Result<BTreeMap<Digest, BTreeSet<(String, u64)>>, LedgerError> {
        let mut users: BTreeMap<Digest, BTreeSet<(String, u64)>> = BTreeMap::new();
        let mut given_up: BTreeSet<(Digest, String, u64)> = BTreeSet::new();
        let mut payloads: BTreeMap<Digest, Digest> = BTreeMap::new();
        for blob in contents {
            for commitment in self.commitments_of(blob)? {
                payloads.insert(commitment, *blob);
            }
        }
        for head in self.heads()? {
            for entry in self.entries(&head.id, .., Filter::default())? {
                let entry: Entry = entry?;
                for blob in entry.refs.blobs.iter().filter(|blob| contents.contains(*blob)) {
                    users.entry(*blob).or_default().insert((entry.stream.clone(), entry.seq));
                }
                for commitment in &entry.refs.payloads {
                    if let Some(blob) = payloads.get(commitment) {
                        users.entry(*blob).or_default().insert((entry.stream.clone(), entry.seq));
                    }
                }
                if let Some(erased) = Erased::of(&entry) {
                    given_up.extend(erased.what.blobs.iter().map(|blob| (*blob, erased.stream.clone(), erased.seq)));
                }
            }
        }
        for (blob, of) in &mut users {
            of.retain(|(stream, seq)| {
                (stream.as_str(), *seq) != but && !given_up.contains(&(*blob, stream.clone(), *seq))
            });
        }
        users.retain(|_, of| !of.is_empty());
        Ok(users)
    }
}
