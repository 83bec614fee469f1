//! The command line's surface: names, flags and help, and nothing of what they do.

mod evidence;

pub use evidence::{Attest, Backtest, ExportFormat, Key, Verify, Witness};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Exit codes: 0 ok, 1 user or configuration error, 2 usage, 100 denied, 101 waiting for an answer,
102 enforcement weaker than asked, 103 verification failed, 104 replay diverged, 255 internal. `run` gives the program's own.";

/// Governs what an AI agent does: each step is decided before it takes effect, recorded, and can be explained and rewound.
#[derive(Debug, Parser)]
#[command(name = "flyball", version, after_help = AFTER_HELP, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Where the ledger is [default: $FLYBALL_HOME or ~/.local/share/flyball]
    #[arg(long, value_name = "DIR", global = true, help_heading = "Everywhere")]
    pub ledger: Option<PathBuf>,
    /// Print JSON, one object a line where there are many
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// Say only what was asked for
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
}

/// The commands, in the order in which one meets them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a charter fit for a repository, with examples; never overwrites
    Init {
        /// The repository [default: the current folder]
        dir: Option<PathBuf>,
        /// Copy this charter of the library, in place of writing one for what the repository is
        #[arg(long, value_name = "NAME")]
        from: Option<String>,
        /// List the library's charters
        #[arg(long, conflicts_with = "from")]
        list: bool,
    },
    /// Compile a charter, analyse it and run its examples
    Check {
        /// The charter's folder [default: the nearest .flyball upwards]
        charter: Option<PathBuf>,
        /// Ask a solver (cvc5 or z3, where installed) which verbs can ever be allowed, and look for a history that makes each
        /// fact true
        #[arg(long)]
        prove: bool,
    },
    /// Rule on actions from JSON lines, offline, and print a ruling a line
    Test(Test),
    /// Govern a program
    Run(Run),
    /// Rule on an event of an agent's harness that calls this as its hook: the event comes on standard input; exit code 2 stops
    /// what it announces
    #[command(subcommand)]
    Hook(Hook),
    /// Stand between an agent and a server that it uses
    #[command(subcommand)]
    Gateway(Gateway),
    /// A governed run on a sample repository, told step by step
    Demo,
    /// Watch sessions on the terminal as they act: live actions, refusals, questions to answer, budgets; ? lists the keys
    Watch {
        /// The session to open: its id, any unique prefix, its name, or @ for the latest [default: the list of all]
        #[arg(value_name = "S")]
        session: Option<String>,
    },
    /// List sessions
    Ps,
    /// Show a session: who ran what where, under which charter, and how it went
    Show(Session),
    /// Print a session's entries
    Log(Log),
    /// Explain an entry: what was attempted, which rule spoke, what happened earlier that made it so
    Why(Step),
    /// Say which smallest changes of the charter would have let a session's refusals pass, and what else they would
    Suggest(Suggest),
    /// Show what caused an entry, and what came of it
    Trace {
        /// The session
        #[command(flatten)]
        session: Session,
        /// The entry's number; without it, the whole session
        seq: Option<u64>,
        /// As a graph for Graphviz, or as a timeline for Perfetto and Chrome's tracing, in place of text
        #[arg(long, value_enum)]
        format: Option<TraceFormat>,
        /// Only what led to this file of the workspace as it stands at the end, or at SEQ
        #[arg(long, value_name = "FILE")]
        path: Option<PathBuf>,
        /// Of an action that leads out (a request, a push, a tool's call): which contents on record it carried, and could have
        #[arg(long, requires = "seq", conflicts_with = "path")]
        carried: bool,
    },
    /// Show the workspace as it was at a step: what had changed, or one file
    At {
        /// The session
        #[command(flatten)]
        session: Session,
        /// The entry's number
        seq: u64,
        /// A file, relative to the workspace or absolute
        #[arg(conflicts_with = "state")]
        path: Option<PathBuf>,
        /// The session's own state in place of its workspace: budgets, envelopes, what is owed, open attempts, autonomy
        #[arg(long)]
        state: bool,
    },
    /// Show what changed in the workspace between two steps, or how the workspaces of two sessions differ; or, of two charters, what
    /// the second lets pass that the first does not, and the reverse
    #[command(
        after_help = "Two sessions: `flyball diff S S`, each at its end or at a step of its own, `S:SEQ`.\nTwo charters: `flyball diff DIR DIR`. Each difference comes with an action that shows it, as `flyball test` takes it."
    )]
    Diff {
        /// A session: its id, any unique prefix, its name, or @ for the latest; or the first charter's folder
        #[arg(value_name = "S|CHARTER")]
        of: String,
        /// The earlier entry's number, another session, or the second charter's folder
        #[arg(value_name = "SEQ|S|CHARTER")]
        from: String,
        /// The later entry's number
        #[arg(value_name = "SEQ")]
        to: Option<u64>,
        /// Of two charters: ask a solver as well, for each verb and each rule, where cvc5 or z3 is installed
        #[arg(long, conflicts_with = "to")]
        prove: bool,
        /// Of two steps or sessions: the session's own state in place of its workspace, as `at --state` says it
        #[arg(long)]
        state: bool,
    },
    /// List open questions
    Asks,
    /// Answer a question
    Answer(Answer),
    /// Stop a session's processes where they stand
    Pause(Act),
    /// Let a paused session go on
    Resume(Act),
    /// Take a session's workspace back to a step
    Rollback {
        /// Whom and why
        #[command(flatten)]
        act: Act,
        /// The entry's number
        seq: u64,
    },
    /// Set how far a session's agent may go by itself: observe, propose, bounded or extended, as its charter has them
    Autonomy {
        /// Whom and why
        #[command(flatten)]
        act: Act,
        /// With whose key
        #[command(flatten)]
        by: ByKey,
        /// The level
        level: String,
    },
    /// End the taint of a data label in a session, as the label's owner; files keep it
    Declassify {
        /// Whom and why
        #[command(flatten)]
        act: Act,
        /// With whose key
        #[command(flatten)]
        by: ByKey,
        /// The label
        label: String,
    },
    /// Put another charter in force while a session runs
    Constrain {
        /// Whom and why
        #[command(flatten)]
        act: Act,
        /// With whose key
        #[command(flatten)]
        by: ByKey,
        /// The charter's folder
        #[arg(long, value_name = "DIR")]
        charter: PathBuf,
        /// Let it pass more than the charter in force, if you answer for the rules that it loosens
        #[arg(long)]
        widen: bool,
    },
    /// Let a session do nothing more, and keep it for inspection
    Quarantine(Act),
    /// End a session's processes
    Kill(Act),
    /// Take a session's changed workspace into the real one
    Apply(Act),
    /// Drop a session's changed workspace
    Discard(Act),
    /// Make a session's record again and compare: 1 every entry, 2 what caused what, 3 every ruling, byte by byte; 4 and 5 run the
    /// program again where `run --record` kept what that takes
    Replay {
        /// The session
        #[command(flatten)]
        session: Session,
        /// How much of it: 1 event log, 2 causal trace, 3 audit reconstruction, 4 operational replay, 5 deterministic replay
        #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "until")]
        level: u8,
        /// Go on from the state just after this entry, with another program, in a session of its own
        #[arg(long, value_name = "SEQ", requires = "then")]
        until: Option<u64>,
        /// Run the program that follows in that state: the workspace, facts, budgets and autonomy of then
        #[arg(long, requires = "until", requires = "argv")]
        then: bool,
        /// Ask people again what they answered after that entry
        #[arg(long, requires = "until")]
        reopen: bool,
        /// The program and its arguments
        #[arg(last = true, value_name = "CMD", requires = "until")]
        argv: Vec<OsString>,
    },
    /// Say what another charter would have ruled on recorded sessions
    Backtest(Backtest),
    /// Recompute the record from the stored bytes, and find what was flipped, dropped, reordered or forked; or a file that
    /// `export` or `attest` made
    Verify(Verify),
    /// Write a session into one file that anybody can verify: entries, contents, proofs, the signed checkpoint, the charter; or in
    /// a format that other tools read
    Export {
        /// The session
        #[command(flatten)]
        session: Session,
        /// The file; `-` is standard output
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// What to write
        #[arg(long, value_enum, default_value_t = ExportFormat::Bundle)]
        format: ExportFormat,
        /// Of a bundle, leave contents out: what is left shows that they were those that entries commit to, once somebody has them
        #[arg(long)]
        without_payloads: bool,
    },
    /// Print the proof that an entry is in the signed tree, as other tools read it (C2SP tlog-proof)
    Prove {
        /// Which entry
        #[command(flatten)]
        step: Step,
        /// Write it to this file, and the entry's bytes to FILE.entry beside it
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Erase content that an entry commits to, with its salt; the entry stays, every proof holds, and the erasure is on record
    Forget {
        /// The session; it must have ended
        #[command(flatten)]
        session: Session,
        /// The entry whose content goes (may be given again)
        #[arg(long, value_name = "SEQ", required = true)]
        payload: Vec<u64>,
        /// Why; it is recorded
        #[arg(long, value_name = "R")]
        reason: String,
    },
    /// Witnesses, who cosign what they saw, so that nobody can take a ledger back or show two histories of it
    #[command(subcommand)]
    Witness(Witness),
    /// The key that signs this ledger: show it, or put a new one in its place
    #[command(subcommand)]
    Key(Key),
    /// Say, signed, what a finished session was and did: an in-toto statement in a DSSE envelope
    Attest(Attest),
    /// Say what this machine can enforce
    Doctor,
    /// Print the Cedar schema that rules are validated against
    Schema {
        /// A charter's folder, for its facts [default: the nearest .flyball upwards]
        charter: Option<PathBuf>,
    },
    /// Explain a code such as FB0123
    Explain {
        /// The code; without it, a list of all
        code: Option<String>,
    },
    /// Print a completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Names a session.
#[derive(Debug, Args)]
pub struct Session {
    /// A session: its id, any unique prefix, its name, or @ for the latest
    #[arg(value_name = "S")]
    pub session: String,
}

/// How a trace is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TraceFormat {
    /// Graphviz
    Dot,
    /// Trace Event Format: JSON that Perfetto and chrome://tracing load
    Perfetto,
}

