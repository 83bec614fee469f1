//! `check` and `schema`: what a charter says, and what is wrong with it.

use crate::charter_dir;
use crate::coverage;
use crate::failure::{Failure, Kind};
use crate::output::{Cell, Output, Style, table, visible};
use crate::prove::{self, Proof};
use flyball_kernel::analysis::{Analysis, Reach, RuleCoverage, SURFACES, SessionCoverage, analyse};
use flyball_kernel::{
    Charter, Diagnostic, Diagnostics, FactBound, OWNER_QUESTIONS_MAX, OWNER_SMALL_QUESTIONS_MAX, Rule, RuleEffect,
    Severity, Sources, Tier,
};
use flyball_runtime::charter::CharterError;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What `check --json` prints. Each finding has `severity`, `code`, `file`, `span` (bytes), `line` and `column` (from 1, in
/// characters), `end`, `message`, `hint`, `related` (further places) and `request` (an action that shows it). After an error of
/// compilation only the findings are known.
#[derive(Serialize)]
struct Checked<'c> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    charter: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'c str>,
    dir: String,
    findings: &'c [Diagnostic],
    examples: usize,
    examples_held: usize,
    facts: Vec<FactBound>,
    rules: Vec<Checking<'c>>,
    tiers: Vec<CheckedTier<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<Proof>,
}

#[derive(Serialize)]
struct Checking<'c> {
    rule: &'c str,
    owner: &'c str,
    effect: &'static str,
    escalate: Option<&'c str>,
    source: &'c str,
    verbs: &'c [&'static str],
    surfaces: Vec<&'static str>,
    /// By surface: `each` action of its verbs, or as far as arguments and files `told`.
    reach: &'c BTreeMap<&'static str, Reach>,
    unmediated: &'c [&'static str],
    /// By kind of session what becomes of its verbs.
    coverage: Vec<coverage::OfKind<'c>>,
}

/// `flyball check`.
pub fn check(out: Output, named: Option<&Path>, is_proving: bool) -> Result<(), Failure> {
    let dir = charter_dir::locate(named)?;
    let (charter, warnings, sources) = match flyball_runtime::charter::load(&dir) {
        Ok(loaded) => loaded,
        Err(CharterError::Wrong { dir, diagnostics, .. }) if out.is_json => {
            out.json(&Checked {
                ok: false,
                charter: None,
                digest: None,
                dir: dir.display().to_string(),
                findings: &diagnostics.0,
                examples: 0,
                examples_held: 0,
                rules: Vec::new(),
                tiers: Vec::new(),
                facts: Vec::new(),
                proof: None,
            });
            let message = format!("the charter in `{}` does not compile: nothing can run under it", dir.display());
            return Err(Failure::user("FB0517", message).hint("`flyball explain CODE` says more about each finding"));
        }
        Err(error) => return Err(charter_dir::refused(out, error)),
    };
    let analysis = analyse(&charter, &sources);
    let kinds = coverage::of_kinds(&charter);
    let proof = is_proving.then(|| prove::prove(&charter));
    let mut findings = Diagnostics([warnings.0, analysis.findings.0.clone()].concat());
    findings.0.sort_by(|a, b| (&a.file, a.span, a.code).cmp(&(&b.file, b.span, b.code)));
    let errors = findings.0.iter().filter(|d| d.severity == Severity::Error).count();
    if out.is_json {
        out.json(&Checked {
            ok: errors == 0,
            charter: Some(charter.name()),
            digest: Some(charter.digest()),
            dir: dir.display().to_string(),
            findings: &findings.0,
            examples: analysis.examples,
            examples_held: analysis.examples_held,
            facts: charter.facts().map(|(_, bound)| bound).collect(),
            rules: checkings(&charter, &analysis, &kinds),
            tiers: checked_tiers(&charter),
            proof,
        });
        return holds(&dir, errors);
    }
    // What waits for a surface that is not built yet is no mistake of the charter's: a line each, and not at its place.
    let (waiting, findings): (Vec<Diagnostic>, Vec<Diagnostic>) =
        findings.0.into_iter().partition(|d| d.code == "FB0184");
    let findings = Diagnostics(findings);
    charter_dir::show(out, &dir, &sources, &findings);
    if !out.is_quiet {
        print(out, &charter, &analysis, &kinds, &dir);
        if let Some(proof) = &proof {
            prove::print(out, proof);
        }
        for finding in &waiting {
            out.line(&format!("{}: {}", out.paint(Style::Yellow, "not covered"), visible(&finding.message)));
        }
        let count = findings.0.len() - errors;
        if count > 0 {
            out.line(&out.paint(Style::Yellow, &format!("{count} warning{}", if count == 1 { "" } else { "s" })));
        }
    }
    holds(&dir, errors)
}

/// Whether it has none of the errors that its analysis may find.
fn holds(dir: &Path, errors: usize) -> Result<(), Failure> {
    let s = if errors == 1 { "" } else { "s" };
    match errors {
        0 => Ok(()),
        n => Err(Failure::user(
            "FB0507",
            format!("the charter in `{}` compiles, and does not hold: {n} error{s}", dir.display()),
        )
        .hint("mend what is shown; `flyball explain CODE` says more about each")),
    }
}

