//! Answers that are on record, given again: no server is there, and none is looked for.
//!
//! INVARIANT: what is answered was answered then to the same request, each answer once; any other request is refused, and that is told.

use super::body::{self, Through};
use super::tape::{Half, joined, request_head};
use super::{Place, Places};
use crate::gate::Gate;
use hyper::body::{Body, Bytes, Frame};
use hyper::ext::ReasonPhrase;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

/// Whether what passes is kept for a later run, or this is that run.
#[derive(Default)]
pub enum Replay {
    /// Neither.
    #[default]
    Off,
    /// It is kept.
    Keeps(Places),
    /// It is given again, and nothing goes out.
    Answers(Places, Arc<dyn Past>),
}

/// How a connection was met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "as", rename_all = "lowercase")]
pub enum Met {
    /// Nobody was there.
    Missed,
    /// By a server of HTTP without TLS.
    Plain,
    /// By one with TLS; `h2`: they agreed on HTTP/2.
    Tls {
        /// See there.
        h2: bool,
    },
    /// By one whose TLS did not verify, or is none.
    Unsecured {
        /// What the program was told.
        why: String,
    },
    /// By a server whose words were not read but kept ([`super::unread`]).
    Unread {
        /// What stands for them.
        said: Json,
    },
    /// It was ended: what began there is neither, or can't be read.
    Refused,
}

/// What is on record of a session's network. Its methods take as long as a disk.
pub trait Past: Send + Sync {
    /// How the `nth` connection to a place was met; `None` where there was none.
    fn met(&self, host: &str, port: u16, nth: u64) -> Option<Met>;

    /// What was answered to this request, told as the record tells of one.
    ///
    /// # Errors
    /// Why there is no such answer, for the program to read. That it was asked for is told then.
    fn answer(&self, request: &Json) -> Result<Answer, String>;

    /// What passed over a connection that was not read.
    ///
    /// # Errors
    /// It is not on record.
    fn transcript(&self, said: &Json) -> Result<Vec<u8>, String>;

    /// A connection that was not read says something else than then.
    fn differs(&self, place: (&str, u16, u64), at: u64, recorded: &[u8], made: &[u8]);
}

/// An answer as it was given.
#[derive(Clone)]
pub struct Answer {
    /// Head and lengths, as the record has them; or, where the server did not answer, why.
    pub head: Result<Told, String>,
    /// All bytes of its body.
    pub body: Vec<u8>,
    /// When each part of it is given; `None`: at once. Dropped once nothing more is.
    pub turn: Option<Arc<dyn Turn>>,
}

/// When the parts of an answer are given: what came before each then is to come before it again.
pub trait Turn: Send + Sync {
    /// Waits, not for good, until that part and those before it may be given: the head (0), the pieces of the body (from 1 on, as the record
    /// counts them), the end ([`u64::MAX`]). `None`: it may at once. It counts as given then.
    fn due(&self, part: u64) -> Option<Due>;
}

/// See [`Turn::due`].
pub type Due = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What an entry tells of an answer.
#[derive(Clone, Debug, Deserialize)]
pub struct Told {
    status: u16,
    #[serde(default)]
    version: String,
    #[serde(default)]
    reason: Option<String>,
    headers: Vec<(String, String)>,
    pieces: Vec<usize>,
    #[serde(default)]
    trailers: Option<Vec<(String, String)>>,
    whole: bool,
}

/// In the place of a server.
pub(super) struct Answering {
    pub past: Arc<dyn Past>,
    pub gate: Arc<dyn Gate>,
    pub place: Arc<Place>,
}

impl Answering {
    /// Takes a request as a server would, and gives what is on record.
    pub async fn answer(&self, request: Request<Through>) -> Result<Response<Through>, String> {
        let head = request_head(&request, &self.place);
        let mut half = Half::new(&*self.gate);
        let mut body = request.into_body();
        let is_whole = loop {
            match std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                Some(Ok(frame)) => half.takes(&frame),
                Some(Err(_)) => break false,
                None => break true,
            }
        };
        let past = Arc::clone(&self.past);
        let looking = move || past.answer(&joined(head, half.told(is_whole)));
        let answer = tokio::task::spawn_blocking(looking).await.map_err(|error| error.to_string())??;
        if let Some(due) = answer.turn.as_ref().and_then(|turn| turn.due(0)) {
            due.await;
        }
        let answered = response(answer.head?, answer.body, answer.turn);
        answered.ok_or_else(|| "its answer on record can't be read".to_owned())
    }
}

fn response(told: Told, body: Vec<u8>, turn: Option<Arc<dyn Turn>>) -> Option<Response<Through>> {
    let headers = headers(&told.headers)?;
    let is_sized = headers.contains_key(header::CONTENT_LENGTH);
    let past = body::Past::new(frames(&told, body)?, !told.whole, is_sized, turn);
    let mut response = Response::new(Through::past(past));
    *response.status_mut() = StatusCode::from_u16(told.status).ok()?;
    *response.headers_mut() = headers;
    if told.version == format!("{:?}", Version::HTTP_10) {
        *response.version_mut() = Version::HTTP_10;
    }
    if let Some(reason) = told.reason.and_then(|said| ReasonPhrase::try_from(said.into_bytes()).ok()) {
        response.extensions_mut().insert(reason);
    }
    Some(response)
}

