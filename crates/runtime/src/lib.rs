//! The runtime: where the kernel's rulings, the record, the sandbox and people meet.
//!
//! Entry points: [`run`] governs a program to its end; [`door`] what comes through hooks instead; [`control`] acts on a live session; [`rollback`], [`apply`] and
//! [`discard`] on its workspace; [`read`] tells what the record holds; [`init`] writes a first charter.
//!
//! Invariants: nothing is allowed that the [`gate`] has not recorded; what it can't decide it denies; a person's act is
//! recorded with who proved to have made it.
//!
//! Not here: rules (`kernel`), isolation (`sandbox`), bytes (`intent`), the record's format (`ledger`), printing (`cli`).

#![forbid(unsafe_code)]

pub mod asking;
pub mod attest;
pub mod backtest;
mod capture;
pub mod charter;
mod clock;
mod constrain;
mod contracts;
pub mod control;
mod core;
mod coverage;
pub mod door;
pub mod evidence;
pub mod exports;
pub mod gate;
mod git_context;
mod home;
mod hooked;
mod inbox;
pub mod init;
mod kept;
mod lent;
mod outward;
mod past;
mod plan;
mod posting;
pub mod read;
mod recover;
pub mod refusal;
pub mod replay;
pub mod rerun;
mod rewind;
mod scratch;
pub mod signed;
pub mod solver;
pub mod state;
pub mod status;
pub mod suggest;
mod supervisor;
mod taking;
pub mod terminal;
pub mod translate;
pub mod witnessing;

pub use crate::clock::{rfc3339, wall_ns};
pub use crate::contracts::{Check, ContractResult};
pub use crate::core::{Notice, OnHold, Watcher};
pub use crate::home::{Home, HomeError, SessionLock};
pub use crate::plan::PlanError;
pub use crate::recover::{Swept, dead_sessions};
pub use crate::rewind::{RewindError, rollback};
pub use crate::supervisor::{RunError, RunOptions, Summary, run};
pub use crate::taking::{TakingError, apply, discard};
