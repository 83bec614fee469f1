//! The doors that an agent uses beside system calls: its harness's hooks, tool servers, and later HTTP and models.
//!
//! Each door reads what its protocol carries, has `intent` say which actions that is, and puts them to a [`Gate`]. What the
//! gate allows goes on as the bytes that came; what it does not is answered in the protocol's own words.
//!
//! Invariants: nothing goes on that the gate has not allowed; what a door can't read it refuses; a door knows no rule, no
//! charter and no record, so there is no way round the gate.
//!
//! Entry points: [`Gate`], which the runtime implements; [`hook::Hooks`], the events of one harness session;
//! [`mcp::Proxy`], one MCP client and its server.
//!
//! Not here: rules (`kernel`), what bytes mean (`intent`), sessions and people (`runtime`).

#![forbid(unsafe_code)]

mod gate;
pub mod hook;
pub mod http;
pub mod mcp;
pub mod paths;

pub use gate::{Answered, Asking, Exact, Gate, Keep, Later};
