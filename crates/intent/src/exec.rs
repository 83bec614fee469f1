//! A program about to run: the action that it is, and those that it implies.

use crate::names;
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
    /// The repository around `cwd`, as far as the caller knows it.
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
}

/// The actions that running this is: always `process.exec` first, then what well-known programs imply.
///
/// `process.exec` carries the program by the name that charters write (`cargo`), its file's path, its arguments
/// without the zeroth, and under `implies` the verbs of the actions after it. Those carry `implied_by` (the command
/// that implies them, shortened) and `reader` (`git/1`, …). All are on surface `exec`.
#[must_use]
pub fn exec_actions(exec: &Exec<'_>) -> Vec<Action> {
    process_exec(exec).into_iter().collect()
}

fn process_exec(exec: &Exec<'_>) -> Option<Action> {
    let name = names::program(exec.program, exec.argv.first().map(String::as_str));
    let argv: Vec<String> = exec.argv.iter().skip(1).cloned().collect();
    let resource = Resource::new(ResourceKind::Command)
        .with("program", name)
        .and_then(|it| it.with("argv", argv))
        .and_then(|it| it.with("cwd", exec.cwd))
        .and_then(|it| it.with("path", exec.program))
        .ok()?;
    let mut action = Action::new("process.exec", resource, Surface::Exec).ok()?;
    if let Some(script) = exec.script {
        action = action.with("script", exec.program).ok()?.with("interpreter", script.interpreter).ok()?;
    }
    Some(action)
}
