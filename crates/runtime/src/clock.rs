//! The session's time: the machine's clock, never running backwards.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch, each reading later than the one before.
#[derive(Debug, Default)]
pub struct Clock {
    last_ns: u64,
}

impl Clock {
    /// A clock that goes on after `last_ns`.
    #[must_use]
    pub fn after(last_ns: u64) -> Self {
        Self { last_ns }
    }

    /// It is at least that late now.
    pub(crate) fn reach(&mut self, at_ns: u64) {
        self.last_ns = self.last_ns.max(at_ns);
    }

    /// Now, or just after the last reading where the machine's clock was set back.
    pub fn now_ns(&mut self) -> u64 {
        self.last_ns = wall_ns().max(self.last_ns.saturating_add(1));
        self.last_ns
    }
}

/// The machine's clock.
#[must_use]
pub fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|d| u64::try_from(d.as_nanos()).ok()).unwrap_or_default()
}

/// RFC 3339 with nanoseconds, UTC.
#[must_use]
pub fn rfc3339(at_ns: u64) -> String {
    let at = jiff::Timestamp::from_nanosecond(i128::from(at_ns)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{at:.9}")
}
