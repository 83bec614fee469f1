//! `run`: governs a program, tells what has to be told while it runs, and asks what becomes of its changes.

use crate::apply::{not_taken, show_changes, take};
use crate::args::{Apply, OnHold, Run};
use crate::charter_dir::{self, FOLDER};
use crate::failure::{Failure, Kind, chain};
use crate::output::{Output, Style, visible, visible_lines};
use crate::place::Place;
use flyball_runtime::exports::live::{self, Live, Sent};
use flyball_runtime::{Home, Notice, PlanError, RunError, RunOptions, Summary, Watcher};
use flyball_sandbox::weakness_name;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// `flyball run -- CMD`.
pub fn run(out: Output, place: &Place, args: &Run) -> Result<u8, Failure> {
    check_learning(args)?;
    let home = place.home()?;
    if args.learn {
        out.warn(&format!("flyball: learning: {LEARNING}"));
    }
    let sending = args.otlp.as_ref().map(|url| Sending { url, ledger: home.dir(), live: Mutex::default() });
    let screen = Screen { out, command: place.command(), sending };
    let summary = flyball_runtime::run(&home, &options(args)?, &screen);
    screen.finish_sending();
    let summary = summary.map_err(|e| not_run(out, e))?;
    finished(out, &home, args.apply, args.learn, &summary)
}

/// Runs another program in the state of a recorded session.
pub fn fork(out: Output, place: &Place, options: &RunOptions) -> Result<u8, Failure> {
    let home = place.home()?;
    let screen = Screen { out, command: place.command(), sending: None };
    let summary = flyball_runtime::run(&home, options, &screen).map_err(|e| not_run(out, e))?;
    finished(out, &home, Apply::Ask, false, &summary)
}

/// What became of a run, and of its changes; gives the exit code.
fn finished(out: Output, home: &Home, apply: Apply, learn: bool, summary: &Summary) -> Result<u8, Failure> {
    let applied = at_the_end(out, home, apply, learn, summary);
    if out.is_json {
        out.json(summary);
    }
    applied?;
    Ok(exit_code(summary))
}

/// What a learning run is, in one line.
pub const LEARNING: &str = "files and programs are let through whatever the rules say, and recorded; what leaves the session is ruled on as ever";

/// What a learning run changed was never let through by the charter: it is looked at before it is taken.
pub fn check_learning(args: &Run) -> Result<(), Failure> {
    if args.learn && matches!(args.apply, Apply::Always | Apply::Contract) {
        return Err(Failure::user(
            "FB0533",
            "`--learn` lets through what the charter refuses, so that nothing of it is applied unseen",
        )
        .hint("leave `--apply` out; `flyball diff` and `flyball apply` do it later")
        .of(Kind::Usage));
    }
    Ok(())
}

/// The program's own code, or what ended it in its place.
fn exit_code(summary: &Summary) -> u8 {
    match summary.ended_by {
        "charter" => crate::failure::exit_code(Kind::Denied),
        "error" => crate::failure::exit_code(Kind::Internal),
        _ => u8::try_from(summary.exit).unwrap_or(u8::MAX),
    }
}

/// What a collector did not take, if so.
fn not_sent(url: &str, sent: &Sent) -> Option<String> {
    let Sent { spans, dropped, because } = sent;
    let because = because.as_ref().map(|because| format!(": {because}")).unwrap_or_default();
    (*dropped > 0).then(|| {
        format!(
            "flyball: {url} took {spans} spans and not {dropped}{because}; `flyball export --format otlp` writes all"
        )
    })
}

/// Where the spans of a session go that nobody sees: what was not taken is said on standard error all the same.
pub fn sending(url: String) -> live::Sending {
    let tell = |url: &str, sent: &Sent| {
        if let Some(said) = not_sent(url, sent) {
            let _ = writeln!(std::io::stderr().lock(), "{}", visible_lines(&said));
        }
    };
    live::Sending { url, tell }
}

/// What to run, and how.
pub fn options(args: &Run) -> Result<RunOptions, Failure> {
    let here =
        std::env::current_dir().map_err(|e| Failure::user("FB0512", format!("can't tell the current folder: {e}")))?;
    let workspace = match &args.workspace {
        Some(named) => named.clone(),
        // The repository is what is governed, also from a folder within it.
        None => here.ancestors().find(|d| d.join(FOLDER).is_dir()).map_or_else(|| here.clone(), PathBuf::from),
    };
    Ok(RunOptions {
        argv: args.argv.clone(),
        charter: args.charter.clone(),
        workspace,
        cwd: Some(here),
        name: args.name.clone(),
        on_hold: match args.on_hold {
            OnHold::Wait => flyball_runtime::OnHold::Wait,
            OnHold::Deny => flyball_runtime::OnHold::Deny,
        },
        learn: args.learn,
        accept_weaker: args.accept_weaker.clone(),
        allow_pty: true,
        hooks: !args.no_hooks,
        needs_contracts: args.apply == Apply::Contract,
        record: args.record,
        again: None,
        fork: None,
    })
}

