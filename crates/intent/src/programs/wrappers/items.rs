//! What `xargs` starts, where what it reads is written in the script.

use crate::options::Line;
use crate::reading::{Command, Stdin, Word};

/// Words that are handed on, and their bytes, at most: far below where `xargs` would begin another command.
const WORDS_MAX: usize = 256;
const BYTES_MAX: usize = 16 * 1024;

/// The commands, each its words; `None` where they can't be told.
pub(super) fn of(line: &Line, by: &Command) -> Option<Vec<Vec<Word>>> {
    let Stdin::Text(text) = &by.stdin else { return None };
    let known = ["I", "max-args", "no-run-if-empty", "verbose", "max-procs"];
    let is_plain = !line.is_uncertain
        && line.options.iter().all(|(name, _)| known.contains(name))
        // Its own quoting, and an option's value that other readers take otherwise.
        && !text.contains(['\'', '"', '\\', '\0'])
        && !by.args.iter().any(|arg| arg.written().starts_with("-I="))
        && text.len() <= BYTES_MAX;
    if !is_plain {
        return None;
    }
    let command = line.all();
    if !command.iter().all(|word| word.known().is_some()) {
        return None;
    }
    let command = if command.is_empty() { vec![Word::Known("echo".to_owned())] } else { command };
    match (line.value("I"), line.value("max-args")) {
        (Some(holder), None) => replaced(&command, holder.known().filter(|it| !it.is_empty())?, text),
        (None, most) => {
            let most = most.map_or(Some(WORDS_MAX), |most| most.known()?.parse().ok().filter(|most| *most > 0))?;
            appended(&command, text, most, line.has("no-run-if-empty"))
        }
        (Some(_), Some(_)) => None,
    }
}

/// A command for each line, with the line where the holder stands.
fn replaced(command: &[Word], holder: &str, text: &str) -> Option<Vec<Vec<Word>>> {
    let blanks = [' ', '\t'];
    let lines: Vec<&str> = text.lines().map(|line| line.trim_start_matches(blanks)).filter(|l| !l.is_empty()).collect();
    // A blank at a line's end, or another sign that ends a line for some, is not the same everywhere.
    let is_plain = lines.len() <= WORDS_MAX && !text.contains('\r') && lines.iter().all(|line| !line.ends_with(blanks));
    is_plain.then(|| {
        let with = |line: &str| {
            command.iter().map(|word| Word::Known(word.written().replace(holder, line))).collect::<Vec<_>>()
        };
        lines.iter().map(|line| with(line)).collect()
    })
}

/// The words of the text behind the command's own, so many at a time.
fn appended(command: &[Word], text: &str, most: usize, not_for_nothing: bool) -> Option<Vec<Vec<Word>>> {
    let is_plain = text.bytes().all(|b| b.is_ascii_graphic() || matches!(b, b' ' | b'\t' | b'\n'));
    let words: Vec<&str> = text.split([' ', '\t', '\n']).filter(|word| !word.is_empty()).collect();
    if !is_plain || words.len() > WORDS_MAX {
        return None;
    }
    if words.is_empty() {
        return Some(if not_for_nothing { Vec::new() } else { vec![command.to_vec()] });
    }
    let with = |some: &[&str]| -> Vec<Word> {
        command.iter().cloned().chain(some.iter().map(|word| Word::Known((*word).to_owned()))).collect()
    };
    Some(words.chunks(most).map(with).collect())
}
