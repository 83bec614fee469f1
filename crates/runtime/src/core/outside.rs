//! Sockets of the host's that a session sees, where the charter exposes a place to it: what is said over one is not on record.

use super::Core;
use flyball_sandbox::{Attempt, Ticket};
use std::path::{Path, PathBuf};

/// Where such sockets may stand.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    places: Vec<PathBuf>,
    /// A replay: nothing answers there.
    is_again: bool,
}

impl Sockets {
    /// `exposed`: as the charter names them, which links may lead to.
    pub fn new(exposed: &[PathBuf], is_again: bool) -> Self {
        let found = exposed.iter().filter_map(|place| place.canonicalize().ok());
        Self { places: exposed.iter().cloned().chain(found).collect(), is_again }
    }
}

impl Core {
    /// The highest replay level that the record supports: from entries and contents every ruling and every state of the
    /// workspace can be made again (3), unless some of it was not seen (2: what caused what). To run the program again is more,
    /// `run --record` keeps what that takes.
    pub(crate) fn replay_level(&self) -> u8 {
        if self.has_gaps { 2 } else { self.replayable.unwrap_or(3) }
    }

    /// The first attempt that a call on its way is, where that is on record.
    pub(crate) fn attempt_of(&self, ticket: Ticket) -> Option<u64> {
        self.underway.get(&ticket)?.attempts.first().copied()
    }

    /// Why an attempt is refused that would reach a socket of the host's in a replay.
    ///
    /// INVARIANT: a replay has no effect outside, whatever was allowed then. A session that was recorded and reaches one can't be replayed.
    pub(super) fn leads_to_the_hosts(&mut self, attempt: &Attempt) -> Option<String> {
        let is_there = |path: &Path| self.sockets.places.iter().any(|place| path.starts_with(place));
        let (Attempt::ConnectUnix { path } | Attempt::BindUnix { path }) = attempt else { return None };
        if !is_there(path) {
            return None;
        }
        if self.sockets.is_again {
            let path = path.display();
            return Some(format!("flyball: denied, a replay reaches nothing outside, and `{path}` is the host's\n"));
        }
        self.replayable = None;
        None
    }
}
