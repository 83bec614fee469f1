//! `check` and `schema`: what a charter says, and what is wrong with it.

use crate::charter_dir;
use crate::failure::{Failure, Kind};
use crate::output::{Cell, Output, Style, table};
use flyball_kernel::{Charter, FactBound, Rule, RuleEffect, Severity, Sources};
use serde::Serialize;
use std::path::Path;

/// Surfaces that this version mediates, and the groups of verbs that come through each. What a command implies (a push,
/// a package added, a deploy) is read from its arguments when it is run.
const SURFACES: &[(&str, &[&str])] =
    &[("exec", &["process", "git", "pr", "deploy", "dependency"]), ("fs", &["fs"]), ("net", &["net"])];

#[derive(Serialize)]
struct Checked<'c> {
    ok: bool,
    charter: &'c str,
    digest: &'c str,
    dir: String,
    findings: &'c [flyball_kernel::Diagnostic],
    examples: usize,
    facts: Vec<FactBound>,
    rules: Vec<Coverage<'c>>,
}

#[derive(Serialize)]
struct Coverage<'c> {
    rule: &'c str,
    owner: &'c str,
    effect: &'static str,
    escalate: Option<&'c str>,
    source: &'c str,
    verbs: &'c [&'static str],
    surfaces: Vec<&'static str>,
}

/// `flyball check`.
pub fn check(out: Output, named: Option<&Path>) -> Result<(), Failure> {
    let dir = charter_dir::locate(named)?;
    let (charter, warnings, sources) = match charter_dir::load(out, &dir) {
        Ok(loaded) => loaded,
        Err(failure) => {
            if out.is_json {
                out.json(&serde_json::json!({"ok": false, "dir": dir.display().to_string()}));
            }
            return Err(failure);
        }
    };
    let rules: Vec<Coverage<'_>> = charter.rules().iter().map(coverage).collect();
    if out.is_json {
        out.json(&Checked {
            ok: true,
            charter: charter.name(),
            digest: charter.digest(),
            dir: dir.display().to_string(),
            findings: &warnings.0,
            examples: examples(&sources),
            facts: charter.facts().map(|(_, bound)| bound).collect(),
            rules,
        });
        return Ok(());
    }
    charter_dir::show(out, &dir, &sources, &warnings);
    if out.is_quiet {
        return Ok(());
    }
    print(out, &charter, &sources, &rules, &dir);
    let count = warnings.0.iter().filter(|d| d.severity == Severity::Warning).count();
    if count > 0 {
        out.line(&out.paint(Style::Yellow, &format!("{count} warning{}", if count == 1 { "" } else { "s" })));
    }
    Ok(())
}

fn print(out: Output, charter: &Charter, sources: &Sources, rules: &[Coverage<'_>], dir: &Path) {
    out.line(&format!("{} ({})", out.paint(Style::Bold, charter.name()), dir.display()));
    out.line(&format!("digest  {}", charter.digest()));
    out.line("");
    let mut headings = vec!["RULE", "OWNER", "DOES"];
    headings.extend(SURFACES.iter().map(|(name, _)| *name));
    let rows: Vec<Vec<Cell>> = rules.iter().map(row).collect();
    table(out, &headings, &rows);
    out.line("");
    facts(out, charter);
    let unreached: Vec<&str> = rules.iter().filter(|r| r.surfaces.is_empty()).map(|r| r.rule).collect();
    if !unreached.is_empty() {
        out.line(&format!(
            "{}: nothing that this version mediates can trigger {}",
            out.paint(Style::Yellow, "not covered"),
            unreached.join(", ")
        ));
    }
    match examples(sources) {
        0 => out.line("examples: none, so nothing shows that the rules say what was meant"),
        n => out.line(&format!("examples: {n} of {n} hold")),
    }
}

/// What each fact remembers at most, and why that is enough.
fn facts(out: Output, charter: &Charter) {
    let bounds: Vec<FactBound> = charter.facts().map(|(_, bound)| bound).collect();
    if bounds.is_empty() {
        return;
    }
    let row = |bound: &FactBound| {
        vec![
            Cell::new(bound.name.as_str()),
            Cell::new(bound.per),
            Cell::new(bound.records_max.to_string()),
            Cell::new(bytes_text(bound.bytes_max)),
            Cell::new(bound.keeps.join("; ")),
        ]
    };
    table(out, &["FACT", "PER", "RECORDS", "BYTES", "KEEPS"], &bounds.iter().map(row).collect::<Vec<_>>());
    out.line("");
}

fn bytes_text(bytes: usize) -> String {
    match bytes {
        0..=1023 => format!("{bytes}"),
        1024..=1_048_575 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}

fn row(rule: &Coverage<'_>) -> Vec<Cell> {
    let style = if rule.effect == "permit" { Style::Green } else { Style::Red };
    let does = match rule.escalate {
        Some(path) => Cell::new(format!("ask {path}")).styled(Style::Yellow),
        None => Cell::new(rule.effect).styled(style),
    };
    let mut cells = vec![Cell::new(rule.rule), Cell::new(rule.owner), does];
    for (surface, _) in SURFACES {
        cells.push(Cell::new(if rule.surfaces.contains(surface) { "x" } else { "·" }));
    }
    cells
}

fn coverage(rule: &Rule) -> Coverage<'_> {
    let groups: Vec<&str> = rule.verbs.iter().filter_map(|v| v.split('.').next()).collect();
    let surfaces =
        SURFACES.iter().filter(|(_, gives)| gives.iter().any(|g| groups.contains(g))).map(|(name, _)| *name).collect();
    Coverage {
        rule: &rule.id,
        owner: &rule.owner,
        effect: if rule.effect == RuleEffect::Permit { "permit" } else { "forbid" },
        escalate: rule.escalate.as_deref(),
        source: &rule.source,
        verbs: &rule.verbs,
        surfaces,
    }
}

/// A charter that compiled has only examples that hold: one that doesn't is an error of its compilation.
fn examples(sources: &Sources) -> usize {
    let text = sources.get("charter.toml").map(String::as_str).unwrap_or_default();
    text.lines().filter(|line| line.trim_start().starts_with("[[example]]")).count()
}

/// `flyball schema`.
pub fn schema(out: Output, named: Option<&Path>) -> Result<(), Failure> {
    let dir = match charter_dir::locate(named) {
        Ok(dir) => Some(dir),
        // Without a charter there is still the vocabulary.
        Err(_) if named.is_none() => None,
        Err(failure) => return Err(failure),
    };
    let text = match dir {
        Some(dir) => charter_dir::load(out, &dir)?.0.schema_cedar(),
        None => {
            let bare = Sources::from([("charter.toml".to_owned(), "[charter]\nname = \"none\"\n".to_owned())]);
            let (charter, _) = Charter::compile(&bare).map_err(|found| {
                Failure::internal(format!("the empty charter has findings: {found:?}")).of(Kind::Internal)
            })?;
            charter.schema_cedar()
        }
    };
    if out.is_json {
        out.json(&serde_json::json!({"schema": text}));
    } else {
        out.line(text.trim_end());
    }
    Ok(())
}
