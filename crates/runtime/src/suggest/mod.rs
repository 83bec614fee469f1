//! `suggest`: from what a session was refused and asked about, the smallest changes of the charter that would have let it
//! pass, each with what else it would let pass.
//!
//! INVARIANT: nothing is adopted, nor written. A change is shown only if the charter with it compiles, lets every attempt
//! pass that it is for, keeps all examples, stops nothing that passes today, and is no milder on the charter's, the
//! ledger's and credentials' protection.

mod protected;
pub(crate) mod rejudge;
mod shape;
mod trial;

use crate::read::{History, ReadError};
use crate::refusal;
use flyball_kernel::amend::Amendment;
use flyball_kernel::analysis::{Example, compare};
use flyball_kernel::{Charter, Diagnostics, Sources, Verdict};
use flyball_ledger::Ledger;
use protected::Protected;
use rejudge::{Record, Rulings};
use serde::Serialize;
use similar::TextDiff;
use std::collections::BTreeMap;
use std::sync::Arc;
use trial::{Bench, Found};

/// Sessions of the ledger, the latest ones, whose refusals are judged again.
const SESSIONS_MAX: usize = 50;

/// Inputs of other sessions that are judged again, over all of them.
const INPUTS_MAX: usize = 200_000;

/// Groups of refusals that changes are looked for.
const GROUPS_MAX: usize = 40;

/// Different resources of one group that changes are looked for one by one.
const APART_MAX: usize = 20;

/// Actions that show what a change lets pass.
const WIDENED_MAX: usize = 3;

/// Actions that are named as examples of many.
const SAMPLES_MAX: usize = 5;

/// How to look.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The charter to change; `None` is the session's own, as it was in force at its end. So it is as well where another was
    /// put in force during the session, unless this one was asked for by name.
    pub charter: Option<Sources>,
    /// Whether it was.
    pub is_named: bool,
    /// What stands before the files' names in a patch, such as `.flyball/`.
    pub folder: String,
    /// Whether rules may reach beyond what was seen: common folders, subcommands, domains.
    pub generalise: bool,
    /// Only these suggestions, by number, stand in the patch; none means all.
    pub only: Vec<usize>,
}

/// What a session's refusals suggest.
#[derive(Clone, Debug, Serialize)]
pub struct Suggestions {
    /// The session.
    pub session: String,
    /// The digest of the charter that the changes are of.
    pub charter: String,
    /// Whether that is another one than the session ran under.
    pub charter_changed: bool,
    /// The entry that put it in force during the session, where the workspace has another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopted: Option<u64>,
    /// Attempts that the charter in force refused at their time, and that this one does not let pass.
    pub refused: usize,
    /// Changes, each on its own.
    pub suggestions: Vec<Suggestion>,
    /// What no change is suggested for.
    pub not_suggested: Vec<NotSuggested>,
    /// Other sessions of the ledger that were judged again.
    pub sessions_compared: usize,
    /// All of the suggestions together as one unified diff, for `patch -p1` and `git apply`.
    pub patch: String,
    /// Suggestions that don't go together with those before them, and are not in the patch.
    pub not_in_patch: Vec<usize>,
}

/// A change, or several that only together do it.
#[derive(Clone, Debug, Serialize)]
pub struct Suggestion {
    /// Its number, from 1.
    pub number: usize,
    /// What was attempted, `fs.write`.
    pub verb: String,
    /// What stopped it.
    pub stopped_by: Vec<String>,
    /// `permit` (a new rule), `except` (an `unless` on the rule that stopped it), `list` (items added to a rule's list),
    /// `limit` (a number raised or lowered); several where one refusal hid another.
    pub kinds: Vec<&'static str>,
    /// The attempts that it lets pass, by entry.
    pub attempts: Vec<u64>,
    /// Some of them in words.
    pub samples: Vec<String>,
    /// What makes them pass without any change, where something does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub or: Option<String>,
    /// What else it lets pass that is refused or asked about today.
    pub also: Also,
    /// Actions that show what it lets pass of all that could be attempted, at most three, as `flyball test` takes them.
    pub widened: Vec<Example>,
    /// The example that goes into the charter with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
    /// The change as a unified diff.
    pub diff: String,
}

/// What else a change lets pass, of what was seen.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Also {
    /// How many other attempts of this session.
    pub here: usize,
    /// How many attempts of other sessions.
    pub elsewhere: usize,
    /// Some of them.
    pub samples: Vec<Seen>,
}

