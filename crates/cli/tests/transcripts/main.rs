//! Transcripts: what was typed, what came on the screen, and the exit code. The help texts are among them, so that the
//! command line can't change unseen.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod bad_input;
mod bundles;
mod charters;
mod evidence;
mod fixture;
mod help;
mod hostile;
mod reading;
mod scene;
mod suggest;
