//! Programs that do not outlive who started them.

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has the program killed when the thread that starts it ends, in whatever way that does.
pub fn ends_with_this_thread(command: &mut Command) {
    let parent = getpid();
    // SAFETY: between fork and exec only system calls, on values of the child's own; nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // It may have ended before that.
            if getppid() == Some(parent) { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
        });
    }
}
