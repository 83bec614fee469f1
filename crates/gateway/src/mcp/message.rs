//! JSON-RPC messages, one a line, read so that nobody else can read them in another way.
//!
//! Refused: what is no JSON in UTF-8, keys that come twice, keys of the envelope that differ only by case (some languages'
//! readers take them for the same), nesting beyond 128, ids that are neither string nor integer, and a carriage return within a
//! line, at which some readers end it.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};
use std::io::{BufRead, ErrorKind};

/// Bytes of a message, at most: a large file in base64 fits.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Messages in a batch, at most.
const BATCH_MAX: usize = 256;
/// Bytes of an id, at most.
const ID_BYTES_MAX: usize = 1024;

/// A line that was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// Its bytes, without the end of line.
    Line(Vec<u8>),
    /// It was longer than [`FRAME_BYTES_MAX`], and is gone.
    Long,
    /// There are no more.
    End,
}

/// Reads a line; one that is too long is skipped without being kept.
///
/// # Errors
/// What the source says.
pub fn read_frame(from: &mut impl BufRead) -> std::io::Result<Frame> {
    let mut line = Vec::new();
    let mut is_long = false;
    loop {
        let had = match from.fill_buf() {
            Ok(had) => had,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if had.is_empty() {
            // A last line without its end may be half of one.
            return Ok(Frame::End);
        }
        let end = memchr::memchr(b'\n', had);
        let part = had.get(..end.unwrap_or(had.len())).unwrap_or_default();
        is_long |= line.len() + part.len() > FRAME_BYTES_MAX;
        if is_long {
            line = Vec::new();
        } else {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        from.consume(used);
        if end.is_some() {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(if is_long { Frame::Long } else { Frame::Line(line) });
        }
    }
}

/// What names a request among those in flight.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Id {
    /// A number.
    Number(i64),
    /// A string.
    Text(String),
}

impl Id {
    pub(super) fn new(json: &Json) -> Option<Self> {
        match json {
            Json::Number(n) => n.as_i64().map(Id::Number),
            Json::String(s) if s.len() <= ID_BYTES_MAX => Some(Id::Text(s.clone())),
            _ => None,
        }
    }

    /// As it is written.
    #[must_use]
    pub fn json(&self) -> Json {
        match self {
            Id::Number(n) => (*n).into(),
            Id::Text(s) => s.as_str().into(),
        }
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// All of it.
    pub body: Map<String, Json>,
}

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Request {
        id: Id,
        method: String,
    },
    Notification {
        method: String,
    },
    /// `None`: of a request whose id its receiver could not read.
    Answer {
        id: Option<Id>,
        is_error: bool,
    },
}

/// Why a line is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// No JSON, or not as it may be.
    #[error("it can't be read: {0}")]
    Json(String),
    /// JSON, but no message.
    #[error("it is no JSON-RPC message: {0}")]
    Shape(&'static str),
}

impl MessageError {
    /// JSON-RPC's code for it.
    #[must_use]
    pub fn code(&self) -> i64 {
        match self {
            MessageError::Json(_) => -32700,
            MessageError::Shape(_) => -32600,
        }
    }
}

impl Message {
    /// Parameters; null when there are none.
    #[must_use]
    pub fn params(&self) -> &Json {
        self.body.get("params").unwrap_or(&Json::Null)
    }
}

/// The messages of a line, each with its bytes: one, or those of a batch.
///
/// # Errors
/// [`MessageError`]: then none of the line may go on.
pub fn read_messages(line: &[u8]) -> Result<Vec<(Message, Vec<u8>)>, MessageError> {
    if line.contains(&b'\r') {
        return Err(MessageError::Json("it has a carriage return in it".to_owned()));
    }
    let json = strict(line)?;
    match json {
        Json::Array(list) => {
            if list.is_empty() || list.len() > BATCH_MAX {
                return Err(MessageError::Shape("a batch has 1 to 256 messages"));
            }
            let text = std::str::from_utf8(line).map_err(|e| MessageError::Json(e.to_string()))?;
            // INVARIANT: it was read as a list, so that it has as many parts.
            let raw = super::raw::parts(text, b'[').filter(|raw| raw.len() == list.len());
            let raw = raw.ok_or(MessageError::Shape("its messages can't be told apart"))?;
            list.into_iter().zip(raw).map(|(one, raw)| Ok((message(one)?, raw.as_bytes().to_vec()))).collect()
        }
        one => Ok(vec![(message(one)?, line.to_vec())]),
    }
}

fn message(json: Json) -> Result<Message, MessageError> {
    let Json::Object(body) = json else { return Err(MessageError::Shape("it is no object")) };
    sure(&body, &["jsonrpc", "id", "method", "params", "result", "error"])?;
    if body.get("jsonrpc").and_then(Json::as_str) != Some("2.0") {
        return Err(MessageError::Shape("its `jsonrpc` is not `2.0`"));
    }
    if body.contains_key("result") && body.contains_key("error") {
        return Err(MessageError::Shape("it is a result and an error"));
    }
    if body.get("error").is_some_and(|error| !error.is_object()) {
        return Err(MessageError::Shape("its `error` is no object"));
    }
    let is_answer = body.contains_key("result") || body.contains_key("error");
    let id = body.get("id").map(|id| (id.is_null(), Id::new(id)));
    let kind = match (body.get("method"), is_answer, id) {
        (Some(Json::String(method)), false, None) => Kind::Notification { method: method.clone() },
        (Some(Json::String(method)), false, Some((_, Some(id)))) => Kind::Request { id, method: method.clone() },
        (None, true, Some((_, Some(id)))) => Kind::Answer { id: Some(id), is_error: body.contains_key("error") },
        (None, true, Some((true, None)) | None) => Kind::Answer { id: None, is_error: body.contains_key("error") },
        (_, _, Some((_, None))) => return Err(MessageError::Shape("its `id` is neither a string nor an integer")),
        (Some(_), true, _) => return Err(MessageError::Shape("it is a request and an answer")),
        _ => return Err(MessageError::Shape("it is no request, notification or answer")),
    };
    if let Some(Json::Object(params)) = body.get("params") {
        sure(params, &["name", "arguments", "uri", "requestId", "requestState", "_meta"])?;
    }
    if let Some(Json::Object(result)) = body.get("result") {
        sure(result, RESULT)?;
    }
    Ok(Message { kind, body })
}

/// Keys of a result that the gateway goes by.
const RESULT: &[&str] =
    &["tools", "nextCursor", "resultType", "inputRequests", "requestState", "task", "isError", "_meta"];
/// Keys of a tool that its reader goes by.
const TOOL: &[&str] = &["name", "title", "description", "inputSchema", "outputSchema", "annotations", "_meta"];

/// Whether a tool's keys are read alike by all.
pub(super) fn is_sure_tool(tool: &Json) -> bool {
    tool.as_object().is_some_and(|tool| sure(tool, TOOL).is_ok())
}

/// That no key is one of these by another case.
fn sure(object: &Map<String, Json>, names: &[&str]) -> Result<(), MessageError> {
    let fold = |key: &str| key.replace('\u{17f}', "s").replace('\u{212a}', "k").to_ascii_lowercase();
    let is_odd = |key: &String| !names.contains(&key.as_str()) && names.iter().any(|n| fold(n) == fold(key));
    if object.keys().any(is_odd) { Err(MessageError::Shape("a key of it is spelt in another case")) } else { Ok(()) }
}

/// JSON in which no key comes twice.
pub(super) fn strict(bytes: &[u8]) -> Result<Json, MessageError> {
    serde_json::from_slice::<Strict>(bytes).map(|strict| strict.0).map_err(|e| MessageError::Json(e.to_string()))
}

struct Strict(Json);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values).map(Strict)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Json;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("JSON")
    }
    fn visit_bool<E>(self, b: bool) -> Result<Json, E> {
        Ok(b.into())
    }
    fn visit_i64<E>(self, n: i64) -> Result<Json, E> {
        Ok(n.into())
    }
    fn visit_u64<E>(self, n: u64) -> Result<Json, E> {
        Ok(n.into())
    }
    fn visit_f64<E>(self, n: f64) -> Result<Json, E> {
        Ok(n.into())
    }
    fn visit_str<E>(self, s: &str) -> Result<Json, E> {
        Ok(s.into())
    }
    fn visit_string<E>(self, s: String) -> Result<Json, E> {
        Ok(s.into())
    }
    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut out = Vec::new();
        while let Some(Strict(one)) = seq.next_element()? {
            out.push(one);
        }
        Ok(out.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut out = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if out.contains_key(&key) {
                return Err(A::Error::custom("a key comes twice"));
            }
            let Strict(value) = map.next_value()?;
            out.insert(key, value);
        }
        Ok(Json::Object(out))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn frames_end_with_their_line() {
        let mut long = vec![b'x'; FRAME_BYTES_MAX + 1];
        long.extend_from_slice(b"\nafter\r\nhalf");
        let mut from = std::io::BufReader::new(long.as_slice());
        assert_eq!(read_frame(&mut from).unwrap(), Frame::Long);
        assert_eq!(read_frame(&mut from).unwrap(), Frame::Line(b"after".to_vec()));
        assert_eq!(read_frame(&mut from).unwrap(), Frame::End);
    }

    #[test]
    fn what_others_might_read_in_another_way_is_refused() {
        let deep =
            format!("{{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":{}1{}}}", "[".repeat(1000), "]".repeat(1000));
        for line in [
            "",
            "{",
            "7",
            "[]",
            "{}",
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"param\u{17f}\":{}}",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"p":1,"p":2}}}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]},"error":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]},"error":{"code":1}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":"x"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"Tools":[]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[],"NextCursor":"x"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"iserror":true}}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{\"a\":\r{}\r}}",
            r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#,
            deep.as_str(),
        ] {
            assert!(read_messages(line.as_bytes()).is_err(), "{}", line.chars().take(200).collect::<String>());
        }
        assert!(read_messages(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}").is_err());
    }

    #[test]
    fn batches_are_their_messages_byte_by_byte() {
        let line = br#"[{"jsonrpc":"2.0", "id":1,"method":"a"} ,{"jsonrpc":"2.0","method":"b","x":1.10}]"#;
        let messages = read_messages(line).unwrap();
        assert_eq!(messages[0].1, br#"{"jsonrpc":"2.0", "id":1,"method":"a"}"#);
        assert_eq!(messages[1].1, br#"{"jsonrpc":"2.0","method":"b","x":1.10}"#);
    }
}
