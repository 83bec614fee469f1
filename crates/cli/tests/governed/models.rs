//! Calls of models: real clients in a session, a scripted endpoint outside, tokens and cost counted, what passed kept.

use crate::support::{Case, World, program, stderr, verdicts};
use flyball_testkit::claude::{Claude, Invocation};
use flyball_testkit::model_endpoint::{ModelEndpoint, Turn};
use flyball_testkit::user::User;
use serde_json::{Value as Json, json};
use std::process::Stdio;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "calls_of_every_api_are_counted_and_kept", needs, run: apis },
        Case { name: "what_left_is_traced_to_where_it_is_from", needs, run: carried },
        Case { name: "a_spent_budget_ends_calls_in_the_words_of_the_api", needs, run: budget },
        Case { name: "what_hides_in_a_call_is_refused_under_a_budget", needs, run: hidden },
        Case { name: "claude_is_counted_and_ends_at_its_budget", needs: |_| Claude::find().err(), run: claude },
    ]
}

fn needs(_: User) -> Option<String> {
    ["python3", "curl"].into_iter().find_map(program)
}

/// A session with a budget of so many tokens, and an endpoint.
fn scene(user: User, toml: &str, turns: Vec<Turn>) -> (World, ModelEndpoint) {
    let world = World::new(user);
    let endpoint = ModelEndpoint::start(turns).unwrap();
    world.init(&format!("[http]\nopen = true\n{toml}"), "");
    world.edit("rules.cedar", "[\"localhost\",", "[\"host.internal\", \"localhost\",");
    (world, endpoint)
}

fn run(world: &World, endpoint: &ModelEndpoint, script: &str) -> String {
    let url = format!("http://host.internal:{}", endpoint.port());
    std::fs::write(world.repo.workspace().join("work.sh"), script.replace("@URL@", &url)).unwrap();
    let mut command = world.flyball(&["run", "--apply", "never", "--on-hold", "deny", "--", "sh", "work.sh"]);
    let output = command.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output))
}

fn outcome<'a>(log: &'a [Json], attempt: &Json) -> &'a Json {
    let is = |e: &&Json| e["kind"] == "outcome" && e["body"]["of"] == attempt["seq"];
    &log.iter().find(is).unwrap_or_else(|| panic!("{attempt} has no outcome"))["body"]
}

