//! One process at a time: for what is to be read of a ledger, decided, and committed with nothing in between.

use crate::{Ledger, LedgerError};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

/// How long one waits for its turn. A turn is as long as one commit; only who is stopped in the middle of one takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The right to go first, as long as it is held. It ends with its holder, however that ends.
pub struct Turn(#[expect(dead_code, reason = "held for its lock")] File);

impl Ledger {
    /// Waits for this process's turn among all that use this ledger and ask for one.
    ///
    /// # Errors
    /// [`LedgerError`] when the lock can't be made, or another process holds it for too long.
    pub fn turn(&self) -> Result<Turn, LedgerError> {
        let path = self.dir().join("turn.lock");
        let fail = |e| LedgerError::io("take a turn by the lock", &path, e);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(fail)?;
        let begun = Instant::now();
        let mut pause = Duration::from_micros(100);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Turn(file)),
                Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(4));
                }
                Err(TryLockError::WouldBlock) => return Err(fail(std::io::ErrorKind::TimedOut.into())),
                Err(TryLockError::Error(e)) => return Err(fail(e)),
            }
        }
    }
}
