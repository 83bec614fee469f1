//! What a command is to its reader, and where the reader puts the actions that it finds.

use crate::exec::GitContext;
use crate::{ACTIONS_MAX, DEPTH_MAX, names, programs};
use flyball_kernel::{Action, Resource, Surface, Value, Verb};

/// Characters of a command that `implied_by` shows.
const SHOWN_CHARS_MAX: usize = 200;

/// An argument: known, or what could not be known before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Exactly this.
    Known(String),
    /// As it was written, with a variable, glob or substitution in it.
    Unknown(String),
}

impl Word {
    pub fn known(&self) -> Option<&str> {
        if let Word::Known(s) = self { Some(s) } else { None }
    }

    pub fn written(&self) -> &str {
        match self {
            Word::Known(s) | Word::Unknown(s) => s,
        }
    }
}

/// One command to be read.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// The program, by the name that charters write.
    pub program: String,
    /// Its arguments, without its own name.
    pub args: Vec<Word>,
    /// Where it runs; `None` once that can't be told.
    pub cwd: Option<String>,
    /// Whether that is where the exec itself started, so that what is known of its repository holds.
    pub is_home_repository: bool,
    /// What stands on its standard input, where that is written in the script.
    pub stdin: Stdin,
    /// Where it runs instead if a `cd` before it failed, each with whether that is the repository that is known.
    pub elsewhere: Vec<(String, bool)>,
    /// How many wrappers, shells and substitutions it is inside of.
    pub depth: usize,
}

/// What a command's standard input is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stdin {
    /// Whatever the program was started with, or a pipe.
    Other,
    /// A here-document or here-string, word for word.
    Text(String),
}

impl Command {
    /// Another command in the same place, one level further in.
    pub fn inner(&self, args: &[Word]) -> Option<Command> {
        let (program, args) = args.split_first()?;
        // A program that can't be known is told by its empty name.
        let program = program.known().map(|p| names::program(p, Some(p))).unwrap_or_default();
        Some(Command { program, args: args.to_vec(), depth: self.depth + 1, ..self.clone() })
    }

    /// Another program in its place, with the same words.
    pub fn named(&self, program: &str) -> Command {
        Command { program: program.to_owned(), ..self.clone() }
    }

    /// What is known of a repository does not hold for it.
    pub fn leave_repository(&mut self) {
        self.is_home_repository = false;
        self.elsewhere.iter_mut().for_each(|(_, is_home)| *is_home = false);
    }

    /// The same command in each folder that it may run in.
    pub fn everywhere(&self) -> Vec<Command> {
        let here = Command { elsewhere: Vec::new(), ..self.clone() };
        let there = self.elsewhere.iter().map(|(cwd, is_home_repository)| Command {
            cwd: Some(cwd.clone()),
            is_home_repository: *is_home_repository,
            ..here.clone()
        });
        std::iter::once(here.clone()).chain(there).collect()
    }

    /// The command as text, shortened.
    pub fn shown(&self) -> String {
        let mut out = self.program.clone();
        for arg in &self.args {
            out.push(' ');
            out.push_str(arg.written());
            if out.len() > 8 * SHOWN_CHARS_MAX {
                break;
            }
        }
        shorten(&out)
    }

    /// A path argument made absolute.
    pub fn path(&self, word: &Word) -> Option<String> {
        absolute(self.cwd.as_deref(), word.known()?)
    }
}

/// All that a path may mean: by its letters, as an editor or a shell's `cd` reads it, and as the operating system walks it, which
/// goes up from where a link leads. In the second `..` is left in: who resolves links takes it out.
pub(crate) fn places(cwd: Option<&str>, path: &str) -> Vec<String> {
    let walked = absolute(cwd, path).zip(walked(cwd, path));
    walked.map(|(plain, walked)| if plain == walked { vec![plain] } else { vec![plain, walked] }).unwrap_or_default()
}

/// A path as it is walked: absolute, with its `..`.
pub(crate) fn walked(cwd: Option<&str>, path: &str) -> Option<String> {
    let full = joined(cwd, path)?;
    let parts: Vec<&str> = full.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let up = parts.iter().take_while(|part| **part == "..").count();
    Some(format!("/{}", parts.get(up..).unwrap_or_default().join("/")))
}

fn joined(cwd: Option<&str>, path: &str) -> Option<String> {
    Some(match path.as_bytes().first()? {
        b'/' => path.to_owned(),
        _ => format!("{}/{path}", cwd?),
    })
}