/// Names an entry.
#[derive(Debug, Args)]
pub struct Step {
    /// The session.
    #[command(flatten)]
    pub session: Session,
    /// The entry's number
    pub seq: u64,
}

/// `flyball test`.
#[derive(Debug, Args)]
#[command(after_help = "\
Input lines: an action as in `log --json`, or {\"result\":{\"of\":SEQ,\"ok\":true,\"exit\":0}}, {\"observe\":{…}},
{\"answer\":{\"of\":SEQ,\"verdict\":\"allow\",\"by\":\"user:ann\",\"reason\":\"…\"}}, {\"tick\":\"2026-01-01T00:00:00Z\"}.
Entries are numbered as a session's would be: the attempt takes one number, its ruling the next. An allowed attempt
counts as carried out. Without `at`, a line comes one second after the line before.")]
pub struct Test {
    /// The charter's folder, if the first is one, then files of JSON lines; `-` is standard input
    #[arg(value_name = "[CHARTER] FILE", required = true)]
    pub paths: Vec<PathBuf>,
    /// The workspace that the actions happen in [default: the folder that holds the charter's .flyball, else /w]
    #[arg(long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// Exit with 100 if any attempt was denied, else 101 if any was held
    #[arg(long)]
    pub exit_code: bool,
}

/// `flyball run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The charter's folder [default: .flyball in the workspace]
    #[arg(long, value_name = "C")]
    pub charter: Option<PathBuf>,
    /// The folder that the program works in; it changes only by `apply` [default: the nearest with a .flyball upwards]
    #[arg(long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// A name for the session
    #[arg(long, value_name = "N")]
    pub name: Option<String>,
    /// Run without a terminal, and print the session's id once it has started
    #[arg(long)]
    pub detach: bool,
    /// What becomes of an action that people must be asked about
    #[arg(long, value_enum, default_value_t = OnHold::Wait)]
    pub on_hold: OnHold,
    /// Whether to take the changed workspace into the real one at the end; `ask` means never without a terminal
    #[arg(long, value_enum, default_value_t = Apply::Ask)]
    pub apply: Apply,
    /// Let files and programs through whatever the rules say, and record what a charter for this has to allow
    /// (`flyball suggest`); what leaves the session is ruled on as ever
    #[arg(long)]
    pub learn: bool,
    /// Keep what it takes to run the program again (`flyball replay S --level 5`): the workspace as it is now, the time and random bytes
    /// that the program asks for, and what passes through its standard streams, which then are pipes
    #[arg(long)]
    pub record: bool,
    /// Give a harness (claude, codex, gemini, cursor-agent) no hooks, by which its tool calls are told before they are made
    #[arg(long)]
    pub no_hooks: bool,
    /// Send what happens to an OpenTelemetry collector while it happens: OTLP over HTTP, such as http://127.0.0.1:4318; or `env`, as
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` says
    #[arg(long, value_name = "URL", value_parser = parse_collector)]
    pub otlp: Option<String>,
    /// Start even where this machine lacks a layer, which is recorded: landlock, limits, namespaces
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = parse_weakness)]
    pub accept_weaker: Vec<flyball_sandbox::Weakness>,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub argv: Vec<OsString>,
}

fn parse_collector(url: &str) -> Result<String, String> {
    flyball_runtime::exports::live::collector(url)
}

fn parse_weakness(word: &str) -> Result<flyball_sandbox::Weakness, String> {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).map_err(|_| {
        "`landlock`, `limits` or `namespaces`; what else may be missing is either announced only, or can't be done without"
            .to_owned()
    })
}

/// What becomes of an action that people must be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnHold {
    /// The program waits for the answer
    Wait,
    /// It is refused
    Deny,
}

/// Whether a run's changes go into the real workspace at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Apply {
    /// Ask on the terminal
    Ask,
    /// Yes
    Always,
    /// Only if the charter's contracts hold
    Contract,
    /// No: `flyball apply` does it later
    Never,
}

/// `flyball hook`.
#[derive(Debug, Subcommand)]
pub enum Hook {
    /// An event of Claude Code
    Claude(HookEvent),
    /// An event of Codex
    Codex(HookEvent),
    /// An event of Gemini CLI
    Gemini(HookEvent),
    /// An event of Cursor
    Cursor(HookEvent),
    /// Write the hooks into a harness's settings, from where `uninstall` takes them out again, byte for byte
    Install(HookInstall),
    /// Take the hooks out of a harness's settings
    Uninstall(HookSettings),
    /// Supervise the session of a harness's hooks; started by the first of them
    #[command(hide = true)]
    Supervise {
        /// The harness
        harness: String,
        /// The file that names the session
        #[arg(long)]
        key: String,
        /// The harness's own name for its session
        #[arg(long)]
        session: String,
        /// Where the harness works
        #[arg(long)]
        cwd: PathBuf,
        /// The harness's process
        #[arg(long)]
        follow: Option<i32>,
        /// Where its spans go
        #[arg(long, value_parser = parse_collector)]
        otlp: Option<String>,
    },
}

/// A harness whose hooks are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HookHarness {
    /// Claude Code
    Claude,
    /// Codex
    Codex,
    /// Gemini CLI
    Gemini,
    /// Cursor
    Cursor,
}

/// Whose settings are meant.
#[derive(Clone, Copy, Debug, Args)]
pub struct HookSettings {
    /// The harness
    #[arg(value_enum)]
    pub harness: HookHarness,
    /// The settings of this project: of the nearest folder upwards that has a charter or a repository [default]
    #[arg(long, conflicts_with = "user")]
    pub project: bool,
    /// The user's own settings, for every project
    #[arg(long)]
    pub user: bool,
}

/// `flyball hook install`.
#[derive(Clone, Debug, Args)]
pub struct HookInstall {
    /// Whose settings
    #[command(flatten)]
    pub settings: HookSettings,
    /// The wait that each hook gives people
    #[command(flatten)]
    pub event: HookEvent,
}

/// `flyball gateway`.
#[derive(Debug, Subcommand)]
pub enum Gateway {
    /// In front of an MCP server over standard input and output: put it before the server's command in your client's settings; or, with
    /// --listen, take clients over HTTP, in front of one that is started or of servers over HTTP
    #[command(after_help = "\
Each tool call, resource and prompt is ruled on by the charter before the server hears of it, and recorded. What well-known
servers' tools do is known by name (docs/mcp.md) and meets the rules of what it does; others are `tool.call`. A tool whose text
or arguments are not what they were when it was first seen is `tool.inject`, before the agent reads of it.

Examples: flyball gateway mcp -- npx -y @modelcontextprotocol/server-filesystem .
          flyball gateway mcp --servers .mcp.json
          flyball gateway mcp --listen 127.0.0.1:8811 -- npx -y @modelcontextprotocol/server-filesystem .
          flyball gateway mcp --listen 127.0.0.1:8811 --servers .mcp.json
          flyball gateway mcp --listen 127.0.0.1:8811 -- shop=http://127.0.0.1:3000/mcp wiki=http://127.0.0.1:3001/mcp")]
    Mcp {
        /// The server's name, as rules see it [default: from its command]
        #[arg(long)]
        name: Option<String>,
        /// The charter's folder [default: .flyball in the working directory or above]
        #[arg(long, value_name = "DIR")]
        charter: Option<PathBuf>,
        /// How many seconds people may take to answer a question before the agent is told to ask again: less than your client
        /// waits for a tool
        #[arg(long, value_name = "SECONDS", default_value_t = 50)]
        within: u64,
        /// Send what happens to an OpenTelemetry collector while it happens: OTLP over HTTP, such as http://127.0.0.1:4318; or `env`, as
        /// `OTEL_EXPORTER_OTLP_ENDPOINT` says
        #[arg(long, value_name = "URL", value_parser = parse_collector)]
        otlp: Option<String>,
        /// Take clients over streamable HTTP here, at `/mcp`; SERVER is a command, which is started for each session of a client, or an
        /// address or more, each `http://…`, `https://…` or `NAME=http://…`
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<std::net::SocketAddr>,
        /// Stand in front of all servers of this file, which is as your client has it; to the client they are one, with tools named
        /// SERVER__TOOL. With --listen also those over HTTP, each at `/NAME`
        #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "server"])]
        servers: Option<PathBuf>,
        /// The server's command
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            required_unless_present = "servers",
            value_name = "SERVER"
        )]
        server: Vec<std::ffi::OsString>,
    },
}

