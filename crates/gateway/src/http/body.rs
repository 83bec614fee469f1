//! Bodies that stream through: as they come, or after their beginning was read; and watched where somebody has to know of them.

use super::credentials::Blot;
use super::model::Exchange;
use super::past::{Due, Turn};
use super::tape::Side;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::OwnedSemaphorePermit;

/// Why a body broke off.
pub(super) type Broken = Box<dyn std::error::Error + Send + Sync>;

/// What is still to come of a body.
enum Rest {
    Live(Incoming),
    Past(Past),
}

/// A body that is on record, in the pieces in which it came.
pub(super) struct Past {
    pieces: VecDeque<(u64, Frame<Bytes>)>,
    /// Whether it breaks off at the end.
    breaks: bool,
    /// Whether its length was said beforehand.
    is_sized: bool,
    turn: Option<Arc<dyn Turn>>,
    /// What comes next is not due yet.
    waits: Option<Due>,
}

impl Past {
    /// `turn`: when each of the pieces is due, and the end.
    pub fn new(
        pieces: VecDeque<(u64, Frame<Bytes>)>,
        breaks: bool,
        is_sized: bool,
        turn: Option<Arc<dyn Turn>>,
    ) -> Self {
        let mut past = Self { pieces, breaks, is_sized, turn, waits: None };
        // One that is empty ends with its head.
        past.goes_on(true);
        past
    }

    fn bytes(&self) -> u64 {
        self.pieces.iter().filter_map(|(_, piece)| piece.data_ref()).map(|data| data.len() as u64).sum()
    }

    /// Looks when what comes next is due.
    fn goes_on(&mut self, is_first: bool) {
        let next = self.pieces.front().map(|(part, _)| *part);
        self.waits = match (next, &self.turn) {
            (Some(part), Some(turn)) => turn.due(part),
            (None, Some(turn)) if !is_first => turn.due(u64::MAX),
            _ => None,
        };
        if next.is_none() && self.waits.is_none() {
            self.turn = None;
        }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(due) = &mut self.waits {
            std::task::ready!(due.as_mut().poll(context));
            self.waits = None;
        }
        Poll::Ready(match self.pieces.pop_front() {
            Some((_, piece)) => {
                self.goes_on(false);
                Some(Ok(piece))
            }
            None => {
                self.turn = None;
                std::mem::take(&mut self.breaks).then(|| Err("it broke off there".into()))
            }
        })
    }

    fn is_end(&self) -> bool {
        self.pieces.is_empty() && !self.breaks && self.waits.is_none()
    }
}

impl Rest {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self {
            Self::Live(rest) => Pin::new(rest).poll_frame(context).map_err(Broken::from),
            Self::Past(past) => past.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Live(rest) => rest.is_end_stream(),
            Self::Past(past) => past.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Live(rest) => rest.size_hint(),
            Self::Past(past) if !past.breaks && (past.is_sized || past.is_end()) => SizeHint::with_exact(past.bytes()),
            Self::Past(_) => SizeHint::default(),
        }
    }
}

/// A body on its way: frames that were read already, then the rest.
pub(super) struct Through {
    read: VecDeque<Frame<Bytes>>,
    rest: Option<Rest>,
    /// How it broke off, until what came before that has gone on.
    broke_off: Option<Broken>,
    exchange: Option<Box<Exchange>>,
    side: Option<Side>,
    blot: Option<Blot>,
    /// Held as long as much of it is in memory.
    permit: Option<OwnedSemaphorePermit>,
}

impl Through {
    /// All of it still to come.
    pub fn all(rest: Incoming) -> Self {
        Self::of(Some(Rest::Live(rest)))
    }

    /// As it is on record.
    pub fn past(past: Past) -> Self {
        Self::of(Some(Rest::Past(past)))
    }

    fn of(rest: Option<Rest>) -> Self {
        Self { read: VecDeque::new(), rest, broke_off: None, exchange: None, side: None, blot: None, permit: None }
    }

    /// A short text.
    pub fn text(text: String) -> Self {
        Self::frames(vec![Frame::data(Bytes::from(text))])
    }

    pub fn frames(frames: Vec<Frame<Bytes>>) -> Self {
        let mut body = Self::of(None);
        body.read = frames.into();
        body
    }

    #[cfg(test)]
    pub async fn peek(&mut self, bytes_max: usize) -> Result<Option<Bytes>, Broken> {
        let (bytes, is_all) = self.begin(bytes_max).await?;
        Ok(is_all.then_some(bytes))
    }

