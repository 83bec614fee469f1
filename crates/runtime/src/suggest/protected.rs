//! What no suggestion lets go of: the charter, the ledger, credentials, secrets in files.

use crate::plan::CREDENTIALS;
use flyball_kernel::{Action, Charter, Event, Input, Kernel, Resource, Session, Surface, Value, Verdict};
use std::sync::Arc;

/// Where what is protected lies.
#[derive(Clone, Debug)]
pub(crate) struct Protected {
    session: Session,
    ledger: String,
}

/// Credentials that lie anywhere, by how their path ends or what is in it.
const ANYWHERE: &[&str] = &["/.ssh/", "/.aws/", "/.gnupg/", "/.kube/", "/.netrc", "/.pgpass", "/.git-credentials"];

impl Protected {
    pub fn new(session: &Session, ledger: &str) -> Self {
        Self { session: session.clone(), ledger: ledger.trim_end_matches('/').to_owned() }
    }

    /// What of it an action touches, in words.
    pub fn touched_by(&self, action: &Action) -> Option<&'static str> {
        if matches!(action.attr("secrets"), Some(Value::Strs(found)) if !found.is_empty()) {
            return Some("it writes a secret into a file");
        }
        if action.verb.group() != "fs" {
            return None;
        }
        let reads = action.verb.name() == "fs.read";
        let others = ["to", "target"].into_iter().filter_map(|name| action.attr(name)?.as_str());
        [action.resource.str("path")].into_iter().chain(others).find_map(|path| self.place(path, reads))
    }

    fn place(&self, path: &str, reads: bool) -> Option<&'static str> {
        let is_below = |path: &str, folder: &str| {
            !folder.is_empty() && path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if is_below(path, &self.ledger) {
            return Some("it touches the ledger");
        }
        if !reads && is_below(path, &format!("{}/.flyball", self.session.workspace)) {
            return Some("it touches the charter");
        }
        let of_home = CREDENTIALS.iter().any(|name| is_below(path, &format!("{}/{name}", self.session.home)));
        let is_shadow = matches!(path, "/etc/shadow" | "/etc/gshadow");
        let anywhere = ANYWHERE.iter().any(|part| path.contains(part));
        (of_home || is_shadow || anywhere).then_some("it touches credentials")
    }

    /// Whether a changed charter is milder than the one before on anything protected: what, in words.
    pub fn loosened(&self, before: &Arc<Charter>, after: &Arc<Charter>) -> Option<String> {
        let (was, now) = (self.verdicts(before), self.verdicts(after));
        let milder = was.into_iter().zip(now).find(|((_, was), (_, now))| now < was);
        milder.map(|((said, _), _)| format!("it would let {said} pass"))
    }

    fn verdicts(&self, charter: &Arc<Charter>) -> Vec<(String, Verdict)> {
        let Session { workspace, home, .. } = &self.session;
        let mut places: Vec<(&[&str], String)> = Vec::new();
        let changes: &[&str] = &["fs.write", "fs.delete", "fs.move", "fs.link", "fs.chmod"];
        let all: &[&str] = &["fs.read", "fs.write", "fs.delete", "fs.move", "fs.link", "fs.chmod"];
        for name in ["", "/charter.toml", "/rules.cedar", "/other.cedar"] {
            places.push((changes, format!("{workspace}/.flyball{name}")));
        }
        for name in ["ledger.db", "keys/log"] {
            places.push((all, format!("{}/{name}", self.ledger)));
        }
        places.extend(CREDENTIALS.iter().map(|name| (all, format!("{home}/{name}"))));
        for name in [".ssh/id_ed25519", ".aws/credentials", ".kube/config", ".gnupg/secring.gpg"] {
            places.push((all, format!("{home}/{name}")));
        }
        places.push((all, "/etc/shadow".to_owned()));
        let mut actions: Vec<Action> = places
            .iter()
            .flat_map(|(verbs, path)| verbs.iter().map(move |verb| (verb, path)))
            .filter_map(|(verb, path)| Action::new(verb, Resource::file(path), Surface::Fs).ok())
            .collect();
        let secret = Action::new("fs.write", Resource::file(&format!("{workspace}/src/a")), Surface::Fs)
            .and_then(|a| a.with("content", true)?.with("secrets", vec!["aws-access-key".to_owned()]));
        actions.extend(secret);
        let verdict = |action: &Action| {
            let mut kernel = Kernel::new(Arc::clone(charter), self.session.clone());
            let event = Event::Attempt(action.clone());
            kernel.step(&Input { seq: 1, at_ns: 1, event }).first().map_or(Verdict::Deny, |r| r.verdict)
        };
        actions.iter().map(|action| (crate::refusal::say(action).trim_end().to_owned(), verdict(action))).collect()
    }
}
