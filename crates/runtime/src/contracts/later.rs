//! Contracts of a session that has ended, held against its record: the commands run on its last workspace, laid out from the ledger.

use super::{ACTOR, AtEnd, ContractResult, Ended, command, commands, hold, run_all};
use crate::clock::{Clock, wall_ns};
use crate::home::Home;
use crate::replay::{self, Player};
use crate::rerun;
use crate::state::State;
use crate::{control, coverage, plan, rewind, translate};
use flyball_kernel::analysis::SessionKind;
use flyball_kernel::{Charter, Contract, Kernel};
use flyball_ledger::{Draft, Entry, Filter, Kind, Ledger, LedgerError, Stream};
use flyball_sandbox::workspace::{self, Layers};
use flyball_sandbox::{Spec, Weakness};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};

/// In the session's folder: where its last workspace is laid out.
const FOLDER: &str = "attested";

/// Holds contracts of an ended session against its record: `all`, or those of which the record does not tell and those whose
/// command was never started. What came of them goes on record behind the session's end.
///
/// # Errors
/// [`LedgerError`] when the record can't be read. What can't be looked at does not hold, and is no error.
pub(crate) fn settle(
    home: &Home,
    ledger: &Ledger,
    stream: &Stream,
    all: bool,
    tell: &dyn Fn(&str, &[String]),
) -> Result<Vec<ContractResult>, LedgerError> {
    let (session, last) = (stream.id(), stream.last_seq());
    let told = Told::of(ledger, session)?;
    let Ok((player, _)) = Player::up_to(ledger, session, last)? else {
        // Which contracts there are is not known: the statement says that nobody looked.
        return Ok(Vec::new());
    };
    let Some(kernel) = player.kernel else { return Ok(Vec::new()) };
    let wanted: Vec<Contract> =
        kernel.charter().contracts().iter().filter(|contract| all || told.lacks(contract)).cloned().collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut commands = commands(kernel.charter());
    commands.retain(|(contract, _)| wanted.iter().any(|wanted| wanted.name == *contract));
    let laid = match commands.is_empty() {
        true => Err("there is none".to_owned()),
        false => Laid::out(home, ledger, session, &told.opening, kernel.charter()),
    };
    let place = laid.as_ref().map(|laid| &laid.spec).map_err(String::as_str);
    let tell = |contract: &str, command: &flyball_kernel::ContractCommand| tell(contract, &command.argv);
    let ran = run_all(&commands, place, &command::Now::default(), &tell);
    let level = replay::levels(ledger, session)?.level;
    let from = laid.as_ref().ok().map(|laid| laid.from);
    drop(laid);
    let mut later = Later { kernel, stream, ended_ns: told.ended_ns, last, from };
    let (replay_level, has_gaps) = (level, level < 3);
    let mut ended = Ended { gate: &mut later, ledger, session, replay_level, has_gaps, ran };
    Ok(hold(&mut ended, &wanted))
}

/// What the record says of a session's end.
struct Told {
    opening: Json,
    ended_ns: u64,
    /// Contracts that were looked at, and whether the command of each was started.
    contracts: std::collections::BTreeMap<String, bool>,
}

impl Told {
    fn of(ledger: &Ledger, session: &str) -> Result<Self, LedgerError> {
        let mut told = Self { opening: Json::Null, ended_ns: 0, contracts: std::collections::BTreeMap::new() };
        let kinds = vec![Kind::Open, Kind::Observe, Kind::Close];
        for entry in ledger.entries(session, .., Filter { kinds, ..Filter::default() })? {
            let entry: Entry = entry?;
            let body = match ledger.body(&entry) {
                Ok(body) => body,
                Err(LedgerError::NoBlob(_)) => continue,
                Err(error) => return Err(error),
            };
            let name = |at: &str| body.pointer(at).and_then(Json::as_str).map(str::to_owned);
            match entry.kind {
                Kind::Open => told.opening = body,
                Kind::Close => told.ended_ns = entry.at_ns,
                _ if entry.actor != ACTOR => {}
                _ => {
                    if let Some(ran) = name("/contract_command/contract") {
                        let is_started = body.pointer("/contract_command/output").is_some_and(|out| !out.is_null());
                        told.contracts.insert(ran, is_started);
                    } else if let Some(held) = name("/contract/contract") {
                        told.contracts.entry(held).or_insert(true);
                    }
                }
            }
        }
        Ok(told)
    }

