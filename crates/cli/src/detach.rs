//! `run --detach`: the same run in a process of its own, without a terminal.

use crate::args::{Apply, Run};
use crate::failure::Failure;
use crate::output::Output;
use crate::place::Place;
use flyball_ledger::{Filter, Kind, Ledger};
use serde_json::{Value as Json, json};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Between two looks at whether the session is open: far below what a person notices.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Starts the run and returns once its session is on record.
pub fn detach(out: Output, place: &Place, args: &Run) -> Result<(), Failure> {
    crate::run::check_learning(args)?;
    let home = place.home()?;
    let folder = home.dir().join("detached");
    let fail = |what: &Path, e: std::io::Error| Failure::user("FB0512", format!("can't use `{}`: {e}", what.display()));
    std::fs::create_dir_all(&folder).map_err(|e| fail(&folder, e))?;
    let said = folder.join(format!("{}.log", std::process::id()));
    let file = File::create(&said).map_err(|e| fail(&said, e))?;
    let copy = file.try_clone().map_err(|e| fail(&said, e))?;
    let since_ns = now_ns();
    let exe = std::env::current_exe().map_err(|e| fail(Path::new("/proc/self/exe"), e))?;
    let mut child = Command::new(exe)
        .args(arguments(home.dir(), args))
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(copy)
        // Signals of the terminal's are for those who stay on it.
        .process_group(0)
        .spawn()
        .map_err(|e| fail(&said, e))?;
    let session = wait_for_session(home.dir(), since_ns, &mut child).ok_or_else(|| {
        let text = std::fs::read_to_string(&said).unwrap_or_default();
        Failure::user("FB0516", format!("the session did not start:\n{}", text.trim_end()))
            .hint("run it without `--detach` to see more")
    })?;
    if out.is_json {
        out.json(&json!({"session": session, "pid": child.id(), "output": said.display().to_string()}));
    } else {
        out.line(&session);
        out.note(&format!("its output goes to {}", said.display()));
    }
    Ok(())
}

fn arguments(ledger: &Path, args: &Run) -> Vec<std::ffi::OsString> {
    let mut all: Vec<std::ffi::OsString> = vec!["--ledger".into(), ledger.into(), "run".into()];
    if let Some(charter) = &args.charter {
        all.extend(["--charter".into(), charter.into()]);
    }
    if let Some(workspace) = &args.workspace {
        all.extend(["--workspace".into(), workspace.into()]);
    }
    if let Some(name) = &args.name {
        all.extend(["--name".into(), name.into()]);
    }
    let on_hold = if args.on_hold == crate::args::OnHold::Wait { "wait" } else { "deny" };
    let apply = match args.apply {
        Apply::Always => "always",
        Apply::Contract => "contract",
        Apply::Ask | Apply::Never => "never",
    };
    all.extend(["--on-hold".into(), on_hold.into(), "--apply".into(), apply.into()]);
    if args.record {
        all.push("--record".into());
    }
    if let Some(url) = &args.otlp {
        all.extend(["--otlp".into(), url.into()]);
    }
    if args.learn {
        all.push("--learn".into());
    }
    for weakness in &args.accept_weaker {
        all.extend(["--accept-weaker".into(), flyball_sandbox::weakness_name(*weakness).into()]);
    }
    all.push("--".into());
    all.extend(args.argv.iter().cloned());
    all
}

/// The session whose opening names the child, once something was attempted in it; `None` when the child has ended before.
fn wait_for_session(ledger: &Path, since_ns: u64, child: &mut Child) -> Option<String> {
    loop {
        let has_ended = child.try_wait().ok().flatten().is_some();
        let found = session_of(ledger, since_ns, child.id());
        if let Some((session, true)) = found {
            return Some(session);
        }
        if has_ended {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The child's session, and whether its program was about to run.
fn session_of(ledger: &Path, since_ns: u64, pid: u32) -> Option<(String, bool)> {
    let ledger = Ledger::open_read(ledger).ok()?;
    // Process numbers come again: only a session opened since can be this child's.
    let opened = ledger.streams().ok()?.into_iter().filter(|s| s.opened_at_ns.is_some_and(|at| at >= since_ns));
    let pid_of = |open: flyball_ledger::Entry| open.body.get("pid").and_then(Json::as_u64);
    let id = opened.map(|s| s.id).find(|id| ledger.entry(id, 1).ok().and_then(pid_of) == Some(u64::from(pid)))?;
    let attempts = Filter { kinds: vec![Kind::Attempt], ..Filter::default() };
    let has_begun = ledger.entries(&id, 1..16, attempts).ok()?.next().is_some();
    Some((id, has_begun))
}

fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|d| u64::try_from(d.as_nanos()).ok()).unwrap_or_default()
}