/// Tells on standard error what happens, between the program's own lines.
struct Screen<'r> {
    out: Output,
    /// How Flyball is called for this ledger.
    command: String,
    sending: Option<Sending<'r>>,
}

/// Where the session's spans go.
struct Sending<'r> {
    url: &'r str,
    ledger: &'r Path,
    /// Once the session has begun.
    live: Mutex<Option<Live>>,
}

impl Screen<'_> {
    fn start_sending(&self, session: &str) {
        let Some(Sending { url, ledger, live }) = &self.sending else { return };
        match (Live::start(ledger, session, url), live.lock()) {
            (Ok(started), Ok(mut live)) => *live = Some(started),
            (Err(error), _) => self.say(&format!("flyball: nothing is sent to {url}: {error}")),
            (Ok(_), Err(_)) => {}
        }
    }

    /// Tells of what a collector did not take.
    fn finish_sending(&self) {
        let Some(Sending { url, live, .. }) = &self.sending else { return };
        let live = live.lock().ok().and_then(|mut live| live.take());
        if let Some(said) = live.and_then(|live| not_sent(url, &live.finish())) {
            self.say(&said);
        }
    }

    fn say(&self, text: &str) {
        // While the program has the terminal, it may be raw: a line end alone would not return to the left.
        let end = if std::io::stderr().is_terminal() { "\r\n" } else { "\n" };
        let text = text.lines().map(visible_lines).collect::<Vec<_>>().join(end);
        let _ = write!(std::io::stderr().lock(), "{text}{end}");
    }
}

impl Watcher for Screen<'_> {
    fn notice(&self, notice: Notice) {
        match notice {
            Notice::Started { session, name, uncovered, weaker } => {
                self.start_sending(&session);
                for layer in weaker {
                    self.say(&format!("flyball: without {}: {}", weakness_name(layer), layer.meaning()));
                }
                if !self.out.is_quiet {
                    let name = if name.is_empty() { String::new() } else { format!(" ({name})") };
                    let gaps = if uncovered.is_empty() {
                        String::new()
                    } else {
                        format!("; not covered: {}", uncovered.join("; "))
                    };
                    self.say(&format!("flyball: session {session}{name}{gaps}"));
                }
            }
            // The program reads the refusal itself, on its own standard error.
            Notice::Refused { .. } => {}
            Notice::PutBack { seq, path, .. } => {
                self.say(&format!("flyball: {path} was put back as it was (entry {seq}); `flyball why` says why"));
            }
            Notice::Asked(question) => {
                self.say(&flyball_runtime::asking::notice(&question, &self.command));
            }
            Notice::Answered { seq, verdict } => {
                let said =
                    serde_json::to_value(verdict).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
                self.say(&format!("flyball: entry {seq} was answered: {said}"));
            }
            Notice::Checking { contract, command } if !self.out.is_quiet => {
                self.say(&format!(
                    "flyball: contract {contract}: `{}` runs on what the session left",
                    command.join(" ")
                ));
            }
            Notice::Checking { .. } => {}
            Notice::Alert(text) => self.say(&format!("flyball: alert: {text}")),
        }
    }
}

