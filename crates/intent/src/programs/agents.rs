//! Agents that are started as programs: whom, to do what, and with which rights. Their command lines are those of Claude Code 2.1,
//! Codex 0.4x and up, Gemini CLI 0.2x and up, and Cursor's agent.

use crate::names;
use crate::options::{Line, Table};
use crate::reading::{Command, Reading, Stdin, Word};
use flyball_kernel::Value;
use serde_json::Value as Json;
use std::collections::BTreeSet;

const READER: &str = "agents/1";

/// The right of an agent that asks nobody, whatever its harness calls that.
pub(crate) const UNRESTRICTED: &str = "unrestricted";

/// Characters of a task that the action carries; all of it is among the program's arguments.
const TASK_CHARS_MAX: usize = 4096;

/// How a harness is started.
struct Agent {
    name: &'static str,
    /// Its packages, by which a runner of packages starts it.
    packages: &'static [&'static str],
    table: Table,
    /// Options that take as many words as follow.
    lists: &'static [&'static str],
    /// How a first argument begins after which the file is one of the agent's own tools. None of them is an option of the agent: where the
    /// file has no such tool, it ends.
    is_tool_after: &'static [&'static str],
    /// First words by which it does something else than start an agent.
    others: &'static [&'static str],
    /// First words that stand before the task.
    commands: &'static [&'static str],
    /// Options by which it says something and ends.
    says: &'static [&'static str],
    /// Options whose value is the task, where it is not the first word.
    tasks: &'static [&'static str],
    rights: fn(&Line, &mut Rights),
}

/// What is granted on the command line, by the harness's own words, and [`UNRESTRICTED`].
#[derive(Default)]
struct Rights {
    granted: BTreeSet<String>,
    /// More may be granted where nobody looks, or by what can't be read.
    are_more: bool,
}

impl Rights {
    fn grant(&mut self, right: &str) {
        let right = right.trim();
        if !right.is_empty() {
            self.granted.insert(right.to_owned());
        }
    }

    /// A mode of asking, or of the harness's own sandbox.
    fn mode(&mut self, mode: &str) {
        self.grant(mode);
        if matches!(mode, "bypassPermissions" | "danger-full-access" | "yolo") {
            self.grant(UNRESTRICTED);
        }
    }

    fn modes(&mut self, line: &Line, option: &str) {
        for word in line.values(option) {
            match word.known() {
                Some(mode) => self.mode(mode),
                None => self.are_more = true,
            }
        }
    }

