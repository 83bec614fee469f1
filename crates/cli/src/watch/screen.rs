//! The terminal while it is ours: taken at the start, given back whatever ends the program.

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::crossterm::{cursor, execute};
use std::io::{Stdout, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the terminal is in our hands: giving it back twice would leave another program's screen.
static IS_OURS: AtomicBool = AtomicBool::new(false);

pub type Screen = Terminal<CrosstermBackend<Stdout>>;

/// Takes the terminal.
pub fn take() -> std::io::Result<Screen> {
    seize()?;
    Terminal::new(CrosstermBackend::new(stdout()))
}

/// Takes it again after it was given back.
pub fn seize() -> std::io::Result<()> {
    IS_OURS.store(true, Ordering::SeqCst);
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste, cursor::Hide)
}

/// Has all of it drawn at the next drawing. Not by `Terminal::clear`: that asks the terminal where its cursor is, and the
/// reply would go to the thread that reads keys.
pub fn draw_anew(screen: &mut Screen) -> std::io::Result<()> {
    let size = screen.size()?;
    screen.resize(ratatui::layout::Rect::new(0, 0, size.width, size.height))
}

/// Gives it back as it was.
pub fn give_back() {
    if IS_OURS.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs nothing back.
        let _ = execute!(stdout(), DisableBracketedPaste, LeaveAlternateScreen, cursor::Show);
        let _ = disable_raw_mode();
    }
}

/// Given back when dropped.
pub struct Taken;

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

/// From now on a panic in any thread gives the terminal back, is told on it, and ends the program.
pub fn give_back_on_panic() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        give_back();
        told(panic);
        std::process::exit(255);
    }));
}
