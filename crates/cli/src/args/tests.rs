//! Every command line of ours that a page or a message shows is one that the parser takes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use clap::error::ErrorKind;
use std::path::Path;

/// Words that stand for something in a synopsis, and something that they can stand for.
const STAND_INS: &[(&str, &str)] = &[("SEQ", "1"), ("N", "1"), ("LEVEL", "bounded"), ("SHELL", "bash")];

#[test]
fn what_pages_and_messages_show_can_be_typed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for place in
        ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md", "docs", "charters", "crates", "xtask/src"]
    {
        gather(&root.join(place), &mut files);
    }
    let (mut wrong, mut count) = (Vec::new(), 0);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (shown, is_whole) in shown(&text, file.extension().is_some_and(|e| e == "md")) {
            count += 1;
            if let Err(why) = typed(&shown, is_whole) {
                wrong.push(format!("{}: `{shown}`: {why}", file.strip_prefix(&root).unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 150, "only {count} were found");
}

fn gather(place: &Path, files: &mut Vec<std::path::PathBuf>) {
    if place.is_dir() && !place.ends_with("snapshots") {
        std::fs::read_dir(place).unwrap().for_each(|e| gather(&e.unwrap().path(), files));
    } else if place.extension().is_some_and(|e| e == "md" || e == "rs") {
        files.push(place.to_owned());
    }
}

/// Command lines, and whether they are meant as they stand: lines of a code block. Between backticks a sentence may name
/// no more than the command.
fn shown(text: &str, is_page: bool) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let code = line.trim_start().trim_start_matches("$ ");
        let is_block = is_page && (line.starts_with("    ") || code.len() == line.len());
        if is_block && code.starts_with("flyball ") {
            found.push((code.to_owned(), true));
            continue;
        }
        let quoted = line.split('`').skip(1).step_by(2);
        found.extend(quoted.filter(|q| q.starts_with("flyball ")).map(|q| (q.to_owned(), false)));
    }
    found
}

fn typed(shown: &str, is_whole: bool) -> Result<(), String> {
    // Alternatives: each by itself.
    let words: Vec<&str> = shown.split_whitespace().collect();
    if let Some(at) = words.iter().position(|w| w.contains('|') && !w.starts_with('|')) {
        return words[at].split('|').try_for_each(|one| {
            let mut words = words.clone();
            words[at] = one;
            typed(&words.join(" "), is_whole)
        });
    }
    let mut words = Vec::new();
    for word in split(shown) {
        match word.as_str() {
            // A comment, a pipe, another command, or a sentence that goes on.
            "#" | "|" | "&&" | ">" | "…" | "\\" => break,
            word if word.starts_with('[') => {}
            word if word.starts_with('{') => words.push("1".to_owned()),
            word => {
                let stands_for = STAND_INS.iter().find(|(name, _)| *name == word).map(|(_, it)| *it);
                words.push(stands_for.unwrap_or(word).trim_end_matches([',', ';', '…']).to_owned());
            }
        }
    }
    match Cli::try_parse_from(&words) {
        Ok(_) => Ok(()),
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Ok(()),
        Err(e) if !is_whole && is_unfinished(e.kind()) => Ok(()),
        Err(e) => Err(e.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

fn is_unfinished(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand)
}

/// Words as a shell sees them, as far as quotes go.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            (' ', None) => words.extend(Some(std::mem::take(&mut word)).filter(|w| !w.is_empty())),
            (c, _) => word.push(c),
        }
    }
    words.extend(Some(word).filter(|w| !w.is_empty()));
    words
}
