//! A program's standard streams where they are kept: what goes in is passed on from the caller or from a record, what comes out is passed
//! on and kept.

use super::Given;
use crate::kept::{Keeping, Kept};
use crate::terminal;
use flyball_gateway::Keep;
use serde_json::{Value as Json, json};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Names of a program's streams, in their order.
const NAMES: [&str; 3] = ["stdin", "stdout", "stderr"];
/// How long the last output is waited for once the program has ended: what it left in the background is ended with it.
const OUTPUT_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long is waited for the end of an input that has ended.
const INPUT_WAIT_MAX: Duration = Duration::from_millis(300);

/// Where a program's input comes from.
pub(crate) enum Input {
    /// This process's own.
    Own,
    /// What is on record.
    Recorded(Vec<u8>),
}

/// The ends of a program's streams that stay outside.
pub(crate) struct Streams {
    input: Option<OwnedFd>,
    outputs: [OwnedFd; 2],
}

/// Streams that are passed on and kept.
pub(crate) struct Passing {
    input: Receiver<Json>,
    outputs: [(JoinHandle<()>, Receiver<Json>); 2],
}

/// The program's ends and ours.
pub(crate) fn make() -> std::io::Result<(flyball_sandbox::Streams, Streams)> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let ((stdin, input), (output, stdout), (errors, stderr)) = (pipe()?, pipe()?, pipe()?);
    Ok(([stdin, stdout, stderr], Streams { input: Some(input), outputs: [output, errors] }))
}

impl Streams {
    /// Begins to pass on and to keep. `is_shown`: what comes out goes to this process's own streams.
    pub fn start(mut self, kept: &Kept, from: Input, is_shown: bool) -> std::io::Result<Passing> {
        let (told, input) = channel();
        if let Some(to) = self.input.take() {
            let mut to = File::from(to);
            let mut keeping = kept.begin();
            std::thread::Builder::new().name("stdin".into()).spawn(move || {
                match from {
                    Input::Own => pass(&mut std::io::stdin().lock(), &mut |piece| {
                        keeping.write(piece);
                        // Nobody reads it any more; what follows goes nowhere, as with a closed pipe.
                        to.write_all(piece).is_ok()
                    }),
                    Input::Recorded(bytes) => {
                        let _ = to.write_all(&bytes);
                        keeping.write(&bytes);
                    }
                }
                drop(to);
                let _ = told.send(finished(keeping));
            })?;
        }
        let [output, errors] = self.outputs;
        let (to_output, to_errors) = match is_shown {
            true => terminal::outputs().map(|(output, errors)| (Some(output), Some(errors)))?,
            false => (None, None),
        };
        Ok(Passing { input, outputs: [out(kept, output, to_output)?, out(kept, errors, to_errors)?] })
    }
}

fn out(kept: &Kept, from: OwnedFd, mut to: Option<File>) -> std::io::Result<(JoinHandle<()>, Receiver<Json>)> {
    let mut keeping = kept.begin();
    let (told, hear) = channel();
    let thread = std::thread::Builder::new().name("output".into()).spawn(move || {
        pass(&mut File::from(from), &mut |piece| {
            keeping.write(piece);
            if let Some(to) = &mut to {
                let _ = to.write_all(piece);
            }
            true
        });
        let _ = told.send(finished(keeping));
    })?;
    Ok((thread, hear))
}

fn pass(from: &mut dyn Read, to: &mut dyn FnMut(&[u8]) -> bool) {
    let mut buf = vec![0; 64 << 10];
    loop {
        match from.read(&mut buf) {
            Ok(0) => return,
            Ok(n) if to(buf.get(..n).unwrap_or_default()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

fn finished(keeping: Keeping) -> Json {
    Box::new(keeping).finish(None).unwrap_or_default()
}

impl Passing {
    /// What passed, once the program has ended; of a stream that nobody closed, `null`.
    pub fn finish(self, given: &Given) -> Json {
        // The input may never end: its reader is a terminal's or a pipe's that stays open. What the program read is told as it is then.
        let input = self.input.recv_timeout(INPUT_WAIT_MAX).unwrap_or_default();
        let outputs = self.outputs.map(|(_, told)| told.recv_timeout(OUTPUT_WAIT_MAX).unwrap_or_default());
        let all =
            NAMES.iter().zip(std::iter::once(input).chain(outputs)).map(|(name, told)| ((*name).to_owned(), told));
        let turns = given.turns().map(|told| ("turns".to_owned(), told));
        let given = given.finish().map(|told| ("given".to_owned(), told));
        json!({ "streams": all.chain(given).chain(turns).collect::<serde_json::Map<_, _>>() })
    }
}