/// With the number of each ([`Turn::due`]).
///
/// INVARIANT: as many pieces as there are bytes, at most, whatever the record says.
fn frames(told: &Told, body: Vec<u8>) -> Option<VecDeque<(u64, Frame<Bytes>)>> {
    let mut body = Bytes::from(body);
    let mut frames = VecDeque::new();
    for (part, length) in (1..).zip(&told.pieces).filter(|(_, length)| **length > 0) {
        if *length > body.len() {
            break;
        }
        frames.push_back((part, Frame::data(body.split_to(*length))));
    }
    if !body.is_empty() {
        frames.push_back((u64::MAX, Frame::data(body)));
    }
    if let Some(trailers) = &told.trailers {
        frames.push_back((u64::MAX, Frame::trailers(headers(trailers)?)));
    }
    Some(frames)
}

fn headers(told: &[(String, String)]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in told {
        let value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
        headers.try_append(name.parse::<HeaderName>().ok()?, value).ok()?;
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    fn read(told: Json, body: &[u8]) -> (Vec<Vec<u8>>, bool, Option<u64>) {
        let told = Told::deserialize(&told).unwrap();
        let response = response(told, body.to_vec(), None).unwrap();
        let (mut body, mut pieces, mut is_whole) = (response.into_body(), Vec::new(), true);
        let sized = body.size_hint().exact();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                match frame.map(Frame::into_data) {
                    Ok(Ok(data)) => pieces.push(data.to_vec()),
                    Ok(Err(_)) => pieces.push(b"trailers".to_vec()),
                    Err(_) => is_whole = false,
                }
            }
        });
        (pieces, is_whole, sized)
    }

    #[test]
    fn answers_come_in_their_pieces_and_break_off_where_they_did() {
        let told = |headers: Json, pieces: Json, whole: bool| json!({ "status": 200, "headers": headers, "pieces": pieces, "whole": whole });
        let words = |all: &[&str]| all.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        let none = || json!([]);
        // A stream: nobody said how long it is.
        assert_eq!(read(told(none(), json!([1, 2]), true), b"abc"), (words(&["a", "bc"]), true, None));
        assert_eq!(read(told(none(), json!([1, 2]), false), b"abc"), (words(&["a", "bc"]), false, None));
        let sized = json!([["content-length", "3"]]);
        assert_eq!(read(told(sized, json!([3]), true), b"abc"), (words(&["abc"]), true, Some(3)));
        assert_eq!(read(told(none(), none(), true), b""), (Vec::new(), true, Some(0)));
        let mut with_trailers = told(none(), json!([3]), true);
        with_trailers.as_object_mut().unwrap().insert("trailers".into(), json!([["grpc-status", "0"]]));
        assert_eq!(read(with_trailers, b"abc"), (words(&["abc", "trailers"]), true, None));
        // Whatever the record says of pieces: all bytes, once, and no more.
        assert_eq!(read(told(none(), json!([0, 9, 9]), true), b"abc"), (words(&["abc"]), true, None));
        for head in [json!([["no header", "x"]]), json!([["x", "a\nb"]])] {
            assert!(response(Told::deserialize(&told(head, none(), true)).unwrap(), Vec::new(), None).is_none());
        }
    }

    /// Parts are due once they are let.
    struct Let(tokio::sync::watch::Receiver<u64>);

    impl Turn for Let {
        fn due(&self, part: u64) -> Option<Due> {
            let mut seen = self.0.clone();
            if *seen.borrow() >= part {
                return None;
            }
            Some(Box::pin(async move { _ = seen.wait_for(|to| *to >= part).await }))
        }
    }

    #[test]
    fn each_piece_and_the_end_come_when_they_are_due() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (whole, sized) in [(true, true), (true, false), (false, false)] {
            let headers = if sized { json!([["content-length", "3"]]) } else { json!([]) };
            let told = json!({ "status": 200, "headers": headers, "pieces": [1, 0, 2], "whole": whole });
            let (allow, seen) = tokio::sync::watch::channel(0);
            let turn: Arc<dyn Turn> = Arc::new(Let(seen));
            let answer = response(Told::deserialize(&told).unwrap(), b"abc".to_vec(), Some(turn)).unwrap();
            let mut body = answer.into_body();
            assert_eq!(body.size_hint().exact(), sized.then_some(3));
            let mut poll = || {
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                match Pin::new(&mut body).poll_frame(&mut context) {
                    std::task::Poll::Ready(Some(Ok(frame))) => {
                        (frame.into_data().unwrap().to_vec(), body.is_end_stream())
                    }
                    std::task::Poll::Ready(_) => (b"over".to_vec(), body.is_end_stream()),
                    std::task::Poll::Pending => (b"waits".to_vec(), body.is_end_stream()),
                }
            };
            let waits = (b"waits".to_vec(), false);
            runtime.block_on(async {
                assert_eq!(poll(), waits);
                allow.send(1).unwrap();
                assert_eq!((poll(), poll()), ((b"a".to_vec(), false), waits.clone()));
                // The piece in between was empty: the number of the one behind it is its own.
                allow.send(2).unwrap();
                assert_eq!(poll(), waits);
                allow.send(3).unwrap();
                assert_eq!((poll(), poll()), ((b"bc".to_vec(), false), waits.clone()));
                allow.send(u64::MAX).unwrap();
                // What broke off is told once what came before it has gone on.
                if !whole {
                    assert_eq!(poll(), waits);
                }
                assert_eq!(poll(), (b"over".to_vec(), true));
            });
        }
    }
}
