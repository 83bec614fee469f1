//! Scripts for `sh -c` and its kin, read by a shell's grammar: every simple command in them, and where they write to.

use crate::reading::{Command, Reading, Stdin, Word, absolute, moves_git, shorten, starts_more};
use crate::words::{self, Known, OPENERS_MAX};
use crate::{DEPTH_MAX, SCRIPT_BYTES_MAX, names};
use brush_parser::ast::{
    AndOr, AndOrList, AssignmentValue, Command as Node, CommandPrefixOrSuffixItem as Item, CompoundCommand,
    CompoundList, IoFileRedirectKind, IoFileRedirectTarget, IoRedirect, Pipeline, Program, SeparatorOperator,
    SimpleCommand,
};
use brush_parser::{ParserOptions, Token};
use std::collections::BTreeSet;

/// How much work a script may make for the grammar: its tokens, doubled for each level of nesting, since a syntax error makes
/// the parser try alternatives at every level.
const PARSE_WORK_MAX: usize = 1 << 17;

/// Compound commands inside one another, at most; the parser recurses at each.
const NESTING_MAX: usize = 14;

const READER: &str = "shell/1";

/// Reads a script that runs in the command's place. What can't be read makes the exec opaque.
pub(crate) fn script(to: &mut Reading<'_>, by: &Command, text: &str) {
    if by.depth >= DEPTH_MAX {
        to.is_opaque = true;
        return;
    }
    let options = ParserOptions::default();
    let Some(program) = parse(text, &options) else {
        to.is_opaque = true;
        return;
    };
    let home = if ["HOME=", "HOME ", "HOME+="].iter().any(|s| text.contains(s)) { "" } else { to.home };
    let is_pwd_set = text.contains("PWD=");
    let mut walk = Walk {
        to,
        place: Command { depth: by.depth + 1, stdin: Stdin::Other, ..by.clone() },
        home: home.to_owned(),
        is_pwd_set,
        functions: BTreeSet::new(),
        options: &options,
    };
    walk.define(&program);
    for list in &program.complete_commands {
        walk.list(list);
    }
}

/// The script's tree, if it has one and is not built to exhaust whoever reads it.
fn parse(text: &str, options: &ParserOptions) -> Option<Program> {
    if text.len() > SCRIPT_BYTES_MAX || text.contains('\0') || expansions(text) > OPENERS_MAX {
        return None;
    }
    let tokens = brush_parser::uncached_tokenize_str(text, &options.tokenizer_options()).ok()?;
    let nesting = nesting(&tokens)?;
    if nesting > NESTING_MAX || tokens.len() << nesting > PARSE_WORK_MAX {
        return None;
    }
    brush_parser::parse_tokens(&tokens, options).ok()
}

/// Whether a shell that ran this script to exit code 0 has run every command in it to exit code 0: simple commands one after
/// the other, each only if the one before succeeded.
#[must_use]
pub fn all_succeeded_if_it_did(text: &str) -> bool {
    let Some(program) = parse(text, &ParserOptions::default()) else { return false };
    let [CompoundList(items)] = program.complete_commands.as_slice() else { return false };
    let [item] = items.as_slice() else { return false };
    let is_simple = |p: &Pipeline| !p.bang && matches!(p.seq.as_slice(), [Node::Simple(_)]);
    !matches!(item.1, SeparatorOperator::Async)
        && is_simple(&item.0.first)
        && item.0.additional.iter().all(|more| matches!(more, AndOr::And(p) if is_simple(p)))
}

/// Openers at which the tokenizer recurses.
fn expansions(text: &str) -> usize {
    let pairs = text.as_bytes().windows(2).filter(|w| matches!(*w, b"$(" | b"${" | b"$[" | b"<(" | b">(")).count();
    let globs = text.as_bytes().windows(2).filter(|w| matches!(*w, b"?(" | b"*(" | b"+(" | b"@(" | b"!(")).count();
    pairs + globs + text.bytes().filter(|b| *b == b'`').count() / 2
}

