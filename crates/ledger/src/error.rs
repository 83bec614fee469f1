//! What can go wrong with a ledger: stable codes, and what to do about each, as data.

use std::path::{Path, PathBuf};

/// Why a ledger refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// There is nothing to read.
    #[error("no ledger at `{}`", .0.display())]
    Absent(PathBuf),
    /// A file or folder of the ledger could not be made, read or written.
    #[error("cannot {what} `{}`: {source}", path.display())]
    Io {
        /// The act, as a verb and its object.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The place cannot be written to.
    #[error("cannot write the ledger at `{}`: {cause}", path.display())]
    Unwritable {
        /// The ledger's folder.
        path: PathBuf,
        /// What the store said.
        cause: String,
    },
    /// No room is left.
    #[error("no room left for the ledger at `{}`: {cause}", path.display())]
    Full {
        /// The ledger's folder.
        path: PathBuf,
        /// What the store said.
        cause: String,
    },
    /// The stored bytes are not a ledger's, or no longer hang together.
    #[error("the ledger at `{}` is damaged: {cause}", path.display())]
    Damaged {
        /// The ledger's folder or file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// A later version of Flyball wrote this ledger.
    #[error("the ledger at `{}` has format {found}, and this version reads up to {known}", path.display())]
    Newer {
        /// The ledger's folder.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The latest that this version knows.
        known: i64,
    },
    /// Others on this machine can read the signing key, or replace it.
    #[error("`{}` lets others at the signing key (mode {mode:03o})", path.display())]
    KeyExposed {
        /// The key's file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The signing key is gone, unreadable, or another ledger's.
    #[error("the signing key `{}` is unusable: {cause}", path.display())]
    Key {
        /// The key's file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// Another live process (or another handle in this one) appends to this stream.
    #[error("the stream `{0}` is being written by another")]
    StreamOwned(String),
    /// The name cannot be a stream's.
    #[error("`{0}` cannot name a stream")]
    StreamName(String),
    /// The entry is longer than the tree's format can carry.
    #[error("an entry of {bytes} bytes is over the limit of {limit_bytes}")]
    EntryTooLarge {
        /// Its encoded length.
        bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The entry is earlier than the one before it.
    #[error("an entry at {at} would come before the last one of `{stream}`, at {last}")]
    TimeBackwards {
        /// The stream.
        stream: String,
        /// The time asked for.
        at: String,
        /// The time of the stream's last entry.
        last: String,
    },
    /// An entry names a cause that does not come before it.
    #[error("entry {seq} of `{stream}` names {cause} as its cause, which does not come before it")]
    Cause {
        /// The stream.
        stream: String,
        /// The entry's number.
        seq: u64,
        /// The number that it names.
        cause: u64,
    },
    /// An earlier commit failed, and what it wrote is unknown: the store takes nothing more.
    #[error("the ledger at `{}` has stopped: {cause}", path.display())]
    Stopped {
        /// The ledger's folder.
        path: PathBuf,
        /// The failure that stopped it.
        cause: String,
    },
    /// The handle was opened for reading.
    #[error("the ledger at `{}` was opened for reading only", .0.display())]
    ReadOnly(PathBuf),
    /// Nothing is recorded under this name.
    #[error("no stream `{0}`")]
    NoStream(String),
    /// Several streams begin so.
    #[error("`{prefix}` begins the names of several streams: {}", candidates.join(", "))]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// Up to ten streams that it could mean.
        candidates: Vec<String>,
    },
    /// The stream has no such entry.
    #[error("no entry {seq} in `{stream}`")]
    NoEntry {
        /// The stream.
        stream: String,
        /// The number.
        seq: u64,
    },
    /// The blob is not stored, or was erased.
    #[error("no blob `{0}`")]
    NoBlob(String),
    /// Others held the store's lock for too long.
    #[error("the ledger at `{}` stayed locked by another process: {cause}", path.display())]
    Busy {
        /// The ledger's folder.
        path: PathBuf,
        /// What the store said.
        cause: String,
    },
    /// A tile, proof or checkpoint of a tree size that the ledger does not have.
    #[error("the ledger has {size} entries, and {asked} was asked for")]
    OutOfRange {
        /// What was asked for.
        asked: u64,
        /// The tree's size.
        size: u64,
    },
    /// Any other refusal of the store.
    #[error("the store of the ledger at `{}` failed: {cause}", path.display())]
    Store {
        /// The ledger's folder.
        path: PathBuf,
        /// What the store said.
        cause: String,
    },
    /// The file is no bundle, or a damaged one.
    #[error("`{}` is not a whole bundle: {cause}", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        cause: String,
    },
    /// Another version of Flyball wrote this bundle.
    #[error("`{}` is a bundle of version {found}, and this flyball reads those up to {known}", path.display())]
    BundleVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The last one that is known.
        known: u64,
    },
    /// The bundle is larger than its reader is willing to take.
    #[error("`{}` has {found} {what}, over the limit of {limit}", path.display())]
    BundleTooLarge {
        /// The file.
        path: PathBuf,
        /// What there is too much of.
        what: &'static str,
        /// How much of it there is.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// There is no content beside the entry to erase.
    #[error("nothing to erase beside entry {seq} of `{stream}`: {cause}")]
    NothingToErase {
        /// The stream.
        stream: String,
        /// The entry.
        seq: u64,
        /// Why not.
        cause: String,
    },
    /// Sessions are under way that may rely on what was to be erased.
    #[error("sessions run that may rely on the same content: {}", .0.join(", "))]
    Running(Vec<String>),
    /// A witness did not cosign.
    #[error("the witness `{name}` did not cosign: {cause}")]
    Witness {
        /// Its name.
        name: String,
        /// What it said.
        cause: String,
    },
    /// A witness saw another history of this ledger.
    #[error("the witness `{name}` saw another history of this ledger: {cause}")]
    OtherHistory {
        /// Its name.
        name: String,
        /// What it saw.
        cause: String,
    },
    /// Bytes that are not what their format says (a digest, a signed note, an entry).
    #[error("cannot read {what}: {cause}")]
    Malformed {
        /// What was to be read.
        what: &'static str,
        /// What is wrong with it.
        cause: String,
    },
}

impl LedgerError {
    /// The stable code, which `flyball explain` has a page on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Absent(_) => "FB0301",
            Self::Io { .. } => "FB0302",
            Self::Unwritable { .. } => "FB0303",
            Self::Full { .. } => "FB0304",
            Self::Damaged { .. } => "FB0305",
            Self::Newer { .. } => "FB0306",
            Self::KeyExposed { .. } => "FB0307",
            Self::Key { .. } => "FB0308",
            Self::StreamOwned(_) => "FB0309",
            Self::StreamName(_) => "FB0310",
            Self::EntryTooLarge { .. } => "FB0311",
            Self::TimeBackwards { .. } => "FB0312",
            Self::Cause { .. } => "FB0313",
            Self::Stopped { .. } => "FB0314",
            Self::ReadOnly(_) => "FB0315",
            Self::NoStream(_) => "FB0316",
            Self::Ambiguous { .. } => "FB0317",
            Self::NoEntry { .. } => "FB0318",
            Self::NoBlob(_) => "FB0319",
            Self::Busy { .. } => "FB0320",
            Self::OutOfRange { .. } => "FB0321",
            Self::Store { .. } => "FB0322",
            Self::Malformed { .. } => "FB0323",
            Self::Bundle { .. } => "FB0324",
            Self::BundleVersion { .. } => "FB0325",
            Self::BundleTooLarge { .. } => "FB0326",
            Self::NothingToErase { .. } => "FB0327",
            Self::Running(_) => "FB0328",
            Self::Witness { .. } => "FB0329",
            Self::OtherHistory { .. } => "FB0347",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Absent(_) => "name the folder with `--ledger DIR` or `$FLYBALL_HOME`; the first `flyball run` makes one".into(),
            Self::Io { path, .. } => format!("check that `{}` exists, is yours and can be written, or choose another folder with `--ledger DIR`", path.display()),
            Self::Unwritable { .. } => "make the place writable for you, or choose another folder with `--ledger DIR`".into(),
            Self::Full { .. } => "free some room or choose another folder with `--ledger DIR`; what was acknowledged before is safe".into(),
            Self::Damaged { .. } => "keep the folder as it is for examination, restore it from a backup, or start a new ledger with `--ledger DIR`; `flyball verify` names what no longer holds".into(),
            Self::Newer { .. } => "upgrade flyball, or choose another folder with `--ledger DIR`".into(),
            Self::KeyExposed { path, .. } => format!("run `chmod go-rwx {}`; if others could have read it, start a new ledger", path.display()),
            Self::Key { .. } => "restore the key from a backup, or start a new ledger with `--ledger DIR`: entries are never signed by another key unannounced".into(),
            Self::StreamOwned(_) => "wait until that session ends, or end it with `flyball kill`".into(),
            Self::StreamName(_) => "use 1 to 128 of a-z, A-Z, 0-9, `.`, `_` and `-`, not beginning with a dot".into(),
            Self::EntryTooLarge { .. } => "put the large part into the ledger as a payload and name it in the entry".into(),
            Self::TimeBackwards { .. } => "use a clock that does not run backwards within a session".into(),
            Self::Cause { .. } => "name only entries that are already in the stream".into(),
            Self::Stopped { .. } => "mend the cause, then start again: what was acknowledged before is safe, what was not acknowledged counts as not written".into(),
            Self::ReadOnly(_) => "open the ledger for writing".into(),
            Self::NoStream(_) => "`flyball ps` lists the sessions of this ledger".into(),
            Self::Ambiguous { .. } => "give more letters".into(),
            Self::NoEntry { stream, .. } => format!("`flyball log {stream}` lists its entries"),
            Self::NoBlob(_) => "it was never stored, or it was erased on request".into(),
            Self::Busy { .. } => "look for a process that holds `ledger.db` open in a long transaction, and end it".into(),
            Self::OutOfRange { .. } => "ask for a size that the tree has reached".into(),
            Self::Store { .. } => "see the cause; if it stays, keep the folder and report it".into(),
            Self::Malformed { .. } => "check that the text was copied whole".into(),
            Self::Bundle { .. } => "have it copied or exported again: `flyball export S -o FILE` makes one, and it is never changed afterwards".into(),
            Self::BundleVersion { .. } => "verify it with a flyball of that version, or have it exported again by this one".into(),
            Self::NothingToErase { .. } => "only payloads and contents that an entry commits to can be erased; `flyball log S --json` shows them under `refs`".into(),
            Self::Running(_) => "wait until they have ended, or end them with `flyball kill`".into(),
            Self::Witness { .. } => "ask its operator; until it cosigns, `verify` says so".into(),
            Self::OtherHistory { .. } => "keep the ledger's folder as it is: somebody took the ledger back, or shows two histories. The witness has the other checkpoint".into(),
            Self::BundleTooLarge { .. } => "if you expect a bundle of that size, raise the limit with `--max-bytes`".into(),
        }
    }

    pub(crate) fn io(what: &'static str, path: &Path, source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::Full { path: path.to_owned(), cause: format!("cannot {what}: {source}") }
            }
            std::io::ErrorKind::ReadOnlyFilesystem => {
                Self::Unwritable { path: path.to_owned(), cause: format!("cannot {what}: {source}") }
            }
            _ => Self::Io { what, path: path.to_owned(), source },
        }
    }

    pub(crate) fn store(path: &Path, error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as C;
        let path = path.to_owned();
        let cause = error.to_string();
        match error.sqlite_error_code() {
            Some(C::DiskFull) => Self::Full { path, cause },
            Some(C::ReadOnly | C::CannotOpen | C::PermissionDenied) => Self::Unwritable { path, cause },
            Some(C::DatabaseCorrupt | C::NotADatabase) => Self::Damaged { path, cause },
            Some(C::DatabaseBusy | C::DatabaseLocked) => Self::Busy { path, cause },
            _ => Self::Store { path, cause },
        }
    }

    pub(crate) fn damaged(path: &Path, cause: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), cause: cause.into() }
    }
}

