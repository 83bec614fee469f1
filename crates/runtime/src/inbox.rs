//! The session's inbox: what the agent is told beside its calls, in a file that it can read and never write.
//!
//! JSON lines, oldest first: `{"at":"…","entry":12,"kind":"refused","text":"…"}`. The kinds are `refused`, `put-back`, `asked`,
//! `answered`, `alert`, and the acts of people on the session (`pause`, `resume`, …). Bounded: a file that is full begins
//! anew, with a line of kind `trimmed`.

use crate::clock::{rfc3339, wall_ns};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The variable that tells the program where it is.
pub(crate) const VARIABLE: &str = "FLYBALL_INBOX";

const FILE: &str = "inbox.jsonl";
const FILE_BYTES_MAX: u64 = 1 << 20;
const TEXT_CHARS_MAX: usize = 4096;

/// The supervisor's end of it.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    file: Option<File>,
    bytes: u64,
}

impl Inbox {
    /// Makes the file in the session's folder, before the sandbox is built around it.
    pub(crate) fn create(session_dir: &Path) -> std::io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create_new(true).mode(0o644).open(session_dir.join(FILE))?;
        Ok(Self { file: Some(file), bytes: 0 })
    }

    /// Appends a line. What can't be told is only not told: nothing is decided here.
    pub(crate) fn tell(&mut self, entry: u64, kind: &str, text: &str) {
        let line = |entry: u64, kind: &str, text: &str| {
            let short: String = text.trim_end().chars().take(TEXT_CHARS_MAX).collect();
            format!("{}\n", json!({ "at": rfc3339(wall_ns()), "entry": entry, "kind": kind, "text": short }))
        };
        let Some(file) = &mut self.file else { return };
        let mut out = line(entry, kind, text);
        if self.bytes + out.len() as u64 > FILE_BYTES_MAX {
            if file.set_len(0).is_err() {
                return;
            }
            self.bytes = 0;
            out = line(entry, "trimmed", "what stood here before is in the session's log") + &out;
        }
        if file.write_all(out.as_bytes()).is_ok() {
            self.bytes += out.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn a_full_inbox_begins_anew_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let mut inbox = Inbox::create(dir.path()).unwrap();
        for entry in 0..1000 {
            inbox.tell(entry, "refused", &"x\u{1b}[2J\n".repeat(1000));
        }
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert!(text.len() as u64 <= FILE_BYTES_MAX && text.contains("\"kind\":\"trimmed\""));
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(line["text"].as_str().unwrap().len() <= 4 * TEXT_CHARS_MAX);
        }
        assert!(text.lines().last().unwrap().contains("\"entry\":999"));
    }
}
