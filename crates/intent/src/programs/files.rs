//! Well-known programs that read, write, move and delete the files that they are given.

use super::sed;
use crate::options::{Line, Table};
use crate::reading::{Command, Reading, Word};
use crate::shell::is_no_file;

const READER: &str = "files/1";

pub(super) fn read(to: &mut Reading<'_>, by: &Command) {
    let (table, does) = match table(&by.program) {
        Some(found) => found,
        None => return dd(to, by),
    };
    let line = table.read(&by.args);
    let words = line.all();
    to.is_opaque |= to.commands && writes_by_script(by);
    match does {
        Does::Read => each(to, by, "fs.read", &words),
        Does::ReadAfter(skip) => {
            // A pattern given by option leaves all words files.
            let has_pattern = ["regexp", "expression", "source", "file", "from-file"].iter().any(|o| line.has(o));
            let skip = if has_pattern { 0 } else { skip };
            if let Some(file) = line.value("file").or(line.value("from-file")) {
                each(to, by, "fs.read", std::slice::from_ref(file));
            }
            let files = words.get(skip..).unwrap_or_default();
            if to.commands && line.has("in-place") {
                each(to, by, "fs.read", files);
            }
            each(to, by, if line.has("in-place") { "fs.write" } else { "fs.read" }, files);
        }
        Does::Write => {
            each(to, by, "fs.write", &words);
            // Its times are set beside, which the sandbox sees as it comes.
            if to.commands && by.program == "touch" {
                each(to, by, "fs.chmod", &words);
            }
        }
        Does::Copy => copy(to, by, &line, &words),
        Does::Move => renames(to, by, &line, &words),
        Does::Delete => delete(to, by, &line, &words),
    }
}

/// Whether a program for awk or sed may write files or start programs: such a script is not read.
fn writes_by_script(by: &Command) -> bool {
    let has = |signs: &[&str]| {
        by.args.iter().any(|arg| arg.known().is_none_or(|text| signs.iter().any(|s| text.contains(s))))
    };
    match by.program.as_str() {
        "awk" | "gawk" | "mawk" => {
            has(&[">", "|", "system", "@", "-f", "-i", "--file", "--include", "--exec", "--load"])
                || by.args.iter().any(|arg| arg.known().is_some_and(|t| t.starts_with("-E") || t.starts_with("-l")))
        }
        "sed" => !sed::is_plain(&by.args),
        _ => false,
    }
}

#[derive(Clone, Copy)]
enum Does {
    /// Every word is a file that is read.
    Read,
    /// So are those after so many others.
    ReadAfter(usize),
    Write,
    Copy,
    Move,
    Delete,
}