/// How deep compound commands are nested: never less than they are, since a closing word counts only where a command may
/// start and only against its own opener. `None` for a descriptor number beyond what the parser has room for.
fn nesting(tokens: &[Token]) -> Option<usize> {
    let mut open: Vec<&str> = Vec::new();
    let (mut deepest, mut is_start) = (0, true);
    let mut before = "";
    for token in tokens {
        let (text, is_operator) = match token {
            Token::Operator(text, _) => (text.as_str(), true),
            Token::Word(text, _) => (text.as_str(), false),
        };
        if is_operator && text.starts_with(['<', '>']) && before.len() > 6 && before.bytes().all(|b| b.is_ascii_digit())
        {
            return None;
        }
        before = text;
        let closes = match text {
            ")" | "))" if is_operator => "(",
            "}" if is_start => "{",
            "fi" if is_start => "if",
            "esac" if is_start => "case",
            "done" if is_start => "do",
            _ => "",
        };
        if !closes.is_empty() && open.last() == Some(&closes) {
            open.pop();
        } else if matches!(text, "{" | "if" | "case" | "do" | "(" | "((" | "[[" | "!" | "function" | "coproc") {
            open.push(if text == "((" { "(" } else { text });
            deepest = deepest.max(open.len());
            if matches!(text, "!" | "function" | "coproc" | "[[") {
                open.pop();
            }
        }
        let is_word_before_command = is_start
            && matches!(
                text,
                "{" | "}"
                    | "if"
                    | "then"
                    | "else"
                    | "elif"
                    | "fi"
                    | "do"
                    | "done"
                    | "while"
                    | "until"
                    | "!"
                    | "esac"
                    | "in"
            );
        is_start = is_operator && !text.starts_with(['<', '>']) || is_word_before_command || closes == "(";
    }
    Some(deepest)
}

struct Walk<'r, 'a> {
    to: &'r mut Reading<'a>,
    /// Where the next command runs.
    place: Command,
    home: String,
    is_pwd_set: bool,
    functions: BTreeSet<String>,
    options: &'r ParserOptions,
}

impl Walk<'_, '_> {
    /// Notes what the script itself calls a function, anywhere: no program of that name is meant.
    fn define(&mut self, program: &Program) {
        for list in &program.complete_commands {
            for item in &list.0 {
                for (_, pipeline) in &item.0 {
                    for command in &pipeline.seq {
                        if let Node::Function(f) = command {
                            self.functions.insert(f.fname.value.clone());
                        }
                    }
                }
            }
        }
    }

    fn list(&mut self, list: &CompoundList) {
        for item in &list.0 {
            let before = self.place.clone();
            self.and_or(&item.0);
            if matches!(item.1, SeparatorOperator::Async) {
                self.place = before;
            }
        }
    }

    fn and_or(&mut self, list: &AndOrList) {
        self.pipeline(&list.first);
        for more in &list.additional {
            match more {
                AndOr::And(p) => self.pipeline(p),
                AndOr::Or(p) => {
                    // Runs only if what stands before failed: what it does to the place may not happen.
                    self.maybe(|walk| walk.pipeline(p));
                }
            }
        }
    }

    /// Reads what may or may not run: if it changes the working directory, that is unknown afterwards.
    fn maybe(&mut self, read: impl FnOnce(&mut Self)) {
        let before = self.place.cwd.clone();
        read(self);
        if self.place.cwd != before {
            self.place.cwd = None;
            self.place.is_home_repository = false;
        }
    }

    /// Reads what runs in a shell of its own.
    fn apart(&mut self, read: impl FnOnce(&mut Self)) {
        let before = self.place.clone();
        read(self);
        self.place = before;
    }

