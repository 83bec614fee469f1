//! The patches of Codex' `apply_patch`: `*** Begin Patch`, files to add, delete, update or move, `*** End Patch`.

use super::edits::Edited;

/// One file's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change<'a> {
    pub path: &'a str,
    pub kind: Kind<'a>,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// It is made, and holds this.
    Add(String),
    Delete,
    /// Lines of it are replaced, and it may get another name.
    Update {
        to: Option<&'a str>,
        hunks: Vec<Hunk<'a>>,
    },
}

/// Lines that stand there, and those that will.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hunk<'a> {
    was: Vec<&'a str>,
    is: Vec<&'a str>,
}

/// Reads a patch, whether it comes alone or in a shell's here-document.
pub(super) fn read(text: &str) -> Result<Vec<Change<'_>>, &'static str> {
    let mut lines = text.lines().skip_while(|line| line.trim() != "*** Begin Patch");
    lines.next().ok_or("it has no `*** Begin Patch`")?;
    let mut changes: Vec<Change<'_>> = Vec::new();
    for line in lines {
        if line.trim() == "*** End Patch" {
            return Ok(changes);
        }
        let header = |word: &str| line.strip_prefix(word).map(str::trim);
        if let Some(path) = header("*** Add File: ") {
            changes.push(Change { path, kind: Kind::Add(String::new()) });
        } else if let Some(path) = header("*** Delete File: ") {
            changes.push(Change { path, kind: Kind::Delete });
        } else if let Some(path) = header("*** Update File: ") {
            changes.push(Change { path, kind: Kind::Update { to: None, hunks: Vec::new() } });
        } else {
            let change = changes.last_mut().ok_or("a line before its first file")?;
            add_line(&mut change.kind, line)?;
        }
    }
    Err("it has no `*** End Patch`")
}

fn add_line<'a>(kind: &mut Kind<'a>, line: &'a str) -> Result<(), &'static str> {
    match kind {
        Kind::Add(content) => {
            let added = line.strip_prefix('+').ok_or("a line of a new file that does not begin with `+`")?;
            content.push_str(added);
            content.push('\n');
        }
        Kind::Delete => return Err("lines below a file that is deleted"),
        Kind::Update { to, hunks } => {
            if let Some(path) = line.strip_prefix("*** Move to: ") {
                *to = Some(path.trim());
            } else if line.starts_with("@@") {
                hunks.push(Hunk::default());
            } else if line.trim() != "*** End of File" {
                if hunks.is_empty() {
                    hunks.push(Hunk::default());
                }
                let Some(hunk) = hunks.last_mut() else { return Ok(()) };
                match line.chars().next() {
                    None => {
                        hunk.was.push("");
                        hunk.is.push("");
                    }
                    Some(' ') => {
                        hunk.was.push(line.get(1..).unwrap_or_default());
                        hunk.is.push(line.get(1..).unwrap_or_default());
                    }
                    Some('-') => hunk.was.push(line.get(1..).unwrap_or_default()),
                    Some('+') => hunk.is.push(line.get(1..).unwrap_or_default()),
                    Some(_) => return Err("a line of a hunk that begins with none of ` `, `-`, `+`"),
                }
            }
        }
    }
    Ok(())
}

/// The file with its hunks made, each at the first place that fits after the one before; unknown where one fits nowhere.
pub(super) fn apply(hunks: &[Hunk<'_>], old: Option<&[u8]>) -> Edited {
    let Some(Ok(text)) = old.map(std::str::from_utf8) else { return Edited::Unknown };
    let old: Vec<&str> = text.lines().collect();
    let mut new: Vec<&str> = Vec::new();
    let mut rest = old.as_slice();
    for hunk in hunks.iter().filter(|h| !(h.was.is_empty() && h.is.is_empty())) {
        let at = if hunk.was.is_empty() {
            Some(rest.len())
        } else {
            rest.windows(hunk.was.len()).position(|lines| lines == hunk.was.as_slice())
        };
        let Some((before, after)) = at.and_then(|at| rest.split_at_checked(at)) else { return Edited::Unknown };
        new.extend(before);
        new.extend(&hunk.is);
        rest = after.get(hunk.was.len()..).unwrap_or_default();
    }
    new.extend(rest);
    let mut text = new.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    Edited::To(text.into_bytes())
}