fn print(out: Output, charter: &Charter, analysis: &Analysis, kinds: &[SessionCoverage], dir: &Path) {
    out.line(&format!("{} ({})", out.paint(Style::Bold, charter.name()), dir.display()));
    out.line(&format!("digest  {}", charter.digest()));
    out.line("");
    let mut headings = vec!["RULE", "OWNER", "DOES"];
    headings.extend(SURFACES.iter().map(|surface| surface.name()));
    let of_kinds: Vec<String> = coverage::headings().collect();
    headings.extend(of_kinds.iter().map(String::as_str));
    let rows = charter.rules().iter().zip(&analysis.coverage).enumerate();
    let rows = rows.map(|(n, (rule, reach))| [row(rule, reach), coverage::cells(kinds, n)].concat());
    table(out, &headings, &rows.collect::<Vec<_>>());
    out.line(&out.paint(Style::Dim, coverage::LEGEND));
    coverage::gaps(out, kinds);
    out.line("");
    facts(out, charter);
    tiers(out, charter);
    match (analysis.examples, analysis.examples_held) {
        (0, _) => out.line("examples: none, so nothing shows that the rules say what was meant"),
        (all, held) => out.line(&format!("examples: {held} of {all} hold")),
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

/// Who is asked, for how long, and what then; and how many questions one owner gets at once.
fn tiers(out: Output, charter: &Charter) {
    if charter.escalations().is_empty() {
        return;
    }
    let row = |(name, tier): (&String, &Tier)| {
        vec![
            Cell::new(name.as_str()),
            Cell::new(tier.ask.join(", ")),
            Cell::new(format!("{} of {}", tier.quorum, tier.who.len())),
            Cell::new(crate::asks::duration(i64::try_from(tier.within_ns / 1_000_000_000).unwrap_or(i64::MAX))),
            Cell::new(tier.then.as_deref().unwrap_or("deny")),
        ]
    };
    table(
        out,
        &["TIER", "ASKS", "QUORUM", "WITHIN", "THEN"],
        &charter.escalations().iter().map(row).collect::<Vec<_>>(),
    );
    out.line(&out.paint(
        Style::Dim,
        &format!(
            "an owner has at most {OWNER_QUESTIONS_MAX} questions open in a session, {OWNER_SMALL_QUESTIONS_MAX} of them of low or \
             medium consequence; more are refused"
        ),
    ));
    out.line("");
}

/// A tier, for editors.
#[derive(Serialize)]
struct CheckedTier<'c> {
    tier: &'c str,
    ask: &'c [String],
    who: &'c [String],
    quorum: u32,
    within_ns: u64,
    then: Option<&'c str>,
    questions_max: usize,
    small_questions_max: usize,
}

fn checked_tiers(charter: &Charter) -> Vec<CheckedTier<'_>> {
    let mut out = Vec::new();
    for (name, tier) in charter.escalations() {
        out.push(CheckedTier {
            tier: name,
            ask: &tier.ask,
            who: &tier.who,
            quorum: tier.quorum,
            within_ns: tier.within_ns,
            then: tier.then.as_deref(),
            questions_max: OWNER_QUESTIONS_MAX,
            small_questions_max: OWNER_SMALL_QUESTIONS_MAX,
        });
    }
    out
}

fn bytes_text(bytes: usize) -> String {
    match bytes {
        0..=1023 => format!("{bytes}"),
        1024..=1_048_575 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}

fn row(rule: &Rule, coverage: &RuleCoverage) -> Vec<Cell> {
    let does = match (&rule.escalate, rule.effect) {
        (Some(path), _) => Cell::new(format!("ask {path}")).styled(Style::Yellow),
        (None, RuleEffect::Permit) => Cell::new("permit").styled(Style::Green),
        (None, RuleEffect::Forbid) => Cell::new("forbid").styled(Style::Red),
    };
    let mut cells = vec![Cell::new(&rule.id), Cell::new(&rule.owner), does];
    for surface in SURFACES {
        cells.push(Cell::new(match coverage.surfaces.get(surface.name()) {
            Some(Reach::Each) => "x",
            Some(Reach::Told) => "~",
            None => "·",
        }));
    }
    cells
}

fn checkings<'c>(charter: &'c Charter, analysis: &'c Analysis, kinds: &'c [SessionCoverage]) -> Vec<Checking<'c>> {
    let rows = charter.rules().iter().zip(&analysis.coverage).enumerate();
    rows.map(|(n, (rule, row))| checking(rule, row, coverage::of_rule(kinds, n))).collect()
}

fn checking<'c>(rule: &'c Rule, coverage: &'c RuleCoverage, of_kinds: Vec<coverage::OfKind<'c>>) -> Checking<'c> {
    Checking {
        rule: &rule.id,
        owner: &rule.owner,
        effect: if rule.effect == RuleEffect::Permit { "permit" } else { "forbid" },
        escalate: rule.escalate.as_deref(),
        source: &rule.source,
        verbs: &rule.verbs,
        surfaces: coverage.surfaces.keys().copied().collect(),
        reach: &coverage.surfaces,
        unmediated: &coverage.unmediated,
        coverage: of_kinds,
    }
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
