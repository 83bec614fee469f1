//! The outcome as a page of the docs.

use crate::effects::{Effect, Ran, Told, Way};
use crate::scene::{self, End};
use serde_json::Value;
use std::fmt::Write as _;

pub struct Row<'w> {
    pub way: &'w Way,
    pub ran: End,
    pub told: End,
}

pub struct Outcome<'e> {
    pub effect: &'e Effect,
    pub rows: Vec<Row<'e>>,
    /// By hooks, and by gateways: what, and how it ended.
    pub calls: Vec<(String, End)>,
    pub tools: Vec<(String, End)>,
}

const HEAD: &str = "# The same effect, whichever way it is attempted

Written by `cargo test -p flyball --test sameness` from what happened there, under one charter
(`crates/cli/tests/sameness/charter`); the test fails when this page says something else. `FLYBALL_SAMENESS=write` writes it anew.

- **stopped**: refused, the rule of that effect named, and the effect is not there: looked at after each attempt.
- **unread**: a hook, with no sandbox beneath it, can't tell what the command does; refused by `unread-is-refused`, a rule of the
  charter's, and `stopped` where there is a sandbox.
- **closed**: the sandbox has no such way at all, whatever the rules say.
- **not mediated**: nothing brings it to the rule there, with why. It is a hole of that surface.

Under `sandbox` the command ran in `flyball run`, by system calls and by the broker (`[http] open`); under `hook` its text was told to
`flyball hook claude` as a call of `Bash`. `$URL` is a server outside, `docs/`, `locked/` and the like are the workspace's.

";

pub fn write(outcomes: &[Outcome<'_>]) -> String {
    let mut out = HEAD.to_owned();
    out +=
        "| effect | rule | sandbox | hook: `Bash` | other tools by hooks | tool servers |\n|---|---|---|---|---|---|\n";
    for Outcome { effect, rows, calls, tools } in outcomes {
        let counted = |ends: Vec<&str>| {
            let of = |state: &str| ends.iter().filter(|end| end.starts_with(state)).count();
            let others = ["unread", "closed", "**not mediated**"].map(|state| (of(state), state));
            let others = others.iter().filter(|(n, _)| *n > 0).map(|(n, state)| format!(", {n} {state}"));
            match ends.len() {
                0 => "not mediated".to_owned(),
                all => format!("{} of {all} stopped{}", of("stopped"), others.collect::<String>()),
            }
        };
        let plain = |ends: &[(String, End)]| ends.iter().map(|(_, state)| end(state, None)).collect::<Vec<_>>();
        let ran: Vec<String> = rows.iter().map(|row| ran_as(&row.ran, row.way)).collect();
        let told: Vec<String> = rows.iter().map(|row| end(&row.told, None)).collect();
        let (calls, tools) = (plain(calls), plain(tools));
        let count = |ends: &[String]| counted(ends.iter().map(String::as_str).collect());
        let _ = writeln!(
            out,
            "| {} | `{}` | {} | {} | {} | {} |",
            effect.title,
            effect.rule,
            count(&ran),
            count(&told),
            count(&calls),
            count(&tools),
        );
    }
    for outcome in outcomes {
        section(&mut out, outcome);
    }
    out
}

fn section(out: &mut String, Outcome { effect, rows, calls, tools }: &Outcome<'_>) {
    let capital: String = effect.title.chars().take(1).flat_map(char::to_uppercase).collect();
    let _ = writeln!(out, "\n## {capital}{}\n\n{}; rule `{}`.\n", &effect.title[1..], effect.verbs, effect.rule);
    if !rows.is_empty() {
        *out += "| command | sandbox | hook |\n|---|---|---|\n";
    }
    for Row { way, ran, told } in rows {
        let why = match way.hook {
            Told::Not(why) => Some(why),
            _ => None,
        };
        let _ = writeln!(out, "| {} | {} | {} |", code(&way.text), ran_as(ran, way), end(told, why));
    }
    let mut named = |title: &str, ends: &[(String, End)]| {
        if !ends.is_empty() {
            let said: Vec<String> = ends.iter().map(|(what, state)| format!("{what} {}", end(state, None))).collect();
            let _ = writeln!(out, "\n{title}: {}.", said.join("; "));
        }
    };
    named("By hooks", calls);
    named("By `flyball gateway mcp`", tools);
    for not in &effect.not_mediated {
        let _ = writeln!(out, "\n**Not mediated**: {not}.");
    }
}

fn ran_as(ran: &End, way: &Way) -> String {
    match way.ran {
        Ran::Closed(why) if *ran == End::Passed => format!("closed: {why}"),
        Ran::Not(why) => end(ran, Some(why)),
        _ => end(ran, None),
    }
}

fn end(end: &End, why: Option<&str>) -> String {
    match (end, why) {
        (End::Stopped, _) => "stopped".to_owned(),
        (End::Unread, _) => "unread".to_owned(),
        (End::Passed, Some(why)) => format!("**not mediated**: {why}"),
        (End::Passed, None) => "**not mediated**".to_owned(),
        (End::Happened | End::Other(_), _) => "**happened**".to_owned(),
    }
}

fn code(text: &str) -> String {
    let text = text.replace('\n', " ⏎ ").replace('|', "\\|");
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

/// A tool call in words.
pub fn call(whose: &str, tool: &str, input: &Value) -> String {
    let text = input.to_string().replace("@W/", "").replace('\n', "⏎");
    let short: String = text.chars().take(90).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{whose} `{tool}` `{short}{more}`")
}

/// Holds the page against the one in the repository, or writes it.
pub fn compare(page: &str) {
    let path = scene::page();
    if std::env::var_os("FLYBALL_SAMENESS").is_some_and(|how| how == "write") {
        std::fs::write(&path, page).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(kept.lines()).find(|(is, was)| is != was);
    assert!(
        page == kept,
        "docs/sameness.md says something else, such as {differs:?}: FLYBALL_SAMENESS=write writes it anew"
    );
}
