//! Open questions to people, over all sessions.

use super::board::Board;
use super::history::short_paths;
use super::session::{SessionLine, strings, text};
use super::{History, ReadError};
use crate::clock::{rfc3339, wall_ns};
use crate::gate::{Also, AlsoAsked, Question};
use crate::refusal;
use flyball_kernel::{Action, Governance, OwnerLoad, Reason};
use flyball_ledger::{Entry, Kind, Ledger};
use serde::Serialize;
use serde_json::Value as Json;

/// An open question.
#[derive(Clone, Debug, Serialize)]
pub struct Ask {
    /// Its id.
    pub id: String,
    /// The session.
    pub session: String,
    /// The session's name.
    pub name: String,
    /// The held attempt's entry.
    pub of: u64,
    /// The entry by which it was put: a signed answer names it.
    pub asked: u64,
    /// Digest of the action: the answer is for this one only.
    pub action: String,
    /// Digest over all the attempts that it is about and their actions.
    pub set: String,
    /// The tier that is asked.
    pub tier: String,
    /// Who may answer.
    pub who: Vec<String>,
    /// How many must agree.
    pub quorum: u64,
    /// Who has answered already.
    pub answered: Vec<String>,
    /// When it is answered for them.
    pub deadline: String,
    /// Seconds until then; negative when it has passed.
    pub left_s: i64,
    /// The tier that is asked then; nobody is where it is refused then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<String>,
    /// The owners whose contacts are asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<String>,
    /// How many questions they have open, and how many they get at once; as the supervisor said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub load: Vec<OwnerLoad>,
    /// Who wants to do it: what runs, and since which entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asker: Option<Asker>,
    /// How grave it is, and what it takes to undo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub governance: Option<Governance>,
    /// The action in words.
    pub said: String,
    /// The whole attempt.
    pub attempt: Option<Action>,
    /// Why it was stopped.
    pub reasons: Vec<Reason>,
    /// What else one answer is for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<AskAlso>,
    /// Tiers that have to agree as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also_asked: Vec<AlsoAsked>,
}

impl Ask {
    /// Every action that it is about.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.attempt.iter().chain(self.also.iter().map(|a| &a.part.attempt))
    }

    /// Every attempt that it is about, with its action's digest.
    pub fn parts(&self) -> impl Iterator<Item = (u64, &str)> {
        std::iter::once((self.of, self.action.as_str()))
            .chain(self.also.iter().map(|a| (a.part.of, a.part.action.as_str())))
    }
}

/// The program that wants something.
#[derive(Clone, Debug, Serialize)]
pub struct Asker {
    /// Its exec's entry.
    pub seq: u64,
    /// The exec in words.
    pub said: String,
}

/// One more action that a question is about.
#[derive(Clone, Debug, Serialize)]
pub struct AskAlso {
    /// It, with its digest.
    #[serde(flatten)]
    pub part: Also,
    /// The action in words.
    pub said: String,
}

fn also(workspace: &str, parts: Vec<Also>) -> Vec<AskAlso> {
    let said = |part: &Also| short_paths(workspace, refusal::say(&part.attempt).trim_end());
    parts.into_iter().map(|part| AskAlso { said: said(&part), part }).collect()
}

/// Open questions of all live sessions, the most urgent first.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read.
pub fn asks(ledger: &Ledger) -> Result<Vec<Ask>, ReadError> {
    let mut board = Board::default();
    board.refresh(ledger)?;
    board.asks(ledger)
}

/// The open question of that id, or the only one that begins so.
///
/// # Errors
/// [`ReadError::NoQuestion`], [`ReadError::Ambiguous`], or the ledger can't be read.
pub fn ask(ledger: &Ledger, wanted: &str) -> Result<Ask, ReadError> {
    let open = asks(ledger)?;
    if let Some(exact) = open.iter().find(|a| a.id == wanted) {
        return Ok(exact.clone());
    }
    let near: Vec<&Ask> = open.iter().filter(|a| !wanted.is_empty() && a.id.starts_with(wanted)).collect();
    match near.as_slice() {
        [] => Err(ReadError::NoQuestion(wanted.chars().take(80).collect())),
        [one] => Ok((*one).clone()),
        many => Err(ReadError::Ambiguous {
            wanted: wanted.to_owned(),
            candidates: many.iter().take(8).map(|a| a.id.clone()).collect(),
        }),
    }
}

/// The open questions that a session's record tells of.
pub(super) fn of_history(history: &History, name: &str) -> Vec<Ask> {
    history.open_questions().into_iter().map(|q| of_entry(history, name, q)).collect()
}

