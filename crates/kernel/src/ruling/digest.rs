//! The digest of the action that was ruled on, made when it is first read.

use crate::action::Action;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
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

/// As of any other text.
impl fmt::Debug for ActionDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), out)
    }
}

impl fmt::Display for ActionDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), out)
    }
}

impl Serialize for ActionDigest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ActionDigest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::from)
    }
}
