//! What the screen shows and what keys mean: a state, and one function that takes an event to what is to be done about it.
//! No clock, terminal or ledger here.

use super::dialog::{self, Dialog, Heard};
use flyball_kernel::Registers;
use flyball_ledger::Entry;
use flyball_runtime::control::Request;
use flyball_runtime::read::{Ask, Row, SessionLine, Show, State as Stands, Timeline, Undone};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The least that the screens are laid out for.
pub const COLUMNS_MIN: u16 = 80;
pub const ROWS_MIN: u16 = 24;
/// A followed session that is this many entries ahead is shown from its end, not read through.
const LAG_MAX: u64 = 20_000;
/// What a person can type into a field, characters.
pub const TYPED_MAX: usize = 400;

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A key.
    Key(KeyEvent),
    /// Text pasted as a whole; never keys.
    Paste(String),
    /// The terminal's columns and rows.
    Resize(u16, u16),
    /// The time now.
    Tick(u64),
    /// The sessions as they stand now.
    Board(Board),
    /// A session was opened to be read.
    Opened { session: String, opening: Box<Entry>, last: u64 },
    /// Entries before the window.
    Earlier { session: String, before: u64, from: u64, entries: Vec<Entry> },
    /// Entries after the window.
    Newer { session: String, after: u64, entries: Vec<Entry> },
    /// An entry explained, in lines.
    Explained { session: String, seq: u64, lines: Vec<String> },
    /// What a rollback would do.
    Undone { session: String, seq: u64, result: Result<Undone, String> },
    /// An act was done, or was not.
    Acted { act: Act, result: Result<String, String> },
    /// The record could not be read.
    Unread(String),
}

/// All sessions, and more of the one that is open.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// The latest first.
    pub sessions: Vec<SessionLine>,
    /// Open questions, the most urgent first.
    pub asks: Vec<Ask>,
    /// The open session's last entry.
    pub last: u64,
    /// The open session's registers.
    pub registers: Option<Registers>,
}

/// Something to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a handful at a time, each gone at once")]
pub enum Command {
    Quit,
    Suspend,
    /// The terminal may hold something else than was drawn: draw all.
    Redraw,
    Read(Want),
    Act {
        session: String,
        act: Act,
    },
}

/// Something to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    Open(String),
    Close,
    Earlier { session: String, before: u64 },
    Newer { session: String, after: u64 },
    Explain { session: String, seq: u64 },
    Undone { session: String, seq: u64 },
}

/// A person's act on a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Control(Request),
    Rollback { seq: u64, reason: String },
}

impl Act {
    /// What was done, in a word.
    pub fn done(&self) -> &'static str {
        match self {
            Act::Control(Request::Pause { .. }) => "paused",
            Act::Control(Request::Resume { .. }) => "resumed",
            Act::Control(Request::Kill { .. }) => "killed",
            Act::Control(Request::Answer { .. }) => "answered",
            Act::Control(_) => "done",
            Act::Rollback { .. } => "rolled back",
        }
    }
}

/// Everything that is shown.
#[derive(Debug)]
pub struct State {
    pub size: (u16, u16),
    pub now_ns: u64,
    pub is_utf8: bool,
    pub has_colour: bool,
    pub board: Board,
    pub is_loaded: bool,
    /// The session under the cursor of the list.
    pub cursor: Option<String>,
    pub session: Option<Session>,
    pub dialog: Option<Dialog>,
    pub help: bool,
    /// What became of the last act, until the next key.
    pub message: Option<String>,
    /// Whether the record can't be read, and why.
    pub unread: Option<String>,
    /// Opened as soon as the board is there.
    opens: Option<String>,
}

/// One session's screen.
#[derive(Debug)]
pub struct Session {
    pub id: String,
    pub timeline: Option<Timeline>,
    pub cursor: Option<u64>,
    pub follows: bool,
    pub show: Show,
    pub wanted: String,
    /// The search as it is typed.
    pub typing: Option<String>,
    pub why: Option<Why>,
    /// Which of its questions is shown.
    pub ask: usize,
    pub budgets: bool,
    pub last: u64,
    opening: Option<Box<Entry>>,
    earlier: Option<u64>,
    newer: Option<u64>,
}

/// An entry explained.
#[derive(Debug)]
pub struct Why {
    pub seq: u64,
    pub lines: Option<Vec<String>>,
    pub top: usize,
}

