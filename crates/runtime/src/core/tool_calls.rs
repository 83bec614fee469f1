//! Tool calls that the harness's hooks announced, and which of the program's own calls are theirs.
//!
//! What a hook tells lets nothing through: it says what caused what, and how calls ended that nothing else sees. A program in the
//! session could call the hook as well, and tell of a call that never was, so that only the harness's own process is heard.

use super::{Core, parent_of, touched};
use crate::translate;
use flyball_kernel::{Action, Value};
use flyball_sandbox::{Attempt, HOOKS_SOCKET};
use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Calls that are open at once; of more, the oldest are forgotten.
const OPEN_MAX: usize = 256;
/// How editors call the new text of a file until it is whole: the file's name and this, or more.
const UNFINISHED: &str = ".tmp";

/// The tool calls that are open.
#[derive(Default)]
pub(crate) struct ToolCalls {
    open: VecDeque<ToolCall>,
    /// The process whose hooks are heard, and when it began.
    harness: Option<(i32, u64)>,
}

struct ToolCall {
    /// By what its end is told.
    key: u64,
    /// The entry that what it does is caused by.
    entry: u64,
    /// The commands that it is to run, without whatever a shell may need around them.
    scripts: Vec<String>,
    /// The files that it is to change.
    paths: Vec<PathBuf>,
    /// The process that runs its command.
    by: Option<i32>,
}

impl ToolCalls {
    /// A call that may go on is about to do this.
    pub fn begin(&mut self, key: u64, entry: u64, actions: &[Action]) {
        if self.open.len() >= OPEN_MAX {
            self.open.pop_front();
        }
        let command = actions.iter().find(|action| action.verb.name() == "process.exec");
        let scripts = command.into_iter().filter_map(script).filter(|script| !script.is_empty()).collect();
        let written = actions.iter().filter(|a| a.verb.group() == "fs" && a.verb.name() != "fs.read");
        let paths = written.map(|action| translate::path(action.resource.str("path"))).collect();
        self.open.push_back(ToolCall { key, entry, scripts, paths, by: None });
    }

    /// It has ended.
    pub fn end(&mut self, key: u64) {
        self.open.retain(|call| call.key != key);
    }

    /// The entry of the call that this is done for, if one said that it would be.
    fn find(&mut self, pid: i32, attempt: &Attempt) -> Option<u64> {
        if self.open.is_empty() {
            return None;
        }
        if let Attempt::Exec { argv, .. } = attempt {
            let words = argv.iter().map(|word| bare(&word.to_string_lossy())).collect::<String>();
            let is_it = |call: &&mut ToolCall| {
                call.by.is_none_or(|by| by == pid) && call.scripts.iter().any(|script| words.contains(script))
            };
            let call = self.open.iter_mut().find(is_it)?;
            call.by = Some(pid);
            return Some(call.entry);
        }
        let touched = touched(attempt);
        let is_meant = |meant: &Path| touched.iter().any(|path| path == meant || is_unfinished(path, meant));
        let is_it = |call: &&ToolCall| call.by.is_none() && call.paths.iter().any(|meant| is_meant(meant));
        self.open.iter().find(is_it).map(|call| call.entry)
    }

    #[cfg(test)]
    pub fn is_heard_from(&mut self, pid: i32) {
        self.harness = began_at(pid).map(|began| (pid, began));
    }

    /// Whether a hook of the harness's has been heard at all.
    pub fn are_told(&self) -> bool {
        self.harness.is_some()
    }

    /// Whether that process runs the command of a call.
    pub fn are_run_by(&self, pid: i32) -> bool {
        self.open.iter().any(|call| call.by == Some(pid))
    }
}

impl Core {
    /// What a call is caused by: the tool call that it is done for, and the exec that its process runs under.
    pub(super) fn causes(&mut self, pid: i32, attempt: &Attempt) -> Vec<u64> {
        let exec = self.cause_of(pid);
        let is_below = self.processes.get(&pid).is_some_and(|process| process.is_of_tool_call);
        let call = if is_below { None } else { self.tool_calls.find(pid, attempt) };
        call.into_iter().chain([exec]).collect()
    }
}

impl Core {
    /// Whether that process, which asks to be heard as a hook, is one that the harness has started for that: Flyball's own program, not
    /// run by a tool call's command, and started by who has told first, before any of its tools could run.
    pub(super) fn may_tell(&mut self, pid: i32) -> bool {
        self.cause_of(pid);
        let is_of_tool_call = self.processes.get(&pid).is_some_and(|process| process.is_of_tool_call);
        let Some(teller) = teller(pid).filter(|_| is_flyball(pid) && !is_of_tool_call) else { return false };
        match self.tool_calls.harness {
            Some(harness) if harness == teller => true,
            // A harness may start itself anew.
            Some((pid, began)) if began_at(pid) == Some(began) => false,
            _ => {
                self.tool_calls.harness = Some(teller);
                true
            }
        }
    }
}

/// The nearest ancestor that is no shell, and when it began: a harness has a shell start its hooks.
fn teller(pid: i32) -> Option<(i32, u64)> {
    let mut at = pid;
    for _ in 0..ANCESTORS_MAX {
        at = parent_of(at).filter(|parent| *parent > 0)?;
        let exe = std::fs::read_link(format!("/proc/{at}/exe")).ok()?;
        let is_shell = exe.file_name().is_some_and(|name| SHELLS.iter().any(|shell| name == *shell));
        if !is_shell {
            return began_at(at).map(|began| (at, began));
        }
    }
    None
}

