//! `watch`: sessions, their actions and their questions on a terminal, as they happen, and keys to act on them.
//!
//! [`model`] is what is shown and what keys mean, [`draw`] how it looks, both pure; [`reader`] reads the record beside it;
//! [`screen`] takes the terminal and gives it back; [`text`] is the only way of an agent's words onto it. The loop here
//! brings these together. Acts go the way that `flyball answer`, `pause` and the others go: to the supervisor's socket,
//! which knows by itself who asks.

mod dialog;
mod draw;
mod model;
mod reader;
mod screen;
mod text;

use crate::failure::{Failure, Kind};
use crate::output::Output;
use crate::place::Place;
use flyball_runtime::control::send;
use flyball_runtime::{Home, rollback};
use model::{Act, Command, Event, State, Want, update};
use ratatui::crossterm::event::{Event as Typed, KeyEventKind, read};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What comes from outside, from any thread.
enum Input {
    Event(Box<Event>),
    Signal(i32),
    /// The terminal is gone.
    Gone,
}

/// Inputs that are taken before the screen is drawn again.
const INPUTS_AT_ONCE: usize = 256;
/// How often the clock on the screen goes on.
const TICK: Duration = Duration::from_secs(1);

/// `flyball watch [S]`.
pub fn watch(out: Output, place: &Place, wanted: Option<&str>) -> Result<(), Failure> {
    can_watch(out)?;
    let dir = place.dir()?;
    let session = match wanted {
        Some(wanted) => Some(place.session(wanted)?.1),
        None => None,
    };
    let fail = |e: std::io::Error| Failure::user("FB0540", format!("the terminal can't be used: {e}"));
    let (inputs, incoming) = channel();
    let told = inputs.clone();
    // The reader begins before the terminal is taken: its first look is the first screen.
    let wants =
        reader::start(dir.clone(), move |event| drop(told.send(Input::Event(Box::new(event))))).map_err(fail)?;
    screen::give_back_on_panic();
    let taken = screen::Taken;
    let mut screen = screen::take().map_err(fail)?;
    signals(inputs.clone()).map_err(fail)?;
    keys(inputs.clone()).map_err(fail)?;
    let size = screen.size().map_err(fail)?;
    let mut state = State::new((size.width, size.height), now_ns(), session);
    state.is_utf8 = is_utf8();
    state.has_colour = out.has_colour();
    let ended = follow(&mut state, &mut screen, &Outside { dir: &dir, wants, inputs }, &incoming);
    drop(screen);
    drop(taken);
    match ended.map_err(fail)? {
        Ended::Quit => Ok(()),
        Ended::Signal(signal) => {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            Ok(())
        }
    }
}

enum Ended {
    Quit,
    Signal(i32),
}

/// What the loop hands work to.
struct Outside<'a> {
    dir: &'a Path,
    wants: Sender<Want>,
    inputs: Sender<Input>,
}

fn follow(
    state: &mut State,
    screen: &mut screen::Screen,
    outside: &Outside<'_>,
    incoming: &Receiver<Input>,
) -> std::io::Result<Ended> {
    loop {
        screen.draw(|frame| draw::draw(state, frame.buffer_mut()))?;
        let first = match incoming.recv_timeout(TICK) {
            Ok(input) => Some(input),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(Ended::Quit),
        };
        let rest = incoming.try_iter().take(INPUTS_AT_ONCE);
        let tick = Input::Event(Box::new(Event::Tick(now_ns())));
        for input in std::iter::once(tick).chain(first).chain(rest) {
            let commands = match input {
                Input::Event(event) => update(state, *event),
                Input::Signal(SIGCONT) => vec![Command::Redraw],
                Input::Signal(SIGTSTP) => vec![Command::Suspend],
                Input::Signal(signal) => return Ok(Ended::Signal(signal)),
                Input::Gone => return Ok(Ended::Quit),
            };
            for command in commands {
                match command {
                    Command::Quit => return Ok(Ended::Quit),
                    Command::Suspend => suspend(screen)?,
                    Command::Redraw => screen::draw_anew(screen)?,
                    Command::Read(want) => drop(outside.wants.send(want)),
                    Command::Act { session, act } => outside.act(session, act),
                }
            }
        }
    }
}