/// Every code of this crate: code, title, and the page that `flyball explain` shows. The codes from `FB0330` on are
/// those of [`crate::Problem`]: what `flyball verify` finds.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "FB0301",
        "no ledger here",
        "The folder has no `ledger.db`. A ledger is made by the first `flyball run`; reading commands never make one. Name the right folder with `--ledger DIR` or `$FLYBALL_HOME`.",
    ),
    (
        "FB0302",
        "the ledger's files cannot be reached",
        "The operating system refused a file or folder of the ledger. The message names which and why. The folder must be yours (mode 0700) and on a disk that honours fsync.",
    ),
    (
        "FB0303",
        "the ledger's place is read-only",
        "The folder or its file system cannot be written. Nothing runs ungoverned, so nothing runs without a ledger: make the place writable, or choose another.",
    ),
    (
        "FB0304",
        "no room for the ledger",
        "The disk or quota is full. Flyball stops at once and denies what comes after. Every entry that was acknowledged as durable is safe; free some room and start again.",
    ),
    (
        "FB0305",
        "the ledger is damaged",
        "The stored bytes are not a ledger's or contradict each other. Flyball never recreates a ledger over a damaged one: keep it, restore a backup, or start another with `--ledger DIR`. `flyball verify` names each thing that no longer holds.",
    ),
    (
        "FB0306",
        "the ledger is of a newer version",
        "A later Flyball wrote this ledger in a format that this one does not know. Upgrade; formats are only ever read forwards.",
    ),
    (
        "FB0307",
        "the signing key is exposed",
        "The key that signs checkpoints must be readable by its owner only. Who else reads it can sign a false history. Take the permissions away with `chmod go-rwx`; if it was exposed to others, start a new ledger.",
    ),
    (
        "FB0308",
        "the signing key is unusable",
        "The key in `keys/` is missing, unreadable or not the one that signed this ledger. Flyball makes a key only for an empty ledger; it never goes on signing an existing one with another key.",
    ),
    (
        "FB0309",
        "another writes this stream",
        "A stream has one writer at a time, so that its numbers have one meaning. The lock goes away with the process that holds it, also when it is killed.",
    ),
    (
        "FB0310",
        "not a stream's name",
        "A stream is named by 1 to 128 of a-z, A-Z, 0-9, `.`, `_`, `-`, and does not begin with a dot.",
    ),
    (
        "FB0311",
        "an entry is too large",
        "The tree's published format (C2SP tlog-tiles) carries entries of up to 65,535 bytes. Larger content belongs into a payload, which the entry commits to.",
    ),
    (
        "FB0312",
        "time ran backwards",
        "Within a stream no entry is earlier than the one before. A caller's clock must be monotonic within a session, even when the machine's clock is set back.",
    ),
    (
        "FB0313",
        "a cause that does not come before",
        "An entry's causes are entries of the same stream with lower numbers, so that the graph of causes has no cycles.",
    ),
    (
        "FB0314",
        "the ledger has stopped",
        "A commit failed, so it is unknown what reached the disk. The store does not retry: a second fsync can report success for lost data. Every later append is refused; start again after mending the cause.",
    ),
    ("FB0315", "opened for reading", "This handle only reads. Appending needs a handle that was opened for writing."),
    ("FB0316", "no such stream", "No session in this ledger has this id or name, or an id that begins so."),
    ("FB0317", "an ambiguous prefix", "Several sessions begin with these letters. Give more of them."),
    (
        "FB0318",
        "no such entry",
        "The stream has fewer entries than this number, or the number is 0: entries are numbered from 1.",
    ),
    (
        "FB0319",
        "no such blob",
        "No content of this digest or commitment is stored. Erased payloads leave their commitment in the entry, and every proof still verifies.",
    ),
    (
        "FB0320",
        "the store stayed locked",
        "Several supervisors share a ledger and take turns within milliseconds. One that holds the lock for longer is stuck or stopped.",
    ),
    ("FB0321", "beyond the tree", "A tile, proof or checkpoint was asked for at a size that the tree has not reached."),
    (
        "FB0322",
        "the store failed",
        "SQLite refused in a way that has no code of its own here; the message has its words.",
    ),
    ("FB0323", "malformed", "A digest, signed note, proof or entry could not be read."),
    (
        "FB0324",
        "not a whole bundle",
        "A bundle is a tar archive of one exact shape (docs/bundle.md): members in a fixed order, each with the one header that its name and length give. The message says at which byte the file is otherwise. Nothing of it was believed.",
    ),
    (
        "FB0325",
        "a bundle of another version",
        "The bundle's first member says its format's version, and this flyball reads others. Formats are never guessed.",
    ),
    (
        "FB0326",
        "a bundle over the limit",
        "A bundle says at its beginning how much is in it. One that says more than its reader takes is refused before anything else of it is read; `--max-bytes` says how much that is.",
    ),
    (
        "FB0327",
        "nothing to erase",
        "`forget` erases content that an entry commits to: payloads over 4 KiB and the contents of files. What stands in the entry itself is part of the tree that was signed, and can't be taken out without breaking every proof.",
    ),
    (
        "FB0328",
        "sessions run",
        "A session that runs may have put the same content and be about to rely on it. Erasing waits until no other session of this ledger runs.",
    ),
    (
        "FB0329",
        "a witness did not cosign",
        "The witness could not be reached, does not know this ledger or its present key, or answered with something else than its cosignature. Nothing waits for witnesses: the ledger goes on, and `verify` says what was witnessed.",
    ),
    (
        "FB0330",
        "an entry was altered",
        "The stored bytes of an entry no longer have the digest that was recorded for it, or lead to another root than the one that was signed.",
    ),
    ("FB0331", "an entry is missing", "The tree has a place for an entry that is no longer stored."),
    (
        "FB0332",
        "a stream's numbers are broken",
        "A stream's entries must be numbered 1, 2, 3, … in the tree's order. A gap means that one was dropped; a repetition, that the stream was forked; a step back, that entries were reordered.",
    ),
    (
        "FB0333",
        "an entry is misshapen",
        "The stored bytes are not the JSON of an entry, or name another stream or number than the place where they stand.",
    ),
    ("FB0334", "a cause does not come before its entry", "The graph of causes must point backwards."),
    ("FB0335", "time runs backwards in a stream", "An entry is earlier than the one before it in its stream."),
    ("FB0336", "a tile is wrong", "A stored tile of the tree is not the one that the entries give."),
    (
        "FB0337",
        "the head is wrong",
        "The tree's stored frontier or size is not the one that the entries give, or not the one that was signed.",
    ),
    (
        "FB0338",
        "a checkpoint's signature is wrong",
        "A checkpoint is not signed by this ledger's key, or is not a checkpoint of this ledger.",
    ),
    (
        "FB0339",
        "a checkpoint contradicts the entries",
        "A signed checkpoint has another root than the entries up to its size: what was signed then is not what is stored now.",
    ),
    (
        "FB0340",
        "a blob is wrong",
        "A blob's bytes do not have the digest that names it, or an entry names a blob that is not stored.",
    ),
    (
        "FB0341",
        "a payload is wrong",
        "A payload's salt and bytes do not give the commitment in its entry, or are gone without an erasure.",
    ),
    (
        "FB0342",
        "the index of streams is wrong",
        "What is kept beside a stream for quick reading (its last number, where it opened and closed) is not what its entries say.",
    ),
    (
        "FB0343",
        "a checkpoint is missing",
        "A checkpoint is kept at each opening and closing of a session and at fixed sizes. One of these is gone.",
    ),
    (
        "FB0344",
        "the store's structure was changed",
        "The database has tables, indexes, triggers or pages other than those that Flyball makes.",
    ),
    (
        "FB0345",
        "a shared register is wrong",
        "A number that sessions share (what is left of a budget, a file's label) is not what its entries make of it.",
    ),
    (
        "FB0346",
        "a proof does not lead to what was signed",
        "The leaves and the digests beside them give another root than the checkpoint's. Something of the file was changed together with what would have named it: an entry with its digest, a place in the tree, the proof, or the checkpoint is of another history.",
    ),
    (
        "FB0347",
        "a witness saw another history",
        "A witness remembers the last checkpoint of each ledger that it cosigned. It saw more entries than there are, or others: the whole ledger was taken back to an earlier state, or two histories were shown under one name. Nothing in the folder alone could tell.",
    ),
    (
        "FB0348",
        "another key than the one that was named",
        "`--key` names the key that the ledger is known by. The file is signed by another, which did not follow it by a rotation that it signed: it is another ledger's, or somebody made it up.",
    ),
    (
        "FB0349",
        "content beside the entries is wrong",
        "A bundle has content that no entry relies on, lacks some that one does, or has a copy that is not what the entries hold.",
    ),
];
