//! `at` and `diff`: the workspace at a step, and between two.

use crate::failure::{Failure, Kind};
use crate::output::{Cell, Output, Style, table, visible, visible_lines};
use crate::place::Place;
use flyball_runtime::read::{self, At, Behind, ChangedPath, Content, FileDiff, Node, Step};
use serde_json::json;
use std::path::Path;

/// `flyball at S SEQ [PATH]`.
pub fn at(out: Output, place: &Place, wanted: &str, seq: u64, path: Option<&Path>) -> Result<(), Failure> {
    let (ledger, id) = place.session(wanted)?;
    let Some(path) = path else {
        let at = read::at(&ledger, &id, seq)?;
        if out.is_json {
            out.json(&at);
        } else {
            list(out, &at);
        }
        return Ok(());
    };
    match read::at_path(&ledger, &id, seq, path)? {
        Content::File { bytes, is_from_workspace } => {
            if out.is_json {
                let text = std::str::from_utf8(&bytes).ok();
                out.json(&json!({"path": path.display().to_string(), "seq": seq, "kind": "file", "bytes": bytes.len(),
                    "from_workspace": is_from_workspace, "text": text}));
                return Ok(());
            }
            if is_from_workspace {
                out.note("the session had not touched this file: it is shown as the real workspace has it");
            }
            out.raw(&bytes);
        }
        Content::Link(target) if out.is_json => {
            out.json(&json!({"path": path.display().to_string(), "seq": seq, "kind": "symlink", "target": target}));
        }
        Content::Link(target) => out.line(&format!("link to {}", visible(&target))),
        Content::Folder(changes) if out.is_json => {
            out.json(&json!({"path": path.display().to_string(), "seq": seq, "kind": "directory", "changes": changes}));
        }
        Content::Folder(changes) => changes_table(out, &changes),
    }
    Ok(())
}

fn list(out: Output, at: &At) {
    match at.as_of {
        Some(seq) if seq == at.seq => out.note(&format!("{} at entry {}:", at.workspace, at.seq)),
        Some(seq) => {
            out.note(&format!("{} at entry {}, as of the last look at it, entry {seq}:", at.workspace, at.seq))
        }
        None => out.note(&format!(
            "{} at entry {}: not looked at before, so unchanged as far as is recorded",
            at.workspace, at.seq
        )),
    }
    changes_table(out, &at.changes);
    if let Some(state) = &at.state {
        out.note(&format!("state {state}"));
    }
}

fn changes_table(out: Output, changes: &[ChangedPath]) {
    if changes.is_empty() {
        out.note("nothing had changed");
        return;
    }
    let rows: Vec<Vec<Cell>> = changes
        .iter()
        .map(|c| {
            vec![
                Cell::new(c.change).styled(style_of(c.change)),
                Cell::new(weigh(&c.node)),
                Cell::new(c.since.map(|s| s.to_string()).unwrap_or_default()),
                Cell::new(&c.path),
            ]
        })
        .collect();
    table(out, &["CHANGE", "WHAT", "ENTRY", "PATH"], &rows);
}

fn style_of(change: &str) -> Style {
    match change {
        "added" => Style::Green,
        "deleted" => Style::Red,
        _ => Style::Yellow,
    }
}

fn weigh(node: &Node) -> String {
    match (node.kind.as_str(), node.size, &node.target) {
        ("absent", ..) => "-".to_owned(),
        ("file", Some(bytes), _) => format!("{bytes} bytes"),
        ("symlink", _, Some(target)) => format!("link to {target}"),
        (kind, ..) => kind.to_owned(),
    }
}

/// The earlier step of `diff`, which takes charters in its place.
pub fn step(from: &str) -> Result<u64, Failure> {
    from.parse().map_err(|_| {
        Failure::user("FB0505", format!("`{from}` is no entry's number"))
            .hint(
                "`flyball diff S SEQ SEQ` compares two steps of a session, `flyball diff S S` two sessions, `flyball diff DIR DIR` two charters",
            )
            .of(Kind::Usage)
    })
}

