//! Changes to a message that leave every byte beside them as it came.
//!
//! INVARIANT: all text here was read as JSON before; what is not, gives `None`.

/// An object's members in their order, each as it is written.
pub(super) struct RawObject(pub Vec<(String, String)>);

impl RawObject {
    fn read(text: &str) -> Option<Self> {
        let parts = parts(text, b'{')?;
        let member = |part: &&str| {
            let key = skip_string(part.as_bytes(), 0)?;
            let name: String = serde_json::from_str(part.get(..key)?).ok()?;
            Some((name, part.get(key..)?.trim_start().strip_prefix(':')?.trim().to_owned()))
        };
        parts.iter().map(member).collect::<Option<Vec<_>>>().map(Self)
    }

    pub fn remove(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(at).1)
    }

    fn text(&self) -> String {
        let one = |(key, value): &(String, String)| format!("{}:{value}", serde_json::Value::from(key.as_str()));
        format!("{{{}}}", self.0.iter().map(one).collect::<Vec<_>>().join(","))
    }
}

/// The message with one member of it (an object) changed.
pub(super) fn with_object(line: &[u8], member: &str, change: impl FnOnce(&mut RawObject)) -> Option<Vec<u8>> {
    let mut message = RawObject::read(std::str::from_utf8(line).ok()?)?;
    let (_, value) = message.0.iter_mut().find(|(key, _)| key == member)?;
    let mut object = RawObject::read(value)?;
    change(&mut object);
    *value = object.text();
    Some(message.text().into_bytes())
}

/// The message with one member of it as that text.
pub(super) fn with_member(line: &[u8], member: &str, text: &str) -> Option<Vec<u8>> {
    let mut message = RawObject::read(std::str::from_utf8(line).ok()?)?;
    let (_, value) = message.0.iter_mut().find(|(key, _)| key == member)?;
    text.clone_into(value);
    Some(message.text().into_bytes())
}

/// The message with another `name` in the object that these members lead to.
pub(super) fn with_name(line: &[u8], within: &[&str], name: &str) -> Option<Vec<u8>> {
    fn change(text: &str, within: &[&str], name: &str) -> Option<String> {
        let Some((first, rest)) = within.split_first() else { return named(text, name) };
        let mut object = RawObject::read(text)?;
        let (_, value) = object.0.iter_mut().find(|(key, _)| key == first)?;
        *value = change(value, rest, name)?;
        Some(object.text())
    }
    change(std::str::from_utf8(line).ok()?, within, name).map(String::into_bytes)
}

/// An object with another `name`.
pub(super) fn named(text: &str, name: &str) -> Option<String> {
    let mut object = RawObject::read(text)?;
    let (_, value) = object.0.iter_mut().find(|(key, _)| key == "name")?;
    *value = serde_json::Value::from(name).to_string();
    Some(object.text())
}

/// What an answer lists as that member of its result, each as it is written.
pub(super) fn list(line: &[u8], member: &str) -> Option<Vec<String>> {
    let mut message = RawObject::read(std::str::from_utf8(line).ok()?)?;
    let list = RawObject::read(&message.remove("result")?)?.remove(member)?;
    Some(parts(&list, b'[')?.into_iter().map(str::to_owned).collect())
}

/// The answer to `tools/list` with only those tools that `keep` names by their place.
pub(super) fn with_tools(line: &[u8], keep: &[bool]) -> Option<Vec<u8>> {
    let mut is_done = false;
    let changed = with_object(line, "result", |result| {
        let Some((_, tools)) = result.0.iter_mut().find(|(key, _)| key == "tools") else { return };
        let Some(list) = parts(tools, b'[').filter(|list| list.len() == keep.len()) else { return };
        let kept: Vec<&str> = list.into_iter().zip(keep).filter(|(_, keep)| **keep).map(|(tool, _)| tool).collect();
        *tools = format!("[{}]", kept.join(","));
        is_done = true;
    })?;
    is_done.then_some(changed)
}

/// A request as it is written, without its id and what is another each time that the same call is made.
pub(super) fn exact(line: &[u8]) -> Option<String> {
    let mut message = RawObject::read(std::str::from_utf8(line).ok()?)?;
    let method = message.remove("method").unwrap_or_default();
    let params = message.remove("params").unwrap_or_default();
    let Some(mut object) = RawObject::read(&params) else { return Some(method + &params) };
    if let Some(mut meta) = object.remove("_meta").and_then(|meta| RawObject::read(&meta)) {
        VOLATILE.iter().for_each(|name| drop(meta.remove(name)));
        if !meta.0.is_empty() {
            object.0.push(("_meta".to_owned(), meta.text()));
        }
    }
    Some(method + &object.text())
}

/// What names a message, and says nothing of what it asks for.
const VOLATILE: &[&str] = &["progressToken", "claudecode/toolUseId", "traceparent", "tracestate", "baggage"];

/// The elements of a list, or the members of an object, each as it is written.
pub(super) fn parts(text: &str, open: u8) -> Option<Vec<&str>> {
    let text = text.trim();
    let bytes = text.as_bytes();
    if bytes.first() != Some(&open) {
        return None;
    }
    let mut out = Vec::new();
    let (mut depth, mut begin, mut at) = (0_usize, 1, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = skip_string(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    let last = text.get(begin..at)?.trim();
                    if !last.is_empty() {
                        out.push(last);
                    }
                    return (at + 1 == bytes.len()).then_some(out);
                }
            }
            b',' if depth == 1 => {
                out.push(text.get(begin..at)?.trim());
                begin = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the string that begins there has ended.
fn skip_string(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn parts_are_what_stands_between_the_commas() {
        assert_eq!(
            parts(r#" [1.10 , "a,]\"", {"b":[2,3]},[]] "#, b'[').unwrap(),
            ["1.10", r#""a,]\"""#, r#"{"b":[2,3]}"#, "[]"]
        );
        assert_eq!(parts("[ ]", b'[').unwrap(), Vec::<&str>::new());
        for bad in ["", "[", "[1", "{}", "[\"", "[]]", "[\"\\"] {
            assert_eq!(parts(bad, b'['), None, "{bad}");
        }
        let object = RawObject::read(r#"{ "a\u0062" : {"c": 1.0} , "d":"}"}"#).unwrap();
        assert_eq!(object.text(), r#"{"ab":{"c": 1.0},"d":"}"}"#);
    }

    #[test]
    fn the_same_call_is_the_same_but_for_what_names_it() {
        let call = |id: u32, params: &str| {
            exact(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#).as_bytes())
                .unwrap()
        };
        let first = call(1, r#"{"name":"a","arguments":{"n":1.10},"_meta":{"progressToken":1}}"#);
        assert_eq!(first, call(2, r#"{"name":"a","arguments":{"n":1.10},"_meta":{"progressToken":2}}"#));
        assert_eq!(first, call(2, r#"{"name":"a","arguments":{"n":1.10}}"#));
        for other in [
            r#"{"name":"a","arguments":{"n":1.1}}"#,
            r#"{"name":"a","arguments":{"n":1.10},"x":1}"#,
            r#"{"name":"a","arguments":{"n":1.10},"_meta":{"x":1}}"#,
            "[]",
        ] {
            assert_ne!(first, call(1, other), "{other}");
        }
    }
}
