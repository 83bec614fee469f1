//! Questions that the screen itself asks before it acts: an answer with its reason, ending a session, taking it back.
//! A wrong key never acts: each takes a typed word and enter, and stays bound to what it was opened for.

use super::model::{Act, Command, State, edit};
use flyball_kernel::Verdict;
use flyball_runtime::control::Request;
use flyball_runtime::read::{Ask, SessionLine, Undone};
use ratatui::crossterm::event::{KeyCode, KeyEvent};

/// A question of the screen.
#[derive(Debug)]
pub enum Dialog {
    Answer(Box<Answer>),
    Kill(Kill),
    Rollback(Rollback),
}

/// An answer in the making. It is to the question that it was opened for, whatever else is asked meanwhile.
#[derive(Debug)]
pub struct Answer {
    pub ask: Ask,
    /// `None` until it is chosen.
    pub verdict: Option<Verdict>,
    pub reason: String,
    /// The first line of it that is shown, where there are more than fit.
    pub top: usize,
    pub progress: Progress,
}

#[derive(Debug)]
pub struct Kill {
    pub session: String,
    pub name: String,
    pub typed: String,
    pub progress: Progress,
}

#[derive(Debug)]
pub struct Rollback {
    pub session: String,
    pub seq: u64,
    /// What it would do, once that is known.
    pub undone: Option<Result<Undone, String>>,
    /// The first line of it that is shown, where there are more than fit.
    pub top: usize,
    pub typed: String,
    pub progress: Progress,
}

/// How far an act is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    #[default]
    Typing,
    /// The supervisor was asked.
    Asked,
    /// What stood in the way.
    Refused(String),
}

/// What a dialog makes of the end of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    NotMine,
    Stays,
    Closes,
}

pub fn answer(ask: &Ask) -> Dialog {
    let (ask, reason) = (ask.clone(), String::new());
    Dialog::Answer(Box::new(Answer { ask, verdict: None, reason, top: 0, progress: Progress::Typing }))
}

pub fn kill(line: &SessionLine) -> Dialog {
    let (session, name) = (line.id.clone(), line.name.clone());
    Dialog::Kill(Kill { session, name, typed: String::new(), progress: Progress::Typing })
}

pub fn rollback(session: &str, seq: u64) -> Dialog {
    let session = session.to_owned();
    Dialog::Rollback(Rollback { session, seq, undone: None, top: 0, typed: String::new(), progress: Progress::Typing })
}

impl Dialog {
    /// The field that is typed into, if one is.
    pub fn field(&mut self) -> Option<&mut String> {
        match self {
            Dialog::Answer(answer) => answer.verdict.is_some().then_some(&mut answer.reason),
            Dialog::Kill(kill) => Some(&mut kill.typed),
            Dialog::Rollback(rollback) => Some(&mut rollback.typed),
        }
    }

    /// Where what it is about is looked through, if it can be long.
    fn top(&mut self) -> Option<&mut usize> {
        match self {
            Dialog::Answer(answer) => Some(&mut answer.top),
            Dialog::Rollback(rollback) => Some(&mut rollback.top),
            Dialog::Kill(_) => None,
        }
    }

    fn progress(&mut self) -> &mut Progress {
        match self {
            Dialog::Answer(answer) => &mut answer.progress,
            Dialog::Kill(kill) => &mut kill.progress,
            Dialog::Rollback(rollback) => &mut rollback.progress,
        }
    }

    fn is_about(&self, act: &Act) -> bool {
        match (self, act) {
            (Dialog::Answer(answer), Act::Control(Request::Answer { id, .. })) => answer.ask.id == *id,
            (Dialog::Kill(_), Act::Control(Request::Kill { .. })) => true,
            (Dialog::Rollback(rollback), Act::Rollback { seq, .. }) => rollback.seq == *seq,
            _ => false,
        }
    }

    /// Hears of the end of an act.
    pub fn heard(&mut self, act: &Act, result: &Result<String, String>) -> Heard {
        if !self.is_about(act) || *self.progress() != Progress::Asked {
            return Heard::NotMine;
        }
        match result {
            Ok(_) => Heard::Closes,
            Err(why) => {
                *self.progress() = Progress::Refused(why.clone());
                Heard::Stays
            }
        }
    }
}

