//! The program's end, and what is still waited for then.

use super::{CONTENT_LOOK, Heard, Shared, lock, not_seen, with};
use crate::core::{Core, Watcher};
use crate::outward::Outward;
use flyball_sandbox::{EndedBy, Exit, Running, Status};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

/// Tells of the end when it goes, whatever made it go.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
        let _ = self.0.heard.send(Heard::End);
    }
}

/// Waits for the program's end, telling the watcher what happens meanwhile.
pub(super) fn wait(
    shared: &Arc<Shared>,
    running: &Running,
    heard: &Receiver<Heard>,
    outward: Option<&Outward>,
    watcher: &dyn Watcher,
) -> Exit {
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let _ended = Ended(shared);
            let exit = running.wait();
            // As long as the session takes what is told of its exchanges.
            outward.into_iter().for_each(Outward::finish);
            settle_content(shared);
            exit
        });
        while let Ok(Heard::Notice(notice)) = heard.recv() {
            watcher.notice(notice);
        }
        waiter.join().unwrap_or(Exit { status: Status::Signal(9), by: EndedBy::Outside })
    })
}

/// What was written last is judged once the program has ended, and what people are asked about then is waited for: nothing
/// that they have not allowed is left for `apply`.
fn settle_content(shared: &Arc<Shared>) {
    if let Err(error) = with(shared, |core| core.barrier(&[])) {
        not_seen(&mut lock(shared), &error);
    }
    while !shared.killed.load(Ordering::SeqCst) && lock(shared).waits_for_content() {
        std::thread::sleep(CONTENT_LOOK);
    }
    if let Err(error) = with(shared, Core::give_up_content) {
        not_seen(&mut lock(shared), &error);
    }
}
