//! The ledger: what happened, in order, so that nobody can change it afterwards unseen.
//!
//! A [`Ledger`] is a folder that several processes share. Each session has a [`Stream`] of entries, numbered from 1
//! without gaps. All entries together are the leaves of one Merkle tree (RFC 6962), in the order in which they were
//! committed; each commit signs a [`Checkpoint`] of it.
//!
//! What always holds:
//!
//! - An entry is encoded once, and the exact stored bytes are the tree's leaf.
//! - [`Stream::durable`] returns only after the entry, all before it in its stream, and the blobs that it names are
//!   on the disk; after a crash the ledger has a prefix of each stream that includes all of these. [`Stream::on_disk`]
//!   promises the same of a crash, before they are in the tree.
//! - What was appended outlives its process: a killed one's entries are taken in by the next that opens the ledger. Only
//!   a failing system or power can take what is not durable yet.
//! - After a failed commit nothing more is taken: what reached the disk is unknown, so nobody goes on as if it were.
//! - A commit extends only a tree head that bears this ledger's signature.
//!
//! Entry points: [`Ledger::open`], [`Ledger::open_read`], [`Ledger::stream`], [`Stream::append`], [`Ledger::entries`],
//! [`Ledger::verify`].
//!
//! Not here: what entries mean (`kernel`, `runtime`), printing, network.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod blob;
pub mod bundle;
mod commitment;
mod cosign;
mod digest;
mod dsse;
mod entry;
mod erase;
mod error;
mod filed;
mod head;
mod inflight;
mod key;
mod keychain;
mod ledger;
mod line;
pub mod merkle;
pub mod multiproof;
mod note;
mod proof;
mod read;
#[doc(hidden)]
pub mod readers;
mod references;
mod schema;
mod shared;
mod stream;
#[cfg(test)]
mod testing;
mod tiles;
mod time;
mod turn;
mod verify;
mod vkey;
pub mod witness;
mod writer;

pub use blob::{CHUNK_BYTES, INLINE_BYTES_MAX};
pub use commitment::commit;
pub use cosign::Cosigner;
pub use digest::Digest;
pub use dsse::{ENVELOPE_BYTES_MAX, Envelope};
pub use entry::{Draft, ENTRY_BYTES_MAX, Entry, Kind};
pub use erase::Erasing;
pub use error::{CODES, LedgerError};
pub use filed::{FILED_BYTES_MIN, Incoming};
pub use keychain::{Keychain, Rotation};
pub use ledger::Ledger;
pub use line::Line;
pub use note::{Checkpoint, Note, NoteVerifier};
pub use proof::Proof;
pub use read::{Entries, Filter, StreamHead, StreamInfo};
pub use references::References;
pub use shared::{Change, Changed};
pub use stream::Stream;
pub use time::{format_ns, parse_ns};
pub use turn::Turn;
pub use verify::{Erased, Problem, Registers, Report};
