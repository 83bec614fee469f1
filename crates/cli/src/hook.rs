//! `flyball hook`: the process that a harness starts for each event.
//!
//! INVARIANT: it ends with 0 only when the session's supervisor let the event pass. Harnesses go on whenever a hook ends with
//! anything else than 2, so everything that goes wrong before a tool call, or with an event that can't be read, ends with 2.

use crate::args::{Hook, HookEvent};
use crate::failure::Failure;
use crate::output::Output;
use crate::place::Place;
use crate::run::sending;
use flyball_gateway::hook::{EVENT_BYTES_MAX, Reply, only_tells};
use flyball_intent::Harness;
use flyball_runtime::door::{self, Supervise};
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

mod settings;

pub use settings::{HOW_TO_TRUST, places, untrusted};

const DENY: u8 = 2;
/// An event that only tells could not be recorded; harnesses say so and go on.
const NOT_HEARD: u8 = 1;
/// Beyond what people may take: no harness is kept waiting for longer, whatever happens.
const SLACK: Duration = Duration::from_secs(20);

/// Serves one event, or supervises a session, or puts the hooks into settings and takes them out.
pub fn hook(out: Output, place: &Place, args: Hook) -> Result<u8, Failure> {
    let (harness, event) = match args {
        Hook::Install(args) => return settings::install(out, place, args).map(|()| 0),
        Hook::Uninstall(args) => return settings::uninstall(out, place, args).map(|()| 0),
        Hook::Claude(event) => (Harness::Claude, event),
        Hook::Codex(event) => (Harness::Codex, event),
        Hook::Gemini(event) => (Harness::Gemini, event),
        Hook::Cursor(event) => (Harness::Cursor, event),
        Hook::Supervise { harness, key, session, cwd, follow, otlp } => {
            let Some(harness) = Harness::ALL.into_iter().find(|h| h.name() == harness) else { return Ok(DENY) };
            let done = supervise(place, &Supervise { harness, key, session, cwd, follow, sending: otlp.map(sending) });
            return Ok(done.map_or_else(|failure| deny(&failure.message), |()| 0));
        }
    };
    end_in_time(event.within);
    let mut bytes = Vec::new();
    let reply = catch_unwind(AssertUnwindSafe(|| rule(place, harness, &event, &mut bytes)));
    let why = match reply {
        Ok(Ok(reply)) => return Ok(say(&reply)),
        Ok(Err(failure)) => failure.message,
        Err(_) => "an error in Flyball itself".to_owned(),
    };
    // Where nothing is to be stopped, a harness that were stopped would only start over.
    if only_tells(harness, &bytes) {
        say(&Reply { exit: NOT_HEARD, stderr: format!("flyball: not recorded: {why}\n"), ..Reply::default() });
        return Ok(NOT_HEARD);
    }
    Ok(deny(&why))
}

fn rule(place: &Place, harness: Harness, event: &HookEvent, bytes: &mut Vec<u8>) -> Result<Reply, Failure> {
    let fail = |e: &dyn std::fmt::Display| Failure::user("FB0537", e.to_string());
    std::io::stdin().take(EVENT_BYTES_MAX as u64 + 1).read_to_end(bytes).map_err(|e| fail(&e))?;
    let within = Duration::from_secs(event.within);
    if let Some(said) = door::hook_within(bytes, within) {
        return said.map_err(|e| fail(&e));
    }
    door::hook(&place.home()?, harness, bytes, within, event.otlp.as_deref()).map_err(|e| fail(&e))
}

fn supervise(place: &Place, options: &Supervise) -> Result<(), Failure> {
    door::supervise(&place.home()?, options).map_err(|e| Failure::user("FB0537", e.to_string()))
}

/// Denies when the time is up: a harness whose hook takes longer than it gives it goes on.
fn end_in_time(within: u64) {
    let _ = std::thread::Builder::new().name("deadline".into()).spawn(move || {
        std::thread::sleep(Duration::from_secs(within) + SLACK);
        std::process::exit(i32::from(deny("the session's supervisor does not answer")));
    });
}

fn say(reply: &Reply) -> u8 {
    // What a harness does not read has been said by the exit code.
    let _ = std::io::stdout().write_all(reply.stdout.as_bytes());
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().write_all(reply.stderr.as_bytes());
    reply.exit
}

fn deny(why: &str) -> u8 {
    say(&Reply::deny(&format!("flyball: denied, the hook could not ask: {why}")))
}
