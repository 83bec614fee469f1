//! The caller's terminal, lent to a governed program through its private pty: bytes, window size and signals.
// tidy: allow print in this file: it relays the governed program's own bytes to the terminal, and says nothing itself.

use flyball_sandbox::Running;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Whether the caller's input and output are both a terminal: then the program gets a pty of its own.
#[must_use]
pub fn is_interactive() -> bool {
    rustix::termios::isatty(std::io::stdin()) && rustix::termios::isatty(std::io::stdout())
}

/// The caller's window, rows and columns.
#[must_use]
pub fn window() -> (u16, u16) {
    tcgetwinsize(std::io::stdin()).map(|w| (w.ws_row, w.ws_col)).unwrap_or((24, 80))
}

/// The caller's terminal in raw mode until dropped.
pub(crate) struct Raw {
    was: Termios,
}

impl Raw {
    fn set() -> rustix::io::Result<Self> {
        let was = tcgetattr(std::io::stdin())?;
        let mut raw = was.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { was })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Drain, so that the program's last words are shown in the mode that they were written for.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.was);
    }
}

/// Relays between the caller's terminal and the program's pty until the program closes it.
pub(crate) struct Relay {
    _raw: Raw,
    keys: std::thread::JoinHandle<()>,
    /// Dropped to call off the thread that waits for keys.
    more_keys: std::io::PipeWriter,
    output: std::thread::JoinHandle<()>,
}

impl Relay {
    pub(crate) fn start(pty: &OwnedFd) -> std::io::Result<Self> {
        let raw = Raw::set()?;
        let (to, from) = (pty.try_clone()?, pty.try_clone()?);
        let (ended, more_keys) = std::io::pipe()?;
        let keys = std::thread::Builder::new()
            .name("keys".into())
            .spawn(move || pump_keys(std::fs::File::from(to), &ended))?;
        let output = std::thread::Builder::new()
            .name("screen".into())
            .spawn(move || pump(std::fs::File::from(from), std::io::stdout()))?;
        Ok(Self { _raw: raw, keys, more_keys, output })
    }

    /// Waits for the program's last output, then gives the terminal back: keys typed from now on are the caller's.
    pub(crate) fn finish(self) {
        let _ = self.output.join();
        drop(self.more_keys);
        let _ = self.keys.join();
    }
}

/// Hands keys on until there are none or the other end of `ended` is dropped. Reads only what is there: a read that waits
/// would take the next line from whoever asks after the program's end.
fn pump_keys(mut to: impl Write, ended: &std::io::PipeReader) {
    use rustix::event::{PollFd, PollFlags, poll};
    let keys = std::io::stdin();
    let mut buffer = [0_u8; 16 * 1024];
    loop {
        let mut ready = [PollFd::new(&keys, PollFlags::IN), PollFd::new(ended, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
        }
        let [typed, over] = ready;
        if !over.revents().is_empty() {
            return;
        }
        if typed.revents().is_empty() {
            continue;
        }
        // Not through `Stdin`'s buffer: what it read ahead would be lost to the others who read the terminal.
        match rustix::io::read(&keys, &mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                let Some(bytes) = buffer.get(..n) else { return };
                if to.write_all(bytes).and_then(|()| to.flush()).is_err() {
                    return;
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn pump(mut from: impl Read, mut to: impl Write) {
    let mut buffer = [0_u8; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                let Some(bytes) = buffer.get(..n) else { return };
                if to.write_all(bytes).and_then(|()| to.flush()).is_err() {
                    return;
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            // A pty's master reads EIO once its last user is gone.
            Err(_) => return,
        }
    }
}

/// Hands the caller's signals on to the program until the process ends.
pub(crate) fn forward_signals(running: impl Fn() -> Option<Running> + Send + 'static) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            // INVARIANT: asked for anew each time. Held here, the session's locks would be held as long as the process lives.
            let running = running();
            if signal == SIGWINCH {
                let (rows, columns) = window();
                let _ = running.map(|running| running.resize(rows, columns));
            } else {
                let is_over = running.is_none_or(|running| running.signal(signal).is_err());
                if is_over {
                    // Nobody is left to hand it to: it is meant for us.
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
            }
        }
    })?;
    Ok(())
}

/// The pty's own descriptor, for [`Relay::start`].
pub(crate) fn own(fd: impl AsFd) -> std::io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}

/// Where this process's own output and errors go: a program's that passes through is written there as it comes.
pub(crate) fn outputs() -> std::io::Result<(std::fs::File, std::fs::File)> {
    let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(std::fs::File::from);
    Ok((own(std::io::stdout().as_fd())?, own(std::io::stderr().as_fd())?))
}
