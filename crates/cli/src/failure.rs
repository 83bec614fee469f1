//! What went wrong, as the user is told it: code, cause, remedy and exit code.

use crate::output::{Output, Style, visible_lines};
use serde_json::json;

/// Why a command did not succeed. Decides the exit code ([`exit_code`]) and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The user or the configuration can mend it.
    User,
    /// The command line was not understood.
    Usage,
    /// The charter or a person said no.
    Denied,
    /// A person has to answer first.
    Waiting,
    /// This machine can't enforce what was asked for.
    Weaker,
    /// The record does not hold.
    Unverified,
    /// A replay came to something else.
    Diverged,
    /// A mistake of ours.
    Internal,
}

/// DESIGN section 7.
pub fn exit_code(kind: Kind) -> u8 {
    match kind {
        Kind::User => 1,
        Kind::Usage => 2,
        Kind::Denied => 100,
        Kind::Waiting => 101,
        Kind::Weaker => 102,
        Kind::Unverified => 103,
        Kind::Diverged => 104,
        Kind::Internal => 255,
    }
}

/// A command did not succeed.
#[derive(Debug)]
pub struct Failure {
    /// Decides the exit code.
    pub kind: Kind,
    /// Stable code; empty when all has been said already and only the exit code is left to give.
    pub code: &'static str,
    /// What happened and where.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A mistake that the user can mend.
    pub fn user(code: &'static str, message: impl Into<String>) -> Self {
        Self { kind: Kind::User, code, message: message.into(), hint: None }
    }

    /// A mistake of ours.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self {
            kind: Kind::Internal,
            code: "FB0500",
            message: message.to_string(),
            hint: Some("this is a defect of flyball's: please report it with the command that you gave".into()),
        }
    }

    /// All has been said; only the exit code is left to give.
    pub fn said(kind: Kind) -> Self {
        Self { kind, code: "", message: String::new(), hint: None }
    }

    /// The same of another kind.
    pub fn of(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The same with a remedy.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says it on standard error: three lines for people, or one object.
    pub fn report(&self, out: Output) {
        if self.code.is_empty() {
            return;
        }
        if out.is_json {
            let object = json!({"error": {"code": self.code, "message": self.message, "hint": self.hint}});
            out.warn(&object.to_string());
            return;
        }
        let label = out.paint_err(Style::Red, &format!("error[{}]", self.code));
        out.warn(&format!("{label}: {}", visible_lines(&self.message)));
        if let Some(hint) = &self.hint {
            out.warn(&format!("  {} {}", out.paint_err(Style::Cyan, "help:"), visible_lines(hint)));
        }
    }
}

/// The message of an error with those of its causes, outermost first.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}