/// An event of a harness.
#[derive(Clone, Debug, Args)]
pub struct HookEvent {
    /// How many seconds people may take to answer a question: less than the harness gives the hook
    #[arg(long, value_name = "SECONDS", default_value_t = 570)]
    pub within: u64,
    /// Send what happens in the harness's session to an OpenTelemetry collector while it happens, as `--otlp` of `run` does
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
}

/// `flyball suggest`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each change is tried first: the charter with it compiles, the refused actions pass when the whole session is judged again,
all examples hold, and nothing that passes today is stopped. Nothing is adopted. What would let go of the charter's, the
ledger's or credentials' protection is never suggested.")]
pub struct Suggest {
    /// The session.
    #[command(flatten)]
    pub session: Session,
    /// The charter's folder to change [default: .flyball in the session's workspace, else the charter on record]
    #[arg(long, value_name = "C")]
    pub charter: Option<PathBuf>,
    /// Let rules reach beyond what was seen: common folders, subcommands, domains
    #[arg(long)]
    pub generalise: bool,
    /// Print the changes as one unified diff, for `patch -p1` or `git apply`
    #[arg(long)]
    pub patch: bool,
    /// Only these suggestions go into the patch, by number
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub only: Vec<usize>,
}

/// `flyball log`.
#[derive(Debug, Args)]
pub struct Log {
    /// The session.
    #[command(flatten)]
    pub session: Session,
    /// Only entries of this kind (may be given again)
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<String>,
    /// Only what belongs to attempts of this verb, or of a group such as `fs` (may be given again)
    #[arg(long, value_name = "VERB")]
    pub verb: Vec<String>,
    /// Only what belongs to attempts with this verdict (may be given again)
    #[arg(long, value_name = "VERDICT", value_parser = ["allow", "deny", "hold", "modify"])]
    pub verdict: Vec<String>,
    /// Only entries after this one
    #[arg(long, value_name = "SEQ")]
    pub since: Option<u64>,
    /// Go on as entries come, until the session ends
    #[arg(short, long)]
    pub follow: bool,
}

