//! Answers that people sign with their SSH keys: what is signed, how, and what a signature is good for.
//!
//! The statement is text, a fact a line, so that `ssh-keygen -Y sign` and `-Y verify` work on it as on any file. It names the
//! question, every action that the answer is for by its digest, the answer with its reason, and when it ends.
//!
//! INVARIANT: [`check`] gives a contact only for a signature that stands under exactly what is answered now, by a key that
//! the signature itself carries; whether that key is anybody's who is asked is for the kernel to say.

mod act;
mod agent;

pub use act::{ACT_NAMESPACE, ACT_SECONDS_MAX, ActError, ActStatement, sign_act};
pub(crate) use act::{Actor, act_signer, check_act, is_signed_act, same_act};

use crate::clock::rfc3339;
use crate::gate::Question;
use flyball_kernel::{Action, Verdict};
use serde::{Deserialize, Serialize};
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};
use std::path::{Path, PathBuf};

/// The namespace of the signatures: one that was made for anything else is none.
pub const NAMESPACE: &str = "flyball-answer";
const TITLE: &str = "flyball answer 1";
/// A longer one is refused unread: 256 actions and a reason stay far below.
const STATEMENT_BYTES_MAX: usize = 256 * 1024;
const SIGNATURE_BYTES_MAX: usize = 4096;
/// A key file is smaller.
const KEY_BYTES_MAX: u64 = 64 * 1024;

/// A statement with its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// What was signed, as [`Statement::text`] writes it.
    pub statement: String,
    /// OpenSSH's own armoured form.
    pub sshsig: String,
}

/// What a person says to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The question's id (the session's, and the attempt's entry), and the entry by which it was put, as [`asked`] writes them:
    /// asked anew, for whatever reason, it is answered anew.
    pub question: String,
    /// The digest of every action that it is for, in the question's order.
    pub actions: Vec<String>,
    /// `allow`, `deny` or `modify`.
    pub verdict: String,
    /// The digest of the action to be done in its place.
    pub with: Option<String>,
    /// Why.
    pub reason: String,
    /// It is worth nothing from then on.
    pub expires: String,
}

/// Why a signed answer is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignatureError {
    /// Not what `ssh-keygen -Y sign` writes.
    #[error("the signature can't be read: {0}")]
    Unreadable(String),
    /// Made for another purpose.
    #[error("the signature was made for `{signed}`, not for `{wanted}`")]
    Namespace {
        /// What it was made for.
        signed: String,
        /// What is wanted here.
        wanted: &'static str,
    },
    /// Another kind of key.
    #[error("only `ssh-ed25519` keys sign answers, and this is of `{0}`")]
    Kind(String),
    /// The signature and the statement don't belong together.
    #[error("the signature does not hold: what was signed is not what is said, or another key signed it")]
    Invalid,
    /// The statement is none.
    #[error("what was signed is no answer: {0}")]
    NoStatement(&'static str),
    /// A statement on something else.
    #[error("it was signed for another {what}: `{signed}`, not `{said}`")]
    Other {
        /// What differs.
        what: &'static str,
        /// As signed.
        signed: String,
        /// As said now.
        said: String,
    },
    /// It was signed for once, and something was done to the session since.
    #[error(
        "it was signed to follow the act of entry {after}, and entry {last} is the last: it was used, or another act came first; sign it anew"
    )]
    Used {
        /// The act that it was to follow.
        after: u64,
        /// The last act.
        last: u64,
    },
    /// Its time is over.
    #[error("the signed answer expired at {0}")]
    Expired(String),
    /// Its time is longer than the question's.
    #[error("the signed answer would be good until {signed}, and the question ends at {question}")]
    TooLong {
        /// Until when it was signed for.
        signed: String,
        /// The question's deadline.
        question: String,
    },
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The file is no key, or can't be read.
    #[error("can't use the key `{}`: {why}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        why: String,
    },
    /// The key needs a passphrase or isn't in the file, and no agent has it.
    #[error("`{}` holds no key that can sign by itself, and {why}", path.display())]
    NoAgent {
        /// The file.
        path: PathBuf,
        /// What the agent said.
        why: String,
    },
}