impl Outside<'_> {
    /// Acts beside the screen: a supervisor may take its time.
    fn act(&self, session: String, act: Act) {
        let (dir, inputs) = (self.dir.to_path_buf(), self.inputs.clone());
        let refused = act.clone();
        let done = move || {
            let result = carry_out(&dir, &session, &act);
            let _ = inputs.send(Input::Event(Box::new(Event::Acted { act, result })));
        };
        if let Err(error) = std::thread::Builder::new().name("act".into()).spawn(done) {
            let event = Event::Acted { act: refused, result: Err(error.to_string()) };
            let _ = self.inputs.send(Input::Event(Box::new(event)));
        }
    }
}

/// Gives what there is to say of it.
fn carry_out(dir: &Path, session: &str, act: &Act) -> Result<String, String> {
    let home = Home::open(dir).map_err(|e| e.to_string())?;
    match act {
        Act::Control(request) => send(&home, session, request).map(|reply| reply.message).map_err(|e| e.to_string()),
        Act::Rollback { seq, reason } => {
            let recorded = rollback(&home, session, *seq, reason).map_err(|e| e.to_string())?;
            Ok(format!("to entry {seq}; it stands in entry {recorded}"))
        }
    }
}

/// The shell has the terminal until it lets us go on.
fn suspend(screen: &mut screen::Screen) -> std::io::Result<()> {
    screen::give_back();
    let _ = signal_hook::low_level::emulate_default_handler(SIGTSTP);
    screen::seize()?;
    screen::draw_anew(screen)
}

fn keys(inputs: Sender<Input>) -> std::io::Result<()> {
    let pump = move || {
        loop {
            let input = match read() {
                Ok(Typed::Key(key)) if key.kind == KeyEventKind::Release => continue,
                Ok(Typed::Key(key)) => Input::Event(Box::new(Event::Key(key))),
                Ok(Typed::Paste(text)) => Input::Event(Box::new(Event::Paste(text))),
                Ok(Typed::Resize(columns, rows)) => Input::Event(Box::new(Event::Resize(columns, rows))),
                Ok(_) => continue,
                Err(_) => Input::Gone,
            };
            let is_gone = matches!(input, Input::Gone);
            if inputs.send(input).is_err() || is_gone {
                return;
            }
        }
    };
    std::thread::Builder::new().name("keys".into()).spawn(pump).map(drop)
}

fn signals(inputs: Sender<Input>) -> std::io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGCONT])?;
    let pump = move || signals.forever().all(|signal| inputs.send(Input::Signal(signal)).is_ok());
    std::thread::Builder::new().name("signals".into()).spawn(pump).map(drop)
}

/// Why nothing can be watched here, if so.
fn can_watch(out: Output) -> Result<(), Failure> {
    if out.is_json {
        return Err(Failure::user("FB0541", "`watch` draws on a terminal and has no JSON").of(Kind::Usage).hint(
            "`flyball log S --follow --json` prints a session's entries as they come; `flyball ps --json` the sessions",
        ));
    }
    let hint = "`flyball ps`, `asks` and `log S --follow` tell the same without a terminal";
    if !out.is_terminal() || !rustix::termios::isatty(std::io::stdin()) {
        return Err(Failure::user("FB0540", "`watch` needs a terminal: its input or output is none").hint(hint));
    }
    match std::env::var("TERM").unwrap_or_default().as_str() {
        term @ ("" | "dumb") => {
            Err(Failure::user("FB0540", format!("`watch` needs a terminal that can move its cursor: TERM is `{term}`"))
                .hint(format!("set TERM to what your terminal is (`xterm`, `vt100`, …); or {hint}")))
        }
        _ => Ok(()),
    }
}

/// What the locale says of the terminal.
fn is_utf8() -> bool {
    let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
