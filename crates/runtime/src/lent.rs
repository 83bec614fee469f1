//! `[credentials]`: secrets are read outside, once, at a session's start; the program inside gets placeholders for them.

use crate::supervisor::session_id;
use flyball_gateway::http::Credential;
use flyball_kernel::{Charter, CredentialSource};
use std::path::{Path, PathBuf};

/// A file with one secret.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What a session lends to its program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lent {
    /// Variables inside, with the placeholders.
    pub placeholders: Vec<(String, String)>,
    /// Variables that must not come inside as they are.
    pub withheld: Vec<String>,
    /// Files that are hidden inside.
    pub files: Vec<PathBuf>,
}

impl Lent {
    /// Placeholders for a charter's credentials, new ones for each session.
    pub fn new(charter: &Charter, home: &Path) -> Self {
        let mut out = Self::default();
        for credential in charter.credentials() {
            // Two, for the length of a key that nobody guesses.
            let random = format!("{}{}", session_id(), session_id());
            out.placeholders.push((credential.variable.clone(), format!("{}flyball{random}", credential.prefix)));
            out.withheld.push(credential.variable.clone());
            match &credential.from {
                CredentialSource::Variable(name) => out.withheld.push(name.clone()),
                CredentialSource::File(path) => out.files.push(expand(path, home)),
            }
        }
        out
    }

    /// The secrets themselves, for the broker.
    ///
    /// # Errors
    /// What is wrong, by the credential's name; never a secret.
    pub fn secrets(&self, charter: &Charter, home: &Path) -> Result<Vec<Credential>, String> {
        let mut out = Vec::new();
        for (credential, (_, placeholder)) in charter.credentials().iter().zip(&self.placeholders) {
            let fail = |what: String| format!("[credentials.{}]: {what}", credential.name);
            let secret = match &credential.from {
                CredentialSource::Variable(name) => {
                    std::env::var(name).map_err(|_| fail(format!("`{name}` is not set here")))?
                }
                CredentialSource::File(path) => {
                    let path = expand(path, home);
                    let length = std::fs::metadata(&path).map(|m| m.len()).unwrap_or_default();
                    let said = |error: std::io::Error| fail(format!("`{}`: {error}", path.display()));
                    if length > FILE_BYTES_MAX {
                        return Err(fail(format!("`{}` is longer than any secret", path.display())));
                    }
                    std::fs::read_to_string(&path).map_err(said)?
                }
            };
            let made =
                Credential::new(&credential.host, credential.port, &credential.header, placeholder, secret.trim());
            out.push(made.map_err(|what| fail(what.to_owned()))?);
        }
        Ok(out)
    }
}

fn expand(path: &str, home: &Path) -> PathBuf {
    path.strip_prefix("~/").map_or_else(|| PathBuf::from(path), |rest| home.join(rest))
}
