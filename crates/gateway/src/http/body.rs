//! Bodies that stream through: as they come, or after their beginning was read.

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body on its way: frames that were read already, then the rest.
pub(super) struct Through {
    read: VecDeque<Frame<Bytes>>,
    rest: Option<Incoming>,
}

impl Through {
    /// All of it still to come.
    pub fn all(rest: Incoming) -> Self {
        Self { read: VecDeque::new(), rest: Some(rest) }
    }

    /// A short text.
    pub fn text(text: String) -> Self {
        Self { read: VecDeque::from([Frame::data(Bytes::from(text))]), rest: None }
    }

    /// Reads up to so many bytes. Gives them where that is all, and the body as it came.
    pub async fn peek(mut rest: Incoming, bytes_max: usize) -> Result<(Option<Vec<u8>>, Self), hyper::Error> {
        let (mut read, mut bytes) = (VecDeque::new(), Vec::new());
        while bytes.len() <= bytes_max {
            let frame = std::future::poll_fn(|context| Pin::new(&mut rest).poll_frame(context)).await;
            let Some(frame) = frame.transpose()? else { return Ok((Some(bytes), Self { read, rest: None })) };
            if let Some(data) = frame.data_ref() {
                bytes.extend_from_slice(data);
            }
            read.push_back(frame);
        }
        Ok((None, Self { read, rest: Some(rest) }))
    }
}

impl Body for Through {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(frame) = self.read.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.read.iter().filter_map(|f| f.data_ref()).map(|d| d.len() as u64).sum();
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        // The upper end first: a lower one above it is a panic.
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint.set_lower(rest.lower().saturating_add(read));
        hint
    }
}