impl State {
    pub fn new(size: (u16, u16), now_ns: u64, opens: Option<String>) -> Self {
        Self {
            size,
            now_ns,
            is_utf8: true,
            has_colour: false,
            board: Board::default(),
            is_loaded: false,
            cursor: None,
            session: None,
            dialog: None,
            help: false,
            message: None,
            unread: None,
            opens,
        }
    }

    /// The sessions as listed: live ones first.
    pub fn listed(&self) -> Vec<&SessionLine> {
        let (live, over): (Vec<_>, Vec<_>) = self.board.sessions.iter().partition(|s| s.state.is_live());
        live.into_iter().chain(over).collect()
    }

    pub fn line(&self, id: &str) -> Option<&SessionLine> {
        self.board.sessions.iter().find(|s| s.id == id)
    }

    /// Open questions of one session.
    pub fn asks_of(&self, id: &str) -> Vec<&Ask> {
        self.board.asks.iter().filter(|a| a.session == id).collect()
    }

    /// Seconds until a time of the record.
    pub fn left_s(&self, deadline: &str) -> i64 {
        let Ok(at) = deadline.parse::<jiff::Timestamp>() else { return 0 };
        let left = at.as_nanosecond() - i128::from(self.now_ns);
        i64::try_from(left.div_euclid(1_000_000_000)).unwrap_or_default()
    }

    /// The session that keys act on.
    pub fn target(&self) -> Option<&SessionLine> {
        match &self.session {
            Some(session) => self.line(&session.id),
            None => self.cursor.as_deref().and_then(|id| self.line(id)),
        }
    }

    /// Rows of the timeline on the screen.
    fn page(&self) -> usize {
        usize::from(self.size.1).saturating_sub(8).max(4)
    }
}

/// Takes an event to what is to be done about it.
pub fn update(state: &mut State, event: Event) -> Vec<Command> {
    let mut commands = take(state, event);
    commands.extend(hunger(state));
    commands
}

fn take(state: &mut State, event: Event) -> Vec<Command> {
    match event {
        Event::Key(key) => return self::key(state, key),
        Event::Paste(text) => paste(state, &text),
        Event::Resize(columns, rows) => state.size = (columns, rows),
        Event::Tick(now_ns) => state.now_ns = now_ns,
        Event::Board(board) => return take_board(state, board),
        Event::Opened { session, opening, last } => {
            if let Some(open) = state.session.as_mut().filter(|s| s.id == session) {
                open.last = open.last.max(last);
                open.opening = Some(opening);
                open.restart();
            }
        }
        Event::Earlier { session, before, from, entries } => {
            if let Some(open) = state.session.as_mut().filter(|s| s.id == session) {
                open.earlier = None;
                if let Some(timeline) = open.timeline.as_mut().filter(|t| t.low() == before) {
                    timeline.take_earlier(from, &entries);
                }
            }
        }
        Event::Newer { session, after, entries } => {
            if let Some(open) = state.session.as_mut().filter(|s| s.id == session) {
                open.newer = None;
                if let Some(timeline) = open.timeline.as_mut().filter(|t| t.high() == after) {
                    timeline.take_newer(&entries);
                }
            }
        }
        Event::Explained { session, seq, lines } => {
            let why = state.session.as_mut().filter(|s| s.id == session).and_then(|s| s.why.as_mut());
            if let Some(why) = why.filter(|w| w.seq == seq) {
                why.lines = Some(lines);
            }
        }
        Event::Undone { session, seq, result } => {
            if let Some(Dialog::Rollback(rollback)) = &mut state.dialog
                && rollback.session == session
                && rollback.seq == seq
            {
                rollback.undone = Some(result);
            }
        }
        Event::Acted { act, result } => acted(state, &act, result),
        Event::Unread(why) => state.unread = Some(why),
    }
    Vec::new()
}

fn take_board(state: &mut State, board: Board) -> Vec<Command> {
    state.board = board;
    state.is_loaded = true;
    state.unread = None;
    let last = state.board.last;
    if let Some(open) = &mut state.session {
        open.last = open.last.max(last);
    }
    if state.cursor.as_deref().is_none_or(|id| state.line(id).is_none()) {
        state.cursor = state.listed().first().map(|s| s.id.clone());
    }
    match state.opens.take() {
        Some(id) => open(state, &id),
        None => Vec::new(),
    }
}

