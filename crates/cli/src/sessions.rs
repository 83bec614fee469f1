//! `ps` and `show`.

use crate::failure::Failure;
use crate::output::{Cell, Output, Style, table, visible};
use crate::place::Place;
use flyball_ledger::LedgerError;
use flyball_runtime::read::{self, SessionView, State};

/// The time of day within a year is enough in lists: `2026-11-21 03:10:09`.
pub fn short_time(at: &str) -> String {
    at.get(..19).unwrap_or(at).replace('T', " ")
}

fn style_of(state: State) -> Style {
    match state {
        State::Running => Style::Green,
        State::Paused | State::Waiting => Style::Yellow,
        State::Dead => Style::Red,
        State::Ended => Style::Plain,
    }
}

/// `flyball ps`.
pub fn ps(out: Output, place: &Place) -> Result<(), Failure> {
    let ledger = match flyball_ledger::Ledger::open_read(&place.dir()?) {
        Ok(ledger) => ledger,
        Err(error @ LedgerError::Absent(_)) => {
            out.note(&format!("no sessions: {error}"));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let sessions = read::sessions(&ledger)?;
    if out.is_json {
        sessions.iter().for_each(|s| out.json(s));
        return Ok(());
    }
    let rows: Vec<Vec<Cell>> = sessions
        .iter()
        .map(|s| {
            let state = if s.quarantined && s.state != State::Ended { "quarantined" } else { s.state.name() };
            vec![
                Cell::new(&s.id),
                Cell::new(&s.name),
                Cell::new(&s.agent),
                Cell::new(state).styled(style_of(s.state)),
                Cell::new(s.counts.actions.to_string()),
                Cell::new(s.questions.to_string()).styled(if s.questions > 0 { Style::Yellow } else { Style::Plain }),
                Cell::new(short_time(&s.since)),
                Cell::new(&s.workspace),
            ]
        })
        .collect();
    if rows.is_empty() {
        out.note("no sessions yet: `flyball run -- CMD` begins one");
    } else {
        table(out, &["ID", "NAME", "AGENT", "STATE", "ACTIONS", "ASKS", "SINCE (UTC)", "WORKSPACE"], &rows);
    }
    Ok(())
}

/// `flyball show S`.
pub fn show(out: Output, place: &Place, wanted: &str) -> Result<(), Failure> {
    let (ledger, id) = place.session(wanted)?;
    let view = read::show(&ledger, &id)?;
    if out.is_json {
        out.json(&view);
    } else {
        print(out, &view);
    }
    Ok(())
}

fn print(out: Output, view: &SessionView) {
    let line = &view.line;
    let state = out.paint(style_of(line.state), line.state.name());
    out.line(&format!("{}  {}  {state}", out.paint(Style::Bold, &line.id), visible(&line.name)));
    let field = |name: &str, value: &str| {
        if !value.is_empty() {
            out.line(&format!("  {}{}", out.paint(Style::Dim, &format!("{name:<11}")), visible(value)));
        }
    };
    field("command", &view.argv.join(" "));
    field("agent", &line.agent);
    field("workspace", &line.workspace);
    if view.cwd != line.workspace {
        field("started in", &view.cwd);
    }
    field("since", &short_time(&line.since));
    field("charter", &view.charter);
    field("weaker", &view.weaker.join(", "));
    field("uncovered", &view.uncovered.join("; "));
    if view.learning {
        field("learning", crate::run::LEARNING);
    }
    let n = |count: u64, word: &str| format!("{count} {word}");
    field(
        "actions",
        &format!(
            "{}: {}, {}, {}",
            line.counts.actions,
            n(line.counts.allowed, "allowed"),
            n(line.counts.denied, "denied"),
            n(line.counts.held, "asked about")
        ),
    );
    if line.questions > 0 {
        field(
            "waiting",
            &format!("for {} answer{}: flyball asks", line.questions, if line.questions == 1 { "" } else { "s" }),
        );
    }
    match &view.registers {
        Some(registers) => crate::registers::fields(out, registers, line.state.name()),
        None if line.state.is_live() => field("registers", "its supervisor does not say"),
        None => field("registers", "not on record"),
    }
    let s = if view.changed_files == 1 { "" } else { "s" };
    field("changed", &format!("{} path{s}: flyball at {} {}", view.changed_files, line.id, view.entries));
    if let Some(close) = &view.close {
        let exit = close.exit.map(|n| format!(", exit {n}")).unwrap_or_default();
        let how = if close.recovered { " (its supervisor died; a later start closed it)" } else { "" };
        field("ended", &format!("{} by {}{exit}{how}", short_time(&close.at), close.ended_by));
    }
    match &view.replay {
        Some(levels) => crate::replay::levels(out, levels),
        None => field("replay", &format!("a long record: flyball replay {} says its level", line.id)),
    }
    if let Some(registers) = &view.registers {
        crate::registers::tables(out, registers);
    }
    crate::contracts::lines(&view.contracts).iter().for_each(|line| out.line(line));
    if let Some(coverage) = &view.coverage {
        crate::coverage::session(out, coverage);
    }
    if !view.refusals.is_empty() {
        out.line("");
        let rows: Vec<Vec<Cell>> = view
            .refusals
            .iter()
            .map(|r| {
                vec![
                    Cell::new(&r.rule).styled(Style::Red),
                    Cell::new(r.count.to_string()),
                    Cell::new(format!("flyball why {} {}", line.id, r.last)),
                ]
            })
            .collect();
        table(out, &["REFUSED BY", "TIMES", "WHY (THE LAST)"], &rows);
    }
    if !view.interventions.is_empty() {
        out.line("");
        let rows: Vec<Vec<Cell>> = view
            .interventions
            .iter()
            .map(|a| {
                let act = a.to.map_or_else(|| a.act.clone(), |to| format!("{} to {to}", a.act));
                let act = a.phase.as_ref().map_or(act.clone(), |phase| format!("{act} ({phase})"));
                vec![Cell::new(a.seq.to_string()), Cell::new(act), Cell::new(&a.by), Cell::new(&a.reason)]
            })
            .collect();
        table(out, &["ENTRY", "INTERVENTION", "BY", "REASON"], &rows);
    }
    for alert in &view.alerts {
        out.line(&format!("{} {}", out.paint(Style::Red, "alert"), visible(alert)));
    }
}
