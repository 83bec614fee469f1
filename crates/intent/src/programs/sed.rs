//! Which scripts of sed only change text. The language also runs programs (`e`, `s///e`) and writes files (`w`, `W`, `s///w`), in more
//! spellings than a list of bad ones would have: what is read here is what is known to do neither.

use crate::reading::Word;

/// Whether all that these arguments make sed do is to print, delete and replace lines.
pub(super) fn is_plain(args: &[Word]) -> bool {
    read(args).unwrap_or(false)
}

/// `None` for an option that is not known to be harmless, or has no value.
fn read(args: &[Word]) -> Option<bool> {
    let mut scripts: Vec<&str> = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    let mut left = args.iter();
    while let Some(arg) = left.next() {
        let arg = arg.known()?;
        if arg == "--" {
            for word in left.by_ref() {
                words.push(word.known()?);
            }
        } else if let Some(long) = arg.strip_prefix("--") {
            match long.split_once('=') {
                Some(("expression", script)) => scripts.push(script),
                Some(("in-place", suffix)) if is_suffix(suffix) => {}
                None if long == "expression" => scripts.push(left.next()?.known()?),
                None if [
                    "quiet",
                    "silent",
                    "regexp-extended",
                    "null-data",
                    "separate",
                    "unbuffered",
                    "posix",
                    "in-place",
                ]
                .contains(&long) => {}
                _ => return None,
            }
        } else if let Some(cluster) = arg.strip_prefix('-').filter(|cluster| !cluster.is_empty()) {
            for (at, option) in cluster.char_indices() {
                let rest = cluster.get(at + 1..).unwrap_or_default();
                match option {
                    'n' | 'r' | 'E' | 's' | 'u' | 'z' => continue,
                    'i' if is_suffix(rest) => {}
                    'e' if rest.is_empty() => scripts.push(left.next()?.known()?),
                    'e' => scripts.push(rest),
                    _ => return None,
                }
                break;
            }
        } else {
            words.push(arg);
        }
    }
    if scripts.is_empty() {
        scripts.extend(words.first());
    }
    Some(scripts.iter().all(|script| commands(script).is_some()))
}

/// The name that a changed file is kept under: beside it.
fn is_suffix(text: &str) -> bool {
    !text.contains(['/', '*'])
}

/// Reads a script to its end; nothing where something else than plain commands stands in it.
fn commands(script: &str) -> Option<()> {
    let mut rest = script;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';', '\n']);
        if rest.is_empty() {
            return Some(());
        }
        rest = address(rest)?;
        let blank = [' ', '\t'];
        if let Some(after) = rest.strip_prefix(',') {
            let after = after.trim_start_matches(blank);
            rest = address(after.strip_prefix(['+', '~']).unwrap_or(after)).filter(|left| left.len() < after.len())?;
        }
        rest = rest.trim_start_matches(blank);
        rest = rest.strip_prefix('!').unwrap_or(rest).trim_start_matches(blank);
        rest = match rest.strip_prefix(['p', 'd', '=']) {
            Some(after) => after,
            None => match rest.strip_prefix('q') {
                Some(after) => after.trim_start_matches(blank).trim_start_matches(|c: char| c.is_ascii_digit()),
                None => substitution(rest.strip_prefix('s')?)?,
            },
        };
        rest = rest.trim_start_matches(blank);
        if !rest.is_empty() && !rest.starts_with([';', '\n']) {
            return None;
        }
    }
}

/// What is left after an address, if there is one.
fn address(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('$') {
        return Some(rest);
    }
    if let Some(rest) = text.strip_prefix('/') {
        return Some(until(rest, '/')?.trim_start_matches(['I', 'M']));
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    // `first~step`
    let step = rest.strip_prefix('~').filter(|_| rest.len() < text.len());
    Some(step.map_or(rest, |step| step.trim_start_matches(|c: char| c.is_ascii_digit())))
}

/// What is left after `/was/is/flags`.
fn substitution(text: &str) -> Option<&str> {
    let sign = text.chars().next().filter(|c| c.is_ascii_punctuation() && *c != '\\')?;
    let rest = until(until(text.get(1..)?, sign)?, sign)?;
    Some(rest.trim_start_matches(|c: char| "gpiIm".contains(c) || c.is_ascii_digit()))
}

/// What is left after that sign, unless it is escaped. A bracket may hide it from some readers and not from others, so that none may
/// be open there.
fn until(text: &str, sign: char) -> Option<&str> {
    let (mut is_open, mut was) = (false, ' ');
    let mut left = text.char_indices();
    while let Some((at, c)) = left.next() {
        match c {
            '\n' => return None,
            '\\' => drop(left.next().filter(|(_, c)| *c != '\n')?),
            c if c == sign => return text.get(at + c.len_utf8()..).filter(|_| !is_open),
            '[' => is_open = true,
            // One that stands first is one of the signs in it.
            ']' if was == '[' || was == '^' => {}
            ']' => is_open = false,
            _ => {}
        }
        was = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(args: &[&str]) -> bool {
        is_plain(&args.iter().map(|arg| Word::Known((*arg).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn only_what_prints_deletes_and_replaces_is_plain() {
        for script in [
            "",
            "p",
            "1p",
            "$d",
            "1,5p",
            "/a/,/b/d",
            "2,+3!d",
            "1~2p",
            "$!d",
            "=",
            "q",
            "3q 1",
            "s/a/b/",
            "s|a/b|c|g",
            "s/a\\/e/w/2gp",
            "s/[0-9]*/x/I; /x/d",
            "1d\n$d",
            "/w x/d",
            " s,a,b,m ;p",
            "s/a/b&\\1/",
        ] {
            assert!(plain(&["-n", script, "f"]), "{script}");
        }
        for script in [
            "w f",
            "1w f",
            "W f",
            "1e",
            "e id",
            "s/a/id/e",
            "s/a/b/gew f",
            "s/a/b/w f",
            "s/a/b/;w f",
            "s/a/b/\nw f",
            "r f",
            "R f",
            "a x",
            "i x",
            "y/a/b/",
            "{p}",
            "s/[/]w f/x/",
            "s/a",
            "s\\a\\b\\",
            "sxaxbxe",
            "p;e",
            "1,e",
            "/a/Ie",
            "d}e",
            "s/a/b/ e",
            "F",
            "\\xaxd",
            "s/a\\\nb/c/",
        ] {
            assert!(!plain(&["-n", script, "f"]), "{script}");
        }
        for args in [
            &["-e", "p", "-e", "d", "f"][..],
            &["-ne", "p"],
            &["--expression=p", "e"],
            &["-i.bak", "s/a/b/", "f"],
            &["-i", "p", "e"],
            &["--in-place=.b", "p", "e"],
            &["-nE", "--quiet", "--", "p", "e"],
        ] {
            assert!(plain(args), "{args:?}");
        }
        for args in [
            &["-f", "x"][..],
            &["--file=x"],
            &["-e", "p", "-ee"],
            &["p", "f", "-e", "1e id"],
            &["--expr=e"],
            &["-i/x/*", "p", "f"],
            &["-n", "-e"],
            &["--", "e"],
            &["-l", "5", "p"],
        ] {
            assert!(!plain(args), "{args:?}");
        }
        assert!(!is_plain(&[Word::Unknown("$x".into()), Word::Known("f".into())]));
    }
}
