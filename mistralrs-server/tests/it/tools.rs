//! Tools over HTTP: offered, refused, answered.

use crate::support::{CHAT, MESSAGES, RESPONSES, Server, chat_body, shared, stories, with};
use futures::future::BoxFuture;
use mistralrs_core::search::Found;
use mistralrs_server::app::ServerConfig;
use mistralrs_server::search::{SearchService, WebSearch};
use serde_json::{Value, json};
use std::sync::Arc;

fn tools() -> Value {
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!([{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}])
}

#[test]
fn a_conversation_of_two_turns_with_a_tool() {
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Oslo\"}"}});
    let text = json!([{"type": "text", "text": "rain"}, {"type": "text", "text": "3 degrees"}]);
    let messages = json!([
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": text},
    ]);
    let body = json!({"messages": messages, "tools": tools(), "max_tokens": 3, "temperature": 0});
    let prompt = shared().post("/apply-template", &body).ok()["prompt"].clone();
    for text in ["get_weather", "Oslo", "rain", "3 degrees"] {
        assert!(prompt.as_str().unwrap().contains(text), "{prompt}");
    }
    let answer = shared().post(CHAT, &body).ok();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(
        shared().stream(CHAT, &with(body, json!({"stream": true}))).last().unwrap()["choices"][0]["finish_reason"],
        "length"
    );
}

#[test]
fn no_choice_shows_no_tools() {
    let body = with(chat_body("Hi", 3), json!({"tools": tools(), "tool_choice": "none"}));
    let prompt = shared().post("/apply-template", &body).ok();
    assert!(!prompt["prompt"].as_str().unwrap().contains("get_weather"));
    shared().post(CHAT, &body).ok();
}

#[test]
fn faults_of_tools_are_named() {
    let table = [
        (json!({"tools": {}}), "tools"),
        (
            json!({"tools": [{"type": "function", "function": {"name": "a b"}}]}),
            "tools[0].function.name",
        ),
        (
            json!({"tools": tools(), "tool_choice": {"type": "function", "function": {"name": "x"}}}),
            "tool_choice.function.name",
        ),
        (json!({"tool_choice": "required"}), "tool_choice"),
    ];
    for (change, param) in table {
        let error = shared().post(CHAT, &with(chat_body("Hi", 3), change.clone())).error(400);
        assert_eq!(error["param"], param, "{change}");
    }
}

#[test]
fn what_a_model_can_do_is_published() {
    let card = shared().get("/v1/models/default").ok();
    let expected = json!({"tool_format": "json", "tools_in_template": false, "tool_round_trip": true, "reasoning": false,
        "input": ["text"]});
    assert_eq!(card["meta"]["capabilities"], expected);
}