/// An attempt on record.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// The session.
    pub session: String,
    /// The attempt's entry.
    pub seq: u64,
    /// What was attempted, in words.
    pub action: String,
}

/// Refusals that nothing is suggested for.
#[derive(Clone, Debug, Serialize)]
pub struct NotSuggested {
    /// What was attempted, `fs.write`.
    pub verb: String,
    /// What stopped it.
    pub stopped_by: Vec<String>,
    /// The attempts, by entry.
    pub attempts: Vec<u64>,
    /// Some of them in words.
    pub samples: Vec<String>,
    /// Why nothing is suggested.
    pub why: String,
}

/// No suggestions can be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuggestError {
    /// The record can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The session's opening does not say what a session is made of.
    #[error("session {0} has no opening that says its workspace, agent and charter")]
    NoOpening(String),
    /// The charter to change does not compile.
    #[error("the charter to change does not compile")]
    Charter(Sources, Diagnostics),
}

/// Looks for the changes.
///
/// # Errors
/// [`SuggestError`] when the record or the charter can't be read.
pub fn suggest(ledger: &Ledger, session: &str, options: &Options) -> Result<Suggestions, SuggestError> {
    let history = History::read(ledger, session)?;
    let no_opening = || SuggestError::NoOpening(session.to_owned());
    let record = Record::of(&history).ok_or_else(no_opening)?;
    let last = record.charter().ok_or_else(no_opening)?;
    // Another charter may have been put in force than the workspace has.
    let is_adopted = last.seq.is_some() && !options.is_named;
    let own = options.charter.as_ref().filter(|_| !is_adopted).unwrap_or(&last.files);
    let adopted = last.seq.filter(|_| is_adopted && options.charter.as_ref() != Some(&last.files));
    let sources = own.clone();
    let (charter, _) = Charter::compile(&sources).map_err(|found| SuggestError::Charter(sources.clone(), found))?;
    let recorded = Charter::compile(&last.files).map(|(c, _)| c.digest().to_owned()).unwrap_or_default();
    let protected = Protected::new(&record.session, &ledger.dir().to_string_lossy());
    let bench = Bench::new(&record, sources, protected, options.generalise).ok_or_else(no_opening)?;
    let others = others(ledger, session, &bench)?;
    let mut out = Suggestions {
        session: session.to_owned(),
        charter: charter.digest().to_owned(),
        charter_changed: recorded != charter.digest(),
        adopted,
        refused: bench.refused.len(),
        suggestions: Vec::new(),
        not_suggested: Vec::new(),
        sessions_compared: others.len(),
        patch: String::new(),
        not_in_patch: Vec::new(),
    };
    let mut changes: Vec<(usize, Vec<Amendment>, Vec<u64>)> = Vec::new();
    let mut found_for: Vec<(Group, Found)> = Vec::new();
    for group in groups(&bench) {
        let mut not = |group: &Group, attempts: &[u64], why: String| {
            out.not_suggested.push(NotSuggested {
                verb: group.verb.clone(),
                stopped_by: group.rules.clone(),
                attempts: attempts.to_vec(),
                samples: samples(&record, attempts),
                why,
            });
        };
        if let Some(why) = &group.why_not {
            not(&group, &group.attempts, why.clone());
            continue;
        }
        for (attempts, found) in search(&bench, &group.attempts, session) {
            match found {
                Ok(found) => found_for.push((Group { attempts, ..group.clone() }, found)),
                Err(why) => not(&group, &attempts, why),
            }
        }
    }
    for (group, found) in found_for {
        let number = out.suggestions.len() + 1;
        let example =
            group.attempts.iter().filter_map(|of| record.actions.get(of)).find_map(|a| bench.exemplified(&found, a));
        let (mut all, mut sources) = (found.changes.clone(), found.sources.clone());
        let mut said = None;
        if let Some((change, with)) = example {
            if let Amendment::Example { attempt, .. } = &change {
                said = Some(attempt.clone());
            }
            all.push(change);
            sources = with;
        }
        let mut kinds = found.kinds.clone();
        kinds.dedup();
        out.suggestions.push(Suggestion {
            number,
            verb: group.verb.clone(),
            stopped_by: group.rules.clone(),
            kinds,
            attempts: group.attempts.clone(),
            samples: samples(&record, &group.attempts),
            or: group.needs.clone(),
            also: also(session, &bench, &group.attempts, &found.rulings, &found.charter, &others),
            widened: widened(&bench, &found.charter),
            example: said,
            diff: unified(&bench.sources, &sources, &options.folder),
        });
        if options.only.is_empty() || options.only.contains(&number) {
            changes.push((number, all, group.attempts));
        }
    }
    together(&bench, changes, options, &mut out);
    Ok(out)
}

