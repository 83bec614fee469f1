//! What a file will hold once a harness's edit is made.

use serde_json::Value as Json;

/// What it will hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Edited {
    /// This.
    To(Vec<u8>),
    /// Nobody can tell from the call alone.
    Unknown,
}

/// Bytes of a file whose edit is worked out; a larger one is not known beforehand.
const EDITED_BYTES_MAX: usize = crate::CONTENT_BYTES_MAX;

/// Makes the edits of `Edit` (`old_string`, `new_string`, `replace_all`) or of `MultiEdit` (`edits`, a list of those).
pub(super) fn apply(input: &Json, old: Option<&[u8]>) -> Edited {
    let mut text = match old.map(std::str::from_utf8) {
        Some(Ok(text)) => text.to_owned(),
        Some(Err(_)) => return Edited::Unknown,
        None => String::new(),
    };
    let one = [input.clone()];
    let edits = input.get("edits").and_then(Json::as_array).map_or(&one[..], Vec::as_slice);
    for edit in edits {
        let field = |name: &str| edit.get(name).and_then(Json::as_str);
        let (Some(from), Some(to)) = (field("old_string"), field("new_string")) else { return Edited::Unknown };
        // Claude Code and Cursor say `replace_all`, Gemini CLI how many it expects.
        let is_all = edit.get("replace_all").and_then(Json::as_bool).unwrap_or(false)
            || edit.get("expected_replacements").and_then(Json::as_u64).is_some_and(|n| n > 1);
        text = match (from.is_empty(), is_all) {
            // An empty `old_string` is how a file is made.
            (true, _) if text.is_empty() => to.to_owned(),
            (true, _) => return Edited::Unknown,
            (false, _) if !text.contains(from) => return Edited::Unknown,
            (false, true) => {
                let times = text.matches(from).count();
                if times.saturating_mul(to.len()).saturating_add(text.len()) > EDITED_BYTES_MAX {
                    return Edited::Unknown;
                }
                text.replace(from, to)
            }
            (false, false) => text.replacen(from, to, 1),
        };
        if text.len() > EDITED_BYTES_MAX {
            return Edited::Unknown;
        }
    }
    Edited::To(text.into_bytes())
}
