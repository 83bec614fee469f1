//! What a run that can be made again is given, and the kernel would say by itself: time, random bytes, the order of listings.

use super::act::Answer;
use super::caller::Caller;
use super::{Loop, given, listing, sys};
use crate::call::Asker;
use rustix::fd::AsFd;

impl Loop {
    /// Answers what is given; `false`: it is a call like any other.
    pub(super) fn gives(&mut self, id: u64, tid: i32, data: &libc::seccomp_data) -> bool {
        let number = i64::from(data.nr);
        if !self.parts.gives {
            return false;
        }
        if given::CALLS.contains(&number) {
            self.give(id, tid, given::wanted(data));
            return true;
        }
        if listing::CALLS.contains(&number) {
            self.list(id, tid, data);
            return true;
        }
        match given::opened(tid, data) {
            Some(Some(device)) => self.give_device(id, tid, device, data.args),
            // As where nobody gives anything: reads pass.
            Some(None) if !self.parts.reads => self.go_on(id),
            _ => return false,
        }
        true
    }

    /// Gives a random device to read from.
    fn give_device(&mut self, id: u64, tid: i32, device: given::Device, [_, b, c, ..]: [u64; 6]) {
        let wanted = device.wanted();
        let asker = self.askers.asker(self.parts.notify.as_fd(), id, tid);
        let file = asker
            .and_then(|asker| device.file(&self.parts.mediator.given(asker, wanted.kind(), &mut || wanted.fresh())));
        match file {
            Ok(file) => {
                let is_cloexec = (b | c) as i32 & libc::O_CLOEXEC != 0;
                _ = self.answer(id, tid, None, Answer::Descriptor { file, is_cloexec });
            }
            Err(errno) => self.fail(id, errno),
        }
    }

    /// Gives time or random bytes; what is none of that goes on by itself.
    fn give(&mut self, id: u64, tid: i32, wanted: Option<given::Wanted>) {
        let notify = self.parts.notify.as_fd();
        let Some(wanted) = wanted else { return self.go_on(id) };
        let handed = self.askers.asker(notify, id, tid).and_then(|asker| {
            let bytes = self.parts.mediator.given(asker, wanted.kind(), &mut || wanted.fresh());
            // That number may be another's by now.
            if sys::is_valid(notify, id) { wanted.hand(tid, &bytes) } else { Err(libc::EINTR) }
        });
        match handed {
            Ok(value) => _ = sys::reply(notify, id, value, 0, 0),
            Err(errno) => self.fail(id, errno),
        }
    }

    /// Tells what is in a folder.
    fn list(&mut self, id: u64, tid: i32, data: &libc::seccomp_data) {
        let notify = self.parts.notify.as_fd();
        let caller = Caller { notify, id, tid };
        match self.listings.list(&caller, data) {
            Ok(None) => self.go_on(id),
            // The place first: the caller may go back to another as soon as it is told.
            Ok(Some(listed)) => match listed.go_on() {
                Ok(()) if sys::reply(notify, id, listed.bytes, 0, 0).is_err() => listed.go_back(),
                Ok(()) => {}
                Err(errno) => self.fail(id, errno),
            },
            Err(errno) => self.fail(id, errno),
        }
    }

    /// Looks at the programs that are about to begin, each before its first instruction.
    pub(super) fn look_at_beginnings(&mut self) -> Vec<super::trace::Outcome> {
        let Self { traces, askers, parts, .. } = self;
        traces.look(&mut |pid| {
            if parts.gives {
                let wanted = given::of_a_program();
                let process = askers.becomes(pid);
                let bytes = process.map(|process| {
                    parts.mediator.given(Asker { process, thread: 0 }, wanted.kind(), &mut || wanted.fresh())
                });
                // Where it can't be done the time or these are not given, and nothing else is less.
                let _ = given::prepare(pid, bytes.as_deref());
            }
        })
    }
}
