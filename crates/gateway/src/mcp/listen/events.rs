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
    /// Whether another reader might find other events in it: a carriage return alone ends a line for some, as do other control signs
    /// and some beyond ASCII, and what is before a field's name may be nothing to others.
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
            is_odd |= !text.iter().all(|byte| (b' '..=b'~').contains(byte));
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

/// An event of these lines beside its data, which is JSON: what ends a line for some readers is escaped in it.
pub(super) fn written(beside: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = [beside, b"data: "].concat();
    let mut left = data;
    while let Some((first, rest)) = left.split_first() {
        let (is, after): (&[u8], _) = match (first, rest) {
            (b'\n', _) => (b"\ndata: ", rest),
            (0xc2, [0x85, after @ ..]) => (b"\\u0085", after),
            (0xe2, [0x80, 0xa8, after @ ..]) => (b"\\u2028", after),
            (0xe2, [0x80, 0xa9, after @ ..]) => (b"\\u2029", after),
            _ => (std::slice::from_ref(first), rest),
        };
        out.extend_from_slice(is);
        left = after;
    }
    out.extend_from_slice(b"\n\n");
    out
}

/// Whether data has in it what ends a line for some readers. In JSON such a sign stands only within strings.
pub(super) fn may_end_lines(data: &[u8]) -> bool {
    let has = |sign: &[u8]| memchr::memmem::find(data, sign).is_some();
    data.iter().any(|byte| *byte < b' ' && !b"\t\n".contains(byte))
        || ["\u{85}", "\u{2028}", "\u{2029}"].iter().any(|sign| has(sign.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
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
        for sign in ["\u{b}", "\u{c}", "\u{1c}", "\u{1d}", "\u{1e}", "\u{85}", "\u{2028}", "\u{2029}", "\0"] {
            let text = format!(": x{sign}data: evil\ndata: {{}}\n\n");
            assert!(Events::default().take(text.as_bytes()).unwrap().iter().all(|event| event.is_odd), "{sign:?}");
        }
        let mut events = Events::default();
        let by_byte: Vec<Event> = stream.iter().flat_map(|byte| events.take(&[*byte]).unwrap()).collect();
        assert_eq!(by_byte, whole);
        assert!(Events::default().take(&vec![b'x'; FRAME_BYTES_MAX + 5000]).is_none());
    }

    #[test]
    fn no_reader_finds_another_line_in_what_is_written() {
        let json = "{\"a\":\"x\u{85}y\u{2028}\u{2029}\u{e9}\",\n\"b\":1}";
        assert!(may_end_lines(json.as_bytes()) && !may_end_lines("{\"a\":\n\t\"\u{e9}\"}".as_bytes()));
        let written = String::from_utf8(written(b"id: 1\n", json.as_bytes())).unwrap();
        assert_eq!(written, "id: 1\ndata: {\"a\":\"x\\u0085y\\u2028\\u2029\u{e9}\",\ndata: \"b\":1}\n\n");
        let data = &Events::default().take(written.as_bytes()).unwrap()[0].data;
        let (was, is): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(json).unwrap(), serde_json::from_slice(data).unwrap());
        assert_eq!(was, is);
    }
}
