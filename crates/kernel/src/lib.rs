//! The pure heart of Flyball: what an action is, what a charter says, and what the ruling on an input is.
//!
//! [`Kernel::step`] is a function of the kernel's state and one [`Input`]; it has no clock, I/O, randomness, threads,
//! floats or hash order. Time comes with the input. The same inputs give the same rulings, to the byte.
//!
//! Entry points: [`Action`] (the vocabulary's values), [`Charter::compile`], [`Kernel::new`], [`Kernel::step`].
//!
//! Not here: reading files (callers hand over text), bytes of protocols (`intent`), records (`ledger`), people (`runtime`).
#![forbid(unsafe_code)]

mod action;
pub mod amend;
pub mod analysis;
mod budget;
mod charter;
mod civil;
mod decide;
mod diagnostic;
mod envelope;
mod facts;
mod hash;
mod input;
mod kernel;
mod label;
mod learning;
mod obligation;
mod pairs;
mod question;
mod registers;
mod request;
mod rules;
mod ruling;
mod session;
mod text;
mod vocabulary;

pub use action::{Action, ActionError, Resource, Surface, Value};
pub use budget::{SharedFound, SharedWant};
pub use charter::{
    Autonomy, CODES, Charter, ContentReading, Contract, ContractCommand, Credential, CredentialSource, DefaultVerdict,
    Example, ExampleOutcome, FactType, HomeKeep, HttpSettings, Level, Limits, MODEL_APIS, ModelHost, ModelPrice,
    ModelSettings, Owner, RequestEffect, RequestReading, Rule, RuleEffect, SandboxSettings, ServerSettings, ServerTool,
    Servers, Sources, Tier, ToolReading, check_examples,
};
pub use diagnostic::{Diagnostic, Diagnostics, Position, Related, Severity, Span};
pub use facts::{FactBound, History, Moment, Phase};
pub use input::{Elsewhere, Event, Input};
pub use kernel::{Kernel, OWNER_QUESTIONS_MAX, OWNER_SMALL_QUESTIONS_MAX, Past, SnapshotError};
pub use registers::{BudgetUse, EnvelopeUse, ObligationUse, OwnerLoad, Registers};
pub use ruling::{ActionDigest, Effect, Governance, Reason, Record, Ruling, Verdict};
pub use session::Session;
pub use text::Text;
pub use vocabulary::{
    AttrType, CONTENT_ATTRS, Consequence, FieldSpec, ResourceKind, Reversibility, Verb, VerbSpec, verbs,
};
