//! What can be said of a charter without running anything: which rules do nothing, which actions they meet, and what
//! another charter would let pass.
//!
//! Conditions become boolean formulas over tests of single values ([`formula`]); a search finds values that satisfy one
//! ([`solve`], with [`words`] for texts); and every example is put to the real rules before it is shown ([`witness`]).
//! All of it is bounded by steps, never by a clock, and says where it stopped short.

mod compare;
mod coverage;
mod doors;
mod events;
mod findings;
mod formula;
mod histories;
mod plain;
mod prove;
mod reachable;
mod registers;
mod rules;
mod settings;
mod smt;
mod solve;
mod texts;
mod verdicts;
mod widening;
mod witness;
mod words;

pub use compare::{Comparison, Example, Narrower, compare};
pub use coverage::{Reach, RuleCoverage, SURFACES, coverage, reach};
pub use doors::{
    Doors, Lacking, Mediation, RuleMediation, SessionCoverage, SessionKind, lacking, requirements, session_coverage,
};
pub use findings::{Analysis, analyse};
pub use plain::is_plainly_narrower;
pub use prove::{Answer, Question, questions};
pub use reachable::{FactTrace, fact_traces};
pub use widening::{Side, Widening, WideningQuestion, widening_questions};

#[cfg(test)]
mod tests;