impl Statement {
    /// What is said to a question; good until its deadline.
    #[must_use]
    pub fn of<'d>(
        question: &str,
        actions: impl Iterator<Item = &'d str>,
        verdict: Verdict,
        with: Option<&Action>,
        reason: &str,
        expires: &str,
    ) -> Self {
        Self {
            question: question.to_owned(),
            actions: actions.map(str::to_owned).collect(),
            verdict: name(verdict).to_owned(),
            with: with.map(Action::digest),
            reason: reason.to_owned(),
            expires: expires.to_owned(),
        }
    }

    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!("{TITLE}\nquestion {}\n", self.question);
        for action in &self.actions {
            out.push_str(&format!("action {action}\n"));
        }
        out.push_str(&format!("verdict {}\n", self.verdict));
        if let Some(with) = &self.with {
            out.push_str(&format!("with {with}\n"));
        }
        // As JSON: whatever a person writes stays one line.
        let reason = serde_json::Value::from(self.reason.as_str());
        out.push_str(&format!("reason {reason}\nexpires {}\n", self.expires));
        out
    }

    /// Reads what [`Self::text`] wrote; any other byte is refused.
    ///
    /// # Errors
    /// [`SignatureError::NoStatement`].
    pub fn read(text: &str) -> Result<Self, SignatureError> {
        let none = SignatureError::NoStatement;
        let lines = lines_after(TITLE, text)?;
        let mut found = Self {
            question: String::new(),
            actions: Vec::new(),
            verdict: String::new(),
            with: None,
            reason: String::new(),
            expires: String::new(),
        };
        for line in lines {
            let (key, value) = line.split_once(' ').ok_or(none("it has a line that says nothing"))?;
            match key {
                "question" => value.clone_into(&mut found.question),
                "action" => found.actions.push(value.to_owned()),
                "verdict" => value.clone_into(&mut found.verdict),
                "with" => found.with = Some(value.to_owned()),
                "reason" => found.reason = serde_json::from_str(value).map_err(|_| none("its reason is no text"))?,
                "expires" => value.clone_into(&mut found.expires),
                _ => return Err(none("it has a line of an unknown kind")),
            }
        }
        // INVARIANT: one statement has one text, so that nothing is signed beside what is read.
        if found.text() == text { Ok(found) } else { Err(none("it is written in another way")) }
    }
}

/// The lines of a signed text, bounded, below the one that says what it is.
fn lines_after<'t>(title: &str, text: &'t str) -> Result<std::str::Lines<'t>, SignatureError> {
    let none = SignatureError::NoStatement;
    if text.len() > STATEMENT_BYTES_MAX {
        return Err(none("it is too long"));
    }
    let mut lines = text.lines();
    if lines.next() == Some(title) { Ok(lines) } else { Err(none("it does not begin as such a statement")) }
}

/// A question as it was put by that entry.
#[must_use]
pub fn asked(id: &str, entry: u64) -> String {
    format!("{id}@{entry}")
}

impl Question {
    /// What a person would sign to answer it, all of it.
    #[must_use]
    pub fn statement(&self, verdict: Verdict, with: Option<&Action>, reason: &str, expires: &str) -> Statement {
        Statement::of(
            &asked(&self.id, self.asked),
            self.parts().map(|(_, action, _)| action),
            verdict,
            with,
            reason,
            expires,
        )
    }
}

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
        Verdict::Modify => "modify",
        Verdict::Hold => "hold",
    }
}

/// The contact that signed, and what.
///
/// # Errors
/// [`SignatureError`] when no `ssh-ed25519` key signed this statement for this purpose.
pub fn signer(signed: &Signed) -> Result<(String, Statement), SignatureError> {
    let contact = key_of(signed, NAMESPACE)?;
    Ok((contact, Statement::read(&signed.statement)?))
}

/// The key under whose signature, made for that purpose, the statement stands.
fn key_of(signed: &Signed, namespace: &'static str) -> Result<String, SignatureError> {
    if signed.sshsig.len() > SIGNATURE_BYTES_MAX {
        return Err(SignatureError::Unreadable("it is too long".to_owned()));
    }
    let sig = SshSig::from_pem(signed.sshsig.trim()).map_err(|e| SignatureError::Unreadable(e.to_string()))?;
    if sig.namespace() != namespace {
        let signed = sig.namespace().chars().take(80).collect();
        return Err(SignatureError::Namespace { signed, wanted: namespace });
    }
    let KeyData::Ed25519(_) = sig.public_key() else {
        return Err(SignatureError::Kind(sig.public_key().algorithm().to_string()));
    };
    let key = PublicKey::new(sig.public_key().clone(), "");
    key.verify(namespace, signed.statement.as_bytes(), &sig).map_err(|_| SignatureError::Invalid)?;
    let contact = key.to_openssh().map_err(|e| SignatureError::Unreadable(e.to_string()))?;
    Ok(format!("key:{}", contact.trim()))
}

