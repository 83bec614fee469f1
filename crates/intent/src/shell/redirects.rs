//! Redirections: what a script reads and writes by itself.

use super::{READER, Walk, script};
use crate::reading::{Command, Stdin, Word, shorten};
use crate::words;
use brush_parser::ast::{IoFileRedirectKind, IoFileRedirectTarget, IoRedirect};

impl Walk<'_, '_> {
    /// A redirection: what it reads or writes; what it puts on the command's standard input.
    pub(super) fn redirect(&mut self, redirect: &IoRedirect) -> Option<Stdin> {
        match redirect {
            IoRedirect::File(fd, kind, target) => {
                // Whatever was written for it before, it reads something else now.
                let is_input = matches!(
                    kind,
                    IoFileRedirectKind::Read | IoFileRedirectKind::ReadAndWrite | IoFileRedirectKind::DuplicateInput
                );
                let is_stdin = *fd == Some(0) || fd.is_none() && is_input;
                match target {
                    IoFileRedirectTarget::Filename(word) => self.file(kind, &word.value),
                    IoFileRedirectTarget::ProcessSubstitution(_, shell) => self.apart(|walk| {
                        walk.place.depth += 1;
                        walk.list(&shell.list);
                    }),
                    IoFileRedirectTarget::Duplicate(word) => {
                        // `>&file` is bash's other way to write `&>file`; a number or `-` names a descriptor.
                        if !word.value.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
                            self.file(kind, &word.value);
                        }
                    }
                    IoFileRedirectTarget::Fd(_) => {}
                }
                is_stdin.then_some(Stdin::Other)
            }
            IoRedirect::OutputAndError(word, is_append) => {
                let kind = if *is_append { IoFileRedirectKind::Append } else { IoFileRedirectKind::Write };
                self.file(&kind, &word.value);
                None
            }
            IoRedirect::HereDocument(fd, here) => {
                if here.requires_expansion {
                    match words::heredoc_scripts(&here.doc.value, self.options) {
                        Some(scripts) => {
                            scripts.iter().for_each(|inner| script(self.to, &self.place.clone(), inner));
                        }
                        None => self.to.is_opaque = true,
                    }
                }
                matches!(fd, None | Some(0)).then(|| self.here(here).map_or(Stdin::Other, Stdin::Text))
            }
            IoRedirect::HereString(fd, word) => {
                let word = self.word(&word.value);
                (matches!(fd, None | Some(0))).then_some(())?;
                Some(word.known().map_or(Stdin::Other, |text| Stdin::Text(format!("{text}\n"))))
            }
        }
    }

    pub(super) fn file(&mut self, kind: &IoFileRedirectKind, written: &str) {
        let word = self.word(written);
        let (sign, reads, writes, truncates) = match kind {
            IoFileRedirectKind::Read => ("<", true, false, false),
            IoFileRedirectKind::Write | IoFileRedirectKind::Clobber => (">", false, true, true),
            IoFileRedirectKind::Append => (">>", false, true, false),
            IoFileRedirectKind::ReadAndWrite => ("<>", true, true, false),
            IoFileRedirectKind::DuplicateInput => ("<&", true, false, false),
            IoFileRedirectKind::DuplicateOutput => (">&", false, true, true),
        };
        let by = Command { program: sign.into(), args: vec![Word::Known(shorten(written))], ..self.place.clone() };
        if let Some(path) = word.known() {
            if is_no_file(path) {
                return;
            }
            if let Some((host, port)) = bash_socket(path) {
                let fields = [("host", host.into()), ("port", port.into())];
                self.to.imply(&by, READER, "net.connect", &fields, &[], true);
                return;
            }
        }
        for by in by.everywhere() {
            if reads {
                self.to.on_path(&by, READER, "fs.read", &word, &[]);
            }
            if writes {
                let attrs = [("create", true.into()), ("truncate", truncates.into())];
                self.to.on_path(&by, READER, "fs.write", &word, &attrs);
            }
        }
    }
}

/// Devices and descriptors that keep nothing.
pub(crate) fn is_no_file(path: &str) -> bool {
    matches!(
        path,
        "-" | "/dev/null" | "/dev/zero" | "/dev/full" | "/dev/tty" | "/dev/stdin" | "/dev/stdout" | "/dev/stderr"
    ) || path.starts_with("/dev/fd/")
        || path.starts_with("/proc/self/fd/")
}

/// `/dev/tcp/HOST/PORT` is no file to bash, but a connection.
fn bash_socket(path: &str) -> Option<(&str, i64)> {
    let rest = path.strip_prefix("/dev/tcp/").or_else(|| path.strip_prefix("/dev/udp/"))?;
    let (host, port) = rest.split_once('/')?;
    Some((host, port.parse().ok()?))
}