    /// Tools that need no permission, in a list with commas or spaces outside of parentheses.
    fn tools(&mut self, line: &Line, option: &str) {
        for word in line.values(option) {
            let Some(text) = word.known() else {
                self.are_more = true;
                continue;
            };
            let mut depth = 0_usize;
            let parts = text.split(|c: char| {
                match c {
                    '(' => depth += 1,
                    ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                depth == 0 && (c == ',' || c.is_whitespace())
            });
            parts.for_each(|tool| self.grant(tool));
        }
    }

    /// Flags that are rights by themselves.
    fn flags(&mut self, line: &Line, flags: &[&str], is_all: bool) {
        for flag in flags.iter().filter(|flag| line.has(flag)) {
            self.grant(flag);
            if is_all {
                self.grant(UNRESTRICTED);
            }
        }
    }
}

const AGENTS: [Agent; 4] = [
    Agent {
        name: "claude",
        packages: &["@anthropic-ai/claude-code"],
        table: Table::of(&[
            "add-dir=",
            "agent=",
            "agents=",
            "allow-dangerously-skip-permissions",
            "allowed-tools allowedTools=",
            "append-system-prompt=",
            "append-system-prompt-file=",
            "ax-screen-reader",
            "bg background",
            "bare",
            "betas=",
            "brief",
            "chrome",
            "no-chrome",
            "c continue",
            "dangerously-skip-permissions",
            "d debug?",
            "debug-file=",
            "disable-slash-commands",
            "disallowed-tools disallowedTools=",
            "effort=",
            "exclude-dynamic-system-prompt-sections",
            "fallback-model=",
            "file=",
            "fork-session",
            "from-pr?",
            "h help",
            "ide",
            "include-hook-events",
            "include-partial-messages",
            "input-format=",
            "json-schema=",
            "max-budget-usd=",
            "max-turns=",
            "mcp-config=",
            "mcp-debug",
            "model=",
            "n name=",
            "no-session-persistence",
            "output-format=",
            "permission-mode=",
            "permission-prompt-tool=",
            "plugin-dir=",
            "plugin-url=",
            "p print",
            "prompt-suggestions?",
            "remote-control?",
            "remote-control-session-name-prefix=",
            "replay-user-messages",
            "r resume?",
            "safe-mode",
            "session-id=",
            "setting-sources=",
            "settings=",
            "strict-mcp-config",
            "system-prompt=",
            "system-prompt-file=",
            "teammate-mode=",
            "tmux?",
            "tools=",
            "verbose",
            "v version",
            "w worktree?",
        ]),
        lists: &[
            "add-dir",
            "allowed-tools",
            "allowedTools",
            "betas",
            "disallowed-tools",
            "disallowedTools",
            "file",
            "mcp-config",
            "tools",
        ],
        is_tool_after: &["--no-config"],
        others: &[
            "auth",
            "auto-mode",
            "config",
            "doctor",
            "gateway",
            "install",
            "mcp",
            "migrate-installer",
            "plugin",
            "plugins",
            "project",
            "setup-token",
            "update",
            "upgrade",
        ],
        commands: &["agents", "ultrareview"],
        says: &["help", "version"],
        tasks: &[],
        rights: claude,
    },
    Agent {
        name: "codex",
        packages: &["@openai/codex"],
        table: Table::of(&[
            "c config=",
            "enable=",
            "disable=",
            "remote=",
            "remote-auth-token-env=",
            "strict-config",
            "i image=",
            "m model=",
            "oss",
            "local-provider=",
            "p profile=",
            "s sandbox=",
            "approve-for-me",
            "full-auto",
            "dangerously-bypass-approvals-and-sandbox",
            "yolo",
            "dangerously-bypass-hook-trust",
            "C cd=",
            "worktree",
            "add-dir=",
            "a ask-for-approval=",
            "search",
            "no-alt-screen",
            "no-daemon",
            "skip-git-repo-check",
            "ephemeral",
            "ignore-user-config",
            "ignore-rules",
            "output-schema=",
            "color=",
            "progress-cursor",
            "json",
            "experimental-json",
            "o output-last-message=",
            "last",
            "all",
            "h help",
            "V version",
        ]),
        lists: &["i", "image"],
        is_tool_after: &["--codex-run-as-"],
        others: &[
            "a",
            "apply",
            "archive",
            "completion",
            "delete",
            "doctor",
            "exec-server",
            "features",
            "help",
            "login",
            "logout",
            "mcp",
            "migrate-nfs-db",
            "migrate-rollouts",
            "plugin",
            "sandbox",
            "unarchive",
            "update",
        ],
        commands: &[
            "agents",
            "app-server",
            "cloud",
            "debug",
            "e",
            "exec",
            "fork",
            "mcp-server",
            "queue",
            "remote-control",
            "resume",
            "review",
        ],
        says: &["help", "version"],
        tasks: &[],
        rights: codex,
    },
    Agent {
        name: "gemini",
        packages: &["@google/gemini-cli"],
        table: Table::of(&[
            "d debug",
            "m model=",
            "p prompt=",
            "i prompt-interactive=",
            "skip-trust",
            "w worktree?",
            "s sandbox",
            "y yolo",
            "approval-mode approvalMode=",
            "policy=",
            "admin-policy=",
            "acp",
            "experimental-acp",
            "allowed-mcp-server-names=",
            "allowed-tools allowedTools=",
            "e extensions=",
            "l list-extensions",
            "r resume=",
            "session-file=",
            "session-id=",
            "list-sessions",
            "delete-session=",
            "include-directories=",
            "screen-reader",
            "o output-format=",
            "raw-output",
            "accept-raw-output-risk",
            "v version",
            "h help",
        ]),
        lists: &[
            "policy",
            "admin-policy",
            "allowed-mcp-server-names",
            "allowed-tools",
            "allowedTools",
            "e",
            "extensions",
            "include-directories",
        ],
        is_tool_after: &[],
        others: &["extension", "extensions", "gemma", "hook", "hooks", "mcp", "skill", "skills"],
        commands: &[],
        says: &["help", "version", "list-extensions", "list-sessions", "delete-session"],
        tasks: &["prompt", "prompt-interactive"],
        rights: gemini,
    },
    Agent {
        name: "cursor-agent",
        packages: &[],
        table: Table::of(&[
            "p print",
            "a api-key=",
            "H header=",
            "output-format=",
            "stream-partial-output",
            "b background",
            "fullscreen",
            "resume?",
            "continue",
            "model=",
            "mode=",
            "f force",
            "yolo",
            "approve-mcps",
            "trust",
            "sandbox=",
            "browser",
            "workspace=",
            "w worktree?",
            "worktree-base=",
            "c cloud",
            "plan",
            "list-models",
            "h help",
            "v version",
        ]),
        lists: &[],
        is_tool_after: &[],
        others: &[
            "about",
            "create-chat",
            "help",
            "install-shell-integration",
            "login",
            "logout",
            "ls",
            "mcp",
            "models",
            "status",
            "uninstall-shell-integration",
            "update",
            "upgrade",
            "whoami",
        ],
        commands: &["acp", "agent", "resume", "worker"],
        says: &["help", "version", "list-models"],
        tasks: &[],
        rights: cursor,
    },
];

/// Reads such a program; whether it was one.
pub(super) fn read(to: &mut Reading<'_>, by: &Command) -> bool {
    if matches!(by.program.as_str(), "npx" | "bunx" | "pnpx") {
        runs_package(to, by, &by.args);
        return true;
    }
    let Some(agent) = named(&by.program) else { return false };
    agent.starts(to, by);
    true
}

fn named(name: &str) -> Option<&'static Agent> {
    AGENTS.iter().find(|agent| agent.name == name)
}

