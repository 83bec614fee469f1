//! Linux isolation, mediation and workspace overlays (shared/SANDBOX.md): what a governed program can touch, and the
//! place where each of its world-changing calls waits for a decision.
//!
//! Entry points: [`Spec`] says what to build, [`start`] builds it and runs the program, [`Mediator`] decides each
//! [`Call`], [`Running`] is the handle to pause, resume, answer and kill. [`workspace`] reads, rewinds and applies what a
//! session changed. [`doctor`] says what this machine can enforce.
//!
//! Not here: rules, actions, records. The only crate with `unsafe`.

mod call;
mod copy;
mod doctor;
mod exits;
#[allow(dead_code, reason = "what only the boundary tests use")]
mod launch;
mod mediate;
mod places;
mod spec;
mod tied;
pub mod workspace;

pub use call::{
    Asker, Attempt, Below, Call, Decision, Done, FileId, FileKind, Lull, Mediator, MetadataChange, Passing, Refusal,
    Script, Through, Ticket,
};
pub use doctor::{Finding, doctor};
pub use launch::{
    CHROMIUM_DIR, CODES as LAUNCH_CODES, HOOKS_PROGRAM, HOOKS_SOCKET, HOOKS_SOCKET_FILE, INBOX, JAVA_TRUST_FILE,
    LaunchError, SYSTEM_CHROMIUM, SYSTEM_JAVA_TRUST, Streams, TRUST, end_leftovers, enter_if_launcher,
    hooks_settings_file, remove_session_dir, weakness_name,
};
pub use mediate::HOST_NAME;
#[doc(hidden)]
pub use mediate::readers;
pub use mediate::running::{
    Begun, Built, CODES as MEDIATE_CODES, ControlError, EndedBy, Exit, Ready, Running, StartError, Status, begin,
    build, start,
};
pub use spec::{HooksDoor, Limits, Network, Spec, Terminal, Weakness};
pub use tied::ends_with_this_thread;