/// The contact that signed exactly what is said (but for its end, which is the signer's), and now. `deadline_ns` is when the
/// question ends.
///
/// # Errors
/// [`SignatureError`]: each thing that can be wrong by its own name.
pub fn check(signed: &Signed, said: &Statement, deadline_ns: u64, now_ns: u64) -> Result<String, SignatureError> {
    let (contact, statement) = signer(signed)?;
    agrees(&statement, said)?;
    let expires_ns = nanoseconds(&statement.expires)?;
    if expires_ns <= now_ns {
        return Err(SignatureError::Expired(statement.expires));
    }
    if expires_ns > deadline_ns {
        return Err(SignatureError::TooLong { signed: statement.expires, question: rfc3339(deadline_ns) });
    }
    Ok(contact)
}

/// Whether two statements say the same, but for when they end.
pub(crate) fn agrees(signed: &Statement, said: &Statement) -> Result<(), SignatureError> {
    agrees_in("question", &signed.question, &said.question)?;
    agrees_in("action", &signed.actions.join(" "), &said.actions.join(" "))?;
    agrees_in("answer", &signed.verdict, &said.verdict)?;
    let with = |statement: &Statement| statement.with.clone().unwrap_or_default();
    agrees_in("changed action", &with(signed), &with(said))?;
    agrees_in("reason", &signed.reason, &said.reason)
}

fn agrees_in(what: &'static str, signed: &str, said: &str) -> Result<(), SignatureError> {
    let clip = |text: &str| text.chars().take(120).collect();
    if signed == said { Ok(()) } else { Err(SignatureError::Other { what, signed: clip(signed), said: clip(said) }) }
}

pub(crate) fn nanoseconds(time: &str) -> Result<u64, SignatureError> {
    let at: Option<jiff::Timestamp> = time.parse().ok();
    at.and_then(|at| u64::try_from(at.as_nanosecond()).ok()).ok_or(SignatureError::NoStatement("its end is no time"))
}

/// Signs a statement with the key in a file; where the file has no key that can sign by itself (a passphrase, or only the
/// public half), with the one that the agent behind `$SSH_AUTH_SOCK` holds.
///
/// # Errors
/// [`SigningError`].
pub fn sign(statement: &Statement, path: &Path) -> Result<Signed, SigningError> {
    sign_text(&statement.text(), NAMESPACE, path)
}

fn sign_text(statement: &str, namespace: &'static str, path: &Path) -> Result<Signed, SigningError> {
    let key_error = |why: String| SigningError::Key { path: path.to_owned(), why };
    let text = read(path).map_err(|e| key_error(e.to_string()))?;
    let public = match PrivateKey::from_openssh(&text) {
        Ok(key) if !key.is_encrypted() => {
            ed25519(key.public_key()).map_err(key_error)?;
            return signed(statement, key.sign(namespace, HashAlg::Sha512, statement.as_bytes())).map_err(key_error);
        }
        Ok(key) => key.public_key().clone(),
        Err(private) => PublicKey::from_openssh(text.trim()).map_err(|_| key_error(private.to_string()))?,
    };
    ed25519(&public).map_err(key_error)?;
    let sig = agent::sign(&public, namespace, statement.as_bytes())
        .map_err(|why| SigningError::NoAgent { path: path.to_owned(), why })?;
    signed(statement, Ok(sig)).map_err(key_error)
}

fn ed25519(key: &PublicKey) -> Result<(), String> {
    match key.key_data() {
        KeyData::Ed25519(_) => Ok(()),
        other => Err(format!("only `ssh-ed25519` keys sign answers, and this is of `{}`", other.algorithm())),
    }
}

fn signed(statement: &str, sig: ssh_key::Result<SshSig>) -> Result<Signed, String> {
    let sshsig = sig.and_then(|sig| sig.to_pem(LineEnding::LF)).map_err(|e| e.to_string())?;
    Ok(Signed { statement: statement.to_owned(), sshsig })
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(KEY_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