const SHELLS: &[&str] = &["sh", "dash", "bash", "ash", "zsh", "ksh", "busybox"];
/// Ancestors of a process that are looked at.
const ANCESTORS_MAX: usize = 64;

fn began_at(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Whether the call would go to where the harness's hooks come in.
pub(super) fn is_at_the_hooks_door(attempt: &Attempt) -> bool {
    matches!(attempt, Attempt::ConnectUnix { path } if path == Path::new(HOOKS_SOCKET))
}

/// Whether that process is Flyball's own program, which the hooks call.
pub(super) fn is_flyball(pid: i32) -> bool {
    let file = |path: &str| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    file(&format!("/proc/{pid}/exe")).is_some_and(|exe| file("/proc/self/exe") == Some(exe))
}

/// The command that an exec of a harness's shell would have in it.
fn script(exec: &Action) -> Option<String> {
    let Some(Value::Strs(words)) = exec.resource.field("argv") else { return None };
    match words.as_slice() {
        [option, script] if option.starts_with('-') && option.ends_with('c') => Some(bare(script)),
        words => Some(words.iter().map(|word| bare(word)).collect()),
    }
}

/// A harness quotes a command once more for its own shell: what is left is the same before and after.
fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '\'' | '"' | '\\')).collect()
}

fn is_unfinished(path: &Path, meant: &Path) -> bool {
    let (Some(name), Some(of)) = (path.file_name(), meant.file_name()) else { return false };
    let rest = name.to_str().zip(of.to_str()).and_then(|(name, of)| name.strip_prefix(of));
    path.parent() == meant.parent() && rest.is_some_and(|rest| rest.starts_with(UNFINISHED))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use flyball_kernel::{Resource, ResourceKind, Surface};
    use flyball_sandbox::FileId;

    fn shell(script: &str) -> Action {
        let argv = ["-c", script].map(str::to_owned).to_vec();
        let command = Resource::new(ResourceKind::Command).with("program", "bash").unwrap();
        Action::new("process.exec", command.with("argv", argv).unwrap(), Surface::Hook).unwrap()
    }

    fn exec(words: &[&str]) -> Attempt {
        let argv = words.iter().map(Into::into).collect();
        Attempt::Exec {
            path: "/bin/bash".into(),
            argv,
            cwd: "/w".into(),
            script: None,
            file: FileId { dev: 1, ino: 1, size: 0, mtime_ns: 0 },
        }
    }

    #[test]
    fn a_command_is_the_calls_own_once() {
        let mut calls = ToolCalls::default();
        calls.begin(7, 7, &[shell("echo 'it is' >\"a b\"")]);
        calls.begin(9, 9, &[shell("echo two")]);
        let quoted = exec(&["bash", "-c", "-l", "source s && eval 'echo '\"'\"'it is'\"'\"' >\"a b\"' && pwd -P >t"]);
        assert_eq!(calls.find(1, &exec(&["bash", "-c", "echo three"])), None);
        assert_eq!(calls.find(2, &quoted), Some(7));
        // A call that is asked again is the same one, another process's is not.
        assert_eq!((calls.find(2, &quoted), calls.find(3, &quoted)), (Some(7), None));
        assert!(calls.are_run_by(2) && !calls.are_run_by(3));
        calls.end(7);
        assert_eq!(calls.find(4, &quoted), None);
        assert_eq!(calls.find(5, &exec(&["sh", "-c", "echo two"])), Some(9));
    }

    #[test]
    fn a_file_is_the_calls_own_under_the_name_that_it_has_meanwhile() {
        let mut calls = ToolCalls::default();
        calls.begin(7, 7, &[Action::new("fs.write", Resource::file("/w/a.rs"), Surface::Hook).unwrap()]);
        let of = |calls: &mut ToolCalls, path: &str| calls.find(1, &Attempt::Truncate { path: path.into(), bytes: 0 });
        for (path, is) in
            [("/w/a.rs", Some(7)), ("/w/a.rs.tmp.1.2", Some(7)), ("/w/a.rs2", None), ("/v/a.rs.tmp", None)]
        {
            assert_eq!(of(&mut calls, path), is, "{path}");
        }
    }

    #[test]
    fn a_shell_is_not_who_tells() {
        let own = i32::try_from(std::process::id()).unwrap();
        let child = |program: &str, args: &[&str]| {
            let child = std::process::Command::new(program).args(args).stdout(std::process::Stdio::piped()).spawn();
            let mut child = child.unwrap();
            let mut line = String::new();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
            (child, line.trim().parse::<i32>().unwrap())
        };
        let (mut by_shell, pid) = child("sh", &["-c", "sleep 600 & echo $!; wait"]);
        assert_eq!(teller(pid).map(|(pid, _)| pid), Some(own));
        let (mut by_other, inner) = child("timeout", &["600", "sh", "-c", "sleep 600 & echo $!; wait"]);
        assert_eq!(teller(inner).map(|(pid, _)| pid), i32::try_from(by_other.id()).ok());
        for (child, pid) in [(&mut by_shell, pid), (&mut by_other, inner)] {
            let _ = std::process::Command::new("kill").arg(pid.to_string()).status();
            let _ = child.wait();
        }
    }
}
