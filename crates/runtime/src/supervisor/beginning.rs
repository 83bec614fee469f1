//! What a start does at once: one waits for the disk, one for another process, one for the processor.

use super::charters::{charter_of, compiled};
use super::{RunError, RunOptions};
use crate::home::{Home, Unborn};
use crate::recover::{self, Swept};
use flyball_kernel::{Charter, Sources};
use flyball_ledger::{Ledger, LedgerError};
use flyball_sandbox::{Begun, Streams};

/// What stands before it is known what the charter says.
pub(super) struct Beginning {
    /// What every session's sandbox has alike.
    pub(super) begun: Option<Begun>,
    pub(super) session_dir: Unborn,
    pub(super) charter: Charter,
    pub(super) sources: Sources,
    pub(super) ledger: Ledger,
    pub(super) swept: Swept,
}

/// Begins a session of that id; with `inside` its program has these streams in the place of the caller's own.
pub(super) fn begin(
    home: &Home,
    id: &str,
    options: &RunOptions,
    inside: Option<Streams>,
) -> Result<Beginning, RunError> {
    let (ahead, charter, ledger) = std::thread::scope(|scope| {
        let ahead = scope.spawn(move || {
            let begun = flyball_sandbox::begin(&home.root(), inside);
            // Near others' trees a file system takes a while to find a place for one more.
            (begun, Unborn::make(home, id))
        });
        let ledger = scope.spawn(|| -> Result<_, LedgerError> {
            let ledger = Ledger::open(home.dir())?;
            ledger.begin_log()?;
            let swept = recover::dead_sessions(home, &ledger)?;
            Ok((ledger, swept))
        });
        let charter = match &options.again {
            Some(again) => compiled(&options.workspace, again.sources.clone()),
            None if let Some(fork) = &options.fork => compiled(&options.workspace, fork.sources.clone()),
            None => charter_of(options.charter.as_deref(), &options.workspace),
        };
        (ahead.join(), charter, ledger.join())
    });
    let (begun, session_dir) = ahead.map_err(|_| RunError::Record("the session could not be begun".into()))?;
    let (charter, sources) = charter?;
    let ledger = ledger.map_err(|_| RunError::Record("the record could not be opened".into()))?;
    let (ledger, swept) = ledger?;
    Ok(Beginning { begun, session_dir: session_dir?, charter, sources, ledger, swept })
}
