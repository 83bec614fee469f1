//! The caller's terminal, lent to a governed program through its private pty: bytes, window size and signals.
// tidy: allow print in this file: it relays the governed program's own bytes to the terminal, and says nothing itself.

use flyball_sandbox::Running;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

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
    output: std::thread::JoinHandle<()>,
}

impl Relay {
    pub(crate) fn start(pty: &OwnedFd) -> std::io::Result<Self> {
        let raw = Raw::set()?;
        let (to, from) = (pty.try_clone()?, pty.try_clone()?);
        // Ends with the process: a read of the terminal can't be called off, and nothing is lost by leaving it.
        std::thread::Builder::new()
            .name("keys".into())
            .spawn(move || pump(std::io::stdin(), std::fs::File::from(to)))?;
        let output = std::thread::Builder::new()
            .name("screen".into())
            .spawn(move || pump(std::fs::File::from(from), std::io::stdout()))?;
        Ok(Self { _raw: raw, output })
    }

    /// Waits for the program's last output, then gives the terminal back.
    pub(crate) fn finish(self) {
        let _ = self.output.join();
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
pub(crate) fn forward_signals(running: &Running) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH])?;
    let running = running.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGWINCH {
                let (rows, columns) = window();
                let _ = running.resize(rows, columns);
            } else {
                let _ = running.signal(signal);
            }
        }
    })?;
    Ok(())
}

/// The pty's own descriptor, for [`Relay::start`].
pub(crate) fn own(fd: impl AsFd) -> std::io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}