    fn pipeline(&mut self, pipeline: &Pipeline) {
        match pipeline.seq.as_slice() {
            [one] => self.node(one),
            many => many.iter().for_each(|node| self.apart(|walk| walk.node(node))),
        }
    }

    fn node(&mut self, node: &Node) {
        if self.place.depth > DEPTH_MAX || self.to.is_full {
            self.to.is_opaque = true;
            return;
        }
        match node {
            Node::Simple(simple) => self.simple(simple),
            Node::Compound(compound, redirects) => {
                for redirect in redirects.iter().flat_map(|r| &r.0) {
                    self.redirect(redirect);
                }
                self.compound(compound);
            }
            Node::Function(f) => {
                self.functions.insert(f.fname.value.clone());
                for redirect in f.body.1.iter().flat_map(|r| &r.0) {
                    self.redirect(redirect);
                }
                self.maybe(|walk| walk.compound(&f.body.0));
            }
            Node::ExtendedTest(test, redirects) => {
                for redirect in redirects.iter().flat_map(|r| &r.0) {
                    self.redirect(redirect);
                }
                // Its words are kept in the tree as text; only what is substituted into them runs.
                self.word(&test.expr.to_string());
            }
        }
    }

    fn compound(&mut self, compound: &CompoundCommand) {
        self.place.depth += 1;
        match compound {
            CompoundCommand::BraceGroup(group) => self.list(&group.list),
            CompoundCommand::Subshell(shell) => self.apart(|walk| walk.list(&shell.list)),
            CompoundCommand::ForClause(each) => {
                for word in each.values.iter().flatten() {
                    self.word(&word.value);
                }
                self.maybe(|walk| walk.list(&each.body.list));
            }
            CompoundCommand::ArithmeticForClause(each) => {
                for expr in [&each.initializer, &each.condition, &each.updater].into_iter().flatten() {
                    self.word(&expr.value);
                }
                self.maybe(|walk| walk.list(&each.body.list));
            }
            CompoundCommand::Arithmetic(command) => {
                self.word(&command.expr.value);
            }
            CompoundCommand::CaseClause(case) => {
                self.word(&case.value.value);
                for item in &case.cases {
                    for pattern in &item.patterns {
                        self.word(&pattern.value);
                    }
                    if let Some(list) = &item.cmd {
                        self.maybe(|walk| walk.list(list));
                    }
                }
            }
            CompoundCommand::IfClause(clause) => {
                self.list(&clause.condition);
                self.maybe(|walk| walk.list(&clause.then));
                for other in clause.elses.iter().flatten() {
                    if let Some(condition) = &other.condition {
                        self.maybe(|walk| walk.list(condition));
                    }
                    self.maybe(|walk| walk.list(&other.body));
                }
            }
            CompoundCommand::WhileClause(clause) | CompoundCommand::UntilClause(clause) => {
                self.maybe(|walk| walk.list(&clause.0));
                self.maybe(|walk| walk.list(&clause.1.list));
            }
            CompoundCommand::Coprocess(process) => self.apart(|walk| walk.node(&process.body)),
        }
        self.place.depth = self.place.depth.saturating_sub(1);
    }

