//! Server-sent events, told apart and kept as the bytes that they came as.
//!
//! Source: the HTML standard, "Server-sent events". Lines end with LF or CRLF here: a CR alone is left within its line, where no
//! message of JSON can hold it.

use super::super::message::FRAME_BYTES_MAX;

/// Cuts a stream into its events.
#[derive(Debug, Default)]
pub(super) struct Events {
    had: Vec<u8>,
    /// Up to where no end of an event was found.
    looked: usize,
}

/// An event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// All of it, with its end.
    pub bytes: Vec<u8>,
    /// Its data; empty where it has none.
    pub data: Vec<u8>,
    /// The lines beside its data, each with its end.
    pub beside: Vec<u8>,
    /// Whether it says from where a client may go on.
    pub has_id: bool,
    /// Whether another reader might find other events in it: a carriage return alone ends a line for some, and what is before a
    /// field's name may be nothing to others.
    pub is_odd: bool,
}

impl Events {
    /// Takes more of the stream; gives the events that are whole now, or nothing where one is too long.
    pub fn take(&mut self, more: &[u8]) -> Option<Vec<Event>> {
        self.had.extend_from_slice(more);
        let mut out = Vec::new();
        let mut begin = 0;
        while let Some(end) = end_of_event(&self.had, self.looked.max(begin)) {
            out.push(event(self.had.get(begin..end).unwrap_or_default()));
            begin = end;
            self.looked = end;
        }
        self.had.drain(..begin);
        // An end may begin with the last bytes that are there.
        self.looked = self.had.len().saturating_sub(3);
        (self.had.len() <= FRAME_BYTES_MAX + 4096).then_some(out)
    }
}

/// Where the empty line that ends an event has ended, from that place on.
fn end_of_event(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = memchr::memchr(b'\n', bytes.get(at..)?) {
        let next = at + found + 1;
        match bytes.get(next..) {
            Some([b'\n', ..]) => return Some(next + 1),
            Some([b'\r', b'\n', ..]) => return Some(next + 2),
            _ => at = next,
        }
    }
    None
}

fn event(bytes: &[u8]) -> Event {
    let (mut data, mut beside, mut lines, mut has_id, mut is_odd) = (Vec::new(), Vec::new(), 0, false, false);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        is_odd |= text.contains(&b'\r');
        if text.is_empty() {
            continue;
        }
        let value = text.strip_prefix(b"data:").or((text == b"data").then_some(&[][..]));
        let Some(value) = value else {
            has_id |= text.starts_with(b"id:");
            is_odd |= ![&b":"[..], b"id:", b"event:", b"retry:"].iter().any(|field| text.starts_with(field));
            beside.extend_from_slice(text);
            beside.push(b'\n');
            continue;
        };
        if lines > 0 {
            data.push(b'\n');
        }
        lines += 1;
        data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
    }
    Event { bytes: bytes.to_vec(), data, beside, has_id, is_odd }
}

/// An event of these lines beside its data.
pub(super) fn written(beside: &[u8], data: &[u8]) -> Vec<u8> {
    [beside, b"data: ", data, b"\n\n"].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn events_are_the_same_however_they_come() {
        let stream = b"id: 1\ndata: \n\n: note\r\n\r\nevent: message\nid: 2\ndata: {\"a\":\ndata: 1}\n\ndata: half";
        let whole = Events::default().take(stream).unwrap();
        assert_eq!(whole.len(), 3);
        assert!(whole.first().unwrap().has_id && whole.first().unwrap().data.is_empty());
        let last = whole.last().unwrap();
        assert_eq!(
            (last.data.as_slice(), last.beside.as_slice()),
            (&b"{\"a\":\n1}"[..], &b"event: message\nid: 2\n"[..])
        );
        for odd in ["\u{feff}data: x\n\n", "id: 1\rdata: x\r\r\n\n", "datum: x\n\n"] {
            assert!(Events::default().take(odd.as_bytes()).unwrap().iter().all(|event| event.is_odd), "{odd:?}");
        }
        let mut events = Events::default();
        let by_byte: Vec<Event> = stream.iter().flat_map(|byte| events.take(&[*byte]).unwrap()).collect();
        assert_eq!(by_byte, whole);
        assert!(Events::default().take(&vec![b'x'; FRAME_BYTES_MAX + 5000]).is_none());
    }
}
