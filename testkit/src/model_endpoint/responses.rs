//! OpenAI's Responses API, as far as the Codex CLI speaks it: a streamed answer, its tool calls, their results.

use serde_json::{Value, json};

use super::{Answer, Block, Script, ToolResult, Turn, call_id, turn_of};

pub(super) fn answer(body: &Value, script: Script<'_>) -> Answer {
    let (turn, index) = turn_of(body, script);
    let response = json!({"id": format!("resp_scripted_{index}"), "object": "response"});
    let items = items(&turn, index);
    if body["stream"].as_bool() != Some(true) {
        return Answer::json(200, &completed(response, items));
    }
    let mut events = vec![json!({"type": "response.created", "response": response})];
    for (number, (item, block)) in items.iter().zip(&turn.blocks).enumerate() {
        events.push(json!({"type": "response.output_item.added", "output_index": number, "item": begun(item)}));
        if let Block::Text(text) = block {
            let id = &item["id"];
            let delta = json!({"type": "response.output_text.delta", "item_id": id, "output_index": number, "content_index": 0, "delta": text});
            events.push(delta);
        }
        events.push(json!({"type": "response.output_item.done", "output_index": number, "item": item}));
    }
    events.push(json!({"type": "response.completed", "response": completed(response, items)}));
    Answer::events(&events)
}

fn completed(mut response: Value, items: Vec<Value>) -> Value {
    let usage = json!({
        "input_tokens": 10, "input_tokens_details": null, "output_tokens": 10, "output_tokens_details": null, "total_tokens": 20,
    });
    if let Some(fields) = response.as_object_mut() {
        fields.insert("status".to_owned(), json!("completed"));
        fields.insert("output".to_owned(), Value::Array(items));
        fields.insert("usage".to_owned(), usage);
    }
    response
}

/// The item as it stands before its content came.
fn begun(item: &Value) -> Value {
    let mut item = item.clone();
    for (field, empty) in [("content", json!([])), ("arguments", json!("")), ("input", json!(""))] {
        if let Some(value) = item.get_mut(field) {
            *value = empty;
        }
    }
    item
}

/// A text is a message. A call with an object is a function's; one with a text is a tool of free form, as `apply_patch` is.
fn items(turn: &Turn, index: usize) -> Vec<Value> {
    let mut calls = 0..;
    let item = |(number, block): (usize, &Block)| match block {
        Block::Text(text) => {
            let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
            json!({"type": "message", "id": format!("msg_scripted_{index}_{number}"), "role": "assistant", "content": content})
        }
        Block::ToolUse { name, input } => {
            let id = call_id(index, calls.next().unwrap_or(0));
            match input {
                Value::String(text) => json!({"type": "custom_tool_call", "call_id": id, "name": name, "input": text}),
                _ => {
                    json!({"type": "function_call", "call_id": id, "name": name, "arguments": input.to_string()})
                }
            }
        }
    };
    turn.blocks.iter().enumerate().map(item).collect()
}

pub(super) fn results_in(body: &Value) -> Vec<ToolResult> {
    body["input"].as_array().into_iter().flatten().filter_map(result_of_item).collect()
}

fn result_of_item(item: &Value) -> Option<ToolResult> {
    if !["function_call_output", "custom_tool_call_output"].contains(&item["type"].as_str()?) {
        return None;
    }
    let text = match &item["output"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    };
    // This interface has no mark for an error: it stands in the text.
    ToolResult::of(item["call_id"].as_str()?, text, false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn events(body: &Value, turns: &[Turn]) -> Vec<Value> {
        let body = answer(body, Script { turns, first: 0 }).body;
        body.lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    #[test]
    fn the_turn_follows_from_the_outputs_and_each_kind_of_call_has_its_item() {
        let turns = [Turn::exec("one"), Turn::patch("*** Begin Patch"), Turn::say("end")];
        let output = |turn: usize, kind: &str| json!({"type": kind, "call_id": call_id(turn, 0), "output": "out"});
        let asked = |input: Vec<Value>| json!({"stream": true, "tools": [{"name": "exec_command"}], "input": input});

        let first = events(&asked(vec![]), &turns);
        let item = first.iter().find(|event| event["type"] == "response.output_item.done").unwrap()["item"].clone();
        assert_eq!(item["type"], "function_call");
        let arguments: Value = serde_json::from_str(item["arguments"].as_str().unwrap()).unwrap();
        assert_eq!(arguments["cmd"], "one");
        assert_eq!(first.last().unwrap()["type"], "response.completed");

        let second = events(&asked(vec![output(0, "function_call_output")]), &turns);
        let item = &second.iter().find(|event| event["type"] == "response.output_item.done").unwrap()["item"];
        assert_eq!((&item["type"], &item["input"]), (&json!("custom_tool_call"), &json!("*** Begin Patch")));

        let both = asked(vec![output(0, "function_call_output"), output(1, "custom_tool_call_output")]);
        assert!(events(&both, &turns).iter().any(|event| event["delta"] == "end"));
        assert_eq!(results_in(&both).len(), 2);
    }
}
