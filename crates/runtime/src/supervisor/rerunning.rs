//! What a run that is recorded, or is one again, has beside any other: its streams, and answers that were given before.

use super::{RunError, RunOptions, Shared, with};
use crate::core::Notice;
use crate::rerun::{self, Input, Streams};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Between two looks for the program's handle.
const HANDLE_LOOK: Duration = Duration::from_millis(2);

/// The program's ends of its streams; ours, what goes in, and whether what comes out is shown.
type Ends = (Option<flyball_sandbox::Streams>, Option<(Streams, Input, bool)>);

/// The streams of a run that is recorded or made again; of any other the caller's own are the program's.
pub(super) fn streams(options: &RunOptions) -> Result<Ends, RunError> {
    let input = match &options.again {
        Some(again) => again.input(),
        None if !options.record => return Ok((None, None)),
        // What a person types is not taken down.
        None if std::io::stdin().is_terminal() => Input::Recorded(Vec::new()),
        None => Input::Own,
    };
    let (inside, ours) =
        rerun::make_streams().map_err(|cause| RunError::System { what: "make the program's streams", cause })?;
    Ok((Some(inside), Some((ours, input, options.again.is_none()))))
}

/// People were asked in a replay: they have answered before, or never will.
pub(super) fn asked(shared: &Arc<Shared>, notice: &Notice) {
    let (Notice::Asked(_), Some(again)) = (notice, &shared.again) else { return };
    let (shared, again) = (Arc::clone(shared), Arc::clone(again));
    // The thread that asks is the one that is to be let go on.
    let answering = move || {
        // The program may ask before its handle is in place.
        let running = loop {
            match shared.running.get() {
                Some(running) => break running,
                None if shared.over.load(Ordering::SeqCst) => return,
                None => std::thread::sleep(HANDLE_LOOK),
            }
        };
        while let Some(released) = with(&shared, |core| core.answered_before(&again)) {
            released.into_iter().for_each(|(ticket, decision)| running.answer(ticket, decision));
        }
    };
    let _ = std::thread::Builder::new().name("answer".into()).spawn(answering);
}
