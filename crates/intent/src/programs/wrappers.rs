//! Programs that run another: the other is what counts.

use super::super::shell;
use super::{agents, packages};

mod items;
use crate::options::Table;
use crate::reading::{Command, Reading, Stdin, Word, moves_git, starts_more};

/// Reads a wrapper; whether it was one.
pub(super) fn read(to: &mut Reading<'_>, by: &Command) -> bool {
    let Some(table) = table(&by.program) else {
        return match by.program.as_str() {
            "env" => env(to, by),
            "find" => find(to, by),
            "xargs" => xargs(to, by),
            "busybox" | "toybox" | "builtin" | "coreutils" => inner(to, by, &by.args),
            "watch" | "parallel" => opaque(to),
            "su" | "runuser" | "script" => dash_c(to, by),
            _ => false,
        };
    };
    let line = table.read(&by.args);
    // `timeout 5 rm …`: its own words come before the other's.
    let skip = match by.program.as_str() {
        "timeout" | "chroot" | "taskset" | "chrt" => 1,
        "flock" => return flock(to, by, &line.words, line.after.as_deref()),
        "command" if line.has("v") || line.has("V") => return true,
        _ => 0,
    };
    if line.is_uncertain && line.words.is_empty() {
        return opaque(to);
    }
    if matches!(by.program.as_str(), "chroot") {
        to.is_opaque = true;
    }
    let mut words = line.all();
    if by.program == "sudo" || by.program == "doas" {
        let is_set = |w: &Word| w.known().is_some_and(is_assignment);
        to.is_opaque |= words.iter().take_while(|w| is_set(w)).any(|w| is_odd_assignment(w.written()));
        words = words.into_iter().skip_while(is_set).collect();
    }
    let words: Vec<Word> = words.into_iter().skip(skip).collect();
    if line.is_uncertain {
        to.is_opaque = true;
    }
    inner(to, by, &words)
}

fn table(program: &str) -> Option<Table> {
    let options: &'static [&'static str] = match program {
        "sudo" => &[
            "A askpass",
            "b background",
            "C close-from=",
            "D chdir=",
            "E preserve-env?",
            "g group=",
            "H set-home",
            "h host=",
            "i login",
            "K remove-timestamp",
            "k reset-timestamp",
            "n non-interactive",
            "P preserve-groups",
            "p prompt=",
            "R chroot=",
            "r role=",
            "S stdin",
            "s shell",
            "T command-timeout=",
            "t type=",
            "U other-user=",
            "u user=",
            "B bell",
        ],
        "doas" => &["C=", "L", "n", "s", "u="],
        "nohup" => &[],
        "setsid" => &["c ctty", "f fork", "w wait"],
        "time" => &["a append", "f format=", "o output=", "p portability", "q quiet", "v verbose"],
        "timeout" => &["s signal=", "k kill-after=", "preserve-status", "foreground", "v verbose", "f", "p"],
        "nice" => &["n adjustment="],
        "ionice" => &["c class=", "n classdata=", "t ignore"],
        "chrt" => &["b batch", "d deadline", "f fifo", "i idle", "o other", "r rr"],
        "taskset" => &["a all-tasks", "c cpu-list"],
        "stdbuf" => &["i input=", "o output=", "e error="],
        "chroot" => &["groups=", "userspec=", "skip-chdir"],
        "flock" => &[
            "s shared",
            "x exclusive",
            "e",
            "u unlock",
            "n nonblock nb",
            "w wait timeout=",
            "o close",
            "E conflict-exit-code=",
            "c command=",
            "F no-fork",
        ],
        "exec" => &["a=", "c", "l"],
        // The dynamic loader, called as a program.
        _ if is_loader(program) => &[
            "list",
            "verify",
            "inhibit-cache",
            "library-path=",
            "inhibit-rpath=",
            "glibc-hwcaps-prepend=",
            "glibc-hwcaps-mask=",
            "audit=",
            "preload=",
            "argv0=",
            "list-tunables",
            "list-diagnostics",
            "help",
            "version",
        ],
        "command" => &["p", "v", "V"],
        "unbuffer" | "catchsegv" | "dbus-run-session" | "fakeroot" | "winpty" => &[],
        _ => return None,
    };
    Some(Table { stops: true, ..Table::of(options) })
}

fn is_loader(program: &str) -> bool {
    program == "ld.so"
        || (program.contains(".so.") && (program.starts_with("ld-linux") || program.starts_with("ld-musl")))
}

fn opaque(to: &mut Reading<'_>) -> bool {
    to.is_opaque = true;
    true
}

fn inner(to: &mut Reading<'_>, by: &Command, words: &[Word]) -> bool {
    if let Some(command) = by.inner(words) {
        to.command(&command);
    }
    true
}

/// To `env` and `sudo` every word with a `=` in it is one until the program's name.
fn is_assignment(word: &str) -> bool {
    word.contains('=')
}

