//! A collector of OpenTelemetry's traces: OTLP over HTTP in JSON, as a service takes it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::missing_panics_doc, reason = "tests")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

/// Answers requests with these statuses, one after the other and the last for ever; gives its address, and each body that was taken,
/// with what was heard before it as `heard`. What is no such request ends it.
#[must_use]
pub fn collector(statuses: &'static [u16]) -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (take, taken) = channel();
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut length, mut heard) = (String::new(), 0, String::new());
            stream.read_line(&mut line).unwrap();
            assert_eq!(line, "POST /v1/traces HTTP/1.1\r\n");
            while line != "\r\n" {
                line.clear();
                stream.read_line(&mut line).unwrap();
                let header = line.to_ascii_lowercase();
                heard.push_str(&line);
                length = header.strip_prefix("content-length: ").map_or(length, |n| n.trim().parse().unwrap());
                assert!(!header.starts_with("content-type:") || header.contains("application/json"), "{header}");
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let status = statuses.get(at).or(statuses.last()).unwrap();
            let _ =
                write!(stream.get_mut(), "HTTP/1.1 {status} X\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
            let mut taken: Value = serde_json::from_slice(&body).unwrap();
            taken["heard"] = heard.into();
            if *status == 200 && take.send(taken).is_err() {
                return;
            }
        }
    });
    (url, taken)
}

/// The spans of such a request, or of what `flyball export --format otlp` writes.
#[must_use]
pub fn spans(request: &Value) -> Vec<Value> {
    request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned().unwrap_or_default()
}

/// The same ones, whatever order they came in.
#[must_use]
pub fn sorted(mut spans: Vec<Value>) -> Vec<Value> {
    spans.sort_by_key(|span| span["spanId"].to_string());
    spans
}