/// A key while a dialog stands.
pub fn key(state: &mut State, key: KeyEvent) -> Vec<Command> {
    let is_open = |id: &str| state.board.asks.iter().any(|a| a.id == id);
    let is_gone = matches!(&state.dialog, Some(Dialog::Answer(a)) if !is_open(&a.ask.id));
    let Some(dialog) = &mut state.dialog else { return Vec::new() };
    if key.code == KeyCode::Esc {
        // What was asked of the supervisor goes on; only the screen lets go of it.
        state.dialog = None;
        return Vec::new();
    }
    if let (Some(top), Some(down)) = (dialog.top(), pages(key)) {
        *top = top.saturating_add_signed(down);
        return Vec::new();
    }
    if *dialog.progress() == Progress::Asked {
        return Vec::new();
    }
    match dialog {
        Dialog::Answer(answer) => answer_key(answer, key, is_gone),
        Dialog::Kill(kill) => kill_key(kill, key),
        Dialog::Rollback(rollback) => rollback_key(rollback, key),
    }
    .into_iter()
    .collect()
}

/// Lines that a key of movement moves by.
fn pages(key: KeyEvent) -> Option<isize> {
    match key.code {
        KeyCode::Up => Some(-1),
        KeyCode::Down => Some(1),
        KeyCode::PageUp => Some(-10),
        KeyCode::PageDown => Some(10),
        _ => None,
    }
}

fn answer_key(answer: &mut Answer, key: KeyEvent, is_gone: bool) -> Option<Command> {
    let Some(verdict) = answer.verdict else {
        answer.verdict = match key.code {
            KeyCode::Char('a') => Some(Verdict::Allow),
            KeyCode::Char('d') => Some(Verdict::Deny),
            _ => None,
        };
        return None;
    };
    if key.code != KeyCode::Enter {
        answer.progress = Progress::Typing;
        edit(&mut answer.reason, key);
        return None;
    }
    let reason = answer.reason.trim().to_owned();
    if reason.is_empty() {
        answer.progress = Progress::Refused("an answer needs a reason: type why".to_owned());
        return None;
    }
    if is_gone {
        answer.progress = Progress::Refused("this question is no longer open".to_owned());
        return None;
    }
    answer.progress = Progress::Asked;
    let request = Request::Answer {
        id: answer.ask.id.clone(),
        verdict,
        with: None,
        reason,
        signed: None,
        only: Vec::new(),
        // What is on the screen, and nothing else.
        set: Some(answer.ask.set.clone()),
    };
    Some(Command::Act { session: answer.ask.session.clone(), act: Act::Control(request) })
}

fn kill_key(kill: &mut Kill, key: KeyEvent) -> Option<Command> {
    if key.code != KeyCode::Enter {
        kill.progress = Progress::Typing;
        edit(&mut kill.typed, key);
        return None;
    }
    let typed = kill.typed.trim();
    if typed != "y" && (typed.is_empty() || typed != kill.name) {
        kill.progress = Progress::Refused("type `y` or the session's name, or leave with esc".to_owned());
        return None;
    }
    kill.progress = Progress::Asked;
    let request = Request::Kill { reason: "by key in flyball watch".to_owned() };
    Some(Command::Act { session: kill.session.clone(), act: Act::Control(request) })
}

fn rollback_key(rollback: &mut Rollback, key: KeyEvent) -> Option<Command> {
    if key.code != KeyCode::Enter {
        rollback.progress = Progress::Typing;
        edit(&mut rollback.typed, key);
        return None;
    }
    if rollback.typed.trim() != "y" || rollback.undone.is_none() {
        rollback.progress = Progress::Refused("type `y`, or leave with esc".to_owned());
        return None;
    }
    rollback.progress = Progress::Asked;
    let act = Act::Rollback { seq: rollback.seq, reason: "by key in flyball watch".to_owned() };
    Some(Command::Act { session: rollback.session.clone(), act })
}