fn acted(state: &mut State, act: &Act, result: Result<String, String>) {
    let is_heard = match &mut state.dialog {
        Some(dialog) => dialog.heard(act, &result),
        None => Heard::NotMine,
    };
    match is_heard {
        // What went wrong stands in the dialog itself.
        Heard::Stays => {}
        Heard::Closes => {
            state.dialog = None;
            state.message = Some(said(act, result));
        }
        Heard::NotMine => state.message = Some(said(act, result)),
    }
}

fn said(act: &Act, result: Result<String, String>) -> String {
    match result {
        Ok(more) if more.is_empty() => act.done().to_owned(),
        Ok(more) => format!("{}: {more}", act.done()),
        Err(why) => format!("not {}: {why}", act.done()),
    }
}

/// What has to be read for what is shown now. Each is asked for once, and again when it has come.
fn hunger(state: &mut State) -> Vec<Command> {
    let page = state.page();
    let Some(open) = &mut state.session else { return Vec::new() };
    let Some(timeline) = &open.timeline else { return Vec::new() };
    let mut wants = Vec::new();
    let rows: Vec<u64> = timeline.rows().map(|r| r.seq).collect();
    let at = open.index(&rows);
    if open.earlier.is_none() && timeline.low() > 1 && at < page {
        open.earlier = Some(timeline.low());
        wants.push(Want::Earlier { session: open.id.clone(), before: timeline.low() });
    }
    let is_at_end = at + page >= rows.len();
    if open.newer.is_none() && timeline.high() < open.last && (open.follows || is_at_end || !timeline.is_full()) {
        if open.follows && open.last - timeline.high() > LAG_MAX {
            open.restart();
            return hunger(state);
        }
        open.newer = Some(timeline.high());
        wants.push(Want::Newer { session: open.id.clone(), after: timeline.high() });
    }
    wants.into_iter().map(Command::Read).collect()
}

impl Session {
    fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            timeline: None,
            cursor: None,
            follows: true,
            show: Show::All,
            wanted: String::new(),
            typing: None,
            why: None,
            ask: 0,
            budgets: false,
            last: 0,
            opening: None,
            earlier: None,
            newer: None,
        }
    }

    /// A new window at the end, under the filter as it is now.
    fn restart(&mut self) {
        let opening = self.opening.as_deref().cloned();
        self.timeline = Some(Timeline::new(&self.id, opening, self.last, self.show, &self.wanted));
        (self.earlier, self.newer) = (None, None);
    }

    /// Where the cursor stands among the rows: at the end while it follows.
    pub fn index(&self, rows: &[u64]) -> usize {
        let end = rows.len().saturating_sub(1);
        match self.cursor {
            Some(seq) if !self.follows => rows.partition_point(|r| *r < seq).min(end),
            _ => end,
        }
    }

    pub fn selected(&self) -> Option<&Row> {
        let timeline = self.timeline.as_ref()?;
        let rows: Vec<u64> = timeline.rows().map(|r| r.seq).collect();
        timeline.rows().nth(self.index(&rows))
    }

    fn go(&mut self, by: Go, page: usize) {
        let Some(timeline) = &self.timeline else { return };
        let rows: Vec<u64> = timeline.rows().map(|r| r.seq).collect();
        let at = by.from(self.index(&rows), rows.len(), page);
        self.cursor = rows.get(at).copied();
        // At the end one follows what comes; anywhere else one stays.
        self.follows = at + 1 >= rows.len() && timeline.high() >= self.last;
        match by {
            Go::End => {
                self.follows = true;
                if timeline.high() < self.last {
                    self.restart();
                }
            }
            Go::Home if timeline.low() > 1 => {
                let opening = self.opening.as_deref().cloned();
                self.timeline = Some(Timeline::new(&self.id, opening, 0, self.show, &self.wanted));
                (self.earlier, self.newer) = (None, None);
                self.cursor = Some(1);
            }
            _ => {}
        }
    }
}

