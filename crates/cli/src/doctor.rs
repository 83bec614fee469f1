//! `doctor`: what this machine can enforce.

use crate::failure::{Failure, Kind};
use crate::hook;
use crate::output::{Cell, Output, Style, table};
use crate::place::Place;
use flyball_gateway::hook::install::entries;
use flyball_intent::Harness;
use flyball_runtime::door::settings;
use flyball_sandbox::{Finding, weakness_name};
use serde_json::{Value, json};

/// `flyball doctor`. Exits with 102 when a run would refuse to start.
pub fn doctor(out: Output, place: &Place) -> Result<(), Failure> {
    let sessions = place.dir()?.join("sessions");
    let findings = flyball_sandbox::doctor(&sessions);
    let is_enough = findings.iter().all(|f| f.ok || !f.required);
    if out.is_json {
        let version = env!("CARGO_PKG_VERSION");
        out.json(&json!({"ok": is_enough, "version": version, "findings": findings, "hooks": hooks()}));
    } else {
        print(out, &findings);
        for found in hooks() {
            let text = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            out.line(&format!("hooks of {} in {}: {}", text("harness"), text("file"), text("state")));
        }
    }
    if is_enough { Ok(()) } else { Err(Failure::said(Kind::Weaker)) }
}

/// The harnesses that have hooks of Flyball's here, and whether those are called.
fn hooks() -> Vec<Value> {
    let mut found = Vec::new();
    for (harness, file) in hook::places() {
        let state = match settings::read(&file) {
            Ok(None) => continue,
            Ok(Some(bytes)) => match entries(harness, &bytes) {
                Ok(entries) if entries.is_empty() => continue,
                Ok(_) if harness == Harness::Codex && hook::untrusted(&file) > 0 => {
                    format!("not trusted, so not called: {}", hook::HOW_TO_TRUST)
                }
                Ok(_) => "installed".to_owned(),
                Err(error) => format!("can't be read: {error}"),
            },
            Err(error) => format!("can't be read: {error}"),
        };
        found.push(json!({"harness": harness.name(), "file": file, "state": state}));
    }
    found
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
