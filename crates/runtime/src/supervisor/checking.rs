//! The contracts' commands, between a program's end and its session's.

use super::{Shared, lock};
use crate::contracts::{self, command};
use crate::core::{Core, Notice, Watcher};
use crate::plan::Plan;
use flyball_kernel::ContractCommand;
use flyball_sandbox::{EndedBy, Exit};
use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

/// Runs the contracts' commands on what the session left; nobody waits for the session's state meanwhile.
pub(super) fn run<'s>(
    shared: &'s Arc<Shared>,
    core: MutexGuard<'s, Core>,
    plan: &Plan,
    exit: Option<&Exit>,
    watcher: &dyn Watcher,
) -> (BTreeMap<String, command::Ran>, MutexGuard<'s, Core>) {
    let commands = contracts::commands(core.gate.kernel().charter());
    let place = command::place(&plan.spec, Some(core.capture.layers.upper.clone()));
    drop(core);
    let place = match exit.map(|exit| exit.by) {
        Some(EndedBy::Program) => Ok(&place),
        Some(_) => Err("the session did not end by itself"),
        None => Err("the program was never started"),
    };
    let tell = |contract: &str, command: &ContractCommand| {
        watcher.notice(Notice::Checking { contract: contract.to_owned(), command: command.argv.clone() });
    };
    let ran = contracts::run_all(&commands, place, &shared.checking, &tell);
    (ran, lock(shared))
}