#[test]
fn a_demanded_call_arrives_whole_and_in_pieces() {
    let body = with(
        chat_body("Weather?", 200),
        json!({"tools": [{"type": "function", "function": {"name": "say", "parameters": {"type": "object",
            "properties": {"word": {"enum": ["yes", "no"]}}, "required": ["word"]}}}],
            "tool_choice": {"type": "function", "function": {"name": "say"}}}),
    );
    let choice = shared().post(CHAT, &body).ok()["choices"][0].clone();
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &Value::Null)
    );
    let call = &choice["message"]["tool_calls"][0];
    assert!(call["id"].as_str().unwrap().starts_with("call_"));
    assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("say")));
    let arguments = call["function"]["arguments"].as_str().unwrap();
    let word = serde_json::from_str::<Value>(arguments).unwrap()["word"].clone();
    assert!([json!("yes"), json!("no")].contains(&word));

    let events = shared().stream(CHAT, &with(body, json!({"stream": true})));
    let pieces: Vec<&Value> = events
        .iter()
        .map(|e| &e["choices"][0]["delta"]["tool_calls"][0])
        .filter(|p| p.is_object())
        .collect();
    assert_eq!(pieces[0]["function"]["name"], "say");
    assert!(pieces[1..].iter().all(|piece| piece.get("id").is_none() && piece["index"] == 0));
    let joined: String =
        pieces.iter().filter_map(|p| p["function"]["arguments"].as_str()).collect();
    assert_eq!(joined, arguments);
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn structured_output_or_the_reason_why_not() {
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": false});
    let format = |schema: &Value| json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema}}});
    let choice =
        shared().post(CHAT, &with(chat_body("Hi", 60), format(&schema))).ok()["choices"][0].clone();
    let value: Value =
        serde_json::from_str(choice["message"]["content"].as_str().unwrap()).unwrap();
    assert!(value["ok"].is_boolean() && value.as_object().unwrap().len() == 1);
    assert_eq!(choice["finish_reason"], "stop");
    let cut = shared().post(CHAT, &with(chat_body("Hi", 2), format(&schema))).ok();
    assert_eq!(cut["choices"][0]["finish_reason"], "length");

    let error = shared()
        .post(
            CHAT,
            &with(chat_body("Hi", 5), format(&json!({"type": "array", "uniqueItems": true}))),
        )
        .error(400);
    assert_eq!(error["param"], "response_format.json_schema.schema");
    assert!(error["message"].as_str().unwrap().contains("uniqueItems"), "{error}");
    let both = json!({"response_format": {"type": "json_object"}, "grammar": {"type": "regex", "value": "a"}});
    assert_eq!(shared().post(CHAT, &with(chat_body("Hi", 5), both)).error(400)["param"], "grammar");
    let grammar =
        json!({"prompt": "a", "max_tokens": 20, "grammar": {"type": "regex", "value": "(ab)+c"}});
    let text =
        shared().post(crate::support::COMPLETIONS, &grammar).ok()["choices"][0]["text"].clone();
    assert!(text.as_str().unwrap().starts_with("ab"), "{text}");
}

/// Finds the same page whatever is asked.
struct OnePage;

impl WebSearch for OnePage {
    fn search<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Found>, String>> {
        let page = Found { content: "a page about cats".to_owned(), ..Found::default() };
        Box::pin(std::future::ready(Ok(vec![page])))
    }
}

#[test]
fn the_web_is_searched_where_the_server_was_told_to() {
    let wanted = with(chat_body("Hi", 6), json!({"web_search_options": {}}));
    let error = shared().post(CHAT, &wanted).error(400);
    assert_eq!(error["param"], "web_search_options");
    let items = json!({"input": "Hi", "max_output_tokens": 6, "tools": [{"type": "web_search"}]});
    assert_eq!(shared().post(RESPONSES, &items).error(400)["param"], "tools");
    let tool = json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 2});
    let turns =
        json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 6, "tools": [tool]});
    let refused = shared().post(MESSAGES, &turns);
    assert_eq!(refused.status, 400, "{}", refused.body);

    let server = Server::start(ServerConfig::default(), stories());
    server.app.set_search(SearchService { web: Arc::new(OnePage), encoder: None });
    let tokens = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    let plain = server.post(CHAT, &chat_body("Hi", 6)).ok();
    let answer = server.post(CHAT, &wanted).ok();
    assert!(tokens(&answer) > tokens(&plain) + 20, "the model is offered the tool: {answer}");
    let events = server.stream(CHAT, &with(wanted.clone(), json!({"stream": true})));
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "length");
    assert_eq!(server.post(RESPONSES, &items).ok()["output"][0]["type"], "message");
    let message = server.post(MESSAGES, &turns).ok();
    assert_eq!(message["stop_reason"], "max_tokens", "{message}");
    let computed = message["usage"]["input_tokens"].as_u64().unwrap();
    let cached = message["usage"]["cache_read_input_tokens"].as_u64().unwrap();
    assert!(computed + cached > tokens(&plain) + 20, "{message}");
    assert!(message["warnings"][0].as_str().unwrap().contains("max_uses"), "{message}");
    let near = json!({"web_search_options": {"search_context_size": "all"}});
    let error = server.post(CHAT, &with(wanted, near)).error(400);
    assert_eq!(error["param"], "web_search_options.search_context_size");
}
