//! The part of `show` that says what a session has counted, owes and carries.

use crate::output::{Cell, Output, Style, table, visible};
use crate::sessions::short_time;
use flyball_kernel::{BudgetUse, EnvelopeUse};
use flyball_runtime::read::{Owed, RegistersView};

/// What fits a line each.
pub fn fields(out: Output, registers: &RegistersView, state: &str) {
    let field = |name: &str, value: &str| {
        out.line(&format!("  {}{}", out.paint(Style::Dim, &format!("{name:<11}")), visible(value)));
    };
    let autonomy = &registers.autonomy;
    if !autonomy.level.is_empty() {
        let since = autonomy.since.map(|seq| format!(" (entry {seq})")).unwrap_or_default();
        field("autonomy", &format!("{}, {}{since}", autonomy.level, autonomy.because));
    }
    // What stands in the first line already is not said again.
    if registers.as_of == "live" && registers.gate != "open" && registers.gate != state {
        field("gate", &registers.gate);
    }
    if !registers.labels.is_empty() {
        let labels = registers.labels.iter().map(|(label, seq)| format!("{label} since entry {seq}"));
        field("tainted", &labels.collect::<Vec<_>>().join(", "));
    }
    for load in &registers.asked {
        field("asked", &load_line(load));
    }
}

/// Budgets, envelopes and what is owed.
pub fn tables(out: Output, registers: &RegistersView) {
    let section = |headings: &[&str], rows: Vec<Vec<Cell>>| {
        if !rows.is_empty() {
            out.line("");
            table(out, headings, &rows);
        }
    };
    section(
        &["BUDGET", "COUNTED FOR", "SPENT", "RESERVED", "LIMIT", "WARNS AT"],
        registers.budgets.iter().map(budget).collect(),
    );
    section(
        &["ENVELOPE", "RESOURCE", "VALUE", "MIN", "MAX", "STEP", "CHANGES"],
        registers.envelopes.iter().map(envelope).collect(),
    );
    section(&["OWED", "FOR", "OWNER", "SINCE ENTRY", "UNTIL (UTC)"], registers.obligations.iter().map(owed).collect());
}

/// How near an owner is to the cap of open questions.
pub fn load_line(load: &flyball_kernel::OwnerLoad) -> String {
    let state = match load.open {
        n if n >= load.max => "; at the cap: new ones are refused".to_owned(),
        n if n >= load.small_max => {
            format!("; at {} those of low and medium consequence are refused", load.small_max)
        }
        _ => String::new(),
    };
    format!("{} has {} of {} open{state}", load.owner, load.open, load.max)
}

fn budget(used: &BudgetUse) -> Vec<Cell> {
    let number = |n: i64| Cell::new(n.to_string());
    let look = if used.used >= used.limit {
        Style::Red
    } else if used.warn_at.iter().any(|at| used.used >= *at) {
        Style::Yellow
    } else {
        Style::Plain
    };
    let scope = if used.agent.is_empty() { "session" } else { &used.agent };
    let warns = used.warn_at.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    vec![
        Cell::new(&used.budget),
        Cell::new(scope),
        number(used.used.saturating_sub(used.reserved)).styled(look),
        number(used.reserved),
        number(used.limit),
        Cell::new(warns),
    ]
}

fn envelope(stands: &EnvelopeUse) -> Vec<Cell> {
    let bound = |n: Option<i64>| Cell::new(n.map_or_else(|| "-".to_owned(), |n| n.to_string()));
    let of = if stands.resource.is_empty() {
        format!("{}, not set yet", stands.of)
    } else {
        format!("{} of {}", stands.of, stands.resource)
    };
    let window = stands.per_ns.map(|per| format!(" in {}", crate::asks::duration(seconds(per)))).unwrap_or_default();
    let changes = match stands.rate {
        Some(rate) => format!("{} of {rate}{window}", stands.changes),
        None => format!("{}{window}", stands.changes),
    };
    vec![
        Cell::new(&stands.envelope),
        Cell::new(of),
        bound(stands.value),
        bound(stands.min),
        bound(stands.max),
        bound(stands.step),
        Cell::new(changes),
    ]
}

fn seconds(ns: u64) -> i64 {
    i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX)
}

fn owed(owed: &Owed) -> Vec<Cell> {
    let until = match &owed.deadline {
        Some(deadline) => Cell::new(short_time(deadline)),
        None => Cell::new("NOT MET, not answered for").styled(Style::Red),
    };
    vec![
        Cell::new(&owed.obligation),
        Cell::new(&owed.bound),
        Cell::new(&owed.owner),
        Cell::new(owed.since.to_string()),
        until,
    ]
}