    fn simple(&mut self, simple: &SimpleCommand) {
        let mut stdin = Stdin::Other;
        let mut assigned = false;
        let before = simple.prefix.iter().flat_map(|p| &p.0);
        for item in before {
            assigned |= matches!(item, Item::AssignmentWord(_, word) if moves_git(&word.value));
            self.to.is_opaque |=
                self.to.commands && matches!(item, Item::AssignmentWord(_, word) if starts_more(&word.value));
            self.item(item, None, &mut stdin);
        }
        let Some(name) = &simple.word_or_name else {
            // Alone it holds for all that follows.
            self.place.is_home_repository &= !assigned;
            return;
        };
        let name = self.word(&name.value);
        let mut args = Vec::new();
        for item in simple.suffix.iter().flat_map(|s| &s.0) {
            self.item(item, Some(&mut args), &mut stdin);
        }
        let program = match name.known() {
            Some(name) if self.functions.contains(name) => return,
            Some(name) => names::program(name, Some(name)),
            None => String::new(),
        };
        // `GIT_DIR=… git push`: another place than the one that is known.
        let is_home_repository = self.place.is_home_repository && !assigned;
        let command = Command { program, args, stdin, is_home_repository, ..self.place.clone() };
        if !self.built_in(&command) {
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
                    let known = Known { home: &self.home, cwd: None };
                    args.push(words::read(&word.value, known, self.options).word);
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

    /// Reads a word, and the commands inside it.
    fn word(&mut self, text: &str) -> Word {
        let cwd = if self.is_pwd_set { None } else { self.place.cwd.clone() };
        let read = words::read(text, Known { home: &self.home, cwd: cwd.as_deref() }, self.options);
        self.to.is_opaque |= read.is_unread;
        for inner in &read.scripts {
            script(self.to, &self.place.clone(), inner);
        }
        read.word
    }

    /// A redirection: what it reads or writes; what it puts on the command's standard input.
    fn redirect(&mut self, redirect: &IoRedirect) -> Option<Stdin> {
        match redirect {
            IoRedirect::File(_, kind, target) => {
                match target {
                    IoFileRedirectTarget::Filename(word) => self.file(kind, &word.value),
                    IoFileRedirectTarget::ProcessSubstitution(_, shell) => self.apart(|walk| {
                        walk.place.depth += 1;
                        walk.list(&shell.list);
                    }),
                    IoFileRedirectTarget::Duplicate(word) => {
                        // `>&file` is bash's other way to write `&>file`; a number or `-` names a descriptor.
                        if !word.value.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
                            self.file(kind, &word.value);
                        }
                    }
                    IoFileRedirectTarget::Fd(_) => {}
                }
                None
            }
            IoRedirect::OutputAndError(word, is_append) => {
                let kind = if *is_append { IoFileRedirectKind::Append } else { IoFileRedirectKind::Write };
                self.file(&kind, &word.value);
                None
            }
            IoRedirect::HereDocument(fd, here) => {
                let mut is_literal = true;
                if here.requires_expansion {
                    is_literal = !here.doc.value.contains(['$', '`', '\\']);
                    match words::heredoc_scripts(&here.doc.value, self.options) {
                        Some(scripts) => {
                            scripts.iter().for_each(|inner| script(self.to, &self.place.clone(), inner));
                        }
                        None => self.to.is_opaque = true,
                    }
                }
                (is_literal && matches!(fd, None | Some(0))).then(|| Stdin::Text(here.doc.value.clone()))
            }
            IoRedirect::HereString(fd, word) => {
                let word = self.word(&word.value);
                (matches!(fd, None | Some(0))).then_some(())?;
                word.known().map(|text| Stdin::Text(format!("{text}\n")))
            }
        }
    }

    fn file(&mut self, kind: &IoFileRedirectKind, written: &str) {
        let word = self.word(written);
        let (sign, reads, writes, truncates) = match kind {
            IoFileRedirectKind::Read => ("<", true, false, false),
            IoFileRedirectKind::Write | IoFileRedirectKind::Clobber => (">", false, true, true),
            IoFileRedirectKind::Append => (">>", false, true, false),
            IoFileRedirectKind::ReadAndWrite => ("<>", true, true, false),
            IoFileRedirectKind::DuplicateInput => ("<&", true, false, false),
            IoFileRedirectKind::DuplicateOutput => (">&", false, true, true),
        };
        let by = Command { program: sign.into(), args: vec![Word::Known(shorten(written))], ..self.place.clone() };
        if let Some(path) = word.known() {
            if is_no_file(path) {
                return;
            }
            if let Some((host, port)) = bash_socket(path) {
                let fields = [("host", host.into()), ("port", port.into())];
                self.to.imply(&by, READER, "net.connect", &fields, &[], true);
                return;
            }
        }
        if reads {
            self.to.on_path(&by, READER, "fs.read", &word, &[]);
        }
        if writes {
            let attrs = [("create", true.into()), ("truncate", truncates.into())];
            self.to.on_path(&by, READER, "fs.write", &word, &attrs);
        }
    }

    /// What the shell does itself; whether it was one of those.
    fn built_in(&mut self, command: &Command) -> bool {
        match command.program.as_str() {
            "cd" | "chdir" => self.cd(&command.args),
            "pushd" | "popd" => {
                self.place.cwd = None;
                self.place.is_home_repository = false;
            }
            "eval" => match words_known(&command.args) {
                Some(text) => script(self.to, &self.place.clone(), &text),
                None => self.to.is_opaque = true,
            },
            "trap" => match command.args.iter().find(|a| !a.written().starts_with('-')) {
                Some(Word::Known(text)) => script(self.to, &self.place.clone(), text),
                Some(Word::Unknown(_)) => self.to.is_opaque = true,
                None => {}
            },
            "." | "source" => {
                // What is in the file is not known here.
                self.to.is_opaque = true;
                if let Some(file) = command.args.first() {
                    self.to.on_path(command, READER, "fs.read", file, &[]);
                }
            }
            "export" | "declare" | "typeset" | "readonly" | "local" | "read" | "unset" | "printf" | "mapfile"
            | "readarray"
                if command.args.iter().any(|arg| arg.known().is_none_or(moves_git)) =>
            {
                self.place.is_home_repository = false;
                self.to.is_opaque |= self.to.commands
                    && command.args.iter().filter_map(Word::known).any(|arg| arg.contains('=') && starts_more(arg));
            }
            // What a word means from here on may be another.
            "alias" if !command.args.is_empty() => self.to.is_opaque = true,
            ":" | "true" | "false" | "test" | "[" | "echo" | "printf" | "export" | "unset" | "set" | "shift"
            | "local" | "declare" | "typeset" | "readonly" | "return" | "exit" | "break" | "continue" | "wait"
            | "read" | "umask" | "shopt" | "getopts" | "hash" | "type" | "jobs" | "fg" | "bg" | "ulimit" | "times"
            | "let" | "pwd" | "alias" | "unalias" | "mapfile" | "readarray" | "disown" | "dirs" | "history" => {}
            _ => return false,
        }
        true
    }

    fn cd(&mut self, args: &[Word]) {
        let to = args.iter().find(|a| !matches!(a.written(), "-L" | "-P" | "-e" | "-@" | "--"));
        self.place.is_home_repository = false;
        self.place.cwd = match to {
            None => Some(self.home.clone()).filter(|h| !h.is_empty()),
            Some(Word::Known(dir)) if dir != "-" && !dir.is_empty() => absolute(self.place.cwd.as_deref(), dir),
            Some(_) => None,
        };
    }
}

fn words_known(args: &[Word]) -> Option<String> {
    let known: Option<Vec<&str>> = args.iter().map(Word::known).collect();
    known.map(|words| words.join(" "))
}

/// Devices and descriptors that keep nothing.
pub(crate) fn is_no_file(path: &str) -> bool {
    matches!(
        path,
        "-" | "/dev/null" | "/dev/zero" | "/dev/full" | "/dev/tty" | "/dev/stdin" | "/dev/stdout" | "/dev/stderr"
    ) || path.starts_with("/dev/fd/")
        || path.starts_with("/proc/self/fd/")
}

/// `/dev/tcp/HOST/PORT` is no file to bash, but a connection.
fn bash_socket(path: &str) -> Option<(&str, i64)> {
    let rest = path.strip_prefix("/dev/tcp/").or_else(|| path.strip_prefix("/dev/udp/"))?;
    let (host, port) = rest.split_once('/')?;
    Some((host, port.parse().ok()?))
}
