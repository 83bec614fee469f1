//! `suggest`: the smallest changes of a charter that would have let a session's refusals pass.

use crate::args::Suggest;
use crate::charter_dir::{self, FOLDER};
use crate::failure::{Failure, chain};
use crate::output::{Output, Style, visible};
use crate::place::Place;
use flyball_runtime::charter::{self, CharterError};
use flyball_runtime::read;
use flyball_runtime::suggest::{Also, NotSuggested, Options, SuggestError, Suggestion, Suggestions, suggest as look};
use std::path::{Path, PathBuf};

/// `flyball suggest S`.
pub fn suggest(out: Output, place: &Place, args: &Suggest) -> Result<(), Failure> {
    let (ledger, id) = place.session(&args.session.session)?;
    let opening = read::opening(&ledger, &id)?;
    let workspace = PathBuf::from(opening.body.get("workspace").and_then(|w| w.as_str()).unwrap_or_default());
    let dir = match &args.charter {
        Some(named) => Some(charter_dir::locate(Some(named))?),
        None => Some(workspace.join(FOLDER)).filter(|dir| dir.join("charter.toml").exists()),
    };
    let sources = dir.as_deref().map(charter::read).transpose().map_err(|error| charter_dir::refused(out, error))?;
    let folder = dir.as_deref().and_then(Path::file_name).map_or(FOLDER.into(), |name| name.to_string_lossy());
    let options = Options {
        charter: sources,
        is_named: args.charter.is_some(),
        folder: format!("{folder}/"),
        generalise: args.generalise,
        only: args.only.clone(),
    };
    let found = look(&ledger, &id, &options).map_err(|error| match error {
        SuggestError::Read(error) => error.into(),
        SuggestError::Charter(sources, diagnostics) => {
            let dir = dir.clone().unwrap_or_else(|| PathBuf::from("the session's charter"));
            charter_dir::refused(out, CharterError::Wrong { dir, sources, diagnostics })
        }
        other => Failure::user("FB0483", chain(&other)).hint("`flyball verify` says whether the record was changed"),
    })?;
    if let Some(missing) = args.only.iter().find(|n| !found.suggestions.iter().any(|s| s.number == **n)) {
        let last = found.suggestions.len();
        return Err(Failure::user("FB0534", format!("there is no suggestion {missing}: the last one is {last}"))
            .hint("`flyball suggest` numbers them"));
    }
    if out.is_json {
        out.json(&found);
    } else if args.patch {
        patch(out, &found);
    } else {
        print(out, &found, &workspace, dir.as_deref());
    }
    Ok(())
}

fn patch(out: Output, found: &Suggestions) {
    out.raw(found.patch.as_bytes());
    for number in &found.not_in_patch {
        out.note(&format!("suggestion {number} does not go with those before it: `--only {number}` gives it alone"));
    }
    if found.patch.is_empty() {
        out.note("there is nothing to change");
    }
}

fn print(out: Output, found: &Suggestions, workspace: &Path, dir: Option<&Path>) {
    if found.charter_changed {
        out.note("  the charter is another one than the session ran under: what it lets pass today is left out");
    }
    if let Some(seq) = found.adopted {
        out.note(&format!("  the charter is the one that entry {seq} put in force, and not the workspace's"));
    }
    if found.refused == 0 {
        out.line("nothing that this session did would be refused or asked about");
        return;
    }
    for suggestion in &found.suggestions {
        one(out, suggestion, workspace);
        out.line("");
    }
    for not in &found.not_suggested {
        refused(out, not);
        out.line("");
    }
    let (n, sessions) = (found.suggestions.len(), found.sessions_compared);
    let s = |n: usize| if n == 1 { "" } else { "s" };
    out.line(&format!(
        "{} refusal{}, {n} suggestion{}; compared with {sessions} other session{}. Nothing is changed.",
        found.refused,
        s(found.refused),
        s(n),
        s(sessions)
    ));
    if n > 0 && found.adopted.is_some() {
        out.note("  to take them in, apply `--patch` to a copy of that charter; `--charter DIR` changes another one");
    } else if n > 0 {
        let at = dir.and_then(Path::parent).map(|d| format!(" -d {}", d.display())).unwrap_or_default();
        let session = &found.session;
        out.note(&format!("  to take them in: flyball suggest {session} --patch | patch -p1{at}, then flyball check"));
    }
}

fn one(out: Output, it: &Suggestion, workspace: &Path) {
    let count = it.attempts.len();
    let times = if count == 1 { String::new() } else { format!(", {count} times") };
    let heading = format!("{}. {}{times}, stopped by {}", it.number, it.verb, it.stopped_by.join(", "));
    out.line(&out.paint(Style::Bold, &visible(&heading)));
    seen(out, &it.samples, count);
    for line in it.diff.lines() {
        let style = match line.as_bytes().first() {
            Some(b'+') => Style::Green,
            Some(b'-') => Style::Red,
            _ => Style::Dim,
        };
        out.line(&format!("    {}", out.paint(style, &visible(line))));
    }
    out.line(&format!("  {}", also(&it.also)));
    for seen in &it.also.samples {
        out.line(&visible(&format!("    {} {}  {}", seen.session, seen.seq, seen.action)));
    }
    for example in &it.widened {
        let said = flyball_runtime::refusal::say(&example.action).replace(&format!("{}/", workspace.display()), "");
        let facts: Vec<String> = example
            .facts
            .iter()
            .map(|(n, v)| format!("{n} {}", serde_json::to_string(v).unwrap_or_default()))
            .collect();
        let given = if facts.is_empty() { String::new() } else { format!(" while {}", facts.join(", ")) };
        out.line(&visible(&format!("  such as {}{given}", said.trim_end())));
    }
    if let Some(or) = &it.or {
        out.line(&visible(&format!("  passes without a change with: {or}")));
    }
}

fn also(also: &Also) -> String {
    match (also.here, also.elsewhere) {
        (0, 0) => "lets nothing else pass that is refused on record".to_owned(),
        (here, elsewhere) => {
            format!("lets pass as well, of what is refused on record: {here} of this session, {elsewhere} of others")
        }
    }
}

fn refused(out: Output, it: &NotSuggested) {
    let heading = format!("not suggested: {}, stopped by {}", it.verb, it.stopped_by.join(", "));
    out.line(&out.paint(Style::Yellow, &visible(&heading)));
    seen(out, &it.samples, it.attempts.len());
    out.line(&visible(&format!("  {}", it.why)));
}

fn seen(out: Output, samples: &[String], count: usize) {
    for said in samples {
        out.line(&visible(&format!("  {said}")));
    }
    if count > samples.len() && samples.len() > 1 {
        out.line("  …");
    }
}
