//! Which agents are the session's own, so that `agent.spawn` is only of those that they start.
//!
//! The session's own are those that its command starts. One that starts itself anew, as launchers do, with the same task and rights and
//! nothing in between, is still that one.

use flyball_kernel::{Action, Value};
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Agents {
    /// The session's command was read.
    has_begun: bool,
    /// Those of its command that have not been seen to start.
    awaited: Vec<Action>,
    /// The one that the exec being decided is.
    starting: Option<Arc<Action>>,
}

impl Agents {
    /// An exec's actions, without the start of an agent that is no other than the session's own, or than `caller`, who execs.
    pub(super) fn others(&mut self, caller: Option<&Action>, mut actions: Vec<Action>) -> Vec<Action> {
        let is_spawn = |action: &Action| action.verb.name() == "agent.spawn";
        self.starting = actions.iter().find(|it| is_spawn(it) && is_run_by(&actions, it)).cloned().map(Arc::new);
        if !std::mem::replace(&mut self.has_begun, true) {
            self.awaited = actions.iter().filter(|it| is_spawn(it)).cloned().collect();
        }
        // What only starts it is something between.
        let caller = caller.filter(|_| self.starting.is_some());
        let is_own = |it: &Action| self.awaited.iter().chain(caller).any(|own| is_same(own, it));
        let before = actions.len();
        actions.retain(|it| !is_spawn(it) || !is_own(it));
        if actions.len() != before
            && let Some((exec, implied)) = actions.split_first_mut()
        {
            let mut verbs: Vec<String> = implied.iter().map(|it| it.verb.name().to_owned()).collect();
            verbs.sort();
            verbs.dedup();
            // INVARIANT: `process.exec` has that attribute: its reader has set it, since it implied an agent.
            let _ = exec.set("implies", Value::from(verbs));
        }
        actions
    }

    /// The agent that the exec which was decided last will be.
    pub(super) fn take(&mut self) -> Option<Arc<Action>> {
        self.starting.take()
    }

    /// An exec that is an agent was done.
    pub(super) fn has_started(&mut self, agent: &Action) {
        if let Some(at) = self.awaited.iter().position(|own| is_same(own, agent)) {
            self.awaited.remove(at);
        }
    }
}

/// Whether the program itself is that agent, and not one that will start it.
fn is_run_by(actions: &[Action], agent: &Action) -> bool {
    let program = actions.first().map_or("", |exec| exec.resource.str("program"));
    let by = agent.attr("implied_by").and_then(Value::as_str).unwrap_or_default();
    program == "node" || by.split(' ').next() == Some(program)
}

fn is_same(one: &Action, other: &Action) -> bool {
    one.resource == other.resource && ["task", "rights", "opaque"].iter().all(|name| one.attr(name) == other.attr(name))
}
