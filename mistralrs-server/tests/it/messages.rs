//! Anthropic's Messages API over HTTP.

use crate::support::{CHAT, MESSAGES, Reply, Server, chat_body, shared, stories, with};
use mistralrs_server::app::ServerConfig;
use mistralrs_server::auth::ApiKeys;
use serde_json::{Value, json};

fn body(text: &str, max: usize) -> Value {
    json!({"messages": [{"role": "user", "content": text}], "max_tokens": max, "temperature": 0})
}

/// Checks status and Anthropic's error shape; returns the error.
fn error(reply: &Reply, status: u16, kind: &str) -> String {
    assert_eq!(reply.status, status, "{}", reply.body);
    let body = reply.json();
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)), "{body}");
    assert_eq!(body["request_id"].as_str(), reply.headers.get("x-request-id").map(String::as_str));
    body["error"]["message"].as_str().unwrap().to_owned()
}

fn say() -> Value {
    json!({"name": "say", "input_schema": {"type": "object", "properties": {"word": {"enum": ["yes", "no"]}},
        "required": ["word"], "additionalProperties": false}})
}

#[test]
fn a_message_says_what_a_chat_says() {
    let chat = shared().post(CHAT, &chat_body("Once upon a time", 12)).ok();
    let message = shared().post(MESSAGES, &body("Once upon a time", 12)).ok();
    assert_eq!(message["content"][0]["text"], chat["choices"][0]["message"]["content"]);
    assert_eq!(
        (&message["type"], &message["role"], &message["stop_reason"]),
        (&json!("message"), &json!("assistant"), &json!("max_tokens"))
    );
    let usage = &message["usage"];
    let prompt = usage["input_tokens"].as_u64().unwrap()
        + usage["cache_read_input_tokens"].as_u64().unwrap();
    assert_eq!(chat["usage"]["prompt_tokens"], prompt);
    let count = shared().post(
        &format!("{MESSAGES}/count_tokens"),
        &json!({"messages": body("Once upon a time", 1)["messages"]}),
    );
    assert_eq!(count.ok(), json!({"input_tokens": prompt}));

    let events =
        shared().events(MESSAGES, &with(body("Once upon a time", 12), json!({"stream": true})));
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[..3], ["message_start", "content_block_start", "content_block_delta"]);
    assert_eq!(kinds[kinds.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    let told: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!(message["content"][0]["text"], told);
    assert_eq!(events[events.len() - 2]["usage"]["output_tokens"], 12);

    let stopped = with(body("Once upon a time", 60), json!({"stop_sequences": ["."]}));
    let message = shared().post(MESSAGES, &stopped).ok();
    assert_eq!(
        (&message["stop_reason"], &message["stop_sequence"]),
        (&json!("stop_sequence"), &json!("."))
    );
}

#[test]
fn a_demanded_tool_use_and_its_result() {
    let asked = with(
        body("Say it", 200),
        json!({"tools": [say()],
        "tool_choice": {"type": "tool", "name": "say", "disable_parallel_tool_use": true}}),
    );
    let message = shared().post(MESSAGES, &asked).ok();
    assert_eq!(message["stop_reason"], "tool_use");
    let call = &message["content"][0];
    assert!(["yes", "no"].contains(&call["input"]["word"].as_str().unwrap()), "{call}");
    let events = shared().events(MESSAGES, &with(asked.clone(), json!({"stream": true})));
    let told: String =
        events.iter().filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), call["input"]);
    let result = json!({"type": "tool_result", "tool_use_id": call["id"], "content": "said", "is_error": true});
    let messages = json!([asked["messages"][0], {"role": "assistant", "content": message["content"]}, {"role": "user", "content": [result]}]);
    let next = with(
        asked,
        json!({"messages": messages, "tool_choice": {"type": "auto"}, "max_tokens": 4}),
    );
    shared().post(MESSAGES, &next).ok();
}

#[test]
fn structured_output_or_the_reason_why_not() {
    let form = |schema: Value| json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
    let message =
        shared().post(MESSAGES, &with(body("Hi", 60), form(say()["input_schema"].clone()))).ok();
    let text = message["content"][0]["text"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["word"].is_string(), "{text}");
    let unusable = with(body("Hi", 60), form(json!({"type": "array", "uniqueItems": true})));
    let told = error(&shared().post(MESSAGES, &unusable), 400, "invalid_request_error");
    assert!(told.contains("output_config.format.schema") && told.contains("uniqueItems"), "{told}");
}

#[test]
fn errors_have_their_shape_wherever_they_come_from() {
    let server = shared();
    let missing = json!({"messages": [{"role": "user", "content": "x"}]});
    assert!(
        error(&server.post(MESSAGES, &missing), 400, "invalid_request_error")
            .contains("max_tokens")
    );
    error(&server.post_bytes(MESSAGES, b"{"), 400, "invalid_request_error");
    error(&server.send("POST", MESSAGES, &[], b"{}"), 415, "invalid_request_error");
    error(
        &server.post(MESSAGES, &with(body("x", 1), json!({"model": "claude"}))),
        404,
        "not_found_error",
    );
    error(&server.get(MESSAGES), 405, "invalid_request_error");
    error(&server.post(&format!("{MESSAGES}/batches"), &json!({})), 404, "not_found_error");
    error(&server.post(MESSAGES, &body(&"word ".repeat(2000), 5)), 400, "invalid_request_error");
    // Elsewhere they are as they were.
    server.post("/v1/messages_of_others", &json!({})).error(404);
    let image = json!({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}]}]});
    let told =
        error(&server.post(MESSAGES, &with(body("x", 1), image)), 400, "invalid_request_error");
    assert!(told.contains("messages[0].content[0]"), "{told}");
}

#[test]
fn keys_come_in_their_own_header() {
    let api_keys = ApiKeys::new(["secret".to_owned()]);
    let server = Server::start(ServerConfig { api_keys, ..ServerConfig::default() }, stories());
    let body = body("Hi", 2).to_string();
    let ask = |headers: &[(&str, &str)]| {
        let json = ("content-type", "application/json");
        server.send("POST", MESSAGES, &[&[json], headers].concat(), body.as_bytes())
    };
    error(&ask(&[]), 401, "authentication_error");
    error(&ask(&[("x-api-key", "wrong")]), 401, "authentication_error");
    ask(&[("x-api-key", "secret"), ("anthropic-version", "2023-06-01")]).ok();
    ask(&[("authorization", "Bearer secret")]).ok();
}
