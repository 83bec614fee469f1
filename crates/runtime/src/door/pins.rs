//! Tools' digests, kept below Flyball's home: a file for each server, replaced whole.

use crate::home::Home;
use flyball_gateway::mcp::Pins;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;

const TOOLS: &str = "tools";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    server: String,
    /// Digest by tool.
    tools: BTreeMap<String, String>,
}

pub(crate) struct PinFiles {
    folder: PathBuf,
}

impl PinFiles {
    pub fn new(home: &Home) -> Self {
        Self { folder: home.dir().join(TOOLS) }
    }

    /// One file name for a server, whatever it is called.
    fn file(&self, server: &str) -> PathBuf {
        let short: String = Sha256::digest(server.as_bytes()).iter().take(12).map(|b| format!("{b:02x}")).collect();
        self.folder.join(format!("{short}.json"))
    }

    fn read(&self, server: &str) -> std::io::Result<Option<Kept>> {
        match std::fs::read(self.file(server)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, server: &str, tool: &str, digest: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let turn = rustix::fs::open(self.folder.join("lock"), flags, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::flock(&turn, FlockOperation::LockExclusive)?;
        let mut kept = self.read(server)?.unwrap_or_default();
        server.clone_into(&mut kept.server);
        kept.tools.insert(tool.to_owned(), digest.to_owned());
        let (file, new) = (self.file(server), self.folder.join("new"));
        std::fs::write(&new, serde_json::to_vec(&kept)?)?;
        std::fs::rename(new, file)
    }
}

impl Pins for PinFiles {
    fn known(&self, server: &str) -> Result<Option<BTreeMap<String, String>>, String> {
        self.read(server).map(|kept| kept.map(|kept| kept.tools)).map_err(|e| e.to_string())
    }

    fn keep(&self, server: &str, tool: &str, digest: &str) -> Result<(), String> {
        self.write(server, tool, digest).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_kept_is_found_and_what_is_broken_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let pins = PinFiles { folder: dir.path().join("tools") };
        assert_eq!(pins.known("s"), Ok(None));
        pins.keep("s", "a", "1").unwrap();
        pins.keep("s", "b", "2").unwrap();
        pins.keep("../../s", "b", "3").unwrap();
        let of = |list: &[(&str, &str)]| Some(list.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect());
        assert_eq!(pins.known("s"), Ok(of(&[("a", "1"), ("b", "2")])));
        assert_eq!(pins.known("../../s"), Ok(of(&[("b", "3")])));
        std::fs::write(pins.file("s"), "{").unwrap();
        assert!(pins.known("s").is_err() && pins.keep("s", "a", "1").is_err());
    }
}