/// At most [`SHOWN_CHARS_MAX`] characters on one line.
pub(crate) fn shorten(text: &str) -> String {
    let mut out: String = text.chars().take(SHOWN_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

/// A path without `.`, `..` and doubled slashes, by its letters alone. `None` for a relative one where the working directory
/// is not known, and for none.
pub(crate) fn absolute(cwd: Option<&str>, path: &str) -> Option<String> {
    let full = joined(cwd, path)?;
    let mut parts: Vec<&str> = Vec::new();
    for part in full.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// The actions found so far.
pub(crate) struct Reading<'a> {
    pub home: &'a str,
    pub git: Option<&'a GitContext>,
    /// Whether each command inside scripts and wrappers gives a `process.exec` of its own.
    pub commands: bool,
    pub found: Vec<Action>,
    /// Something could not be read at all: the exec itself is opaque.
    pub is_opaque: bool,
    /// More was implied than is listed.
    pub is_full: bool,
    /// Variables, loops and pipes are followed.
    pub follows: bool,
    /// Rounds of loops that may still be read.
    pub rounds_left: usize,
}

/// Attributes of an action being made.
pub(crate) type Attrs<'a> = &'a [(&'static str, Value)];

impl<'a> Reading<'a> {
    /// Nothing read yet.
    pub fn new(home: &'a str, git: Option<&'a GitContext>, commands: bool) -> Self {
        let rounds_left = crate::shell::ROUNDS_MAX;
        Self { home, git, commands, found: Vec::new(), is_opaque: false, is_full: false, follows: true, rounds_left }
    }
}

impl Reading<'_> {
    /// Reads a command inside another: what it implies, and, where asked for, that it runs. Once for each folder that it may be in.
    pub fn command(&mut self, command: &Command) {
        for place in command.everywhere() {
            self.command_here(&place);
        }
    }

    fn command_here(&mut self, command: &Command) {
        if command.depth > DEPTH_MAX || self.is_full {
            self.is_opaque = true;
            return;
        }
        if command.program.is_empty() {
            self.is_opaque = true;
        }
        if self.commands {
            self.exec(command);
        }
        programs::read(self, command);
    }

    fn exec(&mut self, command: &Command) {
        let mut argv = Vec::new();
        let mut is_known = !command.program.is_empty() && command.cwd.is_some();
        for arg in &command.args {
            is_known &= arg.known().is_some();
            argv.push(arg.written().to_owned());
        }
        let fields = [
            ("program", Value::from(command.program.as_str())),
            ("argv", Value::from(argv)),
            ("cwd", Value::from(command.cwd.as_deref().and_then(|cwd| absolute(None, cwd)).unwrap_or_default())),
        ];
        self.imply(command, "shell/1", "process.exec", &fields, &[], is_known);
    }

    /// Adds an action that the command implies. One that is not known is opaque, and what of it is unknown stays empty.
    pub fn imply(
        &mut self,
        by: &Command,
        reader: &'static str,
        verb: &'static str,
        fields: &[(&'static str, Value)],
        attrs: Attrs<'_>,
        is_known: bool,
    ) {
        if self.found.len() + 2 >= ACTIONS_MAX {
            // One opaque action stands for the rest: the exec itself.
            self.is_full = true;
            self.is_opaque = true;
            return;
        }
        match make(by, reader, verb, fields, attrs, is_known) {
            Some(action) => self.found.push(action),
            // The vocabulary lacks what the reader names: never drop it silently.
            None => self.is_opaque = true,
        }
    }

    /// Adds an action that another reader made of what the command does.
    pub fn also(&mut self, by: &Command, reader: &'static str, mut action: Action) {
        if self.found.len() + 2 >= ACTIONS_MAX {
            self.is_full = true;
            self.is_opaque = true;
            return;
        }
        action.surface = Surface::Exec;
        let said = action.set("implied_by", by.shown().into()).and_then(|()| action.set("reader", reader.into()));
        self.is_opaque |= said.is_err();
        self.found.push(action);
    }

    /// What a path that was written as that word may mean: an empty one where that can't be told. Where a boundary sees what is
    /// done, its letters do.
    pub fn places_or_none(&self, by: &Command, word: &Word) -> Vec<String> {
        let paths = match (word.known(), self.commands) {
            (Some(path), true) => places(by.cwd.as_deref(), path),
            _ => by.path(word).into_iter().collect(),
        };
        if paths.is_empty() { vec![String::new()] } else { paths }
    }

    /// Where a program goes that changes its folder by itself: the operating system walks there.
    pub fn folder(&self, cwd: Option<&str>, dir: &Word) -> Option<String> {
        let dir = dir.known()?;
        if self.commands { walked(cwd, dir) } else { absolute(cwd, dir) }
    }

    /// An action on a path that was written as that word.
    pub fn on_path(&mut self, by: &Command, reader: &'static str, verb: &'static str, word: &Word, attrs: Attrs<'_>) {
        for path in self.places_or_none(by, word) {
            let is_known = !path.is_empty();
            self.imply(by, reader, verb, &[("path", path.into())], attrs, is_known);
        }
    }
}

/// Whether an assignment makes well-known programs start others, or load code, that the command does not name.
pub(crate) fn starts_more(word: &str) -> bool {
    let (name, value) = word.split_once('=').unwrap_or((word, "…"));
    let does = matches!(
        name.trim_end_matches('+'),
        "GIT_EXTERNAL_DIFF"
            | "GIT_PAGER"
            | "GIT_EDITOR"
            | "GIT_SEQUENCE_EDITOR"
            | "GIT_SSH"
            | "GIT_SSH_COMMAND"
            | "GIT_ASKPASS"
            | "GIT_PROXY_COMMAND"
            | "GIT_TEMPLATE_DIR"
            | "GIT_EXEC_PATH"
            | "SSH_ASKPASS"
            | "PAGER"
            | "MANPAGER"
            | "LESSOPEN"
            | "LESSCLOSE"
            | "EDITOR"
            | "VISUAL"
            | "LD_PRELOAD"
            | "LD_AUDIT"
            | "BASH_ENV"
            | "ENV"
            | "PROMPT_COMMAND"
            | "PS4"
            | "PERL5OPT"
            | "RUBYOPT"
            | "NODE_OPTIONS"
            | "PYTHONSTARTUP"
            | "RUSTC_WRAPPER"
    );
    (does || name.starts_with("GIT_CONFIG")) && !does_nothing(value)
}

/// Whether a setting, `name=value` of git's own, names a program to start.
pub(crate) fn is_command_setting(setting: &str) -> bool {
    let (name, value) = setting.split_once('=').unwrap_or((setting, "…"));
    let name = name.to_ascii_lowercase();
    let ends = [
        "pager",
        "editor",
        "sshcommand",
        "hookspath",
        "fsmonitor",
        "askpass",
        "gitproxy",
        ".external",
        ".difffilter",
        ".textconv",
        ".command",
        ".cmd",
        ".driver",
        ".clean",
        ".smudge",
        ".process",
        ".program",
        ".helper",
        ".uploadpack",
        ".receivepack",
        ".templatedir",
        "include.path",
    ];
    (ends.iter().any(|end| name.ends_with(end)) || name.starts_with("pager.") || name.starts_with("includeif."))
        && !does_nothing(value)
}

/// What people write to have no pager and no editor.
fn does_nothing(value: &str) -> bool {
    matches!(value.trim_matches(['"', '\'']), "" | "cat" | "less" | "more" | "true" | "false" | ":")
}

/// Whether an assignment, or a variable by its name, can make git read another repository or other settings.
pub(crate) fn moves_git(word: &str) -> bool {
    let name = word.split_once('=').map_or(word, |(name, _)| name.trim_end_matches('+'));
    name.starts_with("GIT_") || matches!(name, "HOME" | "XDG_CONFIG_HOME" | "PATH")
}

fn make(
    by: &Command,
    reader: &'static str,
    verb: &'static str,
    fields: &[(&'static str, Value)],
    attrs: Attrs<'_>,
    is_known: bool,
) -> Option<Action> {
    let mut resource = Resource::new(Verb::named(verb)?.spec().resource);
    for (name, value) in fields {
        resource = resource.with(name, value.clone()).ok()?;
    }
    let mut action = Action::new(verb, resource, Surface::Exec).ok()?;
    for (name, value) in attrs {
        action.set(name, value.clone()).ok()?;
    }
    if !is_known {
        action.set("opaque", true.into()).ok()?;
    }
    action.with("implied_by", by.shown()).ok()?.with("reader", reader).ok()
}
