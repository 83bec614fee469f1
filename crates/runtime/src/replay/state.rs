//! A session's kernel at any step: budgets, envelopes, what is owed, open questions, autonomy.
//!
//! On the way to a step in a long record the kernel is kept beside the ledger, `derived/SESSION/SEQ`, so that the next look begins
//! there. INVARIANT: what is kept is derived and can be removed at any time; it is used only where its own digest holds, and the
//! entry that it was made at is still that entry; [`super::replay`] never reads it.

use super::{Player, ReplayError, Stored, Took};
use flyball_kernel::{Kernel, Registers};
use flyball_ledger::{Digest, Filter, Ledger, LedgerError, Line};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Entries between two kept kernels, at least.
const STRIDE: u64 = if cfg!(test) { 8 } else { 32_768 };
/// The longest kept kernel that is read, bytes.
const KEPT_BYTES_MAX: u64 = 256 << 20;

/// How a session's kernel stood just after an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateAt {
    /// The session.
    pub session: String,
    /// The entry.
    pub seq: u64,
    /// The charter in force, by digest.
    pub charter: String,
    /// What was counted, owed and set.
    pub registers: Registers,
    /// Attempts that might yet take effect.
    pub open: Vec<Standing>,
}

/// An attempt that might yet take effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Its entry.
    pub seq: u64,
    /// `held` for people, `allowed`, or `dispatched`.
    pub state: &'static str,
    /// What it does, in words.
    pub action: String,
}

/// A kept kernel's first line.
#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    seq: u64,
    /// The leaf of that entry.
    leaf: Digest,
    /// The entry of the charter in force.
    charter_seq: u64,
    /// Of the bytes that follow.
    digest: Digest,
}

const VERSION: u32 = 1;

/// The kernel just after an entry.
///
/// # Errors
/// [`ReplayError`] when the ledger can't be read, the entry is not there, or something before it can't be.
pub fn state(ledger: &Ledger, session: &str, seq: u64) -> Result<StateAt, ReplayError> {
    ledger.entry(session, seq)?;
    let folder = ledger.dir().join("derived").join(session);
    let (mut player, from) = nearest(ledger, session, &folder, seq);
    let mut entries = ledger.entries(session, from + 1..=seq, Filter::default())?;
    let mut kept = from;
    while let Some((index, leaf, raw)) = entries.next_stored()? {
        let stored = Stored { index, leaf, raw };
        let unreadable = |seq: u64, why: String| ReplayError::State { seq, why };
        let Some(line) = Line::of(&stored.raw) else {
            return Err(unreadable(seq, "an entry before it is none as flyball writes them".to_owned()));
        };
        // Whether the rulings are the recorded ones is for a replay to say; the state is what the inputs make of it.
        if let Took::Stopped(obstacle) = player.take(&stored, &line)? {
            return Err(unreadable(obstacle.seq, obstacle.why));
        }
        if line.seq >= kept + STRIDE && player.is_even() {
            kept = line.seq;
            // A ledger that only can be read has none.
            let _ = keep(&folder, &player, line.seq, leaf);
        }
    }
    let Some(kernel) = &player.kernel else {
        return Err(ReplayError::State { seq, why: "the session was not opened before it".to_owned() });
    };
    let open = kernel.standing().map(|(seq, state, action)| Standing {
        seq,
        state,
        action: crate::refusal::say(action).trim_end().to_owned(),
    });
    Ok(StateAt {
        session: session.to_owned(),
        seq,
        charter: kernel.charter().digest().to_owned(),
        registers: kernel.registers(),
        open: open.collect(),
    })
}

/// The last kept kernel up to an entry, or one of before the session.
fn nearest<'l>(ledger: &'l Ledger, session: &str, folder: &Path, seq: u64) -> (Player<'l>, u64) {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut kept: Vec<u64> = names.filter_map(|n| n.file_name().to_str()?.parse().ok()).filter(|n| *n <= seq).collect();
    kept.sort_unstable();
    for at in kept.into_iter().rev() {
        if let Some(player) = restored(ledger, session, &folder.join(at.to_string()), at) {
            return (player, at);
        }
    }
    (Player::new(ledger, session), 0)
}

fn restored<'l>(ledger: &'l Ledger, session: &str, path: &Path, at: u64) -> Option<Player<'l>> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    if !meta.is_file() || meta.len() > KEPT_BYTES_MAX {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    let end = bytes.iter().position(|b| *b == b'\n')?;
    let head: Head = serde_json::from_slice(bytes.get(..end)?).ok()?;
    let state = bytes.get(end + 1..)?;
    let is_whole = head.version == VERSION && head.seq == at && Digest::of(state) == head.digest;
    if !is_whole || ledger.entry(session, at).ok()?.leaf != head.leaf {
        return None;
    }
    let mut entry = ledger.entry(session, head.charter_seq).ok()?;
    entry.body = ledger.body(&entry).ok()?;
    let mut player = Player::new(ledger, session);
    let charter = player.compile(&entry).ok()?;
    player.kernel = Some(Kernel::restore(charter, state).ok()?);
    Some(player)
}

fn keep(folder: &Path, player: &Player<'_>, seq: u64, leaf: Digest) -> Result<(), LedgerError> {
    let Some(kernel) = &player.kernel else { return Ok(()) };
    let state = kernel.snapshot();
    let head = Head { version: VERSION, seq, leaf, charter_seq: player.charter_seq, digest: Digest::of(&state) };
    let fail = |cause| LedgerError::Io { what: "keep a kernel in", path: PathBuf::from(folder), source: cause };
    let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
    bytes.push(b'\n');
    bytes.extend(state);
    std::fs::create_dir_all(folder).map_err(fail)?;
    // Whole or not at all; two that look at once write the same.
    let part = folder.join(format!(".{seq}-{}", std::process::id()));
    std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, folder.join(seq.to_string()))).map_err(fail)
}