/// A movement.
#[derive(Clone, Copy, Debug)]
pub enum Go {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

impl Go {
    fn of(key: KeyEvent) -> Option<Self> {
        let is_ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        Some(match key.code {
            KeyCode::Up => Go::Up,
            KeyCode::Down => Go::Down,
            KeyCode::PageUp => Go::PageUp,
            KeyCode::PageDown => Go::PageDown,
            KeyCode::Home => Go::Home,
            KeyCode::End => Go::End,
            KeyCode::Char('p') if is_ctrl => Go::Up,
            KeyCode::Char('n') if is_ctrl => Go::Down,
            KeyCode::Char('b' | 'u') if is_ctrl => Go::PageUp,
            KeyCode::Char('f' | 'd') if is_ctrl => Go::PageDown,
            _ if is_ctrl => return None,
            // `k` ends a session here: vi's other key for a line up is `-`.
            KeyCode::Char('-') => Go::Up,
            KeyCode::Char('j' | '+') => Go::Down,
            KeyCode::Char(' ') => Go::PageDown,
            KeyCode::Char('g') => Go::Home,
            KeyCode::Char('G') => Go::End,
            _ => return None,
        })
    }

    fn from(self, at: usize, length: usize, page: usize) -> usize {
        let end = length.saturating_sub(1);
        match self {
            Go::Up => at.saturating_sub(1),
            Go::Down => at + 1,
            Go::PageUp => at.saturating_sub(page),
            Go::PageDown => at + page,
            Go::Home => 0,
            Go::End => end,
        }
        .min(end)
    }
}

fn paste(state: &mut State, text: &str) {
    let field = match (&mut state.dialog, &mut state.session) {
        (Some(dialog), _) => dialog.field(),
        (None, Some(session)) => session.typing.as_mut(),
        _ => None,
    };
    if let Some(field) = field {
        let room = TYPED_MAX.saturating_sub(field.chars().count());
        field.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(room));
    }
}

fn key(state: &mut State, key: KeyEvent) -> Vec<Command> {
    let is_ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    if key.modifiers.contains(KeyModifiers::ALT) {
        // An escape and a key that came together are neither of them.
        return Vec::new();
    }
    match key.code {
        KeyCode::Char('c') if is_ctrl => return vec![Command::Quit],
        KeyCode::Char('z') if is_ctrl => return vec![Command::Suspend],
        KeyCode::Char('l') if is_ctrl => return vec![Command::Redraw],
        _ => {}
    }
    if state.size.0 < COLUMNS_MIN || state.size.1 < ROWS_MIN {
        // Nothing is shown that a key could be about.
        let quits = state.dialog.is_none() && key.code == KeyCode::Char('q');
        return if quits { vec![Command::Quit] } else { Vec::new() };
    }
    if state.dialog.is_some() {
        return dialog::key(state, key);
    }
    if state.help {
        state.help = false;
        return Vec::new();
    }
    if let Some(typing) = state.session.as_mut().filter(|s| s.typing.is_some()) {
        search(typing, key);
        return Vec::new();
    }
    state.message = None;
    match key.code {
        KeyCode::Char('q') if !is_ctrl => return vec![Command::Quit],
        KeyCode::Char('?') => state.help = true,
        KeyCode::Char(act @ ('p' | 'r' | 'k' | 'a')) if !is_ctrl => return act_on(state, act),
        _ if state.session.is_some() => return session_key(state, key),
        KeyCode::Enter | KeyCode::Right => {
            if let Some(id) = state.cursor.clone() {
                return open(state, &id);
            }
        }
        _ => {
            if let Some(go) = Go::of(key) {
                let ids: Vec<String> = state.listed().iter().map(|s| s.id.clone()).collect();
                let at = state.cursor.as_ref().and_then(|c| ids.iter().position(|id| id == c)).unwrap_or_default();
                state.cursor = ids.get(go.from(at, ids.len(), state.page())).cloned();
            }
        }
    }
    Vec::new()
}

fn open(state: &mut State, id: &str) -> Vec<Command> {
    state.cursor = Some(id.to_owned());
    state.session = Some(Session::new(id));
    vec![Command::Read(Want::Open(id.to_owned()))]
}