    fn lacks(&self, contract: &Contract) -> bool {
        match self.contracts.get(&contract.name) {
            None => true,
            Some(is_started) => !is_started && contract.command.is_some() && self.kind() == SessionKind::Run,
        }
    }

    fn kind(&self) -> SessionKind {
        coverage::doors(&self.opening).kind
    }
}

/// A session that has ended, as its record makes it.
struct Later<'a> {
    kernel: Kernel,
    stream: &'a Stream,
    ended_ns: u64,
    last: u64,
    /// What the workspace was laid out from.
    from: Option<&'static str>,
}

impl AtEnd for Later<'_> {
    fn charter(&self) -> &Charter {
        self.kernel.charter()
    }
    fn fact(&self, name: &str) -> (bool, Vec<u64>, Option<String>) {
        self.kernel.fact_at(name, self.ended_ns)
    }
    fn flush(&mut self) -> Result<(), String> {
        self.stream.flush().map_err(|e| e.to_string())
    }
    fn note(&mut self, mut body: Json) -> Result<u64, String> {
        if let Some(body) = body.as_object_mut() {
            body.insert("later".to_owned(), json!({ "by": control::this_user(), "from": self.from }));
        }
        let at_ns = Clock::after(self.stream.last_at_ns().max(wall_ns())).now_ns();
        let (actor, cause) = (ACTOR.to_owned(), vec![self.last]);
        let noted = self.stream.append(Draft { at_ns, kind: Kind::Observe, actor, cause, body });
        noted.map_err(|e| e.to_string())
    }
}

/// A session's last workspace, laid out for a command; it goes when this does.
struct Laid {
    spec: Spec,
    /// `record`: all of it is what the ledger holds. `workspace`: what the session did not touch is the real tree's, as it stands now.
    from: &'static str,
    folder: PathBuf,
}

impl Drop for Laid {
    fn drop(&mut self) {
        // What can't be removed now goes with the session's folder.
        let _ = workspace::remove_tree(&self.folder);
    }
}

impl Laid {
    /// Why not, in words.
    fn out(home: &Home, ledger: &Ledger, session: &str, opening: &Json, charter: &Charter) -> Result<Self, String> {
        if coverage::doors(opening).kind != SessionKind::Run {
            return Err("the session had no sandbox: what its workspace was at the end is not on record".to_owned());
        }
        let plan = plan_of(home, session, opening, charter)?;
        let folder = home.session(session).join(FOLDER);
        // What an earlier one left that was killed.
        let _ = workspace::remove_tree(&folder);
        let mut made = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(made.recursive(true), 0o700);
        made.create(&folder).map_err(|e| format!("no folder for it could be made: {e}"))?;
        let mut laid = Self { spec: plan.spec, from: "workspace", folder };
        laid.spec.session_dir.clone_from(&laid.folder);
        let has_no_overlay = opening
            .get("weaker")
            .and_then(Json::as_array)
            .is_some_and(|weaker| weaker.iter().any(|layer| matches!(layer.as_str(), Some("overlay" | "namespaces"))));
        let left = laid.layers(ledger, session, opening, has_no_overlay)?;
        laid.spec = command::place(&laid.spec, Some(left));
        Ok(laid)
    }

