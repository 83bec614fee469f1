//! Where a command runs: in the folder that the `cd`s before it lead to, or, if one of them failed, in another.

use crate::reading::Command;

/// Folders that a command may be in, at most; beyond that nobody can tell.
const PLACES_MAX: usize = 4;

/// The folders, the likeliest first, each with whether it is the repository that is known. A `None` among them: anywhere.
#[derive(Clone, Debug)]
pub(super) struct Places(pub Vec<(Option<String>, bool)>);

impl Places {
    pub fn unknown() -> Self {
        Self(vec![(None, false)])
    }

    pub fn of(place: &Command) -> Self {
        let others = place.elsewhere.iter().map(|(cwd, is_home)| (Some(cwd.clone()), *is_home));
        Self(std::iter::once((place.cwd.clone(), place.is_home_repository)).chain(others).collect())
    }

    /// Where a `cd` leads from each.
    pub fn each(&self, to: impl Fn(Option<&str>) -> Option<String>) -> Self {
        let mut out = Self(Vec::new());
        self.0.iter().for_each(|(cwd, _)| out.add((to(cwd.as_deref()), false)));
        out
    }

    pub fn add(&mut self, place: (Option<String>, bool)) {
        match self.0.iter_mut().find(|(cwd, _)| *cwd == place.0) {
            Some((_, is_home)) => *is_home &= place.1,
            None => self.0.push(place),
        }
    }

    /// Whether these are the same folders, in the same order.
    pub fn are(&self, other: &Places) -> bool {
        self.0.iter().map(|(cwd, _)| cwd).eq(other.0.iter().map(|(cwd, _)| cwd))
    }

    /// One or the other; where they are not `followed`, and differ, nobody can tell.
    pub fn join(&mut self, other: Places, followed: bool) {
        if followed || self.are(&other) {
            other.0.into_iter().for_each(|place| self.add(place));
        } else {
            *self = Self::unknown();
        }
    }

    /// The command runs there.
    pub fn put(self, place: &mut Command) {
        let is_known = self.0.len() <= PLACES_MAX && self.0.iter().all(|(cwd, _)| cwd.is_some());
        let mut all = self.0.into_iter().filter(|_| is_known);
        (place.cwd, place.is_home_repository) = all.next().unwrap_or((None, false));
        place.elsewhere = all.filter_map(|(cwd, is_home)| cwd.map(|cwd| (cwd, is_home))).collect();
    }
}
