//! Bytes to actions: what an attempt means, read from what the agent handed over, before it takes effect.
//!
//! Every reader is a function of its arguments: no I/O, clock or threads. It is total (any input gives a value) and
//! bounded ([`DEPTH_MAX`], [`ACTIONS_MAX`], [`SCRIPT_BYTES_MAX`]). What it cannot read carries `opaque: true` and empty
//! fields, never a guess: a command inside a script is mediated again when it runs, so reading it early makes for a
//! better question and is not the boundary.
//!
//! Entry point: [`exec_actions`], a program about to run.
//!
//! Not here: rules, files, the operating system's idea of a path (callers hand over canonical ones).
#![forbid(unsafe_code)]

mod exec;
mod names;

pub use exec::{Exec, GitContext, Script, exec_actions};

/// Wrappers, shells and substitutions inside one another, at most.
pub const DEPTH_MAX: usize = 16;

/// Actions that one program start can imply, at most; beyond it one opaque action stands for the rest.
pub const ACTIONS_MAX: usize = 512;

/// Bytes of a script that are read, at most; a longer one is opaque. Agents' own command strings stay far below.
pub const SCRIPT_BYTES_MAX: usize = 64 * 1024;
