//! A simple command: its assignments, its words, and what the shell does itself.

use super::places::Places;
use super::{READER, Walk, read, script, variables};
use crate::names;
use crate::reading::{Command, Stdin, Word, absolute, moves_git, starts_more};
use crate::words::{self, Known};
use brush_parser::ast::{
    Assignment, AssignmentName, AssignmentValue, CommandPrefixOrSuffixItem as Item, SimpleCommand,
};

impl Walk<'_, '_> {
    pub(super) fn assign(&mut self, name: &str, value: Option<String>) {
        let value = value.filter(|_| self.to.follows);
        self.has_followed |= value.is_some();
        self.vars.set(name, value);
        self.changed.insert(name.to_owned());
        self.is_unsettled |= variables::changes_words(name);
    }

    /// An assignment, `is_alone` without a command that it is for.
    fn assignment(&mut self, assignment: &Assignment, is_alone: bool) {
        let (name, value) = match (&assignment.name, &assignment.value) {
            (AssignmentName::ArrayElementName(name, index), _) => {
                self.arithmetic(&format!("{name}[{index}]"));
                (name, None)
            }
            (AssignmentName::VariableName(name), AssignmentValue::Scalar(value)) if is_alone && !assignment.append => {
                let word = words::read(&value.value, self.known(self.place.cwd.as_deref()), self.options).word;
                (name, variables::assigned(&word, &value.value))
            }
            (AssignmentName::VariableName(name), _) => (name, None),
        };
        self.assign(name, value);
    }

    pub(super) fn simple(&mut self, simple: &SimpleCommand) {
        let piped = self.piped.take();
        self.has_followed |= piped.is_some();
        let mut stdin = piped.map_or(Stdin::Other, Stdin::Text);
        let mut assigned = false;
        let before = simple.prefix.iter().flat_map(|p| &p.0);
        for item in before {
            assigned |= matches!(item, Item::AssignmentWord(_, word) if moves_git(&word.value));
            self.to.is_opaque |=
                self.to.commands && matches!(item, Item::AssignmentWord(_, word) if starts_more(&word.value));
            self.item(item, None, &mut stdin);
            if let (None, Item::AssignmentWord(assignment, _)) = (&simple.word_or_name, item) {
                self.assignment(assignment, true);
            }
            // Which comes first, this or what is assigned, is not the same in every shell.
            self.is_unsettled |=
                simple.word_or_name.is_none() && assigned_any(simple) && matches!(item, Item::IoRedirect(_));
        }
        let Some(name) = &simple.word_or_name else {
            // Alone it holds for all that follows.
            if assigned {
                self.place.leave_repository();
            }
            return;
        };
        let name = self.word(&name.value);
        let mut args = Vec::new();
        for item in simple.suffix.iter().flat_map(|s| &s.0) {
            self.item(item, Some(&mut args), &mut stdin);
        }
        // The command's words are what they are before these; of some commands they stay afterwards.
        for item in simple.prefix.iter().flat_map(|p| &p.0) {
            if let Item::AssignmentWord(assignment, _) = item {
                self.assignment(assignment, false);
            }
        }
        let program = match name.known() {
            Some(name) if self.functions.contains(name) => return,
            Some(name) => names::program(name, Some(name)),
            None => String::new(),
        };
        // `GIT_DIR=… git push`: another place than the one that is known.
        let mut command = Command { program, args, stdin, ..self.place.clone() };
        if assigned {
            command.leave_repository();
        }
        // What these are given runs in the shell itself.
        let mut own = command.clone();
        while own.program == "command" || own.program == "builtin" && self.has_extensions() {
            let words = own.args.iter().skip_while(|arg| matches!(arg.known(), Some("-p" | "--"))).cloned();
            own = Command {
                depth: command.depth,
                ..own.inner(&words.collect::<Vec<_>>()).unwrap_or_else(|| own.named(""))
            };
        }
        self.is_unsettled |= variables::unsettles(&own);
        if own.program == "export" {
            self.exports(&own.args);
        }
        if !self.built_in(&own) {
            self.to.command(&command);
        }
    }

    /// One item before or after a command's name.
    fn item(&mut self, item: &Item, args: Option<&mut Vec<Word>>, stdin: &mut Stdin) {
        match item {
            Item::IoRedirect(redirect) => {
                if let Some(text) = self.redirect(redirect) {
                    *stdin = text;
                }
            }
            Item::Word(word) => {
                let word = self.word(&word.value);
                if let Some(args) = args {
                    args.push(word);
                }
            }
            Item::AssignmentWord(assignment, word) => {
                match &assignment.value {
                    AssignmentValue::Scalar(value) => {
                        self.word(&value.value);
                    }
                    AssignmentValue::Array(values) => {
                        for (key, value) in values {
                            if let Some(key) = key {
                                self.word(&key.value);
                            }
                            self.word(&value.value);
                        }
                    }
                }
                // After the name it is an argument like another: `env X=1`, `dd of=f`. Its commands were read above.
                if let Some(args) = args {
                    args.push(words::read(&word.value, self.known(None), self.options).word);
                }
            }
            Item::ProcessSubstitution(_, shell) => {
                self.apart(|walk| {
                    walk.place.depth += 1;
                    walk.list(&shell.list);
                });
                if let Some(args) = args {
                    args.push(Word::Unknown("<(…)".into()));
                }
            }
        }
    }

    pub(super) fn known<'k>(&'k self, cwd: Option<&'k str>) -> Known<'k> {
        Known { home: &self.home, cwd: cwd.filter(|_| !self.is_pwd_set), vars: self.vars.values() }
    }

