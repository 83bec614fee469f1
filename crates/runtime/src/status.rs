//! How a live session stands, as its supervisor tells it: what a reader would else have to fold from the whole stream.

use crate::gate::{Counts, Question};
use flyball_kernel::Registers;
use serde::{Deserialize, Serialize};

/// Quantities of envelopes that one status names at most.
pub(crate) const ENVELOPES_TOLD_MAX: usize = 256;

/// How a live session stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The last entry's number.
    pub last_seq: u64,
    /// What became of the attempts so far.
    pub counts: Counts,
    /// What the kernel counted.
    pub registers: Registers,
    /// The questions that are open.
    pub questions: Vec<Question>,
}