/// The changes for attempts that the same rules stopped: for all at once, or, where that would take an exception or
/// nothing does it, for those together that the same kind of change lets pass.
fn search(bench: &Bench<'_>, attempts: &[u64], label: &str) -> Vec<(Vec<u64>, Result<Found, String>)> {
    let whole = bench.search(attempts, label);
    let mut by_resource: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for of in attempts {
        let id = bench.record.actions.get(of).map(|a| a.resource.id()).unwrap_or_default();
        by_resource.entry(id).or_default().push(*of);
    }
    let is_simple = whole.as_ref().is_ok_and(|found| !found.kinds.contains(&"except"));
    if is_simple || !(2..=APART_MAX).contains(&by_resource.len()) {
        return vec![(attempts.to_vec(), whole)];
    }
    let mut apart: BTreeMap<Result<Vec<&'static str>, String>, Vec<u64>> = BTreeMap::new();
    for one in by_resource.into_values() {
        apart.entry(bench.search(&one, label).map(|found| found.kinds)).or_default().extend(one);
    }
    if apart.len() == 1 && whole.is_ok() {
        return vec![(attempts.to_vec(), whole)];
    }
    let each = apart.into_iter().map(|(kinds, mut attempts)| {
        attempts.sort_unstable();
        let found = kinds.and_then(|_| bench.search(&attempts, label));
        (attempts, found)
    });
    each.collect()
}

/// Attempts of one verb that the same rules stopped.
#[derive(Clone)]
struct Group {
    verb: String,
    rules: Vec<String>,
    attempts: Vec<u64>,
    needs: Option<String>,
    why_not: Option<String>,
}