/// An open question as the supervisor tells it.
pub(super) fn of_question(
    ledger: &Ledger,
    line: &SessionLine,
    question: &Question,
    loads: &[OwnerLoad],
) -> Result<Ask, ReadError> {
    let answers = flyball_ledger::Filter {
        kinds: vec![Kind::Answer],
        caused_by: Some(question.of),
        ..flyball_ledger::Filter::default()
    };
    let mut answered = Vec::new();
    if question.quorum > 1 || !question.also_asked.is_empty() {
        for entry in ledger.entries(&line.id, question.of.., answers)? {
            answered.push(text(&entry?.body, "by"));
        }
    }
    let asker = asker(ledger, line, question)?;
    let deadline = rfc3339(question.deadline_ns);
    Ok(Ask {
        id: question.id.clone(),
        session: line.id.clone(),
        name: line.name.clone(),
        of: question.of,
        asked: question.asked,
        action: question.action.clone(),
        set: question.set(),
        tier: question.tier.clone(),
        who: question.who.clone(),
        quorum: u64::from(question.quorum),
        answered,
        left_s: left_s(&deadline),
        deadline,
        then: question.then.clone(),
        owners: question.owners.clone(),
        load: loads.iter().filter(|l| question.owners.contains(&l.owner)).cloned().collect(),
        asker,
        governance: question.governance,
        said: short_paths(&line.workspace, refusal::say(&question.attempt).trim_end()),
        attempt: Some(question.attempt.clone()),
        reasons: question.reasons.clone(),
        also: also(&line.workspace, question.also.clone()),
        also_asked: question.also_asked.clone(),
    })
}

/// The exec below which the attempt was made, where that is on record.
fn asker(ledger: &Ledger, line: &SessionLine, question: &Question) -> Result<Option<Asker>, ReadError> {
    for cause in ledger.entry(&line.id, question.of)?.cause {
        let cause = ledger.entry(&line.id, cause)?;
        if cause.kind != Kind::Attempt {
            continue;
        }
        let body = super::history::whole_body(ledger, &cause)?;
        let Ok(action) = serde_json::from_value::<Action>(body) else { continue };
        return Ok(Some(Asker {
            seq: cause.seq,
            said: short_paths(&line.workspace, refusal::say(&action).trim_end()),
        }));
    }
    Ok(None)
}

fn of_entry(history: &History, name: &str, question: &Entry) -> Ask {
    let body = &question.body;
    let of = body.get("of").and_then(Json::as_u64).unwrap_or_default();
    let attempt = history.find(of);
    let parts = body.get("also").and_then(|a| serde_json::from_value(a.clone()).ok()).unwrap_or_default();
    let also_asked = body.get("also_asked").and_then(|a| serde_json::from_value(a.clone()).ok()).unwrap_or_default();
    let causes = attempt.into_iter().flat_map(|e| &e.cause).filter_map(|seq| history.find(*seq));
    let cause = causes.into_iter().find(|e| e.kind == Kind::Attempt);
    Ask {
        id: text(body, "id"),
        session: history.session.clone(),
        name: name.to_owned(),
        of,
        asked: question.seq,
        action: text(body, "action"),
        set: text(body, "set"),
        tier: text(body, "tier"),
        who: strings(body, "who"),
        quorum: body.get("quorum").and_then(Json::as_u64).unwrap_or(1),
        answered: history.life(of).filter(|e| e.kind == Kind::Answer).map(|e| text(&e.body, "by")).collect(),
        deadline: text(body, "deadline"),
        left_s: left_s(&text(body, "deadline")),
        then: body.get("then").and_then(Json::as_str).map(str::to_owned),
        owners: strings(body, "owners"),
        load: Vec::new(),
        asker: cause.map(|e| Asker { seq: e.seq, said: history.say(e) }),
        governance: body.get("governance").and_then(|g| serde_json::from_value(g.clone()).ok()),
        said: attempt.map(|e| history.say(e)).unwrap_or_default(),
        attempt: history.action(of),
        reasons: body.get("reasons").and_then(|r| serde_json::from_value(r.clone()).ok()).unwrap_or_default(),
        also: also(history.workspace(), parts),
        also_asked,
    }
}

fn left_s(deadline: &str) -> i64 {
    let Ok(at) = deadline.parse::<jiff::Timestamp>() else { return 0 };
    let now = i128::from(wall_ns());
    i64::try_from((at.as_nanosecond() - now).div_euclid(1_000_000_000)).unwrap_or_default()
}
