//! Another input for a tool call, as each harness takes it from a hook.

use super::Reply;
use flyball_intent::Harness;
use serde_json::{Value as Json, json};

/// Whether the harness was seen to take an input from a hook: Claude Code 2.1.197, Codex 0.169.0 and Gemini CLI 0.61.0 were. Of another
/// nobody can say that it does not go on with its own.
pub(super) fn can_give(harness: Harness) -> bool {
    harness != Harness::Cursor
}

/// What the hook says so that the call goes on with that input. Only Codex wants an allowance with it: the others' own permissions still hold.
pub(super) fn reply(harness: Harness, input: &Json) -> Reply {
    let said = match harness {
        Harness::Claude => json!({ "hookEventName": "PreToolUse", "updatedInput": input }),
        Harness::Codex => {
            json!({ "hookEventName": "PreToolUse", "permissionDecision": "allow", "updatedInput": input })
        }
        Harness::Gemini => json!({ "hookEventName": "BeforeTool", "tool_input": input }),
        Harness::Cursor => return Reply::deny("flyball: denied, this harness can't be given another input"),
    };
    Reply { stdout: format!("{}\n", json!({ "hookSpecificOutput": said })), ..Reply::default() }
}

/// Whether the input that a call was made with is the one that was given; a harness may add to it what it had left out.
pub(super) fn holds(made_with: &Json, given: &Json) -> bool {
    match (made_with, given) {
        (Json::Object(made_with), Json::Object(given)) => {
            given.iter().all(|(name, value)| made_with.get(name).is_none_or(|there| there == value))
        }
        // Not told.
        (Json::Null, _) => true,
        (made_with, given) => made_with == given,
    }
}