fn table(program: &str) -> Option<(Table, Does)> {
    const fn gnu(options: &'static [&'static str]) -> Table {
        Table { abbreviates: true, ..Table::of(options) }
    }
    Some(match program {
        "cat" | "tac" | "nl" | "rev" | "strings" | "xxd" | "hexdump" | "hd" | "wc" | "sha256sum" | "sha1sum"
        | "md5sum" | "cksum" | "file" | "bat" | "zcat" | "uniq" | "diff" | "cmp" | "comm" | "paste" | "less"
        | "more" | "view" | "gzip" | "base64" | "base32" => {
            (gnu(&["w wrap=", "s=", "l=", "c=", "U=", "n=", "b="]), Does::Read)
        }
        "head" | "tail" => (
            gnu(&[
                "n lines=",
                "c bytes=",
                "q quiet silent",
                "v verbose",
                "f follow?",
                "F",
                "s sleep-interval=",
                "pid=",
                "retry",
                "z zero-terminated",
                "0",
                "1",
                "2",
                "3",
                "4",
                "5",
                "6",
                "7",
                "8",
                "9",
            ]),
            Does::Read,
        ),
        "od" => (
            gnu(&["A address-radix=", "j skip-bytes=", "N read-bytes=", "t format=", "w width?", "S strings="]),
            Does::Read,
        ),
        "sort" => (
            gnu(&[
                "k key=",
                "t field-separator=",
                "o output=",
                "S buffer-size=",
                "T temporary-directory=",
                "n",
                "r",
                "u",
                "f",
                "h",
                "V",
                "c",
                "b",
                "g",
                "M",
                "R",
                "s",
                "m",
                "z",
            ]),
            Does::Read,
        ),
        "cut" => (
            gnu(&[
                "b bytes=",
                "c characters=",
                "d delimiter=",
                "f fields=",
                "s",
                "complement",
                "output-delimiter=",
                "z",
            ]),
            Does::Read,
        ),
        "grep" | "egrep" | "fgrep" | "rg" | "ag" => (
            gnu(&[
                "e regexp=",
                "f file=",
                "A after-context=",
                "B before-context=",
                "C context=",
                "m max-count=",
                "include=",
                "exclude=",
                "exclude-dir=",
                "color?",
                "colour?",
                "i",
                "r",
                "R",
                "n",
                "l",
                "L",
                "c",
                "v",
                "w",
                "x",
                "o",
                "q",
                "s",
                "h",
                "H",
                "E",
                "F",
                "P",
                "a",
                "I",
                "z",
                "g glob=",
                "t type=",
                "T type-not=",
                "j threads=",
                "U",
                "u",
                "S",
                "hidden",
                "no-ignore",
                "files",
            ]),
            Does::ReadAfter(1),
        ),
        "sed" => (
            gnu(&[
                "e expression=",
                "f file=",
                "n quiet silent",
                "i in-place?",
                "E regexp-extended",
                "r",
                "s separate",
                "z null-data",
                "l=",
                "u unbuffered",
                "posix",
                "debug",
                "sandbox",
            ]),
            Does::ReadAfter(1),
        ),
        "awk" | "gawk" | "mawk" => {
            (gnu(&["f file=", "F field-separator=", "v assign=", "e source="]), Does::ReadAfter(1))
        }
        "jq" | "yq" => (
            gnu(&[
                "f from-file=",
                "r raw-output",
                "c compact-output",
                "n null-input",
                "s slurp",
                "R raw-input",
                "S sort-keys",
                "e exit-status",
                "M",
                "C",
                "a",
                "j",
                "L=",
            ]),
            Does::ReadAfter(1),
        ),
        "tee" => (gnu(&["a append", "i ignore-interrupts", "p"]), Does::Write),
        "touch" | "truncate" => {
            (gnu(&["a", "m", "c no-create", "d date=", "r reference=", "t=", "s size=", "o", "h", "f"]), Does::Write)
        }
        "shred" => {
            (gnu(&["f", "n iterations=", "s size=", "u", "remove?", "v", "x", "z", "random-source="]), Does::Delete)
        }
        "cp" | "install" => (
            gnu(&[
                "a archive",
                "b",
                "d",
                "f force",
                "i interactive",
                "H",
                "l link",
                "L dereference",
                "n no-clobber",
                "P no-dereference",
                "p",
                "preserve?",
                "R recursive",
                "r",
                "s symbolic-link",
                "S suffix=",
                "t target-directory=",
                "T no-target-directory",
                "u update?",
                "v verbose",
                "x one-file-system",
                "reflink?",
                "sparse=",
                "backup?",
                "D",
                "m mode=",
                "o owner=",
                "g group=",
                "parents",
                "strip",
            ]),
            Does::Copy,
        ),
        "mv" => (
            gnu(&[
                "b",
                "backup?",
                "f force",
                "i interactive",
                "n no-clobber",
                "S suffix=",
                "t target-directory=",
                "T no-target-directory",
                "u update?",
                "v verbose",
                "Z",
            ]),
            Does::Move,
        ),
        "rm" | "rmdir" | "unlink" => (
            gnu(&[
                "f force",
                "i",
                "I",
                "interactive?",
                "one-file-system",
                "no-preserve-root",
                "preserve-root?",
                "r recursive",
                "R",
                "d dir",
                "v verbose",
                "p parents",
                "ignore-fail-on-non-empty",
            ]),
            Does::Delete,
        ),
        _ => return None,
    })
}

fn each(to: &mut Reading<'_>, by: &Command, verb: &'static str, words: &[Word]) {
    for word in words {
        if word.known().is_none_or(|p| !is_no_file(p)) {
            to.on_path(by, READER, verb, word, &[]);
        }
    }
}

/// Sources and target of `cp` and `mv`.
fn ends<'a>(line: &'a Line, words: &'a [Word]) -> Option<(&'a [Word], &'a Word)> {
    match line.value("target-directory") {
        Some(dir) => Some((words, dir)),
        None => words.split_last().map(|(last, rest)| (rest, last)).filter(|(rest, _)| !rest.is_empty()),
    }
}

fn copy(to: &mut Reading<'_>, by: &Command, line: &Line, words: &[Word]) {
    let Some((from, target)) = ends(line, words) else { return };
    each(to, by, "fs.read", from);
    each(to, by, "fs.write", std::slice::from_ref(target));
}

fn renames(to: &mut Reading<'_>, by: &Command, line: &Line, words: &[Word]) {
    let Some((from, target)) = ends(line, words) else { return };
    let words = std::slice::from_ref(target);
    for target in to.places_or_none(by, target) {
        for path in from.iter().flat_map(|word| to.places_or_none(by, word)).collect::<Vec<_>>() {
            let is_known = !path.is_empty() && !target.is_empty();
            let attrs = [("to", target.clone().into())];
            to.imply(by, READER, "fs.move", &[("path", path.into())], &attrs, is_known);
        }
    }
    // What arrives there is written there, by whatever way.
    each(to, by, "fs.write", words);
}

fn delete(to: &mut Reading<'_>, by: &Command, line: &Line, words: &[Word]) {
    let recursive = line.has("recursive") || line.has("R");
    // A single file's end is seen when it comes, where anything is; a tree's only here, as one.
    if !to.commands && by.program != "shred" && !recursive && !line.is_uncertain {
        return;
    }
    for word in words {
        to.on_path(by, READER, "fs.delete", word, &[("recursive", recursive.into())]);
    }
}

/// `dd if=… of=…`, and what takes files only by such words.
fn dd(to: &mut Reading<'_>, by: &Command) {
    if by.program != "dd" {
        return;
    }
    for word in &by.args {
        let Some(text) = word.known() else {
            to.is_opaque = true;
            continue;
        };
        if let Some(file) = text.strip_prefix("if=") {
            each(to, by, "fs.read", &[Word::Known(file.to_owned())]);
        } else if let Some(file) = text.strip_prefix("of=") {
            each(to, by, "fs.write", &[Word::Known(file.to_owned())]);
        }
    }
}
