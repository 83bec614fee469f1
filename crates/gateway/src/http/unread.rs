//! Connections that are not read, kept as what each side said in its order, and played again from that.
//!
//! A transcript is pieces: who says it (0 the program, 1 the server), how many bytes as a little-endian word, and they; none of them
//! is that side's end.

use super::past::Past;
use crate::gate::Keep;
use serde_json::Value as Json;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

const PIECE_BYTES: usize = 32 << 10;
const PROGRAM: u8 = 0;
const SERVER: u8 = 1;
/// Bytes of what differs that are told.
const SHOWN_BYTES: usize = 64;

type Transcript = Arc<Mutex<Box<dyn Keep>>>;

/// Copies both ways to the end, and gives what stands for what was said.
pub(super) async fn relay<I, O>(inside: I, outside: O, keep: Box<dyn Keep>) -> Option<Json>
where
    I: AsyncRead + AsyncWrite,
    O: AsyncRead + AsyncWrite,
{
    let ((from_program, to_program), (from_server, to_server)) = (tokio::io::split(inside), tokio::io::split(outside));
    let said: Transcript = Arc::new(Mutex::new(keep));
    let up = copy(from_program, to_server, PROGRAM, &said);
    let down = copy(from_server, to_program, SERVER, &said);
    // Who breaks off ends both.
    let _ = tokio::try_join!(up, down);
    let said = Arc::into_inner(said)?.into_inner().unwrap_or_else(PoisonError::into_inner);
    said.finish(None)
}

/// INVARIANT: a piece is kept before it goes on: what it causes is kept behind it.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    who: u8,
    said: &Transcript,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        let piece = buffer.get(..read).unwrap_or_default();
        {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            said.write(&[who]);
            said.write(&u32::try_from(read).unwrap_or_default().to_le_bytes());
            said.write(piece);
        }
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(piece).await?;
    }
}

/// One piece of a transcript.
#[derive(Clone, Copy)]
struct Piece<'a> {
    who: u8,
    bytes: &'a [u8],
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<Piece<'a>> {
    let (who, after) = rest.split_first()?;
    let (length, after) = after.split_first_chunk::<4>()?;
    let (bytes, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *rest = after;
    Some(Piece { who: *who, bytes })
}