    /// Reads a word, and the commands inside it.
    pub(super) fn word(&mut self, text: &str) -> Word {
        let read = words::read(text, self.known(self.place.cwd.as_deref()), self.options);
        // `$'a'` is `$a` to some.
        self.to.is_opaque |= text.contains("$'") && !self.has_extensions();
        self.is_unsettled |= read.is_assigning;
        self.works_out |= read.works_out;
        self.to.is_opaque |= read.is_unread;
        for inner in &read.scripts {
            script(self.to, &self.place.clone(), inner);
        }
        read.word
    }

    /// What the shell does itself; whether it was one of those.
    fn built_in(&mut self, command: &Command) -> bool {
        let program = command.program.as_str();
        if !matches!(program, "echo" | ":" | "true" | "false") && command.args.iter().any(is_index_with_command) {
            self.to.is_opaque |= BUILT_IN.contains(&program);
        }
        match program {
            "cd" | "chdir" => self.cd(&command.args),
            "pushd" | "popd" => Places::unknown().put(&mut self.place),
            "eval" => match words_known(&command.args) {
                Some(text) => {
                    read(self.to, &self.place.clone(), &text).unwrap_or_else(Places::unknown).put(&mut self.place);
                }
                None => self.to.is_opaque = true,
            },
            "trap" => match command.args.iter().find(|a| !a.written().starts_with('-')) {
                Some(Word::Known(text)) => {
                    let after = read(self.to, &self.place.clone(), text);
                    // It runs whenever it likes.
                    self.to.is_opaque |= after.is_none_or(|after| !after.are(&Places::of(&self.place)));
                }
                Some(Word::Unknown(_)) => self.to.is_opaque = true,
                None => {}
            },
            "." | "source" => {
                // What is in the file is not known here.
                self.to.is_opaque = true;
                if let Some(file) = command.args.first() {
                    command.everywhere().iter().for_each(|by| self.to.on_path(by, READER, "fs.read", file, &[]));
                }
            }
            "export" | "declare" | "typeset" | "readonly" | "local" | "read" | "unset" | "printf" | "mapfile"
            | "readarray"
                if command.args.iter().any(|arg| arg.known().is_none_or(moves_git)) =>
            {
                self.place.leave_repository();
                self.to.is_opaque |= self.to.commands
                    && command.args.iter().filter_map(Word::known).any(|arg| arg.contains('=') && starts_more(arg));
            }
            // What a word means from here on may be another; `mapfile -C` runs a text.
            "alias" | "hash" | "enable" if !command.args.is_empty() => self.to.is_opaque = true,
            "mapfile" | "readarray" if command.args.iter().any(|arg| arg.written().starts_with("-C")) => {
                self.to.is_opaque = true;
            }
            "let" => self.works_out = true,
            program => return BUILT_IN.contains(&program),
        }
        true
    }

    fn exports(&mut self, args: &[Word]) {
        for arg in args.iter().filter_map(Word::known) {
            if let Some((name, value)) = arg.split_once('=') {
                let is_plain = !name.ends_with('+') && !name.contains('[') && !value.contains('~');
                self.assign(name.trim_end_matches('+'), is_plain.then(|| value.to_owned()));
            }
        }
    }

    fn cd(&mut self, args: &[Word]) {
        let to = args.iter().find(|a| !matches!(a.written(), "-L" | "-P" | "-e" | "-@" | "--"));
        let is_walked = args.iter().any(|arg| arg.written() == "-P");
        let from = |cwd: Option<&str>| match to {
            None => Some(self.home.clone()).filter(|h| !h.is_empty()),
            Some(Word::Known(dir)) if dir == "-" || dir.is_empty() || is_walked && dir.contains("..") => None,
            // Looked for in other folders first.
            Some(Word::Known(dir)) if self.is_cdpath_set && !dir.starts_with('/') => None,
            Some(Word::Known(dir)) => absolute(cwd, dir),
            Some(_) => None,
        };
        let mut anywhere = Places::of(&self.place);
        let there = anywhere.each(from);
        self.went = Some(there.clone());
        if self.to.commands {
            // It may fail, and what comes next runs all the same.
            std::mem::replace(&mut anywhere, there.clone()).0.into_iter().for_each(|place| anywhere.add(place));
            anywhere.put(&mut self.place);
        } else {
            there.put(&mut self.place);
        }
    }
}

/// What a shell does itself, beside what stands by name.
const BUILT_IN: &[&str] = &[
    ":",
    "true",
    "false",
    "test",
    "[",
    "echo",
    "printf",
    "export",
    "unset",
    "set",
    "shift",
    "local",
    "declare",
    "typeset",
    "readonly",
    "return",
    "exit",
    "break",
    "continue",
    "wait",
    "read",
    "umask",
    "shopt",
    "getopts",
    "hash",
    "enable",
    "type",
    "jobs",
    "fg",
    "bg",
    "ulimit",
    "times",
    "let",
    "pwd",
    "alias",
    "unalias",
    "mapfile",
    "readarray",
    "disown",
    "dirs",
    "history",
];

/// `a[$(rm f)]`: a shell that looks for the name of a variable runs it, quotes or not.
fn is_index_with_command(word: &Word) -> bool {
    word.known().is_some_and(words::may_run_by_index)
}

fn assigned_any(simple: &SimpleCommand) -> bool {
    simple.prefix.iter().flat_map(|p| &p.0).any(|item| matches!(item, Item::AssignmentWord(..)))
}

fn words_known(args: &[Word]) -> Option<String> {
    let known: Option<Vec<&str>> = args.iter().map(Word::known).collect();
    known.map(|words| words.join(" "))
}
