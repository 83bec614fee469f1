//! What tests stand on: a scripted model endpoint, a small real repository with a home full of bait, the users that a
//! test runs as, and the command line of a real agent program.
//!
//! INVARIANT: nothing here stands in for a part of Flyball. The endpoint replaces the model's service, which no test may
//! reach; everything else is the real thing, made small.
//!
//! Entry points: [`facts::Naive`], [`faultfs`], [`model_endpoint::ModelEndpoint`], [`repo::Repo`], [`user::User`], [`claude::Claude`],
//! [`codex::Codex`], [`gemini::Gemini`].
//!
//! A test that can't run here (no agent installed, not root) says why and counts as skipped: see [`claude::Claude::find`]
//! and [`user::User::each`].
#![forbid(unsafe_code)]

pub mod claude;
pub mod codex;
pub mod collector;
pub mod facts;
pub mod faultfs;
pub mod gemini;
pub mod lack;
pub mod model_endpoint;
pub mod repo;
pub mod user;