/// `npm exec PACKAGE`, `pnpm dlx PACKAGE`, `yarn dlx PACKAGE`, `bun x PACKAGE`.
pub(super) fn of_runner(to: &mut Reading<'_>, by: &Command) {
    let runs = |word: &Word| matches!(word.known(), Some("exec" | "x" | "dlx"));
    let first = by.args.iter().position(|word| !word.written().starts_with('-'));
    if let Some(at) = first.filter(|at| by.args.get(*at).is_some_and(runs)) {
        runs_package(to, by, by.args.get(at + 1..).unwrap_or_default());
    }
}

/// What runs a package's program: `npx [OPTIONS] PACKAGE ARGS…`. Only harnesses are read.
fn runs_package(to: &mut Reading<'_>, by: &Command, args: &[Word]) {
    let mut args = args.iter();
    while let Some(word) = args.next() {
        match word.known() {
            Some("-p" | "--package") => drop(args.next()),
            Some("-y" | "--yes" | "--no" | "-q" | "--quiet" | "--silent" | "--prefer-offline" | "--offline" | "--") => {
            }
            Some(text) if text.starts_with("--") && text.contains('=') => {}
            Some(text) if !text.starts_with('-') => {
                // A name may be followed by a version: `@openai/codex@0.40.0`.
                let end = text.char_indices().skip(1).find(|(_, c)| *c == '@').map_or(text.len(), |(at, _)| at);
                let package = text.get(..end).unwrap_or_default();
                let is_it = |agent: &&Agent| agent.name == package || agent.packages.contains(&package);
                let Some(agent) = AGENTS.iter().find(is_it) else { return };
                let rest = args.as_slice();
                let rest = rest.strip_prefix(&[Word::Known("--".into())]).unwrap_or(rest);
                return agent
                    .starts(to, &Command { program: agent.name.to_owned(), args: rest.to_vec(), ..by.clone() });
            }
            // A script, an option that may take the next word, a name that shows later.
            _ => to.is_opaque |= to.commands,
        }
    }
}

/// A program's file that an interpreter runs, or an interpreter; whether it is a harness: `node …/gemini.js ARGS…`, `#!…/claude`.
pub(crate) fn runs_file(to: &mut Reading<'_>, by: &Command, file: &str, args: &[Word]) -> bool {
    let Some(agent) = named(&names::program(file, None)) else { return false };
    agent.starts(to, &Command { program: agent.name.to_owned(), args: args.to_vec(), ..by.clone() });
    true
}

