//! The digest of the action that was ruled on, made when it is first read.

use crate::action::Action;
use crate::text::shown_as_text;
use std::ops::Deref;
use std::sync::OnceLock;

/// `sha256:…` of an action; empty where there is none. A ruling that nobody writes down never needs it.
#[derive(Clone, Default)]
pub struct ActionDigest {
    of: Option<Action>,
    text: OnceLock<String>,
}

impl ActionDigest {
    /// The digest of that action.
    #[must_use]
    pub fn of(action: &Action) -> Self {
        Self { of: Some(action.clone()), text: OnceLock::new() }
    }

    /// The digest itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.text.get_or_init(|| self.of.as_ref().map(Action::digest).unwrap_or_default())
    }
}

impl Deref for ActionDigest {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<String> for ActionDigest {
    fn from(text: String) -> Self {
        Self { of: None, text: OnceLock::from(text) }
    }
}

impl From<ActionDigest> for String {
    fn from(digest: ActionDigest) -> Self {
        digest.as_str().to_owned()
    }
}

impl PartialEq for ActionDigest {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for ActionDigest {}

impl PartialEq<String> for ActionDigest {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for ActionDigest {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<ActionDigest> for String {
    fn eq(&self, other: &ActionDigest) -> bool {
        self == other.as_str()
    }
}

shown_as_text!(ActionDigest);
