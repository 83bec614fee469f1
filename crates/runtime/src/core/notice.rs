//! What is told of a session while it runs.

use crate::gate::Question;
use flyball_kernel::Verdict;
use flyball_sandbox::Weakness;

/// What a person at the terminal or another program may want to hear of while a session runs.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The session is recorded and about to start.
    Started {
        /// Its id.
        session: String,
        /// Its name.
        name: String,
        /// What this run does not cover.
        uncovered: Vec<String>,
        /// Layers that are missing: accepted ones, and those that something as good stands in for.
        weaker: Vec<Weakness>,
    },
    /// An attempt was refused.
    Refused {
        /// Its entry.
        seq: u64,
        /// What the program reads.
        text: String,
    },
    /// People are asked.
    Asked(Box<Question>),
    /// A question was answered, or its time ran out.
    Answered {
        /// The attempt's entry.
        seq: u64,
        /// What was said.
        verdict: Verdict,
    },
    /// A file's content was refused, and the file is what it was before.
    PutBack {
        /// The attempt's entry.
        seq: u64,
        /// The file, relative to the workspace.
        path: String,
        /// What the agent reads.
        text: String,
    },
    /// A contract's command is run on the final workspace.
    Checking {
        /// The contract.
        contract: String,
        /// The command.
        command: Vec<String>,
    },
    /// Something that a person must know: the boundary was attacked, the record can't explain a change, …
    Alert(String),
}

/// Hears what happens in a session, from several threads.
pub trait Watcher: Sync {
    /// Called as it happens; be quick.
    fn notice(&self, notice: Notice);
}
