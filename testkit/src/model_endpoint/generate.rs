//! Gemini's generateContent, as far as the Gemini CLI speaks it: a streamed answer, its tool calls, their results.
//!
//! Results carry no id there, only their tool's name: they are counted in their order, turn by turn.

use serde_json::{Value, json};

use super::{Answer, Block, Script, ToolResult};

/// The answer for `/v1beta/models/MODEL:METHOD`; `None` for another path.
pub(super) fn answer(path: &str, body: &Value, script: Script<'_>) -> Option<Answer> {
    let (_, method) = path.strip_prefix("/v1beta/models/")?.rsplit_once(':')?;
    if method == "countTokens" {
        return Some(Answer::json(200, &json!({"totalTokens": 10})));
    }
    let (turn, _) = super::turn_of(body, script);
    let parts: Vec<Value> = turn.blocks.iter().map(part).collect();
    let usage = json!({"promptTokenCount": 10, "candidatesTokenCount": 10, "totalTokenCount": 20});
    let candidate = json!({"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0});
    let answer = json!({"candidates": [candidate], "usageMetadata": usage});
    match method {
        "streamGenerateContent" => {
            let body = format!("data: {answer}\r\n\r\n");
            Some(Answer { status: 200, media_type: "text/event-stream", body, late: None })
        }
        "generateContent" => Some(Answer::json(200, &answer)),
        _ => None,
    }
}

fn part(block: &Block) -> Value {
    match block {
        Block::Text(text) => json!({"text": text}),
        Block::ToolUse { name, input } => json!({"functionCall": {"name": name, "args": input}}),
    }
}

/// Each message of the model's that calls is a turn, and the results after it are of its calls.
pub(super) fn results_in(body: &Value) -> impl Iterator<Item = ToolResult> {
    let mut results = Vec::new();
    let mut turn = 0;
    for content in body["contents"].as_array().into_iter().flatten() {
        let parts = || content["parts"].as_array().into_iter().flatten();
        if parts().any(|part| part["functionCall"].is_object()) {
            turn += 1;
        }
        let Some(turn) = usize::checked_sub(turn, 1) else { continue };
        for response in parts().filter_map(|part| part.pointer("/functionResponse/response")).filter(|r| r.is_object())
        {
            let call = results.iter().filter(|known: &&ToolResult| known.turn == turn).count();
            let error = response["error"].as_str();
            let text = error.or(response["output"].as_str()).unwrap_or_default().to_owned();
            results.push(ToolResult { turn, call, text, is_error: error.is_some() });
        }
    }
    results.into_iter()
}
