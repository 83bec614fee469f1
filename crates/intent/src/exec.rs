//! A program about to run: the action that it is, and those that it implies.

use crate::reading::{Command, Reading, Stdin, Word};
use crate::{names, programs};
use flyball_kernel::{Action, Resource, ResourceKind, Surface};

/// A program about to run, as the sandbox's exec call or a hook's command tells it.
#[derive(Clone, Debug)]
pub struct Exec<'a> {
    /// Canonical path of the file that will run; for a `#!` script, the script.
    pub program: &'a str,
    /// Its arguments as the call has them, the zeroth (its own name) included.
    pub argv: &'a [String],
    /// Its working directory, absolute.
    pub cwd: &'a str,
    /// The user's home, absolute; empty when there is none.
    pub home: &'a str,
    /// What stands behind a `#!`.
    pub script: Option<Script<'a>>,
    /// The repository around `cwd`, as far as the caller knows it; without it no push is certain.
    pub git: Option<&'a GitContext>,
}

/// A `#!` script's interpreter.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a> {
    /// The interpreter's path as the line names it.
    pub interpreter: &'a str,
    /// The one argument that the line may carry.
    pub argument: Option<&'a str>,
}

/// What is known of the git repository around a working directory. Names are plain: `main`, not `refs/heads/main`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitContext {
    /// The branch that the remote shows first.
    pub default_branch: Option<String>,
    /// The branch that is checked out; `None` when the head is detached.
    pub current_branch: Option<String>,
    /// Each remote's name and URL.
    pub remotes: Vec<(String, String)>,
    /// The current branch's upstream: remote and branch.
    pub upstream: Option<(String, String)>,
    /// `push.default` as configured; `simple` when nobody set it.
    pub push_default: Option<String>,
    /// Its configuration has more than this that can change what a push does: another remote, URL or branch than are named.
    pub is_partly_read: bool,
}

/// The actions that running this is: always `process.exec` first, then what well-known programs imply.
///
/// `process.exec` carries the program by the name that charters write (`cargo`), its file's path, its arguments
/// without the zeroth, and under `implies` the verbs of the actions after it. It is `opaque` where a part of what it will
/// do could not be read. The others carry `implied_by` (the command that implies them, shortened) and `reader` (`git/1`, …);
/// an outcome's exit code is that of `process.exec` alone. All are on surface `exec`.
///
/// Commands inside scripts and wrappers give no `process.exec` here: they will be asked about when they run.
#[must_use]
pub fn exec_actions(exec: &Exec<'_>) -> Vec<Action> {
    read(exec, false)
}

/// The same, with a `process.exec` for each command inside scripts and wrappers as well: for surfaces beneath which nothing
/// asks again, such as a hook without a sandbox. Their `path` is empty, since nobody has looked the program up yet.
#[must_use]
pub fn command_actions(exec: &Exec<'_>) -> Vec<Action> {
    read(exec, true)
}

fn read(exec: &Exec<'_>, commands: bool) -> Vec<Action> {
    let command = Command {
        program: names::program(exec.program, exec.argv.first().map(String::as_str)),
        args: exec.argv.iter().skip(1).map(|a| Word::Known(a.clone())).collect(),
        cwd: Some(exec.cwd.to_owned()),
        is_home_repository: true,
        stdin: Stdin::Other,
        elsewhere: Vec::new(),
        depth: 0,
    };
    let mut reading = Reading::new(exec.home, exec.git, commands);
    programs::read(&mut reading, &command);
    if let Some(script) = exec.script {
        // What interprets it gets the line's argument, the script, and the script's own arguments.
        let own = script.argument.into_iter().chain([exec.program]).map(|word| Word::Known(word.to_owned()));
        let args: Vec<Word> = own.chain(command.args.iter().cloned()).collect();
        programs::agents::runs_file(&mut reading, &command, script.interpreter, &args);
    }
    let mut implies: Vec<String> = reading.found.iter().map(|a| a.verb.name().to_owned()).collect();
    implies.sort();
    implies.dedup();
    let Some(first) = process_exec(exec, &command.program, implies, reading.is_opaque) else { return Vec::new() };
    std::iter::once(first).chain(reading.found).collect()
}

fn process_exec(exec: &Exec<'_>, program: &str, implies: Vec<String>, is_opaque: bool) -> Option<Action> {
    let argv: Vec<String> = exec.argv.iter().skip(1).cloned().collect();
    let resource = Resource::new(ResourceKind::Command)
        .with("program", program)
        .and_then(|it| it.with("argv", argv))
        .and_then(|it| it.with("cwd", exec.cwd))
        .and_then(|it| it.with("path", exec.program))
        .ok()?;
    let mut action = Action::new("process.exec", resource, Surface::Exec).ok()?;
    if let Some(script) = exec.script {
        action = action.with("script", exec.program).ok()?.with("interpreter", script.interpreter).ok()?;
    }
    if !implies.is_empty() {
        action = action.with("implies", implies).ok()?;
    }
    if is_opaque { action.with("opaque", true).ok() } else { Some(action) }
}