    /// Reads up to so many bytes, or somewhat more, and tells whether they are all; the body stays as it came.
    pub async fn begin(&mut self, bytes_max: usize) -> Result<(Bytes, bool), Broken> {
        let mut bytes = Vec::new();
        let mut trailers = None;
        for frame in self.read.drain(..) {
            match frame.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => trailers = Some(frame),
            }
        }
        while bytes.len() <= bytes_max {
            let Some(rest) = &mut self.rest else { break };
            let frame = std::future::poll_fn(|context| rest.poll_frame(context)).await;
            match frame.transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => bytes.extend_from_slice(&data),
                Some(Err(frame)) => trailers = Some(frame),
                None => self.rest = None,
            }
        }
        // Once in memory, whoever reads it: the body itself goes on as this one piece.
        let bytes = Bytes::from(bytes);
        let is_all = self.rest.is_none() && bytes.len() <= bytes_max;
        self.read.push_back(Frame::data(bytes.clone()));
        self.read.extend(trailers);
        Ok((bytes, is_all))
    }

    /// Whether nothing comes.
    pub fn is_end(&self) -> bool {
        self.is_whole()
    }

    /// Whether any of it was read already.
    pub fn is_begun(&self) -> bool {
        !self.read.is_empty()
    }

    pub fn hold(&mut self, permit: OwnedSemaphorePermit) {
        self.permit = Some(permit);
    }

    /// Whoever is to know of it as it passes.
    pub fn watched(mut self, exchange: Exchange) -> Self {
        self.exchange = Some(Box::new(exchange));
        self
    }

    /// Whoever keeps it for the record.
    pub fn kept(mut self, side: Side) -> Self {
        self.side = Some(side);
        self
    }

    /// Nothing of these secrets is to pass.
    pub fn blotted(mut self, blot: Blot) -> Self {
        self.blot = Some(blot);
        self
    }

    fn is_whole(&self) -> bool {
        self.read.is_empty()
            && self.broke_off.is_none()
            && self.rest.as_ref().is_none_or(Rest::is_end_stream)
            && self.blot.as_ref().is_none_or(Blot::is_empty)
    }

    fn poll_came(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(error) = self.broke_off.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match (self.read.pop_front(), &mut self.rest) {
            (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
            (None, Some(rest)) => match std::task::ready!(rest.poll_frame(context)) {
                // Told at once, it would take with it what is not written out yet: the head of the message, say.
                Some(Err(error)) => {
                    self.broke_off = Some(error);
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                frame => Poll::Ready(frame),
            },
            (None, None) => Poll::Ready(None),
        }
    }

    /// What came, without what is not to pass.
    fn poll_plain(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            let frame = std::task::ready!(self.poll_came(context));
            let is_last = self.rest.as_ref().is_none_or(Rest::is_end_stream) && self.read.is_empty();
            let Some(blot) = &mut self.blot else { return Poll::Ready(frame) };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    let mut plain = blot.pass(&data);
                    if let Some(rest) = is_last.then(|| blot.rest()).flatten() {
                        plain = [plain, rest].concat().into();
                    }
                    if !plain.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(plain))));
                    }
                }
                // What was held back comes before what ends it.
                Some(Ok(Err(trailers))) => match blot.rest() {
                    Some(rest) => {
                        self.read.push_front(trailers);
                        return Poll::Ready(Some(Ok(Frame::data(rest))));
                    }
                    None => {
                        let mut trailers = trailers;
                        if let Some(trailers) = trailers.trailers_mut() {
                            blot.headers(trailers);
                        }
                        return Poll::Ready(Some(Ok(trailers)));
                    }
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(blot.rest().map(|rest| Ok(Frame::data(rest)))),
            }
        }
    }
}

impl Body for Through {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = self.poll_plain(context);
        if let Some(side) = self.side.take() {
            match &frame {
                Poll::Ready(Some(Ok(frame))) => {
                    side.passes(frame);
                    if self.is_whole() {
                        side.end(true);
                    }
                }
                Poll::Ready(Some(Err(_))) => side.end(false),
                Poll::Ready(None) => side.end(true),
                Poll::Pending => {}
            }
            self.side = Some(side);
        }
        // INVARIANT: before it is passed on: what it says is known before whoever reads it can act on it.
        if let Some(mut exchange) = self.exchange.take() {
            match &frame {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        exchange.passes(data);
                    }
                    if self.is_whole() {
                        exchange.end(true);
                    } else {
                        self.exchange = Some(exchange);
                    }
                }
                Poll::Ready(Some(Err(_))) => exchange.end(false),
                Poll::Ready(None) => exchange.end(true),
                Poll::Pending => self.exchange = Some(exchange),
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.is_whole()
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.read.iter().filter_map(|f| f.data_ref()).map(|d| d.len() as u64).sum();
        let read = read.saturating_add(self.blot.as_ref().map_or(0, |blot| blot.held() as u64));
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Rest::size_hint);
        let mut hint = SizeHint::new();
        // The upper end first: a lower one above it is a panic.
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint.set_lower(rest.lower().saturating_add(read));
        hint
    }
}

impl Drop for Through {
    fn drop(&mut self) {
        let is_whole = self.is_whole();
        self.side.iter().for_each(|side| side.end(is_whole));
        if let Some(exchange) = self.exchange.take() {
            exchange.end(is_whole);
        }
    }
}