/// Each client's call is ruled on as a call, and settled at what the answer says.
fn apis(user: User) {
    let price = "[[price]]\nmodel = \"m*\"\ninput = 1000000\noutput = 5000000\n";
    let (world, endpoint) = scene(user, price, vec![Turn::bash("ls")]);
    let said = run(
        &world,
        &endpoint,
        r#"
        ask() { curl -sS --compressed -H 'authorization: Bearer sk-secret' -H 'content-type: application/json' "$@"; echo; }
        ask -d '{"model":"m1","max_tokens":50,"messages":[],"tools":[{}]}' @URL@/v1/messages
        ask -d '{"model":"m2","max_tokens":50,"messages":[],"tools":[{}],"stream":true}' '@URL@/v1/messages?key=sk-secret'
        ask -d '{"model":"m3","input":[],"tools":[{}],"stream":true}' @URL@/v1/responses
        ask -d '{"contents":[],"tools":[{}]}' '@URL@/v1beta/models/m4:streamGenerateContent?alt=sse'
        /usr/bin/python3 -c 'import urllib.request as u
r = u.Request("@URL@/v1/messages", b"{\"model\":\"m5\",\"max_tokens\":50,\"messages\":[]}", {"content-type": "application/json"})
print(u.urlopen(r).read().decode())'
        ask -d '{"model":"m6","messages":[]}' @URL@/v1/chat/completions
        ask -d '{"model":"m7","messages":[]}' @URL@/v1/messages/count_tokens
        "#,
    );
    let log = world.log();
    let exported: Json = serde_json::from_str(&world.ok(&["export", "@", "--format", "otlp", "-o", "-"])).unwrap();
    let spans = exported["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    for name in ["chat m1", "chat m2", "chat m3", "chat m4", "chat m5"] {
        let chat = spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no {name} in {said}"));
        let count = |key: &str| {
            let attribute = chat["attributes"].as_array().unwrap().iter().find(|a| a["key"] == key);
            attribute.unwrap_or_else(|| panic!("{key}: {chat}"))["value"]["intValue"].as_str().unwrap().parse::<u64>()
        };
        let used = count("gen_ai.usage.input_tokens").unwrap() + count("gen_ai.usage.output_tokens").unwrap();
        assert_eq!((used, count("flyball.model.tokens")), (20, Ok(20)), "{chat}");
    }
    let calls = verdicts(&log, "model.call");
    let names: Vec<&str> = calls.iter().map(|(call, _)| call["body"]["resource"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["m1", "m2", "m3", "m4", "m5", "m6"], "{said}");
    for (call, verdict) in &calls {
        assert_eq!(*verdict, "allow", "{call}");
        let request = log.iter().find(|e| e["seq"] == call["cause"][1]).unwrap();
        assert_eq!(request["body"]["verb"], "http.request", "{call}");
        let ended = outcome(&log, call);
        if call["body"]["resource"]["name"] == "m6" {
            // Refused by the endpoint: nothing is taken.
            assert_eq!((&ended["ok"], &ended["tokens"]), (&json!(false), &Json::Null), "{ended}");
            continue;
        }
        assert_eq!((&ended["ok"], &ended["tokens"], &ended["cost"]), (&json!(true), &json!(20), &json!(60)), "{call}");
    }
    // Both sides of each are kept, in its order, without what would let others act as the user.
    let told = |name: &str| log.iter().filter(|e| e["kind"] == "observe" && e["body"][name].is_object()).count();
    assert_eq!((told("request"), told("answer")), (6, 6));
    let is_kept = |e: &&Json| e["body"]["request"].is_object() || e["body"]["answer"].is_object();
    let all = log.iter().filter(is_kept).map(Json::to_string).collect::<String>();
    assert!(!all.contains("sk-secret") && all.contains("(not recorded)"), "a key is in the record: {all}");
    let first = log.iter().find(|e| e["body"]["answer"].is_object()).unwrap();
    let answer = &first["body"]["answer"];
    assert!(answer["body"]["text"].as_str().unwrap().contains("tool_use"), "{first}");
    assert_eq!(first["body"]["tool_use"][0], json!({"id": "toolu_scripted_0_0", "name": "Bash"}));
    let pieces: u64 = answer["pieces"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!((pieces, &answer["whole"]), (answer["bytes"].as_u64().unwrap(), &json!(true)), "{first}");
    let asked = log.iter().find(|e| e["seq"] == first["cause"][0]).unwrap();
    assert_eq!(asked["body"]["model"]["of"], calls[0].0["seq"]);
    world.verifies();
}

/// A file's text in a call of a model, a model's answer in a request, a commit's file in a push.
fn carried(user: User) {
    let (world, endpoint) = scene(user, "", vec![Turn::say("the answer is that the launch was put off by a week")]);
    let said = run(
        &world,
        &endpoint,
        r#"
        ask() { curl -sS -H 'content-type: application/json' "$@"; }
        echo "the launch is planned for the ninth of next month" > plan
        echo "and this is a file that is shown to nobody outside" > kept
        ask -d "{\"model\":\"m\",\"max_tokens\":50,\"messages\":[{\"role\":\"user\",\"content\":\"$(cat plan)\"}],\"tools\":[{}]}" @URL@/v1/messages > answer
        ask "@URL@/?q=the%20plan" >/dev/null
        git add plan; git commit -qm plan; git push -q origin HEAD:refs/heads/topic; true
        "#,
    );
    let log = world.log();
    let traced = |verb: &str| {
        let (attempt, verdict) = *verdicts(&log, verb).last().unwrap_or_else(|| panic!("no {verb}: {said}"));
        assert_eq!(verdict, "allow", "{said}");
        let seq = attempt["seq"].to_string();
        let told: Json = serde_json::from_str(&world.ok(&["trace", "@", &seq, "--carried", "--json"])).unwrap();
        let files = |list: &str| {
            let list = told[list].as_array().unwrap().clone();
            list.into_iter().filter_map(|s| s["path"].as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        (files("carried"), files("could"), told.clone(), seq)
    };
    let has = |list: &[String], name: &str| list.iter().any(|path| path == name);
    let (carried, could, told, seq) = traced("model.call");
    assert!(has(&carried, "plan") && !has(&carried, "kept") && has(&could, "kept"), "{told}");
    // Its graph leads from the write of the file to the call, in every form.
    let wrote = told["carried"].as_array().unwrap().iter().find(|s| s["path"] == "plan").unwrap()["seq"].to_string();
    let dot = world.ok(&["trace", "@", &seq, "--carried", "--format", "dot"]);
    assert!(dot.contains(&format!("{wrote} -> {seq} [style=dashed]")), "{dot}");
    let perfetto: Json =
        serde_json::from_str(&world.ok(&["trace", "@", &seq, "--carried", "--format", "perfetto"])).unwrap();
    assert!(perfetto.to_string().contains(&wrote), "{perfetto}");
    let text = world.ok(&["trace", "@", &seq, "--carried"]);
    assert!(
        text.contains(&format!("bytes of `plan` of entry {wrote}")) && text.contains("could have carried `kept`"),
        "{text}"
    );
    let (carried, could, told, _) = traced("git.push");
    assert!(has(&carried, "plan") && !has(&carried, "kept") && has(&could, "kept"), "{told} {said}");
}

/// What is left decides; the refusal is what the API's client understands, and the endpoint never hears of the call.
fn budget(user: User) {
    let budget = "[budget.tokens]\nsum = \"model.call.tokens\"\nlimit = 130\n";
    let (world, endpoint) = scene(user, budget, vec![]);
    let said = run(
        &world,
        &endpoint,
        r#"
        ask() { curl -sS -w '[%{http_code}]\n' -H 'content-type: application/json' "$@"; }
        for n in 1 2 3 4 5 6; do ask -d '{"model":"m","max_tokens":20,"messages":[]}' @URL@/v1/messages; done
        ask -d '{"model":"m","max_output_tokens":20,"input":[]}' @URL@/v1/responses
        ask -d '{"contents":[],"generationConfig":{"maxOutputTokens":60}}' @URL@/v1beta/models/m:generateContent
        "#,
    );
    let log = world.log();
    let rulings: Vec<&str> = verdicts(&log, "model.call").iter().map(|(_, verdict)| *verdict).collect();
    // Each takes 20 in the end, and is to find 35 when it begins.
    assert_eq!(rulings, ["allow", "allow", "allow", "allow", "allow", "deny", "deny", "deny"], "{said}");
    assert_eq!(endpoint.requests().len(), 5);
    assert_eq!(said.matches("[200]").count(), 5, "{said}");
    assert_eq!(said.matches("[403]").count(), 3, "{said}");
    for shape in [r#""type":"permission_error""#, r#""code":"denied_by_flyball""#, r#""status":"PERMISSION_DENIED""#] {
        assert!(said.contains(shape), "{shape} is not in:\n{said}");
    }
    assert!(said.contains("budget `tokens`") || said.contains("the budget"), "{said}");
    world.verifies();
}

/// A body that nobody can read with certainty takes more than there is.
fn hidden(user: User) {
    let budget = "[budget.tokens]\nsum = \"model.call.tokens\"\nlimit = 1000000000\n\n[[model]]\nhost = \"host.internal\"\napi = \"openai-chat\"\n";
    let (world, endpoint) = scene(user, budget, vec![]);
    let said = run(
        &world,
        &endpoint,
        r#"
        call='{"model":"m","max_tokens":20,"messages":[]}'
        ask() { curl -sS -o /dev/null -w '[%{http_code}]\n' -H 'content-type: application/json' "$@"; }
        printf '%s' "$call" | gzip >packed
        head -c 34000000 /dev/zero >long
        ask -H 'content-encoding: gzip' --data-binary @packed @URL@/v1/messages
        ask -d '{"model":"m","model":"n","max_tokens":20,"messages":[]}' @URL@/v1/messages
        ask -d "$call" @URL@/v1/unheard/of
        ask -X PATCH -d "$call" @URL@/v1/unheard/of
        ask -X GET -H 'X-HTTP-Method-Override: POST' -d "$call" @URL@/v1/unheard/of
        ask -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==' -H 'Sec-WebSocket-Version: 13' --http1.1 @URL@/v1/realtime
        ask -H 'Expect:' --data-binary @long @URL@/v1/messages
        ask -H 'Transfer-Encoding: chunked' -d "$call" '@URL@//x/../v1/./%6dessages/'
        "#,
    );
    assert_eq!(said.matches("[403]").count(), 7, "{said}");
    assert_eq!(said.matches("[404]").count() + said.matches("[200]").count(), 1, "{said}");
    assert_eq!(endpoint.requests().len(), 1, "only the last is read, and is one");
    let log = world.log();
    let calls = verdicts(&log, "model.call");
    assert_eq!(calls.iter().filter(|(call, _)| call["body"]["attrs"]["opaque"] == true).count(), 7, "{calls:?}");
}

/// The real agent: its calls are counted, and when the budget is spent it is told so in words that it shows.
fn claude(user: User) {
    let turns = (0..30).map(|n| Turn::bash(&format!("echo step-{n}"))).collect();
    // Its first requests are some tens of kilobytes and ask for up to 32,000 tokens; the endpoint says 20 for each.
    let budget = "[budget.tokens]\nsum = \"model.call.tokens\"\nlimit = 200\n";
    let (world, endpoint) = scene(user, budget, turns);
    let agent = Claude::find().unwrap();
    let invocation = Invocation::new(&agent, &endpoint, &world.repo, user, "go on").unwrap();
    let front = world.front(&["run", "--json", "--apply", "never", "--on-hold", "deny"]);
    let output = invocation.governed(&front).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = world.log();
    let calls = verdicts(&log, "model.call");
    assert!(!calls.is_empty() && calls.iter().all(|(_, verdict)| *verdict == "deny"), "{calls:?}\n{said}");
    assert!(endpoint.tool_results().is_empty(), "the model was reached");
    assert!(said.contains("the budget `tokens`"), "{said}");

    // With room for a few calls it works, and every call is on record with what it took.
    let (world, endpoint) = scene(user, "", vec![Turn::bash("echo ready"), Turn::say("done")]);
    let invocation = Invocation::new(&agent, &endpoint, &world.repo, user, "go on").unwrap();
    let front = world.front(&["run", "--json", "--apply", "never", "--on-hold", "deny"]);
    let output = invocation.governed(&front).stdin(Stdio::null()).output().unwrap();
    assert_eq!(endpoint.result_of(0), "ready", "{}", stderr(&output));
    let log = world.log();
    let calls = verdicts(&log, "model.call");
    assert!(calls.len() >= 2, "{calls:?}");
    for (call, verdict) in &calls {
        assert_eq!(*verdict, "allow", "{call}");
        assert_eq!(outcome(&log, call)["tokens"], 20, "{call}");
    }
    let tools = log.iter().flat_map(|e| e["body"]["tool_use"].as_array().into_iter().flatten());
    assert!(tools.into_iter().any(|tool| tool["id"] == "toolu_scripted_0_0" && tool["name"] == "Bash"));
    // The harness's hook for that tool call is caused by the call of the model that made it.
    let hook = log.iter().find(|e| e["kind"] == "observe" && e["body"]["tool_use_id"] == "toolu_scripted_0_0").unwrap();
    let by = |call: &Json| hook["cause"].as_array().unwrap().contains(&call["seq"]);
    assert!(calls.iter().any(|(call, _)| by(call)), "{hook}");
    world.verifies();
}
