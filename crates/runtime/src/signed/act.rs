//! Acts on a session that people sign with their SSH keys, as they sign answers.
//!
//! INVARIANT: a statement names the session's last act of before, so that it is good for one act and never again.

use super::{SignatureError, Signed, SigningError, agrees_in, key_of, lines_after, nanoseconds, sign_text};
use crate::clock::{rfc3339, wall_ns};
use crate::control::Request;
use flyball_kernel::{Charter, Sources};
use serde_json::{Value as Json, json};
use std::path::Path;

/// The namespace of these signatures: an answer's is none of them.
pub const ACT_NAMESPACE: &str = "flyball-act";
const TITLE: &str = "flyball act 1";
/// The longest that a signed act may wait to be brought.
pub const ACT_SECONDS_MAX: u64 = 300;

/// What a person wants done to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActStatement {
    /// The session.
    pub session: String,
    /// The entry of the last act on it, 0 before the first: after another one this is worth nothing.
    pub after: u64,
    /// `constrain`, `widen`, `autonomy` or `declassify`.
    pub act: String,
    /// The charter's digest, the level or the label.
    pub to: String,
    /// Why.
    pub reason: String,
    /// It is worth nothing from then on.
    pub expires: String,
}

/// Whether acts of that name, on the record as interventions, are among those that people sign.
pub(crate) fn is_signed_act(act: &str) -> bool {
    matches!(act, "autonomy" | "declassify")
}

/// Who acts: a contact, with what proves that it is theirs where that is a signature.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    pub contact: String,
    proof: Option<Proof>,
}

#[derive(Clone, Debug)]
struct Proof {
    body: Json,
    /// As signed: it is good after that act, and before that time.
    after: u64,
    expires_ns: u64,
}

impl Actor {
    /// Proven by the socket.
    pub fn local(contact: &str) -> Self {
        Self { contact: contact.to_owned(), proof: None }
    }

    /// The body of the act's entry, with the proof.
    pub fn body(&self, mut body: Json) -> Json {
        if let (Some(body), Some(Json::Object(proof))) = (body.as_object_mut(), self.proof.as_ref().map(|p| &p.body)) {
            body.extend(proof.clone());
        }
        body
    }

    /// Whether what was signed is still for the session as it stands: asked where the act is recorded, under the same lock.
    ///
    /// # Errors
    /// Another act came since, or its time is over.
    pub fn still(&self, last_act: u64, now_ns: u64) -> Result<(), SignatureError> {
        match &self.proof {
            Some(proof) if proof.after != last_act => Err(SignatureError::Used { after: proof.after, last: last_act }),
            Some(proof) if proof.expires_ns <= now_ns => Err(SignatureError::Expired(rfc3339(proof.expires_ns))),
            _ => Ok(()),
        }
    }
}

impl ActStatement {
    /// What a request does, as it is signed.
    ///
    /// # Errors
    /// What is none of the acts that are signed, or a charter that does not compile.
    pub fn of(request: &Request, session: &str, after: u64, expires: &str) -> Result<Self, String> {
        let (act, to, reason) = match request {
            Request::Constrain { files, widen, reason } => {
                (if *widen { "widen" } else { "constrain" }, digest(files)?, reason)
            }
            Request::Autonomy { level, reason } => ("autonomy", level.clone(), reason),
            Request::Declassify { label, reason } => ("declassify", label.clone(), reason),
            _ => return Err("only `constrain`, `autonomy` and `declassify` are signed, and answers".to_owned()),
        };
        Ok(Self {
            session: session.to_owned(),
            after,
            act: act.to_owned(),
            to,
            reason: reason.clone(),
            expires: expires.to_owned(),
        })
    }

    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { session, after, act, to, reason, expires } = self;
        // As JSON: whatever a person writes stays one line.
        let (to, reason) = (Json::from(to.as_str()), Json::from(reason.as_str()));
        format!("{TITLE}\nsession {session}\nafter {after}\nact {act}\nto {to}\nreason {reason}\nexpires {expires}\n")
    }

    /// Reads what [`Self::text`] wrote; any other byte is refused.
    ///
    /// # Errors
    /// [`SignatureError::NoStatement`].
    pub fn read(text: &str) -> Result<Self, SignatureError> {
        let none = SignatureError::NoStatement;
        let mut lines = lines_after(TITLE, text)?;
        let mut line = |key: &str| {
            let found = lines.next().and_then(|line| line.split_once(' '));
            found.filter(|(there, _)| *there == key).map(|(_, value)| value.to_owned())
        };
        let mut next = |key| line(key).ok_or(none("it lacks a line, or has one of an unknown kind"));
        let quoted = |text: String| serde_json::from_str::<String>(&text).map_err(|_| none("a text in it is no text"));
        let found = Self {
            session: next("session")?,
            after: next("after")?.parse().map_err(|_| none("its entry is no number"))?,
            act: next("act")?,
            to: quoted(next("to")?)?,
            reason: quoted(next("reason")?)?,
            expires: next("expires")?,
        };
        // INVARIANT: one statement has one text, so that nothing is signed beside what is read.
        if found.text() == text { Ok(found) } else { Err(none("it is written in another way")) }
    }
}