impl Agent {
    fn starts(&self, to: &mut Reading<'_>, by: &Command) {
        if by
            .args
            .first()
            .is_some_and(|word| self.is_tool_after.iter().any(|begins| word.written().starts_with(begins)))
        {
            to.is_opaque |= to.commands;
            return;
        }
        let line = self.table.read(&self.spread(&by.args));
        let words = line.all();
        // Where an option is not known, or may take the next word or not, any word may be the task.
        let may_take = |option: &str| self.table.options.iter().any(|text| text.ends_with(&format!("{option}?")));
        if !line.is_uncertain && !line.options.iter().any(|(option, _)| may_take(option)) {
            let first = words.first().and_then(Word::known);
            let does_other = first.is_some_and(|word| self.others.contains(&word));
            if does_other || self.says.iter().any(|option| line.has(option)) {
                return;
            }
        }
        let skipped = words.iter().take_while(|w| w.known().is_some_and(|w| self.commands.contains(&w))).count();
        let mut rights = Rights { are_more: line.is_uncertain, ..Rights::default() };
        (self.rights)(&line, &mut rights);

        let told = self.tasks.iter().find_map(|option| line.value(option)).or(words.get(skipped));
        let task = match (told.map(Word::written), &by.stdin) {
            (None | Some("-"), Stdin::Text(text)) => text.as_str(),
            (Some("-") | None, Stdin::Other) => "",
            (Some(text), _) => text,
        };
        let name = line.value("agent");
        let is_known = !rights.are_more && name.is_none_or(|name| name.known().is_some());
        let name = name.map_or(self.name, |name| name.known().unwrap_or_default());
        let rights: Vec<String> = rights.granted.into_iter().collect();
        let mut attrs: Vec<(&'static str, Value)> = vec![("task", clip(task).into())];
        if !rights.is_empty() {
            attrs.push(("rights", rights.into()));
        }
        to.imply(by, READER, "agent.spawn", &[("name", name.into())], &attrs, is_known);
    }

    /// Each word of a list as an option of its own.
    fn spread(&self, args: &[Word]) -> Vec<Word> {
        let mut out = Vec::with_capacity(args.len());
        let mut list: Option<&str> = None;
        let mut args = args.iter();
        while let Some(word) = args.next() {
            let text = word.known().unwrap_or_default();
            if text == "--" {
                out.push(word.clone());
                break;
            }
            if text.len() > 1 && text.starts_with('-') {
                let (name, has_value) = text.split_once('=').map_or((text, false), |(name, _)| (name, true));
                list = Some(name.trim_start_matches('-')).filter(|name| self.lists.contains(name));
                if list.is_none() || has_value {
                    out.push(word.clone());
                } else if let Some(value) = args.next() {
                    // The first is one whatever it looks like.
                    out.extend([word.clone(), value.clone()]);
                }
                continue;
            }
            match (list, word) {
                (Some(list), Word::Known(value)) => {
                    let dashes = if list.len() == 1 { "-" } else { "--" };
                    out.push(Word::Known(format!("{dashes}{list}={value}")));
                }
                _ => out.push(word.clone()),
            }
        }
        out.extend(args.cloned());
        out
    }
}

fn clip(text: &str) -> String {
    text.chars().take(TASK_CHARS_MAX).collect()
}

/// JSON, also where its backslashes are written as the boundary tells them, so that `\x5c` stands for each. JSON itself knows no `\x`.
fn json(text: &str) -> Option<Json> {
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&text.replace(r"\x5c", r"\"))).ok()
}

fn claude(line: &Line, rights: &mut Rights) {
    rights.modes(line, "permission-mode");
    rights.tools(line, "allowedTools");
    rights.flags(line, &["dangerously-skip-permissions", "allow-dangerously-skip-permissions"], true);
    for settings in line.values("settings") {
        let of = settings.known().and_then(json);
        let Some(permissions) = of.as_ref().and_then(Json::as_object) else {
            rights.are_more = true;
            continue;
        };
        let Some(permissions) = permissions.get("permissions") else { continue };
        if let Some(mode) = permissions.get("defaultMode").and_then(Json::as_str) {
            rights.mode(mode);
        }
        let allowed = permissions.get("allow").and_then(Json::as_array);
        allowed.into_iter().flatten().filter_map(Json::as_str).for_each(|tool| rights.grant(tool));
    }
}

fn codex(line: &Line, rights: &mut Rights) {
    rights.modes(line, "sandbox");
    rights.modes(line, "ask-for-approval");
    rights.flags(line, &["dangerously-bypass-approvals-and-sandbox", "yolo"], true);
    rights.flags(line, &["dangerously-bypass-hook-trust", "approve-for-me", "full-auto"], false);
    // A profile is a file of settings.
    rights.are_more |= line.has("profile");
    for setting in line.values("config") {
        let Some((name, value)) = setting.known().and_then(|text| text.split_once('=')) else {
            rights.are_more = true;
            continue;
        };
        let value = value.trim().trim_matches(['"', '\'']);
        match name.trim().trim_matches(['"', '\'']) {
            "sandbox_mode" | "approval_policy" => rights.mode(value),
            "sandbox_permissions" => rights.grant(value),
            name => rights.are_more |= name == "profile" || name.contains("permission") || name.starts_with("sandbox"),
        }
    }
}

fn gemini(line: &Line, rights: &mut Rights) {
    rights.modes(line, "approvalMode");
    rights.tools(line, "allowedTools");
    rights.flags(line, &["yolo"], true);
    // Files of rules for permissions.
    rights.are_more |= line.has("policy") || line.has("admin-policy");
}

fn cursor(line: &Line, rights: &mut Rights) {
    rights.flags(line, &["force", "yolo"], true);
    rights.flags(line, &["approve-mcps", "trust"], false);
    rights.modes(line, "sandbox");
}

/// The same of a tool of a harness's: the mode in which it would start another agent.
pub(crate) fn rights_of_mode(mode: &str) -> Vec<String> {
    let mut rights = Rights::default();
    rights.mode(mode);
    rights.granted.into_iter().collect()
}
