//! Scripts for `sh -c` and its kin, read by a shell's grammar: every simple command in them, and where they write to.

use crate::reading::{Command, Reading, Stdin, Word};
use crate::words::{self, OPENERS_MAX};
use crate::{DEPTH_MAX, SCRIPT_BYTES_MAX};
use brush_parser::ast::{
    AndOr, AndOrList, Command as Node, CommandPrefixOrSuffixItem as Item, CompoundCommand, CompoundList,
    ForClauseCommand, IoHereDocument, IoRedirect, Pipeline, Program, SeparatorOperator, SimpleCommand,
};
use brush_parser::{ParserOptions, Token};
use places::Places;
use std::collections::BTreeSet;
use variables::Variables;

mod output;
mod places;
mod redirects;
mod simple;
mod variables;

pub(crate) use redirects::is_no_file;

/// How much work a script may make for the grammar: its tokens, doubled for each level of nesting, since a syntax error makes
/// the parser try alternatives at every level.
const PARSE_WORK_MAX: usize = 1 << 17;

/// Rounds of loops over known words that are read one by one, at most, in all of a command.
pub(crate) const ROUNDS_MAX: usize = 128;

/// Compound commands inside one another, at most; the parser recurses at each.
const NESTING_MAX: usize = 14;

const READER: &str = "shell/1";

/// Reads a script that runs in the command's place. What can't be read makes the exec opaque.
///
/// INVARIANT: a variable stands for a text only where nothing in all of the script could give it another one. Where something
/// might, everything is read again with no variable known, and no loop or pipe followed.
pub(crate) fn script(to: &mut Reading<'_>, by: &Command, text: &str) {
    read(to, by, text);
}

/// The same; gives where it ends, for a script that the shell runs as its own.
fn read(to: &mut Reading<'_>, by: &Command, text: &str) -> Option<Places> {
    if by.depth >= DEPTH_MAX {
        to.is_opaque = true;
        return None;
    }
    let options = ParserOptions::default();
    let Some(program) = parse(text, &options) else {
        to.is_opaque = true;
        return None;
    };
    let (found, was) = (to.found.len(), (to.is_opaque, to.is_full, to.follows));
    // Others than these know more ways to set a variable.
    let follows = was.2 && !matches!(by.program.as_str(), "zsh" | "ksh" | "fish");
    to.follows = follows;
    let (mut after, is_sure) = walk(to, by, text, &program, &options);
    if !is_sure {
        (to.is_opaque, to.is_full, to.follows) = (was.0, was.1, false);
        to.found.truncate(found);
        after = walk(to, by, text, &program, &options).0;
    }
    to.follows = was.2;
    Some(after)
}

/// Reads the script once: where it ends, and whether what was taken for known is.
fn walk(to: &mut Reading<'_>, by: &Command, text: &str, program: &Program, options: &ParserOptions) -> (Places, bool) {
    let home = if ["HOME=", "HOME ", "HOME+="].iter().any(|s| text.contains(s)) { "" } else { to.home };
    let mut walk = Walk {
        home: home.to_owned(),
        to,
        place: Command { depth: by.depth + 1, stdin: Stdin::Other, ..by.clone() },
        is_pwd_set: text.contains("PWD="),
        is_cdpath_set: text.contains("CDPATH"),
        went: None,
        functions: BTreeSet::new(),
        options,
        vars: Variables::default(),
        changed: BTreeSet::new(),
        piped: None,
        has_followed: false,
        is_unsettled: false,
        works_out: false,
    };
    walk.define(program);
    for list in &program.complete_commands {
        walk.list(list);
    }
    walk.to.is_opaque |= walk.works_out && may_hide_a_command(text);
    let is_sure = !(walk.has_followed && (walk.is_unsettled || !walk.functions.is_empty()));
    (Places::of(&walk.place), is_sure)
}

