//! `doctor`: what this machine can enforce.

use crate::failure::{Failure, Kind};
use crate::output::{Cell, Output, Style, table};
use crate::place::Place;
use flyball_sandbox::{Finding, weakness_name};
use serde_json::json;

/// `flyball doctor`. Exits with 102 when a run would refuse to start.
pub fn doctor(out: Output, place: &Place) -> Result<(), Failure> {
    let sessions = place.dir()?.join("sessions");
    let findings = flyball_sandbox::doctor(&sessions);
    let is_enough = findings.iter().all(|f| f.ok || !f.required);
    if out.is_json {
        out.json(&json!({"ok": is_enough, "version": env!("CARGO_PKG_VERSION"), "findings": findings}));
    } else {
        print(out, &findings);
    }
    if is_enough { Ok(()) } else { Err(Failure::said(Kind::Weaker)) }
}

fn print(out: Output, findings: &[Finding]) {
    let rows: Vec<Vec<Cell>> = findings
        .iter()
        .map(|f| {
            let (state, style) = match (f.ok, f.required) {
                (true, _) => ("ok", Style::Green),
                (false, true) => ("missing", Style::Red),
                (false, false) => ("missing", Style::Yellow),
            };
            let required = if f.required { "required" } else { "optional" };
            vec![Cell::new(f.feature), Cell::new(state).styled(style), Cell::new(required), Cell::new(&f.found)]
        })
        .collect();
    table(out, &["WHAT", "STATE", "NEEDED", "FOUND"], &rows);
    for finding in findings.iter().filter(|f| !f.ok) {
        let accept = match finding.weakness {
            Some(weakness) if finding.required => {
                format!(", or run with `--accept-weaker {}`", weakness_name(weakness))
            }
            _ => String::new(),
        };
        out.line(&format!("{}: {}{accept}", out.paint(Style::Bold, finding.feature), finding.remedy));
    }
    let missing = findings.iter().filter(|f| f.required && !f.ok).count();
    match missing {
        0 => out.line(&out.paint(Style::Green, "this machine can enforce everything that a run needs")),
        n => out.line(&out.paint(Style::Red, &format!("a run refuses to start here: {n} required thing(s) missing"))),
    }
}