/// `flyball answer`.
#[derive(Debug, Args)]
pub struct Answer {
    /// The question's id, or any unique prefix
    pub id: String,
    /// What is to be done
    #[arg(value_enum)]
    pub verdict: AnswerVerdict,
    /// The changed action, for `modify`
    #[arg(long, value_name = "JSON", required_if_eq("verdict", "modify"))]
    pub with: Option<String>,
    /// Why; it is recorded
    #[arg(long, value_name = "R")]
    pub reason: String,
    /// Answer for these of the actions that the question names, by their entries as `asks` shows them; people are still asked
    /// about the rest
    #[arg(long, value_name = "SEQ,…", value_delimiter = ',')]
    pub only: Vec<u64>,
    /// Sign it with your SSH key (ssh-ed25519), as a contact `key:…` does: a private key's file, or that of a key, public or
    /// with a passphrase, that your ssh-agent holds
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Bring an answer that was signed elsewhere: `ssh-keygen -Y sign -n flyball-answer -f KEY FILE` of what --statement prints
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub signature: Option<PathBuf>,
    /// Print what there is to sign, and answer nothing
    #[arg(long, conflicts_with_all = ["key", "signature"])]
    pub statement: bool,
}

/// What people can say to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AnswerVerdict {
    /// Carry it out, once
    Allow,
    /// Refuse it
    Deny,
    /// Carry out another action in its place
    Modify,
}

/// An act in the name of a key, and not of the account that runs the command.
#[derive(Debug, Args)]
pub struct ByKey {
    /// Sign it with this SSH key, or with the ssh-agent that holds it: it is that key's act, good for this session, once and within an hour
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

/// A person's act on a session.
#[derive(Debug, Args)]
pub struct Act {
    /// The session.
    #[command(flatten)]
    pub session: Session,
    /// Why; it is recorded
    #[arg(long, value_name = "R")]
    pub reason: Option<String>,
}

impl Act {
    /// Why, or nothing.
    pub fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
