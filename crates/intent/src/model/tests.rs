#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
use super::*;
use serde_json::{Value as Json, json};

fn request<'a>(host: &'a str, target: &'a str) -> HttpRequest<'a> {
    HttpRequest { method: "POST", scheme: "https", host, target, body: None, beginning: None }
}

fn call(host: &str, target: &str, body: &str) -> Option<ModelCall> {
    model_target(&request(host, target), true, false, &settings())?.call(Some(body.as_bytes()))
}

fn settings() -> ModelSettings {
    ModelSettings {
        hosts: vec![flyball_kernel::ModelHost {
            host: "llm.corp".into(),
            api: "openai-chat".into(),
            provider: "corp".into(),
        }],
        prices: vec![flyball_kernel::ModelPrice {
            model: "m*".into(),
            input: 3_000_000,
            cached: 300_000,
            output: 15_000_000,
        }],
        counts_cost: true,
    }
}

#[test]
fn calls_are_told_by_path_and_body() {
    let chat = r#"{"model":"m","messages":[],"max_tokens":100}"#;
    for (host, target, body, api, name) in [
        ("api.anthropic.com", "/v1/messages?beta=true", chat, "anthropic-messages", "m"),
        ("API.Anthropic.com.", "/v1/./x/..//%6Dessages/", chat, "anthropic-messages", "m"),
        ("host.internal", "/proxy/V1/Messages", chat, "anthropic-messages", "m"),
        ("anything.example", "/openai/v1/chat/completions", chat, "openai-chat", "m"),
        ("llm.corp", "/chat/completions", chat, "openai-chat", "m"),
        ("chatgpt.com", "/backend-api/codex/responses", r#"{"model":"g","input":[]}"#, "openai-responses", "g"),
        ("api.openai.com", "/v1/responses/compact", r#"{"model":"g","input":[]}"#, "openai-responses", "g"),
        ("x.example", "/v1beta/models/gem-1:streamGenerateContent?alt=sse", r#"{"contents":[]}"#, "gemini", "gem-1"),
        (
            "cloudcode-pa.googleapis.com",
            "/v1internal:generateContent",
            r#"{"model":"gem-2","request":{"contents":[]}}"#,
            "gemini",
            "gem-2",
        ),
    ] {
        let call = call(host, target, body).unwrap_or_else(|| panic!("{host}{target}"));
        assert_eq!((call.api.map(ModelApi::name), call.name.as_str()), (Some(api), name), "{host}{target}");
        assert!(!call.is_opaque(), "{host}{target}");
    }
    for (host, target, body) in [
        ("api.anthropic.com", "/v1/messages/count_tokens", chat),
        ("api.anthropic.com", "/api/event_logging/batch", "{}"),
        ("api.openai.com", "/v1/files", "x"),
        ("x.example", "/v1/messages", r#"{"to":"me","text":"hello"}"#),
        ("x.example", "/v1/messages", "to=me"),
        ("x.example", "/v1/message", chat),
    ] {
        assert_eq!(call(host, target, body), None, "{host}{target} {body}");
    }
    assert!(model_target(&request("api.openai.com", "/v1/models"), false, false, &settings()).is_none());
}

#[test]
fn what_may_be_a_call_and_cannot_be_read_takes_more_than_there_is() {
    let unread = |call: Option<ModelCall>, what: &str| {
        let call = call.unwrap_or_else(|| panic!("{what}"));
        assert!(call.is_opaque(), "{what}: {call:?}");
        assert_eq!(call.reserve(&settings()), (TOKENS_UNREAD, Some(COST_UNREAD)), "{what}");
        assert_eq!(call.action(&settings()).unwrap().attr("opaque"), Some(&true.into()), "{what}");
    };
    for body in [
        "",
        "not json",
        r#"{"model":"cheap","model":"dear","messages":[]}"#,
        r#"{"model":"cheap","Model":"dear","messages":[]}"#,
        r#"{"model":"m","messages":[],"max_tokens":1,"max\u005ftokens":100000}"#,
        r#"{"model":"m","messages":[],"max_tokens":"100000"}"#,
        r#"{"model":"m","messages":[],"max_tokens":1e300}"#,
        r#"{"model":["m"],"messages":[]}"#,
        r#"{"messages":[]}"#,
        r#"{"model":"m","messages":[]} {"model":"m2","messages":[]}"#,
        r#"{"model":"m","messages":[]"#,
        "\u{feff}{\"model\":\"m\",\"messages\":[]}",
        &format!(r#"{{"model":"m","messages":{}}}"#, "[".repeat(10_000)),
    ] {
        unread(call("api.anthropic.com", "/v1/messages", body), body);
    }
    for (host, target) in [
        ("api.anthropic.com", "/v1/messages/batches"),
        ("api.anthropic.com", "/v1/complete"),
        ("api.openai.com", "/v1/embeddings"),
        ("api.openai.com", "/v1/batches"),
        ("generativelanguage.googleapis.com", "/v1beta/models/x:batchGenerateContent"),
        ("llm.corp", "/anything"),
    ] {
        unread(call(host, target, r#"{"model":"m","messages":[]}"#), target);
    }
    // Longer than is read, or packed.
    let target = model_target(&request("api.openai.com", "/v1/chat/completions"), true, false, &settings()).unwrap();
    unread(target.call(None), "unread");
    // A stream in which nobody reads.
    for (host, target) in [("api.openai.com", "/v1/realtime?model=x"), ("x.example", "/v1/responses")] {
        let target = model_target(&HttpRequest { method: "GET", ..request(host, target) }, false, true, &settings());
        unread(target.unwrap().call(None), host);
    }
    assert!(model_target(&request("x.example", "/socket"), false, true, &settings()).is_none());
}

#[test]
fn what_a_call_may_take_is_reserved() {
    let reserved = |target: &str, body: &str| {
        let call = call("api.openai.com", target, body).unwrap();
        assert_eq!(call.input_tokens, i64::try_from(body.len().div_ceil(3)).unwrap());
        call.output_tokens
    };
    let chat = "/v1/chat/completions";
    assert_eq!(reserved(chat, r#"{"model":"m","messages":[],"max_tokens":100}"#), 100);
    assert_eq!(reserved(chat, r#"{"model":"m","messages":[],"max_tokens":5,"max_completion_tokens":7,"n":3}"#), 21);
    assert_eq!(reserved(chat, r#"{"model":"m","messages":[]}"#), OUTPUT_UNSTATED);
    assert_eq!(reserved(chat, r#"{"model":"m","messages":[],"max_tokens":-1}"#), OUTPUT_UNSTATED);
    assert_eq!(reserved(chat, r#"{"model":"m","messages":[],"max_tokens":9000000000000000000}"#), TOKENS_UNREAD);
    let config = r#"{"contents":[],"generation_config":{"maxOutputTokens":9,"candidateCount":2}}"#;
    assert_eq!(reserved("/v1/models/m:generateContent", config), 18);
    let body = r#"{"model":"m-1","messages":[],"max_tokens":100}"#;
    let (tokens, cost) = call("x.example", "/v1/messages", body).unwrap().reserve(&settings());
    assert_eq!((tokens, cost), (116, Some(16 * 3 + 100 * 15)));
    let (_, cost) = call("x.example", "/v1/messages", &body.replace("m-1", "x-1")).unwrap().reserve(&settings());
    assert_eq!(cost, Some(COST_UNREAD), "no price");
}

/// A region's host, a private network's, another name of the same service.
#[test]
fn hosts_of_models_are_known_by_all_their_names() {
    let chat = r#"{"model":"m","messages":[],"max_tokens":100}"#;
    for host in [
        "bedrock-runtime.us-east-1.amazonaws.com",
        "bedrock-runtime-fips.us-east-1.amazonaws.com",
        "vpce-1a2b.bedrock-runtime.us-east-1.vpce.amazonaws.com",
        "eu.api.openai.com",
        "acme.services.ai.azure.com",
        "acme.cognitiveservices.azure.com",
    ] {
        let call = call(host, "/some/new/way", chat).unwrap_or_else(|| panic!("{host}"));
        assert!(call.is_opaque(), "{host}");
    }
    assert_eq!(call("acme.cognitiveservices.azure.com", "/vision/v3.2/analyze", "{}"), None);
    assert_eq!(call("api.openai.com.evil", "/x", chat), None);
    // The path names it, whatever the body says; at a host that nobody knows two names are none.
    let path = "/openai/deployments/Dear/chat/completions?api-version=1";
    for (host, body, name) in [
        ("acme.openai.azure.com", chat, "Dear"),
        ("acme.cognitiveservices.azure.com", r#"{"messages":[]}"#, "Dear"),
        ("x.example", r#"{"messages":[]}"#, "Dear"),
        ("x.example", r#"{"model":"Dear","messages":[]}"#, "Dear"),
    ] {
        let call = call(host, path, body).unwrap();
        assert_eq!((call.name.as_str(), call.is_opaque()), (name, false), "{host} {body}");
    }
    assert!(call("x.example", path, chat).unwrap().is_opaque());
    // By any reading of the path.
    for path in ["/v1%2Fmessages", "/v1/x%2f..%2Fmessages", "/v1;a/messages"] {
        assert_eq!(call("x.example", path, chat).unwrap().name, "m", "{path}");
    }
    assert!(call("api.openai.com", "/v1/files/..%2Fanything", chat).unwrap().is_opaque());
}

/// Input that the body only names is as large as models take.
#[test]
fn what_is_only_named_is_reserved_too() {
    let input = |target: &str, body: Json| {
        let call = call("x.example", target, &body.to_string()).unwrap();
        (call.input_tokens >= INPUT_REFERRED, call.is_opaque())
    };
    let said = |block: Json| json!({"model": "m", "messages": [{"role": "user", "content": [block]}]});
    let responses = "/v1/responses";
    for (target, body) in [
        (responses, json!({"model": "m", "input": [], "previous_response_id": "r"})),
        (responses, json!({"model": "m", "previous_response_id": "r"})),
        (responses, json!({"model": "m", "input": [], "conversation": {"id": "c"}})),
        (responses, json!({"model": "m", "input": [], "prompt": {"id": "p"}})),
        (responses, json!({"model": "m", "input": [{"content": [{"type": "input_file", "file_url": "https://a"}]}]})),
        ("/v1/messages", said(json!({"type": "document", "source": {"type": "url", "url": "https://a"}}))),
        ("/v1/messages", said(json!({"type": "document", "source": {"type": "file", "file_id": "f"}}))),
        ("/v1/chat/completions", said(json!({"type": "file", "file": {"file_id": "f"}}))),
        ("/v1/models/m:generateContent", json!({"contents": [], "cachedContent": "c"})),
        ("/v1/models/m:generateContent", json!({"contents": [{"parts": [{"fileData": {"fileUri": "gs://a"}}]}]})),
    ] {
        assert_eq!(input(target, body.clone()), (true, false), "{body}");
    }
    for (target, body) in [
        (responses, json!({"model": "m", "input": [], "previous_response_id": null, "background": true})),
        ("/v1/messages", said(json!({"type": "image", "source": {"type": "url", "url": "https://a"}}))),
        ("/v1/messages", said(json!({"type": "tool_use", "input": {"file_id": "f"}}))),
        ("/v1/messages", said(json!({"type": "text", "text": "\"file_id\": \"f\""}))),
        ("/v1/messages", json!({"model": "m", "messages": [], "tools": [{"properties": {"file_id": {}}}]})),
    ] {
        assert_eq!(input(target, body.clone()), (false, false), "{body}");
    }
    let later = json!({"model": "m", "input": [], "previous_response_id": "r", "background": true});
    assert!(input(responses, later).1);
    let escaped = r#"{"model":"m","messages":[{"content":[{"file\u005fid":"f"}]}]}"#;
    assert!(call("x.example", "/v1/messages", escaped).unwrap().input_tokens >= INPUT_REFERRED);
}

fn events(all: &[Json]) -> String {
    all.iter().map(|event| format!("event: x\ndata: {event}\n\n")).collect()
}

/// However it is cut into pieces, it is the same answer.
fn read(api: ModelApi, kind: &str, text: &str) -> (Option<ModelUsage>, Vec<String>) {
    let mut all = Vec::new();
    for size in [1, 7, 64, text.len().max(1)] {
        let mut answer = ModelAnswer::new(api, kind);
        text.as_bytes().chunks(size).for_each(|piece| answer.read(piece));
        answer.end();
        let ids = answer.tool_uses().iter().map(|call| format!("{} {}", call.id, call.name)).collect();
        all.push((answer.usage(), ids));
    }
    assert!(all.windows(2).all(|two| two[0] == two[1]), "{all:?}");
    all.remove(0)
}

const STREAM: &str = "text/event-stream; charset=utf-8";

#[test]
fn the_use_is_read_from_the_answer() {
    use ModelApi::{AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
    let usage = |input, cached, output| Some(ModelUsage { input, cached, output });
    let block = json!({"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}});
    let used = json!({"input_tokens": 10, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 7});
    let whole = json!({"type": "message", "content": [block], "usage": used}).to_string();
    assert_eq!(read(AnthropicMessages, "application/json", &whole), (usage(15, 100, 7), vec!["toolu_1 Bash".into()]));
    let start = json!({"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}});
    let tool = json!({"type": "content_block_start", "content_block": block});
    let text = json!({"type": "content_block_delta", "delta": {"text": "data: {\"usage\": 0}\n\n"}});
    let delta = json!({"type": "message_delta", "usage": {"output_tokens": 70}});
    let stop = json!({"type": "message_stop"});
    let stream = [start.clone(), tool, text, delta, stop];
    assert_eq!(read(AnthropicMessages, STREAM, &events(&stream)), (usage(10, 0, 70), vec!["toolu_1 Bash".into()]));
    assert_eq!(read(AnthropicMessages, STREAM, &events(&stream).replace('\n', "\r\n")).0, usage(10, 0, 70));
    assert_eq!(read(AnthropicMessages, STREAM, &events(&[start])).0, None, "it broke off");

    let used = json!({"prompt_tokens": 30, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 20}});
    let called = json!([{"id": "call_1", "function": {"name": "f"}}]);
    let whole = json!({"choices": [{"message": {"tool_calls": called}}], "usage": used}).to_string();
    assert_eq!(read(OpenaiChat, "application/json", &whole), (usage(10, 20, 4), vec!["call_1 f".into()]));
    let first = json!({"choices": [{"delta": {"tool_calls": called}}], "usage": null});
    let stream = events(&[first.clone(), json!({"choices": [], "usage": used})]) + "data: [DONE]\n\n";
    assert_eq!(read(OpenaiChat, STREAM, &stream), (usage(10, 20, 4), vec!["call_1 f".into()]));
    assert_eq!(read(OpenaiChat, STREAM, &events(&[first])).0, None, "nobody asked for the use");

    let used = json!({"input_tokens": 30, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 20}});
    let item = json!({"type": "function_call", "call_id": "c1", "name": "f"});
    let whole = json!({"output": [item], "usage": used});
    assert_eq!(read(OpenaiResponses, "application/json", &whole.to_string()), (usage(10, 20, 4), vec!["c1 f".into()]));
    let stream = [
        json!({"type": "response.output_item.done", "item": item}),
        json!({"type": "response.completed", "response": whole}),
    ];
    assert_eq!(read(OpenaiResponses, STREAM, &events(&stream)), (usage(10, 20, 4), vec!["c1 f".into()]));
    let queued = json!({"type": "response.created", "response": {"status": "queued", "usage": null}});
    assert_eq!(read(OpenaiResponses, STREAM, &events(&[queued])).0, None);

    let used = json!({"promptTokenCount": 30, "candidatesTokenCount": 4, "thoughtsTokenCount": 6, "cachedContentTokenCount": 20, "totalTokenCount": 41});
    let call = json!({"content": {"parts": [{"functionCall": {"id": "g1", "name": "f"}}]}, "finishReason": "STOP"});
    let whole = json!({"candidates": [call], "usageMetadata": used});
    let expect = (usage(10, 20, 11), vec!["g1 f".to_owned()]);
    assert_eq!(read(Gemini, "application/json", &whole.to_string()), expect);
    assert_eq!(read(Gemini, "application/json", &json!([{"candidates": []}, whole]).to_string()), expect);
    assert_eq!(read(Gemini, STREAM, &events(&[json!({"response": whole})])), expect);
    for api in ModelApi::ALL {
        for junk in ["", "null", "[[[", "{\"usage\":{\"input_tokens\":\"x\"}}", "\0"] {
            read(api, "application/json", junk);
            assert_eq!(read(api, STREAM, junk).0, None);
        }
    }
}

/// What is lost by its length is not taken for a use that was told before.
#[test]
fn an_event_beyond_reading_leaves_the_use_unknown() {
    let mut answer = ModelAnswer::new(ModelApi::AnthropicMessages, STREAM);
    answer.read(b"data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":1}}\n\n");
    assert!(answer.usage().is_some());
    answer.read(&vec![b'x'; PIECE]);
    assert!(answer.usage().is_none());
}

const PIECE: usize = (8 << 20) + 1;

#[test]
fn refusals_are_json_of_the_api() {
    for api in ModelApi::ALL {
        let said: Json = serde_json::from_str(&model_refusal(Some(api), "no \"more\"\n")).unwrap();
        assert_eq!(said["error"]["message"], "no \"more\"");
    }
}
