//! What a script's variables are known to hold: plain texts that the script itself assigned before, with nothing between that
//! could have changed them.

use crate::reading::{Command, Word};
use std::collections::{BTreeMap, BTreeSet};

/// Variables that are followed, at most, and bytes of one.
const KNOWN_MAX: usize = 64;
const VALUE_BYTES_MAX: usize = 4096;

/// Names to which a shell gives values of its own, or a meaning.
const SPECIAL: &[&str] = &[
    "_",
    "IFS",
    "PATH",
    "HOME",
    "PWD",
    "OLDPWD",
    "CDPATH",
    "ENV",
    "UID",
    "EUID",
    "GROUPS",
    "PPID",
    "RANDOM",
    "SRANDOM",
    "SECONDS",
    "LINENO",
    "FUNCNAME",
    "DIRSTACK",
    "PIPESTATUS",
    "REPLY",
    "MAPFILE",
    "COPROC",
    "SHLVL",
    "OPTARG",
    "OPTIND",
    "OPTERR",
    "LINES",
    "COLUMNS",
    "GLOBIGNORE",
    "FIGNORE",
    "TMOUT",
    "TIMEFORMAT",
    "POSIXLY_CORRECT",
    "LANG",
    "HOSTNAME",
    "HOSTTYPE",
    "MACHTYPE",
    "OSTYPE",
    "SHELL",
    "SHELLOPTS",
    "EXECIGNORE",
    "INPUTRC",
    "IGNOREEOF",
    // zsh's
    "path",
    "cdpath",
    "fpath",
    "manpath",
    "mailpath",
    "module_path",
    "argv",
    "status",
    "pipestatus",
    "prompt",
    "histchars",
    "signals",
    "keymap",
    "options",
    "aliases",
    "functions",
    "commands",
    "parameters",
    "words",
    "watch",
];
/// And beginnings of such.
const SPECIAL_FAMILIES: &[&str] = &["BASH", "COMP", "EPOCH", "HIST", "LC_", "MAIL", "PS", "READLINE", "PROMPT", "ZSH"];

/// Builtins that may change a variable, a word's meaning or what runs next, in ways that are not followed.
const UNSETTLING: &[&str] = &[
    "eval",
    ".",
    "source",
    "trap",
    "read",
    "mapfile",
    "readarray",
    "getopts",
    "declare",
    "typeset",
    "local",
    "readonly",
    "let",
    "unset",
    "alias",
    "unalias",
    "shopt",
    "enable",
    "hash",
    "bind",
    "complete",
    "fc",
    "emulate",
    "setopt",
    "unsetopt",
    "integer",
    "float",
    "zmodload",
    "vared",
    "autoload",
    "noglob",
    "nocorrect",
    "nameref",
    "select",
    "disable",
    "zparseopts",
    "set",
    "shift",
    "history",
];

#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    known: BTreeMap<String, String>,
}

impl Variables {
    pub fn values(&self) -> &BTreeMap<String, String> {
        &self.known
    }

    /// What an assignment leaves; `value` is `None` where that can't be told.
    pub fn set(&mut self, name: &str, value: Option<String>) {
        let value = value.filter(|value| value.len() <= VALUE_BYTES_MAX && !is_special(name));
        match value {
            Some(value) if self.known.len() < KNOWN_MAX || self.known.contains_key(name) => {
                self.known.insert(name.to_owned(), value);
            }
            _ => self.forget(name),
        }
    }

    pub fn forget(&mut self, name: &str) {
        self.known.remove(name);
    }

    /// Only what is so either way.
    pub fn meet(&mut self, other: &Variables) {
        self.known.retain(|name, value| other.known.get(name) == Some(value));
    }

    /// Whether one of these names is known.
    pub fn has_any(&self, names: &BTreeSet<String>) -> bool {
        self.known.keys().any(|name| names.contains(name))
    }
}

/// Whether an assignment to that name changes what other words are.
pub(super) fn changes_words(name: &str) -> bool {
    matches!(name, "IFS" | "GLOBIGNORE" | "SHELLOPTS" | "POSIXLY_CORRECT") || name.starts_with("BASH")
}

/// Whether a shell gives that name values, or a meaning, of its own.
pub(super) fn is_special(name: &str) -> bool {
    SPECIAL.contains(&name) || SPECIAL_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// The value that is assigned, where it stays as it is read: a shell looks for `~` after each colon too.
pub(super) fn assigned(word: &Word, written: &str) -> Option<String> {
    let has_late_tilde = written.char_indices().any(|(at, c)| c == '~' && at > 0);
    word.known().filter(|_| !has_late_tilde).map(str::to_owned)
}

/// Whether, after this command, nothing is known of variables or of what a command's name means.
pub(super) fn unsettles(command: &Command) -> bool {
    let arg = |at: usize| command.args.get(at);
    match command.program.as_str() {
        "" => true,
        "set" => !command.args.iter().all(|arg| arg.known().is_some_and(is_harmless_option)),
        // `printf -v NAME`
        "printf" => arg(0).is_none_or(|first| first.known().is_none_or(|text| text.starts_with('-'))),
        "wait" => command.args.iter().any(|arg| arg.known().is_none_or(|text| text.starts_with("-p"))),
        "export" => command.args.iter().any(|arg| arg.known().is_none_or(|text| text.starts_with('-'))),
        program => UNSETTLING.contains(&program),
    }
}

/// `set -euo pipefail` and its like.
fn is_harmless_option(text: &str) -> bool {
    let flags = text.strip_prefix(['-', '+']).filter(|flags| !flags.is_empty());
    flags.is_some_and(|flags| flags.bytes().all(|b| b"euxo".contains(&b)))
        || matches!(text, "pipefail" | "errexit" | "nounset" | "xtrace")
}