/// Says to a program what the server said, each time when the program has said as much as it had then.
pub(super) async fn play<I>(inside: I, transcript: Vec<u8>, past: &dyn Past, place: (&str, u16, u64))
where
    I: AsyncRead + AsyncWrite,
{
    let (mut from, mut to) = tokio::io::split(inside);
    // What the program has said so far; the last bit: that was all.
    let said = watch::Sender::new((0_u64, false));
    let mut heard = said.subscribe();
    let listening = async {
        let mut rest = transcript.as_slice();
        let (mut expected, mut at) = (&[][..], 0_u64);
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(read) = from.read(&mut buffer).await {
            let mut piece = buffer.get(..read).unwrap_or_default();
            while !piece.is_empty() {
                while expected.is_empty() {
                    match next(&mut rest) {
                        Some(said) if said.who == PROGRAM => expected = said.bytes,
                        Some(_) => {}
                        None => return Err((at, Vec::new(), piece.to_vec())),
                    }
                    if expected.is_empty() && rest.is_empty() {
                        return Err((at, Vec::new(), piece.to_vec()));
                    }
                }
                let both = expected.len().min(piece.len());
                let (was, is) = (expected.get(..both).unwrap_or_default(), piece.get(..both).unwrap_or_default());
                if let Some(differs) = was.iter().zip(is).position(|(a, b)| a != b) {
                    let shown = |bytes: &[u8]| {
                        bytes.get(differs..).unwrap_or_default().iter().copied().take(SHOWN_BYTES).collect::<Vec<u8>>()
                    };
                    return Err((at.saturating_add(differs as u64), shown(expected), shown(piece)));
                }
                (expected, piece) = (expected.get(both..).unwrap_or_default(), piece.get(both..).unwrap_or_default());
                at = at.saturating_add(both as u64);
            }
            said.send_replace((at, read == 0));
            if read == 0 {
                let more: Vec<u8> = std::iter::from_fn(|| next(&mut rest))
                    .filter(|piece| piece.who == PROGRAM)
                    .flat_map(|piece| piece.bytes.iter().copied())
                    .take(SHOWN_BYTES)
                    .collect();
                let more = [expected, &more].concat();
                return if more.is_empty() { Ok(()) } else { Err((at, more, Vec::new())) };
            }
        }
        Ok(())
    };
    let speaking = async {
        let (mut rest, mut needed) = (transcript.as_slice(), 0_u64);
        while let Some(piece) = next(&mut rest) {
            match piece.who {
                PROGRAM => needed = needed.saturating_add(piece.bytes.len() as u64),
                _ => {
                    let is_there = heard.wait_for(|(said, is_all)| *said >= needed || *is_all);
                    if is_there.await.is_err() {
                        return;
                    }
                    let wrote = match piece.bytes {
                        [] => to.shutdown().await,
                        bytes => to.write_all(bytes).await,
                    };
                    if wrote.is_err() {
                        return;
                    }
                }
            }
        }
    };
    tokio::pin!(listening, speaking);
    let told = tokio::select! {
        told = &mut listening => match told {
            Ok(()) => {
                speaking.await;
                Ok(())
            }
            differs => differs,
        },
        () = &mut speaking => listening.await,
    };
    if let Err((at, recorded, made)) = told {
        past.differs(place, at, &recorded, made.get(..SHOWN_BYTES.min(made.len())).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::http::{Answer, Met};

    /// Where, what was said then, and what is said now.
    type Differing = (u64, Vec<u8>, Vec<u8>);

    #[derive(Default)]
    struct Told(Mutex<Vec<Differing>>);

    impl Past for Told {
        fn met(&self, _: &str, _: u16, _: u64) -> Option<Met> {
            None
        }
        fn answer(&self, _: &Json) -> Result<Answer, String> {
            Err(String::new())
        }
        fn transcript(&self, _: &Json) -> Result<Vec<u8>, String> {
            Err(String::new())
        }
        fn differs(&self, _: (&str, u16, u64), at: u64, recorded: &[u8], made: &[u8]) {
            self.0.lock().unwrap().push((at, recorded.to_vec(), made.to_vec()));
        }
    }

    fn transcript(pieces: &[(u8, &str)]) -> Vec<u8> {
        let piece = |(who, bytes): &(u8, &str)| {
            [&[*who][..], &u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes.as_bytes()].concat()
        };
        pieces.iter().flat_map(piece).collect()
    }

    /// What a program that says this is told, and what is found to differ.
    fn played(transcript: Vec<u8>, says: &[u8]) -> (String, Vec<Differing>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (ours, theirs) = tokio::io::duplex(1 << 10);
            let told = Told::default();
            let program = async {
                let (mut from, mut to) = tokio::io::split(theirs);
                let _ = to.write_all(says).await;
                let _ = to.shutdown().await;
                let mut heard = String::new();
                let _ = from.read_to_string(&mut heard).await;
                heard
            };
            let (heard, ()) = tokio::join!(program, play(ours, transcript, &told, ("h", 1, 1)));
            (heard, told.0.into_inner().unwrap())
        })
    }

    #[test]
    fn a_server_says_what_it_said_as_long_as_the_program_does() {
        let then = || {
            transcript(&[
                (SERVER, "hello "),
                (PROGRAM, "an"),
                (PROGRAM, "na"),
                (SERVER, "anna"),
                (PROGRAM, ""),
                (SERVER, ""),
            ])
        };
        assert_eq!(played(then(), b"anna"), ("hello anna".to_owned(), Vec::new()));
        let (_, told) = played(then(), b"anne");
        assert_eq!(told, [(3, b"a".to_vec(), b"e".to_vec())]);
        let (_, told) = played(then(), b"an");
        assert_eq!(told, [(2, b"na".to_vec(), Vec::new())]);
        let (_, told) = played(then(), b"anna!");
        assert_eq!(told, [(4, Vec::new(), b"!".to_vec())]);
        // Cut off or not ours: what is whole is played.
        let mut cut = then();
        cut.truncate(8);
        assert_eq!(played(cut, b"").1, []);
        assert_eq!(played(vec![7; 3], b"x").1.len(), 1);
    }
}