/// Says how it went and what becomes of the changes.
fn at_the_end(out: Output, home: &Home, apply: Apply, learn: bool, summary: &Summary) -> Result<(), Failure> {
    let id = &summary.session;
    let counts = &summary.counts;
    if summary.ended_by != "program" || !out.is_quiet {
        let by = if summary.ended_by == "program" { String::new() } else { format!(", ended by {}", summary.ended_by) };
        out.warn(&format!(
            "flyball: session {id}{by}: {} actions, {} denied, {} asked about",
            counts.actions, counts.denied, counts.held
        ));
        if counts.denied > 0 {
            out.note(&format!("  what was denied and why: flyball log {id} --verdict deny, flyball why {id} SEQ"));
        }
    }
    for silent in summary.uncovered.iter().filter(|text| text.starts_with("hooks:")) {
        out.warn(&format!("flyball: not covered: {silent}"));
    }
    for owed in &summary.obligations {
        let of = if owed.bound.is_empty() { String::new() } else { format!(" ({})", visible(&owed.bound)) };
        let (name, since, owner) = (visible(&owed.obligation), owed.since, visible(&owed.owner));
        out.warn(&format!("flyball: not met at the end: {name}{of}, owed since entry {since}; its owner is {owner}"));
    }
    for line in crate::contracts::lines(&summary.contracts) {
        out.warn(&format!("flyball: {line}"));
    }
    if learn {
        out.note(&format!("  what a charter for this has to allow: flyball suggest {id}, or with --generalise"));
    }
    if summary.changes.is_empty() {
        out.note("  the workspace is unchanged");
        return Ok(());
    }
    let count = summary.changes.len();
    out.note(&format!("  {count} path{} changed, not yet in the real workspace:", if count == 1 { "" } else { "s" }));
    show_changes(out, summary);
    let wants = match apply {
        Apply::Always => true,
        Apply::Ask if learn => false,
        Apply::Ask => ask(out, "apply them?")?,
        Apply::Contract => !summary.contracts.is_empty() && summary.contracts.iter().all(|result| result.holds),
        Apply::Never => false,
    };
    if wants {
        // With --json the one object on standard output is the summary.
        return match out.is_json {
            true => flyball_runtime::apply(home, id, "").map(drop).map_err(|e| not_taken(&e)),
            false => take(out, home, id, ""),
        };
    }
    out.note(&format!("  flyball diff {id} 1 {}, flyball apply {id}, flyball discard {id}", summary.last_seq));
    Ok(())
}

/// Asks on the terminal; without one the answer is no.
fn ask(out: Output, question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    let mut to = std::io::stderr().lock();
    let _ = write!(to, "{} [y/N] ", out.paint_err(Style::Bold, question));
    let _ = to.flush();
    drop(to);
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|e| {
        Failure::user("FB0518", format!("can't read the answer: {e}")).hint("`flyball apply` does it later")
    })?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Why nothing ran.
pub fn not_run(out: Output, error: RunError) -> Failure {
    match error {
        RunError::Charter(error) => charter_dir::refused(out, error),
        RunError::Ledger(error) => error.into(),
        RunError::Home(error) => error.into(),
        RunError::Plan(error) => {
            let code = if matches!(error, PlanError::Workspace { .. }) { "FB0515" } else { "FB0525" };
            let hint = match &error {
                PlanError::Workspace { .. } => "name an existing folder of yours with `--workspace`",
                PlanError::NoCommand => "name the program after `--`",
                PlanError::NoHome => "set `HOME` to an existing folder",
                PlanError::Scratch(_) => "mend `[sandbox] scratch` in the charter",
                PlanError::Required(_) => "run without it, or ask the charter's owner",
                PlanError::Lacking(_) => "`flyball doctor` says what is missing and how to mend it",
            };
            let failure = Failure::user(code, chain(&error)).hint(hint);
            if matches!(error, PlanError::Required(_) | PlanError::Lacking(_)) {
                failure.of(Kind::Weaker)
            } else {
                failure
            }
        }
        RunError::Start(error) => {
            let is_weaker = error.weakness().is_some();
            let failure = Failure::user(error.code(), chain(&error)).hint(error.hint());
            if is_weaker { failure.of(Kind::Weaker) } else { failure }
        }
        RunError::Rerun(error) => Failure::user(error.code(), visible(&chain(&error))).hint(error.hint()),
        RunError::Coverage { .. } => not_covered(&error),
        RunError::NoContracts => Failure::user("FB0519", error.to_string())
            .hint("add a `[[contract]]` to the charter, or use `--apply ask`, `always` or `never`"),
        RunError::Http(why) => {
            Failure::user("FB0539", format!("HTTP can't be opened, which the charter wants: {}", visible(&why)))
                .hint("`flyball doctor` says what this machine trusts; or leave `[http] open` out")
        }
        RunError::Between(why) => Failure::user("FB0531", format!("the workspace is in between: {}", visible(&why)))
            .hint("a run would take half a change for the real tree: mend the cause first"),
        other => Failure::user("FB0526", visible(&chain(&other)))
            .hint("nothing ran ungoverned; `flyball doctor` may say more"),
    }
}

/// The charter requires more than a session of this kind would mediate.
pub fn not_covered(error: &RunError) -> Failure {
    Failure::user("FB0546", visible(&error.to_string()))
        .hint("`flyball check` shows what each kind of session enforces; nothing ran")
        .of(Kind::Weaker)
}
