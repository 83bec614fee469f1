//! A failed step of the set-up, on its way to the supervisor.

use super::wire::Report;
use std::io;
use std::path::Path;

/// What was being done, to what, and what the system said.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) step: String,
    pub(super) path: Option<String>,
    pub(super) source: io::Error,
}

/// The result of a step.
pub(super) type Step<T> = Result<T, Failure>;

impl Failure {
    pub(super) fn report(&self) -> Report {
        Report::Failed {
            step: self.step.clone(),
            path: self.path.clone(),
            errno: self.source.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step, self.source)
    }
}

/// Names the step that an error belongs to.
pub(super) trait At<T> {
    fn doing(self, step: &str) -> Step<T>;
    fn at(self, step: &str, path: impl AsRef<Path>) -> Step<T>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn doing(self, step: &str) -> Step<T> {
        self.map_err(|source| Failure { step: step.to_owned(), path: None, source: source.into() })
    }

    fn at(self, step: &str, path: impl AsRef<Path>) -> Step<T> {
        self.map_err(|source| Failure {
            step: step.to_owned(),
            path: Some(path.as_ref().display().to_string()),
            source: source.into(),
        })
    }
}