/// A name that no variable of a shell's has, but a function that it takes from its environment: `BASH_FUNC_ls%%=() { …; }`.
fn is_odd_assignment(word: &str) -> bool {
    let name = word.split_once('=').map_or("", |(name, _)| name);
    name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn env(to: &mut Reading<'_>, by: &Command) -> bool {
    let table = Table {
        stops: true,
        ..Table::of(&[
            "i ignore-environment",
            "u unset=",
            "C chdir=",
            "S split-string=",
            "0 null",
            "v debug",
            "a argv0=",
        ])
    };
    let line = table.read(&by.args);
    to.is_opaque |= line.is_uncertain;
    let mut place = by.clone();
    if let Some(dir) = line.value("chdir") {
        place.cwd = to.folder(by.cwd.as_deref(), dir);
        place.is_home_repository = false;
    }
    if let Some(text) = line.value("split-string") {
        // Its own quoting is near a shell's, yet not the same.
        return if text.known().is_some_and(|t| !t.contains(['"', '\'', '\\', '$'])) {
            let split = text.written().split_whitespace().map(|w| Word::Known(w.to_owned()));
            let words: Vec<Word> =
                split.chain(line.all()).skip_while(|w| w.known().is_some_and(is_assignment)).collect();
            inner(to, &place, &words)
        } else {
            opaque(to)
        };
    }
    let all = line.all();
    let words: Vec<Word> = all.iter().skip_while(|w| w.known().is_some_and(is_assignment)).cloned().collect();
    // Whose settings are read without a home, or without a `GIT_DIR` that was there, is not known.
    let mut assigned = all.iter().take(all.len() - words.len());
    to.is_opaque |= assigned.clone().any(|w| is_odd_assignment(w.written()));
    to.is_opaque |= to.commands && assigned.clone().any(|w| starts_more(w.written()));
    let is_moved = line.has("ignore-environment") || line.has("unset") || assigned.any(|w| moves_git(w.written()));
    place.is_home_repository &= !is_moved;
    inner(to, &place, &words)
}

fn xargs(to: &mut Reading<'_>, by: &Command) -> bool {
    let table = Table {
        stops: true,
        ..Table::of(&[
            "0 null",
            "a arg-file=",
            "d delimiter=",
            "E=",
            "e eof?",
            "I=",
            "i replace?",
            "L max-lines=",
            "l",
            "n max-args=",
            "P max-procs=",
            "p interactive",
            "r no-run-if-empty",
            "s max-chars=",
            "t verbose",
            "x exit",
            "o open-tty",
        ])
    };
    let line = table.read(&by.args);
    to.is_opaque |= line.is_uncertain;
    if let Some(all) = items::of(&line, by) {
        // What it starts has nothing on its standard input.
        let place = Command { stdin: Stdin::Other, ..by.clone() };
        return all.iter().all(|words| inner(to, &place, words));
    }
    let holder = line.value("I").and_then(Word::known).unwrap_or("{}").to_owned();
    let replaces = line.value("I").is_some() || line.has("replace");
    let mut words = Vec::new();
    for word in line.all() {
        words.push(if replaces && word.written().contains(&holder) {
            Word::Unknown(word.written().into())
        } else {
            word
        });
    }
    if !replaces {
        words.push(Word::Unknown("…".into()));
    }
    inner(to, &Command { stdin: Stdin::Other, ..by.clone() }, &words)
}

fn find(to: &mut Reading<'_>, by: &Command) -> bool {
    let mut args = by.args.as_slice();
    let mut roots = Vec::new();
    while let Some((word, rest)) = args.split_first() {
        match word.known() {
            Some("-H" | "-L" | "-P") => {}
            Some(text) if text.starts_with(['-', '(', '!']) => break,
            _ => roots.push(word.clone()),
        }
        args = rest;
    }
    if roots.is_empty() {
        roots.push(Word::Known(".".into()));
    }
    while let Some((word, rest)) = args.split_first() {
        args = rest;
        match word.known() {
            Some("-exec" | "-execdir" | "-ok" | "-okdir") => {
                let end = args.iter().position(|w| matches!(w.known(), Some(";" | "+"))).unwrap_or(args.len());
                let (command, rest) = args.split_at(end);
                args = rest;
                let mut place = by.clone();
                if word.written().ends_with("dir") {
                    place.cwd = None;
                    place.is_home_repository = false;
                }
                let words: Vec<Word> = command
                    .iter()
                    .map(|w| if w.written().contains("{}") { Word::Unknown(w.written().into()) } else { w.clone() })
                    .collect();
                inner(to, &place, &words);
            }
            Some("-delete") => {
                for root in &roots {
                    // Which of what is in there goes depends on the tests before it.
                    for path in to.places_or_none(by, root) {
                        let attrs = [("recursive", true.into())];
                        to.imply(by, "files/1", "fs.delete", &[("path", path.into())], &attrs, false);
                    }
                }
            }
            Some("-fprint" | "-fprintf" | "-fls" | "-fprint0") => {
                if let Some(file) = args.first() {
                    to.on_path(by, "files/1", "fs.write", file, &[]);
                }
            }
            Some(_) => {}
            None => to.is_opaque = true,
        }
    }
    true
}

fn flock(to: &mut Reading<'_>, by: &Command, words: &[Word], after: Option<&[Word]>) -> bool {
    let words: Vec<Word> = words.iter().chain(after.into_iter().flatten()).skip(1).cloned().collect();
    match words.as_slice() {
        [flag, Word::Known(text)] if matches!(flag.known(), Some("-c" | "--command")) => {
            shell::script(to, by, text);
            true
        }
        _ => inner(to, by, &words),
    }
}

/// `su -c SCRIPT`, `script -c SCRIPT`.
fn dash_c(to: &mut Reading<'_>, by: &Command) -> bool {
    let mut args = by.args.iter();
    while let Some(arg) = args.next() {
        let text = match arg.known() {
            Some("-c" | "--command") => args.next().and_then(Word::known).map(str::to_owned),
            Some(glued) => match glued.strip_prefix("--command=") {
                Some(text) => Some(text.to_owned()),
                None => continue,
            },
            None => None,
        };
        let Some(text) = text else { return opaque(to) };
        // Another user's home: `~` is not ours.
        let mut place = by.clone();
        place.cwd = None;
        shell::script(to, &place, &text);
        return true;
    }
    opaque(to)
}

/// `sh -c SCRIPT`, `bash -lc SCRIPT`, a here-document on a shell's standard input.
pub(super) fn shell(to: &mut Reading<'_>, by: &Command) {
    let mut args = by.args.iter();
    let mut has_script = false;
    let mut stdin = false;
    while let Some(arg) = args.next() {
        let Some(text) = arg.known() else {
            to.is_opaque = true;
            return;
        };
        match text {
            "--rcfile" | "--init-file" | "-o" | "+o" | "-O" | "+O" => {
                args.next();
            }
            "--" | "-" => break,
            _ if text.starts_with("--") => {}
            _ if text.len() > 1 && text.starts_with(['-', '+']) => {
                has_script |= text.starts_with('-') && text.contains('c');
                stdin |= text.contains('s');
                if text.ends_with('o') || text.ends_with('O') {
                    args.next();
                }
            }
            _ if has_script => return shell::script(to, by, text),
            // A script file: what is in it is mediated when it runs, if anything is.
            _ if !stdin => {
                to.is_opaque |= to.commands;
                return;
            }
            _ => break,
        }
    }
    match (has_script, args.next(), &by.stdin) {
        (true, Some(Word::Known(text)), _) => shell::script(to, by, text),
        (false, None, Stdin::Text(text)) => shell::script(to, by, text),
        (false, Some(_), _) if !stdin => {}
        _ => to.is_opaque = true,
    }
}

/// Programs given as text to an interpreter are not read; `python3 -m pip` is.
pub(super) fn interpreter(to: &mut Reading<'_>, by: &Command) {
    let mut args = by.args.iter().enumerate();
    while let Some((at, arg)) = args.next() {
        match arg.known() {
            None => return to.is_opaque = true,
            Some("-m") if by.program == "python3" => {
                let module = by.args.get(at + 1).and_then(Word::known);
                if matches!(module, Some("pip" | "pipx" | "uv" | "poetry")) {
                    let rest = by.args.get(at + 1..).unwrap_or_default();
                    if let Some(command) = by.inner(rest) {
                        packages::read(to, &command);
                    }
                }
                return;
            }
            Some("-W" | "-X" | "-r" | "--require" | "--import" | "--loader") => {
                args.next();
            }
            Some("-" | "-c" | "-e" | "-E" | "-p" | "-pe" | "-ne" | "--eval" | "--print" | "-R") => {
                return to.is_opaque = true;
            }
            Some(text) if text.starts_with("--eval=") || text.starts_with("--print=") => return to.is_opaque = true,
            Some(text) if text.starts_with('-') => {
                // Perl's and ruby's clusters: `-lane CODE`.
                if matches!(by.program.as_str(), "perl" | "ruby") && text.contains('e') {
                    return to.is_opaque = true;
                }
            }
            // The same of a program in a file, but for those that are known.
            Some(file) => {
                let is_known =
                    by.program == "node" && agents::runs_file(to, by, file, by.args.get(at + 1..).unwrap_or_default());
                return to.is_opaque |= to.commands && !is_known;
            }
        }
    }
    // No program named: it comes on the standard input.
    if !by.args.iter().any(|a| matches!(a.known(), Some("-V" | "-v" | "--version" | "-h" | "--help"))) {
        to.is_opaque = true;
    }
}