fn digest(files: &Sources) -> Result<String, String> {
    let compiled = Charter::compile(files).map_err(|found| {
        let first = found.0.first().map(|d| format!("{} {}:{}: {}", d.code, d.file, d.line, d.message));
        format!("the charter has errors: {}", first.unwrap_or_default())
    });
    compiled.map(|(charter, _)| charter.digest().to_owned())
}

/// The contact that signed, and what.
///
/// # Errors
/// [`SignatureError`] when no `ssh-ed25519` key signed this statement for this purpose.
pub(crate) fn act_signer(signed: &Signed) -> Result<(String, ActStatement), SignatureError> {
    let contact = key_of(signed, ACT_NAMESPACE)?;
    Ok((contact, ActStatement::read(&signed.statement)?))
}

/// Whether two statements say the same, but for when they end.
pub(crate) fn same_act(signed: &ActStatement, said: &ActStatement) -> Result<(), SignatureError> {
    agrees_in("session", &signed.session, &said.session)?;
    agrees_in("act", &signed.act, &said.act)?;
    agrees_in("charter, level or label", &signed.to, &said.to)?;
    agrees_in("reason", &signed.reason, &said.reason)?;
    if signed.after != said.after {
        return Err(SignatureError::Used { after: signed.after, last: said.after });
    }
    Ok(())
}

/// Who signed this request on this session, now, after that act.
///
/// # Errors
/// In words: each thing that can be wrong.
pub(crate) fn check_act(
    signed: &Signed,
    request: &Request,
    session: &str,
    after: u64,
    by: &str,
    now_ns: u64,
) -> Result<Actor, String> {
    let (contact, statement) = act_signer(signed).map_err(|e| e.to_string())?;
    let said = ActStatement::of(request, session, after, "")?;
    same_act(&statement, &said).map_err(|e| e.to_string())?;
    let expires_ns = nanoseconds(&statement.expires).map_err(|e| e.to_string())?;
    if expires_ns <= now_ns {
        return Err(SignatureError::Expired(statement.expires).to_string());
    }
    let latest_ns = now_ns.saturating_add(ACT_SECONDS_MAX.saturating_mul(1_000_000_000));
    if expires_ns > latest_ns {
        return Err(format!(
            "the signed act would be good until {}, and none is beyond five minutes",
            statement.expires
        ));
    }
    let body = json!({ "signed": signed, "brought_by": by });
    Ok(Actor { contact, proof: Some(Proof { body, after, expires_ns }) })
}

/// Why an act was not signed.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// It is none of those that are, or a charter that has errors.
    #[error("{0}")]
    NotSigned(String),
    /// The key did not sign it.
    #[error(transparent)]
    Signing(#[from] SigningError),
}

/// Signs a request for a session with the key in a file, or by the agent that holds it; good for some minutes and for once.
///
/// # Errors
/// [`ActError`].
pub fn sign_act(request: &Request, session: &str, after: u64, key: &Path) -> Result<Signed, ActError> {
    // A clock that is a little ahead of the supervisor's is no reason to refuse.
    let expires_ns = wall_ns().saturating_add((ACT_SECONDS_MAX - 60).saturating_mul(1_000_000_000));
    let statement = ActStatement::of(request, session, after, &rfc3339(expires_ns)).map_err(ActError::NotSigned)?;
    Ok(sign_text(&statement.text(), ACT_NAMESPACE, key)?)
}
