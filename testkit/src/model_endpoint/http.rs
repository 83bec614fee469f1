//! One request and one answer of HTTP/1.1, as far as the agents' own clients use it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::{Answer, Request};

const IDLE_MAX: Duration = Duration::from_secs(60);
const BODY_BYTES_MAX: u64 = 64 << 20;

/// Reads one request; `None` where the peer closed without one.
pub(super) fn read_request(stream: &TcpStream) -> io::Result<Option<Request>> {
    stream.set_read_timeout(Some(IDLE_MAX))?;
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let body = read_body(&mut reader)?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Some(Request { method: method.to_owned(), path: path.to_owned(), body }))
}

fn read_body(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut length = 0;
    let mut is_chunked = false;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let line = line.to_ascii_lowercase();
        if let Some(told) = line.strip_prefix("content-length:") {
            length = told.trim().parse().map_err(io::Error::other)?;
        }
        is_chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
    }
    let mut body = Vec::new();
    if is_chunked {
        while read_chunk(reader, &mut body)? {}
    } else {
        reader.take(length).read_to_end(&mut body)?;
    }
    Ok(body)
}

/// Reads one chunk on to the body; false for the last, which is empty.
fn read_chunk(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<bool> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let digits = line.trim().split(';').next().unwrap_or_default();
    let length = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
    if body.len() as u64 + length > BODY_BYTES_MAX {
        return Err(io::Error::other("the body is over 64 MiB"));
    }
    reader.take(length).read_to_end(body)?;
    reader.read_line(&mut line)?;
    Ok(length > 0)
}

/// Writes the answer and says that the connection closes with it.
pub(super) fn write_answer(mut stream: &TcpStream, answer: &Answer) -> io::Result<()> {
    let reason = if answer.status == 200 { "OK" } else { "Not Found" };
    let Answer { status, media_type, body, late } = answer;
    let head = format!("HTTP/1.1 {status} {reason}\r\ncontent-type: {media_type}\r\nconnection: close\r\n");
    // An event stream has no length: it ends with the connection, as the service's own does.
    let length =
        if *media_type == "text/event-stream" { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let (now, later) = body.split_at_checked(late.as_ref().map_or(body.len(), |(at, _)| *at)).unwrap_or((body, ""));
    stream.write_all(format!("{head}{length}\r\n{now}").as_bytes())?;
    stream.flush()?;
    if let Some((_, lock)) = late {
        drop(lock.lock());
    }
    stream.write_all(later.as_bytes())?;
    stream.flush()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn bodies_come_by_length_or_in_chunks() {
        let whole = "Host: a\r\nContent-Length: 5\r\n\r\nhello and more";
        assert_eq!(read_body(&mut whole.as_bytes()).unwrap(), b"hello");
        let chunked = "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
        assert_eq!(read_body(&mut chunked.as_bytes()).unwrap(), b"hello");
    }

    #[test]
    fn a_bad_length_is_an_error() {
        assert!(read_body(&mut "Content-Length: x\r\n\r\n".as_bytes()).is_err());
        assert!(read_body(&mut "Transfer-Encoding: chunked\r\n\r\nzz\r\n".as_bytes()).is_err());
    }
}