/// Keys that act on a session, from the list or from its screen.
fn act_on(state: &mut State, act: char) -> Vec<Command> {
    let Some(target) = state.target() else { return Vec::new() };
    let (session, is_live, stands) = (target.id.clone(), target.state.is_live(), target.state);
    if !is_live {
        state.message = Some(format!("session {session} is {}: there is nothing to act on", stands.name()));
        return Vec::new();
    }
    let reason = "by key in flyball watch".to_owned();
    match act {
        'p' | 'r' => {
            let is_paused = stands == Stands::Paused;
            if is_paused == (act == 'p') {
                state.message = Some(format!("session {session} is {}", stands.name()));
                return Vec::new();
            }
            let request = if act == 'p' { Request::Pause { reason } } else { Request::Resume { reason } };
            state.message = Some("asking the supervisor ..".to_owned());
            return vec![Command::Act { session, act: Act::Control(request) }];
        }
        'k' => state.dialog = Some(dialog::kill(target)),
        _ => {
            let at = state.session.as_ref().map(|s| s.ask).unwrap_or_default();
            let asks = state.asks_of(&session);
            match asks.get(at.min(asks.len().saturating_sub(1))) {
                Some(ask) => state.dialog = Some(dialog::answer(ask)),
                None => state.message = Some("there is no open question here".to_owned()),
            }
        }
    }
    Vec::new()
}

fn session_key(state: &mut State, key: KeyEvent) -> Vec<Command> {
    let page = state.page();
    let asks = state.session.as_ref().map(|s| state.asks_of(&s.id).len()).unwrap_or_default();
    let Some(open) = &mut state.session else { return Vec::new() };
    let is_back = matches!(key.code, KeyCode::Esc | KeyCode::Left | KeyCode::Backspace);
    if let Some(why) = &mut open.why {
        if is_back {
            open.why = None;
        } else if let Some(go) = Go::of(key) {
            let length = why.lines.as_ref().map_or(0, Vec::len);
            why.top = go.from(why.top, length, page);
        }
        return Vec::new();
    }
    if open.budgets {
        open.budgets = !(is_back || key.code == KeyCode::Char('b'));
        return Vec::new();
    }
    match key.code {
        _ if is_back && (!open.wanted.is_empty() || open.show != Show::All) => {
            (open.show, open.wanted, open.follows) = (Show::All, String::new(), true);
            open.restart();
        }
        _ if is_back => {
            state.session = None;
            return vec![Command::Read(Want::Close)];
        }
        KeyCode::Enter | KeyCode::Right => {
            if let Some(seq) = open.selected().map(|r| r.seq) {
                // What is looked at stays where it is while more comes.
                (open.cursor, open.follows) = (Some(seq), false);
                open.why = Some(Why { seq, lines: None, top: 0 });
                return vec![Command::Read(Want::Explain { session: open.id.clone(), seq })];
            }
        }
        KeyCode::Char('R') => {
            if let Some(seq) = open.selected().map(|r| r.seq) {
                (open.cursor, open.follows) = (Some(seq), false);
                let session = open.id.clone();
                state.dialog = Some(dialog::rollback(&session, seq));
                return vec![Command::Read(Want::Undone { session, seq })];
            }
        }
        KeyCode::Char('f') if !key.modifiers.contains(KeyModifiers::CONTROL) => {
            open.show = match open.show {
                Show::All => Show::Refused,
                Show::Refused => Show::Asked,
                Show::Asked => Show::All,
            };
            (open.cursor, open.follows) = (None, true);
            open.restart();
        }
        KeyCode::Char('F') => {
            if open.follows {
                (open.cursor, open.follows) = (open.selected().map(|r| r.seq), false);
            } else {
                open.go(Go::End, page);
            }
        }
        KeyCode::Char('/') => open.typing = Some(open.wanted.clone()),
        KeyCode::Char('b') if !key.modifiers.contains(KeyModifiers::CONTROL) => open.budgets = true,
        KeyCode::Tab if asks > 0 => open.ask = (open.ask + 1) % asks,
        _ => {
            if let Some(go) = Go::of(key) {
                open.go(go, page);
            }
        }
    }
    Vec::new()
}

fn search(open: &mut Session, key: KeyEvent) {
    let Some(typing) = &mut open.typing else { return };
    match key.code {
        KeyCode::Enter => {
            open.wanted = std::mem::take(typing);
            open.typing = None;
            (open.cursor, open.follows) = (None, true);
            open.restart();
        }
        KeyCode::Esc => open.typing = None,
        _ => edit(typing, key),
    }
}

/// A key in a field that is typed into.
pub fn edit(field: &mut String, key: KeyEvent) {
    let is_ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('u') if is_ctrl => field.clear(),
        KeyCode::Char(c) if !is_ctrl && !c.is_control() && field.chars().count() < TYPED_MAX => field.push(c),
        KeyCode::Backspace => drop(field.pop()),
        _ => {}
    }
}
