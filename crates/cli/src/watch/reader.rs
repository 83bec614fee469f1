//! Reading the record beside the screen: a thread that answers what the screen wants and says when something has changed.
//! It reads by increments: nothing here grows with how long a session is.

use super::model::{Board, Event, Want};
use crate::why;
use flyball_ledger::{Entry, Filter, Kind, Ledger, LedgerError};
use flyball_runtime::read::{self, ReadError};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often it is asked whether anything was committed: one small question to SQLite.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// How often the sessions are looked at though nothing was committed: a supervisor that dies says nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Entries that are read at once.
const PAGE_ENTRIES: u64 = 1_000;

/// Starts the reader. What it wants to say goes to `tell`; it ends when nobody wants anything any more.
pub fn start(dir: PathBuf, tell: impl Fn(Event) + Send + 'static) -> std::io::Result<Sender<Want>> {
    let (wants, wanted) = channel();
    let reader =
        Reader { dir, ledger: None, board: read::Board::default(), open: None, seen: None, tell: Box::new(tell) };
    std::thread::Builder::new().name("reader".into()).spawn(move || reader.run(&wanted))?;
    Ok(wants)
}

struct Reader {
    dir: PathBuf,
    /// `None` until there is one.
    ledger: Option<Ledger>,
    board: read::Board,
    open: Option<String>,
    seen: Option<(i64, Instant)>,
    tell: Box<dyn Fn(Event) + Send>,
}

impl Reader {
    fn run(mut self, wanted: &Receiver<Want>) {
        let mut next = None;
        loop {
            let result = match next.take() {
                Some(want) => self.answer(want),
                None => self.look(),
            };
            if let Err(error) = result {
                (self.tell)(Event::Unread(error.to_string()));
                // What is damaged is not asked about as fast as the machine can.
                std::thread::sleep(LOOK_EVERY);
            }
            match wanted.recv_timeout(LOOK_EVERY) {
                Ok(want) => next = Some(want),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn ledger(&mut self) -> Result<Option<Ledger>, ReadError> {
        if self.ledger.is_none() {
            self.ledger = match Ledger::open_read(&self.dir) {
                Ok(ledger) => Some(ledger),
                // The first session makes it.
                Err(LedgerError::Absent(_)) => None,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(self.ledger.clone())
    }

    fn look(&mut self) -> Result<(), ReadError> {
        let Some(ledger) = self.ledger()? else {
            if self.seen.is_none() {
                self.seen = Some((0, Instant::now()));
                (self.tell)(Event::Board(Board::default()));
            }
            return Ok(());
        };
        let version = ledger.data_version()?;
        if self.seen.is_some_and(|(seen, at)| seen == version && at.elapsed() < LOOK_AGAIN) {
            return Ok(());
        }
        self.board.refresh(&ledger)?;
        self.seen = Some((version, Instant::now()));
        let open = self.open.as_deref();
        (self.tell)(Event::Board(Board {
            sessions: self.board.lines(),
            asks: self.board.asks(&ledger)?,
            last: open.map_or(0, |id| self.board.last_seq(id)),
            registers: open.and_then(|id| self.board.registers(id)).cloned(),
        }));
        Ok(())
    }

    fn answer(&mut self, want: Want) -> Result<(), ReadError> {
        let Some(ledger) = self.ledger()? else { return Ok(()) };
        let event = match want {
            Want::Close => {
                self.open = None;
                return Ok(());
            }
            Want::Open(session) => {
                let opening = Box::new(whole(&ledger, ledger.entry(&session, 1)?)?);
                let last = ledger.heads()?.iter().find(|h| h.id == session).map_or(0, |h| h.last_seq);
                self.open = Some(session.clone());
                (self.tell)(Event::Opened { session, opening, last });
                self.seen = None;
                return self.look();
            }
            Want::Earlier { session, before } => {
                let from = before.saturating_sub(PAGE_ENTRIES).max(1);
                let entries = page(&ledger, &session, from, before.saturating_sub(1))?;
                Event::Earlier { session, before, from, entries }
            }
            Want::Newer { session, after } => {
                let entries = page(&ledger, &session, after + 1, after + PAGE_ENTRIES)?;
                Event::Newer { session, after, entries }
            }
            Want::Explain { session, seq } => {
                let lines = match read::why(&ledger, &session, seq) {
                    Ok(why) => why::lines(&|_, text| text.to_owned(), &why),
                    Err(error) => vec![error.to_string()],
                };
                Event::Explained { session, seq, lines }
            }
            Want::Undone { session, seq } => {
                let result = read::undone(&ledger, &session, seq).map_err(|e| e.to_string());
                Event::Undone { session, seq, result }
            }
        };
        (self.tell)(event);
        Ok(())
    }
}

fn page(ledger: &Ledger, session: &str, from: u64, to: u64) -> Result<Vec<Entry>, ReadError> {
    let mut out = Vec::new();
    for entry in ledger.entries(session, from..=to, Filter::default())? {
        let entry = entry?;
        // What was seen of the workspace can be long, and no row tells of it.
        out.push(if entry.kind == Kind::Observe { entry } else { whole(ledger, entry)? });
    }
    Ok(out)
}

fn whole(ledger: &Ledger, mut entry: Entry) -> Result<Entry, ReadError> {
    match ledger.body(&entry) {
        Ok(body) => entry.body = body,
        // An erased payload leaves its commitment, which is what there is to show.
        Err(LedgerError::NoBlob(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(entry)
}
