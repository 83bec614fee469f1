//! `diff A B`: what one charter lets pass that another does not.

mod proving;

use crate::charter_dir;
use crate::failure::{Failure, Kind};
use crate::output::{Output, Style, visible};
use flyball_kernel::Verdict;
use flyball_kernel::analysis::{self, Comparison, Example, Narrower};
use proving::Proof;
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Compared<'c> {
    before: Side<'c>,
    after: Side<'c>,
    #[serde(flatten)]
    comparison: &'c Comparison,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<&'c Proof>,
}

#[derive(Serialize)]
struct Side<'c> {
    charter: &'c str,
    digest: &'c str,
    dir: String,
}

/// Examples for which a history is looked for.
const HISTORIES_MAX: usize = 64;

/// Whether either is a place in the file system, and so no session.
pub fn are_folders(first: &str, second: &str) -> bool {
    [first, second].iter().any(|named| Path::new(named).exists())
}

/// `flyball diff A B`.
pub fn compare(out: Output, first: &str, second: &str, is_proving: bool) -> Result<(), Failure> {
    for named in [first, second] {
        if !Path::new(named).exists() {
            return Err(Failure::user("FB0505", format!("`{named}` is no charter's folder"))
                .hint("`flyball diff DIR DIR` compares two charters, `flyball diff S SEQ SEQ` two steps of a session")
                .of(Kind::Usage));
        }
    }
    let (first, second) = (charter_dir::locate(Some(Path::new(first)))?, charter_dir::locate(Some(Path::new(second)))?);
    let (before, after) = (charter_dir::load(out, &first)?.0, charter_dir::load(out, &second)?.0);
    let session = crate::test::session(&first, None);
    let mut comparison = analysis::compare(&before, &after, &session);
    for example in comparison.widened.iter_mut().chain(&mut comparison.narrowed).take(HISTORIES_MAX) {
        example.look_back(&before, &after, &session);
    }
    let proof = is_proving.then(|| proving::prove(&before, &after, &session));
    if out.is_json {
        let side = |charter: &'_ flyball_kernel::Charter, dir: &Path| {
            (charter.name().to_owned(), charter.digest().to_owned(), dir.display().to_string())
        };
        let (a, b) = (side(&before, &first), side(&after, &second));
        out.json(&Compared {
            before: Side { charter: &a.0, digest: &a.1, dir: a.2.clone() },
            after: Side { charter: &b.0, digest: &b.1, dir: b.2.clone() },
            comparison: &comparison,
            proof: proof.as_ref(),
        });
        return agrees(proof.as_ref());
    }
    let name = |charter: &flyball_kernel::Charter, dir: &Path| format!("{} ({})", charter.name(), dir.display());
    out.line(&format!("before  {}", name(&before, &first)));
    out.line(&format!("after   {}", name(&after, &second)));
    print(out, &comparison);
    if let Some(proof) = &proof {
        proving::print(out, proof);
    }
    agrees(proof.as_ref())
}

/// Two searches that contradict each other prove nothing.
fn agrees(proof: Option<&Proof>) -> Result<(), Failure> {
    if proof.is_some_and(Proof::is_contradiction) {
        return Err(Failure::user("FB0542", "the solver and flyball's own search contradict each other")
            .hint("believe neither of them about these charters, and please report both")
            .of(Kind::Unverified));
    }
    Ok(())
}

fn print(out: Output, said: &Comparison) {
    let parts = [
        ("lets pass what it did not", Style::Red, &said.widened, &said.widened_settings),
        ("stops what it let pass", Style::Green, &said.narrowed, &said.narrowed_settings),
    ];
    for (title, style, examples, settings) in parts {
        if examples.is_empty() && settings.is_empty() {
            continue;
        }
        out.line("");
        out.line(&out.paint(style, title));
        for setting in settings {
            out.line(&format!("  {}", visible(setting)));
        }
        examples.iter().for_each(|e| example(out, e));
    }
    out.line("");
    for unknown in &said.unknown {
        out.line(&format!("{}: {}", out.paint(Style::Yellow, "not shown"), visible(unknown)));
    }
    let is_same = [&said.widened, &said.narrowed].iter().all(|e| e.is_empty())
        && [&said.widened_settings, &said.narrowed_settings].iter().all(|s| s.is_empty());
    out.line(match (said.is_narrower, is_same) {
        (Narrower::Proved, true) => "the same: neither lets pass what the other stops",
        (Narrower::Proved, false) => "narrower: it lets nothing pass that was stopped before",
        (Narrower::NotShown, _) => "not narrower, or not shown to be",
    });
}

fn example(out: Output, example: &Example) {
    let verdict = |verdict: Verdict, by: &[String]| {
        let name = format!("{verdict:?}").to_lowercase();
        format!("{} by {}", out.paint(Style::of_verdict(&name), &name), visible(&by.join(", ")))
    };
    let also = match example.also.as_slice() {
        [] => String::new(),
        some => format!(" (and {})", some.join(", ")),
    };
    out.line(&format!(
        "  {}{also}: {}, then {}",
        example.action.verb,
        verdict(example.before, &example.before_by),
        verdict(example.after, &example.after_by)
    ));
    let mut supposed: Vec<String> = example
        .facts
        .iter()
        .map(|(name, value)| format!("{name} is {}", serde_json::to_string(value).unwrap_or_default()))
        .collect();
    supposed.extend(example.autonomy.map(|level| format!("the autonomy level is {level}")));
    if !supposed.is_empty() {
        out.line(&format!("    where {}", supposed.join(", ")));
    }
    match example.history.as_deref() {
        None | Some([]) => {}
        Some(given) => out.line(&visible(&format!("    after {}", given.join(", ")))),
    }
    let mut line = serde_json::to_value(&example.action).unwrap_or_default();
    if let Some(object) = line.as_object_mut() {
        // What may be left out is.
        object.retain(|_, value| *value != serde_json::json!({}) && *value != "");
        object.extend(example.at.as_ref().map(|at| ("at".to_owned(), at.as_str().into())));
    }
    out.line(&format!("    {}", visible(&line.to_string())));
}