    /// The tree that it began with, and over it what it left different; the latter's folder.
    fn layers(&mut self, ledger: &Ledger, session: &str, opening: &Json, is_copied: bool) -> Result<PathBuf, String> {
        let upper = self.folder.join("left");
        if opening.get("recorded").is_some()
            && let Ok(items) = rerun::first::recorded(ledger, session)
        {
            let first = self.folder.join(rerun::FIRST);
            rerun::first::lay_out(ledger, &items, &first).map_err(|error| error.to_string())?;
            self.spec.lower = Some(first);
            self.from = "record";
        }
        let lower = self.spec.lower.clone().unwrap_or_else(|| self.spec.workspace.clone());
        let layers = Layers::new(lower.clone(), upper.clone());
        let state = State::at(ledger, session, u64::MAX >> 1).map_err(|error| error.to_string())?;
        // INVARIANT: the tree beneath is what the session began with, or what it left, wherever the session touched it.
        for (path, was) in state.bases() {
            let is = workspace::lower_node(&layers, &translate::path(path)).map_err(|error| error.to_string())?;
            if is != was && !state.has(path, &is) {
                return Err(format!(
                    "`{path}` in the real workspace is neither what the session began with nor what it left"
                ));
            }
        }
        match is_copied {
            true => _ = workspace::copy(&layers, &self.spec.hide).map_err(|error| error.to_string())?,
            false => like(&lower, &upper).map_err(|e| format!("no folder for it could be made: {e}"))?,
        }
        rewind::lay_over(&state, ledger, &layers).map_err(|(path, why)| format!("`{path}`: {why}"))?;
        Ok(upper)
    }
}

/// How a session that ended would be run now, by its opening. Why not, in words.
pub(crate) fn plan_of(home: &Home, session: &str, opening: &Json, charter: &Charter) -> Result<plan::Plan, String> {
    let text = |key: &str| opening.get(key).and_then(Json::as_str).map(translate::path);
    let (Some(workspace), Some(user_home)) = (text("workspace"), text("home")) else {
        return Err("the session's opening does not say where it was".to_owned());
    };
    let accept_weaker: Vec<Weakness> =
        serde_json::from_value(opening.get("accepted_weaker").cloned().unwrap_or_default()).unwrap_or_default();
    let options = command::options(workspace, None, accept_weaker);
    let plan = plan::plan(home, session, &options, charter).map_err(|error| error.to_string())?;
    if plan.spec.home != user_home {
        let (then, now) = (user_home.display(), plan.spec.home.display());
        return Err(format!("the session ran for the home `{then}`, and yours is `{now}`"));
    }
    Ok(plan)
}

/// A folder of the same mode and owner.
fn like(of: &Path, new: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(of)?;
    std::fs::create_dir(new)?;
    // An ordinary user can't, and in its own tree need not.
    let _ = std::os::unix::fs::lchown(new, Some(meta.uid()), Some(meta.gid()));
    std::fs::set_permissions(new, meta.permissions())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::replay::recorded::{Recording, files, write};

    #[test]
    fn facts_are_held_against_the_end_and_not_against_what_was_heard_last() {
        let toml = r#"[charter]
name = "w"
default = "allow"
[owners]
dev = ["user:alice"]
[facts]
recent = 'once[10m] did fs.write'
[[contract]]
name = "facts"
facts = ["recent"]
"#;
        for (minutes, holds) in [(1, true), (60, false)] {
            let dir = tempfile::tempdir().unwrap();
            let home = Home::open(dir.path()).unwrap();
            let mut it = Recording::new(dir.path(), "s", files(toml, ""), None);
            it.does(vec![write("a")], &[]);
            it.gate.flush().unwrap();
            it.gate.end();
            // Its supervisor died, and the next start closed it later.
            let stream = it.ledger.stream("s").unwrap();
            let at_ns = stream.last_at_ns() + minutes * 60_000_000_000;
            let body = json!({ "ended_by": "error", "recovered": true });
            let (kind, actor) = (Kind::Close, "recovery".to_owned());
            stream.append(Draft { at_ns, kind, actor, cause: Vec::new(), body }).unwrap();
            stream.flush().unwrap();
            let results = settle(&home, &it.ledger, &stream, false, &|_, _| {}).unwrap();
            let check = results[0].checks.iter().find(|check| check.of.as_deref() == Some("recent")).unwrap();
            assert_eq!(check.holds, holds, "{minutes} minutes");
        }
    }
}
