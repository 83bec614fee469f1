//! What people do to a session without a sandbox: heard at its socket, recorded, done where the door is.

use super::{Door, State};
use crate::clock::wall_ns;
use crate::control::{self, Reply, Request};
use crate::gate::Answer;
use crate::signed::Actor;
use serde_json::json;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How often time is looked at: a deadline is acted on at most this much later.
const TICK: Duration = Duration::from_millis(200);

pub(super) fn serve(door: &Arc<Door>) -> std::io::Result<()> {
    let listener = control::listen(&door.session_dir)?;
    let door = Arc::downgrade(door);
    std::thread::Builder::new().name("control".into()).spawn(move || {
        for stream in control::connections(&listener) {
            let Some(door) = alive(&door) else { return };
            let Some(stream) = stream else { continue };
            let _ = std::thread::Builder::new().name("act".into()).spawn(move || {
                control::serve_peer(stream, |request, by, pid| match is_own_act(&door, &request, pid) {
                    true => Err(OWN_ACT.to_owned()),
                    false => act_on(&door, request, by),
                });
            });
        }
    })?;
    Ok(())
}

pub(super) fn tick_at_deadlines(door: &Arc<Door>) -> std::io::Result<()> {
    let door = Arc::downgrade(door);
    std::thread::Builder::new().name("ticks".into()).spawn(move || {
        loop {
            std::thread::sleep(TICK);
            let Some(door) = alive(&door) else { return };
            let mut state = door.lock();
            state.expire();
            if state.gate.next_deadline_ns().is_some_and(|at_ns| at_ns <= wall_ns())
                && let Ok((settled, effects)) = state.gate.tick()
            {
                state.take_effects(&effects);
                settled.into_iter().for_each(|settled| state.waiting.settle(settled, wall_ns()));
                door.settled.notify_all();
            }
        }
    })?;
    Ok(())
}

/// What an agent reads that would answer for itself.
const OWN_ACT: &str = "this comes from the agent's own processes, and a session's agent has no say over it: \
                       give it from a terminal of your own";

/// Whether the session's agent asks for this, or a process that it started. What is signed is its signer's, whoever brings it.
///
/// What has cut itself off from its ancestors can't be told from others: the session has no sandbox.
fn is_own_act(door: &Door, request: &Request, pid: i32) -> bool {
    let is_harmless =
        matches!(request, Request::Status | Request::Answer { signed: Some(_), .. } | Request::Signed { .. });
    !is_harmless && door.agent.get().is_some_and(|agent| agent.is_above(pid))
}

fn alive(door: &Weak<Door>) -> Option<Arc<Door>> {
    door.upgrade().filter(|door| !door.is_over())
}

fn act_on(door: &Arc<Door>, request: Request, by: &str) -> Result<Reply, String> {
    let mut state = door.lock();
    let (request, actor) = match request {
        Request::Signed { act, signed } => {
            let actor = state.gate.actor(&signed, &act, by)?;
            (*act, actor)
        }
        request => (request, Actor::local(by)),
    };
    let by = actor.contact.as_str();
    let done = |seq| Ok(Reply { ok: true, seq: Some(seq), ..Reply::default() });
    match request {
        Request::Signed { .. } => Err("asked for already".to_owned()),
        Request::Status => Ok(Reply { ok: true, status: Some(Box::new(state.gate.status())), ..Reply::default() }),
        Request::Pause { reason } => done(recorded(&mut state, "pause", by, &reason)?),
        Request::Resume { reason } => done(recorded(&mut state, "resume", by, &reason)?),
        Request::Quarantine { reason } => done(recorded(&mut state, "quarantine", by, &reason)?),
        Request::Kill { reason } => {
            let seq = recorded(&mut state, "kill", by, &reason)?;
            state.ended_by = Some("person");
            // The kernel denies all from now on. The session stays open for as long as its agent may still ask: another one in its
            // place would know nothing of this.
            let begun = std::time::Instant::now();
            let killed = door.agent.get().is_some_and(|agent| agent.kill());
            let message =
                if killed { "" } else { "everything is denied from now on; end the agent's program yourself" };
            let took_us = u64::try_from(begun.elapsed().as_micros()).ok();
            Ok(Reply { ok: true, seq: Some(seq), took_us, message: message.to_owned(), ..Reply::default() })
        }
        Request::Answer { id, verdict, with, reason, signed, only, set } => {
            let answer = Answer { verdict, with, by: by.to_owned(), reason, signed, said_in: None, only, set };
            let answered = state.gate.answer(&id, answer).map_err(|e| e.to_string())?;
            let message = answered.said(&id, verdict != flyball_kernel::Verdict::Deny);
            for settled in answered.settled {
                let said = if settled.verdict == flyball_kernel::Verdict::Allow { "allowed" } else { "refused" };
                state.inbox.tell(settled.group, "answered", &format!("entry {} was {said}", settled.group));
                state.waiting.settle(settled, wall_ns());
            }
            door.settled.notify_all();
            Ok(Reply { ok: true, message, ..Reply::default() })
        }
        Request::Autonomy { level, reason } => {
            let levels = state.gate.autonomy_levels();
            if !levels.contains(&level.as_str()) {
                return Err(format!("the charter has no level `{level}`: it has {}", levels.join(", ")));
            }
            let was = state.gate.status().registers.autonomy;
            let body = actor.body(json!({ "level": level, "was": was }));
            let seq = state.gate.control("autonomy", by, &reason, body).map_err(|e| e.to_string())?;
            state.gate.flush().map_err(|e| e.to_string())?;
            let now = state.gate.status().registers.autonomy;
            if now == level { done(seq) } else { Err(format!("`{by}` may not raise the level: it is `{now}`")) }
        }
        Request::Declassify { label, reason } => {
            let who = state.gate.declassifiers(&label)?;
            if !who.iter().any(|contact| contact == by) {
                return Err(format!("`{by}` may not declassify `{label}`: its owner is {}", who.join(", ")));
            }
            let body = actor.body(json!({ "label": label }));
            done(state.gate.control("declassify", by, &reason, body).map_err(|e| e.to_string())?)
        }
        Request::Constrain { .. } => {
            Err("a session without a sandbox keeps the charter that it began with: end it, and start the agent anew"
                .into())
        }
        Request::Rollback { .. } => {
            Err("this session has no sandbox, and so no workspace of its own that could be taken back".into())
        }
    }
}

fn recorded(state: &mut State, act: &str, by: &str, reason: &str) -> Result<u64, String> {
    let seq = state.gate.control(act, by, reason, json!({})).map_err(|e| e.to_string())?;
    state.gate.flush().map_err(|e| e.to_string())?;
    if act != "resume" {
        state.stopped();
    }
    state.inbox.tell(seq, act, &format!("{act} by {by}: {reason}"));
    Ok(seq)
}
