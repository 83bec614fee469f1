//! What a refused program reads: a few lines that teach.

use flyball_kernel::{Action, Reason, Surface};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The refusal's text: what, which rule and whose, why, what made it so, what would make it pass.
#[must_use]
pub fn text(session: &str, group: u64, because: &[(Action, Reason)]) -> String {
    told(session, group, because, None)
}

/// The same of what was written to a file, with what became of the file in place of what made it so.
#[must_use]
pub fn text_of_content(session: &str, group: u64, because: &[(Action, Reason)], became: &str) -> String {
    told(session, group, because, Some(became))
}

/// A program that meets one rule again and again, as `rm -r` does, is told of it in full once, then in one line each.
#[derive(Debug, Default)]
pub(crate) struct Told {
    last: Option<(i32, String, Instant)>,
}

/// Said so long ago, it is said in full again.
const TOLD_FOR: Duration = Duration::from_secs(10);

impl Told {
    /// The text for this process, in full or short.
    pub(crate) fn text(&mut self, pid: i32, session: &str, group: u64, because: &[(Action, Reason)]) -> String {
        let Some((action, reason)) = main(because) else { return text(session, group, because) };
        let said = format!("{}\n{}\n{:?}", reason.rule, reason.reason, reason.needs);
        let now = Instant::now();
        let is_repeated = self
            .last
            .as_ref()
            .is_some_and(|(last, words, at)| *last == pid && *words == said && now.duration_since(*at) < TOLD_FOR);
        if is_repeated {
            return format!("flyball: denied {} (entry {group}) by rule {}, as above\n", say(action), reason.rule);
        }
        self.last = Some((pid, said, now));
        text(session, group, because)
    }
}

/// What is told of: a person's word, or the first that says what would make it pass.
fn main(because: &[(Action, Reason)]) -> Option<&(Action, Reason)> {
    let answered = because.iter().find(|(_, reason)| reason.rule == ANSWERED);
    answered.or_else(|| because.iter().find(|(_, reason)| reason.needs.is_some())).or(because.first())
}

/// What the kernel calls a person's answer among the reasons.
const ANSWERED: &str = "answered";

/// The rules because of which people were asked who then refused.
fn asked_because(because: &[(Action, Reason)]) -> Option<String> {
    let is_answered = because.iter().any(|(_, reason)| reason.rule == ANSWERED);
    let others = because.iter().filter(|(_, reason)| reason.rule != ANSWERED);
    let rules: BTreeSet<String> = others.map(|(_, reason)| crate::asking::rule(reason)).collect();
    (is_answered && !rules.is_empty()).then(|| rules.into_iter().collect::<Vec<_>>().join(", "))
}

fn told(session: &str, group: u64, because: &[(Action, Reason)], became: Option<&str>) -> String {
    let Some((action, reason)) = main(because) else {
        return "flyball: denied, and no reason could be given\n".into();
    };
    let mut out = format!("flyball: denied {}", say(action));
    if group > 0 {
        out.push_str(&format!(" (entry {group})"));
    }
    out.push('\n');
    let owner = if reason.owner.is_empty() { String::new() } else { format!(" (owner {})", reason.owner) };
    out.push_str(&format!("  rule {}{owner}: {}\n", reason.rule, one_line(&reason.reason)));
    if let Some(rules) = asked_because(because) {
        out.push_str(&format!("  stopped by {}\n", one_line(&rules)));
    }
    if let Some(became) = became {
        out.push_str(&format!("  {}\n", one_line(became)));
    } else if !reason.witnesses.is_empty() {
        let entries = reason.witnesses.iter().take(8).map(u64::to_string).collect::<Vec<_>>().join(", ");
        out.push_str(&format!("  because of entries {entries}\n"));
    }
    if let Some(needs) = &reason.needs {
        out.push_str(&format!("  passes with: {}\n", one_line(needs)));
    }
    if group > 0 {
        out.push_str(&format!("  more: flyball why {session} {group}\n"));
    }
    out
}

/// An action in one line, for people.
#[must_use]
pub fn say(action: &Action) -> String {
    match action.attr("implied_by").and_then(|by| by.as_str()).filter(|_| action.surface == Surface::Mcp) {
        Some(by) => format!("{} (by {by})", say_effect(action)),
        None => say_effect(action),
    }
}

fn say_effect(action: &Action) -> String {
    let resource = &action.resource;
    let of = match action.verb.group() {
        "fs" => match action.attr("to").and_then(|v| v.as_str()) {
            Some(to) => format!("{} to {to}", resource.str("path")),
            None => format!("{}{}", resource.str("path"), say_content(action)),
        },
        "process" => {
            let argv = match resource.field("argv") {
                Some(flyball_kernel::Value::Strs(argv)) => argv.join(" "),
                _ => String::new(),
            };
            format!("{} {argv}", resource.str("program"))
        }
        "net" => match resource.field("port") {
            Some(flyball_kernel::Value::Long(port)) => format!("{}:{port}", resource.str("host")),
            _ => resource.str("host").to_owned(),
        },
        _ => resource
            .kind()
            .fields()
            .iter()
            .map(|f| resource.str(f.name))
            .filter(|s| !s.is_empty())
            .collect::<Vec<_>>()
            .join(" "),
    };
    one_line(&format!("{} {}", action.verb, of.trim()))
}

/// What a file says that was written: ` with secrets aws-access-key`.
fn say_content(action: &Action) -> String {
    if !action.is_content() {
        return String::new();
    }
    let mut parts = Vec::new();
    for name in ["secrets", "imports"] {
        if let Some(flyball_kernel::Value::Strs(found)) = action.attr(name) {
            let shown: Vec<&str> = found.iter().take(NAMES_MAX).map(String::as_str).collect();
            let more = if found.len() > shown.len() { ", …" } else { "" };
            parts.push(format!("{name} {}{more}", shown.join(", ")));
        }
    }
    if action.attr("ci") == Some(&flyball_kernel::Value::Bool(true)) {
        parts.push("a CI definition".to_owned());
    }
    if parts.is_empty() { " (its content)".to_owned() } else { format!(" with {}", parts.join(" and ")) }
}

/// Imports and secrets that are named in one line.
const NAMES_MAX: usize = 6;

/// Control characters could forge lines in the agent's or a person's terminal.
fn one_line(text: &str) -> String {
    let flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if flat.chars().count() <= 300 {
        return flat;
    }
    let mut short: String = flat.chars().take(299).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn one_rule_is_explained_once_to_a_process() {
        let action = |path: &str| -> Action {
            let json = serde_json::json!({"verb": "fs.delete", "resource": {"type": "File", "path": path}, "surface": "fs", "agent": "a"});
            serde_json::from_value(json).unwrap()
        };
        let reason = |rule: &str| -> Reason {
            serde_json::from_value(serde_json::json!({"rule": rule, "owner": "o", "reason": "Why.", "witnesses": []}))
                .unwrap()
        };
        let mut told = Told::default();
        let first = told.text(7, "s", 1, &[(action("/w/a"), reason("r"))]);
        assert!(first.contains("rule r (owner o): Why.") && first.contains("flyball why s 1"), "{first}");
        let second = told.text(7, "s", 5, &[(action("/w/b"), reason("r"))]);
        assert_eq!(second, "flyball: denied fs.delete /w/b (entry 5) by rule r, as above\n");
        for text in [
            told.text(8, "s", 9, &[(action("/w/b"), reason("r"))]),
            told.text(8, "s", 9, &[(action("/w/b"), reason("q"))]),
        ] {
            assert!(text.contains("Why."), "{text}");
        }
    }
}
