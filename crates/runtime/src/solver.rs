//! An SMT solver of the machine's, asked as a process of its own with a time limit.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A solver that is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Solver {
    /// `cvc5`, which is the quicker one with texts.
    Cvc5,
    /// `z3`.
    Z3,
}

/// Most of an answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

impl Solver {
    /// The first that answers to its name.
    #[must_use]
    pub fn find() -> Option<Self> {
        [Self::Cvc5, Self::Z3].into_iter().find(|solver| {
            let mut command = Command::new(solver.name());
            command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        })
    }

    /// The program's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cvc5 => "cvc5",
            Self::Z3 => "z3",
        }
    }

    /// Its answer to a question in SMT-LIB; empty when the time was up.
    ///
    /// # Errors
    /// When it can't be started or spoken to.
    pub fn ask(self, question: &str, limit: Duration) -> std::io::Result<String> {
        let mut command = Command::new(self.name());
        match self {
            Self::Cvc5 => command.args(["--lang=smt2", "--strings-exp"]).arg(format!("--tlimit={}", limit.as_millis())),
            Self::Z3 => command.arg("-in").arg(format!("-T:{}", limit.as_secs().max(1))),
        };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let question = question.to_owned();
        // Both pipes at once, so that neither side waits for the other.
        let writer = std::thread::spawn(move || {
            if let Some(mut to) = stdin {
                // A solver that stops reading has said what it has to say.
                let _ = to.write_all(question.as_bytes());
            }
        });
        let reader = std::thread::spawn(move || {
            let mut answer = String::new();
            if let Some(from) = stdout {
                let _ = from.take(ANSWER_BYTES_MAX).read_to_string(&mut answer);
            }
            answer
        });
        // It keeps to its own limit; this is for one that doesn't.
        let end = Instant::now() + limit * 2 + Duration::from_secs(1);
        while child.try_wait()?.is_none() {
            if Instant::now() >= end {
                child.kill()?;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = writer.join();
        Ok(reader.join().unwrap_or_default())
    }
}
