//! The one thing that a door knows of governance: whom to ask.

use flyball_kernel::{Action, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// An attempt, put to the gate.
#[derive(Clone, Debug)]
pub struct Asking {
    /// All that it implies, the attempt itself first. They are ruled on together: the strictest verdict holds.
    pub actions: Vec<Action>,
    /// Entries that led to it.
    pub cause: Vec<u64>,
    /// Only a call that is the same in this too takes an answer that was given when its asker had gone away. The actions don't say
    /// all: what a file would hold is not in them.
    pub exact: Exact,
    /// How long people may take before whoever asks must go away without an answer.
    pub wait: Duration,
    /// Whether whoever asks can carry out something else instead: only then it is told [`Answered::Changed`].
    pub can_change: bool,
}

/// What stands for all of a call, such as a digest. Made when it is first asked for: most calls are answered without.
#[derive(Clone)]
pub struct Exact(Arc<LazyLock<String, MakesExact>>);

type MakesExact = Box<dyn FnOnce() -> String + Send>;

impl Exact {
    /// Made so, once.
    pub fn when_asked(make: impl FnOnce() -> String + Send + 'static) -> Self {
        Self(Arc::new(LazyLock::new(Box::new(make))))
    }

    /// As text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl From<String> for Exact {
    fn from(text: String) -> Self {
        Self::when_asked(|| text)
    }
}

impl std::fmt::Debug for Exact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.text().fmt(f)
    }
}

/// What the gate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Carry it out, then say what became of it ([`Gate::outcome`]).
    Allowed {
        /// Every action's entry, in the order asked.
        attempts: Vec<u64>,
    },
    /// Don't.
    Denied {
        /// The attempt's entry; 0 when not even that could be recorded.
        attempt: u64,
        /// Rule, reason and what would make it pass, for the agent to read.
        text: String,
    },
    /// It passes in another form: say by [`Gate::give`] what is carried out in its place, or that nothing is.
    Changed {
        /// The attempt's entry.
        attempt: u64,
        /// The actions that have to be others, by their place in what was asked.
        forms: Vec<(usize, Action)>,
    },
    /// People are asked and have not answered in time. The same attempt, made again, takes their answer.
    Waiting {
        /// The attempt's entry.
        attempt: u64,
        /// What is asked of whom until when, for the agent to read.
        text: String,
    },
}

/// What is said where something has to be changed by who can't, and did not say that it could.
pub(crate) const NOT_CHANGED: &str = "flyball: denied, it would have to be changed, which can't be done here";

/// An attempt that has no answer yet, of whoever must not wait.
#[derive(Debug)]
pub enum Later {
    /// Somebody else is being answered: soon.
    Busy(Asking),
    /// It takes a disk or a look at files: [`Gate::ask`].
    Ask(Asking),
    /// People are asked about the attempt of this name: [`Gate::wait`].
    Held(u64),
}

/// Rules on attempts and records them. INVARIANT of every implementation: what can't be decided and recorded is denied.
pub trait Gate: Send + Sync {
    /// Rules on an attempt; waits for people as long as the asker can.
    fn ask(&self, asking: Asking) -> Answered;

    /// The same by whoever serves others meanwhile: at once, or not here.
    ///
    /// # Errors
    /// [`Later`] says what to do instead.
    fn ask_now(&self, asking: Asking) -> Result<Answered, Later> {
        Err(Later::Ask(asking))
    }

    /// [`Gate::ask`] for whoever may go away meanwhile, and says so by `gone`: then what people are asked about is withdrawn, and
    /// no answer of theirs is spent on nobody.
    fn ask_until(&self, asking: Asking, gone: &AtomicBool) -> Answered {
        let _ = gone;
        self.ask(asking)
    }

    /// Waits so long for what people say of an attempt that was [`Later::Held`], unless whoever asked has `gone`.
    fn wait(&self, held: u64, wait: Duration, gone: &AtomicBool) -> Answered {
        let _ = (wait, gone);
        Answered::Denied { attempt: held, text: "flyball: denied, nobody could be asked".to_owned() }
    }

    /// Carries on with an attempt that was [`Answered::Changed`]: `given` is all that is done in its place, in the same order. `None` where
    /// nothing is. Gives [`Answered::Allowed`] or [`Answered::Denied`].
    fn give(&self, attempt: u64, given: Option<&[Action]>) -> Answered {
        let _ = given;
        Answered::Denied { attempt, text: "flyball: denied, it would have to be changed".to_owned() }
    }

    /// What became of an allowed attempt. `ok` is `None` where nobody can tell.
    fn outcome(&self, attempts: &[u64], ok: Option<bool>, attrs: &BTreeMap<String, Value>);

    /// The same where it can be said without waiting; `false` where not, and nothing was.
    fn outcome_now(&self, _attempts: &[u64], _ok: Option<bool>, _attrs: &BTreeMap<String, Value>) -> bool {
        false
    }

    /// [`Gate::outcome`], and what was seen of it ([`Gate::observe`]).
    fn outcome_seen(&self, attempts: &[u64], ok: Option<bool>, actor: &str, seen: Json) {
        self.outcome(attempts, ok, &BTreeMap::new());
        self.observe(actor, attempts, seen);
    }

    /// Records something that was seen and is no attempt; gives its entry.
    fn observe(&self, actor: &str, cause: &[u64], body: Json) -> Option<u64>;

    /// The last attempt on record, whoever's, without waiting for anybody; `None` where nobody asks what came before what.
    fn latest(&self) -> Option<u64> {
        None
    }

    /// Somewhere to keep what passes, so that the record has it; `None` where there is no record of that.
    fn keep(&self) -> Option<Box<dyn Keep>> {
        None
    }

    /// [`Self::keep`] for whoever will have the digest of all of it at the end.
    fn keep_digested(&self) -> Option<Box<dyn Keep>> {
        self.keep()
    }

    /// A model's answer to that attempt calls tools, which it names so. Quick: the answer is on its way.
    fn calls(&self, _attempt: u64, _ids: &[String]) {}
}

/// Keeps bytes for the record as they pass, however many.
pub trait Keep: Send {
    /// What comes next. Quick, and never an error: what can't be kept is told at the end.
    fn write(&mut self, bytes: &[u8]);

    /// What stands for them in an entry; `None` when they could not be kept. `sha256` is the digest of all of them, where whoever wrote
    /// them has it at hand.
    fn finish(self: Box<Self>, sha256: Option<[u8; 32]>) -> Option<Json>;
}
