//! Labels, as the kernel's inputs and outputs have them.

use super::Kernel;
use crate::action::Action;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

impl Kernel {
    /// The action with the labels that it carries.
    pub(super) fn labelled<'a>(&self, action: &'a Action) -> Cow<'a, Action> {
        match self.labels.carried(&self.charter.labels, &self.session, action) {
            Some(labelled) => Cow::Owned(labelled),
            None => Cow::Borrowed(action),
        }
    }

    /// Whether a file carries a label: its reads are to be put to the kernel.
    #[must_use]
    pub fn is_labelled(&self, path: &str) -> bool {
        !self.labels.of_path(&self.charter.labels, &self.session, path).is_empty()
    }

    /// Which labels of those that taint the session a file lacks.
    #[must_use]
    pub fn unlabelled(&self, path: &str) -> BTreeSet<String> {
        let own = self.labels.of_path(&self.charter.labels, &self.session, path);
        self.labels.taint().keys().filter(|label| !own.contains(*label)).cloned().collect()
    }

    /// How many files more can be remembered as labelled.
    #[must_use]
    pub fn labels_left(&self) -> usize {
        self.labels.left()
    }

    /// Labels of files that the last input made, to be kept for later sessions: label, path.
    pub fn labels_made(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.made.iter().map(|(label, path)| (label.as_str(), path.as_str()))
    }

    /// What taints the session: each label, with the entry that read it first.
    #[must_use]
    pub fn taint(&self) -> &BTreeMap<String, u64> {
        self.labels.taint()
    }

    /// Who may end the taint of a label: the contacts of its owner.
    #[must_use]
    pub fn declassifiers(&self, label: &str) -> &[String] {
        let owner = self.charter.labels.get(label).and_then(|l| self.charter.owners.get(&l.owner));
        owner.map_or(&[], |owner| owner.contacts.as_slice())
    }
}