/// Whether a variable of the script's may hold what an expression would run: `X='a[$(rm f)]'; ((X))`. Values come from the text, where
/// they may be put together from parts, or from elsewhere.
fn may_hide_a_command(text: &str) -> bool {
    let from_text = ["`", "$'", "$\"", "\\$"].iter().any(|sign| text.contains(sign));
    let mut opened = text.match_indices("$(").map(|(at, _)| text.get(at + 2..).unwrap_or_default());
    let from_elsewhere = ["read", "mapfile", "source", ". "].iter().any(|sign| text.contains(sign));
    from_text || from_elsewhere || opened.any(|rest| !rest.starts_with('('))
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
    is_cdpath_set: bool,
    /// Where it is if the `cd` that it has just read succeeded.
    went: Option<Places>,
    functions: BTreeSet<String>,
    options: &'r ParserOptions,
    vars: Variables,
    /// Every name that was assigned to so far.
    changed: BTreeSet<String>,
    /// What the command before in the pipe writes.
    piped: Option<String>,
    /// Something was read by what a variable held, a loop went over or a pipe carried.
    has_followed: bool,
    /// Something may have changed that without being seen to.
    is_unsettled: bool,
    /// The shell works out an expression, of variables perhaps: what they hold is one too.
    works_out: bool,
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
            if matches!(item.1, SeparatorOperator::Async) {
                self.apart(|walk| walk.and_or(&item.0));
            } else {
                self.and_or(&item.0);
            }
        }
    }

    fn and_or(&mut self, list: &AndOrList) {
        self.went = None;
        self.pipeline(&list.first);
        // What variables may hold, and where it may be, wherever the list stops.
        let (mut either, mut anywhere) = (self.vars.clone(), Places::of(&self.place));
        for more in &list.additional {
            match more {
                AndOr::And(p) => {
                    // Runs only if what stands before has succeeded.
                    if let Some(there) = self.went.take() {
                        there.put(&mut self.place);
                    }
                    self.pipeline(p);
                }
                AndOr::Or(p) if leaves(p) => {
                    // Whoever is here after it, has succeeded before it.
                    if let Some(there) = self.went.take() {
                        anywhere = there;
                        anywhere.clone().put(&mut self.place);
                    }
                    self.apart(|walk| walk.pipeline(p));
                }
                AndOr::Or(p) => {
                    // Runs only if what stands before failed: what it does to the place may not happen.
                    self.went = None;
                    self.vars.meet(&either);
                    if self.to.commands {
                        anywhere.clone().put(&mut self.place);
                    }
                    self.maybe(|walk| walk.pipeline(p));
                }
            }
            either.meet(&self.vars);
            anywhere.join(Places::of(&self.place), self.to.commands);
        }
        self.vars = either;
        if self.to.commands {
            anywhere.put(&mut self.place);
        }
        self.went = None;
    }

    /// Reads what may or may not run: it is in one of two places afterwards, or, where that is not to be told, in any.
    fn maybe(&mut self, read: impl FnOnce(&mut Self)) {
        let (mut before, vars) = (Places::of(&self.place), self.vars.clone());
        read(self);
        self.vars.meet(&vars);
        self.went = None;
        before.join(Places::of(&self.place), self.to.commands);
        before.put(&mut self.place);
    }

    /// Reads what may run any number of times: what one round leaves, the next one finds.
    fn again_and_again(&mut self, mut read: impl FnMut(&mut Self)) {
        let before = Places::of(&self.place);
        let (vars, changed) = (self.vars.clone(), std::mem::take(&mut self.changed));
        read(self);
        // A round may also end in its middle: what it assigned anywhere is not what it was.
        self.is_unsettled |= vars.has_any(&self.changed);
        self.changed.extend(changed);
        self.vars.meet(&vars);
        if Places::of(&self.place).are(&before) {
            self.place.is_home_repository &= before.0.iter().all(|(_, is_home)| *is_home);
        } else {
            Places::unknown().put(&mut self.place);
            read(self);
            self.vars.meet(&vars);
            Places::unknown().put(&mut self.place);
        }
        self.went = None;
    }

    /// Reads what runs in a shell of its own.
    fn apart(&mut self, read: impl FnOnce(&mut Self)) {
        let (before, vars) = (self.place.clone(), self.vars.clone());
        read(self);
        self.place = before;
        self.vars.meet(&vars);
        self.went = None;
    }

    fn pipeline(&mut self, pipeline: &Pipeline) {
        match pipeline.seq.as_slice() {
            [one] => {
                self.node(one);
                if pipeline.bang {
                    self.went = None;
                }
            }
            many => {
                let mut written = None;
                for node in many {
                    let writes = self.writes(node, written.as_deref());
                    self.piped = written;
                    self.apart(|walk| walk.node(node));
                    written = writes;
                }
            }
        }
    }

    /// What the command certainly writes into the pipe after it.
    fn writes(&self, node: &Node, piped: Option<&str>) -> Option<String> {
        let Node::Simple(SimpleCommand { prefix: None, word_or_name: Some(name), suffix }) = node else { return None };
        let read = |text: &str| words::read(text, self.known(None), self.options).word;
        let (name, mut args, mut stdin) = (read(&name.value), Vec::new(), piped.map(str::to_owned));
        for item in suffix.iter().flat_map(|s| &s.0) {
            match item {
                Item::Word(word) => args.push(read(&word.value)),
                Item::IoRedirect(IoRedirect::HereDocument(None | Some(0), here)) => stdin = self.here(here),
                _ => return None,
            }
        }
        let name = name.known().filter(|_| self.to.follows)?;
        output::literal(name, &args, stdin.as_deref())
    }

    /// A here-document's text, where it is what is written.
    fn here(&self, here: &IoHereDocument) -> Option<String> {
        let is_literal = !here.requires_expansion || !here.doc.value.contains(['$', '`', '\\']);
        is_literal.then(|| here.doc.value.clone())
    }

    fn node(&mut self, node: &Node) {
        if !matches!(node, Node::Simple(_)) {
            self.piped = None;
        }
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
                // That all of it succeeded says nothing of what stands within.
                self.went = None;
            }
            Node::Function(f) => {
                self.functions.insert(f.fname.value.clone());
                for redirect in f.body.1.iter().flat_map(|r| &r.0) {
                    self.redirect(redirect);
                }
                self.again_and_again(|walk| walk.compound(&f.body.0));
            }
            Node::ExtendedTest(test, redirects) => {
                for redirect in redirects.iter().flat_map(|r| &r.0) {
                    self.redirect(redirect);
                }
                // To a plain `sh` that is a command's name, and what looks like a comparison a redirection.
                self.to.is_opaque |= !self.has_extensions();
                // Its words are kept in the tree as text; only what is substituted into them runs.
                let text = test.expr.to_string();
                let is_of_numbers = ["-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-v", "-R"]
                    .iter()
                    .any(|operator| text.contains(operator));
                if is_of_numbers { self.arithmetic(&text) } else { drop(self.word(&text)) }
            }
        }
    }

    fn compound(&mut self, compound: &CompoundCommand) {
        self.place.depth += 1;
        match compound {
            CompoundCommand::BraceGroup(group) => self.list(&group.list),
            CompoundCommand::Subshell(shell) => self.apart(|walk| walk.list(&shell.list)),
            CompoundCommand::ForClause(each) => self.each(each),
            CompoundCommand::ArithmeticForClause(each) => {
                for expr in [&each.initializer, &each.condition, &each.updater].into_iter().flatten() {
                    self.arithmetic(&expr.value);
                }
                self.again_and_again(|walk| walk.list(&each.body.list));
            }
            CompoundCommand::Arithmetic(command) => {
                // To a plain `sh` these are two subshells, one in the other.
                self.to.is_opaque |= !self.has_extensions();
                self.arithmetic(&command.expr.value);
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
                self.again_and_again(|walk| {
                    walk.maybe(|walk| walk.list(&clause.0));
                    walk.maybe(|walk| walk.list(&clause.1.list));
                });
            }
            CompoundCommand::Coprocess(process) => self.apart(|walk| walk.node(&process.body)),
        }
        self.place.depth = self.place.depth.saturating_sub(1);
    }

    /// A loop over words: round by round where all of them are known, else with a variable that may hold anything.
    fn each(&mut self, each: &ForClauseCommand) {
        let words: Vec<Word> = each.values.iter().flatten().map(|word| self.word(&word.value)).collect();
        let name = each.variable_name.as_str();
        self.assign(name, None);
        let known: Option<Vec<String>> = words.iter().map(|word| word.known().map(str::to_owned)).collect();
        let known = known.filter(|known| {
            self.to.follows
                && each.values.is_some()
                && known.len() <= self.to.rounds_left
                && !variables::is_special(name)
        });
        let Some(known) = known else { return self.again_and_again(|walk| walk.list(&each.body.list)) };
        self.to.rounds_left -= known.len();
        self.has_followed = true;
        let outside = self.vars.clone();
        self.again_and_again(|walk| {
            for word in &known {
                walk.vars = outside.clone();
                walk.vars.set(name, Some(word.clone()));
                walk.list(&each.body.list);
            }
        });
        self.vars.forget(name);
    }

    /// Whether the shell has more than every `sh` has.
    fn has_extensions(&self) -> bool {
        matches!(self.place.program.as_str(), "bash" | "zsh" | "ksh")
    }

    /// An expression that the shell works out.
    fn arithmetic(&mut self, text: &str) {
        self.word(text);
        (self.is_unsettled, self.works_out) = (true, true);
        self.to.is_opaque |= words::may_run_by_index(text);
    }
}

/// Whether it only ends the script, or the round of a loop.
fn leaves(pipeline: &Pipeline) -> bool {
    let [Node::Simple(SimpleCommand { prefix: None, word_or_name: Some(name), .. })] = pipeline.seq.as_slice() else {
        return false;
    };
    !pipeline.bang && matches!(name.value.as_str(), "exit" | "return")
}
