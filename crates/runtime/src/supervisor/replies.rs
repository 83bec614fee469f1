//! The requests that are being answered: an ended session waits a moment for the replies that are still due.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How many replies are due.
#[derive(Debug, Default)]
pub(super) struct Replies {
    due: Mutex<usize>,
    sent: Condvar,
}

/// One request, until its reply is sent.
pub(super) struct Answering(Arc<Replies>);

impl Replies {
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Answering(Arc::clone(self))
    }

    /// Waits until none is due, and no longer than `max`.
    pub(super) fn wait(&self, max: Duration) {
        let due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.sent.wait_timeout_while(due, max, |due| *due > 0));
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        *self.0.due.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.sent.notify_all();
    }
}