/// `flyball diff S SEQ SEQ`.
pub fn diff(out: Output, place: &Place, wanted: &str, from: &str, to: u64) -> Result<(), Failure> {
    let from = step(from)?;
    let (ledger, id) = place.session(wanted)?;
    let diff = read::diff(&ledger, &id, from, to)?;
    if out.is_json {
        out.json(&diff);
        return Ok(());
    }
    match (diff.files.is_empty(), diff.behind.is_empty()) {
        (true, true) => out.note(&format!("the workspace was the same at entries {from} and {to}")),
        (true, false) => {
            out.note(&format!("nothing that was seen of the workspace differs between entries {from} and {to}"))
        }
        (false, _) => {}
    }
    diff.files.iter().for_each(|f| file(out, f));
    diff.behind.iter().for_each(|behind| out.note(&told_behind(behind)));
    Ok(())
}

/// What a step's workspace lacks that was done before it.
pub fn told_behind(behind: &Behind) -> String {
    let Behind { seq, as_of, next } = behind;
    let seen = match as_of {
        Some(as_of) => format!("the workspace at entry {seq} is as of the last look at it, entry {as_of}"),
        None => format!("the workspace was not looked at before entry {seq}: it is as the session found it"),
    };
    match next {
        Some(next) => format!("{seen}; what was done since then is in what entry {next} saw"),
        None => format!("{seen}; what was done since then was not seen"),
    }
}

/// `flyball diff S S`: two sessions, each at its last step or at one of its own (`S:SEQ`).
pub fn diff_of_two(out: Output, place: &Place, from: &str, to: &str, of_state: bool) -> Result<(), Failure> {
    let ledger = place.ledger()?;
    let step = |wanted: &str| -> Result<Step, Failure> {
        let (named, seq) = match read::resolve(&ledger, wanted) {
            Ok(session) => (session, None),
            // A name may have a colon in it: then it was found as it stands.
            Err(error) => match wanted.rsplit_once(':').and_then(|(named, seq)| Some((named, seq.parse().ok()?))) {
                Some((named, seq)) => (read::resolve(&ledger, named)?, Some(seq)),
                None => return Err(error.into()),
            },
        };
        let last = ledger.heads()?.into_iter().find(|head| head.id == named).map_or(0, |head| head.last_seq);
        Ok(Step { session: named, seq: seq.unwrap_or(last) })
    };
    let (from, to) = (step(from)?, step(to)?);
    if of_state {
        return crate::states::diff_of_two(out, &ledger, &from, &to);
    }
    let diff = read::diff_of_two(&ledger, &from, &to)?;
    if out.is_json {
        out.json(&diff);
        return Ok(());
    }
    if diff.files.is_empty() {
        let (from, to) = (visible(&from.session), visible(&to.session));
        out.note(&format!(
            "the workspaces of sessions {from} and {to} were the same, wherever one of them touched its own"
        ));
    }
    diff.files.iter().for_each(|f| file(out, f));
    Ok(())
}

fn file(out: Output, file: &FileDiff) {
    let Some(unified) = &file.unified else {
        let note = file.note.as_deref().unwrap_or_default();
        out.line(&format!(
            "{} {}: {}",
            out.paint(style_of(file.change), file.change),
            visible(&file.path),
            visible(note)
        ));
        return;
    };
    for line in unified.lines() {
        let style = match line.as_bytes().first() {
            _ if line.starts_with("+++") || line.starts_with("---") => Style::Bold,
            Some(b'+') => Style::Green,
            Some(b'-') => Style::Red,
            Some(b'@') => Style::Cyan,
            _ => Style::Plain,
        };
        // A patch is data: only on a terminal is it made safe to look at.
        let line = if out.is_terminal() { visible_lines(line) } else { line.to_owned() };
        out.line(&out.paint(style, &line));
    }
}