fn groups(bench: &Bench<'_>) -> Vec<Group> {
    let mut by: BTreeMap<(String, Vec<String>, Option<&'static str>), Group> = BTreeMap::new();
    for (of, ruling) in bench.rulings.iter().filter(|(of, _)| bench.refused.contains(of)) {
        let Some(action) = bench.record.actions.get(of) else { continue };
        let rules: Vec<String> = ruling.reasons.iter().map(|r| r.rule.to_string()).collect();
        let touched = bench.protected.touched_by(action);
        let verb = action.verb.name().to_owned();
        let group = by.entry((verb.clone(), rules.clone(), touched)).or_insert_with(|| Group {
            verb,
            rules,
            attempts: Vec::new(),
            needs: ruling.reasons.iter().filter(|r| r.rule != "no-rule-permits").find_map(|r| r.needs.clone()),
            why_not: touched.map(|what| format!("{what}, whose protection is never suggested away")),
        });
        group.attempts.push(*of);
    }
    let mut all: Vec<Group> = by.into_values().collect();
    all.sort_by_key(|g| g.attempts.first().copied());
    for (n, group) in all.iter_mut().enumerate() {
        if n >= GROUPS_MAX && group.why_not.is_none() {
            group.why_not = Some(format!("more than {GROUPS_MAX} kinds of refusals: take in the others first"));
        }
    }
    all
}

fn samples(record: &Record, attempts: &[u64]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for action in attempts.iter().filter_map(|of| record.actions.get(of)) {
        let said = say(record, action);
        if !out.contains(&said) {
            out.push(said);
        }
        if out.len() == SAMPLES_MAX {
            break;
        }
    }
    out
}

fn say(record: &Record, action: &flyball_kernel::Action) -> String {
    if action.resource.id().is_empty() {
        return format!("{} of what could not be read from a command yet", action.verb);
    }
    refusal::say(action).trim_end().replace(&format!("{}/", record.session.workspace), "")
}

/// Another session, and what the charter to change says of it.
struct Other {
    id: String,
    record: Record,
    rulings: Rulings,
}

fn others(ledger: &Ledger, session: &str, bench: &Bench<'_>) -> Result<Vec<Other>, SuggestError> {
    let mut streams = ledger.streams().map_err(ReadError::from)?;
    streams.sort_by_key(|s| std::cmp::Reverse(s.opened_at_ns));
    let mut out = Vec::new();
    let mut inputs = 0_usize;
    for stream in streams.into_iter().filter(|s| s.id != session && s.opened_at_ns.is_some()).take(SESSIONS_MAX) {
        inputs = inputs.saturating_add(usize::try_from(stream.last_seq).unwrap_or(usize::MAX));
        if inputs > INPUTS_MAX {
            break;
        }
        let Some(record) = Record::of(&History::read(ledger, &stream.id)?) else { continue };
        let rulings = record.judge(&bench.charter);
        out.push(Other { id: stream.id, record, rulings });
    }
    Ok(out)
}

fn also(
    session: &str,
    bench: &Bench<'_>,
    targets: &[u64],
    rulings: &Rulings,
    charter: &Arc<Charter>,
    others: &[Other],
) -> Also {
    let mut out = Also::default();
    let mut see = |id: &str, record: &Record, seq: u64| {
        if out.samples.len() < SAMPLES_MAX
            && let Some(action) = record.actions.get(&seq)
        {
            out.samples.push(Seen { session: id.to_owned(), seq, action: say(record, action) });
        }
    };
    let here: Vec<u64> = milder(&bench.rulings, rulings).filter(|of| !targets.contains(of)).collect();
    here.iter().for_each(|of| see(session, bench.record, *of));
    let mut elsewhere = 0;
    for other in others.iter().filter(|o| o.rulings.values().any(|r| r.verdict != Verdict::Allow)) {
        let now = other.record.judge(charter);
        for of in milder(&other.rulings, &now) {
            elsewhere += 1;
            see(&other.id, &other.record, of);
        }
    }
    out.here = here.len();
    out.elsewhere = elsewhere;
    out
}

/// Actions that only the changed charter lets pass, seen on record or not.
fn widened(bench: &Bench<'_>, changed: &Charter) -> Vec<Example> {
    let mut found = compare(&bench.charter, changed, &bench.record.session).widened;
    found.retain(|example| example.after == Verdict::Allow);
    found.truncate(WIDENED_MAX);
    found
}

/// Attempts that the second lets pass and the first does not.
fn milder<'r>(was: &'r Rulings, now: &'r Rulings) -> impl Iterator<Item = u64> + 'r {
    was.iter()
        .filter(|(of, r)| r.verdict != Verdict::Allow && now.get(of).is_some_and(|n| n.verdict == Verdict::Allow))
        .map(|(of, _)| *of)
}

/// One patch of the suggestions that go together.
fn together(bench: &Bench<'_>, all: Vec<(usize, Vec<Amendment>, Vec<u64>)>, options: &Options, out: &mut Suggestions) {
    let (mut changes, mut targets): (Vec<Amendment>, Vec<u64>) = Default::default();
    let mut sources = None;
    for (number, more, attempts) in all {
        let mut tried = changes.clone();
        // The second of two new rules of one name gets another.
        tried.extend(more.into_iter().map(|change| renamed(change, &changes)));
        let tried_targets: Vec<u64> = targets.iter().copied().chain(attempts).collect();
        match bench.together(&tried, &tried_targets) {
            Ok((with, _)) => (changes, targets, sources) = (tried, tried_targets, Some(with)),
            Err(_) => out.not_in_patch.push(number),
        }
    }
    out.patch = sources.map(|with| unified(&bench.sources, &with, &options.folder)).unwrap_or_default();
}

/// A new rule under a name that none of the others has.
fn renamed(change: Amendment, others: &[Amendment]) -> Amendment {
    let Amendment::Add { rule } = &change else { return change };
    let id = |rule: &str| rule.split('"').nth(1).unwrap_or_default().to_owned();
    let taken: Vec<String> =
        others.iter().filter_map(|c| if let Amendment::Add { rule } = c { Some(id(rule)) } else { None }).collect();
    let base = id(rule);
    let free =
        (1_u32..1000).map(|n| if n == 1 { base.clone() } else { format!("{base}.{n}") }).find(|id| !taken.contains(id));
    match free {
        Some(free) => Amendment::Add { rule: rule.replacen(&format!("\"{base}\""), &format!("\"{free}\""), 1) },
        None => change,
    }
}

/// The difference of two charters, file by file.
fn unified(before: &Sources, after: &Sources, folder: &str) -> String {
    let mut out = String::new();
    for (name, now) in after {
        let was = before.get(name).map(String::as_str).unwrap_or_default();
        if was != now {
            let from = if before.contains_key(name) { format!("a/{folder}{name}") } else { "/dev/null".to_owned() };
            let diff = TextDiff::from_lines(was, now);
            out.push_str(&diff.unified_diff().header(&from, &format!("b/{folder}{name}")).to_string());
        }
    }
    out
}
